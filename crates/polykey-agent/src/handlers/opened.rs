//! A vault as a call sees it: open, and as it was at the moment that was asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use polykey_api::{Code, Problem};
use polykey_core::{SecretPath, Timestamp};
use polykey_vault::{At, Stat, VaultError, View};

use crate::node::Node;
use crate::vaults::InUse;
use crate::vaults::problem::{place, vault_problem};
use crate::vaults::select::Seen;

/// An open vault and what it holds at the moment that was asked for.
pub struct Opened {
    /// The vault.
    pub vault: InUse,
    /// What it holds at that moment.
    pub view: View,
}

impl Opened {
    /// Opens the vault `name`, as it was at the commit `at` or at the time `time` if one is given.
    ///
    /// # Errors
    /// As [`crate::vaults::Vaults::open`]; [`Code::VersionNotFound`] for an unknown commit.
    pub fn new(node: &Node, name: &str, at: Option<&str>, time: Option<u64>) -> Result<Opened, Problem> {
        let vault = node.vaults.open(name)?;
        let problem = |error| vault_problem(&vault.name, error);
        let at = match (at, time) {
            (Some("last"), _) => {
                let last = vault.vault.last().map_err(problem)?;
                last.map_or(At::Now, At::Commit)
            }
            (Some(text), _) => At::Commit(vault.vault.commit_by_prefix(text).map_err(problem)?),
            (None, Some(time)) => At::Time(Timestamp::from_millis(time)),
            (None, None) => At::Now,
        };
        let view = vault.vault.view(at).map_err(problem)?;
        Ok(Opened { vault, view })
    }

    /// How paths in it are understood.
    pub fn seen(&self) -> Seen<'_> {
        Seen {
            vault: &self.vault.name,
            view: &self.view,
        }
    }
}

/// Opens each vault once for a call that names several secrets.
pub struct Openings {
    node: Arc<Node>,
    at: Option<String>,
    time: Option<u64>,
    open: BTreeMap<String, Arc<Opened>>,
}

impl Openings {
    /// Opens vaults as they were at the commit `at` or at the time `time`; as they are now without both.
    pub fn new(node: Arc<Node>, at: Option<String>, time: Option<u64>) -> Openings {
        Openings {
            node,
            at,
            time,
            open: BTreeMap::new(),
        }
    }

    /// # Errors
    /// As [`Opened::new`].
    pub fn open(&mut self, name: &str) -> Result<Arc<Opened>, Problem> {
        if let Some(opened) = self.open.get(name) {
            return Ok(opened.clone());
        }
        let opened = Arc::new(Opened::new(&self.node, name, self.at.as_deref(), self.time)?);
        self.open.insert(name.to_owned(), opened.clone());
        Ok(opened)
    }
}

/// The problem of a directory where a secret is meant.
pub fn is_directory(opened: &Opened, path: &SecretPath) -> Problem {
    vault_problem(&opened.vault.name, VaultError::IsDirectory { path: path.clone() })
}

/// # Errors
/// [`Code::SecretNotFound`] when the record has no such field.
pub fn check_field(opened: &Opened, stat: &Stat, field: &str) -> Result<(), Problem> {
    let record = opened.view.record(&stat.path);
    let record = record.map_err(|error| vault_problem(&opened.vault.name, error))?;
    if record.field(field).is_some() {
        return Ok(());
    }
    Err(Problem::new(
        Code::SecretNotFound,
        format!("{} has no field {field}", place(&opened.vault.name, &stat.path)),
    ))
}
