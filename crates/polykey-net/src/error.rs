//! What can go wrong between two nodes, for whoever must act on it.

use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use iroh::endpoint::{
    ConnectError, ConnectWithOptsError, ConnectingError, ConnectionError, TransportErrorCode, VarInt,
};
use polykey_core::NodeId;

use crate::address::RelayUrl;

/// Longest text of a farewell in bytes.
const MAX_TEXT: usize = 128;

/// The codes with which a connection is closed. Those from [`FAREWELL`](code::FAREWELL) on belong to the caller.
pub(crate) mod code {
    pub(crate) const REFUSED: u32 = 1;
    pub(crate) const BUSY: u32 = 2;
    pub(crate) const VERSION: u32 = 3;
    pub(crate) const PROTOCOL: u32 = 4;
    pub(crate) const SUPERSEDED: u32 = 5;
    pub(crate) const STOPPED: u32 = 6;
    pub(crate) const FAREWELL: u32 = 0x1_0000;
}

/// TLS alerts (RFC 8446, section 6) that a handshake ends with.
mod alert {
    pub(super) const HANDSHAKE_FAILURE: u8 = 40;
    pub(super) const BAD_CERTIFICATE: u8 = 42;
    pub(super) const UNKNOWN_CA: u8 = 48;
    pub(super) const DECRYPT_ERROR: u8 = 51;
    pub(super) const NO_APPLICATION_PROTOCOL: u8 = 120;
}

type Cause = Arc<dyn Error + Send + Sync>;

/// Why a connection could not be had or used.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// The node cannot take part in the network with this configuration.
    #[error("cannot listen on the network")]
    Start {
        /// What the network said.
        source: Cause,
    },
    /// Nobody answered in time. Trying again may help.
    #[error("cannot reach node {node}: tried {tried}")]
    Unreachable {
        /// Whom.
        node: NodeId,
        /// Where.
        tried: Tried,
        /// What the network said, unless it said nothing.
        source: Option<Cause>,
    },
    /// Somebody answered who does not hold the key of the node.
    #[error("what answers at the known addresses of node {node} is another node")]
    WrongNode {
        /// Whom we wanted.
        node: NodeId,
    },
    /// The node does not speak with us. Trying again will not help.
    #[error("node {node} refuses to speak with this node")]
    Refused {
        /// Who refused.
        node: NodeId,
    },
    /// We do not speak with the node.
    #[error("this node does not speak with node {node}")]
    Blocked {
        /// Whom.
        node: NodeId,
    },
    /// The node has as many connections as it allows. Trying again later may help.
    #[error("node {node} has too many connections at the moment")]
    Busy {
        /// Who is busy.
        node: NodeId,
    },
    /// The node speaks another version of the protocol, or another protocol.
    #[error("node {node} does not speak this version of the protocol")]
    Version {
        /// Who.
        node: NodeId,
    },
    /// The node said something that the protocol does not know.
    #[error("node {node} does not keep to the protocol")]
    Protocol {
        /// Who.
        node: NodeId,
    },
    /// The connection is gone. A new one may be had.
    #[error("the connection with node {node} is gone: {reason}")]
    Closed {
        /// With whom.
        node: NodeId,
        /// Why.
        reason: Reason,
    },
    /// A node does not connect to itself.
    #[error("this is the id of this node itself")]
    Itself,
    /// The node has left the network.
    #[error("this node has left the network")]
    Stopped,
}

impl NetError {
    /// True when another attempt at once may do: the node may have come, or come back, meanwhile.
    pub fn may_pass(&self) -> bool {
        matches!(self, NetError::Unreachable { .. } | NetError::Closed { .. })
    }
}

/// What was tried to reach a node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tried {
    /// Known addresses.
    pub direct: Vec<SocketAddr>,
    /// Relays.
    pub relays: Vec<RelayUrl>,
    /// Lookups that were asked, in words.
    pub lookups: Vec<&'static str>,
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = self.direct.iter().map(ToString::to_string).collect();
        parts.extend(self.relays.iter().map(|relay| format!("relay {relay}")));
        parts.extend(self.lookups.iter().map(|lookup| (*lookup).to_owned()));
        if parts.is_empty() {
            return f.write_str("nothing, since no address of it is known");
        }
        f.write_str(&parts.join(", "))
    }
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Nothing was heard for [`IDLE_TIMEOUT`](crate::config::IDLE_TIMEOUT), or the network broke it.
    Lost,
    /// The other side closed it with this farewell.
    Farewell(Farewell),
    /// The other side refuses us.
    Refused,
    /// The other side has too many connections.
    Busy,
    /// The other side speaks another version.
    Version,
    /// One side said what the protocol does not know.
    Protocol,
    /// Another connection between the same nodes took its place.
    Superseded,
    /// The other side leaves the network.
    Stopped,
    /// We closed it.
    Ours,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Lost => "it was lost",
            // The text is the peer's own; who shows it must escape it.
            Reason::Farewell(_) => "the node closed it",
            Reason::Refused => "the node refuses this node",
            Reason::Busy => "the node has too many connections",
            Reason::Version => "the node speaks another version",
            Reason::Protocol => "one side did not keep to the protocol",
            Reason::Superseded => "another connection took its place",
            Reason::Stopped => "the node leaves the network",
            Reason::Ours => "this node closed it",
        })
    }
}

