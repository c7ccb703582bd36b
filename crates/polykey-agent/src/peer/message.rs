//! What nodes say to each other: one request and one answer a stream, each one frame of deterministic CBOR.
//!
//! Requests:
//!
//! - `[0]` ping · `[1]` who are you · `[2]` which vaults do you share with me
//! - `[3, bytes]` a request of [`sync`] · `[4, bytes]` an announcement of [`sync`]
//! - `[5, statement]` a notification · `[6, vault]` the genesis of a vault
//! - `[7, secret (32), sigchain start, key record]` an invitation is redeemed
//! - `[8, vault, genesis]` please keep the ciphertext of this vault
//! - `[9]` where are the nodes that we both know
//! - `[10, node, number]` the sigchain of a node, from this entry on · `[11, [rotate claim]]` I succeed one that you know
//! - `[12, proposal]` sign this link, to which you invited me · `[13]` to which links do you invite me
//! - `[14, number]` my sigchain goes up to this entry now
//! - `[15, secret (32), sigchain start, key record]` a ticket for a device is redeemed
//! - `[16]` which devices are of your principal · `[17]` which hidden vault do our devices share
//! - `[18]` which of my key records do you keep
//! - `[19, element (33)]` pairing by words begins · `[20, proof (32), sigchain start, key record]` I know the words
//! - `[27, identity, node or null]` what did you see of this identity, and of this node's link with it
//!
//! Answers: `[0, value]`, or `[1, code, text]` for a refusal. The value of each is told at [`Answer`].
//!
//! Always: each list and text is bounded, and what does not fit its place is malformed. Names in answers are
//! checked as vault names; all else that is signed is verified by whoever uses it.

use polykey_core::codec::{CodecError, Reader, Writer};
use polykey_core::{NodeId, StatementId, Timestamp, VaultId, VaultName};
use polykey_trust::identity::IdentityId;
use polykey_trust::invitation::MAX_INVITATIONS;
use polykey_trust::link::{InvitationId, LinkType, MAX_LINK_LEN};
use polykey_trust::proof::{Ending, FormerLink, LiveLink, Proof};
use polykey_trust::sigchain::MAX_OFFER;
use polykey_vault::charter::Role;
use polykey_vault::sync::{self, Blob};

use crate::contacts::Place;
use crate::devices::MAX_DEVICES;

/// Longest request: names of what a puller has, or an announcement.
pub const MAX_REQUEST_LEN: usize = 2 << 20;
/// Longest answer: one message of a pull, and its frame.
pub const MAX_ANSWER_LEN: usize = sync::message::MAX_MESSAGE_LEN + 64;
/// Longest signed statement that stands alone in a message.
pub const MAX_STATEMENT_LEN: usize = 64 << 10;
/// Most key records in one answer.
pub const MAX_RECORDS: usize = 64;
/// Most vaults in one answer.
pub const MAX_OFFERS: usize = 4096;
/// Most nodes in one answer.
pub const MAX_NODES: usize = 256;
/// Most addresses of one of them.
pub const MAX_PLACES: usize = 8;
/// Longest text of a refusal.
pub const MAX_TEXT_LEN: usize = 200;
/// Longest piece of a sigchain in one answer.
pub const MAX_CHAIN_LEN: usize = 512 << 10;
/// Most devices in one answer.
pub const MAX_SHOWN_DEVICES: usize = MAX_DEVICES;
/// Most claims in which one node after the other named its successor.
pub const MAX_ROTATIONS: usize = 8;
/// Length of what is exchanged first in a pairing by words.
pub const ELEMENT_LEN: usize = 33;
/// Length of what proves that the words are known.
pub const MAC_LEN: usize = 32;
/// Length of the secret of an invitation.
pub const SECRET_LEN: usize = 32;

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Not the CBOR of a message.
    #[error("the message is malformed")]
    Malformed(#[from] CodecError),
    /// What it carries for a vault is malformed.
    #[error("the message for a vault is malformed")]
    Sync(#[from] sync::MessageError),
}

/// What a node asks another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Are you there?
    Ping,
    /// Show your keys.
    Who,
    /// Name the vaults that I am a member of.
    Scan,
    /// A step of a pull.
    Sync(sync::Request),
    /// There is news in a vault.
    Announce(sync::Announcement),
    /// A message for the user, signed.
    Notify(Vec<u8>),
    /// The genesis of a vault that I am a member of.
    Genesis(VaultId),
    /// I hold an invitation of yours.
    Redeem {
        /// The secret of the invitation.
        secret: [u8; SECRET_LEN],
        /// The first entry of the asker's sigchain.
        start: Vec<u8>,
        /// The asker's newest key record.
        record: Vec<u8>,
    },
    /// Keep the ciphertext of my vault.
    Keep {
        /// The vault.
        vault: VaultId,
        /// Its genesis.
        genesis: Vec<u8>,
    },
    /// Where are the nodes that we both know?
    Addresses,
    /// Show your sigchain, or that of a node that you succeed.
    Chain {
        /// Whose chain.
        node: NodeId,
        /// The number of the first entry to be shown.
        from: u64,
    },
    /// I succeed a node that you may know.
    Succeed {
        /// The claims in which one named the next, oldest first; the last names the asker.
        rotations: Vec<Vec<u8>>,
    },
    /// Sign this link. Only what the user invited is.
    Link {
        /// The link, signed by the asker alone.
        proposal: Vec<u8>,
    },
    /// To which links do you invite me?
    Invitations,
    /// My sigchain has grown.
    ChainNews {
        /// The number of its last entry.
        last: u64,
    },
    /// I hold a ticket of yours for a device.
    Pair {
        /// The secret of the ticket.
        secret: [u8; SECRET_LEN],
        /// The first entry of the asker's sigchain.
        start: Vec<u8>,
        /// The asker's newest key record.
        record: Vec<u8>,
    },
    /// Which other devices are of your principal?
    Devices,
    /// Which hidden vault do the devices of our principal share?
    Hidden,
    /// Which of my key records do you keep?
    MyKeys,
    /// You show words that I may know.
    Words {
        /// What SPAKE2 sends first.
        element: [u8; ELEMENT_LEN],
    },
    /// I know the words.
    WordsProof {
        /// What proves it.
        proof: [u8; MAC_LEN],
        /// The first entry of the asker's sigchain.
        start: Vec<u8>,
        /// The asker's newest key record.
        record: Vec<u8>,
    },
    /// What did you see of this identity?
    Witness {
        /// The identity.
        identity: IdentityId,
        /// The node whose link with it is asked about, when it is over; none for the newest that was.
        node: Option<NodeId>,
    },
}

