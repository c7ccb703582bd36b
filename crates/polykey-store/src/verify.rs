//! The full check: every record is opened, every bucket compared with the state.

use rusqlite::types::ValueRef;

use crate::database::Database;
use crate::engine::Engine;
use crate::error::{Damage, StoreError};
use crate::sealed::{BUCKETS, GroupKey, RecordKey, SEAL_LEN, bucket_range};
use crate::state::Bucket;

/// No more damages than this are listed.
const MOST_DAMAGES: usize = 100;

/// What [`Database::verify`] found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// How many records there are and open.
    pub records: u64,
    /// What is wrong; at most 100 entries.
    pub damages: Vec<Damage>,
}

impl Report {
    /// True when nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.damages.is_empty()
    }

    fn add(&mut self, damage: Damage) {
        if self.damages.len() < MOST_DAMAGES && !self.damages.contains(&damage) {
            self.damages.push(damage);
        }
    }
}

impl Database {
    /// Checks the structure of the file, opens every record and compares all buckets with the state. Others
    /// can read and write between two buckets. `progress` is told how many of 4,096 steps are done.
    ///
    /// # Errors
    /// Damage is not an error here but stands in the report. [`StoreError::Closed`]; [`StoreError::Sqlite`]
    /// when the disk cannot be read.
    pub fn verify(&self, mut progress: impl FnMut(u16)) -> Result<Report, StoreError> {
        let mut report = Report::default();
        self.read(|tx| tx.engine().check_structure(&mut report))?;
        for bucket in 0..BUCKETS {
            self.read(|tx| match tx.engine().check_bucket(bucket, &mut report) {
                Err(StoreError::Damaged { damage, .. }) => {
                    report.add(damage);
                    Ok(())
                }
                other => other,
            })?;
            progress(bucket + 1);
        }
        Ok(report)
    }
}

impl Engine {
    fn check_structure(&self, report: &mut Report) -> Result<(), StoreError> {
        let found = self
            .connection()
            .query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
        match found.map_err(|e| self.fault(e)) {
            Ok(text) if text == "ok" => {}
            Ok(_) | Err(StoreError::Damaged { .. }) => report.add(Damage::Structure),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn check_bucket(&self, bucket: u16, report: &mut Report) -> Result<(), StoreError> {
        let expected = self.expected(bucket);
        let (low, high) = bucket_range(bucket);
        let mut statement = self
            .connection()
            .prepare_cached("SELECT key, seal, value FROM record WHERE key BETWEEN ?1 AND ?2 ORDER BY key")
            .map_err(|e| self.fault(e))?;
        let mut rows = statement
            .query([&low[..], &high[..]])
            .map_err(|e| self.fault(e))?;
        let mut found = Bucket::default();
        // One more than there should be is enough to know: see `Engine::verify_bucket`.
        while let Some(row) = rows.next().map_err(|e| self.fault(e))?
            && found.count <= expected.count
        {
            let (Ok(ValueRef::Blob(key)), Ok(ValueRef::Blob(seal)), Ok(value)) =
                (row.get_ref(0), row.get_ref(1), row.get_ref(2))
            else {
                report.add(Damage::Structure);
                continue;
            };
            let Some(key) = RecordKey::from_slice(key) else {
                report.add(Damage::Bucket { bucket });
                continue;
            };
            match self.open_value(&key, seal, value)? {
                Some(opened) if self.is_place_of(&key, opened.item()) => report.records += 1,
                _ => report.add(key.damage()),
            }
            if let Ok(seal) = <&[u8; SEAL_LEN]>::try_from(seal) {
                found.add(self.keys().member(&key, seal));
            }
        }
        if found != expected {
            report.add(Damage::Bucket { bucket });
        }
        Ok(())
    }

    fn is_place_of(&self, key: &RecordKey, item: &[u8]) -> bool {
        let group = GroupKey(*key.0.first_chunk().expect("the front half"));
        self.keys().record(group, item).is_ok_and(|place| place == *key)
    }
}
