//! Permissions: what a node may do to us.
//!
//! A permission hangs on the id of a node that the user confirmed, and reaches the nodes that are one
//! [principal](crate::gestalt::Graph::principal) with it, by signed `device` claims. It never comes with a
//! merge of gestalts, with a page that was fetched, or with anything that the other side alone can do.
//! *Trusting* somebody is the permission to notify us.
//!
//! What the user names may be a node or an identity; an identity stands for the nodes that speak for it at that
//! moment. A permission does not follow the identity to another node later.
//!
//! Always: allowing one thing leaves the others as they were; what is taken away is taken from every record
//! through which it reaches the node. Whose messages the user does not want is *muted* until the user wants them again,
//! whatever else is known of it.

use std::collections::{BTreeMap, BTreeSet};

use polykey_core::codec::{Reader, Writer};
use polykey_core::{NodeId, Timestamp};
use polykey_store::{ReadTx, WriteTx};

use crate::error::TrustError;
use crate::gestalt::Graph;
use crate::tables::{ALL, PERMISSION};

/// Most nodes that have permissions.
pub const MAX_CONFIRMED: usize = 10_000;
const MAX_ROW_LEN: usize = 64;
/// The group in which it stands whom permissions reached when the user was last told.
const REACH: &[u8] = b"reach";
/// The group of the nodes whose messages the user does not want.
const MUTED: &[u8] = b"muted";

/// Something that another node may do to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Send us messages.
    Notify,
    /// Ask which vaults we share with it.
    Scan,
    /// Ask us to sign a link that we invited.
    Claim,
}

impl Action {
    /// All of them, with their names.
    pub const ALL: &[(Action, &'static str)] = &[
        (Action::Notify, "notify"),
        (Action::Scan, "scan"),
        (Action::Claim, "claim"),
    ];

    /// Its name, as users type it.
    pub fn as_str(self) -> &'static str {
        Action::ALL
            .iter()
            .find(|(action, _)| *action == self)
            .expect("every action has a name")
            .1
    }

    /// The action with this name.
    pub fn parse(name: &str) -> Option<Action> {
        Action::ALL
            .iter()
            .find(|(_, text)| *text == name)
            .map(|(action, _)| *action)
    }

    fn bit(self) -> u8 {
        match self {
            Action::Notify => 1,
            Action::Scan => 2,
            Action::Claim => 4,
        }
    }
}

/// A set of actions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Actions(u8);

impl Actions {
    /// None.
    pub const NONE: Actions = Actions(0);

    /// True when `action` is in it.
    pub fn contains(self, action: Action) -> bool {
        self.0 & action.bit() != 0
    }

    /// True when nothing is in it.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// This set and `action`.
    pub fn with(self, action: Action) -> Actions {
        Actions(self.0 | action.bit())
    }

    /// This set without `action`.
    pub fn without(self, action: Action) -> Actions {
        Actions(self.0 & !action.bit())
    }

    /// What is in either.
    pub fn union(self, other: Actions) -> Actions {
        Actions(self.0 | other.0)
    }

    /// Its actions, in order.
    pub fn iter(self) -> impl Iterator<Item = Action> {
        Action::ALL
            .iter()
            .map(|(action, _)| *action)
            .filter(move |action| self.contains(*action))
    }

    fn from_bits(bits: u64) -> Option<Actions> {
        u8::try_from(bits).ok().filter(|bits| bits & !7 == 0).map(Actions)
    }
}

impl FromIterator<Action> for Actions {
    fn from_iter<T: IntoIterator<Item = Action>>(actions: T) -> Self {
        actions.into_iter().fold(Actions::NONE, Actions::with)
    }
}

/// What the user allowed a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmed {
    /// What it may do.
    pub actions: Actions,
    /// When the user first allowed it anything.
    pub since: Timestamp,
}

/// Every node that the user confirmed.
pub type Records = BTreeMap<NodeId, Confirmed>;

/// All records.
///
/// # Errors
/// [`TrustError::Store`], [`TrustError::Row`].
pub fn records(tx: &ReadTx<'_>) -> Result<Records, TrustError> {
    tx.group(PERMISSION, ALL)?
        .into_iter()
        .map(|(item, value)| Ok((decode_node(&item)?, decode(value.expose())?)))
        .collect()
}

