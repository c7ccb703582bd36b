//! The agent itself: its state, its sessions, lock and unlock.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::endpoint::{Endpoint, Nothing};

/// What the agent is and does. Needs no password.
pub const STATUS: Endpoint<Nothing, Status> = Endpoint::json("/v1/agent/status", "State of the agent");
/// Ends the agent.
pub const STOP: Endpoint<Nothing, Nothing> = Endpoint::json("/v1/agent/stop", "Stop the agent");
/// Forgets all sessions. Needs no password: locking is always possible.
pub const LOCK: Endpoint<Nothing, Nothing> = Endpoint::json("/v1/agent/lock", "Forget all sessions");
/// Forgets all sessions and drops all keys from memory.
pub const LOCK_ALL: Endpoint<Nothing, Nothing> =
    Endpoint::json("/v1/agent/lockall", "Forget all sessions and all keys");
/// Opens a session with the password, and the keys when they are locked.
pub const UNLOCK: Endpoint<UnlockRequest, Session> =
    Endpoint::json("/v1/agent/unlock", "Unlock, and open a session");
/// Opens a session with the password of an unlocked agent.
pub const LOGIN: Endpoint<UnlockRequest, Session> = Endpoint::json("/v1/session/open", "Open a session");
/// Does nothing but ask whether the credentials are good.
pub const CHECK: Endpoint<Nothing, Nothing> = Endpoint::json("/v1/session/check", "Check the credentials");

/// The state of a node path, as `agent status` shows it. Only `status` is there when nothing runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// `STARTING`, `LIVE`, `STOPPING` or `DEAD`.
    pub status: State,
    /// Process id of the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Id of the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_id: Option<String>,
    /// Where the API is reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<String>,
    /// True when the keys are locked and only `unlock` works.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locked: Option<bool>,
    /// Address on which the node listens for others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_host: Option<String>,
    /// Port on which the node listens for others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_port: Option<u16>,
    /// Which network it takes part in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Why it does not, when it should.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_problem: Option<String>,
    /// Milliseconds since the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up_time: Option<u64>,
    /// Start, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<u64>,
    /// Nodes that this one is connected with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections_active: Option<u64>,
    /// Nodes that are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes_total: Option<u64>,
    /// Version of the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Version of the library; one with the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_version: Option<String>,
    /// Version of the stored formats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_version: Option<u64>,
    /// Version of the protocol between nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_version: Option<u64>,
}

/// The life of an agent, as the lock file tells it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// Holds the node path, does not answer yet.
    Starting,
    /// Answers.
    Live,
    /// Is going.
    Stopping,
    /// Nothing holds the node path.
    #[default]
    Dead,
}

impl State {
    /// The text of `agent status`.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Starting => "STARTING",
            State::Live => "LIVE",
            State::Stopping => "STOPPING",
            State::Dead => "DEAD",
        }
    }
}

/// Asks for a session. The password stands in the `Authorization` header, never here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UnlockRequest {
    /// A name for the session in the audit log.
    #[serde(default)]
    pub name: Option<String>,
}

/// A session that was opened.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// The token, to be sent as `Authorization: Bearer`.
    pub token: String,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session(hidden)")
    }
}
