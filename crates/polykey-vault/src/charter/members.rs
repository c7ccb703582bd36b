//! Members: who is in, in which role, by which grant, and who is out again.
//!
//! A node may hold several grants; its role is the best of those that live. All questions have two forms:
//! by all that is known, and as somebody saw it at given heads.

use std::collections::BTreeMap;

use polykey_core::Timestamp;
use polykey_core::id::{NodeId, StatementId};

use super::entry::{Body, DeviceKey, MemberKeys, Sealed};
use super::role::Role;
use super::standing::{Authority, Rank, Standing};
use super::{Charter, recovery_of};

/// A node that is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The node.
    pub node: NodeId,
    /// What it may do.
    pub role: Role,
    /// The entry that gives it that role.
    pub grant: StatementId,
    /// Who signed that entry.
    pub granted_by: NodeId,
    /// When, by that author's clock.
    pub since: Timestamp,
}

/// A node that was in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedMember {
    /// The node.
    pub node: NodeId,
    /// What it was allowed to do.
    pub role: Role,
    /// The entry that gave it that role.
    pub grant: StatementId,
    /// The removal, or the succession, that ended it.
    pub ended_by: StatementId,
    /// Who signed that.
    pub by: NodeId,
    /// When, by that author's clock.
    pub at: Timestamp,
    /// The node to which the role moved, when it was a succession.
    pub successor: Option<NodeId>,
}

/// Heads that lack a removal, so that nobody may write under them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the charter heads do not cover the removal {removal}")]
pub struct UncoveredRemoval {
    /// A standing removal that is known here and not there.
    pub removal: StatementId,
}

impl Charter {
    /// All that are in, by node.
    pub fn members(&self) -> Vec<Member> {
        self.members_by(self.now())
    }

    /// All that are in for somebody who knows these heads and no more; `None` when a head is not here.
    pub fn members_at(&self, heads: &[StatementId]) -> Option<Vec<Member>> {
        Some(self.members_by(&*self.standing_at(heads)?))
    }

    /// The role of a node by all that is known.
    pub fn role(&self, node: &NodeId) -> Option<Role> {
        self.best_tenure(self.now(), node)
            .and_then(|at| self.entries[at].tenure)
            .map(|tenure| tenure.role)
    }

    /// The role of a node for somebody who knows these heads and no more.
    pub fn role_at(&self, heads: &[StatementId], node: &NodeId) -> Option<Role> {
        self.best_tenure(&*self.standing_at(heads)?, node)
            .and_then(|at| self.entries[at].tenure)
            .map(|tenure| tenure.role)
    }

    /// All grants that held once and were ended, whose node is out now, by node and then grant.
    pub fn ended_members(&self) -> Vec<EndedMember> {
        let standing = self.now();
        let mut ended: Vec<_> = (0..self.entries.len())
            .filter_map(|at| {
                let tenure = self.entries[at].tenure.filter(|_| standing.stands(at))?;
                let removal = &self.entries[standing.ended[at]?].entry;
                let successor = match removal.body() {
                    Body::Succeed { rotation, .. } => Some(rotation.successor()),
                    _ => None,
                };
                Some(EndedMember {
                    node: tenure.holder,
                    role: tenure.role,
                    grant: self.entries[at].entry.id(),
                    ended_by: removal.id(),
                    by: removal.author(),
                    at: removal.time(),
                    successor,
                })
            })
            .filter(|ended| self.role(&ended.node).is_none())
            .collect();
        ended.sort_by_key(|ended| (ended.node, ended.grant));
        ended
    }

    /// The removals that a node should be told of, by id: they ended what it held. Empty for a member and for
    /// somebody who never was one.
    pub fn removals_of(&self, node: &NodeId) -> Vec<StatementId> {
        if self.role(node).is_some() {
            return Vec::new();
        }
        let standing = self.now();
        let held = self.tenures.get(node).into_iter().flatten();
        let ended = held
            .filter(|at| standing.stands(**at))
            .filter_map(|at| standing.ended[*at]);
        let mut removals: Vec<_> = ended.map(|removal| self.entries[removal].entry.id()).collect();
        removals.sort_unstable();
        removals.dedup();
        removals
    }

    /// True when `key` is a recovery key that may act in this charter.
    pub fn is_recovery_key(&self, key: &NodeId) -> bool {
        self.recovery_anchor(key).is_some()
    }

    /// The newest keys of a member that reads, to seal to.
    pub fn keys_of(&self, node: &NodeId) -> Option<MemberKeys> {
        let standing = self.now();
        let mut keys = self
            .tenures
            .get(node)?
            .iter()
            .filter(|at| standing.lives(&self.entries, **at))
            .filter_map(|at| match self.entries[*at].entry.body() {
                Body::Genesis { keys, .. } => Some(keys),
                Body::Grant { keys, .. } | Body::Succeed { keys, .. } => keys.as_ref(),
                _ => None,
            })
            .max_by_key(|keys| keys.device.number)?
            .clone();
        if let Some(newer) = self.newest_device(standing, node)
            && newer.number > keys.device.number
        {
            keys.device = newer.clone();
        }
        Some(keys)
    }

