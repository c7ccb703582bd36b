//! A vault on disk as a replica.
//!
//! Entries, commits and objects of a pull go through the same door as our own, in one transaction; large
//! objects are files before the transaction that says so. When entries came, the membership is replaced
//! and what counts is judged again, in that same transaction.
//!
//! Always: whoever holds the vault open sees the old membership with the old rows or the new with the new.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;

use polykey_core::id::{ObjectId, StatementId};
use polykey_core::statement::{Kind, Statement};

use super::message::{CommitItem, Room, Tip};
use super::notebook;
use super::replica::{Batch, Blame, CommitHeader, Evidence, Replica};
use crate::charter::{Charter, LineId};
use crate::commit::{Commit, CommitError, Header};
use crate::error::VaultError;
use crate::id::CommitId;
use crate::line;
use crate::object::{INLINE_LEN, MAX_OBJECT_LEN};
use crate::receive::{Arrivals, Back};
use crate::rows::{Rows, WANTED};
use crate::stored::{ObjectRow, commit_and_row, object_row};
use crate::vault::Vault;

impl Replica for Vault {
    type Commit = Commit;
    type Error = VaultError;

    fn charter(&self) -> Result<Charter, VaultError> {
        Ok(self.shared().membership().charter.clone())
    }

    fn tips(&self) -> Result<Vec<Tip>, VaultError> {
        self.shared().database.read(|tx| {
            let mut tips = Vec::new();
            for (line, tip) in line::tips(tx)? {
                let of = LineId {
                    author: tip.author,
                    actor: tip.actor,
                };
                tips.push(Tip {
                    line: of,
                    seq: tip.seq,
                    commit: tip.commit().into(),
                });
                let branches = branches(tx, &line)?;
                let followed: BTreeSet<_> = branches.values().filter_map(|(_, previous)| *previous).collect();
                let ends = branches.iter().filter(|(id, _)| !followed.contains(id));
                tips.extend(ends.map(|(id, (seq, _))| Tip {
                    line: of,
                    seq: *seq,
                    commit: (*id).into(),
                }));
            }
            Ok(tips)
        })
    }

    fn header(&self, commit: &StatementId) -> Result<Option<CommitHeader>, VaultError> {
        let found = self
            .shared()
            .database
            .read(|tx| commit_and_row(tx, CommitId::from(*commit)))?;
        Ok(found.map(|(commit, _)| header_of(&commit)))
    }

    fn line(&self, line: &LineId, first: u64, last: u64) -> Result<Vec<(u64, StatementId)>, VaultError> {
        let name = line::line_of(&line.author, &line.actor);
        self.shared().database.read(|tx| {
            let mut commits = Vec::new();
            let end = line::tip(tx, &name)?.map_or(0, |tip| tip.seq).min(last);
            for seq in first.max(1)..=end {
                if let Some(commit) = line::commit_at(tx, &name, seq)? {
                    commits.push((seq, commit.into()));
                }
            }
            let branches = branches(tx, &name)?.into_iter();
            commits.extend(
                branches
                    .filter(|(_, (seq, _))| (first..=last).contains(seq))
                    .map(|(id, (seq, _))| (seq, id.into())),
            );
            commits.sort_unstable();
            Ok(commits)
        })
    }

    fn commit(&self, commit: &StatementId) -> Result<Option<CommitItem>, VaultError> {
        self.shared().database.read(|tx| {
            let Some((commit, _)) = commit_and_row(tx, CommitId::from(*commit))? else {
                return Ok(None);
            };
            let mut item = CommitItem {
                statement: commit.statement().as_bytes().to_vec(),
                body: commit.sealed_body().to_vec(),
                objects: Vec::new(),
            };
            let mut room = Room::default();
            for (object, len) in &commit.header().objects {
                if *len as usize > INLINE_LEN {
                    continue;
                }
                if !room.takes(*len as usize) {
                    break;
                }
                if let Some(ObjectRow::Inline(bytes)) = object_row(tx, object)? {
                    item.objects.push(bytes);
                }
            }
            Ok(Some(item))
        })
    }

    fn object(&self, object: &ObjectId) -> Result<Option<Vec<u8>>, VaultError> {
        match self.shared().database.read(|tx| object_row(tx, object))? {
            Some(ObjectRow::Inline(bytes)) => Ok(Some(bytes)),
            Some(ObjectRow::File) => Ok(Some(self.shared().objects.read(object, MAX_OBJECT_LEN)?)),
            Some(ObjectRow::Wanted | ObjectRow::Purged(_) | ObjectRow::Hidden(..)) | None => Ok(None),
        }
    }

