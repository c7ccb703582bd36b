//! Names from hell behave the same on every route, and none drives the terminal.

use std::fs;

use crate::home::Home;

const NAMES: &[&str] = &[
    " ",
    "a b\tc",
    "new\nline",
    "\u{1b}[2J\u{1b}]0;title\u{7}",
    "\u{9b}31m",
    "gpj.\u{202e}exe",
    "zero\u{200b}width\u{feff}",
    "caf\u{e9}",
    "\u{1f511}\u{fe0f}",
    "-rf",
    "--help",
    "*",
    "?",
    "[a]",
    "a#b",
    "a=B",
    "a:b",
    "$(touch pwned)",
    "`touch pwned`",
    "'\"\\",
    "...",
    ".hidden",
    "~",
    "con",
    "C:\\x",
    "%s%n",
];

fn names() -> impl Iterator<Item = &'static str> {
    NAMES.iter().copied()
}

#[test]
fn every_route_takes_the_same_names() {
    let home = Home::live();
    home.pk(["vaults", "create", "v"]).ok();
    home.pk(["vaults", "create", "w"]).ok();
    for (index, name) in names().enumerate() {
        let value = format!("value {index}").into_bytes();
        let at = |vault: &str| format!("{vault}:{name}");
        home.pk_with_input(["secrets", "write", "--", &at("v")], &value)
            .ok();
        assert_eq!(
            home.pk(["secrets", "cat", "--", &at("v")]).ok().stdout,
            value,
            "{name:?}"
        );
        assert_eq!(
            home.pk(["secrets", "ls", "-a", "--", &at("v")])
                .ok()
                .text()
                .lines()
                .count(),
            1,
            "{name:?}"
        );
        home.pk(["secrets", "stat", "--", &at("v")]).ok();
        home.pk(["secrets", "log", "--", &at("v")]).ok();
        home.pk(["secrets", "cp", "--", &at("v"), &at("w")]).ok();
        home.pk(["secrets", "mv", "--", &at("w"), "w:plain"]).ok();
        home.pk(["secrets", "mv", "--", "w:plain", &at("w")]).ok();
        assert_eq!(
            home.pk(["secrets", "cat", "--", &at("w")]).ok().stdout,
            value,
            "{name:?}"
        );
        home.pk(["secrets", "cp", "--", &at("w"), "./out"]).ok();
        assert_eq!(
            fs::read(home.path().join("out")).expect("copied"),
            value,
            "{name:?}"
        );
        home.pk(["secrets", "mkdir", "-p", "--", &format!("v:dirs/{name}/{name}")])
            .ok();
        home.pk(["secrets", "attr", &at("v"), "note=x"]).ok();
    }
    let count = names().count();
    for args in [
        vec!["secrets", "ls", "-a", "w"],
        vec!["secrets", "ls", "-a", "-l", "w"],
    ] {
        let listed = home.pk(&args).ok();
        assert_eq!(listed.text().lines().count(), count, "one line a name");
        assert!(
            !listed.text().contains(|c: char| c.is_control() && c != '\n'),
            "{listed:?}"
        );
        assert!(
            !listed.text().contains(['\u{202e}', '\u{200b}', '\u{feff}']),
            "{listed:?}"
        );
    }
    let json = home.pk(["secrets", "ls", "-a", "w", "--json"]).ok().json();
    let mut listed: Vec<&str> = json
        .as_array()
        .expect("a list")
        .iter()
        .map(|name| name.as_str().expect("text"))
        .collect();
    let mut want: Vec<&str> = names().collect();
    listed.sort_unstable();
    want.sort_unstable();
    assert_eq!(listed, want, "raw in JSON");
    for args in [
        vec!["vaults", "log", "v"],
        vec!["secrets", "find", "a"],
        vec!["secrets", "ls", "-a", "-R", "v"],
        vec!["secrets", "cat", "v:none\u{1b}[31m\u{202e}"],
        vec!["secrets", "rm", "v:none\u{7}"],
    ] {
        let ended = home.pk(&args);
        let all = format!("{}{}", String::from_utf8_lossy(&ended.stdout), ended.stderr);
        assert!(
            !all.contains(|c: char| c.is_control() && c != '\n' && c != '\t'),
            "{args:?}: {all:?}"
        );
        assert!(
            !all.contains(['\u{202e}', '\u{200b}', '\u{feff}']),
            "{args:?}: {all:?}"
        );
    }
    // Out to the disk and in again.
    home.pk(["secrets", "cp", "-r", "w:", "tree"]).ok();
    home.pk(["secrets", "dir", "tree", "v"]).ok();
    for (index, name) in names().enumerate() {
        let read = home
            .pk(["secrets", "cat", "--", &format!("v:tree/{name}")])
            .ok()
            .stdout;
        assert_eq!(read, format!("value {index}").into_bytes(), "{name:?}");
        home.pk(["secrets", "rm", "--", &format!("w:{name}")]).ok();
    }
    assert_eq!(home.pk(["secrets", "ls", "-a", "w"]).ok().text(), "");
    assert!(!home.path().join("pwned").exists());
}

