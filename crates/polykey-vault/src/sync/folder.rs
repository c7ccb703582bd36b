//! Folder replicas: a vault's set in a plain folder, to be carried by hand or kept as a backup.
//!
//! A folder holds ciphertext only, as a keeper does, and needs no key to be written or read. It may lie on any
//! file system, a memory stick's too. Nobody guards it: what lies there may be anything, so every item is
//! verified when it is read, and what does not hold is as good as absent. The next exchange with somebody
//! who has it brings it back.
//!
//! Always: files are written under another name, synced and renamed, and never changed; opening writes
//! nothing, so a folder that can only be read can be cloned from. The layout is in `docs/format.md`, section
//! "Folder replica". Start at [`FolderReplica::open`] and [`exchange`](fn@super::exchange).

mod layout;
mod replica;

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use polykey_core::id::{ObjectId, VaultId};
use polykey_core::statement::{Kind, Statement};
use polykey_core::{NodeId, Timestamp};
use polykey_store::{Entry as Found, StoreError, atomic_write};

use super::load::{Loaded, Place, load};
use super::pack::{MAX_PACK_LEN, Pack, pack_id};
use super::replica::Evidence;
use crate::charter::{Body, Charter, CharterError};
use crate::object::{MAX_OBJECT_LEN, object_id};
use crate::purge::GRACE;
use crate::vault::Env;
use layout::{OBJECTS, PACKS, SUFFIX, file, files, folder_of, io, list, look, names};

/// Packs that are kept in memory while they are read.
const CACHED: usize = 4;
const README: &str = "A copy of a polykey vault. It is encrypted; nothing here can be read without a member's keys.\n\
    To use it: polykey vaults clone --from <the folder above this one>\n";

/// Why a folder cannot be used as a replica. What is wrong with single items is no error: they are left out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// There is no replica of the vault.
    #[error("{} holds no copy of vault {vault}", place.display())]
    NotHere {
        /// The folder that was looked in.
        place: PathBuf,
        /// The vault.
        vault: VaultId,
    },
    /// The replica lacks the entry that founded the vault, or it is damaged.
    #[error("the copy of vault {vault} in {} has lost its beginning", place.display())]
    NoGenesis {
        /// The folder that was looked in.
        place: PathBuf,
        /// The vault.
        vault: VaultId,
    },
    /// A file is another than it was when the folder was opened.
    #[error("{} was changed while it was in use", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The entry that should found the vault does not.
    #[error(transparent)]
    Charter(#[from] CharterError),
    /// The disk failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A vault's set in a plain folder.
#[derive(Debug)]
pub struct FolderReplica {
    place: PathBuf,
    folder: PathBuf,
    env: Env,
    set: Loaded,
    /// Objects whose files were found damaged when they were read.
    damaged: Mutex<BTreeSet<ObjectId>>,
    cache: Mutex<VecDeque<(ObjectId, Arc<Pack>)>>,
    evidence: Vec<Evidence>,
}

impl std::fmt::Debug for Env {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Env")
    }
}

impl FolderReplica {
    /// The vaults of which the folder `place` holds replicas, ascending.
    ///
    /// # Errors
    /// [`FolderError::Store`].
    pub fn vaults(place: &Path, env: &Env) -> Result<Vec<VaultId>, FolderError> {
        let mut vaults = Vec::new();
        for name in list(env, place)? {
            if let Some(id) = name.to_str().and_then(|name| name.strip_suffix(SUFFIX))
                && let Ok(id) = id.parse::<ObjectId>()
                && look(env, &place.join(&name))? == Some(Found::Folder)
            {
                vaults.push(VaultId::from_bytes(*id.as_bytes()));
            }
        }
        vaults.sort_unstable();
        Ok(vaults)
    }