    fn missing_objects(
        &self,
        limit: usize,
        except: &BTreeSet<ObjectId>,
    ) -> Result<Vec<ObjectId>, VaultError> {
        let mut missing = Vec::new();
        self.shared().database.read(|tx| {
            Rows::each(tx, WANTED, b"", &mut |item, _| {
                match ObjectId::try_from(item.as_slice()) {
                    Ok(object) if !except.contains(&object) => missing.push(object),
                    _ => {}
                }
                Ok(match missing.len() < limit {
                    true => ControlFlow::Continue(()),
                    false => ControlFlow::Break(()),
                })
            })
        })?;
        Ok(missing)
    }

    fn verify_commit(&self, statement: Vec<u8>, body: Vec<u8>) -> Result<(Commit, CommitHeader), Blame> {
        verify(statement, body)
    }

    fn store(&mut self, batch: Batch<Commit>) -> Result<Option<StatementId>, VaultError> {
        let Batch {
            entries,
            mut commits,
            objects,
        } = batch;
        let shared = self.shared();
        let mut places: HashMap<ObjectId, ObjectRow> = HashMap::new();
        let mut files = shared.objects.batch();
        for (object, bytes) in objects {
            if bytes.as_slice().len() > INLINE_LEN {
                files.write(&object, bytes.as_slice())?;
                places.insert(object, ObjectRow::File);
            } else {
                places.insert(object, ObjectRow::Inline(bytes.into_vec()));
            }
        }
        files.finish()?;
        let mut refused = None;
        loop {
            let now: Vec<&Commit> = commits.iter().map(|(commit, _)| commit).collect();
            let taken = shared.receive(&Arrivals {
                entries: &entries,
                commits: &now,
                objects: places.clone(),
            });
            match taken {
                Ok(()) => {
                    if !entries.is_empty() {
                        self.collect_purged(shared.env.clock.now())?;
                    }
                    return Ok(refused);
                }
                Err(Back::Failed(error)) => return Err(error),
                // Nothing of the transaction was kept: again, without that commit and what follows it.
                Err(Back::Refused(id, _)) => {
                    let kept = commits.iter().position(|(commit, _)| commit.id() == id);
                    commits.truncate(kept.unwrap_or(0));
                    refused = Some(id.into());
                }
            }
        }
    }

    fn keep_evidence(&mut self, evidence: Evidence) -> Result<(), VaultError> {
        self.shared()
            .database
            .write(|tx| notebook::put_evidence(tx, &evidence))
    }
}

/// Checks signature, form and body hash of a commit.
pub(super) fn verify(statement: Vec<u8>, body: Vec<u8>) -> Result<(Commit, CommitHeader), Blame> {
    let verified = Statement::verify(Kind::Commit, statement).map_err(|_| Blame::Sender)?;
    let signer = verified.signers()[0];
    // The line above has checked the signature; once is enough.
    match Commit::accept_stored(verified.as_bytes().to_vec(), body) {
        Ok(commit) => {
            let header = header_of(&commit);
            Ok((commit, header))
        }
        Err(CommitError::OtherBody) => Err(Blame::Sender),
        Err(_) => Err(Blame::Author(signer)),
    }
}

fn header_of(commit: &Commit) -> CommitHeader {
    let Header {
        vault,
        actor,
        seq,
        previous,
        author,
        parents,
        charter_heads,
        objects,
    } = commit.header().clone();
    CommitHeader {
        id: commit.id().into(),
        vault,
        line: LineId { author, actor },
        seq,
        previous: previous.map(StatementId::from),
        parents: parents.into_iter().map(StatementId::from).collect(),
        heads: charter_heads,
        objects,
    }
}

type Branches = BTreeMap<CommitId, (u64, Option<CommitId>)>;

/// The commits of a line that are no part of it as we know it, with their numbers and what they follow.
fn branches(rows: &dyn Rows, line: &polykey_core::ActorId) -> Result<Branches, VaultError> {
    let mut branches = BTreeMap::new();
    for id in line::fork(rows, line)?.map_or(Vec::new(), |fork| fork.others) {
        if let Some((commit, _)) = commit_and_row(rows, id)? {
            branches.insert(id, (commit.header().seq, commit.header().previous));
        }
    }
    Ok(branches)
}

