//! The calls that bring secrets from one place to another: move, rename, copy.
//!
//! Inside a vault a move is one commit and keeps the history; everything else is a copy with a history of its
//! own, sealed for the vault where it arrives. A move across vaults removes the originals only when the copies
//! are durable.

use polykey_api::secrets::{Batch, Target, Transfer};
use polykey_api::{Code, Problem};
use polykey_core::SecretPath;
use polykey_vault::{At, Change, Depth, EntryKind, Expect, Parents, Staged, Stat, VaultError};

use super::changes::{Report, Room, each_vault, is_directory, remove_one};
use super::secrets::{no_match, on, shown};
use super::vaults::committed;
use crate::agent::Agent;
use crate::blocking::blocking;
use crate::door::Caller;
use crate::glob::Hidden;
use crate::node::Node;
use crate::vaults::InUse;
use crate::vaults::problem::{no_secret, path_problem, place, vault_problem};
use crate::vaults::select::{Meanings, Seen, new_path};

/// Moves secrets and directories.
pub async fn move_all(agent: Agent, caller: Caller, q: Transfer) -> Result<Batch, Problem> {
    let action = on("secrets.move", q.sources.iter().chain([&q.to]));
    let pass = agent.enter(&caller, action).await?;
    let node = pass.node().clone();
    blocking(move || {
        if q.in_place {
            return Ok(each_vault(
                &node,
                &q.sources,
                Room::Needed,
                |change, vault, target| {
                    let problem = |error| vault_problem(&vault.name, error);
                    let from = exact_source(change, vault, target)?;
                    let name = polykey_core::Segment::parse(&q.to.path)
                        .map_err(|error| path_problem(&vault.name, error))?;
                    let to = from
                        .parent()
                        .unwrap_or_default()
                        .join(&name)
                        .map_err(|error| path_problem(&vault.name, error))?;
                    if from != to {
                        change.rename(&from, &to).map_err(problem)?;
                    }
                    Ok(vec![place(&vault.name, &to)])
                },
            ));
        }
        let to = node.vaults.open(&q.to.vault)?;
        let mut here = Vec::new();
        let mut elsewhere = Vec::new();
        let mut report = Report::default();
        for source in &q.sources {
            match node.vaults.open(&source.vault) {
                Ok(vault) if vault.id == to.id => here.push(source.clone()),
                Ok(_) => elsewhere.push(source.clone()),
                Err(problem) => report.fail(source, problem),
            }
        }
        let several = q.sources.len() > 1;
        let mut batch = each_vault(&node, &here, Room::Needed, |change, vault, target| {
            let problem = |error| vault_problem(&vault.name, error);
            let from = exact_source(change, vault, target)?;
            let to = destination(change, vault, &q.to.path, &from, several)?;
            if from == to {
                return Ok(vec![place(&vault.name, &to)]);
            }
            make_room(change, vault, &from, &to)?;
            change.rename(&from, &to).map_err(problem)?;
            Ok(vec![place(&vault.name, &to)])
        });
        report.0.done.append(&mut batch.done);
        report.0.failed.append(&mut batch.failed);
        report.0.commits.append(&mut batch.commits);
        if !elsewhere.is_empty() {
            across(&node, &to, &q, &elsewhere, several, true, &mut report)?;
        }
        Ok(report.0)
    })
    .await
}

fn exact_source(change: &mut Change<'_>, vault: &InUse, target: &Target) -> Result<SecretPath, Problem> {
    let path = new_path(&vault.name, &target.path)?;
    match change.stat(&path) {
        Ok(stat) => Ok(stat.path),
        Err(VaultError::NoSuchPath { .. } | VaultError::NotDirectory { .. }) => {
            Err(no_secret(&vault.name, &path))
        }
        Err(error) => Err(vault_problem(&vault.name, error)),
    }
}

