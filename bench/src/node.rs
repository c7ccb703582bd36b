//! A throw-away node, driven through the release binary as a user would.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::measure::{self, Sample};

/// The password of the throw-away node.
const PASSWORD: &str = "benchmark";

/// A node in a folder of its own; its agent is stopped and the folder removed when this is dropped.
pub struct Node {
    folder: tempfile::TempDir,
    binary: PathBuf,
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
        Node::of(binary, tempfile::tempdir()?)
    }

    /// Another node, of the same program, with its files below `place`.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub fn beside(&self, place: &Path) -> io::Result<Node> {
        Node::of(self.binary.clone(), tempfile::tempdir_in(place)?)
    }

    fn of(binary: PathBuf, folder: tempfile::TempDir) -> io::Result<Node> {
        let node = Node { folder, binary };
        measure::run(&mut node.command(&["agent", "start", "--background"]))?;
        Ok(node)
    }

    /// The folder for whatever a case needs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where the node keeps its files.
    pub fn node_path(&self) -> PathBuf {
        self.folder().join("node")
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
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
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

    /// The process id of the agent.
    ///
    /// # Errors
    /// When the status cannot be read.
    pub fn agent_pid(&self) -> io::Result<u32> {
        let status = self.read(&["agent", "status"])?;
        status
            .lines()
            .find_map(|line| line.strip_prefix("pid")?.trim().parse().ok())
            .ok_or_else(|| io::Error::other(format!("no pid in {status:?}")))
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
        // A node that does not stop is the business of the tests, not of a measurement.
        drop(self.run(&["agent", "stop"]));
    }
}
