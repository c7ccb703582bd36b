//! Vaults follow principals: a member's devices come in and go with what the sigchains say of them.
//!
//! An admin's node does this for the members that it let in, and for those of admins that are out by now. A node that was let in here for being a device of a
//! member has a row that says of whom, and that is what may be undone: whom a user let in is never taken out here,
//! but for devices that this user removed. A row is written before its node is let in, so that a crash in between
//! lets nobody in for good.
//!
//! Always: a device gets the role of the member whose device it is, and no better one; the word of a device alone
//! takes nobody out that stands nearer to the member; whoever was taken out by a user, here or elsewhere, or left by
//! itself, stays out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, MutexGuard, PoisonError};

use polykey_api::{Code, Problem};
use polykey_core::clock::SystemClock;
use polykey_core::codec::{CodecError, Reader, Writer};
use polykey_core::random::OsRandom;
use polykey_core::{Clock, NodeId, VaultId, VaultName};
use polykey_store::StoreError;
use polykey_vault::charter::{DeviceKey, Member, Role};
use polykey_vault::sync::Replica;

use super::Principal;
use crate::agent::Agent;
use crate::blocking::blocking;
use crate::failure;
use crate::gestalts::View;
use crate::network::known_keys;
use crate::node::Node;
use crate::post::{Letter, Tray};
use crate::sharing::{self, Wanted, grant};
use crate::tables::FOLLOWED;
use crate::vaults::InUse;
use crate::vaults::problem::vault_problem;

/// Longest row.
const MAX_LEN: usize = 128;

/// What is remembered of a device in a vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Row {
    /// It was let in as a device of this member, which had this role.
    Of(NodeId, Role),
    /// The user took it out: it is not let in again.
    Out,
    /// It was taken out for being no device any more: it is let in again when it is one again.
    Gone,
}

impl Row {
    fn encode(self) -> Vec<u8> {
        let mut out = Writer::new();
        match self {
            Row::Of(member, role) => (out.array(3).u64(0)).bytes(member.as_bytes()).u64(role.number()),
            Row::Out => out.array(1).u64(1),
            Row::Gone => out.array(1).u64(2),
        };
        out.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Row, CodecError> {
        let mut from = Reader::new(bytes, MAX_LEN, "a device that was let in")?;
        let row = match (from.array()?, from.u64()?) {
            (3, 0) => {
                let member = NodeId::from_bytes(from.bytes_of()?);
                Row::Of(member, Role::from_number(from.u64()?).ok_or(from.shape())?)
            }
            (1, 1) => Row::Out,
            (1, 2) => Row::Gone,
            _ => return Err(from.shape()),
        };
        from.finish()?;
        Ok(row)
    }
}

/// The rows of one vault.
fn rows(node: &Node, vault: &VaultId) -> Result<BTreeMap<NodeId, Row>, Problem> {
    let rows = node.db.read(|tx| tx.group(FOLLOWED, vault.as_bytes()));
    let rows = rows.map_err(|error: StoreError| failure::store(&error))?;
    let damaged = |error: &dyn std::error::Error| failure::record("the record of a device", error);
    rows.into_iter()
        .map(|(device, row)| {
            let device = NodeId::try_from(&device[..]).map_err(|error| damaged(&error))?;
            let row = Row::decode(row.expose()).map_err(|error| damaged(&error))?;
            Ok((device, row))
        })
        .collect()
}

fn set_row(node: &Node, vault: &VaultId, device: &NodeId, row: Option<Row>) -> Result<(), Problem> {
    let set = node.db.write(|tx| match row {
        Some(row) => tx.put(FOLLOWED, vault.as_bytes(), device.as_bytes(), &row.encode()),
        None => tx.remove(FOLLOWED, vault.as_bytes(), device.as_bytes()).map(drop),
    });
    set.map_err(|error: StoreError| failure::store(&error))
}

/// Notes what the user decided about a node in a vault: it stands on its own from now on, or stays out.
///
/// # Errors
/// What the store says.
pub fn note_decision(node: &Node, vault: &VaultId, who: &NodeId, is_in: bool) -> Result<(), Problem> {
    let is_known = rows(node, vault)?.contains_key(who);
    match is_in {
        true if is_known => set_row(node, vault, who, None),
        true => Ok(()),
        false => set_row(node, vault, who, Some(Row::Out)),
    }
}

/// The nodes that were let into a vault for being devices of one of `members`.
///
/// # Errors
/// What the store says.
pub fn devices_of(node: &Node, vault: &VaultId, members: &BTreeSet<NodeId>) -> Result<Vec<NodeId>, Problem> {
    let rows = rows(node, vault)?.into_iter();
    Ok(rows
        .filter(|(_, row)| matches!(row, Row::Of(member, _) if members.contains(member)))
        .map(|(device, _)| device)
        .collect())
}

/// True when a user let this member in here as somebody of its own, and not as a device of another.
///
/// # Errors
/// What the store says.
pub fn stands_alone(node: &Node, vault: &VaultId, member: &Member) -> Result<bool, Problem> {
    Ok(member.granted_by == node.id() && !rows(node, vault)?.contains_key(&member.node))
}

/// Principals of members, each looked up once in one view.
pub struct Principals<'n> {
    node: &'n Node,
    view: Arc<View>,
    known: BTreeMap<NodeId, Principal>,
}

