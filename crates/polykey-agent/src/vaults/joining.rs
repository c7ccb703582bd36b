//! Bringing a vault in from another node.
//!
//! A replica starts with the genesis alone. Until it has all that there is, nobody sees it: it has no name to
//! be found by, and only its id leads to it. A restart in between goes on where it was.
//!
//! Always: a node has a vault once.

use std::path::PathBuf;

use polykey_api::problem::typed;
use polykey_api::vaults::VaultItem;
use polykey_api::{Code, Problem};
use polykey_core::statement::Statement;
use polykey_core::{VaultId, VaultName};
use polykey_vault::charter::Role;

use super::entry::{Entry, State};
use super::register::{Handle, lock};
use super::{Vaults, parse_name};

/// Numbers that are tried behind a name that is taken.
const NUMBERS: u32 = 10_000;

impl Vaults {
    /// Makes an empty replica of the vault with this genesis, called `name`, with a number behind it where that
    /// is taken. One that was begun before is gone on with.
    ///
    /// # Errors
    /// [`Code::Exists`] when the node has the vault; [`Code::BadPath`]; what the disk says.
    pub fn begin_joining(&self, name: &str, genesis: &Statement) -> Result<VaultId, Problem> {
        let name = parse_name(name)?;
        let id = VaultId::from(genesis.id());
        let _changing = lock(&self.changing);
        for entry in self.register.entries() {
            match entry.state {
                State::Joining(begun) if begun == id => return Ok(id),
                // What was kept as ciphertext is here already.
                State::Kept(kept) if kept == id => {
                    let name = self.free_name(&name)?;
                    self.register.store(Entry {
                        name,
                        state: State::Joining(id),
                        ..entry
                    })?;
                    // It is open as whoever kept it, which may have been this node under its former keys.
                    self.close_open(id);
                    return Ok(id);
                }
                State::Live(held) if held == id => {
                    return Err(Problem::new(
                        Code::Exists,
                        format!("this node has that vault already, as {}", entry.name),
                    )
                    .hint(format!(
                        "run `polykey vaults pull {}`",
                        typed(entry.name.as_str())
                    )));
                }
                State::Deleted(held, _) if held == id => {
                    return Err(Problem::new(
                        Code::Exists,
                        format!(
                            "this node has that vault among those it deleted, as {}",
                            entry.name
                        ),
                    )
                    .hint(format!(
                        "run `polykey vaults undelete {}`",
                        typed(entry.name.as_str())
                    )));
                }
                _ => {}
            }
        }
        let name = self.free_name(&name)?;
        self.fill_new(name, None, State::Joining, |path, storage| {
            self.opener.join(path, storage, genesis)
        })?;
        Ok(id)
    }

    /// A node that keeps a vault as ciphertext, and whose `role` in it gives it no more, has nothing to bring in:
    /// it would show what it cannot read, and keep it no longer.
    ///
    /// # Errors
    /// [`Code::Exists`].
    pub fn check_not_kept(&self, id: VaultId, role: Role) -> Result<(), Problem> {
        if role.reads() || !self.kept().contains(&id) {
            return Ok(());
        }
        Err(Problem::new(
            Code::Exists,
            "this node keeps the ciphertext of that vault already, and has no keys to read it",
        )
        .hint("an admin of the vault can share it with this node as a reader"))
    }

    /// Makes an empty replica of a vault, to be kept as ciphertext for others. Only its id leads to it. One that was
    /// being brought in is kept instead: it would be shown, and could not be read.
    ///
    /// # Errors
    /// What the disk says.
    pub fn keep(&self, genesis: &Statement) -> Result<(), Problem> {
        let id = VaultId::from(genesis.id());
        let _changing = lock(&self.changing);
        if let Ok((entry, _)) = self.register.find_id(id) {
            if entry.state == State::Joining(id) {
                self.register.store(Entry {
                    state: State::Kept(id),
                    ..entry
                })?;
            }
            return Ok(());
        }
        let name = parse_name("kept")?;
        self.fill_new(name, None, State::Kept, |path, storage| {
            self.opener.join(path, storage, genesis)
        })
        .map(drop)
    }

    /// The vaults that are kept for others.
    pub fn kept(&self) -> Vec<VaultId> {
        let entries = self.register.entries().into_iter();
        entries
            .filter_map(|entry| match entry.state {
                State::Kept(id) => Some(id),
                _ => None,
            })
            .collect()
    }

    /// True when the vault is kept for others.
    pub fn is_kept(&self, id: VaultId) -> bool {
        let found = self.register.find_id(id);
        found.is_ok_and(|(entry, _)| entry.state == State::Kept(id))
    }

    /// Where a vault lies that is kept for others.
    pub fn kept_folder(&self, id: VaultId) -> Option<PathBuf> {
        let entry = self.register.find_id(id).ok()?.0;
        (entry.state == State::Kept(id)).then(|| entry.folder.path(&self.node))
    }

    /// Keeps a vault for others no longer, and clears away what is there.
    ///
    /// # Errors
    /// What the disk says; it is tried again at the next start.
    pub fn drop_kept(&self, id: VaultId) -> Result<(), Problem> {
        self.clear_away(id, State::Kept(id))?;
        self.opener.news().changed(id);
        Ok(())
    }

