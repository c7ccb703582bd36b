//! The holder's side: a share is kept for somebody, asked for, and given back after the user's word and some time.
//!
//! A request comes from a node that nobody knows yet: the new device of a friend, or a thief. So it is only taken
//! when a share of that owner is held, few are open at once, the user is told, and the devices of the owner are
//! warned. What is not taken is refused in the same words whatever the reason.
//!
//! Always: each step is one transaction, so that a veto and a release never pass each other.

use polykey_api::{Code, Problem};
use polykey_core::clock::SystemClock;
use polykey_core::random::OsRandom;
use polykey_core::{Clock, NodeId, StatementId, Timestamp};
use polykey_store::{ReadTx, WriteTx};
use polykey_trust::split::{NONCE_LEN, Purpose, Split};

use super::message::{Answer, Request};
use super::news::News;
use super::rows::{self, Asking, Errand, Held, RowError, State};
use super::{Answered, LIFETIME, MAX_ENDED, MAX_HELD, MAX_OPEN};
use crate::devices::{self, Principal};
use crate::node::Node;
use crate::peer::Refusal;
use crate::peer::keys::NodeKeys;
use crate::peer::limits::Standing;
use crate::post::{Letter, Tray};

/// Tells the user.
pub(super) fn tell(node: &Node, from: NodeId, news: News) -> Result<(), Problem> {
    let letter = Letter::Friend { from, news };
    node.post
        .tell(Tray::Inbox, letter, SystemClock.now(), &OsRandom)
        .map(drop)
}

/// Takes a share to keep. Only somebody who is known leaves one, and only their own.
///
/// # Errors
/// What the store says, as everywhere below.
pub fn take(
    node: &Node,
    from: NodeId,
    standing: Standing,
    split: Vec<u8>,
    sealed: &[u8],
) -> Result<Answered, Problem> {
    if standing != Standing::Contact {
        return Ok(Err(Refusal::Refused));
    }
    let Ok(split) = Split::verify(split) else {
        return Ok(Err(Refusal::Malformed));
    };
    // On a device of its own a share helps whoever steals that one.
    if split.owner() != from
        || !has_its_recovery_key(node, &split)
        || devices::own(node)?.nodes.contains(&from)
    {
        return Ok(Err(Refusal::Refused));
    }
    let Ok(share) = split.open(Purpose::Keep, sealed, node.id(), &node.encryption) else {
        return Ok(Err(Refusal::Refused));
    };
    let news = News::Left {
        threshold: split.threshold(),
        count: split.count(),
    };
    let taken = rows::write(&node.db, |tx| {
        let all = Held::all(tx)?;
        let held = all.iter().find(|held| held.split.owner() == from);
        match held {
            // An answer that was lost.
            Some(held) if held.split.id() == split.id() => return Ok(Ok(false)),
            Some(held) if !replaces(&held.split, &split) => return Ok(Err(Refusal::Refused)),
            None if all.len() >= MAX_HELD => return Ok(Err(Refusal::NoRoom)),
            _ => {}
        }
        let is_new = held.is_none();
        // What it left under a key that it has no longer opens nothing any more.
        for former in all.iter().map(|held| held.split.owner()) {
            if node.contacts.successor(&former) == Some(from) {
                Held::forget(tx, &former)?;
            }
        }
        let held = Held {
            split,
            share,
            since: SystemClock.now(),
        };
        held.keep(tx)?;
        Ok(Ok(is_new))
    })?;
    Ok(match taken {
        Ok(is_new) => {
            if is_new {
                tell(node, from, news)?;
            }
            Ok(Answer::Done)
        }
        Err(refusal) => Err(refusal),
    })
}

/// True when a later statement of the owner takes the place of another: the same recovery key signed it.
fn replaces(held: &Split, later: &Split) -> bool {
    held.made() < later.made() && held.recovery() == later.recovery()
}

