//! The index: how a commit changes the rows.
//!
//! One function, [`insert`], takes every commit, our own and others'. It stores the commit, its objects and
//! events, brings the state of each secret that it touches up to date, and the directories with them. A
//! commit that has seen all others costs what its operations cost; only secrets that somebody else
//! changed meanwhile are folded anew, from their own events.
//!
//! Always: the rows are a function of the set of commits and of which of them count, whatever the order in
//! which they came. Start at [`insert`].

use std::collections::{BTreeMap, BTreeSet, HashMap};

use polykey_core::codec::CodecError;
use polykey_core::{ActorId, NodeId, ObjectId, StatementId, Timestamp};

use crate::charter::cutoff::Line;
use crate::charter::entry::CutOff;
use crate::commit::{Body, Commit};
use crate::error::VaultError;
use crate::event::{Action, Event, ObjectRef, State, Stored};
use crate::fold;
use crate::folder;
use crate::horizon::Horizon;
use crate::id::{CommitId, SecretId, VersionId};
use crate::line::{self, Last, Lines};
use crate::operation::{Operation, Subject};
use crate::rows::{EVENT, Rows, RowsMut};
use crate::stored::{
    self, CommitRow, ObjectRow, SecretRow, commit_and_row, commit_row, events, object_row, secret_row,
    standings, store_commit, store_object, store_secret,
};

/// A commit on its way into the index.
pub(crate) struct Incoming<'a> {
    /// The commit, verified.
    pub commit: &'a Commit,
    /// What is at hand when it is our own, made a moment ago.
    pub own: Option<Own<'a>>,
    /// Where its objects are; those not named are wanted.
    pub objects: HashMap<ObjectId, ObjectRow>,
}

/// What whoever made a commit knows already.
pub(crate) struct Own<'a> {
    /// Its body.
    pub body: &'a Body,
    /// The lines that it continues.
    pub lines: Lines,
    /// The secrets that it changes, as they are.
    pub known: HashMap<SecretId, SecretRow>,
}

/// Who says what counts, and opens bodies: the charter with our keys.
pub(crate) trait Court {
    /// True when the author had the right to make the commit, forks aside.
    fn allows(&self, commit: &Commit) -> bool;

    /// Commits of a line that removals list: what leads up to them counts also in a line that forked.
    fn pins(&self, author: &NodeId, actor: &ActorId) -> Vec<CutOff>;

    /// Opens a body.
    fn open(&self, commit: &Commit) -> Result<Opened, VaultError>;
}

