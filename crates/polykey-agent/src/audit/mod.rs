//! The audit log: a chain of records, each bound to the one before it by a keyed hash.
//!
//! A record is appended before its request is answered. It goes at once, sealed, to the end of a *tail*
//! file, by one call that does not wait for the disk, so a killed agent loses none; a thread of its own
//! puts what has gathered into the database, durably, at most [`GATHER`] later, so a read costs no sync.
//! Only a power failure can take the records of that last moment, never change or reorder any; a write to
//! a vault is in that vault's own signed history besides.
//!
//! The oldest records are forgotten when there are more than [`Audit::keep`] says, whole groups at a time, and
//! only where their chain is whole. The number and the hash of the last forgotten one stay as the point from
//! which the rest is checked, and a record of its own says what went.
//!
//! A database that takes nothing, after a failed sync or on a full disk, leaves records in memory and in the tail:
//! so many as wait for a locked node, and no more. Then the door lets nobody in any more, and what comes
//! all the same is counted.
//!
//! Always: sequence numbers have no holes; what was edited or removed is found by [`Audit::verify`].

mod record;
mod tail;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use polykey_api::audit::{AuditRecord, AuditVerdict};
use polykey_core::hash::HASH_LEN;
use polykey_core::{Clock, Key, SecretBytes, clock::SystemClock, label};
use polykey_store::{Database, StoreError, WriteTx};
use tokio::sync::watch;

use crate::pending::{MAX_BYTES, MAX_ENTRIES, dropped};
use crate::plain;
use crate::tables::AUDIT;
pub use record::Entry;
pub use record::stand_in;
use record::{Head, NOTHING, decode, encode};
use tail::{append_whole, frame, read_tail};

/// Records gather this long before they go to the database together.
const GATHER: Duration = Duration::from_millis(200);
/// So many go at once.
const FULL: usize = 512;
/// A longer tail is cut although new records came meanwhile.
const LONG_TAIL: usize = 4 << 20;
/// Records are stored in groups of this many.
pub const GROUP: u64 = 1024;
/// Events that make room on a full disk, and whose record must find room there as well.
const MAKES_ROOM: &[&str] = &["secrets.remove", "vaults.delete", "vaults.purge"];
/// Event of the record that says which others were forgotten.
const FORGOT: &str = "audit.forget";
/// Where the end of the log stands, and the last record that was forgotten.
const HEAD: &[u8] = b"head";
const START: &[u8] = b"start";
/// So many damaged places are listed.
const MAX_LISTED: usize = 100;

/// The audit log of an unlocked node.
pub struct Audit {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

struct Shared {
    db: Database,
    key: Key,
    tail_key: Key,
    state: Mutex<State>,
    wake: Condvar,
    /// The last record that is in the database.
    stored: watch::Sender<u64>,
    /// The first record that was not forgotten.
    first: AtomicU64,
    /// So many records are kept; 0 keeps all.
    keep: AtomicU64,
}

struct State {
    last: Head,
    tail: File,
    tail_len: usize,
    queue: Vec<(u64, Vec<u8>)>,
    /// How many are not stored yet, also of those that are being stored, and how long they are together.
    waiting: usize,
    waiting_bytes: usize,
    /// The last attempt to store failed, and none has succeeded since.
    stuck: bool,
    /// When the last record that found no place came, and how many did not.
    dropped: Option<(u64, u64)>,
    /// Somebody waits: no more gathering.
    hurry: bool,
    end: bool,
    /// The next records may use up what is reserved for removals on a full disk.
    may_spend: bool,
    /// Why the last attempt to store failed; tried again with the next record, or when somebody waits.
    failed: Option<String>,
}

impl Audit {
    /// Opens the log in `db`, and takes in what the tail at `tail` holds.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(db: Database, key: Key, tail: &Path) -> Result<Audit, StoreError> {
        let tail_key = polykey_core::kdf::derive(&key, label::AUDIT_TAIL, b"");
        let point = |name: &[u8]| {
            let value = db.read(|tx| tx.value(AUDIT, name, b""))?;
            value.map_or(Ok(NOTHING), |value| {
                Head::decode(value.expose()).ok_or_else(|| damaged(tail, "an end of the audit log"))
            })
        };
        let (head, start) = (point(HEAD)?, point(START)?);
        let io = |source| StoreError::Io {
            doing: "use the tail of the audit log",
            path: tail.to_owned(),
            source,
        };
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        let mut file = plain::open(&mut options, tail).map_err(io)?;
        let (mut last, mut queue) = (head, Vec::new());
        let whole = read_tail(&mut file, &tail_key, &key, &mut last, &mut queue).map_err(io)?;
        let (stored, _) = watch::channel(head.seq);
        let shared = Arc::new(Shared {
            db,
            key,
            tail_key,
            state: Mutex::new(State {
                last,
                tail: file,
                tail_len: LONG_TAIL,
                hurry: !queue.is_empty(),
                waiting: queue.len(),
                waiting_bytes: total(&queue),
                queue,
                stuck: false,
                dropped: None,
                end: false,
                may_spend: false,
                failed: None,
            }),
            wake: Condvar::new(),
            stored,
            first: AtomicU64::new(start.seq + 1),
            keep: AtomicU64::new(0),
        });
        let thread = shared.clone();
        let audit = Audit {
            shared,
            writer: Some(std::thread::spawn(move || thread.store_until_the_end())),
        };
        if !whole {
            audit.append(&Entry {
                event: "audit.tail-damaged".to_owned(),
                ..Entry::default()
            });
        }
        Ok(audit)
    }

