//! Versions of a vault, as typed: a commit or a moment.

use polykey_api::{Code, Problem};

use crate::time;

/// A version of a vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// A commit, the beginning of its id, or `last`.
    Commit(String),
    /// A moment, in milliseconds since 1970.
    Time(u64),
}

impl At {
    /// Hexadecimal digits name a commit, all else must be a date.
    ///
    /// # Errors
    /// For a date that is none.
    pub fn parse(text: &str) -> Result<At, Problem> {
        let hex = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if hex || text == "last" {
            return Ok(At::Commit(text.to_owned()));
        }
        time::parse(text).map(At::Time)
    }

    /// The commit, if that is what was typed.
    pub fn commit(&self) -> Option<String> {
        match self {
            At::Commit(commit) => Some(commit.clone()),
            At::Time(_) => None,
        }
    }

    /// The moment, if that is what was typed.
    pub fn time(&self) -> Option<u64> {
        match self {
            At::Commit(_) => None,
            At::Time(time) => Some(*time),
        }
    }

    /// `problem`, with a better hint where digits were taken for a commit and may have meant something else.
    pub fn explain(&self, problem: Problem) -> Problem {
        match self {
            At::Commit(text)
                if problem.code == Code::VersionNotFound && text.bytes().all(|byte| byte.is_ascii_digit()) =>
            {
                match text.len() {
                    4 => problem.hint(format!("a date needs a month and a day: {text}-01-01")),
                    8 => problem.hint(format!(
                        "a date is written {}-{}-{}",
                        &text[..4],
                        &text[4..6],
                        &text[6..]
                    )),
                    _ => problem.hint(
                        "a commit, the beginning of its id, or a date is wanted; `polykey secrets log` shows them",
                    ),
                }
            }
            _ => problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_commits_or_moments() {
        for commit in ["abc123", "2026", "3d", "last", &"0f".repeat(32)] {
            assert_eq!(At::parse(commit), Ok(At::Commit(commit.into())));
        }
        assert_eq!(At::parse("1970-01-01T00:00:01Z"), Ok(At::Time(1000)));
        assert!(matches!(At::parse("now"), Ok(At::Time(_))));
        for (digits, hint) in [
            ("1999", "1999-01-01"),
            ("20261122", "2026-11-22"),
            ("7", "secrets log"),
        ] {
            let problem = Problem::new(Code::VersionNotFound, "no such commit").hint("see the log");
            let at = At::parse(digits).expect("a commit, to the parser");
            assert!(
                at.explain(problem).hint.is_some_and(|text| text.contains(hint)),
                "{digits}"
            );
        }
        for bad in ["", " ", "xyz", "first", "2026-13-01", "abc-123"] {
            assert!(At::parse(bad).is_err(), "{bad:?}");
        }
    }
}
