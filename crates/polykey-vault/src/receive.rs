//! Receiving: commits, charter entries and objects that come from elsewhere.
//!
//! Everything goes through here once, whether it comes from a peer, a folder or a backup: it was verified
//! by whoever brings it in, is stored in one transaction, and takes its effect at once. A new charter entry
//! may end or give a right: the commits for which that can make a difference are judged again.
//!
//! Always: no writer ever writes under a charter that lacks an entry which is stored.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use polykey_core::statement::Statement;
use polykey_core::{ActorId, ObjectId, StatementId};
use polykey_store::{StoreError, WriteTx};

use crate::charter::Inserted as EntryInserted;
use crate::charter::Shift;
use crate::commit::Commit;
use crate::copy::{self, store_entry};
use crate::error::VaultError;
use crate::id::CommitId;
use crate::identity::Identity;
use crate::index::{self, Incoming, Inserted};
use crate::line::{self, Tip};
use crate::purge;
use crate::rows::{Rows, RowsMut};
use crate::stored::{self, ObjectRow};
use crate::vault::{Membership, Shared, Vault, epoch_keys};

/// What came together, verified.
pub(crate) struct Arrivals<'a> {
    /// Charter entries, each after its parents.
    pub entries: &'a [Statement],
    /// Commits, each after what it follows.
    pub commits: &'a [&'a Commit],
    /// Where the objects are that came with them.
    pub objects: HashMap<ObjectId, ObjectRow>,
}

/// What was in place before; to be put back when the transaction fails.
#[derive(Default)]
pub(crate) struct Before {
    membership: Option<Arc<Membership>>,
    actor: Option<ActorId>,
}

/// Why a transaction was taken back.
pub(crate) enum Back {
    /// This commit breaks a rule that only the index can check.
    Refused(CommitId, VaultError),
    /// Something else.
    Failed(VaultError),
}

impl From<VaultError> for Back {
    fn from(error: VaultError) -> Self {
        Back::Failed(error)
    }
}

impl From<StoreError> for Back {
    fn from(error: StoreError) -> Self {
        Back::Failed(error.into())
    }
}

impl From<Back> for VaultError {
    fn from(back: Back) -> Self {
        match back {
            Back::Refused(_, error) | Back::Failed(error) => error,
        }
    }
}

impl Vault {
    /// Takes in a commit that another replica holds; its objects are wanted from then on.
    ///
    /// # Errors
    /// [`VaultError::Commit`] when signature, form or line are wrong; [`VaultError::OtherVault`];
    /// [`VaultError::ParentMissing`] when another has to come first.
    pub fn insert_commit(&self, statement: Vec<u8>, body: Vec<u8>) -> Result<(), VaultError> {
        let commit = Commit::verify(statement, body)?;
        if commit.header().vault != self.id() {
            return Err(VaultError::OtherVault);
        }
        Ok(self.shared().receive(&Arrivals {
            entries: &[],
            commits: &[&commit],
            objects: HashMap::new(),
        })?)
    }

    /// Takes in charter entries, each after its parents.
    ///
    /// # Errors
    /// [`VaultError::Charter`]; nothing is stored then.
    pub fn insert_entries(&self, entries: Vec<Statement>) -> Result<(), VaultError> {
        self.shared().write_entries(|_, _| Ok(((), entries)))
    }
}

impl Shared {
    /// Takes in what came, all or nothing.
    pub(crate) fn receive(&self, arrivals: &Arrivals<'_>) -> Result<(), Back> {
        let mut before = Before::default();
        let done = self.database.write(|tx| {
            self.take_in(tx, arrivals, &mut before)?;
            Ok(())
        });
        self.undo_unless(done.is_ok(), before);
        done
    }

