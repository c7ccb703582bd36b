//! Staging: content on its way into a vault.
//!
//! [`Stager::stage`] reads a stream of any length once, in constant memory, and seals it piece by piece.
//! Short content is kept in memory until its commit; long content goes to files, which are durable before
//! staging returns. Nothing is named by any commit yet.
//!
//! Always: staged content that no commit took is removed again, now or after the next opening.

use std::collections::HashSet;
use std::io::{ErrorKind, Read};
use std::sync::{Arc, Mutex, PoisonError};

use polykey_core::hash::Hasher;
use polykey_core::padme::padded_len;
use polykey_core::{ObjectId, Random, VaultId, label};
use polykey_store::Objects;

use crate::commit::MAX_OBJECTS;
use crate::content::{Content, Kind};
use crate::error::VaultError;
use crate::event::ObjectRef;
use crate::object::{INLINE_LEN, PIECE_LEN, Piece};
use polykey_core::aead::OVERHEAD;

/// The largest secret in bytes: 16 GiB less its padding. Its objects' names must fit one commit.
pub const MAX_SECRET_LEN: u64 = (MAX_OBJECTS as u64 * PIECE_LEN as u64) / 8 * 7;

/// Content that is sealed and stored, but named by no commit yet.
#[derive(Debug)]
pub struct Staged {
    content: Content,
    objects: Vec<ObjectRef>,
    /// The sealed bytes of content that goes into the database.
    inline: Option<Vec<u8>>,
    files: Option<StagedFiles>,
}

impl Staged {
    /// Length in bytes.
    pub fn size(&self) -> u64 {
        self.content.size
    }

    /// Raw bytes or a record.
    pub fn kind(&self) -> Kind {
        self.content.kind
    }

    pub(crate) fn content(&self) -> &Content {
        &self.content
    }

    pub(crate) fn objects(&self) -> &[ObjectRef] {
        &self.objects
    }

    pub(crate) fn inline(&self) -> Option<&[u8]> {
        self.inline.as_deref()
    }

    /// Says that a commit names the objects now: they are not removed.
    pub(crate) fn keep(&mut self) {
        if let Some(files) = &mut self.files {
            files.forget();
        }
    }
}

/// Object files that are in no commit; removed on drop.
#[derive(Debug)]
struct StagedFiles {
    ids: Vec<ObjectId>,
    place: Place,
}

impl StagedFiles {
    fn forget(&mut self) {
        let mut underway = self.place.underway.lock().unwrap_or_else(PoisonError::into_inner);
        for id in self.ids.drain(..) {
            underway.remove(&id);
        }
    }
}

impl Drop for StagedFiles {
    fn drop(&mut self) {
        if !self.ids.is_empty() {
            // What cannot be removed now is an orphan, which the next collection removes.
            let _ = self.place.objects.remove(&self.ids);
            self.forget();
        }
    }
}

#[derive(Clone)]
struct Place {
    objects: Objects,
    underway: Arc<Mutex<HashSet<ObjectId>>>,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Place")
    }
}

/// Turns streams into staged content of one vault.
#[derive(Clone)]
pub(crate) struct Stager {
    vault: VaultId,
    random: Arc<dyn Random>,
    place: Place,
}

impl Stager {
    /// Stages for `vault`, with files in `objects`.
    pub fn new(vault: VaultId, objects: Objects, random: Arc<dyn Random>) -> Stager {
        Stager {
            vault,
            random,
            place: Place {
                objects,
                underway: Arc::default(),
            },
        }
    }

    /// The objects that are staged and not yet in a commit.
    pub fn underway(&self) -> HashSet<ObjectId> {
        let underway = self.place.underway.lock();
        underway.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads `from` to its end.
    ///
    /// # Errors
    /// [`VaultError::Input`] when reading fails, [`VaultError::TooLarge`] past [`MAX_SECRET_LEN`],
    /// [`VaultError::Store`] when the disk fails. Nothing stays behind.
    pub fn stage(&self, kind: Kind, from: &mut dyn Read) -> Result<Staged, VaultError> {
        let mut digest = Hasher::new(label::CONTENT_DIGEST);
        let mut piece = Piece::new();
        let mut ended = fill(&mut piece, from, INLINE_LEN - OVERHEAD)?;
        if ended && padded_len(piece.len() as u64) <= (INLINE_LEN - OVERHEAD) as u64 {
            digest.update(piece.plain());
            let size = piece.len() as u64;
            piece.extend_to(usize::try_from(padded_len(size)).expect("at most 16 KiB"));
            let sealed = piece.seal(&self.vault, 0, &*self.random);
            return Ok(Staged {
                content: Content {
                    kind,
                    size,
                    digest: digest.finish(),
                    objects: 1,
                },
                objects: vec![sealed.object],
                inline: Some(sealed.bytes),
                files: None,
            });
        }
        let mut batch = self.place.objects.batch();
        let mut objects = Vec::new();
        let mut files = StagedFiles {
            ids: Vec::new(),
            place: self.place.clone(),
        };
        let (mut size, mut left) = (0, u64::MAX);
        while left > 0 {
            if !ended {
                ended = fill(&mut piece, from, PIECE_LEN)?;
            }
            digest.update(piece.plain());
            size += piece.len() as u64;
            if size > MAX_SECRET_LEN {
                return Err(VaultError::TooLarge {
                    limit: MAX_SECRET_LEN,
                });
            }
            if ended {
                let total = padded_len(size) - objects.len() as u64 * PIECE_LEN as u64;
                let len = total.min(PIECE_LEN as u64);
                piece.extend_to(usize::try_from(len).expect("one piece"));
                left = total - len;
            }
            let sealed = piece.seal(&self.vault, objects.len() as u64, &*self.random);
            let underway = self.place.underway.lock();
            underway
                .unwrap_or_else(PoisonError::into_inner)
                .insert(sealed.object.id);
            files.ids.push(sealed.object.id);
            batch.write(&sealed.object.id, &sealed.bytes)?;
            objects.push(sealed.object);
            piece = Piece::new();
        }
        batch.finish()?;
        Ok(Staged {
            content: Content {
                kind,
                size,
                digest: digest.finish(),
                objects: u32::try_from(objects.len()).expect("bounded by the size"),
            },
            objects,
            inline: None,
            files: Some(files),
        })
    }
}

/// Reads until the piece has `len` plain bytes; true when the stream ended before.
fn fill(piece: &mut Piece, from: &mut dyn Read, len: usize) -> Result<bool, VaultError> {
    let mut have = piece.len();
    let start = have;
    let room = piece.extend_to(len);
    while have < len {
        match from.read(&mut room[have - start..]) {
            Ok(0) => {
                piece.truncate(have);
                return Ok(true);
            }
            Ok(read) => have += read.min(len - have),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(VaultError::Input(error)),
        }
    }
    Ok(false)
}
