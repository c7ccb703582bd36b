//! Arguments that name a vault or something in one: `vault[:path][#field][=NAME]`.
//!
//! Only the vault is split off here. Whether `a#b` is a secret of that name or a field of `a`, and
//! whether `*` is a star or a pattern, only the vault can say: an exact name wins. So the rest goes to
//! the agent as it was typed, and every command reads it the same way.
//!
//! Always: a vault name holds no `:` and no `/`, so the first colon ends it, and what has a slash before
//! its first colon is a file on the disk.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::str::FromStr;

/// Why an argument names nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgError {
    /// Nothing before the colon, or nothing at all.
    #[error("there is no vault name in {0:?}")]
    NoVault(String),
    /// The command wants something inside a vault.
    #[error("{0:?} names a vault; a secret is VAULT:PATH")]
    NoPath(String),
    /// The command wants a vault.
    #[error("{0:?} names something in a vault; only the vault is wanted here")]
    NotVault(String),
    /// Vault and secret names are UTF-8.
    #[error("an argument is not UTF-8 text")]
    NotText,
}

/// `vault` or `vault:rest`, as typed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SecretArg {
    /// Name or id of the vault; never empty.
    pub vault: String,
    /// What stands behind the first colon; `None` when there is no colon.
    pub rest: Option<String>,
}

impl SecretArg {
    /// Splits at the first colon.
    ///
    /// # Errors
    /// [`ArgError::NoVault`].
    pub fn parse(text: &str) -> Result<Self, ArgError> {
        let (vault, rest) = match text.split_once(':') {
            Some((vault, rest)) => (vault, Some(rest.to_owned())),
            None => (text, None),
        };
        if vault.is_empty() {
            return Err(ArgError::NoVault(text.to_owned()));
        }
        Ok(SecretArg {
            vault: vault.to_owned(),
            rest,
        })
    }

    /// What was typed behind the colon; empty for the whole vault.
    pub fn path(&self) -> &str {
        self.rest.as_deref().unwrap_or("")
    }

    /// True for `vault`, `vault:` and `vault:/`.
    pub fn is_whole_vault(&self) -> bool {
        self.path().bytes().all(|byte| byte == b'/')
    }

    /// The argument as it was typed.
    pub fn to_text(&self) -> String {
        match &self.rest {
            Some(rest) => format!("{}:{rest}", self.vault),
            None => self.vault.clone(),
        }
    }
}

impl FromStr for SecretArg {
    type Err = ArgError;

    fn from_str(text: &str) -> Result<Self, ArgError> {
        SecretArg::parse(text)
    }
}

/// An argument that must name something below the root of a vault.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InVault(pub SecretArg);

impl FromStr for InVault {
    type Err = ArgError;

    fn from_str(text: &str) -> Result<Self, ArgError> {
        let arg = SecretArg::parse(text)?;
        if arg.is_whole_vault() {
            return Err(ArgError::NoPath(text.to_owned()));
        }
        Ok(InVault(arg))
    }
}

/// An argument that must name a vault and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VaultArg(pub String);

impl FromStr for VaultArg {
    type Err = ArgError;

    fn from_str(text: &str) -> Result<Self, ArgError> {
        let arg = SecretArg::parse(text)?;
        if !arg.is_whole_vault() {
            return Err(ArgError::NotVault(text.to_owned()));
        }
        Ok(VaultArg(arg.vault))
    }
}

/// An argument of a command that takes both disk paths and secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// `-`: standard input or output.
    Stream,
    /// A path on the disk: no colon, or a slash before the first one (`./a:b`).
    Disk(PathBuf),
    /// In a vault.
    Vault(SecretArg),
}

impl Place {
    /// Tells the three apart.
    ///
    /// # Errors
    /// [`ArgError::NoVault`] for `:x`; [`ArgError::NotText`] for a secret that is not UTF-8.
    pub fn parse(arg: &OsStr) -> Result<Self, ArgError> {
        if arg == "-" {
            return Ok(Place::Stream);
        }
        let bytes = arg.as_encoded_bytes();
        let colon = bytes.iter().position(|byte| *byte == b':');
        let slash = bytes
            .iter()
            .position(|byte| *byte == b'/' || (cfg!(windows) && *byte == b'\\'));
        let on_disk = match (colon, slash) {
            (None, _) => true,
            (Some(colon), Some(slash)) if slash < colon => true,
            // A drive: C:\keys.
            (Some(1), _) => cfg!(windows) && bytes[0].is_ascii_alphabetic(),
            _ => false,
        };
        if on_disk {
            return Ok(Place::Disk(PathBuf::from(arg)));
        }
        let text = arg.to_str().ok_or(ArgError::NotText)?;
        SecretArg::parse(text).map(Place::Vault)
    }
}

