//! The node's vaults: which there are, where they lie, and the open ones.
//!
//! [`Vaults`] is the register. Each vault has a record in the node's database ([`entry`]) and a folder
//! ([`folder`]); it is opened at its first use and stays open. A record is written before its folder is
//! filled and changed only after the new folder is complete, so at each moment a restart knows which
//! files count.
//!
//! Always: no two vaults that are not deleted have one name. A name wins over an id. All of this blocks,
//! so handlers call it from [`crate::blocking`]. Start at [`Vaults::open`].

pub mod entry;
pub mod folder;
pub mod history;
pub mod problem;
pub mod select;

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use polykey_api::vaults::VaultItem;
use polykey_api::{Code, Problem};
use polykey_core::clock::SystemClock;
use polykey_core::random::OsRandom;
use polykey_core::{Clock, Key, Random, VaultId, VaultName, kdf, label};
use polykey_store::{Database, RealDisk, StoreError};
use polykey_vault::{Env, Identity, Vault, VaultError};

use crate::tables::VAULTS;
use entry::{Entry, Folder, STORAGE_LEN, State};
use problem::vault_problem;

/// All of them stand in one group: there are few, and they are read together.
const ALL: &[u8] = b"all";
/// How long a deleted vault can come back.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// Vaults that are open at a time, as long as no more are in use.
const MAX_OPEN: usize = 64;
/// A vault that is to be moved must be out of use this soon.
const QUIET_TIME: Duration = Duration::from_secs(10);

type Storage = [u8; STORAGE_LEN];
/// The inner reference counts who uses the vault; its own handles do not tell.
type Handle = Arc<Mutex<Option<Arc<Vault>>>>;

struct Slot {
    entry: Entry,
    handle: Handle,
}

/// The register of vaults.
pub struct Vaults {
    node: PathBuf,
    database: Database,
    keys: Key,
    /// The node as it is now, and then as it was under former root keys, newest first.
    me: Vec<Arc<Identity>>,
    /// Held while the set of vaults changes, so that checks and changes are one step.
    changing: Mutex<()>,
    slots: RwLock<BTreeMap<Storage, Slot>>,
}

/// A vault in use.
#[derive(Clone)]
pub struct InUse {
    /// Its name, for messages.
    pub name: String,
    /// Its id.
    pub id: VaultId,
    /// The vault.
    pub vault: Arc<Vault>,
}

