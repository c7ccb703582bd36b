//! Resuming: a node on an empty disk becomes what it was, by its recovery code alone.
//!
//! The code gives the root key, so the node has its id again; what it had said it has to ask others for. They show
//! what they keep of its sigchain, which it continues with a statement of its recovery key and a new key record. Then
//! its vaults come from members, own devices and keepers: the key of the code opens what was sealed to the lost
//! device, and new keys are opened for the new one. The vaults are new replicas, so the node writes under new actors.
//!
//! Until it is settled whether it was somebody before, a node that was made from a code shows no sigchain: a second
//! beginning of one would speak against it.
//!
//! Always: the recovery keys stay in memory until the keys are locked or the agent ends, and nowhere else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use polykey_api::{Code, Problem};
use polykey_core::clock::SystemClock;
use polykey_core::key_record::KeyRecord;
use polykey_core::recovery::RecoveryKeys;
use polykey_core::{Clock, NodeId, StatementId};
use polykey_store::StoreError;
use polykey_trust::TrustError;
use polykey_trust::book::{self, Source};
use polykey_trust::claim::{Body, Claim, ClaimError};
use polykey_trust::sigchain::{Chain, ChainError};
use polykey_vault::sync::Replica;

use crate::agent::Agent;
use crate::blocking::blocking;
use crate::devices::shared::Came;
use crate::failure;
use crate::node::Node;
use crate::open::{KEY_RECORDS, RESTORED, SIGCHAIN};
use crate::peer::{Answer, Request};
use crate::tables::IDENTITY;

/// What others keep of this node.
struct Memory {
    /// The beginning that the node has now.
    begun: StatementId,
    /// True when somebody knows the node from that.
    again: bool,
    /// What it said before, if anybody knows it.
    chain: Option<Chain>,
    /// Key records by number.
    records: BTreeMap<u64, KeyRecord>,
}

impl Memory {
    /// Nobody was asked yet.
    fn of(node: &Node) -> Memory {
        Memory {
            begun: node.sigchain_start.id(),
            again: false,
            chain: None,
            records: BTreeMap::new(),
        }
    }

    /// Takes in what one node showed.
    fn take(&mut self, entries: &[Claim], record: Option<KeyRecord>, keys: &RecoveryKeys) {
        let node = keys.root.public();
        if let Some(record) = record.filter(|record| record.node() == node) {
            self.records.entry(record.number()).or_insert(record);
        }
        let chain = match Chain::verify(node, entries.to_vec()) {
            Ok(chain) if chain.recovery_public() == keys.recovery.public() => chain,
            _ => return,
        };
        // Whoever met it since it began anew does not stand in the way of those who knew it before.
        if chain.start().id() == self.begun {
            self.again = true;
            return;
        }
        match &mut self.chain {
            None => self.chain = Some(chain),
            // What does not join it loses against what the recovery key said last, or against what came first.
            Some(known) => drop(known.merge(entries)),
        }
    }
}

