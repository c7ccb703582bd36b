//! Known answers: published vectors for every primitive, frozen bytes of every format of ours, and
//! hostile input for every parser.
//!
//! Files under `data/` name their source in their first line. No vector here was made up: published ones
//! are copied, our own were made once by this code and are frozen since.

mod aead;
mod bip39;
mod blake3;
mod ed25519;
mod formats;
mod hostile;
mod hpke;
mod page;
mod password;
mod wiping;
mod wycheproof;

/// Decodes the hex of a vector.
fn hex(text: &str) -> Vec<u8> {
    data_encoding::HEXLOWER
        .decode(text.as_bytes())
        .expect("vectors are lower-case hex")
}

/// Decodes the hex of a vector that has `N` bytes.
fn hex_of<const N: usize>(text: &str) -> [u8; N] {
    hex(text).try_into().expect("the vector has this length")
}

/// Parses a data file.
fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("data files are JSON")
}

/// The text at `key`.
fn text<'v>(value: &'v serde_json::Value, key: &str) -> &'v str {
    value[key].as_str().expect("a text stands at this key")
}

/// The list at `key`.
fn list<'v>(value: &'v serde_json::Value, key: &str) -> &'v [serde_json::Value] {
    value[key].as_array().expect("a list stands at this key")
}

/// Gives out fixed bytes, and panics when they do not suffice.
struct Fixed(std::sync::Mutex<std::collections::VecDeque<u8>>);

impl Fixed {
    fn new(bytes: &[u8]) -> Self {
        Fixed(std::sync::Mutex::new(bytes.iter().copied().collect()))
    }
}

impl polykey_core::Random for Fixed {
    fn fill(&self, bytes: &mut [u8]) {
        let mut left = self.0.lock().expect("no other thread panicked");
        for byte in bytes {
            *byte = left.pop_front().expect("enough fixed bytes");
        }
    }
}
