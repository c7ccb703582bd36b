//! The way in: from a packet of a stranger to a peer that said hello.
//!
//! Dialers that have not said hello yet are counted, all together and by source, so that a flood of them
//! neither fills memory nor keeps an honest dialer out. Each is served by a task of its own with a
//! deadline, so that a silent one delays nobody.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use iroh::EndpointId;
use iroh::endpoint::{Connection, Incoming, IncomingAddr, VarInt};
use tokio::sync::watch;

use crate::config::{ALPN, HELLO_DEADLINE, Limits};
use crate::error::code;
use crate::frame::{read_frame, write_frame};
use crate::hello::{Answer, Hello, MAX_HELLO, agree};
use crate::link::Link;
use crate::net::{Shared, node_of};
use crate::peer::Peer;
use crate::tls::{HYBRID, key_exchange};

/// Takes in dialers until the endpoint closes or `stop` is set.
pub(crate) async fn run(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let half_open = Arc::new(HalfOpen::new(&shared.limits));
    loop {
        let incoming = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            incoming = shared.endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else { return };
        let source = Source::of(&incoming);
        match half_open.judge(source.as_ref(), incoming.remote_addr_validated()) {
            Verdict::Serve(place) => {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    let heard = tokio::time::timeout(HELLO_DEADLINE, greet(&shared, incoming)).await;
                    // Waits while the caller is slow to take peers; the place stays taken meanwhile.
                    if let Ok(Some(peer)) = heard {
                        drop(shared.accepted.send(peer).await);
                    }
                    drop(place);
                });
            }
            Verdict::Validate => {
                // Fails only for an address that has been validated, which has been looked at.
                let _ = incoming.retry();
            }
            Verdict::Refuse => incoming.refuse(),
        }
    }
}

/// Makes a peer of a dialer, or closes its connection with the reason.
async fn greet(shared: &Arc<Shared>, incoming: Incoming) -> Option<Peer> {
    let conn = incoming
        .await
        .inspect_err(|error| tracing::debug!(%error, "a handshake failed"))
        .ok()?;
    let peer = match welcome(shared, &conn) {
        Ok(()) => hello(shared, &conn).await,
        Err(code) => Err(code),
    };
    peer.inspect_err(|code| conn.close(VarInt::from_u32(*code), b""))
        .ok()
}

/// Whether a dialer may say hello; the code to close with when not.
fn welcome(shared: &Shared, conn: &Connection) -> Result<(), u32> {
    let node = node_of(&conn.remote_id());
    if !shared.admit.admits(&node) && !shared.admit.hears(&node) {
        return Err(code::REFUSED);
    }
    if conn.alpn() != ALPN || key_exchange(conn) != Some(HYBRID) {
        return Err(code::PROTOCOL);
    }
    let (up, limits) = (shared.registry.len(), &shared.limits);
    if up >= limits.connections || (up >= limits.strangers && !shared.admit.prefers(&node)) {
        return Err(code::BUSY);
    }
    Ok(())
}

/// Reads the hello and answers it; the code to close with when that does not work out.
async fn hello(shared: &Arc<Shared>, conn: &Connection) -> Result<Peer, u32> {
    let node = node_of(&conn.remote_id());
    let (mut send, mut recv) = conn.accept_bi().await.map_err(|_| code::PROTOCOL)?;
    let frame = read_frame(&mut recv, MAX_HELLO)
        .await
        .ok()
        .flatten()
        .ok_or(code::PROTOCOL)?;
    let hello = Hello::decode(&frame).map_err(|_| code::PROTOCOL)?;
    let version = agree(hello.version).ok_or(code::VERSION)?;
    let answer = Answer {
        version,
        run: shared.run,
    };
    write_frame(&mut send, &answer.encode())
        .await
        .map_err(|_| code::PROTOCOL)?;

    let number = shared.registry.next_number();
    let (link, ends) = Link::new(conn.clone(), node, hello.run, false, number, &shared.limits);
    shared.adopt(&link, hello.replaces, send, recv, ends);
    Ok(Peer(link))
}

/// Who may be made to pay for a dialer: what an attacker has few of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Source {
    Ip(IpAddr),
    Relayed(EndpointId),
}

impl Source {
    fn of(incoming: &Incoming) -> Option<Self> {
        match incoming.remote_addr() {
            IncomingAddr::Ip(address) => Some(Source::ip(address.ip())),
            IncomingAddr::Relay { endpoint_id, .. } => Some(Source::Relayed(endpoint_id)),
            _ => None,
        }
    }

