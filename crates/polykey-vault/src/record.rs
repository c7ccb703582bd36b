//! Records: secrets with named, typed fields.
//!
//! A record is one item, so all its fields change together. Field names are those of paths' segments but
//! without `#`, and unique.
//!
//! Always: only what encodes to the same bytes decodes, and every bound holds for input from anywhere.
//! Source: `docs/format.md`, section "Vault".

use polykey_core::codec::{CodecError, Reader, Writer};
use polykey_core::{SecretBytes, Segment};

/// Most fields in a record.
pub const MAX_FIELDS: usize = 256;
/// Longest value of a field, in bytes.
pub const MAX_FIELD_LEN: usize = 1 << 20;
/// Longest encoded record, in bytes.
pub const MAX_RECORD_LEN: usize = 4 << 20;

/// Why a record is not acceptable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// A field's name is empty, too long or holds `/`, `#`, NUL or a control character.
    #[error("\"{name}\" is not a field name")]
    Name {
        /// The name.
        name: String,
    },
    /// A value is longer than [`MAX_FIELD_LEN`].
    #[error("the value of \"{name}\" is longer than {MAX_FIELD_LEN} bytes")]
    TooLong {
        /// The field.
        name: String,
    },
    /// A field of a textual type is not UTF-8.
    #[error("the value of \"{name}\" is not UTF-8 text")]
    NotText {
        /// The field.
        name: String,
    },
    /// More than [`MAX_FIELDS`] fields, or more than [`MAX_RECORD_LEN`] bytes.
    #[error("the record has more than {MAX_FIELDS} fields or {MAX_RECORD_LEN} bytes")]
    TooLarge,
    /// The bytes are not a record.
    #[error("the secret is not a well-formed record")]
    Malformed(#[from] CodecError),
}

/// What the value of a field is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FieldKind {
    /// Text that may be shown.
    Text,
    /// Text that is hidden until it is asked for.
    Concealed,
    /// A one-time password: `otpauth://` text or a base32 seed.
    Otp,
    /// A web address.
    Url,
    /// Text of several lines.
    Note,
    /// A private key, as text.
    Key,
    /// Any bytes.
    File,
}

impl FieldKind {
    /// Every kind with its number in the encoding and its name.
    pub const ALL: &[(FieldKind, u64, &str)] = &[
        (FieldKind::Text, 0, "text"),
        (FieldKind::Concealed, 1, "concealed"),
        (FieldKind::Otp, 2, "otp"),
        (FieldKind::Url, 3, "url"),
        (FieldKind::Note, 4, "note"),
        (FieldKind::Key, 5, "key"),
        (FieldKind::File, 6, "file"),
    ];

    /// The kind with this name.
    pub fn parse(name: &str) -> Option<FieldKind> {
        FieldKind::ALL.iter().find(|row| row.2 == name).map(|row| row.0)
    }

    /// The kind's name.
    pub fn name(self) -> &'static str {
        self.row().2
    }

    fn row(self) -> &'static (FieldKind, u64, &'static str) {
        FieldKind::ALL
            .iter()
            .find(|row| row.0 == self)
            .expect("every kind has a row")
    }
}

/// A named value.
#[derive(Debug, PartialEq, Eq)]
pub struct Field {
    name: String,
    kind: FieldKind,
    value: SecretBytes,
}

impl Field {
    /// Checks name and value.
    ///
    /// # Errors
    /// Says what is not acceptable.
    pub fn new(name: &str, kind: FieldKind, value: SecretBytes) -> Result<Field, RecordError> {
        let segment = Segment::parse(name)
            .ok()
            .filter(|name| !name.as_str().contains(|c: char| c == '#' || c.is_control()))
            .ok_or_else(|| RecordError::Name {
                name: name.to_owned(),
            })?;
        let name = segment.as_str().to_owned();
        if value.len() > MAX_FIELD_LEN {
            return Err(RecordError::TooLong { name });
        }
        if kind != FieldKind::File && std::str::from_utf8(value.expose()).is_err() {
            return Err(RecordError::NotText { name });
        }
        Ok(Field { name, kind, value })
    }

    /// Its name, in NFC.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its value is.
    pub fn kind(&self) -> FieldKind {
        self.kind
    }

    /// Its value; UTF-8 for every kind but [`FieldKind::File`].
    pub fn value(&self) -> &SecretBytes {
        &self.value
    }
}

/// Named, typed fields in the order in which they were added.
#[derive(Debug, PartialEq, Eq, Default)]
pub struct Record(Vec<Field>);

impl Record {
    /// The fields.
    pub fn fields(&self) -> &[Field] {
        &self.0
    }

    /// The field called `name`.
    pub fn field(&self, name: &str) -> Option<&Field> {
        let name = Segment::parse(name).ok()?;
        self.0.iter().find(|field| field.name == name.as_str())
    }

    /// Adds `field`, or puts it in the place of the one with its name.
    ///
    /// # Errors
    /// [`RecordError::TooLarge`] with more than [`MAX_FIELDS`] fields.
    pub fn set(&mut self, field: Field) -> Result<(), RecordError> {
        match self.0.iter().position(|have| have.name == field.name) {
            Some(at) => self.0[at] = field,
            None if self.0.len() == MAX_FIELDS => return Err(RecordError::TooLarge),
            None => self.0.push(field),
        }
        Ok(())
    }

