//! The node's keys: shown, used, changed.

use crate::home::{Home, PASSWORD, run};

fn recovery_code(home: &Home) -> String {
    let started = home.pk(["agent", "start", "--background", "--json"]).ok().json();
    started["recoveryCode"].as_str().expect("a new node").to_owned()
}

#[test]
fn what_is_encrypted_to_a_node_decrypts_there_and_nowhere_else() {
    let (alice, bob) = (Home::live(), Home::live());
    std::fs::write(
        alice.path().join("bob.jwk"),
        bob.pk(["keys", "public", "--json"]).ok().stdout,
    )
    .expect("writes");
    let long = vec![7; 1_000_000];
    for plain in [&b""[..], b"secret", b"\0\xff\n", &long] {
        let sealed = alice
            .pk_with_input(["keys", "encrypt", "-", "bob.jwk"], plain)
            .ok()
            .stdout;
        assert_eq!(
            bob.pk_with_input(["keys", "decrypt", "-"], &sealed).ok().stdout,
            plain
        );
        alice
            .pk_with_input(["keys", "decrypt", "-"], &sealed)
            .ended(65)
            .silent();
    }
    let mut wrong = alice.command(["keys", "sign", "-"]);
    wrong.env("PK_PASSWORD", "wrong");
    run(wrong, &vec![7; 5_000_000]).ended(77).silent();
    let own = alice.status()["nodeId"].as_str().expect("live").to_owned();
    let mut sealed = alice
        .pk_with_input(["keys", "encrypt", "-", &own], b"mine")
        .ok()
        .stdout;
    assert_eq!(
        alice.pk_with_input(["keys", "decrypt", "-"], &sealed).ok().stdout,
        b"mine"
    );
    *sealed.last_mut().expect("not empty") ^= 1;
    alice
        .pk_with_input(["keys", "decrypt", "-"], &sealed)
        .ended(65)
        .silent();
    alice
        .pk_with_input(["keys", "decrypt", "-"], b"junk")
        .ended(65)
        .silent();

    let other = bob.status()["nodeId"].as_str().expect("live").to_owned();
    alice
        .pk_with_input(["keys", "encrypt", "-", &other], b"x")
        .ended(67)
        .silent();
    alice.pk(["keys", "encrypt", "absent", &own]).ended(66);
    alice.pk(["keys", "encrypt", "bob.jwk", "absent.jwk"]).ended(66);
    alice.pk(["keys", "decrypt", "absent"]).ended(66);
}

#[test]
fn a_signature_verifies_for_its_signer_and_bytes_only() {
    let home = Home::live();
    let file = |name: &str| home.path().join(name);
    let id = home.status()["nodeId"].as_str().expect("live").to_owned();
    std::fs::write(file("f"), b"text").expect("writes");
    std::fs::write(file("s"), home.pk(["keys", "sign", "f"]).ok().stdout).expect("writes");
    std::fs::write(file("j"), home.pk(["keys", "sign", "f", "--json"]).ok().stdout).expect("writes");
    std::fs::write(file("jwk"), home.pk(["keys", "public", "--json"]).ok().stdout).expect("writes");
    for signature in ["s", "j"] {
        home.pk(["keys", "verify", "f", signature, &id]).ok();
        let verdict = home
            .pk(["keys", "verify", "f", signature, "jwk", "--json"])
            .ok()
            .json();
        assert_eq!(verdict["success"], true);
    }
    let verdict = home
        .pk_with_input(["keys", "verify", "-", "s", &id, "--json"], b"texT")
        .ended(1)
        .json();
    assert_eq!(verdict["success"], false);
    std::fs::write(file("bad"), b"no signature").expect("writes");
    home.pk(["keys", "verify", "f", "bad", &id]).ended(1);
    let other = Home::live().status()["nodeId"].as_str().expect("live").to_owned();
    home.pk(["keys", "verify", "f", "s", &other]).ended(1);
    home.pk(["keys", "verify", "f", "absent", &id]).ended(66);
    home.pk(["keys", "verify", "-", "-", &id]).ended(64);
}

