//! What counts: whether a commit's author had the right to make it.
//!
//! A commit counts when its author held a grant to write that its charter heads know, that stands by all we
//! know now, and that no removal known to those heads ends. A removal that those heads do *not* know
//! accepts what it lists: (actor, seq, commit); lines that it does not list end at 0, and of several
//! removals the lowest holds. Commits that do not count are *set aside*: kept, shown, adoptable; others'
//! commits on top of them still count.
//!
//! A line is named by author and actor together, so that nobody can fork another's line by using its actor
//! id. Two different commits with one number on one line set it aside from there on, unless a standing
//! removal lists one of them: then what leads up to that one is accepted, and a removed node cannot take
//! back by a later fork what was accepted of it.

use std::collections::{BTreeMap, BTreeSet};

use polykey_core::id::{ActorId, NodeId, StatementId};

use super::Charter;
use super::entry::{Body, CutOff};
use super::standing::ends;

/// One line of commits: an author and one of its actors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LineId {
    /// Who signs the commits.
    pub author: NodeId,
    /// The author's random id for one incarnation of its store.
    pub actor: ActorId,
}

/// What a verdict needs to know of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitFacts<'c> {
    /// The commit.
    pub id: StatementId,
    /// Its line.
    pub line: LineId,
    /// Its number on the line, from 1.
    pub seq: u64,
    /// The charter heads that its author knew.
    pub heads: &'c [StatementId],
}

/// Why a commit does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SetAside {
    /// It names charter heads that are not here. It may count when they come.
    UnknownHeads,
    /// Its author had no right to write at its charter heads.
    NoRight,
    /// This removal does not list it.
    CutOff(StatementId),
    /// Its line forks at or before it.
    Fork,
}

/// Whether a commit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It counts.
    Counted,
    /// It is kept and has no effect.
    SetAside(SetAside),
}

impl Charter {
    /// Judges a commit by all that is known. `forked` says that [`Line::is_forked_at`] holds for it.
    pub fn verdict(&self, commit: &CommitFacts<'_>, forked: bool) -> Verdict {
        match self.right_to(commit) {
            Err(reason) => Verdict::SetAside(reason),
            Ok(()) if forked => Verdict::SetAside(SetAside::Fork),
            Ok(()) => Verdict::Counted,
        }
    }

    fn right_to(&self, commit: &CommitFacts<'_>) -> Result<(), SetAside> {
        let heads = self.positions(commit.heads).ok_or(SetAside::UnknownHeads)?;
        let standing = self.now();
        let held = self.tenures.get(&commit.line.author).into_iter().flatten();
        let mut refusal = SetAside::NoRight;
        for &at in held {
            let writes = self.entries[at].tenure.is_some_and(|tenure| tenure.role.writes());
            if !writes || !standing.stands(at) || !self.knows(&heads, at) {
                continue;
            }
            let removals = standing.removals_of(&commit.line.author);
            let refusals = removals
                .filter(|removal| ends(&self.entries, *removal, at))
                .filter_map(|removal| {
                    if self.knows(&heads, removal) {
                        return Some(SetAside::NoRight);
                    }
                    let entry = &self.entries[removal].entry;
                    let listed = cut_offs(entry.body()).is_some_and(|list| accepts(list, commit));
                    (!listed).then(|| SetAside::CutOff(entry.id()))
                });
            // The reason must not depend on what came first, either.
            let refused = refusals.min();
            match refused {
                None => return Ok(()),
                Some(reason) => refusal = refusal.max(reason),
            }
        }
        Err(refusal)
    }

    /// What standing removals list of a line: its fixed points, to judge a fork by.
    pub fn pins(&self, line: &LineId) -> Vec<CutOff> {
        let standing = self.now();
        let mut pins: Vec<_> = standing
            .removals_of(&line.author)
            .filter_map(|removal| cut_offs(self.entries[removal].entry.body()))
            .filter_map(|list| find(list, &line.actor))
            .copied()
            .collect();
        pins.sort_unstable();
        pins.dedup();
        pins
    }
}

pub(super) fn cut_offs(body: &Body) -> Option<&[CutOff]> {
    match body {
        Body::Revoke { cut_offs, .. } | Body::Succeed { cut_offs, .. } => Some(cut_offs),
        _ => None,
    }
}

pub(super) fn find<'l>(list: &'l [CutOff], actor: &ActorId) -> Option<&'l CutOff> {
    list.binary_search_by_key(actor, |cut| cut.actor)
        .ok()
        .map(|at| &list[at])
}

