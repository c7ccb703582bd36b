//! Sharing: letting nodes into vaults, taking them out, and telling them.
//!
//! The vault's charter decides; what is here finds the keys of a node, changes the charter, and puts a word for
//! the other side into the outbox. A node whose keys are not known yet waits ([`shares`]) and is let in when
//! they were fetched and verified.
//!
//! Always: sharing and unsharing succeed without the network. Nothing is sealed to keys that were not verified.
//! Start at [`let_in`] and [`take_out`].

pub mod invite;
pub mod people;
pub mod shares;

use std::collections::BTreeSet;

use polykey_api::problem::typed;
use polykey_api::sharing::{MemberItem, RotationItem};
use polykey_api::{Code, Problem};
use polykey_core::clock::SystemClock;
use polykey_core::random::OsRandom;
use polykey_core::{Clock, NodeId, VaultName};
use polykey_vault::Exposed;
use polykey_vault::charter::{Joiner, Member, Role};

use crate::agent::Agent;
use crate::blocking::blocking;
use crate::gestalts::View;
use crate::network::known_keys;
use crate::node::Node;
use crate::peer::keys::NodeKeys;
use crate::post::RETRIES;
use crate::post::notification::{Content, Notification};
use crate::vaults::InUse;
use crate::vaults::history::rfc3339;
use crate::vaults::problem::vault_problem;
use shares::Pending;

/// Which role a share gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Exactly this one, also where the node has a better one.
    Exactly(Role),
    /// At least this one.
    AtLeast(Role),
}

impl Wanted {
    /// The role.
    pub fn role(self) -> Role {
        match self {
            Wanted::Exactly(role) | Wanted::AtLeast(role) => role,
        }
    }
}

/// The role with this name; a reader when none is named, and then a node keeps a better one.
///
/// # Errors
/// [`Code::Usage`].
pub fn wanted(name: Option<&str>) -> Result<Wanted, Problem> {
    let Some(name) = name else {
        return Ok(Wanted::AtLeast(Role::Reader));
    };
    name.parse().map(Wanted::Exactly).map_err(|_| {
        Problem::new(Code::Usage, format!("there is no role {name:?}"))
            .hint("use one of reader, writer, admin, keeper")
    })
}

/// Opens a vault that this node may share.
///
/// # Errors
/// [`Code::VaultNotFound`]; [`Code::NotAllowed`] for anybody but an admin.
pub fn open_as_admin(node: &Node, name: &str) -> Result<InUse, Problem> {
    let open = node.vaults.open(name)?;
    if open.vault.my_role().is_some_and(Role::administers) {
        return Ok(open);
    }
    Err(Problem::new(
        Code::NotAllowed,
        format!("only an admin of the vault {} may say who is in it", open.name),
    )
    .hint(format!("see `polykey vaults members {}`", typed(&open.name))))
}

/// How letting in went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LetIn {
    /// The node is in, with this role.
    Now(Role),
    /// It waits for its keys.
    Waits,
}

/// Lets `who` into a vault, or lets it wait when its keys are not known.
///
/// # Errors
/// [`Code::NotAllowed`] for anybody but an admin; what the store says.
pub fn let_in(node: &Node, vault: &InUse, who: NodeId, wanted: Wanted) -> Result<LetIn, Problem> {
    node.contacts.trust(who)?;
    let keys = known_keys(&node.contacts, &who);
    if keys.is_none() && wanted.role().reads() {
        let role = wanted.role();
        node.shares.wait(Pending {
            vault: vault.id,
            node: who,
            role,
        })?;
        return Ok(LetIn::Waits);
    }
    grant(node, vault, who, keys.as_ref(), wanted).map(LetIn::Now)
}

/// Lets `who` in with these keys, and tells it.
///
/// # Errors
/// As [`let_in`].
pub fn grant(
    node: &Node,
    vault: &InUse,
    who: NodeId,
    keys: Option<&NodeKeys>,
    wanted: Wanted,
) -> Result<Role, Problem> {
    let role = give(node, vault, who, keys, wanted)?;
    if role.reads() {
        let (id, name) = (vault.id, name_of(vault)?);
        tell(
            node,
            who,
            Content::VaultShare {
                vault: id,
                name,
                role,
            },
        )?;
    }
    Ok(role)
}

