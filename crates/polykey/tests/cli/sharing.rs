//! Sharing between real nodes on the loopback interface.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::home::{Ended, Home};

/// What another node does arrives within this time, or never.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node that listens on the loopback interface.
struct Node {
    home: Home,
    id: String,
    port: String,
}

impl Node {
    fn new() -> Node {
        let home = Home::empty();
        let start = ["agent", "start", "--background", "--agent-host", "127.0.0.1"];
        home.pk(start).ok();
        let status = home.status();
        let text = |name: &str| status[name].as_str().expect("a text").to_owned();
        let port = status["agentPort"].as_u64().expect("a port").to_string();
        Node {
            id: text("nodeId"),
            port,
            home,
        }
    }

    fn pk<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Ended {
        self.home.pk(args)
    }

    /// Tells this node where `other` is.
    fn knows(&self, other: &Node) {
        self.pk(["nodes", "add", &other.id, "127.0.0.1", &other.port, "--no-ping"])
            .ok();
    }

    fn write(&self, place: &str, value: &str) {
        self.home
            .pk_with_input(["secrets", "write", place], value.as_bytes())
            .ok();
    }

    #[track_caller]
    fn reads(&self, place: &str, value: &str) {
        assert_eq!(self.pk(["secrets", "cat", place]).ok().text(), value);
    }

    /// Waits until a secret reads so here.
    #[track_caller]
    fn comes_to_read(&self, place: &str, value: &str) {
        until(&format!("{place} reads {value:?}"), || {
            let read = self.pk(["secrets", "cat", place]);
            (read.code == 0 && read.text() == value).then_some(())
        });
    }

    fn stop(&self) {
        self.pk(["agent", "stop"]).ok();
    }

    fn start(&self) {
        let start = ["agent", "start", "--background", "--agent-host", "127.0.0.1"];
        self.home.pk(start).ok();
    }

    fn json<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Value {
        let args: Vec<&str> = args.into_iter().chain(["--json"]).collect();
        self.pk(args).ok().json()
    }
}

/// Asks again and again until there is an answer.
#[track_caller]
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "not in time: {what}");
    }
}

/// Two nodes that know each other.
fn pair() -> (Node, Node) {
    let (a, b) = (Node::new(), Node::new());
    a.knows(&b);
    b.knows(&a);
    (a, b)
}

/// The same, with a vault `work` of A in which B writes.
fn shared_pair() -> (Node, Node) {
    let (a, b) = pair();
    a.pk(["vaults", "create", "work"]).ok();
    a.write("work:db/PASSWORD", "one");
    a.pk(["vaults", "share", "work", &b.id, "--role", "writer"]).ok();
    until("the share is offered", || {
        let offers = b.json(["vaults", "scan", &a.id]);
        (offers[0]["vaultName"] == "work").then_some(())
    });
    b.pk(["vaults", "clone", "work", &a.id]).ok();
    (a, b)
}

#[test]
fn two_nodes_share_a_vault_both_write_and_one_is_taken_out() {
    let (a, b) = shared_pair();
    b.reads("work:db/PASSWORD", "one");
    // Changes go both ways by themselves.
    b.write("work:db/USER", "bob");
    a.comes_to_read("work:db/USER", "bob");
    a.write("work:db/USER", "alice");
    b.comes_to_read("work:db/USER", "alice");

    let members = a.json(["vaults", "members", "work"]);
    let role = |id: &str| {
        let members = members.as_array().expect("a list");
        let member = members.iter().find(|member| member["nodeIdEncoded"] == id);
        member.expect("a member")["role"].clone()
    };
    assert_eq!((role(&a.id), role(&b.id)), ("admin".into(), "writer".into()));
    let permissions = a.json(["vaults", "permissions", "work"]);
    assert_eq!(permissions[0]["nodeIdEncoded"], b.id);
    // Only an admin says who is in.
    b.pk(["vaults", "unshare", "work", &a.id]).ended(77).silent();

    // Taking out names what to rotate, and the list shrinks as the values change.
    let taken = a.pk(["vaults", "unshare", "work", &b.id]).ok();
    let paths: Vec<&str> = taken.text().lines().collect();
    assert_eq!(paths, ["db/PASSWORD", "db/USER"]);
    a.write("work:db/PASSWORD", "two");
    assert_eq!(a.pk(["vaults", "rotation", "work"]).ok().text(), "db/USER\n");
    a.write("work:db/USER", "carol");
    assert_eq!(a.pk(["vaults", "rotation", "work"]).ok().text(), "");

    // The one who is out gets nothing new and cannot come back.
    b.pk(["vaults", "pull", "work", &a.id]).ended(77);
    b.reads("work:db/PASSWORD", "one");
    assert_eq!(b.json(["vaults", "scan", &a.id]), serde_json::json!([]));
    a.pk(["vaults", "unshare", "work", &b.id]).ended(67);
}

