//! The command tree.
//!
//! Each group has a file of its own under [`commands`](crate::commands) with its arguments and what they
//! do; here stands only the root. Help text is the doc comment of the arguments.

use std::ffi::OsString;
use std::mem::ManuallyDrop;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

use crate::commands::{
    agent, audit, bootstrap, completions, config, devices, doctor, identities, keys, man, nodes,
    notifications, recovery, relay, secrets, sharing, vaults,
};
use crate::output::Output;
use crate::settings::Settings;

/// Keep secrets on your own machines, in vaults with a full history
#[derive(Debug, Parser)]
#[command(
    name = "polykey",
    bin_name = "polykey",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
#[command(after_help = "\
Examples:
  polykey init
  polykey vaults create work
  polykey secrets write work:db/PASSWORD < password.txt
  polykey secrets env work:db -- ./server
  polykey help secrets env

`pk` is the short name of `polykey`. `polykey help COMMAND` shows more about one command.")]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start, stop, lock and inspect the agent
    #[command(subcommand)]
    Agent(agent::Command),
    /// Show who asked for what, and whether it was allowed
    Audit(audit::Audit),
    /// Make a node without starting it
    Bootstrap(bootstrap::Bootstrap),
    /// Print what a shell needs to complete the command line
    Completions(completions::Completions),
    /// Show and set the defaults of options
    #[command(subcommand)]
    Config(config::Command),
    /// Show the main job in a throw-away folder
    #[command(after_help = "\
Examples:
  polykey demo")]
    Demo,
    /// Use several nodes as one: pair, list and remove your devices
    #[command(subcommand)]
    Devices(devices::Command),
    /// Look for what is wrong and say what to do
    #[command(after_help = "\
Examples:
  polykey doctor
  polykey doctor --json
  polykey doctor --network bob")]
    Doctor(doctor::Doctor),
    /// Know people: their nodes and identities, and what they may do
    #[command(subcommand)]
    Identities(identities::Command),
    /// Make a node, for people: asks, explains and starts the agent
    #[command(after_help = "\
Examples:
  polykey init
  polykey init --node-path ~/work-node")]
    Init,
    /// Join a vault with a ticket that somebody gave you
    Join(sharing::JoinArgs),
    /// Show and use the node's keys
    #[command(subcommand)]
    Keys(keys::Command),
    /// Print the manual, or write all its pages
    Man(man::Man),
    /// Know other nodes: names, addresses, connections
    #[command(subcommand)]
    Nodes(nodes::Command),
    /// Send, read and remove short messages between nodes
    #[command(subcommand)]
    Notifications(notifications::Command),
    /// Bring back a node whose devices are lost, with the help of friends
    #[command(subcommand)]
    Recovery(recovery::Command),
    /// Run a relay for nodes that cannot reach each other directly
    Relay(Box<relay::Relay>),
    /// Read, write, move and inject secrets
    #[command(subcommand)]
    Secrets(Box<secrets::Command>),
    /// Make, name, place and share vaults, and see their history
    #[command(subcommand)]
    Vaults(Box<vaults::Command>),
}

/// The one branch of the tree that `args` (program name first) ask for, if they name a command of a group: all
/// that they can mean if they are right, at a fraction of the cost of the whole tree.
///
/// What this branch accepts, the whole tree accepts with the same meaning, since no option or value stands between
/// the names of commands. The reverse does not hold (`--help` is missing, for one), and what is said about an
/// error speaks of all commands, so whoever meets one here asks the whole tree again.
pub fn branch(args: &[OsString]) -> Option<clap::Command> {
    let mut words = args
        .iter()
        .skip(1)
        .filter_map(|arg| arg.to_str())
        .filter(|word| !word.starts_with('-'));
    let (name, group) = words.find_map(|word| Some((word, group(word)?)))?;
    // Wiping and freeing the definitions piece by piece takes longer than making them, and they hold no secrets.
    let group = ManuallyDrop::new(group);
    let leaf = group.find_subcommand(words.next()?)?.clone();
    let group = clap::Command::new(name.to_owned())
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommand(leaf);
    let root = clap::Command::new("polykey")
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommand(group);
    Some(Global::augment_args(root))
}

