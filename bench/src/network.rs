//! Two nodes over the loopback interface: clones, pulls and announcements.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::calls::{Calls, value};
use crate::cases::{Scope, memory_row, row, small_file, small_files, text};
use crate::ground::Process;
use crate::measure::{Sample, pair, until};
use crate::node::{Node, PATIENCE};
use crate::others::{Git, Rsync, installed};
use crate::report::{Report, Row};
use crate::stream::Stream;

const SMALL: u64 = 10_000;
/// A node that waits for news is asked this often.
pub const LOOK: Duration = Duration::from_micros(500);

/// What two agents hold in memory, in KiB.
pub struct Memory {
    a: u64,
    b: u64,
}

impl Memory {
    /// One field of `/proc/PID/status` of both.
    ///
    /// # Errors
    /// When an agent does not live.
    pub fn of(a: &Node, b: &Node, field: &str) -> io::Result<Memory> {
        Ok(Memory {
            a: a.agent_memory(field)?,
            b: b.agent_memory(field)?,
        })
    }

    /// A line for the one who gives and one for the one who takes.
    pub fn report(&self, what: &str, budget: Option<u64>, report: &mut Report) {
        report.row(memory_row(format!("giving agent, {what}"), self.a, budget));
        report.row(memory_row(format!("taking agent, {what}"), self.b, budget));
    }
}

/// Clone of 10,000 small secrets, beside the same files from daemons of `git` and `rsync`.
pub fn clone_small(node: &Node, _: &Scope, report: &mut Report) -> io::Result<()> {
    let a = node.another()?;
    let files = a.folder().join("small");
    small_files(&files, 0..SMALL)?;
    let mut round = 0;
    let mut memory = None;
    let mut ours = || {
        round += 1;
        let vault = format!("clone{round}");
        let b = share_files(&a, &files, &vault)?;
        let idle = Memory::of(&a, &b, "VmRSS")?;
        let sample = b.clones(&vault, &a)?;
        let after = Memory::of(&a, &b, "VmRSS")?;
        let last = SMALL - 1;
        must_read(&b, &vault, last, &value(last))?;
        a.run(&["vaults", "delete", &vault, "--yes"])?;
        memory = Some((idle, after));
        Ok(sample)
    };
    let what = "`vaults clone`, 10,000 small secrets";
    if installed("git") {
        let mut git = Git::serve()?;
        git.commit_files(&files)?;
        let both = pair(5, &mut ours, || {
            let (place, sample) = git.clone_it()?;
            std::fs::remove_dir_all(place)?;
            Ok(sample)
        })?;
        report.row(row(what, both, "`git clone` from a daemon", Some(2.0)));
    } else {
        report.note("`git` is not installed here, so it was not run beside `vaults clone`");
    }
    if installed("rsync") {
        let mut rsync = Rsync::serve(&files)?;
        let both = pair(3, &mut ours, || rsync.copy())?;
        report.row(row(what, both, "`rsync` from a daemon", None));
    } else {
        report.note("`rsync` is not installed here, so it was not run beside `vaults clone`");
    }
    if let Some((idle, after)) = memory {
        idle.report("idle, connected", None, report);
        after.report("after a clone of 10,000 small secrets", None, report);
    }
    Ok(())
}

/// Puts `files` into a new vault of `a` and lets a new node in.
///
/// # Errors
/// When a command fails.
pub fn share_files(a: &Node, files: &Path, vault: &str) -> io::Result<Node> {
    a.run(&["vaults", "create", vault])?;
    a.run(&["secrets", "dir", text(files)?, vault])?;
    let b = a.another()?;
    a.meets(&b)?;
    a.shares(vault, &b)?;
    Ok(b)
}

/// Makes sure that one of the small files reads as it should: what has not come was not fast.
fn must_read(node: &Node, vault: &str, number: u64, want: &str) -> io::Result<()> {
    let path = format!("small/{}", small_file(number).display());
    let read = Calls::open(node)?.read(vault, &path)?;
    if read.as_deref() == Some(want.as_bytes()) {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "{vault}:{path} is not what was written"
    )))
}

/// Clone of one secret of 1 GiB, on the disk and in memory, beside a bare stream of as many bytes.
pub fn clone_large(node: &Node, scope: &Scope, report: &mut Report) -> io::Result<()> {
    let mib: u64 = if scope.quick { 128 } else { 1024 };
    let a = node.another()?;
    let b = a.another()?;
    clone_large_on(&a, &b, mib, "", report)?;
    drop((a, b));
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        let (a, b) = (node.beside(memory)?, node.beside(memory)?);
        clone_large_on(&a, &b, mib, ", nodes in memory", report)?;
    }
    Ok(())
}

