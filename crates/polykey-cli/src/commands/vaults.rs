//! `vaults`: making, naming, placing, history.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::path::Path;

use clap::{Args, Subcommand};
use polykey_api::vaults::{
    self, Committed, ConflictItem, Conflicts, CreateVault, DiffItem, DiffKind, ListVaults, LogItem, OneVault,
    Purge, Relocate, RenameVault, Resolve, Undelete, VaultDiff, VaultItem, VaultLog, VaultVersion,
};
use polykey_api::{Code, Problem};
use serde::Serialize;

use crate::commands::exchange;
use crate::commands::stream::print_array;
use crate::commands::{replicas, sharing};
use crate::confirm::confirm;
use crate::context::Context;
use crate::escape;
use crate::output::{Done, counted};
use crate::secret_arg::{InVault, VaultArg};
use crate::table::Table;
use crate::time;

/// What to do with vaults.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  polykey vaults create work
  polykey vaults list
  polykey vaults log work")]
pub enum Command {
    /// Make a vault
    #[command(after_help = "\
Examples:
  polykey vaults create work
  polykey vaults create work --at /media/stick/work")]
    #[command(visible_alias = "touch")]
    Create(Create),
    /// List the vaults
    #[command(after_help = "\
Examples:
  polykey vaults list
  polykey vaults list --deleted --json")]
    #[command(visible_alias = "ls")]
    List(List),
    /// Give a vault another name
    #[command(after_help = "\
Examples:
  polykey vaults rename work 'old work'")]
    #[command(visible_alias = "mv")]
    Rename(Rename),
    /// Delete a vault; `undelete` brings it back for 30 days
    #[command(after_help = "\
Examples:
  polykey vaults delete work
  polykey vaults delete work --yes")]
    #[command(visible_alias = "rm")]
    Delete(Delete),
    /// Bring a deleted vault back
    #[command(after_help = "\
Examples:
  polykey vaults undelete work
  polykey vaults undelete work --name work-again")]
    Undelete(UndeleteArgs),
    /// Move a vault to another folder or disk
    #[command(after_help = "\
Examples:
  polykey vaults relocate work /media/stick/work")]
    Relocate(RelocateArgs),
    /// Show the commits of a vault, newest first
    #[command(after_help = "\
Examples:
  polykey vaults log work --depth 10
  polykey vaults log work --path db --json")]
    Log(Log),
    /// Show what differs between two versions of a vault
    #[command(after_help = "\
Examples:
  polykey vaults diff work 4c1b90
  polykey vaults diff work 4c1b90 77aa01 --reveal")]
    Diff(Diff),
    /// Make a vault's content equal to an earlier version, by a new commit
    #[command(after_help = "\
Examples:
  polykey vaults version work 4c1b90
  polykey vaults version work last")]
    Version(Version),
    /// Forget history: values that were replaced or removed
    #[command(after_help = "\
Examples:
  polykey vaults purge work --before 90d
  polykey vaults purge work db/PASSWORD --before now --now --yes")]
    Purge(PurgeArgs),
    /// Show versions that stand side by side
    #[command(after_help = "\
Examples:
  polykey vaults conflicts
  polykey vaults conflicts work --json")]
    Conflicts(ConflictsArgs),
    /// Settle a conflict
    #[command(after_help = "\
Examples:
  polykey vaults resolve work:db/PASSWORD --take 4c1b90")]
    Resolve(ResolveArgs),
    /// Show commits that are kept and do not count, such as those of a removed member
    #[command(after_help = "\
Examples:
  polykey vaults set-aside work")]
    SetAside(sharing::OneVaultArgs),
    /// Make a commit that was set aside count, as a change of this node
    #[command(after_help = "\
Examples:
  polykey vaults adopt work 4c1b90")]
    Adopt(sharing::AdoptArgs),
    /// Share a vault with a node, or with somebody by a name that you know
    #[command(after_help = "\
Examples:
  polykey vaults share work bob
  polykey vaults share work github.com:alice
  polykey vaults share work bob --role writer")]
    Share(sharing::ShareArgs),
    /// Stop sharing a vault with a node, and list the secrets that need new values
    #[command(after_help = "\
Examples:
  polykey vaults unshare work bob")]
    Unshare(sharing::UnshareArgs),
    /// Show who is in a vault
    #[command(after_help = "\
Examples:
  polykey vaults members work
  polykey vaults members work --json")]
    Members(sharing::OneVaultArgs),
    /// Show what each member may do
    #[command(after_help = "\
Examples:
  polykey vaults permissions work")]
    #[command(visible_alias = "perms")]
    Permissions(sharing::OneVaultArgs),
    /// List the secrets that former members could read and that have not changed since
    #[command(after_help = "\
Examples:
  polykey vaults rotation work")]
    Rotation(sharing::OneVaultArgs),
    /// Make a ticket: whoever gives it to `polykey join` first is in
    #[command(after_help = "\
Examples:
  polykey vaults invite work
  polykey vaults invite work --role writer --expires 30m --to bob")]
    Invite(sharing::InviteArgs),
    /// Keep copies of a vault's ciphertext at other nodes and in folders
    #[command(subcommand)]
    Replicas(replicas::Command),
    /// List what this node keeps for others, as ciphertext that it cannot read
    #[command(after_help = "\
Examples:
  polykey vaults kept
  polykey vaults kept --json")]
    Kept,
    /// Delete what this node keeps of a vault for others
    #[command(after_help = "\
Examples:
  polykey vaults drop z5Vh3kQmXo1tJ4gWbq8NDaYcLr7EuT2MfPiS9RvKxHBn
  polykey vaults drop z5Vh3kQmXo1tJ4gWbq8NDaYcLr7EuT2MfPiS9RvKxHBn --yes")]
    Drop(replicas::DropArgs),
    /// Show how many copies of a vault there are, and how old they are
    #[command(after_help = "\
Examples:
  polykey vaults status work")]
    Status(sharing::OneVaultArgs),
    /// List the vaults that another node shares with this one
    #[command(after_help = "\
Examples:
  polykey vaults scan bob
  polykey vaults scan bob --json")]
    Scan(exchange::Scan),
    /// Bring in a vault that another node shares
    #[command(after_help = "\
Examples:
  polykey vaults clone work
  polykey vaults clone work bob
  polykey vaults clone --from /media/stick")]
    Clone(exchange::Clone),
    /// Bring in what other members have written
    #[command(after_help = "\
Examples:
  polykey vaults pull
  polykey vaults pull work bob")]
    Pull(exchange::Pull),
    /// Bring in what others have written, and have them do the same
    #[command(after_help = "\
Examples:
  polykey vaults sync
  polykey vaults sync work")]
    Sync(exchange::Sync),
}