/// Where something called like `from` goes: into a directory, or to the new name.
fn destination(
    change: &mut Change<'_>,
    vault: &InUse,
    to: &str,
    from: &SecretPath,
    several: bool,
) -> Result<SecretPath, Problem> {
    let problem = |error| vault_problem(&vault.name, error);
    let place = SecretPath::parse(to).map_err(|error| path_problem(&vault.name, error))?;
    let base = SecretPath::parse(from.name().unwrap_or_default()).unwrap_or_default();
    let into =
        several || to.ends_with('/') || place.is_root() || is_directory(change, &place).map_err(problem)?;
    if into {
        place
            .join_path(&base)
            .map_err(|error| path_problem(&vault.name, error))
    } else {
        Ok(place)
    }
}

/// As the Unix tools do: a secret takes the place of another one; nothing takes the place of a directory.
fn make_room(
    change: &mut Change<'_>,
    vault: &InUse,
    from: &SecretPath,
    to: &SecretPath,
) -> Result<(), Problem> {
    let problem = |error| vault_problem(&vault.name, error);
    let Ok(there) = change.stat(to) else { return Ok(()) };
    let moved = change.stat(from).map_err(problem)?;
    match (
        moved.kind == EntryKind::Directory,
        there.kind == EntryKind::Directory,
    ) {
        (false, false) => change.remove(to, Depth::Single).map_err(problem),
        _ => Err(problem(VaultError::Exists { path: to.clone() })),
    }
}

/// Copies secrets and directories.
pub async fn copy_all(agent: Agent, caller: Caller, q: Transfer) -> Result<Batch, Problem> {
    let action = on("secrets.copy", q.sources.iter().chain([&q.to]));
    let pass = agent.enter(&caller, action).await?;
    let node = pass.node().clone();
    blocking(move || {
        let to = node.vaults.open(&q.to.vault)?;
        let mut report = Report::default();
        let several = q.sources.len() > 1;
        across(&node, &to, &q, &q.sources, several, false, &mut report)?;
        Ok(report.0)
    })
    .await
}

/// Something on its way from one place to another.
struct Parcel {
    source: Target,
    from: InUse,
    /// The thing that was named.
    root: SecretPath,
    /// All that belongs to it: path below the root, attributes, content unless it is a directory.
    items: Vec<(SecretPath, Stat, Option<Staged>)>,
}

/// Brings `sources` to `to`, which may be the same vault: copies, and for a move removes them afterwards.
fn across(
    node: &Node,
    to: &InUse,
    q: &Transfer,
    sources: &[Target],
    several: bool,
    moves: bool,
    report: &mut Report,
) -> Result<(), Problem> {
    let mut parcels = Vec::new();
    for source in sources {
        match pack(node, to, source, q.recursive, moves) {
            Ok(packed) => parcels.extend(packed),
            Err(problem) => report.fail(source, problem),
        }
    }
    let several = several || parcels.len() > 1;
    let mut arrived = Vec::new();
    let mut failed = Vec::new();
    let problem = |error| vault_problem(&to.name, error);
    let ((), made) = to
        .vault
        .change::<(), VaultError>(None, |change| {
            for parcel in parcels {
                let source = parcel.source.clone();
                match unpack(change, to, &q.to.path, several, parcel) {
                    Ok(moved) => arrived.push((source, moved)),
                    Err(problem) => failed.push((source, problem)),
                }
            }
            Ok(())
        })
        .map_err(problem)?;
    report.commit(committed(to, made));
    for (source, problem) in failed {
        report.fail(&source, problem);
    }
    if !moves {
        report
            .0
            .done
            .extend(arrived.into_iter().map(|(_, (_, _, name))| name));
        return Ok(());
    }
    // The copies are safe; only now the originals go.
    let gone: Vec<Target> = arrived
        .iter()
        .map(|(_, (from, root, _))| Target {
            vault: from.id.to_string(),
            path: root.as_str().to_owned(),
        })
        .collect();
    let removed = each_vault(node, &gone, Room::Made, |change, vault, target| {
        let path = new_path(&vault.name, &target.path)?;
        remove_one(change, &vault.name, &path, Depth::Recursive)?;
        Ok(vec![place(&vault.name, &path)])
    });
    report
        .0
        .done
        .extend(arrived.into_iter().map(|(_, (_, _, name))| name));
    report.0.failed.extend(removed.failed);
    report.0.commits.extend(removed.commits);
    Ok(())
}

