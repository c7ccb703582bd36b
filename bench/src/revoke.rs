//! Taking a member out, by the number of secrets that it could read.

use std::io;
use std::time::Duration;

use crate::cases::{Scope, small_files};
use crate::measure::median;
use crate::network::share_files;
use crate::node::Node;
use crate::report::{Report, Row, show};

/// Members that are taken out of each vault.
const ROUNDS: usize = 5;
const FEW: u64 = 100;
const MANY: u64 = 10_000;

/// `vaults unshare` among 10,000 secrets, beside the same among 100.
pub fn revoke(node: &Node, _: &Scope, report: &mut Report) -> io::Result<()> {
    let few = unshare(node, FEW)?;
    let many = unshare(node, MANY)?;
    report.row(Row {
        what: format!("`vaults unshare` among {MANY} secrets"),
        ours: show(many),
        yardstick: format!("among {FEW}"),
        theirs: show(few),
        measured: format!("{:.2}x", many.as_secs_f64() / few.as_secs_f64()),
        budget: "at most 1 s".into(),
        met: Some(many <= Duration::from_secs(1)),
    });
    Ok(())
}

/// The median time to take a member out of a vault with so many secrets, all of which it has. The list of what to
/// rotate is written to nowhere.
fn unshare(node: &Node, secrets: u64) -> io::Result<Duration> {
    let a = node.another()?;
    let files = a.folder().join("small");
    small_files(&files, 0..secrets)?;
    let mut members = vec![share_files(&a, &files, "revoke")?];
    for _ in 1..ROUNDS {
        let b = a.another()?;
        a.meets(&b)?;
        a.shares("revoke", &b)?;
        members.push(b);
    }
    for member in &members {
        member.clones("revoke", &a)?;
    }
    let mut times = Vec::new();
    for member in &members {
        let id = member.place()?.id;
        let sample = a.run(&["vaults", "unshare", "revoke", &id])?;
        times.push(sample.wall.as_secs_f64());
    }
    Ok(Duration::from_secs_f64(median(times.into_iter())))
}
