//! Chains against a simple model, and branches in every order.

use proptest::prelude::*;

use super::*;
use crate::cast::{Person, link, tie, time};

fn people<const N: usize>() -> [Person; N] {
    std::array::from_fn(|i| Person::new(i as u8 + 1))
}

fn identity(name: &str) -> Body {
    Body::Identity(format!("github.com:{name}").parse().unwrap())
}

fn names(chain: &Chain) -> Vec<&str> {
    chain.identities().map(|(_, id)| id.identity()).collect()
}

/// The entries from `from` on.
fn tail(chain: &Chain, from: usize) -> Vec<Claim> {
    chain.entries()[from..].to_vec()
}

#[test]
fn a_chain_is_read_again_as_it_was_written() {
    let [a, b, c] = people();
    let (mut chain, mut other) = (a.chain(), b.chain());
    tie(LinkType::Device, (&a, &mut chain), (&b, &mut other), 1);
    a.says(&mut chain, &identity("alice"));
    a.says(&mut chain, &Body::KeyRecord(Box::new(a.record(1))));
    a.says(&mut chain, &Body::DeviceRemoved(c.node()));
    a.insists(&mut chain, &Body::Resume, 50);
    let bytes = chain.entries().iter().map(|claim| claim.as_bytes().to_vec());
    let read = verify_entries(a.node(), bytes.collect()).unwrap();
    assert_eq!(Chain::verify(a.node(), read), Ok(chain));
}

#[test]
fn what_a_chain_says_ends_with_its_revocation() {
    let [a, b] = people();
    let (mut ours, mut theirs) = (a.chain(), b.chain());
    let link = tie(LinkType::Node, (&a, &mut ours), (&b, &mut theirs), 1);
    let alice = a.says(&mut ours, &identity("alice"));
    a.says(&mut ours, &identity("bob"));
    assert_eq!((ours.links().count(), names(&ours)), (1, vec!["alice", "bob"]));
    a.says(&mut ours, &Body::Revoke(alice.id()));
    assert_eq!(names(&ours), ["bob"]);
    // By its own id, or by the entry that holds it.
    b.says(&mut theirs, &Body::Revoke(link.id()));
    assert_eq!((ours.links().count(), theirs.links().count()), (1, 0));
    let entry = ours.entries()[1].id();
    a.says(&mut ours, &Body::Revoke(entry));
    assert!(ours.is_revoked(&link.id()) && ours.links().count() == 0);
}

#[test]
fn a_removed_device_is_out_until_it_is_linked_anew() {
    let [a, b] = people();
    let (mut ours, mut theirs) = (a.chain(), b.chain());
    tie(LinkType::Device, (&a, &mut ours), (&b, &mut theirs), 1);
    tie(LinkType::Node, (&a, &mut ours), (&b, &mut theirs), 2);
    let removal = a.says(&mut ours, &Body::DeviceRemoved(b.node()));
    let kinds = |chain: &Chain| chain.links().map(|link| link.terms().kind).collect::<Vec<_>>();
    assert_eq!(kinds(&ours), [LinkType::Node]);
    assert_eq!(ours.removed_devices(), [b.node()].into());
    let mut again = ours.clone();
    tie(LinkType::Device, (&a, &mut again), (&b, &mut theirs), 3);
    assert_eq!(kinds(&again), [LinkType::Node, LinkType::Device]);
    assert!(again.removed_devices().is_empty());
    a.says(&mut ours, &Body::Revoke(removal.id()));
    assert_eq!(kinds(&ours), [LinkType::Device, LinkType::Node]);
    assert!(ours.removed_devices().is_empty());
}

#[test]
fn the_newest_key_record_counts_until_it_is_revoked() {
    let [a] = people();
    let mut chain = a.chain();
    assert_eq!(chain.key_record(), CurrentKeyRecord::First(a.record(0).id()));
    let one = a.says(&mut chain, &Body::KeyRecord(Box::new(a.record(1))));
    assert_eq!(chain.key_record(), CurrentKeyRecord::Later(&a.record(1)));
    a.says(&mut chain, &Body::Revoke(one.id()));
    assert_eq!(chain.key_record(), CurrentKeyRecord::Revoked);
    a.says(&mut chain, &Body::KeyRecord(Box::new(a.record(2))));
    assert_eq!(chain.key_record(), CurrentKeyRecord::Later(&a.record(2)));
    assert_eq!(chain.last_key_record(), (2, a.record(2).id()));
}

