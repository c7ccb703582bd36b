//! The courier: takes what arrives to its box, and what waits to its node.

use std::sync::Arc;
use std::time::Duration;

use polykey_api::{Code, Problem};
use polykey_core::clock::SystemClock;
use polykey_core::{Clock, NodeId};
use tokio::sync::watch;

use super::notification::{Content, Notification};
use super::{Outgoing, Received, Tray};
use crate::agent::Agent;
use crate::blocking::blocking;
use crate::node::Node;
use crate::peer::{Answer, AskError, Refusal, Request};
use crate::sharing::shares::Offered;

/// The first look at what waits after the node came on the network; each further wait is twice as long.
const FIRST_ROUND: Duration = Duration::from_secs(2);
/// What waits is looked at this often at least. A connection with the node it is for brings it at once.
const LAST_ROUND: Duration = Duration::from_secs(60);

/// What became of one delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivered {
    /// It arrived.
    Yes,
    /// The node does not want it: it is not tried again.
    Refused,
    /// It is tried again later.
    Later,
}

/// Puts a notification that was verified where it belongs, and draws what follows from it. False when it is
/// not wanted.
///
/// # Errors
/// What the store says.
pub fn take(node: &Node, tray: Tray, notification: &Notification) -> Result<bool, Problem> {
    let now = SystemClock.now();
    if node.post.receive(tray, notification, now)? == Received::Refused {
        return Ok(false);
    }
    // What a stranger says waits for the user.
    if tray == Tray::Strangers {
        return Ok(true);
    }
    let from = notification.from();
    match notification.content() {
        Content::VaultShare { vault, name, role } => node.shares.offer(&Offered {
            vault: *vault,
            from,
            name: name.clone(),
            role: *role,
            time: now,
        })?,
        Content::VaultUnshare { vault, .. } => node.shares.withdraw(*vault, from)?,
        Content::Message(_) => {}
    }
    Ok(true)
}

/// Tries again and again what waits, until the network stops: less and less often while nothing comes of it.
pub async fn run(agent: Agent, mut stop: watch::Receiver<bool>) {
    let mut wait = FIRST_ROUND;
    loop {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(wait) => {}
        }
        agent.settle_shares(None).await;
        agent.settle_keepers(None).await;
        agent.deliver_post(None).await;
        wait = (wait * 2).min(LAST_ROUND);
    }
}

impl Agent {
    /// Another node leaves a notification, whose signature was not checked yet.
    ///
    /// # Errors
    /// What goes wrong here; what is no notification for us is a refusal.
    pub async fn take_post(
        &self,
        node: Arc<Node>,
        from: NodeId,
        tray: Tray,
        statement: Vec<u8>,
    ) -> Result<Answer, Problem> {
        let Ok(notification) = Notification::verify(statement) else {
            return Ok(Answer::refused(Refusal::Malformed));
        };
        // Nobody carries letters for others.
        if notification.from() != from || notification.to() != node.id() {
            return Ok(Answer::refused(Refusal::Refused));
        }
        let taken = blocking(move || take(&node, tray, &notification)).await?;
        Ok(match taken {
            true => Answer::Done,
            false => Answer::refused(Refusal::TooMuch),
        })
    }

    /// Tries to deliver one notification now.
    ///
    /// # Errors
    /// What the store says.
    pub async fn deliver(&self, node: &Arc<Node>, outgoing: &Outgoing) -> Result<Delivered, Problem> {
        let request = Request::Notify(outgoing.notification.as_bytes().to_vec());
        let asked = self.network().try_ask(outgoing.notification.to(), request).await;
        let (here, id) = (node.clone(), outgoing.id);
        let delivered = match asked {
            Ok(_) => Delivered::Yes,
            Err(AskError::Refused {
                refusal: Refusal::Refused | Refusal::Malformed,
                ..
            }) => Delivered::Refused,
            Err(_) => Delivered::Later,
        };
        blocking(move || match delivered {
            Delivered::Later => here.post.failed(id, SystemClock.now()),
            _ => here.post.drop_outgoing(id).map(drop),
        })
        .await?;
        Ok(delivered)
    }

    /// Delivers what is due, or all that is for `to`. A node that cannot be reached is tried once.
    pub async fn deliver_post(&self, to: Option<NodeId>) {
        let Some(node) = self.node() else { return };
        let now = SystemClock.now();
        let outbox = match node.post.outbox() {
            Ok(outbox) => outbox,
            Err(problem) if problem.code == Code::Locked => return,
            Err(problem) => return tracing::warn!("{problem}"),
        };
        let mut away = Vec::new();
        for outgoing in outbox {
            let whom = outgoing.notification.to();
            let due = to.map_or(outgoing.next <= now, |to| to == whom);
            if !due || away.contains(&whom) {
                continue;
            }
            match self.deliver(&node, &outgoing).await {
                Ok(Delivered::Later) => away.push(whom),
                Ok(_) => {}
                Err(problem) => return tracing::warn!("{problem}"),
            }
        }
    }
}