/// Reads what `source` means and seals it for the vault `to`.
fn pack(
    node: &Node,
    to: &InUse,
    source: &Target,
    recursive: bool,
    moves: bool,
) -> Result<Vec<Parcel>, Problem> {
    let from = node.vaults.open(&source.vault)?;
    let problem = |error| vault_problem(&from.name, error);
    let view = from.vault.view(At::Now).map_err(problem)?;
    let seen = Seen {
        vault: &from.name,
        view: &view,
    };
    let meanings = Meanings {
        fields: false,
        patterns: (!moves).then_some(Hidden::Skip),
    };
    let mut parcels = Vec::new();
    for picked in seen.pick(&source.path, meanings)? {
        let root = picked.stat.path.clone();
        let directory = picked.stat.kind == EntryKind::Directory;
        if directory && !recursive {
            if picked.by_pattern {
                continue;
            }
            return Err(problem(VaultError::IsDirectory { path: root }).hint("pass `-r`"));
        }
        if root.is_root() && moves {
            return Err(Problem::new(
                Code::Usage,
                format!("{} is a whole vault", shown(source)),
            ));
        }
        let below = if directory { seen.walk(&root)? } else { Vec::new() };
        let mut items = Vec::new();
        for stat in std::iter::once(picked.stat).chain(below) {
            let content = match stat.kind {
                EntryKind::Directory => None,
                EntryKind::Record => {
                    let record = view.record(&stat.path).map_err(problem)?;
                    Some(to.vault.stage_record(&record).map_err(problem)?)
                }
                EntryKind::Raw => {
                    let mut reader = view.open(&stat.path).map_err(problem)?;
                    Some(to.vault.stage(&mut reader).map_err(problem)?)
                }
            };
            let path = stat.path.strip_prefix(&root).unwrap_or_default();
            items.push((path, stat, content));
        }
        parcels.push(Parcel {
            source: source.clone(),
            from: from.clone(),
            root,
            items,
        });
    }
    if parcels.is_empty() {
        return Err(no_match(source));
    }
    Ok(parcels)
}

fn unpack(
    change: &mut Change<'_>,
    to: &InUse,
    typed: &str,
    several: bool,
    parcel: Parcel,
) -> Result<(InUse, SecretPath, String), Problem> {
    let problem = |error| vault_problem(&to.name, error);
    // A whole vault goes into a directory with its name.
    let called = match parcel.root.name() {
        Some(_) => parcel.root.clone(),
        None => SecretPath::parse(&parcel.from.name).map_err(|error| path_problem(&to.name, error))?,
    };
    let target = destination(change, to, typed, &called, several)?;
    if parcel.from.id == to.id {
        if target == parcel.root {
            return Err(Problem::new(
                Code::Usage,
                format!("{} is already there", shown(&parcel.source)),
            ));
        }
        if parcel.items.len() > 1 && target.strip_prefix(&parcel.root).is_some() {
            return Err(problem(VaultError::IntoItself { path: parcel.root }));
        }
    }
    for (below, stat, content) in parcel.items {
        let path = target
            .join_path(&below)
            .map_err(|error| path_problem(&to.name, error))?;
        let Some(content) = content else {
            change.mkdir(&path, Parents::Made).map_err(problem)?;
            continue;
        };
        change.put(&path, content, &Expect::Any).map_err(problem)?;
        for (key, value) in &stat.attributes {
            change.set_attribute(&path, key, Some(value)).map_err(problem)?;
        }
    }
    Ok((parcel.from, parcel.root, place(&to.name, &target)))
}
