//! The calls that bring vaults from other nodes: scan, clone, pull, sync.
//!
//! A pull takes its time, so it tells how far it is: one line a step, and one with the outcome. Whoever asked
//! and goes away ends it; what came is kept.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use polykey_api::exchange::{CloneVault, OfferItem, OfferList, PullVaults, Step, SyncVaults};
use polykey_api::nodes::OneNode;
use polykey_api::{Code, Problem};
use polykey_core::statement::{Kind, Statement};
use polykey_core::{NodeId, VaultId};
use polykey_vault::charter::Role;
use polykey_vault::sync::{self, PullReport, Replica};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::agent::Agent;
use crate::blocking::blocking;
use crate::door::{Action, Caller};
use crate::follow::bring::bring_in;
use crate::gestalts::named;
use crate::network::Running;
use crate::node::Node;
use crate::peer::{Answer, AskError, Offer, Refusal, Request};
use crate::replicas::{Place, Trouble, keep, kept};
use crate::vaults::problem::vault_problem;

/// Steps on their way to the caller.
const ON_THE_WAY: usize = 16;
/// `sync` does not wait longer for the others to have taken what is here.
const LEVEL_TIME: Duration = Duration::from_secs(30);

/// The vaults that another node shares with this one.
pub async fn scan(agent: Agent, caller: Caller, q: OneNode) -> Result<OfferList, Problem> {
    let pass = agent
        .enter(&caller, Action::new("vaults.scan").target(&q.who))
        .await?;
    let node = pass.node().clone();
    let who = named::node(&node, &q.who).await?;
    let mut offers = offers(&agent, &node, who).await?;
    offers.sort_by(|a, b| (&a.name, a.vault.as_bytes()).cmp(&(&b.name, b.vault.as_bytes())));
    let offers = offers.into_iter().map(|offer| OfferItem {
        vault_name: offer.name,
        vault_id_encoded: offer.vault.to_string(),
        vault_permissions: permissions(offer.role),
    });
    Ok(OfferList {
        offers: offers.collect(),
    })
}

/// The role, and what the reference calls it.
pub fn permissions(role: Role) -> Vec<String> {
    let all: &[&str] = match role {
        Role::Keeper => &["pull"],
        _ => &["clone", "pull"],
    };
    let all = all.iter().copied().chain([role.name()]);
    all.map(str::to_owned).collect()
}

async fn offers(agent: &Agent, node: &Node, who: NodeId) -> Result<Vec<Offer>, Problem> {
    match agent.network().ask(node, who, Request::Scan).await? {
        Answer::Offers(offers) => Ok(offers),
        _ => unreachable!("answers are read as answers to their request"),
    }
}

/// Brings in a vault of another node.
pub async fn clone(agent: Agent, caller: Caller, q: CloneVault) -> Result<mpsc::Receiver<Step>, Problem> {
    let mut action = Action::new("vaults.clone").vault(&q.vault);
    action.targets.extend(q.who.clone());
    let pass = agent.enter(&caller, action).await?;
    let node = pass.node().clone();
    let who = match &q.who {
        Some(who) => named::node(&node, who).await?,
        None => sharer(&node, &q.vault)?,
    };
    let vault = begin_clone(&agent, &node, &q.vault, who).await?;
    let (steps, receiver) = mpsc::channel(ON_THE_WAY);
    let running = on(&agent)?;
    tokio::spawn(async move {
        let work = async {
            let mut last = bring_steps(&running, &node, vault, who, &steps).await;
            if last.problem.is_none() && node.vaults.is_kept(vault) {
                let here = node.clone();
                match blocking(move || kept::item(&here, vault)).await {
                    Ok(item) => last.kept = Some(item),
                    Err(problem) => last.problem = Some(problem.into()),
                }
            } else if last.problem.is_none() {
                let items = node.vaults.list(false).into_iter();
                last.vault = items
                    .into_iter()
                    .find(|item| item.vault_id_encoded == last.vault_id_encoded);
            } else if last.entries + last.commits == 0 {
                // Nothing came: it is as if nothing had been asked. Else the next clone goes on from here.
                let here = node.clone();
                let _ = blocking(move || match here.vaults.is_kept(vault) {
                    true => kept::let_go(&here, &vault.to_string()).map(drop),
                    false => here.vaults.give_up_joining(vault),
                })
                .await;
            }
            let _ = steps.send(last).await;
        };
        tokio::select! {
            () = work => {}
            () = steps.closed() => {}
        }
    });
    Ok(receiver)
}

