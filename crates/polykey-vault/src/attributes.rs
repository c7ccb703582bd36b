//! Attributes: short named texts on a secret (`expires`, `note`, `url`, `user`, `tag`, or any other).
//!
//! Each key stands alone: of two changes of one key the one made in the higher commit shows, so
//! changes of different keys on different nodes never clash.
//!
//! Always: keys and values are bounded, wherever they come from.

use polykey_core::codec::{CodecError, Reader, Writer};

/// Longest key in bytes.
pub const MAX_KEY_LEN: usize = 64;
/// Longest value in bytes.
pub const MAX_VALUE_LEN: usize = 4096;
/// Most attributes on one secret.
pub const MAX_ATTRIBUTES: usize = 64;

/// Why a text is no attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttributeError {
    /// The key is empty, too long or holds something else than letters, digits, `-`, `_` or `.`.
    #[error("an attribute's name has 1 to {MAX_KEY_LEN} letters, digits, \"-\", \"_\" or \".\"")]
    Key,
    /// The value is too long or holds a NUL.
    #[error("an attribute's value has at most {MAX_VALUE_LEN} bytes and no NUL")]
    Value,
    /// The secret has too many.
    #[error("a secret has at most {MAX_ATTRIBUTES} attributes")]
    TooMany,
}

/// A change of attributes: a value for each key, or none to take it away. Sorted, keys unique.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AttributeChanges(Vec<(String, Option<String>)>);

impl AttributeChanges {
    /// Checks and adds a change; a later one of the same key replaces an earlier one.
    ///
    /// # Errors
    /// Says what is not acceptable; nothing is added then.
    pub fn set(&mut self, key: &str, value: Option<&str>) -> Result<(), AttributeError> {
        check(key, value)?;
        let value = value.map(str::to_owned);
        match self.0.binary_search_by(|(have, _)| have.as_str().cmp(key)) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (key.to_owned(), value)),
        }
        Ok(())
    }

    /// True when nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The changes, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_deref()))
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        out.array(self.0.len());
        for (key, value) in self.iter() {
            out.array(2).text(key);
            match value {
                Some(value) => out.text(value),
                None => out.null(),
            };
        }
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        let count = from.array()?;
        if count > 2 * MAX_ATTRIBUTES {
            return Err(from.shape());
        }
        let mut changes = AttributeChanges::default();
        for _ in 0..count {
            from.array_of(2)?;
            let key = from.text()?;
            let value = if from.null()? { None } else { Some(from.text()?) };
            let sorted = changes.0.last().is_none_or(|(last, _)| last.as_str() < key);
            if !sorted || check(key, value).is_err() {
                return Err(from.shape());
            }
            changes.0.push((key.to_owned(), value.map(str::to_owned)));
        }
        Ok(changes)
    }
}

fn check(key: &str, value: Option<&str>) -> Result<(), AttributeError> {
    let named = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    if key.is_empty() || key.len() > MAX_KEY_LEN || !key.chars().all(named) {
        return Err(AttributeError::Key);
    }
    if value.is_some_and(|value| value.len() > MAX_VALUE_LEN || value.contains('\0')) {
        return Err(AttributeError::Value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_set(key: &str, value: Option<&str>, want: Result<(), AttributeError>) {
        assert_eq!(AttributeChanges::default().set(key, value), want, "{key:?}");
    }

    #[test]
    fn keys_and_values_are_bounded() {
        check_set("expires", Some("2027-01-01"), Ok(()));
        check_set("note", Some("two\nlines, ünïcode, \u{1b}[31m"), Ok(()));
        check_set("straße-2", None, Ok(()));
        check_set(&"k".repeat(64), Some(&"v".repeat(4096)), Ok(()));
        for bad in ["", "a b", "a=b", "a\n", "a/b", "#", &"k".repeat(65)] {
            check_set(bad, None, Err(AttributeError::Key));
        }
        check_set("k", Some(&"v".repeat(4097)), Err(AttributeError::Value));
        check_set("k", Some("a\0b"), Err(AttributeError::Value));
    }

    #[test]
    fn the_last_change_of_a_key_stands() {
        let mut changes = AttributeChanges::default();
        changes.set("b", Some("1")).expect("fits");
        changes.set("a", Some("2")).expect("fits");
        changes.set("b", None).expect("fits");
        assert_eq!(
            changes.iter().collect::<Vec<_>>(),
            [("a", Some("2")), ("b", None)]
        );
    }

    #[test]
    fn only_sorted_unique_keys_are_read() {
        let encoded = |keys: &[&str]| {
            let mut out = Writer::new();
            out.array(keys.len());
            for key in keys {
                out.array(2).text(key).null();
            }
            let bytes = out.finish();
            let mut reader = Reader::new(&bytes, 1 << 16, "attributes").expect("deterministic");
            AttributeChanges::read(&mut reader).is_ok()
        };
        assert!(encoded(&["a", "b"]));
        assert!(!encoded(&["b", "a"]) && !encoded(&["a", "a"]) && !encoded(&["a b"]));
    }
}
