//! Copies that nobody reads: folders and keepers.

use serde_json::Value;

use crate::home::Home;
use crate::node::{Node, eventually, pair, until};

#[test]
fn a_folder_is_carried_by_hand_both_ways() {
    let (a, b) = pair();
    a.pk(["vaults", "create", "work"]).ok();
    a.write("work:x", "one");
    a.pk(["vaults", "share", "work", &b.id, "--role", "writer"]).ok();
    b.comes_to_be_told("VaultShare");
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
    c.comes_to_be_told("VaultShare");
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

/// What stands side by side in `work`: the versions of its only conflict, the winner first.
fn conflict(node: &Node) -> Vec<String> {
    let conflicts = node.json(["vaults", "conflicts", "work"]);
    let versions = conflicts[0]["versions"].as_array().into_iter().flatten();
    versions
        .map(|version| version["commitId"].as_str().expect("a text").to_owned())
        .collect()
}

#[test]
fn a_conflict_of_two_nodes_that_never_meet_is_seen_and_settled_through_a_keeper() {
    let (a, k) = pair();
    let c = Node::new();
    c.knows(&k);
    k.knows(&c);
    a.knows(&c);
    c.knows(&a);
    a.shares_work_with(&c);
    a.pk(["vaults", "replicas", "add", "work", &k.id]).ok();
    eventually("both have what there is, and the keeper too", || {
        let status = a.json(["vaults", "status", "work"]);
        status["freshCopies"] == 3
    });
    a.stop();
    c.pk(["vaults", "sync", "work"]).ok();
    c.stop();
    // From here on one of them is asleep while the other is awake.
    a.start();
    a.write("work:x", "of a");
    a.pk(["vaults", "sync", "work"]).ok();
    a.stop();
    // The keeper is away while C writes, so that C does not hear of what A wrote first.
    k.stop();
    c.start();
    c.write("work:x", "of c");
    k.start();
    let at_c = until("C sees the conflict", || {
        Some(conflict(&c)).filter(|versions| versions.len() == 2)
    });
    let winner = c.pk(["secrets", "cat", "work:x"]).ok().text().to_owned();
    c.pk(["vaults", "sync", "work"]).ok();
    c.stop();
    a.start();
    let at_a = until("A sees the conflict", || {
        Some(conflict(&a)).filter(|versions| versions.len() == 2)
    });
    assert_eq!(at_a, at_c);
    a.reads("work:x", &winner);
    a.pk(["vaults", "resolve", "work:x", "--take", &at_a[1]]).ok();
    let settled = a.pk(["secrets", "cat", "work:x"]).ok().text().to_owned();
    assert_ne!(settled, winner);
    a.pk(["vaults", "sync", "work"]).ok();
    a.stop();
    c.start();
    c.comes_to_read("work:x", &settled);
    assert_eq!(conflict(&c), [""; 0]);
    // The keeper carried all of it and can read none, however it asks.
    assert_eq!(k.json(["vaults", "list"]), serde_json::json!([]));
    k.pk(["vaults", "clone", "work", &c.id]).ended(73).says("no keys");
    k.pk(["secrets", "cat", "work:x"]).ended(66);
    assert_eq!(k.json(["vaults", "list"]), serde_json::json!([]));
    c.write("work:y", "still kept");
    c.pk(["vaults", "sync", "work"]).ok();
    c.stop();
    a.start();
    a.comes_to_read("work:y", "still kept");
}

#[test]
fn whoever_is_let_in_as_a_keeper_keeps_ciphertext_and_is_told_so() {
    let (a, k) = pair();
    let t = Node::new();
    a.pk(["vaults", "create", "work"]).ok();
    a.write("work:x", "one");
    a.shares("work", &k, "keeper");
    let cloned = k.pk(["vaults", "clone", "work", &a.id]).ok();
    cloned.says("keeper");
    let kept = |node: &Node| node.json(["vaults", "kept"])["vaults"].clone();
    let vault = a.json(["vaults", "list"])[0]["vaultIdEncoded"].clone();
    assert_eq!(kept(&k)[0]["vaultId"], vault);
    assert_eq!(kept(&k)[0]["askedBy"], a.id);
    let invited = a.json(["vaults", "invite", "work", "--role", "keeper"]);
    let ticket = invited["ticket"].as_str().expect("a text");
    t.pk(["join", ticket]).ok().says("keeper");
    assert_eq!(kept(&t)[0]["vaultId"], vault);
    let stick = tempfile::tempdir().expect("a temporary folder");
    let stick = stick.path().to_str().expect("a text");
    a.pk(["vaults", "replicas", "add", "work", stick]).ok();
    for (node, name) in [(&k, "work"), (&t, "work")] {
        assert_eq!(node.json(["vaults", "list"]), serde_json::json!([]));
        node.pk(["secrets", "cat", &format!("{name}:x")]).ended(66);
    }
    // Both are brought up to date as any keeper is.
    a.write("work:x", "two");
    a.pk(["vaults", "sync", "work"]).ok();
    eventually("both have it", || {
        a.json(["vaults", "status", "work"])["freshCopies"] == 4
    });
    // What a keeper does not hold any more does not come back from a folder as a vault that cannot be read.
    k.pk(["vaults", "drop", vault.as_str().expect("a text"), "--yes"])
        .ok();
    k.pk(["vaults", "clone", "--from", stick])
        .ended(77)
        .says("keeper");
    assert_eq!(k.json(["vaults", "list"]), serde_json::json!([]));
}

#[test]
fn a_keeper_without_room_is_told_so_when_it_clones() {
    let home = Home::empty();
    home.pk(["config", "set", "keeper.quota", "0"]).ok();
    let (a, k) = (Node::new(), Node::in_home(home));
    a.knows(&k);
    k.knows(&a);
    a.pk(["vaults", "create", "work"]).ok();
    a.shares("work", &k, "keeper");
    k.pk(["vaults", "clone", "work", &a.id])
        .ended(74)
        .says("keeper.quota");
    assert_eq!(k.json(["vaults", "kept"])["vaults"], serde_json::json!([]));
}
