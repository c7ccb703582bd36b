//! Shares in two directions: vaults that others let us into, and nodes that wait to be let in.
//!
//! What others say is a hint where to look and no right: whether we are in, the vault's charter says.
//!
//! Always: both lists are bounded; what a node says replaces what it said before about the same vault.

use std::sync::{Mutex, MutexGuard, PoisonError};

use polykey_api::{Code, Problem};
use polykey_core::codec::{CodecError, Reader, Writer};
use polykey_core::{NodeId, Timestamp, VaultId, VaultName};
use polykey_store::{Database, StoreError};
use polykey_vault::charter::Role;

use crate::failure;
use crate::tables::{PENDING_SHARES, SHARES};

/// Shares received that are kept; the oldest goes first.
pub const MAX_SHARES: usize = 1000;
/// Nodes that may wait.
pub const MAX_PENDING: usize = 10_000;
/// Of those, so many of one node; its oldest goes first, so that nobody crowds out what others offer.
pub const MAX_OF_ONE: usize = 100;
const ALL: &[u8] = b"all";
const MAX_LEN: usize = 512;

/// A vault that somebody let us into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// The vault.
    pub vault: VaultId,
    /// Who says so.
    pub from: NodeId,
    /// What it is called there.
    pub name: VaultName,
    /// What we may do.
    pub role: Role,
    /// When the news came.
    pub time: Timestamp,
}

impl Offered {
    fn place(vault: &VaultId, from: &NodeId) -> [u8; 64] {
        let mut place = [0; 64];
        place[..32].copy_from_slice(vault.as_bytes());
        place[32..].copy_from_slice(from.as_bytes());
        place
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.array(3)
            .text(self.name.as_str())
            .u64(self.role.number())
            .u64(self.time.as_millis());
        out.finish()
    }

    fn decode(place: &[u8], bytes: &[u8]) -> Result<Offered, CodecError> {
        let mut from = Reader::new(bytes, MAX_LEN, "a share that was received")?;
        let (vault, node) = split(place).ok_or(from.shape())?;
        from.array_of(3)?;
        let offered = Offered {
            vault,
            from: node,
            name: VaultName::parse(from.text()?).map_err(|_| from.shape())?,
            role: Role::from_number(from.u64()?).ok_or(from.shape())?,
            time: Timestamp::from_millis(from.u64()?),
        };
        from.finish()?;
        Ok(offered)
    }
}

/// A node that is to be let in once its keys are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// The vault.
    pub vault: VaultId,
    /// The node.
    pub node: NodeId,
    /// What it is to be.
    pub role: Role,
}

fn split(place: &[u8]) -> Option<(VaultId, NodeId)> {
    let (vault, node) = place.split_at_checked(VaultId::LEN)?;
    Some((VaultId::try_from(vault).ok()?, NodeId::try_from(node).ok()?))
}

/// The shares of a node.
pub struct Shares {
    db: Database,
    changing: Mutex<()>,
}

impl Shares {
    /// Those in this database.
    pub fn new(db: Database) -> Shares {
        Shares {
            db,
            changing: Mutex::new(()),
        }
    }

