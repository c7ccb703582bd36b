//! The index: how a commit changes the rows.
//!
//! One function, [`insert`], takes every commit, our own and others'. It stores the commit, its objects and
//! events, brings the state of each secret that it touches up to date, and the directories with them. A
//! commit that has seen all others costs what its operations cost; only secrets that somebody else
//! changed meanwhile are folded anew, from their own events.
//!
//! Always: the rows are a function of the set of commits and of which of them count, whatever the order in
//! which they came. Start at [`insert`].

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use polykey_core::codec::{CodecError, Reader, Writer};
use polykey_core::{ObjectId, Timestamp};

use crate::commit::{Body, Commit, MAX_BODY_LEN};
use crate::error::VaultError;
use crate::event::{Action, Event, ObjectRef, State, Stored};
use crate::fold::{self, Standing};
use crate::folder;
use crate::horizon::Horizon;
use crate::id::{CommitId, SecretId, VersionId};
use crate::line;
use crate::operation::{Operation, Subject};
use crate::rows::{BODY, COMMIT, EVENT, OBJECT, Rows, RowsMut, SECRET};

/// Statement and body stand in the commit's row up to this size; looking at a commit's place in history
/// must not cost reading all that it did.
const INLINE_COMMIT: usize = 8 << 10;
const MAX_ROW_LEN: usize = 16 << 20;

/// What is known about a stored commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommitRow {
    /// 1 + the greatest height of its parents.
    pub height: u64,
    /// False when it is set aside.
    pub counted: bool,
    /// When it was made, by its author's clock; 1970 when its body makes no sense.
    pub time: Timestamp,
    /// What it had seen, itself included.
    pub horizon: Horizon,
    /// Statement and sealed body, when they are short.
    inline: Option<(Vec<u8>, Vec<u8>)>,
}

/// Where an object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ObjectRow {
    /// Its sealed bytes are here.
    Inline(Vec<u8>),
    /// It is a file.
    File,
    /// It has not come yet.
    Wanted,
    /// It was deleted for good.
    Purged(Timestamp),
}

/// A secret's state, and which commits changed it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct SecretRow {
    /// What it is now.
    pub state: State,
    /// The last commit of each line that touched it.
    pub touched: Horizon,
    /// When it was made; `None` while only later operations on it have come.
    pub made: Option<Timestamp>,
}

/// A commit on its way into the index.
pub(crate) struct Incoming<'a> {
    /// The commit, verified.
    pub commit: &'a Commit,
    /// Its body; `None` when its author wrote one that makes no sense, which is then set aside.
    pub body: Option<&'a Body>,
    /// What the charter says.
    pub counted: bool,
    /// Where its objects are; those not named are wanted.
    pub objects: HashMap<ObjectId, ObjectRow>,
}

/// Opens the body of a stored commit; `None` when its author wrote one that makes no sense.
pub(crate) type Opening<'a> = dyn Fn(&Commit) -> Result<Option<Body>, VaultError> + 'a;

/// What became of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// It is new and counts.
    Counted,
    /// It is new and set aside.
    SetAside,
    /// It was here already.
    Known,
}

/// Stores a commit and brings everything up to date.
///
/// # Errors
/// [`VaultError::ParentMissing`] when an ancestor has to come first; [`VaultError::Commit`] when it does not
/// fit its own line. Nothing may be kept of the transaction then.
pub(crate) fn insert(
    rows: &mut dyn RowsMut,
    incoming: Incoming<'_>,
    open: &Opening<'_>,
) -> Result<Inserted, VaultError> {
    let Incoming {
        commit,
        body,
        counted,
        mut objects,
    } = incoming;
    let (id, header) = (commit.id(), commit.header());
    if commit_row(rows.as_rows(), id)?.is_some() {
        return Ok(Inserted::Known);
    }
    let (height, horizon) = place_in_history(rows.as_rows(), commit)?;
    let tips = line::tips(rows.as_rows())?;
    let saw_all = horizon.covers(&line::frontier(&tips)) && line::forks(rows.as_rows())?.is_empty();
    let in_line = line::append(rows, id, header)?;
    let forked = line::forked_at(rows.as_rows(), &header.line())?;
    let counted = counted && body.is_some() && forked.is_none_or(|seq| header.seq < seq);
    let row = CommitRow {
        height,
        counted,
        time: body.map_or(Timestamp::default(), |body| body.time),
        horizon,
        inline: Some((
            commit.statement().as_bytes().to_vec(),
            commit.sealed_body().to_vec(),
        )),
    };
    store_commit(rows, id, row)?;
    for (object, _) in &header.objects {
        if object_row(rows.as_rows(), object)?.is_none_or(|row| row == ObjectRow::Wanted) {
            let row = objects.remove(object).unwrap_or(ObjectRow::Wanted);
            store_object(rows, object, &row)?;
        }
    }
    if let Some(body) = body {
        for (secret, events) in events_of(commit, body, height) {
            record(rows, secret, events, saw_all && counted)?;
        }
    }
    if !in_line {
        // From the fork on the whole line is set aside, also what had counted until now.
        let line = header.line();
        let from = forked.unwrap_or(header.seq);
        let last = line::tip(rows.as_rows(), &line)?.map_or(0, |tip| tip.seq);
        for seq in from..=last {
            if let Some(id) = line::commit_at(rows.as_rows(), &line, seq)? {
                judge(rows, id, false, open)?;
            }
        }
    }
    Ok(if counted {
        Inserted::Counted
    } else {
        Inserted::SetAside
    })
}

