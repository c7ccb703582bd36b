//! Links between nodes: invited by one, made by the other, in the sigchains of both.

use serde_json::Value;

use crate::node::{Node, eventually, pair};

/// The links in the sigchain of `of`, as `node` knows it: type, other end, whether it was ended.
fn links(node: &Node, of: &Node) -> Vec<(String, String, bool)> {
    let claims = node.json(["nodes", "claims", &of.id]);
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let claims = claims.as_array().expect("a list").iter();
    claims
        .filter(|claim| claim["type"] == "link-node" || claim["type"] == "device")
        .map(|claim| {
            let ended = claim["ended"].as_bool().expect("yes or no");
            (text(&claim["type"]), text(&claim["about"]), ended)
        })
        .collect()
}

#[test]
fn two_nodes_are_linked_when_one_invites_and_the_other_claims() {
    let (a, b) = pair();
    let c = Node::new();
    c.knows(&a);
    b.pk(["nodes", "claim", &a.id])
        .ended(77)
        .says("has not invited this node");
    b.pk(["nodes", "claim", &b.id]).ended(64);
    a.pk(["identities", "invite", &a.id]).ended(64);
    a.pk(["identities", "invite", "nobody"]).ended(67);
    a.pk(["identities", "invite", &b.id, "--expires", "500d"])
        .ended(64);

    a.pk(["identities", "invite", &b.id]).ok();
    b.comes_to_be_told("GestaltInvite");
    c.pk(["nodes", "claim", &a.id]).ended(77);
    let claim = b.json(["nodes", "claim", &a.id])["claimId"].clone();
    let link = |other: &Node, ended| vec![("link-node".to_owned(), other.id.clone(), ended)];
    for (of, other) in [(&a, &b), (&b, &a)] {
        for by in [&a, &b] {
            assert_eq!(links(by, of), link(other, false));
        }
    }
    // Once is enough, and again is the same.
    assert_eq!(b.json(["nodes", "claim", &a.id])["claimId"], claim);
    assert_eq!(links(&b, &b).len(), 1);

    a.pk(["nodes", "unclaim", &b.id]).ok();
    a.pk(["nodes", "unclaim", &b.id]).ended(67);
    eventually("B sees that the link was ended", || {
        links(&b, &a) == link(&b, true)
    });
    b.pk(["nodes", "claim", &a.id]).ended(77);
    // It takes a new invitation to be linked anew.
    a.pk(["identities", "invite", &b.id]).ok();
    b.pk(["nodes", "claim", &a.id]).ok();
    let both = [link(&b, true), link(&b, false)].concat();
    assert_eq!(links(&b, &a), both);
}

#[test]
fn whoever_is_allowed_to_claim_may_do_so_once() {
    let (a, b) = pair();
    let may = || a.pk(["identities", "permissions", &b.id]).ok().text().to_owned();
    for _ in 0..2 {
        a.pk(["identities", "allow", &b.id, "claim"]).ok();
        assert_eq!(may(), "claim\n");
    }
    a.pk(["identities", "disallow", &b.id, "claim"]).ok();
    assert_eq!(may(), "");
    b.pk(["nodes", "claim", &a.id]).ended(77);
    a.pk(["identities", "allow", &b.id, "claim"]).ok();
    assert_eq!(
        b.json(["nodes", "claim", &a.id, "--force-invite"])["success"],
        true
    );
    assert_eq!(may(), "");
    // An invitation is one, however it was made.
    a.pk(["identities", "invite", &b.id]).ok();
    assert_eq!(may(), "claim\n");
}

#[test]
fn whoever_ended_a_link_is_linked_anew_by_a_new_invitation() {
    let (a, b) = pair();
    a.pk(["identities", "invite", &b.id]).ok();
    b.pk(["nodes", "claim", &a.id]).ok();
    b.pk(["nodes", "unclaim", &a.id]).ok();
    // The invitation that gave the link is still there, and gives none again.
    b.pk(["nodes", "claim", &a.id])
        .ended(77)
        .says("has not invited this node");
    a.pk(["identities", "invite", &b.id]).ok();
    b.pk(["nodes", "claim", &a.id]).ok();
    let link = |ended| ("link-node".to_owned(), a.id.clone(), ended);
    assert_eq!(links(&b, &b), [link(true), link(false)]);
    b.pk(["nodes", "claim", &a.id]).ok();
    assert_eq!(links(&b, &b).len(), 2, "again is the same");
}

#[test]
fn an_invitation_that_cannot_be_delivered_waits() {
    let (a, b) = pair();
    b.stop();
    let invited = a.json(["identities", "invite", &b.id]);
    assert_eq!(invited["delivered"], false);
    b.start();
    b.comes_to_be_told("GestaltInvite");
    b.pk(["nodes", "claim", &a.id]).ok();
    assert_eq!(links(&a, &b).len(), 1);
}
