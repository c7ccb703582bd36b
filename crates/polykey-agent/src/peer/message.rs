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
//! - `[21, bytes]` a request about [shares of recovery codes](crate::friends::message)
//! - `[27, identity, node or null]` what did you see of this identity, and of this node's link with it
//!
//! Answers: `[0, value]`, or `[1, code, text]` for a refusal. The value of each is told at [`Answer`].
//!
//! Always: each list and text is bounded, and what does not fit its place is malformed. Names in answers are
//! checked as vault names; all else that is signed is verified by whoever uses it. Start at [`Request`].

mod answer;
mod parts;
mod request;

use polykey_core::codec::CodecError;
use polykey_vault::sync;

use crate::devices::MAX_DEVICES;

pub use answer::{Answer, Beginning, Device, Invited, Offer, Refusal, Testimony};
pub use request::Request;

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

#[cfg(test)]
mod tests {
    use polykey_core::codec::Writer;
    use polykey_core::{NodeId, StatementId, Timestamp, VaultId};
    use polykey_trust::link::{InvitationId, LinkType, MAX_LINK_LEN};
    use polykey_trust::proof::{Ending, FormerLink, LiveLink, Proof};
    use polykey_trust::sigchain::MAX_OFFER;
    use polykey_vault::charter::Role;
    use polykey_vault::sync::Blob;

    use super::*;
    use crate::friends::message as friends;

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
            Request::Friend(friends::Request::Fetch {
                owner: NodeId::from_bytes([1; 32]),
            }),
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
            (
                all[23].clone(),
                Answer::Friend(friends::Answer::Released {
                    split: vec![1; 900],
                    sealed: vec![2; 1100],
                }),
            ),
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