    /// Shows a vault that was being brought in: all of it is here. Does nothing for one that is in use.
    ///
    /// # Errors
    /// [`Code::VaultNotFound`]; what the disk says.
    pub fn finish_joining(&self, id: VaultId) -> Result<VaultItem, Problem> {
        let _changing = lock(&self.changing);
        let (entry, _) = self.register.find_id(id)?;
        match entry.state {
            State::Joining(_) => self.store_and_show(Entry {
                state: State::Live(id),
                ..entry
            }),
            _ => Ok(self.item(&entry)),
        }
    }

    /// Gives up a vault that was being brought in, and clears away what came.
    ///
    /// # Errors
    /// What the disk says; it is tried again at the next start.
    pub fn give_up_joining(&self, id: VaultId) -> Result<(), Problem> {
        self.clear_away(id, State::Joining(id))
    }

    /// Clears away a vault in `state`; does nothing for one that is in another.
    pub(super) fn clear_away(&self, id: VaultId, state: State) -> Result<(), Problem> {
        let _changing = lock(&self.changing);
        let Ok((entry, handle)) = self.register.find_id(id) else {
            return Ok(());
        };
        if entry.state != state {
            return Ok(());
        }
        self.register.store(Entry {
            state: State::Making,
            ..entry.clone()
        })?;
        close(&handle);
        super::folder::clear(&entry.folder.path(&self.node))?;
        self.register.forget(&entry.storage)
    }

    /// Closes a vault, to be opened anew by whoever needs it next.
    fn close_open(&self, id: VaultId) {
        if let Ok((_, handle)) = self.register.find_id(id) {
            close(&handle);
        }
    }

    /// The vaults that are being brought in.
    pub fn joining(&self) -> Vec<VaultId> {
        let entries = self.register.entries().into_iter();
        entries
            .filter_map(|entry| match entry.state {
                State::Joining(id) => Some(id),
                _ => None,
            })
            .collect()
    }

    /// `name`, or the first of `name-1`, `name-2`, ... that is free.
    fn free_name(&self, name: &VaultName) -> Result<VaultName, Problem> {
        let taken = || {
            Problem::new(Code::Exists, format!("there is a vault {name} already"))
                .hint("rename it with `polykey vaults rename`")
        };
        if self.register.check_free(name).is_ok() {
            return Ok(name.clone());
        }
        (1..NUMBERS)
            .filter_map(|number| VaultName::parse(&format!("{name}-{number}")).ok())
            .find(|name| self.register.check_free(name).is_ok())
            .ok_or_else(taken)
    }
}

/// Whoever still brings something in meets a closed vault.
fn close(handle: &Handle) {
    if let Some(vault) = lock(handle).take()
        && let Err(error) = vault.close()
    {
        tracing::warn!(%error, "a vault was not closed well");
    }
}

#[cfg(test)]
mod tests {
    use polykey_vault::sync::Replica;

    use super::super::tests::Bench;
    use super::*;

    fn genesis(vaults: &Vaults, name: &str) -> Statement {
        let vault = vaults.open(name).expect("open").vault;
        vault.charter().expect("has one").genesis().statement().clone()
    }

    #[test]
    fn a_vault_that_is_being_brought_in_is_not_seen_and_goes_on_after_a_restart() {
        let (owner, bench) = (Bench::new(), Bench::new());
        let vaults = owner.load().expect("loads");
        vaults.create("work", None).expect("made");
        let genesis = genesis(&vaults, "work");
        let mine = bench.load().expect("loads");
        mine.create("work", None).expect("another of that name");
        let id = mine.begin_joining("work", &genesis).expect("begins");
        assert_eq!(
            (mine.present(), mine.joining()),
            (vec!["work".to_owned()], vec![id])
        );
        assert!(mine.open("work-1").is_err() && mine.open(&id.to_string()).is_err());
        assert_eq!(mine.open_id(id).expect("by its id alone").id, id);
        mine.close();
        let mine = bench.load().expect("loads again");
        assert_eq!(mine.begin_joining("other", &genesis).expect("goes on"), id);
        assert_eq!(mine.finish_joining(id).expect("shown").vault_name, "work-1");
        assert_eq!(mine.open("work-1").expect("open").id, id);
        assert!(mine.joining().is_empty());
        let again = mine
            .begin_joining("work", &genesis)
            .map_err(|problem| problem.code);
        assert_eq!(again, Err(Code::Exists));
        mine.delete("work-1").expect("deleted");
        let again = mine
            .begin_joining("work", &genesis)
            .map_err(|problem| problem.code);
        assert_eq!(again, Err(Code::Exists));
        vaults.close();
        mine.close();
    }

    #[test]
    fn what_is_given_up_leaves_nothing() {
        let (owner, bench) = (Bench::new(), Bench::new());
        let vaults = owner.load().expect("loads");
        vaults.create("work", None).expect("made");
        let genesis = genesis(&vaults, "work");
        let mine = bench.load().expect("loads");
        let id = mine.begin_joining("work", &genesis).expect("begins");
        mine.give_up_joining(id).expect("cleared");
        assert!(mine.open_id(id).is_err() && mine.joining().is_empty() && mine.strays().is_empty());
        mine.begin_joining("work", &genesis).expect("begins anew");
        mine.finish_joining(id).expect("shown");
        mine.give_up_joining(id).expect("nothing to do");
        assert_eq!(mine.present(), ["work"]);
        vaults.close();
        mine.close();
    }
}
