//! The calls on who is in a vault.

use std::collections::BTreeSet;
use std::time::Duration;

use polykey_api::sharing::{
    Adopt, AsideItem, AsideList, Candidate, CandidateList, CandidateProof, Candidates, CopyItem, Invite,
    Invited, Join, Joined, MemberItem, MemberList, PermissionItem, PermissionList, Rotation, Share, Shared,
    Unshare, Unshared, VaultStatus,
};
use polykey_api::vaults::{Committed, OneVault};
use polykey_api::{Code, Problem};
use polykey_core::clock::SystemClock;
use polykey_core::{Clock, NodeId};
use polykey_trust::gestalt::Vertex;
use polykey_vault::charter::Role;
use polykey_vault::{AsideCommit, AsideReason, VaultError};

use crate::agent::Agent;
use crate::blocking::blocking;
use crate::devices::principals;
use crate::door::{Action, Caller};
use crate::failure;
use crate::follow::bring::bring_in;
use crate::follow::fresh;
use crate::gestalts::View;
use crate::gestalts::named;
use crate::node::Node;
use crate::replicas::Trouble;
use crate::sharing::{
    self, LetIn, invite, is_us, member_item, open_as_admin, rotation_item, waiting_item, wanted,
};
use crate::tickets::LIFE;
use crate::vaults::InUse;
use crate::vaults::history::rfc3339;
use crate::vaults::problem::vault_problem;

/// Who is meant: the one node that was named, or those that speak for somebody.
struct Meant {
    whom: Vec<Vertex>,
    nodes: Vec<NodeId>,
    /// True when the user named the one node itself.
    is_direct: bool,
}

fn meant(node: &Node, view: &View, who: &str) -> Result<Meant, Problem> {
    let whom = named::members(&node.contacts, view, who)?;
    let is_direct = matches!(whom[..], [Vertex::Node(_)]);
    let mut nodes = named::nodes(node, view, who)?;
    if is_direct && nodes == [node.id()] {
        return Err(Problem::new(Code::Usage, "this is the node itself"));
    }
    nodes.retain(|other| *other != node.id());
    Ok(Meant {
        whom,
        nodes,
        is_direct,
    })
}

/// Shows which nodes are meant when a vault is shared with somebody.
pub async fn candidates(agent: Agent, caller: Caller, q: Candidates) -> Result<CandidateList, Problem> {
    let action = Action::new("vaults.candidates").vault(&q.vault).target(&q.who);
    let node = agent.enter(&caller, action).await?.node().clone();
    blocking(move || {
        let vault = open_as_admin(&node, &q.vault)?;
        let view = node.gestalts.view()?;
        let meant = meant(&node, &view, &q.who)?;
        let candidates = meant
            .nodes
            .iter()
            .map(|id| candidate(&node, &view, &vault, &meant.whom, id));
        Ok(CandidateList {
            direct: meant.is_direct,
            candidates: candidates.collect::<Result<_, _>>()?,
        })
    })
    .await
}

fn candidate(
    node: &Node,
    view: &View,
    vault: &InUse,
    whom: &[Vertex],
    id: &NodeId,
) -> Result<Candidate, Problem> {
    let mut confirmed = view.records.contains_key(id);
    for vertex in whom {
        confirmed |= node.people.was_confirmed(vertex, id)?;
    }
    let proofs = view.pages.iter().filter_map(|(identity, page)| {
        let live = page.live.filter(|live| live.proof.node == *id)?;
        Some(CandidateProof {
            identity: identity.to_string(),
            since: live.since.as_millis(),
            checked: live.checked.as_millis(),
        })
    });
    let devices = view.graph.principal(id);
    Ok(Candidate {
        node_id_encoded: id.to_string(),
        petname: node.contacts.find(id).and_then(|contact| contact.petname),
        confirmed,
        role: vault.vault.role_of(id).map(|role| role.to_string()),
        proofs: proofs.collect(),
        devices: devices
            .iter()
            .filter(|device| *device != id && **device != node.id())
            .map(ToString::to_string)
            .collect(),
        doubtful: is_doubtful(view, id),
    })
}

