//! What lies in the boxes of the post, and its form in the database (docs/format.md, "Boxes of notifications").
//!
//! Always: what is read was signed by whom it names, or said by this agent.

use data_encoding::HEXLOWER;
use polykey_core::codec::{CodecError, Reader, Writer};
use polykey_core::{NodeId, Timestamp, VaultId, VaultName};
use polykey_trust::identity::IdentityId;
use polykey_trust::proof::Ending;
use polykey_vault::charter::Role;

use super::notification::{MAX_NOTIFICATION_LEN, Notification};
use crate::friends::news::News;

/// Longest record in a box.
const MAX_LEN: usize = MAX_NOTIFICATION_LEN + 512;

/// Names a notification in a box: when it came there, then the beginning of its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MailId(pub(super) [u8; MailId::LEN]);

impl MailId {
    const LEN: usize = 24;

    pub(super) fn new(time: Timestamp, id: &[u8; 32]) -> MailId {
        let mut bytes = [0; MailId::LEN];
        bytes[..8].copy_from_slice(&time.as_millis().to_be_bytes());
        bytes[8..].copy_from_slice(&id[..16]);
        MailId(bytes)
    }

    pub(super) fn is_of(&self, id: &[u8; 32]) -> bool {
        self.0[8..] == id[..16]
    }

    /// The id with this text.
    pub fn parse(text: &str) -> Option<MailId> {
        let bytes = HEXLOWER.decode(text.as_bytes()).ok()?;
        Some(MailId(bytes.try_into().ok()?))
    }

    /// When it came into its box.
    pub fn time(&self) -> Timestamp {
        let (time, _) = self.0.split_first_chunk().expect("24 bytes are more than 8");
        Timestamp::from_millis(u64::from_be_bytes(*time))
    }
}

impl std::fmt::Display for MailId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// What lies in the inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Letter {
    /// What another node sent.
    Signed(Notification),
    /// The agent tells: this node used a ticket.
    Joined {
        /// The node.
        from: NodeId,
        /// The vault.
        vault: VaultId,
        /// Its name here.
        name: VaultName,
        /// The role that it got.
        role: Role,
    },
    /// The agent tells: this node wants us to keep ciphertext, which only the user may allow.
    KeepRequest {
        /// The node.
        from: NodeId,
        /// The vault.
        vault: VaultId,
    },
    /// The agent tells: this node took the place of another.
    Succeeded {
        /// The node.
        from: NodeId,
        /// The other one.
        former: NodeId,
    },
    /// The agent tells: the sigchain that this node shows does not go on from what it showed before.
    Doubt {
        /// The node.
        from: NodeId,
        /// True when it says something else than before, false when it says less.
        forked: bool,
    },
    /// The agent tells: this node does not speak for an identity any more.
    LinkEnded {
        /// The node.
        from: NodeId,
        /// The identity.
        identity: IdentityId,
        /// Why.
        ending: Ending,
    },
    /// The agent tells: this node speaks for an identity for which another did before, or none did for a while.
    Linked {
        /// The node.
        from: NodeId,
        /// The identity.
        identity: IdentityId,
    },
    /// The agent tells: this node came under what the user allowed another device of the same principal, or left it.
    Reach {
        /// The node.
        from: NodeId,
        /// True when it came.
        came: bool,
    },
    /// The agent tells: a device of a member came into a vault, or went out of it.
    Device {
        /// The device.
        from: NodeId,
        /// The member whose device it is, or was.
        member: NodeId,
        /// The vault.
        vault: VaultId,
        /// Its name here.
        name: VaultName,
        /// The role that it got; none when it was taken out.
        role: Option<Role>,
    },
    /// The agent tells: this node is a device of the user now.
    DeviceJoined {
        /// The node.
        from: NodeId,
    },
    /// The agent tells: this node is no device of the user any more, and this user did not say so here.
    DeviceGone {
        /// The node.
        from: NodeId,
        /// True when it says so itself, false when another device of the user does.
        itself: bool,
    },
    /// The agent asks: this node turned up beside somebody with whom a vault is shared.
    Proposal {
        /// The node.
        from: NodeId,
        /// The vault.
        vault: VaultId,
        /// Its name here.
        name: VaultName,
        /// With whom the user shared it.
        whom: String,
    },
    /// The agent tells: something about shares of recovery codes.
    Friend {
        /// The node that did it.
        from: NodeId,
        /// What.
        news: News,
    },
}

