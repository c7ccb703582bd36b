//! Files and folders of the disk, on their way into a vault or out of one.
//!
//! Always: what is read is a regular file at the moment it is opened, and no link is followed. What is
//! written lies below the place that the user named, whatever the names in the vault are.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use polykey_api::frames;
use polykey_api::secrets::{ImportHead, SecretHead};
use polykey_api::{Code, Problem};

use crate::escape;

/// Read from a file at a time.
const STEP: usize = 64 << 10;

/// Something to import.
#[derive(Debug, PartialEq, Eq)]
pub struct Item {
    /// Where it lies.
    pub disk: PathBuf,
    /// Its path in the vault, from its base name on.
    pub path: String,
    /// A folder.
    pub directory: bool,
}

/// Finds `root` and, for a folder, all that lies below, in order of names. Links and special files are
/// refused before anything is sent.
///
/// # Errors
/// [`Code::FileNotFound`]; [`Code::Usage`] for a folder without `recursive`; [`Code::BadData`] for links,
/// special files and names that are not UTF-8; what the disk says.
pub fn walk(root: &Path, recursive: bool) -> Result<Vec<Item>, Problem> {
    let base = base_name(root)?;
    // The user named this one, so a link is followed here.
    let metadata = fs::metadata(root).map_err(|error| unreadable(root, &error))?;
    if metadata.is_dir() && !recursive {
        return Err(Problem::new(Code::Usage, format!("{} is a folder", shown(root))).hint("pass `-r`"));
    }
    let mut items = Vec::new();
    add(root, &base, &metadata, &mut items)?;
    Ok(items)
}

fn add(disk: &Path, path: &str, metadata: &fs::Metadata, items: &mut Vec<Item>) -> Result<(), Problem> {
    let kind = metadata.file_type();
    if !kind.is_dir() && !kind.is_file() {
        let what = if kind.is_symlink() {
            "a symbolic link"
        } else {
            "not a regular file"
        };
        return Err(Problem::new(
            Code::BadData,
            format!("{} is {what}, which a vault cannot hold", shown(disk)),
        )
        .hint("leave it out, or put a copy of what it stands for in its place"));
    }
    let directory = kind.is_dir();
    items.push(Item {
        disk: disk.to_owned(),
        path: path.to_owned(),
        directory,
    });
    if !directory {
        return Ok(());
    }
    let mut children: Vec<_> = fs::read_dir(disk)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable(disk, &error))?;
    children.sort_by_key(fs::DirEntry::file_name);
    for child in children {
        let name = child.file_name();
        let below = child.path();
        let name = name.to_str().ok_or_else(|| {
            Problem::new(
                Code::BadData,
                format!("the name {} is not UTF-8 text", shown(&below)),
            )
        })?;
        let metadata = child.metadata().map_err(|error| unreadable(&below, &error))?;
        add(&below, &format!("{path}/{name}"), &metadata, items)?;
    }
    Ok(())
}

fn base_name(path: &Path) -> Result<String, Problem> {
    let named = match path.file_name() {
        Some(name) => Some(name.to_owned()),
        // `.`, `..` and the like have a name elsewhere.
        None => path
            .canonicalize()
            .ok()
            .and_then(|path| path.file_name().map(ToOwned::to_owned)),
    };
    let named = named.ok_or_else(|| Problem::new(Code::Usage, format!("{} has no name", shown(path))))?;
    named.into_string().map_err(|_| {
        Problem::new(
            Code::BadData,
            format!("the name {} is not UTF-8 text", shown(path)),
        )
    })
}

fn shown(path: &Path) -> String {
    escape::bytes(path.as_os_str().as_encoded_bytes())
}

fn unreadable(path: &Path, error: &io::Error) -> Problem {
    let code = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Code::FileNotFound,
        _ => Code::Io,
    };
    Problem::new(code, format!("cannot read {}", shown(path))).caused_by(error)
}

/// Items as frames, read as they are asked for: one file is open at a time.
pub struct TreeReader {
    items: std::vec::IntoIter<Item>,
    open: Option<(PathBuf, File)>,
    frames: Vec<u8>,
    used: usize,
    closed: bool,
}

impl TreeReader {
    /// Reads `items` in order.
    pub fn new(items: Vec<Item>) -> Self {
        TreeReader {
            items: items.into_iter(),
            open: None,
            frames: Vec::new(),
            used: 0,
            closed: false,
        }
    }

    fn refill(&mut self) -> io::Result<()> {
        self.frames.clear();
        self.used = 0;
        while self.frames.len() < STEP && !self.closed {
            if let Some((path, file)) = &mut self.open {
                let mut step = vec![0; STEP];
                let count = file.read(&mut step).map_err(|error| named(path, &error))?;
                frames::write::data(&mut self.frames, &step[..count]);
                if count == 0 {
                    frames::write::end(&mut self.frames);
                    self.open = None;
                }
            } else if let Some(item) = self.items.next() {
                let head = ImportHead {
                    path: item.path,
                    directory: item.directory,
                };
                frames::write::head(&mut self.frames, &head).map_err(io::Error::other)?;
                if item.directory {
                    frames::write::end(&mut self.frames);
                } else {
                    let file = open_regular(&item.disk).map_err(|error| named(&item.disk, &error))?;
                    self.open = Some((item.disk, file));
                }
            } else {
                frames::write::close(&mut self.frames);
                self.closed = true;
            }
        }
        Ok(())
    }
}

