//! Pairing: a node becomes a device of this principal.
//!
//! The user makes a ticket at one device and types it at the new one. Its first bearer is invited to a `device` link,
//! in the transaction that names it the bearer; then the new device makes the link like any other that it was
//! [invited](crate::links) to, and brings in what it may read. Wherever an end of an agent breaks this off, the same
//! command at the new device goes on.
//!
//! Always: only the hash of a ticket's secret is kept; the first bearer wins, for the ticket and for the link.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use polykey_api::{Code, Problem};
use polykey_core::clock::SystemClock;
use polykey_core::codec::{CodecError, Reader, Writer};
use polykey_core::hash::hash;
use polykey_core::random::OsRandom;
use polykey_core::{Clock, Key, NodeId, Timestamp, label};
use polykey_store::{ReadTx, WriteTx};
use polykey_trust::TrustError;
use polykey_trust::invitation::{self, LIFETIME};
use polykey_trust::link::LinkType;

use super::shared::Came;
use super::told;
use crate::agent::Agent;
use crate::blocking::blocking;
use crate::contacts::Place;
use crate::failure;
use crate::node::Node;
use crate::peer::{Answer, Refusal, Request};
use crate::recovery::past::check_settled;
use crate::sharing::invite::meet_issuer;
use crate::tables::DEVICE_TICKETS;
use crate::tickets::ticket::{Purpose, Ticket};

/// For how long a ticket for a device can be used.
pub const LIFE: Duration = Duration::from_secs(3600);
/// Tickets for devices that can be used at one time. Those that were used count no more.
const MAX_TICKETS: usize = 16;
/// Longest row.
const MAX_LEN: usize = 128;
const ALL: &[u8] = b"all";

/// A ticket for a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Issued {
    expires: Timestamp,
    bearer: Option<NodeId>,
}

impl Issued {
    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.array(2).u64(self.expires.as_millis());
        match &self.bearer {
            Some(bearer) => out.bytes(bearer.as_bytes()),
            None => out.null(),
        };
        out.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Issued, CodecError> {
        let mut from = Reader::new(bytes, MAX_LEN, "the record of a ticket for a device")?;
        from.array_of(2)?;
        let expires = Timestamp::from_millis(from.u64()?);
        let bearer = match from.null()? {
            true => None,
            false => Some(NodeId::from_bytes(from.bytes_of()?)),
        };
        from.finish()?;
        Ok(Issued { expires, bearer })
    }
}

fn place(secret: &Key) -> [u8; 32] {
    hash(label::TICKET_SECRET, &[secret.expose()])
}

fn all(tx: &ReadTx<'_>) -> Result<BTreeMap<Vec<u8>, Issued>, TrustError> {
    tx.group(DEVICE_TICKETS, ALL)?
        .into_iter()
        .map(|(place, row)| {
            let issued = Issued::decode(row.expose()).map_err(|source| TrustError::Row {
                what: "tickets for devices",
                source,
            })?;
            Ok((place, issued))
        })
        .collect()
}

/// Makes a ticket for a device; `addresses` are where this node listens.
///
/// # Errors
/// [`Code::Busy`] when too many are open; what the store says.
pub fn make(node: &Node, life: Duration, addresses: &[Place]) -> Result<Ticket, Problem> {
    check_settled(node)?;
    let now = SystemClock.now();
    let addresses = addresses.iter().map(ToString::to_string).collect();
    let ticket = Ticket::new(Purpose::Device, node.id(), now.after(life), addresses, &OsRandom);
    let issued = Issued {
        expires: ticket.expires,
        bearer: None,
    };
    let made = node.db.write(|tx| {
        let mut open = all(tx)?;
        for (old, _) in open.extract_if(.., |_, issued| issued.expires <= now) {
            tx.remove(DEVICE_TICKETS, ALL, &old)?;
        }
        open.retain(|_, issued| issued.bearer.is_none());
        if open.len() >= MAX_TICKETS {
            return Err(TrustError::Full {
                what: "tickets for devices",
                limit: MAX_TICKETS,
            });
        }
        Ok(tx.put(DEVICE_TICKETS, ALL, &place(&ticket.secret), &issued.encode())?)
    });
    match made {
        Ok(()) => Ok(ticket),
        Err(TrustError::Full { .. }) => Err(Problem::new(Code::Busy, "too many tickets for devices are out")
            .hint("use one of them, or end all of them: `polykey devices pair --withdraw`")),
        Err(error) => Err(failure::trust(&error)),
    }
}