#[cfg(test)]
mod tests {
    use polykey_core::NodeId;
    use polykey_core::random::OsRandom;

    use super::super::message::Response;
    use super::super::pull::Outcome;
    use super::super::replica::Offence;
    use super::*;
    use crate::charter::cast::time;
    use crate::charter::{CutOff, Removal, Role};
    use crate::commit::Body;
    use crate::trial::{Party, Trial, env, identity, key};

    /// Removes a node with what somebody decides to accept of it.
    fn revoke(by: &Party, node: NodeId, cut_offs: Vec<CutOff>) {
        let membership = by.shared().membership();
        let removal = Removal { node, cut_offs };
        let made = membership
            .charter
            .revoke(by.me.signer(), &membership.keys, &removal, time(2), &OsRandom)
            .expect("revoked");
        drop(membership);
        by.insert_entries(vec![made.statement]).expect("stored");
    }

    #[test]
    fn two_vaults_on_disk_come_to_show_the_same() {
        let a = Party::founder();
        a.trial.write("small", b"one");
        a.trial.write("folder/large", &vec![7; 700_000]);
        a.grant(2, Role::Writer);
        let b = Party::joined(2, &a);
        let report = b.pull(&a);
        assert_eq!((report.outcome, report.commits), (Outcome::Complete, 2));
        assert_eq!(b.tree(), a.tree());
        b.trial.write("from b", &vec![8; 40_000]);
        a.trial.write("small", b"two");
        assert_eq!(a.pull(&b).outcome, Outcome::Complete);
        assert_eq!(b.pull(&a).outcome, Outcome::Complete);
        assert_eq!(b.tree(), a.tree());
        assert_eq!(a.trial.read("from b").expect("there"), vec![8; 40_000]);
        assert_eq!(a.pull(&b).commits, 0);
        assert_eq!(b.trial.read("small").expect("there"), b"two");
    }

    #[test]
    fn content_that_is_on_its_way_is_told_from_content_that_is_lost() {
        let a = Party::founder();
        a.trial.write("small", b"one");
        a.trial.write("large", &vec![7; 700_000]);
        a.grant(2, Role::Reader);
        let b = Party::joined(2, &a);
        // The way is cut between the commits and their large objects.
        let report = b.pull_answers(a.node(), |request| match request {
            super::super::message::Request::Objects { .. } => Response::Refused,
            request => super::super::serve::serve(&a.vault, &b.node(), &request).expect("served"),
        });
        assert_eq!((report.outcome, report.commits), (Outcome::Refused, 2));
        assert_eq!(b.trial.read("small").expect("it came with its commit"), b"one");
        assert!(matches!(
            b.trial.read("large"),
            Err(VaultError::NotHereYet { .. })
        ));
        let check = b.check().expect("reads");
        assert!(check.wanted > 0 && check.problems.is_empty(), "{check:?}");
        assert_eq!(b.pull(&a).outcome, Outcome::Complete);
        assert_eq!(b.trial.read("large").expect("there"), vec![7; 700_000]);
    }

    #[test]
    fn a_commit_of_very_many_small_secrets_comes_through() {
        let a = Party::founder();
        let count = 5_000u32;
        a.change(None, |change| {
            for number in 0..count {
                let content = crate::trial::staged(change, &number.to_be_bytes())?;
                let at = crate::trial::path(&format!("{}/{number}", number % 50));
                change.put(&at, content, &crate::Expect::Absent)?;
            }
            Ok::<_, VaultError>(())
        })
        .expect("written");
        a.grant(2, Role::Reader);
        let b = Party::joined(2, &a);
        let report = b.pull(&a);
        assert_eq!(
            (report.outcome, report.objects),
            (Outcome::Complete, u64::from(count))
        );
        assert_eq!(b.tree(), a.tree());
        let stick = tempfile::tempdir().expect("a folder");
        let folder = super::super::FolderReplica::open_or_create(stick.path(), &a.genesis(), env());
        let mut folder = folder.expect("a replica");
        let seen = super::super::Seen::default();
        super::super::exchange(&a.vault, &mut folder, a.node(), seen.clone(), &mut |_| {}).expect("at hand");
        let c = Party::joined(2, &a);
        let report = super::super::exchange(&folder, &mut c.vault.clone(), c.node(), seen, &mut |_| {});
        assert_eq!(report.expect("at hand").outcome, Outcome::Complete);
        assert_eq!(c.sync_state().expect("open").wanted, 0);
    }

