//! The tickets that this node gave out, and who used them.
//!
//! The vault's database and the node's are two, so that use and grant cannot be one transaction. A ticket
//! therefore names its bearer first: from then on nobody else can use it. Then the bearer is let in, then the
//! ticket is closed. If the agent ends in between, the same bearer asks again and gets in; a closed ticket
//! lets nobody in, so that one who was taken out since cannot come back by it.
//!
//! Always: only a keyed place is kept of a ticket's secret, its hash. The first bearer wins.

pub mod ticket;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use polykey_api::{Code, Problem};
use polykey_core::codec::{CodecError, Reader, Writer};
use polykey_core::hash::hash;
use polykey_core::{Key, NodeId, Timestamp, VaultId, label};
use polykey_store::{Database, StoreError};
use polykey_vault::charter::Role;

use crate::failure;
use crate::tables::TICKETS;

/// Tickets that can be used at one time.
pub const MAX_TICKETS: usize = 1000;
/// For how long a ticket can be used, when nothing else is said.
pub const LIFE: Duration = Duration::from_secs(24 * 3600);
/// The longest life of a ticket.
pub const MAX_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
/// Longest record.
const MAX_LEN: usize = 256;
const ALL: &[u8] = b"all";

/// How far a ticket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Nobody used it.
    Free,
    /// This node used it and is to be let in.
    Bearer(NodeId),
    /// This node was let in.
    Closed(NodeId),
}

/// What is kept of a ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The vault.
    pub vault: VaultId,
    /// The role that it gives.
    pub role: Role,
    /// Until when it can be used.
    pub expires: Timestamp,
    /// The only node that may use it.
    pub to: Option<NodeId>,
    /// How far it is.
    pub used: Use,
}

impl Issued {
    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.array(5)
            .bytes(self.vault.as_bytes())
            .u64(self.role.number())
            .u64(self.expires.as_millis());
        match &self.to {
            Some(node) => out.bytes(node.as_bytes()),
            None => out.null(),
        };
        match &self.used {
            Use::Free => out.null(),
            Use::Bearer(node) => out.array(2).u64(0).bytes(node.as_bytes()),
            Use::Closed(node) => out.array(2).u64(1).bytes(node.as_bytes()),
        };
        out.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Issued, CodecError> {
        let mut from = Reader::new(bytes, MAX_LEN, "a ticket's record")?;
        from.array_of(5)?;
        let vault = VaultId::from_bytes(from.bytes_of()?);
        let role = Role::from_number(from.u64()?).ok_or(from.shape())?;
        let expires = Timestamp::from_millis(from.u64()?);
        let to = match from.null()? {
            true => None,
            false => Some(NodeId::from_bytes(from.bytes_of()?)),
        };
        let used = if from.null()? {
            Use::Free
        } else {
            from.array_of(2)?;
            match from.u64()? {
                0 => Use::Bearer(NodeId::from_bytes(from.bytes_of()?)),
                1 => Use::Closed(NodeId::from_bytes(from.bytes_of()?)),
                _ => return Err(from.shape()),
            }
        };
        from.finish()?;
        Ok(Issued {
            vault,
            role,
            expires,
            to,
            used,
        })
    }
}

/// The tickets of a node.
pub struct Tickets {
    db: Database,
    /// Held while one is used, so that the first bearer is one.
    using: Mutex<()>,
}

impl Tickets {
    /// Those in this database.
    pub fn new(db: Database) -> Tickets {
        Tickets {
            db,
            using: Mutex::new(()),
        }
    }

