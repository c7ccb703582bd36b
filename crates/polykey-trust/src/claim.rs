//! Claims: the numbered, hash-linked entries of a node's sigchain.
//!
//! Every claim is a map that starts with {0: type, 1: node, 2: number, 3: previous entry, 4: created}; what
//! follows is the type's own, written down in `docs/format.md`, section "Claims". The first entry and the
//! `rotate` claim are made in `polykey-core`, since sealing and charters need them.
//!
//! Always: a [`Claim`] was verified by itself: shape, bounds, and who signed. Whether it fits its place, and
//! whether a second signer is the node's recovery key, only its [chain](crate::sigchain) can say.

use polykey_core::codec::{CodecError, Reader, Writer};
use polykey_core::genesis::{CLAIM_START, SigchainStart, SigchainStartError};
use polykey_core::key_record::{KeyRecord, KeyRecordError};
use polykey_core::rotation::{CLAIM_ROTATE, Rotation, RotationError};
use polykey_core::sign::SigningKey;
use polykey_core::statement::{Kind, Statement, StatementError};
use polykey_core::{NodeId, StatementId, Timestamp};

use crate::identity::{IdentityError, IdentityId};
use crate::link::{Link, LinkError, LinkType};

/// Longest encoded claim in bytes.
pub const MAX_CLAIM_LEN: usize = 4096;

const CLAIM_IDENTITY: u64 = 3;
const CLAIM_KEY_RECORD: u64 = 4;
const CLAIM_REVOKE: u64 = 6;
const CLAIM_DEVICE_REMOVED: u64 = 7;
const CLAIM_RESUME: u64 = 8;
const CLAIM_SUCCEED: u64 = 9;

/// Why bytes are no claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// Not a valid signed statement.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The payload has another shape.
    #[error("the claim is malformed")]
    Malformed(#[from] CodecError),
    /// A type of claim that this program does not know.
    #[error("the claim is of type {0}, which this program does not know")]
    Type(u64),
    /// Not signed by its node, or signed by more than its type allows.
    #[error("the claim of node {node} does not have the signatures that its type needs")]
    Signers {
        /// Whose claim it says it is.
        node: NodeId,
    },
    /// Number 0 is the start of a sigchain and nothing else.
    #[error("the claim of node {node} has number 0 without being a start")]
    Number {
        /// Whose claim it is.
        node: NodeId,
    },
    /// No acceptable first entry.
    #[error(transparent)]
    Start(#[from] SigchainStartError),
    /// No acceptable `rotate` claim, alone or inside a `succeed` claim.
    #[error(transparent)]
    Rotation(#[from] RotationError),
    /// The key record in it is none, or another node's.
    #[error("the claim of node {node} carries no key record of that node")]
    KeyRecord {
        /// Whose claim it is.
        node: NodeId,
        /// What is wrong with the record; `None` when it is another node's.
        source: Option<KeyRecordError>,
    },
    /// The link in it is none, is of another type, or does not name the node.
    #[error("the claim of node {node} carries no such link of that node")]
    Link {
        /// Whose claim it is.
        node: NodeId,
        /// What is wrong with the link; `None` when it does not belong here.
        source: Option<LinkError>,
    },
    /// The identity in it is none.
    #[error("the claim of node {node} names no identity")]
    Identity {
        /// Whose claim it is.
        node: NodeId,
        /// What is wrong with the name.
        source: IdentityError,
    },
    /// It speaks about its own node where another one belongs.
    #[error("the claim of node {node} names that node itself")]
    Itself {
        /// Whose claim it is.
        node: NodeId,
    },
}

/// Where a claim stands in its chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its number, from 1.
    pub number: u64,
    /// The entry before it.
    pub previous: StatementId,
}

/// What a claim says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Number 0: the node's recovery key, code key and first key record.
    Start(Box<SigchainStart>),
    /// A `device` or `link-node` link, signed by both nodes.
    Link(Box<Link>),
    /// The node says that it speaks for an identity.
    Identity(IdentityId),
    /// A newer key record.
    KeyRecord(Box<KeyRecord>),
    /// The node names its successor; nothing follows but what the recovery key signs.
    Rotate(Box<Rotation>),
    /// Ends what another entry of this chain, or a link, says. Final: whoever means it again says it anew.
    Revoke(StatementId),
    /// Another node is no device of this principal any more.
    DeviceRemoved(NodeId),
    /// Opens a branch: with the recovery key, at any place of the chain.
    Resume,
    /// This node is the successor that another node's `rotate` claim names.
    Succeed(Box<Rotation>),
}