    #[test]
    fn what_was_pulled_is_there_after_opening_again() {
        let a = Party::founder();
        a.trial.write("small", b"one");
        a.grant(2, Role::Reader);
        let b = Party::joined(2, &a);
        b.pull(&a);
        let shown = b.tree();
        b.trial.vault.close().expect("closes");
        let folder = b.trial.folder();
        let again = Vault::open(&folder, &key(), identity(2), env()).expect("opens again");
        let again = Party {
            me: identity(2),
            trial: Trial {
                vault: again,
                place: b.trial.place,
            },
        };
        assert_eq!(again.tree(), shown);
        assert_eq!(again.my_role(), Some(Role::Reader));
    }

    #[test]
    fn a_keeper_hands_on_what_it_cannot_read_and_reads_it_once_it_may() {
        let a = Party::founder();
        a.grant(2, Role::Keeper);
        a.trial.write("secret", &vec![7; 300_000]);
        let keeper = Party::joined(2, &a);
        assert_eq!(keeper.pull(&a).outcome, Outcome::Complete);
        assert!(keeper.tree().is_empty(), "it has no key");
        a.grant(3, Role::Reader);
        keeper.pull(&a);
        let c = Party::joined(3, &a);
        assert_eq!(c.pull(&keeper).outcome, Outcome::Complete);
        assert_eq!(c.tree(), a.tree());
        a.grant(2, Role::Reader);
        keeper.pull(&a);
        assert_eq!(keeper.tree(), a.tree(), "what it held opens");
    }

    #[test]
    fn what_a_removed_writer_adds_is_set_aside() {
        let a = Party::founder();
        a.grant(2, Role::Writer);
        let b = Party::joined(2, &a);
        b.pull(&a);
        b.trial.write("accepted", b"one");
        a.pull(&b);
        a.vault.revoke(&b.node()).expect("an admin");
        b.trial.write("late", b"two");
        assert_eq!(a.pull(&b).commits, 1, "it is kept");
        assert_eq!(a.trial.paths(), ["accepted"]);
        assert!(matches!(b.pull(&a).outcome, Outcome::Removed(_)));
        assert_eq!(b.trial.paths(), ["accepted"], "its own replica says so, too");
        // A removal that lists nothing takes back what had counted.
        let c = Party::founder();
        c.grant(2, Role::Writer);
        let d = Party::joined(2, &c);
        d.pull(&c);
        d.trial.write("taken back", b"one");
        c.pull(&d);
        assert_eq!(c.trial.paths(), ["taken back"]);
        revoke(&c, d.node(), Vec::new());
        assert!(c.trial.paths().is_empty());
    }

    #[test]
    fn a_commit_that_has_not_seen_its_own_line_names_its_author() {
        let a = Party::founder();
        a.grant(2, Role::Writer);
        let b = Party::joined(2, &a);
        b.pull(&a);
        b.trial.write("first", b"one");
        a.pull(&b);
        let tip = b.trial.vault.tips().expect("open")[0];
        let membership = b.trial.vault.shared().membership();
        let heads = membership.charter.heads();
        let header = Header {
            vault: membership.charter.id(),
            actor: tip.line.actor,
            seq: 2,
            previous: Some(tip.commit.into()),
            author: b.node(),
            parents: Vec::new(),
            charter_heads: heads.clone(),
            objects: Vec::new(),
        };
        let body = Body {
            time: time(9),
            message: String::new(),
            reset_to: None,
            operations: Vec::new(),
            keys: Vec::new(),
        };
        let sealed = membership
            .keys
            .commit_key(&membership.charter, &heads)
            .expect("a member");
        let commit = Commit::seal(header, &body, &sealed, b.me.signer(), &OsRandom).expect("fits");
        drop(membership);
        let report = a.pull_answers(b.node(), |_| {
            Response::Items(super::super::message::Items {
                commits: vec![CommitItem {
                    statement: commit.statement().as_bytes().to_vec(),
                    body: commit.sealed_body().to_vec(),
                    objects: Vec::new(),
                }],
                ..Default::default()
            })
        });
        assert_eq!((report.outcome, report.commits), (Outcome::Hostile, 0));
        let evidence = a.trial.vault.evidence().expect("open");
        let shown: Vec<_> = evidence.iter().map(|e| (e.author, &e.offence)).collect();
        assert_eq!(shown, [(Some(b.node()), &Offence::Misplaced)], "evidence is kept");
        assert_eq!(a.trial.paths(), ["first"]);
    }
}
