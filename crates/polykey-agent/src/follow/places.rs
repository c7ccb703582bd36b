//! Places for pulls: how many run at a time, and how the members share them.
//!
//! A pull holds its place until it ends, and the other side can draw that out. So every node has one place of its
//! own, and only what it has beyond that comes out of those that all nodes share.
//!
//! Always: a node whose pulls do not end keeps none of another node from beginning.

use std::collections::HashMap;
use std::sync::Arc;

use polykey_core::NodeId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Pulls at a time, besides one from each node.
const SHARED: usize = 8;

/// The places.
pub struct Places {
    shared: Arc<Semaphore>,
    own: HashMap<NodeId, Arc<Semaphore>>,
}

impl Default for Places {
    fn default() -> Places {
        Places {
            shared: Arc::new(Semaphore::new(SHARED)),
            own: HashMap::new(),
        }
    }
}

impl Places {
    /// Waits for a place for a pull from `node`, which is given back on drop. `None` never comes: places are not
    /// closed.
    pub fn wait_for(&mut self, node: NodeId) -> impl Future<Output = Option<OwnedSemaphorePermit>> + use<> {
        // Whoever pulls or waits holds its node's; the others are as new.
        self.own.retain(|_, place| Arc::strong_count(place) > 1);
        let own = self
            .own
            .entry(node)
            .or_insert_with(|| Arc::new(Semaphore::new(1)));
        let (own, shared) = (own.clone(), self.shared.clone());
        async move {
            tokio::select! {
                biased;
                place = own.acquire_owned() => place.ok(),
                place = shared.acquire_owned() => place.ok(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;

    fn node(byte: u8) -> NodeId {
        NodeId::from_bytes([byte; 32])
    }

    #[tokio::test]
    async fn a_node_whose_pulls_do_not_end_leaves_places_for_all_others() {
        let mut places = Places::default();
        let mut now = |of: u8| places.wait_for(node(of)).now_or_never().flatten();
        let mut held: Vec<_> = (0..=SHARED).map(|_| now(1).expect("a place")).collect();
        assert!(now(1).is_none(), "it has its share");
        let others: Vec<_> = (2..=30).map(|of| now(of).expect("a place of its own")).collect();
        assert!((1..=30).all(|of| now(of).is_none()));
        // Whichever comes back is used: by whoever waits, or by its node.
        drop(held.pop());
        let shared = now(2).expect("a shared place");
        assert!(now(3).is_none());
        drop(held.remove(0));
        assert!(now(2).is_none() && now(1).is_some());
        drop((shared, others, held));
        drop(now(7).expect("a place"));
        assert_eq!(places.own.len(), 1, "nodes that have gone are forgotten");
    }

    #[tokio::test]
    async fn who_waits_gets_the_next_place() {
        let mut places = Places::default();
        let mut held: Vec<_> = Vec::new();
        for _ in 0..=SHARED {
            held.push(places.wait_for(node(1)).await);
        }
        let mut waiting = pin!(places.wait_for(node(1)));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(held.pop());
        assert!(waiting.await.is_some());
    }
}