impl Body {
    /// Its name, for people.
    pub fn name(&self) -> &'static str {
        match self {
            Body::Start(_) => "start",
            Body::Link(link) => link.terms().kind.as_str(),
            Body::Identity(_) => "link-identity",
            Body::KeyRecord(_) => "key-record",
            Body::Rotate(_) => "rotate",
            Body::Revoke(_) => "revoke",
            Body::DeviceRemoved(_) => "device-removed",
            Body::Resume => "resume",
            Body::Succeed(_) => "succeed",
        }
    }
}

/// A verified claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    statement: Statement,
    node: NodeId,
    number: u64,
    previous: Option<StatementId>,
    created: Timestamp,
    body: Body,
}

impl Claim {
    /// Signs a claim at `place` of the chain of the node with the root key `root`. `recovery` signs too when
    /// given: a `resume` needs it, a `revoke` may have it, nothing else takes it.
    ///
    /// # Errors
    /// [`ClaimError`], as for a claim from elsewhere: nothing is signed here that others would refuse.
    ///
    /// # Panics
    /// With a start or a `rotate` body: those are made by [`SigchainStart::sign`] and [`Rotation::sign`].
    pub fn sign(
        root: &SigningKey,
        recovery: Option<&SigningKey>,
        place: Place,
        created: Timestamp,
        body: &Body,
    ) -> Result<Claim, ClaimError> {
        let mut writer = Writer::new();
        let (number, pairs) = match body {
            Body::Link(link) => (link.terms().kind.number(), 6),
            Body::Identity(_) => (CLAIM_IDENTITY, 7),
            Body::KeyRecord(_) => (CLAIM_KEY_RECORD, 6),
            Body::Revoke(_) => (CLAIM_REVOKE, 6),
            Body::DeviceRemoved(_) => (CLAIM_DEVICE_REMOVED, 6),
            Body::Resume => (CLAIM_RESUME, 5),
            Body::Succeed(_) => (CLAIM_SUCCEED, 6),
            Body::Start(_) | Body::Rotate(_) => panic!("starts and rotations are made in the core"),
        };
        writer.map(pairs).u64(0).u64(number);
        writer.u64(1).bytes(root.public().as_bytes());
        writer.u64(2).u64(place.number);
        writer.u64(3).bytes(place.previous.as_bytes());
        writer.u64(4).u64(created.as_millis());
        match body {
            Body::Link(link) => writer.u64(5).bytes(link.as_bytes()),
            Body::Identity(identity) => {
                writer.u64(5).text(identity.provider());
                writer.u64(6).text(identity.identity())
            }
            Body::KeyRecord(record) => writer.u64(5).bytes(record.as_bytes()),
            Body::Revoke(id) => writer.u64(5).bytes(id.as_bytes()),
            Body::DeviceRemoved(node) => writer.u64(5).bytes(node.as_bytes()),
            Body::Succeed(rotation) => writer.u64(5).bytes(rotation.as_bytes()),
            Body::Resume | Body::Start(_) | Body::Rotate(_) => &mut writer,
        };
        let keys: Vec<_> = std::iter::once(root).chain(recovery).collect();
        let statement = Statement::sign(Kind::Claim, &writer.finish(), &keys);
        Claim::from_statement(statement, Trusted::Yes)
    }

