//! `polykey relay`: no node, one answer, and an end by signal.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use rcgen::{CertificateParams, KeyPair};
use rustix::process::{Pid, Signal, kill_process};

use crate::home::Home;

/// A relay that runs, with its first line of output. It is gone when this is.
pub struct Running {
    child: Child,
    pub line: String,
}

impl Running {
    fn start(home: &Home, args: &[&str]) -> Running {
        Running::of(home.command(["relay"].iter().chain(args)))
    }

    /// The relay that this command starts.
    pub fn of(mut command: Command) -> Running {
        let mut child = command
            .env_remove("PK_PASSWORD")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program was built");
        let mut line = String::new();
        let stdout = child.stdout.as_mut().expect("piped");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("it prints a line");
        Running { child, line }
    }

    /// Ends it with a signal; its exit code and what it said on stderr.
    fn end(mut self, signal: Signal) -> (Option<i32>, String) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("small")).expect("not zero");
        kill_process(pid, signal).expect("our own child");
        let mut said = String::new();
        let stderr = self.child.stderr.as_mut().expect("piped");
        stderr.read_to_string(&mut said).expect("text");
        (self.child.wait().expect("waits").code(), said)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails only where it ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The head of the answer to a plain request at `url`.
fn head(url: &str) -> String {
    let host = url.trim_end_matches('/').rsplit('/').next().expect("a host");
    let mut stream = TcpStream::connect(host).expect("it listens");
    write!(
        stream,
        "GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )
    .expect("room");
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("an answer");
    line
}

#[test]
fn a_plain_relay_serves_until_a_signal_and_makes_no_files() {
    let home = Home::empty();
    for signal in [Signal::TERM, Signal::INT] {
        let relay = Running::start(&home, &["--listen", "127.0.0.1:0", "--plain", "--json"]);
        let answer: serde_json::Value = serde_json::from_str(&relay.line).expect("JSON");
        let url = answer["url"].as_str().expect("a url");
        assert!(url.starts_with("http://127.0.0.1:"), "{url}");
        assert!(answer.get("discoveryPort").is_none(), "{answer}");
        assert!(head(url).starts_with("HTTP/1.1 200"));
        assert_eq!(relay.end(signal), (Some(0), "Stopping relay\n".to_owned()));
    }
    assert_eq!(std::fs::read_dir(home.path()).expect("a folder").count(), 0);
}

#[test]
fn a_relay_with_a_certificate_is_named_as_in_it() {
    let home = Home::empty();
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let certificate = params.self_signed(&key).expect("a certificate");
    std::fs::write(home.path().join("chain.pem"), certificate.pem()).expect("room");
    std::fs::write(home.path().join("key.pem"), key.serialize_pem()).expect("room");
    let with = [
        "--listen",
        "localhost:0",
        "--cert",
        "chain.pem",
        "--key",
        "key.pem",
        "--discovery-port",
        "0",
    ];
    let relay = Running::start(&home, &with);
    let url = relay.line.trim_end().strip_prefix("url\t").expect("a url");
    assert!(url.starts_with("https://localhost:"), "{url}");
    assert_eq!(relay.end(Signal::TERM).0, Some(0));
    // A key of another certificate.
    std::fs::write(
        home.path().join("key.pem"),
        KeyPair::generate().expect("a key").serialize_pem(),
    )
    .expect("room");
    let ended = home.pk(["relay"].iter().chain(&with)).ended(65);
    ended.silent().says("cannot be used together");
}

#[test]
fn bad_orders_are_told_and_nothing_runs() {
    let home = Home::empty();
    let plain = ["relay", "--plain", "--listen"];
    home.pk(["relay"]).ended(64).silent();
    home.pk(["relay", "--listen", "127.0.0.1:0"])
        .ended(64)
        .silent()
        .says("`--plain`");
    home.pk(["relay", "--listen", "127.0.0.1:0", "--cert", "a"])
        .ended(64)
        .silent();
    home.pk([
        "relay",
        "--listen",
        "127.0.0.1:0",
        "--plain",
        "--cert",
        "a",
        "--key",
        "b",
    ])
    .ended(64)
    .silent();
    for listen in ["", "3340", "127.0.0.1", "127.0.0.1:99999"] {
        home.pk(plain.iter().chain(&[listen])).ended(64).silent();
    }
    home.pk(plain.iter().chain(&["127.0.0.1:0", "--allow", "vnobody"]))
        .ended(64)
        .silent()
        .says("--allow");
    home.pk([
        "relay",
        "--listen",
        "127.0.0.1:0",
        "--cert",
        "absent",
        "--key",
        "absent",
    ])
    .ended(66)
    .silent()
    .says("absent");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let listen = taken.local_addr().expect("bound").to_string();
    home.pk(plain.iter().chain(&[listen.as_str()]))
        .ended(74)
        .silent()
        .says(&listen);
}