/// What a body is to us.
#[derive(Debug)]
pub(crate) enum Opened {
    /// It opens.
    Body(Body),
    /// We do not have the key, or not yet.
    Closed,
    /// Its author wrote something that makes no sense. It is set aside for ever.
    Malformed,
}

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
    court: &dyn Court,
) -> Result<Inserted, VaultError> {
    let Incoming {
        commit,
        own,
        mut objects,
    } = incoming;
    let (id, header) = (commit.id(), commit.header());
    let is_own = own.is_some();
    if !is_own && commit_row(rows.as_rows(), id)?.is_some() {
        return Ok(Inserted::Known);
    }
    let (body, lines, mut known) = match own {
        Some(own) => (Ok(own.body), own.lines, own.known),
        None => (
            Err(court.open(commit)?),
            Lines::load(rows.as_rows())?,
            HashMap::new(),
        ),
    };
    let closed = matches!(body, Err(Opened::Closed));
    let body = match &body {
        Ok(body) => Some(*body),
        Err(Opened::Body(body)) => Some(body),
        Err(Opened::Closed | Opened::Malformed) => None,
    };
    let (height, horizon) = place_in_history(rows.as_rows(), &lines, commit)?;
    let saw_all = horizon.covers(&lines.frontier()) && lines.forks.is_empty();
    let time = body.map_or(Timestamp::default(), |body| body.time);
    let last = Last {
        height,
        time,
        horizon: horizon.clone(),
    };
    let in_line = line::append(rows, &lines, id, header, last)?;
    let forked = (!in_line || !lines.forks.is_empty()) && is_forked(rows.as_rows(), commit, court)?;
    let counted = body.is_some() && !forked && court.allows(commit);
    let row = CommitRow {
        height,
        counted,
        time,
        horizon,
        opened: !closed,
        inline: Some((
            commit.statement().as_bytes().to_vec(),
            commit.sealed_body().to_vec(),
        )),
    };
    store_commit(rows, id, row)?;
    if !counted {
        stored::put_aside(rows, &id, closed)?;
    }
    for (object, _) in &header.objects {
        // The objects of our own commits are new.
        let has = !is_own && object_row(rows.as_rows(), object)?.is_some_and(|row| row != ObjectRow::Wanted);
        if !has {
            let row = objects.remove(object).unwrap_or(ObjectRow::Wanted);
            store_object(rows, object, &row)?;
        }
    }
    if let Some(body) = body {
        for (secret, events) in events_of(commit, body, height) {
            let is_new = is_own && events.first().is_some_and(Event::is_making);
            let before = match known.remove(&secret) {
                Some(before) => before,
                None if is_new => SecretRow::default(),
                None => secret_row(rows.as_rows(), secret)?.unwrap_or_default(),
            };
            record(rows, secret, &before, &events, saw_all && counted)?;
        }
    }
    if !in_line {
        // From the fork on the line is set aside, also what had counted until now.
        let line = header.line();
        let last = line::tip(rows.as_rows(), &line)?.map_or(0, |tip| tip.seq);
        let mut touched = BTreeSet::new();
        for seq in line::forked_at(rows.as_rows(), &line)?.unwrap_or(header.seq)..=last {
            if let Some(id) = line::commit_at(rows.as_rows(), &line, seq)? {
                judge(rows, id, court, &mut touched)?;
            }
        }
        refold_all(rows, touched)?;
    }
    Ok(if counted {
        Inserted::Counted
    } else {
        Inserted::SetAside
    })
}

/// Judges a stored commit again. The secrets that it touches are added to `touched` when something changed;
/// the caller folds them anew, each once, with [`refold`].
///
/// # Errors
/// [`VaultError::CommitDamaged`].
pub(crate) fn judge(
    rows: &mut dyn RowsMut,
    id: CommitId,
    court: &dyn Court,
    touched: &mut BTreeSet<SecretId>,
) -> Result<(), VaultError> {
    let Some((commit, mut row)) = commit_and_row(rows.as_rows(), id)? else {
        return Err(VaultError::CommitDamaged { commit: id });
    };
    let counted = court.allows(&commit) && !is_forked(rows.as_rows(), &commit, court)?;
    if row.opened && row.counted == counted {
        return Ok(());
    }
    let was_opened = row.opened;
    let body = match court.open(&commit)? {
        Opened::Body(body) => body,
        Opened::Closed => return Ok(()),
        Opened::Malformed => {
            if !was_opened {
                row.opened = true;
                store_commit(rows, id, row)?;
                stored::put_aside(rows, &id, false)?;
            }
            return Ok(());
        }
    };
    let height = row.height;
    row.opened = true;
    row.counted = counted;
    row.time = body.time;
    store_commit(rows, id, row)?;
    if !was_opened {
        line::set_time(rows, &commit.header().line(), id, body.time)?;
    }
    match counted {
        true => stored::not_aside(rows, &id)?,
        false => stored::put_aside(rows, &id, false)?,
    }
    for (secret, events) in events_of(&commit, &body, height) {
        if !was_opened {
            remember(rows, secret, &events)?;
        }
        touched.insert(secret);
    }
    Ok(())
}

