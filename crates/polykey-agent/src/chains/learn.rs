//! Learning the sigchains of others: asked for when a node that is known comes, and kept with how far they went.
//!
//! The first question is for what follows the last entry that was seen, that one included, so that an answer that
//! does not join is noticed. Then the whole chain is asked for, and the book decides.
//!
//! Always: a claim is verified before it is kept; what speaks against a node is kept, and told once.

use std::collections::BTreeSet;
use std::sync::Arc;

use polykey_api::{Code, Problem};
use polykey_core::clock::SystemClock;
use polykey_core::key_record::KeyRecord;
use polykey_core::random::OsRandom;
use polykey_core::{Clock, NodeId};
use polykey_trust::TrustError;
use polykey_trust::book::{self, EvidenceKind, Source};
use polykey_trust::claim::Claim;
use polykey_trust::sigchain::{ChainError, CurrentKeyRecord, MAX_ENTRIES, verify_entries};

use crate::agent::Agent;
use crate::blocking::blocking;
use crate::contacts as places;
use crate::devices;
use crate::failure;
use crate::network::known_keys;
use crate::node::Node;
use crate::peer::{Answer, Device, Request};
use crate::post::{Letter, Tray};

/// Most bytes of one chain that are asked for.
const MAX_LEN: usize = 4 << 20;
/// The same of a node that is no contact.
const MAX_FOUND_LEN: usize = 256 << 10;

/// What became of entries that a node showed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// The book took them, or kept what they say against the node.
    Taken,
    /// They do not join what is here: only the whole chain shows why.
    Apart,
}

impl Agent {
    /// Asks a node that is known for its own sigchain.
    pub async fn look_at_chain(&self, who: NodeId) {
        let Some(node) = self.node() else { return };
        if !node.contacts.is_contact(&who) {
            return;
        }
        let look = |node: &Arc<Node>| {
            let here = node.clone();
            blocking(move || devices::seen(&here, &who))
        };
        let before = look(&node).await;
        if let Err(problem) = self.learn_all(&node, who).await {
            tracing::debug!(node = %who, "its sigchain was not learned: {problem}");
        }
        // Vaults follow what is new; what is not, they followed when they were opened.
        if look(&node).await != before {
            self.follow_principals().await;
        }
    }

    async fn learn_all(&self, node: &Arc<Node>, who: NodeId) -> Result<(), Problem> {
        self.learn_chain(node, who, who).await?;
        let here = node.clone();
        blocking(move || keep_newer_keys(&here, who)).await?;
        if known_keys(&node.contacts, &who).is_none() {
            self.network().keys_of(node, who).await?;
        }
        self.learn_devices(node, who).await
    }

    /// Asks a node whose sigchain is here for the chains and keys of the devices that it names.
    async fn learn_devices(&self, node: &Arc<Node>, who: NodeId) -> Result<(), Problem> {
        let here = node.clone();
        let named = blocking(move || {
            let chain = here.db.read(|tx| book::known_chain(tx, &who));
            let chain = chain.map_err(|error| failure::trust(&error))?;
            let mut named: BTreeSet<NodeId> = devices::linked(&chain).collect();
            named.remove(&here.id());
            Ok(named)
        })
        .await?;
        if named.is_empty() {
            return Ok(());
        }
        let Answer::Devices(shown) = self.network().ask(node, who, Request::Devices).await? else {
            unreachable!("answers are read as answers to their request");
        };
        // The node itself answers for no more than what both ends signed.
        for device in shown.into_iter().filter(|device| named.contains(&device.node)) {
            if node.contacts.is_blocked(&device.node) {
                continue;
            }
            if let Err(problem) = self.learn_device(node, who, &device).await {
                tracing::debug!(device = %device.node, "was not learned: {problem}");
            }
        }
        Ok(())
    }

    async fn learn_device(&self, node: &Arc<Node>, from: NodeId, device: &Device) -> Result<(), Problem> {
        let of = device.node;
        self.learn_chain(node, from, of).await?;
        let (here, device) = (node.clone(), device.clone());
        blocking(move || {
            let chain = here.db.read(|tx| book::known_chain(tx, &of));
            let chain = chain.map_err(|error| failure::trust(&error))?;
            let record = match chain.key_record() {
                CurrentKeyRecord::Later(record) => record.clone(),
                CurrentKeyRecord::First(id) => KeyRecord::verify(device.record)
                    .ok()
                    .filter(|record| record.id() == id)
                    .ok_or_else(|| Problem::new(Code::Protocol, "a device is shown with other keys"))?,
                CurrentKeyRecord::Revoked => return Ok(()),
            };
            here.contacts.meet(of)?;
            if here.contacts.find(&of).is_some() {
                here.contacts.keep_keys(chain.start(), &record)?;
                here.contacts.learn(of, &device.places, places::Source::Told)?;
            }
            Ok(())
        })
        .await
    }

