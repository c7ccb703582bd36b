//! BLAKE3-256: content ids, and keyed hashes for index keys.
//!
//! Every use names a [`Label`], so no two uses ever hash the same bytes.

use crate::label::Label;
use crate::secret::Key;

/// Length of every hash here, in bytes.
pub const HASH_LEN: usize = 32;

/// BLAKE3-256 over the label and then `parts`, in order. Parts are *not* separated: callers hash one
/// canonical item, or parts of fixed length.
pub fn hash(label: Label, parts: &[&[u8]]) -> [u8; HASH_LEN] {
    let mut hasher = Hasher::new(label);
    for part in parts {
        hasher.update(part);
    }
    hasher.finish()
}

/// Keyed BLAKE3-256 over the label and then `parts`, with the rules of [`hash`].
pub fn keyed_hash(key: &Key, label: Label, parts: &[&[u8]]) -> [u8; HASH_LEN] {
    let mut hasher = blake3::Hasher::new_keyed(key.expose());
    hasher.update(label.as_bytes());
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

/// BLAKE3-256 of a stream.
pub struct Hasher(blake3::Hasher);

impl Hasher {
    /// Starts with the label.
    pub fn new(label: Label) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(label.as_bytes());
        Hasher(hasher)
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of all that was added.
    pub fn finish(&self) -> [u8; HASH_LEN] {
        *self.0.finalize().as_bytes()
    }
}
