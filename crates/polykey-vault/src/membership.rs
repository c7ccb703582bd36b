//! Membership of an open vault: who is in, and the changes of that.
//!
//! Each change is one transaction: the charter entry, the new epoch and all that follows for commits that
//! are stored. Whoever holds the vault open sees it at once. Telling other nodes is the caller's.
//!
//! Always: a removal lists all that is known of the removed node, so nothing that had counted stops to
//! count; the next change of content is sealed under keys that the removed node was never given.

use std::sync::Arc;

use polykey_core::rotation::Rotation;
use polykey_core::sign::SigningKey;
use polykey_core::statement::Statement;
use polykey_core::{NodeId, StatementId};

use crate::charter::entry::{CutOff, MAX_CUT_OFFS};
use crate::charter::{
    AuthorError, Charter, CharterError, DeviceKey, EndedMember, EpochKeys, Joiner, Member, Removal, Role,
};
use crate::error::VaultError;
use crate::identity::Identity;
use crate::line;
use crate::rows::Rows;
use crate::vault::{Membership, Vault, epoch_keys};

/// What a removal did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revoked {
    /// The charter entry, and the epoch that it opened.
    pub entry: StatementId,
    /// Who was removed.
    pub node: NodeId,
    /// What it had been allowed to do.
    pub role: Role,
}

impl From<AuthorError> for VaultError {
    fn from(source: AuthorError) -> Self {
        VaultError::Charter(Box::new(source))
    }
}

impl From<CharterError> for VaultError {
    fn from(source: CharterError) -> Self {
        VaultError::Charter(Box::new(source.into()))
    }
}

impl Vault {
    /// The entry that founded the vault; its hash is the vault's id.
    pub fn genesis(&self) -> Statement {
        self.shared().membership().charter.genesis().statement().clone()
    }

    /// Who is in, by node.
    pub fn members(&self) -> Vec<Member> {
        self.shared().membership().charter.members()
    }

    /// Who was in and is out, by node.
    pub fn ended_members(&self) -> Vec<EndedMember> {
        self.shared().membership().charter.ended_members()
    }

    /// What a node may do; `None` when it is out.
    pub fn role_of(&self, node: &NodeId) -> Option<Role> {
        self.shared().membership().charter.role(node)
    }

    /// Lets a node in, or raises its role; the entry that gives it what it has. A node that holds as much or
    /// more already keeps what it has: [`Vault::set_role`] lowers.
    ///
    /// # Errors
    /// [`VaultError::Charter`] for anybody but an admin.
    pub fn grant(&self, joiner: &Joiner) -> Result<StatementId, VaultError> {
        self.give(joiner, Lowering::Never)
    }

    /// Gives a node exactly this role: lets it in, raises it, or removes it and lets it in again.
    ///
    /// # Errors
    /// As [`Vault::grant`] and [`Vault::revoke`].
    pub fn set_role(&self, joiner: &Joiner) -> Result<StatementId, VaultError> {
        self.give(joiner, Lowering::ByRemoval)
    }

    fn give(&self, joiner: &Joiner, lowering: Lowering) -> Result<StatementId, VaultError> {
        let shared = self.shared();
        let me = shared.signer("change members")?;
        shared.write_entries(|tx, membership| {
            let charter = &membership.charter;
            let have = charter.members().into_iter().find(|m| m.node == joiner.node);
            let mut hand = Hand::new(self, &me, membership);
            // Roles ascend from most to least.
            if let Some(have) = have.filter(|have| have.role <= joiner.role) {
                if have.role == joiner.role || lowering == Lowering::Never {
                    return Ok((have.grant, Vec::new()));
                }
                hand.remove(tx, &joiner.node, me.signer())?;
            }
            let granted = hand.charter().grant(
                me.signer(),
                hand.keys(),
                joiner,
                shared.env.clock.now(),
                &*shared.env.random,
            )?;
            let id = granted.id();
            hand.add(granted)?;
            Ok((id, hand.entries))
        })
    }

