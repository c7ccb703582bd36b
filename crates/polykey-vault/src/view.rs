//! Views: what a vault holds, now or at any commit.
//!
//! Looking something up costs a few rows, however large the vault is. A view of the past folds the few
//! secrets that it is asked for from their own events, leaving out what the commit had not seen.
//!
//! Always: a name shows one thing. Where two secrets stand at one path, the loser shows as `name~<id>`; a
//! directory keeps its name. Start at [`View`].

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use polykey_core::path::MAX_SEGMENT_LEN;
use polykey_core::{NodeId, SecretPath, Segment, Timestamp};

use polykey_store::Database;

use crate::content::Kind;
use crate::error::VaultError;
use crate::event::{Event, State};
use crate::fold;
use crate::folder::{self, Entry};
use crate::horizon::Horizon;
use crate::id::{CommitId, SecretId, VersionId};
use crate::reader::{ContentReader, Source};
use crate::record::{MAX_RECORD_LEN, Record};
use crate::rows::{ENTRY, GRAVE, Rows};
use crate::stored::{self, ObjectRow};

/// Which state of a vault to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// The newest.
    Now,
    /// As the author of this commit saw it.
    Commit(CommitId),
    /// As it was at this time, by the clocks of those who wrote.
    Time(Timestamp),
}

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A secret of any bytes.
    Raw,
    /// A secret of named fields.
    Record,
}

/// What is known about a path without reading content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// Where it stands.
    pub path: SecretPath,
    /// What it is.
    pub kind: EntryKind,
    /// Length of the content in bytes; 0 for a directory.
    pub size: u64,
    /// The counter of its content; 0 for a directory.
    pub version: u64,
    /// The content versions that nothing replaces, the one that shows first.
    pub versions: Vec<VersionId>,
    /// When it was made; `None` for a directory that nobody made for itself.
    pub created: Option<Timestamp>,
    /// When its content was last written; `None` for a directory.
    pub modified: Option<Timestamp>,
    /// Who wrote the content; `None` for a directory.
    pub author: Option<NodeId>,
    /// Its attributes.
    pub attributes: BTreeMap<String, String>,
    /// The secret's id, kept over moves; `None` for a directory.
    pub secret: Option<SecretId>,
    /// True when versions stand side by side.
    pub conflict: bool,
}

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// The name as it shows.
    pub name: String,
    /// True for a directory.
    pub directory: bool,
}

/// One version of a secret, as a user names it: its counter, or the start of its commit's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionRef(String);

impl VersionRef {
    /// Takes any text; whether it names a version shows when it is looked up.
    pub fn parse(text: &str) -> VersionRef {
        VersionRef(text.to_owned())
    }

    /// The version with this counter.
    pub fn number(number: u64) -> VersionRef {
        VersionRef(number.to_string())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<VersionId> for VersionRef {
    fn from(version: VersionId) -> Self {
        VersionRef(version.to_string())
    }
}

/// Shortest start of a commit id that is looked up.
pub const MIN_PREFIX_LEN: usize = 4;

/// A version whose content is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Here {
    /// Its counter.
    pub version: u64,
    /// The commit that wrote it.
    pub commit: CommitId,
    /// Where the secret stood then.
    pub path: SecretPath,
}

/// A vault at one moment. Cheap to make; looks things up when asked.
pub struct View {
    pub(crate) database: Database,
    pub(crate) source: Source,
    pub(crate) moment: Moment,
    /// What the commit that is looked at wrote, when it is set aside.
    pub(crate) written: Written,
}

/// Secrets as a commit that is set aside would have them, by the paths at which they would stand.
pub(crate) type Written = BTreeMap<SecretPath, (SecretId, State)>;

/// The moment a view shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Moment {
    Now,
    Past(Horizon),
}