/// What a node saw of an identity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Testimony {
    /// The link that both ends showed when it last looked.
    pub live: Option<LiveLink>,
    /// The one that was asked about and ended.
    pub former: Option<FormerLink>,
}

/// A device of a principal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The device.
    pub node: NodeId,
    /// Its newest key record.
    pub record: Vec<u8>,
    /// Where it may be.
    pub places: Vec<Place>,
}

/// A link to which a node invites the asker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invited {
    /// The invitation.
    pub invitation: InvitationId,
    /// To which type of link.
    pub kind: LinkType,
    /// The link that used the invitation up.
    pub link: Option<Vec<u8>>,
}

/// A vault that a node offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The vault.
    pub vault: VaultId,
    /// What its holder calls it; empty when the holder only keeps it.
    pub name: String,
    /// The role of the asker.
    pub role: Role,
}

/// The beginning of a vault, and what the asker is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beginning {
    /// The genesis, signed. Its id is the vault's.
    pub genesis: Vec<u8>,
    /// What its holder calls it; empty when the holder only keeps it.
    pub name: String,
    /// The role of the asker.
    pub role: Role,
}

/// What a node answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// `0`: done. To a ping, an announcement, a notification.
    Done,
    /// `[sigchain start, [key record]]`, the newest record last.
    Keys {
        /// The first entry of the sigchain.
        start: Vec<u8>,
        /// The key records, from the first on.
        records: Vec<Vec<u8>>,
    },
    /// `[[vault, name, role]]`.
    Offers(Vec<Offer>),
    /// The bytes of a response of [`sync`].
    Sync(sync::Response),
    /// `[genesis, name, role]`.
    Genesis(Beginning),
    /// `[vault, genesis, name, role]`: the invitation was good.
    Joined(VaultId, Beginning),
    /// `1`: to be kept from now on; `2`: the user has to say yes first.
    Keeping {
        /// True when it is kept from now on.
        now: bool,
    },
    /// `[[node, [address]]]`.
    Nodes(Vec<(NodeId, Vec<Place>)>),
    /// `[claim]`: as many as fit, in order; none after the last one.
    Chain(Vec<Vec<u8>>),
    /// `[2, link]`: signed by both.
    Link(Vec<u8>),
    /// `[[invitation, type, link or null]]`.
    Invitations(Vec<Invited>),
    /// `[[node, key record, [address]]]`.
    Devices(Vec<Device>),
    /// `[3, genesis or null]`.
    Hidden(Option<Vec<u8>>),
    /// `[4, key record or null]`.
    MyKeys(Option<Vec<u8>>),
    /// `[5, element (33)]`.
    Element([u8; ELEMENT_LEN]),
    /// `[6, proof (32)]`.
    Proof([u8; MAC_LEN]),
    /// `[[node, claim, since, checked] or null, [node, claim, since, checked, ended, ending] or null]`.
    Testimony(Box<Testimony>),
    /// `[1, code, text]` instead of `[0, value]`.
    Refused(Refusal, String),
}

/// Why a node does not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Not there, or not for you.
    Refused,
    /// The request is malformed.
    Malformed,
    /// Too many requests.
    TooMuch,
    /// It cannot now: it is locked, or its disk fails.
    Unavailable,
    /// It keeps for others as much as it may.
    NoRoom,
}

impl Refusal {
    fn number(self) -> u64 {
        match self {
            Refusal::Refused => 0,
            Refusal::Malformed => 1,
            Refusal::TooMuch => 2,
            Refusal::Unavailable => 3,
            Refusal::NoRoom => 4,
        }
    }