    /// Opens the replica of `vault` in the folder `place`. Reads and verifies all packs; writes nothing.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn open(place: &Path, vault: VaultId, env: Env) -> Result<FolderReplica, FolderError> {
        let folder = folder_of(place, &vault);
        if look(&env, &folder)? != Some(Found::Folder) {
            return Err(FolderError::NotHere {
                place: place.to_owned(),
                vault,
            });
        }
        let packs = names(&env, &folder.join(PACKS))?;
        // A link, a folder or something huge in the place of a pack is no pack.
        let read = |pack: &ObjectId| env.disk.read(&file(&folder, PACKS, pack), MAX_PACK_LEN).ok();
        let Some(mut set) = load(vault, &packs, &read) else {
            return Err(FolderError::NoGenesis {
                place: place.to_owned(),
                vault,
            });
        };
        set.want(|object, len| {
            let found = env.disk.look(&file(&folder, OBJECTS, object));
            matches!(found, Ok(Some(Found::File(have))) if have == u64::from(len))
        });
        Ok(FolderReplica {
            place: place.to_owned(),
            folder,
            env,
            set,
            damaged: Mutex::default(),
            cache: Mutex::default(),
            evidence: Vec::new(),
        })
    }

    /// Opens the replica of the vault that `genesis` founds, and makes it when there is none. The folder `place`
    /// must exist. A replica that has lost its beginning is given it again.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn open_or_create(place: &Path, genesis: &Statement, env: Env) -> Result<FolderReplica, FolderError> {
        let vault = Charter::found(genesis.clone())?.id();
        match FolderReplica::open(place, vault, env.clone()) {
            Err(FolderError::NotHere { .. } | FolderError::NoGenesis { .. }) => {}
            opened => return opened,
        }
        let folder = folder_of(place, &vault);
        if look(&env, &folder)? != Some(Found::Folder) {
            let made = env.disk.create_dir(&folder);
            made.map_err(|source| io("make the folder", &folder, source))?;
            atomic_write(&*env.disk, &folder.join("README.txt"), README.as_bytes())?;
        }
        let pack = Pack {
            entries: vec![genesis.as_bytes().to_vec()],
            ..Pack::default()
        };
        let bytes = pack.encode(&vault);
        files(&env, &folder, PACKS)?.write(&pack_id(&bytes), &bytes)?;
        let synced = env.disk.sync_dir(place);
        synced.map_err(|source| io("sync the folder", place, source))?;
        FolderReplica::open(place, vault, env)
    }

    /// The vault's id.
    pub fn id(&self) -> VaultId {
        self.set.charter.id()
    }

    /// The folder in which the replica's folder lies.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// The replica's own folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The entry that founded the vault.
    pub fn genesis(&self) -> Statement {
        self.set.charter.genesis().statement().clone()
    }

    /// How many files and items were left out because they do not hold.
    pub fn damaged(&self) -> usize {
        self.set.damaged + lock(&self.damaged).len()
    }

    /// What the exchanges since it was opened found against others. A folder keeps no evidence itself.
    pub fn evidence(&self) -> &[Evidence] {
        &self.evidence
    }

    /// Reads every large object and compares it with its name; how many do not hold. They are wanted from then
    /// on, and the next exchange brings them again.
    ///
    /// # Errors
    /// [`FolderError::Store`].
    pub fn verify(&self) -> Result<usize, FolderError> {
        for object in &self.set.files {
            self.read_file(object)?;
        }
        Ok(lock(&self.damaged).len())
    }

    /// Deletes what was purged and whose time has come.
    ///
    /// # Errors
    /// [`FolderError::Store`].
    pub fn collect(&mut self) -> Result<usize, FolderError> {
        let due = self.due();
        let large: Vec<ObjectId> = due
            .iter()
            .filter(|id| self.set.files.contains(id))
            .copied()
            .collect();
        let mut gone = large.len();
        if !large.is_empty() {
            files(&self.env, &self.folder, OBJECTS)?.remove(&large)?;
            self.set.files.retain(|id| !due.contains(id));
        }
        let packs: BTreeSet<ObjectId> = due
            .iter()
            .filter_map(|id| self.set.small.get(id))
            .map(|place| place.pack)
            .collect();
        for old in packs {
            let mut pack = (*self.pack(&old)?).clone();
            let before = pack.objects.len();
            pack.objects.retain(|bytes| !due.contains(&object_id(bytes)));
            gone += before - pack.objects.len();
            // The new pack is durable before the old one goes.
            self.write_pack(&pack)?;
            files(&self.env, &self.folder, PACKS)?.remove(&[old])?;
            self.set.packs.remove(&old);
        }
        self.set.small.retain(|id, _| !due.contains(id));
        Ok(gone)
    }

    /// Purged objects whose time has come.
    fn due(&self) -> BTreeSet<ObjectId> {
        let now: Timestamp = self.env.clock.now();
        let mut due = BTreeSet::new();
        for entry in self.set.charter.purges() {
            if let Body::Purge {
                objects,
                now: at_once,
                ..
            } = entry.body()
                && (*at_once || entry.time().after(GRACE) <= now)
            {
                due.extend(objects);
            }
        }
        due
    }

    /// A pack as it was when the folder was opened.
    fn pack(&self, id: &ObjectId) -> Result<Arc<Pack>, FolderError> {
        let mut cache = lock(&self.cache);
        if let Some((_, pack)) = cache.iter().find(|(have, _)| have == id) {
            return Ok(Arc::clone(pack));
        }
        let path = file(&self.folder, PACKS, id);
        let changed = || FolderError::Changed { path: path.clone() };
        let bytes = self.env.disk.read(&path, MAX_PACK_LEN);
        let bytes = bytes.map_err(|source| io("read", &path, source))?;
        if self.set.packs.get(id) != Some(&pack_id(&bytes)) {
            return Err(changed());
        }
        let pack = Arc::new(Pack::decode(&self.id(), &bytes).map_err(|_| changed())?);
        if cache.len() >= CACHED {
            cache.pop_front();
        }
        cache.push_back((*id, Arc::clone(&pack)));
        Ok(pack)
    }

    /// An object that has a file of its own; `None` when that is not what its name says.
    fn read_file(&self, object: &ObjectId) -> Result<Option<Vec<u8>>, FolderError> {
        let path = file(&self.folder, OBJECTS, object);
        let bytes = self.env.disk.read(&path, MAX_OBJECT_LEN).ok();
        let sound = bytes.filter(|bytes| object_id(bytes) == *object);
        if sound.is_none() {
            lock(&self.damaged).insert(*object);
        }
        Ok(sound)
    }

    fn small(&self, object: &ObjectId) -> Result<Option<Vec<u8>>, FolderError> {
        match self.set.small.get(object) {
            Some(place) => Ok(Some(self.pack(&place.pack)?.objects[place.at].clone())),
            None => Ok(None),
        }
    }

    /// Writes a pack and takes note of where its items are.
    fn write_pack(&mut self, pack: &Pack) -> Result<(), FolderError> {
        if pack.is_empty() {
            return Ok(());
        }
        let bytes = pack.encode(&self.id());
        let id = pack_id(&bytes);
        files(&self.env, &self.folder, PACKS)?.write(&id, &bytes)?;
        self.set.packs.insert(id, id);
        for (at, (statement, _)) in pack.commits.iter().enumerate() {
            let name = Statement::accept_unverified(Kind::Commit, statement.clone()).map(|s| s.id());
            if let Some(kept) = name.ok().and_then(|name| self.set.commits.get_mut(&name)) {
                kept.place = Place { pack: id, at };
            }
        }
        for (at, object) in pack.objects.iter().enumerate() {
            self.set.small.insert(object_id(object), Place { pack: id, at });
        }
        Ok(())
    }
}

