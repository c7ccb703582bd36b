//! How strong a password looks: a hint for people, no promise.
//!
//! Counts what a guesser who tries words, runs and repeats first would have to try. It errs towards
//! "weak"; what it calls good may still be known to somebody.

/// What to tell the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strength {
    /// Guessed in no time.
    Weak,
    /// Holds for a while, by grace of the slow key derivation.
    Fair,
    /// Out of reach.
    Good,
}

impl Strength {
    /// The words for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Strength::Weak => {
                "weak; four or more words that do not belong together are easy to keep and hard to guess"
            }
            Strength::Fair => "fair; longer is better",
            Strength::Good => "good",
        }
    }
}

/// What is tried first, in any case and with digits behind it.
const COMMON: &[&str] = &[
    "password", "passwort", "qwerty", "qwertz", "azerty", "letmein", "iloveyou", "welcome", "monkey",
    "dragon", "football", "baseball", "sunshine", "princess", "admin", "login", "master", "secret", "hunter",
    "polykey", "abc", "test", "changeme", "trustno", "shadow", "superman", "batman", "starwars", "whatever",
    "hello",
];

/// Judges a password.
pub fn strength(password: &str) -> Strength {
    match bits(password) {
        ..40 => Strength::Weak,
        40..60 => Strength::Fair,
        _ => Strength::Good,
    }
}

/// A rough count of bits.
fn bits(password: &str) -> u32 {
    let mut rest = password.to_lowercase();
    let mut bits = 0;
    for common in COMMON {
        if rest.contains(common) {
            rest = rest.replace(common, "");
            bits += 5;
        }
    }
    let mut before: Option<char> = None;
    let mut seen = std::collections::HashSet::new();
    for c in rest.chars() {
        // A letter in a word says little more than the words do: about 2.5 bits; a repeat or a run next to nothing.
        let step = before.map_or(i64::MAX, |before| {
            (i64::from(u32::from(c)) - i64::from(u32::from(before))).abs()
        });
        bits += match c {
            _ if step <= 1 => 1,
            _ if !seen.insert(c) => 2,
            'a'..='z' | ' ' => 4,
            '0'..='9' => 3,
            _ => 6,
        };
        before = Some(c);
    }
    if password.chars().any(char::is_uppercase) && password.chars().any(char::is_lowercase) {
        bits += 2;
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_passwords_are_weak_and_long_strange_ones_good() {
        for weak in [
            "",
            "a",
            "password",
            "Password1",
            "hunter2",
            "12345678901234567890",
            "aaaaaaaaaaaaaaaaaaaa",
            "qwerty123",
        ] {
            assert_eq!(strength(weak), Strength::Weak, "{weak:?}");
        }
        for good in [
            "correct horse battery staple",
            "xK9#mQ2$vL7!pR4@",
            "violet anchor muddy teapot",
        ] {
            assert_eq!(strength(good), Strength::Good, "{good:?}");
        }
    }
}
