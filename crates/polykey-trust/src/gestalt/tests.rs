//! Graphs by hand and by chance.

use proptest::prelude::*;

use super::*;
use crate::cast::{Person, link, proposal, tie, time};
use crate::claim::Body;
use crate::link::InvitationId;

fn node(n: usize) -> NodeId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&(n as u64).to_be_bytes());
    NodeId::from_bytes(bytes)
}

fn blank(n: usize) -> Facts {
    Facts {
        node: node(n),
        links: vec![],
        identities: vec![],
        removed: BTreeSet::new(),
        parted: BTreeSet::new(),
        successor: None,
        predecessors: vec![],
        is_ended: false,
        is_doubtful: false,
    }
}

fn held(number: usize, kind: LinkType, a: usize, b: usize) -> (StatementId, LinkTerms) {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&(number as u64).to_be_bytes());
    let terms = LinkTerms {
        kind,
        issuer: node(a),
        subject: node(b),
        invitation: InvitationId::from_bytes([0; 16]),
        created: time(0),
    };
    (StatementId::from_bytes(id), terms)
}

/// Nodes with links (kind, a, b, held by a, held by b).
fn graph(nodes: usize, links: &[(LinkType, usize, usize, bool, bool)]) -> Graph {
    let mut facts: Vec<_> = (0..nodes).map(blank).collect();
    for (number, (kind, a, b, by_a, by_b)) in links.iter().enumerate() {
        for (at, holds) in [(*a, by_a), (*b, by_b)] {
            if *holds {
                facts[at].links.push(held(number, *kind, *a, *b));
            }
        }
    }
    Graph::build(facts, [], [])
}

#[test]
fn a_link_counts_when_both_chains_hold_it() {
    let [a, b, c] = [1, 2, 3].map(Person::new);
    let (mut x, mut y, z) = (a.chain(), b.chain(), c.chain());
    let tied = tie(LinkType::Node, (&a, &mut x), (&b, &mut y), 1);
    // Signed by both, and one of them never put it into its chain.
    let one_sided = link(LinkType::Device, &a, &c, 2);
    a.says(&mut x, &Body::Link(Box::new(one_sided.clone())));
    let facts = || [&x, &y, &z].map(|chain| Facts::of(chain, false));
    let graph = Graph::build(facts(), [], []);
    let ours = graph.gestalt(&Vertex::Node(a.node())).unwrap();
    let mut want = vec![a.node(), b.node()];
    want.sort();
    assert_eq!(ours.nodes, want);
    assert_eq!((ours.bonds.len(), ours.bonds[0].id), (1, tied.id()));
    assert_eq!(
        (ours.unanswered.len(), ours.unanswered[0].id),
        (1, one_sided.id())
    );
    assert_eq!(graph.gestalts().len(), 2);
    assert_eq!(graph.principal(&a.node()), [a.node()].into());
    // Revoked by either end, it is over.
    b.says(&mut y, &Body::Revoke(tied.id()));
    let graph = Graph::build([&x, &y, &z].map(|chain| Facts::of(chain, false)), [], []);
    assert_eq!(graph.gestalts().len(), 3);
    assert!(proposal(LinkType::Node, &a, &b, 1).id() == tied.id());
}

#[test]
fn identities_belong_to_the_node_that_their_page_names() {
    let [a, b] = [1, 2].map(Person::new);
    let (mut x, mut y) = (a.chain(), b.chain());
    let identity: IdentityId = "github.com:alice".parse().unwrap();
    let body = Body::Identity(identity.clone());
    let (mine, _) = (a.says(&mut x, &body), b.says(&mut y, &body));
    let proof = Proof {
        node: a.node(),
        claim: mine.id(),
    };
    let facts = [&x, &y].map(|chain| Facts::of(chain, false));
    let graph = Graph::build(facts, [(identity.clone(), proof)], []);
    let gestalt = graph.gestalt(&Vertex::Identity(identity.clone())).unwrap();
    assert_eq!(gestalt.nodes, [a.node()]);
    assert_eq!(graph.named(&Vertex::Identity(identity.clone())), [a.node()]);
    let other = graph.gestalt(&Vertex::Node(b.node())).unwrap();
    assert_eq!((other.identities.len(), other.unanswered.len()), (0, 1));
    // Without a page there is no identity.
    let graph = Graph::build([Facts::of(&x, false)], [], []);
    assert!(!graph.contains(&Vertex::Identity(identity.clone())));
    assert_eq!(graph.named(&Vertex::Identity(identity)), []);
}