/// True when the commit is set aside because its line forked at or before it.
fn is_forked(rows: &dyn Rows, commit: &Commit, court: &dyn Court) -> Result<bool, VaultError> {
    let (id, header) = (commit.id(), commit.header());
    let line = header.line();
    let Some(fork) = line::fork(rows, &line)?.filter(|fork| fork.seq <= header.seq) else {
        return Ok(false);
    };
    let pins = court.pins(&header.author, &header.actor);
    if pins.is_empty() {
        return Ok(true);
    }
    let mut known = Line::default();
    let last = line::tip(rows, &line)?.map_or(0, |tip| tip.seq);
    let mut ids = fork.others;
    for seq in fork.seq..=last {
        ids.extend(line::commit_at(rows, &line, seq)?);
    }
    for id in ids {
        // The newest may not be stored yet.
        if let Some((commit, _)) = commit_and_row(rows, id)? {
            let header = commit.header();
            known.insert(header.seq, id.into(), header.previous.map(StatementId::from));
        }
    }
    known.insert(header.seq, id.into(), header.previous.map(StatementId::from));
    Ok(known.is_forked_at(header.seq, &id.into(), &pins))
}

/// Height and horizon from its parents, and the check that it continues its line.
fn place_in_history(rows: &dyn Rows, lines: &Lines, commit: &Commit) -> Result<(u64, Horizon), VaultError> {
    let header = commit.header();
    let mut height = 1;
    let mut horizon = Horizon::default();
    for parent in &header.parents {
        if let Some(tip) = lines.ending_in(parent) {
            height = height.max(tip.last.height + 1);
            horizon.merge(&tip.last.horizon);
            continue;
        }
        let row = commit_row(rows, *parent)?.ok_or(VaultError::ParentMissing { missing: *parent })?;
        height = height.max(row.height + 1);
        horizon.merge(&row.horizon);
    }
    if let Some(previous) = header.previous
        && lines.ending_in(&previous).is_none()
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
    before: &SecretRow,
    events: &[Event],
    saw_all: bool,
) -> Result<(), VaultError> {
    let mut short = saw_all.then(|| before.state.clone());
    let mut touched = before.touched.clone();
    let mut made = before.made;
    for event in events {
        rows.put(
            EVENT,
            secret.as_bytes(),
            &event.version.to_bytes(),
            &event.encode(),
        )?;
        short = short.and_then(|state| fold::advance(state, event));
        touched.add(event.actor, event.seq);
        if event.is_making() {
            made = Some(event.time);
        }
    }
    let state = match short {
        Some(state) => state,
        None => fold_anew(rows.as_rows(), secret)?,
    };
    let after = SecretRow { state, touched, made };
    settle(rows, secret, &before.state, &after)
}

/// Stores the events of one secret without bringing its state up to date.
fn remember(rows: &mut dyn RowsMut, secret: SecretId, events: &[Event]) -> Result<(), VaultError> {
    let mut row = secret_row(rows.as_rows(), secret)?.unwrap_or_default();
    for event in events {
        let version = event.version.to_bytes();
        rows.put(EVENT, secret.as_bytes(), &version, &event.encode())?;
        row.touched.add(event.actor, event.seq);
        if event.is_making() {
            row.made = Some(event.time);
        }
    }
    store_secret(rows, secret, &row)
}

/// Folds each of these secrets from its events and stores the results.
pub(crate) fn refold_all(
    rows: &mut dyn RowsMut,
    secrets: impl IntoIterator<Item = SecretId>,
) -> Result<(), VaultError> {
    for secret in secrets {
        refold(rows, secret)?;
    }
    Ok(())
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
    settle(rows, secret, &before.state, &after)
}

/// Stores the new state of a secret and moves it from directory to directory.
fn settle(
    rows: &mut dyn RowsMut,
    secret: SecretId,
    before: &State,
    after: &SecretRow,
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
    store_secret(rows, secret, after)
}

fn fold_anew(rows: &dyn Rows, secret: SecretId) -> Result<State, VaultError> {
    let events = events(rows, secret)?;
    let standings = standings(rows, &events, None)?;
    Ok(fold::fold(&events, &standings))
}

/// The secrets that a commit touches.
pub(crate) fn touched_by(commit: &Commit, body: &Body) -> Vec<SecretId> {
    events_of(commit, body, 0).into_keys().collect()
}