    /// Removes a node: it counts for nothing from now on, and no key of what is written from now on reaches
    /// it. What it wrote and is known here goes on counting. Removing oneself is [`Vault::leave`].
    ///
    /// # Errors
    /// [`VaultError::Charter`]: for anybody but an admin, for somebody who is not in, and for somebody who
    /// ranks above.
    pub fn revoke(&self, node: &NodeId) -> Result<Revoked, VaultError> {
        self.revoke_by(node, None)
    }

    /// As [`Vault::revoke`], by the word of the recovery key of the vault's creator, which ranks above all: so the
    /// creator's own device can be removed.
    ///
    /// # Errors
    /// [`VaultError::Charter`] when it is the recovery key of somebody else, and as [`Vault::revoke`].
    pub fn revoke_with(&self, node: &NodeId, recovery: &SigningKey) -> Result<Revoked, VaultError> {
        self.revoke_by(node, Some(recovery))
    }

    fn revoke_by(&self, node: &NodeId, recovery: Option<&SigningKey>) -> Result<Revoked, VaultError> {
        let shared = self.shared();
        let me = shared.signer("change members")?;
        shared.write_entries(|tx, membership| {
            let role = membership.charter.role(node);
            let mut hand = Hand::new(self, &me, membership);
            let entry = hand.remove(tx, node, recovery.unwrap_or(me.signer()))?;
            // The charter has refused to remove somebody who is not in.
            let role = role.ok_or(AuthorError::NotAMember { node: *node })?;
            let revoked = Revoked {
                entry,
                node: *node,
                role,
            };
            Ok((revoked, hand.entries))
        })
    }

    /// Leaves the vault. The keys stay what they are until an admin's node opens new ones.
    ///
    /// # Errors
    /// [`VaultError::Charter`] when this node is not in.
    pub fn leave(&self) -> Result<StatementId, VaultError> {
        let me = self.shared().signer("leave")?;
        Ok(self.revoke(&me.node())?.entry)
    }

    /// True when an admin's node should call [`Vault::rekey`]: somebody left of its own will and knows the
    /// newest key, or a member has no share of it.
    pub fn needs_rekey(&self) -> bool {
        self.shared().membership().charter.needs_rekey()
    }

    /// Opens new keys for all members, when that is needed or when one of these key records of members is
    /// newer than the one that the vault has. `None` when there is nothing to do.
    ///
    /// # Errors
    /// [`VaultError::Charter`] for anybody but an admin.
    pub fn rekey(&self, devices: &[(NodeId, DeviceKey)]) -> Result<Option<StatementId>, VaultError> {
        let shared = self.shared();
        let me = shared.signer("change keys")?;
        shared.write_entries(|_, membership| {
            let charter = &membership.charter;
            let newer = |(node, device): &&(NodeId, DeviceKey)| {
                let keys = charter.keys_of(node);
                keys.is_some_and(|keys| keys.device.number < device.number)
            };
            let devices: Vec<_> = devices.iter().filter(newer).cloned().collect();
            if devices.is_empty() && !charter.needs_rekey() {
                return Ok((None, Vec::new()));
            }
            let made = charter.rekey(
                me.signer(),
                &membership.keys,
                &devices,
                shared.env.clock.now(),
                &*shared.env.random,
            )?;
            Ok((Some(made.id()), vec![made.statement]))
        })
    }

