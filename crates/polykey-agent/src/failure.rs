//! What a failure below means to a caller: code, sentence and hint.

use std::io;
use std::path::Path;

use polykey_api::{Code, Problem};
use polykey_store::StoreError;
use polykey_trust::TrustError;

/// A problem with a file of the node path.
pub fn disk(error: &io::Error, what: &str, path: &Path) -> Problem {
    let code = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::DiskFull,
        _ => Code::Io,
    };
    Problem::new(code, format!("cannot {what} {}{}", path.display(), reason(error))).caused_by(error)
}

const LOOP: i32 = rustix::io::Errno::LOOP.raw_os_error();

/// The end of a sentence about a failed file: the reason, where it tells what to do.
pub fn reason(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull => ": the disk is full",
        io::ErrorKind::QuotaExceeded => ": the quota of this user is used up",
        io::ErrorKind::ReadOnlyFilesystem => ": the disk is read-only",
        io::ErrorKind::PermissionDenied => ": this user may not",
        io::ErrorKind::IsADirectory => ": it is a folder",
        io::ErrorKind::Unsupported => ": it is no plain file",
        io::ErrorKind::NotADirectory => ": something above it is no folder",
        _ if error.raw_os_error() == Some(LOOP) => ": it is a link, which is not followed",
        _ => "",
    }
}

/// A record of the node's database that does not decode; `what` begins the sentence.
pub fn record(what: &str, error: &dyn std::error::Error) -> Problem {
    Problem::new(Code::BadData, format!("{what} is damaged"))
        .hint("run `polykey doctor`")
        .caused_by(error)
}

/// A problem of the store.
pub fn store(error: &StoreError) -> Problem {
    let (code, hint) = match error {
        StoreError::DiskFull { .. } => (Code::DiskFull, "make room: removing secrets still works"),
        StoreError::Damaged { .. } | StoreError::NotADatabase { .. } | StoreError::WrongKey { .. } => (
            Code::BadData,
            "run `polykey doctor`; a backup brings back what is damaged",
        ),
        StoreError::NewerFormat { .. } => (Code::BadData, "use the newer version of polykey that made it"),
        StoreError::Refused { .. } => (Code::Io, "run `polykey agent stop`, then try again"),
        StoreError::Busy { .. } => (Code::Busy, "try again in a moment"),
        StoreError::Closed { .. } => (Code::Locked, "run `polykey agent unlock`, then try again"),
        StoreError::Exists { .. } => (Code::Exists, "run `polykey doctor`"),
        StoreError::TooLong { .. } => (Code::TooLarge, "use something shorter"),
        _ => (Code::Io, "run `polykey doctor`"),
    };
    let mut problem = Problem::new(code, error.to_string()).hint(hint);
    if let Some(source) = std::error::Error::source(error) {
        problem = problem.caused_by(source);
    }
    problem
}

/// A problem of the book of sigchains.
pub fn trust(error: &TrustError) -> Problem {
    match error {
        TrustError::Store(error) => store(error),
        TrustError::Full { .. } => Problem::new(Code::Busy, error.to_string()),
        error => record("the book of sigchains", error),
    }
}
