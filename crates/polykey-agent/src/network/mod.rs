//! The life of the network in the agent.
//!
//! [`Network`] is there as long as the agent. It is on while the keys are open; locking takes the node off.
//! Whoever wants something of another node asks here, whatever the way to it is.

use polykey_api::{Code, Problem};
use polykey_core::NodeId;
use polykey_core::VaultId;

use crate::contacts::Contacts;
use crate::node::Node;
use crate::peer::keys::NodeKeys;
use crate::peer::{Answer, AskError, Request};

/// The network of an agent. Clones are one network.
#[derive(Clone, Default)]
pub struct Network {}

impl Network {
    /// Asks `node` one thing, over the connection that is up or a new one.
    ///
    /// # Errors
    /// [`AskError`], also when it refuses.
    pub async fn try_ask(&self, node: NodeId, _request: Request) -> Result<Answer, AskError> {
        let off = format!("the network is off: {node}");
        Err(AskError::Unreachable(off.into()))
    }

    /// As [`Network::try_ask`], with the problem that a user is told; `here` knows what the node is called.
    ///
    /// # Errors
    /// [`Code::NodeUnreachable`], [`Code::NotAllowed`], [`Code::Protocol`].
    pub async fn ask(&self, here: &Node, node: NodeId, request: Request) -> Result<Answer, Problem> {
        let asked = self.try_ask(node, request).await;
        asked.map_err(|error| error.problem(&here.contacts.title(&node)))
    }

    /// The verified keys of `node`: asked for and kept, or as they were the last time when it cannot be reached.
    ///
    /// # Errors
    /// Why it cannot be asked, when nothing is known; [`Code::Protocol`] when what it shows does not hold.
    pub async fn keys_of(&self, here: &Node, node: NodeId) -> Result<NodeKeys, Problem> {
        let answer = match self.ask(here, node, Request::Who).await {
            Ok(answer) => answer,
            Err(problem) => return known_keys(&here.contacts, &node).ok_or(problem),
        };
        let Answer::Keys { start, records } = answer else {
            unreachable!("answers are read as answers to their request");
        };
        let keys = NodeKeys::verify(node, start, records).map_err(|error| {
            let title = here.contacts.title(&node);
            Problem::new(
                Code::Protocol,
                format!("the keys that the node {title} shows do not hold"),
            )
            .caused_by(&error)
        })?;
        here.contacts.keep_keys(keys.start(), keys.record())?;
        Ok(keys)
    }

    /// Tells connected members of a vault that there is news in it. Returns at once.
    pub fn announce(&self, vault: VaultId) {
        tracing::debug!(%vault, "announced");
    }
}

/// The keys of a node as they were the last time.
pub fn known_keys(contacts: &Contacts, node: &NodeId) -> Option<NodeKeys> {
    let contact = contacts.find(node)?;
    NodeKeys::known(contact.start?, contact.record?)
}
