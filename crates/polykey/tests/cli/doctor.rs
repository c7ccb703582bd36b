//! `doctor`: what it finds, with and without an agent, and how it ends.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::home::{Ended, Home, PASSWORD};

/// A node whose agent does not run.
fn sound() -> Home {
    let home = Home::empty();
    home.pk(["bootstrap"]).ok();
    home
}

/// A file somewhere below `folder`.
fn file_below(folder: &Path) -> PathBuf {
    let entry = fs::read_dir(folder).expect("there").next().expect("not empty");
    let path = entry.expect("readable").path();
    if path.is_dir() { file_below(&path) } else { path }
}

/// How `check` ended in what `doctor --json` printed.
#[track_caller]
fn health(ended: &Ended, check: &str) -> String {
    let all = ended.json();
    let findings = all["findings"].as_array().expect("a list");
    let found = findings.iter().find(|finding| finding["check"] == check);
    found.unwrap_or_else(|| panic!("no {check} in {all}"))["health"]
        .as_str()
        .expect("a word")
        .to_owned()
}

fn doctor(home: &Home) -> Ended {
    home.pk(["doctor", "--json"])
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("own file");
}

#[test]
fn one_of_a_kind_is_told_in_the_singular() {
    let home = Home::live();
    home.pk(["vaults", "create", "v"]).ok();
    home.pk_with_input(["secrets", "write", "v:a"], b"1").ok();
    let text = home.pk(["doctor"]).ok();
    for one in ["takes 1 pass over", "1 secret or directory,"] {
        assert!(text.text().contains(one), "{text:?}");
    }
    for many in ["1 passes", "1 commits", "1 secrets", "1 objects"] {
        assert!(!text.text().contains(&format!(" {many}")), "{text:?}");
    }
}

#[test]
fn a_sound_node_is_good_with_and_without_an_agent() {
    let home = sound();
    let offline = doctor(&home).ok();
    for check in [
        "clock",
        "node",
        "permissions",
        "disk",
        "leftovers",
        "configuration",
    ] {
        assert_eq!(health(&offline, check), "good", "{check}");
    }
    assert_eq!(health(&offline, "node database"), "good");
    // Cheap guesses were asked for, so this is said but is nothing to be done.
    assert_eq!(health(&offline, "key file"), "note");
    assert_eq!(home.status()["status"], "DEAD", "doctor starts nothing");
    home.pk(["vaults", "create", "work"]).ok();
    home.pk_with_input(["secrets", "write", "work:a"], b"1").ok();
    let live = doctor(&home).ok();
    for check in ["agent", "node database", "audit log", "vault work"] {
        assert_eq!(health(&live, check), "good", "{check}");
    }
    home.pk(["agent", "stop"]).ok();
    assert_eq!(health(&doctor(&home).ok(), "vault work"), "good");
    assert!(home.pk(["doctor"]).ok().text().contains("good     vault work: "));
}

#[test]
fn without_a_password_the_rest_is_looked_at() {
    let home = sound();
    let look = |home: &Home| home.pk_without_password(["doctor", "--json"]);
    assert_eq!(health(&look(&home).ok(), "node database"), "unknown");
    home.pk(["agent", "start", "--background"]).ok();
    assert_eq!(health(&look(&home).ok(), "node database"), "unknown");
    home.pk(["agent", "lockall"]).ok();
    assert_eq!(health(&doctor(&home).ok(), "node database"), "unknown");
    home.pk_as("wrong", ["agent", "stop"]).ended(77);
    home.pk(["agent", "stop"]).ok();
    home.pk_as("wrong", ["doctor"]).ended(77).silent();
    home.pk(["doctor", "--password-file", "absent"])
        .ended(66)
        .silent();
    fs::write(home.path().join("password"), PASSWORD).expect("writes");
    home.pk_as("wrong", ["doctor", "--password-file", "password"])
        .ok();
}

