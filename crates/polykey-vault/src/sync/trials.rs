//! Trials of sync: many replicas that converge, and peers that lie.

use std::collections::VecDeque;

use proptest::prelude::*;

use polykey_core::hash::hash;
use polykey_core::id::{NodeId, StatementId};
use polykey_core::label;
use polykey_core::statement::Statement;

use super::memory::{Memory, REFUSED, SMALL, Sketch, Stored, item, pull, pull_from};
use super::message::{Items, Request, Response, Tip};
use super::pull::{Outcome, Pull, PullReport, Seen};
use super::replica::{Offence, Replica};
use super::serve::{announce, serve};
use crate::charter::cast::{Person, merge};
use crate::charter::{Charter, Role, SetAside, Verdict};
use crate::object::MAX_OBJECT_LEN;

const ENOUGH: usize = 1000;

/// A vault of `a` with these members, and a replica for each of them and for `a`.
fn vault(a: &Person, members: &[(&Person, Role)]) -> (Memory, Vec<Memory>) {
    let mut charter = a.found(1);
    for (who, role) in members {
        a.grants(&mut charter, who, *role);
    }
    let replicas = members
        .iter()
        .map(|(who, _)| Memory::new(who.node(), charter.clone()))
        .collect();
    (Memory::new(a.node(), charter), replicas)
}

fn pair() -> (Person, Person, Memory, Memory) {
    let (a, b) = (Person::new(1), Person::new(2));
    let (mine, mut theirs) = vault(&a, &[(&b, Role::Writer)]);
    (a, b, mine, theirs.remove(0))
}

/// What a peer of no good answers: what it has, and these items.
fn with_items(entries: Vec<Vec<u8>>, commits: Vec<super::message::CommitItem>) -> Response {
    Response::Items(Items {
        entries,
        commits,
        ..Items::default()
    })
}

/// The pull is ended, nothing is stored, and the evidence lays it to whom it should.
#[track_caller]
fn check_refused(
    me: &mut Memory,
    peer: NodeId,
    response: &Response,
    author: Option<NodeId>,
    offence: &Offence,
) {
    let before = me.set();
    let report = pull_from(me, peer, ENOUGH, |_, _| response.clone());
    assert_eq!(report.outcome, Outcome::Hostile);
    let evidence = me.evidence.pop().expect("evidence is kept");
    assert_eq!(
        (evidence.peer, evidence.author, &evidence.offence),
        (peer, author, offence)
    );
    assert_eq!(me.set(), before);
}

#[test]
fn a_pull_brings_all_and_a_second_one_nothing() {
    let (a, b, mut mine, mut theirs) = pair();
    for at in 0..5 {
        mine.write(&a.root, 1, &[20, SMALL, SMALL + 1, 500][..at.min(4)]);
    }
    theirs.write(&b.root, 2, &[400]);
    let report = pull(&mut theirs, &mine, ENOUGH);
    assert_eq!((report.outcome, report.commits), (Outcome::Complete, 5));
    assert_eq!(pull(&mut mine, &theirs, ENOUGH).outcome, Outcome::Complete);
    assert_eq!(mine.set(), theirs.set());
    let again = pull(&mut theirs, &mine, ENOUGH);
    assert_eq!(
        (again.outcome, again.commits, again.entries, again.objects),
        (Outcome::Complete, 0, 0, 0)
    );
    assert!(!again.stale && again.ahead_on_our_own.is_empty());
}

#[test]
fn an_interrupted_pull_resumes_wherever_it_stopped() {
    let (a, _, mut mine, mut theirs) = pair();
    for at in 0..600 {
        // Both write on top of each other, so that lines depend on each other.
        let sketch = mine.sketch(a.node(), 1 + (at % 3) as u8, &vec![at as u8; 9000]);
        mine.keep(sketch.sign(&a.root));
        if at % 50 == 0 {
            mine.write(&a.root, 7, &[3000]);
        }
    }
    let mut pulls = 0;
    loop {
        pulls += 1;
        let report = pull(&mut theirs, &mine, 1);
        assert!(
            report.commits + report.objects > 0
                || report.outcome != Outcome::Unfinished
                || theirs.set().1 == mine.set().1
        );
        if report.outcome == Outcome::Complete {
            break;
        }
        assert!(pulls < 100, "no progress");
        if theirs.set().1 == mine.set().1 {
            assert_eq!(pull(&mut theirs, &mine, ENOUGH).outcome, Outcome::Complete);
            break;
        }
    }
    assert!(pulls > 4, "several batches");
    assert_eq!(mine.set(), theirs.set());
}

