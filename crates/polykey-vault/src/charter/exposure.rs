//! Exposure: what somebody who is out may still be able to read.
//!
//! Whoever was once given the key of an epoch keeps it, and with it all earlier keys that were wrapped
//! under it. A commit is closed to a node only when one of its epochs' keys never reached that node.
//!
//! Always: void entries count, too. A key that was sealed to somebody was given away, whatever became of the
//! entry.

use std::collections::{BTreeMap, BTreeSet};

use polykey_core::id::{NodeId, StatementId};

use super::Charter;
use super::bits::Bits;
use super::entry::{Body, Sealed};

/// The epochs whose keys reached some nodes.
#[derive(Debug)]
pub(crate) struct Given {
    epochs: BTreeMap<NodeId, Bits>,
}

impl Charter {
    /// The epochs whose keys ever reached `nodes`.
    pub(crate) fn given_to(&self, nodes: &BTreeSet<NodeId>) -> Given {
        let mut epochs: BTreeMap<NodeId, Bits> = BTreeMap::new();
        for (at, placed) in self.entries.iter().enumerate() {
            let to: Vec<NodeId> = match placed.entry.body() {
                Body::Grant {
                    node, keys: Some(_), ..
                } => vec![*node],
                Body::Succeed {
                    rotation,
                    keys: Some(_),
                    ..
                } => vec![rotation.successor()],
                _ => match placed.entry.sealed() {
                    Sealed::Epoch(sealed) => sealed.shares.iter().map(|share| share.node).collect(),
                    Sealed::Nothing | Sealed::Bundle(_) => Vec::new(),
                },
            };
            for node in to.iter().filter(|node| nodes.contains(*node)) {
                let given = epochs.entry(*node).or_default();
                given.union(&placed.past);
                given.insert(at);
            }
        }
        Given { epochs }
    }

    /// Which of these nodes can open a commit with these charter heads. Nobody when a head is not here.
    pub(crate) fn readers_of(&self, heads: &[StatementId], given: &Given) -> Vec<NodeId> {
        let Some(epochs) = self.epochs_at(heads) else {
            return Vec::new();
        };
        let epochs: Vec<usize> = epochs.iter().map(|id| self.index[id]).collect();
        let readers = given.epochs.iter();
        readers
            .filter(|(_, given)| epochs.iter().all(|epoch| given.contains(*epoch)))
            .map(|(node, _)| *node)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Role;
    use super::super::cast::{Person, merge};
    use super::*;

    #[track_caller]
    fn check(charter: &Charter, heads: &[StatementId], people: &[&Person]) {
        let nodes = people.iter().map(|who| who.node()).collect();
        let said = charter.readers_of(heads, &charter.given_to(&nodes));
        for who in people {
            let opens = who.open(charter).commit_key(charter, heads).is_ok();
            assert_eq!(said.contains(&who.node()), opens, "what the keys themselves say");
        }
    }

    #[test]
    fn what_is_said_is_what_the_keys_open() {
        let people = [1, 2, 3, 4].map(Person::new);
        let [a, b, c, d] = &people;
        let mut charter = a.found(1);
        let mut moments = vec![charter.heads()];
        a.grants(&mut charter, b, Role::Admin);
        a.grants(&mut charter, c, Role::Reader);
        a.grants(&mut charter, d, Role::Keeper);
        moments.push(charter.heads());
        let mut other = charter.clone();
        a.revokes(&mut charter, b, &[]);
        moments.push(charter.heads());
        // Meanwhile the removed admin removes the reader, and lets somebody in.
        b.revokes(&mut other, c, &[]);
        b.grants(&mut other, d, Role::Writer);
        let beside = other.heads();
        merge(&mut charter, &other);
        moments.extend([charter.heads(), beside]);
        a.revokes(&mut charter, c, &[]);
        moments.push(charter.heads());
        a.grants(&mut charter, c, Role::Reader);
        a.revokes(&mut charter, d, &[]);
        moments.push(charter.heads());
        for heads in moments {
            check(&charter, &heads, &people.each_ref());
        }
        assert!(
            charter
                .readers_of(&[], &charter.given_to(&BTreeSet::new()))
                .is_empty()
        );
    }
}
