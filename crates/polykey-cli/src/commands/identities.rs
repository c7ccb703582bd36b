//! `identities`: who somebody is, and what they may do.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use polykey_api::identities::{
    self, Allow, Claimed, Discover, DiscoveryEvent, GestaltItem, LoginStep, OfProviders, OneGestalt,
    OneIdentity, OneProvider, ProofItem, Search, Verify, Witness,
};
use polykey_api::{Nothing, Problem};

use crate::browser;
use crate::commands::graph::{self, GraphArgs};
use crate::commands::links;
use crate::context::{Autostart, Context};
use crate::escape;
use crate::output::Done;
use crate::table::Table;
use crate::time;

/// What to do with people.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  polykey identities get github.com:alice
  polykey identities trust alice
  polykey identities words alice")]
pub enum Command {
    /// Allow somebody one thing: notify, scan or claim
    #[command(after_help = "\
Examples:
  polykey identities allow alice scan")]
    Allow(AllowArgs),
    /// Log in at a provider: shows a code to type there, and opens the page if there is a browser
    #[command(after_help = "\
Examples:
  polykey identities authenticate github.com")]
    Authenticate(ProviderArgs),
    /// List the accounts at which this node is logged in
    #[command(after_help = "\
Examples:
  polykey identities authenticated
  polykey identities authenticated --provider-id github.com --json")]
    Authenticated(AuthenticatedArgs),
    /// Say that an identity is yours: in this node's name, and with a line to publish there
    #[command(after_help = "\
Examples:
  polykey identities claim example.org
  polykey identities claim https:example.org
  polykey identities claim github.com:alice")]
    Claim(IdentityArgs),
    /// Find out who belongs together with somebody
    #[command(after_help = "\
Examples:
  polykey identities discover github.com:alice
  polykey identities discover example.org --monitor")]
    Discover(DiscoverArgs),
    /// Take one thing away from somebody
    #[command(after_help = "\
Examples:
  polykey identities disallow alice scan")]
    Disallow(AllowArgs),
    /// Show which nodes and identities belong together with somebody
    #[command(after_help = "\
Examples:
  polykey identities get github.com:alice
  polykey identities get example.org --json")]
    Get(Who),
    /// Draw who belongs together with somebody
    #[command(after_help = "\
Examples:
  polykey identities graph github.com:alice
  polykey identities graph example.org --svg alice.svg")]
    Graph(GraphArgs),
    /// Invite a node to say with this one that both know each other
    #[command(after_help = "\
Examples:
  polykey identities invite bob
  polykey identities invite bob --expires 7d")]
    Invite(links::InviteArgs),
    /// List all gestalts that are known
    #[command(after_help = "\
Examples:
  polykey identities list")]
    List,
    /// Show what somebody may do
    #[command(after_help = "\
Examples:
  polykey identities permissions alice")]
    Permissions(Who),
    /// List the providers of identities, and where each is asked
    #[command(after_help = "\
Examples:
  polykey identities providers")]
    Providers,
    /// Show what is to be looked at, and when
    #[command(after_help = "\
Examples:
  polykey identities queue
  polykey identities queue --json")]
    Queue,
    /// Find somebody by a part of a name: among those who are known, and among the people whom your accounts follow or
    /// who follow them
    #[command(after_help = "\
Examples:
  polykey identities search alice
  polykey identities search alice --auth-identity-id work
  polykey identities search ali --provider-id github.com
  polykey identities search --identity-id alice --disconnected")]
    Search(SearchArgs),
    /// Trust somebody: the nodes meant may send messages
    #[command(after_help = "\
Examples:
  polykey identities trust github.com:alice
  polykey identities trust vrsc24a1er424epq77dtoveo93meij0pc8ig4uvs9jbeld78n9nl0")]
    Trust(Who),
    /// Take back the claim of an identity
    #[command(after_help = "\
Examples:
  polykey identities unclaim github.com:alice")]
    Unclaim(IdentityArgs),
    /// Trust somebody no longer: messages of the nodes meant lie among those of strangers
    #[command(after_help = "\
Examples:
  polykey identities untrust alice")]
    Untrust(Who),
    /// Look at each proof of somebody now, and show what changed and who else saw it; ends with 1 when one does not
    /// hold
    #[command(after_help = "\
Examples:
  polykey identities verify github.com:alice
  polykey identities verify alice --json")]
    Verify(VerifyArgs),
    /// Show words to compare in person: both sides see the same
    #[command(after_help = "\
Examples:
  polykey identities words alice")]
    Words(Who),
}

