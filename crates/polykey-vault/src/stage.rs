//! Staging: content on its way into a vault.
//!
//! [`Stager::stage`] reads a stream of any length once, in constant memory, and seals it piece by piece.
//! Short content is kept in memory until its commit; long content goes to files, which are durable before
//! staging returns. Nothing is named by any commit yet.
//!
//! Always: staged content that no commit took is removed again, now or after the next opening.

use std::collections::HashSet;
use std::io::{ErrorKind, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use polykey_core::hash::{Hasher, hash};
use polykey_core::padme::padded_len;
use polykey_core::scrub::{DEEP, scrubbed};
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
    fn add(&mut self, id: ObjectId) {
        let underway = self.place.underway.lock();
        underway.unwrap_or_else(PoisonError::into_inner).insert(id);
        self.ids.push(id);
    }

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
        let mut piece = Piece::new(INLINE_LEN - OVERHEAD);
        let ended = fill(&mut piece, from)?;
        if ended && padded_len(piece.len() as u64) <= (INLINE_LEN - OVERHEAD) as u64 {
            return Ok(self.stage_inline(kind, piece));
        }
        self.stage_files(kind, piece.grown_to(PIECE_LEN), ended, from)
    }

    fn stage_inline(&self, kind: Kind, mut piece: Piece) -> Staged {
        let size = piece.len() as u64;
        let digest = hash(label::CONTENT_DIGEST, &[piece.plain()]);
        piece.pad_to(usize::try_from(padded_len(size)).expect("at most 16 KiB"));
        let (object, bytes) = piece.seal(&self.vault, 0, &*self.random);
        Staged {
            content: Content {
                kind,
                size,
                digest,
                objects: 1,
            },
            inline: Some(bytes.to_vec()),
            objects: vec![object],
            files: None,
        }
    }

    /// Reads pieces here, while a second thread seals those before and a third writes those before these to the
    /// disk.
    fn stage_files(
        &self,
        kind: Kind,
        first: Piece,
        ended: bool,
        from: &mut dyn Read,
    ) -> Result<Staged, VaultError> {
        std::thread::scope(|scope| {
            let (to_seal, read) = sync_channel::<Piece>(IN_FLIGHT);
            let (to_disk, sealed) = sync_channel::<(ObjectId, Piece, usize)>(IN_FLIGHT);
            let (to_us, spare) = sync_channel::<Piece>(2 * IN_FLIGHT + 2);
            let objects = &self.place.objects;
            let writer = scope.spawn(move || {
                let mut batch = objects.batch();
                for (id, piece, len) in sealed {
                    batch.write(&id, piece.sealed(len))?;
                    // Nobody may be waiting for a buffer any more.
                    let _ = to_us.try_send(piece);
                }
                batch.finish()
            });
            // The stack of a thread that has ended may be kept for the next one, so keys are wiped off it.
            let sealer = scope.spawn(move || scrubbed::<DEEP, _>(|| self.seal_all(&read, &to_disk)));
            let reading = read_all(kind, first, ended, from, |piece| {
                to_seal.send(piece).ok()?;
                Some(spare.try_recv().unwrap_or_else(|_| Piece::new(PIECE_LEN)))
            });
            // Each ends when nothing more can come. After an error the files go with `files`.
            drop(to_seal);
            let (objects, files) = sealer.join().expect("the sealer does not panic");
            let written = writer.join().expect("the writer does not panic");
            let content = match (written, reading) {
                (Err(disk), _) => return Err(disk.into()),
                (Ok(()), reading) => reading?,
            };
            Ok(Staged {
                content,
                objects,
                inline: None,
                files: Some(files),
            })
        })
    }

    /// Seals pieces as they come, until there are no more or nobody takes them: then whoever took them says why.
    fn seal_all(
        &self,
        read: &Receiver<Piece>,
        write: &SyncSender<(ObjectId, Piece, usize)>,
    ) -> (Vec<ObjectRef>, StagedFiles) {
        let mut objects = Vec::new();
        let mut files = StagedFiles {
            ids: Vec::new(),
            place: self.place.clone(),
        };
        for mut piece in read {
            let (object, bytes) = piece.seal(&self.vault, objects.len() as u64, &*self.random);
            let len = bytes.len();
            files.add(object.id);
            if write.send((object.id, piece, len)).is_err() {
                break;
            }
            objects.push(object);
        }
        (objects, files)
    }
}

/// Reads `from` to its end, pads what came, and gives it away piece by piece; `give` has a buffer for the next.
fn read_all(
    kind: Kind,
    mut piece: Piece,
    mut ended: bool,
    from: &mut dyn Read,
    mut give: impl FnMut(Piece) -> Option<Piece>,
) -> Result<Content, VaultError> {
    let mut digest = Hasher::new(label::CONTENT_DIGEST);
    let (mut size, mut objects, mut left) = (0, 0, u64::MAX);
    while left > 0 {
        if !ended {
            ended = fill(&mut piece, from)?;
        }
        digest.update(piece.plain());
        size += piece.len() as u64;
        if size > MAX_SECRET_LEN {
            return Err(VaultError::TooLarge {
                limit: MAX_SECRET_LEN,
            });
        }
        if ended {
            let rest = padded_len(size) - u64::from(objects) * PIECE_LEN as u64;
            let len = rest.min(PIECE_LEN as u64);
            piece.pad_to(usize::try_from(len).expect("one piece"));
            left = rest - len;
        }
        // Whoever takes the pieces has stopped: the writer's own error says why.
        let Some(next) = give(piece) else {
            return Err(VaultError::Input(ErrorKind::BrokenPipe.into()));
        };
        objects += 1;
        piece = next;
    }
    Ok(Content {
        kind,
        size,
        digest: digest.finish(),
        objects,
    })
}

/// Pieces on their way from one thread to the next.
const IN_FLIGHT: usize = 8;

/// Reads until the piece is full; true when the stream ended before.
fn fill(piece: &mut Piece, from: &mut dyn Read) -> Result<bool, VaultError> {
    while !piece.room().is_empty() {
        let room = piece.room();
        let len = room.len();
        match from.read(room) {
            Ok(0) => return Ok(true),
            Ok(read) => piece.add(read.min(len)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(VaultError::Input(error)),
        }
    }
    Ok(false)
}
