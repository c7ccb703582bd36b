//! A notification: what one node tells another, signed.
//!
//! Payload: map {0: type, 1: from, 2: to, 3: created, 4: random (16), 5: content}. The random bytes make two
//! notifications with one text two. See `docs/format.md` for the content of each type.
//!
//! Always: a [`Notification`] was verified, is signed by its sender alone and names its recipient.

use polykey_core::codec::{CodecError, Reader, Writer};
use polykey_core::sign::SigningKey;
use polykey_core::statement::{Kind, Statement, StatementError};
use polykey_core::{NodeId, Random, StatementId, Timestamp, VaultId, VaultName};
use polykey_trust::link::LinkType;
use polykey_vault::charter::Role;

/// Longest text in bytes.
pub const MAX_TEXT: usize = 4096;
/// Longest notification in bytes: a text and its envelope.
pub const MAX_NOTIFICATION_LEN: usize = MAX_TEXT + 512;

/// Why bytes are no notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotificationError {
    /// Longer than any notification.
    #[error("the notification is longer than {MAX_NOTIFICATION_LEN} bytes")]
    TooLong,
    /// Not a valid signed statement.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The payload has another shape.
    #[error("the notification is malformed")]
    Malformed(#[from] CodecError),
    /// Of a type that this version does not know.
    #[error("the notification is of type {0}, which this program does not know")]
    UnknownType(u64),
    /// Signed by another node, or by more than its sender.
    #[error("the notification from node {from} is not signed by that node alone")]
    Signer {
        /// Who it says sent it.
        from: NodeId,
    },
}

/// What a notification says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A text of 1 to [`MAX_TEXT`] bytes.
    Message(String),
    /// The sender let the recipient into a vault.
    VaultShare {
        /// The vault.
        vault: VaultId,
        /// Its name at the sender.
        name: VaultName,
        /// The recipient's role.
        role: Role,
    },
    /// The sender took the recipient out of a vault.
    VaultUnshare {
        /// The vault.
        vault: VaultId,
        /// Its name at the sender.
        name: VaultName,
    },
    /// The sender invites the recipient to a link.
    GestaltInvite {
        /// To which type of link.
        kind: LinkType,
        /// Until when, by the sender's clock.
        expires: Timestamp,
    },
}

const TYPE_MESSAGE: u64 = 0;
const TYPE_SHARE: u64 = 1;
const TYPE_UNSHARE: u64 = 2;
const TYPE_GESTALT_INVITE: u64 = 3;

impl Content {
    /// A text, if it is one that can be sent.
    pub fn message(text: &str) -> Option<Content> {
        (1..=MAX_TEXT)
            .contains(&text.len())
            .then(|| Content::Message(text.to_owned()))
    }

    /// Its type's number.
    pub fn number(&self) -> u64 {
        match self {
            Content::Message(_) => TYPE_MESSAGE,
            Content::VaultShare { .. } => TYPE_SHARE,
            Content::VaultUnshare { .. } => TYPE_UNSHARE,
            Content::GestaltInvite { .. } => TYPE_GESTALT_INVITE,
        }
    }

    fn write(&self, out: &mut Writer) {
        match self {
            Content::Message(text) => out.text(text),
            Content::VaultShare { vault, name, role } => out
                .array(3)
                .bytes(vault.as_bytes())
                .text(name.as_str())
                .u64(role.number()),
            Content::VaultUnshare { vault, name } => out.array(2).bytes(vault.as_bytes()).text(name.as_str()),
            Content::GestaltInvite { kind, expires } => {
                out.array(2).u64(kind.number()).u64(expires.as_millis())
            }
        };
    }

    fn read(number: u64, from: &mut Reader<'_>) -> Result<Content, NotificationError> {
        Ok(match number {
            TYPE_MESSAGE => Content::message(from.text()?).ok_or(from.shape())?,
            TYPE_SHARE => {
                from.array_of(3)?;
                Content::VaultShare {
                    vault: VaultId::from_bytes(from.bytes_of()?),
                    name: name(from)?,
                    role: Role::from_number(from.u64()?).ok_or(from.shape())?,
                }
            }
            TYPE_UNSHARE => {
                from.array_of(2)?;
                Content::VaultUnshare {
                    vault: VaultId::from_bytes(from.bytes_of()?),
                    name: name(from)?,
                }
            }
            TYPE_GESTALT_INVITE => {
                from.array_of(2)?;
                Content::GestaltInvite {
                    kind: LinkType::from_number(from.u64()?).ok_or(from.shape())?,
                    expires: Timestamp::from_millis(from.u64()?),
                }
            }
            other => return Err(NotificationError::UnknownType(other)),
        })
    }
}

