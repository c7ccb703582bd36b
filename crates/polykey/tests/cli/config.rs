//! Defaults in `config.toml`: flag beats environment beats file, and nothing is half written.

use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};

use crate::home::{Home, run};

fn file(home: &Home) -> String {
    std::fs::read_to_string(home.node().join("config.toml")).expect("there")
}

fn write(home: &Home, text: &str) {
    std::fs::create_dir_all(home.node()).expect("a folder");
    std::fs::write(home.node().join("config.toml"), text).expect("writes");
}

/// What `config show --origin --json` says about `key`.
fn shown(home: &Home, args: &[&str], variables: &[(&str, &str)], key: &str) -> (Value, String) {
    let mut command = home.command(["config", "show", "--origin", "--json"]);
    command.args(args).env_remove("PK_NETWORK");
    for (name, value) in variables {
        command.env(name, value);
    }
    let all = run(command, b"").ok().json();
    let origin = all[key]["origin"].as_str().expect("in the list").to_owned();
    (all[key]["value"].clone(), origin)
}

#[test]
fn flag_beats_environment_beats_file_beats_default() {
    let home = Home::empty();
    let of = |value: Value, origin: &str| (value, origin.to_owned());
    assert_eq!(shown(&home, &[], &[], "network"), of(json!("mainnet"), "default"));
    home.pk(["config", "set", "network", "local"]).ok().silent();
    assert_eq!(shown(&home, &[], &[], "network"), of(json!("local"), "file"));
    let offline = [("PK_NETWORK", "offline")];
    assert_eq!(
        shown(&home, &[], &offline, "network"),
        of(json!("offline"), "environment")
    );

    home.pk(["config", "set", "quiet", "true"]).ok();
    assert_eq!(shown(&home, &[], &[], "quiet"), of(json!(true), "file"));
    assert_eq!(
        shown(&home, &["--quiet=false"], &[], "quiet"),
        of(json!(false), "flag")
    );
    home.pk(["config", "set", "verbose", "2"]).ok();
    assert_eq!(shown(&home, &["-v"], &[], "verbose"), of(json!(1), "flag"));

    home.pk(["config", "set", "autostart", "false"]).ok();
    assert_eq!(shown(&home, &[], &[], "autostart"), of(json!(false), "file"));
    let on = [("PK_NO_AUTOSTART", "0")];
    assert_eq!(
        shown(&home, &[], &on, "autostart"),
        of(json!(true), "environment")
    );
    assert_eq!(
        shown(&home, &["--no-autostart"], &on, "autostart"),
        of(json!(false), "flag")
    );
    let (path, origin) = shown(&home, &[], &[], "node-path");
    assert_eq!((path, origin.as_str()), (json!(home.node()), "environment"));
}

#[test]
fn what_is_shown_to_people_is_a_file_that_reads_back() {
    let home = Home::empty();
    home.pk(["config", "set", "agent-port", "4433"]).ok();
    home.pk(["config", "set", "agent-host", "a \"b\""]).ok();
    let all = home.pk(["config", "show", "--origin"]).ok();
    assert!(all.text().contains("agent-port = 4433 # from /"), "{all:#?}");
    assert!(
        all.text().contains("network = \"offline\" # from PK_NETWORK"),
        "{all:#?}"
    );
    assert!(all.text().contains("verbose = 0 # default"), "{all:#?}");
    write(&home, all.text());
    let again = home.pk(["config", "show", "--json"]).ok().json();
    assert_eq!(again["agent-host"], "a \"b\"");
    assert_eq!(again["agent-port"], 4433);
    assert_eq!(again["password-file"], Value::Null);
}

