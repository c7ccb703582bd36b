//! Following: vaults reach all their members by themselves.
//!
//! One task wakes up for what is on one page, [`Follower::run`]: news of this node and of others ([`News`]), the
//! end of work that it began, and the time to dial again. It knows the *circle* of each vault, its other
//! members. A change here is announced to those that are connected; an announcement, and a connection, make it
//! pull; what a pull brings is a change here, and is announced in its turn, so that news pass from A through B
//! to C although A is gone. Members that are not connected are dialled again and again, ever less often, and at once
//! when another member tells where they are.
//!
//! Always: what runs here ends with the network; a vault is pulled from a node once at a time, and again after a
//! panic; a vault is opened on threads for blocking work.

pub mod bring;
pub mod fresh;
mod news;
mod places;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use polykey_api::Problem;
use polykey_core::random::{OsRandom, random_array};
use polykey_core::{NodeId, VaultId};
use polykey_vault::charter::Role;
use polykey_vault::sync::{self, Announcement, Replica};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

pub use news::{Batch, News};

use crate::agent::Agent;
use crate::blocking::blocking;
use crate::chains::succession::Succeeded;
use crate::devices::principals;
use crate::failure;
use crate::network::Running;
use crate::vaults::problem::vault_problem;
use bring::{Brought, bring_in};
use places::Places;

/// A member that cannot be reached is dialled again after this long at first, then after twice as long each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// It is never left alone for longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// All members that are connected are pulled from this often, in case an announcement was lost.
const LOOK_AGAIN: Duration = Duration::from_secs(300);
/// Post and shares that wait are looked at this long after the last time; each has a wait of its own besides.
const ERRANDS: Duration = Duration::from_secs(60);
/// Looks at vaults that run at a time.
const LOOKS: usize = 8;

/// The other members of a vault.
type Circle = BTreeMap<NodeId, Role>;

/// What a look at a vault found.
struct Survey {
    circle: Circle,
    announcement: Announcement,
    /// Nodes that took the place of members, which the charter here does not say yet.
    successors: Vec<NodeId>,
}

/// What work was begun for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Task {
    Survey(VaultId),
    Pull(VaultId, NodeId),
    Dial(NodeId),
    Errands,
    /// What happens again by itself when there is a reason for it.
    Once,
}

/// Work that came to its end.
enum Done {
    Surveyed(VaultId, Result<Option<Survey>, Problem>),
    Pulled(VaultId, NodeId, Result<Brought, Problem>),
    Dialled(NodeId, bool),
    /// Another told where these may be.
    Heard(BTreeSet<NodeId>),
    RanErrands,
    /// A node took the place of another.
    Succeeded(Option<Succeeded>),
    Ran,
    /// It panicked.
    Panicked(Task),
    /// It panicked a while ago, and is begun again.
    Again(Task),
}

/// When a member is to be dialled.
struct Dialling {
    at: Instant,
    wait: Duration,
    under_way: bool,
}

/// Runs until the network stops.
pub async fn run(running: Arc<Running>, agent: Agent, stop: watch::Receiver<bool>) {
    Follower::new(running, agent).run(stop).await;
}

struct Follower {
    running: Arc<Running>,
    agent: Agent,
    /// Looks at vaults do not wait for other nodes, so pulls do not take their places.
    looks: Arc<Semaphore>,
    places: Places,
    circles: HashMap<VaultId, Circle>,
    dialling: HashMap<NodeId, Dialling>,
    /// Vaults that are being looked at; true when to be looked at again.
    surveys: HashMap<VaultId, bool>,
    /// Pulls that run; true when there is more news already.
    pulls: HashMap<(VaultId, NodeId), bool>,
    /// When errands are run next; none while they are.
    errands: Option<Instant>,
    /// Work that panicked, and how long it waits when it does so again.
    panics: HashMap<Task, Duration>,
    work: JoinSet<Done>,
}

