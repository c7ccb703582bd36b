//! Directory entries: which names stand in which directory.
//!
//! An entry knows the secrets that stand at its path now, the made directories, whether anything stands
//! below, and which secrets stood there before. When the last leaves, the entry moves to a second table,
//! so that listing a directory costs what is in it and not what ever was.
//!
//! Always: an entry is among the living exactly when something stands at its path or below it.

use polykey_core::codec::{CodecError, Reader, Writer};
use polykey_core::{SecretPath, Segment};

use crate::error::VaultError;
use crate::event::Rank;
use crate::id::SecretId;
use crate::rows::{ENTRY, GRAVE, PAST, Rows, RowsMut};

/// Most former secrets inside an entry; older ones move to a table of their own.
const MAX_PAST: usize = 16;
/// Longest encoded entry: a name with very many secrets at once is hostile, but stays readable.
const MAX_ENTRY_LEN: usize = 8 << 20;

/// What stands, and stood, at one path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Entry {
    /// Secrets that stand here, the winner first.
    pub secrets: Vec<(Rank, SecretId)>,
    /// Made directories that stand here.
    pub directories: Vec<SecretId>,
    /// True when something stands below.
    pub children: bool,
    /// Secrets and directories that stood here, the last to leave first.
    pub past: Vec<SecretId>,
    /// True when something ever stood below.
    pub had_children: bool,
}

impl Entry {
    /// True when something stands here or below.
    pub fn is_alive(&self) -> bool {
        self.children || !self.secrets.is_empty() || !self.directories.is_empty()
    }

