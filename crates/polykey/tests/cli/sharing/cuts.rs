//! Networks that fail under a pull.

use crate::node::{Node, eventually};
use crate::wires::Wires;

/// More than what is on its way and in the memory of a pull at any moment.
const LARGE: usize = 48 << 20;

#[test]
fn a_pull_goes_on_when_an_interface_was_down() {
    check("ip link set wire down", "ip link set wire up");
}

#[test]
fn a_pull_goes_on_when_packets_vanished() {
    check(
        "iptables -A INPUT -p udp -j DROP",
        "iptables -D INPUT -p udp -j DROP",
    );
}

fn check(cut: &str, mend: &str) {
    let Some(mut wires) = Wires::lay() else { return };
    let at_a = wires.machine("a", "10.77.0.1");
    let at_b = wires.machine("b", "10.77.0.2");
    wires.join((&at_a, "wire", "10.77.0.1/24"), (&at_b, "wire", "10.77.0.2/24"));
    let (a, b) = (Node::on(&at_a, "offline"), Node::on(&at_b, "offline"));
    a.knows(&b);
    b.knows(&a);
    a.shares_work_with(&b);
    a.write("work:large", "old");
    b.comes_to_read("work:large", "old");
    // Slow enough that there is a middle.
    at_a.does("tc qdisc add dev wire root tbf rate 24mbit burst 128kb latency 200ms");
    let before = b.size();
    a.write_large("work:large", LARGE);
    eventually("some of it has come", || b.size() > before + (2 << 20));
    at_a.does(cut);
    assert!(b.size() < before + LARGE as u64, "all of it has come");
    // What is said to be written while they are apart is there afterwards.
    a.write("work:here", "a");
    b.write("work:there", "b");
    // Half of it is neither given nor damage.
    let read = b.pk(["secrets", "cat", "work:large"]);
    let read = read
        .ended(75)
        .silent()
        .says("has not come")
        .says("version 1 is here");
    // What was there before is given to whoever asks for it.
    let older = read
        .stderr
        .split("--at ")
        .nth(1)
        .expect("a way to the older version");
    let older = older.split('`').next().expect("a commit");
    let older = b.pk(["secrets", "cat", "work:large", "--at", older]).ok();
    assert_eq!(older.text(), "old");
    b.pk(["doctor"]).ok();
    eventually("both notice", || a.paths().is_empty() && b.paths().is_empty());
    at_a.does(mend);
    // Until all of it is there, that copy is not called up to date, whatever commits it has.
    eventually("A knows that B has it", || {
        let status = a.json(["vaults", "status", "work"]);
        let is_fresh = status["copies"][0]["fresh"] == true;
        if is_fresh {
            b.pk(["secrets", "cat", "work:large"]).ok();
        }
        is_fresh
    });
    at_a.does("tc qdisc del dev wire root");
    eventually("the large one is here", || {
        let read = b.pk(["secrets", "cat", "work:large"]);
        read.code == 0 && read.stdout == vec![7; LARGE]
    });
    b.comes_to_read("work:here", "a");
    a.comes_to_read("work:there", "b");
    for node in [&a, &b] {
        node.pk(["doctor"]).ok();
    }
}
