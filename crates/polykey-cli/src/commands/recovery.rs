//! `recovery`: bringing back a node whose devices are lost.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use polykey_api::recovery::{self, Resume};
use polykey_api::{Code, Problem};

use crate::commands::agent::{code_text, given_recovery_code};
use crate::context::Context;
use crate::escape;
use crate::output::Done;
use crate::password;

/// What to do when devices are lost.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  polykey recovery resume --recovery-code-file code.txt")]
pub enum Command {
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
