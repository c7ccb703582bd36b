//! Charter entries: the format of the statements that make a charter.
//!
//! An entry is a signed statement of kind charter, signed by its author alone. Its payload is the map
//! {0: kind, 1: vault or null, 2: author, 3: the grant it acts under or null, 4: \[parents\], 5: time,
//! 6: body}; genesis alone has no vault, grant or parents. The bodies are written down in
//! `docs/format.md`. All lists are sorted, unique and bounded.
//!
//! An [`Entry`] keeps the facts that standing needs, and the bytes as they came; what is sealed inside is
//! read again by [`Entry::sealed`] when somebody opens it.
//!
//! Always: parsing looks at one entry alone. What needs other entries is [`Charter::insert`]'s.
//!
//! [`Charter::insert`]: super::Charter::insert

use polykey_core::codec::CodecError;
use polykey_core::id::{ActorId, KeyRecordId, NodeId, ObjectId, StatementId, VaultId};
use polykey_core::rotation::{Rotation, RotationError};
use polykey_core::sealing::{EncryptionPublic, OVERHEAD};
use polykey_core::sign::SigningKey;
use polykey_core::statement::{Kind, MAX_PAYLOAD_LEN, Statement, StatementError};
use polykey_core::{Key, Timestamp};

use super::layout::{decode, encode};
use super::role::Role;

/// Most parents of one entry, and most charter heads in one commit.
pub const MAX_HEADS: usize = 256;
/// Most members that one epoch key is sealed to.
pub const MAX_MEMBERS: usize = 1024;
/// Most lines that one removal lists.
pub const MAX_CUT_OFFS: usize = 4096;
/// Most objects that one purge names; larger purges are several entries.
pub const MAX_PURGED: usize = 65_536;
/// Most key records that one rekey brings.
pub const MAX_UPDATES: usize = 256;
/// Most epoch keys in one bundle.
pub const MAX_EPOCHS: usize = 8192;
/// Longest bundle of epoch keys in bytes, sealed.
pub const MAX_BUNDLE_LEN: usize = MAX_EPOCHS * (StatementId::LEN + Key::LEN) + OVERHEAD;
/// Longest sealed note of a purge in bytes.
pub const MAX_NOTE_LEN: usize = 4096;
/// Length of an epoch key sealed to one key of a member.
pub const SHARE_LEN: usize = Key::LEN + OVERHEAD;

/// Why bytes are no charter entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// Not a valid signed statement.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The payload has another shape.
    #[error("the charter entry is malformed")]
    Malformed(#[from] CodecError),
    /// A kind of entry that this program does not know.
    #[error("the charter entry is of kind {0}, which this program does not know")]
    Kind(u64),
    /// Not signed by its author alone.
    #[error("the charter entry of node {author} is not signed by that node alone")]
    Signer {
        /// Whose entry it claims to be.
        author: NodeId,
    },
    /// A list is out of order, names something twice, or is too long.
    #[error("the charter entry of node {author} has a list of {what} that is unsorted or over {limit}")]
    List {
        /// Who signed it.
        author: NodeId,
        /// What is listed.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// A public key in it is none.
    #[error("the charter entry of node {author} holds a public key that is none")]
    PublicKey {
        /// Who signed it.
        author: NodeId,
    },
    /// Its parts contradict each other.
    #[error("the charter entry of node {author} contradicts itself: {what}")]
    Contradiction {
        /// Who signed it.
        author: NodeId,
        /// What does not fit.
        what: &'static str,
    },
    /// The `rotate` claim in it is not one.
    #[error("the charter entry of node {author} carries no valid rotate claim")]
    Rotation {
        /// Who signed it.
        author: NodeId,
        /// What is wrong with the claim.
        source: RotationError,
    },
}

/// The key record of a member's device that epoch keys are sealed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceKey {
    /// The signed record in the member's sigchain.
    pub record: KeyRecordId,
    /// Its number there.
    pub number: u64,
    /// The key itself.
    pub public: EncryptionPublic,
}

