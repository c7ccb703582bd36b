//! Nodes that are found by their id alone.

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
