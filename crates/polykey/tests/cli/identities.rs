//! Who somebody is: identities on real servers, found from each end, trusted, and shared with by name.

use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::devices::pair_up;
use crate::home::{Ended, Home};
use crate::node::{Node, eventually, pair};
use crate::servers::{Asked, NameServer, Scripted, WebServer, answer};
use crate::terminal::Terminal;

/// A node whose configuration says these things.
pub fn node_with(settings: &[(&str, &str)]) -> Node {
    let home = Home::empty();
    for (name, value) in settings {
        home.pk(["config", "set", name, value]).ok();
    }
    Node::in_home(home)
}

/// Two nodes with the same configuration that know each other.
pub fn pair_with(settings: &[(&str, &str)]) -> (Node, Node) {
    let (a, b) = (node_with(settings), node_with(settings));
    a.meets(&b);
    b.meets(&a);
    (a, b)
}

/// The members that a gestalt has at a node, as it names them.
pub fn members(node: &Node, who: &str) -> Vec<String> {
    let shown = node.json(["identities", "get", who]);
    let gestalt = &shown["gestalt"];
    let names = |part: &str| {
        let part = gestalt[part].as_object().expect("members").keys().cloned();
        part.collect::<Vec<_>>()
    };
    [names("nodes"), names("identities")].concat()
}

/// The state of each proof, as `verify` tells it.
pub fn states(node: &Node, who: &str) -> Vec<String> {
    let shown = node.pk(["identities", "verify", who, "--json"]).json();
    let proofs = shown.as_array().expect("a list").iter();
    proofs
        .map(|proof| proof["state"].as_str().expect("a text").to_owned())
        .collect()
}

#[test]
fn words_are_the_same_on_both_sides_and_permissions_are_kept() {
    let (a, b) = pair();
    let words = |node: &Node, other: &Node| {
        let text = node.pk(["identities", "words", &other.id]).ok().text().to_owned();
        assert_eq!(text.split_whitespace().count(), 8, "{text:?}");
        text
    };
    assert_eq!(words(&a, &b), words(&b, &a));
    a.pk(["identities", "words", &a.id]).ended(64);

    let may = |who: &str| a.pk(["identities", "permissions", who]).ok().text().to_owned();
    assert_eq!(may(&b.id), "");
    a.pk(["identities", "trust", &b.id]).ok().silent();
    a.pk(["nodes", "name", &b.id, "bob"]).ok();
    assert_eq!(may("bob"), "notify\n");
    a.pk(["identities", "allow", "bob", "scan"]).ok();
    assert_eq!(may(&b.id), "notify,scan\n");
    // Trusting anew takes nothing away.
    a.pk(["identities", "trust", "bob"]).ok();
    assert_eq!(may("bob"), "notify,scan\n");
    a.stop();
    a.start();
    assert_eq!(may("bob"), "notify,scan\n");
    a.pk(["identities", "disallow", "bob", "scan"]).ok();
    a.pk(["identities", "untrust", "bob"]).ok();
    assert_eq!(may("bob"), "");
    assert_eq!(members(&a, "bob"), [b.id.as_str()], "it stays known");

    let stranger = Node::new();
    a.pk(["identities", "allow", &stranger.id, "notify"]).ended(67);
    a.pk(["identities", "allow", "bob", "pull"]).ended(64);
    a.pk(["identities", "allow", "nobody", "notify"]).ended(67);
    a.pk(["identities", "allow", "not:an:identity", "notify"])
        .ended(64);
    a.pk(["identities", "trust", "github.com:nobody"])
        .ended(67)
        .says("discover");
    a.pk(["identities", "trust", &a.id]).ended(64);
    assert_eq!(may("github.com:nobody"), "", "nobody of that name: an empty list");
    assert_eq!(members(&a, "github.com:nobody"), [""; 0]);
}

#[test]
fn a_fresh_node_lists_itself() {
    let home = Home::live();
    let list = home.pk(["identities", "list", "--json"]).ok().json();
    let list = list.as_array().expect("a list");
    assert_eq!(list.len(), 1);
    assert_eq!(list[0]["actionsList"], json!([]));
    assert!(home.pk(["identities", "list"]).ok().text().contains("this node"));
    home.pk(["identities", "search", "nobody"]).ok().silent();
    home.pk(["identities", "queue", "--json"]).ok();
}

