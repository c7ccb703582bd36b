//! Sigchains: what one node has said, in order, from its start on.
//!
//! A [`Chain`] is checked entry by entry as it grows: numbers and hashes link up, second signatures are the
//! recovery key's, nothing is said twice or against a revocation. From it come the node's live links and
//! identities, its current key record and its successor.
//!
//! Two chains of one node that differ are a **fork**: somebody signed two entries for one place. The branch
//! with the newest entry that the *recovery key* signed after the fork is followed, since whoever stole the
//! device has the root key alone; without such an entry, the branch that was seen first stays. Which of three
//! branches is followed does not depend on the order in which they came, as long as recovery keys decide. A start says
//! nothing against another one, although the recovery key signs it: whoever begins anew has lost what it said before,
//! and does not know what it puts out of force.
//!
//! Always: pure; what a chain holds was verified claim by claim before it came here. Start at
//! [`Chain::verify`] and [`Chain::merge`]; [`book`](crate::book) stores chains and keeps what was refused.

use std::collections::{BTreeSet, HashMap, HashSet};

use polykey_core::genesis::SigchainStart;
use polykey_core::key_record::KeyRecord;
use polykey_core::rotation::Rotation;
use polykey_core::{KeyRecordId, NodeId, StatementId, Timestamp};

use crate::claim::{Body, Claim, ClaimError, Place};
use crate::identity::IdentityId;
use crate::link::{Link, LinkType};

/// Most entries in one chain.
pub const MAX_ENTRIES: usize = 2048;
/// Most entries that are looked at in one go.
pub const MAX_OFFER: usize = 512;

/// Why an entry does not fit its place, or a chain its node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// An entry is no claim.
    #[error("an entry of the sigchain of node {node} is not acceptable")]
    Claim {
        /// Whose chain it is.
        node: NodeId,
        /// What is wrong with the entry.
        source: Box<ClaimError>,
    },
    /// Nothing was offered, or more than [`MAX_OFFER`] entries at once.
    #[error("{count} entries of the sigchain of node {node} are too few or too many at once")]
    Count {
        /// Whose chain it is.
        node: NodeId,
        /// How many there are.
        count: usize,
    },
    /// An entry of another node.
    #[error("an entry of node {got} stands in the sigchain of node {want}")]
    OtherNode {
        /// Whose entry it is.
        got: NodeId,
        /// Whose chain it is.
        want: NodeId,
    },
    /// The entry does not follow the one before it, or the chain does not begin with a start.
    #[error("entry {number} of node {node} does not follow the entry before it")]
    Gap {
        /// Whose chain it is.
        node: NodeId,
        /// The number that the entry has.
        number: u64,
    },
    /// What was offered joins our chain before its first entry: ask for entries from a lower number on.
    #[error("the sigchain of node {node} parts from ours before entry {number}")]
    Earlier {
        /// Whose chain it is.
        node: NodeId,
        /// The number of the first entry that was offered.
        number: u64,
    },
    /// The second signature is not by the recovery key.
    #[error("entry {number} of node {node} is signed by a key that is not its recovery key")]
    NotRecovery {
        /// Whose chain it is.
        node: NodeId,
        /// The number of the entry.
        number: u64,
    },
    /// The node has named a successor or ended its chain.
    #[error("the sigchain of node {node} is closed and takes no entry {number}")]
    Closed {
        /// Whose chain it is.
        node: NodeId,
        /// The number of the entry.
        number: u64,
    },
    /// The chain holds the link already, or revoked it.
    #[error("entry {number} of node {node} repeats a link that the chain holds or revoked")]
    Repeated {
        /// Whose chain it is.
        node: NodeId,
        /// The number of the entry.
        number: u64,
    },
    /// The key record does not follow the one before it.
    #[error("entry {number} of node {node} does not bring the next key record")]
    KeyRecord {
        /// Whose chain it is.
        node: NodeId,
        /// The number of the entry.
        number: u64,
    },
    /// It revokes what cannot be revoked, was revoked before, or needs the recovery key for it.
    #[error("entry {number} of node {node} revokes what it may not revoke")]
    Revoke {
        /// Whose chain it is.
        node: NodeId,
        /// The number of the entry.
        number: u64,
    },
    /// The rotation that the node says it succeeds to names another recovery key.
    #[error("entry {number} of node {node} succeeds by a rotation that names another recovery key")]
    Succeed {
        /// Whose chain it is.
        node: NodeId,
        /// The number of the entry.
        number: u64,
    },
    /// The chain has [`MAX_ENTRIES`].
    #[error("the sigchain of node {node} has {MAX_ENTRIES} entries and takes no more")]
    Full {
        /// Whose chain it is.
        node: NodeId,
    },
}

