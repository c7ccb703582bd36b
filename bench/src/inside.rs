//! A durable write inside the agent, beside one bare SQLite commit of the same bytes.
//!
//! Calls the agent's own handler in this process, from the parsed request to the ready reply, in a throw-away node
//! below the folder that is its argument. Prints the medians of both in seconds and the median of their ratios.

use std::error::Error;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use axum::body::Body;
use polykey_agent::agent::Agent;
use polykey_agent::door::{Caller, Credentials, Origin, Peer};
use polykey_agent::handlers::{changes, vaults};
use polykey_agent::open;
use polykey_agent::paths::NodePaths;
use polykey_api::Problem;
use polykey_api::secrets::Write;
use polykey_api::start::StartOrder;
use polykey_api::vaults::CreateVault;
use polykey_bench::measure::{inside, pair};
use polykey_bench::yardstick::Sqlite;
use polykey_core::SecretBytes;
use polykey_core::random::OsRandom;
use tokio::sync::mpsc;

const VAULT: &str = "bench";
const ROUNDS: usize = 201;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    let folder = folder.ok_or("the folder is missing")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let bytes = [b'y'; 1024];
    let mut bare = Sqlite::create(&folder)?;
    let node_path = folder.join("inside");
    std::fs::create_dir(&node_path)?;
    let (agent, token) = agent(&node_path)?;
    let peer = Peer {
        uid: folder.metadata()?.uid(),
        pid: None,
    };
    let caller = || Caller {
        origin: Origin::Process(peer),
        credentials: Credentials::Token(SecretBytes::copy_from(token.expose())),
    };
    let vault = CreateVault {
        name: VAULT.to_owned(),
        at: None,
    };
    runtime.block_on(vaults::create(agent.clone(), caller(), vault))?;
    let mut number = 0;
    let write = |question: Write| {
        let call = changes::write(agent.clone(), caller(), question, Body::from(bytes.to_vec()));
        // On a worker, as the server has it.
        let written = runtime.block_on(async { tokio::spawn(call).await })?;
        written.map(drop).map_err(io::Error::other)
    };
    let both = pair(
        ROUNDS,
        || {
            number += 1;
            let question = Write {
                vault: VAULT.to_owned(),
                path: format!("write/{number}"),
                create: false,
                cas: None,
            };
            inside(|| write(question))
        },
        || inside(|| bare.commit(&bytes).map_err(io::Error::other)),
    )?;
    println!(
        "{} {} {}",
        both.ours.wall.as_secs_f64(),
        both.theirs.wall.as_secs_f64(),
        both.ratio
    );
    runtime.block_on(agent.lock_keys());
    Ok(())
}

/// The agent of a new node, without a socket, and the token of a session.
fn agent(node_path: &Path) -> Result<(Agent, SecretBytes), Problem> {
    let order = StartOrder {
        node_path: node_path.to_owned(),
        password: Some(data_encoding::BASE64.encode(b"benchmark")),
        ops_limit: Some("min".to_owned()),
        mem_limit: Some("min".to_owned()),
        ..StartOrder::default()
    };
    let paths = NodePaths::new(node_path.to_owned());
    let opened = open::open_or_create(&paths, &order, &OsRandom)?;
    let (events, _) = mpsc::unbounded_channel();
    let agent = Agent::new(
        paths,
        node_path.join("none.sock"),
        opened.node,
        polykey_agent::network::settings::Settings::default(),
        events,
    );
    let token = agent
        .sessions()
        .open(Some("benchmark".to_owned()), &OsRandom, Instant::now());
    Ok((agent, token))
}