/// Arguments of `create`.
#[derive(Debug, Args)]
pub struct Create {
    /// Name of the vault
    name: String,
    /// Folder for it, empty or not there yet [default: in the node path]
    #[arg(long, value_name = "DIR")]
    at: Option<OsString>,
}

/// Arguments of `list`.
#[derive(Debug, Args)]
pub struct List {
    /// Those that were deleted and can come back
    #[arg(long)]
    deleted: bool,
}

/// Arguments of `rename`.
#[derive(Debug, Args)]
pub struct Rename {
    /// Name or id of the vault
    vault: VaultArg,
    /// Its new name
    new_name: String,
}

/// Arguments of `delete`.
#[derive(Debug, Args)]
pub struct Delete {
    /// Name or id of the vault
    vault: VaultArg,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// Arguments of `undelete`.
#[derive(Debug, Args)]
pub struct UndeleteArgs {
    /// Name or id of the vault
    vault: VaultArg,
    /// Bring it back under this name
    #[arg(long)]
    name: Option<String>,
}

/// Arguments of `relocate`.
#[derive(Debug, Args)]
pub struct RelocateArgs {
    /// Name or id of the vault
    vault: VaultArg,
    /// The new folder, empty or not there yet
    #[arg(value_name = "DIR")]
    to: OsString,
}

/// Arguments of `log`.
#[derive(Debug, Args)]
pub struct Log {
    /// Name or id of the vault
    vault: VaultArg,
    /// Only commits that touch this path or something below it
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// At most so many commits
    #[arg(long, short, value_name = "N")]
    depth: Option<u64>,
    /// From this commit backwards
    #[arg(long, value_name = "COMMIT")]
    commit_id: Option<String>,
}

/// Arguments of `diff`.
#[derive(Debug, Args)]
pub struct Diff {
    /// Name or id of the vault
    vault: VaultArg,
    /// The older version: a commit, or the beginning of its id
    #[arg(value_name = "A")]
    from: String,
    /// The newer version [default: now]
    #[arg(value_name = "B")]
    to: Option<String>,
    /// Show the values as well
    #[arg(long)]
    reveal: bool,
}

/// Arguments of `version`.
#[derive(Debug, Args)]
pub struct Version {
    /// Name or id of the vault
    vault: VaultArg,
    /// A commit, the beginning of its id, or `last`: the newest commit not made by this command
    #[arg(value_name = "COMMIT")]
    version: String,
}

/// Arguments of `purge`.
#[derive(Debug, Args)]
pub struct PurgeArgs {
    /// Name or id of the vault
    vault: VaultArg,
    /// Only this path and what lies below it
    path: Option<String>,
    /// Values that were replaced or removed before this moment (2026-01-31, 3d, now)
    #[arg(long, value_name = "DATE")]
    before: String,
    /// Delete them at once, not after 7 days
    #[arg(long)]
    now: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// Arguments of `conflicts`.
#[derive(Debug, Args)]
pub struct ConflictsArgs {
    /// Name or id of the vault [default: all]
    vault: Option<VaultArg>,
}

/// Arguments of `resolve`.
#[derive(Debug, Args)]
pub struct ResolveArgs {
    /// The secret, as VAULT:PATH
    #[arg(value_name = "VAULT:PATH")]
    secret: InVault,
    /// The version that shall stay: its commit, or the beginning of its id
    #[arg(long, value_name = "VERSION")]
    take: String,
}

/// Does it.
///
/// # Errors
/// The problem to tell of.
pub async fn run(cx: &Context<'_>, command: Command) -> Result<Done, Problem> {
    match command {
        Command::Create(args) => create(cx, args).await,
        Command::List(args) => list(cx, args).await,
        Command::Rename(args) => rename(cx, args).await,
        Command::Delete(args) => delete(cx, args).await,
        Command::Undelete(args) => undelete(cx, args).await,
        Command::Relocate(args) => relocate(cx, args).await,
        Command::Log(args) => log(cx, args).await,
        Command::Diff(args) => diff(cx, args).await,
        Command::Version(args) => version(cx, args).await,
        Command::Purge(args) => purge(cx, args).await,
        Command::Conflicts(args) => conflicts(cx, args).await,
        Command::Resolve(args) => resolve(cx, args).await,
        Command::SetAside(args) => sharing::set_aside(cx, args).await,
        Command::Adopt(args) => sharing::adopt(cx, args).await,
        Command::Share(args) => sharing::share(cx, args).await,
        Command::Unshare(args) => sharing::unshare(cx, args).await,
        Command::Members(args) => sharing::members(cx, args).await,
        Command::Permissions(args) => sharing::permissions(cx, args).await,
        Command::Rotation(args) => sharing::rotation(cx, args).await,
        Command::Invite(args) => sharing::invite(cx, args).await,
        Command::Replicas(command) => replicas::run(cx, command).await,
        Command::Kept => replicas::kept(cx).await,
        Command::Drop(args) => replicas::drop_kept(cx, args).await,
        Command::Status(args) => sharing::status(cx, args).await,
        Command::Scan(args) => exchange::scan(cx, args).await,
        Command::Clone(args) => exchange::clone(cx, args).await,
        Command::Pull(args) => exchange::pull(cx, args).await,
        Command::Sync(args) => exchange::sync(cx, args).await,
    }
}

/// A vault after a change, in JSON: its id under the name that scripts look for, and as in the listing.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Changed<'a> {
    vault_id: &'a str,
    #[serde(flatten)]
    item: &'a VaultItem,
}

/// Prints `item` in JSON, and in text what `human` gives.
fn changed(
    cx: &Context<'_>,
    item: &VaultItem,
    human: impl FnOnce(&VaultItem) -> String,
) -> Result<Done, Problem> {
    let answer = Changed {
        vault_id: &item.vault_id_encoded,
        item,
    };
    cx.out.answer(&answer, |answer| human(answer.item))
}

async fn create(cx: &Context<'_>, args: Create) -> Result<Done, Problem> {
    let at = args.at.map(|at| whole_path(&at)).transpose()?;
    let item = cx
        .call(&vaults::CREATE, &CreateVault { name: args.name, at })
        .await?;
    cx.out
        .success(&format!("Created vault {}", escape::name(&item.vault_name)));
    changed(cx, &item, |item| item.vault_id_encoded.clone())
}

/// The agent has another working folder, so it gets whole paths.
fn whole_path(path: &OsString) -> Result<String, Problem> {
    let path = std::path::absolute(Path::new(path))
        .map_err(|error| Problem::new(Code::Usage, "the folder has no name").caused_by(&error))?;
    path.into_os_string()
        .into_string()
        .map_err(|_| Problem::new(Code::Usage, "the name of the folder is not UTF-8 text"))
}

async fn list(cx: &Context<'_>, args: List) -> Result<Done, Problem> {
    let list = cx
        .call(
            &vaults::LIST,
            &ListVaults {
                deleted: args.deleted,
            },
        )
        .await?;
    cx.out.answer(&list.vaults, |vaults| {
        let mut text = String::new();
        for vault in vaults {
            let _ = write!(
                text,
                "{}\t{}",
                escape::name(&vault.vault_name),
                vault.vault_id_encoded
            );
            if let Some(until) = vault.deleted_until {
                let _ = write!(text, "\tkept until {}", time::show(until));
            } else if !vault.available {
                let folder = vault.folder.as_deref().unwrap_or("its folder");
                let _ = write!(text, "\t{} is absent", escape::name(folder));
            }
            text.push('\n');
        }
        text
    })
}

async fn rename(cx: &Context<'_>, args: Rename) -> Result<Done, Problem> {
    let question = RenameVault {
        vault: args.vault.0,
        new_name: args.new_name,
    };
    let item = cx.call(&vaults::RENAME, &question).await?;
    cx.out.success(&format!(
        "Renamed vault {} to {}",
        escape::name(&question.vault),
        escape::name(&item.vault_name)
    ));
    changed(cx, &item, |_| String::new())
}

async fn delete(cx: &Context<'_>, args: Delete) -> Result<Done, Problem> {
    let vault = args.vault.0;
    if !args.yes {
        confirm(
            cx,
            &format!(
                "Delete vault {}? It can be brought back for 30 days.",
                escape::name(&vault)
            ),
        )?;
    }
    let item = cx.call(&vaults::DELETE, &OneVault { vault }).await?;
    cx.out.success(&format!(
        "Deleted vault {}; `polykey vaults undelete` brings it back until {}",
        escape::name(&item.vault_name),
        time::show(item.deleted_until.unwrap_or_default())
    ));
    changed(cx, &item, |_| String::new())
}

async fn undelete(cx: &Context<'_>, args: UndeleteArgs) -> Result<Done, Problem> {
    let question = Undelete {
        vault: args.vault.0,
        name: args.name,
    };
    let item = cx.call(&vaults::UNDELETE, &question).await?;
    cx.out
        .success(&format!("Brought back vault {}", escape::name(&item.vault_name)));
    changed(cx, &item, |_| String::new())
}

async fn relocate(cx: &Context<'_>, args: RelocateArgs) -> Result<Done, Problem> {
    let question = Relocate {
        vault: args.vault.0,
        to: whole_path(&args.to)?,
    };
    let item = cx.call(&vaults::RELOCATE, &question).await?;
    cx.out.success(&format!(
        "Moved vault {} to {}",
        escape::name(&item.vault_name),
        escape::name(&question.to)
    ));
    changed(cx, &item, |_| String::new())
}

async fn log(cx: &Context<'_>, args: Log) -> Result<Done, Problem> {
    let question = VaultLog {
        vault: args.vault.0,
        path: args.path,
        depth: args.depth,
        commit_id: args.commit_id,
    };
    print_array(cx, &vaults::LOG, &question, log_line).await
}

/// One commit or version on one line; short ids on a terminal.
pub fn log_line(item: &LogItem) -> String {
    let wide = std::io::stdout().is_terminal();
    let short = |text: &str, len: usize| {
        if wide {
            text.chars().take(len).collect()
        } else {
            text.to_owned()
        }
    };
    let version = item
        .version
        .map(|version| format!("{version}\t"))
        .unwrap_or_default();
    let gone = if item.purged { "\t(purged)" } else { "" };
    let aside = if item.set_aside { "\t(set aside)" } else { "" };
    format!(
        "{version}{}\t{}\t{}\t{}{gone}{aside}",
        short(&item.commit_id, 12),
        item.timestamp,
        short(&item.committer, 12),
        escape::sentence(&item.message)
    )
}

async fn diff(cx: &Context<'_>, args: Diff) -> Result<Done, Problem> {
    let question = VaultDiff {
        vault: args.vault.0,
        from: args.from,
        to: args.to,
        reveal: args.reveal,
    };
    print_array(cx, &vaults::DIFF, &question, |item: &DiffItem| {
        let word = match item.change {
            DiffKind::Added => "added",
            DiffKind::Changed => "changed",
            DiffKind::Removed => "removed",
        };
        let mut text = format!("{word}\t{}", escape::name(&item.path));
        for (sign, value) in [('-', &item.before), ('+', &item.after)] {
            if let Some(value) = value {
                push_value(&mut text, sign, value);
            }
        }
        text
    })
    .await
}

fn push_value(text: &mut String, sign: char, value: &str) {
    let bytes = data_encoding::BASE64.decode(value.as_bytes()).unwrap_or_default();
    match std::str::from_utf8(&bytes) {
        Ok(value) => {
            for line in value.lines() {
                let _ = write!(text, "\n{sign} {}", escape::sentence(line));
            }
        }
        Err(_) => {
            let _ = write!(text, "\n{sign} ({} bytes that are no text)", bytes.len());
        }
    }
}

async fn version(cx: &Context<'_>, args: Version) -> Result<Done, Problem> {
    let question = VaultVersion {
        vault: args.vault.0,
        version: args.version,
    };
    let made = cx.call(&vaults::VERSION, &question).await?;
    committed(
        cx,
        &made,
        &format!("Vault {} is as it was at {}", question.vault, question.version),
    )
}

/// Tells of a change that made a commit or had nothing to change.
pub fn committed(cx: &Context<'_>, made: &Committed, sentence: &str) -> Result<Done, Problem> {
    let nothing = if made.commit_id.is_none() { " already" } else { "" };
    cx.out
        .success(&format!("{}{nothing}", escape::sentence(sentence)));
    if cx.out.is_json() {
        return cx.out.answer(made, |_| String::new());
    }
    Ok(Done::All)
}

async fn purge(cx: &Context<'_>, args: PurgeArgs) -> Result<Done, Problem> {
    let before = time::parse(&args.before)?;
    if !args.yes {
        confirm(
            cx,
            &format!(
                "Forget what was replaced or removed in vault {} before {}, for good?",
                escape::name(&args.vault.0),
                time::show(before)
            ),
        )?;
    }
    let question = Purge {
        vault: args.vault.0,
        path: args.path,
        before: Some(before),
        now: args.now,
    };
    let purged = cx.call(&vaults::PURGE, &question).await?;
    cx.out
        .success(&format!("Purged {}", counted(purged.versions, "version")));
    if cx.out.is_json() {
        return cx.out.answer(&purged, |_| String::new());
    }
    Ok(Done::All)
}

async fn conflicts(cx: &Context<'_>, args: ConflictsArgs) -> Result<Done, Problem> {
    let question = Conflicts {
        vault: args.vault.map(|vault| vault.0),
    };
    let all = question.vault.is_none();
    let done = print_array(cx, &vaults::CONFLICTS, &question, |item: &ConflictItem| {
        let mut text = format!(
            "{}:{}\n",
            escape::sentence(&item.vault_name),
            escape::name(&item.path)
        );
        let mut table = Table::new();
        for version in &item.versions {
            let size = version
                .size
                .map_or_else(|| "removed".to_owned(), |size| format!("{size} bytes"));
            table.row(&[
                "",
                version.commit_id.as_str(),
                version.timestamp.as_str(),
                version.committer.as_str(),
                &size,
                version.path.as_deref().unwrap_or(&item.path),
            ]);
        }
        text.push_str(table.to_text().trim_end());
        text
    })
    .await?;
    if all {
        warn_of_absent(cx).await?;
    }
    Ok(done)
}

/// Says which vaults a look into all of them left out.
///
/// # Errors
/// What the agent answers.
pub async fn warn_of_absent(cx: &Context<'_>) -> Result<(), Problem> {
    let list = cx.call(&vaults::LIST, &ListVaults::default()).await?;
    for vault in list.vaults.iter().filter(|vault| !vault.available) {
        let name = escape::sentence(&vault.vault_name);
        cx.out
            .warn(&format!("the vault {name} is left out: its folder is absent"));
    }
    Ok(())
}

async fn resolve(cx: &Context<'_>, args: ResolveArgs) -> Result<Done, Problem> {
    let secret = args.secret.0;
    let question = Resolve {
        vault: secret.vault.clone(),
        path: secret.path().to_owned(),
        take: args.take,
    };
    let made = cx.call(&vaults::RESOLVE, &question).await?;
    committed(cx, &made, &format!("Resolved {}", secret.to_text()))
}
