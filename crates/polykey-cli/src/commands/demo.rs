//! `demo`: the main job from end to end, in a throw-away folder.
//!
//! Runs this very program as a user would, shows each command before what it prints, and leaves nothing
//! behind: no agent, no file, also when it is interrupted.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use polykey_api::problem::typed;
use polykey_api::{Code, Problem};

use crate::output::{Done, cannot_write};

/// Only ever guards the throw-away node, in a folder that nobody else can read.
const PASSWORD: &str = "a password for five seconds";
/// What the demo keeps secret and then looks for on the disk.
const VALUE: &str = "correct-horse-battery-staple";

/// The folder of the second node, in the throw-away folder.
const BOB: &str = "bob";

/// Shows the main job.
///
/// # Errors
/// The first command that does not do what it should, or an interrupt.
pub async fn run() -> Result<Done, Problem> {
    let stage = Arc::new(Stage::set().map_err(|error| failed("set up a throw-away folder", &error))?);
    let shown = stage.clone();
    let mut shown = tokio::task::spawn_blocking(move || show(&shown));
    let result = tokio::select! {
        result = &mut shown => result,
        _ = tokio::signal::ctrl_c() => {
            // The running command was interrupted too; nothing new starts, and then the folder can go.
            stage.interrupted.store(true, Ordering::Relaxed);
            shown.await
        }
    };
    let cleaned = stage.clear();
    result.map_err(|error| failed("run the demo", &error))??;
    cleaned.map_err(|error| failed("remove the throw-away folder", &error))?;
    say("\nDone. The agents have stopped and the folder is gone. Next: README.md, \"First steps\".")?;
    Ok(Done::All)
}

fn show(stage: &Stage) -> Result<(), Problem> {
    say(&format!(
        "This shows what polykey does, in {}.\nNothing outside of it is touched.",
        stage.folder.display()
    ))?;

    say("\n1. A node: keys under a password, and a recovery code (here unread, in a file).")?;
    stage.step(&["bootstrap", "--recovery-code-out-file", "recovery-code"], None)?;
    stage.step(
        &["agent", "start", "--background", "--agent-host", "127.0.0.1"],
        None,
    )?;

    say("\n2. A vault, and secrets in it. Values come from standard input, never from the command line.")?;
    stage.step(&["vaults", "create", "work"], None)?;
    stage.step(&["secrets", "write", "work:db/PASSWORD"], Some(VALUE))?;
    stage.step(&["secrets", "write", "work:db/USER"], Some("postgres"))?;
    stage.step(&["secrets", "ls", "-R", "work"], None)?;

    say("\n3. A program that gets them in its environment, and nobody else does.")?;
    let child = "echo \"the program sees USER=$USER and a PASSWORD of ${#PASSWORD} characters\"";
    stage.step(&["secrets", "env", "work:db", "--", "sh", "-c", child], None)?;

    say("\n4. Every change is kept. A careless one is undone.")?;
    stage.step(&["secrets", "write", "work:db/PASSWORD"], Some("oops"))?;
    stage.step(&["secrets", "log", "work:db/PASSWORD"], None)?;
    stage.step(&["secrets", "restore", "work:db/PASSWORD", "1"], None)?;
    let restored = stage.step(&["secrets", "cat", "work:db/PASSWORD"], None)?;
    if restored != VALUE.as_bytes() {
        return Err(Problem::new(
            Code::Internal,
            "the restored secret is not what was stored",
        ));
    }
    say("")?;

    say("\n5. Nothing readable lies on the disk.")?;
    for needle in [VALUE, "PASSWORD", "postgres"] {
        let found = find(&stage.folder.join("node"), needle.as_bytes())
            .map_err(|error| failed("read the node's files", &error))?;
        match found {
            None => say(&format!("   {needle:?} is in no file of the node"))?,
            Some(file) => {
                let sentence = format!("{needle:?} stands in clear in {}", file.display());
                return Err(Problem::new(Code::Internal, sentence));
            }
        }
    }
    stage.step(&["audit", "verify"], None)?;
    share(stage)
}