/// Lets a stored commit count, or sets it aside, and brings what it touches up to date.
pub(crate) fn judge(
    rows: &mut dyn RowsMut,
    id: CommitId,
    counted: bool,
    open: &Opening<'_>,
) -> Result<(), VaultError> {
    let Some((commit, mut row)) = commit_and_row(rows.as_rows(), id)? else {
        return Err(VaultError::CommitDamaged { commit: id });
    };
    if row.counted == counted {
        return Ok(());
    }
    let Some(body) = open(&commit)? else {
        return Ok(());
    };
    row.counted = counted;
    store_commit(rows, id, row)?;
    for secret in touched_by(&commit, &body) {
        refold(rows, secret)?;
    }
    Ok(())
}

/// Height and horizon from its parents, and the check that it continues its line.
fn place_in_history(rows: &dyn Rows, commit: &Commit) -> Result<(u64, Horizon), VaultError> {
    let header = commit.header();
    let mut height = 1;
    let mut horizon = Horizon::default();
    for parent in &header.parents {
        let row = commit_row(rows, *parent)?.ok_or(VaultError::ParentMissing { missing: *parent })?;
        height = height.max(row.height + 1);
        horizon.merge(&row.horizon);
    }
    if let Some(previous) = header.previous
        && commit_row(rows, previous)?.is_none()
    {
        return Err(VaultError::ParentMissing { missing: previous });
    }
    // Its own line, as far as its author had seen it, ends just before it.
    if horizon.last(&header.line()) + 1 != header.seq {
        return Err(VaultError::Commit(
            CodecError::Shape {
                what: "a line of commits",
            }
            .into(),
        ));
    }
    horizon.add(header.line(), header.seq);
    Ok((height, horizon))
}

/// The events that a commit makes, by secret, each with its objects and keys.
fn events_of(commit: &Commit, body: &Body, height: u64) -> BTreeMap<SecretId, Vec<Event>> {
    let (id, header) = (commit.id(), commit.header());
    let mut pieces = header.objects.iter().zip(&body.keys);
    let mut by_secret: BTreeMap<SecretId, Vec<Event>> = BTreeMap::new();
    let version = |index: usize| VersionId {
        commit: id,
        index: u32::try_from(index).expect("operations are bounded"),
    };
    for (index, operation) in body.operations.iter().enumerate() {
        let made = SecretId::made_by(version(index));
        let mut stored = |content: &crate::content::Content| Stored {
            content: *content,
            objects: pieces
                .by_ref()
                .take(content.objects as usize)
                .map(|((id, size), key)| ObjectRef {
                    id: *id,
                    size: *size,
                    key: key.duplicate(),
                })
                .collect(),
        };
        let (secret, action) = match operation {
            Operation::Create { at, content } => (
                made,
                Action::Create {
                    at: at.clone(),
                    stored: stored(content),
                },
            ),
            Operation::Put {
                secret,
                replaces,
                content,
            } => (
                *secret,
                Action::Put {
                    replaces: replaces.clone(),
                    stored: stored(content),
                },
            ),
            Operation::Move { secret, replaces, to } => (
                *secret,
                Action::Place {
                    replaces: replaces.clone(),
                    to: Some(to.clone()),
                },
            ),
            Operation::Remove { secret, replaces } => (
                *secret,
                Action::Place {
                    replaces: replaces.clone(),
                    to: None,
                },
            ),
            Operation::MakeDirectory { at } => (made, Action::MakeDirectory { at: at.clone() }),
            Operation::SetAttributes { of, changes } => {
                let secret = match of {
                    Subject::Known(secret) => *secret,
                    Subject::Made(index) => SecretId::made_by(version(*index as usize)),
                };
                (secret, Action::Attributes(changes.clone()))
            }
        };
        by_secret.entry(secret).or_default().push(Event {
            version: version(index),
            height,
            actor: header.line(),
            seq: header.seq,
            author: header.author,
            time: body.time,
            action,
        });
    }
    by_secret
}

