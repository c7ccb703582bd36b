//! Looking for what is wrong: from outside at the files, from inside at everything sealed.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use polykey_api::doctor::{Finding, Health};
use polykey_api::problem::typed;
use polykey_api::{Code, Problem};
use polykey_core::password::{Level, Limits, Password};
use polykey_core::random::OsRandom;
use polykey_core::{Clock, clock::SystemClock};
use polykey_store::{Report, StoreError};
use polykey_vault::Vault;
use rustix::fs::statvfs;

use crate::failure;
use crate::node::Node;
use crate::paths::NodePaths;
use crate::vaults::problem::vault_problem;
use crate::{harden, open, start};

/// 2025-01-01: this program is younger.
const EARLIEST: u64 = 1_735_689_600_000;
/// A clock may differ this much from the one that wrote the files: a disk may come from elsewhere.
const CLOCK_SLACK: u64 = 86_400_000;
/// Less free room than this is worth a word.
const LITTLE_ROOM: u64 = 64 << 20;
/// Deeper folders are vaults' objects.
const DEPTH: usize = 4;

/// Looks at the files of a node path, without any key.
pub fn examine_files(paths: &NodePaths) -> Vec<Finding> {
    let mut findings = vec![examine_clock(SystemClock.now().as_millis(), newest(paths))];
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
    findings.push(examine_leftovers(paths));
    findings
}

/// Looks at all that is sealed, without an agent. Holds the node path meanwhile, so that none starts.
pub fn examine_offline(paths: &NodePaths, password: &[u8]) -> Vec<Finding> {
    harden::harden_process();
    let opened = Password::parse(password)
        .map_err(|error| Problem::new(Code::Usage, error.to_string()))
        .and_then(|password| {
            let lock = start::take_lock(paths)?;
            open::open(paths, &password, &OsRandom).map(|node| (node, lock))
        });
    let (node, _lock) = match opened {
        Ok(opened) => opened,
        Err(problem) => return vec![Finding::bad("node database", problem)],
    };
    let mut findings = examine_node(&node);
    if let Err(problem) = node.close() {
        findings.push(Finding::bad("node database", problem));
    }
    findings
}

/// Looks at all that is sealed. Takes as long as reading all of it.
pub fn examine_node(node: &Node) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.push(examine_database("node database", node.db.verify(|_| {})));
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
            .code(Code::BadData)
            .hint("`polykey audit verify` lists them"),
            Err(error) => Finding::new("audit log", Health::Bad, error),
        },
    );
    for (name, folder) in node.vaults.places() {
        let opened = node.vaults.open(&name).map(|in_use| in_use.vault);
        findings.push(examine_vault("vault", &name, &folder, opened));
    }
    for (name, folder, opened) in node.vaults.deleted() {
        let opened = opened.map(Arc::new);
        findings.push(examine_vault("deleted vault", &name, &folder, opened));
    }
    findings.extend(examine_strays(&node.vaults.strays()));
    findings
}

fn examine_database(check: &str, verified: Result<Report, StoreError>) -> Finding {
    match verified {
        Ok(report) if report.is_whole() => Finding::new(
            check,
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
                check,
                Health::Bad,
                format!("{} damages; the first: {first}", report.damages.len()),
            )
            .code(Code::BadData)
            .hint("put the node path back from a backup")
        }
        Err(error) => Finding::bad(check, failure::store(&error)),
    }
}

/// Reads everything that one vault holds.
fn examine_vault(kind: &str, name: &str, folder: &Path, opened: Result<Arc<Vault>, Problem>) -> Finding {
    let check = &format!("{kind} {name}");
    let vault = match opened {
        Ok(vault) => vault,
        // A stick that lies in a drawer is no damage.
        Err(problem) if !folder.exists() => {
            return Finding::new(check, Health::Warning, problem.message)
                .hint(format!("attach the disk that holds {}", folder.display()));
        }
        Err(problem) => return Finding::bad(check, problem),
    };
    let store = examine_database(check, vault.check_store());
    if store.health != Health::Good {
        return store;
    }
    let report = match vault.check() {
        Ok(report) => report,
        Err(error) => return Finding::bad(check, vault_problem(name, error)),
    };
    if let Some(first) = report.problems.first() {
        let first = match first {
            polykey_vault::Problem::Commit(id) => format!("commit {id} is damaged"),
            polykey_vault::Problem::Secret(id) => {
                format!("the state of secret {id} is not what its history says")
            }
            polykey_vault::Problem::ObjectMissing(id) => format!("object {id} is missing"),
            polykey_vault::Problem::ObjectDamaged(id) => format!("object {id} is damaged"),
        };
        return Finding::new(
            check,
            Health::Bad,
            format!("{} damages; the first: {first}", report.problems.len()),
        )
        .code(Code::BadData)
        .hint("put the vault's folder back from a backup");
    }
    if let Some(finding) = open_to_others(check, folder) {
        return finding;
    }
    if report.wanted > 0 {
        return Finding::new(
            check,
            Health::Note,
            match report.wanted {
                1 => "1 piece of content has not come from the other members yet".to_owned(),
                wanted => format!("{wanted} pieces of content have not come from the other members yet"),
            },
        )
        .hint(format!(
            "run `polykey vaults pull {}`",
            polykey_api::problem::typed(name)
        ));
    }
    Finding::new(
        check,
        Health::Good,
        format!(
            "{}, {}, {}, all whole",
            counted(report.commits, "commit", "commits"),
            counted(report.secrets, "secret or directory", "secrets and directories"),
            counted(report.objects, "object", "objects")
        ),
    )
}

