//! Requests: what a node asks another, and how long the answer may be.

use polykey_core::codec::{Reader, Writer};
use polykey_core::{NodeId, VaultId};
use polykey_trust::identity::IdentityId;
use polykey_trust::invitation::MAX_INVITATIONS;
use polykey_trust::link::MAX_LINK_LEN;
use polykey_vault::sync;

use super::parts::{bounded, link, statement};
use super::{
    ELEMENT_LEN, MAC_LEN, MAX_ANSWER_LEN, MAX_CHAIN_LEN, MAX_NODES, MAX_OFFERS, MAX_PLACES, MAX_RECORDS,
    MAX_REQUEST_LEN, MAX_ROTATIONS, MAX_SHOWN_DEVICES, MAX_STATEMENT_LEN, MessageError, SECRET_LEN,
};
use crate::friends::message as friends;

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
    /// About shares of recovery codes.
    Friend(friends::Request),
    /// What did you see of this identity?
    Witness {
        /// The identity.
        identity: IdentityId,
        /// The node whose link with it is asked about, when it is over; none for the newest that was.
        node: Option<NodeId>,
    },
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
            Request::Friend(request) => request.event(),
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
            Request::Friend(_) => friends::MAX_ANSWER_LEN + 64,
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
            Request::Friend(request) => out.array(2).u64(21).bytes(&request.encode()),
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
            (2, 21) => Request::Friend(friends::Request::decode(from.bytes()?)?),
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
