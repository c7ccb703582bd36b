//! One secret's past: `log` and `restore`.

use clap::Args;
use polykey_api::Problem;
use polykey_api::secrets;

use super::to_target;
use crate::commands::stream::print_array;
use crate::commands::vaults::{committed, log_line};
use crate::context::Context;
use crate::output::Done;
use crate::secret_arg::InVault;

/// Arguments of `log`.
#[derive(Debug, Args)]
pub struct Log {
    /// The secret, as VAULT:PATH
    #[arg(value_name = "VAULT:PATH")]
    secret: InVault,
    /// At most so many versions
    #[arg(long, short, value_name = "N")]
    depth: Option<u64>,
}

/// Arguments of `restore`.
#[derive(Debug, Args)]
pub struct Restore {
    /// The secret, as VAULT:PATH
    #[arg(value_name = "VAULT:PATH")]
    secret: InVault,
    /// Number of the version, its commit, or the beginning of that id
    version: String,
}

/// `log`.
///
/// # Errors
/// The problem to tell of.
pub async fn log(cx: &Context<'_>, args: Log) -> Result<Done, Problem> {
    let question = secrets::SecretLog {
        target: to_target(&args.secret.0),
        depth: args.depth,
    };
    print_array(cx, &secrets::LOG, &question, log_line).await
}

/// `restore`.
///
/// # Errors
/// The problem to tell of.
pub async fn restore(cx: &Context<'_>, args: Restore) -> Result<Done, Problem> {
    let secret = args.secret.0;
    let question = secrets::Restore {
        target: to_target(&secret),
        version: args.version,
    };
    let made = cx.call(&secrets::RESTORE, &question).await?;
    committed(
        cx,
        &made,
        &format!(
            "{} is as it was in version {}",
            secret.to_text(),
            question.version
        ),
    )
}
