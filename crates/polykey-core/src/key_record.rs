//! Key records: a node's public encryption key, signed by the node.
//!
//! The root key signs and never does Diffie-Hellman. What is sealed to a node is sealed to the separate,
//! random encryption key of its newest key record. Records are numbered from 0 and each names the one
//! before it, so that two records with one number are seen for what they are.
//!
//! Payload: map {0: node, 1: number, 2: public encryption key (1216 bytes), 3: previous record or null}.
//!
//! Always: a [`KeyRecord`] was verified and is signed by its node alone.

use crate::codec::{CodecError, Reader, Writer};
use crate::id::{KeyRecordId, NodeId};
use crate::sealing::{EncryptionPublic, PublicKeyError};
use crate::sign::SigningKey;
use crate::statement::{Kind, MAX_PAYLOAD_LEN, Statement, StatementError};

/// Why bytes are no key record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyRecordError {
    /// Not a valid signed statement.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The payload has another shape.
    #[error("the key record is malformed")]
    Malformed(#[from] CodecError),
    /// The public key in it is none.
    #[error("the key record of node {node} holds no usable key")]
    PublicKey {
        /// Whose record it is.
        node: NodeId,
        /// What is wrong with the key.
        source: PublicKeyError,
    },
    /// Signed by another node, or by more than its own.
    #[error("the key record of node {node} is not signed by that node alone")]
    Signer {
        /// Whose record it claims to be.
        node: NodeId,
    },
    /// The first record names a previous one, or a later one names none.
    #[error("key record {number} of node {node} does not continue a chain")]
    Chain {
        /// Whose record it is.
        node: NodeId,
        /// Its number.
        number: u64,
    },
}

/// A verified key record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    statement: Statement,
    node: NodeId,
    number: u64,
    encryption: EncryptionPublic,
    previous: Option<KeyRecordId>,
}

impl KeyRecord {
    /// The first record of the node with the root key `root`.
    pub fn first(root: &SigningKey, encryption: EncryptionPublic) -> KeyRecord {
        KeyRecord::sign(root, 0, encryption, None)
    }

    /// The record that replaces this one.
    ///
    /// # Panics
    /// When `root` is not this record's node's.
    pub fn next(&self, root: &SigningKey, encryption: EncryptionPublic) -> KeyRecord {
        assert_eq!(root.public(), self.node, "a node continues its own records only");
        KeyRecord::after(root, (self.number, self.id()), encryption)
    }

    /// The record behind the one with this number and id, of which nothing else has to be known.
    pub fn after(
        root: &SigningKey,
        (number, id): (u64, KeyRecordId),
        encryption: EncryptionPublic,
    ) -> KeyRecord {
        KeyRecord::sign(root, number + 1, encryption, Some(id))
    }

    fn sign(
        root: &SigningKey,
        number: u64,
        encryption: EncryptionPublic,
        previous: Option<KeyRecordId>,
    ) -> KeyRecord {
        let node = root.public();
        let mut writer = Writer::new();
        writer
            .map(4)
            .u64(0)
            .bytes(node.as_bytes())
            .u64(1)
            .u64(number)
            .u64(2)
            .bytes(encryption.as_bytes())
            .u64(3);
        match &previous {
            Some(id) => writer.bytes(id.as_bytes()),
            None => writer.null(),
        };
        KeyRecord {
            statement: Statement::sign(Kind::KeyRecord, &writer.finish(), &[root]),
            node,
            number,
            encryption,
            previous,
        }
    }