/// Lets `who` in with these keys, which finds it out by itself.
///
/// # Errors
/// As [`let_in`].
pub fn give(
    node: &Node,
    vault: &InUse,
    who: NodeId,
    keys: Option<&NodeKeys>,
    wanted: Wanted,
) -> Result<Role, Problem> {
    let role = wanted.role();
    let joiner = Joiner {
        node: who,
        role,
        keys: keys.filter(|_| role.reads()).map(NodeKeys::member_keys),
    };
    let granted = match wanted {
        Wanted::Exactly(_) => vault.vault.set_role(&joiner),
        Wanted::AtLeast(_) => vault.vault.grant(&joiner),
    };
    granted.map_err(|error| vault_problem(&vault.name, error))?;
    node.shares.wait_no_longer(vault.id, who)?;
    Ok(vault.vault.role_of(&who).unwrap_or(role))
}

/// What taking out found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenOut {
    /// What the node could read and what has not changed since.
    pub rotate: Vec<RotationItem>,
}

/// Takes `who` out of a vault, or off the list of those that wait.
///
/// # Errors
/// [`Code::NodeNotFound`] when it neither is in nor waits; [`Code::NotAllowed`] for anybody but an admin, and
/// for a node that ranks above.
pub fn take_out(node: &Node, vault: &InUse, who: NodeId) -> Result<TakenOut, Problem> {
    let problem = |error| vault_problem(&vault.name, error);
    let _alone = node.shares.alone();
    let waited = node.shares.wait_no_longer(vault.id, who)?;
    node.tickets.close_all_of(vault.id, who)?;
    match vault.vault.role_of(&who) {
        None if waited => return Ok(TakenOut { rotate: Vec::new() }),
        None => {
            return Err(Problem::new(
                Code::NodeNotFound,
                format!(
                    "the node {} is not in the vault {}",
                    node.contacts.title(&who),
                    vault.name
                ),
            )
            .hint(format!("see `polykey vaults members {}`", typed(&vault.name))));
        }
        Some(_) => {}
    }
    let removed = vault.vault.revoke(&who).map_err(problem)?;
    if removed.role.reads() {
        tell_unshared(node, vault, who)?;
    }
    // Also of a keeper, which may have been a reader before.
    let mut rotate = vault.vault.rotation().map_err(problem)?;
    rotate.retain(|exposed| exposed.nodes.contains(&who));
    Ok(TakenOut {
        rotate: rotate.iter().map(rotation_item).collect(),
    })
}

/// One secret to rotate.
pub fn rotation_item(exposed: &Exposed) -> RotationItem {
    RotationItem {
        path: exposed.path.to_string(),
        read_by: exposed.nodes.iter().map(ToString::to_string).collect(),
    }
}

/// One member; when it was last in step is not in it.
pub fn member_item(node: &Node, view: &View, vault: &InUse, member: &Member) -> MemberItem {
    MemberItem {
        since: Some(rfc3339(member.since)),
        granted_by: Some(member.granted_by.to_string()),
        this_node: is_us(node, vault, &member.node),
        pending: false,
        ..waiting_item(node, view, &member.node, member.role)
    }
}

/// One that waits for its keys.
pub fn waiting_item(node: &Node, view: &View, who: &NodeId, role: Role) -> MemberItem {
    let same = view.graph.principal(who);
    let identities: BTreeSet<_> = (same.iter().chain([who]))
        .flat_map(|device| view.graph.identities_of(device))
        .collect();
    MemberItem {
        node_id_encoded: who.to_string(),
        petname: node.contacts.find(who).and_then(|contact| contact.petname),
        gestalt: identities.iter().map(ToString::to_string).collect(),
        role: role.to_string(),
        since: None,
        granted_by: None,
        this_node: false,
        pending: true,
        last_sync: None,
    }
}

/// True for this node, also under the id of before its keys were reset, under which its vaults stay.
pub fn is_us(node: &Node, vault: &InUse, member: &NodeId) -> bool {
    *member == node.id() || vault.vault.me() == Some(*member)
}

fn name_of(vault: &InUse) -> Result<VaultName, Problem> {
    VaultName::parse(&vault.name)
        .map_err(|error| Problem::new(Code::Internal, "a vault has a name that is none").caused_by(&error))
}