/// The last entry of a chain that a reader has seen, and the recovery key that the chain began with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// Whose chain it is.
    pub node: NodeId,
    /// The highest number seen.
    pub number: u64,
    /// The entry that had it.
    pub id: StatementId,
    /// The node's recovery key.
    pub recovery: NodeId,
    /// The newest entry that the recovery key signed, and when.
    pub vouched: (Timestamp, StatementId),
}

/// How a whole chain compares with a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It holds the entry that was seen.
    Continues,
    /// It parts from what was seen, and the recovery key vouches for it by more than its start.
    Branch,
    /// It ends before what was seen.
    Shortened,
    /// It has another entry at that number, or another recovery key.
    Forked,
}

impl Checkpoint {
    /// Compares a chain with what was seen of it.
    pub fn compare(&self, chain: &Chain) -> Seen {
        let at = usize::try_from(self.number).unwrap_or(usize::MAX);
        match chain.entries.get(at) {
            _ if chain.recovery != self.recovery || chain.node != self.node => Seen::Forked,
            Some(entry) if entry.id() == self.id => Seen::Continues,
            _ if chain.vouched > self.vouched && chain.vouched.1 != chain.entries[0].id() => Seen::Branch,
            Some(_) => Seen::Forked,
            None => Seen::Shortened,
        }
    }
}

/// The key record that others seal to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CurrentKeyRecord<'c> {
    /// The first one, which the start names and does not hold.
    First(KeyRecordId),
    /// A later one.
    Later(&'c KeyRecord),
    /// The newest one was revoked: nothing is sealed to the node until it brings another.
    Revoked,
}

/// What [`Chain::merge`] did with the entries that it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merged {
    /// All of it was known, up to the end.
    Same,
    /// All of it was known, but it ends before ours does, at this number.
    Shorter {
        /// The highest number that was offered.
        number: u64,
    },
    /// Entries came to the end.
    Extended {
        /// The number of the first new one.
        from: u64,
    },
    /// A branch that the recovery key vouches for took the place of ours.
    Replaced {
        /// The number of the first entry that differs.
        from: u64,
        /// Our entries from there on.
        dropped: Vec<Claim>,
    },
    /// A fork that nothing speaks for. Our branch stays.
    Forked {
        /// The number of the first entry that differs.
        from: u64,
        /// Their entries from there on, as far as they follow each other.
        refused: Vec<Claim>,
    },
}

/// A node's sigchain, checked from its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    node: NodeId,
    recovery: NodeId,
    entries: Vec<Claim>,
    /// Entries by id, as places in `entries`.
    places: HashMap<StatementId, usize>,
    /// Links by id, as places of the entries that hold them.
    links: HashMap<StatementId, usize>,
    revoked: HashSet<StatementId>,
    /// Number and id of the newest key record, and the entry that holds it unless it is the first.
    key_record: (u64, KeyRecordId, Option<usize>),
    closed: Option<StatementId>,
    vouched: (Timestamp, StatementId),
}

impl Chain {
    /// The chain that holds its start alone.
    pub fn from_start(start: SigchainStart) -> Chain {
        let (node, recovery) = (start.node(), start.recovery_public());
        let key_record = (0, start.key_record(), None);
        let claim = Claim::from(start);
        Chain {
            node,
            recovery,
            vouched: (claim.created(), claim.id()),
            places: HashMap::from([(claim.id(), 0)]),
            entries: vec![claim],
            links: HashMap::new(),
            revoked: HashSet::new(),
            key_record,
            closed: None,
        }
    }

    /// Checks a whole chain of `node`, from its start.
    ///
    /// # Errors
    /// [`ChainError`]: says which entry is wrong, and how.
    pub fn verify(node: NodeId, entries: Vec<Claim>) -> Result<Chain, ChainError> {
        let mut entries = entries.into_iter();
        let first = entries.next().ok_or(ChainError::Count { node, count: 0 })?;
        let mut chain = Chain::begin(node, &first)?;
        for entry in entries {
            chain.push(entry)?;
        }
        Ok(chain)
    }

