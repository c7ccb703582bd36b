//! Successions: a node with new keys is recognised by those that knew it under the old ones.
//!
//! A node that succeeds another shows each contact that it connects with the claims in which one named the next. Who
//! knows one of those nodes and its recovery key asks back for the chains, and believes them only: the old chain has
//! to end in the claim, and the new one to begin from it. Then the contact moves to the new id, and the vaults that
//! the old one was in are pulled, whose charters say the same of its roles.
//!
//! Two that both have new keys dial ids that are no more. So whoever finds another node where a contact was shows it its own
//! succession; a node that recognises the asker by that shows its own in turn, before it asks back.
//!
//! Always: without the old recovery key nobody succeeds; a stranger is answered alike, whatever it shows.

use std::sync::Arc;

use polykey_api::{Code, Problem};
use polykey_core::clock::SystemClock;
use polykey_core::random::OsRandom;
use polykey_core::rotation::Rotation;
use polykey_core::{Clock, NodeId};
use polykey_trust::TrustError;
use polykey_trust::book;

use crate::agent::Agent;
use crate::blocking::blocking;
use crate::failure;
use crate::friends::rows;
use crate::node::Node;
use crate::peer::message::MAX_ROTATIONS;
use crate::peer::{Answer, Refusal, Request};
use crate::post::notification::Notification;
use crate::post::{Letter, Tray};
use crate::replicas::keep;

/// A contact that moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Succeeded {
    /// From this id.
    pub former: NodeId,
    /// To this one.
    pub next: NodeId,
}

impl Agent {
    /// Shows a contact which nodes this one succeeds, if any.
    pub async fn present_succession(&self, to: NodeId) {
        let Some(node) = self.node() else { return };
        if node.contacts.is_contact(&to) {
            self.show_succession(&node, to).await;
        }
    }

    /// Another node answers where the contact `former` was: shows it which nodes this one succeeds. When it took the
    /// place of the contact, it does the same.
    pub async fn seek_successor(&self, former: NodeId) {
        let (Some(node), Some(running)) = (self.node(), self.network().running()) else {
            return;
        };
        for found in running.find_others_at(&former).await {
            self.show_to_unknown(&node, found).await;
        }
    }

    /// Shows a node that is no contact which nodes this one succeeds, once in a while.
    async fn show_to_unknown(&self, node: &Arc<Node>, to: NodeId) {
        let running = self.network().running();
        if running.is_some_and(|running| running.may_show(to)) {
            self.show_succession(node, to).await;
        }
    }

    async fn show_succession(&self, node: &Arc<Node>, to: NodeId) {
        if node.succession.is_empty() {
            return;
        }
        let skipped = node.succession.len().saturating_sub(MAX_ROTATIONS);
        let rotations = node.succession[skipped..].iter();
        let request = Request::Succeed {
            rotations: rotations.map(|rotation| rotation.as_bytes().to_vec()).collect(),
        };
        if let Err(error) = self.network().try_ask(to, request).await {
            tracing::debug!(node = %to, %error, "did not hear of the new keys");
        }
    }

    /// A node says that it succeeds others. What it shows was not checked yet.
    pub(crate) async fn hear_of_succession(
        &self,
        node: Arc<Node>,
        from: NodeId,
        rotations: Vec<Vec<u8>>,
    ) -> Result<Answer, Problem> {
        let here = node.clone();
        let heard = blocking(move || {
            let Some(rotations) = verified(&from, rotations) else {
                return Ok(Err(Refusal::Malformed));
            };
            Ok(Ok(known_line(&here, &from, &rotations)?))
        });
        Ok(match heard.await? {
            Err(refusal) => Answer::refused(refusal),
            Ok(line) => {
                if let Some(line) = line {
                    // In a private network it is let in for as long as it takes to look.
                    if let Some(former) = line.first()
                        && !node.contacts.is_blocked(former)
                    {
                        self.network().let_in_heir(former, from);
                    }
                    node.vaults.news().succession(line);
                }
                Answer::Done
            }
        })
    }