/// The public keys of a member, as its sigchain shows them and the granting admin vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberKeys {
    /// Checks the second signature when the member's role moves to a new root key.
    pub recovery: NodeId,
    /// What the member's recovery code opens.
    pub code: EncryptionPublic,
    /// What the member's device opens.
    pub device: DeviceKey,
}

/// The last commit that is accepted of one line of a removed node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CutOff {
    /// The line.
    pub actor: ActorId,
    /// The number of its last accepted commit, from 1.
    pub seq: u64,
    /// The id of that commit.
    pub commit: StatementId,
}

/// What an entry says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Founds the vault: its author is the first admin. Opens an epoch.
    Genesis {
        /// Makes the vault's id unlike any other.
        nonce: [u8; 32],
        /// The creator's keys.
        keys: MemberKeys,
    },
    /// Makes a node a member.
    Grant {
        /// The new member.
        node: NodeId,
        /// What it may do.
        role: Role,
        /// Its keys; none for a keeper.
        keys: Option<MemberKeys>,
    },
    /// Removes a node. Opens an epoch, unless the author removes itself: a key made by the one who
    /// leaves would keep nothing from it.
    Revoke {
        /// Who is removed.
        node: NodeId,
        /// What is accepted of it; lines that are not listed end at 0.
        cut_offs: Vec<CutOff>,
    },
    /// Moves the role and rank of the grant it acts under to a new root key.
    Succeed {
        /// The claim that names the new key, signed by the old root key and the old recovery key.
        rotation: Box<Rotation>,
        /// The keys of the new node; none for a keeper.
        keys: Option<MemberKeys>,
        /// What is accepted of the old node; lines that are not listed end at 0.
        cut_offs: Vec<CutOff>,
    },
    /// Destroys content for good.
    Purge {
        /// The objects to delete.
        objects: Vec<ObjectId>,
        /// True: at once, and not after the days of grace.
        now: bool,
        /// For the members: what was purged and why, sealed.
        note: Vec<u8>,
    },
    /// Opens an epoch without removing anybody: after a newer key record, a self-removal or a succession.
    Rekey {
        /// Newer key records of members, by node.
        devices: Vec<(NodeId, DeviceKey)>,
    },
}

impl Body {
    /// Its number in the encoding.
    pub(super) fn kind(&self) -> u64 {
        match self {
            Body::Genesis { .. } => 0,
            Body::Grant { .. } => 1,
            Body::Revoke { .. } => 2,
            Body::Succeed { .. } => 3,
            Body::Purge { .. } => 4,
            Body::Rekey { .. } => 5,
        }
    }

    /// Its name, for people.
    pub fn name(&self) -> &'static str {
        ["genesis", "grant", "revoke", "succeed", "purge", "rekey"][self.kind() as usize]
    }
}

/// An epoch key sealed to the two keys of one member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The member.
    pub node: NodeId,
    /// The number of the key record that `device` is sealed to.
    pub number: u64,
    /// Sealed to the device's encryption key.
    pub device: Vec<u8>,
    /// Sealed to the key of the recovery code.
    pub code: Vec<u8>,
}

/// The sealed half of an entry that opens an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochBox {
    /// Fixes the key without telling it.
    pub commitment: [u8; 32],
    /// The key, for each member, by node.
    pub shares: Vec<Share>,
    /// Every earlier epoch key that the author held, under this one. Empty when there was none.
    pub wrapped: Vec<u8>,
}

/// Epoch keys sealed to the two keys of a new member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Sealed to the device's encryption key.
    pub device: Vec<u8>,
    /// Sealed to the key of the recovery code.
    pub code: Vec<u8>,
}

/// What is sealed inside an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sealed {
    /// Nothing.
    Nothing,
    /// The key of the epoch that the entry opens.
    Epoch(EpochBox),
    /// The keys that a new member needs.
    Bundle(Bundle),
}

/// What an author decides about an entry, before it is signed.
#[derive(Debug)]
pub(super) struct Draft {
    /// `None` for genesis alone.
    pub(super) place: Option<Place>,
    pub(super) time: Timestamp,
    pub(super) body: Body,
    pub(super) sealed: Sealed,
}