    /// Moves role and rank of this node to `next`, which `rotation` names, and goes on as `next`. When the
    /// vault is opened again, it is as `next`; opened as the former node, it says that it is no member.
    ///
    /// # Errors
    /// [`VaultError::Charter`]: this node is not in, or the rotation is not its own.
    pub fn succeed(&self, rotation: &Rotation, next: Arc<Identity>) -> Result<StatementId, VaultError> {
        let shared = self.shared();
        let me = shared.signer("move its role")?;
        if next.node() != rotation.successor() {
            return Err(VaultError::NotAllowed {
                action: "move its role to a node that the claim does not name",
            });
        }
        let mut former = None;
        let done = shared.write_entries(|tx, membership| {
            let charter = &membership.charter;
            let reads = charter.role(&me.node()).is_some_and(Role::reads);
            let known = known_of(tx, &me.node())?;
            let entropy = (shared.env.clock.now(), &*shared.env.random);
            let entry = charter.succeed(
                me.signer(),
                &membership.keys,
                rotation,
                reads.then(|| next.keys()),
                &known,
                entropy,
            )?;
            // Before the entry is taken in, so that the keys are those of the next one, and under the
            // store's lock, so that no writer goes on as the former one.
            former = Some(shared.replace_me(Some(next)));
            Ok((entry.id(), vec![entry]))
        });
        if done.is_err()
            && let Some(former) = former
        {
            shared.replace_me(former);
        }
        done
    }
}

/// Whether a role may be lowered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lowering {
    Never,
    ByRemoval,
}

/// Charter entries in the making, each under all that came before.
struct Hand<'a> {
    vault: &'a Vault,
    me: &'a Identity,
    before: &'a Membership,
    /// Charter and keys with the entries so far; `None` while there are none.
    now: Option<(Charter, EpochKeys)>,
    entries: Vec<Statement>,
}

impl<'a> Hand<'a> {
    fn new(vault: &'a Vault, me: &'a Identity, before: &'a Membership) -> Self {
        Hand {
            vault,
            me,
            before,
            now: None,
            entries: Vec::new(),
        }
    }

    fn charter(&self) -> &Charter {
        self.now
            .as_ref()
            .map_or(&self.before.charter, |(charter, _)| charter)
    }

    fn keys(&self) -> &EpochKeys {
        self.now.as_ref().map_or(&self.before.keys, |(_, keys)| keys)
    }

    fn add(&mut self, entry: Statement) -> Result<(), VaultError> {
        let mut charter = self.charter().clone();
        charter.insert(entry.clone())?;
        let keys = epoch_keys(Some(self.me), &charter);
        self.now = Some((charter, keys));
        self.entries.push(entry);
        Ok(())
    }

    /// Removes a node with all that is known of it, by the word of `author`.
    fn remove(
        &mut self,
        rows: &dyn Rows,
        node: &NodeId,
        author: &SigningKey,
    ) -> Result<StatementId, VaultError> {
        let removal = Removal {
            node: *node,
            cut_offs: known_of(rows, node)?,
        };
        let env = &self.vault.shared().env;
        let made = self
            .charter()
            .revoke(author, self.keys(), &removal, env.clock.now(), &*env.random)?;
        let id = made.id();
        self.add(made.statement)?;
        Ok(id)
    }
}

/// The ends of a node's lines, as a removal lists them: of a line that forked what came before the fork.
pub(crate) fn known_of(rows: &dyn Rows, node: &NodeId) -> Result<Vec<CutOff>, VaultError> {
    let mut known = Vec::new();
    for (line, tip) in line::tips(rows)? {
        if tip.author != *node {
            continue;
        }
        let seq = match line::forked_at(rows, &line)? {
            Some(fork) => tip.seq.min(fork.saturating_sub(1)),
            None => tip.seq,
        };
        if let Some(commit) = line::commit_at(rows, &line, seq)? {
            known.push(CutOff {
                actor: tip.actor,
                seq,
                commit: commit.into(),
            });
        }
    }
    // Nobody makes itself irremovable by writing under very many names.
    known.sort_by_key(|cut| std::cmp::Reverse(cut.seq));
    known.truncate(MAX_CUT_OFFS);
    Ok(known)
}

#[cfg(test)]
mod tests {
    use polykey_core::StatementId;
    use polykey_core::rotation::Rotation;
    use polykey_core::sealing::EncryptionKey;
    use polykey_core::sign::SigningKey;
    use polykey_core::{Key, KeyRecordId};

