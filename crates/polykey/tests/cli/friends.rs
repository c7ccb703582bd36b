//! Recovery with friends: a code is split, its owner loses everything, and a new node gets it back.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::home::Ended;
use crate::node::{Node, at_another_time, eventually};

/// An owner and its friends, who know each other.
struct Circle {
    owner: Node,
    code: PathBuf,
    friends: Vec<Node>,
}

const NAMES: [&str; 3] = ["alice", "bob", "carol"];

impl Circle {
    fn new() -> Circle {
        let home = crate::home::Home::empty();
        let code = home.path().join("code.txt");
        let mut bootstrap = home.command(["bootstrap", "--recovery-code-out-file"]);
        bootstrap.arg(&code);
        crate::home::run(bootstrap, b"").ok();
        let owner = Node::in_home(home);
        let friends: Vec<Node> = NAMES.iter().map(|_| Node::new()).collect();
        for (friend, name) in friends.iter().zip(NAMES) {
            owner.meets(friend);
            owner.pk(["nodes", "name", &friend.id, name]).ok();
            friend.meets(&owner);
            friend.pk(["nodes", "name", &owner.id, "owner"]).ok();
        }
        Circle { owner, code, friends }
    }

    fn split(&self, wait: &str) -> Ended {
        let code = self.code.to_str().expect("a plain path");
        let to = ["--to", "alice", "bob", "carol", "--wait", wait];
        let args = [
            "recovery",
            "split",
            "--threshold",
            "2",
            "--recovery-code-file",
            code,
        ];
        self.owner.pk(args.into_iter().chain(to))
    }

    /// A new node that knows where the friends are, and nobody knows it.
    fn newcomer(&self) -> Node {
        let new = Node::new();
        for (friend, name) in self.friends.iter().zip(NAMES) {
            new.knows(friend);
            new.pk(["nodes", "name", &friend.id, name]).ok();
        }
        new
    }
}

/// What a friend's answer is, in `restore` or `request`.
fn state<'v>(answer: &'v Value, friend: &Node) -> &'v str {
    let mut friends = answer["friends"].as_array().expect("a list").iter();
    let item = friends.find(|item| item["nodeIdEncoded"] == friend.id);
    item.expect("the friend was asked")["state"]
        .as_str()
        .expect("a text")
}