/// Finds the ticket with this secret for `bearer`; none when there is none, or not for this node, or not any more.
fn find(
    tx: &ReadTx<'_>,
    secret: &Key,
    bearer: &NodeId,
    now: Timestamp,
) -> Result<Option<Issued>, TrustError> {
    let issued = all(tx)?.remove(&place(secret)[..]);
    Ok(issued.filter(|issued| issued.expires > now && issued.bearer.is_none_or(|by| by == *bearer)))
}

/// Uses the ticket with this secret: from now on `bearer` and nobody else may propose to be a device. False when it
/// does not let that happen, for whichever reason.
fn redeem(node: &Node, secret: &Key, bearer: NodeId) -> Result<bool, Problem> {
    let now = SystemClock.now();
    let redeemed = node.db.write(|tx: &mut WriteTx<'_>| {
        let Some(issued) = find(tx, secret, &bearer, now)? else {
            return Ok(false);
        };
        if issued.bearer.is_none() {
            let used = Issued {
                bearer: Some(bearer),
                ..issued
            };
            tx.put(DEVICE_TICKETS, ALL, &place(secret), &used.encode())?;
            invite_in(tx, node, bearer, now)?;
        }
        Ok::<_, TrustError>(true)
    });
    redeemed.map_err(|error| failure::trust(&error))
}

fn invite_in(tx: &mut WriteTx<'_>, node: &Node, bearer: NodeId, now: Timestamp) -> Result<(), TrustError> {
    let until = now.after(LIFETIME);
    invitation::invite(tx, LinkType::Device, bearer, node.id(), until, now, &OsRandom).map(drop)
}

/// Invites `bearer` to be a device: it has proven that the user wants it.
///
/// # Errors
/// What the store says.
pub fn invite(node: &Node, bearer: NodeId) -> Result<(), Problem> {
    let now = SystemClock.now();
    let invited = node.db.write(|tx| invite_in(tx, node, bearer, now));
    invited.map_err(|error| failure::trust(&error))
}

/// True when this node was brought a ticket or words, and may become a device by it.
///
/// # Errors
/// What the store says.
pub fn is_invited(node: &Node, who: &NodeId) -> Result<bool, Problem> {
    let now = SystemClock.now();
    let open = node.db.read(invitation::all);
    let open = open.map_err(|error| failure::trust(&error))?;
    Ok(open.iter().any(|open| {
        (open.issuer, open.kind) == (*who, LinkType::Device) && open.used.is_none() && open.expires > now
    }))
}

/// A device is none any more: what it used, or may still use, makes it none again.
///
/// # Errors
/// What the store says.
pub fn close_all_of(node: &Node, device: &NodeId) -> Result<(), Problem> {
    let closed = node.db.write(|tx| {
        for (place, issued) in all(tx)? {
            if issued.bearer == Some(*device) {
                tx.remove(DEVICE_TICKETS, ALL, &place)?;
            }
        }
        Ok::<_, TrustError>(())
    });
    closed.map_err(|error| failure::trust(&error))
}

/// Ends all tickets, and what came of them without having made a device yet; says how many could be used.
///
/// # Errors
/// What the store says.
pub fn withdraw(node: &Node) -> Result<usize, Problem> {
    let now = SystemClock.now();
    let withdrawn = node.db.write(|tx| {
        let mut open = 0;
        for (place, issued) in all(tx)? {
            tx.remove(DEVICE_TICKETS, ALL, &place)?;
            open += usize::from(issued.bearer.is_none() && issued.expires > now);
        }
        for invited in invitation::all(tx)? {
            if invited.kind == LinkType::Device && invited.used.is_none() {
                invitation::withdraw(tx, &invited.id)?;
            }
        }
        Ok::<_, TrustError>(open)
    });
    withdrawn.map_err(|error| failure::trust(&error))
}

