//! Attacks on chains, links, pages and invitations, one by one: each is refused or shown, and gains nobody a right.
//!
//! In this small world *we* allowed Alice's node to notify us and to scan. She has a tablet. Mallory is a node
//! with a valid key, his puppet another; now and then he has stolen something, which the attack says.

use std::collections::BTreeMap;

use polykey_core::codec::Writer;
use polykey_core::genesis::SigchainStart;
use polykey_core::rotation::Rotation;
use polykey_core::sign::SigningKey;
use polykey_core::statement::{Kind, Statement};
use polykey_core::{NodeId, StatementId};
use polykey_store::Database;
use polykey_testkit::Chance;

use crate::armour::{find, line, short_line};
use crate::book::{self, Source};
use crate::cast::{Person, link, proposal, tie, time};
use crate::claim::{Body, Claim, Place};
use crate::error::TrustError;
use crate::gestalt::{Facts, Graph, Tie, Vertex};
use crate::identity::IdentityId;
use crate::invitation::{self, Invitation};
use crate::link::{InvitationId, Link, LinkType, Proposal};
use crate::permission::{self, Action, Actions};
use crate::proof::{self, Look, Notice, ProofError};
use crate::sigchain::{Chain, Merged, verify_entries};
use crate::trial::database;

/// What becomes of an attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It was an error, and nothing changed.
    Refused,
    /// Nothing changed, and it is kept as evidence.
    Kept,
    /// Nothing changed, and the caller was told.
    Told,
    /// It is true and was taken in, for what it is worth.
    Taken,
    /// It stands in a chain, is shown, and is no link.
    Alone,
    /// The page proves nothing.
    Unproven,
    /// The link ended, with a notice.
    Ended,
    /// No second signature was given.
    Unsigned,
}

use End::{Alone, Ended, Kept, Refused, Taken, Told, Unproven, Unsigned};

const D: LinkType = LinkType::Device;
const N: LinkType = LinkType::Node;

struct World {
    _folder: tempfile::TempDir,
    db: Database,
    us: Person,
    alice: Person,
    tablet: Person,
    mallory: Person,
    puppet: Person,
    /// The chains as their owners have them. The book has them too.
    chain: Chain,
    tablet_chain: Chain,
    mallory_chain: Chain,
    puppet_chain: Chain,
    /// The link between Alice's devices.
    device: Link,
    /// Alice's claim of github.com:alice.
    claim: Claim,
}

fn identity(text: &str) -> IdentityId {
    text.parse().unwrap()
}

fn says(text: &str) -> Body {
    Body::Identity(identity(text))
}

fn bytes(claims: &[Claim]) -> Vec<Vec<u8>> {
    claims.iter().map(|claim| claim.as_bytes().to_vec()).collect()
}

impl World {
    fn new() -> World {
        let [us, alice, tablet, mallory, puppet] = [1, 2, 3, 4, 5].map(Person::new);
        let (mut chain, mut tablet_chain) = (alice.chain(), tablet.chain());
        let device = tie(D, (&alice, &mut chain), (&tablet, &mut tablet_chain), 1);
        let claim = alice.says(&mut chain, &says("github.com:alice"));
        alice.says(&mut chain, &Body::KeyRecord(Box::new(alice.record(1))));
        alice.says(&mut chain, &says("dns:alice.example"));
        let (_folder, db) = database();
        let world = World {
            mallory_chain: mallory.chain(),
            puppet_chain: puppet.chain(),
            _folder,
            db,
            us,
            alice,
            tablet,
            mallory,
            puppet,
            chain,
            tablet_chain,
            device,
            claim,
        };
        world.db.write(|tx| book::found(tx, world.us.start())).unwrap();
        for chain in [
            &world.chain,
            &world.tablet_chain,
            &world.mallory_chain,
            &world.puppet_chain,
        ] {
            assert_eq!(
                world.offer(chain.node(), bytes(chain.entries()), Source::Owner),
                Taken
            );
        }
        assert_eq!(
            world.look("github.com:alice", &line(&world.claim), &world.chain),
            Taken
        );
        for action in [Action::Notify, Action::Scan] {
            let node = world.alice.node();
            world
                .db
                .write(|tx| permission::allow(tx, &node, action, time(1)))
                .unwrap();
        }
        world
    }

