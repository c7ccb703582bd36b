//! Rotation: the secrets that somebody who is out may still be able to read.
//!
//! A removal closes what is written after it. What was written before, the removed node may have kept, so
//! the values themselves must be changed. The list shrinks as they are: a value is off it as soon as it was
//! written under keys that the removed node was never given.
//!
//! Always: no content is read; the list follows from which keys reached whom, not from what anybody says.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use polykey_core::{NodeId, SecretPath, Timestamp};

use crate::error::VaultError;
use crate::id::CommitId;
use crate::stored;
use crate::vault::Vault;
use crate::view::{Look, Moment};

/// A secret whose present value somebody who is out may know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposed {
    /// Where it stands.
    pub path: SecretPath,
    /// The counter of its content.
    pub version: u64,
    /// Who may know it, ascending; never empty.
    pub nodes: Vec<NodeId>,
    /// When the first of them was removed, by the clock of whoever did it.
    pub since: Timestamp,
}

impl Vault {
    /// The secrets that should get new values, by path. Looks at every secret when somebody was removed.
    ///
    /// # Errors
    /// [`VaultError::Store`], [`VaultError::CommitDamaged`].
    pub fn rotation(&self) -> Result<Vec<Exposed>, VaultError> {
        let membership = self.shared().membership();
        let charter = &membership.charter;
        let mut removed: BTreeMap<NodeId, Timestamp> = BTreeMap::new();
        for ended in charter.ended_members() {
            // Whoever took a new root key is still the same.
            if ended.role.reads() && ended.successor.is_none() {
                let since = removed.entry(ended.node).or_insert(ended.at);
                *since = ended.at.min(*since);
            }
        }
        if removed.is_empty() {
            return Ok(Vec::new());
        }
        let nodes: BTreeSet<NodeId> = removed.keys().copied().collect();
        let given = charter.given_to(&nodes);
        let mut readers: HashMap<CommitId, Vec<NodeId>> = HashMap::new();
        let mut exposed = Vec::new();
        self.shared().database.read(|tx| {
            let look = Look {
                rows: tx,
                moment: &Moment::Now,
            };
            let mut open = vec![SecretPath::root()];
            while let Some(dir) = open.pop() {
                for (name, secret) in look.shown(&dir)? {
                    let path = dir.join(&polykey_core::Segment::parse(&name)?)?;
                    let Some(secret) = secret else {
                        open.push(path);
                        continue;
                    };
                    let state = look.state(secret)?;
                    let mut nodes = BTreeSet::new();
                    for (rank, _) in &state.contents {
                        let commit = rank.version.commit;
                        let known = match readers.entry(commit) {
                            Entry::Occupied(known) => known.into_mut(),
                            Entry::Vacant(new) => {
                                let (stored, _) = stored::commit_and_row(tx, commit)?
                                    .ok_or(VaultError::CommitDamaged { commit })?;
                                let heads = &stored.header().charter_heads;
                                new.insert(charter.readers_of(heads, &given))
                            }
                        };
                        nodes.extend(known.iter().copied());
                    }
                    if let Some(since) = nodes.iter().map(|node| removed[node]).min() {
                        exposed.push(Exposed {
                            path,
                            version: state.content().map_or(0, |(_, number)| number),
                            nodes: nodes.into_iter().collect(),
                            since,
                        });
                    }
                }
            }
            Ok::<_, VaultError>(())
        })?;
        exposed.sort_by(|a, b| a.path.segments().cmp(b.path.segments()));
        Ok(exposed)
    }
}

#[cfg(test)]
mod tests {
    use crate::charter::Role;
    use crate::trial::Party;

    fn exposed(party: &Party) -> Vec<(String, u64)> {
        let list = party.rotation().expect("looks").into_iter();
        list.map(|e| (e.path.to_string(), e.version)).collect()
    }

    fn want(list: &[(&str, u64)]) -> Vec<(String, u64)> {
        list.iter().map(|(path, n)| ((*path).to_owned(), *n)).collect()
    }

    #[test]
    fn the_list_shrinks_as_values_change() {
        let a = Party::founder();
        a.write("a", b"1");
        a.write("d/b", b"1");
        assert_eq!(exposed(&a), []);
        a.grant(2, Role::Reader);
        a.grant(3, Role::Keeper);
        a.write("c", b"1");
        a.revoke(&crate::trial::identity(3).node()).expect("an admin");
        assert_eq!(exposed(&a), [], "a keeper never had a key");
        let b = crate::trial::identity(2).node();
        a.revoke(&b).expect("an admin");
        assert_eq!(exposed(&a), want(&[("a", 1), ("c", 1), ("d/b", 1)]));
        let first = a.rotation().expect("looks").remove(0);
        let ended = a.ended_members().into_iter().find(|ended| ended.node == b);
        assert_eq!(
            (first.nodes, Some(first.since)),
            (vec![b], ended.map(|ended| ended.at))
        );
        a.write("a", b"2");
        a.write("new", b"1");
        assert_eq!(exposed(&a), want(&[("c", 1), ("d/b", 1)]));
        a.change(None, |change| {
            change.remove(&crate::trial::path("c"), crate::Depth::Single)
        })
        .expect("removed");
        a.change(None, |change| {
            change.rename(&crate::trial::path("d"), &crate::trial::path("e"))
        })
        .expect("moved");
        assert_eq!(exposed(&a), want(&[("e/b", 1)]), "a move is no new value");
        a.grant(2, Role::Reader);
        assert_eq!(exposed(&a), [], "it is in again");
        a.revoke(&b).expect("an admin");
        assert_eq!(exposed(&a), want(&[("a", 2), ("e/b", 1), ("new", 1)]));
    }

    #[test]
    fn who_had_not_heard_of_the_removal_wrote_what_the_removed_node_reads() {
        let a = Party::founder();
        a.grant(2, Role::Reader);
        a.grant(3, Role::Writer);
        let c = Party::joined(3, &a);
        c.pull(&a);
        a.revoke(&crate::trial::identity(2).node()).expect("an admin");
        a.write("from a", b"1");
        c.write("from c", b"1");
        a.pull(&c);
        assert_eq!(exposed(&a), want(&[("from c", 1)]));
        c.pull(&a);
        assert_eq!(exposed(&c), want(&[("from c", 1)]));
        c.write("from c", b"2");
        assert_eq!(exposed(&c), []);
    }
}
