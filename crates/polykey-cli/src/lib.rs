//! The command line of polykey.
//!
//! [`run`] parses the arguments ([`args`]), makes a [`Context`] and hands it to the
//! command's function under [`commands`]. A command asks the agent by
//! [`Context::call`](context::Context::call), prints its answer by [`Output`], and ends in
//! a [`Done`] or a `Problem`, which alone decide the exit code.
//!
//! Always: no keys, no storage, no network here.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::mem::ManuallyDrop;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches};
use polykey_api::{Code, Problem};

pub mod args;
pub mod browser;
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
pub mod progress;
pub mod secret_arg;
pub mod settings;
pub mod short_options;
pub mod strength;
pub mod table;
pub mod time;

use args::{Cli, Command, Format};
use context::{BadConfig, Context, Local};
use output::{Done, Output};

/// Runs the command that `args` (program name first) stand for.
pub fn run(args: impl IntoIterator<Item = OsString>, local: &dyn Local) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if args.get(1).is_some_and(|arg| arg == context::AGENT_CHILD) {
        return match local.run_as_child() {
            Ok(()) => ExitCode::SUCCESS,
            Err(problem) => ExitCode::from(problem.code.exit()),
        };
    }
    let args = short_options::rewrite(args, Cli::command);
    let wants_json = args
        .iter()
        .any(|arg| arg == "--json" || arg == "--format=json" || arg == "-fjson")
        || args
            .windows(2)
            .any(|two| (two[0] == "-f" || two[0] == "--format") && two[1] == "json");
    let (cli, flags) = match parsed(&args) {
        Ok(parsed) => parsed,
        Err(error) => return told_by_parser(&error, &args, wants_json, local),
    };
    let out = cli.global.output();
    let done = match cli.command {
        // These speak of the program alone: packagers run them where there is no home.
        Command::Completions(args) => commands::completions::run(out, &args),
        Command::Man(args) => commands::man::run(out, &args),
        command => match Context::new(cli.global, flags, local, bad_config(&command)) {
            Ok(cx) => return ended(commands::run(&cx, command), cx.out),
            Err(problem) => Err(problem),
        },
    };
    ended(done, out)
}

/// A bad `config.toml` must neither keep anybody from finding it out, nor an agent from being ended.
fn bad_config(command: &Command) -> BadConfig {
    use commands::agent::Command as Agent;
    match command {
        Command::Config(_) | Command::Doctor(_) => BadConfig::Examined,
        Command::Agent(Agent::Status | Agent::Stop | Agent::Lock | Agent::Lockall) => BadConfig::Warned,
        _ => BadConfig::Refused,
    }
}

/// What `args` say, and which settings stand among them.
fn parsed(args: &[OsString]) -> Result<(Cli, BTreeSet<&'static str>), clap::Error> {
    let parse = |tree: clap::Command| {
        // Not dropped: see `args::branch`.
        let matches = ManuallyDrop::new(tree).try_get_matches_from_mut(args)?;
        Ok((Cli::from_arg_matches(&matches)?, flags(&matches)))
    };
    match args::branch(args).map(parse) {
        Some(Ok(parsed)) => Ok(parsed),
        None | Some(Err(_)) => parse(Cli::command()),
    }
}

fn ended(done: Result<Done, Problem>, out: Output) -> ExitCode {
    match done {
        Ok(done) => done.exit(),
        Err(problem) => out.problem(problem),
    }
}

/// The settings, and the node path, that stand on the command line.
fn flags(matches: &clap::ArgMatches) -> BTreeSet<&'static str> {
    let given = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
    [
        ("format", "format"),
        ("json", "format"),
        ("no_autostart", "autostart"),
        ("node_id", "node-id"),
        ("node_path", "node-path"),
        ("password_file", "password-file"),
        ("quiet", "quiet"),
        ("verbose", "verbose"),
    ]
    .into_iter()
    .filter(|(id, _)| given(id))
    .map(|(_, name)| name)
    .collect()
}

/// Help and version go to stdout and end well; the rest is wrong usage, which ends with 64. A bare `polykey` or
/// group also ends well, but its help is no answer to a question and goes to stderr.
fn told_by_parser(error: &clap::Error, args: &[OsString], json: bool, local: &dyn Local) -> ExitCode {
    let out = Output::new(if json { Format::Json } else { Format::Human }, false, 0);
    match error.kind() {
        ErrorKind::DisplayVersion if json => match out.answer(&local.versions(), |_| String::new()) {
            Ok(done) => done.exit(),
            Err(problem) => out.problem(problem),
        },
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let text = error.render().to_string();
            match out.bytes(text.as_bytes()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(problem) => out.problem(problem),
            }
        }
        // The parser counts an option that stands in the environment as given, so it says one or the other.
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            let Some(mut group) = bare_group(args) else {
                let problem = Problem::new(Code::Usage, "the command is missing");
                return out.problem(problem.hint("`polykey help` lists the commands"));
            };
            out.lines(group.render_help().to_string().trim_end());
            ExitCode::SUCCESS
        }
        _ => out.problem(usage(error)),
    }
}

/// The command that `args` name, if they are nothing but names of commands.
fn bare_group(args: &[OsString]) -> Option<clap::Command> {
    let mut root = Cli::command();
    // Gives the inner commands their full names and the global options.
    root.build();
    let mut group = &root;
    for arg in args.get(1..)? {
        group = group.find_subcommand(arg)?;
    }
    Some(group.clone())
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
            // What follows `--` may be another command's arguments, and where a number is wanted it is no help.
            if !tip.starts_with("to pass ") {
                hint.get_or_insert(tip.to_owned());
            }
        } else if let Some(usage) = line.strip_prefix("Usage: ") {
            hint.get_or_insert_with(|| whole_usage(usage));
        } else if !line.starts_with("For more information") && hint.is_none() {
            message.push(' ');
            message.push_str(line);
        }
    }
    if message.contains("'--client-host'") || message.contains("'--client-port'") {
        return Problem::new(
            Code::Usage,
            "`--client-host` and `--client-port` do not exist here: the agent is reached over a socket",
        )
        .hint("name the node path instead: `--node-path`");
    }
    // The parser lists them with the nearest one last.
    if let Some(near) = nearest(error) {
        hint = Some(format!("did you mean `{near}`?"));
    }
    let problem = Problem::new(Code::Usage, message);
    match hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

/// The usage of the command that the parser's own line about it names. That line leaves out what was not typed.
fn whole_usage(line: &str) -> String {
    let mut root = Cli::command();
    // Gives the inner commands their full names and the global options.
    root.build();
    let mut command = &root;
    for word in line.split(' ').skip(1) {
        match command.find_subcommand(word) {
            Some(inner) => command = inner,
            None => break,
        }
    }
    let usage = command.clone().render_usage().to_string();
    let words: Vec<&str> = usage.split_whitespace().skip(1).collect();
    format!("usage: {}", words.join(" "))
}

/// What was probably meant by a mistyped command, option or value.
fn nearest(error: &clap::Error) -> Option<&str> {
    [
        ContextKind::SuggestedSubcommand,
        ContextKind::SuggestedArg,
        ContextKind::SuggestedValue,
    ]
    .into_iter()
    .find_map(|kind| match error.get(kind)? {
        ContextValue::String(near) => Some(near.as_str()),
        ContextValue::Strings(near) => near.last().map(String::as_str),
        _ => None,
    })
}
