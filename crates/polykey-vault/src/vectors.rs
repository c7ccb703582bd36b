//! Frozen bytes: what leaves the process must never change its meaning.
//!
//! Each vector was written by this program once and is read by every later one. When one of these tests fails,
//! the format has changed, and old vaults would not open: that wants a new format version, not a new
//! vector.

use data_encoding::HEXLOWER;
use polykey_core::hash::hash;
use polykey_core::sign::SigningKey;
use polykey_core::{
    ActorId, Key, ObjectId, Random, SecretBytes, SecretPath, StatementId, Timestamp, VaultId, label,
};

use crate::attributes::AttributeChanges;
use crate::commit::{Body, Commit, Header};
use crate::content::{Content, Kind};
use crate::id::{CommitId, SecretId, VersionId};
use crate::line::line_of;
use crate::object::{Piece, open};
use crate::operation::{Operation, Subject};
use crate::record::{Field, FieldKind, Record};

/// Bytes that everybody can predict, for vectors alone.
struct Counting;

impl Random for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = at as u8;
        }
    }
}

fn commit() -> Commit {
    let signer = SigningKey::from_seed(&Key::from_array([1; 32]));
    let header = Header {
        vault: VaultId::from_bytes([2; 32]),
        actor: ActorId::from_bytes([3; 16]),
        seq: 2,
        previous: Some(CommitId::from_bytes([4; 32])),
        author: signer.public(),
        parents: vec![CommitId::from_bytes([4; 32]), CommitId::from_bytes([5; 32])],
        charter_heads: vec![StatementId::from_bytes([6; 32])],
        objects: vec![
            (ObjectId::from_bytes([7; 32]), 296),
            (ObjectId::from_bytes([8; 32]), 296),
        ],
    };
    let body = body();
    Commit::seal(header, &body, &Key::from_array([9; 32]), &signer, &Counting).expect("within bounds")
}

fn body() -> Body {
    let version = |commit, index| VersionId {
        commit: CommitId::from_bytes([commit; 32]),
        index,
    };
    let content = |kind| Content {
        kind,
        size: 7,
        digest: [10; 32],
        objects: 1,
    };
    let path = |text| SecretPath::parse(text).expect("a path");
    let mut changes = AttributeChanges::default();
    changes.set("note", Some("x")).expect("fits");
    changes.set("tag", None).expect("fits");
    let secret = |number| SecretId::from_bytes([number; 32]);
    Body {
        time: Timestamp::from_millis(1_700_000_000_000),
        message: "six things".into(),
        reset_to: Some(CommitId::from_bytes([11; 32])),
        operations: vec![
            Operation::Create {
                at: path("db/password"),
                content: content(Kind::Raw),
            },
            Operation::Put {
                secret: secret(12),
                replaces: vec![version(13, 0), version(14, 300)],
                content: content(Kind::Record),
            },
            Operation::Move {
                secret: secret(12),
                replaces: vec![version(13, 0)],
                to: path("caf\u{e9}"),
            },
            Operation::Remove {
                secret: secret(15),
                replaces: vec![],
            },
            Operation::MakeDirectory { at: path("empty") },
            Operation::SetAttributes {
                of: Subject::Made(0),
                changes: changes.clone(),
            },
            Operation::SetAttributes {
                of: Subject::Known(secret(12)),
                changes,
            },
        ],
        keys: vec![Key::from_array([16; 32]), Key::from_array([17; 32])],
    }
}

/// Names and values, one a line.
const FROZEN: &str = include_str!("../tests/vectors/vault.txt");

/// The frozen value called `what`.
fn frozen(what: &str) -> Vec<u8> {
    let line = FROZEN
        .lines()
        .find_map(|line| line.strip_prefix(what)?.strip_prefix(' '));
    let hex = line.unwrap_or_else(|| panic!("there is no vector {what:?}"));
    HEXLOWER.decode(hex.as_bytes()).expect("vectors are hex")
}

#[track_caller]
fn check(what: &str, have: &[u8]) {
    assert_eq!(HEXLOWER.encode(have), HEXLOWER.encode(&frozen(what)), "{what}");
}

#[test]
fn commits_are_frozen() {
    let commit = commit();
    check("commit-id", commit.id().as_bytes());
    check("commit-statement", commit.statement().as_bytes());
    check("commit-body", commit.sealed_body());
    let old = Commit::verify(frozen("commit-statement"), frozen("commit-body")).expect("valid");
    assert_eq!(old.header(), commit.header());
    assert_eq!(old.open(&Key::from_array([9; 32])).expect("its key"), body());
}

#[test]
fn objects_are_frozen() {
    let vault = VaultId::from_bytes([2; 32]);
    let mut piece = Piece::new(1000);
    piece.room()[..7].copy_from_slice(b"hunter2");
    piece.add(7);
    piece.pad_to(256);
    let (object, bytes) = piece.seal(&vault, 3, &Counting);
    check("object-id", object.id.as_bytes());
    check("object", bytes);
    let opened = open(&vault, 3, &object, frozen("object")).expect("its key");
    assert_eq!(&opened.plain()[..7], b"hunter2");
}

#[test]
fn names_are_frozen() {
    let made = VersionId {
        commit: CommitId::from_bytes([1; 32]),
        index: 258,
    };
    check("secret-id", SecretId::made_by(made).as_bytes());
    let author = SigningKey::from_seed(&Key::from_array([1; 32])).public();
    let line = line_of(&author, &ActorId::from_bytes([3; 16]));
    check("line", line.as_bytes());
    check("content-digest", &hash(label::CONTENT_DIGEST, &[b"hunter2"]));
}

#[test]
fn records_are_frozen() {
    let mut record = Record::default();
    for (kind, _, name) in FieldKind::ALL {
        let field = Field::new(name, *kind, SecretBytes::copy_from(b"v"));
        record.set(field.expect("fits")).expect("fits");
    }
    check("record", record.encode().expect("fits").expose());
    assert_eq!(Record::decode(&frozen("record")), Ok(record));
}
