//! What nodes say to each other about shares of recovery codes.
//!
//! Requests, inside the request of that kind of [`peer`](crate::peer):
//!
//! - `[0, split, sealed share]` keep this share for me · `[1, split]` my code was split anew, and you have no share
//! - `[2, split id]` I gave up the share of yours · `[3, split id, nonce (32)]` prove that you have it
//! - `[4, owner, sigchain start, [key record]]` give me the share of this node's code, which I lost
//! - `[5, owner]` what became of that?
//! - `[6, owner, asker, since, until]` this node asks for a share of yours · `[7, owner, asker]` it is none of us
//!
//! Answers: `[0]` done, `[1, signature (64)]`, `[2, not before, approved]` it waits, `[3, split, sealed share]`.
//!
//! Always: each field is bounded, and what does not fit its place is malformed. Nothing is verified here.

use polykey_core::codec::{CodecError, Reader, Writer};
use polykey_core::sign::SIGNATURE_LEN;
use polykey_core::{NodeId, StatementId, Timestamp};
use polykey_trust::split::{MAX_SEALED_LEN, MAX_SPLIT_LEN, NONCE_LEN};

/// Longest request: the keys of a node.
pub const MAX_REQUEST_LEN: usize = 14 << 10;
/// Longest answer: a released share and its statement.
pub const MAX_ANSWER_LEN: usize = MAX_SPLIT_LEN + MAX_SEALED_LEN + 64;
/// Longest first entry of a sigchain, and longest key record.
const MAX_STATEMENT_LEN: usize = 4 << 10;
/// Most key records that a node shows when it asks: a new node has one.
const MAX_RECORDS: usize = 4;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Keep this share for me.
    Leave {
        /// The statement about the shares.
        split: Vec<u8>,
        /// The share, sealed to the node that is asked.
        sealed: Vec<u8>,
    },
    /// My code was split anew, and none of the shares is yours.
    Replace {
        /// The newer statement.
        split: Vec<u8>,
    },
    /// I gave up the share that I held for you.
    GiveUp {
        /// Of which split.
        split: StatementId,
    },
    /// Prove that you have the share.
    Prove {
        /// Of which split.
        split: StatementId,
        /// Chosen for this question.
        nonce: [u8; NONCE_LEN],
    },
    /// Give me the share of this node's code.
    Ask {
        /// The node that was lost.
        owner: NodeId,
        /// The first entry of the asker's sigchain.
        start: Vec<u8>,
        /// The asker's key records, newest last.
        records: Vec<Vec<u8>>,
    },
    /// What became of what I asked for?
    Fetch {
        /// The node that was lost.
        owner: NodeId,
    },
    /// A node asks for a share of yours.
    Warn {
        /// The node that it says was lost.
        owner: NodeId,
        /// The node that asks.
        asker: NodeId,
        /// Since when.
        arrived: Timestamp,
        /// Until when nothing is released.
        until: Timestamp,
    },
    /// Refuse this node: it is none of us.
    Veto {
        /// The node that it says was lost.
        owner: NodeId,
        /// The node that asks.
        asker: NodeId,
    },
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is done.
    Done,
    /// The signature by the key of the share.
    Proof([u8; SIGNATURE_LEN]),
    /// The share is not released yet.
    Waiting {
        /// It is not released before this.
        until: Timestamp,
        /// True when the holder's user agreed.
        approved: bool,
    },
    /// The share.
    Released {
        /// The statement about the shares.
        split: Vec<u8>,
        /// The share, sealed to the asker.
        sealed: Vec<u8>,
    },
}

