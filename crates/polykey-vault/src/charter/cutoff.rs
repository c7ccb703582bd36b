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
            let mut removals = standing
                .removals_of(&commit.line.author)
                .filter(|removal| ends(&self.entries, *removal, at));
            let refused = removals.find_map(|removal| {
                if self.knows(&heads, removal) {
                    return Some(SetAside::NoRight);
                }
                let entry = &self.entries[removal].entry;
                let listed = cut_offs(entry.body()).is_some_and(|list| accepts(list, commit));
                (!listed).then(|| SetAside::CutOff(entry.id()))
            });
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

fn cut_offs(body: &Body) -> Option<&[CutOff]> {
    match body {
        Body::Revoke { cut_offs, .. } | Body::Succeed { cut_offs, .. } => Some(cut_offs),
        _ => None,
    }
}

fn find<'l>(list: &'l [CutOff], actor: &ActorId) -> Option<&'l CutOff> {
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
