//! Providers as a conversation: what is fetched, and what follows from each answer.

use std::time::Duration;

use proptest::prelude::*;

use super::login::{DeviceLogin, Login, Token};
use super::*;
use crate::armour::{MARK, find};

fn id(text: &str) -> IdentityId {
    text.parse().unwrap()
}

fn http(status: u16, body: impl Into<Vec<u8>>) -> Answer {
    Answer::Http {
        status,
        body: body.into(),
        wait: None,
    }
}

/// Asks the default providers about `identity`, answering in turn, and checks each URL. The last step.
#[track_caller]
fn talk(identity: &str, turns: &[(&str, Answer)]) -> Result<Step, ProviderError> {
    let providers = Providers::default();
    let mut reading = providers.read(&id(identity))?;
    let mut step = None;
    for (url, answer) in turns {
        let asked = match reading.fetch() {
            Fetch::Txt { name } => name.clone(),
            Fetch::Http(request) => request.url.clone(),
        };
        assert_eq!(asked, *url);
        let next = reading.answer(answer)?;
        let is_more = matches!(next, Step::Fetch(_));
        step = Some(next);
        if !is_more {
            break;
        }
    }
    Ok(step.expect("at least one turn"))
}

fn page(text: &str) -> Result<Step, ProviderError> {
    Ok(Step::Page(text.to_owned()))
}

const GISTS: &str = "https://api.github.com/users/alice/gists?per_page=100";
const GIST: &str = "https://api.github.com/gists/0a1b";
const USER: &str = "https://api.github.com/users/alice";
const ACTOR: &str = "https://mastodon.social/users/alice";
const FINGER: &str = "https://mastodon.social/.well-known/webfinger?resource=acct:alice@mastodon.social";

fn gists(owner: &str, gist: &str, file: &str) -> Answer {
    http(
        200,
        format!(
            r#"[{{"id":"ff","owner":{{"login":"x"}},"files":{{"other.txt":{{}}}}}},
                {{"id":"{gist}","owner":{{"login":"{owner}"}},"files":{{"{file}":{{"raw_url":"https://evil.example/"}}}}}}]"#
        ),
    )
}

fn finger(subject: &str, href: &str) -> Answer {
    http(
        200,
        format!(
            r#"{{"subject":"{subject}","links":[{{"rel":"http://webfinger.net/rel/profile-page","href":"https://x"}},
                {{"rel":"self","type":"application/activity+json","href":"{href}"}}]}}"#
        ),
    )
}

