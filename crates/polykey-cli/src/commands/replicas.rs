//! `vaults replicas`: copies of ciphertext, at other nodes and in folders.

use clap::{Args, Subcommand};
use polykey_api::replicas::{
    self, DropKept, KeptItem, KeptList, Place, Replica, ReplicaItem, ReplicaReport, SyncReplicas,
};
use polykey_api::vaults::OneVault;
use polykey_api::{Code, Nothing, Problem};

use crate::confirm::confirm;
use crate::context::Context;
use crate::escape;
use crate::output::Done;
use crate::secret_arg::VaultArg;
use crate::table::Table;
use crate::time;

/// What to do with copies.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  polykey vaults replicas add work /media/stick/work
  polykey vaults replicas list work")]
pub enum Command {
    /// Keep a copy of a vault's ciphertext at a node or in a folder
    #[command(after_help = "\
Examples:
  polykey vaults replicas add work server
  polykey vaults replicas add work /media/stick/work")]
    Add(PlaceArgs),
    /// List the copies
    #[command(after_help = "\
Examples:
  polykey vaults replicas list work
  polykey vaults replicas list work --json")]
    #[command(visible_alias = "ls")]
    List(OneArgs),
    /// Bring the copies up to date, and fetch what others left there
    #[command(after_help = "\
Examples:
  polykey vaults replicas sync work
  polykey vaults replicas sync work /media/stick/work")]
    Sync(SyncArgs),
    /// Do without a copy from now on; what is there stays there
    #[command(after_help = "\
Examples:
  polykey vaults replicas remove work /media/stick/work")]
    #[command(visible_alias = "rm")]
    Remove(PlaceArgs),
}

/// A vault and a place.
#[derive(Debug, Args)]
pub struct PlaceArgs {
    /// Name or id of the vault
    vault: VaultArg,
    /// A node (its id or petname), or a folder: what has a `/` in it
    #[arg(value_name = "NODE|DIR")]
    place: String,
}

/// A vault.
#[derive(Debug, Args)]
pub struct OneArgs {
    /// Name or id of the vault
    vault: VaultArg,
}

/// A vault and perhaps a place.
#[derive(Debug, Args)]
pub struct SyncArgs {
    /// Name or id of the vault
    vault: VaultArg,
    /// Only this one
    #[arg(value_name = "NODE|DIR")]
    place: Option<String>,
}