/// Pulls with up to `most` requests for objects under way; `answer` sees the number of each. How many objects were
/// asked for, and how it ended.
fn pull_ahead(
    me: &mut Memory,
    peer: &Memory,
    most: usize,
    mut answer: impl FnMut(usize, Response) -> Response,
) -> (usize, PullReport) {
    let mut pull = Pull::new(me.node, peer.node, Seen::default());
    let (mut under_way, mut asked, mut number) = (VecDeque::new(), 0, 0);
    loop {
        while under_way.len() < most
            && let Some(request) = pull.next(me).unwrap()
        {
            if let Request::Objects { wanted, .. } = &request {
                assert!(wanted.iter().all(|object| !me.objects.contains_key(object)));
                asked += wanted.len();
            }
            under_way.push_back(request);
        }
        // What was taken is stored only now, with the next ones under way.
        pull.store(me).unwrap();
        let Some(request) = under_way.pop_front() else {
            if pull.next(me).unwrap().is_none() {
                return (asked, pull.report().clone());
            }
            panic!("it asks again though nothing was stored");
        };
        let response = answer(number, serve(peer, &me.node, &request).unwrap());
        number += 1;
        pull.take(me, response).unwrap();
    }
}

#[test]
fn requests_under_way_together_bring_all_and_ask_for_nothing_twice() {
    for (count, len) in [(300, 3000), (40, MAX_OBJECT_LEN), (1, 100)] {
        let (a, _, mut mine, theirs) = pair();
        mine.write(&a.root, 1, &vec![len; count]);
        for most in 1..5 {
            let mut theirs = theirs.clone();
            let (asked, report) = pull_ahead(&mut theirs, &mine, most, |_, response| response);
            assert_eq!(
                (report.outcome, report.objects),
                (Outcome::Complete, count as u64)
            );
            assert_eq!(asked, count, "{count} of {len}, {most} at a time");
            assert_eq!(theirs.set(), mine.set());
        }
    }
}

#[test]
fn answers_that_bring_less_than_was_asked_for_are_made_up_for() {
    let (a, _, mut mine, mut theirs) = pair();
    mine.write(&a.root, 1, &[3000; 100]);
    let (asked, report) = pull_ahead(&mut theirs, &mine, 3, |number, response| match response {
        Response::Objects(mut objects) if number % 2 == 0 => {
            objects.truncate(1);
            Response::Objects(objects)
        }
        response => response,
    });
    assert_eq!((report.outcome, report.objects), (Outcome::Complete, 100));
    assert!(asked > 100, "some were asked for again");
    assert_eq!(theirs.set(), mine.set());
}

#[test]
fn what_came_before_a_bad_answer_stays_and_what_comes_after_it_is_not_looked_at() {
    let (a, _, mut mine, mut theirs) = pair();
    mine.write(&a.root, 1, &[3000; 100]);
    let (_, report) = pull_ahead(&mut theirs, &mine, 3, |number, response| match response {
        Response::Objects(mut objects) if number == 2 => {
            objects[3] = vec![7; 3000].into();
            Response::Objects(objects)
        }
        response => response,
    });
    assert_eq!(report.outcome, Outcome::Hostile);
    // One whole answer, and three objects of the bad one.
    assert_eq!((report.objects, theirs.objects.len()), (16 + 3, 16 + 3));
    assert_eq!(theirs.evidence.len(), 1);
    // So is an answer that nobody waits for.
    let mut theirs = Memory::new(theirs.node, mine.charter.clone());
    let mut pull = Pull::new(theirs.node, mine.node, Seen::default());
    while !pull.holds_objects() {
        let request = pull.next(&theirs).unwrap().expect("there is more");
        let response = serve(&mine, &theirs.node, &request).unwrap();
        pull.take(&mut theirs, response).unwrap();
    }
    pull.receive(&mut theirs, Response::Objects(Vec::new())).unwrap();
    assert_eq!(
        (pull.report().outcome, pull.report().objects),
        (Outcome::Hostile, 16)
    );
}