#[test]
fn writes_without_each_other_stand_side_by_side_until_settled() {
    let (a, b) = shared_pair();
    a.stop();
    b.write("work:db/PASSWORD", "from b");
    b.stop();
    a.start();
    a.write("work:db/PASSWORD", "from a");
    b.start();
    let commit = until("the conflict is seen", || {
        let conflicts = a.json(["vaults", "conflicts", "work"]);
        let versions = conflicts[0]["versions"].as_array()?.clone();
        let by_b = versions.iter().find(|version| version["committer"] == b.id)?;
        Some(by_b["commitId"].as_str().expect("a text").to_owned())
    });
    a.pk(["vaults", "resolve", "work:db/PASSWORD", "--take", &commit])
        .ok();
    a.reads("work:db/PASSWORD", "from b");
    b.comes_to_read("work:db/PASSWORD", "from b");
    until("the conflict is gone", || {
        (b.json(["vaults", "conflicts", "work"]) == serde_json::json!([])).then_some(())
    });
}

#[test]
fn sharing_with_a_node_that_was_never_met_takes_effect_when_it_is_met() {
    let (a, b) = (Node::new(), Node::new());
    a.pk(["vaults", "create", "work"]).ok();
    a.write("work:x", "1");
    let shared = a.json(["vaults", "share", "work", &b.id]);
    assert_eq!(shared["pending"], true);
    assert_eq!(a.json(["vaults", "members", "work"])[1]["pending"], true);
    b.knows(&a);
    until("the share takes effect", || {
        let offers = b.json(["vaults", "scan", &a.id]);
        (offers[0]["vaultName"] == "work").then_some(())
    });
    b.pk(["vaults", "clone", "work", &a.id]).ok();
    b.reads("work:x", "1");
    b.home
        .pk_with_input(["secrets", "write", "work:x"], b"2")
        .ended(77);
}

#[test]
fn a_ticket_lets_in_one_node_once() {
    let (a, b, c) = (Node::new(), Node::new(), Node::new());
    a.pk(["vaults", "create", "work"]).ok();
    a.write("work:x", "1");
    let invited = a.json(["vaults", "invite", "work", "--role", "writer"]);
    let ticket = invited["ticket"].as_str().expect("a text");
    // The maker has no use for it, nor has anybody for a part of it.
    a.pk(["join", ticket]).ended(64);
    b.pk(["join", &ticket[..ticket.len() - 1]]).ended(65);
    let joined = b.home.pk_with_input(["join", "-", "--json"], ticket.as_bytes());
    assert_eq!(joined.ok().json()["vaultName"], "work");
    b.reads("work:x", "1");
    b.write("work:x", "2");
    a.comes_to_read("work:x", "2");
    let told = a.json(["notifications", "inbox", "read"]);
    assert_eq!(told[0]["notification"]["data"]["type"], "VaultJoined");
    assert_eq!(told[0]["notification"]["iss"], b.id);
    c.pk(["join", ticket]).ended(77);
    // Whoever was taken out does not come back by it.
    a.pk(["vaults", "unshare", "work", &b.id]).ok();
    b.pk(["join", ticket]).ended(77);
    // A bound one is for one node alone.
    let bound = a.json(["vaults", "invite", "work", "--to", &c.id]);
    let bound = bound["ticket"].as_str().expect("a text");
    b.pk(["join", bound]).ended(77);
    c.pk(["join", bound]).ok();
    c.reads("work:x", "2");
}

