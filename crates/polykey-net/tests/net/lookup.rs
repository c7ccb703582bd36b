//! Nodes that are found by their id alone.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use polykey_net::{Mode, NetConfig};

use crate::pair::{ask, end, offline, serve, start};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dht_finds_a_node_that_published_its_addresses() {
    let testnet = n0_mainline::Testnet::new(5).await.unwrap();
    let config = |publish| NetConfig {
        mode: Mode::Mainnet,
        publish,
        dht_bootstrap: Some(testnet.bootstrap.clone()),
        ..offline()
    };
    let (seeker, found, hidden) =
        tokio::join!(start(config(false)), start(config(true)), start(config(false)));
    serve(&found);
    // Publishing takes a moment; every attempt asks again.
    let peer = loop {
        if let Ok(peer) = seeker.connect(&found.node()).await {
            break peer;
        }
    };
    ask(&peer, b"found you").await.unwrap();
    drop(hidden);
    end([seeker, found]).await;
}

/// Whether this machine hears its own multicasts.
fn has_multicast() -> bool {
    let group = Ipv4Addr::new(224, 0, 0, 251);
    let heard = || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.join_multicast_v4(&group, &Ipv4Addr::UNSPECIFIED)?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        socket.send_to(b"?", (group, socket.local_addr()?.port()))?;
        socket.recv_from(&mut [0; 1])
    };
    heard().is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_local_network_finds_a_node_by_its_id() {
    if !has_multicast() {
        eprintln!("skipped: this machine does not hear its own multicasts");
        return;
    }
    let local = || NetConfig {
        mode: Mode::Local,
        ..offline()
    };
    let (seeker, found) = tokio::join!(start(local()), start(local()));
    serve(&found);
    let peer = loop {
        if let Ok(peer) = seeker.connect(&found.node()).await {
            break peer;
        }
    };
    ask(&peer, b"found you").await.unwrap();
    end([seeker, found]).await;
}