#[test]
fn two_of_three_friends_bring_a_lost_node_back() {
    let circle = Circle::new();
    let [alice, bob, carol] = &circle.friends[..] else {
        unreachable!("three friends")
    };
    let owner = &circle.owner;
    owner.pk(["vaults", "create", "work"]).ok();
    owner.write("work:x", "1");
    owner.shares("work", alice, "reader");
    alice.pk(["vaults", "clone", "work", &owner.id]).ok();
    // Their keys have to be seen once.
    let unknown = Node::new();
    let code = circle.code.to_str().expect("a plain path");
    let to_unknown = ["--to", "alice", &unknown.id, "--recovery-code-file", code];
    owner.knows(&unknown);
    unknown.stop();
    let args = ["recovery", "split", "--threshold", "2"];
    owner
        .pk(args.into_iter().chain(to_unknown))
        .ended(68)
        .says("keys");
    circle.split("1h").ok();
    carol.stop();
    let split = circle.split("0s").ok();
    let text = split.stderr;
    assert!(
        text.contains("any 2 give it back") && text.contains("carol"),
        "{text}"
    );
    alice.comes_to_be_told("ShareLeft");
    let held = bob.json(["recovery", "list"])["held"].clone();
    assert_eq!(
        (&held[0]["name"], &held[0]["threshold"]),
        (&"owner".into(), &2.into())
    );

    // Two that answer are enough, and the third one counts when it comes back.
    let drill = owner.json(["recovery", "drill"]);
    assert_eq!(
        (&drill["proven"], &drill["met"]),
        (&2.into(), &true.into()),
        "{drill}"
    );
    carol.start();
    eventually("carol proves that it has its share", || {
        owner.json(["recovery", "drill"])["proven"] == 3
    });
    bob.stop();
    carol.stop();
    let few = owner.pk(["recovery", "drill"]).ended(1);
    few.says("1 friend proved to have the share, and 2 are needed");
    bob.start();
    carol.start();

    // All is lost.
    owner.stop();
    std::fs::remove_dir_all(owner.home.node()).expect("the node path is there");
    // Friends remember what it said, and asked for that when they got their shares.
    bob.pk(["nodes", "claims", &owner.id]).ok();
    let new = circle.newcomer();
    let nobody = new.pk(["recovery", "restore", &owner.id, "--print"]).ended(67);
    nobody.says("polykey recovery request");
    let asked = new.json([
        "recovery", "request", &owner.id, "--from", "alice", "bob", "carol",
    ]);
    for friend in &circle.friends {
        assert_eq!(state(&asked, friend), "asked");
        friend.comes_to_be_told("RecoveryAsked");
    }
    // The words are those of the command that compares nodes.
    let words = new.json(["identities", "words", "alice"])["nodes"][0]["words"].clone();
    let before = alice
        .pk(["recovery", "approve", "owner", "--yes", "--json"])
        .ok()
        .json();
    assert_eq!(
        (&before["words"], &before["asker"]),
        (&words, &new.id.as_str().into())
    );

    let file = new.home.path().join("found.txt");
    let path = file.to_str().expect("a plain path");
    let restore = ["recovery", "restore", &owner.id, "--recovery-code-out-file", path];
    new.pk(["recovery", "restore", &owner.id])
        .ended(64)
        .says("--recovery-code-out-file");
    new.pk(restore).ended(1).says("1 share came, and 2 are needed");
    assert!(!file.exists());
    bob.pk(["recovery", "approve", &new.id, "--yes"])
        .ok()
        .says(&new.id);
    carol.pk(["recovery", "refuse", "owner", "--yes"]).ok();
    let done = new.pk(restore).ok();
    done.says("recovery resume --recovery-code-file");
    let mode = std::fs::metadata(&file).expect("written").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (found, lost) = (
        std::fs::read_to_string(&file),
        std::fs::read_to_string(&circle.code),
    );
    assert_eq!(found.expect("reads").trim(), lost.expect("reads").trim());
    new.pk(restore).ended(73);
    let again = new.json(["recovery", "restore", &owner.id]);
    assert_eq!(state(&again, carol), "refused");
    assert!(
        again["recoveryCode"]
            .as_str()
            .is_some_and(|code| code.split(' ').count() == 24)
    );

    // The code opens a new node path, which is the node that was lost, and its vaults come back.
    let node = new.home.path().join("again");
    let again = |args: &[&str]| {
        let place = ["--node-path", node.to_str().expect("a plain path")];
        new.pk(place.iter().chain(args).copied()).ok()
    };
    again(&["bootstrap", "--recovery-code-file", path]);
    again(&["agent", "start", "--background"]);
    assert_eq!(
        again(&["agent", "status", "--json"]).json()["nodeId"],
        owner.id.as_str()
    );
    again(&["nodes", "add", &alice.id, "127.0.0.1", &alice.port()]);
    again(&["recovery", "resume", "--recovery-code-file", path]);
    assert_eq!(again(&["secrets", "cat", "work:x"]).text(), "1");
}

#[test]
fn any_device_of_the_owner_objects_until_it_is_removed() {
    let circle = Circle::new();
    let [alice, ..] = &circle.friends[..] else {
        unreachable!("three friends")
    };
    let (owner, phone) = (&circle.owner, Node::new());
    let pairing = owner.json(["devices", "pair", "--name", "laptop"]);
    let ticket = pairing["ticket"].as_str().expect("a text");
    phone.pk(["devices", "join", ticket, "--name", "phone"]).ok();
    circle.split("1h").ok();
    owner
        .pk([
            "recovery",
            "split",
            "--threshold",
            "2",
            "--to",
            "alice",
            &phone.id,
        ])
        .ended(64);
    // Friends see both devices, and the phone knows whom the laptop knows.
    eventually("the friend knows both devices", || {
        let alices = alice.json(["nodes", "getall"]);
        let mut all = alices.as_array().expect("a list").iter();
        all.any(|item| item["nodeIdEncoded"] == phone.id)
    });
    eventually("the phone knows the friend", || {
        let all = phone.json(["nodes", "getall"]);
        let mut all = all.as_array().expect("a list").iter();
        all.any(|item| item["nodeIdEncoded"] == alice.id)
    });
    phone.meets(alice);
    let (thief, second) = (circle.newcomer(), circle.newcomer());
    thief.json(["recovery", "request", &owner.id, "--from", "alice"]);
    phone.comes_to_be_told("RecoveryWarning");
    phone.pk(["recovery", "veto"]).ok();
    alice.comes_to_be_told("RecoveryVetoed");
    let request = alice.json(["recovery", "list"])["requests"][0].clone();
    assert_eq!(
        (&request["state"], &request["vetoedBy"]),
        (&"vetoed".into(), &phone.id.as_str().into())
    );

    // A phone that was removed says nothing for the owner any more.
    owner.pk(["devices", "remove", &phone.id]).ok();
    second.json(["recovery", "request", &owner.id, "--from", "alice"]);
    let state = |asker: &Node| {
        let list = alice.json(["recovery", "list"]);
        let mut all = list["requests"].as_array().expect("a list").iter();
        let found = all.find(|item| item["asker"] == asker.id);
        found.map(|item| item["state"].as_str().expect("a text").to_owned())
    };
    assert_eq!(state(&second).as_deref(), Some("open"));
    eventually("the friend has heard of the removal", || {
        let claims = alice.json(["nodes", "claims", &owner.id]);
        let mut all = claims.as_array().expect("a list").iter();
        all.any(|claim| claim["type"] == "device-removed")
    });
    let _ = phone.pk(["recovery", "veto", &second.id]);
    assert_eq!(state(&second).as_deref(), Some("open"));
}

