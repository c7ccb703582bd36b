//! A node whose disk is lost, and comes back from its recovery code.

use serde_json::{Value, json};

use crate::home::{Home, run};
use crate::node::{Node, eventually};

/// A node, and its recovery code.
struct Lost {
    node: Node,
    code: String,
}

impl Lost {
    fn new() -> Lost {
        let home = Home::empty();
        home.pk(["bootstrap", "--recovery-code-out-file", "code"]).ok();
        let code = std::fs::read_to_string(home.path().join("code")).expect("written");
        Lost {
            node: Node::in_home(home),
            code,
        }
    }

    /// Gives the node new keys, and so a new id and a new code.
    fn renew(&mut self) {
        let mut renew = self.node.command(["keys", "renew", "--json"]);
        renew
            .env("PK_RECOVERY_CODE", &self.code)
            .env("PK_PASSWORD_NEW", crate::home::PASSWORD);
        let renewed = run(renew, b"").ok().json();
        self.node.id = renewed["nodeId"].as_str().expect("an id").to_owned();
        self.code = renewed["recoveryCode"].as_str().expect("shown").to_owned();
    }

    /// Loses the disk: a node on an empty one, made from the code.
    fn again(self) -> (Node, String) {
        let id = self.node.id.clone();
        self.node.kill();
        drop(self.node);
        let node = from_code(&self.code);
        assert_eq!(node.id, id);
        let file = node.home.path().join("code");
        (node, file.to_str().expect("text").to_owned())
    }
}

fn from_code(code: &str) -> Node {
    let home = Home::empty();
    std::fs::write(home.path().join("code"), code).expect("writes");
    home.pk(["bootstrap", "--recovery-code-file", "code"]).ok();
    Node::in_home(home)
}

fn resume(node: &Node, file: &str) -> Value {
    node.json(["recovery", "resume", "--recovery-code-file", file])
}

fn claims(of: &Node, by: &Node) -> Vec<String> {
    let claims = by.json(["nodes", "claims", &of.id]);
    let claims = claims.as_array().expect("a list").iter();
    claims
        .map(|claim| claim["type"].as_str().expect("a text").to_owned())
        .collect()
}

/// Stops and starts, so that nothing of the recovery code is left in memory.
fn restart(node: &Node) {
    node.stop();
    node.start();
}

#[test]
fn a_node_reads_its_vaults_again_from_its_code_and_a_reader() {
    let (lost, bob) = (Lost::new(), Node::new());
    lost.node.knows(&bob);
    bob.knows(&lost.node);
    lost.node.pk(["vaults", "create", "work"]).ok();
    lost.node.write("work:x", "1");
    lost.node.shares("work", &bob, "reader");
    bob.pk(["vaults", "clone", "work", &lost.node.id]).ok();
    let (new, code) = lost.again();
    new.pk(["recovery", "resume", "--recovery-code-file", &code])
        .ended(64);
    new.knows(&bob);
    let resumed = resume(&new, &code);
    assert_eq!(resumed["vaults"], json!(["work"]));
    assert_eq!(resumed["continued"], true);
    new.reads("work:x", "1");
    new.write("work:y", "2");
    bob.comes_to_read("work:y", "2");
    assert_eq!(claims(&new, &bob), ["start", "resume", "key-record"]);
    restart(&new);
    new.reads("work:x", "1");
    new.write("work:y", "3");
    bob.comes_to_read("work:y", "3");
    assert_eq!(bob.json(["vaults", "set-aside", "work"]), json!([]));
    // Once more does no harm.
    assert_eq!(resume(&new, &code)["continued"], false);
    new.reads("work:y", "3");
}

#[test]
fn an_admin_seals_to_the_new_device_of_a_member_that_came_back() {
    let (alice, lost) = (Node::new(), Lost::new());
    alice.knows(&lost.node);
    lost.node.knows(&alice);
    alice.shares_work_with(&lost.node);
    lost.node.write("work:y", "mine");
    alice.comes_to_read("work:y", "mine");
    let (new, code) = lost.again();
    new.knows(&alice);
    assert_eq!(resume(&new, &code)["vaults"], json!(["work"]));
    new.reads("work:y", "mine");
    restart(&new);
    alice.write("work:x", "2");
    new.comes_to_read("work:x", "2");
    new.write("work:y", "again");
    alice.comes_to_read("work:y", "again");
}

