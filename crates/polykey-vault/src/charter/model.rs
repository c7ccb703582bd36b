//! The rule of standing once more, written as it is said and not as it is fast, and random histories to
//! hold both to each other.
//!
//! This one asks back and forth ("does the grant stand? does that removal stand?") and fails when it comes
//! round to a question that it is asking already: that is how a circle would show.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use polykey_core::Random;
use polykey_core::id::{NodeId, StatementId};
use polykey_core::rotation::Rotation;

use super::cast::{Chance, Person, time};
use super::entry::{Body, Bundle, Draft, Entry, EpochBox, Place, Sealed};
use super::{Charter, Role};

/// What an entry of a history does. Nodes are numbers into [`people`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Genesis,
    Grant(usize, Role),
    Revoke(usize),
    Succeed(usize),
    Purge,
}

#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) author: usize,
    /// The author signs with the recovery key.
    pub(super) recovery: bool,
    pub(super) under: usize,
    pub(super) ancestors: BTreeSet<usize>,
    pub(super) act: Act,
    pub(super) entry: Arc<Entry>,
}

/// A history: records in an order in which each follows its parents; the first is genesis by node 0.
#[derive(Debug, Clone)]
pub(super) struct History {
    pub(super) records: Vec<Record>,
}

/// How many nodes a history is about; the others only ever succeed.
pub(super) const NODES: usize = 5;

pub(super) fn people() -> &'static [Person] {
    static PEOPLE: OnceLock<Vec<Person>> = OnceLock::new();
    PEOPLE.get_or_init(|| (0..9).map(|seed| Person::new(seed + 10)).collect())
}

