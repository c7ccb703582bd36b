//! How fresh the other copies of a vault are: when each member was last level with us, and what it had then.
//!
//! Row: array `[time, announcement]`, by vault and node. What a node had is held against what it shows the next
//! time: less is stale, never a deletion.

use polykey_core::codec::{CodecError, Reader, Writer};
use polykey_core::{NodeId, Timestamp, VaultId};
use polykey_store::{Database, StoreError};
use polykey_vault::sync::{Announcement, Seen};

use crate::tables::FRESH;

/// Longest row: the ends of all lines of a vault.
const MAX_LEN: usize = 2 << 20;

/// One copy of a vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fresh {
    /// When it was last level with ours.
    pub time: Timestamp,
    /// What it had then.
    pub seen: Seen,
}

/// What is known of the copy of `vault` at `node`. A row that is damaged is none.
///
/// # Errors
/// What the store says.
pub fn find(database: &Database, vault: &VaultId, node: &NodeId) -> Result<Option<Fresh>, StoreError> {
    let row = database.read(|tx| tx.value(FRESH, vault.as_bytes(), node.as_bytes()))?;
    Ok(row.and_then(|row| decode(row.expose()).ok()))
}

/// All copies of `vault` that are known, by node.
///
/// # Errors
/// What the store says.
pub fn all(database: &Database, vault: &VaultId) -> Result<Vec<(NodeId, Fresh)>, StoreError> {
    let rows = database.read(|tx| tx.group(FRESH, vault.as_bytes()))?;
    let read = |(node, row): (Vec<u8>, polykey_core::SecretBytes)| {
        let node = NodeId::try_from(node.as_slice()).ok()?;
        Some((node, decode(row.expose()).ok()?))
    };
    Ok(rows.into_iter().filter_map(read).collect())
}

/// Notes that the copy at `node` is level with ours.
///
/// # Errors
/// What the store says.
pub fn note(database: &Database, vault: &VaultId, node: &NodeId, fresh: &Fresh) -> Result<(), StoreError> {
    let row = encode(vault, fresh);
    database.write(|tx| tx.put(FRESH, vault.as_bytes(), node.as_bytes(), &row))
}

/// Forgets the copies of `vault` at nodes that `is_in_it` does not know, which were taken out.
///
/// # Errors
/// What the store says.
pub fn forget_others(
    database: &Database,
    vault: &VaultId,
    is_in_it: impl Fn(&NodeId) -> bool,
) -> Result<(), StoreError> {
    let is_known = |item: &[u8]| NodeId::try_from(item).is_ok_and(|node| is_in_it(&node));
    let mut gone = database.read(|tx| tx.group(FRESH, vault.as_bytes()))?;
    gone.retain(|(item, _)| !is_known(item));
    if gone.is_empty() {
        return Ok(());
    }
    database.write(|tx| {
        for (item, _) in &gone {
            tx.remove(FRESH, vault.as_bytes(), item)?;
        }
        Ok(())
    })
}

fn encode(vault: &VaultId, fresh: &Fresh) -> Vec<u8> {
    let seen = Announcement {
        vault: *vault,
        heads: fresh.seen.heads.clone(),
        tips: fresh.seen.tips.clone(),
    };
    let mut out = Writer::new();
    out.array(2).u64(fresh.time.as_millis()).bytes(&seen.encode());
    out.finish()
}

fn decode(bytes: &[u8]) -> Result<Fresh, CodecError> {
    let mut from = Reader::new(bytes, MAX_LEN, "a row of freshness")?;
    from.array_of(2)?;
    let time = Timestamp::from_millis(from.u64()?);
    let seen = Announcement::decode(from.bytes()?).map_err(|_| from.shape())?;
    from.finish()?;
    Ok(Fresh {
        time,
        seen: Seen {
            heads: seen.heads,
            tips: seen.tips,
        },
    })
}

#[cfg(test)]
mod tests {
    use polykey_core::StatementId;

    use super::*;

    #[test]
    fn rows_read_back_and_cut_ones_do_not() {
        let fresh = Fresh {
            time: Timestamp::from_millis(5),
            seen: Seen {
                heads: vec![StatementId::from_bytes([1; 32])],
                tips: Vec::new(),
            },
        };
        let row = encode(&VaultId::from_bytes([2; 32]), &fresh);
        assert_eq!(decode(&row), Ok(fresh));
        for cut in 0..row.len() {
            assert!(decode(&row[..cut]).is_err(), "{cut}");
        }
    }
}