    /// Parses and verifies a claim from anywhere.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn verify(bytes: Vec<u8>) -> Result<Claim, ClaimError> {
        let statement = Statement::verify(Kind::Claim, bounded(bytes)?)?;
        Claim::from_statement(statement, Trusted::No)
    }

    /// Reads a claim that this node verified before and has since kept sealed, without checking any
    /// signature again. Never for bytes from anywhere else.
    ///
    /// # Errors
    /// As [`Claim::verify`], but for the signatures.
    pub fn accept_unverified(bytes: Vec<u8>) -> Result<Claim, ClaimError> {
        let statement = Statement::accept_unverified(Kind::Claim, bounded(bytes)?)?;
        Claim::from_statement(statement, Trusted::Yes)
    }

    fn from_statement(statement: Statement, trusted: Trusted) -> Result<Claim, ClaimError> {
        let mut reader = Reader::new(statement.payload(), MAX_CLAIM_LEN, "a claim")?;
        let pairs = reader.map()?;
        reader.key(0)?;
        let number_of_type = reader.u64()?;
        reader.key(1)?;
        let node = NodeId::from_bytes(reader.bytes_of()?);
        reader.key(2)?;
        let number = reader.u64()?;
        reader.key(3)?;
        let previous = match reader.null()? {
            true => None,
            false => Some(StatementId::from_bytes(reader.bytes_of()?)),
        };
        reader.key(4)?;
        let created = Timestamp::from_millis(reader.u64()?);
        let body = match number_of_type {
            // The signatures of these two were checked, or are known, as those of the statement.
            CLAIM_START => Body::Start(Box::new(SigchainStart::accept_unverified(
                statement.as_bytes().to_vec(),
            )?)),
            CLAIM_ROTATE => Body::Rotate(Box::new(Rotation::accept_unverified(
                statement.as_bytes().to_vec(),
            )?)),
            _ => {
                let body = read_body(&mut reader, number_of_type, pairs, node, trusted)?;
                reader.finish()?;
                body
            }
        };
        let is_start = matches!(body, Body::Start(_));
        if is_start != (number == 0) || is_start != previous.is_none() {
            return Err(ClaimError::Number { node });
        }
        let is_second_allowed = matches!(
            body,
            Body::Start(_) | Body::Rotate(_) | Body::Resume | Body::Revoke(_)
        );
        let is_second_needed = is_second_allowed && !matches!(body, Body::Revoke(_));
        let signers = statement.signers();
        let fits = match signers.len() {
            1 => !is_second_needed,
            2 => is_second_allowed,
            _ => false,
        };
        if !fits || !signers.contains(&node) {
            return Err(ClaimError::Signers { node });
        }
        Ok(Claim {
            statement,
            node,
            number,
            previous,
            created,
            body,
        })
    }

    /// Whose claim it is.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Its place in the chain, from 0.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The entry before it; `None` for the start.
    pub fn previous(&self) -> Option<StatementId> {
        self.previous
    }

    /// When it was made, by its author's clock.
    pub fn created(&self) -> Timestamp {
        self.created
    }

    /// What it says.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// Its id.
    pub fn id(&self) -> StatementId {
        self.statement.id()
    }

    /// The other key that signed it, which has to be the node's recovery key.
    pub fn second_signer(&self) -> Option<NodeId> {
        self.statement
            .signers()
            .iter()
            .find(|signer| **signer != self.node)
            .copied()
    }

    /// The claim as it is stored and sent.
    pub fn as_bytes(&self) -> &[u8] {
        self.statement.as_bytes()
    }
}

impl From<SigchainStart> for Claim {
    fn from(start: SigchainStart) -> Claim {
        Claim::accept_unverified(start.as_bytes().to_vec()).expect("a verified start is a claim")
    }
}

impl From<Rotation> for Claim {
    fn from(rotation: Rotation) -> Claim {
        Claim::accept_unverified(rotation.as_bytes().to_vec()).expect("a verified rotation is a claim")
    }
}

/// Whether statements inside the claim were verified before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trusted {
    Yes,
    No,
}

