//! Identities at services of each kind whose interface is public: claimed, found from both ends, taken down, and told
//! of badly.

use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::identities::{members, node_with, pair_with, states};
use crate::servers::{Asked, Scripted, answer};

/// What the account `alice` shows at a service.
#[derive(Clone, Default)]
struct Profile {
    is_gone: bool,
    bio: String,
    fields: Vec<String>,
}

/// Answers as a service of some kind does; the text is its own base URL.
type Serves = fn(&Profile, &str, &Asked, &mut TcpStream);
/// An answer that no such service gives.
type Hell = fn(&str, &Asked, &mut TcpStream);

fn json_answer(stream: &mut TcpStream, value: &Value) {
    answer(
        stream,
        200,
        "content-type: application/json\r\n",
        &value.to_string(),
    );
}

/// As Mastodon answers: WebFinger first, then the actor, whose texts are HTML.
fn mastodon(profile: &Profile, base: &str, asked: &Asked, stream: &mut TcpStream) {
    match &*asked.line {
        _ if profile.is_gone => answer(stream, 404, "", ""),
        "GET /.well-known/webfinger?resource=acct:alice@social.example" => {
            json_answer(
                stream,
                &webfinger("acct:Alice@social.example", &format!("{base}/users/alice")),
            );
        }
        "GET /users/alice" => {
            assert!(asked.head.contains("application/activity+json"), "{}", asked.head);
            json_answer(stream, &actor("Alice", profile));
        }
        // What it says to those that want a page.
        _ => answer(stream, 404, "content-type: text/html\r\n", "<html></html>"),
    }
}

fn webfinger(subject: &str, actor: &str) -> Value {
    json!({
        "subject": subject,
        "aliases": ["https://social.example/@alice", actor],
        "links": [
            { "rel": "http://webfinger.net/rel/profile-page", "type": "text/html", "href": "https://social.example/@alice" },
            { "rel": "self", "type": "application/activity+json", "href": actor },
            { "rel": "http://ostatus.org/schema/1.0/subscribe", "template": "https://social.example/authorize_interaction?uri={uri}" },
        ],
    })
}

fn actor(name: &str, profile: &Profile) -> Value {
    let fields = profile.fields.iter().map(|value| {
        json!({ "type": "PropertyValue", "name": "polykey", "value": format!("<span>{value}</span>") })
    });
    json!({
        "@context": ["https://www.w3.org/ns/activitystreams"],
        "type": "Person",
        "preferredUsername": name,
        "name": "Alice &amp; her cat",
        "summary": format!("<p>I live here.<br />{}</p>", profile.bio),
        "attachment": fields.collect::<Vec<_>>(),
    })
}

