//! The calls on identities and their proofs: claiming them, logging in where they are, looking whether they hold.

use std::sync::Arc;
use std::time::Duration;

use polykey_api::identities::{
    Account, AccountList, Claimed, FormerProof, LoginStep, OfProviders, OneIdentity, OneProvider, ProofItem,
    ProofList, ProviderItem, ProviderList, Unclaimed, Verify, Witness, WitnessedLink,
};
use polykey_api::problem::ProblemReply;
use polykey_api::{Code, Nothing, Problem};
use polykey_trust::armour;
use polykey_trust::book;
use polykey_trust::claim::{Body, Claim};
use polykey_trust::gestalt::Vertex;
use polykey_trust::identity::{DNS, HTTPS, IdentityId};
use polykey_trust::proof::{FormerLink, Look, Remembered};
use polykey_trust::provider::login::{DeviceCode, DeviceLogin, Login, Token};
use polykey_trust::provider::{FILE_NAME, ServiceKind};
use polykey_trust::sigchain::Chain;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::notifications::ending_name;
use crate::agent::Agent;
use crate::blocking::blocking;
use crate::devices::{self, names};
use crate::discovery::look::{Looked, remembered};
use crate::discovery::witness::{About, Heard};
use crate::door::{Action, Caller};
use crate::failure;
use crate::gestalts::named::members;
use crate::links;
use crate::node::Node;
use crate::providers::{Elsewhere, tokens};

/// A login is waited for this long.
const LOGIN_TIME: Duration = Duration::from_secs(120);
/// Looks of one call that are made at a time.
const AT_ONCE: usize = 4;
/// Identities of one gestalt that one call looks at.
const MAX_PROOFS: usize = 64;

/// The providers.
pub async fn providers(agent: Agent, caller: Caller, _: Nothing) -> Result<ProviderList, Problem> {
    agent.enter(&caller, Action::new("identities.providers")).await?;
    let elsewhere = agent.elsewhere();
    let settings = elsewhere.settings();
    let item = |id: &str, kind: &str, place: &str, configured: bool| ProviderItem {
        provider_id: id.to_owned(),
        kind: kind.to_owned(),
        place: place.to_owned(),
        configured,
        reachable: elsewhere.may_ask(id),
    };
    let mut providers = vec![
        item(
            DNS,
            DNS,
            "a TXT record of _polykey.DOMAIN",
            !settings.dns_servers.is_empty(),
        ),
        item(
            HTTPS,
            HTTPS,
            "the page https://DOMAIN/.well-known/polykey.txt",
            settings.https.is_some(),
        ),
    ];
    for service in elsewhere.services() {
        providers.push(item(
            &service.host,
            service.kind.as_str(),
            place_at(service.kind),
            service.base.is_some(),
        ));
    }
    Ok(ProviderList { providers })
}

/// Where the line of an account stands.
fn place_at(kind: ServiceKind) -> &'static str {
    match kind {
        ServiceKind::GitHub => "the file polykey-claim.txt of a public gist, or the bio of the profile",
        ServiceKind::GitLab => "the bio of the profile",
        ServiceKind::Gitea => "the description in the profile",
        ServiceKind::Mastodon => "a field of the profile, or the bio",
    }
}

/// The identity that a user may claim: a bare domain is proven by DNS.
fn claimable(text: &str) -> Result<IdentityId, Problem> {
    let whole = match text.contains(':') {
        true => text.to_owned(),
        false => format!("{DNS}:{}", text.strip_suffix('.').unwrap_or(text)),
    };
    IdentityId::from_input(&whole).map_err(|error| {
        Problem::new(Code::Usage, format!("{text:?} is no identity: {error}"))
            .hint("write github.com:alice, dns:example.org or https:example.org")
    })
}

/// Where the line goes, and the line.
fn publication(elsewhere: &Elsewhere, claim: &Claim, identity: &IdentityId) -> Result<Claimed, Problem> {
    let domain = identity.identity();
    let mut claimed = Claimed {
        claim_id: claim.id().to_string(),
        provider_id: identity.provider().to_owned(),
        identity_id: domain.to_owned(),
        line: armour::short_line(claim),
        place: String::new(),
        record: None,
        url: None,
    };
    match identity.provider() {
        DNS => {
            claimed.place = format!("a TXT record of _polykey.{domain}");
            claimed.record = Some(format!("_polykey.{domain}. 3600 IN TXT \"{}\"", claimed.line));
        }
        HTTPS => {
            claimed.place = format!("the page https://{domain}/.well-known/polykey.txt");
            claimed.line = armour::line(claim);
        }
        host => {
            let kind = known_service(elsewhere, host)?;
            claimed.place = match kind {
                ServiceKind::GitHub => format!("the file {FILE_NAME} of a public gist of {domain}"),
                kind => format!("{} of {domain}", place_at(kind)),
            };
        }
    }
    Ok(claimed)
}

