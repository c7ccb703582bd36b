//! Copies of a vault's ciphertext: at keepers and in folders.
//!
//! - [`copy`]: one copy and its record. [`folder`]: a stick, a mounted disk, a synchronised folder, which is a
//!   local setting of this node; [`Replicas::sync`] brings in what others left there and leaves there what they lack.
//! - [`keep`]: a *keeper* is a node with that role in the charter, which was asked to hold the vault; it is brought
//!   up to date as any member is. [`allowance`] is how much this node keeps for others, [`kept`] what it keeps.
//!
//! Always: nothing that lies in a folder is believed; what is there less than before is told as stale, never
//! taken as a deletion. All of this blocks.

pub mod allowance;
pub mod copy;
pub mod folder;
pub mod keep;
pub mod kept;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use polykey_api::replicas::ReplicaItem;
use polykey_api::sharing::CopyItem;
use polykey_api::{Code, Problem};
use polykey_core::{NodeId, Timestamp, VaultId};
use polykey_store::{Database, StoreError};
use polykey_vault::sync::SyncState;

pub use copy::{Copy, Place, Trouble};
pub use folder::find_in_folder;

use crate::failure;
use crate::tables::REPLICAS;
use crate::vaults::InUse;
use crate::vaults::problem::vault_problem;

/// Copies of one vault.
pub const MAX_REPLICAS: usize = 64;

/// The copies of this node's vaults.
pub struct Replicas {
    db: Database,
    me: NodeId,
    troubles: Mutex<BTreeMap<(VaultId, NodeId), Trouble>>,
}

impl Replicas {
    /// Those in this database, of the node `me`.
    pub fn new(db: Database, me: NodeId) -> Replicas {
        Replicas {
            db,
            me,
            troubles: Mutex::default(),
        }
    }

