//! Long histories: a clone of all of it, and one more commit on top.

use std::io;
use std::time::Instant;

use crate::calls::fill;
use crate::cases::Scope;
use crate::measure::median_sample;
use crate::network::{Apart, Memory};
use crate::node::Node;
use crate::others::{Git, installed};
use crate::report::{Chart, Report, Row, show};

/// Pulls of one commit.
const ROUNDS: usize = 5;
const VAULT: &str = "history";

/// Vaults with 1e3, 1e4 and 1e5 commits, beside `git` with as many.
pub fn history(node: &Node, scope: &Scope, report: &mut Report) -> io::Result<()> {
    let mut chart = Chart::new(
        "history",
        "History",
        "Whole processes, by the number of commits in a vault, each of which changed one of 100 secrets: all of it by \
         one clone, and one more commit by a pull that makes the connection as well (median); beside `git` from a \
         daemon.",
        &[
            "`vaults clone`",
            "`git clone`",
            "`vaults pull` of one more",
            "`git pull` of one more",
        ],
    );
    let with_git = installed("git");
    if !with_git {
        report.note("`git` is not installed here, so it was not run beside long histories");
    }
    for &commits in scope.sizes(&[1_000, 10_000, 100_000]) {
        ours(node, commits, &mut chart, report)?;
        if with_git {
            git(commits, &mut chart)?;
        }
    }
    for (ours, theirs, what) in [(0, 1, "all of it"), (2, 3, "one more")] {
        if let (Some((commits, time)), Some((_, other))) =
            (chart.points(ours).last(), chart.points(theirs).last())
        {
            report.row(Row {
                what: format!("history of {commits} commits, {what}"),
                ours: show(*time),
                yardstick: "`git` from a daemon".into(),
                theirs: show(*other),
                measured: format!("{:.2}x", time.as_secs_f64() / other.as_secs_f64()),
                budget: String::new(),
                met: None,
            });
        }
    }
    report.chart(chart);
    Ok(())
}

fn ours(node: &Node, commits: u64, chart: &mut Chart, report: &mut Report) -> io::Result<()> {
    let (a, b) = (node.another()?, node.another()?);
    a.run(&["vaults", "create", VAULT])?;
    let begin = Instant::now();
    fill(&a, VAULT, commits)?;
    report.note(format!(
        "{commits} commits were made at {:.0} a second, by 16 writers at once",
        commits as f64 / begin.elapsed().as_secs_f64()
    ));
    a.meets(&b)?;
    a.shares(VAULT, &b)?;
    chart.point(0, commits, b.clones(VAULT, &a)?.wall);
    Memory::of(&a, &b, "VmRSS")?.report(&format!("after a clone of {commits} commits"), None, report);
    let mut apart = Apart::new(&a, &b, VAULT, "secret-0")?;
    let samples = (0..ROUNDS)
        .map(|_| apart.pull())
        .collect::<io::Result<Vec<_>>>()?;
    chart.point(2, commits, median_sample(samples.iter().copied()).wall);
    Ok(())
}

fn git(commits: u64, chart: &mut Chart) -> io::Result<()> {
    let mut git = Git::serve()?;
    git.fill(commits)?;
    let (place, sample) = git.clone_it()?;
    chart.point(1, commits, sample.wall);
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        git.commit_one("secret-0", format!("round {round}").as_bytes())?;
        times.push(git.pull(&place)?);
    }
    chart.point(3, commits, median_sample(times.iter().copied()).wall);
    Ok(())
}
