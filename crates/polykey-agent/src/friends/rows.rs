//! What is on the disk about shares, row by row (docs/format.md, "Shares of a recovery code").
//!
//! Always: statements in rows were signed or verified by this node before they came in, and the tables are sealed, so
//! they are read without checking signatures again. All of this blocks.

#[cfg(test)]
mod tests;

use polykey_api::Problem;
use polykey_core::codec::{CodecError, Reader, Writer};
use polykey_core::key_record::KeyRecord;
use polykey_core::share::Share;
use polykey_core::{NodeId, Random, SecretBytes, StatementId, Timestamp};
use polykey_store::{Database, ReadTx, StoreError, WriteTx};
use polykey_trust::split::{MAX_SPLIT_LEN, Split};

use super::message::{MAX_REQUEST_LEN, Request};
use crate::failure;
use crate::tables::{RECOVERY_ERRANDS, RECOVERY_HELD, RECOVERY_OWN, RECOVERY_REQUESTS};

const ALL: &[u8] = b"all";
/// Group of the one row with the own split.
const OWN: &[u8] = b"own";
/// Group of the recoveries that this node asked for.
const SOUGHT: &[u8] = b"sought";
/// Group of what holders warned of.
const WARNINGS: &[u8] = b"warnings";
/// Longest row but that of an errand.
const MAX_LEN: usize = 8 << 10;
/// Longest row of an errand.
const MAX_ERRAND_LEN: usize = MAX_REQUEST_LEN + 256;

/// Why a row could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RowError {
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The row does not decode.
    #[error("a record about shares is damaged")]
    Damaged(#[from] CodecError),
}

/// What a caller is told.
pub fn problem(error: &RowError) -> Problem {
    match error {
        RowError::Store(error) => failure::store(error),
        RowError::Damaged(error) => failure::record("a record about shares of a recovery code", error),
    }
}

/// Reads in one transaction.
///
/// # Errors
/// What the store says.
pub fn read<T>(db: &Database, work: impl FnOnce(&ReadTx<'_>) -> Result<T, RowError>) -> Result<T, Problem> {
    db.read(work).map_err(|error: RowError| problem(&error))
}

/// Writes in one transaction.
///
/// # Errors
/// What the store says.
pub fn write<T>(
    db: &Database,
    work: impl FnOnce(&mut WriteTx<'_>) -> Result<T, RowError>,
) -> Result<T, Problem> {
    db.write(work).map_err(|error: RowError| problem(&error))
}

macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident { $($(#[$each:meta])* $variant:ident = $number:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$each])* $variant,)* }

        impl $name {
            fn number(self) -> u64 {
                match self { $($name::$variant => $number,)* }
            }

            fn read(from: &mut Reader<'_>) -> Result<$name, CodecError> {
                match from.u64()? {
                    $($number => Ok($name::$variant),)*
                    _ => Err(from.shape()),
                }
            }
        }
    };
}

numbered! {
    /// What became of a share that was sent to its holder.
    Delivery {
        /// It is on its way.
        Waiting = 0,
        /// The holder has it.
        Kept = 1,
        /// The holder does not want it.
        Refused = 2,
        /// The holder gave it up.
        GivenUp = 3,
    }
}

numbered! {
    /// What became of a request to a friend.
    Sought {
        /// It is on its way.
        Waiting = 0,
        /// The friend has it.
        Asked = 1,
        /// The friend refused it.
        Refused = 2,
    }
}

/// Who holds a share of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// The node.
    pub node: NodeId,
    /// The point of its share.
    pub point: u8,
    /// Whether it has it.
    pub delivery: Delivery,
    /// When it last proved that, or failed to.
    pub drilled: Option<(Timestamp, bool)>,
}

/// Our own split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// The statement.
    pub split: Split,
    /// Who holds the shares.
    pub holders: Vec<Holder>,
}

fn split_of(from: &mut Reader<'_>) -> Result<Split, CodecError> {
    let bytes = from.bytes()?;
    if bytes.len() > MAX_SPLIT_LEN {
        return Err(from.shape());
    }
    Split::accept_unverified(bytes.to_vec()).map_err(|_| from.shape())
}

fn moment(from: &mut Reader<'_>) -> Result<Option<Timestamp>, CodecError> {
    Ok(match from.null()? {
        true => None,
        false => Some(Timestamp::from_millis(from.u64()?)),
    })
}

fn write_moment(out: &mut Writer, moment: Option<Timestamp>) {
    match moment {
        Some(moment) => out.u64(moment.as_millis()),
        None => out.null(),
    };
}

fn node_at<'b>(place: &'b [u8], from: &Reader<'_>) -> Result<(NodeId, &'b [u8]), CodecError> {
    let (node, rest) = place.split_at_checked(NodeId::LEN).ok_or(from.shape())?;
    Ok((NodeId::try_from(node).map_err(|_| from.shape())?, rest))
}