    /// Appends a record. It survives the end of this process when this returns, and a power failure
    /// [`GATHER`] later. When the log [is full](Audit::is_full) it is only counted.
    pub fn append(&self, entry: &Entry) {
        self.shared.append(entry);
    }

    /// True when the database takes nothing and no more records can wait for it. [`Audit::flush`] tries again.
    pub fn is_full(&self) -> bool {
        self.shared.lock().is_full()
    }

    /// Keeps about `records` of the newest records from now on, and forgets older ones; 0 keeps all.
    pub fn keep(&self, records: u64) {
        self.shared.keep.store(records, Ordering::Relaxed);
    }

    /// The first record that was not forgotten.
    pub fn first(&self) -> u64 {
        self.shared.first.load(Ordering::Relaxed)
    }

    /// Waits until all that was appended is in the database. Blocks.
    ///
    /// # Errors
    /// [`StoreError`] text when the database takes nothing.
    pub fn flush(&self) -> Result<(), String> {
        let mut state = self.shared.lock();
        let target = state.last.seq;
        state.hurry = true;
        state.may_spend = true;
        state.failed = None;
        self.shared.wake.notify_all();
        while *self.shared.stored.borrow() < target {
            if let Some(failed) = &state.failed {
                return Err(failed.clone());
            }
            if state.end {
                return Err("the audit log is closed".to_owned());
            }
            state = self
                .shared
                .wake
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    /// Tells the number of the last record that is in the database, whenever it grows.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.shared.stored.subscribe()
    }

    /// The records of the group that holds `seq`, in order. What is missing or cannot be read has something
    /// [in its place](AuditRecord::damaged).
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn group(&self, seq: u64) -> Result<Vec<AuditRecord>, StoreError> {
        let stored = *self.shared.stored.borrow();
        let (start, records) = self.shared.db.read(|tx| {
            // In one look, so that what is forgotten meanwhile does not seem to be missing.
            let start = tx.value(AUDIT, START, b"")?;
            let records = match tx.group(AUDIT, &group_key(seq)) {
                Err(StoreError::Damaged { .. }) => Vec::new(),
                read => read?,
            };
            Ok::<_, StoreError>((start, records))
        })?;
        let forgotten = start
            .and_then(|start| Head::decode(start.expose()))
            .unwrap_or(NOTHING);
        let mut records: BTreeMap<Vec<u8>, SecretBytes> = records.into_iter().collect();
        let group = seq / GROUP;
        let places = (group * GROUP).max(forgotten.seq + 1)..((group + 1) * GROUP).min(stored + 1);
        let mut read = |seq: u64| {
            let value = records.remove(&seq.to_be_bytes()[..])?;
            let record = decode(value.expose().get(HASH_LEN..)?).ok()?;
            (record.seq == seq).then_some(record)
        };
        Ok(places
            .map(|seq| read(seq).unwrap_or_else(|| stand_in(seq, None)))
            .collect())
    }

    /// Walks the whole chain. Blocks for as long as that takes.
    ///
    /// # Errors
    /// [`StoreError`], but for damage, which is the verdict.
    pub fn verify(&self) -> Result<AuditVerdict, StoreError> {
        let (start, head) = (self.shared.point(START)?, self.shared.point(HEAD)?);
        self.shared.check(start, head)
    }

    /// Stores what is left and ends the writing.
    pub fn close(&mut self) {
        let _ = self.flush();
        let mut state = self.shared.lock();
        // How many found no place is to be known after the next opening: the tail takes it.
        if let Some(dropped) = state.take_dropped() {
            self.shared.push(&mut state, &dropped);
        }
        state.end = true;
        drop(state);
        self.shared.wake.notify_all();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        if self.writer.is_some() {
            self.close();
        }
    }
}

impl State {
    fn is_full(&self) -> bool {
        self.stuck && (self.waiting >= MAX_ENTRIES || self.waiting_bytes >= MAX_BYTES)
    }