impl FolderReplica {
    fn has(&self, object: &ObjectId) -> bool {
        self.set.small.contains_key(object) || self.set.files.contains(object)
    }

    /// What a node may do in the vault, as far as this copy knows.
    pub fn role_of(&self, node: &NodeId) -> Option<crate::charter::Role> {
        self.set.charter.role(node)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::super::pull::{Outcome, PullReport, Seen};
    use super::super::replica::Replica;
    use super::super::{Announcement, announce, exchange};
    use super::*;
    use crate::Deletion;
    use crate::charter::Role;
    use crate::trial::{Party, env};

    fn stick() -> tempfile::TempDir {
        tempfile::tempdir().expect("a folder")
    }

    fn open(stick: &tempfile::TempDir, of: &Party) -> FolderReplica {
        FolderReplica::open(stick.path(), of.id(), env()).expect("a replica")
    }

    fn push(from: &Party, stick: &tempfile::TempDir) -> PullReport {
        let mut folder =
            FolderReplica::open_or_create(stick.path(), &from.genesis(), env()).expect("a replica");
        let report = exchange(
            &from.vault,
            &mut folder,
            from.node(),
            Seen::default(),
            &mut |_| {},
        );
        report.expect("both at hand")
    }

    fn take(to: &Party, stick: &tempfile::TempDir) -> PullReport {
        let before = to.seen(b"stick").expect("open");
        let report = exchange(
            &open(stick, to),
            &mut to.vault.clone(),
            to.node(),
            before,
            &mut |_| {},
        );
        let report = report.expect("both at hand");
        to.remember_seen(b"stick", &report.seen).expect("stored");
        report
    }

    /// A vault with a bit of everything, and a member who has nothing yet.
    fn pair() -> (Party, Party) {
        let a = Party::founder();
        a.write("small", b"1");
        a.write("large", &[7; 600_000]);
        a.grant(2, Role::Writer);
        let b = Party::joined(2, &a);
        (a, b)
    }

    fn all_files(folder: &Path) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut open = vec![folder.to_owned()];
        while let Some(dir) = open.pop() {
            for entry in fs::read_dir(dir).expect("lists") {
                let entry = entry.expect("an entry");
                match entry.file_type().expect("a type").is_dir() {
                    true => open.push(entry.path()),
                    false => files.push(entry.path()),
                }
            }
        }
        files.sort();
        files
    }

