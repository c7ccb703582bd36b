//! Copies of a vault's ciphertext: at keepers and in folders.
//!
//! A *folder* is a local setting of this node: a stick, a mounted disk, a synchronised folder. [`Replicas::sync`]
//! brings in what others left there and leaves there what they lack. A *keeper* is a node with that role in the
//! charter, which was asked to hold the vault ([`keep`]); it is brought up to date as any member is.
//!
//! Always: nothing that lies in a folder is believed; what is there less than before is told as stale, never
//! taken as a deletion. All of this blocks.

pub mod keep;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use polykey_api::replicas::{ReplicaItem, ReplicaReport};
use polykey_api::sharing::CopyItem;
use polykey_api::{Code, Problem};
use polykey_core::clock::SystemClock;
use polykey_core::codec::{CodecError, Reader, Writer};
use polykey_core::hash::hash;
use polykey_core::random::OsRandom;
use polykey_core::statement::Statement;
use polykey_core::{Clock, NodeId, Timestamp, VaultId, label};
use polykey_store::{Database, RealDisk, StoreError};
use polykey_vault::sync::{
    ExchangeError, FolderError, FolderReplica, Outcome, PullReport, Seen, SyncState, exchange,
};
use polykey_vault::{Env, Vault, VaultError};

use crate::failure;
use crate::tables::REPLICAS;
use crate::vaults::InUse;
use crate::vaults::problem::vault_problem;

/// Copies of one vault.
pub const MAX_REPLICAS: usize = 64;
/// Longest record.
const MAX_LEN: usize = 8192;
/// Longest name of a folder.
const MAX_PATH: usize = 4096;

/// Where a copy is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// At a node.
    Node(NodeId),
    /// In a folder, named by its whole path.
    Folder(PathBuf),
}

impl Place {
    /// What it is called in a listing.
    pub fn show(&self) -> String {
        match self {
            Place::Node(node) => node.to_string(),
            Place::Folder(path) => path.to_string_lossy().into_owned(),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Place::Node(_) => "node",
            Place::Folder(_) => "folder",
        }
    }

    /// The name under which a vault remembers what was there.
    fn whom(&self) -> [u8; 32] {
        match self {
            Place::Node(node) => *node.as_bytes(),
            Place::Folder(path) => hash(label::REPLICA_PLACE, &[path.as_os_str().as_encoded_bytes()]),
        }
    }

    fn write(&self, out: &mut Writer) {
        match self {
            Place::Node(node) => out.array(2).u64(0).bytes(node.as_bytes()),
            Place::Folder(path) => out.array(2).u64(1).bytes(path.as_os_str().as_encoded_bytes()),
        };
    }

    fn read(from: &mut Reader<'_>) -> Result<Place, CodecError> {
        use std::os::unix::ffi::OsStrExt;
        from.array_of(2)?;
        match from.u64()? {
            0 => Ok(Place::Node(NodeId::from_bytes(from.bytes_of()?))),
            1 => {
                let path = PathBuf::from(std::ffi::OsStr::from_bytes(from.bytes()?));
                match path.is_absolute() {
                    true => Ok(Place::Folder(path)),
                    false => Err(from.shape()),
                }
            }
            _ => Err(from.shape()),
        }
    }
}

/// One copy, as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// Where.
    pub place: Place,
    /// When it was last brought up to date.
    pub last: Option<Timestamp>,
    /// True when the other node has not said yes yet.
    pub waiting: bool,
}

impl Copy {
    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.array(3);
        self.place.write(&mut out);
        match self.last {
            Some(time) => out.u64(time.as_millis()),
            None => out.null(),
        };
        out.bool(self.waiting);
        out.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Copy, CodecError> {
        let mut from = Reader::new(bytes, MAX_LEN, "the record of a copy")?;
        from.array_of(3)?;
        let place = Place::read(&mut from)?;
        let last = match from.null()? {
            true => None,
            false => Some(Timestamp::from_millis(from.u64()?)),
        };
        let waiting = from.bool()?;
        from.finish()?;
        Ok(Copy { place, last, waiting })
    }

    fn item(&self, vault: VaultId) -> ReplicaItem {
        ReplicaItem {
            vault_id: vault.to_string(),
            place: self.place.show(),
            kind: self.place.kind().to_owned(),
            last_sync: self.last.map(Timestamp::as_millis),
            absent: matches!(&self.place, Place::Folder(path) if !path.is_dir()),
            waiting: self.waiting,
        }
    }
}

