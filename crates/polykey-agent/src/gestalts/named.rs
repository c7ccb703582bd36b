//! Whom the user means: a node by its id or petname, an identity as `provider:identity`, a domain by its name alone.
//!
//! A petname wins over a domain, since the user gave it. A domain has two proofs, by DNS and by HTTPS; it stands for
//! those of the two that are known, or for both when neither is.

use std::sync::Arc;

use polykey_api::problem::typed;
use polykey_api::{Code, Problem};
use polykey_core::NodeId;
use polykey_trust::gestalt::Vertex;
use polykey_trust::identity::{DNS, HTTPS, IdentityId, is_domain};

use super::View;
use crate::blocking::blocking;
use crate::contacts::Contacts;
use crate::node::Node;

/// The members that `text` names, at least one. Whether any of them is known, the view says.
///
/// # Errors
/// [`Code::Usage`] for what can be no name of anybody; [`Code::NodeNotFound`] for a petname that nobody has.
pub fn members(contacts: &Contacts, view: &View, text: &str) -> Result<Vec<Vertex>, Problem> {
    if let Ok(node) = text.parse::<NodeId>() {
        return Ok(vec![Vertex::Node(node)]);
    }
    if text.contains(':') {
        let identity = IdentityId::from_input(text).map_err(|error| {
            Problem::new(Code::Usage, format!("{text:?} is no identity: {error}"))
                .hint("write a node's id or petname, a domain, or such as github.com:alice")
        })?;
        return Ok(vec![Vertex::Identity(identity)]);
    }
    match contacts.who(text) {
        Ok(node) => Ok(vec![Vertex::Node(node)]),
        Err(problem) => {
            let domain = text.to_ascii_lowercase();
            let domain = domain.strip_suffix('.').unwrap_or(&domain);
            if !is_domain(domain) {
                return Err(problem);
            }
            let both = identities_of(domain);
            let known: Vec<Vertex> = both
                .iter()
                .filter(|vertex| matches!(vertex, Vertex::Identity(identity) if view.knows(identity)))
                .cloned()
                .collect();
            Ok(if known.is_empty() { both } else { known })
        }
    }
}

/// The identities of a domain.
fn identities_of(domain: &str) -> Vec<Vertex> {
    let identity = |provider: &str| {
        let id = format!("{provider}:{domain}").parse::<IdentityId>();
        id.ok().map(Vertex::Identity)
    };
    [DNS, HTTPS].into_iter().filter_map(identity).collect()
}

/// The nodes that `text` names, each once: a node for itself, an identity for those that speak for it.
///
/// # Errors
/// As [`members`]; [`Code::NodeNotFound`] for an identity for which no node that is known speaks.
pub fn nodes(node: &Node, view: &View, text: &str) -> Result<Vec<NodeId>, Problem> {
    let mut found: Vec<NodeId> = members(&node.contacts, view, text)?
        .iter()
        .flat_map(|vertex| view.nodes_of(vertex))
        .collect();
    found.sort_unstable();
    found.dedup();
    if found.is_empty() {
        return Err(Problem::new(
            Code::NodeNotFound,
            format!("no node is known that speaks for {text}"),
        )
        .hint(format!(
            "run `polykey identities discover {} --monitor`, then try again",
            typed(text)
        )));
    }
    Ok(found)
}

/// The one node that `text` names: by its id or petname, or as the only one that speaks for an identity.
///
/// # Errors
/// As [`nodes`]; [`Code::Usage`] when several speak for it.
pub async fn node(node: &Arc<Node>, text: &str) -> Result<NodeId, Problem> {
    // Who was named by the user needs no look at who speaks for whom.
    if let Ok(id) = node.contacts.who(text) {
        return Ok(id);
    }
    let (node, text) = (node.clone(), text.to_owned());
    blocking(move || only(&node, &*node.gestalts.view()?, &text)).await
}

