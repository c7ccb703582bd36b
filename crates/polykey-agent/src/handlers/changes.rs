//! The calls that change secrets.
//!
//! Each vault that is named gets one commit. What cannot be done is reported beside what was; a commit that
//! fails as a whole is the failure of everything in it.

use std::io::Read;

use axum::body::Body;
use data_encoding::BASE64;
use polykey_api::problem::typed;
use polykey_api::secrets::{
    Attributes, Batch, Failure, Field, FieldKind as WireKind, Mkdir, Remove, Restore, SetAttributes,
    SetFields, Target, Touch, Write, Written,
};
use polykey_api::vaults::Committed;
use polykey_api::{Code, Problem};
use polykey_core::{SecretBytes, SecretPath};
use polykey_vault::{
    At, Change, Depth, EntryKind, Expect, FieldKind, Parents, Record, Stat, VaultError, VersionRef,
};

use super::secrets::{on, on_one, shown};
use super::vaults::committed;
use crate::agent::Agent;
use crate::blocking::{BodyReader, blocking};
use crate::door::Caller;
use crate::glob::Hidden;
use crate::node::Node;
use crate::vaults::InUse;
use crate::vaults::problem::{no_secret, place, vault_problem};
use crate::vaults::select::{Meanings, Seen, new_path};

/// Longest value that fits a field, in base64.
const MAX_WRITTEN_FIELD: usize = 1 << 20;

/// One secret, or one field of a record, from raw bytes.
pub async fn write(agent: Agent, caller: Caller, q: Write, body: Body) -> Result<Written, Problem> {
    let action = on_one("secrets.write", &q.vault, &q.path);
    let pass = agent.enter(&caller, action).await?;
    let node = pass.node().clone();
    let mut body = BodyReader::new(body, pass.node().closing());
    blocking(move || {
        let vault = node.vaults.open(&q.vault)?;
        let problem = |error| vault_problem(&vault.name, error);
        let expect = match (q.create, q.cas) {
            (true, _) => Expect::Absent,
            (false, Some(version)) => Expect::Version(version),
            (false, None) => Expect::Any,
        };
        let view = vault.vault.view(At::Now).map_err(problem)?;
        let seen = Seen {
            vault: &vault.name,
            view: &view,
        };
        if seen.exact(&q.path)?.is_none()
            && let Some((stat, field)) = seen.field(&q.path)?
        {
            return write_field(&vault, &stat, &field, q.create, &expect, &mut body);
        }
        let path = new_path(&vault.name, &q.path)?;
        let staged = vault.vault.stage(&mut body).map_err(problem)?;
        let (written, made) = vault
            .vault
            .change(None, |change| change.put(&path, staged, &expect))
            .map_err(problem)?;
        Ok(to_written(&vault, &path, written, made.map(|id| id.to_string())))
    })
    .await
}

fn to_written(
    vault: &InUse,
    path: &SecretPath,
    written: polykey_vault::Written,
    commit_id: Option<String>,
) -> Written {
    Written {
        vault_id: vault.id.to_string(),
        path: path.as_str().to_owned(),
        version: written.version,
        commit_id,
        created: written.created,
    }
}

fn write_field(
    vault: &InUse,
    stat: &Stat,
    field: &str,
    create: bool,
    expect: &Expect,
    body: &mut BodyReader,
) -> Result<Written, Problem> {
    let problem = |error| vault_problem(&vault.name, error);
    let mut bytes = zeroize::Zeroizing::new(Vec::new());
    body.take(MAX_WRITTEN_FIELD as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| problem(VaultError::Input(error)))?;
    let value = SecretBytes::copy_from(&bytes);
    let expect = if create { &Expect::Any } else { expect };
    let (written, made) = vault
        .vault
        .change(None, |change| {
            let mut record = change.record(&stat.path)?;
            let kind = match record.field(field) {
                Some(_) if create => {
                    return Err(VaultError::Exists {
                        path: stat.path.clone(),
                    });
                }
                Some(old) => old.kind(),
                None => FieldKind::Concealed,
            };
            record.set(polykey_vault::Field::new(field, kind, value)?)?;
            change.put_record(&stat.path, &record, expect)
        })
        .map_err(problem)?;
    Ok(to_written(
        vault,
        &stat.path,
        written,
        made.map(|id| id.to_string()),
    ))
}

