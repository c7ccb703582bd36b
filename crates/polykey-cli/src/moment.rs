//! Versions of a vault, as typed: a commit or a moment.

use polykey_api::Problem;

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
        for bad in ["", " ", "xyz", "first", "2026-13-01", "abc-123"] {
            assert!(At::parse(bad).is_err(), "{bad:?}");
        }
    }
}
