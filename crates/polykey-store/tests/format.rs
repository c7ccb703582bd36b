//! The format does not change: the same writes make the same bytes, and old files stay readable.
//!
//! After a wanted change of the format: a new format number, a new pair of files beside the old ones, written
//! by running this test once with `POLYKEY_WRITE_VECTORS=1`.

mod common;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{Place, T, U, key, value};
use polykey_core::Random;
use polykey_store::{Database, StoreEnv};
use rusqlite::types::Value;

/// The same bytes every time: BLAKE3 of the number of the call.
#[derive(Default)]
struct Counter(AtomicU64);

impl Random for Counter {
    fn fill(&self, bytes: &mut [u8]) {
        let number = self.0.fetch_add(1, Ordering::SeqCst);
        let mut output = blake3::Hasher::new().update(&number.to_be_bytes()).finalize_xof();
        output.fill(bytes);
    }
}

fn vectors(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors")
        .join(name)
}

fn make(place: &Place) {
    let env = StoreEnv {
        random: Arc::new(Counter::default()),
        ..StoreEnv::default()
    };
    let db = Database::create(&place.path(), &key(), &env).expect("created");
    db.write(|tx| {
        tx.put(T, b"group", b"item", b"value")?;
        tx.put(T, b"group", b"", b"")?;
        tx.put(U, b"", b"long", &[0xab; 1000])
    })
    .expect("written");
    db.write(|tx| {
        tx.put(T, b"group", b"item", b"another value")?;
        tx.put(T, b"short-lived", b"x", b"y")
    })
    .expect("written");
    db.write(|tx| tx.remove(T, b"short-lived", b"x"))
        .expect("written");
    db.close().expect("closed");
}

/// All rows as text, one a line.
fn rows(place: &Place) -> String {
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    };
    let mut text = String::new();
    for (number, value) in place.state_rows() {
        writeln!(text, "state {number} {}", hex(&value)).expect("a String takes all");
    }
    for (key, (seal, value)) in place.rows() {
        let value = match value {
            Value::Blob(body) => hex(&body),
            Value::Integer(place) => format!("in content {place}"),
            other => panic!("{other:?}"),
        };
        writeln!(text, "record {} {} {value}", hex(&key), hex(&seal)).expect("a String takes all");
    }
    let conn = place.connection();
    let mut statement = conn.prepare("SELECT place, value FROM content").expect("SQL");
    let mut contents = statement.query([]).expect("SQL");
    while let Some(row) = contents.next().expect("a row") {
        let (place, body): (i64, Vec<u8>) = (row.get(0).expect("a place"), row.get(1).expect("a value"));
        writeln!(text, "content {place} {}", hex(&body)).expect("a String takes all");
    }
    text
}

#[test]
fn the_same_writes_make_the_same_rows() {
    let place = Place::new();
    make(&place);
    let rows = rows(&place);
    if std::env::var_os("POLYKEY_WRITE_VECTORS").is_some() {
        fs::create_dir_all(vectors("")).expect("made");
        fs::write(vectors("format-1.txt"), &rows).expect("written");
        fs::copy(place.path(), vectors("format-1.db")).expect("copied");
    }
    assert_eq!(rows, fs::read_to_string(vectors("format-1.txt")).expect("there"));
}

#[test]
fn a_file_of_format_1_is_read() {
    let place = Place::new();
    fs::copy(vectors("format-1.db"), place.path()).expect("copied");
    let db = place.open().expect("opened");
    assert_eq!(
        value(&db, b"group", b"item").as_deref(),
        Some(&b"another value"[..])
    );
    assert_eq!(value(&db, b"group", b"").as_deref(), Some(&b""[..]));
    assert_eq!(value(&db, b"short-lived", b"x"), None);
    let long = db
        .read(|tx| tx.value(U, b"", b"long"))
        .expect("readable")
        .expect("there");
    assert_eq!(long.expose(), [0xab; 1000]);
    let report = db.verify(|_| ()).expect("readable");
    assert!(report.is_whole() && report.records == 3, "{report:?}");
    db.write(|tx| tx.put(T, b"group", b"more", b"1"))
        .expect("written");
}

/// Follows the text of `docs/format.md` by hand, with nothing of the crate.
#[test]
fn the_rows_are_as_the_page_says() {
    use polykey_core::{aead, hash, kdf, label};
    let place = Place::new();
    make(&place);
    let (records, states) = (place.rows(), place.state_rows());
    let (id, check) = states[&0].split_at(16);
    let index_key = kdf::derive(&key(), label::STORE_INDEX, id);
    let state_key = kdf::derive(&key(), label::STORE_STATE, id);
    let record_key = kdf::derive(&key(), label::STORE_RECORD, id);
    assert_eq!(check, hash::keyed_hash(&state_key, label::STORE_KEY_CHECK, &[]));

    let group_key = &hash::keyed_hash(&index_key, label::STORE_GROUP, &[&[0, 1], b"group"])[..16];
    let item_key = &hash::keyed_hash(&index_key, label::STORE_ITEM, &[group_key, b"item"])[..16];
    let hidden = [group_key, item_key].concat();
    let (seal, Value::Blob(body)) = &records[&hidden] else {
        panic!("short values stand in the record");
    };
    let (nonce, tag) = seal.split_at(24);
    let sealed = [nonce, body, tag].concat();
    let plain = aead::open(&record_key, label::STORE_RECORD_AAD, &hidden, &sealed).expect("opens");
    let mut expected = b"another valueitem".to_vec();
    expected.resize(250, 0);
    expected.extend_from_slice(&[0, 4, 0, 0, 0, 13]);
    assert_eq!(plain.expose(), expected);

    let row = aead::open(
        &state_key,
        label::STORE_STATE_AAD,
        &3u64.to_be_bytes(),
        &states[&3],
    )
    .expect("opens");
    assert_eq!(row.expose()[0], 2);
    assert_eq!(
        row.expose()[1..33],
        hash::hash(label::STORE_CHAIN, &[&states[&2]])
    );
    let bucket = u16::from_be_bytes([hidden[0], hidden[1]]) >> 4;
    let entries: Vec<_> = row.expose()[35..]
        .chunks_exact(42)
        .take(usize::from(row.expose()[34]))
        .collect();
    let entry = entries
        .iter()
        .find(|entry| entry[..2] == bucket.to_be_bytes())
        .expect("there");
    assert_eq!(entry[2..10], 2u64.to_be_bytes());
    // The sum of two numbers, byte by byte.
    let mut sum = [0u8; 32];
    for (key, (seal, _)) in records.iter().filter(|(key, _)| key[..16] == *group_key) {
        let member = hash::keyed_hash(&state_key, label::STORE_MULTISET, &[key, seal]);
        let mut carry = 0;
        for (a, b) in sum.iter_mut().zip(member) {
            let digit = u16::from(*a) + u16::from(b) + carry;
            (*a, carry) = (digit as u8, digit >> 8);
        }
    }
    assert_eq!(entry[10..], sum);
}
