//! `recovery`: bringing back a node whose devices are lost.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use polykey_api::recovery::{self, Resume};
use polykey_api::{Code, Problem};

use crate::commands::agent::{code_text, given_recovery_code};
use crate::commands::friends;
use crate::context::Context;
use crate::escape;
use crate::output::Done;
use crate::password;

/// What to do when devices are lost, and before that.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  polykey recovery split --threshold 2 --to alice bob carol
  polykey recovery drill
  polykey recovery resume --recovery-code-file code.txt")]
pub enum Command {
    /// Split the recovery code among friends: so many of them together give it back
    #[command(after_help = "\
Each friend gets one share, sealed to its node; fewer shares than the threshold say nothing about the code. \
A new split replaces the former one.

Examples:
  polykey recovery split --threshold 2 --to alice bob carol
  polykey recovery split --threshold 3 --to alice --to bob --to carol --to dora --wait 3d")]
    Split(friends::SplitArgs),
    /// Show who holds shares for whom, and who asks for them
    #[command(after_help = "\
Examples:
  polykey recovery list
  polykey recovery list --json")]
    List,
    /// Let every friend prove that the share is still there, without giving it away
    #[command(after_help = "\
Examples:
  polykey recovery drill")]
    Drill,
    /// Give up the share that is held for a friend, and tell that friend
    #[command(after_help = "\
Examples:
  polykey recovery drop alice")]
    Drop(friends::DropArgs),
    /// On a new node: ask friends of a lost node for their shares
    #[command(after_help = "\
The friends compare words with you, by voice or in person: `polykey identities words FRIEND`.

Examples:
  polykey nodes add $ALICE alice.example.org 41000
  polykey recovery request $LOST --from $ALICE $BOB")]
    Request(friends::RequestArgs),
    /// As a friend: let the share be released to the node that asks
    #[command(after_help = "\
Call the owner by voice or meet them first, and compare the words. \
The waiting time that the owner chose runs from when the request came.

Examples:
  polykey recovery approve alice
  polykey recovery approve $ASKER --yes")]
    Approve(friends::DecideArgs),
    /// As a friend: refuse a request
    #[command(after_help = "\
Examples:
  polykey recovery refuse $ASKER")]
    Refuse(friends::DecideArgs),
    /// As the owner, on any of your devices: tell the friends that a request is not yours
    #[command(after_help = "\
Examples:
  polykey recovery veto
  polykey recovery veto $ASKER")]
    Veto(friends::VetoArgs),
    /// On the new node: fetch the shares that were released, and put the recovery code together
    #[command(after_help = "\
Examples:
  polykey recovery restore $LOST --recovery-code-out-file code.txt")]
    Restore(friends::RestoreArgs),
    /// Make this node, made from its recovery code on an empty disk, what it was, and bring its vaults back
    #[command(after_help = "\
Examples:
  polykey recovery resume --recovery-code-file code.txt
  polykey recovery resume bob --recovery-code-file code.txt
  polykey recovery resume --new")]
    Resume(ResumeArgs),
}

/// Arguments of `resume`.
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// Nodes that know this one: their ids or petnames [default: all that were added]
    #[arg(value_name = "NODE", conflicts_with = "new")]
    who: Vec<String>,
    /// Read the recovery code from this file (`-` for stdin)
    #[arg(long, value_name = "FILE", conflicts_with = "new")]
    recovery_code_file: Option<PathBuf>,
    /// This node was nobody before: begin anew
    #[arg(long)]
    new: bool,
}

/// Does it.
///
/// # Errors
/// The problem to tell of.
pub async fn run(cx: &Context<'_>, command: Command) -> Result<Done, Problem> {
    match command {
        Command::Split(args) => friends::split(cx, args).await,
        Command::List => friends::list(cx).await,
        Command::Drill => friends::drill(cx).await,
        Command::Drop(args) => friends::drop_share(cx, args).await,
        Command::Request(args) => friends::request(cx, args).await,
        Command::Approve(args) => friends::approve(cx, args).await,
        Command::Refuse(args) => friends::refuse(cx, args).await,
        Command::Veto(args) => friends::veto(cx, args).await,
        Command::Restore(args) => friends::restore(cx, args).await,
        Command::Resume(args) => resume(cx, args).await,
    }
}

async fn resume(cx: &Context<'_>, args: ResumeArgs) -> Result<Done, Problem> {
    let code = match (&args.recovery_code_file, args.new) {
        (_, true) => None,
        (file, _) => Some(match given_recovery_code(file.as_deref())? {
            Some(code) => code,
            None => {
                let missing = Problem::new(Code::Usage, "the recovery code is needed")
                    .hint("give it with `--recovery-code-file`");
                let code = password::ask_or(missing, "Recovery code of this node: ")?;
                code_text(&code)?
            }
        }),
    };
    let question = Resume {
        recovery_code: code,
        who: args.who,
        new: args.new,
    };
    let resumed = cx.call(&recovery::RESUME, &question).await?;
    if question.new {
        cx.out.success("This node begins anew");
        return cx.out.answer(&resumed, |_| String::new());
    }
    let count = resumed.vaults.len();
    cx.out.success(&format!(
        "This node is what it was; {count} vault{} came back",
        if count == 1 { "" } else { "s" }
    ));
    if !resumed.waiting.is_empty() {
        let names: Vec<_> = resumed.waiting.iter().map(|name| escape::name(name)).collect();
        cx.out.success(&format!("Not here yet: {}", names.join(", ")));
    }
    cx.out.answer(&resumed, |resumed| {
        let names: Vec<_> = resumed.vaults.iter().map(|name| escape::name(name)).collect();
        names.join("\n")
    })
}
