//! Nodes that are killed while they share.

use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::node::{eventually, pair};

const LARGE: usize = 32 << 20;

#[test]
fn a_pull_goes_on_after_either_side_is_killed() {
    let (a, b) = pair();
    a.shares_work_with(&b);
    b.stop();
    a.write_large("work:large", LARGE);
    a.write("work:x", "2");
    let before = b.size();
    b.start();
    for killed in [&b, &a] {
        let had = b.size();
        eventually("more of it has come", || {
            b.size() > had.max(before) + (1 << 20) || b.pk(["secrets", "cat", "work:large"]).code == 0
        });
        killed.kill();
        killed.start();
        // Half of a secret is none, and what was there before is there.
        let read = b.pk(["secrets", "cat", "work:large"]);
        assert!(read.code != 0 || read.stdout == vec![7; LARGE]);
        let small = b.pk(["secrets", "cat", "work:x"]).ok();
        assert!(["1", "2"].contains(&small.text()), "{small:?}");
    }
    b.comes_to_have("work:large", LARGE);
    b.comes_to_read("work:x", "2");
    a.writes_both_ways_with(&b, "one");
    for node in [&a, &b] {
        node.pk(["doctor"]).ok();
    }
}

#[test]
fn what_was_said_to_be_written_is_there_after_all_were_killed() {
    let (a, b) = pair();
    a.shares_work_with(&b);
    let mut written = Vec::new();
    for round in 0..4 {
        let (killed, other) = if round % 2 == 0 { (&a, &b) } else { (&b, &a) };
        for number in 0..3 {
            for node in [killed, other] {
                let place = format!("work:{round}/{number}/{}", node.id);
                node.write(&place, &place);
                written.push(place);
            }
        }
        killed.kill();
        let place = format!("work:{round}/alone");
        other.write(&place, &place);
        written.push(place);
        // All that it said is there at once, without the other.
        killed.start();
        for place in written.iter().filter(|place| place.ends_with(&killed.id)) {
            killed.reads(place, place);
        }
    }
    for node in [&a, &b] {
        for place in &written {
            node.comes_to_read(place, place);
        }
        node.pk(["doctor"]).ok();
    }
}

#[test]
fn a_share_is_whole_or_not_at_all_when_its_giver_is_killed() {
    let (a, b) = pair();
    a.pk(["nodes", "ping", &b.id]).ok();
    for round in 0..4 {
        let vault = format!("vault-{round}");
        a.pk(["vaults", "create", &vault]).ok();
        a.write(&format!("{vault}:x"), "1");
        let before = a.size();
        // It asks twice, and would start an agent if it found none in between.
        let args = [
            "vaults",
            "share",
            &vault,
            &b.id,
            "--role",
            "writer",
            "--no-autostart",
        ];
        let mut sharing: Command = a.command(args);
        let mut sharing = sharing
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("runs");
        // At once, when the charter grows, when the answer is there, and when the other side knows.
        match round {
            0 => {}
            1 => eventually("something is written, or it is over", || {
                let over = sharing.try_wait().expect("waits").is_some();
                a.size() != before || over
            }),
            2 => drop(sharing.wait().expect("waits")),
            _ => b.comes_to_be_offered(&vault, &a),
        }
        a.home.signal(Signal::KILL);
        let said = sharing.wait().expect("waits").success();
        eventually("the agent is dead", || a.status()["status"] == "DEAD");
        a.start();
        assert!(a.role_of(&b, &vault).is_some() || !said);
        // Whatever came of it, asking again makes it so, once.
        a.pk(args).ok();
        assert_eq!(a.role_of(&b, &vault).as_deref(), Some("writer"));
        let members = a.json(["vaults", "members", &vault]);
        assert_eq!(members.as_array().expect("a list").len(), 2, "{members}");
        b.comes_to_be_offered(&vault, &a);
        b.pk(["vaults", "clone", &vault, &a.id]).ok();
        b.write(&format!("{vault}:x"), "2");
        a.comes_to_read(&format!("{vault}:x"), "2");
    }
    a.pk(["doctor"]).ok();
}
