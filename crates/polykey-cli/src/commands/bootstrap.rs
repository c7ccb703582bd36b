//! `bootstrap`: a node without a running agent.

use clap::Args;
use polykey_api::Problem;
use polykey_api::start::{Bootstrapped, StartOrder};
use serde::Serialize;

use crate::commands::agent::NewNode;
use crate::context::Context;
use crate::output::Done;

/// What kind of node.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polykey bootstrap --recovery-code-out-file code.txt
  polykey bootstrap --password-file password.txt --json
  polykey bootstrap --recovery-code-file code.txt")]
pub struct Bootstrap {
    #[command(flatten)]
    new: NewNode,
}

/// The answer; without the code when that went into a file.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Made<'a> {
    node_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery_code: Option<&'a str>,
}

/// Makes the node.
///
/// # Errors
/// The problem to tell of.
pub fn run(cx: &Context<'_>, args: &Bootstrap) -> Result<Done, Problem> {
    let password = args.new.first_password(cx)?;
    let order: StartOrder = args.new.order(cx, &password)?;
    let code_file = args.new.code_file()?;
    let mut made = cx.local.bootstrap(&order)?;
    if let Some(file) = code_file {
        file.write(&std::mem::take(&mut made.recovery_code))?;
    }
    cx.out.success(&format!(
        "made node {} in {}",
        made.node_id,
        cx.node_path.display()
    ));
    let Bootstrapped {
        node_id,
        recovery_code,
    } = &made;
    let answer = Made {
        node_id,
        recovery_code: Some(recovery_code.as_str()).filter(|code| !code.is_empty()),
    };
    cx.out.answer(&answer, |made| {
        let line = |code| format!("recoveryCode\t{code}");
        made.recovery_code.map(line).unwrap_or_default()
    })
}
