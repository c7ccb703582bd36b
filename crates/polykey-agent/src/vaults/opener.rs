//! Opening vault folders: with which key, and as whom.
//!
//! The key of a folder comes from the node's keys and the folder's storage id. The node acts in a vault under
//! the root key that is a member of it. Where that is a former one that named its successor, role and rank go on
//! to the successor at once, in an entry of the charter: so a vault follows a renewal of the keys when it is opened
//! next, also one whose folder was absent in between. A root key that was reset names nobody, and its vaults stay
//! under it.
//!
//! Start at [`Opener::open`].

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use polykey_core::clock::SystemClock;
use polykey_core::random::OsRandom;
use polykey_core::rotation::Rotation;
use polykey_core::statement::Statement;
use polykey_core::{Key, kdf, label};
use polykey_store::RealDisk;
use polykey_vault::{Env, Identity, Vault, VaultError};

use super::register::Storage;
use crate::follow::News;

/// Somebody that the node is or was.
pub struct Acting {
    /// Under this root key.
    pub identity: Identity,
    /// The claim in which it names the next one, if it does.
    pub rotation: Option<Rotation>,
}

/// Makes and opens vaults in folders.
pub struct Opener {
    keys: Key,
    me: Vec<Arc<Identity>>,
    /// For each of `me` the claim that names the one before it.
    rotations: Vec<Option<Rotation>>,
    news: News,
}

impl Opener {
    /// `keys` gives the keys of the folders. `me` is the node as it is now, and then as it was under former
    /// root keys, newest first.
    pub fn new(keys: Key, me: Vec<Acting>) -> Opener {
        let (me, rotations) = (me.into_iter())
            .map(|acting| (Arc::new(acting.identity), acting.rotation))
            .unzip();
        Opener {
            keys,
            me,
            rotations,
            news: News::default(),
        }
    }

    /// Where the changes of all open vaults are told.
    pub fn news(&self) -> &News {
        &self.news
    }

    /// Makes a vault in the empty `folder`, of the node as it is now.
    ///
    /// # Errors
    /// What the disk says; the folder may hold a part then.
    pub fn make(&self, folder: &Path, storage: &Storage) -> Result<Vault, VaultError> {
        let made = Vault::create(
            folder,
            &self.folder_key(storage),
            self.me[0].clone(),
            environment(folder),
        )?;
        made.close()?;
        // Only now the database has a file to be told apart by.
        self.open(folder, storage)
    }

    /// Makes a replica of another node's vault in the empty `folder`, with nothing but its genesis.
    ///
    /// # Errors
    /// As [`Opener::make`]; when `genesis` is none.
    pub fn join(&self, folder: &Path, storage: &Storage, genesis: &Statement) -> Result<Vault, VaultError> {
        let made = Vault::join(
            folder,
            &self.folder_key(storage),
            self.me[0].clone(),
            environment(folder),
            genesis,
        )?;
        made.close()?;
        self.open(folder, storage)
    }

    /// Opens the vault in `folder`, as the first of us that is a member, and lets the ones that it named go on.
    ///
    /// # Errors
    /// What the vault says.
    pub fn open(&self, folder: &Path, storage: &Storage) -> Result<Vault, VaultError> {
        let open = |me: &Arc<Identity>| {
            let vault = Vault::open(folder, &self.folder_key(storage), me.clone(), environment(folder))?;
            let (news, id) = (self.news.clone(), vault.id());
            vault.on_change(move || news.changed(id));
            Ok::<_, VaultError>(vault)
        };
        let vault = open(&self.me[0])?;
        if vault.my_role().is_some() || self.me.len() == 1 {
            return Ok(vault);
        }
        // A vault from before the keys were renewed knows the node by its former id.
        vault.close()?;
        drop(vault);
        for at in 1..self.me.len() {
            let vault = open(&self.me[at])?;
            if vault.my_role().is_some() {
                self.hand_on(&vault, at);
                return Ok(vault);
            }
            vault.close()?;
        }
        open(&self.me[0])
    }

    /// Moves role and rank in `vault` from one of us to the next, as far as each named the next.
    fn hand_on(&self, vault: &Vault, from: usize) {
        for at in (1..=from).rev() {
            let Some(rotation) = &self.rotations[at] else {
                return;
            };
            if let Err(error) = vault.succeed(rotation, self.me[at - 1].clone()) {
                // It is as usable as before, and asked again at the next opening.
                tracing::warn!(vault = %vault.id(), %error, "a vault stays with a former root key");
                return;
            }
        }
    }

    fn folder_key(&self, storage: &Storage) -> Key {
        kdf::derive(&self.keys, label::MASTER_DATABASE, storage)
    }
}

/// What a vault needs from outside. A vault whose database is another file than before, on another machine
/// or out of a backup, goes on under a new actor.
fn environment(folder: &Path) -> Env {
    let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let file = folder
        .join("vault.db")
        .metadata()
        .map_or(0, |metadata| metadata.ino());
    Env {
        clock: Arc::new(SystemClock),
        random: Arc::new(OsRandom),
        disk: Arc::new(RealDisk),
        machine: format!("{} {file}", machine.trim()).into_bytes(),
    }
}
