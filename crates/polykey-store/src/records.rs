//! Reading and writing records, inside a transaction.
//!
//! Always: a bucket was compared with the state before anything is said about its records, also that one is
//! not there; and the state follows every change. Start at [`Engine::value`] and [`Engine::put`].

use rusqlite::types::ValueRef;
use rusqlite::{OptionalExtension, ToSql, params};

use crate::engine::Engine;
use crate::error::{Damage, StoreError};
use crate::sealed::{GroupKey, MAX_INLINE_LEN, Opened, RecordKey, SEAL_LEN, Table, bucket_range};
use crate::state::Bucket;

/// A record's seal, and the place of its value when that is long.
type Sealed = ([u8; SEAL_LEN], Option<i64>);

impl Engine {
    /// What a bucket should hold.
    pub(crate) fn expected(&self, bucket: u16) -> Bucket {
        self.state().borrow().bucket(bucket)
    }

    pub(crate) fn value(&self, key: &RecordKey) -> Result<Option<Opened>, StoreError> {
        self.verify_bucket(key.bucket())?;
        let mut statement = self
            .connection()
            .prepare_cached("SELECT seal, value FROM record WHERE key = ?1")
            .map_err(|e| self.fault(e))?;
        let mut rows = statement.query([&key.0[..]]).map_err(|e| self.fault(e))?;
        let Some(row) = rows.next().map_err(|e| self.fault(e))? else {
            return Ok(None);
        };
        let opened = match (row.get_ref(0), row.get_ref(1)) {
            (Ok(ValueRef::Blob(seal)), Ok(value)) => self.open_value(key, seal, value)?,
            _ => None,
        };
        opened.map(Some).ok_or_else(|| self.damaged(key.damage()))
    }

    /// Opens what stands in the column `value`; `None` when it does not open.
    pub(crate) fn open_value(
        &self,
        key: &RecordKey,
        seal: &[u8],
        value: ValueRef<'_>,
    ) -> Result<Option<Opened>, StoreError> {
        let place = match value {
            ValueRef::Blob(body) => return Ok(self.keys().open(key, seal, body)),
            ValueRef::Integer(place) => place,
            _ => return Ok(None),
        };
        let mut statement = self
            .connection()
            .prepare_cached("SELECT value FROM content WHERE place = ?1")
            .map_err(|e| self.fault(e))?;
        let mut rows = statement.query([place]).map_err(|e| self.fault(e))?;
        let row = rows.next().map_err(|e| self.fault(e))?;
        Ok(match row.map(|row| row.get_ref(0)) {
            Some(Ok(ValueRef::Blob(body))) => self.keys().open(key, seal, body),
            _ => None,
        })
    }

    pub(crate) fn contains(&self, key: &RecordKey) -> Result<bool, StoreError> {
        self.verify_bucket(key.bucket())?;
        Ok(self.seal_of(key)?.is_some())
    }

    /// Calls `each` for the records of a group, in the order of their hidden keys.
    pub(crate) fn each<E: From<StoreError>>(
        &self,
        group: GroupKey,
        mut each: impl FnMut(RecordKey, Opened) -> Result<(), E>,
    ) -> Result<(), E> {
        self.verify_bucket(group.bucket())?;
        let (low, high) = group.range();
        let mut statement = self
            .connection()
            .prepare_cached("SELECT key, seal, value FROM record WHERE key BETWEEN ?1 AND ?2 ORDER BY key")
            .map_err(|e| self.fault(e))?;
        let mut rows = statement
            .query([&low[..], &high[..]])
            .map_err(|e| self.fault(e))?;
        while let Some(row) = rows.next().map_err(|e| self.fault(e))? {
            let (Ok(ValueRef::Blob(key)), Ok(ValueRef::Blob(seal)), Ok(value)) =
                (row.get_ref(0), row.get_ref(1), row.get_ref(2))
            else {
                return Err(self.damaged(Damage::Structure).into());
            };
            let key = RecordKey::from_slice(key).ok_or_else(|| self.damaged(Damage::Structure))?;
            let opened = self.open_value(&key, seal, value)?;
            let opened = opened.ok_or_else(|| self.damaged(key.damage()))?;
            each(key, opened)?;
        }
        Ok(())
    }

