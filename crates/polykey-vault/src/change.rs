//! Changes: several steps that become one commit, or nothing.
//!
//! A [`Change`] shows the vault as it will be: each step sees the ones before it. Only what differs in the
//! end becomes operations, so steps that cancel each other leave no trace and a change that alters nothing
//! makes no commit.
//!
//! Always: a step that fails has changed nothing. Start at [`Vault::change`](crate::Vault::change).

use std::collections::BTreeMap;
use std::io;

use polykey_core::{SecretPath, Segment};

use crate::attributes::{AttributeError, MAX_ATTRIBUTES};
use crate::content::{Content, Kind};
use crate::draft::{Draft, Handle, Standing};
use crate::error::VaultError;
use crate::event::State;
use crate::id::{CommitId, SecretId, VersionId};
use crate::reader::{ContentReader, Source};
use crate::record::Record;
use crate::rows::Rows;
use crate::stage::{Staged, Stager};
use crate::stored;
use crate::view::{self, EntryKind, Look, Moment, Stat, VersionRef, no_such};

/// What a write expects to find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// Anything, or nothing.
    Any,
    /// Nothing: the secret is made.
    Absent,
    /// A secret: it is not made.
    Present,
    /// A secret whose counter is this, and no versions side by side; 0 is no secret.
    Version(u64),
    /// Exactly these content versions, as [`Stat::versions`] told them.
    Replaces(Vec<VersionId>),
}

/// How far a removal goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// A secret or an empty directory.
    Single,
    /// Also a directory and all that is below.
    Recursive,
}

/// What happens to missing directories above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parents {
    /// They are needed.
    Needed,
    /// They are made, and a directory that is there already is no error.
    Made,
}

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The counter of the content.
    pub version: u64,
    /// True when there was no secret before.
    pub created: bool,
    /// False when the secret held the same bytes already.
    pub changed: bool,
}

/// A change of a vault while it is being put together.
pub struct Change<'t> {
    pub(crate) draft: Draft<'t>,
    /// The commit to which this change goes back.
    pub(crate) reset_to: Option<CommitId>,
    source: Source,
    stager: &'t Stager,
}

