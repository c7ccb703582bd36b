//! Witnesses: what nodes of people whom the user trusts saw of an identity.
//!
//! A provider may show one page to us and another to others, or none. So whoever verifies an identity asks the nodes
//! that are [confidants](is_confidant) and connected what they saw, and they answer from what they remember of their
//! own looks. Nobody looks anew for that.
//!
//! Always: only confidants are asked and answered, and to all others it is one refusal, whatever is known here; a
//! word of a witness is shown and gives and takes nothing. Start at [`Agent::hear_witnesses`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use polykey_api::Problem;
use polykey_core::NodeId;
use polykey_trust::identity::IdentityId;
use polykey_trust::permission::Action;
use polykey_trust::proof::Remembered;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::look::remembered;
use crate::agent::Agent;
use crate::blocking::blocking;
use crate::devices;
use crate::gestalts::View;
use crate::node::Node;
use crate::peer::{Answer, Refusal, Request, Testimony};

/// Most nodes that one call asks.
pub const MAX_WITNESSES: usize = 16;
/// All of them together are waited for this long.
const PATIENCE: Duration = Duration::from_secs(3);

/// An identity, and the node that speaks for it as far as is known here.
pub type About = (IdentityId, Option<NodeId>);

/// What one witness said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// The place of the identity among those that were asked about.
    pub about: usize,
    /// Who said it.
    pub witness: NodeId,
    /// What it saw.
    pub testimony: Testimony,
}

/// A word of a witness beside what is known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// It saw the same.
    Agrees,
    /// It saw another claim, or one where there is none here, or none where there is one.
    Contradicts,
    /// It saw something, and nothing could be seen here.
    Alone,
}

impl Word {
    /// Its name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Word::Agrees => "agrees",
            Word::Contradicts => "contradicts",
            Word::Alone => "alone",
        }
    }
}

impl Testimony {
    /// What `seen` says to somebody who asks about the link with `node`, or the newest one that ended.
    fn of(seen: &Remembered, node: Option<NodeId>) -> Testimony {
        let asked = |link: NodeId| node.is_none_or(|node| node == link);
        let mut newest_first = seen.former.iter().rev();
        Testimony {
            live: seen.live,
            former: newest_first.find(|former| asked(former.link.proof.node)).copied(),
        }
    }

    /// Compares it with what is known here; `has_looked` is false when neither end could be read this time. None for
    /// a witness that saw nothing of it.
    pub fn beside(&self, ours: &Remembered, has_looked: bool) -> Option<Word> {
        let knows = has_looked || *ours != Remembered::default();
        match (&ours.live, &self.live, &self.former) {
            (None, None, None) => None,
            (Some(ours), Some(theirs), _) if ours.proof == theirs.proof => Some(Word::Agrees),
            (Some(_), Some(_), _) => Some(Word::Contradicts),
            (Some(ours), None, Some(former)) if former.link.proof == ours.proof => Some(Word::Contradicts),
            // It has not seen the one that holds now.
            (Some(_), None, _) => None,
            (None, _, _) if !knows => Some(Word::Alone),
            (None, Some(_), _) => Some(Word::Contradicts),
            (None, None, Some(_)) => Some(Word::Agrees),
        }
    }
}

/// True when `other` is a device of the user's own, or a node of somebody whom the user trusts. A node whose chain was
/// forked is none: who uses its key is not known.
fn is_confidant(node: &Node, view: &View, own: &BTreeSet<NodeId>, other: &NodeId) -> bool {
    *other != node.id()
        && !node.contacts.is_blocked(other)
        && !view.graph.is_doubtful(other)
        && (own.contains(other) || view.actions_of(other).contains(Action::Notify))
}

/// What was seen here of `identity`, and of its link with `of`, as `from` is told.
///
/// # Errors
/// What the store says.
pub fn testimony_for(
    node: &Node,
    from: &NodeId,
    identity: &IdentityId,
    of: Option<NodeId>,
) -> Result<Answer, Problem> {
    let view = node.gestalts.view()?;
    let own = devices::own(node)?.nodes;
    // Before anything is looked up: whoever is refused learns nothing from how long it takes.
    if !is_confidant(node, &view, &own, from) {
        return Ok(Answer::refused(Refusal::Refused));
    }
    let seen = remembered(node, identity)?;
    Ok(Answer::Testimony(Box::new(Testimony::of(&seen, of))))
}