#[test]
fn devices_find_each_other_again() {
    let (lost, phone) = (Lost::new(), Node::new());
    lost.node.pk(["vaults", "create", "work"]).ok();
    lost.node.write("work:x", "1");
    let ticket = lost.node.json(["devices", "pair", "--name", "laptop"]);
    let ticket = ticket["ticket"].as_str().expect("a text");
    phone.pk(["devices", "join", ticket, "--name", "phone"]).ok();
    phone.comes_to_read("work:x", "1");
    let (new, code) = lost.again();
    new.knows(&phone);
    assert_eq!(resume(&new, &code)["vaults"], json!(["work"]));
    new.reads("work:x", "1");
    let count = |node: &Node| node.json(["devices", "list"]).as_array().map(Vec::len);
    eventually("both know both", || {
        count(&new) == Some(2) && count(&phone) == Some(2)
    });
    phone.pk(["vaults", "create", "later"]).ok();
    phone.write("later:y", "2");
    new.comes_to_read("later:y", "2");
}

#[test]
fn a_keeper_of_ciphertext_brings_everything_back() {
    let (lost, keeper) = (Lost::new(), Node::new());
    lost.node.knows(&keeper);
    keeper.knows(&lost.node);
    lost.node.pk(["vaults", "create", "work"]).ok();
    lost.node.write("work:x", "1");
    lost.node
        .pk(["vaults", "replicas", "add", "work", &keeper.id])
        .ok();
    lost.node.pk(["vaults", "sync", "work"]).ok();
    let (new, code) = lost.again();
    new.knows(&keeper);
    let resumed = resume(&new, &code);
    // A keeper does not know what a vault is called.
    let name = resumed["vaults"][0].as_str().expect("one came").to_owned();
    new.reads(&format!("{name}:x"), "1");
    restart(&new);
    new.reads(&format!("{name}:x"), "1");
}

#[test]
fn nothing_is_said_before_it_is_settled_who_the_node_was() {
    let (lost, bob, other) = (Lost::new(), Node::new(), Lost::new());
    lost.node.knows(&bob);
    bob.knows(&lost.node);
    lost.node.pk(["nodes", "ping", &bob.id]).ok();
    eventually("it is known", || claims(&lost.node, &bob) == ["start"]);
    let foreign = other.node.home.path().join("code");
    let (new, code) = lost.again();
    new.knows(&bob);
    for refused in [
        &["identities", "invite", &bob.id][..],
        &["nodes", "claim", &bob.id],
        &["devices", "pair"],
    ] {
        new.pk(refused.iter().copied()).ended(77).says("recovery resume");
    }
    let resume_with =
        |file: &str, who: &str| new.pk(["recovery", "resume", who, "--recovery-code-file", file]);
    resume_with(foreign.to_str().expect("text"), &bob.id).ended(77);
    // Who never met it does not know it.
    new.knows(&other.node);
    resume_with(&code, &other.node.id).ended(67);
    resume_with(&code, "nobody").ended(67);
    new.pk(["recovery", "resume", "--new", "--recovery-code-file", &code])
        .ended(64);
    // What it said before is not lost by the attempts.
    assert_eq!(claims(&new, &bob), ["start"]);
    assert_eq!(resume(&new, &code)["continued"], true);
    new.pk(["identities", "invite", &bob.id]).ok();
}

#[test]
fn a_second_beginning_gives_way_when_somebody_remembers() {
    let (lost, bob, later) = (Lost::new(), Node::new(), Node::new());
    lost.node.knows(&bob);
    bob.knows(&lost.node);
    lost.node.pk(["vaults", "create", "work"]).ok();
    lost.node.write("work:x", "1");
    lost.node.shares("work", &bob, "writer");
    bob.pk(["vaults", "clone", "work", &lost.node.id]).ok();
    lost.node.pk(["identities", "claim", "example.com"]).ok();
    let before = ["start", "link-identity"];
    eventually("it is known", || claims(&lost.node, &bob) == before);
    let (new, code) = lost.again();
    // Nobody is known who could say whether it was somebody, and a claim is for everybody.
    new.pk(["identities", "claim", "example.org"])
        .ended(77)
        .says("recovery resume");
    new.pk(["recovery", "resume", "--new"]).ok();
    new.pk(["identities", "claim", "example.org"]).ok();
    later.knows(&new);
    new.knows(&later);
    eventually("it is known", || claims(&new, &later) == before);
    // Whoever remembers it keeps to that, and is told.
    let said = bob.json(["nodes", "claims", &new.id]);
    bob.knows(&new);
    new.meets(&bob);
    bob.comes_to_be_told("SigchainDoubt");
    assert_eq!(bob.json(["nodes", "claims", &new.id]), said);
    let resumed = resume(&new, &code);
    assert_eq!(resumed["continued"], true);
    assert_eq!(resumed["vaults"], json!(["work"]));
    new.reads("work:x", "1");
    let want = ["start", "link-identity", "resume", "key-record"];
    for node in [&new, &bob, &later] {
        eventually("all take it", || claims(&new, node) == want);
    }
    bob.write("work:x", "2");
    new.comes_to_read("work:x", "2");
    restart(&new);
    new.write("work:y", "3");
    bob.comes_to_read("work:y", "3");
    assert_eq!(resume(&new, &code)["continued"], false);
}

