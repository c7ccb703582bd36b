//! Who somebody is: nodes and identities that belong together, and what they may do.
//!
//! In every question `who` is what the user typed: a node's id or petname, an identity as `provider:identity`, or a
//! bare domain, which stands for its DNS and HTTPS identities.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::endpoint::{Endpoint, Nothing, Shape};
use crate::problem::ProblemReply;

/// The words to compare in person.
pub const WORDS: Endpoint<OneGestalt, WordsList> =
    Endpoint::json("/v1/identities/words", "Words to compare two nodes in person");
/// Trusts somebody.
pub const TRUST: Endpoint<OneGestalt, Named> = Endpoint::json("/v1/identities/trust", "Trust somebody");
/// Trusts somebody no longer.
pub const UNTRUST: Endpoint<OneGestalt, Named> =
    Endpoint::json("/v1/identities/untrust", "Trust somebody no longer");
/// Allows somebody one thing.
pub const ALLOW: Endpoint<Allow, Named> = Endpoint::json("/v1/identities/allow", "Allow somebody one thing");
/// Takes one thing away from somebody.
pub const DISALLOW: Endpoint<Allow, Named> =
    Endpoint::json("/v1/identities/disallow", "Take one thing away from somebody");
/// What somebody may do.
pub const PERMISSIONS: Endpoint<OneGestalt, ActionList> =
    Endpoint::json("/v1/identities/permissions", "What somebody may do");
/// Who belongs together with somebody.
pub const GET: Endpoint<OneGestalt, Gestalt> =
    Endpoint::json("/v1/identities/get", "Who belongs together with somebody");
/// All that are known.
pub const LIST: Endpoint<Nothing, GestaltList> =
    Endpoint::json("/v1/identities/list", "All gestalts that are known");
/// Finds somebody by a part of a name.
pub const SEARCH: Endpoint<Search, MatchList> =
    Endpoint::json("/v1/identities/search", "Find somebody by a part of a name");

/// Names one node or identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OneGestalt {
    /// Node, petname, identity or domain.
    pub who: String,
}

/// Names one thing that somebody may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Allow {
    /// Node, petname, identity or domain.
    pub who: String,
    /// `notify`, `scan` or `claim`.
    pub permission: String,
}

/// The nodes that were meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Named {
    /// They.
    pub nodes: Vec<String>,
}

/// What somebody may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActionList {
    /// Of `notify`, `scan` and `claim`.
    pub actions_list: Vec<String>,
}

/// Words for each node that was meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WordsList {
    /// By node.
    pub nodes: Vec<WordsItem>,
}

/// Words for this node and another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WordsItem {
    /// The other node.
    pub node_id_encoded: String,
    /// Eight words, the same on both sides.
    pub words: Vec<String>,
}

/// The answer to [`GET`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Gestalt {
    /// It; without members when nobody of that name is known.
    pub gestalt: GestaltItem,
}

/// All gestalts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GestaltList {
    /// They.
    pub gestalts: Vec<GestaltItem>,
}

/// Nodes and identities that belong together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GestaltItem {
    /// For each member, what ties it to which others: `device`, `node`, `identity` or `successor`.
    pub matrix: BTreeMap<String, BTreeMap<String, String>>,
    /// Its nodes, by id.
    pub nodes: BTreeMap<String, GestaltNode>,
    /// Its identities, by `provider:identity`.
    pub identities: BTreeMap<String, GestaltIdentity>,
    /// What any of its nodes may do.
    pub actions_list: Vec<String>,
    /// What its nodes say and the other end does not.
    pub unanswered: Vec<Tie>,
}

/// A node of a gestalt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GestaltNode {
    /// Its id.
    pub node_id_encoded: String,
    /// What the user calls it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub petname: Option<String>,
    /// True for the node that answers.
    pub this_node: bool,
    /// What it may do.
    pub actions_list: Vec<String>,
    /// True when it has a successor or was ended: its key has no rights.
    pub retired: bool,
    /// True when it said two things in one place: perhaps somebody else has its key.
    pub doubtful: bool,
}

/// An identity of a gestalt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GestaltIdentity {
    /// `dns`, `https`, or the host of a service.
    pub provider_id: String,
    /// The domain, or the account.
    pub identity_id: String,
    /// When both ends were first seen to agree, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub since: Option<u64>,
    /// When they were last seen to agree.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub checked: Option<u64>,
}

