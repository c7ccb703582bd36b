//! Horizons: what a commit had seen.
//!
//! For each actor the number of its last commit that is an ancestor, the commit itself included: a
//! vector clock. One look-up answers whether one commit is an ancestor of another, without a walk.
//!
//! Always: a horizon is a function of the ancestors alone, so every replica computes the same one.

use std::collections::BTreeMap;

use polykey_core::ActorId;
use polykey_core::codec::{CodecError, Reader, Writer};

/// What a commit had seen: actor -> number of its last commit seen, from 1.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Horizon(BTreeMap<ActorId, u64>);

impl Horizon {
    /// True when the commit number `seq` of `actor` lies inside.
    pub fn sees(&self, actor: &ActorId, seq: u64) -> bool {
        self.last(actor) >= seq
    }

    /// The last commit seen of `actor`; 0 when none was.
    pub fn last(&self, actor: &ActorId) -> u64 {
        self.0.get(actor).copied().unwrap_or(0)
    }

    /// True when all that `other` sees is seen here too.
    pub fn covers(&self, other: &Horizon) -> bool {
        other.0.iter().all(|(actor, seq)| self.sees(actor, *seq))
    }

    /// Adds the commit number `seq` of `actor`, and with it all earlier ones.
    pub fn add(&mut self, actor: ActorId, seq: u64) {
        let last = self.0.entry(actor).or_insert(0);
        *last = (*last).max(seq);
    }

    /// Adds all that `other` sees.
    pub fn merge(&mut self, other: &Horizon) {
        for (actor, seq) in &other.0 {
            self.add(*actor, *seq);
        }
    }

    /// Actors and their last commits, in order of actor.
    pub fn iter(&self) -> impl Iterator<Item = (&ActorId, u64)> {
        self.0.iter().map(|(actor, seq)| (actor, *seq))
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        out.array(self.0.len());
        for (actor, seq) in &self.0 {
            out.array(2).bytes(actor.as_bytes()).u64(*seq);
        }
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        let mut horizon = Horizon::default();
        for _ in 0..from.array()? {
            from.array_of(2)?;
            let actor = ActorId::from_bytes(from.bytes_of()?);
            horizon.0.insert(actor, from.u64()?);
        }
        Ok(horizon)
    }
}

impl FromIterator<(ActorId, u64)> for Horizon {
    fn from_iter<I: IntoIterator<Item = (ActorId, u64)>>(items: I) -> Self {
        let mut horizon = Horizon::default();
        for (actor, seq) in items {
            horizon.add(actor, seq);
        }
        horizon
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actor(number: u8) -> ActorId {
        ActorId::from_bytes([number; 16])
    }

    #[test]
    fn a_horizon_sees_all_earlier_commits_of_an_actor() {
        let horizon: Horizon = [(actor(1), 3), (actor(2), 1)].into_iter().collect();
        assert!(horizon.sees(&actor(1), 3) && horizon.sees(&actor(1), 1));
        assert!(!horizon.sees(&actor(1), 4) && !horizon.sees(&actor(3), 1));
    }

    #[test]
    fn merging_takes_the_greater_of_each_actor() {
        let mut a: Horizon = [(actor(1), 3), (actor(2), 1)].into_iter().collect();
        let b: Horizon = [(actor(1), 2), (actor(2), 5)].into_iter().collect();
        assert!(!a.covers(&b) && !b.covers(&a));
        a.merge(&b);
        assert!(a.covers(&b));
        assert_eq!((a.last(&actor(1)), a.last(&actor(2))), (3, 5));
    }
}
