//! Deterministic CBOR: one meaning, one spelling.
//!
//! All that is signed, hashed or stored is written by [`Writer`] and read by [`Reader`]. A reader is only
//! made by [`Reader::new`], which first walks the *whole* input and refuses everything but the core
//! deterministic encoding of RFC 8949, section 4.2.1: shortest heads, definite lengths, map keys in
//! bytewise order and unique. Beyond that we have no tags, no floats, no simple values but
//! `false`, `true` and `null`, and a bound on depth and size.
//!
//! Always: received bytes are stored and hashed as they came; nothing is re-encoded first.

use minicbor::Decoder;
use minicbor::Encoder;

/// Maps and arrays may be nested this deep.
pub const MAX_DEPTH: usize = 16;

/// Why bytes are not an acceptable item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The item is longer than its kind may be.
    #[error("the item is longer than {limit} bytes")]
    TooLong {
        /// The bound in bytes.
        limit: usize,
    },
    /// The input ends inside the item.
    #[error("the item is cut short")]
    Truncated,
    /// Bytes follow the item.
    #[error("bytes follow the item")]
    Trailing,
    /// The item is valid CBOR, but not the one deterministic spelling.
    #[error("the item is not in deterministic form")]
    NotDeterministic,
    /// A tag, float or simple value that our formats do not have.
    #[error("the item has a type that the format does not know")]
    Forbidden,
    /// Maps and arrays are nested deeper than [`MAX_DEPTH`].
    #[error("the item is nested too deeply")]
    TooDeep,
    /// A text is not UTF-8.
    #[error("a text is not UTF-8")]
    NotUtf8,
    /// The item is well formed, but not what stands at this place.
    #[error("the item does not have the shape of {what}")]
    Shape {
        /// What was being read.
        what: &'static str,
    },
}

/// Writes deterministic CBOR. Map keys are small integers that the caller writes in ascending order.
pub struct Writer(Encoder<Vec<u8>>);

impl Default for Writer {
    fn default() -> Self {
        Writer::new()
    }
}

macro_rules! infallible {
    ($call:expr) => {
        $call.map(|_| ()).expect("writing to a Vec does not fail")
    };
}

impl Writer {
    /// An empty writer.
    pub fn new() -> Self {
        Writer(Encoder::new(Vec::new()))
    }

    /// Starts an array of `len` items.
    pub fn array(&mut self, len: usize) -> &mut Self {
        infallible!(self.0.array(len as u64));
        self
    }

    /// Starts a map of `len` pairs.
    pub fn map(&mut self, len: usize) -> &mut Self {
        infallible!(self.0.map(len as u64));
        self
    }

    /// Writes an unsigned integer; also a map key.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        infallible!(self.0.u64(value));
        self
    }

    /// Writes a byte string.
    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        infallible!(self.0.bytes(value));
        self
    }

    /// Writes the head of a byte string of `len` bytes, which the caller puts behind [`Writer::into_part`].
    pub fn head_of_bytes(&mut self, len: usize) -> &mut Self {
        infallible!(self.0.bytes_len(len as u64));
        self
    }

    /// Writes a text.
    pub fn text(&mut self, value: &str) -> &mut Self {
        infallible!(self.0.str(value));
        self
    }

    /// Writes a truth value.
    pub fn bool(&mut self, value: bool) -> &mut Self {
        infallible!(self.0.bool(value));
        self
    }

    /// Writes `null`.
    pub fn null(&mut self) -> &mut Self {
        infallible!(self.0.null());
        self
    }

    /// What was written, which need not be a whole item: the caller writes the rest elsewhere.
    pub fn into_part(self) -> Vec<u8> {
        self.0.into_writer()
    }

    /// The finished item.
    ///
    /// # Panics
    /// In debug builds, when what was written is not one deterministic item.
    pub fn finish(self) -> Vec<u8> {
        let bytes = self.0.into_writer();
        debug_assert_eq!(
            check(&bytes, usize::MAX),
            Ok(()),
            "written items are deterministic"
        );
        bytes
    }
}

/// Reads an item that was checked as a whole.
pub struct Reader<'b> {
    decoder: Decoder<'b>,
    what: &'static str,
}

impl<'b> Reader<'b> {
    /// Checks `bytes` as one deterministic item of at most `limit` bytes. `what` names it in errors.
    ///
    /// # Errors
    /// Any [`CodecError`] but [`CodecError::Shape`].
    pub fn new(bytes: &'b [u8], limit: usize, what: &'static str) -> Result<Self, CodecError> {
        check(bytes, limit)?;
        Ok(Reader {
            decoder: Decoder::new(bytes),
            what,
        })
    }