/// Two nodes share the vault.
fn share(stage: &Stage) -> Result<(), Problem> {
    say("\n6. Another node joins with a ticket. Nobody stands in between, and both may write.")?;
    let bob = ["--node-path", BOB];
    let at_bob = |args: &[&'static str]| [&bob, args].concat();
    stage.step(
        &at_bob(&["bootstrap", "--recovery-code-out-file", "recovery-code-of-bob"]),
        None,
    )?;
    stage.step(
        &at_bob(&["agent", "start", "--background", "--agent-host", "127.0.0.1"]),
        None,
    )?;
    let ticket = stage.step(&["vaults", "invite", "work", "--role", "writer"], None)?;
    let ticket = String::from_utf8_lossy(&ticket).trim().to_owned();
    stage.step(&[bob[0], bob[1], "join", &ticket], None)?;
    stage.step(&at_bob(&["secrets", "write", "work:db/HOST"]), Some("db.example"))?;
    stage.step(&at_bob(&["vaults", "sync", "work"]), None)?;
    let came = stage.step(&["secrets", "cat", "work:db/HOST"], None)?;
    if came != b"db.example" {
        return Err(Problem::new(
            Code::Internal,
            "what the other node wrote did not come",
        ));
    }
    say("")?;
    stage.step(&["vaults", "status", "work"], None)?;
    Ok(())
}

/// The throw-away folder and what runs in it.
struct Stage {
    folder: PathBuf,
    interrupted: AtomicBool,
}

impl Stage {
    fn set() -> io::Result<Stage> {
        let base = std::env::temp_dir();
        // A name that is taken may be somebody's trap: only a folder that we make is used.
        for number in 0..100 {
            let folder = base.join(format!("polykey-demo-{}-{number}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&folder) {
                Ok(()) => {
                    return Ok(Stage {
                        folder,
                        interrupted: AtomicBool::new(false),
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("every name that was tried is taken"))
    }

    fn command(&self, args: &[&str]) -> io::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(args)
            .current_dir(&self.folder)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.folder)
            .env("PK_NODE_PATH", self.folder.join("node"))
            .env("PK_PASSWORD", PASSWORD)
            .env("PK_NETWORK", "offline")
            // The usual limits would make the demo wait a second for each guess at its password.
            .env("PK_PASSWORD_OPS_LIMIT", "interactive")
            .env("PK_PASSWORD_MEM_LIMIT", "interactive");
        Ok(command)
    }

    /// Shows a command, runs it with `input`, shows and returns what it prints.
    fn step(&self, args: &[&str], input: Option<&str>) -> Result<Vec<u8>, Problem> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(Problem::new(Code::Io, "the demo was interrupted"));
        }
        let words: Vec<_> = args.iter().map(|arg| typed(arg)).collect();
        let fed = if input.is_some() {
            "  < (a secret value)"
        } else {
            ""
        };
        say(&format!("   $ polykey {}{fed}", words.join(" ")))?;
        let output = self
            .output(args, input)
            .map_err(|error| failed("start polykey", &error))?;
        let shown = [output.stdout.as_slice(), &output.stderr].concat();
        for line in String::from_utf8_lossy(&shown).lines() {
            say(&format!(
                "     {}",
                crate::escape::sentence(&line.replace('\t', "  "))
            ))?;
        }
        if output.status.success() {
            return Ok(output.stdout);
        }
        let sentence = format!("`polykey {}` ended with {}", words.join(" "), output.status);
        Err(Problem::new(Code::Internal, sentence))
    }

    fn output(&self, args: &[&str], input: Option<&str>) -> io::Result<std::process::Output> {
        let mut command = self.command(args)?;
        command.stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        });
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        if let (Some(mut pipe), Some(input)) = (child.stdin.take(), input) {
            pipe.write_all(input.as_bytes())?;
        }
        child.wait_with_output()
    }

    /// Stops the agent and removes the folder.
    fn clear(&self) -> io::Result<()> {
        for node in ["node", BOB] {
            if !self.folder.join(node).exists() {
                continue;
            }
            self.command(&["agent", "stop", "--node-path", node])?
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()?;
        }
        fs::remove_dir_all(&self.folder)
    }
}

/// The first file below `folder` that holds `needle` in its content or name.
fn find(folder: &Path, needle: &[u8]) -> io::Result<Option<PathBuf>> {
    let holds = |bytes: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let kind = fs::symlink_metadata(&path)?.file_type();
        let named = path.file_name().map(OsStr::as_encoded_bytes).is_some_and(holds);
        if named || (kind.is_file() && holds(&fs::read(&path)?)) {
            return Ok(Some(path));
        }
        if kind.is_dir()
            && let Some(found) = find(&path, needle)?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn say(text: &str) -> Result<(), Problem> {
    writeln!(io::stdout().lock(), "{text}").map_err(|error| cannot_write(&error))
}

fn failed(what: &str, error: &dyn std::error::Error) -> Problem {
    Problem::new(Code::Io, format!("cannot {what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_needle_is_found_in_names_and_contents_of_any_depth() {
        let folder = tempfile::tempdir().expect("a folder");
        let inner = folder.path().join("a/b");
        fs::create_dir_all(&inner).expect("folders");
        fs::write(inner.join("file"), b"xxneedlexx").expect("a file");
        assert_eq!(
            find(folder.path(), b"needle").expect("readable"),
            Some(inner.join("file"))
        );
        assert_eq!(
            find(folder.path(), b"fil").expect("readable"),
            Some(inner.join("file"))
        );
        assert_eq!(find(folder.path(), b"haystack").expect("readable"), None);
    }
}
