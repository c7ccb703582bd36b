//! Start, stop, lock, unlock, and what becomes of an agent that dies.

use crate::home::{Home, run};
use rustix::process::Signal;

#[test]
fn an_empty_home_gets_a_node_and_keeps_its_id() {
    let home = Home::empty();
    assert_eq!(home.status()["status"], "DEAD");
    let started = home.pk(["agent", "start", "--background", "--json"]).ok().json();
    assert!(
        started["recoveryCode"]
            .as_str()
            .expect("a new node")
            .split(' ')
            .count()
            == 24
    );
    let status = home.status();
    assert_eq!(status["status"], "LIVE");
    assert_eq!(status["nodeId"], started["nodeId"]);
    assert_eq!(status["pid"], started["pid"]);
    home.pk(["agent", "stop"]).ok().silent();
    assert_eq!(home.status()["status"], "DEAD");
    home.pk(["agent", "stop"]).ok().silent();
    let again = home.pk(["agent", "start", "--background", "--json"]).ok().json();
    assert_eq!(again["nodeId"], started["nodeId"]);
    assert!(again.get("recoveryCode").is_none());
}

#[test]
fn a_wrong_password_is_77_in_every_way_to_give_it() {
    let home = Home::empty();
    home.pk(["bootstrap"]).ok();
    home.pk_as("wrong", ["agent", "start"]).ended(77).silent();
    home.pk_as("wrong", ["agent", "start", "--background"])
        .ended(77)
        .silent();
    home.pk_as("wrong", ["keys", "public"]).ended(77).silent();
    home.pk(["agent", "start", "--background"]).ok();
    home.pk_as("wrong", ["keys", "public"])
        .ended(77)
        .silent()
        .says("polykey: error: the password is wrong");
    home.pk_as("wrong", ["agent", "stop"]).ended(77);
    assert_eq!(home.status()["status"], "LIVE");
    let problem = home
        .pk_as("wrong", ["--json", "keys", "public"])
        .ended(77)
        .problem();
    assert_eq!(problem["code"], "wrong-password");
    assert_eq!(problem["exit"], 77);
}

#[test]
fn a_command_starts_the_agent_but_never_makes_a_node() {
    let home = Home::empty();
    home.pk(["keys", "public"]).ended(69).says("polykey init");
    assert!(!home.node().join("keys").exists());
    home.pk(["bootstrap"]).ok();
    home.pk(["--no-autostart", "keys", "public"]).ended(69);
    home.pk_without_password(["keys", "public"]).ended(69);
    home.pk(["keys", "public"]).ok();
    assert_eq!(home.status()["status"], "LIVE");
}

#[test]
fn of_two_starts_one_wins() {
    let home = Home::empty();
    let starts: Vec<_> = (0..4)
        .map(|_| {
            let command = home.command(["agent", "start", "--background"]);
            std::thread::spawn(move || run(command, b"").code)
        })
        .collect();
    let mut codes: Vec<_> = starts
        .into_iter()
        .map(|start| start.join().expect("does not panic"))
        .collect();
    codes.sort_unstable();
    assert_eq!(codes, [0, 75, 75, 75]);
}

#[test]
fn a_killed_agent_is_dead_at_once_and_starts_again() {
    let home = Home::live();
    for _ in 0..3 {
        let before = home.agent_pid();
        home.signal(Signal::KILL);
        assert_eq!(home.status()["status"], "DEAD");
        home.pk(["agent", "start", "--background"]).ok();
        assert_ne!(home.agent_pid(), before);
    }
}

#[test]
fn signals_end_the_agent_and_leave_no_socket() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        let home = Home::live();
        home.signal(signal);
        home.pk(["agent", "stop"]).ok();
        assert_eq!(home.status()["status"], "DEAD");
        assert!(!home.node().join("agent.sock").exists());
    }
}

#[test]
fn all_that_is_written_is_private() {
    use std::os::unix::fs::MetadataExt;
    let home = Home::live();
    home.pk(["agent", "unlock"]).ok();
    assert_eq!(
        std::fs::metadata(home.node()).expect("there").mode() & 0o777,
        0o700
    );
    for entry in std::fs::read_dir(home.node()).expect("there") {
        let entry = entry.expect("readable");
        let meta = entry.metadata().expect("there");
        assert_eq!(meta.mode() & 0o077, 0, "{:?}", entry.path());
    }
}