    /// Asks the last node of `line` for the chains of all, and moves the first one's contact to it when they say so.
    pub async fn follow_succession(&self, line: Vec<NodeId>) -> Option<Succeeded> {
        let node = self.node()?;
        let next = *line.last()?;
        let followed = self.follow_line(&node, line).await;
        if let Err(problem) = self.network().settle_heir(&node, &next).await {
            tracing::warn!("the members are those of before: {problem}");
        }
        followed
    }

    async fn follow_line(&self, node: &Arc<Node>, line: Vec<NodeId>) -> Option<Succeeded> {
        let (former, next) = (*line.first()?, *line.last()?);
        // It knows this node by a former id, when by any.
        if !node.contacts.is_contact(&next) {
            self.show_to_unknown(node, next).await;
        }
        // When it has moved, what its vaults say of it may have been missed.
        if node.contacts.successor(&former) != Some(next) {
            match self.check_and_move(node, &line).await {
                Ok(true) => {}
                Ok(false) => return None,
                Err(problem) => {
                    tracing::warn!(node = %next, %former, "does not succeed: {problem}");
                    return None;
                }
            }
        }
        let here = node.clone();
        if let Err(problem) = blocking(move || keep::carry_on(&here, former, next)).await {
            tracing::warn!(node = %next, %former, "does not go on as keeper: {problem}");
        }
        // Later vaults are sealed to its keys.
        match self.network().keys_of(node, next).await {
            Ok(_) => self.follow_principals().await,
            Err(problem) => tracing::info!(node = %next, "its keys are not known yet: {problem}"),
        }
        Some(Succeeded { former, next })
    }

    async fn check_and_move(&self, node: &Arc<Node>, line: &[NodeId]) -> Result<bool, Problem> {
        let Some(&from) = line.last() else {
            return Ok(false);
        };
        for step in line.windows(2) {
            let (former, next) = (step[0], step[1]);
            self.learn_chain(node, from, former).await?;
            let here = node.clone();
            // Nothing of the next one is kept before the one that is known names it.
            blocking(move || names(&here, former, next)).await?;
            self.learn_chain(node, from, next).await?;
            let here = node.clone();
            blocking(move || is_named_back(&here, former, next)).await?;
        }
        let (here, former) = (node.clone(), line[0]);
        blocking(move || move_contact(&here, former, from)).await
    }
}

/// The claims, when they are good and each names the author of the one behind it, the last one `from`.
fn verified(from: &NodeId, rotations: Vec<Vec<u8>>) -> Option<Vec<Rotation>> {
    let rotations = rotations.into_iter().map(Rotation::verify);
    let rotations = rotations.collect::<Result<Vec<_>, _>>().ok()?;
    let next = rotations.iter().skip(1).map(Rotation::node).chain([*from]);
    let linked = rotations
        .iter()
        .zip(next)
        .all(|(rotation, next)| rotation.successor() == next);
    (linked && !rotations.is_empty()).then_some(rotations)
}

/// The newest node that is known of those that named a successor, and all behind it up to `from`.
fn known_line(node: &Node, from: &NodeId, rotations: &[Rotation]) -> Result<Option<Vec<NodeId>>, Problem> {
    for (at, rotation) in rotations.iter().enumerate().rev() {
        let Some(contact) = node.contacts.find(&rotation.node()) else {
            continue;
        };
        let seen =
            (node.db.read(|tx| book::head(tx, &contact.node))).map_err(|error| failure::trust(&error))?;
        let recovery =
            (seen.map(|head| head.recovery)).or(contact.start.map(|start| start.recovery_public()));
        if contact.successor.is_some() {
            let moved = node.contacts.successor(&contact.node) == Some(*from);
            return Ok(moved.then(|| vec![contact.node, *from]));
        }
        if recovery != Some(rotation.recovery_public()) {
            return Ok(None);
        }
        let line = rotations[at..].iter().map(Rotation::node).chain([*from]);
        return Ok(Some(line.collect()));
    }
    Ok(None)
}

/// Checks that the chain of `former` ends by naming `next`.
fn names(node: &Node, former: NodeId, next: NodeId) -> Result<(), Problem> {
    let read = node.db.read(|tx| {
        let chain = book::known_chain(tx, &former)?;
        let named = chain
            .successor()
            .is_some_and(|rotation| rotation.successor() == next);
        Ok::<_, TrustError>(named && !chain.is_ended() && !book::is_doubtful(tx, &former)?)
    });
    settled(read, "its chain does not name the node as its successor")
}