#[test]
fn a_successor_has_to_say_so_too() {
    let [a, b] = [1, 2].map(Person::new);
    let (mut old, mut new) = (a.chain(), b.chain());
    let rotation = a.rotates(&mut old, &b);
    let build =
        |old: &Chain, new: &Chain| Graph::build([old, new].map(|chain| Facts::of(chain, false)), [], []);
    let graph = build(&old, &new);
    assert!(
        graph.principal(&a.node()).is_empty(),
        "nobody uses the old key any more"
    );
    assert_eq!(
        graph.gestalt(&Vertex::Node(a.node())).unwrap().retired,
        [a.node()]
    );
    b.says(&mut new, &Body::Succeed(Box::new(rotation)));
    let graph = build(&old, &new);
    assert_eq!(graph.principal(&a.node()), [b.node()].into());
    assert_eq!(graph.principal(&b.node()), [b.node()].into());
    // Taken back with the recovery key.
    let rotation = old.head().id;
    a.insists(&mut old, &Body::Revoke(rotation), 20);
    let graph = build(&old, &new);
    assert_eq!(graph.principal(&a.node()), [a.node()].into());
}

#[test]
fn a_link_joins_all_of_both_sides() {
    let apart = [(N, 0, 1, true, true), (N, 2, 3, true, true)];
    assert_eq!(graph(4, &apart).gestalts().len(), 2);
    for (a, b) in [(0, 2), (3, 1), (2, 1)] {
        let joined = [&apart[..], &[(N, a, b, true, true)]].concat();
        let graph = graph(4, &joined);
        for n in 0..4 {
            assert_eq!(graph.gestalt(&Vertex::Node(node(n))).unwrap().nodes.len(), 4);
            assert_eq!(graph.principal(&node(n)).len(), 1);
        }
    }
}

const D: LinkType = LinkType::Device;
const N: LinkType = LinkType::Node;

#[test]
fn only_devices_make_a_principal() {
    let graph = graph(
        5,
        &[
            (D, 0, 1, true, true),
            (N, 1, 2, true, true),
            (D, 2, 3, true, true),
            (D, 3, 4, true, false),
        ],
    );
    assert_eq!(graph.principal(&node(0)), [node(0), node(1)].into());
    assert_eq!(graph.principal(&node(3)), [node(2), node(3)].into());
    assert_eq!(graph.gestalt(&Vertex::Node(node(0))).unwrap().nodes.len(), 4);
    assert_eq!(
        graph.principal(&node(9)),
        [node(9)].into(),
        "a node without a chain is itself"
    );
}

#[test]
fn removals_hold_from_the_confirmed_node_outwards() {
    // 0 - 1 - 2 - 3, and 2 has been stolen.
    let links: Vec<_> = (0..3).map(|n| held(n, D, n, n + 1)).collect();
    let mut facts: Vec<_> = (0..4).map(blank).collect();
    for (n, link) in links.iter().enumerate() {
        facts[n].links.push(*link);
        facts[n + 1].links.push(*link);
    }
    facts[2].removed = [node(0), node(1)].into();
    let principal = |facts: &[Facts], from| Graph::build(facts.to_vec(), [], []).principal(&node(from));
    assert_eq!(principal(&facts, 0).len(), 4, "those before the thief stay");
    assert_eq!(
        principal(&facts, 3),
        [node(2), node(3)].into(),
        "seen from behind it"
    );
    facts[0].removed = [node(2)].into();
    assert_eq!(principal(&facts, 0), [node(0), node(1)].into());
    facts[2].is_doubtful = true;
    facts[0].removed = BTreeSet::new();
    assert_eq!(
        principal(&facts, 0),
        [node(0), node(1)].into(),
        "a forked chain brings in nobody"
    );
    assert_eq!(principal(&facts, 2), [node(2)].into());
    facts[2].is_doubtful = false;
    facts[1].is_ended = true;
    assert_eq!(principal(&facts, 0), [node(0), node(2), node(3)].into());
}

