//! Commits: how a vault remembers.
//!
//! A commit is one signed statement and one sealed body. The statement's payload is the header, in clear
//! (who, in which line, on top of what, which objects), and the hash of the body. The body (when, why,
//! what, and the keys of the objects) is sealed with the header as associated data, so neither fits
//! another. It never changes; editing a vault adds a commit.
//!
//! Always: nothing here reads a store or knows who may write; that is the charter's verdict. Start at
//! [`Commit::seal`] and [`Commit::verify`].

use polykey_core::codec::{CodecError, Reader, Writer};
use polykey_core::hash::hash;
use polykey_core::padme::padded_len;
use polykey_core::sign::SigningKey;
use polykey_core::statement::{Kind, MAX_PAYLOAD_LEN, Statement, StatementError};
use polykey_core::{ActorId, Key, NodeId, ObjectId, Random, StatementId, Timestamp, VaultId, aead, label};

use crate::id::CommitId;
use crate::object::{MAX_OBJECT_LEN, MIN_OBJECT_LEN};
use crate::operation::{Operation, read_operations, write_operations};

/// Most parents of a commit, and most charter heads that it names.
pub const MAX_HEADS: usize = 256;
/// Longest message in bytes.
pub const MAX_MESSAGE_LEN: usize = 1024;
/// Longest sealed body in bytes.
pub const MAX_BODY_LEN: usize = MAX_PAYLOAD_LEN;
/// Most objects that one commit names: their ids and sizes must fit the header.
pub const MAX_OBJECTS: usize = MAX_PAYLOAD_LEN / 64;

/// Why bytes are not an acceptable commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// The statement does not hold.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// Header or body do not have their form.
    #[error("the commit is malformed")]
    Malformed(#[from] CodecError),
    /// Signed by somebody else than its author.
    #[error("the commit is not signed by its author and by nobody else")]
    NotByAuthor,
    /// The body is not the one that the header names.
    #[error("the body of the commit is not the one that was signed")]
    OtherBody,
    /// The body does not open with this key.
    #[error("the body of the commit does not open")]
    Closed,
}

/// The clear part of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The vault it belongs to.
    pub vault: VaultId,
    /// The line of commits that it continues.
    pub actor: ActorId,
    /// Its number in that line, from 1.
    pub seq: u64,
    /// The commit before it in that line; `None` exactly for number 1.
    pub previous: Option<CommitId>,
    /// The node that made and signed it.
    pub author: NodeId,
    /// The commits that it builds on, ascending.
    pub parents: Vec<CommitId>,
    /// The charter heads that its author knew, ascending.
    pub charter_heads: Vec<StatementId>,
    /// The objects that hold its contents, with their sealed sizes, in the order of its operations.
    pub objects: Vec<(ObjectId, u32)>,
}

/// The beginning of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preface {
    /// When, by the author's clock.
    pub time: Timestamp,
    /// Why.
    pub message: String,
    /// The commit to which it goes back, if that is what it does.
    pub reset_to: Option<CommitId>,
}

/// The sealed part of a commit.
#[derive(Debug, PartialEq, Eq)]
pub struct Body {
    /// When it was made, by its author's clock.
    pub time: Timestamp,
    /// Why, for people.
    pub message: String,
    /// The commit to which this one goes back, if that is what it does.
    pub reset_to: Option<CommitId>,
    /// What it does.
    pub operations: Vec<Operation>,
    /// The keys of the header's objects, in the same order.
    pub keys: Vec<Key>,
}

/// A commit whose signature and body hash were checked. Only [`Commit::seal`], [`Commit::verify`] and
/// [`Commit::accept_stored`] make one.
#[derive(Debug, Clone)]
pub struct Commit {
    statement: Statement,
    header: Header,
    sealed: Vec<u8>,
}