impl Follower {
    fn new(running: Arc<Running>, agent: Agent) -> Follower {
        Follower {
            running,
            agent,
            looks: Arc::new(Semaphore::new(LOOKS)),
            places: Places::default(),
            circles: HashMap::new(),
            dialling: HashMap::new(),
            surveys: HashMap::new(),
            pulls: HashMap::new(),
            errands: Some(Instant::now()),
            panics: HashMap::new(),
            work: JoinSet::new(),
        }
    }

    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        self.survey_all();
        let mut look_again = Instant::now() + LOOK_AGAIN;
        loop {
            let news = self.running.news().clone();
            let dial = self.next_dial();
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                // Panics are caught where the work begins, and nothing is aborted but all of it.
                Some(Ok(done)) = self.work.join_next() => self.take_done(done),
                batch = news.next() => self.take_news(batch),
                () = sleep_until(dial.unwrap_or(look_again)), if dial.is_some() => self.dial(),
                () = sleep_until(self.errands.unwrap_or(look_again)), if self.errands.is_some() => {
                    self.begin_errands();
                }
                () = sleep_until(look_again) => {
                    look_again = Instant::now() + LOOK_AGAIN;
                    for node in self.running.connected() {
                        self.pull_all_from(node);
                    }
                }
            }
        }
    }

    /// Begins work whose panics are its own: what it was for does not count as under way for ever.
    fn begin(&mut self, task: Task, work: impl Future<Output = Done> + Send + 'static) {
        self.work.spawn(async move {
            let ended = AssertUnwindSafe(work).catch_unwind().await;
            ended.unwrap_or(Done::Panicked(task))
        });
    }

    /// Work panicked. What nothing else would begin again is tried after a wait, ever less often, and counts as under
    /// way until then, so that news do not make it panic all the time.
    fn take_panic(&mut self, task: Task) {
        tracing::error!(?task, "work that follows vaults panicked");
        match task {
            Task::Survey(_) | Task::Pull(..) => {
                let next = self.panics.entry(task).or_insert(FIRST_WAIT);
                let wait = *next;
                *next = (wait * 2).min(LONGEST_WAIT);
                self.begin(Task::Once, async move {
                    sleep(jittered(wait)).await;
                    Done::Again(task)
                });
            }
            Task::Dial(node) => self.take_done(Done::Dialled(node, false)),
            Task::Errands => self.take_done(Done::RanErrands),
            Task::Once => {}
        }
    }

    fn begin_again(&mut self, task: Task) {
        match task {
            Task::Survey(vault) => {
                self.surveys.remove(&vault);
                self.survey(vault);
            }
            Task::Pull(vault, node) => {
                self.pulls.remove(&(vault, node));
                self.pull(vault, node);
            }
            Task::Dial(_) | Task::Errands | Task::Once => {}
        }
    }

    /// Nodes that cannot be reached take their time: a round may last longer than the time between two, and the
    /// next one waits for it.
    fn begin_errands(&mut self) {
        self.errands = None;
        let agent = self.agent.clone();
        self.begin(Task::Errands, async move {
            agent.settle_shares(None).await;
            agent.deliver_post(None).await;
            agent.keep_in_step().await;
            Done::RanErrands
        });
    }

    fn take_news(&mut self, batch: Batch) {
        for vault in batch.changed {
            if !self.running.tells_later(&vault) {
                self.survey(vault);
            }
        }
        for (node, vault) in batch.heard {
            self.pull(vault, node);
        }
        for node in batch.connected {
            self.dialling.remove(&node);
            self.pull_all_from(node);
            self.agent.run_errands(node);
            let agent = self.agent.clone();
            self.begin(Task::Once, async move {
                agent.present_succession(node).await;
                agent.look_at_chain(node).await;
                agent.bring_from_device(node).await;
                Done::Ran
            });
            let running = self.running.clone();
            self.begin(
                Task::Once,
                async move { Done::Heard(running.hear_from(node).await) },
            );
        }
        for node in batch.gone {
            self.dial_soon(node);
        }
        for line in batch.successions {
            let agent = self.agent.clone();
            self.begin(Task::Once, async move {
                Done::Succeeded(agent.follow_succession(line).await)
            });
        }
        for former in batch.elsewhere {
            let agent = self.agent.clone();
            self.begin(Task::Once, async move {
                agent.seek_successor(former).await;
                Done::Ran
            });
        }
    }

    fn take_done(&mut self, done: Done) {
        match done {
            Done::Surveyed(vault, survey) => {
                self.panics.remove(&Task::Survey(vault));
                match survey {
                    Ok(Some(survey)) => self.take_survey(vault, survey),
                    Ok(None) => {
                        self.circles.remove(&vault);
                    }
                    Err(problem) => tracing::warn!(%vault, "not followed: {problem}"),
                }
                if self.surveys.remove(&vault) == Some(true) {
                    self.survey(vault);
                }
            }
            Done::Pulled(vault, node, brought) => {
                self.panics.remove(&Task::Pull(vault, node));
                if let Ok(brought) = &brought
                    && self.is_keeper(&vault, &node)
                {
                    let (agent, report) = (self.agent.clone(), brought.report.clone());
                    self.begin(Task::Once, async move {
                        agent.tell_keeper(node, vault, &report).await;
                        Done::Ran
                    });
                }
                match brought {
                    Ok(Brought {
                        problem: Some(problem),
                        ..
                    })
                    | Err(problem) => tracing::debug!(%node, %vault, "not pulled: {problem}"),
                    Ok(brought) => {
                        tracing::debug!(%node, %vault, commits = brought.report.commits, "pulled");
                    }
                }
                if self.pulls.remove(&(vault, node)) == Some(true) {
                    self.pull(vault, node);
                }
            }
            Done::Dialled(node, true) => {
                self.dialling.remove(&node);
            }
            Done::Dialled(node, false) => {
                if let Some(dialling) = self.dialling.get_mut(&node) {
                    dialling.under_way = false;
                    dialling.at = Instant::now() + jittered(dialling.wait);
                    dialling.wait = (dialling.wait * 2).min(LONGEST_WAIT);
                }
            }
            Done::Heard(news) => {
                for node in news {
                    self.dial_now(node);
                }
            }
            // Its vaults tell that its roles went on; nobody else may have that yet.
            Done::Succeeded(Some(Succeeded { former, next })) => {
                let with_former = self
                    .circles
                    .iter()
                    .filter(|(_, circle)| circle.contains_key(&former));
                let vaults: Vec<VaultId> = with_former.map(|(vault, _)| *vault).collect();
                for vault in vaults {
                    self.pull(vault, next);
                }
            }
            Done::Ran | Done::Succeeded(None) => {}
            Done::Panicked(task) => self.take_panic(task),
            Done::Again(task) => self.begin_again(task),
            Done::RanErrands => self.errands = Some(Instant::now() + ERRANDS),
        }
    }

    /// Looks at all vaults, to know whom to dial.
    fn survey_all(&mut self) {
        if let Some(node) = self.agent.node() {
            for vault in (node.vaults.ids().into_iter())
                .chain(node.vaults.joining())
                .chain(node.vaults.hidden())
                .chain(node.vaults.kept())
            {
                self.survey(vault);
            }
        }
    }

    fn survey(&mut self, vault: VaultId) {
        if let Some(again) = self.surveys.get_mut(&vault) {
            *again = true;
            return;
        }
        self.surveys.insert(vault, false);
        let (agent, looks) = (self.agent.clone(), self.looks.clone());
        self.begin(Task::Survey(vault), async move {
            let _place = looks.acquire_owned().await;
            let found = blocking(move || look_at(&agent, vault)).await;
            Done::Surveyed(vault, found)
        });
    }

    fn take_survey(&mut self, vault: VaultId, survey: Survey) {
        let Survey {
            circle,
            announcement,
            successors,
        } = survey;
        let before = self.circles.insert(vault, circle.clone()).unwrap_or_default();
        let connected: BTreeSet<NodeId> = self.running.connected().into_iter().collect();
        for node in circle.keys().filter(|node| !before.contains_key(*node)) {
            if connected.contains(node) {
                // It was a stranger when it came.
                let (running, node) = (self.running.clone(), *node);
                self.begin(Task::Once, async move {
                    running.note_place(node).await;
                    Done::Ran
                });
                self.pull(vault, node);
            } else {
                self.dial_soon(*node);
            }
        }
        for node in successors.into_iter().filter(|node| connected.contains(node)) {
            self.pull(vault, node);
        }
        // Those that were just removed are told as well: their own pull shows them the removal.
        let told = circle
            .keys()
            .chain(before.keys().filter(|node| !circle.contains_key(*node)));
        let told: Vec<NodeId> = told.filter(|node| connected.contains(*node)).copied().collect();
        for node in told {
            let (agent, announcement) = (self.agent.clone(), announcement.clone());
            self.begin(Task::Once, async move {
                agent.announce_to(node, announcement).await;
                Done::Ran
            });
        }
    }

    fn pull_all_from(&mut self, node: NodeId) {
        let vaults: Vec<VaultId> = self
            .circles
            .iter()
            .filter(|(_, circle)| circle.contains_key(&node))
            .map(|(vault, _)| *vault)
            .collect();
        for vault in vaults {
            self.pull(vault, node);
        }
    }

    fn pull(&mut self, vault: VaultId, from: NodeId) {
        if let Some(again) = self.pulls.get_mut(&(vault, from)) {
            *again = true;
            return;
        }
        let Some(node) = self.agent.node() else { return };
        self.pulls.insert((vault, from), false);
        let (running, place) = (self.running.clone(), self.places.wait_for(from));
        self.begin(Task::Pull(vault, from), async move {
            let _place = place.await;
            let brought = bring_in(&running, &node, from, vault, |_, _| {}).await;
            Done::Pulled(vault, from, brought)
        });
    }

    fn is_keeper(&self, vault: &VaultId, node: &NodeId) -> bool {
        let circle = self.circles.get(vault);
        circle.is_some_and(|circle| circle.get(node) == Some(&Role::Keeper))
    }

    fn is_wanted(&self, node: &NodeId) -> bool {
        self.circles.values().any(|circle| circle.contains_key(node))
    }

    fn dial_soon(&mut self, node: NodeId) {
        if node != self.running.me() && self.is_wanted(&node) {
            self.dialling.entry(node).or_insert_with(|| Dialling {
                at: Instant::now(),
                wait: FIRST_WAIT,
                under_way: false,
            });
        }
    }

    /// Dials a member that is wanted and away, whenever its turn would have been.
    fn dial_now(&mut self, node: NodeId) {
        if self.running.is_connected(&node) {
            return;
        }
        self.dial_soon(node);
        if let Some(dialling) = self.dialling.get_mut(&node) {
            dialling.at = Instant::now();
            dialling.wait = FIRST_WAIT;
        }
    }

    fn next_dial(&self) -> Option<Instant> {
        let waiting = self.dialling.values().filter(|dialling| !dialling.under_way);
        waiting.map(|dialling| dialling.at).min()
    }

    fn dial(&mut self) {
        let now = Instant::now();
        let due = self
            .dialling
            .iter()
            .filter(|(_, dialling)| !dialling.under_way && dialling.at <= now);
        let due: Vec<NodeId> = due.map(|(node, _)| *node).collect();
        for node in due {
            if !self.is_wanted(&node) {
                self.dialling.remove(&node);
                continue;
            }
            if let Some(dialling) = self.dialling.get_mut(&node) {
                dialling.under_way = true;
            }
            let running = self.running.clone();
            self.begin(Task::Dial(node), async move {
                let reached = running.connect(&node).await;
                if let Err(error) = &reached {
                    tracing::debug!(%node, %error, "not reached");
                }
                Done::Dialled(node, reached.is_ok())
            });
        }
    }
}

