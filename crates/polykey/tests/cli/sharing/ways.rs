//! The ways between nodes: through a relay, through two NATs, by id alone on one local network.

use rcgen::{CertificateParams, KeyPair};

use crate::home::Home;
use crate::node::{Node, eventually, until};
use crate::relay::Running;
use crate::wires::{Machine, Wires};

/// The address of the machine in the middle, on which its relay listens.
const MIDDLE: &str = "203.0.113.1";

/// A machine in the middle that two others can reach, and they each other only if it forwards.
struct Between {
    _wires: Wires,
    middle: Machine,
    ends: [Machine; 2],
}

impl Between {
    fn lay() -> Option<Between> {
        let mut wires = Wires::lay()?;
        let middle = wires.machine("middle", MIDDLE);
        let ends = [
            wires.machine("one", "10.77.1.2"),
            wires.machine("two", "10.77.2.2"),
        ];
        middle.does(&format!("ip addr add {MIDDLE}/32 dev lo"));
        wires.join(
            (&middle, "one", "10.77.1.1/24"),
            (&ends[0], "out", "10.77.1.2/24"),
        );
        wires.join(
            (&middle, "two", "10.77.2.1/24"),
            (&ends[1], "out", "10.77.2.2/24"),
        );
        ends[0].does("ip route add default via 10.77.1.1");
        ends[1].does("ip route add default via 10.77.2.1");
        middle.forwards(false);
        Some(Between {
            _wires: wires,
            middle,
            ends,
        })
    }

    /// Puts a NAT in front of each end: a machine that lets out what is inside under its own address, with a
    /// port as `masquerade` says, and lets in nothing but answers.
    fn lay_behind_nats(masquerade: &str) -> Option<Between> {
        let mut wires = Wires::lay()?;
        let middle = wires.machine("middle", MIDDLE);
        middle.does(&format!("ip addr add {MIDDLE}/32 dev lo"));
        middle.forwards(true);
        let ends = [
            wires.machine("one", "192.168.1.2"),
            wires.machine("two", "192.168.1.3"),
        ];
        for (number, name, end) in [(1, "nat1", &ends[0]), (2, "nat2", &ends[1])] {
            let nat = wires.machine(name, "192.168.1.1");
            let outside = format!("198.51.100.{}/28", number * 16 + 2);
            let beyond = format!("198.51.100.{}", number * 16 + 1);
            wires.join((&middle, name, &format!("{beyond}/28")), (&nat, "out", &outside));
            wires.join(
                (&nat, "in", "192.168.1.1/24"),
                (end, "out", &format!("{}/24", end.address())),
            );
            end.does("ip route add default via 192.168.1.1");
            nat.does(&format!("ip route add default via {beyond}"));
            nat.forwards(true);
            nat.does(&format!("iptables -t nat -A POSTROUTING -o out -j {masquerade}"));
            nat.does("iptables -A FORWARD -i out -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT");
            nat.does("iptables -A FORWARD -i out -j DROP");
            nat.does("iptables -A INPUT -i out -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT");
            nat.does("iptables -A INPUT -i out -j DROP");
        }
        Some(Between {
            _wires: wires,
            middle,
            ends,
        })
    }

    /// A plain relay in the middle.
    fn relay(&self, home: &Home) -> Running {
        let listen = format!("{MIDDLE}:3340");
        let relay = Running::of(
            self.middle
                .runs(&home.command(["relay", "--plain", "--listen", &listen])),
        );
        assert_eq!(relay.line.trim_end(), format!("url\t{}", plain_url()));
        relay
    }
}

fn plain_url() -> String {
    format!("http://{MIDDLE}:3340/")
}

#[test]
fn two_nodes_that_only_a_relay_connects_share_a_vault_and_find_each_other_again_when_it_was_away() {
    let Some(between) = Between::lay() else { return };
    let middle = Home::empty();
    let relay = between.relay(&middle);
    let [a, b] = between.ends.each_ref().map(|end| Node::on(end, &plain_url()));
    // Each knows of the other nothing but its id.
    a.shares_work_with(&b);
    b.reads("work:x", "1");
    a.writes_both_ways_with(&b, "one");
    for node in [&a, &b] {
        let connections = node.json(["nodes", "connections"]);
        assert_eq!(connections[0]["path"], "relayed", "{connections}");
        assert_eq!(connections[0]["relay"], plain_url().as_str(), "{connections}");
        assert_eq!(connections[0]["postQuantum"], true);
    }
    // It dies, and with it the only way.
    drop(relay);
    eventually("both notice that", || {
        a.paths().is_empty() && b.paths().is_empty()
    });
    a.write("work:here", "two");
    b.write("work:there", "two");
    a.pk(["nodes", "ping", &b.id]).ended(1);
    let _relay = between.relay(&middle);
    b.comes_to_read("work:here", "two");
    a.comes_to_read("work:there", "two");
    assert!(a.goes("relayed"), "{:?}", a.paths());
    // Nothing of theirs was left with it.
    assert_eq!(std::fs::read_dir(middle.path()).expect("a folder").count(), 0);
}

