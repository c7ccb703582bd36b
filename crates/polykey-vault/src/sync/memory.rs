//! A replica in memory for the tests, with a commit format that has just what sync looks at, and the means to
//! write, to break rules, and to pull through encoded messages.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;

use polykey_core::codec::{CodecError, Reader, Writer};
use polykey_core::hash::hash;
use polykey_core::id::{ActorId, NodeId, ObjectId, StatementId, VaultId};
use polykey_core::label;
use polykey_core::sign::SigningKey;
use polykey_core::statement::{Kind, MAX_PAYLOAD_LEN, Statement};

use super::message::{CommitItem, Request, Response, Tip};
use super::pull::{Outcome, Pull, PullReport, Seen};
use super::replica::{Batch, Blame, CommitHeader, Evidence, Replica};
use super::serve::serve;
use crate::charter::cutoff::Line;
use crate::charter::{Charter, CommitFacts, CutOff, LineId, Verdict};

/// Objects up to this length travel with their commit.
pub(crate) const SMALL: usize = 64;
/// A body that breaks a rule which only the replica knows.
pub(crate) const REFUSED: &[u8] = b"refused";

#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) statement: Vec<u8>,
    pub(crate) body: Vec<u8>,
    pub(crate) header: CommitHeader,
}

#[derive(Clone)]
pub(crate) struct Memory {
    pub(crate) node: NodeId,
    pub(crate) charter: Charter,
    pub(crate) commits: BTreeMap<StatementId, Stored>,
    pub(crate) lines: BTreeMap<LineId, BTreeMap<u64, BTreeSet<StatementId>>>,
    pub(crate) objects: BTreeMap<ObjectId, Vec<u8>>,
    pub(crate) evidence: Vec<Evidence>,
    pub(crate) seen: HashMap<NodeId, Seen>,
}

/// A commit before it is signed.
#[derive(Clone)]
pub(crate) struct Sketch {
    pub(crate) header: CommitHeader,
    pub(crate) body: Vec<u8>,
}

impl Sketch {
    pub(crate) fn payload(&self) -> Vec<u8> {
        let h = &self.header;
        let mut w = Writer::new();
        w.array(9)
            .bytes(h.vault.as_bytes())
            .bytes(h.line.author.as_bytes());
        w.bytes(h.line.actor.as_bytes()).u64(h.seq);
        match &h.previous {
            Some(previous) => w.bytes(previous.as_bytes()),
            None => w.null(),
        };
        for ids in [&h.parents, &h.heads] {
            w.array(ids.len());
            for id in ids {
                w.bytes(id.as_bytes());
            }
        }
        w.array(h.objects.len());
        for (object, len) in &h.objects {
            w.array(2).bytes(object.as_bytes()).u64(u64::from(*len));
        }
        w.bytes(&hash(label::COMMIT_BODY, &[&self.body]));
        w.finish()
    }

    pub(crate) fn sign(mut self, key: &SigningKey) -> Stored {
        let statement = Statement::sign(Kind::Commit, &self.payload(), &[key]);
        self.header.id = statement.id();
        Stored {
            statement: statement.as_bytes().to_vec(),
            body: self.body,
            header: self.header,
        }
    }
}

pub(crate) fn item(stored: &Stored) -> CommitItem {
    CommitItem {
        statement: stored.statement.clone(),
        body: stored.body.clone(),
        objects: Vec::new(),
    }
}

fn parse(statement: &Statement) -> Result<(CommitHeader, [u8; 32]), CodecError> {
    let mut r = Reader::new(statement.payload(), MAX_PAYLOAD_LEN, "a commit")?;
    r.array_of(9)?;
    let vault = VaultId::from_bytes(r.bytes_of()?);
    let author = NodeId::from_bytes(r.bytes_of()?);
    let actor = ActorId::from_bytes(r.bytes_of()?);
    let seq = r.u64()?;
    let previous = match r.null()? {
        true => None,
        false => Some(StatementId::from_bytes(r.bytes_of()?)),
    };
    let mut ids = || {
        let len = r.array()?;
        (0..len)
            .map(|_| r.bytes_of().map(StatementId::from_bytes))
            .collect::<Result<Vec<_>, _>>()
    };
    let (parents, heads) = (ids()?, ids()?);
    let len = r.array()?;
    let mut objects = Vec::new();
    for _ in 0..len {
        r.array_of(2)?;
        objects.push((ObjectId::from_bytes(r.bytes_of()?), r.u32()?));
    }
    let body = r.bytes_of()?;
    r.finish()?;
    let header = CommitHeader {
        id: statement.id(),
        vault,
        line: LineId { author, actor },
        seq,
        previous,
        parents,
        heads,
        objects,
    };
    Ok((header, body))
}

