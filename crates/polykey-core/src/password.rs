//! Passwords: from what a person types to a key that is slow to guess.
//!
//! A password is brought into NFC, so that the same keys pressed on another system give the same bytes,
//! and stretched by Argon2id (version 0x13, one lane, 32 bytes out). What it costs is named by
//! [`Limits`]; the names and numbers are libsodium's, but for a smaller `max`, which is a ceiling: a
//! file that asks for more is refused before anything is run.
//!
//! Source: RFC 9106; libsodium `crypto_pwhash` (Argon2id).

use std::fmt;
use std::str::FromStr;

use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use crate::scrub::{DEEP, scrubbed};
use crate::secret::{Key, SecretBytes};

/// Length of a salt in bytes.
pub const SALT_LEN: usize = 16;
/// Longest password in bytes, before and after normalisation.
pub const MAX_PASSWORD_LEN: usize = 64 << 10;

/// Why bytes are no password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordError {
    /// Not UTF-8.
    #[error("the password is not UTF-8 text")]
    NotUtf8,
    /// Longer than [`MAX_PASSWORD_LEN`].
    #[error("the password is longer than {MAX_PASSWORD_LEN} bytes")]
    TooLong,
}

/// A password in NFC: wiped on drop, hidden from `Debug`, never `Clone`.
pub struct Password(SecretBytes);

impl Password {
    /// Takes text as typed. Nothing is trimmed; an empty password is the caller's to refuse.
    ///
    /// # Errors
    /// [`PasswordError::TooLong`].
    pub fn new(text: &str) -> Result<Self, PasswordError> {
        if text.len() > MAX_PASSWORD_LEN {
            return Err(PasswordError::TooLong);
        }
        // NFC makes UTF-8 at most three times as long (UAX 15): no growing, so no copy left behind.
        let mut normal = Zeroizing::new(String::with_capacity(text.len() * 3));
        normal.extend(text.nfc());
        if normal.len() > MAX_PASSWORD_LEN {
            return Err(PasswordError::TooLong);
        }
        Ok(Password(SecretBytes::copy_from(normal.as_bytes())))
    }

    /// Takes the bytes of a file or a variable.
    ///
    /// # Errors
    /// [`PasswordError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, PasswordError> {
        Password::new(std::str::from_utf8(bytes).map_err(|_| PasswordError::NotUtf8)?)
    }

    /// Opens the NFC bytes. Search for `expose` to find every reader.
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }

    /// True when nothing was typed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(hidden)")
    }
}

/// A named cost. `max` is the ceiling, not a suggestion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Level {
    /// The least that Argon2 accepts: for tests, and for those who know why.
    Min,
    /// Log-in speed: 2 passes, 64 MiB.
    Interactive,
    /// The default: 3 passes, 256 MiB.
    #[default]
    Moderate,
    /// For keys that are rarely opened: 4 passes, 1 GiB.
    Sensitive,
    /// The ceiling: 8 passes, 2 GiB.
    Max,
}

/// The text names no [`Level`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a password limit is one of min, interactive, moderate, sensitive, max")]
pub struct LevelError;

impl Level {
    /// Every level with its name, passes and memory in KiB.
    pub const ALL: &[(Level, &str, u32, u32)] = &[
        (Level::Min, "min", 1, 8),
        (Level::Interactive, "interactive", 2, 64 << 10),
        (Level::Moderate, "moderate", 3, 256 << 10),
        (Level::Sensitive, "sensitive", 4, 1 << 20),
        (Level::Max, "max", 8, 2 << 20),
    ];

    fn row(self) -> &'static (Level, &'static str, u32, u32) {
        Level::ALL
            .iter()
            .find(|(level, ..)| *level == self)
            .expect("every level has a row")
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        self.row().1
    }
}

impl FromStr for Level {
    type Err = LevelError;

    fn from_str(text: &str) -> Result<Self, LevelError> {
        let row = Level::ALL.iter().find(|(_, name, ..)| *name == text);
        row.map(|(level, ..)| *level).ok_or(LevelError)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The cost is outside of what is ever run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a password cost of {passes} passes over {memory_kib} KiB is outside of the allowed range")]
pub struct LimitsError {
    /// Passes that were asked for.
    pub passes: u32,
    /// Memory that was asked for.
    pub memory_kib: u32,
}

/// What one guess at a password costs. Always between `min` and `max` of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limits {
    passes: u32,
    memory_kib: u32,
}

impl Limits {
    /// The cost with these named passes (`ops`) and this named memory.
    pub fn named(ops: Level, memory: Level) -> Self {
        Limits {
            passes: ops.row().2,
            memory_kib: memory.row().3,
        }
    }