fn known_service(elsewhere: &Elsewhere, host: &str) -> Result<ServiceKind, Problem> {
    let service = elsewhere.service(host).ok_or_else(|| {
        Problem::new(Code::Usage, format!("it is not known what kind of service {host} is")).hint(format!(
            "`polykey config set identities.services {host}=KIND`, with github, gitlab, gitea, forgejo or mastodon"
        ))
    })?;
    Ok(service.kind)
}

/// Claims an identity: an entry in the node's chain, and the line that its page has to carry. Once claimed, it says the
/// same again.
pub async fn claim(agent: Agent, caller: Caller, q: OneIdentity) -> Result<Claimed, Problem> {
    let action = Action::new("identities.claim").target(&q.identity);
    let node = agent.enter(&caller, action).await?.node().clone();
    let identity = claimable(&q.identity)?;
    if !matches!(identity.provider(), DNS | HTTPS) {
        known_service(agent.elsewhere(), identity.provider())?;
    }
    agent.settle_past_for_all(&node).await?;
    let (here, claimed) = (node.clone(), identity.clone());
    let (claim, token) = blocking(move || {
        let claim = say(&here, &claimed)?;
        // What is published is looked at, now and from then on.
        here.seeker
            .ask(&[Vertex::Node(here.id()), Vertex::Identity(claimed.clone())])?;
        Ok((claim, tokens::find(&here.db, &claimed)?))
    })
    .await?;
    let mut answer = publication(agent.elsewhere(), &claim, &identity)?;
    if let Some(token) = token {
        answer.url = Some(publish(agent.elsewhere(), &identity, token, &claim).await?);
        node.seeker.ask(&[Vertex::Identity(identity)])?;
    }
    Ok(answer)
}

/// The live claim of the node on this identity: the one that is there, or a new one.
fn say(node: &Node, identity: &IdentityId) -> Result<Claim, Problem> {
    let body = Body::Identity(identity.clone());
    links::say_unless(node, &body, |chain| live_claim(chain, identity).cloned())
}

fn live_claim<'c>(chain: &'c Chain, identity: &IdentityId) -> Option<&'c Claim> {
    let (id, _) = chain.identities().find(|(_, said)| *said == identity)?;
    chain.entry(&id)
}

async fn publish(
    elsewhere: &Elsewhere,
    identity: &IdentityId,
    token: Token,
    claim: &Claim,
) -> Result<String, Problem> {
    let host = identity.provider();
    let failed = |error: crate::providers::LookError| {
        error.problem("the claim was made and not published").hint(
            "publish the line yourself: run the same command again after `polykey identities authenticate`",
        )
    };
    let github = elsewhere.github(host).map_err(|error| failed(error.into()))?;
    let github = github.with_token(token);
    let answer = elsewhere
        .send(host, &github.publish(&armour::line(claim)))
        .await
        .map_err(failed)?;
    github.published(&answer).map_err(|error| failed(error.into()))
}

/// Takes back what the node said of an identity.
pub async fn unclaim(agent: Agent, caller: Caller, q: OneIdentity) -> Result<Unclaimed, Problem> {
    let action = Action::new("identities.unclaim").target(&q.identity);
    let node = agent.enter(&caller, action).await?.node().clone();
    let identity = claimable(&q.identity)?;
    blocking(move || {
        let chain = node.db.read(|tx| book::known_chain(tx, &node.id()));
        let chain = chain.map_err(|error| failure::trust(&error))?;
        let live = chain.identities().filter(|(_, said)| **said == identity);
        let revoked: Vec<Claim> = live.filter_map(|(id, _)| chain.entry(&id).cloned()).collect();
        for claim in &revoked {
            links::say(&node, &Body::Revoke(claim.id()))?;
        }
        let Some(first) = revoked.first() else {
            return Err(
                Problem::new(Code::NodeNotFound, format!("this node does not claim {identity}"))
                    .hint("`polykey identities get NODE` with this node's id shows what it claims"),
            );
        };
        // The end of the link is to be seen by this node as well.
        node.seeker.ask(&[Vertex::Identity(identity.clone())])?;
        let place = publication(agent.elsewhere(), first, &identity).map(|claimed| claimed.place);
        Ok(Unclaimed {
            claim_ids: revoked.iter().map(|claim| claim.id().to_string()).collect(),
            place: place.unwrap_or_else(|_| identity.to_string()),
        })
    })
    .await
}

