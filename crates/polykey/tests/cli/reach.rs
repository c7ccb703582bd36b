//! What the user says about the network, and how other nodes are reached.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::home::{Home, run};
use crate::node::Node;
use crate::terminal::Terminal;

/// Whatever is waited for here comes long before.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn names_of_relays_are_asked_of_the_dns_servers_that_the_user_chose() {
    let name = b"\x05relay\x07example\x00";
    for way in ["--dns-servers", "PK_DNS_SERVERS", "dns-servers"] {
        let server = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback");
        server.set_read_timeout(Some(PATIENCE)).expect("a time");
        let at = server.local_addr().expect("bound").to_string();
        let home = Home::empty();
        let mut start = home.command(["agent", "start", "--background"]);
        match way {
            "--dns-servers" => drop(start.args([way, &at])),
            "PK_DNS_SERVERS" => drop(start.env(way, &at)),
            setting => drop(home.pk(["config", "set", setting, &at]).ok()),
        }
        start.env("PK_NETWORK", "https://relay.example");
        run(start, b"").ok();
        let mut query = [0; 512];
        loop {
            let length = server.recv(&mut query).expect("a query");
            if query[..length].windows(name.len()).any(|part| part == name) {
                break;
            }
        }
    }
}

#[test]
fn an_attempt_to_reach_a_node_takes_as_long_as_the_user_says() {
    // Takes packets and answers none.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let port = silent.local_addr().expect("bound").port().to_string();
    let alice = Node::new();
    let nobody = Node::new().id;
    alice
        .pk(["nodes", "add", "--no-ping", &nobody, "127.0.0.1", &port])
        .ok();
    silent.set_nonblocking(true).expect("a socket");
    let packets = |millis: &str| {
        alice.pk(["agent", "stop"]).ok();
        alice
            .pk(["agent", "start", "--background", "--connection-timeout", millis])
            .ok();
        alice.pk(["nodes", "ping", &nobody]).ended(1);
        std::iter::from_fn(|| silent.recv(&mut [0; 2048]).ok()).count()
    };
    // Who waits longer asks again.
    let (short, long) = (packets("1"), packets("4000"));
    assert!(short < long, "{short} {long}");
    let home = Home::empty();
    for bad in ["0", "-1", "x", "600001"] {
        let timeout = format!("--connection-timeout={bad}");
        home.pk(["agent", "start", "--background", &timeout]).ended(64);
    }
}

#[test]
fn as_many_threads_serve_as_the_user_says() {
    let home = Home::empty();
    let threads = |count: &str| {
        home.pk(["agent", "start", "--background", "--workers", count])
            .ok();
        home.pk(["vaults", "list"]).ok();
        let tasks = std::fs::read_dir(format!("/proc/{}/task", home.agent_pid())).expect("a live agent");
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        let count = names.filter(|name| name.trim() == "tokio-rt-worker").count();
        home.pk(["agent", "lockall"]).ok();
        home.pk(["agent", "stop"]).ok();
        count
    };
    // Threads for blocking work have the same name, so only more is certain.
    assert!(threads("40") >= 40);
    assert!(threads("none") < 40);
    home.pk(["agent", "start", "--workers", "all", "--background"])
        .ok();
    home.pk(["agent", "stop"]).ok();
    for bad in ["-1", "513", "x", ""] {
        let workers = format!("--workers={bad}");
        home.pk(["agent", "start", "--background", &workers]).ended(64);
    }
}