#[test]
fn twins_in_another_normal_form_are_one_secret() {
    let home = Home::live();
    home.pk(["vaults", "create", "caf\u{e9}"]).ok();
    home.pk(["vaults", "create", "cafe\u{301}"]).ended(73);
    home.pk_with_input(["secrets", "write", "cafe\u{301}:e\u{301}"], b"1")
        .ok();
    home.pk_with_input(["secrets", "write", "caf\u{e9}:\u{e9}"], b"2")
        .ok();
    assert_eq!(home.pk(["secrets", "ls", "caf\u{e9}"]).ok().text(), "\u{e9}\n");
    assert_eq!(home.pk(["secrets", "cat", "caf\u{e9}:e\u{301}"]).ok().text(), "2");
    home.pk(["secrets", "create", "/dev/null", "caf\u{e9}:e\u{301}"])
        .ended(73);
}

#[test]
fn vaults_may_be_called_nearly_anything() {
    let home = Home::live();
    for name in [
        "my vault",
        "-x",
        "--all",
        "a=b",
        "a#b",
        "*",
        "~",
        "$(id)",
        "\u{202e}x",
        "\u{1f511}",
        "'",
        "...",
    ] {
        home.pk(["vaults", "create", "--", name]).ok();
        home.pk_with_input(["secrets", "write", "--", &format!("{name}:K")], name.as_bytes())
            .ok();
        assert_eq!(
            home.pk(["secrets", "cat", "--", &format!("{name}:K")])
                .ok()
                .text(),
            name
        );
        let env = home.pk(["secrets", "env", "--json", name, "--isolate"]);
        if !name.starts_with('-') {
            assert_eq!(env.ok().json()["K"], *name, "{name:?}");
        }
    }
    let listed = home.pk(["vaults", "list"]).ok();
    assert_eq!(listed.text().lines().count(), 12);
    assert!(!listed.text().contains('\u{202e}'));
}

#[test]
fn deep_paths_work() {
    let home = Home::live();
    home.pk(["vaults", "create", "v"]).ok();
    let deep = format!("v:{}/s", vec!["d"; 300].join("/"));
    home.pk_with_input(["secrets", "write", &deep], b"x").ok();
    assert_eq!(home.pk(["secrets", "cat", &deep]).ok().text(), "x");
    home.pk(["secrets", "mv", "v:d", "v:e"]).ok();
    assert_eq!(
        home.pk(["secrets", "cat", &deep.replace("v:d", "v:e")])
            .ok()
            .text(),
        "x"
    );
    home.pk(["secrets", "cp", "-r", "v:e", "out"]).ok();
    home.pk(["secrets", "rm", "-r", "v:e"]).ok();
    home.pk(["secrets", "dir", "out", "v"]).ok();
    assert_eq!(
        home.pk(["secrets", "cat", &deep.replace("v:d", "v:out")])
            .ok()
            .text(),
        "x"
    );
}