#[test]
fn nothing_is_asked_while_the_answer_decides_what_to_ask() {
    let (a, _, mut mine, mut theirs) = pair();
    mine.write(&a.root, 1, &[20]);
    let mut pull = Pull::new(theirs.node, mine.node, Seen::default());
    let request = pull.next(&theirs).unwrap().expect("the first");
    assert_eq!(pull.next(&theirs).unwrap(), None);
    assert_eq!(pull.report().outcome, Outcome::Unfinished);
    let response = serve(&mine, &theirs.node, &request).unwrap();
    pull.receive(&mut theirs, response).unwrap();
    assert_eq!(pull.next(&theirs).unwrap(), None);
    assert_eq!(pull.report().outcome, Outcome::Complete);
}

#[test]
fn announcements_are_news_once() {
    let (a, _, mut mine, mut theirs) = pair();
    let tell = |from: &Memory| announce(from).unwrap();
    assert!(!tell(&mine).is_news(&theirs).unwrap());
    mine.write(&a.root, 1, &[]);
    assert!(tell(&mine).is_news(&theirs).unwrap());
    pull(&mut theirs, &mine, ENOUGH);
    assert!(!tell(&mine).is_news(&theirs).unwrap());
    a.rekeys(&mut mine.charter, &[]);
    assert!(tell(&mine).is_news(&theirs).unwrap());
    let stranger = Person::new(9);
    let other = Memory::new(stranger.node(), stranger.found(5));
    assert!(!tell(&other).is_news(&mine).unwrap(), "another vault");
}

#[test]
fn a_keeper_holds_and_hands_on_all_without_a_key() {
    let (a, k, c) = (Person::new(1), Person::new(2), Person::new(3));
    let (mut mine, mut others) = vault(&a, &[(&k, Role::Keeper), (&c, Role::Reader)]);
    mine.write(&a.root, 1, &[30, 3000]);
    let (mut theirs, mut keeper) = (others.pop().unwrap(), others.pop().unwrap());
    assert_eq!(pull(&mut keeper, &mine, ENOUGH).outcome, Outcome::Complete);
    assert!(k.open(&keeper.charter).is_empty());
    assert_eq!(pull(&mut theirs, &keeper, ENOUGH).outcome, Outcome::Complete);
    assert_eq!(theirs.set(), mine.set());
}

#[test]
fn a_removed_node_is_told_and_gets_no_more() {
    let (a, b, mut mine, mut theirs) = pair();
    mine.write(&a.root, 1, &[]);
    let removal = a.revokes(&mut mine.charter, &b, &[]);
    a.rekeys(&mut mine.charter, &[]);
    mine.write(&a.root, 1, &[]);
    let report = pull(&mut theirs, &mine, ENOUGH);
    assert_eq!(report.outcome, Outcome::Removed(removal));
    assert_eq!(
        (report.entries, report.commits),
        (1, 0),
        "the removal and nothing after it"
    );
    let ask = Request::Objects {
        vault: mine.charter.id(),
        wanted: Vec::new(),
    };
    assert_eq!(serve(&mine, &b.node(), &ask).unwrap(), Response::Refused);
}

#[test]
fn a_stranger_learns_nothing() {
    let (_, _, mine, _) = pair();
    let (stranger, other) = (Person::new(9), Person::new(8).found(5));
    for vault in [mine.charter.id(), other.id()] {
        let ask = Request::Items {
            vault,
            charter: Vec::new(),
            lines: Vec::new(),
        };
        assert_eq!(serve(&mine, &stranger.node(), &ask).unwrap(), Response::Refused);
    }
}

