//! Keepers: copies of a vault without a key to it.
//!
//! A keeper holds ciphertext, so that members who are never online together meet in it. It checks
//! signatures, hashes and who may write, answers members and refuses everybody else, and deletes what an
//! admin purges; it can read nothing.
//!
//! Always: the folder is that of a vault, in which nobody acts and nothing opens. When the node becomes a
//! member that reads, [`Vault::open`] opens the same folder, and what was kept shows.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use polykey_core::id::{ObjectId, StatementId};
use polykey_core::statement::Statement;
use polykey_core::{Key, NodeId, VaultId};

use crate::charter::epoch::EpochKeys;
use crate::charter::{Charter, CharterError, LineId, Role};
use crate::check::CheckReport;
use crate::commit::Commit;
use crate::error::VaultError;
use crate::object::INLINE_LEN;
use crate::purge::Collected;
use crate::sync::replica::{Batch, Blame, CommitHeader, Evidence, Replica};
use crate::sync::{CommitItem, Seen, SyncState, Tip};
use crate::vault::{Env, Membership, Vault};

/// A copy of a vault that cannot be read. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct Keeper {
    vault: Vault,
    /// Bytes of all object files.
    files: Arc<AtomicU64>,
}

impl Keeper {
    /// Makes an empty copy of the vault that `genesis` founds, in `folder`, which is made or empty. `key` seals
    /// its database and must be its own.
    ///
    /// # Errors
    /// [`VaultError::Store`]; [`VaultError::Charter`] when `genesis` is none.
    pub fn create(folder: &Path, key: &Key, genesis: &Statement, env: Env) -> Result<Keeper, VaultError> {
        let charter =
            Charter::found(genesis.clone()).map_err(|source: CharterError| VaultError::from(source))?;
        let membership = Membership {
            charter,
            keys: EpochKeys::default(),
        };
        Keeper::of(Vault::found(folder, key, None, env, genesis, membership)?)
    }

    /// Opens the copy in `folder` with the key that it was created with.
    ///
    /// # Errors
    /// As [`Vault::open`].
    pub fn open(folder: &Path, key: &Key, env: Env) -> Result<Keeper, VaultError> {
        Keeper::of(Vault::open_as(folder, key, None, env)?)
    }

    fn of(vault: Vault) -> Result<Keeper, VaultError> {
        let keeper = Keeper {
            vault,
            files: Arc::default(),
        };
        keeper.count_files()?;
        Ok(keeper)
    }

    fn count_files(&self) -> Result<(), VaultError> {
        let objects = &self.vault.shared().objects;
        let mut files = 0;
        for id in objects.ids() {
            files += objects.len(&id?)?.unwrap_or(0) as u64;
        }
        self.files.store(files, Ordering::Relaxed);
        Ok(())
    }

    /// The vault's id.
    pub fn id(&self) -> VaultId {
        self.vault.id()
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.vault.folder()
    }

    /// The entry that founded the vault.
    pub fn genesis(&self) -> Statement {
        self.vault.genesis()
    }

    /// What a node may do in the vault; `None` when it is out. A keeper answers members alone.
    pub fn role_of(&self, node: &NodeId) -> Option<Role> {
        self.vault.role_of(node)
    }

    /// About how many bytes the copy takes on the disk: its database and its object files.
    ///
    /// # Errors
    /// [`VaultError::Store`].
    pub fn bytes(&self) -> Result<u64, VaultError> {
        Ok(self.files.load(Ordering::Relaxed) + self.vault.database_len()?)
    }

    /// Where the copy stands.
    ///
    /// # Errors
    /// [`VaultError::Store`].
    pub fn sync_state(&self) -> Result<SyncState, VaultError> {
        self.vault.sync_state()
    }

    /// What others did that no honest program does.
    ///
    /// # Errors
    /// [`VaultError::Store`].
    pub fn evidence(&self) -> Result<Vec<Evidence>, VaultError> {
        self.vault.evidence()
    }

    /// As [`Vault::seen`].
    ///
    /// # Errors
    /// [`VaultError::Store`].
    pub fn seen(&self, whom: &[u8]) -> Result<Seen, VaultError> {
        self.vault.seen(whom)
    }

    /// As [`Vault::remember_seen`].
    ///
    /// # Errors
    /// [`VaultError::Store`].
    pub fn remember_seen(&self, whom: &[u8], seen: &Seen) -> Result<(), VaultError> {
        self.vault.remember_seen(whom, seen)
    }

    /// Deletes what was purged and whose time has come, and files that no commit names.
    ///
    /// # Errors
    /// [`VaultError::Store`].
    pub fn collect(&self) -> Result<Collected, VaultError> {
        let collected = self.vault.collect()?;
        self.count_files()?;
        Ok(collected)
    }

    /// As [`Vault::check`].
    ///
    /// # Errors
    /// [`VaultError::Store`].
    pub fn check(&self) -> Result<CheckReport, VaultError> {
        self.vault.check()
    }

    /// Closes the copy for all handles.
    ///
    /// # Errors
    /// As [`Vault::close`].
    pub fn close(&self) -> Result<(), VaultError> {
        self.vault.close()
    }
}

impl Replica for Keeper {
    type Commit = Commit;
    type Error = VaultError;

    fn charter(&self) -> Result<Charter, VaultError> {
        self.vault.charter()
    }

    fn tips(&self) -> Result<Vec<Tip>, VaultError> {
        self.vault.tips()
    }

    fn header(&self, commit: &StatementId) -> Result<Option<CommitHeader>, VaultError> {
        self.vault.header(commit)
    }

