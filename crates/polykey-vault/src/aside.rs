//! What is set aside: commits that are kept and do not count, and how a writer takes them over.
//!
//! Nothing that anybody wrote is thrown away. What a removed member wrote behind its removal, or what comes
//! after the fork of a line, is listed here with the reason; a writer who wants it makes it a change of its
//! own.
//!
//! Always: adopting does what the commit would do if it counted, and nothing else: where somebody has put
//! something newer in its place since, that stays.

use polykey_core::{ActorId, NodeId, SecretPath, StatementId, Timestamp};

use crate::change::Change;
use crate::charter::{SetAside, Verdict};
use crate::commit::{Body, Commit};
use crate::draft::Handle;
use crate::error::VaultError;
use crate::event::{Action, State};
use crate::fold;
use crate::history::Difference;
use crate::id::{CommitId, SecretId, VersionId};
use crate::index::{self, Court, Opened};
use crate::operation::Operation;
use crate::pen::Bench;
use crate::rows::Rows;
use crate::stored;
use crate::vault::Vault;
use crate::view::Written;

/// Why a commit is set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsideReason {
    /// Its author had no right to write.
    NoRight,
    /// This removal of its author does not list it.
    Removed(StatementId),
    /// Its author wrote two commits with one number; it is one of them, or comes after one.
    Fork,
    /// No key for it has come to this node.
    Closed,
    /// Its author wrote something that makes no sense.
    Malformed,
}

/// A commit that is kept and does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AsideCommit {
    /// Its id.
    pub commit: CommitId,
    /// Who made it.
    pub author: NodeId,
    /// The line that it continues, as its author calls it.
    pub actor: ActorId,
    /// Its number on that line.
    pub seq: u64,
    /// Why it does not count.
    pub reason: AsideReason,
    /// When it was made, by its author's clock.
    pub time: Timestamp,
    /// What its author says about it.
    pub message: String,
    /// What it did, as far as it can be said where.
    pub changes: Vec<(SecretPath, Difference)>,
    /// True when adopting it would change nothing: it was adopted, or something newer is in its place.
    pub settled: bool,
}

/// What one secret would be if a commit counted.
struct Proposal {
    secret: SecretId,
    now: State,
    then: State,
    /// The content version of the commit that would stand.
    content: Option<VersionId>,
    /// The place version of the commit that would stand.
    place: Option<VersionId>,
    /// Attributes that the commit would set or take away.
    attributes: Vec<(String, Option<String>)>,
}

impl Vault {
    /// The commits that are set aside, each after what it builds on.
    ///
    /// # Errors
    /// [`VaultError::Store`], [`VaultError::CommitDamaged`].
    pub fn set_aside(&self) -> Result<Vec<AsideCommit>, VaultError> {
        let membership = self.shared().membership();
        let bench = membership.bench();
        self.shared().database.read(|tx| {
            let mut found = Vec::new();
            for (id, _) in stored::aside(tx)? {
                let (commit, row) =
                    stored::commit_and_row(tx, id)?.ok_or(VaultError::CommitDamaged { commit: id })?;
                found.push((row.height, describe(tx, &bench, &commit)?));
            }
            found.sort_by_key(|(height, aside)| (*height, aside.commit));
            Ok(found.into_iter().map(|(_, aside)| aside).collect())
        })
    }

    /// The secrets that a commit touched, as its author saw them, when it is set aside and its body opens.
    pub(crate) fn written_aside(&self, commit: CommitId) -> Result<Written, VaultError> {
        let shared = self.shared();
        shared.database.read(|tx| {
            let mut written = Written::new();
            let Some((found, row)) = stored::commit_and_row(tx, commit)?.filter(|(_, row)| !row.counted)
            else {
                return Ok(written);
            };
            let Opened::Body(body) = shared.membership().bench().open(&found)? else {
                return Ok(written);
            };
            for secret in index::touched_by(&found, &body) {
                let events = stored::events(tx, secret)?;
                let mut standings = stored::standings(tx, &events, Some(&row.horizon))?;
                // For its author all of them counted.
                for standing in standings.values_mut() {
                    standing.counted = true;
                }
                let state = fold::fold(&events, &standings);
                if let Some((place, _)) = state.place().filter(|_| !state.directory) {
                    written.insert(place.clone(), (secret, state));
                }
            }
            Ok(written)
        })
    }

