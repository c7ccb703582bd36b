//! The lock file: one agent a node path, and the only source of its state.
//!
//! Who lives on a node path holds `flock` on `agent.lock` and writes there, in the clear, what `agent
//! status` and a client need: state, process, node id, socket. A file that nobody holds means `DEAD`
//! whatever it says, so a crash is seen at once.
//!
//! Always: the file holds no secret and is written in one call of fixed length, so that a reader never
//! sees half of it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use polykey_api::agent::Status;
use rustix::fs::{FlockOperation, flock};

use crate::plain;

/// The file has this length, padded with spaces: JSON ends at the first.
const LEN: usize = 1024;
/// A reader of the state holds the lock for an instant; a starter tries again for this long.
const PATIENCE: Duration = Duration::from_millis(300);

/// A held lock. Given back on drop, also by a crash.
#[derive(Debug)]
pub struct NodeLock {
    file: File,
}

/// Why the lock was not had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody lives here.
    #[error("another process holds this node path")]
    Held,
    /// The lock file cannot be used.
    #[error("the lock file cannot be used")]
    Io(#[from] io::Error),
}

impl NodeLock {
    /// Takes the lock of `path`, making the file if need be.
    ///
    /// # Errors
    /// [`LockError::Held`] when another process keeps it.
    pub fn take(path: &Path) -> Result<NodeLock, LockError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = plain::open(options.mode(0o600), path)?;
        let start = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    // Whatever else stood here, behind our status it would make the file unreadable.
                    if file.metadata()?.len() > LEN as u64 {
                        file.set_len(0)?;
                    }
                    return Ok(NodeLock { file });
                }
                Err(rustix::io::Errno::WOULDBLOCK) if start.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(LockError::Held),
                Err(error) => return Err(LockError::Io(error.into())),
            }
        }
    }

    /// Says what lives here.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, status: &Status) -> io::Result<()> {
        let mut text = serde_json::to_vec(status)?;
        if text.len() >= LEN {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the status is too long",
            ));
        }
        text.resize(LEN - 1, b' ');
        text.push(b'\n');
        self.file.write_all_at(&text, 0)
    }
}

#[cfg(test)]
mod tests {
    use polykey_api::agent::State;

    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("agent.lock");
        let lock = NodeLock::take(&path).expect("free");
        assert!(matches!(NodeLock::take(&path), Err(LockError::Held)));
        drop(lock);
        assert!(NodeLock::take(&path).is_ok());
    }

    #[test]
    fn the_file_never_changes_its_length() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("agent.lock");
        let lock = NodeLock::take(&path).expect("free");
        for pid in [None, Some(7), Some(u32::MAX)] {
            let status = Status {
                status: State::Live,
                pid,
                ..Status::default()
            };
            lock.write(&status).expect("writes");
            let text = std::fs::read(&path).expect("reads");
            assert_eq!(text.len(), LEN);
            assert_eq!(serde_json::from_slice::<Status>(&text).expect("JSON"), status);
        }
        let long = Status {
            socket: Some("x".repeat(LEN)),
            ..Status::default()
        };
        assert!(lock.write(&long).is_err());
    }

    #[test]
    fn what_stood_in_the_file_before_does_not_show() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("agent.lock");
        for before in [LEN - 1, LEN, LEN + 1, 100_000] {
            std::fs::write(&path, vec![b'x'; before]).expect("writes");
            let lock = NodeLock::take(&path).expect("free");
            lock.write(&Status::default()).expect("writes");
            assert_eq!(std::fs::read(&path).expect("reads").len(), LEN, "{before}");
        }
    }

    #[test]
    fn a_link_in_the_place_of_the_file_is_refused() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("agent.lock");
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &path).expect("links");
        assert!(matches!(NodeLock::take(&path), Err(LockError::Io(_))));
    }
}
