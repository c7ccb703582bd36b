//! Words to compare two nodes in person.
//!
//! Both people read the same eight words aloud; when they match, each talks to the node that the other one
//! shows. The words come from both ids at once, in either order, so that both sides have one text to compare.
//!
//! ```text
//! salt   = first 16 bytes of hash(polykey/v1/trust/node-words, lower id || higher id)
//! bits   = Argon2id(lower id || higher id as hex, salt, 3 passes, 64 MiB)
//! words  = the first 88 bits in eight groups of 11, each the number of a word of BIP39's English list
//! ```
//!
//! Who stands between two people may make as many keys as they like for *both* sides, and needs two pairs with
//! the same words: with 88 bits that takes about 2^44 tries, which is why each one costs an Argon2id. To hit the
//! words of one pair that is fixed takes 2^88.

use bip39::Language;
use polykey_core::hash::hash;
use polykey_core::password::{Limits, LimitsError, Password, StretchError, stretch};
use polykey_core::{NodeId, label};

/// How many words there are.
pub const WORDS: usize = 8;
const BITS: usize = 11;
const PASSES: u32 = 3;
const MEMORY_KIB: u32 = 64 << 10;

/// Why there are no words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WordsError {
    /// Both are one node: there is nothing to compare.
    #[error("two different nodes are compared, not node {node} with itself")]
    Itself {
        /// The node.
        node: NodeId,
    },
    /// The memory for the stretching is not there.
    #[error(transparent)]
    Stretch(#[from] StretchError),
}

/// The words for these two nodes, in either order. Takes 64 MiB for some tenths of a second.
///
/// # Errors
/// [`WordsError`].
pub fn words(a: &NodeId, b: &NodeId) -> Result<[&'static str; WORDS], WordsError> {
    if a == b {
        return Err(WordsError::Itself { node: *a });
    }
    let (low, high) = (a.min(b), a.max(b));
    let limits: Result<Limits, LimitsError> = Limits::checked(PASSES, MEMORY_KIB);
    let limits = limits.expect("within the bounds of the key file");
    let digest = hash(label::NODE_WORDS, &[low.as_bytes(), high.as_bytes()]);
    let salt = *digest.first_chunk().expect("32 bytes hold 16");
    let hex = [low, high]
        .map(|id| data_encoding::HEXLOWER.encode(id.as_bytes()))
        .concat();
    let text = Password::new(&hex).expect("128 characters are short");
    let key = stretch(&text, &salt, limits)?;
    let list = Language::English.word_list();
    Ok(std::array::from_fn(|at| list[group(key.expose(), at)]))
}

/// The number in the bits from `11 * at` on, most significant bit first.
fn group(bytes: &[u8], at: usize) -> usize {
    (at * BITS..(at + 1) * BITS).fold(0, |number, bit| {
        number << 1 | usize::from(bytes[bit / 8] >> (7 - bit % 8) & 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(byte: u8) -> NodeId {
        NodeId::from_bytes([byte; 32])
    }

    #[test]
    fn both_sides_read_the_same_words_and_no_others_do() {
        let ours = words(&node(1), &node(2)).unwrap();
        assert_eq!(words(&node(2), &node(1)).unwrap(), ours);
        let other = words(&node(1), &node(3)).unwrap();
        assert_ne!(other, ours);
        assert_eq!(
            words(&node(1), &node(1)),
            Err(WordsError::Itself { node: node(1) })
        );
    }

    #[test]
    fn groups_are_eleven_bits_each() {
        let bytes = [0xff, 0xe0, 0x01, 0x00, 0x20, 0, 0, 0, 0, 0, 0x07];
        let groups: Vec<_> = (0..WORDS).map(|at| group(&bytes, at)).collect();
        assert_eq!(groups, [2047, 0, 512, 512, 0, 0, 0, 7]);
    }
}
