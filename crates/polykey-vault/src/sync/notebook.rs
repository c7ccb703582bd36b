//! The notebook: what a vault knows about its own sync and remembers about others.
//!
//! Evidence of offences is kept for people to look at. What another replica was last seen to have is kept so
//! that less than that is noticed the next time.

use std::ops::ControlFlow;

use polykey_core::NodeId;
use polykey_core::StatementId;
use polykey_core::codec::{CodecError, Reader, Writer};
use polykey_core::hash::hash;
use polykey_core::id::ActorId;
use polykey_core::label;

use super::message::{MAX_CHARTER_IDS, MAX_LINES, MAX_MESSAGE_LEN, Tip};
use super::pull::Seen;
use super::replica::{Evidence, Offence, Replica};
use crate::charter::LineId;
use crate::error::VaultError;
use crate::rows::{EVIDENCE, Rows, RowsMut, SEEN, WANTED};
use crate::vault::Vault;

/// Longest item that is kept as evidence whole; of a longer one the start is.
const MAX_ITEM: usize = 1 << 20;
/// Most pieces of evidence that one vault keeps: a hostile peer must not fill the disk.
const MAX_EVIDENCE: usize = 1024;

/// Where a replica stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncState {
    /// Its charter heads.
    pub heads: Vec<StatementId>,
    /// The ends of its lines, of all their branches.
    pub tips: Vec<Tip>,
    /// Objects of its commits that have not come yet.
    pub wanted: usize,
}

impl SyncState {
    /// How many commits are here that somebody lacks who was seen to have `seen`.
    pub fn ahead_of(&self, seen: &Seen) -> u64 {
        let behind = self.tips.iter().map(|tip| {
            let theirs = seen.tips.iter().filter(|other| other.line == tip.line);
            tip.seq
                .saturating_sub(theirs.map(|other| other.seq).max().unwrap_or(0))
        });
        behind.sum()
    }

    /// True when somebody who was seen to have `seen` has all charter heads and all commits that are here.
    pub fn is_held_by(&self, seen: &Seen) -> bool {
        let tips = self.tips.iter().all(|tip| {
            let mut theirs = seen.tips.iter().filter(|other| other.line == tip.line);
            theirs.any(|other| other.seq > tip.seq || other.commit == tip.commit)
        });
        tips && self.heads.iter().all(|head| seen.heads.contains(head))
    }
}

impl Vault {
    /// Where this copy of the vault stands: for announcements, and to say how far others are behind.
    ///
    /// # Errors
    /// [`VaultError::Store`].
    pub fn sync_state(&self) -> Result<SyncState, VaultError> {
        let (tips, heads) = (Replica::tips(self)?, self.shared().membership().charter.heads());
        let mut wanted = 0;
        self.shared().database.read(|tx| {
            Rows::each(tx, WANTED, b"", &mut |_, _| {
                wanted += 1;
                Ok(ControlFlow::Continue(()))
            })
        })?;
        Ok(SyncState { heads, tips, wanted })
    }

    /// What others did that no honest program does.
    ///
    /// # Errors
    /// [`VaultError::Store`].
    pub fn evidence(&self) -> Result<Vec<Evidence>, VaultError> {
        let mut all = Vec::new();
        self.shared().database.read(|tx| {
            Rows::each(tx, EVIDENCE, b"", &mut |_, value| {
                all.push(decode_evidence(value.expose())?);
                Ok(ControlFlow::Continue(()))
            })
        })?;
        all.sort_by(|a, b| (a.author, a.peer, &a.item).cmp(&(b.author, b.peer, &b.item)));
        Ok(all)
    }

    /// What the replica `whom` was last seen to have; nothing when it never was. `whom` is any name that the
    /// caller gives it, at most 64 bytes: a node's id, or a folder's.
    ///
    /// # Errors
    /// [`VaultError::Store`].
    pub fn seen(&self, whom: &[u8]) -> Result<Seen, VaultError> {
        let value = self
            .shared()
            .database
            .read(|tx| Rows::value(tx, SEEN, b"", whom))?;
        match value {
            Some(value) => Ok(decode_seen(value.expose())?),
            None => Ok(Seen::default()),
        }
    }

    /// Remembers what the replica `whom` has.
    ///
    /// # Errors
    /// [`VaultError::Store`].
    pub fn remember_seen(&self, whom: &[u8], seen: &Seen) -> Result<(), VaultError> {
        if self.seen(whom)? == *seen {
            return Ok(());
        }
        let value = encode_seen(seen);
        self.shared().database.write(|tx| {
            let rows: &mut dyn RowsMut = tx;
            Ok(rows.put(SEEN, b"", whom, &value)?)
        })
    }
}

/// Keeps a piece of evidence, once, while there is room for it.
pub(super) fn put_evidence(rows: &mut dyn RowsMut, evidence: &Evidence) -> Result<(), VaultError> {
    let value = encode_evidence(evidence);
    let name = hash(label::OBJECT, &[&value]);
    let mut count = 0;
    rows.each(EVIDENCE, b"", &mut |_, _| {
        count += 1;
        Ok(ControlFlow::Continue(()))
    })?;
    if count < MAX_EVIDENCE {
        rows.put(EVIDENCE, b"", &name, &value)?;
    }
    Ok(())
}

fn encode_evidence(evidence: &Evidence) -> Vec<u8> {
    let mut w = Writer::new();
    w.array(5).bytes(evidence.peer.as_bytes());
    match &evidence.author {
        Some(author) => w.bytes(author.as_bytes()),
        None => w.null(),
    };
    let (number, other) = match &evidence.offence {
        Offence::BadItem => (0, None),
        Offence::Misplaced => (1, None),
        Offence::Fork { other } => (2, Some(other)),
        Offence::Disorder => (3, None),
    };
    w.u64(number);
    match other {
        Some(other) => w.bytes(other.as_bytes()),
        None => w.null(),
    };
    w.bytes(&evidence.item[..evidence.item.len().min(MAX_ITEM)]);
    w.finish()
}

