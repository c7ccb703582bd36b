//! The courier: takes what arrives to its box, and what waits to its node.

use std::sync::Arc;
use std::time::Duration;

use polykey_api::{Code, Problem};
use polykey_core::clock::SystemClock;
use polykey_core::{Clock, NodeId, Timestamp};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::notification::{Content, Notification};
use super::{Outgoing, Received, Tray};
use crate::agent::Agent;
use crate::blocking::blocking;
use crate::chains::succession::signed_anew;
use crate::devices;
use crate::node::Node;
use crate::peer::{Answer, AskError, Refusal, Request};
use crate::sharing::shares::Offered;

/// The first look at what waits after the node came on the network; each further wait is twice as long.
const FIRST_ROUND: Duration = Duration::from_secs(2);
/// What waits is looked at this often at least. A connection with the node it is for brings it at once.
const LAST_ROUND: Duration = Duration::from_secs(60);

/// No letter is tried sooner than this after it was found in the outbox.
const SHORTEST_WAIT: Duration = Duration::from_millis(500);

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
        Content::Message(_) | Content::GestaltInvite { .. } => {}
    }
    Ok(true)
}

/// Where a notification of a node that is known belongs: among those of strangers when it is a message, or an
/// invitation, and the user does not want those of that node. What comes of shares is told, and what own devices say.
fn tray_of(node: &Node, notification: &Notification) -> Result<Tray, Problem> {
    let from = notification.from();
    Ok(match notification.content() {
        Content::VaultShare { .. } | Content::VaultUnshare { .. } => Tray::Inbox,
        Content::Message(_) | Content::GestaltInvite { .. } => match node.gestalts.view()?.is_muted(&from) {
            true if !devices::is_own(node, &from)? => Tray::Strangers,
            _ => Tray::Inbox,
        },
    })
}

/// Tries again and again what waits, until the network stops: shares and keepers less and less often while nothing
/// comes of it, letters whenever one is due.
pub async fn run(agent: Agent, mut stop: watch::Receiver<bool>) {
    let mut wait = FIRST_ROUND;
    let mut round = Instant::now() + wait;
    loop {
        let due = agent.next_delivery().await.map_or(round, |due| due.min(round));
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            () = sleep_until(due) => {}
            // It is due again at a time of its own.
            () = agent.a_delivery_failed() => continue,
        }
        if Instant::now() >= round {
            agent.settle_shares(None).await;
            agent.settle_keepers(None).await;
            wait = (wait * 2).min(LAST_ROUND);
            round = Instant::now() + wait;
        }
        agent.deliver_post(None).await;
        agent.deliver_errands(None).await;
    }
}

/// When the first letter of the outbox is due; never at once, so that one that cannot even be put off makes no one
/// busy.
fn first_due(outbox: &[Outgoing], now: Timestamp) -> Option<Duration> {
    let next = outbox.iter().map(|outgoing| outgoing.next).min()?;
    let left = next.as_millis().saturating_sub(now.as_millis());
    Some(Duration::from_millis(left).max(SHORTEST_WAIT))
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
        let taken = blocking(move || {
            let tray = match tray {
                Tray::Inbox => tray_of(&node, &notification)?,
                Tray::Strangers => tray,
            };
            take(&node, tray, &notification)
        })
        .await?;
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
        let (here, mut outgoing) = (node.clone(), outgoing.clone());
        if outgoing.notification.from() != node.id() {
            // Written before this node had new keys: nobody takes letters of a node that has been succeeded.
            outgoing = blocking(move || {
                let letter = &outgoing.notification;
                here.post
                    .send_anew(&outgoing, &signed_anew(&here, letter.to(), letter))
            })
            .await?;
        }
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

    /// When the next letter is due.
    async fn next_delivery(&self) -> Option<Instant> {
        let node = self.node()?;
        let outbox = blocking(move || node.post.outbox()).await.ok()?;
        Some(Instant::now() + first_due(&outbox, SystemClock.now())?)
    }

    /// Waits until a delivery failed; for ever while there is no outbox.
    async fn a_delivery_failed(&self) {
        match self.node() {
            Some(node) => node.post.one_failed().await,
            None => std::future::pending().await,
        }
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
            if !due {
                continue;
            }
            if away.contains(&whom) {
                let (here, id) = (node.clone(), outgoing.id);
                if let Err(problem) = blocking(move || here.post.put_off(id, SystemClock.now())).await {
                    return tracing::warn!("{problem}");
                }
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

#[cfg(test)]
mod tests {
    use polykey_core::random::OsRandom;
    use polykey_core::sign::SigningKey;
    use polykey_core::{Key, NodeId};

    use super::*;
    use crate::peer::bench::Bench;

    #[test]
    fn the_courier_comes_when_a_letter_is_due() {
        let bench = Bench::new();
        let node = bench.node();
        let root = SigningKey::from_seed(&Key::random(&OsRandom));
        let at = Timestamp::from_millis;
        let to = NodeId::from_bytes([7; 32]);
        let mut sent = Vec::new();
        assert_eq!(first_due(&[], at(1)), None);
        for time in [50_000, 9000, 70_000] {
            let content = Content::message("x").expect("short");
            let letter = Notification::sign(&root, to, at(time), content, &OsRandom);
            sent.push(node.post.send(letter, 9, at(time)).expect("stores"));
        }
        assert_eq!(first_due(&sent, at(1000)), Some(Duration::from_secs(8)));
        for late in [8900, 9000, 60_000] {
            assert_eq!(first_due(&sent, at(late)), Some(SHORTEST_WAIT));
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_node_that_is_away_is_tried_once_and_its_other_letters_wait() {
        let bench = Bench::new();
        let node = bench.node();
        let root = SigningKey::from_seed(&Key::random(&OsRandom));
        let to = NodeId::from_bytes([7; 32]);
        // One after the other: of those of one millisecond it is chance which comes first.
        let now = SystemClock.now().as_millis();
        for age in [3, 2, 1] {
            let content = Content::message("x").expect("short");
            let sent = Timestamp::from_millis(now - age);
            let letter = Notification::sign(&root, to, sent, content, &OsRandom);
            node.post.send(letter, 9, sent).expect("stores");
        }
        let before = SystemClock.now();
        bench.agent.deliver_post(None).await;
        let outbox = node.post.outbox().expect("reads");
        let tried: Vec<u64> = outbox.iter().map(|outgoing| outgoing.tried).collect();
        assert_eq!(tried, [1, 0, 0]);
        assert!(outbox.iter().all(|outgoing| outgoing.next > before));
    }
}