impl Commit {
    /// Seals `body` under `key` and signs it with `header`.
    ///
    /// # Errors
    /// [`CommitError::Malformed`] with [`CodecError::TooLong`] when header or body are over their bounds:
    /// the caller splits the change.
    pub fn seal(
        header: Header,
        body: &Body,
        key: &Key,
        signer: &SigningKey,
        random: &dyn Random,
    ) -> Result<Commit, CommitError> {
        let header_bytes = header.encode();
        let plain = zeroize::Zeroizing::new(body.encode());
        if plain.len() > MAX_BODY_LEN {
            return Err(CodecError::TooLong { limit: MAX_BODY_LEN }.into());
        }
        let sealed = aead::seal(key, label::COMMIT_BODY_AAD, &header_bytes, &plain, random);
        let payload = payload(&header_bytes, &sealed);
        if payload.len() > MAX_PAYLOAD_LEN {
            return Err(CodecError::TooLong {
                limit: MAX_PAYLOAD_LEN,
            }
            .into());
        }
        Ok(Commit {
            statement: Statement::sign(Kind::Commit, &payload, &[signer]),
            header,
            sealed,
        })
    }

    /// Takes a commit from a peer: checks signature, form and body hash.
    ///
    /// # Errors
    /// Says what is wrong; nothing of a refused commit comes out.
    pub fn verify(statement: Vec<u8>, sealed: Vec<u8>) -> Result<Commit, CommitError> {
        Commit::assemble(Statement::verify(Kind::Commit, statement)?, sealed)
    }

    /// Takes a commit that this node verified before and has since kept sealed. Never for bytes from
    /// anywhere else.
    ///
    /// # Errors
    /// As [`Commit::verify`], but for the signature.
    pub fn accept_stored(statement: Vec<u8>, sealed: Vec<u8>) -> Result<Commit, CommitError> {
        Commit::assemble(Statement::accept_unverified(Kind::Commit, statement)?, sealed)
    }

    fn assemble(statement: Statement, sealed: Vec<u8>) -> Result<Commit, CommitError> {
        let mut reader = Reader::new(statement.payload(), MAX_PAYLOAD_LEN, "a commit")?;
        reader.array_of(2)?;
        let header = Header::decode(reader.bytes()?)?;
        let body_hash: [u8; 32] = reader.bytes_of()?;
        reader.finish()?;
        if !statement.is_signed_only_by(&header.author) {
            return Err(CommitError::NotByAuthor);
        }
        if sealed.len() > MAX_BODY_LEN + aead::OVERHEAD || body_hash != hash(label::COMMIT_BODY, &[&sealed]) {
            return Err(CommitError::OtherBody);
        }
        Ok(Commit {
            statement,
            header,
            sealed,
        })
    }

    /// Opens the body.
    ///
    /// # Errors
    /// [`CommitError::Closed`] with a wrong key, [`CommitError::Malformed`] when its author wrote nonsense.
    pub fn open(&self, key: &Key) -> Result<Body, CommitError> {
        let plain = aead::open(key, label::COMMIT_BODY_AAD, self.header_bytes(), &self.sealed)
            .map_err(|_| CommitError::Closed)?;
        Ok(Body::decode(plain.expose(), &self.header)?)
    }

    /// Opens the body for its beginning alone, which is all that a log shows of it.
    ///
    /// # Errors
    /// As [`Commit::open`]; what comes behind the beginning is not looked at.
    pub fn open_preface(&self, key: &Key) -> Result<Preface, CommitError> {
        let plain = aead::open(key, label::COMMIT_BODY_AAD, self.header_bytes(), &self.sealed)
            .map_err(|_| CommitError::Closed)?;
        let mut reader = Reader::new(unpadded(plain.expose())?, MAX_BODY_LEN, "a commit's body")?;
        reader.map_of(5)?;
        Ok(read_preface(&mut reader)?)
    }

    fn header_bytes(&self) -> &[u8] {
        let mut reader = Reader::new(self.statement.payload(), MAX_PAYLOAD_LEN, "a commit")
            .expect("checked when it was assembled");
        reader
            .array_of(2)
            .and_then(|()| reader.bytes())
            .expect("checked when it was assembled")
    }

    /// Its name.
    pub fn id(&self) -> CommitId {
        self.statement.id().into()
    }

    /// The clear part.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The signed statement, as it is stored and sent.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// The sealed body, as it is stored and sent.
    pub fn sealed_body(&self) -> &[u8] {
        &self.sealed
    }
}