/// Whom to ask, own devices first, and about what each.
fn witnesses(
    node: &Node,
    connected: &[NodeId],
    about: &[About],
) -> Result<Vec<(NodeId, Vec<usize>)>, Problem> {
    let view = node.gestalts.view()?;
    let own = devices::own(node)?.nodes;
    let mut found: Vec<NodeId> = connected
        .iter()
        .filter(|other| is_confidant(node, &view, &own, other))
        .copied()
        .collect();
    found.sort_unstable_by_key(|other| (!own.contains(other), *other));
    found.dedup();
    found.truncate(MAX_WITNESSES);
    // Nobody else's node is a witness in its own cause.
    let speakers: Vec<BTreeSet<NodeId>> = about
        .iter()
        .map(|(_, speaker)| speaker.map_or_else(BTreeSet::new, |node| view.graph.principal(&node)))
        .collect();
    let asked = found.into_iter().map(|witness| {
        let is_asked = |at: &usize| own.contains(&witness) || !speakers[*at].contains(&witness);
        (witness, (0..about.len()).filter(is_asked).collect::<Vec<_>>())
    });
    Ok(asked.filter(|(_, of)| !of.is_empty()).collect())
}

impl Agent {
    /// Asks the confidants that are connected, at most [`MAX_WITNESSES`], what they saw of these identities. Who does
    /// not answer in time, or refuses, is left out.
    ///
    /// # Errors
    /// What the store says.
    pub async fn hear_witnesses(&self, node: &Arc<Node>, about: Vec<About>) -> Result<Vec<Heard>, Problem> {
        let Some(running) = self.network().running() else {
            return Ok(Vec::new());
        };
        let connected = running.connected();
        let (here, of) = (node.clone(), about.clone());
        let witnesses = blocking(move || witnesses(&here, &connected, &of)).await?;
        let deadline = Instant::now() + PATIENCE;
        let (told, mut hears) = mpsc::channel(MAX_WITNESSES);
        // What is still under way at the end ends with this.
        let mut asking = JoinSet::new();
        for (witness, of) in witnesses {
            let (running, told) = (running.clone(), told.clone());
            let questions: Vec<(usize, About)> = of.into_iter().map(|at| (at, about[at].clone())).collect();
            asking.spawn(async move {
                for (at, (identity, node)) in questions {
                    let request = Request::Witness { identity, node };
                    let testimony = match running.ask(witness, request).await {
                        Ok(Answer::Testimony(testimony)) => *testimony,
                        Ok(_) => unreachable!("answers are read as answers to their request"),
                        Err(error) => {
                            tracing::debug!(%witness, %error, "no witness");
                            return;
                        }
                    };
                    let heard = Heard {
                        about: at,
                        witness,
                        testimony,
                    };
                    if told.send(heard).await.is_err() {
                        return;
                    }
                }
            });
        }
        drop(told);
        let mut heard = Vec::new();
        while let Ok(Some(word)) = timeout_at(deadline, hears.recv()).await {
            heard.push(word);
        }
        heard.sort_unstable_by_key(|heard| (heard.about, heard.witness));
        Ok(heard)
    }
}

#[cfg(test)]
mod tests {
    use polykey_core::clock::SystemClock;
    use polykey_core::{Clock, StatementId, Timestamp};
    use polykey_trust::book::{self, Source};
    use polykey_trust::claim::Body;
    use polykey_trust::invitation;
    use polykey_trust::link::{LinkType, Proposal};
    use polykey_trust::proof::{self, Ending, FormerLink, LiveLink, Look, Proof};
    use polykey_trust::sigchain::Chain;

    use super::*;
    use crate::chains::cast::{Life, link, time};
    use crate::links;
    use crate::peer::bench::{Bench, nobody};

    fn proof(node: u8, claim: u8) -> Proof {
        Proof {
            node: NodeId::from_bytes([node; 32]),
            claim: StatementId::from_bytes([claim; 32]),
        }
    }

    fn live(node: u8, claim: u8) -> LiveLink {
        LiveLink {
            proof: proof(node, claim),
            since: Timestamp::from_millis(5),
            checked: Timestamp::from_millis(6),
        }
    }