    /// Asks `from` for the sigchain of `of`, and keeps it.
    pub(crate) async fn learn_chain(
        &self,
        node: &Arc<Node>,
        from: NodeId,
        of: NodeId,
    ) -> Result<(), Problem> {
        let source = match from == of {
            true => Source::Owner,
            false => Source::Other,
        };
        let here = node.clone();
        let last = blocking(move || last_entry(&here, &of)).await?;
        if last > 0 {
            let entries = self.ask_for_chain(node, from, of, last).await?;
            let here = node.clone();
            if blocking(move || keep(&here, of, entries, source)).await? == Kept::Taken {
                return Ok(());
            }
        }
        let entries = self.ask_for_chain(node, from, of, 0).await?;
        let here = node.clone();
        match blocking(move || keep(&here, of, entries, source)).await? {
            Kept::Taken => Ok(()),
            Kept::Apart => Err(Problem::new(Code::Protocol, "what a node shows is no sigchain")),
        }
    }

    /// All entries from `first` on, verified one by one.
    pub(crate) async fn ask_for_chain(
        &self,
        node: &Arc<Node>,
        from: NodeId,
        of: NodeId,
        first: u64,
    ) -> Result<Vec<Claim>, Problem> {
        let mut entries: Vec<Claim> = Vec::new();
        let mut len = 0;
        let max_len = match node.contacts.is_contact(&of) {
            true => MAX_LEN,
            false => MAX_FOUND_LEN,
        };
        loop {
            let request = Request::Chain {
                node: of,
                from: first + entries.len() as u64,
            };
            let Answer::Chain(claims) = self.network().ask(node, from, request).await? else {
                unreachable!("answers are read as answers to their request");
            };
            if claims.is_empty() {
                return Ok(entries);
            }
            len += claims.iter().map(Vec::len).sum::<usize>();
            if len > max_len || entries.len() + claims.len() > MAX_ENTRIES {
                return Err(Problem::new(
                    Code::Protocol,
                    "a sigchain is longer than any may be",
                ));
            }
            let verified = blocking(move || {
                verify_entries(of, claims).map_err(|error| failure::trust(&TrustError::Chain(error)))
            });
            entries.extend(verified.await?);
        }
    }
}

/// Keeps the key record that a chain ends with, when it is newer than the one that is known.
fn keep_newer_keys(node: &Node, who: NodeId) -> Result<(), Problem> {
    let Some(contact) = node.contacts.find(&who) else {
        return Ok(());
    };
    let chain = node.db.read(|tx| book::known_chain(tx, &who));
    let chain = chain.map_err(|error| failure::trust(&error))?;
    match chain.key_record() {
        CurrentKeyRecord::Later(record)
            if contact
                .record
                .is_none_or(|known| known.number() < record.number()) =>
        {
            node.contacts.keep_keys(chain.start(), record)
        }
        _ => Ok(()),
    }
}

/// The number of the last entry of the chain of `of` that is here; 0 when none is.
fn last_entry(node: &Node, of: &NodeId) -> Result<u64, Problem> {
    let read = node.db.read(|tx| {
        let Some(head) = book::head(tx, of)? else {
            return Ok(0);
        };
        // Entries may have been forgotten, and how far they went not.
        let there = book::entries_from(tx, of, head.number)?;
        Ok::<_, TrustError>(if there.is_empty() { 0 } else { head.number })
    });
    read.map_err(|error| failure::trust(&error))
}

