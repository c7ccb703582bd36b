//! `vaults share` and all around it: who is in a vault, how somebody gets in and out, where copies are; and `join`.

use std::fmt::Write as _;
use std::io::{IsTerminal, Read, Write};

use clap::Args;
use polykey_api::problem::typed;
use polykey_api::sharing::{
    self, Adopt, Candidate, Candidates, Invite, Invited, Join, MemberItem, RotationItem, Share, Shared,
    Unshare, VaultStatus,
};
use polykey_api::vaults::OneVault;
use polykey_api::{Code, Problem};
use zeroize::Zeroizing;

use crate::commands::qr;
use crate::context::Context;
use crate::escape;
use crate::output::Done;
use crate::secret_arg::VaultArg;
use crate::table::Table;
use crate::time;

/// Longest ticket that is read from a file.
const MAX_TICKET: u64 = 4096;

/// Arguments of `share`.
#[derive(Debug, Args)]
pub struct ShareArgs {
    /// Name or id of the vault
    vault: VaultArg,
    /// With whom: a node's id or petname, an identity (provider:identity) or a domain
    #[arg(value_name = "WHO")]
    who: String,
    /// What it may do [default: reader]
    #[arg(long, value_parser = ["reader", "writer", "admin", "keeper"])]
    role: Option<String>,
    /// Do not ask: take the nodes of this identity that were confirmed before
    #[arg(long)]
    yes: bool,
}

/// Arguments of `unshare`.
#[derive(Debug, Args)]
pub struct UnshareArgs {
    /// Name or id of the vault
    vault: VaultArg,
    /// Who: a node's id or petname, or the identity or domain it was shared with
    #[arg(value_name = "WHO")]
    who: String,
}

/// Arguments of commands about one vault.
#[derive(Debug, Args)]
pub struct OneVaultArgs {
    /// Name or id of the vault
    vault: VaultArg,
}

/// Arguments of `invite`.
#[derive(Debug, Args)]
pub struct InviteArgs {
    /// Name or id of the vault
    vault: VaultArg,
    /// What the bearer may do [default: reader]
    #[arg(long, value_parser = ["reader", "writer", "admin", "keeper"])]
    role: Option<String>,
    /// For how long it can be used (30m, 24h, 7d) [default: 24h]
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// The only node that may use it: its id or petname
    #[arg(long, value_name = "NODE")]
    to: Option<String>,
}

/// Arguments of `join`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polykey join pktgk0lg85blelqn...
  polykey join - < ticket.txt")]
pub struct JoinArgs {
    /// The ticket (`-` reads it from standard input)
    ticket: String,
}

/// Arguments of `adopt`.
#[derive(Debug, Args)]
pub struct AdoptArgs {
    /// Name or id of the vault
    vault: VaultArg,
    /// The commit, or the beginning of its id
    #[arg(value_name = "COMMIT")]
    commit: String,
}

/// Shows the commits that are kept and do not count.
///
/// # Errors
/// The problem to tell of.
pub async fn set_aside(cx: &Context<'_>, args: OneVaultArgs) -> Result<Done, Problem> {
    let list = cx
        .call(&sharing::SET_ASIDE, &OneVault { vault: args.vault.0 })
        .await?;
    if list.commits.is_empty() {
        cx.out.success("Every commit counts");
    }
    cx.out.answer(&list.commits, |commits| {
        let mut table = Table::new();
        for commit in commits {
            let state = if commit.settled { "settled" } else { &commit.reason };
            table.row(&[
                &commit.commit_id,
                &commit.timestamp,
                &commit.committer,
                state,
                &commit.paths.join(", "),
            ]);
        }
        table.to_text()
    })
}

/// Makes a commit that was set aside a change of this node.
///
/// # Errors
/// As above.
pub async fn adopt(cx: &Context<'_>, args: AdoptArgs) -> Result<Done, Problem> {
    let question = Adopt {
        vault: args.vault.0,
        commit: args.commit,
    };
    let made = cx.call(&sharing::ADOPT, &question).await?;
    cx.out.success(match made.commit_id {
        Some(_) => "Adopted",
        None => "Nothing to adopt: what it did is settled",
    });
    cx.out.answer(&made, |_| String::new())
}

