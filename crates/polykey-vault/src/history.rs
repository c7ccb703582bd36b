//! History: how a vault came to hold what it holds.
//!
//! The log is a walk down from the heads, always taking the highest commit next (then the greater id), so
//! every replica prints it in the same order and the first lines cost the same in a long history as in a
//! short one. What differs between two moments is found from the commits that lie between them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use polykey_core::{ActorId, NodeId, SecretPath, Timestamp};

use crate::commit::Preface;
use crate::content::Kind;
use crate::error::VaultError;
use crate::id::{CommitId, SecretId, VersionId};
use crate::index;
use crate::line::{self, Fork};
use crate::rows::{COMMIT, Rows};
use crate::stored::{self, CommitRow};
use crate::vault::{Shared, Vault};
use crate::view::{At, Look, MIN_PREFIX_LEN, Moment};

/// Which part of a log is wanted. The default is all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogFilter {
    /// Only commits that touched what stands, or stood, at or below this path.
    pub path: Option<SecretPath>,
    /// At most so many.
    pub depth: Option<usize>,
    /// Only this commit and what it had seen.
    pub from: Option<CommitId>,
}

/// A commit in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Its id.
    pub commit: CommitId,
    /// Who made it.
    pub author: NodeId,
    /// The line that it continues, as its author calls it.
    pub actor: ActorId,
    /// When, by the author's clock.
    pub time: Timestamp,
    /// Why.
    pub message: String,
    /// The commits that it builds on.
    pub parents: Vec<CommitId>,
    /// The commit to which it went back, if that is what it did.
    pub reset_to: Option<CommitId>,
    /// False when it is set aside.
    pub counted: bool,
}

/// A version in the history of one secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionEntry {
    /// Its counter.
    pub version: u64,
    /// Its id.
    pub id: VersionId,
    /// Who wrote it.
    pub author: NodeId,
    /// When, by the author's clock.
    pub time: Timestamp,
    /// What its commit says.
    pub message: String,
    /// Length of the content in bytes.
    pub size: u64,
    /// Raw bytes or a record.
    pub kind: Kind,
    /// True when nothing replaces it and the secret stands somewhere.
    pub current: bool,
    /// True when its content was deleted for good.
    pub purged: bool,
    /// False when its commit is set aside.
    pub counted: bool,
}

/// How a path differs between two moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Difference {
    /// It stands only at the second.
    Added,
    /// It holds something else.
    Changed,
    /// It stands only at the first.
    Removed,
}

/// Versions that stand side by side, or commits that are set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflicts {
    /// Secrets with more than one version, by path; the version that shows comes first.
    pub secrets: Vec<(SecretPath, Vec<VersionEntry>)>,
    /// Commits that are set aside, in the order of the log.
    pub set_aside: Vec<LogEntry>,
    /// Lines of commits that forked.
    pub forks: Vec<Fork>,
}

impl Vault {
    /// The commits, in an order that is the same on every replica: the highest first, then by id.
    ///
    /// # Errors
    /// [`VaultError::NoSuchCommit`] for an unknown `from`; [`VaultError::CommitDamaged`].
    pub fn log(&self, filter: &LogFilter) -> Result<Vec<LogEntry>, VaultError> {
        let mut entries = Vec::new();
        let depth = filter.depth.unwrap_or(usize::MAX);
        self.shared().database.read(|tx| {
            let commits = match &filter.path {
                Some(path) if !path.is_root() => Some(commits_below(tx, path)?),
                _ => None,
            };
            walk(tx, filter.from, |id, _| {
                if entries.len() == depth {
                    return Ok(ControlFlow::Break(()));
                }
                if commits.as_ref().is_none_or(|wanted| wanted.contains(&id)) {
                    entries.push(self.shared().log_entry(tx, id)?);
                }
                Ok(ControlFlow::Continue(()))
            })
        })?;
        Ok(entries)
    }

