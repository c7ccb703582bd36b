//! Vaults: making, naming, placing, history.
//!
//! In every question `vault` is a name or an id, as the user typed it; a name wins over an id.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::endpoint::{Endpoint, Shape};

/// Makes a vault.
pub const CREATE: Endpoint<CreateVault, VaultItem> = Endpoint::json("/v1/vaults/create", "Make a vault");
/// Lists vaults, or those that were deleted and can come back.
pub const LIST: Endpoint<ListVaults, VaultList> = Endpoint::json("/v1/vaults/list", "List vaults");
/// Gives a vault another name.
pub const RENAME: Endpoint<RenameVault, VaultItem> = Endpoint::json("/v1/vaults/rename", "Rename a vault");
/// Puts a vault away for 30 days.
pub const DELETE: Endpoint<OneVault, VaultItem> = Endpoint::json("/v1/vaults/delete", "Delete a vault");
/// Brings a deleted vault back.
pub const UNDELETE: Endpoint<Undelete, VaultItem> =
    Endpoint::json("/v1/vaults/undelete", "Bring a deleted vault back");
/// Moves a vault's folder.
pub const RELOCATE: Endpoint<Relocate, VaultItem> =
    Endpoint::json("/v1/vaults/relocate", "Move a vault to another folder");
/// The commits of a vault, newest first.
pub const LOG: Endpoint<VaultLog, LogItem> =
    Endpoint::new("/v1/vaults/log", "Commits of a vault, newest first", Shape::Lines);
/// What differs between two versions of a vault.
pub const DIFF: Endpoint<VaultDiff, DiffItem> = Endpoint::new(
    "/v1/vaults/diff",
    "What differs between two versions",
    Shape::Lines,
);
/// Makes the content equal to an earlier version by a new commit.
pub const VERSION: Endpoint<VaultVersion, Committed> = Endpoint::json(
    "/v1/vaults/version",
    "Make the content equal to an earlier version",
);
/// Forgets history.
pub const PURGE: Endpoint<Purge, Purged> = Endpoint::json("/v1/vaults/purge", "Forget history");
/// The paths whose versions stand side by side.
pub const CONFLICTS: Endpoint<Conflicts, ConflictItem> = Endpoint::new(
    "/v1/vaults/conflicts",
    "Versions that stand side by side",
    Shape::Lines,
);
/// Settles a conflict.
pub const RESOLVE: Endpoint<Resolve, Committed> = Endpoint::json("/v1/vaults/resolve", "Settle a conflict");

/// Asks for a new vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateVault {
    /// Its name.
    pub name: String,
    /// An absolute folder for it; without one the agent chooses a place in the node path.
    #[serde(default)]
    pub at: Option<String>,
}

/// One vault, as `vaults list` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultItem {
    /// Its name.
    pub vault_name: String,
    /// Its id.
    pub vault_id_encoded: String,
    /// The folder, where it is not in its default place.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub folder: Option<String>,
    /// False while the folder is absent.
    pub available: bool,
    /// When a deleted vault is removed for good, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub deleted_until: Option<u64>,
}

/// Which vaults are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ListVaults {
    /// Those that were deleted, instead of the others.
    pub deleted: bool,
}

/// Vaults, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VaultList {
    /// The vaults.
    pub vaults: Vec<VaultItem>,
}

/// Names one vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OneVault {
    /// Name or id.
    pub vault: String,
}

/// Asks for another name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RenameVault {
    /// Name or id.
    pub vault: String,
    /// The new name.
    pub new_name: String,
}

/// Asks for a deleted vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Undelete {
    /// Name or id; of several deleted ones of that name the last deleted.
    pub vault: String,
    /// The name it shall have, where its own is taken.
    #[serde(default)]
    pub name: Option<String>,
}

/// Asks for another place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Relocate {
    /// Name or id.
    pub vault: String,
    /// The new folder, absolute; empty or absent so far.
    pub to: String,
}

