//! Standing: which entries hold, judged in order of rank.
//!
//! *Rank* of a grant: admins before all others; then fewer grants from genesis; then lower id. A recovery
//! key ranks above all. An entry is judged at the rank of the authority it acts under:
//!
//! - it stands if the grant it acts under stands and gives the right, and every standing removal that ends
//!   that grant has the entry among its ancestors;
//! - a removal ends those grants of its node that rank below the authority it acts under, unless the grant
//!   was made after it: a new grant after a removal holds;
//! - a self-removal and a succession end the grant they act under, too, and all that rank below it. They do
//!   not void each other.
//!
//! Never a circle: what decides about an entry was judged at a better rank, or at the same rank among the
//! self-removals and successions, which come first. So one pass over the entries in that order is enough.
//! The result depends on the set alone, not on the order of arrival.
//!
//! This is stricter than "anybody may remove itself" at first sounds: a self-removal under
//! a lesser grant does not end a better one of the same node. If it did, two entries could each be void
//! because of the other.

use std::collections::HashMap;
use std::sync::Arc;

use polykey_core::id::{NodeId, StatementId};

use super::bits::Bits;
use super::entry::{Body, Entry};
use super::role::Role;

/// Rank of a grant or authority; lower is better. Kind of authority, depth, id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank(u8, u32, [u8; 32]);

impl Rank {
    /// A recovery key's: above all.
    pub(super) const RECOVERY: Rank = Rank(0, 0, [0; 32]);
    /// The creator's.
    pub(super) const GENESIS: Rank = Rank(1, 0, [0; 32]);

    /// The rank of a grant of `role` that acts under an authority of rank `under`.
    pub(super) fn of_grant(role: Role, under: Rank, id: StatementId) -> Rank {
        let class = if role.administers() { 1 } else { 2 };
        Rank(class, under.1.saturating_add(1), *id.as_bytes())
    }
}

/// In whose right an entry is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Authority {
    /// Genesis itself.
    Founder,
    /// The node that holds the grant it acts under.
    Holder,
    /// The recovery key that stands behind genesis, or behind a succession of the creator.
    Recovery,
    /// A succession of the creator: signed by the recovery key, so it ranks with it.
    Crown,
}

/// A grant-like entry: genesis, a grant, or a succession.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tenure {
    pub(super) holder: NodeId,
    pub(super) role: Role,
    pub(super) rank: Rank,
    /// True for genesis and the successions of the creator: a recovery key stands behind it.
    pub(super) crown: bool,
}

/// One entry and what its ancestors alone decide about it.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) entry: Entry,
    /// All its ancestors, without itself.
    pub(super) past: Bits,
    /// The grant it acts under; itself for genesis.
    pub(super) under: usize,
    pub(super) authority: Authority,
    /// The rank of the authority it acts under.
    pub(super) level: Rank,
    /// What it gives, when it is grant-like.
    pub(super) tenure: Option<Tenure>,
    /// True when the authority has the role that this kind of entry takes.
    pub(super) has_right: bool,
}

impl Placed {
    /// Self-removals and successions: they end the very grant they act under.
    pub(super) fn is_farewell(&self) -> bool {
        self.entry.is_self_removal() || matches!(self.entry.body(), Body::Succeed { .. })
    }

    /// The node whose grants this entry ends, if it stands.
    pub(super) fn removes(&self) -> Option<NodeId> {
        match self.entry.body() {
            Body::Revoke { node, .. } => Some(*node),
            Body::Succeed { .. } => Some(self.entry.author()),
            _ => None,
        }
    }
}

/// Why an entry is void.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Void {
    /// Its author's role does not allow it.
    NoRight,
    /// The grant it acts under is void.
    Grant(StatementId),
    /// This removal of its author stands and did not know the entry.
    Removed(StatementId),
}

/// Whether an entry holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It holds.
    Stands,
    /// It is kept and shown, and has no effect.
    Void(Void),
    /// The heads that were asked about do not know it.
    Unknown,
}

