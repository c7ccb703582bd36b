//! Sharing: who is in a vault, in which role, and how somebody gets in and out.
//!
//! In every question `vault` is a name or an id and `who` a node's id or petname, as the user typed it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::endpoint::Endpoint;
use crate::vaults::{Committed, OneVault};

/// Lets a node into a vault.
pub const SHARE: Endpoint<Share, Shared> = Endpoint::json("/v1/vaults/share", "Let a node into a vault");
/// Who is meant when a vault is to be shared with somebody.
pub const CANDIDATES: Endpoint<Candidates, CandidateList> = Endpoint::json(
    "/v1/vaults/candidates",
    "Nodes that are meant when a vault is shared with somebody",
);
/// Takes a node out of a vault.
pub const UNSHARE: Endpoint<Unshare, Unshared> =
    Endpoint::json("/v1/vaults/unshare", "Take a node out of a vault");
/// The members of a vault.
pub const MEMBERS: Endpoint<OneVault, MemberList> =
    Endpoint::json("/v1/vaults/members", "Members of a vault");
/// What each member may do.
pub const PERMISSIONS: Endpoint<OneVault, PermissionList> =
    Endpoint::json("/v1/vaults/permissions", "What each member of a vault may do");
/// The secrets that former members could read and that have not changed since.
pub const ROTATION: Endpoint<OneVault, Rotation> = Endpoint::json(
    "/v1/vaults/rotation",
    "Secrets that former members could read and that have not changed since",
);
/// Makes a ticket.
pub const INVITE: Endpoint<Invite, Invited> =
    Endpoint::json("/v1/vaults/invite", "Make a ticket for a vault");
/// Redeems a ticket.
pub const JOIN: Endpoint<Join, Joined> = Endpoint::json("/v1/vaults/join", "Redeem a ticket");
/// How many copies of a vault there are, and how old they are.
pub const STATUS: Endpoint<OneVault, VaultStatus> =
    Endpoint::json("/v1/vaults/status", "Copies of a vault and how old they are");

/// The commits that are kept and do not count.
pub const SET_ASIDE: Endpoint<OneVault, AsideList> =
    Endpoint::json("/v1/vaults/set-aside", "Commits that are kept and do not count");
/// Makes a commit that does not count a change of this node.
pub const ADOPT: Endpoint<Adopt, Committed> =
    Endpoint::json("/v1/vaults/adopt", "Make a commit that was set aside count");

/// Commits that are set aside, each after what it builds on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AsideList {
    /// They.
    pub commits: Vec<AsideItem>,
}

/// A commit that is kept and does not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AsideItem {
    /// The commit.
    pub commit_id: String,
    /// The node that made it.
    pub committer: String,
    /// When, in RFC 3339, by that node's clock.
    pub timestamp: String,
    /// What it did, as the one who made it says.
    pub message: String,
    /// Why it does not count: `no-right`, `removed`, `fork`, `closed` or `malformed`.
    pub reason: String,
    /// What it changed.
    pub paths: Vec<String>,
    /// True when adopting it would change nothing.
    pub settled: bool,
}

/// Names a commit that is set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Adopt {
    /// Name or id of the vault.
    pub vault: String,
    /// The commit's id, or a unique beginning of it.
    pub commit: String,
}

/// Asks to let a node in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// Name or id of the vault.
    pub vault: String,
    /// The node, or an identity or domain.
    pub who: String,
    /// `reader`, `writer`, `admin` or `keeper`; `reader` when absent.
    #[serde(default)]
    pub role: Option<String>,
    /// The nodes that the user confirmed, where `who` is an identity or a domain.
    #[serde(default)]
    pub nodes: Option<Vec<String>>,
}

/// Asks who is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Candidates {
    /// Name or id of the vault.
    pub vault: String,
    /// The node, or an identity or domain.
    pub who: String,
}

/// The nodes that are meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CandidateList {
    /// True when the user named the one node itself: nothing is to be confirmed.
    pub direct: bool,
    /// They.
    pub candidates: Vec<Candidate>,
}

/// A node that may be meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    /// Its id.
    pub node_id_encoded: String,
    /// What the user calls it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub petname: Option<String>,
    /// True when the user confirmed it before: trusted it, or shared with it as this person.
    pub confirmed: bool,
    /// What it may do in the vault already.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub role: Option<String>,
    /// The identities that it speaks for.
    pub proofs: Vec<CandidateProof>,
    /// The other devices of its owner, which come with it.
    pub devices: Vec<String>,
    /// True when its signed history was forked: nothing is shared with it.
    pub doubtful: bool,
}

