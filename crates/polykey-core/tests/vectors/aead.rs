//! XChaCha20-Poly1305: the draft's vectors, and agreement with a second implementation.

use polykey_core::Key;
use polykey_core::aead::{open_in_place, seal_in_place};
use proptest::prelude::*;

use crate::hex_of;

/// draft-irtf-cfrg-xchacha-03, section 2.2.1. Our own code uses the same function.
#[test]
fn hchacha20_of_the_draft() {
    let key: [u8; 32] = hex_of("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
    let input: [u8; 16] = hex_of("000000090000004a0000000031415927");
    let subkey = chacha20::hchacha::<chacha20::R20>(&key.into(), &input.into());
    let want: [u8; 32] = hex_of("82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc");
    assert_eq!(<[u8; 32]>::from(subkey), want);
}

/// draft-irtf-cfrg-xchacha-03, appendix A.3.1.
#[test]
fn aead_of_the_draft() {
    let key: [u8; 32] = std::array::from_fn(|at| 0x80 + at as u8);
    let nonce: [u8; 24] = std::array::from_fn(|at| 0x40 + at as u8);
    let aad = hex_of::<12>("50515253c0c1c2c3c4c5c6c7");
    let plain = b"Ladies and Gentlemen of the class of '99: \
        If I could offer you only one tip for the future, sunscreen would be it.";
    let want: [u8; 114] = hex_of(concat!(
        "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb",
        "731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b452",
        "2f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9",
        "21f9664c97637da9768812f615c68b13b52e",
    ));
    let mut body = plain.to_vec();
    let tag = seal_in_place(&Key::from_array(key), &nonce, &aad, &mut body);
    assert_eq!(body, want);
    assert_eq!(tag, hex_of("c0875924c1c7987947deafd8780acf49"));

    body.extend_from_slice(&tag);
    assert_eq!(
        open_in_place(&Key::from_array(key), &nonce, &aad, &mut body),
        Ok(114)
    );
    assert_eq!(&body[..114], plain);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn both_implementations_make_the_same_bytes(
        key: [u8; 32],
        nonce: [u8; 24],
        aad in prop::collection::vec(any::<u8>(), 0..100),
        plain in prop::collection::vec(any::<u8>(), 0..2000),
    ) {
        use chacha20poly1305::aead::{Aead, KeyInit, Payload};
        let other = chacha20poly1305::XChaCha20Poly1305::new(&key.into());
        let want = other
            .encrypt(&nonce.into(), Payload { msg: &plain, aad: &aad })
            .expect("short");
        let mut body = plain.clone();
        let tag = seal_in_place(&Key::from_array(key), &nonce, &aad, &mut body);
        body.extend_from_slice(&tag);
        prop_assert_eq!(&body, &want);

        let len = open_in_place(&Key::from_array(key), &nonce, &aad, &mut body);
        prop_assert_eq!(len, Ok(plain.len()));
        prop_assert_eq!(&body[..plain.len()], &plain[..]);
    }
}