/// Who told that it shares a vault of this name.
fn sharer(node: &Node, typed: &str) -> Result<NodeId, Problem> {
    let offered = node.shares.called(typed, None)?;
    match &offered[..] {
        [one] => Ok(one.from),
        [] => Err(Problem::new(
            Code::VaultNotFound,
            format!("nobody has told that it shares a vault {typed}"),
        )
        .hint("name the node as well: `polykey vaults clone <vault> <node>`")),
        _ => Err(
            Problem::new(Code::Usage, format!("several nodes share a vault {typed}"))
                .hint("name the node as well: `polykey vaults clone <vault> <node>`"),
        ),
    }
}

/// Finds the vault at the node `who` and makes an empty replica of it, or finds the one that was begun before. It is
/// kept as ciphertext where the role of this node gives no more.
///
/// # Errors
/// [`Code::VaultNotFound`] when that node shares no such vault; [`Code::Exists`]; what the other node says.
pub async fn begin_clone(
    agent: &Agent,
    node: &Arc<Node>,
    typed: &str,
    who: NodeId,
) -> Result<VaultId, Problem> {
    let offered: Vec<Offer> = offers(agent, node, who).await?;
    // A keeper knows no names, but whoever shared the vault told one.
    let told = node
        .shares
        .called(typed, None)?
        .into_iter()
        .map(|share| share.vault);
    let told: BTreeSet<VaultId> = told
        .filter(|id| offered.iter().any(|offer| offer.vault == *id))
        .collect();
    let only = (told.len() == 1).then(|| told.first().copied()).flatten();
    let id = typed.parse::<VaultId>().ok().or(only);
    let named: Vec<&Offer> = offered.iter().filter(|offer| offer.name == typed).collect();
    let vault = match (&named[..], id) {
        ([offer], _) => offer.vault,
        ([_, _, ..], _) => {
            return Err(Problem::new(
                Code::Usage,
                format!(
                    "the node {} shares several vaults called {typed}",
                    node.contacts.title(&who)
                ),
            )
            .hint("name it by its id; `polykey vaults scan` shows it"));
        }
        ([], Some(id)) => id,
        // The same as for one that is there and not shared.
        ([], None) => {
            return Err(Problem::new(
                Code::NotAllowed,
                format!(
                    "the node {} has no vault {typed} for this node",
                    node.contacts.title(&who)
                ),
            )
            .hint("`polykey vaults scan` shows what it shares"));
        }
    };
    let Answer::Genesis(beginning) = agent.network().ask(node, who, Request::Genesis(vault)).await? else {
        unreachable!("answers are read as answers to their request");
    };
    let broken = || {
        Problem::new(
            Code::Protocol,
            format!(
                "the node {} shows another vault than it was asked for",
                node.contacts.title(&who)
            ),
        )
    };
    let genesis = Statement::verify(Kind::Charter, beginning.genesis).map_err(|_| broken())?;
    if VaultId::from(genesis.id()) != vault {
        return Err(broken());
    }
    let here = node.clone();
    blocking(move || {
        here.contacts.meet(who)?;
        if !beginning.role.reads() {
            return keep::keep_by_choice(&here, who, &genesis);
        }
        let told = here.shares.called(&vault.to_string(), None)?;
        let name = match (&*beginning.name, told.first()) {
            ("", Some(share)) => share.name.as_str(),
            ("", None) => "cloned",
            (name, _) => name,
        };
        here.vaults.begin_joining(name, &genesis)
    })
    .await
}

