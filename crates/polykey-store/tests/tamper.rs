//! Whoever changes the file behind our back is found out: an error, never wrong data.

mod common;

use std::collections::BTreeSet;

use common::{Place, T, body, key, put, try_value, value};
use polykey_store::{Damage, Database, StoreEnv, StoreError};

/// Item `a` of group `g` was "old" and is "new"; `b` stands beside it, in the same bucket; group `far` is in
/// another one.
struct Scene {
    place: Place,
    old_rows: common::Rows,
    new_rows: common::Rows,
    old_state: std::collections::BTreeMap<i64, Vec<u8>>,
}

impl Scene {
    fn new() -> Self {
        // Keys are chance, and so are the buckets: one in 4096 scenes has both groups in one.
        loop {
            let scene = Scene::of_chance();
            let buckets = scene.new_rows.keys().map(|key| bucket_of(key));
            if buckets.collect::<BTreeSet<u16>>().len() == 2 {
                return scene;
            }
        }
    }

    fn of_chance() -> Self {
        let place = Place::new();
        let db = place.create();
        put(&db, b"far", b"a", b"far");
        put(&db, b"g", b"b", b"beside");
        put(&db, b"g", b"a", b"old");
        db.close().expect("closed");
        let (old_rows, old_state) = (place.rows(), place.state_rows());
        put(&place.open().expect("opened"), b"g", b"a", b"new");
        Scene {
            old_rows,
            new_rows: place.rows(),
            old_state,
            place,
        }
    }

    /// The hidden key of item `a`: the one whose row changed.
    fn key_of_a(&self) -> Vec<u8> {
        let changed = self
            .new_rows
            .iter()
            .find(|(key, row)| self.old_rows[*key] != **row);
        changed.expect("one changed").0.clone()
    }

    /// The hidden key of item `b`: the other one with the same front half.
    fn key_of_b(&self) -> Vec<u8> {
        let a = self.key_of_a();
        let beside = self
            .new_rows
            .keys()
            .find(|key| key[..16] == a[..16] && **key != a);
        beside.expect("one beside").clone()
    }

    /// Every question about group `g` is answered by the same damage, and the rest goes on.
    #[track_caller]
    fn check_bucket_damaged(&self) {
        let db = self.place.open().expect("opened");
        let bucket = bucket_of(&self.key_of_a());
        let check = |result: Result<(), StoreError>| match result {
            Err(StoreError::Damaged { damage, .. }) => assert_eq!(damage, Damage::Bucket { bucket }),
            other => panic!("{other:?}"),
        };
        for item in [&b"a"[..], b"b", b"never there"] {
            check(try_value(&db, b"g", item).map(drop));
            check(db.read(|tx| tx.contains(T, b"g", item)).map(drop));
            check(db.write(|tx| tx.remove(T, b"g", item)).map(drop));
        }
        check(db.read(|tx| tx.group(T, b"g")).map(drop));
        check(db.write(|tx| tx.put(T, b"g", b"c", b"x")));
        check(db.write(|tx| tx.remove_group(T, b"g")).map(drop));
        assert_eq!(value(&db, b"far", b"a").as_deref(), Some(&b"far"[..]));
        put(&db, b"far", b"b", b"still works");
    }

