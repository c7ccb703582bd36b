//! The answering side: what a peer is sent.
//!
//! It keeps no state between requests: each answer is made from what the request says and what is stored.
//!
//! Always: only members are answered; somebody who was removed is told so, and everybody else is told
//! nothing, not even whether the vault is here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use polykey_core::id::{NodeId, StatementId};

use super::message::{
    Announcement, BATCH_LEN, Have, Items, MAX_CHARTER_IDS, MAX_ITEMS, MAX_LINES, OBJECTS_LEN, Request,
    Response, Tip,
};
use super::replica::{CommitHeader, Replica};
use crate::charter::{Charter, LineId};

/// Most commits of one line that one answer looks at.
const WINDOW: u64 = 1024;

/// Answers `request` by the node `peer`, which the connection has proven.
///
/// # Errors
/// What the replica says.
pub fn serve<R: Replica>(replica: &R, peer: &NodeId, request: &Request) -> Result<Response, R::Error> {
    let charter = replica.charter()?;
    let (Request::Items { vault, .. } | Request::Objects { vault, .. }) = request;
    if *vault != charter.id() {
        return Ok(Response::Refused);
    }
    if charter.role(peer).is_none() {
        return Ok(farewell(&charter, peer, request));
    }
    answer(replica, &charter, request)
}

/// Answers `request` by somebody who holds the replica in its own hands, as a folder on a disk: it may see
/// all that is there. If it was removed it is told so.
///
/// # Errors
/// What the replica says.
pub(super) fn serve_holder<R: Replica>(
    replica: &R,
    holder: &NodeId,
    request: &Request,
) -> Result<Response, R::Error> {
    let charter = replica.charter()?;
    let (Request::Items { vault, .. } | Request::Objects { vault, .. }) = request;
    if *vault != charter.id() {
        return Ok(Response::Refused);
    }
    if !charter.removals_of(holder).is_empty() {
        return Ok(farewell(&charter, holder, request));
    }
    answer(replica, &charter, request)
}

fn answer<R: Replica>(replica: &R, charter: &Charter, request: &Request) -> Result<Response, R::Error> {
    match request {
        Request::Items {
            charter: have, lines, ..
        } => Ok(Response::Items(items(replica, charter, have, lines)?)),
        Request::Objects { wanted, .. } => {
            let (mut objects, mut len) = (Vec::new(), 0);
            for object in wanted {
                if len >= OBJECTS_LEN {
                    break;
                }
                if let Some(bytes) = replica.object(object)? {
                    len += bytes.len();
                    objects.push(bytes.into());
                }
            }
            Ok(Response::Objects(objects))
        }
    }
}

/// What is new here, for connected members.
///
/// # Errors
/// What the replica says.
pub fn announce<R: Replica>(replica: &R) -> Result<Announcement, R::Error> {
    let charter = replica.charter()?;
    let (heads, tips) = summary(replica, &charter)?;
    Ok(Announcement {
        vault: charter.id(),
        heads,
        tips,
    })
}

impl Announcement {
    /// True when the sender has something that `replica` lacks, so that a pull is worth it.
    ///
    /// # Errors
    /// What the replica says.
    pub fn is_news<R: Replica>(&self, replica: &R) -> Result<bool, R::Error> {
        let charter = replica.charter()?;
        if self.vault != charter.id() {
            return Ok(false);
        }
        if self.heads.iter().any(|head| !charter.contains(head)) {
            return Ok(true);
        }
        for tip in &self.tips {
            if replica.header(&tip.commit)?.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn summary<R: Replica>(replica: &R, charter: &Charter) -> Result<(Vec<StatementId>, Vec<Tip>), R::Error> {
    let (mut heads, mut tips) = (charter.heads(), replica.tips()?);
    heads.truncate(MAX_CHARTER_IDS);
    tips.truncate(MAX_LINES);
    Ok((heads, tips))
}

/// What ended all that `peer` held, and the ancestors, as far as it lacks them.
fn farewell(charter: &Charter, peer: &NodeId, request: &Request) -> Response {
    let removals = charter.removals_of(peer);
    let Request::Items { charter: have, .. } = request else {
        return Response::Refused;
    };
    if removals.is_empty() {
        return Response::Refused;
    }
    let told: BTreeSet<_> = charter
        .ancestors(&removals)
        .iter()
        .map(|entry| entry.id())
        .collect();
    let missing = charter.missing_after(have).into_iter();
    let missing: Vec<_> = missing.filter(|entry| told.contains(&entry.id())).collect();
    let (entries, more) = filled(missing.into_iter().map(|entry| entry.statement().as_bytes()));
    Response::Removed { entries, more }
}

/// As many items as fit, and whether some did not.
fn filled<'b>(items: impl Iterator<Item = &'b [u8]>) -> (Vec<Vec<u8>>, bool) {
    let (mut list, mut len) = (Vec::new(), 0);
    for item in items {
        if len >= BATCH_LEN || list.len() >= MAX_ITEMS {
            return (list, true);
        }
        len += item.len();
        list.push(item.to_vec());
    }
    (list, false)
}

fn items<R: Replica>(
    replica: &R,
    charter: &Charter,
    have: &[StatementId],
    lines: &[Have],
) -> Result<Items, R::Error> {
    let (heads, tips) = summary(replica, charter)?;
    let missing = charter.missing_after(have).into_iter();
    let (entries, more) = filled(missing.map(|entry| entry.statement().as_bytes()));
    let mut items = Items {
        heads,
        tips,
        entries,
        commits: Vec::new(),
        more,
    };
    // Commits name charter heads, so they wait until all entries are through.
    if !items.more {
        Sending::new(replica, &items.tips, lines)?.fill(&mut items)?;
    }
    Ok(items)
}

/// One line, as far as the puller lacks it.
struct Queue {
    /// Numbers up to this one the puller has, but for branches.
    start: u64,
    /// Commits after `start` that the puller has all the same.
    has: BTreeSet<StatementId>,
    next: VecDeque<StatementId>,
    /// True when there are more commits than the queue holds.
    cut: bool,
}

struct Sending<'r, R: Replica> {
    replica: &'r R,
    queues: BTreeMap<LineId, Queue>,
    sent: BTreeSet<StatementId>,
    headers: BTreeMap<StatementId, CommitHeader>,
}

impl<'r, R: Replica> Sending<'r, R> {
    fn new(replica: &'r R, tips: &[Tip], lines: &[Have]) -> Result<Self, R::Error> {
        let have: BTreeMap<LineId, &Have> = lines.iter().map(|have| (have.line, have)).collect();
        let mut ends: BTreeMap<LineId, Vec<&Tip>> = BTreeMap::new();
        for tip in tips {
            ends.entry(tip.line).or_default().push(tip);
        }
        let mut sending = Sending {
            replica,
            queues: BTreeMap::new(),
            sent: BTreeSet::new(),
            headers: BTreeMap::new(),
        };
        for (line, ends) in ends {
            let points = have.get(&line).map_or(&[][..], |have| &have.points);
            if let Some(queue) = sending.queue(&line, &ends, points)? {
                sending.queues.insert(line, queue);
            }
        }
        Ok(sending)
    }

