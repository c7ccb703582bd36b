//! What happened that another node may want to know, or that another node told.
//!
//! Whoever has news puts it here and goes on; the [follower](super) takes all that has come together. News of
//! one kind is kept once, so that a thousand commits in a row are one announcement, and memory is bounded by
//! what there is.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use polykey_core::{NodeId, VaultId};
use tokio::sync::Notify;

/// So many announcements of others may wait; further ones are forgotten, since the next pull brings them anyway.
const MAX_HEARD: usize = 10_000;

/// News. Clones are one.
#[derive(Clone, Default)]
pub struct News(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<Batch>,
    wake: Notify,
}

/// All that came since the last time.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Vaults that changed here.
    pub changed: BTreeSet<VaultId>,
    /// Members that announced something which we lack.
    pub heard: BTreeSet<(NodeId, VaultId)>,
    /// Nodes with which a connection came up.
    pub connected: BTreeSet<NodeId>,
    /// Nodes with which a connection ended.
    pub gone: BTreeSet<NodeId>,
    /// Nodes that say that they succeed one that is known: that one, those between, and the node itself.
    pub successions: BTreeSet<Vec<NodeId>>,
    /// Contacts where another node answers.
    pub elsewhere: BTreeSet<NodeId>,
}

impl News {
    /// A vault changed here.
    pub fn changed(&self, vault: VaultId) {
        self.note(|batch| {
            batch.changed.insert(vault);
        });
    }

    /// A member has something that we lack.
    pub fn heard(&self, node: NodeId, vault: VaultId) {
        self.note(|batch| {
            if batch.heard.len() < MAX_HEARD {
                batch.heard.insert((node, vault));
            }
        });
    }

    /// A connection came up.
    pub fn connected(&self, node: NodeId) {
        self.note(|batch| {
            batch.gone.remove(&node);
            batch.connected.insert(node);
        });
    }

    /// A connection ended.
    pub fn gone(&self, node: NodeId) {
        self.note(|batch| {
            batch.gone.insert(node);
        });
    }

    /// A node says that it succeeds one that is known.
    pub fn succession(&self, line: Vec<NodeId>) {
        self.note(|batch| {
            batch.successions.insert(line);
        });
    }

    /// Another node answers where this contact was.
    pub fn elsewhere(&self, node: NodeId) {
        self.note(|batch| {
            batch.elsewhere.insert(node);
        });
    }

    fn note(&self, note: impl FnOnce(&mut Batch)) {
        note(&mut self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.wake.notify_one();
    }

    /// Waits for news. Safe to cancel.
    pub async fn next(&self) -> Batch {
        loop {
            let batch = std::mem::take(&mut *self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            if batch != Batch::default() {
                return batch;
            }
            self.0.wake.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn news_of_one_kind_come_once_and_none_is_lost() {
        let news = News::default();
        let (vault, node) = (VaultId::from_bytes([1; 32]), NodeId::from_bytes([2; 32]));
        for _ in 0..1000 {
            news.changed(vault);
        }
        news.heard(node, vault);
        let batch = news.next().await;
        assert_eq!(batch.changed, BTreeSet::from([vault]));
        assert_eq!(batch.heard, BTreeSet::from([(node, vault)]));
        let waiting = tokio::spawn({
            let news = news.clone();
            async move { news.next().await }
        });
        news.gone(node);
        assert!(waiting.await.expect("no panic").gone.contains(&node));
        news.gone(node);
        news.connected(node);
        let batch = news.next().await;
        assert!(batch.gone.is_empty() && batch.connected.contains(&node));
    }
}
