//! Real endpoints on the loopback interface, in one executable: linking one takes long.
#![allow(clippy::unwrap_used, clippy::large_futures, reason = "tests")]

mod gone;
mod hostile;
mod lookup;
mod pair;
mod reach;
mod relayed;
mod streams;
mod together;