/// Checks that the chain of `next` says that it succeeds `former`, with the recovery key that was named.
fn is_named_back(node: &Node, former: NodeId, next: NodeId) -> Result<(), Problem> {
    let read = node.db.read(|tx| {
        let (old, new) = (book::known_chain(tx, &former)?, book::known_chain(tx, &next)?);
        let by = old.successor().map(Rotation::id);
        Ok::<_, TrustError>(by.is_some() && new.predecessors().any(|rotation| Some(rotation.id()) == by))
    });
    settled(read, "the node's own chain does not say that it succeeds it")
}

fn settled(read: Result<bool, TrustError>, or: &str) -> Result<(), Problem> {
    match read.map_err(|error| failure::trust(&error))? {
        true => Ok(()),
        false => Err(Problem::new(Code::Protocol, or)),
    }
}

fn move_contact(node: &Node, former: NodeId, next: NodeId) -> Result<bool, Problem> {
    // The contact is last: until it has moved, this is done again at the next presentation.
    node.shares.succeed(former, next)?;
    node.tickets.succeed(former, next)?;
    rows::write(&node.db, |tx| rows::succeed(tx, former, next))?;
    for letter in node.post.outbox()? {
        if letter.notification.to() == former {
            node.post
                .send_anew(&letter, &signed_anew(node, next, &letter.notification))?;
        }
    }
    let moved = node.contacts.succeed(former, next)?;
    // Whom the user refused is refused on, and has nothing to tell.
    if moved && !node.contacts.is_blocked(&next) {
        let letter = Letter::Succeeded { from: next, former };
        node.post
            .tell(Tray::Inbox, letter, SystemClock.now(), &OsRandom)?;
    }
    Ok(moved)
}

/// The same letter by this node as it is now, to `to`.
pub(crate) fn signed_anew(node: &Node, to: NodeId, letter: &Notification) -> Notification {
    let (time, content) = (letter.created(), letter.content().clone());
    Notification::sign(&node.root, to, time, content, &OsRandom)
}

#[cfg(test)]
mod tests {
    use polykey_trust::book::Source;
    use polykey_trust::claim::{Body, Claim};
    use polykey_trust::sigchain::Chain;

    use super::super::cast::Life;
    use super::super::learn::{Kept, keep};
    use super::*;
    use crate::peer::bench::Bench;

    struct Stage {
        bench: Bench,
        old: Life,
        new: Life,
    }

    impl Stage {
        /// A node that knows `old` and its recovery key, and calls it `anna`.
        fn new() -> Stage {
            let (bench, old, new) = (Bench::new(), Life::new(), Life::new());
            let contacts = &bench.node().contacts;
            contacts.keep_keys(&old.start, &old.record).expect("kept");
            contacts.trust(old.node()).expect("kept");
            contacts.name(old.node(), Some("anna")).expect("kept");
            Stage { bench, old, new }
        }

        fn line(&self, rotations: &[Rotation]) -> Option<Vec<NodeId>> {
            known_line(&self.bench.node(), &self.new.node(), rotations).expect("reads")
        }

        fn learn(&self, chain: &Chain) {
            let entries = chain.entries().to_vec();
            let kept = keep(&self.bench.node(), chain.node(), entries, Source::Other);
            assert_eq!(kept.map_err(|problem| problem.code), Ok(Kept::Taken));
        }

        /// Whether what was learned lets the new node succeed.
        fn holds(&self) -> bool {
            let (node, old, new) = (self.bench.node(), self.old.node(), self.new.node());
            names(&node, old, new).is_ok() && is_named_back(&node, old, new).is_ok()
        }
    }

    fn ended(life: &Life, rotation: &Rotation) -> Chain {
        let mut chain = life.chain();
        chain.push(Claim::from(rotation.clone())).expect("fits");
        chain
    }

