//! Lines: each actor's commits, one after the other.
//!
//! A line is an actor together with its author, so that nobody can take another's name for a line of its
//! own. The end of each line is one row, which holds the last few commits; older ones move, 32 at a time,
//! to rows of their own. From these come the heads, the frontier for sync, and the commit at any number.
//!
//! Always: a line has one commit for each number. A second one is a fork, kept as evidence in a row of its
//! own; from that number on the line is set aside.

use std::ops::ControlFlow;

use polykey_core::codec::{CodecError, Reader, Writer};
use polykey_core::hash::hash;
use polykey_core::{ActorId, NodeId, label};

use crate::commit::Header;
use crate::error::VaultError;
use crate::horizon::Horizon;
use crate::id::CommitId;
use crate::rows::{FORK, LINE, Rows, RowsMut, TIP};

/// Commits in one row.
const ROW_LEN: u64 = 32;

impl Header {
    /// The name of the line that it continues: the start of the hash of author and actor. It has the form
    /// of an actor id and is used wherever a line has to be told from all others.
    pub fn line(&self) -> ActorId {
        line_of(&self.author, &self.actor)
    }
}

/// The line of `actor` when `author` writes it.
pub fn line_of(author: &NodeId, actor: &ActorId) -> ActorId {
    let whole = hash(label::LINE, &[author.as_bytes(), actor.as_bytes()]);
    let (start, _) = whole.split_first_chunk().expect("16 of 32 bytes");
    ActorId::from_bytes(*start)
}

/// The end of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tip {
    /// Who writes it.
    pub author: NodeId,
    /// The actor as its commits name it.
    pub actor: ActorId,
    /// Number of the last commit.
    pub seq: u64,
    /// The commits since the last full row, the newest last; at least one.
    pub recent: Vec<CommitId>,
    /// True when no commit builds on the last one yet.
    pub head: bool,
}

impl Tip {
    /// The last commit.
    pub fn last(&self) -> CommitId {
        *self.recent.last().expect("decoding refuses an empty tip")
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.array(5)
            .bytes(self.author.as_bytes())
            .bytes(self.actor.as_bytes())
            .u64(self.seq);
        write_commits(&mut out, &self.recent);
        out.bool(self.head);
        out.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Tip, CodecError> {
        let mut from = Reader::new(bytes, 1 << 16, "the end of a line of commits")?;
        from.array_of(5)?;
        let tip = Tip {
            author: NodeId::from_bytes(from.bytes_of()?),
            actor: ActorId::from_bytes(from.bytes_of()?),
            seq: from.u64()?,
            recent: read_commits(&mut from)?,
            head: from.bool()?,
        };
        if tip.recent.is_empty() || tip.seq < tip.recent.len() as u64 {
            return Err(from.shape());
        }
        from.finish()?;
        Ok(tip)
    }
}

fn write_commits(out: &mut Writer, commits: &[CommitId]) {
    out.array(commits.len());
    for commit in commits {
        out.bytes(commit.as_bytes());
    }
}

fn read_commits(from: &mut Reader<'_>) -> Result<Vec<CommitId>, CodecError> {
    let count = from.array()?;
    (0..count)
        .map(|_| from.bytes_of().map(CommitId::from_bytes))
        .collect()
}

/// A line that forked: evidence against its author.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fork {
    /// Who wrote two commits with one number.
    pub author: NodeId,
    /// The line.
    pub line: ActorId,
    /// The first number that two commits have.
    pub seq: u64,
    /// Commits from the fork on that are not part of the line as we know it, ascending.
    pub others: Vec<CommitId>,
}

/// The ends of all lines.
pub(crate) fn tips(rows: &dyn Rows) -> Result<Vec<(ActorId, Tip)>, VaultError> {
    let mut tips = vec![];
    rows.each(TIP, b"", &mut |item, value| {
        let line = ActorId::try_from(item.as_slice()).map_err(|_| VaultError::IndexDamaged {
            what: "the name of a line of commits",
        })?;
        tips.push((line, Tip::decode(value.expose())?));
        Ok(ControlFlow::Continue(()))
    })?;
    tips.sort_by_key(|(line, _)| *line);
    Ok(tips)
}

/// The end of one line.
pub(crate) fn tip(rows: &dyn Rows, line: &ActorId) -> Result<Option<Tip>, VaultError> {
    match rows.value(TIP, b"", line.as_bytes())? {
        Some(value) => Ok(Some(Tip::decode(value.expose())?)),
        None => Ok(None),
    }
}

