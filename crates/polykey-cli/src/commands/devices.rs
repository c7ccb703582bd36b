//! `devices`: one's own nodes as one principal.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use polykey_api::devices::{self, DeviceItem, JoinDevices, LeftVault, PairDevice, RemoveDevice};
use polykey_api::problem::typed;
use polykey_api::sharing::MemberItem;
use polykey_api::{Nothing, Problem};
use zeroize::Zeroizing;

use crate::commands::agent::given_recovery_code;
use crate::commands::qr;
use crate::commands::sharing::{duration, read_ticket};
use crate::context::Context;
use crate::escape;
use crate::output::Done;
use crate::table::Table;
use crate::time;

/// What to do with own devices.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  polykey devices pair
  polykey devices join - < ticket.txt
  polykey devices list")]
pub enum Command {
    /// Make a ticket with which another node of yours becomes a device like this one
    #[command(after_help = "\
Examples:
  polykey devices pair
  polykey devices pair --name laptop
  polykey devices pair --withdraw")]
    Pair(Pair),
    /// Become a device like the one that made the ticket: all its vaults come here
    #[command(after_help = "\
Examples:
  polykey devices join pkdgk0lg85blelqn...
  polykey devices join acid-bacon-cabin
  polykey devices join - --name phone < ticket.txt")]
    Join(Join),
    /// List your devices
    #[command(after_help = "\
Examples:
  polykey devices list
  polykey devices list --json")]
    List,
    /// Remove a device that is lost or given away from everything, and print what to give new values
    #[command(after_help = "\
Examples:
  polykey devices remove phone
  polykey devices remove laptop --recovery-code-file laptop-code.txt")]
    Remove(Remove),
}

/// Arguments of `pair`.
#[derive(Debug, Args)]
pub struct Pair {
    /// What this device is called [default: the name of the machine]
    #[arg(long)]
    name: Option<String>,
    /// For how long the ticket can be used (30m, 24h, 7d) [default: 1h]
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// Make none, and end all tickets and words that nobody has used, as when one of them leaked
    #[arg(long, conflicts_with_all = ["name", "expires"])]
    withdraw: bool,
}

/// Arguments of `join`.
#[derive(Debug, Args)]
pub struct Join {
    /// The ticket (`-` reads it from standard input), or the words
    #[arg(required = true, num_args = 1..=3, value_name = "TICKET OR WORDS")]
    ticket: Vec<String>,
    /// The device that shows the words, when it is not near: its id or petname
    #[arg(long, value_name = "NODE")]
    at: Option<String>,
    /// What this device is called [default: the name of the machine]
    #[arg(long)]
    name: Option<String>,
}

/// Arguments of `remove`.
#[derive(Debug, Args)]
pub struct Remove {
    /// Name of the device, or its id
    #[arg(value_name = "DEVICE")]
    who: String,
    /// Read the recovery code of that device from this file (or from PK_RECOVERY_CODE): it is needed for the vaults
    /// that it made
    #[arg(long, value_name = "FILE")]
    recovery_code_file: Option<PathBuf>,
}

/// Does it.
///
/// # Errors
/// The problem to tell of.
pub async fn run(cx: &Context<'_>, command: Command) -> Result<Done, Problem> {
    match command {
        Command::Pair(args) if args.withdraw => withdraw(cx).await,
        Command::Pair(args) => pair(cx, args).await,
        Command::Join(args) => join(cx, args).await,
        Command::List => list(cx).await,
        Command::Remove(args) => remove(cx, args).await,
    }
}

/// The name of this machine, as far as it can be one of a device.
fn machine() -> Option<String> {
    let name = rustix::system::uname().nodename().to_str().ok()?.to_owned();
    let name = name.split('.').next().unwrap_or_default().to_owned();
    (!name.is_empty()).then_some(name)
}

async fn pair(cx: &Context<'_>, args: Pair) -> Result<Done, Problem> {
    let question = PairDevice {
        name: args.name,
        machine: machine(),
        expires: args.expires.as_deref().map(duration).transpose()?,
    };
    let pairing = cx.call(&devices::PAIR, &question).await?;
    cx.out.success(&format!(
        "Whoever runs this first reads and changes all that you have (until {}): polykey devices join TICKET",
        time::show(pairing.expires)
    ));
    cx.out.success(&format!(
        "On the same network, within ten minutes: polykey devices join {}",
        pairing.words
    ));
    if !cx.out.is_json() && !cx.out.is_quiet() && std::io::stdout().is_terminal() {
        match qr::half_blocks(&pairing.ticket) {
            Some(code) => cx.out.lines(&code),
            None => cx.out.success("The ticket is too long for a QR code"),
        }
    }
    cx.out.answer(&pairing, |pairing| pairing.ticket.clone())
}

async fn withdraw(cx: &Context<'_>) -> Result<Done, Problem> {
    let withdrawn = cx.call(&devices::WITHDRAW, &Nothing {}).await?;
    let tickets = match withdrawn.tickets {
        0 => "No ticket was open".to_owned(),
        1 => "1 ticket is worth nothing any more".to_owned(),
        many => format!("{many} tickets are worth nothing any more"),
    };
    cx.out.success(
        match withdrawn.words {
            true => format!("{tickets}, and nor are the words"),
            false => tickets,
        }
        .as_str(),
    );
    cx.out.answer(&withdrawn, |_| String::new())
}

