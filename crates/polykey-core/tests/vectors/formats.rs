//! Our own formats: what this code makes from fixed keys and fixed chance, frozen byte for byte.
//!
//! Whoever changes a byte here changes what lies on users' disks. Old bytes stay in the file and must stay
//! readable; a new version gets new rows.

use polykey_core::codec::Writer;
use polykey_core::genesis::SigchainStart;
use polykey_core::hash::hash;
use polykey_core::key_file::KeyFile;
use polykey_core::key_record::KeyRecord;
use polykey_core::password::{Level, Limits, Password};
use polykey_core::recovery::{RecoveryCode, RecoveryKeys};
use polykey_core::rotation::Rotation;
use polykey_core::sealing::{EncryptionKey, seal_to};
use polykey_core::sign::SigningKey;
use polykey_core::statement::{Kind, Statement};
use polykey_core::user_box;
use polykey_core::user_signature::{ContentHash, UserSignature};
use polykey_core::{ActorId, Key, NodeId, ObjectId, StatementId, Timestamp, VaultId, aead, kdf, label};

use crate::{Fixed, hex, json, text};

fn data() -> serde_json::Value {
    json(include_str!("data/formats.json"))
}

fn hex_text(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// Bytes 0, 1, 2, ... as the source of chance.
fn chance() -> Fixed {
    Fixed::new(&(0..=255).collect::<Vec<u8>>())
}

fn key(byte: u8) -> Key {
    Key::from_array([byte; 32])
}

fn node(byte: u8) -> SigningKey {
    SigningKey::from_seed(&key(byte))
}

fn recovery() -> RecoveryKeys {
    RecoveryCode::from_entropy(&key(0)).keys()
}

fn encryption() -> EncryptionKey {
    EncryptionKey::from_seed(&key(2))
}

fn password() -> Password {
    Password::new("correct horse battery staple").expect("short")
}

fn payload() -> Vec<u8> {
    let mut writer = Writer::new();
    writer.map(2).u64(0).text("hello").u64(1).bytes(&[7; 4]);
    writer.finish()
}

fn first_record() -> KeyRecord {
    KeyRecord::first(&recovery().root, encryption().public())
}

fn user_box() -> Vec<u8> {
    let mut sealed = Vec::new();
    user_box::encrypt(&encryption().public(), &mut &b"hello"[..], &mut sealed, &chance())
        .expect("memory does not fail");
    sealed
}

fn check(name: &str, made: &str) {
    let data = data();
    let frozen = data[name].as_str().unwrap_or("nothing");
    assert_eq!(made, frozen, "{name}");
}

#[test]
fn statements() {
    let one = Statement::sign(Kind::Claim, &payload(), &[&node(1)]);
    let two = Statement::sign(Kind::Claim, &payload(), &[&node(1), &node(2)]);
    check("statement, payload", &hex_text(&payload()));
    check("statement, id", &one.id().to_string());
    check("statement, one signer", &hex_text(one.as_bytes()));
    check("statement, two signers", &hex_text(two.as_bytes()));
    for name in ["statement, one signer", "statement, two signers"] {
        let read = Statement::verify(Kind::Claim, hex(text(&data(), name))).expect("frozen bytes verify");
        assert_eq!(read.payload(), payload());
    }
}

#[test]
fn key_records() {
    let first = first_record();
    let second = first.next(&recovery().root, EncryptionKey::from_seed(&key(3)).public());
    check("key record, number 0", &hex_text(first.as_bytes()));
    check("key record, number 1", &hex_text(second.as_bytes()));
    let read = |name| KeyRecord::verify(hex(text(&data(), name))).expect("frozen bytes verify");
    assert!(read("key record, number 1").follows(&read("key record, number 0")));
}

#[test]
fn sigchain_start() {
    let recovery = recovery();
    let made = SigchainStart::sign(
        &recovery.root,
        &recovery,
        &first_record(),
        Timestamp::from_millis(1_800_000_000_000),
    );
    check("sigchain start", &hex_text(made.as_bytes()));
    let read = SigchainStart::verify(hex(text(&data(), "sigchain start"))).expect("frozen bytes verify");
    assert_eq!(read.key_record(), first_record().id());
    assert_eq!(read.created().as_millis(), 1_800_000_000_000);
}

fn rotation() -> Rotation {
    let recovery = recovery();
    let place = (3, StatementId::from_bytes([9; 32]));
    let created = Timestamp::from_millis(1_800_000_000_000);
    Rotation::sign(
        &recovery.root,
        &recovery.recovery,
        place,
        created,
        node(3).public(),
        node(4).public(),
    )
    .expect("four keys")
}

#[test]
fn rotations() {
    check("rotation", &hex_text(rotation().as_bytes()));
    let read = Rotation::verify(hex(text(&data(), "rotation"))).expect("frozen bytes verify");
    assert_eq!(read.successor(), node(3).public());
}

#[test]
fn key_file() {
    let limits = Limits::named(Level::Min, Level::Min);
    let (made, master) =
        KeyFile::create(&password(), &recovery(), limits, &chance()).expect("8 KiB are there");
    check("key file", &hex_text(&made.encode()));
    let derived = master.derive(label::MASTER_DATABASE, b"context");
    let read = KeyFile::parse(&hex(text(&data(), "key file"))).expect("frozen bytes parse");
    for opened in [read.unlock_password(&password()), read.unlock_code(&recovery())] {
        let opened = opened.expect("frozen bytes open");
        assert_eq!(opened.derive(label::MASTER_DATABASE, b"context"), derived);
    }
    // The master key is the first 32 bytes of chance.
    let first: [u8; 32] = std::array::from_fn(|at| at as u8);
    assert_eq!(
        derived,
        kdf::derive(&Key::from_array(first), label::MASTER_DATABASE, b"context")
    );
}

#[test]
fn boxes() {
    let sealed = aead::seal(&key(1), label::STORE_RECORD_AAD, b"context", b"hello", &chance());
    check("symmetric box", &hex_text(&sealed));
    let plain = aead::open(
        &key(1),
        label::STORE_RECORD_AAD,
        b"context",
        &hex(text(&data(), "symmetric box")),
    );
    assert_eq!(plain.expect("frozen bytes open").expose(), b"hello");

    let sealed = seal_to(
        &encryption().public(),
        label::EPOCH_SEAL,
        b"context",
        b"hello",
        &chance(),
    );
    check("sealed box", &hex_text(&sealed));
    let plain = encryption().open(label::EPOCH_SEAL, b"context", &hex(text(&data(), "sealed box")));
    assert_eq!(plain.expect("frozen bytes open").expose(), b"hello");
}

#[test]
fn derivations() {
    check(
        "derived key",
        &hex_text(kdf::derive(&key(1), label::COMMIT_KEY, b"context").expose()),
    );
    check("hash", &hex_text(&hash(label::OBJECT, &[b"hello"])));
}

#[test]
fn what_users_make() {
    let made = UserSignature::sign(&node(1), &ContentHash::of(b"hello"));
    check("user signature", &made.to_string());
    let read = UserSignature::parse(text(&data(), "user signature")).expect("frozen text verifies");
    assert!(read.covers(&node(1).public(), &ContentHash::of(b"hello")));

    check("user box", &hex_text(&user_box()));
    let mut plain = Vec::new();
    let sealed = hex(text(&data(), "user box"));
    user_box::decrypt(&[&encryption()], &mut &sealed[..], &mut plain).expect("frozen bytes open");
    assert_eq!(plain, b"hello");
}

#[test]
fn ids() {
    let bytes: [u8; 32] = std::array::from_fn(|at| (at * 8 + 1) as u8);
    check("node id", &NodeId::from_bytes(bytes).to_string());
    check("vault id", &VaultId::from_bytes(bytes).to_string());
    check("vault id of zeros", &VaultId::from_bytes([0; 32]).to_string());
    check("statement id", &StatementId::from_bytes(bytes).to_string());
    check("object id", &ObjectId::from_bytes(bytes).to_string());
    check("actor id", &ActorId::from_bytes([0xab; 16]).to_string());
}
