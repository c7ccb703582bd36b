//! Object files: a folder of immutable files, named by the hash of what is in them.
//!
//! Objects are already sealed when they come here, and the caller computed and later checks the hash. A file
//! appears under its name whole and durable or not at all. The files lie in 256 subfolders by the first
//! byte of their name, so that no folder becomes huge. Which of them are still wanted is not known here.
//!
//! Always: after [`Batch::finish`] every object of the batch survives a crash. Start at [`Objects::batch`].

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use polykey_core::ObjectId;
use polykey_core::random::{Random, random_array};

use crate::disk::{Disk, DiskFile, Entry};
use crate::error::{StoreError, from_io};

/// So many files are written before the first of them is synced: the disk then has work to order.
const UNSYNCED: usize = 32;
/// So many files or folders are synced one after the other; more are shared among threads.
const SYNCED_TOGETHER: usize = 8;
/// The start of the names of unfinished files.
const DRAFT: &str = "draft-";

/// A folder of object files. Nobody else may write in it meanwhile.
#[derive(Clone)]
pub struct Objects {
    disk: Arc<dyn Disk>,
    random: Arc<dyn Random>,
    folder: PathBuf,
    /// True while the name of a subfolder may not be durable, because syncing it failed.
    unsure: Arc<Mutex<bool>>,
}

impl Objects {
    /// The object files in `folder`, which is made when it does not exist. Unfinished files of an earlier
    /// run are removed.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`], [`StoreError::DiskFull`], [`StoreError::Io`].
    pub fn open(disk: Arc<dyn Disk>, folder: &Path, random: Arc<dyn Random>) -> Result<Objects, StoreError> {
        let found = disk.look(folder).map_err(|e| from_io("look at", folder, e))?;
        if found != Some(Entry::Folder) {
            disk.create_dir(folder)
                .map_err(|e| from_io("make the folder", folder, e))?;
        }
        let objects = Objects {
            disk,
            random,
            folder: folder.to_owned(),
            unsure: Arc::new(Mutex::new(false)),
        };
        // Whoever made these folders may have died before their names were durable.
        objects.sync_folder(folder.parent().unwrap_or(folder))?;
        objects.sync_folder(folder)?;
        let names = objects
            .disk
            .list(folder)
            .map_err(|e| from_io("list", folder, e))?;
        for name in names
            .iter()
            .filter(|name| name.to_string_lossy().starts_with(DRAFT))
        {
            let path = folder.join(name);
            objects
                .disk
                .remove(&path)
                .map_err(|e| from_io("remove", &path, e))?;
        }
        Ok(objects)
    }