    /// Everything that `a` has is in the folder, and comes out of it again.
    #[track_caller]
    fn check_whole(a: &Party, stick: &tempfile::TempDir) {
        let folder = open(stick, a);
        let missing = folder.missing_objects(9, &BTreeSet::new()).expect("looks");
        assert_eq!((missing, folder.verify().expect("reads")), (vec![], 0));
        let b = Party::joined(2, a);
        assert_eq!(take(&b, stick).outcome, Outcome::Complete);
        assert_eq!(b.tree(), a.tree());
    }

    #[test]
    fn a_vault_is_carried_there_and_back() {
        let (a, b) = pair();
        let stick = stick();
        assert_eq!(push(&a, &stick).outcome, Outcome::Complete);
        assert_eq!(
            FolderReplica::vaults(stick.path(), &env()).expect("lists"),
            [a.id()]
        );
        assert_eq!(take(&b, &stick).outcome, Outcome::Complete);
        assert_eq!(b.tree(), a.tree());
        b.write("small", b"2");
        b.write("from b", &[9; 20_000]);
        let report = push(&b, &stick);
        assert_eq!((report.outcome, report.commits), (Outcome::Complete, 2));
        assert_eq!(push(&b, &stick).commits, 0, "nothing twice");
        assert_eq!(take(&a, &stick).commits, 2);
        assert_eq!(a.tree(), b.tree());
        let folder = open(&stick, &a);
        let mut tips = a.tips().expect("open");
        tips.sort();
        assert_eq!((folder.damaged(), folder.tips().expect("open")), (0, tips));
        let told: Announcement = announce(&folder).expect("open");
        assert!(!told.is_news(&a.vault).expect("open"));
    }