#[test]
fn the_other_commands_honour_the_file() {
    let home = Home::empty();
    home.pk(["bootstrap"]).ok();
    home.pk(["config", "set", "autostart", "false"]).ok();
    home.pk(["keys", "public"]).ended(69);
    home.pk(["--no-autostart=false", "keys", "public"]).ok();
    home.pk(["config", "set", "format", "json"]).ok();
    assert_eq!(home.pk(["agent", "status"]).ok().json()["status"], "LIVE");
    assert!(
        home.pk(["-f", "human", "agent", "status"])
            .ok()
            .text()
            .starts_with("status\t")
    );
    assert_eq!(home.pk(["config", "show"]).ok().json()["format"], "json");
    let problem = home.pk(["vaults", "log", "nothing"]).ended(66).problem();
    assert_eq!(problem["code"], "vault-not-found");
    home.pk(["config", "unset", "format"]).ok();
    home.pk(["config", "set", "quiet", "true"]).ok();
    assert_eq!(home.pk(["vaults", "create", "a"]).ok().stderr, "");
    assert_ne!(
        home.pk(["--quiet=false", "vaults", "create", "b"]).ok().stderr,
        ""
    );

    home.pk_with_input(["secrets", "write", "a:x"], b"1").ok();
    home.pk(["config", "set", "env-format", "json"]).ok();
    assert_eq!(home.pk(["secrets", "env", "a"]).ok().json()["x"], "1");
    let unix = home.pk(["secrets", "env", "--env-format", "dotenv", "a"]).ok();
    assert!(unix.text().starts_with("x="), "{unix:#?}");

    // A file with the password, which the environment beats.
    let secret = home.path().join("password");
    std::fs::write(&secret, crate::home::PASSWORD).expect("writes");
    home.pk(["config", "set", "password-file", secret.to_str().expect("text")])
        .ok();
    home.pk_without_password(["keys", "public"]).ok();
    home.pk_as("wrong", ["keys", "public"]).ended(77);
}

#[test]
fn limits_of_the_password_come_from_the_file_when_a_node_is_made() {
    let home = Home::empty();
    home.pk(["config", "set", "password-mem-limit", "min"]).ok();
    home.pk(["config", "set", "password-ops-limit", "interactive"])
        .ok();
    let mut command = home.command(["bootstrap"]);
    command
        .env_remove("PK_PASSWORD_OPS_LIMIT")
        .env_remove("PK_PASSWORD_MEM_LIMIT");
    let begin = home.pk(["config", "show", "--json"]).ok().json();
    assert_eq!(begin["password-mem-limit"], "min");
    run(command, b"").ok();
    home.pk(["agent", "start", "--background"]).ok();
}

#[test]
fn bad_files_are_78_and_name_the_file_and_the_key() {
    let home = Home::empty();
    for (text, needle) in [
        ("networks = 'offline'\n", "\"networks\""),
        ("verbose = 'much'\n", "\"verbose\""),
        ("quiet = true\nformat = xml\n", "line 2"),
        ("password = 'x'\n", "a secret"),
        ("[agent]\nnetwork = 'local'\n", "\"agent\""),
    ] {
        write(&home, text);
        for args in [&["agent", "unlock"][..], &["keys", "public"], &["config", "show"]] {
            home.pk(args)
                .ended(78)
                .silent()
                .says(needle)
                .says("config.toml")
                .says("polykey: hint: ");
        }
        assert_eq!(file(&home), text);
    }
    write(&home, "networks = 'offline'\nquiet = true\n");
    home.pk(["config", "unset", "networks"]).ok();
    home.pk(["agent", "status"]).ok();
    // Help, version and completions say nothing about any node.
    write(&home, "?");
    home.pk(["completions", "bash"]).ok();
    home.pk(["--version"]).ok();
}

#[test]
fn bad_keys_and_values_are_wrong_usage_and_change_nothing() {
    let home = Home::empty();
    for (key, value, needle) in [
        ("networks", "offline", "no key"),
        ("password", "hunter2", "password-file"),
        ("PK_PASSWORD", "hunter2", "password-file"),
        ("recovery-code", "hunter2", "password-file"),
        ("token", "hunter2", "password-file"),
        ("verbose", "hunter2", "from 0 to 3"),
        ("verbose", "4", "from 0 to 3"),
        ("format", "hunter2", "human, json"),
        ("password-file", "hunter2", "begins with /"),
        ("network", "", "not empty"),
    ] {
        let ended = home
            .pk(["config", "set", key, value])
            .ended(64)
            .silent()
            .says(needle);
        assert!(!ended.stderr.contains("hunter2"), "{ended:#?}");
        assert!(!home.node().join("config.toml").exists(), "{key}");
    }
    home.pk(["config", "set", "network"]).ended(64);
    home.pk(["config", "set", "network", "a", "b"]).ended(64);
    home.pk(["config"]).ok().silent();
}