/// Longest name of somebody with whom a vault is shared.
pub const MAX_WHOM: usize = 320;

fn ending_number(ending: Ending) -> u64 {
    match ending {
        Ending::PageChanged => 0,
        Ending::Replaced => 1,
        Ending::Revoked => 2,
        Ending::Gone => 3,
    }
}

fn ending_of(number: u64) -> Option<Ending> {
    [
        Ending::PageChanged,
        Ending::Replaced,
        Ending::Revoked,
        Ending::Gone,
    ]
    .into_iter()
    .find(|ending| ending_number(*ending) == number)
}

impl Letter {
    /// True for what the node that it is from can cause as often as it likes.
    pub(super) fn is_at_will(&self) -> bool {
        match self {
            Letter::Signed(_) | Letter::KeepRequest { .. } => true,
            Letter::Friend { news, .. } => news.is_at_will(),
            _ => false,
        }
    }

    /// Who it is from.
    pub fn from(&self) -> NodeId {
        match self {
            Letter::Signed(notification) => notification.from(),
            Letter::Joined { from, .. }
            | Letter::KeepRequest { from, .. }
            | Letter::Succeeded { from, .. }
            | Letter::Doubt { from, .. }
            | Letter::LinkEnded { from, .. }
            | Letter::Linked { from, .. }
            | Letter::Reach { from, .. }
            | Letter::Device { from, .. }
            | Letter::DeviceJoined { from }
            | Letter::DeviceGone { from, .. }
            | Letter::Proposal { from, .. }
            | Letter::Friend { from, .. } => *from,
        }
    }
}

/// One notification in the inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// Its id here.
    pub id: MailId,
    /// True when the user saw it.
    pub read: bool,
    /// What it says.
    pub letter: Letter,
}

