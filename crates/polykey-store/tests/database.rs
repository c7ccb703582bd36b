//! What a database promises to its users.

mod common;

use std::sync::Barrier;

use common::{Place, T, U, put, value};
use polykey_store::StoreError;

#[test]
fn what_was_written_is_there_after_reopening() {
    let place = Place::new();
    let db = place.create();
    put(&db, b"g", b"a", b"1");
    put(&db, b"g", b"b", &vec![9; 100_000]);
    put(&db, b"g", b"a", b"2");
    db.close().expect("closed");
    let db = place.open().expect("opened");
    assert_eq!(value(&db, b"g", b"a").as_deref(), Some(&b"2"[..]));
    assert_eq!(value(&db, b"g", b"b"), Some(vec![9; 100_000]));
    assert_eq!(value(&db, b"g", b"c"), None);
    assert_eq!(value(&db, b"h", b"a"), None);
}

#[test]
fn dropping_the_handle_loses_nothing() {
    let place = Place::new();
    put(&place.create(), b"g", b"a", b"1");
    assert_eq!(
        value(&place.open().expect("opened"), b"g", b"a").as_deref(),
        Some(&b"1"[..])
    );
}

#[test]
fn tables_and_groups_are_apart() {
    let place = Place::new();
    let db = place.create();
    db.write(|tx| {
        tx.put(T, b"g", b"b", b"2")?;
        tx.put(T, b"g", b"a", b"1")?;
        tx.put(T, b"h", b"a", b"3")?;
        tx.put(U, b"g", b"a", b"4")
    })
    .expect("written");
    let group = |table, group: &[u8]| -> Vec<(Vec<u8>, Vec<u8>)> {
        let all = db.read(|tx| tx.group(table, group)).expect("readable");
        all.into_iter()
            .map(|(item, value)| (item, value.expose().to_vec()))
            .collect()
    };
    assert_eq!(
        group(T, b"g"),
        [(b"a".to_vec(), b"1".to_vec()), (b"b".to_vec(), b"2".to_vec())]
    );
    assert_eq!(group(T, b"h"), [(b"a".to_vec(), b"3".to_vec())]);
    assert_eq!(group(U, b"g"), [(b"a".to_vec(), b"4".to_vec())]);
    assert_eq!(group(U, b"h"), []);
    let removed = db.write(|tx| tx.remove_group(T, b"g")).expect("written");
    assert_eq!((removed, group(T, b"g"), group(T, b"h").len()), (2, vec![], 1));
}

#[test]
fn a_failed_change_leaves_nothing_behind() {
    let place = Place::new();
    let db = place.create();
    put(&db, b"g", b"a", b"1");
    let before = db.transaction().expect("open");
    let failed: Result<(), StoreError> = db.write(|tx| {
        tx.put(T, b"g", b"a", b"2")?;
        tx.remove(T, b"g", b"b")?;
        tx.put(T, b"g", b"c", b"3")?;
        assert_eq!(tx.value(T, b"g", b"a")?.expect("there").expose(), b"2");
        Err(StoreError::Missing { path: "x".into() })
    });
    assert!(matches!(failed, Err(StoreError::Missing { .. })));
    assert_eq!(db.transaction().expect("open"), before);
    assert_eq!(value(&db, b"g", b"a").as_deref(), Some(&b"1"[..]));
    assert_eq!(value(&db, b"g", b"c"), None);
}

#[test]
fn a_panic_in_a_change_takes_it_back_and_goes_on_to_its_caller() {
    let place = Place::new();
    let db = place.create();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        db.write(|tx| -> Result<(), StoreError> {
            tx.put(T, b"g", b"a", b"1")?;
            panic!("as a test");
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(value(&db, b"g", b"a"), None);
    put(&db, b"g", b"b", b"2");
    drop(db);
    assert_eq!(
        value(&place.open().expect("opened"), b"g", b"b").as_deref(),
        Some(&b"2"[..])
    );
}

#[test]
fn a_panic_in_a_look_harms_nobody() {
    let place = Place::new();
    let db = place.create();
    let look =
        std::panic::AssertUnwindSafe(|| db.read(|_| -> Result<(), StoreError> { panic!("as a test") }));
    assert!(std::panic::catch_unwind(look).is_err());
    put(&db, b"g", b"a", b"1");
    assert_eq!(value(&db, b"g", b"a").as_deref(), Some(&b"1"[..]));
}

#[test]
#[should_panic(expected = "begun inside another")]
fn a_transaction_inside_a_transaction_says_so() {
    let place = Place::new();
    let db = place.create();
    let _ = db.read(|_| db.write(|tx| tx.put(T, b"g", b"a", b"1")));
}

#[test]
fn writers_who_wait_share_a_commit_and_fail_alone() {
    let place = Place::new();
    let db = place.create();
    let before = db.transaction().expect("open");
    const WRITERS: u8 = 40;
    let barrier = Barrier::new(usize::from(WRITERS) + 1);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| {
            db.write(|tx| {
                // Everybody else queues up while this transaction is open.
                barrier.wait();
                while db.writers_waiting() < usize::from(WRITERS) {
                    std::thread::yield_now();
                }
                tx.put(T, b"g", b"first", b"1")
            })
        });
        for n in 0..WRITERS {
            let (db, barrier) = (&db, &barrier);
            scope.spawn(move || {
                barrier.wait();
                let done: Result<(), StoreError> = db.write(|tx| {
                    tx.put(T, b"g", &[n], &[n])?;
                    match n % 4 {
                        0 => Err(StoreError::Missing { path: "x".into() }),
                        _ => Ok(()),
                    }
                });
                assert_eq!(done.is_err(), n % 4 == 0, "{n}");
            });
        }
        first.join().expect("no panic").expect("written");
    });
    let commits = db.transaction().expect("open") - before;
    assert!(commits < 5, "{commits} commits");
    db.close().expect("closed");
    let db = place.open().expect("opened");
    for n in 0..WRITERS {
        assert_eq!(value(&db, b"g", &[n]).is_some(), n % 4 != 0, "{n}");
    }
}

#[test]
fn a_closed_database_says_so() {
    let place = Place::new();
    let db = place.create();
    let other = db.clone();
    db.close().expect("closed");
    other.close().expect("closing twice is nothing");
    assert!(matches!(
        other.read(|tx| tx.value(T, b"", b"")),
        Err(StoreError::Closed { .. })
    ));
    let written = other.write(|tx| tx.put(T, b"", b"", b""));
    assert!(matches!(written, Err(StoreError::Closed { .. })));
}
