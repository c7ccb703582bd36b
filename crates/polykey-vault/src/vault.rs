//! A vault on disk: a folder with a database and object files.
//!
//! [`Vault`] brings the parts together: the charter says who may write and gives the keys, [`Change`] puts a
//! commit together, [`index`](crate::index) takes it in, [`View`] shows the result.
//!
//! Always: a change that was acknowledged is durable; one that failed has left nothing. All calls block on
//! the disk. Start at [`Vault::create`] and [`Vault::open`].

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use polykey_core::codec::{Reader, Writer};
use polykey_core::random::random_array;
use polykey_core::statement::{Kind as StatementKind, Statement};
use polykey_core::{ActorId, Clock, Key, Random, Timestamp, VaultId};
use polykey_store::{Database, Disk, Objects, StoreEnv, StoreError, WriteTx};

use crate::change::Change;
use crate::charter::Charter;
use crate::charter::epoch::EpochKeys;
use crate::commit::{Body, Commit, Header, MAX_HEADS};
use crate::content::Kind;
use crate::draft::Step;
use crate::error::VaultError;
use crate::horizon::Horizon;
use crate::id::CommitId;
use crate::identity::Identity;
use crate::index::{self, Incoming, ObjectRow};
use crate::line;
use crate::message;
use crate::operation::{MAX_OPERATIONS, Operation, Subject};
use crate::reader::Source;
use crate::record::Record;
use crate::rows::{CHARTER, Rows, RowsMut, SELF};
use crate::stage::{Staged, Stager};
use crate::view::{At, Moment, View};

/// Format of `vault.db`.
const FORMAT: u64 = 1;
/// A commit of a change that must be split is closed before its body or header grows past this.
const SPLIT_LEN: usize = 2 << 20;

/// What a vault needs from outside.
#[derive(Clone)]
pub struct Env {
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Gives keys, nonces and ids.
    pub random: Arc<dyn Random>,
    /// Our own files.
    pub disk: Arc<dyn Disk>,
    /// What tells this machine and this copy of the files from any other. When it changes, the vault goes on
    /// under a new actor, so that a restored copy never forks its own line.
    pub machine: Vec<u8>,
}

/// An open vault. Clones are handles to the same one.
#[derive(Clone)]
pub struct Vault(Arc<Shared>);

pub(crate) struct Shared {
    folder: PathBuf,
    pub(crate) database: Database,
    pub(crate) objects: Objects,
    pub(crate) id: VaultId,
    actor: ActorId,
    pub(crate) me: Arc<Identity>,
    pub(crate) membership: RwLock<Membership>,
    pub(crate) stager: Stager,
    pub(crate) env: Env,
}

/// The charter and the keys that it gives us.
pub(crate) struct Membership {
    pub charter: Charter,
    pub keys: EpochKeys,
}

impl Vault {
    /// Makes a vault in `folder`, which is made or empty; the folder above must exist. `key` seals its database and
    /// must be its own.
    ///
    /// # Errors
    /// [`VaultError::Store`]; [`VaultError::Charter`].
    pub fn create(folder: &Path, key: &Key, me: Arc<Identity>, env: Env) -> Result<Vault, VaultError> {
        let (charter, genesis, keys) = Charter::create(me.signer(), me.keys(), env.clock.now(), &*env.random)
            .map_err(|source| VaultError::Charter(Box::new(source)))?;
        let io = |doing, path: &Path, source| StoreError::Io {
            doing,
            path: path.to_owned(),
            source,
        };
        match env.disk.create_dir(folder) {
            // The place of a disk or a folder that was made for it; the database does not overwrite anything.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            made => made.map_err(|source| io("make the folder", folder, source))?,
        }
        let objects = Objects::open(env.disk.clone(), &folder.join(OBJECTS), env.random.clone())?;
        let database = Database::create(&folder.join(DATABASE), key, &store_env(&env))?;
        let id = charter.id();
        let actor = ActorId::from_bytes(random_array(&*env.random));
        database.write(|tx| {
            put_self(tx, &id, &actor, &env.machine)?;
            store_entry(tx, 0, &genesis)
        })?;
        if let Some(above) = folder.parent().filter(|above| !above.as_os_str().is_empty()) {
            env.disk
                .sync_dir(above)
                .map_err(|source| io("sync the folder", above, source))?;
        }
        Ok(Vault::assemble(
            folder,
            database,
            objects,
            id,
            actor,
            me,
            Membership { charter, keys },
            env,
        ))
    }

