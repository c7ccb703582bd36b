//! Drafts: the vault as a change in the making will leave it.
//!
//! The rows stay as they are; a draft lays over them what the steps so far did: secrets that are made or
//! changed, and the directory entries that they touch. At the end it says what differs, as operations.
//!
//! Always: each secret has at most one operation of each sort, whatever the number of steps.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;

use polykey_core::{SecretPath, Segment};

use crate::attributes::AttributeChanges;
use crate::error::VaultError;
use crate::event::State;
use crate::folder;
use crate::id::{SecretId, VersionId};
use crate::operation::{Operation, Subject};
use crate::rows::{ENTRY, Rows};
use crate::stage::Staged;
use crate::stored::{self, SecretRow};
use crate::view::{Found, Look, Moment};

/// A secret or made directory inside a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Handle {
    /// Made by an earlier commit.
    Known(SecretId),
    /// Made by this change.
    New(usize),
}

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Nothing,
    Directory,
    Secret(Handle),
}

/// What the change does to one secret.
#[derive(Debug)]
pub(crate) struct Pending {
    /// What it was before; nothing for a new one.
    before: State,
    /// The same as it is stored.
    row: SecretRow,
    directory: bool,
    /// New content.
    pub content: Option<Staged>,
    /// Where it will stand, once that was decided; `Some(None)` is nowhere.
    to: Option<Option<SecretPath>>,
    /// Says the place again although it is the same, to settle places side by side.
    settle: bool,
    /// New attributes.
    pub attributes: AttributeChanges,
    /// Versions that do not count and that new content and a new place are to replace all the same.
    covers: (Option<VersionId>, Option<VersionId>),
}

impl Pending {
    fn place(&self) -> Option<&SecretPath> {
        match &self.to {
            Some(to) => to.as_ref(),
            None => self.before.place().map(|(path, _)| path),
        }
    }
}

/// What stands at one path, for a change.
#[derive(Debug, Clone, Default)]
struct Slot {
    secrets: Vec<Handle>,
    directories: Vec<Handle>,
    /// What the row says; holds while nothing below was touched.
    children: bool,
}

/// What a change did, in a form that fits commits.
pub(crate) struct Step {
    /// Operations on one secret. [`Subject::Made`] counts from the first of them.
    pub operations: Vec<Operation>,
    /// The content that the first of them brings.
    pub staged: Option<Staged>,
    /// For the message.
    pub deed: Deed,
    /// The path that it is about.
    pub path: SecretPath,
    /// The secret as it is stored, unless it is new.
    pub before: Option<(SecretId, SecretRow)>,
}

/// What was done to a path, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Deed {
    Added,
    Modified,
    Moved,
    Removed,
    Attributes,
    MadeDirectory,
}

/// The layer of changes over the rows.
pub(crate) struct Draft<'t> {
    rows: &'t dyn Rows,
    new: Vec<Pending>,
    known: BTreeMap<SecretId, Pending>,
    slots: HashMap<SecretPath, BTreeMap<String, Slot>>,
    /// The last secret that this change took away from a path.
    taken: HashMap<SecretPath, Handle>,
    /// Names in the rows that are known to stand in a directory, and how many to look for next time.
    witnesses: HashMap<SecretPath, (Vec<String>, usize)>,
}

impl<'t> Draft<'t> {
    pub fn new(rows: &'t dyn Rows) -> Draft<'t> {
        Draft {
            rows,
            new: Vec::new(),
            known: BTreeMap::new(),
            slots: HashMap::new(),
            taken: HashMap::new(),
            witnesses: HashMap::new(),
        }
    }

    pub fn rows(&self) -> &'t dyn Rows {
        self.rows
    }

