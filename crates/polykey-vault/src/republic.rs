//! The promises of sharing, tested on random histories.
//!
//! Two to six nodes with real keys, some of them keepers, change members and contents of one vault, hear of
//! each other now and then and through others, with clocks years apart. They run the code of a vault on rows
//! in memory, so that a thousand histories cost seconds. In the end all who are still in have met.
//!
//! After every entry that comes in, the rows are compared with those of a full judgement of every commit.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use polykey_core::random::OsRandom;
use polykey_core::statement::Statement;
use polykey_core::{ActorId, NodeId, ObjectId, SecretPath, StatementId, Timestamp};
use polykey_store::{Objects, RealDisk};
use proptest::prelude::*;

use crate::change::{Change, Expect};
use crate::charter::{AuthorError, Body, Charter, EpochKeys, Joiner, Removal, Role};
use crate::commit::Commit;
use crate::content::Kind;
use crate::error::VaultError;
use crate::history;
use crate::id::CommitId;
use crate::identity::Identity;
use crate::index;
use crate::membership::known_of;
use crate::pen::{Note, Pen};
use crate::reader::Source;
use crate::receive::{Arrivals, take};
use crate::rows::memory::Memory;
use crate::rows::{ASIDE, COMMIT, EVENT, FORK, LINE, OBJECT, SECRET, TIP};
use crate::stage::Stager;
use crate::stored::{self, ObjectRow};
use crate::trial::{identity, joiner, path};
use crate::vault::{Membership, epoch_keys};

/// A step of a history: what, who, to whom, and a number to choose by.
type Step = (u8, u8, u8, u8);

/// One node's copy.
#[derive(Clone)]
struct Node {
    seed: u8,
    /// Nobody in a keeper's copy.
    me: Option<Arc<Identity>>,
    actor: ActorId,
    membership: Arc<Membership>,
    rows: Memory,
    /// All commits that it holds, each after what it follows.
    held: Vec<Commit>,
    /// How far its clock is off.
    skew: i64,
}

struct Republic {
    objects: Objects,
    _place: tempfile::TempDir,
    nodes: Vec<Node>,
    /// Commits whose authors were told that they are durable.
    acknowledged: BTreeMap<CommitId, NodeId>,
    time: u64,
}

/// The rows that all who hold the same must have in common. Those of directories also remember what once stood
/// there, which differs; what shows is compared apart.
fn rows_of(rows: &Memory) -> Memory {
    let tables = [COMMIT, TIP, LINE, FORK, SECRET, EVENT, ASIDE];
    let rows = rows
        .0
        .iter()
        .filter(|((table, _), rows)| tables.contains(table) && !rows.is_empty());
    Memory(rows.map(|(key, rows)| (key.clone(), rows.clone())).collect())
}

impl Node {
    fn node(&self) -> NodeId {
        identity(self.seed).node()
    }

    fn charter(&self) -> &Charter {
        &self.membership.charter
    }

    fn role(&self) -> Option<Role> {
        self.charter().role(&self.node())
    }

    /// Takes in what came, as a vault does, and compares with a full judgement when entries came.
    fn take(&mut self, entries: &[Statement], commits: &[&Commit], objects: HashMap<ObjectId, ObjectRow>) {
        let arrivals = Arrivals {
            entries,
            commits,
            objects,
        };
        let old = Arc::clone(&self.membership);
        let taken = take(&mut self.rows, &old, self.me.as_deref(), self.actor, &arrivals);
        let taken = taken.map_err(VaultError::from).expect("verified and in order");
        if let Some(membership) = taken.membership {
            self.membership = membership;
            self.compare();
        }
    }

    /// The short way gave what judging every commit gives.
    fn compare(&self) {
        let mut full = self.rows.clone();
        let mut all = Vec::new();
        history::walk(&full, None, |id, _| {
            all.push(id);
            Ok(std::ops::ControlFlow::Continue(()))
        })
        .expect("in memory");
        let mut touched = BTreeSet::new();
        for id in all.into_iter().rev() {
            index::judge(&mut full, id, &self.membership.bench(), &mut touched).expect("in memory");
        }
        index::refold_all(&mut full, touched).expect("in memory");
        assert!(rows_of(&full) == rows_of(&self.rows), "as a full judgement says");
    }

