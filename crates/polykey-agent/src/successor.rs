//! The next root key, on its way into force.
//!
//! A new root key changes two files that nothing changes together: the database with the node's own records, and
//! the key file with the slots of the password and of the recovery code. So the records of the next root key are
//! put beside the present ones first, with the salt of the recovery slot that belongs to them. Then the key file
//! is replaced: from that moment on the new key holds. Then its records take their place. A crash leaves the
//! last step to whoever opens the node next, who forgets the records when the key file is still the old one.
//!
//! Always: the recovery slot in the key file says which root key holds.

use std::collections::BTreeMap;

use polykey_api::{Code, Problem};
use polykey_core::SecretBytes;
use polykey_core::genesis::SigchainStart;
use polykey_core::key_file::KeyFile;
use polykey_core::key_record::KeyRecord;
use polykey_core::rotation::Rotation;
use polykey_core::sign::SigningKey;
use polykey_core::{Key, Random, label};
use polykey_store::{Database, StoreError};

use crate::failure;
use crate::node::Node;
use crate::open::{
    self, FORMER, FORMER_RECORDS, FORMER_STARTS, KEY_RECORDS, ROOT, ROTATIONS, SEEDS, SIGCHAIN,
    former_context,
};
use crate::paths::NodePaths;
use crate::tables::IDENTITY;

/// Group of the records of the next root key, each under the name of the group that it goes to.
const NEXT: &[u8] = b"next";
/// Items of that group: the salt of the recovery slot, and the number of the root key that makes room.
const SLOT: &[u8] = b"slot";
const NUMBER: &[u8] = b"number";
/// The number of the first key record and of the first sigchain entry.
const FIRST: [u8; 8] = [0; 8];

/// A root key that may come into force.
pub struct Successor {
    /// The key.
    pub root: SigningKey,
    /// Its record of the node's encryption key.
    pub key_record: KeyRecord,
    /// The first entry of its sigchain.
    pub start: SigchainStart,
    /// The claim in which the present root key names it, if it does.
    pub rotation: Option<Rotation>,
}

impl Successor {
    /// Puts the records beside the present ones, in the place of those of an earlier attempt. They come into force
    /// with `file`, which is not in its place yet.
    ///
    /// # Errors
    /// [`StoreError`]; the present root key holds in any case.
    pub fn prepare(&self, node: &Node, file: &KeyFile, random: &dyn Random) -> Result<(), StoreError> {
        let number = node.former.len() as u64;
        let sealed = |context: &[u8], key: &SigningKey| {
            let seed = Key::copy_of(key.expose_seed());
            node.master.seal_seed(label::MASTER_ROOT, context, &seed, random)
        };
        let (old, new) = (
            sealed(&former_context(number), &node.root),
            sealed(ROOT, &self.root),
        );
        let number = number.to_be_bytes();
        let rotation = self
            .rotation
            .as_ref()
            .map(|rotation| (ROTATIONS, rotation.as_bytes()));
        node.db.write(|tx| {
            tx.remove_group(IDENTITY, NEXT)?;
            let records = [
                (SLOT, &file.code_salt()[..]),
                (NUMBER, &number),
                (FORMER, &old),
                (FORMER_RECORDS, node.key_record.as_bytes()),
                (FORMER_STARTS, node.sigchain_start.as_bytes()),
                (SEEDS, &new),
                (KEY_RECORDS, self.key_record.as_bytes()),
                (SIGCHAIN, self.start.as_bytes()),
            ];
            for (name, value) in records.into_iter().chain(rotation) {
                tx.put(IDENTITY, NEXT, name, value)?;
            }
            Ok(())
        })
    }
}

/// Puts the records of the next root key in their place when `file`, which was read from the disk, is the one that
/// they came with, and forgets them otherwise.
///
/// # Errors
/// What the disk says; trying again helps.
pub fn settle(db: &Database, paths: &NodePaths, file: &KeyFile) -> Result<(), Problem> {
    let store = |error: StoreError| failure::store(&error);
    let next = db.read(|tx| tx.group(IDENTITY, NEXT)).map_err(store)?;
    let next: BTreeMap<Vec<u8>, SecretBytes> = next.into_iter().collect();
    if next.is_empty() {
        return Ok(());
    }
    let part = |name: &[u8]| {
        next.get(name).map(SecretBytes::expose).ok_or_else(|| {
            Problem::new(Code::BadData, "a record of the node's next root key is missing")
                .hint("put the node path back from a backup")
        })
    };
    if part(SLOT)? != file.code_salt() {
        let forgotten = db.write_removal::<_, StoreError>(|tx| tx.remove_group(IDENTITY, NEXT));
        if let Err(error) = forgotten {
            // They are in nobody's way: the next opening tries again.
            tracing::warn!(%error, "the records of a root key that was not taken stay");
        }
        return Ok(());
    }
    // After a failed sync the new name may be there until the machine stops, and no longer.
    open::sync_folder_of(&paths.keys())?;
    let number = part(NUMBER)?;
    let mut records = vec![
        (FORMER, number, part(FORMER)?),
        (FORMER_RECORDS, number, part(FORMER_RECORDS)?),
        (FORMER_STARTS, number, part(FORMER_STARTS)?),
        (SEEDS, ROOT, part(SEEDS)?),
        (KEY_RECORDS, &FIRST, part(KEY_RECORDS)?),
        (SIGCHAIN, &FIRST, part(SIGCHAIN)?),
    ];
    if let Ok(rotation) = part(ROTATIONS) {
        records.push((ROTATIONS, number, rotation));
    }
    db.write_removal(|tx| {
        for (group, item, value) in &records {
            tx.put(IDENTITY, group, item, value)?;
        }
        tx.remove_group(IDENTITY, NEXT).map(drop)
    })
    .map_err(store)
}
