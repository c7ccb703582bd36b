//! Sharing with people: which nodes the user confirmed for whom.
//!
//! A vault is shared with a person by the nodes that the user confirmed; their other devices come in and go as those of
//! every member do ([`principals`]). Other nodes that turn up in the person's gestalt are proposed to the user, once,
//! and never let in: [`propose`] compares, and tells.
//!
//! Record: array `[[confirmed], [known and not in]]`, under the vault's id and the name of the person.
//!
//! Always: a page that changed, a merge of gestalts and a fetch let nobody in; whom the user took out stays out.
//! Start at [`People::share`].

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use polykey_api::{Code, Problem};
use polykey_core::clock::SystemClock;
use polykey_core::codec::{CodecError, Reader, Writer};
use polykey_core::random::OsRandom;
use polykey_core::{Clock, NodeId, VaultId};
use polykey_store::{Database, StoreError};
use polykey_trust::gestalt::Vertex;

use super::{name_of, open_as_admin};
#[cfg(doc)]
use crate::devices::principals;
use crate::failure;
use crate::gestalts::View;
use crate::gestalts::named::text;
use crate::node::Node;
use crate::post::{Letter, Tray};
use crate::tables::PEOPLE;
use crate::vaults::InUse;

const ALL: &[u8] = b"all";
/// Most nodes in each list of a record.
const MAX_NODES: usize = 1_000;
const MAX_LEN: usize = 2 * MAX_NODES * 40 + 64;

/// With whom a vault is shared, and by which nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The vault.
    pub vault: VaultId,
    /// Who it is.
    pub whom: Vertex,
    /// The nodes that the user confirmed.
    pub confirmed: BTreeSet<NodeId>,
    /// Nodes beside them that are not let in: the user was told of them, or took them out.
    pub beside: BTreeSet<NodeId>,
}

impl Person {
    fn key(vault: &VaultId, whom: &Vertex) -> Vec<u8> {
        [&vault.as_bytes()[..], text(whom).as_bytes()].concat()
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.array(2);
        for list in [&self.confirmed, &self.beside] {
            out.array(list.len().min(MAX_NODES));
            for node in list.iter().take(MAX_NODES) {
                out.bytes(node.as_bytes());
            }
        }
        out.finish()
    }

    fn decode(key: &[u8], bytes: &[u8]) -> Result<Person, CodecError> {
        let mut from = Reader::new(bytes, MAX_LEN, "with whom a vault is shared")?;
        let (vault, whom) = key.split_at_checked(VaultId::LEN).ok_or(from.shape())?;
        let whom = std::str::from_utf8(whom).map_err(|_| from.shape())?;
        let whom = match whom.parse::<NodeId>() {
            Ok(node) => Vertex::Node(node),
            Err(_) => Vertex::Identity(whom.parse().map_err(|_| from.shape())?),
        };
        from.array_of(2)?;
        let mut lists = [BTreeSet::new(), BTreeSet::new()];
        for list in &mut lists {
            for _ in 0..from.array()? {
                list.insert(NodeId::from_bytes(from.bytes_of()?));
            }
        }
        let [confirmed, beside] = lists;
        let person = Person {
            vault: VaultId::try_from(vault).map_err(|_| from.shape())?,
            whom,
            confirmed,
            beside,
        };
        from.finish()?;
        Ok(person)
    }
}

/// With whom which vaults are shared.
pub struct People {
    db: Database,
    /// Held while a record and the vault that it is about change.
    changing: Mutex<()>,
}

impl People {
    /// The records in the node's database.
    pub fn new(db: Database) -> People {
        People {
            db,
            changing: Mutex::new(()),
        }
    }

