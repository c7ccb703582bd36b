//! The SQLite file: how it is made, opened and distrusted.
//!
//! A file from elsewhere may hold anything. Before a single record is asked for, its kind and format are
//! checked, its tables must be literally ours, and everything in SQLite that a hostile file could use is
//! turned off. Opening is bounded in work, so that a file made of loops is an error and not a hang.
//!
//! Source of the settings: sqlite.org/security.html and sqlite.org/pragma.html.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};
use rustix::fs::{Access, access};
use rustix::io::Errno;

use crate::error::{Damage, StoreError, from_io, from_sqlite};
use crate::log::{self, PAGE_LEN};
use crate::sealed::MAX_SEALED_LEN;

/// Marks the file as ours for `file` and for us: "PkDb".
const APPLICATION_ID: i64 = 0x506b_4462;
/// The format of the tables and of all that is sealed in them.
pub const FORMAT_VERSION: u32 = 1;
const FORMAT: i64 = FORMAT_VERSION as i64;

/// Ordered by hidden key. `value` is the sealed value itself, or the place of a longer one in `content`: SQLite
/// reads the whole of every row that it compares with in such a table, so long ones must not stand there.
const RECORD_TABLE: &str = "CREATE TABLE record(key BLOB PRIMARY KEY NOT NULL, seal BLOB NOT NULL, value ANY NOT NULL) STRICT, WITHOUT ROWID";
const CONTENT_TABLE: &str = "CREATE TABLE content(place INTEGER PRIMARY KEY, value BLOB NOT NULL) STRICT";
const STATE_TABLE: &str = "CREATE TABLE state(number INTEGER PRIMARY KEY, value BLOB NOT NULL) STRICT";

/// An honest file takes a few hundred steps of SQLite's machine to open.
const MAX_OPENING_STEPS: u32 = 10_000_000;
const STEPS_A_CALL: u32 = 1_000;

/// An open file, and how many pages its write-ahead log holds since the last commit.
pub(crate) struct DatabaseFile {
    pub(crate) conn: Connection,
    pub(crate) log_pages: Arc<AtomicI32>,
}

/// Makes an empty file with our tables at `path`, which must not exist; nobody but the owner may read it.
pub(crate) fn create(path: &Path, cache: usize) -> Result<DatabaseFile, StoreError> {
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    made.map_err(|e| match e.kind() {
        std::io::ErrorKind::PermissionDenied => StoreError::ReadOnly {
            path: path.to_owned(),
        },
        _ => from_io("create the database", path, e),
    })?;
    let file = connect(path)?;
    let sql = |e| from_sqlite(path, e);
    let page_len = format!("PRAGMA page_size = {PAGE_LEN}");
    file.conn.execute_batch(&page_len).map_err(sql)?;
    configure(&file.conn, cache).map_err(sql)?;
    file.conn
        .execute_batch(&format!(
            "BEGIN EXCLUSIVE; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT};
             {RECORD_TABLE}; {CONTENT_TABLE}; {STATE_TABLE}; COMMIT"
        ))
        .map_err(sql)?;
    Ok(file)
}

/// Opens the file at `path` and checks that it is one of ours.
pub(crate) fn open(path: &Path, cache: usize) -> Result<DatabaseFile, StoreError> {
    let kind = fs::symlink_metadata(path).map_err(|e| from_io("look at the database", path, e))?;
    if !kind.is_file() {
        return Err(StoreError::NotADatabase {
            path: path.to_owned(),
        });
    }
    let log_path = with_suffix(path, "-wal");
    if log::is_damaged(&log_path).map_err(|e| from_io("read", &log_path, e))? {
        return Err(StoreError::Damaged {
            path: path.to_owned(),
            damage: Damage::Log,
        });
    }
    check_access(path)?;
    let mut file = connect(path)?;
    let sql = |e| from_sqlite(path, e);
    let mut left = MAX_OPENING_STEPS;
    let limit = move || {
        left = left.saturating_sub(STEPS_A_CALL);
        left == 0
    };
    file.conn
        .progress_handler(STEPS_A_CALL.cast_signed(), Some(limit))
        .map_err(sql)?;
    check_format(&file.conn, path)?;
    configure(&file.conn, cache).map_err(sql)?;
    // Takes the lock, and recovers what a crash left in the log.
    file.conn.execute_batch("BEGIN EXCLUSIVE; COMMIT").map_err(sql)?;
    check_tables(&file.conn, path)?;
    file.conn.progress_handler(0, None::<fn() -> bool>).map_err(sql)?;
    Ok(file)
}

/// Says what SQLite would only call "unable to open": it makes its log beside the file.
fn check_access(path: &Path) -> Result<(), StoreError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let allowed = access(folder, Access::WRITE_OK | Access::EXEC_OK)
        .and_then(|()| access(path, Access::READ_OK | Access::WRITE_OK));
    allowed.map_err(|e| match e {
        Errno::ACCESS | Errno::PERM | Errno::ROFS => StoreError::ReadOnly {
            path: path.to_owned(),
        },
        _ => from_io("open", path, e.into()),
    })
}

