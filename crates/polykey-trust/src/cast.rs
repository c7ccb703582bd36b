//! People for tests: keys from a seed, and the statements that they make.

use polykey_core::genesis::SigchainStart;
use polykey_core::key_record::KeyRecord;
use polykey_core::recovery::RecoveryKeys;
use polykey_core::rotation::Rotation;
use polykey_core::sealing::EncryptionKey;
use polykey_core::sign::SigningKey;
use polykey_core::{Key, NodeId, Timestamp};

use crate::claim::{Body, Claim, Place};
use crate::link::{InvitationId, Link, LinkType, Proposal};
use crate::sigchain::Chain;

pub(crate) fn time(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// A node and its keys.
pub(crate) struct Person {
    seed: u8,
    pub keys: RecoveryKeys,
}

impl Person {
    pub fn new(seed: u8) -> Person {
        // The keys of a code, without the time that a code takes.
        let key = |part: u8| Key::from_array(std::array::from_fn(|i| if i == 0 { part } else { seed }));
        let keys = RecoveryKeys {
            root: SigningKey::from_seed(&key(1)),
            slot: key(2),
            recovery: SigningKey::from_seed(&key(3)),
            code: EncryptionKey::from_seed(&key(4)),
        };
        Person { seed, keys }
    }

    pub fn node(&self) -> NodeId {
        self.keys.root.public()
    }

    /// The key record with this number.
    pub fn record(&self, number: u8) -> KeyRecord {
        let public =
            |number: u8| EncryptionKey::from_seed(&Key::from_array([self.seed ^ number << 4; 32])).public();
        let first = KeyRecord::first(&self.keys.root, public(0));
        (1..=number).fold(first, |record, number| {
            record.next(&self.keys.root, public(number))
        })
    }

    pub fn start(&self) -> SigchainStart {
        self.start_at(0)
    }

    pub fn start_at(&self, millis: u64) -> SigchainStart {
        SigchainStart::sign(&self.keys.root, &self.keys, &self.record(0), time(millis))
    }

    pub fn chain(&self) -> Chain {
        Chain::from_start(self.start())
    }

    pub fn rotation_to(&self, next: &Person, place: Place) -> Rotation {
        Rotation::sign(
            &self.keys.root,
            &self.keys.recovery,
            (place.number, place.previous),
            time(9),
            next.node(),
            next.keys.recovery.public(),
        )
        .expect("four keys")
    }

    /// Signs `body` as the next entry of `chain`, by the root key alone.
    pub fn says(&self, chain: &mut Chain, body: &Body) -> Claim {
        let claim =
            Claim::sign(&self.keys.root, None, chain.next_place(), time(10), body).expect("acceptable");
        chain.push(claim.clone()).expect("fits its place");
        claim
    }

    /// As [`Person::says`], with the recovery key too.
    pub fn insists(&self, chain: &mut Chain, body: &Body, millis: u64) -> Claim {
        let claim = Claim::sign(
            &self.keys.root,
            Some(&self.keys.recovery),
            chain.next_place(),
            time(millis),
            body,
        )
        .expect("acceptable");
        chain.push(claim.clone()).expect("fits its place");
        claim
    }

    /// Names `next` as the successor, at the end of `chain`.
    pub fn rotates(&self, chain: &mut Chain, next: &Person) -> Rotation {
        let rotation = self.rotation_to(next, chain.next_place());
        chain.push(rotation.clone().into()).expect("fits its place");
        rotation
    }
}

pub(crate) fn proposal(kind: LinkType, issuer: &Person, subject: &Person, invitation: u8) -> Proposal {
    let invitation = InvitationId::from_bytes([invitation; 16]);
    Proposal::sign(&issuer.keys.root, kind, subject.node(), invitation, time(3)).expect("two nodes")
}

pub(crate) fn link(kind: LinkType, issuer: &Person, subject: &Person, invitation: u8) -> Link {
    proposal(kind, issuer, subject, invitation)
        .countersign(&subject.keys.root)
        .expect("the subject's key")
}

/// Puts a link into both chains.
pub(crate) fn tie(
    kind: LinkType,
    (a, ours): (&Person, &mut Chain),
    (b, theirs): (&Person, &mut Chain),
    invitation: u8,
) -> Link {
    let link = link(kind, a, b, invitation);
    let body = Body::Link(Box::new(link.clone()));
    a.says(ours, &body);
    b.says(theirs, &body);
    link
}
