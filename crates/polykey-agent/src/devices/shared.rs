//! What own devices hold comes here: the hidden vault first, then every vault that this node is in.
//!
//! A device of the principal is asked which vaults it shares with this node, when it connects, when it announces one
//! that is not here, and by `devices join`. What the charters say decides, as for a clone that the user asks for; so
//! a vault that another person shared with one device comes to the others once they were let in.
//!
//! Always: only own devices are followed without a word of the user; a vault that the user deleted here stays away.

use std::sync::Arc;

use polykey_api::{Code, Problem};
use polykey_core::statement::{Kind, Statement};
use polykey_core::{NodeId, VaultId};
use polykey_vault::charter::Charter;

use super::is_own;
use crate::agent::Agent;
use crate::blocking::blocking;
use crate::follow::bring::bring_in;
use crate::handlers::exchange::begin_clone;
use crate::node::Node;
use crate::peer::{Answer, Request};

/// A vault that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Came {
    /// The vault.
    pub vault: VaultId,
    /// Its name here, or there when it is not here.
    pub name: String,
    /// Why it is not here.
    pub problem: Option<Problem>,
}

/// The names of the vaults that are here, and of those that did not come, in order.
pub fn names(came: Vec<Came>) -> (Vec<String>, Vec<String>) {
    let (mut here, mut waiting) = (Vec::new(), Vec::new());
    for came in came {
        match came.problem {
            None => here.push(came.name),
            Some(_) => waiting.push(came.name),
        }
    }
    here.sort_unstable();
    waiting.sort_unstable();
    (here, waiting)
}

impl Agent {
    /// Brings in what `from` holds for this node and is not here, if `from` is another device of its principal.
    pub async fn bring_from_device(&self, from: NodeId) {
        let Some(node) = self.node() else { return };
        let here = node.clone();
        match blocking(move || is_own(&here, &from)).await {
            Ok(true) => {}
            _ => return,
        }
        match self.bring_shared(&node, from).await {
            Ok(came) => {
                for came in came.iter().filter(|came| came.problem.is_some()) {
                    tracing::debug!(vault = %came.vault, "did not come: {:?}", came.problem);
                }
            }
            Err(problem) => tracing::debug!(%from, "its vaults did not come: {problem}"),
        }
    }

    /// Brings in the hidden vault of the device `from`, and the vaults that it shares with this node and are not here;
    /// tells of all that it shares.
    ///
    /// # Errors
    /// [`Code::NodeUnreachable`], and what else it says.
    pub async fn bring_shared(&self, node: &Arc<Node>, from: NodeId) -> Result<Vec<Came>, Problem> {
        let _turn = node.turns.bringing.lock().await;
        let running = self
            .network()
            .running()
            .ok_or_else(|| Problem::new(Code::NodeUnreachable, "this node is not on the network"))?;
        self.bring_hidden(node, from).await?;
        let offers = match self.network().ask(node, from, Request::Scan).await {
            Ok(Answer::Offers(offers)) => offers,
            Ok(_) => unreachable!("answers are read as answers to their request"),
            // It has none for this node.
            Err(problem) if problem.code == Code::NotAllowed => return Ok(Vec::new()),
            Err(problem) => return Err(problem),
        };
        let mut all = Vec::new();
        for offer in offers.into_iter().filter(|offer| offer.role.reads()) {
            if let Some(name) = node.vaults.name_of(offer.vault) {
                all.push(Came {
                    vault: offer.vault,
                    name,
                    problem: None,
                });
                continue;
            }
            let brought = async {
                let id = begin_clone(self, node, &offer.vault.to_string(), from).await?;
                let brought = bring_in(&running, node, from, id, |_, _| {}).await?;
                match brought.problem {
                    Some(problem) => Err(problem),
                    None => Ok(brought.name),
                }
            };
            let (name, problem) = match brought.await {
                Ok(name) => (name, None),
                // The user deleted it here.
                Err(problem) if problem.code == Code::Exists => continue,
                Err(problem) => (offer.name, Some(problem)),
            };
            all.push(Came {
                vault: offer.vault,
                name,
                problem,
            });
        }
        Ok(all)
    }

    async fn bring_hidden(&self, node: &Arc<Node>, from: NodeId) -> Result<(), Problem> {
        // A node that was resumed asks others for its vaults, too. What is in the hidden one is done here.
        let here = node.clone();
        if !blocking(move || is_own(&here, &from)).await? {
            return Ok(());
        }
        let genesis = match self.network().ask(node, from, Request::Hidden).await {
            Ok(Answer::Hidden(Some(genesis))) => genesis,
            // It has none yet, or does not know this node for a device yet.
            Ok(_) => return Ok(()),
            Err(problem) if problem.code == Code::NotAllowed => return Ok(()),
            Err(problem) => return Err(problem),
        };
        let broken = || Problem::new(Code::Protocol, "a device shows a hidden vault that is none");
        let genesis = Statement::verify(Kind::Charter, genesis).map_err(|_| broken())?;
        Charter::found(genesis.clone()).map_err(|_| broken())?;
        let id = VaultId::from(genesis.id());
        if !node.vaults.hidden().contains(&id) {
            let here = node.clone();
            blocking(move || here.vaults.join_hidden(&genesis)).await?;
        }
        if let Some(running) = self.network().running() {
            let brought = bring_in(&running, node, from, id, |_, _| {}).await?;
            if let Some(problem) = brought.problem {
                return Err(problem);
            }
        }
        self.keep_in_step().await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::peer::bench::{Bench, stranger};

    #[tokio::test]
    async fn only_own_devices_are_asked_for_the_hidden_vault() {
        let bench = Bench::new();
        let (node, other) = (bench.node(), stranger().node());
        node.contacts.trust(other).expect("kept");
        // There is no network here: who asks fails.
        assert_eq!(bench.agent.bring_hidden(&node, other).await, Ok(()));
    }
}
