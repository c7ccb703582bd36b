//! `vaults scan`, `clone`, `pull`, `sync`: vaults between nodes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use polykey_api::exchange::{self, CloneVault, PullVaults, Step, SyncVaults};
use polykey_api::nodes::OneNode;
use polykey_api::problem::typed;
use polykey_api::replicas::{self, CloneFolder};
use polykey_api::vaults::OneVault;
use polykey_api::{Code, Endpoint, Problem, sharing};
use serde::Serialize;

use crate::context::{Autostart, Context};
use crate::escape;
use crate::output::Done;
use crate::secret_arg::VaultArg;

/// Work shorter than this shows no progress.
const PATIENCE: Duration = Duration::from_secs(1);
/// What is shown moves this often, so that it is seen to live while nothing comes.
const TICK: Duration = Duration::from_millis(200);

/// Arguments of `scan`.
#[derive(Debug, Args)]
pub struct Scan {
    /// Id or petname of the node
    #[arg(value_name = "NODE")]
    who: String,
}

/// Arguments of `clone`.
#[derive(Debug, Args)]
pub struct Clone {
    /// Name of the vault at the other node, or its id
    #[arg(required_unless_present = "from")]
    vault: Option<VaultArg>,
    /// Id or petname of the node [default: whoever shared the vault with this node]
    #[arg(value_name = "NODE", conflicts_with = "from")]
    who: Option<String>,
    /// Out of this folder, which holds a copy, instead of from a node
    #[arg(long, value_name = "DIR")]
    from: Option<String>,
}

/// Arguments of `pull`.
#[derive(Debug, Args)]
pub struct Pull {
    /// Name or id of the vault [default: all]
    vault: Option<VaultArg>,
    /// Id or petname of a node [default: every member that can be reached]
    #[arg(value_name = "NODE")]
    who: Option<String>,
    /// What the node calls the vault: refused when that is another one
    #[arg(long, value_name = "VAULT", requires_all = ["vault", "who"])]
    pull_vault: Option<VaultArg>,
}

/// Arguments of `sync`.
#[derive(Debug, Args)]
pub struct Sync {
    /// Name or id of the vault [default: all]
    vault: Option<VaultArg>,
}

/// Lists the vaults that another node shares with this one.
///
/// # Errors
/// The problem to tell of.
pub async fn scan(cx: &Context<'_>, args: Scan) -> Result<Done, Problem> {
    let list = cx.call(&exchange::SCAN, &OneNode { who: args.who }).await?;
    cx.out.answer(&list.offers, |offers| {
        let mut text = String::new();
        for offer in offers {
            let _ = writeln!(
                text,
                "{}\t{}\t{}",
                escape::name(&offer.vault_name),
                offer.vault_id_encoded,
                escape::name(&offer.vault_permissions.join(","))
            );
        }
        text
    })
}

/// Brings in a vault of another node.
///
/// # Errors
/// The problem to tell of.
pub async fn clone(cx: &Context<'_>, args: Clone) -> Result<Done, Problem> {
    let vault = args.vault.map(|vault| vault.0);
    if let Some(folder) = args.from {
        return clone_folder(cx, vault, &folder).await;
    }
    let question = CloneVault {
        vault: vault.unwrap_or_default(),
        who: args.who,
    };
    let mut ended = watch(cx, &exchange::CLONE, &question).await?;
    let lost = || {
        Problem::new(Code::Io, "the agent ended before the vault was here")
            .hint("run the same command again: it goes on where it was")
    };
    let last = ended.pop().ok_or_else(lost)?;
    if let Some(problem) = last.problem {
        return Err(problem.into());
    }
    if let Some(kept) = last.kept {
        cx.out.success(&format!(
            "This node is a keeper of vault {} and has no keys to read it: it keeps the ciphertext (`polykey vaults kept`)",
            kept.vault_id
        ));
        return cx.out.answer(&kept, |kept| kept.vault_id.clone());
    }
    let item = last.vault.ok_or_else(lost)?;
    cx.out.success(&format!(
        "Cloned vault {} from {}",
        escape::name(&item.vault_name),
        escape::name(&last.node)
    ));
    cx.out.answer(&item, |item| item.vault_id_encoded.clone())
}

