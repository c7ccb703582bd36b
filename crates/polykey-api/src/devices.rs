//! Devices: one's own nodes as one principal.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::endpoint::{Endpoint, Nothing};
use crate::sharing::MemberItem;

/// Makes a ticket for a device.
pub const PAIR: Endpoint<PairDevice, Pairing> =
    Endpoint::json("/v1/devices/pair", "Make a ticket that makes a node a device");
/// Ends all tickets for devices, and the words.
pub const WITHDRAW: Endpoint<Nothing, Withdrawn> = Endpoint::json(
    "/v1/devices/withdraw",
    "End all tickets and words that make a node a device",
);
/// Makes this node a device.
pub const JOIN: Endpoint<JoinDevices, DevicesJoined> = Endpoint::json(
    "/v1/devices/join",
    "Make this node a device of another's principal",
);
/// The devices.
pub const LIST: Endpoint<Nothing, DeviceList> =
    Endpoint::json("/v1/devices/list", "Devices of this principal");
/// Removes a device.
pub const REMOVE: Endpoint<RemoveDevice, DeviceRemoved> =
    Endpoint::json("/v1/devices/remove", "Remove a device from everything");

/// Asks for a ticket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PairDevice {
    /// What this device is called from now on.
    pub name: Option<String>,
    /// What it is called when it has no name yet: as its machine.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub machine: Option<String>,
    /// For how long the ticket can be used, in milliseconds; an hour when it is missing.
    pub expires: Option<u64>,
}

/// A ticket for a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pairing {
    /// Its text.
    pub ticket: String,
    /// Words that do the same for ten minutes, once, for a device that is near.
    pub words: String,
    /// Until when it can be used, in milliseconds since 1970.
    pub expires: u64,
}

/// What was taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Withdrawn {
    /// How many tickets could be used until now.
    pub tickets: u64,
    /// True when words could be.
    pub words: bool,
}

/// Asks to become a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinDevices {
    /// The ticket, or the words.
    pub ticket: String,
    /// The device that shows the words, by id or petname; one that is near when it is missing.
    #[serde(default)]
    pub at: Option<String>,
    /// What this device is called.
    #[serde(default)]
    pub name: Option<String>,
    /// What it is called when it has no name yet: as its machine.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub machine: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DevicesJoined {
    /// The device that made the ticket.
    pub node_id_encoded: String,
    /// Names of the vaults that came.
    pub vaults: Vec<String>,
    /// Names of those that did not come yet: they follow by themselves.
    pub waiting: Vec<String>,
}

/// A device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceItem {
    /// The node.
    pub node_id_encoded: String,
    /// What it is called, when that is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// True for this node itself.
    pub this_node: bool,
    /// True while it is connected.
    pub connected: bool,
    /// When it was last connected, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_seen: Option<u64>,
}

/// The devices, this one first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceList {
    /// They.
    pub devices: Vec<DeviceItem>,
}

/// Asks to remove a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RemoveDevice {
    /// Its name, petname or id.
    pub who: String,
    /// Its recovery code, for the vaults that it made.
    #[serde(default)]
    pub recovery_code: Option<String>,
    /// True when the code may be that of another node, and is not used then: it stood in the environment.
    #[serde(default)]
    pub perhaps: bool,
}

/// A vault that a removed device was in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeftVault {
    /// Its id.
    pub vault_id: String,
    /// Its name here.
    pub vault_name: String,
    /// False when the device is still in it: it ranks above this one, or this one is no admin.
    pub removed: bool,
    /// Paths of the secrets that it may have kept.
    pub rotate: Vec<String>,
    /// Members that are in since it let them in, or somebody whom it let in did; own devices left out.
    pub let_in: Vec<MemberItem>,
    /// Its other admins, who can take the device out, where this one is none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub admins: Option<Vec<MemberItem>>,
    /// True when the device was let in before this one, which may be in as a device of it only.
    #[serde(default)]
    pub was_first: bool,
}

/// A device that was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceRemoved {
    /// The device.
    pub node_id_encoded: String,
    /// The devices that it alone had made devices: they go with it, and can be paired anew.
    pub with_it: Vec<String>,
    /// The vaults that they were in.
    pub vaults: Vec<LeftVault>,
}