/// Why a chain could not be continued.
#[derive(Debug, thiserror::Error)]
enum ResumeError {
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Claim(#[from] ClaimError),
    #[error(transparent)]
    Chain(#[from] ChainError),
}

fn failed(error: &ResumeError) -> Problem {
    match error {
        ResumeError::Trust(error) => failure::trust(error),
        ResumeError::Store(error) => failure::store(error),
        error => {
            Problem::new(Code::BadData, "what this node said before cannot be continued").caused_by(error)
        }
    }
}

/// What a node is brought back from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resumed {
    /// Nodes that answered.
    pub asked: Vec<NodeId>,
    /// True when the sigchain was continued; false when that was done before.
    pub continued: bool,
}

/// Checks that `keys` are this node's.
///
/// # Errors
/// [`Code::WrongPassword`].
pub fn check(node: &Node, keys: &RecoveryKeys) -> Result<(), Problem> {
    if keys.root.public() == node.id() && keys.recovery.public() == node.sigchain_start.recovery_public() {
        return Ok(());
    }
    Err(Problem::new(
        Code::WrongPassword,
        "the recovery code belongs to another node",
    ))
}

/// Notes that this node was nobody before, so that it shows its sigchain from now on.
///
/// # Errors
/// What the store says.
pub fn begin_anew(node: &Node) -> Result<(), Problem> {
    let done = node.db.write(|tx| tx.remove(IDENTITY, RESTORED, b""));
    done.map_err(|error: StoreError| failure::store(&error))?;
    node.is_restored.store(false, Ordering::Release);
    Ok(())
}

/// Continues the chain that others remember, with the keys of this node. False when that was done before.
fn continue_chain(node: &Node, memory: &Memory, keys: &RecoveryKeys) -> Result<bool, Problem> {
    let unknown = || {
        Problem::new(
            Code::NodeNotFound,
            "none of the nodes that were asked knows this node from before",
        )
        .hint("add one that does with `polykey nodes add`; with `--new` this node was nobody before")
    };
    let is_settled = !node.is_restored.load(Ordering::Acquire);
    let Some(chain) = &memory.chain else {
        return match memory.again && is_settled {
            true => Ok(false),
            false => Err(unknown()),
        };
    };
    let own = node.db.read(|tx| book::known_chain(tx, &node.id()));
    let own = own.map_err(|error| failure::trust(&error))?;
    let was_resumed = own.entries().iter().any(|claim| *claim.body() == Body::Resume);
    // They have not heard yet that a second beginning gave way.
    if is_settled && was_resumed {
        return Ok(false);
    }
    if chain.successor().is_some() || chain.is_ended() {
        return Err(Problem::new(
            Code::NotAllowed,
            "this node named another as its successor, and does not come back",
        )
        .hint("use the recovery code that `polykey keys renew` showed last"));
    }
    let record = KeyRecord::after(&keys.root, chain.last_key_record(), node.encryption.public());
    let done = node.db.write(|tx| {
        let now = book::known_chain(tx, &node.id())?.vouch_time(SystemClock.now());
        let now = chain.vouch_time(now);
        let mut resumed = chain.clone();
        let bodies = [
            (Body::Resume, Some(&keys.recovery)),
            (Body::KeyRecord(Box::new(record.clone())), None),
        ];
        for (body, recovery) in bodies {
            resumed.push(Claim::sign(
                &keys.root,
                recovery,
                resumed.next_place(),
                now,
                &body,
            )?)?;
        }
        let entries = resumed.entries().to_vec();
        book::receive(tx, &node.id(), entries, Source::Owner, now)?;
        tx.put(
            IDENTITY,
            SIGCHAIN,
            &0u64.to_be_bytes(),
            resumed.start().as_bytes(),
        )?;
        tx.remove_group(IDENTITY, KEY_RECORDS)?;
        let in_chain = resumed.entries().iter().filter_map(|claim| match claim.body() {
            Body::KeyRecord(record) => Some(&**record),
            _ => None,
        });
        let first = memory
            .records
            .get(&0)
            .filter(|record| record.id() == chain.start().key_record());
        for record in first.into_iter().chain(in_chain) {
            let place = record.number().to_be_bytes();
            tx.put(IDENTITY, KEY_RECORDS, &place, record.as_bytes())?;
        }
        tx.remove(IDENTITY, RESTORED, b"")?;
        Ok::<_, ResumeError>(())
    });
    done.map_err(|error| failed(&error))?;
    Ok(true)
}

/// The first key record, which the sigchain names and does not hold: who checks the later ones without the chain asks
/// for it. When nobody had kept it, the key stands in the charters of the vaults that the node was let into.
fn find_first_record(node: &Node) -> Result<(), Problem> {
    let place = 0u64.to_be_bytes();
    let known = node.db.read(|tx| tx.contains(IDENTITY, KEY_RECORDS, &place));
    if known.map_err(|error: StoreError| failure::store(&error))? {
        return Ok(());
    }
    let wanted = node.sigchain_start.key_record();
    for id in node.vaults.ids() {
        let Ok(open) = node.vaults.open_id(id) else {
            continue;
        };
        let keys = open
            .vault
            .charter()
            .ok()
            .and_then(|charter| charter.keys_of(&node.id()));
        let Some(device) = keys
            .map(|keys| keys.device)
            .filter(|device| device.record == wanted)
        else {
            continue;
        };
        let record = KeyRecord::first(&node.root, device.public);
        if record.id() == wanted {
            let put = node
                .db
                .write(|tx| tx.put(IDENTITY, KEY_RECORDS, &place, record.as_bytes()));
            return put.map_err(|error: StoreError| failure::store(&error));
        }
    }
    Ok(())
}

impl Agent {
    /// Asks `from` what it keeps of this node.
    async fn ask_for_memory(
        &self,
        node: &Arc<Node>,
        from: NodeId,
    ) -> Result<(Vec<Claim>, Option<KeyRecord>), Problem> {
        let me = node.id();
        let entries = self.ask_for_chain(node, from, me, 0).await?;
        let Answer::MyKeys(record) = self.network().ask(node, from, Request::MyKeys).await? else {
            unreachable!("answers are read as answers to their request");
        };
        Ok((entries, record.and_then(|record| KeyRecord::verify(record).ok())))
    }