/// Small numbers by chance.
pub(super) struct Dice(Chance);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Dice(Chance::new(seed))
    }

    pub(super) fn below(&self, bound: usize) -> usize {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        u32::from_be_bytes(bytes) as usize % bound
    }

    pub(super) fn percent(&self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(super) fn pick<T: Copy>(&self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
}

pub(super) type Rank = (i32, usize, Vec<u8>);

impl History {
    pub(super) fn new() -> Self {
        let a = &people()[0];
        let draft = Draft {
            place: None,
            time: time(0),
            body: Body::Genesis {
                nonce: [0; 32],
                keys: a.keys(),
            },
            sealed: empty_epoch(),
        };
        let record = Record {
            author: 0,
            recovery: false,
            under: 0,
            ancestors: BTreeSet::new(),
            act: Act::Genesis,
            entry: Arc::new(Entry::sign(&a.root, &draft).unwrap()),
        };
        History {
            records: vec![record],
        }
    }

    pub(super) fn charter(&self) -> Charter {
        let mut charter = Charter::found(self.records[0].entry.statement().clone()).unwrap();
        for record in &self.records[1..] {
            charter.insert(record.entry.statement().clone()).unwrap();
        }
        charter
    }

    /// The entries of `among` that no other of them follows.
    pub(super) fn heads(&self, among: &BTreeSet<usize>) -> BTreeSet<usize> {
        let mut heads = among.clone();
        for at in among {
            heads.retain(|head| !self.records[*at].ancestors.contains(head));
        }
        heads
    }

    fn known(&self, heads: &BTreeSet<usize>) -> BTreeSet<usize> {
        let mut known = heads.clone();
        for head in heads {
            known.extend(&self.records[*head].ancestors);
        }
        known
    }

    /// Adds an entry after `parents`, which are reduced to heads and made to cover `under`.
    pub(super) fn add(
        &mut self,
        author: usize,
        recovery: bool,
        under: usize,
        parents: &BTreeSet<usize>,
        act: Act,
    ) -> usize {
        let mut ancestors = self.known(parents);
        if !ancestors.contains(&under) {
            ancestors.insert(under);
            ancestors.extend(self.records[under].ancestors.clone());
        }
        let mut parents: Vec<StatementId> = self
            .heads(&ancestors)
            .iter()
            .map(|at| self.records[*at].entry.id())
            .collect();
        parents.sort_unstable();
        let signer = &people()[author];
        let (body, sealed) = self.written(author, recovery, act);
        let draft = Draft {
            place: Some(Place {
                vault: self.records[0].entry.vault(),
                under: self.records[under].entry.id(),
                parents,
            }),
            // Else two equal acts in one place would be one entry.
            time: time(self.records.len() as u64),
            body,
            sealed,
        };
        let key = if recovery { &signer.recovery } else { &signer.root };
        let entry = Arc::new(Entry::sign(key, &draft).unwrap());
        self.records.push(Record {
            author,
            recovery,
            under,
            ancestors,
            act,
            entry,
        });
        self.records.len() - 1
    }

    fn written(&self, author: usize, recovery: bool, act: Act) -> (Body, Sealed) {
        let nothing = || Bundle {
            device: Vec::new(),
            code: Vec::new(),
        };
        match act {
            Act::Genesis => unreachable!("there is one"),
            Act::Grant(node, role) => {
                let joiner = people()[node].joiner(role);
                let sealed = match role.reads() {
                    true => Sealed::Bundle(nothing()),
                    false => Sealed::Nothing,
                };
                let body = Body::Grant {
                    node: joiner.node,
                    role,
                    keys: joiner.keys,
                };
                (body, sealed)
            }
            Act::Revoke(node) => {
                let body = Body::Revoke {
                    node: people()[node].node(),
                    cut_offs: Vec::new(),
                };
                let own = node == author && !recovery;
                (body, if own { Sealed::Nothing } else { empty_epoch() })
            }
            Act::Succeed(node) => {
                let (old, new) = (&people()[author], &people()[node]);
                let place = (1, self.records[0].entry.id());
                let (node, recovery) = (new.node(), new.recovery.public());
                let rotation = Rotation::sign(&old.root, &old.recovery, place, time(0), node, recovery);
                let body = Body::Succeed {
                    rotation: Box::new(rotation.unwrap()),
                    keys: Some(new.keys()),
                    cut_offs: Vec::new(),
                };
                (body, Sealed::Bundle(nothing()))
            }
            Act::Purge => {
                let body = Body::Purge {
                    objects: Vec::new(),
                    now: false,
                    note: Vec::new(),
                };
                (body, Sealed::Nothing)
            }
        }
    }

    pub(super) fn is_grant(&self, at: usize) -> bool {
        matches!(
            self.records[at].act,
            Act::Genesis | Act::Grant(..) | Act::Succeed(_)
        )
    }

    pub(super) fn holder(&self, at: usize) -> usize {
        match self.records[at].act {
            Act::Grant(node, _) | Act::Succeed(node) => node,
            _ => self.records[at].author,
        }
    }

    pub(super) fn role(&self, at: usize) -> Role {
        match self.records[at].act {
            Act::Grant(_, role) => role,
            Act::Succeed(_) => self.role(self.records[at].under),
            _ => Role::Admin,
        }
    }

    /// What the entry's role and rank come from: itself, but for a succession.
    fn origin(&self, at: usize) -> usize {
        match self.records[at].act {
            Act::Succeed(_) => self.origin(self.records[at].under),
            _ => at,
        }
    }

    fn is_crown(&self, at: usize) -> bool {
        self.is_grant(at) && self.origin(at) == 0
    }

    fn depth(&self, at: usize) -> usize {
        match self.origin(at) {
            0 => 0,
            origin => 1 + self.depth(self.records[origin].under),
        }
    }

    pub(super) fn rank(&self, at: usize) -> Rank {
        let origin = self.origin(at);
        if origin == 0 {
            return (0, 0, Vec::new());
        }
        let class = i32::from(!self.role(at).administers());
        (
            class,
            self.depth(at),
            self.records[origin].entry.id().as_bytes().to_vec(),
        )
    }

    /// The rank that an entry acts with.
    fn level(&self, at: usize) -> Rank {
        let record = &self.records[at];
        let crowned = matches!(record.act, Act::Succeed(_)) && self.is_crown(record.under);
        match record.recovery || crowned {
            true => (-1, 0, Vec::new()),
            false => self.rank(record.under),
        }
    }

    fn removes(&self, at: usize) -> Option<usize> {
        match self.records[at].act {
            Act::Revoke(node) => Some(node),
            Act::Succeed(_) => Some(self.records[at].author),
            _ => None,
        }
    }

    fn is_farewell(&self, at: usize) -> bool {
        let record = &self.records[at];
        match record.act {
            Act::Revoke(node) => node == record.author && !record.recovery,
            Act::Succeed(_) => true,
            _ => false,
        }
    }

    pub(super) fn ends(&self, removal: usize, grant: usize) -> bool {
        if self.removes(removal) != Some(self.holder(grant))
            || self.records[grant].ancestors.contains(&removal)
        {
            return false;
        }
        match self.is_farewell(removal) {
            true => self.level(removal) <= self.rank(grant),
            false => self.level(removal) < self.rank(grant),
        }
    }

    /// Which entries stand, and the roles that live by node.
    pub(super) fn standing(&self) -> (Vec<bool>, BTreeMap<usize, BTreeSet<Role>>) {
        let mut asking = Asking {
            history: self,
            known: BTreeMap::new(),
            busy: BTreeSet::new(),
        };
        let stands: Vec<bool> = (0..self.records.len()).map(|at| asking.stands(at)).collect();
        let mut live: BTreeMap<usize, BTreeSet<Role>> = BTreeMap::new();
        for grant in (0..self.records.len()).filter(|at| self.is_grant(*at) && stands[*at]) {
            if !(0..self.records.len()).any(|r| stands[r] && self.ends(r, grant)) {
                live.entry(self.holder(grant))
                    .or_default()
                    .insert(self.role(grant));
            }
        }
        (stands, live)
    }
}

fn empty_epoch() -> Sealed {
    Sealed::Epoch(EpochBox {
        commitment: [0; 32],
        shares: Vec::new(),
        wrapped: Vec::new(),
    })
}

struct Asking<'h> {
    history: &'h History,
    known: BTreeMap<usize, bool>,
    busy: BTreeSet<usize>,
}

