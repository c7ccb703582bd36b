//! Files that hold anything: an error that names them, never wrong data, a panic or a hang.

mod common;

use std::fs;
use std::path::Path;

use common::{Place, T, key, put, value};
use polykey_core::Key;
use polykey_store::{Damage, Database, StoreEnv, StoreError};

/// Bytes that look random and are the same every time.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

fn number(seed: u64, below: usize) -> usize {
    let bytes = noise(seed, 8);
    usize::from_le_bytes(bytes.try_into().expect("8 bytes")) % below
}

const RECORDS: u16 = 120;

fn content(n: u16) -> Vec<u8> {
    let len = [0, 10, 300, 5_000, 20_000][usize::from(n % 5)];
    [&n.to_be_bytes()[..], &vec![n as u8; len]].concat()
}

fn fill(db: &Database) {
    for n in 0..RECORDS {
        put(db, &(n / 3).to_be_bytes(), &n.to_be_bytes(), &content(n));
    }
}

/// Opens the file and asks for everything: what is answered is right. Returns how many answers there were.
fn ask(place: &Place) -> usize {
    let Ok(db) = place.open() else {
        return 0;
    };
    let mut answers = 0;
    for n in 0..RECORDS {
        let (group, item) = ((n / 3).to_be_bytes(), n.to_be_bytes());
        if let Ok(found) = db.read(|tx| tx.value(T, &group, &item)) {
            assert!(
                found.is_some_and(|found| found.expose() == content(n)),
                "record {n}"
            );
            answers += 1;
        }
        if let Ok(found) = db.read(|tx| tx.value(T, &group, b"never there")) {
            assert!(found.is_none());
        }
        if let Ok(found) = db.read(|tx| tx.group(T, &group)) {
            assert_eq!(found.len(), 3, "group of {n}");
        }
    }
    answers
}

#[track_caller]
fn open_error(path: &Path) -> StoreError {
    let error = Database::open(path, &key(), &StoreEnv::default()).expect_err("refused");
    let name = path.file_name().expect("a name").to_string_lossy();
    assert!(error.to_string().contains(&*name), "{error} does not name {name}");
    error
}

#[test]
fn no_flipped_bit_gives_wrong_data() {
    let place = Place::new();
    fill(&place.create());
    let whole = fs::read(place.path()).expect("read");
    assert_eq!(ask(&place), usize::from(RECORDS));
    let mut answers = 0;
    for round in 0..60 {
        let mut bytes = whole.clone();
        // The first page and the roots are worth more tries than their share.
        let area = if round % 3 == 0 { 12_288 } else { whole.len() };
        let bit = number(round, area * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(place.path(), &bytes).expect("written");
        answers += ask(&place);
    }
    assert!(
        answers > 60 * usize::from(RECORDS) / 2,
        "one bit does not take everything: {answers}"
    );
}

#[test]
fn no_truncation_and_no_noise_gives_wrong_data() {
    let place = Place::new();
    fill(&place.create());
    let whole = fs::read(place.path()).expect("read");
    for round in 0..24 {
        let len = if round < 8 {
            number(round, 9_000)
        } else {
            number(round, whole.len())
        };
        fs::write(place.path(), &whole[..len]).expect("written");
        assert!(ask(&place) < usize::from(RECORDS), "cut at {len}");

        let mut bytes = whole.clone();
        let at = number(round + 1_000, whole.len() - 600);
        bytes[at..at + 600].copy_from_slice(&noise(round, 600));
        fs::write(place.path(), &bytes).expect("written");
        ask(&place);

        // A page in the place of another.
        let mut bytes = whole.clone();
        let pages = whole.len() / 4096;
        let (from, to) = (number(round + 2_000, pages), number(round + 3_000, pages));
        bytes.copy_within(from * 4096..(from + 1) * 4096, to * 4096);
        fs::write(place.path(), &bytes).expect("written");
        ask(&place);
    }
}

#[test]
fn files_that_are_no_database_are_told_by_name() {
    let place = Place::new();
    let at = |name: &str| place.folder.path().join(name);
    for (name, bytes) in [
        ("empty", vec![]),
        ("short", b"SQLite format 3\0".to_vec()),
        ("noise", noise(1, 100_000)),
        ("zeros", vec![0; 100_000]),
        ("text", b"hello\n".repeat(1000)),
    ] {
        fs::write(at(name), bytes).expect("written");
        let error = open_error(&at(name));
        assert!(
            matches!(error, StoreError::NotADatabase { .. }),
            "{name}: {error:?}"
        );
    }
    let sparse = fs::File::create(at("huge")).expect("made");
    sparse.set_len(1 << 40).expect("sparse");
    assert!(matches!(open_error(&at("huge")), StoreError::NotADatabase { .. }));
}

#[test]
fn paths_that_are_no_file_are_told_by_name() {
    let place = Place::new();
    let at = |name: &str| place.folder.path().join(name);
    drop(place.create());
    fs::create_dir(at("folder")).expect("made");
    std::os::unix::fs::symlink(place.path(), at("link")).expect("linked");
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), fifo, rustix::fs::Mode::RUSR, 0).expect("made");
    for name in ["folder", "link", "pipe"] {
        assert!(
            matches!(open_error(&at(name)), StoreError::NotADatabase { .. }),
            "{name}"
        );
    }
    assert!(matches!(open_error(&at("none")), StoreError::Missing { .. }));
    assert!(!at("none").exists(), "asking makes nothing");
    let nowhere = at("none").join("test.db");
    let made = Database::create(&nowhere, &key(), &StoreEnv::default());
    assert!(matches!(made, Err(StoreError::Missing { .. })));
    for name in ["folder", "link", "pipe", "test.db"] {
        let made = Database::create(&at(name), &key(), &StoreEnv::default());
        assert!(matches!(made, Err(StoreError::Exists { .. })), "{name}");
    }
}

