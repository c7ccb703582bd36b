//! Putting a node aside: what lies in a node path makes room for another node, and nothing of it is lost.
//!
//! Always: a node is put aside whole, wherever an attempt was broken off.

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use polykey_api::Problem;
use polykey_core::Clock;
use polykey_core::clock::SystemClock;

use crate::failure::disk;
use crate::open::sync_folder;
use crate::paths::NodePaths;

/// Moves what lies in the node path, but for the lock and its like, into `discarded/<time>`: one folder for one node,
/// also when an earlier attempt was broken off. The key file goes last, when all else is there for good: as long as
/// it lies in its place, nobody makes another node there.
///
/// # Errors
/// What the disk says; the same call again goes on.
pub fn put_aside(paths: &NodePaths) -> Result<(), Problem> {
    let discarded = paths.root().join("discarded");
    let under_way = discarded.join(UNDER_WAY);
    let moved = || -> io::Result<()> {
        // With the key file in it, only its name was missing.
        if under_way.join("keys").try_exists()? {
            name_discarded(&discarded, &under_way)?;
        }
        let (keys, others) = to_put_aside(paths)?;
        if keys.is_none() && others.is_empty() {
            return Ok(());
        }
        private_folder(&discarded)?;
        private_folder(&under_way)?;
        sync_folder(&discarded)?;
        for names in [others, keys.into_iter().collect()] {
            for name in &names {
                fs::rename(paths.root().join(name), under_way.join(name))?;
            }
            // Where they are before where they were: a crash in between shows a name twice, and loses none.
            sync_folder(&under_way)?;
            sync_folder(paths.root())?;
        }
        name_discarded(&discarded, &under_way)
    };
    moved().map_err(|error| disk(&error, "put aside what lies in", paths.root()))
}

/// Name of the folder that a node is being moved into.
const UNDER_WAY: &str = "under-way";

/// The key file, and the other names of what is put aside.
fn to_put_aside(paths: &NodePaths) -> io::Result<(Option<OsString>, Vec<OsString>)> {
    let kept = [
        "agent.lock",
        "agent.sock",
        "agent.log",
        "config.toml",
        "discarded",
    ];
    let all: Vec<OsString> = fs::read_dir(paths.root())?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<Result<_, _>>()?;
    let (keys, others): (Vec<_>, Vec<_>) = all
        .into_iter()
        .filter(|name| !kept.iter().any(|kept| name == kept))
        .partition(|name| name == "keys");
    Ok((keys.into_iter().next(), others))
}

fn name_discarded(discarded: &Path, under_way: &Path) -> io::Result<()> {
    let mut time = SystemClock.now().as_millis();
    while discarded.join(time.to_string()).try_exists()? {
        time += 1;
    }
    fs::rename(under_way, discarded.join(time.to_string()))?;
    sync_folder(discarded)
}

fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    sync_folder(path.parent().unwrap_or(Path::new("/")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open::exists;

    /// A node path with the files of a node, all of them holding `mark`.
    fn put_node(root: &Path, mark: &str) {
        for file in ["keys", "node.db", "audit.tail", "vaults/z/vault.db"] {
            let file = root.join(file);
            fs::create_dir_all(file.parent().expect("below")).expect("a folder");
            fs::write(file, mark).expect("writes");
        }
    }

    /// The marks of each node that was put aside, all of whose files must be there.
    fn put_aside_marks(root: &Path) -> Vec<String> {
        let folders = fs::read_dir(root.join("discarded")).expect("there");
        let mut marks: Vec<String> = folders
            .map(|folder| {
                let folder = folder.expect("readable").path();
                assert_ne!(folder.file_name(), Some(UNDER_WAY.as_ref()));
                let read = |file: &str| fs::read_to_string(folder.join(file)).expect("whole");
                let keys = read("keys");
                for file in ["node.db", "audit.tail", "vaults/z/vault.db"] {
                    assert_eq!(read(file), keys, "nodes are not mixed");
                }
                keys
            })
            .collect();
        marks.sort();
        marks
    }

    #[test]
    fn a_node_is_put_aside_whole_wherever_an_attempt_broke_off() {
        let names = ["audit.tail", "node.db", "vaults", "keys"];
        for done in 0..=names.len() {
            let dir = tempfile::tempdir().expect("a temporary folder");
            let paths = NodePaths::new(dir.path().to_owned());
            put_node(paths.root(), "first");
            for kept in ["agent.lock", "config.toml"] {
                fs::write(paths.root().join(kept), "kept").expect("writes");
            }
            let under_way = paths.root().join("discarded").join(UNDER_WAY);
            fs::create_dir_all(&under_way).expect("a folder");
            for name in &names[..done] {
                fs::rename(paths.root().join(name), under_way.join(name)).expect("moves");
            }
            // While the key file is there, no other node is made in its place.
            assert_eq!(exists(&paths), done < names.len());
            if !exists(&paths) {
                put_node(paths.root(), "second");
            }
            put_aside(&paths).expect("puts aside");
            let left = to_put_aside(&paths).expect("readable");
            assert_eq!(left, (None, Vec::new()));
            assert!(paths.lock().exists() && paths.root().join("config.toml").exists());
            let want: &[&str] = if done < names.len() {
                &["first"]
            } else {
                &["first", "second"]
            };
            assert_eq!(put_aside_marks(paths.root()), want);
            put_aside(&paths).expect("nothing to do");
            assert_eq!(put_aside_marks(paths.root()), want);
        }
    }

    #[test]
    fn the_key_file_is_put_aside_last() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let paths = NodePaths::new(dir.path().to_owned());
        put_node(paths.root(), "first");
        // Something that cannot be moved: a folder that is not empty lies where it should go.
        fs::create_dir_all(
            paths
                .root()
                .join("discarded")
                .join(UNDER_WAY)
                .join("vaults/other"),
        )
        .expect("a folder");
        assert!(put_aside(&paths).is_err());
        assert!(exists(&paths));
    }
}