    /// Notes what a node says about its copy of a vault.
    pub fn note_trouble(&self, vault: VaultId, at: NodeId, trouble: Option<Trouble>) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        match trouble {
            Some(trouble) => troubles.insert((vault, at), trouble),
            None => troubles.remove(&(vault, at)),
        };
    }

    /// What a node said about its copy of a vault, when that is not well.
    pub fn trouble(&self, vault: VaultId, at: NodeId) -> Option<Trouble> {
        let troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.get(&(vault, at)).copied()
    }

    /// All copies of a vault, nodes first.
    ///
    /// # Errors
    /// What the store says.
    pub fn of(&self, vault: VaultId) -> Result<Vec<Copy>, Problem> {
        let rows = self
            .db
            .read(|tx| tx.group(REPLICAS, vault.as_bytes()))
            .map_err(|error: StoreError| failure::store(&error))?;
        let mut copies = rows
            .iter()
            .map(|(_, row)| Copy::decode(row.expose()).map_err(|error| damaged(&error)))
            .collect::<Result<Vec<_>, _>>()?;
        copies.sort_by(|a, b| a.place.cmp(&b.place));
        Ok(copies)
    }

    /// The same for a listing.
    ///
    /// # Errors
    /// What the store says.
    pub fn items(&self, vault: VaultId) -> Result<Vec<ReplicaItem>, Problem> {
        let copies = self.of(vault)?;
        Ok(copies.iter().map(|copy| self.item(vault, copy)).collect())
    }

    fn item(&self, vault: VaultId, copy: &Copy) -> ReplicaItem {
        let trouble = match copy.place {
            Place::Node(node) => self.trouble(vault, node),
            Place::Folder(_) => None,
        };
        ReplicaItem {
            trouble: trouble.map(|trouble| trouble.as_str().to_owned()),
            ..copy.item(vault)
        }
    }

    /// The folders, as `vaults status` shows them; nodes stand among the members.
    ///
    /// # Errors
    /// What the store or the vault says.
    pub fn copies(&self, vault: &InUse, state: &SyncState) -> Result<Vec<CopyItem>, Problem> {
        let mut items = Vec::new();
        for copy in self.of(vault.id)? {
            if let Place::Folder(_) = copy.place {
                let seen = vault.vault.seen(&copy.place.whom());
                let seen = seen.map_err(|error| vault_problem(&vault.name, error))?;
                items.push(CopyItem {
                    place: copy.place.show(),
                    kind: "folder".to_owned(),
                    last_sync: copy.last.map(Timestamp::as_millis),
                    fresh: copy.last.is_some() && state.is_held_by(&seen),
                    trouble: None,
                });
            }
        }
        Ok(items)
    }

    /// Remembers a copy.
    ///
    /// # Errors
    /// [`Code::Usage`] when there are too many; what the store says.
    pub fn note(&self, vault: VaultId, copy: &Copy) -> Result<ReplicaItem, Problem> {
        let known = self.of(vault)?;
        if known.len() >= MAX_REPLICAS && !known.iter().any(|known| known.place == copy.place) {
            return Err(Problem::new(
                Code::Usage,
                format!("a vault has at most {MAX_REPLICAS} copies"),
            ));
        }
        self.db
            .write(|tx| tx.put(REPLICAS, vault.as_bytes(), &copy.place.whom(), &copy.encode()))
            .map_err(|error: StoreError| failure::store(&error))?;
        Ok(self.item(vault, copy))
    }

    /// Notes that a node keeps a vault, if it was waited for.
    ///
    /// # Errors
    /// What the store says.
    pub fn note_kept(&self, vault: VaultId, at: NodeId) -> Result<(), Problem> {
        let waiting = |copy: &Copy| copy.place == Place::Node(at) && copy.waiting;
        match self.of(vault)?.into_iter().find(waiting) {
            Some(copy) => {
                let kept = Copy {
                    waiting: false,
                    ..copy
                };
                self.note(vault, &kept).map(drop)
            }
            None => Ok(()),
        }
    }

    /// Forgets a copy; what is there stays there.
    ///
    /// # Errors
    /// [`Code::NodeNotFound`] or [`Code::FileNotFound`] when there is none; what the store says.
    pub fn forget(&self, vault: VaultId, place: &Place) -> Result<ReplicaItem, Problem> {
        let known = self.of(vault)?;
        let Some(copy) = known.iter().find(|copy| copy.place == *place) else {
            let code = match place {
                Place::Node(_) => Code::NodeNotFound,
                Place::Folder(_) => Code::FileNotFound,
            };
            return Err(
                Problem::new(code, format!("no copy of the vault is kept at {}", place.show()))
                    .hint("see `polykey vaults replicas list`"),
            );
        };
        self.db
            .write_removal(|tx| tx.remove(REPLICAS, vault.as_bytes(), &place.whom()).map(drop))
            .map_err(|error: StoreError| failure::store(&error))?;
        Ok(copy.item(vault))
    }
}

fn damaged(error: &dyn std::error::Error) -> Problem {
    failure::record("the record of a copy", error)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use polykey_core::Key;
    use polykey_core::random::OsRandom;
    use polykey_store::StoreEnv;

    use super::*;

    #[test]
    fn copies_are_remembered_once_and_forgotten() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let key = Key::random(&OsRandom);
        let db = Database::create(&dir.path().join("node.db"), &key, &StoreEnv::default());
        let replicas = Replicas::new(db.expect("a new database"), NodeId::from_bytes([1; 32]));
        let vault = VaultId::from_bytes([2; 32]);
        let folder = Place::Folder(PathBuf::from("/media/stick"));
        let node = Place::Node(NodeId::from_bytes([3; 32]));
        for (place, waiting) in [(&folder, false), (&node, true), (&folder, false)] {
            let copy = Copy {
                place: place.clone(),
                last: None,
                waiting,
            };
            replicas.note(vault, &copy).expect("stores");
        }
        let places: Vec<Place> = replicas
            .of(vault)
            .expect("reads")
            .into_iter()
            .map(|copy| copy.place)
            .collect();
        assert_eq!(places, [node.clone(), folder.clone()]);
        assert!(replicas.forget(vault, &folder).is_ok());
        assert_eq!(
            replicas.forget(vault, &folder).map_err(|problem| problem.code),
            Err(Code::FileNotFound)
        );
        assert_eq!(
            replicas
                .forget(VaultId::from_bytes([9; 32]), &node)
                .map_err(|problem| problem.code),
            Err(Code::NodeNotFound)
        );
    }
}
