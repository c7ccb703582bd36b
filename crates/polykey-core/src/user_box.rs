//! What `keys encrypt` makes: any number of bytes, sealed to one node.
//!
//! A fresh file key is [sealed](crate::sealing) to the recipient; a key derived from it and from the whole
//! header seals the content in chunks of 64 KiB. Each chunk's nonce is its number and whether it is the
//! last (the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizar, 2015), so chunks cannot be
//! cut off, moved, repeated or added. Memory stays constant, whatever the size.
//!
//! ```text
//! "polykey/v1/box\n\0" (16) || sealed file key (1168) || chunk || chunk || ...
//! chunk: ciphertext (65536; the last 0 to 65536) || tag (16)
//! nonce of a chunk: 15 zero bytes || number from 0 (8, big endian) || 1 if last, else 0
//! ```
//!
//! A box names neither sender nor recipient. Plaintext comes out chunk by chunk, each one verified, but
//! only [`Opener::finish`] says that nothing is missing: until then the caller must not act on it.

use std::fmt;
use std::io::{self, Read, Write};

use zeroize::Zeroizing;

use crate::aead::{NONCE_LEN, OpenError, TAG_LEN, open_in_place, seal_in_place};
use crate::kdf::derive;
use crate::label;
use crate::random::Random;
use crate::sealing::{self, EncryptionKey, EncryptionPublic, seal_to};
use crate::secret::Key;

/// The first bytes of a box.
pub const MAGIC: &[u8; 16] = b"polykey/v1/box\n\0";
/// Plaintext bytes in every chunk but the last.
pub const CHUNK_LEN: usize = 64 << 10;
/// Length of everything before the first chunk.
pub const HEADER_LEN: usize = MAGIC.len() + Key::LEN + sealing::OVERHEAD;

/// Why a box did not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UserBoxError {
    /// It does not start like one.
    #[error("this is not encrypted by polykey")]
    NotABox,
    /// None of the keys opens it.
    #[error("this is not encrypted to this node, or its header was changed")]
    NotForUs,
    /// A chunk was changed, moved, or the box is cut short or continued.
    #[error("the encrypted data is damaged or incomplete after {good} good bytes")]
    Damaged {
        /// How much plaintext came out before.
        good: u64,
    },
}

/// Why [`encrypt`] or [`decrypt`] stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UserBoxIoError {
    /// The input could not be read or the output not be written.
    #[error("reading or writing failed")]
    Io(#[from] io::Error),
    /// The box does not open.
    #[error(transparent)]
    Box(#[from] UserBoxError),
}

/// The key, counter and buffer that both directions have.
struct Chunks {
    key: Key,
    number: u64,
    /// Plaintext on one side, ciphertext on the other; both become the other in place.
    buffer: Zeroizing<Vec<u8>>,
}

impl Chunks {
    fn new(file_key: &Key, header: &[u8]) -> Self {
        Chunks {
            key: derive(file_key, label::USER_BOX_KEY, header),
            number: 0,
            buffer: Zeroizing::new(Vec::with_capacity(CHUNK_LEN + TAG_LEN)),
        }
    }

    /// The nonce of the next chunk. The key is used for one box only, so numbers suffice; 2^64 chunks
    /// are more than anybody can push.
    fn nonce(&mut self, last: bool) -> [u8; NONCE_LEN] {
        let mut nonce = [0; NONCE_LEN];
        nonce[15..23].copy_from_slice(&self.number.to_be_bytes());
        nonce[23] = u8::from(last);
        self.number += 1;
        nonce
    }

    /// Takes bytes from the front of `bytes` until the buffer holds `len`; true when it does and more
    /// is to come.
    fn fill(&mut self, bytes: &mut &[u8], len: usize) -> bool {
        let taken = bytes.len().min(len - self.buffer.len());
        let (front, rest) = bytes.split_at(taken);
        self.buffer.extend_from_slice(front);
        *bytes = rest;
        self.buffer.len() == len && !bytes.is_empty()
    }

    /// Opens what the buffer holds and appends it to `out`; its length.
    fn open(&mut self, last: bool, out: &mut Vec<u8>) -> Result<u64, OpenError> {
        let nonce = self.nonce(last);
        let aad = label::USER_BOX_CHUNK.as_bytes();
        let len = open_in_place(&self.key, &nonce, aad, &mut self.buffer)?;
        out.extend_from_slice(&self.buffer[..len]);
        self.buffer.clear();
        Ok(len as u64)
    }
}

/// Makes a box from plaintext that is pushed in.
pub struct Sealer(Chunks);

impl Sealer {
    /// Starts a box for `to` and appends its header to `out`.
    pub fn new(to: &EncryptionPublic, random: &dyn Random, out: &mut Vec<u8>) -> Sealer {
        let file_key = Key::random(random);
        let sealed = seal_to(to, label::USER_SEAL, MAGIC, file_key.expose(), random);
        let header = [MAGIC.as_slice(), &sealed].concat();
        out.extend_from_slice(&header);
        Sealer(Chunks::new(&file_key, &header))
    }

    /// Takes more plaintext; appends what is ready to `out`.
    pub fn push(&mut self, mut plain: &[u8], out: &mut Vec<u8>) {
        // A full chunk waits until it is known not to be the last.
        while self.0.fill(&mut plain, CHUNK_LEN) {
            self.seal(false, out);
        }
    }

    /// Ends the box.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        self.seal(true, out);
    }

    fn seal(&mut self, last: bool, out: &mut Vec<u8>) {
        let nonce = self.0.nonce(last);
        let tag = seal_in_place(
            &self.0.key,
            &nonce,
            label::USER_BOX_CHUNK.as_bytes(),
            &mut self.0.buffer,
        );
        out.extend_from_slice(&self.0.buffer);
        out.extend_from_slice(&tag);
        self.0.buffer.clear();
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(hidden)")
    }
}

