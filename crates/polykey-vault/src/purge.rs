//! Purging: contents that are deleted for good, on every replica.
//!
//! A charter entry of an admin names the objects. They are hidden at once and deleted after seven days, or
//! at once where the entry says so; the commits stay and say that something was there. Objects that no
//! commit names, left by a crash between file and commit, are collected here too.
//!
//! Always: the entry is durable before anything is deleted; rows say what is gone before files go, so a crash
//! in between leaves files that the next collection removes.

use std::collections::BTreeSet;
use std::time::Duration;

use polykey_core::{ObjectId, SecretPath, StatementId, Timestamp};

use crate::charter::entry::{Body, MAX_PURGED};
use crate::charter::standing::Status;
use crate::error::VaultError;
use crate::history::secrets_below;
use crate::rows::{PURGE, Rows, RowsMut};
use crate::stored::{self, ObjectRow};
use crate::vault::{Membership, Vault};
use crate::view::{Look, Moment};

/// How long purged contents are kept, hidden, before they are deleted.
pub const GRACE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// So many object files are looked at when a vault is opened.
const AT_OPENING: usize = 1024;

/// When purged contents are deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// After [`GRACE`].
    AfterGrace,
    /// Now.
    AtOnce,
}

/// What a purge did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Purged {
    /// How many versions lost their content.
    pub versions: usize,
    /// How many objects that are.
    pub objects: usize,
    /// The charter entries that say so.
    pub entries: Vec<StatementId>,
}

/// What a collection removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// Purged objects whose time had come.
    pub purged: usize,
    /// Files that no commit names.
    pub orphans: usize,
}

impl Vault {
    /// Forgets the contents of versions that nothing shows any more: replaced ones, and those of removed
    /// secrets. With `path`, of secrets that stand or stood at or below it; with `before`, only of versions
    /// written before that time.
    ///
    /// # Errors
    /// [`VaultError::NotAllowed`] or [`VaultError::Charter`] for anybody but an admin.
    pub fn purge(
        &self,
        path: Option<&SecretPath>,
        before: Option<Timestamp>,
        when: Deletion,
    ) -> Result<Purged, VaultError> {
        let shared = self.shared();
        let root = SecretPath::root();
        let now = shared.env.clock.now();
        let me = shared.signer("purge")?;
        let purged = shared.write_entries(|tx, membership| {
            let (versions, objects) = forgotten(tx, path.unwrap_or(&root), before)?;
            let mut purged = Purged {
                versions,
                objects: objects.len(),
                entries: vec![],
            };
            let mut entries = Vec::new();
            let mut charter = membership.charter.clone();
            for part in objects.chunks(MAX_PURGED) {
                let note = format!("{versions} versions at \"{}\"", path.unwrap_or(&root));
                let note = crate::message::bounded(note);
                let at_once = when == Deletion::AtOnce;
                let (me, keys) = (me.signer(), &membership.keys);
                let entropy = (now, &*shared.env.random);
                let entry = charter.purge(me, keys, part, at_once, note.as_bytes(), entropy);
                let entry = entry.map_err(|source| VaultError::Charter(Box::new(source)))?;
                charter
                    .insert(entry.clone())
                    .map_err(|source| VaultError::Charter(Box::new(source.into())))?;
                purged.entries.push(entry.id());
                entries.push(entry);
            }
            Ok((purged, entries))
        })?;
        self.collect_purged(now)?;
        Ok(purged)
    }

    /// Deletes what was purged and whose time has come, and files that no commit names.
    ///
    /// # Errors
    /// [`VaultError::Store`].
    pub fn collect(&self) -> Result<Collected, VaultError> {
        let purged = self.collect_purged(self.shared().env.clock.now())?;
        let orphans = self.collect_orphans(usize::MAX)?;
        Ok(Collected { purged, orphans })
    }

    /// A bounded part of [`Vault::collect`], so that leftovers never pile up. Failing keeps nobody from
    /// their secrets: the next collection tries again.
    pub(crate) fn clean_at_opening(&self) {
        let _ = self.collect_purged(self.shared().env.clock.now());
        let _ = self.collect_orphans(AT_OPENING);
    }

