//! `notifications`: short messages between nodes.

use std::io::{self, Read as _};

use clap::{Args, Subcommand, ValueEnum};
use polykey_api::notifications::{
    self, ClearInbox, NotificationData, NotificationItem, NotificationList, OneNotification, ReadInbox,
    ReadOutbox, Removed, Send,
};
use polykey_api::problem::typed;
use polykey_api::{Code, Nothing, Problem};

use crate::context::Context;
use crate::escape;
use crate::output::Done;
use crate::time;

/// What to do with notifications.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  polykey notifications send bob 'the new key is in work:db'
  polykey notifications inbox read --unread")]
pub enum Command {
    /// Send a message to a node; it waits in the outbox until the node can be reached
    #[command(after_help = "\
Examples:
  polykey notifications send bob 'the new key is in work:db'")]
    Send(SendArgs),
    /// Read and empty the inbox
    #[command(subcommand)]
    Inbox(Inbox),
    /// See and empty the outbox
    #[command(subcommand)]
    Outbox(Outbox),
}

/// What to do with the inbox.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  polykey notifications inbox read --unread
  polykey notifications inbox clear")]
pub enum Inbox {
    /// Show what arrived, and note that it was read
    #[command(after_help = "\
Examples:
  polykey notifications inbox read --unread
  polykey notifications inbox read --limit 10 --order oldest --json
  polykey notifications inbox read --strangers")]
    Read(InboxRead),
    /// Remove all
    #[command(after_help = "\
Examples:
  polykey notifications inbox clear
  polykey notifications inbox clear --strangers")]
    Clear(InboxClear),
    /// Remove one
    #[command(after_help = "\
Examples:
  polykey notifications inbox remove 0000019a8f0c7a11f0c2")]
    Remove(OneArgs),
}

/// What to do with the outbox.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  polykey notifications outbox read
  polykey notifications outbox clear")]
pub enum Outbox {
    /// Show what waits to be delivered
    #[command(after_help = "\
Examples:
  polykey notifications outbox read
  polykey notifications outbox read --json")]
    Read(OutboxRead),
    /// Deliver none of it
    #[command(after_help = "\
Examples:
  polykey notifications outbox clear")]
    Clear,
    /// Do not deliver one
    #[command(after_help = "\
Examples:
  polykey notifications outbox remove 0000019a8f0c7a11f0c2")]
    Remove(OneArgs),
}

/// Arguments of `send`.
#[derive(Debug, Args)]
pub struct SendArgs {
    /// The node: its id or petname
    #[arg(value_name = "NODE")]
    who: String,
    /// The text, up to 4096 bytes (`-` for stdin)
    message: String,
    /// How often delivery is tried again [default: 256]
    #[arg(long, short, value_name = "N")]
    retries: Option<u64>,
}

/// Which end comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Order {
    /// The newest first
    Newest,
    /// The oldest first
    Oldest,
}

impl From<Order> for notifications::Order {
    fn from(order: Order) -> Self {
        match order {
            Order::Newest => notifications::Order::Newest,
            Order::Oldest => notifications::Order::Oldest,
        }
    }
}

/// Arguments of `inbox read`.
#[derive(Debug, Args)]
pub struct InboxRead {
    /// Only those that were not read
    #[arg(long, short)]
    unread: bool,
    /// At most so many
    #[arg(long, short, value_name = "N")]
    limit: Option<u64>,
    /// Which end comes first
    #[arg(long, short, value_name = "ORDER", default_value = "newest")]
    order: Order,
    /// Those that strangers sent, instead
    #[arg(long)]
    strangers: bool,
}

/// Arguments of `inbox clear`.
#[derive(Debug, Args)]
pub struct InboxClear {
    /// Those that strangers sent, instead
    #[arg(long)]
    strangers: bool,
}

/// Arguments of `outbox read`.
#[derive(Debug, Args)]
pub struct OutboxRead {
    /// At most so many
    #[arg(long, short, value_name = "N")]
    limit: Option<u64>,
    /// Which end comes first
    #[arg(long, short, value_name = "ORDER", default_value = "newest")]
    order: Order,
}

/// Arguments of `remove`.
#[derive(Debug, Args)]
pub struct OneArgs {
    /// Its id, as the listing shows it
    #[arg(value_name = "ID")]
    id: String,
}