    #[test]
    fn names_are_fit_for_any_file_system_and_nothing_can_be_read() {
        let (a, _) = pair();
        a.write("a very telling name", b"a very telling value");
        let stick = stick();
        push(&a, &stick);
        for path in all_files(stick.path()) {
            let name = path.file_name().expect("a name").to_str().expect("ascii");
            assert!(name == "README.txt" || name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
            let bytes = fs::read(&path).expect("reads");
            for canary in [&b"telling"[..], b"small", b"large"] {
                assert!(!bytes.windows(canary.len()).any(|part| part == canary));
            }
        }
    }

    #[test]
    fn opening_and_cloning_write_nothing() {
        let (a, b) = pair();
        let stick = stick();
        push(&a, &stick);
        let state = || -> Vec<_> {
            let files = all_files(stick.path()).into_iter();
            files
                .map(|path| (fs::read(&path).expect("reads"), path))
                .collect()
        };
        let before = state();
        take(&b, &stick);
        assert!(state() == before);
    }

    #[test]
    fn no_damage_to_any_file_gives_wrong_data_and_the_next_push_mends_it() {
        let (a, _) = pair();
        let stick = stick();
        push(&a, &stick);
        let truth = a.tree();
        let files = all_files(stick.path())
            .into_iter()
            .filter(|path| !path.ends_with("README.txt"));
        for path in files {
            let whole = fs::read(&path).expect("reads");
            let half = whole.len() / 2;
            let mut flipped = whole.clone();
            flipped[half] ^= 1;
            let damages: [&dyn Fn(); 7] = [
                &|| fs::write(&path, &flipped).expect("written"),
                &|| fs::write(&path, &whole[..half]).expect("written"),
                &|| fs::write(&path, []).expect("written"),
                &|| fs::write(&path, vec![0x5a; 17 << 20]).expect("written"),
                &|| drop(fs::remove_file(&path)),
                &|| {
                    fs::remove_file(&path).expect("removed");
                    symlink("/dev/zero", &path).expect("linked");
                },
                &|| {
                    fs::remove_file(&path).expect("removed");
                    fs::create_dir(&path).expect("made");
                },
            ];
            for (number, damage) in damages.iter().enumerate() {
                damage();
                let b = Party::joined(2, &a);
                match FolderReplica::open(stick.path(), a.id(), env()) {
                    Ok(folder) => {
                        folder.verify().expect("reads");
                        let me = b.node();
                        let report =
                            exchange(&folder, &mut b.vault.clone(), me, Seen::default(), &mut |_| {});
                        let outcome = report.expect("no error").outcome;
                        assert!(
                            matches!(outcome, Outcome::Complete | Outcome::WithoutObjects),
                            "damage {number}: {outcome:?}"
                        );
                        let names = b.view(crate::At::Now).expect("now");
                        for name in names.names(&crate::trial::path("")).expect("the root") {
                            let read = b.read(&name.name);
                            let want = truth.iter().find(|(path, _)| *path == name.name);
                            assert!(read.is_err() || read.ok().as_ref() == want.map(|(_, bytes)| bytes));
                        }
                    }
                    Err(FolderError::NoGenesis { .. }) => {}
                    Err(error) => panic!("damage {number}: {error}"),
                }
                if path.is_dir() {
                    fs::remove_dir(&path).expect("removed");
                }
                push(&a, &stick);
                let mut folder = open(&stick, &a);
                folder.verify().expect("reads");
                exchange(&a.vault, &mut folder, a.node(), Seen::default(), &mut |_| {}).expect("at hand");
                if number == 0 {
                    check_whole(&a, &stick);
                }
                assert_eq!(folder.missing_objects(9, &BTreeSet::new()).expect("looks"), []);
                let _ = fs::remove_file(&path);
                fs::write(&path, &whole).expect("as it was");
            }
        }
    }

    #[test]
    fn what_does_not_belong_there_is_ignored() {
        let (a, _) = pair();
        let stick = stick();
        push(&a, &stick);
        let folder = open(&stick, &a).folder().to_owned();
        let stranger = Party::founder();
        stranger.write("x", b"1");
        let foreign = Pack {
            entries: vec![stranger.genesis().as_bytes().to_vec()],
            ..Pack::default()
        };
        let put = |name: &str, bytes: &[u8]| {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, bytes).expect("written");
        };
        for vault in [a.id(), stranger.id()] {
            let bytes = foreign.encode(&vault);
            let id = pack_id(&bytes).to_string();
            put(&format!("packs/{}/{id}", &id[..2]), &bytes);
        }
        let copy = all_files(&folder.join("packs")).remove(0);
        let whole = fs::read(&copy).expect("reads");
        put(&format!("packs/00/00{}", "1".repeat(62)), &whole);
        put("packs/00/Thumbs.db", b"x");
        put("packs/.Trash-1000/x", b"x");
        put("packs/desktop.ini", b"x");
        put(&format!("packs/ff/00{}", "2".repeat(62)), b"elsewhere");
        put(&format!("objects/00/00{}", "3".repeat(62)), b"an orphan");
        put("objects/draft-1", b"half");
        fs::create_dir(stick.path().join(format!("{}.polykey", "z".repeat(64)))).expect("made");
        fs::write(
            stick.path().join(format!("{}.polykey", "1".repeat(64))),
            b"a file",
        )
        .expect("written");
        symlink("/", stick.path().join(format!("{}.polykey", "2".repeat(64)))).expect("linked");
        assert_eq!(
            FolderReplica::vaults(stick.path(), &env()).expect("lists"),
            [a.id()]
        );
        check_whole(&a, &stick);
    }

