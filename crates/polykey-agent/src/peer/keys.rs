//! The keys of another node, verified before anything is sealed to them.

use polykey_core::NodeId;
use polykey_core::genesis::{SigchainStart, SigchainStartError};
use polykey_core::key_record::{KeyRecord, KeyRecordError};
use polykey_vault::charter::{DeviceKey, MemberKeys};

/// Why the keys that a node shows are not believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// The first entry of the sigchain does not hold.
    #[error(transparent)]
    Start(#[from] SigchainStartError),
    /// A key record does not hold.
    #[error(transparent)]
    Record(#[from] KeyRecordError),
    /// They are another node's.
    #[error("the keys are those of node {found}")]
    OtherNode {
        /// Whose they are.
        found: NodeId,
    },
    /// The records are no chain, or there are none.
    #[error("the key records do not follow each other")]
    NoChain,
}

/// The verified keys of a node: they are what it showed, in an unbroken chain from its first day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeKeys {
    start: SigchainStart,
    record: KeyRecord,
}

impl NodeKeys {
    /// Verifies what `node` showed: the first entry of its sigchain, and its key records, newest last.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn verify(node: NodeId, start: Vec<u8>, records: Vec<Vec<u8>>) -> Result<NodeKeys, KeysError> {
        let start = SigchainStart::verify(start)?;
        if start.node() != node {
            return Err(KeysError::OtherNode { found: start.node() });
        }
        let mut newest: Option<KeyRecord> = None;
        for record in records {
            let record = KeyRecord::verify(record)?;
            match &newest {
                None => drop(start.first_key_record(&record)?),
                Some(earlier) if record.follows(earlier) => {}
                Some(_) => return Err(KeysError::NoChain),
            }
            newest = Some(record);
        }
        let record = newest.ok_or(KeysError::NoChain)?;
        Ok(NodeKeys { start, record })
    }

    /// Keys that were verified before.
    pub fn known(start: SigchainStart, record: KeyRecord) -> Option<NodeKeys> {
        (start.node() == record.node()).then_some(NodeKeys { start, record })
    }

    /// The node.
    pub fn node(&self) -> NodeId {
        self.start.node()
    }

    /// The first entry of its sigchain.
    pub fn start(&self) -> &SigchainStart {
        &self.start
    }

    /// Its newest key record.
    pub fn record(&self) -> &KeyRecord {
        &self.record
    }

    /// The keys as a charter names them.
    pub fn member_keys(&self) -> MemberKeys {
        MemberKeys {
            recovery: self.start.recovery_public(),
            code: self.start.code_public().clone(),
            device: DeviceKey {
                record: self.record.id(),
                number: self.record.number(),
                public: self.record.encryption().clone(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use polykey_core::Timestamp;
    use polykey_core::random::OsRandom;
    use polykey_core::recovery::RecoveryCode;
    use polykey_core::sealing::EncryptionKey;

    use super::*;

    #[test]
    fn only_an_unbroken_chain_of_the_node_itself_is_believed() {
        let public = || EncryptionKey::random(&OsRandom).public();
        let (code, foreign) = (
            RecoveryCode::generate(&OsRandom).keys(),
            RecoveryCode::generate(&OsRandom).keys(),
        );
        let first = KeyRecord::first(&code.root, public());
        let second = first.next(&code.root, public());
        let third = second.next(&code.root, public());
        let start = SigchainStart::sign(&code.root, &code, &first, Timestamp::from_millis(1));
        let others = KeyRecord::first(&foreign.root, public());
        let others_start = SigchainStart::sign(&foreign.root, &foreign, &others, Timestamp::from_millis(1));
        let node = start.node();
        let verify = |start: &SigchainStart, records: &[&KeyRecord]| {
            let records = records.iter().map(|record| record.as_bytes().to_vec()).collect();
            NodeKeys::verify(node, start.as_bytes().to_vec(), records)
        };
        let keys = verify(&start, &[&first, &second, &third]).expect("good");
        assert_eq!(keys.member_keys().device.number, 2);
        assert_eq!(keys.member_keys().recovery, code.recovery.public());
        let bad: [(&SigchainStart, &[&KeyRecord]); 7] = [
            (&start, &[]),
            (&start, &[&second]),
            (&start, &[&first, &third]),
            (&start, &[&first, &first]),
            (&start, &[&first, &others]),
            (&start, &[&others]),
            (&others_start, &[&others]),
        ];
        for (at, (start, records)) in bad.into_iter().enumerate() {
            assert!(verify(start, records).is_err(), "{at}");
        }
        let mut torn = start.as_bytes().to_vec();
        let last = torn.len() - 1;
        torn[last] ^= 1;
        assert!(NodeKeys::verify(node, torn, vec![first.as_bytes().to_vec()]).is_err());
    }
}
