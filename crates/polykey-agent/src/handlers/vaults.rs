//! The calls on vaults.

use std::path::PathBuf;
use std::sync::Arc;

use data_encoding::BASE64;
use polykey_api::vaults::{
    Committed, ConflictItem, ConflictVersion, Conflicts, CreateVault, DiffItem, DiffKind, ListVaults,
    LogItem, OneVault, Purge, Purged, Relocate, RenameVault, Resolve, Undelete, VaultDiff, VaultItem,
    VaultList, VaultLog, VaultVersion,
};
use polykey_api::{Code, Problem};
use polykey_core::clock::SystemClock;
use polykey_core::{Clock, SecretPath, Timestamp};

use polykey_vault::{At, CommitId, Deletion, Difference, GRACE, LogFilter, VaultError, VersionRef};
use tokio::sync::mpsc;

use crate::agent::Agent;
use crate::blocking::{blocking, feed};
use crate::door::{Action, Caller};
use crate::node::Node;
use crate::vaults::InUse;
use crate::vaults::history::{rfc3339, to_item};
use crate::vaults::problem::{no_secret, path_problem, vault_problem};
use crate::vaults::select::new_path;

/// Longest value that a difference shows.
const MAX_SHOWN: usize = 1 << 20;

/// Goes through the door, then does `work` on a thread for blocking work.
async fn inside<T: Send + 'static>(
    agent: &Agent,
    caller: &Caller,
    action: Action,
    work: impl FnOnce(&Arc<Node>) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let pass = agent.enter(caller, action).await?;
    let node = pass.node().clone();
    blocking(move || work(&node)).await
}

/// Makes a vault.
pub async fn create(agent: Agent, caller: Caller, q: CreateVault) -> Result<VaultItem, Problem> {
    let action = Action::new("vaults.create").vault(&q.name);
    inside(&agent, &caller, action, move |node| {
        let at = q.at.map(PathBuf::from);
        node.vaults.create(&q.name, at.as_deref())
    })
    .await
}

/// Lists vaults.
pub async fn list(agent: Agent, caller: Caller, q: ListVaults) -> Result<VaultList, Problem> {
    inside(&agent, &caller, Action::new("vaults.list"), move |node| {
        Ok(VaultList {
            vaults: node.vaults.list(q.deleted),
        })
    })
    .await
}

/// Gives a vault another name.
pub async fn rename(agent: Agent, caller: Caller, q: RenameVault) -> Result<VaultItem, Problem> {
    let action = Action::new("vaults.rename").vault(&q.vault).target(&q.new_name);
    inside(&agent, &caller, action, move |node| {
        node.vaults.rename(&q.vault, &q.new_name)
    })
    .await
}

/// Puts a vault away.
pub async fn delete(agent: Agent, caller: Caller, q: OneVault) -> Result<VaultItem, Problem> {
    let action = Action::new("vaults.delete").vault(&q.vault);
    inside(&agent, &caller, action, move |node| node.vaults.delete(&q.vault)).await
}

/// Brings a vault back.
pub async fn undelete(agent: Agent, caller: Caller, q: Undelete) -> Result<VaultItem, Problem> {
    let action = Action::new("vaults.undelete").vault(&q.vault);
    inside(&agent, &caller, action, move |node| {
        node.vaults.undelete(&q.vault, q.name.as_deref())
    })
    .await
}

/// Moves a vault's folder.
pub async fn relocate(agent: Agent, caller: Caller, q: Relocate) -> Result<VaultItem, Problem> {
    let action = Action::new("vaults.relocate").vault(&q.vault).target(&q.to);
    inside(&agent, &caller, action, move |node| {
        node.vaults.relocate(&q.vault, &PathBuf::from(q.to))
    })
    .await
}

