//! Programs that do the same work on one machine: `pass` and `age`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cases::{Scope, row, write_kib};
use crate::measure::{pair, run as run_command};
use crate::node::Node;
use crate::others::installed;
use crate::report::Report;

/// A home for another program, in which nothing is the user's.
struct Home(PathBuf);

impl Home {
    fn make(folder: &Path, name: &str) -> io::Result<Home> {
        let home = folder.join(name);
        fs::create_dir_all(&home)?;
        Ok(Home(home))
    }

    fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-ec", script])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.0)
            .env("GNUPGHOME", self.0.join("gnupg"))
            .current_dir(&self.0);
        command
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.0.join("gnupg").exists() {
            // Else its agent stays until it finds its folder gone.
            let script = "gpgconf --kill all; gpgconf --remove-socketdir";
            drop(run_command(&mut self.shell(script)));
        }
    }
}

/// `pass show` and `pass insert`, with a key that has no password.
pub fn pass(node: &Node, _: &Scope, report: &mut Report) -> io::Result<()> {
    if !(installed("pass") && installed("gpg")) {
        report.note("`pass` is not installed here, so it was not run beside ours");
        return Ok(());
    }
    let home = Home::make(node.folder(), "pass")?;
    run_command(&mut home.shell(
        "mkdir -m 700 gnupg
         gpg --batch --quiet --passphrase '' --quick-generate-key bench@localhost default default never
         pass init bench@localhost
         head -c 1024 /dev/zero | tr '\\0' x | pass insert -m kib",
    ))?;
    let show = pair(
        15,
        || node.run(&["secrets", "cat", "bench:kib"]),
        || run_command(&mut home.shell("exec pass show kib")),
    )?;
    report.row(row("`secrets cat`, 1 KiB", show, "`pass show`", None));
    let mut number = 0;
    let insert = pair(
        15,
        || {
            number += 1;
            write_kib(node, &format!("bench:pass/{number}"))
        },
        || run_command(&mut home.shell("head -c 1024 /dev/zero | tr '\\0' y | pass insert -f -m kib")),
    )?;
    report.row(row("`secrets write`, 1 KiB", insert, "`pass insert`", None));
    Ok(())
}

/// `rage -d`, or that of `age`, which it is written after.
pub fn age(node: &Node, _: &Scope, report: &mut Report) -> io::Result<()> {
    let Some(program) = ["rage", "age"].into_iter().find(|program| installed(program)) else {
        report.note("neither `rage` nor `age` is installed here, so none was run beside ours");
        return Ok(());
    };
    let home = Home::make(node.folder(), program)?;
    run_command(&mut home.shell(&format!(
        "{program}-keygen -o key 2>/dev/null
         head -c 1024 /dev/zero | tr '\\0' x |
             {program} -r \"$(sed -n 's/^# public key: //p' key)\" -o kib.age",
    )))?;
    let decrypt = format!("{program} -d -i key kib.age");
    let both = pair(
        31,
        || node.run(&["secrets", "cat", "bench:kib"]),
        || run_command(&mut home.shell(&format!("exec {decrypt}"))),
    )?;
    report.row(row(
        "`secrets cat`, 1 KiB",
        both,
        &format!("`{program} -d`"),
        None,
    ));
    Ok(())
}