    fn change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them, by vault.
    ///
    /// # Errors
    /// [`Code::BadData`] when a record is damaged; what the store says.
    pub fn all(&self) -> Result<Vec<Person>, Problem> {
        let rows = self
            .db
            .read(|tx| tx.group(PEOPLE, ALL))
            .map_err(|error: StoreError| failure::store(&error))?;
        let person = |(key, value): &(Vec<u8>, polykey_core::SecretBytes)| {
            Person::decode(key, value.expose())
                .map_err(|error| failure::record("with whom a vault is shared", &error))
        };
        rows.iter().map(person).collect()
    }

    /// Those of one vault.
    ///
    /// # Errors
    /// As [`People::all`].
    pub fn of(&self, vault: VaultId) -> Result<Vec<Person>, Problem> {
        let mut all = self.all()?;
        all.retain(|person| person.vault == vault);
        Ok(all)
    }

    /// True when the user confirmed this node for this person before, for whichever vault.
    ///
    /// # Errors
    /// As [`People::all`].
    pub fn was_confirmed(&self, whom: &Vertex, node: &NodeId) -> Result<bool, Problem> {
        let all = self.all()?;
        Ok(all
            .iter()
            .any(|person| person.whom == *whom && person.confirmed.contains(node)))
    }

    fn find(&self, vault: &VaultId, whom: &Vertex) -> Result<Option<Person>, Problem> {
        let key = Person::key(vault, whom);
        let row = self.db.read(|tx| tx.value(PEOPLE, ALL, &key));
        let row = row.map_err(|error: StoreError| failure::store(&error))?;
        row.map(|row| Person::decode(&key, row.expose()))
            .transpose()
            .map_err(|error| failure::record("with whom a vault is shared", &error))
    }

    fn keep(&self, person: &Person) -> Result<(), Problem> {
        let key = Person::key(&person.vault, &person.whom);
        self.db
            .write(|tx| match person.confirmed.is_empty() {
                true => tx.remove(PEOPLE, ALL, &key).map(drop),
                false => tx.put(PEOPLE, ALL, &key, &person.encode()),
            })
            .map_err(|error: StoreError| failure::store(&error))
    }

    /// Notes that the user shared a vault with somebody by these nodes. Who else is in their gestalt now is known to
    /// the user, and not proposed.
    ///
    /// # Errors
    /// What the store says.
    pub fn share(&self, view: &View, vault: VaultId, whom: &Vertex, nodes: &[NodeId]) -> Result<(), Problem> {
        let _changing = self.change();
        let known = self.find(&vault, whom)?;
        let mut person = known.unwrap_or_else(|| Person {
            vault,
            whom: whom.clone(),
            confirmed: BTreeSet::new(),
            beside: BTreeSet::new(),
        });
        person.confirmed.extend(nodes);
        let gestalt = view.graph.gestalt(whom).unwrap_or_default();
        person.beside.extend(gestalt.nodes);
        person.beside.retain(|node| !person.confirmed.contains(node));
        self.keep(&person)
    }

    /// Notes that the user took a node out of a vault: it is not proposed again.
    ///
    /// # Errors
    /// What the store says.
    pub fn took_out(&self, vault: VaultId, node: NodeId) -> Result<(), Problem> {
        let _changing = self.change();
        for mut person in self.of(vault)? {
            if person.confirmed.remove(&node) {
                person.beside.insert(node);
                self.keep(&person)?;
            }
        }
        Ok(())
    }

    /// Ends the sharing of a vault with somebody: says which nodes the user had confirmed.
    ///
    /// # Errors
    /// [`Code::NodeNotFound`] when it was not shared with them.
    pub fn part(&self, vault: &InUse, whom: &[Vertex], typed: &str) -> Result<BTreeSet<NodeId>, Problem> {
        let _changing = self.change();
        let mut nodes = BTreeSet::new();
        for mut person in self.of(vault.id)? {
            if whom.contains(&person.whom) {
                nodes.append(&mut person.confirmed);
                self.keep(&person)?;
            }
        }
        match nodes.is_empty() {
            true => Err(Problem::new(
                Code::NodeNotFound,
                format!("the vault {} is not shared with {typed}", vault.name),
            )
            .hint(format!("see `polykey vaults members {}`", vault.name))),
            false => Ok(nodes),
        }
    }
}

