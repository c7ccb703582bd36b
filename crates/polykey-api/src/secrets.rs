//! Secrets: reading, writing, moving, attributes, history.
//!
//! A [`Target`] is what the user typed, split at its first colon and no further: only the vault knows
//! whether `a#b` is a name or a field, and an exact name wins.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::endpoint::{Endpoint, Shape};
use crate::problem::ProblemBody;
use crate::vaults::{Committed, LogItem};

/// Several secrets in one answer, as [`crate::frames`]; each head is a [`SecretHead`].
pub const FETCH: Endpoint<Fetch, SecretHead> = Endpoint::new(
    "/v1/secrets/fetch",
    "Read several secrets, as frames",
    Shape::Download,
);
/// One secret as raw bytes.
pub const READ: Endpoint<ReadOne, Vec<u8>> = Endpoint::new(
    "/v1/secrets/read",
    "Read one secret as raw bytes",
    Shape::Download,
);
/// One secret from raw bytes.
pub const WRITE: Endpoint<Write, Written> = Endpoint::new(
    "/v1/secrets/write",
    "Write one secret from raw bytes",
    Shape::Upload,
);
/// Several secrets in one commit, from [`crate::frames`]; each head is an [`ImportHead`].
pub const IMPORT: Endpoint<Import, Imported> = Endpoint::new(
    "/v1/secrets/import",
    "Write several secrets in one commit, from frames",
    Shape::Upload,
);
/// What a directory holds.
pub const LIST: Endpoint<List, Entry> = Endpoint::new("/v1/secrets/list", "List a directory", Shape::Lines);
/// What is known about one secret or directory.
pub const STAT: Endpoint<OneTarget, Entry> =
    Endpoint::json("/v1/secrets/stat", "Describe a secret or directory");
/// Removes secrets and directories.
pub const REMOVE: Endpoint<Remove, Batch> =
    Endpoint::json("/v1/secrets/remove", "Remove secrets and directories");
/// Makes directories.
pub const MKDIR: Endpoint<Mkdir, Batch> = Endpoint::json("/v1/secrets/mkdir", "Make directories");
/// Makes empty secrets where there are none, or marks existing ones as changed now.
pub const TOUCH: Endpoint<Touch, Batch> = Endpoint::json("/v1/secrets/touch", "Make empty secrets");
/// Moves or renames, inside a vault or across.
pub const MOVE: Endpoint<Transfer, Batch> =
    Endpoint::json("/v1/secrets/move", "Move secrets and directories");
/// Copies, inside a vault or across.
pub const COPY: Endpoint<Transfer, Batch> =
    Endpoint::json("/v1/secrets/copy", "Copy secrets and directories");
/// Changes the fields of a record.
pub const SET: Endpoint<SetFields, Written> =
    Endpoint::json("/v1/secrets/set", "Change the fields of a record");
/// Changes or shows attributes.
pub const ATTRIBUTES: Endpoint<SetAttributes, Attributes> =
    Endpoint::json("/v1/secrets/attributes", "Change or show attributes");
/// The versions of one secret, newest first.
pub const LOG: Endpoint<SecretLog, LogItem> = Endpoint::new(
    "/v1/secrets/log",
    "Versions of a secret, newest first",
    Shape::Lines,
);
/// Brings a version of a secret back by a new commit.
pub const RESTORE: Endpoint<Restore, Committed> =
    Endpoint::json("/v1/secrets/restore", "Bring a version back");
/// Looks for text in names, attributes and content.
pub const FIND: Endpoint<Find, Found> = Endpoint::new(
    "/v1/secrets/find",
    "Find secrets by name, attribute or content",
    Shape::Lines,
);

/// Something in a vault, as typed: `vault:path`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Name or id of the vault.
    pub vault: String,
    /// What was behind the colon, with `#field`, pattern or `=NAME` still in it; empty for the whole vault.
    #[serde(default)]
    pub path: String,
}

