//! The calls on other nodes.

use std::net::IpAddr;
use std::sync::Arc;

use polykey_api::doctor::{Finding, Findings, Health};
use polykey_api::nodes::{
    AddNode, BlockNode, ConnectionItem, ConnectionList, NameNode, NodeAddress, NodeItem, NodeList, OneNode,
    Pinged,
};
use polykey_api::problem::typed;
use polykey_api::{Code, Nothing, Problem};
use polykey_core::{NodeId, Timestamp};
use polykey_net::{ConnectionInfo, Mode, Path};

use crate::agent::Agent;
use crate::blocking::blocking;
use crate::contacts::{Contact, Place, Source};
use crate::door::{Action, Caller};
use crate::gestalts::named;
use crate::node::Node;
use crate::peer::{AskError, Request};

/// Keeps the address of a node.
pub async fn add(agent: Agent, caller: Caller, q: AddNode) -> Result<NodeItem, Problem> {
    let action = Action::new("nodes.add").target(&q.node);
    let pass = agent.enter(&caller, action).await?;
    let node = pass.node().clone();
    let id: NodeId = q.node.parse().map_err(|_| {
        Problem::new(Code::Usage, format!("{:?} is not the id of a node", q.node))
            .hint("`polykey agent status` shows the id there")
    })?;
    let place = q
        .host
        .parse::<IpAddr>()
        .ok()
        .and_then(|host| {
            std::net::SocketAddr::new(host, q.port)
                .to_string()
                .parse::<Place>()
                .ok()
        })
        .ok_or_else(|| {
            Problem::new(
                Code::Usage,
                format!("{:?} and port {} are no address of a node", q.host, q.port),
            )
            .hint("give the IP address, and the port that `polykey agent status` shows there")
        })?;
    let here = node.clone();
    blocking(move || {
        here.contacts.trust(id)?;
        here.contacts.learn(id, &[place], Source::Added)
    })
    .await?;
    agent.step_soon();
    let accepting = agent.clone();
    tokio::spawn(async move { accepting.accept_requests(id).await });
    if !q.no_ping {
        let pinged = agent.network().ask(&node, id, Request::Ping).await;
        if let Err(problem) = pinged
            && !q.force
        {
            return Err(problem.hint("the address was kept; `--no-ping` does not ask"));
        }
    }
    Ok(item(&agent, &node, id))
}

/// Finds a node: by the connection that is up, or by dialling it.
pub async fn find(agent: Agent, caller: Caller, q: OneNode) -> Result<NodeItem, Problem> {
    let (node, id) = enter(&agent, &caller, "nodes.find", &q.who).await?;
    if id == node.id() {
        return Err(Problem::new(Code::Usage, "this is the id of the node itself"));
    }
    let found = agent.network().try_ask(id, Request::Ping).await;
    let item = item(&agent, &node, id);
    match found {
        Ok(_) => Ok(item),
        // It is known where it was, although it is not there now.
        Err(_) if !item.node_contact.is_empty() => Ok(item),
        Err(_) => Err(Problem::new(
            Code::NodeNotFound,
            format!("the node {} was not found", node.contacts.title(&id)),
        )
        .hint(format!("run `polykey doctor --network {}`", typed(&q.who)))),
    }
}

/// Asks a node whether it is there.
pub async fn ping(agent: Agent, caller: Caller, q: OneNode) -> Result<Pinged, Problem> {
    let (node, id) = enter(&agent, &caller, "nodes.ping", &q.who).await?;
    let pinged = agent.network().ask(&node, id, Request::Ping).await;
    Ok(Pinged {
        success: pinged.is_ok(),
        reason: pinged.err().map(|problem| problem.message),
    })
}

/// All nodes that are known.
pub async fn get_all(agent: Agent, caller: Caller, _: Nothing) -> Result<NodeList, Problem> {
    let pass = agent.enter(&caller, Action::new("nodes.getall")).await?;
    let node = pass.node();
    let contacts = node.contacts.all();
    Ok(NodeList {
        nodes: contacts
            .into_iter()
            .map(|contact| to_item(&agent, contact))
            .collect(),
    })
}

/// The connections that are up.
pub async fn connections(agent: Agent, caller: Caller, _: Nothing) -> Result<ConnectionList, Problem> {
    let pass = agent.enter(&caller, Action::new("nodes.connections")).await?;
    let node = pass.node();
    let mut connections: Vec<_> = agent
        .network()
        .connections()
        .into_iter()
        .map(|info| to_connection(node, &info))
        .collect();
    connections.sort_by(|a, b| a.node_id_encoded.cmp(&b.node_id_encoded));
    Ok(ConnectionList { connections })
}

/// Gives a node a petname.
pub async fn name(agent: Agent, caller: Caller, q: NameNode) -> Result<NodeItem, Problem> {
    let (node, id) = enter(&agent, &caller, "nodes.name", &q.who).await?;
    let here = node.clone();
    blocking(move || here.contacts.name(id, q.petname.as_deref())).await?;
    agent.step_soon();
    Ok(item(&agent, &node, id))
}

/// Refuses a node, or no longer.
pub async fn block(agent: Agent, caller: Caller, q: BlockNode) -> Result<NodeItem, Problem> {
    let event = if q.blocked { "nodes.block" } else { "nodes.unblock" };
    let (node, id) = enter(&agent, &caller, event, &q.who).await?;
    let here = node.clone();
    blocking(move || here.contacts.block(id, q.blocked)).await?;
    agent.step_soon();
    if q.blocked {
        agent.network().cut_off(&id).await;
    }
    Ok(item(&agent, &node, id))
}