impl Own {
    /// The split of this node, if its code was split.
    ///
    /// # Errors
    /// As everywhere below, [`RowError`].
    pub fn find(tx: &ReadTx<'_>) -> Result<Option<Own>, RowError> {
        let Some(row) = tx.value(RECOVERY_OWN, OWN, b"")? else {
            return Ok(None);
        };
        let mut from = Reader::new(row.expose(), MAX_LEN, "the record of the own split")?;
        from.array_of(2)?;
        let split = split_of(&mut from)?;
        let mut holders = Vec::new();
        for _ in 0..from.array()? {
            from.array_of(5)?;
            let node = NodeId::from_bytes(from.bytes_of()?);
            let point = u8::try_from(from.u64()?).map_err(|_| from.shape())?;
            let delivery = Delivery::read(&mut from)?;
            let at = moment(&mut from)?;
            let proved = from.bool()?;
            holders.push(Holder {
                node,
                point,
                delivery,
                drilled: at.map(|at| (at, proved)),
            });
        }
        from.finish()?;
        Ok(Some(Own { split, holders }))
    }

    /// Keeps it.
    ///
    /// # Errors
    /// [`RowError`].
    pub fn keep(&self, tx: &mut WriteTx<'_>) -> Result<(), RowError> {
        let mut out = Writer::new();
        out.array(2)
            .bytes(self.split.as_bytes())
            .array(self.holders.len());
        for holder in &self.holders {
            out.array(5)
                .bytes(holder.node.as_bytes())
                .u64(holder.point.into());
            out.u64(holder.delivery.number());
            write_moment(&mut out, holder.drilled.map(|(at, _)| at));
            out.bool(holder.drilled.is_some_and(|(_, proved)| proved));
        }
        Ok(tx.put(RECOVERY_OWN, OWN, b"", &out.finish())?)
    }

    /// The holder that is this node.
    pub fn holder_mut(&mut self, node: &NodeId) -> Option<&mut Holder> {
        self.holders.iter_mut().find(|holder| holder.node == *node)
    }
}

/// A share that is held for somebody.
#[derive(Debug)]
pub struct Held {
    /// What its owner says about it.
    pub split: Split,
    /// The share.
    pub share: Share,
    /// Since when.
    pub since: Timestamp,
}

impl Held {
    fn read(value: &SecretBytes) -> Result<Held, RowError> {
        let mut from = Reader::new(value.expose(), MAX_LEN, "the record of a share that is held")?;
        from.array_of(3)?;
        let split = split_of(&mut from)?;
        let share = Share::parse(SecretBytes::copy_from(from.bytes()?)).map_err(|_| from.shape())?;
        let since = Timestamp::from_millis(from.u64()?);
        from.finish()?;
        Ok(Held { split, share, since })
    }

    /// The share of this owner.
    ///
    /// # Errors
    /// [`RowError`].
    pub fn find(tx: &ReadTx<'_>, owner: &NodeId) -> Result<Option<Held>, RowError> {
        let row = tx.value(RECOVERY_HELD, ALL, owner.as_bytes())?;
        row.as_ref().map(Held::read).transpose()
    }

    /// All of them, by owner.
    ///
    /// # Errors
    /// [`RowError`].
    pub fn all(tx: &ReadTx<'_>) -> Result<Vec<Held>, RowError> {
        let rows = tx.group(RECOVERY_HELD, ALL)?;
        rows.iter().map(|(_, row)| Held::read(row)).collect()
    }

    /// Keeps it, in the place of what was held for that owner.
    ///
    /// # Errors
    /// [`RowError`].
    pub fn keep(&self, tx: &mut WriteTx<'_>) -> Result<(), RowError> {
        let mut out = Writer::new();
        out.array(3)
            .bytes(self.split.as_bytes())
            .bytes(self.share.expose());
        out.u64(self.since.as_millis());
        let row = SecretBytes::new(out.finish());
        let place = self.split.owner();
        Ok(tx.put(RECOVERY_HELD, ALL, place.as_bytes(), row.expose())?)
    }

