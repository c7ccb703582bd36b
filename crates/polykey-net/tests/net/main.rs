//! Real endpoints on the loopback interface, in one executable: linking one takes long.
#![allow(clippy::unwrap_used, reason = "tests")]

mod pair;
mod reach;