/// Opens a box that is pushed in.
pub struct Opener<'k> {
    keys: &'k [&'k EncryptionKey],
    state: Opening,
    good: u64,
}

enum Opening {
    Header(Vec<u8>),
    Content(Chunks),
    Failed(UserBoxError),
}

impl<'k> Opener<'k> {
    /// Starts to open a box with whichever of `keys` it was sealed to: the newest first, then older ones.
    pub fn new(keys: &'k [&'k EncryptionKey]) -> Opener<'k> {
        Opener {
            keys,
            state: Opening::Header(Vec::with_capacity(HEADER_LEN)),
            good: 0,
        }
    }

    /// Takes more of the box; appends verified plaintext to `out`.
    ///
    /// # Errors
    /// [`UserBoxError`]; from then on always the same one.
    pub fn push(&mut self, mut sealed: &[u8], out: &mut Vec<u8>) -> Result<(), UserBoxError> {
        if let Opening::Header(header) = &mut self.state {
            let taken = sealed.len().min(HEADER_LEN - header.len());
            header.extend_from_slice(&sealed[..taken]);
            sealed = &sealed[taken..];
            if header.len() < HEADER_LEN {
                return Ok(());
            }
            match open_header(self.keys, header) {
                Ok(chunks) => self.state = Opening::Content(chunks),
                Err(error) => return Err(self.fail(error)),
            }
        }
        loop {
            let chunks = match &mut self.state {
                Opening::Header(_) => return Ok(()),
                Opening::Content(chunks) => chunks,
                Opening::Failed(error) => return Err(*error),
            };
            // A full chunk waits until it is known not to be the last.
            if !chunks.fill(&mut sealed, CHUNK_LEN + TAG_LEN) {
                return Ok(());
            }
            match chunks.open(false, out) {
                Ok(len) => self.good += len,
                Err(OpenError) => return Err(self.fail(UserBoxError::Damaged { good: self.good })),
            }
        }
    }

    /// Ends the box: says whether all of it came. Returns the length of the plaintext.
    ///
    /// # Errors
    /// [`UserBoxError`]; what came out before is then the front of something else, not the whole.
    pub fn finish(self, out: &mut Vec<u8>) -> Result<u64, UserBoxError> {
        let mut chunks = match self.state {
            Opening::Header(_) => return Err(UserBoxError::NotABox),
            Opening::Content(chunks) => chunks,
            Opening::Failed(error) => return Err(error),
        };
        let damaged = UserBoxError::Damaged { good: self.good };
        // The last of several chunks is never empty: one content has one box length.
        if chunks.number > 0 && chunks.buffer.len() <= TAG_LEN {
            return Err(damaged);
        }
        let len = chunks.open(true, out).map_err(|_| damaged)?;
        Ok(self.good + len)
    }

    fn fail(&mut self, error: UserBoxError) -> UserBoxError {
        self.state = Opening::Failed(error);
        error
    }
}

impl fmt::Debug for Opener<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opener({} good bytes)", self.good)
    }
}

fn open_header(keys: &[&EncryptionKey], header: &[u8]) -> Result<Chunks, UserBoxError> {
    let sealed = header.strip_prefix(MAGIC).ok_or(UserBoxError::NotABox)?;
    let file_key = keys
        .iter()
        .find_map(|key| key.open(label::USER_SEAL, MAGIC, sealed).ok())
        .and_then(|plain| Key::copy_from(plain.expose()))
        .ok_or(UserBoxError::NotForUs)?;
    Ok(Chunks::new(&file_key, header))
}

