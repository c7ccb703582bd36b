//! One look: at a node, which shows its sigchain, or at an identity, which shows its page.
//!
//! A link counts when both ends show it, so a look at an identity also asks the node that its page names. When that
//! node cannot be asked, what is known of its chain has to do: a claim that stands there holds, and one that does not
//! may be newer than what is here, so the look failed.
//!
//! Always: the sigchain of a node that nobody asked for is kept only when a page or a chain that is looked at names
//! it, and only so many and so much of those.

use std::sync::Arc;

use polykey_api::{Code, Problem};
use polykey_core::clock::SystemClock;
use polykey_core::random::OsRandom;
use polykey_core::{Clock, NodeId};
use polykey_trust::TrustError;
use polykey_trust::armour::{self, PageClaim};
use polykey_trust::book;
use polykey_trust::discovery::Outcome;
use polykey_trust::gestalt::Vertex;
use polykey_trust::identity::IdentityId;
use polykey_trust::proof::{self, Look, Notice, Proof, ProofError};
use polykey_trust::sigchain::Chain;

use crate::agent::Agent;
use crate::blocking::blocking;
use crate::failure;
use crate::node::Node;
use crate::post::{Letter, Tray};
use crate::providers::{LookError, Seen, tokens};

/// Most nodes that are no contacts and whose chains are kept all the same.
const MAX_FOUND: usize = 4_000;

/// What a look at an identity gave.
pub struct Looked {
    /// What was seen.
    pub look: Look,
    /// Why it failed, or what is wrong with what was seen.
    pub problem: Option<Problem>,
    /// How long the other side asks to wait.
    pub wait: Option<std::time::Duration>,
    /// The node that the page names.
    pub node: Option<NodeId>,
    /// What that changed.
    pub notices: Vec<Notice>,
}

impl Agent {
    /// Looks at a node or an identity, and keeps what was seen.
    pub async fn look(&self, vertex: &Vertex) -> Outcome {
        let Some(node) = self.node() else {
            return Outcome::Failed { wait: None };
        };
        match vertex {
            Vertex::Node(id) => match self.look_at_node(&node, *id).await {
                Ok(neighbours) => Outcome::Seen(neighbours),
                Err(problem) => {
                    tracing::debug!(node = %id, "not looked at: {problem}");
                    Outcome::Failed { wait: None }
                }
            },
            Vertex::Identity(identity) => match self.look_at_identity(&node, identity).await {
                Ok(Looked {
                    look: Look::Failed,
                    wait,
                    problem,
                    ..
                }) => {
                    if let Some(problem) = problem {
                        tracing::debug!(%identity, "not looked at: {problem}");
                    }
                    Outcome::Failed { wait }
                }
                Ok(looked) => Outcome::Seen(looked.node.map(Vertex::Node).into_iter().collect()),
                Err(problem) => {
                    tracing::warn!(%identity, "what was seen is not kept: {problem}");
                    Outcome::Failed { wait: None }
                }
            },
        }
    }

    async fn look_at_node(&self, node: &Arc<Node>, id: NodeId) -> Result<Vec<Vertex>, Problem> {
        if id != node.id() {
            self.learn_found_chain(node, id).await?;
        }
        let here = node.clone();
        blocking(move || {
            let chain = here.db.read(|tx| book::known_chain(tx, &id));
            Ok(neighbours(&chain.map_err(|error| failure::trust(&error))?))
        })
        .await
    }

    /// Asks a node for its chain, also one that is no contact, as long as there is room for what it shows.
    async fn learn_found_chain(&self, node: &Arc<Node>, id: NodeId) -> Result<(), Problem> {
        if node.contacts.is_blocked(&id) {
            return Err(Problem::new(Code::NotAllowed, "this node refuses it"));
        }
        let here = node.clone();
        let has_room = blocking(move || {
            if here.contacts.is_contact(&id) {
                return Ok(true);
            }
            let heads = here
                .db
                .read(book::heads)
                .map_err(|error| failure::trust(&error))?;
            let found = heads
                .iter()
                .filter(|head| !here.contacts.is_contact(&head.node))
                .count();
            Ok(found < MAX_FOUND || heads.iter().any(|head| head.node == id))
        });
        if !has_room.await? {
            return Err(Problem::new(Code::Busy, "as many nodes were found as are kept"));
        }
        self.learn_chain(node, id, id).await
    }

