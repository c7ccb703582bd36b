//! Where chance comes from.
//!
//! Code that needs randomness takes a `&dyn Random`. The product passes [`OsRandom`]; a test passes a
//! seeded generator and gets the same ids every time.

use std::convert::Infallible;

/// A source of bytes that nobody can predict.
pub trait Random: Send + Sync {
    /// Fills `bytes` completely.
    ///
    /// # Panics
    /// When the source has failed: going on with predictable bytes would give keys away.
    fn fill(&self, bytes: &mut [u8]);
}

/// `N` random bytes, for nonces, salts and ids. Keys come from [`Key::random`](crate::Key::random).
pub fn random_array<const N: usize>(random: &dyn Random) -> [u8; N] {
    let mut bytes = [0; N];
    random.fill(&mut bytes);
    bytes
}

/// A source of chance in the shape that libraries want.
pub struct Chance<'r>(&'r dyn Random);

impl<'r> Chance<'r> {
    /// Gives out what `random` does.
    pub fn new(random: &'r dyn Random) -> Chance<'r> {
        Chance(random)
    }
}

impl rand_core::TryRng for Chance<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(random_array(self.0)))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(random_array(self.0)))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Chance<'_> {}

/// The operating system's generator.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsRandom;

impl Random for OsRandom {
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the operating system gives random bytes after boot");
    }
}
