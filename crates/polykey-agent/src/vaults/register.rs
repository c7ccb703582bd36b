//! The register: a record for each vault in the node's database, and beside it the handle of the open vault.
//!
//! [`Register`] holds all records in memory and makes each change durable before it counts. Whoever changes
//! the set of vaults keeps others from doing so meanwhile; see [`super::Vaults`].
//!
//! Always: what is in memory is what the database holds. Start at [`Register::load`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use polykey_api::{Code, Problem};
use polykey_core::{VaultId, VaultName};
use polykey_store::{Database, StoreError};
use polykey_vault::Vault;

use super::entry::{Entry, STORAGE_LEN, State};
use crate::tables::VAULTS;

/// All of them stand in one group: there are few, and they are read together.
const ALL: &[u8] = b"all";
/// Vaults that are open at a time, as long as no more are in use.
const MAX_OPEN: usize = 64;

/// Names a record.
pub type Storage = [u8; STORAGE_LEN];
/// A vault that may be open. The inner reference counts who uses it; its own handles do not tell.
pub type Handle = Arc<Mutex<Option<Arc<Vault>>>>;

struct Slot {
    entry: Entry,
    handle: Handle,
}

/// The records of all vaults, and the open ones.
pub struct Register {
    database: Database,
    slots: RwLock<BTreeMap<Storage, Slot>>,
}

impl Register {
    /// Reads all records.
    ///
    /// # Errors
    /// [`Code::BadData`] when one is damaged; what the disk says.
    pub fn load(database: Database) -> Result<Register, Problem> {
        let records = database
            .read(|tx| tx.group(VAULTS, ALL))
            .map_err(|error| register_problem(&error))?;
        let mut slots = BTreeMap::new();
        for (storage, record) in records {
            let entry = Entry::decode(&storage, record.expose()).map_err(|error| {
                Problem::new(Code::BadData, "the register of vaults is damaged")
                    .hint("run `polykey doctor`")
                    .caused_by(&error)
            })?;
            slots.insert(entry.storage, Slot::closed(entry));
        }
        Ok(Register {
            database,
            slots: RwLock::new(slots),
        })
    }

    /// All records.
    pub fn entries(&self) -> Vec<Entry> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.values().map(|slot| slot.entry.clone()).collect()
    }

    /// The records of the vaults in use.
    pub fn live(&self) -> impl Iterator<Item = Entry> {
        self.entries()
            .into_iter()
            .filter(|entry| matches!(entry.state, State::Live(_)))
    }

    /// The vault in use that the user calls `typed`: by its name or else by its id.
    ///
    /// # Errors
    /// [`Code::VaultNotFound`].
    pub fn find(&self, typed: &str) -> Result<(Entry, Handle), Problem> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let name = VaultName::parse(typed).ok();
        let id = typed.parse::<VaultId>().ok();
        let live = || {
            slots
                .values()
                .filter(|slot| matches!(slot.entry.state, State::Live(_)))
        };
        live()
            .find(|slot| Some(&slot.entry.name) == name.as_ref())
            .or_else(|| live().find(|slot| id.is_some() && slot.entry.id() == id))
            .map(|slot| (slot.entry.clone(), slot.handle.clone()))
            .ok_or_else(|| no_vault(typed))
    }

    /// The vault with this id that is in use, being brought in, kept or hidden, whatever others are called.
    ///
    /// # Errors
    /// [`Code::VaultNotFound`].
    pub fn find_id(&self, id: VaultId) -> Result<(Entry, Handle), Problem> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let wanted = [
            State::Live(id),
            State::Joining(id),
            State::Kept(id),
            State::Hidden(id),
        ];
        let found = slots.values().find(|slot| wanted.contains(&slot.entry.state));
        found
            .map(|slot| (slot.entry.clone(), slot.handle.clone()))
            .ok_or_else(|| no_vault(&id.to_string()))
    }

    /// # Errors
    /// [`Code::Exists`] when another vault holds the name.
    pub fn check_free(&self, name: &VaultName) -> Result<(), Problem> {
        if self
            .entries()
            .iter()
            .any(|entry| entry.holds_name() && entry.name == *name)
        {
            return Err(Problem::new(
                Code::Exists,
                format!("there is a vault {name} already"),
            ));
        }
        Ok(())
    }

    /// Makes `entry` durable, then known.
    ///
    /// # Errors
    /// What the disk says; nothing is changed then.
    pub fn store(&self, entry: Entry) -> Result<(), Problem> {
        // A record is small, and deleting or clearing away a vault, which changes one, must work on a full disk.
        self.database
            .write_removal(|tx| tx.put(VAULTS, ALL, &entry.storage, &entry.encode()))
            .map_err(|error: StoreError| register_problem(&error))?;
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        match slots.get_mut(&entry.storage) {
            Some(slot) => slot.entry = entry,
            None => {
                slots.insert(entry.storage, Slot::closed(entry));
            }
        }
        Ok(())
    }

    /// Removes a record for good.
    ///
    /// # Errors
    /// What the disk says; the record stays then.
    pub fn forget(&self, storage: &Storage) -> Result<(), Problem> {
        self.database
            .write_removal(|tx| tx.remove(VAULTS, ALL, storage).map(drop))
            .map_err(|error: StoreError| register_problem(&error))?;
        self.slots
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(storage);
        Ok(())
    }

    /// Keeps an open vault.
    pub fn keep_open(&self, storage: &Storage, vault: Vault) {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(storage) {
            *lock(&slot.handle) = Some(Arc::new(vault));
        }
    }

    /// Closes all vaults, also those that somebody still uses: whatever they try then fails.
    pub fn close(&self) {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        for slot in slots.values() {
            // A handle that is held is being opened or moved; its owner ends with an error.
            if let Ok(mut handle) = slot.handle.try_lock()
                && let Some(vault) = handle.take()
                && let Err(error) = vault.close()
            {
                tracing::error!(%error, "a vault was not closed well");
            }
        }
    }

    /// Closes vaults that nobody uses when many are open: each holds files and memory.
    pub fn close_idle(&self) {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let open: Vec<&Handle> = slots
            .values()
            .map(|slot| &slot.handle)
            .filter(|handle| handle.try_lock().is_ok_and(|handle| handle.is_some()))
            .collect();
        if open.len() < MAX_OPEN {
            return;
        }
        for handle in open {
            if let Ok(mut handle) = handle.try_lock()
                && handle.as_ref().is_some_and(|vault| Arc::strong_count(vault) == 1)
            {
                handle.take();
            }
        }
    }
}

