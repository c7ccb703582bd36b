//! `recovery split`, `list`, `drill`, `drop`, `request`, `approve`, `refuse`, `veto` and `restore`: friends hold sealed
//! shares of the recovery code.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use polykey_api::friends::{
    self, AskFriends, Decide, Delivery, Drilled, FriendItem, FriendState, Proof, RequestItem, RequestState,
    RestoredCode, Shares, SplitCode, SplitItem, Veto,
};
use polykey_api::nodes::OneNode;
use polykey_api::problem::typed;
use polykey_api::{Code, Nothing, Problem};
use zeroize::Zeroizing;

use crate::commands::agent::{code_text, given_recovery_code};
use crate::commands::sharing::duration;
use crate::confirm::{confirm, confirm_attended};
use crate::context::Context;
use crate::escape;
use crate::output::{Done, counted};
use crate::password;
use crate::table::Table;
use crate::time;

/// Arguments of `split`.
#[derive(Debug, Args)]
pub struct SplitArgs {
    /// How many shares give the code back
    #[arg(long, value_name = "NUMBER")]
    threshold: u8,
    /// Friends who get a share each: their ids or petnames
    #[arg(long, value_name = "NODE", required = true, num_args = 1..)]
    to: Vec<String>,
    /// How long a friend waits before it releases its share, so that you can object (0s, 24h, 7d)
    #[arg(long, value_name = "TIME", default_value = "24h")]
    wait: String,
    /// Read the recovery code from this file (`-` for stdin)
    #[arg(long, value_name = "FILE")]
    recovery_code_file: Option<PathBuf>,
}