/// Encrypts all of `input` to `to`. Returns the length of the plaintext. Takes constant memory.
///
/// # Errors
/// What `input` and `output` say.
pub fn encrypt(
    to: &EncryptionPublic,
    input: &mut dyn Read,
    output: &mut dyn Write,
    random: &dyn Random,
) -> io::Result<u64> {
    let mut out = Vec::with_capacity(HEADER_LEN + CHUNK_LEN + TAG_LEN);
    let mut sealer = Sealer::new(to, random, &mut out);
    let length = each_piece(input, |piece| {
        sealer.push(piece, &mut out);
        output.write_all(&out)?;
        out.clear();
        Ok::<_, io::Error>(())
    })?;
    sealer.finish(&mut out);
    output.write_all(&out)?;
    output.flush()?;
    Ok(length)
}

/// Decrypts all of `input` with whichever of `keys` fits. Returns the length of the plaintext. Takes
/// constant memory.
///
/// # Errors
/// [`UserBoxIoError`]; what was written to `output` before is then not to be used.
pub fn decrypt(
    keys: &[&EncryptionKey],
    input: &mut dyn Read,
    output: &mut dyn Write,
) -> Result<u64, UserBoxIoError> {
    let mut opener = Opener::new(keys);
    let mut out = Zeroizing::new(Vec::with_capacity(2 * CHUNK_LEN));
    each_piece(input, |piece| {
        opener.push(piece, &mut out)?;
        output.write_all(&out)?;
        out.clear();
        Ok::<_, UserBoxIoError>(())
    })?;
    let length = opener.finish(&mut out)?;
    output.write_all(&out)?;
    output.flush()?;
    Ok(length)
}

