//! What the command line asks of the binary to run a relay, and what came up.

use std::path::PathBuf;

use serde::Serialize;

/// How a relay shall run. It needs no node and no agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayOrder {
    /// Where it listens: `host:port`. With a certificate the host is the name in it.
    pub listen: String,
    /// The files of its certificate chain and of its private key (PEM); plain HTTP without them.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// UDP port on which nodes learn how they look from outside; only with a certificate.
    pub discovery_port: Option<u16>,
    /// Ids of the nodes that may use it; everybody when there is none.
    pub allow: Vec<String>,
    /// How much to log, as for an agent.
    pub verbose: u8,
}

/// A relay that came up. Printed by `relay`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RelayStarted {
    /// The URL to give to nodes.
    pub url: String,
    /// UDP port on which it tells nodes how they look from outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discovery_port: Option<u16>,
}
