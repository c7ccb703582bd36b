//! The calls on copies of ciphertext.

use std::path::PathBuf;
use std::sync::Arc;

use polykey_api::replicas::{
    CloneFolder, DropKept, KeptItem, KeptList, Place as Typed, Replica, ReplicaItem, ReplicaList,
    ReplicaReport, ReplicaReports, SyncReplicas,
};
use polykey_api::vaults::{OneVault, VaultItem};
use polykey_api::{Code, Nothing, Problem};
use polykey_core::clock::SystemClock;
use polykey_core::{Clock, VaultId};
use polykey_vault::charter::Role;

use crate::agent::Agent;
use crate::blocking::blocking;
use crate::door::{Action, Caller};
use crate::follow::bring::bring_in;
use crate::gestalts::named;
use crate::node::Node;
use crate::replicas::{Copy, Place, Trouble, find_in_folder, keep, kept};

/// The place that is meant.
async fn place(node: &Arc<Node>, typed: &Typed) -> Result<Place, Problem> {
    Ok(match typed {
        Typed::Node(who) => Place::Node(named::node(node, who).await?),
        Typed::Folder(path) => {
            let path = PathBuf::from(path);
            // A folder that is away keeps the name that it was given.
            Place::Folder(path.canonicalize().unwrap_or(path))
        }
    })
}

fn shown(typed: &Typed) -> &str {
    match typed {
        Typed::Node(text) | Typed::Folder(text) => text,
    }
}

/// Adds a copy.
pub async fn add(agent: Agent, caller: Caller, q: Replica) -> Result<ReplicaItem, Problem> {
    let action = Action::new("vaults.replicas.add")
        .vault(&q.vault)
        .target(shown(&q.place));
    let node = agent.enter(&caller, action).await?.node().clone();
    if let Typed::Folder(path) = q.place {
        return blocking(move || {
            let vault = node.vaults.open(&q.vault)?;
            node.replicas.add_folder(&vault, &PathBuf::from(path))
        })
        .await;
    }
    let Place::Node(keeper) = place(&node, &q.place).await? else {
        return Err(Problem::new(Code::Internal, "a node is a folder"));
    };
    if keeper == node.id() {
        return Err(Problem::new(Code::Usage, "this node holds the vault already"));
    }
    let here = node.clone();
    let vault = blocking(move || {
        let vault = here.vaults.open(&q.vault)?;
        if vault.vault.my_role() != Some(Role::Admin) && vault.vault.role_of(&keeper).is_none() {
            return Err(keep::not_admin(&vault));
        }
        keep::appoint(&here, &vault, keeper)?;
        Ok(vault)
    })
    .await?;
    let waiting = !agent.ask_to_keep(&node, &vault, keeper).await?;
    let copy = Copy {
        place: Place::Node(keeper),
        last: None,
        waiting,
    };
    blocking(move || node.replicas.note(vault.id, &copy)).await
}

/// The copies.
pub async fn list(agent: Agent, caller: Caller, q: OneVault) -> Result<ReplicaList, Problem> {
    let action = Action::new("vaults.replicas.list").vault(&q.vault);
    let node = agent.enter(&caller, action).await?.node().clone();
    blocking(move || {
        let vault = node.vaults.open(&q.vault)?;
        let mut replicas = node.replicas.items(vault.id)?;
        let fresh =
            crate::follow::fresh::all(&node.db, &vault.id).map_err(|error| crate::failure::store(&error))?;
        for item in replicas.iter_mut().filter(|item| item.kind == "node") {
            let known = fresh.iter().find(|(node, _)| node.to_string() == item.place);
            item.last_sync = known.map(|(_, fresh)| fresh.time.as_millis());
        }
        Ok(ReplicaList { replicas })
    })
    .await
}

/// Brings copies up to date.
pub async fn sync(agent: Agent, caller: Caller, q: SyncReplicas) -> Result<ReplicaReports, Problem> {
    let mut action = Action::new("vaults.replicas.sync").vault(&q.vault);
    if let Some(only) = &q.only {
        action = action.target(shown(only));
    }
    let node = agent.enter(&caller, action).await?.node().clone();
    let only = match &q.only {
        Some(typed) => Some(place(&node, typed).await?),
        None => None,
    };
    let here = node.clone();
    let (vault, places) = blocking(move || {
        let vault = here.vaults.open(&q.vault)?;
        let known = here.replicas.of(vault.id)?.into_iter().map(|copy| copy.place);
        let places: Vec<Place> = known
            .filter(|place| only.as_ref().is_none_or(|only| only == place))
            .collect();
        match only {
            Some(only) if places.is_empty() => here.replicas.forget(vault.id, &only).map(|_| (vault, places)),
            _ => Ok((vault, places)),
        }
    })
    .await?;
    let mut reports = Vec::new();
    for place in places {
        let Place::Node(keeper) = place else {
            let (here, vault) = (node.clone(), vault.clone());
            reports.push(blocking(move || Ok(here.replicas.report(&vault, &place))).await?);
            continue;
        };
        let brought = match agent.network().running() {
            Some(running) => bring_in(&running, &node, keeper, vault.id, |_, _| {}).await,
            None => Err(Problem::new(
                Code::NodeUnreachable,
                "this node is not on the network",
            )),
        };
        node.vaults.news().changed(vault.id);
        let mut troubled = None;
        if let Ok(brought) = &brought {
            troubled = agent.tell_keeper(keeper, vault.id, &brought.report).await;
        }
        let brought = brought.and_then(|brought| match brought.problem {
            Some(problem) if troubled.is_none() => Err(problem),
            _ => Ok(brought.report),
        });
        // What is still on its way goes on by itself.
        let troubled = troubled.filter(|trouble| *trouble != Trouble::Incomplete);
        let (received, stale, problem) = match brought {
            Ok(report) => {
                let title = node.contacts.title(&keeper);
                (
                    report.entries + report.commits + report.objects,
                    report.stale,
                    troubled.map(|trouble| trouble_of(trouble, &title)),
                )
            }
            Err(problem) => (0, false, Some(problem.message)),
        };
        reports.push(ReplicaReport {
            place: keeper.to_string(),
            received,
            sent: 0,
            stale,
            problem,
        });
    }
    Ok(ReplicaReports { reports })
}

