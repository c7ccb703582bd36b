//! The disk fails under SQLite: every kind of write and sync in turn.
//!
//! A library that is loaded before all others fails the calls; this test starts itself as a child with it,
//! and the child reports what was acknowledged. Afterwards the database is opened without faults: what was
//! acknowledged is there, and of every transaction all or nothing.

#![cfg(target_os = "linux")]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use common::{Place, T, key, value};
use polykey_store::{Database, StoreEnv, StoreError};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const EDQUOT: i32 = 122;
const FOLDER: &str = "PK_TEST_FAULT_FOLDER";
/// Transactions of a run, and which of them is large enough to bring a checkpoint about.
const WRITES: u8 = 9;
const LARGE: u8 = 4;
/// Records of one transaction: all of them or none must be there.
const PARTS: u8 = 3;

/// Not a test of its own: what the child does.
#[test]
fn child() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let path = Path::new(&folder).join("test.db");
    let env = StoreEnv {
        reserve: 0,
        ..StoreEnv::default()
    };
    let db = match Database::create(&path, &key(), &env) {
        Ok(db) => db,
        Err(error) => {
            println!("\nnot created: {error:?}");
            return;
        }
    };
    println!("\ncreated");
    let mut last = None;
    for n in 0..WRITES {
        let len = if n == LARGE { 1_500_000 } else { 900 };
        let done: Result<(), StoreError> = db.write(|tx| {
            for part in 0..PARTS {
                tx.put(T, &[n, part], b"a", &vec![n; len])?;
            }
            Ok(())
        });
        match done {
            Ok(()) => {
                println!("\nwritten {n}");
                last = Some(n);
            }
            Err(error) => {
                println!("\nfailed {n}: {error:?}");
                // Reading goes on, and shows what was acknowledged and not what failed.
                assert_eq!(value(&db, &[n, 0], b"a"), None);
                assert!(
                    last.is_none_or(|last| value(&db, &[last, 0], b"a").is_some()),
                    "{n}"
                );
            }
        }
    }
    println!("\nclosed: {:?}", db.close());
}

fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/preload.c");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let library = folder.join("preload.so");
        // Built under a name of its own and renamed: tests run side by side.
        let draft = folder.join(format!("preload-{}.so", std::process::id()));
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&draft, &source])
            .arg("-ldl")
            .status()
            .expect("Rust needs a C compiler to link, too");
        assert!(built.success());
        std::fs::rename(draft, &library).expect("renamed");
        library
    })
}

struct Fault {
    kind: &'static str,
    at: Option<usize>,
    errno: i32,
    stays: bool,
}

fn run(place: &Place, fault: &Fault) -> (Output, usize) {
    let count = tempfile::NamedTempFile::new().expect("a file");
    let mut child = Command::new(std::env::current_exe().expect("this test"));
    child
        .args(["--exact", "child", "--nocapture"])
        .env(FOLDER, place.folder.path())
        .env("LD_PRELOAD", library())
        .env("FAULT_FOLDER", place.folder.path().canonicalize().expect("there"))
        .env("FAULT_COUNT", count.path())
        .env("FAULT_KIND", fault.kind)
        .env("FAULT_ERRNO", fault.errno.to_string());
    if let Some(at) = fault.at {
        child.env("FAULT_AT", at.to_string());
    }
    if fault.stays {
        child.env("FAULT_STAYS", "1");
    }
    let output = child.output().expect("ran");
    let calls = std::fs::read_to_string(count.path()).expect("counted");
    (output, calls.parse().expect("a number"))
}

/// Runs with the fault, then looks at what is there without it. Says whether a write failed.
fn check(fault: &Fault) -> bool {
    let place = Place::new();
    let (output, _) = run(&place, fault);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let what = format!("{} {:?} {}:\n{said}", fault.kind, fault.at, fault.errno);
    assert!(
        output.status.success(),
        "{what}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let says = |start: &str| said.lines().any(|line| line.starts_with(start));
    if says("not created") {
        // The name appears with the whole database or not at all; when only the last sync failed, it may.
        if place.path().exists() {
            place.open().expect("whole");
        }
        return true;
    }
    let failed: Vec<&str> = said.lines().filter(|line| line.starts_with("failed")).collect();
    for (i, line) in failed.iter().enumerate() {
        let expected: &[&str] = match (fault.errno, fault.kind) {
            // A full disk is an error of each write for itself.
            (ENOSPC | EDQUOT, "write") => &["DiskFull"],
            // Any other failure leaves the outcome open: after it nothing is written until the next opening.
            _ if i == 0 => &["Sqlite", "Refused"],
            _ => &["Refused"],
        };
        assert!(expected.iter().any(|error| line.contains(error)), "{what}");
    }
    let db = place
        .open()
        .unwrap_or_else(|error| panic!("{error:?} after {what}"));
    for n in 0..WRITES {
        let there = (0..PARTS)
            .filter(|part| value(&db, &[n, *part], b"a").is_some())
            .count();
        assert!(
            there == 0 || there == usize::from(PARTS),
            "half of {n} after {what}"
        );
        if says(&format!("written {n}")) {
            assert!(there > 0, "{n} is lost after {what}");
        }
    }
    assert!(db.verify(|_| ()).expect("readable").is_whole(), "{what}");
    !failed.is_empty()
}

fn calls_of(kind: &'static str) -> usize {
    let place = Place::new();
    let fault = Fault {
        kind,
        at: None,
        errno: EIO,
        stays: false,
    };
    let (output, calls) = run(&place, &fault);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("closed: Ok"), "{said}");
    calls
}

#[test]
fn a_failed_sync_loses_no_acknowledged_write() {
    let calls = calls_of("sync");
    assert!(calls >= usize::from(WRITES) + 4, "{calls}");
    let failures = (0..calls).filter(|at| {
        check(&Fault {
            kind: "sync",
            at: Some(*at),
            errno: EIO,
            stays: false,
        })
    });
    assert!(failures.count() >= usize::from(WRITES));
}

#[test]
fn a_failed_write_loses_no_acknowledged_write() {
    let calls = calls_of("write");
    // Each of the first and last, some of the thousands that belong to the large transaction.
    let some =
        (0..calls).filter(|at| *at < 60 && at % 2 == 0 || calls - *at < 20 && at % 4 == 0 || at % 701 == 0);
    let failures = some.filter(|at| {
        check(&Fault {
            kind: "write",
            at: Some(*at),
            errno: EIO,
            stays: false,
        })
    });
    assert!(failures.count() >= 25);
}

#[test]
fn a_disk_that_fills_up_loses_no_acknowledged_write() {
    let calls = calls_of("write");
    let some = (0..calls).filter(|at| at % 5 == 0 && *at < 100 || at % 503 == 0);
    let failures = some.filter(|at| {
        check(&Fault {
            kind: "write",
            at: Some(*at),
            errno: ENOSPC,
            stays: at % 2 == 0,
        })
    });
    assert!(failures.count() >= 10);
}

#[test]
fn a_quota_that_is_used_up_is_a_full_disk() {
    let failures = [0, 20, 40, 60].into_iter().filter(|at| {
        check(&Fault {
            kind: "write",
            at: Some(*at),
            errno: EDQUOT,
            stays: true,
        })
    });
    assert_eq!(failures.count(), 4);
}