    /// Starts writing objects that become durable together.
    pub fn batch(&self) -> Batch<'_> {
        Batch {
            objects: self,
            unsynced: Vec::new(),
            drafts: Vec::new(),
        }
    }

    /// Writes one object and returns when it is durable. Writing one that is there already replaces it.
    ///
    /// # Errors
    /// As [`Batch::finish`].
    pub fn write(&self, id: &ObjectId, bytes: &[u8]) -> Result<(), StoreError> {
        let mut batch = self.batch();
        batch.write(id, bytes)?;
        batch.finish()
    }

    /// Reads an object of at most `max_len` bytes. The caller checks that they hash to `id`.
    ///
    /// # Errors
    /// [`StoreError::Missing`]; [`StoreError::TooLong`]; [`StoreError::Io`].
    pub fn read(&self, id: &ObjectId, max_len: usize) -> Result<Vec<u8>, StoreError> {
        let path = self.path(id);
        self.disk.read(&path, max_len).map_err(|e| match e.kind() {
            io::ErrorKind::FileTooLarge => StoreError::TooLong {
                what: "the object file",
                len: self.len(id).ok().flatten().unwrap_or(max_len.saturating_add(1)),
                limit: max_len,
            },
            _ => from_io("read", &path, e),
        })
    }

    /// True when there is a file for the object. It may still be damaged.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn contains(&self, id: &ObjectId) -> Result<bool, StoreError> {
        Ok(self.len(id)?.is_some())
    }

    /// Length of the object's file, or `None` when there is none.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn len(&self, id: &ObjectId) -> Result<Option<usize>, StoreError> {
        let path = self.path(id);
        match self.disk.look(&path).map_err(|e| from_io("look at", &path, e))? {
            Some(Entry::File(len)) => Ok(Some(usize::try_from(len).unwrap_or(usize::MAX))),
            _ => Ok(None),
        }
    }

    /// Removes objects, durably; those that are not there are passed over. Returns how many were.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::ReadOnly`]; some of them may be removed then.
    pub fn remove<'i>(&self, ids: impl IntoIterator<Item = &'i ObjectId>) -> Result<usize, StoreError> {
        let (mut folders, mut removed) = (BTreeSet::new(), 0);
        for id in ids {
            let path = self.path(id);
            match self.disk.remove(&path) {
                Ok(()) => removed += 1,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(from_io("remove", &path, e)),
            }
            folders.insert(self.shard(id));
        }
        folders.iter().try_for_each(|folder| self.sync_folder(folder))?;
        Ok(removed)
    }

    /// The ids of all objects, in no order. Files with other names are passed over.
    pub fn ids(&self) -> impl Iterator<Item = Result<ObjectId, StoreError>> + '_ {
        (0..=u8::MAX).flat_map(|first| {
            let folder = self.folder.join(format!("{first:02x}"));
            let names = match self.disk.list(&folder) {
                Ok(names) => names,
                Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
                Err(e) => return vec![Err(from_io("list", &folder, e))],
            };
            let ids = names
                .iter()
                .filter_map(|name| name.to_str()?.parse::<ObjectId>().ok());
            ids.filter(|id| id.as_bytes()[0] == first).map(Ok).collect()
        })
    }

    fn shard(&self, id: &ObjectId) -> PathBuf {
        self.folder.join(format!("{:02x}", id.as_bytes()[0]))
    }

    fn path(&self, id: &ObjectId) -> PathBuf {
        self.shard(id).join(id.to_string())
    }

    /// Makes the subfolders that are not there yet, durably.
    fn make_folders(&self, folders: &BTreeSet<PathBuf>) -> Result<(), StoreError> {
        let mut unsure = self.unsure.lock().unwrap_or_else(PoisonError::into_inner);
        for folder in folders {
            let found = self
                .disk
                .look(folder)
                .map_err(|e| from_io("look at", folder, e))?;
            if found != Some(Entry::Folder) {
                *unsure = true;
                self.disk
                    .create_dir(folder)
                    .map_err(|e| from_io("make the folder", folder, e))?;
            }
        }
        if *unsure {
            self.sync_folder(&self.folder)?;
            *unsure = false;
        }
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> Result<(), StoreError> {
        self.disk
            .sync_dir(folder)
            .map_err(|e| from_io("sync the folder", folder, e))
    }
}

/// Objects on their way to the disk. Dropped without [`Batch::finish`], none of them will be there.
pub struct Batch<'o> {
    objects: &'o Objects,
    unsynced: Vec<(PathBuf, Box<dyn DiskFile>)>,
    drafts: Vec<(PathBuf, ObjectId)>,
}

