//! A disk that is really full: a small file system in memory.
//!
//! Only root can mount one. Elsewhere these tests say why they do nothing; with `CI=true` that is a failure.

#![cfg(target_os = "linux")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{T, key, put, value};
use polykey_store::{Database, StoreEnv, StoreError};

/// A file system of its own, gone with this value.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(size: &str, options: &str) -> Option<SmallDisk> {
        let folder = tempfile::tempdir().expect("a folder");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}{options}"), "tmpfs"])
            .arg(folder.path())
            .output();
        if mount.is_ok_and(|done| done.status.success()) {
            return Some(SmallDisk(folder));
        }
        assert!(
            std::env::var("CI").is_err(),
            "CI must be able to mount a small file system"
        );
        println!("skipped: only root can mount a small file system");
        None
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("test.db")
    }

    fn fill(&self) {
        use std::io::Write;
        let mut file = fs::File::create(self.0.path().join("filler")).expect("made");
        for len in [1 << 16, 1 << 12, 1] {
            while file.write_all(&vec![1; len]).is_ok() {}
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.0.path().join("filler")).expect("removed");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn open(path: &Path) -> Database {
    Database::open(path, &key(), &StoreEnv::default()).expect("opened")
}

#[test]
fn removals_work_on_a_full_disk_and_other_writes_say_why_not() {
    let Some(disk) = SmallDisk::mount("24m", "") else {
        return;
    };
    let db = Database::create(&disk.path(), &key(), &StoreEnv::default()).expect("created");
    for n in 0..40u8 {
        put(&db, &[n], b"a", &vec![n; 10_000]);
    }
    disk.fill();
    let mut written = 0;
    let error = loop {
        match db.write(|tx| tx.put(T, b"new", &[written], &[1; 100_000])) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 200, "the disk is never full");
    };
    assert!(matches!(error, StoreError::DiskFull { .. }), "{error:?}");
    assert!(value(&db, &[3], b"a").is_some(), "reading goes on");

    // Also after a restart on the full disk.
    drop(db);
    let db = open(&disk.path());
    for n in 0..30u8 {
        let removed: Result<bool, StoreError> = db.write_removal(|tx| {
            // A removal leaves a line behind that says so.
            tx.put(T, b"log", &[n], &[n; 500])?;
            tx.remove(T, &[n], b"a")
        });
        assert!(removed.expect("removed"), "{n}");
    }
    drop(db);
    let db = open(&disk.path());
    for n in 0..40u8 {
        assert_eq!(value(&db, &[n], b"a").is_some(), n >= 30, "{n}");
    }
    for n in 0..written {
        assert!(value(&db, b"new", &[n]).is_some(), "{n} was acknowledged");
    }

    // With room again, everything works and the reserve comes back.
    disk.make_room();
    put(&db, b"new", b"more", &[1; 100_000]);
    let reserve = fs::metadata(disk.0.path().join("test.db-reserve")).expect("there");
    assert_eq!(reserve.len(), 2 << 20);
    assert!(db.verify(|_| ()).expect("readable").is_whole());
}

#[test]
fn creating_on_a_full_disk_leaves_nothing_that_is_in_the_way() {
    let Some(disk) = SmallDisk::mount("8m", "") else {
        return;
    };
    disk.fill();
    let error = Database::create(&disk.path(), &key(), &StoreEnv::default()).expect_err("full");
    assert!(matches!(error, StoreError::DiskFull { .. }), "{error:?}");
    assert_eq!(
        fs::read_dir(disk.0.path()).expect("listed").count(),
        1,
        "only the filler"
    );
    disk.make_room();
    put(
        &Database::create(&disk.path(), &key(), &StoreEnv::default()).expect("created"),
        b"g",
        b"a",
        b"1",
    );
}

#[test]
fn a_read_only_disk_says_so() {
    let Some(disk) = SmallDisk::mount("8m", "") else {
        return;
    };
    put(
        &Database::create(&disk.path(), &key(), &StoreEnv::default()).expect("created"),
        b"g",
        b"a",
        b"1",
    );
    let remounted = Command::new("mount")
        .args(["-o", "remount,ro"])
        .arg(disk.0.path())
        .status();
    assert!(remounted.expect("ran").success());
    let error = Database::open(&disk.path(), &key(), &StoreEnv::default()).expect_err("read-only");
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error:?}");
    let other = disk.0.path().join("other.db");
    let error = Database::create(&other, &key(), &StoreEnv::default()).expect_err("read-only");
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error:?}");
}