/// Where an entry stands in its charter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) vault: VaultId,
    pub(super) under: StatementId,
    pub(super) parents: Vec<StatementId>,
}

/// A parsed entry with valid signature and shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    statement: Statement,
    author: NodeId,
    place: Option<Place>,
    time: Timestamp,
    body: Body,
    commitment: Option<[u8; 32]>,
}

impl Entry {
    /// Signs what `draft` says.
    ///
    /// # Errors
    /// [`EntryError`] when the draft breaks a rule of the format.
    pub(super) fn sign(author: &SigningKey, draft: &Draft) -> Result<Entry, EntryError> {
        let payload = encode(author.public(), draft);
        if payload.len() > MAX_PAYLOAD_LEN {
            let limit = MAX_PAYLOAD_LEN;
            return Err(CodecError::TooLong { limit }.into());
        }
        Entry::parse(Statement::sign(Kind::Charter, &payload, &[author]))
    }

    /// Parses and verifies an entry from anywhere.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn verify(bytes: Vec<u8>) -> Result<Entry, EntryError> {
        Entry::parse(Statement::verify(Kind::Charter, bytes)?)
    }

    /// Parses a verified statement.
    ///
    /// # Errors
    /// Says what is wrong with it; never a signature.
    pub fn parse(statement: Statement) -> Result<Entry, EntryError> {
        if statement.kind() != Kind::Charter {
            return Err(StatementError::WrongKind.into());
        }
        let decoded = decode(statement.payload())?;
        if !statement.is_signed_only_by(&decoded.author) {
            return Err(EntryError::Signer {
                author: decoded.author,
            });
        }
        let commitment = match &decoded.sealed {
            Sealed::Epoch(epoch) => Some(epoch.commitment),
            _ => None,
        };
        Ok(Entry {
            statement,
            author: decoded.author,
            place: decoded.place,
            time: decoded.time,
            body: decoded.body,
            commitment,
        })
    }

    /// Its id; the vault's id too when it is genesis.
    pub fn id(&self) -> StatementId {
        self.statement.id()
    }

    /// The vault it belongs to.
    pub fn vault(&self) -> VaultId {
        match &self.place {
            Some(place) => place.vault,
            None => self.id().into(),
        }
    }

    /// Who signed it: a node, or a recovery key.
    pub fn author(&self) -> NodeId {
        self.author
    }

    /// The grant it acts under; `None` for genesis.
    pub fn under(&self) -> Option<StatementId> {
        self.place.as_ref().map(|place| place.under)
    }

    /// All charter heads that its author knew; none for genesis.
    pub fn parents(&self) -> &[StatementId] {
        self.place.as_ref().map_or(&[], |place| &place.parents)
    }

    /// When it was made, by its author's clock. For people only.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// What it says.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// The commitment to the key of the epoch that it opens, when it opens one.
    pub fn commitment(&self) -> Option<&[u8; 32]> {
        self.commitment.as_ref()
    }

    /// True when the author removes itself.
    pub fn is_self_removal(&self) -> bool {
        matches!(&self.body, Body::Revoke { node, .. } if *node == self.author)
    }

    /// What is sealed inside, read again from the bytes.
    pub fn sealed(&self) -> Sealed {
        decode(self.statement.payload())
            .expect("the same bytes were decoded before")
            .sealed
    }

    /// The signed statement that it is.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }
}

#[cfg(test)]
mod tests {
    use super::super::cast::{Person, cut, time};
    use super::*;

    fn place() -> Place {
        Place {
            vault: VaultId::from_bytes([1; 32]),
            under: StatementId::from_bytes([2; 32]),
            parents: vec![StatementId::from_bytes([2; 32]), StatementId::from_bytes([3; 32])],
        }
    }

    fn draft(body: Body, sealed: Sealed) -> Draft {
        Draft {
            place: Some(place()),
            time: time(0),
            body,
            sealed,
        }
    }

    fn epoch() -> EpochBox {
        let share = |seed| Share {
            node: Person::new(seed).node(),
            number: 0,
            device: vec![1; SHARE_LEN],
            code: vec![2; SHARE_LEN],
        };
        let mut shares = vec![share(1), share(2)];
        shares.sort_by_key(|share| share.node);
        EpochBox {
            commitment: [5; 32],
            shares,
            wrapped: vec![3; 100],
        }
    }

