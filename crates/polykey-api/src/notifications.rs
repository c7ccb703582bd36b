//! Notifications: short signed messages between nodes, an inbox and an outbox.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::endpoint::{Endpoint, Nothing};

/// Sends a message.
pub const SEND: Endpoint<Send, Sent> = Endpoint::json("/v1/notifications/send", "Send a message to a node");
/// Reads what arrived.
pub const INBOX_READ: Endpoint<ReadInbox, NotificationList> =
    Endpoint::json("/v1/notifications/inbox/read", "Read the inbox");
/// Empties the inbox.
pub const INBOX_CLEAR: Endpoint<ClearInbox, Removed> =
    Endpoint::json("/v1/notifications/inbox/clear", "Empty the inbox");
/// Removes one from the inbox.
pub const INBOX_REMOVE: Endpoint<OneNotification, Removed> =
    Endpoint::json("/v1/notifications/inbox/remove", "Remove one from the inbox");
/// Reads what waits to be delivered.
pub const OUTBOX_READ: Endpoint<ReadOutbox, NotificationList> =
    Endpoint::json("/v1/notifications/outbox/read", "Read the outbox");
/// Empties the outbox.
pub const OUTBOX_CLEAR: Endpoint<Nothing, Removed> =
    Endpoint::json("/v1/notifications/outbox/clear", "Empty the outbox");
/// Removes one from the outbox.
pub const OUTBOX_REMOVE: Endpoint<OneNotification, Removed> =
    Endpoint::json("/v1/notifications/outbox/remove", "Remove one from the outbox");

/// Asks to send a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Send {
    /// The node: its id or petname.
    pub who: String,
    /// The text.
    pub message: String,
    /// How often delivery is tried again.
    #[serde(default)]
    pub retries: Option<u64>,
}

/// A message that is on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sent {
    /// Its id in the outbox.
    pub notification_id_encoded: String,
    /// The node.
    pub node_id_encoded: String,
    /// True when it arrived already; else it waits in the outbox.
    pub delivered: bool,
}

/// Which end comes first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// The newest first.
    #[default]
    Newest,
    /// The oldest first.
    Oldest,
}

/// Asks for the inbox. What is given counts as read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReadInbox {
    /// Only those that were not read.
    pub unread: bool,
    /// At most so many.
    pub limit: Option<u64>,
    /// Which end comes first.
    pub order: Order,
    /// The box for strangers, instead.
    pub strangers: bool,
}

/// Asks for the outbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReadOutbox {
    /// At most so many.
    pub limit: Option<u64>,
    /// Which end comes first.
    pub order: Order,
}

/// Asks to empty the inbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClearInbox {
    /// The box for strangers, instead.
    pub strangers: bool,
}

/// Names one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OneNotification {
    /// Its id.
    pub id: String,
}

/// How many were removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Removed {
    /// How many.
    pub removed: u64,
}

/// Notifications, in the order that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NotificationList {
    /// They.
    pub notifications: Vec<NotificationItem>,
}

/// One notification, in an envelope as in other versions of the program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NotificationItem {
    /// The notification.
    pub notification: Notification,
    /// How its delivery stands; only in the outbox.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub task_metadata: Option<Delivery>,
}

/// One notification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    /// Always `notification`.
    pub typ: String,
    /// Its id here.
    pub notification_id_encoded: String,
    /// Its id at the node that sent it; only in the inbox.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub peer_notification_id_encoded: Option<String>,
    /// The node that sent it.
    pub iss: String,
    /// The node that it is for.
    pub sub: String,
    /// When it was made, in seconds since 1970, by the sender's clock.
    pub iat: u64,
    /// True when it was read before.
    pub is_read: bool,
    /// What it says.
    pub data: NotificationData,
}