impl<'n> Principals<'n> {
    /// None is looked up yet.
    ///
    /// # Errors
    /// What the store says.
    pub fn new(node: &'n Node) -> Result<Principals<'n>, Problem> {
        Ok(Principals {
            node,
            view: node.gestalts.view()?,
            known: BTreeMap::new(),
        })
    }

    fn of(&mut self, member: &NodeId) -> &Principal {
        let graph = &self.view.graph;
        let known = self.known.entry(*member);
        known.or_insert_with(|| Principal::of(graph, member))
    }

    /// The other devices of this node's principal.
    pub fn own(&mut self) -> BTreeSet<NodeId> {
        let me = self.node.id();
        let mut nodes = self.of(&me).nodes.clone();
        nodes.remove(&me);
        nodes
    }

    /// True when the node takes its place in the vault from one that is in it, perhaps over others: that one hands its
    /// role on.
    fn succeeds_in(&self, node: &NodeId, members: &BTreeMap<NodeId, Role>) -> bool {
        let mut seen = BTreeSet::from([*node]);
        let mut next = vec![*node];
        while let Some(at) = next.pop() {
            for former in self.view.graph.former(&at) {
                if members.contains_key(&former) {
                    return true;
                }
                if seen.insert(former) {
                    next.push(former);
                }
            }
        }
        false
    }
}

/// Brings the members of a vault level with their principals and their newest keys, when this node administers it.
/// Says whom to bring their post.
///
/// # Errors
/// What the store and the vault say. What was done until then stays.
pub fn follow_vault(
    node: &Node,
    open: &InUse,
    principals: &mut Principals<'_>,
) -> Result<Vec<NodeId>, Problem> {
    if !open.vault.my_role().is_some_and(Role::administers) {
        return Ok(Vec::new());
    }
    follow_keys(node, open)?;
    // Whom the user takes out meanwhile must not come in after that.
    let _alone = node.shares.alone();
    let all = open.vault.members();
    let members: BTreeMap<NodeId, Role> = all.iter().map(|member| (member.node, member.role)).collect();
    // Whose devices come in by this node: those that it let in itself. For others it cannot tell a member that a user
    // let in from a device that came with one, and two admins would go on from each other's without end.
    let is_ours = |by: &NodeId| {
        *by == node.id()
            || node.succession.iter().any(|rotation| rotation.node() == *by)
            || !members.contains_key(by)
    };
    let followed: BTreeSet<NodeId> = (all.iter())
        .filter(|member| member.node == node.id() || is_ours(&member.granted_by))
        .map(|member| member.node)
        .collect();
    let rows = move_rows(node, open, &members)?;
    let is_hidden = node.vaults.is_hidden(open.id);
    let me = node.id();
    let of = |device: &NodeId| match rows.get(device) {
        Some(Row::Of(member, _)) => Some(*member),
        _ => None,
    };
    // Those that stand in the vault for themselves.
    let stand: BTreeMap<NodeId, Role> = (members.iter())
        .filter(|(member, role)| role.reads() && of(member).is_none() && (!is_hidden || **member == me))
        .map(|(member, role)| (*member, *role))
        .collect();
    let own = principals.of(&me).clone();
    let mut wanted: BTreeMap<NodeId, (NodeId, Role)> = BTreeMap::new();
    for (member, role) in &stand {
        for device in principals.of(member).nodes.clone() {
            // Roles ascend from most to least.
            if (followed.contains(member) || of(&device) == Some(*member))
                && !stand.contains_key(&device)
                // Whose device it may be otherwise: this user removed it.
                && !own.removed.contains(&device)
                && !principals.succeeds_in(&device, &members)
                && wanted.get(&device).is_none_or(|(_, other)| role < other)
            {
                wanted.insert(device, (*member, *role));
            }
        }
    }
    let mut touched = Vec::new();
    for device in members.keys().filter(|device| **device != me) {
        let is_undone = match of(device) {
            _ if own.removed.contains(device) => true,
            None => false,
            Some(_) if wanted.contains_key(device) => false,
            Some(member) => {
                let of = principals.of(&member);
                !stand.contains_key(&member) || of.removed.contains(device) || of.beyond.contains(device)
            }
        };
        if is_undone && take_out(node, open, device, &of(device).unwrap_or(me))? {
            touched.push(*device);
        }
    }
    let ended: BTreeSet<NodeId> = match wanted.is_empty() {
        true => BTreeSet::new(),
        false => (open.vault.ended_members().into_iter())
            .map(|ended| ended.node)
            .collect(),
    };
    for (device, (member, role)) in &wanted {
        let row = rows.get(device);
        let wanted = match (members.get(device), row) {
            // What a user gave it since stays, until its member has another role.
            (Some(_), Some(Row::Of(_, given))) if given == role => continue,
            (Some(has), Some(Row::Of(_, given))) if given < role => match has <= role {
                true => Wanted::Exactly(*role),
                // It has less than its member by the word of a user.
                false => continue,
            },
            (Some(has), None | Some(Row::Out | Row::Gone)) if has <= role => continue,
            _ => Wanted::AtLeast(*role),
        };
        // Whoever was in and is out was taken out or left, and not for being no device.
        let is_out = row == Some(&Row::Out)
            || (ended.contains(device) && !matches!(row, Some(Row::Gone | Row::Of(..))));
        if is_out || node.contacts.is_blocked(device) {
            continue;
        }
        // Until they are known it waits: whoever learns them looks again.
        let Some(keys) = known_keys(&node.contacts, device) else {
            continue;
        };
        let now = Row::Of(*member, *role);
        let was_in = members.contains_key(device);
        if !was_in {
            set_row(node, &open.id, device, Some(now))?;
        }
        let given = match *member == me {
            true => sharing::give(node, open, *device, Some(&keys), wanted),
            false => grant(node, open, *device, Some(&keys), wanted),
        };
        match given {
            // It ranks above this node.
            Err(problem) if was_in && problem.code == Code::NotAllowed => {
                tracing::debug!(vault = %open.id, %device, "has another role than its member: {problem}");
                continue;
            }
            given => drop(given?),
        }
        if was_in {
            // Behind it, so that it is done again when it was cut off.
            set_row(node, &open.id, device, Some(now))?;
        }
        if *member != me {
            tell(node, open, device, member, Some(*role))?;
            touched.push(*device);
        }
    }
    Ok(touched)
}

/// Seals the keys of a vault to the newest keys of its members, as after one came back on an empty disk.
fn follow_keys(node: &Node, open: &InUse) -> Result<(), Problem> {
    let wrong = |error| vault_problem(&open.name, error);
    let charter = open.vault.charter().map_err(wrong)?;
    let newer = charter.members().into_iter().filter_map(|member| {
        let has = charter.keys_of(&member.node)?.device.number;
        let device = match member.node == node.id() {
            true => DeviceKey {
                record: node.key_record.id(),
                number: node.key_record.number(),
                public: node.encryption.public(),
            },
            false => known_keys(&node.contacts, &member.node)?.member_keys().device,
        };
        (device.number > has).then_some((member.node, device))
    });
    let newer: Vec<_> = newer.collect();
    if !newer.is_empty() {
        open.vault.rekey(&newer).map_err(wrong)?;
    }
    Ok(())
}

/// The rows of a vault, after those of devices that are out were dropped and those of devices with new keys moved.
fn move_rows(
    node: &Node,
    open: &InUse,
    members: &BTreeMap<NodeId, Role>,
) -> Result<BTreeMap<NodeId, Row>, Problem> {
    let mut rows = rows(node, &open.id)?;
    // Before a vault is pulled or after it, the chain may say who took whose place: either will do.
    let ended = open.vault.ended_members().into_iter();
    let handed: BTreeMap<NodeId, NodeId> = ended
        .filter_map(|ended| Some((ended.node, ended.successor?)))
        .collect();
    let heir = |of: &NodeId| {
        let mut at = *of;
        for _ in 0..=handed.len() {
            at = *handed.get(&at).or(node.contacts.successor(&at).as_ref())?;
            if members.contains_key(&at) {
                return Some(at);
            }
        }
        None
    };
    let gone: Vec<(NodeId, Row)> = (rows.iter())
        .filter(|(device, row)| matches!(row, Row::Of(..)) && !members.contains_key(*device))
        .map(|(device, row)| (*device, *row))
        .collect();
    for (device, row) in gone {
        if let Some(next) = heir(&device) {
            set_row(node, &open.id, &next, Some(row))?;
            rows.insert(next, row);
        }
        set_row(node, &open.id, &device, None)?;
        rows.remove(&device);
    }
    // The member may have new keys, too.
    for (device, row) in &mut rows {
        if let Row::Of(member, role) = row
            && !members.contains_key(member)
            && let Some(next) = heir(member)
        {
            *row = Row::Of(next, *role);
            set_row(node, &open.id, device, Some(*row))?;
        }
    }
    // Who took the member's place stands for itself.
    let itself: Vec<NodeId> = (rows.iter())
        .filter(|(device, row)| matches!(row, Row::Of(member, _) if member == *device))
        .map(|(device, _)| *device)
        .collect();
    for device in itself {
        set_row(node, &open.id, &device, None)?;
        rows.remove(&device);
    }
    Ok(rows)
}

/// True when it is out now.
fn take_out(node: &Node, open: &InUse, device: &NodeId, member: &NodeId) -> Result<bool, Problem> {
    match open.vault.revoke(device) {
        Ok(_) => {}
        // It ranks above this node: its owner's recovery code is needed, and `devices remove` asks for it.
        Err(error) => {
            tracing::debug!(vault = %open.id, %device, %error, "not taken out");
            return Ok(false);
        }
    }
    note_gone(node, &open.id, device)?;
    if *member != node.id() {
        sharing::tell_unshared(node, open, *device)?;
        tell(node, open, device, member, None)?;
    }
    Ok(true)
}

/// Notes that a node was taken out of a vault for being no device any more.
///
/// # Errors
/// What the store says.
pub fn note_gone(node: &Node, vault: &VaultId, device: &NodeId) -> Result<(), Problem> {
    set_row(node, vault, device, Some(Row::Gone))
}

fn tell(
    node: &Node,
    open: &InUse,
    device: &NodeId,
    member: &NodeId,
    role: Option<Role>,
) -> Result<(), Problem> {
    let name = VaultName::parse(&open.name)
        .map_err(|error| Problem::new(Code::Internal, "a vault has a name that is none").caused_by(&error))?;
    let letter = Letter::Device {
        from: *device,
        member: *member,
        vault: open.id,
        name,
        role,
    };
    node.post
        .tell(Tray::Inbox, letter, SystemClock.now(), &OsRandom)?;
    Ok(())
}

/// To be held while vaults follow principals, or a device is taken out of all of them.
pub fn turn(node: &Node) -> MutexGuard<'_, ()> {
    let turn = node.turns.following.lock();
    turn.unwrap_or_else(PoisonError::into_inner)
}

