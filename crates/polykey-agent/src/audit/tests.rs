//! Tests of the audit log: its chain, its gaps, its bounds, and disks that fail.

use polykey_store::StoreEnv;

use super::*;

struct Log {
    dir: tempfile::TempDir,
}

impl Log {
    fn new() -> Log {
        let dir = tempfile::tempdir().expect("a temporary folder");
        Database::create(&dir.path().join("db"), &key(1), &StoreEnv::default()).expect("creates");
        Log { dir }
    }

    fn db(&self) -> Database {
        Database::open(&self.dir.path().join("db"), &key(1), &StoreEnv::default()).expect("opens")
    }

    fn tail(&self) -> std::path::PathBuf {
        self.dir.path().join("tail")
    }

    fn open(&self) -> Audit {
        Audit::open(self.db(), key(2), &self.tail()).expect("opens")
    }
}

fn key(byte: u8) -> Key {
    Key::from_array([byte; 32])
}

fn entry(event: &str) -> Entry {
    Entry {
        event: event.to_owned(),
        time: 5,
        allowed: true,
        uid: Some(7),
        targets: vec!["a/b".to_owned()],
        ..Entry::default()
    }
}

fn append(audit: &Audit, count: usize) {
    for i in 0..count {
        audit.append(&entry(&format!("test.{i}")));
    }
}