/// Arguments of `drop`.
#[derive(Debug, Args)]
pub struct DropArgs {
    /// Whose share: id or petname
    #[arg(value_name = "OWNER")]
    who: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Arguments of `request`.
#[derive(Debug, Args)]
pub struct RequestArgs {
    /// The node that was lost: its id or petname
    #[arg(value_name = "OWNER")]
    owner: String,
    /// Its friends: their ids or petnames
    #[arg(long, value_name = "FRIEND", required = true, num_args = 1..)]
    from: Vec<String>,
}

/// Arguments of `approve` and `refuse`.
#[derive(Debug, Args)]
pub struct DecideArgs {
    /// The node that asks, or the owner when only one node asks: id or petname
    #[arg(value_name = "NODE")]
    who: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Arguments of `veto`.
#[derive(Debug, Args)]
pub struct VetoArgs {
    /// The node that asks: its id [default: all of which a friend warned]
    #[arg(value_name = "NODE")]
    asker: Option<String>,
}

/// Arguments of `restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The node that was lost: its id or petname
    #[arg(value_name = "OWNER")]
    owner: String,
    /// Write the recovery code to this new file, which only you can read
    #[arg(long, value_name = "FILE")]
    recovery_code_out_file: Option<PathBuf>,
    /// Print the recovery code although no terminal shows it
    #[arg(long, conflicts_with = "recovery_code_out_file")]
    print: bool,
}

/// A waiting time, which may be none.
fn wait(text: &str) -> Result<u64, Problem> {
    match text {
        "0" | "0s" | "0m" | "0h" | "0d" => Ok(0),
        text => duration(text),
    }
}

/// The recovery code: from the file, the environment or the prompt.
fn recovery_code(file: Option<&Path>) -> Result<String, Problem> {
    match given_recovery_code(file)? {
        Some(code) => Ok(code),
        None => {
            let missing = Problem::new(Code::Usage, "the recovery code is needed")
                .hint("give it with `--recovery-code-file`, or set PK_RECOVERY_CODE");
            code_text(&password::ask_or(missing, "Recovery code of this node: ")?)
        }
    }
}

fn length(millis: u64) -> String {
    let seconds = millis / 1000;
    match seconds {
        0 => "none".to_owned(),
        s if s % (24 * 3600) == 0 => format!("{}d", s / (24 * 3600)),
        s if s % 3600 == 0 => format!("{}h", s / 3600),
        s if s % 60 == 0 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

fn names<'n>(all: impl Iterator<Item = &'n str>) -> String {
    all.map(|name| escape::name(name).into_owned())
        .collect::<Vec<_>>()
        .join(", ")
}

fn delivery(delivery: Delivery) -> &'static str {
    match delivery {
        Delivery::Waiting => "on its way",
        Delivery::Kept => "has it",
        Delivery::Refused => "refused it",
        Delivery::GivenUp => "gave it up",
    }
}

/// Splits the recovery code.
///
/// # Errors
/// The problem to tell of, as everywhere below.
pub async fn split(cx: &Context<'_>, args: SplitArgs) -> Result<Done, Problem> {
    let wait = wait(&args.wait)?;
    let question = SplitCode {
        recovery_code: recovery_code(args.recovery_code_file.as_deref())?,
        threshold: args.threshold,
        to: args.to,
        wait,
    };
    let split = cx.call(&friends::SPLIT, &question).await?;
    drop(Zeroizing::new(question.recovery_code));
    let of = |state: Delivery| {
        let holders = split.holders.iter();
        let those = holders.filter(move |holder| holder.delivery == state);
        those.map(|holder| holder.name.as_str()).collect::<Vec<_>>()
    };
    cx.out.success(&format!(
        "Split the recovery code into {}; any {} give it back",
        counted(split.holders.len() as u64, "share"),
        split.threshold
    ));
    let (waiting, refused) = (of(Delivery::Waiting), of(Delivery::Refused));
    if !waiting.is_empty() {
        cx.out.success(&format!(
            "Not there yet, brought as soon as they can be reached: {}",
            names(waiting.into_iter())
        ));
    }
    if !refused.is_empty() {
        cx.out.warn(&format!(
            "refused, since they do not know this node or hold too many: {}",
            names(refused.iter().copied())
        ));
    }
    let done = cx.out.answer(&split, holders)?;
    Ok(match refused.is_empty() {
        true => done,
        false => Done::Partly,
    })
}

fn holders(split: &SplitItem) -> String {
    let mut table = Table::with_headings(&["FRIEND", "SHARE", "LAST DRILL"]);
    for holder in &split.holders {
        let drilled = match (holder.drilled, holder.proved) {
            (Some(at), Some(true)) => time::show(at),
            (Some(at), _) => format!("{} failed", time::show(at)),
            _ => "never".to_owned(),
        };
        table.row(&[
            escape::name(&holder.name).into_owned(),
            delivery(holder.delivery).to_owned(),
            drilled,
        ]);
    }
    table.to_text()
}

/// Shows everything about shares.
///
/// # Errors
/// As above.
pub async fn list(cx: &Context<'_>) -> Result<Done, Problem> {
    let shares = cx.call(&friends::LIST, &Nothing {}).await?;
    if shares.own.as_ref().is_some_and(|own| own.stale) {
        cx.out.warn(
            "the keys were renewed since the code was split: split the new one with `polykey recovery split`",
        );
    }
    cx.out.answer(&shares, shown)
}

fn shown(shares: &Shares) -> String {
    let mut parts = Vec::new();
    if let Some(own) = &shares.own {
        parts.push(format!(
            "Your recovery code: {} of {} shares give it back, waiting time {}\n{}",
            own.threshold,
            own.holders.len(),
            length(own.wait),
            holders(own)
        ));
    }
    if !shares.held.is_empty() {
        let mut table = Table::with_headings(&["HELD FOR", "NEEDED", "WAIT", "SINCE"]);
        for held in &shares.held {
            table.row(&[
                escape::name(&held.name).into_owned(),
                format!("{} of {}", held.threshold, held.count),
                length(held.wait),
                match held.stale {
                    true => "of no use: the owner has new keys".to_owned(),
                    false => time::show(held.since),
                },
            ]);
        }
        parts.push(table.to_text());
    }
    if !shares.requests.is_empty() {
        let mut table = Table::with_headings(&["ASKS", "FOR", "STATE", "NOT BEFORE"]);
        for request in &shares.requests {
            table.row(&[
                request.asker.clone(),
                escape::name(&request.owner_name).into_owned(),
                request_state(request).to_owned(),
                time::show(request.not_before),
            ]);
        }
        parts.push(table.to_text());
    }
    if !shares.warnings.is_empty() {
        let mut table = Table::with_headings(&["ASKS FOR YOURS", "FRIEND", "NOT BEFORE", "STATE"]);
        for warning in &shares.warnings {
            let state = if warning.vetoed { "vetoed" } else { "open" };
            table.row(&[
                warning.asker.clone(),
                escape::name(&warning.holder_name).into_owned(),
                time::show(warning.not_before),
                state.to_owned(),
            ]);
        }
        parts.push(table.to_text());
    }
    for sought in &shares.sought {
        parts.push(format!(
            "Asked for the shares of {}\n{}",
            sought.owner,
            friend_table(&sought.friends)
        ));
    }
    parts.join("\n")
}

fn request_state(request: &RequestItem) -> &'static str {
    match (request.state, request.released) {
        (RequestState::Open, _) => "open",
        (RequestState::Approved, false) => "approved",
        (RequestState::Approved, true) => "released",
        (RequestState::Refused, false) => "refused",
        (RequestState::Refused, true) => "refused after release",
        (RequestState::Vetoed, false) => "vetoed",
        (RequestState::Vetoed, true) => "vetoed after release",
    }
}

