//! What `doctor` finds.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::endpoint::{Endpoint, Nothing};

/// Looks at everything that an open node can look at.
pub const EXAMINE: Endpoint<Nothing, Findings> =
    Endpoint::json("/v1/agent/examine", "Check databases, audit log and keys");

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// As it should be.
    Good,
    /// Works, but could be better.
    Warning,
    /// Something is broken.
    Bad,
    /// Could not be looked at.
    Unknown,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// What was looked at.
    pub check: String,
    /// How it is.
    pub health: Health,
    /// In one sentence.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
}

impl Finding {
    /// A check with its outcome.
    pub fn new(check: &str, health: Health, message: impl Into<String>) -> Self {
        Finding {
            check: check.to_owned(),
            health,
            message: message.into(),
            hint: None,
        }
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// All checks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Findings {
    /// In the order in which they were made.
    pub findings: Vec<Finding>,
}
