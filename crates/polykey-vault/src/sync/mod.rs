//! Sync: how two replicas come to hold the same set.
//!
//! It is pull, as a state machine over messages with no socket in it. The puller says which charter heads
//! and which ends of lines it has; the peer sends what is missing, charter entries first, then commits, each
//! after all that it follows, small objects with their commit; then the puller asks for the large objects.
//! Each item is verified before it is stored. The peer keeps no state, and every request is made anew from
//! what the puller has stored, so that an interrupted pull resumes by itself.
//!
//! - [`message`]: what is sent. [`blob`]: bytes in it that are not copied. [`replica`]: what a place that holds the set can do.
//! - [`mod@exchange`]: both in one process. [`folder`]: a replica in a plain folder.
//! - `notebook`: what a vault remembers about others.
//! - [`pull`]: the asking side. [`mod@serve`]: the answering side.
//!
//! Always: no message makes us take memory before its length was checked; what a peer claims is never
//! believed, only what is signed; a keeper without keys can do all of it.

pub mod blob;
pub mod exchange;
pub mod folder;
mod load;
#[cfg(test)]
pub(crate) mod memory;
pub mod message;
mod notebook;
mod pack;
pub mod pull;
#[cfg(test)]
mod relays;
pub mod replica;
pub mod serve;
#[cfg(test)]
mod trials;
mod vault;

pub use blob::Blob;
pub use exchange::{ExchangeError, exchange};
pub use folder::{FolderError, FolderReplica};
pub use message::{Announcement, CommitItem, Have, Items, MessageError, Request, Response, Tip};
pub use notebook::SyncState;
pub use pull::{Outcome, Pull, PullReport, Seen};
pub use replica::{Batch, Blame, CommitHeader, Evidence, Offence, Replica};
pub use serve::{announce, serve};