#[test]
fn a_folder_that_is_a_link_is_followed() {
    let place = Place::new();
    put(&place.create(), b"g", b"a", b"1");
    let link = place.folder.path().join("link");
    std::os::unix::fs::symlink(place.folder.path(), &link).expect("linked");
    let db = Database::open(&link.join("test.db"), &key(), &StoreEnv::default()).expect("opened");
    assert_eq!(value(&db, b"g", b"a").as_deref(), Some(&b"1"[..]));
}

#[test]
fn one_handle_at_a_time() {
    let place = Place::new();
    let db = place.create();
    assert!(matches!(place.open(), Err(StoreError::Busy { .. })));
    put(&db, b"g", b"a", b"1");
    drop(db);
    assert_eq!(
        value(&place.open().expect("free again"), b"g", b"a").as_deref(),
        Some(&b"1"[..])
    );
}

#[test]
fn half_made_databases_are_in_nobodys_way() {
    let place = Place::new();
    for suffix in ["", "-wal", "-journal"] {
        fs::write(
            place.folder.path().join(format!("test.db.new{suffix}")),
            noise(3, 5_000),
        )
        .expect("written");
    }
    put(&place.create(), b"g", b"a", b"1");
    let names: Vec<_> = fs::read_dir(place.folder.path()).expect("listed").collect();
    assert_eq!(names.len(), 2, "the database and its reserve: {names:?}");
}

#[test]
fn the_log_of_a_deleted_database_is_not_taken_for_ours() {
    let place = crashed();
    fs::remove_file(place.path()).expect("removed");
    let db = place.create();
    assert_eq!(value(&db, &0u16.to_be_bytes(), b"a"), None);
    put(&db, b"g", b"a", b"1");
    drop(db);
    let db = place.open().expect("opened");
    assert_eq!(value(&db, b"g", b"a").as_deref(), Some(&b"1"[..]));
    assert!(db.verify(|_| ()).expect("readable").is_whole());
}

/// A copy of the open database, as a crash would leave it: the log was not yet copied into the file.
fn crashed() -> Place {
    let (place, copy) = (Place::new(), Place::new());
    let db = place.create();
    for n in 0..10u16 {
        put(&db, &n.to_be_bytes(), b"a", b"1");
    }
    for suffix in ["", "-wal"] {
        let name = format!("test.db{suffix}");
        fs::copy(place.folder.path().join(&name), copy.folder.path().join(&name)).expect("copied");
    }
    copy
}