    fn from_number(number: u64) -> Option<Refusal> {
        [
            Refusal::Refused,
            Refusal::Malformed,
            Refusal::TooMuch,
            Refusal::Unavailable,
            Refusal::NoRoom,
        ]
        .into_iter()
        .find(|refusal| refusal.number() == number)
    }
}

impl Request {
    /// The audit event of the request at the node that is asked.
    pub const fn event(&self) -> &'static str {
        match self {
            Request::Ping => "peer.ping",
            Request::Who => "peer.who",
            Request::Scan => "peer.scan",
            Request::Sync(_) => "peer.pull",
            Request::Announce(_) => "peer.announce",
            Request::Notify(_) => "peer.notify",
            Request::Genesis(_) => "peer.clone",
            Request::Redeem { .. } => "peer.redeem",
            Request::Keep { .. } => "peer.keep",
            Request::Addresses => "peer.addresses",
            Request::Chain { .. } => "peer.chain",
            Request::Succeed { .. } => "peer.succeed",
            Request::Link { .. } => "peer.link",
            Request::Invitations => "peer.invitations",
            Request::ChainNews { .. } => "peer.chain-news",
            Request::Pair { .. } => "peer.pair",
            Request::Devices => "peer.devices",
            Request::Hidden => "peer.hidden",
            Request::MyKeys => "peer.my-keys",
            Request::Words { .. } => "peer.words",
            Request::WordsProof { .. } => "peer.words-proof",
            Request::Witness { .. } => "peer.witness",
        }
    }

    /// The vault that it is about.
    pub const fn vault(&self) -> Option<VaultId> {
        match self {
            Request::Sync(sync::Request::Items { vault, .. } | sync::Request::Objects { vault, .. })
            | Request::Genesis(vault)
            | Request::Keep { vault, .. } => Some(*vault),
            Request::Announce(announcement) => Some(announcement.vault),
            _ => None,
        }
    }

    /// Longest answer that there can be.
    pub const fn max_answer(&self) -> usize {
        match self {
            Request::Sync(sync::Request::Objects { .. }) => sync::message::MAX_OBJECTS_LEN + 64,
            Request::Sync(_) => MAX_ANSWER_LEN,
            Request::Ping
            | Request::Announce(_)
            | Request::Notify(_)
            | Request::Keep { .. }
            | Request::Succeed { .. }
            | Request::Link { .. }
            | Request::ChainNews { .. }
            | Request::Pair { .. }
            | Request::Words { .. }
            | Request::WordsProof { .. }
            | Request::Witness { .. } => 1024,
            Request::Who => (MAX_RECORDS + 1) * 4096,
            Request::Scan => MAX_OFFERS * 256,
            Request::Genesis(_) | Request::Redeem { .. } => 2 * MAX_STATEMENT_LEN,
            Request::Addresses => MAX_NODES * MAX_PLACES * 600,
            Request::Chain { .. } => MAX_CHAIN_LEN + 64,
            Request::Invitations => MAX_INVITATIONS * (MAX_LINK_LEN + 64),
            Request::Devices => MAX_SHOWN_DEVICES * (4096 + MAX_PLACES * 600),
            Request::Hidden | Request::MyKeys => MAX_STATEMENT_LEN + 64,
        }
    }

    /// The frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        match self {
            Request::Ping => out.array(1).u64(0),
            Request::Who => out.array(1).u64(1),
            Request::Scan => out.array(1).u64(2),
            Request::Sync(request) => out.array(2).u64(3).bytes(&request.encode()),
            Request::Announce(announcement) => out.array(2).u64(4).bytes(&announcement.encode()),
            Request::Notify(statement) => out.array(2).u64(5).bytes(statement),
            Request::Genesis(vault) => out.array(2).u64(6).bytes(vault.as_bytes()),
            Request::Redeem {
                secret,
                start,
                record,
            } => out.array(4).u64(7).bytes(secret).bytes(start).bytes(record),
            Request::Keep { vault, genesis } => out.array(3).u64(8).bytes(vault.as_bytes()).bytes(genesis),
            Request::Addresses => out.array(1).u64(9),
            Request::Chain { node, from } => out.array(3).u64(10).bytes(node.as_bytes()).u64(*from),
            Request::Succeed { rotations } => {
                out.array(2).u64(11).array(rotations.len());
                for rotation in rotations {
                    out.bytes(rotation);
                }
                &mut out
            }
            Request::Link { proposal } => out.array(2).u64(12).bytes(proposal),
            Request::Invitations => out.array(1).u64(13),
            Request::ChainNews { last } => out.array(2).u64(14).u64(*last),
            Request::Pair {
                secret,
                start,
                record,
            } => out.array(4).u64(15).bytes(secret).bytes(start).bytes(record),
            Request::Devices => out.array(1).u64(16),
            Request::Hidden => out.array(1).u64(17),
            Request::MyKeys => out.array(1).u64(18),
            Request::Words { element } => out.array(2).u64(19).bytes(element),
            Request::WordsProof { proof, start, record } => {
                out.array(4).u64(20).bytes(proof).bytes(start).bytes(record)
            }
            Request::Witness { identity, node } => {
                out.array(3).u64(27).text(identity.as_str());
                match node {
                    Some(node) => out.bytes(node.as_bytes()),
                    None => out.null(),
                }
            }
        };
        out.finish()
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn decode(bytes: &[u8]) -> Result<Request, MessageError> {
        let mut from = Reader::new(bytes, MAX_REQUEST_LEN, "a request")?;
        let request = match (from.array()?, from.u64()?) {
            (1, 0) => Request::Ping,
            (1, 1) => Request::Who,
            (1, 2) => Request::Scan,
            (2, 3) => Request::Sync(sync::Request::decode(from.bytes()?)?),
            (2, 4) => Request::Announce(sync::Announcement::decode(from.bytes()?)?),
            (2, 5) => Request::Notify(statement(&mut from)?),
            (2, 6) => Request::Genesis(VaultId::from_bytes(from.bytes_of()?)),
            (4, 7) => Request::Redeem {
                secret: from.bytes_of()?,
                start: statement(&mut from)?,
                record: statement(&mut from)?,
            },
            (3, 8) => Request::Keep {
                vault: VaultId::from_bytes(from.bytes_of()?),
                genesis: statement(&mut from)?,
            },
            (1, 9) => Request::Addresses,
            (3, 10) => Request::Chain {
                node: NodeId::from_bytes(from.bytes_of()?),
                from: from.u64()?,
            },
            (2, 11) => {
                let rotations = (0..bounded(&mut from, MAX_ROTATIONS)?).map(|_| statement(&mut from));
                Request::Succeed {
                    rotations: rotations.collect::<Result<_, _>>()?,
                }
            }
            (2, 12) => Request::Link {
                proposal: link(&mut from)?,
            },
            (1, 13) => Request::Invitations,
            (2, 14) => Request::ChainNews { last: from.u64()? },
            (4, 15) => Request::Pair {
                secret: from.bytes_of()?,
                start: statement(&mut from)?,
                record: statement(&mut from)?,
            },
            (1, 16) => Request::Devices,
            (1, 17) => Request::Hidden,
            (1, 18) => Request::MyKeys,
            (2, 19) => Request::Words {
                element: from.bytes_of()?,
            },
            (4, 20) => Request::WordsProof {
                proof: from.bytes_of()?,
                start: statement(&mut from)?,
                record: statement(&mut from)?,
            },
            (3, 27) => Request::Witness {
                identity: from.text()?.parse().map_err(|_| from.shape())?,
                node: match from.null()? {
                    true => None,
                    false => Some(NodeId::from_bytes(from.bytes_of()?)),
                },
            },
            _ => return Err(from.shape().into()),
        };
        from.finish()?;
        Ok(request)
    }
}

