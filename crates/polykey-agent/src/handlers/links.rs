//! The calls on links between nodes.

use std::sync::Arc;
use std::time::Duration;

use polykey_api::links::{ClaimItem, ClaimList, InviteNode, Linked, NodeInvited, ReadClaims, Unlinked};
use polykey_api::nodes::OneNode;
use polykey_api::{Code, Problem};
use polykey_core::clock::SystemClock;
use polykey_core::random::OsRandom;
use polykey_core::{Clock, NodeId};
use polykey_trust::book;
use polykey_trust::claim::{Body, Claim};
use polykey_trust::invitation::LIFETIME;
use polykey_trust::link::LinkType;
use polykey_trust::sigchain::Chain;

use super::nodes::enter;
use crate::agent::Agent;
use crate::blocking::blocking;
use crate::door::{Action, Caller};
use crate::failure;
use crate::gestalts::named;
use crate::links;
use crate::node::Node;
use crate::post::RETRIES;
use crate::post::courier::Delivered;
use crate::post::notification::{Content, Notification};
use crate::tickets::MAX_LIFE;

/// The node that is meant, which is another one.
async fn about(
    agent: &Agent,
    caller: &Caller,
    event: &'static str,
    who: &str,
) -> Result<(Arc<Node>, NodeId), Problem> {
    let (node, id) = enter(agent, caller, event, who).await?;
    if id == node.id() {
        return Err(Problem::new(Code::Usage, "this is the node itself"));
    }
    Ok((node, id))
}

/// Invites a node, and tells it.
pub async fn invite(agent: Agent, caller: Caller, q: InviteNode) -> Result<NodeInvited, Problem> {
    let (node, who) = about(&agent, &caller, "identities.invite", &q.who).await?;
    let life = q.expires.map_or(LIFETIME, Duration::from_millis);
    if life > MAX_LIFE {
        return Err(Problem::new(Code::Usage, "an invitation lasts a year at most"));
    }
    agent.settle_past(&node, &[who]).await?;
    let here = node.clone();
    let (expires, outgoing) = blocking(move || {
        let invitation = links::invite(&here, who, LinkType::Node, life)?;
        let (kind, expires) = (invitation.kind, invitation.expires);
        let now = SystemClock.now();
        let content = Content::GestaltInvite { kind, expires };
        let notification = Notification::sign(&here.root, who, now, content, &OsRandom);
        Ok((expires, here.post.send(notification, RETRIES, now)?))
    })
    .await?;
    let delivered = agent.deliver(&node, &outgoing).await?;
    Ok(NodeInvited {
        node_id_encoded: who.to_string(),
        expires: expires.as_millis(),
        delivered: delivered == Delivered::Yes,
    })
}

/// Makes a link.
pub async fn claim(agent: Agent, caller: Caller, q: OneNode) -> Result<Linked, Problem> {
    let (node, who) = about(&agent, &caller, "nodes.claim", &q.who).await?;
    let claim = agent.claim(&node, who, LinkType::Node).await?;
    Ok(Linked {
        success: true,
        node_id_encoded: who.to_string(),
        claim_id: claim.id().to_string(),
    })
}

/// Ends links.
pub async fn unclaim(agent: Agent, caller: Caller, q: OneNode) -> Result<Unlinked, Problem> {
    let (node, who) = about(&agent, &caller, "nodes.unclaim", &q.who).await?;
    let ended = blocking(move || match links::end(&node, who, LinkType::Node)? {
        0 => Err(Problem::new(
            Code::NodeNotFound,
            format!(
                "this node has no link with the node {}",
                node.contacts.title(&who)
            ),
        )
        .hint("see `polykey nodes claims`")),
        ended => Ok(ended),
    })
    .await?;
    agent.spread_chain(None);
    Ok(Unlinked {
        node_id_encoded: who.to_string(),
        ended: ended as u64,
    })
}

/// Shows a sigchain.
pub async fn claims(agent: Agent, caller: Caller, q: ReadClaims) -> Result<ClaimList, Problem> {
    let mut action = Action::new("nodes.claims");
    action.targets.extend(q.who.clone());
    let node = agent.enter(&caller, action).await?.node().clone();
    let who = match &q.who {
        Some(who) => named::node(&node, who).await?,
        None => node.id(),
    };
    if who != node.id() {
        agent.look_at_chain(who).await;
    }
    blocking(move || {
        let chain = node.db.read(|tx| book::chain(tx, &who));
        let chain = chain.map_err(|error| failure::trust(&error))?.ok_or_else(|| {
            Problem::new(
                Code::NodeNotFound,
                format!(
                    "nothing is known yet of what the node {} says",
                    node.contacts.title(&who)
                ),
            )
            .hint("it is asked when it is connected: `polykey nodes ping`")
        })?;
        Ok(ClaimList {
            claims: chain.entries().iter().map(|claim| item(&chain, claim)).collect(),
        })
    })
    .await
}

fn item(chain: &Chain, claim: &Claim) -> ClaimItem {
    let (about, ended) = match claim.body() {
        Body::Start(_) => (None, chain.is_ended()),
        Body::KeyRecord(_) | Body::Resume => (None, chain.is_revoked(&claim.id())),
        Body::Link(link) => (
            link.other_end(&chain.node()).map(|node| node.to_string()),
            !chain.links().any(|held| held.id() == link.id()),
        ),
        Body::Identity(identity) => (Some(identity.to_string()), chain.is_revoked(&claim.id())),
        Body::Rotate(rotation) => (
            Some(rotation.successor().to_string()),
            chain.is_revoked(&claim.id()),
        ),
        Body::Succeed(rotation) => (Some(rotation.node().to_string()), chain.is_revoked(&claim.id())),
        Body::Revoke(id) => (Some(id.to_string()), false),
        Body::DeviceRemoved(node) => (Some(node.to_string()), !chain.removed_devices().contains(node)),
    };
    ClaimItem {
        claim_id: claim.id().to_string(),
        number: claim.number(),
        kind: claim.body().name().to_owned(),
        time: claim.created().as_millis(),
        about,
        ended,
    }
}