    /// Opens the vault in `folder` with the key that it was created with.
    ///
    /// # Errors
    /// [`VaultError::Store`] when files are missing, damaged or in use; [`VaultError::IndexDamaged`].
    pub fn open(folder: &Path, key: &Key, me: Arc<Identity>, env: Env) -> Result<Vault, VaultError> {
        let database = Database::open(&folder.join(DATABASE), key, &store_env(&env))?;
        let objects = Objects::open(env.disk.clone(), &folder.join(OBJECTS), env.random.clone())?;
        let (id, mut actor, machine, charter) = database.read(|tx| {
            let (id, actor, machine) = read_self(tx)?;
            Ok::<_, VaultError>((id, actor, machine, load_charter(tx)?))
        })?;
        if charter.id() != id {
            return Err(VaultError::IndexDamaged {
                what: "the charter is another vault's",
            });
        }
        if machine != env.machine {
            // A copy: two programs that go on with one line would fork it.
            actor = ActorId::from_bytes(random_array(&*env.random));
            database.write(|tx| put_self(tx, &id, &actor, &env.machine))?;
        }
        let keys = me.with_opener(|opener| EpochKeys::open(&charter, opener));
        Ok(Vault::assemble(
            folder,
            database,
            objects,
            id,
            actor,
            me,
            Membership { charter, keys },
            env,
        ))
    }

    #[allow(clippy::too_many_arguments)]
    fn assemble(
        folder: &Path,
        database: Database,
        objects: Objects,
        id: VaultId,
        actor: ActorId,
        me: Arc<Identity>,
        membership: Membership,
        env: Env,
    ) -> Vault {
        Vault(Arc::new(Shared {
            folder: folder.to_owned(),
            stager: Stager::new(id, objects.clone(), env.random.clone()),
            database,
            objects,
            id,
            actor,
            me,
            membership: RwLock::new(membership),
            env,
        }))
    }

    /// The vault's id.
    pub fn id(&self) -> VaultId {
        self.0.id
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.0.folder
    }

    /// The actor that this node writes as.
    pub fn actor(&self) -> ActorId {
        self.0.actor
    }

    /// Closes the vault for all handles.
    ///
    /// # Errors
    /// [`VaultError::Store`] when the log could not be copied into the file; what was acknowledged is safe.
    pub fn close(&self) -> Result<(), VaultError> {
        Ok(self.0.database.close()?)
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.0
    }

    /// Seals raw content from a stream of any length, in constant memory. It is named by no commit until a
    /// change takes it; dropped before, it is removed again.
    ///
    /// # Errors
    /// [`VaultError::Input`], [`VaultError::TooLarge`], [`VaultError::Store`].
    pub fn stage(&self, from: &mut dyn Read) -> Result<Staged, VaultError> {
        self.0.stager.stage(Kind::Raw, from)
    }

    /// Seals a record.
    ///
    /// # Errors
    /// [`VaultError::Record`]; as [`Vault::stage`].
    pub fn stage_record(&self, record: &Record) -> Result<Staged, VaultError> {
        let bytes = record.encode()?;
        self.0.stager.stage(Kind::Record, &mut bytes.expose())
    }

    /// Makes one change: `steps` puts it together, and all of it becomes durable, or nothing. A change that
    /// alters nothing makes no commit. A very large one makes several, which become visible together; the
    /// last is returned. Without a `message` one is made that names what was done.
    ///
    /// # Errors
    /// Those of `steps`; [`VaultError::NotAllowed`], [`VaultError::Store`].
    ///
    /// # Panics
    /// When `steps` calls this vault other than through the change.
    pub fn change<T, E>(
        &self,
        message: Option<&str>,
        steps: impl FnOnce(&mut Change<'_>) -> Result<T, E>,
    ) -> Result<(T, Option<CommitId>), E>
    where
        E: From<VaultError>,
    {
        let made = self.0.database.write(|tx| {
            let mut change = Change::new(tx, self.0.source(false), &self.0.stager);
            let value = steps(&mut change).map_err(Outer)?;
            let reset_to = change.reset_to.take();
            let made = change.draft.finish();
            let id = self
                .0
                .commit(tx, made, message, reset_to)
                .map_err(|error| Outer(error.into()))?;
            Ok((value, id))
        });
        made.map_err(|Outer(error)| error)
    }

    /// The vault at a moment.
    ///
    /// # Errors
    /// [`VaultError::NoSuchCommit`].
    pub fn view(&self, at: At) -> Result<View, VaultError> {
        let moment = self.moment(at)?;
        Ok(View {
            database: self.0.database.clone(),
            source: self.0.source(true),
            moment,
        })
    }
    pub(crate) fn moment(&self, at: At) -> Result<Moment, VaultError> {
        let database = &self.0.database;
        match at {
            At::Now => Ok(Moment::Now),
            At::Commit(id) => database.read(|tx| {
                let row = index::commit_row(tx, id)?;
                let row = row.ok_or_else(|| VaultError::NoSuchCommit {
                    commit: id.to_string(),
                })?;
                Ok(Moment::Past(row.horizon))
            }),
            At::Time(time) => database.read(|tx| horizon_at(tx, time)).map(Moment::Past),
        }
    }
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault")
            .field("id", &self.0.id)
            .finish_non_exhaustive()
    }
}

