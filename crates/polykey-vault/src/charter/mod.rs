//! The charter: who may do what in a vault, and the keys.
//!
//! A hash-linked graph of signed entries. Each names its author, the grant it acts under and all heads its
//! author knew; genesis names the creator and gives the vault its id. A [`Charter`] is the set of entries
//! that a replica holds, and answers from it alone: any two replicas with the same set give the same
//! answers, whatever the order of arrival.
//!
//! - [`entry`]: the format. [`standing`]: which entries hold. [`members`]: who is in.
//! - [`author`]: makes new entries. [`epoch`]: the keys. [`cutoff`]: which commits count.
//!
//! Always: no I/O; void entries are kept, never dropped; an entry is inserted after all its parents. Start
//! at [`Charter::create`] and [`Charter::insert`].

pub mod author;
mod bits;
#[cfg(test)]
pub(crate) mod cast;
pub mod cutoff;
pub mod entry;
pub mod epoch;
pub mod members;
#[cfg(test)]
mod model;
pub mod role;
pub mod standing;
#[cfg(test)]
mod vectors;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, OnceLock};

use polykey_core::id::{NodeId, StatementId, VaultId};
use polykey_core::statement::Statement;

pub use author::{AuthorError, Authored, Joiner, Removal};
pub use cutoff::{CommitFacts, LineId, SetAside, Verdict};
pub use entry::{Body, CutOff, DeviceKey, Entry, EntryError, MemberKeys};
pub use epoch::{EpochError, EpochKeys, Opener};
pub use members::{EndedMember, Member};
pub use role::{Role, RoleError};
pub use standing::{Status, Void};

use bits::Bits;
use standing::{Authority, Placed, Rank, Standing, Tenure};

/// Most entries in one charter: the sets of ancestors grow with the square of it.
pub const MAX_ENTRIES: usize = 65_536;

/// How many past sets of heads are remembered with their standing.
const PAST_STANDINGS: usize = 64;

/// Why an entry does not go into a charter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CharterError {
    /// Not a charter entry.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// An entry of another vault.
    #[error("the charter entry belongs to vault {got}, not to {want}")]
    OtherVault {
        /// The entry's vault.
        got: VaultId,
        /// This charter's.
        want: VaultId,
    },
    /// The charter of a vault starts with genesis, and with nothing else.
    #[error("a charter starts with its one genesis entry")]
    NotGenesis,
    /// Parents are not here yet: insert them first, then this one again.
    #[error("the charter entry {entry} follows {} that are not here yet", missing.len())]
    MissingParents {
        /// The entry.
        entry: StatementId,
        /// What it follows and we lack.
        missing: Vec<StatementId>,
    },
    /// One of the parents is an ancestor of another: not a list of heads.
    #[error("the charter entry {entry} of node {author} does not name heads as its parents")]
    Parents {
        /// The entry.
        entry: StatementId,
        /// Who signed it.
        author: NodeId,
    },
    /// The author does not hold what the entry acts under.
    #[error("node {author} does not hold the grant that its charter entry {entry} acts under")]
    NotHeld {
        /// The entry.
        entry: StatementId,
        /// Who signed it.
        author: NodeId,
    },
    /// A succession whose claim the recovery key of its author did not sign, or with other keys than the
    /// role needs.
    #[error("the succession {entry} of node {author} is not signed by its recovery key")]
    Succession {
        /// The entry.
        entry: StatementId,
        /// Who signed it.
        author: NodeId,
    },
    /// The charter has [`MAX_ENTRIES`].
    #[error("the charter has {MAX_ENTRIES} entries and takes no more")]
    Full,
}

/// What [`Charter::insert`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// The entry is new. What counts may have changed: ask for verdicts again.
    New(StatementId),
    /// It was here before.
    Known(StatementId),
}