#[test]
fn a_successor_is_named_with_the_recovery_key_and_unnamed_with_it() {
    let [a, b] = people();
    let mut chain = a.chain();
    a.says(&mut chain, &identity("alice"));
    let rotation = a.rotates(&mut chain, &b);
    assert_eq!(chain.successor(), Some(&rotation));
    let place = chain.next_place();
    for (body, second) in [
        (identity("bob"), None),
        (Body::Revoke(place.previous), None),
        (Body::Resume, Some(&a.keys.recovery)),
    ] {
        let claim = Claim::sign(&a.keys.root, second, place, time(1), &body).unwrap();
        let number = place.number;
        assert_eq!(
            chain.push(claim),
            Err(ChainError::Closed {
                node: a.node(),
                number
            }),
            "{body:?}"
        );
    }
    a.insists(&mut chain, &Body::Revoke(place.previous), 60);
    assert_eq!(chain.successor(), None);
    a.says(&mut chain, &identity("carol"));

    let mut next = b.chain();
    b.says(&mut next, &Body::Succeed(Box::new(rotation.clone())));
    assert_eq!(next.predecessors().collect::<Vec<_>>(), [&rotation]);
}

#[test]
fn the_recovery_key_ends_a_chain_for_good() {
    let [a] = people();
    let mut chain = a.chain();
    a.says(&mut chain, &identity("alice"));
    let start = chain.start().id();
    let alone = Claim::sign(
        &a.keys.root,
        None,
        chain.next_place(),
        time(1),
        &Body::Revoke(start),
    )
    .unwrap();
    assert!(matches!(chain.push(alone), Err(ChainError::Revoke { .. })));
    let end = a.insists(&mut chain, &Body::Revoke(start), 1);
    assert!(chain.is_ended() && names(&chain).is_empty());
    assert_eq!(chain.key_record(), CurrentKeyRecord::Revoked);
    for body in [Body::Revoke(end.id()), Body::Resume] {
        let claim = Claim::sign(
            &a.keys.root,
            Some(&a.keys.recovery),
            chain.next_place(),
            time(2),
            &body,
        );
        assert!(chain.push(claim.unwrap()).is_err(), "{body:?}");
    }
}

#[test]
fn revocations_and_branches_are_not_revoked() {
    let [a] = people();
    let mut chain = a.chain();
    let alice = a.says(&mut chain, &identity("alice"));
    let revoke = a.says(&mut chain, &Body::Revoke(alice.id()));
    let resume = a.insists(&mut chain, &Body::Resume, 20);
    for id in [alice.id(), revoke.id(), resume.id()] {
        let claim = Claim::sign(
            &a.keys.root,
            Some(&a.keys.recovery),
            chain.next_place(),
            time(1),
            &Body::Revoke(id),
        );
        assert!(matches!(
            chain.push(claim.unwrap()),
            Err(ChainError::Revoke { .. })
        ));
    }
}

#[test]
fn a_shorter_chain_changes_nothing_and_is_told() {
    let [a] = people();
    let mut chain = a.chain();
    for name in ["a", "b", "c"] {
        a.says(&mut chain, &identity(name));
    }
    let whole = chain.clone();
    for len in 1..4 {
        let merged = chain.merge(&tail(&whole, 0)[..len]);
        let number = len as u64 - 1;
        assert_eq!(merged, Ok(Merged::Shorter { number }));
    }
    for from in 0..4 {
        assert_eq!(chain.merge(&tail(&whole, from)), Ok(Merged::Same));
    }
    assert_eq!(chain, whole);
    for len in 1..=4 {
        let short = Chain::verify(a.node(), tail(&whole, 0)[..len].to_vec()).unwrap();
        let want = if len == 4 {
            Seen::Continues
        } else {
            Seen::Shortened
        };
        assert_eq!(whole.head().compare(&short), want);
        assert_eq!(short.head().compare(&whole), Seen::Continues);
    }
}

#[test]
fn an_earlier_recovery_does_not_hide_that_a_chain_was_cut() {
    let [a] = people();
    let mut chain = a.chain();
    a.insists(&mut chain, &Body::Resume, 20);
    let short = chain.clone();
    a.says(&mut chain, &identity("a"));
    assert_eq!(chain.head().compare(&short), Seen::Shortened);
}

