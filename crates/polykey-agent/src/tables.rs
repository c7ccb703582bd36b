//! The tables of the node's database, in one list: a number never changes its meaning.

use polykey_store::Table;

/// The node's keys (sealed once more), key records and sigchain.
pub const IDENTITY: Table = Table::new(1);
/// The audit log.
pub const AUDIT: Table = Table::new(2);
/// The vaults that this node holds: name, id, place. See `vaults`.
pub const VAULTS: Table = Table::new(16);
/// Other nodes: names, addresses, keys. See `contacts`.
pub const CONTACTS: Table = Table::new(17);
/// When each vault was last brought level with each member, and what that member had then. See `follow`.
pub const FRESH: Table = Table::new(18);
/// Shares that wait for the keys of their node. See `sharing`.
pub const PENDING_SHARES: Table = Table::new(19);
/// Messages that wait to be delivered. See `post`.
pub const OUTBOX: Table = Table::new(20);
/// Messages that were received. See `post`.
pub const INBOX: Table = Table::new(21);
/// Shares that were received. See `post`.
pub const SHARES: Table = Table::new(22);
/// Invitations that were given. See `tickets`.
pub const TICKETS: Table = Table::new(23);
/// Places with ciphertext only. See `replicas`.
pub const REPLICAS: Table = Table::new(24);
/// Vaults that are kept for others. See `replicas`.
pub const KEPT: Table = Table::new(25);
/// Tokens for accounts of the user elsewhere. See `providers`.
pub const TOKENS: Table = Table::new(32);
/// With whom vaults are shared, and by which nodes. See `sharing`.
pub const PEOPLE: Table = Table::new(33);
/// The own split, recoveries that were asked for, warnings. See `friends`.
pub const RECOVERY_OWN: Table = Table::new(40);
/// Shares that are held for others. See `friends`.
pub const RECOVERY_HELD: Table = Table::new(41);
/// Requests for them. See `friends`.
pub const RECOVERY_REQUESTS: Table = Table::new(42);
/// What is to be said about shares to nodes that are away. See `friends`.
pub const RECOVERY_ERRANDS: Table = Table::new(43);
/// Own devices of which the user was told. See `devices`.
pub const DEVICES_TOLD: Table = Table::new(44);
/// Messages from strangers. See `post`.
pub const STRANGERS: Table = Table::new(26);
/// Tickets for devices. See `devices`.
pub const DEVICE_TICKETS: Table = Table::new(27);
/// Devices that were let into vaults because they are devices of a member. See `devices`.
pub const FOLLOWED: Table = Table::new(28);
/// What of the hidden vault and this node was in step when they were last compared. See `devices`.
pub const IN_STEP: Table = Table::new(29);
