//! Recovery with friends, who hold sealed shares of the recovery code.
//!
//! In every question a node is named by its id or petname, as the user typed it. In answers `name` is the petname,
//! where there is one, and the id elsewhere.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::endpoint::{Endpoint, Nothing};
use crate::nodes::OneNode;

/// Splits the recovery code among friends.
pub const SPLIT: Endpoint<SplitCode, SplitItem> =
    Endpoint::json("/v1/recovery/split", "Split the recovery code among friends");
/// Everything about shares, on all sides.
pub const LIST: Endpoint<Nothing, Shares> = Endpoint::json(
    "/v1/recovery/list",
    "Show who holds shares for whom, and who asks for them",
);
/// Gives up a share.
pub const DROP: Endpoint<OneNode, Dropped> =
    Endpoint::json("/v1/recovery/drop", "Give up the share that is held for a node");
/// Lets holders prove that they have their shares.
pub const DRILL: Endpoint<Nothing, Drilled> = Endpoint::json(
    "/v1/recovery/drill",
    "Let every holder prove that it has its share",
);
/// Asks friends of a lost node for their shares.
pub const REQUEST: Endpoint<AskFriends, SoughtItem> = Endpoint::json(
    "/v1/recovery/request",
    "Ask friends of a lost node for their shares",
);
/// An open request, with the words to compare.
pub const SHOW: Endpoint<OneNode, RequestItem> = Endpoint::json(
    "/v1/recovery/show",
    "Show an open request for a share, with the words to compare",
);
/// Lets a share be released.
pub const APPROVE: Endpoint<Decide, RequestItem> = Endpoint::json(
    "/v1/recovery/approve",
    "Let a share be released to the node that asks",
);
/// Refuses a request.
pub const REFUSE: Endpoint<Decide, RequestItem> =
    Endpoint::json("/v1/recovery/refuse", "Refuse a request for a share");
/// Warns the holders off.
pub const VETO: Endpoint<Veto, Vetoed> = Endpoint::json(
    "/v1/recovery/veto",
    "Tell the holders that a request is not the user's",
);
/// Fetches released shares and puts the code together.
pub const RESTORE: Endpoint<OneNode, RestoredCode> = Endpoint::json(
    "/v1/recovery/restore",
    "Fetch released shares and put the recovery code together",
);

/// Asks to split the code.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SplitCode {
    /// The recovery code of this node.
    pub recovery_code: String,
    /// How many shares give it back.
    pub threshold: u8,
    /// The friends who get one each.
    pub to: Vec<String>,
    /// How long a friend waits before it releases its share, in milliseconds.
    pub wait: u64,
}

impl fmt::Debug for SplitCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SplitCode")
            .field("threshold", &self.threshold)
            .field("to", &self.to)
            .field("wait", &self.wait)
            .finish_non_exhaustive()
    }
}

/// A split of this node's recovery code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SplitItem {
    /// The split.
    pub split_id: String,
    /// How many shares give the code back.
    pub threshold: u8,
    /// How long a friend waits, in milliseconds.
    pub wait: u64,
    /// When it was made, in milliseconds since 1970.
    pub made: u64,
    /// True when the keys were renewed since: its shares bring nothing back.
    pub stale: bool,
    /// Who holds the shares.
    pub holders: Vec<HolderItem>,
}

/// Whether a holder has its share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// It is on its way.
    Waiting,
    /// It is there.
    Kept,
    /// The holder does not want it.
    Refused,
    /// The holder gave it up.
    GivenUp,
}

/// Who holds a share of this node's code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HolderItem {
    /// The node.
    pub node_id_encoded: String,
    /// What the user calls it.
    pub name: String,
    /// Whether it has it.
    pub delivery: Delivery,
    /// When it last answered a drill, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub drilled: Option<u64>,
    /// Whether it proved then that it has its share.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub proved: Option<bool>,
}

/// Everything about shares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Shares {
    /// The split of this node's own code.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub own: Option<SplitItem>,
    /// Shares that are held for others.
    pub held: Vec<HeldItem>,
    /// Requests for these.
    pub requests: Vec<RequestItem>,
    /// What holders say of requests for shares of the user's own nodes.
    pub warnings: Vec<WarningItem>,
    /// Recoveries that this node asked for.
    pub sought: Vec<SoughtItem>,
}

/// A share that is held for somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeldItem {
    /// Its owner.
    pub node_id_encoded: String,
    /// What the user calls it.
    pub name: String,
    /// How many shares give the code back.
    pub threshold: u8,
    /// How many there are.
    pub count: u8,
    /// How long a request waits, in milliseconds.
    pub wait: u64,
    /// Since when, in milliseconds since 1970.
    pub since: u64,
    /// True when its owner renewed its keys since: the share brings nothing back.
    pub stale: bool,
}

