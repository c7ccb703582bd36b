//! Where things lie in a node path.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use polykey_core::{hash, label};

/// Longest path that fits the address of a Unix socket on all systems (104 bytes on macOS, with the zero).
const MAX_SOCKET_PATH: usize = 103;

/// The files of one node path.
#[derive(Debug, Clone)]
pub struct NodePaths {
    root: PathBuf,
}

impl NodePaths {
    /// The files under `root`, which must be absolute.
    pub fn new(root: PathBuf) -> Self {
        NodePaths { root }
    }

    /// The node path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Held while an agent or a bootstrap lives.
    pub fn lock(&self) -> PathBuf {
        self.root.join("agent.lock")
    }

    /// The key file.
    pub fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// The node's database.
    pub fn database(&self) -> PathBuf {
        self.root.join("node.db")
    }

    /// What an agent in the background has to say.
    pub fn log(&self) -> PathBuf {
        self.root.join("agent.log")
    }

    /// The folder in which vaults lie by default.
    pub fn vaults(&self) -> PathBuf {
        self.root.join("vaults")
    }

    /// The tail of the audit log that is not yet in the database.
    pub fn audit_tail(&self) -> PathBuf {
        self.root.join("audit.tail")
    }

    /// Present while a new node is being made.
    pub fn unfinished(&self) -> PathBuf {
        self.root.join("bootstrap.unfinished")
    }

    /// Makes the node path, private to this user, and its parents. An existing one keeps its mode, which
    /// `doctor` looks at.
    ///
    /// # Errors
    /// As the file system says.
    pub fn create(&self) -> io::Result<()> {
        make_private(&self.root)
    }

    /// Where the API's socket goes: in the node path, or, where that is too long for a socket address, in a
    /// private runtime folder named by the hash of the node path.
    ///
    /// # Errors
    /// When the runtime folder cannot be made, or belongs to somebody else or is open to others.
    pub fn socket(&self) -> io::Result<PathBuf> {
        let near = self.root.join("agent.sock");
        if near.as_os_str().len() <= MAX_SOCKET_PATH {
            return Ok(near);
        }
        let digest = hash::hash(label::RUNTIME_FOLDER, &[self.root.as_os_str().as_bytes()]);
        let name: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        let base = runtime_base();
        for folder in [base.clone(), base.join(&name)] {
            make_private(&folder)?;
            check_private(&folder)?;
        }
        Ok(base.join(name).join("agent.sock"))
    }
}

/// `$XDG_RUNTIME_DIR/polykey`, else `/tmp/polykey-<uid>`.
fn runtime_base() -> PathBuf {
    std::env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(|dir| dir.is_absolute() && dir.as_os_str() != OsStr::new("") && dir.as_os_str().len() < 50)
        .filter(|dir| dir.is_dir())
        .map_or_else(
            || PathBuf::from(format!("/tmp/polykey-{}", rustix::process::getuid().as_raw())),
            |dir| dir.join("polykey"),
        )
}

fn make_private(dir: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// A folder under `/tmp` may have been made by somebody else before us: it must be a folder, no link, ours,
/// and closed to all others.
fn check_private(dir: &Path) -> io::Result<()> {
    let meta = std::fs::symlink_metadata(dir)?;
    if meta.is_dir() && meta.uid() == rustix::process::getuid().as_raw() && meta.mode() & 0o077 == 0 {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!("{} is not a private folder of this user", dir.display()),
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn short_paths_hold_their_own_socket() {
        let paths = NodePaths::new("/home/u/.local/share/polykey".into());
        assert_eq!(
            paths.socket().expect("no folder is needed"),
            Path::new("/home/u/.local/share/polykey/agent.sock")
        );
    }

    #[test]
    fn folders_open_to_others_are_not_private() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let inner = dir.path().join("a");
        make_private(&inner).expect("creates");
        assert!(check_private(&inner).is_ok());
        std::fs::set_permissions(&inner, std::fs::Permissions::from_mode(0o750)).expect("own folder");
        assert!(check_private(&inner).is_err());
        let link = dir.path().join("b");
        std::os::unix::fs::symlink(&inner, &link).expect("links");
        assert!(check_private(&link).is_err());
        assert!(check_private(&dir.path().join("absent")).is_err());
    }
}