fn is_doubtful(view: &View, id: &NodeId) -> bool {
    let gestalt = view.graph.gestalt(&Vertex::Node(*id));
    gestalt.is_some_and(|gestalt| gestalt.doubtful.contains(id))
}

/// The nodes to let in: the one that was named, or those of the person that the user confirmed.
fn chosen(meant: &Meant, q: &Share) -> Result<Vec<NodeId>, Problem> {
    let Some(confirmed) = &q.nodes else {
        return match meant.is_direct {
            true => Ok(meant.nodes.clone()),
            false => Err(
                Problem::new(Code::Usage, format!("{} may be several nodes", q.who))
                    .hint("say which: `polykey vaults share` asks on a terminal, `--yes` takes those confirmed before"),
            ),
        };
    };
    let confirmed: Vec<NodeId> = confirmed
        .iter()
        .filter_map(|text| text.parse().ok())
        .filter(|id| meant.nodes.contains(id))
        .collect();
    match confirmed.len() == q.nodes.as_ref().map_or(0, Vec::len) && !confirmed.is_empty() {
        true => Ok(confirmed),
        // What was shown to the user may have changed since.
        false => Err(Problem::new(
            Code::Usage,
            format!("these are not the nodes that speak for {}", q.who),
        )),
    }
}

/// Lets somebody in.
pub async fn share(agent: Agent, caller: Caller, q: Share) -> Result<Shared, Problem> {
    let action = Action::new("vaults.share").vault(&q.vault).target(&q.who);
    let node = agent.enter(&caller, action).await?.node().clone();
    let wanted = wanted(q.role.as_deref())?;
    let (shared, nodes) = blocking(move || {
        let view = node.gestalts.view()?;
        let meant = meant(&node, &view, &q.who)?;
        let nodes = chosen(&meant, &q)?;
        if let Some(doubtful) = nodes.iter().find(|id| is_doubtful(&view, id)) {
            return Err(Problem::new(
                Code::NotAllowed,
                format!("the signed history of node {doubtful} was forked: somebody else may have its key"),
            )
            .hint("ask its owner, who can settle it with the recovery code; see `polykey notifications inbox read`"));
        }
        let vault = open_as_admin(&node, &q.vault)?;
        let mut pending = false;
        let mut role = wanted.role();
        for id in &nodes {
            principals::note_decision(&node, &vault.id, id, true)?;
            match sharing::let_in(&node, &vault, *id, wanted)? {
                LetIn::Now(got) => role = got,
                LetIn::Waits => pending = true,
            }
        }
        for whom in &meant.whom {
            // A domain stands for two identities; the nodes of each are noted under its own name.
            let of_it: Vec<NodeId> = (view.nodes_of(whom).into_iter())
                .filter(|id| nodes.contains(id))
                .collect();
            if !of_it.is_empty() && wanted.role().reads() {
                node.people.share(&view, vault.id, whom, &of_it)?;
            }
        }
        // Their devices come with them.
        let mut touched = principals::follow_one(&node, &vault)?;
        touched.extend(&nodes);
        let shared = Shared {
            vault_id: vault.id.to_string(),
            vault_name: vault.name,
            node_id_encoded: nodes[0].to_string(),
            role: role.to_string(),
            pending,
            nodes: match nodes.len() {
                1 => Vec::new(),
                _ => nodes.iter().map(ToString::to_string).collect(),
            },
        };
        Ok((shared, touched))
    })
    .await?;
    for id in nodes {
        agent.run_errands(id);
    }
    agent.step_soon();
    Ok(shared)
}

