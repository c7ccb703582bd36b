//! The socket under clients that misbehave.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::home::{Home, PASSWORD, run};

fn connect(home: &Home) -> UnixStream {
    let stream = UnixStream::connect(home.node().join("agent.sock")).expect("listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a socket");
    stream
}

/// Sends bytes and reads until the agent closes.
fn exchange(home: &Home, bytes: &[u8]) -> String {
    let mut stream = connect(home);
    // The agent may have seen enough before the end.
    let _ = stream.write_all(bytes);
    // A whole request ends itself; an end of the stream behind it may be read as a client that went away.
    if !bytes.starts_with(b"POST /v1") {
        let _ = stream.shutdown(std::net::Shutdown::Write);
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn request(path: &str, head: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{head}content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[test]
fn nonsense_gets_an_error_and_the_agent_goes_on() {
    let home = Home::live();
    let basic = format!(
        "authorization: Basic {}\r\n",
        data_encoding::BASE64.encode(format!(":{PASSWORD}").as_bytes())
    );
    for (bytes, status) in [
        (b"".to_vec(), ""),
        (b"\0\xff\r\n\r\n".to_vec(), "HTTP/1.1 400"),
        (b"GET / HTTP/9.9\r\n\r\n".to_vec(), "HTTP/1.1 4"),
        (request("/v1/keys/public", "", "{}"), "HTTP/1.1 401"),
        (
            request("/v1/keys/public", "authorization: x\r\n", "{}"),
            "HTTP/1.1 401",
        ),
        (request("/v1/keys/public", &basic, "{}"), "HTTP/1.1 200"),
        (request("/v1/keys/public", &basic, ""), "HTTP/1.1 200"),
        (request("/v1/keys/public", &basic, "{"), "HTTP/1.1 400"),
        (request("/v1/keys/public", &basic, "[1]"), "HTTP/1.1 400"),
        (request("/v1/keys/public", &basic, r#"{"x":1}"#), "HTTP/1.1 400"),
        (request("/v1/nope", &basic, "{}"), "HTTP/1.1 404"),
        (
            request("/v1/audit/read", &basic, r#"{"order":"sideways"}"#),
            "HTTP/1.1 400",
        ),
        (
            request("/v1/keys/public", &basic, &"x".repeat(5 << 20)),
            "HTTP/1.1 413",
        ),
        (
            format!("POST / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(1 << 20)).into_bytes(),
            "HTTP/1.1 431",
        ),
        (
            format!("POST / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(1000)).into_bytes(),
            "HTTP/1.1 431",
        ),
    ] {
        let answer = exchange(&home, &bytes);
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
        assert!(answer.starts_with(status), "{shown:?}: {answer:?}");
        assert!(!answer.contains(PASSWORD));
    }
    assert_eq!(home.status()["status"], "LIVE");
}

#[test]
fn keys_change_as_a_whole_although_the_caller_hangs_up() {
    let home = Home::live();
    let before = home.status()["nodeId"].clone();
    let basic = data_encoding::BASE64.encode(format!(":{PASSWORD}").as_bytes());
    let new = data_encoding::BASE64.encode(b"battery staple");
    let head = format!("authorization: Basic {basic}\r\n");
    let proposal = exchange(&home, &request("/v1/keys/propose", &head, "{}"));
    let (_, proposal) = proposal.split_once("\r\n\r\n").expect("an answer");
    let proposal: serde_json::Value = serde_json::from_str(proposal).expect("JSON");
    let body = serde_json::json!({
        "password": new,
        "newRecoveryCode": proposal["recoveryCode"],
        "opsLimit": "min",
        "memLimit": "min",
    });
    let body = body.to_string();
    // One that hangs up before the agent reads what it sent has asked for nothing, so it takes more than one at times.
    // Those that come after the change are wrong guesses.
    let is_changed = || {
        let mut stream = connect(&home);
        stream
            .write_all(&request("/v1/keys/reset", &head, &body))
            .expect("takes it");
        drop(stream);
        (0..10).any(|_| home.status()["nodeId"] != before)
    };
    assert!((0..50).any(|_| is_changed()));
    home.pk_as("battery staple", ["keys", "public"]).ok();
    home.pk(["keys", "public"]).ended(77);
}

#[test]
fn a_guess_is_recorded_although_the_caller_hangs_up() {
    let home = Home::live();
    home.pk(["agent", "lockall"]).ok();
    let guess = data_encoding::BASE64.encode(b":guess");
    let head = format!("authorization: Basic {guess}\r\n");
    // One that hangs up before the agent reads what it sent has guessed nothing, so it takes more than one at times.
    let is_recorded = || {
        let mut stream = connect(&home);
        stream
            .write_all(&request("/v1/agent/unlock", &head, "{}"))
            .expect("takes it");
        drop(stream);
        home.pk(["agent", "unlock"]).ok();
        let log = home.pk(["audit", "--json"]).ok();
        log.text().lines().any(|line| {
            let record: serde_json::Value = serde_json::from_str(line).expect("JSON");
            record["path"] == "agent.unlock" && record["data"]["allowed"] == false
        })
    };
    assert!((0..50).any(|_| is_recorded()));
}

#[test]
fn clients_that_say_nothing_hold_up_nobody_not_even_the_end() {
    let home = Home::live();
    let basic = data_encoding::BASE64.encode(format!(":{PASSWORD}").as_bytes());
    let head = format!(
        "PUT /v1/keys/sign HTTP/1.1\r\nhost: x\r\nauthorization: Basic {basic}\r\ncontent-length: 1000000\r\n\r\nabc"
    );
    let mut silent: Vec<UnixStream> = (0..100).map(|_| connect(&home)).collect();
    for stream in silent.iter_mut().take(20) {
        stream.write_all(head.as_bytes()).expect("takes it");
    }
    home.pk(["keys", "public"]).ok();
    home.pk(["agent", "stop"]).ok();
    assert_eq!(home.status()["status"], "DEAD");
}

#[test]
fn wrong_passwords_are_slowed_down_and_hold_up_no_session() {
    let home = Home::live();
    home.pk(["agent", "unlock"]).ok();
    let guesses: Vec<_> = (0..6)
        .map(|_| {
            let mut command = home.command(["keys", "public"]);
            command.env("PK_PASSWORD", "guess");
            std::thread::spawn(move || run(command, b"").code)
        })
        .collect();
    // The session does not pass the turn-stile at which the guesses wait.
    home.pk_without_password(["keys", "public"]).ok();
    for guess in guesses {
        assert_eq!(guess.join().expect("does not panic"), 77);
    }
    home.pk(["keys", "public"]).ok();
}

#[test]
fn a_node_path_too_long_for_a_socket_works_all_the_same() {
    let home = Home::empty();
    let long = home.path().join("x".repeat(100)).join("y".repeat(100));
    let at = |args: &[&str]| {
        let mut command = home.command(args);
        command
            .env("PK_NODE_PATH", &long)
            .env("XDG_RUNTIME_DIR", home.path());
        run(command, b"")
    };
    let started = at(&["agent", "start", "--background", "--json"]).ok().json();
    let socket = started["socket"].as_str().expect("a path").to_owned();
    assert!(
        !socket.starts_with(long.to_str().expect("text")) && socket.len() <= 103,
        "{socket}"
    );
    at(&["keys", "public"]).ok();
    at(&["agent", "stop"]).ok();
    assert!(!std::path::Path::new(&socket).exists());
}

#[test]
fn an_agent_in_the_background_holds_nothing_of_its_starter() {
    let home = Home::empty();
    // `sh` gives the starter a pipe as descriptor 7. When the agent held it, the reader would never see an end.
    let program = env!("CARGO_BIN_EXE_polykey");
    let mut command = home.command([
        "-c",
        "\"$0\" agent start --background 7>&1 >/dev/null | cat",
        program,
    ]);
    let args: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let mut sh = std::process::Command::new("sh");
    sh.args(args).current_dir(home.path());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            sh.env(name, value);
        }
    }
    run(sh, b"").ok();
    command.env_clear();
    let pid = home.agent_pid();
    let own_session = rustix::process::getsid(rustix::process::Pid::from_raw(pid)).expect("lives");
    assert_eq!(own_session.as_raw_nonzero().get(), pid);
    #[cfg(target_os = "linux")]
    {
        let cwd = std::fs::read_link(format!("/proc/{pid}/cwd"));
        assert!(cwd.is_err() || cwd.is_ok_and(|cwd| cwd == std::path::Path::new("/")));
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let argv = std::fs::read(format!("/proc/{pid}/cmdline")).expect("lives");
        for text in [environ, argv] {
            assert!(!String::from_utf8_lossy(&text).contains(PASSWORD));
        }
    }
}

#[test]
fn nothing_on_the_disk_shows_the_password_or_the_code() {
    let home = Home::empty();
    let started = home
        .pk(["agent", "start", "--background", "-vvv", "--json"])
        .ok()
        .json();
    let code = started["recoveryCode"].as_str().expect("a new node").to_owned();
    home.pk(["agent", "unlock", "-vvv"]).ok();
    let token = std::fs::read_to_string(home.node().join("token")).expect("saved");
    home.pk(["keys", "public"]).ok();
    home.pk_as("another secret", ["keys", "public"]).ended(77);
    home.pk(["agent", "stop"]).ok();
    let mut folders = vec![home.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("readable").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|name| name != "token") {
                let bytes = std::fs::read(&path).expect("readable");
                for secret in [PASSWORD, &code, &token, "another secret"] {
                    let found = bytes
                        .windows(secret.len())
                        .any(|window| window == secret.as_bytes());
                    assert!(!found, "{}", path.display());
                }
            }
        }
    }
}
