//! The calls on who somebody is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use polykey_api::identities::{
    ActionList, Allow, Gestalt, GestaltIdentity, GestaltItem, GestaltList, GestaltNode, Named, OneGestalt,
    Tie, WordsItem, WordsList,
};
use polykey_api::problem::typed;
use polykey_api::{Code, Nothing, Problem};
use polykey_core::clock::SystemClock;
use polykey_core::{Clock, NodeId};
use polykey_trust::gestalt::{self, Bond, Vertex};
use polykey_trust::invitation::LIFETIME;
use polykey_trust::link::LinkType;
use polykey_trust::permission::{self, Actions};
use polykey_trust::words::{WordsError, words as words_of};

use crate::agent::Agent;
use crate::blocking::blocking;
use crate::door::{Action, Caller};
use crate::gestalts::View;
use crate::gestalts::named::{self, is_known, members, text};
use crate::links;
use crate::node::Node;

async fn enter(agent: &Agent, caller: &Caller, event: &'static str, who: &str) -> Result<Arc<Node>, Problem> {
    let pass = agent.enter(caller, Action::new(event).target(who)).await?;
    Ok(pass.node().clone())
}

/// The words to compare with each node that is meant.
pub async fn words(agent: Agent, caller: Caller, q: OneGestalt) -> Result<WordsList, Problem> {
    let node = enter(&agent, &caller, "identities.words", &q.who).await?;
    blocking(move || {
        let view = node.gestalts.view()?;
        let nodes = named::nodes(&node, &view, &q.who)?
            .into_iter()
            .map(|other| {
                let words = words_of(&node.id(), &other).map_err(|error| match error {
                    WordsError::Itself { .. } => Problem::new(
                        Code::Usage,
                        "this is the node itself: there is nothing to compare",
                    ),
                    error => Problem::new(Code::Io, "the words cannot be made").caused_by(&error),
                })?;
                Ok(WordsItem {
                    node_id_encoded: other.to_string(),
                    words: words.iter().map(ToString::to_string).collect(),
                })
            })
            .collect::<Result<_, Problem>>()?;
        Ok(WordsList { nodes })
    })
    .await
}

/// Trusts somebody: adds a node that is not known, and lets it notify.
pub async fn trust(agent: Agent, caller: Caller, q: OneGestalt) -> Result<Named, Problem> {
    let node = enter(&agent, &caller, "identities.trust", &q.who).await?;
    blocking(move || {
        let view = node.gestalts.view()?;
        // Also when nobody speaks for it yet: then it can be trusted once that was found out.
        let meant = members(&node.contacts, &view, &q.who)?;
        node.seeker.ask(&meant)?;
        let nodes = others(&node, named::nodes(&node, &view, &q.who)?)?;
        for other in &nodes {
            node.contacts.trust(*other)?;
        }
        node.gestalts
            .allow(&nodes, permission::Action::Notify, SystemClock.now())?;
        Ok(to_named(&nodes))
    })
    .await
}

/// Trusts somebody no longer. It stays known.
pub async fn untrust(agent: Agent, caller: Caller, q: OneGestalt) -> Result<Named, Problem> {
    let node = enter(&agent, &caller, "identities.untrust", &q.who).await?;
    blocking(move || {
        let view = node.gestalts.view()?;
        let nodes = others(&node, known_nodes(&node, &view, &q.who)?)?;
        node.gestalts.disallow(&nodes, permission::Action::Notify)?;
        for other in &nodes {
            node.contacts.set_trust(*other, false)?;
        }
        Ok(to_named(&nodes))
    })
    .await
}

/// Allows somebody one thing.
pub async fn allow(agent: Agent, caller: Caller, q: Allow) -> Result<Named, Problem> {
    let node = enter(&agent, &caller, "identities.allow", &q.who).await?;
    let action = action(&q.permission)?;
    let here = node.clone();
    let nodes = blocking(move || {
        let view = here.gestalts.view()?;
        others(&here, known_nodes(&here, &view, &q.who)?)
    })
    .await?;
    if action == permission::Action::Claim {
        agent.settle_past(&node, &nodes).await?;
    }
    blocking(move || {
        match action {
            permission::Action::Claim => {
                let invited = links::invited(&node, LinkType::Node)?;
                for other in nodes.iter().filter(|other| !invited.contains(other)) {
                    links::invite(&node, *other, LinkType::Node, LIFETIME)?;
                }
            }
            _ => node.gestalts.allow(&nodes, action, SystemClock.now())?,
        }
        Ok(to_named(&nodes))
    })
    .await
}