    /// Forgets the share of an owner and all requests for it; true when there was one.
    ///
    /// # Errors
    /// [`RowError`].
    pub fn forget(tx: &mut WriteTx<'_>, owner: &NodeId) -> Result<bool, RowError> {
        tx.remove_group(RECOVERY_REQUESTS, owner.as_bytes())?;
        Ok(tx.remove(RECOVERY_HELD, ALL, owner.as_bytes())?)
    }
}

/// How a request for a share stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The user said nothing yet.
    Open,
    /// The user agreed.
    Approved(Timestamp),
    /// The user refused.
    Refused(Timestamp),
    /// A device of the owner objected.
    Vetoed(Timestamp, NodeId),
}

impl State {
    /// True while it may come to a release.
    pub fn is_open(&self) -> bool {
        matches!(self, State::Open | State::Approved(_))
    }
}

/// A request for a share that is held here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asking {
    /// Who asks.
    pub asker: NodeId,
    /// When it came.
    pub arrived: Timestamp,
    /// The asker's key record; none when it never asked, and was refused beforehand.
    pub record: Option<KeyRecord>,
    /// How it stands.
    pub state: State,
    /// When the share was first released to it.
    pub given: Option<Timestamp>,
}

impl Asking {
    fn read(place: &[u8], value: &[u8]) -> Result<Asking, RowError> {
        let mut from = Reader::new(value, MAX_LEN, "the record of a request for a share")?;
        let (asker, _) = node_at(place, &from)?;
        from.array_of(4)?;
        let arrived = Timestamp::from_millis(from.u64()?);
        let record = match from.null()? {
            true => None,
            false => {
                let record = KeyRecord::accept_unverified(from.bytes()?.to_vec());
                Some(record.map_err(|_| from.shape())?)
            }
        };
        let count = from.array()?;
        let number = from.u64()?;
        let state = match (count, number) {
            (1, 0) => State::Open,
            (2, 1) => State::Approved(Timestamp::from_millis(from.u64()?)),
            (2, 2) => State::Refused(Timestamp::from_millis(from.u64()?)),
            (3, 3) => {
                let at = Timestamp::from_millis(from.u64()?);
                State::Vetoed(at, NodeId::from_bytes(from.bytes_of()?))
            }
            _ => return Err(from.shape().into()),
        };
        let given = moment(&mut from)?;
        from.finish()?;
        Ok(Asking {
            asker,
            arrived,
            record,
            state,
            given,
        })
    }

    /// The requests for the share of this owner, by asker.
    ///
    /// # Errors
    /// [`RowError`].
    pub fn all(tx: &ReadTx<'_>, owner: &NodeId) -> Result<Vec<Asking>, RowError> {
        let rows = tx.group(RECOVERY_REQUESTS, owner.as_bytes())?;
        rows.iter()
            .map(|(place, row)| Asking::read(place, row.expose()))
            .collect()
    }

    /// Keeps it.
    ///
    /// # Errors
    /// [`RowError`].
    pub fn keep(&self, tx: &mut WriteTx<'_>, owner: &NodeId) -> Result<(), RowError> {
        let mut out = Writer::new();
        out.array(4).u64(self.arrived.as_millis());
        match &self.record {
            Some(record) => out.bytes(record.as_bytes()),
            None => out.null(),
        };
        match self.state {
            State::Open => {
                out.array(1).u64(0);
            }
            State::Approved(at) => {
                out.array(2).u64(1).u64(at.as_millis());
            }
            State::Refused(at) => {
                out.array(2).u64(2).u64(at.as_millis());
            }
            State::Vetoed(at, by) => {
                out.array(3).u64(3).u64(at.as_millis()).bytes(by.as_bytes());
            }
        }
        write_moment(&mut out, self.given);
        let place = self.asker.as_bytes();
        Ok(tx.put(RECOVERY_REQUESTS, owner.as_bytes(), place, &out.finish())?)
    }

    /// Forgets it.
    ///
    /// # Errors
    /// [`RowError`].
    pub fn forget(&self, tx: &mut WriteTx<'_>, owner: &NodeId) -> Result<(), RowError> {
        tx.remove(RECOVERY_REQUESTS, owner.as_bytes(), self.asker.as_bytes())?;
        Ok(())
    }
}

