//! What is measured: the single-machine budgets of the design, and growth.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::measure::{Pair, Sample, inside, median_sample, pair, run as run_command};
use crate::node::{Node, memory};
use crate::report::{Growth, Report, Row, show};
use crate::yardstick;

/// Which cases to run.
pub struct Scope {
    /// Leave out what takes minutes.
    pub quick: bool,
    /// Only cases whose name contains this.
    pub only: Option<String>,
}

impl Scope {
    fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| name.contains(only.as_str()))
    }
}

type Case = fn(&Node, &Scope, &mut Report) -> io::Result<()>;

/// Runs every case in turn. A case that fails is a note in the report, not the end.
///
/// # Errors
/// When the throw-away node cannot be set up.
pub fn run(node: &Node, scope: &Scope, report: &mut Report) -> io::Result<()> {
    node.run(&["vaults", "create", "bench"])?;
    node.feed(&["secrets", "write", "bench:kib"], &[b'x'; 1024])?;
    let cases: [(&str, Case); 7] = [
        ("cat", cat),
        ("env", env),
        ("write", write),
        ("import", import),
        ("idle", idle),
        ("large", large),
        ("growth", growth),
    ];
    for (name, case) in cases {
        if scope.wants(name)
            && let Err(error) = case(node, scope, report)
        {
            report.note(format!("case `{name}` failed: {error}"));
        }
    }
    Ok(())
}

fn row(what: &str, pair: Pair, yardstick: &str, budget: Option<f64>) -> Row {
    Row {
        what: what.into(),
        ours: show(pair.ours.wall),
        yardstick: yardstick.into(),
        theirs: show(pair.theirs.wall),
        measured: format!("{:.2}x", pair.ratio),
        budget: budget.map(|most| format!("at most {most}x")).unwrap_or_default(),
        met: budget.map(|most| pair.ratio <= most),
    }
}

fn installed(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok()
}

/// `secrets cat` of 1 KiB with a warm agent.
fn cat(node: &Node, _: &Scope, report: &mut Report) -> io::Result<()> {
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
    peers(node, report)
}

/// `pass show`, `pass insert` and `rage -d`, where they are installed.
fn peers(node: &Node, report: &mut Report) -> io::Result<()> {
    let home = node.folder().join("peers");
    fs::create_dir_all(&home)?;
    let shell = |script: &str| {
        let mut command = Command::new("sh");
        command
            .args(["-ec", script])
            .env("HOME", &home)
            .env("GNUPGHOME", home.join("gnupg"))
            .current_dir(&home);
        command
    };
    if installed("pass") && installed("gpg") {
        run_command(&mut shell(
            "mkdir -m 700 -p gnupg
             gpg --batch --quiet --passphrase '' --quick-generate-key bench@localhost default default never
             pass init bench@localhost
             head -c 1024 /dev/zero | tr '\\0' x | pass insert -m kib",
        ))?;
        let show_pair = pair(
            15,
            || node.run(&["secrets", "cat", "bench:kib"]),
            || run_command(&mut shell("exec pass show kib")),
        )?;
        report.row(row("`secrets cat`, 1 KiB", show_pair, "`pass show`", None));
        let mut number = 0;
        let insert = pair(
            15,
            || {
                number += 1;
                let name = format!("bench:peer{number}");
                timed_feed(node, &["secrets", "write", &name])
            },
            || run_command(&mut shell("head -c 1024 /dev/zero | pass insert -f -m kib")),
        )?;
        report.row(row("`secrets write`, 1 KiB", insert, "`pass insert`", None));
    } else {
        report.note("`pass` is not installed here, so it was not run beside ours");
    }
    if installed("rage") {
        run_command(&mut shell(
            "rage-keygen -o key 2>/dev/null
             head -c 1024 /dev/zero | rage -r \"$(sed -n 's/^# public key: //p' key)\" -o kib.age",
        ))?;
        let decrypt = pair(
            31,
            || node.run(&["secrets", "cat", "bench:kib"]),
            || run_command(&mut shell("exec rage -d -i key kib.age")),
        )?;
        report.row(row("`secrets cat`, 1 KiB", decrypt, "`rage -d`", None));
    } else {
        report.note("`rage` is not installed here, so it was not run beside ours");
    }
    Ok(())
}

fn timed_feed(node: &Node, args: &[&str]) -> io::Result<Sample> {
    inside(|| node.feed(args, &[b'y'; 1024]))
}