/// What a notification says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type")]
pub enum NotificationData {
    /// A text.
    General {
        /// The text.
        message: String,
    },
    /// The sender let us into a vault.
    #[serde(rename_all = "camelCase")]
    VaultShare {
        /// The vault.
        vault_id: String,
        /// Its name at the sender.
        vault_name: String,
        /// What we may do there.
        role: String,
    },
    /// The sender took us out of a vault.
    #[serde(rename_all = "camelCase")]
    VaultUnshare {
        /// The vault.
        vault_id: String,
        /// Its name at the sender.
        vault_name: String,
    },
    /// The sender used a ticket of ours.
    #[serde(rename_all = "camelCase")]
    VaultJoined {
        /// The vault.
        vault_id: String,
        /// Its name here.
        vault_name: String,
        /// The role that the ticket gave.
        role: String,
    },
    /// The sender asks us to keep ciphertext.
    #[serde(rename_all = "camelCase")]
    KeepRequest {
        /// The vault.
        vault_id: String,
    },
    /// The sender took the place of another node, as that one said.
    #[serde(rename_all = "camelCase")]
    NodeSucceeded {
        /// The other node.
        former_node_id: String,
    },
    /// The sender invites this node to a link.
    GestaltInvite {
        /// To which one: `link-node` or `device`.
        link: String,
        /// Until when, in milliseconds since 1970, by the sender's clock.
        expires: u64,
    },
    /// The sender is a device of a member of a vault, and came in or went out with that.
    #[serde(rename_all = "camelCase")]
    MemberDevice {
        /// The member.
        member_node_id: String,
        /// The vault.
        vault_id: String,
        /// Its name here.
        vault_name: String,
        /// What it may do; missing when it was taken out.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        role: Option<String>,
    },
    /// The sender is a device of this user now.
    DeviceJoined {},
    /// The sender is no device of this user any more, and this user did not say so here.
    DeviceGone {
        /// True when it says so itself, false when another device of the user does.
        itself: bool,
    },
    /// The sender's sigchain does not go on from what it was.
    SigchainDoubt {
        /// True when it says something else than before, false when it says less.
        forked: bool,
    },
    /// The sender does not speak for an identity any more.
    IdentityUnlinked {
        /// The identity.
        identity: String,
        /// `page-changed`, `replaced`, `revoked` or `gone`.
        reason: String,
    },
    /// The sender speaks for an identity for which another did before, or none did for a while.
    IdentityLinked {
        /// The identity.
        identity: String,
    },
    /// What the user allowed somebody reaches the sender, as a device of theirs, or reaches it no longer.
    DeviceReach {
        /// True when it does.
        came: bool,
    },
    /// The sender turned up beside somebody with whom a vault is shared, and is not in it.
    #[serde(rename_all = "camelCase")]
    ShareProposal {
        /// The vault.
        vault_id: String,
        /// Its name here.
        vault_name: String,
        /// With whom the user shared it.
        whom: String,
    },
    /// The sender left a share of its recovery code here.
    ShareLeft {
        /// How many shares give the code back.
        threshold: u8,
        /// How many there are.
        count: u8,
    },
    /// The sender does not want its share to be held here any more.
    ShareTaken {},
    /// The sender does not hold its share of our recovery code any more.
    ShareGivenUp {},
    /// The sender asks for the share that is held for an owner, whose new node it says it is.
    #[serde(rename_all = "camelCase")]
    RecoveryAsked {
        /// The owner.
        owner: String,
        /// Nothing is released before this, in milliseconds since 1970.
        not_before: u64,
    },
    /// The sender holds a share of the user's and says that somebody asks for it.
    #[serde(rename_all = "camelCase")]
    RecoveryWarning {
        /// Whose share: this node's, or that of another device of the user.
        owner: String,
        /// The node that asks.
        asker: String,
        /// Nothing is released before this, in milliseconds since 1970.
        not_before: u64,
    },
    /// The sender is a device of an owner and objects to a request for its share.
    RecoveryVetoed {
        /// The owner.
        owner: String,
        /// The node that asked.
        asker: String,
        /// True when the share had been released before.
        late: bool,
    },
}

/// How a delivery stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// How often it is tried again.
    pub remaining_retries: u64,
    /// When it was put there, in milliseconds since 1970.
    pub created: u64,
    /// When it is tried next.
    pub scheduled: u64,
}
