//! New keys: who follows a node to them, and who does not.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::home::{Home, PASSWORD, run};
use crate::node::{Node, eventually};

/// A node whose keys can be renewed.
struct Renewable {
    node: Node,
    code: String,
}

impl Renewable {
    fn new() -> Renewable {
        let home = Home::empty();
        let bootstrap = ["bootstrap", "--recovery-code-out-file", "code"];
        home.pk(bootstrap).ok();
        let code = std::fs::read_to_string(home.path().join("code")).expect("written");
        let node = Node::in_home(home);
        let code = code.trim().to_owned();
        Renewable { node, code }
    }

    /// Gives the node new keys by `keys renew` or `keys reset`; its id before.
    fn change_keys(&mut self, command: &str) -> String {
        let mut renew = self.node.command(["keys", command, "--json"]);
        renew
            .env("PK_PASSWORD_NEW", PASSWORD)
            .env("PK_RECOVERY_CODE", &self.code);
        let renewed = run(renew, b"").ok().json();
        let text = |name: &str| renewed[name].as_str().expect("a text").to_owned();
        self.code = text("recoveryCode");
        std::mem::replace(&mut self.node.id, text("nodeId"))
    }
}

/// Ids and roles of the members of `work`.
fn members(node: &Node) -> BTreeMap<String, String> {
    let members = node.json(["vaults", "members", "work"]);
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let members = members.as_array().expect("a list").iter();
    members
        .map(|member| (text(&member["nodeIdEncoded"]), text(&member["role"])))
        .collect()
}

/// What the agent of `node` told of nodes with new keys: the new and the former id of each.
fn told_of(node: &Node) -> Vec<(String, String)> {
    let inbox = node.json(["notifications", "inbox", "read", "--order", "oldest"]);
    let mails = inbox.as_array().expect("a list").iter();
    let mails = mails.map(|item| &item["notification"]);
    mails
        .filter(|mail| mail["data"]["type"] == "NodeSucceeded")
        .map(|mail| {
            let text = |value: &Value| value.as_str().expect("a text").to_owned();
            (text(&mail["iss"]), text(&mail["data"]["formerNodeId"]))
        })
        .collect()
}

/// A, whose keys can be renewed, and B, who calls it `anna` and writes in its vault `work`.
fn renewable_pair() -> (Renewable, Node) {
    let (a, b) = (Renewable::new(), Node::new());
    a.node.knows(&b);
    b.knows(&a.node);
    b.pk(["nodes", "name", &a.node.id, "anna"]).ok();
    a.node.pk(["vaults", "create", "work"]).ok();
    a.node.write("work:x", "one");
    a.node.shares("work", &b, "writer");
    b.pk(["vaults", "clone", "work", "anna"]).ok();
    (a, b)
}

#[test]
fn whoever_renews_its_keys_is_followed_without_a_command_and_its_old_key_is_refused() {
    let (mut a, b) = renewable_pair();
    // Somebody copies the node before.
    a.node.stop();
    let thief = Home::empty();
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .args([a.node.home.node(), thief.node()])
        .status();
    assert!(copied.expect("cp runs").success());
    a.node.start();
    a.node.write("work:x", "two");
    b.comes_to_read("work:x", "two");

    let first = a.change_keys("renew");
    let second = a.node.id.clone();
    a.node.write("work:x", "three");
    b.comes_to_read("work:x", "three");
    b.write("work:y", "from b");
    a.node.comes_to_read("work:y", "from b");
    let roles = [
        (second.clone(), "admin".to_owned()),
        (b.id.clone(), "writer".to_owned()),
    ];
    for node in [&a.node, &b] {
        assert_eq!(members(node), BTreeMap::from(roles.clone()));
    }
    assert_eq!(told_of(&b), [(second.clone(), first.clone())]);
    assert_eq!(b.json(["nodes", "find", "anna"])["nodeIdEncoded"], second);

    // Twice while B is away, and it follows all the same.
    b.stop();
    a.change_keys("renew");
    a.change_keys("renew");
    a.node.write("work:x", "four");
    b.start();
    b.comes_to_read("work:x", "four");
    b.write("work:y", "again");
    a.node.comes_to_read("work:y", "again");
    assert_eq!(members(&b).get(&a.node.id).map(String::as_str), Some("admin"));
    assert_eq!(members(&b).len(), 2);
    assert_eq!(b.json(["nodes", "find", "anna"])["nodeIdEncoded"], a.node.id);
    let told = told_of(&b);
    assert_eq!((told.len(), &told[1].0), (2, &a.node.id));

    // The copy has a key that nobody listens to any more.
    let thief = Node::in_home(thief);
    assert_eq!(thief.id, first);
    thief.knows(&b);
    thief.write("work:x", "stolen");
    thief.pk(["vaults", "pull", "work", &b.id]).ended(68);
    b.reads("work:x", "four");
    a.node.stop();
    a.node.start();
    a.node.reads("work:x", "four");
}