#[test]
fn a_crash_loses_nothing() {
    let db = crashed().open().expect("opened");
    for n in 0..10u16 {
        assert!(value(&db, &n.to_be_bytes(), b"a").is_some(), "{n}");
    }
}

#[test]
fn a_damaged_log_is_told_from_one_that_a_crash_tore() {
    let log = |place: &Place| place.folder.path().join("test.db-wal");
    let len = fs::metadata(log(&crashed())).expect("there").len() as usize;
    for round in 0..40 {
        let place = crashed();
        let mut bytes = fs::read(log(&place)).expect("read");
        let area = if round % 2 == 0 { 32 + 24 } else { len };
        let bit = number(round, area * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(log(&place), &bytes).expect("written");
        match place.open() {
            Err(error) => {
                let StoreError::Damaged { damage, .. } = error else {
                    panic!("{error:?}");
                };
                assert_eq!(damage, Damage::Log);
            }
            // Only in the last commit is a flipped bit like a torn write.
            Ok(db) => {
                let lost = (0..9u16).find(|n| value(&db, &n.to_be_bytes(), b"a").is_none());
                assert_eq!(lost, None, "bit {bit} of {len} bytes");
            }
        }
    }
    for cut in [0, 20, 32, 5_000, len / 2, len - 1] {
        let place = crashed();
        let bytes = fs::read(log(&place)).expect("read");
        fs::write(log(&place), &bytes[..cut]).expect("written");
        place.open().expect("a torn log is recovered from");
    }
}

#[test]
fn keys_that_differ_share_nothing() {
    let place = Place::new();
    drop(place.create());
    for n in 0..20 {
        let wrong = Key::copy_from(&noise(n, 32)).expect("32 bytes");
        let opened = Database::open(&place.path(), &wrong, &StoreEnv::default());
        assert!(matches!(opened, Err(StoreError::WrongKey { .. })));
    }
}

/// Points every branch of the inner page `page` to where `child` says, given the page it led to.
fn bend(bytes: &mut [u8], page: usize, child: impl Fn(u32) -> u32) {
    let start = (page - 1) * 4096;
    let kind = bytes[start];
    assert!(kind == 2 || kind == 5, "an inner page of a tree, not kind {kind}");
    let cells = usize::from(u16::from_be_bytes([bytes[start + 3], bytes[start + 4]]));
    let mut branches = vec![start + 8];
    for cell in 0..cells {
        let at = start + 12 + 2 * cell;
        branches.push(start + usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]])));
    }
    for at in branches {
        let old = u32::from_be_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        bytes[at..at + 4].copy_from_slice(&child(old).to_be_bytes());
    }
}

#[test]
fn trees_whose_branches_lead_to_one_page_end() {
    let place = Place::new();
    let db = place.create();
    // So many that the trees have inner pages.
    for n in 0..200u16 {
        put(&db, &n.to_be_bytes(), b"a", &[7; 200]);
    }
    db.close().expect("closed");
    let whole = fs::read(place.path()).expect("read");
    let root = |table: &str| -> usize {
        let sql = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
        let page: i64 = place
            .connection()
            .query_row(sql, [table], |row| row.get(0))
            .expect("SQL");
        usize::try_from(page).expect("a page")
    };
    let roots = [root("record"), root("state")];
    for root in roots {
        let first = std::cell::Cell::new(None);
        let to_first = |old: u32| match first.get() {
            Some(page) => page,
            None => {
                first.set(Some(old));
                old
            }
        };
        let to_root = |_: u32| root as u32;
        let bends: [&dyn Fn(u32) -> u32; 3] = [&to_first, &to_root, &|_| 1 << 30];
        for bent in bends {
            let mut bytes = whole.clone();
            bend(&mut bytes, root, bent);
            fs::write(place.path(), &bytes).expect("written");
            let Ok(db) = place.open() else {
                continue;
            };
            for n in 0..200u16 {
                if let Ok(found) = db.read(|tx| tx.value(T, &n.to_be_bytes(), b"a")) {
                    assert_eq!(found.expect("never wrongly absent").expose(), [7; 200]);
                }
                let _ = db.write(|tx| tx.put(T, &n.to_be_bytes(), b"b", b"1"));
            }
            assert!(!db.verify(|_| ()).is_ok_and(|report| report.is_whole()));
        }
    }
}