async fn join(cx: &Context<'_>, args: Join) -> Result<Done, Problem> {
    let typed = Zeroizing::new(args.ticket.join(" "));
    let ticket = match typed.as_str() {
        "-" => read_ticket()?,
        _ => typed,
    };
    let question = JoinDevices {
        ticket: ticket.trim().to_owned(),
        at: args.at,
        name: args.name,
        machine: machine(),
    };
    let joined = cx.call(&devices::JOIN, &question).await?;
    let count = joined.vaults.len();
    cx.out.success(&format!(
        "This node is a device like {} now; {count} vault{} came with it",
        joined.node_id_encoded,
        if count == 1 { "" } else { "s" }
    ));
    if !joined.waiting.is_empty() {
        let names: Vec<_> = joined.waiting.iter().map(|name| escape::name(name)).collect();
        cx.out
            .success(&format!("Still on their way: {}", names.join(", ")));
    }
    cx.out.answer(&joined, |joined| {
        let names: Vec<_> = joined.vaults.iter().map(|name| escape::name(name)).collect();
        names.join("\n")
    })
}

async fn list(cx: &Context<'_>) -> Result<Done, Problem> {
    let list = cx.call(&devices::LIST, &Nothing {}).await?;
    cx.out.answer(&list.devices, |devices| {
        let mut table = Table::with_headings(&["NAME", "NODE", "LAST SEEN"]);
        for device in devices {
            table.row(&row(device));
        }
        table.to_text()
    })
}

fn row(device: &DeviceItem) -> [String; 3] {
    let seen = match (device.this_node, device.connected, device.last_seen) {
        (true, ..) => "this device".to_owned(),
        (_, true, _) => "connected".to_owned(),
        (.., Some(seen)) => time::show(seen),
        (.., None) => "never".to_owned(),
    };
    [
        device.name.clone().unwrap_or_default(),
        device.node_id_encoded.clone(),
        seen,
    ]
}

async fn remove(cx: &Context<'_>, args: Remove) -> Result<Done, Problem> {
    let question = RemoveDevice {
        who: args.who,
        recovery_code: given_recovery_code(args.recovery_code_file.as_deref())?,
        perhaps: args.recovery_code_file.is_none(),
    };
    let removed = cx.call(&devices::REMOVE, &question).await?;
    let who = escape::name(&question.who);
    cx.out.success(&format!("{who} is no device of yours any more"));
    for gone in &removed.with_it {
        cx.out.line(&format!(
            "With it goes {gone}, which it alone had made a device; if that is yours, pair it again with `polykey devices pair`"
        ));
    }
    let left: Vec<_> = removed.vaults.iter().filter(|vault| !vault.removed).collect();
    if removed.vaults.iter().any(|vault| !vault.rotate.is_empty()) {
        cx.out.success(
            "It may have kept these; give them new values (`polykey vaults rotation` shows what is left):",
        );
    }
    let done = cx.out.answer(&removed, |removed| {
        let mut text = String::new();
        for vault in &removed.vaults {
            for path in &vault.rotate {
                text.push_str(&format!(
                    "{}:{}\n",
                    escape::name(&vault.vault_name),
                    escape::name(path)
                ));
            }
        }
        text
    })?;
    if removed.vaults.iter().any(|vault| !vault.let_in.is_empty()) {
        cx.out
            .line("It let these in, and they stay; take out whom you do not know:");
    }
    for vault in &removed.vaults {
        for member in &vault.let_in {
            let name = member.petname.as_deref().map(escape::name);
            cx.out.line(&format!(
                "  polykey vaults unshare {} {}  # {}{}, since {}",
                typed(&vault.vault_name),
                member.node_id_encoded,
                name.map_or_else(String::new, |name| format!("{name}, ")),
                member.role,
                member.since.as_deref().unwrap_or("an unknown time"),
            ));
        }
    }
    if left.is_empty() {
        return Ok(done);
    }
    let (ours, others): (Vec<_>, Vec<_>) = left.into_iter().partition(|vault| vault.admins.is_none());
    for vault in others {
        cx.out
            .line(&left_with_others(vault, &who, &removed.node_id_encoded));
    }
    if ours.is_empty() {
        return Ok(Done::Partly);
    }
    let names: Vec<_> = ours.iter().map(|vault| escape::name(&vault.vault_name)).collect();
    cx.out.line(&format!(
        "{who} ranks above this device and is still in them: {}. For those that it made, run `polykey devices remove {} \
         --recovery-code-file FILE` with its recovery code; for others, run it at the device that made them",
        names.join(", "),
        removed.node_id_encoded
    ));
    Ok(Done::Partly)
}

/// Who can take the device `who` out of a vault of which this one is no admin.
fn left_with_others(vault: &LeftVault, who: &str, id: &str) -> String {
    let name = escape::name(&vault.vault_name);
    let title = |admin: &MemberItem| match &admin.petname {
        Some(petname) => escape::name(petname).to_string(),
        None => admin.node_id_encoded.clone(),
    };
    let admins: Vec<_> = vault.admins.iter().flatten().map(title).collect();
    let still = format!("{who} is still in {name}, of which this device is no admin");
    let unshare = format!("`polykey vaults unshare {} {id}`", typed(&vault.vault_name));
    match (admins.join(" or "), vault.was_first) {
        (admins, _) if admins.is_empty() => {
            format!("{still}, nor is anybody else: write nothing more there")
        }
        (admins, true) => format!(
            "{still}. It was let in before this one, which may be in only as a device of it: ask {admins} to share the \
             vault with this device by its own id, and then to run {unshare}"
        ),
        (admins, false) => format!(
            "{still}. If it came in as a device of this one, the node of {admins} takes it out once it hears of this; if \
             not, ask for {unshare} there"
        ),
    }
}