impl<'t> Change<'t> {
    pub(crate) fn new(rows: &'t dyn Rows, source: Source, stager: &'t Stager) -> Change<'t> {
        Change {
            draft: Draft::new(rows),
            reset_to: None,
            source,
            stager,
        }
    }

    /// Writes a secret; missing directories above need not be made.
    ///
    /// # Errors
    /// [`VaultError::IsDirectory`], [`VaultError::NotDirectory`]; what `expect` asks for:
    /// [`VaultError::Exists`], [`VaultError::NoSuchPath`], [`VaultError::VersionDiffers`],
    /// [`VaultError::InConflict`], [`VaultError::Changed`].
    pub fn put(&mut self, path: &SecretPath, staged: Staged, expect: &Expect) -> Result<Written, VaultError> {
        match self.draft.find(path)? {
            Standing::Directory => Err(VaultError::IsDirectory { path: path.clone() }),
            Standing::Secret(handle) => {
                self.check(path, handle, expect)?;
                self.write(path, handle, staged)
            }
            Standing::Nothing => {
                let missing = match expect {
                    Expect::Any | Expect::Absent | Expect::Version(0) => None,
                    Expect::Present => Some(no_such(path)),
                    Expect::Version(expected) => Some(VaultError::VersionDiffers {
                        path: path.clone(),
                        expected: *expected,
                        found: 0,
                    }),
                    Expect::Replaces(versions) => {
                        (!versions.is_empty()).then(|| VaultError::Changed { path: path.clone() })
                    }
                };
                if let Some(error) = missing {
                    return Err(error);
                }
                self.draft.check_above(path)?;
                let Some(handle) = self.draft.removed(path)? else {
                    self.draft.create(path, staged);
                    return Ok(Written {
                        version: 1,
                        created: true,
                        changed: true,
                    });
                };
                // A secret that was removed from here comes back with its history, but without the
                // attributes of its former life.
                let keys: Vec<String> = self.draft.attributes(handle)?.into_keys().collect();
                for key in keys {
                    self.draft.pending(handle)?.attributes.set(&key, None)?;
                }
                self.draft.place(handle, Some(path))?;
                let version = self.draft.number(handle)? + 1;
                self.draft.pending(handle)?.content = Some(staged);
                Ok(Written {
                    version,
                    created: true,
                    changed: true,
                })
            }
        }
    }

    fn check(&mut self, path: &SecretPath, handle: Handle, expect: &Expect) -> Result<(), VaultError> {
        let state = self.draft.before(handle)?;
        match expect {
            Expect::Any | Expect::Present => Ok(()),
            Expect::Absent => Err(VaultError::Exists { path: path.clone() }),
            Expect::Version(_) if state.in_conflict() => Err(VaultError::InConflict { path: path.clone() }),
            Expect::Version(expected) => {
                let found = self.draft.number(handle)?;
                if found == *expected {
                    return Ok(());
                }
                Err(VaultError::VersionDiffers {
                    path: path.clone(),
                    expected: *expected,
                    found,
                })
            }
            Expect::Replaces(versions) => {
                let mut versions = versions.clone();
                versions.sort();
                let found = state.content_versions();
                if found == versions && !self.draft.is_written(handle) {
                    Ok(())
                } else {
                    Err(VaultError::Changed { path: path.clone() })
                }
            }
        }
    }

    /// Gives a secret that stands somewhere new content.
    fn write(&mut self, path: &SecretPath, handle: Handle, staged: Staged) -> Result<Written, VaultError> {
        let state = self.draft.before(handle)?;
        let same = match (handle, state.contents.as_slice()) {
            (Handle::Known(id), [(rank, _)]) => self.content(id, rank.version)?.same_as(staged.content()),
            _ => false,
        };
        let settles = state.in_conflict();
        let before = state.content().map_or(0, |(_, number)| number);
        let pending = self.draft.pending(handle)?;
        // Writing back what the vault holds undoes an earlier step of this change.
        pending.content = (!same).then_some(staged);
        if settles {
            self.draft.settle_place(handle, path)?;
        }
        Ok(Written {
            version: before + u64::from(!same),
            created: false,
            changed: !same,
        })
    }

    fn content(&self, id: SecretId, version: VersionId) -> Result<Content, VaultError> {
        let event = stored::event(self.draft.rows(), id, version)?;
        event
            .stored()
            .map(|stored| stored.content)
            .ok_or(VaultError::IndexDamaged {
                what: "a version has no content",
            })
    }

    /// Stages a short text of bytes, for callers that have them at hand.
    ///
    /// # Errors
    /// As [`Vault::stage`](crate::Vault::stage).
    pub fn stage(&self, kind: Kind, bytes: &[u8]) -> Result<Staged, VaultError> {
        self.stager.stage(kind, &mut io::Cursor::new(bytes))
    }

    /// Writes a record; as [`Change::put`].
    ///
    /// # Errors
    /// [`VaultError::Record`]; as [`Change::put`].
    pub fn put_record(
        &mut self,
        path: &SecretPath,
        record: &Record,
        expect: &Expect,
    ) -> Result<Written, VaultError> {
        let bytes = record.encode()?;
        let staged = self.stage(Kind::Record, bytes.expose())?;
        self.put(path, staged, expect)
    }

    /// Removes a secret or a directory.
    ///
    /// # Errors
    /// [`VaultError::NoSuchPath`]; [`VaultError::NotEmpty`] for a directory that holds something and
    /// [`Depth::Single`].
    pub fn remove(&mut self, path: &SecretPath, depth: Depth) -> Result<(), VaultError> {
        match self.draft.find(path)? {
            Standing::Nothing => Err(no_such(path)),
            Standing::Secret(handle) => self.draft.remove(handle, path),
            Standing::Directory => {
                if depth == Depth::Single && self.draft.has_children(path)? {
                    return Err(VaultError::NotEmpty { path: path.clone() });
                }
                for (handle, place) in self.draft.below(path)? {
                    self.draft.remove(handle, &place)?;
                }
                Ok(())
            }
        }
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// [`VaultError::Exists`]; [`VaultError::NoSuchPath`] for a missing directory above;
    /// [`VaultError::NotDirectory`] when a secret stands above.
    pub fn mkdir(&mut self, path: &SecretPath, parents: Parents) -> Result<(), VaultError> {
        match (self.draft.find(path)?, parents) {
            (Standing::Directory, Parents::Made) => return Ok(()),
            (Standing::Nothing, _) => {}
            _ => return Err(VaultError::Exists { path: path.clone() }),
        }
        self.draft.check_above(path)?;
        let mut missing = vec![path.clone()];
        while let Some(dir) = missing.last().and_then(SecretPath::parent) {
            if self.draft.find(&dir)? != Standing::Nothing {
                break;
            }
            if parents == Parents::Needed {
                return Err(no_such(&dir));
            }
            missing.push(dir);
        }
        for dir in missing.iter().rev() {
            self.draft.make_directory(dir);
        }
        Ok(())
    }

    /// Moves a secret, or a directory with all that is below; missing directories above the new place need
    /// not be made.
    ///
    /// # Errors
    /// [`VaultError::NoSuchPath`], [`VaultError::Exists`], [`VaultError::NotDirectory`],
    /// [`VaultError::IntoItself`]; [`VaultError::Path`] when a path below becomes too long.
    pub fn rename(&mut self, from: &SecretPath, to: &SecretPath) -> Result<(), VaultError> {
        let found = self.draft.find(from)?;
        if found == Standing::Nothing {
            return Err(no_such(from));
        }
        if from == to {
            return Ok(());
        }
        let inside = to.strip_prefix(from).is_some();
        if from.is_root() || inside && found == Standing::Directory {
            return Err(VaultError::IntoItself { path: from.clone() });
        }
        if self.draft.find(to)? != Standing::Nothing {
            return Err(VaultError::Exists { path: to.clone() });
        }
        match found {
            Standing::Secret(handle) => {
                // A secret may move below its own former name: it makes room for the directory.
                let above = to.parent().unwrap_or_default();
                if above.strip_prefix(from).is_none() {
                    self.draft.check_above(to)?;
                }
                self.draft.place(handle, Some(to))
            }
            _ => {
                self.draft.check_above(to)?;
                let mut moves = Vec::new();
                for (handle, place) in self.draft.below(from)? {
                    let rest = place.strip_prefix(from).unwrap_or_default();
                    moves.push((handle, to.join_path(&rest)?));
                }
                for (handle, place) in moves {
                    self.draft.place(handle, Some(&place))?;
                }
                Ok(())
            }
        }
    }

    /// Copies a secret with its attributes to a path where nothing stands. The copy has objects and a
    /// history of its own.
    ///
    /// # Errors
    /// As [`Change::open`] and [`Change::put`] with [`Expect::Absent`].
    pub fn copy(&mut self, from: &SecretPath, to: &SecretPath) -> Result<Written, VaultError> {
        let attributes = self.stat(from)?.attributes;
        let mut content = self.open(from)?;
        let staged = self.stager.stage(content.kind(), &mut content)?;
        let written = self.put(to, staged, &Expect::Absent)?;
        for (key, value) in attributes {
            self.set_attribute(to, &key, Some(&value))?;
        }
        Ok(written)
    }

    /// Sets an attribute of a secret, or takes it away.
    ///
    /// # Errors
    /// [`VaultError::NoSuchPath`], [`VaultError::IsDirectory`], [`VaultError::Attribute`].
    pub fn set_attribute(
        &mut self,
        path: &SecretPath,
        key: &str,
        value: Option<&str>,
    ) -> Result<(), VaultError> {
        let handle = self.secret(path)?;
        let have = self.draft.attributes(handle)?;
        if value.is_some() && have.len() >= MAX_ATTRIBUTES && !have.contains_key(key) {
            return Err(AttributeError::TooMany.into());
        }
        self.draft.pending(handle)?.attributes.set(key, value)?;
        Ok(())
    }

    /// Makes the content of the secret at `path` equal to one of its earlier versions, by a new version; brings
    /// back the secret that was last removed from there.
    ///
    /// # Errors
    /// [`VaultError::NoSuchPath`], [`VaultError::NoSuchVersion`], [`VaultError::Purged`].
    pub fn restore(&mut self, path: &SecretPath, version: &VersionRef) -> Result<Written, VaultError> {
        let (handle, stands) = match self.draft.find(path)? {
            Standing::Directory => return Err(VaultError::IsDirectory { path: path.clone() }),
            Standing::Secret(handle) => (handle, true),
            Standing::Nothing => (self.draft.removed(path)?.ok_or_else(|| no_such(path))?, false),
        };
        let Handle::Known(id) = handle else {
            return Err(VaultError::NoSuchVersion {
                path: path.clone(),
                version: version.as_str().to_owned(),
            });
        };
        let version = self.look().version(path, id, version)?;
        let staged = self.stage_again(path, id, version)?;
        if !stands {
            self.draft.check_above(path)?;
            self.draft.place(handle, Some(path))?;
        }
        self.write(path, handle, staged)
    }

    /// Settles versions that stand side by side: `version` becomes the one content.
    ///
    /// # Errors
    /// As [`Change::restore`].
    pub fn resolve(&mut self, path: &SecretPath, version: &VersionRef) -> Result<Written, VaultError> {
        self.restore(path, version)
    }

    /// A copy of a stored version in objects of its own.
    pub(crate) fn stage_again(
        &self,
        path: &SecretPath,
        id: SecretId,
        version: VersionId,
    ) -> Result<Staged, VaultError> {
        let (event, first) = self.look().content(path, id, version)?;
        let mut content = view::reader(&self.source, path, &event, first)?;
        let kind = content.kind();
        match self.stager.stage(kind, &mut content) {
            // The reader's own error says more than that reading failed.
            Err(VaultError::Input(error)) => match error.downcast::<VaultError>() {
                Ok(inner) => Err(inner),
                Err(error) => Err(VaultError::Input(error)),
            },
            other => other,
        }
    }

    /// True when something stands at `path`.
    ///
    /// # Errors
    /// [`VaultError::Store`].
    pub fn exists(&mut self, path: &SecretPath) -> Result<bool, VaultError> {
        Ok(self.draft.find(path)? != Standing::Nothing)
    }

    /// What is known about `path` after the steps so far. What is not committed yet has no author, time,
    /// version ids or secret id.
    ///
    /// # Errors
    /// [`VaultError::NoSuchPath`].
    pub fn stat(&mut self, path: &SecretPath) -> Result<Stat, VaultError> {
        let mut stat = Stat {
            path: path.clone(),
            kind: EntryKind::Directory,
            size: 0,
            version: 0,
            versions: vec![],
            created: None,
            modified: None,
            author: None,
            attributes: BTreeMap::new(),
            secret: None,
            conflict: false,
        };
        let handle = match self.draft.find(path)? {
            Standing::Nothing => return Err(no_such(path)),
            Standing::Directory => return Ok(stat),
            Standing::Secret(handle) => handle,
        };
        if let Handle::Known(id) = handle {
            stat = self.look().secret_stat(path, id)?;
        }
        stat.attributes = self.draft.attributes(handle)?;
        let before = self.draft.number(handle)?;
        if let Some(staged) = &self.draft.pending(handle)?.content {
            stat.size = staged.size();
            stat.kind = match staged.kind() {
                Kind::Raw => EntryKind::Raw,
                Kind::Record => EntryKind::Record,
            };
            stat.version = before + 1;
            stat.versions = vec![];
            stat.modified = None;
            stat.author = None;
            stat.conflict = false;
        }
        Ok(stat)
    }

    /// The names in a directory after the steps so far.
    ///
    /// # Errors
    /// [`VaultError::NoSuchPath`], [`VaultError::NotDirectory`].
    pub fn names(&mut self, dir: &SecretPath) -> Result<Vec<view::Name>, VaultError> {
        match self.draft.find(dir)? {
            Standing::Nothing => return Err(no_such(dir)),
            Standing::Secret(_) => return Err(VaultError::NotDirectory { path: dir.clone() }),
            Standing::Directory => {}
        }
        let mut names = Vec::new();
        for name in self.draft.names(dir)? {
            let path = dir.join(&Segment::parse(&name)?)?;
            match self.draft.find(&path)? {
                Standing::Nothing => {}
                found => names.push(view::Name {
                    name,
                    directory: found == Standing::Directory,
                }),
            }
        }
        Ok(names)
    }

    /// Opens the content of a secret as it is after the steps so far.
    ///
    /// # Errors
    /// [`VaultError::NoSuchPath`], [`VaultError::IsDirectory`].
    pub fn open(&mut self, path: &SecretPath) -> Result<ContentReader, VaultError> {
        let handle = self.secret(path)?;
        if let Some(staged) = &self.draft.pending(handle)?.content {
            let objects = staged.objects().iter().map(|object| object.duplicate()).collect();
            return ContentReader::new(
                self.source.clone(),
                path.clone(),
                *staged.content(),
                objects,
                staged.inline().map(<[u8]>::to_vec),
            );
        }
        let Handle::Known(id) = handle else {
            return Err(no_such(path));
        };
        let state: State = self.draft.before(handle)?;
        let (rank, _) = state.content().ok_or_else(|| no_such(path))?;
        let (event, first) = self.look().content(path, id, rank.version)?;
        view::reader(&self.source, path, &event, first)
    }

    /// Reads a record as it is after the steps so far.
    ///
    /// # Errors
    /// [`VaultError::NotRecord`]; as [`Change::open`].
    pub fn record(&mut self, path: &SecretPath) -> Result<Record, VaultError> {
        let content = self.open(path)?;
        view::read_record(path, content)
    }

    fn secret(&mut self, path: &SecretPath) -> Result<Handle, VaultError> {
        match self.draft.find(path)? {
            Standing::Secret(handle) => Ok(handle),
            Standing::Directory => Err(VaultError::IsDirectory { path: path.clone() }),
            Standing::Nothing => Err(no_such(path)),
        }
    }

    pub(crate) fn look(&self) -> Look<'t> {
        Look {
            rows: self.draft.rows(),
            moment: &Moment::Now,
        }
    }
}
