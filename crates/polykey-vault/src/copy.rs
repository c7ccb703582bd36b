//! Copies: which vault a folder holds, under which actor this copy writes, and the stored charter.
//!
//! Always: a copy of the files on another machine goes on under another actor, so that it never forks the line
//! of its original.

use polykey_core::codec::{Reader, Writer};
use polykey_core::statement::{Kind, Statement};
use polykey_core::{ActorId, VaultId};

use crate::charter::Charter;
use crate::error::VaultError;
use crate::rows::{CHARTER, Rows, RowsMut, SELF};

/// Format of `vault.db`.
const FORMAT: u64 = 1;
/// Item of the row that counts the epoch keys.
const KEYS: &[u8] = b"keys";

/// Stores which vault this is, its actor, and the mark of the machine.
pub(crate) fn put_self(
    rows: &mut dyn RowsMut,
    id: &VaultId,
    actor: &ActorId,
    machine: &[u8],
) -> Result<(), VaultError> {
    let mut out = Writer::new();
    out.array(4)
        .u64(FORMAT)
        .bytes(id.as_bytes())
        .bytes(actor.as_bytes())
        .bytes(machine);
    Ok(rows.put(SELF, b"", b"", &out.finish())?)
}

/// Which vault this is, its actor, and the mark of the machine.
pub(crate) fn read_self(rows: &dyn Rows) -> Result<(VaultId, ActorId, Vec<u8>), VaultError> {
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

/// How many epoch keys there were when closed commits were last tried.
pub(crate) fn opened_with(rows: &dyn Rows) -> Result<u64, VaultError> {
    let value = rows.value(SELF, b"", KEYS)?;
    let count = value.and_then(|value| value.expose().try_into().ok());
    Ok(count.map_or(0, u64::from_be_bytes))
}

/// Stores how many epoch keys there were when closed commits were tried.
pub(crate) fn put_opened_with(rows: &mut dyn RowsMut, keys: u64) -> Result<(), VaultError> {
    Ok(rows.put(SELF, b"", KEYS, &keys.to_be_bytes())?)
}

/// Stores charter entry number `number`; entries are numbered in an order in which parents come first.
pub(crate) fn store_entry(rows: &mut dyn RowsMut, number: u64, entry: &Statement) -> Result<(), VaultError> {
    Ok(rows.put(CHARTER, b"", &number.to_be_bytes(), entry.as_bytes())?)
}

/// The charter with every stored entry.
pub(crate) fn load_charter(rows: &dyn Rows) -> Result<Charter, VaultError> {
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
        .map(|(_, bytes)| Statement::accept_unverified(Kind::Charter, bytes).map_err(|_| damaged()));
    let genesis = entries.next().ok_or_else(damaged)??;
    let mut charter = Charter::found(genesis).map_err(|_| damaged())?;
    for entry in entries {
        charter.insert(entry?).map_err(|_| damaged())?;
    }
    Ok(charter)
}
