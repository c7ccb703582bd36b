//! The calls that read secrets.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use polykey_api::frames;
use polykey_api::problem::ProblemBody;
use polykey_api::secrets::{
    Entry, Fetch, Find, Found, List, OneTarget, Purpose, ReadOne, SecretHead, SecretLog, Target,
};
use polykey_api::vaults::LogItem;
use polykey_api::{Code, Problem};
use polykey_core::{SecretBytes, SecretPath, Timestamp};
use polykey_vault::{At, EntryKind, FieldKind, Record, Stat, VaultError, View};
use tokio::sync::mpsc;

use crate::agent::Agent;
use crate::blocking::{BodyWriter, blocking, feed, streamed};
use crate::door::{Action, Caller};
use crate::glob::Hidden;
use crate::node::Node;
use crate::vaults::InUse;
use crate::vaults::history::to_version;
use crate::vaults::problem::{place, vault_problem};
use crate::vaults::select::{Meanings, Picked, Seen};

/// Longest content that is searched in one piece; longer ones are searched in overlapping pieces.
const SEARCHED: usize = 1 << 20;

/// An open vault and what it holds at the moment that was asked for.
struct Opened {
    vault: InUse,
    view: View,
}

impl Opened {
    fn new(node: &Node, name: &str, at: Option<&str>, time: Option<u64>) -> Result<Opened, Problem> {
        let vault = node.vaults.open(name)?;
        let problem = |error| vault_problem(&vault.name, error);
        let at = match (at, time) {
            (Some("last"), _) => {
                let last = vault.vault.last().map_err(problem)?;
                last.map_or(At::Now, At::Commit)
            }
            (Some(text), _) => At::Commit(vault.vault.commit_by_prefix(text).map_err(problem)?),
            (None, Some(time)) => At::Time(Timestamp::from_millis(time)),
            (None, None) => At::Now,
        };
        let view = vault.vault.view(at).map_err(problem)?;
        Ok(Opened { vault, view })
    }

    fn seen(&self) -> Seen<'_> {
        Seen {
            vault: &self.vault.name,
            view: &self.view,
        }
    }
}

/// Opens each vault once for a call that names several secrets.
struct Openings {
    node: Arc<Node>,
    at: Option<String>,
    time: Option<u64>,
    open: BTreeMap<String, Arc<Opened>>,
}

impl Openings {
    fn open(&mut self, name: &str) -> Result<Arc<Opened>, Problem> {
        if let Some(opened) = self.open.get(name) {
            return Ok(opened.clone());
        }
        let opened = Arc::new(Opened::new(&self.node, name, self.at.as_deref(), self.time)?);
        self.open.insert(name.to_owned(), opened.clone());
        Ok(opened)
    }
}

/// One value that is going to be sent.
struct Value {
    opened: Arc<Opened>,
    head: SecretHead,
    path: SecretPath,
    kind: EntryKind,
}

type Planned = Result<Value, Problem>;

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
    streamed(move |out| {
        let mut openings = Openings {
            node,
            at: q.at.clone(),
            time: q.at_time,
            open: BTreeMap::new(),
        };
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

/// `vault:path`, as typed.
pub fn shown(target: &Target) -> String {
    format!("{}:{}", target.vault, target.path)
}

fn full_name(head: &SecretHead) -> String {
    match &head.field {
        Some(field) => format!("{}:{}#{field}", head.vault, head.path),
        None => format!("{}:{}", head.vault, head.path),
    }
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
        },
        path: stat.path.clone(),
        kind: stat.kind,
        opened: opened.clone(),
    }
}

fn base_name(stat: &Stat) -> String {
    stat.path.name().unwrap_or_default().to_owned()
}

fn is_directory(opened: &Opened, path: &SecretPath) -> Problem {
    vault_problem(&opened.vault.name, VaultError::IsDirectory { path: path.clone() })
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
        return Err(Problem::new(
            Code::SecretNotFound,
            format!("{} matches no secret", shown(target)),
        ));
    }
    Ok(values)
}