    fn begin(node: NodeId, first: &Claim) -> Result<Chain, ChainError> {
        if first.node() != node {
            return Err(ChainError::OtherNode {
                got: first.node(),
                want: node,
            });
        }
        match first.body() {
            Body::Start(start) => Ok(Chain::from_start((**start).clone())),
            _ => Err(ChainError::Gap {
                node,
                number: first.number(),
            }),
        }
    }

    /// Adds the next entry.
    ///
    /// # Errors
    /// [`ChainError`]; the chain is then as it was.
    pub fn push(&mut self, claim: Claim) -> Result<(), ChainError> {
        let (node, number) = (self.node, claim.number());
        if claim.node() != node {
            return Err(ChainError::OtherNode {
                got: claim.node(),
                want: node,
            });
        }
        if number != self.entries.len() as u64 || claim.previous() != Some(self.head().id) {
            return Err(ChainError::Gap { node, number });
        }
        if self.entries.len() >= MAX_ENTRIES {
            return Err(ChainError::Full { node });
        }
        let is_insisted = match claim.second_signer() {
            None => false,
            Some(signer) if signer == self.recovery => true,
            Some(_) => return Err(ChainError::NotRecovery { node, number }),
        };
        let reopens = |claim: &Claim| matches!(claim.body(), Body::Revoke(id) if Some(*id) == self.closed);
        if self.closed.is_some() && !(is_insisted && reopens(&claim)) {
            return Err(ChainError::Closed { node, number });
        }
        match claim.body() {
            Body::Link(link) if self.links.contains_key(&link.id()) || self.revoked.contains(&link.id()) => {
                return Err(ChainError::Repeated { node, number });
            }
            Body::KeyRecord(record) => {
                let (last, last_id, _) = self.key_record;
                if record.number() != last + 1 || record.previous() != Some(last_id) {
                    return Err(ChainError::KeyRecord { node, number });
                }
            }
            Body::Revoke(id) if !self.may_revoke(id, is_insisted) => {
                return Err(ChainError::Revoke { node, number });
            }
            Body::Succeed(rotation) if rotation.successor_recovery() != self.recovery => {
                return Err(ChainError::Succeed { node, number });
            }
            _ => {}
        }
        self.take(claim);
        Ok(())
    }

    /// What a revocation names is an entry here, or a link. The entry that holds a link stands for the link.
    /// A revocation is final, and what took the recovery key to say takes it to revoke.
    fn may_revoke(&self, id: &StatementId, is_insisted: bool) -> bool {
        if self.revoked.contains(id) {
            return false;
        }
        let Some(place) = self.places.get(id) else {
            return true;
        };
        match self.entries[*place].body() {
            Body::Revoke(_) | Body::Resume => false,
            // The end of a whole chain cannot be taken back, so a closed one is not ended from here.
            Body::Start(_) => is_insisted && self.closed.is_none(),
            Body::Rotate(_) => is_insisted,
            Body::Link(link) => !self.revoked.contains(&link.id()),
            _ => true,
        }
    }

    fn take(&mut self, claim: Claim) {
        let place = self.entries.len();
        if claim.second_signer().is_some() {
            self.vouched = self.vouched.max((claim.created(), claim.id()));
        }
        match claim.body() {
            Body::Link(link) => drop(self.links.insert(link.id(), place)),
            Body::KeyRecord(record) => self.key_record = (record.number(), record.id(), Some(place)),
            Body::Rotate(_) => self.closed = Some(claim.id()),
            Body::Revoke(id) => {
                self.revoked.insert(*id);
                match self.places.get(id).map(|place| self.entries[*place].body()) {
                    Some(Body::Start(_)) => self.closed = Some(claim.id()),
                    Some(Body::Rotate(_)) => self.closed = None,
                    Some(Body::Link(link)) => drop(self.revoked.insert(link.id())),
                    _ => {}
                }
            }
            _ => {}
        }
        self.places.insert(claim.id(), place);
        self.entries.push(claim);
    }