impl Mail {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.array(2).bool(self.read);
        match &self.letter {
            Letter::Signed(notification) => out.array(2).u64(0).bytes(notification.as_bytes()),
            Letter::Joined {
                from,
                vault,
                name,
                role,
            } => out
                .array(5)
                .u64(1)
                .bytes(from.as_bytes())
                .bytes(vault.as_bytes())
                .text(name.as_str())
                .u64(role.number()),
            Letter::KeepRequest { from, vault } => {
                out.array(3).u64(2).bytes(from.as_bytes()).bytes(vault.as_bytes())
            }
            Letter::Succeeded { from, former } => out
                .array(3)
                .u64(3)
                .bytes(from.as_bytes())
                .bytes(former.as_bytes()),
            Letter::Doubt { from, forked } => out.array(3).u64(4).bytes(from.as_bytes()).bool(*forked),
            Letter::LinkEnded {
                from,
                identity,
                ending,
            } => out
                .array(4)
                .u64(16)
                .bytes(from.as_bytes())
                .text(identity.as_str())
                .u64(ending_number(*ending)),
            Letter::Linked { from, identity } => out
                .array(3)
                .u64(17)
                .bytes(from.as_bytes())
                .text(identity.as_str()),
            Letter::Reach { from, came } => out.array(3).u64(18).bytes(from.as_bytes()).bool(*came),
            Letter::Device {
                from,
                member,
                vault,
                name,
                role,
            } => {
                out.array(6)
                    .u64(19)
                    .bytes(from.as_bytes())
                    .bytes(member.as_bytes());
                out.bytes(vault.as_bytes()).text(name.as_str());
                match role {
                    Some(role) => out.u64(role.number()),
                    None => out.null(),
                }
            }
            Letter::DeviceJoined { from } => out.array(2).u64(21).bytes(from.as_bytes()),
            Letter::DeviceGone { from, itself } => out.array(3).u64(25).bytes(from.as_bytes()).bool(*itself),
            Letter::Proposal {
                from,
                vault,
                name,
                whom,
            } => out
                .array(5)
                .u64(20)
                .bytes(from.as_bytes())
                .bytes(vault.as_bytes())
                .text(name.as_str())
                .text(whom),
            Letter::Friend { from, news } => {
                out.array(3).u64(24).bytes(from.as_bytes()).bytes(&news.encode())
            }
        };
        out.finish()
    }

    pub(super) fn decode(key: &[u8], bytes: &[u8]) -> Result<Mail, CodecError> {
        let mut from = Reader::new(bytes, MAX_LEN, "a notification in a box")?;
        let id = MailId(key.try_into().map_err(|_| from.shape())?);
        from.array_of(2)?;
        let read = from.bool()?;
        let letter = match (from.array()?, from.u64()?) {
            (2, 0) => Letter::Signed(
                Notification::accept_unverified(from.bytes()?.to_vec()).map_err(|_| from.shape())?,
            ),
            (5, 1) => Letter::Joined {
                from: NodeId::from_bytes(from.bytes_of()?),
                vault: VaultId::from_bytes(from.bytes_of()?),
                name: VaultName::parse(from.text()?).map_err(|_| from.shape())?,
                role: Role::from_number(from.u64()?).ok_or(from.shape())?,
            },
            (3, 2) => Letter::KeepRequest {
                from: NodeId::from_bytes(from.bytes_of()?),
                vault: VaultId::from_bytes(from.bytes_of()?),
            },
            (3, 3) => Letter::Succeeded {
                from: NodeId::from_bytes(from.bytes_of()?),
                former: NodeId::from_bytes(from.bytes_of()?),
            },
            (3, 4) => Letter::Doubt {
                from: NodeId::from_bytes(from.bytes_of()?),
                forked: from.bool()?,
            },
            (4, 16) => Letter::LinkEnded {
                from: NodeId::from_bytes(from.bytes_of()?),
                identity: identity(&mut from)?,
                ending: ending_of(from.u64()?).ok_or(from.shape())?,
            },
            (3, 17) => Letter::Linked {
                from: NodeId::from_bytes(from.bytes_of()?),
                identity: identity(&mut from)?,
            },
            (3, 18) => Letter::Reach {
                from: NodeId::from_bytes(from.bytes_of()?),
                came: from.bool()?,
            },
            (6, 19) => Letter::Device {
                from: NodeId::from_bytes(from.bytes_of()?),
                member: NodeId::from_bytes(from.bytes_of()?),
                vault: VaultId::from_bytes(from.bytes_of()?),
                name: VaultName::parse(from.text()?).map_err(|_| from.shape())?,
                role: match from.null()? {
                    true => None,
                    false => Some(Role::from_number(from.u64()?).ok_or(from.shape())?),
                },
            },
            (2, 21) => Letter::DeviceJoined {
                from: NodeId::from_bytes(from.bytes_of()?),
            },
            (3, 25) => Letter::DeviceGone {
                from: NodeId::from_bytes(from.bytes_of()?),
                itself: from.bool()?,
            },
            (5, 20) => Letter::Proposal {
                from: NodeId::from_bytes(from.bytes_of()?),
                vault: VaultId::from_bytes(from.bytes_of()?),
                name: VaultName::parse(from.text()?).map_err(|_| from.shape())?,
                whom: Some(from.text()?)
                    .filter(|whom| whom.len() <= MAX_WHOM)
                    .ok_or(from.shape())?
                    .to_owned(),
            },
            (3, 24) => Letter::Friend {
                from: NodeId::from_bytes(from.bytes_of()?),
                news: News::decode(from.bytes()?)?,
            },
            _ => return Err(from.shape()),
        };
        from.finish()?;
        Ok(Mail { id, read, letter })
    }
}

fn identity(from: &mut Reader<'_>) -> Result<IdentityId, CodecError> {
    from.text()?.parse().map_err(|_| from.shape())
}

/// One notification in the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Its id here.
    pub id: MailId,
    /// When delivery is tried next.
    pub next: Timestamp,
    /// How often it was tried.
    pub tried: u64,
    /// How often it is tried again.
    pub left: u64,
    /// What it says and to whom.
    pub notification: Notification,
}

impl Outgoing {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.array(4)
            .u64(self.next.as_millis())
            .u64(self.tried)
            .u64(self.left)
            .bytes(self.notification.as_bytes());
        out.finish()
    }

    pub(super) fn decode(key: &[u8], bytes: &[u8]) -> Result<Outgoing, CodecError> {
        let mut from = Reader::new(bytes, MAX_LEN, "a notification in the outbox")?;
        let id = MailId(key.try_into().map_err(|_| from.shape())?);
        from.array_of(4)?;
        let out = Outgoing {
            id,
            next: Timestamp::from_millis(from.u64()?),
            tried: from.u64()?,
            left: from.u64()?,
            notification: Notification::accept_unverified(from.bytes()?.to_vec())
                .map_err(|_| from.shape())?,
        };
        from.finish()?;
        Ok(out)
    }
}