#[test]
fn a_peer_with_less_than_before_is_stale_and_nothing_is_deleted() {
    let (a, _, mut mine, mut theirs) = pair();
    mine.write(&a.root, 1, &[]);
    let old = Memory::new(a.node(), mine.charter.clone());
    pull(&mut theirs, &mine, ENOUGH);
    let held = theirs.set();
    let report = pull(&mut theirs, &old, ENOUGH);
    assert!(report.stale && report.outcome == Outcome::Complete);
    assert_eq!(theirs.set(), held);
    let (mut newer, older) = (mine.charter.clone(), mine.charter.clone());
    a.rekeys(&mut newer, &[]);
    mine.charter = newer;
    assert!(!pull(&mut theirs, &mine, ENOUGH).stale);
    mine.charter = older;
    assert!(pull(&mut theirs, &mine, ENOUGH).stale, "the charter went back");
}

#[test]
fn a_restored_node_hears_that_others_are_ahead_on_its_own_line() {
    let (_, b, mut mine, mut theirs) = pair();
    theirs.write(&b.root, 2, &[]);
    theirs.write(&b.root, 2, &[]);
    pull(&mut mine, &theirs, ENOUGH);
    let mut restored = Memory::new(b.node(), mine.charter.clone());
    let report = pull(&mut restored, &mine, ENOUGH);
    assert_eq!(report.ahead_on_our_own.len(), 1);
    assert_eq!(report.ahead_on_our_own[0].author, b.node());
}

#[test]
fn both_branches_of_a_fork_reach_everybody_and_name_their_author() {
    let (a, b, mut mine, mut theirs) = pair();
    theirs.write(&b.root, 2, &[]);
    pull(&mut mine, &theirs, ENOUGH);
    // From here on b writes two different seconds, and goes on with both.
    for (side, body) in [(&mut mine, "left"), (&mut theirs, "right")] {
        for _ in 0..3 {
            let sketch = side.sketch(b.node(), 2, body.as_bytes());
            side.keep(sketch.sign(&b.root));
        }
    }
    let mut third = Memory::new(a.node(), mine.charter.clone());
    for _ in 0..2 {
        assert_eq!(pull(&mut mine, &theirs, ENOUGH).outcome, Outcome::Complete);
        assert_eq!(pull(&mut theirs, &mine, ENOUGH).outcome, Outcome::Complete);
    }
    assert_eq!(pull(&mut third, &mine, ENOUGH).outcome, Outcome::Complete);
    assert_eq!(mine.set(), theirs.set());
    assert_eq!(third.set(), mine.set());
    assert_eq!(mine.commits.len(), 7);
    for replica in [&mine, &theirs, &third] {
        assert!(
            replica
                .evidence
                .iter()
                .any(|e| e.author == Some(b.node()) && matches!(e.offence, Offence::Fork { .. }))
        );
        let counted = replica
            .verdicts()
            .values()
            .filter(|v| **v == Verdict::Counted)
            .count();
        assert_eq!(counted, 1, "set aside from the fork on");
    }
    // A removal that lists one branch accepts that one, and a later fork does not take it back.
    let cut = mine.cut_offs(&b.node());
    let accepted = cut[0].commit;
    a.revokes(&mut mine.charter, &b, &cut);
    let verdicts = mine.verdicts();
    assert_eq!(verdicts[&accepted], Verdict::Counted);
    let aside = verdicts
        .values()
        .filter(|v| matches!(v, Verdict::SetAside(_)))
        .count();
    assert_eq!(aside, 3, "the other branch: {verdicts:?}");
}

#[test]
fn bad_signatures_name_the_sender() {
    let (a, b, mut mine, theirs) = pair();
    let stored = theirs.sketch(b.node(), 2, b"body").sign(&b.root);
    let mut forged = item(&stored);
    let last = forged.statement.len() - 1;
    forged.statement[last] ^= 1;
    let peer = theirs.node;
    let response = with_items(Vec::new(), vec![forged]);
    check_refused(&mut mine, peer, &response, None, &Offence::BadItem);

    let mut charter = mine.charter.clone();
    a.rekeys(&mut charter, &[]);
    let entry = charter.entry(&charter.heads()[0]).unwrap();
    let mut forged = entry.statement().as_bytes().to_vec();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let response = with_items(vec![forged], Vec::new());
    check_refused(&mut mine, peer, &response, None, &Offence::BadItem);
}

