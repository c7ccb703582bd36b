//! Own devices: pairing, what follows, and removal.

use std::path::Path;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::home::{Home, run};
use crate::node::{Node, eventually};

/// Makes `b` a device like `a`, with these names.
pub fn pair_up(a: &Node, a_name: &str, b: &Node, b_name: &str) {
    let ticket = ticket_of(a, a_name);
    b.pk(["devices", "join", &ticket, "--name", b_name]).ok();
}

fn ticket_of(node: &Node, name: &str) -> String {
    let pairing = node.json(["devices", "pair", "--name", name]);
    pairing["ticket"].as_str().expect("a text").to_owned()
}

/// The names of the devices that `node` knows, this one first.
fn names(node: &Node) -> Vec<String> {
    let devices = node.json(["devices", "list"]);
    let devices = devices.as_array().expect("a list").iter();
    devices
        .map(|device| device["name"].as_str().unwrap_or("?").to_owned())
        .collect()
}

/// The names of the vaults, in order.
fn vaults(node: &Node) -> Vec<String> {
    let list = node.json(["vaults", "list"]);
    let list = list.as_array().expect("a list").iter();
    list.map(|vault| vault["vaultName"].as_str().expect("a text").to_owned())
        .collect()
}

/// Waits until a device has exactly these vaults.
#[track_caller]
fn comes_to_hold(node: &Node, want: &[&str]) {
    eventually(&format!("{want:?} are there"), || vaults(node) == want);
}

fn petname_of(node: &Node, other: &Node) -> Value {
    let all = node.json(["nodes", "getall"]);
    let mut all = all.as_array().expect("a list").iter();
    let found = all.find(|item| item["nodeIdEncoded"] == other.id);
    found.map_or(Value::Null, |item| item["petname"].clone())
}

/// A node with its recovery code in the file `code` of its home.
fn with_code() -> Node {
    let home = Home::empty();
    home.pk(["bootstrap", "--recovery-code-out-file", "code"]).ok();
    Node::in_home(home)
}

#[test]
fn two_commands_make_two_nodes_one() {
    let (laptop, phone) = (Node::new(), Node::new());
    laptop.pk(["vaults", "create", "work"]).ok();
    laptop.write("work:x", "1");
    phone.pk(["vaults", "create", "notes"]).ok();
    phone.write("notes:y", "2");
    let ticket = ticket_of(&laptop, "laptop");
    let joined = phone.pk_with_input(
        ["devices", "join", "-", "--name", "phone", "--json"],
        ticket.as_bytes(),
    );
    let joined = joined.ok().json();
    // What it brought along may be shared with it by now, too.
    let came = joined["vaults"].as_array().expect("a list");
    assert!(came.contains(&json!("work")), "{came:?}");
    assert_eq!(joined["waiting"], json!([]));
    // What it says is true when it returns; what the new device brought along follows.
    phone.reads("work:x", "1");
    assert_eq!(phone.role_of(&phone, "work").as_deref(), Some("admin"));
    laptop.comes_to_read("notes:y", "2");
    phone.writes_both_ways_with(&laptop, "3");
    comes_to_hold(&laptop, &["notes", "work"]);
    comes_to_hold(&phone, &["notes", "work"]);
    for (node, want) in [(&laptop, ["laptop", "phone"]), (&phone, ["phone", "laptop"])] {
        eventually("the names are known", || names(node) == want);
        assert_eq!(node.json(["devices", "list"])[0]["thisNode"], true);
    }
    laptop.comes_to_be_told("DeviceJoined");
    // A name that was given stays, whatever the machine is called.
    laptop.pk(["devices", "pair"]).ok();
    assert_eq!(names(&laptop)[0], "laptop");
    // Later ones follow from either.
    laptop.pk(["vaults", "create", "later"]).ok();
    laptop.write("later:z", "1");
    phone.comes_to_read("later:z", "1");
    phone.pk(["vaults", "create", "last"]).ok();
    phone.write("last:z", "1");
    laptop.comes_to_read("last:z", "1");
    // Also what was written while the other was away.
    phone.stop();
    laptop.pk(["vaults", "create", "away"]).ok();
    laptop.write("away:z", "1");
    phone.start();
    phone.comes_to_read("away:z", "1");
}

