//! `vaults`: making, naming, placing, deleting, history.

use std::fs;

use crate::home::Home;

fn write(home: &Home, secret: &str, value: &str) {
    home.pk_with_input(["secrets", "write", secret], value.as_bytes())
        .ok();
}

fn cat(home: &Home, secret: &str) -> String {
    home.pk(["secrets", "cat", secret]).ok().text().to_owned()
}

fn vault_id(home: &Home, name: &str) -> String {
    let list = home.pk(["vaults", "list", "--json"]).ok().json();
    let found = list
        .as_array()
        .expect("a list")
        .iter()
        .find(|vault| vault["vaultName"] == name)
        .cloned();
    found.expect("the vault is listed")["vaultIdEncoded"]
        .as_str()
        .expect("text")
        .to_owned()
}

#[test]
fn a_vault_is_made_listed_and_named() {
    let home = Home::live();
    assert_eq!(home.pk(["vaults", "list"]).ok().text(), "");
    assert_eq!(home.pk(["vaults", "list", "--json"]).ok().text(), "[]\n");
    let id = home
        .pk(["vaults", "create", "work"])
        .ok()
        .says("Created vault work")
        .text()
        .trim()
        .to_owned();
    assert!(id.starts_with('z'), "{id}");
    assert_eq!(home.pk(["vaults", "list"]).ok().text(), format!("work\t{id}\n"));
    let made = home.pk(["vaults", "touch", "--json", "mine"]).ok().json();
    assert_eq!(made["vaultName"], "mine");
    assert_eq!(made["vaultId"], made["vaultIdEncoded"]);
    home.pk(["vaults", "mv", "mine", "yours"])
        .ok()
        .silent()
        .says("yours");
    assert_eq!(vault_id(&home, "yours"), made["vaultId"].as_str().expect("text"));
    // Its id names it too.
    write(&home, &format!("{id}:a"), "1");
    assert_eq!(cat(&home, "work:a"), "1");
    home.pk(["--quiet", "vaults", "create", "q"]).ok();
    assert_eq!(home.pk(["--quiet", "vaults", "rename", "q", "r"]).ok().stderr, "");
}

#[test]
fn dots_are_a_name_like_any_other() {
    let home = Home::live();
    for name in [".", ".."] {
        home.pk(["vaults", "create", name]).ok();
        write(&home, &format!("{name}:a"), name);
        assert_eq!(cat(&home, &format!("{name}:a")), name);
        home.pk(["vaults", "rename", name, "x"]).ok();
        home.pk(["vaults", "rename", "x", name]).ok();
    }
    assert_eq!(home.pk(["secrets", "ls", ".."]).ok().text(), "a\n");
    home.pk(["agent", "stop"]).ok();
    assert_eq!(cat(&home, ".:a"), ".");
    home.pk(["vaults", "delete", "..", "--yes"]).ok();
    home.pk(["vaults", "undelete", ".."]).ok();
    home.pk(["doctor"]).ok();
}

#[test]
fn bad_names_and_missing_vaults_are_refused() {
    let home = Home::live();
    home.pk(["vaults", "create", "work"]).ok();
    let long = "x".repeat(129);
    for bad in ["", "a:b", "a/b", "a\nb", "a\u{1b}[31m", long.as_str()] {
        let ended = home.pk(["vaults", "create", bad]).ended(65).silent();
        assert!(!ended.stderr.contains('\u{1b}'), "{ended:?}");
        home.pk(["vaults", "rename", "work", bad]).ended(65);
    }
    home.pk(["vaults", "create", "work"]).ended(73).says("already");
    home.pk(["vaults", "create", "other"]).ok();
    home.pk(["vaults", "rename", "other", "work"]).ended(73);
    home.pk(["vaults", "rename", "none", "x"]).ended(66);
    home.pk(["vaults", "delete", "none"]).ended(66);
    home.pk(["vaults", "undelete", "work"]).ended(66);
    home.pk(["vaults", "log", "none"]).ended(66);
    home.pk(["vaults", "log", "work:a"]).ended(64);
    home.pk(["vaults", "version", "none", "last"]).ended(66);
    home.pk(["vaults", "version", "work", "nonsense"]).ended(66);
    home.pk(["vaults", "create"]).ended(64);
    home.pk(["vaults", "create", "a", "b"]).ended(64);
    home.pk(["vaults", "frobnicate"]).ended(64);
    let problem = home.pk(["--json", "vaults", "log", "none"]).ended(66).problem();
    assert_eq!(
        (problem["code"].as_str(), problem["exit"].as_u64()),
        (Some("vault-not-found"), Some(66))
    );
}

