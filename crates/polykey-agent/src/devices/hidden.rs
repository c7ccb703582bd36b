//! The hidden vault of a principal: an ordinary vault with all its devices as admins, which no list shows.
//!
//! Nobody is told which one it is. Of those that a node has, the one counts that none but its devices is in, and of
//! these the one with the lowest id; so devices that made one each, and principals that became one, agree when they
//! have met. One that a removed device is still in, for it ranked above, is left for a new one. The device with the
//! lowest id makes it.
//!
//! What is in it: `device/<node>` a device's name, and what [`step`](super::step) keeps in step.

use std::collections::BTreeSet;

use polykey_api::Problem;
use polykey_core::{NodeId, SecretPath, VaultId};
use polykey_vault::charter::Role;
use polykey_vault::{At, VaultError};

use super::names;
use super::principals::Principals;
use crate::node::Node;
use crate::peer::{Answer, Refusal};
use crate::vaults::InUse;
use crate::vaults::problem::vault_problem;

/// Folder of the names of devices.
pub const DEVICE: &str = "device";
/// Longest content that is read.
pub const MAX_VALUE_LEN: usize = 4096;

/// The hidden vault that counts, when there is one; `others` are the other devices.
pub fn current(node: &Node, others: &BTreeSet<NodeId>) -> Option<InUse> {
    let mut ids = node.vaults.hidden();
    ids.sort_unstable_by_key(|id| *id.as_bytes());
    let me = node.id();
    ids.into_iter().find_map(|id| {
        let open = node.vaults.open_id(id).ok()?;
        let among_us = |member: &NodeId| *member == me || others.contains(member);
        let counts = open.vault.my_role().is_some_and(Role::administers)
            && open.vault.members().iter().all(|member| among_us(&member.node));
        counts.then_some(open)
    })
}

/// Makes a hidden vault where one is needed, and clears away those in whose place it came; the ids of what is there.
///
/// # Errors
/// What the disk says.
pub fn settle(node: &Node, principals: &mut Principals<'_>) -> Result<Vec<VaultId>, Problem> {
    let others = principals.own();
    match current(node, &others) {
        None => {
            let is_first = others.first().is_some_and(|other| node.id() < *other);
            if is_first {
                node.vaults.create_hidden()?;
            }
        }
        Some(open) => {
            for id in node.vaults.hidden() {
                // One that is on its way in has no members yet.
                let is_old = id != open.id
                    && (node.vaults.open_id(id)).is_ok_and(|old| {
                        old.vault.my_role().is_some() || !old.vault.ended_members().is_empty()
                    });
                if is_old {
                    // One that is away cannot write its name into the new one.
                    if let Ok(old) = node.vaults.open_id(id) {
                        names::remember(node, &others, &old)?;
                    }
                    node.vaults.drop_hidden(id)?;
                }
            }
        }
    }
    Ok(node.vaults.hidden())
}

/// The hidden vault that counts, with its genesis, for another device of the principal.
///
/// # Errors
/// What the store says.
pub fn shown_to(node: &Node, from: &NodeId) -> Result<Answer, Problem> {
    if !super::is_own(node, from)? {
        return Ok(Answer::refused(Refusal::Refused));
    }
    let others = super::others(node)?;
    let shown = current(node, &others).filter(|open| open.vault.role_of(from).is_some());
    Ok(Answer::Hidden(
        shown.map(|open| open.vault.genesis().as_bytes().to_vec()),
    ))
}

/// What stands below the folder `dir` of a hidden vault: name and content. What is longer than anything that we write
/// is left out.
///
/// # Errors
/// What the vault says.
pub fn read(open: &InUse, dir: &str) -> Result<Vec<(String, Vec<u8>)>, Problem> {
    let wrong = |error: VaultError| vault_problem("of own devices", error);
    let view = open.vault.view(At::Now).map_err(wrong)?;
    let path = SecretPath::parse(dir).expect("a name");
    if !view.exists(&path).map_err(wrong)? {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for name in view.names(&path).map_err(wrong)? {
        let text = format!("{dir}/{}", name.name);
        let Ok(at) = SecretPath::parse(&text) else {
            continue;
        };
        let content = view.open(&at).and_then(|reader| reader.into_bytes(MAX_VALUE_LEN));
        if let Ok(content) = content {
            found.push((name.name, content.expose().to_vec()));
        }
    }
    Ok(found)
}