/// Calls `take` with each piece of `input`, of at most [`CHUNK_LEN`]; the sum of their lengths.
fn each_piece<E: From<io::Error>>(
    input: &mut dyn Read,
    mut take: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<u64, E> {
    let mut piece = Zeroizing::new(vec![0; CHUNK_LEN]);
    let mut length = 0;
    loop {
        match input.read(&mut piece) {
            Ok(0) => return Ok(length),
            Ok(len) => {
                take(&piece[..len])?;
                length += len as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::OsRandom;
    use proptest::prelude::*;

    const SEALED_CHUNK: usize = CHUNK_LEN + TAG_LEN;

    fn key(seed: u8) -> EncryptionKey {
        EncryptionKey::from_seed(&Key::from_array([seed; 32]))
    }

    fn content(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at * 7 + at / 256) as u8).collect()
    }

    fn sealed(plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let length = encrypt(&key(1).public(), &mut &*plain, &mut out, &OsRandom).expect("memory");
        assert_eq!(length, plain.len() as u64);
        out
    }

    fn opened(bytes: &[u8]) -> Result<Vec<u8>, UserBoxError> {
        let mut out = Vec::new();
        match decrypt(&[&key(2), &key(1)], &mut &*bytes, &mut out) {
            Ok(_) => Ok(out),
            Err(UserBoxIoError::Box(error)) => Err(error),
            Err(UserBoxIoError::Io(error)) => panic!("memory does not fail: {error}"),
        }
    }

    #[test]
    fn every_length_around_a_chunk_survives() {
        for len in [0, 1, CHUNK_LEN - 1, CHUNK_LEN, CHUNK_LEN + 1, 3 * CHUNK_LEN] {
            let sealed = sealed(&content(len));
            let chunks = len.div_ceil(CHUNK_LEN).max(1);
            assert_eq!(sealed.len(), HEADER_LEN + len + chunks * TAG_LEN, "{len}");
            assert_eq!(opened(&sealed), Ok(content(len)), "{len}");
        }
    }

    /// Remembers how much came at once, and the whole.
    #[derive(Default)]
    struct Watched {
        most: usize,
        bytes: Vec<u8>,
    }

    impl Write for Watched {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.most = self.most.max(bytes.len());
            self.bytes.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_more_than_two_chunks_are_held_at_once() {
        const LEN: u64 = 20 << 20;
        let (mut sealed, mut plain) = (Watched::default(), Watched::default());
        let mut input = io::repeat(7).take(LEN);
        let length = encrypt(&key(1).public(), &mut input, &mut sealed, &OsRandom).expect("memory");
        assert_eq!(length, LEN);
        assert!(sealed.most <= HEADER_LEN + 2 * SEALED_CHUNK, "{}", sealed.most);
        let length = decrypt(&[&key(1)], &mut &sealed.bytes[..], &mut plain).expect("opens");
        assert_eq!(length, LEN);
        assert!(plain.most <= 2 * CHUNK_LEN, "{}", plain.most);
        assert!(plain.bytes.len() as u64 == LEN && plain.bytes.iter().all(|byte| *byte == 7));
    }

    #[test]
    fn what_is_not_for_us_does_not_open() {
        let sealed = sealed(b"hello");
        let refused = |keys: &[&EncryptionKey], bytes: &[u8]| {
            let mut opener = Opener::new(keys);
            let mut out = Vec::new();
            let first = opener.push(bytes, &mut out);
            let again = opener.push(b"more", &mut out);
            assert!(first.is_ok() || first == again, "a failed opener stays failed");
            assert!(out.is_empty());
            first.and(again).and_then(|()| opener.finish(&mut out).map(drop))
        };
        assert_eq!(refused(&[&key(2)], &sealed), Err(UserBoxError::NotForUs));
        assert_eq!(refused(&[], &sealed), Err(UserBoxError::NotForUs));
        assert_eq!(refused(&[&key(1)], b"hello"), Err(UserBoxError::NotABox));
        assert_eq!(refused(&[&key(1)], &[0; 4000]), Err(UserBoxError::NotABox));
        assert_eq!(opened(b""), Err(UserBoxError::NotABox));
    }

    #[test]
    fn chunks_cannot_be_cut_moved_repeated_or_added() {
        let whole = sealed(&content(3 * CHUNK_LEN + 5));
        let header = &whole[..HEADER_LEN];
        let chunks: Vec<_> = whole[HEADER_LEN..].chunks(SEALED_CHUNK).collect();
        let with = |order: &[usize]| {
            let body: Vec<_> = order.iter().map(|at| chunks[*at]).collect();
            opened(&[header, &body.concat()].concat()).map(|plain| plain.len())
        };
        assert_eq!(with(&[0, 1, 2, 3]), Ok(3 * CHUNK_LEN + 5));
        for order in [
            &[][..],
            &[0],
            &[3],
            &[0, 1, 2],
            &[1, 0, 2, 3],
            &[0, 0, 1, 2, 3],
            &[0, 2, 3],
            &[0, 1, 2, 3, 3],
            &[0, 1, 2, 2],
        ] {
            assert!(
                matches!(with(order), Err(UserBoxError::Damaged { .. })),
                "{order:?}"
            );
        }
        let other = sealed(&content(3 * CHUNK_LEN + 5));
        let spliced = [
            &other[..HEADER_LEN + SEALED_CHUNK],
            &whole[HEADER_LEN + SEALED_CHUNK..],
        ]
        .concat();
        let good = CHUNK_LEN as u64;
        assert_eq!(opened(&spliced), Err(UserBoxError::Damaged { good }));
    }

    /// `bytes` in pieces of these lengths, over and over.
    fn cut<'b>(mut bytes: &'b [u8], lengths: &[usize]) -> Vec<&'b [u8]> {
        let mut pieces = Vec::new();
        for length in lengths.iter().cycle() {
            let (front, rest) = bytes.split_at((*length).min(bytes.len()));
            pieces.push(front);
            bytes = rest;
            if bytes.is_empty() {
                break;
            }
        }
        pieces
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_pieces_make_the_same_content(
            len in 0..3 * CHUNK_LEN,
            pieces in prop::collection::vec(1..40_000usize, 1..40),
        ) {
            let plain = content(len);
            let mut sealed = Vec::new();
            let mut sealer = Sealer::new(&key(1).public(), &OsRandom, &mut sealed);
            for piece in cut(&plain, &pieces) {
                sealer.push(piece, &mut sealed);
            }
            sealer.finish(&mut sealed);

            let keys = [&key(1)];
            let (mut opener, mut out) = (Opener::new(&keys), Vec::new());
            for piece in cut(&sealed, &pieces) {
                prop_assert_eq!(opener.push(piece, &mut out), Ok(()));
            }
            prop_assert_eq!(opener.finish(&mut out), Ok(len as u64));
            prop_assert_eq!(out, plain);
        }

        #[test]
        fn no_change_of_any_kind_opens(
            len in 0..2 * CHUNK_LEN + 2,
            at in any::<prop::sample::Index>(),
            flip in 1..=255u8,
            tail in prop::collection::vec(any::<u8>(), 1..40),
        ) {
            let good = sealed(&content(len));
            let at = at.index(good.len());
            let mut flipped = good.clone();
            flipped[at] ^= flip;
            prop_assert!(opened(&flipped).is_err());
            prop_assert!(opened(&good[..at]).is_err());
            prop_assert!(opened(&[&good[..], &tail].concat()).is_err());
        }
    }
}
