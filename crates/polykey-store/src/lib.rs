//! Sealed tables on SQLite and object files.
//!
//! A [`Database`] is one SQLite file in which nothing can be read, and nothing can be changed, left out,
//! swapped or put back to an older form without notice. Its records stand in logical [`Table`]s, under a
//! group and an item; keys are hidden by keyed hashes, values are sealed and padded. [`state`] says how
//! missing and outdated records are noticed.
//!
//! Always: what [`Database::write`] acknowledged is durable; nothing that a file contains makes this crate
//! panic, hang or return wrong data. Start at [`Database`], at [`Objects`] for large sealed content, and at
//! [`Disk`] for our own files.

mod database;
mod disk;
mod engine;
mod error;
#[cfg(any(test, feature = "testing"))]
mod faulty;
mod file;
mod log;
mod multiset;
mod objects;
mod records;
mod reserve;
mod sealed;
mod state;
mod transaction;
mod verify;

pub use database::{Database, StoreEnv};
pub use disk::{Disk, DiskFile, Entry, RealDisk, atomic_write};
pub use error::{Damage, StoreError};
#[cfg(any(test, feature = "testing"))]
pub use faulty::{Crash, FaultyDisk};
pub use file::FORMAT_VERSION;
pub use objects::{Batch, Objects};
pub use sealed::{MAX_KEY_LEN, MAX_VALUE_LEN, Table};
pub use transaction::{ReadTx, WriteTx};
pub use verify::Report;
