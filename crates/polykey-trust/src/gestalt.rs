//! Gestalts: nodes and identities that are tied together by links which both ends show.
//!
//! A [`Graph`] is made from what the chains say and what was found on pages, and answers three questions: which
//! nodes and identities belong together (a *gestalt*, which informs), which nodes are one *principal* (rights
//! reach those), and what does not add up. When two gestalts merge, nothing is granted.
//!
//! Links between nodes count when both chains hold them; a rotation counts when the new chain says so too; an
//! identity counts when its page was last seen to carry the node's live claim.
//!
//! Always: pure; memory and time grow with the number of claims, whatever their shape.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use polykey_core::{NodeId, StatementId};

use crate::claim::Body;
use crate::identity::IdentityId;
use crate::link::{Link, LinkTerms, LinkType};
use crate::proof::Proof;
use crate::sigchain::Chain;

/// A member of a gestalt.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Vertex {
    /// A node.
    Node(NodeId),
    /// An identity elsewhere.
    Identity(IdentityId),
}

/// What ties two members together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tie {
    /// Both are devices of one principal.
    Device,
    /// Their owners know each other.
    Node,
    /// The node speaks for the identity.
    Identity,
    /// The second node is the first one's successor.
    Successor,
}

impl Tie {
    /// True for what makes nodes one principal.
    fn is_principal(self) -> bool {
        matches!(self, Tie::Device | Tie::Successor)
    }
}

impl From<LinkType> for Tie {
    fn from(kind: LinkType) -> Tie {
        match kind {
            LinkType::Device => Tie::Device,
            LinkType::Node => Tie::Node,
        }
    }
}

/// A link between two members of a gestalt.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bond {
    /// One end: the issuer, the node that speaks, or the predecessor.
    pub from: Vertex,
    /// The other end.
    pub to: Vertex,
    /// What it is.
    pub tie: Tie,
    /// The statement that says so: the link, the identity claim, or the rotation.
    pub id: StatementId,
}

/// What one node's chain says, as far as a graph needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    node: NodeId,
    links: Vec<(StatementId, LinkTerms)>,
    identities: Vec<(StatementId, IdentityId)>,
    removed: BTreeSet<NodeId>,
    parted: BTreeSet<NodeId>,
    successor: Option<(StatementId, NodeId)>,
    predecessors: Vec<(StatementId, NodeId)>,
    is_ended: bool,
    is_doubtful: bool,
}

impl Facts {
    /// What `chain` says. `is_doubtful`: [a fork](crate::book::is_doubtful) is held against it.
    pub fn of(chain: &Chain, is_doubtful: bool) -> Facts {
        Facts {
            node: chain.node(),
            links: chain.links().map(|link| (link.id(), *link.terms())).collect(),
            identities: chain
                .identities()
                .map(|(claim, id)| (claim, id.clone()))
                .collect(),
            removed: chain.removed_devices(),
            parted: parted(chain),
            successor: chain
                .successor()
                .map(|rotation| (rotation.id(), rotation.successor())),
            predecessors: chain
                .predecessors()
                .map(|rotation| (rotation.id(), rotation.node()))
                .collect(),
            is_ended: chain.is_ended(),
            is_doubtful,
        }
    }
}

/// The nodes that a chain says are no devices any more: it removed them, or ended its link with them, and there is no
/// new one.
fn parted(chain: &Chain) -> BTreeSet<NodeId> {
    let node = chain.node();
    let other_end = |link: &Link| match link.terms().kind {
        LinkType::Device => link.other_end(&node),
        LinkType::Node => None,
    };
    let mut parted: BTreeSet<NodeId> = (chain.entries().iter())
        .filter_map(|claim| match claim.body() {
            Body::Link(link) => other_end(link),
            _ => None,
        })
        .collect();
    for linked in chain.links().filter_map(other_end) {
        parted.remove(&linked);
    }
    parted.extend(chain.removed_devices());
    parted
}