/// Asks for commits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct VaultLog {
    /// Name or id.
    pub vault: String,
    /// Only commits that touch this path or something below it.
    pub path: Option<String>,
    /// At most so many.
    pub depth: Option<u64>,
    /// From this commit (or a unique beginning of its id) backwards.
    pub commit_id: Option<String>,
}

/// One commit, or in `secrets log` one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogItem {
    /// Number of the version; only in the history of a secret.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version: Option<u64>,
    /// The commit.
    pub commit_id: String,
    /// The node that made it.
    pub committer: String,
    /// When, in RFC 3339.
    pub timestamp: String,
    /// What it did, as the one who made it says.
    pub message: String,
    /// The commits it builds on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub parents: Option<Vec<String>>,
    /// Where the secret was; only in the history of a secret.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub path: Option<String>,
    /// Size in bytes; only in the history of a secret, absent where the content was removed or purged.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub size: Option<u64>,
    /// True when the content of this version was purged.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub purged: bool,
    /// True when the commit is kept and does not count, as what a member writes beyond its removal.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub set_aside: bool,
}

/// Asks for a difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VaultDiff {
    /// Name or id.
    pub vault: String,
    /// The older version: a commit or a unique beginning of its id, or `last`.
    pub from: String,
    /// The newer version; now, when absent.
    #[serde(default)]
    pub to: Option<String>,
    /// Adds the values.
    #[serde(default)]
    pub reveal: bool,
}

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DiffKind {
    /// Only in the newer version.
    Added,
    /// In both, with other content or attributes.
    Changed,
    /// Only in the older version.
    Removed,
}

/// One path that differs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DiffItem {
    /// The path.
    pub path: String,
    /// What happened to it.
    pub change: DiffKind,
    /// The older value in base64, when asked for; absent also where it is longer than 1 MiB.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub before: Option<String>,
    /// The newer value, likewise.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub after: Option<String>,
}

/// Asks for an earlier content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VaultVersion {
    /// Name or id.
    pub vault: String,
    /// A commit, a unique beginning of its id, or `last`: the newest commit that this call did not make.
    pub version: String,
}

/// The commit that a change made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Committed {
    /// The vault's id.
    pub vault_id: String,
    /// The commit; absent when nothing had to change.
    pub commit_id: Option<String>,
}

/// Asks to forget.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Purge {
    /// Name or id.
    pub vault: String,
    /// Only this path and what lies below it.
    pub path: Option<String>,
    /// Versions that were replaced or removed before this moment, in milliseconds since 1970.
    pub before: Option<u64>,
    /// Deletes at once instead of after 7 days.
    pub now: bool,
}

/// What was forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Purged {
    /// The vault's id.
    pub vault_id: String,
    /// Versions that can no longer be read.
    pub versions: u64,
    /// When they are deleted, in milliseconds since 1970.
    pub deleted_at: u64,
}

/// Asks for conflicts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Conflicts {
    /// Name or id; all vaults, when absent.
    pub vault: Option<String>,
}

/// One path with several versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConflictItem {
    /// The vault's name.
    pub vault_name: String,
    /// The path.
    pub path: String,
    /// The versions; the first one is the one that is shown.
    pub versions: Vec<ConflictVersion>,
}

/// One of several versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConflictVersion {
    /// The commit that made it: what `resolve --take` wants.
    pub commit_id: String,
    /// The node that made it.
    pub committer: String,
    /// When, in RFC 3339.
    pub timestamp: String,
    /// Where this version is, when the conflict is about the place.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub path: Option<String>,
    /// Size in bytes; absent when this version is a removal.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub size: Option<u64>,
}

/// Settles a conflict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Resolve {
    /// Name or id.
    pub vault: String,
    /// The path, as typed.
    pub path: String,
    /// The commit of the version that shall stay, or a unique beginning of its id.
    pub take: String,
}