    /// True when it is shown as a directory.
    pub fn is_directory(&self) -> bool {
        self.children || !self.directories.is_empty()
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.array(5).array(self.secrets.len());
        for (rank, secret) in &self.secrets {
            out.array(2);
            rank.write(&mut out);
            out.bytes(secret.as_bytes());
        }
        write_ids(&mut out, &self.directories);
        out.bool(self.children);
        write_ids(&mut out, &self.past);
        out.bool(self.had_children);
        out.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Entry, CodecError> {
        let mut reader = Reader::new(bytes, MAX_ENTRY_LEN, "a directory entry")?;
        let from = &mut reader;
        from.array_of(5)?;
        let mut entry = Entry::default();
        for _ in 0..from.array()? {
            from.array_of(2)?;
            let rank = Rank::read(from)?;
            entry.secrets.push((rank, SecretId::from_bytes(from.bytes_of()?)));
        }
        entry.directories = read_ids(from)?;
        entry.children = from.bool()?;
        entry.past = read_ids(from)?;
        entry.had_children = from.bool()?;
        reader.finish()?;
        Ok(entry)
    }
}

fn write_ids(out: &mut Writer, ids: &[SecretId]) {
    out.array(ids.len());
    for id in ids {
        out.bytes(id.as_bytes());
    }
}

fn read_ids(from: &mut Reader<'_>) -> Result<Vec<SecretId>, CodecError> {
    let count = from.array()?;
    (0..count)
        .map(|_| from.bytes_of().map(SecretId::from_bytes))
        .collect()
}

/// Group and item of the entry of `path`, which is not the root.
fn place(path: &SecretPath) -> (SecretPath, &str) {
    (
        path.parent().unwrap_or_default(),
        path.name().expect("the root has no entry"),
    )
}

/// The entry of `path`, if something stands there now. The root has none.
pub(crate) fn living(rows: &dyn Rows, path: &SecretPath) -> Result<Option<Entry>, VaultError> {
    load(rows, path, ENTRY)
}

/// The entry of `path`, if something stood there once and nothing stands there now.
pub(crate) fn buried(rows: &dyn Rows, path: &SecretPath) -> Result<Option<Entry>, VaultError> {
    load(rows, path, GRAVE)
}

fn load(
    rows: &dyn Rows,
    path: &SecretPath,
    table: polykey_store::Table,
) -> Result<Option<Entry>, VaultError> {
    if path.is_root() {
        return Ok(None);
    }
    let (dir, name) = place(path);
    let value = rows.value(table, dir.as_str().as_bytes(), name.as_bytes())?;
    Ok(match value {
        Some(value) => Some(Entry::decode(value.expose())?),
        None => None,
    })
}

/// Every secret and directory that stands or ever stood at `path`.
pub(crate) fn ever(rows: &dyn Rows, path: &SecretPath) -> Result<Option<(Entry, Vec<SecretId>)>, VaultError> {
    let Some(entry) = living(rows, path)?.map_or_else(|| buried(rows, path), |e| Ok(Some(e)))? else {
        return Ok(None);
    };
    let mut ids: Vec<SecretId> = entry.secrets.iter().map(|(_, id)| *id).collect();
    ids.extend(&entry.directories);
    ids.extend(&entry.past);
    rows.each(PAST, path.as_str().as_bytes(), &mut |item, _| {
        let id = item.as_slice().try_into().map_err(|_| VaultError::IndexDamaged {
            what: "the name of a former secret",
        })?;
        ids.push(SecretId::from_bytes(id));
        Ok(std::ops::ControlFlow::Continue(()))
    })?;
    ids.sort();
    ids.dedup();
    Ok(Some((entry, ids)))
}

/// The paths of all names that stand or ever stood in `dir`.
pub(crate) fn names_ever(rows: &dyn Rows, dir: &SecretPath) -> Result<Vec<SecretPath>, VaultError> {
    let mut paths = Vec::new();
    for table in [ENTRY, GRAVE] {
        rows.each(table, dir.as_str().as_bytes(), &mut |item, _| {
            let name = std::str::from_utf8(&item)
                .ok()
                .and_then(|name| Segment::parse(name).ok());
            let name = name.ok_or(VaultError::IndexDamaged {
                what: "a name in a directory",
            })?;
            paths.push(dir.join(&name)?);
            Ok(std::ops::ControlFlow::Continue(()))
        })?;
    }
    Ok(paths)
}

/// Records that `secret` stands at `path` from now on.
pub(crate) fn enter(
    rows: &mut dyn RowsMut,
    path: &SecretPath,
    secret: SecretId,
    rank: Rank,
    directory: bool,
) -> Result<(), VaultError> {
    let (mut entry, was_alive) = take(rows, path)?;
    entry.past.retain(|past| *past != secret);
    if directory {
        entry.directories.retain(|have| *have != secret);
        entry.directories.push(secret);
        entry.directories.sort();
    } else {
        entry.secrets.retain(|(_, have)| *have != secret);
        entry.secrets.push((rank, secret));
        entry.secrets.sort_by(|a, b| b.cmp(a));
    }
    store(rows, path, &entry)?;
    if was_alive { Ok(()) } else { link(rows, path) }
}

/// Records that `secret` does not stand at `path` any more.
pub(crate) fn leave(rows: &mut dyn RowsMut, path: &SecretPath, secret: SecretId) -> Result<(), VaultError> {
    let Some(mut entry) = living(rows.as_rows(), path)? else {
        return Err(VaultError::IndexDamaged {
            what: "a directory entry is missing",
        });
    };
    entry.secrets.retain(|(_, have)| *have != secret);
    entry.directories.retain(|have| *have != secret);
    entry.past.insert(0, secret);
    if entry.past.len() > MAX_PAST {
        let oldest = entry.past.pop().expect("longer than the bound");
        rows.put(PAST, path.as_str().as_bytes(), oldest.as_bytes(), &[])?;
    }
    settle(rows, path, &entry)
}

/// The entry to be changed, wherever it is, and whether it is alive.
fn take(rows: &mut dyn RowsMut, path: &SecretPath) -> Result<(Entry, bool), VaultError> {
    if let Some(entry) = living(rows.as_rows(), path)? {
        return Ok((entry, true));
    }
    let Some(entry) = buried(rows.as_rows(), path)? else {
        return Ok((Entry::default(), false));
    };
    let (dir, name) = place(path);
    rows.remove(GRAVE, dir.as_str().as_bytes(), name.as_bytes())?;
    Ok((entry, false))
}

fn store(rows: &mut dyn RowsMut, path: &SecretPath, entry: &Entry) -> Result<(), VaultError> {
    let (dir, name) = place(path);
    rows.put(ENTRY, dir.as_str().as_bytes(), name.as_bytes(), &entry.encode())?;
    Ok(())
}

/// Tells the directories above that something stands below them.
fn link(rows: &mut dyn RowsMut, path: &SecretPath) -> Result<(), VaultError> {
    let mut at = path.parent();
    while let Some(dir) = at.filter(|dir| !dir.is_root()) {
        let (mut entry, was_alive) = take(rows, &dir)?;
        if entry.children {
            return Ok(());
        }
        entry.children = true;
        entry.had_children = true;
        store(rows, &dir, &entry)?;
        if was_alive {
            return Ok(());
        }
        at = dir.parent();
    }
    Ok(())
}

/// Stores a living entry that lost something, or buries it, and the directories above that are empty then.
fn settle(rows: &mut dyn RowsMut, path: &SecretPath, entry: &Entry) -> Result<(), VaultError> {
    let mut path = path.clone();
    let mut entry = entry.clone();
    while !entry.is_alive() {
        let (dir, name) = place(&path);
        rows.remove(ENTRY, dir.as_str().as_bytes(), name.as_bytes())?;
        rows.put(GRAVE, dir.as_str().as_bytes(), name.as_bytes(), &entry.encode())?;
        if dir.is_root() || rows.as_rows().any(ENTRY, dir.as_str().as_bytes())? {
            return Ok(());
        }
        let Some(above) = living(rows.as_rows(), &dir)? else {
            return Err(VaultError::IndexDamaged {
                what: "a directory entry is missing",
            });
        };
        path = dir;
        entry = Entry {
            children: false,
            ..above
        };
    }
    store(rows, &path, &entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{CommitId, VersionId};
    use crate::rows::memory::Memory;

    fn path(text: &str) -> SecretPath {
        SecretPath::parse(text).expect("a path")
    }

    fn secret(number: u8) -> SecretId {
        SecretId::from_bytes([number; 32])
    }

    fn rank(height: u64) -> Rank {
        Rank {
            height,
            version: VersionId {
                commit: CommitId::from_bytes([0; 32]),
                index: 0,
            },
        }
    }

    fn names(rows: &Memory, dir: &str) -> Vec<String> {
        let mut names = vec![];
        let mut show = |item: Vec<u8>, _| {
            names.push(String::from_utf8(item).expect("names are text"));
            Ok(std::ops::ControlFlow::Continue(()))
        };
        rows.each(ENTRY, dir.as_bytes(), &mut show).expect("in memory");
        names
    }

    #[test]
    fn directories_come_and_go_with_what_stands_below() {
        let mut rows = Memory::default();
        enter(&mut rows, &path("a/b/c"), secret(1), rank(1), false).expect("in memory");
        enter(&mut rows, &path("a/d"), secret(2), rank(1), false).expect("in memory");
        assert_eq!(
            (names(&rows, ""), names(&rows, "a")),
            (vec!["a".into()], vec!["b".into(), "d".into()])
        );
        leave(&mut rows, &path("a/b/c"), secret(1)).expect("stands there");
        assert_eq!(names(&rows, "a"), ["d"]);
        leave(&mut rows, &path("a/d"), secret(2)).expect("stands there");
        assert!(names(&rows, "").is_empty());
        let (_, ever) = ever(&rows, &path("a/d")).expect("in memory").expect("buried");
        assert_eq!(ever, [secret(2)]);
    }

    #[test]
    fn made_directories_stay_when_they_are_empty() {
        let mut rows = Memory::default();
        enter(&mut rows, &path("a/b"), secret(1), rank(1), true).expect("in memory");
        enter(&mut rows, &path("a/b/c"), secret(2), rank(1), false).expect("in memory");
        leave(&mut rows, &path("a/b/c"), secret(2)).expect("stands there");
        assert_eq!(names(&rows, "a"), ["b"]);
        let entry = living(&rows, &path("a/b")).expect("in memory").expect("alive");
        assert!(entry.is_directory() && !entry.children);
    }

    #[test]
    fn all_that_ever_stood_somewhere_is_remembered() {
        let mut rows = Memory::default();
        for number in 0..100 {
            enter(&mut rows, &path("a"), secret(number), rank(1), false).expect("in memory");
            leave(&mut rows, &path("a"), secret(number)).expect("stands there");
        }
        let (_, ever) = ever(&rows, &path("a")).expect("in memory").expect("buried");
        assert_eq!(ever.len(), 100);
    }

    #[test]
    fn the_greatest_rank_stands_first() {
        let mut rows = Memory::default();
        for (number, height) in [(1, 2), (2, 3), (3, 1)] {
            enter(&mut rows, &path("a"), secret(number), rank(height), false).expect("in memory");
        }
        let entry = living(&rows, &path("a")).expect("in memory").expect("alive");
        let order: Vec<_> = entry.secrets.iter().map(|(_, id)| *id).collect();
        assert_eq!(order, [secret(2), secret(1), secret(3)]);
    }
}
