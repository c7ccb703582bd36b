//! Looking: `ls`, `stat`, `find`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::Args;
use polykey_api::secrets::{self, Entry, List};
use polykey_api::{Code, Problem};
use serde_json::{Value, json};

use super::{Targets, ended, to_target};
use crate::commands::stream::print_array;
use crate::commands::vaults::warn_of_absent;
use crate::context::{Autostart, Context};
use crate::escape;
use crate::output::{Done, cannot_write};
use crate::secret_arg::{SecretArg, VaultArg};
use crate::table::Table;
use crate::time;

/// Arguments of `ls`.
#[derive(Debug, Args)]
pub struct Ls {
    /// Vaults, directories, secrets or patterns
    #[arg(value_name = "VAULT[:PATH]", required = true)]
    targets: Vec<SecretArg>,
    /// Size, time, version and attributes as well
    #[arg(long, short)]
    long: bool,
    /// Names that begin with a dot as well
    #[arg(long, short)]
    all: bool,
    /// Directories with all they hold
    #[arg(long, short = 'R')]
    recursive: bool,
}

/// Arguments of `stat`.
#[derive(Debug, Args)]
pub struct Stat {
    #[command(flatten)]
    targets: Targets,
}

/// Arguments of `find`.
#[derive(Debug, Args)]
pub struct Find {
    /// What to look for; case counts only where it has capitals
    text: String,
    /// Look into the content as well
    #[arg(long)]
    content: bool,
    /// Only in this vault
    #[arg(long, value_name = "VAULT")]
    vault: Option<VaultArg>,
}

/// `ls`.
///
/// # Errors
/// The problem to tell of.
pub async fn ls(cx: &Context<'_>, args: Ls) -> Result<Done, Problem> {
    let mut link = cx.link(Autostart::Allowed).await?;
    let mut out = Listing {
        long: args.long,
        json: cx.out.is_json(),
        out: std::io::BufWriter::new(std::io::stdout().lock()),
        first: true,
    };
    let several = args.targets.len() > 1;
    let (mut listed, mut failed) = (0, Vec::new());
    let mut rows = Vec::new();
    for target in &args.targets {
        let question = List {
            target: to_target(target),
            all: args.all,
            recursive: args.recursive,
        };
        let lines = link
            .ask(async |client| client.lines(&secrets::LIST, &question).await)
            .await;
        let mut lines = match lines {
            Ok(lines) => lines,
            Err(problem) if several && problem.code == Code::SecretNotFound => {
                out.rows(&mut rows)?;
                out.flush()?;
                failed.push(problem.code.exit());
                cx.out.problem(problem);
                continue;
            }
            Err(problem) => return Err(problem),
        };
        listed += 1;
        let mut next = lines.next().await?;
        // What is named itself, by its path or a pattern, stands without a heading, as with the Unix `ls`.
        let is_itself = |entry: &Entry| !target.path().is_empty() && entry.name == entry.path;
        if several && !next.as_ref().is_some_and(is_itself) {
            out.rows(&mut rows)?;
            out.heading(&target.to_text())?;
        }
        let mut section = String::new();
        while let Some(entry) = next {
            next = lines.next().await?;
            if args.recursive && !out.json {
                let parent = entry.path.rsplit_once('/').map_or("", |(parent, _)| parent);
                if parent != section {
                    out.rows(&mut rows)?;
                    parent.clone_into(&mut section);
                    out.heading(parent)?;
                }
            }
            out.entry(entry, &mut rows)?;
        }
    }
    out.rows(&mut rows)?;
    out.end()?;
    Ok(ended(listed == 0, failed.into_iter()))
}

struct Listing<W: std::io::Write> {
    long: bool,
    json: bool,
    out: W,
    first: bool,
}

impl<W: std::io::Write> Listing<W> {
    fn print(&mut self, text: &str) -> Result<(), Problem> {
        self.out
            .write_all(text.as_bytes())
            .map_err(|error| cannot_write(&error))
    }

    fn heading(&mut self, text: &str) -> Result<(), Problem> {
        if self.json {
            return Ok(());
        }
        let gap = if self.first { "" } else { "\n" };
        self.first = false;
        self.print(&format!("{gap}{}:\n", escape::name(text)))
    }

    fn entry(&mut self, entry: Entry, rows: &mut Vec<Entry>) -> Result<(), Problem> {
        if self.json {
            let before = if self.first { "[" } else { "," };
            let value = if self.long {
                in_json(&entry)
            } else {
                json!(entry.path)
            };
            self.first = false;
            return self.print(&format!("{before}{value}"));
        }
        self.first = false;
        if self.long {
            rows.push(entry);
            return Ok(());
        }
        self.print(&format!("{}\n", escape::name(&entry.name)))
    }