    /// Looks at both ends of an identity, and keeps what was seen; tells the user what changed.
    ///
    /// # Errors
    /// What the store says. A look that failed is an answer.
    pub async fn look_at_identity(&self, node: &Arc<Node>, identity: &IdentityId) -> Result<Looked, Problem> {
        let mut looked = self.see_identity(node, identity).await?;
        let (here, identity, look) = (node.clone(), identity.clone(), looked.look);
        looked.notices = blocking(move || keep_look(&here, &identity, &look)).await?;
        Ok(looked)
    }

    async fn see_identity(&self, node: &Arc<Node>, identity: &IdentityId) -> Result<Looked, Problem> {
        let (here, provider) = (node.clone(), identity.provider().to_owned());
        let token = blocking(move || tokens::any_of(&here.db, &provider)).await?;
        let looked = |look: Look| Looked {
            look,
            problem: None,
            wait: None,
            node: None,
            notices: Vec::new(),
        };
        let seen = match self.elsewhere().look(identity, token).await {
            Ok(seen) => seen,
            Err(error) => return Ok(failed(&error, identity)),
        };
        let text = match seen {
            Seen::Gone => {
                let gone = Problem::new(Code::NodeNotFound, format!("{identity} publishes nothing"));
                return Ok(Looked {
                    problem: Some(gone),
                    ..looked(Look::Gone)
                });
            }
            Seen::Page(text) => text,
        };
        let page = match armour::find(&text) {
            Ok(page) => page,
            Err(error) => {
                return Ok(Looked {
                    problem: Some(Problem::new(Code::BadData, error.to_string())),
                    ..looked(Look::Page(Err(error.into())))
                });
            }
        };
        let asked = match page.node == node.id() {
            true => Ok(()),
            false => self.learn_found_chain(node, page.node).await,
        };
        let (here, of) = (node.clone(), page.node);
        let chain = blocking(move || {
            let chain = here.db.read(|tx| book::chain(tx, &of));
            chain.map_err(|error| failure::trust(&error))
        });
        let (look, problem) = compare(identity, &page, chain.await?.as_ref(), asked.err());
        Ok(Looked {
            node: Some(page.node),
            problem,
            ..looked(look)
        })
    }
}

/// Compares both ends, where `unasked` says why the node could not be asked for its chain now.
fn compare(
    identity: &IdentityId,
    page: &PageClaim,
    chain: Option<&Chain>,
    unasked: Option<Problem>,
) -> (Look, Option<Problem>) {
    let Some(chain) = chain else {
        let node = page.node;
        let unknown = Problem::new(
            Code::NodeUnreachable,
            format!("the page names node {node}, whose sigchain is not here"),
        );
        return (Look::Failed, Some(unasked.unwrap_or(unknown)));
    };
    let checked: Result<Proof, ProofError> = proof::check(identity, page, chain);
    match (checked, unasked) {
        // It may have said so since.
        (Err(ProofError::NotInChain { .. }), Some(problem)) => (Look::Failed, Some(problem)),
        (Err(error), _) => {
            let problem = Problem::new(Code::BadData, error.to_string());
            (Look::Page(Err(error)), Some(problem))
        }
        (Ok(proof), _) => (Look::Page(Ok(proof)), None),
    }
}

fn failed(error: &LookError, identity: &IdentityId) -> Looked {
    Looked {
        look: Look::Failed,
        problem: Some(error.problem(identity.as_str())),
        wait: error.wait(),
        node: None,
        notices: Vec::new(),
    }
}

