//! Events: what happened to one secret, one after the other.
//!
//! An event is an operation together with the facts about its commit that the fold needs. All events of a
//! secret stand together in the index, so that its state, at any commit, is a function of one group of
//! rows.

use std::collections::BTreeMap;

use polykey_core::codec::{CodecError, Reader, Writer};
use polykey_core::{ActorId, Key, NodeId, ObjectId, SecretPath, Timestamp};

use crate::attributes::AttributeChanges;
use crate::content::Content;
use crate::id::VersionId;
use crate::operation::{read_versions, write_versions};

/// Longest encoded event: the largest secret names some 65,000 objects.
pub const MAX_EVENT_LEN: usize = 8 << 20;

/// One operation on one secret, with the facts about its commit.
#[derive(Debug, PartialEq, Eq)]
pub struct Event {
    /// The operation, and the version that it made.
    pub version: VersionId,
    /// Height of its commit: 1 + the greatest of its parents'.
    pub height: u64,
    /// The line of its commit.
    pub actor: ActorId,
    /// The number of its commit in that line.
    pub seq: u64,
    /// Who made it.
    pub author: NodeId,
    /// When, by the author's clock.
    pub time: Timestamp,
    /// What it did.
    pub action: Action,
}

/// What an event did to its secret.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Made it, with content, at a place.
    Create {
        /// Where.
        at: SecretPath,
        /// What it holds.
        stored: Stored,
    },
    /// Gave it new content.
    Put {
        /// Content versions that it replaces.
        replaces: Vec<VersionId>,
        /// What it holds.
        stored: Stored,
    },
    /// Gave it a new place, or took it away.
    Place {
        /// Place versions that it replaces.
        replaces: Vec<VersionId>,
        /// Where it stands; `None` when it was removed.
        to: Option<SecretPath>,
    },
    /// Made a directory.
    MakeDirectory {
        /// Where.
        at: SecretPath,
    },
    /// Changed attributes.
    Attributes(AttributeChanges),
}

/// Content with the objects that hold it.
#[derive(Debug, PartialEq, Eq)]
pub struct Stored {
    /// What it is.
    pub content: Content,
    /// Where its bytes are, in order.
    pub objects: Vec<ObjectRef>,
}

/// An object and the key that opens it.
#[derive(Debug, PartialEq, Eq)]
pub struct ObjectRef {
    /// Its name: the hash of its ciphertext.
    pub id: ObjectId,
    /// Its sealed length.
    pub size: u32,
    /// What opens it.
    pub key: Key,
}

impl ObjectRef {
    /// A second reference; explicit, because each copy of the key is one more to wipe.
    pub(crate) fn duplicate(&self) -> ObjectRef {
        ObjectRef {
            id: self.id,
            size: self.size,
            key: self.key.duplicate(),
        }
    }
}

impl Event {
    /// The content that it brought.
    pub fn stored(&self) -> Option<&Stored> {
        match &self.action {
            Action::Create { stored, .. } | Action::Put { stored, .. } => Some(stored),
            _ => None,
        }
    }

    /// True when it made a version of the secret's content.
    pub fn is_content(&self) -> bool {
        self.stored().is_some()
    }

    /// True when it made the secret or directory.
    pub fn is_making(&self) -> bool {
        matches!(self.action, Action::Create { .. } | Action::MakeDirectory { .. })
    }

    /// The place that it gave, where it gave or took one.
    pub fn place(&self) -> Option<Option<&SecretPath>> {
        match &self.action {
            Action::Create { at, .. } | Action::MakeDirectory { at } => Some(Some(at)),
            Action::Place { to, .. } => Some(to.as_ref()),
            _ => None,
        }
    }

    /// The content versions that it replaces.
    pub fn replaced_contents(&self) -> &[VersionId] {
        match &self.action {
            Action::Put { replaces, .. } => replaces,
            _ => &[],
        }
    }

    /// The place versions that it replaces.
    pub fn replaced_places(&self) -> &[VersionId] {
        match &self.action {
            Action::Place { replaces, .. } => replaces,
            _ => &[],
        }
    }