impl View {
    fn look<T>(&self, look: impl FnOnce(&Look<'_>) -> Result<T, VaultError>) -> Result<T, VaultError> {
        self.database.read(|tx| {
            look(&Look {
                rows: tx,
                moment: &self.moment,
            })
        })
    }

    /// What is known about `path`; also for the root, which is a directory.
    ///
    /// # Errors
    /// [`VaultError::NoSuchPath`], [`VaultError::Store`].
    pub fn stat(&self, path: &SecretPath) -> Result<Stat, VaultError> {
        self.look(|look| match self.written.get(path) {
            Some((id, state)) => look.stat_of(path, *id, state.clone()),
            None => look.stat(path),
        })
    }

    /// True when what this view shows at `path` was written by a commit that is set aside, at which it looks: it
    /// stands nowhere. Only who asks for exactly this path is shown it; it is in no list.
    pub fn is_set_aside(&self, path: &SecretPath) -> bool {
        self.written.contains_key(path)
    }

    /// True when something stands at `path`.
    ///
    /// # Errors
    /// [`VaultError::Store`].
    pub fn exists(&self, path: &SecretPath) -> Result<bool, VaultError> {
        self.look(|look| Ok(self.is_set_aside(path) || look.find(path)?.is_some()))
    }

    /// The names in a directory, in bytewise order: the cheap form of [`View::list`].
    ///
    /// # Errors
    /// [`VaultError::NoSuchPath`], [`VaultError::NotDirectory`].
    pub fn names(&self, dir: &SecretPath) -> Result<Vec<Name>, VaultError> {
        self.look(|look| look.names(dir))
    }

    /// What stands in a directory, in bytewise order of the names.
    ///
    /// # Errors
    /// As [`View::names`].
    pub fn list(&self, dir: &SecretPath) -> Result<Vec<Stat>, VaultError> {
        self.look(|look| look.list(dir))
    }

    /// All that stands below a directory, directories before what is in them.
    ///
    /// # Errors
    /// As [`View::names`].
    pub fn walk(&self, dir: &SecretPath) -> Result<Vec<Stat>, VaultError> {
        self.look(|look| {
            let mut all = Vec::new();
            let mut open = vec![dir.clone()];
            while let Some(dir) = open.pop() {
                let here = look.list(&dir)?;
                let below = here.iter().rev().filter(|stat| stat.kind == EntryKind::Directory);
                open.extend(below.map(|stat| stat.path.clone()));
                all.extend(here);
            }
            all.sort_by(|a, b| a.path.segments().cmp(b.path.segments()));
            Ok(all)
        })
    }

    /// Opens the content of a secret.
    ///
    /// # Errors
    /// [`VaultError::NoSuchPath`], [`VaultError::IsDirectory`].
    pub fn open(&self, path: &SecretPath) -> Result<ContentReader, VaultError> {
        let found = self.look(|look| {
            let (id, state) = match self.written.get(path) {
                Some((id, state)) => (*id, state.clone()),
                None => look.secret(path)?,
            };
            let (rank, _) = state.content().ok_or_else(|| no_such(path))?;
            look.content(path, id, rank.version)
        })?;
        self.reader(path, found)
    }

    /// The newest version of the secret at `path` whose content is here: what to read while that of the one that
    /// shows has not come yet. `None` when none is.
    ///
    /// # Errors
    /// [`VaultError::NoSuchPath`], [`VaultError::IsDirectory`].
    pub fn newest_here(&self, path: &SecretPath) -> Result<Option<Here>, VaultError> {
        self.look(|look| {
            let id = look.last_secret(path)?;
            for version in look.versions(id)? {
                let commit = version.event.version.commit;
                if !version.counted || !look.is_here(&version.event)? {
                    continue;
                }
                let row =
                    stored::commit_row(look.rows, commit)?.ok_or(VaultError::CommitDamaged { commit })?;
                let then = Look {
                    rows: look.rows,
                    moment: &Moment::Past(row.horizon),
                };
                let state = then.state(id)?;
                if let Some((place, _)) = state.place() {
                    return Ok(Some(Here {
                        version: version.number,
                        commit,
                        path: place.clone(),
                    }));
                }
            }
            Ok(None)
        })
    }

    /// Opens one version of the secret at `path`, or of the last that stood there.
    ///
    /// # Errors
    /// [`VaultError::NoSuchPath`], [`VaultError::NoSuchVersion`], [`VaultError::Ambiguous`].
    pub fn open_version(&self, path: &SecretPath, version: &VersionRef) -> Result<ContentReader, VaultError> {
        let found = self.look(|look| {
            let id = look.last_secret(path)?;
            let version = look.version(path, id, version)?;
            look.content(path, id, version)
        })?;
        self.reader(path, found)
    }

    /// Reads a secret that is a record.
    ///
    /// # Errors
    /// [`VaultError::NotRecord`]; as [`View::open`].
    pub fn record(&self, path: &SecretPath) -> Result<Record, VaultError> {
        read_record(path, self.open(path)?)
    }

    fn reader(
        &self,
        path: &SecretPath,
        (event, first): (Event, Option<Vec<u8>>),
    ) -> Result<ContentReader, VaultError> {
        reader(&self.source, path, &event, first)
    }
}

pub(crate) fn read_record(path: &SecretPath, content: ContentReader) -> Result<Record, VaultError> {
    if content.kind() != Kind::Record {
        return Err(VaultError::NotRecord { path: path.clone() });
    }
    let bytes = content.into_bytes(MAX_RECORD_LEN)?;
    Ok(Record::decode(bytes.expose())?)
}

pub(crate) fn reader(
    source: &Source,
    path: &SecretPath,
    event: &Event,
    first: Option<Vec<u8>>,
) -> Result<ContentReader, VaultError> {
    let stored = event.stored().ok_or(VaultError::IndexDamaged {
        what: "a version has no content",
    })?;
    let objects = stored.objects.iter().map(|object| object.duplicate()).collect();
    ContentReader::new(source.clone(), path.clone(), stored.content, objects, first)
}

pub(crate) fn no_such(path: &SecretPath) -> VaultError {
    VaultError::NoSuchPath { path: path.clone() }
}

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    Directory,
    Secret(SecretId),
}

