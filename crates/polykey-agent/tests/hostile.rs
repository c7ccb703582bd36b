//! Every decoder of what other nodes send, under damaged bytes: never a panic, and nothing is understood that
//! is not its own one spelling.
//!
//! The damage is the same in every run: bits, cuts, pieces moved or doubled, and heads of items that promise
//! more than follows. The decoders of the core are tried in its own `tests/vectors/hostile.rs`.

use data_encoding::HEXLOWER;
use polykey_agent::peer::{Answer, Request as Question};
use polykey_agent::post::notification::Notification;
use polykey_agent::tickets::ticket::Ticket;
use polykey_core::statement::{Kind, Statement};
use polykey_core::{NodeId, ObjectId, StatementId, VaultId};
use polykey_vault::charter::Entry;
use polykey_vault::commit::Commit;
use polykey_vault::record::Record;
use polykey_vault::sync::{Announcement, CommitItem, Items, Request, Response};

/// How often each example is damaged.
const ROUNDS: u64 = 1500;

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % limit.max(1)
    }

    fn damaged(&mut self, good: &[u8]) -> Vec<u8> {
        let mut bytes = good.to_vec();
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len());
            let piece = at..(at + 1 + self.below(64)).min(bytes.len());
            match self.below(8) {
                0 => bytes.truncate(at),
                1 => drop(bytes.drain(piece)),
                2 => bytes.splice(at..at, bytes[piece].to_vec()).for_each(drop),
                3 => {
                    let other = self.below(bytes.len());
                    bytes
                        .splice(other..other, good[..good.len().min(40)].to_vec())
                        .for_each(drop);
                }
                // Arrays, maps, texts and byte strings of any length, tags, floats, breaks.
                4 => {
                    let head = [0x1b, 0x5b, 0x7b, 0x9b, 0xbb, 0xdb][self.below(6)];
                    let len = [u64::MAX, 1 << 40, 1 << 20, 300][self.below(4)];
                    let head = [&[head][..], &len.to_be_bytes()].concat();
                    bytes.splice(at..at, head).for_each(drop);
                }
                5 => bytes.splice(at..at, [0x81; 40]).for_each(drop),
                _ => {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= 1 << self.below(8);
                    }
                }
            }
        }
        bytes
    }
}

/// Damages `good` again and again. `accepted` says whether bytes were understood; what was must be spelt as
/// they are.
#[track_caller]
fn check(name: &str, good: &[u8], mut accepted: impl FnMut(&[u8]) -> Option<Vec<u8>>) {
    assert_eq!(
        accepted(good).as_deref(),
        Some(good),
        "{name}: the example is good"
    );
    let mut dice = Dice(good.len() as u64);
    for _ in 0..ROUNDS {
        let bytes = dice.damaged(good);
        if let Some(understood) = accepted(&bytes) {
            assert!(understood == bytes, "{name}: {}", HEXLOWER.encode(&bytes));
        }
    }
}

/// The lines of a file of frozen examples: name and the last word, which is hex.
fn frozen(text: &'static str) -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| {
        let (name, _) = line.split_once(' ')?;
        let hex = line.rsplit(' ').next()?;
        Some((name, HEXLOWER.decode(hex.as_bytes()).expect("hex")))
    })
}

fn one_of(text: &'static str, wanted: &str) -> Vec<u8> {
    let mut all = frozen(text);
    all.find(|(name, _)| *name == wanted).expect("is frozen").1
}

const CHARTER: &str = include_str!("../../polykey-vault/tests/vectors/charter.txt");
const VAULT: &str = include_str!("../../polykey-vault/tests/vectors/vault.txt");
const NOTIFICATIONS: &str = include_str!("../src/post/vectors.txt");
const TICKET: &str = include_str!("../src/tickets/ticket.txt");

#[test]
fn charter_entries() {
    for (name, good) in frozen(CHARTER) {
        check(name, &good, |bytes| {
            // Behind the signature, as if a member had signed it.
            if let Ok(statement) = Statement::accept_unverified(Kind::Charter, bytes.to_vec()) {
                let _ = Entry::parse(statement);
            }
            let entry = Entry::verify(bytes.to_vec()).ok()?;
            Some(entry.statement().as_bytes().to_vec())
        });
    }
}