    /// Keeps a new ticket, and forgets those that ended.
    ///
    /// # Errors
    /// [`Code::Busy`] when there are too many; what the store says.
    pub fn issue(&self, secret: &Key, issued: &Issued, now: Timestamp) -> Result<(), Problem> {
        let _using = self.using.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ended = Vec::new();
        let mut count = 0;
        for (place, ticket) in self.all()? {
            if ticket.expires <= now {
                ended.push(place);
            } else {
                count += 1;
            }
        }
        if count >= MAX_TICKETS {
            return Err(Problem::new(
                Code::Busy,
                "too many tickets are out: wait until some have expired",
            ));
        }
        self.write(|tx| {
            for place in &ended {
                tx.remove(TICKETS, ALL, place)?;
            }
            tx.put(TICKETS, ALL, &place(secret), &issued.encode())
        })
    }

    /// Uses a ticket: from now on `bearer` and nobody else is its bearer. `None` when there is no such ticket,
    /// or not for this node, or not any more; which of these, nobody is told.
    ///
    /// # Errors
    /// What the store says.
    pub fn take(&self, secret: &Key, bearer: NodeId, now: Timestamp) -> Result<Option<Issued>, Problem> {
        let _using = self.using.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut issued) = self.find(secret, bearer, now)? else {
            return Ok(None);
        };
        if issued.used == Use::Free {
            issued.used = Use::Bearer(bearer);
            self.write(|tx| tx.put(TICKETS, ALL, &place(secret), &issued.encode()))?;
        }
        Ok(Some(issued))
    }

    /// The ticket that [`Tickets::take`] would find. Uses nothing up.
    ///
    /// # Errors
    /// What the store says.
    pub fn find(&self, secret: &Key, bearer: NodeId, now: Timestamp) -> Result<Option<Issued>, Problem> {
        let found = self
            .db
            .read(|tx| tx.value(TICKETS, ALL, &place(secret)))
            .map_err(|error: StoreError| failure::store(&error))?;
        let Some(found) = found else { return Ok(None) };
        let issued = Issued::decode(found.expose()).map_err(|error| damaged(&error))?;
        if issued.expires <= now || issued.to.is_some_and(|to| to != bearer) {
            return Ok(None);
        }
        Ok(match issued.used {
            // The answer may have been lost.
            Use::Bearer(by) | Use::Closed(by) if by != bearer => None,
            _ => Some(issued),
        })
    }

    /// The bearer was let in.
    ///
    /// # Errors
    /// What the store says.
    pub fn close(&self, secret: &Key, issued: &Issued, bearer: NodeId) -> Result<(), Problem> {
        let _using = self.using.lock().unwrap_or_else(PoisonError::into_inner);
        let closed = Issued {
            used: Use::Closed(bearer),
            ..issued.clone()
        };
        self.write(|tx| tx.put(TICKETS, ALL, &place(secret), &closed.encode()))
    }

    /// A node is taken out of a vault: what it used lets it in no more.
    ///
    /// # Errors
    /// What the store says.
    pub fn close_all_of(&self, vault: VaultId, node: NodeId) -> Result<(), Problem> {
        let _using = self.using.lock().unwrap_or_else(PoisonError::into_inner);
        let mut open = self.all()?;
        open.retain(|(_, ticket)| {
            ticket.vault == vault && (ticket.used == Use::Bearer(node) || ticket.to == Some(node))
        });
        if open.is_empty() {
            return Ok(());
        }
        self.write(|tx| {
            for (place, ticket) in &open {
                let closed = Issued {
                    used: Use::Closed(node),
                    ..ticket.clone()
                };
                tx.put(TICKETS, ALL, place, &closed.encode())?;
            }
            Ok(())
        })
    }

    /// What was made for `former`, or used by it, is for `next`, who took its place.
    ///
    /// # Errors
    /// What the store says.
    pub fn succeed(&self, former: NodeId, next: NodeId) -> Result<(), Problem> {
        let _using = self.using.lock().unwrap_or_else(PoisonError::into_inner);
        let mut moved = Vec::new();
        for (place, ticket) in self.all()? {
            let by = |node: NodeId| if node == former { next } else { node };
            let after = Issued {
                to: ticket.to.map(by),
                used: match ticket.used {
                    Use::Free => Use::Free,
                    Use::Bearer(node) => Use::Bearer(by(node)),
                    Use::Closed(node) => Use::Closed(by(node)),
                },
                ..ticket.clone()
            };
            if after != ticket {
                moved.push((place, after));
            }
        }
        if moved.is_empty() {
            return Ok(());
        }
        self.write(|tx| {
            for (place, ticket) in &moved {
                tx.put(TICKETS, ALL, place, &ticket.encode())?;
            }
            Ok(())
        })
    }

    fn all(&self) -> Result<Vec<(Vec<u8>, Issued)>, Problem> {
        let rows = self
            .db
            .read(|tx| tx.group(TICKETS, ALL))
            .map_err(|error: StoreError| failure::store(&error))?;
        rows.into_iter()
            .map(|(place, value)| {
                Ok((
                    place,
                    Issued::decode(value.expose()).map_err(|error| damaged(&error))?,
                ))
            })
            .collect()
    }

    fn write<T>(
        &self,
        change: impl FnOnce(&mut polykey_store::WriteTx<'_>) -> Result<T, StoreError>,
    ) -> Result<T, Problem> {
        self.db.write(change).map_err(|error| failure::store(&error))
    }
}

