//! The book of chains: our own sigchain and those of others, in the node's database.
//!
//! Each function works inside a transaction of its caller, so that a claim, the invitation that it uses up and
//! what follows from both become durable together. Verify what a peer sends *outside* of it, with
//! [`verify_entries`](crate::sigchain::verify_entries): a signature costs more than a row.
//!
//! A chain never gets shorter here but by a branch that its recovery key vouches for. What was refused or
//! dropped is kept as [`Evidence`], up to [`MAX_EVIDENCE`] pieces a node.
//!
//! Always: entries that are read from here were verified before they were stored.

use polykey_core::codec::{Reader, Writer};
use polykey_core::genesis::SigchainStart;
use polykey_core::{NodeId, StatementId, Timestamp};
use polykey_store::{ReadTx, WriteTx};

use crate::claim::{Claim, MAX_CLAIM_LEN};
use crate::error::TrustError;
use crate::sigchain::{Chain, Checkpoint, MAX_ENTRIES, MAX_OFFER, Merged, Seen};
use crate::tables::{ALL, CHAIN, EVIDENCE, HEAD};

/// Most pieces of evidence that are kept of one node; the first ones stay.
pub const MAX_EVIDENCE: usize = 32;
/// Most entries in one piece of evidence.
pub const MAX_EVIDENCE_ENTRIES: usize = 64;
const MAX_EVIDENCE_LEN: usize = MAX_EVIDENCE_ENTRIES * (MAX_CLAIM_LEN + 8) + 256;
const MAX_HEAD_LEN: usize = 256;

/// Who sent the entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The node whose chain it is, on a connection dialled by its id: it has no reason to send less than it said.
    Owner,
    /// Another node, which may simply not have heard of the newest.
    Other,
}

/// Why something is evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvidenceKind {
    /// Two entries of the root key for one place: the entries are those that we refused.
    Fork,
    /// A fork that the recovery key has spoken after.
    Settled,
    /// Entries that a branch of the recovery key put out of force.
    Dropped,
    /// The node itself sent a chain that ends before what we had seen of it.
    Shortened,
}

/// Something that a node did to its chain, kept for the user to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// What happened.
    pub kind: EvidenceKind,
    /// The number of the first entry that differs or is missing.
    pub from: u64,
    /// When it came to our notice.
    pub seen: Timestamp,
    /// The signed entries that speak for it, the first [`MAX_EVIDENCE_ENTRIES`]; none when a chain was shortened.
    pub entries: Vec<Claim>,
}

/// The chain of `node`, when it is here.
///
/// # Errors
/// [`TrustError::Store`], and others when what is stored does not fit together.
pub fn chain(tx: &ReadTx<'_>, node: &NodeId) -> Result<Option<Chain>, TrustError> {
    let rows = tx.group(CHAIN, node.as_bytes())?;
    if rows.is_empty() {
        return Ok(None);
    }
    let entries = rows
        .into_iter()
        .map(|(_, value)| stored(node, value.expose()))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Some(Chain::verify(*node, entries)?))
}

/// The chain of `node`.
///
/// # Errors
/// As [`chain`]; [`TrustError::Unknown`].
pub fn known_chain(tx: &ReadTx<'_>, node: &NodeId) -> Result<Chain, TrustError> {
    chain(tx, node)?.ok_or(TrustError::Unknown { node: *node })
}

fn stored(node: &NodeId, bytes: &[u8]) -> Result<Claim, TrustError> {
    Claim::accept_unverified(bytes.to_vec()).map_err(|error| TrustError::Claim {
        node: *node,
        source: Box::new(error),
    })
}

/// What was last seen of each chain.
///
/// # Errors
/// [`TrustError::Store`], [`TrustError::Row`].
pub fn heads(tx: &ReadTx<'_>) -> Result<Vec<Checkpoint>, TrustError> {
    tx.group(HEAD, ALL)?
        .into_iter()
        .map(|(_, value)| decode_head(value.expose()))
        .collect()
}