#[test]
fn commits() {
    let body = one_of(VAULT, "commit-body");
    check("commit", &one_of(VAULT, "commit-statement"), |bytes| {
        let _ = Commit::accept_stored(bytes.to_vec(), body.clone());
        let commit = Commit::verify(bytes.to_vec(), body.clone()).ok()?;
        Some(commit.statement().as_bytes().to_vec())
    });
}

#[test]
fn records() {
    check("record", &one_of(VAULT, "record"), |bytes| {
        Some(Record::decode(bytes).ok()?.encode().ok()?.expose().to_vec())
    });
}

#[test]
fn notifications_and_tickets() {
    for line in NOTIFICATIONS.lines() {
        let (name, hex) = line.rsplit_once(": ").expect("a name and hex");
        check(name, &HEXLOWER.decode(hex.as_bytes()).expect("hex"), |bytes| {
            let notification = Notification::verify(bytes.to_vec()).ok()?;
            Some(notification.as_bytes().to_vec())
        });
    }
    check("ticket", TICKET.trim().as_bytes(), |bytes| {
        let text = std::str::from_utf8(bytes).ok()?;
        let found = Ticket::parse(text).ok()?;
        assert_eq!(found.to_text(), text.trim());
        Some(bytes.to_vec())
    });
}

fn messages() -> (Vec<Request>, Vec<Response>) {
    let vault = VaultId::from_bytes([7; 32]);
    let wanted = vec![ObjectId::from_bytes([4; 32]), ObjectId::from_bytes([5; 32])];
    let requests = vec![
        Request::Items {
            vault,
            charter: vec![StatementId::from_bytes([1; 32]), StatementId::from_bytes([2; 32])],
            lines: Vec::new(),
        },
        Request::Objects { vault, wanted },
    ];
    let items = Items {
        heads: vec![StatementId::from_bytes([1; 32])],
        tips: Vec::new(),
        entries: frozen(CHARTER).map(|(_, entry)| entry).take(2).collect(),
        commits: vec![CommitItem {
            statement: one_of(VAULT, "commit-statement"),
            body: one_of(VAULT, "commit-body"),
            objects: vec![one_of(VAULT, "object")],
        }],
        more: true,
    };
    let removed = Response::Removed {
        entries: vec![vec![1; 40]],
        more: false,
    };
    let responses = vec![
        Response::Items(items),
        Response::Objects(vec![vec![8; 300].into()]),
        removed,
        Response::Refused,
    ];
    (requests, responses)
}

#[test]
fn messages_of_sync() {
    let (requests, responses) = messages();
    for request in requests {
        check("request", &request.encode(), |bytes| {
            Some(Request::decode(bytes).ok()?.encode())
        });
    }
    for response in responses {
        check("response", &response.encode(), |bytes| {
            Some(Response::decode(&bytes.to_vec().into()).ok()?.encode())
        });
    }
    let announcement = Announcement {
        vault: VaultId::from_bytes([7; 32]),
        heads: vec![StatementId::from_bytes([1; 32])],
        tips: Vec::new(),
    };
    check("announcement", &announcement.encode(), |bytes| {
        Some(Announcement::decode(bytes).ok()?.encode())
    });
}

#[test]
fn messages_of_peers() {
    let (requests, responses) = messages();
    let vault = VaultId::from_bytes([9; 32]);
    let questions = [
        Question::Ping,
        Question::Who,
        Question::Scan,
        Question::Notify(vec![3; 80]),
        Question::Genesis(vault),
        Question::Redeem {
            secret: [6; 32],
            start: vec![1; 60],
            record: vec![2; 60],
        },
        Question::Keep {
            vault,
            genesis: vec![4; 90],
        },
        Question::Addresses,
    ];
    for question in questions
        .into_iter()
        .chain(requests.into_iter().map(Question::Sync))
    {
        check("question", &question.encode(), |bytes| {
            Some(Question::decode(bytes).ok()?.encode())
        });
        // An answer belongs to its question: whatever comes as one, it is read or refused.
        for response in &responses {
            let mut dice = Dice(1);
            for _ in 0..200 {
                let _ = Answer::decode(&question, &dice.damaged(&Answer::Sync(response.clone()).encode()));
            }
        }
    }
    let nobody = NodeId::from_bytes([0; 32]);
    assert!(polykey_agent::peer::keys::NodeKeys::verify(nobody, Vec::new(), Vec::new()).is_err());
}
