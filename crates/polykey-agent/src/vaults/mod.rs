//! The node's vaults: making, finding, moving, deleting them.
//!
//! Each vault has a record in the node's database ([`entry`], kept by the [`register`]) and a folder
//! ([`folder`]); it is opened ([`opener`]) at its first use and stays open. A record is written before its
//! folder is filled and changed only after the new folder is complete, so at each moment a restart knows
//! which files count.
//!
//! Always: no two vaults that are not deleted have one name. A name wins over an id. All of this blocks,
//! so handlers call it from [`crate::blocking`]. Start at [`Vaults::load`] and [`Vaults::open`].

pub mod entry;
pub mod folder;
mod hidden;
pub mod history;
mod joining;
mod opener;
pub mod problem;
mod register;
mod relocate;
pub mod select;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use data_encoding::HEXLOWER;
use polykey_api::vaults::VaultItem;
use polykey_api::{Code, Problem};
use polykey_core::clock::SystemClock;
use polykey_core::random::OsRandom;
use polykey_core::{Clock, Key, Random, VaultId, VaultName};
use polykey_store::Database;
use polykey_vault::{Vault, VaultError};

use crate::follow::News;
use entry::{Entry, Folder, STORAGE_LEN, State};
pub use opener::Acting;
use opener::Opener;
use problem::vault_problem;
use register::{Handle, Register, Storage, lock, no_vault};

/// How long a deleted vault can come back.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// All vaults of the node.
pub struct Vaults {
    node: PathBuf,
    register: Register,
    opener: Opener,
    /// Held while the set of vaults changes, so that checks and changes are one step.
    changing: Mutex<()>,
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
    /// others the first that is a member, once its role went on to the first as far as the claims say so.
    ///
    /// # Errors
    /// [`Code::BadData`] when a record is damaged; what the disk says.
    pub fn load(database: Database, keys: Key, me: Vec<Acting>, node: &Path) -> Result<Vaults, Problem> {
        let node = node.canonicalize().unwrap_or_else(|_| node.to_owned());
        let vaults = Vaults {
            node,
            register: Register::load(database)?,
            opener: Opener::new(keys, me),
            changing: Mutex::new(()),
        };
        for entry in vaults.register.entries() {
            // A stick that can only be read now must not keep the node from opening: it is tried again at the
            // next start.
            if let Err(problem) = vaults.finish_interrupted(entry) {
                tracing::warn!("what an interrupted change left was not cleared away: {problem}");
            }
        }
        Ok(vaults)
    }

