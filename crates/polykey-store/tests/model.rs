//! Random sequences of operations against a plain map, with reopening and crashes in between; and many
//! threads at once.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Place, T, U, key};
use polykey_store::{Database, StoreEnv, StoreError, Table};
use proptest::prelude::*;

type Model = BTreeMap<(Table, Vec<u8>, Vec<u8>), Vec<u8>>;

#[derive(Debug, Clone)]
enum Op {
    Put(u8, u8, u8, usize),
    Remove(u8, u8, u8),
    RemoveGroup(u8, u8),
}

#[derive(Debug, Clone)]
enum Step {
    /// One transaction; it fails at its end when the flag is not set.
    Write(Vec<Op>, bool),
    Close,
    Drop,
    /// The files as they are now, opened elsewhere: what a killed process leaves behind.
    Kill,
}

fn op() -> impl Strategy<Value = Op> {
    let len = prop_oneof![4 => 0..300usize, 2 => 300..5_000usize, 1 => 5_000..60_000usize];
    prop_oneof![
        5 => (0..2u8, 0..4u8, 0..6u8, len).prop_map(|(t, g, i, len)| Op::Put(t, g, i, len)),
        2 => (0..2u8, 0..4u8, 0..6u8).prop_map(|(t, g, i)| Op::Remove(t, g, i)),
        1 => (0..2u8, 0..4u8).prop_map(|(t, g)| Op::RemoveGroup(t, g)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (proptest::collection::vec(op(), 0..8), prop::bool::weighted(0.8))
            .prop_map(|(ops, keep)| Step::Write(ops, keep)),
        1 => Just(Step::Close),
        1 => Just(Step::Drop),
        1 => Just(Step::Kill),
    ]
}

fn table(n: u8) -> Table {
    [T, U][usize::from(n)]
}

/// Runs the transaction on both and compares every answer on the way.
fn write(db: &Database, model: &mut Model, ops: &[Op], keep: bool, round: usize) {
    let mut after = model.clone();
    let done: Result<(), StoreError> = db.write(|tx| {
        for op in ops {
            match *op {
                Op::Put(t, g, i, len) => {
                    let value = vec![round as u8; len];
                    tx.put(table(t), &[g], &[i], &value)?;
                    after.insert((table(t), vec![g], vec![i]), value);
                }
                Op::Remove(t, g, i) => {
                    let was = after.remove(&(table(t), vec![g], vec![i])).is_some();
                    assert_eq!(tx.remove(table(t), &[g], &[i])?, was);
                }
                Op::RemoveGroup(t, g) => {
                    let before = after.len();
                    after.retain(|(table_, group, _), _| (*table_, &group[..]) != (table(t), &[g][..]));
                    assert_eq!(tx.remove_group(table(t), &[g])?, before - after.len());
                }
            }
        }
        if keep {
            Ok(())
        } else {
            Err(StoreError::Missing { path: "x".into() })
        }
    });
    assert_eq!(done.is_ok(), keep);
    if keep {
        *model = after;
    }
}

fn compare(db: &Database, model: &Model) {
    db.read(|tx| {
        for (t, g) in (0..2).flat_map(|t| (0..4).map(move |g| (t, g))) {
            let found: Vec<_> = tx
                .group(table(t), &[g])?
                .into_iter()
                .map(|(item, value)| (item, value.expose().to_vec()))
                .collect();
            let expected: Vec<_> = model
                .iter()
                .filter(|((table_, group, _), _)| (*table_, &group[..]) == (table(t), &[g][..]))
                .map(|((_, _, item), value)| (item.clone(), value.clone()))
                .collect();
            assert_eq!(found, expected);
            for i in 0..6 {
                let expected = model.get(&(table(t), vec![g], vec![i]));
                assert_eq!(tx.contains(table(t), &[g], &[i])?, expected.is_some());
                let found = tx.value(table(t), &[g], &[i])?;
                assert_eq!(
                    found.as_ref().map(|value| value.expose()),
                    expected.map(|value| &value[..])
                );
            }
        }
        Ok::<(), StoreError>(())
    })
    .expect("readable");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn a_database_behaves_like_a_map(steps in proptest::collection::vec(step(), 1..30)) {
        let mut place = Place::new();
        let mut db = place.create();
        let mut model = Model::new();
        for (round, step) in steps.iter().enumerate() {
            match step {
                Step::Write(ops, keep) => write(&db, &mut model, ops, *keep, round),
                Step::Close => {
                    db.close().expect("closed");
                    db = place.open().expect("opened");
                }
                Step::Drop => {
                    drop(db);
                    db = place.open().expect("opened");
                }
                Step::Kill => {
                    let copy = Place::new();
                    for suffix in ["", "-wal"] {
                        let name = format!("test.db{suffix}");
                        let from = place.folder.path().join(&name);
                        if from.exists() {
                            fs::copy(from, copy.folder.path().join(&name)).expect("copied");
                        }
                    }
                    db = copy.open().expect("opened");
                    place = copy;
                }
            }
            compare(&db, &model);
        }
        let report = db.verify(|_| ()).expect("readable");
        prop_assert!(report.is_whole(), "{:?}", report);
        prop_assert_eq!(report.records, model.len() as u64);
    }
}

/// Writers keep two records of different groups equal; readers never see them differ, and no acknowledged
/// count is lost, whoever fails or panics in between.
#[test]
fn threads_at_once_see_whole_transactions() {
    let place = Place::new();
    let db = place.create();
    const THREADS: u8 = 6;
    const ROUNDS: u32 = 60;
    let done = AtomicBool::new(false);
    let count = |tx: &polykey_store::ReadTx<'_>, group: &[u8], thread: u8| -> Result<u32, StoreError> {
        let value = tx.value(T, group, &[thread])?;
        Ok(value.map_or(0, |value| {
            u32::from_be_bytes(value.expose().try_into().expect("4 bytes"))
        }))
    };
    std::thread::scope(|scope| {
        let (db, done, count) = (&db, &done, &count);
        for _ in 0..2 {
            scope.spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    for thread in 0..THREADS {
                        let pair = db.read(|tx| Ok((count(tx, b"one", thread)?, count(tx, b"two", thread)?)));
                        let (one, two) = pair.map_err(|e: StoreError| e).expect("readable");
                        assert_eq!(one, two);
                    }
                }
            });
        }
        let writers: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        let fails = (round + u32::from(thread)) % 7 == 0;
                        let run = std::panic::AssertUnwindSafe(|| {
                            db.write(|tx| -> Result<(), StoreError> {
                                let next = count(tx, b"one", thread)? + 1;
                                tx.put(T, b"one", &[thread], &next.to_be_bytes())?;
                                assert!(!fails || round % 2 == 0, "a panic now and then");
                                if fails {
                                    return Err(StoreError::Missing { path: "x".into() });
                                }
                                tx.put(T, b"two", &[thread], &next.to_be_bytes())
                            })
                        });
                        let result = std::panic::catch_unwind(run);
                        assert_eq!(matches!(result, Ok(Ok(()))), !fails);
                    }
                })
            })
            .collect();
        let ended: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        done.store(true, Ordering::SeqCst);
        assert!(ended.iter().all(Result::is_ok));
    });
    drop(db);
    let db = Database::open(&place.path(), &key(), &StoreEnv::default()).expect("opened");
    for thread in 0..THREADS {
        let expected = (0..ROUNDS)
            .filter(|round| (round + u32::from(thread)) % 7 != 0)
            .count();
        let found = db.read(|tx| count(tx, b"two", thread)).expect("readable");
        assert_eq!(found as usize, expected, "thread {thread}");
    }
}