/// Names somebody.
#[derive(Debug, Args)]
pub struct Who {
    /// Node, petname, identity (provider:identity) or domain
    #[arg(value_name = "WHO")]
    who: String,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Node, petname, identity (provider:identity) or domain
    #[arg(value_name = "WHO")]
    who: String,
    /// Ask none of those whom you trust what they saw: they would learn whom you verify
    #[arg(long)]
    alone: bool,
}

/// Arguments of `allow` and `disallow`.
#[derive(Debug, Args)]
pub struct AllowArgs {
    /// Node, petname, identity (provider:identity) or domain
    #[arg(value_name = "WHO")]
    who: String,
    /// What it may do
    #[arg(value_parser = ["notify", "scan", "claim"])]
    permission: String,
}

/// Names an identity.
#[derive(Debug, Args)]
pub struct IdentityArgs {
    /// The identity (provider:identity), or a domain, which is proven by DNS
    #[arg(value_name = "IDENTITY")]
    identity: String,
}

/// Names a provider.
#[derive(Debug, Args)]
pub struct ProviderArgs {
    /// Host of the service, such as github.com
    #[arg(value_name = "PROVIDER")]
    provider: String,
}

/// Arguments of `authenticated`.
#[derive(Debug, Args)]
pub struct AuthenticatedArgs {
    /// Only accounts at this provider; may be given several times
    #[arg(long, value_name = "PROVIDER")]
    provider_id: Vec<String>,
}

/// Arguments of `discover`.
#[derive(Debug, Args)]
pub struct DiscoverArgs {
    /// Node, petname, identity (provider:identity) or domain
    #[arg(value_name = "WHO")]
    who: String,
    /// Show what happens, until all that was found was looked at
    #[arg(long)]
    monitor: bool,
}

/// Arguments of `search`.
#[derive(Debug, Args)]
pub struct SearchArgs {
    /// Parts of names; each must be found
    terms: Vec<String>,
    /// Only identities of this provider; may be given several times
    #[arg(long, value_name = "PROVIDER")]
    provider_id: Vec<String>,
    /// Ask each provider for the account of exactly this name; may be given several times
    #[arg(long, value_name = "ACCOUNT")]
    identity_id: Vec<String>,
    /// Use only the login of this account of yours, by its name or as provider:identity
    #[arg(long, value_name = "ACCOUNT")]
    auth_identity_id: Option<String>,
    /// Look for people whom nobody knows yet: needs `--identity-id`
    #[arg(long, short, requires = "identity_id")]
    disconnected: bool,
    /// At most so many
    #[arg(long, short)]
    limit: Option<u64>,
}

/// Does it.
///
/// # Errors
/// The problem to tell of.
pub async fn run(cx: &Context<'_>, command: Command) -> Result<Done, Problem> {
    match command {
        Command::Allow(args) => allow(cx, args, true).await,
        Command::Authenticate(args) => authenticate(cx, args).await,
        Command::Authenticated(args) => authenticated(cx, args).await,
        Command::Claim(args) => claim(cx, args).await,
        Command::Discover(args) => discover(cx, args).await,
        Command::Disallow(args) => allow(cx, args, false).await,
        Command::Get(args) => get(cx, args).await,
        Command::Graph(args) => graph::run(cx, args).await,
        Command::Invite(args) => links::invite(cx, args).await,
        Command::List => list(cx).await,
        Command::Permissions(args) => permissions(cx, args).await,
        Command::Providers => providers(cx).await,
        Command::Queue => queue(cx).await,
        Command::Search(args) => search(cx, args).await,
        Command::Trust(args) => trust(cx, args, true).await,
        Command::Unclaim(args) => unclaim(cx, args).await,
        Command::Untrust(args) => trust(cx, args, false).await,
        Command::Verify(args) => verify(cx, args).await,
        Command::Words(args) => words(cx, args).await,
    }
}

impl From<Who> for OneGestalt {
    fn from(args: Who) -> OneGestalt {
        OneGestalt { who: args.who }
    }
}

async fn allow(cx: &Context<'_>, args: AllowArgs, allows: bool) -> Result<Done, Problem> {
    let question = Allow {
        who: args.who,
        permission: args.permission,
    };
    let (call, what) = match allows {
        true => (&identities::ALLOW, "may"),
        false => (&identities::DISALLOW, "may no longer"),
    };
    let named = cx.call(call, &question).await?;
    let (who, permission) = (escape::name(&question.who), &question.permission);
    cx.out.success(&format!("{who} {what} {permission}"));
    cx.out.answer(&named, |_| String::new())
}

