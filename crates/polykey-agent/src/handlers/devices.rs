//! The calls on own devices.

use std::time::Duration;

use polykey_api::devices::{
    DeviceItem, DeviceList, DeviceRemoved, DevicesJoined, JoinDevices, PairDevice, Pairing, RemoveDevice,
    Withdrawn,
};
use polykey_api::{Code, Nothing, Problem};
use polykey_core::{NodeId, Timestamp};

use crate::agent::Agent;
use crate::blocking::{blocking, to_the_end};
use crate::devices::shared::names;
use crate::devices::{self, names as of_devices, pairing, removal, words};
use crate::door::{Action, Caller};
use crate::open;
use crate::sharing::invite::own_addresses;
use crate::tickets::MAX_LIFE;

/// Makes a ticket for a device.
pub async fn pair(agent: Agent, caller: Caller, q: PairDevice) -> Result<Pairing, Problem> {
    let node = agent
        .enter(&caller, Action::new("devices.pair"))
        .await?
        .node()
        .clone();
    let life = q.expires.map_or(pairing::LIFE, Duration::from_millis);
    if life > MAX_LIFE {
        return Err(Problem::new(
            Code::Usage,
            "a ticket can be used for a year at most",
        ));
    }
    agent.settle_past(&node, &[]).await?;
    let addresses = own_addresses(agent.network());
    let (ticket, words) = blocking(move || {
        of_devices::name_device(&node, q.name.as_deref(), q.machine.as_deref())?;
        Ok((pairing::make(&node, life, &addresses)?, words::make(&node)?))
    })
    .await?;
    agent.step_soon();
    Ok(Pairing {
        ticket: ticket.to_text(),
        words,
        expires: ticket.expires.as_millis(),
    })
}

/// Ends all tickets for devices, and the words.
pub async fn withdraw(agent: Agent, caller: Caller, _: Nothing) -> Result<Withdrawn, Problem> {
    let node = agent
        .enter(&caller, Action::new("devices.withdraw"))
        .await?
        .node()
        .clone();
    blocking(move || {
        let words = words::withdraw(&node);
        Ok(Withdrawn {
            tickets: pairing::withdraw(&node)? as u64,
            words,
        })
    })
    .await
}

/// Makes this node a device.
pub async fn join(agent: Agent, caller: Caller, q: JoinDevices) -> Result<DevicesJoined, Problem> {
    let node = agent
        .enter(&caller, Action::new("devices.join"))
        .await?
        .node()
        .clone();
    let (here, name, machine) = (node.clone(), q.name, q.machine);
    let set_name = move || of_devices::name_device(&here, name.as_deref(), machine.as_deref());
    let at = q.at.as_deref().map(|who| node.contacts.who(who)).transpose()?;
    let (issuer, came) = match (words::parse(&q.ticket), at) {
        (Some(words), at) => {
            blocking(set_name).await?;
            agent.join_by_words(&node, &words, at).await?
        }
        (None, Some(_)) => {
            return Err(Problem::new(
                Code::Usage,
                "a ticket says itself where its device is",
            ));
        }
        (None, None) => {
            let here = node.clone();
            let ticket = blocking(move || pairing::read(&here, &q.ticket)).await?;
            blocking(set_name).await?;
            let issuer = ticket.issuer;
            (issuer, agent.join_devices(&node, ticket).await?)
        }
    };
    let (vaults, waiting) = names(came);
    Ok(DevicesJoined {
        node_id_encoded: issuer.to_string(),
        vaults,
        waiting,
    })
}

/// The devices.
pub async fn list(agent: Agent, caller: Caller, _: Nothing) -> Result<DeviceList, Problem> {
    let node = agent
        .enter(&caller, Action::new("devices.list"))
        .await?
        .node()
        .clone();
    let connected = agent.network().connections();
    blocking(move || {
        let others = devices::others(&node)?;
        let named = of_devices::names(&node, &others)?;
        let item = |id: NodeId| DeviceItem {
            node_id_encoded: id.to_string(),
            name: named.get(&id).cloned(),
            this_node: id == node.id(),
            connected: connected.iter().any(|info| info.node == id),
            last_seen: node
                .contacts
                .find(&id)
                .and_then(|contact| contact.last_seen)
                .map(Timestamp::as_millis),
        };
        let all = std::iter::once(node.id()).chain(others.iter().copied());
        Ok(DeviceList {
            devices: all.map(item).collect(),
        })
    })
    .await
}

/// Removes a device.
pub async fn remove(agent: Agent, caller: Caller, q: RemoveDevice) -> Result<DeviceRemoved, Problem> {
    let action = Action::new("devices.remove").target(&q.who);
    let node = agent.enter(&caller, action).await?.node().clone();
    let code = q.recovery_code.as_deref().map(open::recovery_code).transpose()?;
    let working = agent.clone();
    // Half a removal is none.
    to_the_end(async move {
        let here = node.clone();
        let (device, removal) = blocking(move || {
            let device = removal::find(&here, &q.who)?;
            let mut keys = code.map(|code| code.keys());
            if q.perhaps {
                keys = keys.filter(|keys| keys.root.public() == device);
            }
            if let Some(keys) = &keys
                && keys.root.public() != device
            {
                return Err(Problem::new(
                    Code::WrongPassword,
                    "this is not the recovery code of the device that is removed",
                ));
            }
            let removal = removal::remove(&here, device, keys.as_ref())?;
            Ok((device, removal))
        })
        .await?;
        let vaults = working.settle_removal(&node, device, removal.vaults).await?;
        for gone in removal.with_it.iter().chain([&device]) {
            working.run_errands(*gone);
        }
        working.keep_in_step().await;
        Ok(DeviceRemoved {
            node_id_encoded: device.to_string(),
            with_it: removal.with_it.iter().map(ToString::to_string).collect(),
            vaults,
        })
    })
    .await
}