/// What was last seen of the chain of `node`.
///
/// # Errors
/// [`TrustError::Store`], [`TrustError::Row`].
pub fn head(tx: &ReadTx<'_>, node: &NodeId) -> Result<Option<Checkpoint>, TrustError> {
    tx.value(HEAD, ALL, node.as_bytes())?
        .map(|value| decode_head(value.expose()))
        .transpose()
}

/// The entries of a chain from number `from` on, at most [`MAX_OFFER`]: what another node is sent.
///
/// # Errors
/// [`TrustError::Store`].
pub fn entries_from(tx: &ReadTx<'_>, node: &NodeId, from: u64) -> Result<Vec<Vec<u8>>, TrustError> {
    let mut entries = vec![];
    for number in (from..=u64::MAX).take(MAX_OFFER) {
        match tx.value(CHAIN, node.as_bytes(), &number.to_be_bytes())? {
            Some(value) => entries.push(value.expose().to_vec()),
            None => break,
        }
    }
    Ok(entries)
}

/// Founds our own chain.
///
/// # Errors
/// [`TrustError::Founded`] when there is one; [`TrustError::Store`].
pub fn found(tx: &mut WriteTx<'_>, start: SigchainStart) -> Result<Chain, TrustError> {
    let node = start.node();
    if head(tx, &node)?.is_some() {
        return Err(TrustError::Founded { node });
    }
    let chain = Chain::from_start(start);
    write(tx, &chain, 0)?;
    Ok(chain)
}

/// Adds an entry that was made here to the chain of its node.
///
/// # Errors
/// [`TrustError::Unknown`], [`TrustError::Chain`], [`TrustError::Store`].
pub fn append(tx: &mut WriteTx<'_>, claim: Claim) -> Result<Chain, TrustError> {
    let mut chain = known_chain(tx, &claim.node())?;
    let from = claim.number();
    chain.push(claim)?;
    write(tx, &chain, from)?;
    Ok(chain)
}

/// Takes in verified entries of the chain of `node` from elsewhere: a run that joins what we have, or begins
/// with its start. Says what became of them; the chain afterwards is what [`chain`] reads.
///
/// # Errors
/// [`TrustError::Chain`] when they are no chain, [`TrustError::Store`]; nothing is changed then.
pub fn receive(
    tx: &mut WriteTx<'_>,
    node: &NodeId,
    entries: Vec<Claim>,
    source: Source,
    now: Timestamp,
) -> Result<Merged, TrustError> {
    let Some(mut ours) = chain(tx, node)? else {
        return receive_first(tx, node, entries, now);
    };
    let before = ours.head().vouched;
    let merged = ours.merge(&entries)?;
    if ours.head().vouched != before {
        settle(tx, node)?;
    }
    match &merged {
        Merged::Same => {}
        Merged::Extended { from } => write(tx, &ours, *from)?,
        Merged::Shorter { number } => {
            if source == Source::Owner {
                keep(tx, node, EvidenceKind::Shortened, number + 1, &[], now)?;
            }
        }
        Merged::Forked { from, refused } => keep(tx, node, EvidenceKind::Fork, *from, refused, now)?,
        Merged::Replaced { from, dropped } => {
            keep(tx, node, EvidenceKind::Dropped, *from, dropped, now)?;
            for claim in dropped {
                tx.remove(CHAIN, node.as_bytes(), &claim.number().to_be_bytes())?;
            }
            write(tx, &ours, *from)?;
        }
    }
    Ok(merged)
}

