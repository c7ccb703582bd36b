//! Holders, owners and askers in one process, and those who would like to be one of them.

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_is_taken_from_its_owner_alone_and_no_older_one_replaces_it() {
    let (owner, mallory, friend) = (Owner::new(), Owner::new(), Bench::new());
    let (split, shares) = owner.splits(1000, HOUR);
    let good = || leave(&split, &shares[0], &friend);
    assert_eq!(
        ask(&friend, owner.id(), good()).await,
        Err(Refusal::Refused),
        "a stranger"
    );
    for known in [&owner, &mallory] {
        friend.node().contacts.trust(known.id()).expect("kept");
    }
    let (false_split, false_shares) = mallory.splits(2000, NONE);
    let other = Bench::new();
    let mut torn = split.as_bytes().to_vec();
    *torn.last_mut().expect("not empty") ^= 1;
    let Request::Leave { sealed, .. } = good() else {
        unreachable!("a share that is left")
    };
    let bad = [
        (mallory.id(), good(), Refusal::Refused),
        (
            owner.id(),
            leave(&false_split, &false_shares[0], &friend),
            Refusal::Refused,
        ),
        (owner.id(), leave(&split, &shares[0], &other), Refusal::Refused),
        (
            owner.id(),
            leave(&split, &false_shares[0], &friend),
            Refusal::Refused,
        ),
        (
            owner.id(),
            Request::Leave {
                split: torn,
                sealed: sealed.clone(),
            },
            Refusal::Malformed,
        ),
        (
            owner.id(),
            Request::Leave {
                split: split.as_bytes().to_vec(),
                sealed: vec![1; 40],
            },
            Refusal::Refused,
        ),
    ];
    for (at, (from, request, want)) in bad.into_iter().enumerate() {
        assert_eq!(ask(&friend, from, request).await, Err(want), "{at}");
    }
    assert_eq!(held(&friend, &owner.id()), None);
    assert_eq!(ask(&friend, owner.id(), good()).await, Ok(Answer::Done));
    assert_eq!(
        ask(&friend, owner.id(), good()).await,
        Ok(Answer::Done),
        "said twice"
    );
    let left = News::Left {
        threshold: 2,
        count: 3,
    };
    assert_eq!(news(&friend), [(owner.id(), left)], "told once");

    let (newer, new_shares) = owner.splits(1001, HOUR);
    assert_eq!(
        ask(&friend, owner.id(), leave(&newer, &new_shares[2], &friend)).await,
        Ok(Answer::Done)
    );
    let (older, old_shares) = owner.splits(999, NONE);
    let same_time = owner.splits(1001, NONE);
    for request in [
        good(),
        leave(&older, &old_shares[0], &friend),
        leave(&same_time.0, &same_time.1[0], &friend),
    ] {
        assert_eq!(ask(&friend, owner.id(), request).await, Err(Refusal::Refused));
    }
    assert_eq!(held(&friend, &owner.id()), Some(newer.id()));

    // Let go of at a newer statement of the owner's, and at no other.
    let replace = |split: &Split| Request::Replace {
        split: split.as_bytes().to_vec(),
    };
    assert_eq!(ask(&friend, owner.id(), replace(&older)).await, Ok(Answer::Done));
    assert_eq!(ask(&friend, owner.id(), replace(&newer)).await, Ok(Answer::Done));
    assert_eq!(
        ask(&friend, owner.id(), replace(&false_split)).await,
        Err(Refusal::Refused)
    );
    assert_eq!(
        ask(&friend, mallory.id(), replace(&owner.splits(3000, NONE).0)).await,
        Err(Refusal::Refused)
    );
    assert_eq!(held(&friend, &owner.id()), Some(newer.id()));
    assert_eq!(
        ask(&friend, owner.id(), replace(&owner.splits(3000, NONE).0)).await,
        Ok(Answer::Done)
    );
    assert_eq!(held(&friend, &owner.id()), None);
    assert_eq!(news(&friend).last(), Some(&(owner.id(), News::Taken)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_of_the_same_user_takes_no_share() {
    let (owner, friend) = (Owner::new(), Bench::new());
    let node = friend.node();
    node.contacts.trust(owner.id()).expect("kept");
    let mut theirs = owner.life.chain();
    let bench = Life {
        keys: RecoveryCode::generate(&OsRandom).keys(),
        start: node.sigchain_start.clone(),
        record: node.key_record.clone(),
    };
    // A link that both signed stands in both chains.
    let proposal = polykey_trust::link::Proposal::sign(
        &node.root,
        LinkType::Device,
        owner.id(),
        polykey_trust::link::InvitationId::from_bytes([7; 16]),
        time(3),
    )
    .expect("two nodes");
    let statement = polykey_core::statement::Statement::verify(
        polykey_core::statement::Kind::Link,
        proposal.as_bytes().to_vec(),
    );
    let both = statement.expect("just signed").countersign(&owner.life.keys.root);
    let both = polykey_trust::link::Link::verify(both.as_bytes().to_vec()).expect("both signed");
    owner.life.says(&mut theirs, &Body::Link(Box::new(both.clone())));
    crate::links::say(&node, &Body::Link(Box::new(both))).expect("said");
    knows_chains(&friend, &[(&owner.life, &theirs)]);
    assert_eq!(bench.node(), friend.id());
    let view = node.gestalts.view().expect("made");
    assert!(view.graph.principal(&friend.id()).contains(&owner.id()));

    let (split, shares) = owner.splits(1000, NONE);
    let left = ask(&friend, owner.id(), leave(&split, &shares[0], &friend)).await;
    assert_eq!(left, Err(Refusal::Refused));
    let terms = Terms {
        threshold: 2,
        wait: NONE,
    };
    let other = stranger().node();
    node.contacts.trust(other).expect("kept");
    let problem = owner::check(&node, terms, &[other, owner.id()]).expect_err("an own device");
    assert!(problem.to_string().contains("own devices"), "{problem}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_is_proven_to_its_owner_and_to_nobody_else() {
    let owner = Owner::new();
    let (friend, split, shares) = friend_of(&owner, HOUR).await;
    let nonce = [4; 32];
    let prove = |split: StatementId| Request::Prove { split, nonce };
    let Ok(Answer::Proof(proof)) = ask(&friend, owner.id(), prove(split.id())).await else {
        panic!("no proof")
    };
    assert_eq!(split.check_proof(1, &friend.id(), &nonce, &proof), Ok(()));
    // A holder that sends what it sent before, or what another sent, has proven nothing.
    assert!(split.check_proof(1, &friend.id(), &[5; 32], &proof).is_err());
    assert!(split.check_proof(1, &nobody(), &nonce, &proof).is_err());
    assert!(split.check_proof(2, &friend.id(), &nonce, &proof).is_err());
    assert!(shares[1].key().public() != shares[0].key().public());
    let other = owner.splits(2000, HOUR).0.id();
    for (from, id) in [
        (owner.id(), other),
        (nobody(), split.id()),
        (friend.id(), split.id()),
    ] {
        assert_eq!(ask(&friend, from, prove(id)).await, Err(Refusal::Refused));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_held_and_not_for_you_are_the_same_bytes() {
    let (owner, blocked) = (Owner::new(), Owner::new());
    let (friend, ..) = friend_of(&owner, NONE).await;
    let node = friend.node();
    node.contacts.trust(blocked.id()).expect("kept");
    let (split, shares) = blocked.splits(1000, NONE);
    let left = ask(&friend, blocked.id(), leave(&split, &shares[0], &friend)).await;
    assert_eq!(left, Ok(Answer::Done));
    node.contacts.block(blocked.id(), true).expect("blocked");
    let thief = stranger();
    assert_eq!(
        ask(&friend, thief.node(), wants(&thief, owner.id())).await,
        Ok(Answer::Done)
    );
    holder::decide(&node, owner.id(), thief.node(), Word::Refuse).expect("refused");

    let other = stranger();
    let mut said = Vec::new();
    for (from, request) in [
        // Nothing is held of these.
        (other.node(), wants(&other, nobody())),
        (other.node(), Request::Fetch { owner: nobody() }),
        // It has been refused.
        (thief.node(), wants(&thief, owner.id())),
        (thief.node(), Request::Fetch { owner: owner.id() }),
        // It never asked.
        (nobody(), Request::Fetch { owner: owner.id() }),
        // Its owner is blocked.
        (other.node(), wants(&other, blocked.id())),
        // It is the owner.
        (owner.id(), Request::Fetch { owner: owner.id() }),
        // A veto of somebody who is none of the owner's.
        (
            nobody(),
            Request::Veto {
                owner: owner.id(),
                asker: thief.node(),
            },
        ),
    ] {
        let frame = peer::Request::Friend(request).encode();
        said.push(friend.say(from, &frame).await.0);
    }
    assert!(said.windows(2).all(|two| two[0] == two[1]), "{said:?}");
    assert_eq!(said[0], peer::Answer::refused(Refusal::Refused).encode());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_requests_finds_few_places_and_one_each() {
    let owner = Owner::new();
    let (friend, ..) = friend_of(&owner, HOUR).await;
    let node = friend.node();
    let askers: Vec<NodeKeys> = (0..=MAX_OPEN).map(|_| stranger()).collect();
    let last = &askers[MAX_OPEN];
    for asker in &askers[..MAX_OPEN] {
        for _ in 0..2 {
            assert_eq!(
                ask(&friend, asker.node(), wants(asker, owner.id())).await,
                Ok(Answer::Done)
            );
        }
    }
    assert_eq!(
        ask(&friend, last.node(), wants(last, owner.id())).await,
        Err(Refusal::Refused)
    );
    let asked = news(&friend)
        .into_iter()
        .filter(|(_, news)| matches!(news, News::Asked { .. }));
    assert_eq!(asked.count(), MAX_OPEN, "told once each");
    // The user makes room.
    holder::decide(&node, owner.id(), askers[0].node(), Word::Refuse).expect("refused");
    assert_eq!(
        ask(&friend, last.node(), wants(last, owner.id())).await,
        Ok(Answer::Done)
    );
    // One that goes on asking is not heard any more, whatever it asks for.
    let noisy = stranger();
    let mut answers = Vec::new();
    for _ in 0..5 {
        answers.push(ask(&friend, noisy.node(), wants(&noisy, nobody())).await);
    }
    assert_eq!(answers.last(), Some(&Err(Refusal::TooMuch)));
    // Keys of another, or none that follow each other.
    let (a, b) = (stranger(), stranger());
    for request in [
        wants(&b, owner.id()),
        Request::Ask {
            owner: owner.id(),
            start: a.start().as_bytes().to_vec(),
            records: vec![b.record().as_bytes().to_vec()],
        },
    ] {
        assert_eq!(ask(&friend, a.node(), request).await, Err(Refusal::Malformed));
    }
    assert_eq!(state_of(&friend, &owner.id(), &a.node()), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_released_without_a_word_or_before_its_time() {
    let owner = Owner::new();
    let (friend, ..) = friend_of(&owner, HOUR).await;
    let (node, thief) = (friend.node(), Bench::new());
    let fetch = || ask(&friend, thief.id(), Request::Fetch { owner: owner.id() });
    assert_eq!(fetch().await, Err(Refusal::Refused));
    let asked = ask(&friend, thief.id(), wants(&thief.keys(), owner.id())).await;
    assert_eq!(asked, Ok(Answer::Done));
    let waits = |approved| move |answer: &Answer| matches!(answer, Answer::Waiting { approved: a, .. } if *a == approved);
    assert!(fetch().await.as_ref().is_ok_and(waits(false)));
    holder::decide(&node, owner.id(), thief.id(), Word::Approve).expect("approved");
    assert!(
        fetch().await.as_ref().is_ok_and(waits(true)),
        "approved, and too early"
    );

    // As if it had come so long ago.
    let came = |ago: Duration, state: State| {
        let now = SystemClock.now().as_millis();
        let ago = u64::try_from(ago.as_millis()).expect("short");
        rows::write(&node.db, |tx| {
            let all = Asking::all(tx, &owner.id())?;
            let asking = all
                .into_iter()
                .find(|one| one.asker == thief.id())
                .expect("it asked");
            let arrived = Timestamp::from_millis(now - ago);
            Asking {
                arrived,
                state,
                ..asking
            }
            .keep(tx, &owner.id())
        })
        .expect("kept");
    };
    let now = SystemClock.now();
    came(HOUR * 2, State::Open);
    assert!(
        fetch().await.as_ref().is_ok_and(waits(false)),
        "late enough, and no word"
    );
    came(HOUR - Duration::from_secs(60), State::Approved(now));
    assert!(fetch().await.as_ref().is_ok_and(waits(true)));
    came(HOUR, State::Approved(now));
    let Ok(Answer::Released { split, sealed }) = fetch().await else {
        panic!("not released")
    };
    // Sealed to whoever asked, and for this.
    let opened = asker::open(&thief.node(), owner.id(), split.clone(), &sealed);
    assert!(matches!(opened, Fetched::Share(..)));
    assert!(matches!(
        asker::open(&friend.node(), owner.id(), split.clone(), &sealed),
        Fetched::False
    ));
    assert!(matches!(
        asker::open(&thief.node(), nobody(), split, &sealed),
        Fetched::False
    ));
    for end in [State::Refused(now), State::Vetoed(now, owner.id())] {
        came(HOUR, end);
        assert_eq!(fetch().await, Err(Refusal::Refused));
    }
    came(LIFETIME + HOUR, State::Approved(now));
    assert_eq!(fetch().await, Err(Refusal::Refused), "its time is over");
    assert_eq!(state_of(&friend, &owner.id(), &thief.id()), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_of_the_owner_object_and_nobody_else_does() {
    let (owner, phone, stolen, stranger_of) = (Owner::new(), Life::new(), Life::new(), Life::new());
    let (friend, ..) = friend_of(&owner, HOUR).await;
    let (mut o, mut p, mut s) = (owner.life.chain(), phone.chain(), stolen.chain());
    let other = stranger_of.chain();
    link(LinkType::Device, (&owner.life, &mut o), (&phone, &mut p));
    link(LinkType::Device, (&owner.life, &mut o), (&stolen, &mut s));
    let lives = [
        (&owner.life, &o),
        (&phone, &p),
        (&stolen, &s),
        (&stranger_of, &other),
    ];
    knows_chains(&friend, &lives);
    let veto = |asker| Request::Veto {
        owner: owner.id(),
        asker,
    };
    let (first, second) = (stranger(), stranger());
    for thief in [&first, &second] {
        assert_eq!(
            ask(&friend, thief.node(), wants(thief, owner.id())).await,
            Ok(Answer::Done)
        );
    }
    // All of them are warned.
    let errands = rows::read(&friend.node().db, Errand::all).expect("reads");
    let mut warned: Vec<NodeId> = errands
        .iter()
        .filter(|errand| matches!(&errand.request, Request::Warn { asker, .. } if *asker == first.node()))
        .map(|errand| errand.to)
        .collect();
    let mut devices = vec![owner.id(), phone.node(), stolen.node()];
    warned.sort_unstable();
    devices.sort_unstable();
    assert_eq!(warned, devices);

    for from in [stranger_of.node(), nobody(), first.node(), friend.id()] {
        assert_eq!(
            ask(&friend, from, veto(first.node())).await,
            Err(Refusal::Refused)
        );
    }
    owner.life.says(&mut o, &Body::DeviceRemoved(stolen.node()));
    knows_chains(&friend, &[(&owner.life, &o)]);
    let refused = ask(&friend, stolen.node(), veto(first.node())).await;
    assert_eq!(refused, Err(Refusal::Refused), "a removed device");
    assert_eq!(state_of(&friend, &owner.id(), &first.node()), Some(State::Open));

    assert_eq!(
        ask(&friend, phone.node(), veto(first.node())).await,
        Ok(Answer::Done)
    );
    assert_eq!(
        ask(&friend, owner.id(), veto(second.node())).await,
        Ok(Answer::Done)
    );
    let vetoed = |asker: &NodeKeys, by| {
        let state = state_of(&friend, &owner.id(), &asker.node());
        assert!(
            matches!(state, Some(State::Vetoed(_, node)) if node == by),
            "{state:?}"
        );
    };
    vetoed(&first, phone.node());
    vetoed(&second, owner.id());
    // It holds: said again, approved by the user, asked anew.
    assert_eq!(
        ask(&friend, owner.id(), veto(first.node())).await,
        Ok(Answer::Done)
    );
    vetoed(&first, phone.node());
    assert!(holder::decide(&friend.node(), owner.id(), first.node(), Word::Approve).is_err());
    assert_eq!(
        ask(&friend, first.node(), wants(&first, owner.id())).await,
        Err(Refusal::Refused)
    );
    let told = news(&friend)
        .into_iter()
        .filter(|(_, news)| matches!(news, News::Vetoed { .. }));
    assert_eq!(told.count(), 2);
    // Also of one that did not ask here yet.
    let late = stranger();
    assert_eq!(
        ask(&friend, phone.node(), veto(late.node())).await,
        Ok(Answer::Done)
    );
    assert_eq!(
        ask(&friend, late.node(), wants(&late, owner.id())).await,
        Err(Refusal::Refused)
    );
    // However many a device objects to, so many are remembered.
    friend.node().contacts.trust(phone.node()).expect("kept");
    for _ in 0..MAX_ENDED + 5 {
        assert_eq!(ask(&friend, phone.node(), veto(nobody())).await, Ok(Answer::Done));
    }
    let all = rows::read(&friend.node().db, |tx| Asking::all(tx, &owner.id())).expect("reads");
    assert_eq!(all.len(), MAX_ENDED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn warnings_are_heard_from_contacts_about_own_nodes_and_an_objection_holds_for_all() {
    let owner = Bench::new();
    let (node, thief) = (owner.node(), nobody());
    let holders = [stranger().node(), stranger().node()];
    let warn = |whose, asker| Request::Warn {
        owner: whose,
        asker,
        arrived: SystemClock.now(),
        until: SystemClock.now().after(HOUR),
    };
    assert_eq!(
        ask(&owner, holders[0], warn(owner.id(), thief)).await,
        Err(Refusal::Refused)
    );
    for holder in holders {
        node.contacts.trust(holder).expect("kept");
    }
    assert_eq!(
        ask(&owner, holders[0], warn(nobody(), thief)).await,
        Err(Refusal::Refused)
    );
    for _ in 0..2 {
        assert_eq!(
            ask(&owner, holders[0], warn(owner.id(), thief)).await,
            Ok(Answer::Done)
        );
    }
    assert_eq!(news(&owner).len(), 1);
    let objections = owner::object(&node, None).expect("one is open");
    assert_eq!(
        (objections[0].asker, &objections[0].holders[..]),
        (thief, &holders[..1])
    );
    // Another holder that warns of the same node hears the same, without a word of the user.
    assert_eq!(
        ask(&owner, holders[1], warn(owner.id(), thief)).await,
        Ok(Answer::Done)
    );
    assert_eq!(news(&owner).len(), 1);
    let errands = rows::read(&node.db, Errand::all).expect("reads");
    let vetoes = errands
        .iter()
        .filter(|errand| matches!(errand.request, Request::Veto { .. }));
    let mut told: Vec<NodeId> = vetoes.map(|errand| errand.to).collect();
    told.sort_unstable();
    let mut both = holders.to_vec();
    both.sort_unstable();
    assert_eq!(told, both);
    assert!(owner::object(&node, None).is_err(), "nothing is open");
    // One holder fills no more than its part.
    let mut taken = 0;
    while ask(&owner, holders[0], warn(owner.id(), nobody())).await.is_ok() {
        taken += 1;
        assert!(taken <= MAX_WARNINGS_OF_ONE);
    }
    let warnings = rows::read(&node.db, Warning::all).expect("reads");
    let of_one = warnings.iter().filter(|warning| warning.holder == holders[0]);
    assert_eq!(of_one.count(), MAX_WARNINGS_OF_ONE);
}

#[test]
fn one_share_restores_nothing_and_a_false_one_hinders_no_other() {
    let owner = Owner::new();
    let (split, mut shares) = owner.splits(2000, NONE);
    let (old, old_shares) = owner.splits(1000, NONE);
    let c = shares.pop().expect("three");
    let b = shares.pop().expect("three");
    let together = |friends: Vec<Fetched>| {
        let friends = friends.into_iter().map(|fetched| (nobody(), fetched)).collect();
        asker::put_together(owner.id(), friends)
    };
    let copy =
        |share: &Share| Share::parse(polykey_core::SecretBytes::copy_from(share.expose())).expect("a share");
    let of = |split: &Split, share: &Share| Fetched::Share(Box::new(split.clone()), copy(share));
    let few = [
        vec![],
        vec![of(&split, &b)],
        // The same share from two friends is one.
        vec![of(&split, &b), of(&split, &b)],
        // One of each of two splits.
        vec![of(&split, &b), of(&old, &old_shares[1])],
        vec![of(&split, &b), Fetched::False, Fetched::Away, Fetched::Refused],
    ];
    for friends in few {
        let restored = together(friends).expect("no contradiction");
        assert!(restored.code.is_none());
    }
    let enough = vec![
        of(&old, &old_shares[0]),
        Fetched::False,
        of(&split, &b),
        of(&split, &c),
    ];
    let restored = together(enough).expect("enough");
    assert_eq!(restored.code.expect("enough").words(), owner.code.words());
    let of_the_old = vec![of(&old, &old_shares[0]), of(&split, &b), of(&old, &old_shares[2])];
    assert!(together(of_the_old).expect("enough").code.is_some());
    // An owner whose statement names shares of another code.
    let other = Owner::new();
    let (_, false_shares) = other.splits(1, NONE);
    let made = Timestamp::from_millis(5000);
    let lie = Split::sign(&owner.life.keys, made, 2, NONE, &false_shares).expect("bounded");
    let problem = together(vec![of(&lie, &false_shares[0]), of(&lie, &false_shares[1])]);
    assert_eq!(
        problem.err().map(|problem| problem.code),
        Some(polykey_api::Code::BadData)
    );
    // It does not hinder those of an earlier split.
    let both = vec![
        of(&lie, &false_shares[0]),
        of(&lie, &false_shares[1]),
        of(&split, &b),
        of(&split, &c),
    ];
    assert!(together(both).expect("enough").code.is_some());
}

/// A node whose code is known, off the network.
fn owner_bench() -> (Bench, RecoveryCode) {
    let code = RecoveryCode::generate(&OsRandom);
    (Bench::restored(&code.words()), code)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_split_waits_for_its_holders_and_a_new_one_takes_its_place() {
    let (bench, code) = owner_bench();
    let node = bench.node();
    let friends = [stranger(), stranger(), stranger()];
    let terms = Terms {
        threshold: 2,
        wait: HOUR,
    };
    let wrong = RecoveryCode::generate(&OsRandom);
    let refused = owner::make(&node, &wrong, terms, &friends).expect_err("another code");
    assert_eq!(refused.code, polykey_api::Code::WrongPassword);
    assert!(owner::current(&node).is_err());

    let first = owner::make(&node, &code, terms, &friends).expect("split");
    let ids =
        |errands: &[Errand]| -> Vec<Option<StatementId>> { errands.iter().map(Errand::leaves).collect() };
    let errands = rows::read(&node.db, Errand::all).expect("reads");
    assert_eq!(ids(&errands), [Some(first.split.id()); 3]);
    let second = owner::make(&node, &code, terms, &friends[..2]).expect("split anew");
    assert!(second.split.made() > first.split.made());
    let errands = rows::read(&node.db, Errand::all).expect("reads");
    // What waited of the former one is withdrawn, and whoever is left out is told.
    let mut told = ids(&errands);
    told.sort_unstable();
    assert_eq!(told, [None, Some(second.split.id()), Some(second.split.id())]);
    let replaces = errands
        .iter()
        .find(|errand| matches!(errand.request, Request::Replace { .. }));
    assert_eq!(replaces.map(|errand| errand.to), Some(friends[2].node()));
    assert_eq!(owner::current(&node), Ok(second.clone()));

    // A holder gives up: only one of this split is believed.
    let give_up = |split: StatementId| Request::GiveUp { split };
    for (from, split) in [
        (friends[2].node(), second.split.id()),
        (friends[0].node(), first.split.id()),
        (nobody(), second.split.id()),
    ] {
        assert_eq!(ask(&bench, from, give_up(split)).await, Err(Refusal::Refused));
    }
    for _ in 0..2 {
        let heard = ask(&bench, friends[0].node(), give_up(second.split.id())).await;
        assert_eq!(heard, Ok(Answer::Done));
    }
    assert_eq!(news(&bench), [(friends[0].node(), News::GivenUp)]);
    let own = rows::read(&node.db, Own::find).expect("reads").expect("split");
    assert_eq!(own.holders[0].delivery, Delivery::GivenUp);
    // Nothing of the code is at the owner: no share of it opens here.
    assert!(rows::read(&node.db, Held::all).expect("reads").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errands_are_tried_less_and_less_often_and_given_up_in_the_end() {
    let (bench, code) = owner_bench();
    let node = bench.node();
    let friends = [stranger(), stranger()];
    let terms = Terms {
        threshold: 2,
        wait: HOUR,
    };
    owner::make(&node, &code, terms, &friends).expect("split");
    let tried = || {
        let all = rows::read(&node.db, Errand::all).expect("reads");
        let tried = friends.iter().map(|friend| {
            let errand = all.iter().find(|errand| errand.to == friend.node());
            errand.map(|errand| errand.tried)
        });
        tried.collect::<Vec<_>>()
    };
    // Nobody is there, since the network is off.
    let before = SystemClock.now();
    for _ in 0..3 {
        bench.agent.deliver_errands(None).await;
        assert_eq!(tried(), [Some(1), Some(1)], "not before they are due");
    }
    let all = rows::read(&node.db, Errand::all).expect("reads");
    assert!(all.iter().all(|errand| errand.next > before));
    bench.agent.deliver_errands(Some(friends[0].node())).await;
    assert_eq!(tried(), [Some(2), Some(1)]);
    // What nobody took in time is given up, and its holder has no share.
    let late = all.into_iter().find(|errand| errand.to == friends[1].node());
    let late = late.expect("it waits");
    rows::write(&node.db, |tx| {
        Errand {
            until: before,
            tried: 1,
            ..late
        }
        .keep(tx)
    })
    .expect("kept");
    bench.agent.deliver_errands(None).await;
    assert_eq!(tried(), [Some(2), None]);
    let own = rows::read(&node.db, Own::find).expect("reads").expect("split");
    assert_eq!(own.holders[1].delivery, Delivery::Refused);
    let (_, proofs) = bench.agent.drill(&node).await.expect("a split");
    assert!(proofs.iter().all(|(_, proof)| *proof == owner::Proof::Away));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_stole_a_device_replaces_and_withdraws_no_share() {
    let owner = Owner::new();
    let (friend, first, _) = friend_of(&owner, HOUR).await;
    // The thief has the root key, and a recovery key of its own.
    let thief = RecoveryKeys {
        root: SigningKey::from_seed(&Key::copy_of(owner.life.keys.root.expose_seed())),
        ..RecoveryCode::generate(&OsRandom).keys()
    };
    let false_shares = split(&RecoveryCode::generate(&OsRandom), 2, 3, &OsRandom).expect("three");
    let made = Timestamp::from_millis(9_000);
    let rubbish = Split::sign(&thief, made, 2, HOUR, &false_shares).expect("bounded");
    assert_eq!(rubbish.owner(), owner.id());
    let left = ask(&friend, owner.id(), leave(&rubbish, &false_shares[0], &friend)).await;
    assert_eq!(left, Err(Refusal::Refused));
    let statement = rubbish.as_bytes().to_vec();
    let withdrawn = ask(&friend, owner.id(), Request::Replace { split: statement }).await;
    assert_eq!(
        withdrawn,
        Ok(Answer::Done),
        "as to anybody of whom nothing is held"
    );
    assert_eq!(held(&friend, &owner.id()), Some(first.id()));
    // The owner still can.
    let (later, shares) = owner.splits(10_000, HOUR);
    let left = ask(&friend, owner.id(), leave(&later, &shares[0], &friend)).await;
    assert_eq!(left, Ok(Answer::Done));
    assert_eq!(held(&friend, &owner.id()), Some(later.id()));
    // A first share under a recovery key that is not the owner's is none.
    let other = Bench::new();
    let node = other.node();
    node.contacts.trust(owner.id()).expect("kept");
    node.contacts
        .keep_keys(&owner.life.start, &owner.life.record)
        .expect("kept");
    let left = ask(&other, owner.id(), leave(&rubbish, &false_shares[0], &other)).await;
    assert_eq!(left, Err(Refusal::Refused));
}
