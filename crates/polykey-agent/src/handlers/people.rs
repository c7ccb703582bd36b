//! Finding people: in the graph, among those who are connected with the user's accounts, and by name at providers.
//!
//! What a user searches for is compared here; a provider is asked for the people of an account, or for an account of
//! exactly one name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use polykey_api::identities::{Match, MatchList, Search};
use polykey_api::{Code, Problem};
use polykey_trust::gestalt::Vertex;
use polykey_trust::identity::IdentityId;
use polykey_trust::provider::Circle;
use polykey_trust::provider::login::Token;
use tokio::time::{Instant, timeout_at};

use crate::agent::Agent;
use crate::blocking::blocking;
use crate::door::{Action, Caller};
use crate::gestalts::View;
use crate::node::Node;
use crate::providers::{Elsewhere, LookError, Seen, tokens};

/// Names of accounts that one call looks up.
const MAX_NAMES: usize = 16;
/// Pages of people that are read of each circle of an account.
const MAX_PAGES: usize = 10;
/// All of them are waited for this long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Finds identities in the graph, and people who are connected with the user's accounts, whose names, or the names of
/// whose nodes, are like the terms.
pub async fn search(agent: Agent, caller: Caller, q: Search) -> Result<MatchList, Problem> {
    let mut action = Action::new("identities.search");
    for term in &q.terms {
        action = action.target(term);
    }
    let pass = agent.enter(&caller, action).await?;
    let node = pass.node().clone();
    let (here, of) = (node.clone(), q.clone());
    let logins = blocking(move || logins(&here, &of)).await?;
    if !q.identity_ids.is_empty() {
        return look_up(&agent, &node, &q, &logins).await;
    }
    let (connected, missing) = people_of(&agent, &node, &logins).await?;
    blocking(move || {
        let view = node.gestalts.view()?;
        let mut found: Vec<(usize, Match)> = Vec::new();
        let known = view
            .pages
            .keys()
            .filter(|identity| !connected.contains_key(identity));
        for identity in known.chain(connected.keys()) {
            let mut item = to_match(&node, &view, identity);
            item.connected_to = connected.get(identity).map(ToString::to_string);
            let is_known = !item.nodes.is_empty() || item.connected_to.is_some();
            if !is_known || !q.providers.is_empty() && !q.providers.contains(&item.provider_id) {
                continue;
            }
            found.extend(distance(&item, &q.terms).map(|distance| (distance, item)));
        }
        found.sort_by_key(|(distance, _)| *distance);
        Ok(MatchList {
            matches: found.into_iter().map(|(_, item)| item).take(limit(&q)).collect(),
            missing,
        })
    })
    .await
}

fn limit(q: &Search) -> usize {
    q.limit
        .map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// The accounts whose logins are used: the one that the user names, or all, at the providers that are meant.
fn logins(node: &Node, q: &Search) -> Result<Vec<IdentityId>, Problem> {
    let mut accounts = tokens::accounts(&node.db)?;
    if let Some(named) = &q.auth_identity_id {
        accounts.retain(|account| {
            let is_named = |text: &str| text.eq_ignore_ascii_case(named);
            is_named(account.identity()) || is_named(account.as_str())
        });
        if accounts.is_empty() {
            return Err(
                Problem::new(Code::NotAllowed, format!("this node is not logged in as {named}")).hint(
                    "`polykey identities authenticated` lists the logins, `polykey identities authenticate` adds one",
                ),
            );
        }
    }
    accounts
        .retain(|account| q.providers.is_empty() || q.providers.iter().any(|id| id == account.provider()));
    Ok(accounts)
}

/// The people who are connected with these accounts, each with the account, and why some may be missing.
async fn people_of(
    agent: &Agent,
    node: &Arc<Node>,
    logins: &[IdentityId],
) -> Result<(BTreeMap<IdentityId, IdentityId>, Vec<String>), Problem> {
    let (mut people, mut missing) = (BTreeMap::new(), Vec::new());
    let deadline = Instant::now() + PATIENCE;
    for account in logins
        .iter()
        .filter(|account| agent.elsewhere().may_ask(account.provider()))
    {
        let (here, of) = (node.clone(), account.clone());
        let Some(token) = blocking(move || tokens::find(&here.db, &of)).await? else {
            continue;
        };
        let asked = ask_circles(agent.elsewhere(), account, token, &mut people);
        let reason = match timeout_at(deadline, asked).await {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => error.problem(account.as_str()).message,
            Err(_) => format!("{account}: there was no answer in time"),
        };
        missing.push(reason);
    }
    Ok((people, missing))
}

/// Adds the people who are connected with one account. What came before an error stays.
async fn ask_circles(
    elsewhere: &Elsewhere,
    account: &IdentityId,
    token: Token,
    people: &mut BTreeMap<IdentityId, IdentityId>,
) -> Result<(), LookError> {
    let github = elsewhere.github(account.provider())?.with_token(token);
    for circle in [Circle::Following, Circle::Followers] {
        for page in 1..=MAX_PAGES {
            let answer = elsewhere
                .send(account.provider(), &github.circle(account, circle, page))
                .await?;
            let (named, more) = github.people(account, &answer)?;
            for person in named {
                people.entry(person).or_insert_with(|| account.clone());
            }
            if !more {
                break;
            }
        }
    }
    Ok(())
}

/// Asks each provider that may be asked for accounts of these names, with the login that is used there.
async fn look_up(
    agent: &Agent,
    node: &Arc<Node>,
    q: &Search,
    logins: &[IdentityId],
) -> Result<MatchList, Problem> {
    let elsewhere = agent.elsewhere();
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for name in q.identity_ids.iter().take(MAX_NAMES) {
        for service in elsewhere.services() {
            let host = &service.host;
            let wanted = q.providers.is_empty() || q.providers.contains(host);
            let Ok(identity) = IdentityId::from_input(&format!("{host}:{name}")) else {
                continue;
            };
            if !wanted || !elsewhere.may_ask(host) || found.len() >= limit(q) {
                continue;
            }
            let login = logins.iter().find(|account| account.provider() == host).cloned();
            let here = node.clone();
            let token = blocking(move || {
                let token = login.map(|account| tokens::find(&here.db, &account));
                token.transpose().map(Option::flatten)
            });
            match elsewhere.look(&identity, token.await?).await {
                Ok(Seen::Page(_)) => found.push(identity),
                Ok(Seen::Gone) => {}
                Err(error) => missing.push(error.problem(identity.as_str()).message),
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
            missing,
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
        connected_to: None,
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
            connected_to: None,
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