/// Takes in a chain of which no entry is here; perhaps its head was seen before.
fn receive_first(
    tx: &mut WriteTx<'_>,
    node: &NodeId,
    entries: Vec<Claim>,
    now: Timestamp,
) -> Result<Merged, TrustError> {
    let theirs = Chain::verify(*node, entries)?;
    let seen = match head(tx, node)? {
        Some(head) => (head.number, head.compare(&theirs)),
        None => (0, Seen::Continues),
    };
    match seen {
        (_, Seen::Continues | Seen::Branch) => {
            write(tx, &theirs, 0)?;
            Ok(Merged::Extended { from: 0 })
        }
        // A long chain comes in several runs: only together they reach what was seen.
        (_, Seen::Shortened) => Ok(Merged::Shorter {
            number: theirs.head().number,
        }),
        (from, Seen::Forked) => {
            let refused = theirs.entries().to_vec();
            keep(tx, node, EvidenceKind::Fork, from, &refused, now)?;
            Ok(Merged::Forked { from, refused })
        }
    }
}

/// Forgets the entries of a chain, and not how far it went: a shortened or forked one is still noticed.
///
/// # Errors
/// [`TrustError::Store`].
pub fn forget(tx: &mut WriteTx<'_>, node: &NodeId) -> Result<(), TrustError> {
    tx.remove_group(CHAIN, node.as_bytes())?;
    Ok(())
}

/// What is held against a node's chain, in no useful order.
///
/// # Errors
/// [`TrustError::Store`], [`TrustError::Row`], [`TrustError::Claim`].
pub fn evidence(tx: &ReadTx<'_>, node: &NodeId) -> Result<Vec<Evidence>, TrustError> {
    let rows = tx.group(EVIDENCE, node.as_bytes())?;
    rows.into_iter()
        .map(|(_, value)| decode_evidence(node, value.expose()))
        .collect()
}

/// True when somebody forked a node's chain with its root key and the recovery key has not spoken since. Such a
/// node passes no rights on: somebody else may have its root key.
///
/// # Errors
/// [`TrustError::Store`].
pub fn is_doubtful(tx: &ReadTx<'_>, node: &NodeId) -> Result<bool, TrustError> {
    Ok(evidence(tx, node)?
        .iter()
        .any(|piece| piece.kind == EvidenceKind::Fork))
}

/// The owner of the recovery key has looked at the chain: what was forked before is history.
fn settle(tx: &mut WriteTx<'_>, node: &NodeId) -> Result<(), TrustError> {
    for (item, value) in tx.group(EVIDENCE, node.as_bytes())? {
        let piece = decode_evidence(node, value.expose())?;
        if piece.kind == EvidenceKind::Fork {
            let settled = Evidence {
                kind: EvidenceKind::Settled,
                ..piece
            };
            tx.put(EVIDENCE, node.as_bytes(), &item, &encode_evidence(&settled))?;
        }
    }
    Ok(())
}

fn write(tx: &mut WriteTx<'_>, chain: &Chain, from: u64) -> Result<(), TrustError> {
    let node = chain.node();
    for claim in chain.entries().iter().skip_while(|claim| claim.number() < from) {
        tx.put(
            CHAIN,
            node.as_bytes(),
            &claim.number().to_be_bytes(),
            claim.as_bytes(),
        )?;
    }
    tx.put(HEAD, ALL, node.as_bytes(), &encode_head(&chain.head()))?;
    Ok(())
}

fn keep(
    tx: &mut WriteTx<'_>,
    node: &NodeId,
    kind: EvidenceKind,
    from: u64,
    entries: &[Claim],
    now: Timestamp,
) -> Result<(), TrustError> {
    // The first entry that differs names the piece, so that the same fork is kept once.
    let item = match entries.first() {
        Some(first) => *first.id().as_bytes(),
        None => [0; StatementId::LEN],
    };
    if tx.contains(EVIDENCE, node.as_bytes(), &item)? {
        return Ok(());
    }
    let kept = tx.group(EVIDENCE, node.as_bytes())?;
    if kept.len() >= MAX_EVIDENCE {
        // A thief who signs fork after fork fills no disk: the first ones prove as much as all. They take the
        // place of what is settled.
        let mut older = None;
        for (item, value) in &kept {
            if decode_evidence(node, value.expose())?.kind != EvidenceKind::Fork {
                older = Some(item);
            }
        }
        let Some(older) = older else { return Ok(()) };
        tx.remove(EVIDENCE, node.as_bytes(), older)?;
    }
    let piece = Evidence {
        kind,
        from,
        seen: now,
        entries: entries[..entries.len().min(MAX_EVIDENCE_ENTRIES)].to_vec(),
    };
    tx.put(EVIDENCE, node.as_bytes(), &item, &encode_evidence(&piece))?;
    Ok(())
}