fn place(secret: &Key) -> [u8; 32] {
    hash(label::TICKET_SECRET, &[secret.expose()])
}

fn damaged(error: &dyn std::error::Error) -> Problem {
    failure::record("the record of a ticket", error)
}

#[cfg(test)]
mod tests {
    use polykey_core::random::OsRandom;
    use polykey_store::StoreEnv;

    use super::*;

    struct Bench {
        dir: tempfile::TempDir,
        key: Key,
        tickets: Tickets,
    }

    fn bench() -> Bench {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let key = Key::random(&OsRandom);
        let db = Database::create(&dir.path().join("node.db"), &key, &StoreEnv::default());
        Bench {
            tickets: Tickets::new(db.expect("a new database")),
            key,
            dir,
        }
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn node(byte: u8) -> NodeId {
        NodeId::from_bytes([byte; 32])
    }

    fn issued(to: Option<NodeId>) -> Issued {
        Issued {
            vault: VaultId::from_bytes([3; 32]),
            role: Role::Writer,
            expires: at(1000),
            to,
            used: Use::Free,
        }
    }

    #[test]
    fn the_first_bearer_wins_and_may_ask_again() {
        let bench = bench();
        let secret = Key::random(&OsRandom);
        bench
            .tickets
            .issue(&secret, &issued(None), at(0))
            .expect("stores");
        // Looking uses nothing up.
        let finds = |secret: &Key, by, now| {
            let found = bench.tickets.find(secret, node(by), at(now)).expect("reads");
            found.is_some()
        };
        assert!(finds(&secret, 1, 10) && finds(&secret, 2, 10));
        assert!(!finds(&secret, 1, 1000));
        assert!(!finds(&Key::random(&OsRandom), 1, 10));
        let taken = bench.tickets.take(&secret, node(1), at(10)).expect("reads");
        assert!(!finds(&secret, 2, 10));
        assert_eq!(taken.map(|ticket| ticket.used), Some(Use::Bearer(node(1))));
        assert_eq!(bench.tickets.take(&secret, node(2), at(10)), Ok(None));
        // Also after a restart.
        let db = bench.dir.path().join("node.db");
        drop(bench.tickets);
        let db = Database::open(&db, &bench.key, &StoreEnv::default()).expect("opens");
        let tickets = Tickets::new(db);
        assert_eq!(tickets.take(&secret, node(2), at(10)), Ok(None));
        let again = tickets
            .take(&secret, node(1), at(10))
            .expect("reads")
            .expect("its own");
        tickets.close(&secret, &again, node(1)).expect("writes");
        let closed = tickets
            .take(&secret, node(1), at(11))
            .expect("reads")
            .expect("its own");
        assert_eq!(closed.used, Use::Closed(node(1)));
        assert_eq!(tickets.take(&secret, node(2), at(11)), Ok(None));
    }

    #[test]
    fn expired_foreign_and_unknown_tickets_say_the_same() {
        let bench = bench();
        let (bound, free) = (Key::random(&OsRandom), Key::random(&OsRandom));
        bench
            .tickets
            .issue(&bound, &issued(Some(node(1))), at(0))
            .expect("stores");
        bench.tickets.issue(&free, &issued(None), at(0)).expect("stores");
        let take = |secret: &Key, bearer, now| bench.tickets.take(secret, bearer, at(now)).expect("reads");
        assert_eq!(take(&bound, node(2), 10), None, "bound to another");
        assert_eq!(take(&free, node(2), 1000), None, "expired");
        assert_eq!(take(&Key::random(&OsRandom), node(1), 10), None, "unknown");
        assert!(take(&bound, node(1), 10).is_some());
    }

    #[test]
    fn whoever_is_taken_out_does_not_come_back_by_its_ticket() {
        let bench = bench();
        let (used, bound) = (Key::random(&OsRandom), Key::random(&OsRandom));
        bench.tickets.issue(&used, &issued(None), at(0)).expect("stores");
        bench
            .tickets
            .issue(&bound, &issued(Some(node(1))), at(0))
            .expect("stores");
        bench.tickets.take(&used, node(1), at(1)).expect("reads");
        bench
            .tickets
            .close_all_of(VaultId::from_bytes([3; 32]), node(1))
            .expect("writes");
        for secret in [&used, &bound] {
            let found = bench
                .tickets
                .take(secret, node(1), at(2))
                .expect("reads")
                .expect("its own");
            assert_eq!(found.used, Use::Closed(node(1)));
        }
    }

    #[test]
    fn what_was_for_a_node_is_for_the_one_that_took_its_place() {
        let bench = bench();
        let tickets = &bench.tickets;
        let [bound, begun, closed, others] = std::array::from_fn(|_| Key::random(&OsRandom));
        for (secret, to) in [
            (&bound, Some(node(1))),
            (&begun, None),
            (&closed, None),
            (&others, Some(node(3))),
        ] {
            tickets.issue(secret, &issued(to), at(0)).expect("stores");
        }
        for secret in [&begun, &closed] {
            let taken = tickets.take(secret, node(1), at(1)).expect("reads");
            if std::ptr::eq(secret, &closed) {
                tickets
                    .close(secret, &taken.expect("its own"), node(1))
                    .expect("writes");
            }
        }
        tickets.succeed(node(1), node(2)).expect("writes");
        tickets.succeed(node(1), node(2)).expect("nothing to do");
        let used = |secret: &Key, by| {
            let found = tickets.take(secret, node(by), at(2)).expect("reads");
            found.map(|ticket| ticket.used)
        };
        for secret in [&bound, &begun, &closed, &others] {
            assert_eq!(used(secret, 1), None, "the former one is out");
        }
        assert_eq!(used(&bound, 2), Some(Use::Bearer(node(2))));
        assert_eq!(used(&begun, 2), Some(Use::Bearer(node(2))));
        assert_eq!(used(&closed, 2), Some(Use::Closed(node(2))));
        assert_eq!((used(&others, 2), used(&others, 3).is_some()), (None, true));
    }

    #[test]
    fn ended_tickets_make_room() {
        let bench = bench();
        let old = Key::random(&OsRandom);
        bench.tickets.issue(&old, &issued(None), at(0)).expect("stores");
        let later = Issued {
            expires: at(5000),
            ..issued(None)
        };
        let new = Key::random(&OsRandom);
        bench.tickets.issue(&new, &later, at(2000)).expect("stores");
        assert_eq!(bench.tickets.all().expect("reads").len(), 1);
    }
}