#[test]
fn an_exported_key_makes_the_same_node_elsewhere() {
    let home = Home::live();
    let export = |variable: &str, value: &str| {
        let mut command = home.command(["keys", "private", "--json"]);
        command.env(variable, value);
        run(command, b"")
    };
    let jwe = export("PK_PASSWORD_NEW", "export").ok();
    home.pk(["keys", "private"]).ended(64).says("PK_PASSWORD_NEW");
    let id = home.status()["nodeId"].clone();
    for (password, code) in [("export", 0), ("other", 77)] {
        let twin = Home::empty();
        std::fs::write(twin.path().join("key"), &jwe.stdout).expect("writes");
        twin.pk_as(password, ["bootstrap", "--private-key-file", "key"])
            .ended(code);
        if code == 0 {
            twin.pk_as(password, ["agent", "start", "--background"]).ok();
            assert_eq!(twin.status()["nodeId"], id);
        }
    }
}

#[test]
fn a_new_password_replaces_the_old_one_everywhere() {
    let home = Home::live();
    home.pk(["agent", "unlock"]).ok();
    let mut command = home.command(["keys", "password"]);
    command.env("PK_PASSWORD_NEW", "new");
    run(command, b"").ok().silent();
    home.pk_without_password(["keys", "public"]).ended(77);
    home.pk(["keys", "public"]).ended(77);
    home.pk_as("new", ["keys", "public"]).ok();
    home.pk_as("new", ["agent", "stop"]).ok();
    home.pk(["agent", "start", "--background"]).ended(77);
    home.pk_as("new", ["agent", "start", "--background"]).ok();
}

#[test]
fn a_renewed_node_has_a_new_id_and_nothing_old_opens_it() {
    for command in ["renew", "reset"] {
        let home = Home::empty();
        let old_code = recovery_code(&home);
        let old_id = home.status()["nodeId"].clone();
        let with = |code: &str| {
            let mut renew = home.command(["keys", command, "--json"]);
            renew.env("PK_PASSWORD_NEW", "new").env("PK_RECOVERY_CODE", code);
            run(renew, b"")
        };
        if command == "renew" {
            home.pk(["keys", "renew"]).ended(64);
            with(&recovery_code(&Home::empty())).ended(77).silent();
            assert_eq!(home.status()["nodeId"], old_id);
        }
        home.pk(["vaults", "create", "old"]).ok();
        home.pk_with_input(["secrets", "write", "old:a"], b"before").ok();
        // What cannot be done shows no code that never holds.
        let mut empty = home.command(["keys", command, "--json"]);
        empty
            .env("PK_PASSWORD_NEW", "")
            .env("PK_RECOVERY_CODE", &old_code);
        run(empty, b"").ended(64).silent();
        assert_eq!(home.status()["nodeId"], old_id);
        let renewed = with(&old_code).ok().json();
        assert_ne!(renewed["nodeId"], old_id);
        assert_eq!(home.status()["nodeId"], renewed["nodeId"]);
        home.pk(["keys", "public"]).ended(77);
        home.pk_as("new", ["keys", "public"]).ok();
        assert_eq!(
            home.pk_as("new", ["secrets", "cat", "old:a"]).ok().stdout,
            b"before"
        );
        home.pk_as("new", ["secrets", "touch", "old:b"]).ok();
        // Who names its successor hands its vaults on; who does not keeps them.
        let members = home
            .pk_as("new", ["vaults", "members", "old", "--json"])
            .ok()
            .json();
        let member = if command == "renew" {
            &renewed["nodeId"]
        } else {
            &old_id
        };
        assert_eq!(members.as_array().map(Vec::len), Some(1));
        assert_eq!(
            (&members[0]["nodeIdEncoded"], &members[0]["role"]),
            (member, &"admin".into())
        );
        home.pk_as("new", ["vaults", "create", "new"]).ok();
        home.pk_as("new", ["secrets", "touch", "new:b"]).ok();
        let chain = home.pk_as("new", ["keys", "certchain", "--json"]).ok().json();
        // Nothing leads from a key to those before a reset.
        let length = if command == "renew" { 2 } else { 1 };
        assert_eq!(chain.as_array().map(Vec::len), Some(length));
        home.pk_as("new", ["agent", "stop"]).ok();
        home.pk_as(PASSWORD, ["agent", "start", "--background"]).ended(77);

        let start = |code: &str| {
            let mut start = home.command(["agent", "start", "--background", "--json"]);
            start.env("PK_PASSWORD", "third").env("PK_RECOVERY_CODE", code);
            run(start, b"")
        };
        start(&old_code).ended(77);
        let new_code = renewed["recoveryCode"].as_str().expect("always shown").to_owned();
        assert_eq!(start(&new_code).ok().json()["nodeId"], renewed["nodeId"]);
        home.pk_as("third", ["keys", "public"]).ok();
    }
}

