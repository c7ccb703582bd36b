//! The calls that look at secrets without their content.

use polykey_api::secrets::{Entry, List, OneTarget, SecretLog, Target};
use polykey_api::vaults::LogItem;
use polykey_api::{Code, Problem};
use polykey_core::Timestamp;
use polykey_vault::{EntryKind, Stat};
use tokio::sync::mpsc;

use super::opened::Opened;
use crate::agent::Agent;
use crate::blocking::{blocking, feed};
use crate::door::{Action, Caller};
use crate::glob::Hidden;
use crate::vaults::history::to_version;
use crate::vaults::problem::vault_problem;
use crate::vaults::select::{Meanings, Picked};

/// An action on `targets`, as typed; with the vault where there is only one.
pub fn on<'t>(event: &'static str, targets: impl IntoIterator<Item = &'t Target>) -> Action {
    let mut action = Action::new(event);
    let mut vaults = std::collections::BTreeSet::new();
    for target in targets {
        vaults.insert(target.vault.as_str());
        action = action.target(shown(target));
    }
    if vaults.len() == 1 {
        action.vault = vaults.pop_first().map(str::to_owned);
    }
    action
}

/// An action on one target, whose parts stand apart in the question.
pub fn on_one(event: &'static str, vault: &str, path: &str) -> Action {
    let target = Target {
        vault: vault.to_owned(),
        path: path.to_owned(),
    };
    on(event, [&target])
}

/// `vault:path`, as typed.
pub fn shown(target: &Target) -> String {
    format!("{}:{}", target.vault, target.path)
}

/// What was typed finds nothing.
pub fn no_match(target: &Target) -> Problem {
    Problem::new(
        Code::SecretNotFound,
        format!("{} matches no secret", shown(target)),
    )
}

fn entry(stat: &Stat, name: &str) -> Entry {
    Entry {
        path: stat.path.as_str().to_owned(),
        name: name.to_owned(),
        kind: match stat.kind {
            EntryKind::Directory => "directory",
            EntryKind::Raw => "raw",
            EntryKind::Record => "record",
        }
        .to_owned(),
        size: stat.size,
        version: stat.version,
        created: stat.created.map_or(0, Timestamp::as_millis),
        modified: stat.modified.map_or(0, Timestamp::as_millis),
        committer: stat.author.map(|node| node.to_string()).unwrap_or_default(),
        attributes: stat.attributes.clone(),
        conflict: stat.conflict,
    }
}

/// What a directory holds, what a pattern finds, or one secret.
pub async fn list(agent: Agent, caller: Caller, q: List) -> Result<mpsc::Receiver<Entry>, Problem> {
    let action = on("secrets.list", [&q.target]);
    let pass = agent.enter(&caller, action).await?;
    let node = pass.node().clone();
    let entries = blocking(move || {
        let opened = Opened::new(&node, &q.target.vault, None, None)?;
        let problem = |error| vault_problem(&opened.vault.name, error);
        let hidden = if q.all { Hidden::Match } else { Hidden::Skip };
        let meanings = Meanings {
            fields: false,
            patterns: Some(hidden),
        };
        let picked = opened.seen().pick(&q.target.path, meanings)?;
        if let [
            Picked {
                stat,
                by_pattern: false,
                ..
            },
        ] = picked.as_slice()
            && stat.kind == EntryKind::Directory
        {
            let below = if q.recursive {
                opened.view.walk(&stat.path)
            } else {
                opened.view.list(&stat.path)
            };
            let is_shown = |below: &Stat| {
                let relative = below.path.strip_prefix(&stat.path).unwrap_or_default();
                q.all || !relative.segments().any(|name| name.starts_with('.'))
            };
            let below = below.map_err(problem)?;
            let mut entries: Vec<Entry> = below
                .iter()
                .filter(|below| is_shown(below))
                .map(|stat| entry(stat, stat.path.name().unwrap_or_default()))
                .collect();
            if q.recursive {
                // One directory after the other, each with what it holds.
                entries.sort_by(|a, b| {
                    parent(&a.path)
                        .cmp(&parent(&b.path))
                        .then_with(|| a.path.cmp(&b.path))
                });
            }
            return Ok(entries);
        }
        Ok(picked
            .iter()
            .map(|picked| entry(&picked.stat, picked.stat.path.as_str()))
            .collect())
    })
    .await?;
    Ok(feed(entries))
}

fn parent(path: &str) -> Vec<&str> {
    let mut segments: Vec<&str> = path.split('/').collect();
    segments.pop();
    segments
}

/// What is known about one thing.
pub async fn stat(agent: Agent, caller: Caller, q: OneTarget) -> Result<Entry, Problem> {
    let action = on("secrets.stat", [&q.target]);
    let pass = agent.enter(&caller, action).await?;
    let node = pass.node().clone();
    blocking(move || {
        let opened = Opened::new(&node, &q.target.vault, None, None)?;
        let stat = opened.seen().one(&q.target.path)?;
        Ok(entry(&stat, stat.path.name().unwrap_or_default()))
    })
    .await
}

/// The versions of one secret.
pub async fn log(agent: Agent, caller: Caller, q: SecretLog) -> Result<mpsc::Receiver<LogItem>, Problem> {
    let action = on("secrets.log", [&q.target]);
    let pass = agent.enter(&caller, action).await?;
    let node = pass.node().clone();
    let items = blocking(move || {
        let vault = node.vaults.open(&q.target.vault)?;
        let path = crate::vaults::select::new_path(&vault.name, &q.target.path)?;
        let entries = vault
            .vault
            .secret_log(&path)
            .map_err(|error| vault_problem(&vault.name, error))?;
        let depth = q
            .depth
            .map_or(usize::MAX, |depth| usize::try_from(depth).unwrap_or(usize::MAX));
        Ok(entries
            .iter()
            .take(depth)
            .map(|entry| to_version(&path, entry))
            .collect())
    })
    .await?;
    Ok(feed(items))
}