#[test]
fn broken_hashes_name_the_sender() {
    let (_, b, mut mine, mut theirs) = pair();
    let peer = theirs.node;
    let stored = theirs.sketch(b.node(), 2, b"body").sign(&b.root);
    let mut other = item(&stored);
    other.body = b"another".to_vec();
    check_refused(
        &mut mine,
        peer,
        &with_items(Vec::new(), vec![other]),
        None,
        &Offence::BadItem,
    );
    let mut other = item(&stored);
    other.objects = vec![b"an object that the commit does not name".to_vec()];
    check_refused(
        &mut mine,
        peer,
        &with_items(Vec::new(), vec![other]),
        None,
        &Offence::BadItem,
    );

    theirs.write(&b.root, 2, &[500]);
    let mut honest = Vec::new();
    let report = pull_from(&mut mine, peer, ENOUGH, |node, request| match request {
        Request::Objects { .. } => Response::Objects(vec![vec![0; 500].into()]),
        items => {
            honest.push(());
            serve(&theirs, &node, &items).unwrap()
        }
    });
    assert_eq!(
        (report.outcome, report.commits, report.objects),
        (Outcome::Hostile, 1, 0)
    );
}

#[test]
fn misplaced_commits_name_their_author() {
    let (a, b, mut mine, mut theirs) = pair();
    let peer = theirs.node;
    theirs.write(&b.root, 2, &[]);
    pull(&mut mine, &theirs, ENOUGH);
    type Break = fn(&mut Sketch);
    let broken: [(&str, Break); 4] = [
        ("a gap", |s| s.header.seq += 1),
        ("a first that is none", |s| s.header.previous = None),
        ("another's line", |s| {
            s.header.line.actor = polykey_core::ActorId::from_bytes([9; 16]);
        }),
        ("an older charter", |s| s.header.heads.clear()),
    ];
    for (what, break_it) in broken {
        let mut sketch = theirs.sketch(b.node(), 2, what.as_bytes());
        break_it(&mut sketch);
        let response = with_items(Vec::new(), vec![item(&sketch.sign(&b.root))]);
        check_refused(&mut mine, peer, &response, Some(b.node()), &Offence::Misplaced);
    }
    let outsider = Person::new(9);
    let sketch = theirs.sketch(outsider.node(), 2, b"let me in");
    let response = with_items(Vec::new(), vec![item(&sketch.sign(&outsider.root))]);
    check_refused(
        &mut mine,
        peer,
        &response,
        Some(outsider.node()),
        &Offence::Misplaced,
    );

    // Signed by somebody else than the header says.
    let sketch = theirs.sketch(a.node(), 1, b"in your name");
    let response = with_items(Vec::new(), vec![item(&sketch.sign(&b.root))]);
    check_refused(&mut mine, peer, &response, Some(b.node()), &Offence::BadItem);
}

#[test]
fn a_commit_that_the_replica_refuses_ends_the_pull_and_names_its_author() {
    let (_, b, mut mine, mut theirs) = pair();
    theirs.write(&b.root, 2, &[]);
    for body in [&b"fine"[..], REFUSED, &b"after it"[..]] {
        let sketch = theirs.sketch(b.node(), 2, body);
        theirs.keep(sketch.sign(&b.root));
    }
    let report = pull(&mut mine, &theirs, ENOUGH);
    assert_eq!(
        (report.outcome, report.commits, mine.commits.len()),
        (Outcome::Hostile, 2, 2)
    );
    assert_eq!(
        mine.evidence.pop().map(|e| (e.author, e.offence)),
        Some((Some(b.node()), Offence::Misplaced))
    );
}

