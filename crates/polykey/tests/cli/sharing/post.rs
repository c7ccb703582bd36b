//! Messages.

use crate::node::{Node, eventually, pair};

#[test]
fn messages_arrive_wait_and_are_kept_apart_from_those_of_strangers() {
    let (a, b) = pair();
    a.pk(["notifications", "send", &b.id, "hello\u{1b}[2J"]).ok();
    let inbox = b.json(["notifications", "inbox", "read", "--unread"]);
    let first = &inbox[0]["notification"];
    assert_eq!(first["data"]["message"], "hello\u{1b}[2J");
    assert_eq!(
        (&first["iss"], &first["isRead"]),
        (&a.id.clone().into(), &false.into())
    );
    let id = first["notificationIdEncoded"].as_str().expect("a text");
    // What somebody writes does not reach the terminal as it is.
    let shown = b.pk(["notifications", "inbox", "read"]).ok();
    assert!(!shown.text().contains('\u{1b}'), "{shown:#?}");
    assert_eq!(
        b.json(["notifications", "inbox", "read", "--unread"]),
        serde_json::json!([])
    );
    b.pk(["notifications", "inbox", "remove", id]).ok();
    b.pk(["notifications", "inbox", "remove", id]).ended(66);

    // Nobody is there: it waits, and arrives when there is somebody again.
    b.stop();
    a.pk(["notifications", "send", &b.id, "later"]).ok();
    let outbox = a.json(["notifications", "outbox", "read"]);
    assert_eq!(outbox[0]["notification"]["sub"], b.id);
    assert!(outbox[0]["taskMetadata"]["remainingRetries"].is_u64());
    b.start();
    eventually("the message arrives", || {
        let inbox = b.json(["notifications", "inbox", "read"]);
        inbox[0]["notification"]["data"]["message"] == "later"
    });
    eventually("the outbox is empty", || {
        a.json(["notifications", "outbox", "read"]) == serde_json::json!([])
    });

    // A stranger's message lies in a box of its own.
    let c = Node::new();
    c.knows(&a);
    c.pk(["notifications", "send", &a.id, "buy my things"]).ok();
    assert_eq!(a.json(["notifications", "inbox", "read"]), serde_json::json!([]));
    let strangers = a.json(["notifications", "inbox", "read", "--strangers"]);
    assert_eq!(strangers[0]["notification"]["data"]["message"], "buy my things");
    // A node that is blocked leaves nothing anywhere.
    a.pk(["notifications", "inbox", "clear", "--strangers"]).ok();
    a.pk(["nodes", "block", &c.id]).ok();
    c.pk(["notifications", "send", &a.id, "once more"]);
    assert_eq!(
        a.json(["notifications", "inbox", "read", "--strangers"]),
        serde_json::json!([])
    );
}

#[test]
fn whoever_is_trusted_no_longer_writes_among_strangers_and_still_shares() {
    let (a, b) = pair();
    let messages = |of: &str| {
        let box_of = a.json(["notifications", "inbox", "read", of]);
        let all = box_of.as_array().expect("a list").iter();
        let of_b = all.filter(|item| item["notification"]["iss"] == b.id);
        of_b.map(|item| item["notification"]["data"]["message"].clone())
            .collect::<Vec<_>>()
    };
    a.pk(["identities", "untrust", &b.id]).ok();
    b.pk(["notifications", "send", &a.id, "one"]).ok();
    assert_eq!(messages("--unread"), [""; 0]);
    assert_eq!(messages("--strangers"), ["one"]);
    // What it shares is offered as before.
    b.pk(["vaults", "create", "work"]).ok();
    b.shares("work", &a, "reader");
    a.pk(["notifications", "inbox", "clear"]).ok();
    a.pk(["identities", "trust", &b.id]).ok();
    b.pk(["notifications", "send", &a.id, "two"]).ok();
    assert_eq!(messages("--unread"), ["two"]);
    a.pk(["identities", "disallow", &b.id, "notify"]).ok();
    b.pk(["notifications", "send", &a.id, "three"]).ok();
    assert_eq!(messages("--unread"), [""; 0]);
    assert_eq!(messages("--strangers"), ["three", "one"]);
    a.pk(["identities", "allow", &b.id, "notify"]).ok();
    b.pk(["notifications", "send", &a.id, "four"]).ok();
    assert_eq!(messages("--unread"), ["four"]);
}