impl Asking<'_> {
    fn stands(&mut self, at: usize) -> bool {
        if let Some(known) = self.known.get(&at) {
            return *known;
        }
        assert!(self.busy.insert(at), "a circle at entry {at}");
        let h = self.history;
        let record = &h.records[at];
        let free = h.is_farewell(at) || record.recovery;
        let right = at == 0 || free || h.role(record.under).administers();
        let stands = at == 0 || (right && self.authority_holds(record.under, at));
        self.busy.remove(&at);
        self.known.insert(at, stands);
        stands
    }

    /// The grant stands, and every standing removal that ends it knew the entry.
    fn authority_holds(&mut self, grant: usize, at: usize) -> bool {
        if !self.stands(grant) {
            return false;
        }
        let h = self.history;
        let crowned =
            |r: usize| matches!(h.records[r].act, Act::Succeed(_)) && h.is_crown(h.records[r].under);
        if crowned(at) {
            return true;
        }
        for r in (0..h.records.len()).filter(|r| *r != at && !h.records[*r].ancestors.contains(&at)) {
            let ends = match h.records[at].recovery {
                true => crowned(r) && h.records[r].under == grant,
                false => h.ends(r, grant) && !(h.is_farewell(at) && h.is_farewell(r)),
            };
            if ends && self.stands(r) {
                return false;
            }
        }
        true
    }
}

/// Which kinds of entries a random history has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flavour {
    /// Grants and removals only.
    Plain,
    /// Recovery keys, successions and purges, too.
    Full,
}

/// A random history of nodes that know different parts of it; some entries build on old states.
pub(super) fn random_history(dice: &Dice, steps: usize, flavour: Flavour) -> History {
    let mut history = History::new();
    let mut views: Vec<BTreeSet<usize>> = vec![BTreeSet::from([0]); people().len()];
    let mut fresh = NODES..people().len();
    for _ in 1..steps {
        let author = match flavour {
            Flavour::Plain => dice.below(NODES),
            Flavour::Full => dice.below(fresh.start),
        };
        if dice.percent(50) {
            let other = views[dice.below(NODES)].clone();
            views[author].extend(other);
        }
        let view = views[author].clone();
        let mut parents = history.heads(&view);
        if view.len() > 2 && dice.percent(15) {
            parents = BTreeSet::from([dice.pick(&view.iter().copied().collect::<Vec<_>>())]);
        }
        let recovery = flavour == Flavour::Full && dice.percent(10);
        let anchors: Vec<usize> = view
            .iter()
            .copied()
            .filter(|at| history.is_grant(*at) && history.holder(*at) == author)
            .filter(|at| !recovery || history.is_crown(*at))
            .collect();
        if anchors.is_empty() {
            continue;
        }
        let under = dice.pick(&anchors);
        let node = dice.below(NODES);
        let role = dice.pick(&[Role::Admin, Role::Admin, Role::Writer, Role::Reader]);
        let act = match dice.below(if flavour == Flavour::Full { 12 } else { 10 }) {
            0..5 => Act::Grant(node, role),
            5..10 => Act::Revoke(node),
            10 => Act::Purge,
            _ if recovery || fresh.is_empty() => Act::Purge,
            _ => Act::Succeed(fresh.next().expect("not empty")),
        };
        let at = history.add(author, recovery, under, &parents, act);
        views[author].insert(at);
        views[author].extend(history.records[at].ancestors.clone());
    }
    history
}

/// The node ids of the people, by number.
pub(super) fn nodes() -> Vec<NodeId> {
    people().iter().map(Person::node).collect()
}