    fn newest_device(&self, standing: &Standing, node: &NodeId) -> Option<&DeviceKey> {
        let rekeys = self.entries.iter().enumerate();
        rekeys
            .filter(|(at, _)| standing.stands(*at))
            .filter_map(|(_, placed)| match placed.entry.body() {
                Body::Rekey { devices } => devices
                    .binary_search_by_key(node, |d| d.0)
                    .ok()
                    .map(|i| &devices[i].1),
                _ => None,
            })
            .max_by_key(|device| device.number)
    }

    /// Checks that somebody may write under `heads`: every standing removal that is known is among them or
    /// their ancestors.
    ///
    /// # Errors
    /// [`UncoveredRemoval`], also when a head is not here.
    pub fn check_heads(&self, heads: &[StatementId]) -> Result<(), UncoveredRemoval> {
        let known = self.positions(heads);
        let standing = self.now();
        let mut removals: Vec<usize> = standing.removals.values().flatten().copied().collect();
        removals.sort_unstable();
        for removal in removals {
            if !known.as_ref().is_some_and(|heads| self.knows(heads, removal)) {
                let removal = self.entries[removal].entry.id();
                return Err(UncoveredRemoval { removal });
            }
        }
        Ok(())
    }

    /// True when an admin should open an epoch ([`Charter::rekey`]): somebody left of its own will and knows
    /// the newest key, or a member was let in while somebody else opened an epoch and has no key of it.
    pub fn needs_rekey(&self) -> bool {
        let standing = self.now();
        let epochs = self.epoch_heads(standing, &self.all());
        let left = standing.removals.values().flatten().any(|removal| {
            let covered = epochs
                .iter()
                .any(|epoch| self.entries[*epoch].past.contains(*removal));
            self.entries[*removal].is_farewell() && !covered
        });
        left || epochs.iter().any(|epoch| self.lacks_share(standing, *epoch))
    }

    fn lacks_share(&self, standing: &Standing, epoch: usize) -> bool {
        let Sealed::Epoch(sealed) = self.entries[epoch].entry.sealed() else {
            return false;
        };
        let mut readers = self.tenures.iter().filter(|(_, held)| {
            let mut live = held.iter().filter(|at| standing.lives(&self.entries, **at));
            live.any(|at| self.entries[*at].tenure.is_some_and(|tenure| tenure.role.reads()))
        });
        readers.any(|(node, held)| {
            let share = sealed
                .shares
                .binary_search_by_key(node, |share| share.node)
                .is_ok();
            // Whoever was let in after the epoch had opened was given its key in the grant.
            let bundle = held.iter().any(|at| self.entries[*at].past.contains(epoch));
            !share && !bundle
        })
    }

    fn members_by(&self, standing: &Standing) -> Vec<Member> {
        let mut members = BTreeMap::new();
        for node in self.tenures.keys() {
            let Some(at) = self.best_tenure(standing, node) else {
                continue;
            };
            let (entry, tenure) = (&self.entries[at].entry, self.entries[at].tenure);
            let role = tenure.expect("a tenure was found").role;
            members.insert(
                *node,
                Member {
                    node: *node,
                    role,
                    grant: entry.id(),
                    granted_by: entry.author(),
                    since: entry.time(),
                },
            );
        }
        members.into_values().collect()
    }

    /// The living grant of `node` with the best role and then rank.
    pub(super) fn best_tenure(&self, standing: &Standing, node: &NodeId) -> Option<usize> {
        let held = self.tenures.get(node)?.iter().copied();
        held.filter(|at| standing.lives(&self.entries, *at))
            .min_by_key(|at| self.entries[*at].tenure.map(|tenure| (tenure.role, tenure.rank)))
    }

    /// What the recovery key `key` acts under, when it is one and was not moved.
    pub(super) fn recovery_anchor(&self, key: &NodeId) -> Option<usize> {
        let standing = self.now();
        (0..self.entries.len()).find(|at| {
            let placed = &self.entries[*at];
            let Some(tenure) = placed.tenure.filter(|tenure| tenure.crown) else {
                return false;
            };
            let moved = standing.removals_of(&tenure.holder).any(|removal| {
                self.entries[removal].authority == Authority::Crown && self.entries[removal].under == *at
            });
            recovery_of(&placed.entry) == Some(*key) && standing.stands(*at) && !moved
        })
    }