/// One tie between two members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tie {
    /// Who says it.
    pub from: String,
    /// About whom.
    pub to: String,
    /// `device`, `node`, `identity` or `successor`.
    pub kind: String,
}

/// Asks for those whose names are like these.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Search {
    /// Parts of names; each must be found. None finds all.
    pub terms: Vec<String>,
    /// Only these providers.
    pub providers: Vec<String>,
    /// Whole names of accounts, for which each provider is asked now.
    pub identity_ids: Vec<String>,
    /// Only with the login of this account of the user, by its name or as `provider:identity`; every login when
    /// there is none.
    pub auth_identity_id: Option<String>,
    /// At most so many.
    pub limit: Option<u64>,
}

/// Those who were found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MatchList {
    /// Best first.
    pub matches: Vec<Match>,
    /// Why somebody may be missing: what a provider would not say.
    #[serde(default)]
    pub missing: Vec<String>,
}

/// An identity that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Match {
    /// `dns`, `https`, or the host of a service.
    pub provider_id: String,
    /// The domain, or the account.
    pub identity_id: String,
    /// The nodes that speak for it.
    pub nodes: Vec<String>,
    /// What the user calls these nodes.
    pub names: Vec<String>,
    /// The account of the user with which the identity is connected at its provider.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub connected_to: Option<String>,
}

/// The providers of identities.
pub const PROVIDERS: Endpoint<Nothing, ProviderList> =
    Endpoint::json("/v1/identities/providers", "Providers of identities");
/// Says in the node's own name that it speaks for an identity.
pub const CLAIM: Endpoint<OneIdentity, Claimed> =
    Endpoint::json("/v1/identities/claim", "Claim an identity for this node");
/// Takes that back.
pub const UNCLAIM: Endpoint<OneIdentity, Unclaimed> =
    Endpoint::json("/v1/identities/unclaim", "Take back the claim of an identity");
/// Logs in at a provider.
pub const AUTHENTICATE: Endpoint<OneProvider, LoginStep> = Endpoint::new(
    "/v1/identities/authenticate",
    "Log in at a provider",
    Shape::Lines,
);
/// The accounts at which the node is logged in.
pub const AUTHENTICATED: Endpoint<OfProviders, AccountList> = Endpoint::json(
    "/v1/identities/authenticated",
    "Accounts at which this node is logged in",
);
/// Looks at each proof of somebody now.
pub const VERIFY: Endpoint<Verify, ProofList> =
    Endpoint::json("/v1/identities/verify", "Look at each proof of somebody");
/// Finds out who belongs together with somebody.
pub const DISCOVER: Endpoint<Discover, DiscoveryEvent> = Endpoint::new(
    "/v1/identities/discover",
    "Find out who belongs together with somebody",
    Shape::Lines,
);
/// What is to be looked at, and when.
pub const QUEUE: Endpoint<Nothing, QueueList> =
    Endpoint::json("/v1/identities/queue", "What is to be looked at, and when");

/// Names one identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OneIdentity {
    /// `provider:identity`, or a domain, which is proven by DNS.
    pub identity: String,
}

/// Names one provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OneProvider {
    /// Its host.
    pub provider: String,
}

/// Names providers; none stands for all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OfProviders {
    /// Their ids.
    pub providers: Vec<String>,
}

/// Asks to look at each proof of somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    /// Node, petname, identity or domain.
    pub who: String,
    /// Asks nobody else what they saw.
    #[serde(default)]
    pub alone: bool,
}

/// All providers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProviderList {
    /// They.
    pub providers: Vec<ProviderItem>,
}

/// One provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProviderItem {
    /// `dns`, `https`, or the host of a service.
    pub provider_id: String,
    /// `dns`, `https`, `github`, `gitlab`, `gitea` or `mastodon`.
    pub kind: String,
    /// Where the line of an identity stands.
    pub place: String,
    /// True when its place stands in the configuration.
    pub configured: bool,
    /// True when the network setting lets it be asked.
    pub reachable: bool,
}

/// What was claimed, and what is to be published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Claimed {
    /// The claim.
    pub claim_id: String,
    /// Its provider.
    pub provider_id: String,
    /// The domain or account.
    pub identity_id: String,
    /// The line to publish.
    pub line: String,
    /// Where it goes.
    pub place: String,
    /// The whole entry of a zone file, for DNS.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub record: Option<String>,
    /// Where it was published, when the node could do that itself.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub url: Option<String>,
}

