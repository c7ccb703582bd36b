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
use polykey_core::{ActorId, NodeId, Timestamp, label};

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
    /// What is known about the last commit, so that the next one need not look it up.
    pub last: Last,
}

/// What the next commit asks about the last one of a line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Last {
    /// Its height.
    pub height: u64,
    /// When it was made, by its author's clock.
    pub time: Timestamp,
    /// What it had seen, itself included.
    pub horizon: Horizon,
}

/// The ends of all lines and the forks, as they stand before a commit comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lines {
    pub tips: Vec<(ActorId, Tip)>,
    pub forks: Vec<Fork>,
}

impl Lines {
    pub fn load(rows: &dyn Rows) -> Result<Lines, VaultError> {
        Ok(Lines {
            tips: tips(rows)?,
            forks: forks(rows)?,
        })
    }

    /// The end of one line.
    pub fn tip(&self, line: &ActorId) -> Option<&Tip> {
        let found = self.tips.binary_search_by_key(line, |(of, _)| *of);
        found.ok().map(|at| &self.tips[at].1)
    }

    /// The end whose last commit this is.
    pub fn ending_in(&self, commit: &CommitId) -> Option<&Tip> {
        self.tips
            .iter()
            .map(|(_, tip)| tip)
            .find(|tip| tip.commit() == *commit)
    }

    /// All that is known, as a horizon.
    pub fn frontier(&self) -> Horizon {
        self.tips.iter().map(|(line, tip)| (*line, tip.seq)).collect()
    }

    /// The commits on which nothing builds yet, ascending.
    pub fn heads(&self, rows: &dyn Rows) -> Result<Vec<CommitId>, VaultError> {
        let tips = self.tips.iter().filter(|(_, tip)| tip.head);
        let mut heads: Vec<_> = tips.map(|(_, tip)| tip.commit()).collect();
        for fork in &self.forks {
            heads.extend(loose(rows, &fork.line)?);
        }
        heads.sort();
        heads.dedup();
        Ok(heads)
    }
}

impl Tip {
    /// The last commit.
    pub fn commit(&self) -> CommitId {
        *self.recent.last().expect("decoding refuses an empty tip")
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.array(6)
            .bytes(self.author.as_bytes())
            .bytes(self.actor.as_bytes())
            .u64(self.seq);
        write_commits(&mut out, &self.recent);
        out.bool(self.head)
            .array(3)
            .u64(self.last.height)
            .u64(self.last.time.as_millis());
        self.last.horizon.write(&mut out);
        out.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Tip, CodecError> {
        let mut from = Reader::new(bytes, 1 << 20, "the end of a line of commits")?;
        from.array_of(6)?;
        let tip = Tip {
            author: NodeId::from_bytes(from.bytes_of()?),
            actor: ActorId::from_bytes(from.bytes_of()?),
            seq: from.u64()?,
            recent: read_commits(&mut from)?,
            head: from.bool()?,
            last: {
                from.array_of(3)?;
                Last {
                    height: from.u64()?,
                    time: Timestamp::from_millis(from.u64()?),
                    horizon: Horizon::read(&mut from)?,
                }
            },
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

/// Appends a commit to its line and makes it a head in place of its parents. `false` when the line has
/// another commit of that number: then nothing was changed but the record of the fork.
pub(crate) fn append(
    rows: &mut dyn RowsMut,
    lines: &Lines,
    id: CommitId,
    header: &Header,
    last: Last,
) -> Result<bool, VaultError> {
    let line = header.line();
    for (of, tip) in &lines.tips {
        if *of != line && tip.head && header.parents.contains(&tip.commit()) {
            let mut tip = tip.clone();
            tip.head = false;
            rows.put(TIP, b"", of.as_bytes(), &tip.encode())?;
        }
    }
    for fork in &lines.forks {
        for parent in header
            .parents
            .iter()
            .filter(|parent| fork.others.contains(parent))
        {
            rows.remove(FORK, fork.line.as_bytes(), parent.as_bytes())?;
        }
    }
    let tip = match lines.tip(&line).cloned() {
        None if header.seq == 1 => Tip {
            author: header.author,
            actor: header.actor,
            seq: 1,
            recent: vec![id],
            head: true,
            last,
        },
        Some(mut tip) if header.seq == tip.seq + 1 && header.previous == Some(tip.commit()) => {
            tip.seq += 1;
            tip.head = true;
            tip.last = last;
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

/// Says when the last commit of a line was made, once that is known.
pub(crate) fn set_time(
    rows: &mut dyn RowsMut,
    line: &ActorId,
    id: CommitId,
    time: Timestamp,
) -> Result<(), VaultError> {
    if let Some(mut tip) = tip(rows.as_rows(), line)?
        && tip.commit() == id
    {
        tip.last.time = time;
        rows.put(TIP, b"", line.as_bytes(), &tip.encode())?;
    }
    Ok(())
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

    fn add(rows: &mut Memory, id: CommitId, header: &Header) -> bool {
        let lines = Lines::load(rows).expect("in memory");
        append(rows, &lines, id, header, Last::default()).expect("in memory")
    }

    fn heads(rows: &Memory) -> Vec<CommitId> {
        let lines = Lines::load(rows).expect("in memory");
        lines.heads(rows).expect("in memory")
    }

    #[test]
    fn every_commit_of_a_long_line_is_found_by_number() {
        let mut rows = Memory::default();
        for seq in 1..=200 {
            assert!(add(&mut rows, id(seq, 0), &header(seq, 0)));
        }
        let line = header(1, 0).line();
        for seq in 1..=200 {
            let found = commit_at(&rows, &line, seq).expect("in memory");
            assert_eq!(found, Some(id(seq, 0)), "{seq}");
        }
        for seq in [0, 201, u64::MAX] {
            assert_eq!(commit_at(&rows, &line, seq).expect("in memory"), None);
        }
        assert_eq!(heads(&rows), [id(200, 0)]);
    }

    #[test]
    fn a_second_commit_with_one_number_is_a_fork() {
        let mut rows = Memory::default();
        for seq in 1..=3 {
            add(&mut rows, id(seq, 0), &header(seq, 0));
        }
        let mut twin = header(2, 0);
        twin.charter_heads = vec![StatementId::from_bytes([9; 32])];
        assert!(!add(&mut rows, id(2, 1), &twin));
        let line = twin.line();
        assert_eq!(forked_at(&rows, &line).expect("in memory"), Some(2));
        assert_eq!(forks(&rows).expect("in memory")[0].others, [id(2, 1)]);
        assert_eq!(heads(&rows), [id(2, 1), id(3, 0)]);
    }

    #[test]
    fn nobody_continues_the_line_of_another() {
        let (mine, mut theirs) = (header(1, 0), header(1, 0));
        theirs.author = NodeId::from_bytes([7; 32]);
        assert_ne!(mine.line(), theirs.line());
    }
}
