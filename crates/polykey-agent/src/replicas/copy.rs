//! One copy of a vault: where it is, and its record.
//!
//! Record: array `[place, last or null, waiting]`, where a place is `[0, node]` or `[1, absolute path]`.

use std::path::PathBuf;

use polykey_api::replicas::ReplicaItem;
use polykey_core::codec::{CodecError, Reader, Writer};
use polykey_core::hash::hash;
use polykey_core::{NodeId, Timestamp, VaultId, label};

/// Longest record.
const MAX_LEN: usize = 8192;

/// Where a copy is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// At a node.
    Node(NodeId),
    /// In a folder, named by its whole path.
    Folder(PathBuf),
}

impl Place {
    /// What it is called in a listing.
    pub fn show(&self) -> String {
        match self {
            Place::Node(node) => node.to_string(),
            Place::Folder(path) => path.to_string_lossy().into_owned(),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Place::Node(_) => "node",
            Place::Folder(_) => "folder",
        }
    }

    /// The name under which a vault remembers what was there.
    pub(super) fn whom(&self) -> [u8; 32] {
        match self {
            Place::Node(node) => *node.as_bytes(),
            Place::Folder(path) => hash(label::REPLICA_PLACE, &[path.as_os_str().as_encoded_bytes()]),
        }
    }

    fn write(&self, out: &mut Writer) {
        match self {
            Place::Node(node) => out.array(2).u64(0).bytes(node.as_bytes()),
            Place::Folder(path) => out.array(2).u64(1).bytes(path.as_os_str().as_encoded_bytes()),
        };
    }

    fn read(from: &mut Reader<'_>) -> Result<Place, CodecError> {
        use std::os::unix::ffi::OsStrExt;
        from.array_of(2)?;
        match from.u64()? {
            0 => Ok(Place::Node(NodeId::from_bytes(from.bytes_of()?))),
            1 => {
                let path = PathBuf::from(std::ffi::OsStr::from_bytes(from.bytes()?));
                match path.is_absolute() {
                    true => Ok(Place::Folder(path)),
                    false => Err(from.shape()),
                }
            }
            _ => Err(from.shape()),
        }
    }
}

/// What is told about a copy at a node, until that node says otherwise. Forgotten with the process: it is learned
/// again at the next connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The node has no room left for it.
    NoRoom,
    /// The node keeps it no longer.
    Dropped,
    /// The node has the commits, and lacks content of theirs.
    Incomplete,
}

impl Trouble {
    /// Its name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Trouble::NoRoom => "no-room",
            Trouble::Dropped => "dropped",
            Trouble::Incomplete => "incomplete",
        }
    }
}

/// One copy, as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// Where.
    pub place: Place,
    /// When it was last brought up to date.
    pub last: Option<Timestamp>,
    /// True when the other node has not said yes yet.
    pub waiting: bool,
}

impl Copy {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.array(3);
        self.place.write(&mut out);
        match self.last {
            Some(time) => out.u64(time.as_millis()),
            None => out.null(),
        };
        out.bool(self.waiting);
        out.finish()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Copy, CodecError> {
        let mut from = Reader::new(bytes, MAX_LEN, "the record of a copy")?;
        from.array_of(3)?;
        let place = Place::read(&mut from)?;
        let last = match from.null()? {
            true => None,
            false => Some(Timestamp::from_millis(from.u64()?)),
        };
        let waiting = from.bool()?;
        from.finish()?;
        Ok(Copy { place, last, waiting })
    }

    pub(super) fn item(&self, vault: VaultId) -> ReplicaItem {
        ReplicaItem {
            vault_id: vault.to_string(),
            place: self.place.show(),
            kind: self.place.kind().to_owned(),
            last_sync: self.last.map(Timestamp::as_millis),
            absent: matches!(&self.place, Place::Folder(path) if !path.is_dir()),
            waiting: self.waiting,
            trouble: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_records_are_told() {
        let good = Copy {
            place: Place::Folder(PathBuf::from("/x")),
            last: Some(Timestamp::from_millis(5)),
            waiting: false,
        };
        let bytes = good.encode();
        assert_eq!(Copy::decode(&bytes), Ok(good));
        for cut in 0..bytes.len() {
            assert!(Copy::decode(&bytes[..cut]).is_err(), "{cut}");
        }
        let mut relative = Writer::new();
        relative.array(3).array(2).u64(1).bytes(b"x").null().bool(false);
        assert!(Copy::decode(&relative.finish()).is_err());
    }
}