    #[test]
    fn links_in_the_place_of_folders_are_not_followed() {
        let (a, _) = pair();
        let (stick, elsewhere) = (stick(), stick());
        push(&a, &stick);
        let folder = open(&stick, &a).folder().to_owned();
        a.write("more", &[5; 300_000]);
        for kind in ["objects", "packs"] {
            let (at, aside) = (folder.join(kind), folder.join("aside"));
            fs::rename(&at, &aside).expect("moved");
            symlink(elsewhere.path(), &at).expect("linked");
            let opened = FolderReplica::open(stick.path(), a.id(), env());
            if let Ok(mut folder) = opened {
                let pushed = exchange(&a.vault, &mut folder, a.node(), Seen::default(), &mut |_| {});
                assert!(pushed.is_err(), "it is not written through a link");
            } else {
                let made = FolderReplica::open_or_create(stick.path(), &a.genesis(), env());
                assert!(made.is_err(), "nor is it made there");
            }
            assert_eq!(fs::read_dir(elsewhere.path()).expect("lists").count(), 0);
            fs::remove_file(&at).expect("removed");
            fs::rename(&aside, &at).expect("moved back");
        }
    }

    #[test]
    fn less_than_before_is_stale_and_deletes_nothing() {
        let (a, b) = pair();
        let stick = stick();
        push(&a, &stick);
        let old: Vec<_> = all_files(stick.path());
        a.write("more", b"2");
        push(&a, &stick);
        assert!(!take(&b, &stick).stale);
        let held = b.tree();
        for path in all_files(stick.path()).iter().filter(|path| !old.contains(path)) {
            fs::remove_file(path).expect("removed");
        }
        let report = take(&b, &stick);
        assert!(report.stale && report.outcome == Outcome::Complete);
        assert_eq!(b.tree(), held);
    }