#[test]
fn a_domain_is_claimed_by_dns_found_from_each_end_and_its_end_is_told() {
    let Some(mut dns) = NameServer::start(&[]) else {
        return;
    };
    let (a, b) = pair_with(&[("identities.dns-server", &dns.address())]);
    let claimed = a.json(["identities", "claim", "alice.example"]);
    let record = claimed["record"].as_str().expect("a record").to_owned();
    let again = a.pk(["identities", "claim", "dns:alice.example"]).ok();
    assert_eq!(again.text().trim_end(), record, "claimed once");
    assert_eq!(
        states(&a, "alice.example"),
        ["missing"],
        "nothing stands there yet"
    );

    dns.change(&[&record]);
    assert_eq!(states(&a, "alice.example"), ["verified"]);
    b.pk(["identities", "trust", "alice.example"]).ended(67);
    b.pk(["identities", "discover", "alice.example", "--monitor"])
        .ok();
    let both = [a.id.clone(), "dns:alice.example".to_owned()];
    assert_eq!(members(&b, "alice.example"), both);
    assert_eq!(members(&b, &a.id), both);
    let other = node_with(&[("identities.dns-server", &dns.address())]);
    other.meets(&a);
    other.pk(["identities", "discover", &a.id, "--monitor"]).ok();
    assert_eq!(members(&other, &a.id), both, "found from the other end");
    b.pk(["identities", "trust", "alice.example"]).ok();
    let found = b.pk(["identities", "search", "alice", "--json"]).ok().json();
    assert_eq!(found["nodes"][0], a.id);

    // What is taken down ends the link and leaves the right where the user gave it: at the node.
    dns.change(&[]);
    assert_eq!(states(&b, "alice.example"), ["ended"]);
    b.comes_to_be_told("IdentityUnlinked");
    assert_eq!(members(&b, &a.id), [a.id.as_str()]);
    let proof = &b.pk(["identities", "verify", "alice.example", "--json"]).json()[0];
    assert_eq!(proof["former"][0]["reason"], "gone");
    assert_eq!(proof["former"][0]["nodeIdEncoded"], a.id);
    let may = b.pk(["identities", "permissions", &a.id]).ok();
    assert_eq!(may.text(), "notify\n");
}

#[test]
fn an_account_that_was_taken_over_gives_no_rights() {
    let Some(mut dns) = NameServer::start(&[]) else {
        return;
    };
    let settings = [("identities.dns-server", &*dns.address())];
    let (a, b) = pair_with(&settings);
    let thief = node_with(&settings);
    b.meets(&thief);
    let record = |node: &Node| {
        let claimed = node.json(["identities", "claim", "alice.example"]);
        claimed["record"].as_str().expect("a record").to_owned()
    };
    let (own, theirs) = (record(&a), record(&thief));
    dns.change(&[&own]);
    b.pk(["identities", "discover", "alice.example", "--monitor"])
        .ok();
    b.pk(["identities", "trust", "alice.example"]).ok();
    // Two claims are none.
    dns.change(&[&own, &theirs]);
    assert_eq!(states(&b, "alice.example"), ["ended"]);
    dns.change(&[&theirs]);
    assert_eq!(states(&b, "alice.example"), ["verified"]);
    b.comes_to_be_told("IdentityLinked");
    assert_eq!(b.pk(["identities", "permissions", &thief.id]).ok().text(), "");
    assert_eq!(b.pk(["identities", "permissions", &a.id]).ok().text(), "notify\n");
    b.pk(["vaults", "create", "work"]).ok();
    // The thief's node was never confirmed.
    b.pk(["vaults", "share", "work", "alice.example", "--yes"])
        .ended(64);
    assert_eq!(b.role_of(&thief, "work"), None);
}

#[test]
fn a_domain_is_claimed_by_https_and_a_revoked_claim_ends_it() {
    let Some(web) = WebServer::start() else { return };
    let (a, b) = pair_with(&[
        ("identities.https-url", &web.url()),
        ("identities.ca", &web.authority()),
    ]);
    let claimed = a.json(["identities", "claim", "https:alice.example"]);
    let line = claimed["line"].as_str().expect("a line");
    web.publish("alice.example", &format!("Alice's nodes\n{line}\n"));
    b.pk(["identities", "discover", "https:alice.example", "--monitor"])
        .ok();
    assert_eq!(states(&b, "alice.example"), ["verified"]);
    assert_eq!(members(&b, "alice.example").len(), 2);
    // A page of the same text at another domain proves nothing.
    web.publish("mallory.example", line);
    assert_eq!(states(&b, "https:mallory.example"), ["missing"]);
    // Nobody follows a redirect.
    assert_eq!(states(&b, "https:away.example"), ["failed"]);
    a.pk(["identities", "unclaim", "https:alice.example"]).ok();
    assert_eq!(states(&b, "alice.example"), ["ended"]);
    b.comes_to_be_told("IdentityUnlinked");
    web.take_down("alice.example");
    assert_eq!(states(&b, "alice.example"), ["ended"]);
    a.pk(["identities", "unclaim", "https:alice.example"]).ended(67);
}