    /// Stores the charter entries that `make` gives, in one transaction with all that follows from them.
    pub(crate) fn write_entries<T>(
        &self,
        make: impl FnOnce(&mut WriteTx<'_>, &Membership) -> Result<(T, Vec<Statement>), VaultError>,
    ) -> Result<T, VaultError> {
        let mut before = Before::default();
        let done = self.database.write(|tx| {
            let (value, entries) = make(tx, &self.membership())?;
            let arrivals = Arrivals {
                entries: &entries,
                commits: &[],
                objects: HashMap::new(),
            };
            self.take_in(tx, &arrivals, &mut before)?;
            Ok::<_, VaultError>(value)
        });
        self.undo_unless(done.is_ok(), before);
        done
    }

    /// Opens the commits that were closed when they came and for which there are keys now: this copy was
    /// opened without them before, as a keeper's is.
    pub(crate) fn open_closed(&self) -> Result<(), VaultError> {
        let membership = self.membership();
        let keys = membership.keys.len() as u64;
        let due = |rows: &dyn Rows| -> Result<bool, VaultError> {
            Ok(copy::opened_with(rows)? < keys && stored::aside(rows)?.iter().any(|(_, closed)| *closed))
        };
        if !self.database.read(|tx| due(tx))? {
            return Ok(());
        }
        self.database.write(|tx| {
            judge_closed(tx, &membership)?;
            copy::put_opened_with(tx, keys)
        })
    }

    fn undo_unless(&self, durable: bool, before: Before) {
        if durable {
            self.tell();
            return;
        }
        if let Some(membership) = before.membership {
            self.replace_membership(membership);
        }
        if let Some(actor) = before.actor {
            self.replace_actor(actor);
        }
    }

    fn take_in(
        &self,
        rows: &mut dyn RowsMut,
        arrivals: &Arrivals<'_>,
        before: &mut Before,
    ) -> Result<(), Back> {
        let me = self.me();
        let taken = take(rows, &self.membership(), me.as_deref(), self.actor(), arrivals)?;
        if taken.forked {
            // Somebody knows a later commit of our own line: these files are an older copy. The next
            // writer, who waits for the store's lock, must go on under another name.
            let actor = self.store_new_actor(rows)?;
            before.actor = Some(self.replace_actor(actor));
        }
        if let Some(membership) = taken.membership {
            // Under the store's lock, too: the next writer must find the new charter.
            before.membership = Some(self.replace_membership(membership));
        }
        Ok(())
    }
}

/// What arrivals did beyond the rows.
pub(crate) struct Taken {
    /// The charter and the keys with the new entries, when there were any.
    pub membership: Option<Arc<Membership>>,
    /// True when somebody knew commits of our own line that were not here.
    pub forked: bool,
}

/// Brings rows up to date with what came for `me`, who writes as `actor`, under the charter `old`.
pub(crate) fn take(
    rows: &mut dyn RowsMut,
    old: &Arc<Membership>,
    me: Option<&Identity>,
    actor: ActorId,
    arrivals: &Arrivals<'_>,
) -> Result<Taken, Back> {
    let renewed = renew(rows, old, me, arrivals.entries)?;
    let membership = renewed.as_ref().unwrap_or(old);
    let mut left = arrivals.objects.clone();
    let mut forked = false;
    for commit in arrivals.commits {
        let header = commit.header();
        let mut heads = header.charter_heads.iter();
        if let Some(missing) = heads.find(|head| !membership.charter.contains(head)) {
            let missing = *missing;
            return Err(Back::Refused(commit.id(), VaultError::EntryMissing { missing }));
        }
        let named = header.objects.iter();
        let incoming = Incoming {
            commit,
            own: None,
            objects: named
                .filter_map(|(object, _)| left.remove_entry(object))
                .collect(),
        };
        let inserted = index::insert(rows, incoming, &membership.bench());
        match inserted {
            Ok(inserted) => {
                let own = me.is_some_and(|me| me.node() == header.author) && header.actor == actor;
                forked |= own && inserted != Inserted::Known;
            }
            Err(error @ (VaultError::ParentMissing { .. } | VaultError::Commit(_))) => {
                return Err(Back::Refused(commit.id(), error));
            }
            Err(error) => return Err(error.into()),
        }
    }
    // What is left came for commits that were here before.
    for (object, row) in left {
        if stored::object_row(rows.as_rows(), &object)? == Some(ObjectRow::Wanted) {
            stored::store_object(rows, &object, &row)?;
            stored::not_wanted(rows, &object)?;
        }
    }
    if let Some(new) = &renewed {
        judge_again(rows, old, new)?;
        if new.keys.len() > old.keys.len() {
            judge_closed(rows, new)?;
            copy::put_opened_with(rows, new.keys.len() as u64)?;
        }
        for id in new.charter.purges_since(&old.charter) {
            purge::hide(rows, new, &id)?;
        }
    }
    Ok(Taken {
        membership: renewed,
        forked,
    })
}

/// Stores new entries; the membership with them, when there are any.
fn renew(
    rows: &mut dyn RowsMut,
    old: &Membership,
    me: Option<&Identity>,
    entries: &[Statement],
) -> Result<Option<Arc<Membership>>, VaultError> {
    if entries.is_empty() {
        return Ok(None);
    }
    let mut charter = old.charter.clone();
    let mut new = false;
    for entry in entries {
        let number = charter.len() as u64;
        if let EntryInserted::New(_) = charter.insert(entry.clone())? {
            store_entry(rows, number, entry)?;
            new = true;
        }
    }
    if !new {
        return Ok(None);
    }
    let keys = epoch_keys(me, &charter);
    Ok(Some(Arc::new(Membership { charter, keys })))
}

/// Judges again what can be another verdict than before: commits of authors for whom something changed, from
/// the number on where it makes a difference.
pub(crate) fn judge_again(
    rows: &mut dyn RowsMut,
    old: &Membership,
    new: &Membership,
) -> Result<(), VaultError> {
    let mut doubtful = Vec::new();
    let shifts = new.charter.shifts_since(&old.charter);
    if !shifts.is_empty() {
        for (line, tip) in line::tips(rows.as_rows())? {
            if let Some(shift) = shifts.get(&tip.author) {
                doubtful.extend(in_doubt(rows.as_rows(), &line, &tip, shift)?);
            }
        }
    }
    judge_each(rows, doubtful, new)
}

/// Judges the commits that were closed when they came: keys for them may have come since.
fn judge_closed(rows: &mut dyn RowsMut, membership: &Membership) -> Result<(), VaultError> {
    let aside = stored::aside(rows.as_rows())?.into_iter();
    let closed = aside.filter(|(_, closed)| *closed).map(|(id, _)| id);
    judge_each(rows, closed, membership)
}

fn judge_each(
    rows: &mut dyn RowsMut,
    commits: impl IntoIterator<Item = CommitId>,
    membership: &Membership,
) -> Result<(), VaultError> {
    let mut touched = BTreeSet::new();
    for id in commits {
        index::judge(rows, id, &membership.bench(), &mut touched)?;
    }
    index::refold_all(rows, touched)
}

/// The commits of one line whose verdict may be another after `shift`.
fn in_doubt(rows: &dyn Rows, line: &ActorId, tip: &Tip, shift: &Shift) -> Result<Vec<CommitId>, VaultError> {
    let first = shift.first(&tip.actor, |seq| {
        line::commit_at(rows, line, seq).map(|commit| commit.map(StatementId::from))
    })?;
    let Some(mut first) = first else {
        return Ok(Vec::new());
    };
    let mut doubtful = Vec::new();
    if let Some(fork) = line::fork(rows, line)? {
        // What a removal lists is a fixed point of a line that forked.
        first = first.min(fork.seq);
        doubtful.extend(fork.others);
    }
    for seq in first..=tip.seq {
        doubtful.extend(line::commit_at(rows, line, seq)?);
    }
    Ok(doubtful)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::LogFilter;
    use crate::sync::replica::{Batch, Replica};
    use crate::trial::{Trial, env, identity, key, path};
    use crate::view::At;
    use crate::{Env, VersionRef};
    use std::path::Path;

    /// Copies a closed vault.
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir(to).expect("a folder");
        for entry in std::fs::read_dir(from)
            .expect("lists")
            .map(|entry| entry.expect("an entry"))
        {
            let target = to.join(entry.file_name());
            if entry.file_type().expect("a type").is_dir() {
                copy(&entry.path(), &target);
            } else {
                std::fs::copy(entry.path(), target).expect("copies");
            }
        }
    }

