//! What sync needs from a place that holds a vault's set.
//!
//! The engine implements [`Replica`] over the store; the tests do in memory. A keeper is a replica, too:
//! nothing here needs a key.

use polykey_core::id::{NodeId, ObjectId, StatementId, VaultId};
use polykey_core::statement::Statement;

use super::blob::Blob;
use super::message::{CommitItem, Tip};
use crate::charter::{Charter, LineId};

/// The clear part of a commit, as far as sync looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitHeader {
    /// The commit.
    pub id: StatementId,
    /// The vault it belongs to.
    pub vault: VaultId,
    /// Its line.
    pub line: LineId,
    /// Its number on the line, from 1.
    pub seq: u64,
    /// The commit before it on the line; `None` exactly for number 1.
    pub previous: Option<StatementId>,
    /// The commits that it builds on.
    pub parents: Vec<StatementId>,
    /// The charter heads that its author knew.
    pub heads: Vec<StatementId>,
    /// Its objects with their sealed lengths.
    pub objects: Vec<(ObjectId, u32)>,
}

impl CommitHeader {
    /// All commits that must be there before this one.
    pub fn follows(&self) -> impl Iterator<Item = &StatementId> + '_ {
        self.previous.iter().chain(&self.parents)
    }
}

/// Verified items, in the order in which they are to be stored.
#[derive(Debug)]
pub struct Batch<C> {
    /// Charter entries, each after its parents.
    pub entries: Vec<Statement>,
    /// Commits, each after what it follows.
    pub commits: Vec<(C, CommitHeader)>,
    /// Objects; their commits are here or in this batch.
    pub objects: Vec<(ObjectId, Blob)>,
}

impl<C> Default for Batch<C> {
    fn default() -> Self {
        Batch {
            entries: Vec::new(),
            commits: Vec::new(),
            objects: Vec::new(),
        }
    }
}

impl<C> Batch<C> {
    /// True when there is nothing to store.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        self.entries.len() + self.commits.len() + self.objects.len()
    }
}

/// What somebody did that no honest program does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offence {
    /// An item that is malformed, or whose signature or hash does not hold.
    BadItem,
    /// An item whose signature holds and that contradicts what it builds on, or belongs elsewhere.
    Misplaced,
    /// Two commits with one number on one line.
    Fork {
        /// The commit that was here first.
        other: StatementId,
    },
    /// Items before what they follow, or of another vault, or that nobody asked for.
    Disorder,
}

/// An offence, who it is laid to, and the bytes that show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Who sent it.
    pub peer: NodeId,
    /// Who signed it; `None` when the signature does not hold, so that only the sender is to blame.
    pub author: Option<NodeId>,
    /// What they did.
    pub offence: Offence,
    /// The item as it came.
    pub item: Vec<u8>,
}

/// A place that holds a vault's set.
pub trait Replica {
    /// A commit whose signature, form and body hash were checked.
    type Commit;
    /// Why the place does not answer.
    type Error: std::error::Error;

    /// The charter, with all entries that are stored.
    fn charter(&self) -> Result<Charter, Self::Error>;

    /// The ends of all lines, and of all branches of those that forked.
    fn tips(&self) -> Result<Vec<Tip>, Self::Error>;

    /// The header of a commit that is stored; `None` when it is not.
    fn header(&self, commit: &StatementId) -> Result<Option<CommitHeader>, Self::Error>;

    /// The commits of a line with numbers from `first` to `last`, of all its branches, ascending.
    fn line(&self, line: &LineId, first: u64, last: u64) -> Result<Vec<(u64, StatementId)>, Self::Error>;

    /// A commit as it is sent, with those of its objects that are small and that are stored.
    fn commit(&self, commit: &StatementId) -> Result<Option<CommitItem>, Self::Error>;

    /// An object that is stored and was not purged.
    fn object(&self, object: &ObjectId) -> Result<Option<Vec<u8>>, Self::Error>;

    /// Objects of stored commits that are neither stored nor purged, at most `limit`, but for `except`.
    fn missing_objects(
        &self,
        limit: usize,
        except: &std::collections::BTreeSet<ObjectId>,
    ) -> Result<Vec<ObjectId>, Self::Error>;

    /// Checks signature, form and body hash of a commit.
    ///
    /// # Errors
    /// Who is to blame, if the signature shows it.
    fn verify_commit(&self, statement: Vec<u8>, body: Vec<u8>)
    -> Result<(Self::Commit, CommitHeader), Blame>;

    /// Stores verified items durably, in their order. A commit may still break a rule that only the replica
    /// can check: then it and all that comes after it in the batch is not stored, and its id comes back.
    fn store(&mut self, batch: Batch<Self::Commit>) -> Result<Option<StatementId>, Self::Error>;

    /// Keeps evidence of an offence.
    fn keep_evidence(&mut self, evidence: Evidence) -> Result<(), Self::Error>;
}

/// Who is to blame for a commit that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The signature does not hold: whoever sent it.
    Sender,
    /// The signature holds and the rest does not: whoever signed it.
    Author(NodeId),
}
