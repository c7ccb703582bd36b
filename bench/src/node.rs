//! Throw-away nodes, driven through the release binary as a user would.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use polykey_client::rendezvous;

use crate::calls::Calls;
use crate::ground::{Folder, Process};
use crate::measure::{self, Sample, until};

/// The password of all throw-away nodes.
pub const PASSWORD: &str = "benchmark";

/// What another node does arrives within this time, or never.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// A node in a folder of its own; its agent is stopped and the folder removed when this is dropped.
pub struct Node {
    folder: Folder,
    binary: PathBuf,
    host: String,
}

/// Where a node is found.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its id.
    pub id: String,
    /// The address that it listens on.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Node {
    /// Makes a node with the cheapest password limits and starts its agent, with `binary` or else the release
    /// binary, which is built first.
    ///
    /// # Errors
    /// When the build or a command fails.
    pub fn start(binary: Option<PathBuf>) -> io::Result<Node> {
        let binary = match binary {
            Some(binary) => binary.canonicalize()?,
            None => build()?,
        };
        Node::of(binary, Folder::temporary()?)
    }

    /// Another node, of the same program.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub fn another(&self) -> io::Result<Node> {
        Node::of(self.binary.clone(), Folder::temporary()?)
    }

    /// The same, with its files below `place`.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub fn beside(&self, place: &Path) -> io::Result<Node> {
        Node::of(self.binary.clone(), Folder::below(place)?)
    }

    fn of(binary: PathBuf, folder: Folder) -> io::Result<Node> {
        let node = Node {
            folder,
            binary,
            host: next_host(),
        };
        node.start_agent()?;
        Ok(node)
    }

    /// Starts the agent; it lives when this returns.
    ///
    /// # Errors
    /// When it does not come to life.
    pub fn start_agent(&self) -> io::Result<Sample> {
        self.run(&["agent", "start", "--background"])
    }

    /// Stops the agent; it is gone when this returns.
    ///
    /// # Errors
    /// When it does not go.
    pub fn stop_agent(&self) -> io::Result<Sample> {
        self.run(&["agent", "stop"])
    }

    /// The folder for whatever a case needs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where the node keeps its files.
    pub fn node_path(&self) -> PathBuf {
        self.folder.node_path()
    }

    /// A command of the program, in a clean environment with the password set.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder())
            .env("PK_NODE_PATH", self.node_path())
            .env("PK_PASSWORD", PASSWORD)
            .env("PK_NETWORK", "offline")
            .env("PK_AGENT_HOST", &self.host)
            .env("PK_PASSWORD_OPS_LIMIT", "min")
            .env("PK_PASSWORD_MEM_LIMIT", "min");
        command
    }

    /// Runs a command of the program.
    ///
    /// # Errors
    /// When it does not exit with 0.
    pub fn run(&self, args: &[&str]) -> io::Result<Sample> {
        measure::run(&mut self.command(args))
    }

    /// Runs a command with `input` on its standard input.
    ///
    /// # Errors
    /// When it does not exit with 0.
    pub fn feed(&self, args: &[&str], input: &[u8]) -> io::Result<()> {
        let mut command = self.command(args);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut process = Process::start(&mut command)?;
        let child = process.child();
        child
            .stdin
            .take()
            .ok_or_else(|| io::Error::other("no standard input"))?
            .write_all(input)?;
        let status = child.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(io::Error::other(format!("{args:?} ended with {status}")))
        }
    }

    /// What a command prints.
    ///
    /// # Errors
    /// When it does not exit with 0, or prints no UTF-8.
    pub fn read(&self, args: &[&str]) -> io::Result<String> {
        let output = self.command(args).output()?;
        if !output.status.success() {
            return Err(io::Error::other(
                String::from_utf8_lossy(&output.stderr).into_owned(),
            ));
        }
        String::from_utf8(output.stdout).map_err(io::Error::other)
    }

    /// Where other nodes find it.
    ///
    /// # Errors
    /// When its agent does not live.
    pub fn place(&self) -> io::Result<Place> {
        let status = Calls::open(self)?.status()?;
        let place = |id, port| Place {
            id,
            host: self.host.clone(),
            port,
        };
        status
            .node_id
            .zip(status.agent_port)
            .map(|(id, port)| place(id, port))
            .ok_or_else(|| io::Error::other("the agent is not on the network"))
    }

    /// Tells this node and `other` where they are.
    ///
    /// # Errors
    /// When a command fails.
    pub fn meets(&self, other: &Node) -> io::Result<()> {
        for (one, other) in [(self, other), (other, self)] {
            let place = other.place()?;
            let port = place.port.to_string();
            one.run(&["nodes", "add", &place.id, &place.host, &port, "--no-ping"])?;
        }
        Ok(())
    }

    /// Lets `other`, which it has met, into a vault as a writer, and waits until that has taken effect.
    ///
    /// # Errors
    /// When a command fails, or it takes no effect in time.
    pub fn shares(&self, vault: &str, other: &Node) -> io::Result<()> {
        let (here, there) = (self.place()?, other.place()?);
        self.run(&["vaults", "share", vault, &there.id, "--role", "writer"])?;
        until(PATIENCE, Duration::from_millis(10), || {
            let offers = other.read(&["vaults", "scan", &here.id, "--json"])?;
            let offers: serde_json::Value = serde_json::from_str(&offers)?;
            let mut offers = offers.as_array().into_iter().flatten();
            Ok(offers.any(|offer| offer["vaultName"] == vault))
        })
        .map(drop)
    }

    /// Clones a vault of `other` that is shared with it.
    ///
    /// # Errors
    /// When it does not come.
    pub fn clones(&self, vault: &str, other: &Node) -> io::Result<Sample> {
        self.run(&["vaults", "clone", vault, &other.place()?.id])
    }

    /// The process id of the agent.
    ///
    /// # Errors
    /// When it does not live.
    pub fn agent_pid(&self) -> io::Result<u32> {
        rendezvous::find(&self.node_path())?
            .pid
            .ok_or_else(|| io::Error::other("the agent does not live"))
    }

    /// One field of `/proc/PID/status` of the agent, in KiB.
    ///
    /// # Errors
    /// When the file cannot be read or lacks the field.
    pub fn agent_memory(&self, field: &str) -> io::Result<u64> {
        memory(self.agent_pid()?, field)
    }

    /// Forgets the highest resident size of the agent so far.
    ///
    /// # Errors
    /// When the kernel does not offer it.
    pub fn reset_peak(&self) -> io::Result<()> {
        std::fs::write(format!("/proc/{}/clear_refs", self.agent_pid()?), "5")
    }
}

/// Every node gets a loopback address of its own, as nodes on machines of their own have: what a node allows to one
/// address would otherwise be shared by all.
fn next_host() -> String {
    static COUNT: AtomicU16 = AtomicU16::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("127.0.{}.{}", 1 + number / 250, 1 + number % 250)
}

/// Builds the release binary; where it lies.
fn build() -> io::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args([
            "build",
            "--release",
            "--locked",
            "-p",
            "polykey",
            "-p",
            "polykey-bench",
        ])
        .status()?;
    if !built.success() {
        return Err(io::Error::other("the release binaries do not build"));
    }
    Ok(std::env::current_exe()?.with_file_name("polykey"))
}

/// One field of `/proc/PID/status`, in KiB.
///
/// # Errors
/// When the file cannot be read or lacks the field.
pub fn memory(pid: u32, field: &str) -> io::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    status
        .lines()
        .find_map(|line| {
            line.strip_prefix(field)?
                .strip_prefix(':')?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        })
        .ok_or_else(|| io::Error::other(format!("no {field} of process {pid}")))
}

impl Drop for Node {
    fn drop(&mut self) {
        // One that does not stop is ended with its folder.
        drop(self.stop_agent());
    }
}