#[test]
fn what_belongs_to_the_person_stays_in_step() {
    let (a, b, other) = (Node::new(), Node::new(), Node::new());
    a.knows(&other);
    a.pk(["nodes", "name", &other.id, "anna"]).ok();
    pair_up(&a, "a", &b, "b");
    eventually("the name is known", || petname_of(&b, &other) == "anna");
    b.pk(["nodes", "name", "anna", "bella"]).ok();
    eventually("the new name is known", || petname_of(&a, &other) == "bella");
    a.pk(["nodes", "block", "bella"]).ok();
    let blocked = |node: &Node| {
        let all = node.json(["nodes", "getall"]);
        let mut all = all.as_array().expect("a list").iter();
        all.any(|item| item["nodeIdEncoded"] == other.id && item["blocked"] == true)
    };
    eventually("it is blocked there, too", || blocked(&b));
    b.pk(["nodes", "name", "bella", "--remove"]).ok();
    eventually("the name is gone", || petname_of(&a, &other).is_null());
}

#[test]
fn a_ticket_makes_one_node_a_device_once() {
    let (a, b, c) = (Node::new(), Node::new(), Node::new());
    a.pk(["vaults", "create", "work"]).ok();
    let ticket = ticket_of(&a, "a");
    a.pk(["devices", "join", &ticket]).ended(64);
    b.pk(["devices", "join", &ticket[..ticket.len() - 2]]).ended(65);
    b.pk(["devices", "join", "five little words"]).ended(65);
    b.pk(["join", &ticket]).ended(64).says("devices join");
    for bad in ["", "a/b", "a:b", &"x".repeat(65)] {
        b.pk(["devices", "join", &ticket, "--name", bad]).ended(65);
        a.pk(["devices", "pair", "--name", bad]).ended(65);
    }
    let vault = a.json(["vaults", "invite", "work"]);
    let vault = vault["ticket"].as_str().expect("a text");
    b.pk(["devices", "join", vault]).ended(64).says("polykey join");

    b.pk(["devices", "join", &ticket, "--name", "b"]).ok();
    // Again is the same, and nobody else comes by it.
    b.pk(["devices", "join", &ticket, "--name", "b"]).ok();
    c.pk(["devices", "join", &ticket]).ended(77);
    eventually("two devices", || names(&a) == ["a", "b"]);
    assert_eq!(vaults(&c), Vec::<String>::new());
}

#[test]
fn a_ticket_that_leaked_is_taken_back() {
    let (a, b) = (Node::new(), Node::new());
    b.knows(&a);
    let pairing = a.json(["devices", "pair", "--name", "a", "--expires", "7d"]);
    let [ticket, words] = ["ticket", "words"].map(|what| pairing[what].as_str().expect("a text"));
    a.pk(["devices", "pair", "--withdraw", "--expires", "1h"])
        .ended(64);
    let withdrawn = a.json(["devices", "pair", "--withdraw"]);
    assert_eq!(withdrawn, json!({ "tickets": 1, "words": true }));
    b.pk(["devices", "join", ticket]).ended(77);
    b.pk(["devices", "join", words, "--at", &a.id]).ended(67);
    assert_eq!(names(&a), ["a"]);
    let withdrawn = a.json(["devices", "pair", "--withdraw"]);
    assert_eq!(withdrawn, json!({ "tickets": 0, "words": false }));
    pair_up(&a, "a", &b, "b");
    eventually("two devices", || names(&a) == ["a", "b"]);
}