/// A connected set of nodes and identities, and what is known about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gestalt {
    /// Its nodes, in order.
    pub nodes: Vec<NodeId>,
    /// Its identities, in order.
    pub identities: Vec<IdentityId>,
    /// What ties them together.
    pub bonds: Vec<Bond>,
    /// What a node of it says and the other end does not: no links, shown so that somebody may ask.
    pub unanswered: Vec<Bond>,
    /// Nodes that named a successor or were ended with their recovery key.
    pub retired: Vec<NodeId>,
    /// Nodes whose chain somebody forked.
    pub doubtful: Vec<NodeId>,
}

/// All that is known of who belongs to whom.
#[derive(Debug, Default)]
pub struct Graph {
    facts: HashMap<NodeId, Facts>,
    vertices: Vec<Vertex>,
    index: HashMap<Vertex, usize>,
    bonds: Vec<Bond>,
    unanswered: Vec<Bond>,
    /// For each vertex, the bonds at it and the vertex at their other end.
    edges: Vec<Vec<(usize, usize)>>,
    /// For each vertex, what it says without an answer, as places in `unanswered`.
    alone: Vec<Vec<usize>>,
}

impl Graph {
    /// The graph of these chains and pages. `others` are members without a chain or a page that shall be there
    /// all the same, such as a node that was trusted and never met.
    pub fn build(
        facts: impl IntoIterator<Item = Facts>,
        proofs: impl IntoIterator<Item = (IdentityId, Proof)>,
        others: impl IntoIterator<Item = Vertex>,
    ) -> Graph {
        let mut graph = Graph {
            facts: facts.into_iter().map(|facts| (facts.node, facts)).collect(),
            ..Graph::default()
        };
        let proofs: BTreeMap<IdentityId, Proof> = proofs.into_iter().collect();
        // In order, so that the same facts always give the same graph.
        let mut all: Vec<Facts> = graph.facts.values().cloned().collect();
        all.sort_by_key(|facts| facts.node);
        for vertex in all.iter().map(|facts| Vertex::Node(facts.node)).chain(others) {
            graph.vertex(vertex);
        }
        graph.tie_nodes(&all);
        graph.tie_successors(&all);
        graph.tie_identities(&all, &proofs);
        graph
    }

    fn vertex(&mut self, vertex: Vertex) -> usize {
        if let Some(place) = self.index.get(&vertex) {
            return *place;
        }
        let place = self.vertices.len();
        self.index.insert(vertex.clone(), place);
        self.vertices.push(vertex);
        self.edges.push(vec![]);
        self.alone.push(vec![]);
        place
    }

    fn bond(&mut self, bond: Bond) {
        let (from, to) = (self.vertex(bond.from.clone()), self.vertex(bond.to.clone()));
        let place = self.bonds.len();
        self.bonds.push(bond);
        self.edges[from].push((place, to));
        self.edges[to].push((place, from));
    }

    /// Notes what the member at one end says alone. The other end does not become a member by it.
    fn says_alone(&mut self, speaker: Vertex, bond: Bond) {
        let place = self.unanswered.len();
        self.unanswered.push(bond);
        let speaker = self.vertex(speaker);
        self.alone[speaker].push(place);
    }

    fn tie_nodes(&mut self, all: &[Facts]) {
        let mut held: BTreeMap<StatementId, (LinkTerms, Vec<NodeId>)> = BTreeMap::new();
        for facts in all {
            for (id, terms) in &facts.links {
                held.entry(*id).or_insert((*terms, vec![])).1.push(facts.node);
            }
        }
        for (id, (terms, holders)) in held {
            let bond = Bond {
                from: Vertex::Node(terms.issuer),
                to: Vertex::Node(terms.subject),
                tie: terms.kind.into(),
                id,
            };
            if holders.contains(&terms.issuer) && holders.contains(&terms.subject) {
                self.bond(bond);
            } else {
                self.says_alone(Vertex::Node(holders[0]), bond);
            }
        }
    }

    fn tie_successors(&mut self, all: &[Facts]) {
        for facts in all {
            let Some((id, successor)) = facts.successor else {
                continue;
            };
            let bond = Bond {
                from: Vertex::Node(facts.node),
                to: Vertex::Node(successor),
                tie: Tie::Successor,
                id,
            };
            let is_answered = self
                .facts
                .get(&successor)
                .is_some_and(|next| next.predecessors.contains(&(id, facts.node)));
            if is_answered {
                self.bond(bond);
            } else {
                self.says_alone(Vertex::Node(facts.node), bond);
            }
        }
    }