/// The entries of one vault that a replica holds.
pub struct Charter {
    id: VaultId,
    entries: Vec<Arc<Placed>>,
    index: HashMap<StatementId, usize>,
    heads: BTreeSet<StatementId>,
    /// Genesis, grants and successions by the node that holds them.
    tenures: HashMap<NodeId, Vec<usize>>,
    /// The standing at all entries, judged when first asked for.
    present: OnceLock<Arc<Standing>>,
    /// Standing at earlier heads. Entries that come later never change it.
    past: Mutex<HashMap<Vec<StatementId>, Arc<Standing>>>,
}

impl std::fmt::Debug for Charter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Charter({}, {} entries)", self.id, self.entries.len())
    }
}

impl Clone for Charter {
    fn clone(&self) -> Self {
        Charter {
            id: self.id,
            entries: self.entries.clone(),
            index: self.index.clone(),
            heads: self.heads.clone(),
            tenures: self.tenures.clone(),
            present: self.present.clone(),
            past: Mutex::default(),
        }
    }
}

impl Charter {
    /// The charter that starts with `genesis`.
    ///
    /// # Errors
    /// [`CharterError::NotGenesis`], or what is wrong with the entry.
    pub fn found(genesis: Statement) -> Result<Charter, CharterError> {
        let entry = Entry::parse(genesis)?;
        let Body::Genesis { .. } = entry.body() else {
            return Err(CharterError::NotGenesis);
        };
        let (id, tenure) = (
            entry.id(),
            Tenure {
                holder: entry.author(),
                role: Role::Admin,
                rank: Rank::GENESIS,
                crown: true,
            },
        );
        let placed = Placed {
            past: Bits::default(),
            under: 0,
            authority: Authority::Founder,
            level: Rank::RECOVERY,
            tenure: Some(tenure),
            has_right: true,
            entry,
        };
        Ok(Charter {
            id: id.into(),
            index: HashMap::from([(id, 0)]),
            tenures: HashMap::from([(placed.entry.author(), vec![0])]),
            entries: vec![Arc::new(placed)],
            heads: BTreeSet::from([id]),
            present: OnceLock::new(),
            past: Mutex::default(),
        })
    }

    /// Takes in an entry whose signature was verified. The same set gives the same charter in any order in
    /// which each entry follows its parents.
    ///
    /// # Errors
    /// Says what is wrong; the charter is then as before. Only [`CharterError::MissingParents`] can pass
    /// with time. A void entry is no error.
    pub fn insert(&mut self, statement: Statement) -> Result<Inserted, CharterError> {
        let id = statement.id();
        if self.index.contains_key(&id) {
            return Ok(Inserted::Known(id));
        }
        let placed = self.place(Entry::parse(statement)?)?;
        for parent in placed.entry.parents() {
            self.heads.remove(parent);
        }
        self.heads.insert(id);
        if let Some(tenure) = &placed.tenure {
            let held = self.tenures.entry(tenure.holder).or_default();
            held.push(self.entries.len());
        }
        self.index.insert(id, self.entries.len());
        self.entries.push(Arc::new(placed));
        self.present = OnceLock::new();
        Ok(Inserted::New(id))
    }