/// Takes one thing away from somebody.
pub async fn disallow(agent: Agent, caller: Caller, q: Allow) -> Result<Named, Problem> {
    let node = enter(&agent, &caller, "identities.disallow", &q.who).await?;
    let action = action(&q.permission)?;
    blocking(move || {
        let view = node.gestalts.view()?;
        let nodes = others(&node, known_nodes(&node, &view, &q.who)?)?;
        if action == permission::Action::Claim {
            for other in &nodes {
                links::withdraw(&node, *other, LinkType::Node)?;
            }
        }
        node.gestalts.disallow(&nodes, action)?;
        Ok(to_named(&nodes))
    })
    .await
}

fn action(name: &str) -> Result<permission::Action, Problem> {
    permission::Action::parse(name).ok_or_else(|| {
        Problem::new(Code::Usage, format!("there is no permission {name:?}"))
            .hint("use one of notify, scan, claim")
    })
}

/// The nodes that are meant, when they are known; trust alone takes in one that is not.
fn known_nodes(node: &Node, view: &View, who: &str) -> Result<Vec<NodeId>, Problem> {
    let nodes = named::nodes(node, view, who)?;
    match nodes.iter().all(|id| is_known(node, view, &Vertex::Node(*id))) {
        true => Ok(nodes),
        false => Err(
            Problem::new(Code::NodeNotFound, format!("the node {who} is not known"))
                .hint(format!("run `polykey identities trust {}`", typed(who))),
        ),
    }
}

/// These nodes without this one, whose rights nobody gives or takes.
fn others(node: &Node, mut nodes: Vec<NodeId>) -> Result<Vec<NodeId>, Problem> {
    nodes.retain(|other| *other != node.id());
    match nodes.is_empty() {
        true => Err(Problem::new(Code::Usage, "this is the node itself")),
        false => Ok(nodes),
    }
}

fn to_named(nodes: &[NodeId]) -> Named {
    Named {
        nodes: nodes.iter().map(ToString::to_string).collect(),
    }
}

/// What somebody may do; nothing when nobody of that name is known.
pub async fn permissions(agent: Agent, caller: Caller, q: OneGestalt) -> Result<ActionList, Problem> {
    let node = enter(&agent, &caller, "identities.permissions", &q.who).await?;
    blocking(move || {
        let view = node.gestalts.view()?;
        let members = members(&node.contacts, &view, &q.who)?;
        let nodes = members.iter().flat_map(|vertex| view.nodes_of(vertex));
        let may = May::new(&node, &view)?;
        let actions = nodes.fold(Actions::NONE, |sum, node| sum.union(may.of(&node)));
        Ok(ActionList {
            actions_list: names(actions),
        })
    })
    .await
}

/// What nodes may do. To claim is to have an open invitation: it is good for one link, and not for ever.
struct May<'v> {
    view: &'v View,
    invited: BTreeSet<NodeId>,
}

