//! Copies in folders: what is new there comes in, and what they lack is left there.

use std::path::Path;
use std::sync::Arc;

use polykey_api::replicas::{ReplicaItem, ReplicaReport};
use polykey_api::{Code, Problem};
use polykey_core::clock::SystemClock;
use polykey_core::random::OsRandom;
use polykey_core::statement::Statement;
use polykey_core::{Clock, VaultId};
use polykey_store::RealDisk;
use polykey_vault::sync::{ExchangeError, FolderError, FolderReplica, Outcome, PullReport, Seen, exchange};
use polykey_vault::{Env, Vault, VaultError};

use super::{Copy, Place, Replicas};
use crate::failure;
use crate::vaults::InUse;
use crate::vaults::problem::vault_problem;

/// Longest name of a folder.
const MAX_PATH: usize = 4096;

/// What bringing a folder up to date did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Synced {
    /// Items that came.
    pub received: u64,
    /// Commits among them.
    pub commits: u64,
    /// Items that went.
    pub sent: u64,
    /// True when the folder holds less than it once did.
    pub stale: bool,
}

impl Replicas {
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
            commits: came.commits,
            sent: items(&went),
            stale: came.stale,
        })
    }

    /// The same, and notes when it was done.
    ///
    /// # Errors
    /// As [`Replicas::sync`].
    pub fn bring(&self, vault: &InUse, place: &Place) -> Result<Synced, Problem> {
        let synced = self.sync(vault, place)?;
        let copy = Copy {
            place: place.clone(),
            last: Some(SystemClock.now()),
            waiting: false,
        };
        self.note(vault.id, &copy)?;
        Ok(synced)
    }

    /// The same, as a report for the user.
    pub fn report(&self, vault: &InUse, place: &Place) -> ReplicaReport {
        match self.bring(vault, place) {
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
