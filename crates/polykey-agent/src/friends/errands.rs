//! Errands: what waits for a node that is away, in the order in which it came to be.
//!
//! Each is one request. It is tried at once, then less and less often, and whenever the node connects; the answer, or
//! a refusal for good, ends it.
//!
//! Always: what was withdrawn meanwhile is not sent. Two rounds may run at once, but not to one node: a stranger may
//! ask few things, and what is said twice counts twice.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use polykey_api::{Code, Problem};
use polykey_core::clock::SystemClock;
use polykey_core::{Clock, NodeId};

use super::message::Request;
use super::rows::{self, Delivery, Errand, Own, Seeking, Sought};
use crate::agent::Agent;
use crate::blocking::blocking;
use crate::node::Node;
use crate::peer::{AskError, Refusal};

/// The first wait after a failure; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(4);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// What came of one try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    Done,
    Refused,
    Later,
}

/// Who is on the way to whom.
#[derive(Default)]
pub struct Rounds(Mutex<BTreeMap<NodeId, Arc<tokio::sync::Mutex<()>>>>);

impl Rounds {
    /// To be held by whoever runs errands to `node`.
    fn to(&self, node: NodeId) -> Arc<tokio::sync::Mutex<()>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, turn| Arc::strong_count(turn) > 1);
        all.entry(node).or_default().clone()
    }
}

impl Agent {
    /// Brings what is due to whoever can be reached; all that is for `to`, if that is given.
    pub async fn deliver_errands(&self, to: Option<NodeId>) {
        let Some(node) = self.node() else { return };
        let now = SystemClock.now();
        let here = node.clone();
        let all = match blocking(move || rows::read(&here.db, Errand::all)).await {
            Ok(all) => all,
            Err(problem) if problem.code == Code::Locked => return,
            Err(problem) => return tracing::warn!("{problem}"),
        };
        let mut by_node: BTreeMap<NodeId, Vec<Errand>> = BTreeMap::new();
        for errand in all {
            let is_due = match to {
                Some(to) => errand.to == to,
                None => errand.next <= now || errand.until <= now,
            };
            if is_due {
                by_node.entry(errand.to).or_default().push(errand);
            }
        }
        let runs = by_node.into_iter();
        join_all(runs.map(|(to, errands)| self.run_for_one(&node, to, errands))).await;
    }

    /// One after the other, until the node cannot be reached.
    async fn run_for_one(&self, node: &Arc<Node>, to: NodeId, errands: Vec<Errand>) {
        let turn = node.rounds.to(to);
        let _turn = turn.lock().await;
        for errand in errands {
            match self.run_errand(node, errand).await {
                Ok(Came::Later) => return,
                Ok(_) => {}
                Err(problem) => return tracing::warn!("{problem}"),
            }
        }
    }

    async fn run_errand(&self, node: &Arc<Node>, errand: Errand) -> Result<Came, Problem> {
        let (here, before) = (node.clone(), errand.clone());
        match blocking(move || rows::read(&here.db, |tx| before.now(tx))).await? {
            None => return Ok(Came::Done),
            // Somebody else has just tried.
            Some(now) if now.tried != errand.tried => return Ok(Came::Later),
            Some(_) => {}
        }
        let request = crate::peer::Request::Friend(errand.request.clone());
        let came = match self.network().try_ask(errand.to, request).await {
            Ok(_) => Came::Done,
            Err(AskError::Refused {
                refusal: Refusal::Refused | Refusal::Malformed | Refusal::NoRoom,
                ..
            }) => Came::Refused,
            Err(_) => Came::Later,
        };
        let here = node.clone();
        blocking(move || settle(&here, errand, came)).await?;
        Ok(came)
    }
}

/// Draws what follows from the answer.
fn settle(node: &Node, errand: Errand, came: Came) -> Result<(), Problem> {
    let now = SystemClock.now();
    rows::write(&node.db, |tx| {
        if errand.now(tx)?.is_none() {
            return Ok(());
        }
        if came == Came::Later && errand.until > now {
            let doublings = u32::try_from(errand.tried.min(16)).expect("at most 16");
            let wait = FIRST_WAIT.saturating_mul(1 << doublings).min(LONGEST_WAIT);
            let next = Errand {
                next: now.after(wait),
                tried: errand.tried.saturating_add(1),
                ..errand
            };
            return next.keep(tx);
        }
        errand.forget(tx)?;
        let done = came == Came::Done;
        match &errand.request {
            Request::Leave { .. } => {
                let Some(mut own) = Own::find(tx)?.filter(|own| errand.leaves() == Some(own.split.id()))
                else {
                    return Ok(());
                };
                if let Some(holder) = own.holder_mut(&errand.to) {
                    holder.delivery = match done {
                        true => Delivery::Kept,
                        false => Delivery::Refused,
                    };
                }
                own.keep(tx)
            }
            Request::Ask { owner, .. } => {
                let Some(mut seeking) = Seeking::find(tx, owner)? else {
                    return Ok(());
                };
                for (friend, state) in &mut seeking.friends {
                    if *friend == errand.to {
                        *state = match done {
                            true => Sought::Asked,
                            false => Sought::Refused,
                        };
                    }
                }
                seeking.keep(tx)
            }
            _ => Ok(()),
        }
    })
}