#[test]
fn what_is_to_be_done_ends_with_1() {
    let home = Home::empty();
    let none = doctor(&home).ended(1);
    assert_eq!(health(&none, "node"), "bad");
    assert!(!home.node().exists(), "a look makes nothing");

    let home = sound();
    for (name, mode, good) in [
        ("keys", 0o640, 0o600),
        ("node.db", 0o604, 0o600),
        ("", 0o755, 0o700),
    ] {
        let path = home.node().join(name);
        set_mode(&path, mode);
        let ended = doctor(&home).ended(1);
        assert_eq!(health(&ended, "permissions"), "warning", "{name}");
        assert!(home.pk(["doctor"]).ended(1).text().contains("chmod"), "{name}");
        set_mode(&path, good);
        doctor(&home).ok();
    }

    fs::write(home.node().join("keys.new"), "").expect("writes");
    set_mode(&home.node().join("keys.new"), 0o600);
    assert_eq!(health(&doctor(&home).ended(1), "leftovers"), "warning");
    fs::remove_file(home.node().join("keys.new")).expect("there");

    fs::write(home.node().join("config.toml"), "nope = 1\n").expect("writes");
    set_mode(&home.node().join("config.toml"), 0o600);
    let ended = home.pk(["doctor"]).ended(1);
    assert!(ended.text().contains("\"nope\""), "{ended:#?}");
}

#[test]
fn a_vault_that_is_away_is_a_finding_and_one_that_is_open_to_others_too() {
    let home = sound();
    let stick = home.path().join("stick");
    home.pk(["vaults", "create", "away", "--at", "stick"]).ok();
    doctor(&home).ok();
    set_mode(&stick.join("vault.db"), 0o644);
    assert_eq!(health(&doctor(&home).ended(1), "vault away"), "warning");
    home.pk(["agent", "stop"]).ok();
    fs::rename(&stick, home.path().join("drawer")).expect("moves");
    let ended = doctor(&home).ended(1);
    assert_eq!(health(&ended, "vault away"), "warning");
    assert!(home.pk(["doctor"]).ended(1).text().contains("attach the disk"));
}

/// A home with one vault of one large secret, its agent stopped; and the folder of the vault.
fn filled() -> (Home, PathBuf) {
    let home = sound();
    home.pk(["vaults", "create", "work"]).ok();
    home.pk_with_input(["secrets", "write", "work:a"], &vec![7; 1 << 20])
        .ok();
    home.pk(["agent", "stop"]).ok();
    let mut vaults = fs::read_dir(home.node().join("vaults")).expect("there");
    let vault = vaults.next().expect("one").expect("readable").path();
    (home, vault)
}

#[test]
fn damage_ends_with_65() {
    let (home, vault) = filled();
    let object = file_below(&vault.join("objects"));
    let whole = fs::read(&object).expect("readable");
    fs::remove_file(&object).expect("there");
    assert_eq!(health(&doctor(&home).ended(65), "vault work"), "bad");
    fs::write(&object, &whole).expect("writes");
    set_mode(&object, 0o600);
    doctor(&home).ok();

    for (name, check) in [("vault", "vault work"), ("node", "node database")] {
        let (home, vault) = filled();
        let database = match name {
            "vault" => vault.join("vault.db"),
            _ => home.node().join("node.db"),
        };
        let mut bytes = fs::read(&database).expect("readable");
        let middle = bytes.len() / 2;
        for byte in bytes[middle..].iter_mut().step_by(97) {
            *byte ^= 1;
        }
        fs::write(&database, &bytes).expect("writes");
        assert_eq!(health(&doctor(&home).ended(65), check), "bad", "{name}");
    }

    fs::write(home.node().join("keys"), "junk").expect("writes");
    assert_eq!(health(&doctor(&home).ended(65), "key file"), "bad");
    home.pk(["agent", "start", "--background"])
        .ended(65)
        .says("damaged");
}

#[test]
fn a_deleted_vault_that_cannot_come_back_is_told() {
    let home = Home::live();
    for name in ["good", "gone", "hurt"] {
        home.pk(["vaults", "create", name, "--at", name]).ok();
        home.pk_with_input(["secrets", "write", &format!("{name}:a")], &[7; 100_000])
            .ok();
        home.pk(["vaults", "delete", name]).ok();
    }
    fs::remove_dir_all(home.path().join("gone")).expect("removes");
    fs::remove_dir_all(home.path().join("hurt/objects")).expect("removes");
    for running in [true, false] {
        if !running {
            home.pk(["agent", "stop"]).ok();
        }
        let ended = doctor(&home);
        assert_eq!(health(&ended, "deleted vault good"), "good");
        assert_eq!(health(&ended, "deleted vault gone"), "warning");
        assert_eq!(health(&ended, "deleted vault hurt"), "bad");
    }
    home.pk(["vaults", "undelete", "good"]).ok();
    assert_eq!(health(&doctor(&home), "vault good"), "good");
}