async fn clone_folder(cx: &Context<'_>, vault: Option<String>, folder: &str) -> Result<Done, Problem> {
    let whole = std::path::absolute(folder)
        .map_err(|error| Problem::new(Code::Usage, "the folder has no name").caused_by(&error))?;
    let whole = whole.into_os_string().into_string();
    let folder = whole.map_err(|_| Problem::new(Code::Usage, "the name of the folder is not UTF-8 text"))?;
    let question = CloneFolder { folder, vault };
    let item = cx.call(&replicas::CLONE, &question).await?;
    cx.out.success(&format!(
        "Cloned vault {} from {}",
        escape::name(&item.vault_name),
        escape::name(&question.folder)
    ));
    cx.out.answer(&item, |item| item.vault_id_encoded.clone())
}

/// Brings in what other members have.
///
/// # Errors
/// The problem to tell of.
pub async fn pull(cx: &Context<'_>, args: Pull) -> Result<Done, Problem> {
    if let (Some(vault), Some(who), Some(theirs)) = (&args.vault, &args.who, &args.pull_vault) {
        check_same(cx, &vault.0, who, &theirs.0).await?;
    }
    let question = PullVaults {
        vault: args.vault.map(|vault| vault.0),
        who: args.who,
    };
    let ended = watch(cx, &exchange::PULL, &question).await?;
    tell(cx, &ended)
}

/// Demands that `theirs` is what the node `who` calls the vault that is `vault` here.
async fn check_same(cx: &Context<'_>, vault: &str, who: &str, theirs: &str) -> Result<(), Problem> {
    let question = OneVault {
        vault: vault.to_owned(),
    };
    let here = cx.call(&sharing::STATUS, &question).await?.vault_id;
    let question = OneNode { who: who.to_owned() };
    let offers = cx.call(&exchange::SCAN, &question).await?.offers;
    let mut there = offers
        .iter()
        .filter(|offer| offer.vault_name == theirs || offer.vault_id_encoded == theirs)
        .peekable();
    if there.peek().is_none() {
        return Err(Problem::new(
            Code::NotAllowed,
            format!("{} is not there, or not for you", escape::name(theirs)),
        ));
    }
    match there.any(|offer| offer.vault_id_encoded == here) {
        true => Ok(()),
        false => Err(Problem::new(
            Code::Usage,
            format!(
                "{} at that node is another vault than {}",
                escape::name(theirs),
                escape::name(vault)
            ),
        )
        .hint(format!(
            "bring it in with `polykey vaults clone {} {}`",
            typed(theirs),
            typed(who)
        ))),
    }
}

/// Brings in what other members have, and has them do the same.
///
/// # Errors
/// The problem to tell of.
pub async fn sync(cx: &Context<'_>, args: Sync) -> Result<Done, Problem> {
    let question = SyncVaults {
        vault: args.vault.map(|vault| vault.0),
    };
    let ended = watch(cx, &exchange::SYNC, &question).await?;
    tell(cx, &ended)
}

/// How each vault and member ended: well if any answered or none was needed.
fn tell(cx: &Context<'_>, ended: &[Step]) -> Result<Done, Problem> {
    let (good, bad): (Vec<&Step>, Vec<&Step>) = ended.iter().partition(|step| step.problem.is_none());
    if good.is_empty()
        && let Some(worst) = worst(&bad)
    {
        return Err(worst);
    }
    for step in ended {
        if let Some(problem) = step.problem.as_ref().or(step.warning.as_ref()) {
            cx.out.warn(&problem.message);
        }
    }
    cx.out.answer(&ended, |steps| {
        let mut text = String::new();
        for step in steps.iter().filter(|step| step.problem.is_none()) {
            let _ = writeln!(
                text,
                "{}\t{}\t{} new commits",
                escape::name(&step.vault_name),
                escape::name(&step.node),
                step.commits
            );
        }
        text
    })
}