    /// One commit.
    ///
    /// # Errors
    /// [`VaultError::NoSuchCommit`].
    pub fn commit(&self, id: CommitId) -> Result<LogEntry, VaultError> {
        let shared = self.shared();
        shared.database.read(|tx| shared.log_entry(tx, id))
    }

    /// The versions of the secret at `path`, or of the last that was removed from there, the highest first.
    ///
    /// # Errors
    /// [`VaultError::NoSuchPath`], [`VaultError::IsDirectory`].
    pub fn secret_log(&self, path: &SecretPath) -> Result<Vec<VersionEntry>, VaultError> {
        let shared = self.shared();
        shared.database.read(|tx| {
            let look = Look {
                rows: tx,
                moment: &Moment::Now,
            };
            let id = look.last_secret(path)?;
            shared.versions(&look, id)
        })
    }

    /// The paths of secrets and made directories that differ between two moments, by path.
    ///
    /// # Errors
    /// [`VaultError::NoSuchCommit`].
    pub fn diff(&self, from: At, to: At) -> Result<Vec<(SecretPath, Difference)>, VaultError> {
        let (from, to) = (self.moment(from)?, self.moment(to)?);
        let shared = self.shared();
        shared.database.read(|tx| {
            let before = Look {
                rows: tx,
                moment: &from,
            };
            let after = Look {
                rows: tx,
                moment: &to,
            };
            let mut paths: BTreeMap<SecretPath, Difference> = BTreeMap::new();
            for id in shared.touched_between(tx, &from, &to)? {
                let (old, new) = (before.state(id)?, after.state(id)?);
                let old_place = old.place().map(|(path, _)| path.clone());
                let new_place = new.place().map(|(path, _)| path.clone());
                if old_place == new_place {
                    let content = |state: &crate::event::State| state.content().map(|(rank, _)| rank.version);
                    let same = same_content(tx, id, content(&old), content(&new))?;
                    let attributes = |state: &crate::event::State| {
                        let values = state.attributes.iter();
                        values
                            .map(|(key, (_, value))| (key.clone(), value.clone()))
                            .collect::<Vec<_>>()
                    };
                    if let Some(path) = new_place
                        && !(same && attributes(&old) == attributes(&new))
                    {
                        paths.insert(path, Difference::Changed);
                    }
                    continue;
                }
                for (path, difference) in [(old_place, Difference::Removed), (new_place, Difference::Added)] {
                    let Some(path) = path else { continue };
                    // One secret went and another came: the path holds something else.
                    paths
                        .entry(path)
                        .and_modify(|have| *have = Difference::Changed)
                        .or_insert(difference);
                }
            }
            Ok(paths.into_iter().collect())
        })
    }

    /// The commit whose id starts with `text`, at least four hexadecimal digits.
    ///
    /// # Errors
    /// [`VaultError::NoSuchCommit`], [`VaultError::Ambiguous`].
    pub fn commit_by_prefix(&self, text: &str) -> Result<CommitId, VaultError> {
        let none = || VaultError::NoSuchCommit {
            commit: text.to_owned(),
        };
        let group = text
            .get(..MIN_PREFIX_LEN)
            .and_then(|start| data_encoding::HEXLOWER.decode(start.as_bytes()).ok())
            .ok_or_else(none)?;
        let mut found = Vec::new();
        self.shared().database.read(|tx| {
            Rows::each(tx, COMMIT, &group, &mut |item, _| {
                let bytes = item.try_into().map_err(|_| VaultError::IndexDamaged {
                    what: "the name of a commit",
                })?;
                let id = CommitId::from_bytes(bytes);
                if id.to_string().starts_with(text) {
                    found.push(id);
                }
                Ok(ControlFlow::Continue(()))
            })
        })?;
        match found.as_slice() {
            [one] => Ok(*one),
            [] => Err(none()),
            _ => Err(VaultError::Ambiguous {
                text: text.to_owned(),
            }),
        }
    }

