//! Calls to an agent from inside this process, so that what is measured is not the start of a program.

use std::io;

use polykey_api::agent::{self, Status};
use polykey_api::endpoint::Nothing;
use polykey_api::nodes::{self, AddNode};
use polykey_api::secrets::{self, ReadOne, Write};
use polykey_api::{Code, Problem};
use polykey_client::{Auth, Client, rendezvous};
use tokio::runtime::{Builder, Runtime};

use crate::node::{Node, PASSWORD, Place};

/// Writers at once of [`fill`]; commits that wait for the disk together reach it together.
const WRITERS: u64 = 16;
/// Paths that [`fill`] writes to, in turn.
pub const PATHS: u64 = 100;

/// One connection to an agent.
pub struct Calls {
    runtime: Runtime,
    client: Client,
}

impl Calls {
    /// Connects to the agent of `node`.
    ///
    /// # Errors
    /// When it does not live.
    pub fn open(node: &Node) -> io::Result<Calls> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let client = runtime.block_on(connect(node))?;
        Ok(Calls { runtime, client })
    }

    /// Writes a secret; it is on the disk when this returns.
    ///
    /// # Errors
    /// What the agent says.
    pub fn write(&mut self, vault: &str, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.runtime
            .block_on(write(&mut self.client, vault, path.to_owned(), bytes.to_vec()))
            .map_err(io::Error::other)
    }

    /// Reads a secret; `None` when there is none.
    ///
    /// # Errors
    /// What else the agent says.
    pub fn read(&mut self, vault: &str, path: &str) -> io::Result<Option<Vec<u8>>> {
        let question = ReadOne {
            vault: vault.to_owned(),
            path: path.to_owned(),
            at: None,
            at_time: None,
        };
        let client = &mut self.client;
        let read = self.runtime.block_on(async {
            let mut answer = client.download(&secrets::READ, &question).await?;
            let mut bytes = Vec::new();
            while let Some(piece) = answer.piece().await? {
                bytes.extend_from_slice(&piece);
            }
            Ok::<_, Problem>(bytes)
        });
        match read {
            Ok(bytes) => Ok(Some(bytes)),
            Err(problem) if problem.code == Code::SecretNotFound => Ok(None),
            Err(problem) => Err(io::Error::other(problem)),
        }
    }

    /// Tells the agent where a node is.
    ///
    /// # Errors
    /// What the agent says.
    pub fn add_node(&mut self, place: &Place) -> io::Result<()> {
        let question = AddNode {
            node: place.id.clone(),
            host: place.host.clone(),
            port: place.port,
            force: false,
            no_ping: true,
        };
        self.runtime
            .block_on(self.client.call(&nodes::ADD, &question))
            .map(drop)
            .map_err(io::Error::other)
    }

    /// The state of the agent.
    ///
    /// # Errors
    /// What the agent says.
    pub fn status(&mut self) -> io::Result<Status> {
        self.runtime
            .block_on(self.client.call(&agent::STATUS, &Nothing {}))
            .map_err(io::Error::other)
    }
}

async fn connect(node: &Node) -> io::Result<Client> {
    let status = rendezvous::find(&node.node_path())?;
    let socket = status
        .socket
        .ok_or_else(|| io::Error::other("the agent does not live"))?;
    let mut client = Client::connect(socket.as_ref()).await?;
    client
        .authorize(Some(&Auth::Password(PASSWORD.into())))
        .map_err(io::Error::other)?;
    Ok(client)
}

async fn write(client: &mut Client, vault: &str, path: String, bytes: Vec<u8>) -> Result<(), Problem> {
    let question = Write {
        vault: vault.to_owned(),
        path,
        ..Write::default()
    };
    client
        .upload(&secrets::WRITE, &question, io::Cursor::new(bytes))
        .await
        .map(drop)
}

/// Makes `commits` commits in a vault, each of one small secret, over [`PATHS`] paths.
///
/// # Errors
/// What the agent says.
pub fn fill(node: &Node, vault: &str, commits: u64) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..WRITERS.min(commits) {
            let mut client = connect(node).await?;
            let vault = vault.to_owned();
            writers.spawn(async move {
                for number in (writer..commits).step_by(WRITERS as usize) {
                    let path = format!("secret-{}", number % PATHS);
                    write(&mut client, &vault, path, value(number).into_bytes()).await?;
                }
                Ok::<_, Problem>(())
            });
        }
        while let Some(done) = writers.join_next().await {
            done?.map_err(io::Error::other)?;
        }
        Ok(())
    })
}

/// A value of usual length that no other number has.
pub fn value(number: u64) -> String {
    format!("value {number:>40}")
}
