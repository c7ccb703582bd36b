//! `keys`: the node's keys.

use clap::Subcommand;
use polykey_api::keys::{self, PublicJwk};
use polykey_api::{Nothing, Problem};

use crate::context::Context;
use crate::output::Done;

/// What to do with the keys.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the public root key as a JWK
    Public,
}

/// Does it.
///
/// # Errors
/// The problem to tell of.
pub async fn run(cx: &Context<'_>, command: Command) -> Result<Done, Problem> {
    match command {
        Command::Public => {
            let key = cx.call(&keys::PUBLIC, &Nothing {}).await?;
            cx.out.answer(&key, public_text)
        }
    }
}

fn public_text(key: &PublicJwk) -> String {
    format!(
        "alg\t{}\nkty\t{}\ncrv\t{}\nx\t{}\next\t{}\nkey_ops\t{}",
        key.alg,
        key.kty,
        key.crv,
        key.x,
        key.ext,
        key.key_ops.join(", ")
    )
}
