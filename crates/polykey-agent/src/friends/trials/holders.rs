//! Holders, and those who would like to be the owner of a share.

use super::*;

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
