//! Reading content: one object after the other, each checked before a byte of it comes out.
//!
//! Always: what a reader returns is what was written; anything else is an error that names the object.

use std::io;
use std::ops::Range;
use std::sync::mpsc::{Receiver, sync_channel};

use polykey_core::{ObjectId, SecretBytes, SecretPath, VaultId};
use polykey_store::{Database, Objects, StoreError};

use crate::content::{Content, Kind};
use crate::error::VaultError;
use crate::event::ObjectRef;
use crate::object::{self, MAX_OBJECT_LEN, Named, Opened, objects_for, sealed_len};
use crate::rows::{Rows, WANTED};
use crate::stored::{ObjectRow, object_row};

/// Where the sealed bytes of objects are.
#[derive(Clone)]
pub(crate) struct Source {
    pub vault: VaultId,
    /// Where short objects are looked up that are not at hand; none inside a transaction, which would wait
    /// for itself.
    pub database: Option<Database>,
    pub objects: Objects,
}

/// The content of one version of a secret, to be read from start to end.
pub struct ContentReader {
    source: Source,
    path: SecretPath,
    content: Content,
    objects: Vec<ObjectRef>,
    /// A first object whose bytes are at hand already.
    first: Option<Vec<u8>>,
    /// A thread that reads object files ahead and checks their names.
    ahead: Option<Receiver<Result<Named, VaultError>>>,
    next: usize,
    opened: Option<Opened>,
    /// Bytes of the opened piece that were handed out.
    given: usize,
    /// Bytes of content that are still to come.
    left: u64,
}

impl ContentReader {
    pub(crate) fn new(
        source: Source,
        path: SecretPath,
        content: Content,
        objects: Vec<ObjectRef>,
        first: Option<Vec<u8>>,
    ) -> Result<ContentReader, VaultError> {
        // The author of a version may be anybody: its objects must be those that its size asks for.
        let fits = |(index, object): (usize, &ObjectRef)| {
            sealed_len(content.size, index as u64) == Some(u64::from(object.size))
        };
        if objects.len() as u64 != objects_for(content.size) || !objects.iter().enumerate().all(fits) {
            return Err(VaultError::ContentMalformed { path });
        }
        source.check_arrived(&path, &objects)?;
        Ok(ContentReader {
            source,
            path,
            content,
            objects,
            first,
            ahead: None,
            next: 0,
            opened: None,
            given: 0,
            left: content.size,
        })
    }

    /// Length in bytes.
    pub fn size(&self) -> u64 {
        self.content.size
    }

    /// Raw bytes or a record.
    pub fn kind(&self) -> Kind {
        self.content.kind
    }

    /// The next bytes, at most one object's; `None` at the end. They stay until the next call.
    ///
    /// # Errors
    /// [`VaultError::NotHereYet`], [`VaultError::ObjectMissing`], [`VaultError::ObjectDamaged`],
    /// [`VaultError::Purged`].
    pub fn next_piece(&mut self) -> Result<Option<&[u8]>, VaultError> {
        let Some(len) = self.advance()? else {
            return Ok(None);
        };
        let start = self.given;
        self.given += len;
        self.left -= len as u64;
        Ok(self
            .opened
            .as_ref()
            .map(|opened| &opened.plain()[start..start + len]))
    }

    /// As [`ContentReader::next_piece`], and the piece is the caller's: nothing is copied.
    ///
    /// # Errors
    /// As [`ContentReader::next_piece`].
    pub fn take_piece(&mut self) -> Result<Option<ContentPiece>, VaultError> {
        let Some(len) = self.advance()? else {
            return Ok(None);
        };
        let start = std::mem::take(&mut self.given);
        self.left -= len as u64;
        Ok(self.opened.take().map(|opened| ContentPiece {
            opened,
            bytes: start..start + len,
        }))
    }

    /// The whole content, when it has at most `limit` bytes.
    ///
    /// # Errors
    /// [`VaultError::TooLarge`]; as [`ContentReader::next_piece`].
    pub fn into_bytes(mut self, limit: usize) -> Result<SecretBytes, VaultError> {
        let size = usize::try_from(self.left).unwrap_or(usize::MAX);
        if size > limit {
            return Err(VaultError::TooLarge { limit: limit as u64 });
        }
        let mut whole = zeroize::Zeroizing::new(Vec::with_capacity(size));
        while let Some(piece) = self.next_piece()? {
            whole.extend_from_slice(piece);
        }
        Ok(SecretBytes::new(std::mem::take(&mut *whole)))
    }