    fn ended(node: u8, claim: u8) -> FormerLink {
        FormerLink {
            link: live(node, claim),
            ended: Timestamp::from_millis(7),
            ending: Ending::Gone,
        }
    }

    fn row(live: Option<LiveLink>, former: &[FormerLink]) -> Remembered {
        Remembered {
            live,
            former: former.to_vec(),
        }
    }

    #[test]
    fn a_word_agrees_contradicts_or_stands_alone() {
        let check = |ours: &Remembered, has_looked, theirs: &Remembered, want| {
            let testimony = Testimony::of(theirs, ours.live.map(|live| live.proof.node));
            assert_eq!(
                testimony.beside(ours, has_looked),
                want,
                "{ours:?} beside {theirs:?}"
            );
        };
        let (nothing, holds) = (row(None, &[]), row(Some(live(1, 1)), &[]));
        let gone = row(None, &[ended(1, 1)]);
        for looked in [true, false] {
            check(&holds, looked, &nothing, None);
            check(&holds, looked, &holds, Some(Word::Agrees));
            check(&holds, looked, &gone, Some(Word::Contradicts));
            // Another claim of the same node, and the claim of another one.
            for other in [live(1, 2), live(2, 1)] {
                check(&holds, looked, &row(Some(other), &[]), Some(Word::Contradicts));
            }
            // What it saw end was another one: it has not looked since.
            for other in [ended(1, 2), ended(2, 1)] {
                check(&holds, looked, &row(None, &[other]), None);
            }
            check(&gone, looked, &holds, Some(Word::Contradicts));
            check(&gone, looked, &gone, Some(Word::Agrees));
        }
        check(&nothing, true, &holds, Some(Word::Contradicts));
        check(&nothing, true, &gone, Some(Word::Agrees));
        check(&nothing, false, &holds, Some(Word::Alone));
        check(&nothing, false, &gone, Some(Word::Alone));
        check(&nothing, false, &nothing, None);
    }

    #[test]
    fn only_the_link_that_was_asked_about_and_the_one_that_holds_are_told() {
        let all = row(
            Some(live(3, 3)),
            &[ended(1, 1), ended(2, 2), ended(1, 4), ended(4, 5)],
        );
        let former = |node: Option<u8>| {
            let node = node.map(|node| NodeId::from_bytes([node; 32]));
            let testimony = Testimony::of(&all, node);
            assert_eq!(testimony.live, all.live);
            testimony.former.map(|former| former.link.proof)
        };
        assert_eq!(former(Some(1)), Some(proof(1, 4)), "the newest");
        assert_eq!(former(Some(2)), Some(proof(2, 2)));
        assert_eq!(former(Some(9)), None);
        assert_eq!(former(None), Some(proof(4, 5)));
    }

    fn keeps(node: &Node, chain: &Chain) {
        let entries = chain.entries().to_vec();
        node.db
            .write(|tx| book::receive(tx, &chain.node(), entries, Source::Owner, time(5)))
            .expect("kept");
        node.gestalts.changed();
    }

