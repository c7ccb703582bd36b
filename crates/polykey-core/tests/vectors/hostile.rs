//! Hostile input into every parser: never a panic, never accepted, never costly.

use polykey_core::codec::{self, Writer};
use polykey_core::genesis::SigchainStart;
use polykey_core::hash::hash;
use polykey_core::key_file::{KeyFile, KeyFileError};
use polykey_core::key_record::KeyRecord;
use polykey_core::password::Password;
use polykey_core::recovery::RecoveryCode;
use polykey_core::rotation::Rotation;
use polykey_core::sealing::{EncryptionKey, EncryptionPublic};
use polykey_core::sign;
use polykey_core::statement::{Kind, Statement};
use polykey_core::user_box;
use polykey_core::user_signature::UserSignature;
use polykey_core::{
    ActorId, Key, NodeId, ObjectId, SecretBytes, SecretPath, Segment, StatementId, VaultId, VaultName, aead,
    label,
};
use proptest::prelude::*;

use crate::{hex, json, text};

fn frozen(name: &str) -> Vec<u8> {
    hex(text(&json(include_str!("data/formats.json")), name))
}

fn encryption() -> EncryptionKey {
    EncryptionKey::from_seed(&Key::from_array([2; 32]))
}

/// Every format of bytes: its name, good bytes, and whether bytes are accepted as it.
type Format = (&'static str, Vec<u8>, fn(Vec<u8>) -> bool);

fn formats() -> Vec<Format> {
    vec![
        ("statement", frozen("statement, two signers"), |bytes| {
            Statement::verify(Kind::Claim, bytes).is_ok()
        }),
        ("key record", frozen("key record, number 1"), |bytes| {
            KeyRecord::verify(bytes).is_ok()
        }),
        ("sigchain start", frozen("sigchain start"), |bytes| {
            SigchainStart::verify(bytes).is_ok()
        }),
        ("rotation", frozen("rotation"), |bytes| {
            Rotation::verify(bytes).is_ok()
        }),
        ("key file", frozen("key file"), |bytes| {
            KeyFile::parse(&bytes).is_ok()
        }),
        ("symmetric box", frozen("symmetric box"), |bytes| {
            let key = Key::from_array([1; 32]);
            aead::open(&key, label::STORE_RECORD_AAD, b"context", &bytes).is_ok()
        }),
        ("sealed box", frozen("sealed box"), |bytes| {
            encryption().open(label::EPOCH_SEAL, b"context", &bytes).is_ok()
        }),
        ("user box", frozen("user box"), |bytes| {
            user_box::decrypt(&[&encryption()], &mut &bytes[..], &mut Vec::new()).is_ok()
        }),
    ]
}

#[test]
fn the_good_bytes_are_good() {
    for (name, good, accepted) in formats() {
        assert!(accepted(good), "{name}");
    }
}

/// How bytes are damaged.
#[derive(Debug, Clone)]
enum Damage {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Append(Vec<u8>),
    Remove(prop::sample::Index),
    Insert(prop::sample::Index, u8),
    Overwrite(prop::sample::Index, Vec<u8>),
}

impl Damage {
    fn apply(&self, good: &[u8]) -> Vec<u8> {
        let mut bytes = good.to_vec();
        match self {
            Damage::Flip(at, bits) => bytes[at.index(good.len())] ^= bits,
            Damage::Cut(at) => bytes.truncate(at.index(good.len())),
            Damage::Append(more) => bytes.extend_from_slice(more),
            Damage::Remove(at) => drop(bytes.remove(at.index(good.len()))),
            Damage::Insert(at, byte) => bytes.insert(at.index(good.len()), *byte),
            Damage::Overwrite(at, with) => {
                let at = at.index(good.len());
                let len = with.len().min(good.len() - at);
                bytes[at..at + len].copy_from_slice(&with[..len]);
            }
        }
        bytes
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<prop::sample::Index>;
    let some = prop::collection::vec(any::<u8>(), 1..40);
    prop_oneof![
        (at(), 1..=255u8).prop_map(|(at, bits)| Damage::Flip(at, bits)),
        at().prop_map(Damage::Cut),
        some.clone().prop_map(Damage::Append),
        at().prop_map(Damage::Remove),
        (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Insert(at, byte)),
        (at(), some).prop_map(|(at, with)| Damage::Overwrite(at, with)),
    ]
}

/// A CBOR item, to be written in the one deterministic way.
#[derive(Debug, Clone)]
enum Item {
    Number(u64),
    Bytes(Vec<u8>),
    Text(String),
    Bool(bool),
    Null,
    List(Vec<Item>),
    Map(std::collections::BTreeMap<u64, Item>),
}

impl Item {
    fn write(&self, writer: &mut Writer) {
        match self {
            Item::Number(value) => {
                writer.u64(*value);
            }
            Item::Bytes(value) => {
                writer.bytes(value);
            }
            Item::Text(value) => {
                writer.text(value);
            }
            Item::Bool(value) => {
                writer.bool(*value);
            }
            Item::Null => {
                writer.null();
            }
            Item::List(items) => {
                writer.array(items.len());
                items.iter().for_each(|item| item.write(writer));
            }
            Item::Map(pairs) => {
                writer.map(pairs.len());
                for (key, item) in pairs {
                    writer.u64(*key);
                    item.write(writer);
                }
            }
        }
    }
}

fn item() -> impl Strategy<Value = Item> {
    let leaf = prop_oneof![
        any::<u64>().prop_map(Item::Number),
        (0..600u64).prop_map(Item::Number),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Item::Bytes),
        any::<String>().prop_map(Item::Text),
        any::<bool>().prop_map(Item::Bool),
        Just(Item::Null),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Item::List),
            prop::collection::btree_map(0..400u64, inner, 0..6).prop_map(Item::Map),
        ]
    })
}