/// Reads a ticket that the user brings from another device.
///
/// # Errors
/// [`Code::BadData`] for what is none; [`Code::Usage`] for one of this node, or for a vault.
pub fn read(node: &Node, text: &str) -> Result<Ticket, Problem> {
    let ticket = Ticket::parse(text).map_err(|error| {
        Problem::new(Code::BadData, error.to_string()).hint("copy the whole line that `devices pair` printed")
    })?;
    if ticket.purpose != Purpose::Device {
        return Err(
            Problem::new(Code::Usage, "this ticket lets into a vault").hint("run `polykey join` with it")
        );
    }
    if ticket.issuer == node.id() {
        return Err(Problem::new(Code::Usage, "this device made the ticket itself")
            .hint("run `polykey devices join` at the new device"));
    }
    Ok(ticket)
}

impl Agent {
    /// Another node brings the secret of a ticket for a device; `start` and `record` are its keys, which were not
    /// checked yet.
    pub(crate) async fn pair(
        &self,
        node: Arc<Node>,
        from: NodeId,
        secret: [u8; 32],
        start: Vec<u8>,
        record: Vec<u8>,
    ) -> Result<Answer, Problem> {
        let (here, shown) = (node.clone(), Key::copy_of(&secret));
        let is_good = blocking(move || {
            let now = SystemClock.now();
            let found = here.db.read(|tx| find(tx, &shown, &from, now));
            match found.map_err(|error| failure::trust(&error))? {
                None => Ok(false),
                Some(issued) if issued.bearer.is_none() => Ok(true),
                // It may have been removed since, here or by another device.
                Some(_) => {
                    let own = super::own(&here)?;
                    Ok(!own.removed.contains(&from) && !own.apart.contains(&from))
                }
            }
        });
        // A stranger that made it up shall not make us work.
        if !is_good.await? {
            return Ok(Answer::refused(Refusal::Refused));
        }
        let Some(keys) = self.network().shown_keys(&node, from, start, record).await else {
            return Ok(Answer::refused(Refusal::Refused));
        };
        let secret = Key::copy_of(&secret);
        let redeemed = blocking(move || {
            // Who comes second is not trusted; who was cut off in between comes again.
            if !redeem(&node, &secret, from)? {
                return Ok(false);
            }
            node.contacts.trust(from)?;
            node.contacts.keep_keys(keys.start(), keys.record())?;
            Ok(true)
        });
        Ok(match redeemed.await? {
            true => Answer::Done,
            false => Answer::refused(Refusal::Refused),
        })
    }

    /// A link that makes `from` a device was signed here: the user is told.
    pub(crate) async fn tell_of_device(&self, node: Arc<Node>, from: NodeId) -> Result<(), Problem> {
        blocking(move || told::joined(&node, from)).await
    }

    /// Makes this node a device of the principal of the ticket's issuer, and brings in what that one holds for it.
    ///
    /// # Errors
    /// [`Code::NotAllowed`] when the ticket does not let it; [`Code::NodeUnreachable`].
    pub async fn join_devices(&self, node: &Arc<Node>, ticket: Ticket) -> Result<Vec<Came>, Problem> {
        let issuer = ticket.issuer;
        let here = node.clone();
        let ticket = blocking(move || meet_issuer(&here, &ticket).map(|()| ticket)).await?;
        self.settle_past(node, &[issuer]).await?;
        let request = Request::Pair {
            secret: *ticket.secret.expose(),
            start: node.sigchain_start.as_bytes().to_vec(),
            record: node.key_record.as_bytes().to_vec(),
        };
        let paired = self.network().ask(node, issuer, request).await;
        paired.map_err(|problem| match problem.code {
            Code::NotAllowed => Problem::new(
                Code::NotAllowed,
                "the ticket does not make this node a device: it was used by another node or is too old",
            )
            .hint("run `polykey devices pair` there for another one"),
            _ => problem,
        })?;
        self.become_device(node, issuer).await
    }