    fn allows(node: &Node, nodes: &[NodeId]) {
        let allowed = node.gestalts.allow(nodes, Action::Notify, time(1));
        allowed.expect("kept");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn only_those_whom_the_user_trusts_are_told_and_to_the_others_all_is_one() {
        let bench = Bench::new();
        let node = bench.node();
        let (friend, tablet) = (Life::new(), Life::new());
        let (mut chain, mut other) = (friend.chain(), tablet.chain());
        link(LinkType::Device, (&friend, &mut chain), (&tablet, &mut other));
        keeps(&node, &chain);
        keeps(&node, &other);
        let (contact, added, blocked) = (nobody(), nobody(), nobody());
        node.contacts.meet(contact).expect("kept");
        node.contacts.trust(added).expect("kept");
        let notify = [friend.node(), blocked];
        allows(&node, &notify);
        for met in [friend.node(), tablet.node()] {
            node.contacts.meet(met).expect("kept");
        }
        node.contacts.block(blocked, true).expect("kept");

        let known: IdentityId = "github.com:alice".parse().expect("an identity");
        let look = Look::Page(Ok(proof(1, 1)));
        node.db
            .write(|tx| proof::record(tx, &known, &look, time(8)))
            .expect("kept");
        let unknown: IdentityId = "github.com:bob".parse().expect("an identity");
        let ask = async |who: NodeId, identity: &IdentityId| {
            let request = Request::Witness {
                identity: identity.clone(),
                node: None,
            };
            let (answer, _) = bench.say(who, &request.encode()).await;
            Answer::decode(&request, &answer).expect("an answer")
        };
        let seen = Testimony {
            live: Some(LiveLink {
                proof: proof(1, 1),
                since: time(8),
                checked: time(8),
            }),
            former: None,
        };
        for who in [friend.node(), tablet.node()] {
            assert_eq!(ask(who, &known).await, Answer::Testimony(Box::new(seen)));
            assert_eq!(ask(who, &unknown).await, Answer::Testimony(Box::default()));
        }
        for who in [nobody(), contact, added, blocked] {
            for identity in [&known, &unknown] {
                assert_eq!(ask(who, identity).await, Answer::refused(Refusal::Refused));
            }
        }
        // Who lost its key to somebody, or the user's trust, is told nothing any more.
        let mut fork = tablet.chain();
        tablet.says(&mut fork, &Body::Identity(unknown.clone()));
        keeps(&node, &fork);
        assert_eq!(
            ask(tablet.node(), &known).await,
            Answer::refused(Refusal::Refused)
        );
        assert_eq!(
            ask(friend.node(), &known).await,
            Answer::Testimony(Box::new(seen))
        );
        node.gestalts
            .disallow(&[friend.node()], Action::Notify)
            .expect("kept");
        for who in [friend.node(), tablet.node()] {
            assert_eq!(ask(who, &known).await, Answer::refused(Refusal::Refused));
        }
    }

    #[test]
    fn those_who_are_asked_are_few_and_nobody_is_asked_in_its_own_cause() {
        let bench = Bench::new();
        let node = bench.node();
        let (alice, tablet) = (Life::new(), Life::new());
        let (mut chain, mut other) = (alice.chain(), tablet.chain());
        link(LinkType::Device, (&alice, &mut chain), (&tablet, &mut other));
        keeps(&node, &chain);
        keeps(&node, &other);
        let bob = nobody();
        let trusted = [alice.node(), bob];
        allows(&node, &trusted);
        let identity: IdentityId = "github.com:alice".parse().expect("an identity");
        let about = [(identity.clone(), Some(tablet.node())), (identity, None)];
        let connected = [alice.node(), bob, tablet.node(), bob, nobody(), node.id()];
        let mut asked = witnesses(&node, &connected, &about).expect("chosen");
        asked.sort_by_key(|(witness, of)| (of.len(), *witness));
        let mut devices = [alice.node(), tablet.node()];
        devices.sort_unstable();
        assert_eq!(
            asked,
            [(devices[0], vec![1]), (devices[1], vec![1]), (bob, vec![0, 1])]
        );
        let many: Vec<NodeId> = (0..40).map(|_| nobody()).collect();
        allows(&node, &many);
        assert_eq!(
            witnesses(&node, &many, &about).expect("chosen").len(),
            MAX_WITNESSES
        );
    }

    #[test]
    fn own_devices_are_asked_first_and_also_about_what_is_their_own() {
        let bench = Bench::new();
        let node = bench.node();
        let tablet = Life::new();
        let mut theirs = tablet.chain();
        let invited = links::invite(&node, tablet.node(), LinkType::Device, Duration::from_secs(60));
        let (id, now) = (invited.expect("invited").id, SystemClock.now());
        let proposal = Proposal::sign(&tablet.keys.root, LinkType::Device, node.id(), id, now);
        let proposal = proposal.expect("two nodes");
        let link = node
            .db
            .write(|tx| invitation::answer(tx, &node.root, &tablet.node(), &proposal, now))
            .expect("invited");
        tablet.says(&mut theirs, &Body::Link(Box::new(link)));
        keeps(&node, &theirs);
        let many: Vec<NodeId> = (0..40).map(|_| nobody()).collect();
        allows(&node, &many);
        let identity: IdentityId = "github.com:me".parse().expect("an identity");
        let connected = [&many[..], &[tablet.node()]].concat();
        let asked = witnesses(&node, &connected, &[(identity, Some(node.id()))]).expect("chosen");
        assert_eq!(asked.len(), MAX_WITNESSES);
        assert_eq!(asked[0], (tablet.node(), vec![0]));
    }
}