/// Half to one and a half of `wait`, so that nodes that lost each other do not dial in step.
fn jittered(wait: Duration) -> Duration {
    let [chance] = random_array::<1>(&OsRandom);
    wait / 2 + wait * u32::from(chance) / 256
}

/// Who shares the vault, and what is to be announced. `None` when it is not here any more. New keys are opened
/// on the way, where the charter asks for them and this node may.
fn look_at(agent: &Agent, vault: VaultId) -> Result<Option<Survey>, Problem> {
    let Some(node) = agent.node() else {
        return Ok(None);
    };
    let Ok(open) = node.vaults.open_id(vault) else {
        return Ok(None);
    };
    let wrong = |error| vault_problem(&open.name, error);
    if open.vault.needs_rekey() && open.vault.my_role().is_some_and(Role::administers) {
        open.vault.rekey(&[]).map_err(wrong)?;
    }
    match principals::follow_one(&node, &open) {
        Ok(touched) => touched.into_iter().for_each(|id| agent.run_errands(id)),
        Err(problem) => tracing::warn!(%vault, "does not follow its members' devices: {problem}"),
    }
    if node.vaults.is_hidden(vault) {
        agent.step_soon();
    }
    let me = node.id();
    let charter = open.vault.charter().map_err(wrong)?;
    let members = charter.members().into_iter();
    let circle: Circle = members
        .filter(|member| member.node != me && open.vault.me() != Some(member.node))
        .map(|member| (member.node, member.role))
        .collect();
    for member in circle.keys() {
        node.contacts.meet(*member)?;
    }
    let moved = circle.keys().filter_map(|member| node.contacts.successor(member));
    let successors: Vec<NodeId> = moved.filter(|next| !circle.contains_key(next)).collect();
    let is_in_it = |other: &NodeId| circle.contains_key(other) || successors.contains(other);
    fresh::forget_others(&node.db, &vault, is_in_it).map_err(|error| failure::store(&error))?;
    let announcement = sync::announce(&*open.vault).map_err(wrong)?;
    Ok(Some(Survey {
        circle,
        announcement,
        successors,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::bench::{Bench, stranger};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn errands_are_run_one_round_after_the_other() {
        let bench = Bench::new();
        let network = bench.agent.network();
        network.start(&bench.agent).await.expect("on");
        let mut follower = Follower::new(network.running().expect("on"), bench.agent.clone());
        for _ in 0..2 {
            assert!(follower.errands.is_some());
            follower.begin_errands();
            assert!(follower.errands.is_none(), "none begins while one is under way");
            let done = follower.work.join_next().await.expect("one").expect("no panic");
            follower.take_done(done);
        }
        network.stop().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_panicked_is_begun_again_and_waits_longer_each_time() {
        let bench = Bench::new();
        let network = bench.agent.network();
        network.start(&bench.agent).await.expect("on");
        let mut follower = Follower::new(network.running().expect("on"), bench.agent.clone());
        let (vault, node) = (VaultId::from_bytes([1; 32]), stranger().node());
        for task in [Task::Pull(vault, node), Task::Survey(vault)] {
            follower.pulls.insert((vault, node), false);
            follower.surveys.insert(vault, false);
            let is_under_way = |follower: &Follower| match task {
                Task::Survey(_) => follower.surveys.contains_key(&vault),
                _ => follower.pulls.contains_key(&(vault, node)),
            };
            follower.begin(task, async { panic!("for the test") });
            let done = follower.work.join_next().await.expect("one").expect("caught");
            assert!(matches!(done, Done::Panicked(of) if of == task));
            follower.take_done(done);
            assert!(is_under_way(&follower), "news do not begin it meanwhile");
            assert_eq!(follower.panics[&task], FIRST_WAIT * 2);
            let done = follower.work.join_next().await.expect("one").expect("caught");
            assert!(matches!(done, Done::Again(of) if of == task));
            follower.take_done(done);
            // This time it comes to an end, and all is as if nothing had been.
            let done = follower.work.join_next().await.expect("one").expect("caught");
            assert!(matches!(done, Done::Pulled(..) | Done::Surveyed(..)));
            follower.take_done(done);
            assert!(!is_under_way(&follower) && follower.panics.is_empty());
        }
        // What has a wait of its own keeps to it.
        follower.errands = None;
        follower.begin(Task::Errands, async { panic!("for the test") });
        let done = follower.work.join_next().await.expect("one").expect("caught");
        follower.take_done(done);
        assert!(follower.errands.is_some());
        network.stop().await;
    }

    #[test]
    fn the_successor_of_a_member_is_pulled_from_until_the_charter_knows_it() {
        let bench = Bench::new();
        let node = bench.node();
        node.vaults.create("work", None).expect("made");
        let vault = node.vaults.open("work").expect("open").id;
        let (former, next) = (stranger(), stranger());
        bench.grant("work", &former, Role::Writer);
        let successors = || {
            let survey = look_at(&bench.agent, vault).expect("reads").expect("there");
            survey.successors
        };
        assert_eq!(successors(), []);
        let moved = node.contacts.succeed(former.node(), next.node());
        assert_eq!(moved, Ok(true));
        assert_eq!(successors(), [next.node()]);
        bench.grant("work", &next, Role::Writer);
        assert_eq!(successors(), []);
    }

    #[test]
    fn waits_are_jittered_around_what_they_should_be() {
        for _ in 0..1000 {
            let wait = jittered(FIRST_WAIT);
            assert!(wait >= FIRST_WAIT / 2 && wait < FIRST_WAIT * 3 / 2, "{wait:?}");
        }
    }
}