/// A proof of a candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CandidateProof {
    /// `provider:identity`.
    pub identity: String,
    /// When both ends were first seen to agree, in milliseconds since 1970.
    pub since: u64,
    /// When they were last seen to agree.
    pub checked: u64,
}

/// A node that was let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Shared {
    /// The vault's id.
    pub vault_id: String,
    /// The vault's name.
    pub vault_name: String,
    /// The node.
    pub node_id_encoded: String,
    /// Its role.
    pub role: String,
    /// True when this takes effect only once the node's keys were fetched and verified.
    pub pending: bool,
    /// All nodes that were let in, where several were.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub nodes: Vec<String>,
}

/// Asks to take a node out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Unshare {
    /// Name or id of the vault.
    pub vault: String,
    /// The node.
    pub who: String,
}

/// A node that was taken out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Unshared {
    /// The vault's id.
    pub vault_id: String,
    /// The vault's name.
    pub vault_name: String,
    /// The node.
    pub node_id_encoded: String,
    /// The secrets that it could read and that have not changed since.
    pub rotate: Vec<RotationItem>,
}

/// The secrets to rotate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rotation {
    /// By path.
    pub rotate: Vec<RotationItem>,
}

/// One secret that somebody who is out could read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RotationItem {
    /// Its path.
    pub path: String,
    /// Those who could read it.
    pub read_by: Vec<String>,
}

/// Members, by node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemberList {
    /// The members, then those that wait.
    pub members: Vec<MemberItem>,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberItem {
    /// The node.
    pub node_id_encoded: String,
    /// What the user calls it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub petname: Option<String>,
    /// The identities for which it and the devices of the same principal speak. They give no right.
    pub gestalt: Vec<String>,
    /// Its role.
    pub role: String,
    /// Since when, in RFC 3339, by the clock of who let it in; absent while it waits.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub since: Option<String>,
    /// Who let it in; absent while it waits.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub granted_by: Option<String>,
    /// True for this node itself.
    pub this_node: bool,
    /// True when it is in only once its keys were fetched and verified.
    pub pending: bool,
    /// When it was last seen to hold all that we hold, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_sync: Option<u64>,
}

/// Permissions, by node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PermissionList {
    /// One for each member but this node.
    pub permissions: Vec<PermissionItem>,
}

/// What one member may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PermissionItem {
    /// The vault.
    pub vault_id_encoded: String,
    /// The node.
    pub node_id_encoded: String,
    /// Some of `clone`, `pull`, `write`, `admin`.
    pub vault_permission_list: Vec<String>,
}

/// Asks for a ticket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Invite {
    /// Name or id of the vault.
    pub vault: String,
    /// As in [`Share`].
    #[serde(default)]
    pub role: Option<String>,
    /// For how long it can be used, in milliseconds; a day when absent.
    #[serde(default)]
    pub expires: Option<u64>,
    /// The only node that may use it.
    #[serde(default)]
    pub to: Option<String>,
}

/// A new ticket. Whoever holds it may join.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Invited {
    /// One line of text.
    pub ticket: String,
    /// The vault's id.
    pub vault_id: String,
    /// The vault's name.
    pub vault_name: String,
    /// The role that it gives.
    pub role: String,
    /// Until when it can be used, in milliseconds since 1970.
    pub expires: u64,
}

/// Redeems a ticket.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// The ticket.
    pub ticket: String,
}

/// A vault that was joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Joined {
    /// The vault's id.
    pub vault_id: String,
    /// Its name here; empty for a keeper, which has no name for what it keeps.
    pub vault_name: String,
    /// Our role in it.
    pub role: String,
    /// Who let us in.
    pub node_id_encoded: String,
}

/// Where copies of a vault are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultStatus {
    /// The vault's id.
    pub vault_id: String,
    /// The vault's name.
    pub vault_name: String,
    /// Our role in it.
    pub role: String,
    /// Copies that can be read and that were ever seen, this one too.
    pub full_copies: u64,
    /// Copies of ciphertext only that were ever seen.
    pub ciphertext_copies: u64,
    /// Copies that are known to hold all that we hold, this one too.
    pub fresh_copies: u64,
    /// For how long the copy that is furthest behind was not seen, in milliseconds; absent when none was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub oldest_lag: Option<u64>,
    /// All copies but this one.
    pub copies: Vec<CopyItem>,
}

/// One copy of a vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CopyItem {
    /// A node's id, or a folder.
    pub place: String,
    /// `reader`, `writer`, `admin`, `keeper` or `folder`.
    pub kind: String,
    /// When it was last seen, in milliseconds since 1970; absent when never.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_sync: Option<u64>,
    /// True when it then held all that we hold now.
    pub fresh: bool,
    /// What the node there says is wrong, as in the list of replicas.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trouble: Option<String>,
}