/// Logs in at a provider: the user types a code there.
pub async fn authenticate(
    agent: Agent,
    caller: Caller,
    q: OneProvider,
) -> Result<mpsc::Receiver<LoginStep>, Problem> {
    let action = Action::new("identities.authenticate").target(&q.provider);
    let node = agent.enter(&caller, action).await?.node().clone();
    let host = q.provider.to_ascii_lowercase();
    let login = agent.elsewhere().login(&host)?;
    let failed = |error: crate::providers::LookError| error.problem(&format!("cannot log in at {host}"));
    let answer = agent
        .elsewhere()
        .send(&host, &login.begin())
        .await
        .map_err(failed)?;
    let code = login.code(&answer).map_err(|error| failed(error.into()))?;
    let (steps, receiver) = mpsc::channel(2);
    tokio::spawn(async move {
        let first = LoginStep {
            url: Some(code.url.clone()),
            user_code: Some(code.user_code.clone()),
            ..LoginStep::default()
        };
        if steps.send(first).await.is_err() {
            return;
        }
        let mut closing = node.closing();
        let work = wait_for_login(&agent, &node, &host, &login, &code);
        let last = tokio::select! {
            biased;
            () = steps.closed() => return,
            () = closing.closed() => return,
            done = work => done,
        };
        let last = match last {
            Ok(identity) => LoginStep {
                identity_id: Some(identity.identity().to_owned()),
                ..LoginStep::default()
            },
            Err(problem) => LoginStep {
                problem: Some(ProblemReply::from(problem)),
                ..LoginStep::default()
            },
        };
        let _ = steps.send(last).await;
    });
    Ok(receiver)
}

/// Asks again and again whether the user has typed the code, and keeps the token.
async fn wait_for_login(
    agent: &Agent,
    node: &Arc<Node>,
    host: &str,
    login: &DeviceLogin,
    code: &DeviceCode,
) -> Result<IdentityId, Problem> {
    let failed = |error: crate::providers::LookError| error.problem(&format!("cannot log in at {host}"));
    let late = || {
        Problem::new(Code::Busy, format!("nobody typed the code at {host} in time"))
            .hint("run the same command again")
    };
    let elsewhere = agent.elsewhere();
    let ask = async {
        let mut wait = code.interval;
        loop {
            tokio::time::sleep(wait).await;
            let answer = elsewhere.send(host, &login.ask(code)).await.map_err(failed)?;
            match login
                .outcome(code, &answer)
                .map_err(|error| failed(error.into()))?
            {
                Login::Done(token) => return Ok(token),
                Login::Wait(longer) => wait = longer,
                Login::Denied => {
                    return Err(Problem::new(
                        Code::NotAllowed,
                        format!("the login at {host} was denied"),
                    ));
                }
                Login::Expired => return Err(late()),
            }
        }
    };
    let token = tokio::time::timeout(code.lasts.min(LOGIN_TIME), ask)
        .await
        .unwrap_or_else(|_| Err(late()))?;
    let copy = || {
        Token::parse(polykey_core::SecretBytes::new(token.expose().as_bytes().to_vec()))
            .map_err(|error| failed(error.into()))
    };
    let github = elsewhere.github(host).map_err(|error| failed(error.into()))?;
    let github = github.with_token(copy()?);
    let answer = elsewhere.send(host, &github.whoami()).await.map_err(failed)?;
    let account = github.account(&answer).map_err(|error| failed(error.into()))?;
    let identity = IdentityId::from_input(&format!("{host}:{account}"))
        .map_err(|error| Problem::new(Code::Protocol, "the service named no account").caused_by(&error))?;
    let (here, kept) = (node.clone(), identity.clone());
    blocking(move || tokens::keep(&here.db, &kept, &token)).await?;
    Ok(identity)
}

