//! Receiving: commits, charter entries and objects that come from elsewhere.
//!
//! Everything goes through here once, whether it comes from a peer, a folder or a backup: it was verified
//! by whoever brings it in, is stored in one transaction, and takes its effect at once. A new charter entry
//! has every commit judged again, as it may end or give a right.
//!
//! Always: no writer ever writes under a charter that lacks an entry which is stored.

use std::collections::HashMap;
use std::sync::Arc;

use polykey_core::statement::Statement;
use polykey_core::{ObjectId, StatementId};
use polykey_store::WriteTx;

use crate::charter::Inserted as EntryInserted;
use crate::charter::epoch::EpochKeys;
use crate::commit::Commit;
use crate::error::VaultError;
use crate::history;
use crate::index::{self, Incoming, Inserted};
use crate::object::{INLINE_LEN, MAX_OBJECT_LEN, object_id};
use crate::purge;
use crate::rows::{Rows, RowsMut, WANTED};
use crate::stored::{self, ObjectRow};
use crate::vault::{Membership, Shared, Vault, store_entry};

impl Vault {
    /// Takes in a commit that another replica holds. `objects` are those of its objects that came with it;
    /// others are wanted from then on.
    ///
    /// # Errors
    /// [`VaultError::Commit`] when signature, form or line are wrong; [`VaultError::OtherVault`];
    /// [`VaultError::ParentMissing`] when another has to come first.
    pub fn insert_commit(
        &self,
        statement: Vec<u8>,
        body: Vec<u8>,
        objects: Vec<Vec<u8>>,
    ) -> Result<Inserted, VaultError> {
        let commit = Commit::verify(statement, body)?;
        if commit.header().vault != self.id() {
            return Err(VaultError::OtherVault);
        }
        let shared = self.shared();
        let mut places = HashMap::new();
        for bytes in objects {
            let id = object_id(&bytes);
            if commit.header().objects.iter().any(|(named, _)| *named == id) {
                places.insert(id, shared.lay_down(id, bytes)?);
            }
        }
        let inserted = shared.database.write(|tx| {
            let membership = shared.membership();
            let incoming = Incoming {
                commit: &commit,
                own: None,
                objects: places,
            };
            index::insert(tx, incoming, &membership.bench())
        })?;
        if commit.header().author == shared.me.node() && commit.header().actor == self.actor() {
            // Somebody knows a later commit of our own line: these files are an older copy.
            shared.take_new_actor()?;
        }
        Ok(inserted)
    }

    /// Takes in charter entries, each after its parents.
    ///
    /// # Errors
    /// [`VaultError::Charter`]; nothing is stored then.
    pub fn insert_entries(&self, entries: Vec<Statement>) -> Result<(), VaultError> {
        self.shared().write_entries(|_, _| Ok(((), entries)))
    }

    /// Takes in an object that is wanted; false when it is not.
    ///
    /// # Errors
    /// [`VaultError::Store`].
    pub fn insert_object(&self, bytes: Vec<u8>) -> Result<bool, VaultError> {
        let shared = self.shared();
        let id = object_id(&bytes);
        let is_wanted =
            |rows: &dyn Rows| Ok::<_, VaultError>(stored::object_row(rows, &id)? == Some(ObjectRow::Wanted));
        if bytes.len() > MAX_OBJECT_LEN || !shared.database.read(|tx| is_wanted(tx))? {
            return Ok(false);
        }
        let row = shared.lay_down(id, bytes)?;
        shared.database.write(|tx| {
            if !is_wanted(tx)? {
                return Ok(false);
            }
            stored::not_wanted(tx, &id)?;
            stored::store_object(tx, &id, &row)?;
            Ok(true)
        })
    }

    /// Objects that commits name and that have not come yet, at most `limit`.
    ///
    /// # Errors
    /// [`VaultError::Store`].
    pub fn wanted_objects(&self, limit: usize) -> Result<Vec<ObjectId>, VaultError> {
        let mut wanted = Vec::new();
        self.shared().database.read(|tx| {
            Rows::each(tx, WANTED, b"", &mut |item, _| {
                let id = ObjectId::try_from(item.as_slice());
                wanted.push(id.map_err(|_| VaultError::IndexDamaged {
                    what: "the name of a wanted object",
                })?);
                Ok(match wanted.len() < limit {
                    true => std::ops::ControlFlow::Continue(()),
                    false => std::ops::ControlFlow::Break(()),
                })
            })
        })?;
        Ok(wanted)
    }

    /// A commit as it is sent: statement, sealed body, and those of its objects that are in the database.
    ///
    /// # Errors
    /// [`VaultError::CommitDamaged`].
    pub fn sent_commit(&self, id: StatementId) -> Result<Option<SentCommit>, VaultError> {
        self.shared().database.read(|tx| {
            let Some((commit, _)) = stored::commit_and_row(tx, id.into())? else {
                return Ok(None);
            };
            let mut objects = Vec::new();
            for (object, _) in &commit.header().objects {
                if let Some(ObjectRow::Inline(bytes)) = stored::object_row(tx, object)? {
                    objects.push(bytes);
                }
            }
            Ok(Some(SentCommit { commit, objects }))
        })
    }
}

