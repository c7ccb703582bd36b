//! Two and three nodes on loopback: clone, pull, following, blocks, crashes.

use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::Value;

use crate::home::{Home, run};
use crate::node::{Node, eventually};

#[test]
fn nodes_are_known_named_found_and_blocked() {
    let (alice, bob) = (Node::new(), Node::new());
    assert_eq!(alice.status()["agentHost"], "127.0.0.1");
    assert_eq!(alice.status()["nodesTotal"], 1);
    alice.meets(&bob);
    alice.pk(["nodes", "name", &bob.id, "bob"]).ok();
    assert_eq!(
        alice.pk(["nodes", "ping", "bob", "--json"]).ok().json()["success"],
        true
    );
    let found = alice.pk(["nodes", "find", "bob", "--json"]).ok().json();
    assert_eq!(found["nodeIdEncoded"], bob.id);
    assert_eq!(
        (&found["connected"], &found["trusted"]),
        (&Value::Bool(true), &Value::Bool(true))
    );
    let connection = alice.json(["nodes", "connections"])[0].clone();
    assert_eq!(
        (&connection["path"], &connection["postQuantum"]),
        (&"direct".into(), &true.into())
    );
    assert_eq!(connection["petname"], "bob");
    // Nodes are counted: both may have dialled.
    assert_eq!(alice.status()["connectionsActive"], 1);
    assert_eq!(alice.status()["nodesTotal"], 2);
    alice.pk(["doctor", "--network", "bob"]).ok();

    bob.pk(["nodes", "block", &alice.id]).ok();
    eventually("the block cuts the connection", || {
        alice.pk(["nodes", "ping", "bob"]).code == 1
    });
    alice.pk(["vaults", "scan", "bob"]).ended(68);
    bob.pk(["nodes", "unblock", &alice.id]).ok();
    alice.pk(["nodes", "ping", "bob"]).ok();

    for (args, code) in [
        (["nodes", "add", "nonsense", "127.0.0.1", "5"], 64),
        (["nodes", "add", &bob.id, "no-address", "5"], 64),
        (["nodes", "add", &bob.id, "127.0.0.1", "0"], 64),
    ] {
        alice.pk(args).ended(code);
    }
    alice.pk(["nodes", "name", &bob.id, "github:bob"]).ended(65);
    alice.pk(["nodes", "find", "carol"]).ended(67);
    alice
        .pk(["nodes", "find", "github:carol"])
        .ended(67)
        .says("is no identity");
    alice.pk(["nodes", "find", &alice.id]).ended(64);
    let nobody = "v0000000000000000000000000000000000000000000000000000";
    let pinged = alice.pk(["nodes", "ping", nobody, "--json"]).ended(1);
    assert_eq!(pinged.json()["success"], false);
    let why = alice.pk(["doctor", "--network", nobody]).ended(1);
    assert!(why.text().contains("nodes add"), "{why:?}");
}