impl Memory {
    pub(crate) fn new(node: NodeId, charter: Charter) -> Self {
        Memory {
            node,
            charter,
            commits: BTreeMap::new(),
            lines: BTreeMap::new(),
            objects: BTreeMap::new(),
            evidence: Vec::new(),
            seen: HashMap::new(),
        }
    }

    /// Commits that no other commit builds on.
    pub(crate) fn heads(&self) -> Vec<StatementId> {
        let all = self.commits.values().flat_map(|stored| stored.header.follows());
        let followed: BTreeSet<_> = all.collect();
        self.commits
            .keys()
            .filter(|id| !followed.contains(id))
            .copied()
            .collect()
    }

    /// The next commit of `actor`, by whoever signs it.
    pub(crate) fn sketch(&self, author: NodeId, actor: u8, body: &[u8]) -> Sketch {
        let line = LineId {
            author,
            actor: ActorId::from_bytes([actor; 16]),
        };
        let last = self.lines.get(&line).and_then(|line| line.last_key_value());
        let header = CommitHeader {
            id: StatementId::from_bytes([0; 32]),
            vault: self.charter.id(),
            line,
            seq: last.map_or(1, |(seq, _)| seq + 1),
            previous: last.and_then(|(_, commits)| commits.first().copied()),
            parents: self.heads(),
            heads: self.charter.heads(),
            objects: Vec::new(),
        };
        Sketch {
            header,
            body: body.to_vec(),
        }
    }

    pub(crate) fn keep(&mut self, stored: Stored) -> StatementId {
        let (id, line, seq) = (stored.header.id, stored.header.line, stored.header.seq);
        self.lines
            .entry(line)
            .or_default()
            .entry(seq)
            .or_default()
            .insert(id);
        self.commits.insert(id, stored);
        id
    }

    /// Writes a commit with objects of these lengths.
    pub(crate) fn write(&mut self, key: &SigningKey, actor: u8, lens: &[usize]) -> StatementId {
        let mut sketch = self.sketch(key.public(), actor, b"body");
        for (at, len) in lens.iter().enumerate() {
            let mut bytes = vec![at as u8; *len];
            bytes[..8].copy_from_slice(&(self.objects.len() as u64).to_be_bytes());
            bytes[8] = actor;
            bytes[9..17].copy_from_slice(&key.public().as_bytes()[..8]);
            let id = ObjectId::from_bytes(hash(label::OBJECT, &[&bytes]));
            sketch.header.objects.push((id, *len as u32));
            self.objects.insert(id, bytes);
        }
        self.keep(sketch.sign(key))
    }

    /// The last commits of a node's lines, as a removal lists them.
    pub(crate) fn cut_offs(&self, node: &NodeId) -> Vec<CutOff> {
        let lines = self.lines.iter().filter(|(line, _)| line.author == *node);
        lines
            .filter_map(|(line, commits)| {
                let (seq, ids) = commits.last_key_value()?;
                Some(CutOff {
                    actor: line.actor,
                    seq: *seq,
                    commit: *ids.first()?,
                })
            })
            .collect()
    }

    /// Every commit with what the charter says about it.
    pub(crate) fn verdicts(&self) -> BTreeMap<StatementId, Verdict> {
        let mut lines: BTreeMap<LineId, Line> = BTreeMap::new();
        for stored in self.commits.values() {
            let h = &stored.header;
            lines.entry(h.line).or_default().insert(h.seq, h.id, h.previous);
        }
        let judge = |stored: &Stored| {
            let h = &stored.header;
            let facts = CommitFacts {
                id: h.id,
                line: h.line,
                seq: h.seq,
                heads: &h.heads,
            };
            let forked = lines[&h.line].is_forked_at(h.seq, &h.id, &self.charter.pins(&h.line));
            self.charter.verdict(&facts, forked)
        };
        self.commits
            .iter()
            .map(|(id, stored)| (*id, judge(stored)))
            .collect()
    }

    /// All ids that are held: entries, commits, objects.
    pub(crate) fn set(&self) -> (BTreeSet<StatementId>, BTreeSet<StatementId>, BTreeSet<ObjectId>) {
        (
            self.charter.entries().map(|entry| entry.id()).collect(),
            self.commits.keys().copied().collect(),
            self.objects.keys().copied().collect(),
        )
    }
}

/// Pulls through encoded messages, at most `rounds` of them.
pub(crate) fn pull(me: &mut Memory, peer: &Memory, rounds: usize) -> PullReport {
    pull_from(me, peer.node, rounds, |node, request| {
        serve(peer, &node, &request).unwrap_or_else(|never| match never {})
    })
}