    /// Takes in entries of the same node from elsewhere: a run of it that joins our chain, or begins with a
    /// start.
    ///
    /// # Errors
    /// [`ChainError`] when they are no chain, or join ours before their first entry; ours is then as it was.
    pub fn merge(&mut self, offered: &[Claim]) -> Result<Merged, ChainError> {
        let node = self.node;
        let count = offered.len();
        let first = offered.first().ok_or(ChainError::Count { node, count })?;
        if let Some(other) = offered.iter().find(|claim| claim.node() != node) {
            let got = other.node();
            return Err(ChainError::OtherNode { got, want: node });
        }
        let number = first.number();
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        match at.checked_sub(1).map(|before| self.entries.get(before)) {
            None => {}
            Some(None) => return Err(ChainError::Gap { node, number }),
            Some(Some(before)) if Some(before.id()) == first.previous() => {}
            Some(Some(_)) => return Err(ChainError::Earlier { node, number }),
        }
        let same = self.entries[at..]
            .iter()
            .zip(offered)
            .take_while(|(ours, theirs)| ours.id() == theirs.id())
            .count();
        let fork = at + same;
        let theirs = &offered[same..];
        let from = fork as u64;
        if theirs.is_empty() {
            return Ok(if fork == self.entries.len() {
                Merged::Same
            } else {
                Merged::Shorter { number: from - 1 }
            });
        }
        if fork == self.entries.len() {
            let mut grown = self.clone();
            theirs.iter().try_for_each(|claim| grown.push(claim.clone()))?;
            *self = grown;
            return Ok(Merged::Extended { from });
        }
        self.choose(fork, theirs)
    }

    /// Decides between our entries from `fork` on and `theirs`.
    fn choose(&mut self, fork: usize, theirs: &[Claim]) -> Result<Merged, ChainError> {
        let from = fork as u64;
        let mut branch = match fork {
            0 => Chain::begin(self.node, &theirs[0])?,
            _ => Chain::verify(self.node, self.entries[..fork].to_vec())?,
        };
        // A start with another recovery key is the root key's word alone against the one that we know.
        if branch.recovery != self.recovery {
            let refused = theirs[..1].to_vec();
            return Ok(Merged::Forked { from, refused });
        }
        for claim in &theirs[branch.entries.len() - fork..] {
            branch.push(claim.clone())?;
        }
        let ours = weight(&self.entries[fork..], &self.recovery);
        if weight(theirs, &self.recovery) <= ours {
            let refused = theirs.to_vec();
            return Ok(Merged::Forked { from, refused });
        }
        let dropped = self.entries[fork..].to_vec();
        *self = branch;
        Ok(Merged::Replaced { from, dropped })
    }

    /// Whose chain it is.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The node's public recovery key.
    pub fn recovery_public(&self) -> NodeId {
        self.recovery
    }

    /// All entries, from the start.
    pub fn entries(&self) -> &[Claim] {
        &self.entries
    }

    /// The entry with this id.
    pub fn entry(&self, id: &StatementId) -> Option<&Claim> {
        self.places.get(id).map(|place| &self.entries[*place])
    }

    /// The last entry, to remember.
    pub fn head(&self) -> Checkpoint {
        let last = self.entries.last().expect("a chain has its start");
        Checkpoint {
            node: self.node,
            number: last.number(),
            id: last.id(),
            recovery: self.recovery,
            vouched: self.vouched,
        }
    }

    /// Where the next entry goes.
    pub fn next_place(&self) -> Place {
        let head = self.head();
        Place {
            number: head.number + 1,
            previous: head.id,
        }
    }

    /// When the next entry that the recovery key signs is said to be made: now, or later than the newest such entry
    /// when the clock is behind, so that it counts as the newest.
    pub fn vouch_time(&self, now: Timestamp) -> Timestamp {
        now.max(Timestamp::from_millis(
            self.vouched.0.as_millis().saturating_add(1),
        ))
    }

    /// The first entry.
    pub fn start(&self) -> &SigchainStart {
        match self.entries[0].body() {
            Body::Start(start) => start,
            _ => unreachable!("a chain begins with its start"),
        }
    }

    /// True when this entry or link was revoked here.
    pub fn is_revoked(&self, id: &StatementId) -> bool {
        self.revoked.contains(id)
    }

    /// True when the recovery key ended the whole chain: nothing in it counts any more.
    pub fn is_ended(&self) -> bool {
        self.revoked.contains(&self.entries[0].id())
    }

    /// The rotation that names this node's successor.
    pub fn successor(&self) -> Option<&Rotation> {
        self.live().find_map(|claim| match claim.body() {
            Body::Rotate(rotation) => Some(&**rotation),
            _ => None,
        })
    }