fn friend_table(friends: &[FriendItem]) -> String {
    let mut table = Table::with_headings(&["FRIEND", "STATE"]);
    for friend in friends {
        table.row(&[escape::name(&friend.name).into_owned(), friend_state(friend)]);
    }
    table.to_text()
}

fn friend_state(friend: &FriendItem) -> String {
    match (friend.state, friend.not_before, friend.approved) {
        (FriendState::Away, ..) => "cannot be reached; tried again".to_owned(),
        (FriendState::Asked, ..) => "has the request".to_owned(),
        (FriendState::Waiting, Some(at), Some(true)) => format!("agreed; releases at {}", time::show(at)),
        (FriendState::Waiting, Some(at), _) => {
            format!("did not agree yet; not before {}", time::show(at))
        }
        (FriendState::Waiting, ..) => "does not release it yet".to_owned(),
        (FriendState::Released, ..) => "gave its share".to_owned(),
        (FriendState::Refused, ..) => "refused, or holds no share".to_owned(),
        (FriendState::False, ..) => "gave a false share, which is left out".to_owned(),
    }
}

/// Lets holders prove that they have their shares.
///
/// # Errors
/// As above.
pub async fn drill(cx: &Context<'_>) -> Result<Done, Problem> {
    let drilled = cx.call(&friends::DRILL, &Nothing {}).await?;
    let count = counted(drilled.proven.into(), "friend");
    let done = if drilled.met {
        cx.out.success(&format!(
            "{count} proved to have the share; {} are needed: the code would come back",
            drilled.threshold
        ));
        Done::All
    } else {
        cx.out.warn(&format!(
            "{count} proved to have the share, and {} are needed: today the code would not come back",
            drilled.threshold
        ));
        Done::Partly
    };
    cx.out.answer(&drilled, drill_table)?;
    Ok(done)
}

fn drill_table(drilled: &Drilled) -> String {
    let mut table = Table::with_headings(&["FRIEND", "SHARE"]);
    for holder in &drilled.holders {
        let proof = match holder.proof {
            Proof::Has => "has it",
            Proof::Away => "does not answer",
            Proof::Lacks => "says that it has none",
            Proof::False => "FALSE PROOF",
        };
        table.row(&[escape::name(&holder.name).into_owned(), proof.to_owned()]);
    }
    table.to_text()
}

/// Gives up a share.
///
/// # Errors
/// As above.
pub async fn drop_share(cx: &Context<'_>, args: DropArgs) -> Result<Done, Problem> {
    if !args.yes {
        confirm(
            cx,
            &format!(
                "Give up the share of {}? It does not come back.",
                escape::name(&args.who)
            ),
        )?;
    }
    let question = OneNode { who: args.who };
    let dropped = cx.call(&friends::DROP, &question).await?;
    cx.out.success(&format!(
        "Gave up the share of {}, who is told",
        escape::name(&question.who)
    ));
    cx.out.answer(&dropped, |_| String::new())
}

