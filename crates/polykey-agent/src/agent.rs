//! The agent: what all requests share.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use polykey_api::agent::{State, Status};
use polykey_api::{Code, Problem};
use polykey_core::password::Password;
use polykey_core::random::OsRandom;
use polykey_core::recovery::RecoveryKeys;
use polykey_core::{Clock, NodeId, Random, SecretBytes, Timestamp, clock::SystemClock};
use tokio::sync::{mpsc, watch};

use crate::audit::Entry;
use crate::backoff::{Backoff, Turn};
use crate::blocking::blocking;
use crate::door::{Action, Caller, Origin, wrong_password};
use crate::network::Network;
use crate::network::settings::Settings;
use crate::node::Node;
use crate::open;
use crate::paths::NodePaths;
use crate::peer::Manners;
use crate::pending::Pending;
use crate::providers::Elsewhere;
use crate::replicas::allowance::DEFAULT_QUOTA;
use crate::sessions::Sessions;
use crate::stacks;

/// Requests that run when the keys go get this long to end.
const LET_GO: Duration = Duration::from_millis(500);

/// All that can wake the agent's main loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Somebody with the right to it asked for the end.
    Stop,
    /// The node has another id.
    Renewed,
    /// The system asked for the end.
    Signal(&'static str),
}

/// A running agent. Cheap to clone; all clones are one agent.
#[derive(Clone)]
pub struct Agent(Arc<Shared>);

struct Shared {
    paths: NodePaths,
    socket: PathBuf,
    node_id: Mutex<NodeId>,
    node: RwLock<Option<Arc<Node>>>,
    /// Held while keys come or go.
    transition: tokio::sync::Mutex<()>,
    /// Audit records from while the keys were locked.
    pending: Mutex<Pending>,
    sessions: Sessions,
    backoff: Backoff,
    /// So many audit records are kept.
    audit_keep: AtomicU64,
    /// So many bytes are kept for others.
    keeper_quota: AtomicU64,
    manners: Manners,
    elsewhere: Elsewhere,
    network: Network,
    events: mpsc::UnboundedSender<Event>,
    cut: watch::Sender<()>,
    started: (Timestamp, Instant),
}

