//! How the work on one machine grows with the number of secrets in a vault.

use std::fs;
use std::io;

use crate::cases::{Scope, small_file, small_files, text, write_kib};
use crate::measure::{Sample, median_sample};
use crate::node::Node;
use crate::report::{Chart, Report, Row, show};

/// Secrets that are put in at a time.
const BATCH: u64 = 10_000;

/// `cat`, `ls` of one folder, `write` and start-up at 1e3 to 1e6 secrets.
pub fn growth(node: &Node, scope: &Scope, report: &mut Report) -> io::Result<()> {
    let node = node.another()?;
    let mut chart = Chart::new(
        "growth",
        "Growth",
        "Whole processes, medians, by the number of secrets in one vault.",
        &["`cat`", "`ls` of 1,000", "`write`", "start-up"],
    );
    let counts = scope.sizes(&[1_000, 10_000, 100_000, 1_000_000]);
    for &count in counts {
        let vault = format!("grown{count}");
        node.run(&["vaults", "create", &vault])?;
        for first in (0..count).step_by(BATCH as usize) {
            let batch = node.folder().join(format!("batch-{}", first / BATCH));
            small_files(&batch, first..count.min(first + BATCH))?;
            node.run(&["secrets", "dir", text(&batch)?, &vault])?;
            fs::remove_dir_all(&batch)?;
        }
        let middle = count / 2;
        let batch = format!("{vault}:batch-{}", middle / BATCH);
        let one = format!("{batch}/{}", small_file(middle).display());
        let folder = format!("{batch}/{:03}", middle / 1000);
        let mut point = |curve: usize, rounds: usize, call: &mut dyn FnMut() -> io::Result<Sample>| {
            call()?;
            let samples = (0..rounds).map(|_| call()).collect::<io::Result<Vec<_>>>()?;
            chart.point(curve, count, median_sample(samples.iter().copied()).wall);
            Ok::<_, io::Error>(())
        };
        point(0, 51, &mut || node.run(&["secrets", "cat", &one]))?;
        point(1, 21, &mut || node.run(&["secrets", "ls", &folder]))?;
        let mut written = 0;
        point(2, 31, &mut || {
            written += 1;
            write_kib(&node, &format!("{vault}:written/{written}"))
        })?;
        point(3, 5, &mut || {
            node.stop_agent()?;
            node.start_agent()
        })?;
    }
    if let [(few, small), .., (many, big)] = chart.points(0) {
        let ratio = big.as_secs_f64() / small.as_secs_f64();
        report.row(Row {
            what: format!("`secrets cat` among {many} secrets"),
            ours: show(*big),
            yardstick: format!("`secrets cat` among {few}"),
            theirs: show(*small),
            measured: format!("{ratio:.2}x"),
            budget: "at most 2x".into(),
            met: Some(ratio <= 2.0),
        });
    }
    report.chart(chart);
    Ok(())
}
