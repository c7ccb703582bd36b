//! The connections that are up, and which of several with one node is used.
//!
//! When two nodes dial each other at once, both connections come up. Both sides then prefer the same one:
//! the newest of those that the lower id dialled, else the newest. The others are closed only after they
//! have had no stream for a while, so that no moment is without a connection and no request is cut.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use polykey_core::NodeId;
use tokio::sync::watch;

use crate::config::RETIRE_AFTER;
use crate::error::code;
use crate::link::Link;

pub(crate) struct Registry {
    me: NodeId,
    nodes: Mutex<HashMap<NodeId, Vec<Arc<Link>>>>,
    numbers: AtomicU64,
    changed: watch::Sender<()>,
}

impl Registry {
    pub(crate) fn new(me: NodeId) -> Self {
        Registry {
            me,
            nodes: Mutex::default(),
            numbers: AtomicU64::new(0),
            changed: watch::channel(()).0,
        }
    }

    /// The number of the next connection.
    pub(crate) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Tells of every new connection.
    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().values().map(Vec::len).sum()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Link>> {
        self.lock().values().flatten().cloned().collect()
    }

    pub(crate) fn with(&self, node: &NodeId) -> Vec<Arc<Link>> {
        self.lock().get(node).cloned().unwrap_or_default()
    }

    /// The connection with `node` that both sides prefer.
    pub(crate) fn best(&self, node: &NodeId) -> Option<Arc<Link>> {
        self.best_of(self.lock().get(node)?)
    }

    /// Takes in a connection. Older ones with the node are closed when it `replaces` them, when they are with
    /// an earlier process of it, or when they are too many; those that lost to another are left to end.
    pub(crate) fn insert(self: &Arc<Self>, link: &Arc<Link>, replaces: bool, most: usize) {
        let mut nodes = self.lock();
        let links = nodes.entry(link.node).or_default();
        links.push(Arc::clone(link));
        for old in links.iter().filter(|old| old.number < link.number) {
            if replaces || old.run != link.run {
                old.close(code::SUPERSEDED);
            }
        }
        while links.iter().filter(|link| link.is_open()).count() > most.max(1) {
            let best = self.best_of(links).map(|best| best.number);
            let oldest = links
                .iter()
                .filter(|link| link.is_open() && Some(link.number) != best)
                .min_by_key(|link| link.number);
            let Some(oldest) = oldest else { break };
            oldest.close(code::SUPERSEDED);
        }
        links.retain(|link| link.is_open());
        let best = self.best_of(links).map(|best| best.number);
        for loser in links.iter().filter(|link| Some(link.number) != best) {
            tokio::spawn(retire(Arc::clone(self), Arc::clone(loser)));
        }
        drop(nodes);
        self.changed.send_replace(());
    }

    pub(crate) fn remove(&self, link: &Link) {
        let mut nodes = self.lock();
        if let Some(links) = nodes.get_mut(&link.node) {
            links.retain(|other| other.number != link.number);
            if links.is_empty() {
                nodes.remove(&link.node);
            }
        }
    }

    fn best_of(&self, links: &[Arc<Link>]) -> Option<Arc<Link>> {
        links
            .iter()
            .filter(|link| link.is_open())
            .max_by_key(|link| (link.dialled == (self.me < link.node), link.number))
            .cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<NodeId, Vec<Arc<Link>>>> {
        self.nodes
            .lock()
            .expect("never poisoned: nothing panics under it")
    }
}

/// Closes a connection that lost to another one, once nobody has used it for a while.
async fn retire(registry: Arc<Registry>, link: Arc<Link>) {
    link.idle_for(RETIRE_AFTER).await;
    // When the other one is gone, this one is needed.
    if registry
        .best(&link.node)
        .is_some_and(|best| best.number != link.number)
    {
        link.close(code::SUPERSEDED);
    }
}