impl<'v> May<'v> {
    fn new(node: &Node, view: &'v View) -> Result<May<'v>, Problem> {
        Ok(May {
            view,
            invited: links::invited(node, LinkType::Node)?,
        })
    }

    fn of(&self, node: &NodeId) -> Actions {
        let actions = self.view.actions_of(node).without(permission::Action::Claim);
        match self.invited.contains(node) {
            true => actions.with(permission::Action::Claim),
            false => actions,
        }
    }
}

fn names(actions: Actions) -> Vec<String> {
    actions.iter().map(|action| action.as_str().to_owned()).collect()
}

/// Who belongs together with somebody.
pub async fn get(agent: Agent, caller: Caller, q: OneGestalt) -> Result<Gestalt, Problem> {
    let node = enter(&agent, &caller, "identities.get", &q.who).await?;
    blocking(move || {
        let view = node.gestalts.view()?;
        let found = members(&node.contacts, &view, &q.who)?;
        let known = found.iter().find_map(|vertex| gestalt_of(&node, &view, vertex));
        let may = May::new(&node, &view)?;
        Ok(Gestalt {
            gestalt: known.map_or_else(GestaltItem::default, |gestalt| to_item(&node, &may, &gestalt)),
        })
    })
    .await
}

/// The gestalt of a member; a node that is only in the register is one by itself.
fn gestalt_of(node: &Node, view: &View, vertex: &Vertex) -> Option<gestalt::Gestalt> {
    view.graph.gestalt(vertex).or_else(|| match vertex {
        Vertex::Node(id) if node.contacts.find(id).is_some() => Some(gestalt::Gestalt {
            nodes: vec![*id],
            ..gestalt::Gestalt::default()
        }),
        _ => None,
    })
}

/// All gestalts that are known, and the nodes that the user trusts and of which nothing more is known.
pub async fn list(agent: Agent, caller: Caller, _: Nothing) -> Result<GestaltList, Problem> {
    let pass = agent.enter(&caller, Action::new("identities.list")).await?;
    let node = pass.node().clone();
    blocking(move || {
        let view = node.gestalts.view()?;
        let mut all = view.graph.gestalts();
        let bare = node
            .contacts
            .all()
            .into_iter()
            .filter(|contact| contact.trusted && !view.graph.contains(&Vertex::Node(contact.node)));
        all.extend(bare.map(|contact| gestalt::Gestalt {
            nodes: vec![contact.node],
            ..gestalt::Gestalt::default()
        }));
        let may = May::new(&node, &view)?;
        Ok(GestaltList {
            gestalts: all.iter().map(|gestalt| to_item(&node, &may, gestalt)).collect(),
        })
    })
    .await
}

fn to_item(node: &Node, may: &May<'_>, gestalt: &gestalt::Gestalt) -> GestaltItem {
    let view = may.view;
    let mut matrix: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for member in gestalt.nodes.iter().map(ToString::to_string) {
        matrix.entry(member).or_default();
    }
    for member in gestalt.identities.iter().map(ToString::to_string) {
        matrix.entry(member).or_default();
    }
    for bond in &gestalt.bonds {
        let (from, to) = (text(&bond.from), text(&bond.to));
        let kind = kind(bond.tie).to_owned();
        matrix
            .entry(from.clone())
            .or_default()
            .insert(to.clone(), kind.clone());
        matrix.entry(to).or_default().insert(from, kind);
    }
    let nodes = gestalt.nodes.iter().map(|id| {
        let item = GestaltNode {
            node_id_encoded: id.to_string(),
            petname: node.contacts.find(id).and_then(|contact| contact.petname),
            this_node: *id == node.id(),
            actions_list: names(may.of(id)),
            retired: gestalt.retired.contains(id),
            doubtful: gestalt.doubtful.contains(id),
        };
        (id.to_string(), item)
    });
    let identities = gestalt.identities.iter().map(|id| {
        let live = view.pages.get(id).and_then(|page| page.live);
        let item = GestaltIdentity {
            provider_id: id.provider().to_owned(),
            identity_id: id.identity().to_owned(),
            since: live.map(|link| link.since.as_millis()),
            checked: live.map(|link| link.checked.as_millis()),
        };
        (id.to_string(), item)
    });
    let actions = gestalt
        .nodes
        .iter()
        .fold(Actions::NONE, |sum, id| sum.union(may.of(id)));
    GestaltItem {
        matrix,
        nodes: nodes.collect(),
        identities: identities.collect(),
        actions_list: names(actions),
        unanswered: gestalt.unanswered.iter().map(to_tie).collect(),
    }
}

fn to_tie(bond: &Bond) -> Tie {
    Tie {
        from: text(&bond.from),
        to: text(&bond.to),
        kind: kind(bond.tie).to_owned(),
    }
}

fn kind(tie: gestalt::Tie) -> &'static str {
    match tie {
        gestalt::Tie::Device => "device",
        gestalt::Tie::Node => "node",
        gestalt::Tie::Identity => "identity",
        gestalt::Tie::Successor => "successor",
    }
}
