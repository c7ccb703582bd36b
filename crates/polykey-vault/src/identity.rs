//! Identities: who acts in a vault, and the private keys for it.

use polykey_core::NodeId;
use polykey_core::sealing::EncryptionKey;
use polykey_core::sign::SigningKey;

use crate::charter::entry::MemberKeys;
use crate::charter::epoch::Opener;

/// The node that works with a vault. Shared by all vaults of a node; dropped when the agent locks.
#[derive(Debug)]
pub struct Identity {
    signer: SigningKey,
    keys: MemberKeys,
    devices: Vec<(u64, EncryptionKey)>,
    code: Option<EncryptionKey>,
}

impl Identity {
    /// The node whose root key is `signer`, whose public keys are `keys`, and whose private encryption keys
    /// are `devices`, each with the number of its key record.
    pub fn new(signer: SigningKey, keys: MemberKeys, devices: Vec<(u64, EncryptionKey)>) -> Identity {
        Identity {
            signer,
            keys,
            devices,
            code: None,
        }
    }

    /// The same with the key of the recovery code: it opens what was sealed to devices that are lost.
    #[must_use]
    pub fn with_code(self, code: EncryptionKey) -> Identity {
        Identity {
            code: Some(code),
            ..self
        }
    }

    /// Its id.
    pub fn node(&self) -> NodeId {
        self.signer.public()
    }

    /// Its root key.
    pub fn signer(&self) -> &SigningKey {
        &self.signer
    }

    /// Its public keys, as a charter names them.
    pub fn keys(&self) -> &MemberKeys {
        &self.keys
    }

    /// Runs `with` on what opens the epoch keys that were sealed to it.
    pub(crate) fn with_opener<T>(&self, with: impl FnOnce(&Opener<'_>) -> T) -> T {
        let devices: Vec<_> = self.devices.iter().map(|(number, key)| (*number, key)).collect();
        with(&Opener {
            node: self.node(),
            devices: &devices,
            code: self.code.as_ref(),
        })
    }
}