/// What bringing a folder up to date did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Synced {
    /// Items that came.
    pub received: u64,
    /// Items that went.
    pub sent: u64,
    /// True when the folder holds less than it once did.
    pub stale: bool,
}

/// The copies of this node's vaults.
pub struct Replicas {
    db: Database,
    me: NodeId,
}

impl Replicas {
    /// Those in this database, of the node `me`.
    pub fn new(db: Database, me: NodeId) -> Replicas {
        Replicas { db, me }
    }

    /// All copies of a vault, nodes first.
    ///
    /// # Errors
    /// What the store says.
    pub fn of(&self, vault: VaultId) -> Result<Vec<Copy>, Problem> {
        let rows = self
            .db
            .read(|tx| tx.group(REPLICAS, vault.as_bytes()))
            .map_err(|error: StoreError| failure::store(&error))?;
        let mut copies = rows
            .iter()
            .map(|(_, row)| Copy::decode(row.expose()).map_err(|error| damaged(&error)))
            .collect::<Result<Vec<_>, _>>()?;
        copies.sort_by(|a, b| a.place.cmp(&b.place));
        Ok(copies)
    }

    /// The same for a listing.
    ///
    /// # Errors
    /// What the store says.
    pub fn items(&self, vault: VaultId) -> Result<Vec<ReplicaItem>, Problem> {
        Ok(self.of(vault)?.iter().map(|copy| copy.item(vault)).collect())
    }

    /// The folders, as `vaults status` shows them; nodes stand among the members.
    ///
    /// # Errors
    /// What the store or the vault says.
    pub fn copies(&self, vault: &InUse, state: &SyncState) -> Result<Vec<CopyItem>, Problem> {
        let mut items = Vec::new();
        for copy in self.of(vault.id)? {
            if let Place::Folder(_) = copy.place {
                let seen = vault.vault.seen(&copy.place.whom());
                let seen = seen.map_err(|error| vault_problem(&vault.name, error))?;
                items.push(CopyItem {
                    place: copy.place.show(),
                    kind: "folder".to_owned(),
                    last_sync: copy.last.map(Timestamp::as_millis),
                    fresh: copy.last.is_some() && state.is_held_by(&seen),
                });
            }
        }
        Ok(items)
    }

    /// Remembers a copy.
    ///
    /// # Errors
    /// [`Code::Usage`] when there are too many; what the store says.
    pub fn note(&self, vault: VaultId, copy: &Copy) -> Result<ReplicaItem, Problem> {
        let known = self.of(vault)?;
        if known.len() >= MAX_REPLICAS && !known.iter().any(|known| known.place == copy.place) {
            return Err(Problem::new(
                Code::Usage,
                format!("a vault has at most {MAX_REPLICAS} copies"),
            ));
        }
        self.db
            .write(|tx| tx.put(REPLICAS, vault.as_bytes(), &copy.place.whom(), &copy.encode()))
            .map_err(|error: StoreError| failure::store(&error))?;
        Ok(copy.item(vault))
    }

    /// Forgets a copy; what is there stays there.
    ///
    /// # Errors
    /// [`Code::NodeNotFound`] or [`Code::FileNotFound`] when there is none; what the store says.
    pub fn forget(&self, vault: VaultId, place: &Place) -> Result<ReplicaItem, Problem> {
        let known = self.of(vault)?;
        let Some(copy) = known.iter().find(|copy| copy.place == *place) else {
            let code = match place {
                Place::Node(_) => Code::NodeNotFound,
                Place::Folder(_) => Code::FileNotFound,
            };
            return Err(
                Problem::new(code, format!("no copy of the vault is kept at {}", place.show()))
                    .hint("see `polykey vaults replicas list`"),
            );
        };
        self.db
            .write_removal(|tx| tx.remove(REPLICAS, vault.as_bytes(), &place.whom()).map(drop))
            .map_err(|error: StoreError| failure::store(&error))?;
        Ok(copy.item(vault))
    }