impl Read for TreeReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.used == self.frames.len() {
            self.refill()?;
        }
        let count = out.len().min(self.frames.len() - self.used);
        out[..count].copy_from_slice(&self.frames[self.used..self.used + count]);
        self.used += count;
        Ok(count)
    }
}

/// Opens a file that was regular when it was found, and still must be: somebody may have put a link or a
/// pipe in its place meanwhile.
fn open_regular(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or(0))
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file any more"));
    }
    Ok(file)
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", shown(path)))
}

/// Secrets on their way to the disk.
pub struct TreeWriter {
    root: PathBuf,
    /// The first segment of each name is left out: the root is the new name for it.
    renames: bool,
    open: Option<(PathBuf, PathBuf, File)>,
    /// Secrets that were written.
    pub count: u64,
}

impl TreeWriter {
    /// Writes below `root`, or with `renames` as `root`.
    pub fn new(root: PathBuf, renames: bool) -> Self {
        TreeWriter {
            root,
            renames,
            open: None,
            count: 0,
        }
    }

    /// Begins the secret or directory of `head`.
    ///
    /// # Errors
    /// [`Code::Exists`] when something else is in the way; what the disk says.
    pub fn begin(&mut self, head: &SecretHead) -> Result<(), Problem> {
        let path = self.place(&head.name)?;
        if head.directory {
            return make_folder(&path);
        }
        let parent = path.parent().unwrap_or(Path::new("."));
        if parent != Path::new("") {
            self.make_folders(parent)?;
        }
        if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir()) {
            return Err(Problem::new(
                Code::Exists,
                format!("{} is a folder", shown(&path)),
            ));
        }
        // Written beside and renamed: the old file stays until the new one is whole, and a link in its
        // place is replaced, not followed.
        let draft = parent.join(format!(".polykey-{}-{}", std::process::id(), self.count));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)
            .map_err(|error| unwritable(&path, &error))?;
        self.open = Some((path, draft, file));
        Ok(())
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// What the disk says.
    pub fn data(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        match &mut self.open {
            Some((path, _, file)) => file.write_all(bytes).map_err(|error| unwritable(path, &error)),
            None => Ok(()),
        }
    }

    /// Puts the finished file in its place.
    ///
    /// # Errors
    /// What the disk says.
    pub fn end(&mut self) -> Result<(), Problem> {
        if let Some((path, draft, file)) = self.open.take() {
            drop(file);
            fs::rename(&draft, &path).map_err(|error| {
                let _ = fs::remove_file(&draft);
                unwritable(&path, &error)
            })?;
            self.count += 1;
        }
        Ok(())
    }

    /// Where `name` goes. It came from the agent; a segment that would lead elsewhere is refused here too.
    fn place(&self, name: &str) -> Result<PathBuf, Problem> {
        let mut path = self.root.clone();
        for (index, segment) in name.split('/').enumerate() {
            if segment.is_empty() || segment == "." || segment == ".." || segment.contains('\0') {
                return Err(Problem::new(
                    Code::BadPath,
                    format!("{name:?} is no name for a file"),
                ));
            }
            if index > 0 || !self.renames {
                path.push(segment);
            }
        }
        Ok(path)
    }

    fn make_folders(&self, folder: &Path) -> Result<(), Problem> {
        if folder.is_dir() && (self.root.starts_with(folder) || !is_link(folder)) {
            return Ok(());
        }
        if let Some(parent) = folder.parent().filter(|parent| *parent != Path::new("")) {
            self.make_folders(parent)?;
        }
        make_folder(folder)
    }
}

impl Drop for TreeWriter {
    /// Half a secret is no secret.
    fn drop(&mut self) {
        if let Some((_, draft, _)) = &self.open {
            let _ = fs::remove_file(draft);
        }
    }
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_symlink())
}

fn make_folder(path: &Path) -> Result<(), Problem> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
                Ok(())
            } else {
                Err(Problem::new(
                    Code::Exists,
                    format!("{} is in the way", shown(path)),
                ))
            }
        }
        Err(error) => Err(unwritable(path, &error)),
    }
}

fn unwritable(path: &Path, error: &io::Error) -> Problem {
    let code = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::DiskFull,
        io::ErrorKind::NotFound => Code::FileNotFound,
        _ => Code::Io,
    };
    Problem::new(code, format!("cannot write {}", shown(path))).caused_by(error)
}

#[cfg(test)]
mod tests {
    use polykey_api::frames::{Frame, FrameReader};