    /// Checks what an entry's ancestors decide about it.
    fn place(&self, entry: Entry) -> Result<Placed, CharterError> {
        let (id, author) = (entry.id(), entry.author());
        if entry.vault() != self.id {
            return Err(CharterError::OtherVault {
                got: entry.vault(),
                want: self.id,
            });
        }
        let Some(under) = entry.under() else {
            return Err(CharterError::NotGenesis);
        };
        if self.entries.len() >= MAX_ENTRIES {
            return Err(CharterError::Full);
        }
        let past = self.ancestry(&entry)?;
        let not_held = CharterError::NotHeld { entry: id, author };
        let under = *self
            .index
            .get(&under)
            .filter(|at| past.contains(**at))
            .ok_or(not_held.clone())?;
        let anchor = &self.entries[under];
        let held = anchor.tenure.ok_or(not_held.clone())?;
        let succeeds = matches!(entry.body(), Body::Succeed { .. });
        let authority = if held.holder == author {
            match succeeds && held.crown {
                true => Authority::Crown,
                false => Authority::Holder,
            }
        } else if held.crown
            && recovery_of(&anchor.entry) == Some(author)
            && !succeeds
            && !entry.is_self_removal()
        {
            Authority::Recovery
        } else {
            return Err(not_held);
        };
        let level = match authority {
            Authority::Holder => held.rank,
            _ => Rank::RECOVERY,
        };
        let tenure = match entry.body() {
            Body::Grant { node, role, .. } => Some(Tenure {
                holder: *node,
                role: *role,
                rank: Rank::of_grant(*role, held.rank, id),
                crown: false,
            }),
            Body::Succeed { rotation, keys, .. } => {
                let signed = recovery_of(&anchor.entry) == Some(rotation.recovery_public());
                if !signed || keys.is_some() != held.role.reads() {
                    return Err(CharterError::Succession { entry: id, author });
                }
                Some(Tenure {
                    holder: rotation.successor(),
                    ..held
                })
            }
            _ => None,
        };
        let free = succeeds || entry.is_self_removal();
        Ok(Placed {
            past,
            under,
            authority,
            level,
            tenure,
            has_right: free || authority == Authority::Recovery || held.role.administers(),
            entry,
        })
    }

    fn ancestry(&self, entry: &Entry) -> Result<Bits, CharterError> {
        let id = entry.id();
        let missing: Vec<_> = entry
            .parents()
            .iter()
            .filter(|parent| !self.index.contains_key(*parent))
            .copied()
            .collect();
        if !missing.is_empty() {
            return Err(CharterError::MissingParents { entry: id, missing });
        }
        let parents: Vec<usize> = entry.parents().iter().map(|parent| self.index[parent]).collect();
        let mut past = Bits::default();
        for at in &parents {
            past.union(&self.entries[*at].past);
        }
        // Else one entry could be named twice over, and lists of heads would not be canonical.
        if parents.iter().any(|at| past.contains(*at)) {
            let author = entry.author();
            return Err(CharterError::Parents { entry: id, author });
        }
        for at in parents {
            past.insert(at);
        }
        Ok(past)
    }

    /// The vault that this is the charter of.
    pub fn id(&self) -> VaultId {
        self.id
    }

    /// The genesis entry.
    pub fn genesis(&self) -> &Entry {
        &self.entries[0].entry
    }

    /// The heads that a new entry and a new commit name: all, in id order. When a hostile member has made
    /// more than one may name, the entries that stand and that no other such entry follows; every standing
    /// removal is then still covered.
    pub fn heads_to_name(&self) -> Vec<StatementId> {
        if self.heads.len() <= entry::MAX_HEADS {
            return self.heads();
        }
        let standing = self.now();
        let mut followed = Bits::default();
        let mut heads = Vec::new();
        for at in (0..self.entries.len()).rev().filter(|at| standing.stands(*at)) {
            if !followed.contains(at) {
                followed.union(&self.entries[at].past);
                heads.push(self.entries[at].entry.id());
            }
        }
        heads.sort_unstable();
        heads
    }

    /// The entries that no other entry follows, in id order.
    pub fn heads(&self) -> Vec<StatementId> {
        self.heads.iter().copied().collect()
    }

    /// The entry with this id.
    pub fn entry(&self, id: &StatementId) -> Option<&Entry> {
        self.index.get(id).map(|at| &self.entries[*at].entry)
    }

    /// True when the entry is here.
    pub fn contains(&self, id: &StatementId) -> bool {
        self.index.contains_key(id)
    }