    /// Makes what a commit that is set aside did a change of this node. `None` when that would change nothing.
    ///
    /// # Errors
    /// [`VaultError::NoSuchCommit`]; [`VaultError::NotAllowed`] for anybody but a writer, and when no key for the
    /// commit is here; [`VaultError::Purged`], [`VaultError::NotHereYet`] and [`VaultError::ObjectMissing`] when its
    /// content is not here.
    pub fn adopt(&self, commit: CommitId) -> Result<Option<CommitId>, VaultError> {
        let shared = self.shared();
        let found = shared.database.read(|tx| stored::commit_and_row(tx, commit))?;
        let (found, row) = found.ok_or_else(|| VaultError::NoSuchCommit {
            commit: commit.to_string(),
        })?;
        if row.counted {
            return Ok(None);
        }
        let membership = shared.membership();
        let body = match membership.bench().open(&found)? {
            Opened::Body(body) => body,
            Opened::Malformed => return Ok(None),
            Opened::Closed => {
                return Err(VaultError::NotAllowed {
                    action: "read that commit",
                });
            }
        };
        let message = format!("adopted from {}: {}", found.header().author, body.message);
        let (_, made) = self.change(Some(&message), |change| change.adopt(&found, &body))?;
        Ok(made)
    }
}

impl Change<'_> {
    fn adopt(&mut self, commit: &Commit, body: &Body) -> Result<(), VaultError> {
        for proposal in proposals(self.draft.rows(), commit, body)? {
            let handle = Handle::Known(proposal.secret);
            let to = proposal.then.place().map(|(path, _)| path.clone());
            let from = proposal.now.place().map(|(path, _)| path.clone());
            // So that nothing stands side by side if the commit ever counts.
            self.draft.cover(handle, proposal.content, proposal.place)?;
            if to != from {
                self.draft.place(handle, to.as_ref())?;
            }
            if let Some(version) = proposal.content {
                let shown = to.or(from).unwrap_or_default();
                let staged = self.stage_again(&shown, proposal.secret, version)?;
                self.draft.pending(handle)?.content = Some(staged);
            }
            for (key, value) in proposal.attributes {
                let pending = self.draft.pending(handle)?;
                pending.attributes.set(&key, value.as_deref())?;
            }
        }
        Ok(())
    }
}

/// What the commit would change if it counted, secret by secret.
fn proposals(rows: &dyn Rows, commit: &Commit, body: &Body) -> Result<Vec<Proposal>, VaultError> {
    let id = commit.id();
    let mut proposals = Vec::new();
    for secret in index::touched_by(commit, body) {
        let Some(row) = stored::secret_row(rows, secret)? else {
            continue;
        };
        let now = row.state;
        let events = stored::events(rows, secret)?;
        let mut standings = stored::standings(rows, &events, None)?;
        if let Some(standing) = standings.get_mut(&id) {
            standing.counted = true;
        }
        let then = fold::fold(&events, &standings);
        let known: Vec<VersionId> = now
            .content_versions()
            .into_iter()
            .chain(now.place_versions())
            .collect();
        let new = |version: &VersionId| version.commit == id && !known.contains(version);
        let content = then.content_versions().into_iter().find(|version| new(version));
        let place = then.place_versions().into_iter().find(|version| new(version));
        let mut attributes = Vec::new();
        for event in events.iter().filter(|event| event.version.commit == id) {
            let Action::Attributes(changes) = &event.action else {
                continue;
            };
            for (key, _) in changes.iter() {
                let value = |state: &State| state.attributes.get(key).map(|(_, value)| value.clone());
                if value(&now) != value(&then) {
                    attributes.push((key.to_owned(), value(&then)));
                }
            }
        }
        if content.is_some() || place.is_some() || !attributes.is_empty() {
            proposals.push(Proposal {
                secret,
                now,
                then,
                content,
                place,
                attributes,
            });
        }
    }
    Ok(proposals)
}

