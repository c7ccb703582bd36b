//! The asking side: brings in what a peer has and we lack.
//!
//! The caller takes a request from [`Pull::next`], sends it, gives the response to [`Pull::receive`], and goes
//! on until `next` has no more. It may stop at any time: all that was stored stays, and a new pull goes on from
//! there.
//!
//! Once the commits are here, a caller may have several requests for objects under way: it takes more of them
//! before it has the answers, and gives those in the order of the requests. To store one batch while the next
//! is on its way, it calls [`Pull::take`], then `next`, and then [`Pull::store`]; `receive` is the first and the
//! last in one.
//!
//! Always: each item is verified before it is stored: signature, hash, place in its line and graph, charter
//! heads, and that its author was ever let in. The first bad item ends the pull. A peer that claims to have
//! more than it sends, or sends the same again and again, ends it, too.

use std::collections::{BTreeSet, HashMap, VecDeque};

use polykey_core::hash::hash;
use polykey_core::id::{NodeId, ObjectId, StatementId, VaultId};
use polykey_core::label;
use polykey_core::statement::{Kind, Statement};

use super::blob::Blob;
use super::message::{
    CommitItem, Have, Items, MAX_CHARTER_IDS, MAX_LINES, MAX_POINTS, MAX_POINTS_IN_ALL, MAX_WANTED,
    OBJECTS_LEN, Request, Response, Tip,
};
use super::replica::{Batch, Blame, CommitHeader, Evidence, Offence, Replica};
use crate::charter::{Charter, CharterError, Entry, LineId};
use crate::object::MAX_OBJECT_LEN;

/// A peer that answers this often in a row and sends nothing new is left alone.
const MAX_IDLE: u32 = 4;
/// So many objects fill an answer when they are as large as they can be. What one request names and its answer
/// does not bring is asked for again, so requests begin with no more than that.
const FULL: usize = OBJECTS_LEN / MAX_OBJECT_LEN;

/// What a peer said it has, to be remembered until the next pull from it: less than that is stale.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Its charter heads.
    pub heads: Vec<StatementId>,
    /// The ends of its lines.
    pub tips: Vec<Tip>,
}

/// How a pull ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is not at its end yet.
    Unfinished,
    /// We have all that the peer has.
    Complete,
    /// We have all that the peer has, but for objects that it does not hold itself.
    WithoutObjects,
    /// The peer says that it has more and does not send it. Another peer may help.
    Stalled,
    /// The peer shows nothing to us.
    Refused,
    /// We were removed, by this entry. It is stored.
    Removed(StatementId),
    /// The peer sent something that no honest program sends. Do not ask it again.
    Hostile,
}

/// What a pull brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullReport {
    /// How it ended.
    pub outcome: Outcome,
    /// New charter entries.
    pub entries: u64,
    /// New commits.
    pub commits: u64,
    /// New objects.
    pub objects: u64,
    /// Lines of our own on which the peer was ahead of us: take a new actor.
    pub ahead_on_our_own: Vec<LineId>,
    /// True when the peer has less than it had before: it was rolled back or hides something.
    pub stale: bool,
    /// What the peer has, to be remembered.
    pub seen: Seen,
}

/// A pull from one peer.
#[derive(Debug)]
pub struct Pull {
    me: NodeId,
    peer: NodeId,
    before: Seen,
    /// Lines of which the peer needs more than the ends to find what both have.
    deep: BTreeSet<LineId>,
    /// True when the last request named more of each such line.
    asked_deep: bool,
    /// Responses in a row that brought nothing.
    idle: u32,
    /// True while a request for entries and commits is under way: what comes next depends on its answer.
    asked_items: bool,
    objects: bool,
    /// The objects that each request under way names, the oldest first.
    asked: VecDeque<Vec<ObjectId>>,
    /// So many objects the next request names.
    names: usize,
    /// Objects that came and are not stored yet.
    taken: Vec<(ObjectId, Blob)>,
    absent: BTreeSet<ObjectId>,
    report: PullReport,
}

