//! Signed statements: the one format for commits, charter entries, key records, claims, notifications
//! and audit checkpoints.
//!
//! A statement is a kind, a payload and signatures over both. Its id is the hash of kind and payload
//! *without* the signatures, so that a second signature does not make a second thing. The bytes that
//! came are the bytes that are stored and hashed.
//!
//! On the wire: deterministic CBOR `[1, kind, payload, [[signer, signature], ...]]`, signers in ascending
//! order and unique. What is signed is the kind's [`Label`] and then the payload.
//!
//! Always: a [`Statement`] was verified, strictly, by every signer it lists. Start at
//! [`Statement::sign`] and [`Statement::verify`].

use crate::codec::{CodecError, Reader, Writer};
use crate::hash::hash;
use crate::id::{NodeId, StatementId};
use crate::label::{self, Label};
use crate::sign::{self, SIGNATURE_LEN, SigningKey};

/// The version byte of the whole suite of algorithms and formats.
pub const FORMAT_VERSION: u64 = 1;
/// Most signatures on one statement.
pub const MAX_SIGNATURES: usize = 4;
/// Longest payload in bytes: what one signed item may carry.
pub const MAX_PAYLOAD_LEN: usize = 4 << 20;
/// Longest encoded statement in bytes.
pub const MAX_STATEMENT_LEN: usize = MAX_PAYLOAD_LEN + 1024;

/// What a statement is about. The number is its form in the encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A change of a vault.
    Commit,
    /// A change of a vault's membership.
    Charter,
    /// A node's public encryption key.
    KeyRecord,
    /// An entry of a node's sigchain.
    Claim,
    /// A checkpoint of the audit log.
    AuditCheckpoint,
    /// A message to another node.
    Notification,
    /// Bytes that the user chose.
    UserSignature,
    /// What two nodes say about each other.
    Link,
    /// Into which shares a recovery code was split.
    RecoverySplit,
}

impl Kind {
    /// Every kind, with its number and label.
    pub const ALL: &[(Kind, u64, Label)] = &[
        (Kind::Commit, 1, label::COMMIT),
        (Kind::Charter, 2, label::CHARTER),
        (Kind::KeyRecord, 3, label::KEY_RECORD),
        (Kind::Claim, 4, label::CLAIM),
        (Kind::AuditCheckpoint, 5, label::AUDIT_CHECKPOINT),
        (Kind::Notification, 6, label::NOTIFICATION),
        (Kind::UserSignature, 7, label::USER_SIGNATURE),
        (Kind::Link, 8, label::LINK),
        (Kind::RecoverySplit, 16, label::RECOVERY_SPLIT),
    ];

    fn row(self) -> (u64, Label) {
        let row = Kind::ALL
            .iter()
            .find(|(kind, ..)| *kind == self)
            .expect("every kind has a row");
        (row.1, row.2)
    }

    /// The label that starts what is signed and hashed.
    pub fn label(self) -> Label {
        self.row().1
    }
}

/// Why a statement was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// The bytes are not a statement.
    #[error("the signed statement is malformed")]
    Malformed(#[from] CodecError),
    /// The format version is not ours.
    #[error("the signed statement has format version {0}, which this program does not know")]
    Version(u64),
    /// A statement of another kind.
    #[error("the signed statement is of another kind")]
    WrongKind,
    /// No signature, too many, or signers out of order.
    #[error("the list of signatures is not acceptable")]
    Signatures,
    /// A signature does not verify.
    #[error("the signature of node {signer} is not valid")]
    BadSignature {
        /// The node in whose name it stands.
        signer: NodeId,
    },
}

/// A statement whose every signature was checked. Only [`Statement::sign`] and [`Statement::verify`] make
/// one, so holding it is the proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    kind: Kind,
    id: StatementId,
    signers: Vec<NodeId>,
    bytes: Vec<u8>,
    payload: std::ops::Range<usize>,
}

impl Statement {
    /// Signs `payload`, which must be one deterministic item, with each of `keys`.
    ///
    /// # Panics
    /// With no key, or more than [`MAX_SIGNATURES`]; with a payload over [`MAX_PAYLOAD_LEN`].
    pub fn sign(kind: Kind, payload: &[u8], keys: &[&SigningKey]) -> Statement {
        assert!(
            (1..=MAX_SIGNATURES).contains(&keys.len()),
            "one to {MAX_SIGNATURES} signers"
        );
        assert!(
            payload.len() <= MAX_PAYLOAD_LEN,
            "callers split what is too large for one statement"
        );
        let message = [kind.label().as_bytes(), payload].concat();
        let signatures = keys
            .iter()
            .map(|key| (key.public(), key.sign(&message)))
            .collect();
        Statement::write(kind, payload, signatures)
    }