#[test]
fn a_fork_by_the_root_key_alone_is_kept_out() {
    let [a] = people();
    let mut chain = a.chain();
    let mut thief = chain.clone();
    a.says(&mut chain, &identity("alice"));
    a.says(&mut thief, &identity("mallory"));
    a.says(&mut thief, &identity("trudy"));
    let before = chain.clone();
    let refused = tail(&thief, 1);
    assert_eq!(
        chain.merge(&tail(&thief, 0)),
        Ok(Merged::Forked { from: 1, refused })
    );
    assert_eq!(chain, before);
    assert_eq!(chain.head().compare(&thief), Seen::Forked);
    // Not joined at our end: whoever asks from there is told to ask from further back.
    a.says(&mut chain, &identity("bob"));
    let merged = chain.merge(&tail(&thief, 2));
    let node = a.node();
    assert_eq!(merged, Err(ChainError::Earlier { node, number: 2 }));
}

#[test]
fn the_branch_that_the_recovery_key_opens_is_followed() {
    let [a] = people();
    let mut thief = a.chain();
    let mut owner = thief.clone();
    for name in ["mallory", "trudy", "eve"] {
        a.says(&mut thief, &identity(name));
    }
    a.insists(&mut owner, &Body::Resume, 100);
    a.says(&mut owner, &identity("alice"));
    let mut reader = thief.clone();
    let dropped = tail(&thief, 1);
    assert_eq!(
        reader.merge(&tail(&owner, 0)),
        Ok(Merged::Replaced { from: 1, dropped })
    );
    assert_eq!(reader, owner);
    assert_eq!(thief.head().compare(&owner), Seen::Branch);
    // And never back.
    assert!(matches!(
        reader.merge(&tail(&thief, 0)),
        Ok(Merged::Forked { .. })
    ));
    assert_eq!(reader, owner);
}

#[test]
fn a_clock_that_is_behind_does_not_lose_a_branch() {
    let [a] = people();
    let mut left = a.chain();
    a.insists(&mut left, &Body::Resume, 1000);
    let mut owner = a.chain();
    assert_eq!(left.vouch_time(time(2000)), time(2000));
    a.insists(&mut owner, &Body::Resume, left.vouch_time(time(7)).as_millis());
    assert!(matches!(
        left.merge(&tail(&owner, 0)),
        Ok(Merged::Replaced { from: 1, .. })
    ));
}

#[test]
fn a_second_beginning_does_not_take_the_place_of_the_first() {
    let [a, m] = people();
    let mut chain = a.chain();
    a.says(&mut chain, &identity("alice"));
    // A new disk, and nobody was asked for the old chain.
    let mut anew = Chain::from_start(a.start_at(500));
    for _ in 0..2 {
        for (known, other) in [(&chain, &anew), (&anew, &chain)] {
            let mut reader = known.clone();
            let merged = reader.merge(&tail(other, 0));
            assert!(matches!(merged, Ok(Merged::Forked { from: 0, .. })), "{merged:?}");
            assert_eq!(&reader, known);
        }
        assert_ne!(chain.head().compare(&anew), Seen::Branch);
        a.says(&mut anew, &identity("again"));
    }
    // The first one goes on, says the recovery key: so it is for those who met the second, too.
    let mut resumed = chain.clone();
    a.insists(&mut resumed, &Body::Resume, 600);
    for (mut reader, from) in [(chain.clone(), 2), (anew.clone(), 0)] {
        assert_eq!(reader.head().compare(&resumed) == Seen::Branch, from == 0);
        match reader.merge(&tail(&resumed, 0)) {
            Ok(Merged::Extended { from: at } | Merged::Replaced { from: at, .. }) => assert_eq!(at, from),
            other => panic!("{other:?}"),
        }
        assert_eq!(reader, resumed);
    }
    // The thief has the root key, and a recovery key of its own.
    let forged = SigchainStart::sign(&a.keys.root, &m.keys, &a.record(0), time(900));
    let forged = Chain::from_start(forged);
    let mut reader = chain.clone();
    assert!(matches!(
        reader.merge(&tail(&forged, 0)),
        Ok(Merged::Forked { from: 0, .. })
    ));
    assert_eq!(reader, chain);
    assert_eq!(chain.head().compare(&forged), Seen::Forked);
}