impl Vaults {
    /// Reads the register from the node's database, and clears away what an interrupted change left.
    /// `keys` gives the keys of the folders, `node` is the node path. The first of `me` acts in new vaults; in
    /// others the first that is a member.
    ///
    /// # Errors
    /// [`Code::BadData`] when a record is damaged; what the disk says.
    pub fn load(database: Database, keys: Key, me: Vec<Identity>, node: &Path) -> Result<Vaults, Problem> {
        let node = node.canonicalize().unwrap_or_else(|_| node.to_owned());
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
            slots.insert(
                entry.storage,
                Slot {
                    entry,
                    handle: Handle::default(),
                },
            );
        }
        let vaults = Vaults {
            node,
            database,
            keys,
            me: me.into_iter().map(Arc::new).collect(),
            changing: Mutex::new(()),
            slots: RwLock::new(slots),
        };
        vaults.finish_interrupted()?;
        Ok(vaults)
    }

    fn finish_interrupted(&self) -> Result<(), Problem> {
        for entry in self.entries() {
            if entry.state == State::Making {
                folder::clear(&entry.folder.path(&self.node))?;
                self.forget(&entry.storage)?;
            } else if let Some(leftover) = &entry.leftover {
                folder::clear(&leftover.path(&self.node))?;
                self.store(Entry {
                    leftover: None,
                    ..entry
                })?;
            }
        }
        Ok(())
    }

    /// Removes for good what was deleted long enough ago.
    ///
    /// # Errors
    /// The first failure; the others are tried all the same, and again at the next start.
    pub fn remove_expired(&self) -> Result<(), Problem> {
        let _changing = lock(&self.changing);
        let now = SystemClock.now();
        let mut result = Ok(());
        for entry in self.entries() {
            if let State::Deleted(_, until) = entry.state
                && until <= now
            {
                let removed =
                    folder::clear(&entry.folder.path(&self.node)).and_then(|()| self.forget(&entry.storage));
                result = result.and(removed);
            }
        }
        result
    }

    /// The vault that the user calls `typed`, opened if need be.
    ///
    /// # Errors
    /// [`Code::VaultNotFound`]; [`Code::Io`] while its folder is absent; what the store says.
    pub fn open(&self, typed: &str) -> Result<InUse, Problem> {
        let (entry, handle) = self.find(typed)?;
        let name = entry.name.as_str().to_owned();
        let id = entry.id().ok_or_else(|| no_vault(typed))?;
        let folder = entry.folder.path(&self.node);
        let mut handle = lock(&handle);
        if !is_present(&folder) {
            // A stick that comes back is read anew.
            drop(handle.take());
            return Err(absent(&name, &folder));
        }
        if let Some(vault) = &*handle {
            return Ok(InUse {
                name,
                id,
                vault: vault.clone(),
            });
        }
        self.close_idle();
        let vault = self
            .open_folder(&folder, &entry.storage)
            .map_err(|error| vault_problem(&name, error))?;
        if vault.id() != id {
            return Err(Problem::new(
                Code::BadData,
                format!("the folder {} holds another vault than {name}", folder.display()),
            ));
        }
        let vault = Arc::new(vault);
        *handle = Some(vault.clone());
        Ok(InUse { name, id, vault })
    }

    /// All vaults in use, by name, without opening them.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .entries()
            .into_iter()
            .filter(|entry| matches!(entry.state, State::Live(_)))
            .map(|entry| entry.name.as_str().to_owned())
            .collect();
        names.sort();
        names
    }

    /// Where each vault in use lies, by name.
    pub fn places(&self) -> Vec<(String, PathBuf)> {
        let mut places: Vec<_> = self
            .entries()
            .into_iter()
            .filter(|entry| matches!(entry.state, State::Live(_)))
            .map(|entry| (entry.name.as_str().to_owned(), entry.folder.path(&self.node)))
            .collect();
        places.sort();
        places
    }

    /// Folders in the default place that belong to no vault, nor to one that was deleted.
    pub fn strays(&self) -> Vec<PathBuf> {
        let known: Vec<PathBuf> = self
            .entries()
            .iter()
            .flat_map(|entry| [Some(&entry.folder), entry.leftover.as_ref()])
            .flatten()
            .map(|folder| folder.path(&self.node))
            .collect();
        let found = std::fs::read_dir(self.node.join("vaults"));
        found
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| !known.contains(path))
            .collect()
    }

    /// The vaults, by name; or those that were deleted.
    pub fn list(&self, deleted: bool) -> Vec<VaultItem> {
        let mut items: Vec<VaultItem> = self
            .entries()
            .iter()
            .filter(|entry| match entry.state {
                State::Making => false,
                State::Live(_) => !deleted,
                State::Deleted(..) => deleted,
            })
            .map(|entry| self.item(entry))
            .collect();
        items.sort_by(|a, b| (&a.vault_name, &a.vault_id_encoded).cmp(&(&b.vault_name, &b.vault_id_encoded)));
        items
    }

    fn item(&self, entry: &Entry) -> VaultItem {
        let folder = entry.folder.path(&self.node);
        VaultItem {
            vault_name: entry.name.as_str().to_owned(),
            vault_id_encoded: entry.id().map(|id| id.to_string()).unwrap_or_default(),
            available: is_present(&folder),
            folder: matches!(entry.folder, Folder::At(_)).then(|| folder.to_string_lossy().into_owned()),
            deleted_until: match entry.state {
                State::Deleted(_, until) => Some(until.as_millis()),
                _ => None,
            },
        }
    }

    /// Makes a vault called `name`, in the absolute folder `at` or in its default place.
    ///
    /// # Errors
    /// [`Code::BadPath`], [`Code::Exists`], what the disk says. Nothing is left then.
    pub fn create(&self, name: &str, at: Option<&Path>) -> Result<VaultItem, Problem> {
        let name = parse_name(name)?;
        let _changing = lock(&self.changing);
        self.check_free(&name)?;
        let mut storage: Storage = [0; STORAGE_LEN];
        OsRandom.fill(&mut storage);
        let wanted = match at {
            Some(at) => absolute(at)?.to_owned(),
            None => self.default_folder(&storage)?,
        };
        let path = folder::take(&wanted)?;
        let mut entry = Entry {
            storage,
            name,
            folder: Folder::new(&path, &self.node),
            leftover: None,
            state: State::Making,
        };
        self.store(entry.clone())?;
        let made = self.make_folder(&path, &storage);
        let vault = match made {
            Ok(vault) => vault,
            Err(error) => {
                // What stays is cleared away at the next start.
                if folder::clear(&path).is_ok() {
                    let _ = self.forget(&storage);
                }
                return Err(vault_problem(entry.name.as_str(), error));
            }
        };
        entry.state = State::Live(vault.id());
        self.store(entry.clone())?;
        self.set_handle(&storage, vault);
        Ok(self.item(&entry))
    }

    /// Calls the vault `typed` by another name from now on.
    ///
    /// # Errors
    /// [`Code::VaultNotFound`], [`Code::BadPath`], [`Code::Exists`].
    pub fn rename(&self, typed: &str, new_name: &str) -> Result<VaultItem, Problem> {
        let name = parse_name(new_name)?;
        let _changing = lock(&self.changing);
        let (entry, _) = self.find(typed)?;
        if entry.name != name {
            self.check_free(&name)?;
        }
        self.store_and_show(Entry { name, ..entry })
    }

    /// Puts the vault `typed` away. Its folder stays for 30 days, its name is free at once.
    ///
    /// # Errors
    /// [`Code::VaultNotFound`].
    pub fn delete(&self, typed: &str) -> Result<VaultItem, Problem> {
        let _changing = lock(&self.changing);
        let (entry, handle) = self.find(typed)?;
        let id = entry.id().ok_or_else(|| no_vault(typed))?;
        let state = State::Deleted(id, SystemClock.now().after(KEPT));
        let item = self.store_and_show(Entry { state, ..entry })?;
        drop(lock(&handle).take());
        Ok(item)
    }

    /// Brings back the deleted vault `typed` (of several the last deleted), as `name` if that is given.
    ///
    /// # Errors
    /// [`Code::VaultNotFound`]; [`Code::Exists`] when its name is taken.
    pub fn undelete(&self, typed: &str, name: Option<&str>) -> Result<VaultItem, Problem> {
        let _changing = lock(&self.changing);
        let found = self
            .entries()
            .into_iter()
            .filter_map(|entry| match entry.state {
                State::Deleted(id, until) if is_called(&entry, typed) => Some((until, id, entry)),
                _ => None,
            })
            .max_by_key(|(until, ..)| until.as_millis());
        let Some((_, id, entry)) = found else {
            return Err(
                Problem::new(Code::VaultNotFound, format!("there is no deleted vault {typed}"))
                    .hint("see `polykey vaults list --deleted`"),
            );
        };
        let name = match name {
            Some(name) => parse_name(name)?,
            None => entry.name.clone(),
        };
        self.check_free(&name)
            .map_err(|problem| problem.hint("give it another name with `--name`"))?;
        self.store_and_show(Entry {
            name,
            state: State::Live(id),
            ..entry
        })
    }

    /// Moves the folder of the vault `typed` to `to`: copies, reads back, opens the copy, switches, and
    /// only then clears the old one away.
    ///
    /// # Errors
    /// [`Code::VaultNotFound`], [`Code::Exists`], [`Code::Busy`], what the disk says. The vault is then
    /// where it was.
    pub fn relocate(&self, typed: &str, to: &Path) -> Result<VaultItem, Problem> {
        let to = absolute(to)?;
        let _changing = lock(&self.changing);
        let (entry, handle) = self.find(typed)?;
        let name = entry.name.as_str();
        let from = entry.folder.path(&self.node);
        // Whoever wants the vault waits here until it is in its new place.
        let mut handle = lock(&handle);
        if !is_present(&from) {
            return Err(absent(name, &from));
        }
        if to.starts_with(&from) {
            return Err(Problem::new(
                Code::Usage,
                "a vault cannot be moved into its own folder",
            ));
        }
        if let Some(vault) = handle.take() {
            self.close_when_unused(name, vault)?;
        }
        let target = folder::take(to)?;
        let moving = Entry {
            leftover: Some(Folder::new(&target, &self.node)),
            ..entry.clone()
        };
        self.store(moving)?;
        let opened = folder::copy(&from, &target).and_then(|()| {
            let vault = self
                .open_folder(&target, &entry.storage)
                .map_err(|error| vault_problem(name, error))?;
            if entry.id() == Some(vault.id()) {
                Ok(vault)
            } else {
                Err(Problem::new(
                    Code::BadData,
                    "the copy is not the vault that was copied",
                ))
            }
        });
        let vault = match opened {
            Ok(vault) => vault,
            Err(problem) => {
                if folder::clear(&target).is_ok() {
                    let _ = self.store(entry);
                }
                return Err(problem);
            }
        };
        let moved = Entry {
            folder: Folder::new(&target, &self.node),
            leftover: Some(entry.folder.clone()),
            ..entry
        };
        self.store(moved.clone())?;
        *handle = Some(Arc::new(vault));
        folder::clear(&from)?;
        self.store_and_show(Entry {
            leftover: None,
            ..moved
        })
    }

    fn close_when_unused(&self, name: &str, mut vault: Arc<Vault>) -> Result<(), Problem> {
        let begin = Instant::now();
        loop {
            match Arc::try_unwrap(vault) {
                Ok(vault) => return vault.close().map_err(|error| vault_problem(name, error)),
                Err(shared) if begin.elapsed() < QUIET_TIME => vault = shared,
                Err(_) => {
                    return Err(Problem::new(Code::Busy, format!("the vault {name} is in use"))
                        .hint("try again when other commands have ended"));
                }
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn find(&self, typed: &str) -> Result<(Entry, Handle), Problem> {
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

    fn check_free(&self, name: &VaultName) -> Result<(), Problem> {
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

    fn default_folder(&self, storage: &Storage) -> Result<PathBuf, Problem> {
        let parent = self.node.join("vaults");
        match DirBuilder::new().mode(0o700).create(&parent) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(problem::disk_problem("make the folder", &parent, &error))
            }
            _ => Ok(parent.join(HEXLOWER.encode(storage))),
        }
    }

    fn make_folder(&self, folder: &Path, storage: &Storage) -> Result<Vault, VaultError> {
        let made = Vault::create(
            folder,
            &self.folder_key(storage),
            self.me[0].clone(),
            environment(folder),
        )?;
        made.close()?;
        // Only now the database has a file to be told apart by.
        self.open_folder(folder, storage)
    }

    fn open_folder(&self, folder: &Path, storage: &Storage) -> Result<Vault, VaultError> {
        let open = |me: &Arc<Identity>| {
            Vault::open(folder, &self.folder_key(storage), me.clone(), environment(folder))
        };
        let vault = open(&self.me[0])?;
        if vault.my_role().is_some() || self.me.len() == 1 {
            return Ok(vault);
        }
        // A vault from before the keys were renewed knows the node by its former id.
        vault.close()?;
        drop(vault);
        for me in &self.me[1..] {
            let vault = open(me)?;
            if vault.my_role().is_some() {
                return Ok(vault);
            }
            vault.close()?;
        }
        open(&self.me[0])
    }

    fn folder_key(&self, storage: &Storage) -> Key {
        kdf::derive(&self.keys, label::MASTER_DATABASE, storage)
    }

    fn entries(&self) -> Vec<Entry> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.values().map(|slot| slot.entry.clone()).collect()
    }

    /// Makes `entry` durable, then known.
    fn store(&self, entry: Entry) -> Result<(), Problem> {
        // A record is small, and deleting or clearing away a vault, which changes one, must work on a full disk.
        self.database
            .write_removal(|tx| tx.put(VAULTS, ALL, &entry.storage, &entry.encode()))
            .map_err(|error: StoreError| register_problem(&error))?;
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        match slots.get_mut(&entry.storage) {
            Some(slot) => slot.entry = entry,
            None => {
                slots.insert(
                    entry.storage,
                    Slot {
                        entry,
                        handle: Handle::default(),
                    },
                );
            }
        }
        Ok(())
    }

    fn store_and_show(&self, entry: Entry) -> Result<VaultItem, Problem> {
        let item = self.item(&entry);
        self.store(entry)?;
        Ok(item)
    }

    fn forget(&self, storage: &Storage) -> Result<(), Problem> {
        self.database
            .write_removal(|tx| tx.remove(VAULTS, ALL, storage).map(drop))
            .map_err(|error: StoreError| register_problem(&error))?;
        self.slots
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(storage);
        Ok(())
    }

    fn set_handle(&self, storage: &Storage, vault: Vault) {
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
    fn close_idle(&self) {
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_called(entry: &Entry, typed: &str) -> bool {
    VaultName::parse(typed).is_ok_and(|name| name == entry.name)
        || entry.id().is_some_and(|id| id.to_string() == typed)
}

fn is_present(folder: &Path) -> bool {
    folder.join("vault.db").is_file()
}

fn absolute(path: &Path) -> Result<&Path, Problem> {
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(Problem::new(
            Code::Usage,
            "the folder of a vault must be named by its whole path",
        ))
    }
}

fn parse_name(name: &str) -> Result<VaultName, Problem> {
    VaultName::parse(name)
        .map_err(|error| Problem::new(Code::BadPath, format!("{name:?} is no name for a vault: {error}")))
}

fn absent(name: &str, folder: &Path) -> Problem {
    Problem::new(
        Code::Io,
        format!("the folder {} of the vault {name} is absent", folder.display()),
    )
    .hint("bring it back (is the disk there?), then try again")
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
    use polykey_core::Timestamp;
    use polykey_core::key_record::KeyRecord;
    use polykey_core::sealing::EncryptionKey;
    use polykey_core::sign::SigningKey;
    use polykey_store::StoreEnv;
    use polykey_vault::charter::{DeviceKey, MemberKeys};

    use super::*;

    /// A node folder with its database and keys; the register can be loaded again and again.
    struct Bench {
        dir: tempfile::TempDir,
        database: Database,
        root: Key,
        device: Key,
    }

    impl Bench {
        fn new() -> Bench {
            let dir = tempfile::tempdir().expect("a temporary folder");
            let key = Key::random(&OsRandom);
            let database = Database::create(&dir.path().join("node.db"), &key, &StoreEnv::default());
            Bench {
                database: database.expect("a new database"),
                root: Key::random(&OsRandom),
                device: Key::random(&OsRandom),
                dir,
            }
        }

        fn load(&self) -> Result<Vaults, Problem> {
            let signer = SigningKey::from_seed(&self.root);
            let device = EncryptionKey::from_seed(&self.device);
            let record = KeyRecord::first(&signer, device.public());
            let keys = MemberKeys {
                recovery: SigningKey::from_seed(&self.device).public(),
                code: device.public(),
                device: DeviceKey {
                    record: record.id(),
                    number: record.number(),
                    public: device.public(),
                },
            };
            let me = Identity::new(signer, keys, vec![(record.number(), device)]);
            let folders = Key::from_array([7; 32]);
            Vaults::load(self.database.clone(), folders, vec![me], self.dir.path())
        }

        fn folders(&self) -> usize {
            std::fs::read_dir(self.dir.path().join("vaults")).map_or(0, Iterator::count)
        }
    }

    fn entry_of(vaults: &Vaults, name: &str) -> Entry {
        let found = vaults
            .entries()
            .into_iter()
            .find(|entry| entry.name.as_str() == name);
        found.expect("the vault is there")
    }

    #[test]
    fn vaults_are_found_by_name_and_id_after_a_restart() {
        let bench = Bench::new();
        let vaults = bench.load().expect("an empty register");
        let made = vaults.create("work", None).expect("a free name");
        assert_eq!(vaults.create("work", None).map_err(|p| p.code), Err(Code::Exists));
        vaults.close();
        let vaults = bench.load().expect("one vault");
        for typed in ["work", &made.vault_id_encoded] {
            assert_eq!(vaults.open(typed).map(|vault| vault.name), Ok("work".to_owned()));
        }
        assert_eq!(
            vaults.open("none").map(|v| v.id).map_err(|p| p.code),
            Err(Code::VaultNotFound)
        );
        assert_eq!(bench.folders(), 1);
    }

    #[test]
    fn a_name_wins_over_an_id() {
        let bench = Bench::new();
        let vaults = bench.load().expect("an empty register");
        let first = vaults.create("first", None).expect("a free name");
        let second = vaults.create(&first.vault_id_encoded, None).expect("an odd name");
        let opened = vaults.open(&first.vault_id_encoded).expect("there");
        assert_eq!(opened.id.to_string(), second.vault_id_encoded);
    }

    #[test]
    fn what_was_being_made_is_cleared_away() {
        let bench = Bench::new();
        let vaults = bench.load().expect("an empty register");
        vaults.create("half", None).expect("a free name");
        let half = entry_of(&vaults, "half");
        vaults.close();
        vaults
            .store(Entry {
                state: State::Making,
                ..half
            })
            .expect("stores");
        let vaults = bench.load().expect("loads");
        assert!(vaults.list(false).is_empty());
        assert_eq!(bench.folders(), 0);
        assert!(vaults.create("half", None).is_ok(), "the name is free again");
    }

    #[test]
    fn an_interrupted_move_ends_where_the_record_says() {
        let bench = Bench::new();
        let vaults = bench.load().expect("an empty register");
        vaults.create("v", None).expect("a free name");
        let entry = entry_of(&vaults, "v");
        let here = entry.folder.path(&vaults.node);
        vaults.close();
        // Before the switch the copy goes, after it the original.
        for (count, leftover) in ["copy", "original"].into_iter().enumerate() {
            let other = bench.dir.path().join(leftover);
            let other = folder::take(&other).expect("a new folder");
            folder::copy(&here, &other).expect("copies");
            std::fs::write(other.join("mine.txt"), b"the user's").expect("writes");
            let leftover = Some(Folder::new(&other, &vaults.node));
            vaults
                .store(Entry {
                    leftover,
                    ..entry.clone()
                })
                .expect("stores");
            let loaded = bench.load().expect("loads");
            assert!(
                !other.join("vault.db").exists() && other.join("mine.txt").exists(),
                "{count}"
            );
            assert!(loaded.open("v").is_ok());
            assert_eq!(entry_of(&loaded, "v").leftover, None);
            loaded.close();
        }
    }

    #[test]
    fn a_deleted_vault_goes_when_its_time_is_over() {
        let bench = Bench::new();
        let vaults = bench.load().expect("an empty register");
        vaults.create("old", None).expect("a free name");
        vaults.create("new", None).expect("a free name");
        vaults.delete("old").expect("there");
        vaults.delete("new").expect("there");
        let old = entry_of(&vaults, "old");
        let id = old.id().expect("made");
        let state = State::Deleted(id, Timestamp::from_millis(1));
        vaults.store(Entry { state, ..old }).expect("stores");
        vaults.remove_expired().expect("removes");
        assert_eq!(bench.folders(), 1);
        let left: Vec<String> = vaults
            .list(true)
            .into_iter()
            .map(|vault| vault.vault_name)
            .collect();
        assert_eq!(left, ["new"]);
        assert_eq!(
            vaults.undelete("old", None).map_err(|p| p.code),
            Err(Code::VaultNotFound)
        );
        assert!(vaults.undelete("new", None).is_ok() && vaults.open("new").is_ok());
    }

    #[test]
    fn a_damaged_record_is_told_and_not_dropped() {
        let bench = Bench::new();
        let put = |tx: &mut polykey_store::WriteTx<'_>| tx.put(VAULTS, ALL, &[1; STORAGE_LEN], b"nonsense");
        bench.database.write::<(), StoreError>(put).expect("writes");
        assert_eq!(bench.load().map(|_| ()).map_err(|p| p.code), Err(Code::BadData));
    }

    #[test]
    fn another_vaults_folder_is_not_taken_for_ours() {
        let bench = Bench::new();
        let vaults = bench.load().expect("an empty register");
        for name in ["a", "b"] {
            vaults.create(name, None).expect("a free name");
        }
        let (a, b) = (entry_of(&vaults, "a"), entry_of(&vaults, "b"));
        vaults.close();
        let (a, b) = (a.folder.path(&vaults.node), b.folder.path(&vaults.node));
        std::fs::remove_dir_all(&a).expect("removes");
        std::fs::rename(&b, &a).expect("renames");
        assert_eq!(
            vaults.open("a").map(|v| v.id).map_err(|p| p.code),
            Err(Code::BadData)
        );
        assert_eq!(vaults.open("b").map(|v| v.id).map_err(|p| p.code), Err(Code::Io));
    }
}
