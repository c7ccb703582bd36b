//! One machine: the commands that a user waits for, memory, and large secrets.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::cases::{Scope, memory_row, row, small_files, text, write_kib};
use crate::ground::Folder;
use crate::measure::{inside, pair, run as run_command};
use crate::node::{Node, memory};
use crate::others::installed;
use crate::report::{Report, Row, show};
use crate::yardstick;

/// `secrets cat` of 1 KiB with a warm agent.
pub fn cat(node: &Node, _: &Scope, report: &mut Report) -> io::Result<()> {
    let ours = || node.run(&["secrets", "cat", "bench:kib"]);
    let socket = yardstick::serve(node.folder(), &[b'x'; 1024])?;
    let this = std::env::current_exe()?;
    let bare = pair(101, ours, || {
        run_command(Command::new(&this).arg("socket-read").arg(&socket))
    })?;
    report.row(row(
        "`secrets cat`, 1 KiB",
        bare,
        "bare clap + hyper process",
        Some(2.0),
    ));
    report.row(Row {
        what: "`secrets cat`, processor time of the client".into(),
        ours: show(bare.ours.cpu),
        yardstick: "bare clap + hyper process".into(),
        theirs: show(bare.theirs.cpu),
        measured: show(bare.ours.cpu),
        budget: "under 5 ms".into(),
        met: Some(bare.ours.cpu < Duration::from_millis(5)),
    });
    let quiet = pair(51, ours, || run_command(&mut Command::new("true")))?;
    report.row(row("`secrets cat`, 1 KiB", quiet, "`true`", None));
    if installed("git") {
        let git = pair(51, ours, || run_command(Command::new("git").arg("--version")))?;
        report.row(row("`secrets cat`, 1 KiB", git, "`git --version`", None));
    }
    Ok(())
}

/// `secrets env -- true` with 20 secrets, over bare `true`.
pub fn env(node: &Node, _: &Scope, report: &mut Report) -> io::Result<()> {
    node.run(&["vaults", "create", "environment"])?;
    for number in 0..20 {
        node.feed(
            &["secrets", "write", &format!("environment:NAME_{number}")],
            b"a value of usual length",
        )?;
    }
    let both = pair(
        101,
        || node.run(&["secrets", "env", "environment", "--", "true"]),
        || run_command(&mut Command::new("true")),
    )?;
    let over = both.ours.wall.saturating_sub(both.theirs.wall);
    report.row(Row {
        what: "`secrets env -- true`, 20 secrets".into(),
        ours: show(both.ours.wall),
        yardstick: "`true`".into(),
        theirs: show(both.theirs.wall),
        measured: format!("{} over it", show(over)),
        budget: "at most 15 ms over it".into(),
        met: Some(over <= Duration::from_millis(15)),
    });
    Ok(())
}

/// A durable write of 1 KiB, as a whole process, beside one bare SQLite commit in this process.
pub fn write(node: &Node, _: &Scope, report: &mut Report) -> io::Result<()> {
    let mut bare = yardstick::Sqlite::create(node.folder()).map_err(io::Error::other)?;
    let mut number = 0;
    let both = pair(
        101,
        || {
            number += 1;
            write_kib(node, &format!("bench:write/{number}"))
        },
        || inside(|| bare.commit(&[b'y'; 1024]).map_err(io::Error::other)),
    )?;
    report.row(row(
        "`secrets write`, 1 KiB, whole process",
        both,
        "SQLite commit inside a process",
        None,
    ));
    inside_the_agent(report)
}

/// The same inside the agent, from the parsed request to the ready reply, measured by the program beside this one.
fn inside_the_agent(report: &mut Report) -> io::Result<()> {
    let program = std::env::current_exe()?.with_file_name("polykey-bench-inside");
    if !program.exists() {
        report.note("`polykey-bench-inside` is not built, so the write inside the agent was not measured");
        return Ok(());
    }
    let folder = Folder::temporary()?;
    let output = Command::new(program).arg(folder.path()).output()?;
    if !output.status.success() {
        return Err(io::Error::other(
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ));
    }
    let text = String::from_utf8(output.stdout).map_err(io::Error::other)?;
    let figures: Vec<f64> = text
        .split_whitespace()
        .filter_map(|figure| figure.parse().ok())
        .collect();
    let [ours, theirs, ratio] = *figures else {
        return Err(io::Error::other(format!(
            "three figures are wanted, not {text:?}"
        )));
    };
    report.row(Row {
        what: "durable write of 1 KiB inside the agent".into(),
        ours: show(Duration::from_secs_f64(ours)),
        yardstick: "SQLite commit of the same bytes".into(),
        theirs: show(Duration::from_secs_f64(theirs)),
        measured: format!("{ratio:.2}x"),
        budget: "at most 2x".into(),
        met: Some(ratio <= 2.0),
    });
    Ok(())
}