#[test]
fn two_nodes_behind_nats_meet_at_a_relay_and_go_on_without_it() {
    let Some((relay, [a, b], _between)) = meet_behind_nats("MASQUERADE") else {
        return;
    };
    for node in [&a, &b] {
        eventually("the way becomes a direct one", || node.goes("direct"));
    }
    // What they found they keep.
    drop(relay);
    a.writes_both_ways_with(&b, "two");
    for node in [&a, &b] {
        assert!(node.goes("direct"), "{:?}", node.paths());
    }
}

#[test]
fn two_nodes_whose_nats_give_every_way_another_port_stay_with_the_relay() {
    let Some((_relay, [a, b], _between)) = meet_behind_nats("MASQUERADE --random-fully") else {
        return;
    };
    a.writes_both_ways_with(&b, "two");
    for node in [&a, &b] {
        assert!(node.goes("relayed"), "{:?}", node.paths());
    }
}

/// Two nodes behind NATs that share a vault by way of a relay with a certificate.
fn meet_behind_nats(masquerade: &str) -> Option<(Running, [Node; 2], Between)> {
    let between = Between::lay_behind_nats(masquerade)?;
    let middle = Home::empty();
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![MIDDLE.to_owned()]).expect("an address");
    let certificate = params.self_signed(&key).expect("a certificate").pem();
    std::fs::write(middle.path().join("chain.pem"), &certificate).expect("room");
    std::fs::write(middle.path().join("key.pem"), key.serialize_pem()).expect("room");
    let listen = format!("{MIDDLE}:443");
    let mut order = vec![
        "relay",
        "--listen",
        &listen,
        "--cert",
        "chain.pem",
        "--key",
        "key.pem",
    ];
    // The port on which nodes expect to learn how they look from outside.
    order.extend(["--discovery-port", "7842"]);
    let relay = Running::of(between.middle.runs(&middle.command(order)));
    let url = format!("https://{MIDDLE}:443/");
    let nodes = between.ends.each_ref().map(|end| {
        let home = Home::empty();
        let authority = home.path().join("relay.pem");
        std::fs::write(&authority, &certificate).expect("room");
        home.pk(["config", "set", "relay-ca", authority.to_str().expect("text")])
            .ok();
        Node::on_from(home, end, &url)
    });
    nodes[0].shares_work_with(&nodes[1]);
    nodes[0].writes_both_ways_with(&nodes[1], "one");
    Some((relay, nodes, between))
}

/// Two machines on one local network.
fn neighbours(wires: &mut Wires) -> [Machine; 2] {
    let one = wires.machine("one", "10.77.0.1");
    let two = wires.machine("two", "10.77.0.2");
    wires.join((&one, "lan", "10.77.0.1/24"), (&two, "lan", "10.77.0.2/24"));
    for machine in [&one, &two] {
        machine.does("ip route add default dev lan");
    }
    [one, two]
}

#[test]
fn devices_on_one_local_network_find_each_other_by_three_words() {
    let Some(mut wires) = Wires::lay() else { return };
    let [one, two] = neighbours(&mut wires);
    let (laptop, phone) = (Node::on(&one, "local"), Node::on(&two, "local"));
    // Somebody else who is near shows no words.
    let _other = Node::on(&one, "local");
    laptop.pk(["vaults", "create", "work"]).ok();
    laptop.write("work:x", "1");
    let pairing = laptop.json(["devices", "pair", "--name", "laptop"]);
    let words = pairing["words"].as_str().expect("a text");
    phone.pk(["devices", "join", words, "--name", "phone"]).ok();
    phone.comes_to_read("work:x", "1");
    laptop.writes_both_ways_with(&phone, "2");
    let nobody = phone.pk(["devices", "join", "acid-bacon-cabin"]).ended(67);
    nobody.says("ticket");
}

#[test]
fn nodes_on_one_local_network_find_each_other_by_id_alone() {
    let Some(mut wires) = Wires::lay() else { return };
    let [one, two] = neighbours(&mut wires);
    let (a, b) = (Node::on(&one, "local"), Node::on(&two, "local"));
    let deaf = Node::on(&two, "offline");
    let found = until("B is found", || {
        let found = a.pk(["nodes", "find", &b.id, "--json"]);
        (found.code == 0).then(|| found.json())
    });
    assert_eq!(
        (&found["nodeIdEncoded"], &found["connected"]),
        (&b.id.clone().into(), &true.into())
    );
    assert!(a.goes("direct"), "{:?}", a.paths());
    // Whoever does not take part is not found.
    a.pk(["nodes", "find", &deaf.id]).ended(67);
    a.shares_work_with(&b);
    a.writes_both_ways_with(&b, "one");
    // Also when both come back on other ports.
    for node in [&a, &b] {
        node.stop();
        node.pk([
            "config",
            "set",
            "agent-port",
            if node.id == a.id { "4433" } else { "4434" },
        ])
        .ok();
    }
    a.start();
    b.start();
    a.writes_both_ways_with(&b, "two");
}
