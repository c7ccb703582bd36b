//! `nodes`: other nodes, their names, addresses and connections.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use polykey_api::nodes::{self, AddNode, BlockNode, ConnectionItem, NameNode, NodeItem, OneNode};
use polykey_api::{Nothing, Problem};
use serde::Serialize;

use crate::commands::links;
use crate::context::Context;
use crate::escape;
use crate::output::Done;
use crate::table::Table;

/// What to do with other nodes.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  polykey nodes add vrsc24a1er424epq77dtoveo93meij0pc8ig4uvs9jbeld78n9nl0 192.0.2.7 4433
  polykey nodes ping bob
  polykey nodes connections")]
pub enum Command {
    /// Keep the address of a node, and trust it
    #[command(after_help = "\
Examples:
  polykey nodes add vrsc24a1er424epq77dtoveo93meij0pc8ig4uvs9jbeld78n9nl0 192.0.2.7 4433
  polykey nodes add vrsc24a1er424epq77dtoveo93meij0pc8ig4uvs9jbeld78n9nl0 192.0.2.7 4433 --no-ping")]
    Add(Add),
    /// Find a node
    #[command(after_help = "\
Examples:
  polykey nodes find bob
  polykey nodes find bob --json")]
    Find(Who),
    /// Ask a node whether it is there; ends with 1 when it is not
    #[command(after_help = "\
Examples:
  polykey nodes ping bob")]
    Ping(Who),
    /// List all nodes that are known
    #[command(after_help = "\
Examples:
  polykey nodes getall --json")]
    Getall,
    /// Show the connections that are up
    #[command(after_help = "\
Examples:
  polykey nodes connections")]
    Connections,
    /// Give a node a name of your own
    #[command(after_help = "\
Examples:
  polykey nodes name vrsc24a1er424epq77dtoveo93meij0pc8ig4uvs9jbeld78n9nl0 bob
  polykey nodes name bob --remove")]
    Name(Name),
    /// Say with a node that invited this one that both know each other
    #[command(after_help = "\
Examples:
  polykey nodes claim bob")]
    Claim(Claim),
    /// End what this node and another said of each other
    #[command(after_help = "\
Examples:
  polykey nodes unclaim bob")]
    Unclaim(Who),
    /// Show what a node says of itself in its sigchain
    #[command(after_help = "\
Examples:
  polykey nodes claims
  polykey nodes claims bob --json")]
    Claims(links::ClaimsArgs),
    /// Refuse a node whatever it wants
    #[command(after_help = "\
Examples:
  polykey nodes block mallory")]
    Block(Who),
    /// Refuse a node no longer
    #[command(after_help = "\
Examples:
  polykey nodes unblock mallory")]
    Unblock(Who),
}

/// Names one node.
#[derive(Debug, Args)]
pub struct Who {
    /// Id or petname of the node
    #[arg(value_name = "NODE")]
    who: String,
}

/// Arguments of `claim`.
#[derive(Debug, Args)]
pub struct Claim {
    #[command(flatten)]
    node: Who,
    /// Does nothing: the original takes it, and does nothing either
    #[arg(long, hide = true)]
    force_invite: bool,
}

/// Arguments of `add`.
#[derive(Debug, Args)]
pub struct Add {
    /// Id of the node
    #[arg(value_name = "NODE")]
    node: String,
    /// Its IP address
    host: String,
    /// Its port
    port: u16,
    /// End well although the node does not answer
    #[arg(long)]
    force: bool,
    /// Do not ask the node whether it is there
    #[arg(long)]
    no_ping: bool,
}

/// Arguments of `name`.
#[derive(Debug, Args)]
pub struct Name {
    /// Id of the node, or its name so far
    #[arg(value_name = "NODE")]
    who: String,
    /// The name
    #[arg(required_unless_present = "remove", conflicts_with = "remove")]
    petname: Option<String>,
    /// Take the name away
    #[arg(long)]
    remove: bool,
}

/// Does it.
///
/// # Errors
/// The problem to tell of.
pub async fn run(cx: &Context<'_>, command: Command) -> Result<Done, Problem> {
    match command {
        Command::Add(args) => add(cx, args).await,
        Command::Find(args) => find(cx, args).await,
        Command::Ping(args) => ping(cx, args).await,
        Command::Getall => get_all(cx).await,
        Command::Connections => connections(cx).await,
        Command::Name(args) => name(cx, args).await,
        Command::Claim(args) => links::claim(cx, args.node.who).await,
        Command::Unclaim(args) => links::unclaim(cx, args.who).await,
        Command::Claims(args) => links::claims(cx, args).await,
        Command::Block(args) => block(cx, args, true).await,
        Command::Unblock(args) => block(cx, args, false).await,
    }
}

