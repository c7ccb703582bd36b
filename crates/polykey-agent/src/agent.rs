//! The agent: what all requests share.

use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::Instant;

use polykey_api::agent::{State, Status};
use polykey_core::random::OsRandom;
use polykey_core::{Clock, NodeId, Random, Timestamp, clock::SystemClock};
use tokio::sync::mpsc;

use crate::backoff::Backoff;
use crate::door::{Action, Caller};
use crate::node::Node;
use crate::paths::NodePaths;
use crate::sessions::Sessions;

/// All that can wake the agent's main loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Somebody with the right to it asked for the end.
    Stop,
    /// The system asked for the end.
    Signal(&'static str),
}

/// A running agent. Cheap to clone; all clones are one agent.
#[derive(Clone)]
pub struct Agent(Arc<Shared>);

struct Shared {
    paths: NodePaths,
    socket: PathBuf,
    node_id: NodeId,
    node: RwLock<Option<Arc<Node>>>,
    sessions: Sessions,
    backoff: Backoff,
    events: mpsc::UnboundedSender<Event>,
    started: (Timestamp, Instant),
}

impl Agent {
    /// An agent for an open node.
    pub fn new(paths: NodePaths, socket: PathBuf, node: Node, events: mpsc::UnboundedSender<Event>) -> Self {
        Agent(Arc::new(Shared {
            paths,
            socket,
            node_id: node.id(),
            node: RwLock::new(Some(Arc::new(node))),
            sessions: Sessions::default(),
            backoff: Backoff::default(),
            events,
            started: (SystemClock.now(), Instant::now()),
        }))
    }

    /// The node, unless it is locked. Only the door asks: everything else gets it from a pass.
    pub(crate) fn node(&self) -> Option<Arc<Node>> {
        self.slot_read().clone()
    }

    /// Takes the node out, so that the keys go when the last request that uses them ends.
    pub(crate) fn take_node(&self) -> Option<Arc<Node>> {
        self.0
            .node
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take()
    }

    /// Puts an opened node back.
    pub(crate) fn put_node(&self, node: Node) {
        *self
            .0
            .node
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Arc::new(node));
    }

    fn slot_read(&self) -> std::sync::RwLockReadGuard<'_, Option<Arc<Node>>> {
        self.0
            .node
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Where things lie.
    pub fn paths(&self) -> &NodePaths {
        &self.0.paths
    }

    /// The open sessions.
    pub fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    /// The turn-stile before password checks.
    pub fn backoff(&self) -> &Backoff {
        &self.0.backoff
    }

    /// The source of chance.
    pub fn random(&self) -> &'static dyn Random {
        &OsRandom
    }

    /// Wakes the main loop.
    pub fn send(&self, event: Event) {
        // The loop is gone only when the agent is going anyway.
        let _ = self.0.events.send(event);
    }

    /// Leaves an audit record: `session` is there when the door let the caller pass.
    pub fn record(&self, caller: &Caller, action: &Action, session: Option<&str>) {
        tracing::debug!(
            event = action.event,
            pid = caller.peer.pid,
            allowed = session.is_some(),
            "request"
        );
    }

    /// What `agent status` shows.
    pub fn status(&self) -> Status {
        Status {
            status: State::Live,
            pid: Some(std::process::id()),
            node_id: Some(self.0.node_id.to_string()),
            socket: Some(self.0.socket.to_string_lossy().into_owned()),
            locked: Some(self.slot_read().is_none()),
            agent_host: None,
            agent_port: None,
            up_time: Some(u64::try_from(self.0.started.1.elapsed().as_millis()).unwrap_or(u64::MAX)),
            start_time: Some(self.0.started.0.as_millis()),
            connections_active: Some(0),
            nodes_total: Some(1),
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            source_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            state_version: Some(polykey_core::statement::FORMAT_VERSION),
            network_version: Some(1),
        }
    }
}