#[test]
fn two_that_both_have_new_keys_find_each_other_again() {
    let (mut one, mut other) = (Lost::new(), Lost::new());
    one.node.meets(&other.node);
    other.node.meets(&one.node);
    for (by, of) in [(&one, &other), (&other, &one)] {
        eventually("it is known", || claims(&of.node, &by.node) == ["start"]);
    }
    let formers = [one.node.id.clone(), other.node.id.clone()];
    // Each renews while the other is away.
    other.node.stop();
    one.renew();
    one.node.stop();
    other.node.start();
    other.renew();
    one.node.start();
    // Whoever asks for the former id finds another node there; asking is not enough to be recognised.
    one.node
        .pk(["nodes", "ping", &formers[1]])
        .ended(1)
        .says("another node");
    one.node.comes_to_be_told("NodeSucceeded");
    other.node.comes_to_be_told("NodeSucceeded");
    one.node.pk(["nodes", "ping", &other.node.id]).ok();
    other.node.pk(["nodes", "ping", &one.node.id]).ok();
}

#[test]
fn one_with_new_keys_is_found_by_whoever_asks_for_the_former() {
    let (asker, mut renewed) = (Node::new(), Lost::new());
    // The one that renews does not know where the asker is, so it dials nobody.
    asker.meets(&renewed.node);
    renewed.node.pk(["nodes", "name", &asker.id, "asker"]).ok();
    eventually("it is known", || claims(&renewed.node, &asker) == ["start"]);
    let former = renewed.node.id.clone();
    renewed.renew();
    eventually("it is recognised", || {
        asker.pk(["nodes", "ping", &former]);
        let inbox = asker.json(["notifications", "inbox", "read"]);
        let mut inbox = inbox.as_array().expect("a list").iter();
        inbox.any(|item| item["notification"]["data"]["type"] == "NodeSucceeded")
    });
    asker.pk(["nodes", "ping", &renewed.node.id]).ok();
    // Reset keys are another node's, whoever asks.
    let next = renewed.node.id.clone();
    let mut reset = renewed.node.command(["keys", "reset"]);
    reset.env("PK_PASSWORD_NEW", crate::home::PASSWORD);
    run(reset, b"").ok();
    for _ in 0..2 {
        asker.pk(["nodes", "ping", &next]).ended(1).says("another node");
    }
}

#[test]
fn a_code_that_was_nobody_before_is_no_hindrance() {
    // Nobody is known who could remember it.
    let first = from_code(&new_code());
    first.pk(["devices", "pair"]).ok();
    let code = new_code();
    let renewed = from_code(&code);
    let mut renew = renewed.command(["keys", "renew"]);
    renew.env("PK_PASSWORD_NEW", "new").env("PK_RECOVERY_CODE", &code);
    run(renew, b"").ok();
    // Who is known does not remember it.
    let (second, bob) = (from_code(&new_code()), Node::new());
    second.knows(&bob);
    second.pk(["identities", "claim", "example.org"]).ok();
    assert_eq!(claims(&second, &second), ["start", "link-identity"]);
    // Who is known cannot be asked; then the user says so.
    let third = from_code(&new_code());
    third.knows(&bob);
    bob.stop();
    third.pk(["identities", "claim", "example.org"]).ended(77);
    third.pk(["recovery", "resume", "--new"]).ok();
    third.pk(["identities", "claim", "example.org"]).ok();
}

/// A code that no node has had here.
fn new_code() -> String {
    let home = Home::empty();
    home.pk(["bootstrap", "--recovery-code-out-file", "code"]).ok();
    std::fs::read_to_string(home.path().join("code")).expect("written")
}
