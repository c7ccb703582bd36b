//! `config`: the defaults in `config.toml` of the node path.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use clap::{Args, Subcommand};
use polykey_api::{Code, Problem};
use rustix::fs::{FlockOperation, flock};
use serde_json::{Map, Value as Json, json};
use toml_edit::{DocumentMut, Item, Table, TableLike, Value};

use crate::context::Context;
use crate::output::Done;
use crate::settings::{self, Origin, SETTINGS, Setting, Settings};

/// What to do with the defaults.
#[derive(Debug, Subcommand)]
#[command(after_help = help())]
pub enum Command {
    /// Show what is set
    #[command(after_help = "\
Examples:
  polykey config show
  polykey config show --origin
  polykey config show --json")]
    Show(Show),
    /// Set a default
    #[command(after_help = help())]
    Set(Set),
    /// Take a default away
    #[command(after_help = "\
Examples:
  polykey config unset network")]
    Unset(Unset),
}

/// How to show.
#[derive(Debug, Args)]
pub struct Show {
    /// Show where each value comes from
    #[arg(long)]
    origin: bool,
}

/// What to set.
#[derive(Debug, Args)]
pub struct Set {
    /// The key: the long name of an option
    key: String,
    /// Its value
    value: String,
}

/// What to take away.
#[derive(Debug, Args)]
pub struct Unset {
    /// The key
    key: String,
}

/// The keys and what they are about.
fn help() -> String {
    let mut text = "\
Examples:
  polykey config show --origin
  polykey config set network offline
  polykey config set password-file /run/secrets/polykey
  polykey config unset network

A flag beats the environment, the environment beats the file. The keys:
"
    .to_owned();
    for setting in SETTINGS {
        let _ = writeln!(text, "  {:<20}{}", setting.name, setting.about);
    }
    text.truncate(text.trim_end().len());
    text
}

/// Does it.
///
/// # Errors
/// [`Code::Usage`] for keys and values that cannot be; [`Code::Config`] for a broken file; what the disk says.
pub fn run(cx: &Context<'_>, command: Command) -> Result<Done, Problem> {
    match command {
        Command::Show(args) => show(cx, &args),
        Command::Set(args) => set(cx, &args),
        Command::Unset(args) => unset(cx, &args.key),
    }
}

fn show(cx: &Context<'_>, args: &Show) -> Result<Done, Problem> {
    // The context came to be without the file, so that a broken one can be mended.
    let settings = Settings::read(&cx.node_path)?;
    let mut rows = vec![(
        "node-path",
        Some(cx.node_path.to_string_lossy().into_owned()),
        node_path_origin(cx),
        Some("PK_NODE_PATH"),
    )];
    for setting in SETTINGS {
        let (text, origin) = match flag_value(cx, setting) {
            Some(text) => (Some(text), Origin::Flag),
            None => settings.resolve(setting),
        };
        rows.push((setting.name, text, origin, setting.variable));
    }
    if cx.out.is_json() || file_wants_json(cx, &settings) {
        return show_json(cx, args, rows);
    }
    let file = settings::path(&cx.node_path);
    let mut text = String::new();
    for (name, value, origin, variable) in rows {
        let line = match (&value, name) {
            (None, _) => format!("# {name} is not set"),
            // Not a key of the file, since the file lies in it.
            (Some(value), "node-path") => format!("# node-path = {}", Value::from(value.as_str())),
            (Some(value), _) => format!("{name} = {}", toml_text(name, value)),
        };
        let source = match origin {
            Origin::Environment => format!(" # from {}", variable.unwrap_or_default()),
            Origin::File => format!(" # from {}", file.display()),
            Origin::Flag => " # from the command line".to_owned(),
            Origin::Default => " # default".to_owned(),
        };
        let shown = args.origin && value.is_some();
        let _ = writeln!(
            text,
            "{}",
            crate::escape::sentence(&(line + if shown { &source } else { "" }))
        );
    }
    cx.out.bytes(text.as_bytes())?;
    Ok(Done::All)
}

/// The format may itself be a setting of the file, which this command reads late.
fn file_wants_json(cx: &Context<'_>, settings: &Settings) -> bool {
    !cx.flags.contains("format") && settings.from_file("format") == Some("json")
}

type Row = (&'static str, Option<String>, Origin, Option<&'static str>);

fn show_json(cx: &Context<'_>, args: &Show, rows: Vec<Row>) -> Result<Done, Problem> {
    let file = settings::path(&cx.node_path);
    let mut all = Map::new();
    for (name, value, origin, variable) in rows {
        let value = value.map_or(Json::Null, |text| json_value(name, &text));
        let source = match origin {
            Origin::Environment => json!(variable),
            Origin::File => json!(file),
            Origin::Flag | Origin::Default => Json::Null,
        };
        let item = if args.origin {
            json!({ "value": value, "origin": origin.as_str(), "source": source })
        } else {
            value
        };
        all.insert(name.to_owned(), item);
    }
    let mut text = Json::Object(all).to_string();
    text.push('\n');
    cx.out.bytes(text.as_bytes())?;
    Ok(Done::All)
}

