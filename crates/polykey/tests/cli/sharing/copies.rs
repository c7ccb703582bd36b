//! Copies that nobody reads: folders and keepers.

use serde_json::Value;

use crate::node::{Node, pair, until};

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