impl Pull {
    /// A pull by the node `me` from the node `peer`. `before` is what [`PullReport::seen`] was the last time.
    pub fn new(me: NodeId, peer: NodeId, before: Seen) -> Pull {
        Pull {
            me,
            peer,
            before,
            deep: BTreeSet::new(),
            asked_deep: false,
            idle: 0,
            asked_items: false,
            objects: false,
            asked: VecDeque::new(),
            names: FULL,
            taken: Vec::new(),
            absent: BTreeSet::new(),
            report: PullReport {
                outcome: Outcome::Unfinished,
                entries: 0,
                commits: 0,
                objects: 0,
                ahead_on_our_own: Vec::new(),
                stale: false,
                seen: Seen::default(),
            },
        }
    }

    /// The next request. `None` when there is nothing to ask before what is under way is answered and stored; when
    /// nothing is, the pull is at its end.
    ///
    /// # Errors
    /// What the replica says.
    pub fn next<R: Replica>(&mut self, replica: &R) -> Result<Option<Request>, R::Error> {
        if self.report.outcome != Outcome::Unfinished || self.asked_items {
            return Ok(None);
        }
        if !self.objects {
            let charter = replica.charter()?;
            let lines = self.have(replica)?;
            self.asked_deep = !self.deep.is_empty();
            self.asked_items = true;
            return Ok(Some(Request::Items {
                vault: charter.id(),
                charter: charter.samples(MAX_CHARTER_IDS - 64),
                lines,
            }));
        }
        let mut except = self.absent.clone();
        except.extend(self.asked.iter().flatten());
        except.extend(self.taken.iter().map(|(object, _)| *object));
        let wanted = replica.missing_objects(self.names, &except)?;
        if !wanted.is_empty() {
            self.asked.push_back(wanted.clone());
            return Ok(Some(Request::Objects {
                vault: replica.charter()?.id(),
                wanted,
            }));
        }
        if self.asked.is_empty() && self.taken.is_empty() {
            self.report.outcome = match self.absent.is_empty() {
                true => Outcome::Complete,
                false => Outcome::WithoutObjects,
            };
        }
        Ok(None)
    }

    /// Takes in the response to the oldest request under way, and stores what it brings.
    ///
    /// # Errors
    /// What the replica says. What the peer did wrong is no error but an outcome.
    pub fn receive<R: Replica>(&mut self, replica: &mut R, response: Response) -> Result<(), R::Error> {
        self.take(replica, response)?;
        self.store(replica)
    }

    /// Verifies the response to the oldest request under way. Entries and commits are stored at once, as the next
    /// request depends on them; objects wait for [`Pull::store`].
    ///
    /// # Errors
    /// As [`Pull::receive`].
    pub fn take<R: Replica>(&mut self, replica: &mut R, response: Response) -> Result<(), R::Error> {
        if self.report.outcome != Outcome::Unfinished {
            return Ok(());
        }
        self.asked_items = false;
        match response {
            Response::Refused => {
                self.report.outcome = Outcome::Refused;
                Ok(())
            }
            Response::Items(items) if !self.objects => self.take_items(replica, items),
            Response::Removed { entries, more } if !self.objects => self.take_removal(replica, entries, more),
            Response::Objects(objects) if self.objects => self.take_objects(replica, objects),
            _ => self.offence(replica, None, Offence::Disorder, Vec::new()),
        }
    }

    /// True when there are objects that were taken and not stored.
    pub fn holds_objects(&self) -> bool {
        !self.taken.is_empty()
    }

    /// Stores the objects that were taken, durably.
    ///
    /// # Errors
    /// What the replica says.
    pub fn store<R: Replica>(&mut self, replica: &mut R) -> Result<(), R::Error> {
        let batch = Batch {
            objects: std::mem::take(&mut self.taken),
            ..Batch::default()
        };
        self.keep(replica, batch).map(drop)
    }

    /// What the pull has brought so far, and how it ended.
    pub fn report(&self) -> &PullReport {
        &self.report
    }

