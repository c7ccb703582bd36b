//! The tables of this crate in the node's database, in one list: a number never changes its meaning.

use polykey_store::Table;

/// Sigchains: group the node, item the number (8), value the claim as it came.
pub(crate) const CHAIN: Table = Table::new(48);
/// The last entry that was seen of each chain. See [`book`](crate::book).
pub(crate) const HEAD: Table = Table::new(49);
/// Forks, dropped branches and cut chains: group the node. See [`book`](crate::book).
pub(crate) const EVIDENCE: Table = Table::new(50);
/// Invitations that the user made. See [`invitation`](crate::invitation).
pub(crate) const INVITATION: Table = Table::new(51);
/// What was found on the pages of identities. See [`proof`](crate::proof).
pub(crate) const PROOF: Table = Table::new(52);
/// What nodes may do to us. See [`permission`](crate::permission).
pub(crate) const PERMISSION: Table = Table::new(53);
/// What is to be looked at, and when. See [`discovery`](crate::discovery).
pub(crate) const QUEUE: Table = Table::new(54);

/// The one group of tables that are small enough for one.
pub(crate) const ALL: &[u8] = b"all";