pub(super) fn is_directory(change: &mut Change<'_>, path: &SecretPath) -> Result<bool, VaultError> {
    match change.stat(path) {
        Ok(stat) => Ok(stat.kind == EntryKind::Directory),
        Err(VaultError::NoSuchPath { .. } | VaultError::NotDirectory { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Collects what a call on several things did.
#[derive(Default)]
pub(super) struct Report(pub Batch);

impl Report {
    pub(super) fn fail(&mut self, target: &Target, problem: Problem) {
        self.0.failed.push(Failure {
            target: target.clone(),
            error: problem.into(),
        });
    }

    pub(super) fn commit(&mut self, made: Committed) {
        if made.commit_id.is_some() {
            self.0.commits.push(made);
        }
    }
}

/// What the steps of a change do to the room on the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    Needed,
    Made,
}

/// Does `step` for each target, in one commit a vault. `step` gives the names of what it did.
pub(super) fn each_vault(
    node: &Node,
    targets: &[Target],
    room: Room,
    mut step: impl FnMut(&mut Change<'_>, &InUse, &Target) -> Result<Vec<String>, Problem>,
) -> Batch {
    let mut report = Report::default();
    let mut groups: Vec<(InUse, Vec<&Target>)> = Vec::new();
    for target in targets {
        match node.vaults.open(&target.vault) {
            Ok(vault) => match groups.iter_mut().find(|(known, _)| known.id == vault.id) {
                Some((_, group)) => group.push(target),
                None => groups.push((vault, vec![target])),
            },
            Err(problem) => report.fail(target, problem),
        }
    }
    for (vault, group) in groups {
        let mut done = Vec::new();
        let mut failed = Vec::new();
        let steps = |change: &mut Change<'_>| -> Result<(), VaultError> {
            for target in &group {
                match step(change, &vault, target) {
                    Ok(names) => done.extend(names),
                    Err(problem) => failed.push((*target, problem)),
                }
            }
            Ok(())
        };
        let made = match room {
            Room::Needed => vault.vault.change(None, steps),
            Room::Made => vault.vault.change_removing(None, steps),
        };
        match made {
            Ok(((), made)) => {
                report.0.done.extend(done);
                report.commit(committed(&vault, made));
            }
            Err(error) => {
                let problem = vault_problem(&vault.name, error);
                let untold = group
                    .iter()
                    .filter(|target| !failed.iter().any(|(told, _)| told == *target));
                let untold: Vec<_> = untold.collect();
                for target in untold {
                    report.fail(target, problem.clone());
                }
            }
        }
        for (target, problem) in failed {
            report.fail(target, problem);
        }
    }
    report.0
}

/// Removes secrets and directories.
pub async fn remove(agent: Agent, caller: Caller, q: Remove) -> Result<Batch, Problem> {
    let pass = agent.enter(&caller, on("secrets.remove", &q.targets)).await?;
    let node = pass.node().clone();
    blocking(move || {
        let depth = if q.recursive {
            Depth::Recursive
        } else {
            Depth::Single
        };
        // Patterns are looked up before the first thing goes.
        let mut targets = Vec::new();
        let mut report = Report::default();
        for target in &q.targets {
            match matching(&node, target) {
                Ok(paths) => targets.extend(paths.into_iter().map(|path| (target.clone(), path))),
                Err(problem) if q.force && problem.code == Code::SecretNotFound => {}
                Err(problem) => report.fail(target, problem),
            }
        }
        let paths: Vec<Target> = targets
            .iter()
            .map(|(target, path)| Target {
                vault: target.vault.clone(),
                path: path.as_str().to_owned(),
            })
            .collect();
        let mut batch = each_vault(&node, &paths, Room::Made, |change, vault, target| {
            let path = new_path(&vault.name, &target.path)?;
            match remove_one(change, &vault.name, &path, depth) {
                // Removed already with the directory that held it, or named twice.
                Err(problem) if problem.code == Code::SecretNotFound && (q.force || q.recursive) => {
                    Ok(Vec::new())
                }
                Err(problem) => Err(problem),
                Ok(()) => Ok(vec![place(&vault.name, &path)]),
            }
        });
        report.0.failed.append(&mut batch.failed);
        Ok(Batch {
            failed: report.0.failed,
            ..batch
        })
    })
    .await
}

pub(super) fn remove_one(
    change: &mut Change<'_>,
    vault: &str,
    path: &SecretPath,
    depth: Depth,
) -> Result<(), Problem> {
    let stat = match change.stat(path) {
        Err(VaultError::NoSuchPath { .. } | VaultError::NotDirectory { .. }) => {
            return Err(no_secret(vault, path));
        }
        stat => stat.map_err(|error| vault_problem(vault, error))?,
    };
    if stat.kind == EntryKind::Directory && depth == Depth::Single {
        return Err(vault_problem(vault, VaultError::IsDirectory { path: path.clone() }).hint("pass `-r`"));
    }
    change
        .remove(path, depth)
        .map_err(|error| vault_problem(vault, error))
}

/// The paths that a target means: an exact one, or what a pattern finds.
fn matching(node: &Node, target: &Target) -> Result<Vec<SecretPath>, Problem> {
    let vault = node.vaults.open(&target.vault)?;
    let view = vault
        .vault
        .view(At::Now)
        .map_err(|error| vault_problem(&vault.name, error))?;
    let seen = Seen {
        vault: &vault.name,
        view: &view,
    };
    let meanings = Meanings {
        fields: false,
        patterns: Some(Hidden::Skip),
    };
    let picked = seen.pick(&target.path, meanings)?;
    if picked.iter().any(|picked| picked.stat.path.is_root()) {
        return Err(
            Problem::new(Code::Usage, format!("{} is a whole vault", vault.name)).hint(format!(
                "delete the vault with `polykey vaults delete {}`",
                typed(&vault.name)
            )),
        );
    }
    Ok(picked.into_iter().map(|picked| picked.stat.path).collect())
}

/// Makes directories.
pub async fn mkdir(agent: Agent, caller: Caller, q: Mkdir) -> Result<Batch, Problem> {
    let pass = agent.enter(&caller, on("secrets.mkdir", &q.targets)).await?;
    let node = pass.node().clone();
    blocking(move || {
        let parents = if q.parents { Parents::Made } else { Parents::Needed };
        Ok(each_vault(
            &node,
            &q.targets,
            Room::Needed,
            |change, vault, target| {
                let path = new_path(&vault.name, &target.path)?;
                if parents == Parents::Made
                    && is_directory(change, &path).map_err(|error| vault_problem(&vault.name, error))?
                {
                    // Taken as made, and so not told of as made now.
                    return Ok(Vec::new());
                }
                change.mkdir(&path, parents).map_err(|error| match error {
                    VaultError::NoSuchPath { path } => Problem::new(
                        Code::SecretNotFound,
                        format!("there is no directory {}", place(&vault.name, &path)),
                    )
                    .hint("pass `-p` to make the parents, too"),
                    error => vault_problem(&vault.name, error),
                })?;
                Ok(vec![place(&vault.name, &path)])
            },
        ))
    })
    .await
}

/// Makes empty secrets where there are none.
pub async fn touch(agent: Agent, caller: Caller, q: Touch) -> Result<Batch, Problem> {
    let pass = agent.enter(&caller, on("secrets.touch", &q.targets)).await?;
    let node = pass.node().clone();
    blocking(move || {
        Ok(each_vault(
            &node,
            &q.targets,
            Room::Needed,
            |change, vault, target| {
                let path = new_path(&vault.name, &target.path)?;
                let problem = |error| vault_problem(&vault.name, error);
                if !change.exists(&path).map_err(problem)? {
                    let empty = change.stage(polykey_vault::Kind::Raw, &[]).map_err(problem)?;
                    change.put(&path, empty, &Expect::Absent).map_err(problem)?;
                }
                Ok(vec![place(&vault.name, &path)])
            },
        ))
    })
    .await
}

/// Changes the fields of a record, or makes one.
pub async fn set(agent: Agent, caller: Caller, q: SetFields) -> Result<Written, Problem> {
    let mut action = on("secrets.set", [&q.target]);
    action.targets = q
        .fields
        .iter()
        .map(|field| &field.name)
        .chain(&q.unset)
        .map(|name| format!("{}#{name}", shown(&q.target)))
        .collect();
    let pass = agent.enter(&caller, action).await?;
    let node = pass.node().clone();
    blocking(move || {
        let vault = node.vaults.open(&q.target.vault)?;
        let path = new_path(&vault.name, &q.target.path)?;
        let problem = |error| vault_problem(&vault.name, error);
        let fields = q
            .fields
            .iter()
            .map(to_field)
            .collect::<Result<Vec<_>, Problem>>()?;
        let expect = q.cas.map_or(Expect::Any, Expect::Version);
        let changed = vault.vault.change::<_, VaultError>(None, |change| {
            let mut record = match change.record(&path) {
                Err(VaultError::NoSuchPath { .. }) => Record::default(),
                record => record?,
            };
            for field in fields {
                record.set(field)?;
            }
            if let Some(name) = q.unset.iter().find(|name| !record.unset(name)) {
                return Ok(Err(name.clone()));
            }
            change.put_record(&path, &record, &expect).map(Ok)
        });
        let (written, made) = changed.map_err(problem)?;
        let written = written.map_err(|name| {
            Problem::new(
                Code::SecretNotFound,
                format!("{} has no field {name}", place(&vault.name, &path)),
            )
        })?;
        Ok(to_written(&vault, &path, written, made.map(|id| id.to_string())))
    })
    .await
}

fn to_field(field: &Field) -> Result<polykey_vault::Field, Problem> {
    let kind = match field.kind.unwrap_or(WireKind::Concealed) {
        WireKind::Text => FieldKind::Text,
        WireKind::Concealed => FieldKind::Concealed,
        WireKind::Otp => FieldKind::Otp,
        WireKind::Url => FieldKind::Url,
        WireKind::Note => FieldKind::Note,
        WireKind::Key => FieldKind::Key,
        WireKind::File => FieldKind::File,
    };
    let value = BASE64
        .decode(field.value.as_bytes())
        .map(SecretBytes::new)
        .map_err(|_| {
            Problem::new(
                Code::Usage,
                format!("the value of {} is not in base64", field.name),
            )
        })?;
    polykey_vault::Field::new(&field.name, kind, value)
        .map_err(|error| Problem::new(Code::BadData, error.to_string()))
}

/// Changes or shows attributes.
pub async fn attributes(agent: Agent, caller: Caller, q: SetAttributes) -> Result<Attributes, Problem> {
    let action = on("secrets.attributes", [&q.target]);
    let pass = agent.enter(&caller, action).await?;
    let node = pass.node().clone();
    blocking(move || {
        let vault = node.vaults.open(&q.target.vault)?;
        let path = new_path(&vault.name, &q.target.path)?;
        let (stat, made) = vault
            .vault
            .change(None, |change| {
                let have = change.stat(&path)?;
                for (key, value) in &q.set {
                    if have.attributes.get(key) != Some(value) {
                        change.set_attribute(&path, key, Some(value))?;
                    }
                }
                for key in q.unset.iter().filter(|key| have.attributes.contains_key(*key)) {
                    change.set_attribute(&path, key, None)?;
                }
                change.stat(&path)
            })
            .map_err(|error| vault_problem(&vault.name, error))?;
        Ok(Attributes {
            attributes: stat.attributes,
            commit_id: made.map(|id| id.to_string()),
        })
    })
    .await
}

/// Brings a version of a secret back.
pub async fn restore(agent: Agent, caller: Caller, q: Restore) -> Result<Committed, Problem> {
    let action = on("secrets.restore", [&q.target]).target(&q.version);
    let pass = agent.enter(&caller, action).await?;
    let node = pass.node().clone();
    blocking(move || {
        let vault = node.vaults.open(&q.target.vault)?;
        let path = new_path(&vault.name, &q.target.path)?;
        let version = VersionRef::parse(&q.version);
        let (_, made) = vault
            .vault
            .change(None, |change| change.restore(&path, &version))
            .map_err(|error| vault_problem(&vault.name, error))?;
        Ok(committed(&vault, made))
    })
    .await
}