/// Waits until nobody else holds the node, for at most [`LET_GO`].
async fn let_go(node: &Arc<Node>) {
    let begin = Instant::now();
    while Arc::strong_count(node) > 1 && begin.elapsed() < LET_GO {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

impl Agent {
    /// An agent for an open node.
    pub fn new(
        paths: NodePaths,
        socket: PathBuf,
        node: Node,
        network: Settings,
        events: mpsc::UnboundedSender<Event>,
    ) -> Self {
        let manners = Manners::default();
        Agent(Arc::new(Shared {
            paths,
            socket,
            node_id: Mutex::new(node.id()),
            node: RwLock::new(Some(Arc::new(node))),
            transition: tokio::sync::Mutex::default(),
            pending: Mutex::default(),
            sessions: Sessions::default(),
            backoff: Backoff::default(),
            audit_keep: AtomicU64::new(0),
            keeper_quota: AtomicU64::new(DEFAULT_QUOTA),
            elsewhere: Elsewhere::new(network.identities.clone(), network.mode.clone()),
            network: Network::new(network, manners.budget.clone()),
            manners,
            events,
            cut: watch::Sender::new(()),
            started: (SystemClock.now(), Instant::now()),
        }))
    }

    /// Keeps about `records` audit records, also after the next unlock; 0 keeps all.
    pub fn keep_audit(&self, records: u64) {
        self.0.audit_keep.store(records, Ordering::Relaxed);
        if let Some(node) = self.node() {
            node.audit.keep(records);
        }
    }

    /// Keeps at most `bytes` for others in all, also after the next unlock.
    pub fn set_keeper_quota(&self, bytes: u64) {
        self.0.keeper_quota.store(bytes, Ordering::Relaxed);
        if let Some(node) = self.node() {
            node.allowance.set_quota(bytes);
        }
    }

    /// The node, unless it is locked. Only the door asks: everything else gets it from a pass.
    pub(crate) fn node(&self) -> Option<Arc<Node>> {
        self.slot_read().clone()
    }

    /// Ends all sessions and drops the node: requests that still run get [`LET_GO`] to end. To be run as
    /// [`Agent::unlock_keys`].
    pub async fn lock_keys(&self) {
        let _turn = self.0.transition.lock().await;
        self.sessions().forget_all();
        self.network().stop().await;
        self.settle_strangers();
        let taken = self.slot().take();
        let Some(node) = taken else { return };
        let_go(&node).await;
        // No caller is waited for any more: those that hang may hold every thread for blocking work, which closing
        // needs as well.
        node.closing.send_replace(true);
        // Closing waits for the disk. Whoever still holds the node then meets closed databases.
        let held = node.clone();
        let closed = tokio::task::spawn_blocking(move || held.close()).await;
        if let Ok(Err(problem)) = closed {
            tracing::error!("{problem}");
        }
        let_go(&node).await;
        self.0.cut.send_replace(());
        let _ = tokio::task::spawn_blocking(move || drop(node)).await;
        stacks::overwrite_all().await;
    }

    /// Tells connections that what they hold goes with the keys.
    pub fn cut(&self) -> watch::Receiver<()> {
        self.0.cut.subscribe()
    }

    /// Opens the node with `password`, unless it is open already. Guesses wait in line for their `turn`, and so
    /// do the other ways to lock and unlock. To be run [`to_the_end`](crate::blocking::to_the_end).
    ///
    /// # Errors
    /// [`Code::WrongPassword`], and what the disk says.
    pub async fn unlock_keys(&self, turn: Turn, password: &SecretBytes) -> Result<(), Problem> {
        let _transition = self.0.transition.lock().await;
        let opened = match self.node() {
            Some(node) if node.is_password(password) => Ok(None),
            Some(_) => Err(wrong_password()),
            None => {
                let paths = self.paths().clone();
                let password = SecretBytes::copy_from(password.expose());
                blocking(move || {
                    let password = Password::parse(password.expose()).map_err(|_| wrong_password())?;
                    let opened = open::open(&paths, &password, &OsRandom).map(Some);
                    opened.map_err(|problem| gone_below_us(&paths, problem))
                })
                .await
            }
        };
        match opened {
            Ok(node) => {
                turn.right();
                if let Some(node) = node {
                    self.take_in(node).await;
                }
                Ok(())
            }
            Err(problem) => {
                if problem.code == Code::WrongPassword {
                    turn.wrong();
                }
                Err(problem)
            }
        }
    }

    /// Uses a node that was opened, and goes on the network with it.
    async fn take_in(&self, node: Node) {
        self.note_node_id(node.id());
        node.audit.keep(self.0.audit_keep.load(Ordering::Relaxed));
        node.allowance
            .set_quota(self.0.keeper_quota.load(Ordering::Relaxed));
        for entry in self.pending().take() {
            node.audit.append(&entry);
        }
        *self.slot() = Some(Arc::new(node));
        // What went wrong stands in the status; the vaults are open all the same.
        let _ = self.network().start(self).await;
    }

    /// Closes `node`, the present one, and opens it again with the keys of its recovery code. To be run as
    /// [`Agent::unlock_keys`]; all sessions end.
    ///
    /// # Errors
    /// What the disk says. The agent is locked then.
    pub async fn reopen_with(&self, node: Arc<Node>, keys: RecoveryKeys) -> Result<(), Problem> {
        let check = node.password_check();
        drop(node);
        self.lock_keys().await;
        let _transition = self.0.transition.lock().await;
        if self.node().is_some() {
            return Err(Problem::new(Code::Busy, "the agent was unlocked in between")
                .hint("run the same command again"));
        }
        let paths = self.paths().clone();
        let opened = blocking(move || open::reopen(&paths, &keys, check)).await?;
        self.take_in(opened).await;
        Ok(())
    }

    /// Checks `password` against the key file, without opening anything. To be run as [`Agent::unlock_keys`].
    ///
    /// # Errors
    /// As [`Agent::unlock_keys`].
    pub async fn check_key_file(&self, turn: Turn, password: &SecretBytes) -> Result<(), Problem> {
        let paths = self.paths().clone();
        let password = SecretBytes::copy_from(password.expose());
        let checked = blocking(move || {
            let password = Password::parse(password.expose()).map_err(|_| wrong_password())?;
            open::check(&paths, &password).map_err(|problem| gone_below_us(&paths, problem))
        })
        .await;
        match &checked {
            Ok(()) => turn.right(),
            Err(problem) if problem.code == Code::WrongPassword => turn.wrong(),
            Err(_) => {}
        }
        checked
    }

    /// The right to change keys: one at a time.
    pub async fn transition(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.0.transition.lock().await
    }

    /// The id of the node, also while it is locked.
    pub fn node_id(&self) -> NodeId {
        *self.0.node_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keys that were renewed make another id, which the lock file must tell.
    fn note_node_id(&self, id: NodeId) {
        let mut known = self.0.node_id.lock().unwrap_or_else(PoisonError::into_inner);
        if *known != id {
            *known = id;
            self.send(Event::Renewed);
        }
    }

    fn slot(&self) -> std::sync::RwLockWriteGuard<'_, Option<Arc<Node>>> {
        self.0.node.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, Pending> {
        self.0.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot_read(&self) -> std::sync::RwLockReadGuard<'_, Option<Arc<Node>>> {
        self.0.node.read().unwrap_or_else(PoisonError::into_inner)
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

    /// The way to other nodes.
    pub fn network(&self) -> &Network {
        &self.0.network
    }

    /// The way to identity providers.
    pub fn elsewhere(&self) -> &Elsewhere {
        &self.0.elsewhere
    }

    /// What holds other nodes to good manners.
    pub fn manners(&self) -> &Manners {
        &self.0.manners
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

    /// Leaves an audit record: `session` is there when the door let the caller pass. While the keys are
    /// locked, records wait in memory, as many as [`Pending`] takes.
    pub fn record(&self, caller: &Caller, action: &Action, session: Option<&str>) {
        let (process, session_name) = match caller.origin {
            Origin::Process(process) => (Some(process), session.map(str::to_owned)),
            // The place where one looks for who it was.
            Origin::Node(node) => (None, Some(node.to_string())),
        };
        let entry = Entry {
            time: SystemClock.now().as_millis(),
            event: action.event.to_owned(),
            allowed: session.is_some(),
            pid: process.and_then(|process| process.pid),
            uid: process.map(|process| process.uid),
            session: session_name,
            vault: action.vault.clone(),
            targets: action.targets.clone(),
        };
        self.keep_record(entry);
    }

    /// Keeps an audit record, as [`Agent::record`] does.
    pub(crate) fn keep_record(&self, entry: Entry) {
        if let Some(node) = self.node() {
            node.audit.append(&entry);
        } else {
            self.pending().push(entry);
        }
    }

    /// What `agent status` shows.
    pub fn status(&self) -> Status {
        let place = self.network().address();
        Status {
            status: State::Live,
            pid: Some(std::process::id()),
            node_id: Some(self.node_id().to_string()),
            socket: Some(self.0.socket.to_string_lossy().into_owned()),
            locked: Some(self.slot_read().is_none()),
            agent_host: place.map(|place| place.ip().to_string()),
            agent_port: place.map(|place| place.port()),
            up_time: Some(u64::try_from(self.0.started.1.elapsed().as_millis()).unwrap_or(u64::MAX)),
            start_time: Some(self.0.started.0.as_millis()),
            connections_active: Some(self.network().nodes_connected() as u64),
            nodes_total: Some(self.node().map_or(1, |node| node.contacts.len() as u64 + 1)),
            network: Some(self.network().mode().to_string()),
            network_problem: self.network().failure().map(|problem| problem.message),
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            source_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            state_version: Some(polykey_api::STATE_VERSION),
            network_version: Some(polykey_api::NETWORK_VERSION),
        }
    }
}
/// An agent runs only where there is a node: a key file that is not there was taken away, and without it no password
/// can be checked, that of whoever wants to stop this agent included.
fn gone_below_us(paths: &NodePaths, problem: Problem) -> Problem {
    if problem.code != Code::NoNode {
        return problem;
    }
    Problem::new(
        Code::BadData,
        format!(
            "the key file {} is gone, so no password can be checked",
            paths.keys().display()
        ),
    )
    .hint(format!(
        "put it back, from a backup if need be; `kill {}` ends the agent without it",
        std::process::id()
    ))
}
