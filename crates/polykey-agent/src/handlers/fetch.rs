//! The calls that send the content of secrets.
//!
//! [`read`] sends one as raw bytes. [`fetch`] plans what is meant, which depends on what it is for, and then
//! sends it all as frames.

use std::sync::Arc;

use axum::body::Body;
use polykey_api::frames;
use polykey_api::problem::{ProblemBody, typed};
use polykey_api::secrets::{Fetch, Purpose, ReadOne, SecretHead, Target};
use polykey_api::{Code, Problem};
use polykey_core::{SecretBytes, SecretPath};
use polykey_vault::{EntryKind, Record, Stat, VaultError};

use super::opened::{Opened, Openings, check_field, is_directory};
use super::secrets::{no_match, on, on_one, shown};
use crate::agent::Agent;
use crate::blocking::{BodyWriter, streamed};
use crate::door::{Action, Caller};
use crate::glob::Hidden;
use crate::vaults::problem::{place, vault_problem};
use crate::vaults::select::{Meanings, Picked};

/// So much of a commit's id is shown where it has to be typed.
const SHOWN_COMMIT: usize = 16;

/// One value that is going to be sent.
struct Value {
    opened: Arc<Opened>,
    head: SecretHead,
    path: SecretPath,
    kind: EntryKind,
}

type Planned = Result<Value, Problem>;

/// One secret as raw bytes.
pub async fn read(agent: Agent, caller: Caller, q: ReadOne) -> Result<Body, Problem> {
    let action = on_one("secrets.read", &q.vault, &q.path);
    let pass = agent.enter(&caller, action).await?;
    let node = pass.node().clone();
    streamed(pass.node().closing(), move |out| {
        let opened = Opened::new(&node, &q.vault, q.at.as_deref(), q.at_time)?;
        let meanings = Meanings {
            fields: true,
            patterns: None,
        };
        for picked in opened.seen().pick(&q.path, meanings)? {
            let problem = |error| unread(&opened, &picked.stat.path, error);
            match picked.stat.kind {
                EntryKind::Directory => return Err(is_directory(&opened, &picked.stat.path)),
                EntryKind::Record => {
                    let record = opened.view.record(&picked.stat.path).map_err(problem)?;
                    match &picked.field {
                        None => out.buffer().extend_from_slice(record_json(&record).expose()),
                        Some(name) => {
                            check_field(&opened, &picked.stat, name)?;
                            let field = record.field(name);
                            out.buffer()
                                .extend_from_slice(field.map_or(&[], |field| field.value().expose()));
                        }
                    }
                }
                EntryKind::Raw => {
                    let mut reader = opened.view.open(&picked.stat.path).map_err(problem)?;
                    while let Some(piece) = reader.take_piece().map_err(problem)? {
                        out.hand_over(piece)?;
                    }
                }
            }
        }
        Ok(())
    })
    .await
}

/// Several secrets, as frames. One audit record names them all, before a byte is sent.
pub async fn fetch(agent: Agent, caller: Caller, q: Fetch) -> Result<Body, Problem> {
    let event = match q.purpose {
        Purpose::Env => "secrets.env",
        Purpose::Copy => "secrets.copy",
        Purpose::Edit => "secrets.edit",
        Purpose::Cat => "secrets.read",
    };
    let asked = on(event, &q.targets);
    let pass = agent.enter_to_look(&caller, &asked).await?;
    let node = pass.node().clone();
    streamed(pass.node().closing(), move |out| {
        let mut openings = Openings::new(node, q.at.clone(), q.at_time);
        let planned = plan(&mut openings, &q);
        let mut targets = Vec::new();
        for value in planned.iter().flatten().flatten() {
            targets.push(full_name(&value.head));
        }
        if targets.is_empty() {
            targets.clone_from(&asked.targets);
        }
        agent.record(&caller, &Action { targets, ..asked }, Some(pass.session()));
        for value in planned? {
            match value {
                Ok(value) => send(&value, out)?,
                Err(problem) => {
                    frames::write::failed(out.buffer(), &ProblemBody::from(problem))
                        .map_err(|e| unframed(&e))?;
                }
            }
            out.flush_full()?;
        }
        frames::write::close(out.buffer());
        Ok(())
    })
    .await
}