/// Does it.
///
/// # Errors
/// The problem to tell of.
pub async fn run(cx: &Context<'_>, command: Command) -> Result<Done, Problem> {
    match command {
        Command::Send(args) => send(cx, args).await,
        Command::Inbox(Inbox::Read(args)) => {
            let question = ReadInbox {
                unread: args.unread,
                limit: args.limit,
                order: args.order.into(),
                strangers: args.strangers,
            };
            let list = cx.call(&notifications::INBOX_READ, &question).await?;
            show(cx, &list, "No notifications received")
        }
        Command::Inbox(Inbox::Clear(args)) => {
            let question = ClearInbox {
                strangers: args.strangers,
            };
            removed(cx, &cx.call(&notifications::INBOX_CLEAR, &question).await?)
        }
        Command::Inbox(Inbox::Remove(args)) => {
            let question = OneNotification { id: args.id };
            removed(cx, &cx.call(&notifications::INBOX_REMOVE, &question).await?)
        }
        Command::Outbox(Outbox::Read(args)) => {
            let question = ReadOutbox {
                limit: args.limit,
                order: args.order.into(),
            };
            let list = cx.call(&notifications::OUTBOX_READ, &question).await?;
            show(cx, &list, "No notifications wait to be sent")
        }
        Command::Outbox(Outbox::Clear) => {
            removed(cx, &cx.call(&notifications::OUTBOX_CLEAR, &Nothing {}).await?)
        }
        Command::Outbox(Outbox::Remove(args)) => {
            let question = OneNotification { id: args.id };
            removed(cx, &cx.call(&notifications::OUTBOX_REMOVE, &question).await?)
        }
    }
}

/// Longest text of a message, as the agent takes it.
const MAX_MESSAGE: u64 = 4096;

/// One byte more than a message holds is enough to be told so by the agent.
fn from_stdin() -> Result<String, Problem> {
    let mut text = String::new();
    let read = io::stdin().take(MAX_MESSAGE + 1).read_to_string(&mut text);
    match read {
        Ok(_) => Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned()),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(Problem::new(
            Code::BadData,
            "the message on stdin is not UTF-8 text",
        )),
        Err(error) => Err(Problem::new(Code::Io, "stdin cannot be read").caused_by(&error)),
    }
}

async fn send(cx: &Context<'_>, args: SendArgs) -> Result<Done, Problem> {
    let question = Send {
        who: args.who,
        message: match args.message.as_str() {
            "-" => from_stdin()?,
            _ => args.message,
        },
        retries: args.retries,
    };
    let sent = cx.call(&notifications::SEND, &question).await?;
    let who = escape::name(&question.who);
    cx.out.success(&if sent.delivered {
        format!("Sent to {who}")
    } else {
        format!("{who} cannot be reached now; the message waits in the outbox")
    });
    cx.out.answer(&sent, |_| String::new())
}

fn removed(cx: &Context<'_>, removed: &Removed) -> Result<Done, Problem> {
    cx.out.success(&format!("Removed {}", removed.removed));
    cx.out.answer(removed, |_| String::new())
}

fn show(cx: &Context<'_>, list: &NotificationList, empty: &str) -> Result<Done, Problem> {
    if list.notifications.is_empty() {
        cx.out.success(empty);
    }
    cx.out.answer(&list.notifications, |list| {
        list.iter().map(line).collect::<Vec<_>>().join("\n")
    })
}