    fn finish_interrupted(&self, entry: Entry) -> Result<(), Problem> {
        if entry.state == State::Making {
            folder::clear(&entry.folder.path(&self.node))?;
            self.register.forget(&entry.storage)?;
        } else if let Some(leftover) = &entry.leftover {
            folder::clear(&leftover.path(&self.node))?;
            self.register.store(Entry {
                leftover: None,
                ..entry
            })?;
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
        for entry in self.register.entries() {
            if let State::Deleted(_, until) = entry.state
                && until <= now
            {
                let removed = folder::clear(&entry.folder.path(&self.node))
                    .and_then(|()| self.register.forget(&entry.storage));
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
        let (entry, handle) = self.register.find(typed)?;
        let id = entry.id().ok_or_else(|| no_vault(typed))?;
        self.open_entry(&entry, id, &handle)
    }

    /// The vault with this id, opened if need be, whatever others are called; also while it is being brought in.
    ///
    /// # Errors
    /// As [`Vaults::open`].
    pub fn open_id(&self, id: VaultId) -> Result<InUse, Problem> {
        let (entry, handle) = self.register.find_id(id)?;
        self.open_entry(&entry, id, &handle)
    }

    /// What changes in the vaults.
    pub fn news(&self) -> News {
        self.opener.news().clone()
    }

    /// The ids of all vaults in use.
    pub fn ids(&self) -> Vec<VaultId> {
        self.register.live().filter_map(|entry| entry.id()).collect()
    }

    /// What a vault in use is called.
    pub fn name_of(&self, id: VaultId) -> Option<String> {
        let mut live = self.register.live();
        let entry = live.find(|entry| entry.id() == Some(id))?;
        Some(entry.name.as_str().to_owned())
    }

    fn open_entry(&self, entry: &Entry, id: VaultId, handle: &Handle) -> Result<InUse, Problem> {
        let name = entry.name.as_str().to_owned();
        let folder = entry.folder.path(&self.node);
        let mut handle = lock(handle);
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
        self.register.close_idle();
        let vault = self
            .opener
            .open(&folder, &entry.storage)
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

    /// The vaults in use whose folder is there, by name, without opening them. An absent stick hides nothing of
    /// what the others hold.
    pub fn present(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .register
            .live()
            .filter(|entry| is_present(&entry.folder.path(&self.node)))
            .map(|entry| entry.name.as_str().to_owned())
            .collect();
        names.sort();
        names
    }

    /// The deleted vaults that can still come back: name, folder, and the vault, opened for this once.
    pub fn deleted(&self) -> impl Iterator<Item = (String, PathBuf, Result<Vault, Problem>)> {
        // Nobody brings one back, or clears it away, while it is open here.
        let _changing = lock(&self.changing);
        let mut entries = self.register.entries();
        entries.retain(|entry| matches!(entry.state, State::Deleted(..)));
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries.into_iter().map(move |entry| {
            let (name, folder) = (entry.name.as_str().to_owned(), entry.folder.path(&self.node));
            let vault = if is_present(&folder) {
                let opened = self.opener.open(&folder, &entry.storage);
                opened.map_err(|error| vault_problem(&name, error))
            } else {
                Err(absent(&name, &folder))
            };
            (name, folder, vault)
        })
    }

    /// Where each vault in use lies, by name.
    pub fn places(&self) -> Vec<(String, PathBuf)> {
        let mut places: Vec<_> = self
            .register
            .live()
            .map(|entry| (entry.name.as_str().to_owned(), entry.folder.path(&self.node)))
            .collect();
        places.sort();
        places
    }

    /// Folders in the default place that belong to no vault, nor to one that was deleted.
    pub fn strays(&self) -> Vec<PathBuf> {
        let known: Vec<PathBuf> = self
            .register
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
            .register
            .entries()
            .iter()
            .filter(|entry| match entry.state {
                State::Making | State::Joining(_) | State::Kept(_) | State::Hidden(_) => false,
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
        self.register.check_free(&name)?;
        let entry = self.fill_new(name, at, State::Live, |path, storage| {
            self.opener.make(path, storage)
        })?;
        // Own devices are let in before anything is written.
        if let Some(id) = entry.id() {
            self.opener.news().changed(id);
        }
        Ok(self.item(&entry))
    }

    /// Takes a folder for a new vault called `name`, has it filled, and notes that it is in `state`.
    fn fill_new(
        &self,
        name: VaultName,
        at: Option<&Path>,
        state: fn(VaultId) -> State,
        fill: impl FnOnce(&Path, &Storage) -> Result<Vault, VaultError>,
    ) -> Result<Entry, Problem> {
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
        self.register.store(entry.clone())?;
        let vault = match fill(&path, &storage) {
            Ok(vault) => vault,
            Err(error) => {
                // What stays is cleared away at the next start.
                if folder::clear(&path).is_ok() {
                    let _ = self.register.forget(&storage);
                }
                return Err(vault_problem(entry.name.as_str(), error));
            }
        };
        entry.state = state(vault.id());
        self.register.store(entry.clone())?;
        self.register.keep_open(&storage, vault);
        Ok(entry)
    }

    /// Calls the vault `typed` by another name from now on.
    ///
    /// # Errors
    /// [`Code::VaultNotFound`], [`Code::BadPath`], [`Code::Exists`].
    pub fn rename(&self, typed: &str, new_name: &str) -> Result<VaultItem, Problem> {
        let name = parse_name(new_name)?;
        let _changing = lock(&self.changing);
        let (entry, _) = self.register.find(typed)?;
        if entry.name != name {
            self.register.check_free(&name)?;
        }
        self.store_and_show(Entry { name, ..entry })
    }

    /// Puts the vault `typed` away. Its folder stays for 30 days, its name is free at once.
    ///
    /// # Errors
    /// [`Code::VaultNotFound`].
    pub fn delete(&self, typed: &str) -> Result<VaultItem, Problem> {
        let _changing = lock(&self.changing);
        let (entry, handle) = self.register.find(typed)?;
        let id = entry.id().ok_or_else(|| no_vault(typed))?;
        let state = State::Deleted(id, SystemClock.now().after(KEPT));
        let item = self.store_and_show(Entry { state, ..entry })?;
        drop(lock(&handle).take());
        self.opener.news().changed(id);
        Ok(item)
    }

    /// Brings back the deleted vault `typed` (of several the last deleted), as `name` if that is given.
    ///
    /// # Errors
    /// [`Code::VaultNotFound`]; [`Code::Exists`] when its name is taken.
    pub fn undelete(&self, typed: &str, name: Option<&str>) -> Result<VaultItem, Problem> {
        let _changing = lock(&self.changing);
        let found = self
            .register
            .entries()
            .into_iter()
            .filter_map(|entry| match entry.state {
                State::Deleted(id, until) if entry.is_called(typed) => Some((until, id, entry)),
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
        self.register
            .check_free(&name)
            .map_err(|problem| problem.hint("give it another name with `--name`"))?;
        self.store_and_show(Entry {
            name,
            state: State::Live(id),
            ..entry
        })
    }

    /// Closes all vaults, also those that somebody still uses: whatever they try then fails.
    pub fn close(&self) {
        self.register.close();
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

    fn store_and_show(&self, entry: Entry) -> Result<VaultItem, Problem> {
        let item = self.item(&entry);
        self.register.store(entry)?;
        Ok(item)
    }
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

#[cfg(test)]
pub(crate) mod tests {
    use polykey_core::Timestamp;
    use polykey_core::key_record::KeyRecord;
    use polykey_core::sealing::EncryptionKey;
    use polykey_core::sign::SigningKey;
    use polykey_store::StoreEnv;
    use polykey_vault::charter::{DeviceKey, MemberKeys};

    use super::*;

    /// A node folder with its database and keys; the register can be loaded again and again.
    pub(crate) struct Bench {
        dir: tempfile::TempDir,
        database: Database,
        root: Key,
        device: Key,
    }

    impl Bench {
        pub(crate) fn new() -> Bench {
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

        pub(crate) fn load(&self) -> Result<Vaults, Problem> {
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
            let me = polykey_vault::Identity::new(signer, keys, vec![(record.number(), device)]);
            let folders = Key::from_array([7; 32]);
            let me = Acting {
                identity: me,
                rotation: None,
            };
            Vaults::load(self.database.clone(), folders, vec![me], self.dir.path())
        }

        fn folders(&self) -> usize {
            std::fs::read_dir(self.dir.path().join("vaults")).map_or(0, Iterator::count)
        }
    }

    fn entry_of(vaults: &Vaults, name: &str) -> Entry {
        let found = vaults
            .register
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
            .register
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
                .register
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
    fn leftovers_that_cannot_be_cleared_away_keep_nobody_out() {
        let bench = Bench::new();
        let vaults = bench.load().expect("loads");
        vaults.create("work", None).expect("makes");
        let (entry, _) = vaults.register.find("work").expect("there");
        let left = bench.dir.path().join("left");
        std::fs::create_dir_all(left.join("vault.db")).expect("a temporary folder");
        let leftover = Some(Folder::new(&left, &vaults.node));
        vaults
            .register
            .store(Entry { leftover, ..entry })
            .expect("stores");
        drop(vaults);
        let vaults = bench.load().expect("loads all the same");
        vaults.open("work").expect("opens");
        drop(vaults);
        std::fs::remove_dir(left.join("vault.db")).expect("empty");
        bench.load().expect("loads");
        assert!(!left.exists());
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
        vaults.register.store(Entry { state, ..old }).expect("stores");
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
