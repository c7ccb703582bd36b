//! What a caller chooses, and every bound that holds a peer.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use polykey_core::NodeId;

use crate::address::RelayUrl;

/// Name of the protocol in the handshake. A peer that speaks another one is turned away before its hello.
pub const ALPN: &[u8] = b"polykey/1";

/// How long a connection attempt may take, from lookup to the answer to our hello. A local lookup answers
/// within one second, a distant one within three; the transport itself would try for thirty.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// How long a dialer may take from its first packet to its hello. As long as it tries itself.
pub const HELLO_DEADLINE: Duration = CONNECT_DEADLINE;
/// After this long without a packet a peer is gone. Three keep-alives may be lost before that.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a silent connection says that it is alive.
pub const KEEP_ALIVE: Duration = Duration::from_secs(3);
/// A connection that was heard within this time is used without asking it first.
pub const FRESH: Duration = Duration::from_secs(1);
/// How long an old connection may take to answer a ping before a new one is dialled beside it. Longer than
/// any round trip on earth by cable, short enough not to be noticed.
pub const PATIENCE: Duration = Duration::from_millis(400);
/// A request that waits is no reason for doubt before this, and a ping is waited for as long: then a new
/// connection is dialled beside the one that may be dead. A slow line that is full takes longer to answer than an
/// idle one, and a connection that is replaced breaks all that runs on it.
pub const DOUBT: Duration = Duration::from_secs(1);
/// A connection that lost to another one between the same nodes is closed after this long without a stream:
/// long enough that the other side has learnt of both.
pub const RETIRE_AFTER: Duration = Duration::from_secs(30);
/// Streams that a peer may have open at once. Requests are short; the rest queue at the peer.
pub const MAX_STREAMS: u32 = 64;
/// Unread bytes that one stream may hold.
pub const STREAM_WINDOW: u32 = 2 << 20;
/// Unread bytes that one connection may hold while we know nothing of the peer but its key: with 256
/// connections at most 64 MiB.
pub const NARROW_WINDOW: u32 = 256 << 10;
/// Unread bytes that one connection may hold once we dialled it or [widened](crate::Peer::widen) it.
pub const WIDE_WINDOW: u32 = 8 << 20;
/// Bytes on their way to a peer that has not confirmed them.
pub const SEND_WINDOW: u64 = 8 << 20;

/// How a node takes part in the network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Mode {
    /// The local network, lookups in the Mainline DHT, and the relays of the configuration.
    #[default]
    Mainnet,
    /// The local network only.
    Local,
    /// Known addresses only.
    Offline,
    /// Known addresses and this relay only.
    Relay(RelayUrl),
}

/// The text names no mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a network is mainnet, local, offline, or the URL of a relay")]
pub struct ModeError;

impl FromStr for Mode {
    type Err = ModeError;

    fn from_str(text: &str) -> Result<Self, ModeError> {
        match text {
            "mainnet" => Ok(Mode::Mainnet),
            "local" => Ok(Mode::Local),
            "offline" => Ok(Mode::Offline),
            url => url.parse().map(Mode::Relay).map_err(|_| ModeError),
        }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Mode::Mainnet => f.write_str("mainnet"),
            Mode::Local => f.write_str("local"),
            Mode::Offline => f.write_str("offline"),
            Mode::Relay(url) => url.fmt(f),
        }
    }
}

/// How much all peers together, and each of them, may ask of this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections that are up at once. One more is told that we are busy.
    pub connections: usize,
    /// The same for nodes that are not [preferred](Admission::prefers), so that strangers with many keys do
    /// not take the places of friends.
    pub strangers: usize,
    /// Connections with one node. One more closes the oldest.
    pub connections_per_node: usize,
    /// Dialers that have not said hello yet. Past half of it a dialer must first show that it can receive
    /// at the address that it sends from.
    pub half_open: usize,
    /// The same for one IPv4 address, one IPv6 network (/64), or one node behind a relay.
    pub half_open_per_source: usize,
    /// Streams that one peer may open a second, in the long run. More wait.
    pub streams_per_second: u32,
    /// Streams that one peer may open at once after a rest.
    pub stream_burst: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 256,
            strangers: 192,
            connections_per_node: 4,
            half_open: 64,
            half_open_per_source: 8,
            streams_per_second: 200,
            stream_burst: 1_000,
        }
    }
}

/// What a [`Net`](crate::Net) is started with.
#[derive(Debug, Clone, Default)]
pub struct NetConfig {
    /// How the node takes part.
    pub mode: Mode,
    /// Addresses to listen on; empty for all addresses of both families on a free port.
    pub bind: Vec<SocketAddr>,
    /// Relays of the user's choice, for [`Mode::Mainnet`].
    pub relays: Vec<RelayUrl>,
    /// Certificates (DER) of further authorities that may vouch for a relay's name.
    pub relay_roots: Vec<Vec<u8>>,
    /// Whether the node's own addresses go to the public DHT. Only after the user said yes.
    pub publish: bool,
    /// Where the DHT is entered; its own well-known nodes when absent.
    pub dht_bootstrap: Option<Vec<String>>,
    /// DNS servers that are asked for the names of relays, in place of the system's; nobody else is asked then.
    /// Empty for the system's.
    pub dns_servers: Vec<SocketAddr>,
    /// How long a connection attempt may take; [`CONNECT_DEADLINE`] when absent.
    pub connect_deadline: Option<Duration>,
    /// Bounds.
    pub limits: Limits,
}

/// Who is let in. Asked with the proven id of a dialer before anything else of it is read, and with the id of
/// a node before it is dialled.
pub trait Admission: Send + Sync + 'static {
    /// Whether we speak with this node at all. Must not wait.
    fn admits(&self, node: &NodeId) -> bool;

    /// Whether a dialer that is not [admitted](Admission::admits) may come in nevertheless, to say why it should be.
    /// Must not wait. Whoever [takes](crate::Net::accept) its connection holds it to that.
    fn hears(&self, _node: &NodeId) -> bool {
        false
    }

    /// Whether there is a place for this node when strangers have taken all of [theirs](Limits::strangers).
    /// Must not wait.
    fn prefers(&self, _node: &NodeId) -> bool {
        false
    }
}

impl<F: Fn(&NodeId) -> bool + Send + Sync + 'static> Admission for F {
    fn admits(&self, node: &NodeId) -> bool {
        self(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_four_words_or_a_url() {
        for text in ["mainnet", "local", "offline", "https://relay.example.org/"] {
            assert_eq!(
                text.parse::<Mode>().map(|mode| mode.to_string()),
                Ok(text.to_owned())
            );
        }
        for bad in [
            "",
            "Mainnet",
            "online",
            "ftp://relay.example.org",
            "https://",
            "local ",
        ] {
            assert_eq!(bad.parse::<Mode>(), Err(ModeError), "{bad:?}");
        }
    }
}
