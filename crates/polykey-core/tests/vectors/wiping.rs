//! Keys are gone when they are dropped: searched for in the memory of this very process.
//!
//! A wanted byte string is never held whole: it is `mask ^ masked`, and the search compares through the
//! mask. Whatever it finds was left behind by the code under test, on the heap or on a stack.

#![cfg(target_os = "linux")]

use std::fs::File;
use std::os::unix::fs::FileExt;

use polykey_core::key_file::KeyFile;
use polykey_core::password::{Level, Limits, Password};
use polykey_core::random::OsRandom;
use polykey_core::recovery::RecoveryCode;
use polykey_core::sealing::{EncryptionKey, seal_to};
use polykey_core::sign::SigningKey;
use polykey_core::{Key, Random, SecretBytes, aead, kdf, label};

/// 32 bytes that are nowhere in memory unless somebody put them there.
struct Canary {
    mask: [u8; 32],
    masked: [u8; 32],
}

impl Canary {
    fn new() -> Self {
        let (mut mask, mut masked) = ([0; 32], [0; 32]);
        OsRandom.fill(&mut mask);
        OsRandom.fill(&mut masked);
        Canary { mask, masked }
    }

    /// Remembers bytes that code under test made, without keeping them.
    fn of(bytes: &[u8; 32]) -> Self {
        let mut canary = Canary::new();
        let mask = canary.mask.iter();
        for ((masked, mask), byte) in canary.masked.iter_mut().zip(mask).zip(bytes) {
            *masked = byte ^ mask;
        }
        canary
    }

    fn write(&self, out: &mut [u8]) {
        for (at, byte) in out.iter_mut().enumerate() {
            *byte = self.mask[at] ^ self.masked[at];
        }
    }

    fn key(&self) -> Key {
        Key::fill_with(|key| self.write(key))
    }

    fn stands_at(&self, window: &[u8]) -> bool {
        (0..32).all(|at| window[at] ^ self.mask[at] == self.masked[at])
    }

    /// Where in this process's writable memory the bytes stand.
    fn found(&self) -> Vec<String> {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("Linux has it");
        let memory = File::open("/proc/self/mem").expect("one's own memory can be read");
        let mut piece = vec![0; 1 << 20];
        let mut found = Vec::new();
        for line in maps.lines() {
            let mut fields = line.split_whitespace();
            let (range, rights) = (fields.next().expect("a range"), fields.next().expect("rights"));
            let name = fields.nth(3).unwrap_or("anonymous");
            if !rights.starts_with("rw") {
                continue;
            }
            let (from, to) = range.split_once('-').expect("two ends");
            let (mut at, to) = (address(from), address(to));
            while at < to {
                let len = piece.len().min((to - at) as usize);
                let Ok(len) = memory.read_at(&mut piece[..len], at) else {
                    break;
                };
                // The search's own buffer holds what it read last.
                let own = piece.as_ptr() as u64;
                let (own, here) = (own..own + piece.len() as u64, at);
                let hits = piece[..len].windows(32).enumerate().filter(|(offset, window)| {
                    !own.contains(&(here + *offset as u64)) && self.stands_at(window)
                });
                found.extend(hits.map(|(offset, _)| format!("{name}+{:x}", at + offset as u64)));
                // Neighbouring pieces share 31 bytes, so nothing hides on their border.
                at += if len > 31 && at + (len as u64) < to {
                    len as u64 - 31
                } else {
                    len.max(1) as u64
                };
            }
            piece.fill(0);
        }
        found
    }
}

fn address(hex: &str) -> u64 {
    u64::from_str_radix(hex, 16).expect("addresses are hex")
}

#[track_caller]
fn gone(what: &str, canary: &Canary) {
    let found = canary.found();
    assert!(found.is_empty(), "{what} is still at {found:?}");
}

#[test]
fn the_search_finds_what_is_there() {
    let canary = Canary::new();
    gone("nothing", &canary);
    let key = canary.key();
    assert_eq!(canary.found().len(), 1);
    let copy = key.duplicate();
    assert_eq!(canary.found().len(), 2);
    drop((key, copy));
    gone("a key", &canary);
}

