//! A vault on disk: a folder with a database and object files.
//!
//! [`Vault`] brings the parts together: the charter says who may write and gives the keys, [`Change`] puts a
//! commit together, [`index`](crate::index) takes it in, [`View`] shows the result.
//!
//! Always: a change that was acknowledged is durable; one that failed has left nothing. All calls block on
//! the disk. Start at [`Vault::create`] and [`Vault::open`].

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use polykey_core::random::random_array;
use polykey_core::statement::Statement;
use polykey_core::{ActorId, Clock, Key, NodeId, Random, Timestamp, VaultId};
use polykey_store::{Database, Disk, Objects, StoreEnv, StoreError, WriteTx};

use crate::change::Change;
use crate::charter::Charter;
use crate::charter::epoch::EpochKeys;
use crate::commit::{Body, Commit};
use crate::content::Kind;
use crate::copy::{load_charter, put_self, read_self, store_entry};
use crate::draft::Step;
use crate::error::VaultError;
use crate::horizon::Horizon;
use crate::id::CommitId;
use crate::identity::Identity;
use crate::index::{Court, Opened};
use crate::line;
use crate::pen::{Bench, Note, Pen};
use crate::reader::Source;
use crate::record::Record;
use crate::rows::{Rows, RowsMut};
use crate::stage::{Staged, Stager};
use crate::stored;
use crate::view::{At, Moment, View, Written};

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
    actor: RwLock<ActorId>,
    /// Who acts; nobody in a keeper's copy.
    me: RwLock<Option<Arc<Identity>>>,
    pub(crate) membership: RwLock<Arc<Membership>>,
    pub(crate) stager: Stager,
    pub(crate) env: Env,
    told: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// The charter and the keys that it gives us.
pub(crate) struct Membership {
    pub charter: Charter,
    pub keys: EpochKeys,
}