impl Slot {
    fn closed(entry: Entry) -> Slot {
        Slot {
            entry,
            handle: Handle::default(),
        }
    }
}

/// Locks what no panic can leave half changed.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The answer for a vault that is not there.
pub fn no_vault(typed: &str) -> Problem {
    Problem::new(Code::VaultNotFound, format!("there is no vault {typed}")).hint("see `polykey vaults list`")
}

fn register_problem(error: &StoreError) -> Problem {
    let code = match error {
        StoreError::DiskFull { .. } => Code::DiskFull,
        StoreError::Damaged { .. } => Code::BadData,
        _ => Code::Io,
    };
    Problem::new(code, "the register of vaults cannot be used").caused_by(error)
}

#[cfg(test)]
mod tests {
    use polykey_core::Key;
    use polykey_core::random::OsRandom;
    use polykey_store::StoreEnv;

    use super::super::entry::Folder;
    use super::*;

    fn database(dir: &tempfile::TempDir) -> Database {
        let key = Key::random(&OsRandom);
        Database::create(&dir.path().join("node.db"), &key, &StoreEnv::default()).expect("a new database")
    }

    fn live(number: u8, name: &str) -> Entry {
        Entry {
            storage: [number; STORAGE_LEN],
            name: VaultName::parse(name).expect("a good name"),
            folder: Folder::InNode(format!("vaults/{number}").into()),
            leftover: None,
            state: State::Live(VaultId::from_bytes([number; 32])),
        }
    }

    #[test]
    fn records_outlast_the_register() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let database = database(&dir);
        let register = Register::load(database.clone()).expect("an empty register");
        for entry in [live(1, "one"), live(2, "two")] {
            register.store(entry).expect("stores");
        }
        register.forget(&[1; STORAGE_LEN]).expect("forgets");
        for register in [&register, &Register::load(database).expect("loads")] {
            assert_eq!(register.entries(), [live(2, "two")]);
            assert_eq!(
                register.find("one").map(drop).map_err(|p| p.code),
                Err(Code::VaultNotFound)
            );
            let id = VaultId::from_bytes([2; 32]).to_string();
            assert_eq!(register.find(&id).map(|(entry, _)| entry), Ok(live(2, "two")));
        }
    }

    #[test]
    fn a_deleted_vault_frees_its_name() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let register = Register::load(database(&dir)).expect("an empty register");
        let one = live(1, "one");
        register.store(one.clone()).expect("stores");
        let free = |register: &Register| register.check_free(&one.name).map_err(|p| p.code);
        assert_eq!(free(&register), Err(Code::Exists));
        let id = one.id().expect("made");
        let state = State::Deleted(id, polykey_core::Timestamp::from_millis(1));
        register.store(Entry { state, ..one.clone() }).expect("stores");
        assert_eq!(free(&register), Ok(()));
        assert!(register.find("one").is_err());
    }

    #[test]
    fn a_damaged_record_is_told_and_not_dropped() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let database = database(&dir);
        let put = |tx: &mut polykey_store::WriteTx<'_>| tx.put(VAULTS, ALL, &[1; STORAGE_LEN], b"nonsense");
        database.write::<(), StoreError>(put).expect("writes");
        assert_eq!(
            Register::load(database).map(drop).map_err(|p| p.code),
            Err(Code::BadData)
        );
    }
}