#[test]
fn set_keeps_comments_and_is_private() {
    let home = Home::empty();
    let text = "# mine\nnetwork = \"local\" # at home\n\n# loud\nverbose = 1\n";
    write(&home, text);
    home.pk(["config", "set", "network", "offline"])
        .ok()
        .says("set network");
    assert_eq!(file(&home), text.replace("local", "offline"));
    home.pk(["config", "set", "quiet", "true"]).ok();
    home.pk(["config", "unset", "quiet"]).ok();
    home.pk(["config", "unset", "quiet"]).ok();
    assert_eq!(file(&home), text.replace("local", "offline"));
    let meta = std::fs::metadata(home.node().join("config.toml")).expect("there");
    assert_eq!(meta.mode() & 0o777, 0o600);
    assert_eq!(
        std::fs::read_dir(home.node()).expect("there").count(),
        1,
        "nothing is left over"
    );
}

#[test]
fn set_makes_a_private_folder_and_follows_a_link() {
    let home = Home::empty();
    home.pk(["config", "set", "network", "local"]).ok();
    assert_eq!(
        std::fs::metadata(home.node()).expect("made").mode() & 0o777,
        0o700
    );
    home.pk(["keys", "public"]).ended(69);
    let target = home.path().join("dotfiles.toml");
    std::fs::rename(home.node().join("config.toml"), &target).expect("moves");
    std::os::unix::fs::symlink(&target, home.node().join("config.toml")).expect("links");
    home.pk(["config", "set", "verbose", "1"]).ok();
    assert!(
        std::fs::symlink_metadata(home.node().join("config.toml"))
            .expect("there")
            .is_symlink()
    );
    assert!(
        std::fs::read_to_string(&target)
            .expect("there")
            .contains("verbose = 1")
    );
}

#[test]
fn of_many_at_once_none_is_lost() {
    let home = Home::empty();
    let keys = ["network", "agent-host", "node-id"];
    let sets: Vec<_> = (0..12)
        .map(|i| {
            let command = home.command(["config", "set", keys[i % 3], "x"]);
            std::thread::spawn(move || run(command, b"").code)
        })
        .collect();
    for set in sets {
        assert_eq!(set.join().expect("does not panic"), 0);
    }
    for key in keys {
        assert!(file(&home).contains(&format!("{key} = \"x\"")), "{}", file(&home));
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_74() {
    let home = Home::empty();
    std::fs::write(home.path().join("file"), "").expect("writes");
    let mut command = home.command(["config", "set", "network", "local"]);
    command.env("PK_NODE_PATH", home.path().join("file"));
    run(command, b"").ended(74);
}

#[test]
fn an_agent_can_be_seen_and_ended_whatever_the_file_says() {
    let home = Home::live();
    write(&home, "format = \"xml\"\n");
    home.pk(["vaults", "list"]).ended(78);
    let status = home.pk(["agent", "status", "--json"]).ok().says("config.toml");
    assert_eq!(status.json()["status"], "LIVE");
    home.pk(["agent", "lock"]).ok();
    home.pk(["agent", "stop"]).ok().says("config.toml");
    assert_eq!(home.status()["status"], "DEAD");
    home.pk(["agent", "start", "--background"]).ended(78);
}

#[test]
fn an_empty_variable_is_as_good_as_none_and_an_empty_flag_a_mistake() {
    let home = Home::empty();
    let with = |args: &[&str]| {
        let mut command = home.command(args);
        for name in ["PK_NODE_PATH", "PK_NODE_ID", "PK_NO_AUTOSTART", "PK_NETWORK"] {
            command.env(name, "");
        }
        run(command, b"")
    };
    let origin = with(&["config", "show", "--origin", "--json"]).ok().json();
    let default = home.path().join("data/polykey");
    assert_eq!(origin["node-path"]["value"], default.to_str().expect("text"));
    assert_eq!(origin["node-path"]["origin"], "default");
    let with = |args: &[&str]| {
        let mut command = home.command(args);
        command
            .env("PK_NODE_PATH", "")
            .env("PK_NODE_ID", "")
            .env("PK_AGENT_PORT", "")
            .env("PK_AGENT_HOST", "")
            .env("PK_SEED_NODES", "");
        run(command, b"")
    };
    with(&["agent", "start", "--background"]).ok();
    with(&["vaults", "create", "v"]).ok();
    assert!(default.join("node.db").exists());
    with(&["vaults", "list", "--node-path", ""]).ended(64).silent();
}
