//! The rows of a vault's index: the tables, and the one way into them.
//!
//! [`Rows`] is what reading needs and [`RowsMut`] what changing needs, so that the index runs on a
//! transaction of the store and, in tests, on a map.
//!
//! Always: table numbers and row layouts are part of the format of `vault.db`; all rows but those of the
//! charter, the commits and the objects can be rebuilt from these.

use std::ops::ControlFlow;

use polykey_core::SecretBytes;
use polykey_store::{ReadTx, StoreError, Table, WriteTx};

use crate::error::VaultError;

/// What this copy of the vault is: format, actor, machine.
pub(crate) const SELF: Table = Table::new(1);
/// Charter entries. Group: nothing. Item: entry id.
pub(crate) const CHARTER: Table = Table::new(2);
/// Commits. Group: the first two bytes of the id. Item: the id.
pub(crate) const COMMIT: Table = Table::new(3);
/// Statement and body of commits that are large. Group and item as above.
pub(crate) const BODY: Table = Table::new(4);
/// The end of each line of commits. Group: nothing. Item: line.
pub(crate) const TIP: Table = Table::new(5);
/// The older commits of each line, 32 a row. Group: line. Item: number of the row.
pub(crate) const LINE: Table = Table::new(6);
/// The state of each secret. Group: secret. Item: nothing.
pub(crate) const SECRET: Table = Table::new(7);
/// What happened to each secret. Group: secret. Item: version.
pub(crate) const EVENT: Table = Table::new(8);
/// What stands in each directory. Group: path of the directory. Item: name.
pub(crate) const ENTRY: Table = Table::new(9);
/// Names where something stood once and nothing stands now. Group and item as above.
pub(crate) const GRAVE: Table = Table::new(10);
/// More secrets that once stood at a path. Group: path. Item: secret.
pub(crate) const PAST: Table = Table::new(11);
/// Objects. Group: object. Item: nothing.
pub(crate) const OBJECT: Table = Table::new(12);
/// Forked lines. Group: nothing. Item: line.
pub(crate) const FORK: Table = Table::new(13);
/// Objects that are named by commits and have not come yet. Group: nothing. Item: object.
pub(crate) const WANTED: Table = Table::new(15);
/// Purges that wait for their day. Group: nothing. Item: charter entry.
pub(crate) const PURGE: Table = Table::new(14);
/// What peers did that no honest program does. Group: nothing. Item: hash of the value.
pub(crate) const EVIDENCE: Table = Table::new(16);
/// Commits that do not count. Group: nothing. Item: commit. Value: 1 while its body is closed to us, else 0.
pub(crate) const ASIDE: Table = Table::new(17);
/// What other replicas were last seen to have. Group: nothing. Item: who, as the caller names it.
pub(crate) const SEEN: Table = Table::new(18);

/// Reading rows.
pub(crate) trait Rows {
    /// The row at `item` of `group`.
    fn value(&self, table: Table, group: &[u8], item: &[u8]) -> Result<Option<SecretBytes>, StoreError>;

    /// Shows every row of a group, in no useful order, until told to stop.
    fn each(
        &self,
        table: Table,
        group: &[u8],
        show: &mut dyn FnMut(Vec<u8>, SecretBytes) -> Result<ControlFlow<()>, VaultError>,
    ) -> Result<(), VaultError>;

