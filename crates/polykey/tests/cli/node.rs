//! A node whose agent listens for others, and waiting for what others do.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::home::{Ended, Home, run, skip};
use crate::wires::Machine;

/// What another node does arrives within this time, or never.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node, on the loopback interface or on a machine of its own.
pub struct Node {
    pub home: Home,
    pub id: String,
    machine: Option<Machine>,
    env: Vec<(&'static str, String)>,
}

impl Node {
    /// A node on the loopback interface.
    pub fn new() -> Node {
        Node::with([("PK_AGENT_HOST", "127.0.0.1".to_owned())])
    }

    /// A node on the loopback interface whose programs have more in their environment.
    pub fn with(env: impl IntoIterator<Item = (&'static str, String)>) -> Node {
        Node::start_new(Home::empty(), None, env.into_iter().collect())
    }

    /// A node on the loopback interface, in a home in which something was set up before.
    pub fn in_home(home: Home) -> Node {
        Node::start_new(home, None, vec![("PK_AGENT_HOST", "127.0.0.1".to_owned())])
    }

    /// A node on a machine, on this network.
    pub fn on(machine: &Machine, network: &str) -> Node {
        Node::on_from(Home::empty(), machine, network)
    }

    /// The same from a home in which something was set up before.
    pub fn on_from(home: Home, machine: &Machine, network: &str) -> Node {
        let env = vec![("PK_NETWORK", network.to_owned())];
        Node::start_new(home, Some(machine.clone()), env)
    }

    fn start_new(home: Home, machine: Option<Machine>, env: Vec<(&'static str, String)>) -> Node {
        let mut node = Node {
            home,
            id: String::new(),
            machine,
            env,
        };
        node.start();
        node.id = node.status()["nodeId"].as_str().expect("an id").to_owned();
        node
    }

    /// The program with this node's environment, not yet run.
    pub fn command<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = self.home.command(args);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        match &self.machine {
            Some(machine) => machine.runs(&command),
            None => command,
        }
    }

    pub fn pk<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Ended {
        self.pk_with_input(args, b"")
    }

    pub fn pk_with_input<'a>(&self, args: impl IntoIterator<Item = &'a str>, input: &[u8]) -> Ended {
        run(self.command(args), input)
    }

    pub fn json<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Value {
        let args: Vec<&str> = args.into_iter().chain(["--json"]).collect();
        self.pk(args).ok().json()
    }

    pub fn status(&self) -> Value {
        self.json(["agent", "status"])
    }

    pub fn start(&self) {
        self.pk(["agent", "start", "--background"]).ok();
    }

