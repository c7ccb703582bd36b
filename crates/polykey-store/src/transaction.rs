//! What a caller may do inside [`Database::read`](crate::Database::read) and
//! [`Database::write`](crate::Database::write).

use std::ops::Deref;

use polykey_core::SecretBytes;

use crate::engine::Engine;
use crate::error::StoreError;
use crate::sealed::{Opened, RecordKey, Table};

/// A consistent look at the database: nothing changes while it lives.
pub struct ReadTx<'e> {
    engine: &'e mut Engine,
}

/// A change of the database: all of it becomes durable, or nothing. Reads see what was written before.
pub struct WriteTx<'e>(ReadTx<'e>);

impl<'e> ReadTx<'e> {
    pub(crate) fn new(engine: &'e mut Engine) -> Self {
        ReadTx { engine }
    }

    /// The value at `item` of `group`, or `None`. Both are at most [`MAX_KEY_LEN`](crate::MAX_KEY_LEN) long.
    ///
    /// A group is compared with the state as a whole at its first use, together with the others of its
    /// bucket, so that a first look costs time in proportion to the group. Cut what grows without bound,
    /// such as a log, into groups of at most some thousand items.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when this record, or any other in its bucket, is not what was written last.
    pub fn value(&self, table: Table, group: &[u8], item: &[u8]) -> Result<Option<SecretBytes>, StoreError> {
        Ok(self
            .engine
            .value(&self.key(table, group, item)?)?
            .map(Opened::into_value))
    }

    /// True when there is a record at `item` of `group`.
    ///
    /// # Errors
    /// As [`ReadTx::value`].
    pub fn contains(&self, table: Table, group: &[u8], item: &[u8]) -> Result<bool, StoreError> {
        self.engine.contains(&self.key(table, group, item)?)
    }

    /// All items of a group with their values, in bytewise order of the items.
    ///
    /// # Errors
    /// As [`ReadTx::value`].
    pub fn group(&self, table: Table, group: &[u8]) -> Result<Vec<(Vec<u8>, SecretBytes)>, StoreError> {
        let mut all = Vec::new();
        self.each(table, group, |item, value| {
            all.push((item, value));
            Ok::<(), StoreError>(())
        })?;
        all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(all)
    }

    /// Calls `each` with every item of a group and its value, in no useful order, holding one in memory at a
    /// time. An error from `each` ends it.
    ///
    /// # Errors
    /// As [`ReadTx::value`], and those of `each`.
    pub fn each<E: From<StoreError>>(
        &self,
        table: Table,
        group: &[u8],
        mut each: impl FnMut(Vec<u8>, SecretBytes) -> Result<(), E>,
    ) -> Result<(), E> {
        let group = self.engine.keys().group(table, group)?;
        self.engine.each(group, |_, opened| {
            each(opened.item().to_vec(), opened.into_value())
        })
    }

    pub(crate) fn engine(&self) -> &Engine {
        self.engine
    }

    pub(crate) fn transaction(&self) -> u64 {
        self.engine.transaction()
    }

    fn key(&self, table: Table, group: &[u8], item: &[u8]) -> Result<RecordKey, StoreError> {
        let keys = self.engine.keys();
        keys.record(keys.group(table, group)?, item)
    }
}

impl<'e> WriteTx<'e> {
    pub(crate) fn new(engine: &'e mut Engine) -> Self {
        WriteTx(ReadTx::new(engine))
    }

    /// Sets the value at `item` of `group`, whether or not there was one.
    ///
    /// # Errors
    /// [`StoreError::TooLong`] past [`MAX_KEY_LEN`](crate::MAX_KEY_LEN) or
    /// [`MAX_VALUE_LEN`](crate::MAX_VALUE_LEN); [`StoreError::DiskFull`]; as [`ReadTx::value`].
    pub fn put(&mut self, table: Table, group: &[u8], item: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.0.engine.put(table, group, item, value)
    }

    /// Removes the record at `item` of `group`; says whether there was one.
    ///
    /// # Errors
    /// As [`WriteTx::put`].
    pub fn remove(&mut self, table: Table, group: &[u8], item: &[u8]) -> Result<bool, StoreError> {
        let key = self.0.key(table, group, item)?;
        self.0.engine.remove(&key)
    }

    /// Removes every record of a group; says how many there were.
    ///
    /// # Errors
    /// As [`WriteTx::put`].
    pub fn remove_group(&mut self, table: Table, group: &[u8]) -> Result<usize, StoreError> {
        let engine = &mut *self.0.engine;
        let group = engine.keys().group(table, group)?;
        let mut keys = Vec::new();
        engine.each(group, |key, _| {
            keys.push(key);
            Ok::<(), StoreError>(())
        })?;
        for key in &keys {
            engine.remove(key)?;
        }
        Ok(keys.len())
    }
}

impl<'e> Deref for WriteTx<'e> {
    type Target = ReadTx<'e>;

    fn deref(&self) -> &ReadTx<'e> {
        &self.0
    }
}
