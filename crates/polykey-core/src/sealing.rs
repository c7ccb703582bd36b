//! Sealing to a node: HPKE (RFC 9180) with one suite and no choice of any other.
//!
//! KEM 0x647a (X-Wing: X25519 and ML-KEM-768), KDF HKDF-SHA256 (0x0001), AEAD ChaCha20-Poly1305
//! (0x0003), base mode, single shot, empty associated data. The HPKE `info` is a [`Label`] and then the
//! caller's context, which says what is sealed for whom, so that no sealed box can be moved.
//!
//! The box is `encapsulated key (1120) || ciphertext || tag (16)`. It says nothing about who sealed it:
//! whoever needs that signs it.
//!
//! Source: RFC 9180; draft-connolly-cfrg-xwing-kem for the KEM; `docs/format.md`.

use std::fmt;

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};

pub use crate::aead::OpenError;
use crate::label::Label;
use crate::random::{Chance, Random};
use crate::scrub::{DEEP, scrubbed};
use crate::secret::{Key, SecretBytes};

/// Length of a public encryption key in bytes.
pub const PUBLIC_LEN: usize = 1216;
/// Length of the encapsulated key at the front of a box.
pub const ENCAPSULATED_LEN: usize = 1120;
/// How much longer a box is than what it holds.
pub const OVERHEAD: usize = ENCAPSULATED_LEN + crate::aead::TAG_LEN;

/// The bytes are no X-Wing public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid public encryption key")]
pub struct PublicKeyError;

/// The public half of an [`EncryptionKey`]: what others seal to.
#[derive(Clone, PartialEq, Eq)]
pub struct EncryptionPublic {
    // Both forms: expanding the bytes costs a third of a sealing.
    key: Box<<XWing as Kem>::PublicKey>,
    bytes: Box<[u8; PUBLIC_LEN]>,
}

impl EncryptionPublic {
    /// Checks and takes `bytes`: exactly [`PUBLIC_LEN`] of them, with every ML-KEM coefficient in its
    /// range (FIPS 203, section 7.2).
    ///
    /// # Errors
    /// [`PublicKeyError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PublicKeyError> {
        let key = Deserializable::from_bytes(bytes).map_err(|_| PublicKeyError)?;
        let bytes = bytes.try_into().map_err(|_| PublicKeyError)?;
        Ok(EncryptionPublic {
            key: Box::new(key),
            bytes: Box::new(bytes),
        })
    }

    /// The bytes, as they go into a key record.
    pub fn as_bytes(&self) -> &[u8; PUBLIC_LEN] {
        &self.bytes
    }
}

impl fmt::Debug for EncryptionPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = data_encoding::HEXLOWER.encode(&self.bytes[..8]);
        write!(f, "EncryptionPublic({head}..)")
    }
}

/// The private half: opens what was sealed to a node. Wiped on drop; never printed.
pub struct EncryptionKey {
    seed: Key,
    key: Box<<XWing as Kem>::PrivateKey>,
}

impl EncryptionKey {
    /// The key with this 32-byte X-Wing decapsulation seed.
    pub fn from_seed(seed: &Key) -> Self {
        let key = scrubbed::<DEEP, _>(|| {
            Box::new(Deserializable::from_bytes(seed.expose()).expect("any 32 bytes are an X-Wing seed"))
        });
        EncryptionKey {
            seed: seed.duplicate(),
            key,
        }
    }

    /// A fresh random key.
    pub fn random(random: &dyn Random) -> Self {
        EncryptionKey::from_seed(&Key::random(random))
    }

    /// The public half.
    pub fn public(&self) -> EncryptionPublic {
        let key = XWing::sk_to_pk(&self.key);
        let mut bytes = Box::new([0; PUBLIC_LEN]);
        key.write_exact(&mut *bytes);
        EncryptionPublic {
            key: Box::new(key),
            bytes,
        }
    }

    /// The seed, for the one place that stores it sealed.
    pub fn expose_seed(&self) -> &Key {
        &self.seed
    }