/// `secrets env -- true` with 20 secrets, over bare `true`.
fn env(node: &Node, _: &Scope, report: &mut Report) -> io::Result<()> {
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
fn write(node: &Node, _: &Scope, report: &mut Report) -> io::Result<()> {
    let mut bare = yardstick::Sqlite::create(node.folder()).map_err(io::Error::other)?;
    let mut number = 0;
    let both = pair(
        101,
        || {
            number += 1;
            timed_feed(node, &["secrets", "write", &format!("bench:write/{number}")])
        },
        || inside(|| bare.commit(&[b'y'; 1024]).map_err(io::Error::other)),
    )?;
    report.row(row(
        "`secrets write`, 1 KiB, whole process",
        both,
        "SQLite commit inside a process",
        None,
    ));
    inside_the_agent(node, report)
}

/// The same inside the agent, from the parsed request to the ready reply, measured by the program beside this one.
fn inside_the_agent(node: &Node, report: &mut Report) -> io::Result<()> {
    let program = std::env::current_exe()?.with_file_name("polykey-bench-inside");
    if !program.exists() {
        report.note("`polykey-bench-inside` is not built, so the write inside the agent was not measured");
        return Ok(());
    }
    let output = Command::new(program).arg(node.folder()).output()?;
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
fn import(node: &Node, _: &Scope, report: &mut Report) -> io::Result<()> {
    let folder = small_files(node, "small", 10_000)?;
    node.run(&["vaults", "create", "import"])?;
    let ours = node.run(&["secrets", "dir", &folder, "import"])?;
    let theirs = run_command(
        Command::new("cp")
            .args(["-r", &folder])
            .arg(node.folder().join("copied")),
    )?;
    report.row(Row {
        what: "`secrets dir`, 10,000 small files".into(),
        ours: show(ours.wall),
        yardstick: "`cp -r`".into(),
        theirs: show(theirs.wall),
        measured: show(ours.wall),
        budget: "at most 2 s".into(),
        met: Some(ours.wall <= Duration::from_secs(2)),
    });
    Ok(())
}

fn small_files(node: &Node, name: &str, count: u64) -> io::Result<String> {
    let folder = node.folder().join(name);
    for number in 0..count {
        let inner = folder.join(format!("{:03}", number / 1000));
        if number % 1000 == 0 {
            fs::create_dir_all(&inner)?;
        }
        fs::write(
            inner.join(format!("secret-{number}")),
            format!("value {number:>40}"),
        )?;
    }
    folder
        .into_os_string()
        .into_string()
        .map_err(|_| io::Error::other("the temporary folder is no UTF-8"))
}

/// Memory of an agent that has just been started on 10,000 secrets and has unlocked.
fn idle(node: &Node, _: &Scope, report: &mut Report) -> io::Result<()> {
    node.run(&["agent", "stop"])?;
    node.run(&["agent", "start", "--background"])?;
    node.run(&["secrets", "ls", "import"])?;
    let mib = node.agent_memory("VmRSS")? / 1024;
    report.row(Row {
        what: "agent, idle, 10,000 secrets".into(),
        ours: format!("{mib} MiB resident"),
        yardstick: String::new(),
        theirs: String::new(),
        measured: format!("{mib} MiB"),
        budget: "at most 40 MiB".into(),
        met: Some(mib <= 40),
    });
    Ok(())
}

/// A secret of 1 GiB in and out, on the disk and in memory: memory of agent and client, and speed beside sealing
/// alone, and beside the disk.
fn large(node: &Node, _: &Scope, report: &mut Report) -> io::Result<()> {
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

/// `cat`, `ls` of one folder, `write` and start-up at 1e3 to 1e6 secrets.
fn growth(node: &Node, scope: &Scope, report: &mut Report) -> io::Result<()> {
    let counts: &[u64] = if scope.quick {
        &[1_000, 10_000, 100_000]
    } else {
        &[1_000, 10_000, 100_000, 1_000_000]
    };
    let mut curves: Vec<Growth> = ["cat", "ls of 1,000", "write", "start-up"]
        .map(|what| Growth {
            what: what.into(),
            points: Vec::new(),
        })
        .into();
    for &count in counts {
        let vault = format!("grown{count}");
        let folder = small_files(node, &vault, count)?;
        node.run(&["vaults", "create", &vault])?;
        // One folder of 1,000 files at a time, as a user with that many would have made them.
        for number in 0..count / 1000 {
            let part = format!("{folder}/{number:03}");
            node.run(&["secrets", "dir", &part, &vault])?;
        }
        fs::remove_dir_all(&folder)?;
        let middle = format!("{vault}:{:03}/secret-{}", count / 2000, count / 2);
        let mut written = 0;
        let mut sample = |index: usize, rounds: usize, call: &mut dyn FnMut() -> io::Result<Sample>| {
            call()?;
            let samples = (0..rounds).map(|_| call()).collect::<io::Result<Vec<_>>>()?;
            curves[index]
                .points
                .push((count, median_sample(samples.iter().copied()).wall));
            Ok::<_, io::Error>(())
        };
        sample(0, 51, &mut || node.run(&["secrets", "cat", &middle]))?;
        sample(1, 21, &mut || {
            node.run(&["secrets", "ls", &format!("{vault}:000")])
        })?;
        sample(2, 31, &mut || {
            written += 1;
            timed_feed(node, &["secrets", "write", &format!("{vault}:written/{written}")])
        })?;
        sample(3, 5, &mut || {
            node.run(&["agent", "stop"])?;
            node.run(&["agent", "start", "--background"])
        })?;
    }
    let cat = &curves[0].points;
    if let [(few, small), .., (many, big)] = cat.as_slice() {
        let ratio = big.as_secs_f64() / small.as_secs_f64();
        report.row(Row {
            what: format!("`cat` among {many} secrets"),
            ours: show(*big),
            yardstick: format!("`cat` among {few}"),
            theirs: show(*small),
            measured: format!("{ratio:.2}x"),
            budget: "at most 2x".into(),
            met: Some(ratio <= 2.0),
        });
    }
    for curve in curves {
        report.growth(curve);
    }
    Ok(())
}