    /// To be held while a node is let in for what was decided earlier, or is taken out: whoever is taken out meanwhile
    /// must not come in after that.
    pub fn alone(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what somebody offers.
    ///
    /// # Errors
    /// What the store says.
    pub fn offer(&self, offered: &Offered) -> Result<(), Problem> {
        let mut others = self.offered()?;
        // It takes the place of what its node said before.
        others.retain(|known| (known.vault, known.from) != (offered.vault, offered.from));
        others.sort_by_key(|known| known.time);
        let of_one = others.iter().filter(|known| known.from == offered.from).count();
        let mut own_over = (of_one + 1).saturating_sub(MAX_OF_ONE);
        let (mut gone, mut kept) = (Vec::new(), Vec::new());
        for known in others {
            if known.from == offered.from && own_over > 0 {
                own_over -= 1;
                gone.push(known);
            } else {
                kept.push(known);
            }
        }
        let over = (kept.len() + 1).saturating_sub(MAX_SHARES);
        gone.extend(kept.drain(..over));
        self.write(|tx| {
            for old in &gone {
                tx.remove(SHARES, ALL, &Offered::place(&old.vault, &old.from))?;
            }
            let place = Offered::place(&offered.vault, &offered.from);
            tx.put(SHARES, ALL, &place, &offered.encode())
        })
    }

    /// Somebody offers a vault no longer.
    ///
    /// # Errors
    /// What the store says.
    pub fn withdraw(&self, vault: VaultId, from: NodeId) -> Result<(), Problem> {
        self.write(|tx| tx.remove(SHARES, ALL, &Offered::place(&vault, &from)).map(drop))
    }

    /// All that is offered, by vault.
    ///
    /// # Errors
    /// What the store says.
    pub fn offered(&self) -> Result<Vec<Offered>, Problem> {
        let rows = self
            .db
            .read(|tx| tx.group(SHARES, ALL))
            .map_err(|error: StoreError| failure::store(&error))?;
        rows.iter()
            .map(|(place, value)| Offered::decode(place, value.expose()).map_err(|error| damaged(&error)))
            .collect()
    }

    /// What is offered under this name or id, newest first; only what `from` offers, if that is given.
    ///
    /// # Errors
    /// What the store says.
    pub fn called(&self, typed: &str, from: Option<NodeId>) -> Result<Vec<Offered>, Problem> {
        let mut found = self.offered()?;
        found.retain(|offered| {
            from.is_none_or(|from| offered.from == from)
                && (offered.name.as_str() == typed || offered.vault.to_string() == typed)
        });
        found.sort_by_key(|offered| std::cmp::Reverse(offered.time));
        Ok(found)
    }

    /// Lets a node wait.
    ///
    /// # Errors
    /// [`Code::Busy`] when too many wait; what the store says.
    pub fn wait(&self, pending: Pending) -> Result<(), Problem> {
        if self.waiting()?.len() >= MAX_PENDING {
            return Err(Problem::new(
                Code::Busy,
                "too many shares wait for the keys of their node",
            ));
        }
        let place = Offered::place(&pending.vault, &pending.node);
        let mut out = Writer::new();
        out.u64(pending.role.number());
        let role = out.finish();
        self.write(|tx| tx.put(PENDING_SHARES, ALL, &place, &role))
    }

    /// A node waits no longer; true when it did.
    ///
    /// # Errors
    /// What the store says.
    pub fn wait_no_longer(&self, vault: VaultId, node: NodeId) -> Result<bool, Problem> {
        self.write(|tx| tx.remove(PENDING_SHARES, ALL, &Offered::place(&vault, &node)))
    }

    /// All that wait, by vault and node.
    ///
    /// # Errors
    /// What the store says.
    pub fn waiting(&self) -> Result<Vec<Pending>, Problem> {
        let rows = self
            .db
            .read(|tx| tx.group(PENDING_SHARES, ALL))
            .map_err(|error: StoreError| failure::store(&error))?;
        let pending = |place: &[u8], bytes: &[u8]| -> Result<Pending, CodecError> {
            let mut from = Reader::new(bytes, MAX_LEN, "a share that waits")?;
            let (vault, node) = split(place).ok_or(from.shape())?;
            let role = Role::from_number(from.u64()?).ok_or(from.shape())?;
            from.finish()?;
            Ok(Pending { vault, node, role })
        };
        rows.iter()
            .map(|(place, value)| pending(place, value.expose()).map_err(|error| damaged(&error)))
            .collect()
    }

    /// What `former` offers and waits for is what `next` does, who took its place.
    ///
    /// # Errors
    /// What the store says.
    pub fn succeed(&self, former: NodeId, next: NodeId) -> Result<(), Problem> {
        let _alone = self.alone();
        let (mut offered, mut waiting) = (self.offered()?, self.waiting()?);
        offered.retain(|offered| offered.from == former);
        waiting.retain(|pending| pending.node == former);
        let rows = (offered.iter().map(|row| (SHARES, row.vault)))
            .chain(waiting.iter().map(|row| (PENDING_SHARES, row.vault)));
        let rows: Vec<_> = rows.collect();
        if rows.is_empty() {
            return Ok(());
        }
        self.write(|tx| {
            for (table, vault) in rows {
                let (from, to) = (Offered::place(&vault, &former), Offered::place(&vault, &next));
                // What the new one said or was given itself counts.
                if let Some(row) = tx.value(table, ALL, &from)?
                    && !tx.contains(table, ALL, &to)?
                {
                    tx.put(table, ALL, &to, row.expose())?;
                }
                tx.remove(table, ALL, &from)?;
            }
            Ok(())
        })
    }

    fn write<T>(
        &self,
        change: impl FnOnce(&mut polykey_store::WriteTx<'_>) -> Result<T, StoreError>,
    ) -> Result<T, Problem> {
        self.db.write(change).map_err(|error| failure::store(&error))
    }
}

fn damaged(error: &dyn std::error::Error) -> Problem {
    failure::record("the record of a share", error)
}

#[cfg(test)]
mod tests {
    use polykey_core::Key;
    use polykey_core::random::OsRandom;
    use polykey_store::StoreEnv;

    use super::*;

    fn bench() -> (tempfile::TempDir, Shares) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let key = Key::random(&OsRandom);
        let db = Database::create(&dir.path().join("node.db"), &key, &StoreEnv::default());
        let shares = Shares::new(db.expect("a new database"));
        (dir, shares)
    }

    fn node(byte: u8) -> NodeId {
        NodeId::from_bytes([byte; 32])
    }

    fn offered(vault: u8, from: u8, name: &str, time: u64) -> Offered {
        Offered {
            vault: VaultId::from_bytes([vault; 32]),
            from: node(from),
            name: VaultName::parse(name).expect("a name"),
            role: Role::Reader,
            time: Timestamp::from_millis(time),
        }
    }

    #[test]
    fn offers_are_found_by_name_and_id_and_by_who_made_them() {
        let (_dir, shares) = bench();
        let (a, b) = (offered(1, 1, "work", 5), offered(2, 2, "work", 6));
        for one in [&a, &b] {
            shares.offer(one).expect("stores");
        }
        assert_eq!(shares.called("work", None), Ok(vec![b.clone(), a.clone()]));
        assert_eq!(shares.called("work", Some(node(1))), Ok(vec![a.clone()]));
        assert_eq!(shares.called(&b.vault.to_string(), None), Ok(vec![b.clone()]));
        for none in ["", "Work", "wor", "z1"] {
            assert_eq!(shares.called(none, None), Ok(Vec::new()), "{none}");
        }
        let renamed = offered(1, 1, "play", 7);
        shares.offer(&renamed).expect("stores");
        assert_eq!(shares.called("work", Some(node(1))), Ok(Vec::new()));
        // Only who made an offer takes it back.
        shares.withdraw(renamed.vault, node(2)).expect("writes");
        assert_eq!(shares.called("play", None), Ok(vec![renamed.clone()]));
        shares.withdraw(renamed.vault, node(1)).expect("writes");
        assert_eq!(shares.offered(), Ok(vec![b]));
    }

    #[test]
    fn nobody_crowds_out_what_others_offer() {
        let (_dir, shares) = bench();
        let friend = offered(255, 1, "work", 1);
        shares.offer(&friend).expect("stores");
        let of_one = |vault: u8| offered(vault, 2, "noise", 10 + u64::from(vault));
        for vault in 0..120 {
            shares.offer(&of_one(vault)).expect("stores");
        }
        let all = shares.offered().expect("reads");
        assert_eq!(all.len(), MAX_OF_ONE + 1);
        assert!(all.contains(&friend) && all.contains(&of_one(119)) && !all.contains(&of_one(19)));
        // Said again, it takes its own place.
        shares.offer(&offered(119, 2, "again", 500)).expect("stores");
        let all = shares.offered().expect("reads");
        assert!(all.len() == MAX_OF_ONE + 1 && all.contains(&of_one(20)));
    }

    #[test]
    fn what_a_node_offers_and_waits_for_goes_on_to_its_successor() {
        let (_dir, shares) = bench();
        let wait = |vault: u8, by: u8, role| Pending {
            vault: VaultId::from_bytes([vault; 32]),
            node: node(by),
            role,
        };
        for offer in [
            offered(1, 1, "work", 5),
            offered(2, 1, "play", 6),
            offered(2, 2, "own", 7),
            offered(1, 3, "x", 8),
        ] {
            shares.offer(&offer).expect("stores");
        }
        for pending in [
            wait(1, 1, Role::Writer),
            wait(2, 1, Role::Writer),
            wait(2, 2, Role::Reader),
        ] {
            shares.wait(pending).expect("stores");
        }
        for _ in 0..2 {
            shares.succeed(node(1), node(2)).expect("moves");
            let all = [
                offered(1, 2, "work", 5),
                offered(1, 3, "x", 8),
                offered(2, 2, "own", 7),
            ];
            assert_eq!(shares.offered(), Ok(all.to_vec()));
            let all = [wait(1, 2, Role::Writer), wait(2, 2, Role::Reader)];
            assert_eq!(shares.waiting(), Ok(all.to_vec()));
        }
    }

    #[test]
    fn whoever_waits_waits_once_with_the_last_role() {
        let (_dir, shares) = bench();
        let vault = VaultId::from_bytes([1; 32]);
        let wait = |role| Pending {
            vault,
            node: node(2),
            role,
        };
        shares.wait(wait(Role::Reader)).expect("stores");
        shares.wait(wait(Role::Admin)).expect("stores");
        assert_eq!(shares.waiting(), Ok(vec![wait(Role::Admin)]));
        assert_eq!(shares.wait_no_longer(vault, node(3)), Ok(false));
        assert_eq!(shares.wait_no_longer(vault, node(2)), Ok(true));
        assert_eq!(shares.waiting(), Ok(Vec::new()));
    }
}
