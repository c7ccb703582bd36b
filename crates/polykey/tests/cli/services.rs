//! Identities at services of each kind whose interface is public: claimed, found from both ends, taken down, and told
//! of badly.

use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::home::run;
use crate::identities::{members, node_with, pair_with, states};
use crate::node::{Node, until};
use crate::servers::{Asked, Scripted, answer};
use crate::terminal::Terminal;

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

/// GitHub with two accounts that one user has, and the people whom they know.
#[derive(Default)]
struct Acquaintances {
    logins: usize,
    is_down: bool,
    /// Which token came with which request of the API.
    asked: Vec<(String, String)>,
}

impl Acquaintances {
    fn serve(shared: &Arc<Mutex<Acquaintances>>, base: &str, asked: &Asked, stream: &mut TcpStream) {
        let mut github = shared.lock().expect("no panic");
        let token = asked
            .head
            .lines()
            .find_map(|line| line.strip_prefix("authorization: Bearer "));
        let token = token.unwrap_or_default().trim().to_owned();
        let path = asked.line.trim_start_matches("GET ").to_owned();
        if path.starts_with("/api/") {
            github.asked.push((token.clone(), path.clone()));
        }
        let people = |names: &[&str]| {
            let people = names.iter().map(|name| json!({ "login": name, "type": "User" }));
            json!(people.collect::<Vec<_>>())
        };
        match &*path {
            "POST /login/device/code" => {
                github.logins += 1;
                let code = json!({
                    "device_code": "dev1", "user_code": "AB12-CD34", "interval": 1, "expires_in": 900,
                    "verification_uri": format!("{base}/login/device"),
                });
                json_answer(stream, &code);
            }
            "POST /login/oauth/access_token" => {
                let token = format!("gho_{}", github.logins);
                json_answer(
                    stream,
                    &json!({ "access_token": token, "token_type": "bearer", "scope": "gist" }),
                );
            }
            _ if github.is_down && path.contains("/follow") => answer(stream, 502, "", ""),
            "/api/user" if token == "gho_2" => json_answer(stream, &json!({ "login": "Alice-Work" })),
            "/api/user" if !token.is_empty() => json_answer(stream, &json!({ "login": "Alice" })),
            "/api/users/alice/following?per_page=100&page=1" => {
                // A first page that is full, with names that are none.
                let mut names: Vec<String> = (0..98).map(|n| format!("friend{n}")).collect();
                names.extend(["../carol".to_owned(), "\u{1b}[2J".to_owned()]);
                json_answer(
                    stream,
                    &people(&names.iter().map(String::as_str).collect::<Vec<_>>()),
                );
            }
            "/api/users/alice/following?per_page=100&page=2" => json_answer(stream, &people(&["Carol"])),
            "/api/users/alice/followers?per_page=100&page=1" => json_answer(stream, &people(&["erin"])),
            "/api/users/alice-work/following?per_page=100&page=1" => {
                json_answer(stream, &people(&["dave", "carol"]));
            }
            "/api/users/alice-work/followers?per_page=100&page=1" => json_answer(stream, &people(&[])),
            "/api/users/carol/gists?per_page=100" => json_answer(stream, &json!([])),
            "/api/users/carol" => json_answer(stream, &json!({ "login": "Carol", "bio": null })),
            _ => answer(stream, 404, "", "{}"),
        }
    }
}

/// GitHub, where it is, and a node that may log in there.
fn at_github() -> (Arc<Mutex<Acquaintances>>, String, Node) {
    let github = Arc::new(Mutex::new(Acquaintances::default()));
    let server = Scripted::start(|_, stream| answer(stream, 500, "", ""));
    let base = server.url();
    let (state, at) = (github.clone(), base.clone());
    server.change(move |asked, stream| Acquaintances::serve(&state, &at, asked, stream));
    let services = format!("github.com=github@{base}");
    let node = node_with(&[
        ("identities.services", &services),
        ("identities.github-client", "app1"),
    ]);
    (github, base, node)
}