/// The standing of every entry, as known at some heads or at all.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    pub(super) status: Vec<Status>,
    /// For each standing grant, the standing removal with the lowest id that ends it.
    pub(super) ended: Vec<Option<usize>>,
    /// Standing removals by the node they name.
    pub(super) removals: HashMap<NodeId, Vec<usize>>,
}

impl Standing {
    /// Judges all entries, or those in `known`, which must be closed under ancestors.
    pub(super) fn judge(placed: &[Arc<Placed>], known: Option<&Bits>) -> Standing {
        let mut order: Vec<usize> = (0..placed.len())
            .filter(|at| known.is_none_or(|known| known.contains(*at)))
            .collect();
        order.sort_by_key(|at| {
            let p = &placed[*at];
            (p.level, *at != 0, !p.is_farewell(), *at)
        });
        let mut standing = Standing {
            status: vec![Status::Unknown; placed.len()],
            ended: vec![None; placed.len()],
            removals: HashMap::new(),
        };
        // Entries without the right first: a grant by somebody who is no admin need not rank below that
        // somebody, so the order would reach it too late.
        for &at in order.iter().filter(|at| !placed[**at].has_right) {
            standing.status[at] = Status::Void(Void::NoRight);
        }
        for &at in &order {
            let status = standing.judge_one(placed, at);
            standing.status[at] = status;
            if status == Status::Stands
                && let Some(node) = placed[at].removes()
            {
                standing.removals.entry(node).or_default().push(at);
            }
        }
        for &at in &order {
            if standing.stands(at)
                && let Some(tenure) = &placed[at].tenure
            {
                let by = standing.removals_of(&tenure.holder);
                let by = by.filter(|removal| ends(placed, *removal, at));
                let by = by.min_by_key(|removal| placed[*removal].entry.id());
                standing.ended[at] = by;
            }
        }
        standing
    }

    pub(super) fn stands(&self, at: usize) -> bool {
        // A standing at earlier heads is shorter than the charter.
        self.status.get(at) == Some(&Status::Stands)
    }

    /// True for a grant-like entry that stands and that nothing ends.
    pub(super) fn lives(&self, placed: &[Arc<Placed>], at: usize) -> bool {
        placed[at].tenure.is_some() && self.stands(at) && self.ended[at].is_none()
    }

    pub(super) fn removals_of(&self, node: &NodeId) -> impl Iterator<Item = usize> + '_ {
        self.removals.get(node).into_iter().flatten().copied()
    }

    /// The removal of `node` with the lowest id that `counts`: the same one whatever came first.
    fn lowest(
        &self,
        placed: &[Arc<Placed>],
        node: &NodeId,
        counts: impl Fn(&usize) -> bool,
    ) -> Option<StatementId> {
        let removals = self.removals_of(node).filter(counts);
        removals.map(|at| placed[at].entry.id()).min()
    }

    fn judge_one(&self, placed: &[Arc<Placed>], at: usize) -> Status {
        let p = &placed[at];
        let id = |at: usize| placed[at].entry.id();
        if p.authority == Authority::Founder {
            return Status::Stands;
        }
        if !p.has_right {
            return Status::Void(Void::NoRight);
        }
        if !self.stands(p.under) {
            return Status::Void(Void::Grant(id(p.under)));
        }
        let tenure = placed[p.under].tenure.as_ref().expect("checked on insertion");
        let missed = |removal: &usize| *removal != at && !placed[*removal].past.contains(at);
        let ended = match p.authority {
            Authority::Founder | Authority::Crown => None,
            // A succession of the creator moves the recovery key's authority, too.
            Authority::Recovery => self.lowest(placed, &tenure.holder, |removal| {
                let crown = placed[*removal].authority == Authority::Crown;
                crown && placed[*removal].under == p.under && missed(removal)
            }),
            Authority::Holder => self.lowest(placed, &tenure.holder, |removal| {
                let both = p.is_farewell() && placed[*removal].is_farewell();
                !both && ends(placed, *removal, p.under) && missed(removal)
            }),
        };
        match ended {
            Some(removal) => Status::Void(Void::Removed(removal)),
            None => Status::Stands,
        }
    }
}

