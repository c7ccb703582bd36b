//! What is measured, by name; each case stands on its own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::calls::value;
use crate::measure::{Pair, Sample, inside};
use crate::node::Node;
use crate::report::{Report, Row, show};
use crate::{growth, history, machine, members, network, peers, revoke};

/// Which cases to run.
pub struct Scope {
    /// Leave out what takes minutes.
    pub quick: bool,
    /// Only cases whose name contains one of these; all when there is none.
    pub only: Vec<String>,
}

impl Scope {
    /// Makes sure that each text names a case, before anything is built or started.
    ///
    /// # Errors
    /// The names that there are.
    pub fn check(&self) -> io::Result<()> {
        let known = |only: &String| CASES.iter().any(|(name, _)| name.contains(only.as_str()));
        let Some(unknown) = self.only.iter().find(|only| !known(only)) else {
            return Ok(());
        };
        let names: Vec<&str> = CASES.iter().map(|(name, _)| *name).collect();
        Err(io::Error::other(format!(
            "there is no case {unknown:?}; there are {}",
            names.join(", ")
        )))
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| name.contains(only.as_str()))
    }

    /// The first of `sizes`, or all but the last when it must be quick.
    pub fn sizes<'a>(&self, sizes: &'a [u64]) -> &'a [u64] {
        match sizes {
            [quick @ .., _] if self.quick => quick,
            all => all,
        }
    }
}

type Case = fn(&Node, &Scope, &mut Report) -> io::Result<()>;

const CASES: [(&str, Case); 16] = [
    ("cat", machine::cat),
    ("pass", peers::pass),
    ("age", peers::age),
    ("env", machine::env),
    ("write", machine::write),
    ("import", machine::import),
    ("idle", machine::idle),
    ("large", machine::large),
    ("growth", growth::growth),
    ("clone", network::clone_small),
    ("bulk", network::clone_large),
    ("pull", network::pull),
    ("announce", network::announce),
    ("members", members::members),
    ("history", history::history),
    ("revoke", revoke::revoke),
];

/// Runs every case in turn. A case that fails is a note in the report, not the end.
///
/// # Errors
/// When the throw-away node cannot be set up.
pub fn run(node: &Node, scope: &Scope, report: &mut Report) -> io::Result<()> {
    node.run(&["vaults", "create", "bench"])?;
    node.feed(&["secrets", "write", "bench:kib"], &[b'x'; 1024])?;
    for (name, case) in CASES {
        if scope.wants(name)
            && let Err(error) = case(node, scope, report)
        {
            report.note(format!("case `{name}` failed: {error}"));
        }
    }
    Ok(())
}

/// A line about a pair: how many times the yardstick's time ours is, at most `budget`.
pub fn row(what: impl Into<String>, pair: Pair, yardstick: &str, budget: Option<f64>) -> Row {
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

/// A line about memory, in KiB; at most `budget` MiB.
pub fn memory_row(what: impl Into<String>, kib: u64, budget: Option<u64>) -> Row {
    let mib = kib.div_ceil(1024);
    Row {
        what: what.into(),
        ours: format!("{mib} MiB resident"),
        yardstick: String::new(),
        theirs: String::new(),
        measured: format!("{mib} MiB"),
        budget: budget
            .map(|most| format!("at most {most} MiB"))
            .unwrap_or_default(),
        met: budget.map(|most| mib <= most),
    }
}

/// Writes one KiB as a whole process.
pub fn write_kib(node: &Node, place: &str) -> io::Result<Sample> {
    inside(|| node.feed(&["secrets", "write", place], &[b'y'; 1024]))
}

/// The files `numbers` below `folder`, 1,000 to each folder in it. Their names and values are those of their numbers.
pub fn small_files(folder: &Path, numbers: std::ops::Range<u64>) -> io::Result<()> {
    for number in numbers {
        let file = folder.join(small_file(number));
        if number % 1000 == 0
            && let Some(parent) = file.parent()
        {
            fs::create_dir_all(parent)?;
        }
        fs::write(file, value(number))?;
    }
    Ok(())
}

/// Where one of [`small_files`] lies.
pub fn small_file(number: u64) -> PathBuf {
    format!("{:03}/secret-{number}", number / 1000).into()
}

/// A path as an argument.
pub fn text(path: &Path) -> io::Result<&str> {
    path.to_str()
        .ok_or_else(|| io::Error::other("the temporary folder is no UTF-8"))
}
