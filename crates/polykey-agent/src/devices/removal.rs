//! Removal: a device is none any more, and is taken out of every vault.
//!
//! The claims come first: from then on no other device brings it back, and each takes it out as well where it may.
//! A vault that the removed device made, or was let into before this one, puts it above this one there: then its
//! recovery code speaks, when the user has typed it.
//!
//! Always: the same command again does what was left over.

use std::collections::BTreeSet;

use polykey_api::devices::LeftVault;
use polykey_api::{Code, Problem};
use polykey_core::NodeId;
use polykey_core::recovery::RecoveryKeys;
use polykey_trust::TrustError;
use polykey_trust::book;
use polykey_trust::claim::Body;
use polykey_trust::link::LinkType;
use polykey_vault::charter::{Member, Role};

use super::{elsewhere, hidden, names, others, own, pairing, principals};
use crate::failure;
use crate::links;
use crate::node::Node;
use crate::sharing::{self, is_us, member_item, rotation_item};
use crate::vaults::InUse;

/// The device that the user calls `typed`: by its name as a device, its petname or its id.
///
/// # Errors
/// [`Code::NodeNotFound`] when there is no such device; [`Code::Usage`] for this one.
pub fn find(node: &Node, typed: &str) -> Result<NodeId, Problem> {
    let principal = own(node)?;
    let others = others(node)?;
    // One that was removed, or says that it is none, may be left in a vault.
    let present = names::names(node, &others)?;
    let mut all = others;
    all.extend(principal.removed);
    all.extend(principal.apart);
    all.extend(principal.beyond);
    all.extend(principal.left);
    let mut former = names::former_names(node)?;
    former.retain(|id, _| all.contains(id));
    let mut called = present.iter().chain(&former);
    let id = match called.find(|(_, name)| *name == typed).map(|(id, _)| *id) {
        Some(id) => Ok(id),
        None => node.contacts.who(typed),
    };
    match id {
        Ok(id) if id == node.id() => Err(Problem::new(Code::Usage, "this device cannot remove itself")
            .hint("run `polykey devices remove` at another one")),
        Ok(id)
            if all.contains(&id)
                // One that may become a device is kept from it.
                || pairing::is_invited(node, &id)? =>
        {
            Ok(id)
        }
        _ => Err(
            Problem::new(Code::NodeNotFound, format!("there is no device {typed}"))
                .hint("see `polykey devices list`"),
        ),
    }
}

/// What became of a removal.
pub struct Removal {
    /// Each vault that the device, or one that goes with it, was in or let others into.
    pub vaults: Vec<LeftVault>,
    /// The devices that go with it, since only it had tied them to this principal.
    pub with_it: BTreeSet<NodeId>,
}

/// Removes `device`; `keys` are those of its recovery code. Devices that only it had made devices go with it: whether
/// its owner or a thief did that, nobody can tell, and the owner pairs them anew.
///
/// # Errors
/// What the store says. What was done until then stays.
pub fn remove(node: &Node, device: NodeId, keys: Option<&RecoveryKeys>) -> Result<Removal, Problem> {
    // What follows the claim by itself would take the device out first, and nobody would tell what it could read.
    let turn = principals::turn(node);
    pairing::close_all_of(node, &device)?;
    let said = node.db.read(|tx| {
        let chain = book::known_chain(tx, &node.id())?;
        Ok::<_, TrustError>(chain.removed_devices().contains(&device))
    });
    if !said.map_err(|error| failure::trust(&error))? {
        // It removes the device, also where this one is linked with it over others only.
        links::say(node, &Body::DeviceRemoved(device))?;
    }
    links::withdraw(node, device, LinkType::Device)?;
    let graph = &node.gestalts.view()?.graph;
    let going = Going {
        device,
        keys,
        with_it: graph.beyond(&node.id(), &BTreeSet::from([device])),
    };
    let mut left = Vec::new();
    for id in node.vaults.ids() {
        let Ok(open) = node.vaults.open_id(id) else {
            continue;
        };
        if let Some(vault) = take_out(node, &open, &going)? {
            left.push(vault);
        }
    }
    for id in node.vaults.hidden() {
        if let Ok(open) = node.vaults.open_id(id) {
            take_out(node, &open, &going)?;
        }
    }
    for gone in going.with_it.iter().chain([&device]) {
        node.contacts.set_trust(*gone, false)?;
    }
    // Where it is left in the hidden vault, another one takes its place.
    let there = others(node)?;
    if !there.is_empty() && hidden::current(node, &there).is_none() {
        node.vaults.create_hidden()?;
    }
    principals::follow_all_in(node, &turn)?;
    Ok(Removal {
        vaults: left,
        with_it: going.with_it,
    })
}