#[test]
fn one_name_names_one_vault_however_many_try() {
    let home = Home::live();
    let codes: Vec<i32> = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| home.pk(["vaults", "create", "same"]).code))
            .collect();
        tries
            .into_iter()
            .map(|one| one.join().expect("does not panic"))
            .collect()
    });
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    assert!(codes.iter().all(|code| [0, 73].contains(code)), "{codes:?}");
}

#[test]
fn a_deleted_vault_can_come_back() {
    let home = Home::live();
    home.pk(["vaults", "create", "work"]).ok();
    write(&home, "work:a", "1");
    let id = vault_id(&home, "work");
    home.pk(["vaults", "delete", "work"])
        .ok()
        .silent()
        .says("undelete");
    home.pk(["secrets", "cat", "work:a"]).ended(66);
    assert_eq!(home.pk(["vaults", "list"]).ok().text(), "");
    assert!(
        home.pk(["vaults", "list", "--deleted"])
            .ok()
            .text()
            .starts_with("work\t")
    );
    // The name is free, and then taken.
    home.pk(["vaults", "create", "work"]).ok();
    home.pk(["vaults", "undelete", &id]).ended(73).says("--name");
    home.pk(["vaults", "undelete", &id, "--name", "old"]).ok();
    assert_eq!(cat(&home, "old:a"), "1");
    // Also over a restart.
    home.pk(["vaults", "rm", "--yes", "old"]).ok();
    home.pk(["agent", "stop"]).ok();
    home.pk(["vaults", "undelete", "old"]).ok();
    assert_eq!(cat(&home, "old:a"), "1");
}

#[test]
fn a_vault_may_live_in_any_folder_and_its_absence_hurts_no_other() {
    let home = Home::live();
    let at = home.path().join("stick/vault");
    home.pk(["vaults", "create", "far", "--at", "stick/vault"])
        .ended(66);
    fs::create_dir(home.path().join("stick")).expect("makes");
    home.pk(["vaults", "create", "far", "--at", "stick/vault"]).ok();
    home.pk(["vaults", "create", "near"]).ok();
    write(&home, "far:a", "1");
    write(&home, "near:a", "2");
    assert!(at.join("vault.db").exists());
    // The stick goes, while the vault is open and after a restart, and comes back.
    for restart in [false, true] {
        fs::rename(home.path().join("stick"), home.path().join("gone")).expect("renames");
        if restart {
            home.pk(["agent", "stop"]).ok();
        }
        home.pk(["secrets", "cat", "far:a"]).ended(74).says("absent");
        home.pk_with_input(["secrets", "write", "far:b"], b"x").ended(74);
        assert_eq!(cat(&home, "near:a"), "2");
        assert!(home.pk(["vaults", "list"]).ok().text().contains("absent"));
        home.pk(["secrets", "find", "a"]).ok();
        fs::rename(home.path().join("gone"), home.path().join("stick")).expect("renames");
        assert_eq!(cat(&home, "far:a"), "1");
        write(&home, "far:c", "3");
    }
    for bad in ["stick/vault", "stick", "/dev/null"] {
        home.pk(["vaults", "create", "more", "--at", bad]).ended(73);
    }
    home.pk(["vaults", "create", "more", "--at", ""]).ended(64);
    assert!(!home.pk(["vaults", "list"]).ok().text().contains("more"));
}