    /// What we have of each line: the ends, and further back ever fewer where the peer needs more.
    fn have<R: Replica>(&self, replica: &R) -> Result<Vec<Have>, R::Error> {
        let mut have: Vec<Have> = Vec::new();
        let mut tips = replica.tips()?;
        // The longest branch of each line first.
        tips.sort_by_key(|tip| (tip.line, std::cmp::Reverse(tip.seq)));
        let mut left = MAX_POINTS_IN_ALL;
        for tip in tips {
            let line = tip.line;
            if have.last().is_none_or(|last| last.line != line) {
                if have.len() >= MAX_LINES {
                    break;
                }
                let points = Vec::new();
                have.push(Have { line, points });
            }
            let points = &mut have.last_mut().expect("just made sure").points;
            if points.len() < MAX_POINTS / 2 && left > 0 {
                points.push((tip.seq, tip.commit));
                left -= 1;
            }
        }
        for have in have.iter_mut().filter(|have| self.deep.contains(&have.line)) {
            let Some((last, _)) = have.points.first().copied() else {
                continue;
            };
            let mut back = 1;
            while back < last && have.points.len() < MAX_POINTS && left > 0 {
                let at = last - back;
                for (seq, commit) in replica.line(&have.line, at, at)? {
                    if have.points.len() < MAX_POINTS && left > 0 {
                        have.points.push((seq, commit));
                        left -= 1;
                    }
                }
                back *= 2;
            }
            // One point alone means "these are all my ends"; twice the same means "and I know no more".
            if let [only] = have.points[..] {
                have.points.push(only);
            }
        }
        Ok(have)
    }

    fn take_items<R: Replica>(&mut self, replica: &mut R, items: Items) -> Result<(), R::Error> {
        let mut intake = Intake::new(&*replica, self.peer, replica.charter()?);
        for entry in items.entries {
            if !intake.entry(entry) {
                break;
            }
        }
        for commit in items.commits {
            if !intake.commit(commit)? {
                break;
            }
        }
        let Intake {
            charter,
            batch,
            mut evidence,
            mut hostile,
            headers,
            ..
        } = intake;
        let progress = !batch.entries.is_empty() || !batch.commits.is_empty();
        if let Some(refused) = self.keep(replica, batch)? {
            hostile = true;
            evidence.push(Evidence {
                peer: self.peer,
                author: headers.get(&refused).map(|header| header.line.author),
                offence: Offence::Misplaced,
                item: refused.as_bytes().to_vec(),
            });
        }
        for evidence in evidence {
            replica.keep_evidence(evidence)?;
        }
        self.note_stale(&items.heads, &items.tips, &charter);
        self.report.seen = Seen {
            heads: items.heads,
            tips: items.tips,
        };
        if hostile {
            self.report.outcome = Outcome::Hostile;
            return Ok(());
        }
        let mut lacking = BTreeSet::new();
        for tip in &self.report.seen.tips {
            if replica.header(&tip.commit)?.is_none() {
                lacking.insert(tip.line);
            }
        }
        let lacks_entries = self.report.seen.heads.iter().any(|head| !charter.contains(head));
        if lacking.is_empty() && !lacks_entries {
            self.objects = true;
        } else if !progress {
            // Nothing came: either the peer does not know our ends of some lines, or it has nothing to send.
            self.idle += 1;
            let told_all = self.asked_deep && lacking.is_subset(&self.deep);
            if lacking.is_empty() || told_all || self.idle >= MAX_IDLE {
                self.report.outcome = Outcome::Stalled;
            }
            self.deep.extend(lacking);
        } else {
            self.idle = 0;
        }
        Ok(())
    }

    /// A peer that lost what it had before is stale: less is never taken as a deletion.
    fn note_stale(&mut self, heads: &[StatementId], tips: &[Tip], charter: &Charter) {
        let shorter = self.before.tips.iter().any(|old| {
            let now = tips.iter().filter(|tip| tip.line == old.line).map(|tip| tip.seq);
            now.max().unwrap_or(0) < old.seq
        });
        // Only when all of its heads are here can we tell what they cover.
        let known = heads.iter().all(|head| charter.contains(head));
        let fewer = known && !charter.covers(heads, &self.before.heads);
        self.report.stale |= shorter || fewer;
    }

    /// Stores what is there and counts it; the commit that the replica refused, if any.
    fn keep<R: Replica>(
        &mut self,
        replica: &mut R,
        batch: Batch<R::Commit>,
    ) -> Result<Option<StatementId>, R::Error> {
        if batch.is_empty() {
            return Ok(None);
        }
        self.count(&batch);
        let commits: Vec<_> = batch.commits.iter().map(|(_, header)| header.id).collect();
        let refused = replica.store(batch)?;
        if let Some(at) = commits.iter().position(|id| Some(*id) == refused) {
            self.report.commits -= (commits.len() - at) as u64;
        }
        Ok(refused)
    }

