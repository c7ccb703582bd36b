//! `identities invite` and `nodes claim`, `unclaim`, `claims`: links between nodes, in the sigchains of both.

use clap::Args;
use polykey_api::Problem;
use polykey_api::links::{self, ClaimItem, InviteNode, ReadClaims};
use polykey_api::nodes::OneNode;

use crate::commands::sharing::duration;
use crate::context::Context;
use crate::escape;
use crate::output::Done;
use crate::table::Table;
use crate::time;

/// Arguments of `invite`.
#[derive(Debug, Args)]
pub struct InviteArgs {
    /// Id or petname of the node
    #[arg(value_name = "NODE")]
    who: String,
    /// For how long (30m, 24h, 7d) [default: 24h]
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
}

/// Arguments of `claims`.
#[derive(Debug, Args)]
pub struct ClaimsArgs {
    /// Id or petname of the node [default: this node]
    #[arg(value_name = "NODE")]
    who: Option<String>,
}

/// Invites a node to a link.
///
/// # Errors
/// The problem to tell of, as everywhere below.
pub async fn invite(cx: &Context<'_>, args: InviteArgs) -> Result<Done, Problem> {
    let question = InviteNode {
        who: args.who,
        expires: args.expires.as_deref().map(duration).transpose()?,
    };
    let invited = cx.call(&links::INVITE, &question).await?;
    let who = escape::name(&question.who);
    let until = time::show(invited.expires);
    cx.out.success(&if invited.delivered {
        format!("Invited {who} (until {until}); there it takes `polykey nodes claim`")
    } else {
        format!("Invited {who} (until {until}); it cannot be reached now and is told later")
    });
    cx.out.answer(&invited, |_| String::new())
}

/// Makes the link to which a node invited this one.
///
/// # Errors
/// As above.
pub async fn claim(cx: &Context<'_>, who: String) -> Result<Done, Problem> {
    let question = OneNode { who };
    let linked = cx.call(&links::CLAIM, &question).await?;
    cx.out.success(&format!(
        "This node and {} say of each other that they belong together",
        escape::name(&question.who)
    ));
    cx.out.answer(&linked, |linked| linked.claim_id.clone())
}

/// Ends the links with a node.
///
/// # Errors
/// As above.
pub async fn unclaim(cx: &Context<'_>, who: String) -> Result<Done, Problem> {
    let question = OneNode { who };
    let unlinked = cx.call(&links::UNCLAIM, &question).await?;
    cx.out.success(&format!(
        "This node and {} do not belong together any more",
        escape::name(&question.who)
    ));
    cx.out.answer(&unlinked, |_| String::new())
}

/// Shows a sigchain.
///
/// # Errors
/// As above.
pub async fn claims(cx: &Context<'_>, args: ClaimsArgs) -> Result<Done, Problem> {
    let list = cx.call(&links::CLAIMS, &ReadClaims { who: args.who }).await?;
    cx.out.answer(&list.claims, |claims| {
        let mut table = Table::with_headings(&["NO", "CLAIM", "TIME", "ABOUT", "STATE"]);
        for claim in claims {
            table.row(&row(claim));
        }
        table.to_text()
    })
}

fn row(claim: &ClaimItem) -> [String; 5] {
    [
        claim.number.to_string(),
        claim.kind.clone(),
        time::show(claim.time),
        claim.about.clone().unwrap_or_default(),
        if claim.ended { "ended" } else { "" }.to_owned(),
    ]
}