#[test]
fn a_vault_moves_with_all_it_holds() {
    let home = Home::live();
    home.pk(["vaults", "create", "work"]).ok();
    let big: Vec<u8> = (0..3_000_000_u32).map(|i| (i * 7 % 251) as u8).collect();
    home.pk_with_input(["secrets", "write", "work:big"], &big).ok();
    write(&home, "work:a", "1");
    write(&home, "work:a", "2");
    home.pk(["vaults", "relocate", "work", "new place"])
        .ok()
        .says("Moved");
    assert_eq!(home.pk(["secrets", "cat", "work:big"]).ok().stdout, big);
    assert_eq!(cat(&home, "work:a"), "2");
    assert_eq!(
        home.pk(["secrets", "log", "work:a", "--json"])
            .ok()
            .json()
            .as_array()
            .map(Vec::len),
        Some(2)
    );
    assert_eq!(
        fs::read_dir(home.node().join("vaults"))
            .expect("a folder")
            .count(),
        0,
        "the old one is gone"
    );
    home.pk(["agent", "stop"]).ok();
    assert_eq!(cat(&home, "work:a"), "2");
    home.pk(["vaults", "relocate", "work", "new place"]).ended(64);
    fs::write(home.path().join("file"), b"x").expect("writes");
    home.pk(["vaults", "relocate", "work", "file"]).ended(73);
    home.pk(["vaults", "relocate", "work", "no/such/parent"])
        .ended(66);
    home.pk(["vaults", "relocate", "none", "x"]).ended(66);
    assert_eq!(cat(&home, "work:a"), "2");
}

#[test]
fn a_copied_node_folder_finds_its_vaults() {
    let home = Home::live();
    home.pk(["vaults", "create", "work"]).ok();
    write(&home, "work:a", "1");
    home.pk(["agent", "stop"]).ok();
    fs::rename(home.node(), home.path().join("elsewhere")).expect("renames");
    let mut command = home.command(["secrets", "cat", "work:a"]);
    command.env("PK_NODE_PATH", home.path().join("elsewhere"));
    assert_eq!(crate::home::run(command, b"").ok().text(), "1");
}

