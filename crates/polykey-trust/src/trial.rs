//! A database in a folder of its own, for tests.

use polykey_core::Key;
use polykey_store::{Database, StoreEnv};
use tempfile::TempDir;

pub(crate) fn database() -> (TempDir, Database) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let env = StoreEnv {
        reserve: 0,
        ..StoreEnv::default()
    };
    let db = Database::create(&folder.path().join("node.db"), &Key::from_array([1; 32]), &env)
        .expect("an empty folder");
    (folder, db)
}