/// The claims that were taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Unclaimed {
    /// Their ids.
    pub claim_ids: Vec<String>,
    /// Where the line may still stand.
    pub place: String,
}

/// A step of a login: first what to do, then who it was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LoginStep {
    /// The page on which to type the code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_code: Option<String>,
    /// The account, when it is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_id: Option<String>,
    /// Why it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<ProblemReply>,
}

/// Accounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccountList {
    /// They.
    pub accounts: Vec<Account>,
}

/// One account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// The provider.
    pub provider_id: String,
    /// The account.
    pub identity_id: String,
}

/// The proofs of somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProofList {
    /// By identity.
    pub proofs: Vec<ProofItem>,
}

/// One proof, looked at now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProofItem {
    /// The provider.
    pub provider_id: String,
    /// The domain or account.
    pub identity_id: String,
    /// `verified`: both ends agree now. `failed`: one could not be read now. `missing`: they do not agree, and never
    /// did. `ended`: they do not agree any more.
    pub state: String,
    /// The node that speaks for it, as was seen last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub node_id_encoded: Option<String>,
    /// The claim by which it does.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub claim_id: Option<String>,
    /// When both ends were first seen to agree, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub since: Option<u64>,
    /// When they were last seen to agree.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub checked: Option<u64>,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// True when this look changed what is known.
    pub changed: bool,
    /// Links that held before, oldest first.
    pub former: Vec<FormerProof>,
    /// What nodes of people whom the user trusts, and own devices, saw of it.
    #[serde(default)]
    pub witnesses: Vec<Witness>,
}

/// What another node saw of an identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Witness {
    /// The node.
    pub node_id_encoded: String,
    /// What the user calls it; the name of an own device.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub petname: Option<String>,
    /// True for a device of the user's own.
    pub own_device: bool,
    /// `agrees`; `contradicts` when it saw another claim, one where there is none here, or none where there is one;
    /// `alone` when nothing could be seen here.
    pub word: String,
    /// The link that it saw.
    pub saw: WitnessedLink,
}

/// A link that another node saw, and perhaps its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WitnessedLink {
    /// The node that spoke for the identity.
    pub node_id_encoded: String,
    /// The claim.
    pub claim_id: String,
    /// When both ends were first seen to agree there, in milliseconds since 1970.
    pub since: u64,
    /// When they were last seen to agree.
    pub checked: u64,
    /// When its end was noticed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended: Option<u64>,
    /// `page-changed`, `replaced`, `revoked` or `gone`, for one that ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

/// A link that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FormerProof {
    /// The node that spoke for the identity.
    pub node_id_encoded: String,
    /// The claim.
    pub claim_id: String,
    /// When both ends were first seen to agree, in milliseconds since 1970.
    pub since: u64,
    /// When they were last seen to agree.
    pub checked: u64,
    /// When the end was noticed.
    pub ended: u64,
    /// `page-changed`, `replaced`, `revoked` or `gone`.
    pub reason: String,
}

/// Asks to find out more about somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Discover {
    /// Node, petname, identity or domain.
    pub who: String,
    /// Tells what happens until all that was found is looked at.
    #[serde(default)]
    pub monitor: bool,
}

/// Something that happened to what is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DiscoveryEvent {
    /// `queued`, `started`, `processed`, `failed`, `culled` or `crowded`.
    pub event: String,
    /// Node, or `provider:identity`.
    pub vertex: String,
    /// When it is looked at again, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub due: Option<u64>,
}

/// What is to be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueueList {
    /// Oldest due first.
    pub tasks: Vec<QueueItem>,
}

/// One thing to be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueueItem {
    /// Node, or `provider:identity`.
    pub id: String,
    /// `active` while it is looked at, `scheduled` while it waits, `queued` when it is due.
    pub status: String,
    /// What is looked at: the id alone.
    pub parameters: Vec<String>,
    /// How long it still waits, in milliseconds.
    pub delay: u64,
    /// How long a look may take, in milliseconds.
    pub deadline: u64,
    /// How early it comes among what is due, 0 to 255: 255 is what the user asked for.
    pub priority: u8,
    /// When it came there, in milliseconds since 1970.
    pub created: u64,
    /// When it is looked at.
    pub scheduled: u64,
    /// How many links away from what the user asked for.
    pub hops: u64,
    /// Looks that failed since the last good one.
    pub failures: u64,
    /// When the last good look was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_good: Option<u64>,
}
