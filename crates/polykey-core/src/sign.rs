//! Ed25519: the signatures under everything.
//!
//! Verification is always strict (`verify_strict`): no malleable `s`, no key or `R` of small order, so
//! that every node gives the same answer about the same bytes. Source: RFC 8032; the rule that we pin
//! is "no small-order A, no small-order R, canonical s, cofactorless" of the CCTV Ed25519 vectors.

use ed25519_dalek::{Signer, SigningKey as Dalek, VerifyingKey};

use crate::id::NodeId;
use crate::random::Random;
use crate::scrub::{DEEP, SHALLOW, scrubbed};

/// Length of a signature in bytes.
pub const SIGNATURE_LEN: usize = 64;

/// An Ed25519 private key. Wiped on drop; never printed.
pub struct SigningKey(Box<Dalek>);

impl SigningKey {
    /// The key with this 32-byte seed (RFC 8032, section 5.1.5).
    pub fn from_seed(seed: &crate::Key) -> Self {
        scrubbed::<DEEP, _>(|| SigningKey(Box::new(Dalek::from_bytes(seed.expose()))))
    }

    /// A fresh random key.
    pub fn random(random: &dyn Random) -> Self {
        SigningKey::from_seed(&crate::Key::random(random))
    }

    /// The public half.
    pub fn public(&self) -> NodeId {
        NodeId::from_bytes(self.0.verifying_key().to_bytes())
    }

    /// The seed, for the one place that stores it sealed.
    pub fn expose_seed(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Signs `message` as it is. What is signed must start with a label; statements do that.
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_LEN] {
        scrubbed::<SHALLOW, _>(|| self.0.sign(message).to_bytes())
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(hidden)")
    }
}

/// The signature is not by this key over these bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature is not valid")]
pub struct BadSignature;

/// Checks `signature` by `signer` over `message`, strictly.
///
/// # Errors
/// [`BadSignature`], also when `signer` is no valid public key.
pub fn verify(signer: &NodeId, message: &[u8], signature: &[u8; SIGNATURE_LEN]) -> Result<(), BadSignature> {
    let key = VerifyingKey::from_bytes(signer.as_bytes()).map_err(|_| BadSignature)?;
    key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature))
        .map_err(|_| BadSignature)
}
