//! Moving a vault's folder to another place, on any disk.
//!
//! Copy, read back, open the copy, switch the record, clear the old folder away: whatever ends the agent in
//! between, one whole folder counts, and the next start clears the other.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use polykey_api::vaults::VaultItem;
use polykey_api::{Code, Problem};
use polykey_vault::Vault;

use super::entry::{Entry, Folder};
use super::problem::vault_problem;
use super::register::lock;
use super::{Vaults, absent, absolute, folder, is_present};

/// A vault that is to be moved must be out of use this soon.
const QUIET_TIME: Duration = Duration::from_secs(10);

impl Vaults {
    /// Moves the folder of the vault `typed` to `to`: copies, reads back, opens the copy, switches, and
    /// only then clears the old one away.
    ///
    /// # Errors
    /// [`Code::VaultNotFound`], [`Code::Exists`], [`Code::Busy`], what the disk says. The vault is then
    /// where it was.
    pub fn relocate(&self, typed: &str, to: &Path) -> Result<VaultItem, Problem> {
        let to = absolute(to)?;
        let _changing = lock(&self.changing);
        let (entry, handle) = self.register.find(typed)?;
        let name = entry.name.as_str();
        let from = entry.folder.path(&self.node);
        // Whoever wants the vault waits here until it is in its new place.
        let mut handle = lock(&handle);
        if !is_present(&from) {
            return Err(absent(name, &from));
        }
        if to.starts_with(&from) {
            return Err(Problem::new(
                Code::Usage,
                "a vault cannot be moved into its own folder",
            ));
        }
        if let Some(vault) = handle.take() {
            close_when_unused(name, vault)?;
        }
        let target = folder::take(to)?;
        let moving = Entry {
            leftover: Some(Folder::new(&target, &self.node)),
            ..entry.clone()
        };
        self.register.store(moving)?;
        let opened = folder::copy(&from, &target).and_then(|()| {
            let vault = self
                .opener
                .open(&target, &entry.storage)
                .map_err(|error| vault_problem(name, error))?;
            if entry.id() == Some(vault.id()) {
                Ok(vault)
            } else {
                Err(Problem::new(
                    Code::BadData,
                    "the copy is not the vault that was copied",
                ))
            }
        });
        let vault = match opened {
            Ok(vault) => vault,
            Err(problem) => {
                if folder::clear(&target).is_ok() {
                    let _ = self.register.store(entry);
                }
                return Err(problem);
            }
        };
        let moved = Entry {
            folder: Folder::new(&target, &self.node),
            leftover: Some(entry.folder.clone()),
            ..entry
        };
        self.register.store(moved.clone())?;
        *handle = Some(Arc::new(vault));
        folder::clear(&from)?;
        self.store_and_show(Entry {
            leftover: None,
            ..moved
        })
    }
}

fn close_when_unused(name: &str, mut vault: Arc<Vault>) -> Result<(), Problem> {
    let begin = Instant::now();
    loop {
        match Arc::try_unwrap(vault) {
            Ok(vault) => return vault.close().map_err(|error| vault_problem(name, error)),
            Err(shared) if begin.elapsed() < QUIET_TIME => vault = shared,
            Err(_) => {
                return Err(Problem::new(Code::Busy, format!("the vault {name} is in use"))
                    .hint("try again when other commands have ended"));
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
