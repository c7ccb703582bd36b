//! Sets of small numbers as bits: the ancestors of charter entries.

/// A set of entry numbers. Entries are numbered parents first, so a set over the entries before number
/// `n` needs `n` bits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub(super) fn contains(&self, number: usize) -> bool {
        self.0
            .get(number / 64)
            .is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    pub(super) fn insert(&mut self, number: usize) {
        let word = number / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (number % 64);
    }

    pub(super) fn union(&mut self, other: &Bits) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine |= theirs;
        }
    }

    /// The members, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(at, word)| {
            (0..64)
                .filter(move |bit| word >> bit & 1 == 1)
                .map(move |bit| at * 64 + bit)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_a_set() {
        let (mut a, mut b) = (Bits::default(), Bits::default());
        for n in [0, 63, 64, 700] {
            a.insert(n);
        }
        b.insert(64);
        b.insert(701);
        b.union(&a);
        assert_eq!(b.iter().collect::<Vec<_>>(), [0, 63, 64, 700, 701]);
        assert!(!a.contains(65) && !a.contains(100_000));
    }
}