async fn add(cx: &Context<'_>, args: Add) -> Result<Done, Problem> {
    let question = AddNode {
        node: args.node,
        host: args.host,
        port: args.port,
        force: args.force,
        no_ping: args.no_ping,
    };
    let item = cx.call(&nodes::ADD, &question).await?;
    cx.out.success(&format!("Added node {}", title(&item)));
    cx.out.answer(&item, |_| String::new())
}

/// What `find` answers in JSON, under the names that scripts look for.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Found<'a> {
    node_contact_address_data: &'a [nodes::NodeAddress],
    #[serde(flatten)]
    item: &'a NodeItem,
}

async fn find(cx: &Context<'_>, args: Who) -> Result<Done, Problem> {
    let item = cx.call(&nodes::FIND, &OneNode { who: args.who }).await?;
    let found = Found {
        node_contact_address_data: &item.node_contact,
        item: &item,
    };
    cx.out.answer(&found, |found| {
        let item = found.item;
        let mut text = format!("nodeId\t{}\n", item.node_id_encoded);
        if let Some(petname) = &item.petname {
            let _ = writeln!(text, "name\t{}", escape::name(petname));
        }
        if let Some(address) = &item.node_address {
            let _ = writeln!(text, "address\t{}", escape::name(address));
        }
        let _ = writeln!(text, "connected\t{}", item.connected);
        text
    })
}

async fn ping(cx: &Context<'_>, args: Who) -> Result<Done, Problem> {
    let pinged = cx.call(&nodes::PING, &OneNode { who: args.who }).await?;
    match &pinged.reason {
        None => cx.out.success("Node is Active"),
        Some(reason) if !cx.out.is_json() => cx.out.line(reason),
        Some(_) => {}
    }
    cx.out.answer(&pinged, |_| String::new())?;
    Ok(if pinged.success { Done::All } else { Done::Partly })
}

async fn get_all(cx: &Context<'_>) -> Result<Done, Problem> {
    let list = cx.call(&nodes::GET_ALL, &Nothing {}).await?;
    cx.out.answer(&list.nodes, |nodes| {
        let mut text = String::new();
        for item in nodes {
            let address = item.node_address.as_deref().unwrap_or("-");
            let state = match (item.blocked, item.connected) {
                (true, _) => "blocked",
                (_, true) => "connected",
                _ => "",
            };
            let _ = writeln!(
                text,
                "{}\t{}\t{}\t{state}",
                item.node_id_encoded,
                item.petname.as_deref().map(escape::name).unwrap_or_default(),
                escape::name(address)
            );
        }
        text
    })
}

async fn connections(cx: &Context<'_>) -> Result<Done, Problem> {
    let list = cx.call(&nodes::CONNECTIONS, &Nothing {}).await?;
    cx.out.answer(&list.connections, |connections| {
        let mut table = Table::with_headings(&["NODE", "PATH", "ADDRESS", "LOOKUP", "ROUND TRIP", "AGE"]);
        for connection in connections {
            table.row(&connection_row(connection));
        }
        table.to_text()
    })
}

fn connection_row(item: &ConnectionItem) -> [String; 6] {
    let address = match (&item.host, item.port, &item.relay) {
        (Some(host), Some(port), _) => format!("{host} {port}"),
        (_, _, Some(relay)) => relay.clone(),
        _ => "-".to_owned(),
    };
    [
        item.petname
            .clone()
            .unwrap_or_else(|| item.node_id_encoded.clone()),
        item.path.clone(),
        address,
        item.lookup.clone().unwrap_or_default(),
        format!("{:.1} ms", item.round_trip as f64 / 1000.0),
        format!("{} s", item.age / 1000),
    ]
}

async fn name(cx: &Context<'_>, args: Name) -> Result<Done, Problem> {
    let question = NameNode {
        who: args.who,
        petname: args.petname,
    };
    let item = cx.call(&nodes::NAME, &question).await?;
    cx.out.success(&match &item.petname {
        Some(petname) => format!("Node {} is {} now", item.node_id_encoded, escape::name(petname)),
        None => format!("Node {} has no name now", item.node_id_encoded),
    });
    cx.out.answer(&item, |_| String::new())
}

async fn block(cx: &Context<'_>, args: Who, blocked: bool) -> Result<Done, Problem> {
    let item = cx
        .call(
            &nodes::BLOCK,
            &BlockNode {
                who: args.who,
                blocked,
            },
        )
        .await?;
    let what = if blocked {
        "is refused now"
    } else {
        "is refused no longer"
    };
    cx.out.success(&format!("Node {} {what}", title(&item)));
    cx.out.answer(&item, |_| String::new())
}

fn title(item: &NodeItem) -> String {
    escape::name(item.petname.as_deref().unwrap_or(&item.node_id_encoded)).into_owned()
}