    fn tie_identities(&mut self, all: &[Facts], proofs: &BTreeMap<IdentityId, Proof>) {
        for facts in all {
            for (claim, identity) in &facts.identities {
                let bond = Bond {
                    from: Vertex::Node(facts.node),
                    to: Vertex::Identity(identity.clone()),
                    tie: Tie::Identity,
                    id: *claim,
                };
                let want = Proof {
                    node: facts.node,
                    claim: *claim,
                };
                if proofs.get(identity) == Some(&want) {
                    self.bond(bond);
                } else {
                    self.says_alone(Vertex::Node(facts.node), bond);
                }
            }
        }
    }

    /// True when the member is known.
    pub fn contains(&self, vertex: &Vertex) -> bool {
        self.index.contains_key(vertex)
    }

    /// The gestalt of a member; `None` when it is not known.
    pub fn gestalt(&self, vertex: &Vertex) -> Option<Gestalt> {
        let start = *self.index.get(vertex)?;
        let mut seen = HashSet::from([start]);
        let mut members = vec![start];
        let mut next = 0;
        while let Some(at) = members.get(next).copied() {
            next += 1;
            let ends = self.edges[at].iter().map(|(_, to)| *to);
            members.extend(ends.filter(|to| seen.insert(*to)));
        }
        Some(self.describe(&members))
    }

    /// All gestalts, each once, in the order of their least members.
    pub fn gestalts(&self) -> Vec<Gestalt> {
        let mut group: Vec<usize> = (0..self.vertices.len()).collect();
        for bond in &self.bonds {
            let [a, b] = [&bond.from, &bond.to].map(|end| root(&mut group, self.index[end]));
            group[a.max(b)] = a.min(b);
        }
        let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for at in 0..self.vertices.len() {
            members.entry(root(&mut group, at)).or_default().push(at);
        }
        let mut all: Vec<_> = members.values().map(|members| self.describe(members)).collect();
        all.sort_by(|a, b| {
            (a.nodes.is_empty(), &a.nodes, &a.identities).cmp(&(b.nodes.is_empty(), &b.nodes, &b.identities))
        });
        all
    }

    fn describe(&self, members: &[usize]) -> Gestalt {
        let mut gestalt = Gestalt::default();
        let mut bonds = BTreeSet::new();
        for at in members {
            bonds.extend(self.edges[*at].iter().map(|(bond, _)| *bond));
            let alone = self.alone[*at]
                .iter()
                .map(|place| self.unanswered[*place].clone());
            gestalt.unanswered.extend(alone);
            match &self.vertices[*at] {
                Vertex::Identity(identity) => gestalt.identities.push(identity.clone()),
                Vertex::Node(node) => {
                    gestalt.nodes.push(*node);
                    if self.is_retired(node) {
                        gestalt.retired.push(*node);
                    }
                    if self.facts.get(node).is_some_and(|facts| facts.is_doubtful) {
                        gestalt.doubtful.push(*node);
                    }
                }
            }
        }
        gestalt.bonds = bonds.into_iter().map(|bond| self.bonds[bond].clone()).collect();
        gestalt.nodes.sort_unstable();
        gestalt.identities.sort_unstable();
        gestalt.bonds.sort_unstable();
        gestalt.unanswered.sort_unstable();
        gestalt.retired.sort_unstable();
        gestalt.doubtful.sort_unstable();
        gestalt
    }

    /// True when the node named a successor, or its chain was ended with the recovery key: whoever uses its
    /// key now has no rights by it.
    pub fn is_retired(&self, node: &NodeId) -> bool {
        let facts = self.facts.get(node);
        facts.is_some_and(|facts| facts.is_ended || facts.successor.is_some())
    }

    /// The nodes that are one principal with the node that the user confirmed, as seen from there: over `device`
    /// links, and from a node to its successor and back.
    ///
    /// A `device-removed` claim keeps a node out when the remover is as near to the confirmed node as it, or nearer:
    /// so a stolen device cannot put out those that stand before it, and the confirmed node is never put out. Two at
    /// one distance that removed each other are both kept [apart](Graph::principal_and_apart).
    /// A node whose chain was forked brings in nobody and is not brought in; a retired one has no rights, but
    /// ties those that it was tied to.
    pub fn principal(&self, confirmed: &NodeId) -> BTreeSet<NodeId> {
        self.principal_and_apart(confirmed).0
    }