#[test]
fn the_recovery_code_makes_the_same_node_again() {
    let home = Home::empty();
    let code = recovery_code(&home);
    let again = Home::empty();
    std::fs::write(again.path().join("code"), &code).expect("writes");
    again
        .pk([
            "bootstrap",
            "--recovery-code-file",
            "code",
            "--recovery-code-out-file",
            "out",
        ])
        .ok()
        .silent();
    assert_eq!(
        std::fs::read_to_string(again.path().join("out")).expect("written"),
        format!("{code}\n")
    );
    again.pk(["agent", "start", "--background"]).ok();
    assert_eq!(again.status()["nodeId"], home.status()["nodeId"]);
    // Whoever gives the code knows it, and what an unattended start prints stays in a log.
    let unattended = Home::empty();
    let mut start = unattended.command(["agent", "start", "--background", "--json"]);
    start.env("PK_RECOVERY_CODE", &code);
    let started = run(start, b"").ok().json();
    assert_eq!(started["nodeId"], home.status()["nodeId"]);
    assert_eq!(started.get("recoveryCode"), None);
    let broken = Home::empty();
    std::fs::write(broken.path().join("code"), "abandon ".repeat(24)).expect("writes");
    broken.pk(["bootstrap", "--recovery-code-file", "code"]).ended(65);
    broken
        .pk(["bootstrap", "--recovery-code-file", "absent"])
        .ended(66);
}

#[test]
fn in_json_each_byte_is_a_character_of_the_data() {
    let home = Home::live();
    let own = home.status()["nodeId"].as_str().expect("live").to_owned();
    let plain: Vec<u8> = (0..=255).chain(*b"\"\\\n").collect();
    let bytes = |ended: crate::home::Ended| -> Vec<u8> {
        let json = ended.ok().json();
        let text = json["data"].as_str().expect("a text").to_owned();
        text.chars().map(|c| u8::try_from(c).expect("one byte")).collect()
    };
    let sealed = bytes(home.pk_with_input(["keys", "encrypt", "-", &own, "--json"], &plain));
    assert_eq!(
        home.pk_with_input(["keys", "decrypt", "-"], &sealed).ok().stdout,
        plain
    );
    assert_eq!(
        bytes(home.pk_with_input(["keys", "decrypt", "-", "--json"], &sealed)),
        plain
    );
    let refused = home
        .pk_with_input(["keys", "decrypt", "-", "--json"], b"junk")
        .ended(65);
    refused.silent();
}

#[test]
fn renewing_without_the_recovery_code_says_how_to_go_on() {
    let home = Home::live();
    home.pk(["keys", "renew"])
        .ended(64)
        .silent()
        .says("--recovery-code-file")
        .says("polykey keys reset");
}

#[cfg(target_os = "linux")]
#[test]
fn no_recovery_code_holds_that_could_not_be_shown() {
    let home = Home::empty();
    let code = recovery_code(&home);
    let id = home.status()["nodeId"].clone();
    for command in ["renew", "reset"] {
        let full = std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .expect("Linux has one");
        let mut renew = home.command(["keys", command]);
        renew
            .env("PK_PASSWORD_NEW", "new")
            .env("PK_RECOVERY_CODE", &code)
            .stdin(std::process::Stdio::null())
            .stdout(full);
        let ended = renew.output().expect("runs");
        assert_eq!(ended.status.code(), Some(74), "{command}: {ended:?}");
        assert_eq!(home.status()["nodeId"], id);
        home.pk(["keys", "public"]).ok();
        home.pk_as("new", ["keys", "public"]).ended(77);
    }
}