/// Brings in what other members have.
pub async fn pull(agent: Agent, caller: Caller, q: PullVaults) -> Result<mpsc::Receiver<Step>, Problem> {
    let mut action = Action::new("vaults.pull");
    action.vault.clone_from(&q.vault);
    action.targets.extend(q.who.clone());
    let pass = agent.enter(&caller, action).await?;
    exchange(&agent, pass.node(), q.vault, q.who, false).await
}

/// Brings in what other members have, and has them do the same.
pub async fn sync(agent: Agent, caller: Caller, q: SyncVaults) -> Result<mpsc::Receiver<Step>, Problem> {
    let mut action = Action::new("vaults.sync");
    action.vault.clone_from(&q.vault);
    let pass = agent.enter(&caller, action).await?;
    exchange(&agent, pass.node(), q.vault, None, true).await
}

/// A vault, and those to bring it level with.
struct Round {
    vault: VaultId,
    members: Vec<NodeId>,
    /// Only when it goes both ways.
    folders: Vec<Place>,
}

async fn exchange(
    agent: &Agent,
    node: &Arc<Node>,
    vault: Option<String>,
    who: Option<String>,
    both_ways: bool,
) -> Result<mpsc::Receiver<Step>, Problem> {
    let who = match who {
        Some(who) => Some(named::node(node, &who).await?),
        None => None,
    };
    let here = node.clone();
    let rounds = blocking(move || rounds(&here, vault.as_deref(), who, both_ways)).await?;
    let running = match on(agent) {
        Ok(running) => Some(running),
        // A folder needs no network, and a vault that nobody else holds needs nobody.
        Err(problem) if !rounds.is_empty() && rounds.iter().all(|round| round.folders.is_empty()) => {
            return Err(problem);
        }
        Err(_) => None,
    };
    let (steps, receiver) = mpsc::channel(ON_THE_WAY);
    let together = Together {
        agent: agent.clone(),
        node: node.clone(),
        running,
        steps: steps.clone(),
    };
    tokio::spawn(async move {
        let work = async {
            let pulled = together.take_all(&rounds).await;
            if both_ways {
                let folders = together.bring_folders(rounds).await;
                together.level_all(pulled).await;
                for last in folders {
                    together.tell(last).await;
                }
            } else {
                for (_, _, last) in pulled {
                    together.tell(last).await;
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = steps.closed() => {}
        }
    });
    Ok(receiver)
}

fn rounds(
    node: &Node,
    vault: Option<&str>,
    who: Option<NodeId>,
    both_ways: bool,
) -> Result<Vec<Round>, Problem> {
    let ids = match vault {
        Some(typed) => vec![node.vaults.open(typed)?.id],
        None => node.vaults.ids(),
    };
    let mut rounds = Vec::new();
    for id in ids {
        let open = match node.vaults.open_id(id) {
            Ok(open) => open,
            // One that is absent does not keep the others from it.
            Err(_) if vault.is_none() => continue,
            Err(problem) => return Err(problem),
        };
        let charter = open
            .vault
            .charter()
            .map_err(|error| vault_problem(&open.name, error))?;
        let members = charter.members().into_iter().map(|member| member.node);
        let members: Vec<_> = match who {
            Some(who) if vault.is_some() => vec![who],
            Some(who) => members.filter(|member| *member == who).collect(),
            None => members
                .filter(|member| *member != node.id() && open.vault.me() != Some(*member))
                .collect(),
        };
        let mut folders = Vec::new();
        if both_ways {
            let copies = node.replicas.of(id)?.into_iter().map(|copy| copy.place);
            folders.extend(copies.filter(|place| matches!(place, Place::Folder(_))));
        }
        if !members.is_empty() || !folders.is_empty() {
            rounds.push(Round {
                vault: id,
                members,
                folders,
            });
        }
    }
    Ok(rounds)
}

/// The work of one `pull` or `sync`.
#[derive(Clone)]
struct Together {
    agent: Agent,
    node: Arc<Node>,
    running: Option<Arc<Running>>,
    steps: mpsc::Sender<Step>,
}

impl Together {
    async fn tell(&self, step: Step) {
        // Nobody listens any more only when the work is given up anyway.
        let _ = self.steps.send(step).await;
    }

    /// Pulls from all members at once; the last step of each, not told yet.
    async fn take_all(&self, rounds: &[Round]) -> Vec<(VaultId, NodeId, Step)> {
        let mut all = JoinSet::new();
        for round in rounds {
            for member in &round.members {
                let (this, vault, member) = (self.clone(), round.vault, *member);
                all.spawn(async move { (vault, member, this.take(vault, member).await) });
            }
        }
        let mut pulled = Vec::new();
        while let Some(done) = all.join_next().await {
            pulled.extend(done.ok());
        }
        pulled
    }

    async fn take(&self, vault: VaultId, member: NodeId) -> Step {
        match &self.running {
            Some(running) => bring_steps(running, &self.node, vault, member, &self.steps).await,
            None => Step {
                done: true,
                problem: on(&self.agent).err().map(Into::into),
                ..member_step(&self.node, vault, member)
            },
        }
    }

    /// Brings the folders level, after what members had has come; the last step of each.
    async fn bring_folders(&self, rounds: Vec<Round>) -> Vec<Step> {
        let mut last = Vec::new();
        for Round { vault, folders, .. } in rounds {
            for place in folders {
                let here = self.node.clone();
                let brought = blocking(move || folder_step(&here, vault, &place));
                match brought.await {
                    Ok(step) => last.push(step),
                    Err(problem) => last.push(Step {
                        vault_id_encoded: vault.to_string(),
                        done: true,
                        problem: Some(problem.into()),
                        ..Step::default()
                    }),
                }
            }
        }
        last
    }

    /// Has the members that were reached take what is here, waits for them, for [`LEVEL_TIME`] at most, and tells
    /// how it ended.
    async fn level_all(&self, pulled: Vec<(VaultId, NodeId, Step)>) {
        let mut all = JoinSet::new();
        for (vault, member, mut last) in pulled {
            let this = self.clone();
            all.spawn(async move {
                let running = this.running.clone().filter(|_| last.problem.is_none());
                if let Some(running) = running {
                    let levelled = level_one(&running, &this, vault, member, &last);
                    match tokio::time::timeout(LEVEL_TIME, levelled).await {
                        Ok(Ok(Levelled::Whole)) => {}
                        Ok(Ok(Levelled::NoRoom)) => {
                            last.warning = Some(no_room_there(&last.node, &last.vault_name).into());
                        }
                        Ok(Err(problem)) => last.problem = Some(problem.into()),
                        Err(_) => last.problem = Some(not_level(&last.node, &last.vault_name).into()),
                    }
                }
                this.tell(last).await;
            });
        }
        while all.join_next().await.is_some() {}
    }
}

fn not_level(title: &str, vault: &str) -> Problem {
    Problem::new(
        Code::Busy,
        format!("the node {title} has not taken all of the vault {vault} yet"),
    )
    .hint("it goes on by itself; `polykey vaults status` shows how far it is")
}

/// A keeper that has no room answered all the same.
fn no_room_there(title: &str, vault: &str) -> Problem {
    Problem::new(
        Code::DiskFull,
        format!("the node {title} has no room left for the vault {vault}: its copy lacks what is new"),
    )
    .hint("its user can raise `keeper.quota` there, or drop other vaults")
}

/// How a member ended that was asked to take what is here.
enum Levelled {
    /// It has all of it.
    Whole,
    /// It keeps the vault, and has no room for more.
    NoRoom,
}

fn folder_step(node: &Node, vault: VaultId, place: &Place) -> Result<Step, Problem> {
    let open = node.vaults.open_id(vault)?;
    let brought = node.replicas.bring(&open, place).map_err(|problem| match place {
        // Where no folder is, nothing can be reached.
        Place::Folder(path) if !path.is_dir() => Problem {
            code: Code::NodeUnreachable,
            ..problem
        },
        _ => problem,
    });
    Ok(Step {
        vault_name: open.name,
        vault_id_encoded: vault.to_string(),
        node: place.show(),
        commits: brought.as_ref().map_or(0, |synced| synced.commits),
        done: true,
        problem: brought.err().map(Into::into),
        ..Step::default()
    })
}

async fn level_one(
    running: &Arc<Running>,
    of: &Together,
    vault: VaultId,
    member: NodeId,
    last: &Step,
) -> Result<Levelled, Problem> {
    let node = &of.node;
    let mut wait = Duration::from_millis(20);
    loop {
        let here = node.clone();
        let ours = blocking(move || {
            let open = here.vaults.open_id(vault)?;
            sync::announce(&*open.vault).map_err(|error| vault_problem(&open.name, error))
        })
        .await?;
        let (heads, tips) = (sorted(ours.heads.clone()), sorted(ours.tips.clone()));
        let is_whole = match running.ask(member, Request::Announce(ours)).await {
            Ok(_) => true,
            // It lacks content; if it was locked since it was pulled from, the next pull says so.
            Err(AskError::Refused {
                refusal: Refusal::Unavailable,
                ..
            }) => false,
            Err(AskError::Refused {
                refusal: Refusal::NoRoom,
                ..
            }) => {
                node.replicas.note_trouble(vault, member, Some(Trouble::NoRoom));
                return Ok(Levelled::NoRoom);
            }
            Err(error) => return Err(error.problem(&node.contacts.title(&member))),
        };
        let seen = bring_in(running, node, member, vault, |_, _| {})
            .await?
            .report
            .seen;
        if is_whole && sorted(seen.heads) == heads && sorted(seen.tips) == tips {
            return Ok(Levelled::Whole);
        }
        let step = Step {
            levelling: true,
            done: false,
            ..last.clone()
        };
        let _ = of.steps.try_send(step);
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(1));
    }
}

fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort_unstable();
    list
}

