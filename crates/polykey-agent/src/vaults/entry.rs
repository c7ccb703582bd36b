//! What the node remembers about a vault: name, place, state.
//!
//! Each vault has a record of its own in the node's database. The key of its folder is derived from the
//! random id of its storage, since a vault's own id is known only once it exists.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use polykey_core::codec::{CodecError, Reader, Writer};
use polykey_core::{Timestamp, VaultId, VaultName};

/// Longest record: a name, three paths.
const MAX_LEN: usize = 16 << 10;
/// Length of a storage id.
pub const STORAGE_LEN: usize = 16;

/// Where a vault's folder is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Folder {
    /// Below the node path, so that a copied node folder finds its vaults.
    InNode(PathBuf),
    /// Anywhere else.
    At(PathBuf),
}

impl Folder {
    /// The folder at `path`, which is absolute; relative to `node` where it lies in there.
    pub fn new(path: &Path, node: &Path) -> Folder {
        match path.strip_prefix(node) {
            Ok(below) if !below.as_os_str().is_empty() => Folder::InNode(below.to_owned()),
            _ => Folder::At(path.to_owned()),
        }
    }

    /// The whole path, when the node's is `node`.
    pub fn path(&self, node: &Path) -> PathBuf {
        match self {
            Folder::InNode(below) => node.join(below),
            Folder::At(path) => path.clone(),
        }
    }

    fn write(&self, out: &mut Writer) {
        let (kind, path) = match self {
            Folder::InNode(path) => (0, path),
            Folder::At(path) => (1, path),
        };
        out.array(2).u64(kind).bytes(path.as_os_str().as_bytes());
    }

    fn read(from: &mut Reader<'_>) -> Result<Folder, CodecError> {
        from.array_of(2)?;
        let kind = from.u64()?;
        let path = PathBuf::from(OsStr::from_bytes(from.bytes()?));
        match kind {
            0 if path.is_relative() => Ok(Folder::InNode(path)),
            1 if path.is_absolute() => Ok(Folder::At(path)),
            _ => Err(from.shape()),
        }
    }
}

/// In which part of its life a vault is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Being made. If the agent ends now, the next one clears its folder away.
    Making,
    /// Being brought in from another node, not shown until all of it is here. Goes on after a restart.
    Joining(VaultId),
    /// Kept for others as ciphertext: only its id leads to it.
    Kept(VaultId),
    /// Shared by the devices of this principal for what belongs to the person: only its id leads to it.
    Hidden(VaultId),
    /// In use.
    Live(VaultId),
    /// Deleted; can come back until then.
    Deleted(VaultId, Timestamp),
}

/// The record of one vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Names the record, and with the master key gives the key of the folder.
    pub storage: [u8; STORAGE_LEN],
    /// What the user calls it.
    pub name: VaultName,
    /// Where it is.
    pub folder: Folder,
    /// A folder that a move has not finished with: to be cleared away.
    pub leftover: Option<Folder>,
    /// In which part of its life it is.
    pub state: State,
}

impl Entry {
    /// The vault's id, once it has one.
    pub fn id(&self) -> Option<VaultId> {
        match self.state {
            State::Making => None,
            State::Joining(id)
            | State::Kept(id)
            | State::Hidden(id)
            | State::Live(id)
            | State::Deleted(id, _) => Some(id),
        }
    }

    /// True while its name is taken.
    pub fn holds_name(&self) -> bool {
        !matches!(self.state, State::Deleted(..) | State::Kept(_) | State::Hidden(_))
    }

    /// True when `typed` is its name or its id.
    pub fn is_called(&self, typed: &str) -> bool {
        VaultName::parse(typed).is_ok_and(|name| name == self.name)
            || self.id().is_some_and(|id| id.to_string() == typed)
    }

