//! Attacks on chains, links, pages and invitations, one by one: each is refused or shown, and gains nobody a right.
//!
//! In this small world *we* allowed Alice's node to notify us and to scan. She has a tablet. Mallory is a node
//! with a valid key, his puppet another; now and then he has stolen something, which the attack says.

use polykey_core::codec::Writer;
use polykey_core::genesis::SigchainStart;
use polykey_core::rotation::Rotation;
use polykey_core::statement::{Kind, Statement};

use crate::armour::{line, short_line};
use crate::book::Source;
use crate::cast::{Person, link, proposal, tie, time};
use crate::claim::{Body, Claim};
use crate::gestalt::{Tie, Vertex};
use crate::invitation;
use crate::link::{InvitationId, Link, Proposal};
use crate::proof::Look;
use crate::sigchain::Chain;

mod page;
mod world;

use world::End::{self, Alone, Ended, Kept, Refused, Taken, Told, Unproven, Unsigned};
use world::{D, N, World, bytes, identity, says};

type Attack = (&'static str, End, fn(&mut World) -> End);

/// Entries dropped, moved, repeated and cut.
const ORDER: &[Attack] = &[
    (
        "drop the start, for a reader who never saw the chain",
        Refused,
        |w| {
            let new = Person::new(21);
            let mut chain = new.chain();
            new.says(&mut chain, &says("github.com:new"));
            w.offer(new.node(), bytes(&chain.entries()[1..]), Source::Owner)
        },
    ),
    ("drop the second entry", Refused, |w| {
        w.alice_sends(|e| drop(e.remove(1)))
    }),
    ("drop an entry in the middle", Refused, |w| {
        w.alice_sends(|e| drop(e.remove(3)))
    }),
    ("truncate the chain", Kept, |w| w.alice_sends(|e| e.truncate(3))),
    ("truncate it to its start", Kept, |w| {
        w.alice_sends(|e| e.truncate(1))
    }),
    ("truncate it on the way, through another node", Told, |w| {
        let entries = bytes(&w.chain.entries()[..3]);
        w.offer(w.alice.node(), entries, Source::Other)
    }),
    ("swap two entries", Refused, |w| w.alice_sends(|e| e.swap(2, 3))),
    ("swap the last two", Refused, |w| w.alice_sends(|e| e.swap(3, 4))),
    ("reverse the chain", Refused, |w| w.alice_sends(|e| e.reverse())),
    ("send an entry twice", Refused, |w| {
        w.alice_sends(|e| e.insert(2, e[2].clone()))
    }),
    ("send the last entry twice", Refused, |w| {
        w.alice_sends(|e| e.push(e[4].clone()))
    }),
    ("send the start twice", Refused, |w| {
        w.alice_sends(|e| e.insert(0, e[0].clone()))
    }),
    ("send the start at the end", Refused, |w| {
        w.alice_sends(|e| e.push(e[0].clone()))
    }),
    ("send nothing", Refused, |w| w.alice_sends(Vec::clear)),
    ("send the chain of another node", Refused, |w| {
        w.offer(w.alice.node(), bytes(w.mallory_chain.entries()), Source::Owner)
    }),
    ("splice another node's entry in", Refused, |w| {
        let claim = w.mallory.says(&mut w.mallory_chain, &says("github.com:mallory"));
        w.alice_sends(|e| e.push(claim.as_bytes().to_vec()))
    }),
    ("put another node's start before the entries", Refused, |w| {
        let start = w.mallory.start();
        w.alice_sends(|e| e[0] = start.as_bytes().to_vec())
    }),
    ("show her chain as his own", Refused, |w| {
        w.offer(w.mallory.node(), bytes(w.chain.entries()), Source::Owner)
    }),
    ("put her entry behind his own", Refused, |w| {
        let entry = w.claim.as_bytes().to_vec();
        w.offer(w.mallory.node(), vec![entry], Source::Owner)
    }),
    ("send an entry without those before it", Refused, |w| {
        let mut ahead = w.chain.clone();
        for name in ["github.com:a", "github.com:b"] {
            w.alice.says(&mut ahead, &says(name));
        }
        w.alice_adds(ahead.entries().last().unwrap().as_bytes().to_vec())
    }),
];

/// Bytes and signatures that are not what they say.
const FORM: &[Attack] = &[
    ("change the payload", Refused, |w| {
        w.alice_sends(|e| e[2][60] ^= 1)
    }),
    ("change a signature", Refused, |w| {
        w.alice_sends(|e| *e[2].last_mut().unwrap() ^= 1)
    }),
    ("cut an entry", Refused, |w| w.alice_sends(|e| e[2].truncate(200))),
    ("add a byte to an entry", Refused, |w| {
        w.alice_sends(|e| e[2].push(0))
    }),
    ("write a number in a longer form", Refused, |w| {
        w.alice_sends(|e| drop(e[2].splice(1..2, [0x18, 0x01])))
    }),
    ("name another format version", Refused, |w| {
        w.alice_sends(|e| e[2][1] = 2)
    }),
    ("name another kind of statement", Refused, |w| {
        w.alice_sends(|e| e[2][2] = 3)
    }),
    ("send an entry that is not CBOR", Refused, |w| {
        w.alice_adds(vec![0xff; 40])
    }),
    ("send an entry of a megabyte", Refused, |w| {
        w.alice_adds(vec![0; 1 << 20])
    }),
    ("sign for her with another key", Refused, |w| {
        w.alice_adds(w.raw(Kind::Claim, 7, w.tip(), &[&w.mallory.keys.root]))
    }),
    ("sign beside her", Refused, |w| {
        w.alice_adds(w.raw(
            Kind::Claim,
            7,
            w.tip(),
            &[&w.alice.keys.root, &w.mallory.keys.root],
        ))
    }),
    ("use what she signed as a commit", Refused, |w| {
        w.alice_adds(w.raw(Kind::Commit, 7, w.tip(), &[&w.alice.keys.root]))
    }),
    ("use what she signed as a link", Refused, |w| {
        w.alice_adds(w.raw(Kind::Link, 7, w.tip(), &[&w.alice.keys.root]))
    }),
    ("use her link as an entry", Refused, |w| {
        w.alice_adds(w.device.as_bytes().to_vec())
    }),
    ("use her key record as an entry", Refused, |w| {
        w.alice_adds(w.alice.record(2).as_bytes().to_vec())
    }),
    ("use a proposal of hers as an entry", Refused, |w| {
        w.alice_adds(proposal(N, &w.alice, &w.us, 7).as_bytes().to_vec())
    }),
    ("use an entry of hers as a proposal or a link", Refused, |w| {
        for entry in w.chain.entries() {
            assert!(Proposal::verify(entry.as_bytes().to_vec()).is_err());
            assert!(Link::verify(entry.as_bytes().to_vec()).is_err());
        }
        Refused
    }),
    ("use an entry of hers as a rotation", Refused, |w| {
        for entry in w.chain.entries() {
            assert!(Rotation::verify(entry.as_bytes().to_vec()).is_err());
        }
        Refused
    }),
    (
        "use a whole link as a proposal, and half a link as one",
        Refused,
        |w| {
            assert!(Proposal::verify(w.device.as_bytes().to_vec()).is_err());
            assert!(Link::verify(proposal(D, &w.alice, &w.mallory, 7).as_bytes().to_vec()).is_err());
            Refused
        },
    ),
    ("put her key record into his chain", Refused, |w| {
        let record = Body::KeyRecord(Box::new(w.alice.record(1)));
        w.mallory_says(&record)
    }),
    ("put her rotation into his chain", Refused, |w| {
        let rotation = w.alice.rotation_to(&w.mallory, w.mallory_chain.next_place());
        w.offer(
            w.mallory.node(),
            vec![rotation.as_bytes().to_vec()],
            Source::Owner,
        )
    }),
    ("make up a type of claim", Refused, |w| {
        w.alice_adds(w.raw(Kind::Claim, 99, w.tip(), &[&w.alice.keys.root]))
    }),
    ("skip a number", Refused, |w| {
        let tip = w.tip();
        w.alice_adds(w.raw(Kind::Claim, 7, (tip.0 + 1, tip.1), &[&w.alice.keys.root]))
    }),
    ("follow a foreign predecessor", Refused, |w| {
        let foreign = w.mallory_chain.head().id;
        w.alice_adds(w.raw(Kind::Claim, 7, (w.tip().0, Some(foreign)), &[&w.alice.keys.root]))
    }),
    ("follow an entry further back", Refused, |w| {
        let earlier = w.chain.entries()[2].id();
        w.alice_adds(w.raw(Kind::Claim, 7, (w.tip().0, Some(earlier)), &[&w.alice.keys.root]))
    }),
    ("follow nothing", Refused, |w| {
        w.alice_adds(w.raw(Kind::Claim, 7, (w.tip().0, None), &[&w.alice.keys.root]))
    }),
    ("be number 0 without being a start", Refused, |w| {
        w.alice_adds(w.raw(Kind::Claim, 7, (0, None), &[&w.alice.keys.root]))
    }),
];

/// Mallory has stolen Alice's root key, and not her recovery code.
const STOLEN: &[Attack] = &[
    ("fork at the end", Kept, |w| {
        w.fork(4, &[says("github.com:mallory")])
    }),
    ("fork right behind the start", Kept, |w| {
        w.fork(1, &[says("github.com:mallory")])
    }),
    ("fork and be longer", Kept, |w| {
        w.fork(
            2,
            &["a", "b", "c", "d", "e", "f"].map(|name| says(&format!("github.com:{name}"))),
        )
    }),
    ("fork and be as long", Kept, |w| {
        w.fork(4, &[says("dns:alice.example.net")])
    }),
    (
        "fork by an entry that differs in nothing but its time",
        Kept,
        |w| {
            let mut fork = Chain::verify(w.alice.node(), w.chain.entries()[..4].to_vec()).unwrap();
            let claim = Claim::sign(
                &w.alice.keys.root,
                None,
                fork.next_place(),
                time(77),
                &says("dns:alice.example"),
            );
            fork.push(claim.unwrap()).unwrap();
            w.offer(w.alice.node(), bytes(fork.entries()), Source::Owner)
        },
    ),
    ("fork on the way, through another node", Kept, |w| {
        let mut fork = Chain::verify(w.alice.node(), w.chain.entries()[..2].to_vec()).unwrap();
        w.alice.says(&mut fork, &says("github.com:mallory"));
        w.offer(w.alice.node(), bytes(fork.entries()), Source::Other)
    }),
    ("undo her revocation of a link", Refused, |w| {
        let given = link(N, &w.mallory, &w.alice, 7);
        w.alice_goes_on(&Body::Link(Box::new(given.clone())));
        w.alice_goes_on(&Body::Revoke(given.id()));
        let id = w.chain.head().id;
        w.alice_adds(w.forge(None, &Body::Revoke(id)))
    }),
    ("fork to a device of his", Kept, |w| {
        let device = link(D, &w.mallory, &w.alice, 7);
        assert_eq!(w.mallory_says(&Body::Link(Box::new(device.clone()))), Taken);
        w.fork(3, &[Body::Link(Box::new(device))])
    }),
    ("fork where he undoes a link", Kept, |w| {
        let id = w.device.id();
        w.fork(3, &[Body::Revoke(id)])
    }),
    ("begin anew with a recovery key of his", Kept, |w| {
        let keys = &w.mallory.keys;
        let start = SigchainStart::sign(&w.alice.keys.root, keys, &w.alice.record(0), time(99));
        w.offer(w.alice.node(), vec![start.as_bytes().to_vec()], Source::Owner)
    }),
    ("open a branch with a recovery key of his", Refused, |w| {
        w.alice_adds(w.forge(Some(&w.mallory.keys.recovery), &Body::Resume))
    }),
    ("open a branch with her root key alone", Refused, |w| {
        let mut writer = Writer::new();
        writer
            .map(5)
            .u64(0)
            .u64(8)
            .u64(1)
            .bytes(w.alice.node().as_bytes());
        writer
            .u64(2)
            .u64(w.tip().0)
            .u64(3)
            .bytes(w.tip().1.unwrap().as_bytes())
            .u64(4)
            .u64(99);
        let forged = Statement::sign(Kind::Claim, &writer.finish(), &[&w.alice.keys.root]);
        w.alice_adds(forged.as_bytes().to_vec())
    }),
    ("name a successor with a recovery key of his", Refused, |w| {
        let (root, tip) = (&w.alice.keys.root, w.tip());
        let (next, theirs) = (w.mallory.node(), w.mallory.keys.recovery.public());
        let place = (tip.0, tip.1.unwrap());
        let forged = Rotation::sign(root, &w.puppet.keys.recovery, place, time(9), next, theirs).unwrap();
        w.alice_adds(forged.as_bytes().to_vec())
    }),
    ("end her chain", Refused, |w| {
        let start = w.chain.start().id();
        w.alice_adds(w.forge(None, &Body::Revoke(start)))
    }),
    ("end her chain with a recovery key of his", Refused, |w| {
        let start = w.chain.start().id();
        w.alice_adds(w.forge(Some(&w.mallory.keys.recovery), &Body::Revoke(start)))
    }),
    ("skip a key record", Refused, |w| {
        let record = Body::KeyRecord(Box::new(w.alice.record(3)));
        w.alice_adds(w.forge(None, &record))
    }),
    ("bring an old key record back", Refused, |w| {
        let record = Body::KeyRecord(Box::new(w.alice.record(1)));
        w.alice_adds(w.forge(None, &record))
    }),
    ("go on after she named a successor", Refused, |w| {
        let next = Person::new(20);
        let rotation = w.alice.rotates(&mut w.chain, &next);
        assert_eq!(w.alice_adds(rotation.as_bytes().to_vec()), Taken);
        w.alice_adds(w.forge(None, &says("github.com:mallory")))
    }),
    ("take her successor back", Refused, |w| {
        let rotation = w.alice.rotates(&mut w.chain, &Person::new(20));
        assert_eq!(w.alice_adds(rotation.as_bytes().to_vec()), Taken);
        let id = w.chain.head().id;
        w.alice_adds(w.forge(None, &Body::Revoke(id)))
    }),
    ("bring a device in before she named a successor", Kept, |w| {
        let rotation = w.alice.rotates(&mut w.chain, &Person::new(20));
        assert_eq!(w.alice_adds(rotation.as_bytes().to_vec()), Taken);
        let device = link(D, &w.mallory, &w.alice, 7);
        assert_eq!(w.mallory_says(&Body::Link(Box::new(device.clone()))), Taken);
        w.fork(5, &[Body::Link(Box::new(device))])
    }),
    ("go on with the branch that she left", Told, |w| {
        let mut branch = Chain::verify(w.alice.node(), w.chain.entries()[..2].to_vec()).unwrap();
        w.alice.insists(&mut branch, &Body::Resume, 50);
        assert_eq!(
            w.offer(w.alice.node(), bytes(branch.entries()), Source::Owner),
            Taken
        );
        w.fork(5, &[says("github.com:mallory")])
    }),
];

/// Links that are one-sided, stolen, foreign or over.
const LINKS: &[Attack] = &[
    ("show her link as his own", Refused, |w| {
        w.mallory_says(&Body::Link(Box::new(w.device.clone())))
    }),
    ("show a link of hers with his puppet as his own", Refused, |w| {
        let third = Body::Link(Box::new(link(N, &w.puppet, &w.alice, 7)));
        w.mallory_says(&third)
    }),
    (
        "show a link of his that names a third instead of her",
        Alone,
        |w| {
            let third = Body::Link(Box::new(link(D, &w.mallory, &w.puppet, 7)));
            assert_eq!(w.mallory_says(&third), Taken);
            let gestalt = w.graph().gestalt(&Vertex::Node(w.alice.node())).unwrap();
            assert!(!gestalt.nodes.contains(&w.mallory.node()));
            w.is_alone(w.mallory.node(), Tie::Device)
        },
    ),
    ("be linked with himself", Refused, |w| {
        let root = &w.mallory.keys.root;
        let id = InvitationId::from_bytes([7; 16]);
        assert!(Proposal::sign(root, D, w.mallory.node(), id, time(3)).is_err());
        Refused
    }),
    ("make a device link of a friend's", Refused, |w| {
        // The same proposal and signatures, with the type changed.
        let mut changed = link(N, &w.mallory, &w.alice, 7).as_bytes().to_vec();
        let device = link(D, &w.mallory, &w.alice, 7);
        let at = (0..changed.len()).find(|at| changed[*at] != device.as_bytes()[*at]);
        let at = at.unwrap();
        changed[at] = device.as_bytes()[at];
        assert!(Link::verify(changed).is_err());
        Refused
    }),
    ("show a link that she never signed", Refused, |w| {
        let half = proposal(D, &w.mallory, &w.alice, 7);
        let mut writer = Writer::new();
        writer
            .map(6)
            .u64(0)
            .u64(1)
            .u64(1)
            .bytes(w.mallory.node().as_bytes())
            .u64(2)
            .u64(1);
        writer
            .u64(3)
            .bytes(w.mallory_chain.head().id.as_bytes())
            .u64(4)
            .u64(1);
        writer.u64(5).bytes(half.as_bytes());
        let forged = Statement::sign(Kind::Claim, &writer.finish(), &[&w.mallory.keys.root]);
        w.offer(w.mallory.node(), vec![forged.as_bytes().to_vec()], Source::Owner)
    }),
    ("let his puppet sign in her place", Refused, |w| {
        let half = proposal(D, &w.mallory, &w.alice, 7);
        let payload = Statement::verify(Kind::Link, half.as_bytes().to_vec()).unwrap();
        let forged = payload.countersign(&w.puppet.keys.root);
        assert!(Link::verify(forged.as_bytes().to_vec()).is_err());
        Refused
    }),
    ("show a link that she signed and did not keep", Alone, |w| {
        let given = link(N, &w.mallory, &w.alice, 7);
        assert_eq!(w.mallory_says(&Body::Link(Box::new(given))), Taken);
        w.is_alone(w.mallory.node(), Tie::Node)
    }),
    (
        "show a device link that she signed and did not keep",
        Alone,
        |w| {
            let given = link(D, &w.alice, &w.mallory, 7);
            assert_eq!(w.mallory_says(&Body::Link(Box::new(given))), Taken);
            w.is_alone(w.mallory.node(), Tie::Device)
        },
    ),
    ("keep a link that she revoked", Alone, |w| {
        let given = link(N, &w.mallory, &w.alice, 7);
        w.alice_goes_on(&Body::Link(Box::new(given.clone())));
        assert_eq!(w.mallory_says(&Body::Link(Box::new(given.clone()))), Taken);
        w.alice_goes_on(&Body::Revoke(given.id()));
        w.is_alone(w.mallory.node(), Tie::Node)
    }),
    ("show a link after she revoked it", Alone, |w| {
        let given = link(D, &w.mallory, &w.alice, 7);
        w.alice_goes_on(&Body::Revoke(given.id()));
        assert_eq!(w.mallory_says(&Body::Link(Box::new(given))), Taken);
        w.is_alone(w.mallory.node(), Tie::Device)
    }),
    ("put a revoked link back into her chain", Refused, |w| {
        let given = link(D, &w.mallory, &w.alice, 7);
        w.alice_goes_on(&Body::Revoke(given.id()));
        w.alice_adds(w.forge(None, &Body::Link(Box::new(given))))
    }),
    ("show a link twice", Refused, |w| {
        let given = Body::Link(Box::new(link(N, &w.mallory, &w.puppet, 7)));
        assert_eq!(w.mallory_says(&given), Taken);
        w.mallory_says(&given)
    }),
    ("undo her link in his own chain", Taken, |w| {
        let id = w.device.id();
        let end = w.mallory_says(&Body::Revoke(id));
        assert!(w.rights().contains_key(&w.tablet.node()));
        end
    }),
    ("remove her devices from his own chain", Taken, |w| {
        let (alice, tablet) = (w.alice.node(), w.tablet.node());
        assert_eq!(w.mallory_says(&Body::DeviceRemoved(alice)), Taken);
        let end = w.mallory_says(&Body::DeviceRemoved(tablet));
        assert_eq!(w.rights().len(), 2);
        end
    }),
    ("remove her with her stolen tablet", Taken, |w| {
        let alice = w.alice.node();
        let end = w.tablet_says(&Body::DeviceRemoved(alice));
        assert!(w.rights().contains_key(&alice));
        end
    }),
    ("come back with the tablet that she removed", Refused, |w| {
        let tablet = w.tablet.node();
        w.alice_goes_on(&Body::DeviceRemoved(tablet));
        assert!(!w.rights().contains_key(&tablet));
        let again = Body::Link(Box::new(w.device.clone()));
        w.tablet_says(&again)
    }),
    ("bring his node in by the tablet that she removed", Taken, |w| {
        let tablet = w.tablet.node();
        w.alice_goes_on(&Body::DeviceRemoved(tablet));
        let given = Body::Link(Box::new(link(D, &w.tablet, &w.mallory, 8)));
        assert_eq!(w.tablet_says(&given), Taken);
        w.mallory_says(&given)
    }),
    ("make a principal of his own nodes", Taken, |w| {
        tie(
            D,
            (&w.mallory, &mut w.mallory_chain),
            (&w.puppet, &mut w.puppet_chain),
            9,
        );
        assert_eq!(
            w.offer(w.puppet.node(), bytes(w.puppet_chain.entries()), Source::Owner),
            Taken
        );
        w.offer(w.mallory.node(), bytes(w.mallory_chain.entries()), Source::Owner)
    }),
    ("join her gestalt by a link that both keep", Taken, |w| {
        let given = link(N, &w.mallory, &w.alice, 7);
        w.alice_goes_on(&Body::Link(Box::new(given.clone())));
        let end = w.mallory_says(&Body::Link(Box::new(given)));
        let gestalt = w.graph().gestalt(&Vertex::Node(w.alice.node())).unwrap();
        assert!(gestalt.nodes.contains(&w.mallory.node()), "it informs");
        end
    }),
    ("join her gestalt and bring his devices", Taken, |w| {
        let given = link(N, &w.mallory, &w.tablet, 7);
        assert_eq!(w.tablet_says(&Body::Link(Box::new(given.clone()))), Taken);
        assert_eq!(w.mallory_says(&Body::Link(Box::new(given))), Taken);
        let own = link(D, &w.mallory, &w.puppet, 9);
        w.mallory_says(&Body::Link(Box::new(own)))
    }),
    ("say that she is his successor", Alone, |w| {
        let place = w.mallory_chain.next_place();
        let rotation = w.mallory.rotation_to(&w.alice, place);
        assert_eq!(
            w.offer(
                w.mallory.node(),
                vec![rotation.as_bytes().to_vec()],
                Source::Owner
            ),
            Taken
        );
        w.is_alone(w.mallory.node(), Tie::Successor)
    }),
    (
        "say that he is her successor, by her rotation to another",
        Refused,
        |w| {
            let rotation = w.alice.rotation_to(&w.tablet, w.chain.next_place());
            w.mallory_says(&Body::Succeed(Box::new(rotation)))
        },
    ),
    (
        "say that he is her successor, by a rotation that her chain does not hold",
        Taken,
        |w| {
            // She signed it and went back on it before anybody saw it.
            let rotation = w.alice.rotation_to(&w.mallory, w.chain.next_place());
            w.alice_goes_on(&says("github.com:alice-again"));
            w.mallory_says(&Body::Succeed(Box::new(rotation)))
        },
    ),
];

/// Pages, accounts and what they carry.
const PAGES: &[Attack] = &[
    ("claim her account without a page", Alone, |w| {
        assert_eq!(w.mallory_says(&says("github.com:alice")), Taken);
        w.is_alone(w.mallory.node(), Tie::Identity)
    }),
    ("copy her line to his page", Unproven, |w| {
        w.look("github.com:mallory", &line(&w.claim), &w.chain)
    }),
    ("copy her short line to his page", Unproven, |w| {
        w.look("github.com:mallory", &short_line(&w.claim), &w.chain)
    }),
    ("carry her line under his node", Unproven, |w| {
        w.look("github.com:mallory", &line(&w.claim), &w.mallory_chain)
    }),
    ("carry the claim of another of her identities", Unproven, |w| {
        w.look("github.com:other", &line(&w.chain.entries()[4]), &w.chain)
    }),
    ("carry a claim that his chain does not hold", Unproven, |w| {
        let claim = w.mallory.says(&mut w.mallory_chain, &says("github.com:mallory"));
        w.look("github.com:mallory", &line(&claim), &w.mallory.chain())
    }),
    ("carry another type of claim", Unproven, |w| {
        w.look("github.com:mallory", &line(&w.chain.entries()[1]), &w.chain)
    }),
    ("carry a changed claim", Unproven, |w| {
        let text = line(&w.claim).replace("polykey-claim:g", "polykey-claim:h");
        w.look("github.com:mallory", &text, &w.chain)
    }),
    ("put a second claim on her page", Ended, |w| {
        let other = w.mallory.says(&mut w.mallory_chain, &says("github.com:alice"));
        let page = format!("{}\n{}", line(&w.claim), line(&other));
        w.look("github.com:alice", &page, &w.chain)
    }),
    ("take her account over", Ended, |w| {
        assert_eq!(w.mallory_says(&says("github.com:alice")), Taken);
        let page = line(w.mallory_chain.entries().last().unwrap());
        let end = w.look("github.com:alice", &page, &w.mallory_chain);
        let graph = w.graph();
        assert_eq!(
            graph.named(&Vertex::Identity(identity("github.com:alice"))),
            [w.mallory.node()]
        );
        end
    }),
    ("take her account over and give it back", Ended, |w| {
        assert_eq!(w.mallory_says(&says("github.com:alice")), Taken);
        let page = line(w.mallory_chain.entries().last().unwrap());
        assert_eq!(w.look("github.com:alice", &page, &w.mallory_chain), Ended);
        let end = w.look("github.com:alice", &line(&w.claim), &w.chain);
        let graph = w.graph();
        assert_eq!(
            graph.named(&Vertex::Identity(identity("github.com:alice"))),
            [w.alice.node()]
        );
        end
    }),
    (
        "take her account over with a claim that he took back",
        Ended,
        |w| {
            assert_eq!(w.mallory_says(&says("github.com:alice")), Taken);
            let claim = w.mallory_chain.entries().last().unwrap().clone();
            assert_eq!(w.mallory_says(&Body::Revoke(claim.id())), Taken);
            let end = w.look("github.com:alice", &line(&claim), &w.mallory_chain);
            let graph = w.graph();
            assert_eq!(graph.named(&Vertex::Identity(identity("github.com:alice"))), []);
            end
        },
    ),
    (
        "take her account over with a claim of another account",
        Ended,
        |w| {
            assert_eq!(w.mallory_says(&says("github.com:mallory")), Taken);
            let page = line(w.mallory_chain.entries().last().unwrap());
            w.look("github.com:alice", &page, &w.mallory_chain)
        },
    ),
    ("take her account over and delete the page", Ended, |w| {
        w.record(&identity("github.com:alice"), &Look::Gone)
    }),
    ("take her account over and empty the page", Ended, |w| {
        w.look("github.com:alice", "", &w.chain)
    }),
    ("keep the page of a claim that she revoked", Ended, |w| {
        let id = w.claim.id();
        w.alice_goes_on(&Body::Revoke(id));
        w.look("github.com:alice", &line(&w.claim), &w.chain)
    }),
    ("keep her page from us", Unproven, |w| {
        let end = w.record(&identity("github.com:alice"), &Look::Failed);
        let graph = w.graph();
        assert_eq!(
            graph.named(&Vertex::Identity(identity("github.com:alice"))),
            [w.alice.node()]
        );
        end
    }),
    ("hang his own account onto her gestalt", Alone, |w| {
        // Her chain does not name it; his page names her node.
        let theirs = w.mallory.says(&mut w.mallory_chain, &says("github.com:mallory"));
        assert_eq!(w.look("github.com:mallory", &line(&theirs), &w.chain), Unproven);
        assert_eq!(
            w.offer(w.mallory.node(), bytes(w.mallory_chain.entries()), Source::Owner),
            Taken
        );
        w.is_alone(w.mallory.node(), Tie::Identity)
    }),
];

/// Second signatures that nobody asked for. *We* are the ones who would sign.
const SIGNATURES: &[Attack] = &[
    ("propose without an invitation", Unsigned, |w| {
        let proposal = w.proposal(&w.mallory, N, &w.us, InvitationId::from_bytes([1; 16]));
        w.propose(&w.mallory, &proposal, 4)
    }),
    (
        "propose to be our device when invited as a friend",
        Unsigned,
        |w| {
            let id = w.invite(N, &w.mallory).id;
            w.propose(&w.mallory, &w.proposal(&w.mallory, D, &w.us, id), 4)
        },
    ),
    ("propose to be a friend when invited as a device", Unsigned, |w| {
        let id = w.invite(D, &w.mallory).id;
        w.propose(&w.mallory, &w.proposal(&w.mallory, N, &w.us, id), 4)
    }),
    ("use the invitation of another", Unsigned, |w| {
        let id = w.invite(D, &w.alice).id;
        w.propose(&w.mallory, &w.proposal(&w.mallory, D, &w.us, id), 4)
    }),
    ("bring the proposal of another", Unsigned, |w| {
        let id = w.invite(D, &w.alice).id;
        w.propose(&w.mallory, &w.proposal(&w.alice, D, &w.us, id), 4)
    }),
    ("let us sign between two others", Unsigned, |w| {
        let id = w.invite(N, &w.mallory).id;
        w.propose(&w.mallory, &w.proposal(&w.mallory, N, &w.puppet, id), 4)
    }),
    ("let us sign what his puppet signed in his name", Unsigned, |w| {
        let id = w.invite(N, &w.mallory).id;
        w.propose(&w.mallory, &w.proposal(&w.puppet, N, &w.us, id), 4)
    }),
    ("come too late", Unsigned, |w| {
        let id = w.invite(N, &w.mallory).id;
        w.propose(&w.mallory, &w.proposal(&w.mallory, N, &w.us, id), 100)
    }),
    ("use an invitation again", Unsigned, |w| {
        let id = w.invite(N, &w.mallory).id;
        assert_eq!(
            w.propose(&w.mallory, &w.proposal(&w.mallory, N, &w.us, id), 4),
            Taken
        );
        let root = &w.mallory.keys.root;
        let again = Proposal::sign(root, N, w.us.node(), id, time(4)).unwrap();
        w.propose(&w.mallory, &again, 5)
    }),
    ("use an invitation that was taken back", Unsigned, |w| {
        let id = w.invite(N, &w.mallory).id;
        assert!(w.db.write(|tx| invitation::withdraw(tx, &id)).unwrap());
        w.propose(&w.mallory, &w.proposal(&w.mallory, N, &w.us, id), 4)
    }),
    ("be our friend, and no more", Taken, |w| {
        let id = w.invite(N, &w.mallory).id;
        w.propose(&w.mallory, &w.proposal(&w.mallory, N, &w.us, id), 4)
    }),
];

/// All of them, by what they are aimed at. The [page](page) about them follows from this.
const TOPICS: [(&str, &[Attack]); 6] = [
    ("Order of a chain", ORDER),
    ("Form of entries", FORM),
    ("Stolen root key", STOLEN),
    ("Links", LINKS),
    ("Pages and accounts", PAGES),
    ("Our signature", SIGNATURES),
];

fn run(attacks: &[Attack]) {
    for (name, want, attack) in attacks {
        let mut world = World::new();
        let before = world.rights();
        assert_eq!(attack(&mut world), *want, "{name}");
        let after = world.rights();
        for (node, actions) in &after {
            let had = before.get(node).copied().unwrap_or_default();
            assert_eq!(had.union(*actions), had, "{name}: {node} gained a right");
        }
        for thief in [&world.mallory, &world.puppet] {
            assert!(!after.contains_key(&thief.node()), "{name}");
        }
    }
}

#[test]
fn attacks_on_the_order_of_a_chain() {
    run(ORDER);
}

#[test]
fn attacks_on_the_form_of_entries() {
    run(FORM);
}

#[test]
fn attacks_with_a_stolen_root_key() {
    run(STOLEN);
}

#[test]
fn attacks_on_links() {
    run(LINKS);
}

#[test]
fn attacks_by_pages() {
    run(PAGES);
}

#[test]
fn attacks_on_our_signature() {
    run(SIGNATURES);
}
