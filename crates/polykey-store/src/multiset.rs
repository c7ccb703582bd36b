//! MSet-Add-Hash: the hash of a set of records, kept up to date record by record.
//!
//! The hash of a set is the sum, modulo 2^256, of a keyed hash of each member, beside their number. Adding
//! and removing cost one hash each, whatever the size of the set. Whoever lacks the key cannot find two sets
//! of the same sum. The sums are stored sealed, so the random offset of the paper is not needed.
//!
//! Source: Clarke, Devadas, van Dijk, Gassend, Suh: "Incremental Multiset Hash Functions and Their
//! Application to Memory Integrity Checking" (ASIACRYPT 2003), section 5.

/// A number modulo 2^256, as four words, lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sum([u64; 4]);

impl Sum {
    /// The number with these 32 bytes, little-endian.
    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> Self {
        let mut words = [0; 4];
        for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_le_bytes(chunk.try_into().expect("chunks of 8"));
        }
        Sum(words)
    }

    /// The number as 32 bytes, little-endian.
    pub(crate) fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (word, chunk) in self.0.iter().zip(bytes.chunks_exact_mut(8)) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// Adds a member's hash.
    pub(crate) fn add(&mut self, other: Sum) {
        let mut carry = false;
        for (a, b) in self.0.iter_mut().zip(other.0) {
            (*a, carry) = a.carrying_add(b, carry);
        }
    }

    /// Takes a member's hash away again.
    pub(crate) fn subtract(&mut self, other: Sum) {
        let mut borrow = false;
        for (a, b) in self.0.iter_mut().zip(other.0) {
            (*a, borrow) = a.borrowing_sub(b, borrow);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(bytes: [u8; 32]) -> Sum {
        Sum::from_bytes(&bytes)
    }

    #[test]
    fn carries_run_through_all_words_and_wrap() {
        let mut one = [0; 32];
        one[0] = 1;
        let mut sum = number([0xff; 32]);
        sum.add(number(one));
        assert_eq!(sum, Sum::default());
        sum.subtract(number(one));
        assert_eq!(sum, number([0xff; 32]));
    }

    #[test]
    fn order_does_not_matter_and_taking_away_undoes_adding() {
        let members: Vec<Sum> = (0u8..50)
            .map(|i| number([i.wrapping_mul(37) | 0x80; 32]))
            .collect();
        let mut up = Sum::default();
        let mut down = Sum::default();
        for (a, b) in members.iter().zip(members.iter().rev()) {
            up.add(*a);
            down.add(*b);
        }
        assert_eq!(up, down);
        assert_eq!(number(up.to_bytes()), up);
        for member in &members {
            up.subtract(*member);
        }
        assert_eq!(up, Sum::default());
    }
}