    /// The newest commit that was not made by going back to an older one; `None` in an empty vault.
    ///
    /// # Errors
    /// [`VaultError::CommitDamaged`].
    pub fn last(&self) -> Result<Option<CommitId>, VaultError> {
        let shared = self.shared();
        let mut last = None;
        shared.database.read(|tx| {
            walk(tx, None, |id, row| {
                if !row.counted
                    || shared
                        .preface(tx, id)?
                        .is_some_and(|preface| preface.reset_to.is_some())
                {
                    return Ok(ControlFlow::Continue(()));
                }
                last = Some(id);
                Ok(ControlFlow::Break(()))
            })
        })?;
        Ok(last)
    }

    /// The newest commit; `None` in an empty vault.
    ///
    /// # Errors
    /// [`VaultError::CommitDamaged`].
    pub fn newest(&self) -> Result<Option<CommitId>, VaultError> {
        let mut newest = None;
        self.shared().database.read(|tx| {
            walk(tx, None, |id, _| {
                newest = Some(id);
                Ok(ControlFlow::Break(()))
            })
        })?;
        Ok(newest)
    }

    /// All that stands side by side or is set aside. Looks at every secret.
    ///
    /// # Errors
    /// [`VaultError::Store`], [`VaultError::CommitDamaged`].
    pub fn conflicts(&self) -> Result<Conflicts, VaultError> {
        let shared = self.shared();
        let stats = self.view(At::Now)?.walk(&SecretPath::root())?;
        shared.database.read(|tx| {
            let look = Look {
                rows: tx,
                moment: &Moment::Now,
            };
            let mut secrets = Vec::new();
            for stat in stats.iter().filter(|stat| stat.conflict) {
                if let Some(id) = stat.secret {
                    let mut versions = shared.versions(&look, id)?;
                    versions.retain(|version| version.current);
                    secrets.push((stat.path.clone(), versions));
                }
            }
            let mut set_aside = Vec::new();
            for (id, _) in stored::aside(tx)? {
                let row = stored::commit_row(tx, id)?.ok_or(VaultError::CommitDamaged { commit: id })?;
                set_aside.push((row.height, id, shared.log_entry(tx, id)?));
            }
            set_aside.sort_by_key(|(height, id, _)| std::cmp::Reverse((*height, *id)));
            Ok(Conflicts {
                secrets,
                set_aside: set_aside.into_iter().map(|(.., entry)| entry).collect(),
                forks: line::forks(tx)?,
            })
        })
    }
}

fn same_content(
    rows: &dyn Rows,
    secret: SecretId,
    a: Option<VersionId>,
    b: Option<VersionId>,
) -> Result<bool, VaultError> {
    let (Some(first), Some(second)) = (a, b) else {
        return Ok(a == b);
    };
    if first == second {
        return Ok(true);
    }
    let content = |version| -> Result<_, VaultError> {
        Ok(stored::event(rows, secret, version)?
            .stored()
            .map(|stored| stored.content))
    };
    Ok(match (content(first)?, content(second)?) {
        (Some(a), Some(b)) => a.same_as(&b),
        (a, b) => a == b,
    })
}

/// Shows the commits from the heads, or from one of them, down.
pub(crate) fn walk(
    rows: &dyn Rows,
    from: Option<CommitId>,
    mut show: impl FnMut(CommitId, &CommitRow) -> Result<ControlFlow<()>, VaultError>,
) -> Result<(), VaultError> {
    let starts = match from {
        Some(id) => vec![id],
        None => line::Lines::load(rows)?.heads(rows)?,
    };
    let mut open: BTreeSet<(u64, CommitId)> = BTreeSet::new();
    for id in starts {
        let row = stored::commit_row(rows, id)?.ok_or_else(|| VaultError::NoSuchCommit {
            commit: id.to_string(),
        })?;
        open.insert((row.height, id));
    }
    // A parent is lower than its child, so what was shown is never met again.
    while let Some((_, id)) = open.pop_last() {
        let (commit, row) =
            stored::commit_and_row(rows, id)?.ok_or(VaultError::CommitDamaged { commit: id })?;
        if show(id, &row)?.is_break() {
            break;
        }
        for parent in &commit.header().parents {
            let row =
                stored::commit_row(rows, *parent)?.ok_or(VaultError::CommitDamaged { commit: *parent })?;
            open.insert((row.height, *parent));
        }
    }
    Ok(())
}

