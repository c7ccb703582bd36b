//! Encrypted, versioned filesystems of secrets.
//!
//! A vault is a set of signed commits and an index that can always be rebuilt from them. [`Vault`] is the
//! way in: [`Vault::change`] makes commits, [`Vault::view`] shows what a vault holds now or held at any
//! commit, [`Vault::log`] tells how it came about.
//!
//! Always: every node that holds the same commits shows the same vault, whatever the order in which they
//! came; nothing here opens a socket or knows who is asking.

#[cfg(test)]
mod agreement;
mod aside;
pub mod attributes;
mod change;
pub mod charter;
mod check;
pub mod commit;
pub mod content;
mod copy;
mod draft;
mod error;
pub mod event;
pub mod fold;
mod folder;
pub mod history;
pub mod horizon;
pub mod id;
mod identity;
mod index;
mod keeper;
pub mod line;
mod membership;
mod message;
pub mod object;
pub mod operation;
mod pen;
#[cfg(test)]
mod promises;
mod purge;
mod reader;
mod receive;
pub mod record;
#[cfg(test)]
mod republic;
mod reset;
mod rotation;
mod rows;
mod stage;
mod stored;
pub mod sync;
#[cfg(test)]
mod trial;
mod vault;
#[cfg(test)]
mod vectors;
mod view;

pub use aside::{AsideCommit, AsideReason};
pub use change::{Change, Depth, Expect, Parents, Written};
pub use check::{CheckReport, Problem};
pub use content::Kind;
pub use error::VaultError;
pub use history::{Conflicts, Difference, LogEntry, LogFilter, VersionEntry};
pub use id::{CommitId, SecretId, VersionId};
pub use identity::Identity;
pub use index::Inserted;
pub use keeper::Keeper;
pub use membership::Revoked;
pub use purge::{Collected, Deletion, GRACE, Purged};
pub use reader::{ContentPiece, ContentReader};
pub use record::{Field, FieldKind, Record};
pub use rotation::Exposed;
pub use stage::{MAX_SECRET_LEN, Staged};
pub use vault::{Env, Vault};
pub use view::{At, EntryKind, Here, Name, Stat, VersionRef, View};