/// What a holder warned this node of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Warning {
    /// Whose share: this node's, or that of another device of the user.
    pub owner: NodeId,
    /// Who asks for it.
    pub asker: NodeId,
    /// Who holds it.
    pub holder: NodeId,
    /// When the request came there, by its clock.
    pub arrived: Timestamp,
    /// Until when nothing is released, by its clock.
    pub until: Timestamp,
    /// True when the user objected.
    pub vetoed: bool,
}

impl Warning {
    fn place(&self) -> Vec<u8> {
        [self.owner, self.asker, self.holder]
            .map(|node| *node.as_bytes())
            .concat()
    }

    /// All of them, by owner and asker.
    ///
    /// # Errors
    /// [`RowError`].
    pub fn all(tx: &ReadTx<'_>) -> Result<Vec<Warning>, RowError> {
        let read = |place: &[u8], value: &[u8]| {
            let mut from = Reader::new(value, MAX_LEN, "the record of a warning")?;
            let (owner, rest) = node_at(place, &from)?;
            let (asker, rest) = node_at(rest, &from)?;
            let (holder, _) = node_at(rest, &from)?;
            from.array_of(3)?;
            let warning = Warning {
                owner,
                asker,
                holder,
                arrived: Timestamp::from_millis(from.u64()?),
                until: Timestamp::from_millis(from.u64()?),
                vetoed: from.bool()?,
            };
            from.finish()?;
            Ok(warning)
        };
        let rows = tx.group(RECOVERY_OWN, WARNINGS)?;
        rows.iter()
            .map(|(place, row)| read(place, row.expose()))
            .collect()
    }

    /// Keeps it.
    ///
    /// # Errors
    /// [`RowError`].
    pub fn keep(&self, tx: &mut WriteTx<'_>) -> Result<(), RowError> {
        let mut out = Writer::new();
        out.array(3)
            .u64(self.arrived.as_millis())
            .u64(self.until.as_millis())
            .bool(self.vetoed);
        Ok(tx.put(RECOVERY_OWN, WARNINGS, &self.place(), &out.finish())?)
    }

    /// Forgets it.
    ///
    /// # Errors
    /// [`RowError`].
    pub fn forget(&self, tx: &mut WriteTx<'_>) -> Result<(), RowError> {
        tx.remove(RECOVERY_OWN, WARNINGS, &self.place())?;
        Ok(())
    }
}

/// A recovery that this node asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seeking {
    /// The node that was lost.
    pub owner: NodeId,
    /// Whom this node asks.
    pub friends: Vec<(NodeId, Sought)>,
}

impl Seeking {
    fn read(place: &[u8], value: &[u8]) -> Result<Seeking, RowError> {
        let mut from = Reader::new(value, MAX_LEN, "the record of a recovery")?;
        let (owner, _) = node_at(place, &from)?;
        let mut friends = Vec::new();
        for _ in 0..from.array()? {
            from.array_of(2)?;
            friends.push((NodeId::from_bytes(from.bytes_of()?), Sought::read(&mut from)?));
        }
        from.finish()?;
        Ok(Seeking { owner, friends })
    }

    /// The recovery of this owner.
    ///
    /// # Errors
    /// [`RowError`].
    pub fn find(tx: &ReadTx<'_>, owner: &NodeId) -> Result<Option<Seeking>, RowError> {
        let row = tx.value(RECOVERY_OWN, SOUGHT, owner.as_bytes())?;
        row.map(|row| Seeking::read(owner.as_bytes(), row.expose()))
            .transpose()
    }

    /// All of them, by owner.
    ///
    /// # Errors
    /// [`RowError`].
    pub fn all(tx: &ReadTx<'_>) -> Result<Vec<Seeking>, RowError> {
        let rows = tx.group(RECOVERY_OWN, SOUGHT)?;
        rows.iter()
            .map(|(place, row)| Seeking::read(place, row.expose()))
            .collect()
    }

    /// Keeps it.
    ///
    /// # Errors
    /// [`RowError`].
    pub fn keep(&self, tx: &mut WriteTx<'_>) -> Result<(), RowError> {
        let mut out = Writer::new();
        out.array(self.friends.len());
        for (friend, state) in &self.friends {
            out.array(2).bytes(friend.as_bytes()).u64(state.number());
        }
        let place = self.owner.as_bytes();
        Ok(tx.put(RECOVERY_OWN, SOUGHT, place, &out.finish())?)
    }
}