    fn bundle() -> Sealed {
        Sealed::Bundle(Bundle {
            device: vec![1; 1200],
            code: vec![2; 1200],
        })
    }

    fn revoke(node: NodeId, cut_offs: Vec<CutOff>) -> Body {
        Body::Revoke { node, cut_offs }
    }

    fn drafts() -> Vec<Draft> {
        let (me, b) = (Person::new(1), Person::new(2));
        let grant = |role: Role| Body::Grant {
            node: b.node(),
            role,
            keys: role.reads().then(|| b.keys()),
        };
        let genesis = Draft {
            place: None,
            sealed: Sealed::Epoch(EpochBox {
                wrapped: Vec::new(),
                ..epoch()
            }),
            ..draft(
                Body::Genesis {
                    nonce: [1; 32],
                    keys: me.keys(),
                },
                Sealed::Nothing,
            )
        };
        let succeed = Body::Succeed {
            rotation: Box::new(me.rotation(&b)),
            keys: Some(b.keys()),
            cut_offs: vec![cut(1, 1, 1)],
        };
        let purge = Body::Purge {
            objects: vec![ObjectId::from_bytes([1; 32]), ObjectId::from_bytes([2; 32])],
            now: false,
            note: vec![1; 50],
        };
        let rekey = Body::Rekey {
            devices: vec![(b.node(), b.device_key())],
        };
        vec![
            genesis,
            draft(grant(Role::Admin), bundle()),
            draft(grant(Role::Keeper), Sealed::Nothing),
            draft(
                revoke(b.node(), vec![cut(1, 1, 1), cut(2, 3, 4)]),
                Sealed::Epoch(epoch()),
            ),
            draft(revoke(me.node(), Vec::new()), Sealed::Nothing),
            draft(succeed, bundle()),
            draft(purge, Sealed::Nothing),
            draft(rekey, Sealed::Epoch(epoch())),
        ]
    }

    #[test]
    fn entries_read_back() {
        for draft in drafts() {
            let made = Entry::sign(&Person::new(1).root, &draft).unwrap();
            let read = Entry::verify(made.statement().as_bytes().to_vec()).unwrap();
            assert_eq!(read, made);
            assert_eq!((read.body(), read.sealed()), (&draft.body, draft.sealed));
            let parents = draft.place.map_or(Vec::new(), |place| place.parents);
            assert_eq!(read.parents(), parents);
        }
    }

    #[test]
    fn an_entry_is_signed_by_its_author_alone() {
        let me = Person::new(1);
        for draft in drafts() {
            let payload = encode(me.node(), &draft);
            for keys in [vec![&me.recovery], vec![&me.root, &me.recovery]] {
                let statement = Statement::sign(Kind::Charter, &payload, &keys);
                let author = me.node();
                assert_eq!(Entry::parse(statement), Err(EntryError::Signer { author }));
            }
        }
    }

    #[track_caller]
    fn check_refused(what: &str, draft: &Draft) {
        let me = Person::new(1);
        let statement = Statement::sign(Kind::Charter, &encode(me.node(), draft), &[&me.root]);
        let error = Entry::parse(statement).expect_err(what);
        let expected = matches!(
            error,
            EntryError::List { .. }
                | EntryError::Contradiction { .. }
                | EntryError::Rotation { .. }
                | EntryError::Malformed(_)
        );
        assert!(expected, "{what}: {error:?}");
    }