#[test]
fn fifty_commands_at_once_share_one_agent() {
    let home = Home::empty();
    home.pk(["bootstrap"]).ok();
    let commands: Vec<_> = (0..50)
        .map(|_| {
            let command = home.command(["keys", "public", "--json"]);
            std::thread::spawn(move || run(command, b""))
        })
        .collect();
    let want = home.pk(["keys", "public", "--json"]).ok().stdout;
    for command in commands {
        assert_eq!(command.join().expect("does not panic").ok().stdout, want);
    }
}

#[test]
fn an_agent_whose_key_file_is_gone_says_so_to_whoever_wants_to_stop_it() {
    let home = Home::live();
    let (keys, away) = (home.node().join("keys"), home.path().join("away"));
    home.pk(["agent", "lockall"]).ok();
    std::fs::rename(&keys, &away).expect("moved");
    for command in [["agent", "stop"], ["agent", "unlock"]] {
        let pid = home.agent_pid();
        home.pk(command)
            .ended(65)
            .silent()
            .says("the key file")
            .says("is gone")
            .says(&format!("kill {pid}"));
    }
    assert_eq!(home.status()["status"], "LIVE");
    std::fs::rename(&away, &keys).expect("moved");
    home.pk(["agent", "stop"]).ok();
    assert_eq!(home.status()["status"], "DEAD");
}

#[test]
fn lock_ends_sessions_and_lockall_ends_everything_but_unlock() {
    let home = Home::live();
    home.pk_without_password(["keys", "public"]).ended(77);
    home.pk(["agent", "unlock"]).ok().silent();
    home.pk_without_password(["keys", "public"]).ok();
    home.pk_without_password(["agent", "lock"]).ok();
    home.pk_without_password(["keys", "public"]).ended(77);
    home.pk(["keys", "public"]).ok();

    home.pk(["agent", "unlock"]).ok();
    home.pk_as("wrong", ["agent", "lockall"]).ended(77);
    home.pk_without_password(["agent", "lockall"]).ok();
    assert_eq!(home.status()["locked"], true);
    home.pk(["keys", "public"]).ended(77).says("polykey agent unlock");
    home.pk_without_password(["agent", "unlock"]).ended(77);
    home.pk_as("wrong", ["agent", "unlock"]).ended(77);
    home.pk(["keys", "public"]).ended(77);
    home.pk(["agent", "unlock"]).ok();
    home.pk_without_password(["keys", "public"]).ok();

    home.pk(["agent", "lockall"]).ok();
    home.pk_as("wrong", ["agent", "stop"]).ended(77);
    home.pk(["agent", "stop"]).ok();
}

#[test]
fn a_token_from_the_environment_is_a_session() {
    let home = Home::live();
    home.pk(["agent", "unlock"]).ok();
    let token = std::fs::read_to_string(home.node().join("token")).expect("saved");
    std::fs::remove_file(home.node().join("token")).expect("there");
    let with = |token: &str| {
        let mut command = home.command(["keys", "public"]);
        command.env_remove("PK_PASSWORD").env("PK_TOKEN", token);
        run(command, b"")
    };
    with(&token).ok();
    with("").ended(77);
    with("0123").ended(77);
    with("a\nb").ended(64);
    home.pk(["agent", "lockall"]).ok();
    with(&token).ended(77);
    home.pk(["agent", "unlock"]).ok();
    with(&token).ended(77);
}

#[test]
fn no_node_is_made_whose_recovery_code_goes_nowhere() {
    let home = Home::empty();
    for start in [
        &["bootstrap"][..],
        &["agent", "start", "--background"],
        &["agent", "start"],
    ] {
        let args = start
            .iter()
            .chain(&["--recovery-code-out-file", "no/such/folder"]);
        home.pk(args).ended(74).silent().says("no/such/folder");
        assert!(!home.node().join("keys").exists(), "{start:?}");
    }
    // What a file holds is not lost to a node that is not made.
    let code = home.path().join("code");
    std::fs::write(&code, "an old code").expect("writes");
    let made = |file: &str| home.pk(["bootstrap", "--recovery-code-out-file", file]);
    let mut refused = home.command(["bootstrap", "--recovery-code-out-file", "code"]);
    refused.env("PK_PASSWORD", "");
    crate::home::run(refused, b"").ended(64);
    assert_eq!(std::fs::read_to_string(&code).expect("there"), "an old code");
    made("code").ok().silent();
    let words = std::fs::read_to_string(&code).expect("written");
    assert_eq!(words.split_whitespace().count(), 24);
    made("other").ended(73);
    assert!(!home.path().join("other").exists());
}