#[test]
fn a_bad_entry_takes_nothing_in() {
    let [a, b] = people();
    let mut chain = a.chain();
    let mut more = chain.clone();
    a.says(&mut more, &identity("alice"));
    let mut entries = tail(&more, 1);
    // Two link entries with one link.
    let body = Body::Link(Box::new(link(LinkType::Node, &a, &b, 1)));
    let one = Claim::sign(&a.keys.root, None, more.next_place(), time(1), &body).unwrap();
    more.push(one.clone()).unwrap();
    let two = Claim::sign(&a.keys.root, None, more.next_place(), time(2), &body).unwrap();
    entries.extend([one, two]);
    let before = chain.clone();
    assert!(matches!(
        chain.merge(&entries),
        Err(ChainError::Repeated { number: 3, .. })
    ));
    assert_eq!(chain, before);
}

#[test]
fn a_chain_and_an_offer_are_bounded() {
    let [a] = people();
    let mut chain = a.chain();
    let entry = a.says(&mut chain, &identity("alice"));
    assert!(chain.merge(&[]).is_err());
    assert!(verify_entries(a.node(), vec![]).is_err());
    let many = vec![entry.as_bytes().to_vec(); MAX_OFFER + 1];
    assert!(matches!(
        verify_entries(a.node(), many),
        Err(ChainError::Count { .. })
    ));
    let removal = Body::DeviceRemoved(Person::new(9).node());
    while chain.entries().len() < MAX_ENTRIES {
        a.says(&mut chain, &removal);
    }
    let body = identity("one-more");
    let claim = Claim::sign(&a.keys.root, None, chain.next_place(), time(1), &body).unwrap();
    assert_eq!(chain.push(claim), Err(ChainError::Full { node: a.node() }));
}

/// One step of a random history, by the node `who` of three.
#[derive(Debug, Clone)]
enum Step {
    Tie(bool, usize, usize),
    Identity(usize, u8),
    Revoke(usize, prop::sample::Index),
    RevokeLink(usize, prop::sample::Index),
    Remove(usize, usize),
    Record(usize),
    Resume(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let who = || 0..3usize;
    prop_oneof![
        4 => (any::<bool>(), who(), who()).prop_map(|(d, a, b)| Step::Tie(d, a, b)),
        3 => (who(), 0..4u8).prop_map(|(a, n)| Step::Identity(a, n)),
        3 => (who(), any::<prop::sample::Index>()).prop_map(|(a, i)| Step::Revoke(a, i)),
        2 => (who(), any::<prop::sample::Index>()).prop_map(|(a, i)| Step::RevokeLink(a, i)),
        2 => (who(), who()).prop_map(|(a, b)| Step::Remove(a, b)),
        1 => who().prop_map(Step::Record),
        1 => who().prop_map(Step::Resume),
    ]
}

/// What a chain says, found by looking through all of it for each answer.
struct Model<'c>(&'c Chain);