/// Lets a node in.
///
/// # Errors
/// The problem to tell of, as everywhere below.
pub async fn share(cx: &Context<'_>, args: ShareArgs) -> Result<Done, Problem> {
    let nodes = match is_node(&args.who) {
        // A node that was named is the user's word.
        true => None,
        false => confirmed(cx, &args).await?,
    };
    let question = Share {
        vault: args.vault.0,
        who: args.who,
        role: args.role,
        nodes,
    };
    let shared: Shared = cx.call(&sharing::SHARE, &question).await?;
    let name = escape::name(&shared.vault_name);
    let who = escape::name(&question.who);
    cx.out.success(&if shared.pending {
        format!(
            "Vault {name} will be shared with {who} as {} as soon as its keys can be fetched",
            shared.role
        )
    } else {
        format!("Shared vault {name} with {who} as {}", shared.role)
    });
    cx.out.answer(&shared, |_| String::new())
}

/// True for what can only be the id of a node or a petname: nothing is to be asked then.
fn is_node(who: &str) -> bool {
    !who.contains([':', '.'])
}

/// The nodes of a person that the user confirms, now or before; none when the one node itself was named.
async fn confirmed(cx: &Context<'_>, args: &ShareArgs) -> Result<Option<Vec<String>>, Problem> {
    let question = Candidates {
        vault: args.vault.0.clone(),
        who: args.who.clone(),
    };
    let list = cx.call(&sharing::CANDIDATES, &question).await?;
    if list.direct {
        return Ok(None);
    }
    let who = escape::name(&args.who);
    if args.yes {
        let known = list.candidates.iter().filter(|candidate| candidate.confirmed);
        let known: Vec<String> = known.map(|candidate| candidate.node_id_encoded.clone()).collect();
        return match known.is_empty() {
            false => Ok(Some(known)),
            true => Err(Problem::new(
                Code::Usage,
                format!("no node that speaks for {who} was confirmed before"),
            )
            .hint(format!(
                "on a terminal, `polykey vaults share {} {}` shows them and asks",
                typed(&args.vault.0),
                typed(&args.who)
            ))),
        };
    }
    let attended = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if !attended || cx.out.is_json() {
        return Err(Problem::new(
            Code::Usage,
            format!("nobody is there to confirm which nodes are those of {who}"),
        )
        .hint("run it on a terminal, pass `--yes` for those confirmed before, or name the node by its id"));
    }
    ask_which(cx, &who, &list.candidates).map(Some)
}

/// Shows the nodes with their proofs, and asks once which of them are meant.
fn ask_which(cx: &Context<'_>, who: &str, candidates: &[Candidate]) -> Result<Vec<String>, Problem> {
    cx.out.line(&format!("These nodes speak for {who}:"));
    for (candidate, number) in candidates.iter().zip(1..) {
        cx.out.lines(&candidate_text(candidate, number));
    }
    cx.out
        .line("Compare `polykey identities words` with their owner, if you can.");
    let last = candidates.len();
    let question = match last {
        1 => "Share with it? [y/N] ".to_owned(),
        _ => format!("Share with which? [numbers from 1 to {last}, all, or none] "),
    };
    {
        let mut stderr = std::io::stderr().lock();
        let _ = write!(stderr, "{question}");
        let _ = stderr.flush();
    }
    let mut answer = String::new();
    let _ = std::io::stdin().read_line(&mut answer);
    let chosen = chosen(answer.trim(), candidates.len()).ok_or_else(|| {
        Problem::new(Code::Usage, "nothing was shared").hint("answer with the numbers of nodes, or all")
    })?;
    let chosen = chosen.into_iter().filter_map(|number| candidates.get(number));
    Ok(chosen
        .map(|candidate| candidate.node_id_encoded.clone())
        .collect())
}

