//! Vaults between nodes: what another node offers, cloning, pulling.
//!
//! In every question `vault` is a name or an id and `who` a node's id or petname, as the user typed it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::endpoint::{Endpoint, Shape};
use crate::nodes::OneNode;
use crate::problem::ProblemBody;
use crate::replicas::KeptItem;
use crate::vaults::VaultItem;

/// The vaults that another node shares with this one.
pub const SCAN: Endpoint<OneNode, OfferList> =
    Endpoint::json("/v1/vaults/scan", "Vaults that another node shares with this one");
/// Brings in a vault of another node.
pub const CLONE: Endpoint<CloneVault, Step> = Endpoint::new(
    "/v1/vaults/clone",
    "Bring in a vault of another node",
    Shape::Lines,
);
/// Brings in what other members have.
pub const PULL: Endpoint<PullVaults, Step> = Endpoint::new(
    "/v1/vaults/pull",
    "Bring in what other members have",
    Shape::Lines,
);
/// Brings in what other members have, and has them do the same.
pub const SYNC: Endpoint<SyncVaults, Step> = Endpoint::new(
    "/v1/vaults/sync",
    "Bring in what other members have, and have them do the same",
    Shape::Lines,
);

/// A vault that another node offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OfferItem {
    /// What the other node calls it; empty when that only keeps its ciphertext. Text from elsewhere.
    pub vault_name: String,
    /// Its id.
    pub vault_id_encoded: String,
    /// What this node may do there: the role, and what the reference calls it.
    pub vault_permissions: Vec<String>,
}

/// Vaults, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OfferList {
    /// The vaults.
    pub offers: Vec<OfferItem>,
}

/// Asks for a vault of another node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CloneVault {
    /// The vault, as the other node calls it, or its id.
    pub vault: String,
    /// The node; when absent, whoever told that it shares this vault.
    #[serde(default)]
    pub who: Option<String>,
}

/// Asks to bring in what others have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PullVaults {
    /// One vault; all when absent.
    pub vault: Option<String>,
    /// One node; all members when absent.
    pub who: Option<String>,
}

/// Asks to bring vaults level.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SyncVaults {
    /// One vault; all when absent.
    pub vault: Option<String>,
}

/// How far a pull from one node is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Step {
    /// The vault's name here.
    pub vault_name: String,
    /// Its id.
    pub vault_id_encoded: String,
    /// From which node; empty for a folder.
    pub node_id_encoded: String,
    /// What the user calls that node, or its id; or the folder.
    pub node: String,
    /// Commits that came so far.
    pub commits: u64,
    /// Pieces of content that came so far.
    pub objects: u64,
    /// Charter entries that came so far.
    pub entries: u64,
    /// True while there is no connection with the node yet.
    pub dialling: bool,
    /// True while the other side takes what is here.
    pub levelling: bool,
    /// True with the last step of this vault and node.
    pub done: bool,
    /// The vault, with the last step of a clone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vault: Option<VaultItem>,
    /// What is kept from now on instead, with the last step of a clone by a keeper.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<KeptItem>,
    /// What is not well there although the node answered, with the last step of `sync`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<ProblemBody>,
    /// Why it failed, with the last step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<ProblemBody>,
}
