//! Hidden vaults: those that the devices of this principal share for what belongs to the person.
//!
//! Always: only its id leads to one; no list of vaults and no name shows it.

use polykey_api::Problem;
use polykey_core::VaultId;
use polykey_core::statement::Statement;

use super::entry::State;
use super::register::lock;
use super::{Vaults, parse_name};

/// Its name in the register, which nobody sees.
const NAME: &str = "devices";

impl Vaults {
    /// Makes a hidden vault.
    ///
    /// # Errors
    /// What the disk says.
    pub fn create_hidden(&self) -> Result<VaultId, Problem> {
        let name = parse_name(NAME)?;
        let _changing = lock(&self.changing);
        let entry = self.fill_new(name, None, State::Hidden, |path, storage| {
            self.opener.make(path, storage)
        })?;
        let id = entry.id().expect("it was filled");
        self.opener.news().changed(id);
        Ok(id)
    }

    /// Makes an empty replica of the hidden vault of another device.
    ///
    /// # Errors
    /// What the disk says.
    pub fn join_hidden(&self, genesis: &Statement) -> Result<VaultId, Problem> {
        let id = VaultId::from(genesis.id());
        let name = parse_name(NAME)?;
        let _changing = lock(&self.changing);
        if self.register.find_id(id).is_ok() {
            return Ok(id);
        }
        self.fill_new(name, None, State::Hidden, |path, storage| {
            self.opener.join(path, storage, genesis)
        })?;
        self.opener.news().changed(id);
        Ok(id)
    }

    /// The hidden vaults.
    pub fn hidden(&self) -> Vec<VaultId> {
        let entries = self.register.entries().into_iter();
        entries
            .filter_map(|entry| match entry.state {
                State::Hidden(id) => Some(id),
                _ => None,
            })
            .collect()
    }

    /// True when the vault is hidden.
    pub fn is_hidden(&self, id: VaultId) -> bool {
        let found = self.register.find_id(id);
        found.is_ok_and(|(entry, _)| entry.state == State::Hidden(id))
    }

    /// Clears away a hidden vault, whose place another took.
    ///
    /// # Errors
    /// What the disk says; it is tried again at the next start.
    pub fn drop_hidden(&self, id: VaultId) -> Result<(), Problem> {
        self.clear_away(id, State::Hidden(id))
    }
}

#[cfg(test)]
mod tests {
    use polykey_vault::sync::Replica;

    use super::super::tests::Bench;

    #[test]
    fn a_hidden_vault_is_found_by_its_id_alone_and_stays_hidden() {
        let (owner, other) = (Bench::new(), Bench::new());
        let vaults = owner.load().expect("loads");
        let id = vaults.create_hidden().expect("made");
        // It takes no name away.
        vaults.create("devices", None).expect("its name is free");
        assert_eq!(vaults.list(false).len() + vaults.list(true).len(), 1);
        assert!(vaults.open(&id.to_string()).is_err() && vaults.delete(&id.to_string()).is_err());
        assert!(!vaults.ids().contains(&id));
        let open = vaults.open_id(id).expect("by its id");
        let genesis = open
            .vault
            .charter()
            .expect("has one")
            .genesis()
            .statement()
            .clone();
        drop(open);
        vaults.close();
        let vaults = owner.load().expect("loads again");
        assert_eq!(vaults.hidden(), [id]);
        let theirs = other.load().expect("loads");
        for _ in 0..2 {
            assert_eq!(theirs.join_hidden(&genesis).expect("joined"), id);
        }
        assert_eq!((theirs.hidden(), theirs.present()), (vec![id], vec![]));
        theirs.drop_hidden(id).expect("cleared");
        assert!(theirs.hidden().is_empty() && theirs.open_id(id).is_err());
        vaults.close();
        theirs.close();
    }
}
