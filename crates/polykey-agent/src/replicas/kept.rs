//! What this node keeps for others: who asked, how much it takes, and an end to it.
//!
//! Row: array `[who asked, since, last change or null]`, by vault. Whether a vault is kept, the register of vaults
//! says.

use std::path::Path;

use polykey_api::replicas::{KeptItem, KeptList};
use polykey_api::{Code, Problem};
use polykey_core::clock::SystemClock;
use polykey_core::codec::{CodecError, Reader, Writer};
use polykey_core::{Clock, NodeId, Timestamp, VaultId};
use polykey_store::StoreError;

use crate::failure;
use crate::node::Node;
use crate::tables::KEPT;

/// All rows stand in one group.
const ALL: &[u8] = b"all";
/// Longest row.
const MAX_LEN: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    asked_by: NodeId,
    since: Timestamp,
    changed: Option<Timestamp>,
}

impl Row {
    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.array(3)
            .bytes(self.asked_by.as_bytes())
            .u64(self.since.as_millis());
        match self.changed {
            Some(time) => out.u64(time.as_millis()),
            None => out.null(),
        };
        out.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Row, CodecError> {
        let mut from = Reader::new(bytes, MAX_LEN, "the row of a kept vault")?;
        from.array_of(3)?;
        let row = Row {
            asked_by: NodeId::from_bytes(from.bytes_of()?),
            since: Timestamp::from_millis(from.u64()?),
            changed: match from.null()? {
                true => None,
                false => Some(Timestamp::from_millis(from.u64()?)),
            },
        };
        from.finish()?;
        Ok(row)
    }
}

fn find(node: &Node, vault: VaultId) -> Result<Option<Row>, Problem> {
    let row = node
        .db
        .read(|tx| tx.value(KEPT, ALL, vault.as_bytes()))
        .map_err(|error: StoreError| failure::store(&error))?;
    row.map(|row| Row::decode(row.expose()))
        .transpose()
        .map_err(|error| failure::record("the record of a kept vault", &error))
}

fn put(node: &Node, vault: VaultId, row: &Row) -> Result<(), Problem> {
    node.db
        .write(|tx| tx.put(KEPT, ALL, vault.as_bytes(), &row.encode()))
        .map_err(|error: StoreError| failure::store(&error))
}

/// Notes that a vault is kept from now on, and for whom.
///
/// # Errors
/// What the store says.
pub fn note_asked(node: &Node, vault: VaultId, asked_by: NodeId) -> Result<(), Problem> {
    let row = Row {
        asked_by,
        since: SystemClock.now(),
        changed: None,
    };
    put(node, vault, &row)
}

/// Notes that something came for a kept vault.
///
/// # Errors
/// What the store says.
pub fn note_changed(node: &Node, vault: VaultId) -> Result<(), Problem> {
    match find(node, vault)? {
        Some(row) => put(
            node,
            vault,
            &Row {
                changed: Some(SystemClock.now()),
                ..row
            },
        ),
        None => Ok(()),
    }
}

/// All that is kept.
///
/// # Errors
/// What the store or the disk says.
pub fn list(node: &Node) -> Result<KeptList, Problem> {
    let mut vaults = Vec::new();
    for vault in node.vaults.kept() {
        vaults.push(item(node, vault)?);
    }
    vaults.sort_by(|a, b| a.vault_id.cmp(&b.vault_id));
    Ok(KeptList {
        size: vaults.iter().map(|vault| vault.size).sum(),
        quota: node.allowance.quota(),
        vaults,
    })
}

/// One that is kept.
///
/// # Errors
/// What the store or the disk says.
pub fn item(node: &Node, vault: VaultId) -> Result<KeptItem, Problem> {
    let row = find(node, vault)?;
    let asked_by = row.map(|row| row.asked_by);
    let contact = asked_by.and_then(|asker| node.contacts.find(&asker));
    let size = match node.vaults.kept_folder(vault) {
        Some(folder) => measure(&folder)?,
        None => 0,
    };
    Ok(KeptItem {
        vault_id: vault.to_string(),
        asked_by: asked_by.map(|asker| asker.to_string()),
        petname: contact.and_then(|contact| contact.petname),
        since: row.map(|row| row.since.as_millis()),
        last_change: row.and_then(|row| row.changed).map(Timestamp::as_millis),
        size,
        full: node.allowance.is_full(&vault),
    })
}

/// Keeps the vault with the id `typed` no longer: its ciphertext goes for good. The members see that it is gone when
/// they next meet this node.
///
/// # Errors
/// [`Code::VaultNotFound`] when no such vault is kept; what the disk says.
pub fn let_go(node: &Node, typed: &str) -> Result<KeptItem, Problem> {
    let kept = typed.parse::<VaultId>().ok();
    let kept = kept.filter(|vault| node.vaults.kept().contains(vault));
    let Some(vault) = kept else {
        return Err(Problem::new(
            Code::VaultNotFound,
            format!("this node keeps no vault {typed} for others"),
        )
        .hint("see `polykey vaults kept`; a vault of your own is deleted with `polykey vaults delete`"));
    };
    let item = item(node, vault)?;
    node.vaults.drop_kept(vault)?;
    node.db
        .write_removal(|tx| tx.remove(KEPT, ALL, vault.as_bytes()).map(drop))
        .map_err(|error: StoreError| failure::store(&error))?;
    // There is room again, and those that found none show how far they are, so that they are asked.
    node.allowance.forget_full();
    for vault in node.vaults.kept() {
        node.vaults.news().changed(vault);
    }
    Ok(item)
}

/// About how many bytes all kept vaults take.
///
/// # Errors
/// What the disk says.
pub fn size(node: &Node) -> Result<u64, Problem> {
    let folders = node
        .vaults
        .kept()
        .into_iter()
        .filter_map(|vault| node.vaults.kept_folder(vault));
    folders.map(|folder| measure(&folder)).sum()
}

fn measure(folder: &Path) -> Result<u64, Problem> {
    size_of(folder).map_err(|error| failure::disk(&error, "measure", folder))
}

fn size_of(folder: &Path) -> std::io::Result<u64> {
    let mut size = 0;
    for entry in std::fs::read_dir(folder)? {
        // A file may go while it is counted.
        let counted = entry.and_then(|entry| match entry.metadata()? {
            data if data.is_dir() => size_of(&entry.path()),
            data => Ok(data.len()),
        });
        match counted {
            Ok(len) => size += len,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_read_back_and_cut_ones_do_not() {
        for changed in [None, Some(Timestamp::from_millis(9))] {
            let row = Row {
                asked_by: NodeId::from_bytes([1; 32]),
                since: Timestamp::from_millis(5),
                changed,
            };
            let bytes = row.encode();
            assert_eq!(Row::decode(&bytes), Ok(row));
            for cut in 0..bytes.len() {
                assert!(Row::decode(&bytes[..cut]).is_err(), "{cut}");
            }
            assert!(Row::decode(&[&bytes[..], &[0]].concat()).is_err());
        }
    }
}