/// GitHub as far as it is used: the login, gists, and the plain page.
#[derive(Default)]
struct GitHub {
    polls: usize,
    gist: Option<String>,
}

impl GitHub {
    fn serve(shared: &Arc<Mutex<GitHub>>, base: &str, asked: &Asked, stream: &mut std::net::TcpStream) {
        let mut github = shared.lock().expect("no panic");
        let authorized = asked
            .head
            .to_ascii_lowercase()
            .contains("authorization: bearer gho_token");
        match &*asked.line {
            "POST /login/device/code" => {
                assert!(asked.body.contains("client_id=app1"), "{}", asked.body);
                let body = json!({
                    "device_code": "dev1", "user_code": "AB12-CD34", "interval": 1, "expires_in": 900,
                    "verification_uri": format!("{base}/login/device"),
                });
                answer(stream, 200, "", &body.to_string());
            }
            "POST /login/oauth/access_token" => {
                github.polls += 1;
                let body = match github.polls {
                    1 => r#"{"error":"authorization_pending"}"#,
                    _ => r#"{"access_token":"gho_token","token_type":"bearer","scope":"gist"}"#,
                };
                answer(stream, 200, "", body);
            }
            "GET /api/user" if authorized => answer(stream, 200, "", r#"{"login":"Alice"}"#),
            "POST /api/gists" if authorized => {
                let gist: serde_json::Value = serde_json::from_str(&asked.body).expect("JSON");
                assert_eq!(gist["public"], true);
                let content = gist["files"]["polykey-claim.txt"]["content"].as_str();
                github.gist = content.map(str::to_owned);
                let body = json!({ "html_url": format!("{base}/gist/alice/abc123") });
                answer(stream, 201, "", &body.to_string());
            }
            line if line.starts_with("GET /api/users/alice/gists") => {
                let list = match &github.gist {
                    Some(_) => json!([{
                        "id": "abc123", "public": true, "owner": { "login": "Alice" },
                        "files": { "polykey-claim.txt": { "filename": "polykey-claim.txt", "size": 400 } },
                    }]),
                    None => json!([]),
                };
                answer(stream, 200, "", &list.to_string());
            }
            "GET /api/gists/abc123" => {
                let body = json!({
                    "id": "abc123", "public": true, "owner": { "login": "Alice" },
                    "files": { "polykey-claim.txt": { "truncated": false, "content": github.gist } },
                });
                answer(stream, 200, "", &body.to_string());
            }
            "GET /api/users/alice" => answer(stream, 200, "", r#"{"login":"Alice","bio":null}"#),
            _ => answer(stream, 404, "", "{}"),
        }
    }
}

#[test]
fn github_is_logged_in_at_published_at_and_looked_at_without_a_login() {
    let github = Arc::new(Mutex::new(GitHub::default()));
    let server = Scripted::start(|_, stream| answer(stream, 500, "", ""));
    let base = server.url();
    let (state, at) = (github.clone(), base.clone());
    server.change(move |asked, stream| GitHub::serve(&state, &at, asked, stream));
    let services = format!("github.com=github@{base}");
    let settings = [
        ("identities.services", &*services),
        ("identities.github-client", "app1"),
    ];
    let (a, b) = pair_with(&settings);

    let before = a
        .pk(["identities", "claim", "github.com:alice"])
        .ok()
        .says("authenticate");
    assert!(before.text().starts_with("polykey-claim:"), "{before:#?}");
    assert_eq!(states(&a, "github.com:alice"), ["missing"]);
    let login = a.pk(["identities", "authenticate", "github.com"]).ok();
    assert!(
        login.text().contains("AB12-CD34") && login.text().contains("Logged in as alice"),
        "{login:#?}"
    );
    let accounts = a.json(["identities", "authenticated"]);
    assert_eq!(
        (&accounts["providerId"], &accounts["identityId"]),
        (&"github.com".into(), &"alice".into())
    );
    a.pk(["identities", "authenticated", "-pi", "gitlab.com"])
        .ok()
        .silent();
    let claimed = a.json(["identities", "claim", "github.com:alice"]);
    assert_eq!(claimed["url"], format!("{base}/gist/alice/abc123"));
    assert_eq!(states(&a, "github.com:alice"), ["verified"]);

    b.pk(["identities", "discover", "github.com:alice", "--monitor"])
        .ok();
    assert_eq!(members(&b, "github.com:alice").len(), 2);
    b.pk(["identities", "authenticate", "gitlab.com"]).ended(64);
    b.pk(["identities", "claim", "unknown.example:alice"])
        .ended(64)
        .says("identities.services");
    github.lock().expect("no panic").gist = None;
    assert_eq!(states(&b, "github.com:alice"), ["ended"]);
    // The token stands in no file as it is.
    let mut folders = vec![a.home.node()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("readable").flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(path),
                Ok(kind) if kind.is_file() => {
                    let bytes = std::fs::read(&path).expect("readable");
                    let found = bytes.windows(9).any(|part| part == b"gho_token");
                    assert!(!found, "{}", path.display());
                }
                _ => {}
            }
        }
    }
}