fn unframed(error: &frames::FrameError) -> Problem {
    Problem::new(Code::Internal, "an answer does not fit its frame").caused_by(error)
}

/// Finds all that is meant. For an environment any failure is the failure of the whole.
fn plan(openings: &mut Openings, q: &Fetch) -> Result<Vec<Planned>, Problem> {
    let mut planned = Vec::new();
    for (index, target) in q.targets.iter().enumerate() {
        let found = match q.purpose {
            Purpose::Cat => plan_cat(openings, index, target),
            Purpose::Env => plan_env(openings, index, target),
            Purpose::Copy => plan_copy(openings, index, target, q.recursive),
            Purpose::Edit => plan_edit(openings, index, target),
        };
        match found {
            Ok(values) => planned.extend(values.into_iter().map(Ok)),
            Err(problem) if q.purpose == Purpose::Env => return Err(problem),
            Err(problem) => planned.push(Err(problem)),
        }
    }
    Ok(planned)
}

fn value(opened: &Arc<Opened>, target: usize, stat: &Stat, field: Option<String>, name: String) -> Value {
    let raw = stat.kind == EntryKind::Raw;
    Value {
        head: SecretHead {
            target,
            vault: opened.vault.name.clone(),
            path: stat.path.as_str().to_owned(),
            field,
            name,
            directory: stat.kind == EntryKind::Directory,
            version: stat.version,
            size: raw.then_some(stat.size),
            set_aside: opened.view.is_set_aside(&stat.path),
        },
        path: stat.path.clone(),
        kind: stat.kind,
        opened: opened.clone(),
    }
}

fn base_name(stat: &Stat) -> String {
    stat.path.name().unwrap_or_default().to_owned()
}

fn full_name(head: &SecretHead) -> String {
    match &head.field {
        Some(field) => format!("{}:{}#{field}", head.vault, head.path),
        None => format!("{}:{}", head.vault, head.path),
    }
}

fn plan_cat(openings: &mut Openings, index: usize, target: &Target) -> Result<Vec<Value>, Problem> {
    let opened = openings.open(&target.vault)?;
    let meanings = Meanings {
        fields: true,
        patterns: Some(Hidden::Skip),
    };
    let mut values = Vec::new();
    for picked in opened.seen().pick(&target.path, meanings)? {
        if picked.stat.kind == EntryKind::Directory {
            if picked.by_pattern {
                continue;
            }
            return Err(is_directory(&opened, &picked.stat.path));
        }
        if let Some(field) = &picked.field {
            check_field(&opened, &picked.stat, field)?;
        }
        let name = base_name(&picked.stat);
        values.push(value(&opened, index, &picked.stat, picked.field, name));
    }
    if values.is_empty() {
        return Err(no_match(target));
    }
    Ok(values)
}

fn plan_edit(openings: &mut Openings, index: usize, target: &Target) -> Result<Vec<Value>, Problem> {
    let opened = openings.open(&target.vault)?;
    let meanings = Meanings {
        fields: true,
        patterns: None,
    };
    let mut picked = opened.seen().pick(&target.path, meanings)?;
    let Some(Picked { stat, field, .. }) = picked.pop() else {
        return Ok(Vec::new());
    };
    match (stat.kind, &field) {
        (EntryKind::Directory, _) => Err(is_directory(&opened, &stat.path)),
        (EntryKind::Record, None) => Err(Problem::new(
            Code::Usage,
            format!("{} is a record, which is edited field by field", shown(target)),
        )
        .hint(format!(
            "name a field, as in {}",
            typed(&format!("{}#password", shown(target)))
        ))),
        (EntryKind::Record, Some(name)) => {
            let record = opened.view.record(&stat.path);
            let record = record.map_err(|error| unread(&opened, &stat.path, error))?;
            if record.field(name).is_none() {
                // A new field: nothing to send but the version that it will be based on.
                let mut empty = value(&opened, index, &stat, field, String::new());
                empty.head.directory = true;
                empty.kind = EntryKind::Directory;
                return Ok(vec![empty]);
            }
            Ok(vec![value(&opened, index, &stat, field, String::new())])
        }
        _ => {
            let name = base_name(&stat);
            Ok(vec![value(&opened, index, &stat, field, name)])
        }
    }
}