    /// Takes the field called `name` away; says whether there was one.
    pub fn unset(&mut self, name: &str) -> bool {
        let before = self.0.len();
        if let Ok(name) = Segment::parse(name) {
            self.0.retain(|field| field.name != name.as_str());
        }
        self.0.len() < before
    }

    /// The record as the content of a secret: `[1, [[name, kind, value], ...]]`.
    ///
    /// # Errors
    /// [`RecordError::TooLarge`] past [`MAX_RECORD_LEN`].
    pub fn encode(&self) -> Result<SecretBytes, RecordError> {
        let mut out = Writer::new();
        out.array(2).u64(1).array(self.0.len());
        for field in &self.0 {
            out.array(3)
                .text(&field.name)
                .u64(field.kind.row().1)
                .bytes(field.value.expose());
        }
        let bytes = SecretBytes::new(out.finish());
        if bytes.len() > MAX_RECORD_LEN {
            Err(RecordError::TooLarge)
        } else {
            Ok(bytes)
        }
    }

    /// Reads what [`Record::encode`] wrote.
    ///
    /// # Errors
    /// [`RecordError::Malformed`] for anything else.
    pub fn decode(bytes: &[u8]) -> Result<Record, RecordError> {
        let mut from = Reader::new(bytes, MAX_RECORD_LEN, "a record")?;
        from.array_of(2)?;
        from.key(1)?;
        let count = from.array()?;
        if count > MAX_FIELDS {
            return Err(RecordError::TooLarge);
        }
        let mut record = Record::default();
        for _ in 0..count {
            from.array_of(3)?;
            let name = from.text()?;
            let number = from.u64()?;
            let kind = FieldKind::ALL.iter().find(|row| row.1 == number);
            let kind = kind.ok_or(from.shape())?.0;
            let field = Field::new(name, kind, SecretBytes::copy_from(from.bytes()?))?;
            if field.name != name || record.field(name).is_some() {
                return Err(from.shape().into());
            }
            record.0.push(field);
        }
        from.finish()?;
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, kind: FieldKind, value: &[u8]) -> Result<Field, RecordError> {
        Field::new(name, kind, SecretBytes::copy_from(value))
    }

    fn sample() -> Record {
        let mut record = Record::default();
        for (kind, _, name) in FieldKind::ALL {
            record
                .set(field(name, *kind, b"value").expect("fits"))
                .expect("fits");
        }
        record
    }

    #[test]
    fn records_round_trip_and_keep_their_order() {
        let bytes = sample().encode().expect("fits");
        assert_eq!(Record::decode(bytes.expose()), Ok(sample()));
    }

    #[test]
    fn setting_a_field_again_replaces_it_in_its_place() {
        let mut record = sample();
        record
            .set(field("text", FieldKind::Note, b"new").expect("fits"))
            .expect("fits");
        assert_eq!(record.fields().len(), FieldKind::ALL.len());
        assert_eq!(record.fields()[0].value().expose(), b"new");
        assert!(record.unset("text") && !record.unset("text"));
        assert!(record.field("text").is_none());
    }

    #[test]
    fn names_and_values_are_checked() {
        for bad in ["", "a/b", "a#b", "a\0", "a\nb", "..", &"x".repeat(256)] {
            assert!(field(bad, FieldKind::Text, b"").is_err(), "{bad:?}");
        }
        for (kind, ..) in FieldKind::ALL {
            let text = field("f", *kind, b"\xff");
            assert_eq!(text.is_ok(), *kind == FieldKind::File, "{kind:?}");
        }
        let long = vec![b'x'; MAX_FIELD_LEN + 1];
        assert!(field("f", FieldKind::Text, &long).is_err());
        assert_eq!(
            field("cafe\u{301}", FieldKind::Text, b"").expect("fits").name(),
            "caf\u{e9}"
        );
    }

    #[test]
    fn malformed_records_are_refused() {
        let encoded = |name: &str, kind: u64, twice: bool| {
            let mut out = Writer::new();
            out.array(2).u64(1).array(1 + usize::from(twice));
            for _ in 0..=usize::from(twice) {
                out.array(3).text(name).u64(kind).bytes(b"x");
            }
            Record::decode(&out.finish())
        };
        assert!(encoded("a", 0, false).is_ok());
        assert!(encoded("a", 0, true).is_err(), "twice");
        assert!(encoded("a", 7, false).is_err(), "unknown kind");
        assert!(encoded("cafe\u{301}", 0, false).is_err(), "not NFC");
        for bytes in [&b""[..], b"\x80", b"\x82\x02\x80", b"hello", b"\x82\x01\x81\x80"] {
            assert!(Record::decode(bytes).is_err(), "{bytes:?}");
        }
        let bytes = sample().encode().expect("fits");
        for cut in 0..bytes.len() {
            assert!(Record::decode(&bytes.expose()[..cut]).is_err());
        }
    }
}
