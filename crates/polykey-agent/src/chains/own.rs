//! The node's own sigchains: one for each root key that it has or had.
//!
//! The rows of the node's keys say which root keys there were and how one named the next; the chains follow from
//! them. So a node that was made before there were chains gets them when it is opened, and a new root key needs no
//! step of its own that a crash could leave out.
//!
//! Always: pure but for the database; what is signed here is signed once, and stored before anybody sees it.

use polykey_api::{Code, Problem};
use polykey_core::genesis::SigchainStart;
use polykey_core::rotation::Rotation;
use polykey_core::sign::SigningKey;
use polykey_core::{NodeId, Timestamp};
use polykey_store::{Database, ReadTx, StoreError, WriteTx};
use polykey_trust::TrustError;
use polykey_trust::book;
use polykey_trust::claim::{Body, Claim, ClaimError};
use polykey_trust::sigchain::Chain;

use crate::failure;

/// A root key that the node has or had, and its place among the others.
pub struct Reign<'k> {
    /// The key.
    pub root: &'k SigningKey,
    /// The first entry of its chain.
    pub start: &'k SigchainStart,
    /// The claim in which it names the next one; none for the present key, and for one that was reset.
    pub rotation: Option<&'k Rotation>,
}

/// Why the chains could not be brought level with the keys.
#[derive(Debug, thiserror::Error)]
enum SettleError {
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Claim(#[from] ClaimError),
}

/// Founds and continues the chains so that they say what the keys say, oldest first. Changes nothing when they do.
///
/// # Errors
/// [`Code::BadData`] when a chain does not fit its keys; what the store says.
pub fn settle(db: &Database, reigns: &[Reign<'_>], now: Timestamp) -> Result<(), Problem> {
    let is_level = db
        .read(|tx| is_level(tx, reigns))
        .map_err(|error| failed(&error))?;
    if is_level {
        return Ok(());
    }
    db.write(|tx| bring_level(tx, reigns, now))
        .map_err(|error| failed(&error))
}

/// The entry in which the chain says that it succeeds by this rotation.
fn says_it_succeeds(chain: &Chain, rotation: &Rotation) -> bool {
    let is_it = |claim: &Claim| matches!(claim.body(), Body::Succeed(by) if by.id() == rotation.id());
    chain.entries().iter().any(is_it)
}

fn is_level(tx: &ReadTx<'_>, reigns: &[Reign<'_>]) -> Result<bool, SettleError> {
    let mut before: Option<&Rotation> = None;
    for reign in reigns {
        let Some(chain) = book::chain(tx, &reign.start.node())? else {
            return Ok(false);
        };
        let named = reign.rotation.is_none_or(|by| chain.entry(&by.id()).is_some());
        if !named || before.is_some_and(|by| !says_it_succeeds(&chain, by)) {
            return Ok(false);
        }
        before = reign.rotation;
    }
    Ok(true)
}

fn bring_level(tx: &mut WriteTx<'_>, reigns: &[Reign<'_>], now: Timestamp) -> Result<(), SettleError> {
    let mut before: Option<&Rotation> = None;
    for reign in reigns {
        let mut chain = match book::chain(tx, &reign.start.node())? {
            Some(chain) => chain,
            None => book::found(tx, reign.start.clone())?,
        };
        if let Some(by) = before
            && !says_it_succeeds(&chain, by)
        {
            let body = Body::Succeed(Box::new(by.clone()));
            chain = book::append(tx, Claim::sign(reign.root, None, chain.next_place(), now, &body)?)?;
        }
        if let Some(by) = reign.rotation
            && chain.entry(&by.id()).is_none()
        {
            book::append(tx, by.clone().into())?;
        }
        before = reign.rotation;
    }
    Ok(())
}

/// The node's own chain under the root key `node`.
///
/// # Errors
/// [`Code::BadData`] when it is missing or damaged; what the store says.
pub fn chain(db: &Database, node: &NodeId) -> Result<Chain, Problem> {
    db.read(|tx| book::known_chain(tx, node))
        .map_err(|error| failure::trust(&error))
}

fn failed(error: &SettleError) -> Problem {
    match error {
        SettleError::Trust(error) => failure::trust(error),
        SettleError::Store(error) => failure::store(error),
        SettleError::Claim(error) => Problem::new(Code::BadData, "the node's sigchain does not fit its keys")
            .hint("put the node path back from a backup")
            .caused_by(error),
    }
}

#[cfg(test)]
mod tests {
    use polykey_core::Key;
    use polykey_core::random::OsRandom;
    use polykey_store::StoreEnv;

    use super::super::cast::{Life, time};
    use super::*;

    fn reign<'k>(life: &'k Life, rotation: Option<&'k Rotation>) -> Reign<'k> {
        Reign {
            root: &life.keys.root,
            start: &life.start,
            rotation,
        }
    }

    fn database() -> (tempfile::TempDir, Database) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let key = Key::random(&OsRandom);
        let db = Database::create(&dir.path().join("db"), &key, &StoreEnv::default()).expect("made");
        (dir, db)
    }

    #[test]
    fn chains_follow_from_the_keys_and_are_signed_once() {
        let (_dir, db) = database();
        let lives = [Life::new(), Life::new(), Life::new(), Life::new()];
        let by = [lives[0].names(&lives[1]), lives[2].names(&lives[3])];
        let length = |at: usize| {
            chain(&db, &lives[at].start.node())
                .expect("there")
                .entries()
                .len()
        };
        // The second root key was reset, so the third one succeeds nobody.
        let first = [reign(&lives[0], None)];
        settle(&db, &first, time(3)).expect("founded");
        assert_eq!(length(0), 1);
        let all = [
            reign(&lives[0], Some(&by[0])),
            reign(&lives[1], None),
            reign(&lives[2], Some(&by[1])),
            reign(&lives[3], None),
        ];
        for round in 0..2 {
            settle(&db, &all, time(4 + round)).expect("level");
            assert_eq!([0, 1, 2, 3].map(length), [2, 2, 2, 2]);
        }
        let ends = |at: usize| chain(&db, &lives[at].start.node()).expect("there");
        assert_eq!(ends(0).successor().map(Rotation::id), Some(by[0].id()));
        assert_eq!(ends(1).successor(), None);
        assert_eq!(ends(2).predecessors().count(), 0);
        assert_eq!(ends(3).predecessors().next().map(Rotation::id), Some(by[1].id()));
    }

    #[test]
    fn a_claim_that_does_not_fit_the_chains_changes_nothing() {
        let (_dir, db) = database();
        let (old, new, other) = (Life::new(), Life::new(), Life::new());
        settle(&db, &[reign(&old, None)], time(3)).expect("founded");
        let foreign = old.names(&other);
        for bad in [&foreign, &new.names(&other)] {
            let refused = settle(&db, &[reign(&old, Some(bad)), reign(&new, None)], time(4));
            assert_eq!(refused.map_err(|problem| problem.code), Err(Code::BadData));
            assert_eq!(chain(&db, &old.start.node()).expect("there").entries().len(), 1);
            assert!(chain(&db, &new.start.node()).is_err());
        }
    }
}