    /// This statement with one more signature, by `key`: the same id, other bytes.
    ///
    /// # Panics
    /// When it has [`MAX_SIGNATURES`] by others already.
    pub fn countersign(&self, key: &SigningKey) -> Statement {
        let (payload, mut signatures) =
            parse(self.kind, &self.bytes).expect("a statement's own bytes are one");
        let payload = &self.bytes[payload];
        let message = [self.kind.label().as_bytes(), payload].concat();
        signatures.push((key.public(), key.sign(&message)));
        Statement::write(self.kind, payload, signatures)
    }

    fn write(kind: Kind, payload: &[u8], mut signatures: Vec<Signature>) -> Statement {
        signatures.sort();
        signatures.dedup_by_key(|(signer, _)| *signer);
        assert!(
            signatures.len() <= MAX_SIGNATURES,
            "at most {MAX_SIGNATURES} signers"
        );

        let mut writer = Writer::new();
        writer
            .array(4)
            .u64(FORMAT_VERSION)
            .u64(kind.row().0)
            .bytes(payload)
            .array(signatures.len());
        for (signer, signature) in &signatures {
            writer.array(2).bytes(signer.as_bytes()).bytes(signature);
        }
        let signed = writer.finish();
        let start = signed.len() - tail_len(signatures.len()) - payload.len();
        Statement {
            kind,
            id: statement_id(kind, payload),
            signers: signatures.into_iter().map(|(signer, _)| signer).collect(),
            payload: start..start + payload.len(),
            bytes: signed,
        }
    }

    /// Parses `bytes` as a statement of `kind` and checks every signature strictly.
    ///
    /// # Errors
    /// Says what is wrong; nothing of a refused statement comes out.
    pub fn verify(kind: Kind, bytes: Vec<u8>) -> Result<Statement, StatementError> {
        let (payload, signatures) = parse(kind, &bytes)?;
        let message = [kind.label().as_bytes(), &bytes[payload.clone()]].concat();
        for (signer, signature) in &signatures {
            sign::verify(signer, &message, signature)
                .map_err(|_| StatementError::BadSignature { signer: *signer })?;
        }
        Ok(Statement::assemble(kind, bytes, payload, &signatures))
    }

    /// Parses `bytes` that this node verified before and has since kept sealed, without the cost of
    /// checking the signatures again. Never for bytes from anywhere else.
    ///
    /// # Errors
    /// As [`Statement::verify`], but for signatures.
    pub fn accept_unverified(kind: Kind, bytes: Vec<u8>) -> Result<Statement, StatementError> {
        let (payload, signatures) = parse(kind, &bytes)?;
        Ok(Statement::assemble(kind, bytes, payload, &signatures))
    }

    fn assemble(
        kind: Kind,
        bytes: Vec<u8>,
        payload: std::ops::Range<usize>,
        signatures: &[Signature],
    ) -> Statement {
        Statement {
            kind,
            id: statement_id(kind, &bytes[payload.clone()]),
            signers: signatures.iter().map(|(signer, _)| *signer).collect(),
            bytes,
            payload,
        }
    }

    /// What it is about.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Hash of kind and payload.
    pub fn id(&self) -> StatementId {
        self.id
    }

    /// Who signed, in ascending order; never empty.
    pub fn signers(&self) -> &[NodeId] {
        &self.signers
    }

    /// True when `node` is the one and only signer.
    pub fn is_signed_only_by(&self, node: &NodeId) -> bool {
        self.signers == [*node]
    }

    /// The payload: one deterministic item.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[self.payload.clone()]
    }

    /// The whole statement as it is stored and sent.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

type Signature = (NodeId, [u8; SIGNATURE_LEN]);

/// The id of a payload of this kind: BLAKE3-256 of label and payload.
pub fn statement_id(kind: Kind, payload: &[u8]) -> StatementId {
    StatementId::from_bytes(hash(kind.label(), &[payload]))
}

/// Length of the array of signatures at the end of a statement.
fn tail_len(signatures: usize) -> usize {
    // Array head, and for each: array head, 2 + 32 bytes of signer, 2 + 64 bytes of signature.
    1 + signatures * (1 + 34 + 66)
}