    /// An IPv6 host has a whole /64 to itself, so the network counts as one source.
    fn ip(ip: IpAddr) -> Self {
        Source::Ip(match ip.to_canonical() {
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            v4 => v4,
        })
    }
}

enum Verdict {
    Serve(Place),
    /// Make it show that it receives at the address that it sends from; costs us no memory.
    Validate,
    Refuse,
}

#[derive(Default)]
struct Counts {
    total: usize,
    by_source: HashMap<Source, usize>,
}

/// The dialers that have not said hello yet.
struct HalfOpen {
    most: usize,
    most_per_source: usize,
    counts: Mutex<Counts>,
}

impl HalfOpen {
    fn new(limits: &Limits) -> Self {
        HalfOpen {
            most: limits.half_open.max(1),
            most_per_source: limits.half_open_per_source.max(1),
            counts: Mutex::default(),
        }
    }

    fn judge(self: &Arc<Self>, source: Option<&Source>, validated: bool) -> Verdict {
        let Some(source) = source else {
            return Verdict::Refuse;
        };
        let mut counts = self
            .counts
            .lock()
            .expect("never poisoned: nothing panics under it");
        let mine = counts.by_source.get(source).copied().unwrap_or(0);
        let crowded = counts.total >= self.most / 2 || mine >= self.most_per_source.div_ceil(2);
        if crowded && !validated {
            // Nobody can fill the places of an address that is not its own.
            return Verdict::Validate;
        }
        if counts.total >= self.most || mine >= self.most_per_source {
            return Verdict::Refuse;
        }
        counts.total += 1;
        *counts.by_source.entry(source.clone()).or_default() += 1;
        Verdict::Serve(Place {
            source: source.clone(),
            half_open: Arc::clone(self),
        })
    }
}

/// A place among the half-open connections; given back on drop.
struct Place {
    source: Source,
    half_open: Arc<HalfOpen>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self
            .half_open
            .counts
            .lock()
            .expect("never poisoned: nothing panics under it");
        counts.total -= 1;
        if let Some(mine) = counts.by_source.get_mut(&self.source) {
            *mine -= 1;
            if *mine == 0 {
                counts.by_source.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half_open() -> Arc<HalfOpen> {
        Arc::new(HalfOpen::new(&Limits {
            half_open: 8,
            half_open_per_source: 4,
            ..Limits::default()
        }))
    }

    fn source(last: u8) -> Source {
        Source::ip([192, 0, 2, last].into())
    }

    #[test]
    fn one_source_cannot_take_all_places() {
        let half_open = half_open();
        let mut places = Vec::new();
        for _ in 0..4 {
            match half_open.judge(Some(&source(1)), true) {
                Verdict::Serve(place) => places.push(place),
                _ => panic!("there is room"),
            }
        }
        assert!(matches!(half_open.judge(Some(&source(1)), true), Verdict::Refuse));
        let Verdict::Serve(other) = half_open.judge(Some(&source(2)), true) else {
            panic!("there is room for another source")
        };
        places.pop();
        assert!(matches!(
            half_open.judge(Some(&source(1)), true),
            Verdict::Serve(_)
        ));
        drop((places, other));
        let counts = half_open.counts.lock().expect("not poisoned");
        assert_eq!((counts.total, counts.by_source.len()), (0, 0));
    }

    #[test]
    fn a_crowd_must_show_its_addresses() {
        let half_open = half_open();
        let mut places = Vec::new();
        for last in 0..8 {
            match half_open.judge(Some(&source(last)), last >= 4) {
                Verdict::Serve(place) => places.push(place),
                _ => panic!("there is room"),
            }
            let next = half_open.judge(Some(&source(100 + last)), false);
            assert_eq!(matches!(next, Verdict::Validate), last >= 3, "{last}");
        }
        assert!(matches!(
            half_open.judge(Some(&source(99)), true),
            Verdict::Refuse
        ));
    }

    #[test]
    fn an_ipv6_network_is_one_source() {
        let ip = |text: &str| Source::ip(text.parse().expect("an address"));
        assert_eq!(ip("2001:db8:1:2::1"), ip("2001:db8:1:2:ffff::9"));
        assert_ne!(ip("2001:db8:1:2::1"), ip("2001:db8:1:3::1"));
        assert_eq!(ip("::ffff:192.0.2.1"), ip("192.0.2.1"));
    }
}
