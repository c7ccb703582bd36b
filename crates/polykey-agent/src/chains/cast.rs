//! Nodes of the tests: keys and chains, and nothing else.

use polykey_core::genesis::SigchainStart;
use polykey_core::key_record::KeyRecord;
use polykey_core::random::OsRandom;
use polykey_core::recovery::{RecoveryCode, RecoveryKeys};
use polykey_core::rotation::Rotation;
use polykey_core::sealing::EncryptionKey;
use polykey_core::sign::SigningKey;
use polykey_core::{NodeId, Timestamp};
use polykey_trust::claim::{Body, Claim};
use polykey_trust::sigchain::Chain;

/// One root key, with its recovery key and the start of its chain.
pub(super) struct Life {
    pub(super) keys: RecoveryKeys,
    pub(super) start: SigchainStart,
    pub(super) record: KeyRecord,
}

impl Life {
    pub(super) fn new() -> Life {
        let keys = RecoveryCode::generate(&OsRandom).keys();
        let record = KeyRecord::first(&keys.root, EncryptionKey::random(&OsRandom).public());
        let start = SigchainStart::sign(&keys.root, &keys, &record, time(1));
        Life { keys, start, record }
    }

    pub(super) fn node(&self) -> NodeId {
        self.start.node()
    }

    pub(super) fn chain(&self) -> Chain {
        Chain::from_start(self.start.clone())
    }

    /// Names `next` behind the start, signed by `recovery` as the second key.
    pub(super) fn names_with(&self, next: &Life, recovery: &SigningKey) -> Rotation {
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

    pub(super) fn names(&self, next: &Life) -> Rotation {
        self.names_with(next, &self.keys.recovery)
    }

    pub(super) fn says(&self, chain: &mut Chain, body: &Body) {
        let claim = Claim::sign(&self.keys.root, None, chain.next_place(), time(3), body).expect("a claim");
        chain.push(claim).expect("fits");
    }

    /// A chain that says after its start that the node has these names elsewhere.
    pub(super) fn saying(&self, names: &[&str]) -> Chain {
        let mut chain = self.chain();
        for name in names {
            let identity = format!("github.com:{name}").parse().expect("an identity");
            self.says(&mut chain, &Body::Identity(identity));
        }
        chain
    }
}

pub(super) fn time(n: u64) -> Timestamp {
    Timestamp::from_millis(n)
}
