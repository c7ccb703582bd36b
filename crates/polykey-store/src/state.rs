//! The state root: which records there should be.
//!
//! The records are divided into 4,096 buckets. For each bucket the state holds the number of its records and
//! their [multiset hash](crate::multiset). A record that was deleted, swapped or put back to an older form
//! behind our back changes the hash of its bucket; a bucket is compared with it before its first use.
//!
//! On disk the state is a log of sealed rows: a *base* with all buckets, then one row a transaction with the
//! buckets that it changed, each row naming the hash of the row before. When the log outgrows the base, a
//! transaction writes a new base instead and deletes what is before it. So a transaction costs one short
//! row at the end of a table.
//!
//! Always: what is in memory here is what the open SQL transaction would leave behind. Start at [`State`].

use std::collections::BTreeMap;

use polykey_core::hash::hash;
use polykey_core::random::Random;
use polykey_core::{Key, aead, label};

use crate::multiset::Sum;
use crate::sealed::{BUCKETS, padded_len};

/// Number and multiset hash of the records of one bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Bucket {
    pub(crate) count: u64,
    pub(crate) sum: Sum,
}

impl Bucket {
    pub(crate) fn add(&mut self, member: Sum) {
        self.count = self.count.wrapping_add(1);
        self.sum.add(member);
    }

    pub(crate) fn subtract(&mut self, member: Sum) {
        self.count = self.count.wrapping_sub(1);
        self.sum.subtract(member);
    }
}

/// The kind of a row: all buckets, or the changed ones.
const BASE: u8 = 1;
const CHANGES: u8 = 2;
/// Kind, hash of the row before, number of entries.
const HEAD_LEN: usize = 1 + 32 + 2;
/// Bucket, count, sum.
const ENTRY_LEN: usize = 2 + 8 + 32;
/// The log may grow to this many bytes before a small base is written again.
const MIN_LOG_LEN: usize = 64 << 10;
/// Longest sealed row.
pub(crate) const MAX_ROW_LEN: usize = 256 << 10;

/// A sealed row, ready to be stored under its transaction number.
pub(crate) struct Row {
    /// The transaction's number.
    pub(crate) transaction: u64,
    /// The sealed row.
    pub(crate) sealed: Vec<u8>,
    /// True when the rows before this one are no longer needed.
    pub(crate) is_base: bool,
}

/// The row is not the one that should stand at its place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadRow;

/// The buckets in memory, and how to go back.
pub(crate) struct State {
    buckets: Vec<Bucket>,
    verified: Vec<bool>,
    /// What the buckets were before the open SQL transaction, and before the job that runs in it.
    before_batch: BTreeMap<u16, Bucket>,
    before_job: BTreeMap<u16, Bucket>,
    /// Number of the last transaction, hash of its row, lengths of the base and of the log behind it.
    transaction: u64,
    chain: [u8; 32],
    base_len: usize,
    log_len: usize,
}

impl State {
    /// The state of a database without records and without a row.
    pub(crate) fn empty() -> Self {
        State {
            buckets: vec![Bucket::default(); usize::from(BUCKETS)],
            verified: vec![true; usize::from(BUCKETS)],
            before_batch: BTreeMap::new(),
            before_job: BTreeMap::new(),
            transaction: 0,
            chain: [0; 32],
            base_len: 0,
            log_len: 0,
        }
    }

    /// A state to be filled by [`State::load`]: no bucket counts as verified.
    pub(crate) fn unread() -> Self {
        State {
            verified: vec![false; usize::from(BUCKETS)],
            ..State::empty()
        }
    }

    /// Number of the last transaction.
    pub(crate) fn transaction(&self) -> u64 {
        self.transaction
    }

    pub(crate) fn bucket(&self, bucket: u16) -> Bucket {
        self.buckets[usize::from(bucket)]
    }

    pub(crate) fn is_verified(&self, bucket: u16) -> bool {
        self.verified[usize::from(bucket)]
    }

    pub(crate) fn set_verified(&mut self, bucket: u16) {
        self.verified[usize::from(bucket)] = true;
    }

    /// Changes a bucket; [`State::undo_job`] and [`State::undo_batch`] bring it back.
    pub(crate) fn change(&mut self, bucket: u16, change: impl FnOnce(&mut Bucket)) {
        let now = &mut self.buckets[usize::from(bucket)];
        self.before_job.entry(bucket).or_insert(*now);
        change(now);
    }

