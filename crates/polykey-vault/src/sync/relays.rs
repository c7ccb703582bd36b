//! Trials on disk: vaults that meet through keepers and folders more often than directly.
//!
//! Few and slow beside the trials in memory; what they add is the store, opening again, and the folder.

use std::collections::{BTreeMap, BTreeSet};

use polykey_core::NodeId;
use proptest::prelude::*;

use super::folder::FolderReplica;
use super::pull::{Outcome, Seen};
use super::replica::Replica;
use super::{Tip, exchange};
use crate::Vault;
use crate::charter::Role;
use crate::keeper::Keeper;
use crate::trial::{Party, Trial, env, identity, joiner, key, pull_into};

/// What, who, and a number to choose by.
type Step = (u8, u8, u8);

/// The seed of the keeper's node.
const KEEPER: u8 = 9;

struct Caravan {
    parties: Vec<Party>,
    keeper: Keeper,
    stick: tempfile::TempDir,
    _kept: tempfile::TempDir,
    /// Every write that was acknowledged: each at a path of its own.
    written: BTreeMap<String, NodeId>,
    /// Everybody who was ever removed.
    removed: BTreeSet<NodeId>,
}

impl Caravan {
    fn new(count: u8) -> Caravan {
        let a = Party::founder();
        for seed in 2..=count {
            a.grant(seed, Role::Writer);
        }
        a.grant(KEEPER, Role::Keeper);
        let kept = tempfile::tempdir().expect("a folder");
        let keeper = Keeper::create(&kept.path().join("kept"), &key(), &a.genesis(), env());
        let mut parties: Vec<Party> = (2..=count).map(|seed| Party::joined(seed, &a)).collect();
        parties.insert(0, a);
        Caravan {
            parties,
            keeper: keeper.expect("a new keeper"),
            stick: tempfile::tempdir().expect("a folder"),
            _kept: kept,
            written: BTreeMap::new(),
            removed: BTreeSet::new(),
        }
    }

    fn step(&mut self, (what, who, number): Step) {
        let count = self.parties.len();
        let (who, other) = (who as usize % count, number as usize % count);
        match what % 11 {
            0..3 => self.write(who, number),
            3 if who != other => {
                self.parties[who].pull(&self.parties[other]);
            }
            4 => self.keep(who),
            5 => drop(self.parties[who].pull_from(identity(KEEPER).node(), &self.keeper)),
            6 => self.push(who),
            7 => self.take(who),
            8 if other != 0 => {
                let node = self.parties[other].node();
                if self.parties[0].vault.revoke(&node).is_ok() {
                    self.removed.insert(node);
                }
            }
            9 if other != 0 => {
                let role = [Role::Writer, Role::Reader, Role::Admin][number as usize / 8 % 3];
                let grant = joiner(other as u8 + 1, role);
                self.parties[0].vault.grant(&grant).expect("the founder");
            }
            10 => self.reopen(who),
            _ => {}
        }
    }

    fn write(&mut self, who: usize, number: u8) {
        let party = &self.parties[who];
        if !party.my_role().is_some_and(Role::writes) {
            return;
        }
        let name = format!("{who}-{}", self.written.len());
        let len = [3, 300, 20_000, 300_000][number as usize % 4];
        party.write(&name, &vec![number; len]);
        self.written.insert(name, party.node());
    }

    fn keep(&self, from: usize) {
        let from = &self.parties[from];
        pull_into(
            &mut self.keeper.clone(),
            identity(KEEPER).node(),
            from.node(),
            &from.vault,
        );
    }

    fn push(&self, from: usize) {
        let from = &self.parties[from];
        let folder = FolderReplica::open_or_create(self.stick.path(), &from.genesis(), env());
        let mut folder = folder.expect("sound");
        let report = exchange(
            &from.vault,
            &mut folder,
            from.node(),
            Seen::default(),
            &mut |_| {},
        );
        assert!(folder.evidence().is_empty() && report.is_ok());
    }

    fn take(&self, to: usize) {
        let to = &self.parties[to];
        let Ok(folder) = FolderReplica::open(self.stick.path(), to.id(), env()) else {
            return;
        };
        let report = exchange(
            &folder,
            &mut to.vault.clone(),
            to.node(),
            Seen::default(),
            &mut |_| {},
        );
        let outcome = report.expect("both at hand").outcome;
        let removed = matches!(outcome, Outcome::Removed(_));
        assert!(
            removed || matches!(outcome, Outcome::Complete | Outcome::WithoutObjects),
            "{outcome:?}"
        );
    }

