//! Who is in a vault, and what its members do to each other's changes.

use crate::node::{Node, eventually, pair, until};

/// Two nodes that know each other, with a vault `work` of A in which B writes.
fn shared_pair() -> (Node, Node) {
    let (a, b) = pair();
    a.pk(["vaults", "create", "work"]).ok();
    a.write("work:db/PASSWORD", "one");
    a.lets_in(&b);
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

    assert_eq!(a.role_of(&a, "work").as_deref(), Some("admin"));
    assert_eq!(a.role_of(&b, "work").as_deref(), Some("writer"));
    let permissions = a.json(["vaults", "permissions", "work"]);
    assert_eq!(permissions[0]["nodeIdEncoded"], b.id);
    // Only an admin says who is in.
    b.pk(["vaults", "unshare", "work", &a.id]).ended(77).silent();

    // What the other calls it may be named, and nothing else.
    a.pk(["vaults", "create", "other"]).ok();
    a.pk(["vaults", "share", "other", &b.id]).ok();
    b.pk(["vaults", "pull", "work", &a.id, "-pv", "work"]).ok();
    b.pk(["vaults", "pull", "work", &a.id, "--pull-vault", "other"])
        .ended(64);
    b.pk(["vaults", "pull", "work", &a.id, "--pull-vault", "nothing"])
        .ended(77);
    b.pk(["vaults", "pull", "work", "--pull-vault", "work"]).ended(64);
    a.pk(["vaults", "unshare", "other", &b.id]).ok();

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
    b.pk(["vaults", "scan", &a.id]).ended(77);
    a.pk(["vaults", "unshare", "work", &b.id]).ended(67);
    // Whom the user allows to ask is told that there is nothing.
    a.pk(["identities", "allow", &b.id, "scan"]).ok();
    assert_eq!(b.json(["vaults", "scan", &a.id]), serde_json::json!([]));
    a.pk(["identities", "disallow", &b.id, "scan"]).ok();
    b.pk(["vaults", "scan", &a.id]).ended(77);
}

#[test]
fn a_reader_that_became_a_keeper_leaves_what_it_read_to_be_rotated() {
    let (a, b) = shared_pair();
    a.pk(["vaults", "share", "work", &b.id, "--role", "keeper"]).ok();
    let taken = a.pk(["vaults", "unshare", "work", &b.id]).ok();
    let rotate = a.pk(["vaults", "rotation", "work"]).ok();
    assert!(!taken.text().is_empty());
    assert_eq!(taken.text(), rotate.text());
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
    eventually("the conflict is gone", || {
        b.json(["vaults", "conflicts", "work"]) == serde_json::json!([])
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
    b.comes_to_be_offered("work", &a);
    b.pk(["vaults", "clone", "work", &a.id]).ok();
    b.reads("work:x", "1");
    b.pk_with_input(["secrets", "write", "work:x"], b"2").ended(77);
}

#[test]
fn wrong_nodes_vaults_and_roles_are_told_apart() {
    let a = Node::new();
    a.pk(["vaults", "create", "work"]).ok();
    let own = a.id.clone();
    let stranger = "v0000000000000000000000000000000000000000000000000000";
    a.pk(["vaults", "share", "none", stranger]).ended(66);
    a.pk(["vaults", "share", "work", "nobody"]).ended(67);
    a.pk(["vaults", "share", "work", "github:bob"]).ended(64);
    a.pk(["vaults", "share", "work", "github.com:bob"]).ended(67);
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