/// False when the owner is known to have another recovery key: then somebody else has its root key.
fn has_its_recovery_key(node: &Node, split: &Split) -> bool {
    let start = node.contacts.find(&split.owner()).and_then(|owner| owner.start);
    start.is_none_or(|start| start.recovery_public() == split.recovery())
}

/// Lets go of a share whose owner split its code anew and left none here.
pub fn let_go(node: &Node, from: NodeId, split: Vec<u8>) -> Result<Answered, Problem> {
    let Ok(split) = Split::verify(split) else {
        return Ok(Err(Refusal::Malformed));
    };
    if split.owner() != from {
        return Ok(Err(Refusal::Refused));
    }
    let gone = rows::write(&node.db, |tx| match Held::find(tx, &from)? {
        Some(held) if replaces(&held.split, &split) => Held::forget(tx, &from),
        _ => Ok(false),
    })?;
    if gone {
        tell(node, from, News::Taken)?;
    }
    Ok(Ok(Answer::Done))
}

/// Proves to the owner that the share is here.
pub fn prove(
    node: &Node,
    from: NodeId,
    split: StatementId,
    nonce: &[u8; NONCE_LEN],
) -> Result<Answered, Problem> {
    let held = rows::read(&node.db, |tx| Held::find(tx, &from))?;
    Ok(match held.filter(|held| held.split.id() == split) {
        Some(held) => Ok(Answer::Proof(held.split.prove(&held.share, &node.id(), nonce))),
        None => Err(Refusal::Refused),
    })
}

/// True when the share of this owner can be asked for at all.
fn is_askable(node: &Node, owner: &NodeId, from: &NodeId) -> bool {
    owner != from && !node.contacts.is_blocked(owner)
}

/// Hears that a node asks for the share of an owner. It need not be known.
pub fn hear(
    node: &Node,
    from: NodeId,
    owner: NodeId,
    start: Vec<u8>,
    records: Vec<Vec<u8>>,
) -> Result<Answered, Problem> {
    let held = rows::read(&node.db, |tx| Held::find(tx, &owner))?;
    if held.is_none() || !is_askable(node, &owner, &from) {
        return Ok(Err(Refusal::Refused));
    }
    let Ok(keys) = NodeKeys::verify(from, start, records) else {
        return Ok(Err(Refusal::Malformed));
    };
    // Told to all of them: whichever the user holds in hand can object.
    let mut warned = Principal::of(&node.gestalts.view()?.graph, &owner).nodes;
    warned.insert(owner);
    let now = SystemClock.now();
    let until = rows::write(&node.db, |tx| {
        let Some(held) = Held::find(tx, &owner)? else {
            return Ok(Err(Refusal::Refused));
        };
        let all = current(tx, &owner, now)?;
        if let Some(known) = all.iter().find(|known| known.asker == from) {
            return Ok(match known.state.is_open() {
                true => Ok(None),
                false => Err(Refusal::Refused),
            });
        }
        if all.iter().filter(|known| known.state.is_open()).count() >= MAX_OPEN {
            return Ok(Err(Refusal::Refused));
        }
        let asking = Asking {
            asker: from,
            arrived: now,
            record: Some(keys.record().clone()),
            state: State::Open,
            given: None,
        };
        asking.keep(tx, &owner)?;
        let until = due(&held, &asking);
        for device in &warned {
            let warning = Request::Warn {
                owner,
                asker: from,
                arrived: now,
                until,
            };
            Errand::new(*device, warning, now, &OsRandom).keep(tx)?;
        }
        Ok(Ok(Some(until)))
    })?;
    Ok(match until {
        Ok(until) => {
            if let Some(until) = until {
                tell(node, from, News::Asked { owner, until })?;
            }
            Ok(Answer::Done)
        }
        Err(refusal) => Err(refusal),
    })
}

/// When a share may be released at the earliest.
fn due(held: &Held, asking: &Asking) -> Timestamp {
    asking.arrived.after(held.split.wait())
}