    fn reopen(&mut self, who: usize) {
        let Party { trial, me } = self.parties.remove(who);
        trial.vault.close().expect("closes");
        let vault = Vault::open(&trial.folder(), &key(), me.clone(), env()).expect("opens again");
        let trial = Trial {
            vault,
            place: trial.place,
        };
        self.parties.insert(who, Party { trial, me });
    }

    fn tips(replica: &impl Replica) -> Vec<Tip> {
        let mut tips = replica.tips().expect("open");
        tips.sort();
        tips
    }

    /// Nobody meets anybody: all that is left goes through the folder and the keeper. Three times, as what a
    /// removed node brings last is kept, too: by the keeper, then by the members, then in the folder.
    fn settle(&self) {
        let keeper = identity(KEEPER).node();
        for _ in 0..3 {
            for who in 0..self.parties.len() {
                self.take(who);
                self.push(who);
            }
            for who in 0..self.parties.len() {
                self.keep(who);
                self.parties[who].pull_from(keeper, &self.keeper);
            }
        }
    }

    #[track_caller]
    fn check(&self) {
        let a = &self.parties[0];
        let tree = a.tree();
        let members: Vec<_> = self
            .parties
            .iter()
            .filter(|p| a.role_of(&p.node()).is_some())
            .collect();
        for party in &members {
            assert_eq!(party.tree(), tree);
            assert_eq!(party.members(), a.members());
            assert!(party.check().expect("reads").problems.is_empty());
            assert!(party.evidence().expect("open").is_empty(), "nobody lied");
            assert_eq!(party.sync_state().expect("open").wanted, 0);
        }
        assert_eq!(Self::tips(&self.keeper), Self::tips(&a.vault));
        let folder = FolderReplica::open(self.stick.path(), a.id(), env()).expect("sound");
        assert_eq!((Self::tips(&folder), folder.damaged()), (Self::tips(&a.vault), 0));
        let aside = a.set_aside().expect("looks");
        for (name, author) in &self.written {
            let shows = tree.iter().any(|(path, _)| path == name);
            let listed = aside.iter().flat_map(|commit| &commit.changes);
            let listed = listed.into_iter().any(|(path, _)| path.as_str() == name);
            // What a removed node wrote and told nobody, only its own disk holds.
            let unheard = self.removed.contains(author) && a.role_of(author).is_none();
            assert!(
                shows || listed && self.removed.contains(author) || unheard,
                "{name}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whoever_never_meets_agrees_all_the_same(
        count in 2u8..=3,
        story in prop::collection::vec(any::<Step>(), 1..20),
    ) {
        let mut caravan = Caravan::new(count);
        for step in story {
            caravan.step(step);
        }
        caravan.settle();
        caravan.check();
    }
}

#[test]
fn a_clock_that_is_ten_years_off_changes_nothing() {
    use polykey_core::Timestamp;
    use std::sync::Arc;

    #[derive(Debug)]
    struct Off(u64);

    impl polykey_core::Clock for Off {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(self.0)
        }
    }

    let ten_years = 10 * 365 * 24 * 3600 * 1000;
    let now = 1_700_000_000_000u64;
    for off in [now - ten_years, now + ten_years, 0, u64::MAX] {
        let a = Party::founder();
        a.grant(2, Role::Admin);
        a.grant(3, Role::Writer);
        let mut b = Party::joined(2, &a);
        b.trial.vault.close().expect("closes");
        let env = crate::Env {
            clock: Arc::new(Off(off)),
            ..env()
        };
        b.trial.vault = Vault::open(&b.folder(), &key(), identity(2), env).expect("opens");
        b.pull(&a);
        a.write("x", b"first");
        b.pull(&a);
        b.write("x", b"second, by the wrong clock");
        b.vault.revoke(&identity(3).node()).expect("it ranks above");
        a.pull(&b);
        a.write("x", b"third");
        b.pull(&a);
        for party in [&a, &b] {
            assert_eq!(party.read("x").expect("shows"), b"third");
            assert_eq!(party.role_of(&identity(3).node()), None);
            assert_eq!(
                party.secret_log(&crate::trial::path("x")).expect("a log").len(),
                3
            );
            assert!(party.conflicts().expect("looks").secrets.is_empty());
        }
        a.grant(3, Role::Reader);
        b.pull(&a);
        assert_eq!(
            b.role_of(&identity(3).node()),
            Some(Role::Reader),
            "the later grant holds"
        );
    }
}
