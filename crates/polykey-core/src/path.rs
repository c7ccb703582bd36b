//! Names: vault names, path segments and secret paths.
//!
//! A name that exists obeys these rules on every route into a vault, so no later place has to ask
//! again. Text is brought into NFC first: what looks the same is the same.

use std::fmt;
use std::str::FromStr;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// Longest path in bytes, slashes included.
pub const MAX_PATH_LEN: usize = 4096;
/// Most segments in a path.
pub const MAX_DEPTH: usize = 512;
/// Longest segment in bytes.
pub const MAX_SEGMENT_LEN: usize = 255;
/// Longest vault name in bytes.
pub const MAX_VAULT_NAME_LEN: usize = 128;

/// Why a text is no name or path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// Nothing is left of it.
    #[error("the name is empty")]
    Empty,
    /// A segment is `.` or `..`.
    #[error("\".\" and \"..\" are not names")]
    Dots,
    /// A NUL byte.
    #[error("a name cannot hold a NUL byte")]
    Nul,
    /// A slash inside one segment.
    #[error("a name cannot hold \"/\"")]
    Slash,
    /// A character that a vault name cannot hold.
    #[error("a name cannot hold control characters, \":\" or \"/\"")]
    VaultCharacter,
    /// A segment is longer than [`MAX_SEGMENT_LEN`].
    #[error("a name is longer than {MAX_SEGMENT_LEN} bytes")]
    SegmentTooLong,
    /// The path is longer than [`MAX_PATH_LEN`].
    #[error("the path is longer than {MAX_PATH_LEN} bytes")]
    TooLong,
    /// The path has more than [`MAX_DEPTH`] levels.
    #[error("the path is deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// The vault name is longer than [`MAX_VAULT_NAME_LEN`].
    #[error("a name is longer than {MAX_VAULT_NAME_LEN} bytes")]
    VaultNameTooLong,
    /// Stored or received text that is not in NFC.
    #[error("the name is not in Unicode normalisation form C")]
    NotNormalized,
}

fn nfc(text: &str) -> String {
    match is_nfc_quick(text.chars()) {
        IsNormalized::Yes => text.to_owned(),
        _ => text.nfc().collect(),
    }
}

/// One name in a directory: 1 to 255 bytes of NFC text, no NUL, no `/`, not `.` or `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Segment(String);

impl Segment {
    /// Brings `text` into NFC and checks it.
    ///
    /// # Errors
    /// Says which rule is broken.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        // Normalising can triple a text; the bound keeps hostile input cheap.
        if text.len() > 4 * MAX_SEGMENT_LEN {
            return Err(PathError::SegmentTooLong);
        }
        let text = nfc(text);
        match text.as_str() {
            "" => Err(PathError::Empty),
            "." | ".." => Err(PathError::Dots),
            _ if text.contains('\0') => Err(PathError::Nul),
            _ if text.contains('/') => Err(PathError::Slash),
            _ if text.len() > MAX_SEGMENT_LEN => Err(PathError::SegmentTooLong),
            _ => Ok(Segment(text)),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A place inside a vault: segments joined by `/`, without one at either end. The root is empty.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SecretPath(String);

impl SecretPath {
    /// The root of a vault.
    pub const fn root() -> Self {
        SecretPath(String::new())
    }

    /// Parses what a person or a program wrote: NFC is made, empty segments fall away (`/a//b/` is `a/b`).
    ///
    /// # Errors
    /// Says which rule is broken. The empty text is the root.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text.len() > 4 * MAX_PATH_LEN {
            return Err(PathError::TooLong);
        }
        let mut path = String::with_capacity(text.len());
        let mut depth = 0;
        for part in text.split('/').filter(|part| !part.is_empty()) {
            let segment = Segment::parse(part)?;
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(segment.as_str());
            depth += 1;
        }
        if path.len() > MAX_PATH_LEN {
            return Err(PathError::TooLong);
        }
        if depth > MAX_DEPTH {
            Err(PathError::TooDeep)
        } else {
            Ok(SecretPath(path))
        }
    }

    /// Takes a stored or received path, which must already be in the one normal form.
    ///
    /// # Errors
    /// [`PathError::NotNormalized`] when [`SecretPath::parse`] would change it; else as there.
    pub fn from_normal(text: &str) -> Result<Self, PathError> {
        let path = SecretPath::parse(text)?;
        if path.0 == text {
            Ok(path)
        } else {
            Err(PathError::NotNormalized)
        }
    }