fn plan_copy(
    openings: &mut Openings,
    index: usize,
    target: &Target,
    recursive: bool,
) -> Result<Vec<Value>, Problem> {
    let opened = openings.open(&target.vault)?;
    let meanings = Meanings {
        fields: true,
        patterns: Some(Hidden::Skip),
    };
    let mut values = Vec::new();
    for picked in opened.seen().pick(&target.path, meanings)? {
        if picked.stat.kind != EntryKind::Directory {
            if let Some(field) = &picked.field {
                check_field(&opened, &picked.stat, field)?;
            }
            let name = base_name(&picked.stat);
            values.push(value(&opened, index, &picked.stat, picked.field, name));
            continue;
        }
        if !recursive {
            if picked.by_pattern {
                continue;
            }
            return Err(is_directory(&opened, &picked.stat.path).hint("pass `-r`"));
        }
        let root = picked.stat.path.clone();
        let base = root.name().unwrap_or(&opened.vault.name).to_owned();
        values.push(value(&opened, index, &picked.stat, None, base.clone()));
        for stat in opened.seen().walk(&root)? {
            let below = stat.path.strip_prefix(&root).unwrap_or_default();
            let name = format!("{base}/{below}");
            values.push(value(&opened, index, &stat, None, name));
        }
    }
    if values.is_empty() {
        return Err(no_match(target));
    }
    Ok(values)
}

/// `v`, `v:path`, `v:path#field`, a pattern; each also with `=NAME` behind it when it is a single value.
fn plan_env(openings: &mut Openings, index: usize, target: &Target) -> Result<Vec<Value>, Problem> {
    let (opened, picked, rename) = pick_env(openings, target)?;
    let mut values = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for picked in picked {
        let below = match picked.stat.kind {
            EntryKind::Directory => opened.seen().walk(&picked.stat.path)?,
            _ => vec![picked.stat.clone()],
        };
        for stat in below {
            // A pattern may find a directory and what is in it.
            if stat.kind == EntryKind::Directory || !seen.insert(stat.path.clone()) {
                continue;
            }
            if stat.kind == EntryKind::Raw {
                let name = base_name(&stat);
                values.push(value(&opened, index, &stat, None, name));
                continue;
            }
            let record = opened.view.record(&stat.path);
            let record = record.map_err(|error| unread(&opened, &stat.path, error))?;
            let wanted = |name: &str| picked.field.as_deref().is_none_or(|field| field == name);
            let before = values.len();
            for field in record.fields().iter().filter(|field| wanted(field.name())) {
                let name = field.name().to_owned();
                values.push(value(&opened, index, &stat, Some(name.clone()), name));
            }
            if let Some(field) = picked.field.as_deref().filter(|_| values.len() == before) {
                check_field(&opened, &stat, field)?;
            }
        }
    }
    let Some(name) = rename else { return Ok(values) };
    match values.as_mut_slice() {
        [one] => one.head.name = name,
        several => {
            return Err(Problem::new(
                Code::Usage,
                format!(
                    "{} has {} values; a name can be given to one",
                    shown(target),
                    several.len()
                ),
            ));
        }
    }
    Ok(values)
}

type PickedEnv = (Arc<Opened>, Vec<Picked>, Option<String>);

fn pick_env(openings: &mut Openings, target: &Target) -> Result<PickedEnv, Problem> {
    let meanings = Meanings {
        fields: true,
        patterns: Some(Hidden::Skip),
    };
    let (opened, whole_name) = match openings.open(&target.vault) {
        Ok(opened) => (opened, None),
        // A vault `v` called `v=NAME`.
        Err(problem) if problem.code == Code::VaultNotFound && target.path.is_empty() => {
            let split = target.vault.rsplit_once('=');
            let Some((vault, name)) = split else {
                return Err(problem);
            };
            (openings.open(vault).map_err(|_| problem)?, Some(name))
        }
        Err(problem) => return Err(problem),
    };
    if let Some(name) = whole_name {
        let picked = opened.seen().pick("", meanings)?;
        return Ok((opened, picked, Some(variable(name)?)));
    }
    let seen = opened.seen();
    let exact = seen.exact(&target.path)?;
    let renamed = target.path.rsplit_once('=').filter(|_| exact.is_none());
    if let Some((path, name)) = renamed {
        match seen.pick(path, meanings) {
            Ok(picked) => {
                let name = variable(name)?;
                return Ok((opened, picked, Some(name)));
            }
            Err(problem) if problem.code != Code::SecretNotFound => return Err(problem),
            Err(_) => {}
        }
    }
    let picked = seen.pick(&target.path, meanings)?;
    Ok((opened, picked, None))
}

