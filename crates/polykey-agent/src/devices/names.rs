//! What own devices are called: the name that this one was given, and those of the others.
//!
//! Each device writes its own name into the [hidden vault](super::hidden). The names of the others are remembered here as
//! well, under the newest ids: one that is away cannot write its own into a new vault, and nor can one that is lost.
//!
//! Always: a name from the vault is read like anything from elsewhere; what is none is left out.

use std::collections::{BTreeMap, BTreeSet};

use polykey_api::{Code, Problem};
use polykey_core::NodeId;
use polykey_store::StoreError;

use super::hidden::{self, DEVICE};
use crate::failure;
use crate::node::Node;
use crate::tables::IN_STEP;
use crate::vaults::InUse;

/// Group of the name that this device gave itself; the other groups but [`NAMES`] are vaults.
const OWN: &[u8] = b"own";
/// Group of the names of other devices, by node.
const NAMES: &[u8] = b"names";
/// Longest name of a device in bytes.
pub const MAX_NAME_LEN: usize = 64;

/// A name that a device may have: some visible text, which cannot be taken for an id.
///
/// # Errors
/// [`Code::BadPath`].
pub fn parse_name(text: &str) -> Result<String, Problem> {
    let text = text.trim();
    let good = !text.is_empty()
        && text.len() <= MAX_NAME_LEN
        && !text.chars().any(|c| c.is_control() || c == '/' || c == ':')
        && text != "."
        && text != ".."
        && text.parse::<NodeId>().is_err();
    match good {
        true => Ok(text.to_owned()),
        false => Err(
            Problem::new(Code::BadPath, format!("{text:?} is no name for a device"))
                .hint("use up to 64 letters, digits, spaces and the like, without `:` and `/`"),
        ),
    }
}

/// What this device is called, if it was given a name.
///
/// # Errors
/// What the store says.
pub fn own_name(node: &Node) -> Result<Option<String>, Problem> {
    let read = node.db.read(|tx| tx.value(IN_STEP, OWN, b"name"));
    let read = read.map_err(|error: StoreError| failure::store(&error))?;
    Ok(read.and_then(|name| String::from_utf8(name.expose().to_vec()).ok()))
}

/// Gives this device the name that the user chose, or that of its machine where it has none yet.
///
/// # Errors
/// [`Code::BadData`] for what is no name; what the store says.
pub fn name_device(node: &Node, chosen: Option<&str>, machine: Option<&str>) -> Result<(), Problem> {
    match (chosen, machine) {
        (Some(chosen), _) => set_own_name(node, &parse_name(chosen)?),
        (None, Some(machine)) if own_name(node)?.is_none() => match parse_name(machine) {
            Ok(name) => set_own_name(node, &name),
            // Machines have names that devices cannot have.
            Err(_) => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Gives this device a name.
///
/// # Errors
/// What the store says.
pub fn set_own_name(node: &Node, name: &str) -> Result<(), Problem> {
    let put = node.db.write(|tx| tx.put(IN_STEP, OWN, b"name", name.as_bytes()));
    put.map_err(|error: StoreError| failure::store(&error))
}

/// The names of all devices, as the hidden vault has them, or else as they were when it last had one.
///
/// # Errors
/// What the vault says.
pub fn names(node: &Node, others: &BTreeSet<NodeId>) -> Result<BTreeMap<NodeId, String>, Problem> {
    let mut names = remembered(node, others)?;
    if let Some(open) = hidden::current(node, others) {
        names.extend(written(&open)?);
    }
    if let Some(name) = own_name(node)? {
        names.insert(node.id(), name);
    }
    Ok(names)
}

/// The names that devices have or had, as every hidden vault that can be read and this node's memory have them.
///
/// # Errors
/// What a vault or the store says.
pub fn former_names(node: &Node) -> Result<BTreeMap<NodeId, String>, Problem> {
    let mut names = BTreeMap::new();
    for id in node.vaults.hidden() {
        if let Ok(open) = node.vaults.open_id(id) {
            names.extend(written(&open)?);
        }
    }
    names.extend(rows(node)?);
    Ok(names)
}

/// The names that stand in a hidden vault.
///
/// # Errors
/// What the vault says.
pub(super) fn written(open: &InUse) -> Result<BTreeMap<NodeId, String>, Problem> {
    let name = |(id, name): (String, Vec<u8>)| {
        let name = parse_name(&String::from_utf8(name).ok()?).ok()?;
        Some((id.parse::<NodeId>().ok()?, name))
    };
    Ok(hidden::read(open, DEVICE)?.into_iter().filter_map(name).collect())
}

/// The names of these devices that are remembered. One with new keys has its name from before until it has another.
///
/// # Errors
/// What the store says.
pub(super) fn remembered(
    node: &Node,
    others: &BTreeSet<NodeId>,
) -> Result<BTreeMap<NodeId, String>, Problem> {
    Ok(of_devices(node, others, rows(node)?.into_iter()))
}

/// All names that are remembered, under the ids that the devices had then.
fn rows(node: &Node) -> Result<Vec<(NodeId, String)>, Problem> {
    let rows = node.db.read(|tx| tx.group(IN_STEP, NAMES));
    let rows = rows
        .map_err(|error: StoreError| failure::store(&error))?
        .into_iter();
    Ok(rows
        .filter_map(|(id, name)| {
            let name = String::from_utf8(name.expose().to_vec()).ok()?;
            Some((NodeId::try_from(&id[..]).ok()?, name))
        })
        .collect())
}

/// Those of `names` that are of these devices, under the ids that they have now.
fn of_devices(
    node: &Node,
    others: &BTreeSet<NodeId>,
    names: impl Iterator<Item = (NodeId, String)>,
) -> BTreeMap<NodeId, String> {
    let (now, before): (BTreeMap<_, _>, BTreeMap<_, _>) = names.partition(|(id, _)| others.contains(id));
    let next = |(id, name)| Some((node.contacts.successor(&id)?, name));
    let mut names: BTreeMap<NodeId, String> = before.into_iter().filter_map(next).collect();
    names.retain(|id, _| others.contains(id));
    names.extend(now);
    names
}

/// Remembers the names of other devices that a hidden vault has.
///
/// # Errors
/// What the store and the vault say.
pub fn remember(node: &Node, others: &BTreeSet<NodeId>, open: &InUse) -> Result<(), Problem> {
    let before = remembered(node, others)?;
    let mut names = of_devices(node, others, written(open)?.into_iter());
    names.retain(|id, name| before.get(id) != Some(name));
    if names.is_empty() {
        return Ok(());
    }
    let put = node.db.write(|tx| {
        names
            .iter()
            .try_for_each(|(id, name)| tx.put(IN_STEP, NAMES, id.as_bytes(), name.as_bytes()))
    });
    put.map_err(|error: StoreError| failure::store(&error))
}

/// The names of other devices that are known here and that the hidden vault has not.
///
/// # Errors
/// What the store and the vault say.
pub fn missing(
    node: &Node,
    others: &BTreeSet<NodeId>,
    open: &InUse,
) -> Result<BTreeMap<NodeId, String>, Problem> {
    let there = written(open)?;
    let mut names = remembered(node, others)?;
    names.retain(|id, _| !there.contains_key(id));
    Ok(names)
}
