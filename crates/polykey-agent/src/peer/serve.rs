//! The answering side: one request of another node, from its first byte to the last of the answer.
//!
//! Every request passes the same door as a local call ([`Agent::admit`]) and leaves an audit record. A pull is
//! many requests of one kind; those that follow each other within [`ONE_RECORD`] share a record, so that a peer
//! cannot fill the log. Anybody can be any number of strangers, so what they ask in vain has [so many
//! records](STRANGERS_RECORDS) for all of them, and the rest is counted in one. What a node may see of a vault, the
//! vault's charter says.
//!
//! Always: "not there" and "not for you" are one answer; a vault is looked at on threads for blocking work;
//! nothing that a peer sends ends the agent.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use polykey_api::{Code, Problem};
use polykey_core::clock::SystemClock;
use polykey_core::{Clock, NodeId, VaultId};
use polykey_trust::{book, permission};
use polykey_vault::charter::Role;
use polykey_vault::sync::{self, Blob, Replica, Seen};
use tokio::io::{AsyncRead, AsyncWrite};

use super::frame::{Budget, FrameError, read_only_frame, write_only_frame};
use super::limits::{Rates, Standing};
use super::message::{
    Answer, Beginning, Device, MAX_CHAIN_LEN, MAX_NODES, MAX_OFFERS, MAX_PLACES, MAX_RECORDS,
    MAX_REQUEST_LEN, MAX_SHOWN_DEVICES, Offer, Refusal, Request,
};
use crate::agent::Agent;
use crate::audit::Entry;
use crate::blocking::blocking;
use crate::contacts::{Contact, Place, Source};
use crate::devices;
use crate::discovery::witness;
use crate::door::{Action, Caller, Right};
use crate::failure;
use crate::follow::fresh;
use crate::friends::message as friends;
use crate::links;
use crate::node::Node;
use crate::open::KEY_RECORDS;
use crate::replicas::Trouble;
use crate::tables::IDENTITY;
use crate::vaults::InUse;

/// Longest request of a stranger, who has only to introduce itself.
const MAX_STRANGER_LEN: usize = 16 << 10;
/// Requests of one kind by one node leave one audit record in this time.
const ONE_RECORD: Duration = Duration::from_secs(60);
/// So many kinds are remembered for that.
const MAX_REMEMBERED: usize = 4096;
/// So many records of strangers whom nothing was given or done for stand in the log for each [`STRANGERS_TIME`].
const STRANGERS_RECORDS: u64 = 120;
/// See [`STRANGERS_RECORDS`].
const STRANGERS_TIME: Duration = Duration::from_secs(3600);
/// Event of the record of those that left none of their own.
const STRANGERS: &str = "peer.strangers";
/// What is answered to anybody, and gives or does nothing that is worth a record for each.
const IN_VAIN: [&str; 7] = [
    "peer.ping",
    "peer.who",
    "peer.chain",
    "peer.succeed",
    "peer.invitations",
    "peer.chain-news",
    "peer.my-keys",
];
/// Memory that making an answer of a pull takes, but for the one with the longest commit that there can be.
const ANSWER_ROOM: usize = sync::message::MAX_OBJECTS_LEN;

/// What holds other nodes to good manners; shared by all streams of an agent.
#[derive(Default)]
pub struct Manners {
    /// Memory for what they send and are sent.
    pub budget: Budget,
    rates: Rates,
    recorded: Mutex<HashMap<Recorded, Instant>>,
    strangers: Mutex<Strangers>,
}

/// Records of strangers in the present stretch of time.
#[derive(Default)]
struct Strangers {
    since: Option<Instant>,
    recorded: u64,
    beyond: u64,
}

impl Strangers {
    /// Whether one more record is left, and how many found none in a stretch that is over.
    fn take(&mut self, now: Instant) -> (bool, Option<u64>) {
        let mut beyond = None;
        if self
            .since
            .is_none_or(|since| now.saturating_duration_since(since) >= STRANGERS_TIME)
        {
            beyond = self.take_beyond();
            self.since = Some(now);
            self.recorded = 0;
        }
        if self.recorded < STRANGERS_RECORDS {
            self.recorded += 1;
            return (true, beyond);
        }
        self.beyond += 1;
        (false, beyond)
    }