/// Allows `node` one more thing.
///
/// # Errors
/// [`TrustError::Full`] with [`MAX_CONFIRMED`]; [`TrustError::Store`], [`TrustError::Row`].
pub fn allow(tx: &mut WriteTx<'_>, node: &NodeId, action: Action, now: Timestamp) -> Result<(), TrustError> {
    let old = tx.value(PERMISSION, ALL, node.as_bytes())?;
    let record = match &old {
        Some(value) => decode(value.expose())?,
        None if records(tx)?.len() >= MAX_CONFIRMED => {
            return Err(TrustError::Full {
                what: "nodes with permissions",
                limit: MAX_CONFIRMED,
            });
        }
        None => Confirmed {
            actions: Actions::NONE,
            since: now,
        },
    };
    put(
        tx,
        node,
        &Confirmed {
            actions: record.actions.with(action),
            ..record
        },
    )
}

/// Takes one thing away from `node`, wherever it has it from; says from which records.
///
/// # Errors
/// [`TrustError::Store`], [`TrustError::Row`].
pub fn disallow(
    tx: &mut WriteTx<'_>,
    graph: &Graph,
    node: &NodeId,
    action: Action,
) -> Result<Vec<NodeId>, TrustError> {
    let mut changed = vec![];
    for (confirmed, record) in records(tx)? {
        let reaches = confirmed == *node || graph.principal(&confirmed).contains(node);
        if !record.actions.contains(action) || !reaches {
            continue;
        }
        let record = Confirmed {
            actions: record.actions.without(action),
            ..record
        };
        if record.actions.is_empty() {
            tx.remove(PERMISSION, ALL, confirmed.as_bytes())?;
        } else {
            put(tx, &confirmed, &record)?;
        }
        changed.push(confirmed);
    }
    Ok(changed)
}

/// Trusts `node`: it may notify us.
///
/// # Errors
/// As [`allow`].
pub fn trust(tx: &mut WriteTx<'_>, node: &NodeId, now: Timestamp) -> Result<(), TrustError> {
    allow(tx, node, Action::Notify, now)
}

/// Stops trusting `node`. It stays known.
///
/// # Errors
/// As [`disallow`].
pub fn untrust(tx: &mut WriteTx<'_>, graph: &Graph, node: &NodeId) -> Result<Vec<NodeId>, TrustError> {
    disallow(tx, graph, node, Action::Notify)
}

/// Takes everything away from the record of `node`, as when the node is forgotten; says whether there was one.
///
/// # Errors
/// [`TrustError::Store`].
pub fn forget(tx: &mut WriteTx<'_>, node: &NodeId) -> Result<bool, TrustError> {
    Ok(tx.remove(PERMISSION, ALL, node.as_bytes())?)
}

/// Notes whether the user does not want the messages of `node`.
///
/// # Errors
/// [`TrustError::Full`] with [`MAX_CONFIRMED`]; [`TrustError::Store`], [`TrustError::Row`].
pub fn set_muted(tx: &mut WriteTx<'_>, node: &NodeId, is_muted: bool) -> Result<(), TrustError> {
    if !is_muted {
        tx.remove(PERMISSION, MUTED, node.as_bytes())?;
        return Ok(());
    }
    let there = muted(tx)?;
    if !there.contains(node) && there.len() >= MAX_CONFIRMED {
        return Err(TrustError::Full {
            what: "nodes whose messages are not wanted",
            limit: MAX_CONFIRMED,
        });
    }
    tx.put(PERMISSION, MUTED, node.as_bytes(), &[])?;
    Ok(())
}

/// The messages of `node` are wanted again, wherever it has the refusal from.
///
/// # Errors
/// [`TrustError::Store`], [`TrustError::Row`].
pub fn unmute(tx: &mut WriteTx<'_>, graph: &Graph, node: &NodeId) -> Result<(), TrustError> {
    for other in muted(tx)? {
        if other == *node || graph.principal(&other).contains(node) {
            set_muted(tx, &other, false)?;
        }
    }
    Ok(())
}

