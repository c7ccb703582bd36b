//! `env`: secrets as environment variables.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use polykey_api::secrets::{Fetch, Purpose};
use polykey_api::{Code, Problem};
use polykey_client::background;
use zeroize::Zeroizing;

use super::fetch::{Piece, fetch};
use super::to_target;
use crate::context::Context;
use crate::env_format::{EnvFormat, write_env};
use crate::env_names::{Candidate, Duplicate, Invalid, Rules, choose};
use crate::escape;
use crate::output::Done;
use crate::secret_arg::SecretArg;

/// Arguments of `env`.
#[derive(Debug, Args)]
pub struct Env {
    /// Vaults, directories, patterns, records or secrets; a single value can be given a name
    #[arg(value_name = "VAULT[:PATH][=NAME]", required = true)]
    paths: Vec<SecretArg>,
    /// The command to run, and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
    /// Form of the output, when there is no command [default: auto]
    #[arg(long, value_name = "FORMAT")]
    env_format: Option<EnvFormat>,
    /// What to do about names that no variable can have [default: error]
    #[arg(long, value_name = "MODE")]
    env_invalid: Option<Invalid>,
    /// What to do when two secrets give one name [default: overwrite]
    #[arg(long, value_name = "MODE")]
    env_duplicate: Option<Duplicate>,
    /// Pass on this variable although it steers programs, or opens the node
    #[arg(long, value_name = "NAME")]
    allow: Vec<String>,
    /// Print assignments that also reach the programs a shell starts
    #[arg(long)]
    export: bool,
    /// Pass nothing of the caller's environment on to the command
    #[arg(long)]
    isolate: bool,
    /// Keep the newline at the end of a value
    #[arg(long)]
    preserve_newline: bool,
}

type Value = Zeroizing<Vec<u8>>;

/// `env`.
///
/// # Errors
/// The problem to tell of; when the command runs, this does not return.
pub async fn env(cx: &Context<'_>, args: Env) -> Result<Done, Problem> {
    let question = Fetch {
        targets: args.paths.iter().map(to_target).collect(),
        purpose: Purpose::Env,
        at: None,
        at_time: None,
        recursive: true,
    };
    let mut candidates: Vec<Candidate<Value>> = Vec::new();
    fetch(cx, &question, |piece| {
        match piece {
            Piece::Head(head) => candidates.push(Candidate {
                source: match &head.field {
                    Some(field) => format!("{}:{}#{field}", head.vault, head.path),
                    None => format!("{}:{}", head.vault, head.path),
                },
                name: head.name,
                value: Value::default(),
            }),
            Piece::Data(data) => {
                if let Some(last) = candidates.last_mut() {
                    last.value.extend_from_slice(data);
                }
            }
            Piece::End => {}
            Piece::Failed(problem) => return Err(problem),
        }
        Ok(())
    })
    .await?;
    let rules = Rules {
        invalid: args.env_invalid.or_else(|| cx.default_choice("env-invalid")),
        duplicate: args
            .env_duplicate
            .or_else(|| cx.default_choice("env-duplicate"))
            .unwrap_or(Duplicate::Overwrite),
        allow: args.allow.iter().cloned().collect(),
    };
    let mut chosen = choose(candidates, &rules)
        .map_err(|error| Problem::new(Code::Usage, error.to_string()).hint(error.hint()))?;
    for warning in &chosen.warnings {
        cx.out.warn(warning);
    }
    for variable in &mut chosen.variables {
        if !args.preserve_newline && variable.value.last() == Some(&b'\n') {
            variable.value.pop();
        }
        if variable.value.contains(&0) {
            return Err(Problem::new(
                Code::BadData,
                format!("{} holds a NUL byte, which no variable can", variable.source),
            )
            .hint("leave it out; `polykey secrets cat` gives its bytes as they are"));
        }
    }
    if args.command.is_empty() {
        return print(cx, &args, &chosen.variables);
    }
    exec(cx, &args, &chosen.variables)
}

fn print(cx: &Context<'_>, args: &Env, variables: &[Candidate<Value>]) -> Result<Done, Problem> {
    let format = if cx.out.is_json() {
        EnvFormat::Json
    } else {
        args.env_format
            .or_else(|| cx.default_choice("env-format"))
            .unwrap_or(EnvFormat::Auto)
    };
    let pairs = variables
        .iter()
        .map(|variable| (variable.name.as_str(), variable.value.as_slice()));
    let text = write_env(pairs, format, args.export)
        .map(Zeroizing::new)
        .map_err(|error| {
            Problem::new(Code::BadData, error.to_string()).hint("`--env-format json` carries every value")
        })?;
    cx.out.bytes(&text)?;
    Ok(Done::All)
}

/// Becomes the command. What we hold open is marked to be closed by that.
fn exec(cx: &Context<'_>, args: &Env, variables: &[Candidate<Value>]) -> Result<Done, Problem> {
    let [name, rest @ ..] = args.command.as_slice() else {
        return Err(Problem::new(Code::Usage, "there is no command"));
    };
    let Some(program) = find(name) else {
        let problem = Problem::new(
            Code::FileNotFound,
            format!("there is no command {}", escape::bytes(name.as_encoded_bytes())),
        );
        cx.out.problem(problem);
        // As shells say it.
        std::process::exit(127);
    };
    let mut command = Command::new(program);
    command.arg0(name).args(rest);
    if args.isolate {
        command.env_clear();
    }
    for name in background::SECRET_VARIABLES {
        // Whoever is given one secret is not given the password of all, unless the user says so.
        if !args.allow.iter().any(|allowed| allowed == name) {
            command.env_remove(name);
        }
    }
    for variable in variables {
        command.env(&variable.name, OsStr::from_bytes(&variable.value));
    }
    let error = command.exec();
    let problem = Problem::new(
        Code::Io,
        format!(
            "the command {} cannot be run",
            escape::bytes(name.as_encoded_bytes())
        ),
    )
    .caused_by(&error);
    cx.out.problem(problem);
    std::process::exit(126);
}

/// Finds the command as the caller's shell would: secrets and `--isolate` do not change where it is.
fn find(name: &OsStr) -> Option<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return Path::new(name).exists().then(|| PathBuf::from(name));
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| {
            file.metadata()
                .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
        })
}