/// The commits that touched anything that stands, or ever stood, at or below `path`.
fn commits_below(rows: &dyn Rows, path: &SecretPath) -> Result<BTreeSet<CommitId>, VaultError> {
    let mut commits = BTreeSet::new();
    for id in secrets_below(rows, path)? {
        let events = stored::events(rows, id)?;
        commits.extend(events.iter().map(|event| event.version.commit));
    }
    Ok(commits)
}

/// All secrets and made directories that stand, or ever stood, at or below `path`.
pub(crate) fn secrets_below(rows: &dyn Rows, path: &SecretPath) -> Result<BTreeSet<SecretId>, VaultError> {
    let mut secrets = BTreeSet::new();
    let mut open = vec![path.clone()];
    while let Some(path) = open.pop() {
        let mut below = path.is_root();
        if let Some((entry, ids)) = crate::folder::ever(rows, &path)? {
            secrets.extend(ids);
            below |= entry.had_children;
        }
        if below {
            open.extend(crate::folder::names_ever(rows, &path)?);
        }
    }
    Ok(secrets)
}

impl Shared {
    /// What a log shows of the body of a stored commit.
    fn preface(&self, rows: &dyn Rows, id: CommitId) -> Result<Option<Preface>, VaultError> {
        let (commit, _) =
            stored::commit_and_row(rows, id)?.ok_or(VaultError::CommitDamaged { commit: id })?;
        Ok(self.membership().bench().preface(&commit))
    }

    fn log_entry(&self, rows: &dyn Rows, id: CommitId) -> Result<LogEntry, VaultError> {
        let (commit, row) = stored::commit_and_row(rows, id)?.ok_or_else(|| VaultError::NoSuchCommit {
            commit: id.to_string(),
        })?;
        let header = commit.header();
        let preface = self.membership().bench().preface(&commit);
        let (message, reset_to) = preface.map_or((String::new(), None), |preface| {
            (preface.message, preface.reset_to)
        });
        Ok(LogEntry {
            commit: id,
            author: header.author,
            actor: header.actor,
            time: row.time,
            message,
            parents: header.parents.clone(),
            reset_to,
            counted: row.counted,
        })
    }

    fn versions(&self, look: &Look<'_>, id: SecretId) -> Result<Vec<VersionEntry>, VaultError> {
        let state = look.state(id)?;
        let current = match state.place() {
            Some(_) => state.content_versions(),
            None => vec![],
        };
        let mut entries = Vec::new();
        for version in look.versions(id)? {
            let event = &version.event;
            let stored = event.stored().ok_or(VaultError::IndexDamaged {
                what: "a version has no content",
            })?;
            let mut purged = false;
            if let Some(first) = stored.objects.first() {
                purged |= stored::object_row(look.rows, &first.id)?.is_some_and(|row| row.is_gone());
            }
            let message = self
                .preface(look.rows, event.version.commit)?
                .map_or(String::new(), |preface| preface.message);
            entries.push(VersionEntry {
                version: version.number,
                id: event.version,
                author: event.author,
                time: event.time,
                message,
                size: stored.content.size,
                kind: stored.content.kind,
                current: current.contains(&event.version),
                purged,
                counted: version.counted,
            });
        }
        Ok(entries)
    }

