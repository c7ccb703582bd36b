//! Finding people: in the graph, and at providers.

use std::collections::BTreeSet;
use std::sync::Arc;

use polykey_api::Problem;
use polykey_api::identities::{Match, MatchList, Search};
use polykey_trust::gestalt::Vertex;
use polykey_trust::identity::IdentityId;

use crate::agent::Agent;
use crate::blocking::blocking;
use crate::door::{Action, Caller};
use crate::gestalts::View;
use crate::node::Node;
use crate::providers::Seen;

/// Names of accounts that one call looks up.
const MAX_NAMES: usize = 16;

/// Finds identities in the graph whose names, or the names of whose nodes, are like the terms.
pub async fn search(agent: Agent, caller: Caller, q: Search) -> Result<MatchList, Problem> {
    let mut action = Action::new("identities.search");
    for term in &q.terms {
        action = action.target(term);
    }
    let pass = agent.enter(&caller, action).await?;
    let node = pass.node().clone();
    if !q.identity_ids.is_empty() {
        return look_up(&agent, &node, &q).await;
    }
    blocking(move || {
        let view = node.gestalts.view()?;
        let mut found: Vec<(usize, Match)> = Vec::new();
        for identity in view.pages.keys() {
            let item = to_match(&node, &view, identity);
            if item.nodes.is_empty() || !q.providers.is_empty() && !q.providers.contains(&item.provider_id) {
                continue;
            }
            found.extend(distance(&item, &q.terms).map(|distance| (distance, item)));
        }
        found.sort_by_key(|(distance, _)| *distance);
        let limit = q
            .limit
            .map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(MatchList {
            matches: found.into_iter().map(|(_, item)| item).take(limit).collect(),
        })
    })
    .await
}

/// Asks each provider that may be asked for accounts of these names.
async fn look_up(agent: &Agent, node: &Arc<Node>, q: &Search) -> Result<MatchList, Problem> {
    let elsewhere = agent.elsewhere();
    let limit = q
        .limit
        .map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let mut found = Vec::new();
    for name in q.identity_ids.iter().take(MAX_NAMES) {
        for service in elsewhere.services() {
            let host = &service.host;
            let wanted = q.providers.is_empty() || q.providers.contains(host);
            let Ok(identity) = IdentityId::from_input(&format!("{host}:{name}")) else {
                continue;
            };
            if !wanted || !elsewhere.may_ask(host) || found.len() >= limit {
                continue;
            }
            match elsewhere.look(&identity, None).await {
                Ok(Seen::Page(_)) => found.push(identity),
                Ok(Seen::Gone) => {}
                Err(error) => tracing::debug!(%identity, %error, "not looked up"),
            }
        }
    }
    let here = node.clone();
    blocking(move || {
        let view = here.gestalts.view()?;
        Ok(MatchList {
            matches: found
                .iter()
                .map(|identity| to_match(&here, &view, identity))
                .collect(),
        })
    })
    .await
}

fn to_match(node: &Node, view: &View, identity: &IdentityId) -> Match {
    let nodes = view.nodes_of(&Vertex::Identity(identity.clone()));
    let names: BTreeSet<String> = nodes
        .iter()
        .filter_map(|id| node.contacts.find(id)?.petname)
        .collect();
    Match {
        provider_id: identity.provider().to_owned(),
        identity_id: identity.identity().to_owned(),
        nodes: nodes.iter().map(ToString::to_string).collect(),
        names: names.into_iter().collect(),
    }
}

/// How far the terms are from what is there, 0 for a name that is one; nothing when one of them is not in it.
fn distance(item: &Match, terms: &[String]) -> Option<usize> {
    let mut names: Vec<String> = item.names.iter().map(|name| name.to_lowercase()).collect();
    names.push(item.identity_id.clone());
    names.push(format!("{}:{}", item.provider_id, item.identity_id));
    terms.iter().try_fold(0, |sum, term| {
        let term = term.to_lowercase();
        let rest = names
            .iter()
            .filter(|name| name.contains(&term))
            .map(|name| name.len() - term.len())
            .min()?;
        Some(sum + rest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(provider: &str, identity: &str, names: &[&str]) -> Match {
        Match {
            provider_id: provider.to_owned(),
            identity_id: identity.to_owned(),
            nodes: vec![],
            names: names.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn terms_are_found_in_any_name_and_whole_names_are_nearest() {
        let alice = item("github.com", "alice", &["Ali from work"]);
        let check = |terms: &[&str], want: Option<usize>| {
            let terms: Vec<String> = terms.iter().map(ToString::to_string).collect();
            assert_eq!(distance(&alice, &terms), want, "{terms:?}");
        };
        check(&[], Some(0));
        check(&["alice"], Some(0));
        check(&["ALI"], Some(2));
        check(&["work"], Some(9));
        check(&["github.com:alice"], Some(0));
        check(&["ali", "work"], Some(11));
        for none in [&["bob"][..], &["alice", "bob"], &["alicé"]] {
            check(none, None);
        }
    }
}