    fn take_beyond(&mut self) -> Option<u64> {
        let beyond = std::mem::take(&mut self.beyond);
        (beyond > 0).then_some(beyond)
    }
}

type Recorded = (NodeId, &'static str, Option<VaultId>, bool);

impl Manners {
    /// True when a stranger may leave one more thing for the user.
    pub fn may_knock(&self, from: &NodeId) -> bool {
        self.rates.knock(from, Instant::now())
    }

    fn strangers(&self) -> MutexGuard<'_, Strangers> {
        self.strangers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True when a request of this kind is to be recorded; the ones that follow it soon are not.
    fn is_first(&self, of: Recorded) -> bool {
        let (from, event, vault, allowed) = of;
        // A node that is refused can make up any number of vaults; the first stands for all.
        let of = (from, event, vault.filter(|_| allowed), allowed);
        let now = Instant::now();
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        if recorded
            .get(&of)
            .is_some_and(|at| now.duration_since(*at) < ONE_RECORD)
        {
            return false;
        }
        if recorded.len() >= MAX_REMEMBERED {
            recorded.retain(|_, at| now.duration_since(*at) < ONE_RECORD);
            if recorded.len() >= MAX_REMEMBERED {
                recorded.clear();
            }
        }
        recorded.insert(of, now);
        true
    }
}

/// How a stream ended, for the connection that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conduct {
    /// As it should, or the way was lost.
    Fair,
    /// The node sent what no honest program sends: the connection is to be closed.
    Nonsense,
}

/// Answers the one request on a pair of streams of the node `from`, whose key the connection has proven.
pub async fn serve_stream(
    agent: &Agent,
    from: NodeId,
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
) -> Conduct {
    let manners = agent.manners();
    let standing = agent.standing(&from);
    let max = match standing {
        Standing::Contact => MAX_REQUEST_LEN,
        Standing::Stranger => MAX_STRANGER_LEN,
    };
    let (answer, conduct) = match read_only_frame(reader, max, &manners.budget).await {
        Ok((bytes, _held)) => match Request::decode(&bytes) {
            Ok(request) => {
                let (answer, held) = agent.answer(from, standing, request).await;
                let parts = answer.to_parts();
                let _held = held.map(|mut held| {
                    held.shrink(parts.iter().map(Blob::len).sum());
                    held
                });
                drop(answer);
                // A peer that does not take its answer has lost it.
                let _ = write_only_frame(writer, &parts).await;
                return Conduct::Fair;
            }
            Err(error) => {
                tracing::debug!(%from, %error, "a request that is none");
                (Answer::refused(Refusal::Malformed), Conduct::Nonsense)
            }
        },
        Err(FrameError::TooLong { .. } | FrameError::Beyond) => {
            (Answer::refused(Refusal::Malformed), Conduct::Nonsense)
        }
        Err(_) => return Conduct::Fair,
    };
    agent.note_peer((from, standing), &Action::new("peer.nonsense"), None, false);
    let _ = write_only_frame(writer, &answer.to_parts()).await;
    conduct
}

/// Answers one request of a node that is no member of our private network: it may say whom it succeeds, and nothing else.
pub async fn serve_guest(
    agent: &Agent,
    from: NodeId,
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
) {
    let manners = agent.manners();
    let Ok((bytes, _held)) = read_only_frame(reader, MAX_STRANGER_LEN, &manners.budget).await else {
        return;
    };
    let answer = match Request::decode(&bytes) {
        Ok(request @ Request::Succeed { .. }) => agent.answer(from, Standing::Stranger, request).await.0,
        _ => Answer::Refused(
            Refusal::Refused,
            "it is a private network, and the asker is no member".to_owned(),
        ),
    };
    // A peer that does not take its answer has lost it.
    let _ = write_only_frame(writer, &answer.to_parts()).await;
}

impl Agent {
    /// What a node is to us; a stranger while the keys are locked.
    fn standing(&self, node: &NodeId) -> Standing {
        match self.node() {
            Some(here) if here.contacts.is_contact(node) => Standing::Contact,
            _ => Standing::Stranger,
        }
    }