    /// What shows: paths with their contents' digests.
    fn shown(&self) -> BTreeMap<SecretPath, Vec<[u8; 32]>> {
        let look = crate::view::Look {
            rows: &self.rows,
            moment: &crate::view::Moment::Now,
        };
        let mut shown = BTreeMap::new();
        for (name, secret) in look.shown(&SecretPath::root()).expect("in memory") {
            let Some(secret) = secret else { continue };
            let state = look.state(secret).expect("in memory");
            let digests = state.contents.iter().map(|(rank, _)| {
                let event = stored::event(&self.rows, secret, rank.version).expect("in memory");
                event.stored().expect("content").content.digest
            });
            shown.insert(path(&name), digests.collect());
        }
        shown
    }
}

impl Republic {
    fn new(count: u8, skews: u64) -> Republic {
        let place = tempfile::tempdir().expect("a folder");
        let objects = Objects::open(
            Arc::new(RealDisk),
            &place.path().join("objects"),
            Arc::new(OsRandom),
        );
        let founder = identity(1);
        let now = Timestamp::from_millis(1_700_000_000_000);
        let (mut charter, _, keys) =
            Charter::create(founder.signer(), founder.keys(), now, &OsRandom).expect("founded");
        let roles = [
            Role::Admin,
            Role::Writer,
            Role::Keeper,
            Role::Writer,
            Role::Reader,
        ];
        for (seed, role) in (2..=count).zip(roles) {
            let granted = charter.grant(founder.signer(), &keys, &joiner(seed, role), now, &OsRandom);
            charter.insert(granted.expect("granted")).expect("inserted");
        }
        let nodes = (1..=count).map(|seed| {
            let me = (seed != 4).then(|| identity(seed));
            let keys = epoch_keys(me.as_deref(), &charter);
            let ten_years = 10 * 365 * 24 * 3600 * 1000;
            Node {
                seed,
                me,
                actor: ActorId::from_bytes([seed; 16]),
                membership: Arc::new(Membership {
                    charter: charter.clone(),
                    keys,
                }),
                rows: Memory::default(),
                held: Vec::new(),
                skew: [0, ten_years, -ten_years][(skews >> (2 * seed)) as usize % 3],
            }
        });
        Republic {
            nodes: nodes.collect(),
            objects: objects.expect("opened"),
            _place: place,
            acknowledged: BTreeMap::new(),
            time: 0,
        }
    }

    fn now(&mut self, node: usize) -> Timestamp {
        self.time += 1;
        let millis = 1_700_000_000_000 + self.nodes[node].skew + self.time.cast_signed();
        Timestamp::from_millis(millis.cast_unsigned())
    }

