//! The recovery code: 24 words from which a node's identity comes back.
//!
//! The words are BIP39 (English list, empty passphrase). Bytes 0-31 of the BIP39 seed are the Ed25519
//! seed of the root key, so that a code of the original Polykey gives the same [`NodeId`](crate::NodeId).
//! Bytes 32-63 are key material for three more keys, each by HKDF under a label of its own: the slot key
//! of the key file, the Ed25519 *recovery key* and the X-Wing *code key*. Public halves of the last two
//! stand in the sigchain's [first entry](crate::genesis); private halves are never stored.
//!
//! Source: BIP39; `docs/format.md`.

use std::fmt;

use bip39::{Language, Mnemonic};
use zeroize::Zeroizing;

use crate::kdf::derive;
use crate::label;
use crate::random::Random;
use crate::scrub::{DEEP, scrubbed};
use crate::sealing::EncryptionKey;
use crate::secret::{Key, SecretBytes};
use crate::sign::SigningKey;

/// A code has this many words when we make it.
pub const WORDS: usize = 24;

/// Why a text is no recovery code. Never holds a word of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecoveryCodeError {
    /// Not 12 or 24 words.
    #[error("a recovery code has 24 words (or 12), not {0}")]
    WordCount(usize),
    /// A word is not in the list.
    #[error("word {0} of the recovery code is not in the word list")]
    UnknownWord(usize),
    /// The words do not belong together.
    #[error("the words are right, but not in this order or not all: the recovery code does not add up")]
    Checksum,
}

/// A recovery code. Wiped on drop; never printed but by [`RecoveryCode::words`].
pub struct RecoveryCode(Box<Mnemonic>);

impl RecoveryCode {
    /// A fresh code of 24 words.
    pub fn generate(random: &dyn Random) -> Self {
        RecoveryCode::from_entropy(&Key::random(random))
    }

    /// The 24-word code for these 32 bytes of entropy.
    pub fn from_entropy(entropy: &Key) -> Self {
        scrubbed::<DEEP, _>(|| {
            let words = Mnemonic::from_entropy_in(Language::English, entropy.expose())
                .expect("32 bytes are an allowed length");
            RecoveryCode(Box::new(words))
        })
    }

    /// The code with this entropy: 16 bytes for 12 words, 32 for 24; `None` for any other length.
    pub fn from_entropy_bytes(entropy: &[u8]) -> Option<Self> {
        if !matches!(entropy.len(), 16 | 32) {
            return None;
        }
        scrubbed::<DEEP, _>(|| {
            let words = Mnemonic::from_entropy_in(Language::English, entropy).ok()?;
            Some(RecoveryCode(Box::new(words)))
        })
    }

    /// What the words stand for: 16 bytes for 12 words, 32 for 24.
    pub fn entropy(&self) -> SecretBytes {
        scrubbed::<DEEP, _>(|| SecretBytes::new(self.0.to_entropy()))
    }

    /// Reads 12 or 24 words. Case and the amount and kind of white space do not matter.
    ///
    /// # Errors
    /// Says what is wrong and at which word, counted from 1.
    pub fn parse(text: &str) -> Result<Self, RecoveryCodeError> {
        let count = text.split_whitespace().count();
        if count != 12 && count != WORDS {
            return Err(RecoveryCodeError::WordCount(count));
        }
        // Lower case never needs more bytes here: what is not ASCII is in no English word.
        let lower = Zeroizing::new(text.to_ascii_lowercase());
        match scrubbed::<DEEP, _>(|| Mnemonic::parse_in_normalized(Language::English, &lower).map(Box::new)) {
            Ok(words) => Ok(RecoveryCode(words)),
            Err(bip39::Error::UnknownWord(at)) => Err(RecoveryCodeError::UnknownWord(at + 1)),
            Err(bip39::Error::BadWordCount(count)) => Err(RecoveryCodeError::WordCount(count)),
            Err(_) => Err(RecoveryCodeError::Checksum),
        }
    }

    /// The words in lower case with one space between them.
    pub fn words(&self) -> SecretBytes {
        // The longest word has 8 letters; reserving first leaves no smaller copy behind.
        let mut text = Vec::with_capacity(WORDS * 9);
        for word in self.0.words() {
            if !text.is_empty() {
                text.push(b' ');
            }
            text.extend_from_slice(word.as_bytes());
        }
        SecretBytes::new(text)
    }

