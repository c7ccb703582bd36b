//! Tickets.

use std::process::Stdio;

use rustix::process::Signal;

use crate::node::{Node, until};
use crate::wires::Wires;

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
    let joined = b.pk_with_input(["join", "-", "--json"], ticket.as_bytes());
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
fn whoever_is_in_already_uses_no_ticket_up() {
    let (a, b, c) = (Node::new(), Node::new(), Node::new());
    a.knows(&b);
    b.knows(&a);
    a.shares_work_with(&b);
    let invite = |role| a.json(["vaults", "invite", "work", "--role", role]);
    let [readers, writers] = ["reader", "writer"].map(|role| {
        let invited = invite(role);
        invited["ticket"].as_str().expect("a text").to_owned()
    });
    // A member that has the vault, with a role that is as good.
    assert_eq!(a.role_of(&b, "work").as_deref(), Some("writer"));
    for ticket in [&readers, &writers] {
        b.pk(["join", ticket]).ended(73).says("has that vault already");
    }
    for ticket in [&readers, &writers] {
        c.pk(["join", ticket]);
    }
    assert_eq!(a.role_of(&c, "work").as_deref(), Some("writer"));
    c.reads("work:x", "1");
}

#[test]
fn a_ticket_whose_answer_was_lost_lets_in_the_same_node_and_no_other() {
    let Some(mut wires) = Wires::lay() else { return };
    let at_a = wires.machine("a", "10.77.0.1");
    let at_b = wires.machine("b", "10.77.0.2");
    wires.join((&at_a, "wire", "10.77.0.1/24"), (&at_b, "wire", "10.77.0.2/24"));
    let (a, b) = (Node::on(&at_a, "offline"), Node::on(&at_b, "offline"));
    let c = Node::on(&at_a, "offline");
    a.pk(["vaults", "create", "work"]).ok();
    a.write("work:x", "1");
    let invited = a.json(["vaults", "invite", "work", "--role", "writer"]);
    let ticket = invited["ticket"].as_str().expect("a text");
    b.knows(&a);
    b.pk(["nodes", "ping", &a.id]).ok();
    // Questions and signs of life pass, an answer as long as the beginning of a vault does not.
    let rule = "INPUT -p udp -m length --length 400:65535 -j DROP";
    at_b.does(&format!("iptables -A {rule}"));
    let mut joining = b
        .command(["join", ticket])
        .stdin(Stdio::null())
        .spawn()
        .expect("runs");
    until("A has let B in", || a.role_of(&b, "work"));
    assert_eq!(b.json(["vaults", "list"]), serde_json::json!([]));
    b.home.signal(Signal::KILL);
    joining.wait().expect("waits");
    at_b.does(&format!("iptables -D {rule}"));
    b.start();
    // B asks again, and C comes too late.
    c.pk(["join", ticket]).ended(77);
    b.pk(["join", ticket]).ok();
    b.reads("work:x", "1");
    b.write("work:x", "2");
    a.comes_to_read("work:x", "2");
    c.pk(["join", ticket]).ended(77);
    let members = a.json(["vaults", "members", "work"]);
    assert_eq!(members.as_array().expect("a list").len(), 2, "{members}");
}
