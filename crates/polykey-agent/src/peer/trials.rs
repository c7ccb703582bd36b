//! Two agents in one process: scan, clone, pull, both ways, with the way cut in between.

use std::sync::Arc;

use polykey_core::statement::{Kind, Statement};
use polykey_core::{NodeId, VaultId};
use polykey_trust::book;
use polykey_vault::charter::Role;
use polykey_vault::sync::{self, Outcome, PullReport, Seen};
use polykey_vault::{Vault, VaultError};

use super::bench::{Bench, Wire, nobody, stranger};
use super::pull::{PullError, judge, pull};
use super::{Answer, Ask, AskError, Refusal, Request};
use crate::follow::fresh;
use crate::vaults::problem::vault_problem;

/// Brings the vault from one agent to the other, at most so many requests long.
async fn bring(to: &Bench, from: &Bench, vault: VaultId, requests: usize) -> Result<PullReport, PullError> {
    let open = to.node().vaults.open_id(vault).expect("open");
    let wire = Wire::new(from, to.id(), requests);
    let wrong = |error: VaultError| vault_problem("x", error);
    pull(
        Arc::new(wire),
        Vault::clone(&open.vault),
        to.id(),
        Seen::default(),
        wrong,
        |_| {},
    )
    .await
}

async fn beginning(of: &Bench, me: NodeId, vault: VaultId) -> Statement {
    let wire = Wire::new(of, me, 1);
    match wire.ask(Request::Genesis(vault)).await.expect("answered") {
        Answer::Genesis(beginning) => {
            assert_eq!(beginning.name, "work");
            Statement::verify(Kind::Charter, beginning.genesis).expect("signed")
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_shows_anybody_its_own_sigchain_and_no_other() {
    let alice = Bench::new();
    let known = stranger();
    let node = alice.node();
    node.contacts.trust(known.node()).expect("kept");
    let start = known.start().clone();
    node.db.write(|tx| book::found(tx, start)).expect("kept");
    let wire = Wire::new(&alice, nobody(), 10);
    let own = vec![node.sigchain_start.as_bytes().to_vec()];
    for (of, from, want) in [
        (alice.id(), 0, Some(own)),
        (alice.id(), 1, Some(vec![])),
        (alice.id(), u64::MAX, Some(vec![])),
        (known.node(), 0, None),
        (nobody(), 0, None),
    ] {
        match (wire.ask(Request::Chain { node: of, from }).await, want) {
            (Ok(Answer::Chain(claims)), Some(want)) => assert_eq!(claims, want, "{of} {from}"),
            (Err(AskError::Refused { refusal, .. }), None) => assert_eq!(refusal, Refusal::Refused),
            other => panic!("{of} {from}: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vault_is_cloned_through_cuts_and_goes_both_ways() {
    let (alice, bob) = (Bench::new(), Bench::new());
    alice.node().vaults.create("work", None).expect("made");
    for n in 0..20 {
        alice.write("work", &format!("small/{n}"), format!("value {n}").as_bytes());
    }
    // More than one answer holds.
    alice.write("work", "large", &vec![9; 24 << 20]);
    alice.grant("work", &bob.keys(), Role::Writer);
    alice.node().contacts.meet(bob.id()).expect("kept");
    bob.node().contacts.meet(alice.id()).expect("kept");

    let Answer::Offers(offers) = Wire::new(&alice, bob.id(), 1)
        .ask(Request::Scan)
        .await
        .expect("answered")
    else {
        panic!("no offers");
    };
    assert_eq!(
        (offers.len(), offers[0].name.as_str(), offers[0].role),
        (1, "work", Role::Writer)
    );
    let vault = offers[0].vault;
    let genesis = beginning(&alice, bob.id(), vault).await;
    bob.node().vaults.begin_joining("work", &genesis).expect("begins");

    // The way is cut after every second request; what came is kept, and the end is reached.
    let mut cuts = 0;
    let report = loop {
        match bring(&bob, &alice, vault, 2).await {
            Ok(report) => break report,
            Err(PullError::Peer(_)) => cuts += 1,
            Err(PullError::Here(problem)) => panic!("{problem}"),
        }
        assert!(cuts < 100, "it comes to an end");
        assert!(bob.node().vaults.open("work").is_err(), "nothing half is seen");
    };
    assert_eq!(report.outcome, Outcome::Complete);
    assert!(cuts > 0, "there was something to cut");
    bob.node().vaults.finish_joining(vault).expect("shown");
    assert_eq!(bob.paths("work"), alice.paths("work"));

    bob.write("work", "from bob", b"hello");
    alice.write("work", "from alice", b"hello");
    for (to, from) in [(&alice, &bob), (&bob, &alice)] {
        let report = bring(to, from, vault, 100).await.expect("pulled");
        assert_eq!(report.outcome, Outcome::Complete);
        judge(&report, "x", "work").expect("well");
    }
    assert_eq!(bob.paths("work"), alice.paths("work"));
    assert!(alice.paths("work").contains(&"from bob".to_owned()));

    let removed = alice.node().vaults.open("work").expect("open").vault;
    removed.revoke(&bob.id()).expect("removed");
    let report = bring(&bob, &alice, vault, 100).await.expect("told");
    assert!(matches!(report.outcome, Outcome::Removed(_)));
    assert_eq!(
        judge(&report, "x", "work").map_err(|problem| problem.code),
        Err(polykey_api::Code::NotAllowed)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_leaves_a_record_and_a_pull_only_one() {
    let (alice, bob) = (Bench::new(), Bench::new());
    alice.node().vaults.create("work", None).expect("made");
    alice.write("work", "large", &vec![9; 4 << 20]);
    alice.grant("work", &bob.keys(), Role::Reader);
    let vault = alice.node().vaults.open("work").expect("open").id;
    let genesis = beginning(&alice, bob.id(), vault).await;
    bob.node().vaults.begin_joining("work", &genesis).expect("begins");
    bring(&bob, &alice, vault, 100).await.expect("pulled");
    let refused = Wire::new(&alice, bob.id(), 1).ask(Request::Scan).await;
    assert!(refused.is_err(), "a stranger scans nothing");
    let node = alice.node();
    node.audit.flush().expect("stored");
    let records = node.audit.group(1).expect("read");
    let by_bob: Vec<_> = records
        .iter()
        .filter(|record| record.session.as_deref() == Some(bob.id().to_string().as_str()))
        .map(|record| (record.path.as_str(), record.allowed))
        .collect();
    assert_eq!(
        by_bob,
        [("peer.clone", true), ("peer.pull", true), ("peer.scan", false)]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_commits_without_their_content_says_so() {
    let (alice, bob) = (Bench::new(), Bench::new());
    alice.node().vaults.create("work", None).expect("made");
    alice.write("work", "large", &vec![9; 24 << 20]);
    alice.grant("work", &bob.keys(), Role::Reader);
    // Strangers ask less often than a pull in pieces does.
    alice.node().contacts.meet(bob.id()).expect("kept");
    bob.node().contacts.meet(alice.id()).expect("kept");
    let announcement = |of: &Bench, vault| {
        let open = of.node().vaults.open_id(vault).expect("open");
        sync::announce(&*open.vault).expect("says")
    };
    let vault = alice.node().vaults.open("work").expect("open").id;
    let genesis = beginning(&alice, bob.id(), vault).await;
    bob.node().vaults.begin_joining("work", &genesis).expect("begins");
    let told = async |to: &Bench, by: &Bench| {
        let request = Request::Announce(announcement(by, vault));
        match Wire::new(to, by.id(), 1).ask(request).await {
            Ok(_) => None,
            Err(AskError::Refused { refusal, .. }) => Some(refusal),
            Err(error) => panic!("{error}"),
        }
    };
    while announcement(&bob, vault) != announcement(&alice, vault) {
        assert!(bring(&bob, &alice, vault, 1).await.is_err(), "cut off");
    }
    assert_eq!(told(&bob, &alice).await, Some(Refusal::Unavailable));
    // What the ends of its lines say is no proof: it is looked at, and nothing is noted.
    assert_eq!(told(&alice, &bob).await, None);
    let fresh = |of: NodeId| fresh::find(&alice.node().db, &vault, &of).expect("reads");
    assert_eq!(fresh(bob.id()), None);
    while bring(&bob, &alice, vault, 2).await.is_err() {}
    assert_eq!(told(&bob, &alice).await, None);
}
