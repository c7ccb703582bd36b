//! How strong a password looks: a hint for people, no promise.
//!
//! Counted by zxcvbn, which knows common passwords, words, names, dates, keyboard runs and repeats, and
//! guesses as a thief would. What it calls good may still be known to somebody.

use zxcvbn::{Score, zxcvbn};

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
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Strength::Weak => "weak",
            Strength::Fair => "fair",
            Strength::Good => "good",
        }
    }
}

/// Judges a password and says what would make it better. Words of `known`, such as the user's name, count as
/// guessed.
pub fn strength(password: &str, known: &[&str]) -> (Strength, String) {
    let known: Vec<&str> = known.iter().copied().chain(["polykey"]).collect();
    let judged = zxcvbn(password, &known);
    let strength = match judged.score() {
        Score::Four => Strength::Good,
        Score::Three => Strength::Fair,
        _ => Strength::Weak,
    };
    let advice = match strength {
        Strength::Weak => {
            "Four or more words that do not belong together are easy to keep and hard to guess.".to_owned()
        }
        Strength::Fair => "Longer is better.".to_owned(),
        Strength::Good => String::new(),
    };
    match judged.feedback().and_then(|feedback| feedback.warning()) {
        Some(warning) if strength != Strength::Good => {
            let warning = warning.to_string();
            (strength, format!("{} {advice}", sentence(&warning)))
        }
        _ => (strength, advice),
    }
}

/// With the full stop that a sentence before another one has.
fn sentence(text: &str) -> String {
    format!("{}.", text.trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(password: &str, want: Strength) {
        assert_eq!(strength(password, &["alice"]).0, want, "{password:?}");
    }

    #[test]
    fn usual_passwords_are_weak_and_long_strange_ones_good() {
        for weak in [
            "",
            "a",
            "password",
            "Password1",
            "P@ssw0rd!",
            "hunter2",
            "aaaaaaaaaaaaaaaaaaaa",
            "qwertyuiop",
            "qwerty123",
            "alice1999",
            "alicepolykey",
            "31.12.1999",
        ] {
            check(weak, Strength::Weak);
        }
        for good in [
            "correct horse battery staple",
            "xK9#mQ2$vL7!pR4@",
            "violet anchor muddy teapot",
            "\u{436}\u{438}\u{440}\u{430}\u{444} \u{43d}\u{430} \u{43b}\u{443}\u{43d}\u{435} \u{441}\u{43f}\u{438}\u{442}",
        ] {
            check(good, Strength::Good);
        }
    }

    #[test]
    fn advice_is_given_where_it_helps_and_never_repeats_the_password() {
        let (_, advice) = strength("hunter2", &[]);
        assert!(
            advice.contains("words") && !advice.contains("hunter2"),
            "{advice}"
        );
        assert_eq!(strength("violet anchor muddy teapot", &[]).1, "");
        // Whatever is typed, it is judged, and soon.
        strength(&"\u{0}\u{1b}[2J".repeat(10_000), &[]);
    }
}
