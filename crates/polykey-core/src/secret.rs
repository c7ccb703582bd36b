//! Secret bytes: wiped on drop, hidden from `Debug`, never `Clone`.
//!
//! [`SecretBytes`] has any length, [`Key`] is always 32 bytes. To find every place that looks inside,
//! search for `expose`. Buffers that are filled and changed where they lie call [`wipe`] when they are dropped.
//!
//! Always: neither type prints, serialises or compares in variable time.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing, optimization_barrier};

use crate::random::Random;

/// Overwrites all that `bytes` has allocated, and leaves it empty.
///
/// As sure as `Zeroize`, and as fast as memory: that writes byte by byte, which costs more than sealing does.
pub fn wipe(bytes: &mut Vec<u8>) {
    bytes.clear();
    bytes.resize(bytes.capacity(), 0);
    optimization_barrier(bytes.as_slice());
    bytes.clear();
}

/// Secret bytes of any length: wiped on drop, hidden from `Debug`, never `Clone`.
#[derive(Default)]
pub struct SecretBytes(Vec<u8>);

impl Drop for SecretBytes {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

impl SecretBytes {
    /// Takes over `bytes`; they are wiped when this value is dropped.
    pub fn new(bytes: Vec<u8>) -> Self {
        SecretBytes(bytes)
    }

    /// Copies `bytes` into memory that is wiped on drop. The source stays the caller's to wipe.
    pub fn copy_from(bytes: &[u8]) -> Self {
        SecretBytes(bytes.to_vec())
    }

    /// Opens the bytes. Search for `expose` to find every reader.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives up the wrapper; the bytes are still wiped on drop.
    pub fn into_exposed(mut self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(std::mem::take(&mut self.0))
    }
}

impl From<Vec<u8>> for SecretBytes {
    fn from(bytes: Vec<u8>) -> Self {
        SecretBytes::new(bytes)
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(hidden)")
    }
}

impl PartialEq for SecretBytes {
    /// Compares in constant time for equal lengths.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretBytes {}

/// A symmetric key of 32 bytes: wiped on drop, hidden from `Debug`, never `Clone`.
///
/// The bytes live on the heap, so that moving a `Key` leaves no copy behind on the stack.
pub struct Key(Box<Zeroizing<[u8; 32]>>);

impl Key {
    /// Length in bytes.
    pub const LEN: usize = 32;

    /// A key whose bytes `fill` writes in place.
    pub fn fill_with(fill: impl FnOnce(&mut [u8; 32])) -> Self {
        let mut bytes = Box::new(Zeroizing::new([0u8; 32]));
        fill(&mut bytes);
        Key(bytes)
    }

    /// A fresh random key.
    pub fn random(random: &dyn Random) -> Self {
        Key::fill_with(|bytes| random.fill(bytes))
    }

    /// A key with these bytes. `None` unless there are exactly 32.
    pub fn copy_from(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == Key::LEN).then(|| Key::fill_with(|key| key.copy_from_slice(bytes)))
    }

    /// A key with these bytes. An array is copied when it is passed, so the caller's own stays behind:
    /// real keys come from [`Key::fill_with`], [`Key::copy_of`] or [`Key::random`].
    pub fn from_array(mut bytes: [u8; 32]) -> Self {
        let key = Key::fill_with(|k| k.copy_from_slice(&bytes));
        bytes.zeroize();
        key
    }

    /// A key with these bytes, copied straight to where they will be wiped.
    pub fn copy_of(bytes: &[u8; 32]) -> Self {
        Key::fill_with(|key| key.copy_from_slice(bytes))
    }

    /// Opens the bytes. Search for `expose` to find every reader.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// A second key with the same bytes: explicit, because every copy is one more to wipe.
    pub fn duplicate(&self) -> Self {
        Key::fill_with(|k| k.copy_from_slice(self.expose()))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(hidden)")
    }
}

impl PartialEq for Key {
    /// Compares in constant time.
    fn eq(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }
}

impl Eq for Key {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_byte() {
        let shown = format!(
            "{:?} {:?}",
            SecretBytes::copy_from(b"hunter2"),
            Key::from_array([7; 32])
        );
        assert_eq!(shown, "SecretBytes(hidden) Key(hidden)");
    }

    #[test]
    fn wiping_reaches_the_spare_room_too() {
        let mut bytes = vec![7; 300];
        bytes.truncate(5);
        let room = bytes.capacity();
        wipe(&mut bytes);
        assert!(bytes.is_empty() && bytes.capacity() == room);
        wipe(&mut Vec::new());
    }

    #[test]
    fn keys_have_exactly_32_bytes() {
        assert!(Key::copy_from(&[0; 31]).is_none());
        assert!(Key::copy_from(&[0; 33]).is_none());
        assert_eq!(Key::copy_from(&[3; 32]), Some(Key::from_array([3; 32])));
    }
}