/// Asks friends of a lost node.
///
/// # Errors
/// As above.
pub async fn request(cx: &Context<'_>, args: RequestArgs) -> Result<Done, Problem> {
    let question = AskFriends {
        owner: args.owner,
        from: args.from,
    };
    let sought = cx.call(&friends::REQUEST, &question).await?;
    let asked = sought
        .friends
        .iter()
        .any(|friend| friend.state == FriendState::Asked);
    let refused = sought
        .friends
        .iter()
        .any(|friend| friend.state == FriendState::Refused);
    if asked {
        cx.out.success(
            "Asked; now talk to each friend, by voice or in person, and compare `polykey identities words FRIEND`",
        );
        cx.out.success(&format!(
            "Then: `polykey recovery restore {} --recovery-code-out-file FILE`",
            typed(&question.owner)
        ));
    }
    if refused {
        cx.out
            .warn("who refused holds no share of this node, or takes no more requests");
    }
    let done = cx.out.answer(&sought, |sought| friend_table(&sought.friends))?;
    Ok(match refused {
        true => Done::Partly,
        false => done,
    })
}

/// Lets a share be released.
///
/// # Errors
/// As above.
pub async fn approve(cx: &Context<'_>, args: DecideArgs) -> Result<Done, Problem> {
    let shown = cx.call(&friends::SHOW, &OneNode { who: args.who }).await?;
    let owner = escape::name(&shown.owner_name).into_owned();
    let known = match shown.asker_name == shown.asker {
        true => String::new(),
        false => format!(" You call it {}.", escape::name(&shown.asker_name)),
    };
    if !cx.out.is_quiet() && !cx.out.is_json() {
        cx.out.lines(&format!(
            "{} asks for the share of {owner}.{known}\n\
             Words to compare: {}\n\
             Call {owner} by voice or meet in person: whoever asks has to read the same words from the new node.\n\
             Enough friends together can do whatever {owner} can. A message alone proves nothing.",
            shown.asker,
            shown.words.as_deref().unwrap_or_default().join(" "),
        ));
    }
    if !args.yes {
        confirm_attended(
            cx,
            &format!("Did you talk to {owner}, and are the words the same?"),
        )?;
    }
    let question = Decide {
        owner: shown.owner,
        asker: shown.asker,
    };
    let approved = cx.call(&friends::APPROVE, &question).await?;
    cx.out.success(&format!(
        "The share of {owner} is released to {}, not before {}",
        approved.asker,
        time::show(approved.not_before)
    ));
    let approved = RequestItem {
        words: shown.words,
        ..approved
    };
    cx.out.answer(&approved, |_| String::new())
}

/// Refuses a request.
///
/// # Errors
/// As above.
pub async fn refuse(cx: &Context<'_>, args: DecideArgs) -> Result<Done, Problem> {
    let shown = cx.call(&friends::SHOW, &OneNode { who: args.who }).await?;
    let owner = escape::name(&shown.owner_name).into_owned();
    if !args.yes {
        confirm(
            cx,
            &format!("Refuse {} the share of {owner} for good?", shown.asker),
        )?;
    }
    let question = Decide {
        owner: shown.owner,
        asker: shown.asker,
    };
    let refused = cx.call(&friends::REFUSE, &question).await?;
    cx.out
        .success(&format!("{} does not get the share of {owner}", refused.asker));
    cx.out.answer(&refused, |_| String::new())
}

/// Warns the holders off.
///
/// # Errors
/// As above.
pub async fn veto(cx: &Context<'_>, args: VetoArgs) -> Result<Done, Problem> {
    let vetoed = cx.call(&friends::VETO, &Veto { asker: args.asker }).await?;
    for veto in &vetoed.vetoes {
        if !veto.holders.is_empty() {
            let told = names(veto.holders.iter().map(String::as_str));
            cx.out
                .success(&format!("Told that {} is not yours: {told}", veto.asker));
        }
        if !veto.waiting.is_empty() {
            let waiting = names(veto.waiting.iter().map(String::as_str));
            cx.out.warn(&format!(
                "not told yet, since they cannot be reached: {waiting}; call them"
            ));
        }
    }
    cx.out.answer(&vetoed, |_| String::new())
}

