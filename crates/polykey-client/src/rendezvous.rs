//! Where an agent is met: the lock file of its node path.

use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use polykey_api::agent::{State, Status};
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

/// A good lock file has 1024 bytes.
const MAX_LEN: u64 = 64 << 10;

/// What lives on `node_path`. The file's word counts only while somebody holds it; else the state is
/// [`State::Dead`].
///
/// # Errors
/// When the file is there but cannot be read.
pub fn find(node_path: &Path) -> io::Result<Status> {
    // No agent takes a link or anything but a file, and opening a pipe without NONBLOCK would wait for ever.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut options = OpenOptions::new();
    let opened = options
        .read(true)
        .custom_flags(flags)
        .open(node_path.join("agent.lock"));
    let mut file = match opened {
        Ok(file) if !file.metadata()?.is_file() => return Ok(Status::default()),
        Ok(file) => file,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) || error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) =>
        {
            return Ok(Status::default());
        }
        Err(error) => return Err(error),
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        // Nobody holds it. The lock goes with the file at the end of this function.
        Ok(()) => return Ok(Status::default()),
        Err(Errno::WOULDBLOCK) => {}
        Err(error) => return Err(error.into()),
    }
    let mut text = Vec::with_capacity(1024);
    (&mut file).take(MAX_LEN).read_to_end(&mut text)?;
    // Held, but not written yet: the holder is at its very beginning.
    Ok(serde_json::from_slice(&text)
        .ok()
        .filter(|status: &Status| status.status != State::Dead)
        .unwrap_or(Status {
            status: State::Starting,
            ..Status::default()
        }))
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_file_that_nobody_holds_is_dead_whatever_it_says() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(find(dir.path()).expect("absent").status, State::Dead);
        let path = dir.path().join("agent.lock");
        std::fs::write(&path, r#"{"status":"LIVE","pid":1}   "#).expect("writes");
        assert_eq!(find(dir.path()).expect("readable"), Status::default());
        assert_eq!(find(&path).expect("a file in the way").status, State::Dead);
    }

    #[test]
    fn where_no_agent_can_live_none_is_waited_for() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("agent.lock");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR, 0).expect("makes a pipe");
        assert_eq!(find(dir.path()).expect("a pipe").status, State::Dead);
        std::fs::remove_file(&path).expect("there");
        std::os::unix::fs::symlink("elsewhere", &path).expect("links");
        assert_eq!(find(dir.path()).expect("a link").status, State::Dead);
    }

    #[test]
    fn a_held_file_is_believed_and_an_unreadable_one_is_starting() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("agent.lock");
        for (text, want) in [
            (r#"{"status":"LIVE","pid":7}"#, State::Live),
            (r#"{"status":"STOPPING"}"#, State::Stopping),
            (r#"{"status":"DEAD"}"#, State::Starting),
            ("", State::Starting),
            ("{", State::Starting),
        ] {
            std::fs::write(&path, text).expect("writes");
            let holder = File::open(&path).expect("opens");
            flock(&holder, FlockOperation::LockExclusive).expect("free");
            assert_eq!(find(dir.path()).expect("readable").status, want, "{text}");
        }
    }
}
