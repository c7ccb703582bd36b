//! Why a vault did not do what was asked.
//!
//! One enum for all of the vault's entrances: a caller that maps it to an exit code or a sentence wants one
//! list. Nothing in it holds secret bytes.

use std::io;

use polykey_core::codec::CodecError;
use polykey_core::{ObjectId, PathError, SecretPath, StatementId};
use polykey_store::StoreError;

use crate::attributes::AttributeError;
use crate::charter::author::AuthorError;
use crate::commit::CommitError;
use crate::id::CommitId;
use crate::record::RecordError;

/// Why a vault did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// Nothing stands at the path.
    #[error("there is no \"{path}\"")]
    NoSuchPath {
        /// The path that was asked for.
        path: SecretPath,
    },
    /// A secret was wanted, a directory stands there.
    #[error("\"{path}\" is a directory")]
    IsDirectory {
        /// The path that was asked for.
        path: SecretPath,
    },
    /// A directory was wanted, a secret stands there.
    #[error("\"{path}\" is not a directory")]
    NotDirectory {
        /// The path of the secret.
        path: SecretPath,
    },
    /// Something stands at the path already.
    #[error("\"{path}\" exists already")]
    Exists {
        /// The path that was to be made.
        path: SecretPath,
    },
    /// The directory holds something.
    #[error("\"{path}\" is not empty")]
    NotEmpty {
        /// The directory.
        path: SecretPath,
    },
    /// A directory cannot be moved into itself.
    #[error("\"{path}\" cannot be moved into itself")]
    IntoItself {
        /// The directory.
        path: SecretPath,
    },
    /// The secret is not at the version that the caller had read.
    #[error("\"{path}\" is at version {found}, not {expected}")]
    VersionDiffers {
        /// The secret.
        path: SecretPath,
        /// The version that the caller expected.
        expected: u64,
        /// The version that it has; 0 when there is no secret.
        found: u64,
    },
    /// Somebody changed the secret since the caller read it.
    #[error("\"{path}\" was changed since it was read")]
    Changed {
        /// The secret.
        path: SecretPath,
    },
    /// Versions of the secret stand side by side, so a condition on its version cannot hold.
    #[error("\"{path}\" has versions that stand side by side")]
    InConflict {
        /// The secret.
        path: SecretPath,
    },
    /// The secret has no such version.
    #[error("\"{path}\" has no version {version}")]
    NoSuchVersion {
        /// The secret.
        path: SecretPath,
        /// The version as it was written.
        version: String,
    },
    /// The vault has no such commit.
    #[error("there is no commit {commit}")]
    NoSuchCommit {
        /// The commit as it was written.
        commit: String,
    },
    /// Several versions or commits begin like that.
    #[error("{text} begins more than one commit")]
    Ambiguous {
        /// The beginning as it was written.
        text: String,
    },
    /// The secret is not a record.
    #[error("\"{path}\" is not a record")]
    NotRecord {
        /// The secret.
        path: SecretPath,
    },
    /// The content is larger than a secret may be, or than the caller wants to hold.
    #[error("the content is larger than {limit} bytes")]
    TooLarge {
        /// The bound in bytes.
        limit: u64,
    },
    /// A path that results from the change is not acceptable.
    #[error(transparent)]
    Path(#[from] PathError),
    /// An attribute is not acceptable.
    #[error(transparent)]
    Attribute(#[from] AttributeError),
    /// A record is not acceptable.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The version's content was purged.
    #[error("the content of that version of \"{path}\" was purged")]
    Purged {
        /// The secret.
        path: SecretPath,
    },
    /// The author of the version wrote sizes that do not fit each other.
    #[error("the content of \"{path}\" is not as its author describes it")]
    ContentMalformed {
        /// The secret.
        path: SecretPath,
    },
    /// The content of a version that another replica wrote has not come yet.
    #[error("the content of \"{path}\" has not come yet")]
    NotHereYet {
        /// The secret, or nothing when it is not known.
        path: SecretPath,
        /// The first object that is waited for.
        object: ObjectId,
    },
    /// A stored object is not there.
    #[error("object {object} of \"{path}\" is missing")]
    ObjectMissing {
        /// The secret, or nothing when it is not known.
        path: SecretPath,
        /// The object.
        object: ObjectId,
    },
    /// A stored object is not what it should be.
    #[error("object {object} of \"{path}\" is damaged")]
    ObjectDamaged {
        /// The secret, or nothing when it is not known.
        path: SecretPath,
        /// The object.
        object: ObjectId,
    },
    /// A stored commit is not there or not what it should be.
    #[error("the stored commit {commit} is damaged or missing")]
    CommitDamaged {
        /// The commit.
        commit: CommitId,
    },
    /// A row of the vault's index is not what it should be.
    #[error("the vault's index is damaged: {what}")]
    IndexDamaged {
        /// What is wrong.
        what: &'static str,
    },
    /// A commit from elsewhere was refused.
    #[error("the commit is refused")]
    Commit(#[from] CommitError),
    /// A commit builds on others that are not here yet.
    #[error("commit {missing} has to come first")]
    ParentMissing {
        /// The first that is missing.
        missing: CommitId,
    },
    /// A commit names charter entries that are not here yet.
    #[error("charter entry {missing} has to come first")]
    EntryMissing {
        /// The first that is missing.
        missing: StatementId,
    },
    /// A commit belongs to another vault.
    #[error("the commit belongs to another vault")]
    OtherVault,
    /// This node may not do that in this vault.
    #[error("this node may not {action} in this vault")]
    NotAllowed {
        /// What was tried.
        action: &'static str,
    },
    /// The charter does not let it happen.
    #[error(transparent)]
    Charter(Box<AuthorError>),
    /// The change does too many things at once.
    #[error("the change does not fit one commit")]
    ChangeTooLarge,
    /// The vault's store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The content could not be read from where it comes from.
    #[error("the content could not be read")]
    Input(#[source] io::Error),
}

impl From<CodecError> for VaultError {
    /// What does not decode came out of our own sealed tables.
    fn from(_: CodecError) -> Self {
        VaultError::IndexDamaged {
            what: "a row does not have its form",
        }
    }
}