#[test]
fn one_that_another_as_near_removed_is_apart() {
    // All tied to 0; who removed whom; who is apart then.
    type Case<'a> = (&'a [(usize, usize)], &'a [usize]);
    let cases: [Case<'_>; 9] = [
        (&[], &[]),
        (&[(1, 2)], &[2]),
        (&[(1, 2), (2, 1)], &[1, 2]),
        // The word of one that is removed counts for nothing.
        (&[(1, 2), (2, 3)], &[2]),
        (&[(1, 2), (2, 3), (3, 4)], &[2, 4]),
        (&[(1, 2), (2, 1), (3, 2)], &[2]),
        (&[(1, 2), (2, 3), (3, 1), (3, 4)], &[1, 2, 3, 4]),
        (&[(1, 2), (4, 2), (2, 3), (1, 3)], &[2, 3]),
        (&[(1, 1)], &[]),
    ];
    let links: Vec<_> = (1..5).map(|n| held(n, D, 0, n)).collect();
    for (removals, want) in cases {
        let mut facts: Vec<_> = (0..5).map(blank).collect();
        for (n, link) in links.iter().enumerate() {
            facts[0].links.push(*link);
            facts[n + 1].links.push(*link);
        }
        for (by, whom) in removals {
            facts[*by].removed.insert(node(*whom));
        }
        let graph = Graph::build(facts.clone(), [], []);
        let want: BTreeSet<NodeId> = want.iter().map(|n| node(*n)).collect();
        let others: BTreeSet<NodeId> = (0..5).map(node).collect();
        let stay = others.difference(&want).copied().collect();
        assert_eq!(graph.principal_and_apart(&node(0)), (stay, want), "{removals:?}");
        // The confirmed node decides.
        if removals.contains(&(2, 1)) {
            facts[0].removed = [node(2)].into();
            let graph = Graph::build(facts, [], []);
            assert!(graph.principal(&node(0)).contains(&node(1)), "{removals:?}");
        }
    }
}

#[test]
fn ten_thousand_nodes_in_circles_are_no_trouble() {
    let count = 10_000;
    let mut links = vec![];
    for n in 0..count {
        links.push((D, n, (n + 1) % count, true, true));
        links.push((N, n, (n * 7 + 3) % count, true, true));
        links.push((D, n, (n * 31 + 17) % count, true, false));
    }
    links.retain(|(_, a, b, ..)| a != b);
    let graph = graph(count, &links);
    assert_eq!(graph.gestalts().len(), 1);
    assert_eq!(graph.gestalt(&Vertex::Node(node(5))).unwrap().nodes.len(), count);
    assert_eq!(graph.principal(&node(77)).len(), count);
}

fn random_links() -> impl Strategy<Value = Vec<(bool, usize, usize, bool, bool)>> {
    prop::collection::vec(
        (
            any::<bool>(),
            0..12usize,
            0..12usize,
            prop::bool::weighted(0.8),
            prop::bool::weighted(0.8),
        ),
        0..30,
    )
}

/// Sets that are merged until nothing changes.
fn merged(nodes: usize, pairs: &[(usize, usize)]) -> BTreeSet<BTreeSet<NodeId>> {
    let mut sets: Vec<BTreeSet<usize>> = (0..nodes).map(|n| [n].into()).collect();
    for _ in 0..nodes {
        for (a, b) in pairs {
            let both: BTreeSet<usize> = sets[*a].union(&sets[*b]).copied().collect();
            for member in &both {
                sets[*member] = both.clone();
            }
        }
    }
    sets.into_iter()
        .map(|set| set.into_iter().map(node).collect())
        .collect()
}

proptest! {
    #[test]
    fn components_are_those_of_a_naive_model(links in random_links()) {
        let links: Vec<_> = links
            .into_iter()
            .filter(|(_, a, b, ..)| a != b)
            .map(|(device, a, b, x, y)| (if device { D } else { N }, a, b, x, y))
            .collect();
        let pairs = |wanted: fn(LinkType) -> bool| -> Vec<(usize, usize)> {
            links.iter().filter(|(kind, _, _, x, y)| *x && *y && wanted(*kind)).map(|(_, a, b, ..)| (*a, *b)).collect()
        };
        let graph = graph(12, &links);
        let found: BTreeSet<BTreeSet<NodeId>> =
            graph.gestalts().into_iter().map(|gestalt| gestalt.nodes.into_iter().collect()).collect();
        prop_assert_eq!(&found, &merged(12, &pairs(|_| true)));
        let principals = merged(12, &pairs(|kind| kind == D));
        for n in 0..12 {
            prop_assert!(principals.contains(&graph.principal(&node(n))));
            let gestalt = graph.gestalt(&Vertex::Node(node(n))).unwrap();
            prop_assert!(found.contains(&gestalt.nodes.into_iter().collect()));
        }
    }
}