#[test]
fn items_out_of_order_or_of_another_vault_are_refused() {
    let (a, b, mut mine, mut theirs) = pair();
    let peer = theirs.node;
    let mut charter = mine.charter.clone();
    a.rekeys(&mut charter, &[]);
    a.rekeys(&mut charter, &[]);
    let last = charter
        .entry(&charter.heads()[0])
        .unwrap()
        .statement()
        .as_bytes()
        .to_vec();
    let response = with_items(vec![last], Vec::new());
    check_refused(&mut mine, peer, &response, None, &Offence::Disorder);

    let other = Person::new(9).found(5);
    let genesis = other.genesis().statement().as_bytes().to_vec();
    let response = with_items(vec![genesis], Vec::new());
    check_refused(&mut mine, peer, &response, None, &Offence::Disorder);

    let mut sketch = theirs.sketch(b.node(), 2, b"elsewhere");
    sketch.header.vault = other.id();
    let response = with_items(Vec::new(), vec![item(&sketch.sign(&b.root))]);
    check_refused(&mut mine, peer, &response, None, &Offence::Disorder);

    let mut sketch = theirs.sketch(b.node(), 2, b"unknown heads");
    sketch.header.heads = charter.heads();
    let response = with_items(Vec::new(), vec![item(&sketch.sign(&b.root))]);
    check_refused(&mut mine, peer, &response, None, &Offence::Disorder);

    check_refused(
        &mut mine,
        peer,
        &Response::Objects(Vec::new()),
        None,
        &Offence::Disorder,
    );

    // A commit without what it follows: nothing is stored, and the pull ends.
    theirs.write(&b.root, 2, &[]);
    let second = theirs.sketch(b.node(), 2, b"second").sign(&b.root);
    let before = mine.set();
    let response = with_items(Vec::new(), vec![item(&second)]);
    let mut asked = 0;
    let report = pull_from(&mut mine, peer, ENOUGH, |_, _| {
        asked += 1;
        let mut response = response.clone();
        if let Response::Items(items) = &mut response {
            items.tips = theirs.tips().unwrap();
        }
        response
    });
    assert_eq!((report.outcome, mine.set()), (Outcome::Stalled, before));
    assert!(asked <= 4, "asked {asked} times");
}

#[test]
fn entries_without_what_they_follow_name_the_sender() {
    let (a, _, mut mine, theirs) = pair();
    // A charter that differs: there, the outsider was let in.
    let outsider = Person::new(9);
    let mut other = mine.charter.clone();
    a.grants(&mut other, &outsider, Role::Admin);
    let c = Person::new(7);
    outsider.grants(&mut other, &c, Role::Reader);
    let entry = other.entry(&other.heads()[0]).unwrap();
    // It follows an entry that the peer does not send, so only the order is wrong, and the peer's.
    let response = with_items(vec![entry.statement().as_bytes().to_vec()], Vec::new());
    check_refused(&mut mine, theirs.node, &response, None, &Offence::Disorder);
}

#[test]
fn a_peer_that_claims_more_than_it_sends_is_left() {
    let (_, b, mut mine, theirs) = pair();
    let mut count = 0u8;
    let report = pull_from(&mut mine, theirs.node, ENOUGH, |_, _| {
        count += 1;
        let line = theirs.sketch(b.node(), count, b"").header.line;
        Response::Items(Items {
            tips: vec![Tip {
                line,
                seq: 9,
                commit: StatementId::from_bytes([count; 32]),
            }],
            more: true,
            ..Items::default()
        })
    });
    assert_eq!(report.outcome, Outcome::Stalled);
    assert!(count < 8, "asked {count} times");
    let report = pull_from(&mut mine, theirs.node, ENOUGH, |_, _| Response::Removed {
        entries: Vec::new(),
        more: true,
    });
    assert_eq!(report.outcome, Outcome::Refused, "it cannot show a removal");
}

/// What a random trial does with one replica.
struct Cast {
    people: Vec<Person>,
    replicas: Vec<Memory>,
    backups: Vec<Memory>,
}

