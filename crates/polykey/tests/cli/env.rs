//! `secrets env`: into programs and shells.

use std::process::Command;

use crate::home::{Home, run};

fn with(secrets: &[(&str, &[u8])]) -> Home {
    let home = Home::live();
    home.pk(["vaults", "create", "v"]).ok();
    for (name, value) in secrets {
        home.pk_with_input(["secrets", "write", &format!("v:{name}")], value)
            .ok();
    }
    home
}

fn env(home: &Home, args: &[&str]) -> crate::home::Ended {
    home.pk(["secrets", "env"].iter().chain(args))
}

#[test]
fn a_command_gets_the_secrets_and_its_status_is_ours() {
    let home = with(&[("d/TOKEN", b"t\n"), ("OTHER", b"o"), ("d/deep/X", b"x")]);
    let printed = env(
        &home,
        &[
            "v",
            "--",
            "sh",
            "-c",
            "printf '%s|%s|%s|%s' \"$TOKEN\" \"$OTHER\" \"$X\" \"$HOME\"",
        ],
    );
    assert_eq!(printed.ok().text(), format!("t|o|x|{}", home.path().display()));
    env(&home, &["v:OTHER", "--", "sh", "-c", "exit 42"]).ended(42);
    env(&home, &["v:OTHER", "--", "sh", "-c", "kill -TERM $$"]).ended(128 + 15);
    env(&home, &["v:OTHER", "--", "no-such-command"]).ended(127);
    env(&home, &["v:OTHER", "--", "/"]).ended(126);
    let isolated = env(&home, &["--isolate", "v:OTHER", "--", "env"]).ok();
    assert_eq!(isolated.text(), "OTHER=o\n");
    // What opens the node stays with us.
    let passed = env(&home, &["v:OTHER", "--", "env"]).ok();
    assert!(!passed.text().contains("PK_PASSWORD=") && passed.text().contains("PK_NODE_PATH="));
    let wanted = env(&home, &["--allow", "PK_PASSWORD", "v:OTHER", "--", "env"]).ok();
    assert!(wanted.text().contains("PK_PASSWORD="));
    // The command's own arguments are its own, two-letter options too.
    assert_eq!(
        env(&home, &["v:OTHER", "--", "echo", "-np", "--json", "--"])
            .ok()
            .text(),
        "-np --json --\n"
    );
    // The terminal, input and output are the command's.
    let through = home
        .pk_with_input(["secrets", "env", "v:OTHER", "--", "cat"], b"\xffinput")
        .ok();
    assert_eq!(through.stdout, b"\xffinput");
    // It is the same process, with no socket left open.
    let links = env(
        &home,
        &[
            "v:OTHER",
            "--",
            "sh",
            "-c",
            "ls -l /proc/$$/fd | grep -c socket || true",
        ],
    )
    .ok();
    assert_eq!(links.text().trim(), "0");
}

#[test]
fn newlines_are_trimmed_once_unless_kept() {
    let home = with(&[("A", b"x\n\n"), ("B", b"\n")]);
    assert_eq!(env(&home, &["v"]).ok().text(), "A='x\n'\nB=''\n");
    assert_eq!(
        env(&home, &["v", "--preserve-newline"]).ok().text(),
        "A='x\n\n'\nB='\n'\n"
    );
}

#[test]
fn names_can_be_given_and_are_checked() {
    let home = with(&[
        ("a-b", b"1"),
        ("d/C", b"2"),
        ("d/E", b"3"),
        ("x=y", b"4"),
        ("G", b"5"),
    ]);
    env(&home, &["v:a-b"]).ended(64).silent().says("a-b");
    assert_eq!(env(&home, &["v:a-b=AB"]).ok().text(), "AB='1'\n");
    assert_eq!(env(&home, &["v:d/C=X", "v:G=Y"]).ok().text(), "X='2'\nY='5'\n");
    for bad in ["v:G=", "v:G=1A", "v:G=A-B", "v:G=A B", "v:G=é", "v:G=A\n"] {
        env(&home, &[bad]).ended(64).silent();
    }
    env(&home, &["v:d=X"]).ended(64).says("2 values");
    env(&home, &["v=X"]).ended(64);
    env(&home, &["v:none=X"]).ended(66);
    env(&home, &["v:none"]).ended(66);
    env(&home, &["none"]).ended(66);
    env(&home, &[]).ended(64);
    env(&home, &["--", "true"]).ended(64);
    // An exact name wins over a rename.
    env(&home, &["v:x=y"]).ended(64).says("x=y");
    assert_eq!(env(&home, &["v:x=y=Z"]).ok().text(), "Z='4'\n");
    assert_eq!(
        env(&home, &["-ei", "warn", "v"])
            .ok()
            .says("a-b")
            .text()
            .lines()
            .count(),
        3
    );
    let ignored = env(&home, &["--env-invalid", "ignore", "v"]).ok();
    assert!(ignored.stderr.is_empty(), "{ignored:?}");
    env(&home, &["-ei", "nonsense", "v"]).ended(64);
    env(&home, &["-ef", "nonsense", "v"]).ended(64);
    env(&home, &["v:[C"]).ended(66);
    assert_eq!(env(&home, &["v:d/*"]).ok().text(), "C='2'\nE='3'\n");
}