/// Looking at rows as of a moment.
pub(crate) struct Look<'r> {
    pub rows: &'r dyn Rows,
    pub moment: &'r Moment,
}

impl Look<'_> {
    /// The state of a secret at the moment.
    pub fn state(&self, id: SecretId) -> Result<State, VaultError> {
        let Some(row) = stored::secret_row(self.rows, id)? else {
            return Ok(State::default());
        };
        match self.moment {
            Moment::Past(horizon) if !horizon.covers(&row.touched) => {
                let events = stored::events(self.rows, id)?;
                let standings = stored::standings(self.rows, &events, Some(horizon))?;
                Ok(fold::fold(&events, &standings))
            }
            _ => Ok(row.state),
        }
    }

    /// The entry of `path` at the moment; `None` when nothing stands there or below.
    pub fn entry(&self, path: &SecretPath) -> Result<Option<Entry>, VaultError> {
        if *self.moment == Moment::Now {
            return folder::living(self.rows, path);
        }
        let Some((was, ids)) = folder::ever(self.rows, path)? else {
            return Ok(None);
        };
        let mut entry = Entry::default();
        for id in ids {
            let state = self.state(id)?;
            if let Some((place, rank)) = state.place()
                && place == path
            {
                if state.directory {
                    entry.directories.push(id);
                } else {
                    entry.secrets.push((rank, id));
                }
            }
        }
        entry.secrets.sort_by(|a, b| b.cmp(a));
        entry.children = was.had_children && self.any_below(path)?;
        Ok(entry.is_alive().then_some(entry))
    }

    /// True when something stood below `dir` at the moment.
    fn any_below(&self, dir: &SecretPath) -> Result<bool, VaultError> {
        for name in self.raw_names(dir)? {
            if self.entry(&dir.join(&name)?)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Names that stand, or for the past may have stood, in `dir`.
    fn raw_names(&self, dir: &SecretPath) -> Result<Vec<Segment>, VaultError> {
        let mut names = Vec::new();
        let tables: &[_] = match self.moment {
            Moment::Now => &[ENTRY],
            Moment::Past(_) => &[ENTRY, GRAVE],
        };
        for table in tables {
            self.rows.each(*table, dir.as_str().as_bytes(), &mut |item, _| {
                names.push(segment(&item)?);
                Ok(ControlFlow::Continue(()))
            })?;
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// What `path` leads to.
    pub fn find(&self, path: &SecretPath) -> Result<Option<Found>, VaultError> {
        if path.is_root() {
            return Ok(Some(Found::Directory));
        }
        if let Some(entry) = self.entry(path)? {
            if entry.is_directory() {
                return Ok(Some(Found::Directory));
            }
            return Ok(entry.secrets.first().map(|(_, id)| Found::Secret(*id)));
        }
        // `name~<id>`: a secret that another one at its path has pushed aside.
        let name = path.name().expect("not the root");
        let Some((base, suffix)) = name.rsplit_once('~') else {
            return Ok(None);
        };
        if suffix.len() < SHORT_SUFFIX || !suffix.bytes().all(|b| b.is_ascii_hexdigit()) || base.is_empty() {
            return Ok(None);
        }
        let dir = path.parent().expect("not the root");
        let bases = if suffix.len() == LONG_SUFFIX {
            // The base may have been cut to make room.
            let mut bases = self.raw_names(&dir)?;
            bases.retain(|name| name.as_str().starts_with(base));
            bases
        } else {
            Segment::parse(base).into_iter().collect()
        };
        for base in bases {
            if let Some(entry) = self.entry(&dir.join(&base)?)? {
                let aside = self.aside(&dir, base.as_str(), &entry)?;
                if let Some((_, id)) = aside.into_iter().find(|(shown, _)| shown == name) {
                    return Ok(Some(Found::Secret(id)));
                }
            }
        }
        Ok(None)
    }

    /// The secret at `path`.
    pub fn secret(&self, path: &SecretPath) -> Result<(SecretId, State), VaultError> {
        match self.find(path)? {
            Some(Found::Secret(id)) => Ok((id, self.state(id)?)),
            Some(Found::Directory) => Err(VaultError::IsDirectory { path: path.clone() }),
            None => Err(no_such(path)),
        }
    }

    /// The secret at `path`, or the last that was removed from there.
    pub fn last_secret(&self, path: &SecretPath) -> Result<SecretId, VaultError> {
        match self.secret(path) {
            Ok((id, _)) => Ok(id),
            Err(VaultError::NoSuchPath { .. }) => self.removed(path)?.ok_or_else(|| no_such(path)),
            Err(error) => Err(error),
        }
    }

    /// The last secret that was removed from `path` and stands nowhere now.
    pub fn removed(&self, path: &SecretPath) -> Result<Option<SecretId>, VaultError> {
        let Some((_, all)) = folder::ever(self.rows, path)? else {
            return Ok(None);
        };
        let mut last = None;
        for id in all {
            let state = self.state(id)?;
            if !state.directory
                && !state.contents.is_empty()
                && state.place().is_none()
                && self.was_removed_from(id, &state, path)?
            {
                let removal = state.places.first().map(|(rank, _)| *rank);
                last = last.max(Some((removal, id)));
            }
        }
        Ok(last.map(|(_, id)| id))
    }

    /// True when `path` is where the secret stood when it was removed.
    fn was_removed_from(&self, id: SecretId, state: &State, path: &SecretPath) -> Result<bool, VaultError> {
        for version in state.place_versions() {
            let removal = stored::event(self.rows, id, version)?;
            for replaced in removal.replaced_places() {
                let before = stored::event(self.rows, id, *replaced)?;
                if before.place().flatten() == Some(path) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The names in `dir` as they show.
    pub fn names(&self, dir: &SecretPath) -> Result<Vec<Name>, VaultError> {
        Ok(self
            .shown(dir)?
            .into_iter()
            .map(|(name, id)| Name {
                name,
                directory: id.is_none(),
            })
            .collect())
    }

    /// Names and the secrets behind them; directories have none.
    pub fn shown(&self, dir: &SecretPath) -> Result<Vec<(String, Option<SecretId>)>, VaultError> {
        self.check_directory(dir)?;
        let mut shown = Vec::new();
        let mut each = |name: &str, entry: &Entry| -> Result<(), VaultError> {
            match (entry.is_directory(), entry.secrets.first()) {
                (true, _) => shown.push((name.to_owned(), None)),
                (false, Some((_, id))) => shown.push((name.to_owned(), Some(*id))),
                (false, None) => {}
            }
            if entry.secrets.len() + usize::from(entry.is_directory()) > 1 {
                let aside = self.aside(dir, name, entry)?;
                shown.extend(aside.into_iter().map(|(name, id)| (name, Some(id))));
            }
            Ok(())
        };
        if *self.moment == Moment::Now {
            self.rows
                .each(ENTRY, dir.as_str().as_bytes(), &mut |item, value| {
                    let entry = Entry::decode(value.expose())?;
                    each(segment(&item)?.as_str(), &entry)?;
                    Ok(ControlFlow::Continue(()))
                })?;
        } else {
            for name in self.raw_names(dir)? {
                if let Some(entry) = self.entry(&dir.join(&name)?)? {
                    each(name.as_str(), &entry)?;
                }
            }
        }
        shown.sort();
        Ok(shown)
    }

    fn check_directory(&self, dir: &SecretPath) -> Result<(), VaultError> {
        match self.find(dir)? {
            Some(Found::Directory) => Ok(()),
            Some(Found::Secret(_)) => Err(VaultError::NotDirectory { path: dir.clone() }),
            None => Err(no_such(dir)),
        }
    }

    /// The secrets of an entry that do not show under its name, and the names under which they show.
    fn aside(
        &self,
        dir: &SecretPath,
        name: &str,
        entry: &Entry,
    ) -> Result<Vec<(String, SecretId)>, VaultError> {
        let losers = entry.secrets.iter().skip(usize::from(!entry.is_directory()));
        let mut aside: Vec<(String, SecretId)> = Vec::new();
        for (_, id) in losers {
            for len in [SHORT_SUFFIX, 2 * SHORT_SUFFIX, LONG_SUFFIX] {
                let shown = aside_name(name, *id, len);
                let path = dir.join(&Segment::parse(&shown)?)?;
                let taken = aside.iter().any(|(other, _)| *other == shown);
                if len == LONG_SUFFIX || !taken && self.entry(&path)?.is_none() {
                    aside.push((shown, *id));
                    break;
                }
            }
        }
        Ok(aside)
    }

    /// What stands in `dir`.
    pub fn list(&self, dir: &SecretPath) -> Result<Vec<Stat>, VaultError> {
        self.shown(dir)?
            .into_iter()
            .map(|(name, id)| {
                let path = dir.join(&Segment::parse(&name)?)?;
                match id {
                    Some(id) => self.secret_stat(&path, id),
                    None => self.directory_stat(&path),
                }
            })
            .collect()
    }

    /// What is known about `path`.
    pub fn stat(&self, path: &SecretPath) -> Result<Stat, VaultError> {
        match self.find(path)? {
            Some(Found::Directory) => self.directory_stat(path),
            Some(Found::Secret(id)) => self.secret_stat(path, id),
            None => Err(no_such(path)),
        }
    }

    fn directory_stat(&self, path: &SecretPath) -> Result<Stat, VaultError> {
        let made = match self
            .entry(path)?
            .and_then(|entry| entry.directories.first().copied())
        {
            Some(id) => stored::secret_row(self.rows, id)?.and_then(|row| row.made),
            None => None,
        };
        Ok(Stat {
            path: path.clone(),
            kind: EntryKind::Directory,
            size: 0,
            version: 0,
            versions: vec![],
            created: made,
            modified: None,
            author: None,
            attributes: BTreeMap::new(),
            secret: None,
            conflict: false,
        })
    }

    /// What is known about the secret `id`, which shows at `path`.
    pub fn secret_stat(&self, path: &SecretPath, id: SecretId) -> Result<Stat, VaultError> {
        self.stat_of(path, id, self.state(id)?)
    }

    /// The same of one in this state.
    fn stat_of(&self, path: &SecretPath, id: SecretId, state: State) -> Result<Stat, VaultError> {
        let (rank, number) = state.content().ok_or_else(|| no_such(path))?;
        let event = stored::event(self.rows, id, rank.version)?;
        let content = event.stored().map(|stored| stored.content);
        let content = content.ok_or(VaultError::IndexDamaged {
            what: "a version has no content",
        })?;
        Ok(Stat {
            path: path.clone(),
            kind: match content.kind {
                Kind::Raw => EntryKind::Raw,
                Kind::Record => EntryKind::Record,
            },
            size: content.size,
            version: number,
            versions: state.contents.iter().map(|(rank, _)| rank.version).collect(),
            created: stored::secret_row(self.rows, id)?.and_then(|row| row.made),
            modified: Some(event.time),
            author: Some(event.author),
            conflict: state.in_conflict(),
            attributes: state
                .attributes
                .into_iter()
                .map(|(key, (_, value))| (key, value))
                .collect(),
            secret: Some(id),
        })
    }

    /// A version's event, and its first object when that is in the database.
    pub fn content(
        &self,
        path: &SecretPath,
        id: SecretId,
        version: VersionId,
    ) -> Result<(Event, Option<Vec<u8>>), VaultError> {
        let event = stored::event(self.rows, id, version)?;
        let objects = event.stored().map_or(&[][..], |stored| stored.objects.as_slice());
        let Some(first) = objects.first() else {
            return Ok((event, None));
        };
        // What is purged is purged as a whole.
        match stored::object_row(self.rows, &first.id)? {
            Some(row) if row.is_gone() => Err(VaultError::Purged { path: path.clone() }),
            Some(ObjectRow::Inline(bytes)) => Ok((event, Some(bytes))),
            _ => Ok((event, None)),
        }
    }

    /// True when all of a version's content is here.
    fn is_here(&self, event: &Event) -> Result<bool, VaultError> {
        for object in event.stored().iter().flat_map(|stored| &stored.objects) {
            match stored::object_row(self.rows, &object.id)? {
                Some(ObjectRow::Inline(_) | ObjectRow::File) => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    /// The content version of a secret that `wanted` names.
    pub fn version(
        &self,
        path: &SecretPath,
        id: SecretId,
        wanted: &VersionRef,
    ) -> Result<VersionId, VaultError> {
        let none = || VaultError::NoSuchVersion {
            path: path.clone(),
            version: wanted.as_str().to_owned(),
        };
        let several = || VaultError::Ambiguous {
            text: wanted.as_str().to_owned(),
        };
        let versions = self.versions(id)?;
        if let Ok(number) = wanted.as_str().parse::<u64>() {
            let mut same = versions.iter().filter(|version| version.number == number);
            match (same.next(), same.next()) {
                (Some(one), None) => return Ok(one.event.version),
                // Side by side: the number alone does not say which.
                (Some(_), Some(_)) => return Err(several()),
                (None, _) => {}
            }
        }
        if wanted.as_str().len() < MIN_PREFIX_LEN {
            return Err(none());
        }
        let mut begun = versions
            .iter()
            .map(|version| version.event.version)
            .filter(|version| version.to_string().starts_with(wanted.as_str()));
        match (begun.next(), begun.next()) {
            (Some(one), None) => Ok(one),
            (Some(_), Some(_)) => Err(several()),
            (None, _) => Err(none()),
        }
    }

    /// Every content version of a secret, the highest first.
    pub fn versions(&self, id: SecretId) -> Result<Vec<Numbered>, VaultError> {
        let events = stored::events(self.rows, id)?;
        let within = match self.moment {
            Moment::Now => None,
            Moment::Past(horizon) => Some(horizon),
        };
        let standings = stored::standings(self.rows, &events, within)?;
        let numbers = fold::version_numbers(&events, &standings);
        let mut versions: Vec<_> = events
            .into_iter()
            .filter_map(|event| {
                let number = *numbers.get(&event.version)?;
                let counted = standings.get(&event.version.commit)?.counted;
                Some(Numbered {
                    number,
                    counted,
                    event,
                })
            })
            .collect();
        versions.sort_by_key(|version| std::cmp::Reverse(version.event.rank()));
        Ok(versions)
    }
}

/// A content version with its counter.
pub(crate) struct Numbered {
    pub number: u64,
    pub counted: bool,
    pub event: Event,
}

const SHORT_SUFFIX: usize = 8;
const LONG_SUFFIX: usize = 64;

/// `name~<start of id>`, the name cut where it would be too long.
fn aside_name(name: &str, id: SecretId, len: usize) -> String {
    let id = id.to_string();
    let room = MAX_SEGMENT_LEN - 1 - len;
    if name.len() <= room {
        return format!("{name}~{}", &id[..len]);
    }
    // A cut name could be that of several: only the whole id tells them apart.
    let room = MAX_SEGMENT_LEN - 1 - LONG_SUFFIX;
    let end = (0..=room.min(name.len()))
        .rev()
        .find(|at| name.is_char_boundary(*at));
    format!("{}~{id}", &name[..end.expect("0 is a boundary")])
}

fn segment(item: &[u8]) -> Result<Segment, VaultError> {
    let damaged = VaultError::IndexDamaged {
        what: "a name in a directory",
    };
    let Ok(text) = std::str::from_utf8(item) else {
        return Err(damaged);
    };
    Segment::parse(text).map_err(|_| damaged)
}
