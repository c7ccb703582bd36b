//! Stored things: rows for commits, objects, secrets and events, read and written.
//!
//! Always: what does not decode is an error that says which kind of row is damaged, never data.

use std::collections::HashMap;
use std::ops::ControlFlow;

use polykey_core::codec::{Reader, Writer};
use polykey_core::{ObjectId, Timestamp};

use crate::commit::Commit;
use crate::error::VaultError;
use crate::event::{Event, State};
use crate::fold::Standing;
use crate::horizon::Horizon;
use crate::id::{CommitId, SecretId, VersionId};
use crate::rows::{ASIDE, BODY, COMMIT, EVENT, OBJECT, Rows, RowsMut, SECRET, WANTED};

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
    /// False while its body is closed to us, so that what it did is not known.
    pub opened: bool,
    /// Statement and sealed body, when they are short.
    pub inline: Option<(Vec<u8>, Vec<u8>)>,
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
    /// It will be deleted at a time, and is not shown until then. Its bytes are here, or in a file.
    Hidden(Timestamp, Option<Vec<u8>>),
}

impl ObjectRow {
    /// True when it is not to be shown any more.
    pub fn is_gone(&self) -> bool {
        matches!(self, ObjectRow::Purged(_) | ObjectRow::Hidden(..))
    }
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
    from.array_of(6)?;
    let row = CommitRow {
        height: from.u64()?,
        counted: from.bool()?,
        time: Timestamp::from_millis(from.u64()?),
        horizon: Horizon::read(&mut from)?,
        opened: from.bool()?,
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

pub(crate) fn store_commit(
    rows: &mut dyn RowsMut,
    id: CommitId,
    mut row: CommitRow,
) -> Result<(), VaultError> {
    if let Some((statement, sealed)) = row
        .inline
        .take_if(|(statement, sealed)| statement.len() + sealed.len() > INLINE_COMMIT)
    {
        rows.put(BODY, id.as_bytes(), b"statement", &statement)?;
        rows.put(BODY, id.as_bytes(), b"body", &sealed)?;
    }
    let mut out = Writer::new();
    out.array(6)
        .u64(row.height)
        .bool(row.counted)
        .u64(row.time.as_millis());
    row.horizon.write(&mut out);
    out.bool(row.opened);
    match &row.inline {
        Some((statement, sealed)) => out.array(2).bytes(statement).bytes(sealed),
        None => out.null(),
    };
    rows.put(COMMIT, commit_group(&id), id.as_bytes(), &out.finish())?;
    Ok(())
}

/// Puts a commit on the list of those that do not count.
pub(crate) fn put_aside(rows: &mut dyn RowsMut, id: &CommitId, closed: bool) -> Result<(), VaultError> {
    Ok(rows.put(ASIDE, b"", id.as_bytes(), &[u8::from(closed)])?)
}

/// Takes a commit off the list of those that do not count.
pub(crate) fn not_aside(rows: &mut dyn RowsMut, id: &CommitId) -> Result<(), VaultError> {
    Ok(rows.remove(ASIDE, b"", id.as_bytes())?)
}

/// The commits that do not count, ascending; true for those whose bodies are closed to us.
pub(crate) fn aside(rows: &dyn Rows) -> Result<Vec<(CommitId, bool)>, VaultError> {
    let mut aside = Vec::new();
    rows.each(ASIDE, b"", &mut |item, value| {
        let id = item.as_slice().try_into().map_err(|_| VaultError::IndexDamaged {
            what: "the name of a commit that does not count",
        })?;
        aside.push((CommitId::from_bytes(id), value.expose() == [1]));
        Ok(ControlFlow::Continue(()))
    })?;
    aside.sort_unstable();
    Ok(aside)
}

/// Where an object is; `None` when no commit names it.
pub(crate) fn object_row(rows: &dyn Rows, id: &ObjectId) -> Result<Option<ObjectRow>, VaultError> {
    let Some(value) = rows.value(OBJECT, id.as_bytes(), b"")? else {
        return Ok(None);
    };
    let damaged = VaultError::IndexDamaged {
        what: "the row of an object",
    };
    let Some((kind, rest)) = value.expose().split_first() else {
        return Err(damaged);
    };
    let time = rest
        .first_chunk()
        .map(|time| Timestamp::from_millis(u64::from_be_bytes(*time)));
    match (kind, time) {
        (0, _) => Ok(Some(ObjectRow::Inline(rest.to_vec()))),
        (1, _) => Ok(Some(ObjectRow::File)),
        (2, _) => Ok(Some(ObjectRow::Wanted)),
        (3, Some(time)) => Ok(Some(ObjectRow::Purged(time))),
        (4, Some(time)) => Ok(Some(ObjectRow::Hidden(time, None))),
        (5, Some(time)) => Ok(Some(ObjectRow::Hidden(time, Some(rest[8..].to_vec())))),
        _ => Err(damaged),
    }
}

/// Stores where an object is. Whoever stores one that was wanted takes it off the list with [`not_wanted`].
pub(crate) fn store_object(rows: &mut dyn RowsMut, id: &ObjectId, row: &ObjectRow) -> Result<(), VaultError> {
    let value = match row {
        ObjectRow::Inline(bytes) => [&[0], bytes.as_slice()].concat(),
        ObjectRow::File => vec![1],
        ObjectRow::Wanted => vec![2],
        ObjectRow::Purged(time) => [&[3], time.as_millis().to_be_bytes().as_slice()].concat(),
        ObjectRow::Hidden(time, bytes) => {
            let kind = 4 + u8::from(bytes.is_some());
            let bytes = bytes.as_deref().unwrap_or_default();
            [&[kind], time.as_millis().to_be_bytes().as_slice(), bytes].concat()
        }
    };
    rows.put(OBJECT, id.as_bytes(), b"", &value)?;
    if *row == ObjectRow::Wanted {
        rows.put(WANTED, b"", id.as_bytes(), b"")?;
    }
    Ok(())
}

/// Takes an object off the list of those that are wanted.
pub(crate) fn not_wanted(rows: &mut dyn RowsMut, id: &ObjectId) -> Result<(), VaultError> {
    Ok(rows.remove(WANTED, b"", id.as_bytes())?)
}

/// Stores the state of a secret.
pub(crate) fn store_secret(
    rows: &mut dyn RowsMut,
    secret: SecretId,
    row: &SecretRow,
) -> Result<(), VaultError> {
    let mut out = Writer::new();
    out.array(3);
    row.state.write(&mut out);
    row.touched.write(&mut out);
    match row.made {
        Some(made) => out.u64(made.as_millis()),
        None => out.null(),
    };
    rows.put(SECRET, secret.as_bytes(), b"", &out.finish())?;
    Ok(())
}