    /// The text, without a leading or trailing slash; empty for the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True for the root of the vault.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The segments from the root down.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/').filter(|part| !part.is_empty())
    }

    /// Number of segments; 0 for the root.
    pub fn depth(&self) -> usize {
        self.segments().count()
    }

    /// The last segment; `None` for the root.
    pub fn name(&self) -> Option<&str> {
        self.segments().next_back()
    }

    /// The directory that holds it; `None` for the root.
    pub fn parent(&self) -> Option<SecretPath> {
        if self.is_root() {
            return None;
        }
        Some(SecretPath(
            self.0
                .rsplit_once('/')
                .map_or(String::new(), |(parent, _)| parent.to_owned()),
        ))
    }

    /// The path of `name` inside this directory.
    ///
    /// # Errors
    /// [`PathError::TooLong`] or [`PathError::TooDeep`].
    pub fn join(&self, name: &Segment) -> Result<SecretPath, PathError> {
        self.join_path(&SecretPath(name.0.clone()))
    }

    /// The path of `below` under this directory.
    ///
    /// # Errors
    /// [`PathError::TooLong`] or [`PathError::TooDeep`].
    pub fn join_path(&self, below: &SecretPath) -> Result<SecretPath, PathError> {
        let joined = match (self.is_root(), below.is_root()) {
            (true, _) => below.clone(),
            (_, true) => self.clone(),
            _ => SecretPath(format!("{}/{}", self.0, below.0)),
        };
        if joined.0.len() > MAX_PATH_LEN {
            return Err(PathError::TooLong);
        }
        if joined.depth() > MAX_DEPTH {
            Err(PathError::TooDeep)
        } else {
            Ok(joined)
        }
    }

    /// What is left below `dir`; the root when both are equal; `None` when it does not lie in `dir`.
    pub fn strip_prefix(&self, dir: &SecretPath) -> Option<SecretPath> {
        if dir.is_root() {
            return Some(self.clone());
        }
        let rest = self.0.strip_prefix(&dir.0)?;
        match rest.strip_prefix('/') {
            Some(below) => Some(SecretPath(below.to_owned())),
            None => rest.is_empty().then(SecretPath::root),
        }
    }
}

impl FromStr for SecretPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        SecretPath::parse(text)
    }
}

impl fmt::Display for SecretPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SecretPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A vault's name: 1 to 128 bytes of NFC text without control characters, `:` or `/`. It names no folder, so `.` and
/// `..` are names like any other.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VaultName(String);

impl VaultName {
    /// Brings `text` into NFC and checks it.
    ///
    /// # Errors
    /// Says which rule is broken.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text.len() > 4 * MAX_VAULT_NAME_LEN {
            return Err(PathError::VaultNameTooLong);
        }
        let text = nfc(text);
        match text.as_str() {
            "" => Err(PathError::Empty),
            _ if text.chars().any(|c| c.is_control() || c == ':' || c == '/') => {
                Err(PathError::VaultCharacter)
            }
            _ if text.len() > MAX_VAULT_NAME_LEN => Err(PathError::VaultNameTooLong),
            _ => Ok(VaultName(text)),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for VaultName {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        VaultName::parse(text)
    }
}

impl fmt::Display for VaultName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for VaultName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &str, want: Result<&str, PathError>) {
        assert_eq!(
            SecretPath::parse(input).map(|p| p.to_string()),
            want.map(str::to_owned),
            "{input:?}"
        );
    }

    #[test]
    fn paths_have_one_normal_form() {
        check("db/password", Ok("db/password"));
        check("/db//password/", Ok("db/password"));
        check("", Ok(""));
        check("///", Ok(""));
        check("cafe\u{301}", Ok("caf\u{e9}"));
        check(".hidden/..x/...", Ok(".hidden/..x/..."));
        check("a b\tc\n/\u{202e}\u{1b}[31m", Ok("a b\tc\n/\u{202e}\u{1b}[31m"));
        check("web:github#password=*?", Ok("web:github#password=*?"));
    }

    #[test]
    fn paths_stay_inside_their_vault_and_their_bounds() {
        check("db/../../key", Err(PathError::Dots));
        check("..", Err(PathError::Dots));
        check("a/./b", Err(PathError::Dots));
        check("a\0b", Err(PathError::Nul));
        check(&"x".repeat(255), Ok(&"x".repeat(255)));
        check(&"x".repeat(256), Err(PathError::SegmentTooLong));
        check(&vec!["x"; 512].join("/"), Ok(&vec!["x"; 512].join("/")));
        check(&vec!["x"; 513].join("/"), Err(PathError::TooDeep));
        check(&vec!["x".repeat(200); 21].join("/"), Err(PathError::TooLong));
        check(&"/".repeat(20_000), Err(PathError::TooLong));
    }

    #[test]
    fn stored_paths_must_be_normal() {
        assert!(SecretPath::from_normal("a/b").is_ok());
        for bad in ["/a", "a/", "a//b", "cafe\u{301}"] {
            assert_eq!(
                SecretPath::from_normal(bad),
                Err(PathError::NotNormalized),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn prefixes_end_at_a_segment() {
        let path = |text| SecretPath::parse(text).expect("valid");
        assert_eq!(path("a/b/c").strip_prefix(&path("a/b")), Some(path("c")));
        assert_eq!(path("a/b").strip_prefix(&path("a/b")), Some(SecretPath::root()));
        assert_eq!(path("a/bc").strip_prefix(&path("a/b")), None);
        assert_eq!(path("a/b").strip_prefix(&SecretPath::root()), Some(path("a/b")));
        assert_eq!(path("a/b").parent(), Some(path("a")));
        assert_eq!(path("a").parent(), Some(SecretPath::root()));
        assert_eq!(SecretPath::root().parent(), None);
    }

    #[test]
    fn vault_names_are_checked() {
        for good in ["work", "my vault", "été", "\u{1f511}", "a.b-c_d", "-x", ".", ".."] {
            assert!(VaultName::parse(good).is_ok(), "{good:?}");
        }
        for bad in ["", "a:b", "a/b", "a\nb", "a\0b", "a\u{85}b", &"x".repeat(129)] {
            assert!(VaultName::parse(bad).is_err(), "{bad:?}");
        }
    }
}