impl Batch<'_> {
    /// Adds one object to the batch.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`], [`StoreError::ReadOnly`], [`StoreError::Io`]. The batch is of no use then.
    pub fn write(&mut self, id: &ObjectId, bytes: &[u8]) -> Result<(), StoreError> {
        let Objects {
            disk, random, folder, ..
        } = self.objects;
        let number = u128::from_be_bytes(random_array(&**random));
        let draft = folder.join(format!("{DRAFT}{number:032x}"));
        let mut file = disk.create(&draft).map_err(|e| from_io("create", &draft, e))?;
        self.drafts.push((draft.clone(), *id));
        file.write(bytes).map_err(|e| from_io("write", &draft, e))?;
        self.unsynced.push((draft, file));
        if self.unsynced.len() >= UNSYNCED {
            self.sync()?;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        let mut files = std::mem::take(&mut self.unsynced);
        each(&mut files, |(path, file)| {
            file.sync().map_err(|e| from_io("sync", path, e))
        })
    }

    /// Gives all objects of the batch their names and returns when they are durable.
    ///
    /// # Errors
    /// As [`Batch::write`]. Some of the objects may be there then.
    pub fn finish(mut self) -> Result<(), StoreError> {
        // Contents before names: a name that survives a crash must never stand for half a file.
        self.sync()?;
        let mut folders = BTreeSet::new();
        for (_, id) in &self.drafts {
            folders.insert(self.objects.shard(id));
        }
        self.objects.make_folders(&folders)?;
        // From the end, so that what `drop` clears away is what has no name yet.
        while let Some((draft, id)) = self.drafts.last() {
            let path = self.objects.path(id);
            let renamed = self.objects.disk.rename(draft, &path);
            renamed.map_err(|e| from_io("rename", &path, e))?;
            self.drafts.pop();
        }
        let mut folders: Vec<PathBuf> = folders.into_iter().collect();
        each(&mut folders, |folder| self.objects.sync_folder(folder))
    }
}