#[test]
fn three_words_do_what_a_ticket_does_and_a_wrong_guess_ends_them() {
    let (a, b, c) = (Node::new(), Node::new(), Node::new());
    a.pk(["vaults", "create", "work"]).ok();
    a.write("work:x", "1");
    for node in [&b, &c] {
        node.knows(&a);
    }
    let words = || {
        let pairing = a.json(["devices", "pair", "--name", "a"]);
        pairing["words"].as_str().expect("a text").to_owned()
    };
    let join = |node: &Node, words: &str| node.pk(["devices", "join", words, "--at", &a.id, "--name", "b"]);
    join(&b, "acid-bacon-cabin").ended(67);
    let first = words();
    // Nobody is near: this network looks around for nobody.
    b.pk(["devices", "join", &first]).ended(67);
    let wrong = if first == "acid-bacon-cabin" {
        "acid-bacon-dad"
    } else {
        "acid-bacon-cabin"
    };
    join(&c, wrong).ended(77);
    join(&b, &first).ended(67);
    let second = words();
    let typed: Vec<&str> = second.split('-').collect();
    b.pk([
        "devices", "join", typed[0], typed[1], typed[2], "--at", &a.id, "--name", "b",
    ])
    .ok();
    b.reads("work:x", "1");
    join(&c, &second).ended(67);
    eventually("two devices", || names(&a) == ["a", "b"]);
    let ticket = ticket_of(&a, "a");
    c.pk(["devices", "join", &ticket, "--at", &a.id]).ended(64);
}