/// The places that an answer names; none for an answer that names nobody.
fn chosen(answer: &str, count: usize) -> Option<Vec<usize>> {
    match (answer, count) {
        ("all" | "All", _) | ("y" | "Y" | "yes" | "Yes", 1) => return Some((0..count).collect()),
        _ => {}
    }
    let mut places = Vec::new();
    for part in answer.split([' ', ',']).filter(|part| !part.is_empty()) {
        let number: usize = part.parse().ok()?;
        if !(1..=count).contains(&number) {
            return None;
        }
        places.push(number - 1);
    }
    places.sort_unstable();
    places.dedup();
    (!places.is_empty()).then_some(places)
}

fn candidate_text(candidate: &Candidate, number: usize) -> String {
    let mut text = format!("  {number}. {}", escape::name(&candidate.node_id_encoded));
    if let Some(petname) = &candidate.petname {
        let _ = write!(text, " ({})", escape::name(petname));
    }
    if candidate.confirmed {
        text.push_str(", confirmed before");
    }
    if let Some(role) = &candidate.role {
        let _ = write!(text, ", {} already", escape::name(role));
    }
    if candidate.doubtful {
        text.push_str(", DOUBTFUL: its signed history was forked");
    }
    for proof in &candidate.proofs {
        let _ = write!(
            text,
            "\n     {} since {}, last seen {}",
            escape::name(&proof.identity),
            time::show(proof.since),
            time::show(proof.checked)
        );
    }
    for device in &candidate.devices {
        let _ = write!(text, "\n     with its other device {}", escape::name(device));
    }
    text
}

/// Takes a node out.
///
/// # Errors
/// As above.
pub async fn unshare(cx: &Context<'_>, args: UnshareArgs) -> Result<Done, Problem> {
    let question = Unshare {
        vault: args.vault.0,
        who: args.who,
    };
    let unshared = cx.call(&sharing::UNSHARE, &question).await?;
    let name = escape::name(&unshared.vault_name);
    cx.out.success(&format!(
        "Vault {name} is no longer shared with {}",
        escape::name(&question.who)
    ));
    if !unshared.rotate.is_empty() {
        cx.out.success(
            "It may have kept these; give them new values (`polykey vaults rotation` shows what is left):",
        );
    }
    cx.out.answer(&unshared, |unshared| paths(&unshared.rotate))
}

/// Shows what to rotate.
///
/// # Errors
/// As above.
pub async fn rotation(cx: &Context<'_>, args: OneVaultArgs) -> Result<Done, Problem> {
    let list = cx
        .call(&sharing::ROTATION, &OneVault { vault: args.vault.0 })
        .await?;
    if list.rotate.is_empty() {
        cx.out.success("Nothing to rotate");
    }
    cx.out.answer(&list.rotate, |rotate| paths(rotate))
}

fn paths(items: &[RotationItem]) -> String {
    items.iter().fold(String::new(), |mut text, item| {
        let _ = writeln!(text, "{}", escape::name(&item.path));
        text
    })
}

/// Shows the members.
///
/// # Errors
/// As above.
pub async fn members(cx: &Context<'_>, args: OneVaultArgs) -> Result<Done, Problem> {
    let list = cx
        .call(&sharing::MEMBERS, &OneVault { vault: args.vault.0 })
        .await?;
    cx.out.answer(&list.members, |members| {
        let mut table = Table::with_headings(&["NODE", "NAME", "GESTALT", "ROLE", "SINCE", "LAST SYNC"]);
        for member in members {
            table.row(&member_row(member));
        }
        table.to_text()
    })
}

fn member_row(member: &MemberItem) -> [String; 6] {
    let since = match &member.since {
        Some(since) => since.clone(),
        None => "waits for its keys".to_owned(),
    };
    let last = if member.this_node {
        "this node".to_owned()
    } else {
        member.last_sync.map_or("never".to_owned(), time::show)
    };
    [
        member.node_id_encoded.clone(),
        member.petname.clone().unwrap_or_default(),
        member.gestalt.join(" "),
        member.role.clone(),
        since,
        last,
    ]
}