fn payload(header: &[u8], sealed: &[u8]) -> Vec<u8> {
    let mut out = Writer::new();
    out.array(2)
        .bytes(header)
        .bytes(&hash(label::COMMIT_BODY, &[sealed]));
    out.finish()
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.map(8)
            .u64(0)
            .bytes(self.vault.as_bytes())
            .u64(1)
            .bytes(self.actor.as_bytes())
            .u64(2)
            .u64(self.seq)
            .u64(3);
        match &self.previous {
            Some(previous) => out.bytes(previous.as_bytes()),
            None => out.null(),
        };
        out.u64(4).bytes(self.author.as_bytes());
        out.u64(5).array(self.parents.len());
        for parent in &self.parents {
            out.bytes(parent.as_bytes());
        }
        out.u64(6).array(self.charter_heads.len());
        for head in &self.charter_heads {
            out.bytes(head.as_bytes());
        }
        out.u64(7).array(self.objects.len());
        for (object, size) in &self.objects {
            out.array(2).bytes(object.as_bytes()).u64(u64::from(*size));
        }
        out.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Header, CodecError> {
        let mut reader = Reader::new(bytes, MAX_PAYLOAD_LEN, "a commit's header")?;
        let from = &mut reader;
        from.map_of(8)?;
        from.key(0)?;
        let vault = VaultId::from_bytes(from.bytes_of()?);
        from.key(1)?;
        let actor = ActorId::from_bytes(from.bytes_of()?);
        from.key(2)?;
        let seq = from.u64()?;
        from.key(3)?;
        let previous = if from.null()? {
            None
        } else {
            Some(CommitId::from_bytes(from.bytes_of()?))
        };
        from.key(4)?;
        let author = NodeId::from_bytes(from.bytes_of()?);
        from.key(5)?;
        let parents = read_ids(from, CommitId::from_bytes)?;
        from.key(6)?;
        let charter_heads = read_ids(from, StatementId::from_bytes)?;
        from.key(7)?;
        let count = from.array()?;
        if count > MAX_OBJECTS {
            return Err(from.shape());
        }
        let mut objects = Vec::with_capacity(count);
        for _ in 0..count {
            from.array_of(2)?;
            let object = ObjectId::from_bytes(from.bytes_of()?);
            let size = from.u32()?;
            if !(MIN_OBJECT_LEN..=MAX_OBJECT_LEN).contains(&(size as usize)) {
                return Err(from.shape());
            }
            objects.push((object, size));
        }
        // The first of a line has no previous one, every other has.
        if seq == 0 || (seq == 1) != previous.is_none() || charter_heads.is_empty() {
            return Err(from.shape());
        }
        reader.finish()?;
        Ok(Header {
            vault,
            actor,
            seq,
            previous,
            author,
            parents,
            charter_heads,
            objects,
        })
    }
}

/// Reads 32-byte ids in ascending order, at most [`MAX_HEADS`].
fn read_ids<T: Ord>(from: &mut Reader<'_>, id: fn([u8; 32]) -> T) -> Result<Vec<T>, CodecError> {
    let count = from.array()?;
    if count > MAX_HEADS {
        return Err(from.shape());
    }
    let ids = (0..count)
        .map(|_| from.bytes_of().map(id))
        .collect::<Result<Vec<_>, _>>()?;
    if ids.is_sorted_by(|a, b| a < b) {
        Ok(ids)
    } else {
        Err(from.shape())
    }
}

/// The item of a padded plain text: see [`Body::encode`].
fn unpadded(plain: &[u8]) -> Result<&[u8], CodecError> {
    let (len, rest) = plain.split_first_chunk::<4>().ok_or(CodecError::Truncated)?;
    let len = u32::from_be_bytes(*len) as usize;
    let (item, padding) = rest.split_at_checked(len).ok_or(CodecError::Truncated)?;
    if padding.iter().any(|byte| *byte != 0) || padded_len(4 + len as u64) != plain.len() as u64 {
        return Err(CodecError::NotDeterministic);
    }
    Ok(item)
}