/// Stores the events of one secret and brings its state up to date.
fn record(
    rows: &mut dyn RowsMut,
    secret: SecretId,
    events: Vec<Event>,
    saw_all: bool,
) -> Result<(), VaultError> {
    let before = secret_row(rows.as_rows(), secret)?.unwrap_or_default();
    let mut short = saw_all.then(|| before.state.clone());
    let mut touched = before.touched.clone();
    let mut made = before.made;
    for event in &events {
        rows.put(
            EVENT,
            secret.as_bytes(),
            &event.version.to_bytes(),
            &event.encode(),
        )?;
        short = short.and_then(|state| fold::advance(state, event));
        touched.add(event.actor, event.seq);
        if matches!(event.action, Action::Create { .. } | Action::MakeDirectory { .. }) {
            made = Some(event.time);
        }
    }
    let state = match short {
        Some(state) => state,
        None => fold_anew(rows.as_rows(), secret)?,
    };
    let after = SecretRow { state, touched, made };
    settle(rows, secret, &before.state, after)
}

/// Folds a secret from its events and stores the result.
pub(crate) fn refold(rows: &mut dyn RowsMut, secret: SecretId) -> Result<(), VaultError> {
    let Some(before) = secret_row(rows.as_rows(), secret)? else {
        return Ok(());
    };
    let after = SecretRow {
        state: fold_anew(rows.as_rows(), secret)?,
        touched: before.touched.clone(),
        made: before.made,
    };
    settle(rows, secret, &before.state, after)
}

/// Stores the new state of a secret and moves it from directory to directory.
fn settle(
    rows: &mut dyn RowsMut,
    secret: SecretId,
    before: &State,
    after: SecretRow,
) -> Result<(), VaultError> {
    let old = before.place();
    let new = after.state.place();
    if old != new {
        match (old, new) {
            (Some((from, _)), Some((to, rank))) if from == to => {
                folder::enter(rows, to, secret, rank, after.state.directory)?;
            }
            _ => {
                if let Some((from, _)) = old {
                    folder::leave(rows, from, secret)?;
                }
                if let Some((to, rank)) = new {
                    folder::enter(rows, to, secret, rank, after.state.directory)?;
                }
            }
        }
    }
    let mut out = Writer::new();
    out.array(3);
    after.state.write(&mut out);
    after.touched.write(&mut out);
    match after.made {
        Some(made) => out.u64(made.as_millis()),
        None => out.null(),
    };
    rows.put(SECRET, secret.as_bytes(), b"", &out.finish())?;
    Ok(())
}

fn fold_anew(rows: &dyn Rows, secret: SecretId) -> Result<State, VaultError> {
    let events = events(rows, secret)?;
    let standings = standings(rows, &events, None)?;
    Ok(fold::fold(&events, &standings))
}

