//! Vaults that this node does not administer, when a device is removed.
//!
//! Only an admin takes a member out, and what makes it do so is its own view of who belongs to whom: one that came in
//! as a device of this one goes by itself, one that was let in first stays until a user decides. So the admins are told
//! what our chain says, and what they made of it is looked at before the user has an answer.
//!
//! Always: a vault in which the removed device is still a member is in the answer.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use polykey_api::Problem;
use polykey_api::devices::LeftVault;
use polykey_core::{NodeId, VaultId};
use polykey_vault::charter::Member;
use tokio::time::timeout;

use super::removal::exposed_to;
use crate::agent::Agent;
use crate::blocking::blocking;
use crate::follow::bring::bring_in;
use crate::node::Node;
use crate::sharing::{is_us, member_item};
use crate::vaults::InUse;

/// What an admin makes of our chain is waited for so long; who is slower does it later.
const PATIENCE: Duration = Duration::from_secs(10);

/// The vault, when `device` is in it and this node is in and no admin.
///
/// # Errors
/// What the store says.
pub fn left_in(node: &Node, open: &InUse, device: NodeId) -> Result<Option<LeftVault>, Problem> {
    let members = open.vault.members();
    let it = members.iter().find(|member| member.node == device);
    let us = members.iter().find(|member| is_us(node, open, &member.node));
    let (Some(it), Some(us)) = (it, us.filter(|us| !us.role.administers())) else {
        return Ok(None);
    };
    let view = node.gestalts.view()?;
    let may_take_out = |member: &&Member| member.role.administers() && member.node != device;
    Ok(Some(LeftVault {
        vault_id: open.id.to_string(),
        vault_name: open.name.clone(),
        removed: false,
        rotate: Vec::new(),
        let_in: Vec::new(),
        admins: Some(
            (members.iter().filter(may_take_out))
                .map(|member| member_item(node, &view, open, member))
                .collect(),
        ),
        was_first: it.since <= us.since,
    }))
}

/// Vaults and their admins, of those in `left` that others administer.
fn to_ask(left: &[LeftVault]) -> Vec<(VaultId, Vec<NodeId>)> {
    let of = |vault: &LeftVault| {
        let admins = vault.admins.as_ref()?.iter();
        let admins = admins.filter_map(|admin| admin.node_id_encoded.parse().ok());
        Some((vault.vault_id.parse().ok()?, admins.collect()))
    };
    left.iter()
        .filter(|vault| !vault.removed)
        .filter_map(of)
        .collect()
}

impl Agent {
    /// Tells the admins of the vaults in which `device` was left what our chain says, and all others that are
    /// connected; then notes in `left` where they have taken it out.
    ///
    /// # Errors
    /// What the store and the vaults say.
    pub async fn settle_removal(
        &self,
        node: &Arc<Node>,
        device: NodeId,
        mut left: Vec<LeftVault>,
    ) -> Result<Vec<LeftVault>, Problem> {
        let asked = to_ask(&left);
        let mut admins: Vec<NodeId> = asked.iter().flat_map(|(_, admins)| admins).copied().collect();
        admins.sort_unstable_by_key(|admin| *admin.as_bytes());
        admins.dedup();
        self.spread_chain_but(&admins);
        let Some(running) = self.network().running().filter(|_| !asked.is_empty()) else {
            return Ok(left);
        };
        let tells = admins.iter().map(|admin| self.tell_chain(node, *admin));
        // Who is away hears of it when it comes.
        join_all(tells.map(|tell| timeout(PATIENCE, tell))).await;
        let there = running.connected();
        let pulls = asked.iter().flat_map(|(vault, admins)| {
            let pull = |admin: &NodeId| bring_in(&running, node, *admin, *vault, |_, _| {});
            let admins = admins.iter().filter(|admin| there.contains(admin));
            admins.map(pull).collect::<Vec<_>>()
        });
        join_all(pulls.map(|pull| timeout(PATIENCE, pull))).await;
        let here = node.clone();
        blocking(move || {
            for (vault, _) in asked {
                // What cannot be looked at counts as left.
                let Ok(open) = here.vaults.open_id(vault) else {
                    continue;
                };
                let is_in = open.vault.role_of(&device).is_some();
                let of = |left: &&mut LeftVault| left.vault_id == vault.to_string();
                if let Some(left) = left.iter_mut().find(of).filter(|_| !is_in) {
                    left.removed = true;
                    left.rotate = exposed_to(&open, &[device].into())?;
                }
            }
            Ok(left)
        })
        .await
    }
}