    fn count<C>(&mut self, batch: &Batch<C>) {
        self.report.entries += batch.entries.len() as u64;
        self.report.commits += batch.commits.len() as u64;
        self.report.objects += batch.objects.len() as u64;
        for (_, header) in &batch.commits {
            if header.line.author == self.me && !self.report.ahead_on_our_own.contains(&header.line) {
                self.report.ahead_on_our_own.push(header.line);
            }
        }
    }

    fn take_removal<R: Replica>(
        &mut self,
        replica: &mut R,
        entries: Vec<Vec<u8>>,
        more: bool,
    ) -> Result<(), R::Error> {
        let mut intake = Intake::new(&*replica, self.peer, replica.charter()?);
        for entry in entries {
            if !intake.entry(entry) {
                break;
            }
        }
        let Intake {
            charter,
            batch,
            evidence,
            hostile,
            ..
        } = intake;
        let progress = !batch.is_empty();
        self.keep(replica, batch)?;
        for evidence in evidence {
            replica.keep_evidence(evidence)?;
        }
        self.report.outcome = match charter.removals_of(&self.me).first() {
            _ if hostile => Outcome::Hostile,
            Some(removal) => Outcome::Removed(*removal),
            None if more && progress => Outcome::Unfinished,
            // It says that we were removed and cannot show it.
            None => Outcome::Refused,
        };
        Ok(())
    }

    fn take_objects<R: Replica>(&mut self, replica: &mut R, objects: Vec<Blob>) -> Result<(), R::Error> {
        let Some(mut wanted) = self.asked.pop_front() else {
            return self.offence(replica, None, Offence::Disorder, Vec::new());
        };
        let (named, came) = (wanted.len(), objects.len());
        let mut len = 0;
        for bytes in objects {
            let id = object_id(bytes.as_slice());
            let Some(at) = wanted.iter().position(|object| *object == id) else {
                return self.offence(replica, None, Offence::BadItem, bytes.as_slice().to_vec());
            };
            wanted.swap_remove(at);
            len += bytes.as_slice().len();
            self.taken.push((id, bytes));
        }
        if came == 0 {
            self.absent.extend(wanted);
        } else if came < named {
            self.names = came.max(FULL);
        } else if named == self.names && len <= OBJECTS_LEN / 2 {
            self.names = (named * 2).min(MAX_WANTED);
        }
        Ok(())
    }

    fn offence<R: Replica>(
        &mut self,
        replica: &mut R,
        author: Option<NodeId>,
        offence: Offence,
        item: Vec<u8>,
    ) -> Result<(), R::Error> {
        self.report.outcome = Outcome::Hostile;
        replica.keep_evidence(Evidence {
            peer: self.peer,
            author,
            offence,
            item,
        })
    }
}

/// Names an object: BLAKE3-256 of its bytes.
fn object_id(bytes: &[u8]) -> ObjectId {
    ObjectId::from_bytes(hash(label::OBJECT, &[bytes]))
}

/// Verifies the items of one response against what is stored and what came before in it.
struct Intake<'r, R: Replica> {
    replica: &'r R,
    peer: NodeId,
    vault: VaultId,
    charter: Charter,
    batch: Batch<R::Commit>,
    /// The headers of the commits in the batch, and who has which number.
    headers: HashMap<StatementId, CommitHeader>,
    numbers: HashMap<(LineId, u64), StatementId>,
    evidence: Vec<Evidence>,
    hostile: bool,
}

impl<'r, R: Replica> Intake<'r, R> {
    fn new(replica: &'r R, peer: NodeId, charter: Charter) -> Self {
        Intake {
            replica,
            peer,
            vault: charter.id(),
            charter,
            batch: Batch::default(),
            headers: HashMap::new(),
            numbers: HashMap::new(),
            evidence: Vec::new(),
            hostile: false,
        }
    }

    /// Notes an offence that ends the pull; false, so that callers stop.
    fn refuse(&mut self, author: Option<NodeId>, offence: Offence, item: Vec<u8>) -> bool {
        self.hostile = true;
        self.note(author, offence, item);
        false
    }

    fn note(&mut self, author: Option<NodeId>, offence: Offence, item: Vec<u8>) {
        self.evidence.push(Evidence {
            peer: self.peer,
            author,
            offence,
            item,
        });
    }