    /// The error for an item that does not fit this place.
    pub fn shape(&self) -> CodecError {
        CodecError::Shape { what: self.what }
    }

    fn take<T>(
        &mut self,
        read: impl FnOnce(&mut Decoder<'b>) -> Result<T, minicbor::decode::Error>,
    ) -> Result<T, CodecError> {
        read(&mut self.decoder).map_err(|_| CodecError::Shape { what: self.what })
    }

    /// Reads an array head; the number of items.
    ///
    /// # Errors
    /// [`CodecError::Shape`], as for every method below.
    pub fn array(&mut self) -> Result<usize, CodecError> {
        let len = self.take(Decoder::array)?.ok_or(self.shape())?;
        // The walk has seen that many items, so the count fits memory.
        usize::try_from(len).map_err(|_| self.shape())
    }

    /// Reads the head of an array that must have `len` items.
    pub fn array_of(&mut self, len: usize) -> Result<(), CodecError> {
        if self.array()? == len {
            Ok(())
        } else {
            Err(self.shape())
        }
    }

    /// Reads a map head; the number of pairs.
    pub fn map(&mut self) -> Result<usize, CodecError> {
        let len = self.take(Decoder::map)?.ok_or(self.shape())?;
        usize::try_from(len).map_err(|_| self.shape())
    }

    /// Reads the head of a map that must have `len` pairs.
    pub fn map_of(&mut self, len: usize) -> Result<(), CodecError> {
        if self.map()? == len {
            Ok(())
        } else {
            Err(self.shape())
        }
    }

    /// Reads the map key `key`.
    pub fn key(&mut self, key: u64) -> Result<(), CodecError> {
        if self.u64()? == key {
            Ok(())
        } else {
            Err(self.shape())
        }
    }

    /// Reads an unsigned integer.
    pub fn u64(&mut self) -> Result<u64, CodecError> {
        self.take(Decoder::u64)
    }

    /// Reads an unsigned integer that fits 32 bits.
    pub fn u32(&mut self) -> Result<u32, CodecError> {
        self.take(Decoder::u32)
    }

    /// Reads a byte string.
    pub fn bytes(&mut self) -> Result<&'b [u8], CodecError> {
        self.take(Decoder::bytes)
    }

    /// Reads a byte string of exactly `N` bytes.
    pub fn bytes_of<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let shape = self.shape();
        self.bytes()?.try_into().map_err(|_| shape)
    }

    /// Reads a text.
    pub fn text(&mut self) -> Result<&'b str, CodecError> {
        self.take(Decoder::str)
    }

    /// Reads a truth value.
    pub fn bool(&mut self) -> Result<bool, CodecError> {
        self.take(Decoder::bool)
    }

    /// Reads `null` and says so, or reads nothing when something else stands here.
    pub fn null(&mut self) -> Result<bool, CodecError> {
        if self.take(|d| d.datatype())? == minicbor::data::Type::Null {
            self.take(Decoder::null)?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Reads any one item and returns its bytes as they stand.
    pub fn raw(&mut self) -> Result<&'b [u8], CodecError> {
        let start = self.decoder.position();
        self.take(Decoder::skip)?;
        let end = self.decoder.position();
        self.decoder.input().get(start..end).ok_or(self.shape())
    }

    /// Ends the reading: nothing may be left.
    pub fn finish(self) -> Result<(), CodecError> {
        if self.decoder.position() == self.decoder.input().len() {
            Ok(())
        } else {
            Err(self.shape())
        }
    }
}

/// Checks that `bytes` are exactly one deterministic item of at most `limit` bytes.
///
/// # Errors
/// The first thing that is wrong, never [`CodecError::Shape`].
pub fn check(bytes: &[u8], limit: usize) -> Result<(), CodecError> {
    if bytes.len() > limit {
        return Err(CodecError::TooLong { limit });
    }
    let mut walk = Walk { rest: bytes };
    walk.item(0)?;
    if walk.rest.is_empty() {
        Ok(())
    } else {
        Err(CodecError::Trailing)
    }
}

struct Walk<'b> {
    rest: &'b [u8],
}

