//! The open database behind the lock: one connection, the state, and at most one SQL transaction.
//!
//! A *batch* is one SQL transaction; the *jobs* in it are the closures of callers who write at the same time.
//! Each job can be rolled back alone, the batch becomes durable as a whole.
//!
//! Always: no batch is open, or the state in memory is what it would leave behind. Start at
//! [`Engine::begin_job`].

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use polykey_core::Key;
use polykey_core::random::{Random, random_array};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, params};

use crate::database::StoreEnv;
use crate::error::{Damage, Failure, StoreError, from_sqlite};
use crate::file::{self, DatabaseFile};
use crate::sealed::Keys;
use crate::state::{MAX_ROW_LEN, Row, State};

/// The log is copied into the database when it has this many pages (4 KiB each).
const CHECKPOINT_PAGES: i32 = 1_000;
/// Random id and key check.
const HEADER_LEN: usize = 16 + 32;

/// How a batch ended, told to all whose jobs were in it.
#[derive(Default)]
pub(crate) struct Batch {
    end: Mutex<Option<Result<(), Failure>>>,
    ended: Condvar,
}

impl Batch {
    fn finish(&self, end: Result<(), Failure>) {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
        self.ended.notify_all();
    }

    /// Waits until the batch is durable or has failed.
    pub(crate) fn wait(&self) -> Result<(), Failure> {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match &*end {
                Some(end) => return end.clone(),
                None => end = self.ended.wait(end).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

struct OpenBatch {
    shared: Arc<Batch>,
    jobs: usize,
    bytes: usize,
}

pub(crate) struct Engine {
    conn: Connection,
    log_pages: Arc<AtomicI32>,
    path: PathBuf,
    keys: Keys,
    random: Arc<dyn Random>,
    state: RefCell<State>,
    batch: Option<OpenBatch>,
    /// Why the SQL transaction cannot be saved any more, seen by the job that runs.
    broken: RefCell<Option<Failure>>,
    refuses: bool,
}

impl Engine {
    /// Makes an empty database in a new file at `path` and leaves it open.
    pub(crate) fn create(path: PathBuf, key: &Key, env: &StoreEnv) -> Result<Engine, StoreError> {
        let file = file::create(&path, env.cache)?;
        let id = random_array::<16>(&*env.random);
        let keys = Keys::derive(key, &id);
        let header = [&id[..], &keys.check_value()].concat();
        let mut engine = Engine::assemble(path, file, keys, State::empty(), env);
        let row = engine.state.get_mut().row(&engine.keys.state, &*engine.random);
        engine.sql("BEGIN IMMEDIATE")?;
        engine.insert_state(0, &header)?;
        engine.insert_state(row.transaction, &row.sealed)?;
        engine.sql("COMMIT")?;
        engine.state.get_mut().keep_batch(&row);
        Ok(engine)
    }

    /// Opens the database at `path` and reads its state.
    pub(crate) fn open(path: PathBuf, key: &Key, env: &StoreEnv) -> Result<Engine, StoreError> {
        let file = file::open(&path, env.cache)?;
        let (keys, state) = load_state(&file.conn, key).map_err(|e| match e {
            Load::Sql(e) => from_sqlite(&path, e),
            Load::WrongKey => StoreError::WrongKey { path: path.clone() },
            Load::BadRow(transaction) => StoreError::Damaged {
                path: path.clone(),
                damage: Damage::State { transaction },
            },
        })?;
        Ok(Engine::assemble(path, file, keys, state, env))
    }

    fn assemble(path: PathBuf, file: DatabaseFile, keys: Keys, state: State, env: &StoreEnv) -> Engine {
        Engine {
            conn: file.conn,
            log_pages: file.log_pages,
            path,
            keys,
            random: env.random.clone(),
            state: RefCell::new(state),
            batch: None,
            broken: RefCell::new(None),
            refuses: false,
        }
    }

    pub(crate) fn transaction(&self) -> u64 {
        self.state.borrow().transaction()
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.conn
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    pub(crate) fn random(&self) -> &dyn Random {
        &*self.random
    }

    pub(crate) fn state_mut(&mut self) -> &mut State {
        self.state.get_mut()
    }

    /// Remembers how large the open batch has become.
    pub(crate) fn count_bytes(&mut self, len: usize) {
        if let Some(batch) = &mut self.batch {
            batch.bytes += len;
        }
    }

    pub(crate) fn state(&self) -> &RefCell<State> {
        &self.state
    }

    /// Starts a job, and a batch for it when none is open.
    pub(crate) fn begin_job(&mut self) -> Result<Arc<Batch>, StoreError> {
        if self.refuses {
            return Err(Failure::Refused.at(&self.path));
        }
        *self.broken.get_mut() = None;
        if let Some(batch) = &mut self.batch {
            batch.jobs += 1;
            let shared = batch.shared.clone();
            if let Err(error) = self.sql("SAVEPOINT job") {
                self.fail_batch(Failure::of(&error));
                return Err(error);
            }
            return Ok(shared);
        }
        self.sql("BEGIN IMMEDIATE")?;
        let shared = Arc::new(Batch::default());
        self.batch = Some(OpenBatch {
            shared: shared.clone(),
            jobs: 1,
            bytes: 0,
        });
        Ok(shared)
    }

    /// Ends the job that ran last: keeps what it did, or takes it back.
    pub(crate) fn end_job(&mut self, keep: bool) {
        // After some errors SQLite itself has ended the transaction; after the others of that kind we do not
        // rely on the rest of it either.
        let broken = self.broken.get_mut().take();
        if broken.is_some() || self.conn.is_autocommit() {
            self.fail_batch(broken.unwrap_or(Failure::Refused));
            return;
        }
        let first = self.batch.as_ref().is_some_and(|batch| batch.jobs == 1);
        let done = match (first, keep) {
            (true, true) => Ok(()),
            (true, false) => {
                self.end_empty();
                return;
            }
            (false, true) => self.sql("RELEASE job"),
            (false, false) => self.sql("ROLLBACK TO job; RELEASE job"),
        };
        match done {
            Ok(()) if keep => self.state.get_mut().keep_job(),
            Ok(()) => self.state.get_mut().undo_job(),
            Err(error) => self.fail_batch(Failure::of(&error)),
        }
    }

    /// Ends a batch whose only job took everything back.
    fn end_empty(&mut self) {
        self.state.get_mut().undo_batch();
        if self.sql("ROLLBACK").is_err() {
            self.refuses = true;
        }
        if let Some(batch) = self.batch.take() {
            batch.shared.finish(Ok(()));
        }
    }

    /// True when the open batch has become so large that it should not wait for more.
    pub(crate) fn is_batch_full(&self) -> bool {
        self.batch
            .as_ref()
            .is_some_and(|batch| batch.jobs >= 128 || batch.bytes >= 4 << 20)
    }

    /// Makes the open batch, if there is one, durable and tells everybody whose job is in it.
    pub(crate) fn commit(&mut self) {
        if self.batch.is_none() {
            return;
        }
        match self.try_commit() {
            Ok(row) => {
                if let Some(row) = row {
                    self.state.get_mut().keep_batch(&row);
                }
                if let Some(batch) = self.batch.take() {
                    batch.shared.finish(Ok(()));
                }
            }
            Err(error) => self.fail_batch(Failure::of(&error)),
        }
        self.checkpoint_when_due();
    }

    fn try_commit(&mut self) -> Result<Option<Row>, StoreError> {
        let state = self.state.get_mut();
        let row = state
            .is_changed()
            .then(|| state.row(&self.keys.state, &*self.random));
        if let Some(row) = &row {
            self.insert_state(row.transaction, &row.sealed)?;
            if row.is_base {
                let before = number(row.transaction);
                self.execute(
                    "DELETE FROM state WHERE number > 0 AND number < ?1",
                    params![before],
                )?;
            }
        }
        self.sql("COMMIT")?;
        Ok(row)
    }

    fn insert_state(&self, transaction: u64, value: &[u8]) -> Result<(), StoreError> {
        let number = number(transaction);
        self.execute(
            "INSERT INTO state(number, value) VALUES(?1, ?2)",
            params![number, value],
        )
    }

    /// Takes the whole batch back and tells everybody whose job is in it.
    fn fail_batch(&mut self, failure: Failure) {
        self.state.get_mut().undo_batch();
        if !self.conn.is_autocommit() && self.sql("ROLLBACK").is_err() {
            self.refuses = true;
        }
        // A full disk is noticed before the batch's last frame is in the log, so that it is surely not there.
        // After any other failure, a failed sync above all, nobody knows what the disk holds.
        if !matches!(failure, Failure::Full | Failure::Damaged(_)) {
            self.refuses = true;
        }
        if let Some(batch) = self.batch.take() {
            batch.shared.finish(Err(failure));
        }
    }

    /// Copies the log into the database file when that is due.
    fn checkpoint_when_due(&mut self) {
        if self.refuses || self.log_pages.load(Ordering::Relaxed) < CHECKPOINT_PAGES {
            return;
        }
        match self.checkpoint("PASSIVE") {
            // With a full disk the log stays as it is, and is copied another time.
            Ok(()) | Err(StoreError::DiskFull { .. }) => {}
            Err(_) => self.refuses = true,
        }
        self.log_pages.store(0, Ordering::Relaxed);
    }

    fn checkpoint(&self, mode: &str) -> Result<(), StoreError> {
        self.conn
            .query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
                row.get::<_, i64>(0)
            })
            .map_err(|e| from_sqlite(&self.path, e))
            .and_then(|busy| match busy {
                0 => Ok(()),
                _ => Err(StoreError::Busy {
                    path: self.path.clone(),
                }),
            })
    }

    /// Closes a new database so that its file alone is all of it.
    pub(crate) fn close_into_one_file(self) -> Result<(), StoreError> {
        // Closing would do this, too, but keeps quiet when it fails.
        self.checkpoint("TRUNCATE")?;
        self.close()
    }

    pub(crate) fn execute(&self, text: &str, params: &[&dyn rusqlite::ToSql]) -> Result<(), StoreError> {
        self.conn
            .prepare_cached(text)
            .and_then(|mut statement| statement.execute(params))
            .map(drop)
            .map_err(|e| self.fault(e))
    }

    /// Runs statements without parameters and without a result.
    fn sql(&self, text: &str) -> Result<(), StoreError> {
        let run = |text: &str| self.conn.prepare_cached(text)?.execute([]).map(drop);
        text.split("; ").try_for_each(run).map_err(|e| self.fault(e))
    }

    /// The error for our caller; remembers when the SQL transaction cannot go on.
    pub(crate) fn fault(&self, error: rusqlite::Error) -> StoreError {
        let error = from_sqlite(&self.path, error);
        if matches!(error, StoreError::DiskFull { .. } | StoreError::Sqlite { .. }) {
            self.broken.borrow_mut().get_or_insert(Failure::of(&error));
        }
        error
    }

    pub(crate) fn damaged(&self, damage: Damage) -> StoreError {
        StoreError::Damaged {
            path: self.path.clone(),
            damage,
        }
    }

    pub(crate) fn close(mut self) -> Result<(), StoreError> {
        self.commit();
        let refuses = self.refuses;
        let path = self.path;
        self.conn.close().map_err(|(_, e)| from_sqlite(&path, e))?;
        if refuses {
            return Err(StoreError::Refused { path });
        }
        Ok(())
    }
}

fn number(transaction: u64) -> i64 {
    i64::try_from(transaction).expect("2^63 transactions take longer than we have")
}

enum Load {
    Sql(rusqlite::Error),
    WrongKey,
    BadRow(u64),
}

impl From<rusqlite::Error> for Load {
    fn from(error: rusqlite::Error) -> Self {
        Load::Sql(error)
    }
}

fn load_state(conn: &Connection, key: &Key) -> Result<(Keys, State), Load> {
    let mut statement = conn.prepare("SELECT number, value FROM state ORDER BY number")?;
    let mut rows = statement.query([])?;
    let mut next = || -> Result<Option<(u64, Vec<u8>)>, Load> {
        let Some(row) = rows.next()? else {
            return Ok(None);
        };
        match (row.get_ref(0)?, row.get_ref(1)?) {
            (ValueRef::Integer(number), ValueRef::Blob(value))
                if number >= 0 && value.len() <= MAX_ROW_LEN =>
            {
                Ok(Some((number.cast_unsigned(), value.to_vec())))
            }
            _ => Err(Load::BadRow(0)),
        }
    };
    let header = match next()? {
        Some((0, header)) => <[u8; HEADER_LEN]>::try_from(header).map_err(|_| Load::BadRow(0))?,
        _ => return Err(Load::BadRow(0)),
    };
    let (id, check) = header.split_first_chunk::<16>().expect("longer than 16");
    let keys = Keys::derive(key, id);
    if check != keys.check_value() {
        return Err(Load::WrongKey);
    }
    let mut state = State::unread();
    while let Some((number, value)) = next()? {
        state
            .load(&keys.state, number, &value)
            .map_err(|_| Load::BadRow(number))?;
    }
    if state.transaction() == 0 {
        return Err(Load::BadRow(1));
    }
    Ok((keys, state))
}