    fn line(&self, line: &LineId, first: u64, last: u64) -> Result<Vec<(u64, StatementId)>, VaultError> {
        self.vault.line(line, first, last)
    }

    fn commit(&self, commit: &StatementId) -> Result<Option<CommitItem>, VaultError> {
        Replica::commit(&self.vault, commit)
    }

    fn object(&self, object: &ObjectId) -> Result<Option<Vec<u8>>, VaultError> {
        self.vault.object(object)
    }

    fn missing_objects(
        &self,
        limit: usize,
        except: &std::collections::BTreeSet<ObjectId>,
    ) -> Result<Vec<ObjectId>, VaultError> {
        self.vault.missing_objects(limit, except)
    }

    fn verify_commit(&self, statement: Vec<u8>, body: Vec<u8>) -> Result<(Commit, CommitHeader), Blame> {
        self.vault.verify_commit(statement, body)
    }

    fn store(&mut self, batch: Batch<Commit>) -> Result<Option<StatementId>, VaultError> {
        let files = batch.objects.iter().map(|(_, bytes)| bytes.len());
        let files: usize = files.filter(|len| *len > INLINE_LEN).sum();
        let may_purge = !batch.entries.is_empty();
        let refused = self.vault.store(batch)?;
        self.files.fetch_add(files as u64, Ordering::Relaxed);
        if may_purge {
            self.count_files()?;
        }
        Ok(refused)
    }

    fn keep_evidence(&mut self, evidence: Evidence) -> Result<(), VaultError> {
        self.vault.keep_evidence(evidence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Deletion;
    use crate::sync::{Outcome, exchange};
    use crate::trial::{Party, env, identity, key, pull_into};

    struct Kept {
        keeper: Keeper,
        _place: tempfile::TempDir,
        node: NodeId,
    }

    fn keeper(of: &Party) -> Kept {
        of.grant(9, Role::Keeper);
        let place = tempfile::tempdir().expect("a folder");
        let keeper = Keeper::create(&place.path().join("kept"), &key(), &of.genesis(), env());
        Kept {
            keeper: keeper.expect("a new keeper"),
            _place: place,
            node: identity(9).node(),
        }
    }

    impl Kept {
        fn pull(&self, from: &Party) -> Outcome {
            pull_into(&mut self.keeper.clone(), self.node, from.node(), &from.vault).outcome
        }
    }

    #[test]
    fn two_who_never_meet_meet_in_a_keeper() {
        let a = Party::founder();
        a.grant(2, Role::Writer);
        let k = keeper(&a);
        a.write("small", b"1");
        a.write("large", &[7; 600_000]);
        assert_eq!(k.pull(&a), Outcome::Complete);
        let c = Party::joined(2, &a);
        assert_eq!(c.pull_from(k.node, &k.keeper).outcome, Outcome::Complete);
        assert_eq!(c.tree(), a.tree());
        c.write("from c", b"2");
        assert_eq!(k.pull(&c), Outcome::Complete);
        assert_eq!(a.pull_from(k.node, &k.keeper).outcome, Outcome::Complete);
        assert_eq!(c.tree(), a.tree());
        assert!(k.keeper.check().expect("reads").problems.is_empty());
        assert_eq!(
            k.keeper.sync_state().expect("open"),
            a.sync_state().expect("open")
        );
        // A stranger is refused, as everywhere.
        let stranger = Party::joined(5, &a);
        assert_eq!(stranger.pull_from(k.node, &k.keeper).outcome, Outcome::Refused);
    }

    #[test]
    fn a_keeper_counts_what_it_holds_and_deletes_what_is_purged() {
        let a = Party::founder();
        let k = keeper(&a);
        a.write("large", &[7; 600_000]);
        a.write("large", &[8; 600_000]);
        k.pull(&a);
        let full = k.keeper.bytes().expect("open");
        assert!((1_200_000..2_500_000).contains(&full), "{full}");
        a.purge(None, None, Deletion::AtOnce).expect("an admin");
        k.pull(&a);
        let less = k.keeper.bytes().expect("open");
        assert!(less < full - 500_000, "{less}");
        k.keeper.close().expect("closes");
        let again = Keeper::open(k.keeper.folder(), &key(), env()).expect("opens");
        assert!(again.bytes().expect("open") < full - 500_000);
        assert!(again.check().expect("reads").problems.is_empty());
        let c = Party::joined(1, &a);
        // What is purged is not wanted, so nothing is missing.
        assert_eq!(c.pull_from(k.node, &again).outcome, Outcome::Complete);
        assert_eq!(c.tree(), a.tree());
    }

    #[test]
    fn a_keepers_folder_shows_all_once_its_node_reads() {
        let a = Party::founder();
        a.write("before", b"1");
        let k = keeper(&a);
        k.pull(&a);
        a.grant(9, Role::Reader);
        a.write("after", &[3; 40_000]);
        k.pull(&a);
        k.keeper.close().expect("closes");
        let vault = Vault::open(k.keeper.folder(), &key(), identity(9), env());
        let mut vault = vault.expect("opens");
        let look = vault.view(crate::At::Now).expect("now");
        assert_eq!(look.names(&crate::trial::path("")).expect("the root").len(), 2);
        assert_eq!(vault.my_role(), Some(Role::Reader));
        let report = exchange(&a.vault, &mut vault, k.node, Seen::default(), &mut |_| {});
        assert_eq!(report.expect("both open").outcome, Outcome::Complete);
    }
}
