//! Nodes with a valid key that do not keep to the protocol, over the real network.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use polykey_core::NodeId;
use polykey_core::random::OsRandom;
use polykey_core::sign::SigningKey;
use polykey_net::{Farewell, Mode, Net, NetConfig, NetError, NodeAddress, Peer, Receiver, Sender};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::node::{Node, eventually, pair};

/// Streams that an agent lets a peer have open.
const STREAMS: usize = 64;
/// The longest request of a node that the agent knows, and of another.
const LONGEST: [usize; 2] = [2 << 20, 16 << 10];
/// How much an agent may grow under all of it.
const ROOM: u64 = 64 << 20;
/// A ping and a question for keys, as `docs/format.md` has them.
const PING: [u8; 6] = [0, 0, 0, 2, 0x81, 0];
const WHO: [u8; 6] = [0, 0, 0, 2, 0x81, 1];

/// What an intruder does with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attack {
    /// A frame that is no request.
    Garbage,
    /// The length of a frame that nobody could hold.
    Huge,
    /// Streams with the first byte of a length.
    HalfOpen,
    /// Long requests, a byte at a time.
    Drip,
    /// Long requests that lack their last byte.
    Fill,
    /// Requests as fast as they go, the answers thrown away.
    Flood,
    /// Questions whose answers are not taken.
    Deaf,
    /// A request that is broken off, on stream after stream.
    Fickle,
    /// Connections that are closed at once.
    Knock,
}

const ATTACKS: [Attack; 9] = [
    Attack::Garbage,
    Attack::Huge,
    Attack::HalfOpen,
    Attack::Drip,
    Attack::Fill,
    Attack::Flood,
    Attack::Deaf,
    Attack::Fickle,
    Attack::Knock,
];

/// A node with a key of its own, and how often it did what it does.
struct Intruder {
    net: Net,
    victim: NodeId,
    attack: Attack,
    longest: usize,
    times: AtomicU32,
}

impl Intruder {
    async fn new(victim: SocketAddr, id: &str, attack: Attack, longest: usize) -> Intruder {
        let config = NetConfig {
            mode: Mode::Offline,
            bind: vec!["127.0.0.1:0".parse().expect("an address")],
            ..NetConfig::default()
        };
        let key = SigningKey::random(&OsRandom);
        let net = Net::start(config, &key, Arc::new(|_: &NodeId| true)).await;
        let net = net.expect("the loopback interface");
        let node = id.parse().expect("an id");
        net.know(NodeAddress {
            direct: vec![victim],
            ..NodeAddress::new(node)
        });
        Intruder {
            net,
            victim: node,
            attack,
            longest,
            times: AtomicU32::new(0),
        }
    }

    /// Does it again and again until told to stop.
    async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let all = async {
            loop {
                tokio::select! {
                    // Connections that were made are handed out here, too.
                    _ = self.net.accept() => {}
                    peer = self.net.connect(&self.victim) => {
                        if let Ok(peer) = peer {
                            // It ends with an error when the agent cuts it off, as it should.
                            let _ = self.attack(&peer).await;
                        }
                    }
                }
            }
        };
        tokio::select! {
            () = all => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        self.net.close(Duration::from_secs(1)).await;
    }

    fn done(&self) {
        self.times.fetch_add(1, Ordering::Relaxed);
    }

    async fn attack(&self, peer: &Peer) -> Result<(), NetError> {
        match self.attack {
            Attack::Garbage => self.ask(peer, &[&[0, 0, 0, 40][..], &[0xff; 40]].concat()).await,
            Attack::Huge => self.ask(peer, &[0xff; 4]).await,
            Attack::HalfOpen => {
                let mut held = Vec::new();
                for _ in 0..STREAMS {
                    held.push(begun(peer, &[0]).await?);
                }
                self.done();
                for (_, mut from) in held {
                    // Until the agent gives it up.
                    let _ = from.read_u8().await;
                }
                Ok(())
            }
            Attack::Drip => {
                let mut held = Vec::new();
                for _ in 0..STREAMS {
                    held.push(begun(peer, &self.head()).await?);
                }
                loop {
                    for (to, _) in &mut held {
                        let Ok(()) = to.write_all(&[0]).await else {
                            return Ok(());
                        };
                    }
                    self.done();
                    peer.ping().await?;
                }
            }
            Attack::Fill => {
                let mut filling = JoinSet::new();
                let body = Arc::new(vec![0; self.longest - 1]);
                for _ in 0..STREAMS {
                    let (mut to, mut from) = begun(peer, &self.head()).await?;
                    let body = body.clone();
                    filling.spawn(async move {
                        let _ = to.write_all(&body).await;
                        let _ = from.read_u8().await;
                    });
                }
                self.done();
                drop(filling.join_all().await);
                Ok(())
            }
            Attack::Flood => {
                for _ in 0..1000 {
                    let (mut to, _) = begun(peer, &PING).await?;
                    let _ = to.finish();
                }
                self.done();
                Ok(())
            }
            Attack::Deaf => {
                let mut held = Vec::new();
                for _ in 0..STREAMS {
                    let (mut to, from) = begun(peer, &WHO).await?;
                    let _ = to.finish();
                    held.push(from);
                }
                self.done();
                // As long as the agent keeps them.
                drop(peer.open().await?);
                drop(peer.closed().await);
                Ok(())
            }
            Attack::Fickle => {
                for _ in 0..STREAMS {
                    drop(begun(peer, &[&self.head()[..], &[0; 100]].concat()).await?);
                }
                self.done();
                Ok(())
            }
            Attack::Knock => {
                peer.close(&Farewell::new(7, "knock"));
                self.done();
                Ok(())
            }
        }
    }