    /// `None` when the puller named one commit and it is not here: it is ahead of us, or on a branch that we
    /// do not have. If it lacks our end of the line it asks again and names more.
    fn queue(
        &mut self,
        line: &LineId,
        ends: &[&Tip],
        points: &[(u64, StatementId)],
    ) -> Result<Option<Queue>, R::Error> {
        let last = ends.iter().map(|tip| tip.seq).max().unwrap_or(0);
        let mut known = Vec::new();
        for (_, commit) in points {
            // The number is what the commit says, not what the puller says.
            if let Some(header) = self.header(commit)?.filter(|header| header.line == *line) {
                known.push((header.seq, header.id));
            }
        }
        if known.is_empty() && points.len() == 1 {
            return Ok(None);
        }
        let mut queue = Queue {
            start: known.iter().map(|(seq, _)| *seq).max().unwrap_or(0),
            has: BTreeSet::new(),
            next: VecDeque::new(),
            cut: false,
        };
        if ends.len() > 1 {
            // The branches part somewhere before what the puller has: look at the whole line.
            for (_, commit) in known {
                let mut next = Some(commit);
                while let Some(commit) = next.filter(|commit| queue.has.insert(*commit)) {
                    next = self.header(&commit)?.and_then(|header| header.previous);
                }
            }
            queue.start = 0;
        }
        let until = match ends.len() {
            1 => last.min(queue.start.saturating_add(WINDOW)),
            _ => last,
        };
        queue.cut = until < last;
        if queue.start < last {
            let commits = self.replica.line(line, queue.start + 1, until)?.into_iter();
            queue.next = commits
                .map(|(_, commit)| commit)
                .filter(|commit| !queue.has.contains(commit))
                .collect();
        }
        Ok(Some(queue))
    }

    fn header(&mut self, commit: &StatementId) -> Result<Option<CommitHeader>, R::Error> {
        if let Some(header) = self.headers.get(commit) {
            return Ok(Some(header.clone()));
        }
        let header = self.replica.header(commit)?;
        if let Some(header) = &header {
            self.headers.insert(*commit, header.clone());
        }
        Ok(header)
    }

    /// True when the puller has the commit, or has it before it reads on.
    fn is_there(&mut self, commit: &StatementId) -> Result<bool, R::Error> {
        if self.sent.contains(commit) {
            return Ok(true);
        }
        let Some(header) = self.header(commit)? else {
            return Ok(false);
        };
        Ok(match self.queues.get(&header.line) {
            // The puller is ahead of us on that line, or names more the next time.
            None => true,
            Some(queue) => header.seq <= queue.start || queue.has.contains(commit),
        })
    }

    /// Takes turns among the lines. The commit that follows nothing which is missing is the next of its line,
    /// so every answer sends something until nothing is missing.
    fn fill(&mut self, items: &mut Items) -> Result<(), R::Error> {
        let lines: Vec<LineId> = self.queues.keys().copied().collect();
        let mut len: usize = items.entries.iter().map(Vec::len).sum();
        loop {
            let mut moved = false;
            for line in &lines {
                while let Some(commit) = self
                    .queues
                    .get(line)
                    .and_then(|queue| queue.next.front())
                    .copied()
                {
                    if len >= BATCH_LEN || items.commits.len() >= MAX_ITEMS {
                        items.more = true;
                        return Ok(());
                    }
                    if !self.is_next(&commit)? {
                        break;
                    }
                    if let Some(item) = self.replica.commit(&commit)? {
                        len += item.len();
                        items.commits.push(item);
                    }
                    self.sent.insert(commit);
                    if let Some(queue) = self.queues.get_mut(line) {
                        queue.next.pop_front();
                    }
                    moved = true;
                }
            }
            if !moved {
                let mut queues = self.queues.values();
                items.more =
                    queues.any(|queue| queue.cut || !queue.next.is_empty()) && !items.commits.is_empty();
                return Ok(());
            }
        }
    }

    fn is_next(&mut self, commit: &StatementId) -> Result<bool, R::Error> {
        let Some(header) = self.header(commit)? else {
            return Ok(true);
        };
        for before in header.follows() {
            if !self.is_there(before)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