const DATABASE: &str = "vault.db";
const OBJECTS: &str = "objects";

/// Carries a caller's error through the store.
struct Outer<E>(E);

impl<E: From<VaultError>> From<StoreError> for Outer<E> {
    fn from(error: StoreError) -> Self {
        Outer(VaultError::from(error).into())
    }
}

fn store_env(env: &Env) -> StoreEnv {
    StoreEnv {
        random: env.random.clone(),
        ..StoreEnv::default()
    }
}

fn put_self(rows: &mut dyn RowsMut, id: &VaultId, actor: &ActorId, machine: &[u8]) -> Result<(), VaultError> {
    let mut out = Writer::new();
    out.array(4)
        .u64(FORMAT)
        .bytes(id.as_bytes())
        .bytes(actor.as_bytes())
        .bytes(machine);
    Ok(rows.put(SELF, b"", b"", &out.finish())?)
}

fn read_self(rows: &dyn Rows) -> Result<(VaultId, ActorId, Vec<u8>), VaultError> {
    let value = rows.value(SELF, b"", b"")?.ok_or(VaultError::IndexDamaged {
        what: "it does not say which vault it is",
    })?;
    let mut from = Reader::new(value.expose(), 1 << 16, "the vault's own row")?;
    from.array_of(4)?;
    if from.u64()? != FORMAT {
        return Err(VaultError::IndexDamaged {
            what: "it has a format that this program does not know",
        });
    }
    let row = (
        VaultId::from_bytes(from.bytes_of()?),
        ActorId::from_bytes(from.bytes_of()?),
        from.bytes()?.to_vec(),
    );
    from.finish()?;
    Ok(row)
}

/// Stores charter entry number `number`; entries are numbered in an order in which parents come first.
pub(crate) fn store_entry(rows: &mut dyn RowsMut, number: u64, entry: &Statement) -> Result<(), VaultError> {
    Ok(rows.put(CHARTER, b"", &number.to_be_bytes(), entry.as_bytes())?)
}

fn load_charter(rows: &dyn Rows) -> Result<Charter, VaultError> {
    let damaged = || VaultError::IndexDamaged {
        what: "an entry of the charter",
    };
    let mut entries = Vec::new();
    rows.each(CHARTER, b"", &mut |item, value| {
        entries.push((item, value.expose().to_vec()));
        Ok(std::ops::ControlFlow::Continue(()))
    })?;
    entries.sort();
    let mut entries = entries
        .into_iter()
        .map(|(_, bytes)| Statement::accept_unverified(StatementKind::Charter, bytes).map_err(|_| damaged()));
    let genesis = entries.next().ok_or_else(damaged)??;
    let mut charter = Charter::found(genesis).map_err(|_| damaged())?;
    for entry in entries {
        charter.insert(entry?).map_err(|_| damaged())?;
    }
    Ok(charter)
}

/// What had been committed at `time`, by the clocks of those who wrote: of each line all up to the last
/// commit that is not later, found by halving, as a line's times ascend.
fn horizon_at(rows: &dyn Rows, time: Timestamp) -> Result<Horizon, VaultError> {
    let mut horizon = Horizon::default();
    for (line, tip) in line::tips(rows)? {
        let (mut low, mut high) = (0, tip.seq);
        let mut found = None;
        while low < high {
            let middle = high - (high - low) / 2;
            let id = line::commit_at(rows, &line, middle)?.ok_or(VaultError::IndexDamaged {
                what: "a line of commits has a gap",
            })?;
            let row = index::commit_row(rows, id)?.ok_or(VaultError::CommitDamaged { commit: id })?;
            if row.time <= time {
                low = middle;
                found = Some(row.horizon);
            } else {
                high = middle - 1;
            }
        }
        if let Some(seen) = found {
            horizon.merge(&seen);
        }
    }
    Ok(horizon)
}

