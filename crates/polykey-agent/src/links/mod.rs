//! Links with other nodes: what two nodes say of each other, in the sigchains of both.
//!
//! One user [invites](invite) the other's node, which thereby learns of it. The other node asks what it is invited
//! to, proposes exactly that, and gets the second signature ([`Agent::claim`]). An answer that was lost is asked for
//! again: the invitation then shows the link that used it up.
//!
//! Always: what is signed for another node was invited by the user; an invitation names its node, and nobody else
//! sees it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use polykey_api::{Code, Problem};
use polykey_core::clock::SystemClock;
use polykey_core::random::OsRandom;
use polykey_core::{Clock, NodeId, StatementId};
use polykey_trust::TrustError;
use polykey_trust::book;
use polykey_trust::claim::{Body, Claim};
use polykey_trust::invitation::{self, Invitation, InvitationError};
use polykey_trust::link::{Link, LinkType, Proposal};
use polykey_trust::sigchain::Chain;

use crate::agent::Agent;
use crate::blocking::blocking;
use crate::devices;
use crate::failure;
use crate::node::Node;
use crate::peer::limits::Standing;
use crate::peer::{Answer, Invited, Refusal, Request};
use crate::recovery::past::check_settled;

/// Looking at a sigchain that is said to have grown may hold up the answer for so long.
const LOOK: Duration = Duration::from_secs(10);

/// Invites the node `who` to propose a link of this kind.
///
/// # Errors
/// [`Code::Busy`] when too many invitations are open; what the store says.
pub fn invite(node: &Node, who: NodeId, kind: LinkType, life: Duration) -> Result<Invitation, Problem> {
    check_settled(node)?;
    // Whom the user invites is known, so that its sigchain is looked at.
    node.contacts.meet(who)?;
    let now = SystemClock.now();
    let invited = node
        .db
        .write(|tx| invitation::invite(tx, kind, who, node.id(), now.after(life), now, &OsRandom));
    invited.map_err(|error| match error {
        TrustError::Full { .. } => Problem::new(Code::Busy, "too many invitations are open")
            .hint("wait until some have expired: each lasts a day unless it was made for longer"),
        error => failure::trust(&error),
    })
}

/// To which links this node invites `from`, with those that came of it.
///
/// # Errors
/// What the store says.
pub fn invitations_for(node: &Node, from: &NodeId) -> Result<Answer, Problem> {
    let now = SystemClock.now();
    let read = node.db.read(|tx| {
        let mut open = invitation::all(tx)?;
        open.retain(|invitation| {
            (invitation.issuer, invitation.subject) == (*from, node.id()) && invitation.expires > now
        });
        let mut invited = Vec::new();
        // The chain is read for those who were invited only.
        let chain = match open.is_empty() {
            true => None,
            false => book::chain(tx, &node.id())?,
        };
        for invitation in open {
            let link = match (invitation.used, &chain) {
                (None, _) => None,
                (Some(used), Some(chain)) => match chain.links().find(|link| link.id() == used) {
                    Some(link) => Some(link.as_bytes().to_vec()),
                    // It was ended since.
                    None => continue,
                },
                (Some(_), None) => continue,
            };
            invited.push(Invited {
                invitation: invitation.id,
                kind: invitation.kind,
                link,
            });
        }
        Ok::<_, TrustError>(invited)
    });
    Ok(Answer::Invitations(read.map_err(|error| failure::trust(&error))?))
}

/// Those of `invited` that gave no link which this node has ended since: it does not come back, and a newer invitation
/// counts.
fn without_ended(node: &Node, mut invited: Vec<Invited>) -> Result<Vec<Invited>, Problem> {
    let chain = node.db.read(|tx| book::known_chain(tx, &node.id()));
    let chain = chain.map_err(|error| failure::trust(&error))?;
    // What is no link is reported when it is used.
    let id = |link: &Vec<u8>| Link::verify(link.clone()).ok().map(|link| link.id());
    let is_ended = |link: &Vec<u8>| id(link).is_some_and(|id| chain.is_revoked(&id));
    invited.retain(|invited| !invited.link.as_ref().is_some_and(is_ended));
    Ok(invited)
}

/// The entry of the node's own chain that holds this link, if one does and it was not ended.
fn entry_of(node: &Node, link: StatementId) -> Result<Option<Claim>, Problem> {
    let read = node.db.read(|tx| {
        let chain = book::known_chain(tx, &node.id())?;
        let holds = |claim: &&Claim| matches!(claim.body(), Body::Link(held) if held.id() == link);
        Ok::<_, TrustError>(chain.entries().iter().find(holds).cloned())
    });
    read.map_err(|error| failure::trust(&error))
}