    /// Compares a bucket with the state before its first use.
    pub(crate) fn verify_bucket(&self, bucket: u16) -> Result<(), StoreError> {
        if self.state().borrow().is_verified(bucket) {
            return Ok(());
        }
        let expected = self.expected(bucket);
        let found = self.scan_bucket(bucket, expected.count)?;
        if found != Some(expected) {
            return Err(self.damaged(Damage::Bucket { bucket }));
        }
        self.state().borrow_mut().set_verified(bucket);
        Ok(())
    }

    /// What a bucket holds. `None` when that is not what we write, or when there are more than `most`
    /// records: a hostile file can make a tree in which one page is visited without end.
    fn scan_bucket(&self, bucket: u16, most: u64) -> Result<Option<Bucket>, StoreError> {
        let (low, high) = bucket_range(bucket);
        let mut statement = self
            .connection()
            .prepare_cached("SELECT key, seal FROM record WHERE key BETWEEN ?1 AND ?2 ORDER BY key")
            .map_err(|e| self.fault(e))?;
        let mut rows = statement
            .query([&low[..], &high[..]])
            .map_err(|e| self.fault(e))?;
        let mut found = Bucket::default();
        while let Some(row) = rows.next().map_err(|e| self.fault(e))? {
            let (Ok(ValueRef::Blob(key)), Ok(ValueRef::Blob(seal))) = (row.get_ref(0), row.get_ref(1)) else {
                return Ok(None);
            };
            let (Some(key), Ok(seal)) = (RecordKey::from_slice(key), <&[u8; SEAL_LEN]>::try_from(seal))
            else {
                return Ok(None);
            };
            found.add(self.keys().member(&key, seal));
            if found.count > most {
                return Ok(None);
            }
        }
        Ok(Some(found))
    }

    /// The seal of a record and, when its value stands in `content`, the place.
    fn seal_of(&self, key: &RecordKey) -> Result<Option<Sealed>, StoreError> {
        let read = |row: &rusqlite::Row<'_>| -> rusqlite::Result<Sealed> {
            let place = match row.get_ref(1)? {
                ValueRef::Integer(place) => Some(place),
                _ => None,
            };
            Ok((row.get(0)?, place))
        };
        self.connection()
            .prepare_cached("SELECT seal, value FROM record WHERE key = ?1")
            .and_then(|mut statement| statement.query_row([&key.0[..]], read).optional())
            .map_err(|e| self.fault(e))
    }

    pub(crate) fn put(
        &mut self,
        table: Table,
        group: &[u8],
        item: &[u8],
        value: &[u8],
    ) -> Result<(), StoreError> {
        let key = self.keys().record(self.keys().group(table, group)?, item)?;
        let sealed = self.keys().seal(&key, item, value, self.random())?;
        self.verify_bucket(key.bucket())?;
        let old = self.seal_of(&key)?;
        self.remove_content(old.and_then(|(_, place)| place))?;
        let body = &sealed.body;
        let value: &dyn ToSql = if body.len() > MAX_INLINE_LEN {
            self.execute("INSERT INTO content(value) VALUES(?1)", params![body])?;
            &self.connection().last_insert_rowid()
        } else {
            body
        };
        let text = match old {
            Some(_) => "UPDATE record SET seal = ?2, value = ?3 WHERE key = ?1",
            None => "INSERT INTO record(key, seal, value) VALUES(?1, ?2, ?3)",
        };
        self.execute(text, params![&key.0[..], &sealed.seal[..], value])?;
        let (old, new) = (
            old.map(|(seal, _)| self.keys().member(&key, &seal)),
            self.keys().member(&key, &sealed.seal),
        );
        self.state_mut().change(key.bucket(), |bucket| {
            if let Some(old) = old {
                bucket.subtract(old);
            }
            bucket.add(new);
        });
        self.count_bytes(sealed.body.len());
        Ok(())
    }

    fn remove_content(&self, place: Option<i64>) -> Result<(), StoreError> {
        match place {
            Some(place) => self.execute("DELETE FROM content WHERE place = ?1", params![place]),
            None => Ok(()),
        }
    }

    /// Removes a record; false when there is none.
    pub(crate) fn remove(&mut self, key: &RecordKey) -> Result<bool, StoreError> {
        self.verify_bucket(key.bucket())?;
        let Some((old, place)) = self.seal_of(key)? else {
            return Ok(false);
        };
        self.remove_content(place)?;
        self.execute("DELETE FROM record WHERE key = ?1", params![&key.0[..]])?;
        let old = self.keys().member(key, &old);
        self.state_mut()
            .change(key.bucket(), |bucket| bucket.subtract(old));
        Ok(true)
    }
}
