//! Loading: from the packs of a folder to a set that holds together.
//!
//! Packs come in any order and hold anything. Entries and commits are verified on all processors and then put
//! in order: each after what it follows. What does not verify, or follows something that is not there, is
//! left out, and so is all that builds on it.
//!
//! Always: what is left out is wanted again from the next replica; nothing is ever taken for deleted.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use polykey_core::id::{ObjectId, StatementId, VaultId};
use polykey_core::statement::{Kind, Statement};

use super::message::Tip;
use super::pack::{Pack, pack_id};
use super::pull::fits;
use super::replica::CommitHeader;
use super::vault::verify;
use crate::charter::{Body, Charter, CharterError, LineId};
use crate::object::object_id;

/// Where an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub pack: ObjectId,
    pub at: usize,
}

/// A commit that is there.
#[derive(Debug)]
pub(super) struct Kept {
    pub header: CommitHeader,
    pub place: Place,
}

/// What a folder holds.
#[derive(Debug)]
pub(super) struct Loaded {
    pub charter: Charter,
    pub commits: HashMap<StatementId, Kept>,
    pub lines: BTreeMap<LineId, BTreeMap<u64, BTreeSet<StatementId>>>,
    /// Small objects.
    pub small: HashMap<ObjectId, Place>,
    /// Large objects whose files were found, as far as names and lengths tell.
    pub files: HashSet<ObjectId>,
    /// Packs by name, with the name that their bytes have.
    pub packs: BTreeMap<ObjectId, ObjectId>,
    /// Objects that commits name and that are not there.
    pub wanted: BTreeSet<ObjectId>,
    /// Objects that standing purges name.
    pub purged: HashSet<ObjectId>,
    /// Items and packs that were left out.
    pub damaged: usize,
}

/// One pack, verified item by item.
struct Checked {
    name: ObjectId,
    truth: ObjectId,
    entries: Vec<Statement>,
    commits: Vec<(usize, CommitHeader)>,
    objects: Vec<ObjectId>,
    bad: usize,
}

fn check(vault: VaultId, name: ObjectId, bytes: &[u8]) -> Option<Checked> {
    let pack = Pack::decode(&vault, bytes).ok()?;
    let truth = pack_id(bytes);
    let mut checked = Checked {
        name,
        truth,
        entries: Vec::new(),
        commits: Vec::new(),
        objects: pack.objects.iter().map(|object| object_id(object)).collect(),
        bad: usize::from(truth != name),
    };
    for entry in pack.entries {
        match Statement::verify(Kind::Charter, entry) {
            Ok(entry) => checked.entries.push(entry),
            Err(_) => checked.bad += 1,
        }
    }
    for (at, (statement, body)) in pack.commits.into_iter().enumerate() {
        match verify(statement, body) {
            Ok((_, header)) => checked.commits.push((at, header)),
            Err(_) => checked.bad += 1,
        }
    }
    Some(checked)
}

/// Reads and verifies `packs` and puts their items together; `None` when the entry that founds `vault` is not
/// among them.
pub(super) fn load(
    vault: VaultId,
    packs: &[ObjectId],
    read: &(dyn Fn(&ObjectId) -> Option<Vec<u8>> + Sync),
) -> Option<Loaded> {
    let one = |name: &ObjectId| read(name).and_then(|bytes| check(vault, *name, &bytes));
    let checked: Vec<Option<Checked>> = on_all_processors(packs, &one);
    let damaged = checked.iter().filter(|checked| checked.is_none()).count();
    let checked: Vec<Checked> = checked.into_iter().flatten().collect();

    let entries = checked.iter().flat_map(|pack| &pack.entries);
    let genesis = entries.clone().find(|entry| VaultId::from(entry.id()) == vault)?;
    let mut loaded = Loaded {
        charter: Charter::found(genesis.clone()).ok()?,
        commits: HashMap::new(),
        lines: BTreeMap::new(),
        small: HashMap::new(),
        files: HashSet::new(),
        packs: BTreeMap::new(),
        wanted: BTreeSet::new(),
        purged: HashSet::new(),
        damaged,
    };
    loaded.damaged += insert_entries(&mut loaded.charter, entries.cloned().collect());
    let mut commits = Vec::new();
    for pack in checked {
        loaded.damaged += pack.bad;
        loaded.packs.insert(pack.name, pack.truth);
        for (at, object) in pack.objects.into_iter().enumerate() {
            let pack = pack.name;
            loaded.small.insert(object, Place { pack, at });
        }
        for (at, header) in pack.commits {
            let pack = pack.name;
            commits.push((Place { pack, at }, header));
        }
    }
    loaded.insert_commits(commits);
    loaded.note_purges();
    Some(loaded)
}