    /// One change of content, on what the node holds.
    fn write(&mut self, who: usize, number: u8) {
        let time = self.now(who);
        let node = &mut self.nodes[who];
        let Some(me) = node.me.clone() else { return };
        let vault = node.charter().id();
        let stager = Stager::new(vault, self.objects.clone(), Arc::new(OsRandom));
        let source = Source {
            vault,
            database: None,
            objects: self.objects.clone(),
        };
        let steps = {
            let mut change = Change::new(&node.rows, source, &stager);
            let bytes = [node.seed, number, (self.time % 251) as u8];
            let staged = change.stage(Kind::Raw, &bytes).expect("short");
            let at = path(["a", "b", "c"][number as usize % 3]);
            change.put(&at, staged, &Expect::Any).expect("in memory");
            change.draft.finish()
        };
        let membership = Arc::clone(&node.membership);
        let pen = Pen {
            vault,
            actor: node.actor,
            me: &me,
            charter: &membership.charter,
            keys: &membership.keys,
            time,
            random: &OsRandom,
        };
        let note = Note {
            message: None,
            reset_to: None,
        };
        let mut rows = node.rows.clone();
        match pen.commit(&mut rows, steps, &note) {
            Ok(Some(id)) => {
                node.rows = rows;
                let (commit, _) = stored::commit_and_row(&node.rows, id)
                    .expect("in memory")
                    .expect("just made");
                node.held.push(commit);
                self.acknowledged.insert(id, node.node());
            }
            Ok(None) => {}
            // Not in, no writer, or let in beside an epoch whose key it lacks.
            Err(VaultError::NotAllowed { .. } | VaultError::Charter(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }

    /// An entry by a node, if the charter lets it happen.
    fn author(
        &mut self,
        who: usize,
        make: impl FnOnce(&Node, &Identity, Timestamp) -> Result<Statement, AuthorError>,
    ) {
        let time = self.now(who);
        let node = &self.nodes[who];
        let Some(me) = node.me.clone() else { return };
        if let Ok(entry) = make(node, &me, time) {
            self.nodes[who].take(&[entry], &[], HashMap::new());
        }
    }

    fn grant(&mut self, who: usize, joiner: &Joiner) {
        self.author(who, |node, me, time| {
            let keys = &node.membership.keys;
            node.charter().grant(me.signer(), keys, joiner, time, &OsRandom)
        });
    }

    fn revoke(&mut self, who: usize, whom: usize) {
        let target = self.nodes[whom].node();
        self.author(who, |node, me, time| {
            let removal = Removal {
                node: target,
                cut_offs: known_of(&node.rows, &target).expect("in memory"),
            };
            let keys = &node.membership.keys;
            let made = node
                .charter()
                .revoke(me.signer(), keys, &removal, time, &OsRandom)?;
            Ok(made.statement)
        });
    }

    fn rekey(&mut self, who: usize) {
        self.author(who, |node, me, time| {
            let keys = &node.membership.keys;
            let made = node.charter().rekey(me.signer(), keys, &[], time, &OsRandom)?;
            Ok(made.statement)
        });
    }

    /// `to` hears of `from`, at most `limit` commits; true when something new came.
    fn pull(&mut self, to: usize, from: usize, limit: usize) -> bool {
        let Ok([taker, giver]) = self.nodes.get_disjoint_mut([to, from]) else {
            return false;
        };
        let theirs = giver.charter();
        let is_member = theirs.role(&taker.node()).is_some();
        let told: Vec<&crate::charter::Entry> = match is_member {
            true => theirs.entries().collect(),
            // A removed node is told of its removal, anybody else nothing.
            false => theirs.ancestors(&theirs.removals_of(&taker.node())),
        };
        let new = told.iter().filter(|entry| !taker.charter().contains(&entry.id()));
        let entries: Vec<Statement> = new.map(|entry| entry.statement().clone()).collect();
        let mut missing = Vec::new();
        if is_member {
            let have: BTreeSet<CommitId> = taker.held.iter().map(Commit::id).collect();
            let lacks = giver.held.iter().filter(|commit| !have.contains(&commit.id()));
            missing = lacks.take(limit).cloned().collect();
        }
        if entries.is_empty() && missing.is_empty() {
            return false;
        }
        let mut objects = HashMap::new();
        for (object, _) in missing.iter().flat_map(|commit| &commit.header().objects) {
            let row = stored::object_row(&giver.rows, object).expect("in memory");
            objects.extend(row.map(|row| (*object, row)));
        }
        taker.take(&entries, &missing.iter().collect::<Vec<_>>(), objects);
        taker.held.extend(missing);
        true
    }

    fn step(&mut self, (what, who, whom, number): Step) {
        let count = self.nodes.len();
        let (who, whom) = (who as usize % count, whom as usize % count);
        match what % 12 {
            0..4 => self.write(who, number),
            4 if who != whom => {
                let roles = [Role::Admin, Role::Writer, Role::Reader, Role::Keeper];
                let role = roles[number as usize % 4];
                self.grant(who, &joiner(whom as u8 + 1, role));
            }
            5 | 6 => self.revoke(who, whom),
            7 => self.rekey(who),
            _ if who != whom => {
                let limit = if number.is_multiple_of(4) { 1 } else { usize::MAX };
                self.pull(who, whom, limit);
            }
            _ => {}
        }
    }

    /// Everybody hears of everybody, and admins mend the keys, until nothing new comes.
    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 64, "it does not settle");
            let mut news = false;
            for to in 0..self.nodes.len() {
                for from in (0..self.nodes.len()).filter(|from| *from != to) {
                    news |= self.pull(to, from, usize::MAX);
                }
            }
            let mends = |node: &Node| node.role() == Some(Role::Admin) && node.charter().needs_rekey();
            if let Some(who) = (0..self.nodes.len()).find(|who| mends(&self.nodes[*who])) {
                let before = self.nodes[who].charter().len();
                self.rekey(who);
                news |= self.nodes[who].charter().len() > before;
            }
            if !news {
                return;
            }
        }
    }

