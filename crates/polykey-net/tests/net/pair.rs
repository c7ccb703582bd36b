//! Nodes for the tests.

use std::sync::Arc;
use std::time::Duration;

use polykey_core::random::OsRandom;
use polykey_core::sign::SigningKey;
use polykey_net::{Admission, Mode, Net, NetConfig, Peer, Receiver, Sender};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A node that only knows what it is told, on the loopback interface.
pub(crate) fn offline() -> NetConfig {
    NetConfig {
        mode: Mode::Offline,
        bind: vec!["127.0.0.1:0".parse().unwrap()],
        ..NetConfig::default()
    }
}

pub(crate) fn everybody() -> Arc<dyn Admission> {
    Arc::new(|_: &_| true)
}

pub(crate) async fn start(config: NetConfig) -> Net {
    Net::start(config, &SigningKey::random(&OsRandom), everybody())
        .await
        .unwrap()
}

/// Two nodes of which the first knows where the second is.
pub(crate) async fn two() -> (Net, Net) {
    let (one, two) = tokio::join!(start(offline()), start(offline()));
    one.know(two.address());
    (one, two)
}

/// A connection from `one` to `two`, seen from both sides.
pub(crate) async fn joined(one: &Net, two: &Net) -> (Peer, Peer) {
    let node = two.node();
    let (here, there) = tokio::join!(one.connect(&node), two.accept());
    (here.unwrap(), there.unwrap())
}

/// Sends `question` one way and back on a pair of streams of its own.
pub(crate) async fn echo(here: &Peer, there: &Peer, question: &[u8]) {
    let asks = async {
        let (mut send, mut recv) = here.open().await.unwrap();
        send.write_all(question).await.unwrap();
        send.finish().unwrap();
        read_all(&mut recv).await
    };
    let answers = async {
        let (mut send, mut recv) = there.accept().await.unwrap();
        let heard = read_all(&mut recv).await;
        send.write_all(&heard).await.unwrap();
        send.finish().unwrap();
    };
    let (heard, ()) = tokio::join!(asks, answers);
    assert_eq!(heard, question);
}

pub(crate) async fn read_all(recv: &mut Receiver) -> Vec<u8> {
    let mut bytes = Vec::new();
    recv.read_to_end(&mut bytes).await.unwrap();
    bytes
}

pub(crate) async fn send_all(send: &mut Sender, bytes: &[u8]) {
    send.write_all(bytes).await.unwrap();
    send.finish().unwrap();
}

/// Ends both at once, as a process would.
pub(crate) async fn end(nets: impl IntoIterator<Item = Net>) {
    for net in nets {
        net.close(Duration::from_secs(5)).await;
    }
}