/// Says why a node can or cannot be reached.
pub async fn examine(agent: Agent, caller: Caller, q: OneNode) -> Result<Findings, Problem> {
    let (node, id) = enter(&agent, &caller, "nodes.examine", &q.who).await?;
    let mut findings = Vec::new();
    let network = agent.network();
    findings.push(match (network.running(), network.failure()) {
        (Some(_), _) => {
            let place = network
                .address()
                .map_or("unknown addresses".to_owned(), |place| place.to_string());
            let mode = network.mode();
            Finding::new(
                "this node",
                Health::Good,
                format!("listens on {place}, network {mode}"),
            )
        }
        (None, Some(problem)) => Finding::bad("this node", problem),
        (None, None) => Finding::new("this node", Health::Bad, "is not on the network"),
    });
    let contact = node.contacts.find(&id);
    let places = contact.as_ref().map_or(0, |contact| contact.addresses.len());
    if contact.as_ref().is_some_and(|contact| contact.blocked) {
        findings.push(
            Finding::new("block", Health::Bad, "this node refuses it")
                .hint(format!("run `polykey nodes unblock {}`", typed(&q.who))),
        );
    }
    if !network.is_member(&id) {
        findings.push(
            Finding::new("members", Health::Bad, "it is no member of this private network")
                .hint("`polykey config set network-members` names the members; restart the agent then"),
        );
    }
    findings.push(match (places, network.mode()) {
        (0, Mode::Offline) => Finding::new(
            "addresses",
            Health::Bad,
            "none is known, and the network `offline` looks for none",
        )
        .hint(format!(
            "run `polykey nodes add {id} <host> <port>`, or use another network"
        )),
        (0, mode) => Finding::new(
            "addresses",
            Health::Note,
            format!("none is known; the network {mode} looks for it"),
        ),
        (count, _) => Finding::new("addresses", Health::Good, format!("{count} known")),
    });
    findings.push(match agent.network().try_ask(id, Request::Ping).await {
        Ok(_) => Finding::new("answer", Health::Good, "it answers"),
        Err(error) => unanswered(&error, &node.contacts.title(&id)),
    });
    if let Some(info) = network.connections().iter().find(|info| info.node == id) {
        let path = match &info.path {
            Path::Direct(address) => format!("direct, {address}"),
            Path::Relayed(url) => format!("through the relay {url}"),
            _ => "between two ways".to_owned(),
        };
        let text = format!("{path}, {} ms there and back", info.rtt.as_millis());
        findings.push(Finding::new("connection", Health::Good, text));
    }
    Ok(Findings { findings })
}

fn unanswered(error: &AskError, title: &str) -> Finding {
    let mut texts = vec![error.problem(title).message];
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        texts.push(error.to_string());
        source = error.source();
    }
    let finding = Finding::new("answer", Health::Bad, texts.join(": ")).code(error.problem(title).code);
    match error.problem(title).hint {
        Some(hint) if !hint.contains("doctor") => finding.hint(hint),
        _ => {
            finding.hint("is its agent running (`polykey agent status` there), and the address still right?")
        }
    }
}

/// The way through the door for a call about one node.
pub(super) async fn enter(
    agent: &Agent,
    caller: &Caller,
    event: &'static str,
    who: &str,
) -> Result<(Arc<Node>, NodeId), Problem> {
    let pass = agent.enter(caller, Action::new(event).target(who)).await?;
    let node = pass.node().clone();
    let id = named::node(&node, who).await?;
    Ok((node, id))
}

/// What is known about a node, whether it is a contact or not.
fn item(agent: &Agent, node: &Node, id: NodeId) -> NodeItem {
    let contact = node.contacts.find(&id);
    to_item(
        agent,
        contact.unwrap_or_else(|| Contact::new(id, Timestamp::from_millis(0))),
    )
}

fn to_item(agent: &Agent, contact: Contact) -> NodeItem {
    let connections = agent.network().connections();
    let up = connections.iter().find(|info| info.node == contact.node);
    let now = up.and_then(|info| match &info.path {
        Path::Direct(address) => Some(address.to_string()),
        Path::Relayed(url) => Some(url.to_string()),
        _ => None,
    });
    let known = contact.addresses.iter().map(|known| NodeAddress {
        address: known.place.to_string(),
        source: known.source.as_str().to_owned(),
        since: known.since.as_millis(),
    });
    let node_contact: Vec<_> = known.collect();
    NodeItem {
        node_id_encoded: contact.node.to_string(),
        petname: contact.petname,
        node_address: now.or_else(|| node_contact.first().map(|known| known.address.clone())),
        node_contact,
        connected: up.is_some(),
        trusted: contact.trusted,
        blocked: contact.blocked,
        last_seen: contact.last_seen.map(Timestamp::as_millis),
    }
}

fn to_connection(node: &Node, info: &ConnectionInfo) -> ConnectionItem {
    let (path, direct, relay) = match &info.path {
        Path::Direct(address) => ("direct", Some(*address), None),
        Path::Relayed(url) => ("relayed", None, Some(url.to_string())),
        _ => ("unknown", None, None),
    };
    ConnectionItem {
        node_id_encoded: info.node.to_string(),
        petname: node.contacts.find(&info.node).and_then(|contact| contact.petname),
        host: direct.map(|address| address.ip().to_string()),
        port: direct.map(|address| address.port()),
        relay,
        path: path.to_owned(),
        lookup: info.lookup.map(str::to_owned),
        round_trip: u64::try_from(info.rtt.as_micros()).unwrap_or(u64::MAX),
        age: u64::try_from(info.age.as_millis()).unwrap_or(u64::MAX),
        dialled: info.dialled_by_us,
        post_quantum: info.post_quantum,
    }
}
