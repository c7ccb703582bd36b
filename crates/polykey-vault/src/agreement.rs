//! The promise of the fold, tested: whoever holds the same commits shows the same vault.
//!
//! Several writers change replicas of one vault and hear of each other now and then. In the end all commits
//! are given to fresh replicas in other orders, and the result is compared with a slow model that knows
//! nothing of horizons, rows or short ways.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use polykey_core::random::OsRandom;
use polykey_core::{ActorId, NodeId, ObjectId, SecretPath, Timestamp};
use polykey_store::{Objects, RealDisk};
use proptest::prelude::*;

use crate::change::{Change, Depth, Expect, Parents};
use crate::charter::Charter;
use crate::charter::author::Joiner;
use crate::charter::entry::CutOff;
use crate::charter::epoch::EpochKeys;
use crate::charter::role::Role;
use crate::commit::{Body, Commit};
use crate::content::Kind;
use crate::error::VaultError;
use crate::folder;
use crate::id::{CommitId, SecretId, VersionId};
use crate::identity::Identity;
use crate::index::{self, Court, Incoming, Inserted, Opened};
use crate::operation::{Operation, Subject};
use crate::pen::{Bench, Note, Pen};
use crate::reader::Source;
use crate::rows::memory::Memory;
use crate::rows::{COMMIT, EVENT, LINE, Rows, SECRET, TIP};
use crate::stage::Stager;
use crate::stored::{self, ObjectRow};
use crate::trial::{identity, path};
use crate::view::{Look, Moment, VersionRef};

/// Some writers with one charter, and every commit that they made.
pub(crate) struct World {
    _place: tempfile::TempDir,
    charter: Charter,
    writers: Vec<Writer>,
    objects: Objects,
    pub commits: Vec<Commit>,
    /// The objects of all commits.
    pieces: HashMap<ObjectId, ObjectRow>,
    clock: u64,
}

struct Writer {
    me: Arc<Identity>,
    keys: EpochKeys,
    rows: Memory,
    /// Commits that it holds, by their number in the world.
    held: BTreeSet<usize>,
}

impl World {
    pub fn new(writers: u8) -> World {
        let place = tempfile::tempdir().expect("a folder");
        let objects = Objects::open(
            Arc::new(RealDisk),
            &place.path().join("objects"),
            Arc::new(OsRandom),
        );
        let founder = identity(1);
        let now = Timestamp::default();
        let (mut charter, _, keys) =
            Charter::create(founder.signer(), founder.keys(), now, &OsRandom).expect("founded");
        for seed in 2..=writers {
            let joiner = Joiner {
                node: identity(seed).node(),
                role: Role::Writer,
                keys: Some(identity(seed).keys().clone()),
            };
            let granted = charter.grant(founder.signer(), &keys, &joiner, now, &OsRandom);
            charter.insert(granted.expect("granted")).expect("inserted");
        }
        let writers = (1..=writers)
            .map(|seed| {
                let me = identity(seed);
                Writer {
                    keys: me.with_opener(|opener| EpochKeys::open(&charter, opener)),
                    me,
                    rows: Memory::default(),
                    held: BTreeSet::new(),
                }
            })
            .collect();
        World {
            _place: place,
            charter,
            writers,
            objects: objects.expect("opened"),
            commits: vec![],
            pieces: HashMap::new(),
            clock: 0,
        }
    }