    /// Records a request of another node, unless one like it was recorded just before.
    fn note_peer(
        &self,
        (from, standing): (NodeId, Standing),
        action: &Action,
        vault: Option<VaultId>,
        allowed: bool,
    ) {
        let manners = self.manners();
        if !manners.is_first((from, action.event, vault, allowed)) {
            return;
        }
        let in_vain = !allowed || IN_VAIN.contains(&action.event);
        if standing == Standing::Stranger && in_vain {
            let (left, beyond) = manners.strangers().take(Instant::now());
            self.record_strangers(beyond);
            if !left {
                return;
            }
        }
        self.record(&Caller::node(from), action, allowed.then_some("peer"));
    }

    /// Records how many requests of strangers left no record of their own, before the keys go.
    pub(crate) fn settle_strangers(&self) {
        let beyond = self.manners().strangers().take_beyond();
        self.record_strangers(beyond);
    }

    fn record_strangers(&self, beyond: Option<u64>) {
        if let Some(count) = beyond {
            self.keep_record(Entry {
                time: SystemClock.now().as_millis(),
                event: STRANGERS.to_owned(),
                targets: vec![format!("{count} more requests, of nodes that are not known")],
                ..Entry::default()
            });
        }
    }

    async fn answer(
        &self,
        from: NodeId,
        standing: Standing,
        request: Request,
    ) -> (Answer, Option<super::frame::Held>) {
        let vault = request.vault();
        let mut action = Action::new(request.event());
        if let Some(vault) = &vault {
            action = action.vault(vault.to_string());
        }
        let now = Instant::now();
        let manners = self.manners();
        let leaves_word = matches!(
            request,
            Request::Notify(_) | Request::Friend(friends::Request::Ask { .. })
        );
        let knocks = leaves_word && standing == Standing::Stranger;
        if !manners.rates.request(&from, standing, now) || (knocks && !manners.rates.knock(&from, now)) {
            self.note_peer((from, standing), &action, vault, false);
            return (Answer::refused(Refusal::TooMuch), None);
        }
        let right = match request {
            Request::Scan
            | Request::Addresses
            | Request::Devices
            | Request::Hidden
            | Request::Witness { .. } => Right::Contact,
            // What a vault shows, its charter says; what a stranger may leave is small.
            _ => Right::Anybody,
        };
        let node = match self.admit_peer((from, standing), &action, vault, right) {
            Ok(node) => node,
            Err(answer) => return (answer, None),
        };
        let held = match request {
            Request::Sync(_) => Some(manners.budget.hold(ANSWER_ROOM).await),
            _ => None,
        };
        let made = self.make_answer(from, standing, &node, request).await;
        drop(node);
        let answer = made.unwrap_or_else(|problem| refusal_of(&problem));
        let refused = matches!(
            answer,
            Answer::Refused(..) | Answer::Sync(sync::Response::Refused | sync::Response::Removed { .. })
        );
        self.note_peer((from, standing), &action, vault, !refused);
        (answer, held)
    }

    fn admit_peer(
        &self,
        from: (NodeId, Standing),
        action: &Action,
        vault: Option<VaultId>,
        right: Right,
    ) -> Result<Arc<Node>, Answer> {
        let passed = self.admit(&Caller::node(from.0), right);
        passed.map(|pass| pass.node().clone()).map_err(|problem| {
            self.note_peer(from, action, vault, false);
            refusal_of(&problem)
        })
    }