    pub(crate) fn collect_purged(&self, now: Timestamp) -> Result<usize, VaultError> {
        let shared = self.shared();
        let due = |rows: &dyn Rows| -> Result<Vec<StatementId>, VaultError> {
            let mut due = Vec::new();
            rows.each(PURGE, b"", &mut |item, value| {
                let entry = StatementId::try_from(item.as_slice());
                let time = value.expose().try_into().map(u64::from_be_bytes);
                let (Ok(entry), Ok(time)) = (entry, time) else {
                    return Err(VaultError::IndexDamaged {
                        what: "a purge that waits",
                    });
                };
                if Timestamp::from_millis(time) <= now {
                    due.push(entry);
                }
                Ok(std::ops::ControlFlow::Continue(()))
            })?;
            Ok(due)
        };
        if shared.database.read(|tx| due(tx))?.is_empty() {
            return Ok(0);
        }
        let files = shared.database.write_removal(|tx| {
            let membership = shared.membership();
            let mut files = Vec::new();
            for entry in due(tx)? {
                let stands = membership.charter.status(&entry) == Some(Status::Stands);
                for object in objects_of(&membership, &entry) {
                    let row = stored::object_row(&*tx, &object)?;
                    let new = match row {
                        Some(ObjectRow::Hidden(_, bytes)) if !stands => bytes.map_or(
                            // The purge was void after all: what it hid shows again.
                            ObjectRow::File,
                            ObjectRow::Inline,
                        ),
                        Some(ObjectRow::Hidden(..)) => ObjectRow::Purged(now),
                        _ => continue,
                    };
                    if new == ObjectRow::Purged(now) {
                        files.push(object);
                    }
                    stored::store_object(tx, &object, &new)?;
                }
                tx.remove(PURGE, b"", entry.as_bytes())?;
            }
            Ok::<_, VaultError>(files)
        })?;
        shared.objects.remove(&files)?;
        Ok(files.len())
    }

    /// Looks at up to `limit` object files and removes those that no commit names.
    fn collect_orphans(&self, limit: usize) -> Result<usize, VaultError> {
        let shared = self.shared();
        let mut removed = 0;
        let mut files = shared.objects.ids().take(limit);
        loop {
            let part = files.by_ref().take(256).collect::<Result<Vec<_>, _>>()?;
            if part.is_empty() {
                return Ok(removed);
            }
            // Asked before the rows: what is taken by a commit in between is in the rows by then.
            let underway = shared.stager.underway();
            let mut orphans = Vec::new();
            shared.database.read(|tx| {
                for id in &part {
                    let kept = matches!(
                        stored::object_row(tx, id)?,
                        Some(ObjectRow::File | ObjectRow::Hidden(_, None))
                    );
                    if !kept && !underway.contains(id) {
                        orphans.push(*id);
                    }
                }
                Ok::<_, VaultError>(())
            })?;
            removed += shared.objects.remove(&orphans)?;
        }
    }
}

/// Versions that nothing shows, and their objects that are not gone yet.
fn forgotten(
    rows: &dyn Rows,
    path: &SecretPath,
    before: Option<Timestamp>,
) -> Result<(usize, Vec<ObjectId>), VaultError> {
    let look = Look {
        rows,
        moment: &Moment::Now,
    };
    let mut objects = BTreeSet::new();
    let mut versions = 0;
    for secret in secrets_below(rows, path)? {
        let state = look.state(secret)?;
        let shown = match state.place() {
            Some(_) => state.content_versions(),
            None => vec![],
        };
        for event in stored::events(rows, secret)? {
            let Some(stored) = event.stored() else { continue };
            if shown.contains(&event.version) || before.is_some_and(|time| event.time >= time) {
                continue;
            }
            let mut new = false;
            for object in &stored.objects {
                let row = stored::object_row(rows, &object.id)?;
                if row.is_some_and(|row| !row.is_gone()) {
                    new |= objects.insert(object.id);
                }
            }
            versions += usize::from(new);
        }
    }
    Ok((versions, objects.into_iter().collect()))
}

/// Hides what a standing purge names, and notes when it is to be deleted.
pub(crate) fn hide(
    rows: &mut dyn RowsMut,
    membership: &Membership,
    entry: &StatementId,
) -> Result<(), VaultError> {
    let Some(found) = membership.charter.entry(entry) else {
        return Ok(());
    };
    let Body::Purge { now, .. } = found.body() else {
        return Ok(());
    };
    if membership.charter.status(entry) != Some(Status::Stands) {
        return Ok(());
    }
    let due = match now {
        true => Timestamp::default(),
        false => found.time().after(GRACE),
    };
    for object in objects_of(membership, entry) {
        let row = match stored::object_row(rows.as_rows(), &object)? {
            Some(ObjectRow::Inline(bytes)) => ObjectRow::Hidden(due, Some(bytes)),
            Some(ObjectRow::File) => ObjectRow::Hidden(due, None),
            // What has not come yet need not come; a commit that names it later finds it gone.
            Some(ObjectRow::Wanted) | None => ObjectRow::Purged(found.time()),
            Some(ObjectRow::Purged(_) | ObjectRow::Hidden(..)) => continue,
        };
        stored::not_wanted(rows, &object)?;
        stored::store_object(rows, &object, &row)?;
    }
    rows.put(PURGE, b"", entry.as_bytes(), &due.as_millis().to_be_bytes())?;
    Ok(())
}

