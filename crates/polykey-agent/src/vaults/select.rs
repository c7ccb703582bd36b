//! What the user meant: from typed text to things in a vault.
//!
//! `a#b` may be a secret or a field of `a`, `*` may be a name or a pattern, `a=B` a name or a variable. Only
//! the vault's content decides, and an exact name wins; then a name for a variable, then a field, then a
//! pattern. Every command asks here, so they all agree.

use polykey_api::{Code, Problem};
use polykey_core::{PathError, SecretPath};
use polykey_vault::{EntryKind, Stat, VaultError, View};

use super::problem::{path_problem, vault_problem};
use crate::glob::{Glob, Hidden, is_pattern};

/// A view with the name that messages call its vault.
pub struct Seen<'v> {
    /// The vault's name.
    pub vault: &'v str,
    /// Its content.
    pub view: &'v View,
}

/// Something that was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picked {
    /// What stands there.
    pub stat: Stat,
    /// A field of it.
    pub field: Option<String>,
    /// True when a pattern found it.
    pub by_pattern: bool,
}

/// Which meanings a command has a use for.
#[derive(Debug, Clone, Copy)]
pub struct Meanings {
    /// `#field`.
    pub fields: bool,
    /// Patterns, and whether they find hidden names.
    pub patterns: Option<Hidden>,
}

impl Seen<'_> {
    fn problem(&self, error: VaultError) -> Problem {
        vault_problem(self.vault, error)
    }

    /// What stands at exactly this path, if anything does.
    ///
    /// # Errors
    /// What the vault says. A text that is no path names nothing.
    pub fn exact(&self, text: &str) -> Result<Option<Stat>, Problem> {
        let Ok(path) = SecretPath::parse(text) else {
            return Ok(None);
        };
        match self.view.stat(&path) {
            Ok(stat) => Ok(Some(stat)),
            Err(VaultError::NoSuchPath { .. } | VaultError::NotDirectory { .. }) => Ok(None),
            Err(error) => Err(self.problem(error)),
        }
    }

    /// All that `text` means; never empty.
    ///
    /// # Errors
    /// [`Code::SecretNotFound`] for nothing, [`Code::BadPath`] for what cannot be a path.
    pub fn pick(&self, text: &str, meanings: Meanings) -> Result<Vec<Picked>, Problem> {
        let one = |stat, field| {
            Ok(vec![Picked {
                stat,
                field,
                by_pattern: false,
            }])
        };
        if let Some(stat) = self.exact(text)? {
            return one(stat, None);
        }
        if meanings.fields
            && let Some((stat, field)) = self.field(text)?
        {
            return one(stat, Some(field));
        }
        if let Some(hidden) = meanings.patterns
            && is_pattern(text)
        {
            let found = self.matching(text, hidden)?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        match SecretPath::parse(text) {
            Ok(path) => Err(super::problem::no_secret(self.vault, &path)),
            Err(error) => Err(path_problem(self.vault, error)),
        }
    }

    /// One thing, and no pattern.
    ///
    /// # Errors
    /// As [`Seen::pick`].
    pub fn one(&self, text: &str) -> Result<Stat, Problem> {
        let meanings = Meanings {
            fields: false,
            patterns: None,
        };
        let mut picked = self.pick(text, meanings)?;
        picked
            .pop()
            .map(|picked| picked.stat)
            .ok_or_else(|| Problem::new(Code::Internal, "nothing was picked"))
    }

    /// The record and field that `text` can be split into; the longest path wins.
    ///
    /// # Errors
    /// What the vault says.
    pub fn field(&self, text: &str) -> Result<Option<(Stat, String)>, Problem> {
        for (at, _) in text.rmatch_indices('#') {
            let (path, field) = (&text[..at], &text[at + 1..]);
            if field.is_empty() {
                continue;
            }
            if let Some(stat) = self.exact(path)?.filter(|stat| stat.kind == EntryKind::Record) {
                return Ok(Some((stat, field.to_owned())));
            }
        }
        Ok(None)
    }

    fn matching(&self, text: &str, hidden: Hidden) -> Result<Vec<Picked>, Problem> {
        let glob = Glob::parse(text, hidden);
        let base = SecretPath::parse(&glob.base()).map_err(|error| path_problem(self.vault, error))?;
        let below = match self.view.walk(&base) {
            Ok(below) => below,
            Err(VaultError::NoSuchPath { .. } | VaultError::NotDirectory { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(self.problem(error)),
        };
        Ok(below
            .into_iter()
            .filter(|stat| glob.matches(stat.path.as_str()))
            .map(|stat| Picked {
                stat,
                field: None,
                by_pattern: true,
            })
            .collect())
    }

    /// All below a directory.
    ///
    /// # Errors
    /// What the vault says.
    pub fn walk(&self, dir: &SecretPath) -> Result<Vec<Stat>, Problem> {
        self.view.walk(dir).map_err(|error| self.problem(error))
    }
}

/// A path that is to be made, exactly as typed.
///
/// # Errors
/// [`Code::BadPath`]; [`Code::Usage`] for the root.
pub fn new_path(vault: &str, text: &str) -> Result<SecretPath, Problem> {
    match SecretPath::parse(text) {
        Ok(path) if path.is_root() => Err(Problem::new(
            Code::Usage,
            format!("a path in the vault {vault} is missing"),
        )),
        Ok(path) => Ok(path),
        Err(error @ PathError::Empty) => Err(Problem::new(Code::Usage, error.to_string())),
        Err(error) => Err(path_problem(vault, error)),
    }
}
