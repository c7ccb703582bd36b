//! Versions: of the program, of this API, and of what is stored.

use serde::{Deserialize, Serialize};

/// The version of this API, which stands at the front of every path.
pub const API_VERSION: u64 = 1;

/// What `--version --json` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Versions {
    /// Of the program.
    pub version: String,
    /// Of the API between the command line and the agent.
    pub api_version: u64,
    /// Of what leaves the process.
    pub formats: Formats,
}

/// The newest version of each format that this program reads and writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Formats {
    /// Signed statements and sealed objects.
    pub statement: u64,
    /// The key file.
    pub key_file: u64,
    /// The databases of the node and of its vaults.
    pub database: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_begins_with_the_version() {
        let front = format!("/v{API_VERSION}/");
        for path in [crate::agent::STATUS.path, crate::keys::PUBLIC.path] {
            assert!(path.starts_with(&front), "{path}");
        }
    }
}
