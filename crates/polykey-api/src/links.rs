//! Links between nodes, and what nodes say of themselves in their sigchains.
//!
//! In every question `who` is a node's id or petname, as the user typed it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::endpoint::Endpoint;
use crate::nodes::OneNode;

/// Invites a node to a link.
pub const INVITE: Endpoint<InviteNode, NodeInvited> = Endpoint::json(
    "/v1/identities/invite",
    "Invite a node to say that both know each other",
);
/// Makes the link to which a node invited this one.
pub const CLAIM: Endpoint<OneNode, Linked> = Endpoint::json(
    "/v1/nodes/claim",
    "Make the link to which a node invited this one",
);
/// Ends the links with a node.
pub const UNCLAIM: Endpoint<OneNode, Unlinked> =
    Endpoint::json("/v1/nodes/unclaim", "End the links with a node");
/// The sigchain of a node.
pub const CLAIMS: Endpoint<ReadClaims, ClaimList> =
    Endpoint::json("/v1/nodes/claims", "What a node says in its sigchain");

/// Asks to invite a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InviteNode {
    /// The node.
    pub who: String,
    /// For how long, in milliseconds; a day when it is missing.
    #[serde(default)]
    pub expires: Option<u64>,
}

/// An invitation that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeInvited {
    /// The node.
    pub node_id_encoded: String,
    /// Until when, in milliseconds since 1970.
    pub expires: u64,
    /// False when the node cannot be reached now: it is told later.
    pub delivered: bool,
}

/// A link that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Linked {
    /// True: a link that was not made is an error.
    pub success: bool,
    /// The other node.
    pub node_id_encoded: String,
    /// The entry of our own sigchain.
    pub claim_id: String,
}

/// Links that were ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Unlinked {
    /// The other node.
    pub node_id_encoded: String,
    /// How many links there were.
    pub ended: u64,
}

/// Asks for a sigchain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReadClaims {
    /// Whose; this node's when it is missing.
    pub who: Option<String>,
}

/// A sigchain as far as it is known here, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClaimList {
    /// Its entries.
    pub claims: Vec<ClaimItem>,
}

/// An entry of a sigchain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClaimItem {
    /// Its id.
    pub claim_id: String,
    /// Its place, from 0.
    pub number: u64,
    /// What it is: `start`, `device`, `link-node`, `link-identity`, `key-record`, `rotate`, `revoke`,
    /// `device-removed`, `resume` or `succeed`.
    #[serde(rename = "type")]
    pub kind: String,
    /// When, in milliseconds since 1970, by the clock of its node.
    pub time: u64,
    /// The node, identity or entry that it is about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub about: Option<String>,
    /// True when a later entry ended it.
    pub ended: bool,
}
