//! The messages of a pull.
//!
//! Each is one deterministic CBOR array that starts with its number:
//!
//! - request `[0, vault, [charter id], [[author, actor, [[seq, commit]]]]]`: send what I lack
//! - request `[1, vault, [object id]]`: send these objects
//! - response `[2, [charter head], [[author, actor, seq, commit]], [entry], [[statement, body, [object]]],
//!   more]`
//! - response `[3, [object]]`
//! - response `[4, [entry], more]`: you were removed, and this is why
//! - response `[5]`: nothing for you
//! - announcement `[6, vault, [charter head], [[author, actor, seq, commit]]]`
//!
//! Always: every list is bounded, and a message over [`MAX_MESSAGE_LEN`] is refused before it is read.

use polykey_core::codec::{CodecError, Reader, Writer};
use polykey_core::id::{ActorId, NodeId, ObjectId, StatementId, VaultId};

use super::blob::Blob;
use crate::charter::LineId;
use crate::object::MAX_OBJECT_LEN;

/// Longest message in bytes: a commit with the largest header and body, and what goes with it.
pub const MAX_MESSAGE_LEN: usize = 12 << 20;
/// A response is not filled further once it is this long.
pub const BATCH_LEN: usize = 1 << 20;
/// A response with objects is not filled further once it is this long: each costs the puller a transaction.
pub const OBJECTS_LEN: usize = 4 << 20;
/// Longest response with objects: one more follows as long as it may still be filled.
pub const MAX_OBJECTS_LEN: usize = OBJECTS_LEN + MAX_OBJECT_LEN + 8 * MAX_WANTED;
/// Most charter ids in one message.
pub const MAX_CHARTER_IDS: usize = 1024;
/// Most lines in one message.
pub const MAX_LINES: usize = 8192;
/// Most commits that are named of one line.
pub const MAX_POINTS: usize = 128;
/// Most commits that one request names: each costs the peer a look-up.
pub const MAX_POINTS_IN_ALL: usize = 16_384;
/// Most entries, commits or objects in one message.
pub const MAX_ITEMS: usize = 4096;
/// Most objects asked for in one message.
pub const MAX_WANTED: usize = 256;

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Not the CBOR of a message.
    #[error("the message is malformed")]
    Malformed(#[from] CodecError),
    /// A list is longer than it may be.
    #[error("the message has a list of more than {limit}")]
    TooMany {
        /// The bound.
        limit: usize,
    },
}

/// The end of a line, or of a branch of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tip {
    /// The line.
    pub line: LineId,
    /// The number of the commit, from 1.
    pub seq: u64,
    /// The commit.
    pub commit: StatementId,
}

/// Commits of one line that the puller has: the ends first, then perhaps some before them. It has all that
/// they follow, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Have {
    /// The line.
    pub line: LineId,
    /// Numbers and commits.
    pub points: Vec<(u64, StatementId)>,
}

/// What a puller asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Send the charter entries and commits that I lack.
    Items {
        /// Of which vault.
        vault: VaultId,
        /// Charter entries that I have: the heads, and some before them.
        charter: Vec<StatementId>,
        /// Commits that I have.
        lines: Vec<Have>,
    },
    /// Send these objects.
    Objects {
        /// Of which vault.
        vault: VaultId,
        /// Which.
        wanted: Vec<ObjectId>,
    },
}

/// A commit as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitItem {
    /// The signed statement.
    pub statement: Vec<u8>,
    /// The sealed body.
    pub body: Vec<u8>,
    /// Its small objects, as far as the sender holds them.
    pub objects: Vec<Vec<u8>>,
}

impl CommitItem {
    /// Its length in bytes, about.
    pub fn len(&self) -> usize {
        let objects: usize = self.objects.iter().map(Vec::len).sum();
        self.statement.len() + self.body.len() + objects
    }

    /// True when it holds no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// How many small objects still travel with a commit. The puller asks for the rest.
#[derive(Debug)]
pub(crate) struct Room {
    count: usize,
    len: usize,
}

impl Default for Room {
    fn default() -> Self {
        Room {
            count: MAX_ITEMS,
            len: BATCH_LEN,
        }
    }
}

impl Room {
    /// Takes up room for an object; false when there is none left.
    pub fn takes(&mut self, len: usize) -> bool {
        if self.count == 0 || self.len < len {
            return false;
        }
        self.count -= 1;
        self.len -= len;
        true
    }
}

/// What the peer has, and the next part of what the puller lacks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Items {
    /// The peer's charter heads.
    pub heads: Vec<StatementId>,
    /// The ends of the peer's lines.
    pub tips: Vec<Tip>,
    /// Charter entries, each after its parents.
    pub entries: Vec<Vec<u8>>,
    /// Commits, each after its parents.
    pub commits: Vec<CommitItem>,
    /// True when there is more: ask again.
    pub more: bool,
}

