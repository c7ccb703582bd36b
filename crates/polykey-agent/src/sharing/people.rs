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

use polykey_api::problem::typed;
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
    pub fn part(&self, vault: &InUse, whom: &[Vertex], name: &str) -> Result<BTreeSet<NodeId>, Problem> {
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
                format!("the vault {} is not shared with {name}", vault.name),
            )
            .hint(format!("see `polykey vaults members {}`", typed(&vault.name)))),
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
    use super::*;

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