#[test]
fn nothing_is_released_before_its_time_and_the_owner_can_object() {
    let circle = Circle::new();
    let [alice, bob, _] = &circle.friends[..] else {
        unreachable!("three friends")
    };
    let owner = &circle.owner;
    circle.split("1h").ok();
    let thief = circle.newcomer();
    let stranger = Node::new();
    let at = |node: &Node, args: &[&str], code| node.pk(args.iter().copied()).ended(code);

    // Whoever holds nothing of an owner answers as one who refuses.
    let none = thief.pk(["recovery", "request", &stranger.id, "--from", "alice", "--json"]);
    let none = none.ended(1).json();
    assert_eq!(state(&none, alice), "refused");
    assert!(
        alice.json(["recovery", "list"])["requests"]
            .as_array()
            .is_some_and(Vec::is_empty)
    );

    let asked = thief.json(["recovery", "request", &owner.id, "--from", "alice", "bob"]);
    assert_eq!((state(&asked, alice), state(&asked, bob)), ("asked", "asked"));
    at(alice, &["recovery", "approve", &thief.id, "--yes"], 0);
    at(bob, &["recovery", "approve", &thief.id, "--yes"], 0);
    let waits = thief
        .pk(["recovery", "restore", &owner.id, "--json"])
        .ended(1)
        .json();
    assert_eq!((state(&waits, alice), state(&waits, bob)), ("waiting", "waiting"));
    assert!(waits["recoveryCode"].is_null());

    // The owner is warned by both, and objects.
    owner.comes_to_be_told("RecoveryWarning");
    eventually("both have warned", || {
        let list = owner.json(["recovery", "list"]);
        list["warnings"].as_array().is_some_and(|all| all.len() == 2)
    });
    stranger.meets(alice);
    at(&stranger, &["recovery", "veto", &thief.id], 67);
    let vetoed = owner.json(["recovery", "veto"]);
    assert_eq!(vetoed["vetoes"][0]["asker"], thief.id.as_str());
    assert_eq!(vetoed["vetoes"][0]["holders"].as_array().map(Vec::len), Some(3));
    alice.comes_to_be_told("RecoveryVetoed");
    let refused = thief
        .pk(["recovery", "restore", &owner.id, "--json"])
        .ended(1)
        .json();
    assert_eq!(
        (state(&refused, alice), state(&refused, bob)),
        ("refused", "refused")
    );
    // For good: also at the friend that was not asked before, and when asked anew.
    let again = thief
        .pk([
            "recovery", "request", &owner.id, "--from", "alice", "carol", "--json",
        ])
        .ended(1);
    assert_eq!(state(&again.json(), alice), "refused");
    at(alice, &["recovery", "approve", &thief.id, "--yes"], 67);
    assert_eq!(alice.json(["recovery", "list"])["requests"][0]["state"], "vetoed");
}