/// What a keeper's trouble is to the user.
fn trouble_of(trouble: Trouble, title: &str) -> String {
    match trouble {
        Trouble::NoRoom => format!("the node {title} has no room left for it"),
        Trouble::Dropped => format!("the node {title} keeps it no longer"),
        Trouble::Incomplete => format!("the node {title} lacks content of it"),
    }
}

/// What this node keeps for others.
pub async fn kept(agent: Agent, caller: Caller, _: Nothing) -> Result<KeptList, Problem> {
    let node = agent
        .enter(&caller, Action::new("vaults.kept"))
        .await?
        .node()
        .clone();
    blocking(move || kept::list(&node)).await
}

/// Keeps a vault for others no longer.
pub async fn drop_kept(agent: Agent, caller: Caller, q: DropKept) -> Result<KeptItem, Problem> {
    let action = Action::new("vaults.drop").vault(&q.vault);
    let node = agent.enter(&caller, action).await?.node().clone();
    blocking(move || kept::let_go(&node, &q.vault)).await
}

/// Does without a copy from now on. A keeper is taken out of the charter where this node may.
pub async fn remove(agent: Agent, caller: Caller, q: Replica) -> Result<ReplicaItem, Problem> {
    let action = Action::new("vaults.replicas.remove")
        .vault(&q.vault)
        .target(shown(&q.place));
    let node = agent.enter(&caller, action).await?.node().clone();
    let place = place(&node, &q.place).await?;
    blocking(move || {
        let vault = node.vaults.open(&q.vault)?;
        let item = node.replicas.forget(vault.id, &place)?;
        if let Place::Node(keeper) = place
            && vault.vault.my_role().is_some_and(Role::administers)
        {
            keep::dismiss(&vault, keeper)?;
        }
        Ok(item)
    })
    .await
}

/// Brings a vault in from a folder.
pub async fn clone(agent: Agent, caller: Caller, q: CloneFolder) -> Result<VaultItem, Problem> {
    let mut action = Action::new("vaults.clone").target(&q.folder);
    action.vault.clone_from(&q.vault);
    let node = agent.enter(&caller, action).await?.node().clone();
    blocking(move || clone_folder(&node, &q)).await
}

fn clone_folder(node: &Node, q: &CloneFolder) -> Result<VaultItem, Problem> {
    let path = PathBuf::from(&q.folder);
    let path = path
        .canonicalize()
        .map_err(|error| crate::failure::disk(&error, "find the folder", &path))?;
    let offered = node.shares.offered()?;
    // A name is known here only when somebody told it; a folder has ids.
    let named = |typed: &str| offered.iter().find(|offered| offered.name.as_str() == typed);
    let wanted = match &q.vault {
        None => None,
        Some(typed) => Some(match (typed.parse::<VaultId>(), named(typed)) {
            (Ok(id), _) => id,
            (_, Some(offered)) => offered.vault,
            _ => {
                return Err(
                    Problem::new(Code::VaultNotFound, format!("nobody told of a vault {typed}"))
                        .hint("name it by its id"),
                );
            }
        }),
    };
    let found = find_in_folder(&path, wanted)?;
    let offered = offered.iter().find(|offered| offered.vault == found.vault);
    let name = match (offered, path.file_name().and_then(|name| name.to_str())) {
        (Some(offered), _) => offered.name.to_string(),
        (None, Some(name)) if polykey_core::VaultName::parse(name).is_ok() => name.to_owned(),
        _ => "cloned".to_owned(),
    };
    let id = node.vaults.begin_joining(&name, &found.genesis)?;
    let vault = node.vaults.open_id(id)?;
    let place = Place::Folder(path.clone());
    let synced = node.replicas.sync(&vault, &place);
    let role = vault.vault.my_role();
    drop(vault);
    if synced.is_err() || !role.is_some_and(Role::reads) {
        node.vaults.give_up_joining(id)?;
        synced?;
        if role.is_some() {
            return Err(Problem::new(
                Code::NotAllowed,
                format!(
                    "this node is a keeper of the vault in {}, and has no keys to read it",
                    path.display()
                ),
            )
            .hint("a keeper takes its ciphertext from a node: `polykey vaults clone <vault> <node>`"));
        }
        return Err(Problem::new(
            Code::NotAllowed,
            format!("this node is no member of the vault in {}", path.display()),
        )
        .hint("an admin shares it with `polykey vaults share`, and then brings the folder up to date"));
    }
    let copy = Copy {
        place,
        last: Some(SystemClock.now()),
        waiting: false,
    };
    node.replicas.note(id, &copy)?;
    node.vaults.finish_joining(id)
}