fn parse(kind: Kind, bytes: &[u8]) -> Result<(std::ops::Range<usize>, Vec<Signature>), StatementError> {
    let mut reader = Reader::new(bytes, MAX_STATEMENT_LEN, "a signed statement")?;
    reader.array_of(4)?;
    match reader.u64()? {
        FORMAT_VERSION => {}
        other => return Err(StatementError::Version(other)),
    }
    if reader.u64()? != kind.row().0 {
        return Err(StatementError::WrongKind);
    }
    let payload = reader.bytes()?;
    crate::codec::check(payload, MAX_PAYLOAD_LEN)?;
    let count = reader.array()?;
    if !(1..=MAX_SIGNATURES).contains(&count) {
        return Err(StatementError::Signatures);
    }
    let mut signatures: Vec<Signature> = Vec::with_capacity(count);
    for _ in 0..count {
        reader.array_of(2)?;
        signatures.push((NodeId::from_bytes(reader.bytes_of()?), reader.bytes_of()?));
    }
    reader.finish()?;
    if !signatures.is_sorted_by(|a, b| a.0 < b.0) {
        return Err(StatementError::Signatures);
    }
    let start = bytes.len() - tail_len(count) - payload.len();
    Ok((start..start + payload.len(), signatures))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Key;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&Key::from_array([seed; 32]))
    }

    fn payload() -> Vec<u8> {
        let mut writer = Writer::new();
        writer.map(1).u64(0).text("hello");
        writer.finish()
    }

    #[test]
    fn what_was_signed_verifies_and_keeps_its_bytes() {
        let signed = Statement::sign(Kind::Claim, &payload(), &[&key(1), &key(2)]);
        let read = Statement::verify(Kind::Claim, signed.as_bytes().to_vec()).expect("valid");
        assert_eq!(read, signed);
        assert_eq!(read.payload(), payload());
        assert_eq!(read.signers().len(), 2);
    }

    #[test]
    fn the_id_does_not_depend_on_who_signed() {
        let one = Statement::sign(Kind::Claim, &payload(), &[&key(1)]);
        let two = Statement::sign(Kind::Claim, &payload(), &[&key(1), &key(2)]);
        assert_eq!(one.id(), two.id());
        assert_ne!(
            one.id(),
            Statement::sign(Kind::Commit, &payload(), &[&key(1)]).id()
        );
    }

    #[test]
    fn a_second_signature_comes_to_the_first() {
        let both = Statement::sign(Kind::Link, &payload(), &[&key(1), &key(2)]);
        for (first, second) in [(1, 2), (2, 1)] {
            let half = Statement::sign(Kind::Link, &payload(), &[&key(first)]);
            assert_eq!(half.countersign(&key(second)), both);
        }
        assert_eq!(both.countersign(&key(1)), both, "signing twice changes nothing");
        let read = Statement::verify(Kind::Link, both.as_bytes().to_vec());
        assert_eq!(read, Ok(both));
    }

    #[test]
    fn no_single_flipped_bit_verifies() {
        let signed = Statement::sign(Kind::Commit, &payload(), &[&key(1)]);
        for bit in 0..signed.as_bytes().len() * 8 {
            let mut bytes = signed.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Statement::verify(Kind::Commit, bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_statement_is_of_one_kind_only() {
        let signed = Statement::sign(Kind::Commit, &payload(), &[&key(1)]);
        for (kind, ..) in Kind::ALL.iter().filter(|(kind, ..)| *kind != Kind::Commit) {
            assert_eq!(
                Statement::verify(*kind, signed.as_bytes().to_vec()),
                Err(StatementError::WrongKind),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn signature_lists_are_bounded_sorted_and_unique() {
        let signed = Statement::sign(Kind::Claim, &payload(), &[&key(1), &key(2)]);
        let (_, signatures) = parse(Kind::Claim, signed.as_bytes()).expect("valid");
        let with = |list: &[&Signature]| {
            let mut writer = Writer::new();
            writer.array(4).u64(1).u64(4).bytes(&payload()).array(list.len());
            for (signer, signature) in list {
                writer.array(2).bytes(signer.as_bytes()).bytes(signature);
            }
            Statement::verify(Kind::Claim, writer.finish())
        };
        let (a, b) = (&signatures[0], &signatures[1]);
        assert!(with(&[a, b]).is_ok());
        for bad in [vec![], vec![b, a], vec![a, a], vec![a; 5]] {
            assert_eq!(with(&bad), Err(StatementError::Signatures));
        }
    }
}
