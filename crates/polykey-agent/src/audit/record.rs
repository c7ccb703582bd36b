//! The records of the audit log, as they stand in the database, and what binds each to the one before it.

use std::borrow::Cow;

use polykey_api::audit::AuditRecord;
use polykey_core::codec::{CodecError, Reader, Writer};
use polykey_core::hash::{HASH_LEN, keyed_hash};
use polykey_core::{Key, label};

/// Longest encoded record; names beyond are counted instead.
const MAX_RECORD: usize = 1 << 20;
/// Longest name in a record; bytes beyond are counted instead.
const MAX_NAME: usize = 8 << 10;

/// What happened, before it has its place in the chain.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    /// Milliseconds since 1970.
    pub time: u64,
    /// Path of the event.
    pub event: String,
    /// Whether the door let it pass.
    pub allowed: bool,
    /// Process that asked.
    pub pid: Option<u32>,
    /// User that asked.
    pub uid: Option<u32>,
    /// `password`, or the session; for a request of another node its id.
    pub session: Option<String>,
    /// The vault, where one was named.
    pub vault: Option<String>,
    /// Secrets or other objects that were named.
    pub targets: Vec<String>,
}

impl Entry {
    /// The same with no name longer than its record will have it, for one that has to wait.
    #[must_use]
    pub(crate) fn bounded(mut self) -> Entry {
        let cut = |text: &mut String| {
            if let Cow::Owned(short) = bounded(text) {
                *text = short;
            }
        };
        self.session.iter_mut().for_each(cut);
        self.vault.iter_mut().for_each(cut);
        self.targets.iter_mut().for_each(cut);
        self
    }

    /// Bytes of memory that it takes, roughly.
    pub(crate) fn size(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let targets: usize = self
            .targets
            .iter()
            .map(|target| target.len() + size_of::<String>())
            .sum();
        size_of::<Entry>() + self.event.len() + text(&self.session) + text(&self.vault) + targets
    }
}

/// One place in the chain: the number of a record and its hash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The number, from 1.
    pub seq: u64,
    /// The hash.
    pub hash: [u8; HASH_LEN],
}

/// What stands before the first record.
pub const NOTHING: Head = Head {
    seq: 0,
    hash: [0; HASH_LEN],
};

impl Head {
    /// As it stands in the database.
    pub fn encode(self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.array(2).u64(self.seq).bytes(&self.hash);
        writer.finish()
    }

    /// Reads what [`Head::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Option<Head> {
        let mut reader = Reader::new(bytes, 64, "the end of the audit log").ok()?;
        reader.array_of(2).ok()?;
        let head = Head {
            seq: reader.u64().ok()?,
            hash: reader.bytes_of().ok()?,
        };
        reader.finish().ok()?;
        Some(head)
    }
}

/// The hash of a record, behind the one whose hash is `before`.
pub fn chain(key: &Key, before: &[u8; HASH_LEN], record: &[u8]) -> [u8; HASH_LEN] {
    keyed_hash(key, label::AUDIT_CHAIN, &[before, record])
}

/// The bytes of a record.
pub fn encode(seq: u64, entry: &Entry) -> Vec<u8> {
    let mut targets: Vec<Cow<'_, str>> = Vec::new();
    let mut room = MAX_RECORD / 2;
    for target in &entry.targets {
        let target = bounded(target);
        let Some(left) = room.checked_sub(target.len() + 8) else {
            break;
        };
        room = left;
        targets.push(target);
    }
    let dropped = entry.targets.len() - targets.len();
    let mut writer = Writer::new();
    writer
        .array(10)
        .u64(seq)
        .u64(entry.time)
        .text(&entry.event)
        .bool(entry.allowed);
    for number in [entry.pid, entry.uid] {
        match number {
            Some(number) => writer.u64(number.into()),
            None => writer.null(),
        };
    }
    for text in [&entry.session, &entry.vault] {
        match text {
            Some(text) => writer.text(&bounded(text)),
            None => writer.null(),
        };
    }
    writer.array(targets.len());
    for target in targets {
        writer.text(&target);
    }
    writer.u64(dropped as u64);
    writer.finish()
}

/// `text`, or its beginning and how much is left out. Whoever asks chooses the names, also when refused.
fn bounded(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_NAME {
        return Cow::Borrowed(text);
    }
    let kept = &text[..text.floor_char_boundary(MAX_NAME)];
    Cow::Owned(format!("{kept} and {} more bytes", text.len() - kept.len()))
}

/// Reads what [`encode`] wrote.
///
/// # Errors
/// For anything else.
pub fn decode(bytes: &[u8]) -> Result<AuditRecord, CodecError> {
    let mut reader = Reader::new(bytes, 2 * MAX_RECORD, "an audit record")?;
    reader.array_of(10)?;
    let (seq, time) = (reader.u64()?, reader.u64()?);
    let path = reader.text()?.to_owned();
    let allowed = reader.bool()?;
    let number = |reader: &mut Reader<'_>| match reader.null()? {
        true => Ok(None),
        false => reader.u32().map(Some),
    };
    let (pid, uid) = (number(&mut reader)?, number(&mut reader)?);
    let text = |reader: &mut Reader<'_>| match reader.null()? {
        true => Ok(None),
        false => reader.text().map(|text| Some(text.to_owned())),
    };
    let (session, vault) = (text(&mut reader)?, text(&mut reader)?);
    let mut targets = Vec::new();
    for _ in 0..reader.array()? {
        targets.push(reader.text()?.to_owned());
    }
    let dropped = reader.u64()?;
    if dropped > 0 {
        targets.push(format!("and {dropped} more"));
    }
    reader.finish()?;
    Ok(AuditRecord {
        seq,
        time,
        path,
        vault,
        targets,
        allowed,
        pid,
        uid,
        session,
        damaged: false,
    })
}

/// Event of what stands in the place of a record that cannot be shown.
const DAMAGED: &str = "audit.damaged";

/// What is shown in the place of record `seq`, and says `why` where that is known.
pub fn stand_in(seq: u64, why: Option<String>) -> AuditRecord {
    AuditRecord {
        seq,
        time: 0,
        path: DAMAGED.to_owned(),
        vault: None,
        targets: why.into_iter().collect(),
        allowed: false,
        pid: None,
        uid: None,
        session: None,
        damaged: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_names_are_counted() {
        let mut many = Entry {
            event: "secrets.env".to_owned(),
            ..Entry::default()
        };
        many.targets = vec!["x".repeat(4000); 1000];
        let record = decode(&encode(1, &many)).expect("just written");
        let last = record.targets.last().expect("some");
        assert!(last.starts_with("and ") && last.ends_with(" more"), "{last}");
        assert!(encode(1, &many).len() <= MAX_RECORD);
    }

    #[test]
    fn names_of_any_length_leave_a_record_that_can_be_read() {
        let long = "ä".repeat(2 << 20);
        let record = Entry {
            event: "vaults.list".to_owned(),
            session: Some(long.clone()),
            vault: Some(long.clone()),
            targets: vec![long.clone(), "short".to_owned(), long],
            ..Entry::default()
        };
        assert!(encode(1, &record).len() <= MAX_RECORD);
        let read = decode(&encode(1, &record)).expect("just written");
        let vault = read.vault.expect("named");
        assert!(
            vault.starts_with("ää") && vault.ends_with(" more bytes"),
            "{}",
            vault.len()
        );
        assert_eq!(read.targets.len(), 3);
        assert_eq!(read.targets[1], "short");
        assert_eq!(read.targets[0], vault);
    }
}