fn decode_evidence(bytes: &[u8]) -> Result<Evidence, CodecError> {
    let mut from = Reader::new(bytes, MAX_ITEM + 1024, "evidence")?;
    from.array_of(5)?;
    let peer = NodeId::from_bytes(from.bytes_of()?);
    let author = match from.null()? {
        true => None,
        false => Some(NodeId::from_bytes(from.bytes_of()?)),
    };
    let number = from.u64()?;
    let other = match from.null()? {
        true => None,
        false => Some(StatementId::from_bytes(from.bytes_of()?)),
    };
    let offence = match (number, other) {
        (0, None) => Offence::BadItem,
        (1, None) => Offence::Misplaced,
        (2, Some(other)) => Offence::Fork { other },
        (3, None) => Offence::Disorder,
        _ => return Err(from.shape()),
    };
    let item = from.bytes()?.to_vec();
    from.finish()?;
    Ok(Evidence {
        peer,
        author,
        offence,
        item,
    })
}

fn encode_seen(seen: &Seen) -> Vec<u8> {
    let mut w = Writer::new();
    w.array(2).array(seen.heads.len().min(MAX_CHARTER_IDS));
    for head in seen.heads.iter().take(MAX_CHARTER_IDS) {
        w.bytes(head.as_bytes());
    }
    w.array(seen.tips.len().min(MAX_LINES));
    for tip in seen.tips.iter().take(MAX_LINES) {
        w.array(4)
            .bytes(tip.line.author.as_bytes())
            .bytes(tip.line.actor.as_bytes())
            .u64(tip.seq)
            .bytes(tip.commit.as_bytes());
    }
    w.finish()
}

fn decode_seen(bytes: &[u8]) -> Result<Seen, CodecError> {
    let mut from = Reader::new(bytes, MAX_MESSAGE_LEN, "what a replica was seen to have")?;
    from.array_of(2)?;
    let mut seen = Seen::default();
    for _ in 0..from.array()? {
        seen.heads.push(StatementId::from_bytes(from.bytes_of()?));
    }
    for _ in 0..from.array()? {
        from.array_of(4)?;
        let line = LineId {
            author: NodeId::from_bytes(from.bytes_of()?),
            actor: ActorId::from_bytes(from.bytes_of()?),
        };
        seen.tips.push(Tip {
            line,
            seq: from.u64()?,
            commit: StatementId::from_bytes(from.bytes_of()?),
        });
    }
    from.finish()?;
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::Trial;

    fn tip(actor: u8, seq: u64, commit: u8) -> Tip {
        Tip {
            line: LineId {
                author: NodeId::from_bytes([1; 32]),
                actor: ActorId::from_bytes([actor; 16]),
            },
            seq,
            commit: StatementId::from_bytes([commit; 32]),
        }
    }

    #[test]
    fn what_was_seen_is_remembered_for_each() {
        let trial = Trial::new();
        assert_eq!(trial.seen(b"a").expect("open"), Seen::default());
        let seen = Seen {
            heads: vec![StatementId::from_bytes([1; 32])],
            tips: vec![tip(1, 7, 2), tip(2, 1, 3)],
        };
        trial.remember_seen(b"a", &seen).expect("stored");
        let trial = trial.reopen();
        assert_eq!(trial.seen(b"a").expect("open"), seen);
        assert_eq!(trial.seen(b"b").expect("open"), Seen::default());
    }

    #[test]
    fn evidence_of_each_sort_reads_back_once() {
        let trial = Trial::new();
        let other = StatementId::from_bytes([9; 32]);
        let offences = [
            Offence::BadItem,
            Offence::Misplaced,
            Offence::Fork { other },
            Offence::Disorder,
        ];
        for (at, offence) in offences.into_iter().enumerate() {
            let evidence = Evidence {
                peer: NodeId::from_bytes([at as u8; 32]),
                author: at.is_multiple_of(2).then(|| NodeId::from_bytes([7; 32])),
                offence,
                item: vec![at as u8; 10],
            };
            for _ in 0..2 {
                trial
                    .vault
                    .clone()
                    .keep_evidence(evidence.clone())
                    .expect("stored");
            }
            let all = trial.evidence().expect("open");
            assert!(all.len() == at + 1 && all.contains(&evidence));
        }
    }

    #[test]
    fn a_lag_is_what_the_other_lacks() {
        let state = SyncState {
            heads: vec![StatementId::from_bytes([1; 32])],
            tips: vec![tip(1, 7, 2), tip(2, 3, 3)],
            wanted: 0,
        };
        let seen = |tips: &[Tip]| Seen {
            heads: state.heads.clone(),
            tips: tips.to_vec(),
        };
        assert_eq!(state.ahead_of(&Seen::default()), 10);
        assert_eq!(state.ahead_of(&seen(&[tip(1, 5, 9)])), 5);
        assert_eq!(state.ahead_of(&seen(&[tip(1, 9, 9), tip(2, 3, 3)])), 0);
        assert!(state.is_held_by(&seen(&[tip(1, 9, 9), tip(2, 3, 3)])));
        for lacking in [&[tip(1, 7, 2)][..], &[tip(1, 7, 8), tip(2, 3, 3)]] {
            assert!(!state.is_held_by(&seen(lacking)));
        }
        assert!(!state.is_held_by(&Seen {
            heads: Vec::new(),
            tips: state.tips.clone()
        }));
    }
}