    /// The length of the longest request.
    fn head(&self) -> [u8; 4] {
        u32::try_from(self.longest).expect("small").to_be_bytes()
    }

    /// Says something and waits for whatever comes.
    async fn ask(&self, peer: &Peer, bytes: &[u8]) -> Result<(), NetError> {
        let (mut to, mut from) = begun(peer, bytes).await?;
        let _ = to.finish();
        self.done();
        let _ = from.read_to_end(&mut Vec::new()).await;
        Ok(())
    }
}

/// A pair of streams on which these bytes were sent.
async fn begun(peer: &Peer, bytes: &[u8]) -> Result<(Sender, Receiver), NetError> {
    let (mut to, from) = peer.open().await?;
    // If the connection is gone, the next stream says so.
    let _ = to.write_all(bytes).await;
    Ok((to, from))
}

/// The memory that the agent has, in bytes.
fn resident(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.expect("a line").trim().trim_end_matches(" kB");
    kib.parse::<u64>().expect("a number") << 10
}

/// Sends all intruders against A while A and B go on, and gives by how much A grew at most.
fn endure(a: &Node, b: &Node, known: bool) -> u64 {
    let longest = LONGEST[usize::from(!known)];
    let at = format!("127.0.0.1:{}", a.port()).parse().expect("an address");
    // One thread for all of them, so that they do not take the machine.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let (stop, stopped) = watch::channel(false);
    let intruders: Vec<Arc<Intruder>> = runtime.block_on(async {
        let mut all = Vec::new();
        for attack in ATTACKS {
            all.push(Arc::new(Intruder::new(at, &a.id, attack, longest).await));
        }
        all
    });
    if known {
        for intruder in &intruders {
            let port = intruder.net.address().direct[0].port().to_string();
            let id = intruder.net.node().to_string();
            a.pk(["nodes", "add", &id, "127.0.0.1", &port, "--no-ping"]).ok();
        }
    }
    let pid = a.home.agent_pid();
    let before = resident(pid);
    let mut most = before;
    std::thread::scope(|scope| {
        let running = intruders.clone();
        scope.spawn(move || {
            runtime.block_on(async {
                let mut all = JoinSet::new();
                for intruder in running {
                    all.spawn(intruder.run(stopped.clone()));
                }
                all.join_all().await;
            });
        });
        // Told to stop also when an assertion below fails.
        let _end = End(stop);
        let mut rounds = 0;
        eventually("all intruders have been at it, and others were served", || {
            let value = rounds.to_string();
            a.writes_both_ways_with(b, &value);
            most = most.max(resident(pid));
            rounds += 1;
            let all = intruders
                .iter()
                .all(|intruder| intruder.times.load(Ordering::Relaxed) > 0);
            all && rounds >= 5
        });
    });
    assert_eq!(a.home.agent_pid(), pid, "it was one process all the time");
    most - before
}

/// Says stop when it goes.
struct End(watch::Sender<bool>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

#[test]
fn intruders_that_nobody_knows_take_neither_memory_nor_others_turns() {
    check(false);
}

#[test]
fn intruders_that_the_user_added_take_neither_memory_nor_others_turns() {
    check(true);
}

fn check(known: bool) {
    let (a, b) = pair();
    a.shares_work_with(&b);
    // Once without, so that what is only needed once is not counted.
    a.writes_both_ways_with(&b, "before");
    let grown = endure(&a, &b, known);
    assert!(grown <= ROOM, "grown by {grown} bytes");
    let audit = a.pk(["audit", "--events", "peer", "--json"]).ok();
    assert!(
        audit.text().contains("peer.nonsense"),
        "what they did is on record"
    );
    a.pk(["doctor"]).ok();
}
