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
    start_with(config, &SigningKey::random(&OsRandom), everybody()).await
}

pub(crate) async fn start_with(config: NetConfig, key: &SigningKey, admit: Arc<dyn Admission>) -> Net {
    Net::start(config, key, admit).await.unwrap()
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
    let made = one.accept().await.unwrap();
    assert_eq!(made.node(), node);
    (here.unwrap(), there.unwrap())
}

/// Answers every question that comes on any connection of `net` with itself, until `net` is closed.
pub(crate) fn serve(net: &Net) {
    let net = net.clone();
    tokio::spawn(async move {
        while let Some(peer) = net.accept().await {
            tokio::spawn(async move {
                while let Ok((mut send, mut recv)) = peer.accept().await {
                    let mut heard = Vec::new();
                    if recv.read_to_end(&mut heard).await.is_ok() && send.write_all(&heard).await.is_ok() {
                        drop(send.finish());
                    }
                }
            });
        }
    });
}

/// Sends `question` to a node that [serves](serve), and hears it again.
pub(crate) async fn ask(peer: &Peer, question: &[u8]) -> std::io::Result<()> {
    let (mut send, mut recv) = peer.open().await.map_err(std::io::Error::other)?;
    send.write_all(question).await?;
    send.finish()?;
    let mut heard = Vec::new();
    recv.read_to_end(&mut heard).await?;
    assert_eq!(heard, question);
    Ok(())
}

/// Sends `question` one way and back on a pair of streams of its own.
pub(crate) async fn echo(here: &Peer, there: &Peer, question: &[u8]) {
    let answers = async {
        let (mut send, mut recv) = there.accept().await.unwrap();
        let heard = read_all(&mut recv).await;
        send_all(&mut send, &heard).await;
    };
    let (heard, ()) = tokio::join!(ask(here, question), answers);
    heard.unwrap();
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

/// Ends nodes as their processes would.
pub(crate) async fn end(nets: impl IntoIterator<Item = Net>) {
    for net in nets {
        net.close(Duration::from_secs(5)).await;
    }
}