    #[test]
    fn contradictions_are_refused() {
        let (me, b) = (Person::new(1), Person::new(2));
        let all = drafts();
        let genesis = || Body::Genesis {
            nonce: [1; 32],
            keys: me.keys(),
        };
        check_refused("genesis with parents", &draft(genesis(), Sealed::Epoch(epoch())));
        let mut alone = draft(revoke(b.node(), Vec::new()), Sealed::Epoch(epoch()));
        alone.place = None;
        check_refused("a removal without parents", &alone);
        let mut wrapped = draft(genesis(), Sealed::Epoch(epoch()));
        wrapped.place = None;
        check_refused("genesis that wraps earlier keys", &wrapped);
        let own = draft(revoke(me.node(), Vec::new()), Sealed::Epoch(epoch()));
        check_refused("leaving with a new epoch", &own);
        check_refused(
            "a removal without a new epoch",
            &draft(revoke(b.node(), Vec::new()), Sealed::Nothing),
        );
        for (role, keys, sealed) in [
            (Role::Keeper, Some(b.keys()), bundle()),
            (Role::Keeper, None, bundle()),
            (Role::Reader, None, Sealed::Nothing),
            (Role::Reader, Some(b.keys()), Sealed::Nothing),
        ] {
            let node = b.node();
            check_refused(
                "keys that do not fit the role",
                &draft(Body::Grant { node, role, keys }, sealed),
            );
        }
        let succeed = |rotation: Rotation, keys: MemberKeys| {
            let body = Body::Succeed {
                rotation: Box::new(rotation),
                keys: Some(keys),
                cut_offs: Vec::new(),
            };
            draft(body, bundle())
        };
        let c = Person::new(3);
        check_refused("another's claim", &succeed(b.rotation(&c), c.keys()));
        check_refused("another's keys", &succeed(me.rotation(&b), c.keys()));
        assert_eq!(all.len(), 8);
    }

    #[test]
    fn lists_are_sorted_unique_and_bounded() {
        let b = Person::new(2);
        for cuts in [
            vec![cut(2, 1, 1), cut(1, 1, 1)],
            vec![cut(1, 1, 1), cut(1, 2, 2)],
            vec![cut(1, 0, 1)],
        ] {
            check_refused("cut-offs", &draft(revoke(b.node(), cuts), Sealed::Epoch(epoch())));
        }
        let ids = |seeds: &[u8]| {
            seeds
                .iter()
                .map(|s| ObjectId::from_bytes([*s; 32]))
                .collect::<Vec<_>>()
        };
        let purge = |objects, note| {
            let now = false;
            draft(Body::Purge { objects, now, note }, Sealed::Nothing)
        };
        check_refused("objects", &purge(ids(&[2, 1]), Vec::new()));
        check_refused("objects", &purge(ids(&[1, 1]), Vec::new()));
        check_refused("a long note", &purge(Vec::new(), vec![0; MAX_NOTE_LEN + 1]));
        let mut swapped = epoch();
        swapped.shares.swap(0, 1);
        let mut short = epoch();
        short.shares[0].device.pop();
        for epoch in [swapped, short] {
            check_refused(
                "shares",
                &draft(revoke(b.node(), Vec::new()), Sealed::Epoch(epoch)),
            );
        }
        for parents in [vec![3, 2], vec![2, 2], vec![]] {
            let mut draft = draft(Body::Rekey { devices: Vec::new() }, Sealed::Epoch(epoch()));
            let parents = parents
                .into_iter()
                .map(|p| StatementId::from_bytes([p; 32]))
                .collect();
            draft.place = Some(Place { parents, ..place() });
            check_refused("parents", &draft);
        }
        let many = (0..=MAX_HEADS as u32).map(|n| {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&n.to_be_bytes());
            StatementId::from_bytes(id)
        });
        let mut wide = draft(Body::Rekey { devices: Vec::new() }, Sealed::Epoch(epoch()));
        wide.place = Some(Place {
            parents: many.collect(),
            ..place()
        });
        check_refused("too many parents", &wide);
    }

    #[test]
    fn no_cut_or_changed_entry_is_accepted() {
        for draft in drafts() {
            let made = Entry::sign(&Person::new(1).root, &draft).unwrap();
            let bytes = made.statement().as_bytes();
            for at in (0..bytes.len()).step_by(97) {
                assert!(Entry::verify(bytes[..at].to_vec()).is_err(), "cut at {at}");
                let mut changed = bytes.to_vec();
                changed[at] ^= 1 << (at % 8);
                assert!(Entry::verify(changed).is_err(), "byte {at}");
            }
        }
    }
}