#[test]
fn nonsense_about_the_network_is_wrong_usage_and_bad_configuration_in_the_file() {
    let home = Home::empty();
    for (option, variable, bad) in [
        ("--network", "PK_NETWORK", "foo"),
        ("--agent-host", "PK_AGENT_HOST", "foo"),
        ("--agent-host", "PK_AGENT_HOST", "127.0.0.1:7"),
        ("--agent-port", "PK_AGENT_PORT", "foo"),
        ("--agent-port", "PK_AGENT_PORT", "65536"),
        ("--agent-port", "PK_AGENT_PORT", "-1"),
        ("--seed-nodes", "PK_SEED_NODES", "foo"),
        ("--seed-nodes", "PK_SEED_NODES", "foo@127.0.0.1:7"),
        ("--dns-servers", "PK_DNS_SERVERS", "foo"),
        ("--dns-servers", "PK_DNS_SERVERS", "127.0.0.1:0"),
    ] {
        for background in [&["--background"][..], &[]] {
            let start = [&["agent", "start"][..], background].concat();
            let mut flag = home.command(&start);
            flag.arg(format!("{option}={bad}")).env_remove(variable);
            run(flag, b"").ended(64).says(bad);
            let mut told = home.command(&start);
            told.env(variable, bad);
            run(told, b"").ended(64).says(bad);
        }
    }
    assert!(!home.node().join("keys").exists(), "no node is made for nothing");
    home.pk(["bootstrap"]).ok();
    for (name, bad) in [("network", "foo"), ("agent-host", "foo"), ("seed-nodes", "foo")] {
        home.pk(["config", "set", name, bad]).ok();
        let variable = format!("PK_{}", name.to_uppercase().replace('-', "_"));
        for args in [&["agent", "start", "--background"][..], &["keys", "public"]] {
            let mut command = home.command(args);
            command.env_remove(&variable);
            run(command, b"").ended(78).says(bad);
            // What is said now beats the file, also when it is as bad.
            let mut command = home.command(args);
            command.env(&variable, "bar");
            run(command, b"").ended(64).says("bar");
        }
        home.pk(["config", "unset", name]).ok();
    }
    // Also a command that starts the agent by itself.
    let mut command = home.command(["keys", "public"]);
    command.env("PK_AGENT_PORT", "foo");
    run(command, b"").ended(64).says("PK_AGENT_PORT");
}

/// Waits until the attempt to reach whoever is at `socket` has sent its last packet but those that come too late.
fn until_the_last_packet(socket: &std::net::UdpSocket) {
    let mut packet = [0; 2048];
    let mut first = None;
    // They follow each other after one second, two, four.
    while first.get_or_insert_with(Instant::now).elapsed() < Duration::from_millis(2500) {
        socket.recv(&mut packet).expect("a packet");
    }
}

#[test]
fn a_node_that_came_after_an_attempt_began_is_reached_by_the_next_command() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let port = silent.local_addr().expect("bound").port().to_string();
    let (alice, bob) = (Node::new(), Node::new());
    bob.pk(["agent", "stop"]).ok();
    alice
        .pk(["nodes", "add", "--no-ping", &bob.id, "127.0.0.1", &port])
        .ok();
    let mut early = alice.home.command(["nodes", "ping", &bob.id]);
    let early = early
        .stderr(std::process::Stdio::null())
        .stdout(std::process::Stdio::null());
    let mut early = early.spawn().expect("the program");
    until_the_last_packet(&silent);
    drop(silent);
    bob.pk(["agent", "start", "--background", "--agent-port", &port])
        .ok();
    // The attempt of the first command is still under way; this one does not end with it, and hears that nothing
    // is shared.
    alice.pk(["vaults", "scan", &bob.id]).ended(77);
    early.wait().expect("ours");
}

#[test]
fn a_node_that_was_killed_and_is_back_is_met_again() {
    let (alice, bob) = (Node::new(), Node::new());
    alice.meets(&bob);
    for _ in 0..3 {
        // Nothing is shared, which bob says himself.
        alice.pk(["vaults", "scan", &bob.id]).ended(77);
        bob.home.signal(Signal::KILL);
        bob.start();
        // The connection was heard just now, and is with a process that is gone.
        alice.pk(["vaults", "scan", &bob.id]).ended(77);
    }
}

#[test]
fn who_is_dialled_is_shown_on_a_terminal() {
    let (alice, bob) = (Node::new(), Node::new());
    alice.meets(&bob);
    alice.pk(["nodes", "name", &bob.id, "bob"]).ok();
    alice.pk(["nodes", "ping", "bob"]).ok();
    alice.pk(["vaults", "create", "work"]).ok();
    alice.shares("work", &bob, "reader");
    bob.pk(["agent", "stop"]).ok();
    alice.pk(["agent", "unlock"]).ok();
    for command in [&["vaults", "sync", "work"], &["vaults", "pull", "work"]] {
        let Some(terminal) = Terminal::open(&alice.home, command) else {
            return;
        };
        let (code, shown) = terminal.end();
        assert_eq!(code, 68, "{shown}");
        assert!(shown.contains("dialling bob"), "{shown}");
    }
    // Nothing of it where nobody looks.
    let ended = alice.pk(["vaults", "sync", "work"]).ended(68);
    assert!(!ended.stderr.contains("dialling"), "{ended:?}");
}