async fn trust(cx: &Context<'_>, args: Who, trusts: bool) -> Result<Done, Problem> {
    let question = OneGestalt::from(args);
    let call = match trusts {
        true => &identities::TRUST,
        false => &identities::UNTRUST,
    };
    let named = cx.call(call, &question).await?;
    let who = escape::name(&question.who);
    cx.out.success(&match trusts {
        true => format!("{who} is trusted: {}", named.nodes.join(", ")),
        false => format!("{who} is trusted no longer; it stays known"),
    });
    cx.out.answer(&named, |_| String::new())
}

async fn permissions(cx: &Context<'_>, args: Who) -> Result<Done, Problem> {
    let list = cx.call(&identities::PERMISSIONS, &args.into()).await?;
    cx.out.answer(&list, |list| list.actions_list.join(","))
}

async fn get(cx: &Context<'_>, args: Who) -> Result<Done, Problem> {
    let gestalt = cx.call(&identities::GET, &args.into()).await?;
    cx.out.answer(&gestalt, |gestalt| members(&gestalt.gestalt, ""))
}

/// One member a line: nodes with what the user calls them, then identities.
fn members(gestalt: &GestaltItem, indent: &str) -> String {
    let mut text = String::new();
    for node in gestalt.nodes.values() {
        let _ = write!(text, "{indent}{}", escape::name(&node.node_id_encoded));
        if let Some(petname) = &node.petname {
            let _ = write!(text, "\t{}", escape::name(petname));
        }
        for (holds, word) in [
            (node.this_node, "this node"),
            (node.retired, "retired"),
            (node.doubtful, "DOUBTFUL: its history was forked"),
        ] {
            if holds {
                let _ = write!(text, "\t{word}");
            }
        }
        text.push('\n');
    }
    for identity in gestalt.identities.keys() {
        let _ = writeln!(text, "{indent}{}", escape::name(identity));
    }
    text
}

async fn list(cx: &Context<'_>) -> Result<Done, Problem> {
    let list = cx.call(&identities::LIST, &Nothing {}).await?;
    cx.out.answer(&list.gestalts, |gestalts| {
        let blocks = gestalts.iter().zip(1..).map(|(gestalt, number)| {
            let permissions = match gestalt.actions_list.is_empty() {
                true => "none".to_owned(),
                false => gestalt.actions_list.join(","),
            };
            format!(
                "gestalt {number}\n  permissions {permissions}\n{}",
                members(gestalt, "  ")
            )
        });
        blocks.collect::<Vec<_>>().join("\n")
    })
}

async fn search(cx: &Context<'_>, args: SearchArgs) -> Result<Done, Problem> {
    let question = Search {
        terms: args.terms,
        providers: args.provider_id,
        identity_ids: args.identity_id,
        auth_identity_id: args.auth_identity_id,
        limit: args.limit,
    };
    let found = cx.call(&identities::SEARCH, &question).await?;
    for reason in &found.missing {
        cx.out.warn(&format!("somebody may be missing: {reason}"));
    }
    if found.matches.is_empty() {
        cx.out.success("Nobody of that name is known");
    }
    for item in &found.matches {
        cx.out.answer(item, |item| {
            let identity = format!("{}:{}", item.provider_id, item.identity_id);
            let nodes = item.nodes.iter().chain(&item.names);
            let mut text = nodes.fold(escape::name(&identity).into_owned(), |text, name| {
                format!("{text}\t{}", escape::name(name))
            });
            if let Some(account) = &item.connected_to {
                let _ = write!(text, "\tconnected with {}", escape::name(account));
            }
            text
        })?;
    }
    Ok(Done::All)
}

async fn words(cx: &Context<'_>, args: Who) -> Result<Done, Problem> {
    let list = cx.call(&identities::WORDS, &args.into()).await?;
    let several = list.nodes.len() > 1;
    let done = cx.out.answer(&list, |list| {
        list.nodes.iter().fold(String::new(), |mut text, item| {
            if several {
                let _ = writeln!(text, "{}", escape::name(&item.node_id_encoded));
            }
            let _ = writeln!(text, "{}", escape::name(&item.words.join(" ")));
            text
        })
    })?;
    cx.out.success(
        "Read these aloud to each other: they are the same on both sides, or somebody stands between you",
    );
    Ok(done)
}

