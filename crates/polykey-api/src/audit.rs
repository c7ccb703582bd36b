//! The audit log.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::endpoint::{Endpoint, Nothing, Shape};

/// Reads the audit log, and follows it when asked to.
pub const READ: Endpoint<AuditQuery, AuditRecord> =
    Endpoint::new("/v1/audit/read", "Read or follow the audit log", Shape::Lines);
/// Checks the chain of the audit log.
pub const VERIFY: Endpoint<Nothing, AuditVerdict> =
    Endpoint::json("/v1/audit/verify", "Check the chain of the audit log");

/// In which order records come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Oldest first.
    #[default]
    Asc,
    /// Newest first.
    Desc,
}

/// Which records are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct AuditQuery {
    /// Event paths; each selects itself and all below it. None selects all.
    pub events: Vec<String>,
    /// Not before this moment, in milliseconds since 1970.
    pub seek_start: Option<u64>,
    /// Not after this moment, in milliseconds since 1970.
    pub seek_end: Option<u64>,
    /// At most this many records in all.
    pub limit: Option<u64>,
    /// In which order.
    pub order: Order,
    /// Waits for further records.
    pub follow: bool,
}

/// One record: who asked for what, when, and whether it was allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditRecord {
    /// Place in the chain, from 1.
    pub seq: u64,
    /// Milliseconds since 1970; 0 when it is not known.
    pub time: u64,
    /// What was asked for, as a path such as `secrets.read`.
    pub path: String,
    /// The vault, where one was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vault: Option<String>,
    /// The secrets, keys or other objects that were named.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub targets: Vec<String>,
    /// Whether the door let it pass.
    pub allowed: bool,
    /// Process that asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// User that asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// `password`, or the session; for a request of another node its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// True when the record is missing or cannot be read: then nothing but its place is known.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub damaged: bool,
}

/// What checking the chain found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditVerdict {
    /// True when every record is there and as it was written.
    pub valid: bool,
    /// Records that were checked.
    pub records: u64,
    /// Records before these that were forgotten, as the setting `audit-keep` wants.
    #[serde(default)]
    pub forgotten: u64,
    /// Places in the chain that are missing or edited; at most 100 are listed.
    pub damaged: Vec<u64>,
}