fn read_body(
    reader: &mut Reader<'_>,
    number: u64,
    pairs: usize,
    node: NodeId,
    trusted: Trusted,
) -> Result<Body, ClaimError> {
    let want = match number {
        1 | 2 | CLAIM_KEY_RECORD | CLAIM_REVOKE | CLAIM_DEVICE_REMOVED | CLAIM_SUCCEED => 6,
        CLAIM_IDENTITY => 7,
        CLAIM_RESUME => 5,
        other => return Err(ClaimError::Type(other)),
    };
    if pairs != want {
        return Err(reader.shape().into());
    }
    if number == CLAIM_RESUME {
        return Ok(Body::Resume);
    }
    reader.key(5)?;
    Ok(match number {
        CLAIM_IDENTITY => {
            let provider = reader.text()?;
            reader.key(6)?;
            let identity = format!("{provider}:{}", reader.text()?);
            let identity = identity
                .parse::<IdentityId>()
                .map_err(|source| ClaimError::Identity { node, source })?;
            // A colon that stands in the wrong half would give one identity two encodings.
            if identity.provider() != provider {
                return Err(reader.shape().into());
            }
            Body::Identity(identity)
        }
        CLAIM_KEY_RECORD => {
            let bytes = reader.bytes()?.to_vec();
            let record = match trusted {
                Trusted::Yes => KeyRecord::accept_unverified(bytes),
                Trusted::No => KeyRecord::verify(bytes),
            };
            let refuse = |source| ClaimError::KeyRecord { node, source };
            let record = record.map_err(|error| refuse(Some(error)))?;
            if record.node() != node {
                return Err(refuse(None));
            }
            Body::KeyRecord(Box::new(record))
        }
        CLAIM_REVOKE => Body::Revoke(StatementId::from_bytes(reader.bytes_of()?)),
        CLAIM_DEVICE_REMOVED => match NodeId::from_bytes(reader.bytes_of()?) {
            removed if removed == node => return Err(ClaimError::Itself { node }),
            removed => Body::DeviceRemoved(removed),
        },
        CLAIM_SUCCEED => {
            let bytes = reader.bytes()?.to_vec();
            let rotation = match trusted {
                Trusted::Yes => Rotation::accept_unverified(bytes)?,
                Trusted::No => Rotation::verify(bytes)?,
            };
            if rotation.successor() != node {
                return Err(RotationError::Successor {
                    node: rotation.node(),
                }
                .into());
            }
            Body::Succeed(Box::new(rotation))
        }
        _ => {
            let kind = LinkType::from_number(number).expect("only the two types of links are left");
            let bytes = reader.bytes()?.to_vec();
            let link = match trusted {
                Trusted::Yes => Link::accept_unverified(bytes),
                Trusted::No => Link::verify(bytes),
            };
            let refuse = |source| ClaimError::Link { node, source };
            let link = link.map_err(|error| refuse(Some(error)))?;
            if link.terms().kind != kind || link.other_end(&node).is_none() {
                return Err(refuse(None));
            }
            Body::Link(Box::new(link))
        }
    })
}