/// What the peer answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// To [`Request::Items`].
    Items(Items),
    /// To [`Request::Objects`]: as many as fit, of those that the peer has, in the order of the request.
    Objects(Vec<Blob>),
    /// The puller was removed: the removal and what it follows, as far as the puller lacks it.
    Removed {
        /// Charter entries, each after its parents.
        entries: Vec<Vec<u8>>,
        /// True when there is more: ask again.
        more: bool,
    },
    /// The peer has nothing for the puller; it does not say whether it has the vault.
    Refused,
}

/// Fresh commits or charter entries, told to connected members, who pull if they lack something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// Of which vault.
    pub vault: VaultId,
    /// The sender's charter heads.
    pub heads: Vec<StatementId>,
    /// The ends of the sender's lines.
    pub tips: Vec<Tip>,
}

impl Request {
    /// The message.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        match self {
            Request::Items {
                vault,
                charter,
                lines,
            } => {
                w.array(4).u64(0).bytes(vault.as_bytes());
                write_ids(&mut w, charter);
                w.array(lines.len());
                for have in lines {
                    w.array(3);
                    w.bytes(have.line.author.as_bytes())
                        .bytes(have.line.actor.as_bytes());
                    w.array(have.points.len());
                    for (seq, commit) in &have.points {
                        w.array(2).u64(*seq).bytes(commit.as_bytes());
                    }
                }
            }
            Request::Objects { vault, wanted } => {
                w.array(3).u64(1).bytes(vault.as_bytes()).array(wanted.len());
                for object in wanted {
                    w.bytes(object.as_bytes());
                }
            }
        }
        w.finish()
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn decode(bytes: &[u8]) -> Result<Request, MessageError> {
        let mut d = Decoder::new(bytes)?;
        let request = match (d.r.array()?, d.r.u64()?) {
            (4, 0) => Request::Items {
                vault: d.vault()?,
                charter: d.ids()?,
                lines: d.list(MAX_LINES, Decoder::have)?,
            },
            (3, 1) => Request::Objects {
                vault: d.vault()?,
                wanted: d.list(MAX_WANTED, |d| Ok(ObjectId::from_bytes(d.r.bytes_of()?)))?,
            },
            _ => return Err(d.r.shape().into()),
        };
        d.r.finish()?;
        if let Request::Items { lines, .. } = &request
            && lines.iter().map(|have| have.points.len()).sum::<usize>() > MAX_POINTS_IN_ALL
        {
            let limit = MAX_POINTS_IN_ALL;
            return Err(MessageError::TooMany { limit });
        }
        Ok(request)
    }
}

impl Response {
    /// The message.
    pub fn encode(&self) -> Vec<u8> {
        let parts = self.to_parts();
        let mut message = Vec::with_capacity(parts.iter().map(Blob::len).sum());
        for part in &parts {
            message.extend_from_slice(part.as_slice());
        }
        message
    }

    /// The message, cut where objects begin and end: these are not copied.
    pub fn to_parts(&self) -> Vec<Blob> {
        let mut w = Writer::new();
        match self {
            Response::Items(items) => {
                w.array(6).u64(2);
                write_ids(&mut w, &items.heads);
                write_tips(&mut w, &items.tips);
                write_blobs(&mut w, &items.entries);
                w.array(items.commits.len());
                for commit in &items.commits {
                    w.array(3).bytes(&commit.statement).bytes(&commit.body);
                    write_blobs(&mut w, &commit.objects);
                }
                w.bool(items.more);
            }
            Response::Objects(objects) => {
                w.array(2).u64(3).array(objects.len());
                let mut parts = Vec::with_capacity(2 * objects.len() + 1);
                for object in objects {
                    w.head_of_bytes(object.len());
                    parts.push(std::mem::take(&mut w).into_part().into());
                    parts.push(object.clone());
                }
                if objects.is_empty() {
                    parts.push(w.finish().into());
                }
                return parts;
            }
            Response::Removed { entries, more } => {
                w.array(3).u64(4);
                write_blobs(&mut w, entries);
                w.bool(*more);
            }
            Response::Refused => {
                w.array(1).u64(5);
            }
        }
        vec![w.finish().into()]
    }