/// The accounts at which the node is logged in.
pub async fn authenticated(agent: Agent, caller: Caller, q: OfProviders) -> Result<AccountList, Problem> {
    let pass = agent
        .enter(&caller, Action::new("identities.authenticated"))
        .await?;
    let node = pass.node().clone();
    blocking(move || {
        let accounts = tokens::accounts(&node.db)?;
        let wanted = |account: &&IdentityId| {
            q.providers.is_empty() || q.providers.iter().any(|provider| provider == account.provider())
        };
        Ok(AccountList {
            accounts: accounts
                .iter()
                .filter(wanted)
                .map(|account| Account {
                    provider_id: account.provider().to_owned(),
                    identity_id: account.identity().to_owned(),
                })
                .collect(),
        })
    })
    .await
}

/// One proof as it was looked at, and what is remembered of it.
struct Seen {
    identity: IdentityId,
    looked: Looked,
    row: Remembered,
}

/// Looks at each proof of somebody now, whenever it was to be looked at next, and asks those whom the user trusts what
/// they saw.
pub async fn verify(agent: Agent, caller: Caller, q: Verify) -> Result<ProofList, Problem> {
    let action = Action::new("identities.verify").target(&q.who);
    let node = agent.enter(&caller, action).await?.node().clone();
    let here = node.clone();
    let who = q.who.clone();
    let identities = blocking(move || proofs_of(&here, &who)).await?;
    let mut looks: JoinSet<Result<(usize, Seen), Problem>> = JoinSet::new();
    let mut seen = Vec::new();
    for (at, identity) in identities.into_iter().enumerate() {
        if looks.len() >= AT_ONCE
            && let Some(done) = looks.join_next().await
        {
            seen.push(done.map_err(|_| panicked())??);
        }
        let (agent, node) = (agent.clone(), node.clone());
        looks.spawn(async move {
            let looked = agent.look_at_identity(&node, &identity).await?;
            let kept = blocking(move || {
                let row = remembered(&node, &identity)?;
                Ok(Seen {
                    identity,
                    looked,
                    row,
                })
            });
            Ok((at, kept.await?))
        });
    }
    while let Some(done) = looks.join_next().await {
        seen.push(done.map_err(|_| panicked())??);
    }
    seen.sort_by_key(|(at, _)| *at);
    let about = seen.iter().map(|(_, seen)| seen.about()).collect();
    let heard = match q.alone {
        true => Vec::new(),
        false => agent.hear_witnesses(&node, about).await?,
    };
    blocking(move || {
        let own = devices::others(&node)?;
        let names = names::names(&node, &own)?;
        let proofs = seen.iter().map(|(at, seen)| {
            let words = heard.iter().filter(|heard| heard.about == *at);
            let shown = words.filter_map(|heard| {
                let petname = names.get(&heard.witness).cloned();
                to_witness(&node, seen, heard).map(|witness| Witness {
                    own_device: own.contains(&heard.witness),
                    petname: witness.petname.or(petname),
                    ..witness
                })
            });
            ProofItem {
                witnesses: shown.collect(),
                ..to_item(&seen.identity, &seen.looked, &seen.row)
            }
        });
        Ok(ProofList {
            proofs: proofs.collect(),
        })
    })
    .await
}

impl Seen {
    /// What witnesses are asked about: the link that holds, or that was last seen to.
    fn about(&self) -> About {
        let former = self.row.former.last().map(|former| former.link);
        let link = self.row.live.or(former).map(|link| link.proof.node);
        (self.identity.clone(), link.or(self.looked.node))
    }
}

/// The word of a witness; none when it saw nothing of this.
fn to_witness(node: &Node, seen: &Seen, heard: &Heard) -> Option<Witness> {
    let word = heard
        .testimony
        .beside(&seen.row, seen.looked.look != Look::Failed)?;
    let ended = heard.testimony.former.filter(|_| heard.testimony.live.is_none());
    let link = heard.testimony.live.or(ended.map(|former| former.link))?;
    Some(Witness {
        node_id_encoded: heard.witness.to_string(),
        petname: node
            .contacts
            .find(&heard.witness)
            .and_then(|contact| contact.petname),
        own_device: false,
        word: word.as_str().to_owned(),
        saw: WitnessedLink {
            node_id_encoded: link.proof.node.to_string(),
            claim_id: link.proof.claim.to_string(),
            since: link.since.as_millis(),
            checked: link.checked.as_millis(),
            ended: ended.map(|former| former.ended.as_millis()),
            reason: ended.map(|former| ending_name(former.ending).to_owned()),
        },
    })
}