/// A folder of 10,000 small files.
pub fn import(node: &Node, _: &Scope, report: &mut Report) -> io::Result<()> {
    let files = node.folder().join("small");
    small_files(&files, 0..10_000)?;
    let mut round = 0;
    let both = pair(
        3,
        || {
            round += 1;
            let vault = format!("import{round}");
            node.run(&["vaults", "create", &vault])?;
            node.run(&["secrets", "dir", text(&files)?, &vault])
        },
        || {
            let copied = node.folder().join("copied");
            let sample = run_command(Command::new("cp").arg("-r").arg(&files).arg(&copied))?;
            fs::remove_dir_all(copied)?;
            Ok(sample)
        },
    )?;
    for round in 1..=round {
        node.run(&["vaults", "delete", &format!("import{round}"), "--yes"])?;
    }
    fs::remove_dir_all(files)?;
    report.row(Row {
        what: "`secrets dir`, 10,000 small files".into(),
        ours: show(both.ours.wall),
        yardstick: "`cp -r`".into(),
        theirs: show(both.theirs.wall),
        measured: format!("{:.2}x", both.ratio),
        budget: "at most 2 s".into(),
        met: Some(both.ours.wall <= Duration::from_secs(2)),
    });
    Ok(())
}

/// Memory of an agent that has just been started on 10,000 secrets and has unlocked.
pub fn idle(node: &Node, _: &Scope, report: &mut Report) -> io::Result<()> {
    let node = node.another()?;
    let files = node.folder().join("small");
    small_files(&files, 0..10_000)?;
    node.run(&["vaults", "create", "small"])?;
    node.run(&["secrets", "dir", text(&files)?, "small"])?;
    node.stop_agent()?;
    node.start_agent()?;
    node.run(&["secrets", "ls", "small"])?;
    report.row(memory_row(
        "agent, idle, 10,000 secrets",
        node.agent_memory("VmRSS")?,
        Some(40),
    ));
    Ok(())
}

/// A secret of 1 GiB in and out, on the disk and in memory: memory of agent and client, and speed beside sealing
/// alone, and beside the disk.
pub fn large(node: &Node, _: &Scope, report: &mut Report) -> io::Result<()> {
    let mib: u64 = 1024;
    let file = node.folder().join("large");
    // Random bytes, so that nothing can be cheaper than it should be.
    run_command(
        Command::new("sh")
            .args(["-ec", &format!("head -c {mib}M /dev/urandom > \"$0\"")])
            .arg(&file),
    )?;
    large_on(node, &file, mib, "", report)?;
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        large_on(&node.beside(memory)?, &file, mib, ", node in memory", report)?;
    }
    fs::remove_file(&file)
}

fn large_on(node: &Node, file: &Path, mib: u64, place: &str, report: &mut Report) -> io::Result<()> {
    node.run(&["vaults", "create", "large"])?;
    let per_second = |wall: Duration| format!("{:.0} MiB/s", mib as f64 / wall.as_secs_f64());
    for direction in ["in", "out"] {
        let sealing = yardstick::sealing(mib);
        let before = node.agent_memory("VmRSS")?;
        node.reset_peak()?;
        let mut command = if direction == "in" {
            let mut command = node.command(&["secrets", "write", "large:it"]);
            command.stdin(fs::File::open(file)?);
            command
        } else {
            node.command(&["secrets", "cat", "large:it"])
        };
        let start = Instant::now();
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut client = 0;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            client = client.max(memory(child.id(), "VmHWM").unwrap_or(0));
            std::thread::sleep(Duration::from_millis(20));
        };
        let wall = start.elapsed();
        if !status.success() {
            return Err(io::Error::other(format!(
                "{mib} MiB {direction} ended with {status}"
            )));
        }
        let more = (node.agent_memory("VmHWM")?.saturating_sub(before) + client) / 1024;
        report.row(Row {
            what: format!("{mib} MiB secret {direction}{place}, memory"),
            ours: format!("{more} MiB more"),
            yardstick: String::new(),
            theirs: String::new(),
            measured: format!("{more} MiB"),
            budget: "at most 64 MiB more, agent and client".into(),
            met: Some(more <= 64),
        });
        let ratio = sealing.as_secs_f64() / wall.as_secs_f64();
        report.row(Row {
            what: format!("{mib} MiB secret {direction}{place}, speed"),
            ours: per_second(wall),
            yardstick: "sealing alone on one core".into(),
            theirs: per_second(sealing),
            measured: format!("{ratio:.2} of it"),
            budget: "at least 0.5 of it".into(),
            met: Some(ratio >= 0.5),
        });
        if direction == "in" && place.is_empty() {
            let copied = node.folder().join("copied-large");
            let bare = yardstick::copy_durably(file, &copied)?;
            fs::remove_file(&copied)?;
            report.row(Row {
                what: format!("{mib} MiB secret in, speed"),
                ours: per_second(wall),
                yardstick: "the same bytes copied to one file and synced".into(),
                theirs: per_second(bare),
                measured: format!("{:.2} of it", bare.as_secs_f64() / wall.as_secs_f64()),
                budget: String::new(),
                met: None,
            });
        }
    }
    node.run(&["vaults", "delete", "large", "--yes"])?;
    Ok(())
}
