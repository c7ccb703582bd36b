//! Replicas: copies of a vault's ciphertext, at other nodes and in folders.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Nothing;
use crate::endpoint::Endpoint;
use crate::vaults::{OneVault, VaultItem};

/// Adds a copy.
pub const ADD: Endpoint<Replica, ReplicaItem> =
    Endpoint::json("/v1/vaults/replicas/add", "Keep a copy of a vault's ciphertext");
/// The copies.
pub const LIST: Endpoint<OneVault, ReplicaList> =
    Endpoint::json("/v1/vaults/replicas/list", "Copies of a vault's ciphertext");
/// Brings copies up to date, both ways.
pub const SYNC: Endpoint<SyncReplicas, ReplicaReports> =
    Endpoint::json("/v1/vaults/replicas/sync", "Bring copies up to date, both ways");
/// Removes a copy from the list.
pub const REMOVE: Endpoint<Replica, ReplicaItem> =
    Endpoint::json("/v1/vaults/replicas/remove", "Do without a copy from now on");

/// The vaults that this node keeps for others.
pub const KEPT: Endpoint<Nothing, KeptList> =
    Endpoint::json("/v1/vaults/kept", "Vaults that this node keeps for others");
/// Keeps a vault for others no longer.
pub const DROP: Endpoint<DropKept, KeptItem> =
    Endpoint::json("/v1/vaults/drop", "Keep a vault for others no longer");

/// Brings a vault in from a folder.
pub const CLONE: Endpoint<CloneFolder, VaultItem> =
    Endpoint::json("/v1/vaults/replicas/clone", "Bring in a vault from a folder");

/// Asks to bring in a vault from a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CloneFolder {
    /// The folder, by its whole path.
    pub folder: String,
    /// Its name, where somebody told it, or its id; the only one in the folder, when absent.
    #[serde(default)]
    pub vault: Option<String>,
}

/// Names a vault and a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Replica {
    /// Name or id of the vault.
    pub vault: String,
    /// Where.
    pub place: Place,
}

/// Where a copy is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// At a node: its id or petname.
    Node(String),
    /// In a folder, named by its whole path.
    Folder(String),
}

/// Asks to bring copies up to date.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SyncReplicas {
    /// Name or id of the vault.
    pub vault: String,
    /// Only this one.
    #[serde(default)]
    pub only: Option<Place>,
}

/// Copies, nodes first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplicaList {
    /// They.
    pub replicas: Vec<ReplicaItem>,
}

/// One copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaItem {
    /// The vault.
    pub vault_id: String,
    /// A node's id, or a folder.
    pub place: String,
    /// `node` or `folder`.
    pub kind: String,
    /// When it was last brought up to date, in milliseconds since 1970; absent when never.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_sync: Option<u64>,
    /// True for a folder that is absent.
    pub absent: bool,
    /// True when the other node's user has not agreed yet.
    pub waiting: bool,
    /// What the other node says is wrong: `no-room` when it keeps as much as it may, `dropped` when it keeps this
    /// vault no longer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trouble: Option<String>,
}

/// What this node keeps for others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeptList {
    /// The vaults, by id.
    pub vaults: Vec<KeptItem>,
    /// About so many bytes they take in all.
    pub size: u64,
    /// So many bytes they may take.
    pub quota: u64,
}

/// A vault that this node keeps for others: ciphertext, and no key to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeptItem {
    /// The vault.
    pub vault_id: String,
    /// The node that asked for it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub asked_by: Option<String>,
    /// What the user calls that node.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub petname: Option<String>,
    /// Since when it is kept, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub since: Option<u64>,
    /// When something last came, in milliseconds since 1970; absent when nothing did.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_change: Option<u64>,
    /// About so many bytes it takes.
    pub size: u64,
    /// True when the last that came found no room.
    pub full: bool,
}

/// Names a vault that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DropKept {
    /// Its id.
    pub vault: String,
}

/// What was done, one for each copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplicaReports {
    /// They.
    pub reports: Vec<ReplicaReport>,
}

/// How one copy was brought up to date.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaReport {
    /// A node's id, or a folder.
    pub place: String,
    /// Items that came from there.
    pub received: u64,
    /// Items that went there.
    pub sent: u64,
    /// True when it holds less than it once did.
    pub stale: bool,
    /// Why it was not done.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub problem: Option<String>,
}
