//! Overwrites the stack that work with a key has used.
//!
//! Our own types wipe what they own, but libraries build keys on the stack and move them, and a moved
//! value leaves its old bytes behind. [`scrubbed`] runs such work one call deeper and then writes zeros
//! over the stack where it ran. The compiler gives no promise about this, so a test searches the memory
//! of the process for the bytes.

use std::hint::black_box;

/// Enough for a hash, a key derivation or a signature.
pub const SHALLOW: usize = 8 << 10;
/// Enough for X-Wing and for BIP39.
pub const DEEP: usize = 96 << 10;

/// Runs `work`, then overwrites the `DEPTH` bytes of stack below the caller. What `work` returns must not
/// itself be a secret by value: return it boxed, as [`Key`](crate::Key) is.
#[inline(always)]
pub fn scrubbed<const DEPTH: usize, T>(work: impl FnOnce() -> T) -> T {
    let result = apart(work);
    overwrite::<DEPTH>();
    result
}

/// A frame of its own: nothing of `work` may lie in the frame of a caller that stays.
#[inline(never)]
fn apart<T>(work: impl FnOnce() -> T) -> T {
    black_box(work())
}

/// Overwrites the `DEPTH` bytes of stack below the caller: for a thread between two pieces of work.
#[inline(never)]
pub fn overwrite<const DEPTH: usize>() {
    let mut below = [0u8; DEPTH];
    black_box(&mut below);
}
