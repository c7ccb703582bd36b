//! Vault folders on the disk: taking, copying, clearing away.
//!
//! Always: only what a vault made is ever removed. A folder that holds anything else stays.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use polykey_api::{Code, Problem};

use super::problem::disk_problem;

/// What a vault's folder holds: its database with what SQLite puts beside it, and its objects.
const DATABASE: &str = "vault.db";
const OBJECTS: &str = "objects";

/// Makes the folder `path`, which is absolute, for a new vault, or takes it over when it is empty. Gives its
/// canonical path.
///
/// # Errors
/// [`Code::Exists`] when it holds something; [`Code::NotAllowed`] when it is another user's.
pub fn take(path: &Path) -> Result<PathBuf, Problem> {
    let parent = path
        .parent()
        .ok_or_else(|| Problem::new(Code::Usage, "a vault cannot be the root of the disk"))?;
    let made = DirBuilder::new().mode(0o700).create(path);
    match made {
        Ok(()) => sync_folder(parent).map_err(|error| disk_problem("write", parent, &error))?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Problem::new(
                Code::FileNotFound,
                format!("there is no folder {}", parent.display()),
            ));
        }
        Err(error) => return Err(disk_problem("make the folder", path, &error)),
    }
    let read = |error: io::Error| disk_problem("read the folder", path, &error);
    let path = path.canonicalize().map_err(read)?;
    let metadata = fs::metadata(&path).map_err(read)?;
    if !metadata.is_dir() {
        return Err(Problem::new(
            Code::Exists,
            format!("{} is not a folder", path.display()),
        ));
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(Problem::new(
            Code::NotAllowed,
            format!("the folder {} belongs to another user", path.display()),
        ));
    }
    if fs::read_dir(&path).map_err(read)?.next().is_some() {
        return Err(Problem::new(
            Code::Exists,
            format!("the folder {} is not empty", path.display()),
        )
        .hint("name a folder that is empty or does not exist yet"));
    }
    // Some file systems of sticks keep no modes; that is the user's choice of place.
    let _ = fs::set_permissions(&path, fs::Permissions::from_mode(0o700));
    Ok(path)
}

/// Copies a closed vault's files from `from` into the empty folder `to`, and reads them back.
///
/// # Errors
/// As the disk says; [`Code::Io`] also when the copy differs.
pub fn copy(from: &Path, to: &Path) -> Result<(), Problem> {
    for entry in entries(from)? {
        let name = entry.file_name();
        let (source, target) = (entry.path(), to.join(&name));
        if name == OBJECTS {
            DirBuilder::new()
                .mode(0o700)
                .create(&target)
                .map_err(|error| disk_problem("make the folder", &target, &error))?;
            copy_tree(&source, &target)?;
        } else if is_ours(&name) {
            copy_file(&source, &target)?;
        }
    }
    sync_folder(to).map_err(|error| disk_problem("write", to, &error))
}

fn copy_tree(from: &Path, to: &Path) -> Result<(), Problem> {
    for entry in entries(from)? {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry
            .file_type()
            .map_err(|error| disk_problem("read", &source, &error))?;
        if kind.is_dir() {
            DirBuilder::new()
                .mode(0o700)
                .create(&target)
                .map_err(|error| disk_problem("make the folder", &target, &error))?;
            copy_tree(&source, &target)?;
        } else if kind.is_file() {
            copy_file(&source, &target)?;
        }
    }
    sync_folder(to).map_err(|error| disk_problem("write", to, &error))
}

fn copy_file(from: &Path, to: &Path) -> Result<(), Problem> {
    let read = |error: io::Error| disk_problem("read", from, &error);
    let write = |error: io::Error| disk_problem("write", to, &error);
    let mut source = File::open(from).map_err(read)?;
    let mut target = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)
        .map_err(write)?;
    io::copy(&mut source, &mut target).map_err(write)?;
    target.sync_all().map_err(write)?;
    drop(target);
    if !same_content(from, to).map_err(read)? {
        return Err(Problem::new(
            Code::Io,
            format!("the copy {} is not what was written", to.display()),
        ));
    }
    Ok(())
}