fn accepts(list: &[CutOff], commit: &CommitFacts<'_>) -> bool {
    find(list, &commit.line.actor)
        .is_some_and(|cut| commit.seq < cut.seq || (commit.seq, commit.id) == (cut.seq, cut.commit))
}

/// The commits of one line that are known, to find where it forks.
#[derive(Debug, Clone, Default)]
pub struct Line {
    commits: BTreeMap<u64, BTreeMap<StatementId, Option<StatementId>>>,
}

impl Line {
    /// Takes in a commit and the one that it follows on the line.
    pub fn insert(&mut self, seq: u64, commit: StatementId, previous: Option<StatementId>) {
        self.commits.entry(seq).or_default().insert(commit, previous);
    }

    /// The lowest number that two different commits have.
    pub fn fork(&self) -> Option<u64> {
        let mut numbers = self.commits.iter();
        numbers
            .find(|(_, commits)| commits.len() > 1)
            .map(|(seq, _)| *seq)
    }

    /// True when the fork of this line sets the commit aside. `pins` are [`Charter::pins`] of the line.
    pub fn is_forked_at(&self, seq: u64, commit: &StatementId, pins: &[CutOff]) -> bool {
        self.fork().is_some_and(|fork| fork <= seq) && !self.pinned(pins).contains(commit)
    }

    /// The commits that lead up to one of the pins.
    pub fn pinned(&self, pins: &[CutOff]) -> BTreeSet<StatementId> {
        let mut pinned = BTreeSet::new();
        for pin in pins {
            let (mut seq, mut next) = (pin.seq, Some(pin.commit));
            while let Some(commit) = next {
                let Some(previous) = self.commits.get(&seq).and_then(|row| row.get(&commit)) else {
                    break;
                };
                if !pinned.insert(commit) {
                    break;
                }
                next = *previous;
                seq = seq.saturating_sub(1);
            }
        }
        pinned
    }
}

#[cfg(test)]
mod tests {
    use super::super::cast::{Person, cut, merge};
    use super::super::{Role, cast};
    use super::*;

