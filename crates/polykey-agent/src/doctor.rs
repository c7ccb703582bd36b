//! Looking for what is wrong: from outside at the files, from inside at everything sealed.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use polykey_api::doctor::{Finding, Health};
use polykey_core::password::{Level, Limits};
use polykey_core::{Clock, clock::SystemClock};
use rustix::fs::statvfs;

use crate::node::Node;
use crate::open;
use crate::paths::NodePaths;

/// 2025-01-01: this program is younger.
const EARLIEST: u64 = 1_735_689_600_000;
/// Less free room than this is worth a word.
const LITTLE_ROOM: u64 = 64 << 20;
/// Deeper folders are vaults' objects.
const DEPTH: usize = 4;

/// Looks at the files of a node path, without any key.
pub fn examine_files(paths: &NodePaths) -> Vec<Finding> {
    let mut findings = vec![examine_clock(SystemClock.now().as_millis())];
    if !open::exists(paths) {
        let place = paths.root().display();
        findings.push(
            Finding::new("node", Health::Bad, format!("there is no node in {place}"))
                .hint("run `polykey init`, or name another node path"),
        );
        return findings;
    }
    findings.push(Finding::new("node", Health::Good, "there is a node"));
    findings.push(examine_permissions(paths));
    findings.push(examine_key_file(paths));
    findings.push(examine_room(paths));
    findings
}

/// Looks at all that is sealed. Takes as long as reading all of it.
pub fn examine_node(node: &Node) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.push(match node.db.verify(|_| {}) {
        Ok(report) if report.is_whole() => Finding::new(
            "node database",
            Health::Good,
            format!("{} records, all whole", report.records),
        ),
        Ok(report) => {
            let first = report
                .damages
                .first()
                .map(ToString::to_string)
                .unwrap_or_default();
            Finding::new(
                "node database",
                Health::Bad,
                format!("{} damages; the first: {first}", report.damages.len()),
            )
            .hint("put the node path back from a backup")
        }
        Err(error) => Finding::new("node database", Health::Bad, error.to_string()),
    });
    let audit = node.audit.flush().map_err(|error| error.to_string());
    findings.push(
        match audit.and_then(|()| node.audit.verify().map_err(|error| error.to_string())) {
            Ok(verdict) if verdict.valid => Finding::new(
                "audit log",
                Health::Good,
                format!("{} records, none missing or edited", verdict.records),
            ),
            Ok(verdict) => Finding::new(
                "audit log",
                Health::Bad,
                format!("{} places are missing or edited", verdict.damaged.len()),
            )
            .hint("`polykey audit verify` lists them"),
            Err(error) => Finding::new("audit log", Health::Bad, error),
        },
    );
    findings
}

fn examine_clock(now: u64) -> Finding {
    if now >= EARLIEST {
        return Finding::new("clock", Health::Good, "the clock is plausible");
    }
    Finding::new(
        "clock",
        Health::Warning,
        "the clock stands before this program was made",
    )
    .hint("set the clock: times in histories and the audit log come from it")
}

fn examine_permissions(paths: &NodePaths) -> Finding {
    let mut open_to_others = Vec::new();
    let mut unreadable = Vec::new();
    look_below(paths.root(), DEPTH, &mut |path, meta| match meta {
        Ok(meta) if meta.is_symlink() => {}
        Ok(meta) => {
            let foreign = meta.uid() != rustix::process::getuid().as_raw();
            if meta.mode() & 0o077 != 0 || foreign {
                open_to_others.push(path.to_owned());
            }
        }
        Err(_) => unreadable.push(path.to_owned()),
    });
    if let Some(first) = unreadable.first() {
        return Finding::new(
            "permissions",
            Health::Bad,
            format!("{} cannot be read", first.display()),
        );
    }
    match open_to_others.first() {
        None => Finding::new("permissions", Health::Good, "only this user can read the files"),
        Some(first) => Finding::new(
            "permissions",
            Health::Warning,
            format!(
                "{} files or folders are open to others or not yours, {} first",
                open_to_others.len(),
                first.display()
            ),
        )
        .hint(format!("run `chmod -R go= {}`", paths.root().display())),
    }
}

fn look_below(folder: &Path, depth: usize, look: &mut dyn FnMut(&Path, io::Result<Metadata>)) {
    look(folder, std::fs::symlink_metadata(folder));
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match std::fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() && depth > 0 => look_below(&path, depth - 1, look),
            meta => look(&path, meta),
        }
    }
}

fn examine_key_file(paths: &NodePaths) -> Finding {
    let file = match open::read_key_file(paths) {
        Ok(file) => file,
        Err(problem) => {
            let finding = Finding::new("key file", Health::Bad, problem.message);
            return match problem.hint {
                Some(hint) => finding.hint(hint),
                None => finding,
            };
        }
    };
    let usual = Limits::named(Level::default(), Level::default());
    let (limits, weak) = (
        file.limits(),
        file.limits().memory_kib() < usual.memory_kib() || file.limits().passes() < usual.passes(),
    );
    let cost = format!(
        "a guess at the password takes {} passes over {} KiB",
        limits.passes(),
        limits.memory_kib()
    );
    if weak {
        return Finding::new(
            "key file",
            Health::Warning,
            format!("{cost}: less than the usual cost"),
        )
        .hint("unset PK_PASSWORD_OPS_LIMIT and PK_PASSWORD_MEM_LIMIT, then run `polykey keys password`");
    }
    Finding::new("key file", Health::Good, cost)
}

fn examine_room(paths: &NodePaths) -> Finding {
    match statvfs(paths.root()) {
        Ok(room) => {
            let free = room.f_bavail.saturating_mul(room.f_frsize);
            let text = format!("{} MiB are free", free >> 20);
            if free >= LITTLE_ROOM {
                Finding::new("disk", Health::Good, text)
            } else {
                Finding::new("disk", Health::Warning, text).hint("make room on this disk")
            }
        }
        Err(error) => Finding::new(
            "disk",
            Health::Unknown,
            format!("free room is not known: {error}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn health(findings: &[Finding], check: &str) -> Option<Health> {
        findings.iter().find(|f| f.check == check).map(|f| f.health)
    }

    #[test]
    fn clocks_before_the_program_are_noticed() {
        assert_eq!(examine_clock(EARLIEST).health, Health::Good);
        assert_eq!(examine_clock(0).health, Health::Warning);
    }

    #[test]
    fn a_folder_without_a_node_and_a_damaged_key_file_are_bad() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let paths = NodePaths::new(dir.path().to_owned());
        assert_eq!(health(&examine_files(&paths), "node"), Some(Health::Bad));
        std::fs::write(paths.keys(), "junk").expect("writes");
        std::fs::set_permissions(paths.keys(), std::fs::Permissions::from_mode(0o600)).expect("own file");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).expect("own folder");
        let findings = examine_files(&paths);
        assert_eq!(health(&findings, "key file"), Some(Health::Bad));
        assert_eq!(health(&findings, "permissions"), Some(Health::Good));
        std::fs::set_permissions(paths.keys(), std::fs::Permissions::from_mode(0o640)).expect("own file");
        assert_eq!(
            health(&examine_files(&paths), "permissions"),
            Some(Health::Warning)
        );
    }
}