/// Takes somebody out.
pub async fn unshare(agent: Agent, caller: Caller, q: Unshare) -> Result<Unshared, Problem> {
    let action = Action::new("vaults.unshare").vault(&q.vault).target(&q.who);
    let node = agent.enter(&caller, action).await?.node().clone();
    let (unshared, nodes) = blocking(move || {
        let view = node.gestalts.view()?;
        let whom = named::members(&node.contacts, &view, &q.who)?;
        let direct = match whom[..] {
            [Vertex::Node(id)] => Some(id),
            _ => None,
        };
        if direct == Some(node.id()) {
            return Err(Problem::new(Code::Usage, "this is the node itself"));
        }
        let vault = open_as_admin(&node, &q.vault)?;
        // The devices that came with somebody go with them.
        let mut gone: BTreeSet<NodeId> = match direct {
            Some(id) => BTreeSet::from([id]),
            None => match node.people.part(&vault, &whom, &q.who) {
                // Another device of the user shared it with them: those who speak for them are meant.
                Err(problem) if problem.code == Code::NodeNotFound => {
                    let speaking = whom.iter().flat_map(|vertex| view.nodes_of(vertex));
                    let inside: BTreeSet<NodeId> = speaking
                        .filter(|id| *id != node.id() && vault.vault.role_of(id).is_some())
                        .collect();
                    match inside.is_empty() {
                        true => return Err(problem),
                        false => inside,
                    }
                }
                parted => parted?,
            },
        };
        let main = gone.iter().next().copied().unwrap_or(node.id());
        gone.extend(principals::devices_of(&node, &vault.id, &gone)?);
        let mut rotate = Vec::new();
        for id in &gone {
            principals::note_decision(&node, &vault.id, id, false)?;
            match sharing::take_out(&node, &vault, *id) {
                Ok(taken) => rotate.extend(taken.rotate),
                // It left by itself.
                Err(problem) if direct != Some(*id) && problem.code == Code::NodeNotFound => {}
                Err(problem) => return Err(problem),
            }
            node.people.took_out(vault.id, *id)?;
        }
        rotate.sort_by(|a, b| a.path.cmp(&b.path));
        rotate.dedup_by(|a, b| a.path == b.path);
        let unshared = Unshared {
            vault_id: vault.id.to_string(),
            vault_name: vault.name,
            node_id_encoded: main.to_string(),
            rotate,
        };
        Ok((unshared, gone))
    })
    .await?;
    for id in nodes {
        agent.run_errands(id);
    }
    Ok(unshared)
}

/// Goes through the door, then looks at a vault.
async fn look<T: Send + 'static>(
    agent: &Agent,
    caller: &Caller,
    event: &'static str,
    q: OneVault,
    look: impl FnOnce(&Node, InUse) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let pass = agent.enter(caller, Action::new(event).vault(&q.vault)).await?;
    let node = pass.node().clone();
    blocking(move || look(&node, node.vaults.open(&q.vault)?)).await
}

/// The members.
pub async fn members(agent: Agent, caller: Caller, q: OneVault) -> Result<MemberList, Problem> {
    look(&agent, &caller, "vaults.members", q, |node, vault| {
        let view = node.gestalts.view()?;
        let fresh = fresh::all(&node.db, &vault.id).map_err(|error| failure::store(&error))?;
        let mut members: Vec<MemberItem> = vault
            .vault
            .members()
            .iter()
            .map(|member| MemberItem {
                last_sync: fresh
                    .iter()
                    .find(|(node, _)| *node == member.node)
                    .map(|(_, fresh)| fresh.time.as_millis()),
                ..member_item(node, &view, &vault, member)
            })
            .collect();
        let waiting = node.shares.waiting()?;
        let waiting = waiting.iter().filter(|pending| pending.vault == vault.id);
        members.extend(waiting.map(|pending| waiting_item(node, &view, &pending.node, pending.role)));
        Ok(MemberList { members })
    })
    .await
}

/// What each member may do.
pub async fn permissions(agent: Agent, caller: Caller, q: OneVault) -> Result<PermissionList, Problem> {
    look(&agent, &caller, "vaults.permissions", q, |node, vault| {
        let members = vault.vault.members();
        let others = members.iter().filter(|member| !is_us(node, &vault, &member.node));
        Ok(PermissionList {
            permissions: others
                .map(|member| PermissionItem {
                    vault_id_encoded: vault.id.to_string(),
                    node_id_encoded: member.node.to_string(),
                    vault_permission_list: verbs(member.role).iter().map(ToString::to_string).collect(),
                })
                .collect(),
        })
    })
    .await
}

/// The verbs of the original, and ours for what it does not have.
fn verbs(role: Role) -> &'static [&'static str] {
    match role {
        Role::Admin => &["clone", "pull", "write", "admin"],
        Role::Writer => &["clone", "pull", "write"],
        Role::Reader => &["clone", "pull"],
        Role::Keeper => &["keep"],
    }
}

