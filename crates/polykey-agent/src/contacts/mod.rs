//! Contacts: the other nodes that this one knows.
//!
//! A node becomes a contact when the user adds it, names it, blocks it or shares with it, when it is met in a
//! charter or when an invitation says where it is; a stranger that only knocks does not. The register is
//! small, so all of it is in memory as well.
//!
//! Always: petnames are unique, and none looks like an id. Keys come in only as verified statements, and a
//! node's first statement never changes. All that writes blocks on the disk.

pub mod contact;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use polykey_api::{Code, Problem};
use polykey_core::clock::SystemClock;
use polykey_core::genesis::SigchainStart;
use polykey_core::key_record::KeyRecord;
use polykey_core::{Clock, NodeId, VaultName};
use polykey_store::Database;

pub use contact::{Contact, Known, Place, Source};

use crate::failure;
use crate::tables::CONTACTS;

/// All of them stand in one group.
const ALL: &[u8] = b"all";
/// Most nodes that come in by themselves; the user may add more.
const MAX_CONTACTS: usize = 10_000;
/// A contact is not written again only because it was seen, unless this long ago.
const SEEN_STEP: std::time::Duration = std::time::Duration::from_secs(60);

/// The register. Clones are one register.
#[derive(Clone)]
pub struct Contacts(Arc<Shared>);

struct Shared {
    me: NodeId,
    database: Database,
    /// Held while a contact changes, so that what is read and what is written are one step.
    changing: Mutex<()>,
    known: RwLock<BTreeMap<NodeId, Contact>>,
}

impl Contacts {
    /// Reads the register of the node `me`.
    ///
    /// # Errors
    /// [`Code::BadData`] when a record is damaged; what the store says.
    pub fn load(database: Database, me: NodeId) -> Result<Contacts, Problem> {
        let records = database
            .read(|tx| tx.group(CONTACTS, ALL))
            .map_err(|error| failure::store(&error))?;
        let mut known = BTreeMap::new();
        for (node, record) in records {
            let contact = Contact::decode(&node, record.expose()).map_err(|error| {
                Problem::new(Code::BadData, "the register of nodes is damaged")
                    .hint("run `polykey doctor`")
                    .caused_by(&error)
            })?;
            known.insert(contact.node, contact);
        }
        Ok(Contacts(Arc::new(Shared {
            me,
            database,
            changing: Mutex::new(()),
            known: RwLock::new(known),
        })))
    }

    /// The node that the user calls `text`: an id or a petname.
    ///
    /// # Errors
    /// [`Code::NodeNotFound`].
    pub fn who(&self, text: &str) -> Result<NodeId, Problem> {
        if let Ok(node) = text.parse::<NodeId>() {
            return Ok(node);
        }
        let found = self.read().values().find_map(|contact| {
            let named = contact.petname.as_deref() == Some(text);
            named.then_some(contact.node)
        });
        found.ok_or_else(|| {
            if text.contains(':') {
                return Problem::new(Code::NodeNotFound, format!("{text} is not known yet"))
                    .hint("name the node by its id");
            }
            Problem::new(Code::NodeNotFound, format!("there is no node {text}"))
                .hint("see `polykey nodes getall`")
        })
    }

    /// What is known about a node.
    pub fn find(&self, node: &NodeId) -> Option<Contact> {
        self.read().get(node).cloned()
    }