/// What the library's own decoder understands, written again in the shortest form.
fn written_again(bytes: &[u8]) -> Vec<u8> {
    let mut out = minicbor::Encoder::new(Vec::new());
    write_again(&mut minicbor::Decoder::new(bytes), &mut out).expect("accepted bytes are CBOR");
    out.into_writer()
}

fn write_again(
    from: &mut minicbor::Decoder,
    to: &mut minicbor::Encoder<Vec<u8>>,
) -> Result<(), Box<dyn std::error::Error>> {
    use minicbor::data::Type;
    let items = match from.datatype()? {
        Type::Bytes => {
            to.bytes(from.bytes()?)?;
            return Ok(());
        }
        Type::String => {
            to.str(from.str()?)?;
            return Ok(());
        }
        Type::Bool => {
            to.bool(from.bool()?)?;
            return Ok(());
        }
        Type::Null => {
            from.null()?;
            to.null()?;
            return Ok(());
        }
        Type::Array => {
            let len = from.array()?.ok_or("a definite length")?;
            to.array(len)?;
            len
        }
        Type::Map => {
            let len = from.map()?.ok_or("a definite length")?;
            to.map(len)?;
            2 * len
        }
        // All that is left are integers.
        _ => {
            to.int(from.int()?)?;
            return Ok(());
        }
    };
    for _ in 0..items {
        write_again(from, to)?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn damaged_bytes_are_never_accepted(damage in damage()) {
        for (name, good, accepted) in formats() {
            let bad = damage.apply(&good);
            if bad != good {
                prop_assert!(!accepted(bad), "{}", name);
            }
        }
    }

    #[test]
    fn doubly_damaged_bytes_are_never_accepted(first in damage(), second in damage()) {
        for (name, good, accepted) in formats() {
            let bad = first.apply(&good);
            let bad = if bad.is_empty() { bad } else { second.apply(&bad) };
            if bad != good {
                prop_assert!(!accepted(bad), "{}", name);
            }
        }
    }

    #[test]
    fn random_bytes_are_never_accepted(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        for (name, _, accepted) in formats() {
            prop_assert!(!accepted(bytes.clone()), "{}", name);
        }
        prop_assert!(EncryptionPublic::from_bytes(&bytes).is_err());
    }

    #[test]
    fn bytes_that_are_kept_unverified_do_not_panic(damage in damage()) {
        // Without signatures damage can go unnoticed; that is what the name warns of.
        let _ = KeyRecord::accept_unverified(damage.apply(&frozen("key record, number 1")));
        let _ = SigchainStart::accept_unverified(damage.apply(&frozen("sigchain start")));
        let _ = Rotation::accept_unverified(damage.apply(&frozen("rotation")));
    }

    #[test]
    fn every_written_item_is_deterministic(item in item()) {
        let mut writer = Writer::new();
        item.write(&mut writer);
        let bytes = writer.finish();
        prop_assert_eq!(codec::check(&bytes, usize::MAX), Ok(()));
        prop_assert_eq!(written_again(&bytes), bytes);
    }

    #[test]
    fn what_the_codec_accepts_has_one_spelling(item in item(), damage in damage()) {
        let mut writer = Writer::new();
        item.write(&mut writer);
        let bytes = damage.apply(&writer.finish());
        if codec::check(&bytes, usize::MAX).is_ok() {
            prop_assert_eq!(written_again(&bytes), bytes);
        }
    }

    #[test]
    fn random_bytes_do_not_upset_the_codec(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if codec::check(&bytes, usize::MAX).is_ok() {
            prop_assert_eq!(written_again(&bytes), bytes);
        }
    }

    #[test]
    fn a_text_that_parses_is_the_one_that_is_printed(text in "[vz]?[0-9a-zA-Z]{0,70}|\\PC{0,80}") {
        macro_rules! prints_as_parsed {
            ($($id:ty),*) => {
                $(if let Ok(id) = text.parse::<$id>() {
                    prop_assert_eq!(id.to_string(), text.as_str());
                })*
            };
        }
        prints_as_parsed!(NodeId, VaultId, StatementId, ObjectId, ActorId);
        if let Ok(segment) = Segment::parse(&text) {
            prop_assert_eq!(Segment::parse(&segment.to_string()), Ok(segment));
        }
        if let Ok(path) = text.parse::<SecretPath>() {
            prop_assert_eq!(path.to_string().parse::<SecretPath>(), Ok(path));
        }
        if let Ok(name) = text.parse::<VaultName>() {
            prop_assert_eq!(name.to_string().parse::<VaultName>(), Ok(name));
        }
        prop_assert!(RecoveryCode::parse(&text).is_err());
        prop_assert!(UserSignature::parse(&text).is_err());
        prop_assert!(Password::new(&text).is_ok());
    }

    #[test]
    fn words_of_the_list_are_rarely_a_code(words in prop::collection::vec("abandon|zoo|Able|ABOUT", 24)) {
        // The checksum of 24 words has 8 bits.
        if let Ok(code) = RecoveryCode::parse(&words.join(" ")) {
            let lower = words.join(" ").to_lowercase();
            prop_assert!(code.words() == SecretBytes::copy_from(lower.as_bytes()));
        }
    }

    #[test]
    fn random_signatures_are_invalid(
        signer: [u8; 32],
        signature in prop::collection::vec(any::<u8>(), 64),
        message in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let signature = signature.try_into().expect("64 bytes");
        prop_assert!(sign::verify(&NodeId::from_bytes(signer), &message, &signature).is_err());
    }
}

/// A well-formed key file with a right checksum that asks for this much work.
fn key_file_asking_for(passes: u64, memory_kib: u64) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.array(5).u64(1).bytes(&[0; 16]);
    writer.array(6).u64(1).bytes(&[0; 16]).u64(passes).u64(memory_kib);
    writer.bytes(&[0; 32]).bytes(&[0; 72]);
    writer
        .array(4)
        .u64(2)
        .bytes(&[0; 16])
        .bytes(&[0; 32])
        .bytes(&[0; 72]);
    writer.bytes(&[0; 32]);
    let mut bytes = writer.finish();
    let end = bytes.len() - 32;
    let checksum = hash(label::KEY_FILE_CHECKSUM, &[&bytes[..end - 2]]);
    bytes[end..].copy_from_slice(&checksum);
    bytes
}

#[test]
fn a_key_file_costs_nothing_before_its_parameters_are_checked() {
    assert!(KeyFile::parse(&key_file_asking_for(8, 2 << 20)).is_ok());
    // Only a parsed file can be unlocked, so what is refused here is never run.
    for (passes, memory_kib) in [
        (9, 8),
        (1, (2 << 20) + 1),
        (0, 8),
        (1, 7),
        (u32::MAX.into(), u32::MAX.into()),
    ] {
        let error = KeyFile::parse(&key_file_asking_for(passes, memory_kib)).expect_err("refused");
        assert!(
            matches!(error, KeyFileError::Cost(_)),
            "{passes} {memory_kib}: {error:?}"
        );
    }
    for (passes, memory_kib) in [(1 << 32, 8), (1, 1 << 32), (u64::MAX, u64::MAX)] {
        let error = KeyFile::parse(&key_file_asking_for(passes, memory_kib)).expect_err("refused");
        assert!(
            matches!(error, KeyFileError::Malformed(_)),
            "{passes} {memory_kib}: {error:?}"
        );
    }
}
