//! Moments as people and scripts write them.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use polykey_api::{Code, Problem};

/// Reads a moment: `now`, milliseconds since 1970, a date, a date and time (both in UTC), or one with an
/// offset (RFC 3339). Gives milliseconds since 1970.
///
/// # Errors
/// [`Code::Usage`].
pub fn parse(text: &str) -> Result<u64, Problem> {
    let text = text.trim();
    if text == "now" {
        return Ok(millis(Timestamp::now()));
    }
    if let Ok(millis) = text.parse::<u64>() {
        return Ok(millis);
    }
    let in_utc = |civil: DateTime| civil.to_zoned(TimeZone::UTC).map(|zoned| zoned.timestamp());
    text.parse::<Timestamp>()
        .or_else(|_| text.parse::<DateTime>().and_then(in_utc))
        .or_else(|_| text.parse::<Date>().and_then(|date| in_utc(date.at(0, 0, 0, 0))))
        .map(millis)
        .map_err(|_| {
            Problem::new(Code::Usage, format!("{text:?} is no date"))
                .hint("write it as 2026-11-21, 2026-11-21T18:30:00Z or now")
        })
}

/// A moment as people read it, in UTC: `2026-11-21T18:30:00Z`.
pub fn show(millis: u64) -> String {
    i64::try_from(millis)
        .ok()
        .and_then(|millis| Timestamp::from_millisecond(millis).ok())
        .map_or_else(
            || millis.to_string(),
            |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        )
}

fn millis(time: Timestamp) -> u64 {
    // What lies before 1970 is before everything.
    u64::try_from(time.as_millisecond()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: Option<u64>) {
        assert_eq!(parse(text).ok(), want, "{text:?}");
    }

    #[test]
    fn moments_come_in_the_usual_forms() {
        check("0", Some(0));
        check("1795300793874", Some(1_795_300_793_874));
        check("2026-11-21", Some(1_795_219_200_000));
        check("2026-11-21T18:30:00", Some(1_795_285_800_000));
        check("2026-11-21 18:30", Some(1_795_285_800_000));
        check("2026-11-21T18:30:00Z", Some(1_795_285_800_000));
        check("2026-11-21T19:30:00+01:00", Some(1_795_285_800_000));
        check("1960-01-01", Some(0));
        for bad in [
            "",
            "yesterday",
            "2026-13-01",
            "2026-02-30",
            "-5",
            "1e9",
            "2026-11-21T25:00",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn moments_are_shown_in_utc() {
        assert_eq!(show(1_795_285_800_999), "2026-11-21T18:30:00Z");
        assert_eq!(show(u64::MAX), u64::MAX.to_string());
    }
}
