//! Gestalts: who belongs to whom and what they may do to us, as one graph in memory.
//!
//! The graph follows from the book of chains, from the pages that were seen and from the permissions; it is made when
//! it is first asked for and again after [`changed`](Gestalts::changed), which whoever writes one of the three
//! calls. Chains that are as they were are not read again.
//!
//! Always: a view that was handed out never changes; a permission and its first reach are written in one
//! transaction, so that what [`settle`](Gestalts::settle) tells is news to the user. All of this blocks but
//! [`changed`](Gestalts::changed). Start at [`Gestalts::view`].

pub mod named;
pub mod watch;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use polykey_api::Problem;
use polykey_core::{NodeId, StatementId, Timestamp};
use polykey_store::{Database, ReadTx, WriteTx};
use polykey_trust::TrustError;
use polykey_trust::book;
use polykey_trust::gestalt::{Facts, Graph, Vertex};
use polykey_trust::identity::IdentityId;
use polykey_trust::permission::{self, Action, Actions, ReachNotice, Records};
use polykey_trust::proof::{self, Remembered};
use tokio::sync::watch::{Receiver, Sender};

use crate::failure;

/// Who belongs to whom, at one moment.
pub struct View {
    /// The graph.
    pub graph: Graph,
    /// What the user allowed which nodes.
    pub records: Records,
    /// What is remembered of identities.
    pub pages: BTreeMap<IdentityId, Remembered>,
    /// Identities that a node claims and whose page does not say so.
    said: BTreeSet<IdentityId>,
    reach: BTreeMap<NodeId, Actions>,
    /// Nodes whose messages the user does not want, and their devices.
    muted: BTreeSet<NodeId>,
}

impl View {
    /// True when anything is known of an identity: a link, a former one, or the claim of a node.
    pub fn knows(&self, identity: &IdentityId) -> bool {
        self.pages.contains_key(identity) || self.said.contains(identity)
    }

    /// What a node may do to us: as a node that the user confirmed, or as a device of one.
    pub fn actions_of(&self, node: &NodeId) -> Actions {
        self.reach.get(node).copied().unwrap_or_default()
    }

    /// True for a node whose messages the user does not want: it, or a device of the same principal, was untrusted.
    pub fn is_muted(&self, node: &NodeId) -> bool {
        self.muted.contains(node)
    }

    /// The nodes that a member stands for when the user names it.
    pub fn nodes_of(&self, vertex: &Vertex) -> Vec<NodeId> {
        self.graph.named(vertex)
    }
}

/// What was read of one chain, and how far it went then.
struct Known {
    head: StatementId,
    is_doubtful: bool,
    facts: Facts,
}

/// All gestalts of the node.
pub struct Gestalts {
    me: NodeId,
    db: Database,
    chains: Mutex<HashMap<NodeId, Known>>,
    view: RwLock<Option<Arc<View>>>,
    /// Counts changes.
    version: Sender<u64>,
}

impl Gestalts {
    /// Those of the node `me`, from its database.
    pub fn new(db: Database, me: NodeId) -> Gestalts {
        Gestalts {
            me,
            db,
            chains: Mutex::default(),
            view: RwLock::default(),
            version: Sender::new(0),
        }
    }

    /// Who belongs to whom now.
    ///
    /// # Errors
    /// What the store says.
    pub fn view(&self) -> Result<Arc<View>, Problem> {
        if let Some(view) = &*self.view.read().unwrap_or_else(PoisonError::into_inner) {
            return Ok(view.clone());
        }
        // One at a time: others find what the first one made.
        let mut chains = self.chains.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(view) = &*self.view.read().unwrap_or_else(PoisonError::into_inner) {
            return Ok(view.clone());
        }
        let before = *self.version.borrow();
        let view = self.db.read(|tx| build(tx, self.me, &mut chains));
        let view = Arc::new(view.map_err(|error| failure::trust(&error))?);
        let mut held = self.view.write().unwrap_or_else(PoisonError::into_inner);
        // What changed while it was made is not in it.
        if *self.version.borrow() == before {
            *held = Some(view.clone());
        }
        Ok(view)
    }

    /// Something changed in the book of chains, in the pages that were seen, or in the permissions: the next view is
    /// made anew, and those who [follow](Gestalts::changes) are told.
    pub fn changed(&self) {
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        *view = None;
        // Whoever is woken by it looks at once, and must not find what was there before.
        self.version.send_modify(|version| *version += 1);
    }

    /// Tells of every change.
    pub fn changes(&self) -> Receiver<u64> {
        self.version.subscribe()
    }

    /// True when a node may do this to us.
    ///
    /// # Errors
    /// What the store says.
    pub fn allows(&self, node: &NodeId, action: Action) -> Result<bool, Problem> {
        Ok(self.view()?.actions_of(node).contains(action))
    }