/// The commits of a vault.
pub async fn log(agent: Agent, caller: Caller, q: VaultLog) -> Result<mpsc::Receiver<LogItem>, Problem> {
    let mut action = Action::new("vaults.log").vault(&q.vault);
    if let Some(path) = &q.path {
        action = action.target(path);
    }
    inside(&agent, &caller, action, move |node| {
        let vault = node.vaults.open(&q.vault)?;
        let path = match &q.path {
            None => None,
            Some(path) => Some(SecretPath::parse(path).map_err(|error| path_problem(&vault.name, error))?),
        };
        let filter = LogFilter {
            path: path.filter(|path| !path.is_root()),
            depth: q.depth.map(|depth| usize::try_from(depth).unwrap_or(usize::MAX)),
            from: q
                .commit_id
                .as_deref()
                .map(|text| commit(&vault, text))
                .transpose()?,
        };
        let entries = vault
            .vault
            .log(&filter)
            .map_err(|error| vault_problem(&vault.name, error))?;
        Ok(entries.iter().map(to_item).collect::<Vec<_>>())
    })
    .await
    .map(feed)
}

/// The commit that `text` names.
fn commit(vault: &InUse, text: &str) -> Result<CommitId, Problem> {
    let problem = |error| vault_problem(&vault.name, error);
    if text == "last" {
        return vault.vault.last().map_err(problem)?.ok_or_else(|| {
            problem(VaultError::NoSuchCommit {
                commit: text.to_owned(),
            })
        });
    }
    vault.vault.commit_by_prefix(text).map_err(problem)
}

/// What differs between two versions.
pub async fn diff(agent: Agent, caller: Caller, q: VaultDiff) -> Result<mpsc::Receiver<DiffItem>, Problem> {
    let event = if q.reveal {
        "vaults.diff.reveal"
    } else {
        "vaults.diff"
    };
    let action = Action::new(event).vault(&q.vault);
    inside(&agent, &caller, action, move |node| {
        let vault = node.vaults.open(&q.vault)?;
        let problem = |error| vault_problem(&vault.name, error);
        let from = At::Commit(commit(&vault, &q.from)?);
        let to = match &q.to {
            Some(to) => At::Commit(commit(&vault, to)?),
            None => At::Now,
        };
        let (before, after) = (
            vault.vault.view(from).map_err(problem)?,
            vault.vault.view(to).map_err(problem)?,
        );
        let value = |view: &polykey_vault::View, path: &SecretPath| {
            let read = view.open(path).and_then(|reader| reader.into_bytes(MAX_SHOWN));
            read.ok().map(|bytes| BASE64.encode(bytes.expose()))
        };
        let mut items = Vec::new();
        for (path, difference) in vault.vault.diff(from, to).map_err(problem)? {
            items.push(DiffItem {
                change: match difference {
                    Difference::Added => DiffKind::Added,
                    Difference::Changed => DiffKind::Changed,
                    Difference::Removed => DiffKind::Removed,
                },
                before: (q.reveal && difference != Difference::Added)
                    .then(|| value(&before, &path))
                    .flatten(),
                after: (q.reveal && difference != Difference::Removed)
                    .then(|| value(&after, &path))
                    .flatten(),
                path: path.as_str().to_owned(),
            });
        }
        Ok(items)
    })
    .await
    .map(feed)
}

/// Makes the content equal to an earlier version.
pub async fn version(agent: Agent, caller: Caller, q: VaultVersion) -> Result<Committed, Problem> {
    let action = Action::new("vaults.version").vault(&q.vault).target(&q.version);
    inside(&agent, &caller, action, move |node| {
        let vault = node.vaults.open(&q.vault)?;
        let to = commit(&vault, &q.version)?;
        let made = vault
            .vault
            .reset_to(to, None)
            .map_err(|error| vault_problem(&vault.name, error))?;
        Ok(committed(&vault, made))
    })
    .await
}

/// The wire form of what a change made.
pub fn committed(vault: &InUse, made: Option<CommitId>) -> Committed {
    Committed {
        vault_id: vault.id.to_string(),
        commit_id: made.map(|id| id.to_string()),
    }
}