    #[track_caller]
    fn check_state_damaged(&self) {
        match self.place.open() {
            Err(StoreError::Damaged {
                damage: Damage::State { .. },
                ..
            }) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// The bucket of a hidden key: its first 12 bits.
fn bucket_of(key: &[u8]) -> u16 {
    u16::from_be_bytes([key[0], key[1]]) >> 4
}

#[test]
fn an_untouched_file_opens() {
    let scene = Scene::new();
    let db = scene.place.open().expect("opened");
    assert_eq!(value(&db, b"g", b"a").as_deref(), Some(&b"new"[..]));
    assert_eq!(value(&db, b"g", b"never there"), None);
}

#[test]
fn a_deleted_record_is_noticed() {
    let scene = Scene::new();
    let rest = scene.place.connection();
    rest.execute("DELETE FROM record WHERE key = ?1", [scene.key_of_a()])
        .expect("SQL");
    drop(rest);
    scene.check_bucket_damaged();
}

#[test]
fn a_record_that_was_put_back_is_noticed() {
    let scene = Scene::new();
    let a = scene.key_of_a();
    scene.place.set(&a, &scene.old_rows[&a]);
    scene.check_bucket_damaged();
}

#[test]
fn swapped_records_are_noticed() {
    let scene = Scene::new();
    let (a, b) = (scene.key_of_a(), scene.key_of_b());
    scene.place.set(&a, &scene.new_rows[&b]);
    scene.place.set(&b, &scene.new_rows[&a]);
    scene.check_bucket_damaged();
}

#[test]
fn a_removed_record_that_came_back_is_noticed() {
    let scene = Scene::new();
    let a = scene.key_of_a();
    let db = scene.place.open().expect("opened");
    db.write(|tx| tx.remove(T, b"g", b"a")).expect("written");
    db.close().expect("closed");
    scene.place.set(&a, &scene.new_rows[&a]);
    scene.check_bucket_damaged();
}

#[test]
fn a_record_under_a_foreign_key_is_noticed() {
    let scene = Scene::new();
    let (mut foreign, mut long) = (scene.key_of_a(), scene.key_of_a());
    foreign[31] ^= 1;
    long.push(0);
    for key in [foreign, long, scene.key_of_a()[..31].to_vec()] {
        let scene = Scene::new();
        let mut key = key;
        let a = scene.key_of_a();
        let front = key.len().min(16);
        key[..front].copy_from_slice(&a[..front]);
        scene.place.set(&key, &scene.new_rows[&a]);
        scene.check_bucket_damaged();
    }
}

#[test]
fn a_changed_seal_is_noticed() {
    let scene = Scene::new();
    let a = scene.key_of_a();
    for (at, len) in [(0, 40), (39, 40), (0, 0), (0, 39), (0, 41)] {
        let mut row = scene.new_rows[&a].clone();
        row.0.resize(len, 0);
        if let Some(byte) = row.0.get_mut(at) {
            *byte ^= 1;
        }
        scene.place.set(&a, &row);
        scene.check_bucket_damaged();
    }
}

#[test]
fn a_changed_value_is_an_error_of_that_record_alone() {
    let changes: [fn(&mut Vec<u8>); 4] = [
        |body| body[0] ^= 1,
        |body| body.push(0),
        |body| body.truncate(body.len() - 1),
        |body| body.clear(),
    ];
    for change in changes {
        let scene = Scene::new();
        let a = scene.key_of_a();
        let mut row = scene.new_rows[&a].clone();
        change(body(&mut row));
        scene.place.set(&a, &row);
        let db = scene.place.open().expect("opened");
        match try_value(&db, b"g", b"a") {
            Err(StoreError::Damaged {
                damage: Damage::Record { key },
                ..
            }) => assert!(key.starts_with(&format!("{:02x}{:02x}", a[0], a[1])), "{key}"),
            other => panic!("{other:?}"),
        }
        assert!(db.read(|tx| tx.group(T, b"g")).is_err());
        assert_eq!(value(&db, b"g", b"b").as_deref(), Some(&b"beside"[..]));
        // What is damaged can be written anew.
        put(&db, b"g", b"a", b"again");
        assert_eq!(value(&db, b"g", b"a").as_deref(), Some(&b"again"[..]));
    }
}

#[test]
fn the_state_log_cannot_be_put_back_alone() {
    let scene = Scene::new();
    let newest = *scene.place.state_rows().keys().max().expect("rows");
    assert!(!scene.old_state.contains_key(&newest));
    scene
        .place
        .sql(&format!("DELETE FROM state WHERE number = {newest}"));
    scene.check_bucket_damaged();
}

#[test]
fn the_state_log_has_no_gaps_and_no_foreign_rows() {
    let numbers: Vec<i64> = Scene::new().place.state_rows().into_keys().collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5]);
    // All but the last: without that one the log is an older one, as in the test above.
    for number in &numbers[..5] {
        let scene = Scene::new();
        scene
            .place
            .sql(&format!("DELETE FROM state WHERE number = {number}"));
        scene.check_state_damaged();
    }
    for number in numbers[1..].iter().copied() {
        let (scene, other) = (Scene::new(), Scene::new());
        scene.place.set_state(number, &other.place.state_rows()[&number]);
        scene.check_state_damaged();
        let scene = Scene::new();
        let mut row = scene.place.state_rows()[&number].clone();
        *row.last_mut().expect("not empty") ^= 1;
        scene.place.set_state(number, &row);
        scene.check_state_damaged();
    }
    let scene = Scene::new();
    for value in [vec![], vec![0; 100], vec![0; 2 << 20]] {
        scene.place.set_state(6, &value);
        scene.check_state_damaged();
    }
    scene.place.sql("DELETE FROM state");
    scene.check_state_damaged();
}

#[test]
fn a_row_of_the_log_from_a_restored_line_of_history_is_noticed() {
    // The same database goes on twice from one state.
    let twice = || {
        let (scene, copy) = (Scene::new(), Place::new());
        std::fs::copy(scene.place.path(), copy.path()).expect("copied");
        put(&scene.place.open().expect("opened"), b"g", b"a", b"one");
        put(&copy.open().expect("opened"), b"g", b"a", b"two");
        (scene, copy)
    };
    // As the last row it passes, but not with the records of this line.
    let (scene, copy) = twice();
    scene.place.set_state(6, &copy.state_rows()[&6]);
    scene.check_bucket_damaged();
    // Before another row it does not.
    let (scene, copy) = twice();
    put(&scene.place.open().expect("opened"), b"g", b"b", b"one");
    scene.place.set_state(6, &copy.state_rows()[&6]);
    scene.check_state_damaged();
}

#[test]
fn records_of_another_database_with_the_same_key_do_not_fit() {
    let (scene, other) = (Scene::new(), Scene::new());
    assert!(scene.new_rows.keys().all(|key| !other.new_rows.contains_key(key)));
    scene
        .place
        .set(&scene.key_of_a(), &other.new_rows[&other.key_of_a()]);
    scene.check_bucket_damaged();
}

#[test]
fn a_wrong_key_says_so() {
    let scene = Scene::new();
    let wrong = polykey_core::Key::from_array([8; 32]);
    let error = Database::open(&scene.place.path(), &wrong, &StoreEnv::default());
    assert!(matches!(error, Err(StoreError::WrongKey { .. })));
    assert_ne!(wrong, key());
}

#[test]
fn foreign_tables_triggers_and_views_are_refused() {
    for sql in [
        "CREATE TABLE more(x)",
        "CREATE INDEX i ON record(seal)",
        "CREATE VIEW v AS SELECT 1",
        "CREATE TRIGGER t AFTER INSERT ON record BEGIN DELETE FROM record; END",
        "DROP TABLE record",
        "DROP TABLE record; CREATE TABLE record(key, seal, value)",
        "DROP TABLE record; CREATE VIEW record AS SELECT number AS key, value AS seal, value FROM state",
        "ALTER TABLE state ADD COLUMN x BLOB",
    ] {
        let scene = Scene::new();
        scene.place.sql(sql);
        match scene.place.open() {
            Err(StoreError::Damaged {
                damage: Damage::Schema,
                ..
            }) => {}
            other => panic!("{sql}: {other:?}"),
        }
    }
}

#[test]
fn newer_and_foreign_formats_are_told_apart() {
    let scene = Scene::new();
    scene.place.sql("PRAGMA user_version = 2");
    let error = scene.place.open().expect_err("newer");
    assert!(
        matches!(
            error,
            StoreError::NewerFormat {
                found: 2,
                known: 1,
                ..
            }
        ),
        "{error}"
    );
    for sql in [
        "PRAGMA user_version = 0",
        "PRAGMA user_version = 1; PRAGMA application_id = 7",
    ] {
        scene.place.sql(sql);
        let error = scene.place.open().expect_err("foreign");
        assert!(matches!(error, StoreError::NotADatabase { .. }), "{error}");
    }
}

#[test]
fn long_values_cannot_be_exchanged_either() {
    let contents = |place: &Place| -> Vec<(i64, Vec<u8>)> {
        let conn = place.connection();
        let mut statement = conn.prepare("SELECT place, value FROM content").expect("SQL");
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        rows.expect("rows").map(|row| row.expect("a row")).collect()
    };
    let place = Place::new();
    let db = place.create();
    put(&db, b"g", b"a", &[1; 3000]);
    db.close().expect("closed");
    let old = contents(&place)[0].clone();
    let db = place.open().expect("opened");
    put(&db, b"g", b"a", &[2; 3000]);
    put(&db, b"h", b"b", &[3; 3000]);
    db.close().expect("closed");
    let now = contents(&place);
    assert_eq!(now.len(), 2);
    let (a, b) = (now[0].0, now[1].0);
    let whole = std::fs::read(place.path()).expect("read");
    let hex: String = old.1.iter().map(|byte| format!("{byte:02x}")).collect();
    for sql in [
        format!("UPDATE content SET value = x'{hex}' WHERE place = {a}"),
        format!("UPDATE content SET value = (SELECT value FROM content WHERE place = {b}) WHERE place = {a}"),
        format!("UPDATE content SET value = substr(value, 2) WHERE place = {a}"),
        format!("UPDATE content SET value = x'' WHERE place = {a}"),
        format!("DELETE FROM content WHERE place = {a}"),
        format!("UPDATE content SET place = 77 WHERE place = {a}"),
        format!("UPDATE record SET value = {b} WHERE value = {a}"),
        format!("UPDATE record SET value = -1 WHERE value = {a}"),
        format!("UPDATE record SET value = 'text' WHERE value = {a}"),
        format!("UPDATE record SET value = 1.5 WHERE value = {a}"),
        format!("UPDATE record SET value = x'00' WHERE value = {a}"),
    ] {
        std::fs::write(place.path(), &whole).expect("written");
        place.sql(&sql);
        let db = place.open().expect("opened");
        match try_value(&db, b"g", b"a") {
            Err(StoreError::Damaged {
                damage: Damage::Record { .. },
                ..
            }) => {}
            other => panic!("{sql}: {other:?}"),
        }
        assert!(db.read(|tx| tx.group(T, b"g")).is_err(), "{sql}");
        assert!(!db.verify(|_| ()).expect("readable").is_whole(), "{sql}");
        assert_eq!(value(&db, b"h", b"b"), Some(vec![3; 3000]), "{sql}");
        db.close().expect("closed");
    }
}

#[test]
fn the_full_check_names_what_is_damaged() {
    let check = |place: &Place| place.open().expect("opened").verify(|_| ()).expect("readable");
    let scene = Scene::new();
    let mut steps = 0;
    let report = scene
        .place
        .open()
        .expect("opened")
        .verify(|_| steps += 1)
        .expect("readable");
    assert!(report.is_whole());
    assert_eq!((report.records, steps), (3, 4096));

    let a = scene.key_of_a();
    let bucket = Damage::Bucket {
        bucket: u16::from_be_bytes([a[0], a[1]]) >> 4,
    };
    let mut row = scene.new_rows[&a].clone();
    body(&mut row)[7] ^= 1;
    scene.place.set(&a, &row);
    let report = check(&scene.place);
    assert!(
        matches!(&report.damages[..], [Damage::Record { .. }]),
        "{report:?}"
    );
    assert_eq!(report.records, 2);

    scene.place.set(&a, &scene.old_rows[&a]);
    assert_eq!(check(&scene.place).damages, std::slice::from_ref(&bucket));

    // A record in the place of another does not open, and its bucket is not what it was.
    scene.place.set(&a, &scene.new_rows[&scene.key_of_b()]);
    let report = check(&scene.place);
    assert_eq!(report.damages.len(), 2, "{report:?}");
    assert!(report.damages.contains(&bucket));
}
