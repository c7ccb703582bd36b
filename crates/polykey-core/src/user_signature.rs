//! What `keys sign` makes: a signature over bytes that the user chose, as text.
//!
//! The content is hashed as a stream, so its size does not matter, and the hash is the payload of a
//! [statement](crate::statement) of a kind that nothing else uses. The text form names the signer, for
//! people; the name counts only because it must be the one inside.
//!
//! ```text
//! -----BEGIN POLYKEY SIGNATURE-----
//! Signer: vxxxxxxxx...
//!
//! base64 of the statement, 64 characters a line
//! -----END POLYKEY SIGNATURE-----
//! ```
//!
//! Always: a [`UserSignature`] was verified; whether it is over *this* content is what
//! [`UserSignature::covers`] answers.

use std::fmt;
use std::io::{self, Read};

use data_encoding::BASE64;

use crate::codec::{CodecError, Reader, Writer};
use crate::hash::{HASH_LEN, Hasher};
use crate::id::NodeId;
use crate::label;
use crate::sign::SigningKey;
use crate::statement::{Kind, Statement, StatementError};

const BEGIN: &str = "-----BEGIN POLYKEY SIGNATURE-----";
const END: &str = "-----END POLYKEY SIGNATURE-----";
const SIGNER: &str = "Signer: ";
const LINE_LEN: usize = 64;
/// Longest text that is looked at. A good one has about 340 bytes.
pub const MAX_TEXT_LEN: usize = 4096;

/// Why a text is no signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UserSignatureError {
    /// Not the text of a signature.
    #[error("this is not the text of a polykey signature")]
    NotASignature,
    /// Not a valid signed statement.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The payload has another shape.
    #[error("the signature is malformed")]
    Malformed(#[from] CodecError),
    /// Signed by more than one, or by another than the text names.
    #[error("the signature is not by the signer that its text names")]
    Signer,
}

/// The hash of content that is signed or checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentHash([u8; HASH_LEN]);

