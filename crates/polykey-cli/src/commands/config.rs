//! `config`: what is set, and from where.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};

use clap::{Args, Subcommand};
use polykey_api::{Code, Problem};
use serde_json::{Value, json};

use crate::context::Context;
use crate::escape;
use crate::output::Done;
use crate::settings::{self, ALL, Settings};

/// What to do with the settings.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  polykey config show --origin
  polykey config set network offline")]
pub enum Command {
    /// Show all settings of this node path
    Show(Show),
    /// Change a setting in the node path's config.toml
    Set(Set),
}

/// How to show them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polykey config show
  polykey config show --origin")]
pub struct Show {
    /// Show where each value comes from
    #[arg(long)]
    origin: bool,
}

/// What to change.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polykey config set network offline
  polykey config set network --unset")]
pub struct Set {
    /// The setting
    name: String,
    /// Its new value
    #[arg(required_unless_present = "unset")]
    value: Option<String>,
    /// Take it out of the file
    #[arg(long, conflicts_with = "value")]
    unset: bool,
}

/// Shows or changes settings.
///
/// # Errors
/// The problem to tell of.
pub fn run(cx: &Context<'_>, command: &Command) -> Result<Done, Problem> {
    match command {
        Command::Show(args) => show(cx, args),
        Command::Set(args) => set(cx, args),
    }
}

fn show(cx: &Context<'_>, args: &Show) -> Result<Done, Problem> {
    let settings = Settings::read(&cx.node_path)?;
    let mut all: BTreeMap<&str, Value> = BTreeMap::new();
    let mut text = String::new();
    for setting in ALL {
        let value = settings.value(setting.name);
        let (shown, origin) = match &value {
            Some((value, origin)) => (Value::from(value.as_str()), origin.as_str()),
            None => (Value::Null, "default"),
        };
        let _ = write!(
            text,
            "{}\t{}",
            setting.name,
            escape::name(shown.as_str().unwrap_or("-"))
        );
        if args.origin {
            let _ = write!(text, "\t{origin}");
            all.insert(setting.name, json!({ "value": shown, "origin": origin }));
        } else {
            all.insert(setting.name, shown);
        }
        text.push('\n');
    }
    cx.out.answer(&all, |_| text)
}

fn set(cx: &Context<'_>, args: &Set) -> Result<Done, Problem> {
    let setting = settings::find(&args.name).ok_or_else(|| {
        Problem::new(Code::Usage, format!("there is no setting {:?}", args.name))
            .hint("`polykey config show` lists what can be set")
    })?;
    if let Some(value) = &args.value {
        setting
            .check(value)
            .map_err(|what| Problem::new(Code::Usage, what))?;
    }
    let path = settings::path(&cx.node_path);
    let failed = |error: &io::Error| {
        Problem::new(Code::Io, format!("cannot write {}", path.display())).caused_by(error)
    };
    let old = match std::fs::read_to_string(&path) {
        Ok(old) => old,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(failed(&error)),
    };
    let new = settings::edit(&old, setting, args.value.as_deref())
        .map_err(|what| Problem::new(Code::Config, format!("{}: {what}", path.display())))?;
    let write = || -> io::Result<()> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&cx.node_path)?;
        let beside = path.with_extension("toml.new");
        let mut options = std::fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(new.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, &path)
    };
    write().map_err(|error| failed(&error))?;
    cx.out.success(&match &args.value {
        Some(value) => format!("{} is now {value}", setting.name),
        None => format!("{} is no longer set", setting.name),
    });
    Ok(Done::All)
}
