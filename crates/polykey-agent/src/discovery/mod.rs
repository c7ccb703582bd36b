//! Discovery: finding out who belongs to whom, and looking again.
//!
//! The queue of `polykey-trust` says what is due. [`run`] looks at it: at a node by asking it for its sigchain, at an
//! identity by reading its page and the chain of the node that the page names ([`look`]). What a look finds beside the
//! thing itself is looked at next, a few links far. Known links are looked at again daily, or as the user set it.
//!
//! Always: only what the user asked for, and what is tied to it, is looked at or kept; a look never grants anything;
//! what is under way ends with the network.

pub mod look;
pub mod witness;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use polykey_api::Problem;
use polykey_core::clock::SystemClock;
use polykey_core::random::OsRandom;
use polykey_core::{Clock, Timestamp};
use polykey_store::Database;
use polykey_trust::discovery::{Discovery, Item, Limits, Outcome, Progress, queue};
use polykey_trust::gestalt::Vertex;
use tokio::sync::{Notify, broadcast, watch};
use tokio::task::{self, JoinSet};

use crate::agent::Agent;
use crate::blocking::blocking;
use crate::failure;

/// The worker looks at its queue at least this often: clocks are set, too.
const LOOK_AGAIN: Duration = Duration::from_secs(600);
/// A look that is not done by then failed: a server or a node that dawdles holds up nobody else for longer.
pub const LOOK_TIME: Duration = Duration::from_secs(60);
/// After a failure of the database it waits this long.
const AFTER_FAILURE: Duration = Duration::from_secs(30);
/// Events that wait for whoever watches; whoever is slower misses some.
const EVENTS: usize = 1024;

/// What is to be looked at, and who watches.
pub struct Seeker {
    db: Database,
    state: Mutex<State>,
    wake: Notify,
    /// What happened, in batches: what a look found follows its own end.
    events: broadcast::Sender<Vec<Progress>>,
}

#[derive(Default)]
struct State {
    discovery: Discovery,
    running: BTreeSet<Vertex>,
}

/// Something in the queue.
pub struct Queued {
    /// It.
    pub item: Item,
    /// True while it is being looked at.
    pub is_running: bool,
}

impl Seeker {
    /// The queue in the node's database. Nothing is looked at until [`run`] runs.
    pub fn new(db: Database) -> Seeker {
        Seeker {
            db,
            state: Mutex::default(),
            wake: Notify::new(),
            events: broadcast::Sender::new(EVENTS),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts these into the queue, due at once.
    ///
    /// # Errors
    /// [`Code::Busy`](polykey_api::Code::Busy) when the queue is full; what the store says.
    pub fn ask(&self, vertices: &[Vertex]) -> Result<(), Problem> {
        let now = SystemClock.now();
        let state = self.state();
        let queued = self.db.write(|tx| {
            vertices
                .iter()
                .map(|vertex| state.discovery.ask(tx, vertex, now))
                .collect()
        });
        drop(state);
        self.tell(queued.map_err(|error| failure::trust(&error))?);
        self.wake.notify_one();
        Ok(())
    }

    /// Everything in the queue, oldest due first.
    ///
    /// # Errors
    /// What the store says.
    pub fn queue(&self) -> Result<Vec<Queued>, Problem> {
        let items = self.db.read(queue).map_err(|error| failure::trust(&error))?;
        let state = self.state();
        let queued = items.into_iter().map(|item| Queued {
            is_running: state.running.contains(&item.vertex),
            item,
        });
        Ok(queued.collect())
    }

    /// Tells what happens from now on.
    pub fn watch(&self) -> broadcast::Receiver<Vec<Progress>> {
        self.events.subscribe()
    }

    fn tell(&self, events: Vec<Progress>) {
        if !events.is_empty() {
            // Nobody may watch.
            let _ = self.events.send(events);
        }
    }

    /// What may be looked at now, and when to ask again.
    fn start(&self, now: Timestamp) -> Result<(Vec<Vertex>, Option<Timestamp>), Problem> {
        let mut state = self.state();
        let State { discovery, running } = &mut *state;
        let (begun, wake) = self
            .db
            .read(|tx| Ok((discovery.start(tx, now)?, discovery.wake(tx)?)))
            .map_err(|error: polykey_trust::TrustError| failure::trust(&error))?;
        let begun: Vec<Vertex> = begun.into_iter().map(|item| item.vertex).collect();
        running.extend(begun.iter().cloned());
        drop(state);
        self.tell(begun.iter().cloned().map(Progress::Started).collect());
        Ok((begun, wake))
    }

    fn finish(&self, vertex: &Vertex, outcome: &Outcome) -> Result<(), Problem> {
        let mut state = self.state();
        state.running.remove(vertex);
        let now = SystemClock.now();
        let events = self
            .db
            .write(|tx| state.discovery.finish(tx, vertex, outcome, now, &OsRandom));
        drop(state);
        self.tell(events.map_err(|error| failure::trust(&error))?);
        Ok(())
    }
}

/// Looks at what is due, until the network stops.
pub async fn run(agent: Agent, mut stop: watch::Receiver<bool>) {
    let Some(node) = agent.node() else { return };
    let again = agent.elsewhere().settings().recheck;
    *node.seeker.state() = State {
        discovery: Discovery::new(Limits {
            again,
            longest: again.max(Limits::default().longest),
            ..Limits::default()
        }),
        running: BTreeSet::new(),
    };
    let mut looks = JoinSet::new();
    let mut under_way: HashMap<task::Id, Vertex> = HashMap::new();
    loop {
        let here = node.clone();
        let now = SystemClock.now();
        let next = match blocking(move || here.seeker.start(now)).await {
            Ok((begun, wake)) => {
                for vertex in begun {
                    let (agent, at) = (agent.clone(), vertex.clone());
                    let look = looks.spawn(async move {
                        let look = tokio::time::timeout(LOOK_TIME, agent.look(&at)).await;
                        look.unwrap_or(Outcome::Failed { wait: None })
                    });
                    under_way.insert(look.id(), vertex);
                }
                wake.map_or(LOOK_AGAIN, |wake| wake.since(now).min(LOOK_AGAIN))
            }
            Err(problem) => {
                tracing::warn!("nothing is looked at: {problem}");
                AFTER_FAILURE
            }
        };
        let done = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            Some(done) = looks.join_next_with_id() => Some(done),
            () = node.seeker.wake.notified() => None,
            () = tokio::time::sleep(next) => None,
        };
        let Some(done) = done else { continue };
        let (id, outcome) = match done {
            Ok(done) => done,
            // A panic is a look that failed, and not one that goes on for ever.
            Err(error) => (error.id(), Outcome::Failed { wait: None }),
        };
        if let Some(vertex) = under_way.remove(&id) {
            let here = node.clone();
            let noted = blocking(move || here.seeker.finish(&vertex, &outcome)).await;
            if let Err(problem) = noted {
                tracing::warn!("the end of a look was not noted: {problem}");
            }
        }
    }
}