/// Gives entries to the book, and tells the user what new they say against the node.
pub(crate) fn keep(node: &Node, of: NodeId, entries: Vec<Claim>, source: Source) -> Result<Kept, Problem> {
    if entries.is_empty() {
        return Ok(Kept::Apart);
    }
    if let [only] = &entries[..]
        && (node.db.read(|tx| book::head(tx, &of)))
            .map_err(|error| failure::trust(&error))?
            .is_some_and(|head| head.id == only.id())
    {
        // Nothing new, as nearly always.
        return Ok(Kept::Taken);
    }
    let now = SystemClock.now();
    let received = node.db.write(|tx| {
        book::receive(tx, &of, entries, source, now)?;
        let mut evidence = book::evidence(tx, &of)?;
        evidence.retain(|piece| piece.seen == now);
        Ok::<_, TrustError>(evidence)
    });
    let evidence = match received {
        Ok(evidence) => evidence,
        Err(TrustError::Chain(ChainError::Earlier { .. } | ChainError::Gap { .. })) => {
            return Ok(Kept::Apart);
        }
        Err(error) => return Err(failure::trust(&error)),
    };
    node.gestalts.changed();
    for piece in evidence {
        let forked = match piece.kind {
            EvidenceKind::Fork => true,
            EvidenceKind::Shortened => false,
            EvidenceKind::Dropped | EvidenceKind::Settled => continue,
        };
        tracing::warn!(node = %of, forked, "the sigchain of a node does not go on from what it was");
        let letter = Letter::Doubt { from: of, forked };
        node.post.tell(Tray::Inbox, letter, now, &OsRandom)?;
    }
    Ok(Kept::Taken)
}

#[cfg(test)]
mod tests {
    use polykey_trust::sigchain::Chain;

    use super::super::cast::Life;
    use super::*;
    use crate::peer::bench::Bench;

    fn show(bench: &Bench, chain: &Chain, from: usize, source: Source) -> Result<Kept, Code> {
        let entries = chain.entries()[from..].to_vec();
        keep(&bench.node(), chain.node(), entries, source).map_err(|problem| problem.code)
    }

    /// What the user was told against nodes so far.
    fn doubts(bench: &Bench) -> Vec<bool> {
        let inbox = bench.node().post.read(Tray::Inbox).expect("reads");
        let doubt = |letter: &Letter| match letter {
            Letter::Doubt { forked, .. } => Some(*forked),
            _ => None,
        };
        inbox.iter().filter_map(|mail| doubt(&mail.letter)).collect()
    }

    #[test]
    fn a_chain_grows_and_what_does_not_join_it_is_asked_for_whole() {
        let (bench, life) = (Bench::new(), Life::new());
        let whole = life.saying(&["a", "b", "c"]);
        let last = || last_entry(&bench.node(), &life.node()).expect("reads");
        assert_eq!(last(), 0);
        assert_eq!(
            show(&bench, &life.saying(&["a"]), 0, Source::Owner),
            Ok(Kept::Taken)
        );
        assert_eq!(last(), 1);
        assert_eq!(show(&bench, &whole, 1, Source::Owner), Ok(Kept::Taken));
        assert_eq!(last(), 3);
        assert_eq!(show(&bench, &whole, 3, Source::Owner), Ok(Kept::Taken));
        let other = life.saying(&["a", "x", "y", "z"]);
        assert_eq!(
            show(&bench, &other, 3, Source::Owner),
            Ok(Kept::Apart),
            "forked before"
        );
        let longer = life.saying(&["a", "b", "c", "d", "e", "f"]);
        assert_eq!(show(&bench, &longer, 6, Source::Owner), Ok(Kept::Apart), "a gap");
        assert_eq!(show(&bench, &whole, 4, Source::Owner), Ok(Kept::Apart), "nothing");
        let foreign = Life::new().saying(&["a"]).entries().to_vec();
        assert!(keep(&bench.node(), life.node(), foreign, Source::Owner).is_err());
        assert_eq!((last(), doubts(&bench)), (3, vec![]));
    }

    #[test]
    fn a_fork_and_a_chain_cut_short_are_told_once() {
        let (bench, life) = (Bench::new(), Life::new());
        let whole = life.saying(&["a", "b"]);
        assert_eq!(show(&bench, &whole, 0, Source::Owner), Ok(Kept::Taken));
        // Another node may not have heard of the rest.
        assert_eq!(
            show(&bench, &life.saying(&["a"]), 0, Source::Other),
            Ok(Kept::Taken)
        );
        assert_eq!(doubts(&bench), Vec::<bool>::new());
        for _ in 0..3 {
            assert_eq!(
                show(&bench, &life.saying(&["a"]), 0, Source::Owner),
                Ok(Kept::Taken)
            );
            assert_eq!(
                show(&bench, &life.saying(&["a", "x"]), 2, Source::Owner),
                Ok(Kept::Taken)
            );
        }
        let mut told = doubts(&bench);
        told.sort_unstable();
        assert_eq!(told, [false, true]);
        let node = bench.node();
        let kept = node
            .db
            .read(|tx| book::known_chain(tx, &life.node()))
            .expect("there");
        assert_eq!(kept, whole, "what was seen first stays");
    }
}
