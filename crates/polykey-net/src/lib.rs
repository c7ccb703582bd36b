//! The network of polykey: connections to nodes by their key, and nothing about what they carry.
//!
//! A [`Net`] listens and dials. Whom it dials is named by a [`NodeId`](polykey_core::NodeId), which is the
//! public key that the other side proves to hold, so a wrong address, a lying lookup or a hostile relay can
//! only keep two nodes apart, never bring the wrong two together. A connection is a [`Peer`]: it exists only
//! after both sides have said hello, and gives pairs of streams.
//!
//! Always: the key exchange is hybrid (X25519 with ML-KEM-768) between nodes of ours, no data rides on the
//! first flight of a handshake (0-RTT), no server is used that the user did not name, and every length,
//! number and wait that a peer can influence has a bound in [`config`] or [`frame`].
//!
//! Records and pages outside of that network, for whoever checks what somebody published there, are looked up by
//! [`web`], under the same rule about servers.
//!
//! Start at [`Net::start`]; what goes over the wire before the streams is in [`hello`].

mod accept;
mod address;
pub mod config;
mod control;
mod error;
pub mod frame;
pub mod hello;
mod link;
mod nearby;
mod net;
mod peer;
mod probe;
mod registry;
#[cfg(feature = "relay")]
pub mod relay;
mod tls;
pub mod web;

pub use address::{AddressError, MAX_DIRECT, NodeAddress, RelayUrl};
pub use config::{Admission, Limits, Mode, ModeError, NetConfig};
pub use error::{Farewell, NetError, Reason, Tried};
pub use net::Net;
pub use peer::{ConnectionInfo, Path, Peer, Receiver, Sender, stream_code};

/// What a log filter wants to hear from the libraries below this crate, as directives for `tracing`.
///
/// They report at `ERROR` what is an ordinary day on a network (a relay connection closed, a path lost), so
/// only what stops them is let through. A program that logs puts these behind its own directives.
pub const LOG_DIRECTIVES: &[&str] = &[
    "iroh=off",
    "iroh_relay=off",
    "iroh_mdns_address_lookup=off",
    "iroh_mainline_address_lookup=off",
    "mainline=off",
    "n0_mainline=off",
    "netwatch=off",
    "noq=off",
    "noq_proto=off",
    "noq_udp=off",
    "portmapper=off",
    "swarm_discovery=off",
    "hyper=off",
    "hyper_util=off",
    "reqwest=off",
    "rustls=off",
    "tokio_rustls=off",
];
