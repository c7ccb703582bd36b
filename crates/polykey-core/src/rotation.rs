//! The `rotate` claim: a node's root key names its successor.
//!
//! The old root key and the old recovery key both sign it: whoever stole a device has the one, and only
//! the owner of the recovery code has the other. It is an entry of the old node's sigchain, so its payload
//! starts like every claim's ([`genesis`](crate::genesis)): map {0: type, 1: node, 2: number, 3: previous
//! entry, 4: created}. This type adds {5: the new node, 6: the new node's public recovery key}.
//!
//! Always: a [`Rotation`] was verified and is signed by exactly those two keys of the old node. Whether
//! the second signer *is* that node's recovery key, only a reader who knows that key can say.

use crate::clock::Timestamp;
use crate::codec::{CodecError, Reader, Writer};
use crate::id::{NodeId, StatementId};
use crate::sign::SigningKey;
use crate::statement::{Kind, MAX_PAYLOAD_LEN, Statement, StatementError};

/// The claim type of a rotation.
pub const CLAIM_ROTATE: u64 = 5;

/// Why bytes are no `rotate` claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RotationError {
    /// Not a valid signed statement.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The payload has another shape, or is a claim of another type.
    #[error("the rotate claim is malformed")]
    Malformed(#[from] CodecError),
    /// Not signed by the old root key and one other key.
    #[error("the rotate claim of node {node} is not signed by its root key and a recovery key")]
    Signers {
        /// The node that names a successor.
        node: NodeId,
    },
    /// The successor is the node itself, or the keys of one node are the same.
    #[error("the rotate claim of node {node} names a successor that is none")]
    Successor {
        /// The node that names a successor.
        node: NodeId,
    },
}

/// A verified `rotate` claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    statement: Statement,
    node: NodeId,
    recovery: NodeId,
    number: u64,
    previous: StatementId,
    created: Timestamp,
    successor: NodeId,
    successor_recovery: NodeId,
}

impl Rotation {
    /// Signs entry `number` of the old node's sigchain, after the entry `previous`.
    ///
    /// # Errors
    /// [`RotationError::Successor`] when the four keys are not four, [`RotationError::Malformed`] for
    /// number 0.
    pub fn sign(
        root: &SigningKey,
        recovery: &SigningKey,
        place: (u64, StatementId),
        created: Timestamp,
        successor: NodeId,
        successor_recovery: NodeId,
    ) -> Result<Rotation, RotationError> {
        let mut writer = Writer::new();
        writer.map(7).u64(0).u64(CLAIM_ROTATE);
        writer.u64(1).bytes(root.public().as_bytes());
        writer.u64(2).u64(place.0);
        writer.u64(3).bytes(place.1.as_bytes());
        writer.u64(4).u64(created.as_millis());
        writer.u64(5).bytes(successor.as_bytes());
        writer.u64(6).bytes(successor_recovery.as_bytes());
        Rotation::from_statement(Statement::sign(Kind::Claim, &writer.finish(), &[root, recovery]))
    }

