//! What the user is told of own devices: that one came, also by another device, and that one says that it is none, or
//! was removed elsewhere. A thief who has a device does just that.
//!
//! Always: each of it is told once, and what this node did itself is not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{MutexGuard, PoisonError};

use polykey_api::Problem;
use polykey_core::clock::SystemClock;
use polykey_core::random::OsRandom;
use polykey_core::{Clock, NodeId};
use polykey_store::StoreError;
use polykey_trust::TrustError;
use polykey_trust::book;
use polykey_trust::link::LinkType;

use super::own;
use crate::failure;
use crate::node::Node;
use crate::post::{Letter, Tray};
use crate::tables::DEVICES_TOLD;

/// The one group of the table.
const ALL: &[u8] = b"";

/// The devices of which the user knows.
fn known(node: &Node) -> Result<BTreeSet<NodeId>, Problem> {
    let rows = node.db.read(|tx| tx.group(DEVICES_TOLD, ALL));
    let rows = rows.map_err(|error: StoreError| failure::store(&error))?;
    rows.into_iter()
        .map(|(device, _)| {
            NodeId::try_from(&device[..])
                .map_err(|error| failure::record("the record of a device that was told of", &error))
        })
        .collect()
}

fn note(node: &Node, device: &NodeId, is_known: bool) -> Result<(), Problem> {
    let noted = node.db.write(|tx| match is_known {
        true => tx.put(DEVICES_TOLD, ALL, device.as_bytes(), &[]),
        false => tx.remove(DEVICES_TOLD, ALL, device.as_bytes()).map(drop),
    });
    noted.map_err(|error: StoreError| failure::store(&error))
}

fn tell(node: &Node, letter: Letter) -> Result<(), Problem> {
    let told = node.post.tell(Tray::Inbox, letter, SystemClock.now(), &OsRandom);
    told.map(drop)
}

/// So that nothing is told twice.
fn turn(node: &Node) -> MutexGuard<'_, ()> {
    let turn = node.turns.telling.lock();
    turn.unwrap_or_else(PoisonError::into_inner)
}

/// Tells that `device` is one now, unless that is known.
///
/// # Errors
/// What the store says.
pub fn joined(node: &Node, device: NodeId) -> Result<(), Problem> {
    let _alone = turn(node);
    if known(node)?.contains(&device) {
        return Ok(());
    }
    tell(node, Letter::DeviceJoined { from: device })?;
    note(node, &device, true)
}

/// Tells what sigchains say of own devices and the user does not know.
///
/// # Errors
/// What the store says.
pub fn follow(node: &Node) -> Result<(), Problem> {
    let _alone = turn(node);
    let known = known(node)?;
    let own = own(node)?;
    if known.is_empty() && own.nodes.len() <= 1 {
        return Ok(());
    }
    let chain = node.db.read(|tx| book::chain(tx, &node.id()));
    let chain = chain.map_err(|error: TrustError| failure::trust(&error))?;
    // The devices to which this node was made one, and those that it removed.
    let joined: BTreeMap<NodeId, bool> = (chain.iter().flat_map(|chain| chain.links()))
        .filter(|link| link.terms().kind == LinkType::Device)
        .filter_map(|link| Some((link.other_end(&node.id())?, link.terms().issuer == node.id())))
        .collect();
    let removed = chain.map(|chain| chain.removed_devices()).unwrap_or_default();
    // Whoever has just joined knows what it joined.
    let is_new = known.is_empty() && joined.values().any(|by_us| *by_us);
    for device in own.nodes.iter().filter(|device| **device != node.id()) {
        let is_told = known.contains(device)
            || is_new
            || joined.get(device) == Some(&true)
            || node.contacts.succeeds(device);
        if !is_told {
            tell(node, Letter::DeviceJoined { from: *device })?;
        }
        if !known.contains(device) {
            note(node, device, true)?;
        }
    }
    for device in known.difference(&own.nodes) {
        let itself = own.left.contains(device);
        let by_us = removed.contains(device);
        // Not seen yet is not gone: what it says of itself comes behind its link.
        if !(itself || by_us || own.removed.contains(device) || own.beyond.contains(device)) {
            continue;
        }
        // What went with a device that was removed was named by who removed that.
        if itself || (own.removed.contains(device) && !by_us) {
            let letter = Letter::DeviceGone {
                from: *device,
                itself,
            };
            tell(node, letter)?;
        }
        note(node, device, false)?;
    }
    Ok(())
}
