//! Owners and askers, and those who lie to them.

use super::*;

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