    /// Makes the changes of the job that ran last part of the batch.
    pub(crate) fn keep_job(&mut self) {
        for (bucket, before) in std::mem::take(&mut self.before_job) {
            self.before_batch.entry(bucket).or_insert(before);
        }
    }

    pub(crate) fn undo_job(&mut self) {
        for (bucket, before) in std::mem::take(&mut self.before_job) {
            self.buckets[usize::from(bucket)] = before;
        }
    }

    pub(crate) fn undo_batch(&mut self) {
        self.undo_job();
        for (bucket, before) in std::mem::take(&mut self.before_batch) {
            self.buckets[usize::from(bucket)] = before;
        }
    }

    /// True when the batch changed anything.
    pub(crate) fn is_changed(&self) -> bool {
        !self.before_batch.is_empty()
    }

    /// The row that records the batch. [`State::keep_batch`] makes it the last one.
    pub(crate) fn row(&self, key: &Key, random: &dyn Random) -> Row {
        let changes = HEAD_LEN + self.before_batch.len() * ENTRY_LEN;
        let is_base = self.base_len == 0 || self.log_len + changes > self.base_len.max(MIN_LOG_LEN);
        let plain = if is_base {
            let used = (0..BUCKETS).filter(|bucket| self.bucket(*bucket) != Bucket::default());
            self.encode(BASE, used.collect())
        } else {
            self.encode(CHANGES, self.before_batch.keys().copied().collect())
        };
        let transaction = self.transaction + 1;
        Row {
            transaction,
            sealed: aead::seal(
                key,
                label::STORE_STATE_AAD,
                &transaction.to_be_bytes(),
                &plain,
                random,
            ),
            is_base,
        }
    }

    /// The row was made durable: the batch is the state now.
    pub(crate) fn keep_batch(&mut self, row: &Row) {
        self.before_batch.clear();
        self.follow(row.transaction, &row.sealed, row.is_base);
    }

    fn follow(&mut self, transaction: u64, sealed: &[u8], is_base: bool) {
        self.transaction = transaction;
        self.chain = hash(label::STORE_CHAIN, &[sealed]);
        if is_base {
            self.base_len = sealed.len();
            self.log_len = 0;
        } else {
            self.log_len += sealed.len();
        }
    }

    fn encode(&self, kind: u8, buckets: Vec<u16>) -> Vec<u8> {
        let len = HEAD_LEN + buckets.len() * ENTRY_LEN;
        let mut plain = Vec::with_capacity(padded_len(len));
        plain.push(kind);
        plain.extend_from_slice(&self.chain);
        let count = u16::try_from(buckets.len()).expect("at most 4,096");
        plain.extend_from_slice(&count.to_be_bytes());
        for number in buckets {
            let bucket = self.bucket(number);
            plain.extend_from_slice(&number.to_be_bytes());
            plain.extend_from_slice(&bucket.count.to_be_bytes());
            plain.extend_from_slice(&bucket.sum.to_bytes());
        }
        plain.resize(padded_len(len), 0);
        plain
    }