    fn look(&self) -> Look<'t> {
        Look {
            rows: self.rows,
            moment: &Moment::Now,
        }
    }

    /// What stands at `path`.
    pub fn find(&mut self, path: &SecretPath) -> Result<Standing, VaultError> {
        if path.is_root() {
            return Ok(Standing::Directory);
        }
        let slot = self.slot(path)?;
        let below = match self.slots.contains_key(path) {
            true => self.has_children(path)?,
            false => slot.children,
        };
        if below || !slot.directories.is_empty() {
            return Ok(Standing::Directory);
        }
        if let Some(handle) = slot.secrets.first() {
            return Ok(Standing::Secret(*handle));
        }
        // A name like `name~<id>`, unless this change moved what shows under it.
        if path.name().is_some_and(|name| name.contains('~'))
            && let Some(Found::Secret(id)) = self.look().find(path)?
            && self.known.get(&id).is_none_or(|pending| pending.to.is_none())
        {
            return Ok(Standing::Secret(Handle::Known(id)));
        }
        Ok(Standing::Nothing)
    }

    fn slot(&self, path: &SecretPath) -> Result<Slot, VaultError> {
        let (dir, name) = split(path);
        if let Some(slot) = self.slots.get(&dir).and_then(|names| names.get(name)) {
            return Ok(slot.clone());
        }
        let Some(entry) = self.look().entry(path)? else {
            return Ok(Slot::default());
        };
        Ok(Slot {
            secrets: entry.secrets.iter().map(|(_, id)| Handle::Known(*id)).collect(),
            directories: entry.directories.iter().map(|id| Handle::Known(*id)).collect(),
            children: entry.children,
        })
    }

    /// True when something stands below `dir`.
    pub fn has_children(&mut self, dir: &SecretPath) -> Result<bool, VaultError> {
        let Some(names) = self.slots.get(dir) else {
            return match dir.is_root() {
                true => self.rows.any(ENTRY, b""),
                false => Ok(self.slot(dir)?.children),
            };
        };
        let stands = |slot: &Slot| !slot.secrets.is_empty() || !slot.directories.is_empty();
        // The last name is the one that a row of writes in order has just touched.
        if names.values().rev().any(stands) {
            return Ok(true);
        }
        let touched: Vec<_> = names.keys().cloned().collect();
        for name in touched {
            if self.has_children(&child(dir, &name)?)? {
                return Ok(true);
            }
        }
        self.any_untouched(dir)
    }

    /// True when the rows of `dir` have a name that this change has not touched.
    fn any_untouched(&mut self, dir: &SecretPath) -> Result<bool, VaultError> {
        let names = &self.slots[dir];
        let (found, wanted) = self.witnesses.entry(dir.clone()).or_insert((Vec::new(), 4));
        while let Some(name) = found.last() {
            if !names.contains_key(name) {
                return Ok(true);
            }
            found.pop();
        }
        // Each look finds twice as many as the one before, so that removing a large directory name by name
        // does not read it again for each of them.
        let limit = *wanted;
        *wanted *= 2;
        self.rows.each(ENTRY, dir.as_str().as_bytes(), &mut |item, _| {
            let name = String::from_utf8_lossy(&item).into_owned();
            if !names.contains_key(&name) {
                found.push(name);
            }
            Ok(match found.len() < limit {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            })
        })?;
        Ok(!found.is_empty())
    }

    /// The names that stand in `dir`, without those that show as `name~<id>`.
    pub fn names(&mut self, dir: &SecretPath) -> Result<Vec<String>, VaultError> {
        let mut names = BTreeSet::new();
        self.rows.each(ENTRY, dir.as_str().as_bytes(), &mut |item, _| {
            names.insert(String::from_utf8_lossy(&item).into_owned());
            Ok(ControlFlow::Continue(()))
        })?;
        if let Some(touched) = self.slots.get(dir) {
            names.extend(touched.keys().cloned());
        }
        Ok(names.into_iter().collect())
    }

    /// All secrets and made directories at and below the directory `dir`, with their places; not a secret
    /// that shares its path.
    pub fn below(&mut self, dir: &SecretPath) -> Result<Vec<(Handle, SecretPath)>, VaultError> {
        let mut all = Vec::new();
        if !dir.is_root() {
            let slot = self.slot(dir)?;
            all.extend(slot.directories.iter().map(|handle| (*handle, dir.clone())));
        }
        let mut open = vec![dir.clone()];
        while let Some(dir) = open.pop() {
            for name in self.names(&dir)? {
                let path = child(&dir, &name)?;
                let slot = self.slot(&path)?;
                let here = slot.secrets.iter().chain(&slot.directories);
                all.extend(here.map(|handle| (*handle, path.clone())));
                if slot.children || self.slots.contains_key(&path) {
                    open.push(path);
                }
            }
        }
        Ok(all)
    }

    /// Checks that no secret stands where `path` needs a directory.
    pub fn check_above(&mut self, path: &SecretPath) -> Result<(), VaultError> {
        let mut above = path.parent();
        while let Some(dir) = above {
            match self.find(&dir)? {
                Standing::Directory => return Ok(()),
                Standing::Secret(_) => return Err(VaultError::NotDirectory { path: dir }),
                Standing::Nothing => above = dir.parent(),
            }
        }
        Ok(())
    }

    /// What the change does to a secret, to be added to.
    pub fn pending(&mut self, handle: Handle) -> Result<&mut Pending, VaultError> {
        match handle {
            Handle::New(number) => Ok(&mut self.new[number]),
            Handle::Known(id) => {
                if !self.known.contains_key(&id) {
                    let row = stored::secret_row(self.rows, id)?.unwrap_or_default();
                    let pending = Pending {
                        directory: row.state.directory,
                        before: row.state.clone(),
                        row,
                        content: None,
                        to: None,
                        settle: false,
                        attributes: AttributeChanges::default(),
                        covers: (None, None),
                    };
                    self.known.insert(id, pending);
                }
                Ok(self.known.get_mut(&id).expect("inserted above"))
            }
        }
    }

    /// The state of a secret before the change.
    pub fn before(&mut self, handle: Handle) -> Result<State, VaultError> {
        Ok(self.pending(handle)?.before.clone())
    }

    /// The counter of its content before the change.
    pub fn number(&mut self, handle: Handle) -> Result<u64, VaultError> {
        Ok(self
            .pending(handle)?
            .before
            .content()
            .map_or(0, |(_, number)| number))
    }

    /// True when the change gives it content.
    pub fn is_written(&mut self, handle: Handle) -> bool {
        self.pending(handle)
            .is_ok_and(|pending| pending.content.is_some())
    }

    /// Its attributes as the change will leave them.
    pub fn attributes(&mut self, handle: Handle) -> Result<BTreeMap<String, String>, VaultError> {
        let pending = self.pending(handle)?;
        let mut attributes: BTreeMap<String, String> = pending
            .before
            .attributes
            .iter()
            .map(|(key, (_, value))| (key.clone(), value.clone()))
            .collect();
        for (key, value) in pending.attributes.iter() {
            match value {
                Some(value) => attributes.insert(key.to_owned(), value.to_owned()),
                None => attributes.remove(key),
            };
        }
        Ok(attributes)
    }

    /// Makes a secret where nothing stands.
    pub fn create(&mut self, path: &SecretPath, staged: Staged) {
        self.make(path, Some(staged));
    }

    /// Makes a directory where nothing stands.
    pub fn make_directory(&mut self, path: &SecretPath) {
        self.make(path, None);
    }

    fn make(&mut self, path: &SecretPath, content: Option<Staged>) {
        let handle = Handle::New(self.new.len());
        self.new.push(Pending {
            before: State::default(),
            row: SecretRow::default(),
            directory: content.is_none(),
            content,
            to: Some(Some(path.clone())),
            settle: false,
            attributes: AttributeChanges::default(),
            covers: (None, None),
        });
        self.enter(handle, path);
    }

    /// Takes a secret or made directory away from `path`.
    pub fn remove(&mut self, handle: Handle, path: &SecretPath) -> Result<(), VaultError> {
        self.place(handle, None)?;
        if !self.pending(handle)?.directory {
            self.taken.insert(path.clone(), handle);
        }
        Ok(())
    }

    /// Gives a secret or made directory another place, or none.
    pub fn place(&mut self, handle: Handle, to: Option<&SecretPath>) -> Result<(), VaultError> {
        let old = self.pending(handle)?.place().cloned();
        if let Some(old) = &old {
            let mut slot = self.slot(old)?;
            slot.secrets.retain(|have| *have != handle);
            slot.directories.retain(|have| *have != handle);
            self.set_slot(old, slot);
        }
        self.pending(handle)?.to = Some(to.cloned());
        if let Some(to) = to {
            self.enter(handle, to);
        }
        Ok(())
    }

    /// Says again where a secret stands, when it has several places side by side.
    pub fn settle_place(&mut self, handle: Handle, shown_at: &SecretPath) -> Result<(), VaultError> {
        let pending = self.pending(handle)?;
        pending.settle = true;
        if pending.place().is_none() {
            self.place(handle, Some(shown_at))?;
        }
        Ok(())
    }

    /// Has the next content and place replace these versions, too.
    pub fn cover(
        &mut self,
        handle: Handle,
        content: Option<VersionId>,
        place: Option<VersionId>,
    ) -> Result<(), VaultError> {
        self.pending(handle)?.covers = (content, place);
        Ok(())
    }

    fn enter(&mut self, handle: Handle, path: &SecretPath) {
        // A row that cannot be read shows as nothing here; storing the change reads it again and fails.
        let mut slot = self.slot(path).unwrap_or_default();
        let directory = match handle {
            Handle::New(number) => self.new[number].directory,
            Handle::Known(id) => self.known.get(&id).is_some_and(|pending| pending.directory),
        };
        let list = match directory {
            true => &mut slot.directories,
            false => &mut slot.secrets,
        };
        list.retain(|have| *have != handle);
        list.insert(0, handle);
        self.set_slot(path, slot);
    }

    fn set_slot(&mut self, path: &SecretPath, slot: Slot) {
        let (dir, name) = split(path);
        let new_dir = !self.slots.contains_key(&dir);
        self.slots
            .entry(dir.clone())
            .or_default()
            .insert(name.to_owned(), slot);
        // The directories above must know that something below them was touched.
        if new_dir && !dir.is_root() {
            let above = self.slot(&dir).unwrap_or_default();
            self.set_slot(&dir, above);
        }
    }

    /// The secret that was last removed from `path`, by this change or before.
    pub fn removed(&mut self, path: &SecretPath) -> Result<Option<Handle>, VaultError> {
        if let Some(handle) = self.taken.get(path).copied()
            && self.pending(handle)?.place().is_none()
        {
            return Ok(Some(handle));
        }
        // Where nothing stands, an entry that once stood lies among the buried.
        if folder::buried(self.rows, path)?.is_none() {
            return Ok(None);
        }
        let Some(id) = self.look().removed(path)? else {
            return Ok(None);
        };
        let handle = Handle::Known(id);
        let gone = self.pending(handle)?.place().is_none();
        Ok(gone.then_some(handle))
    }

    /// What differs from before, one step for each secret: removals, then moves, then all else.
    pub fn finish(self) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        for (id, pending) in self.known {
            steps.extend(known_step(id, pending));
        }
        for pending in self.new {
            steps.extend(new_step(pending));
        }
        steps
    }
}

