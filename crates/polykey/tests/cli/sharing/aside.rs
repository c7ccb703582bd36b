//! What a member wrote after it was taken out.

use serde_json::Value;

use crate::node::{Node, eventually, until};

/// The commits that are set aside in `work`.
fn set_aside(node: &Node) -> Vec<Value> {
    let list = node.json(["vaults", "set-aside", "work"]);
    list.as_array().expect("a list").clone()
}

#[test]
fn what_a_removed_writer_wrote_late_is_set_aside_and_a_writer_adopts_it() {
    let (a, b, c) = (Node::new(), Node::new(), Node::new());
    for (one, other) in [(&a, &b), (&b, &a), (&a, &c), (&c, &a), (&b, &c), (&c, &b)] {
        one.knows(other);
    }
    a.shares_work_with(&b);
    a.lets_in(&c);
    eventually("B knows that C is in", || {
        let members = b.json(["vaults", "members", "work"]);
        members.as_array().expect("a list").len() == 3
    });
    // A takes B out while it is alone.
    b.stop();
    c.stop();
    a.pk(["vaults", "unshare", "work", &b.id]).ok();
    a.stop();
    // B and C have not heard of it.
    b.start();
    c.start();
    b.write("work:late", "precious");
    c.comes_to_read("work:late", "precious");
    b.write("work:x", "spoilt");
    c.comes_to_read("work:x", "spoilt");
    b.stop();
    // Now C hears of it, and A of what B wrote.
    a.start();
    for node in [&a, &c] {
        let aside = until("both commits are set aside", || {
            Some(set_aside(node)).filter(|aside| aside.len() == 2)
        });
        for commit in &aside {
            assert_eq!(
                (&commit["committer"], &commit["reason"]),
                (&b.id.clone().into(), &"removed".into())
            );
            assert_eq!(commit["settled"], false);
        }
        assert_eq!(
            (&aside[0]["paths"][0], &aside[1]["paths"][0]),
            (&"late".into(), &"x".into())
        );
        node.pk(["secrets", "cat", "work:late"]).ended(66);
        node.reads("work:x", "1");
    }
    let shown = c.pk(["vaults", "set-aside", "work"]).ok();
    assert!(
        shown.text().contains("removed") && shown.text().contains("late"),
        "{shown:?}"
    );

    // Who asks for one of them may look at it, and is told what it is.
    for (commit, place, value) in [(0, "work:late", "precious"), (1, "work:x", "spoilt")] {
        let id = set_aside(&c)[commit]["commitId"].clone();
        let id = id.as_str().expect("a text");
        let read = c.pk(["secrets", "cat", place, "--at", id]).ok();
        assert_eq!(read.says("set aside").text(), value);
        let read = c.json(["secrets", "cat", place, "--at", id]);
        assert_eq!((&read["value"], &read["setAside"]), (&value.into(), &true.into()));
    }

    // C takes one of them over; the other stays what it is.
    let id = set_aside(&c)[0]["commitId"].as_str().expect("a text").to_owned();
    c.pk(["vaults", "adopt", "work", "none"]).ended(66);
    c.pk(["vaults", "adopt", "work", ""]).ended(66);
    c.pk(["vaults", "adopt", "work", &id[..12]]).ok();
    c.reads("work:late", "precious");
    a.comes_to_read("work:late", "precious");
    for node in [&a, &c] {
        node.reads("work:x", "1");
        let settled: Vec<Value> = set_aside(node)
            .iter()
            .map(|commit| commit["settled"].clone())
            .collect();
        assert_eq!(settled, [true, false]);
    }
    // Twice is once.
    c.pk(["vaults", "adopt", "work", &id]).ok().says("settled");
    // The log shows all of it, and says what does not count.
    let log = a.json(["secrets", "log", "work:late"]);
    assert_eq!(log.as_array().expect("a list").len(), 2, "{log}");
    assert_eq!(
        (&log[0]["committer"], &log[0]["setAside"]),
        (&c.id.clone().into(), &Value::Null)
    );
    assert_eq!(
        (&log[1]["committer"], &log[1]["setAside"]),
        (&b.id.clone().into(), &true.into())
    );
    let log = a.pk(["vaults", "log", "work"]).ok();
    let marked = log.text().lines().filter(|line| line.ends_with("(set aside)"));
    assert_eq!(marked.count(), 2, "{log:?}");

    // Who is out learns it, still has what it wrote, and makes none of it count.
    b.start();
    b.pk(["vaults", "pull", "work", &a.id]).ended(77);
    eventually("B sets its own aside", || set_aside(&b).len() == 2);
    b.reads("work:x", "1");
    b.pk(["vaults", "adopt", "work", &id]).ended(77);
    b.pk(["doctor"]).ok();
}
