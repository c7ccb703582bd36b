//! A folder as a replica: what sync reads from it and writes into it.

use std::collections::{BTreeSet, HashMap};

use polykey_core::id::{ObjectId, StatementId};

use super::super::message::{CommitItem, Room, Tip};
use super::super::pack::Pack;
use super::super::replica::{Batch, Blame, CommitHeader, Evidence, Replica};
use super::super::vault::verify;
use super::layout::{OBJECTS, files};
use super::{FolderError, FolderReplica, lock};
use crate::charter::{Charter, LineId};
use crate::commit::Commit;
use crate::object::INLINE_LEN;

/// Pieces of evidence that are kept in memory.
const MAX_EVIDENCE: usize = 64;

impl Replica for FolderReplica {
    type Commit = Commit;
    type Error = FolderError;

    fn charter(&self) -> Result<Charter, FolderError> {
        Ok(self.set.charter.clone())
    }

    fn tips(&self) -> Result<Vec<Tip>, FolderError> {
        Ok(self.set.tips())
    }

    fn header(&self, commit: &StatementId) -> Result<Option<CommitHeader>, FolderError> {
        Ok(self.set.commits.get(commit).map(|kept| kept.header.clone()))
    }

    fn line(&self, line: &LineId, first: u64, last: u64) -> Result<Vec<(u64, StatementId)>, FolderError> {
        Ok(self.set.line(line, first, last))
    }

    fn commit(&self, commit: &StatementId) -> Result<Option<CommitItem>, FolderError> {
        let Some(kept) = self.set.commits.get(commit) else {
            return Ok(None);
        };
        let (statement, body) = self.pack(&kept.place.pack)?.commits[kept.place.at].clone();
        let mut objects = Vec::new();
        let mut room = Room::default();
        for (object, len) in &kept.header.objects {
            if self.set.purged.contains(object) || *len as usize > INLINE_LEN {
                continue;
            }
            if !room.takes(*len as usize) {
                break;
            }
            objects.extend(self.small(object)?);
        }
        Ok(Some(CommitItem {
            statement,
            body,
            objects,
        }))
    }

    fn object(&self, object: &ObjectId) -> Result<Option<Vec<u8>>, FolderError> {
        if self.set.purged.contains(object) {
            return Ok(None);
        }
        match self.small(object)? {
            Some(bytes) => Ok(Some(bytes)),
            None if self.set.files.contains(object) => self.read_file(object),
            None => Ok(None),
        }
    }

    fn missing_objects(
        &self,
        limit: usize,
        except: &BTreeSet<ObjectId>,
    ) -> Result<Vec<ObjectId>, FolderError> {
        let damaged = lock(&self.damaged);
        let missing = self.set.wanted.iter().chain(damaged.iter());
        let missing = missing.filter(|id| !except.contains(id) && !self.set.purged.contains(id));
        Ok(missing.take(limit).copied().collect())
    }

    fn verify_commit(&self, statement: Vec<u8>, body: Vec<u8>) -> Result<(Commit, CommitHeader), Blame> {
        verify(statement, body)
    }

    fn store(&mut self, batch: Batch<Commit>) -> Result<Option<StatementId>, FolderError> {
        let Batch {
            entries,
            commits,
            objects,
        } = batch;
        let (small, large): (Vec<_>, Vec<_>) = objects
            .into_iter()
            .partition(|(_, bytes)| bytes.as_slice().len() <= INLINE_LEN);
        if !large.is_empty() {
            let folder = files(&self.env, &self.folder, OBJECTS)?;
            let mut batch = folder.batch();
            for (id, bytes) in &large {
                batch.write(id, bytes.as_slice())?;
            }
            batch.finish()?;
            for (id, _) in &large {
                self.set.files.insert(*id);
                self.set.wanted.remove(id);
                lock(&self.damaged).remove(id);
            }
        }
        let small = small.into_iter().map(|(id, bytes)| (id, bytes.into_vec()));
        let mut small: HashMap<ObjectId, Vec<u8>> = small.collect();
        let mut pack = Pack::default();
        for entry in &entries {
            pack.entries.push(entry.as_bytes().to_vec());
            if pack.is_full() {
                self.write_pack(&std::mem::take(&mut pack))?;
            }
        }
        // Commits name charter entries, so all entries are there before the first of them is.
        for entry in &entries {
            self.set.charter.insert(entry.clone())?;
        }
        for (commit, header) in commits {
            for (object, _) in &header.objects {
                pack.objects.extend(small.remove(object));
                if !self.has(object) {
                    self.set.wanted.insert(*object);
                }
            }
            let bytes = (
                commit.statement().as_bytes().to_vec(),
                commit.sealed_body().to_vec(),
            );
            pack.commits.push(bytes);
            self.set.add(header);
            if pack.is_full() {
                self.write_pack(&std::mem::take(&mut pack))?;
            }
        }
        for (_, bytes) in small {
            pack.objects.push(bytes);
            if pack.is_full() {
                self.write_pack(&std::mem::take(&mut pack))?;
            }
        }
        self.write_pack(&pack)?;
        let here: Vec<ObjectId> = self
            .set
            .wanted
            .iter()
            .filter(|id| self.has(id))
            .copied()
            .collect();
        for id in here {
            self.set.wanted.remove(&id);
        }
        if !entries.is_empty() {
            self.set.note_purges();
            self.collect()?;
        }
        Ok(None)
    }

    fn keep_evidence(&mut self, evidence: Evidence) -> Result<(), FolderError> {
        if self.evidence.len() < MAX_EVIDENCE {
            self.evidence.push(evidence);
        }
        Ok(())
    }
}