fn is_over(asking: &Asking, now: Timestamp) -> bool {
    asking.state.is_open() && now > asking.arrived.after(LIFETIME)
}

/// The requests for the share of this owner that count: those whose time is over are forgotten first, and of those
/// that were ended the oldest beyond [`MAX_ENDED`].
fn current(tx: &mut WriteTx<'_>, owner: &NodeId, now: Timestamp) -> Result<Vec<Asking>, RowError> {
    let (over, mut all): (Vec<_>, Vec<_>) = Asking::all(tx, owner)?
        .into_iter()
        .partition(|asking| is_over(asking, now));
    for asking in over {
        asking.forget(tx, owner)?;
    }
    all.sort_by_key(|asking| asking.arrived);
    let ended = all.iter().filter(|asking| !asking.state.is_open()).count();
    let mut surplus = ended.saturating_sub(MAX_ENDED);
    let mut kept = Vec::new();
    for asking in all {
        if surplus > 0 && !asking.state.is_open() {
            surplus -= 1;
            asking.forget(tx, owner)?;
        } else {
            kept.push(asking);
        }
    }
    Ok(kept)
}

/// Gives the share to whoever asked for it, if the user agreed and the time is over.
pub fn release(node: &Node, from: NodeId, owner: NodeId) -> Result<Answered, Problem> {
    if !is_askable(node, &owner, &from) {
        return Ok(Err(Refusal::Refused));
    }
    let now = SystemClock.now();
    rows::write(&node.db, |tx| {
        let asking = current(tx, &owner, now)?
            .into_iter()
            .find(|asking| asking.asker == from);
        let (Some(held), Some(mut asking)) = (Held::find(tx, &owner)?, asking) else {
            return Ok(Err(Refusal::Refused));
        };
        let (until, approved) = (due(&held, &asking), matches!(asking.state, State::Approved(_)));
        let Some(record) = asking.record.clone().filter(|_| asking.state.is_open()) else {
            return Ok(Err(Refusal::Refused));
        };
        if !approved || now < until {
            return Ok(Ok(Answer::Waiting { until, approved }));
        }
        if asking.given.is_none() {
            asking.given = Some(now);
            asking.keep(tx, &owner)?;
        }
        let sealed = held.split.seal(
            Purpose::Release,
            &held.share,
            from,
            record.encryption(),
            &OsRandom,
        );
        Ok(Ok(Answer::Released {
            split: held.split.as_bytes().to_vec(),
            sealed,
        }))
    })
}

/// A device of the owner objects: the node that it names gets nothing, now and later.
pub fn hear_veto(node: &Node, from: NodeId, owner: NodeId, asker: NodeId) -> Result<Answered, Problem> {
    // Asked for the owner as it is seen from there: a device that was removed is none.
    let principal = Principal::of(&node.gestalts.view()?.graph, &owner);
    if !principal.nodes.contains(&from) {
        return Ok(Err(Refusal::Refused));
    }
    let now = SystemClock.now();
    let late = rows::write(&node.db, |tx| {
        if Held::find(tx, &owner)?.is_none() {
            return Ok(None);
        }
        let all = current(tx, &owner, now)?;
        let known = all.into_iter().find(|asking| asking.asker == asker);
        if known
            .as_ref()
            .is_some_and(|asking| matches!(asking.state, State::Vetoed(..)))
        {
            return Ok(Some(None));
        }
        // It may not have asked here yet.
        let asking = known.unwrap_or(Asking {
            asker,
            arrived: now,
            record: None,
            state: State::Open,
            given: None,
        });
        let late = asking.given.is_some();
        let vetoed = Asking {
            state: State::Vetoed(now, from),
            ..asking
        };
        vetoed.keep(tx, &owner)?;
        current(tx, &owner, now)?;
        Ok(Some(Some(late)))
    })?;
    Ok(match late {
        None => Err(Refusal::Refused),
        Some(late) => {
            if let Some(late) = late {
                tell(node, from, News::Vetoed { owner, asker, late })?;
            }
            Ok(Answer::Done)
        }
    })
}