    async fn make_answer(
        &self,
        from: NodeId,
        standing: Standing,
        node: &Arc<Node>,
        request: Request,
    ) -> Result<Answer, Problem> {
        let node = node.clone();
        match request {
            Request::Ping => Ok(Answer::Done),
            Request::Who => blocking(move || keys(&node)).await,
            Request::Scan => blocking(move || offers(&node, &from)).await,
            Request::Sync(request) => blocking(move || step(&node, &from, &request)).await,
            Request::Announce(announcement) => {
                let vault = announcement.vault;
                let here = node.clone();
                let news = blocking(move || is_news(&here, &from, &announcement)).await;
                let news = match news {
                    Err(problem) if problem.code == Code::VaultNotFound => {
                        // A device of the user's own has a vault that this one is to have, too.
                        let agent = self.clone();
                        tokio::spawn(async move { agent.bring_from_device(from).await });
                        return Err(problem);
                    }
                    news => news?,
                };
                match news {
                    Heard::NotForUs => Ok(Answer::refused(Refusal::Refused)),
                    // What is here may lack its content. It comes with the next look, when there is room; asking for
                    // it at once would fetch in vain.
                    _ if node.allowance.is_full(&vault) => Ok(Answer::refused(Refusal::NoRoom)),
                    Heard::News => {
                        node.vaults.news().heard(from, vault);
                        Ok(Answer::Done)
                    }
                    Heard::Level => Ok(Answer::Done),
                    Heard::WithoutContent => Ok(Answer::refused(Refusal::Unavailable)),
                }
            }
            Request::Genesis(vault) => blocking(move || genesis(&node, &from, vault)).await,
            Request::Addresses => blocking(move || Ok(addresses(&node, &from))).await,
            Request::Notify(statement) => self.take_notification(node, from, standing, statement).await,
            Request::Redeem {
                secret,
                start,
                record,
            } => self.redeem(node, from, secret, start, record).await,
            Request::Keep { vault, genesis } => self.keep(node, from, standing, vault, genesis).await,
            Request::Chain {
                node: of,
                from: first,
            } => blocking(move || chain(&node, &from, &of, first)).await,
            Request::Succeed { rotations } => self.hear_of_succession(node, from, rotations).await,
            Request::Link { proposal } => self.answer_link(node, from, proposal).await,
            Request::Invitations => blocking(move || links::invitations_for(&node, &from)).await,
            Request::ChainNews { last } => self.hear_of_chain(node, from, standing, last).await,
            Request::Pair {
                secret,
                start,
                record,
            } => self.pair(node, from, secret, start, record).await,
            Request::Devices => blocking(move || shown_devices(&node)).await,
            Request::Hidden => blocking(move || devices::hidden::shown_to(&node, &from)).await,
            Request::Words { element } => Ok(self.begin_words(&node, from, &element)),
            Request::WordsProof { proof, start, record } => {
                self.end_words(node, from, proof, start, record).await
            }
            Request::MyKeys => {
                let record = node.contacts.find(&from).and_then(|contact| contact.record);
                Ok(Answer::MyKeys(record.map(|record| record.as_bytes().to_vec())))
            }
            Request::Witness { identity, node: of } => {
                blocking(move || witness::testimony_for(&node, &from, &identity, of)).await
            }
            Request::Friend(request) => self.answer_friend(node, from, standing, request).await,
        }
    }
}

/// What a peer is told of a problem: never where it is from.
fn refusal_of(problem: &Problem) -> Answer {
    Answer::refused(match problem.code {
        Code::NotAllowed | Code::VaultNotFound | Code::NodeNotFound => Refusal::Refused,
        Code::Protocol | Code::Usage => Refusal::Malformed,
        _ => {
            tracing::warn!("a peer was not served: {problem}");
            Refusal::Unavailable
        }
    })
}

fn keys(node: &Node) -> Result<Answer, Problem> {
    let records = node
        .db
        .read(|tx| tx.group(IDENTITY, KEY_RECORDS))
        .map_err(|error| failure::store(&error))?;
    let records = records.into_iter().take(MAX_RECORDS);
    Ok(Answer::Keys {
        start: node.sigchain_start.as_bytes().to_vec(),
        records: records.map(|(_, record)| record.expose().to_vec()).collect(),
    })
}

/// The sigchain of this node, of one that it succeeds, of a device of its principal, or what is kept here of the
/// asker's own: it may be on an empty disk.
fn chain(node: &Node, asker: &NodeId, of: &NodeId, from: u64) -> Result<Answer, Problem> {
    let is_own = *of == node.id();
    // A second beginning would speak against this node.
    if is_own && node.is_restored.load(Ordering::Acquire) {
        return Ok(Answer::refused(Refusal::Refused));
    }
    let is_shown = is_own
        || of == asker
        || node.succession.iter().any(|rotation| rotation.node() == *of)
        || devices::is_own(node, of)?;
    if !is_shown {
        return Ok(Answer::refused(Refusal::Refused));
    }
    let mut claims =
        (node.db.read(|tx| book::entries_from(tx, of, from))).map_err(|error| failure::trust(&error))?;
    let mut room = MAX_CHAIN_LEN;
    let fitting = claims.iter().take_while(|claim| {
        // With the head of each.
        let left = room.checked_sub(claim.len() + 8);
        room = left.unwrap_or(0);
        left.is_some()
    });
    let count = fitting.count();
    claims.truncate(count);
    Ok(Answer::Chain(claims))
}

