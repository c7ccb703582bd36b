//! Where chance comes from.
//!
//! Code that needs randomness takes a `&dyn Random`. The product passes [`OsRandom`]; a test passes a
//! seeded generator and gets the same ids every time.

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

/// The operating system's generator.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsRandom;

impl Random for OsRandom {
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the operating system gives random bytes after boot");
    }
}
