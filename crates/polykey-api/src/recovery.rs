//! Recovery: bringing back a node whose devices are lost.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::endpoint::Endpoint;

/// Makes a node on an empty disk what it was.
pub const RESUME: Endpoint<Resume, Resumed> =
    Endpoint::json("/v1/recovery/resume", "Make a node on an empty disk what it was");

/// Asks to go on.
#[derive(Default, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Resume {
    /// The recovery code, unless the node was nobody before.
    pub recovery_code: Option<String>,
    /// Nodes to ask, by id or petname; all that are known when there are none.
    pub who: Vec<String>,
    /// The node was nobody before.
    pub new: bool,
}

impl std::fmt::Debug for Resume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resume")
            .field("who", &self.who)
            .field("new", &self.new)
            .finish_non_exhaustive()
    }
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resumed {
    /// The node.
    pub node_id_encoded: String,
    /// True when its sigchain was continued; false when that was done before, or there was none.
    pub continued: bool,
    /// Names of the vaults that came.
    pub vaults: Vec<String>,
    /// Names of those that did not come yet.
    pub waiting: Vec<String>,
}