/// Adds the claim with this body to the node's own chain.
///
/// # Errors
/// As [`check_settled`]; [`Code::BadData`] when it does not fit the chain; what the store says.
pub fn say(node: &Node, body: &Body) -> Result<Claim, Problem> {
    say_unless(node, body, |_| None)
}

/// As [`say`], unless the chain holds it: then that claim.
///
/// # Errors
/// As [`say`].
pub fn say_unless(
    node: &Node,
    body: &Body,
    held: impl Fn(&Chain) -> Option<Claim>,
) -> Result<Claim, Problem> {
    check_settled(node)?;
    let now = SystemClock.now();
    let said = node.db.write(|tx| {
        let chain = book::known_chain(tx, &node.id())?;
        if let Some(claim) = held(&chain) {
            return Ok(claim);
        }
        let claim = Claim::sign(&node.root, None, chain.next_place(), now, body);
        let claim = claim.map_err(|error| TrustError::Claim {
            node: node.id(),
            source: Box::new(error),
        })?;
        book::append(tx, claim.clone())?;
        Ok::<_, TrustError>(claim)
    });
    let claim = said.map_err(|error| failure::trust(&error))?;
    node.gestalts.changed();
    Ok(claim)
}

/// Ends the links of this kind with `who` in the node's own chain; says how many there were. It takes one end to end a
/// link.
///
/// # Errors
/// As [`say`].
pub fn end(node: &Node, who: NodeId, kind: LinkType) -> Result<usize, Problem> {
    let read = node.db.read(|tx| {
        let chain = book::known_chain(tx, &node.id())?;
        let of_them = chain
            .links()
            .filter(|link| link.terms().kind == kind && link.other_end(&node.id()) == Some(who));
        Ok::<_, TrustError>(of_them.map(Link::id).collect::<Vec<StatementId>>())
    });
    let links = read.map_err(|error| failure::trust(&error))?;
    for link in &links {
        say(node, &Body::Revoke(*link))?;
    }
    // Nobody comes back by an invitation that is still open.
    withdraw(node, who, kind)?;
    Ok(links.len())
}

/// Whom this node invites to make a link of this kind, and who has not made it yet.
///
/// # Errors
/// What the store says.
pub fn invited(node: &Node, kind: LinkType) -> Result<BTreeSet<NodeId>, Problem> {
    let now = SystemClock.now();
    let all = node
        .db
        .read(invitation::all)
        .map_err(|error| failure::trust(&error))?;
    let open = all.into_iter();
    let open = open.filter(|one| one.kind == kind && one.used.is_none() && one.expires > now);
    Ok(open.map(|one| one.issuer).collect())
}

/// Takes back the invitations to links of this kind that `who` has not used.
///
/// # Errors
/// What the store says.
pub fn withdraw(node: &Node, who: NodeId, kind: LinkType) -> Result<(), Problem> {
    let withdrawn = node.db.write(|tx| {
        for open in invitation::all(tx)? {
            if open.issuer == who && open.kind == kind && open.used.is_none() {
                invitation::withdraw(tx, &open.id)?;
            }
        }
        Ok::<_, TrustError>(())
    });
    withdrawn.map_err(|error| failure::trust(&error))
}

impl Agent {
    /// Another node proposes a link. Nothing of it was checked yet.
    pub(crate) async fn answer_link(
        &self,
        node: Arc<Node>,
        from: NodeId,
        proposal: Vec<u8>,
    ) -> Result<Answer, Problem> {
        let here = node.clone();
        let answered = blocking(move || {
            let Ok(proposal) = Proposal::verify(proposal) else {
                return Ok(Err(Refusal::Malformed));
            };
            let now = SystemClock.now();
            let is_new = entry_of(&here, proposal.id())?.is_none();
            let link = here
                .db
                .write(|tx| invitation::answer(tx, &here.root, &from, &proposal, now));
            match link {
                Ok(link) => {
                    here.gestalts.changed();
                    Ok(Ok((link, is_new)))
                }
                Err(InvitationError::Trust(error)) => Err(failure::trust(&error)),
                Err(error) => {
                    tracing::info!(%from, "a link is not signed: {error}");
                    Ok(Err(Refusal::Refused))
                }
            }
        });
        Ok(match answered.await? {
            Ok((link, is_new)) => {
                match link.terms().kind {
                    LinkType::Node if is_new => self.spread_chain(Some(from)),
                    // Others are told when the device has said the same.
                    LinkType::Device if is_new => self.tell_of_device(node, from).await?,
                    _ => {}
                }
                Answer::Link(link.as_bytes().to_vec())
            }
            Err(refusal) => Answer::refused(refusal),
        })
    }