    /// Everything that anybody holds, as somebody who has robbed all disks.
    fn everything(&self) -> (Charter, BTreeMap<CommitId, Commit>) {
        let mut charter = self.nodes[0].charter().clone();
        for node in &self.nodes {
            for entry in node.charter().entries().filter(|entry| entry.under().is_some()) {
                charter.insert(entry.statement().clone()).expect("parents first");
            }
        }
        let held = self.nodes.iter().flat_map(|node| &node.held);
        (
            charter,
            held.map(|commit| (commit.id(), commit.clone())).collect(),
        )
    }

    fn members(&self, charter: &Charter) -> Vec<&Node> {
        self.nodes
            .iter()
            .filter(|node| charter.role(&node.node()).is_some())
            .collect()
    }
}

fn told(count: u8, skews: u64, story: &[Step]) -> Republic {
    let mut republic = Republic::new(count, skews);
    for step in story {
        republic.step(*step);
    }
    republic.settle();
    republic
}

/// True when somebody had put `node` out, and nobody let it in again, by all that a commit with these heads knew;
/// and nobody has let it in since. A node that was let in again and then left by itself is none of these: the
/// keys stay what they are until an admin renews them. Nor is one whose removal fell with the admin who removed
/// it, since somebody of higher rank had put that admin out: it was a member all along.
fn is_shut_out(charter: &Charter, heads: &[StatementId], node: &NodeId) -> bool {
    let mut known = charter
        .ancestors(heads)
        .into_iter()
        .map(|entry| entry.statement().clone());
    let mut then = Charter::found(known.next().expect("genesis is everybody's ancestor")).expect("genesis");
    for entry in known {
        then.insert(entry).expect("parents first");
    }
    let lets_in = |entry: &&crate::charter::Entry| matches!(entry.body(), Body::Grant { node: to, keys, .. } if to == node && keys.is_some());
    let stands = Some(crate::charter::Status::Stands);
    let puts_out = |entry: &&crate::charter::Entry| {
        matches!(entry.body(), Body::Revoke { node: of, .. } if of == node && !entry.is_self_removal())
            && then.status(&entry.id()) == stands
            && charter.status(&entry.id()) == stands
    };
    let let_in_after = |removal: &StatementId| {
        let mut later = charter.entries().filter(lets_in).map(|entry| entry.id());
        later.any(|grant| !then.contains(&grant) || follows(charter, &grant, removal))
    };
    then.role(node).is_none()
        && then
            .entries()
            .filter(puts_out)
            .any(|removal| !let_in_after(&removal.id()))
}

/// True when `entry` was made with knowledge of `earlier`.
fn follows(charter: &Charter, entry: &StatementId, earlier: &StatementId) -> bool {
    entry != earlier
        && charter
            .ancestors(&[*entry])
            .iter()
            .any(|known| known.id() == *earlier)
}

#[track_caller]
fn check_agreement(republic: &Republic) {
    let (charter, _) = republic.everything();
    let members = republic.members(&charter);
    let ids = |node: &Node| -> BTreeSet<CommitId> { node.held.iter().map(Commit::id).collect() };
    let entries =
        |node: &Node| -> BTreeSet<StatementId> { node.charter().entries().map(|e| e.id()).collect() };
    for pair in members.windows(2) {
        assert_eq!(ids(pair[0]), ids(pair[1]));
        assert_eq!(entries(pair[0]), entries(pair[1]));
        assert_eq!(pair[0].charter().members(), pair[1].charter().members());
    }
    // Those who hold the same keys show the same rows; without an admin nobody mends missing keys.
    let mut by_keys: BTreeMap<BTreeSet<StatementId>, &Node> = BTreeMap::new();
    for node in members {
        let ids = entries(node).into_iter();
        let keys = ids.filter(|id| node.membership.keys.holds(id)).collect();
        let other = by_keys.entry(keys).or_insert(node);
        assert!(rows_of(&other.rows) == rows_of(&node.rows), "one state");
        assert_eq!(other.shown(), node.shown());
    }
}

