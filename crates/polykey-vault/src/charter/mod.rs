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
pub(crate) mod exposure;
mod layout;
pub mod members;
#[cfg(test)]
mod model;
pub mod role;
mod shift;
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
pub(crate) use shift::Shift;
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

    /// These entries and all their ancestors, each after its parents: what a removed node is told. Ids that
    /// are not here say nothing.
    pub fn ancestors(&self, ids: &[StatementId]) -> Vec<&Entry> {
        let mut known = Bits::default();
        for at in ids.iter().filter_map(|id| self.index.get(id)) {
            known.union(&self.entries[*at].past);
            known.insert(*at);
        }
        known.iter().map(|at| &self.entries[at].entry).collect()
    }

    /// The purges that stand: what every replica deletes.
    pub fn purges(&self) -> impl Iterator<Item = &Entry> + '_ {
        let standing = self.now();
        let all = self.entries.iter().enumerate();
        all.filter(|(at, placed)| matches!(placed.entry.body(), Body::Purge { .. }) && standing.stands(*at))
            .map(|(_, placed)| &placed.entry)
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

#[cfg(test)]
mod tests {
    use polykey_core::statement::Kind;

    use super::cast::{Person, chance, insert, merge, time};
    use super::entry::{Draft, EpochBox, Place, Sealed};
    use super::*;

    fn rekey(author: &Person, charter: &Charter, change: impl Fn(&mut Place)) -> Statement {
        let mut place = Place {
            vault: charter.id(),
            under: charter.genesis().id(),
            parents: charter.heads(),
        };
        change(&mut place);
        let draft = Draft {
            place: Some(place),
            time: time(0),
            body: Body::Rekey { devices: Vec::new() },
            sealed: Sealed::Epoch(EpochBox {
                commitment: [0; 32],
                shares: Vec::new(),
                wrapped: Vec::new(),
            }),
        };
        Entry::sign(&author.root, &draft).unwrap().statement().clone()
    }

    #[test]
    fn the_vault_is_named_by_its_genesis_entry() {
        let a = Person::new(1);
        let (one, other) = (a.found(1), a.found(2));
        assert_eq!(one.id(), one.genesis().id().into());
        assert_ne!(
            one.id(),
            other.id(),
            "the nonce makes two vaults of one creator differ"
        );
        assert_eq!(one.role(&a.node()), Some(Role::Admin));
    }

    #[test]
    fn an_entry_comes_after_its_parents_and_once() {
        let (a, b) = (Person::new(1), Person::new(2));
        let mut charter = a.found(1);
        let first = a.grants(&mut charter, &b, Role::Writer);
        let second = a.rekeys(&mut charter, &[]);
        let [first, second] = [first, second].map(|id| charter.entry(&id).unwrap().statement().clone());
        let mut other = a.found(1);
        assert_eq!(
            other.insert(second.clone()),
            Err(CharterError::MissingParents {
                entry: second.id(),
                missing: vec![first.id()],
            })
        );
        assert_eq!(other.insert(first.clone()), Ok(Inserted::New(first.id())));
        assert_eq!(other.insert(first.clone()), Ok(Inserted::Known(first.id())));
        assert_eq!(other.insert(second.clone()), Ok(Inserted::New(second.id())));
        assert_eq!(other.heads(), [second.id()]);
        assert!(other.covers(&[second.id()], &[first.id()]) && !other.covers(&[first.id()], &[second.id()]));
        let lacking: Vec<_> = other
            .missing_after(&[first.id()])
            .iter()
            .map(|e| e.id())
            .collect();
        assert_eq!(lacking, [second.id()]);
    }