    /// Makes a folder a copy of a vault, or adopts one that is, and brings it up to date.
    ///
    /// # Errors
    /// [`Code::Usage`] for what is no whole path; what the disk says.
    pub fn add_folder(&self, vault: &InUse, path: &Path) -> Result<ReplicaItem, Problem> {
        if !path.is_absolute() || path.as_os_str().len() > MAX_PATH {
            return Err(Problem::new(
                Code::Usage,
                "a folder for a copy must be named by its whole path",
            ));
        }
        if !path.is_dir() {
            std::fs::create_dir(path).map_err(|error| failure::disk(&error, "make the folder", path))?;
        }
        // One folder has one name.
        let path = path
            .canonicalize()
            .map_err(|error| failure::disk(&error, "find the folder", path))?;
        let place = Place::Folder(path);
        self.sync(vault, &place)?;
        let copy = Copy {
            place,
            last: Some(SystemClock.now()),
            waiting: false,
        };
        self.note(vault.id, &copy)
    }

    /// Brings in what is new in a folder, and leaves there what it lacks.
    ///
    /// # Errors
    /// What the disk or the vault says; [`Code::NotAllowed`] when this node is out.
    pub fn sync(&self, vault: &InUse, place: &Place) -> Result<Synced, Problem> {
        let Place::Folder(path) = place else {
            return Err(Problem::new(Code::Internal, "a node is not synced as a folder"));
        };
        if !path.is_dir() {
            return Err(
                Problem::new(Code::Io, format!("the folder {} is absent", path.display()))
                    .hint("bring it back (is the disk there?), then try again"),
            );
        }
        let wrong = |error: VaultError| vault_problem(&vault.name, error);
        let genesis = vault.vault.genesis();
        let mut folder = FolderReplica::open_or_create(path, &genesis, environment())
            .map_err(|error| folder_problem(path, &error))?;
        let whom = place.whom();
        let before = vault.vault.seen(&whom).map_err(wrong)?;
        let mut here = Vault::clone(&vault.vault);
        let came = exchange(&folder, &mut here, self.me, before, &mut |_| {})
            .map_err(|error| exchange_problem(vault, path, error))?;
        if let Outcome::Removed(_) | Outcome::Refused = came.outcome {
            return Err(Problem::new(
                Code::NotAllowed,
                format!("this node was removed from the vault {}", vault.name),
            ));
        }
        let went =
            exchange(&here, &mut folder, self.me, Seen::default(), &mut |_| {}).map_err(
                |error| match error {
                    ExchangeError::From(error) => vault_problem(&vault.name, error),
                    ExchangeError::To(error) => folder_problem(path, &error),
                    ExchangeError::Message(error) => broken(path, &error),
                },
            )?;
        let state = vault.vault.sync_state().map_err(wrong)?;
        let seen = Seen {
            heads: state.heads,
            tips: state.tips,
        };
        vault.vault.remember_seen(&whom, &seen).map_err(wrong)?;
        Ok(Synced {
            received: items(&came),
            sent: items(&went),
            stale: came.stale,
        })
    }

    /// The same, as a report for the user; notes when it was done.
    pub fn report(&self, vault: &InUse, place: &Place) -> ReplicaReport {
        let done = self.sync(vault, place).and_then(|synced| {
            let copy = Copy {
                place: place.clone(),
                last: Some(SystemClock.now()),
                waiting: false,
            };
            self.note(vault.id, &copy).map(|_| synced)
        });
        match done {
            Ok(synced) => ReplicaReport {
                place: place.show(),
                received: synced.received,
                sent: synced.sent,
                stale: synced.stale,
                problem: None,
            },
            Err(problem) => ReplicaReport {
                place: place.show(),
                received: 0,
                sent: 0,
                stale: false,
                problem: Some(problem.message),
            },
        }
    }
}

/// A vault's beginning, out of a folder.
pub struct Found {
    /// The vault.
    pub vault: VaultId,
    /// The entry that founded it.
    pub genesis: Statement,
}

