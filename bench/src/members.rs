//! Vaults with many members: how long a change takes to reach all, and to take one of them out.

use std::io;
use std::time::{Duration, Instant};

use crate::calls::{Calls, value};
use crate::cases::{Scope, small_files, text};
use crate::measure::{median, until};
use crate::network::LOOK;
use crate::node::{Node, PATIENCE};
use crate::report::{Chart, Report, Row, show};

const ROUNDS: u64 = 11;
/// So many members are taken out, where there are as many.
const TAKEN_OUT: usize = 3;

/// 2, 8 and 32 members on one machine, all of whom know each other.
pub fn members(node: &Node, scope: &Scope, report: &mut Report) -> io::Result<()> {
    let mut chart = Chart::new(
        "members",
        "Members",
        "Medians, by the number of members of a vault with 100 secrets, all of them agents on this machine that know \
         each other: from the reply of a write at one until all the others read it, asked in turn, and `vaults \
         unshare` as a whole process.",
        &["a change reaches all", "`vaults unshare`"],
    );
    for &count in scope.sizes(&[2, 8, 32]) {
        let group = group(node, count as usize, report)?;
        chart.point(0, count, change(&group)?);
        let mut resident = Vec::new();
        for node in &group {
            resident.push(node.agent_memory("VmRSS")? as f64 / 1024.0);
        }
        report.note(format!(
            "resident memory of an agent in a vault with {count} members: {:.0} MiB at the median, {:.0} MiB at most",
            median(resident.iter().copied()),
            resident.iter().copied().fold(0.0, f64::max),
        ));
        chart.point(1, count, take_out(&group)?);
    }
    for (curve, what) in ["a change reaches all", "`vaults unshare` of one"]
        .iter()
        .enumerate()
    {
        if let [(few, small), .., (many, big)] = chart.points(curve) {
            report.row(Row {
                what: format!("{what}, {many} members"),
                ours: show(*big),
                yardstick: format!("the same with {few}"),
                theirs: show(*small),
                measured: format!("{:.2}x", big.as_secs_f64() / small.as_secs_f64()),
                budget: String::new(),
                met: None,
            });
        }
    }
    report.chart(chart);
    Ok(())
}

/// So many members of a vault `group` of the first, connected with each other.
fn group(node: &Node, count: usize, report: &mut Report) -> io::Result<Vec<Node>> {
    let group: Vec<Node> = (0..count).map(|_| node.another()).collect::<io::Result<_>>()?;
    let mut calls: Vec<Calls> = group.iter().map(Calls::open).collect::<io::Result<_>>()?;
    let places: Vec<_> = group.iter().map(Node::place).collect::<io::Result<_>>()?;
    for (i, calls) in calls.iter_mut().enumerate() {
        for (j, place) in places.iter().enumerate() {
            if i != j {
                calls.add_node(place)?;
            }
        }
    }
    let Some((first, others)) = group.split_first() else {
        return Ok(group);
    };
    let files = first.folder().join("small");
    small_files(&files, 0..100)?;
    first.run(&["vaults", "create", "group"])?;
    first.run(&["secrets", "dir", text(&files)?, "group"])?;
    for other in others {
        first.shares("group", other)?;
        other.clones("group", first)?;
    }
    let connected = until(PATIENCE, Duration::from_millis(100), || {
        for calls in &mut calls {
            let active = calls.status()?.connections_active.unwrap_or(0);
            if active + 1 < count as u64 {
                return Ok(false);
            }
        }
        Ok(true)
    });
    match connected {
        Err(error) if error.kind() == io::ErrorKind::TimedOut => report.note(format!(
            "with {count} members not all were connected with each other after {PATIENCE:?}"
        )),
        other => drop(other?),
    }
    Ok(group)
}

/// How long a change at the first takes until all the others have it.
fn change(group: &[Node]) -> io::Result<Duration> {
    let mut calls: Vec<Calls> = group.iter().map(Calls::open).collect::<io::Result<_>>()?;
    let Some((first, others)) = calls.split_first_mut() else {
        return Ok(Duration::ZERO);
    };
    let mut times = Vec::new();
    // The first round does not count.
    for round in 0..=ROUNDS {
        let value = value(round).into_bytes();
        first.write("group", "news", &value)?;
        let begin = Instant::now();
        let mut waiting: Vec<&mut Calls> = others.iter_mut().collect();
        until(PATIENCE, LOOK, || {
            let mut still = Vec::new();
            for calls in waiting.drain(..) {
                if calls.read("group", "news")?.as_ref() != Some(&value) {
                    still.push(calls);
                }
            }
            waiting = still;
            Ok(waiting.is_empty())
        })?;
        times.push(begin.elapsed().as_secs_f64());
    }
    Ok(Duration::from_secs_f64(median(times.into_iter().skip(1))))
}

/// How long the first takes to take another out; the last ones go.
fn take_out(group: &[Node]) -> io::Result<Duration> {
    let Some((first, others)) = group.split_first() else {
        return Ok(Duration::ZERO);
    };
    let mut times = Vec::new();
    for other in others.iter().rev().take(TAKEN_OUT) {
        let id = other.place()?.id;
        let sample = first.run(&["vaults", "unshare", "group", &id])?;
        times.push(sample.wall.as_secs_f64());
    }
    Ok(Duration::from_secs_f64(median(times.into_iter())))
}
