//! The sigchain's first entry: what a node is from its first day on.
//!
//! It ties together the node's root key, its recovery key, its code key and its first key record. Both
//! the root key and the recovery key sign it, so nobody can put another's recovery key into their own
//! chain, nor found a chain for a node whose recovery code they do not hold.
//!
//! Every entry of a sigchain is a claim: a map that starts with {0: type, 1: node, 2: number from 0,
//! 3: previous entry or null, 4: created}. This type adds {5: public recovery key, 6: public code key
//! (1216 bytes), 7: id of the first key record}.
//!
//! Always: a [`SigchainStart`] was verified and is signed by exactly those two keys.

use crate::clock::Timestamp;
use crate::codec::{CodecError, Reader, Writer};
use crate::id::{KeyRecordId, NodeId, StatementId};
use crate::key_record::KeyRecord;
use crate::recovery::RecoveryKeys;
use crate::sealing::{EncryptionPublic, PublicKeyError};
use crate::sign::SigningKey;
use crate::statement::{Kind, MAX_PAYLOAD_LEN, Statement, StatementError};

/// The claim type of a first entry.
pub const CLAIM_START: u64 = 0;

/// Why bytes are no first entry of a sigchain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SigchainStartError {
    /// Not a valid signed statement.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The payload has another shape, or is a claim of another type.
    #[error("the first entry of the sigchain is malformed")]
    Malformed(#[from] CodecError),
    /// The public code key in it is none.
    #[error("the sigchain of node {node} holds no usable code key")]
    PublicKey {
        /// Whose sigchain it is.
        node: NodeId,
        /// What is wrong with the key.
        source: PublicKeyError,
    },
    /// Not signed by exactly the root key and the recovery key.
    #[error("the sigchain of node {node} does not start with that node's two signatures")]
    Signers {
        /// Whose sigchain it claims to be.
        node: NodeId,
    },
    /// The key record is another node's, another one, or not the first.
    #[error("the key record does not belong to the start of the sigchain of node {node}")]
    KeyRecord {
        /// Whose sigchain it is.
        node: NodeId,
    },
}

/// A verified first entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigchainStart {
    statement: Statement,
    node: NodeId,
    recovery: NodeId,
    code: EncryptionPublic,
    key_record: KeyRecordId,
    created: Timestamp,
}

impl SigchainStart {
    /// Founds the sigchain of the node whose root key is `root`, with the recovery and code key of
    /// `recovery`. Where the node was made from its code, `root` is `recovery.root`.
    ///
    /// # Panics
    /// When `key_record` is not the first record of that node, or both keys are the same.
    pub fn sign(
        root: &SigningKey,
        recovery: &RecoveryKeys,
        key_record: &KeyRecord,
        created: Timestamp,
    ) -> SigchainStart {
        let (node, recovery_public) = (root.public(), recovery.recovery.public());
        assert!(
            key_record.node() == node && key_record.number() == 0,
            "the first key record of this node"
        );
        assert_ne!(node, recovery_public, "two different keys");
        let code = recovery.code.public();
        let mut writer = Writer::new();
        writer.map(8).u64(0).u64(CLAIM_START);
        writer.u64(1).bytes(node.as_bytes());
        writer.u64(2).u64(0).u64(3).null();
        writer.u64(4).u64(created.as_millis());
        writer.u64(5).bytes(recovery_public.as_bytes());
        writer.u64(6).bytes(code.as_bytes());
        writer.u64(7).bytes(key_record.id().as_bytes());
        let keys = [root, &recovery.recovery];
        SigchainStart {
            statement: Statement::sign(Kind::Claim, &writer.finish(), &keys),
            node,
            recovery: recovery_public,
            code,
            key_record: key_record.id(),
            created,
        }
    }

