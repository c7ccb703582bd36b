//! A database in a folder of its own, and ways to change its file behind its back.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use polykey_core::Key;
use polykey_store::{Database, StoreEnv, StoreError, Table};
use rusqlite::types::Value;

pub const T: Table = Table::new(1);
pub const U: Table = Table::new(2);

pub fn key() -> Key {
    Key::from_array([7; 32])
}

pub struct Place {
    pub folder: tempfile::TempDir,
}

/// Every row of the file's table of records: hidden key to seal and sealed value, or the place of that.
pub type Rows = BTreeMap<Vec<u8>, (Vec<u8>, Value)>;

/// The sealed value of a short record.
pub fn body(row: &mut (Vec<u8>, Value)) -> &mut Vec<u8> {
    match &mut row.1 {
        Value::Blob(body) => body,
        other => panic!("{other:?}"),
    }
}

impl Place {
    pub fn new() -> Self {
        Place {
            folder: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("test.db")
    }

    pub fn create(&self) -> Database {
        Database::create(&self.path(), &key(), &StoreEnv::default()).expect("created")
    }

    pub fn open(&self) -> Result<Database, StoreError> {
        Database::open(&self.path(), &key(), &StoreEnv::default())
    }

    /// Runs SQL on the closed file.
    pub fn sql(&self, text: &str) {
        self.connection().execute_batch(text).expect("SQL");
    }

    pub fn connection(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.path()).expect("SQLite opens it")
    }

    pub fn rows(&self) -> Rows {
        let conn = self.connection();
        let mut statement = conn.prepare("SELECT key, seal, value FROM record").expect("SQL");
        let rows = statement.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))));
        rows.expect("rows").map(|row| row.expect("a row")).collect()
    }

    pub fn set(&self, key: &[u8], row: &(Vec<u8>, Value)) {
        self.connection()
            .execute(
                "INSERT OR REPLACE INTO record(key, seal, value) VALUES(?1, ?2, ?3)",
                (key, &row.0, &row.1),
            )
            .expect("SQL");
    }

    pub fn state_rows(&self) -> BTreeMap<i64, Vec<u8>> {
        let conn = self.connection();
        let mut statement = conn.prepare("SELECT number, value FROM state").expect("SQL");
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        rows.expect("rows").map(|row| row.expect("a row")).collect()
    }

    pub fn set_state(&self, number: i64, value: &[u8]) {
        self.connection()
            .execute(
                "INSERT OR REPLACE INTO state(number, value) VALUES(?1, ?2)",
                (number, value),
            )
            .expect("SQL");
    }
}

pub fn put(db: &Database, group: &[u8], item: &[u8], value: &[u8]) {
    db.write(|tx| tx.put(T, group, item, value)).expect("written");
}

pub fn try_value(db: &Database, group: &[u8], item: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
    let value = db.read(|tx| tx.value(T, group, item))?;
    Ok(value.map(|value| value.expose().to_vec()))
}

pub fn value(db: &Database, group: &[u8], item: &[u8]) -> Option<Vec<u8>> {
    try_value(db, group, item).expect("readable")
}