    /// Makes this node what it was, as far as the nodes `from` remember, and opens it with the keys of its code. To be
    /// run [`to_the_end`](crate::blocking::to_the_end): all sessions end.
    ///
    /// # Errors
    /// [`Code::NodeNotFound`] when none of them knows it from before; [`Code::NodeUnreachable`] when none answers.
    pub async fn resume(
        &self,
        node: Arc<Node>,
        keys: RecoveryKeys,
        from: Vec<NodeId>,
    ) -> Result<Resumed, Problem> {
        let mut memory = Memory::of(&node);
        let (mut asked, mut away) = (Vec::new(), None);
        for peer in from {
            match self.ask_for_memory(&node, peer).await {
                Ok((entries, record)) => {
                    asked.push(peer);
                    memory.take(&entries, record, &keys);
                }
                Err(problem) => away = away.or(Some(problem)),
            }
        }
        if let (true, Some(problem)) = (asked.is_empty(), away) {
            return Err(problem);
        }
        let here = node.clone();
        let (keys, continued) = blocking(move || {
            let continued = continue_chain(&here, &memory, &keys)?;
            Ok((keys, continued))
        })
        .await?;
        self.reopen_with(node, keys).await?;
        Ok(Resumed { asked, continued })
    }

    /// Tells `from` how this node went on, and brings in what it holds of its vaults.
    pub async fn fetch_again(&self, from: &[NodeId]) -> Result<Vec<Came>, Problem> {
        let Some(node) = self.node() else {
            return Err(crate::door::locked());
        };
        let mut all: BTreeMap<_, Came> = BTreeMap::new();
        for peer in from {
            self.tell_chain(&node, *peer).await;
            self.look_at_chain(*peer).await;
            match self.bring_shared(&node, *peer).await {
                Ok(came) => {
                    for came in came {
                        let is_better = all
                            .get(&came.vault)
                            .is_none_or(|known| known.problem.is_some() && came.problem.is_none());
                        if is_better {
                            all.insert(came.vault, came);
                        }
                    }
                }
                Err(problem) => tracing::info!(%peer, "its vaults did not come: {problem}"),
            }
        }
        let here = node.clone();
        blocking(move || find_first_record(&here)).await?;
        self.follow_principals().await;
        self.keep_in_step().await;
        Ok(all.into_values().collect())
    }
}

#[cfg(test)]
mod tests {
    use polykey_core::Key;
    use polykey_core::random::OsRandom;
    use polykey_core::recovery::RecoveryCode;
    use polykey_core::sign::SigningKey;
    use polykey_trust::identity::IdentityId;
    use polykey_trust::sigchain::verify_entries;

    use super::*;
    use crate::chains::cast::Life;
    use crate::peer::bench::Bench;

    /// The entries as somebody shows them.
    fn verified(node: NodeId, chain: &Chain) -> Vec<Claim> {
        let entries = chain.entries().iter().map(|claim| claim.as_bytes().to_vec());
        verify_entries(node, entries.collect()).expect("a chain")
    }

    /// A life that a bench was made anew from, which said something before.
    fn restored() -> (Bench, Life, Chain) {
        let code = RecoveryCode::generate(&OsRandom);
        let life = Life::of(code.keys());
        let chain = life.saying(&["a", "b"]);
        let bench = Bench::restored(&code.words());
        assert_eq!(bench.id(), life.node());
        (bench, life, chain)
    }

    fn memory(node: &Node, life: &Life, chain: &Chain) -> Memory {
        let mut memory = Memory::of(node);
        memory.take(
            &verified(life.node(), chain),
            Some(life.record.clone()),
            &life.keys,
        );
        memory
    }

    #[test]
    fn the_chain_goes_on_where_it_was_and_others_take_it() {
        let (bench, life, chain) = restored();
        let node = bench.node();
        let mut theirs = chain.clone();
        assert!(node.is_restored.load(Ordering::Acquire));
        assert_eq!(
            continue_chain(&node, &memory(&node, &life, &chain), &life.keys),
            Ok(true)
        );
        let ours = node
            .db
            .read(|tx| book::known_chain(tx, &node.id()))
            .expect("there");
        let names: Vec<_> = ours.entries().iter().map(|claim| claim.body().name()).collect();
        assert_eq!(
            names,
            ["start", "link-identity", "link-identity", "resume", "key-record"]
        );
        let merged = theirs.merge(ours.entries()).expect("a chain");
        assert_eq!(merged, polykey_trust::sigchain::Merged::Extended { from: 3 });
        // The rows say the same, so that the node opens with them.
        let records = node.db.read(|tx| tx.group(IDENTITY, KEY_RECORDS)).expect("there");
        let records: Vec<_> = records
            .into_iter()
            .map(|(_, record)| KeyRecord::verify(record.expose().to_vec()).expect("a record"))
            .collect();
        assert!(records[0] == life.record && records[1].follows(&records[0]));
        assert_eq!(records[1].encryption(), &node.encryption.public());
        let flag = node
            .db
            .read(|tx| tx.value(IDENTITY, RESTORED, b""))
            .expect("reads");
        assert!(flag.is_none());
    }