    /// One change by one writer, on what it holds.
    pub fn change(
        &mut self,
        writer: usize,
        steps: impl FnOnce(&mut Change<'_>) -> Result<(), VaultError>,
    ) -> Result<Option<CommitId>, VaultError> {
        self.clock += 1;
        let stager = Stager::new(self.charter.id(), self.objects.clone(), Arc::new(OsRandom));
        let source = Source {
            vault: self.charter.id(),
            database: None,
            objects: self.objects.clone(),
        };
        let writer = &mut self.writers[writer];
        let made = {
            let mut change = Change::new(&writer.rows, source, &stager);
            steps(&mut change)?;
            change.draft.finish()
        };
        let pen = Pen {
            vault: self.charter.id(),
            actor: ActorId::from_bytes([1; 16]),
            me: &writer.me,
            charter: &self.charter,
            keys: &writer.keys,
            time: Timestamp::from_millis(self.clock),
            random: &OsRandom,
        };
        let note = Note {
            message: None,
            reset_to: None,
        };
        let made = pen.commit(&mut writer.rows, made, &note)?;
        if let Some(id) = made {
            let (commit, _) = stored::commit_and_row(&writer.rows, id)?.expect("just made");
            for (object, _) in &commit.header().objects {
                let row = stored::object_row(&writer.rows, object)?.expect("just stored");
                self.pieces.insert(*object, row);
            }
            writer.held.insert(self.commits.len());
            self.commits.push(commit);
        }
        Ok(made)
    }

    /// Gives `to` all that `from` holds.
    pub fn pull(&mut self, to: usize, from: usize) {
        let missing: Vec<usize> = self.writers[from]
            .held
            .difference(&self.writers[to].held)
            .copied()
            .collect();
        for number in missing {
            let mut rows = std::mem::take(&mut self.writers[to].rows);
            self.deliver(&mut rows, number, &self.bench())
                .expect("parents come first");
            self.writers[to].rows = rows;
            self.writers[to].held.insert(number);
        }
    }

    fn body(&self, commit: &Commit) -> Body {
        match self.bench().open(commit) {
            Ok(Opened::Body(body)) => body,
            other => panic!("{other:?}"),
        }
    }

    fn deliver(&self, rows: &mut Memory, number: usize, court: &dyn Court) -> Result<Inserted, VaultError> {
        let commit = &self.commits[number];
        let named = commit.header().objects.iter();
        let incoming = Incoming {
            commit,
            own: None,
            objects: named.map(|(id, _)| (*id, self.pieces[id].clone())).collect(),
        };
        index::insert(rows, incoming, court)
    }

    fn bench(&self) -> Bench<'_> {
        Bench {
            charter: &self.charter,
            keys: &self.writers[0].keys,
        }
    }

    /// A court that sets some commits aside, by their number.
    fn strict(&self, aside: &BTreeSet<usize>) -> Strict<'_> {
        let numbered = self.commits.iter().enumerate();
        Strict {
            bench: self.bench(),
            aside: numbered
                .filter(|(number, _)| aside.contains(number))
                .map(|(_, commit)| commit.id())
                .collect(),
        }
    }

    /// A fresh replica that got every commit in an order made from `seed`, parents first. Commits whose number
    /// is in `aside` do not count.
    fn replica(&self, mut seed: u64, aside: &BTreeSet<usize>) -> Memory {
        let (mut rows, court) = (Memory::default(), self.strict(aside));
        let mut left: Vec<usize> = (0..self.commits.len()).collect();
        while !left.is_empty() {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let pick = (seed >> 33) as usize % left.len();
            let ready = (0..left.len())
                .map(|at| (pick + at) % left.len())
                .find(|at| {
                    let parents = &self.commits[left[*at]].header().parents;
                    parents
                        .iter()
                        .all(|p| stored::commit_row(&rows, *p).expect("in memory").is_some())
                })
                .expect("some commit has all its parents");
            let number = left.swap_remove(ready);
            self.deliver(&mut rows, number, &court)
                .expect("parents came first");
        }
        rows
    }
}

struct Strict<'a> {
    bench: Bench<'a>,
    aside: BTreeSet<CommitId>,
}

impl Court for Strict<'_> {
    fn allows(&self, commit: &Commit) -> bool {
        self.bench.allows(commit) && !self.aside.contains(&commit.id())
    }

    fn pins(&self, author: &NodeId, actor: &ActorId) -> Vec<CutOff> {
        self.bench.pins(author, actor)
    }

    fn open(&self, commit: &Commit) -> Result<Opened, VaultError> {
        self.bench.open(commit)
    }
}

/// What shows: for each path the secrets there, the winner first, with their content versions and counters;
/// and the made directories.
type Shown = (BTreeMap<SecretPath, Vec<Told>>, BTreeSet<SecretPath>);
type Told = (SecretId, Vec<(VersionId, u64)>);

