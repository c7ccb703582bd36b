//! Membership of an open vault: who is in, and the changes of that.
//!
//! Each change is one transaction: the charter entry, the new epoch and all that follows for commits that
//! are stored. Whoever holds the vault open sees it at once. Telling other nodes is the caller's.
//!
//! Always: a removal lists all that is known of the removed node, so nothing that had counted stops to
//! count; the next change of content is sealed under keys that the removed node was never given.

use std::sync::Arc;

use polykey_core::rotation::Rotation;
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
                hand.remove(tx, &joiner.node)?;
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
        let shared = self.shared();
        let me = shared.signer("change members")?;
        shared.write_entries(|tx, membership| {
            let role = membership.charter.role(node);
            let mut hand = Hand::new(self, &me, membership);
            let entry = hand.remove(tx, node)?;
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
            former = Some(shared.replace_me(Some(Arc::clone(&next))));
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

    /// Removes a node with all that is known of it.
    fn remove(&mut self, rows: &dyn Rows, node: &NodeId) -> Result<StatementId, VaultError> {
        let removal = Removal {
            node: *node,
            cut_offs: known_of(rows, node)?,
        };
        let env = &self.vault.shared().env;
        let made = self.charter().revoke(
            self.me.signer(),
            self.keys(),
            &removal,
            env.clock.now(),
            &*env.random,
        )?;
        let id = made.id();
        self.add(made.statement)?;
        Ok(id)
    }
}

/// The ends of a node's lines, as a removal lists them: of a line that forked what came before the fork.
fn known_of(rows: &dyn Rows, node: &NodeId) -> Result<Vec<CutOff>, VaultError> {
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