#[test]
fn each_provider_reads_its_page() {
    let none = String::new();
    let txt = |records: &[&str]| Answer::Txt(records.iter().map(|text| (*text).to_owned()).collect());
    let dns = "_polykey.example.org";
    assert_eq!(
        talk("dns:example.org", &[(dns, txt(&["a b", "c"]))]),
        page("a b\nc")
    );
    assert_eq!(talk("dns:example.org", &[(dns, txt(&[]))]), Ok(Step::Gone));

    let site = "https://example.org/.well-known/polykey.txt";
    assert_eq!(
        talk("https:example.org", &[(site, http(200, "hello&#58;\n"))]),
        page("hello:\n")
    );
    assert_eq!(
        talk("https:example.org", &[(site, http(404, ""))]),
        Ok(Step::Gone)
    );

    let gist =
        format!(r#"{{"owner":{{"login":"ALICE"}},"files":{{"{FILE_NAME}":{{"content":"the line"}}}}}}"#);
    let found = gists("Alice", "0a1b", FILE_NAME);
    assert_eq!(
        talk("github.com:alice", &[(GISTS, found), (GIST, http(200, gist))]),
        page("the line")
    );
    let bio = r#"{"login":"alice","bio":"the bio"}"#;
    assert_eq!(
        talk(
            "github.com:alice",
            &[(GISTS, http(200, "[]")), (USER, http(200, bio))]
        ),
        page("the bio")
    );
    let bio = r#"{"login":"alice","bio":null}"#;
    assert_eq!(
        talk(
            "github.com:alice",
            &[(GISTS, http(200, "[]")), (USER, http(200, bio))]
        ),
        page(&none)
    );
    assert_eq!(
        talk("github.com:alice", &[(GISTS, http(404, "{}"))]),
        Ok(Step::Gone)
    );
    // Without a token the API refuses soon; the plain page says the same.
    for status in [403, 429] {
        let plain = "https://gist.github.com/alice";
        let turns = [
            (GISTS, http(status, "{}")),
            (plain, http(200, "\n<html>polykey&#45;x")),
        ];
        assert_eq!(talk("github.com:alice", &turns), page("\n<html>polykey-x"));
    }

    let gitea = "https://codeberg.org/api/v1/users/alice";
    let user = r#"{"login":"alice","description":"words"}"#;
    assert_eq!(
        talk("codeberg.org:alice", &[(gitea, http(200, user))]),
        page("words")
    );

    let list = "https://gitlab.com/api/v4/users?username=alice";
    let user = "https://gitlab.com/api/v4/users/7";
    let turns = [
        (list, http(200, r#"[{"id":7,"username":"alice"}]"#)),
        (user, http(200, r#"{"id":7,"username":"alice","bio":"words"}"#)),
    ];
    assert_eq!(talk("gitlab.com:alice", &turns), page("words"));
    assert_eq!(
        talk("gitlab.com:alice", &[(list, http(200, "[]"))]),
        Ok(Step::Gone)
    );

    let actor =
        r#"{"preferredUsername":"alice","summary":"<p>me</p>","attachment":[{"value":"one"},{"value":2}]}"#;
    let turns = [
        (FINGER, finger("acct:alice@mastodon.social", ACTOR)),
        (ACTOR, http(200, actor)),
    ];
    assert_eq!(talk("mastodon.social:alice", &turns), page("one\n<p>me</p>\n"));
    assert_eq!(
        talk("mastodon.social:alice", &[(FINGER, http(410, ""))]),
        Ok(Step::Gone)
    );
}

/// An identity, what is fetched and answered for it, and what is wrong.
type Case = (&'static str, Vec<(&'static str, Answer)>, ProviderError);

#[test]
fn what_is_not_such_an_answer_is_a_failed_look() {
    use ProviderError::{Busy, Malformed, OtherAccount, OtherHost, Status};
    let site = "https://example.org/.well-known/polykey.txt";
    let gitea = "https://codeberg.org/api/v1/users/alice";
    let list = "https://gitlab.com/api/v4/users?username=alice";
    let good = || gists("alice", "0a1b", FILE_NAME);
    let subject = "acct:alice@mastodon.social";
    let deep = "[".repeat(100_000);
    let wait = Some(Duration::from_secs(9));
    let busy = Answer::Http {
        status: 503,
        body: vec![],
        wait,
    };
    let cases: Vec<Case> = vec![
        (
            "https:example.org",
            vec![(site, http(500, ""))],
            Status { status: 500 },
        ),
        (
            "https:example.org",
            vec![(site, http(302, ""))],
            Status { status: 302 },
        ),
        (
            "https:example.org",
            vec![(site, http(403, ""))],
            Status { status: 403 },
        ),
        (
            "https:example.org",
            vec![(site, http(429, ""))],
            Busy { wait: None },
        ),
        ("https:example.org", vec![(site, busy)], Busy { wait }),
        (
            "https:example.org",
            vec![(site, http(200, vec![b' '; MAX_BODY_LEN + 1]))],
            Malformed,
        ),
        ("https:example.org", vec![(site, Answer::Txt(vec![]))], Malformed),
        (
            "dns:example.org",
            vec![("_polykey.example.org", http(200, ""))],
            Malformed,
        ),
        (
            "dns:example.org",
            vec![("_polykey.example.org", Answer::Txt(vec![String::new(); 65]))],
            Malformed,
        ),
        ("github.com:alice", vec![(GISTS, http(200, "{}"))], Malformed),
        ("github.com:alice", vec![(GISTS, http(200, "<html>"))], Malformed),
        ("github.com:alice", vec![(GISTS, http(200, deep))], Malformed),
        (
            "github.com:alice",
            vec![(GISTS, gists("mallory", "0a1b", FILE_NAME))],
            OtherAccount,
        ),
        (
            "github.com:alice",
            vec![(GISTS, gists("alice", "../../users/mallory", FILE_NAME))],
            Malformed,
        ),
        (
            "github.com:alice",
            vec![(GISTS, gists("alice", "", FILE_NAME))],
            Malformed,
        ),
        (
            "github.com:alice",
            vec![
                (GISTS, good()),
                (
                    GIST,
                    http(
                        200,
                        r#"{"owner":{"login":"mallory"},"files":{"polykey-claim.txt":{"content":"x"}}}"#,
                    ),
                ),
            ],
            OtherAccount,
        ),
        (
            "github.com:alice",
            vec![
                (GISTS, good()),
                (
                    GIST,
                    http(
                        200,
                        r#"{"owner":{"login":"alice"},"files":{"polykey-claim.txt":{"content":7}}}"#,
                    ),
                ),
            ],
            Malformed,
        ),
        (
            "github.com:alice",
            vec![
                (GISTS, http(200, "[]")),
                (USER, http(200, r#"{"login":"bob","bio":"x"}"#)),
            ],
            OtherAccount,
        ),
        (
            "codeberg.org:alice",
            vec![(gitea, http(200, r#"{"login":"bob","description":"x"}"#))],
            OtherAccount,
        ),
        (
            "codeberg.org:alice",
            vec![(gitea, http(200, r#"{"description":"x"}"#))],
            Malformed,
        ),
        (
            "codeberg.org:alice",
            vec![(gitea, http(200, r#"{"login":"alice","description":["x"]}"#))],
            Malformed,
        ),
        (
            "gitlab.com:alice",
            vec![(list, http(200, r#"[{"id":7,"username":"bob"}]"#))],
            OtherAccount,
        ),
        (
            "gitlab.com:alice",
            vec![(list, http(200, r#"[{"id":"7/../8","username":"alice"}]"#))],
            Malformed,
        ),
        (
            "gitlab.com:alice",
            vec![(list, http(200, r#"[{"id":7},{"id":8}]"#))],
            Malformed,
        ),
        (
            "mastodon.social:alice",
            vec![(FINGER, finger("acct:bob@mastodon.social", ACTOR))],
            OtherAccount,
        ),
        (
            "mastodon.social:alice",
            vec![(FINGER, finger("acct:alice@evil.example", ACTOR))],
            OtherAccount,
        ),
        (
            "mastodon.social:alice",
            vec![(FINGER, finger(subject, "https://evil.example/alice"))],
            OtherHost,
        ),
        (
            "mastodon.social:alice",
            vec![(FINGER, finger(subject, "http://mastodon.social/alice"))],
            OtherHost,
        ),
        (
            "mastodon.social:alice",
            vec![(FINGER, finger(subject, "https://mastodon.social@evil.example/"))],
            OtherHost,
        ),
        (
            "mastodon.social:alice",
            vec![(FINGER, finger(subject, "https://mastodon.social:8080/"))],
            OtherHost,
        ),
        (
            "mastodon.social:alice",
            vec![(FINGER, finger(subject, "https://mastodon.social.evil.example/"))],
            OtherHost,
        ),
        (
            "mastodon.social:alice",
            vec![(
                FINGER,
                finger(subject, "javascript://mastodon.social/%0aalert(1)"),
            )],
            OtherHost,
        ),
        (
            "mastodon.social:alice",
            vec![(FINGER, finger(subject, "//mastodon.social/"))],
            OtherHost,
        ),
        (
            "mastodon.social:alice",
            vec![
                (FINGER, finger(subject, ACTOR)),
                (ACTOR, http(200, r#"{"preferredUsername":"bob"}"#)),
            ],
            OtherAccount,
        ),
        (
            "mastodon.social:alice",
            vec![(FINGER, http(200, r#"{"subject":"acct:alice@mastodon.social"}"#))],
            Malformed,
        ),
    ];
    for (identity, turns, want) in cases {
        assert_eq!(talk(identity, &turns), Err(want), "{identity} {turns:?}");
    }
}

#[test]
fn markup_stays_text_and_an_escaped_line_is_found() {
    let site = "https://example.org/.well-known/polykey.txt";
    let hostile = format!("<script src=x></script><!-- {MARK}00 --> <a href='javascript:x'>");
    let step = talk("https:example.org", &[(site, http(200, hostile.clone()))]).unwrap();
    assert_eq!(step, Step::Page(hostile.clone()));
    assert!(find(&hostile).is_err());
}

#[test]
fn services_are_a_table_that_the_user_adds_to() {
    let mut providers = Providers::default();
    let host = "git.example.org";
    let unknown = providers.read(&id("git.example.org:alice")).map(|_| ());
    assert_eq!(
        unknown,
        Err(ProviderError::Unknown {
            host: host.to_owned()
        })
    );
    let base = BaseUrl::parse("http://127.0.0.1:8080/forge/").unwrap();
    providers.add(host, ServiceKind::Gitea, Some(base)).unwrap();
    let reading = providers.read(&id("git.example.org:alice")).unwrap();
    let want = "http://127.0.0.1:8080/forge/api/v1/users/alice";
    assert!(matches!(reading.fetch(), Fetch::Http(request) if request.url == want));
    for bad in ["dns", "localhost", "Git.example.org", "a b.org", ""] {
        assert!(providers.add(bad, ServiceKind::Gitea, None).is_err(), "{bad}");
    }
    for (name, kind) in [
        ("forgejo", ServiceKind::Gitea),
        ("mastodon", ServiceKind::Mastodon),
    ] {
        assert_eq!(ServiceKind::parse(name), Some(kind));
    }
    assert_eq!(ServiceKind::parse("GitHub"), None);
}

#[test]
fn base_urls_are_plain() {
    for good in [
        "https://example.org",
        "http://127.0.0.1:1/x/",
        "https://[::1]:8443",
    ] {
        assert!(BaseUrl::parse(good).is_ok(), "{good}");
    }
    for bad in [
        "",
        "example.org",
        "ftp://example.org",
        "javascript:alert(1)",
        "https://",
        "https:///x",
        "https://a@b",
        "https://a?b",
        "https://a#b",
        "https://a b",
        "https://a\nb",
        "HTTPS://a",
        "https://\u{fc}.org",
    ] {
        assert_eq!(BaseUrl::parse(bad), Err(ProviderError::BaseUrl), "{bad}");
    }
}

fn token(text: &[u8]) -> Result<Token, ProviderError> {
    Token::parse(polykey_core::SecretBytes::new(text.to_vec()))
}

#[test]
fn tokens_stay_out_of_logs() {
    for bad in [&b""[..], b"a b", b"a\r\nx: y", b"\xff", &[b'a'; 1025]] {
        assert!(token(bad).is_err());
    }
    let github = GitHub::at("github.com", None).with_token(token(b"sesame").unwrap());
    let request = github.publish("the line");
    assert_eq!(request.url, "https://api.github.com/gists");
    assert!(
        request
            .headers
            .contains(&("authorization", "Bearer sesame".to_owned()))
    );
    assert!(!format!("{github:?} {request:?}").contains("sesame"));
    let body = request.body.unwrap();
    assert!(body.contains("the line") && body.contains(FILE_NAME));
    assert_eq!(
        github.account(&http(200, r#"{"login":"Alice"}"#)),
        Ok("alice".to_owned())
    );
    assert_eq!(
        github.account(&http(200, r#"{"login":"a/b"}"#)),
        Err(ProviderError::Malformed)
    );
    assert!(github.account(&http(401, "")).is_err());
    let made = |url: &str| github.published(&http(201, format!(r#"{{"html_url":"{url}"}}"#)));
    assert!(made("https://gist.github.com/alice/0a").is_ok());
    assert_eq!(made("https://evil.example/0a"), Err(ProviderError::OtherHost));
    assert!(github.published(&http(200, "{}")).is_err());
}

#[test]
fn a_login_goes_from_code_to_token() {
    let base = BaseUrl::parse("https://github.com").unwrap();
    let login = DeviceLogin::at(base.clone(), "Iv1.abc").unwrap();
    assert!(DeviceLogin::at(base, "a&scope=repo").is_err());
    assert_eq!(login.begin().body.unwrap(), "client_id=Iv1.abc&scope=gist");
    let text = |url: &str, code: &str| {
        http(
            200,
            format!(
                r#"{{"device_code":"{code}","user_code":"AB-12","verification_uri":"{url}","expires_in":900,"interval":5}}"#
            ),
        )
    };
    let page = "https://github.com/login/device";
    let code = login.code(&text(page, "d3v")).unwrap();
    assert_eq!((&code.user_code[..], &code.url[..]), ("AB-12", page));
    assert!(!format!("{code:?}").contains("d3v"));
    assert!(
        login
            .ask(&code)
            .body
            .unwrap()
            .contains("device_code=d3v&grant_type=urn%3Aietf")
    );
    for bad in [
        "javascript:alert(1)",
        "https://evil.example/login",
        "http://github.com/",
    ] {
        assert!(login.code(&text(bad, "d3v")).is_err(), "{bad}");
    }
    assert!(login.code(&text(page, "d&v")).is_err());
    let ask = |status, body: &str| login.outcome(&code, &http(status, body));
    assert!(
        matches!(ask(200, r#"{"error":"authorization_pending"}"#), Ok(Login::Wait(wait)) if wait.as_secs() == 5)
    );
    assert!(matches!(ask(400, r#"{"error":"slow_down"}"#), Ok(Login::Wait(wait)) if wait.as_secs() == 10));
    assert!(matches!(
        ask(400, r#"{"error":"access_denied"}"#),
        Ok(Login::Denied)
    ));
    assert!(matches!(
        ask(200, r#"{"error":"expired_token"}"#),
        Ok(Login::Expired)
    ));
    let done = ask(200, r#"{"access_token":"gho_x"}"#).unwrap();
    assert_eq!(format!("{done:?}"), "Done(Token(hidden))");
    for bad in [
        "",
        "{}",
        r#"{"access_token":"a\nb"}"#,
        r#"{"access_token":""}"#,
        r#"{"error":"other"}"#,
    ] {
        assert!(ask(200, bad).is_err(), "{bad}");
    }
    assert!(ask(500, r#"{"access_token":"x"}"#).is_err());
}

/// Good answers of every service, to make bad ones from.
fn good_answers() -> Vec<(&'static str, Vec<String>)> {
    let text = |answer: Answer| match answer {
        Answer::Http { body, .. } => String::from_utf8(body).unwrap(),
        Answer::Txt(_) => unreachable!("these are pages"),
    };
    let gist = r#"{"owner":{"login":"alice"},"files":{"polykey-claim.txt":{"content":"x"}}}"#;
    let actor = r#"{"preferredUsername":"alice","summary":"x","attachment":[{"value":"y"}]}"#;
    vec![
        (
            "github.com:alice",
            vec![text(gists("alice", "0a1b", FILE_NAME)), gist.to_owned()],
        ),
        (
            "codeberg.org:alice",
            vec![r#"{"login":"alice","description":"x"}"#.to_owned()],
        ),
        (
            "gitlab.com:alice",
            vec![
                r#"[{"id":7,"username":"alice"}]"#.to_owned(),
                r#"{"id":7,"username":"alice","bio":"x"}"#.to_owned(),
            ],
        ),
        (
            "mastodon.social:alice",
            vec![
                text(finger("acct:alice@mastodon.social", ACTOR)),
                actor.to_owned(),
            ],
        ),
    ]
}

proptest! {
    /// Whatever a service answers, nobody panics, and nothing is fetched from another host.
    #[test]
    fn changed_answers_lead_nowhere_else(
        which in 0..4usize,
        status in prop::sample::select(vec![200u16, 201, 301, 403, 404, 429, 500]),
        is_good in prop::bool::weighted(0.9),
        at in any::<prop::sample::Index>(),
        cut in 0..6usize,
        with in "[ -~\u{e9}]{0,6}",
    ) {
        let (identity, answers) = &good_answers()[which];
        let providers = Providers::default();
        let mut reading = providers.read(&id(identity)).unwrap();
        let host = identity.split(':').next().unwrap();
        for body in answers {
            let Fetch::Http(request) = reading.fetch() else { panic!("these are pages") };
            let asked = request.url.strip_prefix("https://").unwrap().split('/').next().unwrap();
            prop_assert!(asked == host || asked.strip_suffix(host).is_some_and(|front| front.ends_with('.')), "{}", asked);
            let mut bytes = body.clone().into_bytes();
            let from = at.index(bytes.len());
            bytes.splice(from..(from + cut).min(body.len()), with.bytes());
            let answer = http(if is_good { 200 } else { status }, bytes);
            match reading.answer(&answer) {
                Ok(Step::Fetch(_)) => {}
                _ => break,
            }
        }
    }
}

#[test]
fn people_of_an_account_are_read_page_by_page() {
    let id: IdentityId = "github.com:alice".parse().unwrap();
    let github = GitHub::at("github.com", None);
    let asked = github.circle(&id, Circle::Following, 2);
    assert_eq!(
        (asked.method, &*asked.url),
        (
            Method::Get,
            "https://api.github.com/users/alice/following?per_page=100&page=2"
        )
    );
    assert!(
        github
            .circle(&id, Circle::Followers, 1)
            .url
            .contains("/followers?")
    );
    let answer = |status, body: &str| Answer::Http {
        status,
        body: body.as_bytes().to_vec(),
        wait: None,
    };
    let names = |body: &str| {
        let (people, more) = github.people(&id, &answer(200, body))?;
        Ok((people.iter().map(ToString::to_string).collect::<Vec<_>>(), more))
    };
    let page = |count: usize| {
        let people = (0..count).map(|n| format!(r#"{{"login":"p{n}"}}"#));
        format!("[{}]", people.collect::<Vec<_>>().join(","))
    };
    assert_eq!(names("[]"), Ok((vec![], false)));
    // What can be no name of an account is no reason to hide the others.
    let odd =
        r#"[{"login":"Bob"},{"login":"../carol"},{"login":"\u001b[2J"},{"login":7},{},"dave",{"login":""}]"#;
    assert_eq!(names(odd), Ok((vec!["github.com:bob".to_owned()], false)));
    assert!(matches!(names(&page(99)), Ok((people, false)) if people.len() == 99));
    assert!(matches!(names(&page(100)), Ok((people, true)) if people.len() == 100));
    for bad in ["{}", "null", "7", "", "[", &page(101)] {
        assert_eq!(names(bad), Err(ProviderError::Malformed), "{bad:?}");
    }
    for (status, want) in [
        (404, ProviderError::Malformed),
        (401, ProviderError::Status { status: 401 }),
        (429, ProviderError::Busy { wait: None }),
    ] {
        assert_eq!(github.people(&id, &answer(status, "[]")), Err(want));
    }
}