    /// The bytes of the record, without the storage id, which is its key.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        let more = match self.state {
            State::Joining(_) => Some(Some(true)),
            State::Kept(_) => Some(Some(false)),
            State::Hidden(_) => Some(None),
            _ => None,
        };
        out.array(if more.is_some() { 6 } else { 5 })
            .text(self.name.as_str());
        self.folder.write(&mut out);
        match &self.leftover {
            Some(folder) => folder.write(&mut out),
            None => {
                out.null();
            }
        }
        match self.id() {
            Some(id) => out.bytes(id.as_bytes()),
            None => out.null(),
        };
        match self.state {
            State::Deleted(_, until) => out.u64(until.as_millis()),
            _ => out.null(),
        };
        match more {
            Some(Some(joining)) => {
                out.bool(joining);
            }
            Some(None) => {
                out.null();
            }
            None => {}
        }
        out.finish()
    }

    /// Reads what [`Entry::encode`] wrote.
    ///
    /// # Errors
    /// For anything else.
    pub fn decode(storage: &[u8], bytes: &[u8]) -> Result<Entry, CodecError> {
        let mut from = Reader::new(bytes, MAX_LEN, "a vault's record")?;
        let storage = storage.try_into().map_err(|_| from.shape())?;
        let items = from.array()?;
        let name = VaultName::parse(from.text()?).map_err(|_| from.shape())?;
        let folder = Folder::read(&mut from)?;
        let leftover = if from.null()? {
            None
        } else {
            Some(Folder::read(&mut from)?)
        };
        let id = if from.null()? {
            None
        } else {
            Some(VaultId::from_bytes(from.bytes_of()?))
        };
        let until = if from.null()? {
            None
        } else {
            Some(Timestamp::from_millis(from.u64()?))
        };
        let more = match items {
            5 => None,
            6 if from.null()? => Some(None),
            6 => Some(Some(from.bool()?)),
            _ => return Err(from.shape()),
        };
        let state = match (id, until, more) {
            (None, None, None) => State::Making,
            (Some(id), None, Some(Some(true))) => State::Joining(id),
            (Some(id), None, Some(Some(false))) => State::Kept(id),
            (Some(id), None, Some(None)) => State::Hidden(id),
            (Some(id), None, None) => State::Live(id),
            (Some(id), Some(until), None) => State::Deleted(id, until),
            _ => return Err(from.shape()),
        };
        from.finish()?;
        Ok(Entry {
            storage,
            name,
            folder,
            leftover,
            state,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(state: State, folder: Folder, leftover: Option<Folder>) -> Entry {
        let name = VaultName::parse("my vault").expect("a good name");
        Entry {
            storage: [7; STORAGE_LEN],
            name,
            folder,
            leftover,
            state,
        }
    }

    #[test]
    fn records_come_back() {
        let id = VaultId::from_bytes([9; 32]);
        let inside = Folder::InNode("vaults/ab".into());
        let outside = Folder::At(PathBuf::from(OsStr::from_bytes(b"/media/\xff stick")));
        for entry in [
            entry(State::Making, inside.clone(), None),
            entry(State::Live(id), outside.clone(), Some(inside.clone())),
            entry(State::Joining(id), inside.clone(), None),
            entry(State::Kept(id), inside.clone(), None),
            entry(State::Hidden(id), inside.clone(), None),
            entry(
                State::Deleted(id, Timestamp::from_millis(12)),
                inside,
                Some(outside),
            ),
        ] {
            assert_eq!(Entry::decode(&entry.storage, &entry.encode()), Ok(entry));
        }
    }

    #[test]
    fn the_layout_is_frozen() {
        let state = State::Deleted(VaultId::from_bytes([9; 32]), Timestamp::from_millis(1000));
        let leftover = Some(Folder::At("/x".into()));
        let entry = entry(state, Folder::InNode("vaults/ab".into()), leftover);
        let want = format!(
            "85686d79207661756c74{}{}5820{}1903e8",
            "8200497661756c74732f6162",
            "8201422f78",
            "09".repeat(32)
        );
        assert_eq!(data_encoding::HEXLOWER.encode(&entry.encode()), want);
    }

    #[test]
    fn malformed_records_are_refused() {
        let good = entry(State::Making, Folder::At("/x".into()), None).encode();
        assert!(Entry::decode(&[7; 15], &good).is_err());
        for cut in 0..good.len() {
            assert!(Entry::decode(&[7; 16], &good[..cut]).is_err(), "{cut}");
        }
        for folder in [Folder::At("relative".into()), Folder::InNode("/absolute".into())] {
            let bad = entry(State::Making, folder, None).encode();
            assert!(Entry::decode(&[7; 16], &bad).is_err());
        }
    }

    #[test]
    fn folders_in_the_node_path_are_relative() {
        let node = Path::new("/n");
        assert_eq!(
            Folder::new(Path::new("/n/vaults/a"), node),
            Folder::InNode("vaults/a".into())
        );
        for outside in ["/n", "/nx/a", "/m/n/a"] {
            assert_eq!(Folder::new(Path::new(outside), node), Folder::At(outside.into()));
        }
        let moved = Folder::new(Path::new("/n/vaults/a"), node).path(Path::new("/elsewhere"));
        assert_eq!(moved, Path::new("/elsewhere/vaults/a"));
    }
}