/// The nodes whose messages the user refused. It reaches their devices, as permissions do.
///
/// # Errors
/// [`TrustError::Store`], [`TrustError::Row`].
pub fn muted(tx: &ReadTx<'_>) -> Result<BTreeSet<NodeId>, TrustError> {
    let rows = tx.group(PERMISSION, MUTED)?;
    rows.iter().map(|(item, _)| decode_node(item)).collect()
}

/// What `node` may do to us now. The door asks this for every request.
pub fn of(records: &Records, graph: &Graph, node: &NodeId) -> Actions {
    records
        .iter()
        .filter(|(confirmed, record)| !record.actions.is_empty() && graph.principal(confirmed).contains(node))
        .fold(Actions::NONE, |sum, (_, record)| sum.union(record.actions))
}

/// What every node may do to us, by node: the whole reach of all records.
pub fn reach(records: &Records, graph: &Graph) -> BTreeMap<NodeId, Actions> {
    let mut reach: BTreeMap<NodeId, Actions> = BTreeMap::new();
    for (confirmed, record) in records.iter().filter(|(_, record)| !record.actions.is_empty()) {
        for node in graph.principal(confirmed) {
            let actions = reach.entry(node).or_default();
            *actions = actions.union(record.actions);
        }
    }
    reach
}

/// A device came under a permission, or left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReachNotice {
    /// The device.
    pub node: NodeId,
    /// What it could do when the user was last told.
    pub before: Actions,
    /// What it can do now.
    pub now: Actions,
}

/// Compares whom permissions reach with whom they reached when this was last asked, and remembers it. Ask once after
/// each change that the user made, and whenever a chain changed: what the second one tells is news to the user.
///
/// # Errors
/// [`TrustError::Store`], [`TrustError::Row`].
pub fn follow(tx: &mut WriteTx<'_>, graph: &Graph) -> Result<Vec<ReachNotice>, TrustError> {
    let now = reach(&records(tx)?, graph);
    let mut before = BTreeMap::new();
    for (item, value) in tx.group(PERMISSION, REACH)? {
        before.insert(decode_node(&item)?, decode(value.expose())?.actions);
    }
    let mut notices = vec![];
    for node in before
        .keys()
        .chain(now.keys().filter(|node| !before.contains_key(node)))
    {
        let (was, is) = [&before, &now]
            .map(|side| side.get(node).copied().unwrap_or_default())
            .into();
        if was == is {
            continue;
        }
        notices.push(ReachNotice {
            node: *node,
            before: was,
            now: is,
        });
        if is.is_empty() {
            tx.remove(PERMISSION, REACH, node.as_bytes())?;
        } else {
            let record = Confirmed {
                actions: is,
                since: Timestamp::default(),
            };
            tx.put(PERMISSION, REACH, node.as_bytes(), &encode(&record))?;
        }
    }
    Ok(notices)
}

const WHAT: &str = "a permission";

fn put(tx: &mut WriteTx<'_>, node: &NodeId, record: &Confirmed) -> Result<(), TrustError> {
    tx.put(PERMISSION, ALL, node.as_bytes(), &encode(record))?;
    Ok(())
}

fn encode(record: &Confirmed) -> Vec<u8> {
    let mut writer = Writer::new();
    writer
        .array(2)
        .u64(u64::from(record.actions.0))
        .u64(record.since.as_millis());
    writer.finish()
}

fn decode(bytes: &[u8]) -> Result<Confirmed, TrustError> {
    let read = || {
        let mut reader = Reader::new(bytes, MAX_ROW_LEN, WHAT)?;
        reader.array_of(2)?;
        let record = Confirmed {
            actions: Actions::from_bits(reader.u64()?).ok_or(reader.shape())?,
            since: Timestamp::from_millis(reader.u64()?),
        };
        reader.finish()?;
        Ok(record)
    };
    read().map_err(TrustError::row(WHAT))
}