    #[test]
    fn only_a_line_from_a_known_node_with_its_recovery_key_is_looked_at() {
        let stage = Stage::new();
        let (old, new, other) = (&stage.old, &stage.new, Life::new());
        let good = old.names(new);
        assert_eq!(
            stage.line(std::slice::from_ref(&good)),
            Some(vec![old.node(), new.node()])
        );
        // Over one that nobody knows.
        let over = [old.names(&other), other.names(new)];
        let all = vec![old.node(), other.node(), new.node()];
        assert_eq!(stage.line(&over), Some(all));
        let thief = old.names_with(new, &other.keys.recovery);
        assert_eq!(stage.line(&[thief]), None, "another recovery key");
        assert_eq!(stage.line(&[other.names(new)]), None, "nobody knows it");
        stage.bench.node().contacts.meet(other.node()).expect("kept");
        assert_eq!(
            stage.line(&[other.names(new)]),
            None,
            "its recovery key is not known"
        );
        stage
            .bench
            .node()
            .contacts
            .succeed(old.node(), new.node())
            .expect("kept");
        assert_eq!(
            stage.line(&[good]),
            Some(vec![old.node(), new.node()]),
            "it has moved there"
        );
        let elsewhere = known_line(&stage.bench.node(), &other.node(), &[old.names(&other)]);
        assert_eq!(elsewhere, Ok(None), "it has moved to another");
    }

    #[test]
    fn claims_that_do_not_lead_to_the_asker_are_malformed() {
        let (a, b, c) = (Life::new(), Life::new(), Life::new());
        let bytes = |rotation: &Rotation| rotation.as_bytes().to_vec();
        let (ab, bc) = (a.names(&b), b.names(&c));
        assert_eq!(
            verified(&c.node(), vec![bytes(&ab), bytes(&bc)]),
            Some(vec![ab.clone(), bc.clone()])
        );
        let mut torn = bytes(&bc);
        let last = torn.len() - 1;
        torn[last] ^= 1;
        let start = a.start.as_bytes().to_vec();
        for (at, bad) in [
            vec![],
            vec![bytes(&ab)],
            vec![bytes(&bc), bytes(&ab)],
            vec![torn],
            vec![start],
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(verified(&c.node(), bad), None, "{at}");
        }
    }

    #[test]
    fn a_contact_moves_when_both_chains_say_so_and_once() {
        let stage = Stage::new();
        let (old, new) = (&stage.old, &stage.new);
        let rotation = old.names(new);
        stage.learn(&old.chain());
        assert!(!stage.holds(), "the old chain names nobody");
        stage.learn(&ended(old, &rotation));
        assert!(!stage.holds(), "the new chain is not known");
        stage.learn(&new.chain());
        assert!(!stage.holds(), "the new chain says nothing of it");
        let mut chain = new.chain();
        new.says(&mut chain, &Body::Succeed(Box::new(rotation)));
        stage.learn(&chain);
        assert!(stage.holds());

        let node = stage.bench.node();
        for first in [true, false] {
            assert_eq!(move_contact(&node, old.node(), new.node()), Ok(first));
        }
        assert_eq!(node.contacts.who("anna"), Ok(new.node()));
        assert!(node.contacts.is_trusted(&new.node()) && node.contacts.is_blocked(&old.node()));
        let inbox = node.post.read(Tray::Inbox).expect("reads");
        let told = Letter::Succeeded {
            from: new.node(),
            former: old.node(),
        };
        assert_eq!(inbox.iter().map(|mail| &mail.letter).collect::<Vec<_>>(), [&told]);
    }

    #[test]
    fn who_is_named_by_another_claim_does_not_succeed() {
        let stage = Stage::new();
        let other = Life::new();
        stage.learn(&ended(&stage.old, &stage.old.names(&other)));
        let mut chain = stage.new.chain();
        let second = stage.old.names(&stage.new);
        stage.new.says(&mut chain, &Body::Succeed(Box::new(second)));
        stage.learn(&chain);
        assert!(!stage.holds());
    }

    #[test]
    fn whom_the_user_blocked_is_blocked_under_its_new_id() {
        let stage = Stage::new();
        let node = stage.bench.node();
        node.contacts.block(stage.old.node(), true).expect("kept");
        assert_eq!(move_contact(&node, stage.old.node(), stage.new.node()), Ok(true));
        assert!(node.contacts.is_blocked(&stage.new.node()));
        assert_eq!(node.post.read(Tray::Inbox).map(|mails| mails.len()), Ok(0));
    }
}
