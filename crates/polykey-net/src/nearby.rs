//! The nodes that show themselves on the local network.
//!
//! The library tells of a node once, when it appears, so somebody has to listen from the beginning.
//!
//! Always: what is heard here is a hint that anybody near can give. Who a node is, its handshake says.

use std::collections::BTreeSet;

use futures_util::{Stream, StreamExt};
use iroh_mdns_address_lookup::{DiscoveryEvent, MdnsAddressLookup};
use polykey_core::NodeId;
use tokio::sync::watch;

/// So many are remembered; of a flood the rest is not.
const MAX_NEARBY: usize = 256;

/// Listens from now on, until nobody asks any more or the lookup ends.
pub(crate) async fn listen(mdns: &MdnsAddressLookup) -> watch::Receiver<BTreeSet<NodeId>> {
    let (seen, heard) = watch::channel(BTreeSet::new());
    let events = mdns.subscribe().await;
    tokio::spawn(async move {
        tokio::select! {
            () = follow(events, &seen) => {}
            () = seen.closed() => {}
        }
    });
    heard
}

async fn follow(
    mut events: impl Stream<Item = DiscoveryEvent> + Unpin,
    seen: &watch::Sender<BTreeSet<NodeId>>,
) {
    while let Some(event) = events.next().await {
        seen.send_if_modified(|nodes| match &event {
            DiscoveryEvent::Discovered { endpoint_info, .. } => {
                let node = NodeId::from_bytes(*endpoint_info.endpoint_id.as_bytes());
                nodes.len() < MAX_NEARBY && nodes.insert(node)
            }
            DiscoveryEvent::Expired { endpoint_id } => {
                nodes.remove(&NodeId::from_bytes(*endpoint_id.as_bytes()))
            }
            _ => false,
        });
    }
}

#[cfg(test)]
mod tests {
    use iroh::address_lookup::EndpointInfo;
    use polykey_core::random::OsRandom;
    use polykey_core::sign::SigningKey;

    use super::*;

    fn node() -> (NodeId, iroh::EndpointId) {
        let node = SigningKey::random(&OsRandom).public();
        let id = iroh::EndpointId::from_bytes(node.as_bytes()).expect("a key");
        (node, id)
    }

    #[tokio::test]
    async fn nodes_come_and_go_and_a_flood_is_bounded() {
        let (seen, heard) = watch::channel(BTreeSet::new());
        let came = |id| DiscoveryEvent::Discovered {
            endpoint_info: EndpointInfo::new(id),
            last_updated: None,
        };
        let ((_, one_id), (other, other_id)) = (node(), node());
        let events = [
            came(one_id),
            came(other_id),
            came(one_id),
            DiscoveryEvent::Expired { endpoint_id: one_id },
        ];
        follow(futures_util::stream::iter(events), &seen).await;
        assert_eq!(*heard.borrow(), BTreeSet::from([other]));
        let flood: Vec<_> = (0..MAX_NEARBY + 10).map(|_| came(node().1)).collect();
        follow(futures_util::stream::iter(flood), &seen).await;
        assert_eq!(heard.borrow().len(), MAX_NEARBY);
    }
}