    /// The best that `signer` may act under, and its rank.
    pub(super) fn authority_of(&self, signer: &NodeId) -> Option<(usize, Rank, Role)> {
        if let Some(at) = self.recovery_anchor(signer) {
            return Some((at, Rank::RECOVERY, Role::Admin));
        }
        let at = self.best_tenure(self.now(), signer)?;
        let tenure = self.entries[at].tenure?;
        Some((at, tenure.rank, tenure.role))
    }
}

#[cfg(test)]
mod tests {
    use super::super::cast::{Person, merge, time};
    use super::*;

    #[test]
    fn members_are_who_is_in_with_the_best_of_their_roles() {
        let [a, b, c] = [1, 2, 3].map(Person::new);
        let mut charter = a.found(1);
        a.grants(&mut charter, &b, Role::Reader);
        let better = a.grants(&mut charter, &b, Role::Writer);
        a.grants(&mut charter, &c, Role::Keeper);
        let shown: Vec<_> = charter
            .members()
            .iter()
            .map(|m| (m.node, m.role, m.granted_by))
            .collect();
        let mut want = vec![
            (a.node(), Role::Admin, a.node()),
            (b.node(), Role::Writer, a.node()),
            (c.node(), Role::Keeper, a.node()),
        ];
        want.sort();
        assert_eq!(shown, want);
        let b_now = charter
            .members()
            .into_iter()
            .find(|m| m.node == b.node())
            .unwrap();
        assert_eq!((b_now.grant, b_now.since), (better, time(1)));
    }

    #[test]
    fn a_removed_member_is_shown_as_such_and_told_by_what() {
        let [a, b] = [1, 2].map(Person::new);
        let mut charter = a.found(1);
        let grant = a.grants(&mut charter, &b, Role::Writer);
        let before = charter.heads();
        assert!(charter.removals_of(&b.node()).is_empty());
        let removal = a.revokes(&mut charter, &b, &[]);
        assert_eq!(charter.removals_of(&b.node()), [removal]);
        assert_eq!(
            charter.ended_members(),
            [EndedMember {
                node: b.node(),
                role: Role::Writer,
                grant,
                ended_by: removal,
                by: a.node(),
                at: time(2),
                successor: None,
            }]
        );
        assert_eq!(
            charter.role_at(&before, &b.node()),
            Some(Role::Writer),
            "as it was then"
        );
        assert_eq!(charter.role_at(&charter.heads(), &b.node()), None);
        a.grants(&mut charter, &b, Role::Reader);
        assert_eq!(charter.role(&b.node()), Some(Role::Reader));
        assert!(charter.ended_members().is_empty() && charter.removals_of(&b.node()).is_empty());
        assert!(
            charter.removals_of(&Person::new(9).node()).is_empty(),
            "never was in"
        );
        assert_eq!(
            charter.role_at(&[StatementId::from_bytes([0; 32])], &a.node()),
            None
        );
    }

    #[test]
    fn nobody_writes_under_heads_that_lack_a_removal() {
        let [a, b, c] = [1, 2, 3].map(Person::new);
        let mut charter = a.found(1);
        a.grants(&mut charter, &b, Role::Admin);
        a.grants(&mut charter, &c, Role::Writer);
        let (old, mut other) = (charter.heads(), charter.clone());
        assert_eq!(charter.check_heads(&old), Ok(()));
        let removal = a.revokes(&mut charter, &c, &[]);
        a.rekeys(&mut other, &[]);
        let beside = other.heads();
        merge(&mut charter, &other);
        assert_eq!(charter.check_heads(&old), Err(UncoveredRemoval { removal }));
        assert_eq!(charter.check_heads(&beside), Err(UncoveredRemoval { removal }));
        assert_eq!(charter.check_heads(&charter.heads()), Ok(()));
        let unknown = [StatementId::from_bytes([0; 32])];
        assert!(charter.check_heads(&unknown).is_err());
    }

    #[test]
    fn void_removals_need_not_be_covered() {
        let [a, b, c] = [1, 2, 3].map(Person::new);
        let mut charter = a.found(1);
        a.grants(&mut charter, &b, Role::Admin);
        a.grants(&mut charter, &c, Role::Writer);
        let mut other = charter.clone();
        a.revokes(&mut charter, &b, &[]);
        let heads = charter.heads();
        b.revokes(&mut other, &c, &[]);
        merge(&mut charter, &other);
        assert_eq!(charter.check_heads(&heads), Ok(()));
        assert_eq!(charter.role(&c.node()), Some(Role::Writer));
    }

    #[test]
    fn the_recovery_key_is_known_until_it_moves() {
        let [a, new] = [1, 2].map(Person::new);
        let mut charter = a.found(1);
        assert!(charter.is_recovery_key(&a.recovery.public()) && !charter.is_recovery_key(&a.node()));
        a.succeeds(&mut charter, &new, &[]);
        assert!(!charter.is_recovery_key(&a.recovery.public()));
        assert!(charter.is_recovery_key(&new.recovery.public()));
    }
}
