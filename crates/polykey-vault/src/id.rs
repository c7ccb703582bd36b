//! Names inside a vault: commits, versions and secrets.
//!
//! A commit is named by its statement. An operation, and so each version that it makes, is named by its
//! commit and its place in it. A secret is named by the operation that made it and keeps that name
//! over every move.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use polykey_core::codec::{CodecError, Reader, Writer};
use polykey_core::hash::hash;
use polykey_core::id::IdError;
use polykey_core::{StatementId, label};

/// A commit: the id of its signed statement. Text: 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitId(StatementId);

impl CommitId {
    /// Length in bytes.
    pub const LEN: usize = 32;

    /// The id with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        CommitId(StatementId::from_bytes(bytes))
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

impl From<StatementId> for CommitId {
    fn from(id: StatementId) -> Self {
        CommitId(id)
    }
}

impl From<CommitId> for StatementId {
    fn from(id: CommitId) -> Self {
        id.0
    }
}

impl FromStr for CommitId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.parse()
            .map(CommitId)
            .map_err(|_: IdError| IdError { what: "commit id" })
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CommitId({self})")
    }
}

/// One operation of a commit, and the version of content or place that it made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionId {
    /// The commit.
    pub commit: CommitId,
    /// The operation's position in the commit, from 0.
    pub index: u32,
}

impl VersionId {
    /// The item name under which stores keep it: 32 bytes of commit, 4 of index, big-endian.
    pub fn to_bytes(self) -> [u8; 36] {
        let mut bytes = [0; 36];
        bytes[..32].copy_from_slice(self.commit.as_bytes());
        bytes[32..].copy_from_slice(&self.index.to_be_bytes());
        bytes
    }

    pub(crate) fn write(self, out: &mut Writer) {
        out.array(2)
            .bytes(self.commit.as_bytes())
            .u64(u64::from(self.index));
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        from.array_of(2)?;
        Ok(VersionId {
            commit: CommitId::from_bytes(from.bytes_of()?),
            index: from.u32()?,
        })
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.commit, self.index)
    }
}

/// A secret or a directory that was made: the hash of the operation that made it. Text: 64
/// hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretId([u8; 32]);

impl SecretId {
    /// The id of what the operation `made` makes.
    ///
    /// Source: BLAKE3-256 of label, commit and index; `docs/format.md`.
    pub fn made_by(made: VersionId) -> Self {
        SecretId(hash(label::SECRET_ID, &[&made.to_bytes()]))
    }

    /// The id with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        SecretId(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for SecretId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        // The text form is that of a statement id.
        text.parse()
            .map(|id: StatementId| SecretId(*id.as_bytes()))
            .map_err(|_: IdError| IdError { what: "secret id" })
    }
}

impl fmt::Display for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_named_by_commit_and_position() {
        let id = |commit, index| {
            SecretId::made_by(VersionId {
                commit: CommitId::from_bytes([commit; 32]),
                index,
            })
        };
        assert_eq!(id(1, 0), id(1, 0));
        assert_ne!(id(1, 0), id(1, 1));
        assert_ne!(id(1, 0), id(2, 0));
    }

    #[test]
    fn ids_parse_only_the_text_they_print() {
        let commit = CommitId::from_bytes([0xab; 32]);
        assert_eq!(commit.to_string().parse(), Ok(commit));
        let secret = SecretId::from_bytes([0xcd; 32]);
        assert_eq!(secret.to_string().parse(), Ok(secret));
        for bad in [
            "",
            "ab",
            &commit.to_string().to_uppercase(),
            &format!("{commit}0"),
        ] {
            assert!(bad.parse::<CommitId>().is_err(), "{bad:?}");
            assert!(bad.parse::<SecretId>().is_err(), "{bad:?}");
        }
    }
}
