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
            report.send(net.address()).unwrap();
        });
        Apart {
            runtime: Some(runtime),
            address: started.await.unwrap(),
        }
    }

    /// Ends it as `kill -9` would, and waits until its socket is free.
    async fn kill(mut self) -> NodeAddress {
        let runtime = self.runtime.take().unwrap();
        let stop = move || runtime.shutdown_timeout(Duration::from_secs(10));
        tokio::task::spawn_blocking(stop).await.unwrap();
        self.address.clone()
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
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
    let two = Apart::start([1; 32], anywhere(), None).await;
    one.know(two.address.clone());
    let node = two.address.node;
    let peer = one.connect(&node).await.unwrap();
    ask(&peer, b"there?").await.unwrap();
    two.kill().await;
    assert_eq!(peer.closed().await, Reason::Lost);
    let error = one.connect(&node).await.unwrap_err();
    assert!(matches!(error, NetError::Unreachable { .. }), "{error:?}");
    end([one]).await;
}

#[tokio::test]
async fn a_peer_that_restarted_is_reached_again_over_a_new_connection() {
    let one = start(offline()).await;
    let two = Apart::start([2; 32], anywhere(), None).await;
    one.know(two.address.clone());
    let node = two.address.node;
    let old = one.connect(&node).await.unwrap();
    ask(&old, b"there?").await.unwrap();

    let address = two.kill().await;
    let two = Apart::start([2; 32], address.direct[0], None).await;
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
    let two = Apart::start([3; 32], anywhere(), None).await;
    one.know(two.address.clone());
    let node = two.address.node;
    let old = one.connect(&node).await.unwrap();
    ask(&old, b"there?").await.unwrap();
    let address = two.kill().await;
    let two = Apart::start([3; 32], address.direct[0], None).await;
    // For a moment the old one is taken on trust, and what is asked on it stalls; then it is asked and replaced.
    loop {
        let peer = one.connect(&node).await.unwrap();
        let asked = tokio::time::timeout(Duration::from_millis(200), ask(&peer, b"hello?")).await;
        if matches!(asked, Ok(Ok(()))) {
            break;
        }
    }
    assert_eq!(old.closed().await, Reason::Ours);
    drop(two);
    end([one]).await;
}

#[tokio::test]
async fn a_peer_that_restarted_and_dials_ends_its_old_connection() {
    let one = start(offline()).await;
    let two = Apart::start([4; 32], anywhere(), Some(one.address())).await;
    let old = one.accept().await.unwrap();
    assert_eq!(old.node(), two.address.node);
    let address = two.kill().await;
    let two = Apart::start([4; 32], address.direct[0], Some(one.address())).await;
    let new = one.accept().await.unwrap();
    assert_eq!(new.node(), two.address.node);
    // No time-out: the new process names itself, so the old one is known to be gone.
    assert_eq!(old.closed().await, Reason::Ours);
    ask(&new, b"welcome back").await.unwrap();
    assert_eq!(one.connections().len(), 1);
    drop(two);
    end([one]).await;
}