async fn providers(cx: &Context<'_>) -> Result<Done, Problem> {
    let list = cx.call(&identities::PROVIDERS, &Nothing {}).await?;
    cx.out.answer(&list.providers, |providers| {
        let mut table = Table::with_headings(&["PROVIDER", "KIND", "ASKED", "WHERE THE LINE STANDS"]);
        for item in providers {
            let asked = match (item.reachable, item.configured) {
                (false, _) => "not on this network",
                (true, true) => "as configured",
                (true, false) => "yes",
            };
            table.row(&[&item.provider_id, &item.kind, asked, &item.place]);
        }
        table.to_text()
    })
}

async fn claim(cx: &Context<'_>, args: IdentityArgs) -> Result<Done, Problem> {
    let question = OneIdentity {
        identity: args.identity,
    };
    let claimed = cx.call(&identities::CLAIM, &question).await?;
    let identity = format!("{}:{}", claimed.provider_id, claimed.identity_id);
    let identity = escape::name(&identity);
    match &claimed.url {
        Some(url) => cx
            .out
            .success(&format!("Claimed {identity} and published the proof at {url}")),
        None => {
            cx.out.success(&format!(
                "Claimed {identity}. Publish this line as {}:",
                claimed.place
            ));
            if claimed.provider_id == "github.com" {
                cx.out.success(
                    "(after `polykey identities authenticate github.com` this command publishes it itself)",
                );
            }
        }
    }
    let done = cx
        .out
        .answer(&claimed, |claimed| to_publish(claimed).to_owned())?;
    if claimed.url.is_none() {
        let again = format!("{}:{}", claimed.provider_id, claimed.identity_id);
        cx.out.success(&format!(
            "Then look whether others see it: `polykey identities verify {again}`"
        ));
    }
    Ok(done)
}

/// What the user puts there.
fn to_publish(claimed: &Claimed) -> &str {
    match (&claimed.url, &claimed.record) {
        (Some(_), _) => "",
        (None, Some(record)) => record,
        (None, None) => &claimed.line,
    }
}

async fn unclaim(cx: &Context<'_>, args: IdentityArgs) -> Result<Done, Problem> {
    let question = OneIdentity {
        identity: args.identity,
    };
    let unclaimed = cx.call(&identities::UNCLAIM, &question).await?;
    cx.out.success(&format!(
        "This node does not claim {} any more. Take the line away that stands in {}",
        escape::name(&question.identity),
        escape::name(&unclaimed.place)
    ));
    cx.out.answer(&unclaimed, |_| String::new())
}

async fn authenticate(cx: &Context<'_>, args: ProviderArgs) -> Result<Done, Problem> {
    let question = OneProvider {
        provider: args.provider,
    };
    let mut link = cx.link(Autostart::Allowed).await?;
    let mut lines = link
        .ask(async |client| client.lines(&identities::AUTHENTICATE, &question).await)
        .await?;
    while let Some(step) = lines.next().await? {
        let step: LoginStep = step;
        if let Some(reply) = step.problem {
            return Err(reply.into());
        }
        cx.out.answer(&step, |step| {
            match (&step.url, &step.user_code, &step.identity_id) {
                (Some(url), Some(code), _) => format!(
                    "Open {} and type the code {}",
                    escape::name(url),
                    escape::name(code)
                ),
                (_, _, Some(identity)) => format!("Logged in as {}", escape::name(identity)),
                _ => String::new(),
            }
        })?;
        if let Some(url) = &step.url {
            browser::open(cx.out, url);
        }
    }
    Ok(Done::All)
}

async fn authenticated(cx: &Context<'_>, args: AuthenticatedArgs) -> Result<Done, Problem> {
    let question = OfProviders {
        providers: args.provider_id,
    };
    let list = cx.call(&identities::AUTHENTICATED, &question).await?;
    for account in &list.accounts {
        cx.out.answer(account, |account| {
            let text = format!("{}:{}", account.provider_id, account.identity_id);
            escape::name(&text).into_owned()
        })?;
    }
    Ok(Done::All)
}

async fn verify(cx: &Context<'_>, args: VerifyArgs) -> Result<Done, Problem> {
    let question = Verify {
        who: args.who,
        alone: args.alone,
    };
    let list = cx.call(&identities::VERIFY, &question).await?;
    if list.proofs.is_empty() {
        cx.out.success("No identity is known there");
    }
    cx.out.answer(&list.proofs, |proofs| {
        proofs.iter().map(proof).collect::<Vec<_>>().join("\n")
    })?;
    for item in &list.proofs {
        let words = item
            .witnesses
            .iter()
            .filter(|witness| witness.word == "contradicts");
        for witness in words {
            cx.out.warn(&format!(
                "{} saw something else at {}:{}; ask them before you rely on it",
                called(witness),
                escape::name(&item.provider_id),
                escape::name(&item.identity_id)
            ));
        }
    }
    match list.proofs.iter().all(|proof| proof.state == "verified") {
        true => Ok(Done::All),
        false => Ok(Done::Partly),
    }
}

