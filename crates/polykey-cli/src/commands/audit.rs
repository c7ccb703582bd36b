//! `audit`: who asked for what, and whether it was allowed.

use clap::{Args, Subcommand, ValueEnum};
use polykey_api::audit::{AuditQuery, AuditRecord, AuditVerdict, Order, READ, VERIFY};
use polykey_api::{Nothing, Problem};
use polykey_client::Client;
use serde_json::{Value, json};

use crate::context::{Autostart, Context};
use crate::output::Done;
use crate::{escape, time};

/// Which records, or what to do with them.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Examples:
  polykey audit --limit 20 --order desc
  polykey audit --follow --events secrets
  polykey audit --seek-start 2026-01-31 --json
  polykey audit verify")]
pub struct Audit {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    query: Query,
}

/// What else to do with the log.
#[derive(Debug, Subcommand)]
enum Command {
    /// Check that no record is missing or was edited
    #[command(after_help = "\
Examples:
  polykey audit verify")]
    Verify,
}

/// Which records.
#[derive(Debug, Args)]
struct Query {
    /// Wait for further records
    #[arg(long)]
    follow: bool,
    /// Only these events and those below them, such as `secrets` or `secrets.read`
    #[arg(long, value_name = "EVENT", num_args = 1..)]
    events: Vec<String>,
    /// Only from this moment on
    #[arg(long, value_name = "DATE")]
    seek_start: Option<String>,
    /// Only up to this moment
    #[arg(long, value_name = "DATE")]
    seek_end: Option<String>,
    /// At most this many in all
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Oldest or newest first
    #[arg(long, value_enum, default_value_t = Direction::Asc)]
    order: Direction,
}

/// In which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Direction {
    /// Oldest first
    Asc,
    /// Newest first
    Desc,
}

/// Prints records, or checks them.
///
/// # Errors
/// The problem to tell of.
pub async fn run(cx: &Context<'_>, args: Audit) -> Result<Done, Problem> {
    match args.command {
        Some(Command::Verify) => verify(cx).await,
        None => read(cx, args.query).await,
    }
}

async fn read(cx: &Context<'_>, query: Query) -> Result<Done, Problem> {
    let moment = |text: &Option<String>| text.as_deref().map(time::parse).transpose();
    let order = match query.order {
        // Following goes forward in time.
        Direction::Desc if !query.follow => Order::Desc,
        _ => Order::Asc,
    };
    let question = AuditQuery {
        seek_start: moment(&query.seek_start)?,
        seek_end: moment(&query.seek_end)?,
        events: query.events,
        limit: query.limit,
        order,
        follow: query.follow,
    };
    let mut link = cx.link(Autostart::Allowed).await?;
    let mut lines = link
        .ask(async |client: &mut Client| client.lines(&READ, &question).await)
        .await?;
    while let Some(record) = lines.next().await? {
        cx.out.answer(&record_json(&record), |_| record_text(&record))?;
    }
    Ok(Done::All)
}

/// The original's fields: `id`, `path`, and the rest in `data`.
fn record_json(record: &AuditRecord) -> Value {
    let mut data = json!(record);
    if let Some(fields) = data.as_object_mut() {
        fields.remove("path");
    }
    json!({ "id": format!("{:016x}", record.seq), "path": record.path, "data": data })
}

async fn verify(cx: &Context<'_>) -> Result<Done, Problem> {
    let verdict = cx.call(&VERIFY, &Nothing {}).await?;
    cx.out.answer(&verdict, verdict_text)?;
    Ok(if verdict.valid { Done::All } else { Done::Partly })
}

fn record_text(record: &AuditRecord) -> String {
    if record.damaged {
        let mut text = format!("record {} is missing or cannot be read", record.seq);
        for why in &record.targets {
            text.push_str(": ");
            text.push_str(&escape::name(why));
        }
        return text;
    }
    let answer = if record.allowed { "allowed" } else { "denied" };
    let who = match (record.pid, &record.session) {
        (Some(pid), Some(session)) => format!("pid {pid} by {}", escape::name(session)),
        (Some(pid), None) => format!("pid {pid}"),
        _ => "-".to_owned(),
    };
    let mut text = format!(
        "{}  {}  {answer}  {who}",
        time::show(record.time),
        escape::name(&record.path)
    );
    if let Some(vault) = &record.vault {
        text.push_str("  ");
        text.push_str(&escape::name(vault));
    }
    for target in &record.targets {
        text.push_str("  ");
        text.push_str(&escape::name(target));
    }
    text
}

fn verdict_text(verdict: &AuditVerdict) -> String {
    if verdict.valid {
        let before = match verdict.forgotten {
            0 => String::new(),
            older => format!("; {older} older ones were forgotten, see `polykey config show`"),
        };
        return format!("{} records, none missing or edited{before}", verdict.records);
    }
    let places: Vec<String> = verdict.damaged.iter().map(u64::to_string).collect();
    format!(
        "{} records; missing or edited: {}",
        verdict.records,
        places.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_cannot_be_read_says_so_in_both_forms() {
        let record = AuditRecord {
            seq: 7,
            time: 0,
            path: "audit.damaged".to_owned(),
            vault: None,
            targets: vec!["the disk\u{1b}[2J failed".to_owned()],
            allowed: false,
            pid: None,
            uid: None,
            session: None,
            damaged: true,
        };
        let text = record_text(&record);
        assert!(
            text.starts_with("record 7 is missing or cannot be read: "),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'));
        let json = record_json(&record);
        assert_eq!(json["path"], "audit.damaged");
        assert_eq!(json["data"]["damaged"], true);
        let good = AuditRecord {
            damaged: false,
            ..record
        };
        assert!(record_json(&good)["data"].get("damaged").is_none());
    }
}