/// What the rows show, walked from the root.
fn shown(rows: &Memory) -> Shown {
    let (mut secrets, mut directories) = (BTreeMap::new(), BTreeSet::new());
    let look = Look {
        rows,
        moment: &Moment::Now,
    };
    let mut open = vec![SecretPath::root()];
    while let Some(dir) = open.pop() {
        let mut names = vec![];
        let mut show = |item: Vec<u8>, _| {
            names.push(String::from_utf8(item).expect("text"));
            Ok(std::ops::ControlFlow::Continue(()))
        };
        rows.each(crate::rows::ENTRY, dir.as_str().as_bytes(), &mut show)
            .expect("in memory");
        assert!(dir.is_root() || !names.is_empty() || !rows.table(SECRET).is_empty());
        for name in names {
            let at = dir
                .join(&polykey_core::Segment::parse(&name).expect("a name"))
                .expect("short");
            let entry = folder::living(rows, &at).expect("in memory").expect("listed");
            assert!(entry.is_alive(), "{at} stands");
            let told: Vec<Told> = entry
                .secrets
                .iter()
                .map(|(_, id)| {
                    let state = look.state(*id).expect("in memory");
                    let contents = state.contents.iter().map(|(r, n)| (r.version, *n)).collect();
                    (*id, contents)
                })
                .collect();
            if !told.is_empty() {
                secrets.insert(at.clone(), told);
            }
            if !entry.directories.is_empty() {
                directories.insert(at.clone());
            }
            if entry.children {
                open.push(at);
            }
        }
    }
    (secrets, directories)
}

/// What a place version replaces, and where it puts the secret.
type Place = (Vec<VersionId>, Option<SecretPath>);

/// The slow model: sets of ancestors, every rule as it is written.
struct Model {
    /// For each commit all that it had seen, itself included.
    seen: HashMap<CommitId, BTreeSet<CommitId>>,
    height: HashMap<CommitId, u64>,
    counted: BTreeSet<CommitId>,
    contents: BTreeMap<SecretId, BTreeMap<VersionId, Vec<VersionId>>>,
    places: BTreeMap<SecretId, BTreeMap<VersionId, Place>>,
    made: BTreeSet<SecretId>,
}

impl Model {
    fn new(world: &World, aside: &BTreeSet<usize>) -> Model {
        let mut model = Model {
            seen: HashMap::new(),
            height: HashMap::new(),
            counted: BTreeSet::new(),
            contents: BTreeMap::new(),
            places: BTreeMap::new(),
            made: BTreeSet::new(),
        };
        for (number, commit) in world.commits.iter().enumerate() {
            let id = commit.id();
            let mut seen = BTreeSet::from([id]);
            let mut height = 1;
            for parent in &commit.header().parents {
                seen.extend(&model.seen[parent]);
                height = height.max(model.height[parent] + 1);
            }
            model.seen.insert(id, seen);
            model.height.insert(id, height);
            if !aside.contains(&number) {
                model.counted.insert(id);
            }
            for (index, operation) in world.body(commit).operations.into_iter().enumerate() {
                let version = VersionId {
                    commit: id,
                    index: index as u32,
                };
                let new = SecretId::made_by(version);
                match operation {
                    Operation::Create { at, .. } => {
                        model.contents.entry(new).or_default().insert(version, vec![]);
                        model
                            .places
                            .entry(new)
                            .or_default()
                            .insert(version, (vec![], Some(at)));
                    }
                    Operation::MakeDirectory { at } => {
                        model.made.insert(new);
                        model
                            .places
                            .entry(new)
                            .or_default()
                            .insert(version, (vec![], Some(at)));
                    }
                    Operation::Put { secret, replaces, .. } => {
                        model
                            .contents
                            .entry(secret)
                            .or_default()
                            .insert(version, replaces);
                    }
                    Operation::Move { secret, replaces, to } => {
                        let place = (replaces, Some(to));
                        model.places.entry(secret).or_default().insert(version, place);
                    }
                    Operation::Remove { secret, replaces } => {
                        model
                            .places
                            .entry(secret)
                            .or_default()
                            .insert(version, (replaces, None));
                    }
                    Operation::SetAttributes {
                        of: Subject::Made(_) | Subject::Known(_),
                        ..
                    } => {}
                }
            }
        }
        model
    }

