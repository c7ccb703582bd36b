//! The command line of polykey.
//!
//! [`run`] parses the arguments ([`args`]), makes a [`Context`](context::Context) and hands it to the
//! command's function under [`commands`]. A command asks the agent by
//! [`Context::call`](context::Context::call), prints its answer by [`Output`](output::Output), and ends in
//! a [`Done`](output::Done) or a `Problem`, which alone decide the exit code.
//!
//! Always: no keys, no storage, no network here.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use polykey_api::{Code, Problem};

pub mod args;
pub mod commands;
pub mod confirm;
pub mod context;
pub mod dangerous;
pub mod env_format;
pub mod env_names;
pub mod escape;
pub mod moment;
pub mod output;
pub mod password;
pub mod secret_arg;
pub mod short_options;
pub mod table;
pub mod time;

use args::{Cli, Format};
use context::{Context, Local};
use output::Output;

/// Runs the command that `args` (program name first) stand for.
pub fn run(args: impl IntoIterator<Item = OsString>, local: &dyn Local) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let args = short_options::rewrite(args, Cli::command);
    let wants_json = args.iter().any(|arg| arg == "--json")
        || args
            .windows(2)
            .any(|two| (two[0] == "-f" || two[0] == "--format") && two[1] == "json");
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return told_by_parser(&error, wants_json),
    };
    let json = cli.global.json || cli.global.format == Some(Format::Json);
    let format = if json { Format::Json } else { Format::Human };
    let out = Output::new(format, cli.global.quiet, cli.global.verbose);
    let done = Context::new(cli.global, out, local).and_then(|cx| commands::run(&cx, cli.command));
    match done {
        Ok(done) => done.exit(),
        Err(problem) => out.problem(problem),
    }
}

/// Help and version go to stdout and end well; the rest is wrong usage, which ends with 64.
fn told_by_parser(error: &clap::Error, json: bool) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            // A bare `polykey` or group shows its help, which is an answer.
            let text = error.render();
            let _ = Output::new(Format::Human, false, 0).bytes(text.to_string().as_bytes());
            ExitCode::SUCCESS
        }
        _ => {
            let out = Output::new(if json { Format::Json } else { Format::Human }, false, 0);
            out.problem(usage(error))
        }
    }
}

/// The parser's error in our form: its first sentence, and its tip or the usage as the hint.
fn usage(error: &clap::Error) -> Problem {
    let text = error.render().to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut message = lines
        .next()
        .unwrap_or("wrong usage")
        .trim_start_matches("error: ")
        .to_owned();
    let mut hint = None;
    for line in lines {
        if let Some(tip) = line.strip_prefix("tip: ") {
            hint.get_or_insert(tip.to_owned());
        } else if let Some(usage) = line.strip_prefix("Usage: ") {
            hint.get_or_insert(format!("usage: {usage}"));
        } else if !line.starts_with("For more information") && hint.is_none() {
            message.push(' ');
            message.push_str(line);
        }
    }
    let problem = Problem::new(Code::Usage, message);
    match hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}