/// All that is known, as a horizon.
pub(crate) fn frontier(tips: &[(ActorId, Tip)]) -> Horizon {
    tips.iter().map(|(line, tip)| (*line, tip.seq)).collect()
}

/// The commits on which nothing builds yet, ascending.
pub(crate) fn heads(rows: &dyn Rows, tips: &[(ActorId, Tip)]) -> Result<Vec<CommitId>, VaultError> {
    let mut heads: Vec<_> = tips
        .iter()
        .filter(|(_, tip)| tip.head)
        .map(|(_, tip)| tip.last())
        .collect();
    for fork in forks(rows)? {
        heads.extend(loose(rows, &fork.line)?);
    }
    heads.sort();
    heads.dedup();
    Ok(heads)
}

/// Appends a commit to its line and makes it a head in place of its parents. `false` when the line has
/// another commit of that number: then nothing was changed but the record of the fork.
pub(crate) fn append(rows: &mut dyn RowsMut, id: CommitId, header: &Header) -> Result<bool, VaultError> {
    let line = header.line();
    for (of, mut tip) in tips(rows.as_rows())? {
        if of != line && tip.head && header.parents.contains(&tip.last()) {
            tip.head = false;
            rows.put(TIP, b"", of.as_bytes(), &tip.encode())?;
        }
    }
    forget_loose(rows, &header.parents)?;
    let tip = match tip(rows.as_rows(), &line)? {
        None if header.seq == 1 => Tip {
            author: header.author,
            actor: header.actor,
            seq: 1,
            recent: vec![id],
            head: true,
        },
        Some(mut tip) if header.seq == tip.seq + 1 && header.previous == Some(tip.last()) => {
            tip.seq += 1;
            tip.head = true;
            if tip.recent.len() as u64 == ROW_LEN {
                let mut out = Writer::new();
                write_commits(&mut out, &tip.recent);
                let row = (tip.seq - 2) / ROW_LEN;
                rows.put(LINE, line.as_bytes(), &row.to_be_bytes(), &out.finish())?;
                tip.recent.clear();
            }
            tip.recent.push(id);
            tip
        }
        _ => {
            record_fork(rows, id, header)?;
            return Ok(false);
        }
    };
    rows.put(TIP, b"", line.as_bytes(), &tip.encode())?;
    Ok(true)
}

/// The commit with number `seq` of `line`.
pub(crate) fn commit_at(rows: &dyn Rows, line: &ActorId, seq: u64) -> Result<Option<CommitId>, VaultError> {
    let Some(tip) = tip(rows, line)? else {
        return Ok(None);
    };
    if seq == 0 || seq > tip.seq {
        return Ok(None);
    }
    let from_end = usize::try_from(tip.seq - seq).unwrap_or(usize::MAX);
    if from_end < tip.recent.len() {
        return Ok(Some(tip.recent[tip.recent.len() - 1 - from_end]));
    }
    let row = (seq - 1) / ROW_LEN;
    let damaged = VaultError::IndexDamaged {
        what: "a row of a line of commits is missing",
    };
    let Some(value) = rows.value(LINE, line.as_bytes(), &row.to_be_bytes())? else {
        return Err(damaged);
    };
    let mut from = Reader::new(value.expose(), 1 << 16, "a row of a line of commits")?;
    let commits = read_commits(&mut from)?;
    let at = usize::try_from((seq - 1) % ROW_LEN).expect("below 32");
    commits.get(at).copied().map(Some).ok_or(damaged)
}

/// The lines that forked.
pub(crate) fn forks(rows: &dyn Rows) -> Result<Vec<Fork>, VaultError> {
    let mut forks = vec![];
    rows.each(FORK, b"", &mut |item, value| {
        let line = ActorId::try_from(item.as_slice()).map_err(|_| VaultError::IndexDamaged {
            what: "the name of a line of commits",
        })?;
        forks.push(decode_fork(line, value.expose())?);
        Ok(ControlFlow::Continue(()))
    })?;
    forks.sort_by_key(|fork| fork.line);
    Ok(forks)
}

/// The fork of `line`, if it forked.
pub(crate) fn fork(rows: &dyn Rows, line: &ActorId) -> Result<Option<Fork>, VaultError> {
    match rows.value(FORK, b"", line.as_bytes())? {
        Some(value) => Ok(Some(decode_fork(*line, value.expose())?)),
        None => Ok(None),
    }
}

/// The number from which on `line` is set aside, if it forked.
pub(crate) fn forked_at(rows: &dyn Rows, line: &ActorId) -> Result<Option<u64>, VaultError> {
    Ok(fork(rows, line)?.map(|fork| fork.seq))
}