fn panicked() -> Problem {
    Problem::new(Code::Internal, "a fault in the agent ended a look")
}

/// The identities of somebody: those that are linked, those that a node of theirs names, and those that were linked.
fn proofs_of(node: &Node, who: &str) -> Result<Vec<IdentityId>, Problem> {
    let view = node.gestalts.view()?;
    let mut found = std::collections::BTreeSet::new();
    for vertex in members(&node.contacts, &view, who)? {
        if let Vertex::Identity(identity) = &vertex {
            found.insert(identity.clone());
        }
        let Some(gestalt) = view.graph.gestalt(&vertex) else {
            continue;
        };
        found.extend(gestalt.identities.iter().cloned());
        let said = gestalt.unanswered.iter().filter_map(|bond| match &bond.to {
            Vertex::Identity(identity) => Some(identity.clone()),
            Vertex::Node(_) => None,
        });
        found.extend(said);
        let before = view.pages.iter().filter(|(_, page)| {
            let former = page.former.iter().map(|former| former.link.proof.node);
            former.clone().any(|node| gestalt.nodes.contains(&node))
        });
        found.extend(before.map(|(identity, _)| identity.clone()));
    }
    if found.len() > MAX_PROOFS {
        tracing::warn!("only {MAX_PROOFS} of {} proofs are looked at", found.len());
    }
    Ok(found.into_iter().take(MAX_PROOFS).collect())
}

fn to_item(identity: &IdentityId, looked: &Looked, row: &Remembered) -> ProofItem {
    let state = match looked.look {
        Look::Page(Ok(_)) => "verified",
        Look::Failed => "failed",
        Look::Page(Err(_)) | Look::Gone if row.former.is_empty() => "missing",
        Look::Page(Err(_)) | Look::Gone => "ended",
    };
    let node = row.live.map(|live| live.proof.node).or(looked.node);
    ProofItem {
        provider_id: identity.provider().to_owned(),
        identity_id: identity.identity().to_owned(),
        state: state.to_owned(),
        node_id_encoded: node.map(|node| node.to_string()),
        claim_id: row.live.map(|live| live.proof.claim.to_string()),
        since: row.live.map(|live| live.since.as_millis()),
        checked: row.live.map(|live| live.checked.as_millis()),
        reason: looked.problem.as_ref().map(reason),
        changed: !looked.notices.is_empty(),
        former: row.former.iter().map(to_former).collect(),
        witnesses: Vec::new(),
    }
}

/// What is wrong, with what lies at the bottom of it.
fn reason(problem: &Problem) -> String {
    match problem.causes.last() {
        Some(cause) if !problem.message.contains(cause.as_str()) => format!("{}: {cause}", problem.message),
        _ => problem.message.clone(),
    }
}

fn to_former(former: &FormerLink) -> FormerProof {
    FormerProof {
        node_id_encoded: former.link.proof.node.to_string(),
        claim_id: former.link.proof.claim.to_string(),
        since: former.link.since.as_millis(),
        checked: former.link.checked.as_millis(),
        ended: former.ended.as_millis(),
        reason: ending_name(former.ending).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::bench::Bench;

    #[test]
    fn an_identity_is_claimed_once_and_a_domain_by_dns() {
        let bench = Bench::new();
        let node = bench.node();
        let check = |text: &str, want: Result<&str, Code>| {
            let found = claimable(text).map(|identity| identity.to_string());
            assert_eq!(
                found.map_err(|problem| problem.code),
                want.map(str::to_owned),
                "{text:?}"
            );
        };
        check("Example.org", Ok("dns:example.org"));
        check("example.org.", Ok("dns:example.org"));
        check("https:example.org", Ok("https:example.org"));
        check("github.com:Alice", Ok("github.com:alice"));
        for bad in [
            "",
            "localhost",
            "github.com:",
            "alice",
            "dns:1.2.3.4",
            "github.com:a/b",
        ] {
            check(bad, Err(Code::Usage));
        }
        let identity = claimable("example.org").expect("good");
        let claim = say(&node, &identity).expect("said");
        assert_eq!(say(&node, &identity).expect("said").id(), claim.id(), "once");
        let published = publication(bench.agent.elsewhere(), &claim, &identity).expect("known");
        let page = armour::find(published.record.as_deref().expect("a record")).expect("a claim");
        assert_eq!((page.node, page.claim), (node.id(), claim.id()));
    }
}