fn check_field(opened: &Opened, stat: &Stat, field: &str) -> Result<(), Problem> {
    let record = opened.view.record(&stat.path);
    let record = record.map_err(|error| vault_problem(&opened.vault.name, error))?;
    if record.field(field).is_some() {
        return Ok(());
    }
    Err(Problem::new(
        Code::SecretNotFound,
        format!("{} has no field {field}", place(&opened.vault.name, &stat.path)),
    ))
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
        .hint(format!("name a field, as in `{}#password`", shown(target)))),
        (EntryKind::Record, Some(name)) => {
            let record = opened.view.record(&stat.path);
            let record = record.map_err(|error| vault_problem(&opened.vault.name, error))?;
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
        return Err(Problem::new(
            Code::SecretNotFound,
            format!("{} matches no secret", shown(target)),
        ));
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
            let record = record.map_err(|error| vault_problem(&opened.vault.name, error))?;
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

fn send(value: &Value, out: &mut BodyWriter) -> Result<(), Problem> {
    let name = &value.opened.vault.name;
    let failed = |out: &mut BodyWriter, error: VaultError| {
        let problem = vault_problem(name, error);
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
        match reader.next_piece() {
            Ok(Some(piece)) => frames::write::data(out.buffer(), piece),
            Ok(None) => break,
            Err(error) => return failed(out, error),
        }
        out.flush_full()?;
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

/// One secret as raw bytes.
pub async fn read(agent: Agent, caller: Caller, q: ReadOne) -> Result<Body, Problem> {
    let action = on(
        "secrets.read",
        [&Target {
            vault: q.vault.clone(),
            path: q.path.clone(),
        }],
    );
    let pass = agent.enter(&caller, action).await?;
    let node = pass.node().clone();
    streamed(move |out| {
        let opened = Opened::new(&node, &q.vault, q.at.as_deref(), q.at_time)?;
        let problem = |error| vault_problem(&opened.vault.name, error);
        let meanings = Meanings {
            fields: true,
            patterns: None,
        };
        for picked in opened.seen().pick(&q.path, meanings)? {
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
                    while let Some(piece) = reader.next_piece().map_err(problem)? {
                        out.buffer().extend_from_slice(piece);
                        out.flush_full()?;
                    }
                }
            }
        }
        Ok(())
    })
    .await
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

/// Where a text occurs.
pub async fn find(agent: Agent, caller: Caller, q: Find) -> Result<mpsc::Receiver<Found>, Problem> {
    let event = if q.content {
        "secrets.find.content"
    } else {
        "secrets.find"
    };
    let mut action = Action::new(event);
    if let Some(vault) = &q.vault {
        action = action.vault(vault);
    }
    if q.text.is_empty() {
        return Err(Problem::new(Code::Usage, "there is nothing to look for"));
    }
    let pass = agent.enter(&caller, action).await?;
    let node = pass.node().clone();
    let found = blocking(move || {
        let names = match &q.vault {
            Some(name) => vec![name.clone()],
            None => node.vaults.names(),
        };
        let wanted = Wanted::new(&q.text);
        let mut found = Vec::new();
        for name in names {
            let opened = match Opened::new(&node, &name, None, None) {
                Ok(opened) => opened,
                // An absent stick does not hide what the other vaults hold.
                Err(problem) if q.vault.is_none() && problem.code == Code::Io => continue,
                Err(problem) => return Err(problem),
            };
            for stat in opened.seen().walk(&SecretPath::root())? {
                if let Some(matched) = wanted.matches(&opened, &stat, q.content)? {
                    found.push(Found {
                        vault: opened.vault.name.clone(),
                        path: stat.path.as_str().to_owned(),
                        matched,
                        attributes: stat.attributes,
                    });
                }
            }
        }
        Ok(found)
    })
    .await?;
    Ok(feed(found))
}

/// A text that is looked for; without capitals, case does not count.
struct Wanted {
    text: String,
    exact: bool,
}

impl Wanted {
    fn new(text: &str) -> Wanted {
        let exact = text.chars().any(char::is_uppercase);
        Wanted {
            text: text.to_owned(),
            exact,
        }
    }

    fn is_in(&self, text: &str) -> bool {
        if self.exact {
            text.contains(&self.text)
        } else {
            text.to_lowercase().contains(&self.text)
        }
    }

    fn is_in_bytes(&self, bytes: &[u8]) -> bool {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.is_in(text),
            Err(_) => {
                let same = |window: &[u8]| {
                    if self.exact {
                        window == self.text.as_bytes()
                    } else {
                        window.eq_ignore_ascii_case(self.text.as_bytes())
                    }
                };
                bytes.windows(self.text.len()).any(same)
            }
        }
    }

    fn matches(&self, opened: &Opened, stat: &Stat, content: bool) -> Result<Option<String>, Problem> {
        if self.is_in(stat.path.as_str()) {
            return Ok(Some("name".to_owned()));
        }
        let attribute = stat
            .attributes
            .iter()
            .find(|(key, value)| self.is_in(key) || self.is_in(value));
        if let Some((key, _)) = attribute {
            return Ok(Some(key.clone()));
        }
        let inside = match stat.kind {
            EntryKind::Directory => false,
            EntryKind::Record => self.in_record(opened, stat, content)?,
            EntryKind::Raw => content && self.in_content(opened, stat)?,
        };
        Ok(inside.then(|| "content".to_owned()))
    }

    /// Names of fields and what may be shown count always, what is concealed only with the content.
    fn in_record(&self, opened: &Opened, stat: &Stat, content: bool) -> Result<bool, Problem> {
        let record = opened.view.record(&stat.path);
        let record = record.map_err(|error| vault_problem(&opened.vault.name, error))?;
        Ok(record.fields().iter().any(|field| {
            let open = matches!(field.kind(), FieldKind::Text | FieldKind::Url);
            self.is_in(field.name()) || ((content || open) && self.is_in_bytes(field.value().expose()))
        }))
    }

    fn in_content(&self, opened: &Opened, stat: &Stat) -> Result<bool, Problem> {
        let problem = |error| vault_problem(&opened.vault.name, error);
        let mut reader = opened.view.open(&stat.path).map_err(problem)?;
        let mut window = zeroize::Zeroizing::new(Vec::new());
        while let Some(piece) = reader.next_piece().map_err(problem)? {
            window.extend_from_slice(piece);
            if window.len() >= SEARCHED {
                if self.is_in_bytes(&window) {
                    return Ok(true);
                }
                // The text may lie across the border.
                let keep = window.len().saturating_sub(self.text.len());
                window.drain(..keep);
            }
        }
        Ok(self.is_in_bytes(&window))
    }
}