/// As [`node`], for what is given to the node: whoever took over an account must not get it, so a node that is
/// named by an identity has to be one that the user confirmed.
///
/// # Errors
/// As [`node`]; [`Code::NotAllowed`] for one that was not confirmed.
pub async fn confirmed_node(node: &Arc<Node>, text: &str) -> Result<NodeId, Problem> {
    if let Ok(id) = node.contacts.who(text) {
        return Ok(id);
    }
    let (node, text) = (node.clone(), text.to_owned());
    blocking(move || {
        let view = node.gestalts.view()?;
        let id = only(&node, &view, &text)?;
        match view.records.contains_key(&id) {
            true => Ok(id),
            false => Err(Problem::new(
                Code::NotAllowed,
                format!("you have not confirmed the node {id} that speaks for {text}"),
            )
            .hint(format!(
                "compare `polykey identities words {id}` with its user, then run `polykey identities trust {id}`"
            ))),
        }
    })
    .await
}

fn only(node: &Node, view: &View, text: &str) -> Result<NodeId, Problem> {
    // What can be no name of anybody names no node.
    let found = nodes(node, view, text).map_err(|problem| match problem.code {
        Code::Usage => Problem {
            code: Code::NodeNotFound,
            ..problem
        },
        _ => problem,
    })?;
    match found[..] {
        [id] => Ok(id),
        _ => Err(Problem::new(
            Code::Usage,
            format!("{} nodes speak for {text}, and one is wanted", found.len()),
        )
        .hint(format!(
            "name one; `polykey identities get {}` shows them",
            typed(text)
        ))),
    }
}

/// True when somebody of this name is known: in the graph, or in the register of nodes.
pub fn is_known(node: &Node, view: &View, vertex: &Vertex) -> bool {
    view.graph.contains(vertex)
        || matches!(vertex, Vertex::Node(id) if *id == node.id() || node.contacts.find(id).is_some())
}

/// The text of a member, as the user may type it.
pub fn text(vertex: &Vertex) -> String {
    match vertex {
        Vertex::Node(node) => node.to_string(),
        Vertex::Identity(identity) => identity.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::bench::{Bench, nobody};

    #[test]
    fn people_are_named_in_five_ways() {
        let bench = Bench::new();
        let node = bench.node();
        let (who, other) = (nobody(), nobody());
        node.contacts.name(who, Some("anna")).expect("kept");
        node.contacts.name(other, Some("anna.org")).expect("kept");
        let view = node.gestalts.view().expect("made");
        let check = |typed: &str, want: Result<&[&str], Code>| {
            let found = members(&node.contacts, &view, typed);
            let found = found.map(|found| found.iter().map(text).collect::<Vec<_>>());
            let want = want.map(|want| want.iter().map(ToString::to_string).collect());
            assert_eq!(found.map_err(|problem| problem.code), want, "{typed:?}");
        };
        check(&who.to_string(), Ok(&[&who.to_string()]));
        check("anna", Ok(&[&who.to_string()]));
        check("anna.org", Ok(&[&other.to_string()]));
        check("GitHub.com:Alice", Ok(&["github.com:alice"]));
        check("Example.ORG.", Ok(&["dns:example.org", "https:example.org"]));
        for bad in [
            "github.com:",
            ":alice",
            "github:alice",
            "https://example.org",
            "dns:1.2.3.4",
        ] {
            check(bad, Err(Code::Usage));
        }
        for bad in ["", "nobody", "127.0.0.1", "a..b", "\u{1b}[2J"] {
            check(bad, Err(Code::NodeNotFound));
        }
        let unknown = nodes(&node, &view, "github.com:alice").expect_err("nobody");
        assert_eq!(unknown.code, Code::NodeNotFound);
        assert_eq!(nodes(&node, &view, "anna"), Ok(vec![who]));
        assert!(is_known(&node, &view, &Vertex::Node(who)));
        assert!(!is_known(&node, &view, &Vertex::Node(nobody())));
    }
}