    /// Starts the agent again with these in its environment as well.
    pub fn restart_with(&mut self, env: impl IntoIterator<Item = (&'static str, String)>) {
        self.stop();
        self.env.extend(env);
        self.start();
    }

    pub fn stop(&self) {
        self.pk(["agent", "stop"]).ok();
    }

    /// Ends the agent as a power cut would.
    pub fn kill(&self) {
        self.home.signal(Signal::KILL);
        eventually("the agent is dead", || self.status()["status"] == "DEAD");
    }

    /// The port on which the node listens for others.
    pub fn port(&self) -> String {
        self.status()["agentPort"].as_u64().expect("a port").to_string()
    }

    /// Tells this node where `other` is.
    pub fn knows(&self, other: &Node) {
        let host = match &other.machine {
            Some(machine) => machine.address(),
            None => "127.0.0.1",
        };
        self.pk(["nodes", "add", &other.id, host, &other.port(), "--no-ping"])
            .ok();
    }

    /// The same, and asks whether it is there.
    pub fn meets(&self, other: &Node) {
        self.knows(other);
        self.pk(["nodes", "ping", &other.id]).ok();
    }

    pub fn write(&self, place: &str, value: &str) {
        self.pk_with_input(["secrets", "write", place], value.as_bytes())
            .ok();
    }

    /// Writes a secret of this many bytes.
    pub fn write_large(&self, place: &str, len: usize) {
        self.pk_with_input(["secrets", "write", place], &vec![7; len])
            .ok();
    }

    #[track_caller]
    pub fn reads(&self, place: &str, value: &str) {
        assert_eq!(self.pk(["secrets", "cat", place]).ok().text(), value);
    }

    pub fn has(&self, place: &str, value: &str) -> bool {
        let read = self.pk(["secrets", "cat", place]);
        read.code == 0 && read.stdout == value.as_bytes()
    }

    /// Waits until a secret reads so here.
    #[track_caller]
    pub fn comes_to_read(&self, place: &str, value: &str) {
        eventually(&format!("{place} reads {value:?}"), || self.has(place, value));
    }

    /// Waits until a secret that was written with [`write_large`](Node::write_large) is here. Until then it is
    /// not there, or an error.
    #[track_caller]
    pub fn comes_to_have(&self, place: &str, len: usize) {
        eventually(&format!("{place} is here"), || {
            let read = self.pk(["secrets", "cat", place]);
            if read.code == 0 {
                assert!(
                    read.stdout == vec![7; len],
                    "half of {place} was given as all of it"
                );
            }
            read.code == 0
        });
    }

    /// What `other` may do in a vault, as this node sees it.
    pub fn role_of(&self, other: &Node, vault: &str) -> Option<String> {
        let members = self.json(["vaults", "members", vault]);
        let mut members = members.as_array().expect("a list").iter();
        let member = members.find(|member| member["nodeIdEncoded"] == other.id)?;
        Some(member["role"].as_str().expect("a text").to_owned())
    }

    /// The connections that are up, by the way they take.
    pub fn paths(&self) -> Vec<String> {
        let all = self.json(["nodes", "connections"]);
        let all = all.as_array().expect("a list").iter();
        all.map(|item| item["path"].as_str().expect("a text").to_owned())
            .collect()
    }

    /// True when there are connections and all take this way. When both sides dial there are two for a while.
    pub fn goes(&self, way: &str) -> bool {
        let paths = self.paths();
        !paths.is_empty() && paths.iter().all(|path| path == way)
    }

    /// Waits until a vault of `other` is offered to this node.
    #[track_caller]
    pub fn comes_to_be_offered(&self, vault: &str, other: &Node) {
        eventually(&format!("{vault} is offered"), || {
            let scan = self.pk(["vaults", "scan", &other.id, "--json"]);
            scan.code == 0 && scan.text().contains(vault)
        });
    }

    /// Waits until a message of this type lies in the inbox.
    #[track_caller]
    pub fn comes_to_be_told(&self, kind: &str) {
        eventually(&format!("{kind} arrives"), || {
            let inbox = self.json(["notifications", "inbox", "read"]);
            let mut inbox = inbox.as_array().expect("a list").iter();
            inbox.any(|item| item["notification"]["data"]["type"] == kind)
        });
    }

    /// Shares a vault, and waits until it is offered there.
    #[track_caller]
    pub fn shares(&self, vault: &str, other: &Node, role: &str) {
        self.pk(["vaults", "share", vault, &other.id, "--role", role])
            .ok();
        other.comes_to_be_offered(vault, self);
    }

    /// Makes a vault `work` with `x`, which is `1`, and shares it with a node that clones it and may write.
    #[track_caller]
    pub fn shares_work_with(&self, other: &Node) {
        self.pk(["vaults", "create", "work"]).ok();
        self.write("work:x", "1");
        self.lets_in(other);
    }

    /// Shares the vault `work` with a node that clones it and may write.
    #[track_caller]
    pub fn lets_in(&self, other: &Node) {
        self.shares("work", other, "writer");
        other.pk(["vaults", "clone", "work", &self.id]).ok();
    }

    /// Writes at both nodes, and waits until both have both.
    #[track_caller]
    pub fn writes_both_ways_with(&self, other: &Node, value: &str) {
        self.write("work:here", value);
        other.comes_to_read("work:here", value);
        other.write("work:there", value);
        self.comes_to_read("work:there", value);
    }

    /// The bytes of all vaults on disk.
    pub fn size(&self) -> u64 {
        size_of(&self.home.node().join("vaults"))
    }
}

/// What shows a program a clock that is `off`, such as `+2h`; nothing where the library for that is missing.
pub fn at_another_time(off: &str) -> Option<[(&'static str, String); 3]> {
    let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = folders.map(|entry| entry.path()).collect();
    folders.push("/usr/lib".into());
    let library = Path::new("faketime/libfaketime.so.1");
    let found = folders
        .into_iter()
        .map(|folder| folder.join(library))
        .find(|path| path.exists());
    if found.is_none() {
        skip("libfaketime is not installed");
    }
    let library = found?.into_os_string().into_string().expect("a plain path");
    Some([
        ("LD_PRELOAD", library),
        ("FAKETIME", off.to_owned()),
        // How long something takes is not what is off.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ])
}

/// Two nodes on the loopback interface that know each other.
pub fn pair() -> (Node, Node) {
    let (a, b) = (Node::new(), Node::new());
    a.knows(&b);
    b.knows(&a);
    (a, b)
}

/// Waits until something holds.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    until(what, || holds().then_some(()));
}

/// Asks again and again until there is an answer.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "not in time: {what}");
    }
}

fn size_of(folder: &Path) -> u64 {
    let mut sum = 0;
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(data) if data.is_dir() => sum += size_of(&entry.path()),
            Ok(data) => sum += data.len(),
            Err(_) => {}
        }
    }
    sum
}
