//! Packs: what a folder replica keeps its small items in.
//!
//! One file holds what came together: charter entries, commits, and objects that are too small for a file
//! of their own. Thousands of files on a memory stick would take minutes where a few packs take a second.
//!
//! Always: a pack is written once and named by the hash of its bytes; reading takes any bytes and gives back
//! what has the form, for the caller to verify item by item. The layout is in `docs/format.md`, section
//! "Folder replica".

use polykey_core::codec::{CodecError, Reader, Writer};
use polykey_core::hash::hash;
use polykey_core::id::{ObjectId, VaultId};
use polykey_core::label;

/// Longest pack in bytes: the largest commit with its small objects, and room for what came with it.
pub const MAX_PACK_LEN: usize = 16 << 20;
/// A pack is closed before it grows past this, unless a single item is longer.
pub const FULL_PACK_LEN: usize = 4 << 20;
/// Most items of one kind in a pack.
const MAX_ITEMS: usize = 65_536;
const FORMAT: u64 = 1;

/// The items of one pack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pack {
    /// Charter entries.
    pub entries: Vec<Vec<u8>>,
    /// Commits: signed statement and sealed body.
    pub commits: Vec<(Vec<u8>, Vec<u8>)>,
    /// Small objects.
    pub objects: Vec<Vec<u8>>,
}

impl Pack {
    /// About how long it will be.
    pub fn len(&self) -> usize {
        let entries: usize = self.entries.iter().map(|entry| entry.len() + 5).sum();
        let commits: usize = self.commits.iter().map(|(a, b)| a.len() + b.len() + 11).sum();
        let objects: usize = self.objects.iter().map(|object| object.len() + 5).sum();
        entries + commits + objects
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.commits.is_empty() && self.objects.is_empty()
    }

    /// True when the next items should go into another pack.
    pub fn is_full(&self) -> bool {
        let items = self.entries.len().max(self.commits.len()).max(self.objects.len());
        self.len() >= FULL_PACK_LEN || items >= MAX_ITEMS
    }

    pub fn encode(&self, vault: &VaultId) -> Vec<u8> {
        let mut w = Writer::new();
        w.array(5).u64(FORMAT).bytes(vault.as_bytes());
        w.array(self.entries.len());
        for entry in &self.entries {
            w.bytes(entry);
        }
        w.array(self.commits.len());
        for (statement, body) in &self.commits {
            w.array(2).bytes(statement).bytes(body);
        }
        w.array(self.objects.len());
        for object in &self.objects {
            w.bytes(object);
        }
        w.finish()
    }

    /// Reads a pack of `vault`.
    pub fn decode(vault: &VaultId, bytes: &[u8]) -> Result<Pack, CodecError> {
        let mut from = Reader::new(bytes, MAX_PACK_LEN, "a pack")?;
        from.array_of(5)?;
        if from.u64()? != FORMAT || from.bytes_of::<32>()? != *vault.as_bytes() {
            return Err(from.shape());
        }
        let mut pack = Pack::default();
        // Memory is taken item by item, and each was seen to be there when the whole was checked.
        for _ in 0..from.array()? {
            pack.entries.push(from.bytes()?.to_vec());
        }
        for _ in 0..from.array()? {
            from.array_of(2)?;
            pack.commits
                .push((from.bytes()?.to_vec(), from.bytes()?.to_vec()));
        }
        for _ in 0..from.array()? {
            pack.objects.push(from.bytes()?.to_vec());
        }
        from.finish()?;
        Ok(pack)
    }
}

/// The name of a pack: it has the form of an object's.
pub(crate) fn pack_id(bytes: &[u8]) -> ObjectId {
    ObjectId::from_bytes(hash(label::PACK, &[bytes]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack() -> Pack {
        Pack {
            entries: vec![vec![1; 10], vec![]],
            commits: vec![(vec![2; 300], vec![3; 70_000])],
            objects: vec![vec![4; 300]],
        }
    }

    const VAULT: VaultId = VaultId::from_bytes([9; 32]);

    #[test]
    fn a_pack_reads_back_and_no_part_of_it_passes_for_the_whole() {
        let bytes = pack().encode(&VAULT);
        assert_eq!(Pack::decode(&VAULT, &bytes), Ok(pack()));
        assert!(bytes.len() <= pack().len() + 64, "the estimate is no lie");
        for cut in (0..bytes.len()).step_by(97) {
            assert!(Pack::decode(&VAULT, &bytes[..cut]).is_err(), "{cut}");
        }
        let longer = [bytes.as_slice(), b"x"].concat();
        assert!(Pack::decode(&VAULT, &longer).is_err());
        assert!(Pack::decode(&VaultId::from_bytes([8; 32]), &bytes).is_err());
        let mut newer = bytes.clone();
        newer[1] = 2;
        assert!(Pack::decode(&VAULT, &newer).is_err());
        assert!(Pack::decode(&VAULT, &vec![0x9f; MAX_PACK_LEN + 1]).is_err());
    }

    /// A pack that was written once is named and read as it was.
    #[test]
    fn the_layout_is_frozen() {
        let small = Pack {
            entries: vec![vec![1, 2]],
            commits: vec![(vec![3], vec![4, 5])],
            objects: vec![vec![6, 7, 8]],
        };
        let mut frozen = vec![0x85, 0x01, 0x58, 0x20];
        frozen.extend([9; 32]);
        frozen.extend([
            0x81, 0x42, 1, 2, 0x81, 0x82, 0x41, 3, 0x42, 4, 5, 0x81, 0x43, 6, 7, 8,
        ]);
        assert_eq!(small.encode(&VAULT), frozen);
        assert_eq!(Pack::decode(&VAULT, &frozen), Ok(small));
        let name = include_str!("../../tests/vectors/pack.txt").trim();
        assert_eq!(pack_id(&frozen).to_string(), name);
    }
}