fn statement(from: &mut Reader<'_>) -> Result<Vec<u8>, CodecError> {
    let bytes = from.bytes()?;
    if bytes.is_empty() || bytes.len() > MAX_STATEMENT_LEN {
        return Err(from.shape());
    }
    Ok(bytes.to_vec())
}

fn link(from: &mut Reader<'_>) -> Result<Vec<u8>, CodecError> {
    let bytes = statement(from)?;
    match bytes.len() {
        0..=MAX_LINK_LEN => Ok(bytes),
        _ => Err(from.shape()),
    }
}

fn bounded(from: &mut Reader<'_>, most: usize) -> Result<usize, CodecError> {
    let len = from.array()?;
    if len > most { Err(from.shape()) } else { Ok(len) }
}

fn name(from: &mut Reader<'_>) -> Result<String, CodecError> {
    let text = from.text()?;
    if !text.is_empty() && VaultName::parse(text).is_err() {
        return Err(from.shape());
    }
    Ok(text.to_owned())
}

fn role(from: &mut Reader<'_>) -> Result<Role, CodecError> {
    let number = from.u64()?;
    Role::from_number(number).ok_or_else(|| from.shape())
}

/// `[number, statement or null]`.
fn optional(from: &mut Reader<'_>, number: u64) -> Result<Option<Vec<u8>>, CodecError> {
    from.array_of(2)?;
    from.key(number)?;
    match from.null()? {
        true => Ok(None),
        false => statement(from).map(Some),
    }
}

fn write_optional(out: &mut Writer, number: u64, statement: Option<&[u8]>) {
    out.array(2).u64(number);
    match statement {
        Some(statement) => out.bytes(statement),
        None => out.null(),
    };
}

fn places(from: &mut Reader<'_>) -> Result<Vec<Place>, CodecError> {
    let mut places = Vec::new();
    for _ in 0..bounded(from, MAX_PLACES)? {
        places.push(from.text()?.parse().map_err(|_| from.shape())?);
    }
    Ok(places)
}

fn write_places(out: &mut Writer, places: &[Place]) {
    out.array(places.len());
    for place in places {
        out.text(&place.to_string());
    }
}