#[test]
fn a_node_goes_by_its_identity_wherever_a_node_is_meant() {
    let server = Scripted::start(|_, stream| answer(stream, 404, "", "{}"));
    let services = format!("git.example=gitea@{}", server.url());
    let (a, b) = pair_with(&[("identities.services", &services)]);
    let alice = "git.example:alice";
    for args in [
        &["nodes", "ping", alice][..],
        &["notifications", "send", alice, "hi"],
    ] {
        b.pk(args.iter().copied()).ended(67);
    }
    let line = a.json(["identities", "claim", alice])["line"].clone();
    let body = json!({ "login": "alice", "description": line }).to_string();
    server.change(move |_, stream| answer(stream, 200, "", &body));
    b.pk(["identities", "discover", alice, "--monitor"]).ok();
    b.pk(["vaults", "create", "work"]).ok();
    for args in [
        &["nodes", "ping", alice][..],
        &["nodes", "find", alice],
        &["nodes", "claims", alice],
        &["notifications", "send", alice, "hi"],
        &["identities", "invite", alice],
        &["nodes", "name", alice, "anna"],
        &["nodes", "block", alice],
        &["nodes", "unblock", alice],
        &["doctor", "--network", alice],
    ] {
        b.pk(args.iter().copied()).ok();
    }
    a.comes_to_be_told("GestaltInvite");
    b.pk(["vaults", "scan", alice]).ended(77);
    // What is given to a node goes to none that is only named by an account.
    b.pk(["nodes", "name", "anna", "--remove"]).ok();
    for args in [
        &["vaults", "invite", "work", "--to", alice][..],
        &["keys", "encrypt", "-", alice],
    ] {
        b.pk(args.iter().copied()).ended(77).says("identities trust");
    }
    b.pk(["identities", "trust", alice]).ok();
    b.pk(["vaults", "invite", "work", "--to", alice]).ok();
    b.pk(["nodes", "name", alice, "anna"]).ok();
    for who in [alice, "anna"] {
        let sealed = b.pk_with_input(["keys", "encrypt", "-", who], b"for alice").ok();
        let opened = a.pk_with_input(["keys", "decrypt", "-"], &sealed.stdout).ok();
        assert_eq!(opened.stdout, b"for alice");
        let signature = a.home.path().join("signature");
        let signed = a.pk_with_input(["keys", "sign", "-"], b"by alice").ok();
        std::fs::write(&signature, signed.stdout).expect("written");
        let signature = signature.to_str().expect("a plain path");
        b.pk_with_input(["keys", "verify", "-", signature, who], b"by alice")
            .ok();
        b.pk_with_input(["keys", "verify", "-", signature, who], b"by mallory")
            .ended(1);
    }
    b.pk(["vaults", "share", "work", alice, "--yes"]).ok();
    let members = b.json(["vaults", "members", "work"]);
    let mut members = members.as_array().expect("a list").iter();
    let alices = members
        .find(|member| member["nodeIdEncoded"] == a.id)
        .expect("in");
    assert_eq!(alices["gestalt"], json!([alice]));
}