    /// The rotations by which this node says it succeeds others.
    pub fn predecessors(&self) -> impl Iterator<Item = &Rotation> {
        self.live().filter_map(|claim| match claim.body() {
            Body::Succeed(rotation) => Some(&**rotation),
            _ => None,
        })
    }

    /// The links that this chain holds and has not ended. A link counts only when the other chain holds it too.
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        let removed = self.removals();
        self.live().filter_map(move |claim| match claim.body() {
            Body::Link(link) if self.revoked.contains(&link.id()) => None,
            Body::Link(link) => {
                let other = link
                    .other_end(&self.node)
                    .expect("a claim holds a link of its node");
                let is_cut = link.terms().kind == LinkType::Device
                    && removed.get(&other).is_some_and(|number| *number > claim.number());
                (!is_cut).then_some(&**link)
            }
            _ => None,
        })
    }

    /// The identities that this node says it speaks for, each with the id of the claim that says so.
    pub fn identities(&self) -> impl Iterator<Item = (StatementId, &IdentityId)> {
        self.live().filter_map(|claim| match claim.body() {
            Body::Identity(identity) => Some((claim.id(), identity)),
            _ => None,
        })
    }

    /// The nodes that are no devices of this principal any more, says this one, and were not linked anew since.
    pub fn removed_devices(&self) -> BTreeSet<NodeId> {
        let mut removed = self.removals();
        for claim in self.live() {
            if let Body::Link(link) = claim.body()
                && link.terms().kind == LinkType::Device
                && !self.revoked.contains(&link.id())
            {
                let other = link
                    .other_end(&self.node)
                    .expect("a claim holds a link of its node");
                if removed.get(&other).is_some_and(|number| *number < claim.number()) {
                    removed.remove(&other);
                }
            }
        }
        removed.into_keys().collect()
    }

    /// The key record to seal to.
    pub fn key_record(&self) -> CurrentKeyRecord<'_> {
        let is_revoked = |place: usize| self.revoked.contains(&self.entries[place].id());
        match self.key_record {
            _ if self.is_ended() => CurrentKeyRecord::Revoked,
            (_, id, None) => CurrentKeyRecord::First(id),
            (_, _, Some(place)) if is_revoked(place) => CurrentKeyRecord::Revoked,
            (_, _, Some(place)) => match self.entries[place].body() {
                Body::KeyRecord(record) => CurrentKeyRecord::Later(record),
                _ => unreachable!("the place holds a key record"),
            },
        }
    }

    /// Number and id of the newest key record, for the one that follows it.
    pub fn last_key_record(&self) -> (u64, KeyRecordId) {
        (self.key_record.0, self.key_record.1)
    }

    fn live(&self) -> impl Iterator<Item = &Claim> {
        let ended = self.is_ended();
        self.entries
            .iter()
            .filter(move |claim| !ended && !self.revoked.contains(&claim.id()))
    }

    /// The number of the last removal of each device.
    fn removals(&self) -> HashMap<NodeId, u64> {
        self.live()
            .filter_map(|claim| match claim.body() {
                Body::DeviceRemoved(node) => Some((*node, claim.number())),
                _ => None,
            })
            .collect()
    }
}

/// The newest entry that the recovery key signed, but for a start: what decides between branches. The time is the word
/// of that key's owner, who alone can say which of two recoveries came later; ids break ties.
fn weight(entries: &[Claim], recovery: &NodeId) -> Option<(Timestamp, StatementId)> {
    entries
        .iter()
        .filter(|claim| claim.second_signer().as_ref() == Some(recovery))
        .filter(|claim| !matches!(claim.body(), Body::Start(_)))
        .map(|claim| (claim.created(), claim.id()))
        .max()
}

/// Parses and verifies entries of the chain of `node` from elsewhere, without looking at their places.
///
/// # Errors
/// [`ChainError::Count`], [`ChainError::Claim`], [`ChainError::OtherNode`].
pub fn verify_entries(node: NodeId, entries: Vec<Vec<u8>>) -> Result<Vec<Claim>, ChainError> {
    let count = entries.len();
    if count == 0 || count > MAX_OFFER {
        return Err(ChainError::Count { node, count });
    }
    entries
        .into_iter()
        .map(|bytes| {
            let claim = Claim::verify(bytes).map_err(|error| ChainError::Claim {
                node,
                source: Box::new(error),
            })?;
            match claim.node() {
                got if got != node => Err(ChainError::OtherNode { got, want: node }),
                _ => Ok(claim),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests;