impl Invited {
    fn read(from: &mut Reader<'_>) -> Result<Invited, CodecError> {
        from.array_of(3)?;
        Ok(Invited {
            invitation: InvitationId::from_bytes(from.bytes_of()?),
            kind: LinkType::from_number(from.u64()?).ok_or_else(|| from.shape())?,
            link: match from.null()? {
                true => None,
                false => Some(link(from)?),
            },
        })
    }
}

impl Testimony {
    fn write(&self, out: &mut Writer) {
        let seen = |out: &mut Writer, link: &LiveLink| {
            out.bytes(link.proof.node.as_bytes())
                .bytes(link.proof.claim.as_bytes());
            out.u64(link.since.as_millis()).u64(link.checked.as_millis());
        };
        out.array(2);
        match &self.live {
            Some(live) => seen(out.array(4), live),
            None => drop(out.null()),
        }
        match &self.former {
            Some(former) => {
                seen(out.array(6), &former.link);
                out.u64(former.ended.as_millis()).u64(former.ending.number());
            }
            None => drop(out.null()),
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Testimony, CodecError> {
        let seen = |from: &mut Reader<'_>| {
            Ok(LiveLink {
                proof: Proof {
                    node: NodeId::from_bytes(from.bytes_of()?),
                    claim: StatementId::from_bytes(from.bytes_of()?),
                },
                since: Timestamp::from_millis(from.u64()?),
                checked: Timestamp::from_millis(from.u64()?),
            })
        };
        from.array_of(2)?;
        let mut testimony = Testimony::default();
        if !from.null()? {
            from.array_of(4)?;
            testimony.live = Some(seen(from)?);
        }
        if !from.null()? {
            from.array_of(6)?;
            testimony.former = Some(FormerLink {
                link: seen(from)?,
                ended: Timestamp::from_millis(from.u64()?),
                ending: Ending::from_number(from.u64()?).ok_or_else(|| from.shape())?,
            });
        }
        Ok(testimony)
    }
}

impl Beginning {
    fn write(&self, out: &mut Writer) {
        out.bytes(&self.genesis).text(&self.name).u64(self.role.number());
    }

    fn read(from: &mut Reader<'_>) -> Result<Beginning, CodecError> {
        Ok(Beginning {
            genesis: statement(from)?,
            name: name(from)?,
            role: role(from)?,
        })
    }
}

impl Answer {
    /// A refusal. The text of all that is not there or not allowed is the same.
    pub fn refused(refusal: Refusal) -> Answer {
        let text = match refusal {
            Refusal::Refused => "there is no such thing here for you",
            Refusal::Malformed => "the request is malformed",
            Refusal::TooMuch => "too many requests",
            Refusal::Unavailable => "not available now",
            Refusal::NoRoom => "no room left",
        };
        Answer::Refused(refusal, text.to_owned())
    }

    /// The frame, in parts that follow each other: what a vault sends is not copied.
    pub fn to_parts(&self) -> Vec<Blob> {
        let Answer::Sync(response) = self else {
            return vec![self.encode().into()];
        };
        let parts = response.to_parts();
        let mut out = Writer::new();
        out.array(2).u64(0);
        out.head_of_bytes(parts.iter().map(Blob::len).sum());
        std::iter::once(out.into_part().into()).chain(parts).collect()
    }

