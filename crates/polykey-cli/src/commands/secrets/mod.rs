//! `secrets`: reading, writing, moving, attributes, history.

use clap::{Args, Subcommand};
use polykey_api::secrets::{Batch, Target};
use polykey_api::{Code, Problem};

use crate::context::Context;
use crate::escape;
use crate::output::Done;
use crate::secret_arg::SecretArg;

mod change;
mod copy;
mod edit;
mod env;
mod fetch;
mod history;
mod list;
mod record;
mod tree;
mod write;

/// What to do with secrets.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a secret from a file; fails if there is one already
    Create(write::Create),
    /// Print secrets as they are; without arguments copy stdin to stdout
    Cat(fetch::Cat),
    /// Import a folder under its own name, in one commit
    Dir(copy::Dir),
    /// Edit a secret in your editor
    #[command(visible_alias = "ed")]
    Edit(edit::Edit),
    /// Run a command with secrets in its environment, or print them for a shell
    ///
    /// Example: polykey secrets env work:db work:api/token=API_TOKEN -- ./server
    Env(env::Env),
    /// List a vault or directory
    #[command(visible_alias = "list")]
    Ls(list::Ls),
    /// Make directories
    Mkdir(change::Mkdir),
    /// Remove secrets and directories
    #[command(visible_alias = "remove")]
    Rm(change::Rm),
    /// Give a secret or directory another name where it is
    Rename(change::Rename),
    /// Describe secrets and directories
    Stat(list::Stat),
    /// Write stdin into a secret
    ///
    /// Example: printf %s "$TOKEN" | polykey secrets write work:api/token
    Write(write::Write),
    /// Make empty secrets where there are none
    Touch(change::Touch),
    /// Copy secrets: inside a vault, to another one, from or to the disk
    ///
    /// An argument without a colon is a path on the disk.
    Cp(copy::Cp),
    /// Move secrets and directories, inside a vault or to another one
    Mv(change::Mv),
    /// Make a record, or change its fields
    ///
    /// Example: polykey secrets set web:github --text user=alice --field password
    Set(record::Set),
    /// Show the versions of a secret, newest first
    Log(history::Log),
    /// Bring a version of a secret back, by a new commit
    Restore(history::Restore),
    /// Find secrets by name, attribute or content
    Find(list::Find),
    /// Change or show the attributes of a secret
    ///
    /// Example: polykey secrets attr web:github expires=2027-01-01 tag=work
    Attr(change::Attr),
}

/// What several commands take: secrets, directories or patterns.
#[derive(Debug, Args)]
pub struct Targets {
    /// Secrets, as VAULT:PATH
    #[arg(value_name = "VAULT:PATH", required = true)]
    targets: Vec<SecretArg>,
}

impl Targets {
    /// As the agent wants them.
    pub fn to_wire(&self) -> Vec<Target> {
        self.targets.iter().map(to_target).collect()
    }
}

/// As the agent wants it.
pub fn to_target(arg: &SecretArg) -> Target {
    Target {
        vault: arg.vault.clone(),
        path: arg.path().to_owned(),
    }
}

/// Does it.
///
/// # Errors
/// The problem to tell of.
pub async fn run(cx: &Context<'_>, command: Command) -> Result<Done, Problem> {
    match command {
        Command::Create(args) => write::create(cx, args).await,
        Command::Cat(args) => fetch::cat(cx, args).await,
        Command::Dir(args) => copy::dir(cx, args).await,
        Command::Edit(args) => edit::edit(cx, args).await,
        Command::Env(args) => env::env(cx, args).await,
        Command::Ls(args) => list::ls(cx, args).await,
        Command::Mkdir(args) => change::mkdir(cx, args).await,
        Command::Rm(args) => change::rm(cx, args).await,
        Command::Rename(args) => change::rename(cx, args).await,
        Command::Stat(args) => list::stat(cx, args).await,
        Command::Write(args) => write::write(cx, args).await,
        Command::Touch(args) => change::touch(cx, args).await,
        Command::Cp(args) => copy::cp(cx, args).await,
        Command::Mv(args) => change::mv(cx, args).await,
        Command::Set(args) => record::set(cx, args).await,
        Command::Log(args) => history::log(cx, args).await,
        Command::Restore(args) => history::restore(cx, args).await,
        Command::Find(args) => list::find(cx, args).await,
        Command::Attr(args) => change::attr(cx, args).await,
    }
}

/// Tells of each failure, and of what was done; in JSON prints the whole. All failed: the first one's exit
/// code; some: 1.
fn tell_batch(cx: &Context<'_>, batch: Batch, verb: &str) -> Result<Done, Problem> {
    let done = ended(
        batch.done.is_empty(),
        batch.failed.iter().map(|failure| failure.error.exit),
    );
    match batch.done.as_slice() {
        [] => {}
        [one] => cx.out.success(&format!("{verb} {}", escape::sentence(one))),
        many => cx.out.success(&format!("{verb} {} secrets", many.len())),
    }
    if cx.out.is_json() {
        cx.out.answer(&batch, |_| String::new())?;
    }
    for failure in batch.failed {
        cx.out.problem(failure.error.into());
    }
    Ok(done)
}

/// How a command on several things ended, of which `failed` failed with these exit codes.
fn ended(nothing_done: bool, mut failed: impl Iterator<Item = u8>) -> Done {
    match failed.next() {
        None => Done::All,
        Some(exit) if nothing_done => Code::ALL
            .iter()
            .find(|code| code.exit() == exit)
            .map_or(Done::Partly, |code| Done::Except(*code)),
        Some(_) => Done::Partly,
    }
}
