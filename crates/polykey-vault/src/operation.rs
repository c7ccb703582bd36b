//! Operations: what a commit does.
//!
//! Each names its secret and the versions that its author had seen and replaces. Content and place are
//! separate, so an edit on one node and a move on another do not clash. A commit has at most one
//! operation of each sort for one secret, which keeps versions and operations one to one.
//!
//! Always: decoding accepts only what encoding makes; every bound is checked before memory is taken.
//! Source: `docs/format.md`, section "Vault".

use std::collections::HashSet;

use polykey_core::SecretPath;
use polykey_core::codec::{CodecError, Reader, Writer};

use crate::attributes::AttributeChanges;
use crate::content::Content;
use crate::id::{SecretId, VersionId};

/// Most operations in one commit.
pub const MAX_OPERATIONS: usize = 1 << 16;
/// Most versions that one operation replaces.
pub const MAX_REPLACED: usize = 256;

/// One step of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Makes a secret at a place.
    Create {
        /// Where it stands at first.
        at: SecretPath,
        /// What it holds.
        content: Content,
    },
    /// Gives a secret new content.
    Put {
        /// The secret.
        secret: SecretId,
        /// Content versions that this one replaces.
        replaces: Vec<VersionId>,
        /// What it holds now.
        content: Content,
    },
    /// Gives a secret or a made directory a new place; brings back what was removed.
    Move {
        /// The secret or directory.
        secret: SecretId,
        /// Place versions that this one replaces.
        replaces: Vec<VersionId>,
        /// Where it stands now.
        to: SecretPath,
    },
    /// Takes a secret or a made directory away.
    Remove {
        /// The secret or directory.
        secret: SecretId,
        /// Place versions that this one replaces.
        replaces: Vec<VersionId>,
    },
    /// Makes a directory that exists also while it is empty.
    MakeDirectory {
        /// Where.
        at: SecretPath,
    },
    /// Changes attributes.
    SetAttributes {
        /// Whose.
        of: Subject,
        /// The changes, at least one.
        changes: AttributeChanges,
    },
}

/// A secret as an operation names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// Made by an earlier commit.
    Known(SecretId),
    /// Made by the operation at this index of the same commit, whose id is not known yet.
    Made(u32),
}

const CREATE: u64 = 1;
const PUT: u64 = 2;
const MOVE: u64 = 3;
const REMOVE: u64 = 4;
const MAKE_DIRECTORY: u64 = 5;
const SET_ATTRIBUTES: u64 = 6;

impl Operation {
    /// The content that it brings.
    pub fn content(&self) -> Option<&Content> {
        match self {
            Operation::Create { content, .. } | Operation::Put { content, .. } => Some(content),
            _ => None,
        }
    }