impl Membership {
    /// Who says what counts.
    pub fn bench(&self) -> Bench<'_> {
        Bench {
            charter: &self.charter,
            keys: &self.keys,
        }
    }
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
        Vault::found(folder, key, Some(me), env, &genesis, Membership { charter, keys })
    }

    /// Makes a replica of another node's vault in `folder`, as [`Vault::create`] does. It starts with genesis
    /// alone; all else comes with the first pull. The caller has checked that it is the vault that was meant.
    ///
    /// # Errors
    /// [`VaultError::Store`]; [`VaultError::Charter`] when `genesis` is none.
    pub fn join(
        folder: &Path,
        key: &Key,
        me: Arc<Identity>,
        env: Env,
        genesis: &Statement,
    ) -> Result<Vault, VaultError> {
        let charter =
            Charter::found(genesis.clone()).map_err(|source| VaultError::Charter(Box::new(source.into())))?;
        let keys = epoch_keys(Some(&me), &charter);
        Vault::found(folder, key, Some(me), env, genesis, Membership { charter, keys })
    }

    pub(crate) fn found(
        folder: &Path,
        key: &Key,
        me: Option<Arc<Identity>>,
        env: Env,
        genesis: &Statement,
        membership: Membership,
    ) -> Result<Vault, VaultError> {
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
        let id = membership.charter.id();
        let actor = ActorId::from_bytes(random_array(&*env.random));
        database.write(|tx| {
            put_self(tx, &id, &actor, &env.machine)?;
            store_entry(tx, 0, genesis)
        })?;
        if let Some(above) = folder.parent().filter(|above| !above.as_os_str().is_empty()) {
            env.disk
                .sync_dir(above)
                .map_err(|source| io("sync the folder", above, source))?;
        }
        Ok(Vault::assemble(
            folder, database, objects, id, actor, me, membership, env,
        ))
    }

    /// Opens the vault in `folder` with the key that it was created with.
    ///
    /// # Errors
    /// [`VaultError::Store`] when files are missing, damaged or in use; [`VaultError::IndexDamaged`].
    pub fn open(folder: &Path, key: &Key, me: Arc<Identity>, env: Env) -> Result<Vault, VaultError> {
        Vault::open_as(folder, key, Some(me), env)
    }

    pub(crate) fn open_as(
        folder: &Path,
        key: &Key,
        me: Option<Arc<Identity>>,
        env: Env,
    ) -> Result<Vault, VaultError> {
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
        let keys = epoch_keys(me.as_deref(), &charter);
        let vault = Vault::assemble(
            folder,
            database,
            objects,
            id,
            actor,
            me,
            Membership { charter, keys },
            env,
        );
        vault.0.open_closed()?;
        vault.clean_at_opening();
        Ok(vault)
    }

    #[allow(clippy::too_many_arguments)]
    fn assemble(
        folder: &Path,
        database: Database,
        objects: Objects,
        id: VaultId,
        actor: ActorId,
        me: Option<Arc<Identity>>,
        membership: Membership,
        env: Env,
    ) -> Vault {
        Vault(Arc::new(Shared {
            folder: folder.to_owned(),
            stager: Stager::new(id, objects.clone(), env.random.clone()),
            database,
            objects,
            id,
            actor: RwLock::new(actor),
            me: RwLock::new(me),
            membership: RwLock::new(Arc::new(membership)),
            env,
            told: OnceLock::new(),
        }))
    }

    /// The vault's id.
    pub fn id(&self) -> VaultId {
        self.0.id
    }

    /// The role of the identity that the vault was opened with; `None` when it is no member.
    pub fn my_role(&self) -> Option<crate::charter::Role> {
        self.0.membership().charter.role(&self.0.me()?.node())
    }

    /// As whom this copy of the vault is held; nobody for a copy without keys.
    pub fn me(&self) -> Option<NodeId> {
        self.0.me().map(|me| me.node())
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.0.folder
    }

    /// The actor that this node writes as.
    pub fn actor(&self) -> ActorId {
        self.0.actor()
    }

    /// Bytes of the database with its log.
    pub(crate) fn database_len(&self) -> Result<u64, VaultError> {
        let mut len = 0;
        for name in [DATABASE.to_owned(), format!("{DATABASE}-wal")] {
            let path = self.0.folder.join(name);
            let found = self.0.env.disk.look(&path).map_err(|source| StoreError::Io {
                doing: "look at",
                path,
                source,
            })?;
            if let Some(polykey_store::Entry::File(bytes)) = found {
                len += bytes;
            }
        }
        Ok(len)
    }

    /// Closes the vault for all handles.
    ///
    /// # Errors
    /// [`VaultError::Store`] when the log could not be copied into the file; what was acknowledged is safe.
    pub fn close(&self) -> Result<(), VaultError> {
        Ok(self.0.database.close()?)
    }

    /// Has `told` called after each change of what the vault holds, of our own or from elsewhere, on the thread
    /// that made it. It must not wait, nor use the vault. The first that is given stays.
    pub fn on_change(&self, told: impl Fn() + Send + Sync + 'static) {
        let _ = self.0.told.set(Box::new(told));
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
        self.change_in(false, message, steps)
    }

    /// As [`Vault::change`], for changes that only remove: they must go through on a full disk, too.
    ///
    /// # Errors
    /// As [`Vault::change`].
    ///
    /// # Panics
    /// As [`Vault::change`].
    pub fn change_removing<T, E>(
        &self,
        message: Option<&str>,
        steps: impl FnOnce(&mut Change<'_>) -> Result<T, E>,
    ) -> Result<(T, Option<CommitId>), E>
    where
        E: From<VaultError>,
    {
        self.change_in(true, message, steps)
    }

    fn change_in<T, E>(
        &self,
        removing: bool,
        message: Option<&str>,
        steps: impl FnOnce(&mut Change<'_>) -> Result<T, E>,
    ) -> Result<(T, Option<CommitId>), E>
    where
        E: From<VaultError>,
    {
        let job = |tx: &mut WriteTx<'_>| {
            let mut change = Change::new(tx, self.0.source(false), &self.0.stager);
            let value = steps(&mut change).map_err(Outer)?;
            let reset_to = change.reset_to.take();
            let made = change.draft.finish();
            let id = self
                .0
                .commit(tx, made, &Note { message, reset_to })
                .map_err(|error| Outer(error.into()))?;
            Ok((value, id))
        };
        let database = &self.0.database;
        let made = match removing {
            true => database.write_removal(job),
            false => database.write(job),
        };
        if let Ok((_, Some(_))) = &made {
            self.0.tell();
        }
        made.map_err(|Outer(error)| error)
    }

    /// The vault at a moment. At a commit that is set aside, what it wrote shows at exactly its path.
    ///
    /// # Errors
    /// [`VaultError::NoSuchCommit`].
    pub fn view(&self, at: At) -> Result<View, VaultError> {
        let moment = self.moment(at)?;
        let written = match at {
            At::Commit(commit) => self.written_aside(commit)?,
            At::Now | At::Time(_) => Written::default(),
        };
        Ok(View {
            database: self.0.database.clone(),
            source: self.0.source(true),
            moment,
            written,
        })
    }

    pub(crate) fn moment(&self, at: At) -> Result<Moment, VaultError> {
        let database = &self.0.database;
        match at {
            At::Now => Ok(Moment::Now),
            At::Commit(id) => database.read(|tx| {
                let row = stored::commit_row(tx, id)?;
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

/// The epoch keys that were sealed to `me`.
pub(crate) fn epoch_keys(me: Option<&Identity>, charter: &Charter) -> EpochKeys {
    match me {
        Some(me) => me.with_opener(|opener| EpochKeys::open(charter, opener)),
        None => EpochKeys::default(),
    }
}

fn store_env(env: &Env) -> StoreEnv {
    StoreEnv {
        random: env.random.clone(),
        ..StoreEnv::default()
    }
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
            let row = stored::commit_row(rows, id)?.ok_or(VaultError::CommitDamaged { commit: id })?;
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
    /// Tells whoever wants to know that the vault holds something else now.
    pub(crate) fn tell(&self) {
        if let Some(told) = self.told.get() {
            told();
        }
    }

    pub(crate) fn source(&self, with_database: bool) -> Source {
        Source {
            vault: self.id,
            database: with_database.then(|| self.database.clone()),
            objects: self.objects.clone(),
        }
    }

    /// Opens the body of a stored commit; `None` when it is closed to us or makes no sense.
    pub(crate) fn open_body(&self, commit: &Commit) -> Result<Option<Body>, VaultError> {
        let membership = self.membership();
        Ok(match membership.bench().open(commit)? {
            Opened::Body(body) => Some(body),
            Opened::Closed | Opened::Malformed => None,
        })
    }

    /// The charter and the keys. A panic elsewhere leaves them whole: they are replaced, never edited.
    pub(crate) fn membership(&self) -> Arc<Membership> {
        let membership = self.membership.read();
        membership.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Who acts.
    pub(crate) fn me(&self) -> Option<Arc<Identity>> {
        self.me.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Who acts, for `action`.
    pub(crate) fn signer(&self, action: &'static str) -> Result<Arc<Identity>, VaultError> {
        self.me().ok_or(VaultError::NotAllowed { action })
    }

    /// Puts another identity in place; the one before.
    pub(crate) fn replace_me(&self, new: Option<Arc<Identity>>) -> Option<Arc<Identity>> {
        let me = self.me.write();
        std::mem::replace(&mut *me.unwrap_or_else(PoisonError::into_inner), new)
    }

    pub(crate) fn actor(&self) -> ActorId {
        *self.actor.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores a new actor to go on under.
    pub(crate) fn store_new_actor(&self, rows: &mut dyn RowsMut) -> Result<ActorId, VaultError> {
        let new = ActorId::from_bytes(random_array(&*self.env.random));
        put_self(rows, &self.id, &new, &self.env.machine)?;
        Ok(new)
    }

    /// Puts another actor in place; the one before.
    pub(crate) fn replace_actor(&self, new: ActorId) -> ActorId {
        let actor = self.actor.write();
        std::mem::replace(&mut *actor.unwrap_or_else(PoisonError::into_inner), new)
    }

    /// Puts another charter and other keys in place; what was there before.
    pub(crate) fn replace_membership(&self, new: Arc<Membership>) -> Arc<Membership> {
        let membership = self.membership.write();
        std::mem::replace(&mut *membership.unwrap_or_else(PoisonError::into_inner), new)
    }

    /// Turns steps into commits.
    fn commit(
        &self,
        rows: &mut dyn RowsMut,
        steps: Vec<Step>,
        note: &Note<'_>,
    ) -> Result<Option<CommitId>, VaultError> {
        let (membership, me) = (self.membership(), self.signer("write")?);
        let pen = Pen {
            vault: self.id,
            actor: self.actor(),
            me: &me,
            charter: &membership.charter,
            keys: &membership.keys,
            time: self.env.clock.now(),
            random: &*self.env.random,
        };
        pen.commit(rows, steps, note)
    }
}
