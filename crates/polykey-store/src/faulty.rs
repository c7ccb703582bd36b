//! A disk in memory that fails and forgets, for tests.
//!
//! It fails the call that the test names, and at a crash it keeps only what was made durable: contents that
//! were synced, names whose folder was synced. What an operating system may do with the rest, a test tries
//! in turn with each [`Crash`].

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, DiskFile, Entry};

/// What becomes of that which was not made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// It is gone: names as of the last sync of their folder, contents as of the last sync of the file.
    Forget,
    /// Names are there, but of what was not synced in a file only the first half.
    Tear,
    /// All of it happened to reach the disk.
    Keep,
}

/// A disk in memory. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct FaultyDisk(Arc<Mutex<Memory>>);

#[derive(Debug, Default)]
struct Memory {
    files: Vec<Content>,
    names: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    calls: usize,
    fault: Option<(usize, io::ErrorKind)>,
    full: bool,
    /// Open files of before a crash can no longer write.
    age: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Folder,
    File(usize),
}

#[derive(Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    synced: usize,
}

impl FaultyDisk {
    /// A disk with one durable folder at `root`.
    pub fn new(root: &Path) -> Self {
        let disk = FaultyDisk::default();
        {
            let mut memory = disk.lock();
            memory.names.insert(root.to_owned(), Node::Folder);
            memory.durable.insert(root.to_owned(), Node::Folder);
        }
        disk
    }

    /// Lets the call after `calls` more fail, once. A failing write writes half of its bytes.
    pub fn fail_after(&self, calls: usize, error: io::ErrorKind) {
        let mut memory = self.lock();
        memory.fault = Some((memory.calls + calls, error));
    }

    /// While full, every call that needs room fails.
    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// How many calls there were.
    pub fn calls(&self) -> usize {
        self.lock().calls
    }

    /// Takes back a fault that has not happened yet.
    pub fn cancel_fault(&self) {
        self.lock().fault = None;
    }

    /// True when the fault that was asked for has not happened yet.
    pub fn is_fault_pending(&self) -> bool {
        self.lock().fault.is_some()
    }