/// A request, with the share that it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Whose share.
    pub owner: NodeId,
    /// The request.
    pub asking: Asking,
    /// Nothing is released before this.
    pub due: Timestamp,
    /// The request is forgotten then.
    pub over: Timestamp,
}

/// All requests for shares that are held here, but those whose time is over.
pub fn pending(tx: &ReadTx<'_>, now: Timestamp) -> Result<Vec<Pending>, RowError> {
    let mut all = Vec::new();
    for held in Held::all(tx)? {
        let owner = held.split.owner();
        let asking = Asking::all(tx, &owner)?.into_iter();
        all.extend(
            asking
                .filter(|asking| !is_over(asking, now))
                .map(|asking| Pending {
                    owner,
                    due: due(&held, &asking),
                    over: asking.arrived.after(LIFETIME),
                    asking,
                }),
        );
    }
    Ok(all)
}

/// The open request that the user means: by the node that asks, or by the owner when only one asks.
///
/// # Errors
/// [`Code::NodeNotFound`]; [`Code::Usage`] when several ask.
pub fn meant(node: &Node, who: NodeId) -> Result<Pending, Problem> {
    let now = SystemClock.now();
    let mut all = rows::read(&node.db, |tx| pending(tx, now))?;
    all.retain(|one| one.asking.state.is_open() && [one.owner, one.asking.asker].contains(&who));
    let title = node.contacts.title(&who);
    match all.len() {
        1 => Ok(all.remove(0)),
        0 => Err(Problem::new(
            Code::NodeNotFound,
            format!("there is no open request of or for {title}"),
        )
        .hint("see `polykey recovery list`")),
        _ => Err(
            Problem::new(Code::Usage, format!("several nodes say that they are {title}"))
                .hint("name the one that asks: `polykey recovery list` shows them"),
        ),
    }
}

/// The user's word about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// It may be given.
    Approve,
    /// It may not.
    Refuse,
}

/// Notes what the user says about the request of `asker`.
///
/// # Errors
/// [`Code::NodeNotFound`] when it is not open any more.
pub fn decide(node: &Node, owner: NodeId, asker: NodeId, word: Word) -> Result<(), Problem> {
    let now = SystemClock.now();
    let decided = rows::write(&node.db, |tx| {
        let all = current(tx, &owner, now)?;
        let open = all
            .into_iter()
            .find(|one| one.asker == asker && one.state.is_open());
        let Some(asking) = open else {
            return Ok(false);
        };
        let state = match (word, asking.state) {
            (Word::Approve, State::Approved(at)) => State::Approved(at),
            (Word::Approve, _) => State::Approved(now),
            (Word::Refuse, _) => State::Refused(now),
        };
        Asking { state, ..asking }.keep(tx, &owner)?;
        Ok(true)
    })?;
    match decided {
        true => Ok(()),
        false => Err(
            Problem::new(Code::NodeNotFound, "this request is not open any more")
                .hint("see `polykey recovery list`"),
        ),
    }
}

/// Gives up the share of an owner, and lets it know.
///
/// # Errors
/// [`Code::NodeNotFound`] when none is held.
pub fn drop_share(node: &Node, owner: NodeId) -> Result<(), Problem> {
    let now = SystemClock.now();
    let gone = rows::write(&node.db, |tx| {
        let Some(held) = Held::find(tx, &owner)? else {
            return Ok(false);
        };
        let split = held.split.id();
        Errand::new(owner, Request::GiveUp { split }, now, &OsRandom).keep(tx)?;
        Held::forget(tx, &owner)
    })?;
    match gone {
        true => Ok(()),
        false => Err(Problem::new(
            Code::NodeNotFound,
            format!("no share of {} is held here", node.contacts.title(&owner)),
        )
        .hint("see `polykey recovery list`")),
    }
}