#[test]
fn people_are_searched_for_with_the_login_that_the_user_names() {
    let (github, _, node) = at_github();
    let search = |args: &[&str]| {
        let args = ["identities", "search", "--json"].iter().chain(args).copied();
        let found = node.pk(args).ok();
        let found = found.text().lines().map(|line| {
            let item: Value = serde_json::from_str(line).expect("JSON");
            let text = |field: &str| item[field].as_str().unwrap_or("nobody").to_owned();
            (text("identityId"), text("connectedTo"))
        });
        found.collect::<Vec<_>>()
    };
    let with = |person: &str, account: &str| (person.to_owned(), format!("github.com:{account}"));
    assert_eq!(search(&["carol"]), [], "without a login nobody is asked");
    assert_eq!(github.lock().expect("no panic").asked, []);
    for _ in 0..2 {
        node.pk(["identities", "authenticate", "github.com"]).ok();
    }
    github.lock().expect("no panic").asked.clear();

    // The one of the second page, by the first login that knows her.
    assert_eq!(search(&["car"]), [with("carol", "alice")]);
    assert_eq!(search(&["dave"]), [with("dave", "alice-work")]);
    assert_eq!(
        search(&["erin"]),
        [with("erin", "alice")],
        "who follows the account"
    );
    let all = search(&[]);
    assert_eq!(all.len(), 101, "{all:?}");
    assert_eq!(search(&["friend", "-l", "5"]).len(), 5);
    assert_eq!(search(&["friend", "-pi", "gitlab.com"]), []);
    // Each circle was asked for with the login of its account.
    for (token, path) in std::mem::take(&mut github.lock().expect("no panic").asked) {
        let want = match path.contains("/alice-work/") {
            true => "gho_2",
            false => "gho_1",
        };
        assert_eq!(token, want, "{path}");
    }

    for named in ["alice-work", "Alice-Work", "github.com:alice-work"] {
        let found = search(&["--auth-identity-id", named]);
        assert_eq!(found, [with("carol", "alice-work"), with("dave", "alice-work")]);
    }
    assert_eq!(search(&["carol", "-aii", "alice"]), [with("carol", "alice")]);
    // An account is looked up with it, too.
    github.lock().expect("no panic").asked.clear();
    let found = search(&["-aii", "alice-work", "--identity-id", "carol", "--disconnected"]);
    assert_eq!(found, [("carol".to_owned(), "nobody".to_owned())]);
    let asked = std::mem::take(&mut github.lock().expect("no panic").asked);
    assert!(
        !asked.is_empty() && asked.iter().all(|(token, _)| token == "gho_2"),
        "{asked:?}"
    );
    for nobody in ["bob", "gitlab.com:alice", "", "alice/../"] {
        node.pk(["identities", "search", "--auth-identity-id", nobody])
            .ended(77)
            .says("authenticate");
    }

    // What a provider would not say is told, and the rest shown.
    github.lock().expect("no panic").is_down = true;
    node.pk(["identities", "search", "carol"])
        .ok()
        .silent()
        .says("somebody may be missing: github.com:alice");
}

#[test]
fn a_login_opens_the_page_for_a_person_at_a_screen_and_for_nobody_else() {
    let (_, base, node) = at_github();
    // The desktop's opener notes what it is given.
    let opener = node.home.path().join("xdg-open");
    let script = "#!/bin/sh\necho \"$# $1 ${PK_PASSWORD_NEW-none}\" >> \"$HOME/opened\"\n";
    std::fs::write(&opener, script).expect("room");
    std::fs::set_permissions(&opener, std::fs::Permissions::from_mode(0o755)).expect("ours");
    let path = std::env::var("PATH").expect("a path");
    let path = ("PATH", format!("{}:{path}", node.home.path().display()));
    let screen = ("DISPLAY", ":0".to_owned());
    let order = ["identities", "authenticate", "github.com"];
    let login = |env: &[(&str, String)]| {
        let mut terminal = Terminal::open_with(&node.home, &order, env)?;
        terminal.until("AB12-CD34");
        let (code, shown) = terminal.end();
        assert_eq!(code, 0, "{shown}");
        Some(())
    };
    node.pk(["agent", "unlock"]).ok();
    // No terminal, and no screen.
    let mut command = node.command(order);
    command.envs([path.clone(), screen.clone()]);
    run(command, b"").ok();
    if login(std::slice::from_ref(&path)).is_none() {
        return;
    }
    login(&[path, screen, ("PK_PASSWORD_NEW", "secret".to_owned())]);
    let opened = node.home.path().join("opened");
    let noted = until("the page is opened", || {
        std::fs::read_to_string(&opened)
            .ok()
            .filter(|text| text.ends_with('\n'))
    });
    assert_eq!(noted, format!("1 {base}/login/device none\n"), "once");
}
