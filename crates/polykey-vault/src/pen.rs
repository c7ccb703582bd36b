//! The pen: how steps become commits.
//!
//! It knows who writes, in which line, under which charter, and turns the steps of one change into one
//! commit, or into a row of them when they do not fit one. What it wrote goes through the same door as
//! every other commit.
//!
//! Always: a commit builds on all heads; the times of a line ascend; the last commit of a row makes all of it
//! visible, as they share one transaction.

use std::collections::HashMap;

use polykey_core::{ActorId, Key, NodeId, StatementId, Timestamp, VaultId};

use crate::charter::Charter;
use crate::charter::cutoff::{CommitFacts, LineId, Verdict};
use crate::charter::entry::CutOff;
use crate::charter::epoch::EpochKeys;
use crate::commit::{Body, Commit, Header, MAX_HEADS, Preface};
use crate::draft::Step;
use crate::error::VaultError;
use crate::id::CommitId;
use crate::identity::Identity;
use crate::index::{self, Court, Incoming, Opened, Own};
use crate::line::{self, Lines, Tip};
use crate::message;
use crate::operation::{MAX_OPERATIONS, Operation, Subject};
use crate::rows::RowsMut;
use crate::stored::ObjectRow;

/// A commit of a change that must be split is closed before its body or header grows past this.
const SPLIT_LEN: usize = 2 << 20;

/// Writes commits in the name of a node.
pub(crate) struct Pen<'a> {
    pub vault: VaultId,
    pub actor: ActorId,
    pub me: &'a Identity,
    pub charter: &'a Charter,
    pub keys: &'a EpochKeys,
    pub time: Timestamp,
    pub random: &'a dyn polykey_core::Random,
}

/// What a change says about itself.
pub(crate) struct Note<'a> {
    pub message: Option<&'a str>,
    pub reset_to: Option<CommitId>,
}

impl Pen<'_> {
    /// Turns steps into commits and takes them in. The commits of one change follow each other.
    ///
    /// # Errors
    /// [`VaultError::NotAllowed`], [`VaultError::Charter`]; those of the index.
    pub fn commit(
        &self,
        rows: &mut dyn RowsMut,
        mut steps: Vec<Step>,
        note: &Note<'_>,
    ) -> Result<Option<CommitId>, VaultError> {
        if steps.is_empty() {
            return Ok(None);
        }
        let charter = self.charter;
        if !charter.role(&self.me.node()).is_some_and(|role| role.writes()) {
            return Err(VaultError::NotAllowed { action: "write" });
        }
        let charter_heads = charter.heads_to_name();
        let key = self
            .keys
            .commit_key(charter, &charter_heads)
            .map_err(|source| VaultError::Charter(Box::new(source.into())))?;
        let parts = split(&steps);
        let text = match note.message {
            Some(message) => message::bounded(message.to_owned()),
            None => message::message(&steps),
        };
        let mut last = None;
        for (number, part) in parts.iter().enumerate() {
            let message = match parts.len() {
                1 => text.clone(),
                parts => message::bounded(format!("part {} of {parts}: {text}", number + 1)),
            };
            let steps = &mut steps[part.clone()];
            last = Some(self.commit_part(rows, steps, message, note.reset_to, &charter_heads, &key)?);
        }
        for step in &mut steps {
            if let Some(staged) = &mut step.staged {
                staged.keep();
            }
        }
        Ok(last)
    }

    fn commit_part(
        &self,
        rows: &mut dyn RowsMut,
        steps: &mut [Step],
        message: String,
        reset_to: Option<CommitId>,
        charter_heads: &[StatementId],
        key: &Key,
    ) -> Result<CommitId, VaultError> {
        let lines = Lines::load(rows.as_rows())?;
        let mut parents = lines.heads(rows.as_rows())?;
        parents.truncate(MAX_HEADS);
        let line = line::line_of(&self.me.node(), &self.actor);
        let own = lines.tip(&line).cloned();
        // A line's times ascend, so that the state at a time can be found by halving.
        let time = own.as_ref().map_or(self.time, |tip| self.time.max(tip.last.time));
        let mut operations = Vec::new();
        let mut objects = Vec::new();
        let mut keys = Vec::new();
        let mut places = HashMap::new();
        let mut known = HashMap::new();
        for step in steps {
            let first = u32::try_from(operations.len()).expect("operations are bounded");
            operations.extend(step.operations.drain(..).map(|operation| match operation {
                Operation::SetAttributes {
                    of: Subject::Made(at),
                    changes,
                } => Operation::SetAttributes {
                    of: Subject::Made(first + at),
                    changes,
                },
                other => other,
            }));
            known.extend(step.before.take());
            if let Some(staged) = &step.staged {
                for object in staged.objects() {
                    objects.push((object.id, object.size));
                    keys.push(object.key.duplicate());
                    let row = staged
                        .inline()
                        .map_or(ObjectRow::File, |bytes| ObjectRow::Inline(bytes.to_vec()));
                    places.insert(object.id, row);
                }
            }
        }
        let header = Header {
            vault: self.vault,
            actor: self.actor,
            seq: own.as_ref().map_or(1, |tip| tip.seq + 1),
            previous: own.as_ref().map(Tip::commit),
            author: self.me.node(),
            parents,
            charter_heads: charter_heads.to_vec(),
            objects,
        };
        let body = Body {
            time,
            message,
            reset_to,
            operations,
            keys,
        };
        let commit = Commit::seal(header, &body, key, self.me.signer(), self.random)
            .map_err(|_| VaultError::ChangeTooLarge)?;
        let incoming = Incoming {
            commit: &commit,
            own: Some(Own {
                body: &body,
                lines,
                known,
            }),
            objects: places,
        };
        let court = Bench {
            charter: self.charter,
            keys: self.keys,
        };
        index::insert(rows, incoming, &court)?;
        Ok(commit.id())
    }
}