/// What to rotate.
pub async fn rotation(agent: Agent, caller: Caller, q: OneVault) -> Result<Rotation, Problem> {
    look(&agent, &caller, "vaults.rotation", q, |_, vault| {
        let exposed = vault
            .vault
            .rotation()
            .map_err(|error| vault_problem(&vault.name, error))?;
        Ok(Rotation {
            rotate: exposed.iter().map(rotation_item).collect(),
        })
    })
    .await
}

/// Makes a ticket.
pub async fn invite(agent: Agent, caller: Caller, q: Invite) -> Result<Invited, Problem> {
    let mut action = Action::new("vaults.invite").vault(&q.vault);
    if let Some(to) = &q.to {
        action = action.target(to);
    }
    let pass = agent.enter(&caller, action).await?;
    let node = pass.node().clone();
    let to = match &q.to {
        Some(who) => Some(named::confirmed_node(&node, who).await?),
        None => None,
    };
    let wanted = wanted(q.role.as_deref())?;
    let life = q.expires.map_or(LIFE, Duration::from_millis);
    let addresses = invite::own_addresses(agent.network());
    blocking(move || {
        let (ticket, vault) = invite::make(&node, &q.vault, wanted, life, to, &addresses)?;
        Ok(Invited {
            ticket: ticket.to_text(),
            vault_id: vault.id.to_string(),
            vault_name: vault.name,
            role: wanted.role().to_string(),
            expires: ticket.expires.as_millis(),
        })
    })
    .await
}

/// Redeems a ticket: meets its issuer, gets the role and brings the vault in. When the vault does not come now,
/// because the issuer went away in between, the ticket can be redeemed again by this node.
pub async fn join(agent: Agent, caller: Caller, q: Join) -> Result<Joined, Problem> {
    let node = agent
        .enter(&caller, Action::new("vaults.join"))
        .await?
        .node()
        .clone();
    let here = node.clone();
    let ticket = blocking(move || {
        let ticket = invite::read(&here, &q.ticket)?;
        invite::meet_issuer(&here, &ticket)?;
        Ok(ticket)
    })
    .await?;
    let issuer = ticket.issuer;
    let (id, role) = invite::bring(&agent, &node, &ticket).await?;
    let title = node.contacts.title(&issuer);
    let running = agent
        .network()
        .running()
        .ok_or_else(|| Problem::new(Code::NodeUnreachable, "this node is not on the network"))?;
    let brought = bring_in(&running, &node, issuer, id, |_, _| {}).await?;
    let is_kept = node.vaults.is_kept(id);
    if let Some(problem) = brought.problem {
        return Err(problem.hint(match is_kept {
            true => "this node keeps the vault from now on, and goes on by itself".to_owned(),
            false => format!(
                "the node {title} let this node in; run the same command again, or `polykey vaults clone {id} {issuer}`"
            ),
        }));
    }
    if is_kept {
        return Ok(Joined {
            vault_id: id.to_string(),
            vault_name: String::new(),
            role: role.to_string(),
            node_id_encoded: issuer.to_string(),
        });
    }
    blocking(move || {
        let items = node.vaults.list(false);
        let id = id.to_string();
        let item = items.iter().find(|item| item.vault_id_encoded == id);
        let name = item.map_or(brought.name, |item| item.vault_name.clone());
        Ok(Joined {
            vault_id: id,
            vault_name: name,
            role: role.to_string(),
            node_id_encoded: issuer.to_string(),
        })
    })
    .await
}