    /// Parses and verifies a claim from anywhere.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn verify(bytes: Vec<u8>) -> Result<Rotation, RotationError> {
        Rotation::from_statement(Statement::verify(Kind::Claim, bytes)?)
    }

    /// Reads a claim that this node verified before and has since kept sealed, without checking the
    /// signatures again. Never for bytes from anywhere else.
    ///
    /// # Errors
    /// As [`Rotation::verify`], but for the signatures.
    pub fn accept_unverified(bytes: Vec<u8>) -> Result<Rotation, RotationError> {
        Rotation::from_statement(Statement::accept_unverified(Kind::Claim, bytes)?)
    }

    fn from_statement(statement: Statement) -> Result<Rotation, RotationError> {
        let mut reader = Reader::new(statement.payload(), MAX_PAYLOAD_LEN, "a rotate claim")?;
        reader.map_of(7)?;
        reader.key(0)?;
        reader.key(CLAIM_ROTATE)?;
        reader.key(1)?;
        let node = NodeId::from_bytes(reader.bytes_of()?);
        reader.key(2)?;
        let number = reader.u64()?;
        // Number 0 is the start of a sigchain and nothing else.
        if number == 0 {
            return Err(reader.shape().into());
        }
        reader.key(3)?;
        let previous = StatementId::from_bytes(reader.bytes_of()?);
        reader.key(4)?;
        let created = Timestamp::from_millis(reader.u64()?);
        reader.key(5)?;
        let successor = NodeId::from_bytes(reader.bytes_of()?);
        reader.key(6)?;
        let successor_recovery = NodeId::from_bytes(reader.bytes_of()?);
        reader.finish()?;
        let recovery = match statement.signers() {
            [a, b] if *a == node => *b,
            [a, b] if *b == node => *a,
            _ => return Err(RotationError::Signers { node }),
        };
        let old = [node, recovery];
        if successor == successor_recovery || old.contains(&successor) || old.contains(&successor_recovery) {
            return Err(RotationError::Successor { node });
        }
        Ok(Rotation {
            statement,
            node,
            recovery,
            number,
            previous,
            created,
            successor,
            successor_recovery,
        })
    }

    /// Its id.
    pub fn id(&self) -> StatementId {
        self.statement.id()
    }

    /// The old node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The other key that signed: to be compared with the old node's known recovery key.
    pub fn recovery_public(&self) -> NodeId {
        self.recovery
    }

    /// Its place in the old node's sigchain.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The entry before it in the old node's sigchain.
    pub fn previous(&self) -> StatementId {
        self.previous
    }

    /// When it was made, by its author's clock.
    pub fn created(&self) -> Timestamp {
        self.created
    }

    /// The new node.
    pub fn successor(&self) -> NodeId {
        self.successor
    }

    /// The new node's public recovery key.
    pub fn successor_recovery(&self) -> NodeId {
        self.successor_recovery
    }

    /// The whole signed claim as it is stored and sent.
    pub fn as_bytes(&self) -> &[u8] {
        self.statement.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Key;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&Key::from_array([seed; 32]))
    }

    fn place() -> (u64, StatementId) {
        (3, StatementId::from_bytes([9; 32]))
    }

    fn sign(root: u8, recovery: u8, new: u8, new_recovery: u8) -> Result<Rotation, RotationError> {
        let (new, new_recovery) = (key(new).public(), key(new_recovery).public());
        Rotation::sign(
            &key(root),
            &key(recovery),
            place(),
            Timestamp::from_millis(5),
            new,
            new_recovery,
        )
    }

    #[test]
    fn a_rotation_reads_back() {
        let made = sign(1, 2, 3, 4).expect("four keys");
        let read = Rotation::verify(made.as_bytes().to_vec()).expect("valid");
        assert_eq!(read, made);
        assert_eq!(
            (read.node(), read.recovery_public()),
            (key(1).public(), key(2).public())
        );
        assert_eq!(read.successor(), key(3).public());
        assert_eq!(read.successor_recovery(), key(4).public());
    }

    #[test]
    fn a_successor_is_somebody_else() {
        for (new, new_recovery) in [(1, 4), (2, 4), (3, 1), (3, 2), (3, 3)] {
            assert!(
                matches!(
                    sign(1, 2, new, new_recovery),
                    Err(RotationError::Successor { .. })
                ),
                "{new} {new_recovery}"
            );
        }
    }

    #[test]
    fn both_keys_sign_and_nobody_else() {
        let payload = {
            let made = sign(1, 2, 3, 4).expect("four keys");
            let statement = Statement::verify(Kind::Claim, made.as_bytes().to_vec()).expect("valid");
            statement.payload().to_vec()
        };
        let with = |seeds: &[u8]| {
            let keys: Vec<_> = seeds.iter().map(|seed| key(*seed)).collect();
            let keys: Vec<_> = keys.iter().collect();
            Rotation::verify(Statement::sign(Kind::Claim, &payload, &keys).as_bytes().to_vec())
        };
        assert!(with(&[1, 2]).is_ok());
        for bad in [&[1][..], &[2], &[2, 5], &[1, 2, 5]] {
            assert!(matches!(with(bad), Err(RotationError::Signers { .. })), "{bad:?}");
        }
    }

    #[test]
    fn a_rotation_is_never_the_start_of_a_sigchain() {
        let place = (0, StatementId::from_bytes([9; 32]));
        let (new, new_recovery) = (key(3).public(), key(4).public());
        let made = Rotation::sign(&key(1), &key(2), place, Timestamp::default(), new, new_recovery);
        assert!(matches!(made, Err(RotationError::Malformed(_))));
    }

    #[test]
    fn no_single_flipped_bit_verifies() {
        let made = sign(1, 2, 3, 4).expect("four keys");
        for at in 0..made.as_bytes().len() {
            let mut bytes = made.as_bytes().to_vec();
            bytes[at] ^= 1 << (at % 8);
            assert!(Rotation::verify(bytes).is_err(), "byte {at}");
        }
    }
}