    /// The [principal](Graph::principal), and the nodes that would be of it but for the word of one that is no nearer
    /// to the confirmed node than they are: whose word is the owner's is not known, so they are given nothing, and
    /// nothing is taken from them.
    pub fn principal_and_apart(&self, confirmed: &NodeId) -> (BTreeSet<NodeId>, BTreeSet<NodeId>) {
        let mut reached = HashSet::from([*confirmed]);
        let mut barred: HashSet<NodeId> = HashSet::new();
        let mut apart: BTreeSet<NodeId> = BTreeSet::new();
        let mut level = vec![*confirmed];
        while !level.is_empty() {
            let out = self.removed_among(&level);
            level.retain(|node| !out.contains(node));
            reached.retain(|node| !out.contains(node));
            barred.extend(&out);
            apart.extend(&out);
            for facts in level.iter().filter_map(|node| self.facts.get(node)) {
                barred.extend(&facts.removed);
            }
            let mut next = vec![];
            for node in level.iter().filter(|node| !self.is_doubtful(node)) {
                let Some(place) = self.index.get(&Vertex::Node(*node)) else {
                    continue;
                };
                for (bond, to) in &self.edges[*place] {
                    if let (true, Vertex::Node(other)) =
                        (self.bonds[*bond].tie.is_principal(), &self.vertices[*to])
                        && !barred.contains(other)
                        && !self.is_doubtful(other)
                        && reached.insert(*other)
                    {
                        next.push(*other);
                    }
                }
            }
            level = next;
        }
        let has_rights = |node: &NodeId| !self.is_retired(node);
        (reached.into_iter().filter(has_rights).collect(), apart)
    }

    /// Those of `level` that others of it removed. The word of one that is removed does not count, but where they
    /// removed each other.
    fn removed_among(&self, level: &[NodeId]) -> HashSet<NodeId> {
        let all: HashSet<NodeId> = level.iter().copied().collect();
        let said = |by: &NodeId| {
            let facts = self.facts.get(by);
            let removed = facts.into_iter().flat_map(|facts| &facts.removed);
            removed
                .filter(|node| all.contains(*node) && *node != by)
                .copied()
                .collect::<Vec<_>>()
        };
        // By how many each was removed whose word may yet count.
        let mut accused: HashMap<NodeId, usize> = HashMap::new();
        for node in level.iter().flat_map(said) {
            *accused.entry(node).or_default() += 1;
        }
        let mut out = HashSet::new();
        let mut clear: Vec<NodeId> = (level.iter().copied())
            .filter(|node| !accused.contains_key(node))
            .collect();
        while let Some(by) = clear.pop() {
            for node in said(&by) {
                if !out.insert(node) {
                    continue;
                }
                // Its own word counts for nothing.
                for silenced in said(&node) {
                    if let Some(left) = accused.get_mut(&silenced) {
                        *left -= 1;
                        if *left == 0 && !out.contains(&silenced) {
                            clear.push(silenced);
                        }
                    }
                }
            }
        }
        // What is left are circles, and those whom they removed.
        out.extend(
            accused
                .into_iter()
                .filter(|(_, by)| *by > 0)
                .map(|(node, _)| node),
        );
        out
    }

    /// The nodes that are none of `nodes` any more, by the word of one of them: it removed them, or ended its device
    /// link with them.
    pub fn parted(&self, nodes: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
        let said = nodes.iter().filter_map(|node| self.facts.get(node));
        said.flat_map(|facts| &facts.parted)
            .filter(|node| !nodes.contains(*node))
            .copied()
            .collect()
    }

