//! The order that a starter hands to the agent, and the report that comes back.
//!
//! In the background both travel over pipes as one line of JSON, so the password never stands in an
//! argument or in the environment of the agent.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What to start or to bootstrap. Holds secrets: it is written to a pipe, never to a file or a log.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StartOrder {
    /// The node path, absolute.
    pub node_path: PathBuf,
    /// Password, in base64: that of the node, or the first one of a new node.
    pub password: Option<String>,
    /// Recovery code: makes a new node with that identity, or sets a new password on an existing one.
    pub recovery_code: Option<String>,
    /// The recovery code was made just now: no node had it before.
    pub new_code: bool,
    /// Private key (JWK or encrypted JWK) for a new node.
    pub private_key: Option<String>,
    /// Puts what lies in the node path aside and makes a new node.
    pub fresh: bool,
    /// Never makes a node: for a start that nobody asked for by name.
    pub existing_only: bool,
    /// Where the output of an agent in the background goes, instead of `agent.log`.
    pub out_file: Option<PathBuf>,
    /// Where its log goes, instead of `agent.log`.
    pub err_file: Option<PathBuf>,
    /// Argon2id passes: `min`, `interactive`, `moderate`, `sensitive`, `max`.
    pub ops_limit: Option<String>,
    /// Argon2id memory, by the same names.
    pub mem_limit: Option<String>,
    /// Names of the settings whose value stands in `config.toml`. One that cannot be meant is bad configuration
    /// there, and wrong usage anywhere else.
    pub configured: Vec<String>,
    /// `mainnet`, `local`, `offline` or the URL of a relay.
    pub network: Option<String>,
    /// Address for other nodes to reach this one.
    pub agent_host: Option<String>,
    /// Port for other nodes to reach this one.
    pub agent_port: Option<u16>,
    /// So many audit records are kept; 0 keeps all.
    pub audit_keep: Option<u64>,
    /// Bytes that are kept for others in all.
    pub keeper_quota: Option<u64>,
    /// Nodes to begin with: `id@address:port`, parted by semicolons.
    pub seed_nodes: Option<String>,
    /// DNS servers to ask instead of the system's: addresses, perhaps with a port, parted by semicolons.
    pub dns_servers: Option<String>,
    /// Milliseconds that an attempt to reach another node may take.
    pub connection_timeout: Option<u64>,
    /// Threads that serve requests; 0 for one for each processor.
    pub workers: Option<u16>,
    /// Relays of the user's choice: URLs, parted by semicolons.
    pub relays: Option<String>,
    /// File with certificates (PEM) that vouch for those relays.
    pub relay_ca: Option<PathBuf>,
    /// Whether the node's addresses are published for everybody to look up.
    pub publish: bool,
    /// Whose nodes alone may connect: nodes, petnames, identities and domains, parted by semicolons.
    pub members: Option<String>,
    /// How identities are looked at.
    pub identities: IdentityOrder,
    /// How much to log: 0 warnings, 1 info, 2 debug, 3 trace.
    pub verbose: u8,
}

/// How identities are looked at.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IdentityOrder {
    /// Services: `host=kind` or `host=kind@url`, parted by semicolons.
    pub services: Option<String>,
    /// Where the pages of all domains are asked for.
    pub https: Option<String>,
    /// DNS servers: addresses, perhaps with a port, parted by semicolons.
    pub dns_server: Option<String>,
    /// File with certificates (PEM) that vouch for providers.
    pub ca: Option<PathBuf>,
    /// Hours between two looks at a known link.
    pub recheck_hours: Option<u32>,
    /// The application that asks for logins at GitHub.
    pub github_client: Option<String>,
}

impl std::fmt::Debug for StartOrder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StartOrder")
            .field("node_path", &self.node_path)
            .finish_non_exhaustive()
    }
}

/// What came to life. Printed by `agent start`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Started {
    /// Process id of the agent.
    pub pid: u32,
    /// Id of the node.
    pub node_id: String,
    /// Where the API is reached.
    pub socket: String,
    /// The recovery code, only when the node is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery_code: Option<String>,
}

impl std::fmt::Debug for Started {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Started")
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}

/// What `bootstrap` made.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bootstrapped {
    /// Id of the node.
    pub node_id: String,
    /// The recovery code.
    pub recovery_code: String,
}