#[test]
fn answers_from_hell_are_bounded_and_change_nothing() {
    let server = Scripted::start(|_, stream| answer(stream, 404, "", "{}"));
    let services = format!("git.example=gitea@{}", server.url());
    let (a, b) = pair_with(&[("identities.services", &services)]);
    let line = a.json(["identities", "claim", "git.example:alice"])["line"].clone();
    let line = line.as_str().expect("a line").to_owned();
    let profile = move |line: &str| {
        let body = json!({ "login": "alice", "description": line }).to_string();
        move |_: &Asked, stream: &mut std::net::TcpStream| answer(stream, 200, "", &body)
    };
    server.change(profile(&line));
    b.pk(["identities", "discover", "git.example:alice", "--monitor"])
        .ok();
    assert_eq!(states(&b, "git.example:alice"), ["verified"]);

    // A look that fails only makes the link older.
    type Hell = fn(&Asked, &mut std::net::TcpStream);
    let failures: [Hell; 8] = [
        |_, stream| answer(stream, 200, "", &"x".repeat(10 << 20)),
        |_, stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 x\r\n\r\n");
            while stream.write_all(&[b'<'; 65_536]).is_ok() {}
        },
        |_, stream| {
            answer(
                stream,
                200,
                "content-type: text/html\r\n",
                "<script>alert(1)</script>",
            );
        },
        |_, stream| answer(stream, 302, "location: file:///etc/passwd\r\n", ""),
        |_, stream| answer(stream, 301, "location: http://127.0.0.1:1/\r\n", ""),
        |_, stream| answer(stream, 403, "retry-after: 1\r\n", "{}"),
        |_, stream| answer(stream, 429, "retry-after: 1\r\n", "{}"),
        |_, stream| answer(stream, 200, "", r#"{"login":"mallory","description":""}"#),
    ];
    for (number, hell) in failures.into_iter().enumerate() {
        server.change(hell);
        assert_eq!(states(&b, "git.example:alice"), ["failed"], "{number}");
        assert_eq!(
            members(&b, "git.example:alice").len(),
            2,
            "{number}: the link holds"
        );
    }
    // Back-off: what failed waits, and a storm does not stop the rest.
    b.pk(["identities", "discover", "git.example:alice", "--monitor"])
        .ok();
    let queue = b.json(["identities", "queue"]);
    let mut tasks = queue.as_array().expect("a list").iter();
    let task = tasks
        .find(|task| task["id"] == "git.example:alice")
        .expect("in the queue");
    assert!(
        task["failures"].as_u64() > Some(0) && task["status"] == "scheduled",
        "{task}"
    );
    assert_eq!(
        (&task["parameters"], &task["priority"], &task["deadline"]),
        (&json!(["git.example:alice"]), &json!(255), &json!(60_000)),
    );
    let span = task["scheduled"].as_u64().expect("a number") - task["created"].as_u64().expect("a number");
    assert!(
        (1..=span).contains(&task["delay"].as_u64().expect("a number")),
        "{task}"
    );

    // What is there and proves something else ends it.
    server.change(profile("nothing any more"));
    assert_eq!(states(&b, "git.example:alice"), ["ended"]);
    let other = b.json(["identities", "claim", "git.example:alice"])["line"].clone();
    let other = other.as_str().expect("a line").to_owned();
    server.change(profile(&format!("{line} {other}")));
    assert_eq!(states(&b, "git.example:alice"), ["ended"]);
    server.change(profile(&line));
    assert_eq!(states(&b, "git.example:alice"), ["verified"]);
}

/// A profile at a service of the kind Gitea, which says this.
fn gitea_profile(says: &str) -> impl FnMut(&Asked, &mut std::net::TcpStream) + Send + 'static {
    let body = json!({ "login": "alice", "description": says }).to_string();
    move |_, stream| answer(stream, 200, "", &body)
}

/// The words of the witnesses of the one proof, with what `verify` says besides.
fn words(node: &Node, who: &str) -> (Vec<String>, Ended) {
    let ended = node.pk(["identities", "verify", who, "--json"]);
    let proofs = ended.json();
    let heard = proofs[0]["witnesses"].as_array().expect("a list").iter();
    let words = heard.map(|witness| witness["word"].as_str().expect("a text").to_owned());
    (words.collect(), ended)
}