#[test]
fn messages_arrive_wait_and_are_kept_apart_from_those_of_strangers() {
    let (a, b) = pair();
    a.pk(["notifications", "send", &b.id, "hello\u{1b}[2J"]).ok();
    let inbox = b.json(["notifications", "inbox", "read", "--unread"]);
    let first = &inbox[0]["notification"];
    assert_eq!(first["data"]["message"], "hello\u{1b}[2J");
    assert_eq!(
        (&first["iss"], &first["isRead"]),
        (&a.id.clone().into(), &false.into())
    );
    let id = first["notificationIdEncoded"].as_str().expect("a text");
    // What somebody writes does not reach the terminal as it is.
    let shown = b.pk(["notifications", "inbox", "read"]).ok();
    assert!(!shown.text().contains('\u{1b}'), "{shown:#?}");
    assert_eq!(
        b.json(["notifications", "inbox", "read", "--unread"]),
        serde_json::json!([])
    );
    b.pk(["notifications", "inbox", "remove", id]).ok();
    b.pk(["notifications", "inbox", "remove", id]).ended(66);

    // Nobody is there: it waits, and arrives when there is somebody again.
    b.stop();
    a.pk(["notifications", "send", &b.id, "later"]).ok();
    let outbox = a.json(["notifications", "outbox", "read"]);
    assert_eq!(outbox[0]["notification"]["sub"], b.id);
    assert!(outbox[0]["taskMetadata"]["remainingRetries"].is_u64());
    b.start();
    until("the message arrives", || {
        let inbox = b.json(["notifications", "inbox", "read"]);
        (inbox[0]["notification"]["data"]["message"] == "later").then_some(())
    });
    until("the outbox is empty", || {
        (a.json(["notifications", "outbox", "read"]) == serde_json::json!([])).then_some(())
    });

    // A stranger's message lies in a box of its own.
    let c = Node::new();
    c.knows(&a);
    c.pk(["notifications", "send", &a.id, "buy my things"]).ok();
    assert_eq!(a.json(["notifications", "inbox", "read"]), serde_json::json!([]));
    let strangers = a.json(["notifications", "inbox", "read", "--strangers"]);
    assert_eq!(strangers[0]["notification"]["data"]["message"], "buy my things");
    // A node that is blocked leaves nothing anywhere.
    a.pk(["notifications", "inbox", "clear", "--strangers"]).ok();
    a.pk(["nodes", "block", &c.id]).ok();
    c.pk(["notifications", "send", &a.id, "once more"]);
    assert_eq!(
        a.json(["notifications", "inbox", "read", "--strangers"]),
        serde_json::json!([])
    );
}

