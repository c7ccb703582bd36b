//! What `ls`, `stat`, `find`, `cat` and the logs print, line by line.

use serde_json::{Value, json};

use crate::home::Home;

fn with_secrets(secrets: &[(&str, &str)]) -> Home {
    let home = Home::live();
    home.pk(["vaults", "create", "v"]).ok();
    for (path, value) in secrets {
        home.pk_with_input(["secrets", "write", &format!("v:{path}")], value.as_bytes())
            .ok();
    }
    home
}

#[test]
fn only_directories_among_several_have_a_heading() {
    let home = with_secrets(&[("a", "1"), ("b", "2"), ("d/x", "3"), ("e/y", "4")]);
    home.pk(["secrets", "mkdir", "v:empty"]).ok();
    for (args, want) in [
        (&["v:a", "v:b"][..], "a\nb\n"),
        (&["v:?", "v:a"], "a\nb\nd\ne\na\n"),
        (&["v:d"], "x\n"),
        (&["v:d", "v:e"], "v:d:\nx\n\nv:e:\ny\n"),
        (&["v:a", "v:d", "v:b"], "a\n\nv:d:\nx\nb\n"),
        (&["v:empty", "v:a"], "v:empty:\na\n"),
    ] {
        let ended = home.pk(["secrets", "ls"].iter().chain(args)).ok();
        assert_eq!(ended.text(), want, "{args:?}");
    }
    let both = home.pk(["secrets", "ls", "v:d", "v:a", "--json"]).ok();
    assert_eq!(both.json(), json!(["d/x", "a"]));
}

#[test]
fn several_descriptions_stand_apart() {
    let home = with_secrets(&[("a", "1"), ("b", "2")]);
    let text = home.pk(["secrets", "stat", "v:a", "v:b"]).ok();
    assert_eq!(text.text().split("\n\n").count(), 2, "{text:?}");
    assert!(!home.pk(["secrets", "stat", "v:a"]).ok().text().contains("\n\n"));
}

#[test]
fn find_shows_attributes_and_what_it_left_out() {
    let home = with_secrets(&[("web", "1")]);
    home.pk(["secrets", "attr", "v:web", "user=me", "tag=x y"]).ok();
    home.pk(["vaults", "create", "stick", "--at", "stick"]).ok();
    let find = |text: &str| home.pk(["secrets", "find", text]).ok();
    assert_eq!(find("web").text(), "v:web\ttag=x y user=me\n");
    assert_eq!(find("me").text(), "v:web\tuser\ttag=x y user=me\n");
    std::fs::rename(home.path().join("stick"), home.path().join("drawer")).expect("moves");
    assert_eq!(find("web").says("stick").text().lines().count(), 1);
    home.pk(["vaults", "conflicts"]).ok().says("stick").silent();
    home.pk(["vaults", "conflicts", "stick"]).ended(74);
    home.pk(["secrets", "find", "web", "--vault", "stick"]).ended(74);
}

#[test]
fn a_dash_stands_for_stdin_among_secrets() {
    let home = with_secrets(&[("a", "one "), ("b", " two")]);
    home.pk(["vaults", "create", "--", "-"]).ok();
    for (args, want) in [
        (&["-"][..], "in"),
        (&["v:a", "-", "v:b"], "one in two"),
        (&["v:a", "v:b"], "one  two"),
        (&[], "in"),
    ] {
        let ended = home
            .pk_with_input(["secrets", "cat"].iter().chain(args), b"in")
            .ok();
        assert_eq!(ended.text(), want, "{args:?}");
    }
    let ended = home
        .pk_with_input(["secrets", "cat", "v:none", "-"], b"in")
        .ended(66);
    assert_eq!(ended.text(), "in");
}

#[test]
fn digits_that_are_no_commit_get_a_hint_for_a_date() {
    let home = with_secrets(&[("a", "1")]);
    for (at, says) in [
        ("1999", "1999-01-01"),
        ("19990131", "1999-01-31"),
        ("7", "secrets log"),
    ] {
        home.pk(["secrets", "cat", "v:a", "--at", at])
            .ended(66)
            .silent()
            .says(says);
    }
}

#[test]
fn a_log_says_nothing_that_it_does_not_know() {
    let home = with_secrets(&[("a", "1"), ("a", "2")]);
    let versions = home.pk(["secrets", "log", "v:a", "--json"]).ok().json();
    let commits = home.pk(["vaults", "log", "v", "--json"]).ok().json();
    for number in [0, 1] {
        assert_eq!(versions[number]["commitId"], commits[number]["commitId"]);
        assert_eq!(versions[number]["parents"], Value::Null, "a version has none");
        assert!(commits[number]["parents"].is_array());
    }
}

#[test]
fn hints_can_be_typed() {
    let home = Home::live();
    home.pk(["vaults", "create", "it's mine"]).ok();
    home.pk_with_input(["secrets", "write", "it's mine:a b"], b"1")
        .ok();
    home.pk(["secrets", "restore", "it's mine:a b", "9"])
        .ended(66)
        .says(r"see `polykey secrets log 'it'\''s mine:a b'`");
    home.pk(["vaults", "log", "it's mine", "--commit-id", "ff"])
        .ended(66)
        .says(r"see `polykey vaults log 'it'\''s mine'`");
    home.pk(["secrets", "rm", "-r", "it's mine"])
        .ended(64)
        .says("it's mine is a whole vault")
        .says(r"polykey vaults delete 'it'\''s mine'");
    home.pk(["secrets", "mkdir", "it's mine:x/y"])
        .ended(66)
        .says("there is no directory it's mine:x")
        .says("`-p`");
    // What follows `--` belongs to the command that is run.
    for args in [&["secrets", "env", "-e"][..], &["vaults", "log", "v", "-d", "-1"]] {
        let ended = home.pk(args).ended(64);
        assert!(!ended.stderr.contains("to pass"), "{ended:?}");
    }
}

#[test]
fn one_thing_is_not_several() {
    let home = with_secrets(&[("a", "1"), ("b", "2")]);
    home.pk(["secrets", "mkdir", "v:x", "v:y"])
        .ok()
        .says("Made 2 directories");
    home.pk(["secrets", "rm", "-r", "v:x", "v:y"])
        .ok()
        .says("Removed 2 paths");
    home.pk(["secrets", "cp", "v:a", "./a"])
        .ok()
        .says("Copied 1 secret to ./a");
    home.pk(["secrets", "cat", "v"])
        .ended(64)
        .says("v is a directory");
}