/// For what secrets are fetched; it decides what an argument may mean.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// Secrets, fields and patterns; a directory is an error.
    #[default]
    Cat,
    /// Also whole vaults and directories, records field by field, and `=NAME`. Every error ends it.
    Env,
    /// Whole trees, with the path below what was named; records as they are.
    Copy,
    /// One secret with the version that an answer must name.
    Edit,
}

/// Asks for secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Fetch {
    /// What to read, in this order.
    pub targets: Vec<Target>,
    /// For what.
    #[serde(default)]
    pub purpose: Purpose,
    /// As of this commit, or a unique beginning of its id.
    #[serde(default)]
    pub at: Option<String>,
    /// As of this moment, in milliseconds since 1970.
    #[serde(default)]
    pub at_time: Option<u64>,
    /// Goes into directories; only for copies.
    #[serde(default)]
    pub recursive: bool,
}

/// One secret that follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretHead {
    /// Which of the targets it answers, from 0.
    pub target: usize,
    /// Name of the vault.
    pub vault: String,
    /// Path in the vault.
    pub path: String,
    /// The field, where one was meant.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub field: Option<String>,
    /// The name it shall have: of the variable, or of the file below the place that was named.
    pub name: String,
    /// True for a directory, which has no bytes.
    #[serde(default)]
    pub directory: bool,
    /// Its version.
    pub version: u64,
    /// Bytes that follow; not known for a record that is shown as JSON.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub size: Option<u64>,
    /// True when the commit that was asked for wrote it, and is set aside.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub set_aside: bool,
}

/// Asks for one secret as raw bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ReadOne {
    /// Name or id of the vault.
    pub vault: String,
    /// Path, with `#field` where one is meant.
    pub path: String,
    /// As of this commit, or a unique beginning of its id.
    #[serde(default)]
    pub at: Option<String>,
    /// As of this moment, in milliseconds since 1970.
    #[serde(default)]
    pub at_time: Option<u64>,
}

/// Says where the bytes go. Stands in the query.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Write {
    /// Name or id of the vault.
    pub vault: String,
    /// Path; a field of a record where `#field` is meant.
    pub path: String,
    /// Fails when something is there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub create: bool,
    /// Fails unless the version is still this one; 0: unless nothing is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cas: Option<u64>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Written {
    /// The vault's id.
    pub vault_id: String,
    /// The path.
    pub path: String,
    /// The version that stands there now.
    pub version: u64,
    /// The commit; absent when the same bytes were there already.
    pub commit_id: Option<String>,
    /// True when nothing was there before.
    pub created: bool,
}

/// Says where the secrets go. Stands in the query.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Import {
    /// Name or id of the vault.
    pub vault: String,
    /// The directory, or the place of a single secret.
    pub path: String,
    /// `path` may be the new name of the one thing that is sent; otherwise it is the directory for it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub rename: bool,
}

/// One secret or directory that follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportHead {
    /// Its path: the base name of what was named, and what lies below.
    pub path: String,
    /// True for a directory, which has no bytes.
    #[serde(default)]
    pub directory: bool,
}

/// What was imported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Imported {
    /// The vault's id.
    pub vault_id: String,
    /// Secrets that arrived.
    pub secrets: u64,
    /// The commit; absent when all was there already.
    pub commit_id: Option<String>,
}

/// Asks for a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// A vault, a directory, a secret or a pattern.
    pub target: Target,
    /// Names that begin with a dot as well.
    #[serde(default)]
    pub all: bool,
    /// Everything below.
    #[serde(default)]
    pub recursive: bool,
}

/// One entry of a listing, or the answer of `stat`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Entry {
    /// Path in the vault; empty for its root.
    pub path: String,
    /// What a listing shows: the base name in a directory, the path where several directories are meant.
    pub name: String,
    /// `directory`, `raw` or `record`.
    pub kind: String,
    /// Bytes; 0 for a directory.
    pub size: u64,
    /// Number of the version; 0 for a directory.
    pub version: u64,
    /// When it was made, in milliseconds since 1970; 0 where it is not known.
    pub created: u64,
    /// When it was last changed, likewise.
    pub modified: u64,
    /// The node that changed it last; empty for a directory.
    pub committer: String,
    /// Its attributes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// True while several versions stand side by side.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub conflict: bool,
}

