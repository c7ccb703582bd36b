//! The calls on what is to be looked at.

use std::collections::BTreeSet;
use std::time::Duration;

use polykey_api::identities::{Discover, DiscoveryEvent, QueueItem, QueueList};
use polykey_api::{Code, Nothing, Problem};
use polykey_core::Clock;
use polykey_core::clock::SystemClock;
use polykey_trust::discovery::Progress;
use polykey_trust::gestalt::Vertex;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use crate::agent::Agent;
use crate::blocking::blocking;
use crate::discovery::{LOOK_TIME, Queued};
use crate::door::{Action, Caller};
use crate::gestalts::named::{members, text};
use crate::handlers::millis;

/// Events on their way to the caller.
const ON_THE_WAY: usize = 64;
/// Whoever watches is told for at most this long: by then each look has failed at least once.
const MONITOR_TIME: Duration = Duration::from_secs(600);

/// Looks at somebody, and at what is found beside.
pub async fn discover(
    agent: Agent,
    caller: Caller,
    q: Discover,
) -> Result<mpsc::Receiver<DiscoveryEvent>, Problem> {
    let action = Action::new("identities.discover").target(&q.who);
    let node = agent.enter(&caller, action).await?.node().clone();
    if agent.network().running().is_none() {
        return Err(Problem::new(
            Code::NodeUnreachable,
            "this node is not on the network",
        ));
    }
    let (events, receiver) = mpsc::channel(ON_THE_WAY);
    let mut watching = node.seeker.watch();
    let here = node.clone();
    let wanted = blocking(move || {
        let view = here.gestalts.view()?;
        let wanted = members(&here.contacts, &view, &q.who)?;
        here.seeker.ask(&wanted)?;
        Ok(wanted)
    })
    .await?;
    if !q.monitor {
        return Ok(receiver);
    }
    tokio::spawn(async move {
        let mut closing = node.closing();
        let tell = async {
            let mut branch = Branch::new(wanted);
            while !branch.is_done() {
                let batch = match watching.recv().await {
                    Ok(batch) => batch,
                    // What was missed may have been the end.
                    Err(RecvError::Lagged(_) | RecvError::Closed) => return,
                };
                for event in branch.take(batch) {
                    if events.send(to_event(&event)).await.is_err() {
                        return;
                    }
                }
            }
        };
        tokio::select! {
            biased;
            () = closing.closed() => {}
            () = events.closed() => {}
            _ = tokio::time::timeout(MONITOR_TIME, tell) => {}
        }
    });
    Ok(receiver)
}

/// What was asked for and what was found beside it, as far as it is looked at now.
struct Branch {
    members: BTreeSet<Vertex>,
    waiting: BTreeSet<Vertex>,
}

impl Branch {
    fn new(wanted: Vec<Vertex>) -> Branch {
        let members: BTreeSet<Vertex> = wanted.into_iter().collect();
        Branch {
            waiting: members.clone(),
            members,
        }
    }

    fn is_done(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The events of a batch that are of this branch: all of one whose first is.
    fn take(&mut self, batch: Vec<Progress>) -> Vec<Progress> {
        if !batch
            .first()
            .is_some_and(|first| self.members.contains(vertex(first)))
        {
            return batch
                .into_iter()
                .filter(|event| self.members.contains(vertex(event)))
                .collect();
        }
        for event in &batch {
            match event {
                Progress::Queued(found) => {
                    if self.members.insert(found.clone()) {
                        self.waiting.insert(found.clone());
                    }
                }
                Progress::Processed(seen, _) | Progress::Failed(seen, _) | Progress::Dropped(seen) => {
                    self.waiting.remove(seen);
                }
                Progress::Started(_) | Progress::Crowded(_) => {}
            }
        }
        batch
    }
}

fn vertex(event: &Progress) -> &Vertex {
    match event {
        Progress::Queued(vertex)
        | Progress::Started(vertex)
        | Progress::Processed(vertex, _)
        | Progress::Failed(vertex, _)
        | Progress::Dropped(vertex)
        | Progress::Crowded(vertex) => vertex,
    }
}

fn to_event(event: &Progress) -> DiscoveryEvent {
    let (name, due) = match event {
        Progress::Queued(_) => ("queued", None),
        Progress::Started(_) => ("started", None),
        Progress::Processed(_, due) => ("processed", Some(due.as_millis())),
        Progress::Failed(_, due) => ("failed", Some(due.as_millis())),
        Progress::Dropped(_) => ("culled", None),
        Progress::Crowded(_) => ("crowded", None),
    };
    DiscoveryEvent {
        event: name.to_owned(),
        vertex: text(vertex(event)),
        due,
    }
}

/// What is to be looked at, and when.
pub async fn queue(agent: Agent, caller: Caller, _: Nothing) -> Result<QueueList, Problem> {
    let pass = agent.enter(&caller, Action::new("identities.queue")).await?;
    let node = pass.node().clone();
    blocking(move || {
        let now = SystemClock.now();
        let to_item = |queued: &Queued| {
            let item = &queued.item;
            let status = match (queued.is_running, item.due <= now) {
                (true, _) => "active",
                (false, true) => "queued",
                (false, false) => "scheduled",
            };
            QueueItem {
                id: text(&item.vertex),
                status: status.to_owned(),
                parameters: vec![text(&item.vertex)],
                delay: millis(item.due.since(now)),
                deadline: millis(LOOK_TIME),
                priority: item.priority(),
                created: item.added.as_millis(),
                scheduled: item.due.as_millis(),
                hops: item.hops,
                failures: item.failures,
                last_good: item.good.map(|good| good.as_millis()),
            }
        };
        Ok(QueueList {
            tasks: node.seeker.queue()?.iter().map(to_item).collect(),
        })
    })
    .await
}

#[cfg(test)]
mod tests {
    use polykey_core::Timestamp;

    use super::*;

    fn identity(name: &str) -> Vertex {
        Vertex::Identity(format!("github.com:{name}").parse().expect("an identity"))
    }

    #[test]
    fn a_branch_ends_when_all_that_it_found_was_looked_at() {
        let due = Timestamp::from_millis(9);
        let [a, b, c, other] = ["a", "b", "c", "other"].map(identity);
        let mut branch = Branch::new(vec![a.clone()]);
        assert_eq!(branch.take(vec![Progress::Queued(a.clone())]).len(), 1);
        assert_eq!(branch.take(vec![Progress::Queued(other.clone())]), []);
        let foreign = vec![Progress::Processed(other, due), Progress::Queued(c.clone())];
        assert_eq!(branch.take(foreign), []);
        let found = vec![
            Progress::Processed(a.clone(), due),
            Progress::Queued(b.clone()),
            Progress::Queued(c.clone()),
        ];
        assert_eq!(branch.take(found).len(), 3);
        assert!(!branch.is_done());
        branch.take(vec![Progress::Started(b.clone()), Progress::Started(c.clone())]);
        branch.take(vec![Progress::Failed(b, due)]);
        assert!(!branch.is_done());
        // Back to the beginning is no new way.
        branch.take(vec![Progress::Processed(c, due), Progress::Queued(a)]);
        assert!(branch.is_done());
    }
}
