//! Blobs: bytes on their way, which share the memory of what they came in.
//!
//! A pull moves objects from a message to a file, or from a file to a message. A blob is a part of the bytes
//! that were read, so that nothing on the way copies them.
//!
//! Always: a blob keeps all of what it is a part of in memory, so it is for bytes that are soon done with.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Bytes that are a part of others. Clones share them.
#[derive(Clone)]
pub struct Blob {
    whole: Arc<Vec<u8>>,
    part: Range<usize>,
}

impl Blob {
    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.whole[self.part.clone()]
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.part.len()
    }

    /// True when there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.part.is_empty()
    }

    /// A part of this one: `bytes`, which were borrowed from [`Blob::as_slice`]. Copies those that were not.
    pub fn part(&self, bytes: &[u8]) -> Blob {
        let start = bytes.as_ptr().addr().checked_sub(self.whole.as_ptr().addr());
        let part = start.and_then(|start| Some(start..start.checked_add(bytes.len())?));
        match part.filter(|part| self.part.start <= part.start && part.end <= self.part.end) {
            Some(part) => Blob {
                whole: self.whole.clone(),
                part,
            },
            None => bytes.to_vec().into(),
        }
    }

    /// The bytes by themselves; copied only when others share their memory.
    pub fn into_vec(self) -> Vec<u8> {
        match self.part.len() == self.whole.len() {
            true => Arc::unwrap_or_clone(self.whole),
            false => self.as_slice().to_vec(),
        }
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Blob {
        Blob {
            part: 0..bytes.len(),
            whole: Arc::new(bytes),
        }
    }
}

impl AsRef<[u8]> for Blob {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl PartialEq for Blob {
    fn eq(&self, other: &Blob) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Blob {}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_the_bytes_that_they_were_made_of_and_share_them() {
        let whole = Blob::from((0..100).collect::<Vec<u8>>());
        let part = whole.part(&whole.as_slice()[10..60]);
        assert_eq!(part.as_slice(), &whole.as_slice()[10..60]);
        assert_eq!(part.as_slice().as_ptr(), whole.as_slice()[10..].as_ptr());
        let inner = part.part(&part.as_slice()[50..]);
        assert!(inner.is_empty() && inner.into_vec().is_empty());
        // What lies before or behind the part is no part of it, and is copied.
        for outside in [&whole.as_slice()[9..20], &whole.as_slice()[59..61], b"elsewhere"] {
            let copy = part.part(outside);
            assert_eq!(copy.as_slice(), outside);
            assert_ne!(copy.as_slice().as_ptr(), outside.as_ptr());
        }
        let at = whole.as_slice().as_ptr();
        assert_eq!(part.clone().into_vec(), part.as_slice());
        drop(part);
        let bytes = whole.into_vec();
        assert_eq!(bytes.as_ptr(), at, "nobody else has it: it is not copied");
    }
}