/// Names one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OneTarget {
    /// What was typed.
    pub target: Target,
}

/// Asks for removal. One commit a vault; what can be removed is, the rest is reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Remove {
    /// Secrets, directories, patterns.
    pub targets: Vec<Target>,
    /// Directories with all they hold.
    #[serde(default)]
    pub recursive: bool,
    /// What is not there is no failure.
    #[serde(default)]
    pub force: bool,
}

/// Asks for directories.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Mkdir {
    /// The directories.
    pub targets: Vec<Target>,
    /// Makes missing parents, and takes an existing directory as made.
    #[serde(default)]
    pub parents: bool,
}

/// Asks for empty secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Touch {
    /// The secrets.
    pub targets: Vec<Target>,
}

/// Asks for a copy or a move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Transfer {
    /// What to take.
    pub sources: Vec<Target>,
    /// Where to: a directory, or with a single source its new name.
    pub to: Target,
    /// Directories with all they hold; a move always does.
    #[serde(default)]
    pub recursive: bool,
    /// `to` is a name in the directory where the source is, as in `rename`.
    #[serde(default)]
    pub in_place: bool,
}

/// What a call on several things did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Batch {
    /// What was done, `vault:path` each.
    pub done: Vec<String>,
    /// What was not done.
    pub failed: Vec<Failure>,
    /// The commits, one a vault that changed.
    pub commits: Vec<Committed>,
}

/// One thing that was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    /// What was typed.
    pub target: Target,
    /// Why not.
    pub error: ProblemBody,
}

/// Kinds of fields, as the command line names them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FieldKind {
    /// Shown to everybody who may read the secret.
    #[default]
    Text,
    /// Hidden until it is asked for.
    Concealed,
    /// Seed of one-time passwords.
    Otp,
    /// An address.
    Url,
    /// Free text.
    Note,
    /// A private or symmetric key.
    Key,
    /// The bytes of a file.
    File,
}

/// One field to set.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its kind; absent keeps what it is, or takes the one that its name suggests.
    #[serde(default)]
    pub kind: Option<FieldKind>,
    /// Its bytes, in base64.
    pub value: String,
}

impl std::fmt::Debug for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Field")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Asks for changed fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetFields {
    /// The record.
    pub target: Target,
    /// Fields to set.
    #[serde(default)]
    pub fields: Vec<Field>,
    /// Fields to take away.
    #[serde(default)]
    pub unset: Vec<String>,
    /// Fails unless the version is still this one.
    #[serde(default)]
    pub cas: Option<u64>,
}

/// Asks for changed attributes, or with nothing to change for those that are there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetAttributes {
    /// The secret.
    pub target: Target,
    /// Attributes to set, in order.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// Attributes to take away.
    #[serde(default)]
    pub unset: Vec<String>,
}

/// The attributes of a secret after the call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attributes {
    /// All of them.
    pub attributes: BTreeMap<String, String>,
    /// The commit; absent when nothing had to change.
    pub commit_id: Option<String>,
}

/// Asks for versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretLog {
    /// The secret.
    pub target: Target,
    /// At most so many.
    #[serde(default)]
    pub depth: Option<u64>,
}

/// Asks for a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Restore {
    /// The secret.
    pub target: Target,
    /// A number, a commit or a unique beginning of its id.
    pub version: String,
}

/// Asks where a text occurs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Find {
    /// The text; case counts only where it has capitals.
    pub text: String,
    /// Looks into the content as well.
    pub content: bool,
    /// Only in this vault.
    pub vault: Option<String>,
}

/// One secret that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Found {
    /// Name of the vault.
    pub vault: String,
    /// Path in it.
    pub path: String,
    /// What matched: `name`, `content`, or the key of an attribute.
    pub matched: String,
    /// Its attributes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub attributes: BTreeMap<String, String>,
}
