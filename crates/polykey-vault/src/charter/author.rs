//! Making charter entries.
//!
//! Each function signs one entry under all heads that this charter has and under the best authority that
//! the signer has: a recovery key's, or the best grant that lives. Nothing is inserted: the caller stores
//! the statement, inserts it, and then holds the key of the epoch that it opened, if it opened one, with
//! [`EpochKeys::adopt`].
//!
//! Always: what is refused here would be void or useless if it were signed.

use polykey_core::aead;
use polykey_core::id::{NodeId, ObjectId, StatementId};
use polykey_core::label;
use polykey_core::random::random_array;
use polykey_core::rotation::Rotation;
use polykey_core::sign::SigningKey;
use polykey_core::statement::Statement;
use polykey_core::{Key, Random, SecretBytes, Timestamp};

use super::entry::{
    Body, CutOff, DeviceKey, Draft, Entry, EntryError, MAX_HEADS, MAX_MEMBERS, MAX_NOTE_LEN, MemberKeys,
    Place, Sealed,
};
use super::epoch::{EpochError, EpochKeys, new_epoch};
use super::role::Role;
use super::standing::Rank;
use super::{Charter, CharterError};

/// Why an entry is not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorError {
    /// The signer is not in, or its role does not allow it.
    #[error("only an admin of the vault may do this")]
    NoRight,
    /// The node to be removed is not in.
    #[error("node {node} is not a member of the vault")]
    NotAMember {
        /// The node.
        node: NodeId,
    },
    /// The node to be removed ranks above the signer.
    #[error("node {node} ranks above you in this vault")]
    Outranked {
        /// The node.
        node: NodeId,
    },
    /// A role that reads needs keys to seal to, and a keeper has none.
    #[error("a {role} is granted with its public keys, a keeper without")]
    Keys {
        /// The role.
        role: Role,
    },
    /// A key record that is not newer than the one that is known, or of no member.
    #[error("the key record of node {node} is not newer than what the vault has")]
    OldDevice {
        /// The node.
        node: NodeId,
    },
    /// The vault has as many members as it may.
    #[error("a vault has at most {MAX_MEMBERS} members")]
    TooManyMembers,
    /// More heads than an entry may name.
    #[error("the charter has more than {MAX_HEADS} heads")]
    TooManyHeads,
    /// The note is too long.
    #[error("a note has at most {} bytes", MAX_NOTE_LEN - aead::OVERHEAD)]
    NoteTooLong,
    /// A key that the entry hands on is not held.
    #[error(transparent)]
    Epoch(#[from] EpochError),
    /// What was given breaks a rule of the format.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// What was given does not fit this charter.
    #[error(transparent)]
    Charter(#[from] CharterError),
}

/// A node that is let in.
#[derive(Debug, Clone)]
pub struct Joiner {
    /// The node.
    pub node: NodeId,
    /// What it may do.
    pub role: Role,
    /// Its keys; none for a keeper.
    pub keys: Option<MemberKeys>,
}

/// A node that is put out.
#[derive(Debug, Clone)]
pub struct Removal {
    /// The node.
    pub node: NodeId,
    /// The last commit of each of its lines that is accepted: normally all that is known. Sorted here.
    pub cut_offs: Vec<CutOff>,
}

/// A signed entry and the key of the epoch that it opens.
#[derive(Debug)]
pub struct Authored {
    /// To be stored and inserted.
    pub statement: Statement,
    /// To be held with [`EpochKeys::adopt`] after the insertion.
    pub key: Option<Key>,
}

impl Authored {
    /// The id of the entry, and of the epoch.
    pub fn id(&self) -> StatementId {
        self.statement.id()
    }
}

/// What the signer may act under.
struct Seat {
    under: StatementId,
    rank: Rank,
}

impl Charter {
    /// Founds a vault. `keys` are the creator's; `me` is its root key.
    ///
    /// # Errors
    /// [`AuthorError::Entry`] when the recovery key is the root key.
    pub fn create(
        me: &SigningKey,
        keys: &MemberKeys,
        time: Timestamp,
        random: &dyn Random,
    ) -> Result<(Charter, Statement, EpochKeys), AuthorError> {
        let (key, epoch) = new_epoch(None, &[(me.public(), keys.clone())], random);
        let draft = Draft {
            place: None,
            time,
            body: Body::Genesis {
                nonce: random_array(random),
                keys: keys.clone(),
            },
            sealed: Sealed::Epoch(epoch),
        };
        let statement = Entry::sign(me, &draft)?.statement().clone();
        let charter = Charter::found(statement.clone())?;
        let mut held = EpochKeys::default();
        held.adopt(&charter, statement.id(), key);
        Ok((charter, statement, held))
    }

    /// Lets a node in, with the keys to all that is there. A node may hold several grants; to lower a role,
    /// remove the node first.
    ///
    /// # Errors
    /// [`AuthorError`]; a member that reads is only let in by somebody who holds the newest keys.
    pub fn grant(
        &self,
        me: &SigningKey,
        held: &EpochKeys,
        joiner: &Joiner,
        time: Timestamp,
        random: &dyn Random,
    ) -> Result<Statement, AuthorError> {
        let seat = self.admin_seat(me)?;
        if joiner.role.reads() != joiner.keys.is_some() {
            return Err(AuthorError::Keys { role: joiner.role });
        }
        if self.role(&joiner.node).is_none() && self.members().len() >= MAX_MEMBERS {
            return Err(AuthorError::TooManyMembers);
        }
        let sealed = self.welcome(held, &seat, &joiner.node, joiner.keys.as_ref(), random)?;
        let body = Body::Grant {
            node: joiner.node,
            role: joiner.role,
            keys: joiner.keys.clone(),
        };
        self.sign(me, &seat, time, body, sealed)
    }

    /// Puts a node out and opens an epoch without it.
    ///
    /// # Errors
    /// [`AuthorError`].
    pub fn revoke(
        &self,
        me: &SigningKey,
        held: &EpochKeys,
        removal: &Removal,
        time: Timestamp,
        random: &dyn Random,
    ) -> Result<Authored, AuthorError> {
        let node = removal.node;
        if node == me.public() {
            let statement = self.remove_self(me, &removal.cut_offs, time)?;
            return Ok(Authored { statement, key: None });
        }
        let seat = self.admin_seat(me)?;
        let standing = self.now();
        let held_by_node = self.tenures.get(&node).into_iter().flatten();
        let live: Vec<Rank> = held_by_node
            .filter(|at| standing.lives(&self.entries, **at))
            .filter_map(|at| self.entries[*at].tenure.map(|tenure| tenure.rank))
            .collect();
        if live.is_empty() {
            return Err(AuthorError::NotAMember { node });
        }
        if live.iter().any(|rank| *rank <= seat.rank) {
            return Err(AuthorError::Outranked { node });
        }
        let (key, epoch) = new_epoch(Some((self, held)), &self.readers_but(Some(node), &[])?, random);
        let body = Body::Revoke {
            node,
            cut_offs: sorted(&removal.cut_offs),
        };
        let statement = self.sign(me, &seat, time, body, Sealed::Epoch(epoch))?;
        Ok(Authored {
            statement,
            key: Some(key),
        })
    }

    /// Leaves the vault. Opens no epoch: an admin's agent does, with [`Charter::rekey`].
    ///
    /// # Errors
    /// [`AuthorError`].
    pub fn remove_self(
        &self,
        me: &SigningKey,
        cut_offs: &[CutOff],
        time: Timestamp,
    ) -> Result<Statement, AuthorError> {
        let seat = self.holders_seat(me)?;
        let body = Body::Revoke {
            node: me.public(),
            cut_offs: sorted(cut_offs),
        };
        self.sign(me, &seat, time, body, Sealed::Nothing)
    }

    /// Moves role and rank of `me`, the old root key, to the successor that `rotation` names. Opens no epoch:
    /// an admin's agent does, with [`Charter::rekey`].
    ///
    /// # Errors
    /// [`AuthorError`]; [`CharterError::Succession`] when another recovery key signed the claim.
    pub fn succeed(
        &self,
        me: &SigningKey,
        held: &EpochKeys,
        rotation: &Rotation,
        keys: Option<&MemberKeys>,
        cut_offs: &[CutOff],
        entropy: (Timestamp, &dyn Random),
    ) -> Result<Statement, AuthorError> {
        let (time, random) = entropy;
        let seat = self.holders_seat(me)?;
        let sealed = self.welcome(held, &seat, &rotation.successor(), keys, random)?;
        let body = Body::Succeed {
            rotation: Box::new(rotation.clone()),
            keys: keys.cloned(),
            cut_offs: sorted(cut_offs),
        };
        self.sign(me, &seat, time, body, sealed)
    }

    /// Opens an epoch for all members, with newer key records of some.
    ///
    /// # Errors
    /// [`AuthorError`].
    pub fn rekey(
        &self,
        me: &SigningKey,
        held: &EpochKeys,
        devices: &[(NodeId, DeviceKey)],
        time: Timestamp,
        random: &dyn Random,
    ) -> Result<Authored, AuthorError> {
        let seat = self.admin_seat(me)?;
        let mut devices = devices.to_vec();
        devices.sort_by_key(|(node, _)| *node);
        for (node, device) in &devices {
            let known = self.keys_of(node);
            if known.is_none_or(|keys| keys.device.number >= device.number) {
                return Err(AuthorError::OldDevice { node: *node });
            }
        }
        let (key, epoch) = new_epoch(Some((self, held)), &self.readers_but(None, &devices)?, random);
        let statement = self.sign(me, &seat, time, Body::Rekey { devices }, Sealed::Epoch(epoch))?;
        Ok(Authored {
            statement,
            key: Some(key),
        })
    }

    /// Destroys objects for good on every replica: at once, or after the days of grace. `note` says to the
    /// members what it was; it is sealed.
    ///
    /// # Errors
    /// [`AuthorError`].
    pub fn purge(
        &self,
        me: &SigningKey,
        held: &EpochKeys,
        objects: &[ObjectId],
        now: bool,
        note: &[u8],
        entropy: (Timestamp, &dyn Random),
    ) -> Result<Statement, AuthorError> {
        let (time, random) = entropy;
        let seat = self.admin_seat(me)?;
        if note.len() > MAX_NOTE_LEN - aead::OVERHEAD {
            return Err(AuthorError::NoteTooLong);
        }
        let key = held.note_key(self, &self.heads_to_name())?;
        let mut objects = objects.to_vec();
        objects.sort_unstable();
        objects.dedup();
        let note = aead::seal(
            &key,
            label::PURGE_NOTE,
            &note_place(me.public(), now),
            note,
            random,
        );
        let body = Body::Purge { objects, now, note };
        self.sign(me, &seat, time, body, Sealed::Nothing)
    }

    /// Opens the note of a purge.
    ///
    /// # Errors
    /// [`AuthorError::Epoch`] without the keys; [`AuthorError::NoRight`] when there is no such purge or its
    /// note does not open.
    pub fn purge_note(&self, id: &StatementId, held: &EpochKeys) -> Result<SecretBytes, AuthorError> {
        let entry = self.entry(id).ok_or(AuthorError::NoRight)?;
        let Body::Purge { now, note, .. } = entry.body() else {
            return Err(AuthorError::NoRight);
        };
        let key = held.note_key(self, entry.parents())?;
        let place = note_place(entry.author(), *now);
        aead::open(&key, label::PURGE_NOTE, &place, note).map_err(|_| AuthorError::NoRight)
    }

    fn admin_seat(&self, me: &SigningKey) -> Result<Seat, AuthorError> {
        match self.authority_of(&me.public()) {
            Some((at, rank, Role::Admin)) => Ok(Seat {
                under: self.entries[at].entry.id(),
                rank,
            }),
            _ => Err(AuthorError::NoRight),
        }
    }

    /// The best ranked grant that `me` holds, so that leaving leaves nothing.
    fn holders_seat(&self, me: &SigningKey) -> Result<Seat, AuthorError> {
        let standing = self.now();
        let held = self.tenures.get(&me.public()).into_iter().flatten();
        let best = held
            .filter(|at| standing.lives(&self.entries, **at))
            .filter_map(|at| Some((self.entries[*at].tenure?.rank, *at)))
            .min()
            .ok_or(AuthorError::NoRight)?;
        Ok(Seat {
            under: self.entries[best.1].entry.id(),
            rank: best.0,
        })
    }

    /// The keys for a new member. The newest must be among them, or it could not read what comes.
    fn welcome(
        &self,
        held: &EpochKeys,
        seat: &Seat,
        node: &NodeId,
        keys: Option<&MemberKeys>,
        random: &dyn Random,
    ) -> Result<Sealed, AuthorError> {
        let Some(keys) = keys else {
            return Ok(Sealed::Nothing);
        };
        held.commit_key(self, &self.heads_to_name())?;
        Ok(Sealed::Bundle(held.bundle(self, &seat.under, node, keys, random)))
    }

    /// All that read, but for `out`, with their newest keys.
    fn readers_but(
        &self,
        out: Option<NodeId>,
        newer: &[(NodeId, DeviceKey)],
    ) -> Result<Vec<(NodeId, MemberKeys)>, AuthorError> {
        let readers: Vec<_> = self
            .members()
            .into_iter()
            .filter(|member| member.role.reads() && Some(member.node) != out)
            .filter_map(|member| {
                let mut keys = self.keys_of(&member.node)?;
                if let Some((_, device)) = newer.iter().find(|(node, _)| *node == member.node) {
                    keys.device = device.clone();
                }
                Some((member.node, keys))
            })
            .collect();
        if readers.len() > MAX_MEMBERS {
            return Err(AuthorError::TooManyMembers);
        }
        Ok(readers)
    }

    fn sign(
        &self,
        me: &SigningKey,
        seat: &Seat,
        time: Timestamp,
        body: Body,
        sealed: Sealed,
    ) -> Result<Statement, AuthorError> {
        let parents = self.heads_to_name();
        if parents.len() > MAX_HEADS {
            return Err(AuthorError::TooManyHeads);
        }
        let draft = Draft {
            place: Some(Place {
                vault: self.id(),
                under: seat.under,
                parents,
            }),
            time,
            body,
            sealed,
        };
        let entry = Entry::sign(me, &draft)?;
        let statement = entry.statement().clone();
        self.place(entry)?;
        Ok(statement)
    }
}

fn sorted(cut_offs: &[CutOff]) -> Vec<CutOff> {
    let mut list = cut_offs.to_vec();
    list.sort_unstable();
    list
}

fn note_place(author: NodeId, now: bool) -> Vec<u8> {
    [&author.as_bytes()[..], &[u8::from(now)]].concat()
}

#[cfg(test)]
mod tests {
    use super::super::cast::{Person, chance, cut, insert, time};
    use super::*;

    fn revoke(
        charter: &Charter,
        by: &SigningKey,
        held: &EpochKeys,
        node: NodeId,
    ) -> Result<Authored, AuthorError> {
        let cut_offs = vec![cut(2, 1, 1), cut(1, 1, 1)];
        let removal = Removal { node, cut_offs };
        charter.revoke(by, held, &removal, time(1), &chance(charter))
    }

    #[test]
    fn only_admins_change_members_and_keys_and_purge() {
        let [a, b, c] = [1, 2, 3].map(Person::new);
        for role in [Role::Writer, Role::Reader, Role::Keeper] {
            let mut charter = a.found(1);
            a.grants(&mut charter, &b, role);
            let (held, random) = (b.open(&charter), chance(&charter));
            let joiner = c.joiner(Role::Reader);
            let refused = [
                charter.grant(&b.root, &held, &joiner, time(1), &random).err(),
                revoke(&charter, &b.root, &held, a.node()).err(),
                charter.rekey(&b.root, &held, &[], time(1), &random).err(),
                charter
                    .purge(&b.root, &held, &[], true, b"", (time(1), &random))
                    .err(),
            ];
            assert_eq!(refused, [const { Some(AuthorError::NoRight) }; 4], "{role}");
            let leave = charter.remove_self(&b.root, &[], time(1)).unwrap();
            charter.insert(leave).unwrap();
            assert_eq!(charter.role(&b.node()), None, "anybody may leave");
        }
    }

    #[test]
    fn removals_go_down_the_ranks_only() {
        let [a, b, c] = [1, 2, 3].map(Person::new);
        let mut charter = a.found(1);
        a.grants(&mut charter, &b, Role::Admin);
        b.grants(&mut charter, &c, Role::Admin);
        let (node, stranger) = (a.node(), Person::new(9).node());
        let held = c.open(&charter);
        assert_eq!(
            revoke(&charter, &c.root, &held, node).err(),
            Some(AuthorError::Outranked { node })
        );
        let node = b.node();
        assert_eq!(
            revoke(&charter, &c.root, &held, node).err(),
            Some(AuthorError::Outranked { node })
        );
        let node = stranger;
        assert_eq!(
            revoke(&charter, &c.root, &held, node).err(),
            Some(AuthorError::NotAMember { node })
        );
        let made = revoke(&charter, &b.root, &b.open(&charter), c.node()).unwrap();
        insert(&mut charter, made);
        assert_eq!(charter.role(&c.node()), None);
    }

    #[test]
    fn the_recovery_code_removes_the_stolen_device_and_lets_a_new_one_in() {
        let [a, new, reader] = [1, 2, 3].map(Person::new);
        let mut charter = a.found(1);
        a.grants(&mut charter, &reader, Role::Reader);
        let mut held = a.open_with_code(&charter);
        let made = revoke(&charter, &a.recovery, &held, a.node()).unwrap();
        let (id, key) = (made.id(), made.key.as_ref().unwrap().duplicate());
        insert(&mut charter, made);
        assert!(held.adopt(&charter, id, key));
        let joiner = new.joiner(Role::Admin);
        let grant = charter
            .grant(&a.recovery, &held, &joiner, time(2), &chance(&charter))
            .unwrap();
        charter.insert(grant).unwrap();
        assert_eq!(
            (charter.role(&a.node()), charter.role(&new.node())),
            (None, Some(Role::Admin))
        );
        let can_read = |who: &Person| who.open(&charter).commit_key(&charter, &charter.heads()).is_ok();
        assert!(can_read(&new) && can_read(&reader) && !can_read(&a));
    }

    #[test]
    fn a_reader_is_let_in_with_keys_by_somebody_who_holds_the_newest() {
        let [a, b] = [1, 2].map(Person::new);
        let charter = a.found(1);
        let grant = |held: &EpochKeys, joiner: &Joiner| {
            charter.grant(&a.root, held, joiner, time(1), &chance(&charter))
        };
        let held = a.open(&charter);
        assert!(grant(&held, &b.joiner(Role::Reader)).is_ok());
        let none = EpochKeys::default();
        assert!(matches!(
            grant(&none, &b.joiner(Role::Reader)),
            Err(AuthorError::Epoch(_))
        ));
        assert!(grant(&none, &b.joiner(Role::Keeper)).is_ok());
        for (role, keys) in [(Role::Reader, None), (Role::Keeper, Some(b.keys()))] {
            let joiner = Joiner {
                node: b.node(),
                role,
                keys,
            };
            assert_eq!(grant(&held, &joiner), Err(AuthorError::Keys { role }));
        }
    }

    #[test]
    fn the_note_of_a_purge_is_for_members_only() {
        let [a, b, c] = [1, 2, 3].map(Person::new);
        let mut charter = a.found(1);
        a.grants(&mut charter, &b, Role::Reader);
        a.grants(&mut charter, &c, Role::Keeper);
        let random = chance(&charter);
        let object = ObjectId::from_bytes([1; 32]);
        let made = charter
            .purge(
                &a.root,
                &a.open(&charter),
                &[object, object],
                false,
                b"old",
                (time(1), &random),
            )
            .unwrap();
        let id = made.id();
        charter.insert(made).unwrap();
        assert_eq!(
            charter.purge_note(&id, &b.open(&charter)).unwrap().expose(),
            b"old"
        );
        assert!(charter.purge_note(&id, &c.open(&charter)).is_err());
        assert!(
            charter
                .purge_note(&charter.genesis().id(), &b.open(&charter))
                .is_err()
        );
        assert_eq!(charter.purges().map(Entry::id).collect::<Vec<_>>(), [id]);
        let Body::Purge { objects, now, .. } = charter.entry(&id).unwrap().body() else {
            panic!("a purge")
        };
        assert_eq!((objects.as_slice(), *now), ([object].as_slice(), false));
        let long = vec![0; MAX_NOTE_LEN];
        let refused = charter.purge(&a.root, &a.open(&charter), &[], true, &long, (time(1), &random));
        assert_eq!(refused, Err(AuthorError::NoteTooLong));
    }
}