    /// The machine stops and starts again. Open files are dead, no fault is pending.
    pub fn crash(&self, how: Crash) {
        let mut memory = self.lock();
        let memory = &mut *memory;
        memory.age += 1;
        memory.fault = None;
        memory.full = false;
        if how == Crash::Forget {
            memory.names = memory.durable.clone();
        }
        for content in &mut memory.files {
            let unsynced = content.bytes.len() - content.synced;
            match how {
                Crash::Forget => content.bytes.truncate(content.synced),
                Crash::Tear => content.bytes.truncate(content.synced + unsynced / 2),
                Crash::Keep => {}
            }
            content.synced = content.bytes.len();
        }
        memory.durable = memory.names.clone();
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    /// Counts a call and fails it when it is its turn.
    fn call(&mut self, needs_room: bool) -> io::Result<()> {
        let number = self.calls;
        self.calls += 1;
        if let Some((_, error)) = self.fault.take_if(|(at, _)| *at == number) {
            return Err(error.into());
        }
        if needs_room && self.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn file(&self, path: &Path) -> io::Result<usize> {
        match self.names.get(path) {
            Some(Node::File(file)) => Ok(*file),
            Some(Node::Folder) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn add(&mut self, path: &Path, node: Node) -> io::Result<()> {
        let folder = path.parent().and_then(|folder| self.names.get(folder));
        if folder != Some(&Node::Folder) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if self.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.names.insert(path.to_owned(), node);
        Ok(())
    }
}

impl Disk for FaultyDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut memory = self.lock();
        memory.call(true)?;
        memory.add(path, Node::Folder)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut memory = self.lock();
        memory.call(true)?;
        let file = memory.files.len();
        memory.add(path, Node::File(file))?;
        memory.files.push(Content::default());
        Ok(Box::new(FaultyFile {
            disk: self.clone(),
            file,
            age: memory.age,
        }))
    }

    fn read(&self, path: &Path, max: usize) -> io::Result<Vec<u8>> {
        let mut memory = self.lock();
        memory.call(false)?;
        let bytes = &memory.files[memory.file(path)?].bytes;
        if bytes.len() > max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes.clone())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut memory = self.lock();
        memory.call(false)?;
        let file = Node::File(memory.file(from)?);
        match memory.names.get(to) {
            Some(Node::Folder) => return Err(io::ErrorKind::IsADirectory.into()),
            Some(Node::File(_)) => {
                memory.names.insert(to.to_owned(), file);
            }
            None => memory.add(to, file)?,
        }
        memory.names.remove(from);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut memory = self.lock();
        memory.call(false)?;
        memory.file(path)?;
        memory.names.remove(path);
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut memory = self.lock();
        memory.call(false)?;
        let memory = &mut *memory;
        if memory.names.get(path) != Some(&Node::Folder) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let is_inside = |name: &Path| name.parent() == Some(path);
        memory.durable.retain(|name, _| !is_inside(name));
        let inside = memory.names.iter().filter(|(name, _)| is_inside(name));
        memory
            .durable
            .extend(inside.map(|(name, node)| (name.clone(), *node)));
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let mut memory = self.lock();
        memory.call(false)?;
        if memory.names.get(path) != Some(&Node::Folder) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = memory.names.keys().filter(|name| name.parent() == Some(path));
        Ok(inside
            .filter_map(|name| name.file_name().map(OsString::from))
            .collect())
    }

    fn look(&self, path: &Path) -> io::Result<Option<Entry>> {
        let mut memory = self.lock();
        memory.call(false)?;
        Ok(memory.names.get(path).map(|node| match node {
            Node::Folder => Entry::Folder,
            Node::File(file) => Entry::File(memory.files[*file].bytes.len() as u64),
        }))
    }
}

#[derive(Debug)]
struct FaultyFile {
    disk: FaultyDisk,
    file: usize,
    age: usize,
}

impl FaultyFile {
    fn with<T>(&self, needs_room: bool, bytes: &[u8], act: impl FnOnce(&mut Content) -> T) -> io::Result<T> {
        let mut memory = self.disk.lock();
        if memory.age != self.age {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let call = memory.call(needs_room);
        let content = &mut memory.files[self.file];
        if let Err(error) = call {
            content.bytes.extend_from_slice(&bytes[..bytes.len() / 2]);
            return Err(error);
        }
        content.bytes.extend_from_slice(bytes);
        Ok(act(content))
    }
}

impl DiskFile for FaultyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.with(true, bytes, |_| ())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.with(true, b"", |content| content.synced = content.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::atomic_write;

    const ROOT: &str = "/root";

    fn disk() -> FaultyDisk {
        FaultyDisk::new(Path::new(ROOT))
    }

    fn at(name: &str) -> PathBuf {
        Path::new(ROOT).join(name)
    }

    #[test]
    fn a_crash_forgets_contents_and_names_apart() {
        let disk = disk();
        let mut file = disk.create(&at("a")).expect("made");
        file.write(b"1234").expect("written");
        file.sync().expect("synced");
        disk.crash(Crash::Forget);
        assert_eq!(
            disk.look(&at("a")).expect("seen"),
            None,
            "the name was not synced"
        );

        let mut file = disk.create(&at("a")).expect("made");
        file.write(b"1234").expect("written");
        disk.sync_dir(Path::new(ROOT)).expect("synced");
        let torn = disk.clone();
        torn.crash(Crash::Tear);
        assert_eq!(torn.read(&at("a"), 9).expect("there"), b"12");
        assert!(file.write(b"5").is_err(), "files do not outlive a crash");
    }

    #[test]
    fn removed_names_come_back_when_the_folder_was_not_synced() {
        let disk = disk();
        atomic_write(&disk, &at("a"), b"1").expect("written");
        disk.remove(&at("a")).expect("removed");
        disk.crash(Crash::Forget);
        assert_eq!(disk.read(&at("a"), 9).expect("there"), b"1");
    }

    /// Fails each call of an atomic write in turn and crashes after it, in every way.
    #[test]
    fn an_atomic_write_leaves_the_old_or_the_new_whole() {
        let errors = [io::ErrorKind::StorageFull, io::ErrorKind::Other];
        for (error, how) in errors
            .iter()
            .flat_map(|e| [Crash::Forget, Crash::Tear, Crash::Keep].map(|how| (*e, how)))
        {
            for call in 0.. {
                let disk = disk();
                atomic_write(&disk, &at("a"), b"old content").expect("written");
                disk.fail_after(call, error);
                let done = atomic_write(&disk, &at("a"), b"new content");
                if disk.is_fault_pending() {
                    assert!(done.is_ok() && call > 4);
                    break;
                }
                let before = disk.read(&at("a"), 99).expect("there");
                disk.crash(how);
                let after = disk.read(&at("a"), 99).expect("there");
                for bytes in [&before, &after] {
                    assert!(
                        *bytes == b"old content" || *bytes == b"new content",
                        "call {call}, {how:?}"
                    );
                }
                if done.is_ok() {
                    assert_eq!(after, b"new content", "call {call}, {how:?}");
                }
                atomic_write(&disk, &at("a"), b"third").expect("what is left over is in nobody's way");
            }
        }
    }

    #[test]
    fn an_acknowledged_write_survives_every_crash() {
        for how in [Crash::Forget, Crash::Tear, Crash::Keep] {
            let disk = disk();
            atomic_write(&disk, &at("a"), b"old").expect("written");
            atomic_write(&disk, &at("a"), b"new").expect("written");
            disk.crash(how);
            assert_eq!(disk.read(&at("a"), 9).expect("there"), b"new");
            assert_eq!(disk.list(Path::new(ROOT)).expect("listed"), ["a"]);
        }
    }
}