#[test]
fn secret_bytes_and_boxes_leave_nothing() {
    let canary = Canary::new();
    let mut bytes = vec![0; 32];
    canary.write(&mut bytes);
    let secret = SecretBytes::new(bytes);
    let key = Key::from_array([1; 32]);
    let sealed = aead::seal(&key, label::OBJECT_AAD, b"", secret.expose(), &OsRandom);
    let opened = aead::open(&key, label::OBJECT_AAD, b"", &sealed).expect("opens");
    let copied = SecretBytes::copy_from(opened.expose());
    assert_eq!(canary.found().len(), 3);
    drop((secret, opened, copied));
    gone("a secret", &canary);
}

#[test]
fn symmetric_keys_leave_nothing_in_the_cipher() {
    let canary = Canary::new();
    let key = canary.key();
    let sealed = aead::seal(&key, label::OBJECT_AAD, b"", b"hello", &OsRandom);
    assert!(aead::open(&key, label::OBJECT_AAD, b"", &sealed).is_ok());
    let derived = kdf::derive(&key, label::COMMIT_KEY, b"");
    let derived_canary = Canary::of(derived.expose());
    drop((key, derived));
    gone("a key", &canary);
    gone("a derived key", &derived_canary);
}

#[test]
fn signing_keys_leave_nothing() {
    let canary = Canary::new();
    let seed = canary.key();
    let key = SigningKey::from_seed(&seed);
    let signature = key.sign(b"message");
    assert!(polykey_core::sign::verify(&key.public(), b"message", &signature).is_ok());
    let shown = key.expose_seed();
    assert_eq!(shown, seed.expose());
    drop((seed, key));
    gone("a signing key", &canary);
}

#[test]
fn encryption_keys_leave_nothing() {
    let canary = Canary::new();
    let plain = Canary::new();
    let seed = canary.key();
    let key = EncryptionKey::from_seed(&seed);
    let mut message = SecretBytes::new(vec![0; 32]).into_exposed();
    plain.write(&mut message);
    let sealed = seal_to(&key.public(), label::USER_SEAL, b"", &message, &OsRandom);
    let opened = key.open(label::USER_SEAL, b"", &sealed).expect("opens");
    assert_eq!(opened.expose(), &message[..]);
    drop((seed, key, message, opened));
    gone("an encryption key", &canary);
    gone("what was sealed", &plain);
}

#[test]
fn key_files_leave_neither_master_key_nor_password() {
    let chance = Canary::new();
    let typed = Canary::new();
    // ASCII that is recognised: 32 letters.
    let letters = Canary::of(&std::array::from_fn(|at| b'a' + (typed.mask[at] % 26)));
    struct First<'c>(&'c Canary, std::sync::atomic::AtomicBool);
    impl Random for First<'_> {
        fn fill(&self, bytes: &mut [u8]) {
            // The first that is drawn is the master key.
            match self.1.swap(true, std::sync::atomic::Ordering::Relaxed) {
                false => self.0.write(bytes),
                true => OsRandom.fill(bytes),
            }
        }
    }
    let code = RecoveryCode::generate(&OsRandom).keys();
    let mut text = SecretBytes::new(vec![0; 32]).into_exposed();
    letters.write(&mut text);
    let password = Password::parse(&text).expect("ASCII");
    let limits = Limits::named(Level::Min, Level::Min);
    let random = First(&chance, false.into());
    let (file, master) = KeyFile::create(&password, &code, limits, &random).expect("8 KiB");
    let again = file.unlock_password(&password).expect("opens");
    let once_more = file.unlock_code(&code).expect("opens");
    assert_eq!(chance.found().len(), 3);
    drop((text, password, code, master, again, once_more));
    gone("the master key", &chance);
    gone("the password", &letters);
}

#[test]
fn recovery_codes_leave_neither_words_nor_seeds() {
    let entropy = Canary::new();
    let key = entropy.key();
    let code = RecoveryCode::from_entropy(&key);
    let words = code.words();
    let parsed = RecoveryCode::parse(std::str::from_utf8(words.expose()).expect("ASCII")).expect("own words");
    let keys = parsed.keys();
    let first_words = Canary::of(words.expose()[..32].try_into().expect("24 words are longer"));
    let root = Canary::of(keys.root.expose_seed());
    let slot = Canary::of(keys.slot.expose());
    let code_key = Canary::of(keys.code.expose_seed().expose());
    drop((key, code, words, parsed, keys));
    gone("the entropy", &entropy);
    gone("the words", &first_words);
    gone("the root seed", &root);
    gone("the slot key", &slot);
    gone("the code key", &code_key);
}