    /// Makes the link of this kind to which the node `who` invited this one, and the claim in our own chain.
    ///
    /// # Errors
    /// [`Code::NotAllowed`] when it has not invited this node; [`Code::Protocol`] when it signs something else;
    /// [`Code::NodeUnreachable`].
    pub async fn claim(&self, node: &Arc<Node>, who: NodeId, kind: LinkType) -> Result<Claim, Problem> {
        self.settle_past(node, &[who]).await?;
        let title = node.contacts.title(&who);
        let Answer::Invitations(mut invited) = self.network().ask(node, who, Request::Invitations).await?
        else {
            unreachable!("answers are read as answers to their request");
        };
        invited.retain(|invited| invited.kind == kind);
        let here = node.clone();
        let invited = blocking(move || without_ended(&here, invited)).await?;
        // One that gave a link whose answer we lost comes before a new one.
        let invited = (invited.into_iter())
            .max_by_key(|invited| invited.link.is_some())
            .ok_or_else(|| {
                Problem::new(
                    Code::NotAllowed,
                    format!("the node {title} has not invited this node to be linked with it"),
                )
                .hint(format!(
                    "its user runs `polykey identities invite {}`, and you try again",
                    node.id()
                ))
            })?;
        let created = match &invited.link {
            None => SystemClock.now(),
            Some(link) => {
                let link = Link::verify(link.clone()).map_err(|error| other_link(&title, &error))?;
                link.terms().created
            }
        };
        let proposal = Proposal::sign(&node.root, kind, who, invited.invitation, created)
            .map_err(|error| other_link(&title, &error))?;
        let signed = match invited.link {
            // With the time that we proposed then, it is the very link that we signed.
            Some(link) => link,
            None => {
                let request = Request::Link {
                    proposal: proposal.as_bytes().to_vec(),
                };
                let Answer::Link(link) = self.network().ask(node, who, request).await? else {
                    unreachable!("answers are read as answers to their request");
                };
                link
            }
        };
        let here = node.clone();
        let claim = blocking(move || {
            let now = SystemClock.now();
            let link = (here.db)
                .write(|tx| invitation::conclude(tx, &here.root, &proposal, signed, now))
                .map_err(|error| match error {
                    InvitationError::Trust(error) => failure::trust(&error),
                    error => other_link(&here.contacts.title(&who), &error),
                })?;
            here.gestalts.changed();
            here.contacts.meet(who)?;
            entry_of(&here, link.id())?
                .ok_or_else(|| Problem::new(Code::Internal, "a link that was stored is not there"))
        })
        .await?;
        self.tell_chain(node, who).await;
        self.look_at_chain(who).await;
        self.spread_chain(Some(who));
        Ok(claim)
    }

    /// Tells `to` how far our own chain goes, and waits until it has looked.
    pub async fn tell_chain(&self, node: &Arc<Node>, to: NodeId) {
        let here = node.clone();
        let last = blocking(move || {
            let head = here.db.read(|tx| book::head(tx, &here.id()));
            head.map_err(|error| failure::trust(&error))
        });
        let Ok(Some(head)) = last.await else { return };
        let request = Request::ChainNews { last: head.number };
        if let Err(error) = self.network().try_ask(to, request).await {
            tracing::debug!(node = %to, %error, "did not hear how far our chain goes");
        }
    }

    /// Tells all contacts that are connected how far our own chain goes, but for `told`. Returns at once.
    pub fn spread_chain(&self, told: Option<NodeId>) {
        self.spread_chain_but(told.as_slice());
    }

    /// As [`Agent::spread_chain`], but for all of `told`.
    pub fn spread_chain_but(&self, told: &[NodeId]) {
        let (Some(node), Some(running)) = (self.node(), self.network().running()) else {
            return;
        };
        for to in running.connected() {
            if !told.contains(&to) && node.contacts.is_contact(&to) {
                let (agent, node) = (self.clone(), node.clone());
                tokio::spawn(async move { agent.tell_chain(&node, to).await });
            }
        }
    }

    /// Another node says how far its chain goes.
    pub(crate) async fn hear_of_chain(
        &self,
        node: Arc<Node>,
        from: NodeId,
        standing: Standing,
        last: u64,
    ) -> Result<Answer, Problem> {
        if standing == Standing::Stranger {
            return Ok(Answer::Done);
        }
        let here = node.clone();
        let (seen, before) = blocking(move || {
            let head = here.db.read(|tx| book::head(tx, &from));
            let head = head.map_err(|error| failure::trust(&error))?;
            Ok((head, devices::others(&here)?))
        })
        .await?;
        // The same number again may be news of its devices.
        if seen.is_none_or(|head| head.number <= last) {
            // Whoever does not answer is looked at when it comes again.
            let _ = tokio::time::timeout(LOOK, self.look_at_chain(from)).await;
            // A device came or went: those that let devices in look again.
            if blocking(move || devices::others(&node)).await? != before {
                self.spread_chain(Some(from));
            }
        }
        Ok(Answer::Done)
    }
}