#[test]
fn a_vault_is_cloned_and_followed_through_a_third_node() {
    let (alice, bob, carol) = (Node::new(), Node::new(), Node::new());
    alice.meets(&bob);
    alice.meets(&carol);
    bob.meets(&carol);
    alice.pk(["vaults", "create", "work"]).ok();
    alice.write("work:first", "one");
    // What is not shared and what is not there read the same.
    let unshared = bob.pk(["vaults", "clone", "work", &alice.id]).ended(77).stderr;
    let missing = bob.pk(["vaults", "clone", "none", &alice.id]).ended(77).stderr;
    assert_eq!(unshared.replace("work", "none"), missing);
    alice.shares("work", &bob, "writer");
    alice.shares("work", &carol, "reader");
    for node in [&bob, &carol] {
        node.pk(["vaults", "clone", "work", &alice.id]).ok();
        assert!(node.has("work:first", "one"));
        node.pk(["vaults", "clone", "work", &alice.id]).ended(73);
    }
    carol
        .pk_with_input(["secrets", "write", "work:mine"], b"no")
        .ended(77);

    // Changes reach the others by themselves.
    alice.write("work:second", "two");
    eventually("a change arrives", || {
        bob.has("work:second", "two") && carol.has("work:second", "two")
    });
    bob.write("work:third", "three");
    eventually("a change comes back", || alice.has("work:third", "three"));

    // From one to another through a third, while the first is gone.
    alice.pk(["agent", "stop"]).ok();
    bob.write("work:fourth", "four");
    eventually("a change passes by", || carol.has("work:fourth", "four"));
    bob.pk(["agent", "stop"]).ok();
    alice.start();
    eventually("a change is passed on", || alice.has("work:fourth", "four"));
    carol.pk(["vaults", "pull", "work"]).ok();
    bob.start();
    eventually("those that were away come back", || alice.paths().len() >= 2);
    alice.pk(["vaults", "sync", "work"]).ok();

    // Whoever is taken out is told, keeps what it had, and gets no more.
    alice.pk(["vaults", "unshare", "work", &bob.id]).ok();
    eventually("the removal arrives", || {
        bob.pk(["vaults", "pull", "work"]).code == 77
    });
    alice.write("work:fifth", "five");
    eventually("a member gets it", || carol.has("work:fifth", "five"));
    bob.pk(["secrets", "cat", "work:fifth"]).ended(66);
    assert!(bob.has("work:fourth", "four"));
    bob.pk(["vaults", "scan", &alice.id, "--json"]).ended(77);

    let audit = alice.pk(["audit", "--events", "peer", "--json"]).ok();
    assert!(audit.text().contains(&bob.id) && audit.text().contains("peer.pull"));
    for node in [&alice, &bob, &carol] {
        assert_eq!(node.status()["status"], "LIVE");
    }
}

#[test]
fn a_clone_goes_on_after_either_side_is_killed() {
    let (alice, bob) = (Node::new(), Node::new());
    bob.meets(&alice);
    alice.meets(&bob);
    alice.pk(["vaults", "create", "work"]).ok();
    let large: PathBuf = alice.home.path().join("large");
    std::fs::write(&large, vec![7; 48 << 20]).expect("room");
    alice
        .pk(["secrets", "create", large.to_str().expect("text"), "work:large"])
        .ok();
    alice.write("work:small", "value");
    alice.shares("work", &bob, "writer");
    for killed in [&bob, &alice] {
        let mut clone = bob.command(["vaults", "clone", "work", &alice.id]);
        let mut clone = clone.spawn().expect("runs");
        eventually("something has come", || bob.size() > 2 << 20);
        killed.home.signal(Signal::KILL);
        let _ = clone.wait();
        let list = bob.pk(["vaults", "list"]);
        assert!(
            !list.text().contains("work") || bob.has("work:small", "value"),
            "nothing half is seen"
        );
        for node in [&alice, &bob] {
            node.pk(["agent", "status"]).ok();
            if node.status()["status"] == "DEAD" {
                node.start();
            }
        }
        if bob.pk(["vaults", "list"]).text().contains("work") {
            break;
        }
    }
    // Either the clone is asked for again, or it has come to its end by itself.
    eventually("the clone comes to its end", || {
        matches!(bob.pk(["vaults", "clone", "work", &alice.id]).code, 0 | 73)
    });
    assert!(bob.has("work:small", "value"));
    assert_eq!(
        bob.pk(["secrets", "cat", "work:large"]).ok().stdout.len(),
        48 << 20
    );
    bob.pk(["doctor"]).ok();
}

#[test]
fn locking_leaves_the_network_and_unlocking_comes_back() {
    let (alice, bob) = (Node::new(), Node::new());
    alice.meets(&bob);
    let port = bob.status()["agentPort"].clone();
    bob.pk(["agent", "lockall"]).ok();
    assert_eq!(bob.status().get("agentPort"), None);
    alice.pk(["nodes", "ping", &bob.id]).ended(1);
    bob.pk(["agent", "unlock"]).ok();
    assert_eq!(bob.status()["agentPort"], port, "where others know it");
    alice.pk(["nodes", "ping", &bob.id]).ok();
    // A port that the user wants and cannot have is an error; any other is no reason not to start.
    let taken = port.as_u64().expect("a port").to_string();
    let home = Home::empty();
    let mut command = home.command(["agent", "start", "--background", "--agent-port", &taken]);
    command.env("PK_AGENT_HOST", "127.0.0.1");
    run(command, b"").ended(75).says(&taken);
}