/// Fetches released shares and puts the code together.
///
/// # Errors
/// As above.
pub async fn restore(cx: &Context<'_>, args: RestoreArgs) -> Result<Done, Problem> {
    let to = match &args.recovery_code_out_file {
        Some(path) if path.exists() => return Err(there_already(path)),
        Some(path) => Some(path),
        None if args.print || cx.out.is_json() || std::io::stdout().is_terminal() => None,
        None => {
            return Err(Problem::new(
                Code::Usage,
                "the recovery code would be printed where no terminal shows it",
            )
            .hint("write it to a file with `--recovery-code-out-file`, or pass `--print`"));
        }
    };
    let mut restored = cx.call(&friends::RESTORE, &OneNode { who: args.owner }).await?;
    let words = restored.recovery_code.take().map(Zeroizing::new);
    let Some(words) = words else {
        return missing(cx, &restored);
    };
    for friend in restored
        .friends
        .iter()
        .filter(|friend| friend.state == FriendState::False)
    {
        cx.out.warn(&format!(
            "the share of {} is false and was left out",
            escape::name(&friend.name)
        ));
    }
    let file = match to {
        Some(path) => {
            write_code(path, &words)?;
            escape::name(&path.display().to_string()).into_owned()
        }
        None => {
            restored.recovery_code = Some(words.to_string());
            "FILE".to_owned()
        }
    };
    if !cx.out.is_quiet() && !cx.out.is_json() {
        cx.out.lines(&format!(
            "This is the recovery code of {}. Next, with a new node path and a new password:\n  \
             polykey --node-path NEW agent start --recovery-code-file {file} --background\n  \
             polykey --node-path NEW recovery resume --recovery-code-file {file}",
            restored.owner
        ));
    }
    let done = cx.out.answer(&restored, |restored| {
        restored.recovery_code.clone().unwrap_or_default()
    });
    drop(restored.recovery_code.take().map(Zeroizing::new));
    done
}

/// There are not enough shares yet.
fn missing(cx: &Context<'_>, restored: &RestoredCode) -> Result<Done, Problem> {
    let came = restored
        .friends
        .iter()
        .filter(|friend| friend.state == FriendState::Released);
    let came = counted(came.count() as u64, "share");
    cx.out.warn(&match restored.threshold {
        Some(threshold) => format!("{came} came, and {threshold} are needed: no recovery code yet"),
        None => "no share came: no recovery code yet".to_owned(),
    });
    cx.out
        .answer(restored, |restored| friend_table(&restored.friends))?;
    Ok(Done::Partly)
}

fn there_already(path: &Path) -> Problem {
    Problem::new(
        Code::Exists,
        format!("{} is there already, and is not overwritten", path.display()),
    )
    .hint("name a new file")
}

/// Writes the code to a new file that only its user can read.
fn write_code(path: &Path, words: &str) -> Result<(), Problem> {
    let written = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| {
            file.write_all(words.as_bytes())?;
            file.write_all(b"\n")?;
            file.sync_all()
        });
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => there_already(path),
        _ => Problem::new(Code::Io, format!("cannot write {}", path.display()))
            .hint("the friends give their shares again: run it once more with another file")
            .caused_by(&error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_times_may_be_none_and_read_back() {
        for (text, millis, shown) in [
            ("0s", 0, "none"),
            ("0", 0, "none"),
            ("90s", 90_000, "90s"),
            ("24h", 86_400_000, "1d"),
            ("30m", 1_800_000, "30m"),
            ("36h", 129_600_000, "36h"),
        ] {
            assert_eq!(wait(text), Ok(millis), "{text}");
            assert_eq!(length(millis), shown, "{text}");
        }
        for bad in ["", "h", "1", "-1h", "1w", "00s", "99999999999999999999d"] {
            assert!(wait(bad).is_err(), "{bad}");
        }
    }
}