/// Shows what each member may do.
///
/// # Errors
/// As above.
pub async fn permissions(cx: &Context<'_>, args: OneVaultArgs) -> Result<Done, Problem> {
    let list = cx
        .call(&sharing::PERMISSIONS, &OneVault { vault: args.vault.0 })
        .await?;
    if list.permissions.is_empty() {
        cx.out.success("The vault is shared with nobody");
    }
    cx.out.answer(&list.permissions, |permissions| {
        permissions.iter().fold(String::new(), |mut text, item| {
            let _ = writeln!(
                text,
                "{}\t{}",
                item.node_id_encoded,
                item.vault_permission_list.join(",")
            );
            text
        })
    })
}

/// Makes a ticket.
///
/// # Errors
/// As above.
pub async fn invite(cx: &Context<'_>, args: InviteArgs) -> Result<Done, Problem> {
    let question = Invite {
        vault: args.vault.0,
        role: args.role,
        expires: args.expires.as_deref().map(duration).transpose()?,
        to: args.to,
    };
    let invited: Invited = cx.call(&sharing::INVITE, &question).await?;
    cx.out.success(&format!(
        "Whoever runs this first joins vault {} as {} (until {}): polykey join TICKET",
        escape::name(&invited.vault_name),
        invited.role,
        time::show(invited.expires)
    ));
    if !cx.out.is_json() && !cx.out.is_quiet() && std::io::stdout().is_terminal() {
        match qr::half_blocks(&invited.ticket) {
            Some(code) => cx.out.lines(&code),
            None => cx.out.success("The ticket is too long for a QR code"),
        }
    }
    cx.out.answer(&invited, |invited| invited.ticket.clone())
}

/// A length of time in milliseconds: a number and `s`, `m`, `h` or `d`.
///
/// # Errors
/// [`Code::Usage`].
pub fn duration(text: &str) -> Result<u64, Problem> {
    let wrong = || {
        Problem::new(Code::Usage, format!("{text:?} is no length of time"))
            .hint("a number and s, m, h or d, such as 30m, 24h or 7d")
    };
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        _ => return Err(wrong()),
    };
    let digits = &text[..text.len() - 1];
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let millis = number
        .checked_mul(seconds)
        .and_then(|seconds| seconds.checked_mul(1000));
    millis.filter(|millis| *millis > 0).ok_or_else(wrong)
}

/// Redeems a ticket.
///
/// # Errors
/// As above.
pub async fn join(cx: &Context<'_>, args: JoinArgs) -> Result<Done, Problem> {
    let ticket = match args.ticket.as_str() {
        "-" => read_ticket()?,
        _ => Zeroizing::new(args.ticket),
    };
    let question = Join {
        ticket: ticket.trim().to_owned(),
    };
    let joined = cx.call(&sharing::JOIN, &question).await?;
    if joined.vault_name.is_empty() {
        cx.out.success(&format!(
            "This node is a {} of vault {} and has no keys to read it: it keeps the ciphertext (`polykey vaults kept`)",
            joined.role, joined.vault_id
        ));
        return cx.out.answer(&joined, |joined| joined.vault_id.clone());
    }
    cx.out.success(&format!(
        "Joined vault {} as {}",
        escape::name(&joined.vault_name),
        joined.role
    ));
    cx.out.answer(&joined, |joined| {
        format!("{}\t{}", escape::name(&joined.vault_name), joined.vault_id)
    })
}

/// Reads a ticket from standard input.
///
/// # Errors
/// [`Code::Io`].
pub fn read_ticket() -> Result<Zeroizing<String>, Problem> {
    let mut text = Zeroizing::new(String::new());
    std::io::stdin()
        .lock()
        .take(MAX_TICKET)
        .read_to_string(&mut text)
        .map_err(|error| Problem::new(Code::Io, "standard input cannot be read").caused_by(&error))?;
    Ok(text)
}

/// Shows where copies are.
///
/// # Errors
/// As above.
pub async fn status(cx: &Context<'_>, args: OneVaultArgs) -> Result<Done, Problem> {
    let status = cx
        .call(&sharing::STATUS, &OneVault { vault: args.vault.0 })
        .await?;
    cx.out.answer(&status, show_status)
}

