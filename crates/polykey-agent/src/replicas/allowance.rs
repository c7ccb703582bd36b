//! How much this node keeps for others, and the replica that stops there.
//!
//! What all kept vaults take on the disk is measured when the first pull of one begins; from then on each batch is
//! counted before it is stored, whichever pull brings it, until no such pull runs any more.
//!
//! Always: a batch that does not fit is not stored. Charter entries alone may go past the quota by [`HEADROOM`]: the
//! removal of a member and a purge, which makes room, have to arrive at a full keeper, too.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use polykey_api::{Code, Problem};
use polykey_core::VaultId;
use polykey_core::id::{ObjectId, StatementId};
use polykey_vault::charter::{Charter, LineId};
use polykey_vault::commit::Commit;
use polykey_vault::sync::{Batch, Blame, CommitHeader, CommitItem, Evidence, Replica, Tip};
use polykey_vault::{Vault, VaultError};

use crate::vaults::problem::vault_problem;

/// Bytes that are kept for others in all, unless the user says otherwise.
pub const DEFAULT_QUOTA: u64 = 10 << 30;
/// What charter entries may take beyond the quota.
pub const HEADROOM: u64 = 16 << 20;

/// How much is kept for others, and how much may be. Clones are one.
#[derive(Clone)]
pub struct Allowance(Arc<Shared>);

struct Shared {
    quota: AtomicU64,
    used: Mutex<Used>,
    full: Mutex<BTreeSet<VaultId>>,
}

#[derive(Default)]
struct Used {
    bytes: u64,
    shares: usize,
}

impl Default for Allowance {
    fn default() -> Self {
        Allowance(Arc::new(Shared {
            quota: AtomicU64::new(DEFAULT_QUOTA),
            used: Mutex::default(),
            full: Mutex::default(),
        }))
    }
}

impl Allowance {
    /// Keeps at most `bytes` from now on. What is there already stays.
    pub fn set_quota(&self, bytes: u64) {
        self.0.quota.store(bytes, Ordering::Relaxed);
    }

    /// So many bytes may be kept.
    pub fn quota(&self) -> u64 {
        self.0.quota.load(Ordering::Relaxed)
    }

    /// Begins to take in more; `measure` says how much is there, unless others take in more already.
    ///
    /// # Errors
    /// What `measure` says.
    pub fn share(&self, measure: impl FnOnce() -> Result<u64, Problem>) -> Result<Share, Problem> {
        let mut used = self.used();
        if used.shares == 0 {
            used.bytes = measure()?;
        }
        used.shares += 1;
        Ok(Share(self.clone()))
    }

    /// Notes whether there was room for what came for a vault; true when that is news.
    pub fn note_full(&self, vault: VaultId, full: bool) -> bool {
        let mut all = self.full();
        match full {
            true => all.insert(vault),
            false => all.remove(&vault),
        }
    }

    /// True when the last that came for the vault found no room.
    pub fn is_full(&self, vault: &VaultId) -> bool {
        self.full().contains(vault)
    }