    fn graph(&self) -> Graph {
        self.db
            .read(|tx| {
                let mut facts = vec![];
                for head in book::heads(tx)? {
                    let chain = book::known_chain(tx, &head.node)?;
                    facts.push(Facts::of(&chain, book::is_doubtful(tx, &head.node)?));
                }
                let proofs = proof::all(tx)?;
                let proofs = proofs
                    .into_iter()
                    .filter_map(|(id, row)| Some((id, row.live?.proof)));
                Ok::<_, TrustError>(Graph::build(facts, proofs, []))
            })
            .unwrap()
    }

    fn rights(&self) -> BTreeMap<NodeId, Actions> {
        let records = self.db.read(permission::records).unwrap();
        permission::reach(&records, &self.graph())
    }

    /// What the book has and holds against a node.
    fn book(&self, node: NodeId) -> (Option<Chain>, usize) {
        self.db
            .read(|tx| Ok::<_, TrustError>((book::chain(tx, &node)?, book::evidence(tx, &node)?.len())))
            .unwrap()
    }

    /// Sends entries in the name of `node`.
    fn offer(&self, node: NodeId, entries: Vec<Vec<u8>>, source: Source) -> End {
        let (chain, evidence) = self.book(node);
        let merged = verify_entries(node, entries)
            .map_err(TrustError::from)
            .and_then(|entries| {
                self.db
                    .write(|tx| book::receive(tx, &node, entries, source, time(5)))
            });
        let after = self.book(node);
        let end = match merged {
            Ok(Merged::Same | Merged::Extended { .. } | Merged::Replaced { .. }) => return Taken,
            Ok(Merged::Shorter { .. } | Merged::Forked { .. }) if after.1 > evidence => Kept,
            Ok(_) => Told,
            Err(_) => {
                assert_eq!(after.1, evidence);
                Refused
            }
        };
        assert_eq!(after.0, chain);
        end
    }

    /// Sends changed entries of Alice's chain in her name.
    fn alice_sends(&self, change: impl FnOnce(&mut Vec<Vec<u8>>)) -> End {
        let mut entries = bytes(self.chain.entries());
        change(&mut entries);
        self.offer(self.alice.node(), entries, Source::Owner)
    }

    /// Sends one entry behind the end of Alice's chain.
    fn alice_adds(&self, claim: Vec<u8>) -> End {
        self.offer(self.alice.node(), vec![claim], Source::Owner)
    }

    /// As the thief of Alice's root key: signs a claim for the end of her chain, with a second key or without.
    fn forge(&self, second: Option<&SigningKey>, body: &Body) -> Vec<u8> {
        let claim = Claim::sign(
            &self.alice.keys.root,
            second,
            self.chain.next_place(),
            time(30),
            body,
        );
        claim.unwrap().as_bytes().to_vec()
    }