#[test]
fn a_folder_is_carried_by_hand_both_ways() {
    let (a, b) = pair();
    a.pk(["vaults", "create", "work"]).ok();
    a.write("work:x", "one");
    a.pk(["vaults", "share", "work", &b.id, "--role", "writer"]).ok();
    until("B was told", || {
        let inbox = b.json(["notifications", "inbox", "read"]);
        (inbox[0]["notification"]["data"]["type"] == "VaultShare").then_some(())
    });
    // From here on they never meet.
    b.stop();
    let stick = tempfile::tempdir().expect("a temporary folder");
    let stick = stick.path().to_str().expect("a text");
    a.pk(["vaults", "replicas", "add", "work", stick]).ok();
    a.stop();
    b.start();
    b.pk(["vaults", "clone", "--from", stick]).ok();
    b.reads("work:x", "one");
    b.write("work:x", "two");
    b.pk(["vaults", "replicas", "sync", "work"]).ok();
    b.stop();
    a.start();
    let reports = a.json(["vaults", "replicas", "sync", "work"]);
    assert_eq!(reports["reports"][0]["problem"], Value::Null, "{reports}");
    a.reads("work:x", "two");
    let status = a.json(["vaults", "status", "work"]);
    assert_eq!(status["ciphertextCopies"], 1);
    // Somebody who is no member can do nothing with it.
    let c = Node::new();
    c.pk(["vaults", "clone", "--from", stick]).ended(77);
    assert_eq!(c.json(["vaults", "list"]), serde_json::json!([]));
    a.pk(["vaults", "replicas", "remove", "work", stick]).ok();
    a.pk(["vaults", "replicas", "sync", "work", stick]).ended(66);
}

#[test]
fn wrong_nodes_vaults_and_roles_are_told_apart() {
    let a = Node::new();
    a.pk(["vaults", "create", "work"]).ok();
    let own = a.id.clone();
    let stranger = "v0000000000000000000000000000000000000000000000000000";
    a.pk(["vaults", "share", "none", stranger]).ended(66);
    a.pk(["vaults", "share", "work", "nobody"]).ended(67);
    a.pk(["vaults", "share", "work", "github:bob"]).ended(67);
    a.pk(["vaults", "share", "work", &own]).ended(64);
    a.pk(["vaults", "share", "work", stranger, "--role", "king"])
        .ended(64);
    a.pk(["vaults", "unshare", "work", stranger]).ended(67);
    a.pk(["vaults", "invite", "work", "--expires", "soon"]).ended(64);
    a.pk(["vaults", "replicas", "add", "none", "/tmp"]).ended(66);
    a.pk(["vaults", "replicas", "remove", "work", "/nowhere"])
        .ended(66);
    a.pk(["join", "z123"]).ended(65);
    a.pk(["join"]).ended(64);
    a.pk(["notifications", "send", stranger, ""]).ended(64);
    a.pk(["notifications", "send", "nobody", "x"]).ended(67);
    a.pk(["notifications", "inbox", "remove", "00"]).ended(66);
    a.pk(["vaults", "clone", "--from", "/nowhere/at/all"]).ended(74);
    a.pk(["vaults", "clone"]).ended(64);
}

#[test]
fn two_nodes_that_are_never_online_together_meet_in_a_keeper() {
    let (a, k) = pair();
    let c = Node::new();
    for (one, other) in [(&a, &c), (&c, &a), (&c, &k), (&k, &c)] {
        one.knows(other);
    }
    a.pk(["vaults", "create", "work"]).ok();
    a.write("work:x", "one");
    a.pk(["vaults", "share", "work", &c.id, "--role", "writer"]).ok();
    a.pk(["vaults", "replicas", "add", "work", &k.id]).ok();
    until("C was told", || {
        let inbox = c.json(["notifications", "inbox", "read"]);
        (inbox[0]["notification"]["data"]["type"] == "VaultShare").then_some(())
    });
    c.stop();
    until("the keeper has it", || {
        let status = a.json(["vaults", "status", "work"]);
        let copies = status["copies"].as_array()?;
        let keeper = copies.iter().find(|copy| copy["kind"] == "keeper")?;
        (keeper["fresh"] == true).then_some(())
    });
    // It holds ciphertext and shows no vault.
    assert_eq!(k.json(["vaults", "list"]), serde_json::json!([]));
    a.stop();
    c.start();
    c.pk(["vaults", "clone", "work", &k.id]).ok();
    c.reads("work:x", "one");
    c.write("work:x", "two");
    c.pk(["vaults", "sync", "work"]).ok();
    c.stop();
    a.start();
    a.comes_to_read("work:x", "two");
}
