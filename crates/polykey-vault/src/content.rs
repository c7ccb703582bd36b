//! Content: what a version of a secret holds, as its commit describes it.
//!
//! The bytes themselves lie in objects. The description says how many there are, how long the content
//! is without its padding, and its hash, which makes "nothing changed" a comparison of 32 bytes. It
//! only ever stands inside sealed bodies and sealed records.

use polykey_core::codec::{CodecError, Reader, Writer};

/// The two kinds of secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Any bytes.
    Raw,
    /// A record of named, typed fields; see [`Record`](crate::record::Record).
    Record,
}

impl Kind {
    fn number(self) -> u64 {
        match self {
            Kind::Raw => 0,
            Kind::Record => 1,
        }
    }
}

/// What a version holds, without the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// Raw bytes or a record.
    pub kind: Kind,
    /// Length in bytes, without padding.
    pub size: u64,
    /// BLAKE3-256 of the plain bytes.
    pub digest: [u8; 32],
    /// Number of objects that hold it, one after the other in the commit's list of objects.
    pub objects: u32,
}

impl Content {
    /// True when both hold the same bytes, read the same way.
    pub fn same_as(&self, other: &Content) -> bool {
        self.kind == other.kind && self.size == other.size && self.digest == other.digest
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        out.array(4)
            .u64(self.kind.number())
            .u64(self.size)
            .bytes(&self.digest)
            .u64(u64::from(self.objects));
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        from.array_of(4)?;
        let kind = match from.u64()? {
            0 => Kind::Raw,
            1 => Kind::Record,
            _ => return Err(from.shape()),
        };
        Ok(Content {
            kind,
            size: from.u64()?,
            digest: from.bytes_of()?,
            objects: from.u32()?,
        })
    }
}
