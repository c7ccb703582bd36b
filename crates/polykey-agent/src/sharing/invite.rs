//! Invitations: making a ticket, and what happens when somebody brings one.

use std::sync::Arc;
use std::time::Duration;

use polykey_api::{Code, Problem};
use polykey_core::clock::SystemClock;
use polykey_core::random::OsRandom;
use polykey_core::statement::{Kind, Statement};
use polykey_core::{Clock, Key, NodeId, VaultId, VaultName};
use polykey_vault::charter::Role;
use polykey_vault::sync::Replica;

use super::{Wanted, grant, open_as_admin};
use crate::agent::Agent;
use crate::blocking::blocking;
use crate::contacts::{Place, Source};
use crate::network::Network;
use crate::node::Node;
use crate::peer::keys::NodeKeys;
use crate::peer::{Answer, Beginning, Refusal, Request};
use crate::post::{Letter, Tray};
use crate::replicas::keep::keep_by_choice;
use crate::tickets::ticket::{Purpose, Ticket};
use crate::tickets::{Issued, MAX_LIFE, Use};
use crate::vaults::InUse;
use crate::vaults::problem::vault_problem;

/// Makes a ticket for a vault; `addresses` are where this node listens.
///
/// # Errors
/// [`Code::NotAllowed`] for anybody but an admin; [`Code::Usage`] for a life that is too long.
pub fn make(
    node: &Node,
    vault: &str,
    wanted: Wanted,
    life: Duration,
    to: Option<NodeId>,
    addresses: &[Place],
) -> Result<(Ticket, InUse), Problem> {
    if life > MAX_LIFE {
        return Err(Problem::new(
            Code::Usage,
            "a ticket can be used for a year at most",
        ));
    }
    let open = open_as_admin(node, vault)?;
    let now = SystemClock.now();
    let addresses = addresses.iter().map(ToString::to_string).collect();
    let ticket = Ticket::new(Purpose::Vault, node.id(), now.after(life), addresses, &OsRandom);
    let issued = Issued {
        vault: open.id,
        role: wanted.role(),
        expires: ticket.expires,
        to,
        used: Use::Free,
    };
    node.tickets.issue(&ticket.secret, &issued, now)?;
    Ok((ticket, open))
}

/// Reads a ticket that somebody gave us.
///
/// # Errors
/// [`Code::BadData`] for what is none; [`Code::Usage`] for our own, and for one that makes devices.
pub fn read(node: &Node, text: &str) -> Result<Ticket, Problem> {
    let ticket = Ticket::parse(text).map_err(|error| {
        Problem::new(Code::BadData, error.to_string())
            .hint("copy the whole line that `vaults invite` printed")
    })?;
    if ticket.purpose != Purpose::Vault {
        return Err(Problem::new(
            Code::Usage,
            "this ticket makes a node a device and lets into no vault",
        )
        .hint("run `polykey devices join` with it, if the device that made it is yours"));
    }
    if ticket.issuer == node.id() {
        return Err(Problem::new(Code::Usage, "this node made the ticket itself")
            .hint("run `polykey join` at the node that shall be let in"));
    }
    Ok(ticket)
}

/// Notes what a ticket says about its issuer: the user trusts whoever gave it.
///
/// # Errors
/// What the store says.
pub fn meet_issuer(node: &Node, ticket: &Ticket) -> Result<(), Problem> {
    let places: Vec<Place> = ticket
        .addresses
        .iter()
        .filter_map(|address| address.parse().ok())
        .collect();
    node.contacts.learn(ticket.issuer, &places, Source::Ticket)?;
    node.contacts.trust(ticket.issuer)
}

/// Where this node can be reached, for a ticket.
pub fn own_addresses(network: &Network) -> Vec<Place> {
    let Some(address) = network.addresses() else {
        return Vec::new();
    };
    let relay = address.relay.and_then(|url| url.to_string().parse().ok());
    address
        .direct
        .into_iter()
        .map(Place::Socket)
        .chain(relay)
        .collect()
}