    /// Parses and verifies a record from anywhere.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn verify(bytes: Vec<u8>) -> Result<KeyRecord, KeyRecordError> {
        KeyRecord::from_statement(Statement::verify(Kind::KeyRecord, bytes)?)
    }

    /// Reads a record that this node verified before and has since kept sealed, without checking the
    /// signature again. Never for bytes from anywhere else.
    ///
    /// # Errors
    /// As [`KeyRecord::verify`], but for the signature.
    pub fn accept_unverified(bytes: Vec<u8>) -> Result<KeyRecord, KeyRecordError> {
        KeyRecord::from_statement(Statement::accept_unverified(Kind::KeyRecord, bytes)?)
    }

    fn from_statement(statement: Statement) -> Result<KeyRecord, KeyRecordError> {
        let mut reader = Reader::new(statement.payload(), MAX_PAYLOAD_LEN, "a key record")?;
        reader.map_of(4)?;
        reader.key(0)?;
        let node = NodeId::from_bytes(reader.bytes_of()?);
        reader.key(1)?;
        let number = reader.u64()?;
        reader.key(2)?;
        let encryption = EncryptionPublic::from_bytes(reader.bytes()?)
            .map_err(|source| KeyRecordError::PublicKey { node, source })?;
        reader.key(3)?;
        let previous = match reader.null()? {
            true => None,
            false => Some(KeyRecordId::from_bytes(reader.bytes_of()?)),
        };
        reader.finish()?;
        if !statement.is_signed_only_by(&node) {
            return Err(KeyRecordError::Signer { node });
        }
        if (number == 0) != previous.is_none() {
            return Err(KeyRecordError::Chain { node, number });
        }
        Ok(KeyRecord {
            statement,
            node,
            number,
            encryption,
            previous,
        })
    }

    /// Its id: what others name when they seal to this key.
    pub fn id(&self) -> KeyRecordId {
        self.statement.id().into()
    }

    /// Whose record it is.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Its place among the node's records, from 0.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The key to seal to.
    pub fn encryption(&self) -> &EncryptionPublic {
        &self.encryption
    }

    /// The record before it; `None` for the first.
    pub fn previous(&self) -> Option<KeyRecordId> {
        self.previous
    }

    /// True when this record comes directly after `earlier`.
    pub fn follows(&self, earlier: &KeyRecord) -> bool {
        self.node == earlier.node
            && self.previous == Some(earlier.id())
            && earlier.number.checked_add(1) == Some(self.number)
    }

    /// The signed statement.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// The record as it is stored and sent.
    pub fn as_bytes(&self) -> &[u8] {
        self.statement.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Key;
    use crate::sealing::EncryptionKey;

    fn root(seed: u8) -> SigningKey {
        SigningKey::from_seed(&Key::from_array([seed; 32]))
    }

    fn encryption(seed: u8) -> EncryptionPublic {
        EncryptionKey::from_seed(&Key::from_array([seed; 32])).public()
    }

    #[test]
    fn records_form_a_chain() {
        let first = KeyRecord::first(&root(1), encryption(1));
        let second = first.next(&root(1), encryption(2));
        assert!(second.follows(&first));
        assert!(!first.follows(&second) && !first.follows(&first));
        for record in [&first, &second] {
            assert_eq!(KeyRecord::verify(record.as_bytes().to_vec()).as_ref(), Ok(record));
            assert_eq!(
                KeyRecord::accept_unverified(record.as_bytes().to_vec()).as_ref(),
                Ok(record)
            );
        }
        let other = KeyRecord::first(&root(2), encryption(1)).next(&root(2), encryption(2));
        assert!(!other.follows(&first));
    }

    #[test]
    fn only_the_node_itself_signs_its_record() {
        let record = KeyRecord::first(&root(1), encryption(1));
        let payload = record.statement().payload();
        let node = root(1).public();
        for keys in [&[&root(2)][..], &[&root(1), &root(2)]] {
            let forged = Statement::sign(Kind::KeyRecord, payload, keys);
            assert_eq!(
                KeyRecord::verify(forged.as_bytes().to_vec()),
                Err(KeyRecordError::Signer { node })
            );
        }
    }

    #[track_caller]
    fn refused(write: impl FnOnce(&mut Writer), want: fn(&KeyRecordError) -> bool) {
        let mut writer = Writer::new();
        write(&mut writer);
        let signed = Statement::sign(Kind::KeyRecord, &writer.finish(), &[&root(1)]);
        let error = KeyRecord::verify(signed.as_bytes().to_vec()).expect_err("refused");
        assert!(want(&error), "{error:?}");
    }

    #[test]
    fn other_shapes_are_refused() {
        use KeyRecordError::*;
        let (node, public) = (*root(1).public().as_bytes(), *encryption(1).as_bytes());
        let head = |w: &mut Writer, len: usize, number: u64, key: &[u8]| {
            w.map(len)
                .u64(0)
                .bytes(&node)
                .u64(1)
                .u64(number)
                .u64(2)
                .bytes(key);
        };
        refused(
            |w| {
                w.null();
            },
            |e| matches!(e, Malformed(_)),
        );
        refused(
            |w| {
                w.map(0);
            },
            |e| matches!(e, Malformed(_)),
        );
        refused(|w| head(w, 3, 0, &public), |e| matches!(e, Malformed(_)));
        refused(
            |w| {
                head(w, 4, 0, &public);
                w.u64(3).bytes(&[1; 31]);
            },
            |e| matches!(e, Malformed(_)),
        );
        refused(
            |w| {
                head(w, 5, 0, &public);
                w.u64(3).null().u64(4).null();
            },
            |e| matches!(e, Malformed(_)),
        );
        refused(
            |w| {
                head(w, 4, 0, &public[1..]);
                w.u64(3).null();
            },
            |e| matches!(e, PublicKey { .. }),
        );
        refused(
            |w| {
                head(w, 4, 0, &public);
                w.u64(3).bytes(&[1; 32]);
            },
            |e| matches!(e, Chain { number: 0, .. }),
        );
        refused(
            |w| {
                head(w, 4, 7, &public);
                w.u64(3).null();
            },
            |e| matches!(e, Chain { number: 7, .. }),
        );
    }
}