#[test]
fn a_device_that_is_killed_while_it_joins_joins_by_the_same_command() {
    let (a, b) = (Node::new(), Node::new());
    a.pk(["vaults", "create", "work"]).ok();
    a.write("work:x", "1");
    let ticket = ticket_of(&a, "a");
    let links = || {
        let claims = a.json(["nodes", "claims"]);
        let claims = claims.as_array().expect("a list").iter();
        claims.filter(|claim| claim["type"] == "device").count()
    };
    // From the first request on, at whatever moment this one ends it.
    let mut joining = b
        .command(["devices", "join", &ticket, "--name", "b"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("runs");
    eventually("A has signed", || links() > 0);
    b.home.signal(Signal::KILL);
    joining.wait().expect("waits");
    eventually("the agent is dead", || b.status()["status"] == "DEAD");
    b.start();
    b.pk(["devices", "join", &ticket, "--name", "b"]).ok();
    b.comes_to_read("work:x", "1");
    assert_eq!(links(), 1);
    eventually("two devices", || names(&a) == ["a", "b"]);
}

#[test]
fn a_removed_device_is_out_everywhere_by_one_command() {
    let (laptop, phone, tablet) = (Node::new(), Node::new(), Node::new());
    for name in ["work", "home"] {
        laptop.pk(["vaults", "create", name]).ok();
        laptop.write(&format!("{name}:x"), "1");
    }
    let ticket = ticket_of(&laptop, "laptop");
    phone.pk(["devices", "join", &ticket, "--name", "phone"]).ok();
    pair_up(&laptop, "laptop", &tablet, "tablet");
    phone.comes_to_read("home:x", "1");
    tablet.comes_to_read("home:x", "1");
    eventually("all know all", || {
        [&laptop, &phone, &tablet]
            .iter()
            .all(|node| names(node).len() == 3)
    });
    laptop.pk(["devices", "remove", "nobody"]).ended(67);
    laptop.pk(["devices", "remove", "laptop"]).ended(64);
    let removed = laptop.pk(["devices", "remove", "phone"]).ok();
    let mut rotate: Vec<&str> = removed.text().lines().collect();
    rotate.sort_unstable();
    assert_eq!(rotate, ["home:x", "work:x"]);
    for name in ["work", "home"] {
        assert_eq!(laptop.role_of(&phone, name), None);
        eventually("the tablet has heard of it", || {
            tablet.role_of(&phone, name).is_none()
        });
    }
    laptop.write("work:x", "2");
    tablet.comes_to_read("work:x", "2");
    // It has no key to what came after, and its ticket makes it no device again.
    phone.reads("work:x", "1");
    phone.pk(["devices", "join", &ticket]).ended(77);
    laptop.pk(["vaults", "create", "later"]).ok();
    tablet.comes_to_be_offered("later", &laptop);
    phone.pk(["vaults", "clone", "later", &laptop.id]).ended(77);
    eventually("two are left", || {
        names(&laptop) == ["laptop", "tablet"] && names(&tablet) == ["tablet", "laptop"]
    });
    // Names given from now on stay among those that are left.
    laptop.pk(["nodes", "name", &phone.id, "stolen"]).ok();
    eventually("the tablet is in step", || {
        petname_of(&tablet, &phone) == "stolen"
    });
    assert_eq!(petname_of(&phone, &phone), Value::Null);
}

#[test]
fn whom_a_lost_device_let_in_is_shown_when_it_is_removed() {
    let (laptop, phone, friend, thief) = (Node::new(), Node::new(), Node::new(), Node::new());
    laptop.pk(["vaults", "create", "our work"]).ok();
    pair_up(&laptop, "laptop", &phone, "phone");
    comes_to_hold(&phone, &["our work"]);
    laptop.knows(&friend);
    friend.knows(&laptop);
    laptop.pk(["vaults", "share", "our work", &friend.id]).ok();
    phone.knows(&thief);
    thief.knows(&phone);
    phone.pk(["vaults", "share", "our work", &thief.id]).ok();
    eventually("the laptop knows of both", || {
        [&friend, &thief]
            .iter()
            .all(|node| laptop.role_of(node, "our work").is_some())
    });
    let removed = laptop.pk(["devices", "remove", "phone"]).ok();
    let hint = format!(
        "  polykey vaults unshare 'our work' {}  # reader, since ",
        thief.id
    );
    let shown = &removed.stderr;
    assert!(shown.contains(&hint) && !shown.contains(&friend.id), "{shown}");
    // Nobody who missed it then is left without it.
    let again = laptop.json(["devices", "remove", &phone.id]);
    let let_in = again["vaults"][0]["letIn"].as_array().expect("a list");
    assert_eq!(let_in.len(), 1);
    assert_eq!(
        (&let_in[0]["nodeIdEncoded"], &let_in[0]["grantedBy"]),
        (&json!(thief.id), &json!(phone.id))
    );
    laptop.pk(["vaults", "unshare", "our work", &thief.id]).ok();
    assert_eq!(laptop.role_of(&thief, "our work"), None);
    assert_eq!(laptop.role_of(&friend, "our work").as_deref(), Some("reader"));
    assert_eq!(laptop.json(["devices", "remove", &phone.id])["vaults"], json!([]));
}

#[test]
fn what_a_lost_device_made_a_device_goes_with_it() {
    let (laptop, phone, other) = (Node::new(), Node::new(), Node::new());
    laptop.pk(["vaults", "create", "work"]).ok();
    laptop.write("work:x", "1");
    pair_up(&laptop, "laptop", &phone, "phone");
    pair_up(&phone, "phone", &other, "other");
    other.comes_to_read("work:x", "1");
    eventually("the laptop knows both", || names(&laptop).len() == 3);
    // Also of the one that came by the other.
    eventually("the owner is told of both", || {
        let told = laptop.json(["notifications", "inbox", "read"]);
        let told = told.as_array().expect("a list").iter();
        told.filter(|item| item["notification"]["data"]["type"] == "DeviceJoined")
            .count()
            == 2
    });
    let removed = laptop.pk(["devices", "remove", "phone"]).ok();
    assert_eq!(removed.text(), "work:x\n");
    removed.says(&format!("With it goes {}", other.id));
    laptop.write("work:x", "2");
    // Nothing that they say afterwards brings them back.
    for node in [&phone, &other] {
        node.stop();
        node.start();
        eventually("it is refused", || node.pk(["vaults", "pull", "work"]).code == 77);
        node.reads("work:x", "1");
        assert_eq!(laptop.role_of(node, "work"), None);
    }
    laptop.stop();
    laptop.start();
    assert_eq!(names(&laptop), ["laptop"]);
    for node in [&phone, &other] {
        assert_eq!(laptop.role_of(node, "work"), None);
    }
    // What this user did is no news.
    let told = laptop.json(["notifications", "inbox", "read"]);
    assert_eq!(told.as_array().map(Vec::len), Some(2), "{told}");
    // Whose it is has it again by two commands.
    pair_up(&laptop, "laptop", &other, "other");
    other.comes_to_read("work:x", "2");
    assert_eq!(laptop.role_of(&phone, "work"), None);
}

#[test]
fn a_lost_device_that_removed_its_owner_is_removed_all_the_same() {
    let (laptop, phone) = (Node::new(), Node::new());
    laptop.pk(["vaults", "create", "work"]).ok();
    laptop.write("work:x", "1");
    pair_up(&laptop, "laptop", &phone, "phone");
    phone.comes_to_read("work:x", "1");
    eventually("they know each other", || names(&phone) == ["phone", "laptop"]);
    phone.pk(["devices", "remove", "laptop"]).ended(1);
    eventually("the laptop has heard of it", || names(&laptop) == ["laptop"]);
    laptop.comes_to_be_told("DeviceGone");
    let removed = laptop.pk(["devices", "remove", "phone"]).ok();
    assert_eq!(removed.text(), "work:x\n");
    assert_eq!(laptop.role_of(&phone, "work"), None);
    laptop.write("work:x", "2");
    eventually("it is refused", || {
        phone.pk(["vaults", "pull", "work"]).code == 77
    });
    phone.reads("work:x", "1");
}

#[test]
fn one_that_another_device_removed_gets_nothing_new_from_the_one_that_made_it_a_device() {
    let (laptop, phone, tablet) = (Node::new(), Node::new(), Node::new());
    laptop.pk(["vaults", "create", "work"]).ok();
    laptop.write("work:x", "1");
    let ticket = ticket_of(&laptop, "laptop");
    phone.pk(["devices", "join", &ticket, "--name", "phone"]).ok();
    pair_up(&laptop, "laptop", &tablet, "tablet");
    for node in [&phone, &tablet] {
        node.comes_to_read("work:x", "1");
    }
    eventually("all know all", || {
        [&laptop, &phone, &tablet]
            .iter()
            .all(|node| names(node).len() == 3)
    });
    // Which of the two ranks above in the vault is chance.
    let removed = tablet.pk(["devices", "remove", "phone"]);
    assert!(removed.code == 0 || removed.code == 1, "{removed:?}");
    eventually("the laptop has heard of it", || {
        names(&laptop) == ["laptop", "tablet"]
    });
    for name in ["later", "latest"] {
        laptop.pk(["vaults", "create", name]).ok();
        laptop.write(&format!("{name}:x"), "1");
        tablet.comes_to_read(&format!("{name}:x"), "1");
        assert_eq!(laptop.role_of(&phone, name), None);
    }
    phone.pk(["devices", "join", &ticket]).ended(77);
    phone.pk(["vaults", "clone", "later", &laptop.id]).ended(77);
    // The laptop's own word takes it out.
    laptop.pk(["devices", "remove", &phone.id]).ok();
    assert_eq!(laptop.role_of(&phone, "work"), None);
    assert_eq!(names(&laptop), ["laptop", "tablet"]);
}

#[test]
fn the_device_that_made_a_vault_is_removed_with_its_recovery_code() {
    let (laptop, phone) = (with_code(), Node::new());
    laptop.pk(["vaults", "create", "work"]).ok();
    laptop.write("work:x", "1");
    pair_up(&laptop, "laptop", &phone, "phone");
    eventually("it is known", || names(&phone) == ["phone", "laptop"]);
    phone.comes_to_read("work:x", "1");
    let code = laptop.home.path().join("code");
    // The laptop is away, as one that was stolen.
    laptop.stop();
    let other = with_code();
    let foreign = other.home.path().join("code");
    phone
        .pk([
            "devices",
            "remove",
            "laptop",
            "--recovery-code-file",
            foreign.to_str().expect("text"),
        ])
        .ended(77);
    phone
        .pk(["devices", "remove", "laptop"])
        .ended(1)
        .says("still in them: work");
    assert_eq!(phone.role_of(&laptop, "work").as_deref(), Some("admin"));
    // The same command again does what was left over. A code in the environment may be that of another node.
    let with_code = |words: &str| {
        let mut remove = phone.command(["devices", "remove", &laptop.id]);
        remove.env("PK_RECOVERY_CODE", words.trim());
        run(remove, b"")
    };
    let words = |path: &Path| std::fs::read_to_string(path).expect("the code");
    with_code(&words(&foreign)).ended(1);
    let removed = with_code(&words(&code)).ok();
    assert_eq!(removed.text().trim(), "work:x");
    assert_eq!(phone.role_of(&laptop, "work"), None);
    phone.write("work:x", "2");
    laptop.start();
    laptop.pk(["vaults", "pull", "work"]);
    laptop.reads("work:x", "1");
    phone.reads("work:x", "2");
    assert_eq!(names(&phone), ["phone"]);
}

/// A laptop with a recovery code, its phone, and Bob, who shared `bobs` with the laptop.
fn with_a_vault_of_bob() -> (Node, Node, Node) {
    let (laptop, phone, bob) = (with_code(), Node::new(), Node::new());
    bob.knows(&laptop);
    laptop.knows(&bob);
    laptop.pk(["nodes", "name", &bob.id, "bob"]).ok();
    pair_up(&laptop, "laptop", &phone, "phone");
    bob.pk(["vaults", "create", "bobs"]).ok();
    bob.write("bobs:x", "1");
    bob.shares("bobs", &laptop, "writer");
    laptop.pk(["vaults", "clone", "bobs", &bob.id]).ok();
    phone.comes_to_read("bobs:x", "1");
    for (node, want) in [(&laptop, ["laptop", "phone"]), (&phone, ["phone", "laptop"])] {
        eventually("the names are known", || names(node) == want);
    }
    eventually("the phone knows Bob by name", || {
        petname_of(&phone, &bob) == "bob"
    });
    (laptop, phone, bob)
}

#[test]
fn a_device_that_a_friend_let_in_itself_is_in_the_answer_until_the_friend_took_it_out() {
    let (laptop, phone, bob) = with_a_vault_of_bob();
    let code = laptop.home.path().join("code");
    let code = code.to_str().expect("text");
    let removed = phone.pk(["devices", "remove", "laptop", "--recovery-code-file", code]);
    removed.ended(1).says("still in bobs").says("ask bob to share");
    let again = |want: i32| {
        let args = [
            "devices",
            "remove",
            &laptop.id,
            "--recovery-code-file",
            code,
            "--json",
        ];
        phone.pk(args).ended(want).json()["vaults"].clone()
    };
    let left = again(1);
    assert_eq!(
        (&left[0]["vaultName"], &left[0]["removed"], &left[0]["wasFirst"]),
        (&json!("bobs"), &json!(false), &json!(true))
    );
    assert_eq!(left[0]["admins"][0]["nodeIdEncoded"], json!(bob.id));
    // The word of a device alone takes out nobody that stands nearer to whom Bob let in.
    assert_eq!(bob.role_of(&laptop, "bobs").as_deref(), Some("writer"));
    // What the command says goes.
    bob.pk(["vaults", "share", "bobs", &phone.id]).ok();
    bob.pk(["vaults", "unshare", "bobs", &laptop.id]).ok();
    eventually("the phone has heard of it", || {
        phone.role_of(&laptop, "bobs").is_none()
    });
    assert_eq!(again(0), json!([]));
    assert!(bob.role_of(&phone, "bobs").is_some());
}

#[test]
fn a_friend_that_is_there_has_taken_a_lost_device_out_when_the_command_ends() {
    let (laptop, phone, bob) = with_a_vault_of_bob();
    bob.stop();
    let removed = laptop.pk(["devices", "remove", "phone"]);
    removed.ended(1).says("still in bobs").says("the node of bob");
    bob.start();
    let removed = laptop.json(["devices", "remove", &phone.id]);
    assert_eq!(bob.role_of(&phone, "bobs"), None);
    let left = removed["vaults"].as_array().expect("a list").iter();
    assert!(left.clone().all(|vault| vault["removed"] == true), "{removed}");
}

#[test]
fn devices_of_others_follow_their_member_and_go_with_it() {
    let (alice, bob, bobs) = (Node::new(), Node::new(), Node::new());
    let stranger = Node::new();
    alice.knows(&bob);
    bob.knows(&alice);
    alice.shares_work_with(&bob);
    bob.write("work:y", "from bob");
    alice.comes_to_read("work:y", "from bob");
    pair_up(&bob, "one", &bobs, "two");
    // Nobody at Alice's does anything.
    alice.comes_to_be_told("MemberDevice");
    assert_eq!(alice.role_of(&bobs, "work").as_deref(), Some("writer"));
    bobs.comes_to_read("work:x", "1");
    bobs.write("work:z", "from two");
    alice.comes_to_read("work:z", "from two");
    // Who is only linked gets nothing.
    stranger.knows(&bob);
    bob.knows(&stranger);
    bob.pk(["identities", "invite", &stranger.id]).ok();
    stranger.pk(["nodes", "claim", &bob.id]).ok();
    alice.pk(["nodes", "claims", &bob.id]).ok();
    assert_eq!(alice.role_of(&stranger, "work"), None);

    bob.pk(["devices", "remove", "two"]).ok();
    eventually("Alice has taken it out", || {
        alice.role_of(&bobs, "work").is_none()
    });
    assert_eq!(alice.role_of(&bob, "work").as_deref(), Some("writer"));
    alice.write("work:x", "2");
    bob.comes_to_read("work:x", "2");
    bobs.reads("work:x", "1");
}

#[test]
fn whoever_is_taken_out_takes_its_devices_along_and_a_device_taken_out_stays_out() {
    let (alice, bob, bobs) = (Node::new(), Node::new(), Node::new());
    alice.knows(&bob);
    bob.knows(&alice);
    pair_up(&bob, "one", &bobs, "two");
    alice.shares_work_with(&bob);
    eventually("the device is in", || alice.role_of(&bobs, "work").is_some());
    alice.pk(["vaults", "unshare", "work", &bobs.id]).ok();
    // A change, and whatever follows it, does not bring it back.
    alice.write("work:x", "2");
    bob.comes_to_read("work:x", "2");
    bob.stop();
    bob.start();
    alice.pk(["nodes", "claims", &bob.id]).ok();
    assert_eq!(alice.role_of(&bobs, "work"), None);
    // The user decides anew.
    alice.pk(["vaults", "share", "work", &bobs.id]).ok();
    eventually("it is in again", || {
        alice.role_of(&bobs, "work").as_deref() == Some("reader")
    });
    alice.pk(["vaults", "unshare", "work", &bobs.id]).ok();

    alice.pk(["vaults", "create", "second"]).ok();
    alice.shares("second", &bob, "reader");
    eventually("the device is in", || alice.role_of(&bobs, "second").is_some());
    alice.pk(["vaults", "unshare", "second", &bob.id]).ok();
    eventually("both are out", || {
        alice.role_of(&bob, "second").is_none() && alice.role_of(&bobs, "second").is_none()
    });
}

#[test]
fn what_one_device_decided_no_other_undoes() {
    let (alice, alices, bob, bobs) = (Node::new(), Node::new(), Node::new(), Node::new());
    pair_up(&alice, "laptop", &alices, "phone");
    for node in [&alice, &alices] {
        node.knows(&bob);
        bob.knows(node);
    }
    pair_up(&bob, "one", &bobs, "two");
    alice.shares_work_with(&bob);
    eventually("the device is in", || alice.role_of(&bobs, "work").is_some());
    alices.comes_to_read("work:x", "1");
    eventually("the phone knows it", || alices.role_of(&bobs, "work").is_some());
    alices.pk(["vaults", "unshare", "work", &bobs.id]).ok();
    eventually("it is out", || alice.role_of(&bobs, "work").is_none());
    // Whatever happens next does not bring it back.
    for node in [&alice, &alices, &bob] {
        node.stop();
        node.start();
    }
    alice.write("work:x", "2");
    bob.comes_to_read("work:x", "2");
    alices.comes_to_read("work:x", "2");
    for node in [&alice, &alices] {
        node.pk(["nodes", "claims", &bob.id]).ok();
        assert_eq!(node.role_of(&bobs, "work"), None);
    }
}

/// Gives a node new keys; the code of before stands in `code`, and the new one does afterwards.
fn renew(node: &mut Node) {
    let path = node.home.path().join("code");
    let code = std::fs::read_to_string(&path).expect("written");
    let mut renew = node.command(["keys", "renew", "--json"]);
    renew.env("PK_RECOVERY_CODE", code.trim());
    renew.env("PK_PASSWORD_NEW", crate::home::PASSWORD);
    let renewed = run(renew, b"").ok().json();
    let code = renewed["recoveryCode"].as_str().expect("always shown");
    std::fs::write(&path, code).expect("written");
    node.id = renewed["nodeId"].as_str().expect("a text").to_owned();
}

#[test]
fn a_device_that_renewed_its_keys_while_a_friend_was_away_goes_when_it_is_removed() {
    let (alice, mut bob, mut bobs) = (Node::new(), with_code(), with_code());
    alice.knows(&bob);
    bob.knows(&alice);
    alice.shares_work_with(&bob);
    bob.comes_to_read("work:x", "1");
    pair_up(&bob, "one", &bobs, "two");
    bobs.comes_to_read("work:x", "1");
    alice.stop();
    // Each knows the new id of the other before the next one changes.
    let follows = |step: u8, a: &Node, b: &Node| {
        // How they find each other again is another matter.
        b.knows(a);
        eventually(&format!("renewal {step} is followed"), || {
            b.pk(["nodes", "ping", &a.id]);
            let devices = a.json(["devices", "list"]);
            let mut devices = devices.as_array().expect("a list").iter();
            devices.any(|device| device["nodeIdEncoded"] == b.id)
        });
    };
    renew(&mut bob);
    follows(1, &bobs, &bob);
    renew(&mut bobs);
    follows(2, &bob, &bobs);
    renew(&mut bob);
    follows(3, &bobs, &bob);
    alice.start();
    for node in [&bob, &bobs] {
        node.knows(&alice);
        eventually("they meet", || node.pk(["nodes", "ping", &alice.id]).code == 0);
    }
    for node in [&bob, &bobs] {
        eventually("the friend has followed", || {
            alice.role_of(node, "work").as_deref() == Some("writer")
        });
    }
    bob.pk(["devices", "remove", &bobs.id]).ok();
    eventually("the friend has taken it out", || {
        alice.role_of(&bobs, "work").is_none()
    });
    assert_eq!(alice.role_of(&bob, "work").as_deref(), Some("writer"));
}

#[test]
fn a_device_with_new_keys_is_let_into_later_vaults() {
    let (laptop, mut phone) = (Node::new(), with_code());
    laptop.pk(["vaults", "create", "work"]).ok();
    laptop.write("work:x", "1");
    pair_up(&laptop, "laptop", &phone, "phone");
    phone.comes_to_read("work:x", "1");
    eventually("it is known", || names(&laptop).len() == 2);
    renew(&mut phone);
    laptop.comes_to_be_told("NodeSucceeded");
    laptop.write("work:x", "2");
    phone.comes_to_read("work:x", "2");
    laptop.pk(["vaults", "create", "later"]).ok();
    laptop.write("later:x", "1");
    phone.comes_to_read("later:x", "1");
    assert_eq!(names(&laptop).len(), 2);
}