/// The name that was given to a variable.
fn variable(name: &str) -> Result<String, Problem> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b == b'_' || b.is_ascii_alphabetic());
    if first && bytes.all(|b| b == b'_' || b.is_ascii_alphanumeric()) {
        return Ok(name.to_owned());
    }
    Err(Problem::new(
        Code::Usage,
        format!("{name:?} is not possible for a variable"),
    ))
}

/// Why the content of a secret cannot be read. Where it has not come yet, the newest version that is here is named, and
/// how to ask for it: old content is never given in the place of new.
fn unread(opened: &Opened, path: &SecretPath, error: VaultError) -> Problem {
    let here = match error {
        // The first problem is the one to tell of.
        VaultError::NotHereYet { .. } => opened.view.newest_here(path).ok().flatten(),
        _ => None,
    };
    let vault = &opened.vault.name;
    let problem = vault_problem(vault, error);
    let Some(here) = here else { return problem };
    let commit = here.commit.to_string();
    let message = format!("{}; version {} is here", problem.message, here.version);
    Problem { message, ..problem }.hint(format!(
        "try again in a moment, or read version {} with `polykey secrets cat {} --at {}`",
        here.version,
        typed(&place(vault, &here.path)),
        &commit[..SHOWN_COMMIT]
    ))
}

fn send(value: &Value, out: &mut BodyWriter) -> Result<(), Problem> {
    let failed = |out: &mut BodyWriter, error: VaultError| {
        let problem = unread(&value.opened, &value.path, error);
        frames::write::failed(out.buffer(), &ProblemBody::from(problem)).map_err(|e| unframed(&e))
    };
    if value.kind == EntryKind::Directory {
        frames::write::head(out.buffer(), &value.head).map_err(|e| unframed(&e))?;
        frames::write::end(out.buffer());
        return Ok(());
    }
    if value.kind == EntryKind::Record {
        let record = match value.opened.view.record(&value.path) {
            Ok(record) => record,
            Err(error) => return failed(out, error),
        };
        frames::write::head(out.buffer(), &value.head).map_err(|e| unframed(&e))?;
        match value.head.field.as_deref().and_then(|field| record.field(field)) {
            Some(field) => frames::write::data(out.buffer(), field.value().expose()),
            None => frames::write::data(out.buffer(), record_json(&record).expose()),
        }
        frames::write::end(out.buffer());
        return Ok(());
    }
    let mut reader = match value.opened.view.open(&value.path) {
        Ok(reader) => reader,
        Err(error) => return failed(out, error),
    };
    frames::write::head(out.buffer(), &value.head).map_err(|e| unframed(&e))?;
    loop {
        match reader.take_piece() {
            Ok(Some(piece)) => {
                frames::write::data_header(out.buffer(), piece.as_ref().len()).map_err(|e| unframed(&e))?;
                out.hand_over(piece)?;
            }
            Ok(None) => break,
            Err(error) => return failed(out, error),
        }
    }
    frames::write::end(out.buffer());
    Ok(())
}

/// A record as one line of JSON, its fields in order; a field that is no text as
/// `{"encoding":"base64","value":...}`.
fn record_json(record: &Record) -> SecretBytes {
    let mut text = String::from("{");
    for (index, field) in record.fields().iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        let bytes = field.value().expose();
        let value = match std::str::from_utf8(bytes) {
            Ok(value) => serde_json::Value::from(value),
            Err(_) => serde_json::json!({
                "encoding": "base64",
                "value": data_encoding::BASE64.encode(bytes),
            }),
        };
        text.push_str(&format!("{}:{value}", serde_json::Value::from(field.name())));
    }
    text.push_str("}\n");
    SecretBytes::new(text.into_bytes())
}