/// A number of things.
fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn examine_strays(strays: &[PathBuf]) -> Option<Finding> {
    let first = strays.first()?;
    Some(
        Finding::new(
            "leftovers",
            Health::Warning,
            format!(
                "{} folders belong to no vault, {} first",
                strays.len(),
                first.display()
            ),
        )
        .hint("move them elsewhere, and remove them when nothing is missed"),
    )
}

/// When a file of the node was last written, in milliseconds since 1970.
fn newest(paths: &NodePaths) -> u64 {
    [paths.keys(), paths.database(), paths.lock()]
        .iter()
        .filter_map(|path| std::fs::metadata(path).ok())
        .map(|meta| u64::try_from(meta.mtime()).unwrap_or_default() * 1000)
        .max()
        .unwrap_or_default()
}

fn examine_clock(now: u64, written: u64) -> Finding {
    let message = if now < EARLIEST {
        "the clock stands before this program was made"
    } else if written > now.saturating_add(CLOCK_SLACK) {
        "the clock stands before this node was last used"
    } else {
        return Finding::new("clock", Health::Good, "the clock is plausible");
    };
    Finding::new("clock", Health::Warning, message)
        .hint("set the clock: times in histories and the audit log come from it")
}

/// What writes that were broken off, and former nodes, have left in the node path.
fn examine_leftovers(paths: &NodePaths) -> Finding {
    let mut left: Vec<String> = std::fs::read_dir(paths.root())
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| {
            let written_beside = ["token.", "config.toml.", "keys.new", "bootstrap.unfinished"];
            name == "discarded" || written_beside.iter().any(|front| name.starts_with(front))
        })
        .collect();
    left.sort();
    let Some(first) = left.first() else {
        return Finding::new("leftovers", Health::Good, "nothing was left behind");
    };
    let place = paths.root().join(first);
    let finding = Finding::new(
        "leftovers",
        Health::Warning,
        format!(
            "{} files or folders were left behind: {}",
            left.len(),
            left.join(", ")
        ),
    );
    finding.hint(format!(
        "remove what is not needed any more: `rm -r {}`",
        typed(&place.to_string_lossy())
    ))
}

/// The finding that others can get at `folder` or at something below it.
fn open_to_others(check: &str, folder: &Path) -> Option<Finding> {
    let finding = examine_permissions_below(check, folder);
    (finding.health != Health::Good).then_some(finding)
}

fn examine_permissions(paths: &NodePaths) -> Finding {
    examine_permissions_below("permissions", paths.root())
}

fn examine_permissions_below(check: &str, root: &Path) -> Finding {
    let mut open_to_others = Vec::new();
    let mut unreadable = Vec::new();
    look_below(root, DEPTH, &mut |path, meta| match meta {
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
        return Finding::new(check, Health::Bad, format!("{} cannot be read", first.display()))
            .code(Code::Io)
            .hint(format!(
                "make it yours: `chown -R $(id -u) {}`",
                typed(&root.to_string_lossy())
            ));
    }
    match open_to_others.first() {
        None => Finding::new(check, Health::Good, "only this user can read the files"),
        Some(first) => Finding::new(
            check,
            Health::Warning,
            format!(
                "{} files or folders are open to others or not yours, {} first",
                open_to_others.len(),
                first.display()
            ),
        )
        .hint(format!("run `chmod -R go= {}`", typed(&root.to_string_lossy()))),
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
        Err(problem) => return Finding::bad("key file", problem),
    };
    let usual = Limits::named(Level::default(), Level::default());
    let (limits, weak) = (
        file.limits(),
        file.limits().memory_kib() < usual.memory_kib() || file.limits().passes() < usual.passes(),
    );
    let cost = format!(
        "a guess at the password takes {} over {} KiB",
        counted(limits.passes() as usize, "pass", "passes"),
        limits.memory_kib()
    );
    if weak {
        return Finding::new(
            "key file",
            Health::Note,
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
        let day = 86_400_000;
        for (now, written, want) in [
            (EARLIEST, 0, Health::Good),
            (EARLIEST, EARLIEST + day, Health::Good),
            (EARLIEST, EARLIEST + 2 * day, Health::Warning),
            (EARLIEST - 1, 0, Health::Warning),
            (0, 0, Health::Warning),
            (u64::MAX, u64::MAX, Health::Good),
        ] {
            assert_eq!(examine_clock(now, written).health, want, "{now} {written}");
        }
    }

    #[test]
    fn leftovers_are_named() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let paths = NodePaths::new(dir.path().to_owned());
        std::fs::write(paths.keys(), "junk").expect("writes");
        assert_eq!(health(&examine_files(&paths), "leftovers"), Some(Health::Good));
        std::fs::write(dir.path().join("token.17"), "x").expect("writes");
        std::fs::create_dir(dir.path().join("discarded")).expect("free");
        let finding = examine_leftovers(&paths);
        assert_eq!(finding.health, Health::Warning);
        assert!(finding.message.contains("discarded, token.17"), "{finding:?}");
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