/// How a request for a share stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RequestState {
    /// The user said nothing yet.
    Open,
    /// The user agreed.
    Approved,
    /// The user refused.
    Refused,
    /// A device of the owner objected.
    Vetoed,
}

/// A request for a share that is held here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestItem {
    /// Whose share.
    pub owner: String,
    /// What the user calls the owner.
    pub owner_name: String,
    /// The node that asks.
    pub asker: String,
    /// What the user calls the node that asks: its id, unless it is known here.
    pub asker_name: String,
    /// When it came, in milliseconds since 1970.
    pub arrived: u64,
    /// Nothing is released before this.
    pub not_before: u64,
    /// The request is forgotten then.
    pub expires: u64,
    /// How it stands.
    pub state: RequestState,
    /// True when the share was released already.
    pub released: bool,
    /// The device that objected.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub vetoed_by: Option<String>,
    /// Words to compare with the node that asks; only of one that is shown alone.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub words: Option<Vec<String>>,
}

/// What a holder says of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WarningItem {
    /// Whose share: this node's, or that of another device of the user.
    pub owner: String,
    /// The node that asks.
    pub asker: String,
    /// The holder.
    pub holder: String,
    /// What the user calls the holder.
    pub holder_name: String,
    /// Since when, in milliseconds since 1970.
    pub arrived: u64,
    /// Nothing is released before this.
    pub not_before: u64,
    /// True when the user objected.
    pub vetoed: bool,
}

/// A share that was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Dropped {
    /// Its owner.
    pub node_id_encoded: String,
}

/// What came of a drill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Drilled {
    /// How many shares give the code back.
    pub threshold: u8,
    /// How many holders proved that they have theirs.
    pub proven: u8,
    /// True when these are enough.
    pub met: bool,
    /// Each holder.
    pub holders: Vec<DrillItem>,
}

/// What a holder answered in a drill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// It has its share.
    Has,
    /// It does not answer.
    Away,
    /// It has none.
    Lacks,
    /// Its proof does not hold.
    False,
}

/// One holder in a drill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrillItem {
    /// The node.
    pub node_id_encoded: String,
    /// What the user calls it.
    pub name: String,
    /// What it answered.
    pub proof: Proof,
}

/// Asks friends for their shares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AskFriends {
    /// The node that was lost.
    pub owner: String,
    /// Its friends.
    pub from: Vec<String>,
}

/// A recovery that this node asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SoughtItem {
    /// The node that was lost.
    pub owner: String,
    /// Whom this node asks.
    pub friends: Vec<FriendItem>,
}

/// How it stands with one friend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FriendState {
    /// The request did not get there yet.
    Away,
    /// The friend has the request.
    Asked,
    /// The friend has the request, and does not give its share yet.
    Waiting,
    /// The friend gave its share.
    Released,
    /// The friend refused, or holds no share.
    Refused,
    /// What the friend gave is no share of this owner.
    False,
}

/// One friend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FriendItem {
    /// The node.
    pub node_id_encoded: String,
    /// What the user calls it.
    pub name: String,
    /// How it stands.
    pub state: FriendState,
    /// It gives nothing before this, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub not_before: Option<u64>,
    /// Whether its user agreed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub approved: Option<bool>,
}

/// Names one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Decide {
    /// Whose share: a node's id.
    pub owner: String,
    /// The node that asks: its id.
    pub asker: String,
}

/// Asks to warn the holders off.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Veto {
    /// The node that asks; all of which a holder warned when it is missing.
    pub asker: Option<String>,
}

/// What was objected to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Vetoed {
    /// Each node that was refused.
    pub vetoes: Vec<VetoItem>,
}

/// One node that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VetoItem {
    /// The node that asked.
    pub asker: String,
    /// The holders that are told: what the user calls them.
    pub holders: Vec<String>,
    /// Those of them that could not be told yet.
    pub waiting: Vec<String>,
}

/// What came of a recovery.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoredCode {
    /// The node that was lost.
    pub owner: String,
    /// Its recovery code, when there were enough shares.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub recovery_code: Option<String>,
    /// How many shares it takes, when one came.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub threshold: Option<u8>,
    /// How it stands with each friend.
    pub friends: Vec<FriendItem>,
}

impl fmt::Debug for RestoredCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestoredCode")
            .field("owner", &self.owner)
            .field("threshold", &self.threshold)
            .field("friends", &self.friends)
            .finish_non_exhaustive()
    }
}