/// Arguments of `drop`.
#[derive(Debug, Args)]
pub struct DropArgs {
    /// Id of the vault
    #[arg(value_name = "VAULT-ID")]
    vault: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// Does it.
///
/// # Errors
/// The problem to tell of.
pub async fn run(cx: &Context<'_>, command: Command) -> Result<Done, Problem> {
    match command {
        Command::Add(args) => add(cx, args).await,
        Command::List(args) => list(cx, args).await,
        Command::Sync(args) => sync(cx, args).await,
        Command::Remove(args) => remove(cx, args).await,
    }
}

/// What has a slash in it, or is `.` or `..`, is a folder; all else names a node.
fn place(text: &str) -> Result<Place, Problem> {
    if !text.contains('/') && text != "." && text != ".." {
        return Ok(Place::Node(text.to_owned()));
    }
    let whole = std::path::absolute(text)
        .map_err(|error| Problem::new(Code::Usage, "the folder has no name").caused_by(&error))?;
    let whole = whole.into_os_string().into_string();
    whole
        .map(Place::Folder)
        .map_err(|_| Problem::new(Code::Usage, "the name of the folder is not UTF-8 text"))
}

async fn add(cx: &Context<'_>, args: PlaceArgs) -> Result<Done, Problem> {
    let question = Replica {
        vault: args.vault.0,
        place: place(&args.place)?,
    };
    let item = cx.call(&replicas::ADD, &question).await?;
    let where_ = escape::name(&item.place);
    cx.out.success(&if item.trouble.as_deref() == Some("no-room") {
        format!("Asked {where_} to keep a copy; it has no room left and is asked again")
    } else if item.waiting {
        format!("Asked {where_} to keep a copy; it begins as soon as its user agrees or it can be reached")
    } else {
        format!("A copy is kept at {where_}")
    });
    cx.out.answer(&item, |_| String::new())
}

async fn list(cx: &Context<'_>, args: OneArgs) -> Result<Done, Problem> {
    let list = cx
        .call(&replicas::LIST, &OneVault { vault: args.vault.0 })
        .await?;
    if list.replicas.is_empty() {
        cx.out.success("No copies");
    }
    cx.out.answer(&list.replicas, |items| {
        let mut table = Table::new();
        for item in items {
            table.row(&item_row(item));
        }
        table.to_text()
    })
}

fn item_row(item: &ReplicaItem) -> [String; 4] {
    let state = match (item.absent, item.trouble.as_deref(), item.waiting) {
        (true, ..) => "absent",
        (_, Some("no-room"), _) => "no room",
        (_, _, true) => "waits",
        (_, Some(trouble), _) => trouble,
        _ => "kept",
    };
    [
        item.place.clone(),
        item.kind.clone(),
        item.last_sync.map_or("never".to_owned(), time::show),
        state.to_owned(),
    ]
}

async fn sync(cx: &Context<'_>, args: SyncArgs) -> Result<Done, Problem> {
    let question = SyncReplicas {
        vault: args.vault.0,
        only: args.place.as_deref().map(place).transpose()?,
    };
    let list = cx.call(&replicas::SYNC, &question).await?;
    cx.out.answer(&list.reports, |reports| {
        let mut table = Table::new();
        for report in reports {
            table.row(&report_row(report));
        }
        table.to_text()
    })?;
    let failed = list
        .reports
        .iter()
        .filter(|report| report.problem.is_some())
        .count();
    Ok(match failed {
        0 => Done::All,
        _ if failed == list.reports.len() => Done::Except(Code::NodeUnreachable),
        _ => Done::All,
    })
}

fn report_row(report: &ReplicaReport) -> [String; 2] {
    let state = match &report.problem {
        Some(problem) => problem.clone(),
        None => format!(
            "{} received, {} sent{}",
            report.received,
            report.sent,
            if report.stale {
                ", held less than before"
            } else {
                ""
            }
        ),
    };
    [report.place.clone(), state]
}

async fn remove(cx: &Context<'_>, args: PlaceArgs) -> Result<Done, Problem> {
    let question = Replica {
        vault: args.vault.0,
        place: place(&args.place)?,
    };
    let item = cx.call(&replicas::REMOVE, &question).await?;
    cx.out.success(&format!(
        "No copy is kept at {} from now on; what is there stays there",
        escape::name(&item.place)
    ));
    cx.out.answer(&item, |_| String::new())
}

/// Lists what this node keeps for others.
///
/// # Errors
/// The problem to tell of.
pub async fn kept(cx: &Context<'_>) -> Result<Done, Problem> {
    let list = cx.call(&replicas::KEPT, &Nothing {}).await?;
    cx.out.success(&format!(
        "{} of {} kept for others",
        size(list.size),
        size(list.quota)
    ));
    cx.out.answer(&list, show_kept)
}

fn show_kept(list: &KeptList) -> String {
    if list.vaults.is_empty() {
        return String::new();
    }
    let mut table = Table::with_headings(&["VAULT", "ASKED BY", "SIZE", "LAST CHANGE", "STATE"]);
    for item in &list.vaults {
        table.row(&kept_row(item));
    }
    table.to_text()
}

fn kept_row(item: &KeptItem) -> [String; 5] {
    let asked_by = item.petname.as_ref().or(item.asked_by.as_ref());
    [
        item.vault_id.clone(),
        asked_by.cloned().unwrap_or_default(),
        size(item.size),
        item.last_change.map_or("never".to_owned(), time::show),
        if item.full { "no room" } else { "kept" }.to_owned(),
    ]
}

/// Bytes as people read them.
fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// Keeps a vault for others no longer.
///
/// # Errors
/// The problem to tell of.
pub async fn drop_kept(cx: &Context<'_>, args: DropArgs) -> Result<Done, Problem> {
    if !args.yes {
        confirm(
            cx,
            &format!(
                "Delete what this node keeps of vault {} for others? It cannot be brought back from here.",
                args.vault
            ),
        )?;
    }
    let item = cx.call(&replicas::DROP, &DropKept { vault: args.vault }).await?;
    cx.out.success(&format!(
        "Vault {} is kept no longer; {} are free again",
        item.vault_id,
        size(item.size)
    ));
    cx.out.answer(&item, |_| String::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_slash_is_a_folder() {
        for node in ["bob", "v00", "stick", "github:bob", ""] {
            assert_eq!(place(node), Ok(Place::Node(node.to_owned())));
        }
        assert_eq!(place("/media/x"), Ok(Place::Folder("/media/x".to_owned())));
        for folder in ["./x", "x/", "a/b", ".", ".."] {
            assert!(
                matches!(place(folder), Ok(Place::Folder(whole)) if whole.starts_with('/')),
                "{folder}"
            );
        }
    }
}