    /// The secrets that commits touched which one of the moments has seen and the other has not.
    pub(crate) fn touched_between(
        &self,
        rows: &dyn Rows,
        a: &Moment,
        b: &Moment,
    ) -> Result<BTreeSet<SecretId>, VaultError> {
        let now = line::Lines::load(rows)?.frontier();
        let horizon = |moment: &Moment| match moment {
            Moment::Now => now.clone(),
            Moment::Past(horizon) => horizon.clone(),
        };
        let (a, b) = (horizon(a), horizon(b));
        let mut touched = BTreeSet::new();
        let lines: BTreeSet<ActorId> = a.iter().chain(b.iter()).map(|(line, _)| *line).collect();
        for line in lines {
            let (low, high) = (a.last(&line).min(b.last(&line)), a.last(&line).max(b.last(&line)));
            for seq in low + 1..=high {
                let id = line::commit_at(rows, &line, seq)?.ok_or(VaultError::IndexDamaged {
                    what: "a line of commits has a gap",
                })?;
                touched.extend(self.touched_by(rows, id)?);
            }
        }
        // Branches of forked lines have no numbers of their own.
        for fork in line::forks(rows)? {
            for id in fork.others {
                touched.extend(self.touched_by(rows, id)?);
            }
        }
        Ok(touched)
    }

