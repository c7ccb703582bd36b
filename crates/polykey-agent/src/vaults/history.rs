//! Commits and versions as the API tells of them.

use polykey_api::vaults::LogItem;
use polykey_core::{SecretPath, Timestamp};
use polykey_vault::{LogEntry, VersionEntry};

/// A commit.
pub fn to_item(entry: &LogEntry) -> LogItem {
    LogItem {
        version: None,
        commit_id: entry.commit.to_string(),
        committer: entry.author.to_string(),
        timestamp: rfc3339(entry.time),
        message: entry.message.clone(),
        parents: Some(entry.parents.iter().map(ToString::to_string).collect()),
        path: None,
        size: None,
        purged: false,
        set_aside: !entry.counted,
    }
}

/// A version of the secret at `path`.
pub fn to_version(path: &SecretPath, entry: &VersionEntry) -> LogItem {
    LogItem {
        version: Some(entry.version),
        commit_id: entry.id.commit.to_string(),
        committer: entry.author.to_string(),
        timestamp: rfc3339(entry.time),
        message: entry.message.clone(),
        parents: None,
        path: Some(path.as_str().to_owned()),
        size: (!entry.purged).then_some(entry.size),
        purged: entry.purged,
        set_aside: !entry.counted,
    }
}

/// A moment in RFC 3339, in UTC, to the millisecond.
///
/// Source of the calendar: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", days to civil.
pub fn rfc3339(time: Timestamp) -> String {
    let millis = time.as_millis();
    let (days, in_day) = (millis / 86_400_000, millis % 86_400_000);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hours, minutes, seconds) = (in_day / 3_600_000, in_day / 60_000 % 60, in_day / 1000 % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{:03}Z",
        in_day % 1000
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_dates() {
        for (millis, want) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_769_857_200_123, "2026-01-31T11:00:00.123Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(Timestamp::from_millis(millis)), want);
        }
        assert!(rfc3339(Timestamp::from_millis(u64::MAX)).ends_with('Z'));
    }
}