/// Forgets history.
pub async fn purge(agent: Agent, caller: Caller, q: Purge) -> Result<Purged, Problem> {
    let action = match &q.path {
        Some(path) => Action::new("vaults.purge").vault(&q.vault).target(path),
        None => Action::new("vaults.purge").vault(&q.vault),
    };
    inside(&agent, &caller, action, move |node| {
        let vault = node.vaults.open(&q.vault)?;
        let problem = |error| vault_problem(&vault.name, error);
        let path = match &q.path {
            None => None,
            Some(path) => Some(new_path(&vault.name, path)?),
        };
        if let Some(path) = &path {
            // A path that never held anything is a mistake; nothing to forget at one that did is not.
            let view = vault.vault.view(At::Now).map_err(problem)?;
            if !view.exists(path).map_err(problem)? {
                let filter = LogFilter {
                    path: Some(path.clone()),
                    depth: Some(1),
                    from: None,
                };
                if vault.vault.log(&filter).map_err(problem)?.is_empty() {
                    return Err(no_secret(&vault.name, path));
                }
            }
        }
        let when = if q.now {
            Deletion::AtOnce
        } else {
            Deletion::AfterGrace
        };
        let before = q.before.map(Timestamp::from_millis);
        let purged = vault.vault.purge(path.as_ref(), before, when).map_err(problem)?;
        let now = SystemClock.now();
        Ok(Purged {
            vault_id: vault.id.to_string(),
            versions: purged.versions as u64,
            deleted_at: match when {
                Deletion::AtOnce => now.as_millis(),
                Deletion::AfterGrace => now.after(GRACE).as_millis(),
            },
        })
    })
    .await
}

/// Versions that stand side by side.
pub async fn conflicts(
    agent: Agent,
    caller: Caller,
    q: Conflicts,
) -> Result<mpsc::Receiver<ConflictItem>, Problem> {
    let mut action = Action::new("vaults.conflicts");
    if let Some(vault) = &q.vault {
        action = action.vault(vault);
    }
    inside(&agent, &caller, action, move |node| {
        let names = match q.vault {
            Some(name) => vec![name],
            None => node.vaults.present(),
        };
        let mut items = Vec::new();
        for name in names {
            let vault = node.vaults.open(&name)?;
            let found = vault
                .vault
                .conflicts()
                .map_err(|error| vault_problem(&vault.name, error))?;
            for (path, versions) in found.secrets {
                items.push(ConflictItem {
                    vault_name: vault.name.clone(),
                    path: path.as_str().to_owned(),
                    versions: versions
                        .iter()
                        .map(|version| ConflictVersion {
                            commit_id: version.id.commit.to_string(),
                            committer: version.author.to_string(),
                            timestamp: rfc3339(version.time),
                            path: None,
                            size: Some(version.size),
                        })
                        .collect(),
                });
            }
        }
        Ok(items)
    })
    .await
    .map(feed)
}

/// Settles a conflict.
pub async fn resolve(agent: Agent, caller: Caller, q: Resolve) -> Result<Committed, Problem> {
    let action = Action::new("vaults.resolve").vault(&q.vault).target(&q.path);
    inside(&agent, &caller, action, move |node| {
        let vault = node.vaults.open(&q.vault)?;
        let path = new_path(&vault.name, &q.path)?;
        let take = VersionRef::parse(&q.take);
        let problem = |error| vault_problem(&vault.name, error);
        let stat = vault
            .vault
            .view(At::Now)
            .and_then(|view| view.stat(&path))
            .map_err(problem)?;
        if !stat.conflict {
            return Err(Problem::new(
                Code::Usage,
                format!("{}:{path} has one version only", vault.name),
            ));
        }
        let (_, made) = vault
            .vault
            .change(None, |change| change.resolve(&path, &take))
            .map_err(problem)?;
        Ok(committed(&vault, made))
    })
    .await
}