/// A commit with its short objects.
#[derive(Debug, Clone)]
pub struct SentCommit {
    /// The commit.
    pub commit: Commit,
    /// Its objects that live in the database.
    pub objects: Vec<Vec<u8>>,
}

impl Shared {
    /// Puts an object where it will rest: into its file, when it is long.
    fn lay_down(&self, id: ObjectId, bytes: Vec<u8>) -> Result<ObjectRow, VaultError> {
        if bytes.len() <= INLINE_LEN {
            return Ok(ObjectRow::Inline(bytes));
        }
        self.objects.write(&id, &bytes)?;
        Ok(ObjectRow::File)
    }

    /// Stores the charter entries that `make` gives, in one transaction with all that follows from them.
    pub(crate) fn write_entries<T>(
        &self,
        make: impl FnOnce(&mut WriteTx<'_>, &Membership) -> Result<(T, Vec<Statement>), VaultError>,
    ) -> Result<T, VaultError> {
        let mut before = None;
        let done = self.database.write(|tx| {
            let old = self.membership();
            let (value, entries) = make(tx, &old)?;
            let mut charter = old.charter.clone();
            let mut new = Vec::new();
            for entry in entries {
                let number = charter.len() as u64;
                let inserted = charter
                    .insert(entry.clone())
                    .map_err(|source| VaultError::Charter(Box::new(source.into())))?;
                if let EntryInserted::New(id) = inserted {
                    store_entry(tx, number, &entry)?;
                    new.push(id);
                }
            }
            if new.is_empty() {
                return Ok(value);
            }
            let keys = self.me.with_opener(|opener| EpochKeys::open(&charter, opener));
            let membership = Arc::new(Membership { charter, keys });
            judge_all(tx, &membership)?;
            for id in &new {
                purge::hide(tx, &membership, id)?;
            }
            // Still under the store's lock: the next writer must find the new charter.
            before = Some(self.replace_membership(membership));
            Ok::<_, VaultError>(value)
        });
        if done.is_err()
            && let Some(before) = before
        {
            self.replace_membership(before);
        }
        done
    }
}

/// Judges every commit again, parents first.
fn judge_all(rows: &mut dyn RowsMut, membership: &Membership) -> Result<(), VaultError> {
    let mut commits = Vec::new();
    history::walk(rows.as_rows(), None, |id, _| {
        commits.push(id);
        Ok(std::ops::ControlFlow::Continue(()))
    })?;
    for id in commits.into_iter().rev() {
        index::judge(rows, id, &membership.bench())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::LogFilter;
    use crate::id::CommitId;
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

    fn send(from: &Trial, to: &Trial) -> Vec<Inserted> {
        let mut all = vec![];
        for id in commits(from) {
            let sent = from.sent_commit(id.into()).expect("sound").expect("there");
            let statement = sent.commit.statement().as_bytes().to_vec();
            let body = sent.commit.sealed_body().to_vec();
            all.push(to.insert_commit(statement, body, sent.objects).expect("valid"));
        }
        for object in to.wanted_objects(1000).expect("lists") {
            let bytes = from
                .shared()
                .objects
                .read(&object, MAX_OBJECT_LEN)
                .expect("there");
            assert!(to.insert_object(bytes).expect("stored"));
        }
        all
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
        assert!(send(&a, &b).contains(&Inserted::Counted));
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
            let sent = a
                .sent_commit(commits(&a)[at].into())
                .expect("sound")
                .expect("there");
            let bytes = sent.commit.statement().as_bytes().to_vec();
            (bytes, sent.commit.sealed_body().to_vec())
        };
        let (statement, body) = sent(2);
        assert!(matches!(
            b.insert_commit(statement.clone(), body.clone(), vec![]),
            Err(VaultError::ParentMissing { missing }) if missing == commits(&a)[1]
        ));
        let mut bad = statement.clone();
        bad[20] ^= 1;
        assert!(matches!(
            b.insert_commit(bad, body, vec![]),
            Err(VaultError::Commit(_))
        ));
        assert!(matches!(
            b.insert_commit(statement, sent(1).1, vec![]),
            Err(VaultError::Commit(_))
        ));
        let other = Trial::new();
        let (statement, body) = sent(0);
        assert!(matches!(
            other.insert_commit(statement, body, vec![]),
            Err(VaultError::OtherVault)
        ));
        assert!(!b.insert_object(vec![1; 300]).expect("looks"));
        assert_eq!(b.read("a").expect("there"), b"1");
        assert_eq!(commits(&b).len(), 1);
    }
}
