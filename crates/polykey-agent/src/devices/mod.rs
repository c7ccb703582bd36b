//! Devices: the nodes of one person or agent, which are one principal.
//!
//! [`pairing`] makes a node a device of this one: with a ticket, or with a few [`words`], a `device` link is signed by both. [`principals`]
//! follows in the vaults what sigchains say of devices, of the user's own and of others', and lets them in and takes
//! them out, and [`removal`] undoes a pairing, with what [`elsewhere`] is left to others. [`hidden`] is the vault that own devices share, and [`step`] keeps what belongs to the person in step
//! through it. [`shared`] brings in what own devices hold, and [`told`] is what the user is told of them.
//!
//! Always: only `device` claims make nodes one principal, as [`Principal::of`] sees it from a node that the user
//! confirmed; identities and other links give no right.

pub mod elsewhere;
#[cfg(test)]
mod following;
pub mod hidden;
pub mod names;
pub mod pairing;
pub mod principals;
pub mod removal;
pub mod shared;
pub mod step;
pub mod told;
pub mod words;

use std::collections::BTreeSet;
use std::sync::Mutex;

use polykey_api::Problem;
use polykey_core::NodeId;
use polykey_trust::gestalt::Graph;
use polykey_trust::link::LinkType;
use polykey_trust::sigchain::Chain;

use crate::node::Node;

/// So many devices of one principal are let in by themselves; the rest of what it claims is not.
pub const MAX_DEVICES: usize = 32;

/// What keeps work on devices in line.
#[derive(Default)]
pub struct Turns {
    /// Held while vaults follow principals.
    pub following: Mutex<()>,
    /// Held while the hidden vault and the node are compared.
    pub stepping: Mutex<()>,
    /// Held while the user is told of devices.
    pub telling: Mutex<()>,
    /// The words that are shown for a new device.
    pub words: Mutex<Option<words::Shown>>,
    /// Held while vaults of own devices are brought in.
    pub bringing: tokio::sync::Mutex<()>,
}

/// The nodes at the other ends of the device links that a chain holds.
pub fn linked(chain: &Chain) -> impl Iterator<Item = NodeId> {
    let node = chain.node();
    chain
        .links()
        .filter(|link| link.terms().kind == LinkType::Device)
        .filter_map(move |link| link.other_end(&node))
}

/// The nodes that are one principal with `confirmed`, as seen from there, those that one of them removed, and those about
/// whom they disagree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Principal {
    /// Its nodes; the confirmed one is among them while it has rights.
    pub nodes: BTreeSet<NodeId>,
    /// Nodes that are none of it any more, by the word of those that are.
    pub removed: BTreeSet<NodeId>,
    /// Nodes that are none of it by the word of one that is no nearer: they are given nothing, and keep what they have.
    pub apart: BTreeSet<NodeId>,
    /// Nodes that only removed ones had tied to it.
    pub beyond: BTreeSet<NodeId>,
    /// Nodes that say themselves that they are none of it any more. Whether their owner says so is not known, so they
    /// keep what they have until a user removes them.
    pub left: BTreeSet<NodeId>,
}

impl Principal {
    /// The principal of a node that the user confirmed.
    pub fn of(graph: &Graph, confirmed: &NodeId) -> Principal {
        let (all, apart) = graph.principal_and_apart(confirmed);
        let mut removed = graph.parted(&all);
        removed.retain(|node| !apart.contains(node));
        let beyond = match removed.is_empty() {
            true => BTreeSet::new(),
            false => graph.beyond(confirmed, &removed),
        };
        let mut left = graph.leaving(&all);
        left.retain(|node| !removed.contains(node) && !apart.contains(node));
        let nodes = match all.len() > MAX_DEVICES {
            false => all,
            true => {
                let itself = all.get(confirmed).copied();
                itself.into_iter().chain(all).take(MAX_DEVICES).collect()
            }
        };
        Principal {
            nodes,
            removed,
            apart,
            beyond,
            left,
        }
    }
}