/// A device that is removed, and those that only it had tied to this principal, which go with it.
struct Going<'k> {
    device: NodeId,
    keys: Option<&'k RecoveryKeys>,
    with_it: BTreeSet<NodeId>,
}

impl Going<'_> {
    /// True for the device, and for those that go with it, where no user let them in as somebody of their own.
    fn takes(&self, node: &Node, open: &InUse, member: &Member) -> Result<bool, Problem> {
        if member.node == self.device {
            return Ok(true);
        }
        let with_it = self.with_it.contains(&member.node);
        Ok(with_it && !principals::stands_alone(node, &open.id, member)?)
    }
}

fn take_out(node: &Node, open: &InUse, going: &Going<'_>) -> Result<Option<LeftVault>, Problem> {
    if !open.vault.my_role().is_some_and(Role::administers) {
        return elsewhere::left_in(node, open, going.device);
    }
    let (mut gone, mut stay) = (BTreeSet::new(), BTreeSet::new());
    for member in open.vault.members() {
        if is_us(node, open, &member.node) || !going.takes(node, open, &member)? {
            continue;
        }
        let mut removed = sharing::take_out(node, open, member.node).is_ok();
        if let (true, false, Some(keys)) = (member.node == going.device, removed, going.keys) {
            let revoked = open.vault.revoke_with(&member.node, &keys.recovery);
            if let Err(error) = &revoked {
                tracing::info!(vault = %open.id, %error, "the recovery code does not remove the device");
            }
            removed = revoked.is_ok();
        }
        if removed {
            principals::note_gone(node, &open.id, &member.node)?;
            gone.insert(member.node);
        } else {
            stay.insert(member.node);
        }
    }
    let rotate = match gone.is_empty() {
        false => exposed_to(open, &gone)?,
        true => Vec::new(),
    };
    let own = others(node)?;
    // Whom own devices let in, which the removed one may have let in itself, the user let in.
    let mut members = open.vault.members();
    members.retain(|member| !own.contains(&member.node) && !is_us(node, open, &member.node));
    let let_in = let_in_by(&members, going.device);
    let let_in = let_in.into_iter().filter(|member| !stay.contains(&member.node));
    let view = node.gestalts.view()?;
    let let_in: Vec<_> = let_in
        .map(|member| member_item(node, &view, open, member))
        .collect();
    if gone.is_empty() && stay.is_empty() && let_in.is_empty() {
        return Ok(None);
    }
    Ok(Some(LeftVault {
        vault_id: open.id.to_string(),
        vault_name: open.name.clone(),
        removed: stay.is_empty(),
        rotate,
        let_in,
        admins: None,
        was_first: false,
    }))
}

/// The paths of what these nodes, which are out of the vault, could read and what has not changed since.
///
/// # Errors
/// What the vault says.
pub fn exposed_to(open: &InUse, gone: &BTreeSet<NodeId>) -> Result<Vec<String>, Problem> {
    let exposed = open.vault.rotation();
    let exposed = exposed.map_err(|error| crate::vaults::problem::vault_problem(&open.name, error))?;
    let of_them = exposed
        .iter()
        .filter(|exposed| exposed.nodes.iter().any(|node| gone.contains(node)));
    Ok(of_them.map(|exposed| rotation_item(exposed).path).collect())
}

/// Those of `members` that are in since `device` let them in, or somebody whom it let in did.
///
/// What a thief granted stays granted when its device goes, as what its owner granted does: only the user can tell
/// them apart.
fn let_in_by(members: &[Member], device: NodeId) -> Vec<&Member> {
    let mut found: Vec<&Member> = Vec::new();
    let mut rest: Vec<&Member> = members.iter().filter(|member| member.node != device).collect();
    loop {
        let of_it = |by: NodeId| by == device || found.iter().any(|member| member.node == by);
        let (more, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(|member| of_it(member.granted_by));
        if more.is_empty() {
            return found;
        }
        found.extend(more);
        rest = others;
    }
}
