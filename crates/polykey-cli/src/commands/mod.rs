//! The commands, one file a group: arguments and what they do.
//!
//! To add one: its arguments (doc comments are the help) and a `run` in the group's file; a variant in
//! [`args::Command`](crate::args::Command) for a new group, with an arm in [`run`].

use crate::args::Command;
use crate::context::Context;
use crate::output::Done;
use polykey_api::{Code, Problem};

pub mod agent;
pub mod audit;
pub mod bootstrap;
pub mod completions;
pub mod config;
pub mod demo;
pub mod devices;
pub mod doctor;
pub mod exchange;
pub mod friends;
pub mod graph;
pub mod identities;
pub mod init;
pub mod keys;
pub mod links;
pub mod man;
pub mod nodes;
pub mod notifications;
pub mod qr;
pub mod recovery;
pub mod relay;
pub mod replicas;
pub mod secrets;
pub mod sharing;
pub mod stream;
pub mod vaults;

/// Does what the command line says.
///
/// # Errors
/// The problem to tell of.
pub fn run(cx: &Context<'_>, command: Command) -> Result<Done, Problem> {
    match command {
        // These may become an agent, which brings a runtime of its own.
        Command::Agent(agent::Command::Start(args)) => agent::start(cx, &args),
        Command::Bootstrap(args) => bootstrap::run(cx, &args),
        Command::Init => {
            let password = init::make(cx)?;
            wait(init::open_session(cx, &password))
        }
        Command::Agent(command) => wait(agent::run(cx, command)),
        Command::Doctor(args) => wait(doctor::run(cx, args)),
        Command::Demo => wait(demo::run()),
        Command::Audit(args) => wait(audit::run(cx, args)),
        Command::Config(command) => config::run(cx, command),
        Command::Completions(args) => completions::run(cx.out, &args),
        Command::Man(args) => man::run(cx.out, &args),
        Command::Identities(command) => wait(identities::run(cx, command)),
        Command::Join(args) => wait(sharing::join(cx, args)),
        Command::Keys(command) => wait(keys::run(cx, command)),
        Command::Devices(command) => wait(devices::run(cx, command)),
        Command::Nodes(command) => wait(nodes::run(cx, command)),
        Command::Recovery(command) => wait(recovery::run(cx, command)),
        Command::Relay(args) => relay::run(cx, *args),
        Command::Notifications(command) => wait(notifications::run(cx, command)),
        Command::Secrets(command) => wait(secrets::run(cx, *command)),
        Command::Vaults(command) => wait(vaults::run(cx, *command)),
    }
}

/// Runs one command on one thread: starting more would cost more than most commands.
fn wait(command: impl Future<Output = Result<Done, Problem>>) -> Result<Done, Problem> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Problem::new(Code::Internal, "the program cannot wait").caused_by(&error))?
        .block_on(command)
}