impl Model<'_> {
    fn is_revoked(&self, at: usize) -> bool {
        let claim = &self.0.entries()[at];
        self.0
            .entries()
            .iter()
            .any(|other| match (other.body(), claim.body()) {
                (Body::Revoke(id), Body::Link(link)) => *id == claim.id() || *id == link.id(),
                (Body::Revoke(id), _) => *id == claim.id(),
                _ => false,
            })
    }

    fn links(&self) -> Vec<StatementId> {
        let entries = self.0.entries();
        let live = |at: &usize| !self.is_revoked(*at);
        (0..entries.len())
            .filter(live)
            .filter_map(|at| match entries[at].body() {
                Body::Link(link) => Some((at, link)),
                _ => None,
            })
            .filter(|(at, link)| {
                link.terms().kind == LinkType::Node
                    || !(at + 1..entries.len()).filter(live).any(|later| {
                        matches!(entries[later].body(), Body::DeviceRemoved(node)
                            if Some(*node) == link.other_end(&self.0.node()))
                    })
            })
            .map(|(_, link)| link.id())
            .collect()
    }

    fn identities(&self) -> Vec<StatementId> {
        let entries = self.0.entries();
        (0..entries.len())
            .filter(|at| matches!(entries[*at].body(), Body::Identity(_)) && !self.is_revoked(*at))
            .map(|at| entries[at].id())
            .collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn random_histories_say_what_the_model_says(steps in prop::collection::vec(step(), 1..40)) {
        let cast: [Person; 3] = people();
        let mut chains: [Chain; 3] = std::array::from_fn(|i| cast[i].chain());
        let mut records = [0u8; 3];
        for (turn, step) in steps.iter().enumerate() {
            let (who, body, second) = match step {
                Step::Tie(_, a, b) if a == b => continue,
                Step::Tie(device, a, b) => {
                    let kind = if *device { LinkType::Device } else { LinkType::Node };
                    let link = link(kind, &cast[*a], &cast[*b], turn as u8);
                    cast[*a].says(&mut chains[*a], &Body::Link(Box::new(link.clone())));
                    (*b, Body::Link(Box::new(link)), None)
                }
                Step::Identity(a, n) => (*a, identity(&format!("u{n}")), None),
                Step::Revoke(a, at) => {
                    let entries = chains[*a].entries();
                    (*a, Body::Revoke(entries[at.index(entries.len())].id()), None)
                }
                Step::RevokeLink(a, at) => {
                    let links: Vec<_> = chains.iter().flat_map(Chain::links).map(Link::id).collect();
                    if links.is_empty() { continue }
                    (*a, Body::Revoke(links[at.index(links.len())]), None)
                }
                Step::Remove(a, b) if a == b => continue,
                Step::Remove(a, b) => (*a, Body::DeviceRemoved(cast[*b].node()), None),
                Step::Record(a) if records[*a] > 5 => continue,
                Step::Record(a) => {
                    records[*a] += 1;
                    (*a, Body::KeyRecord(Box::new(cast[*a].record(records[*a]))), None)
                }
                Step::Resume(a) => (*a, Body::Resume, Some(&cast[*a].keys.recovery)),
            };
            let place = chains[who].next_place();
            let claim = Claim::sign(&cast[who].keys.root, second, place, time(turn as u64), &body).unwrap();
            let before = chains[who].clone();
            if chains[who].push(claim).is_err() {
                prop_assert_eq!(&before, &chains[who]);
                prop_assert!(matches!(body, Body::Revoke(_)), "only a revocation may be refused: {:?}", body);
            }
        }
        for chain in &chains {
            let model = Model(chain);
            prop_assert_eq!(chain.links().map(Link::id).collect::<Vec<_>>(), model.links());
            prop_assert_eq!(chain.identities().map(|(id, _)| id).collect::<Vec<_>>(), model.identities());
            let again = Chain::verify(chain.node(), chain.entries().to_vec());
            prop_assert_eq!(again.as_ref(), Ok(chain));
            // Any cut and any later part of it merge into the whole.
            for cut in 1..chain.entries().len() {
                let mut short = Chain::verify(chain.node(), tail(chain, 0)[..cut].to_vec()).unwrap();
                short.merge(&tail(chain, cut)).unwrap();
                prop_assert_eq!(&short, chain);
            }
        }
    }

    /// Branches of one chain, each opened by the recovery key somewhere: every reader ends at the same one.
    #[test]
    fn branches_of_recovery_keys_do_not_depend_on_order(
        forks in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..4u64, 0..3u8), 1..7),
        order in Just(()).prop_perturb(|(), mut rng| rng.random::<u64>()),
    ) {
        let [a] = people();
        let mut branches = vec![a.chain()];
        for (turn, (which, at, millis, more)) in forks.iter().enumerate() {
            let from = &branches[which.index(branches.len())];
            let at = 1 + at.index(from.entries().len());
            let mut branch = Chain::verify(a.node(), tail(from, 0)[..at].to_vec()).unwrap();
            let resume = a.insists(&mut branch, &Body::Resume, 100 + millis);
            // The same words at the same place and time are the same branch: what follows would be a plain fork.
            if branches.iter().any(|other| other.entry(&resume.id()).is_some()) {
                continue;
            }
            for n in 0..*more {
                a.says(&mut branch, &identity(&format!("b{turn}-{n}")));
            }
            branches.push(branch);
        }
        let ends = [false, true].map(|turned| {
            let mut mixed: Vec<_> = branches.iter().collect();
            let mut seed = order;
            for i in (1..mixed.len()).rev() {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                mixed.swap(i, (seed >> 33) as usize % (i + 1));
            }
            if turned {
                mixed.reverse();
            }
            let mut reader = a.chain();
            // Twice: what lost against an earlier one may be a part of the winner.
            for branch in mixed.iter().chain(&mixed) {
                reader.merge(&tail(branch, 0)).unwrap();
            }
            reader
        });
        prop_assert_eq!(&ends[0], &ends[1]);
    }
}