/// The charter with our keys, as the index asks for them.
pub(crate) struct Bench<'a> {
    pub charter: &'a Charter,
    pub keys: &'a EpochKeys,
}

impl Bench<'_> {
    /// What a log shows of the body of `commit`; `None` when it is closed or nonsense.
    pub fn preface(&self, commit: &Commit) -> Option<Preface> {
        let key = self.keys.commit_key(self.charter, &commit.header().charter_heads);
        commit.open_preface(&key.ok()?).ok()
    }

    /// What the charter says about a commit, forks aside.
    pub fn verdict(&self, commit: &Commit) -> Verdict {
        let header = commit.header();
        let facts = CommitFacts {
            id: commit.id().into(),
            line: LineId {
                author: header.author,
                actor: header.actor,
            },
            seq: header.seq,
            heads: &header.charter_heads,
        };
        self.charter.verdict(&facts, false)
    }
}

impl Court for Bench<'_> {
    fn allows(&self, commit: &Commit) -> bool {
        self.verdict(commit) == Verdict::Counted
    }

    fn pins(&self, author: &NodeId, actor: &ActorId) -> Vec<CutOff> {
        self.charter.pins(&LineId {
            author: *author,
            actor: *actor,
        })
    }

    fn open(&self, commit: &Commit) -> Result<Opened, VaultError> {
        let Ok(key) = self.keys.commit_key(self.charter, &commit.header().charter_heads) else {
            return Ok(Opened::Closed);
        };
        // With the right key, whatever does not open is the author's own nonsense.
        Ok(commit.open(&key).map_or(Opened::Malformed, Opened::Body))
    }
}

/// Cuts steps into ranges that fit one commit each.
fn split(steps: &[Step]) -> Vec<std::ops::Range<usize>> {
    let mut parts = Vec::new();
    let (mut start, mut len, mut operations) = (0, 0, 0);
    for (at, step) in steps.iter().enumerate() {
        let here = step_len(step);
        let count = step.operations.len();
        if at > start && (len + here > SPLIT_LEN || operations + count > MAX_OPERATIONS / 2) {
            parts.push(start..at);
            (start, len, operations) = (at, 0, 0);
        }
        len += here;
        operations += count;
    }
    parts.push(start..steps.len());
    parts
}

/// At most how long a step is in a commit's body or header.
fn step_len(step: &Step) -> usize {
    let objects = step.staged.as_ref().map_or(0, |staged| staged.objects().len());
    let operations: usize = step
        .operations
        .iter()
        .map(|operation| match operation {
            Operation::Create { at, .. } | Operation::MakeDirectory { at } => at.as_str().len(),
            Operation::Put { replaces, .. } | Operation::Remove { replaces, .. } => replaces.len() * 42,
            Operation::Move { replaces, to, .. } => replaces.len() * 42 + to.as_str().len(),
            Operation::SetAttributes { changes, .. } => changes
                .iter()
                .map(|(key, value)| key.len() + value.map_or(0, str::len) + 10)
                .sum(),
        })
        .sum();
    operations + step.operations.len() * 100 + objects * 48
}
