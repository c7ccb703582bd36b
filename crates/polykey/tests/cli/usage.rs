//! What holds for every command: usage, formats, settings, pages made from the definitions.

use crate::home::{Ended, Home};

#[track_caller]
fn check(home: &Home, args: &[&str], code: i32, says: &str) -> Ended {
    home.pk(args).ended(code).says(says)
}

#[test]
fn wrong_usage_is_64_with_one_sentence_and_a_hint() {
    let home = Home::empty();
    for (args, says) in [
        (&["nope"][..], "unrecognized subcommand 'nope'"),
        (&["keys", "public", "extra"], "unexpected argument 'extra'"),
        (&["keys", "public", "--nope"], "unexpected argument '--nope'"),
        (&["keys", "sign"], "<FILE>"),
        (&["--format", "xml", "keys", "public"], "xml"),
        (&["--client-host", "::1", "keys", "public"], "--node-path"),
        (&["keys", "public", "-cp", "7"], "--node-path"),
        (&["init"], "polykey bootstrap"),
        (&["audit", "--seek-start", "gaga"], "gaga"),
        (&["config", "set", "nope", "1"], "the keys are"),
        (&["config", "set", "agent-port", "x"], "65535"),
    ] {
        check(&home, args, 64, says).silent().says("polykey: error: ");
    }
    for (args, usage) in [
        (
            &["secrets", "set", "v:p", "--zzz"][..],
            "usage: polykey secrets set [OPTIONS] <VAULT:PATH>\n",
        ),
        (
            &["secrets", "env", "v", "--zzz"],
            "usage: polykey secrets env [OPTIONS] <VAULT[:PATH][=NAME]>... [-- <COMMAND>...]\n",
        ),
        (&["--zzz"], "usage: polykey [OPTIONS] <COMMAND>\n"),
    ] {
        let ended = check(&home, args, 64, "--zzz");
        assert!(ended.stderr.ends_with(usage), "{ended:?}");
    }
    let problem = home.pk(["--json", "nope"]).ended(64).problem();
    assert_eq!(
        (problem["code"].as_str(), problem["exit"].as_i64()),
        (Some("usage"), Some(64))
    );
    assert!(!home.node().exists());
}

#[test]
fn the_original_s_two_letter_options_work() {
    let home = Home::empty();
    home.pk(["bootstrap", "-np", "elsewhere", "-rcof", "code"])
        .ok()
        .silent();
    assert!(home.path().join("elsewhere/keys").exists());
    assert!(home.path().join("code").exists());
    let status = home
        .pk(["agent", "status", "-np", "elsewhere", "-f", "json"])
        .ok()
        .json();
    assert_eq!(status["status"], "DEAD");
}

#[test]
fn a_password_file_wins_and_never_leads_to_a_prompt() {
    let home = Home::empty();
    std::fs::write(home.path().join("right"), b"  from a file \n").expect("writes");
    std::fs::write(home.path().join("wrong"), b"no").expect("writes");
    home.pk(["bootstrap", "--password-file", "right"]).ok();
    home.pk(["keys", "public", "--password-file", "right"]).ok();
    home.pk(["keys", "public", "--password-file", "wrong"]).ended(77);
    home.pk(["keys", "public", "--password-file", "absent"]).ended(66);
    home.pk(["keys", "public", "--password-file", "."]).ended(66);
    home.pk(["keys", "public"]).ended(77);
    home.pk_with_input(["keys", "public", "--password-file", "-"], b"from a file")
        .ok();
}

#[test]
fn the_openapi_page_needs_no_agent() {
    let page = Home::empty().pk(["agent", "openapi"]).ok().json();
    assert!(page["paths"]["/v1/keys/public"]["post"]["responses"]["200"].is_object());
}

#[test]
fn audit_shows_what_was_asked_and_notices_harm() {
    let home = Home::live();
    home.pk(["keys", "public"]).ok();
    home.pk_as("wrong", ["keys", "public"]).ended(77);
    let lines = |args: &[&str]| -> Vec<serde_json::Value> {
        let ended = home.pk(args).ok();
        ended
            .text()
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    };
    let seen = lines(&["audit", "--json", "--events", "keys"]);
    assert_eq!(seen.len(), 2);
    assert_eq!(
        (&seen[0]["path"], &seen[0]["data"]["allowed"]),
        (&"keys.public".into(), &true.into())
    );
    assert_eq!(
        (&seen[1]["path"], &seen[1]["data"]["allowed"]),
        (&"keys.public".into(), &false.into())
    );
    assert_eq!(seen[0]["id"].as_str().map(str::len), Some(16));
    assert_eq!(lines(&["audit", "--json", "--events", "key"]).len(), 0);
    assert_eq!(
        lines(&["audit", "--json", "--limit", "1", "--order", "desc"])[0]["path"],
        "audit.read"
    );
    assert_eq!(lines(&["audit", "--json", "--seek-end", "2020-01-01"]).len(), 0);
    assert_eq!(home.pk(["audit", "verify", "--json"]).ok().json()["valid"], true);
    // Records survive a kill at once.
    home.pk(["keys", "cert"]).ok();
    home.signal(rustix::process::Signal::KILL);
    assert_eq!(lines(&["audit", "--json", "--events", "keys.cert"]).len(), 1);
    assert_eq!(home.pk(["audit", "verify", "--json"]).ok().json()["valid"], true);
}
