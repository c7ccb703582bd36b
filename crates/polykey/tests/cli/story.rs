//! Two people from beginning to end: found by name, shared with, a new device, a lost device, a thief of a name, and a
//! lost disk.

use serde_json::json;

use crate::home::Home;
use crate::node::{Node, eventually};
use crate::servers::{NameServer, WebServer};

/// A home whose node will find these servers.
fn home(dns: &NameServer, web: &WebServer) -> Home {
    let home = Home::empty();
    for (name, value) in [
        ("identities.dns-server", dns.address()),
        ("identities.https-url", web.url()),
        ("identities.ca", web.authority()),
    ] {
        home.pk(["config", "set", name, &value]).ok();
    }
    home
}

/// The nodes and identities of somebody, as `node` sees it, in order.
fn gestalt(node: &Node, who: &str) -> Vec<String> {
    let shown = node.json(["identities", "get", who]);
    ["nodes", "identities"]
        .iter()
        .flat_map(|part| shown["gestalt"][part].as_object().expect("members").keys())
        .cloned()
        .collect()
}

fn state(node: &Node, who: &str) -> String {
    let shown = node.pk(["identities", "verify", who, "--json"]).json();
    shown[0]["state"].as_str().expect("a text").to_owned()
}

#[test]
fn two_people_find_share_lose_and_come_back() {
    let (Some(mut dns), Some(web)) = (NameServer::start(&[]), WebServer::start()) else {
        return;
    };
    let place = home(&dns, &web);
    place.pk(["bootstrap", "--recovery-code-out-file", "code"]).ok();
    let code = std::fs::read_to_string(place.path().join("code")).expect("written");
    let laptop = Node::in_home(place);
    let [phone, bob, mallory] = [(); 3].map(|()| Node::in_home(home(&dns, &web)));
    laptop.meets(&bob);
    bob.meets(&laptop);

    // Each says who they are, where everybody can look.
    let claimed = laptop.json(["identities", "claim", "alice.example"]);
    let record = claimed["record"].as_str().expect("a record").to_owned();
    dns.change(&[&record]);
    let claimed = bob.json(["identities", "claim", "https:bob.example"]);
    web.publish("bob.example", claimed["line"].as_str().expect("a line"));

    // Each finds the other, from either end: by the name, and by the node.
    for (seeker, names, whole) in [
        (
            &bob,
            ["alice.example", &*laptop.id],
            [&*laptop.id, "dns:alice.example"],
        ),
        (
            &laptop,
            ["https:bob.example", &*bob.id],
            [&*bob.id, "https:bob.example"],
        ),
    ] {
        for name in names {
            seeker.pk(["identities", "discover", name, "--monitor"]).ok();
            assert_eq!(gestalt(seeker, name), whole);
        }
        seeker.pk(["identities", "trust", names[0]]).ok();
    }

    // Bob shares with Alice by her name.
    bob.pk(["vaults", "create", "work"]).ok();
    bob.write("work:x", "1");
    bob.pk([
        "vaults",
        "share",
        "work",
        "alice.example",
        "--role",
        "writer",
        "--yes",
    ])
    .ok();
    laptop.comes_to_be_offered("work", &bob);
    laptop.pk(["vaults", "clone", "work", &bob.id]).ok();
    laptop.write("work:alice", "hers");
    bob.comes_to_read("work:alice", "hers");

    // A new device of hers has it, by two commands of hers and none of his.
    let pairing = laptop.json(["devices", "pair", "--name", "laptop"]);
    let ticket = pairing["ticket"].as_str().expect("a text");
    phone.pk(["devices", "join", ticket, "--name", "phone"]).ok();
    phone.comes_to_read("work:x", "1");
    bob.comes_to_be_told("MemberDevice");
    assert_eq!(bob.role_of(&phone, "work").as_deref(), Some("writer"));
    phone.write("work:phone", "hers, too");
    bob.comes_to_read("work:phone", "hers, too");

    // A lost one has not, by one command.
    laptop.pk(["devices", "remove", "phone"]).ok();
    eventually("Bob has taken it out", || bob.role_of(&phone, "work").is_none());
    bob.write("work:x", "2");
    laptop.comes_to_read("work:x", "2");
    phone.pk(["vaults", "pull", "work"]).ended(77);
    phone.reads("work:x", "1");

    // A stranger's node under the same name gains nothing, and Bob is told.
    bob.meets(&mallory);
    let claimed = mallory.json(["identities", "claim", "alice.example"]);
    dns.change(&[claimed["record"].as_str().expect("a record")]);
    assert_eq!(state(&bob, "alice.example"), "verified");
    for kind in ["IdentityUnlinked", "IdentityLinked", "ShareProposal"] {
        bob.comes_to_be_told(kind);
    }
    assert_eq!(bob.role_of(&mallory, "work"), None);
    mallory.pk(["vaults", "clone", "work", &bob.id]).ended(77);
    assert_eq!(bob.role_of(&laptop, "work").as_deref(), Some("writer"));
    dns.change(&[&record]);
    assert_eq!(state(&bob, "alice.example"), "verified");

    // What is taken down is noticed.
    web.take_down("bob.example");
    assert_eq!(state(&laptop, "https:bob.example"), "ended");
    laptop.comes_to_be_told("IdentityUnlinked");

    // Her disk is lost. The code alone makes the node again, and its vaults come from Bob.
    laptop.kill();
    let id = laptop.id.clone();
    drop(laptop);
    let place = home(&dns, &web);
    std::fs::write(place.path().join("code"), &code).expect("room");
    place.pk(["bootstrap", "--recovery-code-file", "code"]).ok();
    let file = place.path().join("code").display().to_string();
    let again = Node::in_home(place);
    assert_eq!(again.id, id);
    again.meets(&bob);
    let resumed = again.json(["recovery", "resume", "--recovery-code-file", &file]);
    assert_eq!(resumed["vaults"], json!(["work"]));
    again.reads("work:x", "2");
    again.reads("work:alice", "hers");
    again.write("work:alice", "again");
    bob.comes_to_read("work:alice", "again");
    // It is who it was, for whoever looks.
    assert_eq!(state(&bob, "alice.example"), "verified");
    assert_eq!(gestalt(&bob, "alice.example"), [&*id, "dns:alice.example"]);

    // Bob takes her out by her name, at another device of his.
    let tablet = Node::in_home(home(&dns, &web));
    let pairing = bob.json(["devices", "pair", "--name", "desk"]);
    let ticket = pairing["ticket"].as_str().expect("a text");
    tablet.pk(["devices", "join", ticket, "--name", "tablet"]).ok();
    tablet.comes_to_read("work:x", "2");
    tablet.knows(&again);
    tablet
        .pk(["identities", "discover", "alice.example", "--monitor"])
        .ok();
    tablet
        .pk(["vaults", "unshare", "work", "mallory.example"])
        .ended(67);
    tablet.pk(["vaults", "unshare", "work", "alice.example"]).ok();
    eventually("Bob has heard of it", || bob.role_of(&again, "work").is_none());
}
