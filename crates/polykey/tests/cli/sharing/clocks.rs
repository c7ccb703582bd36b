//! Nodes whose clocks are years apart.

use crate::node::{Node, at_another_time, until};

/// The years in which a secret was written, newest first, as this node shows them.
fn years(node: &Node, secret: &str) -> Vec<i32> {
    let log = node.json(["secrets", "log", secret]);
    let log = log.as_array().expect("a list").iter();
    let times = log.map(|item| item["timestamp"].as_str().expect("a text").to_owned());
    times.map(|time| time[..4].parse().expect("a year")).collect()
}

#[test]
fn a_clock_that_is_ten_years_ahead_changes_nothing() {
    check("+10y");
}

#[test]
fn a_clock_that_is_ten_years_behind_changes_nothing() {
    check("-10y");
}

fn check(off: &str) {
    let Some(clock) = at_another_time(off) else { return };
    let a = Node::new();
    let host = ("PK_AGENT_HOST", "127.0.0.1".to_owned());
    let b = Node::with(clock.into_iter().chain([host]));
    a.knows(&b);
    b.knows(&a);
    a.shares_work_with(&b);
    a.writes_both_ways_with(&b, "one");
    a.write("work:there", "later");
    b.comes_to_read("work:there", "later");
    let seen = years(&a, "work:there");
    assert!(
        (9..=11).contains(&(seen[0] - seen[1]).abs()),
        "the clocks do not differ: {seen:?}"
    );
    assert_eq!(years(&b, "work:there"), seen);

    // A ticket of either is good for the other.
    let c = Node::new();
    let invited = a.json(["vaults", "invite", "work", "--expires", "1h"]);
    c.pk(["join", invited["ticket"].as_str().expect("a text")]).ok();
    a.pk(["vaults", "create", "of-a"]).ok();
    let invited = a.json(["vaults", "invite", "of-a", "--expires", "1h"]);
    b.pk(["join", invited["ticket"].as_str().expect("a text")]).ok();
    b.pk(["vaults", "create", "of-b"]).ok();
    let invited = b.json(["vaults", "invite", "of-b", "--expires", "1h"]);
    a.pk(["join", invited["ticket"].as_str().expect("a text")]).ok();

    // Of what is written side by side the same wins everywhere, and all show the same order.
    b.stop();
    a.write("work:x", "of a");
    a.stop();
    c.stop();
    b.start();
    b.write("work:x", "of b");
    a.start();
    c.start();
    let versions = |node: &Node| {
        until("the conflict is seen", || {
            let conflicts = node.json(["vaults", "conflicts", "work"]);
            Some(conflicts[0]["versions"].clone()).filter(|versions| versions[1].is_object())
        })
    };
    let at_a = versions(&a);
    let winner = a.pk(["secrets", "cat", "work:x"]).ok().text().to_owned();
    for node in [&b, &c] {
        assert_eq!(versions(node), at_a);
        node.reads("work:x", &winner);
        assert_eq!(
            node.json(["vaults", "log", "work"]),
            a.json(["vaults", "log", "work"])
        );
    }
    let loser = at_a[1]["commitId"].as_str().expect("a text");
    b.pk(["vaults", "resolve", "work:x", "--take", loser]).ok();
    let settled = b.pk(["secrets", "cat", "work:x"]).ok().text().to_owned();
    assert_ne!(settled, winner);
    a.comes_to_read("work:x", &settled);
    c.comes_to_read("work:x", &settled);
}