#[test]
fn history_is_told_compared_and_brought_back() {
    let home = Home::live();
    home.pk(["vaults", "create", "work"]).ok();
    assert_eq!(home.pk(["vaults", "log", "work", "--json"]).ok().text(), "[]\n");
    write(&home, "work:a", "1");
    write(&home, "work:b/c", "x");
    write(&home, "work:a", "2");
    // The same bytes make no commit.
    write(&home, "work:a", "2");
    let log = home.pk(["vaults", "log", "work", "--json"]).ok().json();
    let commits = log.as_array().expect("an array");
    assert_eq!(commits.len(), 3);
    for commit in commits {
        for field in ["commitId", "committer", "timestamp", "message", "parents"] {
            assert!(commit.get(field).is_some(), "{field} in {commit}");
        }
    }
    assert!(commits[0]["message"].as_str().expect("text").contains('a'));
    let id = |n: usize| commits[n]["commitId"].as_str().expect("text").to_owned();
    let (newest, first) = (id(0), id(2));
    assert_eq!(commits[0]["parents"][0], commits[1]["commitId"]);
    let lines = |args: &[&str]| home.pk(args).ok().text().lines().count();
    assert_eq!(lines(&["vaults", "log", "work"]), 3);
    assert_eq!(lines(&["vaults", "log", "work", "-d", "2"]), 2);
    assert_eq!(lines(&["vaults", "log", "work", "--path", "b"]), 1);
    assert_eq!(lines(&["vaults", "log", "work", "-ci", &id(1)]), 2);
    let diff = home.pk(["vaults", "diff", "work", &first[..12]]).ok();
    assert_eq!(diff.text(), "changed\ta\nadded\tb/c\n");
    let diff = home.pk(["vaults", "diff", "work", &newest, &first]).ok();
    assert_eq!(diff.text(), "changed\ta\nremoved\tb/c\n");
    assert!(!diff.text().contains('2'), "no values");
    let shown = home.pk(["vaults", "diff", "work", &first, "--reveal"]).ok();
    assert_eq!(shown.text(), "changed\ta\n- 1\n+ 2\nadded\tb/c\n+ x\n");
    // Back and forth, by new commits; nothing is thrown away.
    home.pk(["vaults", "version", "work", &first[..10]]).ok();
    assert_eq!(cat(&home, "work:a"), "1");
    home.pk(["secrets", "cat", "work:b/c"]).ended(66);
    home.pk(["vaults", "version", "work", "last"]).ok();
    assert_eq!(
        (cat(&home, "work:a"), cat(&home, "work:b/c")),
        ("2".into(), "x".into())
    );
    assert_eq!(lines(&["vaults", "log", "work"]), 5);
    assert_eq!(
        home.pk(["secrets", "cat", "--at", &first, "work:a"]).ok().text(),
        "1"
    );
    home.pk(["secrets", "cat", "--at", &first, "work:b/c"]).ended(66);
    home.pk(["secrets", "cat", "--at", "2000-01-01", "work:a"])
        .ended(66);
    assert_eq!(
        home.pk(["secrets", "cat", "--at", "now", "work:a"]).ok().text(),
        "2"
    );
    for bad in ["deadbeef", "zzz", "", "0", &newest.replace('0', "1")] {
        home.pk(["vaults", "version", "work", bad]).ended(66);
        home.pk(["vaults", "diff", "work", bad]).ended(66);
    }
    home.pk(["secrets", "cat", "--at", "yesterdayish", "work:a"])
        .ended(64);
    home.pk(["vaults", "resolve", "work:a", "--take", &first])
        .ended(64)
        .says("one version");
    assert_eq!(home.pk(["vaults", "conflicts"]).ok().text(), "");
    assert_eq!(
        home.pk(["vaults", "conflicts", "work", "--json"]).ok().text(),
        "[]\n"
    );
}

#[test]
fn purged_history_cannot_be_read_again() {
    let home = Home::live();
    home.pk(["vaults", "create", "work"]).ok();
    for value in ["leaked one", "leaked two", "good"] {
        write(&home, "work:a", value);
        write(&home, "work:d/b", value);
    }
    home.pk(["vaults", "purge", "work"]).ended(64);
    home.pk(["vaults", "purge", "work", "--before", "nonsense"])
        .ended(64);
    home.pk(["vaults", "purge", "none", "--before", "now"]).ended(66);
    home.pk(["vaults", "purge", "work", "none", "--before", "now"])
        .ended(66);
    home.pk(["vaults", "purge", "work", "--before", "2000-01-01"])
        .ok();
    home.pk(["secrets", "restore", "work:a", "1"]).ok();
    home.pk(["secrets", "restore", "work:a", "3"]).ok();
    home.pk(["vaults", "purge", "work", "a", "--before", "now", "--now"])
        .ok();
    assert_eq!(
        (cat(&home, "work:a"), cat(&home, "work:d/b")),
        ("good".into(), "good".into())
    );
    home.pk(["secrets", "restore", "work:a", "1"])
        .ended(66)
        .says("purged");
    home.pk(["secrets", "restore", "work:d/b", "1"]).ok();
    let log = home.pk(["secrets", "log", "work:a", "--json"]).ok().json();
    assert_eq!(log.as_array().map(Vec::len), Some(5), "the history is whole");
    assert_eq!(log[4]["purged"], true);
    home.pk(["agent", "stop"]).ok();
    assert_eq!(cat(&home, "work:a"), "good");
}