fn new_step(pending: Pending) -> Option<Step> {
    let at = pending.to.flatten()?;
    let Some(staged) = pending.content else {
        return pending.directory.then(|| Step {
            operations: vec![Operation::MakeDirectory { at: at.clone() }],
            staged: None,
            deed: Deed::MadeDirectory,
            path: at,
            before: None,
        });
    };
    let mut operations = vec![Operation::Create {
        at: at.clone(),
        content: *staged.content(),
    }];
    let mut changes = AttributeChanges::default();
    for (key, value) in pending.attributes.iter().filter(|(_, value)| value.is_some()) {
        changes.set(key, value).expect("checked when it was set");
    }
    if !changes.is_empty() {
        operations.push(Operation::SetAttributes {
            of: Subject::Made(0),
            changes,
        });
    }
    Some(Step {
        operations,
        staged: Some(staged),
        deed: Deed::Added,
        path: at,
        before: None,
    })
}

fn known_step(secret: SecretId, pending: Pending) -> Option<Step> {
    let before = pending.before.place().map(|(path, _)| path.clone());
    let after = pending.place().cloned();
    let mut operations = Vec::new();
    let mut deed = None;
    // A secret that ends up nowhere needs no new content.
    let staged = pending.content.filter(|_| after.is_some());
    if let Some(staged) = &staged {
        operations.push(Operation::Put {
            secret,
            replaces: with(pending.before.content_versions(), pending.covers.0),
            content: *staged.content(),
        });
        deed = Some(Deed::Modified);
    }
    let settles = pending.settle && pending.before.places.len() > 1;
    let settles = settles || pending.covers.1.is_some();
    if after != before || settles {
        let replaces = with(pending.before.place_versions(), pending.covers.1);
        match &after {
            Some(to) => operations.push(Operation::Move {
                secret,
                replaces,
                to: to.clone(),
            }),
            None => operations.push(Operation::Remove { secret, replaces }),
        }
        deed = match (&before, &after) {
            (_, None) => Some(Deed::Removed),
            (None, Some(_)) => Some(Deed::Added),
            (Some(_), Some(_)) => deed.or(Some(Deed::Moved)),
        };
    }
    let mut changes = AttributeChanges::default();
    for (key, value) in pending.attributes.iter() {
        let have = pending
            .before
            .attributes
            .get(key)
            .map(|(_, value)| value.as_str());
        if have != value && after.is_some() {
            changes.set(key, value).expect("checked when it was set");
        }
    }
    if !changes.is_empty() {
        operations.push(Operation::SetAttributes {
            of: Subject::Known(secret),
            changes,
        });
        deed = deed.or(Some(Deed::Attributes));
    }
    Some(Step {
        operations,
        staged,
        deed: deed?,
        path: after.or(before).unwrap_or_default(),
        before: Some((secret, pending.row)),
    })
}

/// The versions with one more, ascending.
fn with(mut versions: Vec<VersionId>, more: Option<VersionId>) -> Vec<VersionId> {
    versions.extend(more);
    versions.sort();
    versions.dedup();
    versions
}

/// The directory and the name of a path that is not the root.
fn split(path: &SecretPath) -> (SecretPath, &str) {
    (
        path.parent().unwrap_or_default(),
        path.name().expect("the root has no entry"),
    )
}

fn child(dir: &SecretPath, name: &str) -> Result<SecretPath, VaultError> {
    Ok(dir.join(&Segment::parse(name)?)?)
}