/// True when `removal`, if it stands, ends the grant `grant` of the node that it names.
pub(super) fn ends(placed: &[Arc<Placed>], removal: usize, grant: usize) -> bool {
    let (r, g) = (&placed[removal], &placed[grant]);
    let Some(tenure) = &g.tenure else { return false };
    if r.removes() != Some(tenure.holder) || g.past.contains(removal) {
        return false;
    }
    if r.is_farewell() {
        r.level <= tenure.rank
    } else {
        r.level < tenure.rank
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::super::model::{Act, Dice, Flavour, History, NODES, nodes, random_history};
    use super::super::{Charter, Role};
    use super::*;

    type Live = BTreeMap<usize, BTreeSet<Role>>;

    fn judged(history: &History, charter: &Charter) -> (Vec<bool>, Live) {
        let ids = history.records.iter().map(|record| record.entry.id());
        let stands = ids
            .map(|id| charter.status(&id) == Some(Status::Stands))
            .collect();
        let mut live = Live::new();
        for (at, placed) in charter.entries.iter().enumerate() {
            if charter.now().lives(&charter.entries, at) {
                let tenure = placed.tenure.unwrap();
                let node = nodes().iter().position(|node| *node == tenure.holder).unwrap();
                live.entry(node).or_default().insert(tenure.role);
            }
        }
        (stands, live)
    }

    #[track_caller]
    fn check(history: &History) {
        let charter = history.charter();
        let (got, want) = (judged(history, &charter), history.standing());
        if got != want {
            let table: Vec<_> = history
                .records
                .iter()
                .enumerate()
                .map(|(at, r)| (at, r.author, r.recovery, r.under, r.act, &r.ancestors))
                .collect();
            panic!("{table:#?}\nwant {want:?}\n got {got:?}");
        }
    }

    /// The same entries, each after its parents, in another order.
    fn shuffled(history: &History, dice: &Dice) -> Charter {
        let mut charter = Charter::found(history.records[0].entry.statement().clone()).unwrap();
        let mut left: Vec<usize> = (1..history.records.len()).collect();
        while !left.is_empty() {
            let at = dice.below(left.len());
            let entry = &history.records[left[at]].entry;
            if charter.insert(entry.statement().clone()).is_ok() {
                left.swap_remove(at);
            }
        }
        charter
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn one_pass_gives_what_the_rule_says(seed: u64) {
            check(&random_history(&Dice::new(seed), 16, Flavour::Plain));
        }

        #[test]
        fn so_it_does_with_recovery_keys_and_successions(seed: u64) {
            check(&random_history(&Dice::new(seed), 20, Flavour::Full));
        }

        #[test]
        fn the_order_of_arrival_does_not_matter(seed: u64) {
            let dice = Dice::new(seed);
            let history = random_history(&dice, 16, Flavour::Full);
            let charter = history.charter();
            let other = shuffled(&history, &dice);
            prop_assert_eq!(judged(&history, &charter), judged(&history, &other));
            prop_assert_eq!(charter.members(), other.members());
            prop_assert_eq!(charter.ended_members(), other.ended_members());
            for entry in charter.entries() {
                prop_assert_eq!(charter.status(&entry.id()), other.status(&entry.id()));
            }
            prop_assert_eq!(charter.heads(), other.heads());
            prop_assert_eq!(charter.epochs_at(&charter.heads()), other.epochs_at(&charter.heads()));
        }

        #[test]
        fn earlier_heads_are_judged_as_they_were(seed: u64) {
            let dice = Dice::new(seed);
            let history = random_history(&dice, 16, Flavour::Full);
            let mut charter = history.charter();
            let mut growing = Charter::found(history.records[0].entry.statement().clone()).unwrap();
            for record in &history.records[1..] {
                growing.insert(record.entry.statement().clone()).unwrap();
                let heads = growing.heads();
                prop_assert_eq!(charter.members_at(&heads), Some(growing.members()));
                prop_assert_eq!(charter.epochs_at(&heads), growing.epochs_at(&heads));
            }
            charter = charter.clone();
            prop_assert_eq!(charter.members(), growing.members());
        }

        #[test]
        fn nothing_undoes_a_removal_by_the_creator(seed: u64) {
            let dice = Dice::new(seed);
            let history = random_history(&dice, 14, Flavour::Plain);
            let (stands, live) = history.standing();
            for (r, record) in history.records.iter().enumerate() {
                let Act::Revoke(x) = record.act else { continue };
                if !stands[r] || record.author != 0 || record.under != 0 || x == 0 || live.contains_key(&x) {
                    continue;
                }
                let mut hostile = history.clone();
                for _ in 0..6 {
                    let held: Vec<usize> = (0..hostile.records.len())
                        .filter(|at| hostile.is_grant(*at) && hostile.holder(*at) == x)
                        .collect();
                    if held.is_empty() {
                        break;
                    }
                    let parents: BTreeSet<_> = (0..2).map(|_| dice.below(history.records.len())).collect();
                    let node = dice.below(NODES);
                    let act = dice.pick(&[Act::Grant(node, Role::Admin), Act::Revoke(node)]);
                    hostile.add(x, false, dice.pick(&held), &parents, act);
                }
                let (stands, later) = judged(&hostile, &hostile.charter());
                prop_assert!(stands[r], "the removal stands");
                prop_assert!(!later.contains_key(&x), "the removed node stays out");
                prop_assert_eq!(later.get(&0), live.get(&0), "the creator stays in");
            }
        }
    }

    /// All histories of three nodes and three entries after genesis, on new and old states.
    #[test]
    fn all_small_histories_are_judged_as_the_rule_says() {
        fn grow(history: &History, left: usize, count: &mut usize) {
            check(history);
            *count += 1;
            if left == 0 {
                return;
            }
            let len = history.records.len();
            for under in (0..len).filter(|at| history.is_grant(*at)) {
                let author = history.holder(under);
                let all = history.heads(&(0..len).collect());
                let parents = BTreeSet::from([all, BTreeSet::from([under]), BTreeSet::from([len - 1])]);
                for parents in parents {
                    for node in 0..3 {
                        let acts = [
                            Act::Grant(node, Role::Admin),
                            Act::Grant(node, Role::Writer),
                            Act::Revoke(node),
                        ];
                        for act in acts {
                            let mut next = history.clone();
                            next.add(author, false, under, &parents, act);
                            grow(&next, left - 1, count);
                        }
                    }
                }
            }
        }
        let mut count = 0;
        grow(&History::new(), 3, &mut count);
        assert!(count > 5000, "{count} histories");
    }

    /// Two removals that would each void the other if leaving by a lesser grant ended a better one.
    #[test]
    fn leaving_by_a_lesser_grant_keeps_the_better_one() {
        let mut h = History::new();
        let better = h.add(0, false, 0, &BTreeSet::from([0]), Act::Grant(1, Role::Admin));
        let lesser = h.add(
            0,
            false,
            0,
            &BTreeSet::from([better]),
            Act::Grant(1, Role::Writer),
        );
        let grant = h.add(
            1,
            false,
            better,
            &BTreeSet::from([lesser]),
            Act::Grant(2, Role::Admin),
        );
        h.add(1, false, lesser, &BTreeSet::from([lesser]), Act::Revoke(1));
        h.add(2, false, grant, &BTreeSet::from([grant]), Act::Revoke(1));
        check(&h);
        let (_, live) = h.standing();
        assert_eq!(live[&1], BTreeSet::from([Role::Admin]));
    }

    #[test]
    fn the_recovery_key_puts_out_the_creators_own_device() {
        let mut h = History::new();
        let b = h.add(0, false, 0, &BTreeSet::from([0]), Act::Grant(1, Role::Admin));
        let removal = h.add(0, true, 0, &BTreeSet::from([b]), Act::Revoke(0));
        // The thief's: they do not know the removal.
        let theft = h.add(0, false, 0, &BTreeSet::from([b]), Act::Revoke(1));
        let friend = h.add(0, false, 0, &BTreeSet::from([b]), Act::Grant(2, Role::Admin));
        let back = h.add(0, true, 0, &BTreeSet::from([removal]), Act::Grant(3, Role::Admin));
        check(&h);
        let (stands, live) = h.standing();
        assert_eq!(
            [b, removal, theft, friend, back].map(|at| stands[at]),
            [true, true, false, false, true]
        );
        assert_eq!(live.keys().copied().collect::<Vec<_>>(), [1, 3]);
    }

    #[test]
    fn a_succession_moves_rank_and_recovery_key() {
        let mut h = History::new();
        let b = h.add(0, false, 0, &BTreeSet::from([0]), Act::Grant(1, Role::Admin));
        let succeed = h.add(0, false, 0, &BTreeSet::from([b]), Act::Succeed(5));
        // By the old keys, not knowing of the succession.
        let old_root = h.add(0, false, 0, &BTreeSet::from([b]), Act::Revoke(1));
        let old_code = h.add(0, true, 0, &BTreeSet::from([b]), Act::Grant(2, Role::Admin));
        let new_code = h.add(
            5,
            true,
            succeed,
            &BTreeSet::from([succeed]),
            Act::Grant(3, Role::Writer),
        );
        let outranked = h.add(1, false, b, &BTreeSet::from([succeed]), Act::Revoke(5));
        check(&h);
        let (stands, live) = h.standing();
        assert_eq!(
            [succeed, old_root, old_code, new_code, outranked].map(|at| stands[at]),
            [true, false, false, true, true]
        );
        assert_eq!(live.keys().copied().collect::<Vec<_>>(), [1, 3, 5]);
    }

    /// Its time is not asserted here: about 15 ms where the whole test takes a second to sign.
    #[test]
    fn a_charter_of_two_thousand_entries_and_two_hundred_members_is_judged() {
        use super::super::cast::{Person, time};
        use super::super::entry::{Draft, EpochBox, Place, Sealed};
        use polykey_core::Key;
        use polykey_core::sign::SigningKey;

        let creator = Person::new(1);
        let mut charter = creator.found(1);
        let node = |at: usize| {
            let mut seed = [9; 32];
            seed[0] = (at % 200) as u8;
            SigningKey::from_seed(&Key::from_array(seed)).public()
        };
        for at in 0..2000 {
            let (body, sealed) = match at % 10 {
                9 => (
                    Body::Revoke {
                        node: node(at / 10),
                        cut_offs: Vec::new(),
                    },
                    Sealed::Epoch(EpochBox {
                        commitment: [0; 32],
                        shares: Vec::new(),
                        wrapped: Vec::new(),
                    }),
                ),
                _ => (
                    Body::Grant {
                        node: node(at),
                        role: Role::Keeper,
                        keys: None,
                    },
                    Sealed::Nothing,
                ),
            };
            let place = Place {
                vault: charter.id(),
                under: charter.genesis().id(),
                parents: charter.heads(),
            };
            let draft = Draft {
                place: Some(place),
                time: time(at as u64),
                body,
                sealed,
            };
            let entry = Entry::sign(&creator.root, &draft).unwrap();
            charter.insert(entry.statement().clone()).unwrap();
        }
        // The last removal of each tenth node came after its last grant, or before it.
        let members = charter.members().len();
        assert_eq!(charter.len(), 2001);
        assert!((150..=201).contains(&members), "{members}");
        assert_eq!(
            charter.epochs_at(&charter.heads()).map(|epochs| epochs.len()),
            Some(1)
        );
    }
}