fn cast(count: usize) -> Cast {
    let people: Vec<Person> = (1..=count as u8).map(Person::new).collect();
    let roles = [Role::Admin, Role::Writer, Role::Keeper, Role::Admin, Role::Reader];
    let members: Vec<_> = people[1..].iter().zip(roles).collect();
    let (first, others) = vault(&people[0], &members);
    let mut replicas = vec![first];
    replicas.extend(others);
    let backups = replicas.clone();
    Cast {
        people,
        replicas,
        backups,
    }
}

impl Cast {
    fn act(&mut self, dice: &[u8; 4]) {
        let count = self.people.len();
        let (who, other) = (dice[1] as usize % count, dice[2] as usize % count);
        let (me, them) = (&self.people[who], &self.people[other]);
        let replica = &mut self.replicas[who];
        let role = replica.charter.role(&me.node());
        match dice[0] % 11 {
            0..4 if role.is_some_and(Role::writes) => {
                let lens = [20 + dice[3] as usize, 100, 700];
                replica.write(&me.root, who as u8, &lens[..dice[3] as usize % 4]);
            }
            4 if role == Some(Role::Admin) && who != other => {
                let held = me.open(&replica.charter);
                let role = [Role::Admin, Role::Writer, Role::Reader][dice[3] as usize % 3];
                let random = crate::charter::cast::chance(&replica.charter);
                let time = crate::charter::cast::time(u64::from(dice[3]));
                if let Ok(made) = replica
                    .charter
                    .grant(&me.root, &held, &them.joiner(role), time, &random)
                {
                    replica.charter.insert(made).unwrap();
                }
            }
            5 if role == Some(Role::Admin) => {
                let removal = crate::charter::Removal {
                    node: them.node(),
                    cut_offs: replica.cut_offs(&them.node()),
                };
                let held = me.open(&replica.charter);
                let random = crate::charter::cast::chance(&replica.charter);
                let time = crate::charter::cast::time(u64::from(dice[3]));
                if let Ok(made) = replica.charter.revoke(&me.root, &held, &removal, time, &random) {
                    replica.charter.insert(made.statement).unwrap();
                }
            }
            // Somebody goes back to a backup and writes on as if nothing had been: its line forks.
            9 if dice[3].is_multiple_of(2) => self.backups[who] = replica.clone(),
            9 => *replica = self.backups[who].clone(),
            6.. if who != other => {
                // Sometimes the link breaks after a few messages.
                let rounds = if dice[3].is_multiple_of(3) {
                    dice[3] as usize % 5
                } else {
                    ENOUGH
                };
                let mut puller = std::mem::replace(replica, Memory::new(me.node(), self.people[0].found(99)));
                let report = pull(&mut puller, &self.replicas[other], rounds);
                assert!(
                    !matches!(report.outcome, Outcome::Hostile | Outcome::Stalled),
                    "{report:?}"
                );
                self.replicas[who] = puller;
            }
            _ => {}
        }
    }

    /// Everybody pulls from everybody until nothing comes any more.
    fn settle(&mut self) {
        for _ in 0..self.people.len() + 2 {
            let mut news = 0;
            for who in 0..self.people.len() {
                for other in (0..self.people.len()).filter(|other| *other != who) {
                    let node = self.people[who].node();
                    let mut puller = std::mem::replace(
                        &mut self.replicas[who],
                        Memory::new(node, self.people[0].found(99)),
                    );
                    let report = pull(&mut puller, &self.replicas[other], ENOUGH);
                    news += report.entries + report.commits + report.objects;
                    self.replicas[who] = puller;
                }
            }
            if news == 0 {
                return;
            }
        }
        panic!("it does not settle");
    }
}