fn name(from: &mut Reader<'_>) -> Result<VaultName, CodecError> {
    VaultName::parse(from.text()?).map_err(|_| from.shape())
}

/// A verified notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    statement: Statement,
    from: NodeId,
    to: NodeId,
    created: Timestamp,
    content: Content,
}

impl Notification {
    /// Signs `content` for the node `to`.
    pub fn sign(
        root: &SigningKey,
        to: NodeId,
        created: Timestamp,
        content: Content,
        random: &dyn Random,
    ) -> Notification {
        let from = root.public();
        let mut nonce = [0; 16];
        random.fill(&mut nonce);
        let mut out = Writer::new();
        out.map(6).u64(0).u64(content.number());
        out.u64(1).bytes(from.as_bytes());
        out.u64(2).bytes(to.as_bytes());
        out.u64(3).u64(created.as_millis());
        out.u64(4).bytes(&nonce);
        out.u64(5);
        content.write(&mut out);
        Notification {
            statement: Statement::sign(Kind::Notification, &out.finish(), &[root]),
            from,
            to,
            created,
            content,
        }
    }

    /// Parses and verifies a notification from anywhere.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn verify(bytes: Vec<u8>) -> Result<Notification, NotificationError> {
        if bytes.len() > MAX_NOTIFICATION_LEN {
            return Err(NotificationError::TooLong);
        }
        Notification::from_statement(Statement::verify(Kind::Notification, bytes)?)
    }

    /// Reads a notification that this node made or verified and has since kept sealed, without checking the
    /// signature again. Never for bytes from anywhere else.
    ///
    /// # Errors
    /// As [`Notification::verify`], but for the signature.
    pub fn accept_unverified(bytes: Vec<u8>) -> Result<Notification, NotificationError> {
        Notification::from_statement(Statement::accept_unverified(Kind::Notification, bytes)?)
    }

    fn from_statement(statement: Statement) -> Result<Notification, NotificationError> {
        let mut reader = Reader::new(statement.payload(), MAX_NOTIFICATION_LEN, "a notification")?;
        reader.map_of(6)?;
        reader.key(0)?;
        let number = reader.u64()?;
        reader.key(1)?;
        let from = NodeId::from_bytes(reader.bytes_of()?);
        reader.key(2)?;
        let to = NodeId::from_bytes(reader.bytes_of()?);
        reader.key(3)?;
        let created = Timestamp::from_millis(reader.u64()?);
        reader.key(4)?;
        reader.bytes_of::<16>()?;
        reader.key(5)?;
        let content = Content::read(number, &mut reader)?;
        reader.finish()?;
        if !statement.is_signed_only_by(&from) {
            return Err(NotificationError::Signer { from });
        }
        Ok(Notification {
            statement,
            from,
            to,
            created,
            content,
        })
    }

    /// Its id.
    pub fn id(&self) -> StatementId {
        self.statement.id()
    }

    /// Who sent it.
    pub fn from(&self) -> NodeId {
        self.from
    }

    /// Who it is for.
    pub fn to(&self) -> NodeId {
        self.to
    }

    /// When it was made, by the sender's clock.
    pub fn created(&self) -> Timestamp {
        self.created
    }

    /// What it says.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// The notification as it is stored and sent.
    pub fn as_bytes(&self) -> &[u8] {
        self.statement.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use polykey_core::Key;
    use polykey_testkit::Chance;

    use super::*;

    fn root(seed: u8) -> SigningKey {
        SigningKey::from_seed(&Key::from_array([seed; 32]))
    }

    fn sign(content: Content) -> Notification {
        let created = Timestamp::from_millis(1_800_000_000_000);
        Notification::sign(&root(1), root(2).public(), created, content, &Chance::new(7))
    }

    fn contents() -> [(&'static str, Content); 4] {
        let vault = VaultId::from_bytes([3; 32]);
        let name = VaultName::parse("work").expect("a name");
        [
            ("message", Content::message("hello").expect("short")),
            (
                "vault share",
                Content::VaultShare {
                    vault,
                    name: name.clone(),
                    role: Role::Writer,
                },
            ),
            ("vault unshare", Content::VaultUnshare { vault, name }),
            (
                "gestalt invite",
                Content::GestaltInvite {
                    kind: LinkType::Node,
                    expires: Timestamp::from_millis(1_800_086_400_000),
                },
            ),
        ]
    }

    #[test]
    fn frozen_notifications_are_made_again_and_read() {
        let frozen = include_str!("vectors.txt");
        for (name, content) in contents() {
            let made = sign(content.clone());
            let text = HEXLOWER.encode(made.as_bytes());
            let line = frozen
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            assert_eq!(Some(text.as_str()), line, "{name}");
            let bytes = HEXLOWER.decode(text.as_bytes()).expect("just written");
            let read = Notification::verify(bytes).expect("frozen bytes verify");
            assert_eq!((read.content(), read.to()), (&content, root(2).public()));
            assert_eq!(
                Notification::accept_unverified(read.as_bytes().to_vec()).as_ref(),
                Ok(&made)
            );
        }
    }

    #[test]
    fn texts_are_bounded() {
        assert!(Content::message("").is_none());
        assert!(Content::message(&"x".repeat(MAX_TEXT + 1)).is_none());
        let longest = sign(Content::message(&"x".repeat(MAX_TEXT)).expect("as long as may be"));
        assert!(Notification::verify(longest.as_bytes().to_vec()).is_ok());
    }

    #[test]
    fn no_flipped_bit_and_no_cut_verifies() {
        let good = sign(Content::message("hello").expect("short"));
        for bit in 0..good.as_bytes().len() * 8 {
            let mut bytes = good.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Notification::verify(bytes).is_err(), "bit {bit}");
        }
        for len in 0..good.as_bytes().len() {
            assert!(
                Notification::verify(good.as_bytes()[..len].to_vec()).is_err(),
                "{len}"
            );
        }
    }

    #[track_caller]
    fn refused(write: impl FnOnce(&mut Writer), want: fn(&NotificationError) -> bool) {
        let mut out = Writer::new();
        write(&mut out);
        let signed = Statement::sign(Kind::Notification, &out.finish(), &[&root(1)]);
        let error = Notification::verify(signed.as_bytes().to_vec()).expect_err("refused");
        assert!(want(&error), "{error:?}");
    }

    #[test]
    fn other_shapes_are_refused() {
        use NotificationError::*;
        let head = |out: &mut Writer, pairs: usize, number: u64, from: u8, nonce: &[u8]| {
            out.map(pairs).u64(0).u64(number);
            out.u64(1).bytes(root(from).public().as_bytes());
            out.u64(2).bytes(&[2; 32]);
            out.u64(3).u64(5);
            out.u64(4).bytes(nonce);
        };
        let malformed: fn(&NotificationError) -> bool = |error| matches!(error, Malformed(_));
        refused(
            |out| {
                out.null();
            },
            malformed,
        );
        refused(|out| head(out, 5, 0, 1, &[0; 16]), malformed);
        for nonce in [&[][..], &[0; 15], &[0; 17]] {
            refused(
                |out| {
                    head(out, 6, 0, 1, nonce);
                    out.u64(5).text("x");
                },
                malformed,
            );
        }
        // Each type's content with something wrong in it.
        type Content = fn(&mut Writer);
        let contents: &[(u64, Content)] = &[
            (0, |out| {
                out.text("");
            }),
            (0, |out| {
                out.null();
            }),
            (0, |out| {
                out.bytes(b"x");
            }),
            (1, |out| {
                out.text("x");
            }),
            (1, |out| {
                out.array(2).bytes(&[3; 32]).text("work");
            }),
            (1, |out| {
                out.array(3).bytes(&[3; 31]).text("work").u64(1);
            }),
            (1, |out| {
                out.array(3).bytes(&[3; 32]).text("").u64(1);
            }),
            (1, |out| {
                out.array(3).bytes(&[3; 32]).text("a/b").u64(1);
            }),
            (1, |out| {
                out.array(3).bytes(&[3; 32]).text("a\u{1b}[2J").u64(1);
            }),
            (1, |out| {
                out.array(3).bytes(&[3; 32]).text("work").u64(4);
            }),
            (2, |out| {
                out.array(3).bytes(&[3; 32]).text("work").u64(1);
            }),
            (2, |out| {
                out.array(2).bytes(&[3; 32]).text("a:b");
            }),
            (3, |out| {
                out.text("x");
            }),
            (3, |out| {
                out.array(2).u64(3).u64(5);
            }),
            (3, |out| {
                out.array(2).u64(2).null();
            }),
        ];
        for (number, content) in contents {
            refused(
                |out| {
                    head(out, 6, *number, 1, &[0; 16]);
                    out.u64(5);
                    content(out);
                },
                malformed,
            );
        }
        for number in [4, u64::MAX] {
            refused(
                |out| {
                    head(out, 6, number, 1, &[0; 16]);
                    out.u64(5).text("x");
                },
                |error| matches!(error, UnknownType(_)),
            );
        }
        refused(
            |out| {
                head(out, 6, 0, 9, &[0; 16]);
                out.u64(5).text("x");
            },
            |error| matches!(error, Signer { .. }),
        );
        assert_eq!(
            Notification::verify(vec![0; MAX_NOTIFICATION_LEN + 1]),
            Err(TooLong)
        );
    }
}