#[test]
fn those_whom_the_user_trusts_say_what_they_saw_and_contradict_loudly() {
    // The service shows one page to Bob and another to Carol.
    let [for_bob, for_carol] = [(); 2].map(|()| Scripted::start(|_, stream| answer(stream, 404, "", "{}")));
    let node_at = |server: &Scripted| {
        let services = format!("git.example=gitea@{}", server.url());
        node_with(&[("identities.services", &services)])
    };
    let (alice, thief, bob) = (node_at(&for_bob), node_at(&for_bob), node_at(&for_bob));
    let carol = node_at(&for_carol);
    for node in [&bob, &carol] {
        node.meets(&alice);
        node.meets(&thief);
    }
    bob.meets(&carol);
    carol.meets(&bob);
    carol.pk(["nodes", "name", &bob.id, "bob"]).ok();
    bob.pk(["nodes", "name", &carol.id, "carol"]).ok();
    let line = |node: &Node| {
        let claimed = node.json(["identities", "claim", "git.example:alice"]);
        claimed["line"].as_str().expect("a line").to_owned()
    };
    let (own, theirs) = (line(&alice), line(&thief));
    for server in [&for_bob, &for_carol] {
        server.change(gitea_profile(&own));
    }
    let who = "git.example:alice";
    let none: [String; 0] = [];
    assert_eq!(words(&carol, who).0, none, "nobody else was asked");
    // Both have to trust: Bob to be told, and Carol to tell.
    bob.pk(["identities", "trust", "carol"]).ok();
    assert_eq!(words(&bob, who).0, none);
    bob.pk(["identities", "untrust", "carol"]).ok();
    carol.pk(["identities", "trust", "bob"]).ok();
    assert_eq!(words(&bob, who).0, none);
    bob.pk(["identities", "trust", "carol"]).ok();
    let (heard, ended) = words(&bob, who);
    assert_eq!((heard, ended.code), (vec!["agrees".to_owned()], 0));
    let witness = &ended.json()[0]["witnesses"][0];
    assert_eq!(
        (
            &witness["petname"],
            &witness["nodeIdEncoded"],
            &witness["saw"]["nodeIdEncoded"]
        ),
        (
            &"carol".into(),
            &carol.id.clone().into(),
            &alice.id.clone().into()
        )
    );
    let shown = bob.pk(["identities", "verify", who]).ok();
    assert!(shown.text().contains("witness\tcarol\tagrees"), "{shown:#?}");
    let alone = bob.json(["identities", "verify", who, "--alone"]);
    assert_eq!(alone[0]["witnesses"], json!([]));

    // The page is kept from Bob: Carol saw it.
    for_bob.change(gitea_profile(""));
    let (heard, ended) = words(&bob, who);
    assert_eq!((heard, ended.code), (vec!["contradicts".to_owned()], 1));
    bob.pk(["identities", "verify", who])
        .ended(1)
        .says("carol saw something else");
    assert_eq!(members(&bob, who), [""; 0], "her word links nobody");
    // It shows Bob the thief: that holds as far as Bob can see, and Carol saw Alice.
    for_bob.change(gitea_profile(&theirs));
    let (heard, ended) = words(&bob, who);
    assert_eq!((heard, ended.code), (vec!["contradicts".to_owned()], 0));
    let saw = &ended.says("carol saw something else").json()[0]["witnesses"][0]["saw"];
    assert_eq!(saw["nodeIdEncoded"], alice.id);
    let shown = bob.pk(["identities", "verify", who]).ok();
    assert!(shown.text().contains("witness\tcarol\tCONTRADICTS"), "{shown:#?}");
    // Her word takes no link either, and gives no right.
    assert!(members(&bob, who).contains(&thief.id));
    for node in [&alice, &thief] {
        assert_eq!(bob.pk(["identities", "permissions", &node.id]).ok().text(), "");
    }
    // Nothing is asked of those who are away.
    carol.stop();
    assert_eq!(words(&bob, who).0, none);
}

