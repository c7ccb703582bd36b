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
#[command(after_help = "\
Examples:
  polykey secrets write work:db/PASSWORD < password.txt
  polykey secrets cat work:db/PASSWORD
  polykey secrets env work:db -- ./server")]
pub enum Command {
    /// Make a secret from a file; fails if there is one already
    #[command(after_help = "\
Examples:
  polykey secrets create server.pem work:certs/server.pem")]
    Create(write::Create),
    /// Print secrets as they are; without arguments copy stdin to stdout
    #[command(after_help = "\
Examples:
  polykey secrets cat work:db/PASSWORD
  polykey secrets cat work:web/github#password
  polykey secrets cat 'work:certs/*.pem' > all.pem
  polykey secrets cat work:db/PASSWORD --at 2026-01-31")]
    Cat(fetch::Cat),
    /// Import a folder under its own name, in one commit
    #[command(after_help = "\
Examples:
  polykey secrets dir certs work
  polykey secrets dir certs work:backup")]
    Dir(copy::Dir),
    /// Edit a secret in your editor
    #[command(after_help = "\
Examples:
  polykey secrets edit work:notes.txt")]
    #[command(visible_alias = "ed")]
    Edit(edit::Edit),
    /// Run a command with secrets in its environment, or print them for a shell
    #[command(after_help = "\
Examples:
  polykey secrets env work:db work:api/token=API_TOKEN -- ./server
  polykey secrets env --export work:db > db.sh
  polykey secrets env work --env-format dotenv > .env")]
    Env(env::Env),
    /// List a vault or directory
    #[command(after_help = "\
Examples:
  polykey secrets ls work
  polykey secrets ls -l work:db
  polykey secrets ls -aR work --json")]
    #[command(visible_alias = "list")]
    Ls(list::Ls),
    /// Make directories
    #[command(after_help = "\
Examples:
  polykey secrets mkdir -p work:db/replica")]
    Mkdir(change::Mkdir),
    /// Remove secrets and directories
    #[command(after_help = "\
Examples:
  polykey secrets rm work:db/OLD
  polykey secrets rm -r work:db
  polykey secrets rm 'work:tmp/*'")]
    #[command(visible_alias = "remove")]
    Rm(change::Rm),
    /// Give a secret or directory another name where it is
    #[command(after_help = "\
Examples:
  polykey secrets rename work:db/PASSWORD OLD_PASSWORD")]
    Rename(change::Rename),
    /// Describe secrets and directories
    #[command(after_help = "\
Examples:
  polykey secrets stat work:db/PASSWORD")]
    Stat(list::Stat),
    /// Write stdin into a secret
    #[command(after_help = "\
Examples:
  polykey secrets write work:db/PASSWORD < password.txt
  polykey secrets write work:db/PASSWORD --cas 3 < password.txt")]
    Write(write::Write),
    /// Make empty secrets where there are none
    #[command(after_help = "\
Examples:
  polykey secrets touch work:db/PASSWORD")]
    Touch(change::Touch),
    /// Copy secrets: inside a vault, to another one, from or to the disk
    ///
    /// An argument without a colon is a path on the disk.
    #[command(after_help = "\
Examples:
  polykey secrets cp work:db/PASSWORD spare:db/PASSWORD
  polykey secrets cp server.pem work:certs/server.pem
  polykey secrets cp -r work:certs ./certs")]
    Cp(copy::Cp),
    /// Move secrets and directories, inside a vault or to another one
    ///
    /// Inside a vault the history goes along. In another vault a new one begins: the commits are signed for the
    /// vault where they were made, and stay there.
    #[command(after_help = "\
Examples:
  polykey secrets mv work:db/PASSWORD work:db/OLD_PASSWORD
  polykey secrets mv work:a work:b spare:")]
    Mv(change::Mv),
    /// Make a record, or change its fields
    #[command(after_help = "\
Examples:
  polykey secrets set web:github --text user=alice --field password
  polykey secrets set web:github --file key=id_ed25519 --unset note")]
    Set(record::Set),
    /// Show the versions of a secret, newest first
    #[command(after_help = "\
Examples:
  polykey secrets log work:db/PASSWORD
  polykey secrets log work:db/PASSWORD --depth 3 --json")]
    Log(history::Log),
    /// Bring a version of a secret back, by a new commit
    #[command(after_help = "\
Examples:
  polykey secrets restore work:db/PASSWORD 1
  polykey secrets restore work:db/PASSWORD 4c1b90")]
    Restore(history::Restore),
    /// Find secrets by name, attribute or content
    #[command(after_help = "\
Examples:
  polykey secrets find github
  polykey secrets find --content postgres --vault work")]
    Find(list::Find),
    /// Change or show the attributes of a secret
    #[command(after_help = "\
Examples:
  polykey secrets attr web:github
  polykey secrets attr web:github expires=2027-01-31 tag=work
  polykey secrets attr web:github --unset tag")]
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
fn tell_batch(cx: &Context<'_>, batch: Batch, verb: &str, things: &str) -> Result<Done, Problem> {
    tell_batch_with(cx, batch, verb, things, "")
}

/// The same with more at the end of the sentence about success.
fn tell_batch_with(
    cx: &Context<'_>,
    batch: Batch,
    verb: &str,
    things: &str,
    more: &str,
) -> Result<Done, Problem> {
    let done = ended(
        batch.done.is_empty(),
        batch.failed.iter().map(|failure| failure.error.exit),
    );
    // A directory counts as one thing, whatever it holds.
    match batch.done.as_slice() {
        [] => {}
        [one] => cx.out.success(&format!("{verb} {}{more}", escape::sentence(one))),
        many => cx.out.success(&format!("{verb} {} {things}{more}", many.len())),
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