fn other_link(title: &str, error: &dyn std::error::Error) -> Problem {
    Problem::new(
        Code::Protocol,
        format!("the node {title} answers with another link than it was asked to sign"),
    )
    .caused_by(error)
}

#[cfg(test)]
mod tests {
    use polykey_trust::link::InvitationId;

    use super::*;
    use crate::chains::cast::Life;
    use crate::peer::bench::Bench;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn proposal(by: &Life, bench: &Bench, kind: LinkType, invitation: InvitationId) -> Request {
        let now = SystemClock.now();
        let proposal =
            Proposal::sign(&by.keys.root, kind, bench.id(), invitation, now).expect("of two nodes");
        Request::Link {
            proposal: proposal.as_bytes().to_vec(),
        }
    }

    async fn ask(bench: &Bench, from: NodeId, request: &Request) -> Answer {
        let (answer, _) = bench.say(from, &request.encode()).await;
        Answer::decode(request, &answer).expect("an answer")
    }

    fn links(bench: &Bench) -> usize {
        let node = bench.node();
        let chain = node.db.read(|tx| book::known_chain(tx, &node.id()));
        chain.expect("its own").links().count()
    }

    async fn invitations(bench: &Bench, who: NodeId) -> Vec<Invited> {
        match ask(bench, who, &Request::Invitations).await {
            Answer::Invitations(invited) => invited,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn only_what_was_invited_is_signed_and_once() {
        let (bench, life, other) = (Bench::new(), Life::new(), Life::new());
        let who = life.node();
        let refused = Answer::refused(Refusal::Refused);
        let nothing = InvitationId::from_bytes([1; 16]);
        for kind in [LinkType::Node, LinkType::Device] {
            assert_eq!(
                ask(&bench, who, &proposal(&life, &bench, kind, nothing)).await,
                refused
            );
        }
        let id = invite(&bench.node(), who, LinkType::Node, DAY)
            .expect("invited")
            .id;
        // Nobody else sees it or can use it, whatever it says.
        assert_eq!(invitations(&bench, other.node()).await, []);
        let good = proposal(&life, &bench, LinkType::Node, id);
        for (from, request) in [
            (other.node(), good.clone()),
            (other.node(), proposal(&other, &bench, LinkType::Node, id)),
            (who, proposal(&other, &bench, LinkType::Node, id)),
            (who, proposal(&life, &bench, LinkType::Device, id)),
            (who, proposal(&life, &bench, LinkType::Node, nothing)),
        ] {
            assert_eq!(ask(&bench, from, &request).await, refused, "{request:?}");
        }
        assert_eq!(links(&bench), 0);
        let open = invitations(&bench, who).await;
        assert!(
            matches!(&open[..], [Invited { invitation, kind: LinkType::Node, link: None }] if *invitation == id)
        );
        let Answer::Link(link) = ask(&bench, who, &good).await else {
            panic!("it was invited");
        };
        assert_eq!(
            Link::verify(link.clone()).map(|link| link.terms().issuer),
            Ok(who)
        );
        // The answer may have been lost: it is given again, and shown with the invitation.
        assert_eq!(ask(&bench, who, &good).await, Answer::Link(link.clone()));
        assert_eq!(invitations(&bench, who).await[0].link, Some(link));
        assert_eq!(links(&bench), 1);
        let another = proposal(&life, &bench, LinkType::Node, id);
        if another != good {
            assert_eq!(ask(&bench, who, &another).await, refused);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_ended_link_does_not_come_back_by_its_invitation() {
        let (bench, life) = (Bench::new(), Life::new());
        let (node, who) = (bench.node(), life.node());
        let id = invite(&node, who, LinkType::Node, DAY).expect("invited").id;
        let good = proposal(&life, &bench, LinkType::Node, id);
        assert!(matches!(ask(&bench, who, &good).await, Answer::Link(_)));
        let open = invite(&node, who, LinkType::Node, DAY).expect("another").id;
        assert_eq!(end(&node, who, LinkType::Device), Ok(0));
        assert_eq!(end(&node, who, LinkType::Node), Ok(1));
        assert_eq!(links(&bench), 0);
        assert_eq!(invitations(&bench, who).await, []);
        let late = proposal(&life, &bench, LinkType::Node, open);
        assert_eq!(ask(&bench, who, &late).await, Answer::refused(Refusal::Refused));
        assert_eq!(links(&bench), 0);
    }

    #[test]
    fn invitations_run_out() {
        let (bench, life) = (Bench::new(), Life::new());
        invite(&bench.node(), life.node(), LinkType::Node, Duration::ZERO).expect("invited");
        let shown = invitations_for(&bench.node(), &life.node());
        assert_eq!(shown, Ok(Answer::Invitations(Vec::new())));
    }
}
