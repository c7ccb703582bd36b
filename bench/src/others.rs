//! Other programs that carry files over the loopback interface: `git` and `rsync`, each with a daemon of its own.

use std::fs;
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::calls::{PATHS, value};
use crate::ground::{Folder, Process};
use crate::measure::{self, Sample, until};

/// A daemon listens after this time, or never.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether `program` can be started here.
pub fn installed(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok()
}

/// A port of the loopback interface that nobody listens on.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Starts a daemon and waits until it listens on `port`.
fn daemon(command: &mut Command, port: u16) -> io::Result<Process> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut process = Process::start(command)?;
    until(PATIENCE, Duration::from_millis(10), || {
        if let Some(status) = process.child().try_wait()? {
            return Err(io::Error::other(format!("{command:?} ended with {status}")));
        }
        Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())
    })?;
    Ok(process)
}

/// A repository with a daemon that serves it.
pub struct Git {
    folder: Folder,
    clones: u32,
    port: u16,
    _daemon: Process,
}

impl Git {
    /// An empty one.
    ///
    /// # Errors
    /// When `git` fails.
    pub fn serve() -> io::Result<Git> {
        let folder = Folder::temporary()?;
        let port = free_port()?;
        measure::run(git(folder.path(), folder.path()).args(["init", "--quiet", "served"]))?;
        let programs = git(folder.path(), folder.path()).arg("--exec-path").output()?;
        let programs = PathBuf::from(String::from_utf8_lossy(&programs.stdout).trim());
        // Started without `git` in between, so that what is ended is the daemon itself.
        let mut command = clean(&programs.join("git-daemon"), folder.path());
        command
            .arg(format!("--base-path={}", folder.path().display()))
            .args(["--export-all", "--reuseaddr", "--listen=127.0.0.1"])
            .arg(format!("--port={port}"));
        let daemon = daemon(&mut command, port)?;
        Ok(Git {
            folder,
            clones: 0,
            port,
            _daemon: daemon,
        })
    }

    fn served(&self) -> PathBuf {
        self.folder.path().join("served")
    }

    /// Commits a copy of all files below `files`.
    ///
    /// # Errors
    /// When a program fails.
    pub fn commit_files(&self, files: &Path) -> io::Result<()> {
        measure::run(Command::new("cp").arg("-r").arg(files).arg(self.served()))?;
        let git = || git(self.folder.path(), &self.served());
        measure::run(git().args(["add", "."]))?;
        measure::run(git().args(["commit", "--quiet", "--message=files"])).map(drop)
    }

    /// Commits one changed file.
    ///
    /// # Errors
    /// When a program fails.
    pub fn commit_one(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        fs::write(self.served().join(path), bytes)?;
        let git = || git(self.folder.path(), &self.served());
        measure::run(git().args(["add", path]))?;
        measure::run(git().args(["commit", "--quiet", "--message=one"])).map(drop)
    }

    /// Makes `commits` commits of one small file each, as [`fill`](crate::calls::fill) does.
    ///
    /// # Errors
    /// When a program fails.
    pub fn fill(&self, commits: u64) -> io::Result<()> {
        let mut import = git(self.folder.path(), &self.served())
            .args(["fast-import", "--quiet"])
            .stdin(Stdio::piped())
            .spawn()?;
        if let Some(stdin) = import.stdin.take() {
            let mut out = io::BufWriter::new(stdin);
            for number in 0..commits {
                let (path, value) = (number % PATHS, value(number));
                writeln!(
                    out,
                    "commit refs/heads/main\ncommitter bench <bench@localhost> {number} +0000\ndata 0\n\
                     M 100644 inline secret-{path}\ndata {}\n{value}",
                    value.len()
                )?;
            }
        }
        let ended = import.wait()?;
        if !ended.success() {
            return Err(io::Error::other(format!("git fast-import ended with {ended}")));
        }
        let git = || git(self.folder.path(), &self.served());
        measure::run(git().args(["symbolic-ref", "HEAD", "refs/heads/main"]))?;
        measure::run(git().args(["reset", "--quiet", "--hard"])).map(drop)
    }

    /// Clones it from the daemon into a new folder.
    ///
    /// # Errors
    /// When `git` fails.
    pub fn clone_it(&mut self) -> io::Result<(PathBuf, Sample)> {
        self.clones += 1;
        let place = self.folder.path().join(format!("clone-{}", self.clones));
        let url = format!("git://127.0.0.1:{}/served", self.port);
        let mut command = git(self.folder.path(), self.folder.path());
        let sample = measure::run(command.args(["clone", "--quiet", &url]).arg(&place))?;
        Ok((place, sample))
    }

    /// Pulls into a clone what it lacks.
    ///
    /// # Errors
    /// When `git` fails.
    pub fn pull(&self, clone: &Path) -> io::Result<Sample> {
        measure::run(git(self.folder.path(), clone).args(["pull", "--quiet", "--ff-only"]))
    }
}

/// A program that reads no settings of the user's.
fn clean(program: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_AUTHOR_NAME", "bench")
        .env("GIT_AUTHOR_EMAIL", "bench@localhost")
        .env("GIT_COMMITTER_NAME", "bench")
        .env("GIT_COMMITTER_EMAIL", "bench@localhost");
    command
}

fn git(home: &Path, at: &Path) -> Command {
    let mut command = clean("git".as_ref(), home);
    // Housekeeping in the background would outlive the command.
    command.args(["-c", "gc.auto=0", "-c", "maintenance.auto=false"]);
    command.current_dir(at);
    command
}

/// A folder with a daemon that serves it.
pub struct Rsync {
    folder: Folder,
    copies: u32,
    port: u16,
    _daemon: Process,
}

impl Rsync {
    /// Serves `files`.
    ///
    /// # Errors
    /// When `rsync` does not come to life.
    pub fn serve(files: &Path) -> io::Result<Rsync> {
        let folder = Folder::temporary()?;
        let port = free_port()?;
        let settings = folder.path().join("rsyncd.conf");
        let owner = files.metadata()?;
        // A daemon of the superuser would serve as nobody.
        fs::write(
            &settings,
            format!(
                "use chroot = no\nuid = {}\ngid = {}\n[served]\npath = {}\nread only = yes\n",
                owner.uid(),
                owner.gid(),
                files.display()
            ),
        )?;
        let mut command = Command::new("rsync");
        command
            .args(["--daemon", "--no-detach", "--address=127.0.0.1"])
            .arg(format!("--port={port}"))
            .arg(format!("--config={}", settings.display()))
            .arg("--log-file=/dev/null");
        let daemon = daemon(&mut command, port)?;
        Ok(Rsync {
            folder,
            copies: 0,
            port,
            _daemon: daemon,
        })
    }

    /// Copies all of it from the daemon into a new folder.
    ///
    /// # Errors
    /// When `rsync` fails.
    pub fn copy(&mut self) -> io::Result<Sample> {
        self.copies += 1;
        let place = self.folder.path().join(format!("copy-{}", self.copies));
        let url = format!("rsync://127.0.0.1:{}/served/", self.port);
        measure::run(Command::new("rsync").args(["--archive", &url]).arg(&place))
    }
}