#[test]
fn a_node_is_put_aside_only_for_one_that_can_be_made() {
    let home = Home::live();
    home.pk(["vaults", "create", "kept"]).ok();
    home.pk(["agent", "stop"]).ok();
    let mut private = home.command(["keys", "private", "--json"]);
    private.env("PK_PASSWORD_NEW", "not this one");
    let jwe = run(private, b"").ok().stdout;
    home.pk(["agent", "stop"]).ok();
    for (name, content) in [("code", b"no code".as_slice()), ("rubbish", b"{}"), ("jwe", &jwe)] {
        std::fs::write(home.path().join(name), content).expect("written");
    }
    let file = |name: &str| {
        home.path()
            .join(name)
            .into_os_string()
            .into_string()
            .expect("text")
    };
    let (code, rubbish, jwe) = (file("code"), file("rubbish"), file("jwe"));
    let nowhere = file("nowhere");
    for first in [
        &["bootstrap", "--fresh"][..],
        &["agent", "start", "--background", "--fresh"],
    ] {
        for (args, exit) in [
            (["--password-ops-limit", "little"], 64),
            (["--password-mem-limit", "little"], 64),
            (["--recovery-code-file", &code], 65),
            (["--recovery-code-file", &nowhere], 66),
            (["--private-key-file", &rubbish], 65),
            (["--private-key-file", &jwe], 77),
        ] {
            home.pk_as("another", first.iter().chain(&args))
                .ended(exit)
                .silent();
            assert!(!home.node().join("discarded").exists(), "{first:?} {args:?}");
        }
    }
    // A word that is none is not taken either where it would not be used.
    home.pk(["agent", "start", "--background", "--password-ops-limit", "little"])
        .ended(64);
    assert_eq!(
        home.pk(["vaults", "list", "--json"]).ok().json()[0]["vaultName"],
        "kept"
    );
}

#[test]
fn a_recovery_code_in_a_file_is_for_its_owner_alone_and_in_no_answer() {
    use std::os::unix::fs::PermissionsExt;
    let made = |args: &[&str]| {
        let home = Home::empty();
        let code = home.path().join("code");
        std::fs::write(&code, "x".repeat(1000)).expect("writes");
        std::fs::set_permissions(&code, std::fs::Permissions::from_mode(0o644)).expect("ours");
        let args = args.iter().chain(&["--json", "--recovery-code-out-file", "code"]);
        let answer = home.pk(args).ok().json();
        assert!(answer["nodeId"].is_string(), "{answer}");
        assert_eq!(answer.get("recoveryCode"), None);
        let mode = std::fs::metadata(&code).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let words = std::fs::read_to_string(&code).expect("text");
        assert_eq!(words.split_whitespace().count(), 24, "{words}");
    };
    made(&["bootstrap"]);
    made(&["agent", "start", "--background"]);
    // What is no file takes it as well.
    let home = Home::empty();
    let ended = home
        .pk(["bootstrap", "--quiet", "--recovery-code-out-file", "/dev/stderr"])
        .ok()
        .silent();
    assert_eq!(ended.stderr.split_whitespace().count(), 24, "{ended:?}");
}

#[test]
fn a_halted_agent_is_shown_and_not_waited_for() {
    use rustix::process::Signal;
    let home = Home::live();
    let pid = home.agent_pid();
    home.signal(Signal::STOP);
    let shown = home.pk(["agent", "status", "--json"]);
    let ended = home.pk(["agent", "stop"]);
    let halted = rustix::process::Pid::from_raw(pid).expect("not zero");
    rustix::process::kill_process(halted, Signal::CONT).expect("our own agent");
    assert_eq!(shown.ok().json()["status"], "LIVE");
    ended.ended(75).silent().says(&format!("kill -9 {pid}"));
    // What it was told while it was halted it does when it can.
    home.pk(["agent", "stop"]).ok();
    assert_eq!(home.status()["status"], "DEAD");
}