/// Pulls from whoever answers.
pub(crate) fn pull_from(
    me: &mut Memory,
    peer: NodeId,
    rounds: usize,
    mut answer: impl FnMut(NodeId, Request) -> Response,
) -> PullReport {
    let mut pull = Pull::new(me.node, peer, me.seen.get(&peer).cloned().unwrap_or_default());
    for _ in 0..rounds {
        let Some(request) = pull.next(me).unwrap_or_else(|never| match never {}) else {
            break;
        };
        let request = Request::decode(&request.encode()).unwrap();
        let response = Response::decode(&answer(me.node, request).encode().into()).unwrap();
        pull.receive(me, response).unwrap_or_else(|never| match never {});
    }
    pull.next(me).unwrap_or_else(|never| match never {});
    let report = pull.report().clone();
    if matches!(report.outcome, Outcome::Complete | Outcome::WithoutObjects) {
        me.seen.insert(peer, report.seen.clone());
    }
    report
}

impl Replica for Memory {
    type Commit = (Vec<u8>, Vec<u8>);
    type Error = Infallible;

    fn charter(&self) -> Result<Charter, Infallible> {
        Ok(self.charter.clone())
    }

    fn tips(&self) -> Result<Vec<Tip>, Infallible> {
        let mut tips = Vec::new();
        for (line, numbers) in &self.lines {
            let all = numbers.values().flatten();
            let followed: BTreeSet<_> = all
                .clone()
                .filter_map(|id| self.commits[id].header.previous)
                .collect();
            for commit in all.filter(|id| !followed.contains(id)) {
                tips.push(Tip {
                    line: *line,
                    seq: self.commits[commit].header.seq,
                    commit: *commit,
                });
            }
        }
        Ok(tips)
    }

    fn header(&self, commit: &StatementId) -> Result<Option<CommitHeader>, Infallible> {
        Ok(self.commits.get(commit).map(|stored| stored.header.clone()))
    }

    fn line(&self, line: &LineId, first: u64, last: u64) -> Result<Vec<(u64, StatementId)>, Infallible> {
        let numbers = self
            .lines
            .get(line)
            .into_iter()
            .flat_map(|line| line.range(first..=last));
        Ok(numbers
            .flat_map(|(seq, ids)| ids.iter().map(|id| (*seq, *id)))
            .collect())
    }

    fn commit(&self, commit: &StatementId) -> Result<Option<CommitItem>, Infallible> {
        Ok(self.commits.get(commit).map(|stored| {
            let small = stored
                .header
                .objects
                .iter()
                .filter(|(_, len)| *len as usize <= SMALL);
            CommitItem {
                objects: small
                    .filter_map(|(id, _)| self.objects.get(id))
                    .cloned()
                    .collect(),
                ..item(stored)
            }
        }))
    }

    fn object(&self, object: &ObjectId) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.objects.get(object).cloned())
    }

    fn missing_objects(
        &self,
        limit: usize,
        except: &BTreeSet<ObjectId>,
    ) -> Result<Vec<ObjectId>, Infallible> {
        let all = self.commits.values().flat_map(|stored| &stored.header.objects);
        let missing = all.filter(|(id, _)| !self.objects.contains_key(id) && !except.contains(id));
        Ok(missing.take(limit).map(|(id, _)| *id).collect())
    }

    fn verify_commit(
        &self,
        statement: Vec<u8>,
        body: Vec<u8>,
    ) -> Result<(Self::Commit, CommitHeader), Blame> {
        let verified = Statement::verify(Kind::Commit, statement.clone()).map_err(|_| Blame::Sender)?;
        let author = Blame::Author(verified.signers()[0]);
        let (header, wanted) = parse(&verified).map_err(|_| author)?;
        if !verified.is_signed_only_by(&header.line.author) {
            return Err(author);
        }
        if hash(label::COMMIT_BODY, &[&body]) != wanted {
            return Err(Blame::Sender);
        }
        Ok(((statement, body), header))
    }

    fn store(&mut self, batch: Batch<Self::Commit>) -> Result<Option<StatementId>, Infallible> {
        for entry in batch.entries {
            self.charter.insert(entry).expect("the pull checked it");
        }
        for ((statement, body), header) in batch.commits {
            for before in header.follows() {
                assert!(self.commits.contains_key(before), "stored after what it follows");
            }
            if body == REFUSED {
                return Ok(Some(header.id));
            }
            self.keep(Stored {
                statement,
                body,
                header,
            });
        }
        let objects = batch.objects.into_iter();
        self.objects
            .extend(objects.map(|(id, bytes)| (id, bytes.into_vec())));
        Ok(None)
    }

    fn keep_evidence(&mut self, evidence: Evidence) -> Result<(), Infallible> {
        self.evidence.push(evidence);
        Ok(())
    }
}