impl From<OsString> for ParsedPlace {
    fn from(arg: OsString) -> Self {
        ParsedPlace(Place::parse(&arg))
    }
}

/// What clap keeps of a [`Place`]: its errors are reported by the command, with the right exit code.
#[derive(Debug, Clone)]
pub struct ParsedPlace(pub Result<Place, ArgError>);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(input: &str, vault: &str, rest: Option<&str>) {
        let want = SecretArg {
            vault: vault.into(),
            rest: rest.map(str::to_owned),
        };
        assert_eq!(SecretArg::parse(input), Ok(want), "{input:?}");
    }

    #[test]
    fn the_first_colon_ends_the_vault() {
        check("work", "work", None);
        check("work:", "work", Some(""));
        check("work:a/b", "work", Some("a/b"));
        check("work:/a", "work", Some("/a"));
        check("work:a:b", "work", Some("a:b"));
        check("my vault:my secret", "my vault", Some("my secret"));
        check("été:clé 🔑", "été", Some("clé 🔑"));
        check("web:github#password", "web", Some("github#password"));
        check("v:a=NAME", "v", Some("a=NAME"));
        check("v=NAME", "v=NAME", None);
        check("v:**/x*?", "v", Some("**/x*?"));
        check("-:x", "-", Some("x"));
    }

    #[test]
    fn arguments_without_a_vault_are_refused() {
        for bad in ["", ":", ":a", ":/a", "::"] {
            assert_eq!(
                SecretArg::parse(bad),
                Err(ArgError::NoVault(bad.into())),
                "{bad:?}"
            );
        }
        for bad in ["work", "work:", "work:/", "work:///"] {
            assert_eq!(
                bad.parse::<InVault>(),
                Err(ArgError::NoPath(bad.into())),
                "{bad:?}"
            );
            assert_eq!(bad.parse::<VaultArg>(), Ok(VaultArg("work".into())), "{bad:?}");
        }
        for bad in ["work:a", "work:/a", "work: "] {
            assert_eq!(
                bad.parse::<VaultArg>(),
                Err(ArgError::NotVault(bad.into())),
                "{bad:?}"
            );
            assert!(bad.parse::<InVault>().is_ok(), "{bad:?}");
        }
        assert!(":".parse::<VaultArg>().is_err() && "".parse::<InVault>().is_err());
    }

    #[test]
    fn disk_and_vault_are_told_apart() {
        let place = |text: &str| Place::parse(OsStr::new(text));
        for disk in [
            "a", "./a:b", "/a:b", "../v:x", "a/b:c", "~/x", ".", "..", " ", "a b",
        ] {
            assert_eq!(place(disk), Ok(Place::Disk(disk.into())), "{disk:?}");
        }
        for vault in ["a:", "a:b", "v:a/b", "a:/b", "--:x"] {
            assert_eq!(
                place(vault),
                Ok(Place::Vault(SecretArg::parse(vault).unwrap())),
                "{vault:?}"
            );
        }
        assert_eq!(place("-"), Ok(Place::Stream));
        assert!(place(":a").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn disk_paths_may_be_any_bytes_and_secrets_only_text() {
        use std::os::unix::ffi::OsStrExt;

        let disk = OsStr::from_bytes(b"\xff/a:b");
        assert_eq!(Place::parse(disk), Ok(Place::Disk(disk.into())));
        assert_eq!(Place::parse(OsStr::from_bytes(b"v:\xff")), Err(ArgError::NotText));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn parsing_loses_nothing(text in any::<String>()) {
            if let Ok(arg) = SecretArg::parse(&text) {
                prop_assert!(!arg.vault.is_empty() && !arg.vault.contains(':'));
                prop_assert_eq!(arg.to_text(), text);
            } else {
                prop_assert!(text.is_empty() || text.starts_with(':'));
            }
        }
    }
}