/// Proposes nodes that turned up beside people with whom vaults are shared.
///
/// # Errors
/// What the store says. A vault that cannot be opened now is left for the next time.
pub fn propose(node: &Node) -> Result<(), Problem> {
    let view = node.gestalts.view()?;
    for person in node.people.all()? {
        if let Err(problem) = propose_one(node, &view, &person) {
            tracing::debug!(vault = %person.vault, "nobody is proposed: {problem}");
        }
    }
    Ok(())
}

fn propose_one(node: &Node, view: &View, listed: &Person) -> Result<(), Problem> {
    let _changing = node.people.change();
    let Some(mut person) = node.people.find(&listed.vault, &listed.whom)? else {
        return Ok(());
    };
    let open = open_as_admin(node, &person.vault.to_string())?;
    let mut known: BTreeSet<NodeId> = person.confirmed.union(&person.beside).copied().collect();
    known.insert(node.id());
    // Their devices come by themselves.
    for confirmed in &person.confirmed {
        known.extend(view.graph.principal(confirmed));
    }
    let gestalt = view.graph.gestalt(&person.whom).unwrap_or_default();
    known.extend(gestalt.retired);
    for other in gestalt.nodes {
        if known.contains(&other) || person.beside.len() >= MAX_NODES {
            continue;
        }
        person.beside.insert(other);
        node.people.keep(&person)?;
        if open.vault.role_of(&other).is_some() {
            continue;
        }
        let letter = Letter::Proposal {
            from: other,
            vault: open.id,
            name: name_of(&open)?,
            whom: title(node, &person.whom),
        };
        node.post
            .tell(Tray::Inbox, letter, SystemClock.now(), &OsRandom)?;
    }
    Ok(())
}

