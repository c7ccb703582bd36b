//! What nodes ask each other, on streams whose other end has proven its id.
//!
//! - [`message`]: what is said. [`frame`]: how it is cut, timed and held against a budget of memory.
//! - [`serve`]: the answering side, behind the same door as every local call. [`limits`]: who may ask how much.
//! - [`mod@ask`]: the asking side. [`pull`]: a pull of a vault over it.
//!
//! Always: nothing here opens a socket, so all of it runs over any pair of streams. What a peer sends is held
//! against a bound before memory is taken for it, and a peer that stops in the middle is given up.

pub mod ask;
#[cfg(test)]
pub(crate) mod bench;
pub mod frame;
#[cfg(test)]
mod hostile;
pub mod keys;
pub mod limits;
pub mod message;
pub mod pull;
pub mod serve;
#[cfg(test)]
mod trials;
mod visit;

pub use ask::{Ask, AskError, ask};
pub use message::{Answer, Beginning, Device, Invited, Offer, Refusal, Request, Testimony};
pub use serve::{Manners, serve_guest, serve_stream};