impl Shared {
    pub(crate) fn source(&self, with_database: bool) -> Source {
        Source {
            vault: self.id,
            database: with_database.then(|| self.database.clone()),
            objects: self.objects.clone(),
        }
    }

    /// Opens the body of a stored commit; `None` when it makes no sense.
    pub(crate) fn open_body(&self, commit: &Commit) -> Result<Option<Body>, VaultError> {
        let membership = self.membership.read().unwrap_or_else(|e| e.into_inner());
        let key = membership
            .keys
            .commit_key(&membership.charter, &commit.header().charter_heads)
            .map_err(|source| VaultError::Charter(Box::new(source.into())))?;
        match commit.open(&key) {
            Ok(body) => Ok(Some(body)),
            Err(crate::commit::CommitError::Malformed(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Turns steps into commits and takes them in. The commits of one change follow each other.
    fn commit(
        &self,
        tx: &mut WriteTx<'_>,
        mut steps: Vec<Step>,
        message: Option<&str>,
        reset_to: Option<CommitId>,
    ) -> Result<Option<CommitId>, VaultError> {
        if steps.is_empty() {
            return Ok(None);
        }
        let membership = self.membership.read().unwrap_or_else(|e| e.into_inner());
        let charter = &membership.charter;
        if !charter.role(&self.me.node()).is_some_and(|role| role.writes()) {
            return Err(VaultError::NotAllowed { action: "write" });
        }
        let charter_heads = charter.heads();
        let key = membership
            .keys
            .commit_key(charter, &charter_heads)
            .map_err(|source| VaultError::Charter(Box::new(source.into())))?;
        let parts = split(&steps);
        let text = match message {
            Some(message) => message::bounded(message.to_owned()),
            None => message::message(&steps),
        };
        let mut last = None;
        for (number, part) in parts.iter().enumerate() {
            let message = match parts.len() {
                1 => text.clone(),
                parts => message::bounded(format!("part {} of {parts}: {text}", number + 1)),
            };
            let steps = &mut steps[part.clone()];
            last = Some(self.commit_part(tx, steps, message, reset_to, &charter_heads, &key)?);
        }
        for step in &mut steps {
            if let Some(staged) = &mut step.staged {
                staged.keep();
            }
        }
        Ok(last)
    }

    fn commit_part(
        &self,
        tx: &mut WriteTx<'_>,
        steps: &mut [Step],
        message: String,
        reset_to: Option<CommitId>,
        charter_heads: &[polykey_core::StatementId],
        key: &Key,
    ) -> Result<CommitId, VaultError> {
        let tips = line::tips(&*tx)?;
        let mut parents = line::heads(&*tx, &tips)?;
        parents.truncate(MAX_HEADS);
        let line = line::line_of(&self.me.node(), &self.actor);
        let own = tips.iter().find(|(of, _)| *of == line).map(|(_, tip)| tip);
        // A line's times ascend, so that the state at a time can be found by halving.
        let mut time = self.env.clock.now();
        if let Some(tip) = own {
            let row = index::commit_row(&*tx, tip.last())?;
            time = time.max(row.map_or(time, |row| row.time));
        }
        let mut operations = Vec::new();
        let mut objects = Vec::new();
        let mut keys = Vec::new();
        let mut places = HashMap::new();
        for step in steps {
            let first = u32::try_from(operations.len()).expect("operations are bounded");
            operations.extend(step.operations.drain(..).map(|operation| match operation {
                Operation::SetAttributes {
                    of: Subject::Made(at),
                    changes,
                } => Operation::SetAttributes {
                    of: Subject::Made(first + at),
                    changes,
                },
                other => other,
            }));
            if let Some(staged) = &step.staged {
                for object in staged.objects() {
                    objects.push((object.id, object.size));
                    keys.push(object.key.duplicate());
                    let row = staged
                        .inline()
                        .map_or(ObjectRow::File, |bytes| ObjectRow::Inline(bytes.to_vec()));
                    places.insert(object.id, row);
                }
            }
        }
        let header = Header {
            vault: self.id,
            actor: self.actor,
            seq: own.map_or(1, |tip| tip.seq + 1),
            previous: own.map(|tip| tip.last()),
            author: self.me.node(),
            parents,
            charter_heads: charter_heads.to_vec(),
            objects,
        };
        let body = Body {
            time,
            message,
            reset_to,
            operations,
            keys,
        };
        let commit = Commit::seal(header, &body, key, self.me.signer(), &*self.env.random)
            .map_err(|_| VaultError::ChangeTooLarge)?;
        let incoming = Incoming {
            commit: &commit,
            body: Some(&body),
            counted: true,
            objects: places,
        };
        index::insert(tx, incoming, &|commit| self.open_body(commit))?;
        Ok(commit.id())
    }
}

/// Cuts steps into ranges that fit one commit each.
fn split(steps: &[Step]) -> Vec<std::ops::Range<usize>> {
    let mut parts = Vec::new();
    let (mut start, mut len, mut operations) = (0, 0, 0);
    for (at, step) in steps.iter().enumerate() {
        let here = step_len(step);
        let count = step.operations.len();
        if at > start && (len + here > SPLIT_LEN || operations + count > MAX_OPERATIONS / 2) {
            parts.push(start..at);
            (start, len, operations) = (at, 0, 0);
        }
        len += here;
        operations += count;
    }
    parts.push(start..steps.len());
    parts
}

/// At most how long a step is in a commit's body or header.
fn step_len(step: &Step) -> usize {
    let objects = step.staged.as_ref().map_or(0, |staged| staged.objects().len());
    let operations: usize = step
        .operations
        .iter()
        .map(|operation| match operation {
            Operation::Create { at, .. } | Operation::MakeDirectory { at } => at.as_str().len(),
            Operation::Put { replaces, .. } | Operation::Remove { replaces, .. } => replaces.len() * 42,
            Operation::Move { replaces, to, .. } => replaces.len() * 42 + to.as_str().len(),
            Operation::SetAttributes { changes, .. } => changes
                .iter()
                .map(|(key, value)| key.len() + value.map_or(0, str::len) + 10)
                .sum(),
        })
        .sum();
    operations + step.operations.len() * 100 + objects * 48
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::{Trial, key, open, path, staged};
    use crate::{Depth, Expect, Parents, VersionRef};

    #[test]
    fn secrets_of_every_size_come_back_byte_for_byte() {
        let trial = Trial::new();
        let sizes = [
            0, 1, 255, 256, 257, 16_000, 16_344, 16_345, 20_000, 262_103, 262_104, 262_105, 1_000_000,
        ];
        for size in sizes {
            let bytes: Vec<u8> = (0..size).map(|i: u32| (i % 251) as u8).collect();
            trial.write(&format!("size/{size}"), &bytes);
        }
        let trial = trial.reopen();
        for size in sizes {
            let bytes: Vec<u8> = (0..size).map(|i: u32| (i % 251) as u8).collect();
            assert!(
                trial.read(&format!("size/{size}")).expect("there") == bytes,
                "{size}"
            );
        }
    }

    #[test]
    fn a_change_that_alters_nothing_makes_no_commit() {
        let trial = Trial::new();
        trial.write("a", b"one");
        let unchanged = |steps: &dyn Fn(&mut Change<'_>) -> Result<(), VaultError>| {
            let (_, commit) = trial.change(None, |change| steps(change)).expect("allowed");
            assert_eq!(commit, None);
        };
        unchanged(&|_| Ok(()));
        unchanged(&|change| {
            let same = staged(change, b"one")?;
            assert!(!change.put(&path("a"), same, &Expect::Any)?.changed);
            Ok(())
        });
        unchanged(&|change| {
            change.rename(&path("a"), &path("b"))?;
            change.rename(&path("b"), &path("a"))
        });
        unchanged(&|change| {
            let other = staged(change, b"two")?;
            change.put(&path("new"), other, &Expect::Any)?;
            change.remove(&path("new"), Depth::Single)
        });
    }

    #[test]
    fn a_change_that_fails_leaves_nothing() {
        let trial = Trial::new();
        let failed = trial.change(None, |change| {
            let content = staged(change, b"x")?;
            change.put(&path("a"), content, &Expect::Any)?;
            change.remove(&path("missing"), Depth::Single)
        });
        assert!(matches!(failed, Err(VaultError::NoSuchPath { .. })));
        assert!(trial.paths().is_empty());
    }

    #[test]
    fn steps_see_the_ones_before_them() {
        let trial = Trial::new();
        trial.write("d/old", b"1");
        let (_, commit) = trial
            .change(None, |change| {
                let content = staged(change, b"2")?;
                change.put(&path("d/new"), content, &Expect::Absent)?;
                change.rename(&path("d"), &path("e"))?;
                change.mkdir(&path("d"), Parents::Needed)?;
                assert_eq!(change.names(&path("e"))?.len(), 2);
                assert_eq!(change.open(&path("e/new"))?.into_bytes(9)?.expose(), b"2");
                assert_eq!(change.open(&path("e/old"))?.into_bytes(9)?.expose(), b"1");
                assert!(!change.exists(&path("d/old"))?);
                Ok::<_, VaultError>(())
            })
            .expect("allowed");
        assert!(commit.is_some());
        assert_eq!(trial.paths(), ["d/", "e/", "e/new", "e/old"]);
    }

    #[test]
    fn expectations_hold_or_the_write_fails() {
        let trial = Trial::new();
        let put = |expect: Expect| {
            trial.change(None, |change| {
                let content = staged(change, format!("{expect:?}").as_bytes())?;
                change.put(&path("a"), content, &expect)
            })
        };
        assert!(matches!(put(Expect::Present), Err(VaultError::NoSuchPath { .. })));
        assert!(matches!(
            put(Expect::Version(1)),
            Err(VaultError::VersionDiffers { found: 0, .. })
        ));
        assert!(put(Expect::Version(0)).is_ok());
        assert!(matches!(put(Expect::Absent), Err(VaultError::Exists { .. })));
        let versions = trial
            .view(At::Now)
            .expect("now")
            .stat(&path("a"))
            .expect("there")
            .versions;
        assert_eq!(put(Expect::Version(1)).expect("it is").0.version, 2);
        assert!(matches!(
            put(Expect::Version(1)),
            Err(VaultError::VersionDiffers { found: 2, .. })
        ));
        assert!(matches!(
            put(Expect::Replaces(versions)),
            Err(VaultError::Changed { .. })
        ));
    }

    #[test]
    fn what_was_removed_comes_back_with_its_history() {
        let trial = Trial::new();
        trial.write("a", b"one");
        trial.write("a", b"two");
        trial
            .change(None, |change| change.remove(&path("a"), Depth::Single))
            .expect("removed");
        assert!(matches!(trial.read("a"), Err(VaultError::NoSuchPath { .. })));
        let restored = trial.change(None, |change| change.restore(&path("a"), &VersionRef::number(1)));
        assert_eq!(
            restored.map_err(|e: VaultError| e).expect("restored").0.version,
            3
        );
        assert_eq!(trial.read("a").expect("there"), b"one");
        trial
            .change(None, |change| change.remove(&path("a"), Depth::Single))
            .expect("removed");
        assert_eq!(trial.write("a", b"new"), 4);
    }

    #[test]
    fn views_of_the_past_show_the_past() {
        let trial = Trial::new();
        let mut moments = vec![];
        let mut step = |steps: &dyn Fn(&mut Change<'_>) -> Result<(), VaultError>| {
            let (_, commit) = trial.change(None, |change| steps(change)).expect("allowed");
            moments.push((commit.expect("something changed"), trial.tree(At::Now)));
        };
        let put = |at: &'static str, bytes: &'static [u8]| {
            move |change: &mut Change<'_>| {
                let content = staged(change, bytes)?;
                change.put(&path(at), content, &Expect::Any).map(drop)
            }
        };
        step(&put("d/a", b"1"));
        step(&put("d/b", b"2"));
        step(&put("d/a", b"3"));
        step(&|change| change.rename(&path("d"), &path("e/f")));
        step(&|change| change.remove(&path("e"), Depth::Recursive));
        step(&put("d/a", b"4"));
        for (commit, tree) in &moments {
            assert_eq!(&trial.tree(At::Commit(*commit)), tree);
        }
    }

    #[test]
    fn one_folder_is_one_vault_with_one_key() {
        let trial = Trial::new();
        trial.write("a", b"x");
        assert!(matches!(
            open(&trial.folder()),
            Err(VaultError::Store(StoreError::Busy { .. }))
        ));
        trial.vault.close().expect("closes");
        let wrong = Vault::open(
            &trial.folder(),
            &Key::from_array([9; 32]),
            crate::trial::identity(1),
            crate::trial::env(),
        );
        assert!(matches!(
            wrong,
            Err(VaultError::Store(StoreError::WrongKey { .. }))
        ));
        let again = Vault::create(
            &trial.folder(),
            &key(),
            crate::trial::identity(1),
            crate::trial::env(),
        );
        assert!(again.is_err());
    }
}