    /// Reads a message. Objects are not copied: they are parts of it.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn decode(message: &Blob) -> Result<Response, MessageError> {
        let mut d = Decoder::new(message.as_slice())?;
        let response = match (d.r.array()?, d.r.u64()?) {
            (6, 2) => Response::Items(Items {
                heads: d.ids()?,
                tips: d.list(MAX_LINES, Decoder::tip)?,
                entries: d.blobs()?,
                commits: d.list(MAX_ITEMS, Decoder::commit)?,
                more: d.r.bool()?,
            }),
            (2, 3) => Response::Objects(d.list(MAX_ITEMS, |d| Ok(message.part(d.r.bytes()?)))?),
            (3, 4) => Response::Removed {
                entries: d.blobs()?,
                more: d.r.bool()?,
            },
            (1, 5) => Response::Refused,
            _ => return Err(d.r.shape().into()),
        };
        d.r.finish()?;
        Ok(response)
    }
}

impl Announcement {
    /// The message.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.array(4).u64(6).bytes(self.vault.as_bytes());
        write_ids(&mut w, &self.heads);
        write_tips(&mut w, &self.tips);
        w.finish()
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn decode(bytes: &[u8]) -> Result<Announcement, MessageError> {
        let mut d = Decoder::new(bytes)?;
        d.r.array_of(4)?;
        d.r.key(6)?;
        let announcement = Announcement {
            vault: d.vault()?,
            heads: d.ids()?,
            tips: d.list(MAX_LINES, Decoder::tip)?,
        };
        d.r.finish()?;
        Ok(announcement)
    }
}

fn write_ids(w: &mut Writer, ids: &[StatementId]) {
    w.array(ids.len());
    for id in ids {
        w.bytes(id.as_bytes());
    }
}

fn write_tips(w: &mut Writer, tips: &[Tip]) {
    w.array(tips.len());
    for tip in tips {
        w.array(4);
        w.bytes(tip.line.author.as_bytes())
            .bytes(tip.line.actor.as_bytes());
        w.u64(tip.seq).bytes(tip.commit.as_bytes());
    }
}

fn write_blobs(w: &mut Writer, blobs: &[Vec<u8>]) {
    w.array(blobs.len());
    for blob in blobs {
        w.bytes(blob);
    }
}

struct Decoder<'b> {
    r: Reader<'b>,
}

impl<'b> Decoder<'b> {
    fn new(bytes: &'b [u8]) -> Result<Self, MessageError> {
        let r = Reader::new(bytes, MAX_MESSAGE_LEN, "a message")?;
        Ok(Decoder { r })
    }

    fn list<T>(
        &mut self,
        limit: usize,
        read: impl Fn(&mut Self) -> Result<T, MessageError>,
    ) -> Result<Vec<T>, MessageError> {
        let len = self.r.array()?;
        if len > limit {
            return Err(MessageError::TooMany { limit });
        }
        (0..len).map(|_| read(self)).collect()
    }

    fn vault(&mut self) -> Result<VaultId, MessageError> {
        Ok(VaultId::from_bytes(self.r.bytes_of()?))
    }

    fn id(&mut self) -> Result<StatementId, MessageError> {
        Ok(StatementId::from_bytes(self.r.bytes_of()?))
    }

    fn ids(&mut self) -> Result<Vec<StatementId>, MessageError> {
        self.list(MAX_CHARTER_IDS, Decoder::id)
    }

    fn line(&mut self) -> Result<LineId, MessageError> {
        Ok(LineId {
            author: NodeId::from_bytes(self.r.bytes_of()?),
            actor: ActorId::from_bytes(self.r.bytes_of()?),
        })
    }

    fn tip(&mut self) -> Result<Tip, MessageError> {
        self.r.array_of(4)?;
        Ok(Tip {
            line: self.line()?,
            seq: self.r.u64()?,
            commit: self.id()?,
        })
    }

    fn have(&mut self) -> Result<Have, MessageError> {
        self.r.array_of(3)?;
        Ok(Have {
            line: self.line()?,
            points: self.list(MAX_POINTS, |d| {
                d.r.array_of(2)?;
                Ok((d.r.u64()?, d.id()?))
            })?,
        })
    }

    fn blobs(&mut self) -> Result<Vec<Vec<u8>>, MessageError> {
        self.list(MAX_ITEMS, |d| Ok(d.r.bytes()?.to_vec()))
    }