/// What a flag of this very command line says.
fn flag_value(cx: &Context<'_>, setting: &Setting) -> Option<String> {
    if !cx.flags.contains(setting.name) {
        return None;
    }
    Some(match setting.name {
        "autostart" => (!cx.global.no_autostart.unwrap_or_default()).to_string(),
        "format" => if cx.out.is_json() { "json" } else { "human" }.to_owned(),
        "node-id" => cx.global.node_id.clone().unwrap_or_default(),
        "password-file" => cx
            .global
            .password_file
            .as_ref()
            .map(|path| path.to_string_lossy().into_owned())
            .unwrap_or_default(),
        "quiet" => cx.global.quiet.unwrap_or_default().to_string(),
        "verbose" => cx.global.verbose.to_string(),
        _ => return None,
    })
}

fn node_path_origin(cx: &Context<'_>) -> Origin {
    if cx.flags.contains("node-path") {
        Origin::Flag
    } else if std::env::var_os("PK_NODE_PATH").is_some_and(|path| !path.is_empty()) {
        Origin::Environment
    } else {
        Origin::Default
    }
}

fn toml_text(name: &str, text: &str) -> String {
    settings::find_setting(name)
        .and_then(|setting| setting.value(text).ok())
        // What came from the environment was not checked here.
        .unwrap_or_else(|| Value::from(text))
        .to_string()
}

fn json_value(name: &str, text: &str) -> Json {
    match settings::find_setting(name).and_then(|setting| setting.value(text).ok()) {
        Some(Value::Boolean(flag)) => json!(flag.value()),
        Some(Value::Integer(number)) => json!(number.value()),
        _ => json!(text),
    }
}

fn set(cx: &Context<'_>, args: &Set) -> Result<Done, Problem> {
    let path = &settings::path(&cx.node_path);
    let setting = settings::known(&args.key, path).map_err(as_usage)?;
    let value = setting
        .value(&args.value)
        .map_err(|wants| as_usage(settings::wrong_type(path, setting.name, &wants)))?;
    let set = change(path, |document| {
        let (table, key) = match setting.name.split_once('.') {
            None => (document.as_table_mut() as &mut dyn TableLike, setting.name),
            Some((group, key)) => {
                let table = document.entry(group).or_insert_with(|| {
                    let mut table = Table::new();
                    table.set_dotted(true);
                    Item::Table(table)
                });
                match table.as_table_like_mut() {
                    Some(table) => (table, key),
                    // The name of the group holds something else, which every other command refuses.
                    None => return false,
                }
            }
        };
        match table.get_mut(key).and_then(Item::as_value_mut) {
            // A comment behind the old value stays.
            Some(old) => {
                let decor = old.decor().clone();
                *old = value;
                *old.decor_mut() = decor;
            }
            None => {
                table.insert(key, Item::Value(value));
            }
        }
        true
    })?;
    if !set {
        return Err(settings::wrong_type(path, setting.name, "a table around it"));
    }
    cx.out
        .success(&format!("set {} in {}", setting.name, path.display()));
    Ok(Done::All)
}

/// On the command line a bad key is wrong usage, and the file is as good as before.
fn as_usage(problem: Problem) -> Problem {
    Problem {
        code: Code::Usage,
        ..problem
    }
}

/// Any key can be taken away: an unknown one is what stops the other commands.
fn unset(cx: &Context<'_>, key: &str) -> Result<Done, Problem> {
    let path = &settings::path(&cx.node_path);
    if change(path, |document| remove(document, key))? {
        cx.out.success(&format!("unset {key} in {}", path.display()));
    } else {
        cx.out.success(&format!("{key} is not set in {}", path.display()));
    }
    Ok(Done::All)
}

/// Takes a key out, and the table of its group with the last key in it.
fn remove(document: &mut DocumentMut, key: &str) -> bool {
    if document.remove(key).is_some() {
        return true;
    }
    let Some((group, key)) = key.split_once('.') else {
        return false;
    };
    let Some(table) = document.get_mut(group).and_then(Item::as_table_like_mut) else {
        return false;
    };
    let removed = table.remove(key).is_some();
    if table.is_empty() {
        document.remove(group);
    }
    removed
}

/// Changes the file, if `edit` says that it changed something. One at a time, and whole or not at all.
fn change(path: &Path, edit: impl FnOnce(&mut DocumentMut) -> bool) -> Result<bool, Problem> {
    let failed = |error: io::Error| {
        Problem::new(Code::Io, format!("cannot write {}", path.display())).caused_by(&error)
    };
    let node_path = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(node_path)
        .map_err(failed)?;
    // Two that change different keys at once must not lose one of them.
    let folder = File::open(node_path).map_err(failed)?;
    flock(&folder, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
    let mut document = settings::parse(path, &settings::text_of(path)?.unwrap_or_default())?;
    if !edit(&mut document) {
        return Ok(false);
    }
    replace(path, &document.to_string()).map_err(failed)?;
    Ok(true)
}

/// Written and synced beside it, renamed, and the folder synced. A link stays a link: people keep their
/// settings in one place.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let beside = target.with_extension(format!("toml.{}", std::process::id()));
    let written = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, &target)?;
        File::open(target.parent().unwrap_or(Path::new("/")))?.sync_all()
    };
    written().inspect_err(|_| {
        let _ = fs::remove_file(&beside);
    })
}