/// What all failed with: that nobody could be reached comes last, since it says least.
fn worst(bad: &[&Step]) -> Option<Problem> {
    let problems = bad.iter().filter_map(|step| step.problem.clone());
    let all: Vec<Problem> = problems.map(Problem::from).collect();
    let told = all.iter().find(|problem| problem.code != Code::NodeUnreachable);
    told.or(all.first()).cloned()
}

/// Follows the steps to their end and shows how far they are; the last step of each vault and node.
async fn watch<Q: Serialize>(
    cx: &Context<'_>,
    endpoint: &'static Endpoint<Q, Step>,
    question: &Q,
) -> Result<Vec<Step>, Problem> {
    let mut link = cx.link(Autostart::Allowed).await?;
    let mut lines = link
        .ask(async |client| client.lines(endpoint, question).await)
        .await?;
    let mut progress = Progress::new(cx);
    let mut ended = Vec::new();
    loop {
        let next = lines.next();
        tokio::pin!(next);
        let step = match tokio::time::timeout(progress.silence(), &mut next).await {
            Ok(step) => step?,
            Err(_) => {
                progress.show_dialling();
                next.await?
            }
        };
        let Some(step) = step else { break };
        progress.show(&step);
        if step.done {
            ended.push(step);
        }
    }
    Ok(ended)
}

/// A line about what comes in, once it takes longer than a second, on a terminal.
struct Progress {
    allowed: bool,
    since: Instant,
    /// Those that are dialled, by their ids, and what the user calls them.
    dialled: BTreeMap<String, String>,
    bar: Option<ProgressBar>,
}

impl Progress {
    fn new(cx: &Context<'_>) -> Progress {
        Progress {
            allowed: !cx.out.is_json() && !cx.out.is_quiet() && io::stderr().is_terminal(),
            since: Instant::now(),
            dialled: BTreeMap::new(),
            bar: None,
        }
    }

    /// How long nothing need be shown although nothing comes.
    fn silence(&self) -> Duration {
        PATIENCE.saturating_sub(self.since.elapsed())
    }

    fn bar(&mut self) -> Option<&ProgressBar> {
        if !self.allowed || self.since.elapsed() < PATIENCE {
            return None;
        }
        Some(self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(TICK);
            bar
        }))
    }

    /// Says who is dialled, when that is what takes long.
    fn show_dialling(&mut self) {
        let names: Vec<_> = self.dialled.values().map(|name| escape::name(name)).collect();
        if names.is_empty() {
            return;
        }
        let text = format!("dialling {}", names.join(", "));
        if let Some(bar) = self.bar() {
            bar.set_message(text);
            bar.tick();
        }
    }

    fn show(&mut self, step: &Step) {
        if step.dialling {
            let (id, name) = (step.node_id_encoded.clone(), step.node.clone());
            self.dialled.insert(id, name);
            return self.show_dialling();
        }
        self.dialled.remove(&step.node_id_encoded);
        if step.done && !self.dialled.is_empty() {
            return self.show_dialling();
        }
        let Some(bar) = self.bar() else { return };
        if step.levelling {
            bar.set_message(format!(
                "{}: {} takes what is here",
                escape::name(&step.vault_name),
                escape::name(&step.node)
            ));
            bar.tick();
            return;
        }
        bar.set_message(format!(
            "{} from {}: {} commits, {} pieces",
            escape::name(&step.vault_name),
            escape::name(&step.node),
            step.commits,
            step.objects
        ));
        bar.tick();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(code: Code) -> Step {
        Step {
            problem: Some(Problem::new(code, "x").into()),
            ..Step::default()
        }
    }

    #[test]
    fn what_says_most_is_told() {
        let (away, refused) = (failed(Code::NodeUnreachable), failed(Code::NotAllowed));
        let code = |bad: &[&Step]| worst(bad).map(|problem| problem.code);
        assert_eq!(code(&[]), None);
        assert_eq!(code(&[&away]), Some(Code::NodeUnreachable));
        assert_eq!(code(&[&away, &refused]), Some(Code::NotAllowed));
    }
}