    fn counts(&self, version: &VersionId) -> bool {
        self.counted.contains(&version.commit)
    }

    fn concurrent(&self, a: &VersionId, b: &VersionId) -> bool {
        !self.seen[&a.commit].contains(&b.commit) && !self.seen[&b.commit].contains(&a.commit)
    }

    /// All that `from` replaces, directly or through others.
    fn reach<'m>(
        &self,
        from: &VersionId,
        replaces: &dyn Fn(&VersionId) -> Option<&'m Vec<VersionId>>,
    ) -> BTreeSet<VersionId> {
        let mut reached = BTreeSet::new();
        let mut open = vec![*from];
        while let Some(version) = open.pop() {
            for older in replaces(&version).into_iter().flatten() {
                let known = replaces(older).is_some() && older.commit != version.commit;
                if known && self.seen[&version.commit].contains(&older.commit) && reached.insert(*older) {
                    open.push(*older);
                }
            }
        }
        reached
    }

    fn rank(&self, version: &VersionId) -> (u64, VersionId) {
        (self.height[&version.commit], *version)
    }

    fn number(&self, secret: &SecretId, version: &VersionId) -> u64 {
        let all = &self.contents[secret];
        let older = all[version]
            .iter()
            .filter(|older| all.contains_key(older) && self.seen[&version.commit].contains(&older.commit));
        1 + older.map(|older| self.number(secret, older)).max().unwrap_or(0)
    }

    fn shown(&self) -> Shown {
        let (mut secrets, mut directories): (BTreeMap<_, Vec<_>>, _) = (BTreeMap::new(), BTreeSet::new());
        let ids: BTreeSet<&SecretId> = self.contents.keys().chain(self.places.keys()).collect();
        for id in ids {
            let (no_contents, no_places) = (BTreeMap::new(), BTreeMap::new());
            let contents = self.contents.get(id).unwrap_or(&no_contents);
            let places = self.places.get(id).unwrap_or(&no_places);
            let content_links = |version: &VersionId| contents.get(version);
            let place_links = |version: &VersionId| places.get(version).map(|(replaces, _)| replaces);
            let counted: Vec<_> = contents.keys().filter(|version| self.counts(version)).collect();
            let covered: BTreeSet<_> = counted
                .iter()
                .flat_map(|version| self.reach(version, &content_links))
                .collect();
            let mut standing: Vec<_> = counted.iter().filter(|v| !covered.contains(v)).collect();
            standing.sort_by_key(|version| std::cmp::Reverse(self.rank(version)));
            let valid: Vec<_> = places
                .iter()
                .filter(|(version, (_, to))| match to {
                    Some(_) => self.counts(version) || covered.contains(version),
                    None => self.counts(version) && !counted.iter().any(|put| self.concurrent(put, version)),
                })
                .collect();
            let moved: BTreeSet<_> = valid
                .iter()
                .flat_map(|(version, _)| self.reach(version, &place_links))
                .collect();
            let place = valid
                .iter()
                .filter(|(version, _)| !moved.contains(version))
                .max_by_key(|(version, (_, to))| (to.is_some(), self.rank(version)));
            let Some((version, (_, Some(at)))) = place else {
                continue;
            };
            if self.made.contains(id) {
                directories.insert(at.clone());
            } else if !standing.is_empty() {
                let told = standing
                    .iter()
                    .map(|v| (***v, self.number(id, v)))
                    .collect::<Vec<_>>();
                secrets
                    .entry(at.clone())
                    .or_default()
                    .push((self.rank(version), (*id, told)));
            }
        }
        let secrets = secrets
            .into_iter()
            .map(|(at, mut here)| {
                here.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
                (at, here.into_iter().map(|(_, told)| told).collect())
            })
            .collect();
        (secrets, directories)
    }
}