    /// True when the group has a row.
    fn any(&self, table: Table, group: &[u8]) -> Result<bool, VaultError> {
        let mut found = false;
        self.each(table, group, &mut |_, _| {
            found = true;
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }
}

/// Reading and changing rows.
pub(crate) trait RowsMut: Rows {
    /// Sets a row.
    fn put(&mut self, table: Table, group: &[u8], item: &[u8], value: &[u8]) -> Result<(), StoreError>;

    /// Removes a row, where there is one.
    fn remove(&mut self, table: Table, group: &[u8], item: &[u8]) -> Result<(), StoreError>;

    /// This, for reading.
    fn as_rows(&self) -> &dyn Rows;
}

/// Ends the walk over a group early, or carries an error out of it.
enum Stop {
    Enough,
    Failed(VaultError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Stop::Failed(error.into())
    }
}

fn each(
    tx: &ReadTx<'_>,
    table: Table,
    group: &[u8],
    show: &mut dyn FnMut(Vec<u8>, SecretBytes) -> Result<ControlFlow<()>, VaultError>,
) -> Result<(), VaultError> {
    let end = tx.each(table, group, |item, value| match show(item, value) {
        Ok(ControlFlow::Continue(())) => Ok(()),
        Ok(ControlFlow::Break(())) => Err(Stop::Enough),
        Err(error) => Err(Stop::Failed(error)),
    });
    match end {
        Ok(()) | Err(Stop::Enough) => Ok(()),
        Err(Stop::Failed(error)) => Err(error),
    }
}

impl Rows for ReadTx<'_> {
    fn value(&self, table: Table, group: &[u8], item: &[u8]) -> Result<Option<SecretBytes>, StoreError> {
        ReadTx::value(self, table, group, item)
    }

    fn each(
        &self,
        table: Table,
        group: &[u8],
        show: &mut dyn FnMut(Vec<u8>, SecretBytes) -> Result<ControlFlow<()>, VaultError>,
    ) -> Result<(), VaultError> {
        each(self, table, group, show)
    }
}

impl Rows for WriteTx<'_> {
    fn value(&self, table: Table, group: &[u8], item: &[u8]) -> Result<Option<SecretBytes>, StoreError> {
        ReadTx::value(self, table, group, item)
    }

    fn each(
        &self,
        table: Table,
        group: &[u8],
        show: &mut dyn FnMut(Vec<u8>, SecretBytes) -> Result<ControlFlow<()>, VaultError>,
    ) -> Result<(), VaultError> {
        each(self, table, group, show)
    }
}

impl RowsMut for WriteTx<'_> {
    fn put(&mut self, table: Table, group: &[u8], item: &[u8], value: &[u8]) -> Result<(), StoreError> {
        WriteTx::put(self, table, group, item, value)
    }

    fn remove(&mut self, table: Table, group: &[u8], item: &[u8]) -> Result<(), StoreError> {
        WriteTx::remove(self, table, group, item).map(drop)
    }

    fn as_rows(&self) -> &dyn Rows {
        self
    }
}

#[cfg(test)]
pub(crate) mod memory {
    //! Rows in a map, for tests of the index alone.

    use super::*;
    use std::collections::BTreeMap;

    type Groups = BTreeMap<(Table, Vec<u8>), BTreeMap<Vec<u8>, Vec<u8>>>;

    /// A database that forgets everything.
    #[derive(Clone, Default, Debug, PartialEq, Eq)]
    pub(crate) struct Memory(pub(crate) Groups);

    impl Memory {
        /// All rows of one table.
        pub(crate) fn table(&self, table: Table) -> Groups {
            self.0
                .iter()
                .filter(|((of, _), rows)| *of == table && !rows.is_empty())
                .map(|(key, rows)| (key.clone(), rows.clone()))
                .collect()
        }
    }

    impl Rows for Memory {
        fn value(&self, table: Table, group: &[u8], item: &[u8]) -> Result<Option<SecretBytes>, StoreError> {
            let group = self.0.get(&(table, group.to_vec()));
            Ok(group
                .and_then(|rows| rows.get(item))
                .map(|value| SecretBytes::copy_from(value)))
        }

        fn each(
            &self,
            table: Table,
            group: &[u8],
            show: &mut dyn FnMut(Vec<u8>, SecretBytes) -> Result<ControlFlow<()>, VaultError>,
        ) -> Result<(), VaultError> {
            for (item, value) in self.0.get(&(table, group.to_vec())).into_iter().flatten() {
                if show(item.clone(), SecretBytes::copy_from(value))?.is_break() {
                    break;
                }
            }
            Ok(())
        }
    }

    impl RowsMut for Memory {
        fn put(&mut self, table: Table, group: &[u8], item: &[u8], value: &[u8]) -> Result<(), StoreError> {
            self.0
                .entry((table, group.to_vec()))
                .or_default()
                .insert(item.to_vec(), value.to_vec());
            Ok(())
        }

        fn remove(&mut self, table: Table, group: &[u8], item: &[u8]) -> Result<(), StoreError> {
            if let Some(rows) = self.0.get_mut(&(table, group.to_vec())) {
                rows.remove(item);
            }
            Ok(())
        }

        fn as_rows(&self) -> &dyn Rows {
            self
        }
    }
}