    /// Allows these nodes one more thing: the user confirmed them.
    ///
    /// # Errors
    /// [`Code::Busy`](polykey_api::Code::Busy) when as many nodes have permissions as may; what the store says.
    pub fn allow(&self, nodes: &[NodeId], action: Action, now: Timestamp) -> Result<(), Problem> {
        self.change(|tx, graph| {
            nodes.iter().try_for_each(|node| {
                if action == Action::Notify {
                    permission::unmute(tx, graph, node)?;
                }
                permission::allow(tx, node, action, now)
            })
        })
    }

    /// Takes one thing away from these nodes, wherever they have it from. Who may not notify has its messages put among
    /// those of strangers, also where it was met in another way.
    ///
    /// # Errors
    /// What the store says.
    pub fn disallow(&self, nodes: &[NodeId], action: Action) -> Result<(), Problem> {
        self.change(|tx, graph| {
            nodes.iter().try_for_each(|node| {
                if action == Action::Notify {
                    permission::set_muted(tx, node, true)?;
                }
                permission::disallow(tx, graph, node, action).map(drop)
            })
        })
    }

    fn change(
        &self,
        edit: impl FnOnce(&mut WriteTx<'_>, &Graph) -> Result<(), TrustError>,
    ) -> Result<(), Problem> {
        let view = self.view()?;
        let changed = self.db.write(|tx| {
            edit(tx, &view.graph)?;
            permission::follow(tx, &view.graph).map(drop)
        });
        self.changed();
        changed.map_err(|error| failure::trust(&error))
    }

    /// Whom permissions reach now and did not when this was last asked, and the other way round: news to the user.
    ///
    /// # Errors
    /// What the store says.
    pub fn settle(&self) -> Result<Vec<ReachNotice>, Problem> {
        let view = self.view()?;
        let told = self.db.write(|tx| permission::follow(tx, &view.graph));
        told.map_err(|error| failure::trust(&error))
    }
}

/// Makes a view. `chains` holds what was read before, and afterwards what is there now.
fn build(tx: &ReadTx<'_>, me: NodeId, chains: &mut HashMap<NodeId, Known>) -> Result<View, TrustError> {
    let mut known = HashMap::new();
    for head in book::heads(tx)? {
        let is_doubtful = book::is_doubtful(tx, &head.node)?;
        let read = match chains.remove(&head.node) {
            Some(before) if (before.head, before.is_doubtful) == (head.id, is_doubtful) => Some(before),
            _ => read(tx, head.node, head.id, is_doubtful)?,
        };
        known.extend(read.map(|read| (head.node, read)));
    }
    *chains = known;
    let records = permission::records(tx)?;
    let pages: BTreeMap<IdentityId, Remembered> = proof::all(tx)?.into_iter().collect();
    let proofs = pages
        .iter()
        .filter_map(|(identity, seen)| Some((identity.clone(), seen.live?.proof)));
    let refused = permission::muted(tx)?;
    let others = records.keys().chain([&me]).map(|node| Vertex::Node(*node));
    let facts = chains.values().map(|known| known.facts.clone());
    let graph = Graph::build(facts, proofs, others);
    let reach = permission::reach(&records, &graph);
    let mut muted = refused.clone();
    muted.extend(refused.iter().flat_map(|node| graph.principal(node)));
    let said = graph
        .gestalts()
        .into_iter()
        .flat_map(|gestalt| gestalt.unanswered);
    let said = said.filter_map(|bond| match bond.to {
        Vertex::Identity(identity) => Some(identity),
        Vertex::Node(_) => None,
    });
    Ok(View {
        graph,
        records,
        pages,
        said: said.collect(),
        reach,
        muted,
    })
}

/// What a chain says; nothing when its entries were forgotten, or are damaged: one bad chain hides no other.
fn read(
    tx: &ReadTx<'_>,
    node: NodeId,
    head: StatementId,
    is_doubtful: bool,
) -> Result<Option<Known>, TrustError> {
    let chain = match book::chain(tx, &node) {
        Ok(chain) => chain,
        Err(TrustError::Store(error)) => return Err(error.into()),
        Err(error) => {
            tracing::warn!(%node, %error, "its sigchain is left out");
            None
        }
    };
    Ok(chain.map(|chain| Known {
        head,
        is_doubtful,
        facts: Facts::of(&chain, is_doubtful),
    }))
}

#[cfg(test)]
mod tests {
    use polykey_core::random::OsRandom;
    use polykey_core::recovery::RecoveryCode;
    use polykey_trust::claim::{Body, Claim};
    use polykey_trust::proof::{Look, Proof};

    use super::*;
    use crate::chains::own;
    use crate::peer::bench::{Bench, nobody};

