//! A temporary home with a node path of its own, and commands run in it.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// The password of every node here.
pub const PASSWORD: &str = "correct horse";

/// A home folder. Ends the agents of its node paths when it goes.
pub struct Home {
    dir: tempfile::TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; 128 and the number of a signal.
    pub code: i32,
    /// All that it answered.
    pub stdout: Vec<u8>,
    /// All else that it said.
    pub stderr: String,
}

impl Home {
    /// An empty home.
    pub fn empty() -> Home {
        Home {
            dir: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    /// A home with a node whose agent is live.
    pub fn live() -> Home {
        let home = Home::empty();
        home.pk(["agent", "start", "--background"]).ok();
        home
    }

    /// The home folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The node path.
    pub fn node(&self) -> PathBuf {
        self.path().join("node")
    }

    /// The program with this home's environment and the password, not yet run.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_polykey"));
        command
            .args(args)
            .current_dir(self.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path())
            .env("XDG_DATA_HOME", self.path().join("data"))
            .env("PK_NODE_PATH", self.node())
            .env("PK_PASSWORD", PASSWORD)
            .env("PK_PASSWORD_OPS_LIMIT", "min")
            .env("PK_PASSWORD_MEM_LIMIT", "min")
            .env("PK_NETWORK", "offline");
        command
    }

    /// Runs the program with the password in its environment.
    pub fn pk<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ended {
        run(self.command(args), b"")
    }

    /// The same with bytes on its standard input.
    pub fn pk_with_input<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>, input: &[u8]) -> Ended {
        run(self.command(args), input)
    }

    /// Runs the program without a password: it has the saved session, or nothing.
    pub fn pk_without_password<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ended {
        let mut command = self.command(args);
        command.env_remove("PK_PASSWORD");
        run(command, b"")
    }

    /// Runs the program with another password.
    pub fn pk_as<S: AsRef<OsStr>>(&self, password: &str, args: impl IntoIterator<Item = S>) -> Ended {
        let mut command = self.command(args);
        command.env("PK_PASSWORD", password);
        run(command, b"")
    }

    /// `agent status` as JSON.
    pub fn status(&self) -> Value {
        self.pk(["agent", "status", "--json"]).json()
    }

    /// The process id of the live agent.
    pub fn agent_pid(&self) -> i32 {
        let pid = self.status()["pid"]
            .as_i64()
            .expect("a live agent has a process id");
        i32::try_from(pid).expect("process ids are small")
    }

    /// Sends the agent a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.agent_pid()).expect("not zero");
        rustix::process::kill_process(pid, signal).expect("our own agent");
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // Whoever holds a lock file below this folder is an agent that a test started here.
        let mut folders = vec![self.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(entry.path());
                } else if entry.file_name() == "agent.lock" {
                    end_holder(&entry.path());
                }
            }
        }
    }
}

/// Kills the process that holds this lock file, if one does.
fn end_holder(lock: &Path) {
    use rustix::fs::{FlockOperation, flock};
    use rustix::process::{Pid, Signal, kill_process};
    let Ok(file) = std::fs::File::open(lock) else {
        return;
    };
    if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        return;
    }
    let status: Value = serde_json::from_slice(&std::fs::read(lock).unwrap_or_default()).unwrap_or_default();
    let pid = status["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    if let Some(pid) = pid.and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::KILL);
        // Gone when its lock is free.
        let _ = flock(&file, FlockOperation::LockShared);
    }
}

/// Runs a prepared command to its end.
pub fn run(mut command: Command, input: &[u8]) -> Ended {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program was built");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || {
        // A command that does not read its input may end first.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().expect("waits");
    feeder.join().expect("does not panic");
    Ended {
        code: exit_code(output.status),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn exit_code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

impl Ended {
    /// Demands success.
    #[track_caller]
    pub fn ok(self) -> Ended {
        self.ended(0)
    }

    /// Demands this exit code.
    #[track_caller]
    pub fn ended(self, code: i32) -> Ended {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// Demands this text in what was said on stderr.
    #[track_caller]
    pub fn says(self, text: &str) -> Ended {
        assert!(self.stderr.contains(text), "no {text:?} in {self:#?}");
        self
    }

    /// Demands an empty stdout.
    #[track_caller]
    pub fn silent(self) -> Ended {
        assert!(self.stdout.is_empty(), "{self:#?}");
        self
    }

    /// The answer as text.
    #[track_caller]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("text")
    }

    /// The answer as one JSON document.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error} in {self:#?}"))
    }

    /// The problem as JSON.
    #[track_caller]
    pub fn problem(&self) -> Value {
        let all: Value = serde_json::from_str(self.stderr.lines().last().unwrap_or_default())
            .unwrap_or_else(|error| panic!("{error} in {self:#?}"));
        all["error"].clone()
    }
}

/// Says why a test cannot run here. On a server, where all of them must, that is a failure.
#[track_caller]
pub fn skip(reason: &str) {
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{reason}");
    eprintln!("skipped: {reason}");
}