    use super::*;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("t/sub/empty")).unwrap();
        fs::write(dir.path().join("t/b"), b"bb").unwrap();
        fs::write(dir.path().join("t/a é"), vec![7; STEP * 2 + 1]).unwrap();
        fs::write(dir.path().join("t/sub/.x"), b"").unwrap();
        dir
    }

    fn code(result: Result<Vec<Item>, Problem>) -> Code {
        result.unwrap_err().code
    }

    #[test]
    fn folders_are_walked_in_order() {
        let dir = tree();
        let paths: Vec<String> = walk(&dir.path().join("t"), true)
            .unwrap()
            .into_iter()
            .map(|i| i.path)
            .collect();
        assert_eq!(paths, ["t", "t/a é", "t/b", "t/sub", "t/sub/.x", "t/sub/empty"]);
        let dot = walk(&dir.path().join("t/sub/.."), true).unwrap();
        assert_eq!(dot[0].path, "t");
    }

    #[test]
    fn what_a_vault_cannot_hold_is_refused() {
        let dir = tree();
        let at = |path: &str| dir.path().join(path);
        assert_eq!(code(walk(&at("none"), true)), Code::FileNotFound);
        assert_eq!(code(walk(&at("t/b/c"), true)), Code::FileNotFound);
        assert_eq!(code(walk(&at("t"), false)), Code::Usage);
        assert_eq!(code(walk(Path::new("/"), true)), Code::Usage);
        std::os::unix::fs::symlink("b", at("t/link")).unwrap();
        assert_eq!(code(walk(&at("t"), true)), Code::BadData);
        assert!(walk(&at("t/link"), false).is_ok(), "named by the user");
        fs::remove_file(at("t/link")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("t/socket")).unwrap();
        assert_eq!(code(walk(&at("t"), true)), Code::BadData);
        assert_eq!(code(walk(&at("t/socket"), false)), Code::BadData);
        fs::remove_file(at("t/socket")).unwrap();
        let odd = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xff");
        fs::write(at("t").join(odd), b"").unwrap();
        assert_eq!(code(walk(&at("t"), true)), Code::BadData);
    }

    #[test]
    fn frames_carry_the_tree_to_the_disk_again() {
        let dir = tree();
        let mut bytes = Vec::new();
        let items = walk(&dir.path().join("t"), true).unwrap();
        TreeReader::new(items).read_to_end(&mut bytes).unwrap();
        let mut reader = FrameReader::new();
        reader.push(&bytes);
        let mut writer = TreeWriter::new(dir.path().join("copy"), true);
        while let Some(frame) = reader.next_frame().unwrap() {
            match frame {
                Frame::Head(head) => {
                    let head: ImportHead = frames::parse(head).unwrap();
                    let head = SecretHead {
                        target: 0,
                        vault: String::new(),
                        path: String::new(),
                        field: None,
                        name: head.path,
                        directory: head.directory,
                        version: 1,
                        size: None,
                        set_aside: false,
                    };
                    writer.begin(&head).unwrap();
                }
                Frame::Data(data) => writer.data(data).unwrap(),
                Frame::End => writer.end().unwrap(),
                _ => {}
            }
        }
        reader.finish().unwrap();
        assert_eq!(writer.count, 3);
        for file in ["a é", "b", "sub/.x"] {
            let (old, new) = (
                dir.path().join("t").join(file),
                dir.path().join("copy").join(file),
            );
            assert_eq!(fs::read(old).unwrap(), fs::read(new).unwrap(), "{file}");
        }
        assert!(dir.path().join("copy/sub/empty").is_dir());
    }

    fn head(name: &str) -> SecretHead {
        SecretHead {
            target: 0,
            vault: "v".into(),
            path: name.into(),
            field: None,
            name: name.into(),
            directory: false,
            version: 1,
            size: None,
            set_aside: false,
        }
    }

    #[test]
    fn names_cannot_leave_the_place() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        let mut writer = TreeWriter::new(root.clone(), false);
        for bad in ["../x", "a/../../x", "", "/x", "a//b", ".", "a\0"] {
            assert!(writer.begin(&head(bad)).is_err(), "{bad:?}");
        }
        std::os::unix::fs::symlink(dir.path(), root.join("out")).unwrap();
        assert!(writer.begin(&head("out/x")).is_err(), "through a link");
        // A link in the place of a file is replaced.
        fs::write(dir.path().join("victim"), b"old").unwrap();
        std::os::unix::fs::symlink(dir.path().join("victim"), root.join("file")).unwrap();
        writer.begin(&head("file")).unwrap();
        writer.data(b"new").unwrap();
        writer.end().unwrap();
        assert_eq!(fs::read(dir.path().join("victim")).unwrap(), b"old");
        assert_eq!(fs::read(root.join("file")).unwrap(), b"new");
        // Cut off: nothing stays.
        writer.begin(&head("half")).unwrap();
        writer.data(b"x").unwrap();
        drop(writer);
        assert_eq!(fs::read_dir(&root).unwrap().count(), 2);
    }
}
