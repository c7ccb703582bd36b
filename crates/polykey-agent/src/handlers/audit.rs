//! Reading, following and checking the audit log.

use std::sync::{Arc, Weak};

use polykey_api::audit::{AuditQuery, AuditRecord, AuditVerdict, Order};
use polykey_api::{Code, Nothing, Problem};
use tokio::sync::{mpsc, watch};

use crate::agent::Agent;
use crate::audit::{GROUP, stand_in};
use crate::blocking::blocking;
use crate::door::{Action, Caller};
use crate::failure;
use crate::node::Node;

/// Records on their way.
const ON_THE_WAY: usize = 256;

/// Reads the log, and follows it when asked to. Following ends with the keys.
pub async fn read(
    agent: Agent,
    caller: Caller,
    query: AuditQuery,
) -> Result<mpsc::Receiver<AuditRecord>, Problem> {
    let pass = agent.enter(&caller, Action::new("audit.read")).await?;
    if query.follow && query.order == Order::Desc {
        return Err(Problem::new(
            Code::Usage,
            "following goes forward in time: the order cannot be `desc`",
        ));
    }
    let node = pass.node().clone();
    let stored = node.audit.watch();
    flush(&node).await?;
    let (sender, receiver) = mpsc::channel(ON_THE_WAY);
    // A reader that takes its time must not keep the keys in memory after `lockall`.
    let reading = Reading {
        node: Arc::downgrade(&node),
        left: query.limit.unwrap_or(u64::MAX),
        query,
        sender,
    };
    tokio::spawn(reading.run(stored));
    Ok(receiver)
}

/// Checks the chain from its first record to its last.
pub async fn verify(agent: Agent, caller: Caller, _: Nothing) -> Result<AuditVerdict, Problem> {
    let pass = agent.enter(&caller, Action::new("audit.verify")).await?;
    let node = pass.node().clone();
    flush(&node).await?;
    blocking(move || node.audit.verify().map_err(|error| failure::store(&error))).await
}

async fn flush(node: &Arc<Node>) -> Result<(), Problem> {
    let node = node.clone();
    blocking(move || {
        node.audit
            .flush()
            .map_err(|error| Problem::new(Code::Io, format!("the audit log cannot be stored: {error}")))
    })
    .await
}

struct Reading {
    node: Weak<Node>,
    query: AuditQuery,
    left: u64,
    sender: mpsc::Sender<AuditRecord>,
}

impl Reading {
    async fn run(mut self, mut stored: watch::Receiver<u64>) {
        let mut last = *stored.borrow_and_update();
        let Some(first) = self.node.upgrade().map(|node| node.audit.first()) else {
            return;
        };
        let groups = first / GROUP..=last / GROUP;
        let done = match self.query.order {
            Order::Asc => self.groups(groups, 1, last).await,
            Order::Desc => self.groups(groups.rev(), 1, last).await,
        };
        while self.query.follow && done.is_some() && self.left > 0 {
            tokio::select! {
                changed = stored.changed() => if changed.is_err() { return },
                () = self.sender.closed() => return,
            }
            let newest = *stored.borrow_and_update();
            let groups = (last + 1) / GROUP..=newest / GROUP;
            if self.groups(groups, last + 1, newest).await.is_none() {
                return;
            }
            last = newest;
        }
    }

    /// Sends what is wanted of these groups, from `first` to `last`. `None` when there is nobody to go on for.
    async fn groups(&mut self, groups: impl Iterator<Item = u64>, first: u64, last: u64) -> Option<()> {
        for group in groups {
            let node = self.node.upgrade()?;
            let mut records = blocking(move || {
                node.audit
                    .group(group * GROUP)
                    .map_err(|error| failure::store(&error))
            })
            .await
            .unwrap_or_else(|problem| {
                tracing::error!("{problem}");
                // An end that comes too early would pass for the whole.
                vec![stand_in(first.max(group * GROUP), Some(problem.message))]
            });
            if self.query.order == Order::Desc {
                records.reverse();
            }
            for record in records {
                if self.left == 0 {
                    return None;
                }
                if (first..=last).contains(&record.seq) && self.is_wanted(&record) {
                    self.left -= 1;
                    self.sender.send(record).await.ok()?;
                }
            }
        }
        Some(())
    }

    fn is_wanted(&self, record: &AuditRecord) -> bool {
        // Of what cannot be read nobody knows that it is not wanted.
        if record.damaged {
            return true;
        }
        let query = &self.query;
        let below = |event: &String| {
            let rest = record.path.strip_prefix(event.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        (query.events.is_empty() || query.events.iter().any(below))
            && query.seek_start.is_none_or(|start| record.time >= start)
            && query.seek_end.is_none_or(|end| record.time <= end)
    }
}