#[track_caller]
fn check_nothing_is_lost(republic: &Republic) {
    let (charter, _) = republic.everything();
    let removed: BTreeSet<NodeId> = charter
        .entries()
        .filter_map(|entry| match entry.body() {
            Body::Revoke { node, .. } => Some(*node),
            _ => None,
        })
        .collect();
    for (id, author) in &republic.acknowledged {
        for node in republic.members(&charter) {
            let holder = charter.role(author).is_some();
            let row = stored::commit_row(&node.rows, *id).expect("in memory");
            assert!(
                row.is_some() || !holder,
                "every member's writes reach every member"
            );
            let Some(row) = row else { continue };
            let aside = stored::aside(&node.rows).expect("in memory");
            let listed = aside.iter().any(|(aside, _)| aside == id);
            assert_ne!(row.counted, listed, "it counts, or it is listed as set aside");
            if row.opened && !removed.contains(author) {
                let had_right = charter.ancestors(&commit_heads(node, id)).iter().any(|entry| {
                    matches!(entry.body(), Body::Grant { node, role, .. } if node == author && role.writes()
                        && charter.status(&entry.id()) == Some(crate::charter::Status::Stands))
                }) || charter.genesis().author() == *author;
                assert_eq!(row.counted, had_right, "nobody removed its author");
            }
        }
    }
}

fn commit_heads(node: &Node, id: &CommitId) -> Vec<StatementId> {
    let commit = node.held.iter().find(|commit| commit.id() == *id).expect("held");
    commit.header().charter_heads.clone()
}

/// How many commits were found closed to somebody who had been put out.
#[track_caller]
fn check_the_removed_read_nothing(republic: &Republic) -> usize {
    let (charter, commits) = republic.everything();
    let mut closed = 0;
    for node in &republic.nodes {
        let (who, me) = (node.node(), identity(node.seed));
        let keys: EpochKeys = epoch_keys(Some(&me), &charter);
        for commit in commits.values() {
            let heads = &commit.header().charter_heads;
            if is_shut_out(&charter, heads, &who) {
                let key = keys.commit_key(&charter, heads);
                assert!(key.is_err() || commit.open(&key.expect("not an error")).is_err());
                closed += 1;
            }
        }
    }
    closed
}