fn encode_evidence(piece: &Evidence) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.array(4).u64(match piece.kind {
        EvidenceKind::Fork => 0,
        EvidenceKind::Dropped => 1,
        EvidenceKind::Shortened => 2,
        EvidenceKind::Settled => 3,
    });
    writer.u64(piece.from).u64(piece.seen.as_millis());
    writer.array(piece.entries.len());
    for claim in &piece.entries {
        writer.bytes(claim.as_bytes());
    }
    writer.finish()
}

fn decode_evidence(node: &NodeId, bytes: &[u8]) -> Result<Evidence, TrustError> {
    const WHAT: &str = "evidence against a sigchain";
    let damaged = TrustError::row(WHAT);
    let mut reader = Reader::new(bytes, MAX_EVIDENCE_LEN, WHAT).map_err(&damaged)?;
    reader.array_of(4).map_err(&damaged)?;
    let kind = match reader.u64().map_err(&damaged)? {
        0 => EvidenceKind::Fork,
        1 => EvidenceKind::Dropped,
        2 => EvidenceKind::Shortened,
        3 => EvidenceKind::Settled,
        _ => return Err(damaged(reader.shape())),
    };
    let from = reader.u64().map_err(&damaged)?;
    let seen = Timestamp::from_millis(reader.u64().map_err(&damaged)?);
    let count = reader.array().map_err(&damaged)?;
    let mut entries = Vec::with_capacity(count.min(MAX_EVIDENCE_ENTRIES));
    for _ in 0..count {
        entries.push(stored(node, reader.bytes().map_err(&damaged)?)?);
    }
    reader.finish().map_err(&damaged)?;
    Ok(Evidence {
        kind,
        from,
        seen,
        entries,
    })
}

fn encode_head(head: &Checkpoint) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.array(6).bytes(head.node.as_bytes()).u64(head.number);
    writer.bytes(head.id.as_bytes()).bytes(head.recovery.as_bytes());
    writer
        .u64(head.vouched.0.as_millis())
        .bytes(head.vouched.1.as_bytes());
    writer.finish()
}