    /// The frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        if let Answer::Refused(refusal, text) = self {
            let end = (0..=MAX_TEXT_LEN.min(text.len()))
                .rev()
                .find(|at| text.is_char_boundary(*at));
            out.array(3).u64(1).u64(refusal.number());
            out.text(&text[..end.unwrap_or(0)]);
            return out.finish();
        }
        out.array(2).u64(0);
        match self {
            Answer::Done => {
                out.u64(0);
            }
            Answer::Keys { start, records } => {
                out.array(2).bytes(start).array(records.len());
                for record in records {
                    out.bytes(record);
                }
            }
            Answer::Offers(offers) => {
                out.array(offers.len());
                for offer in offers {
                    out.array(3).bytes(offer.vault.as_bytes()).text(&offer.name);
                    out.u64(offer.role.number());
                }
            }
            Answer::Sync(response) => {
                out.bytes(&response.encode());
            }
            Answer::Genesis(beginning) => {
                out.array(3);
                beginning.write(&mut out);
            }
            Answer::Joined(vault, beginning) => {
                out.array(4).bytes(vault.as_bytes());
                beginning.write(&mut out);
            }
            Answer::Keeping { now } => {
                out.u64(if *now { 1 } else { 2 });
            }
            Answer::Nodes(nodes) => {
                out.array(nodes.len());
                for (node, places) in nodes {
                    out.array(2).bytes(node.as_bytes());
                    write_places(&mut out, places);
                }
            }
            Answer::Chain(claims) => {
                out.array(claims.len());
                for claim in claims {
                    out.bytes(claim);
                }
            }
            Answer::Link(link) => {
                out.array(2).u64(2).bytes(link);
            }
            Answer::Invitations(invited) => {
                out.array(invited.len());
                for invited in invited {
                    out.array(3).bytes(invited.invitation.as_bytes());
                    out.u64(invited.kind.number());
                    match &invited.link {
                        Some(link) => out.bytes(link),
                        None => out.null(),
                    };
                }
            }
            Answer::Devices(devices) => {
                out.array(devices.len());
                for device in devices {
                    out.array(3).bytes(device.node.as_bytes()).bytes(&device.record);
                    write_places(&mut out, &device.places);
                }
            }
            Answer::Hidden(genesis) => write_optional(&mut out, 3, genesis.as_deref()),
            Answer::MyKeys(record) => write_optional(&mut out, 4, record.as_deref()),
            Answer::Element(element) => {
                out.array(2).u64(5).bytes(element);
            }
            Answer::Proof(proof) => {
                out.array(2).u64(6).bytes(proof);
            }
            Answer::Testimony(testimony) => testimony.write(&mut out),
            Answer::Refused(..) => unreachable!("written above"),
        }
        out.finish()
    }

    /// Reads the frame that answers `request`.
    ///
    /// # Errors
    /// [`MessageError`], also for an answer to another kind of request.
    pub fn decode(request: &Request, bytes: &[u8]) -> Result<Answer, MessageError> {
        Answer::read(request, &bytes.to_vec().into())
    }

    /// As [`Answer::decode`], without copying what is for a vault: it is a part of the frame.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn read(request: &Request, frame: &Blob) -> Result<Answer, MessageError> {
        let mut from = Reader::new(frame.as_slice(), request.max_answer(), "an answer")?;
        let answer = match (from.array()?, from.u64()?) {
            (2, 0) => Answer::value(request, frame, &mut from)?,
            (3, 1) => {
                let number = from.u64()?;
                let refusal = Refusal::from_number(number).ok_or_else(|| from.shape())?;
                let text = from.text()?;
                if text.len() > MAX_TEXT_LEN {
                    return Err(from.shape().into());
                }
                Answer::Refused(refusal, text.to_owned())
            }
            _ => return Err(from.shape().into()),
        };
        from.finish()?;
        Ok(answer)
    }

    fn value(request: &Request, frame: &Blob, from: &mut Reader<'_>) -> Result<Answer, MessageError> {
        Ok(match request {
            Request::Ping
            | Request::Announce(_)
            | Request::Notify(_)
            | Request::Succeed { .. }
            | Request::ChainNews { .. }
            | Request::Pair { .. } => {
                from.key(0)?;
                Answer::Done
            }
            Request::Who => {
                from.array_of(2)?;
                let start = statement(from)?;
                let records = (0..bounded(from, MAX_RECORDS)?).map(|_| statement(from));
                Answer::Keys {
                    start,
                    records: records.collect::<Result<_, _>>()?,
                }
            }
            Request::Scan => {
                let mut offers = Vec::new();
                for _ in 0..bounded(from, MAX_OFFERS)? {
                    from.array_of(3)?;
                    offers.push(Offer {
                        vault: VaultId::from_bytes(from.bytes_of()?),
                        name: name(from)?,
                        role: role(from)?,
                    });
                }
                Answer::Offers(offers)
            }
            Request::Sync(_) => Answer::Sync(sync::Response::decode(&frame.part(from.bytes()?))?),
            Request::Genesis(_) => {
                from.array_of(3)?;
                Answer::Genesis(Beginning::read(from)?)
            }
            Request::Redeem { .. } => {
                from.array_of(4)?;
                let vault = VaultId::from_bytes(from.bytes_of()?);
                Answer::Joined(vault, Beginning::read(from)?)
            }
            Request::Keep { .. } => match from.u64()? {
                1 => Answer::Keeping { now: true },
                2 => Answer::Keeping { now: false },
                _ => return Err(from.shape().into()),
            },
            Request::Addresses => {
                let mut nodes = Vec::new();
                for _ in 0..bounded(from, MAX_NODES)? {
                    from.array_of(2)?;
                    nodes.push((NodeId::from_bytes(from.bytes_of()?), places(from)?));
                }
                Answer::Nodes(nodes)
            }
            Request::Chain { .. } => {
                let claims = (0..bounded(from, MAX_OFFER)?).map(|_| statement(from));
                Answer::Chain(claims.collect::<Result<_, _>>()?)
            }
            Request::Link { .. } => {
                from.array_of(2)?;
                from.key(2)?;
                Answer::Link(link(from)?)
            }
            Request::Invitations => {
                let mut invited = Vec::new();
                for _ in 0..bounded(from, MAX_INVITATIONS)? {
                    invited.push(Invited::read(from)?);
                }
                Answer::Invitations(invited)
            }
            Request::Devices => {
                let mut devices = Vec::new();
                for _ in 0..bounded(from, MAX_SHOWN_DEVICES)? {
                    from.array_of(3)?;
                    devices.push(Device {
                        node: NodeId::from_bytes(from.bytes_of()?),
                        record: statement(from)?,
                        places: places(from)?,
                    });
                }
                Answer::Devices(devices)
            }
            Request::Hidden => Answer::Hidden(optional(from, 3)?),
            Request::MyKeys => Answer::MyKeys(optional(from, 4)?),
            Request::Words { .. } => {
                from.array_of(2)?;
                from.key(5)?;
                Answer::Element(from.bytes_of()?)
            }
            Request::WordsProof { .. } => {
                from.array_of(2)?;
                from.key(6)?;
                Answer::Proof(from.bytes_of()?)
            }
            Request::Witness { .. } => Answer::Testimony(Box::new(Testimony::read(from)?)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault() -> VaultId {
        VaultId::from_bytes([3; 32])
    }

    fn requests() -> Vec<Request> {
        vec![
            Request::Ping,
            Request::Who,
            Request::Scan,
            Request::Sync(sync::Request::Objects {
                vault: vault(),
                wanted: Vec::new(),
            }),
            Request::Announce(sync::Announcement {
                vault: vault(),
                heads: Vec::new(),
                tips: Vec::new(),
            }),
            Request::Notify(vec![1]),
            Request::Genesis(vault()),
            Request::Redeem {
                secret: [9; 32],
                start: vec![1],
                record: vec![2],
            },
            Request::Keep {
                vault: vault(),
                genesis: vec![1],
            },
            Request::Addresses,
            Request::Chain {
                node: NodeId::from_bytes([1; 32]),
                from: 3,
            },
            Request::Succeed {
                rotations: vec![vec![1], vec![2]],
            },
            Request::Link {
                proposal: vec![1; 90],
            },
            Request::Invitations,
            Request::ChainNews { last: 300 },
            Request::Pair {
                secret: [9; 32],
                start: vec![1],
                record: vec![2],
            },
            Request::Devices,
            Request::Hidden,
            Request::MyKeys,
            Request::Words {
                element: [4; ELEMENT_LEN],
            },
            Request::WordsProof {
                proof: [5; MAC_LEN],
                start: vec![1],
                record: vec![2],
            },
            Request::Witness {
                identity: "github.com:alice".parse().expect("an identity"),
                node: Some(NodeId::from_bytes([1; 32])),
            },
            Request::Witness {
                identity: "dns:alice.example".parse().expect("an identity"),
                node: None,
            },
        ]
    }

    fn answers() -> Vec<(Request, Answer)> {
        let beginning = Beginning {
            genesis: vec![7; 100],
            name: "work".to_owned(),
            role: Role::Writer,
        };
        let offer = |name: &str| Offer {
            vault: vault(),
            name: name.to_owned(),
            role: Role::Reader,
        };
        let device = Device {
            node: NodeId::from_bytes([1; 32]),
            record: vec![3; 50],
            places: vec!["127.0.0.1:5".parse().expect("an address")],
        };
        let invited = |kind, link| Invited {
            invitation: InvitationId::from_bytes([8; 16]),
            kind,
            link,
        };
        let link = LiveLink {
            proof: Proof {
                node: NodeId::from_bytes([1; 32]),
                claim: StatementId::from_bytes([2; 32]),
            },
            since: Timestamp::from_millis(5),
            checked: Timestamp::from_millis(u64::MAX),
        };
        let testimony = Testimony {
            live: Some(link),
            former: Some(FormerLink {
                link,
                ended: Timestamp::from_millis(9),
                ending: Ending::Gone,
            }),
        };
        let nodes = vec![(
            NodeId::from_bytes([1; 32]),
            vec!["127.0.0.1:5".parse().expect("an address")],
        )];
        let keys = Answer::Keys {
            start: vec![1; 50],
            records: vec![vec![2; 50], vec![3; 50]],
        };
        let all = requests();
        vec![
            (all[0].clone(), Answer::Done),
            (all[1].clone(), keys),
            (all[2].clone(), Answer::Offers(vec![offer("a"), offer("")])),
            (all[3].clone(), Answer::Sync(sync::Response::Refused)),
            (
                all[3].clone(),
                Answer::Sync(sync::Response::Objects(vec![
                    vec![5; 70_000].into(),
                    vec![6; 3].into(),
                ])),
            ),
            (all[4].clone(), Answer::Done),
            (all[5].clone(), Answer::Done),
            (all[6].clone(), Answer::Genesis(beginning.clone())),
            (all[7].clone(), Answer::Joined(vault(), beginning)),
            (all[8].clone(), Answer::Keeping { now: true }),
            (all[8].clone(), Answer::Keeping { now: false }),
            (all[9].clone(), Answer::Nodes(nodes)),
            (all[10].clone(), Answer::Chain(vec![vec![1; 300], vec![2]])),
            (all[11].clone(), Answer::Done),
            (all[12].clone(), Answer::Link(vec![1; 300])),
            (
                all[13].clone(),
                Answer::Invitations(vec![
                    invited(LinkType::Node, None),
                    invited(LinkType::Device, Some(vec![4; 200])),
                ]),
            ),
            (all[14].clone(), Answer::Done),
            (all[15].clone(), Answer::Done),
            (all[16].clone(), Answer::Devices(vec![device])),
            (all[17].clone(), Answer::Hidden(Some(vec![6; 200]))),
            (all[17].clone(), Answer::Hidden(None)),
            (all[18].clone(), Answer::MyKeys(Some(vec![6; 200]))),
            (all[18].clone(), Answer::MyKeys(None)),
            (all[19].clone(), Answer::Element([6; ELEMENT_LEN])),
            (all[20].clone(), Answer::Proof([7; MAC_LEN])),
            (all[21].clone(), Answer::Testimony(Box::default())),
            (all[21].clone(), Answer::Testimony(Box::new(testimony))),
            (all[0].clone(), Answer::refused(Refusal::TooMuch)),
            (all[4].clone(), Answer::refused(Refusal::NoRoom)),
        ]
    }

    #[test]
    fn messages_read_back_and_each_is_one_of_its_kind() {
        for request in requests() {
            assert_eq!(Request::decode(&request.encode()), Ok(request));
        }
        for (request, answer) in answers() {
            let bytes = answer.encode();
            assert!(bytes.len() <= request.max_answer());
            let parts = answer.to_parts();
            let parts: Vec<&[u8]> = parts.iter().map(Blob::as_slice).collect();
            assert_eq!(parts.concat(), bytes);
            assert_eq!(Answer::decode(&request, &bytes), Ok(answer.clone()));
            for other in requests() {
                if let Ok(read) = Answer::decode(&other, &bytes) {
                    assert_eq!(
                        read, answer,
                        "the answer to {request:?} passes for one to {other:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn cut_and_lengthened_messages_are_malformed() {
        for request in requests() {
            let bytes = request.encode();
            for cut in 0..bytes.len() {
                assert!(Request::decode(&bytes[..cut]).is_err(), "{request:?} {cut}");
            }
            let longer = [&bytes[..], &[0]].concat();
            assert!(Request::decode(&longer).is_err(), "{request:?}");
        }
        for (request, answer) in answers() {
            let bytes = answer.encode();
            for cut in (0..bytes.len()).filter(|cut| *cut < 100 || bytes.len() - cut < 100) {
                assert!(
                    Answer::decode(&request, &bytes[..cut]).is_err(),
                    "{answer:?} {cut}"
                );
            }
        }
    }

    #[test]
    fn bounds_hold() {
        let long = Request::Notify(vec![0; MAX_STATEMENT_LEN + 1]);
        assert!(Request::decode(&long.encode()).is_err());
        assert!(Request::decode(&Request::Notify(Vec::new()).encode()).is_err());
        assert!(Request::decode(&vec![0; MAX_REQUEST_LEN + 1]).is_err());
        let name = |name: &str| {
            let offers = Answer::Offers(vec![Offer {
                vault: vault(),
                name: name.to_owned(),
                role: Role::Reader,
            }]);
            Answer::decode(&Request::Scan, &offers.encode())
        };
        assert!(name("work").is_ok());
        for bad in ["a/b", "a:b", "\u{1b}[2J", &"x".repeat(129)] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
        let records = Answer::Keys {
            start: vec![1],
            records: vec![vec![1]; MAX_RECORDS + 1],
        };
        assert!(Answer::decode(&Request::Who, &records.encode()).is_err());
        let chain = Answer::Chain(vec![vec![1]; MAX_OFFER + 1]);
        assert!(Answer::decode(&requests()[10], &chain.encode()).is_err());
        let succeed = |count| Request::Succeed {
            rotations: vec![vec![1]; count],
        };
        assert!(Request::decode(&succeed(MAX_ROTATIONS).encode()).is_ok());
        assert!(Request::decode(&succeed(MAX_ROTATIONS + 1).encode()).is_err());
        let link = |len| Request::Link {
            proposal: vec![1; len],
        };
        assert!(Request::decode(&link(MAX_LINK_LEN).encode()).is_ok());
        assert!(Request::decode(&link(MAX_LINK_LEN + 1).encode()).is_err());
        assert!(Request::decode(&link(0).encode()).is_err());
        let witness = |identity: &str| {
            let mut out = Writer::new();
            out.array(3).u64(27).text(identity).null();
            Request::decode(&out.finish())
        };
        assert!(witness(&format!("github.com:{}", "a".repeat(64))).is_ok());
        assert!(witness(&format!("github.com:{}", "a".repeat(65))).is_err());
        let testimony = |ending: u64| {
            let mut out = Writer::new();
            out.array(2).u64(0).array(2).null().array(6);
            out.bytes(&[1; 32])
                .bytes(&[2; 32])
                .u64(1)
                .u64(2)
                .u64(3)
                .u64(ending);
            Answer::decode(&requests()[21], &out.finish())
        };
        assert!(testimony(3).is_ok());
        assert!(testimony(4).is_err(), "an ending that there is none");
        let text = "\u{e9}".repeat(MAX_TEXT_LEN);
        let refused = Answer::Refused(Refusal::Refused, text).encode();
        assert!(matches!(
            Answer::decode(&Request::Ping, &refused),
            Ok(Answer::Refused(_, text)) if text.len() == MAX_TEXT_LEN
        ));
    }
}
