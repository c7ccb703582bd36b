//! The command tree.
//!
//! Each group has a file of its own under [`commands`](crate::commands) with its arguments and what they
//! do; here stands only the root. Help text is the doc comment of the arguments.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands::{agent, audit, bootstrap, keys, secrets, vaults};

/// Keep secrets on your own machines, in vaults with a full history
#[derive(Debug, Parser)]
#[command(
    name = "polykey",
    bin_name = "polykey",
    version,
    disable_help_subcommand = true
)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
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
    /// Show the main job in a throw-away folder
    Demo,
    /// Show and use the node's keys
    #[command(subcommand)]
    Keys(keys::Command),
    /// Read, write, move and inject secrets
    #[command(subcommand)]
    Secrets(Box<secrets::Command>),
    /// Make, name and place vaults, and see their history
    #[command(subcommand)]
    Vaults(Box<vaults::Command>),
}

/// Options of every command.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Folder of the node [default: the user's data folder]
    #[arg(long, global = true, value_name = "PATH", env = "PK_NODE_PATH")]
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
    #[arg(long, global = true)]
    pub quiet: bool,
    /// Do not start an agent when none is running
    #[arg(long, global = true)]
    pub no_autostart: bool,
    /// Go on only if the agent is this node
    #[arg(long, global = true, value_name = "ID", env = "PK_NODE_ID", hide = true)]
    pub node_id: Option<String>,
    /// Not used here: there is a socket instead
    #[arg(long, global = true, hide = true)]
    pub client_host: Option<String>,
    /// Not used here: there is a socket instead
    #[arg(long, global = true, hide = true)]
    pub client_port: Option<String>,
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