/// Brings all vaults level with the principals of their members. Says whom to bring their post.
///
/// # Errors
/// What the store says; a vault that cannot be opened keeps no other from it.
pub fn follow_all(node: &Node) -> Result<Vec<NodeId>, Problem> {
    let turn = turn(node);
    follow_all_in(node, &turn)
}

/// As [`follow_all`], by whoever holds the [`turn`].
///
/// # Errors
/// As [`follow_all`].
pub fn follow_all_in(node: &Node, _turn: &MutexGuard<'_, ()>) -> Result<Vec<NodeId>, Problem> {
    let mut principals = Principals::new(node)?;
    let hidden = super::hidden::settle(node, &mut principals)?;
    let ids: BTreeSet<VaultId> = node.vaults.ids().into_iter().chain(hidden).collect();
    let mut touched = Vec::new();
    for id in ids {
        let Ok(open) = node.vaults.open_id(id) else {
            continue;
        };
        match follow_vault(node, &open, &mut principals) {
            Ok(more) => touched.extend(more),
            Err(problem) if problem.code == Code::Locked => return Err(problem),
            Err(problem) => {
                tracing::warn!(vault = %id, "does not follow its members' devices: {problem}");
            }
        }
    }
    Ok(touched)
}

/// As [`follow_all`], for one vault that changed.
///
/// # Errors
/// As [`follow_vault`].
pub fn follow_one(node: &Node, open: &InUse) -> Result<Vec<NodeId>, Problem> {
    let _turn = turn(node);
    follow_vault(node, open, &mut Principals::new(node)?)
}

impl Agent {
    /// Brings all vaults level with what the sigchains say of devices.
    pub async fn follow_principals(&self) {
        let Some(node) = self.node() else { return };
        match blocking(move || follow_all(&node)).await {
            Ok(touched) => touched.into_iter().for_each(|id| self.run_errands(id)),
            Err(problem) if problem.code == Code::Locked => {}
            Err(problem) => tracing::warn!("vaults do not follow devices: {problem}"),
        }
    }
}