#[test]
fn own_devices_are_witnesses_also_of_what_is_their_own() {
    let [at_home, away] = [(); 2].map(|()| Scripted::start(|_, stream| answer(stream, 404, "", "{}")));
    let [laptop, phone] = [&at_home, &away].map(|server| {
        let services = format!("git.example=gitea@{}", server.url());
        node_with(&[("identities.services", &services)])
    });
    let who = "git.example:alice";
    let claimed = laptop.json(["identities", "claim", who]);
    let line = claimed["line"].as_str().expect("a line").to_owned();
    pair_up(&laptop, "laptop", &phone, "phone");
    away.change(gitea_profile(&line));
    assert_eq!(states(&phone, who), ["verified"]);
    // The service hides it from the one at home.
    eventually("the phone says what it saw", || {
        words(&laptop, who).0 == ["contradicts"]
    });
    at_home.change(gitea_profile(&line));
    let (heard, ended) = words(&laptop, who);
    assert_eq!((heard, ended.code), (vec!["agrees".to_owned()], 0));
    let witness = &ended.json()[0]["witnesses"][0];
    assert_eq!(
        (&witness["nodeIdEncoded"], &witness["ownDevice"]),
        (&phone.id.clone().into(), &true.into())
    );
    eventually("the phone is shown by its name", || {
        let shown = laptop.pk(["identities", "verify", who]).ok();
        shown.text().contains("\tphone (own device)\tagrees")
    });
}

#[test]
fn offline_nobody_is_asked_whom_the_user_did_not_name() {
    let (a, b) = pair();
    for identity in ["github.com:alice", "dns:alice.example", "https:alice.example"] {
        a.pk(["identities", "claim", identity]).ok();
        let proofs = a.pk(["identities", "verify", identity, "--json"]).ended(1).json();
        let reasons = proofs.as_array().expect("a list").iter();
        let told = reasons.filter(|proof| {
            proof["reason"]
                .as_str()
                .is_some_and(|text| text.contains("offline"))
        });
        assert!(told.count() > 0, "{proofs}");
    }
    let providers = b.json(["identities", "providers"]);
    let reachable = providers.as_array().expect("a list").iter();
    assert_eq!(
        reachable.filter(|provider| provider["reachable"] == true).count(),
        0
    );
    b.pk(["identities", "discover", &a.id, "--monitor"]).ok();
    eventually("the node was looked at", || members(&b, &a.id) == [a.id.as_str()]);
}

#[test]
fn a_private_network_admits_only_its_members() {
    let Some(dns) = NameServer::start(&[]) else {
        return;
    };
    let mut dns = dns;
    let server = dns.address();
    let settings = [("identities.dns-server", &*server)];
    let (alice, stranger) = (node_with(&settings), node_with(&settings));
    let claimed = alice.json(["identities", "claim", "alice.example"]);
    dns.change(&[claimed["record"].as_str().expect("a record")]);
    let private = node_with(&[
        ("identities.dns-server", &*server),
        ("network-members", &format!("{};alice.example", alice.id)),
    ]);
    for node in [&alice, &stranger] {
        node.knows(&private);
        private.knows(node);
    }
    alice.pk(["nodes", "ping", &private.id]).ok();
    stranger.pk(["nodes", "ping", &private.id]).ended(1);
    private.pk(["nodes", "ping", &stranger.id]).ended(1);
    private.pk(["nodes", "ping", &alice.id]).ok();
    // By the name alone, once it was found out who that is.
    private
        .pk(["identities", "discover", "alice.example", "--monitor"])
        .ok();
    private.stop();
    private
        .home
        .pk(["config", "set", "network-members", "alice.example"])
        .ok();
    private.start();
    for node in [&alice, &stranger] {
        node.knows(&private);
    }
    alice.pk(["nodes", "ping", &private.id]).ok();
    stranger.pk(["nodes", "ping", &private.id]).ended(1);
}

#[test]
fn a_member_of_a_private_network_with_new_keys_stays_one() {
    let home = Home::empty();
    home.pk(["bootstrap", "--recovery-code-out-file", "code"]).ok();
    let code = std::fs::read_to_string(home.path().join("code")).expect("written");
    let (mut member, stranger) = (Node::in_home(home), Node::new());
    let private = node_with(&[("network-members", &member.id)]);
    for node in [&member, &stranger] {
        node.knows(&private);
        private.knows(node);
    }
    private.pk(["vaults", "create", "work"]).ok();
    private.write("work:x", "1");
    private.shares("work", &member, "reader");
    member.pk(["vaults", "clone", "work", &private.id]).ok();
    let mut renew = member.command(["keys", "renew"]);
    renew
        .env("PK_RECOVERY_CODE", &code)
        .env("PK_PASSWORD_NEW", crate::home::PASSWORD);
    crate::home::run(renew, b"").ok();
    member.id = member.status()["nodeId"].as_str().expect("an id").to_owned();
    private.comes_to_be_told("NodeSucceeded");
    private.write("work:x", "2");
    member.comes_to_read("work:x", "2");
    private.pk(["nodes", "ping", &member.id]).ok();
    // After a restart, too.
    private.stop();
    private.start();
    member.pk(["nodes", "ping", &private.id]).ok();
    // Who has proven nothing stays outside, and is told apart from who is blocked.
    stranger.pk(["nodes", "ping", &private.id]).ended(1);
    let doctor = private.pk(["doctor", "--network", &stranger.id]).ended(1);
    assert!(doctor.text().contains("no member"), "{doctor:#?}");
    assert!(!doctor.text().contains("block"), "{doctor:#?}");
}

