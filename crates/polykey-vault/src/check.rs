//! The full check: everything that a vault holds is read and compared.
//!
//! For `doctor`: signatures and bodies of all commits, the state of every secret against its events, and every
//! object against its name. It changes nothing.

use std::collections::BTreeSet;

use polykey_core::{ObjectId, SecretPath};
use polykey_store::StoreError;

use crate::commit::Commit;
use crate::error::VaultError;
use crate::fold;
use crate::history::{self, secrets_below};
use crate::id::{CommitId, SecretId};
use crate::index::{Court, Opened};
use crate::object::{MAX_OBJECT_LEN, object_id};
use crate::stored::{self, ObjectRow};
use crate::vault::Vault;

/// What a full check found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckReport {
    /// Commits that were read.
    pub commits: usize,
    /// Secrets and made directories that were folded anew.
    pub secrets: usize,
    /// Objects that were read.
    pub objects: usize,
    /// Objects that other replicas hold and that have not come yet: no damage.
    pub wanted: usize,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Problem {
    /// A commit is missing, or its signature or body does not hold.
    Commit(CommitId),
    /// The state of a secret is not what its events say.
    Secret(SecretId),
    /// An object that a commit names is not there.
    ObjectMissing(ObjectId),
    /// An object is not what its name says.
    ObjectDamaged(ObjectId),
}

impl Vault {
    /// Reads and compares everything but the store itself, which checks itself.
    ///
    /// # Errors
    /// [`VaultError::Store`] when the disk or the database fails. What is found wrong stands in the report.
    pub fn check(&self) -> Result<CheckReport, VaultError> {
        let mut report = CheckReport::default();
        let commits = self.check_commits(&mut report)?;
        self.check_secrets(&mut report)?;
        for commit in commits {
            self.check_objects(&commit, &mut report)?;
        }
        report.problems.sort();
        report.problems.dedup();
        Ok(report)
    }

    /// Checks the vault's database: every record is opened and compared with the state.
    ///
    /// # Errors
    /// As [`polykey_store::Database::verify`].
    pub fn check_store(&self) -> Result<polykey_store::Report, StoreError> {
        self.shared().database.verify(|_| {})
    }

    fn check_commits(&self, report: &mut CheckReport) -> Result<Vec<Commit>, VaultError> {
        let shared = self.shared();
        let membership = shared.membership();
        let mut sound = Vec::new();
        let mut ids = Vec::new();
        let walked = shared.database.read(|tx| {
            history::walk(tx, None, |id, _| {
                ids.push(id);
                Ok(std::ops::ControlFlow::Continue(()))
            })
        });
        match walked {
            Err(VaultError::CommitDamaged { commit }) => report.problems.push(Problem::Commit(commit)),
            other => other?,
        }
        for id in ids {
            report.commits += 1;
            let found = shared.database.read(|tx| stored::commit_and_row(tx, id));
            let commit = match found {
                Ok(Some((commit, _))) => commit,
                Ok(None) | Err(VaultError::CommitDamaged { .. }) => {
                    report.problems.push(Problem::Commit(id));
                    continue;
                }
                Err(error) => return Err(error),
            };
            let statement = commit.statement().as_bytes().to_vec();
            let verified = Commit::verify(statement, commit.sealed_body().to_vec());
            let opened = matches!(
                membership.bench().open(&commit)?,
                Opened::Body(_) | Opened::Closed
            );
            if verified.is_err() || !opened {
                report.problems.push(Problem::Commit(id));
            }
            sound.push(commit);
        }
        Ok(sound)
    }

    fn check_secrets(&self, report: &mut CheckReport) -> Result<(), VaultError> {
        let database = &self.shared().database;
        let secrets: BTreeSet<SecretId> = database.read(|tx| secrets_below(tx, &SecretPath::root()))?;
        for id in secrets {
            report.secrets += 1;
            let same = database.read(|tx| {
                let events = stored::events(tx, id)?;
                let standings = stored::standings(tx, &events, None)?;
                let row = stored::secret_row(tx, id)?;
                Ok::<_, VaultError>(row.is_some_and(|row| row.state == fold::fold(&events, &standings)))
            })?;
            if !same {
                report.problems.push(Problem::Secret(id));
            }
        }
        Ok(())
    }