    /// All contacts, by id.
    pub fn all(&self) -> Vec<Contact> {
        self.read().values().cloned().collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.read().len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True when the node is in the register and not blocked.
    pub fn is_contact(&self, node: &NodeId) -> bool {
        self.read().get(node).is_some_and(|contact| !contact.blocked)
    }

    /// True when the user blocked it.
    pub fn is_blocked(&self, node: &NodeId) -> bool {
        self.read().get(node).is_some_and(|contact| contact.blocked)
    }

    /// True when the user added it or shared with it.
    pub fn is_trusted(&self, node: &NodeId) -> bool {
        self.read()
            .get(node)
            .is_some_and(|contact| contact.trusted && !contact.blocked)
    }

    /// The node that took the place of this one, or of the one that did.
    pub fn successor(&self, node: &NodeId) -> Option<NodeId> {
        let known = self.read();
        let next = |node: &NodeId| known.get(node).and_then(|contact| contact.successor);
        // Each step is another contact, so there are no more of them.
        std::iter::successors(next(node), next).take(known.len()).last()
    }

    /// True when this node took the place of another that is known.
    pub fn succeeds(&self, node: &NodeId) -> bool {
        self.read()
            .values()
            .any(|contact| contact.successor == Some(*node))
    }

    /// How the user calls a node: its petname, or its id.
    pub fn title(&self, node: &NodeId) -> String {
        let petname = self.read().get(node).and_then(|contact| contact.petname.clone());
        petname.unwrap_or_else(|| node.to_string())
    }

    /// Notes that the user trusts the node: added it, or shared with it.
    ///
    /// # Errors
    /// What the store says; [`Code::Usage`] for the node itself, as everywhere below.
    pub fn trust(&self, node: NodeId) -> Result<(), Problem> {
        self.change(node, |contact| {
            contact.trusted = true;
            Ok(())
        })
    }

    /// Notes whether the user trusts the node, here or by what another device says. One that is not known and not
    /// trusted stays unknown.
    ///
    /// # Errors
    /// What the store says.
    pub fn set_trust(&self, node: NodeId, trusted: bool) -> Result<(), Problem> {
        if !trusted && !self.read().contains_key(&node) {
            return Ok(());
        }
        self.change(node, |contact| {
            contact.trusted = trusted;
            Ok(())
        })
    }

    /// Notes addresses of a node. Only what the user added or an invitation holds makes a new contact.
    ///
    /// # Errors
    /// What the store says.
    pub fn learn(&self, node: NodeId, places: &[Place], source: Source) -> Result<(), Problem> {
        let makes_one = matches!(source, Source::Added | Source::Ticket);
        if node == self.0.me || (!makes_one && !self.read().contains_key(&node)) {
            return Ok(());
        }
        self.change(node, |contact| {
            for place in places.iter().rev() {
                contact.learn(place.clone(), source, SystemClock.now());
            }
            Ok(())
        })
    }

    /// Notes that a node was met as a member of a vault.
    ///
    /// # Errors
    /// What the store says.
    pub fn meet(&self, node: NodeId) -> Result<(), Problem> {
        if node == self.0.me || self.read().contains_key(&node) || self.len() >= MAX_CONTACTS {
            return Ok(());
        }
        self.change(node, |_| Ok(()))
    }

    /// Notes that a contact is connected, and from where. Does nothing for strangers.
    ///
    /// # Errors
    /// What the store says.
    pub fn saw(&self, node: NodeId, place: Option<Place>) -> Result<(), Problem> {
        let now = SystemClock.now();
        let news = self.read().get(&node).is_some_and(|contact| {
            let first = contact.addresses.first().map(|known| &known.place);
            place.is_some() && first != place.as_ref()
                || contact
                    .last_seen
                    .is_none_or(|seen| now.since(seen) >= SEEN_STEP || seen > now)
        });
        if !news {
            return Ok(());
        }
        self.change(node, |contact| {
            contact.last_seen = Some(now);
            if let Some(place) = place {
                contact.learn(place, Source::Seen, now);
            }
            Ok(())
        })
    }

    /// Gives a node a petname, or takes it away.
    ///
    /// # Errors
    /// [`Code::BadPath`] for what is no name; [`Code::Exists`] when another node has it.
    pub fn name(&self, node: NodeId, petname: Option<&str>) -> Result<(), Problem> {
        let petname = petname.map(parse_petname).transpose()?;
        self.change(node, |contact| {
            contact.petname = petname.clone();
            Ok(())
        })
    }

    /// Refuses a node from now on, or no longer.
    ///
    /// # Errors
    /// What the store says.
    pub fn block(&self, node: NodeId, blocked: bool) -> Result<(), Problem> {
        self.change(node, |contact| {
            contact.blocked = blocked;
            Ok(())
        })
    }

    /// Keeps the verified keys of a node. An older record than the one that is known changes nothing.
    ///
    /// # Errors
    /// [`Code::Protocol`] when the node has shown another beginning, or another record of that number, before.
    pub fn keep_keys(&self, start: &SigchainStart, record: &KeyRecord) -> Result<(), Problem> {
        let node = start.node();
        if record.node() != node {
            return Err(Problem::new(
                Code::Protocol,
                "the keys of two nodes came together",
            ));
        }
        self.change(node, |contact| {
            let other_start = contact
                .start
                .as_ref()
                .is_some_and(|known| known.id() != start.id());
            let other_record = contact
                .record
                .as_ref()
                .is_some_and(|known| known.number() == record.number() && known.id() != record.id());
            if other_start || other_record {
                return Err(Problem::new(
                    Code::Protocol,
                    format!("the node {node} shows other keys than before"),
                )
                .hint("ask its owner; nothing was sealed to the new keys"));
            }
            contact.start = Some(start.clone());
            if contact
                .record
                .as_ref()
                .is_none_or(|known| known.number() < record.number())
            {
                contact.record = Some(record.clone());
            }
            Ok(())
        })
    }

    /// Moves what the user gave the node `former` on to `next`: petname, trust, addresses, a block. From then on
    /// `former` is blocked. False when there is nothing to move, or it was moved before.
    ///
    /// # Errors
    /// What the store says.
    pub fn succeed(&self, former: NodeId, next: NodeId) -> Result<bool, Problem> {
        if next == self.0.me {
            return Ok(false);
        }
        let _changing = self.0.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = SystemClock.now();
        let Some(mut old) = self.find(&former).filter(|old| old.successor.is_none()) else {
            return Ok(false);
        };
        let mut new = self.find(&next).unwrap_or_else(|| Contact::new(next, now));
        let petname = old.petname.take();
        new.petname = new.petname.or(petname);
        new.trusted |= old.trusted;
        new.blocked |= old.blocked;
        new.first_seen = new.first_seen.min(old.first_seen);
        let known = std::mem::take(&mut old.addresses);
        for known in known.into_iter().rev() {
            if !new.addresses.iter().any(|there| there.place == known.place) {
                new.learn(known.place, known.source, known.since);
            }
        }
        (old.trusted, old.blocked, old.successor) = (false, true, Some(next));
        self.0
            .database
            .write(|tx| {
                for contact in [&old, &new] {
                    tx.put(CONTACTS, ALL, contact.node.as_bytes(), &contact.encode())?;
                }
                Ok(())
            })
            .map_err(|error| failure::store(&error))?;
        let mut known = self.0.known.write().unwrap_or_else(PoisonError::into_inner);
        known.extend([(former, old), (next, new)]);
        Ok(true)
    }

    fn change(
        &self,
        node: NodeId,
        edit: impl FnOnce(&mut Contact) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        if node == self.0.me {
            return Err(Problem::new(Code::Usage, "this is the id of the node itself"));
        }
        let _changing = self.0.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.find(&node);
        let mut contact = before
            .clone()
            .unwrap_or_else(|| Contact::new(node, SystemClock.now()));
        edit(&mut contact)?;
        if before.as_ref() == Some(&contact) {
            return Ok(());
        }
        if let Some(petname) = &contact.petname
            && self
                .read()
                .values()
                .any(|other| other.node != node && other.petname.as_ref() == Some(petname))
        {
            return Err(Problem::new(
                Code::Exists,
                format!("another node is called {petname} already"),
            ));
        }
        self.0
            .database
            .write(|tx| tx.put(CONTACTS, ALL, node.as_bytes(), &contact.encode()))
            .map_err(|error| failure::store(&error))?;
        self.0
            .known
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(node, contact);
        Ok(())
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<NodeId, Contact>> {
        self.0.known.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Petnames follow the rule of vault names, so that `provider:identity` is none, and do not look like an id.
fn parse_petname(text: &str) -> Result<String, Problem> {
    let name = VaultName::parse(text)
        .map_err(|error| Problem::new(Code::BadPath, format!("{text:?} is no name for a node: {error}")))?;
    if name.as_str().parse::<NodeId>().is_ok() {
        return Err(Problem::new(
            Code::BadPath,
            "the id of a node is no name for a node",
        ));
    }
    Ok(name.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use polykey_core::random::OsRandom;
    use polykey_core::recovery::RecoveryCode;
    use polykey_core::sealing::EncryptionKey;
    use polykey_core::{Key, Timestamp};
    use polykey_store::StoreEnv;

    use super::*;

    struct Bench {
        _dir: tempfile::TempDir,
        database: Database,
    }

    impl Bench {
        fn new() -> Bench {
            let dir = tempfile::tempdir().expect("a temporary folder");
            let key = Key::random(&OsRandom);
            let database = Database::create(&dir.path().join("node.db"), &key, &StoreEnv::default());
            Bench {
                database: database.expect("a new database"),
                _dir: dir,
            }
        }

        fn load(&self) -> Contacts {
            Contacts::load(self.database.clone(), node(0)).expect("loads")
        }
    }

    fn node(n: u8) -> NodeId {
        NodeId::from_bytes([n; 32])
    }

    fn place(port: u16) -> Place {
        format!("127.0.0.1:{port}").parse().expect("an address")
    }

    #[track_caller]
    fn fails(result: Result<(), Problem>, code: Code) {
        assert_eq!(result.map_err(|problem| problem.code), Err(code));
    }

    #[test]
    fn names_addresses_and_blocks_survive_a_restart() {
        let bench = Bench::new();
        let contacts = bench.load();
        contacts
            .learn(node(1), &[place(1), place(2)], Source::Added)
            .expect("kept");
        contacts.trust(node(1)).expect("kept");
        contacts.name(node(1), Some("bob")).expect("named");
        contacts.block(node(2), true).expect("blocked");
        let again = bench.load();
        assert_eq!(again.all(), contacts.all());
        assert_eq!(again.who("bob").expect("named"), node(1));
        assert_eq!(again.title(&node(1)), "bob");
        assert_eq!(again.title(&node(9)), node(9).to_string());
        assert!(again.is_trusted(&node(1)) && again.is_contact(&node(1)));
        assert!(again.is_blocked(&node(2)) && !again.is_contact(&node(2)));
        let places: Vec<_> = again.all()[0]
            .addresses
            .iter()
            .map(|known| known.place.clone())
            .collect();
        assert_eq!(
            places,
            [place(1), place(2)],
            "the first that was given comes first"
        );
        again.block(node(2), false).expect("unblocked");
        assert!(again.is_contact(&node(2)));
        again.name(node(1), None).expect("unnamed");
        assert!(again.who("bob").is_err());
    }

    #[test]
    fn petnames_are_unique_and_never_ids() {
        let contacts = Bench::new().load();
        contacts.name(node(1), Some("bob")).expect("named");
        contacts.name(node(1), Some("bob")).expect("it is its own");
        fails(contacts.name(node(2), Some("bob")), Code::Exists);
        for bad in [
            "",
            "github:bob",
            "a/b",
            "a\u{1b}[2J",
            &node(3).to_string(),
            &"x".repeat(200),
        ] {
            fails(contacts.name(node(2), Some(bad)), Code::BadPath);
        }
        for unknown in ["alice", "github:alice", "", "v"] {
            assert_eq!(
                contacts.who(unknown).map_err(|problem| problem.code),
                Err(Code::NodeNotFound),
                "{unknown}"
            );
        }
        assert_eq!(contacts.who(&node(7).to_string()).expect("an id"), node(7));
    }

    #[test]
    fn strangers_and_the_node_itself_do_not_come_in() {
        let contacts = Bench::new().load();
        contacts.saw(node(1), Some(place(1))).expect("nothing to do");
        contacts
            .learn(node(1), &[place(1)], Source::Told)
            .expect("nothing to do");
        contacts
            .learn(node(0), &[place(1)], Source::Added)
            .expect("nothing to do");
        contacts.meet(node(0)).expect("nothing to do");
        assert!(contacts.is_empty());
        fails(contacts.trust(node(0)), Code::Usage);
        contacts.meet(node(1)).expect("kept");
        contacts.saw(node(1), Some(place(5))).expect("kept");
        assert_eq!(contacts.find(&node(1)).expect("met").addresses[0].place, place(5));
    }

    #[test]
    fn keys_that_contradict_what_was_shown_before_are_refused() {
        let contacts = Bench::new().load();
        let code = RecoveryCode::generate(&OsRandom).keys();
        let (old, new) = (EncryptionKey::random(&OsRandom), EncryptionKey::random(&OsRandom));
        let first = KeyRecord::first(&code.root, old.public());
        let second = first.next(&code.root, new.public());
        let start = SigchainStart::sign(&code.root, &code, &first, Timestamp::from_millis(1));
        contacts.keep_keys(&start, &second).expect("kept");
        contacts.keep_keys(&start, &first).expect("older");
        let kept = contacts.find(&start.node()).expect("kept");
        assert_eq!(kept.record.map(|record| record.number()), Some(1));
        let forged = first.next(&code.root, old.public());
        fails(contacts.keep_keys(&start, &forged), Code::Protocol);
        let other = SigchainStart::sign(&code.root, &code, &first, Timestamp::from_millis(2));
        fails(contacts.keep_keys(&other, &second), Code::Protocol);
        let foreign = RecoveryCode::generate(&OsRandom).keys();
        let foreign = KeyRecord::first(&foreign.root, old.public());
        fails(contacts.keep_keys(&start, &foreign), Code::Protocol);
    }
}