    /// The nodes that one of `nodes` still calls its device, and that say of it that they are none any more.
    pub fn leaving(&self, nodes: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
        let says = |node: &NodeId| {
            let place = self.index.get(&Vertex::Node(*node));
            let alone = place.map_or(&[][..], |place| &self.alone[*place]).iter();
            let links = alone
                .map(|bond| &self.unanswered[*bond])
                .filter(|bond| bond.tie == Tie::Device);
            let ends = links.flat_map(|bond| [&bond.from, &bond.to]);
            ends.filter_map(|end| match end {
                Vertex::Node(other) if !nodes.contains(other) => Some((*node, *other)),
                _ => None,
            })
            .collect::<Vec<_>>()
        };
        let denies = |(node, other): &(NodeId, NodeId)| {
            let facts = self.facts.get(other);
            facts.is_some_and(|facts| facts.parted.contains(node))
        };
        let all = nodes.iter().flat_map(says);
        all.filter(denies).map(|(_, other)| other).collect()
    }

    /// The nodes that were tied to the one that the user confirmed by one of `removed` alone, and are not any more.
    pub fn beyond(&self, confirmed: &NodeId, removed: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
        let kept = self.tied([*confirmed].into(), removed);
        let beyond = self.tied(removed.clone(), &kept);
        beyond.difference(removed).copied().collect()
    }

    /// The nodes that these are tied to as one principal, whatever was said since, on ways that do not lead over
    /// `without`.
    fn tied(&self, from: BTreeSet<NodeId>, without: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
        let mut next: Vec<NodeId> = from.iter().copied().collect();
        let mut reached = from;
        while let Some(node) = next.pop() {
            let place = self.index.get(&Vertex::Node(node));
            for (bond, to) in place.map_or(&[][..], |place| &self.edges[*place]) {
                if let (true, Vertex::Node(other)) =
                    (self.bonds[*bond].tie.is_principal(), &self.vertices[*to])
                    && !without.contains(other)
                    && reached.insert(*other)
                {
                    next.push(*other);
                }
            }
        }
        reached
    }

    /// The nodes whose successor `node` is, as both say.
    pub fn former(&self, node: &NodeId) -> BTreeSet<NodeId> {
        let place = self.index.get(&Vertex::Node(*node));
        let bonds = place.map_or(&[][..], |place| &self.edges[*place]).iter();
        bonds
            .map(|(bond, _)| &self.bonds[*bond])
            .filter(|bond| bond.tie == Tie::Successor && bond.to == Vertex::Node(*node))
            .filter_map(|bond| match &bond.from {
                Vertex::Node(former) => Some(*former),
                Vertex::Identity(_) => None,
            })
            .collect()
    }

    /// True when somebody forked the chain of the node: who uses its key now is not known.
    pub fn is_doubtful(&self, node: &NodeId) -> bool {
        self.facts.get(node).is_some_and(|facts| facts.is_doubtful)
    }

    /// The identities for which a node speaks directly.
    pub fn identities_of(&self, node: &NodeId) -> BTreeSet<IdentityId> {
        let place = self.index.get(&Vertex::Node(*node));
        let ends = place.into_iter().flat_map(|place| &self.edges[*place]);
        ends.filter_map(|(_, to)| match &self.vertices[*to] {
            Vertex::Identity(identity) => Some(identity.clone()),
            Vertex::Node(_) => None,
        })
        .collect()
    }

    /// The nodes that a member stands for when the user names it: a node for itself, an identity for the nodes
    /// that speak for it directly. Nobody else of the gestalt.
    pub fn named(&self, vertex: &Vertex) -> Vec<NodeId> {
        match (vertex, self.index.get(vertex)) {
            (Vertex::Node(node), _) => vec![*node],
            (Vertex::Identity(_), None) => vec![],
            (Vertex::Identity(_), Some(place)) => {
                let nodes: BTreeSet<_> = self.edges[*place]
                    .iter()
                    .filter_map(|(_, to)| match &self.vertices[*to] {
                        Vertex::Node(node) => Some(*node),
                        Vertex::Identity(_) => None,
                    })
                    .collect();
                nodes.into_iter().collect()
            }
        }
    }
}

/// The least member of the group of `at`. Halves the way each time, so that long ways stay short.
fn root(group: &mut [usize], mut at: usize) -> usize {
    while group[at] != at {
        group[at] = group[group[at]];
        at = group[at];
    }
    at
}

#[cfg(test)]
mod tests;
