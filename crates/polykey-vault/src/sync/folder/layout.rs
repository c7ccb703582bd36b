//! Where the files of a folder replica lie, and how the folder is looked at.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use polykey_core::id::{ObjectId, VaultId};
use polykey_store::{Entry as Found, Objects, StoreError};

use super::FolderError;
use crate::vault::Env;

/// Folder of the packs.
pub(super) const PACKS: &str = "packs";
/// Folder of the large objects.
pub(super) const OBJECTS: &str = "objects";
/// What the name of a replica's folder ends in.
pub(super) const SUFFIX: &str = ".polykey";

/// `<vault's id in hex>.polykey`: file systems that ignore case have no base58.
pub(super) fn folder_of(place: &Path, vault: &VaultId) -> PathBuf {
    let name = ObjectId::from_bytes(*vault.as_bytes());
    place.join(format!("{name}{SUFFIX}"))
}

pub(super) fn file(folder: &Path, kind: &str, id: &ObjectId) -> PathBuf {
    let name = id.to_string();
    folder.join(kind).join(&name[..2]).join(name)
}

pub(super) fn files(env: &Env, folder: &Path, kind: &str) -> Result<Objects, FolderError> {
    Ok(Objects::open(
        env.disk.clone(),
        &folder.join(kind),
        env.random.clone(),
    )?)
}

pub(super) fn io(doing: &'static str, path: &Path, source: std::io::Error) -> StoreError {
    StoreError::Io {
        doing,
        path: path.to_owned(),
        source,
    }
}

pub(super) fn look(env: &Env, path: &Path) -> Result<Option<Found>, FolderError> {
    Ok(env
        .disk
        .look(path)
        .map_err(|source| io("look at", path, source))?)
}

pub(super) fn list(env: &Env, path: &Path) -> Result<Vec<OsString>, FolderError> {
    Ok(env.disk.list(path).map_err(|source| io("list", path, source))?)
}

/// The names in a folder that have the form of an id and stand where they should. A folder that is not there,
/// or a link in its place, has none.
pub(super) fn names(env: &Env, folder: &Path) -> Result<Vec<ObjectId>, FolderError> {
    let mut ids = BTreeMap::new();
    if look(env, folder)? != Some(Found::Folder) {
        return Ok(Vec::new());
    }
    for shard in list(env, folder)? {
        let path = folder.join(&shard);
        if look(env, &path)? != Some(Found::Folder) {
            continue;
        }
        for name in list(env, &path)? {
            if let Some(id) = name.to_str().and_then(|name| name.parse::<ObjectId>().ok())
                && shard.to_str() == name.to_str().and_then(|name| name.get(..2))
            {
                ids.insert(id, ());
            }
        }
    }
    Ok(ids.into_keys().collect())
}
