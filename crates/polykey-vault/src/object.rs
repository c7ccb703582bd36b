//! Objects: how content is cut and sealed.
//!
//! Content is padded with zeros to its Padme length, cut into pieces, and each piece is sealed alone under a
//! random key of its own: nonce, ciphertext, tag. An object is named by the hash of these bytes, so it can
//! be checked by anybody and opened by nobody without the key that its commit keeps.
//!
//! Always: a piece comes out only when its name, its key, its vault and its position are all right.
//! Source: `docs/format.md`, section "Vault".

use polykey_core::aead::{self, NONCE_LEN, OVERHEAD, OpenError, TAG_LEN};
use polykey_core::hash::hash;
use polykey_core::padme::padded_len;
use polykey_core::random::{Random, random_array};
use polykey_core::secret::wipe;
use polykey_core::{Key, ObjectId, VaultId, label};

use crate::event::ObjectRef;

/// Longest object, nonce and tag included.
pub const MAX_OBJECT_LEN: usize = 256 << 10;
/// Shortest object: padding lengthens the whole, but the last of several pieces holds whatever is left over.
pub const MIN_OBJECT_LEN: usize = 1 + OVERHEAD;
/// Plain bytes in every object of a secret but the last.
pub const PIECE_LEN: usize = MAX_OBJECT_LEN - OVERHEAD;
/// Objects up to this sealed length live in the database and travel with their commit.
pub const INLINE_LEN: usize = 16 << 10;

/// A buffer for one piece, with room at the front for the nonce and at the end for the tag: the piece is
/// read, sealed and written in one place, and the buffer serves the next piece.
pub(crate) struct Piece {
    buffer: Vec<u8>,
    len: usize,
}

impl Drop for Piece {
    fn drop(&mut self) {
        wipe(&mut self.buffer);
    }
}

impl Piece {
    /// An empty piece that takes up to `room` plain bytes, at most [`PIECE_LEN`].
    pub fn new(room: usize) -> Piece {
        Piece {
            buffer: vec![0; room + OVERHEAD],
            len: 0,
        }
    }

    /// The plain bytes so far.
    pub fn plain(&self) -> &[u8] {
        &self.buffer[NONCE_LEN..NONCE_LEN + self.len]
    }

    /// Length of the plain bytes so far.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The room that is left.
    pub fn room(&mut self) -> &mut [u8] {
        let end = self.buffer.len() - TAG_LEN;
        &mut self.buffer[NONCE_LEN + self.len..end]
    }

    /// Counts bytes that were written at the start of the room.
    pub fn add(&mut self, len: usize) {
        debug_assert!(len <= self.room().len(), "what was written fits the room");
        self.len += len;
    }

    /// Fills up with zeros to `len` plain bytes.
    pub fn pad_to(&mut self, len: usize) {
        let more = len - self.len;
        self.room()[..more].fill(0);
        self.len = len;
    }

    /// The same bytes with room for `room` of them.
    pub fn grown_to(self, room: usize) -> Piece {
        let mut grown = Piece::new(room);
        grown.room()[..self.len].copy_from_slice(self.plain());
        grown.add(self.len);
        grown
    }

    /// The sealed bytes, after [`Piece::seal`] told their length.
    pub fn sealed(&self, len: usize) -> &[u8] {
        &self.buffer[..len]
    }

    /// Seals the piece as number `index` of a secret in `vault`; the sealed bytes, and what names and opens
    /// them.
    pub fn seal(&mut self, vault: &VaultId, index: u64, random: &dyn Random) -> (ObjectRef, &[u8]) {
        let key = Key::random(random);
        // A key of its own seals nothing else; the nonce is random all the same, so that two keys that
        // are equal by a fault of the generator do not share a key stream.
        let nonce: [u8; NONCE_LEN] = random_array(random);
        self.buffer[..NONCE_LEN].copy_from_slice(&nonce);
        let end = NONCE_LEN + self.len;
        let body = &mut self.buffer[NONCE_LEN..end];
        let tag = aead::seal_in_place(&key, &nonce, &context(vault, index), body);
        self.buffer[end..end + TAG_LEN].copy_from_slice(&tag);
        let sealed = &self.buffer[..end + TAG_LEN];
        self.len = 0;
        let object = ObjectRef {
            id: object_id(sealed),
            size: u32::try_from(sealed.len()).expect("at most 256 KiB"),
            key,
        };
        (object, sealed)
    }
}

/// The name of an object with these bytes.
pub fn object_id(bytes: &[u8]) -> ObjectId {
    ObjectId::from_bytes(hash(label::OBJECT, &[bytes]))
}

/// Checks the name of a piece and opens it.
///
/// # Errors
/// [`OpenError`] when the bytes are not those of `object`, or the piece belongs elsewhere.
#[cfg(test)]
pub(crate) fn open(
    vault: &VaultId,
    index: u64,
    object: &ObjectRef,
    bytes: Vec<u8>,
) -> Result<Opened, OpenError> {
    let named = Named::check(object.id, bytes).ok_or(OpenError)?;
    open_named(vault, index, object, named)
}

/// Bytes that were found to be those that an id names.
pub(crate) struct Named(ObjectId, Vec<u8>);

impl Named {
    /// Compares the hash of `bytes` with `id`.
    pub fn check(id: ObjectId, bytes: Vec<u8>) -> Option<Named> {
        (object_id(&bytes) == id).then_some(Named(id, bytes))
    }
}