impl Request {
    /// The audit event of the request at the node that is asked.
    pub const fn event(&self) -> &'static str {
        match self {
            Request::Leave { .. } => "peer.recovery.leave",
            Request::Replace { .. } => "peer.recovery.replace",
            Request::GiveUp { .. } => "peer.recovery.give-up",
            Request::Prove { .. } => "peer.recovery.prove",
            Request::Ask { .. } => "peer.recovery.ask",
            Request::Fetch { .. } => "peer.recovery.fetch",
            Request::Warn { .. } => "peer.recovery.warn",
            Request::Veto { .. } => "peer.recovery.veto",
        }
    }

    /// The bytes of the request.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        match self {
            Request::Leave { split, sealed } => {
                out.array(3).u64(0).bytes(split).bytes(sealed);
            }
            Request::Replace { split } => {
                out.array(2).u64(1).bytes(split);
            }
            Request::GiveUp { split } => {
                out.array(2).u64(2).bytes(split.as_bytes());
            }
            Request::Prove { split, nonce } => {
                out.array(3).u64(3).bytes(split.as_bytes()).bytes(nonce);
            }
            Request::Ask {
                owner,
                start,
                records,
            } => {
                out.array(4).u64(4).bytes(owner.as_bytes()).bytes(start);
                out.array(records.len());
                for record in records {
                    out.bytes(record);
                }
            }
            Request::Fetch { owner } => {
                out.array(2).u64(5).bytes(owner.as_bytes());
            }
            Request::Warn {
                owner,
                asker,
                arrived,
                until,
            } => {
                out.array(5)
                    .u64(6)
                    .bytes(owner.as_bytes())
                    .bytes(asker.as_bytes());
                out.u64(arrived.as_millis()).u64(until.as_millis());
            }
            Request::Veto { owner, asker } => {
                out.array(3)
                    .u64(7)
                    .bytes(owner.as_bytes())
                    .bytes(asker.as_bytes());
            }
        }
        out.finish()
    }

    /// Reads a request.
    ///
    /// # Errors
    /// [`CodecError`].
    pub fn decode(bytes: &[u8]) -> Result<Request, CodecError> {
        let mut from = Reader::new(bytes, MAX_REQUEST_LEN, "a request about shares")?;
        let request = match (from.array()?, from.u64()?) {
            (3, 0) => Request::Leave {
                split: bounded(&mut from, MAX_SPLIT_LEN)?,
                sealed: bounded(&mut from, MAX_SEALED_LEN)?,
            },
            (2, 1) => Request::Replace {
                split: bounded(&mut from, MAX_SPLIT_LEN)?,
            },
            (2, 2) => Request::GiveUp {
                split: StatementId::from_bytes(from.bytes_of()?),
            },
            (3, 3) => Request::Prove {
                split: StatementId::from_bytes(from.bytes_of()?),
                nonce: from.bytes_of()?,
            },
            (4, 4) => {
                let owner = NodeId::from_bytes(from.bytes_of()?);
                let start = bounded(&mut from, MAX_STATEMENT_LEN)?;
                let count = from.array()?;
                if !(1..=MAX_RECORDS).contains(&count) {
                    return Err(from.shape());
                }
                let records = (0..count).map(|_| bounded(&mut from, MAX_STATEMENT_LEN));
                Request::Ask {
                    owner,
                    start,
                    records: records.collect::<Result<_, _>>()?,
                }
            }
            (2, 5) => Request::Fetch {
                owner: NodeId::from_bytes(from.bytes_of()?),
            },
            (5, 6) => Request::Warn {
                owner: NodeId::from_bytes(from.bytes_of()?),
                asker: NodeId::from_bytes(from.bytes_of()?),
                arrived: Timestamp::from_millis(from.u64()?),
                until: Timestamp::from_millis(from.u64()?),
            },
            (3, 7) => Request::Veto {
                owner: NodeId::from_bytes(from.bytes_of()?),
                asker: NodeId::from_bytes(from.bytes_of()?),
            },
            _ => return Err(from.shape()),
        };
        from.finish()?;
        Ok(request)
    }
}

impl Answer {
    /// The bytes of the answer.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        match self {
            Answer::Done => {
                out.array(1).u64(0);
            }
            Answer::Proof(proof) => {
                out.array(2).u64(1).bytes(proof);
            }
            Answer::Waiting { until, approved } => {
                out.array(3).u64(2).u64(until.as_millis()).bool(*approved);
            }
            Answer::Released { split, sealed } => {
                out.array(3).u64(3).bytes(split).bytes(sealed);
            }
        }
        out.finish()
    }

    /// Reads the answer to `request`.
    ///
    /// # Errors
    /// [`CodecError`], also for an answer to another request.
    pub fn decode(request: &Request, bytes: &[u8]) -> Result<Answer, CodecError> {
        let mut from = Reader::new(bytes, MAX_ANSWER_LEN, "an answer about shares")?;
        let answer = match (request, from.array()?, from.u64()?) {
            (Request::Prove { .. }, 2, 1) => Answer::Proof(from.bytes_of()?),
            (Request::Fetch { .. }, 3, 2) => Answer::Waiting {
                until: Timestamp::from_millis(from.u64()?),
                approved: from.bool()?,
            },
            (Request::Fetch { .. }, 3, 3) => Answer::Released {
                split: bounded(&mut from, MAX_SPLIT_LEN)?,
                sealed: bounded(&mut from, MAX_SEALED_LEN)?,
            },
            (Request::Prove { .. } | Request::Fetch { .. }, ..) => return Err(from.shape()),
            (_, 1, 0) => Answer::Done,
            _ => return Err(from.shape()),
        };
        from.finish()?;
        Ok(answer)
    }
}

