//! Reading content: one object after the other, each checked before a byte of it comes out.
//!
//! Always: what a reader returns is what was written; anything else is an error that names the object.

use std::io;

use polykey_core::{SecretBytes, SecretPath, VaultId};
use polykey_store::{Database, Objects, StoreError};

use crate::content::{Content, Kind};
use crate::error::VaultError;
use crate::event::ObjectRef;
use crate::stored::{ObjectRow, object_row};
use crate::object::{self, MAX_OBJECT_LEN, Opened, objects_for, sealed_len};

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
        Ok(ContentReader {
            source,
            path,
            content,
            objects,
            first,
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
    /// [`VaultError::ObjectMissing`], [`VaultError::ObjectDamaged`], [`VaultError::Purged`].
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
        let bytes = match self.first.take() {
            Some(bytes) => bytes,
            None => self.fetch(object)?,
        };
        let opened = object::open(&self.source.vault, index as u64, object, bytes).map_err(|_| {
            VaultError::ObjectDamaged {
                path: self.path.clone(),
                object: object.id,
            }
        })?;
        let len = rest(&opened, 0, self.left);
        self.opened = Some(opened);
        self.given = 0;
        self.next += 1;
        Ok(Some(len))
    }

    fn fetch(&self, object: &ObjectRef) -> Result<Vec<u8>, VaultError> {
        // More than one object: they are files, and asking the database for each would only cost time.
        if self.objects.len() > 1
            && let Ok(bytes) = self.source.objects.read(&object.id, MAX_OBJECT_LEN)
        {
            return Ok(bytes);
        }
        let row = match &self.source.database {
            Some(database) => database.read(|tx| object_row(tx, &object.id))?,
            None => Some(ObjectRow::File),
        };
        let missing = || VaultError::ObjectMissing {
            path: self.path.clone(),
            object: object.id,
        };
        match row {
            Some(ObjectRow::Inline(bytes)) => Ok(bytes),
            Some(ObjectRow::File) => match self.source.objects.read(&object.id, MAX_OBJECT_LEN) {
                Ok(bytes) => Ok(bytes),
                Err(StoreError::Missing { .. }) => Err(missing()),
                Err(StoreError::TooLong { .. }) => Err(VaultError::ObjectDamaged {
                    path: self.path.clone(),
                    object: object.id,
                }),
                Err(error) => Err(error.into()),
            },
            Some(ObjectRow::Purged(_)) => Err(VaultError::Purged {
                path: self.path.clone(),
            }),
            Some(ObjectRow::Wanted) | None => Err(missing()),
        }
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