/// The last word on a connection: a code of the caller's protocol and a short text for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Farewell {
    code: u16,
    text: String,
}

impl Farewell {
    /// A farewell; of `text` at most 128 bytes are kept.
    pub fn new(code: u16, text: &str) -> Self {
        let end = (0..=text.len().min(MAX_TEXT))
            .rev()
            .find(|end| text.is_char_boundary(*end));
        Farewell {
            code,
            text: text[..end.unwrap_or(0)].to_owned(),
        }
    }

    /// The code.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The text. From a peer it is whatever the peer wrote.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn wire_code(&self) -> VarInt {
        VarInt::from_u32(code::FAREWELL + u32::from(self.code))
    }
}

impl From<&ConnectionError> for Reason {
    fn from(error: &ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => {
                let wire = u32::try_from(close.error_code.into_inner()).unwrap_or(u32::MAX);
                match wire {
                    code::REFUSED => Reason::Refused,
                    code::BUSY => Reason::Busy,
                    code::VERSION => Reason::Version,
                    code::SUPERSEDED => Reason::Superseded,
                    code::STOPPED => Reason::Stopped,
                    wire => match wire
                        .checked_sub(code::FAREWELL)
                        .and_then(|code| u16::try_from(code).ok())
                    {
                        Some(code) => {
                            // Cut before it is decoded: the frame may be as long as a packet.
                            let cut = &close.reason[..close.reason.len().min(MAX_TEXT)];
                            Reason::Farewell(Farewell::new(code, &String::from_utf8_lossy(cut)))
                        }
                        None => Reason::Protocol,
                    },
                }
            }
            ConnectionError::LocallyClosed => Reason::Ours,
            ConnectionError::TransportError(_) | ConnectionError::VersionMismatch => Reason::Protocol,
            _ => Reason::Lost,
        }
    }
}

impl NetError {
    /// The error for a connection with `node` that ended for `reason` before or while it was used.
    pub(crate) fn closed(node: NodeId, reason: Reason) -> Self {
        match reason {
            Reason::Refused => NetError::Refused { node },
            Reason::Busy => NetError::Busy { node },
            Reason::Version => NetError::Version { node },
            Reason::Protocol => NetError::Protocol { node },
            reason => NetError::Closed { node, reason },
        }
    }

    /// The error for an attempt that the transport gave up.
    pub(crate) fn connecting(node: NodeId, tried: Tried, error: ConnectError) -> Self {
        let connection = match &error {
            ConnectError::Connect { source, .. } => match source {
                ConnectWithOptsError::SelfConnect { .. } => return NetError::Itself,
                ConnectWithOptsError::EndpointClosed { .. } => return NetError::Stopped,
                _ => None,
            },
            ConnectError::Connecting {
                source: ConnectingError::ConnectionError { source, .. },
                ..
            } => Some(source),
            ConnectError::Connection { source, .. } => Some(source),
            _ => None,
        };
        if let Some(connection) = connection {
            if let Some(alert) = tls_alert(connection) {
                return match alert {
                    alert::UNKNOWN_CA | alert::BAD_CERTIFICATE | alert::DECRYPT_ERROR => {
                        NetError::WrongNode { node }
                    }
                    alert::NO_APPLICATION_PROTOCOL => NetError::Version { node },
                    alert::HANDSHAKE_FAILURE => NetError::Protocol { node },
                    _ => NetError::unreachable(node, tried, error),
                };
            }
            match Reason::from(connection) {
                Reason::Lost | Reason::Ours | Reason::Protocol => {}
                reason => return NetError::closed(node, reason),
            }
        }
        NetError::unreachable(node, tried, error)
    }

    pub(crate) fn unreachable(node: NodeId, tried: Tried, error: impl Error + Send + Sync + 'static) -> Self {
        NetError::Unreachable {
            node,
            tried,
            source: Some(Arc::new(error)),
        }
    }

    pub(crate) fn start(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        NetError::Start {
            source: Arc::from(error.into()),
        }
    }
}

/// The TLS alert that ended a handshake, whichever side sent it.
fn tls_alert(error: &ConnectionError) -> Option<u8> {
    let code = match error {
        ConnectionError::TransportError(error) => error.code,
        ConnectionError::ConnectionClosed(close) => close.error_code,
        _ => return None,
    };
    (0..=u8::MAX).find(|alert| TransportErrorCode::crypto(*alert) == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn farewells_are_short() {
        assert_eq!(Farewell::new(1, &"a".repeat(500)).text().len(), MAX_TEXT);
        // Never cut inside a character.
        assert_eq!(
            Farewell::new(1, &"\u{20ac}".repeat(100)).text().len(),
            MAX_TEXT - 2
        );
        assert_eq!(Farewell::new(7, "so long").code(), 7);
    }

    #[test]
    fn errors_say_what_was_tried() {
        let mut tried = Tried::default();
        assert_eq!(tried.to_string(), "nothing, since no address of it is known");
        tried.direct.push("192.0.2.1:5".parse().expect("an address"));
        tried
            .relays
            .push("https://relay.example.org".parse().expect("a URL"));
        tried.lookups.push("the local network");
        assert_eq!(
            tried.to_string(),
            "192.0.2.1:5, relay https://relay.example.org/, the local network"
        );
    }
}