    use super::*;
    use crate::sync::Outcome;
    use crate::sync::replica::Replica;
    use crate::trial::{Party, env, identity, joiner, key};

    /// A founder, and members with these roles who have pulled.
    fn vault(roles: &[Role]) -> (Party, Vec<Party>) {
        let a = Party::founder();
        for (at, role) in roles.iter().enumerate() {
            a.grant(at as u8 + 2, *role);
        }
        let others = (0..roles.len()).map(|at| Party::joined(at as u8 + 2, &a));
        let others: Vec<_> = others.inspect(|party| drop(party.pull(&a))).collect();
        (a, others)
    }

    #[test]
    fn a_grant_shows_at_once_on_all_handles_and_after_opening_again() {
        let (a, _) = vault(&[]);
        let other = a.vault.clone();
        let grant = a.vault.grant(&joiner(2, Role::Reader)).expect("an admin");
        let b = identity(2).node();
        assert_eq!(other.role_of(&b), Some(Role::Reader));
        assert_eq!(
            other.members().iter().find(|m| m.node == b).map(|m| m.grant),
            Some(grant)
        );
        let trial = a.trial.reopen();
        assert_eq!(trial.role_of(&b), Some(Role::Reader));
    }

    #[test]
    fn a_second_grant_of_a_role_says_the_first_and_a_lesser_one_takes_nothing() {
        let (a, _) = vault(&[]);
        let first = a.vault.grant(&joiner(2, Role::Writer)).expect("an admin");
        let entries = || a.vault.charter().expect("open").len();
        let before = entries();
        for role in [Role::Writer, Role::Reader, Role::Keeper] {
            assert_eq!(a.vault.grant(&joiner(2, role)).expect("an admin"), first);
        }
        assert_eq!(entries(), before);
        assert_eq!(
            a.vault.set_role(&joiner(2, Role::Writer)).expect("an admin"),
            first
        );
        let raised = a.vault.grant(&joiner(2, Role::Admin)).expect("an admin");
        assert!(raised != first && entries() == before + 1);
        assert_eq!(a.role_of(&identity(2).node()), Some(Role::Admin));
    }

    #[test]
    fn a_lowered_writer_reads_on_and_writes_no_more() {
        let (a, others) = vault(&[Role::Writer]);
        let b = &others[0];
        b.write("from b", b"1");
        a.pull(b);
        a.vault.set_role(&joiner(2, Role::Reader)).expect("an admin");
        a.write("after", b"2");
        b.pull(&a);
        assert_eq!(b.my_role(), Some(Role::Reader));
        assert_eq!(b.tree(), a.tree());
        assert_eq!(a.paths(), ["after", "from b"], "what it wrote goes on counting");
        let staged = b.vault.stage(&mut &b"3"[..]).expect("staged");
        let path = crate::trial::path("x");
        let refused = b.change(None, |change| change.put(&path, staged, &crate::Expect::Any));
        assert!(matches!(refused, Err(VaultError::NotAllowed { .. })));
        assert!(a.rotation().expect("looks").is_empty(), "it is a member");
        a.vault.set_role(&joiner(2, Role::Keeper)).expect("an admin");
        assert_eq!(a.role_of(&b.node()), Some(Role::Keeper));
    }

    #[test]
    fn who_is_no_admin_changes_nothing() {
        let (a, others) = vault(&[Role::Writer, Role::Reader, Role::Keeper]);
        for party in &others {
            let no_right = |result: Result<(), VaultError>| {
                let Err(VaultError::Charter(error)) = result else {
                    panic!("refused: {result:?}")
                };
                assert_eq!(*error, AuthorError::NoRight);
            };
            no_right(party.vault.grant(&joiner(9, Role::Reader)).map(drop));
            no_right(party.vault.set_role(&joiner(1, Role::Reader)).map(drop));
            no_right(party.vault.revoke(&a.node()).map(drop));
            let entries = party.vault.charter().expect("open").len();
            assert_eq!(entries, a.vault.charter().expect("open").len());
        }
        let refused = a.vault.revoke(&identity(9).node());
        assert!(matches!(refused, Err(VaultError::Charter(_))), "no member");
        assert!(a.vault.rekey(&[]).expect("an admin").is_none(), "nothing to do");
    }

