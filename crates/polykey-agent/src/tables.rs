//! The tables of the node's database, in one list: a number never changes its meaning.

use polykey_store::Table;

/// The node's keys (sealed once more), key records and sigchain.
pub const IDENTITY: Table = Table::new(1);
/// The audit log.
pub const AUDIT: Table = Table::new(2);
/// The vaults that this node holds: name, id, place. See `vaults`.
pub const VAULTS: Table = Table::new(16);