/// The other devices of this node's principal, as far as their keys are known.
fn shown_devices(node: &Node) -> Result<Answer, Problem> {
    let shown = devices::others(node)?.into_iter().filter_map(|device| {
        let contact = node.contacts.find(&device)?;
        let record = contact.record.as_ref()?.as_bytes().to_vec();
        let places = first_hand(contact);
        Some(Device {
            node: device,
            record,
            places,
        })
    });
    Ok(Answer::Devices(shown.take(MAX_SHOWN_DEVICES).collect()))
}

/// Where a node is, but for what a third node told: told on, a wrong address would go round for ever.
fn first_hand(contact: Contact) -> Vec<Place> {
    let known = contact.addresses.into_iter();
    let first_hand = known.filter(|known| known.source != Source::Told);
    first_hand.map(|known| known.place).take(MAX_PLACES).collect()
}

/// The vaults that a node is in. Who is in none is told so only where the user allows the question.
fn offers(node: &Node, from: &NodeId) -> Result<Answer, Problem> {
    let mut offers = Vec::new();
    let kept = node.vaults.kept();
    for vault in node.vaults.ids().into_iter().chain(kept.iter().copied()) {
        // A folder that is absent hides its vault from others, too.
        let Ok(open) = node.vaults.open_id(vault) else {
            continue;
        };
        let Ok(charter) = open.vault.charter() else {
            continue;
        };
        if let Some(role) = charter.role(from) {
            offers.push(Offer {
                vault,
                name: title_of(node, vault, open.name),
                role,
            });
        }
        if offers.len() >= MAX_OFFERS {
            break;
        }
    }
    let is_refused = offers.is_empty()
        && !node.gestalts.allows(from, permission::Action::Scan)?
        && !devices::others(node)?.contains(from);
    Ok(match is_refused {
        true => Answer::refused(Refusal::Refused),
        false => Answer::Offers(offers),
    })
}

/// What a vault is called here; a keeper has no name for what it keeps.
fn title_of(node: &Node, vault: VaultId, name: String) -> String {
    match node.vaults.kept().contains(&vault) {
        true => String::new(),
        false => name,
    }
}

/// Opens a vault that a peer asks about. One that cannot be opened, since its folder is absent, cannot say who is in it:
/// that it is held here is told only to those that were level with it while they were in, and to nobody else.
fn open_for(node: &Node, from: &NodeId, vault: VaultId) -> Result<InUse, Problem> {
    node.vaults.open_id(vault).map_err(|problem| {
        let known = fresh::find(&node.db, &vault, from);
        match known.is_ok_and(|known| known.is_some()) {
            true => problem,
            false => Problem::new(Code::VaultNotFound, "no such vault for this node").caused_by(&problem),
        }
    })
}

fn step(node: &Node, from: &NodeId, request: &sync::Request) -> Result<Answer, Problem> {
    let (sync::Request::Items { vault, .. } | sync::Request::Objects { vault, .. }) = request;
    let open = match open_for(node, from, *vault) {
        Ok(open) => open,
        Err(problem) if problem.code == Code::VaultNotFound => {
            return Ok(Answer::Sync(sync::Response::Refused));
        }
        Err(problem) => return Err(problem),
    };
    let response = sync::serve(&*open.vault, from, request);
    response
        .map(Answer::Sync)
        .map_err(|error| crate::vaults::problem::vault_problem(&open.name, error))
}

/// What an announcement means here.
enum Heard {
    /// The sender has no business with the vault.
    NotForUs,
    /// There is something to look at.
    News,
    /// All of it is here.
    Level,
    /// All commits are here, and content of theirs is not.
    WithoutContent,
}