/// All events of a secret.
pub(crate) fn events(rows: &dyn Rows, secret: SecretId) -> Result<Vec<Event>, VaultError> {
    let mut events = vec![];
    rows.each(EVENT, secret.as_bytes(), &mut |_, value| {
        events.push(Event::decode(value.expose())?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(events)
}

/// One event of a secret.
pub(crate) fn event(rows: &dyn Rows, secret: SecretId, version: VersionId) -> Result<Event, VaultError> {
    match rows.value(EVENT, secret.as_bytes(), &version.to_bytes())? {
        Some(value) => Ok(Event::decode(value.expose())?),
        None => Err(VaultError::IndexDamaged {
            what: "a version of a secret is missing",
        }),
    }
}

/// The commits of `events`, as the fold asks for them; with `within`, only those that it sees.
pub(crate) fn standings(
    rows: &dyn Rows,
    events: &[Event],
    within: Option<&Horizon>,
) -> Result<HashMap<CommitId, Standing>, VaultError> {
    let mut standings = HashMap::new();
    for event in events {
        let commit = event.version.commit;
        let inside = within.is_none_or(|horizon| horizon.sees(&event.actor, event.seq));
        if !inside || standings.contains_key(&commit) {
            continue;
        }
        let row = commit_row(rows, commit)?.ok_or(VaultError::CommitDamaged { commit })?;
        let standing = Standing {
            horizon: row.horizon,
            counted: row.counted,
        };
        standings.insert(commit, standing);
    }
    Ok(standings)
}

/// The state of a secret; `None` when there is no such secret.
pub(crate) fn secret_row(rows: &dyn Rows, secret: SecretId) -> Result<Option<SecretRow>, VaultError> {
    let Some(value) = rows.value(SECRET, secret.as_bytes(), b"")? else {
        return Ok(None);
    };
    let mut from = Reader::new(value.expose(), MAX_ROW_LEN, "the state of a secret")?;
    from.array_of(3)?;
    let row = SecretRow {
        state: State::read(&mut from)?,
        touched: Horizon::read(&mut from)?,
        made: if from.null()? {
            None
        } else {
            Some(Timestamp::from_millis(from.u64()?))
        },
    };
    from.finish()?;
    Ok(Some(row))
}

fn commit_group(id: &CommitId) -> &[u8] {
    &id.as_bytes()[..2]
}

/// What is known about a commit, without its content when that is large.
pub(crate) fn commit_row(rows: &dyn Rows, id: CommitId) -> Result<Option<CommitRow>, VaultError> {
    let Some(value) = rows.value(COMMIT, commit_group(&id), id.as_bytes())? else {
        return Ok(None);
    };
    let mut from = Reader::new(value.expose(), MAX_ROW_LEN, "the row of a commit")?;
    from.array_of(5)?;
    let row = CommitRow {
        height: from.u64()?,
        counted: from.bool()?,
        time: Timestamp::from_millis(from.u64()?),
        horizon: Horizon::read(&mut from)?,
        inline: if from.null()? {
            None
        } else {
            from.array_of(2)?;
            Some((from.bytes()?.to_vec(), from.bytes()?.to_vec()))
        },
    };
    from.finish()?;
    Ok(Some(row))
}

/// A stored commit and what is known about it.
pub(crate) fn commit_and_row(
    rows: &dyn Rows,
    id: CommitId,
) -> Result<Option<(Commit, CommitRow)>, VaultError> {
    let Some(row) = commit_row(rows, id)? else {
        return Ok(None);
    };
    let damaged = VaultError::CommitDamaged { commit: id };
    let (statement, sealed) = match &row.inline {
        Some(inline) => inline.clone(),
        None => {
            let part = |name: &[u8]| rows.value(BODY, id.as_bytes(), name);
            match (part(b"statement")?, part(b"body")?) {
                (Some(statement), Some(body)) => (statement.expose().to_vec(), body.expose().to_vec()),
                _ => return Err(damaged),
            }
        }
    };
    match Commit::accept_stored(statement, sealed) {
        Ok(commit) if commit.id() == id => Ok(Some((commit, row))),
        _ => Err(damaged),
    }
}

fn store_commit(rows: &mut dyn RowsMut, id: CommitId, mut row: CommitRow) -> Result<(), VaultError> {
    if let Some((statement, sealed)) = row
        .inline
        .take_if(|(statement, sealed)| statement.len() + sealed.len() > INLINE_COMMIT)
    {
        debug_assert!(sealed.len() <= MAX_BODY_LEN + 64, "bodies are bounded");
        rows.put(BODY, id.as_bytes(), b"statement", &statement)?;
        rows.put(BODY, id.as_bytes(), b"body", &sealed)?;
    }
    let mut out = Writer::new();
    out.array(5)
        .u64(row.height)
        .bool(row.counted)
        .u64(row.time.as_millis());
    row.horizon.write(&mut out);
    match &row.inline {
        Some((statement, sealed)) => out.array(2).bytes(statement).bytes(sealed),
        None => out.null(),
    };
    rows.put(COMMIT, commit_group(&id), id.as_bytes(), &out.finish())?;
    Ok(())
}

/// Where an object is; `None` when no commit names it.
pub(crate) fn object_row(rows: &dyn Rows, id: &ObjectId) -> Result<Option<ObjectRow>, VaultError> {
    let Some(value) = rows.value(OBJECT, id.as_bytes(), b"")? else {
        return Ok(None);
    };
    let (kind, rest) = value
        .expose()
        .split_first()
        .ok_or(CodecError::Truncated)
        .map_err(VaultError::from)?;
    match (kind, rest.try_into()) {
        (0, _) => Ok(Some(ObjectRow::Inline(rest.to_vec()))),
        (1, _) => Ok(Some(ObjectRow::File)),
        (2, _) => Ok(Some(ObjectRow::Wanted)),
        (3, Ok(time)) => Ok(Some(ObjectRow::Purged(Timestamp::from_millis(
            u64::from_be_bytes(time),
        )))),
        _ => Err(VaultError::IndexDamaged {
            what: "the row of an object",
        }),
    }
}

/// Stores where an object is.
pub(crate) fn store_object(rows: &mut dyn RowsMut, id: &ObjectId, row: &ObjectRow) -> Result<(), VaultError> {
    let value = match row {
        ObjectRow::Inline(bytes) => [&[0], bytes.as_slice()].concat(),
        ObjectRow::File => vec![1],
        ObjectRow::Wanted => vec![2],
        ObjectRow::Purged(time) => [&[3], time.as_millis().to_be_bytes().as_slice()].concat(),
    };
    rows.put(OBJECT, id.as_bytes(), b"", &value)?;
    Ok(())
}

/// The secrets that a commit touches.
pub(crate) fn touched_by(commit: &Commit, body: &Body) -> Vec<SecretId> {
    events_of(commit, body, 0).into_keys().collect()
}