    /// The record of those that found no place, once.
    fn take_dropped(&mut self) -> Option<Entry> {
        self.dropped.take().map(|(time, count)| dropped(time, count))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic between two fields would leave a gap in the chain, which `verify` would show.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, entry: &Entry) {
        let mut state = self.lock();
        if state.is_full() {
            let (_, count) = state.dropped.unwrap_or_default();
            state.dropped = Some((entry.time, count + 1));
            return;
        }
        self.push(&mut state, entry);
        drop(state);
        self.wake.notify_all();
    }

    fn push(&self, state: &mut State, entry: &Entry) {
        let seq = state.last.seq + 1;
        let record = encode(seq, entry);
        let hash = record::chain(&self.key, &state.last.hash, &record);
        state.last = Head { seq, hash };
        let value = [&hash[..], &record].concat();
        let frame = frame(&self.tail_key, seq, &value);
        state.tail_len += frame.len();
        state.waiting += 1;
        state.waiting_bytes += value.len();
        state.queue.push((seq, value));
        let written = append_whole(&mut state.tail, &frame);
        state.hurry |= written.is_err();
        state.failed = None;
        // Records of a full disk wait in memory, but not without bound.
        state.may_spend |= MAKES_ROOM.contains(&entry.event.as_str()) || state.queue.len() > FULL;
        if let Err(error) = written {
            tracing::error!(%error, "the tail of the audit log cannot be written");
        }
    }

    /// Walks the chain behind `start` up to `head`.
    fn check(&self, start: Head, head: Head) -> Result<AuditVerdict, StoreError> {
        let key = &self.key;
        let mut verdict = AuditVerdict {
            valid: true,
            records: 0,
            forgotten: start.seq,
            damaged: Vec::new(),
        };
        let mut before = Some(start.hash);
        for seq in start.seq + 1..=head.seq {
            let value = self
                .db
                .read(|tx| tx.value(AUDIT, &group_key(seq), &seq.to_be_bytes()));
            let value = match value {
                Ok(value) => value,
                Err(StoreError::Damaged { .. }) => None,
                Err(error) => return Err(error),
            };
            let (hash, record) = value
                .as_ref()
                .and_then(|value| value.expose().split_first_chunk::<HASH_LEN>())
                .unzip();
            // After a damaged record only the one behind it can be tied to its own word for its hash.
            let good = match (hash, record, before) {
                (Some(hash), Some(record), Some(before)) => {
                    record::chain(key, &before, record) == *hash && decode(record).is_ok_and(|r| r.seq == seq)
                }
                (Some(_), Some(record), None) => decode(record).is_ok_and(|r| r.seq == seq),
                _ => false,
            };
            verdict.records += 1;
            if !good {
                verdict.valid = false;
                if verdict.damaged.len() < MAX_LISTED {
                    verdict.damaged.push(seq);
                }
            }
            before = hash.copied();
        }
        if head.seq > 0 && before != Some(head.hash) && verdict.valid {
            verdict.valid = false;
            verdict.damaged.push(head.seq);
        }
        Ok(verdict)
    }

    fn point(&self, name: &[u8]) -> Result<Head, StoreError> {
        let value = self.db.read(|tx| tx.value(AUDIT, name, b""))?;
        Ok(value
            .and_then(|value| Head::decode(value.expose()))
            .unwrap_or(NOTHING))
    }