fn same_content(a: &Path, b: &Path) -> io::Result<bool> {
    let (mut a, mut b) = (File::open(a)?, File::open(b)?);
    if a.metadata()?.len() != b.metadata()?.len() {
        return Ok(false);
    }
    let (mut left, mut right) = (vec![0; 256 << 10], vec![0; 256 << 10]);
    loop {
        let count = a.read(&mut left)?;
        if count == 0 {
            return Ok(true);
        }
        b.read_exact(&mut right[..count])?;
        if left[..count] != right[..count] {
            return Ok(false);
        }
    }
}

/// Removes a vault's files in `path`, and the folder when nothing else is in it. Nothing there is as good.
///
/// # Errors
/// As the disk says.
pub fn clear(path: &Path) -> Result<(), Problem> {
    let all = match fs::read_dir(path) {
        Ok(all) => all,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(disk_problem("read the folder", path, &error)),
    };
    for entry in all.flatten() {
        let (name, file) = (entry.file_name(), entry.path());
        let removed = if name == OBJECTS && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            fs::remove_dir_all(&file)
        } else if is_ours(&name) {
            fs::remove_file(&file)
        } else {
            Ok(())
        };
        removed.map_err(|error| disk_problem("remove", &file, &error))?;
    }
    match fs::remove_dir(path) {
        Ok(()) => {
            let parent = path.parent().unwrap_or(Path::new("/"));
            sync_folder(parent).map_err(|error| disk_problem("write", parent, &error))
        }
        // Somebody else's files are in it, or it is where a disk is mounted.
        Err(_) => Ok(()),
    }
}

fn is_ours(name: &std::ffi::OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with(DATABASE)) || name == "ballast"
}

fn entries(path: &Path) -> Result<Vec<fs::DirEntry>, Problem> {
    fs::read_dir(path)
        .and_then(Iterator::collect)
        .map_err(|error| disk_problem("read the folder", path, &error))
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_file(path: &Path, bytes: &[u8]) {
        fs::write(path, bytes).expect("a temporary folder");
    }

    fn names(path: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(path)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_folder_is_taken_when_absent_or_empty() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let fresh = dir.path().join("fresh");
        let taken = take(&fresh).expect("absent");
        assert_eq!(
            fs::metadata(&taken).expect("made").permissions().mode() & 0o777,
            0o700
        );
        assert!(take(&fresh).is_ok(), "empty");
        write_file(&fresh.join("x"), b"");
        assert_eq!(take(&fresh).map_err(|p| p.code), Err(Code::Exists), "not empty");
        assert_eq!(
            take(&fresh.join("x")).map_err(|p| p.code),
            Err(Code::Exists),
            "a file"
        );
        let deep = dir.path().join("no/such/parent");
        assert_eq!(take(&deep).map_err(|p| p.code), Err(Code::FileNotFound));
        assert!(take(Path::new("/")).is_err());
    }

    #[test]
    fn copies_hold_the_same_and_clearing_takes_only_what_is_ours() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("objects/ab")).expect("makes");
        write_file(&from.join("vault.db"), b"database");
        write_file(&from.join("vault.db-wal"), b"log");
        write_file(&from.join("objects/ab/cd"), &vec![3; 600_000]);
        write_file(&from.join("notes.txt"), b"the user's own");
        let to = take(&to).expect("absent");
        copy(&from, &to).expect("copies");
        assert_eq!(names(&to), ["objects", "vault.db", "vault.db-wal"]);
        assert_eq!(
            fs::read(to.join("objects/ab/cd")).expect("copied"),
            vec![3; 600_000]
        );
        clear(&from).expect("clears");
        assert_eq!(names(&from), ["notes.txt"]);
        clear(&to).expect("clears");
        assert!(!to.exists());
        clear(&to).expect("nothing there is as good");
    }

    #[test]
    fn a_copy_never_overwrites() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        for path in [&from, &to] {
            fs::create_dir(path).expect("makes");
            write_file(&path.join("vault.db"), path.as_os_str().as_encoded_bytes());
        }
        assert!(copy(&from, &to).is_err());
        assert_eq!(
            fs::read(to.join("vault.db")).expect("there"),
            to.as_os_str().as_encoded_bytes()
        );
    }
}