fn is_news(node: &Node, from: &NodeId, announcement: &sync::Announcement) -> Result<Heard, Problem> {
    let vault = announcement.vault;
    let open = open_for(node, from, vault)?;
    let wrong = |error| crate::vaults::problem::vault_problem(&open.name, error);
    let Some(role) = open.vault.charter().map_err(wrong)?.role(from) else {
        return Ok(Heard::NotForUs);
    };
    if announcement.is_news(&*open.vault).map_err(wrong)? {
        return Ok(Heard::News);
    }
    // A keeper may have the commits and no room for their content: a reader's look at it ends with the question. Two
    // keepers that looked at each other so would never come to an end.
    if role == Role::Keeper && open.vault.my_role().is_some_and(Role::reads) {
        return Ok(Heard::News);
    }
    let seen = Seen {
        heads: announcement.heads.clone(),
        tips: announcement.tips.clone(),
    };
    let state = open.vault.sync_state().map_err(wrong)?;
    // Whoever says that it has all that is here may lack the content: only a look at it tells.
    let before = fresh::find(&node.db, &vault, from).map_err(|error| failure::store(&error))?;
    let is_known = before.is_some_and(|before| state.is_held_by(&before.seen))
        && node.replicas.trouble(vault, *from) != Some(Trouble::Incomplete);
    if state.is_held_by(&seen) && !is_known {
        node.vaults.news().heard(*from, vault);
    }
    if state.wanted > 0 {
        return Ok(Heard::WithoutContent);
    }
    Ok(Heard::Level)
}

fn genesis(node: &Node, from: &NodeId, vault: VaultId) -> Result<Answer, Problem> {
    let open = open_for(node, from, vault)?;
    let charter = open
        .vault
        .charter()
        .map_err(|error| crate::vaults::problem::vault_problem(&open.name, error))?;
    let Some(role) = charter.role(from) else {
        return Ok(Answer::refused(Refusal::Refused));
    };
    Ok(Answer::Genesis(Beginning {
        genesis: charter.genesis().statement().as_bytes().to_vec(),
        name: title_of(node, vault, open.name),
        role,
    }))
}