impl ContentHash {
    /// The hash of a text in memory.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = ContentHasher::new();
        hasher.update(bytes);
        hasher.finish()
    }

    /// The hash of all of `input`, in constant memory.
    ///
    /// # Errors
    /// What `input` says.
    pub fn read(input: &mut dyn Read) -> io::Result<Self> {
        let mut hasher = ContentHasher::new();
        let mut piece = zeroize::Zeroizing::new(vec![0; 64 << 10]);
        loop {
            match input.read(&mut piece) {
                Ok(0) => return Ok(hasher.finish()),
                Ok(len) => hasher.update(&piece[..len]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Hashes content that comes in pieces.
pub struct ContentHasher(Hasher);

impl Default for ContentHasher {
    fn default() -> Self {
        ContentHasher::new()
    }
}

impl ContentHasher {
    /// Starts.
    pub fn new() -> Self {
        ContentHasher(Hasher::new(label::USER_CONTENT))
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of all that was added.
    pub fn finish(&self) -> ContentHash {
        ContentHash(self.0.finish())
    }
}

/// A verified signature of one node over one content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserSignature {
    statement: Statement,
    content: ContentHash,
}

impl UserSignature {
    /// Signs the content.
    pub fn sign(key: &SigningKey, content: &ContentHash) -> UserSignature {
        let mut writer = Writer::new();
        writer.map(1).u64(0).bytes(&content.0);
        UserSignature {
            statement: Statement::sign(Kind::UserSignature, &writer.finish(), &[key]),
            content: *content,
        }
    }

    /// Reads and verifies the text form. Line ends may be of either kind, and white space around the
    /// whole does not matter.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<UserSignature, UserSignatureError> {
        let (signer, bytes) = unwrap_text(text).ok_or(UserSignatureError::NotASignature)?;
        let statement = Statement::verify(Kind::UserSignature, bytes)?;
        let mut reader = Reader::new(statement.payload(), MAX_TEXT_LEN, "a signature")?;
        reader.map_of(1)?;
        reader.key(0)?;
        let content = ContentHash(reader.bytes_of()?);
        reader.finish()?;
        if !statement.is_signed_only_by(&signer) {
            return Err(UserSignatureError::Signer);
        }
        Ok(UserSignature { statement, content })
    }

    /// Who signed.
    pub fn signer(&self) -> NodeId {
        self.statement.signers()[0]
    }

    /// True when this is a signature by `signer` over `content`: the whole question of `keys verify`.
    pub fn covers(&self, signer: &NodeId, content: &ContentHash) -> bool {
        self.signer() == *signer && self.content == *content
    }
}

impl fmt::Display for UserSignature {
    /// The text form, with a newline at its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{BEGIN}\n{SIGNER}{}\n", self.signer())?;
        let body = BASE64.encode(self.statement.as_bytes());
        for at in (0..body.len()).step_by(LINE_LEN) {
            writeln!(f, "{}", &body[at..body.len().min(at + LINE_LEN)])?;
        }
        writeln!(f, "{END}")
    }
}

fn unwrap_text(text: &str) -> Option<(NodeId, Vec<u8>)> {
    if text.len() > MAX_TEXT_LEN {
        return None;
    }
    let mut lines = text.trim().lines();
    if lines.next()? != BEGIN {
        return None;
    }
    let signer = lines.next()?.strip_prefix(SIGNER)?.parse().ok()?;
    if !lines.next()?.is_empty() {
        return None;
    }
    let mut body = String::new();
    loop {
        match lines.next()? {
            END => break,
            line => body.push_str(line),
        }
    }
    if lines.next().is_some() {
        return None;
    }
    Some((signer, BASE64.decode(body.as_bytes()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Key;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&Key::from_array([seed; 32]))
    }

    fn text() -> String {
        UserSignature::sign(&key(1), &ContentHash::of(b"hello")).to_string()
    }

    #[test]
    fn a_signature_covers_its_content_by_its_signer_only() {
        let read = UserSignature::parse(&text()).expect("own text parses");
        let (signer, hello) = (key(1).public(), ContentHash::of(b"hello"));
        assert_eq!(read.to_string(), text());
        assert_eq!(ContentHash::read(&mut &b"hello"[..]).expect("memory"), hello);
        assert!(read.covers(&signer, &hello));
        assert!(!read.covers(&key(2).public(), &hello));
        assert!(!read.covers(&signer, &ContentHash::of(b"hello\n")));
        assert!(!read.covers(&signer, &ContentHash::of(b"")));
    }

    #[test]
    fn mail_and_editors_do_not_break_it() {
        for text in [text().replace('\n', "\r\n"), format!("\n\n{}\n\n", text())] {
            assert!(UserSignature::parse(&text).is_ok(), "{text:?}");
        }
        let plain = text();
        assert!(plain.is_ascii() && plain.lines().all(|line| line.len() <= LINE_LEN));
    }

    #[test]
    fn every_other_text_is_refused() {
        use UserSignatureError::*;
        let good = text();
        let other = UserSignature::sign(&key(2), &ContentHash::of(b"hello")).to_string();
        let signer_line = |text: &str| text.lines().nth(1).expect("has a signer").to_owned();
        let renamed = good.replace(&signer_line(&good), &signer_line(&other));
        assert_eq!(UserSignature::parse(&renamed), Err(Signer));
        for bad in [
            String::new(),
            "hello".to_owned(),
            good[1..].to_owned(),
            good.replace(END, ""),
            format!("{good}x"),
            format!("{good}{good}"),
            good.replace(SIGNER, "signer: "),
            good.replace("\n\n", "\n"),
            good.replace("\n\n", "\n\n!"),
            good.replace("\n\n", "\n\n "),
            "x".repeat(1 << 20),
        ] {
            assert_eq!(UserSignature::parse(&bad), Err(NotASignature), "{bad:?}");
        }
    }

    #[test]
    fn no_changed_byte_of_the_text_verifies() {
        let good = text();
        for at in 0..good.trim_end().len() {
            let mut bytes = good.clone().into_bytes();
            bytes[at] ^= 1;
            // Bytes that only stand for white space change nothing.
            if let Ok(changed) = String::from_utf8(bytes)
                && changed.split_whitespace().ne(good.split_whitespace())
            {
                assert!(UserSignature::parse(&changed).is_err(), "byte {at}");
            }
        }
    }

    #[test]
    fn other_statements_are_no_user_signatures() {
        let wrap = |statement: &Statement| {
            let body = BASE64.encode(statement.as_bytes());
            let text = format!("{BEGIN}\n{SIGNER}{}\n\n{body}\n{END}\n", key(1).public());
            UserSignature::parse(&text)
        };
        let mut writer = Writer::new();
        writer.map(1).u64(0).bytes(&[0; 32]);
        let payload = writer.finish();
        assert!(wrap(&Statement::sign(Kind::UserSignature, &payload, &[&key(1)])).is_ok());
        let commit = Statement::sign(Kind::Commit, &payload, &[&key(1)]);
        assert_eq!(
            wrap(&commit),
            Err(UserSignatureError::Statement(StatementError::WrongKind))
        );
        let two = Statement::sign(Kind::UserSignature, &payload, &[&key(1), &key(2)]);
        assert_eq!(wrap(&two), Err(UserSignatureError::Signer));
        let null = Statement::sign(Kind::UserSignature, &[0xf6], &[&key(1)]);
        assert!(matches!(wrap(&null), Err(UserSignatureError::Malformed(_))));
    }
}
