//! Whether a node that was made from a recovery code was somebody before.
//!
//! A second beginning of a sigchain speaks against its node, so such a node says nothing about itself until this is
//! settled. The user settles it with `recovery resume`; otherwise the first command that needs it does: whoever knows
//! no other node, or only nodes that do not know it, was nobody. What is published for everybody is not said by a node
//! that knows nobody: the user says first that it was nobody.
//!
//! Always: a node that somebody remembers goes on from there or not at all. To be mistaken is mended by
//! `recovery resume`, which the recovery key signs: until then whoever remembers the node keeps to that and tells its
//! user.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use polykey_api::{Code, Problem};
use polykey_core::NodeId;
use tokio::task::JoinSet;

use super::resume::begin_anew;
use crate::agent::Agent;
use crate::blocking::blocking;
use crate::node::Node;

/// So many nodes are asked.
const MAX_ASKED: usize = 16;

/// A node that may have been somebody before says nothing until that is settled.
///
/// # Errors
/// [`Code::NotAllowed`].
pub fn check_settled(node: &Node) -> Result<(), Problem> {
    match node.is_restored.load(Ordering::Acquire) {
        false => Ok(()),
        true => Err(unsettled(
            "this node was made from a recovery code, and may have been somebody before",
        )),
    }
}

fn unsettled(text: &str) -> Problem {
    Problem::new(Code::NotAllowed, text)
        .hint("run `polykey recovery resume`; with `--new` it was nobody before")
}

impl Agent {
    /// As [`settle_past`](Agent::settle_past), for what is meant for everybody: somebody who remembers the node may see
    /// it, although the node knows nobody.
    ///
    /// # Errors
    /// As there; [`Code::NotAllowed`] also when no node is known that could say it.
    pub async fn settle_past_for_all(&self, node: &Arc<Node>) -> Result<(), Problem> {
        if node.contacts.all().iter().all(|contact| contact.blocked) {
            return check_settled(node);
        }
        self.settle_past(node, &[]).await
    }

    /// Settles whether the node was somebody before, as far as the nodes that it knows, and `also`, can say.
    ///
    /// # Errors
    /// [`Code::NotAllowed`] when one of them remembers it, or none of them answers.
    pub async fn settle_past(&self, node: &Arc<Node>, also: &[NodeId]) -> Result<(), Problem> {
        if check_settled(node).is_ok() {
            return Ok(());
        }
        let known = node.contacts.all().into_iter();
        let known = known
            .filter(|contact| !contact.blocked)
            .map(|contact| contact.node);
        let mut from: BTreeSet<NodeId> = also.iter().copied().take(MAX_ASKED).collect();
        let room = MAX_ASKED - from.len();
        from.extend(known.take(room));
        let is_alone = from.is_empty();
        let mut asked = JoinSet::new();
        for peer in from {
            let (agent, node) = (self.clone(), node.clone());
            asked.spawn(async move { agent.ask_for_chain(&node, peer, node.id(), 0).await });
        }
        let mut answered = is_alone;
        while let Some(answer) = asked.join_next().await {
            match answer {
                Ok(Ok(entries)) if entries.is_empty() => answered = true,
                Ok(Ok(_)) => {
                    return Err(unsettled(
                        "this node was made from a recovery code, and another node remembers it from before",
                    ));
                }
                Ok(Err(problem)) if problem.code == Code::NotAllowed => answered = true,
                _ => {}
            }
        }
        if !answered {
            return check_settled(node);
        }
        tracing::info!("nobody remembers this node: it was nobody before");
        let here = node.clone();
        blocking(move || begin_anew(&here)).await
    }
}