fn objects_of(membership: &Membership, entry: &StatementId) -> Vec<ObjectId> {
    match membership.charter.entry(entry).map(|entry| entry.body()) {
        Some(Body::Purge { objects, .. }) => objects.clone(),
        _ => vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::{Trial, path};
    use crate::view::At;
    use crate::{Depth, VersionRef};

    fn open(trial: &Trial, at: &str, version: u64) -> Result<Vec<u8>, VaultError> {
        let view = trial.view(At::Now).expect("now");
        let content = view.open_version(&path(at), &VersionRef::number(version))?;
        Ok(content.into_bytes(1 << 30)?.expose().to_vec())
    }

    #[track_caller]
    fn assert_purged(trial: &Trial, at: &str, version: u64) {
        assert!(matches!(open(trial, at, version), Err(VaultError::Purged { .. })));
    }

    fn files(trial: &Trial) -> usize {
        trial.shared().objects.ids().count()
    }

    #[test]
    fn replaced_versions_go_and_what_shows_stays() {
        for when in [Deletion::AtOnce, Deletion::AfterGrace] {
            let trial = Trial::new();
            trial.write("small", b"one");
            trial.write("small", b"two");
            trial.write("large", &[1; 600_000]);
            trial.write("large", &[2; 600_000]);
            trial.write("other", b"one");
            let files_before = files(&trial);
            let purged = trial.purge(None, None, when).expect("an admin may");
            assert_eq!(purged.versions, 2);
            let trial = trial.reopen();
            assert_purged(&trial, "small", 1);
            assert_purged(&trial, "large", 1);
            assert_eq!(trial.read("small").expect("shows"), b"two");
            assert!(trial.read("large").expect("shows") == vec![2; 600_000]);
            let gone = files_before - files(&trial);
            assert_eq!(gone, if when == Deletion::AtOnce { 3 } else { 0 });
            let log = trial.secret_log(&path("small")).expect("a log");
            assert_eq!(log.iter().map(|v| v.purged).collect::<Vec<_>>(), [false, true]);
            assert_eq!(trial.purge(None, None, when).expect("an admin may").versions, 0);
        }
    }

    #[test]
    fn a_purge_can_be_narrowed_to_a_path_and_a_time() {
        let trial = Trial::new();
        for at in ["a/x", "b/x"] {
            trial.write(at, b"1");
            trial.write(at, b"2");
            trial.write(at, b"3");
        }
        let second = trial.secret_log(&path("a/x")).expect("a log")[1].time;
        let purged = trial.purge(Some(&path("a")), Some(second), Deletion::AtOnce);
        assert_eq!(purged.expect("an admin may").versions, 1);
        assert_purged(&trial, "a/x", 1);
        assert_eq!(open(&trial, "a/x", 2).expect("later"), b"2");
        assert_eq!(open(&trial, "b/x", 1).expect("elsewhere"), b"1");
        trial
            .change(None, |change| change.remove(&path("b"), Depth::Recursive))
            .expect("removed");
        let purged = trial
            .purge(Some(&path("b")), None, Deletion::AtOnce)
            .expect("an admin may");
        assert_eq!(purged.versions, 3);
        let restored = trial.change(None, |change| {
            change.restore(&path("b/x"), &VersionRef::number(3))
        });
        assert!(matches!(restored, Err(VaultError::Purged { .. })));
    }

    #[test]
    fn files_that_no_commit_names_are_collected() {
        let trial = Trial::new();
        trial.write("kept", &[1; 300_000]);
        let before = files(&trial);
        let staged = trial.stage(&mut &[2; 300_000][..]).expect("staged");
        assert_eq!(trial.collect().expect("collects").orphans, 0);
        drop(staged);
        assert_eq!(files(&trial), before);
        let orphan = trial.stage(&mut &[3; 300_000][..]).expect("staged");
        // As after a crash between staging and commit.
        std::mem::forget(orphan);
        assert_eq!(files(&trial), before + 2);
        let trial = trial.reopen();
        assert_eq!(files(&trial), before);
        assert!(trial.read("kept").expect("there") == vec![1; 300_000]);
    }
}