/// The commands of a group, if it is one whose every call names a command. One that is missing here is parsed by the
/// whole tree, which takes longer.
fn group(name: &str) -> Option<clap::Command> {
    let augment = match name {
        "agent" => agent::Command::augment_subcommands,
        "config" => config::Command::augment_subcommands,
        "identities" => identities::Command::augment_subcommands,
        "keys" => keys::Command::augment_subcommands,
        "notifications" => notifications::Command::augment_subcommands,
        "secrets" => secrets::Command::augment_subcommands,
        "vaults" => vaults::Command::augment_subcommands,
        _ => return None,
    };
    Some(augment(clap::Command::new(name.to_owned())))
}

/// Options of every command.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Folder of the node [default: the user's data folder]
    #[arg(long, global = true, value_name = "PATH", env = "PK_NODE_PATH")]
    #[arg(value_parser = OsStringValueParser::new().map(PathBuf::from), value_hint = ValueHint::DirPath)]
    pub node_path: Option<PathBuf>,
    /// Read the password from this file (`-` for stdin)
    #[arg(long, global = true, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Form of the output
    #[arg(id = "format", long, short = 'f', global = true, value_name = "FORMAT")]
    pub format: Option<Format>,
    /// Same as `--format json`
    #[arg(long, global = true)]
    pub json: bool,
    /// Say more; repeat for still more
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Say nothing about success
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", hide_possible_values = true)]
    pub quiet: Option<bool>,
    /// Do not start an agent when none is running
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", hide_possible_values = true)]
    pub no_autostart: Option<bool>,
    /// Go on only if the agent is this node
    #[arg(long, global = true, value_name = "ID", env = "PK_NODE_ID", hide = true)]
    pub node_id: Option<String>,
}

impl Global {
    /// Takes what the flags and the environment leave open from `settings`.
    pub fn take_defaults(&mut self, settings: &Settings) {
        if self.format.is_none() && !self.json {
            self.format = settings
                .from_file("format")
                .and_then(|text| Format::from_str(text, false).ok());
        }
        if self.verbose == 0 {
            let number = settings.from_file("verbose").and_then(|text| text.parse().ok());
            self.verbose = number.unwrap_or_default();
        }
        self.quiet = self.quiet.or_else(|| settings.flag("quiet"));
        if self.node_id.is_none() {
            self.node_id = settings.from_file("node-id").map(str::to_owned);
        }
        // The environment beats the file, although a flag of this name would beat the environment.
        let told = ["PK_PASSWORD", "PK_TOKEN"]
            .iter()
            .any(|name| std::env::var_os(name).is_some());
        if self.password_file.is_none() && !told {
            self.password_file = settings.from_file("password-file").map(PathBuf::from);
        }
    }

    /// Where a command with these options speaks.
    pub fn output(&self) -> Output {
        let format = if self.json {
            Format::Json
        } else {
            self.format.unwrap_or_default()
        };
        Output::new(format, self.quiet.unwrap_or_default(), self.verbose)
    }
}

/// Form of the output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Human,
    /// For programs
    Json,
}

