//! Help, version, completions, manual, and what becomes of mistyped commands.

use std::process::Command;

use crate::home::{Home, run};

#[test]
fn without_arguments_help_is_a_note_and_not_an_answer() {
    let home = Home::empty();
    for args in [&[][..], &["agent"], &["keys"]] {
        home.pk(args).ok().silent().says("Usage: polykey");
        let mut bare = home.command(args);
        bare.env_remove("PK_NODE_PATH");
        run(bare, b"").ok().silent().says("Usage: polykey");
    }
}

#[test]
fn help_that_was_asked_for_is_the_answer() {
    let home = Home::empty();
    for args in [
        &["--help"][..],
        &["-h"],
        &["help"],
        &["agent", "--help"],
        &["help", "agent"],
        &["agent", "start", "-h"],
        &["help", "agent", "start"],
        &["agent", "help", "start"],
    ] {
        let ended = home.pk(args).ok();
        assert!(ended.text().contains("Usage: polykey"), "{ended:#?}");
        assert!(ended.text().contains("Examples:"), "{ended:#?}");
        assert_eq!(ended.stderr, "", "{args:?}");
    }
    assert!(!home.node().exists(), "help makes nothing");
}

#[test]
fn mistyped_words_are_64_and_the_right_one_is_named() {
    let home = Home::empty();
    for (args, near) in [
        (&["agnet"][..], "did you mean `agent`?"),
        (&["agent", "sttus"], "did you mean `status`?"),
        (&["help", "agnet"], "usage: polykey"),
        (&["--jsn", "agent", "status"], "did you mean `--json`?"),
        (&["completions", "bsh"], "did you mean `bash`?"),
        (&["--json"], "polykey help"),
        (&["agent", "status", "extra"], "usage: polykey agent status"),
        (&["--client-port", "1", "agent", "status"], "--node-path"),
    ] {
        home.pk(args).ended(64).silent().says(near);
    }
    let problem = home.pk(["--json", "agnet"]).ended(64).problem();
    assert_eq!(problem["code"], "usage");
    assert_eq!(problem["hint"], "did you mean `agent`?");
}

#[test]
fn the_version_is_one_plain_line_and_its_parts_are_json() {
    let home = Home::empty();
    let plain = home.pk(["--version"]).ok();
    assert_eq!(plain.text(), format!("polykey {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(home.pk(["-V"]).ok().stdout, plain.stdout);
    for args in [
        &["--version", "--json"][..],
        &["--json", "--version"],
        &["-f", "json", "-V"],
        &["--format=json", "--version"],
    ] {
        let parts = home.pk(args).ok().json();
        assert_eq!(parts["version"], env!("CARGO_PKG_VERSION"), "{args:?}");
        assert!(
            parts["apiVersion"].is_u64() && parts["formats"]["statement"].is_u64(),
            "{parts}"
        );
    }
}

/// What `shell` prints for `script`, if it is on this machine.
fn in_shell(home: &Home, shell: &str, script: &str) -> Option<String> {
    let mut command = Command::new(shell);
    command
        .args(["-c", script])
        .current_dir(home.path())
        .env("HOME", home.path());
    let there = Command::new(shell).args(["-c", "exit 0"]).status();
    if there.is_err() {
        println!("skipped: there is no {shell} here");
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "{shell} is missing"
        );
        return None;
    }
    Some(run(command, b"").ok().text().to_owned())
}

#[test]
fn shells_complete_both_names() {
    let home = Home::empty();
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let text = home.pk(["completions", shell]).ok().stdout;
        std::fs::write(home.path().join(shell), text).expect("writes");
    }
    for name in ["polykey", "pk"] {
        let script = format!(
            "source ./bash; COMP_WORDS=({name} agent st); COMP_CWORD=2; \
             $(complete -p {name} | sed 's/.*-F \\([^ ]*\\).*/\\1/') {name} st agent; echo ${{COMPREPLY[@]}}"
        );
        if let Some(found) = in_shell(&home, "bash", &script) {
            assert_eq!(found, "start status stop\n");
        }
        let script = format!("source ./fish; complete -C '{name} agent st' | cut -f 1");
        if let Some(found) = in_shell(&home, "fish", &script) {
            assert_eq!(found, "start\nstatus\nstop\n");
        }
        let script = format!("autoload -Uz compinit; compinit -u -D; source ./zsh; echo ${{_comps[{name}]}}");
        if let Some(found) = in_shell(&home, "zsh", &script) {
            assert_eq!(found, "_polykey\n");
        }
    }
}

#[test]
fn the_manual_needs_no_home_and_no_node() {
    let home = Home::empty();
    let mut command = home.command(["man"]);
    command
        .env_remove("HOME")
        .env_remove("XDG_DATA_HOME")
        .env_remove("PK_NODE_PATH");
    let page = run(command, b"").ok();
    assert!(page.text().contains(".TH polykey 1"), "{page:#?}");
    home.pk(["man", "--dir", "share/man1"])
        .ok()
        .silent()
        .says("wrote");
    assert!(home.path().join("share/man1/polykey-keys-sign.1").is_file());
    std::fs::write(home.path().join("file"), "").expect("writes");
    home.pk(["man", "--dir", "file/man1"]).ended(74);
}
