//! Plain files: what is opened in place in a node path.
//!
//! Always: no link is followed, and nothing is opened that could make us wait for somebody, such as a pipe or a
//! device that lies in the place of a file.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// Opens `path` as `options` say.
///
/// # Errors
/// [`io::ErrorKind::Unsupported`] for what is no plain file; else what the system says.
pub fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = match options.custom_flags(flags).open(path) {
        // A pipe that nobody reads, or a socket.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => {
            return Err(io::ErrorKind::Unsupported.into());
        }
        opened => opened?,
    };
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Reads the first `max` bytes of `path`, and one more when there are more.
///
/// # Errors
/// As [`open`].
pub fn read(path: &Path, max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(OpenOptions::new().read(true), path)?
        .take(max as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn only_plain_files_are_opened_and_nothing_is_waited_for() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("file"), b"12345").expect("writes");
        std::os::unix::fs::symlink(at("file"), at("link")).expect("links");
        mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("makes a pipe");
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).expect("binds");
        assert_eq!(read(&at("file"), 9).expect("reads"), b"12345");
        assert_eq!(read(&at("file"), 3).expect("reads"), b"1234");
        let open_for = |name: &str, write: bool| {
            let opened = open(OpenOptions::new().read(!write).write(write), &at(name));
            opened.map(drop).map_err(|error| error.kind())
        };
        for write in [false, true] {
            assert_eq!(open_for("file", write), Ok(()));
            assert_eq!(open_for("pipe", write), Err(io::ErrorKind::Unsupported));
            assert_eq!(open_for("socket", write), Err(io::ErrorKind::Unsupported));
            assert_eq!(open_for("none", write), Err(io::ErrorKind::NotFound));
            let link = open(OpenOptions::new().read(!write).write(write), &at("link"));
            let link = link.expect_err("not followed").raw_os_error();
            assert_eq!(link, Some(rustix::io::Errno::LOOP.raw_os_error()));
        }
        assert_eq!(open_for(".", false), Err(io::ErrorKind::Unsupported));
        assert_eq!(open_for(".", true), Err(io::ErrorKind::IsADirectory));
    }
}