fn show_status(status: &VaultStatus) -> String {
    let mut text = format!(
        "vault {} ({}), role {}\n{} full and {} ciphertext copies, {} of them known to be up to date\n",
        escape::name(&status.vault_name),
        status.vault_id,
        status.role,
        status.full_copies,
        status.ciphertext_copies,
        status.fresh_copies,
    );
    if let Some(lag) = status.oldest_lag {
        let _ = writeln!(text, "the copy furthest behind was last level {} ago", span(lag));
    }
    if status.copies.is_empty() {
        return text;
    }
    let mut table = Table::with_headings(&["COPY", "KIND", "LAST SYNC", "STATE"]);
    for copy in &status.copies {
        let state = match (copy.trouble.as_deref(), copy.fresh, copy.last_sync) {
            (Some("no-room"), false, _) => "no room there",
            (Some(trouble), ..) => trouble,
            (None, true, _) => "up to date",
            (None, false, Some(_)) => "behind",
            (None, false, None) => "not seen yet",
        };
        let last = copy.last_sync.map_or("never".to_owned(), time::show);
        table.row(&[&copy.place, &copy.kind, &last, state]);
    }
    text.push_str(&table.to_text());
    text
}

/// A length of time as people read it.
fn span(millis: u64) -> String {
    indicatif::HumanDuration(std::time::Duration::from_millis(millis)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_name_nodes_or_nobody() {
        let check = |answer: &str, count: usize, want: Option<&[usize]>| {
            assert_eq!(
                super::chosen(answer, count).as_deref(),
                want,
                "{answer:?} of {count}"
            );
        };
        check("y", 1, Some(&[0]));
        check("all", 3, Some(&[0, 1, 2]));
        check("1", 2, Some(&[0]));
        check("3, 1 1", 3, Some(&[0, 2]));
        for none in ["", "n", "none", "0", "4", "1 x", "-1", "1-2", "y"] {
            check(none, 3, None);
        }
        check("n", 1, None);
        check("2", 1, None);
    }

    #[test]
    fn the_status_names_lags_and_troubles() {
        let copy = |place: &str, last_sync, fresh, trouble: Option<&str>| polykey_api::sharing::CopyItem {
            place: place.to_owned(),
            kind: "keeper".to_owned(),
            last_sync,
            fresh,
            trouble: trouble.map(str::to_owned),
        };
        let status = VaultStatus {
            vault_id: "z1".to_owned(),
            vault_name: "work\u{1b}".to_owned(),
            role: "admin".to_owned(),
            full_copies: 1,
            ciphertext_copies: 2,
            fresh_copies: 2,
            oldest_lag: Some(7_200_000),
            copies: vec![
                copy("a", Some(1), true, None),
                copy("b", Some(1), false, None),
                copy("c", None, false, None),
                copy("d", Some(1), false, Some("no-room")),
                copy("e", Some(1), false, Some("dropped")),
            ],
        };
        let text = show_status(&status);
        assert!(text.contains("1 full and 2 ciphertext copies"), "{text}");
        assert!(text.contains("last level 2 hours ago"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        for (place, state) in [
            ("a", "up to date"),
            ("b", "behind"),
            ("c", "not seen yet"),
            ("d", "no room there"),
            ("e", "dropped"),
        ] {
            let line = text.lines().find(|line| line.starts_with(&format!("{place} ")));
            assert!(line.is_some_and(|line| line.ends_with(state)), "{place}: {text}");
        }
    }

    #[test]
    fn lengths_of_time_have_a_number_and_a_unit() {
        for (text, millis) in [
            ("1s", 1000),
            ("30m", 1_800_000),
            ("24h", 86_400_000),
            ("7d", 604_800_000),
        ] {
            assert_eq!(duration(text), Ok(millis), "{text}");
        }
        for bad in [
            "",
            "h",
            "24",
            "0h",
            "-1h",
            "+1h",
            "1.5h",
            "1 h",
            "1w",
            "1hh",
            "1h ",
            "٣h",
            "99999999999999999999d",
            "999999999999999999d",
            "1é",
        ] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }
}