#[test]
fn records_come_back_in_order_and_the_chain_holds() {
    let log = Log::new();
    let audit = log.open();
    append(&audit, 3);
    audit.flush().expect("stores");
    let records = audit.group(1).expect("reads");
    assert_eq!(records.iter().map(|r| r.seq).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!((records[1].path.as_str(), records[1].uid), ("test.1", Some(7)));
    assert_eq!(records[1].targets, ["a/b"]);
    let verdict = audit.verify().expect("reads");
    assert_eq!((verdict.valid, verdict.records), (true, 3));
}

#[test]
fn what_only_the_tail_holds_is_taken_in_at_the_next_opening() {
    let log = Log::new();
    let audit = log.open();
    append(&audit, 2);
    audit.flush().expect("stores");
    append(&audit, 1);
    // As after a kill: the tail is there, the database has less.
    let tail = std::fs::read(log.tail()).expect("readable");
    drop(audit);
    let db = log.db();
    db.write(|tx| tx.remove(AUDIT, &group_key(3), &3u64.to_be_bytes()))
        .expect("removes");
    let two = db
        .read(|tx| tx.value(AUDIT, &group_key(2), &2u64.to_be_bytes()))
        .expect("reads")
        .expect("there");
    let hash = *two.expose().first_chunk().expect("a hash");
    db.write(|tx| tx.put(AUDIT, HEAD, b"", &Head { seq: 2, hash }.encode()))
        .expect("writes");
    drop(db);
    std::fs::write(log.tail(), &tail).expect("writes");
    let audit = log.open();
    audit.flush().expect("stores");
    assert_eq!(audit.group(1).expect("reads").len(), 3);
    assert!(audit.verify().expect("reads").valid);
}

#[test]
fn a_foreign_tail_is_noticed_and_a_cut_one_is_not() {
    for (tail, damaged) in [
        (&b"\0\0\0\x03\0\0\0\0\0\0\0\x01abc"[..], true),
        (b"\0\0\0\x09\0\0\0\0\0\0\0\x01abc", false),
        (b"\0", false),
    ] {
        let log = Log::new();
        std::fs::write(log.tail(), tail).expect("writes");
        let audit = log.open();
        audit.flush().expect("stores");
        let paths: Vec<_> = audit
            .group(0)
            .expect("reads")
            .into_iter()
            .map(|r| r.path)
            .collect();
        assert_eq!(
            paths.contains(&"audit.tail-damaged".to_owned()),
            damaged,
            "{tail:?}"
        );
    }
}

#[test]
fn missing_edited_swapped_and_cut_records_are_found() {
    let item = |seq: u64| seq.to_be_bytes();
    let value = |db: &Database, seq: u64| {
        db.read(|tx| tx.value(AUDIT, &group_key(seq), &item(seq)))
            .expect("reads")
            .expect("there")
            .expose()
            .to_vec()
    };
    type Harm<'h> = &'h dyn Fn(&Database);
    let harms: [(Harm<'_>, &[u64]); 4] = [
        (
            &|db| {
                assert!(
                    db.write(|tx| tx.remove(AUDIT, &group_key(2), &item(2)))
                        .expect("writes")
                );
            },
            &[2],
        ),
        (
            &|db| {
                let mut edited = value(db, 2);
                let last = edited.len() - 1;
                edited[last] ^= 1;
                db.write(|tx| tx.put(AUDIT, &group_key(2), &item(2), &edited))
                    .expect("writes");
            },
            &[2],
        ),
        (
            &|db| {
                let (two, three) = (value(db, 2), value(db, 3));
                db.write(|tx| {
                    tx.put(AUDIT, &group_key(2), &item(2), &three)?;
                    tx.put(AUDIT, &group_key(3), &item(3), &two)
                })
                .expect("writes");
            },
            &[2, 3, 4],
        ),
        (
            &|db| {
                let four = Head {
                    seq: 4,
                    hash: *value(db, 3).first_chunk().expect("a hash"),
                };
                db.write(|tx| tx.put(AUDIT, HEAD, b"", &four.encode()))
                    .expect("writes");
            },
            &[4],
        ),
    ];
    let mut shown_damaged = Vec::new();
    for (harm, found) in harms {
        let log = Log::new();
        let audit = log.open();
        append(&audit, 4);
        audit.flush().expect("stores");
        harm(&audit.shared.db);
        let shown = audit.group(1).expect("reads");
        assert_eq!(
            shown.iter().map(|record| record.seq).collect::<Vec<_>>(),
            [1, 2, 3, 4]
        );
        let missing = || shown.iter().filter(|record| record.damaged);
        assert!(missing().all(|record| found.contains(&record.seq)));
        shown_damaged.push(missing().count());
        let verdict = audit.verify().expect("reads");
        assert!(!verdict.valid);
        assert_eq!(verdict.damaged, found);
    }
    // What was removed, and two that stand in each other's place; the others can be read.
    assert_eq!(shown_damaged, [1, 0, 2, 0]);
}

#[test]
fn a_record_that_cannot_be_read_is_not_left_out() {
    let log = Log::new();
    let audit = log.open();
    append(&audit, 3);
    audit.flush().expect("stores");
    let junk = [7; HASH_LEN + 9];
    let db = &audit.shared.db;
    db.write(|tx| tx.put(AUDIT, &group_key(2), &2u64.to_be_bytes(), &junk))
        .expect("writes");
    let shown = audit.group(2).expect("reads");
    let damaged: Vec<_> = shown.iter().map(|record| (record.seq, record.damaged)).collect();
    assert_eq!(damaged, [(1, false), (2, true), (3, false)]);
}

#[test]
fn the_oldest_records_are_forgotten_and_the_rest_can_be_checked() {
    let log = Log::new();
    let audit = log.open();
    audit.keep(10);
    append(&audit, 1030);
    audit.flush().expect("stores");
    append(&audit, 10);
    audit.flush().expect("stores");
    // The writer ends when it has nothing left to do.
    drop(audit);
    let audit = log.open();
    assert_eq!(audit.first(), 1024);
    assert_eq!(audit.group(1023).expect("reads").len(), 0);
    let verdict = audit.verify().expect("reads");
    assert_eq!(
        (verdict.valid, verdict.forgotten, verdict.records),
        (true, 1023, 18)
    );
    let told = audit.group(1024).expect("reads");
    let told = told.iter().find(|record| record.path == FORGOT).expect("told");
    assert_eq!(told.targets, ["1-1023"]);
    // What the chain now begins with cannot be changed unseen.
    let start = Head {
        seq: 1023,
        hash: [7; HASH_LEN],
    };
    audit
        .shared
        .db
        .write::<(), StoreError>(|tx| tx.put(AUDIT, START, b"", &start.encode()))
        .expect("writes");
    assert_eq!(audit.verify().expect("reads").damaged, [1024]);
}

#[test]
fn damage_is_not_forgotten() {
    let log = Log::new();
    let audit = log.open();
    append(&audit, 1030);
    audit.flush().expect("stores");
    audit
        .shared
        .db
        .write(|tx| tx.remove(AUDIT, &group_key(5), &5u64.to_be_bytes()))
        .expect("removes");
    audit.keep(1);
    append(&audit, 1);
    drop(audit);
    let audit = log.open();
    assert_eq!(audit.first(), 1);
    assert_eq!(audit.verify().expect("reads").damaged, [5]);
}

#[test]
fn a_database_that_takes_nothing_holds_up_nobody() {
    let log = Log::new();
    let audit = log.open();
    audit.shared.db.close().expect("closes");
    append(&audit, 1);
    assert!(audit.flush().is_err());
    assert!(audit.flush().is_err(), "asked again");
    drop(audit);
    // The tail kept it.
    let audit = log.open();
    audit.flush().expect("stores");
    assert_eq!(audit.group(1).expect("reads").len(), 1);
}

#[test]
fn records_that_nothing_takes_wait_within_bounds_and_the_rest_is_counted() {
    let log = Log::new();
    let audit = log.open();
    audit.shared.db.close().expect("closes");
    append(&audit, 1);
    assert!(audit.flush().is_err());
    assert!(!audit.is_full());
    append(&audit, MAX_ENTRIES + 99);
    assert!(audit.is_full() && audit.flush().is_err());
    assert_eq!(audit.shared.lock().waiting, MAX_ENTRIES);
    let tail = || std::fs::metadata(log.tail()).expect("there").len();
    let before = tail();
    append(&audit, 900);
    assert_eq!(tail(), before);
    drop(audit);
    let audit = log.open();
    audit.flush().expect("stores");
    let told = MAX_ENTRIES as u64 + 1;
    let records = audit.group(told).expect("reads");
    let last = records.last().expect("some");
    assert_eq!((last.seq, last.path.as_str()), (told, "audit.dropped"));
    assert_eq!(last.targets, ["1000 records"]);
    assert!(audit.verify().expect("reads").valid);
}

#[test]
fn large_records_that_nothing_takes_wait_within_bounds() {
    let log = Log::new();
    let audit = log.open();
    audit.shared.db.close().expect("closes");
    let large = Entry {
        targets: vec!["x".repeat(8 << 10); 50],
        ..entry("secrets.env")
    };
    audit.append(&large);
    assert!(audit.flush().is_err());
    (0..100).for_each(|_| audit.append(&large));
    let state = audit.shared.lock();
    assert!(state.is_full() && state.waiting_bytes < MAX_BYTES + (1 << 20));
    assert_eq!(state.waiting as u64 + state.dropped.expect("some").1, 101);
}

#[test]
fn a_record_taken_out_of_the_tail_is_noticed() {
    let log = Log::new();
    let audit = log.open();
    audit.shared.db.close().expect("closes");
    append(&audit, 3);
    drop(audit);
    let tail = std::fs::read(log.tail()).expect("readable");
    let first = 12 + u32::from_be_bytes(*tail.first_chunk().expect("a frame")) as usize;
    std::fs::write(log.tail(), &tail[first..]).expect("writes");
    let audit = log.open();
    audit.flush().expect("stores");
    let records = audit.group(1).expect("reads");
    assert_eq!(records[0].path, "audit.tail-damaged");
}

#[test]
fn half_a_record_at_the_end_of_the_tail_hides_none_behind_it() {
    let log = Log::new();
    std::fs::write(log.tail(), b"\0\0\0\x99\0\0\0\0\0\0\0\x01abc").expect("writes");
    let audit = log.open();
    audit.shared.db.close().expect("closes");
    append(&audit, 2);
    drop(audit);
    let audit = log.open();
    audit.flush().expect("stores");
    let paths: Vec<_> = audit
        .group(1)
        .expect("reads")
        .into_iter()
        .map(|r| r.path)
        .collect();
    assert_eq!(paths, ["test.0", "test.1"]);
}