/// As GitLab answers: the search by name first, then the user, where the bio stands.
fn gitlab(profile: &Profile, _: &str, asked: &Asked, stream: &mut TcpStream) {
    match &*asked.line {
        "GET /api/v4/users?username=alice" if profile.is_gone => json_answer(stream, &json!([])),
        "GET /api/v4/users?username=alice" => {
            let user = json!({ "id": 7, "username": "Alice", "name": "Alice", "state": "active" });
            json_answer(stream, &json!([user]));
        }
        "GET /api/v4/users/7" => {
            let user = json!({ "id": 7, "username": "Alice", "state": "active", "bio": profile.bio, "location": null });
            json_answer(stream, &user);
        }
        _ => answer(stream, 404, "", r#"{"message":"404 Not Found"}"#),
    }
}

/// Claims an account, publishes the line with each of `ways`, and sees it found, taken down and told of badly.
#[track_caller]
fn check(identity: &str, kind: &str, serves: Serves, ways: &[fn(&str) -> Profile], hells: &[Hell]) {
    let server = Scripted::start(|_, stream| answer(stream, 500, "", ""));
    let shared = Arc::new(Mutex::new(Profile::default()));
    let base = server.url();
    let serve = || {
        let (shared, base) = (shared.clone(), base.clone());
        server.change(move |asked, stream| serves(&shared.lock().expect("no panic"), &base, asked, stream));
    };
    let shows = |profile: Profile| *shared.lock().expect("no panic") = profile;
    serve();
    let host = identity.split_once(':').expect("an identity").0;
    let services = format!("{host}={kind}@{base}");
    let settings = [("identities.services", &*services)];
    let (a, b) = pair_with(&settings);
    let claimed = a.json(["identities", "claim", identity]);
    let line = claimed["line"].as_str().expect("a line").to_owned();
    // The fields of profiles are short.
    assert!(line.len() <= 255, "{line}");
    assert_eq!(states(&a, identity), ["missing"], "nothing stands there yet");

    shows(ways[0](&line));
    assert_eq!(states(&a, identity), ["verified"]);
    b.pk(["identities", "discover", identity, "--monitor"]).ok();
    let both = [a.id.clone(), identity.to_owned()];
    assert_eq!(members(&b, identity), both, "found from the identity");
    let other = node_with(&settings);
    other.meets(&a);
    other.pk(["identities", "discover", &a.id, "--monitor"]).ok();
    assert_eq!(members(&other, &a.id), both, "found from the node");
    for way in ways {
        shows(way(&line));
        assert_eq!(states(&b, identity), ["verified"]);
    }

    for (number, hell) in hells.iter().enumerate() {
        let (hell, base) = (*hell, base.clone());
        server.change(move |asked, stream| hell(&base, asked, stream));
        assert_eq!(states(&b, identity), ["failed"], "{number}");
        assert_eq!(members(&b, identity), both, "{number}: the link holds");
    }
    serve();

    // The line is taken away, and later the account.
    shows(Profile::default());
    assert_eq!(states(&b, identity), ["ended"]);
    b.comes_to_be_told("IdentityUnlinked");
    assert_eq!(members(&b, identity), [""; 0]);
    shows(ways[0](&line));
    assert_eq!(states(&b, identity), ["verified"]);
    shows(Profile {
        is_gone: true,
        ..ways[0](&line)
    });
    let ended = b.pk(["identities", "verify", identity, "--json"]).ended(1).json();
    assert_eq!(
        (&ended[0]["state"], &ended[0]["former"][1]["reason"]),
        (&"ended".into(), &"gone".into())
    );
}

fn in_the_bio(line: &str) -> Profile {
    Profile {
        bio: line.to_owned(),
        ..Profile::default()
    }
}

fn in_a_field(line: &str) -> Profile {
    Profile {
        fields: vec!["https://alice.example".to_owned(), line.to_owned()],
        ..Profile::default()
    }
}

#[test]
fn an_account_at_mastodon_is_claimed_by_a_field_or_the_bio() {
    let hells: [Hell; 7] = [
        // Another server speaks for the account.
        |_, _, stream| {
            json_answer(
                stream,
                &webfinger("acct:alice@social.example", "https://mallory.example/users/alice"),
            );
        },
        |_, _, stream| {
            json_answer(
                stream,
                &webfinger("acct:alice@social.example", "file:///etc/passwd"),
            );
        },
        |base, _, stream| {
            let actor = format!("{base}/users/alice");
            json_answer(stream, &webfinger("acct:mallory@social.example", &actor));
        },
        // The account leads to the actor of another.
        |base, asked, stream| match asked.line.contains("webfinger") {
            true => {
                let actor = format!("{base}/users/mallory");
                json_answer(stream, &webfinger("acct:alice@social.example", &actor));
            }
            false => json_answer(stream, &actor("mallory", &Profile::default())),
        },
        |_, _, stream| {
            json_answer(
                stream,
                &json!({ "subject": "acct:alice@social.example", "links": [] }),
            );
        },
        // It leads to itself for ever.
        |base, asked, stream| {
            let next = format!("{base}{}", asked.line.trim_start_matches("GET "));
            json_answer(stream, &webfinger("acct:alice@social.example", &next));
        },
        |_, _, stream| {
            answer(
                stream,
                200,
                "content-type: text/html\r\n",
                "<script>alert(1)</script>",
            );
        },
    ];
    check(
        "social.example:alice",
        "mastodon",
        mastodon,
        &[in_a_field, in_the_bio],
        &hells,
    );
}

#[test]
fn an_account_at_gitlab_is_claimed_by_the_bio() {
    let hells: [Hell; 6] = [
        |_, _, stream| {
            let user = |id: u64, name: &str| json!({ "id": id, "username": name });
            json_answer(stream, &json!([user(7, "alice"), user(8, "mallory")]));
        },
        |_, _, stream| json_answer(stream, &json!([{ "id": 8, "username": "mallory" }])),
        // A number that leads elsewhere.
        |_, _, stream| json_answer(stream, &json!([{ "id": "7/../../../", "username": "alice" }])),
        |_, asked, stream| match asked.line.contains("username=") {
            true => json_answer(stream, &json!([{ "id": 7, "username": "alice" }])),
            false => json_answer(stream, &json!({ "id": 7, "username": "mallory", "bio": "" })),
        },
        |_, asked, stream| match asked.line.contains("username=") {
            true => json_answer(stream, &json!([{ "id": 7, "username": "alice" }])),
            false => json_answer(
                stream,
                &json!({ "id": 7, "username": "alice", "bio": ["a", "list"] }),
            ),
        },
        |_, _, stream| answer(stream, 200, "", &format!("[{}]", "[".repeat(100_000))),
    ];
    check("git.example:alice", "gitlab", gitlab, &[in_the_bio], &hells);
}
