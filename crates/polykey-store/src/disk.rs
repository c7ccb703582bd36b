//! Our own file operations: everything on disk that is not SQLite's.
//!
//! Code that keeps files takes a `&dyn Disk`. The product passes [`RealDisk`]; tests pass one that fails and
//! forgets. Files are made for their owner alone (0600, folders 0700), and nothing that another user could
//! have put in our way is followed: no symbolic link, no pipe, no device.
//!
//! Always: a name and its content are durable only after [`DiskFile::sync`] *and* [`Disk::sync_dir`] of the
//! folder; [`atomic_write`] does both.

use std::ffi::OsString;
use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::error::{StoreError, from_io};

/// What stands under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// A file of this length.
    File(u64),
    /// A folder.
    Folder,
    /// Anything else, such as a symbolic link. We never make one.
    Other,
}

/// File operations that can fail, and be made to fail.
pub trait Disk: Debug + Send + Sync {
    /// Makes a folder for its owner alone. The folder above must exist.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`]; what the operating system says, as for every method here.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes a new, empty file for its owner alone.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`], also for a dangling link.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Reads a whole file.
    ///
    /// # Errors
    /// [`io::ErrorKind::FileTooLarge`] over `max` bytes, before they are read; [`io::ErrorKind::InvalidInput`]
    /// for anything but a file.
    fn read(&self, path: &Path, max: usize) -> io::Result<Vec<u8>>;

    /// Gives a file another name, in the place of what had that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// The names in a folder, in no order.
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>>;

    /// What stands under a name, or `None`.
    fn look(&self, path: &Path) -> io::Result<Option<Entry>>;
}

/// A file that is being written.
pub trait DiskFile: Debug + Send {
    /// Adds bytes at the end.
    ///
    /// # Errors
    /// What the operating system says; some of the bytes may then be in the file.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes the content durable.
    ///
    /// # Errors
    /// What the operating system says; the content may then be lost, and syncing again proves nothing.
    fn sync(&mut self) -> io::Result<()>;
}

/// The disk of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::DirBuilder::new().mode(0o700).create(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        // Exclusive creation does not follow a link either.
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        Ok(Box::new(RealFile(file)))
    }

    fn read(&self, path: &Path, max: usize) -> io::Result<Vec<u8>> {
        // Without NONBLOCK, opening a pipe that somebody put here would wait for ever.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let len = usize::try_from(found.len()).unwrap_or(usize::MAX);
        if len > max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut bytes = Vec::with_capacity(len);
        // It may grow while we read.
        file.take(max as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect()
    }

    fn look(&self, path: &Path) -> io::Result<Option<Entry>> {
        match fs::symlink_metadata(path) {
            Ok(found) if found.is_file() => Ok(Some(Entry::File(found.len()))),
            Ok(found) if found.is_dir() => Ok(Some(Entry::Folder)),
            Ok(_) => Ok(Some(Entry::Other)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }
}

#[derive(Debug)]
struct RealFile(File);

impl DiskFile for RealFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_all()
    }
}

/// Puts `bytes` into the file at `path` so that, whatever happens, it holds either what it held before or
/// all of `bytes`; when this returns, they are durable.
///
/// They are first written to `path` with `.new` behind it; what a crash left there is overwritten.
///
/// # Errors
/// [`StoreError::DiskFull`], [`StoreError::ReadOnly`], [`StoreError::Io`]. The old content is then still there,
/// unless only the last step, making the new name durable, failed.
pub fn atomic_write(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let draft = draft_of(path);
    match disk.remove(&draft) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(from_io("remove", &draft, e)),
        _ => {}
    }
    if let Err(error) = write_durably(disk, &draft, bytes) {
        // Half a file is of no use to anybody; when it cannot be removed, the next write does it.
        let _ = disk.remove(&draft);
        return Err(error);
    }
    if let Err(error) = disk.rename(&draft, path) {
        let _ = disk.remove(&draft);
        return Err(from_io("rename", &draft, error));
    }
    let folder = folder_of(path);
    disk.sync_dir(folder)
        .map_err(|e| from_io("sync the folder", folder, e))
}

fn write_durably(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let mut file = disk.create(path).map_err(|e| from_io("create", path, e))?;
    file.write(bytes).map_err(|e| from_io("write", path, e))?;
    file.sync().map_err(|e| from_io("sync", path, e))
}

fn draft_of(path: &Path) -> PathBuf {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    PathBuf::from(draft)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn files_and_folders_are_the_owners_alone() {
        let place = tempfile::tempdir().expect("a folder");
        let (folder, file) = (place.path().join("d"), place.path().join("d/f"));
        RealDisk.create_dir(&folder).expect("made");
        atomic_write(&RealDisk, &file, b"x").expect("written");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&file)), (0o700, 0o600));
        assert_eq!(RealDisk.list(&folder).expect("listed"), ["f"]);
    }

    #[test]
    fn reading_is_bounded_and_follows_nothing() {
        let place = tempfile::tempdir().expect("a folder");
        let at = |name: &str| place.path().join(name);
        fs::write(at("file"), b"12345").expect("written");
        std::os::unix::fs::symlink(at("file"), at("link")).expect("linked");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .expect("made");
        assert_eq!(RealDisk.read(&at("file"), 5).expect("fits"), b"12345");
        let error = |name: &str, max| RealDisk.read(&at(name), max).expect_err("refused").kind();
        assert_eq!(error("file", 4), io::ErrorKind::FileTooLarge);
        let link = RealDisk.read(&at("link"), 9).expect_err("refused");
        assert_eq!(link.raw_os_error(), Some(rustix::io::Errno::LOOP.raw_os_error()));
        assert_eq!(error("pipe", 9), io::ErrorKind::InvalidInput);
        assert_eq!(error(".", 9), io::ErrorKind::InvalidInput);
        assert_eq!(error("none", 9), io::ErrorKind::NotFound);
        assert_eq!(RealDisk.look(&at("link")).expect("seen"), Some(Entry::Other));
        assert_eq!(RealDisk.look(&at("file")).expect("seen"), Some(Entry::File(5)));
        assert_eq!(RealDisk.look(&at("none")).expect("seen"), None);
    }

    #[test]
    fn a_link_in_the_way_is_replaced_and_not_written_through() {
        let place = tempfile::tempdir().expect("a folder");
        let at = |name: &str| place.path().join(name);
        fs::write(at("victim"), b"old").expect("written");
        for name in ["mine", "mine.new"] {
            std::os::unix::fs::symlink(at("victim"), at(name)).expect("linked");
        }
        atomic_write(&RealDisk, &at("mine"), b"new").expect("written");
        assert_eq!(fs::read(at("victim")).expect("there"), b"old");
        assert_eq!(RealDisk.read(&at("mine"), 9).expect("there"), b"new");
    }
}