fn decode_head(bytes: &[u8]) -> Result<Checkpoint, TrustError> {
    const WHAT: &str = "the end of a sigchain";
    let read = || {
        let mut reader = Reader::new(bytes, MAX_HEAD_LEN, WHAT)?;
        reader.array_of(6)?;
        let head = Checkpoint {
            node: NodeId::from_bytes(reader.bytes_of()?),
            number: reader.u64()?,
            id: StatementId::from_bytes(reader.bytes_of()?),
            recovery: NodeId::from_bytes(reader.bytes_of()?),
            vouched: (
                Timestamp::from_millis(reader.u64()?),
                StatementId::from_bytes(reader.bytes_of()?),
            ),
        };
        if head.number >= MAX_ENTRIES as u64 {
            return Err(reader.shape());
        }
        reader.finish()?;
        Ok(head)
    };
    read().map_err(TrustError::row(WHAT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cast::{Person, time};
    use crate::claim::Body;
    use crate::sigchain::ChainError;
    use crate::trial::database;

    fn identity(name: &str) -> Body {
        Body::Identity(format!("github.com:{name}").parse().unwrap())
    }

    /// A chain with these identities behind its start.
    fn saying(person: &Person, names: &[&str]) -> Chain {
        let mut chain = person.chain();
        for name in names {
            person.says(&mut chain, &identity(name));
        }
        chain
    }

    fn take(
        db: &polykey_store::Database,
        chain: &Chain,
        from: usize,
        source: Source,
    ) -> Result<Merged, TrustError> {
        let entries = chain.entries()[from..].to_vec();
        db.write(|tx| receive(tx, &chain.node(), entries, source, time(77)))
    }

    fn read(db: &polykey_store::Database, person: &Person) -> (Option<Chain>, Vec<Evidence>) {
        db.read(|tx| Ok::<_, TrustError>((chain(tx, &person.node())?, evidence(tx, &person.node())?)))
            .unwrap()
    }

    #[test]
    fn our_own_chain_is_founded_once_and_grows() {
        let (_folder, db) = database();
        let a = Person::new(1);
        let body = identity("alice");
        let unknown = Claim::sign(&a.keys.root, None, a.chain().next_place(), time(1), &body).unwrap();
        let missing = db.write(|tx| append(tx, unknown.clone()));
        assert!(matches!(missing, Err(TrustError::Unknown { .. })));
        db.write(|tx| found(tx, a.start())).unwrap();
        assert!(matches!(
            db.write(|tx| found(tx, a.start())),
            Err(TrustError::Founded { .. })
        ));
        db.write(|tx| append(tx, unknown.clone())).unwrap();
        let twice = db.write(|tx| append(tx, unknown.clone()));
        assert!(matches!(twice, Err(TrustError::Chain(ChainError::Gap { .. }))));
        let (chain, evidence) = read(&db, &a);
        let want = Chain::verify(a.node(), vec![a.start().into(), unknown]).unwrap();
        assert_eq!(chain, Some(want));
        assert!(evidence.is_empty());
        db.read(|tx| {
            assert_eq!(heads(tx)?, [chain.as_ref().unwrap().head()]);
            assert_eq!(entries_from(tx, &a.node(), 1)?.len(), 1);
            for beyond in [2, 9, u64::MAX] {
                assert_eq!(entries_from(tx, &a.node(), beyond)?.len(), 0);
            }
            Ok::<_, TrustError>(())
        })
        .unwrap();
    }

    #[test]
    fn others_chains_come_in_runs() {
        let (_folder, db) = database();
        let a = Person::new(1);
        let whole = saying(&a, &["a", "b", "c"]);
        let gap = take(&db, &whole, 1, Source::Owner);
        assert!(gap.is_err(), "a chain begins with its start");
        let short = Chain::verify(a.node(), whole.entries()[..2].to_vec()).unwrap();
        assert_eq!(
            take(&db, &short, 0, Source::Owner).unwrap(),
            Merged::Extended { from: 0 }
        );
        assert_eq!(
            take(&db, &whole, 2, Source::Owner).unwrap(),
            Merged::Extended { from: 2 }
        );
        assert_eq!(take(&db, &whole, 0, Source::Owner).unwrap(), Merged::Same);
        assert_eq!(read(&db, &a), (Some(whole), vec![]));
    }

    #[test]
    fn a_shortened_chain_is_held_against_its_owner_alone() {
        let (_folder, db) = database();
        let a = Person::new(1);
        let whole = saying(&a, &["a", "b"]);
        let short = saying(&a, &["a"]);
        take(&db, &whole, 0, Source::Owner).unwrap();
        let shorter = Merged::Shorter { number: 1 };
        assert_eq!(take(&db, &short, 0, Source::Other).unwrap(), shorter);
        assert_eq!(read(&db, &a).1, []);
        for _ in 0..3 {
            assert_eq!(take(&db, &short, 0, Source::Owner).unwrap(), shorter);
        }
        let (chain, evidence) = read(&db, &a);
        assert_eq!(chain, Some(whole));
        assert_eq!(evidence.len(), 1);
        let Evidence {
            kind,
            from,
            seen,
            entries,
        } = &evidence[0];
        assert_eq!(
            (*kind, *from, *seen, entries.len()),
            (EvidenceKind::Shortened, 2, time(77), 0)
        );
    }

    #[test]
    fn forks_are_kept_and_bounded() {
        let (_folder, db) = database();
        let a = Person::new(1);
        let ours = saying(&a, &["a"]);
        take(&db, &ours, 0, Source::Owner).unwrap();
        for n in 0..MAX_EVIDENCE + 5 {
            let fork = saying(&a, &[&format!("fork{n}"), "more"]);
            for _ in 0..2 {
                assert!(matches!(
                    take(&db, &fork, 0, Source::Owner).unwrap(),
                    Merged::Forked { from: 1, .. }
                ));
            }
        }
        let (chain, evidence) = read(&db, &a);
        assert_eq!(chain, Some(ours));
        assert_eq!(evidence.len(), MAX_EVIDENCE);
        assert!(
            evidence
                .iter()
                .all(|piece| piece.kind == EvidenceKind::Fork && piece.entries.len() == 2)
        );
        assert!(db.read(|tx| is_doubtful(tx, &a.node())).unwrap());
    }

    #[test]
    fn a_branch_of_the_recovery_key_takes_the_place_of_a_longer_one() {
        let (_folder, db) = database();
        let a = Person::new(1);
        let thief = saying(&a, &["m", "n", "o"]);
        let mut owner = a.chain();
        a.insists(&mut owner, &Body::Resume, 99);
        take(&db, &thief, 0, Source::Owner).unwrap();
        let merged = take(&db, &owner, 0, Source::Owner).unwrap();
        assert!(matches!(merged, Merged::Replaced { from: 1, .. }));
        let (chain, evidence) = read(&db, &a);
        assert_eq!(chain, Some(owner));
        assert_eq!((evidence.len(), evidence[0].kind), (1, EvidenceKind::Dropped));
        assert_eq!(evidence[0].entries, thief.entries()[1..]);
        assert!(!db.read(|tx| is_doubtful(tx, &a.node())).unwrap());
    }

    #[test]
    fn the_recovery_key_settles_forks_until_the_next_one() {
        let (_folder, db) = database();
        let a = Person::new(1);
        let mut ours = saying(&a, &["a"]);
        take(&db, &ours, 0, Source::Owner).unwrap();
        let doubtful = || db.read(|tx| is_doubtful(tx, &a.node())).unwrap();
        for n in 0..MAX_EVIDENCE {
            take(&db, &saying(&a, &[&format!("fork{n}")]), 0, Source::Owner).unwrap();
        }
        assert!(doubtful());
        a.insists(&mut ours, &Body::Resume, 50);
        take(&db, &ours, 2, Source::Owner).unwrap();
        assert!(!doubtful());
        take(&db, &saying(&a, &["fork0"]), 0, Source::Owner).unwrap();
        assert!(!doubtful(), "the same fork as before");
        take(&db, &saying(&a, &["new"]), 0, Source::Owner).unwrap();
        assert!(doubtful());
        assert_eq!(read(&db, &a).1.len(), MAX_EVIDENCE);
    }

    #[test]
    fn a_forgotten_chain_cannot_come_back_shorter() {
        let (_folder, db) = database();
        let a = Person::new(1);
        let whole = saying(&a, &["a", "b"]);
        take(&db, &whole, 0, Source::Owner).unwrap();
        db.write(|tx| forget(tx, &a.node())).unwrap();
        assert_eq!(read(&db, &a).0, None);
        let short = take(&db, &saying(&a, &["a"]), 0, Source::Owner).unwrap();
        assert_eq!(short, Merged::Shorter { number: 1 });
        let fork = take(&db, &saying(&a, &["x", "y", "z"]), 0, Source::Owner).unwrap();
        assert!(matches!(fork, Merged::Forked { .. }));
        assert_eq!(read(&db, &a).0, None);
        take(&db, &whole, 0, Source::Other).unwrap();
        assert_eq!(read(&db, &a).0, Some(whole));
    }
}