    #[test]
    fn a_second_beginning_gives_way_to_the_first() {
        let (bench, life, chain) = restored();
        let node = bench.node();
        begin_anew(&node).expect("noted");
        let identity: IdentityId = "github.com:other".parse().expect("an identity");
        crate::links::say(&node, &Body::Identity(identity)).expect("said");
        let own = || {
            let read = node.db.read(|tx| book::known_chain(tx, &node.id()));
            read.expect("there")
        };
        let second = own();
        // One who met it since, and one who remembers it.
        let mut both = Memory::of(&node);
        both.take(&verified(life.node(), &second), None, &life.keys);
        both.take(
            &verified(life.node(), &chain),
            Some(life.record.clone()),
            &life.keys,
        );
        assert_eq!(continue_chain(&node, &both, &life.keys), Ok(true));
        let names: Vec<_> = own().entries().iter().map(|claim| claim.body().name()).collect();
        assert_eq!(
            names,
            ["start", "link-identity", "link-identity", "resume", "key-record"]
        );
        // Both take it.
        for mut known in [chain, second.clone()] {
            known.merge(own().entries()).expect("a chain");
            assert_eq!(known, own());
        }
        // Who has not heard of it since does not turn it back.
        let resumed = own();
        let mut late = Memory::of(&node);
        late.take(&verified(life.node(), &second), None, &life.keys);
        assert_eq!(continue_chain(&node, &late, &life.keys), Ok(false));
        assert_eq!(own(), resumed);
    }

    #[test]
    fn what_nobody_remembers_or_another_made_up_is_not_continued() {
        let (bench, life, chain) = restored();
        let node = bench.node();
        let code = |done: Result<bool, Problem>| done.map_err(|problem| problem.code);
        let nothing = Memory::of(&node);
        assert_eq!(
            code(continue_chain(&node, &nothing, &life.keys)),
            Err(Code::NodeNotFound)
        );
        // A chain with another recovery key.
        let thief = Life::of(RecoveryKeys {
            root: SigningKey::from_seed(&Key::copy_of(life.keys.root.expose_seed())),
            ..RecoveryCode::generate(&OsRandom).keys()
        });
        let mut made_up = Memory::of(&node);
        made_up.take(
            &verified(life.node(), &thief.chain()),
            Some(thief.record.clone()),
            &life.keys,
        );
        assert_eq!(
            code(continue_chain(&node, &made_up, &life.keys)),
            Err(Code::NodeNotFound)
        );
        // Somebody shows less, in whichever order: the longer one holds.
        let mut both = Memory::of(&node);
        for shown in [&life.chain(), &chain, &life.saying(&["a"])] {
            both.take(&verified(life.node(), shown), None, &life.keys);
        }
        assert_eq!(both.chain.as_ref().map(|chain| chain.entries().len()), Some(3));
        assert_eq!(code(continue_chain(&node, &both, &life.keys)), Ok(true));
    }

    #[test]
    fn a_node_that_named_a_successor_does_not_come_back() {
        let (bench, life, _) = restored();
        let next = Life::new();
        let mut chain = life.chain();
        chain.push(Claim::from(life.names(&next))).expect("fits");
        let node = bench.node();
        let done = continue_chain(&node, &memory(&node, &life, &chain), &life.keys);
        assert_eq!(done.map_err(|problem| problem.code), Err(Code::NotAllowed));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_node_shows_no_chain_before_it_knows_its_own() {
        let (bench, life, _) = restored();
        let node = bench.node();
        let identity: IdentityId = "github.com:a".parse().expect("an identity");
        let request = Request::Chain {
            node: life.node(),
            from: 0,
        };
        let ask = async || {
            let (answer, _) = bench.say(Life::new().node(), &request.encode()).await;
            Answer::decode(&request, &answer).expect("an answer")
        };
        assert!(matches!(ask().await, Answer::Refused(..)));
        assert!(crate::links::say(&node, &Body::Identity(identity.clone())).is_err());
        begin_anew(&node).expect("noted");
        assert!(matches!(ask().await, Answer::Chain(claims) if claims.len() == 1));
        assert!(crate::links::say(&node, &Body::Identity(identity)).is_ok());
    }
}