    /// There may be room again: whoever found none may try.
    pub fn forget_full(&self) {
        self.full().clear();
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.0.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn full(&self) -> MutexGuard<'_, BTreeSet<VaultId>> {
        self.0.full.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to take in more, as far as the quota goes.
pub struct Share(Allowance);

impl Share {
    /// Takes room for `bytes`, and for `headroom` beyond the quota; false when there is none.
    pub fn take(&self, bytes: u64, headroom: u64) -> bool {
        let mut used = self.0.used();
        let after = used.bytes.saturating_add(bytes);
        let fits = after <= self.0.quota().saturating_add(headroom);
        if fits {
            used.bytes = after;
        }
        fits
    }

    /// True when not even a byte more would fit.
    pub fn is_used_up(&self) -> bool {
        self.0.used().bytes >= self.0.quota()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.0.used().shares -= 1;
    }
}

/// Why a kept vault did not take something in.
#[derive(Debug, thiserror::Error)]
pub enum RationError {
    /// There is no room left for it.
    #[error("the vaults that are kept for others take as much room as they may")]
    NoRoom,
    /// What the copy says.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl RationError {
    /// What a caller is told.
    pub fn problem(self) -> Problem {
        match self {
            RationError::NoRoom => no_room(),
            RationError::Vault(error) => vault_problem("that is kept", error),
        }
    }
}

/// The notice that a kept vault stopped growing.
pub fn no_room() -> Problem {
    Problem::new(
        Code::DiskFull,
        "the vaults that are kept for others take as much room as they may",
    )
    .hint("raise `keeper.quota` with `polykey config set`, or see `polykey vaults kept` and drop one")
}

/// A vault that is kept for others: the same replica, which takes in no more than its share.
pub struct Rationed {
    vault: Vault,
    share: Share,
}

impl Rationed {
    /// `vault`, which grows by `share`.
    pub fn new(vault: Vault, share: Share) -> Rationed {
        Rationed { vault, share }
    }
}

impl Replica for Rationed {
    type Commit = Commit;
    type Error = RationError;

    fn charter(&self) -> Result<Charter, RationError> {
        Ok(self.vault.charter()?)
    }

    fn tips(&self) -> Result<Vec<Tip>, RationError> {
        Ok(self.vault.tips()?)
    }

    fn header(&self, commit: &StatementId) -> Result<Option<CommitHeader>, RationError> {
        Ok(self.vault.header(commit)?)
    }

    fn line(&self, line: &LineId, first: u64, last: u64) -> Result<Vec<(u64, StatementId)>, RationError> {
        Ok(self.vault.line(line, first, last)?)
    }

    fn commit(&self, commit: &StatementId) -> Result<Option<CommitItem>, RationError> {
        Ok(Replica::commit(&self.vault, commit)?)
    }

    fn object(&self, object: &ObjectId) -> Result<Option<Vec<u8>>, RationError> {
        Ok(self.vault.object(object)?)
    }

    fn missing_objects(
        &self,
        limit: usize,
        except: &BTreeSet<ObjectId>,
    ) -> Result<Vec<ObjectId>, RationError> {
        Ok(self.vault.missing_objects(limit, except)?)
    }

    fn verify_commit(&self, statement: Vec<u8>, body: Vec<u8>) -> Result<(Commit, CommitHeader), Blame> {
        self.vault.verify_commit(statement, body)
    }

    fn store(&mut self, mut batch: Batch<Commit>) -> Result<Option<StatementId>, RationError> {
        let entries = batch.entries.iter().map(|entry| entry.as_bytes().len() as u64);
        let entries: u64 = entries.sum();
        let commits = batch
            .commits
            .iter()
            .map(|(commit, _)| (commit.statement().as_bytes().len() + commit.sealed_body().len()) as u64);
        let objects = batch.objects.iter().map(|(_, bytes)| bytes.len() as u64);
        let content = commits.chain(objects).sum::<u64>();
        if content == 0 {
            return match self.share.take(entries, HEADROOM) {
                true => Ok(self.vault.store(batch)?),
                false => Err(RationError::NoRoom),
            };
        }
        if self.share.take(entries + content, 0) {
            return Ok(self.vault.store(batch)?);
        }
        batch.commits.clear();
        batch.objects.clear();
        if !batch.is_empty() && self.share.take(entries, HEADROOM) {
            self.vault.store(batch)?;
        }
        Err(RationError::NoRoom)
    }

    fn keep_evidence(&mut self, evidence: Evidence) -> Result<(), RationError> {
        Ok(self.vault.keep_evidence(evidence)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(bytes: u64) -> impl FnOnce() -> Result<u64, Problem> {
        move || Ok(bytes)
    }

    #[test]
    fn shares_draw_on_one_quota_and_it_is_measured_anew_when_all_are_gone() {
        let allowance = Allowance::default();
        allowance.set_quota(100);
        let one = allowance.share(measured(60)).expect("measured");
        let other = allowance.share(measured(0)).expect("not asked again");
        assert!(one.take(30, 0) && !other.take(11, 0) && other.take(10, 0));
        assert!(one.is_used_up() && !one.take(1, 0));
        assert!(one.take(20, 20), "headroom goes beyond");
        assert!(!one.take(1, 20) && !one.take(u64::MAX, u64::MAX - 200));
        drop((one, other));
        let fails = allowance.share(|| Err(no_room()));
        assert!(fails.is_err());
        let again = allowance.share(measured(10)).expect("measured");
        assert!(again.take(90, 0) && !again.take(1, 0));
        allowance.set_quota(0);
        assert!(again.is_used_up());
    }

    #[test]
    fn a_vault_that_found_no_room_is_remembered_until_there_may_be_some() {
        let allowance = Allowance::default();
        let vault = VaultId::from_bytes([1; 32]);
        assert!(allowance.note_full(vault, true) && !allowance.note_full(vault, true));
        assert!(allowance.is_full(&vault));
        allowance.forget_full();
        assert!(!allowance.is_full(&vault) && !allowance.note_full(vault, false));
    }
}