#[test]
fn a_gestalt_is_drawn_as_text_and_as_a_picture() {
    let Some(mut dns) = NameServer::start(&[]) else {
        return;
    };
    let a = node_with(&[("identities.dns-server", &dns.address())]);
    let claimed = a.json(["identities", "claim", "alice.example"]);
    let alone = a.pk(["identities", "graph", &a.id]).ok();
    assert!(alone.text().contains("the other end does not"), "{alone:#?}");
    dns.change(&[claimed["record"].as_str().expect("a record")]);
    assert_eq!(states(&a, "alice.example"), ["verified"]);
    let drawn = a.pk(["identities", "graph", "alice.example"]).ok();
    let want = format!("dns:alice.example\n└─ identity: {} (this node)\n", a.id);
    assert_eq!(drawn.text(), want);
    a.pk(["identities", "graph", "alice.example", "--svg", "alice.svg"])
        .ok()
        .silent();
    let svg = std::fs::read_to_string(a.home.path().join("alice.svg")).expect("drawn");
    assert!(
        svg.starts_with("<svg") && svg.contains(&a.id) && !svg.contains("<script"),
        "{svg}"
    );
    a.pk(["identities", "graph", "nobody.example"]).ended(67);
}

#[test]
fn a_vault_is_shared_with_somebody_by_name() {
    let Some(mut dns) = NameServer::start(&[]) else {
        return;
    };
    let (a, b) = pair_with(&[("identities.dns-server", &dns.address())]);
    let claimed = a.json(["identities", "claim", "alice.example"]);
    dns.change(&[claimed["record"].as_str().expect("a record")]);
    b.pk(["vaults", "create", "work"]).ok();
    b.write("work:x", "1");
    b.pk(["vaults", "share", "work", "alice.example", "--yes"])
        .ended(67);
    b.pk(["identities", "discover", "alice.example", "--monitor"])
        .ok();
    // Nobody is there to be asked, and nobody was confirmed before.
    b.pk(["vaults", "share", "work", "alice.example"])
        .ended(64)
        .says("--yes");
    b.pk(["vaults", "share", "work", "alice.example", "--yes"])
        .ended(64);
    assert_eq!(b.role_of(&a, "work"), None);

    b.pk(["agent", "unlock"]).ok();
    let order = ["vaults", "share", "work", "alice.example", "--role", "writer"];
    let Some(mut terminal) = Terminal::open(&b.home, &order) else {
        return;
    };
    let shown = terminal.until("Share with it? [y/N] ");
    assert!(
        shown.contains(&a.id) && shown.contains("dns:alice.example since"),
        "{shown}"
    );
    terminal.line("y");
    assert_eq!(terminal.end().0, 0);
    assert_eq!(b.role_of(&a, "work").as_deref(), Some("writer"));
    a.comes_to_be_offered("work", &b);
    a.pk(["vaults", "clone", "work", &b.id]).ok();
    a.reads("work:x", "1");
    // Who was confirmed once is taken for another vault without a question.
    b.pk(["vaults", "create", "more"]).ok();
    b.pk(["vaults", "share", "more", "alice.example", "--yes"]).ok();
    assert_eq!(b.role_of(&a, "more").as_deref(), Some("reader"));
    b.pk(["vaults", "unshare", "work", "alice.example"]).ok();
    assert_eq!(b.role_of(&a, "work"), None);
    b.pk(["vaults", "unshare", "work", "alice.example"]).ended(67);
    b.pk(["vaults", "unshare", "more", &a.id]).ok();
    assert_eq!(b.role_of(&a, "more"), None);
}