    /// Opens the next object when the present one is used up; how many bytes can be handed out.
    fn advance(&mut self) -> Result<Option<usize>, VaultError> {
        if self.left == 0 {
            self.opened = None;
            return Ok(None);
        }
        let rest = |opened: &Opened, given: usize, left: u64| {
            let have = opened.plain().len() - given;
            usize::try_from(left).map_or(have, |left| have.min(left))
        };
        if let Some(opened) = &self.opened
            && self.given < opened.plain().len()
        {
            return Ok(Some(rest(opened, self.given, self.left)));
        }
        self.opened = None;
        let index = self.next;
        let object = &self.objects[index];
        let damaged = || VaultError::ObjectDamaged {
            path: self.path.clone(),
            object: object.id,
        };
        if index == 0 && self.objects.len() > READ_AHEAD {
            self.ahead = Some(self.read_ahead());
        }
        let named = match (self.first.take(), &self.ahead) {
            (Some(bytes), _) => Named::check(object.id, bytes).ok_or_else(damaged)?,
            // A thread that is gone without an answer is as good as none.
            (None, Some(ahead)) => match ahead.recv() {
                Ok(named) => named?,
                Err(_) => self.fetch(object.id)?,
            },
            (None, None) => self.fetch(object.id)?,
        };
        let opened =
            object::open_named(&self.source.vault, index as u64, object, named).map_err(|_| damaged())?;
        let len = rest(&opened, 0, self.left);
        self.opened = Some(opened);
        self.given = 0;
        self.next += 1;
        Ok(Some(len))
    }

    /// Starts a thread that reads the object files in their order, a few ahead of what is asked for.
    fn read_ahead(&self) -> Receiver<Result<Named, VaultError>> {
        let (send, receive) = sync_channel(READ_AHEAD);
        let ids: Vec<ObjectId> = self.objects.iter().map(|object| object.id).collect();
        let (source, path) = (self.source.clone(), self.path.clone());
        std::thread::spawn(move || {
            for id in ids {
                let named = source.fetch(&path, id, true);
                let failed = named.is_err();
                // The reader may be gone, which is no news to anybody.
                if send.send(named).is_err() || failed {
                    return;
                }
            }
        });
        receive
    }

    fn fetch(&self, object: ObjectId) -> Result<Named, VaultError> {
        self.source.fetch(&self.path, object, self.objects.len() > 1)
    }
}

/// Some bytes of content; wiped on drop.
pub struct ContentPiece {
    opened: Opened,
    bytes: Range<usize>,
}

impl AsRef<[u8]> for ContentPiece {
    fn as_ref(&self) -> &[u8] {
        &self.opened.plain()[self.bytes.clone()]
    }
}

/// So many objects are read ahead.
const READ_AHEAD: usize = 4;

impl Source {
    /// Content of which a part is still to come gives nothing, rather than its beginning.
    fn check_arrived(&self, path: &SecretPath, objects: &[ObjectRef]) -> Result<(), VaultError> {
        // The first object says so by itself.
        let (Some(database), Some((_, others))) = (&self.database, objects.split_first()) else {
            return Ok(());
        };
        if others.is_empty() {
            return Ok(());
        }
        database.read(|tx| {
            // Asking about each of thousands of objects would only cost time when nothing is wanted at all.
            if !tx.any(WANTED, b"")? {
                return Ok(());
            }
            for object in others {
                if object_row(tx, &object.id)? == Some(ObjectRow::Wanted) {
                    return Err(VaultError::NotHereYet {
                        path: path.clone(),
                        object: object.id,
                    });
                }
            }
            Ok(())
        })
    }

    /// The bytes of an object, and the proof that they are the right ones.
    fn fetch(&self, path: &SecretPath, object: ObjectId, is_file: bool) -> Result<Named, VaultError> {
        let damaged = || VaultError::ObjectDamaged {
            path: path.clone(),
            object,
        };
        // Asking the database about each of thousands of files would only cost time.
        if is_file && let Ok(bytes) = self.objects.read(&object, MAX_OBJECT_LEN) {
            return Named::check(object, bytes).ok_or_else(damaged);
        }
        let row = match &self.database {
            Some(database) => database.read(|tx| object_row(tx, &object))?,
            None => Some(ObjectRow::File),
        };
        let missing = || VaultError::ObjectMissing {
            path: path.clone(),
            object,
        };
        let bytes = match row {
            Some(ObjectRow::Inline(bytes)) => bytes,
            Some(ObjectRow::File) => match self.objects.read(&object, MAX_OBJECT_LEN) {
                Ok(bytes) => bytes,
                Err(StoreError::Missing { .. }) => return Err(missing()),
                Err(StoreError::TooLong { .. }) => return Err(damaged()),
                Err(error) => return Err(error.into()),
            },
            Some(ObjectRow::Purged(_) | ObjectRow::Hidden(..)) => {
                return Err(VaultError::Purged { path: path.clone() });
            }
            Some(ObjectRow::Wanted) => {
                return Err(VaultError::NotHereYet {
                    path: path.clone(),
                    object,
                });
            }
            None => return Err(missing()),
        };
        Named::check(object, bytes).ok_or_else(damaged)
    }
}

impl std::fmt::Debug for ContentReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ContentReader")
            .field("path", &self.path)
            .field("size", &self.content.size)
            .finish_non_exhaustive()
    }
}

impl io::Read for ContentReader {
    /// As [`ContentReader::next_piece`]; the [`VaultError`] is the source of the error.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let Some(len) = self.advance().map_err(io::Error::other)? else {
            return Ok(0);
        };
        let len = len.min(buffer.len());
        let opened = self.opened.as_ref().expect("advance has opened a piece");
        buffer[..len].copy_from_slice(&opened.plain()[self.given..self.given + len]);
        self.given += len;
        self.left -= len as u64;
        Ok(len)
    }
}
