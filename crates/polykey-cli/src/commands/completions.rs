//! `completions`: what a shell needs to complete the command line.
//!
//! Made from the one command tree, so it never differs from what is parsed. One text serves both names of
//! the program.

use clap::{Arg, Args, Command, CommandFactory, ValueEnum};
use clap_complete::Shell as Generator;
use polykey_api::Problem;

use crate::args::Cli;
use crate::output::{Done, Output};

/// For which shell.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polykey completions bash > ~/.local/share/bash-completion/completions/polykey
  polykey completions zsh > ~/.zfunc/_polykey
  polykey completions fish > ~/.config/fish/completions/polykey.fish
  polykey completions powershell >> $PROFILE

bash looks for the completions of `pk` in a file of that name: make a link beside the one above.")]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// A shell that can complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU Bash
    Bash,
    /// Z shell
    Zsh,
    /// Fish
    Fish,
    /// PowerShell
    Powershell,
}

/// Prints the completions.
///
/// # Errors
/// When stdout cannot be written.
pub fn run(out: Output, args: &Completions) -> Result<Done, Problem> {
    out.bytes(text(args.shell).as_bytes())?;
    Ok(Done::All)
}

/// The completions of both names.
fn text(shell: Shell) -> String {
    let generator = match shell {
        Shell::Bash => Generator::Bash,
        Shell::Zsh => Generator::Zsh,
        Shell::Fish => Generator::Fish,
        Shell::Powershell => Generator::PowerShell,
    };
    let root = Cli::command();
    let mut tree = visible(&root, &root);
    let mut bytes = Vec::new();
    clap_complete::generate(generator, &mut tree, "polykey", &mut bytes);
    let text = String::from_utf8(bytes).expect("made of the texts of the command tree");
    match shell {
        Shell::Bash => format!("{text}\ncomplete -F _polykey -o bashdefault -o default pk\n"),
        // Loaded by name, the file is the function itself; sourced, it registers the function.
        Shell::Zsh => format!(
            "{}\nif [ \"$funcstack[1]\" != \"_polykey\" ]; then\n    compdef _polykey pk\nfi\n",
            text.replacen("#compdef polykey", "#compdef polykey pk", 1)
        ),
        Shell::Fish => format!("{text}\ncomplete -c pk -w polykey\n"),
        Shell::Powershell => text.replacen("-CommandName 'polykey'", "-CommandName 'polykey', 'pk'", 1),
    }
}

/// The tree without what help does not show either, and without the tree once more under `help`, which would
/// double the text for nothing.
fn visible(command: &Command, root: &Command) -> Command {
    let name = command.get_name().to_owned();
    // A hidden one that stands in for a global option keeps that from coming in with a letter that is taken.
    let global = |arg: &Arg| {
        root.get_arguments()
            .any(|global| global.get_id() == arg.get_id() && !global.is_hide_set())
    };
    let shown = command
        .get_arguments()
        .filter(|arg| !arg.is_hide_set() || global(arg));
    let inner = command.get_subcommands().filter(|inner| !inner.is_hide_set());
    let mut copy = Command::new(name)
        .disable_help_subcommand(true)
        .visible_aliases(
            command
                .get_visible_aliases()
                .map(str::to_owned)
                .collect::<Vec<_>>(),
        )
        .args(shown.cloned())
        .subcommands(inner.map(|inner| visible(inner, root)));
    if let Some(about) = command.get_about() {
        copy = copy.about(about.clone());
    }
    match command.get_version() {
        Some(version) => copy.version(version.to_owned()),
        None => copy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_names_are_completed_in_every_shell() {
        for (shell, needle) in [
            (Shell::Bash, " pk\n"),
            (Shell::Zsh, "#compdef polykey pk\n"),
            (Shell::Fish, "-c pk -w polykey"),
            (Shell::Powershell, "-CommandName 'polykey', 'pk'"),
        ] {
            let text = text(shell);
            assert!(text.contains(needle), "{shell:?}");
            assert!(text.contains("bootstrap"), "{shell:?}");
        }
    }

    #[test]
    fn hidden_options_stay_hidden() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Powershell] {
            let text = text(shell);
            for hidden in ["order-on-stdin", "client-host", "node-id"] {
                assert!(!text.contains(hidden), "{shell:?} {hidden}");
            }
        }
    }
}