fn decode_fork(line: ActorId, bytes: &[u8]) -> Result<Fork, CodecError> {
    let mut from = Reader::new(bytes, 8 << 20, "a forked line")?;
    from.array_of(3)?;
    let fork = Fork {
        author: NodeId::from_bytes(from.bytes_of()?),
        line,
        seq: from.u64()?,
        others: read_commits(&mut from)?,
    };
    from.finish()?;
    Ok(fork)
}

fn record_fork(rows: &mut dyn RowsMut, id: CommitId, header: &Header) -> Result<(), VaultError> {
    let line = header.line();
    let mut fork = match fork(rows.as_rows(), &line)? {
        Some(fork) => fork,
        None => Fork {
            author: header.author,
            line,
            seq: header.seq,
            others: vec![],
        },
    };
    fork.seq = fork.seq.min(header.seq);
    fork.others.push(id);
    fork.others.sort();
    let mut out = Writer::new();
    out.array(3).bytes(fork.author.as_bytes()).u64(fork.seq);
    write_commits(&mut out, &fork.others);
    rows.put(FORK, b"", line.as_bytes(), &out.finish())?;
    // Nothing builds on it yet, and no tip names it.
    rows.put(FORK, line.as_bytes(), id.as_bytes(), &[])?;
    Ok(())
}

/// The commits of a forked line's other branches on which nothing builds.
fn loose(rows: &dyn Rows, line: &ActorId) -> Result<Vec<CommitId>, VaultError> {
    let mut loose = vec![];
    rows.each(FORK, line.as_bytes(), &mut |item, _| {
        let id = item.as_slice().try_into().map_err(|_| VaultError::IndexDamaged {
            what: "the name of a forked commit",
        })?;
        loose.push(CommitId::from_bytes(id));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(loose)
}

fn forget_loose(rows: &mut dyn RowsMut, parents: &[CommitId]) -> Result<(), VaultError> {
    for fork in forks(rows.as_rows())? {
        for parent in parents.iter().filter(|parent| fork.others.contains(parent)) {
            rows.remove(FORK, fork.line.as_bytes(), parent.as_bytes())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::memory::Memory;
    use polykey_core::{StatementId, VaultId};

    fn id(number: u64, branch: u8) -> CommitId {
        let mut bytes = [branch; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        CommitId::from_bytes(bytes)
    }

    fn header(seq: u64, branch: u8) -> Header {
        let previous = (seq > 1).then(|| id(seq - 1, branch));
        Header {
            vault: VaultId::from_bytes([0; 32]),
            actor: ActorId::from_bytes([1; 16]),
            seq,
            previous,
            author: NodeId::from_bytes([2; 32]),
            parents: previous.into_iter().collect(),
            charter_heads: vec![StatementId::from_bytes([3; 32])],
            objects: vec![],
        }
    }

    #[test]
    fn every_commit_of_a_long_line_is_found_by_number() {
        let mut rows = Memory::default();
        for seq in 1..=200 {
            assert!(append(&mut rows, id(seq, 0), &header(seq, 0)).expect("in memory"));
        }
        let line = header(1, 0).line();
        for seq in 1..=200 {
            let found = commit_at(&rows, &line, seq).expect("in memory");
            assert_eq!(found, Some(id(seq, 0)), "{seq}");
        }
        for seq in [0, 201, u64::MAX] {
            assert_eq!(commit_at(&rows, &line, seq).expect("in memory"), None);
        }
        let tips = tips(&rows).expect("in memory");
        assert_eq!(heads(&rows, &tips).expect("in memory"), [id(200, 0)]);
    }

    #[test]
    fn a_second_commit_with_one_number_is_a_fork() {
        let mut rows = Memory::default();
        for seq in 1..=3 {
            append(&mut rows, id(seq, 0), &header(seq, 0)).expect("in memory");
        }
        let mut twin = header(2, 0);
        twin.charter_heads = vec![StatementId::from_bytes([9; 32])];
        assert!(!append(&mut rows, id(2, 1), &twin).expect("in memory"));
        let line = twin.line();
        assert_eq!(forked_at(&rows, &line).expect("in memory"), Some(2));
        assert_eq!(forks(&rows).expect("in memory")[0].others, [id(2, 1)]);
        let tips = tips(&rows).expect("in memory");
        assert_eq!(heads(&rows, &tips).expect("in memory"), [id(2, 1), id(3, 0)]);
    }

    #[test]
    fn nobody_continues_anothers_line() {
        let (mine, mut theirs) = (header(1, 0), header(1, 0));
        theirs.author = NodeId::from_bytes([7; 32]);
        assert_ne!(mine.line(), theirs.line());
    }
}