    fn check_objects(&self, commit: &Commit, report: &mut CheckReport) -> Result<(), VaultError> {
        let shared = self.shared();
        for (id, size) in &commit.header().objects {
            report.objects += 1;
            let bytes = match shared.database.read(|tx| stored::object_row(tx, id))? {
                Some(ObjectRow::Inline(bytes) | ObjectRow::Hidden(_, Some(bytes))) => bytes,
                Some(ObjectRow::File | ObjectRow::Hidden(_, None)) => {
                    match shared.objects.read(id, MAX_OBJECT_LEN) {
                        Ok(bytes) => bytes,
                        Err(StoreError::Missing { .. }) => {
                            report.problems.push(Problem::ObjectMissing(*id));
                            continue;
                        }
                        Err(StoreError::TooLong { .. }) => vec![],
                        Err(error) => return Err(error.into()),
                    }
                }
                Some(ObjectRow::Purged(_)) => continue,
                Some(ObjectRow::Wanted) => {
                    report.wanted += 1;
                    continue;
                }
                None => {
                    report.problems.push(Problem::ObjectMissing(*id));
                    continue;
                }
            };
            if bytes.len() != *size as usize || object_id(&bytes) != *id {
                report.problems.push(Problem::ObjectDamaged(*id));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::Trial;

    fn file_of(trial: &Trial, id: &ObjectId) -> std::path::PathBuf {
        let name = id.to_string();
        trial.folder().join("objects").join(&name[..2]).join(name)
    }

    #[test]
    fn a_sound_vault_has_no_problems() {
        let trial = Trial::new();
        trial.write("a", b"1");
        trial.write("a", b"2");
        trial.write("d/large", &[1; 600_000]);
        let report = trial.check().expect("reads");
        assert_eq!((report.commits, report.secrets, report.objects), (3, 2, 5));
        assert!(report.problems.is_empty());
    }

    #[test]
    fn content_whose_last_piece_is_tiny_is_sound() {
        let trial = Trial::new();
        // The padded length leaves 160 bytes for the last of five objects.
        trial.write("large", &[1; 1 << 20]);
        let report = trial.check().expect("reads");
        assert_eq!(report.objects, 5);
        assert_eq!(report.problems, []);
        assert_eq!(trial.log(&crate::LogFilter::default()).expect("reads").len(), 1);
    }

    #[test]
    fn damaged_missing_and_swapped_objects_are_named_and_never_read() {
        let trial = Trial::new();
        trial.write("a", &[1; 600_000]);
        trial.write("b", &[2; 600_000]);
        let ids: Vec<ObjectId> = {
            let ids = trial.shared().objects.ids().collect::<Result<_, _>>();
            ids.expect("lists")
        };
        let whole: Vec<Vec<u8>> = ids
            .iter()
            .map(|id| std::fs::read(file_of(&trial, id)).expect("there"))
            .collect();
        let read = |trial: &Trial| {
            ["a", "b"]
                .into_iter()
                .filter_map(|at| trial.read(at).err())
                .collect::<Vec<_>>()
        };
        for (at, id) in ids.iter().enumerate() {
            let file = file_of(&trial, id);
            let mut flipped = whole[at].clone();
            flipped[1000] ^= 1;
            let longer = [whole[at].as_slice(), b"x"].concat();
            let swapped = whole[(at + 1) % ids.len()].clone();
            for bad in [flipped, whole[at][..500].to_vec(), longer, swapped, vec![]] {
                std::fs::write(&file, bad).expect("written");
                let errors = read(&trial);
                assert!(
                    matches!(errors.as_slice(), [VaultError::ObjectDamaged { object, .. }] if object == id),
                    "{errors:?}"
                );
                let report = trial.check().expect("reads");
                assert_eq!(report.problems, [Problem::ObjectDamaged(*id)]);
            }
            std::fs::remove_file(&file).expect("removed");
            let errors = read(&trial);
            assert!(
                matches!(errors.as_slice(), [VaultError::ObjectMissing { object, .. }] if object == id),
                "{errors:?}"
            );
            assert_eq!(
                trial.check().expect("reads").problems,
                [Problem::ObjectMissing(*id)]
            );
            std::fs::write(&file, &whole[at]).expect("written");
        }
        assert!(read(&trial).is_empty());
    }
}