fn bounded(bytes: Vec<u8>) -> Result<Vec<u8>, ClaimError> {
    if bytes.len() > MAX_CLAIM_LEN {
        return Err(CodecError::TooLong { limit: MAX_CLAIM_LEN }.into());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cast::{Person, link, time};

    fn place() -> Place {
        Place {
            number: 1,
            previous: StatementId::from_bytes([1; 32]),
        }
    }

    /// One claim of each type that is made here.
    fn all() -> Vec<Claim> {
        let [a, b] = [1, 2].map(Person::new);
        let old = Person::new(3).rotation_to(&a, place());
        let bodies = [
            (Body::Link(Box::new(link(LinkType::Device, &a, &b, 1))), false),
            (Body::Link(Box::new(link(LinkType::Node, &b, &a, 1))), false),
            (Body::Identity("github.com:alice".parse().unwrap()), false),
            (Body::KeyRecord(Box::new(a.record(1))), false),
            (Body::Revoke(StatementId::from_bytes([2; 32])), false),
            (Body::Revoke(StatementId::from_bytes([2; 32])), true),
            (Body::DeviceRemoved(b.node()), false),
            (Body::Resume, true),
            (Body::Succeed(Box::new(old)), false),
        ];
        bodies
            .iter()
            .map(|(body, second)| {
                let recovery = second.then_some(&a.keys.recovery);
                Claim::sign(&a.keys.root, recovery, place(), time(4), body).unwrap()
            })
            .chain([a.start().into(), a.rotation_to(&b, place()).into()])
            .collect()
    }

    #[test]
    fn what_was_signed_verifies_and_keeps_its_bytes() {
        for claim in all() {
            let read = Claim::verify(claim.as_bytes().to_vec());
            assert_eq!(read.as_ref(), Ok(&claim), "{}", claim.body().name());
            let again = Claim::accept_unverified(claim.as_bytes().to_vec());
            assert_eq!(again.as_ref(), Ok(&claim), "{}", claim.body().name());
            assert!(claim.as_bytes().len() <= MAX_CLAIM_LEN);
        }
    }

    #[test]
    fn no_flipped_bit_verifies() {
        for claim in all() {
            let len = claim.as_bytes().len();
            // Every bit of the short parts and a sample of the long keys.
            for at in (0..len).filter(|at| *at < 120 || *at > len - 120 || at % 37 == 0) {
                let mut bytes = claim.as_bytes().to_vec();
                bytes[at] ^= 1 << (at % 8);
                assert!(Claim::verify(bytes).is_err(), "{} at {at}", claim.body().name());
            }
        }
    }

    #[test]
    fn each_type_has_the_signatures_that_it_needs() {
        let [a, b, c] = [1, 2, 3].map(Person::new);
        for claim in all() {
            let payload = Statement::verify(Kind::Claim, claim.as_bytes().to_vec()).unwrap();
            let payload = payload.payload();
            let node = a.node();
            for keys in [
                &[&b.keys.root][..],
                &[&a.keys.recovery],
                &[&a.keys.root, &a.keys.recovery, &b.keys.root],
                &[&b.keys.root, &b.keys.recovery],
                &[&a.keys.root],
                &[&a.keys.root, &c.keys.root],
            ] {
                let forged = Statement::sign(Kind::Claim, payload, keys);
                let read = Claim::verify(forged.as_bytes().to_vec());
                let signers = forged.signers();
                let fits = signers.contains(&node)
                    && match claim.body() {
                        // Which key the second one is, only the chain knows; a start names it itself.
                        Body::Resume | Body::Rotate(_) => signers.len() == 2,
                        Body::Revoke(_) => signers.len() <= 2,
                        Body::Start(_) => false,
                        _ => signers.len() == 1,
                    };
                assert_eq!(read.is_ok(), fits, "{} by {signers:?}", claim.body().name());
            }
        }
    }

    #[test]
    fn statements_of_other_kinds_are_no_claims() {
        let a = Person::new(1);
        for claim in all() {
            let statement = Statement::verify(Kind::Claim, claim.as_bytes().to_vec()).unwrap();
            for (kind, ..) in Kind::ALL.iter().filter(|row| row.0 != Kind::Claim) {
                let other = Statement::sign(*kind, statement.payload(), &[&a.keys.root]);
                assert!(Claim::verify(other.as_bytes().to_vec()).is_err(), "{kind:?}");
            }
        }
    }

    #[track_caller]
    fn refused(pairs: usize, number: u64, rest: impl FnOnce(&mut Writer)) {
        let a = Person::new(1);
        let mut writer = Writer::new();
        writer.map(pairs).u64(0).u64(number);
        writer.u64(1).bytes(a.node().as_bytes()).u64(2).u64(1);
        writer.u64(3).bytes(&[1; 32]).u64(4).u64(5);
        rest(&mut writer);
        let signed = Statement::sign(Kind::Claim, &writer.finish(), &[&a.keys.root]);
        let read = Claim::verify(signed.as_bytes().to_vec());
        assert!(read.is_err(), "{read:?}");
    }

    #[test]
    fn other_shapes_are_refused() {
        let [a, b, c] = [1, 2, 3].map(Person::new);
        let one = |bytes: Vec<u8>| {
            move |w: &mut Writer| {
                w.u64(5).bytes(&bytes);
            }
        };
        // Links: of the other type, of other nodes, half signed, cut, empty.
        let device = link(LinkType::Device, &a, &b, 1);
        refused(6, 2, one(device.as_bytes().to_vec()));
        refused(6, 1, one(link(LinkType::Node, &a, &b, 1).as_bytes().to_vec()));
        refused(6, 1, one(link(LinkType::Device, &b, &c, 1).as_bytes().to_vec()));
        refused(
            6,
            1,
            one(crate::cast::proposal(LinkType::Device, &a, &b, 1)
                .as_bytes()
                .to_vec()),
        );
        refused(6, 1, one(device.as_bytes()[1..].to_vec()));
        refused(6, 1, one(vec![]));
        // Identities: no text, not an identity, the colon moved to the other half.
        refused(6, CLAIM_IDENTITY, one(b"github.com".to_vec()));
        for (provider, identity) in [
            ("github.com", "Alice"),
            ("", "alice"),
            ("github.com:alice", ""),
            ("dns", "no domain"),
            ("git", "hub.com:alice"),
        ] {
            refused(7, CLAIM_IDENTITY, |w| {
                w.u64(5).text(provider).u64(6).text(identity);
            });
        }
        // Key records: another node's, none.
        refused(6, CLAIM_KEY_RECORD, one(b.record(1).as_bytes().to_vec()));
        refused(6, CLAIM_KEY_RECORD, one(vec![0xf6]));
        refused(6, CLAIM_REVOKE, one(vec![0; 31]));
        refused(6, CLAIM_DEVICE_REMOVED, one(a.node().as_bytes().to_vec()));
        refused(6, CLAIM_DEVICE_REMOVED, one(vec![0; 33]));
        // A rotation to another node than the one that says it succeeds.
        refused(
            6,
            CLAIM_SUCCEED,
            one(c.rotation_to(&b, place()).as_bytes().to_vec()),
        );
        refused(6, CLAIM_SUCCEED, one(a.start().as_bytes().to_vec()));
        // Unknown types, missing and further keys.
        for number in [10, 11, u64::MAX] {
            refused(6, number, one(vec![0; 32]));
        }
        refused(5, CLAIM_REVOKE, |_| {});
        refused(7, CLAIM_REVOKE, |w| {
            w.u64(5).bytes(&[0; 32]).u64(6).null();
        });
        refused(5, CLAIM_RESUME, |_| {});
        assert!(Claim::verify(vec![0; 1 << 20]).is_err());
    }

    #[test]
    fn number_0_is_a_start_and_nothing_else() {
        let a = Person::new(1);
        let zero = Place { number: 0, ..place() };
        let body = Body::DeviceRemoved(Person::new(2).node());
        let made = Claim::sign(&a.keys.root, None, zero, time(1), &body);
        assert_eq!(made, Err(ClaimError::Number { node: a.node() }));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Payloads that somebody with a valid key made up: whatever comes out, it is never a panic, and what
        /// is taken is read again as it was.
        #[test]
        fn made_up_payloads_are_taken_or_refused(
            which in any::<prop::sample::Index>(),
            at in any::<prop::sample::Index>(),
            with in prop::collection::vec(any::<u8>(), 0..8),
            cut in 0..8usize,
        ) {
            let claims = all();
            let claim = &claims[which.index(claims.len())];
            let statement = Statement::verify(Kind::Claim, claim.as_bytes().to_vec()).unwrap();
            let mut payload = statement.payload().to_vec();
            let from = at.index(payload.len());
            let to = (from + cut).min(payload.len());
            payload.splice(from..to, with);
            let a = Person::new(1);
            let forged = Statement::sign(Kind::Claim, &payload, &[&a.keys.root]);
            if let Ok(read) = Claim::verify(forged.as_bytes().to_vec()) {
                prop_assert_eq!(Claim::accept_unverified(read.as_bytes().to_vec()), Ok(read));
            }
        }
    }
}