    #[test]
    fn what_its_ancestors_decide_is_refused_at_once() {
        let (a, b) = (Person::new(1), Person::new(2));
        let mut charter = a.found(1);
        let grant = a.grants(&mut charter, &b, Role::Admin);
        let genesis = charter.genesis().id();
        let stranger = Person::new(9);
        let (entry, author) = {
            let made = rekey(&stranger, &charter, |_| {});
            (made.id(), stranger.node())
        };
        type Change<'c> = &'c dyn Fn(&mut Place);
        let tries: [(&Person, Change<'_>); 4] = [
            (&stranger, &|_| {}),
            (&b, &|_| {}),
            (&a, &|place| place.under = grant),
            (&b, &|place| {
                place.under = grant;
                place.parents = vec![genesis];
            }),
        ];
        for (who, change) in tries {
            let refused = charter.insert(rekey(who, &charter, change));
            assert!(
                matches!(refused, Err(CharterError::NotHeld { .. })),
                "{refused:?}"
            );
        }
        assert_eq!(
            charter.insert(rekey(&stranger, &charter, |_| {})),
            Err(CharterError::NotHeld { entry, author })
        );
        let not_heads = charter.insert(rekey(&a, &charter, |place| {
            place.parents = vec![genesis, grant];
            place.parents.sort_unstable();
        }));
        assert!(
            matches!(not_heads, Err(CharterError::Parents { .. })),
            "{not_heads:?}"
        );
        let elsewhere = charter.insert(rekey(&a, &charter, |place| place.vault = a.found(2).id()));
        assert!(matches!(elsewhere, Err(CharterError::OtherVault { .. })));
        let second = a.found(2).genesis().statement().clone();
        assert!(matches!(
            charter.insert(second),
            Err(CharterError::OtherVault { .. })
        ));
        let commit = Statement::sign(Kind::Commit, &[0x80], &[&a.root]);
        assert!(matches!(charter.insert(commit), Err(CharterError::Entry(_))));
        assert_eq!(charter.len(), 2);
        assert!(matches!(
            Charter::found(charter.entry(&grant).unwrap().statement().clone()),
            Err(CharterError::NotGenesis)
        ));
    }

    #[test]
    fn a_recovery_key_neither_leaves_nor_succeeds() {
        let a = Person::new(1);
        let mut charter = a.found(1);
        let draft = Draft {
            place: Some(Place {
                vault: charter.id(),
                under: charter.genesis().id(),
                parents: charter.heads(),
            }),
            time: time(0),
            body: Body::Revoke {
                node: a.recovery.public(),
                cut_offs: Vec::new(),
            },
            sealed: Sealed::Nothing,
        };
        let made = Entry::sign(&a.recovery, &draft).unwrap().statement().clone();
        assert!(matches!(charter.insert(made), Err(CharterError::NotHeld { .. })));
    }

    #[test]
    fn a_succession_needs_the_recovery_key_of_who_is_succeeded() {
        let [a, b, new] = [1, 2, 3].map(Person::new);
        let mut charter = a.found(1);
        a.grants(&mut charter, &b, Role::Writer);
        // A thief of the device has the root key and makes a recovery key of their own.
        let thief = Person {
            recovery: Person::new(7).recovery,
            ..Person::new(2)
        };
        let (rotation, keys) = (thief.rotation(&new), new.keys());
        let random = chance(&charter);
        let held = b.open(&charter);
        let refused = charter.succeed(&b.root, &held, &rotation, Some(&keys), &[], (time(1), &random));
        assert!(matches!(
            refused,
            Err(AuthorError::Charter(CharterError::Succession { .. }))
        ));
        b.succeeds(&mut charter, &new, &[]);
        assert_eq!(
            (charter.role(&b.node()), charter.role(&new.node())),
            (None, Some(Role::Writer))
        );
        assert!(charter.needs_rekey());
        a.rekeys(&mut charter, &[]);
        assert!(new.open(&charter).commit_key(&charter, &charter.heads()).is_ok());
        assert!(b.open(&charter).commit_key(&charter, &charter.heads()).is_err());
    }

    #[test]
    fn too_many_heads_are_not_all_named() {
        let (a, b) = (Person::new(1), Person::new(2));
        let mut charter = a.found(1);
        a.grants(&mut charter, &b, Role::Reader);
        let base = charter.clone();
        let grant = charter.heads()[0];
        for at in 0..entry::MAX_HEADS as u64 + 5 {
            let draft = Draft {
                place: Some(Place {
                    vault: base.id(),
                    under: grant,
                    parents: vec![grant],
                }),
                time: time(at),
                body: Body::Purge {
                    objects: Vec::new(),
                    now: true,
                    note: Vec::new(),
                },
                sealed: Sealed::Nothing,
            };
            let made = Entry::sign(&b.root, &draft).unwrap();
            charter.insert(made.statement().clone()).unwrap();
        }
        assert_eq!(charter.heads_to_name(), [grant], "what a reader purges is void");
        assert_eq!(charter.purges().count(), 0);
        let random = chance(&charter);
        let removal = Removal {
            node: b.node(),
            cut_offs: Vec::new(),
        };
        let made = charter
            .revoke(&a.root, &a.open(&charter), &removal, time(9), &random)
            .unwrap();
        insert(&mut charter, made);
        assert_eq!(charter.role(&b.node()), None);
        assert!(charter.check_heads(&charter.heads_to_name()).is_ok());
    }

    #[test]
    fn samples_are_few_and_lead_from_the_heads_to_genesis() {
        let a = Person::new(1);
        let mut charter = a.found(1);
        for _ in 0..40 {
            let made = rekey(&a, &charter, |_| {});
            charter.insert(made).unwrap();
        }
        let samples = charter.samples(100);
        assert!(samples.len() < 12, "{}", samples.len());
        assert!(samples.contains(&charter.heads()[0]) && samples.contains(&charter.genesis().id()));
        let mut other = a.found(1);
        merge(&mut other, &charter);
        assert!(other.missing_after(&samples).is_empty());
    }
}