    /// All entries, each after its parents.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Entry> + '_ {
        self.entries.iter().map(|placed| &placed.entry)
    }

    /// How many entries there are, void ones too.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Never: a charter has its genesis.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The entry and all its ancestors, each after its parents: what a removed node is told.
    pub fn ancestors(&self, id: &StatementId) -> Vec<&Entry> {
        let Some(at) = self.index.get(id) else {
            return Vec::new();
        };
        let past = self.entries[*at].past.iter();
        past.chain([*at]).map(|at| &self.entries[at].entry).collect()
    }

    /// True when every entry that `older` names is among `newer` and their ancestors. False when an id is
    /// not here. A commit's charter heads cover its parents'.
    pub fn covers(&self, newer: &[StatementId], older: &[StatementId]) -> bool {
        let (Some(newer), Some(older)) = (self.known_at(newer), self.positions(older)) else {
            return false;
        };
        older.into_iter().all(|at| newer.contains(at))
    }

    /// The entries that somebody lacks who has `have` and what they follow, each after its parents. Ids that
    /// are not here say nothing.
    pub fn missing_after(&self, have: &[StatementId]) -> Vec<&Entry> {
        let mut known = Bits::default();
        for at in have.iter().filter_map(|id| self.index.get(id)) {
            known.union(&self.entries[*at].past);
            known.insert(*at);
        }
        let missing = (0..self.entries.len()).filter(|at| !known.contains(*at));
        missing.map(|at| &self.entries[at].entry).collect()
    }

    /// The heads, and further back ever fewer of the entries before them: somebody who lacks the heads finds
    /// among these what both have.
    pub fn samples(&self, limit: usize) -> Vec<StatementId> {
        let mut samples = self.heads();
        samples.truncate(limit / 2);
        let (mut back, last) = (1, self.entries.len() - 1);
        while back <= last {
            samples.push(self.entries[last - back].entry.id());
            back *= 2;
        }
        samples.push(self.genesis().id());
        samples.sort_unstable();
        samples.dedup();
        samples
    }

    /// True when an entry at `heads` or before them, standing or void, made `node` a member: a commit by
    /// anybody else is not even kept.
    pub fn mentions(&self, heads: &[StatementId], node: &NodeId) -> bool {
        let (Some(heads), Some(held)) = (self.positions(heads), self.tenures.get(node)) else {
            return false;
        };
        held.iter().any(|at| self.knows(&heads, *at))
    }

    /// Whether an entry stands, by all that is known; `None` when it is not here.
    pub fn status(&self, id: &StatementId) -> Option<Status> {
        self.index.get(id).map(|at| self.now().status[*at])
    }

    fn positions(&self, ids: &[StatementId]) -> Option<Vec<usize>> {
        ids.iter().map(|id| self.index.get(id).copied()).collect()
    }

    /// The entries at `heads` and before them.
    fn known_at(&self, heads: &[StatementId]) -> Option<Bits> {
        let mut known = Bits::default();
        for at in self.positions(heads)? {
            known.union(&self.entries[at].past);
            known.insert(at);
        }
        Some(known)
    }

    /// True when the entry `at` is one of the entries `heads` or an ancestor of one.
    fn knows(&self, heads: &[usize], at: usize) -> bool {
        heads
            .iter()
            .any(|head| *head == at || self.entries[*head].past.contains(at))
    }

    /// The standing at all that is here.
    fn now(&self) -> &Arc<Standing> {
        self.present
            .get_or_init(|| Arc::new(Standing::judge(&self.entries, None)))
    }

    /// The standing as somebody saw it who knew these heads and no more.
    fn standing_at(&self, heads: &[StatementId]) -> Option<Arc<Standing>> {
        if self.heads.iter().eq(heads) {
            return Some(Arc::clone(self.now()));
        }
        let known = self.known_at(heads)?;
        let mut past = self
            .past
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(standing) = past.get(heads) {
            return Some(Arc::clone(standing));
        }
        if past.len() >= PAST_STANDINGS {
            past.clear();
        }
        let standing = Arc::new(Standing::judge(&self.entries, Some(&known)));
        past.insert(heads.to_vec(), Arc::clone(&standing));
        Some(standing)
    }
}

/// The recovery key behind a grant-like entry, when its holder has one that we know.
fn recovery_of(entry: &Entry) -> Option<NodeId> {
    match entry.body() {
        Body::Genesis { keys, .. } => Some(keys.recovery),
        Body::Grant { keys, .. } => keys.as_ref().map(|keys| keys.recovery),
        Body::Succeed { rotation, .. } => Some(rotation.successor_recovery()),
        _ => None,
    }
}
