//! Shifts: whose commits may count differently after new entries came.
//!
//! Most entries change nothing about commits that are stored: a new grant is known to none of them, and a
//! removal normally lists all that is known of the removed node. So what has to be judged again does not grow
//! with the vault.
//!
//! Always: a commit that is not named here has the verdict that it had. That rests on two things: a stored
//! commit names charter heads that were here when it came, and the heads of a line only move forward.

use std::collections::BTreeMap;

use polykey_core::id::{ActorId, NodeId, StatementId};

use super::Charter;
use super::cutoff::{cut_offs, find};
use super::entry::CutOff;

/// What changed for the commits of one author.
#[derive(Debug, Default)]
pub(crate) struct Shift {
    /// An entry that commits may know stands now and did not, or the other way round.
    flipped: bool,
    /// New standing removals, by what they list.
    removals: Vec<Vec<CutOff>>,
}

impl Shift {
    /// The first number of a line from which on commits must be judged again; `None` when none must.
    /// `commit_at` gives the commit with a number of that line.
    pub(crate) fn first<E>(
        &self,
        actor: &ActorId,
        mut commit_at: impl FnMut(u64) -> Result<Option<StatementId>, E>,
    ) -> Result<Option<u64>, E> {
        if self.flipped {
            return Ok(Some(1));
        }
        let mut first: Option<u64> = None;
        for list in &self.removals {
            let from = match find(list, actor) {
                None => 1,
                Some(cut) if commit_at(cut.seq)? == Some(cut.commit) => cut.seq.saturating_add(1),
                Some(cut) => cut.seq,
            };
            first = Some(first.map_or(from, |first| first.min(from)));
        }
        Ok(first)
    }
}

impl Charter {
    /// Whose commits may count differently here than they did under `older`, which is this charter before
    /// its last entries were inserted.
    pub(crate) fn shifts_since(&self, older: &Charter) -> BTreeMap<NodeId, Shift> {
        let (before, now) = (older.now(), self.now());
        let mut shifts: BTreeMap<NodeId, Shift> = BTreeMap::new();
        for (at, placed) in self.entries.iter().enumerate() {
            let is_new = at >= older.entries.len();
            if before.stands(at) == now.stands(at) {
                continue;
            }
            if let Some(tenure) = placed.tenure.filter(|tenure| tenure.role.writes())
                && !is_new
            {
                shifts.entry(tenure.holder).or_default().flipped = true;
            }
            let Some(node) = placed.removes() else { continue };
            let shift = shifts.entry(node).or_default();
            match cut_offs(placed.entry.body()) {
                Some(list) if is_new => shift.removals.push(list.to_vec()),
                _ => shift.flipped = true,
            }
        }
        shifts
    }

    /// Purges that were here under `older` and stand now although they did not then.
    pub(crate) fn purges_since(&self, older: &Charter) -> Vec<StatementId> {
        let before = older.now();
        let standing = self.purges().filter(|entry| {
            let at = self.index[&entry.id()];
            !before.stands(at)
        });
        standing.map(|entry| entry.id()).collect()
    }
}