impl<'b> Walk<'b> {
    fn take(&mut self, len: u64) -> Result<&'b [u8], CodecError> {
        let len = usize::try_from(len).map_err(|_| CodecError::Truncated)?;
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(CodecError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Major type and argument of the next head, in its shortest form only.
    fn head(&mut self) -> Result<(u8, u64), CodecError> {
        let first = self.take(1)?[0];
        let (major, info) = (first >> 5, first & 0x1f);
        let (len, least) = match info {
            0..=23 => return Ok((major, u64::from(info))),
            24 => (1, 24),
            25 => (2, 1 << 8),
            26 => (4, 1 << 16),
            27 => (8, 1 << 32),
            31 => return Err(CodecError::NotDeterministic),
            _ => return Err(CodecError::Forbidden),
        };
        let argument = self
            .take(len)?
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        if major != 7 && argument < least {
            return Err(CodecError::NotDeterministic);
        }
        // With major type 7 these are floats and two-byte simple values.
        if major == 7 {
            Err(CodecError::Forbidden)
        } else {
            Ok((major, argument))
        }
    }

    fn item(&mut self, depth: usize) -> Result<(), CodecError> {
        if depth > MAX_DEPTH {
            return Err(CodecError::TooDeep);
        }
        match self.head()? {
            (0 | 1, _) => {}
            (2, len) => drop(self.take(len)?),
            (3, len) => drop(std::str::from_utf8(self.take(len)?).map_err(|_| CodecError::NotUtf8)?),
            // Counts are not trusted with memory: a count past the input ends in `Truncated`.
            (4, len) => (0..len).try_for_each(|_| self.item(depth + 1))?,
            (5, len) => self.pairs(len, depth)?,
            (7, 20..=22) => {}
            _ => return Err(CodecError::Forbidden),
        }
        Ok(())
    }

    fn pairs(&mut self, len: u64, depth: usize) -> Result<(), CodecError> {
        let mut last: Option<&[u8]> = None;
        for _ in 0..len {
            let before = self.rest;
            self.item(depth + 1)?;
            let key = &before[..before.len() - self.rest.len()];
            if last.is_some_and(|last| last >= key) {
                return Err(CodecError::NotDeterministic);
            }
            last = Some(key);
            self.item(depth + 1)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;

    #[track_caller]
    fn check_hex(hex: &str, want: Result<(), CodecError>) {
        let bytes = HEXLOWER.decode(hex.as_bytes()).expect("the table is hex");
        assert_eq!(check(&bytes, 1 << 20), want, "{hex}");
    }

    #[test]
    fn deterministic_items_pass() {
        // Examples of RFC 8949, appendix A, and of ours.
        for hex in [
            "00",
            "17",
            "1818",
            "1903e8",
            "1a000f4240",
            "1b000000e8d4a51000",
            "20",
            "3863",
            "40",
            "4401020304",
            "60",
            "6161",
            "62c3bc",
            "80",
            "83010203",
            "a0",
            "a201020304",
            "a26161016162820203",
            "f4",
            "f5",
            "f6",
        ] {
            check_hex(hex, Ok(()));
        }
    }

    #[test]
    fn every_other_spelling_is_refused() {
        use CodecError::*;
        for (hex, want) in [
            ("", Truncated),
            ("1817", NotDeterministic),
            ("190017", NotDeterministic),
            ("1a0000ffff", NotDeterministic),
            ("1b00000000ffffffff", NotDeterministic),
            ("5801ff", NotDeterministic),
            ("7801", NotDeterministic),
            ("5f4101ff", NotDeterministic),
            ("9fff", NotDeterministic),
            ("bfff", NotDeterministic),
            ("a203040102", NotDeterministic),
            ("a201020102", NotDeterministic),
            ("f90000", Forbidden),
            ("fa47c35000", Forbidden),
            ("fb3ff199999999999a", Forbidden),
            ("f7", Forbidden),
            ("f0", Forbidden),
            ("f8ff", Forbidden),
            ("c11a514b67b0", Forbidden),
            ("1c", Forbidden),
            ("0000", Trailing),
            ("19", Truncated),
            ("42ff", Truncated),
            ("8201", Truncated),
            ("a101", Truncated),
            ("9b7fffffffffffffff", Truncated),
            ("5bffffffffffffffff", Truncated),
            ("61ff", NotUtf8),
        ] {
            check_hex(hex, Err(want));
        }
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let mut nested = vec![0x81; MAX_DEPTH];
        nested.push(0);
        assert_eq!(check(&nested, 100), Ok(()));
        nested.insert(0, 0x81);
        assert_eq!(check(&nested, 100), Err(CodecError::TooDeep));
        assert_eq!(check(&[0x81; 1 << 20], 1 << 20), Err(CodecError::TooDeep));
        assert_eq!(check(&[0; 11], 10), Err(CodecError::TooLong { limit: 10 }));
    }

    #[test]
    fn readers_say_what_they_were_reading() {
        let mut writer = Writer::new();
        writer.map(2).u64(0).text("x").u64(1).bytes(&[1; 32]);
        let bytes = writer.finish();
        let mut reader = Reader::new(&bytes, 100, "test item").expect("deterministic");
        assert_eq!(reader.map_of(2), Ok(()));
        assert_eq!(reader.key(0), Ok(()));
        assert_eq!(reader.u64(), Err(CodecError::Shape { what: "test item" }));
    }
}