#[test]
fn the_same_path_in_two_vaults_keeps_two_names() {
    let home = with(&[("S", b"1")]);
    home.pk(["vaults", "create", "w"]).ok();
    home.pk_with_input(["secrets", "write", "w:S"], b"2").ok();
    assert_eq!(env(&home, &["v:S=A", "w:S=B"]).ok().text(), "A='1'\nB='2'\n");
    assert_eq!(env(&home, &["v:S", "w:S"]).ok().text(), "S='2'\n");
    assert_eq!(env(&home, &["-ed", "keep", "v:S", "w:S"]).ok().text(), "S='1'\n");
    assert_eq!(
        env(&home, &["-ed", "warn", "v:S", "w:S"]).ok().says("S").text(),
        "S='2'\n"
    );
    env(&home, &["-ed", "error", "v:S", "w:S"]).ended(64).silent();
    assert_eq!(env(&home, &["-ed", "error", "v:S", "v"]).ok().text(), "S='1'\n");
}

#[test]
fn variables_that_steer_programs_need_the_users_word() {
    let home = with(&[
        ("LD_PRELOAD", b"/tmp/x.so"),
        ("PATH", b"/evil"),
        ("BASH_ENV", b"/evil"),
        ("TOKEN", b"t"),
        ("NODE_OPTIONS", b"-r x"),
    ]);
    let ended = env(&home, &["v", "--", "env"])
        .ok()
        .says("LD_PRELOAD")
        .says("BASH_ENV")
        .says("NODE_OPTIONS");
    assert!(
        !ended.text().contains("/evil") && !ended.text().contains("LD_PRELOAD"),
        "{ended:?}"
    );
    assert!(ended.text().contains("TOKEN=t"));
    assert_eq!(env(&home, &["v"]).ok().text(), "TOKEN='t'\n");
    env(&home, &["--env-invalid", "error", "v"]).ended(64).silent();
    assert_eq!(
        env(&home, &["v", "--allow", "BASH_ENV"]).ok().text(),
        "BASH_ENV='/evil'\nTOKEN='t'\n"
    );
    // Where the command is found is not the vault's to say.
    let allowed = env(
        &home,
        &["v:PATH", "--allow", "PATH", "--", "sh", "-c", "echo $PATH"],
    )
    .ok();
    assert_eq!(allowed.text(), "/evil\n");
}

#[test]
fn records_give_a_variable_a_field() {
    let home = with(&[]);
    home.pk([
        "secrets",
        "set",
        "v:db",
        "--text",
        "USER_NAME=me",
        "--text",
        "HOST=h",
    ])
    .ok();
    assert_eq!(env(&home, &["v:db"]).ok().text(), "USER_NAME='me'\nHOST='h'\n");
    assert_eq!(env(&home, &["v"]).ok().text(), "USER_NAME='me'\nHOST='h'\n");
    assert_eq!(env(&home, &["v:db#HOST"]).ok().text(), "HOST='h'\n");
    assert_eq!(env(&home, &["v:db#HOST=H"]).ok().text(), "H='h'\n");
    env(&home, &["v:db#none"]).ended(66);
    env(&home, &["v:db=X"]).ended(64);
}

#[test]
fn every_value_survives_the_shell_and_runs_nothing() {
    let hostile: &[(&str, &[u8])] = &[
        ("A", b"it's; touch pwned"),
        ("B", b"$(touch pwned)`touch pwned`"),
        ("C", b"\\'\"\n\n' \xff\xfe \x01\x7f"),
        ("D", b"';touch pwned;'"),
        ("E", b""),
    ];
    let home = with(hostile);
    for (format, shells) in [("unix", &["sh", "bash"][..]), ("dotenv", &["sh", "bash"])] {
        let text = env(
            &home,
            &["--env-format", format, "--export", "--preserve-newline", "v"],
        )
        .ok()
        .stdout;
        std::fs::write(home.path().join("script"), &text).expect("writes");
        for shell in shells {
            let mut command = Command::new(shell);
            command
                .current_dir(home.path())
                .args(["-c", ". ./script; exec env -0"]);
            let printed = run(command, b"").ok().stdout;
            let printed: Vec<&[u8]> = printed.split(|byte| *byte == 0).collect();
            for (name, value) in hostile {
                let want = [name.as_bytes(), b"=", value].concat();
                assert!(printed.contains(&want.as_slice()), "{format} {shell} {name}");
            }
        }
    }
    assert!(!home.path().join("pwned").exists());
    let json = env(&home, &["--json", "v:A", "v:C"]).ok().json();
    assert_eq!(json["A"], "it's; touch pwned");
    assert_eq!(json["C"]["encoding"], "base64");
    assert_eq!(
        env(&home, &["-ef", "powershell", "v:A"]).ok().text(),
        "$env:A = 'it''s; touch pwned'\n"
    );
    env(&home, &["-ef", "powershell", "v:C"]).ended(65).silent();
    assert!(
        env(&home, &["-ef", "cmd", "v:A"])
            .ok()
            .text()
            .starts_with("set ^\"A=it's")
    );
}

#[test]
fn what_no_variable_can_hold_is_refused() {
    let home = with(&[("N", b"a\0b"), ("OK", b"x")]);
    env(&home, &["v"]).ended(65).silent().says("NUL");
    // JSON could carry it, but what is read from it becomes a variable in the end.
    for format in ["auto", "unix", "cmd", "powershell", "json", "dotenv"] {
        env(&home, &["v", "--env-format", format])
            .ended(65)
            .silent()
            .says("holds a NUL byte")
            .says("polykey secrets cat");
    }
    let refused = env(&home, &["v:N=X", "--json"]).ended(65).silent();
    assert_eq!(refused.problem()["code"], "bad-data");
    env(&home, &["v", "--env-format", "json", "--env-invalid", "ignore"])
        .ended(65)
        .silent();
    env(&home, &["v", "--", "touch", "ran"]).ended(65);
    assert!(!home.path().join("ran").exists());
    assert_eq!(env(&home, &["v:OK"]).ok().text(), "OK='x'\n");
}
