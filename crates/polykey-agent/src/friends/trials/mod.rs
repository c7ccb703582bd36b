//! Holders, owners and askers in one process, and those who would like to be one of them.

mod holders;
mod owners;

use std::time::Duration;

use polykey_core::clock::SystemClock;
use polykey_core::genesis::SigchainStart;
use polykey_core::key_record::KeyRecord;
use polykey_core::random::OsRandom;
use polykey_core::recovery::{RecoveryCode, RecoveryKeys};
use polykey_core::sealing::EncryptionKey;
use polykey_core::share::{Share, split};
use polykey_core::sign::SigningKey;
use polykey_core::{Clock, Key, NodeId, StatementId, Timestamp};
use polykey_trust::book::{self, Source};
use polykey_trust::claim::Body;
use polykey_trust::link::LinkType;
use polykey_trust::sigchain::Chain;
use polykey_trust::split::{Purpose, Split};

use super::asker::{self, Fetched};
use super::holder::{self, Word};
use super::message::{Answer, Request};
use super::news::News;
use super::owner::{self, Terms};
use super::rows::{self, Asking, Delivery, Errand, Held, Own, State, Warning};
use super::{LIFETIME, MAX_ENDED, MAX_OPEN, MAX_WARNINGS_OF_ONE};
use crate::chains::cast::{Life, link, time};
use crate::peer::bench::{Bench, Wire, nobody, stranger};
use crate::peer::keys::NodeKeys;
use crate::peer::{self, Ask, AskError, Refusal};
use crate::post::{Letter, Tray};

const HOUR: Duration = Duration::from_secs(3600);
const NONE: Duration = Duration::ZERO;

/// Somebody whose code is split.
struct Owner {
    life: Life,
    code: RecoveryCode,
}

impl Owner {
    fn new() -> Owner {
        let code = RecoveryCode::generate(&OsRandom);
        let keys = code.keys();
        let record = KeyRecord::first(&keys.root, EncryptionKey::random(&OsRandom).public());
        let start = SigchainStart::sign(&keys.root, &keys, &record, time(1));
        let life = Life { keys, start, record };
        Owner { life, code }
    }

    fn id(&self) -> NodeId {
        self.life.node()
    }

    /// A split into three, any two of which give the code back.
    fn splits(&self, made: u64, wait: Duration) -> (Split, Vec<Share>) {
        let shares = split(&self.code, 2, 3, &OsRandom).expect("two of three");
        let made = Timestamp::from_millis(made);
        let split = Split::sign(&self.life.keys, made, 2, wait, &shares).expect("bounded");
        (split, shares)
    }
}

/// What brings this share to this friend.
fn leave(split: &Split, share: &Share, friend: &Bench) -> Request {
    let node = friend.node();
    let key = node.key_record.encryption();
    Request::Leave {
        split: split.as_bytes().to_vec(),
        sealed: split.seal(Purpose::Keep, share, friend.id(), key, &OsRandom),
    }
}

/// Asks an agent as the node `from`.
async fn ask(to: &Bench, from: NodeId, request: Request) -> Result<Answer, Refusal> {
    match Wire::new(to, from, 1).ask(peer::Request::Friend(request)).await {
        Ok(peer::Answer::Friend(answer)) => Ok(answer),
        Err(AskError::Refused { refusal, .. }) => Err(refusal),
        other => panic!("{other:?}"),
    }
}

/// The request of a node for the share of `owner`.
fn wants(keys: &NodeKeys, owner: NodeId) -> Request {
    Request::Ask {
        owner,
        start: keys.start().as_bytes().to_vec(),
        records: vec![keys.record().as_bytes().to_vec()],
    }
}

/// A friend that knows the owner and holds the first share of its split.
async fn friend_of(owner: &Owner, wait: Duration) -> (Bench, Split, Vec<Share>) {
    let friend = Bench::new();
    friend.node().contacts.trust(owner.id()).expect("kept");
    let (split, shares) = owner.splits(1000, wait);
    let left = ask(&friend, owner.id(), leave(&split, &shares[0], &friend)).await;
    assert_eq!(left, Ok(Answer::Done));
    (friend, split, shares)
}

fn news(of: &Bench) -> Vec<(NodeId, News)> {
    let inbox = of.node().post.read(Tray::Inbox).expect("reads");
    let letters = inbox.into_iter().map(|mail| mail.letter);
    let told = letters.filter_map(|letter| match letter {
        Letter::Friend { from, news } => Some((from, news)),
        _ => None,
    });
    told.collect()
}

fn held(by: &Bench, owner: &NodeId) -> Option<StatementId> {
    let held = rows::read(&by.node().db, |tx| Held::find(tx, owner)).expect("reads");
    held.map(|held| held.split.id())
}

fn state_of(at: &Bench, owner: &NodeId, asker: &NodeId) -> Option<State> {
    let all = rows::read(&at.node().db, |tx| Asking::all(tx, owner)).expect("reads");
    all.iter().find(|one| one.asker == *asker).map(|one| one.state)
}

fn knows_chains(bench: &Bench, lives: &[(&Life, &Chain)]) {
    let node = bench.node();
    for (life, chain) in lives {
        let entries = chain.entries().to_vec();
        let received = node
            .db
            .write(|tx| book::receive(tx, &life.node(), entries, Source::Owner, time(9)));
        received.expect("a chain");
    }
    node.gestalts.changed();
}