#[test]
fn what_nobody_objects_to_is_released_when_the_wait_is_over() {
    let (Some(early), Some(late)) = (at_another_time("+50m"), at_another_time("+70m")) else {
        return;
    };
    let mut circle = Circle::new();
    circle.split("1h").ok();
    circle.owner.stop();
    let new = circle.newcomer();
    let owner = circle.owner.id.clone();
    new.pk(["recovery", "request", &owner, "--from", "alice", "bob"])
        .ok();
    for friend in &circle.friends[..2] {
        friend.pk(["recovery", "approve", &new.id, "--yes"]).ok();
    }
    let back = new.home.path().join("back.txt");
    let mut restore = |clock| {
        for friend in &mut circle.friends[..2] {
            friend.restart_with(Clone::clone(clock));
            new.knows(friend);
        }
        let restore = [
            "recovery",
            "restore",
            &owner,
            "--json",
            "--recovery-code-out-file",
        ];
        new.pk(restore.into_iter().chain(back.to_str()))
    };
    let waits = restore(&early).ended(1).json();
    assert!(!back.exists());
    restore(&late).ok();
    assert_eq!(state(&waits, &circle.friends[0]), "waiting");
    let read = |path: &Path| std::fs::read_to_string(path).expect("the code");
    assert_eq!(read(&back).trim(), read(&circle.code).trim());
}

#[test]
fn a_split_is_refused_where_it_would_not_protect() {
    let circle = Circle::new();
    let (owner, code) = (&circle.owner, circle.code.to_str().expect("a plain path"));
    let split = |more: &[&str]| {
        let args = ["recovery", "split", "--recovery-code-file", code];
        owner.pk(args.iter().chain(more).copied())
    };
    let three = ["--to", "alice", "--to", "bob", "--to", "carol"];
    split(&[&["--threshold", "1"], &three[..]].concat())
        .ended(64)
        .says("each holder alone");
    split(&[&["--threshold", "4"], &three[..]].concat())
        .ended(64)
        .says("of 3 shares");
    split(&["--threshold", "2", "--to", "alice", "alice"])
        .ended(64)
        .says("named twice");
    split(&["--threshold", "2", "--to", "alice", &owner.id])
        .ended(64)
        .says("own devices");
    split(&["--threshold", "2", "--to", "alice", "nobody"]).ended(67);
    split(&[&["--threshold", "2", "--wait", "15d"], &three[..]].concat())
        .ended(64)
        .says("14 days");
    split(&[&["--threshold", "2", "--wait", "soon"], &three[..]].concat()).ended(64);
    owner.pk(["nodes", "block", "carol"]).ok();
    split(&[&["--threshold", "2"], &three[..]].concat())
        .ended(77)
        .says("blocked");
    let other = circle.friends[0].home.path().join("other.txt");
    let words = "legal winner thank year wave sausage worth useful legal winner thank yellow";
    std::fs::write(&other, words).expect("written");
    let wrong = ["--recovery-code-file", other.to_str().expect("a plain path")];
    let args = ["recovery", "split", "--threshold", "2", "--to", "alice", "bob"];
    owner
        .pk(args.into_iter().chain(wrong))
        .ended(77)
        .says("another node");
    owner.pk(args).ended(64).says("recovery code is needed");
    owner.pk(["recovery", "drill"]).ended(67).says("recovery split");
    owner.pk(["recovery", "veto"]).ended(67);
    owner.pk(["recovery", "drop", "alice", "--yes"]).ended(67);
    owner
        .pk(["recovery", "request", &owner.id, "--from", "alice"])
        .ended(64);
}

#[test]
fn a_friend_gives_up_a_share_and_a_new_split_takes_the_former_ones_back() {
    let circle = Circle::new();
    let [alice, bob, carol] = &circle.friends[..] else {
        unreachable!("three friends")
    };
    let owner = &circle.owner;
    circle.split("1d").ok();
    carol.pk(["recovery", "drop", "owner", "--yes"]).ok();
    owner.comes_to_be_told("ShareGivenUp");
    let drill = owner.json(["recovery", "drill"]);
    assert_eq!(
        (&drill["proven"], &drill["holders"][2]["proof"]),
        (&2.into(), &"lacks".into())
    );

    let code = circle.code.to_str().expect("a plain path");
    let args = [
        "recovery",
        "split",
        "--threshold",
        "2",
        "--recovery-code-file",
        code,
    ];
    owner
        .pk(args.into_iter().chain(["--to", "alice", "--to", "carol"]))
        .ok();
    bob.comes_to_be_told("ShareTaken");
    assert!(
        bob.json(["recovery", "list"])["held"]
            .as_array()
            .is_some_and(Vec::is_empty)
    );
    assert_eq!(
        alice.json(["recovery", "list"])["held"].as_array().map(Vec::len),
        Some(1)
    );
    let drill = owner.json(["recovery", "drill"]);
    assert_eq!(
        (&drill["proven"], &drill["met"]),
        (&2.into(), &true.into()),
        "{drill}"
    );
}