/// Syncs `all`. Syncs that wait at the same time share the work of the file system: twice as fast, measured on ext4.
fn each<T: Send>(
    all: &mut [T],
    sync: impl Fn(&mut T) -> Result<(), StoreError> + Sync,
) -> Result<(), StoreError> {
    if all.len() <= SYNCED_TOGETHER {
        return all.iter_mut().try_for_each(sync);
    }
    // A finished batch of any length needs no more threads than this.
    let share = SYNCED_TOGETHER.max(all.len().div_ceil(UNSYNCED / SYNCED_TOGETHER));
    std::thread::scope(|scope| {
        let sync = &sync;
        let threads: Vec<_> = all
            .chunks_mut(share)
            .map(|some| scope.spawn(move || some.iter_mut().try_for_each(sync)))
            .collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        for (draft, _) in &self.drafts {
            // What cannot be removed now, the next opening removes.
            let _ = self.objects.disk.remove(draft);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;
    use crate::faulty::{Crash, FaultyDisk};
    use polykey_core::random::OsRandom;

    const FOLDER: &str = "/root/objects";

    fn id(n: u8) -> ObjectId {
        ObjectId::from_bytes([n; 32])
    }

    fn on(disk: &FaultyDisk) -> Result<Objects, StoreError> {
        Objects::open(Arc::new(disk.clone()), Path::new(FOLDER), Arc::new(OsRandom))
    }

    fn all(objects: &Objects) -> Vec<ObjectId> {
        let mut ids = objects.ids().collect::<Result<Vec<_>, _>>().expect("listed");
        ids.sort();
        ids
    }

    #[test]
    fn objects_on_a_real_disk_come_back() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = place.path().join("objects");
        let open = || Objects::open(Arc::new(RealDisk), &folder, Arc::new(OsRandom)).expect("opened");
        let mut batch = open().batch_of(&[1, 2, 3]);
        batch.sort();
        assert_eq!(all(&open()), batch);
        assert_eq!(open().read(&id(2), 100).expect("there"), [2; 100]);
        let error = open().read(&id(2), 99).expect_err("too long");
        assert!(
            matches!(
                error,
                StoreError::TooLong {
                    len: 100,
                    limit: 99,
                    ..
                }
            ),
            "{error}"
        );
        assert!(matches!(open().read(&id(9), 99), Err(StoreError::Missing { .. })));
        assert_eq!(open().remove(&[id(1), id(9), id(3)]).expect("removed"), 2);
        assert_eq!(all(&open()), [id(2)]);
        assert!(!open().contains(&id(1)).expect("looked"));
    }

    impl Objects {
        fn batch_of(&self, numbers: &[u8]) -> Vec<ObjectId> {
            let mut batch = self.batch();
            for n in numbers {
                batch.write(&id(*n), &[*n; 100]).expect("written");
            }
            batch.finish().expect("durable");
            numbers.iter().map(|n| id(*n)).collect()
        }
    }

    #[test]
    fn large_batches_are_whole_too() {
        let disk = FaultyDisk::new(Path::new("/root"));
        let numbers: Vec<u8> = (0..100).collect();
        on(&disk).expect("opened").batch_of(&numbers);
        disk.crash(Crash::Forget);
        let objects = on(&disk).expect("opened");
        assert_eq!(all(&objects).len(), 100);
        for n in numbers {
            assert_eq!(objects.read(&id(n), 100).expect("there"), [n; 100]);
        }
        // One sync of the many fails: nobody is told that all went well.
        disk.fail_after(70, io::ErrorKind::Other);
        let mut batch = objects.batch();
        let written = (0..40).try_for_each(|n| batch.write(&id(n), &[n; 100]));
        assert!(written.and_then(|()| batch.finish()).is_err());
        assert!(!disk.is_fault_pending());
    }

    #[test]
    fn a_batch_that_is_not_finished_leaves_nothing() {
        let disk = FaultyDisk::new(Path::new("/root"));
        let objects = on(&disk).expect("opened");
        let mut batch = objects.batch();
        batch.write(&id(1), b"x").expect("written");
        drop(batch);
        assert_eq!(all(&objects), []);
        assert_eq!(disk.list(Path::new(FOLDER)).expect("listed").len(), 0);
    }

    #[test]
    fn what_a_crash_left_unfinished_is_cleared_away() {
        let disk = FaultyDisk::new(Path::new("/root"));
        let objects = on(&disk).expect("opened");
        let mut batch = objects.batch();
        batch.write(&id(1), b"x").expect("written");
        std::mem::forget(batch);
        disk.crash(Crash::Keep);
        assert_eq!(disk.list(Path::new(FOLDER)).expect("listed").len(), 1);
        on(&disk).expect("opened");
        assert_eq!(disk.list(Path::new(FOLDER)).expect("listed").len(), 0);
    }

    /// Fails each call in turn, crashes in every way, and looks at what is there.
    #[test]
    fn objects_are_whole_or_absent_at_every_failure() {
        for how in [Crash::Forget, Crash::Tear, Crash::Keep] {
            for error in [io::ErrorKind::StorageFull, io::ErrorKind::Other] {
                for call in 0.. {
                    let disk = FaultyDisk::new(Path::new("/root"));
                    on(&disk).expect("opened").batch_of(&[1, 2]);
                    disk.fail_after(call, error);
                    let done = on(&disk).and_then(|objects| {
                        let mut batch = objects.batch();
                        batch.write(&id(3), &[3; 100])?;
                        batch.write(&id(4), &[4; 100])?;
                        batch.finish()
                    });
                    let finished = disk.is_fault_pending();
                    disk.cancel_fault();
                    // What is written after a failure is durable, in a folder that failed to be, too.
                    on(&disk).expect("opened").batch_of(&[3]);
                    disk.crash(how);
                    let objects = on(&disk).expect("opens after any failure");
                    for n in 1..=4 {
                        match objects.read(&id(n), 100) {
                            Ok(bytes) => assert_eq!(bytes, [n; 100], "call {call}, {how:?}"),
                            Err(StoreError::Missing { .. }) => {
                                assert!(n > 3 && done.is_err(), "call {call}, {how:?}: {n} is lost");
                            }
                            Err(error) => panic!("call {call}, {how:?}: {error}"),
                        }
                    }
                    if finished {
                        assert!(done.is_ok() && call > 8);
                        break;
                    }
                }
            }
        }
    }

    #[test]
    fn a_full_disk_says_so_and_lets_objects_be_removed() {
        let disk = FaultyDisk::new(Path::new("/root"));
        let objects = on(&disk).expect("opened");
        objects.batch_of(&[1]);
        disk.set_full(true);
        assert!(matches!(
            objects.write(&id(2), b"x"),
            Err(StoreError::DiskFull { .. })
        ));
        assert_eq!(objects.remove(&[id(1)]).expect("removed"), 1);
        disk.set_full(false);
        objects.write(&id(2), b"x").expect("written");
        assert_eq!(all(&objects), [id(2)]);
    }
}
