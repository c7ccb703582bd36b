//! Peers that vanish: without a word, and to come back as another process.

use std::net::SocketAddr;
use std::time::Duration;

use polykey_core::Key;
use polykey_core::sign::SigningKey;
use polykey_net::{Net, NetConfig, NetError, NodeAddress, Reason};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use crate::pair::{ask, end, everybody, offline, serve, start};

/// A node in a runtime of its own that answers questions; without the runtime it is gone without a word, like
/// a process that was killed.
struct Apart {
    runtime: Option<Runtime>,
    address: NodeAddress,
    net: Net,
}

impl Apart {
    async fn start(key: [u8; 32], bind: SocketAddr, knows: Option<NodeAddress>) -> Self {
        let (report, started) = oneshot::channel();
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.spawn(async move {
            let config = NetConfig {
                bind: vec![bind],
                ..offline()
            };
            let net = Net::start(config, &signing_key(key), everybody()).await.unwrap();
            serve(&net);
            if let Some(address) = knows {
                let node = address.node;
                net.know(address);
                net.connect(&node).await.unwrap();
            }
            report.send(net).unwrap_or_else(|_| panic!("the test waits"));
        });
        let net = started.await.unwrap();
        Apart {
            runtime: Some(runtime),
            address: net.address(),
            net,
        }
    }

    /// Ends it as `kill -9` would.
    fn kill(mut self) -> NodeAddress {
        self.runtime
            .take()
            .unwrap()
            .shutdown_timeout(Duration::from_secs(10));
        self.address
    }
}

fn signing_key(seed: [u8; 32]) -> SigningKey {
    SigningKey::from_seed(&Key::copy_from(&seed).unwrap())
}

fn anywhere() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

#[tokio::test]
async fn a_peer_that_vanished_is_noticed() {
    let one = start(offline()).await;
    let two = Apart::start([1; 32], anywhere(), None);
    one.know(two.address.clone());
    let node = two.address.node;
    let peer = one.connect(&node).await.unwrap();
    ask(&peer, b"there?").await.unwrap();
    two.kill().await;
    // Nothing but time-outs can happen from here on: let them.
    tokio::time::pause();
    assert_eq!(peer.closed().await, Reason::Lost);
    let error = one.connect(&node).await.unwrap_err();
    assert!(matches!(error, NetError::Unreachable { .. }), "{error:?}");
    tokio::time::resume();
    end([one]).await;
}

#[tokio::test]
async fn a_peer_that_restarted_is_reached_again_over_a_new_connection() {
    let one = start(offline()).await;
    let two = Apart::start([2; 32], anywhere(), None);
    one.know(two.address.clone());
    let node = two.address.node;
    let old = one.connect(&node).await.unwrap();
    ask(&old, b"there?").await.unwrap();

    let address = two.kill().await;
    let two = Apart::start([2; 32], address.direct[0], None);
    // The old connection still looks alive. A request that stalls on it is raced by a fresh one.
    let new = one.fresh(&node).await.unwrap();
    ask(&new, b"and now?").await.unwrap();
    assert_eq!(
        old.closed().await,
        Reason::Ours,
        "the old one is closed with the new one there"
    );
    assert_eq!(one.connections().len(), 1);
    drop(two);
    end([one]).await;
}

#[tokio::test]
async fn connect_does_not_trust_an_old_silent_connection() {
    let one = start(offline()).await;
    let two = Apart::start([3; 32], anywhere(), None);
    one.know(two.address.clone());
    let node = two.address.node;
    let old = one.connect(&node).await.unwrap();
    ask(&old, b"there?").await.unwrap();
    let address = two.kill().await;
    let two = Apart::start([3; 32], address.direct[0], None);
    // Until the old one is no longer taken on trust, which is an event: it is asked and replaced.
    loop {
        let peer = one.connect(&node).await.unwrap();
        if peer.info().age < old.info().age {
            ask(&peer, b"and now?").await.unwrap();
            break;
        }
        // Heard a moment ago, so it was given as it is; nothing comes back on it.
        let stalled = tokio::time::timeout(Duration::from_millis(200), ask(&peer, b"hello?")).await;
        assert!(!matches!(stalled, Ok(Ok(()))), "nobody is there to answer");
    }
    drop(two);
    end([one]).await;
}

#[tokio::test]
async fn a_peer_that_restarted_and_dials_ends_its_old_connection() {
    let one = start(offline()).await;
    let two = Apart::start([4; 32], anywhere(), Some(one.address()));
    let old = one.accept().await.unwrap();
    assert_eq!(old.node(), two.net.node());
    let address = two.kill().await;
    let two = Apart::start([4; 32], address.direct[0], Some(one.address()));
    let new = one.accept().await.unwrap();
    assert_eq!(new.node(), two.net.node());
    // No time-out: the new process names itself, so the old one is known to be gone.
    assert_eq!(old.closed().await, Reason::Ours);
    ask(&new, b"welcome back").await.unwrap();
    assert_eq!(one.connections().len(), 1);
    drop(two);
    end([one]).await;
}
