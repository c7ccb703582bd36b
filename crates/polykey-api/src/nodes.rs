//! Other nodes: names, addresses, connections.
//!
//! In every question `who` is a node's id or petname, as the user typed it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::doctor::Findings;
use crate::endpoint::{Endpoint, Nothing};

/// Keeps the address of a node.
pub const ADD: Endpoint<AddNode, NodeItem> = Endpoint::json("/v1/nodes/add", "Keep the address of a node");
/// Finds a node.
pub const FIND: Endpoint<OneNode, NodeItem> = Endpoint::json("/v1/nodes/find", "Find a node");
/// Asks a node whether it is there.
pub const PING: Endpoint<OneNode, Pinged> =
    Endpoint::json("/v1/nodes/ping", "Ask a node whether it is there");
/// All nodes that are known.
pub const GET_ALL: Endpoint<Nothing, NodeList> =
    Endpoint::json("/v1/nodes/getall", "All nodes that are known");
/// The connections that are up.
pub const CONNECTIONS: Endpoint<Nothing, ConnectionList> =
    Endpoint::json("/v1/nodes/connections", "Connections that are up");
/// Gives a node a petname, or takes it away.
pub const NAME: Endpoint<NameNode, NodeItem> = Endpoint::json("/v1/nodes/name", "Give a node a petname");
/// Refuses a node, or no longer.
pub const BLOCK: Endpoint<BlockNode, NodeItem> =
    Endpoint::json("/v1/nodes/block", "Refuse a node, or no longer");
/// Says why a node cannot be reached.
pub const EXAMINE: Endpoint<OneNode, Findings> =
    Endpoint::json("/v1/nodes/examine", "Why a node can or cannot be reached");

/// Names one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OneNode {
    /// Id or petname.
    pub who: String,
}

/// Asks to keep an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AddNode {
    /// The id.
    pub node: String,
    /// Its IP address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Keeps the address although the node does not answer there.
    #[serde(default)]
    pub force: bool,
    /// Does not ask the node whether it is there.
    #[serde(default)]
    pub no_ping: bool,
}

/// Asks for a petname.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NameNode {
    /// Id or petname so far.
    pub who: String,
    /// The petname; none takes it away.
    #[serde(default)]
    pub petname: Option<String>,
}

/// Asks to refuse a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BlockNode {
    /// Id or petname.
    pub who: String,
    /// False lets it in again.
    pub blocked: bool,
}

/// An address of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeAddress {
    /// IP address and port, or the URL of a relay.
    pub address: String,
    /// `added`, `seen`, `ticket` or `told`.
    pub source: String,
    /// Since when, or when it was last seen, in milliseconds since 1970.
    pub since: u64,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeItem {
    /// Its id.
    pub node_id_encoded: String,
    /// What the user calls it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub petname: Option<String>,
    /// Where it was reached last, or may be reached.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub node_address: Option<String>,
    /// All addresses that are known, newest first.
    pub node_contact: Vec<NodeAddress>,
    /// True while a connection is up.
    pub connected: bool,
    /// True when the user added it or shared with it.
    pub trusted: bool,
    /// True when it is refused.
    pub blocked: bool,
    /// When it was last connected, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_seen: Option<u64>,
}

/// Whether a node is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pinged {
    /// True when it answered.
    pub success: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

/// Nodes, by id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeList {
    /// The nodes.
    pub nodes: Vec<NodeItem>,
}

/// One connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionItem {
    /// With whom.
    pub node_id_encoded: String,
    /// What the user calls it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub petname: Option<String>,
    /// The other side's IP address, when the connection is direct.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub host: Option<String>,
    /// The other side's port, when the connection is direct.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub port: Option<u16>,
    /// The relay, when the connection runs through one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub relay: Option<String>,
    /// `direct`, `relayed` or `unknown`.
    pub path: String,
    /// What told the address, when that is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lookup: Option<String>,
    /// Round trip in microseconds.
    pub round_trip: u64,
    /// How long it has been up, in milliseconds.
    pub age: u64,
    /// Whether this node dialled.
    pub dialled: bool,
    /// Whether the key exchange has a post-quantum part.
    pub post_quantum: bool,
}

/// Connections, by node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConnectionList {
    /// The connections.
    pub connections: Vec<ConnectionItem>,
}
