//! What nodes that we trust tell about where others are.
//!
//! A node that is connected is asked for the addresses of the nodes that both know: when it comes, and before a dial
//! is given up. What it tells is a hint: whoever answers there has to prove its key as anywhere else.
//!
//! Always: only contacts are asked and only contacts are told of, as far as the bounds of [`Contact::learn`] go. A
//! relay that a third node names is not used, since the user has not named it. A node is asked once in [`PAUSE`].
//!
//! [`Contact::learn`]: crate::contacts::Contact::learn

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use polykey_core::NodeId;
use polykey_net::Peer;
use tokio::time::{Instant, timeout};

use super::Running;
use crate::contacts::{Place, Source};
use crate::peer::{Answer, Request, ask};

/// A node is not asked again before this.
const PAUSE: Duration = Duration::from_secs(30);
/// An answer is not waited for longer than this.
const PATIENCE: Duration = Duration::from_secs(2);
/// So many are asked before a dial is given up.
const MAX_ASKED: usize = 3;

/// Who was asked when.
#[derive(Default)]
pub(super) struct Asked(Mutex<HashMap<NodeId, Instant>>);

impl Asked {
    /// True when the node may be asked now, which counts as asked.
    pub(super) fn may_ask(&self, node: NodeId, now: Instant) -> bool {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        asked.retain(|_, at| now.saturating_duration_since(*at) < PAUSE);
        let first = !asked.contains_key(&node);
        if first {
            asked.insert(node, now);
        }
        first
    }
}

impl Running {
    /// Asks a node that is connected where the nodes are that both know; those of which something new came.
    pub async fn hear_from(&self, node: NodeId) -> BTreeSet<NodeId> {
        match self.net.connected(&node) {
            Some(peer) if self.may_hear(&node) => self.hear(&peer).await,
            _ => BTreeSet::new(),
        }
    }

    /// Asks others where `node` is; true when something new came.
    pub(super) async fn hear_of(&self, node: &NodeId) -> bool {
        if !self.contacts.is_contact(node) {
            return false;
        }
        let mut others = self.connected();
        others.retain(|other| other != node);
        let mut asked = 0;
        for other in others {
            let Some(peer) = self.net.connected(&other) else {
                continue;
            };
            if asked == MAX_ASKED {
                break;
            }
            if !self.may_hear(&other) {
                continue;
            }
            asked += 1;
            if self.hear(&peer).await.contains(node) {
                return true;
            }
        }
        false
    }

    fn may_hear(&self, node: &NodeId) -> bool {
        self.contacts.is_contact(node) && self.asked.may_ask(*node, Instant::now())
    }

    async fn hear(&self, peer: &Peer) -> BTreeSet<NodeId> {
        let asked = async {
            let (mut to, mut from) = peer.open().await.ok()?;
            ask(&Request::Addresses, &mut to, &mut from, &self.budget)
                .await
                .ok()
        };
        let Ok(Some(Answer::Nodes(nodes))) = timeout(PATIENCE, asked).await else {
            return BTreeSet::new();
        };
        let contacts = self.contacts.clone();
        let learned = tokio::task::spawn_blocking(move || {
            let mut news = BTreeSet::new();
            for (node, places) in nodes {
                let Some(contact) = contacts.find(&node).filter(|contact| !contact.blocked) else {
                    continue;
                };
                let is_new = |place: &Place| {
                    matches!(place, Place::Socket(_))
                        && contact.addresses.iter().all(|known| known.place != *place)
                };
                let places: Vec<Place> = places.into_iter().filter(is_new).collect();
                match contacts.learn(node, &places, Source::Told) {
                    Ok(()) if !places.is_empty() => {
                        news.insert(node);
                    }
                    Ok(()) => {}
                    Err(problem) => tracing::warn!("{problem}"),
                }
            }
            news
        });
        learned.await.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_node_is_asked_once_in_a_while() {
        let asked = Asked::default();
        let (one, other) = (NodeId::from_bytes([1; 32]), NodeId::from_bytes([2; 32]));
        let now = Instant::now();
        assert!(asked.may_ask(one, now) && asked.may_ask(other, now));
        assert!(!asked.may_ask(one, now + PAUSE / 2));
        assert!(asked.may_ask(one, now + PAUSE));
    }
}