fn clone_large_on(a: &Node, b: &Node, mib: u64, place: &str, report: &mut Report) -> io::Result<()> {
    a.run(&["vaults", "create", "large"])?;
    // Random bytes, so that nothing can be cheaper than it should be.
    let mut random = Process::start(
        Command::new("head")
            .args(["-c", &format!("{mib}M"), "/dev/urandom"])
            .stdout(Stdio::piped()),
    )?;
    let source = random.child().stdout.take();
    let source = source.ok_or_else(|| io::Error::other("no random bytes"))?;
    let mut write = a.command(&["secrets", "write", "large:it"]);
    let status = write.stdin(source).stderr(Stdio::null()).status()?;
    if !status.success() {
        return Err(io::Error::other(format!("`secrets write` ended with {status}")));
    }
    drop(random);
    a.meets(b)?;
    a.shares("large", b)?;
    let mut stream = Stream::open()?;
    stream.fetch(mib)?;
    let before = stream.fetch(mib)?;
    for node in [a, b] {
        node.reset_peak()?;
    }
    let ours = b.clones("large", a)?.wall;
    let peak = Memory::of(a, b, "VmHWM")?;
    let rest = Memory::of(a, b, "VmRSS")?;
    let after = stream.fetch(mib)?;
    let len = b.read(&["secrets", "stat", "large:it", "--json"])?;
    let len: serde_json::Value = serde_json::from_str(&len)?;
    if len["stat"]["size"] != mib << 20 {
        return Err(io::Error::other(format!("the secret did not come whole: {len}")));
    }
    let bare = (before + after) / 2;
    let ratio = bare.as_secs_f64() / ours.as_secs_f64();
    let per_second = |time: Duration| format!("{:.0} MiB/s", mib as f64 / time.as_secs_f64());
    report.row(Row {
        what: format!("`vaults clone`, {mib} MiB{place}"),
        ours: per_second(ours),
        yardstick: "bare iroh stream".into(),
        theirs: per_second(bare),
        measured: format!("{ratio:.2} of it"),
        budget: "at least 0.5 of it".into(),
        met: Some(ratio >= 0.5),
    });
    peak.report(
        &format!("at most during a clone of {mib} MiB{place}"),
        None,
        report,
    );
    rest.report(&format!("after a clone of {mib} MiB{place}"), None, report);
    Ok(())
}

/// Pull of one change in a vault of 10,000 secrets, beside `git pull` of the same; and how long news take in it.
pub fn pull(node: &Node, _: &Scope, report: &mut Report) -> io::Result<()> {
    let a = node.another()?;
    let files = a.folder().join("small");
    small_files(&files, 0..SMALL)?;
    let b = share_files(&a, &files, "pull")?;
    b.clones("pull", &a)?;
    let changed = format!("small/{}", small_file(SMALL / 2).display());
    let mut apart = Apart::new(&a, &b, "pull", &changed)?;
    if installed("git") {
        let mut git = Git::serve()?;
        git.commit_files(&files)?;
        let (clone, _) = git.clone_it()?;
        let mut number = SMALL;
        let both = pair(
            11,
            || apart.pull(),
            || {
                number += 1;
                git.commit_one(&changed, value(number).as_bytes())?;
                git.pull(&clone)
            },
        )?;
        report.row(row(
            "`vaults pull`, one change among 10,000 secrets, connection included",
            both,
            "`git pull` from a daemon",
            None,
        ));
    } else {
        report.note("`git` is not installed here, so it was not run beside `vaults pull`");
    }
    news(&a, &b, "pull", "10,000 secrets", report)
}

/// Two nodes between which there is no connection while one of them writes.
pub struct Apart<'a> {
    b: &'a Node,
    a_id: String,
    vault: &'a str,
    path: &'a str,
    at_a: Calls,
    at_b: Calls,
    number: u64,
}

impl<'a> Apart<'a> {
    /// Of `vault` that both have; `path` is written to.
    ///
    /// # Errors
    /// When an agent does not live.
    pub fn new(a: &Node, b: &'a Node, vault: &'a str, path: &'a str) -> io::Result<Apart<'a>> {
        Ok(Apart {
            b,
            a_id: a.place()?.id,
            vault,
            path,
            at_a: Calls::open(a)?,
            at_b: Calls::open(b)?,
            number: 1 << 32,
        })
    }

    /// One `vaults pull` of one change, from the start of the process to its end; it makes the connection as well.
    /// The nodes are parted by a block, which the one that pulls takes back right before.
    ///
    /// # Errors
    /// When a command fails or the change has not come.
    pub fn pull(&mut self) -> io::Result<Sample> {
        self.number += 1;
        let value = value(self.number).into_bytes();
        self.b.run(&["nodes", "block", &self.a_id])?;
        self.at_a.write(self.vault, self.path, &value)?;
        if self.at_b.read(self.vault, self.path)?.as_ref() == Some(&value) {
            return Err(io::Error::other("the change came before the pull"));
        }
        self.b.run(&["nodes", "unblock", &self.a_id])?;
        let sample = self.b.run(&["vaults", "pull", self.vault, &self.a_id])?;
        if self.at_b.read(self.vault, self.path)?.as_ref() != Some(&value) {
            return Err(io::Error::other("the pull did not bring the change"));
        }
        Ok(sample)
    }
}

/// How long a write takes to reach the other node by itself.
pub fn announce(node: &Node, _: &Scope, report: &mut Report) -> io::Result<()> {
    let (a, b) = (node.another()?, node.another()?);
    a.run(&["vaults", "create", "news"])?;
    a.meets(&b)?;
    a.shares("news", &b)?;
    b.clones("news", &a)?;
    news(&a, &b, "news", "one secret", report)
}

/// From the reply of a write at `a` until `b` reads it, beside one KiB there and back on a bare stream.
fn news(a: &Node, b: &Node, vault: &str, among: &str, report: &mut Report) -> io::Result<()> {
    let (mut at_a, mut at_b) = (Calls::open(a)?, Calls::open(b)?);
    let mut stream = Stream::open()?;
    let mut number = 0;
    let both = pair(
        51,
        || {
            number += 1;
            let value = value(number).into_bytes();
            at_a.write(vault, "news", &value)?;
            until(PATIENCE, LOOK, || {
                Ok(at_b.read(vault, "news")?.as_ref() == Some(&value))
            })
            .map(Sample::from)
        },
        || stream.echo().map(Sample::from),
    )?;
    report.row(row(
        format!("a change among {among}, from the reply at one node until another reads it"),
        both,
        "1 KiB there and back on a bare iroh stream",
        None,
    ));
    Ok(())
}