const PATHS: [&str; 8] = ["a", "b", "d", "d/a", "d/b", "d/e/a", "a/b", "x/y/z"];

/// One step of a story: who, what, where, and where else.
type Act = (u8, u8, u8, u8);

fn act(world: &mut World, (who, what, one, two): Act) {
    let writers = world.writers.len();
    let who = who as usize % writers;
    let (from, to) = (PATHS[one as usize % 8], PATHS[two as usize % 8]);
    let number = world.commits.len();
    // Most steps are refused now and then, as what they need is not there: that is part of the story.
    let _ = world.change(who, |change| match what % 10 {
        0..=3 => {
            let content = change.stage(Kind::Raw, format!("{number} {two}").as_bytes())?;
            change.put(&path(from), content, &Expect::Any).map(drop)
        }
        4 => change.remove(&path(from), Depth::Recursive),
        5 => change.rename(&path(from), &path(to)),
        6 => change.mkdir(&path(from), Parents::Made),
        7 => change.set_attribute(&path(from), "note", Some(to)),
        8 => change.restore(&path(from), &VersionRef::number(1)).map(drop),
        _ => {
            let content = change.stage(Kind::Raw, format!("{number} both").as_bytes())?;
            change.put(&path(from), content, &Expect::Any)?;
            change.rename(&path(from), &path(to))
        }
    });
    if two % 3 == 0 {
        let from = one as usize % writers;
        if from != who {
            world.pull(who, from);
        }
    }
}

fn tell(writers: u8, story: &[Act]) -> World {
    let mut world = World::new(writers);
    for step in story {
        act(&mut world, *step);
    }
    world
}

/// Compares rows that must be equal to the byte on every replica.
fn assert_same(a: &Memory, b: &Memory) {
    for table in [COMMIT, EVENT, SECRET, TIP, LINE] {
        assert_eq!(a.table(table), b.table(table), "{table:?}");
    }
    assert_eq!(shown(a), shown(b));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_arrival_does_not_matter(
        story in prop::collection::vec(any::<Act>(), 1..40),
        seeds in any::<[u64; 3]>(),
    ) {
        let mut world = tell(3, &story);
        let nobody = BTreeSet::new();
        for to in 0..3 {
            for from in 0..3 {
                if to != from {
                    world.pull(to, from);
                }
            }
        }
        let model = Model::new(&world, &nobody);
        prop_assert_eq!(shown(&world.writers[0].rows), model.shown());
        for seed in seeds {
            let replica = world.replica(seed, &nobody);
            for writer in &world.writers {
                if writer.held.len() == world.commits.len() {
                    assert_same(&replica, &writer.rows);
                }
            }
        }
    }

    #[test]
    fn what_is_set_aside_is_the_same_for_all(
        story in prop::collection::vec(any::<Act>(), 1..40),
        aside in prop::collection::btree_set(0..40usize, 0..6),
        seed in any::<u64>(),
    ) {
        let world = tell(3, &story);
        let replica = world.replica(seed, &aside);
        prop_assert_eq!(shown(&replica), Model::new(&world, &aside).shown());
        // A verdict that comes later gives the same.
        let mut late = world.replica(seed.wrapping_mul(3), &BTreeSet::new());
        let mut touched = BTreeSet::new();
        for number in aside.iter().filter(|number| **number < world.commits.len()) {
            let id = world.commits[*number].id();
            index::judge(&mut late, id, &world.strict(&aside), &mut touched).expect("in memory");
        }
        index::refold_all(&mut late, touched).expect("in memory");
        assert_same(&replica, &late);
    }

    #[test]
    fn no_content_is_lost(story in prop::collection::vec(any::<Act>(), 1..40)) {
        let world = tell(3, &story);
        let rows = world.replica(1, &BTreeSet::new());
        let model = Model::new(&world, &BTreeSet::new());
        let look = Look { rows: &rows, moment: &Moment::Now };
        for (secret, versions) in &model.contents {
            let standing = look.state(*secret).expect("in memory").content_versions();
            for version in versions.keys() {
                // Each version stands, or somebody who had seen it put another in its place.
                let followed = versions.iter().any(|(later, replaces)| {
                    replaces.contains(version) && model.seen[&later.commit].contains(&version.commit)
                });
                prop_assert!(standing.contains(version) || followed);
            }
        }
    }
}