    /// A cost that was read from somewhere, checked against the ceiling.
    ///
    /// # Errors
    /// [`LimitsError`] when it is outside of `min` to `max`.
    pub fn checked(passes: u32, memory_kib: u32) -> Result<Self, LimitsError> {
        let (min, max) = (Level::Min.row(), Level::Max.row());
        if (min.2..=max.2).contains(&passes) && (min.3..=max.3).contains(&memory_kib) {
            Ok(Limits { passes, memory_kib })
        } else {
            Err(LimitsError { passes, memory_kib })
        }
    }

    #[cfg(test)]
    pub(crate) fn unchecked(passes: u32, memory_kib: u32) -> Self {
        Limits { passes, memory_kib }
    }

    /// Passes over the memory.
    pub fn passes(self) -> u32 {
        self.passes
    }

    /// Memory in KiB.
    pub fn memory_kib(self) -> u32 {
        self.memory_kib
    }

    /// True when a guess is cheaper than with the default in any way: `doctor` says so.
    pub fn is_weak(self) -> bool {
        let default = Limits::default();
        self.passes < default.passes || self.memory_kib < default.memory_kib
    }
}

impl Default for Limits {
    /// 3 passes over 256 MiB.
    fn default() -> Self {
        Limits::named(Level::Moderate, Level::Moderate)
    }
}

/// There is not enough memory to check a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not enough memory: checking the password needs {memory_kib} KiB")]
pub struct StretchError {
    /// What is needed.
    pub memory_kib: u32,
}

/// Stretches `password` into a key. Takes as long and as much memory as `limits` say; the memory is
/// wiped and given back.
///
/// # Errors
/// [`StretchError`] when the memory is not to be had.
pub fn stretch(password: &Password, salt: &[u8; SALT_LEN], limits: Limits) -> Result<Key, StretchError> {
    let no_memory = StretchError {
        memory_kib: limits.memory_kib,
    };
    let params = argon2::Params::new(limits.memory_kib, limits.passes, 1, Some(Key::LEN))
        .expect("limits lie within what Argon2 accepts");
    let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let mut result = Ok(());
    let key = Key::fill_with(|out| {
        result = scrubbed::<DEEP, _>(|| argon2.hash_password_into(password.expose(), salt, out));
    });
    match result {
        Ok(()) => Ok(key),
        Err(_) => Err(no_memory),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cheap(text: &str, salt: u8) -> Key {
        let limits = Limits::named(Level::Min, Level::Min);
        let password = Password::new(text).expect("short");
        stretch(&password, &[salt; SALT_LEN], limits).expect("8 KiB are there")
    }

    #[test]
    fn composed_and_decomposed_passwords_are_one() {
        assert_eq!(cheap("caf\u{e9}", 1), cheap("cafe\u{301}", 1));
        assert_ne!(cheap("cafe", 1), cheap("caf\u{e9}", 1));
        assert_ne!(cheap("a", 1), cheap("a ", 1));
        assert_ne!(cheap("", 1), cheap("\0", 1));
        assert_ne!(cheap("a", 1), cheap("a", 2));
    }

    #[test]
    fn hostile_passwords_are_bounded() {
        assert_eq!(Password::parse(b"\xff").map(drop), Err(PasswordError::NotUtf8));
        let long = "x".repeat(MAX_PASSWORD_LEN + 1);
        assert_eq!(Password::new(&long).map(drop), Err(PasswordError::TooLong));
        // Three bytes become nine in NFC.
        let grows = "\u{fb2c}".repeat(MAX_PASSWORD_LEN / 3);
        assert_eq!(Password::new(&grows).map(drop), Err(PasswordError::TooLong));
        assert!(Password::new(&long[1..]).is_ok());
    }

    #[test]
    fn levels_have_names_and_costs() {
        for (level, name, passes, kib) in Level::ALL {
            assert_eq!(name.parse(), Ok(*level));
            assert_eq!(level.to_string(), *name);
            assert_eq!(Limits::checked(*passes, *kib), Ok(Limits::named(*level, *level)));
        }
        for bad in ["", "Min", "medium", "moderate ", "3"] {
            assert_eq!(bad.parse::<Level>(), Err(LevelError), "{bad:?}");
        }
        assert!(Limits::named(Level::Interactive, Level::Max).is_weak());
        assert!(Limits::named(Level::Max, Level::Interactive).is_weak());
        assert!(!Limits::default().is_weak());
        assert_eq!(
            (Limits::default().passes(), Limits::default().memory_kib()),
            (3, 262_144)
        );
    }

    #[test]
    fn costs_past_the_ceiling_or_under_the_floor_are_refused() {
        for (passes, memory_kib) in [
            (0, 8),
            (1, 7),
            (1, 0),
            (9, 8),
            (1, (2 << 20) + 1),
            (u32::MAX, u32::MAX),
        ] {
            let error = LimitsError { passes, memory_kib };
            assert_eq!(Limits::checked(passes, memory_kib), Err(error));
        }
    }
}
