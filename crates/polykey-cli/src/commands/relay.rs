//! `relay`: a relay of one's own, in the foreground.

use std::path::PathBuf;

use clap::Args;
use polykey_api::relay::{RelayOrder, RelayStarted};
use polykey_api::{Code, Problem};

use crate::context::Context;
use crate::output::Done;

/// How the relay runs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polykey relay --listen relay.example.org:443 --cert chain.pem --key key.pem
  polykey relay --listen 0.0.0.0:3340 --plain
  polykey relay --listen 127.0.0.1:0 --plain --json
  polykey agent start --background --network https://relay.example.org

A relay carries packets between nodes that cannot reach each other directly. It sees which nodes
speak, when and how much, and nothing of what they say. It needs no node and keeps no files.")]
pub struct Relay {
    /// Where to listen
    #[arg(long, value_name = "HOST:PORT")]
    listen: String,
    /// File with the certificate of the host and those that vouch for it (PEM)
    #[arg(long, value_name = "FILE", requires = "key", conflicts_with = "plain")]
    cert: Option<PathBuf>,
    /// File with the private key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Serve plain HTTP; between nodes everything stays encrypted, but who speaks with whom is open to the network
    #[arg(long)]
    plain: bool,
    /// UDP port on which nodes learn how they look from outside; 0 turns it off
    #[arg(long, value_name = "PORT", default_value_t = 7842, conflicts_with = "plain")]
    discovery_port: u16,
    /// Serve only this node; repeat for more
    #[arg(long, value_name = "NODE")]
    allow: Vec<String>,
}

/// Runs the relay until a signal ends it.
///
/// # Errors
/// The problem to tell of.
pub fn run(cx: &Context<'_>, args: Relay) -> Result<Done, Problem> {
    let certificate = args.cert.zip(args.key);
    if certificate.is_none() && !args.plain {
        return Err(Problem::new(Code::Usage, "a relay needs a certificate")
            .hint("give `--cert` and `--key`, or `--plain` for a relay without TLS"));
    }
    let order = RelayOrder {
        listen: args.listen,
        discovery_port: (certificate.is_some() && args.discovery_port != 0).then_some(args.discovery_port),
        certificate,
        allow: args.allow,
        verbose: cx.global.verbose,
    };
    let mut printed = Ok(Done::All);
    cx.local.relay(&order, &mut |started| {
        printed = cx.out.answer(started, |started: &RelayStarted| {
            let mut text = format!("url\t{}\n", crate::escape::name(&started.url));
            if let Some(port) = started.discovery_port {
                text.push_str(&format!("discoveryPort\t{port}\n"));
            }
            text
        });
    })?;
    cx.out.line("Stopping relay");
    printed
}