    #[test]
    fn a_removal_keeps_what_is_known_and_closes_what_follows() {
        let (a, others) = vault(&[Role::Writer, Role::Reader]);
        let (b, c) = (&others[0], &others[1]);
        b.write("from b", b"1");
        a.pull(b);
        b.write("unknown", b"2");
        let revoked = a.vault.revoke(&b.node()).expect("an admin");
        assert_eq!((revoked.node, revoked.role), (b.node(), Role::Writer));
        a.write("after", b"3");
        assert_eq!(a.paths(), ["after", "from b"]);
        a.pull(b);
        assert_eq!(a.paths(), ["after", "from b"]);
        c.pull(&a);
        assert_eq!(c.tree(), a.tree());
        assert_eq!(b.pull(&a).outcome, Outcome::Removed(revoked.entry));
        assert_eq!((b.my_role(), b.paths()), (None, vec!["from b".to_owned()]));
        let ended = a.ended_members();
        assert_eq!((ended[0].node, ended[0].ended_by), (b.node(), revoked.entry));
        // Somebody who is in again reads all, and what was set aside stays aside.
        a.grant(2, Role::Writer);
        b.pull(&a);
        assert_eq!(b.tree(), a.tree());
        assert_eq!(a.paths(), ["after", "from b"]);
    }

    #[test]
    fn the_recovery_key_of_the_creator_removes_the_creator_and_no_other_key_does() {
        let (a, others) = vault(&[Role::Admin, Role::Reader]);
        let (b, c) = (&others[0], &others[1]);
        let recovery = |seed: u8| SigningKey::from_seed(&Key::from_array([seed ^ 0x40; 32]));
        a.write("mine", b"1");
        for party in &others {
            party.pull(&a);
        }
        let refused = b.vault.revoke(&a.node());
        assert!(
            matches!(refused, Err(VaultError::Charter(error)) if matches!(*error, AuthorError::Outranked { .. }))
        );
        for foreign in [recovery(2), recovery(9)] {
            assert!(b.vault.revoke_with(&a.node(), &foreign).is_err());
        }
        let revoked = b
            .vault
            .revoke_with(&a.node(), &recovery(1))
            .expect("the creator's");
        assert_eq!((revoked.node, revoked.role), (a.node(), Role::Admin));
        b.write("after", b"2");
        assert_eq!(a.pull(b).outcome, Outcome::Removed(revoked.entry));
        assert_eq!((a.my_role(), a.paths()), (None, vec!["mine".to_owned()]));
        c.pull(b);
        assert_eq!(c.paths(), ["after", "mine"]);
        assert!(b.vault.revoke(&c.node()).is_ok(), "who is left goes on");
    }

    #[test]
    fn whoever_left_is_shut_out_by_the_next_admin() {
        let (a, others) = vault(&[Role::Writer]);
        let b = &others[0];
        let left = b.vault.leave().expect("anybody may");
        assert_eq!(b.my_role(), None);
        assert!(!a.needs_rekey());
        // It tells a, by the entry alone: it is refused from now on.
        let charter = b.vault.charter().expect("open");
        let entry = charter.entry(&left).expect("its own").statement().clone();
        a.insert_entries(vec![entry]).expect("stored");
        assert!(a.needs_rekey() && a.role_of(&b.node()).is_none());
        a.write("before", b"1");
        assert_eq!(a.rotation().expect("looks")[0].nodes, [b.node()]);
        assert!(a.vault.rekey(&[]).expect("an admin").is_some());
        assert!(!a.needs_rekey());
        a.write("before", b"2");
        assert!(a.rotation().expect("looks").is_empty());
        assert!(
            matches!(a.vault.revoke(&b.node()), Err(VaultError::Charter(_))),
            "it is out"
        );
    }