/// One proof in some lines.
fn proof(item: &ProofItem) -> String {
    let identity = format!("{}:{}", item.provider_id, item.identity_id);
    let mut text = format!("{}\t{}", escape::name(&identity), escape::name(&item.state));
    if item.changed {
        text.push_str("\tCHANGED");
    }
    text.push('\n');
    if let Some(node) = &item.node_id_encoded {
        let _ = writeln!(text, "  node\t{}", escape::name(node));
    }
    for (what, when) in [("since", item.since), ("last seen", item.checked)] {
        if let Some(when) = when {
            let _ = writeln!(text, "  {what}\t{}", time::show(when));
        }
    }
    if let Some(reason) = &item.reason {
        let _ = writeln!(text, "  reason\t{}", escape::sentence(reason));
    }
    for former in &item.former {
        let _ = writeln!(
            text,
            "  before\t{}\t{} to {}\t{}",
            escape::name(&former.node_id_encoded),
            time::show(former.since),
            time::show(former.ended),
            escape::name(&former.reason)
        );
    }
    for witness in &item.witnesses {
        let _ = writeln!(text, "{}", word(witness));
    }
    text
}

/// What the user calls a witness.
fn called(witness: &Witness) -> std::borrow::Cow<'_, str> {
    escape::name(witness.petname.as_ref().unwrap_or(&witness.node_id_encoded))
}

/// The word of a witness in one line, and what it saw where that is something else.
fn word(witness: &Witness) -> String {
    let whose = match witness.own_device {
        true => " (own device)",
        false => "",
    };
    let saw = &witness.saw;
    let until = match (saw.ended, &saw.reason) {
        (Some(ended), Some(reason)) => {
            format!("it ended {}: {}", time::show(ended), escape::name(reason))
        }
        _ => format!("last seen {}", time::show(saw.checked)),
    };
    let (word, what) = match &*witness.word {
        "agrees" => ("agrees", None),
        "contradicts" => ("CONTRADICTS", Some(saw)),
        _ => ("alone saw it", Some(saw)),
    };
    let what = what.map(|saw| {
        let (node, claim) = (escape::name(&saw.node_id_encoded), escape::name(&saw.claim_id));
        format!("\n  \t\tit saw node {node} with claim {claim}")
    });
    format!(
        "  witness\t{}{whose}\t{word}\tsince {}, {until}{}",
        called(witness),
        time::show(saw.since),
        what.unwrap_or_default()
    )
}

async fn discover(cx: &Context<'_>, args: DiscoverArgs) -> Result<Done, Problem> {
    let question = Discover {
        who: args.who,
        monitor: args.monitor,
    };
    let mut link = cx.link(Autostart::Allowed).await?;
    let mut lines = link
        .ask(async |client| client.lines(&identities::DISCOVER, &question).await)
        .await?;
    while let Some(event) = lines.next().await? {
        let event: DiscoveryEvent = event;
        cx.out.answer(&event, |event| {
            let mut text = format!("{}\t{}", escape::name(&event.event), escape::name(&event.vertex));
            if let Some(due) = event.due {
                let _ = write!(text, "\t(again {})", time::show(due));
            }
            text
        })?;
    }
    if !question.monitor {
        cx.out
            .success("It is looked at in the background; see `polykey identities queue`");
    }
    Ok(Done::All)
}

async fn queue(cx: &Context<'_>) -> Result<Done, Problem> {
    let list = cx.call(&identities::QUEUE, &Nothing {}).await?;
    if list.tasks.is_empty() {
        cx.out.success("Nothing is to be looked at");
    }
    cx.out.answer(&list.tasks, |tasks| {
        let mut table =
            Table::with_headings(&["WHAT", "STATUS", "WHEN", "LAST SEEN", "FAILURES", "LINKS AWAY"]);
        for task in tasks {
            table.row(&[
                task.id.clone(),
                task.status.clone(),
                time::show(task.scheduled),
                task.last_good.map_or("never".to_owned(), time::show),
                task.failures.to_string(),
                task.hops.to_string(),
            ]);
        }
        table.to_text()
    })
}
