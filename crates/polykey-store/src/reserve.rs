//! Room for removals on a full disk.
//!
//! Removing something also writes: into the log, into the pages that change. So that a full disk can be
//! emptied, a file of some size lies beside the database, really allocated, and is given back when a removal
//! finds no room. It is made again when the disk has plenty.
//!
//! Nothing here fails loudly: without the file, removals on a full disk fail as other writes do.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FallocateFlags, OFlags, StatVfs, fallocate, fstatvfs, statvfs};
use rustix::io::Errno;

/// With this much free there is no need to look closer.
const AMPLE: u64 = 64 << 20;
/// The disk has plenty when this many times the reserve is free.
const PLENTY: u64 = 4;

pub(crate) struct Reserve {
    path: PathBuf,
    len: u64,
    /// True while the file may be missing or short.
    is_spent: AtomicBool,
    /// True after a write failed for want of room.
    was_full: AtomicBool,
}

impl Reserve {
    /// A reserve of `len` bytes at `path`; with 0 there is none.
    pub(crate) fn new(path: PathBuf, len: u64) -> Self {
        let reserve = Reserve {
            path,
            len,
            is_spent: AtomicBool::new(len > 0),
            was_full: AtomicBool::new(false),
        };
        reserve.refill();
        reserve
    }

    /// Makes the file again if it was spent and the disk has plenty of room.
    pub(crate) fn refill(&self) {
        if !self.is_spent.load(Ordering::Relaxed) {
            return;
        }
        let filled = self.file().and_then(|file| {
            if file.metadata()?.len() >= self.len {
                return Ok(true);
            }
            if free(&file)? < self.len.saturating_mul(PLENTY) {
                return Ok(false);
            }
            allocate(&file, self.len)?;
            Ok(true)
        });
        self.is_spent.store(!filled.unwrap_or(false), Ordering::Relaxed);
    }

    /// Gives the reserve back when there is less room than half of it.
    pub(crate) fn make_room(&self) {
        if self.len == 0 || self.is_ample() || self.has_room().unwrap_or(true) {
            return;
        }
        self.is_spent.store(true, Ordering::Relaxed);
        // When even that fails, the removal itself will say what is wrong with the disk.
        let _ = fs::remove_file(&self.path);
    }

    /// Remembers whether the last write found the disk full.
    pub(crate) fn note(&self, was_full: bool) {
        self.was_full.store(was_full, Ordering::Relaxed);
    }

    fn is_ample(&self) -> bool {
        let free = statvfs(&self.path).map(|disk| free_bytes(&disk));
        !self.was_full.load(Ordering::Relaxed) && free.is_ok_and(|free| free >= AMPLE)
    }

    /// Asks the disk itself and not its statistics, which know nothing of quotas.
    fn has_room(&self) -> io::Result<bool> {
        let file = self.file()?;
        let len = file.metadata()?.len();
        let probe = fallocate(&file, FallocateFlags::empty(), len, self.len / 2);
        file.set_len(len)?;
        match probe {
            Ok(()) => Ok(true),
            Err(Errno::NOSPC | Errno::DQUOT) => Ok(false),
            Err(_) => Ok(free(&file)? >= self.len / 2),
        }
    }

    fn file(&self) -> io::Result<File> {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
            .open(&self.path)
    }
}

fn free(file: &File) -> io::Result<u64> {
    Ok(free_bytes(&fstatvfs(file)?))
}

fn free_bytes(disk: &StatVfs) -> u64 {
    disk.f_bavail.saturating_mul(disk.f_frsize)
}

fn allocate(file: &File, len: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, len) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => write_noise(file, len),
        Err(error) => {
            file.set_len(0)?;
            Err(error.into())
        }
    }
}

/// For disks that cannot allocate without writing: bytes that do not compress away.
fn write_noise(mut file: &File, len: u64) -> io::Result<()> {
    let mut noise = blake3::Hasher::new().finalize_xof();
    io::copy(&mut io::Read::take(&mut noise, len), &mut file).map(drop)
}
/// True when not even a small file fits beside `path`.
pub(crate) fn has_no_room(path: &Path) -> bool {
    let mut beside = path.as_os_str().to_owned();
    beside.push("-probe");
    let written = fs::write(&beside, [0; 4096]);
    let _ = fs::remove_file(&beside);
    written.is_err_and(|error| {
        matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    })
}