/// Somebody who is out says again what once let it in, grants and removes by it, and writes.
#[track_caller]
fn check_replays_change_nothing(republic: &mut Republic) {
    let (charter, _) = republic.everything();
    let out: Vec<usize> = (0..republic.nodes.len())
        .filter(|at| charter.role(&republic.nodes[*at].node()).is_none() && republic.nodes[*at].me.is_some())
        .collect();
    let Some(honest) = republic.members(&charter).first().map(|node| (*node).clone()) else {
        return;
    };
    for at in out {
        let thief = republic.nodes[at].clone();
        let me = thief.me.clone().expect("chosen so");
        let mut before = honest.clone();
        let replayed: Vec<Statement> = charter.entries().map(|entry| entry.statement().clone()).collect();
        before.take(&replayed[1..], &[], HashMap::new());
        assert!(rows_of(&before.rows) == rows_of(&honest.rows));
        // A charter that ends before its first removal, as the thief may pretend to know no more.
        let mut old = Charter::found(replayed[0].clone()).expect("genesis");
        for entry in &replayed[1..] {
            let _ = match charter.entry(&entry.id()).map(|entry| entry.body()) {
                Some(Body::Revoke { .. }) => continue,
                _ => old.insert(entry.clone()),
            };
        }
        let keys = epoch_keys(Some(&me), &old);
        let now = Timestamp::from_millis(1);
        let friend = joiner(9, Role::Admin);
        let mut forged = Vec::new();
        forged.extend(old.grant(me.signer(), &keys, &friend, now, &OsRandom).ok());
        let removal = Removal {
            node: honest.node(),
            cut_offs: Vec::new(),
        };
        let revoked = old.revoke(me.signer(), &keys, &removal, now, &OsRandom).ok();
        forged.extend(revoked.map(|made| made.statement));
        let mut after = honest.clone();
        for entry in forged.iter().filter(|entry| {
            let parents = crate::charter::Entry::parse((*entry).clone()).expect("an entry");
            parents
                .parents()
                .iter()
                .all(|parent| honest.charter().contains(parent))
        }) {
            after.take(std::slice::from_ref(entry), &[], HashMap::new());
        }
        assert_eq!(after.charter().members(), honest.charter().members());
        assert!(after.charter().role(&identity(9).node()).is_none());
        assert_eq!(after.shown(), honest.shown());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, max_shrink_iters: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn all_members_come_to_one_state_and_nothing_is_lost(
        count in 2u8..=6,
        skews: u64,
        story in prop::collection::vec(any::<Step>(), 1..40),
    ) {
        let republic = told(count, skews, &story);
        check_agreement(&republic);
        check_nothing_is_lost(&republic);
    }

    #[test]
    fn who_was_put_out_reads_and_changes_nothing_more(
        count in 3u8..=6,
        skews: u64,
        mut story in prop::collection::vec(any::<Step>(), 1..24),
        whom in 1u8..=5,
        after in prop::collection::vec(any::<Step>(), 1..12),
    ) {
        // In the middle the founder puts somebody out, and both go on writing.
        story.push((8, 0, whom, 1));
        story.push((5, 0, whom, 0));
        story.extend([(0, 0, 0, 1), (0, whom, 0, 2)]);
        story.extend(after);
        let mut republic = told(count, skews, &story);
        check_the_removed_read_nothing(&republic);
        check_replays_change_nothing(&mut republic);
        check_agreement(&republic);
    }
}

#[test]
fn the_check_of_what_removed_nodes_read_finds_something_to_check() {
    let story: Vec<Step> = vec![
        (0, 1, 0, 1),
        (8, 0, 1, 1),
        (5, 0, 2, 0),
        (0, 0, 0, 1),
        (8, 1, 0, 1),
        (0, 1, 0, 2),
    ];
    let republic = told(3, 0, &story);
    assert!(check_the_removed_read_nothing(&republic) >= 2);
    check_nothing_is_lost(&republic);
}

#[test]
fn who_was_let_in_again_and_left_by_itself_reads_until_the_keys_are_renewed() {
    let left: Vec<Step> = vec![
        (5, 0, 1, 0),
        (4, 0, 1, 1),
        (8, 1, 0, 1),
        (5, 1, 1, 0),
        (8, 0, 1, 1),
        (0, 0, 0, 1),
    ];
    assert_eq!(check_the_removed_read_nothing(&told(3, 0, &left)), 0);
    let renewed = [&left[..], &[(7, 0, 0, 0), (0, 0, 0, 2)]].concat();
    check_the_removed_read_nothing(&told(3, 0, &renewed));
    let put_out_again = [&left[..4], &[(5, 0, 1, 0), (0, 0, 0, 1)]].concat();
    assert_eq!(check_the_removed_read_nothing(&told(3, 0, &put_out_again)), 1);
}

#[test]
fn whose_removal_fell_with_its_author_reads_what_that_author_wrote() {
    // An admin puts somebody out, and the founder that admin, neither knowing of the other; the keys are renewed.
    let story: Vec<Step> = vec![
        (5, 1, 2, 0),
        (5, 0, 1, 0),
        (8, 0, 1, 1),
        (0, 1, 0, 2),
        (7, 0, 0, 0),
        (0, 0, 0, 1),
    ];
    let republic = told(3, 0, &story);
    assert_eq!(
        republic.everything().0.role(&identity(3).node()),
        Some(Role::Writer)
    );
    // The admin's last write is closed to nobody but the founder's commit is to the admin.
    assert_eq!(check_the_removed_read_nothing(&republic), 1);
}

#[test]
fn members_who_lack_different_keys_need_not_show_the_same() {
    // Two nodes come in beside a renewal that does not know them, each beside another, and both admins leave.
    let story: Vec<Step> = vec![
        (5, 0, 4, 0),
        (5, 0, 5, 0),
        (8, 1, 0, 1),
        (4, 0, 4, 1),
        (4, 1, 5, 1),
        (7, 0, 0, 0),
        (7, 1, 1, 0),
        (0, 0, 0, 0),
        (0, 1, 0, 1),
        (5, 0, 0, 0),
        (5, 1, 1, 0),
    ];
    let republic = told(6, 0, &story);
    let [p, q] = [&republic.nodes[4], &republic.nodes[5]];
    assert_eq!(p.membership.keys.len(), q.membership.keys.len());
    assert!(rows_of(&p.rows) != rows_of(&q.rows));
    check_agreement(&republic);
}

#[test]
fn objects_are_the_same_everywhere() {
    let story: Vec<Step> = vec![(0, 0, 0, 1), (0, 1, 0, 1), (8, 0, 1, 1)];
    let republic = told(4, 7, &story);
    let (a, keeper) = (&republic.nodes[0], &republic.nodes[3]);
    assert!(keeper.me.is_none() && keeper.shown().is_empty());
    assert!(a.rows.table(OBJECT) == keeper.rows.table(OBJECT));
}