    fn commit(id: u8, author: NodeId, actor: u8, seq: u64, heads: &[StatementId]) -> CommitFacts<'_> {
        CommitFacts {
            id: StatementId::from_bytes([id; 32]),
            line: LineId {
                author,
                actor: ActorId::from_bytes([actor; 16]),
            },
            seq,
            heads,
        }
    }

    #[test]
    fn the_matrix_of_roles_and_commits() {
        let [a, b] = [1, 2].map(Person::new);
        for (role, _, _) in Role::ALL {
            let mut charter = a.found(1);
            let before = charter.heads();
            a.grants(&mut charter, &b, *role);
            let after = charter.heads();
            let verdict = |heads: &[StatementId]| charter.verdict(&commit(1, b.node(), 1, 1, heads), false);
            let want = match role.writes() {
                true => Verdict::Counted,
                false => Verdict::SetAside(SetAside::NoRight),
            };
            assert_eq!(verdict(&after), want, "{role}");
            assert_eq!(
                verdict(&before),
                Verdict::SetAside(SetAside::NoRight),
                "before it was let in"
            );
            assert_eq!(verdict(&[]), Verdict::SetAside(SetAside::NoRight));
            let unknown = [StatementId::from_bytes([9; 32])];
            assert_eq!(verdict(&unknown), Verdict::SetAside(SetAside::UnknownHeads));
            let forked = charter.verdict(&commit(1, a.node(), 1, 1, &after), true);
            assert_eq!(forked, Verdict::SetAside(SetAside::Fork));
        }
    }

    #[test]
    fn a_removal_accepts_what_it_lists_and_no_more() {
        let [a, b] = [1, 2].map(Person::new);
        let mut charter = a.found(1);
        a.grants(&mut charter, &b, Role::Writer);
        let heads = charter.heads();
        let removal = a.revokes(&mut charter, &b, &[cut(1, 5, 50)]);
        let aside = Verdict::SetAside(SetAside::CutOff(removal));
        for (id, actor, seq, want) in [
            (10, 1, 1, Verdict::Counted),
            (40, 1, 4, Verdict::Counted),
            (50, 1, 5, Verdict::Counted),
            (51, 1, 5, aside),
            (60, 1, 6, aside),
            (10, 2, 1, aside),
        ] {
            let got = charter.verdict(&commit(id, b.node(), actor, seq, &heads), false);
            assert_eq!(got, want, "actor {actor} number {seq}");
        }
        let after = charter.heads();
        let got = charter.verdict(&commit(10, b.node(), 1, 1, &after), false);
        assert_eq!(
            got,
            Verdict::SetAside(SetAside::NoRight),
            "it knew that it was out"
        );
        let others = charter.verdict(&commit(10, a.node(), 1, 9, &heads), false);
        assert_eq!(others, Verdict::Counted);
    }

    #[test]
    fn of_several_removals_the_lowest_holds() {
        let [a, b, c] = [1, 2, 3].map(Person::new);
        let mut charter = a.found(1);
        a.grants(&mut charter, &b, Role::Admin);
        a.grants(&mut charter, &c, Role::Writer);
        let (heads, mut other) = (charter.heads(), charter.clone());
        a.revokes(&mut charter, &c, &[cut(1, 5, 50)]);
        let lower = b.revokes(&mut other, &c, &[cut(1, 3, 30)]);
        merge(&mut charter, &other);
        let verdict = |id, seq| charter.verdict(&commit(id, c.node(), 1, seq, &heads), false);
        assert_eq!(verdict(30, 3), Verdict::Counted);
        assert_eq!(verdict(40, 4), Verdict::SetAside(SetAside::CutOff(lower)));
    }

    #[test]
    fn a_void_removal_cuts_nothing_off() {
        let [a, b, c] = [1, 2, 3].map(Person::new);
        let mut charter = a.found(1);
        a.grants(&mut charter, &b, Role::Admin);
        a.grants(&mut charter, &c, Role::Writer);
        let (heads, mut other) = (charter.heads(), charter.clone());
        b.revokes(&mut other, &c, &[]);
        merge(&mut charter, &other);
        let late = commit(1, c.node(), 1, 1, &heads);
        assert_ne!(charter.verdict(&late, false), Verdict::Counted);
        let mut removed = other.clone();
        let before_removal = {
            let mut earlier = a.found(1);
            a.grants(&mut earlier, &b, Role::Admin);
            a.grants(&mut earlier, &c, Role::Writer);
            a.revokes(&mut earlier, &b, &[]);
            earlier
        };
        merge(&mut removed, &before_removal);
        assert_eq!(removed.verdict(&late, false), Verdict::Counted);
    }

    #[test]
    fn a_better_grant_that_no_removal_ends_keeps_its_commits() {
        let [a, b, c] = [1, 2, 3].map(Person::new);
        let mut charter = a.found(1);
        a.grants(&mut charter, &b, Role::Admin);
        b.grants(&mut charter, &c, Role::Writer);
        let (lesser, mut other) = (charter.heads(), charter.clone());
        // The creator makes it an admin while the other admin removes the writer.
        a.grants(&mut charter, &c, Role::Admin);
        let better = charter.heads();
        let removal = b.revokes(&mut other, &c, &[]);
        merge(&mut charter, &other);
        let role = charter.role(&c.node());
        let verdict = |heads: &[StatementId]| charter.verdict(&commit(1, c.node(), 1, 1, heads), false);
        assert_eq!(verdict(&lesser), Verdict::SetAside(SetAside::CutOff(removal)));
        // Which of the two admins of one depth ranks higher, their ids say.
        match role {
            Some(Role::Admin) => assert_eq!(verdict(&better), Verdict::Counted),
            _ => assert_eq!(verdict(&better), Verdict::SetAside(SetAside::CutOff(removal))),
        }
    }

    #[test]
    fn a_fork_sets_the_line_aside_from_there_on() {
        let id = |n: u8| StatementId::from_bytes([n; 32]);
        let mut line = Line::default();
        for seq in 1..=4u8 {
            line.insert(u64::from(seq), id(seq), (seq > 1).then(|| id(seq - 1)));
        }
        assert_eq!(line.fork(), None);
        assert!(!line.is_forked_at(4, &id(4), &[]));
        line.insert(3, id(33), Some(id(2)));
        line.insert(4, id(34), Some(id(33)));
        assert_eq!(line.fork(), Some(3));
        for (seq, commit, forked) in [(2, 2, false), (3, 3, true), (3, 33, true), (4, 34, true)] {
            assert_eq!(line.is_forked_at(seq, &id(commit), &[]), forked, "{commit}");
        }
        let pins = [CutOff {
            actor: ActorId::from_bytes([1; 16]),
            seq: 4,
            commit: id(34),
        }];
        for (seq, commit, forked) in [
            (2, 2, false),
            (3, 33, false),
            (4, 34, false),
            (3, 3, true),
            (4, 4, true),
        ] {
            assert_eq!(line.is_forked_at(seq, &id(commit), &pins), forked, "{commit}");
        }
        let elsewhere = [cast::cut(1, 9, 99)];
        assert!(
            line.is_forked_at(3, &id(3), &elsewhere),
            "a pin that is not here says nothing"
        );
    }
}
