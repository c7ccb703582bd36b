//! Time and chance that repeat, for tests.
//!
//! A test that fails must fail the same way again: it takes [`Chance`] for randomness and [`Ticking`] for
//! the clock. Never in the product; `tests/walls.rs` holds the crates to the arrows of the design.

pub mod keys;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use polykey_core::{Clock, Random, Timestamp, hash, label};

/// Chance that repeats: a counter hashed with a seed. Frozen vectors are made with it, so what it gives for
/// a seed never changes.
pub struct Chance(Mutex<(u64, u64)>);

impl Chance {
    /// The same bytes for the same seed, each time.
    pub fn new(seed: u64) -> Self {
        Chance(Mutex::new((seed, 0)))
    }
}

impl Random for Chance {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(32) {
            let mut state = self.0.lock().expect("nothing panics while it is held");
            state.1 += 1;
            let input = [state.0.to_be_bytes(), state.1.to_be_bytes()].concat();
            chunk.copy_from_slice(&hash::hash(label::RUNTIME_FOLDER, &[&input])[..chunk.len()]);
        }
    }
}

/// A clock that starts at the epoch and moves on by a second with each look.
#[derive(Debug, Default)]
pub struct Ticking(AtomicU64);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_000 * self.0.fetch_add(1, Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_chance() {
        let bytes = |seed| {
            let (chance, mut bytes) = (Chance::new(seed), [0; 80]);
            chance.fill(&mut bytes);
            bytes
        };
        assert_eq!(bytes(1), bytes(1));
        assert_ne!(bytes(1), bytes(2));
        assert_ne!(bytes(1)[..32], bytes(1)[32..64]);
    }

    #[test]
    fn the_clock_moves_with_each_look() {
        let clock = Ticking::default();
        assert_eq!((clock.now().as_millis(), clock.now().as_millis()), (0, 1_000));
    }
}