    /// Columns need all rows of a section at once.
    fn rows(&mut self, rows: &mut Vec<Entry>) -> Result<(), Problem> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut table = Table::new();
        for entry in rows.drain(..) {
            let kind = if entry.kind == "directory" { "d" } else { "-" };
            let number = |value: u64| {
                if entry.kind == "directory" {
                    String::new()
                } else {
                    value.to_string()
                }
            };
            let modified = if entry.modified == 0 {
                String::new()
            } else {
                time::show(entry.modified)
            };
            let mut attributes = in_line(&entry.attributes);
            if entry.conflict {
                attributes.push_str(" (conflict)");
            }
            let mut row = vec![
                kind.to_owned(),
                number(entry.size),
                format!("v{}", number(entry.version))
                    .trim_end_matches('v')
                    .to_owned(),
                modified,
                entry.name.clone(),
            ];
            if !attributes.is_empty() {
                row.push(attributes.trim_start().to_owned());
            }
            table.row(&row);
        }
        self.print(&table.to_text())
    }

    fn flush(&mut self) -> Result<(), Problem> {
        self.out.flush().map_err(|error| cannot_write(&error))
    }

    fn end(&mut self) -> Result<(), Problem> {
        if self.json {
            self.print(if self.first { "[]\n" } else { "]\n" })?;
        }
        self.flush()
    }
}

fn in_line(attributes: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = attributes
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    pairs.join(" ")
}

fn in_json(entry: &Entry) -> Value {
    let mut value = json!({
        "path": entry.path,
        "name": entry.name,
        "kind": entry.kind,
        "size": entry.size,
        "version": entry.version,
        "attributes": entry.attributes,
    });
    if entry.modified > 0 {
        value["modified"] = json!(time::show(entry.modified));
        value["created"] = json!(time::show(entry.created));
        value["committer"] = json!(entry.committer);
    }
    if entry.conflict {
        value["conflict"] = json!(true);
    }
    value
}

/// `stat`.
///
/// # Errors
/// The problem to tell of.
pub async fn stat(cx: &Context<'_>, args: Stat) -> Result<Done, Problem> {
    let mut link = cx.link(Autostart::Allowed).await?;
    let targets = args.targets.to_wire();
    let several = targets.len() > 1;
    let (mut described, mut failed) = (0, Vec::new());
    for target in targets {
        let question = secrets::OneTarget { target };
        let answer = link
            .ask(async |client| client.call(&secrets::STAT, &question).await)
            .await;
        match answer {
            Ok(entry) => {
                if described > 0 && !cx.out.is_json() {
                    cx.out.bytes(b"\n")?;
                }
                described += 1;
                cx.out.answer(&stat_json(&entry), |_| stat_text(&entry))?;
            }
            Err(problem) if several => {
                failed.push(problem.code.exit());
                cx.out.problem(problem);
            }
            Err(problem) => return Err(problem),
        }
    }
    Ok(ended(described == 0, failed.into_iter()))
}

/// The original's fields, as far as they mean something here, and ours.
fn stat_json(entry: &Entry) -> Value {
    let directory = entry.kind == "directory";
    let blocks = entry.size.div_ceil(512);
    let mut stat = json!({
        "mode": if directory { 0o040_700 } else { 0o100_600 },
        "nlink": 1,
        "size": entry.size,
        "blksize": 4096,
        "blocks": blocks,
        "kind": entry.kind,
        "path": entry.path,
        "version": entry.version,
        "committer": entry.committer,
        "attributes": entry.attributes,
        "conflict": entry.conflict,
    });
    for (key, millis) in [
        ("mtime", entry.modified),
        ("ctime", entry.modified),
        ("birthtime", entry.created),
    ] {
        stat[key] = if millis == 0 {
            Value::Null
        } else {
            json!(time::show(millis))
        };
    }
    json!({ "stat": stat })
}

fn stat_text(entry: &Entry) -> String {
    let mut text = format!("path\t{}\nkind\t{}\n", escape::name(&entry.path), entry.kind);
    if entry.kind != "directory" {
        let _ = write!(text, "size\t{}\nversion\t{}\n", entry.size, entry.version);
    }
    if entry.modified > 0 {
        let _ = write!(
            text,
            "created\t{}\nmodified\t{}\ncommitter\t{}\n",
            time::show(entry.created),
            time::show(entry.modified),
            entry.committer
        );
    }
    for (key, value) in &entry.attributes {
        let _ = writeln!(text, "{}\t{}", escape::name(key), escape::name(value));
    }
    if entry.conflict {
        text.push_str("conflict\ttrue\n");
    }
    text
}

/// `find`.
///
/// # Errors
/// The problem to tell of.
pub async fn find(cx: &Context<'_>, args: Find) -> Result<Done, Problem> {
    let question = secrets::Find {
        text: args.text,
        content: args.content,
        vault: args.vault.map(|vault| vault.0),
    };
    let all = question.vault.is_none();
    let done = print_array(cx, &secrets::FIND, &question, |found| {
        let at = format!("{}:{}", found.vault, found.path);
        let mut line = escape::name(&at).into_owned();
        for more in [
            Some(found.matched.clone()).filter(|what| what != "name"),
            Some(in_line(&found.attributes)).filter(|pairs| !pairs.is_empty()),
        ]
        .into_iter()
        .flatten()
        {
            let _ = write!(line, "\t{}", escape::name(&more));
        }
        line
    })
    .await?;
    if all {
        warn_of_absent(cx).await?;
    }
    Ok(done)
}