    /// Parses and verifies a first entry from anywhere.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn verify(bytes: Vec<u8>) -> Result<SigchainStart, SigchainStartError> {
        SigchainStart::from_statement(Statement::verify(Kind::Claim, bytes)?)
    }

    /// Reads an entry that this node verified before and has since kept sealed, without checking the
    /// signatures again. Never for bytes from anywhere else.
    ///
    /// # Errors
    /// As [`SigchainStart::verify`], but for the signatures.
    pub fn accept_unverified(bytes: Vec<u8>) -> Result<SigchainStart, SigchainStartError> {
        SigchainStart::from_statement(Statement::accept_unverified(Kind::Claim, bytes)?)
    }

    fn from_statement(statement: Statement) -> Result<SigchainStart, SigchainStartError> {
        let mut reader = Reader::new(
            statement.payload(),
            MAX_PAYLOAD_LEN,
            "the first entry of a sigchain",
        )?;
        reader.map_of(8)?;
        reader.key(0)?;
        reader.key(CLAIM_START)?;
        reader.key(1)?;
        let node = NodeId::from_bytes(reader.bytes_of()?);
        // Number 0 and no previous entry.
        reader.key(2)?;
        reader.key(0)?;
        reader.key(3)?;
        if !reader.null()? {
            return Err(reader.shape().into());
        }
        reader.key(4)?;
        let created = Timestamp::from_millis(reader.u64()?);
        reader.key(5)?;
        let recovery = NodeId::from_bytes(reader.bytes_of()?);
        reader.key(6)?;
        let code = EncryptionPublic::from_bytes(reader.bytes()?)
            .map_err(|source| SigchainStartError::PublicKey { node, source })?;
        reader.key(7)?;
        let key_record = KeyRecordId::from_bytes(reader.bytes_of()?);
        reader.finish()?;
        let mut want = [node, recovery];
        want.sort();
        // Signers are unique, so two equal keys never match.
        if statement.signers() != want {
            return Err(SigchainStartError::Signers { node });
        }
        Ok(SigchainStart {
            statement,
            node,
            recovery,
            code,
            key_record,
            created,
        })
    }

    /// Checks that `record` is the first key record that this entry names, and returns it.
    ///
    /// # Errors
    /// [`SigchainStartError::KeyRecord`].
    pub fn first_key_record<'r>(&self, record: &'r KeyRecord) -> Result<&'r KeyRecord, SigchainStartError> {
        if record.id() == self.key_record && record.node() == self.node && record.number() == 0 {
            Ok(record)
        } else {
            Err(SigchainStartError::KeyRecord { node: self.node })
        }
    }

    /// Its id, which the second entry names.
    pub fn id(&self) -> StatementId {
        self.statement.id()
    }

    /// Whose sigchain it is.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The public recovery key, in the form of a signer.
    pub fn recovery_public(&self) -> NodeId {
        self.recovery
    }

    /// The public code key: what is sealed to it, the recovery code opens.
    pub fn code_public(&self) -> &EncryptionPublic {
        &self.code
    }

    /// The id of the first key record.
    pub fn key_record(&self) -> KeyRecordId {
        self.key_record
    }

    /// When the node was made, by its own clock.
    pub fn created(&self) -> Timestamp {
        self.created
    }

    /// The signed statement.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// The entry as it is stored and sent.
    pub fn as_bytes(&self) -> &[u8] {
        self.statement.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Key;
    use crate::recovery::RecoveryCode;
    use crate::sealing::EncryptionKey;

    fn keys(entropy: u8) -> RecoveryKeys {
        RecoveryCode::from_entropy(&Key::from_array([entropy; 32])).keys()
    }

    fn record(root: &SigningKey) -> KeyRecord {
        KeyRecord::first(root, EncryptionKey::from_seed(&Key::from_array([9; 32])).public())
    }

    fn start(entropy: u8) -> SigchainStart {
        let keys = keys(entropy);
        SigchainStart::sign(
            &keys.root,
            &keys,
            &record(&keys.root),
            Timestamp::from_millis(1000),
        )
    }

    #[test]
    fn a_start_verifies_and_names_its_record() {
        let (start, keys) = (start(1), keys(1));
        assert_eq!(
            SigchainStart::verify(start.as_bytes().to_vec()).as_ref(),
            Ok(&start)
        );
        assert_eq!(start.node(), keys.root.public());
        assert_eq!(start.recovery_public(), keys.recovery.public());
        assert_eq!(start.code_public(), &keys.code.public());
        assert!(start.first_key_record(&record(&keys.root)).is_ok());

        let next = record(&keys.root).next(&keys.root, keys.code.public());
        let other = SigningKey::from_seed(&Key::from_array([3; 32]));
        for wrong in [next, record(&other)] {
            let node = start.node();
            assert_eq!(
                start.first_key_record(&wrong),
                Err(SigchainStartError::KeyRecord { node })
            );
        }
    }

    #[test]
    fn both_keys_sign_and_no_other() {
        let (start, keys) = (start(1), keys(1));
        let stranger = SigningKey::from_seed(&Key::from_array([3; 32]));
        let node = start.node();
        for signers in [
            &[&keys.root][..],
            &[&keys.recovery],
            &[&keys.root, &stranger],
            &[&keys.recovery, &stranger],
            &[&keys.root, &keys.recovery, &stranger],
        ] {
            let forged = Statement::sign(Kind::Claim, start.statement().payload(), signers);
            assert_eq!(
                SigchainStart::verify(forged.as_bytes().to_vec()),
                Err(SigchainStartError::Signers { node })
            );
        }
    }

    #[test]
    fn every_changed_field_of_the_shape_is_refused() {
        let keys = keys(1);
        let (node, recovery) = (keys.root.public(), keys.recovery.public());
        let code = keys.code.public();
        let sign = |claim: u64, number: u64, previous: bool, code: &[u8], more: bool| {
            let mut w = Writer::new();
            w.map(8 + usize::from(more)).u64(0).u64(claim);
            w.u64(1).bytes(node.as_bytes()).u64(2).u64(number).u64(3);
            if previous {
                w.bytes(&[0; 32])
            } else {
                w.null()
            };
            w.u64(4).u64(1).u64(5).bytes(recovery.as_bytes());
            w.u64(6).bytes(code).u64(7).bytes(&[7; 32]);
            if more {
                w.u64(8).null();
            }
            let signed = Statement::sign(Kind::Claim, &w.finish(), &[&keys.root, &keys.recovery]);
            SigchainStart::verify(signed.as_bytes().to_vec())
        };
        assert!(sign(0, 0, false, code.as_bytes(), false).is_ok());
        for bad in [
            sign(1, 0, false, code.as_bytes(), false),
            sign(0, 1, false, code.as_bytes(), false),
            sign(0, 0, true, code.as_bytes(), false),
            sign(0, 0, false, &[0xff; 1216], false),
            sign(0, 0, false, &code.as_bytes()[1..], false),
            sign(0, 0, false, code.as_bytes(), true),
        ] {
            assert!(bad.is_err(), "{bad:?}");
        }
    }
}