/// One notification on one line: id, time, node, text.
fn line(item: &NotificationItem) -> String {
    let notification = &item.notification;
    let vault = |name: &str, id: &str| format!("vault {} ({id})", escape::name(name));
    let text = match &notification.data {
        NotificationData::General { message } => escape::sentence(message).into_owned(),
        NotificationData::VaultShare {
            vault_id,
            vault_name,
            role,
        } => format!(
            "shares {} as {role}; `polykey vaults clone` brings it here",
            vault(vault_name, vault_id)
        ),
        NotificationData::VaultUnshare { vault_id, vault_name } => {
            format!("no longer shares {}", vault(vault_name, vault_id))
        }
        NotificationData::VaultJoined {
            vault_id,
            vault_name,
            role,
        } => format!("joined {} as {role} with a ticket", vault(vault_name, vault_id)),
        NotificationData::KeepRequest { vault_id } => {
            format!("asks this node to keep ciphertext of vault {vault_id}; `polykey nodes add` allows it")
        }
        NotificationData::NodeSucceeded { former_node_id } => {
            format!("is the node {former_node_id} with new keys; its name and its rights went on to it")
        }
        NotificationData::GestaltInvite { expires, .. } => format!(
            "invites this node to say that both know each other; `polykey nodes claim` does it, until {}",
            time::show(*expires)
        ),
        NotificationData::MemberDevice {
            member_node_id,
            vault_id,
            vault_name,
            role: Some(role),
        } => format!(
            "is a device of {member_node_id} and was let into {} as {role}, like that one",
            vault(vault_name, vault_id)
        ),
        NotificationData::MemberDevice {
            member_node_id,
            vault_id,
            vault_name,
            role: None,
        } => format!(
            "is no device of {member_node_id} any more and was taken out of {}; see `polykey vaults rotation`",
            vault(vault_name, vault_id)
        ),
        NotificationData::DeviceJoined {} => {
            "is a device of yours now; `polykey devices remove` undoes it".to_owned()
        }
        NotificationData::DeviceGone { itself: true } => format!(
            "WARNING: says that it is no device of yours any more; if that is not you, run `polykey devices remove {}` here: \
             until then it keeps what it has",
            typed(&escape::name(&notification.iss))
        ),
        NotificationData::DeviceGone { itself: false } => {
            "was removed by another of your devices; if that is not you, see `polykey devices list`"
                .to_owned()
        }
        NotificationData::SigchainDoubt { forked: true } => {
            "says something else about itself than before: somebody else may have its key; ask its owner"
                .to_owned()
        }
        NotificationData::SigchainDoubt { forked: false } => {
            "hides a part of what it said about itself before; ask its owner".to_owned()
        }
        NotificationData::IdentityUnlinked { identity, reason } => format!(
            "WARNING: speaks for {} no longer ({}); what it may do stays until you take it away",
            escape::name(identity),
            escape::name(reason)
        ),
        NotificationData::IdentityLinked { identity } => format!(
            "WARNING: speaks for {} now, which was not so before; it gained nothing by it; compare `polykey identities words`",
            escape::name(identity)
        ),
        NotificationData::DeviceReach { came: true } => {
            "is a device of somebody you trust, who says so; it may do what they may".to_owned()
        }
        NotificationData::DeviceReach { came: false } => {
            "is no device of somebody you trust any more; it may do nothing by that".to_owned()
        }
        NotificationData::ShareProposal {
            vault_id,
            vault_name,
            whom,
        } => format!(
            "turned up beside {}; it is not in {}; `polykey vaults share {} {node}` lets it in, if it is theirs",
            escape::name(whom),
            vault(vault_name, vault_id),
            typed(&escape::name(vault_name)),
            node = typed(&escape::name(&notification.iss)),
        ),
        NotificationData::ShareLeft { threshold, count } => format!(
            "left one of {count} shares of its recovery code here; {threshold} give it back; `polykey recovery list` shows it"
        ),
        NotificationData::ShareTaken {} => {
            "split its recovery code anew: no share of it is held here any more".to_owned()
        }
        NotificationData::ShareGivenUp {} => {
            "gave up its share of your recovery code; `polykey recovery split` makes new ones".to_owned()
        }
        NotificationData::RecoveryAsked { owner, not_before } => format!(
            "ASKS for the share of {}, whose new node it says it is; call them, then `polykey recovery approve {}` or `refuse`; nothing is released before {}",
            escape::name(owner),
            typed(&escape::name(&notification.iss)),
            time::show(*not_before)
        ),
        NotificationData::RecoveryWarning {
            owner,
            asker,
            not_before,
        } => format!(
            "WARNING: {} asks it for a share of the recovery code of {}; if that is not you: `polykey recovery veto {}`, before {}",
            escape::name(asker),
            escape::name(owner),
            typed(&escape::name(asker)),
            time::show(*not_before)
        ),
        NotificationData::RecoveryVetoed { owner, asker, late } => format!(
            "WARNING: says that {} is not {}: it gets no share{}",
            escape::name(asker),
            escape::name(owner),
            if *late {
                "; but it HAS that share already"
            } else {
                ""
            }
        ),
    };
    // In the outbox what counts is who it is for.
    let node = if item.task_metadata.is_some() {
        &notification.sub
    } else {
        &notification.iss
    };
    let mut line = format!(
        "{}\t{}\t{node}\t{text}",
        notification.notification_id_encoded,
        time::show(notification.iat.saturating_mul(1000)),
    );
    if let Some(delivery) = &item.task_metadata {
        line.push_str(&format!("\t(next try {})", time::show(delivery.scheduled)));
    }
    line
}