    /// Makes this node a device of the principal of `issuer`, which has invited it, and brings in what that one holds.
    ///
    /// # Errors
    /// As [`Agent::claim`].
    pub(super) async fn become_device(&self, node: &Arc<Node>, issuer: NodeId) -> Result<Vec<Came>, Problem> {
        // What this device brings along is sealed to the other one.
        self.network().keys_of(node, issuer).await?;
        self.claim(node, issuer, LinkType::Device).await?;
        let came = self.bring_shared(node, issuer).await?;
        // What this device brings along follows, and its name is told.
        self.follow_principals().await;
        self.keep_in_step().await;
        Ok(came)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use polykey_core::statement::{Kind, Statement};
    use polykey_trust::book::Source;
    use polykey_trust::claim::Body;
    use polykey_trust::link::{InvitationId, Link, Proposal};
    use polykey_trust::sigchain::Chain;

    use super::super::{is_own, removal};
    use super::*;
    use crate::chains::cast::{Life, time};
    use crate::chains::learn::{Kept, keep};
    use crate::links;
    use crate::peer::Invited;
    use crate::peer::bench::Bench;

    const HOUR: Duration = Duration::from_secs(3600);

    async fn ask(bench: &Bench, from: NodeId, request: &Request) -> Answer {
        let (answer, _) = bench.say(from, &request.encode()).await;
        Answer::decode(request, &answer).expect("an answer")
    }

    fn pair(secret: &Key, with: &Life) -> Request {
        Request::Pair {
            secret: *secret.expose(),
            start: with.start.as_bytes().to_vec(),
            record: with.record.as_bytes().to_vec(),
        }
    }

    async fn invites(bench: &Bench, who: NodeId) -> bool {
        let answer = ask(bench, who, &Request::Invitations).await;
        matches!(answer, Answer::Invitations(all) if matches!(&all[..], [Invited { kind: LinkType::Device, .. }]))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_first_bearer_is_invited_and_nobody_else() {
        let (bench, life, other) = (Bench::new(), Life::new(), Life::new());
        let node = bench.node();
        let refused = Answer::refused(Refusal::Refused);
        let ticket = make(&node, HOUR, &[]).expect("made");
        let wrong = Key::random(&OsRandom);
        assert_eq!(ask(&bench, life.node(), &pair(&wrong, &life)).await, refused);
        // With the keys of another, which this node cannot be asked for here.
        assert_eq!(
            ask(&bench, life.node(), &pair(&ticket.secret, &other)).await,
            refused
        );
        assert!(!node.contacts.is_contact(&life.node()));
        for _ in 0..2 {
            assert_eq!(
                ask(&bench, life.node(), &pair(&ticket.secret, &life)).await,
                Answer::Done
            );
            assert!(invites(&bench, life.node()).await, "once, however often it asks");
        }
        assert_eq!(
            ask(&bench, other.node(), &pair(&ticket.secret, &other)).await,
            refused
        );
        assert!(!invites(&bench, other.node()).await);
        close_all_of(&node, &life.node()).expect("closed");
        assert_eq!(
            ask(&bench, life.node(), &pair(&ticket.secret, &life)).await,
            refused
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_device_that_another_one_removed_is_not_trusted_again_by_its_old_ticket() {
        let (bench, other, life) = (Bench::new(), Life::new(), Life::new());
        let node = bench.node();
        let ticket = make(&node, HOUR, &[]).expect("made");
        let again = pair(&ticket.secret, &life);
        assert_eq!(ask(&bench, life.node(), &again).await, Answer::Done);
        let mut chains = [&other, &life].map(|life| (life, life.chain()));
        for (life, chain) in &mut chains {
            links_with(&node, life, chain);
        }
        let show = |(life, chain): &(&Life, Chain)| {
            let kept = keep(&node, life.node(), chain.entries().to_vec(), Source::Other);
            assert_eq!(kept, Ok(Kept::Taken));
        };
        chains.iter().for_each(show);
        assert!(is_own(&node, &life.node()).expect("reads"));
        // The other one removes it, and says that it is not trusted.
        other.says(&mut chains[0].1, &Body::DeviceRemoved(life.node()));
        show(&chains[0]);
        node.contacts.set_trust(life.node(), false).expect("kept");
        assert_eq!(
            ask(&bench, life.node(), &again).await,
            Answer::refused(Refusal::Refused)
        );
        assert!(!node.contacts.is_trusted(&life.node()));
        // A new ticket is the user's word.
        let ticket = make(&node, HOUR, &[]).expect("made");
        let new = pair(&ticket.secret, &life);
        assert_eq!(ask(&bench, life.node(), &new).await, Answer::Done);
        assert!(node.contacts.is_trusted(&life.node()));
    }

    /// A device link between the node and `life`, in both chains.
    pub(in super::super) fn links_with(node: &Node, life: &Life, theirs: &mut Chain) {
        let invited = InvitationId::from_bytes([7; 16]);
        let proposal = Proposal::sign(&life.keys.root, LinkType::Device, node.id(), invited, time(3));
        let half = Statement::verify(Kind::Link, proposal.expect("of two").as_bytes().to_vec());
        let both = half.expect("just signed").countersign(&node.root);
        let link = Link::verify(both.as_bytes().to_vec()).expect("signed by both");
        let body = Body::Link(Box::new(link));
        links::say(node, &body).expect("said");
        life.says(theirs, &body);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn old_tickets_make_no_device_and_give_way() {
        let (bench, life) = (Bench::new(), Life::new());
        let node = bench.node();
        let old = make(&node, Duration::ZERO, &[]).expect("made");
        let refused = Answer::refused(Refusal::Refused);
        assert_eq!(ask(&bench, life.node(), &pair(&old.secret, &life)).await, refused);
        let make_one = || make(&node, HOUR, &[]).map_err(|problem| problem.code);
        let first = make_one().expect("made");
        for _ in 1..MAX_TICKETS {
            make_one().expect("made");
        }
        assert_eq!(make_one().map(drop), Err(Code::Busy));
        // One that was used makes room.
        assert_eq!(
            ask(&bench, life.node(), &pair(&first.secret, &life)).await,
            Answer::Done
        );
        make_one().expect("made");
        assert_eq!(make_one().map(drop), Err(Code::Busy));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn tickets_that_were_taken_back_make_no_device_and_nor_does_who_used_one_and_waits() {
        let (bench, life, thief) = (Bench::new(), Life::new(), Life::new());
        let node = bench.node();
        let [used, open] = [(); 2].map(|()| make(&node, HOUR, &[]).expect("made"));
        make(&node, Duration::ZERO, &[]).expect("made");
        let takes = pair(&used.secret, &thief);
        assert_eq!(ask(&bench, thief.node(), &takes).await, Answer::Done);
        assert!(invites(&bench, thief.node()).await);
        assert_eq!(withdraw(&node), Ok(1));
        assert!(!invites(&bench, thief.node()).await);
        for (who, ticket) in [(&thief, &used), (&thief, &open), (&life, &open)] {
            assert_eq!(
                ask(&bench, who.node(), &pair(&ticket.secret, who)).await,
                Answer::refused(Refusal::Refused)
            );
        }
        assert_eq!(withdraw(&node), Ok(0));
        let new = make(&node, HOUR, &[]).expect("made");
        assert_eq!(
            ask(&bench, life.node(), &pair(&new.secret, &life)).await,
            Answer::Done
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn whoever_used_a_ticket_and_waits_can_be_removed() {
        let (bench, thief) = (Bench::new(), Life::new());
        let node = bench.node();
        let typed = thief.node().to_string();
        let find = || removal::find(&node, &typed).map_err(|problem| problem.code);
        let ticket = make(&node, HOUR, &[]).expect("made");
        assert_eq!(find(), Err(Code::NodeNotFound));
        let request = pair(&ticket.secret, &thief);
        assert_eq!(ask(&bench, thief.node(), &request).await, Answer::Done);
        assert!(invites(&bench, thief.node()).await);
        assert_eq!(find(), Ok(thief.node()));
        removal::remove(&node, thief.node(), None).expect("removed");
        assert!(!invites(&bench, thief.node()).await);
        assert!(!node.contacts.is_trusted(&thief.node()));
        assert_eq!(
            ask(&bench, thief.node(), &request).await,
            Answer::refused(Refusal::Refused)
        );
    }

    #[test]
    fn tickets_for_vaults_and_devices_are_told_apart() {
        let (bench, other) = (Bench::new(), Bench::new());
        let ticket = make(&bench.node(), HOUR, &[]).expect("made").to_text();
        let code = |read: Result<Ticket, Problem>| read.map(drop).map_err(|problem| problem.code);
        assert_eq!(code(read(&other.node(), &ticket)), Ok(()));
        assert_eq!(code(read(&bench.node(), &ticket)), Err(Code::Usage));
        assert_eq!(
            code(crate::sharing::invite::read(&other.node(), &ticket)),
            Err(Code::Usage)
        );
        assert_eq!(code(read(&other.node(), &ticket[..40])), Err(Code::BadData));
    }
}
