//! HKDF-SHA-256 (RFC 5869): one key from another, for one purpose.

use hkdf::Hkdf;
use sha2::Sha256;

use crate::label::Label;
use crate::scrub::{SHALLOW, scrubbed};
use crate::secret::Key;

/// Derives the key for the purpose `label` in `context` from `key`.
///
/// `context` is one canonical item or fixed-length parts joined by the caller; it may be empty. The
/// same inputs give the same key for ever.
///
/// Source: RFC 5869 with no salt, info = label and then context; `docs/format.md`.
pub fn derive(key: &Key, label: Label, context: &[u8]) -> Key {
    derive_from(key.expose(), label, context)
}

/// As [`derive()`], from key material of any length (at least 16 bytes of entropy).
pub fn derive_from(material: &[u8], label: Label, context: &[u8]) -> Key {
    scrubbed::<SHALLOW, _>(|| {
        let hkdf = Hkdf::<Sha256>::new(None, material);
        Key::fill_with(|out| {
            hkdf.expand_multi_info(&[label.as_bytes(), context], out)
                .expect("32 bytes are under HKDF's limit");
        })
    })
}
