//! HPKE: RFC 9180 through the same crate, our own suite by the draft's vectors, and X-Wing alone.

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::{X25519HkdfSha256, XWing};
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use polykey_core::sealing::{EncryptionKey, seal_to};
use polykey_core::{Key, Random, label};
use serde_json::Value;
use x_wing::{Decapsulate, Decapsulator, KeyExport};

use crate::{Fixed, hex, hex_of, json, list, text};

/// [`Fixed`] in the shape that the library wants.
struct Chance(Fixed);

impl rand_core::TryRng for Chance {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        unreachable!("nothing here draws single numbers")
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        unreachable!("nothing here draws single numbers")
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Chance {}

fn receiver<K: Kem>(case: &Value) {
    let private = K::PrivateKey::from_bytes(&hex(text(case, "skRm"))).expect("a private key");
    assert_eq!(K::sk_to_pk(&private).to_bytes().to_vec(), hex(text(case, "pkRm")));
    let (derived, _) = K::derive_keypair(&hex(text(case, "ikmR")));
    assert_eq!(derived.to_bytes(), private.to_bytes());

    let encapsulated = K::EncappedKey::from_bytes(&hex(text(case, "enc"))).expect("an encapsulated key");
    let info = hex(text(case, "info"));
    let mut context = hpke::setup_receiver::<ChaCha20Poly1305, HkdfSha256, K>(
        &OpModeR::Base,
        &private,
        &encapsulated,
        &info,
    )
    .expect("the encapsulated key opens");
    for item in list(case, "encryptions") {
        let plain = context.open(&hex(text(item, "sealed")), &hex(text(item, "aad")));
        assert_eq!(plain.expect("opens"), hex(text(item, "plain")));
    }
}

fn case(kem: u64) -> Value {
    let data = json(include_str!("data/hpke.json"));
    let cases = data.as_array().expect("a list");
    cases
        .iter()
        .find(|case| case["kem"] == kem)
        .expect("the file has it")
        .clone()
}

#[test]
fn rfc_9180_with_x25519() {
    receiver::<X25519HkdfSha256>(&case(0x20));
}

#[test]
fn our_suite_of_the_post_quantum_draft() {
    let case = case(0x647a);
    receiver::<XWing>(&case);

    // The sending side with the vector's randomness.
    let public = Deserializable::from_bytes(&hex(text(&case, "pkRm"))).expect("a public key");
    let mut chance = Chance(Fixed::new(&hex(text(&case, "ikmE"))));
    let (encapsulated, mut context) = hpke::setup_sender_with_rng::<ChaCha20Poly1305, HkdfSha256, XWing>(
        &OpModeS::Base,
        &public,
        &hex(text(&case, "info")),
        &mut chance,
    )
    .expect("a public key");
    assert_eq!(encapsulated.to_bytes().to_vec(), hex(text(&case, "enc")));
    for item in list(&case, "encryptions") {
        let sealed = context.seal(&hex(text(item, "plain")), &hex(text(item, "aad")));
        assert_eq!(sealed.expect("seals"), hex(text(item, "sealed")));
    }
}

#[test]
fn our_keys_are_those_of_the_draft() {
    let case = case(0x647a);
    let key = EncryptionKey::from_seed(&Key::from_array(hex_of(text(&case, "skRm"))));
    assert_eq!(key.public().as_bytes().to_vec(), hex(text(&case, "pkRm")));
}

#[test]
fn a_sealed_box_is_plain_hpke_with_label_and_context_as_info() {
    let seed = [9; 32];
    let ours = EncryptionKey::from_seed(&Key::from_array(seed));
    let theirs = <XWing as Kem>::PrivateKey::from_bytes(&seed).expect("32 bytes");
    let info = [label::USER_SEAL.as_bytes(), b"context"].concat();

    let sealed = seal_to(
        &ours.public(),
        label::USER_SEAL,
        b"context",
        b"hello",
        &Fixed::new(&[5; 64]),
    );
    let (encapsulated, body) = sealed.split_at(1120);
    let plain = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, XWing>(
        &OpModeR::Base,
        &theirs,
        &Deserializable::from_bytes(encapsulated).expect("1120 bytes"),
        &info,
        body,
        b"",
    );
    assert_eq!(plain.expect("opens"), b"hello");
}

#[test]
fn x_wing_of_its_draft() {
    let data = json(include_str!("data/x-wing.json"));
    for case in list(&data, "cases") {
        let private = x_wing::DecapsulationKey::from(hex_of::<32>(text(case, "sk")));
        assert_eq!(
            private.encapsulation_key().to_bytes().to_vec(),
            hex(text(case, "pk"))
        );
        let ours = EncryptionKey::from_seed(&Key::from_array(hex_of(text(case, "sk"))));
        assert_eq!(ours.public().as_bytes().to_vec(), hex(text(case, "pk")));

        let (ciphertext, shared) = private
            .encapsulation_key()
            .encapsulate_deterministic(&hex_of::<64>(text(case, "eseed")).into());
        assert_eq!(ciphertext.to_vec(), hex(text(case, "ct")));
        assert_eq!(shared.to_vec(), hex(text(case, "ss")));
        assert_eq!(private.decapsulate(&ciphertext), shared);
    }
}