    /// Forgets the oldest group when, without it, enough records are left. A group with damage stays: it is what
    /// [`Audit::verify`] has to show.
    fn forget_oldest(&self, newest: u64) -> Result<(), StoreError> {
        let keep = self.keep.load(Ordering::Relaxed);
        let first = self.first.load(Ordering::Relaxed);
        let last = (first / GROUP + 1) * GROUP - 1;
        if keep == 0 || newest.saturating_sub(last) < keep {
            return Ok(());
        }
        let value = self
            .db
            .read(|tx| tx.value(AUDIT, &group_key(last), &last.to_be_bytes()))?;
        let Some(hash) = value.and_then(|value| value.expose().first_chunk().copied()) else {
            return Ok(());
        };
        let end = Head { seq: last, hash };
        if !self.check(self.point(START)?, end)?.valid {
            return Ok(());
        }
        self.db.write_removal(|tx| -> Result<(), StoreError> {
            for seq in first..=last {
                tx.remove(AUDIT, &group_key(seq), &seq.to_be_bytes())?;
            }
            tx.put(AUDIT, START, b"", &end.encode())
        })?;
        self.first.store(last + 1, Ordering::Relaxed);
        self.append(&Entry {
            time: SystemClock.now().as_millis(),
            event: FORGOT.to_owned(),
            allowed: true,
            targets: vec![format!("{first}-{last}")],
            ..Entry::default()
        });
        Ok(())
    }

    fn store_until_the_end(&self) {
        let mut state = self.lock();
        loop {
            while (state.queue.is_empty() || state.failed.is_some()) && !state.end {
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.queue.is_empty() || (state.end && state.failed.is_some()) {
                return;
            }
            if !state.hurry && !state.end && state.queue.len() < FULL {
                let busy = |state: &mut State| !state.hurry && !state.end && state.queue.len() < FULL;
                state = self
                    .wake
                    .wait_timeout_while(state, GATHER, busy)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
            }
            let batch = std::mem::take(&mut state.queue);
            state.hurry = false;
            let may_spend = std::mem::take(&mut state.may_spend) || state.end;
            drop(state);
            let stored = self.store(&batch, may_spend);
            state = self.lock();
            match stored {
                Ok(seq) => {
                    state.stuck = false;
                    state.waiting -= batch.len();
                    state.waiting_bytes -= total(&batch);
                    if let Some(dropped) = state.take_dropped() {
                        self.push(&mut state, &dropped);
                    }
                    // What came meanwhile is in the tail as well, and stays there until it is stored too.
                    if (state.queue.is_empty() || state.tail_len > LONG_TAIL)
                        && let Err(error) = self.restart_tail(&mut state)
                    {
                        tracing::warn!(%error, "the tail of the audit log cannot be cut");
                    }
                    self.stored.send_replace(seq);
                    drop(state);
                    if let Err(error) = self.forget_oldest(seq) {
                        tracing::warn!(%error, "old audit records cannot be removed");
                    }
                    state = self.lock();
                }
                Err(error) => {
                    tracing::error!(%error, "audit records cannot be stored");
                    state.stuck = true;
                    state.failed = Some(error.to_string());
                    let newer = std::mem::replace(&mut state.queue, batch);
                    state.queue.extend(newer);
                }
            }
            self.wake.notify_all();
        }
    }

    /// Leaves in the tail only what is still queued.
    fn restart_tail(&self, state: &mut State) -> std::io::Result<()> {
        let frames: Vec<u8> = state
            .queue
            .iter()
            .flat_map(|(seq, value)| frame(&self.tail_key, *seq, value))
            .collect();
        state.tail.set_len(0)?;
        state.tail_len = frames.len();
        state.tail.write_all(&frames)
    }

    fn store(&self, batch: &[(u64, Vec<u8>)], may_spend: bool) -> Result<u64, StoreError> {
        let Some((seq, value)) = batch.last() else {
            return Ok(0);
        };
        let hash: [u8; HASH_LEN] = *value.first_chunk().expect("values start with their hash");
        let steps = |tx: &mut WriteTx<'_>| -> Result<(), StoreError> {
            for (seq, value) in batch {
                tx.put(AUDIT, &group_key(*seq), &seq.to_be_bytes(), value)?;
            }
            tx.put(AUDIT, HEAD, b"", &Head { seq: *seq, hash }.encode())
        };
        if may_spend {
            self.db.write_removal(steps)?;
        } else {
            self.db.write(steps)?;
        }
        Ok(*seq)
    }
}

fn total(records: &[(u64, Vec<u8>)]) -> usize {
    records.iter().map(|(_, value)| value.len()).sum()
}

fn group_key(seq: u64) -> [u8; 8] {
    (seq / GROUP).to_be_bytes()
}

fn damaged(path: &Path, what: &str) -> StoreError {
    StoreError::Io {
        doing: "read",
        path: path.to_owned(),
        source: std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned()),
    }
}

#[cfg(test)]
mod tests;