    /// The order in which the winner of versions that stand side by side is found: the greatest wins.
    pub fn rank(&self) -> Rank {
        Rank {
            height: self.height,
            version: self.version,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.array(7);
        self.version.write(&mut out);
        out.u64(self.height)
            .bytes(self.actor.as_bytes())
            .u64(self.seq)
            .bytes(self.author.as_bytes())
            .u64(self.time.as_millis());
        match &self.action {
            Action::Create { at, stored } => {
                out.array(3).u64(0).text(at.as_str());
                stored.write(&mut out);
            }
            Action::Put { replaces, stored } => {
                out.array(3).u64(1);
                write_versions(&mut out, replaces);
                stored.write(&mut out);
            }
            Action::Place { replaces, to } => {
                out.array(3).u64(2);
                write_versions(&mut out, replaces);
                match to {
                    Some(to) => out.text(to.as_str()),
                    None => out.null(),
                };
            }
            Action::MakeDirectory { at } => drop(out.array(2).u64(3).text(at.as_str())),
            Action::Attributes(changes) => {
                out.array(2).u64(4);
                changes.write(&mut out);
            }
        }
        out.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Event, CodecError> {
        let mut reader = Reader::new(bytes, MAX_EVENT_LEN, "an event of a secret")?;
        let from = &mut reader;
        from.array_of(7)?;
        let version = VersionId::read(from)?;
        let height = from.u64()?;
        let actor = ActorId::from_bytes(from.bytes_of()?);
        let seq = from.u64()?;
        let author = NodeId::from_bytes(from.bytes_of()?);
        let time = Timestamp::from_millis(from.u64()?);
        let len = from.array()?;
        let action = match (from.u64()?, len) {
            (0, 3) => Action::Create {
                at: read_path(from)?,
                stored: Stored::read(from)?,
            },
            (1, 3) => Action::Put {
                replaces: read_versions(from)?,
                stored: Stored::read(from)?,
            },
            (2, 3) => Action::Place {
                replaces: read_versions(from)?,
                to: if from.null()? {
                    None
                } else {
                    Some(read_path(from)?)
                },
            },
            (3, 2) => Action::MakeDirectory { at: read_path(from)? },
            (4, 2) => Action::Attributes(AttributeChanges::read(from)?),
            _ => return Err(from.shape()),
        };
        reader.finish()?;
        Ok(Event {
            version,
            height,
            actor,
            seq,
            author,
            time,
            action,
        })
    }
}

impl Stored {
    fn write(&self, out: &mut Writer) {
        out.array(2);
        self.content.write(out);
        out.array(self.objects.len());
        for object in &self.objects {
            out.array(3)
                .bytes(object.id.as_bytes())
                .u64(u64::from(object.size))
                .bytes(object.key.expose());
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Stored, CodecError> {
        from.array_of(2)?;
        let content = Content::read(from)?;
        // The walk of the whole item has seen that many objects.
        let count = from.array()?;
        let mut objects = Vec::with_capacity(count);
        for _ in 0..count {
            from.array_of(3)?;
            objects.push(ObjectRef {
                id: ObjectId::from_bytes(from.bytes_of()?),
                size: from.u32()?,
                key: Key::copy_from(from.bytes()?).ok_or(from.shape())?,
            });
        }
        Ok(Stored { content, objects })
    }
}

pub(crate) fn read_path(from: &mut Reader<'_>) -> Result<SecretPath, CodecError> {
    SecretPath::from_normal(from.text()?).map_err(|_| from.shape())
}

/// Place of a version in the order that decides between versions side by side: greatest height, then
/// commit id, then index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank {
    /// Height of its commit.
    pub height: u64,
    /// The version itself.
    pub version: VersionId,
}

impl Rank {
    pub(crate) fn write(self, out: &mut Writer) {
        out.array(2).u64(self.height);
        self.version.write(out);
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Rank, CodecError> {
        from.array_of(2)?;
        Ok(Rank {
            height: from.u64()?,
            version: VersionId::read(from)?,
        })
    }
}

/// What one secret is after some set of events.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// True for a directory that was made.
    pub directory: bool,
    /// Content versions that nothing covers, the winner first, with their counters.
    pub contents: Vec<(Rank, u64)>,
    /// Place versions that nothing covers, the winner first; `None` is a removal.
    pub places: Vec<(Rank, Option<SecretPath>)>,
    /// Attributes that are set, each with the version that set it.
    pub attributes: BTreeMap<String, (Rank, String)>,
}

impl State {
    /// Where it stands; `None` when it was removed or has no content that counts.
    pub fn place(&self) -> Option<(&SecretPath, Rank)> {
        if self.contents.is_empty() && !self.directory {
            return None;
        }
        let (rank, path) = self.places.first()?;
        path.as_ref().map(|path| (path, *rank))
    }

    /// The winning content version and its counter.
    pub fn content(&self) -> Option<(Rank, u64)> {
        self.contents.first().copied()
    }

    /// True when versions of content or place stand side by side.
    pub fn in_conflict(&self) -> bool {
        self.contents.len() > 1 || self.places.iter().filter(|(_, to)| to.is_some()).count() > 1
    }

    /// The content versions that the next write replaces, ascending.
    pub fn content_versions(&self) -> Vec<VersionId> {
        sorted(self.contents.iter().map(|(rank, _)| rank.version))
    }

    /// The place versions that the next move or removal replaces, ascending.
    pub fn place_versions(&self) -> Vec<VersionId> {
        sorted(self.places.iter().map(|(rank, _)| rank.version))
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        out.array(4).bool(self.directory).array(self.contents.len());
        for (rank, number) in &self.contents {
            out.array(2);
            rank.write(out);
            out.u64(*number);
        }
        out.array(self.places.len());
        for (rank, to) in &self.places {
            out.array(2);
            rank.write(out);
            match to {
                Some(to) => out.text(to.as_str()),
                None => out.null(),
            };
        }
        out.array(self.attributes.len());
        for (key, (rank, value)) in &self.attributes {
            out.array(3).text(key);
            rank.write(out);
            out.text(value);
        }
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<State, CodecError> {
        from.array_of(4)?;
        let mut state = State {
            directory: from.bool()?,
            ..State::default()
        };
        for _ in 0..from.array()? {
            from.array_of(2)?;
            state.contents.push((Rank::read(from)?, from.u64()?));
        }
        for _ in 0..from.array()? {
            from.array_of(2)?;
            let rank = Rank::read(from)?;
            let to = if from.null()? {
                None
            } else {
                Some(read_path(from)?)
            };
            state.places.push((rank, to));
        }
        for _ in 0..from.array()? {
            from.array_of(3)?;
            let key = from.text()?.to_owned();
            let rank = Rank::read(from)?;
            state.attributes.insert(key, (rank, from.text()?.to_owned()));
        }
        Ok(state)
    }
}

fn sorted(versions: impl Iterator<Item = VersionId>) -> Vec<VersionId> {
    let mut versions: Vec<_> = versions.take(crate::operation::MAX_REPLACED).collect();
    versions.sort();
    versions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Kind;
    use crate::id::CommitId;

    fn version(number: u8) -> VersionId {
        VersionId {
            commit: CommitId::from_bytes([number; 32]),
            index: 1,
        }
    }

    fn stored() -> Stored {
        Stored {
            content: Content {
                kind: Kind::Record,
                size: 3,
                digest: [1; 32],
                objects: 1,
            },
            objects: vec![ObjectRef {
                id: ObjectId::from_bytes([2; 32]),
                size: 296,
                key: Key::from_array([3; 32]),
            }],
        }
    }

    #[test]
    fn every_event_round_trips() {
        let path = SecretPath::parse("a/b").expect("a path");
        let mut changes = AttributeChanges::default();
        changes.set("tag", None).expect("fits");
        for action in [
            Action::Create {
                at: path.clone(),
                stored: stored(),
            },
            Action::Put {
                replaces: vec![version(1), version(2)],
                stored: stored(),
            },
            Action::Place {
                replaces: vec![],
                to: Some(path.clone()),
            },
            Action::Place {
                replaces: vec![version(3)],
                to: None,
            },
            Action::MakeDirectory { at: path.clone() },
            Action::Attributes(changes),
        ] {
            let event = Event {
                version: version(7),
                height: 3,
                actor: ActorId::from_bytes([1; 16]),
                seq: 2,
                author: NodeId::from_bytes([2; 32]),
                time: Timestamp::from_millis(5),
                action,
            };
            let bytes = event.encode();
            assert_eq!(Event::decode(&bytes).as_ref(), Ok(&event));
            for cut in 0..bytes.len() {
                assert!(Event::decode(&bytes[..cut]).is_err(), "cut at {cut}");
            }
        }
    }

    #[test]
    fn states_round_trip() {
        let rank = |number| Rank {
            height: u64::from(number),
            version: version(number),
        };
        let state = State {
            directory: false,
            contents: vec![(rank(3), 2), (rank(1), 2)],
            places: vec![
                (rank(2), Some(SecretPath::parse("a").expect("a path"))),
                (rank(1), None),
            ],
            attributes: [("note".to_owned(), (rank(1), "x".to_owned()))].into(),
        };
        let mut out = Writer::new();
        state.write(&mut out);
        let bytes = out.finish();
        let mut reader = Reader::new(&bytes, 1 << 16, "state").expect("deterministic");
        assert_eq!(State::read(&mut reader), Ok(state));
    }
}