#[test]
fn whoever_resets_its_keys_is_a_stranger() {
    let (mut a, b) = renewable_pair();
    let old = a.change_keys("reset");
    a.node.write("work:x", "two");
    a.node.pk(["vaults", "pull", "work", &b.id]).ended(77);
    b.reads("work:x", "one");
    assert_eq!(members(&b).get(&old).map(String::as_str), Some("admin"));
    assert!(!members(&b).contains_key(&a.node.id));
    // What it holds, it holds under its former id, which is no copy elsewhere.
    let own = a.node.json(["vaults", "members", "work"]);
    let mut own = own.as_array().expect("a list").iter();
    assert!(own.any(|member| member["nodeIdEncoded"] == old && member["thisNode"] == true));
    let status = a.node.json(["vaults", "status", "work"]);
    let copies = status["copies"].as_array().expect("a list");
    assert!(copies.iter().all(|copy| copy["place"] == b.id), "{status}");
    assert_eq!(told_of(&b), []);
}

#[test]
fn a_keeper_that_renews_its_keys_stays_one() {
    let (a, mut k) = (Node::new(), Renewable::new());
    a.knows(&k.node);
    k.node.knows(&a);
    a.pk(["vaults", "create", "work"]).ok();
    a.write("work:x", "one");
    a.pk(["vaults", "replicas", "add", "work", &k.node.id]).ok();
    let is_kept_by = |id: &str| {
        let status = a.json(["vaults", "status", "work"]);
        let mut copies = status["copies"].as_array().expect("a list").iter();
        copies.any(|copy| copy["place"] == id && copy["kind"] == "keeper" && copy["fresh"] == true)
    };
    eventually("the keeper has it", || is_kept_by(&k.node.id));
    // What waits for it is for the node that it becomes.
    let bound = a.json(["vaults", "invite", "work", "--to", &k.node.id]);
    k.node.stop();
    a.pk(["notifications", "send", &k.node.id, "hello"]).ok();
    k.node.start();
    k.node.comes_to_be_told("General");
    k.node.stop();
    a.pk(["notifications", "send", &k.node.id, "again"]).ok();
    let old = k.change_keys("renew");
    a.write("work:x", "two");
    eventually("it keeps it by its new id", || is_kept_by(&k.node.id));
    let (admin, keeper) = (
        (a.id.clone(), "admin".to_owned()),
        (k.node.id.clone(), "keeper".to_owned()),
    );
    assert_eq!(members(&a), BTreeMap::from([admin, keeper]));
    let replicas = a.json(["vaults", "replicas", "list", "work"]);
    assert_eq!(replicas[0]["place"], k.node.id, "{old}: {replicas}");
    assert_eq!(replicas.as_array().map(Vec::len), Some(1));
    eventually("the message arrives", || {
        let inbox = k.node.json(["notifications", "inbox", "read"]);
        let mut inbox = inbox.as_array().expect("a list").iter();
        inbox.any(|item| item["notification"]["data"]["message"] == "again")
    });
    // A letter of the keeper from before arrives, too, and so does the keeper with its ticket.
    let ticket = bound["ticket"].as_str().expect("a text");
    k.node.pk(["join", ticket]).ok();
    k.node.reads("work:x", "two");
}