fn connect(path: &Path) -> Result<DatabaseFile, StoreError> {
    let sql = |e| from_sqlite(path, e);
    // NO_MUTEX: a connection is only ever used behind our own lock.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let mut conn = Connection::open_with_flags(path, flags).map_err(sql)?;
    restrict(&conn).map_err(sql)?;
    let log_pages = Arc::new(AtomicI32::new(0));
    let seen = log_pages.clone();
    // In the place of SQLite's automatic checkpoints, whose failures nobody would learn of.
    conn.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages| {
        seen.store(pages, Ordering::Relaxed);
        Ok(())
    }))
    .map_err(sql)?;
    Ok(DatabaseFile { conn, log_pages })
}

/// Turns off what a hostile file could use, before the first look into it.
fn restrict(conn: &Connection) -> rusqlite::Result<()> {
    for (config, on) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
        (DbConfig::SQLITE_DBCONFIG_DQS_DDL, false),
        (DbConfig::SQLITE_DBCONFIG_DQS_DML, false),
    ] {
        conn.set_db_config(config, on)?;
    }
    let longest = i32::try_from(MAX_SEALED_LEN + 4096).expect("some MiB");
    for (limit, most) in [
        (Limit::SQLITE_LIMIT_LENGTH, longest),
        (Limit::SQLITE_LIMIT_SQL_LENGTH, 2_000),
        (Limit::SQLITE_LIMIT_COLUMN, 16),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 20),
        (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 3),
        (Limit::SQLITE_LIMIT_VDBE_OP, 25_000),
        (Limit::SQLITE_LIMIT_FUNCTION_ARG, 8),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 50),
        (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 10),
        (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 1),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
    ] {
        conn.set_limit(limit, most)?;
    }
    conn.busy_timeout(std::time::Duration::ZERO)?;
    conn.execute_batch("PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY")
}

/// Durability and memory. FULL, because WAL's own default does not sync on commit.
fn configure(conn: &Connection, cache: usize) -> rusqlite::Result<()> {
    conn.execute_batch("PRAGMA locking_mode = EXCLUSIVE")?;
    let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    debug_assert!(mode == "wal", "a file on disk can have a write-ahead log");
    conn.execute_batch(&format!(
        "PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON;
         PRAGMA secure_delete = FAST; PRAGMA automatic_index = OFF;
         PRAGMA journal_size_limit = 8388608; PRAGMA cache_size = -{}",
        cache / 1024
    ))
}

fn check_format(conn: &Connection, path: &Path) -> Result<(), StoreError> {
    let number = |name: &str| -> Result<i64, StoreError> {
        conn.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))
            .map_err(|e| from_sqlite(path, e))
    };
    if number("application_id")? != APPLICATION_ID {
        return Err(StoreError::NotADatabase {
            path: path.to_owned(),
        });
    }
    match number("user_version")? {
        FORMAT => Ok(()),
        found if found > FORMAT => Err(StoreError::NewerFormat {
            path: path.to_owned(),
            found,
            known: FORMAT,
        }),
        _ => Err(StoreError::NotADatabase {
            path: path.to_owned(),
        }),
    }
}

/// The tables must be ours to the letter: no trigger, view, index or column more.
fn check_tables(conn: &Connection, path: &Path) -> Result<(), StoreError> {
    let sql = |e| from_sqlite(path, e);
    let mut statement = conn
        .prepare("SELECT type, sql FROM sqlite_schema ORDER BY rowid LIMIT 4")
        .map_err(sql)?;
    let rows = statement
        .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))
        .map_err(sql)?;
    let ours = [RECORD_TABLE, CONTENT_TABLE, STATE_TABLE].map(|sql| ("table", sql));
    let is_ours = rows.collect::<rusqlite::Result<Vec<_>>>().is_ok_and(|rows| {
        rows.iter()
            .map(|(kind, sql)| (kind.as_str(), sql.as_str()))
            .eq(ours)
    });
    if is_ours {
        return Ok(());
    }
    Err(StoreError::Damaged {
        path: path.to_owned(),
        damage: Damage::Schema,
    })
}

/// The path with its folder resolved: the file itself must not be a link, but a folder above it may.
pub(crate) fn resolve(path: &Path) -> Result<PathBuf, StoreError> {
    let name = path.file_name().ok_or_else(|| StoreError::NotADatabase {
        path: path.to_owned(),
    })?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let folder = fs::canonicalize(folder).map_err(|e| from_io("find the folder of", path, e))?;
    Ok(folder.join(name))
}

/// Removes a file that was to become a database, and what SQLite put beside it. It need not exist.
pub(crate) fn remove_with_logs(path: &Path) -> Result<(), StoreError> {
    remove(path)?;
    remove_logs(path)
}

/// Removes the logs of a database that is not there: SQLite would take them for those of a new one.
pub(crate) fn remove_logs(path: &Path) -> Result<(), StoreError> {
    remove(&with_suffix(path, "-wal"))?;
    remove(&with_suffix(path, "-journal"))
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(from_io("remove", path, e)),
        _ => Ok(()),
    }
}

/// The path with something behind its name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Gives a finished file its name, durably.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).map_err(|e| from_io("rename", from, e))?;
    sync_folder(to)
}

/// Makes the names in the folder of `path` durable.
fn sync_folder(path: &Path) -> Result<(), StoreError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|e| from_io("sync the folder", folder, e))
}