/// What the user calls somebody.
fn title(node: &Node, whom: &Vertex) -> String {
    match whom {
        Vertex::Node(id) => node.contacts.title(id),
        Vertex::Identity(identity) => identity.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use polykey_core::Timestamp;
    use polykey_trust::book::{self, Source};
    use polykey_trust::claim::Body;
    use polykey_trust::link::LinkType;
    use polykey_trust::sigchain::Chain;
    use polykey_vault::Vault;
    use polykey_vault::charter::{Joiner, Role};
    use polykey_vault::sync::Seen;

    use super::*;
    use crate::chains::cast::{Life, link};
    use crate::devices::principals;
    use crate::peer::bench::{Bench, Wire};
    use crate::peer::keys::NodeKeys;
    use crate::peer::pull::pull;
    use crate::sharing::{Wanted, let_in, take_out};
    use crate::vaults::problem::vault_problem;

    /// A node whose vault `work` is shared, and the devices of others.
    struct Stage {
        bench: Bench,
        vault: InUse,
    }

    impl Stage {
        fn new() -> Stage {
            let bench = Bench::new();
            let node = bench.node();
            node.vaults.create("work", None).expect("made");
            let vault = node.vaults.open("work").expect("open");
            Stage { bench, vault }
        }

        /// The same vault at another admin.
        async fn with_another_admin(&self) -> Stage {
            let bench = Bench::new();
            self.bench.grant("work", &bench.keys(), Role::Admin);
            let node = bench.node();
            let genesis = self.vault.vault.genesis().clone();
            node.vaults.begin_joining("work", &genesis).expect("begins");
            let vault = node.vaults.open_id(self.vault.id).expect("open");
            let other = Stage { bench, vault };
            other.pull(self).await;
            let vaults = &other.bench.node().vaults;
            vaults.finish_joining(self.vault.id).expect("shown");
            other
        }

        async fn pull(&self, from: &Stage) {
            let wire = Wire::new(&from.bench, self.bench.id(), 1000);
            let vault = Vault::clone(&self.vault.vault);
            let wrong = |error| vault_problem("work", error);
            pull(
                Arc::new(wire),
                vault,
                self.bench.id(),
                Seen::default(),
                wrong,
                |_| {},
            )
            .await
            .expect("pulled");
        }

        fn keep(&self, lives: &[(&Life, &Chain)]) {
            let node = self.bench.node();
            for (life, chain) in lives {
                let entries = chain.entries().to_vec();
                node.db
                    .write(|tx| {
                        book::receive(
                            tx,
                            &life.node(),
                            entries,
                            Source::Owner,
                            Timestamp::from_millis(9),
                        )
                    })
                    .expect("a chain");
                let keys = NodeKeys::known(life.start.clone(), life.record.clone()).expect("of one node");
                node.contacts
                    .keep_keys(keys.start(), keys.record())
                    .expect("kept");
            }
            node.gestalts.changed();
        }

        fn share(&self, life: &Life) {
            let node = self.bench.node();
            let view = node.gestalts.view().expect("made");
            let whom = Vertex::Node(life.node());
            let_in(&node, &self.vault, life.node(), Wanted::AtLeast(Role::Writer)).expect("let in");
            node.people
                .share(&view, self.vault.id, &whom, &[life.node()])
                .expect("kept");
        }

        fn follow(&self) {
            let node = self.bench.node();
            principals::follow_all(&node).expect("followed");
            propose(&node).expect("proposed");
        }

        /// As `vaults unshare`.
        fn unshare(&self, life: &Life) {
            let (node, id) = (self.bench.node(), life.node());
            principals::note_decision(&node, &self.vault.id, &id, false).expect("noted");
            take_out(&node, &self.vault, id).expect("out");
            node.people.took_out(self.vault.id, id).expect("noted");
        }

        fn role(&self, life: &Life) -> Option<Role> {
            self.vault.vault.role_of(&life.node())
        }

        fn letters(&self) -> Vec<Letter> {
            let inbox = self.bench.node().post.read(Tray::Inbox).expect("reads");
            inbox.into_iter().map(|mail| mail.letter).collect()
        }
    }

    #[test]
    fn later_devices_come_in_and_removed_ones_go_with_a_notice() {
        let stage = Stage::new();
        let [laptop, phone, friend] = [0; 3].map(|_| Life::new());
        let (mut l, mut p, mut f) = (laptop.chain(), phone.chain(), friend.chain());
        stage.keep(&[(&laptop, &l), (&phone, &p), (&friend, &f)]);
        stage.share(&laptop);
        stage.follow();
        assert_eq!(
            (stage.role(&laptop), stage.role(&phone)),
            (Some(Role::Writer), None)
        );

        link(LinkType::Device, (&laptop, &mut l), (&phone, &mut p));
        link(LinkType::Node, (&laptop, &mut l), (&friend, &mut f));
        stage.keep(&[(&laptop, &l), (&phone, &p), (&friend, &f)]);
        for _ in 0..3 {
            stage.follow();
        }
        assert_eq!(stage.role(&phone), Some(Role::Writer));
        assert_eq!(stage.role(&friend), None, "a friend is no device");
        let letters = stage.letters();
        assert_eq!(letters.len(), 2, "{letters:?}");
        assert!(
            matches!(&letters[0], Letter::Device { from, role: Some(Role::Writer), .. } if *from == phone.node())
        );
        assert!(matches!(&letters[1], Letter::Proposal { from, .. } if *from == friend.node()));

        laptop.says(&mut l, &Body::DeviceRemoved(phone.node()));
        stage.keep(&[(&laptop, &l)]);
        stage.follow();
        stage.follow();
        assert_eq!(
            (stage.role(&laptop), stage.role(&phone)),
            (Some(Role::Writer), None)
        );
        assert!(matches!(
            stage.letters().last(),
            Some(Letter::Device { role: None, .. })
        ));
    }

    #[test]
    fn a_device_has_the_role_of_its_member_also_when_that_is_lowered() {
        let stage = Stage::new();
        let [laptop, phone] = [0; 2].map(|_| Life::new());
        let (mut l, mut p) = (laptop.chain(), phone.chain());
        link(LinkType::Device, (&laptop, &mut l), (&phone, &mut p));
        stage.keep(&[(&laptop, &l), (&phone, &p)]);
        stage.share(&laptop);
        for role in [Role::Writer, Role::Reader, Role::Admin, Role::Writer] {
            let node = stage.bench.node();
            let_in(&node, &stage.vault, laptop.node(), Wanted::Exactly(role)).expect("let in");
            for _ in 0..2 {
                stage.follow();
                assert_eq!(
                    (stage.role(&laptop), stage.role(&phone)),
                    (Some(role), Some(role))
                );
            }
        }
    }

    #[test]
    fn a_role_that_was_given_to_a_device_elsewhere_stays_until_its_member_has_another() {
        let stage = Stage::new();
        let [laptop, phone] = [0; 2].map(|_| Life::new());
        let (mut l, mut p) = (laptop.chain(), phone.chain());
        link(LinkType::Device, (&laptop, &mut l), (&phone, &mut p));
        stage.keep(&[(&laptop, &l), (&phone, &p)]);
        stage.share(&laptop);
        stage.follow();
        let keys = NodeKeys::known(phone.start.clone(), phone.record.clone()).expect("of one node");
        // As the agent of another admin does, which has no row for it.
        for role in [Role::Reader, Role::Admin] {
            let joiner = Joiner {
                node: phone.node(),
                role,
                keys: Some(keys.member_keys()),
            };
            stage.vault.vault.set_role(&joiner).expect("given");
            for _ in 0..2 {
                stage.follow();
                assert_eq!(stage.role(&phone), Some(role));
            }
        }
        // It goes with its member all the same.
        laptop.says(&mut l, &Body::DeviceRemoved(phone.node()));
        stage.keep(&[(&laptop, &l)]);
        stage.follow();
        assert_eq!(stage.role(&phone), None);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn devices_that_two_admins_could_let_in_go_with_their_member() {
        let stage = Stage::new();
        let other = stage.with_another_admin().await;
        let [bob, two, three] = [0; 3].map(|_| Life::new());
        let (mut b, mut t, mut h) = (bob.chain(), two.chain(), three.chain());
        link(LinkType::Device, (&bob, &mut b), (&two, &mut t));
        stage.keep(&[(&bob, &b), (&two, &t)]);
        stage.share(&bob);
        stage.follow();
        assert!(stage.role(&two).is_some());
        other.pull(&stage).await;
        link(LinkType::Device, (&two, &mut t), (&three, &mut h));
        let all = [(&bob, &b), (&two, &t), (&three, &h)];
        other.keep(&all);
        other.follow();
        assert_eq!(other.role(&three), None, "who let Bob in lets it in");
        stage.keep(&all);
        stage.follow();
        assert!(stage.role(&three).is_some());
        other.pull(&stage).await;
        other.follow();
        other.unshare(&bob);
        stage.pull(&other).await;
        stage.follow();
        other.pull(&stage).await;
        other.follow();
        for stage in [&stage, &other] {
            let roles = [&bob, &two, &three].map(|life| stage.role(life));
            assert_eq!(roles, [None; 3]);
        }
    }

    #[test]
    fn whoever_came_by_a_removed_device_alone_goes_with_it() {
        let stage = Stage::new();
        let [laptop, phone, tablet, other] = [0; 4].map(|_| Life::new());
        let [mut l, mut p, mut t, mut o] = [&laptop, &phone, &tablet, &other].map(Life::chain);
        link(LinkType::Device, (&laptop, &mut l), (&phone, &mut p));
        link(LinkType::Device, (&laptop, &mut l), (&tablet, &mut t));
        link(LinkType::Device, (&phone, &mut p), (&tablet, &mut t));
        link(LinkType::Device, (&phone, &mut p), (&other, &mut o));
        stage.keep(&[(&laptop, &l), (&phone, &p), (&tablet, &t), (&other, &o)]);
        stage.share(&laptop);
        stage.follow();
        for life in [&phone, &tablet, &other] {
            assert_eq!(stage.role(life), Some(Role::Writer));
        }
        laptop.says(&mut l, &Body::DeviceRemoved(phone.node()));
        stage.keep(&[(&laptop, &l)]);
        stage.follow();
        let roles = [&laptop, &phone, &tablet, &other].map(|life| stage.role(life));
        assert_eq!(roles, [Some(Role::Writer), None, Some(Role::Writer), None]);
    }

    #[test]
    fn whom_the_user_took_out_does_not_come_back_by_itself() {
        let stage = Stage::new();
        let [laptop, phone] = [0; 2].map(|_| Life::new());
        let (mut l, mut p) = (laptop.chain(), phone.chain());
        link(LinkType::Device, (&laptop, &mut l), (&phone, &mut p));
        stage.keep(&[(&laptop, &l), (&phone, &p)]);
        stage.share(&laptop);
        stage.follow();
        assert_eq!(stage.role(&phone), Some(Role::Writer));
        let node = stage.bench.node();
        stage.unshare(&phone);
        stage.follow();
        assert_eq!(stage.role(&phone), None);
        let gone = node
            .people
            .part(&stage.vault, &[Vertex::Node(laptop.node())], "x");
        assert_eq!(gone, Ok(BTreeSet::from([laptop.node()])));
        assert_eq!(node.people.all(), Ok(vec![]));
        assert!(
            node.people
                .part(&stage.vault, &[Vertex::Node(laptop.node())], "x")
                .is_err()
        );
    }

    #[test]
    fn whoever_left_by_itself_brings_nobody_in() {
        let stage = Stage::new();
        let [laptop, phone] = [0; 2].map(|_| Life::new());
        let (mut l, mut p) = (laptop.chain(), phone.chain());
        stage.keep(&[(&laptop, &l), (&phone, &p)]);
        stage.share(&laptop);
        stage.vault.vault.revoke(&laptop.node()).expect("gone");
        link(LinkType::Device, (&laptop, &mut l), (&phone, &mut p));
        stage.keep(&[(&laptop, &l), (&phone, &p)]);
        stage.follow();
        assert_eq!((stage.role(&laptop), stage.role(&phone)), (None, None));
    }

    #[test]
    fn a_merge_of_gestalts_lets_nobody_in_and_a_one_sided_device_neither() {
        let stage = Stage::new();
        let [a, m] = [0; 2].map(|_| Life::new());
        let (l, mut own) = (a.chain(), m.chain());
        let mut copy = l.clone();
        stage.keep(&[(&a, &l), (&m, &own)]);
        stage.share(&a);
        // Only the chain of the one that wants in holds the link.
        link(LinkType::Device, (&a, &mut copy), (&m, &mut own));
        stage.keep(&[(&m, &own)]);
        stage.follow();
        assert_eq!(stage.role(&m), None);
        assert_eq!(stage.letters(), []);
    }

    #[test]
    fn records_come_back_as_they_were() {
        let person = Person {
            vault: VaultId::from_bytes([3; 32]),
            whom: Vertex::Identity("github.com:alice".parse().expect("an identity")),
            confirmed: BTreeSet::from([NodeId::from_bytes([1; 32])]),
            beside: BTreeSet::from([NodeId::from_bytes([2; 32]), NodeId::from_bytes([4; 32])]),
        };
        let key = Person::key(&person.vault, &person.whom);
        assert_eq!(Person::decode(&key, &person.encode()), Ok(person.clone()));
        for bad in [&key[..31], &key[..32], b"", &[&key[..], b"\xff"].concat()] {
            assert!(Person::decode(bad, &person.encode()).is_err());
        }
        let bytes = person.encode();
        for end in 0..bytes.len() {
            assert!(Person::decode(&key, &bytes[..end]).is_err(), "{end}");
        }
    }
}
