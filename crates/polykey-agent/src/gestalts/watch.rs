//! What follows when it becomes known that somebody belongs to somebody: the user is told whom permissions reach now and
//! who turned up beside people, and vaults are brought level with the devices of their members.
//!
//! Always: what runs here ends with the network; it grants nothing but what `device` claims and the user's own word
//! together say.

use std::sync::Arc;

use polykey_api::Problem;
use polykey_core::clock::SystemClock;
use polykey_core::random::OsRandom;
use polykey_core::{Clock, NodeId};
use tokio::sync::watch;

use crate::agent::Agent;
use crate::blocking::blocking;
use crate::devices::{principals, told};
use crate::node::Node;
use crate::post::{Letter, Tray};
use crate::sharing::people;

/// Runs until the network stops.
pub async fn run(agent: Agent, mut stop: watch::Receiver<bool>) {
    let Some(node) = agent.node() else { return };
    let mut changes = node.gestalts.changes();
    // What became known while nobody watched.
    changes.mark_changed();
    loop {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            changed = changes.changed() => if changed.is_err() { return },
        }
        if let Err(problem) = agent.network().refresh_members(&node).await {
            tracing::warn!("the members are those of before: {problem}");
        }
        let here: Arc<Node> = node.clone();
        match blocking(move || settle(&here)).await {
            Ok(touched) => touched.into_iter().for_each(|id| agent.run_errands(id)),
            Err(problem) => tracing::warn!("what became known has no effect yet: {problem}"),
        }
    }
}

/// Tells of permissions that came and went, and follows people. Says whom to bring their post.
fn settle(node: &Node) -> Result<Vec<NodeId>, Problem> {
    for notice in node.gestalts.settle()? {
        let came = notice.before.is_empty();
        let ends = came || notice.now.is_empty();
        // A node with new keys is told of by itself.
        let is_succession =
            node.contacts.successor(&notice.node).is_some() || node.contacts.succeeds(&notice.node);
        if !ends || is_succession || notice.node == node.id() {
            continue;
        }
        if came {
            node.contacts.meet(notice.node)?;
        }
        let letter = Letter::Reach {
            from: notice.node,
            came,
        };
        node.post
            .tell(Tray::Inbox, letter, SystemClock.now(), &OsRandom)?;
    }
    told::follow(node)?;
    people::propose(node)?;
    principals::follow_all(node)
}