/// What is known here of a node and its devices, to see whether it changed: who they are, and which keys they have.
///
/// # Errors
/// What the store says.
pub fn seen(node: &Node, who: &NodeId) -> Result<(Principal, Vec<Option<u64>>), Problem> {
    let principal = Principal::of(&node.gestalts.view()?.graph, who);
    let keys = principal.nodes.iter().map(|device| {
        let record = node.contacts.find(device)?.record?;
        Some(record.number())
    });
    let keys = keys.collect();
    Ok((principal, keys))
}

/// The principal of this node.
///
/// # Errors
/// What the store says.
pub fn own(node: &Node) -> Result<Principal, Problem> {
    Ok(Principal::of(&node.gestalts.view()?.graph, &node.id()))
}

/// The other devices of this node's principal.
///
/// # Errors
/// What the store says.
pub fn others(node: &Node) -> Result<BTreeSet<NodeId>, Problem> {
    let mut nodes = own(node)?.nodes;
    nodes.remove(&node.id());
    Ok(nodes)
}

/// True when `other` is another device of this node's principal.
///
/// # Errors
/// What the store says.
pub fn is_own(node: &Node, other: &NodeId) -> Result<bool, Problem> {
    Ok(node.contacts.is_contact(other) && others(node)?.contains(other))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use polykey_core::statement::{Kind, Statement};
    use polykey_trust::book::Source;
    use polykey_trust::claim::{Body, Claim};
    use polykey_trust::link::{InvitationId, Link, Proposal};

    use super::*;
    use crate::chains::cast::{Life, time};
    use crate::chains::learn::{Kept, keep};
    use crate::peer::bench::Bench;

    /// A link between two lives, signed by both.
    fn link(kind: LinkType, a: &Life, b: &Life) -> Link {
        let id = InvitationId::from_bytes([7; 16]);
        let proposal = Proposal::sign(&a.keys.root, kind, b.node(), id, time(5)).expect("of two");
        let half = Statement::verify(Kind::Link, proposal.as_bytes().to_vec()).expect("just signed");
        Link::verify(half.countersign(&b.keys.root).as_bytes().to_vec()).expect("signed by both")
    }

    struct World {
        bench: Bench,
        chains: BTreeMap<NodeId, Chain>,
    }

    impl World {
        fn new(lives: &[&Life]) -> World {
            World {
                bench: Bench::new(),
                chains: lives.iter().map(|life| (life.node(), life.chain())).collect(),
            }
        }

        fn says(&mut self, life: &Life, body: &Body) {
            let chain = self.chains.get_mut(&life.node()).expect("in it");
            life.says(chain, body);
        }

        fn links(&mut self, kind: LinkType, a: &Life, b: &Life) {
            let link = link(kind, a, b);
            for life in [a, b] {
                self.says(life, &Body::Link(Box::new(link.clone())));
            }
        }

        /// The principal of `life` when all chains are known.
        fn of(&self, life: &Life) -> Principal {
            let node = self.bench.node();
            for chain in self.chains.values() {
                let kept = keep(&node, chain.node(), chain.entries().to_vec(), Source::Other);
                assert_eq!(kept, Ok(Kept::Taken));
            }
            Principal::of(&node.gestalts.view().expect("made").graph, &life.node())
        }
    }

    fn nodes(lives: &[&Life]) -> BTreeSet<NodeId> {
        lives.iter().map(|life| life.node()).collect()
    }

    #[test]
    fn device_links_make_a_principal_and_nothing_else_does() {
        let [a, b, c, d] = [(); 4].map(|()| Life::new());
        let mut world = World::new(&[&a, &b, &c, &d]);
        world.links(LinkType::Device, &a, &b);
        world.links(LinkType::Node, &b, &c);
        for life in [&b, &c, &d] {
            world.says(
                life,
                &Body::Identity("github.com:alice".parse().expect("an identity")),
            );
        }
        // One end says it alone.
        let alone = link(LinkType::Device, &d, &b);
        world.says(&d, &Body::Link(Box::new(alone)));
        for life in [&a, &b] {
            assert_eq!(world.of(life).nodes, nodes(&[&a, &b]));
        }
        for life in [&c, &d] {
            assert_eq!(world.of(life).nodes, nodes(&[life]));
        }
    }

    #[test]
    fn a_removed_device_stays_out_and_puts_nobody_out() {
        let [a, b, c] = [(); 3].map(|()| Life::new());
        let mut world = World::new(&[&a, &b, &c]);
        world.links(LinkType::Device, &a, &b);
        world.links(LinkType::Device, &b, &c);
        assert_eq!(world.of(&a).nodes, nodes(&[&a, &b, &c]));
        // Somebody has B and says that A is none: seen from A, it has put out itself alone.
        world.says(&b, &Body::DeviceRemoved(a.node()));
        let seen = world.of(&a);
        assert_eq!(seen.nodes, nodes(&[&a]));
        assert_eq!((seen.removed, seen.left), (nodes(&[]), nodes(&[&b])));
        world.says(&a, &Body::DeviceRemoved(b.node()));
        let seen = world.of(&a);
        assert_eq!((seen.nodes, seen.removed), (nodes(&[&a]), nodes(&[&b])));
        assert_eq!(world.of(&c).removed, nodes(&[&a]));
    }

    #[test]
    fn a_device_that_another_one_removed_is_given_nothing_and_keeps_what_it_has() {
        let [a, b, c] = [(); 3].map(|()| Life::new());
        let mut world = World::new(&[&a, &b, &c]);
        world.links(LinkType::Device, &a, &b);
        world.links(LinkType::Device, &a, &c);
        world.says(&b, &Body::DeviceRemoved(c.node()));
        let seen = world.of(&a);
        assert_eq!((seen.nodes, seen.removed), (nodes(&[&a, &b]), nodes(&[])));
        assert_eq!(seen.apart, nodes(&[&c]));
        // It answers in kind: A's own word is needed.
        world.says(&c, &Body::DeviceRemoved(b.node()));
        let seen = world.of(&a);
        assert_eq!((seen.nodes, seen.removed), (nodes(&[&a]), nodes(&[])));
        assert_eq!(seen.apart, nodes(&[&b, &c]));
        world.says(&a, &Body::DeviceRemoved(c.node()));
        let seen = world.of(&a);
        assert_eq!((seen.nodes, seen.removed), (nodes(&[&a, &b]), nodes(&[&c])));
        assert_eq!(seen.apart, nodes(&[]));
    }

    #[test]
    fn a_link_that_was_revoked_is_a_removal_until_there_is_a_new_one() {
        let [a, b] = [(); 2].map(|()| Life::new());
        let mut world = World::new(&[&a, &b]);
        world.links(LinkType::Device, &a, &b);
        let first = link(LinkType::Device, &a, &b).id();
        world.says(&a, &Body::Revoke(first));
        assert_eq!(world.of(&a).removed, nodes(&[&b]));
        // The same link again is no chain.
        let again = Body::Link(Box::new(link(LinkType::Device, &a, &b)));
        let mut chain = world.chains[&a.node()].clone();
        let claim = Claim::sign(&a.keys.root, None, chain.next_place(), time(9), &again).expect("a claim");
        assert!(chain.push(claim).is_err());
        world.links(LinkType::Device, &b, &a);
        let seen = world.of(&a);
        assert_eq!((seen.nodes, seen.removed), (nodes(&[&a, &b]), nodes(&[])));
    }

    #[test]
    fn a_principal_without_end_is_looked_at_up_to_a_bound() {
        let lives: Vec<Life> = (0..MAX_DEVICES + 5).map(|_| Life::new()).collect();
        let mut world = World::new(&lives.iter().collect::<Vec<_>>());
        for pair in lives.windows(2) {
            world.links(LinkType::Device, &pair[0], &pair[1]);
        }
        let seen = world.of(&lives[0]).nodes;
        assert!(seen.len() <= MAX_DEVICES, "{}", seen.len());
    }
}