    /// True when the next item may be looked at.
    fn entry(&mut self, bytes: Vec<u8>) -> bool {
        let Ok(statement) = Statement::verify(Kind::Charter, bytes.clone()) else {
            return self.refuse(None, Offence::BadItem, bytes);
        };
        let signer = statement.signers()[0];
        if self.charter.contains(&statement.id()) {
            return true;
        }
        let Ok(entry) = Entry::parse(statement.clone()) else {
            return self.refuse(Some(signer), Offence::BadItem, bytes);
        };
        match self.charter.insert(statement) {
            Ok(_) => {
                self.batch.entries.push(entry.statement().clone());
                true
            }
            // The signer of an entry is not to blame for where and when the peer sends it.
            Err(
                CharterError::MissingParents { .. }
                | CharterError::OtherVault { .. }
                | CharterError::NotGenesis,
            ) => self.refuse(None, Offence::Disorder, bytes),
            Err(CharterError::Full) => false,
            Err(_) => self.refuse(Some(entry.author()), Offence::Misplaced, bytes),
        }
    }

    /// The header of a commit that is stored or came before in this response.
    fn header(&self, commit: &StatementId) -> Result<Option<CommitHeader>, R::Error> {
        match self.headers.get(commit) {
            Some(header) => Ok(Some(header.clone())),
            None => self.replica.header(commit),
        }
    }

    /// True when the next item may be looked at.
    fn commit(&mut self, item: CommitItem) -> Result<bool, R::Error> {
        let CommitItem {
            statement,
            body,
            objects,
        } = item;
        let shown = statement.clone();
        let (commit, header) = match self.replica.verify_commit(statement, body) {
            Ok(verified) => verified,
            Err(Blame::Sender) => return Ok(self.refuse(None, Offence::BadItem, shown)),
            Err(Blame::Author(author)) => return Ok(self.refuse(Some(author), Offence::BadItem, shown)),
        };
        if header.vault != self.vault {
            return Ok(self.refuse(None, Offence::Disorder, shown));
        }
        if self.header(&header.id)?.is_some() {
            return Ok(true);
        }
        let mut before = Vec::new();
        for commit in header.follows() {
            match self.header(commit)? {
                Some(header) => before.push(header),
                // The peer took it for something that we have. The next request tells it more.
                None => return Ok(false),
            }
        }
        if !header.heads.iter().all(|head| self.charter.contains(head)) {
            return Ok(self.refuse(None, Offence::Disorder, shown));
        }
        if !fits(&self.charter, &header, &before) {
            return Ok(self.refuse(Some(header.line.author), Offence::Misplaced, shown));
        }
        if let Some(other) = self.twin(&header)? {
            self.note(Some(header.line.author), Offence::Fork { other }, shown);
        }
        let named: HashMap<ObjectId, u32> = match objects.is_empty() {
            true => HashMap::new(),
            false => header.objects.iter().copied().collect(),
        };
        for bytes in objects {
            let id = object_id(&bytes);
            if named.get(&id).is_none_or(|len| *len as usize != bytes.len()) {
                return Ok(self.refuse(None, Offence::BadItem, bytes));
            }
            self.batch.objects.push((id, bytes.into()));
        }
        self.numbers.insert((header.line, header.seq), header.id);
        self.headers.insert(header.id, header.clone());
        self.batch.commits.push((commit, header));
        Ok(true)
    }

    /// Another commit with the same number on the same line.
    fn twin(&self, header: &CommitHeader) -> Result<Option<StatementId>, R::Error> {
        if let Some(twin) = self.numbers.get(&(header.line, header.seq)) {
            return Ok(Some(*twin));
        }
        let stored = self.replica.line(&header.line, header.seq, header.seq)?;
        Ok(stored.first().map(|(_, commit)| *commit))
    }
}

/// What every honest author keeps to: the next number on the line, charter heads that cover those of all that
/// it builds on, and an author whom those heads know. `before` is what the commit follows, its own line first.
pub(super) fn fits(charter: &Charter, header: &CommitHeader, before: &[CommitHeader]) -> bool {
    let follows_its_line = match header.previous {
        None => header.seq == 1,
        Some(_) => before
            .first()
            .is_some_and(|last| last.line == header.line && last.seq.checked_add(1) == Some(header.seq)),
    };
    let covers = before
        .iter()
        .all(|commit| commit.heads == header.heads || charter.covers(&header.heads, &commit.heads));
    follows_its_line && covers && charter.mentions(&header.heads, &header.line.author)
}