    fn write(&self, out: &mut Writer) {
        match self {
            Operation::Create { at, content } => {
                out.array(3).u64(CREATE).text(at.as_str());
                content.write(out);
            }
            Operation::Put {
                secret,
                replaces,
                content,
            } => {
                out.array(4).u64(PUT).bytes(secret.as_bytes());
                write_versions(out, replaces);
                content.write(out);
            }
            Operation::Move { secret, replaces, to } => {
                out.array(4).u64(MOVE).bytes(secret.as_bytes());
                write_versions(out, replaces);
                out.text(to.as_str());
            }
            Operation::Remove { secret, replaces } => {
                out.array(3).u64(REMOVE).bytes(secret.as_bytes());
                write_versions(out, replaces);
            }
            Operation::MakeDirectory { at } => {
                out.array(2).u64(MAKE_DIRECTORY).text(at.as_str());
            }
            Operation::SetAttributes { of, changes } => {
                out.array(3).u64(SET_ATTRIBUTES);
                match of {
                    Subject::Known(secret) => out.array(1).bytes(secret.as_bytes()),
                    Subject::Made(index) => out.array(2).u64(0).u64(u64::from(*index)),
                };
                changes.write(out);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        let len = from.array()?;
        match (from.u64()?, len) {
            (CREATE, 3) => Ok(Operation::Create {
                at: read_place(from)?,
                content: Content::read(from)?,
            }),
            (PUT, 4) => Ok(Operation::Put {
                secret: read_secret(from)?,
                replaces: read_versions(from)?,
                content: Content::read(from)?,
            }),
            (MOVE, 4) => Ok(Operation::Move {
                secret: read_secret(from)?,
                replaces: read_versions(from)?,
                to: read_place(from)?,
            }),
            (REMOVE, 3) => Ok(Operation::Remove {
                secret: read_secret(from)?,
                replaces: read_versions(from)?,
            }),
            (MAKE_DIRECTORY, 2) => Ok(Operation::MakeDirectory {
                at: read_place(from)?,
            }),
            (SET_ATTRIBUTES, 3) => {
                let of = match from.array()? {
                    1 => Subject::Known(read_secret(from)?),
                    2 => {
                        from.key(0)?;
                        Subject::Made(from.u32()?)
                    }
                    _ => return Err(from.shape()),
                };
                let changes = AttributeChanges::read(from)?;
                if changes.is_empty() {
                    return Err(from.shape());
                }
                Ok(Operation::SetAttributes { of, changes })
            }
            _ => Err(from.shape()),
        }
    }
}

/// Writes the operations of one commit.
pub(crate) fn write_operations(out: &mut Writer, operations: &[Operation]) {
    out.array(operations.len());
    for operation in operations {
        operation.write(out);
    }
}

/// Reads the operations of one commit and checks what holds between them.
pub(crate) fn read_operations(from: &mut Reader<'_>) -> Result<Vec<Operation>, CodecError> {
    let count = from.array()?;
    if count > MAX_OPERATIONS {
        return Err(from.shape());
    }
    let mut operations = Vec::with_capacity(count);
    for _ in 0..count {
        operations.push(Operation::read(from)?);
    }
    if agree(&operations) {
        Ok(operations)
    } else {
        Err(from.shape())
    }
}

/// True when no secret has two operations of one sort, and each [`Subject::Made`] points at an earlier
/// operation that makes a secret.
fn agree(operations: &[Operation]) -> bool {
    let mut contents = HashSet::new();
    let mut places = HashSet::new();
    let mut attributes = HashSet::new();
    operations
        .iter()
        .enumerate()
        .all(|(at, operation)| match operation {
            Operation::Create { .. } | Operation::MakeDirectory { .. } => true,
            Operation::Put { secret, .. } => contents.insert(*secret),
            Operation::Move { secret, .. } | Operation::Remove { secret, .. } => places.insert(*secret),
            Operation::SetAttributes { of, .. } => {
                let known = match of {
                    Subject::Known(_) => true,
                    Subject::Made(index) => {
                        let index = *index as usize;
                        index < at && matches!(operations[index], Operation::Create { .. })
                    }
                };
                known && attributes.insert(*of)
            }
        })
}

pub(crate) fn write_versions(out: &mut Writer, versions: &[VersionId]) {
    out.array(versions.len());
    for version in versions {
        version.write(out);
    }
}

pub(crate) fn read_versions(from: &mut Reader<'_>) -> Result<Vec<VersionId>, CodecError> {
    let count = from.array()?;
    if count > MAX_REPLACED {
        return Err(from.shape());
    }
    let versions = (0..count)
        .map(|_| VersionId::read(from))
        .collect::<Result<Vec<_>, _>>()?;
    if versions.is_sorted_by(|a, b| a < b) {
        Ok(versions)
    } else {
        Err(from.shape())
    }
}

fn read_secret(from: &mut Reader<'_>) -> Result<SecretId, CodecError> {
    from.bytes_of().map(SecretId::from_bytes)
}

/// Reads a path that is in its one normal form and is not the root.
fn read_place(from: &mut Reader<'_>) -> Result<SecretPath, CodecError> {
    let path = SecretPath::from_normal(from.text()?).map_err(|_| from.shape())?;
    if path.is_root() {
        Err(from.shape())
    } else {
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Kind;
    use crate::id::CommitId;

    fn path(text: &str) -> SecretPath {
        SecretPath::parse(text).expect("a path")
    }

    fn version(number: u8) -> VersionId {
        VersionId {
            commit: CommitId::from_bytes([number; 32]),
            index: u32::from(number),
        }
    }

    fn content() -> Content {
        Content {
            kind: Kind::Raw,
            size: 7,
            digest: [9; 32],
            objects: 1,
        }
    }

    fn attributes() -> AttributeChanges {
        let mut changes = AttributeChanges::default();
        changes.set("note", Some("x")).expect("fits");
        changes
    }

    fn round(operations: &[Operation]) -> Result<Vec<Operation>, CodecError> {
        let mut out = Writer::new();
        write_operations(&mut out, operations);
        let bytes = out.finish();
        read_operations(&mut Reader::new(&bytes, 1 << 20, "operations").expect("deterministic"))
    }

    fn samples() -> Vec<Operation> {
        let secret = SecretId::from_bytes([3; 32]);
        vec![
            Operation::Create {
                at: path("a/b"),
                content: content(),
            },
            Operation::Put {
                secret,
                replaces: vec![version(1), version(2)],
                content: content(),
            },
            Operation::Move {
                secret,
                replaces: vec![version(1)],
                to: path("c"),
            },
            Operation::Remove {
                secret: SecretId::from_bytes([4; 32]),
                replaces: vec![],
            },
            Operation::MakeDirectory { at: path("d") },
            Operation::SetAttributes {
                of: Subject::Made(0),
                changes: attributes(),
            },
            Operation::SetAttributes {
                of: Subject::Known(secret),
                changes: attributes(),
            },
        ]
    }

    #[test]
    fn every_operation_round_trips() {
        assert_eq!(round(&samples()), Ok(samples()));
        assert_eq!(round(&[]), Ok(vec![]));
    }

    #[test]
    fn one_secret_has_one_operation_of_a_sort() {
        for twice in 1..4 {
            let mut operations = samples();
            operations.push(operations[twice].clone());
            assert!(round(&operations).is_err(), "operation {twice} twice");
        }
    }

    #[test]
    fn attributes_point_back_at_a_created_secret() {
        for bad in [4, 5, 6, 7, 1 << 20] {
            let mut operations = samples();
            operations.push(Operation::SetAttributes {
                of: Subject::Made(bad),
                changes: attributes(),
            });
            assert!(round(&operations).is_err(), "made by {bad}");
        }
    }

    #[test]
    fn malformed_operations_are_refused() {
        let write: &[fn(&mut Writer)] = &[
            |out| {
                out.array(2).u64(MAKE_DIRECTORY).text("");
            },
            |out| {
                out.array(2).u64(MAKE_DIRECTORY).text("a//b");
            },
            |out| {
                out.array(2).u64(MAKE_DIRECTORY).text("/a");
            },
            |out| {
                out.array(2).u64(MAKE_DIRECTORY).text("a/../b");
            },
            |out| {
                out.array(2).u64(MAKE_DIRECTORY).text("cafe\u{301}");
            },
            |out| {
                out.array(3).u64(MAKE_DIRECTORY).text("a").null();
            },
            |out| {
                out.array(2).u64(7).text("a");
            },
            |out| {
                out.array(3).u64(REMOVE).bytes(&[0; 31]).array(0);
            },
            |out| {
                out.array(3).u64(REMOVE).bytes(&[0; 32]).array(1).u64(3);
            },
            |out| {
                out.array(3).u64(SET_ATTRIBUTES).array(1).bytes(&[0; 32]).array(0);
            },
        ];
        for (number, write) in write.iter().enumerate() {
            let mut out = Writer::new();
            write(out.array(1));
            let bytes = out.finish();
            let mut reader = Reader::new(&bytes, 1 << 20, "operations").expect("deterministic");
            assert!(read_operations(&mut reader).is_err(), "case {number}");
        }
        let unsorted = Operation::Remove {
            secret: SecretId::from_bytes([4; 32]),
            replaces: vec![version(2), version(1)],
        };
        assert!(round(&[unsorted]).is_err(), "replaced versions are sorted");
    }
}