    /// Opens what [`seal_to`] made for this key with the same label and context.
    ///
    /// # Errors
    /// [`OpenError`] when any bit differs, or when `sealed` is shorter than [`OVERHEAD`].
    pub fn open(&self, label: Label, context: &[u8], sealed: &[u8]) -> Result<SecretBytes, OpenError> {
        let (encapsulated, body) = sealed.split_first_chunk::<ENCAPSULATED_LEN>().ok_or(OpenError)?;
        let encapsulated = Deserializable::from_bytes(encapsulated).map_err(|_| OpenError)?;
        scrubbed::<DEEP, _>(|| {
            hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, XWing>(
                &OpModeR::Base,
                &self.key,
                &encapsulated,
                &info(label, context),
                body,
                b"",
            )
        })
        .map(SecretBytes::new)
        .map_err(|_| OpenError)
    }
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EncryptionKey(hidden)")
    }
}

/// Seals `plain` to `to` for the purpose `label` in `context`.
///
/// `context` is one canonical item or fixed-length parts; the same bytes open the box again.
pub fn seal_to(
    to: &EncryptionPublic,
    label: Label,
    context: &[u8],
    plain: &[u8],
    random: &dyn Random,
) -> Vec<u8> {
    let (encapsulated, body) = scrubbed::<DEEP, _>(|| {
        hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, XWing>(
            &OpModeS::Base,
            &to.key,
            &info(label, context),
            plain,
            b"",
            &mut Chance::new(random),
        )
    })
    .expect("a checked key, base mode and one message: nothing of it can fail");
    let mut sealed = Vec::with_capacity(ENCAPSULATED_LEN + body.len());
    sealed.extend_from_slice(&encapsulated.to_bytes());
    sealed.extend_from_slice(&body);
    sealed
}

fn info(label: Label, context: &[u8]) -> Vec<u8> {
    [label.as_bytes(), context].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label;
    use crate::random::OsRandom;

    fn key(seed: u8) -> EncryptionKey {
        EncryptionKey::from_seed(&Key::from_array([seed; 32]))
    }

    #[test]
    fn only_the_same_key_label_and_context_open_a_box() {
        let sealed = seal_to(&key(1).public(), label::USER_SEAL, b"here", b"hello", &OsRandom);
        assert_eq!(sealed.len(), 5 + OVERHEAD);
        let open = |key: EncryptionKey, label, context: &[u8]| {
            key.open(label, context, &sealed)
                .map(|plain| plain.expose().to_vec())
        };
        assert_eq!(open(key(1), label::USER_SEAL, b"here"), Ok(b"hello".to_vec()));
        assert_eq!(open(key(2), label::USER_SEAL, b"here"), Err(OpenError));
        assert_eq!(open(key(1), label::EPOCH_SEAL, b"here"), Err(OpenError));
        assert_eq!(open(key(1), label::USER_SEAL, b"there"), Err(OpenError));
        assert_eq!(open(key(1), label::USER_SEAL, b""), Err(OpenError));
    }

    #[test]
    fn no_flipped_bit_and_no_cut_opens() {
        let sealed = seal_to(&key(1).public(), label::USER_SEAL, b"", b"x", &OsRandom);
        let refused = |bytes: &[u8]| key(1).open(label::USER_SEAL, b"", bytes).is_err();
        // One bit in each byte: every byte is under the tag or decides the key.
        for at in 0..sealed.len() {
            let mut bytes = sealed.clone();
            bytes[at] ^= 1 << (at % 8);
            assert!(refused(&bytes), "byte {at}");
        }
        for len in [0, 1, ENCAPSULATED_LEN - 1, ENCAPSULATED_LEN, sealed.len() - 1] {
            assert!(refused(&sealed[..len]), "{len} bytes");
        }
        assert!(refused(&[sealed.as_slice(), b"!"].concat()));
    }

    #[test]
    fn public_keys_are_checked() {
        let public = key(1).public();
        assert_eq!(
            EncryptionPublic::from_bytes(public.as_bytes()),
            Ok(public.clone())
        );
        // Twelve one bits are a coefficient over the modulus.
        let mut over = *public.as_bytes();
        over[0] = 0xff;
        over[1] |= 0x0f;
        for bad in [
            &over[..],
            &[],
            &public.as_bytes()[1..],
            &[0xff; PUBLIC_LEN],
            &[0; PUBLIC_LEN + 1],
        ] {
            assert_eq!(EncryptionPublic::from_bytes(bad), Err(PublicKeyError));
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        assert_eq!(format!("{:?}", key(1)), "EncryptionKey(hidden)");
        assert!(format!("{:?}", key(1).public()).len() < 40);
    }
}