    #[test]
    fn what_is_purged_leaves_the_folder_and_its_packs() {
        let (a, _) = pair();
        a.write("small", b"a better value");
        a.write("large", &[8; 600_000]);
        let stick = stick();
        push(&a, &stick);
        let size = || -> u64 {
            let files = all_files(stick.path()).into_iter();
            files.map(|path| fs::metadata(path).expect("there").len()).sum()
        };
        let full = size();
        let purged = a.purge(None, None, Deletion::AtOnce).expect("an admin");
        assert_eq!(purged.versions, 2);
        push(&a, &stick);
        assert!(size() < full - 600_000, "the large one is gone");
        let folder = open(&stick, &a);
        assert_eq!(folder.set.small.len(), 1, "and the small one");
        assert_eq!(folder.damaged(), 0);
        check_whole(&a, &stick);
        // A copy of the old folder brings nothing back.
        assert_eq!(push(&a, &stick).objects, 0);
    }

    #[test]
    fn a_removed_node_is_told_so_by_the_folder() {
        let (a, b) = pair();
        let stick = stick();
        push(&a, &stick);
        take(&b, &stick);
        let revoked = a.vault.revoke(&b.node()).expect("an admin");
        a.write("after", b"2");
        push(&a, &stick);
        let report = take(&b, &stick);
        assert_eq!(
            (report.outcome, report.commits),
            (Outcome::Removed(revoked.entry), 0)
        );
        // Whoever is not known there yet takes what is there: nobody guards a folder.
        let c = Party::joined(3, &a);
        assert_eq!(take(&c, &stick).outcome, Outcome::Complete);
        assert!(c.paths().is_empty(), "and reads nothing of it");
        assert_eq!(c.my_role(), None);
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_is_an_error() {
        let (a, b) = pair();
        let stick = stick();
        push(&a, &stick);
        let folder = open(&stick, &a);
        for path in all_files(&folder.folder().join("packs")) {
            let mut bytes = fs::read(&path).expect("reads");
            *bytes.last_mut().expect("not empty") ^= 1;
            fs::write(&path, bytes).expect("written");
        }
        let report = exchange(
            &folder,
            &mut b.vault.clone(),
            b.node(),
            Seen::default(),
            &mut |_| {},
        );
        assert!(report.is_err());
        let none = FolderReplica::open(stick.path(), VaultId::from_bytes([1; 32]), env());
        assert!(matches!(none, Err(FolderError::NotHere { .. })));
    }

    #[test]
    fn a_disk_that_fails_anywhere_leaves_a_folder_that_the_next_push_completes() {
        use polykey_store::{Crash, FaultyDisk};
        let (a, _) = pair();
        for how in [Crash::Forget, Crash::Tear] {
            for call in (0..).step_by(3) {
                let disk = FaultyDisk::new(Path::new("/root"));
                let env = crate::Env {
                    disk: Arc::new(disk.clone()),
                    ..env()
                };
                let place = Path::new("/root");
                let push = || -> Result<(), Box<dyn std::error::Error>> {
                    let mut folder = FolderReplica::open_or_create(place, &a.genesis(), env.clone())?;
                    exchange(&a.vault, &mut folder, a.node(), Seen::default(), &mut |_| {})?;
                    Ok(())
                };
                disk.fail_after(call, std::io::ErrorKind::Other);
                let done = push();
                let finished = disk.is_fault_pending();
                disk.cancel_fault();
                disk.crash(how);
                if done.is_ok() && finished {
                    let folder = FolderReplica::open(place, a.id(), env.clone()).expect("durable");
                    assert!(
                        folder
                            .missing_objects(1, &BTreeSet::new())
                            .expect("looks")
                            .is_empty()
                    );
                }
                push().expect("the disk is well again");
                let folder = FolderReplica::open(place, a.id(), env.clone()).expect("whole");
                assert_eq!(folder.tips().expect("open"), a.tips().expect("open"));
                assert!(
                    folder
                        .missing_objects(1, &BTreeSet::new())
                        .expect("looks")
                        .is_empty()
                );
                assert_eq!(folder.verify().expect("reads"), 0);
                if finished {
                    assert!(call > 20);
                    break;
                }
            }
        }
    }
}