fn decode_node(item: &[u8]) -> Result<NodeId, TrustError> {
    let shape = polykey_core::codec::CodecError::Shape { what: WHAT };
    NodeId::try_from(item).map_err(|_| TrustError::row(WHAT)(shape))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cast::{Person, tie, time};
    use crate::claim::Body;
    use crate::gestalt::{Facts, Vertex};
    use crate::link::LinkType;
    use crate::proof::Proof;
    use crate::sigchain::Chain;
    use crate::trial::database;

    fn graph(chains: &[&Chain]) -> Graph {
        Graph::build(chains.iter().map(|chain| Facts::of(chain, false)), [], [])
    }

    fn actions(list: &[Action]) -> Actions {
        list.iter().copied().collect()
    }

    use Action::{Claim, Notify, Scan};

    #[test]
    fn actions_have_names_and_sets() {
        for (action, name) in Action::ALL {
            assert_eq!((action.as_str(), Action::parse(name)), (*name, Some(*action)));
            let one = Actions::NONE.with(*action);
            assert_eq!(one.iter().collect::<Vec<_>>(), [*action]);
            assert!(one.without(*action).is_empty());
        }
        for bad in ["", "Notify", "notify ", "pull", "all"] {
            assert_eq!(Action::parse(bad), None);
        }
    }

    #[test]
    fn trusting_leaves_the_other_permissions_alone() {
        let (_folder, db) = database();
        let [a] = [1].map(|seed| Person::new(seed).node());
        let empty = Graph::default();
        let of_a = || of(&db.read(records).unwrap(), &empty, &a);
        db.write(|tx| allow(tx, &a, Claim, time(1))).unwrap();
        db.write(|tx| trust(tx, &a, time(2))).unwrap();
        assert_eq!(of_a(), actions(&[Notify, Claim]));
        assert_eq!(db.read(records).unwrap()[&a].since, time(1));
        assert_eq!(db.write(|tx| untrust(tx, &empty, &a)).unwrap(), [a]);
        assert_eq!(of_a(), actions(&[Claim]));
        assert_eq!(db.write(|tx| untrust(tx, &empty, &a)).unwrap(), []);
        db.write(|tx| disallow(tx, &empty, &a, Claim)).unwrap();
        assert!(db.read(records).unwrap().is_empty(), "nothing is left behind");
        db.write(|tx| allow(tx, &a, Scan, time(1))).unwrap();
        assert!(db.write(|tx| forget(tx, &a)).unwrap());
        assert!(of_a().is_empty());
    }

    #[test]
    fn whose_messages_are_not_wanted_is_remembered_until_they_are() {
        let [a, b] = [1, 2].map(Person::new);
        let (mut x, mut y) = (a.chain(), b.chain());
        tie(LinkType::Device, (&a, &mut x), (&b, &mut y), 1);
        let all = graph(&[&x, &y]);
        let (_folder, db) = database();
        let now = || db.read(muted).unwrap();
        for node in [&a, &a, &b] {
            db.write(|tx| set_muted(tx, &node.node(), true)).unwrap();
        }
        assert_eq!(now(), BTreeSet::from([a.node(), b.node()]));
        assert!(db.read(records).unwrap().is_empty());
        db.write(|tx| set_muted(tx, &b.node(), false)).unwrap();
        assert_eq!(now(), BTreeSet::from([a.node()]));
        // The user wants those of one device.
        db.write(|tx| unmute(tx, &all, &b.node())).unwrap();
        assert_eq!(now(), BTreeSet::new());
    }

    #[test]
    fn a_permission_reaches_the_devices_of_the_principal_and_no_further() {
        let [a, b, c] = [1, 2, 3].map(Person::new);
        let (mut x, mut y, mut z) = (a.chain(), b.chain(), c.chain());
        tie(LinkType::Device, (&a, &mut x), (&b, &mut y), 1);
        tie(LinkType::Node, (&b, &mut y), (&c, &mut z), 2);
        let (_folder, db) = database();
        db.write(|tx| allow(tx, &a.node(), Scan, time(1))).unwrap();
        let check = |graph: &Graph, want: [bool; 3]| {
            let records = db.read(records).unwrap();
            let nodes = [&a, &b, &c].map(Person::node);
            assert_eq!(nodes.map(|node| of(&records, graph, &node).contains(Scan)), want);
            let reach = reach(&records, graph);
            assert_eq!(nodes.map(|node| reach.contains_key(&node)), want);
        };
        check(&graph(&[&x, &y, &z]), [true, true, false]);
        // A device is told about when it comes and when it goes.
        let follow = |graph: &Graph| db.write(|tx| follow(tx, graph)).unwrap();
        assert_eq!(follow(&graph(&[&x, &y, &z])).len(), 2);
        assert_eq!(follow(&graph(&[&x, &y, &z])), []);
        a.says(&mut x, &Body::DeviceRemoved(b.node()));
        let without = graph(&[&x, &y, &z]);
        check(&without, [true, false, false]);
        let scan = actions(&[Scan]);
        assert_eq!(
            follow(&without),
            [ReachNotice {
                node: b.node(),
                before: scan,
                now: Actions::NONE
            }]
        );
    }

    #[test]
    fn an_ended_link_leaves_no_copy_of_a_right_behind() {
        let [a, b] = [1, 2].map(Person::new);
        let (mut x, mut y) = (a.chain(), b.chain());
        let link = tie(LinkType::Device, (&a, &mut x), (&b, &mut y), 1);
        let (_folder, db) = database();
        db.write(|tx| allow(tx, &a.node(), Scan, time(1))).unwrap();
        let tied = graph(&[&x, &y]);
        b.says(&mut y, &Body::Revoke(link.id()));
        let apart = graph(&[&x, &y]);
        let records = db.read(records).unwrap();
        assert_eq!(reach(&records, &tied).len(), 2);
        assert_eq!(reach(&records, &apart), [(a.node(), actions(&[Scan]))].into());
        // A node that was forgotten, and one that nobody knows, trip nobody.
        assert!(db.write(|tx| forget(tx, &a.node())).unwrap());
        let records = db.read(super::records).unwrap();
        assert!(of(&records, &tied, &a.node()).is_empty());
        assert!(of(&records, &Graph::default(), &b.node()).is_empty());
        assert_eq!(db.write(|tx| follow(tx, &Graph::default())).unwrap(), []);
    }

    #[test]
    fn taking_away_works_on_whichever_device_is_named() {
        let [a, b] = [1, 2].map(Person::new);
        let (mut x, mut y) = (a.chain(), b.chain());
        tie(LinkType::Device, (&a, &mut x), (&b, &mut y), 1);
        let graph = graph(&[&x, &y]);
        let (_folder, db) = database();
        db.write(|tx| allow(tx, &a.node(), Scan, time(1))).unwrap();
        assert_eq!(
            db.write(|tx| disallow(tx, &graph, &b.node(), Scan)).unwrap(),
            [a.node()]
        );
        assert!(db.read(records).unwrap().is_empty());
    }

    #[test]
    fn an_identity_stands_for_its_node_now_and_not_for_a_later_one() {
        let [a, m] = [1, 2].map(Person::new);
        let (mut x, mut y) = (a.chain(), m.chain());
        let identity: crate::identity::IdentityId = "github.com:alice".parse().unwrap();
        let claims = [
            a.says(&mut x, &Body::Identity(identity.clone())),
            m.says(&mut y, &Body::Identity(identity.clone())),
        ];
        let page = |claim: &crate::claim::Claim| {
            let proof = Proof {
                node: claim.node(),
                claim: claim.id(),
            };
            let facts = [&x, &y].map(|chain| Facts::of(chain, false));
            Graph::build(facts, [(identity.clone(), proof)], [])
        };
        let (_folder, db) = database();
        let before = page(&claims[0]);
        for node in before.named(&Vertex::Identity(identity.clone())) {
            db.write(|tx| trust(tx, &node, time(1))).unwrap();
        }
        // The account is taken over, and its page carries the thief's claim.
        let after = page(&claims[1]);
        let records = db.read(records).unwrap();
        assert!(of(&records, &after, &a.node()).contains(Notify));
        assert!(of(&records, &after, &m.node()).is_empty());
    }
}
