//! Audit records from while the keys are locked: they wait in memory for the next unlock.
//!
//! Whoever may connect can make the agent refuse as often as it likes and name what it likes, so their number
//! and their size are bounded; what finds no place is counted, and the count becomes a record of its own.

use crate::audit::Entry;

/// So many records wait.
pub const MAX_ENTRIES: usize = 4096;
/// So much memory they may take.
pub const MAX_BYTES: usize = 4 << 20;

/// Records that wait, oldest first.
#[derive(Debug, Default)]
pub struct Pending {
    entries: Vec<Entry>,
    bytes: usize,
    dropped: Option<(u64, u64)>,
}

impl Pending {
    /// Keeps `entry`, or counts it.
    pub fn push(&mut self, entry: Entry) {
        let entry = entry.bounded();
        let bytes = self.bytes + entry.size();
        if self.entries.len() >= MAX_ENTRIES || bytes > MAX_BYTES || self.dropped.is_some() {
            let (_, count) = self.dropped.unwrap_or_default();
            self.dropped = Some((entry.time, count + 1));
            return;
        }
        self.bytes = bytes;
        self.entries.push(entry);
    }

    /// All of them, and one more that says how many found no place.
    pub fn take(&mut self) -> Vec<Entry> {
        let Pending {
            mut entries,
            dropped: lost,
            ..
        } = std::mem::take(self);
        entries.extend(lost.map(|(time, count)| dropped(time, count)));
        entries
    }
}

/// The record that says how many found no place, the last of them at `time`.
pub fn dropped(time: u64, count: u64) -> Entry {
    Entry {
        time,
        event: "audit.dropped".to_owned(),
        targets: vec![format!("{count} records")],
        ..Entry::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(time: u64, vault: &str) -> Entry {
        Entry {
            time,
            event: "secrets.read".to_owned(),
            vault: Some(vault.to_owned()),
            ..Entry::default()
        }
    }

    #[test]
    fn records_wait_in_order_and_once() {
        let mut pending = Pending::default();
        pending.push(entry(1, "a"));
        pending.push(entry(2, "b"));
        let times: Vec<u64> = pending.take().iter().map(|entry| entry.time).collect();
        assert_eq!(times, [1, 2]);
        assert!(pending.take().is_empty());
    }

    #[test]
    fn too_many_or_too_large_ones_are_counted() {
        for (vault, most) in [("v".to_owned(), MAX_ENTRIES), ("v".repeat(1 << 20), 1024)] {
            let mut pending = Pending::default();
            for time in 0..5000 {
                pending.push(entry(time, &vault));
            }
            assert!(pending.bytes <= MAX_BYTES);
            let taken = pending.take();
            let (last, kept) = taken.split_last().expect("some");
            assert!(!kept.is_empty() && kept.len() <= most, "{}", kept.len());
            assert_eq!((last.event.as_str(), last.time), ("audit.dropped", 4999));
            assert_eq!(last.targets, [format!("{} records", 5000 - kept.len())]);
        }
    }
}