fn in_vault(charter: &Charter, replica: &Memory) -> bool {
    charter.role(&replica.node).is_some()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn replicas_converge_to_one_set(count in 2usize..=6, acts in prop::collection::vec(any::<[u8; 4]>(), 1..50)) {
        let mut cast = cast(count);
        for act in &acts {
            cast.act(act);
        }
        cast.settle();
        // All entries that anybody still in has, whoever that is by all of them.
        let mut charter = cast.replicas[0].charter.clone();
        for replica in &cast.replicas {
            merge(&mut charter, &replica.charter);
        }
        let inside: Vec<_> = cast.replicas.iter().filter(|r| in_vault(&charter, r)).collect();
        for pair in inside.windows(2) {
            prop_assert_eq!(pair[0].set(), pair[1].set());
            prop_assert_eq!(pair[0].verdicts(), pair[1].verdicts());
            prop_assert_eq!(pair[0].charter.members(), pair[1].charter.members());
        }
        for evidence in cast.replicas.iter().flat_map(|replica| &replica.evidence) {
            let fork = matches!(evidence.offence, Offence::Fork { .. });
            prop_assert!(fork && evidence.author.is_some(), "{:?}", evidence);
        }
    }

    #[test]
    fn no_flipped_bit_in_a_response_gets_in(seed in any::<[u8; 8]>(), at in any::<prop::sample::Index>()) {
        let (a, _, mut mine, mut theirs) = pair();
        mine.write(&a.root, 1, &[30, 300]);
        a.rekeys(&mut mine.charter, &[]);
        mine.write(&a.root, seed[0], &[30, 300]);
        let whole = mine.set();
        let mut pull = Pull::new(theirs.node, mine.node, Seen::default());
        let mut first = true;
        while let Some(request) = pull.next(&theirs).unwrap() {
            let mut bytes = serve(&mine, &theirs.node, &request).unwrap().encode();
            if first {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << (seed[1] % 8);
                first = false;
            }
            match Response::decode(&bytes.into()) {
                Ok(response) => pull.receive(&mut theirs, response).unwrap(),
                Err(_) => break,
            }
        }
        let got = theirs.set();
        prop_assert!(got.0.is_subset(&whole.0) && got.1.is_subset(&whole.1) && got.2.is_subset(&whole.2));
        for (id, stored) in &theirs.commits {
            prop_assert_eq!(&stored.body, &mine.commits[id].body);
        }
        for (id, bytes) in &theirs.objects {
            prop_assert_eq!(*id.as_bytes(), hash(label::OBJECT, &[bytes]));
        }
    }
}

#[test]
fn a_removed_writers_later_commits_are_set_aside_everywhere() {
    let (a, b, mut mine, mut theirs) = pair();
    let early = theirs.write(&b.root, 2, &[]);
    pull(&mut mine, &theirs, ENOUGH);
    let cut = mine.cut_offs(&b.node());
    let removal = a.revokes(&mut mine.charter, &b, &cut);
    let late = theirs.write(&b.root, 2, &[]);
    let elsewhere = theirs.write(&b.root, 3, &[]);
    assert_eq!(pull(&mut mine, &theirs, ENOUGH).outcome, Outcome::Complete);
    let verdicts = mine.verdicts();
    assert_eq!(verdicts[&early], Verdict::Counted);
    for commit in [late, elsewhere] {
        assert_eq!(verdicts[&commit], Verdict::SetAside(SetAside::CutOff(removal)));
    }
    // Let in again, it writes on, and what it wrote in between stays aside.
    a.grants(&mut mine.charter, &b, Role::Writer);
    assert_eq!(pull(&mut theirs, &mine, ENOUGH).outcome, Outcome::Complete);
    let again = theirs.write(&b.root, 2, &[]);
    pull(&mut mine, &theirs, ENOUGH);
    let verdicts = mine.verdicts();
    assert_eq!(verdicts[&again], Verdict::Counted);
    assert_eq!(verdicts[&late], Verdict::SetAside(SetAside::CutOff(removal)));
}

#[test]
fn stored_items_are_statements_as_they_came() {
    let (a, _, mut mine, mut theirs) = pair();
    mine.write(&a.root, 1, &[]);
    pull(&mut theirs, &mine, ENOUGH);
    for (id, Stored { statement, .. }) in &theirs.commits {
        assert_eq!(statement, &mine.commits[id].statement);
        let verified = Statement::verify(polykey_core::statement::Kind::Commit, statement.clone());
        assert_eq!(verified.unwrap().id(), *id);
    }
}