/// Where copies of a vault are.
pub async fn status(agent: Agent, caller: Caller, q: OneVault) -> Result<VaultStatus, Problem> {
    look(&agent, &caller, "vaults.status", q, |node, vault| {
        let problem = |error| vault_problem(&vault.name, error);
        let state = vault.vault.sync_state().map_err(problem)?;
        let known = fresh::all(&node.db, &vault.id).map_err(|error| failure::store(&error))?;
        let members = vault.vault.members();
        let others = members.iter().filter(|member| !is_us(node, &vault, &member.node));
        let mut copies: Vec<CopyItem> = others
            .map(|member| {
                let known = known.iter().find(|(node, _)| *node == member.node);
                let trouble = node.replicas.trouble(vault.id, member.node);
                CopyItem {
                    place: member.node.to_string(),
                    kind: member.role.to_string(),
                    last_sync: known.map(|(_, fresh)| fresh.time.as_millis()),
                    // Without room for the content, the commits are there all the same.
                    fresh: trouble.is_none() && known.is_some_and(|(_, fresh)| state.is_held_by(&fresh.seen)),
                    trouble: trouble.map(|trouble| trouble.as_str().to_owned()),
                }
            })
            .collect();
        copies.extend(node.replicas.copies(&vault, &state)?);
        // Whoever was let in and never came for it holds nothing yet.
        let is_there = |copy: &&CopyItem| {
            copy.last_sync.is_some() && copy.trouble.as_deref() != Some(Trouble::Dropped.as_str())
        };
        let is_ciphertext = |copy: &&CopyItem| copy.kind == "keeper" || copy.kind == "folder";
        let there: Vec<&CopyItem> = copies.iter().filter(is_there).collect();
        let ciphertext_copies = there.iter().filter(|copy| is_ciphertext(copy)).count() as u64;
        let now = SystemClock.now().as_millis();
        let behind = copies.iter().filter(|copy| !copy.fresh);
        let oldest_lag = behind.filter_map(|copy| copy.last_sync).min();
        Ok(VaultStatus {
            vault_id: vault.id.to_string(),
            vault_name: vault.name.clone(),
            role: vault
                .vault
                .my_role()
                .map_or("none".to_owned(), |role| role.to_string()),
            full_copies: there.len() as u64 - ciphertext_copies + 1,
            ciphertext_copies,
            fresh_copies: copies.iter().filter(|copy| copy.fresh).count() as u64 + 1,
            oldest_lag: oldest_lag.map(|seen| now.saturating_sub(seen)),
            copies,
        })
    })
    .await
}

/// The commits that are kept and do not count.
pub async fn set_aside(agent: Agent, caller: Caller, q: OneVault) -> Result<AsideList, Problem> {
    look(&agent, &caller, "vaults.set-aside", q, |_, vault| {
        let aside = vault
            .vault
            .set_aside()
            .map_err(|error| vault_problem(&vault.name, error))?;
        let item = |commit: &AsideCommit| AsideItem {
            commit_id: commit.commit.to_string(),
            committer: commit.author.to_string(),
            timestamp: rfc3339(commit.time),
            message: commit.message.clone(),
            reason: match commit.reason {
                AsideReason::NoRight => "no-right",
                AsideReason::Removed(_) => "removed",
                AsideReason::Fork => "fork",
                AsideReason::Closed => "closed",
                AsideReason::Malformed => "malformed",
            }
            .to_owned(),
            paths: commit.changes.iter().map(|(path, _)| path.to_string()).collect(),
            settled: commit.settled,
        };
        Ok(AsideList {
            commits: aside.iter().map(item).collect(),
        })
    })
    .await
}

/// Makes a commit that does not count a change of this node.
pub async fn adopt(agent: Agent, caller: Caller, q: Adopt) -> Result<Committed, Problem> {
    let action = Action::new("vaults.adopt").vault(&q.vault).target(&q.commit);
    let node = agent.enter(&caller, action).await?.node().clone();
    blocking(move || {
        let vault = node.vaults.open(&q.vault)?;
        let problem = |error| vault_problem(&vault.name, error);
        // Only what is set aside can be adopted, so the beginning of an id is looked for there alone.
        let aside = vault.vault.set_aside().map_err(problem)?;
        let begins =
            |commit: &&AsideCommit| !q.commit.is_empty() && commit.commit.to_string().starts_with(&q.commit);
        let found: Vec<_> = aside.iter().filter(begins).collect();
        let commit = match found[..] {
            [only] => only.commit,
            [] => return Err(problem(VaultError::NoSuchCommit { commit: q.commit })),
            _ => return Err(problem(VaultError::Ambiguous { text: q.commit })),
        };
        let made = vault.vault.adopt(commit).map_err(problem)?;
        Ok(Committed {
            vault_id: vault.id.to_string(),
            commit_id: made.map(|made| made.to_string()),
        })
    })
    .await
}