/// A request that waits for the node that it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errand {
    /// Names it here.
    pub id: [u8; 16],
    /// The node.
    pub to: NodeId,
    /// What it is asked.
    pub request: Request,
    /// When it is tried next.
    pub next: Timestamp,
    /// How often it was tried.
    pub tried: u64,
    /// It is given up then.
    pub until: Timestamp,
}

impl Errand {
    /// One that is due at once.
    pub fn new(to: NodeId, request: Request, now: Timestamp, random: &dyn Random) -> Errand {
        let mut id = [0; 16];
        random.fill(&mut id[8..]);
        id[..8].copy_from_slice(&now.as_millis().to_be_bytes());
        Errand {
            id,
            to,
            request,
            next: now,
            tried: 0,
            until: now.after(super::LIFETIME),
        }
    }

    fn read(place: &[u8], value: &[u8]) -> Result<Errand, RowError> {
        let mut from = Reader::new(value, MAX_ERRAND_LEN, "the record of an errand")?;
        let id = place.try_into().map_err(|_| from.shape())?;
        from.array_of(5)?;
        let errand = Errand {
            id,
            to: NodeId::from_bytes(from.bytes_of()?),
            request: Request::decode(from.bytes()?)?,
            next: Timestamp::from_millis(from.u64()?),
            tried: from.u64()?,
            until: Timestamp::from_millis(from.u64()?),
        };
        from.finish()?;
        Ok(errand)
    }

    /// All of them, oldest first.
    ///
    /// # Errors
    /// [`RowError`].
    pub fn all(tx: &ReadTx<'_>) -> Result<Vec<Errand>, RowError> {
        let rows = tx.group(RECOVERY_ERRANDS, ALL)?;
        rows.iter()
            .map(|(place, row)| Errand::read(place, row.expose()))
            .collect()
    }

    /// How it stands now; none when it is done or was withdrawn.
    ///
    /// # Errors
    /// [`RowError`].
    pub fn now(&self, tx: &ReadTx<'_>) -> Result<Option<Errand>, RowError> {
        let row = tx.value(RECOVERY_ERRANDS, ALL, &self.id)?;
        row.map(|row| Errand::read(&self.id, row.expose())).transpose()
    }

    /// Keeps it.
    ///
    /// # Errors
    /// [`RowError`].
    pub fn keep(&self, tx: &mut WriteTx<'_>) -> Result<(), RowError> {
        let mut out = Writer::new();
        out.array(5)
            .bytes(self.to.as_bytes())
            .bytes(&self.request.encode());
        out.u64(self.next.as_millis())
            .u64(self.tried)
            .u64(self.until.as_millis());
        Ok(tx.put(RECOVERY_ERRANDS, ALL, &self.id, &out.finish())?)
    }

    /// It is done or given up.
    ///
    /// # Errors
    /// [`RowError`].
    pub fn forget(&self, tx: &mut WriteTx<'_>) -> Result<(), RowError> {
        tx.remove(RECOVERY_ERRANDS, ALL, &self.id)?;
        Ok(())
    }

    /// The split whose share it brings.
    pub fn leaves(&self) -> Option<StatementId> {
        match &self.request {
            Request::Leave { split, .. } => Split::accept_unverified(split.clone())
                .ok()
                .map(|split| split.id()),
            _ => None,
        }
    }
}

/// What `former` holds, is told and is asked is with `next` now, who took its place. A share that did not get there was
/// sealed to keys that are gone, so it does not count.
///
/// # Errors
/// [`RowError`].
pub fn succeed(tx: &mut WriteTx<'_>, former: NodeId, next: NodeId) -> Result<(), RowError> {
    if let Some(mut own) = Own::find(tx)?
        && let Some(holder) = own.holder_mut(&former)
    {
        holder.node = next;
        if holder.delivery == Delivery::Waiting {
            holder.delivery = Delivery::Refused;
        }
        own.keep(tx)?;
    }
    for mut seeking in Seeking::all(tx)? {
        let named = seeking.friends.iter_mut().find(|(friend, _)| *friend == former);
        if let Some((friend, _)) = named {
            *friend = next;
            seeking.keep(tx)?;
        }
    }
    for errand in Errand::all(tx)? {
        if errand.to != former {
            continue;
        }
        match errand.request {
            Request::Leave { .. } => errand.forget(tx)?,
            _ => Errand { to: next, ..errand }.keep(tx)?,
        }
    }
    Ok(())
}