/// Keeps what a look gave, and puts what changed into the inbox.
fn keep_look(node: &Node, identity: &IdentityId, look: &Look) -> Result<Vec<Notice>, Problem> {
    let now = SystemClock.now();
    let notices = node
        .db
        .write(|tx| proof::record(tx, identity, look, now))
        .map_err(|error| failure::trust(&error))?;
    if *look != Look::Failed {
        node.gestalts.changed();
    }
    for notice in &notices {
        let letter = match notice {
            Notice::Linked { again: false, .. } => continue,
            Notice::Linked { identity, node, .. } => Letter::Linked {
                from: *node,
                identity: identity.clone(),
            },
            Notice::Ended {
                identity,
                node,
                ending,
            } => Letter::LinkEnded {
                from: *node,
                identity: identity.clone(),
                ending: *ending,
            },
        };
        node.post.tell(Tray::Inbox, letter, now, &OsRandom)?;
    }
    Ok(notices)
}

/// What a chain names: the other ends of its links, its identities, and the nodes before and after it.
fn neighbours(chain: &Chain) -> Vec<Vertex> {
    let me = chain.node();
    let links = chain
        .links()
        .filter_map(|link| link.other_end(&me))
        .map(Vertex::Node);
    let identities = chain
        .identities()
        .map(|(_, identity)| Vertex::Identity(identity.clone()));
    let before = chain.predecessors().map(|rotation| Vertex::Node(rotation.node()));
    let after = chain
        .successor()
        .map(|rotation| Vertex::Node(rotation.successor()));
    links.chain(identities).chain(before).chain(after).collect()
}

/// What is remembered of a look, for whoever shows it.
///
/// # Errors
/// What the store says.
pub fn remembered(node: &Node, identity: &IdentityId) -> Result<proof::Remembered, Problem> {
    let row = node.db.read(|tx| proof::remembered(tx, identity));
    let row = row.map_err(|error: TrustError| failure::trust(&error))?;
    Ok(row.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chains::cast::{Life, link};
    use polykey_trust::link::LinkType;

    fn away() -> Problem {
        Problem::new(Code::NodeUnreachable, "it is away")
    }

    #[test]
    fn a_chain_that_may_be_old_ends_no_link_and_makes_one() {
        let life = Life::new();
        let chain = life.saying(&["alice"]);
        let identity: IdentityId = "github.com:alice".parse().expect("an identity");
        let (claim, _) = chain.identities().next().expect("said");
        let page = PageClaim {
            node: life.node(),
            claim,
            identity: None,
        };
        let proof = Proof {
            node: life.node(),
            claim,
        };
        let short = life.chain();
        let look = |chain: Option<&Chain>, unasked| compare(&identity, &page, chain, unasked).0;
        assert_eq!(look(Some(&chain), None), Look::Page(Ok(proof)));
        assert_eq!(look(Some(&chain), Some(away())), Look::Page(Ok(proof)));
        assert_eq!(look(None, None), Look::Failed);
        assert_eq!(look(None, Some(away())), Look::Failed);
        let node = life.node();
        let gone = Look::Page(Err(ProofError::NotInChain { node }));
        assert_eq!(look(Some(&short), None), gone);
        assert_eq!(look(Some(&short), Some(away())), Look::Failed, "it may be newer");
        let other: IdentityId = "github.com:bob".parse().expect("an identity");
        let foreign = compare(&other, &page, Some(&chain), Some(away())).0;
        assert_eq!(foreign, Look::Page(Err(ProofError::OtherIdentity { node })));
    }

    #[test]
    fn neighbours_are_all_that_a_chain_names() {
        let (a, b) = (Life::new(), Life::new());
        let (mut ours, mut theirs) = (a.saying(&["alice"]), b.chain());
        link(LinkType::Node, (&a, &mut ours), (&b, &mut theirs));
        let identity = Vertex::Identity("github.com:alice".parse().expect("an identity"));
        assert_eq!(neighbours(&ours), [Vertex::Node(b.node()), identity]);
        assert_eq!(neighbours(&theirs), [Vertex::Node(a.node())]);
    }
}