    #[test]
    fn a_newer_key_record_opens_new_keys_once() {
        let (a, others) = vault(&[Role::Reader]);
        let device = EncryptionKey::from_seed(&Key::from_array([77; 32]));
        let newer = DeviceKey {
            record: KeyRecordId::from_bytes([77; 32]),
            number: 1,
            public: device.public(),
        };
        let devices = [(others[0].node(), newer.clone()), (identity(9).node(), newer)];
        assert!(a.vault.rekey(&devices).expect("an admin").is_some());
        assert!(a.vault.rekey(&devices).expect("an admin").is_none());
        let keys = a.vault.charter().expect("open").keys_of(&others[0].node());
        assert_eq!(keys.expect("a member").device.number, 1);
        a.write("new", b"1");
        others[0].pull(&a);
        assert!(others[0].paths().is_empty(), "sealed to the newer key");
    }

    #[test]
    fn a_node_goes_on_under_a_new_root_key() {
        let (a, others) = vault(&[Role::Reader]);
        a.write("old", b"1");
        let (new, old_key) = (identity(7), a.me.signer());
        let recovery = SigningKey::from_seed(&Key::from_array([1 ^ 0x40; 32]));
        let place = (1, StatementId::from_bytes([6; 32]));
        let now = env().clock.now();
        let (node, code) = (new.node(), new.keys().recovery);
        let rotation = Rotation::sign(old_key, &recovery, place, now, node, code).expect("four keys");
        assert!(
            a.vault.succeed(&rotation, identity(8)).is_err(),
            "another than it names"
        );
        a.vault.succeed(&rotation, identity(7)).expect("its own claim");
        assert_eq!(a.my_role(), Some(Role::Admin));
        assert_eq!(a.role_of(&identity(1).node()), None);
        a.write("new", b"2");
        a.vault
            .rekey(&[])
            .expect("an admin")
            .expect("the old key knows the newest");
        a.vault.revoke(&others[0].node()).expect("an admin");
        let shown = a.tree();
        assert_eq!(shown.len(), 2);
        let exposed = a.rotation().expect("looks");
        assert!(
            exposed.iter().all(|e| e.nodes == [others[0].node()]),
            "not its own former self"
        );
        a.close().expect("closes");
        let folder = a.folder();
        let as_old = Vault::open(&folder, &key(), identity(1), env()).expect("opens");
        assert_eq!(as_old.my_role(), None);
        as_old.close().expect("closes");
        let vault = Vault::open(&folder, &key(), identity(7), env()).expect("opens");
        let again = crate::trial::Trial {
            vault,
            place: a.trial.place,
        };
        assert_eq!(again.tree(crate::At::Now), shown);
    }

    #[test]
    fn a_writer_with_very_many_names_is_removed_all_the_same() {
        use crate::line::{Last, Lines, append};
        use crate::rows::memory::Memory;
        let mut rows = Memory::default();
        let node = identity(2).node();
        for actor in 0..MAX_CUT_OFFS as u32 + 50 {
            let mut name = [0; 16];
            name[..4].copy_from_slice(&actor.to_be_bytes());
            let header = crate::commit::Header {
                vault: polykey_core::VaultId::from_bytes([0; 32]),
                actor: polykey_core::ActorId::from_bytes(name),
                seq: 1,
                previous: None,
                author: node,
                parents: vec![],
                charter_heads: vec![],
                objects: vec![],
            };
            let lines = Lines {
                tips: vec![],
                forks: vec![],
            };
            let id = crate::CommitId::from_bytes([actor as u8; 32]);
            append(&mut rows, &lines, id, &header, Last::default()).expect("in memory");
        }
        assert_eq!(known_of(&rows, &node).expect("in memory").len(), MAX_CUT_OFFS);
        assert!(
            known_of(&rows, &identity(3).node())
                .expect("in memory")
                .is_empty()
        );
    }
}