    /// Signs any payload for the end of Alice's chain.
    fn raw(
        &self,
        kind: Kind,
        number: u64,
        place: (u64, Option<StatementId>),
        keys: &[&SigningKey],
    ) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.map(6).u64(0).u64(number);
        writer
            .u64(1)
            .bytes(self.alice.node().as_bytes())
            .u64(2)
            .u64(place.0)
            .u64(3);
        match place.1 {
            Some(id) => writer.bytes(id.as_bytes()),
            None => writer.null(),
        };
        writer.u64(4).u64(30).u64(5).bytes(self.mallory.node().as_bytes());
        Statement::sign(kind, &writer.finish(), keys).as_bytes().to_vec()
    }

    fn tip(&self) -> (u64, Option<StatementId>) {
        let Place { number, previous } = self.chain.next_place();
        (number, Some(previous))
    }

    /// Mallory says `body` and shows his chain.
    fn mallory_says(&mut self, body: &Body) -> End {
        let place = self.mallory_chain.next_place();
        let Ok(claim) = Claim::sign(&self.mallory.keys.root, None, place, time(20), body) else {
            return Refused;
        };
        // He may write what he likes; it is we who check.
        let _ = self.mallory_chain.push(claim.clone());
        self.offer(self.mallory.node(), bytes(&[claim]), Source::Owner)
    }

    /// True when the book of the node shows the statement as one that nobody answered.
    fn is_alone(&self, node: NodeId, tie: Tie) -> End {
        let gestalt = self.graph().gestalt(&Vertex::Node(node)).unwrap();
        assert!(
            gestalt.bonds.iter().all(|bond| bond.tie != tie),
            "{:?}",
            gestalt.bonds
        );
        assert!(gestalt.unanswered.iter().any(|bond| bond.tie == tie), "shown");
        Alone
    }

    /// Looks at the page of an identity and at a chain.
    fn look(&self, of: &str, page: &str, chain: &Chain) -> End {
        let id = identity(of);
        let found = find(page).map_err(ProofError::from);
        let look = Look::Page(found.and_then(|page| proof::check(&id, &page, chain)));
        self.record(&id, &look)
    }

    fn record(&self, id: &IdentityId, look: &Look) -> End {
        let notices = self.db.write(|tx| proof::record(tx, id, look, time(6))).unwrap();
        match (look, &notices[..]) {
            (_, [Notice::Ended { .. }, ..]) => Ended,
            (Look::Page(Ok(_)), _) => Taken,
            (_, []) => Unproven,
            other => panic!("{other:?}"),
        }
    }

    fn invite(&self, kind: LinkType, issuer: &Person) -> Invitation {
        let (chance, us) = (Chance::new(9), self.us.node());
        self.db
            .write(|tx| invitation::invite(tx, kind, issuer.node(), us, time(100), time(1), &chance))
            .unwrap()
    }

    /// Brings a proposal to us.
    fn propose(&self, peer: &Person, proposal: &Proposal, now: u64) -> End {
        let (root, peer) = (&self.us.keys.root, peer.node());
        let signed = self
            .db
            .write(|tx| invitation::answer(tx, root, &peer, proposal, time(now)));
        if signed.is_ok() { Taken } else { Unsigned }
    }

    fn proposal(&self, by: &Person, kind: LinkType, to: &Person, id: InvitationId) -> Proposal {
        Proposal::sign(&by.keys.root, kind, to.node(), id, time(3)).unwrap()
    }

    /// Alice goes on, and we hear of it.
    fn alice_goes_on(&mut self, body: &Body) {
        self.alice.says(&mut self.chain, body);
        let entries = bytes(self.chain.entries());
        assert_eq!(self.offer(self.alice.node(), entries, Source::Owner), Taken);
    }

    fn tablet_says(&mut self, body: &Body) -> End {
        let place = self.tablet_chain.next_place();
        let claim = Claim::sign(&self.tablet.keys.root, None, place, time(20), body).unwrap();
        let _ = self.tablet_chain.push(claim.clone());
        self.offer(self.tablet.node(), bytes(&[claim]), Source::Owner)
    }

    /// A fork of Alice's chain that keeps `kept` entries, by the thief of her root key.
    fn fork(&self, kept: usize, bodies: &[Body]) -> End {
        let entries = self.chain.entries()[..kept].to_vec();
        let mut fork = Chain::verify(self.alice.node(), entries).unwrap();
        for body in bodies {
            self.alice.says(&mut fork, body);
        }
        self.offer(self.alice.node(), bytes(fork.entries()), Source::Owner)
    }
}

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

#[test]
fn no_attack_is_here_twice() {
    let all: Vec<_> = [ORDER, FORM, STOLEN, LINKS, PAGES, SIGNATURES].concat();
    let names: std::collections::BTreeSet<_> = all.iter().map(|attack| attack.0).collect();
    assert_eq!(names.len(), all.len());
}
