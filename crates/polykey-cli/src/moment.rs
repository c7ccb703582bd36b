//! Moments: how they are typed and shown.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};
use polykey_api::{Code, Problem};

/// A version of a vault, as typed: a commit or a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// A commit, or the beginning of its id.
    Commit(String),
    /// A moment, in milliseconds since 1970.
    Time(u64),
}

impl At {
    /// What looks like a date is one; all else names a commit.
    ///
    /// # Errors
    /// [`Code::Usage`] for a date that is none.
    pub fn parse(text: &str) -> Result<At, Problem> {
        let hex = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if hex || text == "last" {
            return Ok(At::Commit(text.to_owned()));
        }
        moment(text).map(At::Time)
    }
}

/// Reads `2026-01-31`, `2026-01-31 12:00`, RFC 3339, `@seconds`, `now`, or `3d` (and `h`, `m`, `w`) for as
/// long ago. Without an offset the time is local. Gives milliseconds since 1970.
///
/// # Errors
/// [`Code::Usage`] for anything else.
pub fn moment(text: &str) -> Result<u64, Problem> {
    let text = text.trim();
    parse(text)
        .and_then(|moment| u64::try_from(moment.as_millisecond()).ok())
        .ok_or_else(|| {
            Problem::new(Code::Usage, format!("{text:?} is not a date"))
                .hint("write 2026-01-31, \"2026-01-31 12:00\", 2026-01-31T12:00:00Z, 3d or now")
        })
}

fn parse(text: &str) -> Option<Timestamp> {
    if text == "now" {
        return Some(Timestamp::now());
    }
    if let Some(seconds) = text.strip_prefix('@') {
        return Timestamp::from_second(seconds.parse().ok()?).ok();
    }
    let (digits, unit) = text.split_at(text.len().saturating_sub(1));
    if text.is_ascii() && !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let count: i64 = digits.parse().ok()?;
        let hours = match unit {
            "m" => return Timestamp::now().checked_sub(count.minutes()).ok(),
            "h" => count,
            "d" => count.checked_mul(24)?,
            "w" => count.checked_mul(24 * 7)?,
            _ => return None,
        };
        return (hours < 10_000_000).then(|| Timestamp::now().checked_sub(hours.hours()).ok())?;
    }
    let local = |time: DateTime| -> Option<Timestamp> {
        let zoned: Zoned = time.to_zoned(TimeZone::system()).ok()?;
        Some(zoned.timestamp())
    };
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Some(moment);
    }
    // A bare date is one to its parser and a date with a time is not.
    if text.len() == 10 {
        return local(text.parse::<Date>().ok()?.to_datetime(jiff::civil::Time::midnight()));
    }
    local(text.parse::<DateTime>().ok()?)
}

/// Shows milliseconds since 1970 in RFC 3339, in UTC, to the second.
pub fn show(millis: u64) -> String {
    let moment = i64::try_from(millis / 1000).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    moment.map_or_else(|| "-".to_owned(), |moment| moment.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read() {
        for (text, want) in [
            ("1970-01-01T00:00:01Z", 1000),
            ("2026-01-31T12:00:00+01:00", 1_769_857_200_000),
            ("@5", 5000),
            (" @5 ", 5000),
        ] {
            assert_eq!(moment(text), Ok(want), "{text:?}");
        }
        let now = moment("now").unwrap();
        for (text, millis) in [("0m", 0), ("2h", 7_200_000), ("1d", 86_400_000), ("1w", 604_800_000)] {
            let earlier = moment(text).unwrap() + millis;
            assert!(earlier >= now && earlier < now + 60_000, "{text:?}");
        }
        assert!(moment("2026-01-31").is_ok() && moment("2026-01-31 12:00").is_ok());
        assert!(moment("2026-01-31T12:00:01").is_ok());
    }

    #[test]
    fn other_texts_are_no_dates() {
        for bad in [
            "", " ", "yesterdayish", "2026", "2026-13-01", "2026-02-30", "31.01.2026", "12:00", "3x", "-3d", "d", "@", "@x",
            "99999999999999999999d", "9999999999w", "1969-01-01T00:00:00Z", "2026-01-31T25:00", "é", "3é",
        ] {
            assert_eq!(moment(bad).map_err(|p| p.code), Err(Code::Usage), "{bad:?}");
        }
    }

    #[test]
    fn versions_are_commits_or_moments() {
        assert_eq!(At::parse("abc123"), Ok(At::Commit("abc123".into())));
        assert_eq!(At::parse("2026"), Ok(At::Commit("2026".into())));
        assert_eq!(At::parse("3d").map(|at| matches!(at, At::Commit(_))), Ok(true), "hexadecimal");
        assert_eq!(At::parse("1970-01-01T00:00:01Z"), Ok(At::Time(1000)));
        assert!(At::parse("").is_err() && At::parse("xyz").is_err());
    }

    #[test]
    fn moments_are_shown_in_utc() {
        assert_eq!(show(1_769_857_200_123), "2026-01-31T11:00:00Z");
        assert_eq!(show(u64::MAX), "-");
    }
}