    /// The number of words: 12 or 24.
    pub fn word_count(&self) -> usize {
        self.0.word_count()
    }

    /// The keys that this code stands for; the same for ever.
    pub fn keys(&self) -> RecoveryKeys {
        let (root, more) = scrubbed::<DEEP, _>(|| {
            let seed = Zeroizing::new(self.0.to_seed_normalized(""));
            let (root, more) = seed.split_at(Key::LEN);
            let root = Key::copy_from(root).expect("split at 32");
            (root, Key::copy_from(more).expect("a BIP39 seed has 64 bytes"))
        });
        RecoveryKeys {
            root: SigningKey::from_seed(&root),
            slot: derive(&more, label::RECOVERY_SLOT, b""),
            recovery: SigningKey::from_seed(&derive(&more, label::RECOVERY_KEY, b"")),
            code: EncryptionKey::from_seed(&derive(&more, label::RECOVERY_CODE_KEY, b"")),
        }
    }
}

impl fmt::Debug for RecoveryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryCode(hidden)")
    }
}

/// What a recovery code stands for. Each key is wiped on drop and hidden from `Debug`.
#[derive(Debug)]
pub struct RecoveryKeys {
    /// Signs for the node; its public half is the node id.
    pub root: SigningKey,
    /// Opens the recovery slot of the key file.
    pub slot: Key,
    /// Outranks every other key of the node: removes a stolen device, confirms a successor.
    pub recovery: SigningKey,
    /// Opens what was sealed to the recovery code, when the devices are lost.
    pub code: EncryptionKey,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::OsRandom;

    const CODE: &str = "legal winner thank year wave sausage worth useful legal winner thank yellow";

    #[test]
    fn a_code_survives_its_words() {
        let code = RecoveryCode::generate(&OsRandom);
        assert_eq!(code.word_count(), 24);
        let words = String::from_utf8(code.words().expose().to_vec()).expect("words are ASCII");
        let again = RecoveryCode::parse(&words).expect("own words parse");
        assert_eq!(again.keys().root.public(), code.keys().root.public());
        assert_eq!(again.keys().slot, code.keys().slot);
    }

    #[test]
    fn case_and_white_space_do_not_matter() {
        let want = RecoveryCode::parse(CODE).expect("valid").words();
        for text in [
            CODE.to_uppercase(),
            format!("\n  {}\r\n", CODE.replace(' ', "\n")),
            CODE.replace(' ', " \t\u{a0}\u{3000} "),
        ] {
            assert_eq!(RecoveryCode::parse(&text).expect("forgiven").words(), want);
        }
    }

    #[track_caller]
    fn refused(text: &str, want: RecoveryCodeError) {
        assert_eq!(RecoveryCode::parse(text).map(drop), Err(want));
    }

    #[test]
    fn what_is_no_code_says_where() {
        use RecoveryCodeError::*;
        refused("", WordCount(0));
        refused("legal", WordCount(1));
        refused(&format!("{CODE} legal"), WordCount(13));
        refused(&[CODE; 3].join(" "), WordCount(36));
        refused(&vec!["abandon"; 15].join(" "), WordCount(15));
        refused(&CODE.replace("wave", "wafe"), UnknownWord(5));
        refused(&CODE.replace("wave", "wavé"), UnknownWord(5));
        refused(&CODE.replace("yellow", "zoo"), Checksum);
        refused(&CODE.replace("winner thank year", "thank winner year"), Checksum);
        refused(&["abandon"; 24].join(" "), Checksum);
        refused(&"x".repeat(1 << 20), WordCount(1));
    }

    #[test]
    fn the_four_keys_differ() {
        let keys = RecoveryCode::parse(CODE).expect("valid").keys();
        let all = [
            *keys.root.expose_seed(),
            *keys.slot.expose(),
            *keys.recovery.expose_seed(),
            *keys.code.expose_seed().expose(),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a != b));
        }
        let shown = format!("{keys:?}");
        assert_eq!(shown.matches("hidden").count(), 4, "{shown}");
    }
}