    fn commit(&mut self) -> Result<CommitItem, MessageError> {
        self.r.array_of(3)?;
        Ok(CommitItem {
            statement: self.r.bytes()?.to_vec(),
            body: self.r.bytes()?.to_vec(),
            objects: self.blobs()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tip(n: u8) -> Tip {
        Tip {
            line: LineId {
                author: NodeId::from_bytes([n; 32]),
                actor: ActorId::from_bytes([n; 16]),
            },
            seq: u64::from(n) + 1,
            commit: StatementId::from_bytes([n; 32]),
        }
    }

    fn read(bytes: &[u8]) -> Result<Response, MessageError> {
        Response::decode(&bytes.to_vec().into())
    }

    fn requests() -> Vec<Request> {
        let vault = VaultId::from_bytes([7; 32]);
        vec![
            Request::Items {
                vault,
                charter: vec![StatementId::from_bytes([1; 32])],
                lines: vec![Have {
                    line: tip(1).line,
                    points: vec![(3, tip(1).commit), (2, tip(2).commit)],
                }],
            },
            Request::Objects {
                vault,
                wanted: vec![ObjectId::from_bytes([4; 32])],
            },
        ]
    }

    fn responses() -> Vec<Response> {
        vec![
            Response::Items(Items {
                heads: vec![StatementId::from_bytes([1; 32])],
                tips: vec![tip(1), tip(2)],
                entries: vec![vec![1, 2, 3]],
                commits: vec![CommitItem {
                    statement: vec![4],
                    body: vec![5, 6],
                    objects: vec![vec![7; 300]],
                }],
                more: true,
            }),
            Response::Objects(vec![vec![8; 100].into(), vec![9; 30].into()]),
            Response::Objects(Vec::new()),
            Response::Removed {
                entries: vec![vec![1]],
                more: false,
            },
            Response::Refused,
        ]
    }

    #[test]
    fn messages_read_back() {
        for request in requests() {
            assert_eq!(Request::decode(&request.encode()), Ok(request));
        }
        for response in responses() {
            assert_eq!(Response::decode(&response.encode().into()), Ok(response));
        }
        let announcement = Announcement {
            vault: VaultId::from_bytes([7; 32]),
            heads: vec![StatementId::from_bytes([1; 32])],
            tips: vec![tip(3)],
        };
        assert_eq!(Announcement::decode(&announcement.encode()), Ok(announcement));
    }

    #[test]
    fn no_cut_or_longer_message_is_read() {
        let all = requests().iter().map(Request::encode).collect::<Vec<_>>();
        for bytes in all
            .iter()
            .chain(&responses().iter().map(Response::encode).collect::<Vec<_>>())
        {
            for len in 0..bytes.len() {
                assert!(Request::decode(&bytes[..len]).is_err() && read(&bytes[..len]).is_err());
            }
            let longer = [&bytes[..], &[0]].concat();
            assert!(Request::decode(&longer).is_err() && read(&longer).is_err());
        }
    }

    #[test]
    fn a_message_of_one_kind_is_not_read_as_another() {
        for request in requests() {
            assert!(read(&request.encode()).is_err());
            assert!(Announcement::decode(&request.encode()).is_err());
        }
        for response in responses() {
            assert!(Request::decode(&response.encode()).is_err());
        }
    }

    #[test]
    fn the_longest_response_with_objects_fits_its_bound() {
        // As many as one request names, all but one of them as long as leaves room for that one.
        let each = (OBJECTS_LEN - 1) / (MAX_WANTED - 1);
        let mut objects: Vec<Blob> = vec![vec![0; each].into(); MAX_WANTED - 1];
        objects.push(vec![0; MAX_OBJECT_LEN].into());
        assert!(objects.iter().map(Blob::len).sum::<usize>() > OBJECTS_LEN);
        let len = Response::Objects(objects).encode().len();
        assert!(len <= MAX_OBJECTS_LEN, "{len}");
    }

    #[test]
    fn lists_are_bounded() {
        let too_many = Request::Objects {
            vault: VaultId::from_bytes([7; 32]),
            wanted: vec![ObjectId::from_bytes([0; 32]); MAX_WANTED + 1],
        };
        let limit = MAX_WANTED;
        assert_eq!(
            Request::decode(&too_many.encode()),
            Err(MessageError::TooMany { limit })
        );
        let too_many = Response::Objects(vec![Vec::new().into(); MAX_ITEMS + 1]);
        let limit = MAX_ITEMS;
        assert_eq!(read(&too_many.encode()), Err(MessageError::TooMany { limit }));
        let too_long = Response::Objects(vec![vec![0; MAX_MESSAGE_LEN].into()]).encode();
        assert!(matches!(
            read(&too_long),
            Err(MessageError::Malformed(CodecError::TooLong { .. }))
        ));
    }
}
