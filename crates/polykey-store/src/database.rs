//! A database: sealed tables in one SQLite file, shared by any number of threads.
//!
//! Writers who come at the same time share one commit. Whoever holds the lock runs its own closure; when
//! others are waiting to write, it leaves the SQL transaction open for them and waits, and the last in the
//! row commits for all. So N waiting writers cost one sync of the disk, and every closure runs in the thread
//! that brought it.
//!
//! Always: a transaction is left open only while somebody who will commit it waits for the lock; readers
//! never see what is not durable. Start at [`Database::open`] and [`Database::write`].

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use polykey_core::Key;
use polykey_core::random::{OsRandom, Random};

use crate::engine::Engine;
use crate::error::{Failure, StoreError};
use crate::file;
use crate::reserve::Reserve;
use crate::transaction::{ReadTx, WriteTx};

/// What a database needs from outside.
#[derive(Clone)]
pub struct StoreEnv {
    /// Where nonces and ids come from.
    pub random: Arc<dyn Random>,
    /// Most memory for pages of the file, in bytes.
    pub cache: usize,
    /// Bytes that are kept allocated beside the file, so that [`Database::write_removal`] works on a full
    /// disk; 0 for none.
    pub reserve: u64,
}

impl Default for StoreEnv {
    /// The operating system's randomness, 2 MiB of cache and 2 MiB of reserve.
    fn default() -> Self {
        StoreEnv {
            random: Arc::new(OsRandom),
            cache: 2 << 20,
            reserve: 2 << 20,
        }
    }
}

/// One SQLite file with sealed tables. Clones are handles to the same database.
///
/// Nothing else in this process may open the file while a handle lives, not even to read it: closing it would
/// give back the lock that keeps other processes out (POSIX locks belong to the process).
#[derive(Clone)]
pub struct Database(Arc<Shared>);

struct Shared {
    path: PathBuf,
    /// Writers on their way to the lock.
    waiting: AtomicUsize,
    engine: Mutex<Option<Engine>>,
    reserve: Reserve,
}

impl Database {
    /// Makes an empty database at `path`, which must not exist. It appears whole or not at all.
    ///
    /// `key` must be this database's own: all that seals it is derived from it.
    ///
    /// # Errors
    /// [`StoreError::Exists`], [`StoreError::ReadOnly`], [`StoreError::DiskFull`], [`StoreError::Io`].
    pub fn create(path: &Path, key: &Key, env: &StoreEnv) -> Result<Database, StoreError> {
        let path = file::resolve(path)?;
        if path.symlink_metadata().is_ok() {
            return Err(StoreError::Exists { path });
        }
        // Made beside its place and renamed: a crash leaves no half-made database under the final name.
        let draft = file::with_suffix(&path, ".new");
        file::remove_with_logs(&draft)?;
        let made = Engine::create(draft.clone(), key, env)
            .and_then(Engine::close_into_one_file)
            .and_then(|()| file::remove_logs(&path))
            .and_then(|()| file::rename(&draft, &path));
        if let Err(error) = made {
            // What cannot be removed now, the next attempt removes.
            let _ = file::remove_with_logs(&draft);
            return Err(error);
        }
        Database::open(&path, key, env)
    }

    /// Opens the database at `path` with the key it was created with. Only one handle at a time, in any
    /// process, can have it open; clone the handle to share it.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::NotADatabase`], [`StoreError::NewerFormat`],
    /// [`StoreError::WrongKey`], [`StoreError::Busy`], [`StoreError::ReadOnly`], [`StoreError::Damaged`].
    pub fn open(path: &Path, key: &Key, env: &StoreEnv) -> Result<Database, StoreError> {
        let path = file::resolve(path)?;
        let engine = Engine::open(path.clone(), key, env)?;
        Ok(Database(Arc::new(Shared {
            reserve: Reserve::new(file::with_suffix(&path, "-reserve"), env.reserve),
            path,
            waiting: AtomicUsize::new(0),
            engine: Mutex::new(Some(engine)),
        })))
    }

