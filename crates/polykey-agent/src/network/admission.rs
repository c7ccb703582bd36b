//! Who gets in: everybody that the user has not blocked, and those that the user trusts before strangers; in a private
//! network only the members.
//!
//! A private network has a [`Rule`]: names of nodes and identities. Its members are the nodes of their gestalts, and
//! this node's own. The list is made when the network starts and whenever a gestalt changes; who is no member any more is
//! cut off. A member that has new keys is none under its new id before the gestalt says so; so whoever is no member may
//! come in to say whom it succeeds, and nothing else, and is an [heir](Rule::let_in_heir) once it has proven that this
//! is a member.
//!
//! Always: asking waits for nothing; while it is not known who the members are, nobody is one.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};

use polykey_core::NodeId;
use polykey_net::Admission;
use polykey_trust::gestalt::{Gestalt, Vertex};

use crate::contacts::Contacts;
use crate::gestalts::View;
use crate::gestalts::named::members;
use crate::node::Node;

/// Who may connect in a private network. Clones are one rule.
#[derive(Clone)]
pub struct Rule(Arc<Shared>);

struct Shared {
    /// What the user wrote; empty in a network that is open to all.
    names: Vec<String>,
    members: RwLock<HashSet<NodeId>>,
    /// Nodes that a member named as its successor, while their chains are looked at.
    heirs: RwLock<HashSet<NodeId>>,
    /// Nodes that answer where a member was: they are dialled, and heard like whoever is no member.
    sought: RwLock<HashSet<NodeId>>,
}

/// So many of them are remembered at a time.
const MAX_SOUGHT: usize = 64;

impl Rule {
    /// The rule with these names.
    pub fn new(names: Vec<String>) -> Rule {
        Rule(Arc::new(Shared {
            names,
            members: RwLock::default(),
            heirs: RwLock::default(),
            sought: RwLock::default(),
        }))
    }

    /// True when the network is open to all.
    pub fn is_open(&self) -> bool {
        self.0.names.is_empty()
    }

    /// True when a node may connect.
    pub fn admits(&self, node: &NodeId) -> bool {
        let holds = |nodes: &RwLock<HashSet<NodeId>>| {
            let nodes = nodes.read().unwrap_or_else(PoisonError::into_inner);
            nodes.contains(node)
        };
        self.is_open() || holds(&self.0.members) || holds(&self.0.heirs)
    }

    /// Lets in a node that has proven to be named by `former`, when that is a member, until
    /// [`dismiss_heir`](Rule::dismiss_heir).
    pub fn let_in_heir(&self, former: &NodeId, heir: NodeId) {
        if !self.is_open() && self.admits(former) {
            let mut heirs = self.0.heirs.write().unwrap_or_else(PoisonError::into_inner);
            heirs.insert(heir);
        }
    }

    /// Notes that a node answers where `former` was, when that is a member: it may be its successor.
    pub fn seek(&self, former: &NodeId, found: NodeId) {
        if !self.is_open() && self.admits(former) {
            let mut sought = self.0.sought.write().unwrap_or_else(PoisonError::into_inner);
            if sought.len() >= MAX_SOUGHT {
                sought.clear();
            }
            sought.insert(found);
        }
    }

    fn is_sought(&self, node: &NodeId) -> bool {
        let sought = self.0.sought.read().unwrap_or_else(PoisonError::into_inner);
        sought.contains(node)
    }

    /// From now on the gestalts say whether this node is a member.
    pub fn dismiss_heir(&self, heir: &NodeId) {
        let mut heirs = self.0.heirs.write().unwrap_or_else(PoisonError::into_inner);
        heirs.remove(heir);
    }

    /// Notes who the members are now. Blocks.
    pub fn refresh(&self, node: &Node) {
        if self.is_open() {
            return;
        }
        let found = match node.gestalts.view() {
            Ok(view) => self.members(node, &view),
            Err(problem) => {
                tracing::warn!("nobody is let in, since it is not known who the members are: {problem}");
                HashSet::new()
            }
        };
        *self.0.members.write().unwrap_or_else(PoisonError::into_inner) = found;
    }

    fn members(&self, node: &Node, view: &View) -> HashSet<NodeId> {
        let mut found = view
            .graph
            .principal(&node.id())
            .into_iter()
            .collect::<HashSet<_>>();
        for name in &self.0.names {
            match members(&node.contacts, view, name) {
                Ok(named) => found.extend(named.iter().flat_map(|vertex| nodes_of(view, vertex))),
                Err(problem) => tracing::warn!("a member is not known: {problem}"),
            }
        }
        found
    }
}

/// The nodes of somebody's gestalt whose keys count; a node that nothing is known of stands for itself.
fn nodes_of(view: &View, vertex: &Vertex) -> Vec<NodeId> {
    let Some(Gestalt {
        nodes,
        retired,
        doubtful,
        ..
    }) = view.graph.gestalt(vertex)
    else {
        return view.nodes_of(vertex);
    };
    let counts = |node: &NodeId| !retired.contains(node) && !doubtful.contains(node);
    nodes.into_iter().filter(counts).collect()
}

/// The contacts and the rule as the network asks them.
pub(super) struct Known {
    pub(super) contacts: Contacts,
    pub(super) rule: Rule,
}

impl Admission for Known {
    fn admits(&self, node: &NodeId) -> bool {
        !self.contacts.is_blocked(node) && (self.rule.admits(node) || self.rule.is_sought(node))
    }

    fn hears(&self, node: &NodeId) -> bool {
        !self.contacts.is_blocked(node)
    }

    fn prefers(&self, node: &NodeId) -> bool {
        self.contacts.is_trusted(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::bench::{Bench, nobody};

    #[test]
    fn in_a_private_network_only_members_are_let_in() {
        let bench = Bench::new();
        let node = bench.node();
        let [one, two, other] = [nobody(), nobody(), nobody()];
        node.contacts.name(two, Some("two")).expect("kept");
        let open = Rule::new(vec![]);
        assert!(open.is_open() && open.admits(&other));
        let rule = Rule::new(vec![
            one.to_string(),
            "two".into(),
            "nobody".into(),
            "github.com:x".into(),
        ]);
        assert!(!rule.admits(&one), "not before it is known who is one");
        rule.refresh(&node);
        let admitted = [&one, &two, &other, &node.id()].map(|id| rule.admits(id));
        assert_eq!(admitted, [true, true, false, true]);
        let known = Known {
            contacts: node.contacts.clone(),
            rule,
        };
        node.contacts.block(one, true).expect("kept");
        assert!(!known.admits(&one) && known.admits(&two));
        assert!(!known.hears(&one) && known.hears(&other));
        // Whom a member named comes in until it is settled; whom another named does not.
        let heir = nobody();
        known.rule.let_in_heir(&other, heir);
        assert!(!known.admits(&heir));
        known.rule.let_in_heir(&two, heir);
        assert!(known.admits(&heir));
        known.rule.dismiss_heir(&heir);
        assert!(!known.admits(&heir));
    }
}
