//! Project Wycheproof: every primitive that it covers and we use.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use hkdf::Hkdf;
use ml_kem::kem::{Decapsulate, KeyExport, TryKeyInit};
use ml_kem::{FromSeed, MlKem768, ml_kem_768};
use polykey_core::aead::{open_in_place, seal_in_place};
use polykey_core::{Key, NodeId, sign};
use wycheproof::TestResult;

/// Runs `check` on every test; the number of them that must fail and of all.
macro_rules! each {
    ($module:ident, $name:ident, $check:expr) => {{
        let set = wycheproof::$module::TestSet::load(wycheproof::$module::TestName::$name)
            .expect("the crate holds the set");
        let mut count = 0;
        for group in &set.test_groups {
            for test in &group.tests {
                $check(group, test);
                count += 1;
            }
        }
        assert!(count > 0);
        count
    }};
}

fn bytes<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

#[test]
fn xchacha20_poly1305() {
    use wycheproof::aead::{Test, TestGroup};
    let count = each!(aead, XChaCha20Poly1305, |_: &TestGroup, test: &Test| {
        let valid = test.result == TestResult::Valid;
        let key = Key::copy_from(&test.key).expect("all keys have 32 bytes");
        let Some(nonce) = bytes::<24>(&test.nonce) else {
            assert!(!valid, "test {}", test.tc_id);
            return;
        };
        let mut sealed = [&test.ct[..], &test.tag].concat();
        let opened = open_in_place(&key, &nonce, &test.aad, &mut sealed);
        assert_eq!(opened.is_ok(), valid, "test {}", test.tc_id);
        if valid {
            assert_eq!(&sealed[..test.pt.len()], &test.pt[..]);
            let mut body = test.pt.to_vec();
            let tag = seal_in_place(&key, &nonce, &test.aad, &mut body);
            assert_eq!((&body[..], &tag[..]), (&test.ct[..], &test.tag[..]));
        }
    });
    assert!(count > 250);
}

/// The cipher inside, and the one that HPKE names.
#[test]
fn chacha20_poly1305() {
    use wycheproof::aead::{Test, TestGroup};
    let count = each!(aead, ChaCha20Poly1305, |_: &TestGroup, test: &Test| {
        let valid = test.result == TestResult::Valid;
        let unbound = UnboundKey::new(&CHACHA20_POLY1305, &test.key).expect("all keys have 32 bytes");
        let Ok(nonce) = Nonce::try_assume_unique_for_key(&test.nonce) else {
            assert!(!valid, "test {}", test.tc_id);
            return;
        };
        let mut sealed = [&test.ct[..], &test.tag].concat();
        let opened = LessSafeKey::new(unbound)
            .open_in_place(nonce, Aad::from(&test.aad[..]), &mut sealed)
            .map(|plain| plain.to_vec());
        assert_eq!(opened.is_ok(), valid, "test {}", test.tc_id);
        if let Ok(plain) = opened {
            assert_eq!(plain, test.pt.to_vec());
        }
    });
    assert!(count > 250);
}

/// Strict verification refuses nothing that Wycheproof calls valid.
#[test]
fn ed25519() {
    use wycheproof::eddsa::{Test, TestGroup};
    let count = each!(eddsa, Ed25519, |group: &TestGroup, test: &Test| {
        let valid = test.result == TestResult::Valid;
        let signer = NodeId::from_bytes(bytes(&group.key.pk).expect("all keys have 32 bytes"));
        let accepted = bytes(&test.sig).is_some_and(|sig| sign::verify(&signer, &test.msg, &sig).is_ok());
        assert_ne!(test.result, TestResult::Acceptable, "test {}", test.tc_id);
        assert_eq!(accepted, valid, "test {}: {}", test.tc_id, test.comment);
    });
    assert_eq!(count, 151);
}

#[test]
fn hkdf_sha_256() {
    use wycheproof::hkdf::{Test, TestGroup};
    each!(hkdf, HkdfSha256, |_: &TestGroup, test: &Test| {
        let mut okm = vec![0; test.size];
        let made = Hkdf::<sha2::Sha256>::new(Some(&test.salt[..]), &test.ikm).expand(&test.info, &mut okm);
        assert_eq!(made.is_ok(), !test.result.must_fail(), "test {}", test.tc_id);
        if made.is_ok() {
            assert_eq!(okm, test.okm.to_vec(), "test {}", test.tc_id);
        }
    });
}

/// The classical half of X-Wing. X-Wing takes shared secrets as they come, an all-zero one too, since
/// its security rests on the other half then.
#[test]
fn x25519() {
    use wycheproof::xdh::{Test, TestGroup};
    each!(xdh, X25519, |_: &TestGroup, test: &Test| {
        let private = bytes::<32>(&test.private_key).expect("all private keys have 32 bytes");
        let Some(public) = bytes::<32>(&test.public_key) else {
            assert!(test.result.must_fail(), "test {}", test.tc_id);
            return;
        };
        let private = x25519_dalek::StaticSecret::from(private);
        let shared = private.diffie_hellman(&x25519_dalek::PublicKey::from(public));
        assert_eq!(
            &shared.as_bytes()[..],
            &test.shared_secret[..],
            "test {}",
            test.tc_id
        );
    });
}

/// The post-quantum half of X-Wing: keys from seeds and decapsulation.
#[test]
fn ml_kem_768() {
    use wycheproof::mlkem::{Test, TestGroup};
    each!(mlkem, MlKem768, |_: &TestGroup, test: &Test| {
        let invalid = test.result.must_fail();
        let seed = test.seed.as_ref().and_then(|seed| bytes::<64>(seed));
        let ct = test.ct.as_ref().and_then(|ct| bytes::<1088>(ct));
        let (Some(seed), Some(ct)) = (seed, ct) else {
            assert!(invalid, "test {}", test.tc_id);
            return;
        };
        assert!(!invalid, "test {}", test.tc_id);
        let (private, public) = MlKem768::from_seed(&seed.into());
        let want = test.encaps_key.as_ref().expect("valid tests have it");
        assert_eq!(&public.to_bytes()[..], &want[..], "test {}", test.tc_id);
        let want = test.shared_secret.as_ref().expect("valid tests have it");
        assert_eq!(
            &private.decapsulate(&ct.into())[..],
            &want[..],
            "test {}",
            test.tc_id
        );
    });
}

/// Public keys with a coefficient over the modulus are refused.
#[test]
fn ml_kem_768_encapsulation() {
    use wycheproof::mlkem::{Test, TestGroup};
    each!(mlkem, MlKem768Encaps, |_: &TestGroup, test: &Test| {
        let public = ml_kem_768::EncapsulationKey::new_from_slice(
            test.encaps_key.as_ref().expect("all tests have it"),
        );
        assert_eq!(public.is_err(), test.result.must_fail(), "test {}", test.tc_id);
        if let Ok(public) = public {
            let message = bytes::<32>(test.msg.as_ref().expect("all tests have it")).expect("32 bytes");
            let (ct, shared) = public.encapsulate_deterministic(&message.into());
            assert_eq!(&ct[..], &test.ct.as_ref().expect("valid tests have it")[..]);
            assert_eq!(
                &shared[..],
                &test.shared_secret.as_ref().expect("valid tests have it")[..]
            );
        }
    });
}