    /// Where the database is.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Runs `look` on a state that does not change meanwhile and is durable.
    ///
    /// # Errors
    /// Those of `look`; [`StoreError::Closed`].
    ///
    /// # Panics
    /// When called from inside another `read` or `write` of the same database, which would wait for itself.
    pub fn read<T, E>(&self, look: impl FnOnce(&ReadTx<'_>) -> Result<T, E>) -> Result<T, E>
    where
        E: From<StoreError>,
    {
        let _inside = self.enter();
        let mut engine = self.lock();
        let engine = engine.as_mut().ok_or_else(|| self.closed())?;
        // What a writer left open for the next one is not durable yet.
        engine.commit();
        look(&ReadTx::new(engine))
    }

    /// Runs `change` as one transaction and returns when it is durable. When `change` fails or panics,
    /// nothing of it remains.
    ///
    /// # Errors
    /// Those of `change`; [`StoreError::DiskFull`], [`StoreError::Refused`] and [`StoreError::Sqlite`] when it
    /// could not be made durable; [`StoreError::Closed`].
    ///
    /// # Panics
    /// When called from inside another `read` or `write` of the same database, which would wait for itself.
    pub fn write<T, E>(&self, change: impl FnOnce(&mut WriteTx<'_>) -> Result<T, E>) -> Result<T, E>
    where
        E: From<StoreError>,
    {
        let _inside = self.enter();
        let waiting = &self.0.waiting;
        waiting.fetch_add(1, Ordering::SeqCst);
        let mut guard = self.lock();
        waiting.fetch_sub(1, Ordering::SeqCst);
        let engine = guard.as_mut().ok_or_else(|| self.closed())?;

        let batch = engine.begin_job()?;
        let result = catch_unwind(AssertUnwindSafe(|| change(&mut WriteTx::new(engine))));
        engine.end_job(matches!(result, Ok(Ok(_))));
        if engine.is_batch_full() || waiting.load(Ordering::SeqCst) == 0 {
            engine.commit();
        }
        drop(guard);

        // A failed change waits too: what it saw of the others' may be the reason why it failed.
        let end = batch.wait();
        self.0.reserve.note(matches!(end, Err(Failure::Full)));
        match result {
            Err(panic) => resume_unwind(panic),
            Ok(Err(error)) => Err(error),
            Ok(Ok(value)) => match end {
                Ok(()) => {
                    self.0.reserve.refill();
                    Ok(value)
                }
                Err(failure) => Err(failure.at(&self.0.path).into()),
            },
        }
    }

    /// As [`Database::write`], for a change that makes room or must be possible while somebody makes room:
    /// when the disk is full, the reserve is given back first. It is made again when the disk has plenty of
    /// room.
    ///
    /// # Errors
    /// As [`Database::write`].
    pub fn write_removal<T, E>(&self, change: impl FnOnce(&mut WriteTx<'_>) -> Result<T, E>) -> Result<T, E>
    where
        E: From<StoreError>,
    {
        self.0.reserve.make_room();
        self.write(change)
    }

    /// The number of the last durable transaction: it grows by one with each commit to the disk.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub fn transaction(&self) -> Result<u64, StoreError> {
        self.read(|tx| Ok(tx.transaction()))
    }

    /// How many writers wait for their turn at this moment.
    pub fn writers_waiting(&self) -> usize {
        self.0.waiting.load(Ordering::SeqCst)
    }

    /// Closes the database for all handles and copies its log into the file. Dropping the last handle does
    /// the same, but tells nobody when it fails; no acknowledged write is lost either way.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when an earlier write had failed; [`StoreError::Sqlite`]. It is closed also then.
    pub fn close(&self) -> Result<(), StoreError> {
        let _inside = self.enter();
        let engine = self.lock().take();
        engine.map_or(Ok(()), Engine::close)
    }

    fn closed(&self) -> StoreError {
        StoreError::Closed {
            path: self.0.path.clone(),
        }
    }

    /// The lock. A panic while it was held harmed nothing: a reader changes nothing, and `write` cleans up
    /// before it goes on.
    fn lock(&self) -> MutexGuard<'_, Option<Engine>> {
        self.0.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self) -> Inside {
        Inside::new(Arc::as_ptr(&self.0).addr())
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database")
            .field("path", &self.0.path)
            .finish_non_exhaustive()
    }
}

thread_local! {
    /// The databases whose lock this thread holds or waits for.
    static INSIDE: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// Turns a call that would wait for itself for ever into a panic that says so.
struct Inside(usize);

impl Inside {
    fn new(database: usize) -> Self {
        INSIDE.with_borrow_mut(|inside| {
            assert!(
                !inside.contains(&database),
                "a transaction was begun inside another one of the same database"
            );
            inside.push(database);
        });
        Inside(database)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.with_borrow_mut(|inside| inside.retain(|database| *database != self.0));
    }
}