/// Finds a vault in a folder: the one that is named, or the only one.
///
/// # Errors
/// [`Code::VaultNotFound`] when there is none; [`Code::Usage`] when there are several and none is named.
pub fn find_in_folder(path: &Path, wanted: Option<VaultId>) -> Result<Found, Problem> {
    let env = environment();
    let vaults = FolderReplica::vaults(path, &env).map_err(|error| folder_problem(path, &error))?;
    let vault = match (wanted, &vaults[..]) {
        (Some(wanted), there) if there.contains(&wanted) => wanted,
        (None, [only]) => *only,
        (None, [_, _, ..]) => {
            let ids: Vec<String> = vaults.iter().map(ToString::to_string).collect();
            return Err(Problem::new(
                Code::Usage,
                format!(
                    "the folder {} holds several vaults: {}",
                    path.display(),
                    ids.join(", ")
                ),
            )
            .hint("name one by its id"));
        }
        _ => {
            return Err(Problem::new(
                Code::VaultNotFound,
                format!("the folder {} holds no copy of that vault", path.display()),
            ));
        }
    };
    let folder = FolderReplica::open(path, vault, env).map_err(|error| folder_problem(path, &error))?;
    Ok(Found {
        vault,
        genesis: folder.genesis(),
    })
}

fn items(report: &PullReport) -> u64 {
    report.entries + report.commits + report.objects
}

fn environment() -> Env {
    Env {
        clock: Arc::new(SystemClock),
        random: Arc::new(OsRandom),
        disk: Arc::new(RealDisk),
        machine: Vec::new(),
    }
}

fn exchange_problem(vault: &InUse, path: &Path, error: ExchangeError<FolderError, VaultError>) -> Problem {
    match error {
        ExchangeError::From(error) => folder_problem(path, &error),
        ExchangeError::To(error) => vault_problem(&vault.name, error),
        ExchangeError::Message(error) => broken(path, &error),
    }
}

fn broken(path: &Path, error: &dyn std::error::Error) -> Problem {
    Problem::new(
        Code::BadData,
        format!("the copy in {} is not as any program writes it", path.display()),
    )
    .caused_by(error)
}

/// The problem of a copy in a folder.
pub fn folder_problem(path: &Path, error: &FolderError) -> Problem {
    match error {
        FolderError::NotHere { .. } => Problem::new(Code::VaultNotFound, error.to_string()),
        FolderError::Store(error) => {
            let mut problem = failure::store(error);
            problem.message = format!(
                "the copy in {} cannot be used: {}",
                path.display(),
                problem.message
            );
            problem
        }
        error => Problem::new(Code::BadData, error.to_string()).caused_by(error),
    }
}

fn damaged(error: &dyn std::error::Error) -> Problem {
    failure::record("the record of a copy", error)
}

#[cfg(test)]
mod tests {
    use polykey_core::Key;
    use polykey_store::StoreEnv;

    use super::*;

    #[test]
    fn copies_are_remembered_once_and_forgotten() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let key = Key::random(&OsRandom);
        let db = Database::create(&dir.path().join("node.db"), &key, &StoreEnv::default());
        let replicas = Replicas::new(db.expect("a new database"), NodeId::from_bytes([1; 32]));
        let vault = VaultId::from_bytes([2; 32]);
        let folder = Place::Folder(PathBuf::from("/media/stick"));
        let node = Place::Node(NodeId::from_bytes([3; 32]));
        for (place, waiting) in [(&folder, false), (&node, true), (&folder, false)] {
            let copy = Copy {
                place: place.clone(),
                last: None,
                waiting,
            };
            replicas.note(vault, &copy).expect("stores");
        }
        let places: Vec<Place> = replicas
            .of(vault)
            .expect("reads")
            .into_iter()
            .map(|copy| copy.place)
            .collect();
        assert_eq!(places, [node.clone(), folder.clone()]);
        assert!(replicas.forget(vault, &folder).is_ok());
        assert_eq!(
            replicas.forget(vault, &folder).map_err(|problem| problem.code),
            Err(Code::FileNotFound)
        );
        assert_eq!(
            replicas
                .forget(VaultId::from_bytes([9; 32]), &node)
                .map_err(|problem| problem.code),
            Err(Code::NodeNotFound)
        );
    }

    #[test]
    fn damaged_records_are_told() {
        let good = Copy {
            place: Place::Folder(PathBuf::from("/x")),
            last: Some(Timestamp::from_millis(5)),
            waiting: false,
        };
        let bytes = good.encode();
        assert_eq!(Copy::decode(&bytes), Ok(good));
        for cut in 0..bytes.len() {
            assert!(Copy::decode(&bytes[..cut]).is_err(), "{cut}");
        }
        let mut relative = Writer::new();
        relative.array(3).array(2).u64(1).bytes(b"x").null().bool(false);
        assert!(Copy::decode(&relative.finish()).is_err());
    }
}