fn on_all_processors<I: Sync, T: Send>(items: &[I], one: &(dyn Fn(&I) -> T + Sync)) -> Vec<T> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let part = items.len().div_ceil(threads).max(1);
    if items.len() <= 1 || threads == 1 {
        return items.iter().map(one).collect();
    }
    std::thread::scope(|scope| {
        let parts = items.chunks(part);
        let running: Vec<_> = parts
            .map(|items| scope.spawn(move || items.iter().map(one).collect::<Vec<T>>()))
            .collect();
        let done = running.into_iter().map(|thread| match thread.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        done.flatten().collect()
    })
}

/// Inserts entries in whatever order they come; how many were left out.
fn insert_entries(charter: &mut Charter, entries: Vec<Statement>) -> usize {
    let mut waiting: HashMap<StatementId, Vec<Statement>> = HashMap::new();
    let mut ready = entries;
    let mut bad = 0;
    while let Some(entry) = ready.pop() {
        let id = entry.id();
        match charter.insert(entry.clone()) {
            Ok(_) => ready.extend(waiting.remove(&id).unwrap_or_default()),
            Err(CharterError::MissingParents { missing, .. }) => {
                waiting.entry(missing[0]).or_default().push(entry);
            }
            Err(_) => bad += 1,
        }
    }
    bad + waiting.values().map(Vec::len).sum::<usize>()
}

impl Loaded {
    /// Takes in commits in whatever order they come.
    fn insert_commits(&mut self, commits: Vec<(Place, CommitHeader)>) {
        let mut waiting: HashMap<StatementId, Vec<(Place, CommitHeader)>> = HashMap::new();
        let mut ready = commits;
        while let Some((place, header)) = ready.pop() {
            if self.commits.contains_key(&header.id) {
                continue;
            }
            let missing = header
                .follows()
                .find(|before| !self.commits.contains_key(*before));
            if let Some(missing) = missing.copied() {
                waiting.entry(missing).or_default().push((place, header));
                continue;
            }
            let before = header.follows().map(|before| self.commits[before].header.clone());
            let before: Vec<_> = before.collect();
            let known = header.heads.iter().all(|head| self.charter.contains(head));
            if header.vault != self.charter.id() || !known || !fits(&self.charter, &header, &before) {
                self.damaged += 1;
                continue;
            }
            ready.extend(waiting.remove(&header.id).unwrap_or_default());
            let id = header.id;
            self.add(header);
            if let Some(kept) = self.commits.get_mut(&id) {
                kept.place = place;
            }
        }
        self.damaged += waiting.values().map(Vec::len).sum::<usize>();
    }

    /// Adds a commit whose place is set by whoever writes it down.
    pub fn add(&mut self, header: CommitHeader) {
        let numbers = self.lines.entry(header.line).or_default();
        numbers.entry(header.seq).or_default().insert(header.id);
        let place = Place {
            pack: ObjectId::from_bytes([0; 32]),
            at: 0,
        };
        self.commits.insert(header.id, Kept { header, place });
    }

    /// Finds out which large objects are there.
    pub fn want(&mut self, mut is_there: impl FnMut(&ObjectId, u32) -> bool) {
        for kept in self.commits.values() {
            for (object, len) in &kept.header.objects {
                if self.small.contains_key(object) {
                    continue;
                }
                if is_there(object, *len) {
                    self.files.insert(*object);
                } else {
                    self.wanted.insert(*object);
                }
            }
        }
    }

    /// Notes what standing purges name.
    pub fn note_purges(&mut self) {
        let mut purged = HashSet::new();
        for entry in self.charter.purges() {
            if let Body::Purge { objects, .. } = entry.body() {
                purged.extend(objects);
            }
        }
        self.purged = purged;
    }

    pub fn line(&self, line: &LineId, first: u64, last: u64) -> Vec<(u64, StatementId)> {
        if first > last {
            return Vec::new();
        }
        let numbers = self.lines.get(line).into_iter();
        let numbers = numbers.flat_map(|line| line.range(first..=last));
        numbers
            .flat_map(|(seq, ids)| ids.iter().map(|id| (*seq, *id)))
            .collect()
    }

    pub fn tips(&self) -> Vec<Tip> {
        let mut tips = Vec::new();
        for (line, numbers) in &self.lines {
            let tip = |id: &StatementId| Tip {
                line: *line,
                seq: self.commits[id].header.seq,
                commit: *id,
            };
            if numbers.values().all(|ids| ids.len() == 1) {
                tips.extend(numbers.values().next_back().and_then(|ids| ids.first()).map(tip));
                continue;
            }
            let all = numbers.values().flatten();
            let followed: BTreeSet<_> = all
                .clone()
                .filter_map(|id| self.commits[id].header.previous)
                .collect();
            tips.extend(all.filter(|id| !followed.contains(*id)).map(tip));
        }
        tips
    }
}
