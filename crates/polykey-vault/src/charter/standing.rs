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
    /// For each standing grant, the first standing removal that ends it.
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
            (p.level, !p.is_farewell(), *at)
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
                let by = standing
                    .removals_of(&tenure.holder)
                    .find(|removal| ends(placed, *removal, at));
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
            Authority::Recovery => self.removals_of(&tenure.holder).find(|removal| {
                let crown = placed[*removal].authority == Authority::Crown;
                crown && placed[*removal].under == p.under && missed(removal)
            }),
            Authority::Holder => self.removals_of(&tenure.holder).find(|removal| {
                let both = p.is_farewell() && placed[*removal].is_farewell();
                !both && ends(placed, *removal, p.under) && missed(removal)
            }),
        };
        match ended {
            Some(removal) => Status::Void(Void::Removed(id(removal))),
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