/// Redeems a ticket at its issuer, and makes an empty replica of the vault that it is for, which is kept as ciphertext
/// where the role gives no more.
///
/// # Errors
/// [`Code::NotAllowed`] when it does not let this node in; [`Code::NodeUnreachable`]; [`Code::Exists`];
/// [`Code::DiskFull`] for a keeper that has no room.
pub async fn bring(agent: &Agent, node: &Arc<Node>, ticket: &Ticket) -> Result<(VaultId, Role), Problem> {
    let request = Request::Redeem {
        secret: *ticket.secret.expose(),
        start: node.sigchain_start.as_bytes().to_vec(),
        record: node.key_record.as_bytes().to_vec(),
    };
    let asked = agent.network().ask(node, ticket.issuer, request).await;
    let answer = asked.map_err(|problem| match problem.code {
        Code::NotAllowed => Problem::new(
            Code::NotAllowed,
            "the ticket does not let this node in: it was used, is too old or is for another node",
        )
        .hint("ask for another one"),
        _ => problem,
    })?;
    let Answer::Joined(vault, beginning) = answer else {
        unreachable!("answers are read as answers to their request");
    };
    let broken = || {
        Problem::new(
            Code::Protocol,
            "the node that made the ticket shows another vault than it names",
        )
    };
    let genesis = Statement::verify(Kind::Charter, beginning.genesis).map_err(|_| broken())?;
    if VaultId::from(genesis.id()) != vault {
        return Err(broken());
    }
    let here = node.clone();
    let name = match beginning.name.as_str() {
        "" => "joined".to_owned(),
        name => name.to_owned(),
    };
    let (role, issuer) = (beginning.role, ticket.issuer);
    let vault = blocking(move || match role.reads() {
        true => here.vaults.begin_joining(&name, &genesis),
        false => keep_by_choice(&here, issuer, &genesis),
    })
    .await?;
    Ok((vault, role))
}

/// Somebody with verified keys brings the secret of a ticket. `None` when it does not let them in.
fn redeem(node: &Node, from: NodeId, secret: &Key, keys: &NodeKeys) -> Result<Option<Answer>, Problem> {
    let _alone = node.shares.alone();
    let now = SystemClock.now();
    let Some(issued) = node.tickets.find(secret, from, now)? else {
        return Ok(None);
    };
    let vault = node.vaults.open_id(issued.vault)?;
    // Whoever gains nothing by it leaves it for another one.
    if issued.used == Use::Free
        && let Some(role) = has_as_much(&vault, from, keys, issued.role)?
    {
        return Ok(Some(joined(&vault, role)));
    }
    let Some(issued) = node.tickets.take(secret, from, now)? else {
        return Ok(None);
    };
    if issued.used == Use::Closed(from) {
        // The answer was lost; but whoever was taken out since stays out.
        return Ok(vault.vault.role_of(&from).map(|role| joined(&vault, role)));
    }
    node.contacts.trust(from)?;
    node.contacts.keep_keys(keys.start(), keys.record())?;
    let role = grant(node, &vault, from, Some(keys), Wanted::AtLeast(issued.role))?;
    node.tickets.close(secret, &issued, from)?;
    if let Ok(name) = VaultName::parse(&vault.name) {
        let letter = Letter::Joined {
            from,
            vault: vault.id,
            name,
            role,
        };
        node.post
            .tell(Tray::Inbox, letter, SystemClock.now(), &OsRandom)?;
    }
    Ok(Some(joined(&vault, role)))
}

/// The role of `from`, when it is in with a role that is as good as this one, and with these keys.
fn has_as_much(vault: &InUse, from: NodeId, keys: &NodeKeys, role: Role) -> Result<Option<Role>, Problem> {
    let charter = vault.vault.charter();
    let charter = charter.map_err(|error| vault_problem(&vault.name, error))?;
    let sealed_to = charter.keys_of(&from).map(|keys| keys.device.number);
    let is_newest = sealed_to.is_some_and(|number| number >= keys.member_keys().device.number);
    // Roles ascend from most to least.
    let has = vault.vault.role_of(&from).filter(|has| *has <= role);
    Ok(has.filter(|has| !has.reads() || is_newest))
}

fn joined(vault: &InUse, role: Role) -> Answer {
    let beginning = Beginning {
        genesis: vault.vault.genesis().as_bytes().to_vec(),
        name: vault.name.clone(),
        role,
    };
    Answer::Joined(vault.id, beginning)
}

impl Agent {
    /// Another node redeems a ticket; `start` and `record` are its keys, which were not checked yet.
    ///
    /// # Errors
    /// What goes wrong here; a ticket that does not let in is a refusal.
    pub async fn redeem_ticket(
        &self,
        node: Arc<Node>,
        from: NodeId,
        secret: [u8; 32],
        start: Vec<u8>,
        record: Vec<u8>,
    ) -> Result<Answer, Problem> {
        let secret = Key::copy_of(&secret);
        let (here, shown) = (node.clone(), Key::copy_of(secret.expose()));
        let good = move || here.tickets.find(&shown, from, SystemClock.now());
        // A stranger that made it up shall not make us dial.
        if blocking(good).await?.is_none() {
            return Ok(Answer::refused(Refusal::Refused));
        }
        let Some(keys) = self.network().shown_keys(&node, from, start, record).await else {
            return Ok(Answer::refused(Refusal::Refused));
        };
        let here = node.clone();
        let answer = blocking(move || redeem(&here, from, &secret, &keys)).await?;
        match answer {
            Some(answer) => Ok(answer),
            None => Ok(Answer::refused(Refusal::Refused)),
        }
    }
}