/// Opens piece number `index` of a secret in `vault` where it lies; the plain bytes, padding included.
///
/// # Errors
/// [`OpenError`] when the piece is not the one that `object` refers to, or belongs elsewhere.
pub(crate) fn open_named(
    vault: &VaultId,
    index: u64,
    object: &ObjectRef,
    Named(id, mut bytes): Named,
) -> Result<Opened, OpenError> {
    if bytes.len() != object.size as usize || id != object.id {
        return Err(OpenError);
    }
    let (nonce, body) = bytes.split_first_chunk_mut::<NONCE_LEN>().ok_or(OpenError)?;
    let len = aead::open_in_place(&object.key, nonce, &context(vault, index), body)?;
    bytes.truncate(NONCE_LEN + len);
    Ok(Opened(bytes))
}

/// The plain bytes of a piece; wiped on drop.
pub(crate) struct Opened(Vec<u8>);

impl Drop for Opened {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

impl Opened {
    pub fn plain(&self) -> &[u8] {
        &self.0[NONCE_LEN..]
    }
}

/// Label, vault and position (8 bytes, big-endian).
fn context(vault: &VaultId, index: u64) -> Vec<u8> {
    [
        label::OBJECT_AAD.as_bytes(),
        vault.as_bytes(),
        &index.to_be_bytes(),
    ]
    .concat()
}

/// Number of objects that hold `size` bytes of content.
pub(crate) fn objects_for(size: u64) -> u64 {
    padded_len(size).div_ceil(PIECE_LEN as u64)
}

/// Sealed length of object number `index` of content of `size` bytes.
pub(crate) fn sealed_len(size: u64, index: u64) -> Option<u64> {
    let start = index.checked_mul(PIECE_LEN as u64)?;
    let left = padded_len(size).checked_sub(start).filter(|left| *left > 0)?;
    Some(left.min(PIECE_LEN as u64) + OVERHEAD as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use polykey_core::random::OsRandom;

    fn vault() -> VaultId {
        VaultId::from_bytes([1; 32])
    }

    struct Sealed {
        object: ObjectRef,
        bytes: Vec<u8>,
    }

    fn sealed(plain: &[u8], index: u64) -> Sealed {
        let mut piece = Piece::new(PIECE_LEN);
        piece.room()[..plain.len()].copy_from_slice(plain);
        piece.add(plain.len());
        let (object, bytes) = piece.seal(&vault(), index, &OsRandom);
        let bytes = bytes.to_vec();
        Sealed { object, bytes }
    }

    #[test]
    fn a_buffer_leaks_nothing_from_one_piece_to_the_next() {
        let mut piece = Piece::new(1000);
        piece.room()[..500].fill(7);
        piece.add(500);
        piece.seal(&vault(), 0, &OsRandom);
        piece.room()[..3].fill(8);
        piece.add(3);
        piece.pad_to(300);
        let (object, bytes) = piece.seal(&vault(), 1, &OsRandom);
        let opened = open(&vault(), 1, &object, bytes.to_vec()).expect("its own");
        assert_eq!(opened.plain(), [&[8; 3][..], &[0; 297]].concat());
    }

    #[test]
    fn a_piece_opens_in_its_place_only() {
        let piece = sealed(&[7; 300], 2);
        let open_at = |vault: &VaultId, index, bytes: &[u8]| {
            open(vault, index, &piece.object, bytes.to_vec()).map(|opened| opened.plain().to_vec())
        };
        assert_eq!(open_at(&vault(), 2, &piece.bytes), Ok(vec![7; 300]));
        assert!(open_at(&vault(), 1, &piece.bytes).is_err());
        assert!(open_at(&VaultId::from_bytes([2; 32]), 2, &piece.bytes).is_err());
    }

    #[test]
    fn no_changed_object_opens() {
        let piece = sealed(&[7; 300], 0);
        let check = |bytes: Vec<u8>| assert!(open(&vault(), 0, &piece.object, bytes).is_err());
        check(vec![]);
        check(piece.bytes[..300].to_vec());
        check([piece.bytes.as_slice(), &[0]].concat());
        check(sealed(&[7; 300], 0).bytes);
        for byte in 0..piece.bytes.len() {
            let mut bytes = piece.bytes.clone();
            bytes[byte] ^= 1;
            check(bytes);
        }
    }

    #[test]
    fn lengths_follow_from_the_size() {
        for (size, count) in [
            (0, 1),
            (256, 1),
            (PIECE_LEN as u64, 2),
            (1 << 20, 5),
            (1 << 30, 4097),
        ] {
            assert_eq!(objects_for(size), count, "{size}");
            let total: u64 = (0..count).filter_map(|i| sealed_len(size, i)).sum();
            assert_eq!(total, padded_len(size) + count * OVERHEAD as u64, "{size}");
            assert_eq!(sealed_len(size, count), None);
            for index in 0..count {
                let len = sealed_len(size, index).expect("there is such a piece");
                let allowed = MIN_OBJECT_LEN as u64..=MAX_OBJECT_LEN as u64;
                assert!(allowed.contains(&len), "{size} {index}: {len}");
            }
        }
        assert_eq!(sealed_len(0, 0), Some(256 + OVERHEAD as u64));
    }
}