fn bounded(from: &mut Reader<'_>, most: usize) -> Result<Vec<u8>, CodecError> {
    let bytes = from.bytes()?;
    match bytes.is_empty() || bytes.len() > most {
        true => Err(from.shape()),
        false => Ok(bytes.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(byte: u8) -> NodeId {
        NodeId::from_bytes([byte; 32])
    }

    fn requests() -> [Request; 8] {
        let split = StatementId::from_bytes([9; 32]);
        [
            Request::Leave {
                split: vec![1; MAX_SPLIT_LEN],
                sealed: vec![2; MAX_SEALED_LEN],
            },
            Request::Replace { split: vec![1] },
            Request::GiveUp { split },
            Request::Prove {
                split,
                nonce: [3; NONCE_LEN],
            },
            Request::Ask {
                owner: node(1),
                start: vec![4; 2000],
                records: vec![vec![5; 1500]; 2],
            },
            Request::Fetch { owner: node(1) },
            Request::Warn {
                owner: node(1),
                asker: node(2),
                arrived: Timestamp::from_millis(5),
                until: Timestamp::from_millis(u64::MAX),
            },
            Request::Veto {
                owner: node(1),
                asker: node(2),
            },
        ]
    }

    fn answers() -> Vec<(Request, Answer)> {
        let all = requests();
        let mut answers: Vec<_> = [0, 1, 2, 4, 6, 7]
            .map(|at| (all[at].clone(), Answer::Done))
            .into();
        answers.push((all[3].clone(), Answer::Proof([7; SIGNATURE_LEN])));
        let until = Timestamp::from_millis(9);
        for approved in [true, false] {
            answers.push((all[5].clone(), Answer::Waiting { until, approved }));
        }
        let released = Answer::Released {
            split: vec![1; MAX_SPLIT_LEN],
            sealed: vec![2; MAX_SEALED_LEN],
        };
        answers.push((all[5].clone(), released));
        answers
    }

    #[test]
    fn messages_read_back_and_none_passes_for_another() {
        for request in requests() {
            assert_eq!(Request::decode(&request.encode()), Ok(request));
        }
        for (request, answer) in answers() {
            let bytes = answer.encode();
            assert_eq!(Answer::decode(&request, &bytes), Ok(answer.clone()));
            for other in requests() {
                if let Ok(read) = Answer::decode(&other, &bytes) {
                    assert_eq!(read, answer, "{request:?} {other:?}");
                }
            }
        }
        let done = Answer::Done.encode();
        for asks in [3, 5] {
            assert!(Answer::decode(&requests()[asks], &done).is_err());
        }
    }

    #[test]
    fn cut_lengthened_and_oversize_messages_are_malformed() {
        for request in requests() {
            let bytes = request.encode();
            for cut in (0..bytes.len()).filter(|cut| *cut < 80 || bytes.len() - cut < 80) {
                assert!(Request::decode(&bytes[..cut]).is_err(), "{request:?} {cut}");
            }
            assert!(Request::decode(&[&bytes[..], &[0]].concat()).is_err());
        }
        for (request, answer) in answers() {
            let bytes = answer.encode();
            for cut in (0..bytes.len()).filter(|cut| *cut < 80 || bytes.len() - cut < 80) {
                assert!(
                    Answer::decode(&request, &bytes[..cut]).is_err(),
                    "{answer:?} {cut}"
                );
            }
        }
        let leave = |split, sealed| Request::Leave {
            split: vec![1; split],
            sealed: vec![1; sealed],
        };
        let ask = |start, records, len| Request::Ask {
            owner: node(1),
            start: vec![1; start],
            records: vec![vec![1; len]; records],
        };
        for bad in [
            leave(0, 5),
            leave(5, 0),
            leave(MAX_SPLIT_LEN + 1, 5),
            leave(5, MAX_SEALED_LEN + 1),
            Request::Replace {
                split: vec![1; MAX_SPLIT_LEN + 1],
            },
            ask(0, 1, 5),
            ask(MAX_STATEMENT_LEN + 1, 1, 5),
            ask(5, 0, 5),
            ask(5, MAX_RECORDS + 1, 5),
            ask(5, 1, 0),
            ask(5, 1, MAX_STATEMENT_LEN + 1),
            ask(4000, 4, 4000),
        ] {
            assert!(Request::decode(&bad.encode()).is_err(), "{bad:?}");
        }
        for bad in [&[][..], &[0x80], &[0x81, 8], &[0x82, 0, 0], &[0xff; 9]] {
            assert!(Request::decode(bad).is_err());
        }
        let released = Answer::Released {
            split: vec![1; MAX_SPLIT_LEN + 1],
            sealed: vec![1],
        };
        assert!(Answer::decode(&requests()[5], &released.encode()).is_err());
    }
}