/// Puts a word into the outbox: the vault is not shared with `who` any more.
///
/// # Errors
/// What the store says.
pub fn tell_unshared(node: &Node, vault: &InUse, who: NodeId) -> Result<(), Problem> {
    let (id, name) = (vault.id, name_of(vault)?);
    tell(node, who, Content::VaultUnshare { vault: id, name })
}

/// Puts a word for a node into the outbox. A full outbox is no reason not to share.
///
/// # Errors
/// What the store says.
pub fn tell(node: &Node, who: NodeId, content: Content) -> Result<(), Problem> {
    let now = SystemClock.now();
    let notification = Notification::sign(&node.root, who, now, content, &OsRandom);
    match node.post.send(notification, RETRIES, now) {
        Err(problem) if problem.code == Code::Busy => {
            tracing::warn!("{problem}: {who} is not told");
            Ok(())
        }
        sent => sent.map(drop),
    }
}

impl Agent {
    /// Does in the background what waits for `who`: lets it in where its keys were not known, brings it its post.
    pub fn run_errands(&self, who: NodeId) {
        let agent = self.clone();
        tokio::spawn(async move {
            agent.settle_shares(Some(who)).await;
            agent.settle_keepers(Some(who)).await;
            agent.deliver_post(Some(who)).await;
            agent.deliver_errands(Some(who)).await;
        });
    }

    /// Lets in those that wait and whose keys can be had now; only `who`, if that is given.
    pub async fn settle_shares(&self, who: Option<NodeId>) {
        let Some(node) = self.node() else { return };
        let waiting = match node.shares.waiting() {
            Ok(waiting) => waiting,
            Err(problem) => return tracing::warn!("{problem}"),
        };
        for pending in waiting {
            if who.is_some_and(|who| who != pending.node) {
                continue;
            }
            let Ok(keys) = self.network().keys_of(&node, pending.node).await else {
                continue;
            };
            let here = node.clone();
            let settled = blocking(move || settle(&here, pending, &keys)).await;
            if let Err(problem) = settled {
                tracing::warn!("a share waits on: {problem}");
            }
        }
    }
}

/// Lets in one that waited, unless that is not possible any more.
fn settle(node: &Node, pending: Pending, keys: &NodeKeys) -> Result<(), Problem> {
    let _alone = node.shares.alone();
    // Fetching the keys took its time: the user may have thought better of it.
    if !node.shares.waiting()?.contains(&pending) {
        return Ok(());
    }
    let vault = match node.vaults.open_id(pending.vault) {
        Ok(vault) => vault,
        Err(problem) if problem.code == Code::VaultNotFound => {
            return node.shares.wait_no_longer(pending.vault, pending.node).map(drop);
        }
        Err(problem) => return Err(problem),
    };
    if !vault.vault.my_role().is_some_and(Role::administers) {
        return node.shares.wait_no_longer(pending.vault, pending.node).map(drop);
    }
    grant(
        node,
        &vault,
        pending.node,
        Some(keys),
        Wanted::Exactly(pending.role),
    )
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::bench::{Bench, stranger};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn whoever_was_taken_out_while_its_keys_were_fetched_is_not_let_in() {
        let bench = Bench::new();
        let node = bench.node();
        node.vaults.create("work", None).expect("made");
        let open = node.vaults.open("work").expect("open");
        let keys = stranger();
        let who = keys.node();
        let wanted = Wanted::Exactly(Role::Reader);
        assert_eq!(let_in(&node, &open, who, wanted), Ok(LetIn::Waits));
        let pending = node.shares.waiting().expect("reads")[0];
        take_out(&node, &open, who).expect("taken off the list");
        settle(&node, pending, &keys).expect("nothing to do");
        assert_eq!(open.vault.role_of(&who), None);
        // Decided anew, it is let in; with the role that was decided last.
        assert_eq!(
            let_in(&node, &open, who, Wanted::Exactly(Role::Writer)),
            Ok(LetIn::Waits)
        );
        settle(&node, pending, &keys).expect("nothing to do");
        assert_eq!(open.vault.role_of(&who), None);
        let pending = node.shares.waiting().expect("reads")[0];
        settle(&node, pending, &keys).expect("let in");
        assert_eq!(open.vault.role_of(&who), Some(Role::Writer));
    }
}