    /// Reads the next row of the log: first a base, then each transaction's changes without a gap.
    ///
    /// # Errors
    /// [`BadRow`]; the state is then of no use.
    pub(crate) fn load(&mut self, key: &Key, transaction: u64, sealed: &[u8]) -> Result<(), BadRow> {
        let is_first = self.transaction == 0;
        if transaction == 0 || !is_first && transaction != self.transaction + 1 {
            return Err(BadRow);
        }
        let plain = aead::open(key, label::STORE_STATE_AAD, &transaction.to_be_bytes(), sealed)
            .map_err(|_| BadRow)?;
        let (head, mut entries) = plain.expose().split_first_chunk::<HEAD_LEN>().ok_or(BadRow)?;
        if head[0] != if is_first { BASE } else { CHANGES } || !is_first && head[1..33] != self.chain {
            return Err(BadRow);
        }
        let mut next = 0;
        for _ in 0..u16::from_be_bytes([head[33], head[34]]) {
            let (entry, rest) = entries.split_first_chunk::<ENTRY_LEN>().ok_or(BadRow)?;
            let number = u16::from_be_bytes([entry[0], entry[1]]);
            if number < next || number >= BUCKETS {
                return Err(BadRow);
            }
            next = number + 1;
            self.buckets[usize::from(number)] = Bucket {
                count: u64::from_be_bytes(entry[2..10].try_into().expect("8 bytes")),
                sum: Sum::from_bytes(entry[10..].try_into().expect("32 bytes")),
            };
            entries = rest;
        }
        self.follow(transaction, sealed, is_first);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use polykey_core::random::OsRandom;

    fn key() -> Key {
        Key::from_array([5; 32])
    }

    fn member(n: u8) -> Sum {
        Sum::from_bytes(&[n; 32])
    }

    /// A state after one transaction a bucket in `changed`, and its rows.
    fn with_rows(changed: &[u16]) -> (State, Vec<Row>) {
        let mut state = State::empty();
        let mut rows = vec![state.row(&key(), &OsRandom)];
        state.keep_batch(&rows[0]);
        for bucket in changed {
            state.change(*bucket, |b| b.add(member(7)));
            state.keep_job();
            let row = state.row(&key(), &OsRandom);
            state.keep_batch(&row);
            rows.push(row);
        }
        (state, rows)
    }

    fn load(rows: &[&Row]) -> Result<State, BadRow> {
        let mut state = State::unread();
        for row in rows {
            state.load(&key(), row.transaction, &row.sealed)?;
        }
        Ok(state)
    }

    #[test]
    fn what_was_written_is_read_again() {
        let (state, rows) = with_rows(&[0, 9, 4095, 9]);
        let read = load(&rows.iter().collect::<Vec<_>>()).expect("whole");
        assert_eq!(
            (read.buckets, read.transaction, read.chain),
            (state.buckets, 5, state.chain)
        );
        assert!(!read.verified.iter().any(|verified| *verified));
    }

    #[test]
    fn gaps_swaps_and_foreign_rows_are_noticed() {
        let (_, a) = with_rows(&[0, 9, 4095]);
        let (_, b) = with_rows(&[0, 9, 4095]);
        let bad: [&[&Row]; 7] = [
            &[&a[1]],
            &[&a[0], &a[2]],
            &[&a[0], &a[2], &a[1]],
            &[&a[0], &a[1], &a[1]],
            &[&a[0], &a[0]],
            // The same numbers from another line of history.
            &[&a[0], &b[1]],
            &[&a[0], &a[1], &b[2]],
        ];
        for (i, rows) in bad.into_iter().enumerate() {
            assert!(load(rows).is_err(), "{i}");
        }
    }

    #[test]
    fn no_changed_bit_loads() {
        let (_, rows) = with_rows(&[3]);
        for bit in 0..rows[1].sealed.len() * 8 {
            let mut state = load(&[&rows[0]]).expect("whole");
            let mut sealed = rows[1].sealed.clone();
            sealed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(state.load(&key(), 2, &sealed), Err(BadRow), "bit {bit}");
        }
    }

    #[test]
    fn undoing_brings_every_bucket_back() {
        let (mut state, _) = with_rows(&[1, 2]);
        let before = state.buckets.clone();
        state.change(1, |b| b.add(member(1)));
        state.keep_job();
        state.change(1, |b| b.add(member(2)));
        state.change(3, |b| b.add(member(3)));
        state.undo_job();
        assert_eq!(state.bucket(3), Bucket::default());
        assert_eq!(state.bucket(1).count, 2);
        state.undo_batch();
        assert_eq!(state.buckets, before);
        assert!(!state.is_changed());
    }

    #[test]
    fn the_log_never_outgrows_its_bound_and_every_row_fits() {
        let (mut state, _) = with_rows(&[]);
        let mut bases = 0;
        for round in 0..1_500u16 {
            state.change(round % BUCKETS, |b| b.add(member(1)));
            state.keep_job();
            let row = state.row(&key(), &OsRandom);
            bases += u32::from(row.is_base);
            state.keep_batch(&row);
            assert!(state.log_len <= state.base_len.max(MIN_LOG_LEN) + 1024);
        }
        assert!((2..20).contains(&bases), "{bases}");
        for bucket in 0..BUCKETS {
            state.change(bucket, |b| b.add(member(1)));
        }
        state.keep_job();
        let row = state.row(&key(), &OsRandom);
        assert!(
            row.is_base && row.sealed.len() <= MAX_ROW_LEN,
            "{}",
            row.sealed.len()
        );
    }
}