    fn now() -> Timestamp {
        Timestamp::from_millis(5)
    }

    #[test]
    fn whoever_is_told_of_a_change_finds_it_in_the_view() {
        let bench = Bench::new();
        let node = bench.node();
        for _ in 0..2_000 {
            let before = node.gestalts.view().expect("made");
            let mut changes = node.gestalts.changes();
            changes.mark_unchanged();
            let told = std::thread::scope(|scope| {
                let told = scope.spawn(|| {
                    while !changes.has_changed().expect("it lives") {
                        std::hint::spin_loop();
                    }
                    node.gestalts.view().expect("made")
                });
                node.gestalts.changed();
                told.join().expect("no panic")
            });
            assert!(!Arc::ptr_eq(&before, &told), "what is cached is of before");
        }
    }

    #[test]
    fn a_view_follows_what_changes_and_stays_what_it_was() {
        let bench = Bench::new();
        let node = bench.node();
        let gestalts = &node.gestalts;
        let first = gestalts.view().expect("made");
        assert_eq!(first.graph.gestalts().len(), 1, "the node itself");
        assert!(Arc::ptr_eq(&first, &gestalts.view().expect("held")));

        let identity: IdentityId = "github.com:alice".parse().expect("an identity");
        let claim = node
            .db
            .write(|tx| {
                let chain = book::known_chain(tx, &node.id())?;
                let body = Body::Identity(identity.clone());
                let claim = Claim::sign(&node.root, None, chain.next_place(), now(), &body).expect("a claim");
                book::append(tx, claim.clone())?;
                Ok::<_, TrustError>(claim)
            })
            .expect("kept");
        gestalts.changed();
        let alone = gestalts.view().expect("made");
        let me = Vertex::Node(node.id());
        let gestalt = alone.graph.gestalt(&me).expect("there");
        assert_eq!((gestalt.identities.len(), gestalt.unanswered.len()), (0, 1));

        let proof = Proof {
            node: node.id(),
            claim: claim.id(),
        };
        let look = Look::Page(Ok(proof));
        node.db
            .write(|tx| proof::record(tx, &identity, &look, now()))
            .expect("kept");
        gestalts.changed();
        let linked = gestalts.view().expect("made");
        assert_eq!(linked.nodes_of(&Vertex::Identity(identity)), [node.id()]);
        assert_eq!(alone.graph.gestalt(&me).expect("there").identities, []);
    }

    #[test]
    fn what_the_user_allows_is_no_news_and_what_chains_bring_is() {
        let bench = Bench::new();
        let node = bench.node();
        let who = nobody();
        node.gestalts.allow(&[who], Action::Notify, now()).expect("kept");
        assert_eq!(node.gestalts.settle(), Ok(vec![]));
        assert_eq!(node.gestalts.allows(&who, Action::Notify), Ok(true));
        assert_eq!(node.gestalts.allows(&who, Action::Scan), Ok(false));
        assert_eq!(node.gestalts.allows(&nobody(), Action::Notify), Ok(false));
        node.gestalts.disallow(&[who], Action::Notify).expect("kept");
        assert_eq!(node.gestalts.allows(&who, Action::Notify), Ok(false));
        assert_eq!(node.gestalts.settle(), Ok(vec![]));
    }

    #[test]
    fn a_chain_that_is_as_it_was_is_not_read_again_and_one_that_ended_counts_so() {
        let bench = Bench::new();
        let node = bench.node();
        let life = RecoveryCode::generate(&OsRandom).keys();
        let record = polykey_core::key_record::KeyRecord::first(
            &life.root,
            polykey_core::sealing::EncryptionKey::random(&OsRandom).public(),
        );
        let start = polykey_core::genesis::SigchainStart::sign(&life.root, &life, &record, now());
        let id = start.node();
        node.db.write(|tx| book::found(tx, start)).expect("kept");
        node.gestalts.changed();
        node.gestalts.allow(&[id], Action::Scan, now()).expect("kept");
        assert_eq!(node.gestalts.allows(&id, Action::Scan), Ok(true));
        node.db
            .write(|tx| {
                let chain = book::known_chain(tx, &id)?;
                let body = Body::Revoke(chain.start().id());
                let claim = Claim::sign(&life.root, Some(&life.recovery), chain.next_place(), now(), &body);
                book::append(tx, claim.expect("a claim")).map(drop)
            })
            .expect("kept");
        node.gestalts.changed();
        assert_eq!(node.gestalts.allows(&id, Action::Scan), Ok(false));
        let told = node.gestalts.settle().expect("told");
        assert_eq!(told.iter().map(|notice| notice.node).collect::<Vec<_>>(), [id]);
        assert!(own::chain(&node.db, &id).is_ok());
    }
}
