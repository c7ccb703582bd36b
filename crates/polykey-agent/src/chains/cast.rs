//! Nodes of the tests: keys and chains, and nothing else.

use polykey_core::genesis::SigchainStart;
use polykey_core::key_record::KeyRecord;
use polykey_core::random::OsRandom;
use polykey_core::recovery::{RecoveryCode, RecoveryKeys};
use polykey_core::rotation::Rotation;
use polykey_core::sealing::EncryptionKey;
use polykey_core::sign::SigningKey;
use polykey_core::statement::{Kind, Statement};
use polykey_core::{NodeId, Timestamp};
use polykey_trust::claim::{Body, Claim};
use polykey_trust::link::{InvitationId, Link, LinkType, Proposal};
use polykey_trust::sigchain::Chain;

/// One root key, with its recovery key and the start of its chain.
pub(crate) struct Life {
    pub(crate) keys: RecoveryKeys,
    pub(crate) start: SigchainStart,
    pub(crate) record: KeyRecord,
}

impl Life {
    pub(crate) fn new() -> Life {
        Life::of(RecoveryCode::generate(&OsRandom).keys())
    }

    pub(crate) fn of(keys: RecoveryKeys) -> Life {
        let record = KeyRecord::first(&keys.root, EncryptionKey::random(&OsRandom).public());
        let start = SigchainStart::sign(&keys.root, &keys, &record, time(1));
        Life { keys, start, record }
    }

    pub(crate) fn node(&self) -> NodeId {
        self.start.node()
    }

    pub(crate) fn chain(&self) -> Chain {
        Chain::from_start(self.start.clone())
    }

    /// Names `next` behind the start, signed by `recovery` as the second key.
    pub(crate) fn names_with(&self, next: &Life, recovery: &SigningKey) -> Rotation {
        let place = (1, self.start.id());
        let successor = (next.node(), next.start.recovery_public());
        Rotation::sign(
            &self.keys.root,
            recovery,
            place,
            time(2),
            successor.0,
            successor.1,
        )
        .expect("four keys")
    }

    pub(crate) fn names(&self, next: &Life) -> Rotation {
        self.names_with(next, &self.keys.recovery)
    }

    pub(crate) fn says(&self, chain: &mut Chain, body: &Body) {
        let claim = Claim::sign(&self.keys.root, None, chain.next_place(), time(3), body).expect("a claim");
        chain.push(claim).expect("fits");
    }

    /// A chain that says after its start that the node has these names elsewhere.
    pub(crate) fn saying(&self, names: &[&str]) -> Chain {
        let mut chain = self.chain();
        for name in names {
            let identity = format!("github.com:{name}").parse().expect("an identity");
            self.says(&mut chain, &Body::Identity(identity));
        }
        chain
    }
}

pub(crate) fn time(n: u64) -> Timestamp {
    Timestamp::from_millis(n)
}

/// Puts a link that both signed into both chains.
pub(crate) fn link(kind: LinkType, (a, ours): (&Life, &mut Chain), (b, theirs): (&Life, &mut Chain)) {
    let invitation = InvitationId::from_bytes([7; 16]);
    let proposal = Proposal::sign(&a.keys.root, kind, b.node(), invitation, time(3)).expect("two nodes");
    let statement = Statement::verify(Kind::Link, proposal.as_bytes().to_vec()).expect("just signed");
    let both = statement.countersign(&b.keys.root).as_bytes().to_vec();
    let body = Body::Link(Box::new(Link::verify(both).expect("both signed")));
    a.says(ours, &body);
    b.says(theirs, &body);
}
