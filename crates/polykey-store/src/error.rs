//! What can go wrong with a database, for whoever must act on it.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use crate::reserve::has_no_room;

/// Why the store could not do what was asked. Never holds secret bytes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is nothing at the path.
    #[error("there is no database at {}", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Something is at the path already; it is left alone.
    #[error("{} exists already", path.display())]
    Exists {
        /// What is in the way.
        path: PathBuf,
    },
    /// The file is something else, or is damaged at its very start.
    #[error("{} is not a database of this program", path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// A later version of the program made the file. Nothing was changed.
    #[error("{} has format {found}, this program knows only format {known}", path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format number.
        found: i64,
        /// The newest format number that we know.
        known: i64,
    },
    /// The key is not the one the database was created with.
    #[error("the key does not fit the database {}", path.display())]
    WrongKey {
        /// The file.
        path: PathBuf,
    },
    /// Another process, or another handle in this one, has the database open.
    #[error("the database {} is in use", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The file or its folder may not be written.
    #[error("{} cannot be written: it or its folder is read-only", path.display())]
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
    /// The file holds something that we did not write there. It is never returned as data.
    #[error("the database {} is damaged: {damage}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        damage: Damage,
    },
    /// The disk is full. The state before the write is whole; trying again helps once there is room.
    #[error("the disk that holds {} is full", path.display())]
    DiskFull {
        /// What could not be written.
        path: PathBuf,
    },
    /// An earlier write failed in a way that leaves open what the disk holds. Reading goes on; writing goes
    /// on after the database was opened again.
    #[error("the database {} refuses writes after a failed one, until it is opened again", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
    },
    /// The database was closed.
    #[error("the database {} is closed", path.display())]
    Closed {
        /// The file.
        path: PathBuf,
    },
    /// A key or value is longer than a record may hold.
    #[error("{what} has {len} bytes, but at most {limit} fit")]
    TooLong {
        /// Which part it is.
        what: &'static str,
        /// Its length.
        len: usize,
        /// The bound.
        limit: usize,
    },
    /// The disk or the operating system failed.
    #[error("could not {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// SQLite failed. After a failed write the outcome of that write is open until the next opening.
    #[error("the database {} failed", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

/// What is wrong with a damaged database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// One record does not open: its bytes were changed, or it stands in the place of another.
    #[error("record {key} was changed")]
    Record {
        /// The first bytes of the record's hidden key, in hex.
        key: String,
    },
    /// The records of one bucket are not those that were written last.
    #[error("a record is missing, changed or older than it should be (bucket {bucket})")]
    Bucket {
        /// Number of the bucket, below 4,096.
        bucket: u16,
    },
    /// The state that tells which records there should be is missing, changed or incomplete.
    #[error("its state log is missing, changed or incomplete (at transaction {transaction})")]
    State {
        /// The transaction whose row is wrong.
        transaction: u64,
    },
    /// Commits that were durable are missing from the write-ahead log.
    #[error("its write-ahead log lost commits that were durable")]
    Log,
    /// The tables are not the ones we made.
    #[error("its tables are not the ones that were made")]
    Schema,
    /// SQLite found the structure of the file to be broken.
    #[error("the structure of the file is broken")]
    Structure,
}

/// A failure that several callers must be told of: they shared one transaction.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    Full,
    Refused,
    Sqlite(rusqlite::ffi::Error, Option<String>),
    Damaged(Damage),
}

impl Failure {
    pub(crate) fn of(error: &StoreError) -> Failure {
        match error {
            StoreError::DiskFull { .. } => Failure::Full,
            StoreError::Damaged { damage, .. } => Failure::Damaged(damage.clone()),
            StoreError::Sqlite {
                source: rusqlite::Error::SqliteFailure(code, text),
                ..
            } => Failure::Sqlite(*code, text.clone()),
            _ => Failure::Refused,
        }
    }

    pub(crate) fn at(&self, path: &Path) -> StoreError {
        let path = path.to_owned();
        match self {
            Failure::Full => StoreError::DiskFull { path },
            Failure::Refused => StoreError::Refused { path },
            Failure::Damaged(damage) => StoreError::Damaged {
                path,
                damage: damage.clone(),
            },
            Failure::Sqlite(code, text) => StoreError::Sqlite {
                path,
                source: rusqlite::Error::SqliteFailure(*code, text.clone()),
            },
        }
    }
}

/// What an error of SQLite at `path` means to our callers.
pub(crate) fn from_sqlite(path: &Path, source: rusqlite::Error) -> StoreError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        // SQLite knows a full disk, and takes a quota that is used up for a disk that fails.
        Some(ErrorCode::SystemIoFailure) if is_failed_write(&source) && has_no_room(&path) => {
            StoreError::DiskFull { path }
        }
        Some(ErrorCode::DiskFull) => StoreError::DiskFull { path },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy { path },
        Some(ErrorCode::NotADatabase) => StoreError::NotADatabase { path },
        // The time limit on opening is the only thing that interrupts: see `file`.
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::OperationInterrupted | ErrorCode::TooBig) => {
            StoreError::Damaged {
                path,
                damage: Damage::Structure,
            }
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => StoreError::ReadOnly { path },
        _ => StoreError::Sqlite { path, source },
    }
}

fn is_failed_write(error: &rusqlite::Error) -> bool {
    error
        .sqlite_error()
        .is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_WRITE)
}

/// What an error of the operating system at `path` means to our callers.
pub(crate) fn from_io(doing: &'static str, path: &Path, source: io::Error) -> StoreError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::DiskFull { path },
        io::ErrorKind::NotFound => StoreError::Missing { path },
        io::ErrorKind::AlreadyExists => StoreError::Exists { path },
        io::ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly { path },
        _ => StoreError::Io { doing, path, source },
    }
}