/// True for what has the shape of a node's id; whether it is one, the agent says.
pub fn looks_like_node_id(text: &str) -> bool {
    text.len() == 53 && text.starts_with('v') && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches};

    use super::*;

    fn tree() -> clap::Command {
        let mut tree = Cli::command().disable_help_subcommand(true);
        tree.build();
        tree
    }

    /// Calls `visit` with each command that people see and the names that lead to it.
    fn walk(command: &clap::Command, path: &str, visit: &mut impl FnMut(&clap::Command, &str)) {
        visit(command, path);
        for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
            walk(inner, &format!("{path} {}", inner.get_name()), visit);
        }
    }

    /// The words of an example's first command, as a shell would split them; `None` when it needs a real shell.
    fn words(line: &str) -> Option<Vec<String>> {
        let command = line.split(" | ").next()?;
        let command = command
            .split(" > ")
            .next()?
            .split(" >> ")
            .next()?
            .split(" < ")
            .next()?;
        let mut words = Vec::new();
        for (i, part) in command.split('\'').enumerate() {
            match i % 2 {
                0 => words.extend(part.split_whitespace().map(str::to_owned)),
                _ => words.push(part.to_owned()),
            }
        }
        Some(words)
    }

    #[test]
    fn the_parser_finds_no_clash() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_and_option_has_help() {
        walk(&tree(), "polykey", &mut |command, path| {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(about.len() > 5, "{path} says nothing");
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{path}: {} says nothing", arg.get_id());
            }
        });
    }

    #[test]
    fn every_command_shows_examples_and_each_is_accepted() {
        let mut missing = Vec::new();
        walk(&tree(), "polykey", &mut |command, path| {
            let after = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            let Some((_, examples)) = after.split_once("Examples:\n") else {
                missing.push(path.to_owned());
                return;
            };
            let mut own = false;
            for line in examples.lines().filter_map(|line| line.strip_prefix("  ")) {
                let line = line.rsplit_once("| pk ").map_or(line, |(_, last)| last);
                if !line.starts_with("polykey") && !line.starts_with("pk") {
                    continue;
                }
                let words = words(line).expect("never none of a split");
                own |= words.join(" ").starts_with(path);
                let args: Vec<OsString> = words.iter().map(OsString::from).collect();
                if let Some(Ok(part)) = branch(&args).map(|tree| tree.try_get_matches_from(&args)) {
                    let part = Cli::from_arg_matches(&part).expect("made of the same definitions");
                    let whole = Cli::try_parse_from(&words).expect("the branch accepts it");
                    assert_eq!(format!("{part:?}"), format!("{whole:?}"), "{line}");
                }
                if let Err(error) = Cli::try_parse_from(&words) {
                    assert!(
                        matches!(
                            error.kind(),
                            clap::error::ErrorKind::DisplayHelp | clap::error::ErrorKind::DisplayVersion
                        ),
                        "{path}: {line}: {error}"
                    );
                }
            }
            assert!(own, "{path}: no example is of this command");
        });
        assert!(missing.is_empty(), "no examples: {missing:#?}");
    }

    /// Both trees' answer to one command line: the accepted command, or none.
    #[track_caller]
    fn check_branch(line: &str, want_branch: bool) {
        let args: Vec<OsString> = words(line)
            .expect("never none of a split")
            .into_iter()
            .map(Into::into)
            .collect();
        let accepted = |matches: clap::ArgMatches| format!("{:?}", Cli::from_arg_matches(&matches));
        let whole = Cli::command().try_get_matches_from(&args).ok().map(accepted);
        let part = branch(&args).and_then(|tree| tree.try_get_matches_from(&args).ok());
        assert_eq!(part.is_some(), want_branch, "{line}");
        if let Some(part) = part {
            assert_eq!(Some(accepted(part)), whole, "{line}");
        }
    }

    #[test]
    fn a_branch_accepts_what_the_whole_tree_accepts_and_means_the_same() {
        for line in [
            "pk secrets cat v:p",
            "pk secrets cat v:p secrets rm",
            "pk --json secrets list v",
            "pk secrets rm -rf v:p --format json",
            "pk secrets --node-path=/x rm v:p",
            "pk --node-path /x secrets env v -- sh -c --help",
            "pk -vv agent status -f json",
            "pk agent start -b",
            "pk vaults create v --quiet",
            "pk keys --quiet=false public",
            "pk config set network local",
        ] {
            check_branch(line, true);
        }
        for line in [
            "pk",
            "pk secrets",
            "pk secrets cats v:p",
            "pk secrets cat --help",
            "pk secrets help cat",
            "pk help secrets cat",
            "pk --version secrets cat",
            "pk --node-path secrets vaults list",
            "pk --node-path secrets cat v:p",
            "pk secrets -- cat v:p",
            "pk secrets ls v --no-such",
            "pk -- secrets cat v:p",
            "pk audit verify",
            "pk doctor",
        ] {
            check_branch(line, false);
        }
    }

    #[test]
    fn every_command_of_a_group_has_a_branch() {
        let tree = tree();
        let groups = || {
            tree.get_subcommands()
                .filter(|top| group(top.get_name()).is_some())
        };
        assert!(groups().count() > 5);
        for top in groups() {
            for inner in top.get_subcommands() {
                for name in inner.get_name_and_visible_aliases() {
                    let args = ["pk", top.get_name(), name].map(OsString::from);
                    assert!(branch(&args).is_some(), "{args:?}");
                }
            }
        }
    }

    #[test]
    fn long_names_are_plain_and_short_ones_mean_one_thing_at_a_place() {
        walk(&tree(), "polykey", &mut |command, path| {
            let mut seen = std::collections::BTreeSet::new();
            for arg in command.get_arguments() {
                for short in arg.get_short_and_visible_aliases().unwrap_or_default() {
                    assert!(seen.insert(format!("-{short}")), "{path}: -{short} twice");
                }
                for long in arg.get_long_and_visible_aliases().unwrap_or_default() {
                    assert!(seen.insert(format!("--{long}")), "{path}: --{long} twice");
                    assert!(
                        long.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'),
                        "{path}: --{long}"
                    );
                }
            }
        });
    }
}
