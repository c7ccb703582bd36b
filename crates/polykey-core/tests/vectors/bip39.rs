//! BIP39: the Trezor list, and what a recovery code stands for.

use bip39::{Language, Mnemonic};
use polykey_core::recovery::RecoveryCode;
use polykey_core::{Key, NodeId};

use crate::{hex, hex_of, json, list, text};

#[test]
fn words_and_seeds_of_the_trezor_list() {
    let data = json(include_str!("data/bip39.json"));
    let mut codes = 0;
    for case in list(&data, "cases") {
        let (entropy, words) = (hex(text(case, "entropy")), text(case, "words"));
        let mnemonic = Mnemonic::from_entropy_in(Language::English, &entropy).expect("an allowed length");
        assert_eq!(mnemonic.to_string(), words);
        let seed: [u8; 64] = hex_of(text(case, "seed"));
        assert_eq!(mnemonic.to_seed_normalized("TREZOR"), seed);

        // Our codes have 24 words; 12 are read too, 18 are not.
        let code = RecoveryCode::parse(words);
        assert_eq!(code.is_ok(), entropy.len() != 24, "{words}");
        if let Ok(code) = code {
            assert_eq!(code.words().expose(), words.as_bytes());
            codes += 1;
        }
        if let Some(entropy) = Key::copy_from(&entropy) {
            assert_eq!(
                RecoveryCode::from_entropy(&entropy).words().expose(),
                words.as_bytes()
            );
        }
    }
    assert_eq!(codes, 16);
}

/// The first seed is the well-known one of this code with no passphrase; all rows were computed by another
/// implementation (Python's `hashlib`, `hmac` and `cryptography`) and hold for ever: a code must always
/// give the same node.
#[test]
fn a_recovery_code_is_always_the_same_node() {
    let seed = "5eb00bbddcf069084889a8ab9155568165f5c453ccb85e70811aaed6f6da5fc1\
                9a5ac40b389cd370d086206dec8aa6c43daea6690f20ad3d8d48b2d2ce9e38e4";
    let first = format!("{}about", "abandon ".repeat(11));
    let mnemonic = Mnemonic::parse_in_normalized(Language::English, &first).expect("a good code");
    assert_eq!(mnemonic.to_seed_normalized(""), hex_of::<64>(seed));

    for (words, node, slot, recovery, code) in [
        (
            first.as_str(),
            "vols5s635ms4972nvg5gtaso0cib6ceoqk4439osmrhb6gqd2opl0",
            "309de5d5e933462b99bdb64c6ddbb8924fad22379a13d9c21babe3c532657a38",
            "vlsuad6cfb425ac3u7ip6tj34dc7jo6ns9pio40t9vkfbnqc7rsrg",
            "67a8422ac804b62d19653c2ba74d460a6ddfce94bbdb57dd0823ffaf1f63c5af",
        ),
        (
            &format!("{}art", "abandon ".repeat(23)),
            "v3nhl5p2cqcpme9cju8pkksoe305aua8dt2da2ra81nip9oqe55gg",
            "82159165ef1fee5c16c05e2a412a9b38219266e84a6c00ddde57f485cb92ab51",
            "vkarl2c0kmus8gcn3dag6fm20uaedq68c2vjd7ubpjsdf84tp96f0",
            "2054b8a96de67097f17a7ba454557c2f802f832091a45db82ddf4b1c10890e07",
        ),
        (
            "letter advice cage absurd amount doctor acoustic avoid letter advice cage absurd \
             amount doctor acoustic avoid letter advice cage absurd amount doctor acoustic bless",
            "vt27vbu3sg2eii8dv5rkbqegndlnscqsvi0hgi87h4hll8sm25g9g",
            "3da86d0f62ef98a66150dd4644a5f309ab7047d8391a668af41418e650aa11bd",
            "v7vhfflnf10mqe1l3nhn4f0uppkeoo6tt2hbl4h674re0cc0njrt0",
            "b59707e50cddb8be42e5c28f6fd853ebf87602b3c5261a1ec94212b3472b05bb",
        ),
    ] {
        let keys = RecoveryCode::parse(words).expect("a good code").keys();
        let id = |text: &str| text.parse::<NodeId>().expect("a node id");
        assert_eq!(keys.root.public(), id(node));
        assert_eq!(keys.recovery.public(), id(recovery));
        assert_eq!(keys.slot, Key::from_array(hex_of(slot)));
        assert_eq!(*keys.code.expose_seed(), Key::from_array(hex_of(code)));
    }
}