#[test]
fn a_single_writer_takes_the_short_way_to_the_same_rows() {
    let story: Vec<Act> = (0..120u32)
        .map(|n| {
            let n = n.wrapping_mul(2_654_435_761) >> 8;
            (0, (n % 10) as u8, (n / 10 % 8) as u8, (n / 80 % 8) as u8)
        })
        .collect();
    let world = tell(1, &story);
    let model = Model::new(&world, &BTreeSet::new());
    assert!(world.commits.len() > 40);
    assert_eq!(shown(&world.writers[0].rows), model.shown());
    let mut anew = world.writers[0].rows.clone();
    let secrets: BTreeSet<SecretId> = model
        .places
        .keys()
        .chain(model.contents.keys())
        .copied()
        .collect();
    for secret in secrets {
        index::refold(&mut anew, secret).expect("in memory");
    }
    assert_same(&anew, &world.writers[0].rows);
}

#[test]
fn two_secrets_at_one_path_both_show_and_a_directory_keeps_its_name() {
    let mut world = World::new(3);
    let put = |at: &'static str, bytes: &'static [u8]| {
        move |change: &mut Change<'_>| {
            let content = change.stage(Kind::Raw, bytes)?;
            change.put(&path(at), content, &Expect::Absent).map(drop)
        }
    };
    world.change(0, put("a", b"from 0")).expect("free").expect("new");
    world.change(1, put("a", b"from 1")).expect("free").expect("new");
    world
        .change(2, put("a/below", b"from 2"))
        .expect("free")
        .expect("new");
    world.pull(0, 1);
    let shown = |world: &World| {
        let look = Look {
            rows: &world.writers[0].rows,
            moment: &Moment::Now,
        };
        look.shown(&SecretPath::root()).expect("in memory")
    };
    let both = shown(&world);
    assert_eq!((both.len(), both[0].0.as_str()), (2, "a"));
    assert!(both[1].0.starts_with("a~") && both[1].0.len() == 10);
    world.pull(0, 2);
    let all = shown(&world);
    let names: Vec<_> = all
        .iter()
        .map(|(name, id)| (name.starts_with("a~"), id.is_some()))
        .collect();
    assert_eq!(names, [(false, false), (true, true), (true, true)]);
    // The names lead to the secrets, and moving one away settles it.
    let aside = path(&all[1].0);
    let made = world.change(0, |change| {
        let content = change.open(&aside)?.into_bytes(100)?;
        assert!(content.expose().starts_with(b"from "));
        assert!(matches!(
            change.open(&path("a")),
            Err(VaultError::IsDirectory { .. })
        ));
        change.rename(&aside, &path("b"))
    });
    made.expect("free").expect("moved");
    assert_eq!(shown(&world).len(), 3);
}

#[test]
fn a_move_of_a_directory_takes_concurrent_edits_along() {
    let mut world = World::new(2);
    let put = |at: &'static str, bytes: &'static [u8]| {
        move |change: &mut Change<'_>| {
            let content = change.stage(Kind::Raw, bytes)?;
            change.put(&path(at), content, &Expect::Any).map(drop)
        }
    };
    world.change(0, put("d/known", b"1")).expect("free").expect("new");
    world.pull(1, 0);
    world
        .change(0, |change| change.rename(&path("d"), &path("e")))
        .expect("free")
        .expect("moved");
    world
        .change(1, put("d/known", b"2"))
        .expect("there")
        .expect("changed");
    world.change(1, put("d/new", b"3")).expect("free").expect("new");
    world.pull(0, 1);
    let (secrets, _) = shown(&world.writers[0].rows);
    let at: Vec<_> = secrets.keys().map(SecretPath::as_str).collect();
    assert_eq!(at, ["d/new", "e/known"]);
    assert_eq!(
        secrets[&path("e/known")][0].1[0].1,
        2,
        "the edit shows at the new place"
    );
}