    fn touched_by(&self, rows: &dyn Rows, id: CommitId) -> Result<Vec<SecretId>, VaultError> {
        let (commit, _) =
            stored::commit_and_row(rows, id)?.ok_or(VaultError::CommitDamaged { commit: id })?;
        Ok(self
            .open_body(&commit)?
            .map_or(vec![], |body| index::touched_by(&commit, &body)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::{Trial, path, staged};
    use crate::{Change, Depth, Expect, VersionRef};

    fn messages(trial: &Trial, filter: &LogFilter) -> Vec<String> {
        let log = trial.log(filter).expect("a log");
        log.into_iter().map(|entry| entry.message).collect()
    }

    #[test]
    fn the_log_is_newest_first_and_can_be_narrowed() {
        let trial = Trial::new();
        trial.write("a", b"1");
        trial.write("d/b", b"2");
        trial.write("a", b"3");
        let all = ["a modified", "d/b added", "a added"];
        assert_eq!(messages(&trial, &LogFilter::default()), all);
        let filter = |path_text: &str, depth, from| LogFilter {
            path: Some(path(path_text)),
            depth,
            from,
        };
        assert_eq!(messages(&trial, &filter("", None, None)), all);
        assert_eq!(messages(&trial, &filter("", Some(1), None)), all[..1]);
        assert_eq!(
            messages(&trial, &filter("a", None, None)),
            ["a modified", "a added"]
        );
        assert_eq!(messages(&trial, &filter("d", None, None)), ["d/b added"]);
        assert!(messages(&trial, &filter("missing", None, None)).is_empty());
        let second = trial.log(&LogFilter::default()).expect("a log")[1].commit;
        assert_eq!(messages(&trial, &filter("", None, Some(second))), all[1..]);
        let unknown = CommitId::from_bytes([9; 32]);
        assert!(matches!(
            trial.log(&filter("", None, Some(unknown))),
            Err(VaultError::NoSuchCommit { .. })
        ));
    }

    #[test]
    fn commits_are_found_by_the_start_of_their_id() {
        let trial = Trial::new();
        trial.write("a", b"1");
        let id = trial.newest().expect("a log").expect("a commit");
        let text = id.to_string();
        for len in [4, 7, 8, 64] {
            assert_eq!(trial.commit_by_prefix(&text[..len]).expect("unique"), id);
        }
        for bad in [
            "",
            &text[..3],
            "zzzz",
            &text[4..],
            &format!("{text}0"),
            "ééé",
            // Upper case, whatever digits the id happens to have.
            &format!("A{}", &text[1..8]),
        ] {
            let found = trial.commit_by_prefix(bad);
            assert!(matches!(found, Err(VaultError::NoSuchCommit { .. })), "{bad:?}");
        }
    }

    #[test]
    fn the_history_of_a_secret_follows_it() {
        let trial = Trial::new();
        trial.write("a", b"one");
        trial.write("a", b"second");
        trial
            .change(None, |change| change.rename(&path("a"), &path("b")))
            .expect("moved");
        let log = trial.secret_log(&path("b")).expect("a log");
        let seen: Vec<_> = log.iter().map(|v| (v.version, v.size, v.current)).collect();
        assert_eq!(seen, [(2, 6, true), (1, 3, false)]);
        assert!(trial.secret_log(&path("a")).is_err());
        trial
            .change(None, |change| change.remove(&path("b"), Depth::Single))
            .expect("removed");
        assert_eq!(trial.secret_log(&path("b")).expect("remembered").len(), 2);
        let short = log[1].id.commit.to_string();
        for text in ["1", &short[..8]] {
            let view = trial.view(At::Now).expect("now");
            let content = view.open_version(&path("b"), &VersionRef::parse(text));
            assert_eq!(
                content.expect("there").into_bytes(9).expect("reads").expose(),
                b"one"
            );
        }
    }

    #[test]
    fn differences_name_each_path_once() {
        let trial = Trial::new();
        for at in ["same", "changed", "gone", "moved", "twice"] {
            trial.write(at, b"1");
        }
        let before = trial.newest().expect("a log").expect("a commit");
        trial.write("changed", b"2");
        trial.write("twice", b"2");
        trial.write("twice", b"1");
        trial.write("new", b"1");
        trial
            .change(None, |change: &mut Change<'_>| {
                change.remove(&path("gone"), Depth::Single)?;
                change.rename(&path("moved"), &path("there"))
            })
            .expect("allowed");
        let diff = trial.diff(At::Commit(before), At::Now).expect("a difference");
        let diff: Vec<_> = diff.iter().map(|(path, d)| (path.as_str(), *d)).collect();
        use Difference::*;
        assert_eq!(
            diff,
            [
                ("changed", Changed),
                ("gone", Removed),
                ("moved", Removed),
                ("new", Added),
                ("there", Added)
            ]
        );
        let back = trial.diff(At::Now, At::Commit(before)).expect("a difference");
        assert!(back.contains(&(path("new"), Removed)) && back.contains(&(path("gone"), Added)));
    }

    #[test]
    fn going_back_makes_a_new_commit_and_last_returns() {
        let trial = Trial::new();
        trial.write("a", b"1");
        trial.write("d/b", &[1; 40_000]);
        let (first, tree) = (trial.newest().expect("log").expect("one"), trial.tree(At::Now));
        trial
            .change(None, |change: &mut Change<'_>| {
                let other = staged(change, b"2")?;
                change.put(&path("a"), other, &Expect::Any)?;
                change.rename(&path("d"), &path("e"))?;
                change.set_attribute(&path("a"), "note", Some("x"))?;
                let new = staged(change, b"3")?;
                change.put(&path("d"), new, &Expect::Any).map(drop)
            })
            .expect("allowed");
        let (second, later) = (trial.newest().expect("log").expect("one"), trial.tree(At::Now));
        let back = trial.reset_to(first, None).expect("allowed").expect("differs");
        assert_eq!(trial.tree(At::Now), tree);
        assert_eq!(trial.log(&LogFilter::default()).expect("a log").len(), 4);
        assert_eq!(trial.last().expect("a log"), Some(second));
        assert_eq!(trial.commit(back).expect("there").reset_to, Some(first));
        assert_eq!(trial.reset_to(first, None).expect("allowed"), None);
        trial.reset_to(second, None).expect("allowed").expect("differs");
        assert_eq!(trial.tree(At::Now), later);
        let stat = trial.view(At::Now).expect("now").stat(&path("a")).expect("there");
        assert_eq!(stat.attributes["note"], "x");
    }

    #[test]
    fn the_past_can_be_asked_for_by_time() {
        let trial = Trial::new();
        for n in 0..40u8 {
            trial.write("a", &[n]);
        }
        let log = trial.log(&LogFilter::default()).expect("a log");
        for (n, entry) in (0..40u8).rev().zip(&log) {
            assert_eq!(trial.read_at(At::Time(entry.time), "a").expect("there"), [n]);
        }
        let before = Timestamp::from_millis(0);
        assert!(trial.read_at(At::Time(before), "a").is_err());
    }
}