    /// A vault and a copy of it, on a machine that calls itself `machine`.
    fn twins(trial: Trial, machine: &[u8]) -> (Trial, Trial) {
        trial.vault.close().expect("closes");
        let place = tempfile::tempdir().expect("a folder");
        copy(&trial.folder(), &place.path().join("vault"));
        let other = Env {
            machine: machine.to_vec(),
            ..env()
        };
        let vault = Vault::open(&place.path().join("vault"), &key(), identity(1), other);
        let twin = Trial {
            vault: vault.expect("opens"),
            place,
        };
        (trial.reopen(), twin)
    }

    fn commits(vault: &Vault) -> Vec<CommitId> {
        let log = vault.log(&LogFilter::default()).expect("a log");
        log.iter().rev().map(|entry| entry.commit).collect()
    }

    /// Gives `to` all that `from` holds, in one batch.
    fn send(from: &Trial, to: &Trial) {
        let mut batch = Batch::default();
        for id in commits(from) {
            let item = Replica::commit(&from.vault, &id.into())
                .expect("sound")
                .expect("there");
            let verified = to.verify_commit(item.statement, item.body).expect("valid");
            for (object, _) in &verified.1.objects {
                let bytes = Replica::object(&from.vault, object)
                    .expect("sound")
                    .expect("there");
                batch.objects.push((*object, bytes.into()));
            }
            batch.commits.push(verified);
        }
        assert_eq!(to.vault.clone().store(batch).expect("stored"), None);
    }