fn describe(rows: &dyn Rows, bench: &Bench<'_>, commit: &Commit) -> Result<AsideCommit, VaultError> {
    let header = commit.header();
    let mut aside = AsideCommit {
        commit: commit.id(),
        author: header.author,
        actor: header.actor,
        seq: header.seq,
        reason: AsideReason::Fork,
        time: Timestamp::default(),
        message: String::new(),
        changes: Vec::new(),
        settled: false,
    };
    let body = match bench.open(commit)? {
        Opened::Body(body) => Some(body),
        Opened::Closed => {
            aside.reason = AsideReason::Closed;
            None
        }
        Opened::Malformed => {
            aside.reason = AsideReason::Malformed;
            None
        }
    };
    match bench.verdict(commit) {
        Verdict::Counted => {}
        Verdict::SetAside(SetAside::CutOff(removal)) => aside.reason = AsideReason::Removed(removal),
        Verdict::SetAside(_) => aside.reason = AsideReason::NoRight,
    }
    if let Some(body) = body {
        aside.settled = proposals(rows, commit, &body)?.is_empty();
        aside.time = body.time;
        aside.changes = changes(rows, &body)?;
        aside.message = body.message;
    }
    Ok(aside)
}

/// What a commit did, by path.
fn changes(rows: &dyn Rows, body: &Body) -> Result<Vec<(SecretPath, Difference)>, VaultError> {
    let mut changes = Vec::new();
    for operation in &body.operations {
        let change = match operation {
            Operation::Create { at, .. } | Operation::MakeDirectory { at } => {
                Some((at.clone(), Difference::Added))
            }
            Operation::Move { to, .. } => Some((to.clone(), Difference::Added)),
            Operation::Put { secret, .. } => place_of(rows, *secret)?.map(|at| (at, Difference::Changed)),
            Operation::Remove { secret, .. } => place_of(rows, *secret)?.map(|at| (at, Difference::Removed)),
            Operation::SetAttributes { of, .. } => match of {
                crate::operation::Subject::Known(secret) => {
                    place_of(rows, *secret)?.map(|at| (at, Difference::Changed))
                }
                // The operation that made it is on the list.
                crate::operation::Subject::Made(_) => None,
            },
        };
        changes.extend(change);
    }
    changes.sort();
    changes.dedup();
    Ok(changes)
}

