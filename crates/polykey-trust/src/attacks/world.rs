//! The small world in which the [attacks](super) happen, and what can be done in it.

use std::collections::BTreeMap;

use polykey_core::codec::Writer;
use polykey_core::sign::SigningKey;
use polykey_core::statement::{Kind, Statement};
use polykey_core::{NodeId, StatementId};
use polykey_store::Database;
use polykey_testkit::Chance;

use crate::armour::{find, line};
use crate::book::{self, Source};
use crate::cast::{Person, tie, time};
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

use End::{Alone, Ended, Kept, Refused, Taken, Told, Unproven, Unsigned};

/// What becomes of an attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
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

impl End {
    /// What `docs/attacks.md` says of it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            End::Refused => "refused",
            End::Kept => "changes nothing, kept as evidence",
            End::Told => "changes nothing, told",
            End::Taken => "taken for what it is, gives no right",
            End::Alone => "shown as said by one end",
            End::Unproven => "proves nothing",
            End::Ended => "ends the link, with a notice",
            End::Unsigned => "not signed",
        }
    }
}

pub(super) const D: LinkType = LinkType::Device;
pub(super) const N: LinkType = LinkType::Node;

pub(super) struct World {
    _folder: tempfile::TempDir,
    pub(super) db: Database,
    pub(super) us: Person,
    pub(super) alice: Person,
    pub(super) tablet: Person,
    pub(super) mallory: Person,
    pub(super) puppet: Person,
    /// The chains as their owners have them. The book has them too.
    pub(super) chain: Chain,
    pub(super) tablet_chain: Chain,
    pub(super) mallory_chain: Chain,
    pub(super) puppet_chain: Chain,
    /// The link between Alice's devices.
    pub(super) device: Link,
    /// Alice's claim of github.com:alice.
    pub(super) claim: Claim,
}

pub(super) fn identity(text: &str) -> IdentityId {
    text.parse().unwrap()
}

pub(super) fn says(text: &str) -> Body {
    Body::Identity(identity(text))
}

pub(super) fn bytes(claims: &[Claim]) -> Vec<Vec<u8>> {
    claims.iter().map(|claim| claim.as_bytes().to_vec()).collect()
}

impl World {
    pub(super) fn new() -> World {
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

    pub(super) fn graph(&self) -> Graph {
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

    pub(super) fn rights(&self) -> BTreeMap<NodeId, Actions> {
        let records = self.db.read(permission::records).unwrap();
        permission::reach(&records, &self.graph())
    }

    /// What the book has and holds against a node.
    pub(super) fn book(&self, node: NodeId) -> (Option<Chain>, usize) {
        self.db
            .read(|tx| Ok::<_, TrustError>((book::chain(tx, &node)?, book::evidence(tx, &node)?.len())))
            .unwrap()
    }

    /// Sends entries in the name of `node`.
    pub(super) fn offer(&self, node: NodeId, entries: Vec<Vec<u8>>, source: Source) -> End {
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
    pub(super) fn alice_sends(&self, change: impl FnOnce(&mut Vec<Vec<u8>>)) -> End {
        let mut entries = bytes(self.chain.entries());
        change(&mut entries);
        self.offer(self.alice.node(), entries, Source::Owner)
    }

    /// Sends one entry behind the end of Alice's chain.
    pub(super) fn alice_adds(&self, claim: Vec<u8>) -> End {
        self.offer(self.alice.node(), vec![claim], Source::Owner)
    }

    /// As the thief of Alice's root key: signs a claim for the end of her chain, with a second key or without.
    pub(super) fn forge(&self, second: Option<&SigningKey>, body: &Body) -> Vec<u8> {
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
    pub(super) fn raw(
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

    pub(super) fn tip(&self) -> (u64, Option<StatementId>) {
        let Place { number, previous } = self.chain.next_place();
        (number, Some(previous))
    }

    /// Mallory says `body` and shows his chain.
    pub(super) fn mallory_says(&mut self, body: &Body) -> End {
        let place = self.mallory_chain.next_place();
        let Ok(claim) = Claim::sign(&self.mallory.keys.root, None, place, time(20), body) else {
            return Refused;
        };
        // He may write what he likes; it is we who check.
        let _ = self.mallory_chain.push(claim.clone());
        self.offer(self.mallory.node(), bytes(&[claim]), Source::Owner)
    }

    /// True when the book of the node shows the statement as one that nobody answered.
    pub(super) fn is_alone(&self, node: NodeId, tie: Tie) -> End {
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
    pub(super) fn look(&self, of: &str, page: &str, chain: &Chain) -> End {
        let id = identity(of);
        let found = find(page).map_err(ProofError::from);
        let look = Look::Page(found.and_then(|page| proof::check(&id, &page, chain)));
        self.record(&id, &look)
    }

    pub(super) fn record(&self, id: &IdentityId, look: &Look) -> End {
        let notices = self.db.write(|tx| proof::record(tx, id, look, time(6))).unwrap();
        match (look, &notices[..]) {
            (_, [Notice::Ended { .. }, ..]) => Ended,
            (Look::Page(Ok(_)), _) => Taken,
            (_, []) => Unproven,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn invite(&self, kind: LinkType, issuer: &Person) -> Invitation {
        let (chance, us) = (Chance::new(9), self.us.node());
        self.db
            .write(|tx| invitation::invite(tx, kind, issuer.node(), us, time(100), time(1), &chance))
            .unwrap()
    }

    /// Brings a proposal to us.
    pub(super) fn propose(&self, peer: &Person, proposal: &Proposal, now: u64) -> End {
        let (root, peer) = (&self.us.keys.root, peer.node());
        let signed = self
            .db
            .write(|tx| invitation::answer(tx, root, &peer, proposal, time(now)));
        if signed.is_ok() { Taken } else { Unsigned }
    }

    pub(super) fn proposal(&self, by: &Person, kind: LinkType, to: &Person, id: InvitationId) -> Proposal {
        Proposal::sign(&by.keys.root, kind, to.node(), id, time(3)).unwrap()
    }

    /// Alice goes on, and we hear of it.
    pub(super) fn alice_goes_on(&mut self, body: &Body) {
        self.alice.says(&mut self.chain, body);
        let entries = bytes(self.chain.entries());
        assert_eq!(self.offer(self.alice.node(), entries, Source::Owner), Taken);
    }

    pub(super) fn tablet_says(&mut self, body: &Body) -> End {
        let place = self.tablet_chain.next_place();
        let claim = Claim::sign(&self.tablet.keys.root, None, place, time(20), body).unwrap();
        let _ = self.tablet_chain.push(claim.clone());
        self.offer(self.tablet.node(), bytes(&[claim]), Source::Owner)
    }

    /// A fork of Alice's chain that keeps `kept` entries, by the thief of her root key.
    pub(super) fn fork(&self, kept: usize, bodies: &[Body]) -> End {
        let entries = self.chain.entries()[..kept].to_vec();
        let mut fork = Chain::verify(self.alice.node(), entries).unwrap();
        for body in bodies {
            self.alice.says(&mut fork, body);
        }
        self.offer(self.alice.node(), bytes(fork.entries()), Source::Owner)
    }
}