    #[test]
    fn two_copies_meet_again() {
        let trial = Trial::new();
        trial.write("shared", b"0");
        let (a, b) = twins(trial, b"another machine");
        assert_ne!(a.actor(), b.actor());
        a.write("shared", b"from a");
        a.write("only a", &[1; 300_000]);
        b.write("shared", b"from b");
        b.write("only b", b"2");
        send(&a, &b);
        send(&b, &a);
        assert_eq!(a.tree(At::Now), b.tree(At::Now));
        assert_eq!(commits(&a), commits(&b));
        assert!(a.read("only a").expect("there") == b.read("only a").expect("there"));
        let conflicts = a.conflicts().expect("looks");
        assert_eq!(conflicts.secrets[0].1.len(), 2);
        let loser = &conflicts.secrets[0].1[1];
        a.change(None, |change| {
            change.resolve(&path("shared"), &VersionRef::from(loser.id))
        })
        .expect("resolved");
        send(&a, &b);
        for vault in [&a, &b] {
            assert!(vault.conflicts().expect("looks").secrets.is_empty());
            let content = vault.read("shared").expect("there");
            assert!(content == b"from a" || content == b"from b");
            assert!(vault.check().expect("reads").problems.is_empty());
        }
    }

    #[test]
    fn two_copies_that_write_one_line_fork_it() {
        let trial = Trial::new();
        trial.write("shared", b"0");
        let (a, b) = twins(trial, b"machine");
        assert_eq!(a.actor(), b.actor());
        a.write("shared", b"from a");
        b.write("shared", b"from b");
        b.write("later", b"from b");
        let actor = a.actor();
        send(&b, &a);
        send(&a, &b);
        assert_ne!(a.actor(), actor, "a new line is begun");
        for vault in [&a, &b] {
            assert_eq!(vault.read("shared").expect("there"), b"0");
            assert!(vault.read("later").is_err());
            let conflicts = vault.conflicts().expect("looks");
            assert_eq!((conflicts.set_aside.len(), conflicts.forks.len()), (3, 1));
        }
        a.write("shared", b"again");
        send(&a, &b);
        assert_eq!(b.read("shared").expect("there"), b"again");
    }

    #[test]
    fn what_does_not_hold_is_refused_and_leaves_nothing() {
        let trial = Trial::new();
        trial.write("a", b"1");
        let (a, b) = twins(trial, b"another machine");
        a.write("a", b"2");
        a.write("a", b"3");
        let sent = |at: usize| {
            let id = commits(&a)[at].into();
            let item = Replica::commit(&a.vault, &id).expect("sound").expect("there");
            (item.statement, item.body)
        };
        let (statement, body) = sent(2);
        assert!(matches!(
            b.insert_commit(statement.clone(), body.clone()),
            Err(VaultError::ParentMissing { missing }) if missing == commits(&a)[1]
        ));
        let mut bad = statement.clone();
        bad[20] ^= 1;
        assert!(matches!(b.insert_commit(bad, body), Err(VaultError::Commit(_))));
        assert!(matches!(
            b.insert_commit(statement, sent(1).1),
            Err(VaultError::Commit(_))
        ));
        let other = Trial::new();
        let (statement, body) = sent(0);
        assert!(matches!(
            other.insert_commit(statement, body),
            Err(VaultError::OtherVault)
        ));
        assert_eq!(b.read("a").expect("there"), b"1");
        assert_eq!(commits(&b).len(), 1);
    }
}
