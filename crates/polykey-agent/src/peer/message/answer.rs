//! Answers: the value that a request gets, or why there is none.

use polykey_core::codec::{CodecError, Reader, Writer};
use polykey_core::{NodeId, StatementId, Timestamp, VaultId};
use polykey_trust::invitation::MAX_INVITATIONS;
use polykey_trust::link::{InvitationId, LinkType};
use polykey_trust::proof::{Ending, FormerLink, LiveLink, Proof};
use polykey_trust::sigchain::MAX_OFFER;
use polykey_vault::charter::Role;
use polykey_vault::sync::{self, Blob};

use super::parts::{bounded, link, name, optional, places, role, statement, write_optional, write_places};
use super::request::Request;
use super::{
    ELEMENT_LEN, MAC_LEN, MAX_NODES, MAX_OFFERS, MAX_RECORDS, MAX_SHOWN_DEVICES, MAX_TEXT_LEN, MessageError,
};
use crate::contacts::Place;
use crate::friends::message as friends;

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
    /// The bytes of an answer about [shares of recovery codes](friends).
    Friend(friends::Answer),
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
            Answer::Friend(answer) => {
                out.bytes(&answer.encode());
            }
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
            Request::Friend(request) => Answer::Friend(friends::Answer::decode(request, from.bytes()?)?),
            Request::Witness { .. } => Answer::Testimony(Box::new(Testimony::read(from)?)),
        })
    }
}