/// Where a secret stands, or stood the last time.
fn place_of(rows: &dyn Rows, secret: SecretId) -> Result<Option<SecretPath>, VaultError> {
    let row = stored::secret_row(rows, secret)?;
    if let Some((path, _)) = row.as_ref().and_then(|row| row.state.place()) {
        return Ok(Some(path.clone()));
    }
    let mut events = stored::events(rows, secret)?;
    events.sort_by_key(|event| std::cmp::Reverse(event.rank()));
    Ok(events.iter().find_map(|event| event.place().flatten().cloned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::charter::Role;
    use crate::trial::{Party, path, staged};
    use crate::{At, Depth, Expect};

    /// A founder, a writer who was removed and then went on writing, and another writer.
    fn story() -> (Party, Party, Party, StatementId) {
        let a = Party::founder();
        a.write("kept", b"1");
        a.write("gone", b"1");
        a.write("moved", b"1");
        a.grant(2, Role::Writer);
        a.grant(3, Role::Writer);
        let (b, c) = (Party::joined(2, &a), Party::joined(3, &a));
        b.pull(&a);
        let removal = a.vault.revoke(&b.node()).expect("an admin").entry;
        b.write("kept", b"from b");
        b.write("new", &[7; 40_000]);
        b.change(None, |change| {
            change.remove(&path("gone"), Depth::Single)?;
            change.rename(&path("moved"), &path("there"))?;
            change.set_attribute(&path("kept"), "note", Some("x"))?;
            change.mkdir(&path("dir"), crate::Parents::Needed)
        })
        .map_err(|error: VaultError| error)
        .expect("it does not know yet");
        a.pull(&b);
        c.pull(&a);
        (a, b, c, removal)
    }

    #[test]
    fn what_a_removed_writer_wrote_is_listed_with_the_reason() {
        let (a, b, c, removal) = story();
        for party in [&a, &c] {
            let aside = party.set_aside().expect("looks");
            let seen: Vec<_> = aside
                .iter()
                .map(|x| (x.author, x.seq, x.reason, x.settled))
                .collect();
            let reason = AsideReason::Removed(removal);
            assert_eq!(seen, [1, 2, 3].map(|seq| (b.node(), seq, reason, false)));
            assert_eq!(aside[0].changes, [(path("kept"), Difference::Changed)]);
            assert_eq!(aside[1].changes, [(path("new"), Difference::Added)]);
            assert!(aside[2].changes.contains(&(path("gone"), Difference::Removed)));
            assert!(aside[0].time > Timestamp::default() && !aside[0].message.is_empty());
            assert_eq!(party.conflicts().expect("looks").set_aside.len(), 3);
        }
        assert_eq!(a.paths(), ["gone", "kept", "moved"]);
        b.pull(&a);
        assert_eq!(
            b.set_aside().expect("looks").len(),
            3,
            "its own copy says so, too"
        );
    }

    #[test]
    fn what_is_set_aside_can_be_looked_at_and_stands_nowhere() {
        let (a, b, _, _) = story();
        let ids: Vec<_> = a.set_aside().expect("looks").iter().map(|x| x.commit).collect();
        let view = |id: &CommitId| a.view(At::Commit(*id)).expect("a commit");
        let read = |id: &CommitId, at: &str| {
            let content = view(id).open(&path(at))?;
            Ok::<_, VaultError>(content.into_bytes(50_000)?.expose().to_vec())
        };
        assert_eq!(read(&ids[0], "kept").expect("reads"), b"from b");
        assert_eq!(read(&ids[1], "new").expect("reads"), [7; 40_000]);
        assert_eq!(read(&ids[2], "there").expect("reads"), b"1");
        let stat = view(&ids[1]).stat(&path("new")).expect("there");
        assert_eq!((stat.size, stat.author), (40_000, Some(b.node())));
        for (id, at, written) in [
            (0, "kept", true),
            (0, "moved", false),
            (1, "kept", false),
            (1, "new", true),
        ] {
            assert_eq!(view(&ids[id]).is_set_aside(&path(at)), written, "{id} {at}");
        }
        // It is in no list, and the rest is as those see it for whom it does not count.
        for id in &ids {
            let names = view(id).names(&SecretPath::root()).expect("lists");
            let names: Vec<_> = names.iter().map(|name| name.name.as_str()).collect();
            assert_eq!(names, ["gone", "kept", "moved"]);
        }
        assert!(matches!(read(&ids[0], "new"), Err(VaultError::NoSuchPath { .. })));
        assert!(matches!(read(&ids[2], "gone"), Ok(bytes) if bytes == b"1"));
        // Going back to it brings none of it in.
        a.reset_to(ids[1], None).expect("a writer may");
        assert_eq!(a.paths(), ["gone", "kept", "moved"]);
        assert!(!a.view(At::Now).expect("now").is_set_aside(&path("new")));
    }

    #[test]
    fn adopting_does_what_the_commit_would_have_done() {
        let (a, b, c, _) = story();
        let wanted = b.tree();
        let ids: Vec<_> = a.set_aside().expect("looks").iter().map(|x| x.commit).collect();
        for id in &ids {
            assert!(a.adopt(*id).expect("a writer may").is_some());
            assert_eq!(a.adopt(*id).expect("a writer may"), None, "once");
        }
        assert_eq!(a.tree(), wanted);
        let stat = a.view(At::Now).expect("now").stat(&path("kept")).expect("there");
        assert_eq!(
            (stat.attributes["note"].as_str(), stat.author),
            ("x", Some(a.node()))
        );
        assert!(!stat.conflict);
        assert!(a.set_aside().expect("looks").iter().all(|x| x.settled));
        c.pull(&a);
        assert_eq!(c.tree(), wanted);
        assert!(a.conflicts().expect("looks").secrets.is_empty());
        assert!(a.check().expect("reads").problems.is_empty());
    }

    #[test]
    fn what_is_newer_stays() {
        let (a, b, c, _) = story();
        // Somebody built on what is set aside before hearing of it.
        let aside: Vec<_> = a.set_aside().expect("looks").iter().map(|x| x.commit).collect();
        c.write("kept", b"newer");
        a.write("new", b"another one");
        a.pull(&c);
        for id in aside {
            a.adopt(id).expect("a writer may");
        }
        let names = a.paths();
        assert!(
            names.iter().any(|name| name.starts_with("new~")),
            "both are kept: {names:?}"
        );
        let contents: Vec<_> = a.tree().into_iter().map(|(_, bytes)| bytes).collect();
        for bytes in [&b"another one"[..], &[7; 40_000]] {
            assert!(contents.iter().any(|have| have == bytes));
        }
        let log = a.secret_log(&path("kept")).expect("a log");
        for bytes in [b"newer".len(), b"from b".len()] {
            assert!(log.iter().any(|version| version.size == bytes as u64));
        }
        drop(b);
    }

    #[test]
    fn only_writers_adopt_and_only_what_is_there() {
        let (a, _, c, _) = story();
        let id = a.set_aside().expect("looks")[0].commit;
        a.vault
            .set_role(&crate::trial::joiner(3, Role::Reader))
            .expect("an admin");
        c.pull(&a);
        assert!(matches!(c.adopt(id), Err(VaultError::NotAllowed { .. })));
        let none = a.adopt(CommitId::from_bytes([9; 32]));
        assert!(matches!(none, Err(VaultError::NoSuchCommit { .. })));
        let counted = a.newest().expect("a log").expect("a commit");
        let last = a.log(&crate::LogFilter::default()).expect("a log");
        let counted = last
            .iter()
            .find(|entry| entry.counted)
            .map_or(counted, |entry| entry.commit);
        assert_eq!(a.adopt(counted).expect("nothing to do"), None);
    }

    #[test]
    fn adopted_content_is_no_conflict_if_the_commit_counts_after_all() {
        let a = Party::founder();
        a.grant(2, Role::Admin);
        a.grant(3, Role::Writer);
        let (b, c) = (Party::joined(2, &a), Party::joined(3, &a));
        b.pull(&a);
        c.pull(&a);
        // The admin b removes c, unknown to a, who removes b.
        b.vault.revoke(&c.node()).expect("it ranks above");
        c.write("x", b"from c");
        b.pull(&c);
        let id = b.set_aside().expect("looks")[0].commit;
        b.adopt(id).expect("a writer may").expect("new");
        let before = b.tree();
        assert_eq!(before.len(), 1);
        // Without a cut-off that keeps what b wrote, so its adoption stands, and its removal of c falls.
        a.change(None, |change| {
            let content = staged(change, b"1")?;
            change.put(&path("other"), content, &Expect::Any)
        })
        .map_err(|error: VaultError| error)
        .expect("written");
        a.vault.revoke(&b.node()).expect("an admin");
        c.pull(&a);
        assert_eq!(c.my_role(), Some(Role::Writer));
        a.pull(&c);
        assert_eq!(a.read("x").expect("counts"), b"from c");
        assert!(a.conflicts().expect("looks").secrets.is_empty());
    }
}