fn read_preface(from: &mut Reader<'_>) -> Result<Preface, CodecError> {
    from.key(0)?;
    let time = Timestamp::from_millis(from.u64()?);
    from.key(1)?;
    let message = from.text()?.to_owned();
    if message.len() > MAX_MESSAGE_LEN {
        return Err(from.shape());
    }
    from.key(2)?;
    let reset_to = if from.null()? {
        None
    } else {
        Some(CommitId::from_bytes(from.bytes_of()?))
    };
    Ok(Preface {
        time,
        message,
        reset_to,
    })
}

impl Body {
    /// The padded plain text: 4 bytes of length (big-endian), the item, zeros up to the padded length.
    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.map(5)
            .u64(0)
            .u64(self.time.as_millis())
            .u64(1)
            .text(&self.message)
            .u64(2);
        match &self.reset_to {
            Some(commit) => out.bytes(commit.as_bytes()),
            None => out.null(),
        };
        out.u64(3);
        write_operations(&mut out, &self.operations);
        out.u64(4).array(self.keys.len());
        for key in &self.keys {
            out.bytes(key.expose());
        }
        let item = zeroize::Zeroizing::new(out.finish());
        let len = u32::try_from(item.len()).unwrap_or(u32::MAX);
        let padded = padded_len(4 + item.len() as u64);
        let mut plain = Vec::with_capacity(usize::try_from(padded).unwrap_or(usize::MAX));
        plain.extend_from_slice(&len.to_be_bytes());
        plain.extend_from_slice(&item);
        plain.resize(plain.capacity(), 0);
        plain
    }

    fn decode(plain: &[u8], header: &Header) -> Result<Body, CodecError> {
        let mut reader = Reader::new(unpadded(plain)?, MAX_BODY_LEN, "a commit's body")?;
        let from = &mut reader;
        from.map_of(5)?;
        let Preface {
            time,
            message,
            reset_to,
        } = read_preface(from)?;
        from.key(3)?;
        let operations = read_operations(from)?;
        from.key(4)?;
        let count = from.array()?;
        let named: u64 = operations
            .iter()
            .filter_map(Operation::content)
            .map(|content| u64::from(content.objects))
            .sum();
        if count != header.objects.len() || named != header.objects.len() as u64 {
            return Err(from.shape());
        }
        let mut keys = Vec::with_capacity(count);
        for _ in 0..count {
            keys.push(Key::copy_from(from.bytes()?).ok_or(from.shape())?);
        }
        reader.finish()?;
        Ok(Body {
            time,
            message,
            reset_to,
            operations,
            keys,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{Content, Kind as ContentKind};
    use polykey_core::SecretPath;
    use polykey_core::random::OsRandom;

    fn signer() -> SigningKey {
        SigningKey::from_seed(&Key::from_array([1; 32]))
    }

    fn key() -> Key {
        Key::from_array([2; 32])
    }

    fn header() -> Header {
        Header {
            vault: VaultId::from_bytes([3; 32]),
            actor: ActorId::from_bytes([4; 16]),
            seq: 2,
            previous: Some(CommitId::from_bytes([5; 32])),
            author: signer().public(),
            parents: vec![CommitId::from_bytes([5; 32])],
            charter_heads: vec![StatementId::from_bytes([6; 32])],
            objects: vec![(ObjectId::from_bytes([7; 32]), 296)],
        }
    }

    fn body() -> Body {
        Body {
            time: Timestamp::from_millis(1_700_000_000_000),
            message: "db/password added".into(),
            reset_to: None,
            operations: vec![Operation::Create {
                at: SecretPath::parse("db/password").expect("a path"),
                content: Content {
                    kind: ContentKind::Raw,
                    size: 7,
                    digest: [8; 32],
                    objects: 1,
                },
            }],
            keys: vec![Key::from_array([9; 32])],
        }
    }

    fn sealed(header: Header, body: &Body) -> Commit {
        Commit::seal(header, body, &key(), &signer(), &OsRandom).expect("within bounds")
    }

    fn received(commit: &Commit) -> Result<Commit, CommitError> {
        Commit::verify(
            commit.statement().as_bytes().to_vec(),
            commit.sealed_body().to_vec(),
        )
    }

    #[test]
    fn what_was_sealed_opens_with_its_key_only() {
        let commit = received(&sealed(header(), &body())).expect("valid");
        assert_eq!(commit.header(), &header());
        assert_eq!(commit.open(&key()).expect("the right key"), body());
        assert_eq!(
            commit.open(&Key::from_array([0; 32])).err(),
            Some(CommitError::Closed)
        );
    }

    #[test]
    fn a_body_fits_its_own_header_only() {
        let (one, mut other) = (sealed(header(), &body()), header());
        other.seq = 3;
        let two = sealed(other, &body());
        let crossed = Commit::verify(one.statement().as_bytes().to_vec(), two.sealed_body().to_vec());
        assert_eq!(crossed.err(), Some(CommitError::OtherBody));
        // Even an author who signs another's body over a new header gets nothing that opens.
        let payload = payload(&header().encode(), two.sealed_body());
        let statement = Statement::sign(Kind::Commit, &payload, &[&signer()]);
        let moved =
            Commit::verify(statement.as_bytes().to_vec(), two.sealed_body().to_vec()).expect("signed");
        assert_eq!(moved.open(&key()).err(), Some(CommitError::Closed));
    }

    #[test]
    fn only_the_author_signs() {
        let mut foreign = header();
        foreign.author = NodeId::from_bytes([0xaa; 32]);
        assert_eq!(
            received(&sealed(foreign, &body())).err(),
            Some(CommitError::NotByAuthor)
        );
    }

    #[test]
    fn headers_that_make_no_sense_are_refused() {
        let spoilers: &[fn(&mut Header)] = &[
            |h| h.seq = 0,
            |h| h.seq = 1,
            |h| h.previous = None,
            |h| h.parents = vec![CommitId::from_bytes([2; 32]), CommitId::from_bytes([1; 32])],
            |h| h.parents = vec![CommitId::from_bytes([2; 32]); 2],
            |h| h.charter_heads.clear(),
            |h| h.objects[0].1 = 0,
            |h| h.objects[0].1 = (MAX_OBJECT_LEN + 1) as u32,
            |h| h.parents = (0..=MAX_HEADS as u16).map(wide_id).collect(),
        ];
        for (number, spoil) in spoilers.iter().enumerate() {
            let mut bad = header();
            spoil(&mut bad);
            assert!(
                matches!(received(&sealed(bad, &body())), Err(CommitError::Malformed(_))),
                "case {number}"
            );
        }
    }

    fn wide_id(number: u16) -> CommitId {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        CommitId::from_bytes(bytes)
    }

    #[test]
    fn bodies_that_make_no_sense_are_refused() {
        let spoilers: &[fn(&mut Body)] = &[
            |b| b.keys.clear(),
            |b| b.keys.push(Key::from_array([1; 32])),
            |b| b.operations.clear(),
            |b| b.message = "x".repeat(MAX_MESSAGE_LEN + 1),
        ];
        for (number, spoil) in spoilers.iter().enumerate() {
            let mut bad = body();
            spoil(&mut bad);
            let opened = sealed(header(), &bad).open(&key());
            assert!(matches!(opened, Err(CommitError::Malformed(_))), "case {number}");
        }
    }

    #[test]
    fn the_beginning_of_a_body_opens_alone() {
        for reset_to in [None, Some(wide_id(1))] {
            let body = Body { reset_to, ..body() };
            let commit = sealed(header(), &body);
            let preface = commit.open_preface(&key()).expect("the right key");
            assert_eq!(
                (preface.time, preface.message, preface.reset_to),
                (body.time, body.message, reset_to)
            );
            assert_eq!(
                commit.open_preface(&Key::from_array([9; 32])),
                Err(CommitError::Closed)
            );
        }
    }

    #[test]
    fn the_length_of_a_message_does_not_show() {
        let mut long = body();
        long.message = "a somewhat longer message".into();
        assert_eq!(
            sealed(header(), &long).sealed_body().len(),
            sealed(header(), &body()).sealed_body().len()
        );
    }

    #[test]
    fn changes_that_are_too_large_are_refused_when_made() {
        let mut large = header();
        large.objects = vec![(ObjectId::from_bytes([7; 32]), 296); 1 << 17];
        let made = Commit::seal(large, &body(), &key(), &signer(), &OsRandom);
        assert!(matches!(
            made.err(),
            Some(CommitError::Malformed(CodecError::TooLong { .. }))
        ));
    }
}