fn on(agent: &Agent) -> Result<Arc<Running>, Problem> {
    let network = agent.network();
    network.running().ok_or_else(|| {
        network
            .failure()
            .unwrap_or_else(|| Problem::new(Code::NodeUnreachable, "this node is not on the network"))
    })
}

fn member_step(node: &Node, vault: VaultId, member: NodeId) -> Step {
    Step {
        vault_id_encoded: vault.to_string(),
        node_id_encoded: member.to_string(),
        node: node.contacts.title(&member),
        ..Step::default()
    }
}

/// Pulls, tells of each step, and gives the last one.
async fn bring_steps(
    running: &Arc<Running>,
    node: &Arc<Node>,
    vault: VaultId,
    from: NodeId,
    steps: &mpsc::Sender<Step>,
) -> Step {
    let mut step = member_step(node, vault, from);
    step.dialling = !running.is_connected(&from);
    let _ = steps.try_send(step.clone());
    let told = |name: &str, report: &PullReport| {
        step.vault_name = name.to_owned();
        step.dialling = !running.is_connected(&from);
        count(&mut step, report);
        // A caller that is slow to read misses steps, never the last one.
        let _ = steps.try_send(step.clone());
    };
    let brought = bring_in(running, node, from, vault, told).await;
    (step.done, step.dialling) = (true, false);
    match brought {
        Ok(brought) => {
            step.vault_name.clone_from(&brought.name);
            count(&mut step, &brought.report);
            step.problem = brought.problem.map(Into::into);
        }
        Err(problem) => step.problem = Some(problem.into()),
    }
    step
}

fn count(step: &mut Step, report: &PullReport) {
    step.commits = report.commits;
    step.objects = report.objects;
    step.entries = report.entries;
}