/// Where the members of vaults are that `from` is a member of, too.
fn addresses(node: &Node, from: &NodeId) -> Answer {
    let mut common = BTreeSet::new();
    for vault in node.vaults.ids().into_iter().chain(node.vaults.hidden()) {
        let Ok(open) = node.vaults.open_id(vault) else {
            continue;
        };
        if let Ok(charter) = open.vault.charter()
            && charter.role(from).is_some()
        {
            common.extend(charter.members().into_iter().map(|member| member.node));
        }
    }
    common.remove(from);
    let known = common.into_iter().filter_map(|node_id| {
        let contact = node.contacts.find(&node_id).filter(|contact| !contact.blocked)?;
        let places = first_hand(contact);
        (!places.is_empty()).then_some((node_id, places))
    });
    Answer::Nodes(known.take(MAX_NODES).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::bench::{Bench, Wire, nobody};
    use crate::peer::{Ask, AskError};

    #[test]
    fn strangers_have_so_many_records_an_hour_and_the_rest_is_counted() {
        let mut strangers = Strangers::default();
        let begin = Instant::now();
        let kept = (0..10_000).filter(|_| strangers.take(begin).0).count();
        assert_eq!(kept as u64, STRANGERS_RECORDS);
        let later = begin + STRANGERS_TIME;
        assert_eq!(strangers.take(later), (true, Some(10_000 - STRANGERS_RECORDS)));
        assert_eq!(strangers.take(later), (true, None));
        assert_eq!(strangers.take_beyond(), None);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn strangers_in_any_number_push_out_no_records_of_others() {
        let bench = Bench::new();
        let friend = nobody();
        bench.node().contacts.meet(friend).expect("kept");
        bench
            .node()
            .gestalts
            .allow(
                &[friend],
                polykey_trust::permission::Action::Scan,
                SystemClock.now(),
            )
            .expect("kept");
        let ask = async |me, request| Wire::new(&bench, me, 1).ask(request).await;
        let count = 2 * STRANGERS_RECORDS;
        for round in 0..count {
            // One refused and one answered, each time by a node that was never seen.
            let request = if round % 2 == 0 {
                Request::Scan
            } else {
                Request::Ping
            };
            let answered: Result<Answer, AskError> = ask(nobody(), request).await;
            assert_eq!(answered.is_ok(), round % 2 == 1);
        }
        ask(friend, Request::Scan).await.expect("answered");
        bench.agent.settle_strangers();
        bench.agent.settle_strangers();
        let node = bench.node();
        node.audit.flush().expect("stored");
        let records = node.audit.group(1).expect("read");
        let of = |event: &'static str| records.iter().filter(move |record| record.path == event);
        assert_eq!(
            (of("peer.scan").count() + of("peer.ping").count()) as u64,
            STRANGERS_RECORDS + 1
        );
        assert!(of("peer.scan").any(|record| record.session == Some(friend.to_string())));
        let told: Vec<_> = of(STRANGERS).map(|record| record.targets.concat()).collect();
        assert_eq!(told.len(), 1);
        assert!(
            told[0].starts_with(&format!("{} more", count - STRANGERS_RECORDS)),
            "{told:?}"
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_vault_whose_folder_is_absent_is_hidden_from_those_who_are_not_in_it() {
        let (bench, known, out) = (Bench::new(), Bench::new(), Bench::new());
        let place = tempfile::tempdir().expect("a temporary folder");
        let (folder, away) = (place.path().join("stick"), place.path().join("away"));
        let node = bench.node();
        node.vaults.create("work", Some(&folder)).expect("made");
        let vault = node.vaults.open("work").expect("open").id;
        for member in [&known, &out] {
            bench.grant("work", &member.keys(), Role::Reader);
        }
        let open = node.vaults.open("work").expect("open");
        let level = sync::announce(&*open.vault).expect("says");
        drop(open);
        let refusal = async |from, request| match Wire::new(&bench, from, 1).ask(request).await {
            Ok(Answer::Sync(sync::Response::Refused)) => Some(Refusal::Refused),
            Ok(Answer::Sync(sync::Response::Removed { .. })) | Ok(_) => None,
            Err(AskError::Refused { refusal, .. }) => Some(refusal),
            Err(error) => panic!("{error}"),
        };
        // Both were level, and one of them is taken out.
        for member in [&known, &out] {
            let row = fresh::Fresh {
                time: SystemClock.now(),
                seen: Seen {
                    heads: level.heads.clone(),
                    tips: level.tips.clone(),
                },
            };
            fresh::note(&node.db, &vault, &member.id(), &row).expect("stores");
        }
        node.vaults
            .open("work")
            .expect("open")
            .vault
            .revoke(&out.id())
            .expect("removed");
        let members = node.vaults.open("work").expect("open").vault.members();
        let is_in_it = |node: &NodeId| members.iter().any(|member| member.node == *node);
        fresh::forget_others(&node.db, &vault, is_in_it).expect("forgets");
        std::fs::rename(&folder, &away).expect("moved");
        let requests = || {
            let items = sync::Request::Items {
                vault,
                charter: Vec::new(),
                lines: Vec::new(),
            };
            [
                Request::Sync(items),
                Request::Announce(level.clone()),
                Request::Genesis(vault),
            ]
        };
        for (from, want) in [
            (known.id(), Refusal::Unavailable),
            (out.id(), Refusal::Refused),
            (nobody(), Refusal::Refused),
        ] {
            for request in requests() {
                let event = request.event();
                assert_eq!(refusal(from, request).await, Some(want), "{event}");
            }
        }
        std::fs::rename(&away, &folder).expect("moved");
        assert_eq!(refusal(known.id(), Request::Genesis(vault)).await, None);
    }

    #[test]
    fn a_refused_node_fills_no_log_with_vaults_that_it_makes_up() {
        let manners = Manners::default();
        let first = |vault: u8, allowed| {
            let vault = VaultId::from_bytes([vault; 32]);
            manners.is_first((NodeId::from_bytes([1; 32]), "peer.pull", Some(vault), allowed))
        };
        assert!(first(1, false));
        assert!(!(1..=255).any(|vault| first(vault, false)));
        assert!(first(1, true) && first(2, true) && !first(1, true));
    }
}
