//! `man`: the manual, made from the one command tree.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory};
use clap_mangen::Man as Page;
use polykey_api::{Code, Problem};

use crate::args::Cli;
use crate::output::{Done, Output, cannot_write};

/// Where to.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polykey man | man -l -
  polykey man --dir ~/.local/share/man/man1")]
pub struct Man {
    /// Write one page for each command into this folder, which is made if need be
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints the main page, or writes all of them.
///
/// # Errors
/// When stdout or the folder cannot be written.
pub fn run(out: Output, args: &Man) -> Result<Done, Problem> {
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        Page::new(tree())
            .render(&mut page)
            .map_err(|error| cannot_write(&error))?;
        out.bytes(&page)?;
        return Ok(Done::All);
    };
    let number = write_pages(dir).map_err(|error| {
        Problem::new(
            Code::Io,
            format!("cannot write the manual into {}", dir.display()),
        )
        .caused_by(&error)
    })?;
    out.success(&format!("wrote {number} pages into {}", dir.display()));
    Ok(Done::All)
}

/// The tree without `help`, whose pages would say nothing.
fn tree() -> clap::Command {
    Cli::command().disable_help_subcommand(true)
}

/// Writes a page a command and one that leads from `pk` to the main page, and counts them.
fn write_pages(dir: &Path) -> std::io::Result<usize> {
    fs::create_dir_all(dir)?;
    clap_mangen::generate_to(tree(), dir)?;
    fs::write(dir.join("pk.1"), ".so polykey.1\n")?;
    Ok(count(&tree()) + 1)
}

fn count(command: &clap::Command) -> usize {
    1 + command
        .get_subcommands()
        .filter(|inner| !inner.is_hide_set())
        .map(count)
        .sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_gets_a_page() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let inner = dir.path().join("share/man1");
        let number = write_pages(&inner).expect("writes");
        let names: Vec<_> = fs::read_dir(&inner)
            .expect("there")
            .map(|entry| entry.expect("readable").file_name())
            .collect();
        assert_eq!(names.len(), number);
        for want in ["polykey.1", "pk.1", "polykey-agent.1", "polykey-agent-start.1"] {
            assert!(names.iter().any(|name| name == want), "{want} in {names:?}");
        }
        let page = fs::read_to_string(inner.join("polykey-agent-start.1")).expect("there");
        assert!(page.contains("background"), "{page}");
    }

    #[test]
    fn a_file_in_the_place_of_the_folder_is_an_error() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        assert!(write_pages(file.path()).is_err());
    }
}
