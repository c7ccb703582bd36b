//! The life of the network in the agent.
//!
//! [`Network`] is there as long as the agent. It is on while the keys are open: [`Network::start`] binds the
//! sockets and begins to serve and to [`follow`]; [`Network::stop`] says farewell and ends all of
//! it. Whoever wants something of another node asks here, whatever the way to it is.
//!
//! Always: nothing of the network holds up a command that needs none; what is off answers so at once.

mod admission;
mod hearsay;
pub mod settings;

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use polykey_api::{Code, Problem};
use polykey_core::clock::SystemClock;
use polykey_core::random::OsRandom;
use polykey_core::{Clock, NodeId, VaultId};
use polykey_net::{ConnectionInfo, Farewell, Mode, Net, NetConfig, NetError, NodeAddress, Path, Peer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::agent::Agent;
use crate::blocking::blocking;
use crate::contacts::{Contacts, Place, Source};
use crate::discovery;
use crate::failure;
use crate::follow::{self, News};
use crate::gestalts;
use crate::node::Node;
use crate::peer::frame::{Budget, FrameError};
use crate::peer::keys::NodeKeys;
use crate::peer::serve::Conduct;
use crate::peer::{Answer, Ask, AskError, Request, ask, serve_guest, serve_stream};
use crate::post::{Letter, Tray, courier};
use crate::tables::FRESH;
use admission::{Known, Rule};
use hearsay::Asked;
use settings::Settings;

/// Who is no member of a private network has so long to say whom it succeeds.
const HEARING: Duration = Duration::from_secs(5);
/// So many addresses of a contact are looked at for who answers there.
const MAX_PLACES: usize = 4;
/// Saying farewell to all may take this long.
const FAREWELL: Duration = Duration::from_millis(300);
/// Binding sockets may take this long.
const BINDING: Duration = Duration::from_secs(5);
/// Group of the port of the last time, so that those who know it find the node again.
const PORT: &[u8] = b"port";
/// Requests of one connection that are worked on at a time; the others wait at the peer.
const AT_ONCE: usize = 16;
/// Requests of all pulls that go out before the ones before them are answered: enough to keep a line and the disk
/// busy at the same time, and few enough for the memory that their answers take.
const AHEAD: usize = 5;

/// The network of an agent. Clones are one network.
#[derive(Clone)]
pub struct Network(Arc<Shared>);

struct Shared {
    settings: Settings,
    rule: Rule,
    budget: Budget,
    state: RwLock<State>,
}

#[derive(Default)]
enum State {
    #[default]
    Off,
    Failed(Problem),
    On(Arc<Running>),
}

/// The network while it is on.
pub struct Running {
    net: Net,
    contacts: Contacts,
    budget: Budget,
    news: News,
    stop: watch::Sender<bool>,
    tasks: Mutex<JoinSet<()>>,
    pulling: Mutex<HashMap<VaultId, Pulling>>,
    asked: Asked,
    /// Of which contacts it was looked who is where they were.
    sought: Asked,
    /// Nodes that are no contacts, to which our succession was shown.
    shown: Asked,
    rule: Rule,
    ahead: Arc<Semaphore>,
}

/// Pulls of one vault that run, and whether it changed meanwhile.
#[derive(Default)]
struct Pulling {
    count: usize,
    changed: bool,
}

/// A pull of a vault that runs. What comes is told when it ends, not piece by piece.
pub struct Pulls {
    running: Arc<Running>,
    vault: VaultId,
}

impl Drop for Pulls {
    fn drop(&mut self) {
        let mut pulling = self
            .running
            .pulling
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(of) = pulling.get_mut(&self.vault) else {
            return;
        };
        of.count -= 1;
        if of.count == 0 {
            let changed = of.changed;
            pulling.remove(&self.vault);
            if changed {
                self.running.news.changed(self.vault);
            }
        }
    }
}

impl Network {
    /// A network that is off.
    pub fn new(settings: Settings, budget: Budget) -> Network {
        Network(Arc::new(Shared {
            rule: Rule::new(settings.members.clone()),
            settings,
            budget,
            state: RwLock::default(),
        }))
    }

    /// Takes the open node on the network.
    ///
    /// # Errors
    /// [`Code::Busy`] when the port that the user chose is taken; [`Code::Io`]. The network is off then, and
    /// the rest of the agent goes on.
    pub async fn start(&self, agent: &Agent) -> Result<(), Problem> {
        let Some(node) = agent.node() else {
            return Ok(());
        };
        let started = self.go_on(&node).await;
        let state = match &started {
            Ok(running) => State::On(running.clone()),
            Err(problem) => {
                tracing::warn!("{problem}");
                State::Failed(problem.clone())
            }
        };
        *self.0.state.write().unwrap_or_else(PoisonError::into_inner) = state;
        if let Ok(running) = &started {
            running.begin(agent);
        }
        started.map(drop)
    }

    async fn go_on(&self, node: &Arc<Node>) -> Result<Arc<Running>, Problem> {
        let settings = &self.0.settings;
        for (seed, place) in &settings.seeds {
            if *seed != node.id() {
                node.contacts
                    .learn(*seed, std::slice::from_ref(place), Source::Added)?;
            }
        }
        let (here, rule) = (node.clone(), self.0.rule.clone());
        blocking(move || {
            rule.refresh(&here);
            Ok(())
        })
        .await?;
        let admit = Arc::new(Known {
            contacts: node.contacts.clone(),
            rule: self.0.rule.clone(),
        });
        let here = node.clone();
        let before = blocking(move || {
            let row = here.db.read(|tx| tx.value(FRESH, PORT, b""));
            let row = row.map_err(|error| failure::store(&error))?;
            let port = row.and_then(|row| row.expose().try_into().ok());
            Ok(port.map(u16::from_be_bytes))
        })
        .await?;
        // The port of the last time, else the one that the user chose, else a free one.
        let mut ports = vec![settings.port.or(before)];
        if settings.port.is_none() {
            ports.push(None);
        }
        let mut failed = None;
        for port in ports {
            let config = NetConfig {
                mode: settings.mode.clone(),
                bind: bind(settings, port),
                relays: settings.relays.clone(),
                relay_roots: settings.relay_roots.clone(),
                publish: settings.publish,
                dns_servers: settings.dns_servers.clone(),
                connect_deadline: settings.connect_deadline,
                ..NetConfig::default()
            };
            let starting = Net::start(config, &node.root, admit.clone());
            match tokio::time::timeout(BINDING, starting).await {
                Ok(Ok(net)) => {
                    let bound = net.address().direct.first().map(SocketAddr::port);
                    if bound != before
                        && let Some(bound) = bound
                    {
                        let here = node.clone();
                        let keep = move || {
                            let put = here.db.write(|tx| tx.put(FRESH, PORT, b"", &bound.to_be_bytes()));
                            put.map_err(|error| failure::store(&error))
                        };
                        blocking(keep).await?;
                    }
                    return Ok(Arc::new(Running {
                        net,
                        contacts: node.contacts.clone(),
                        budget: self.0.budget.clone(),
                        news: node.vaults.news(),
                        stop: watch::channel(false).0,
                        tasks: Mutex::default(),
                        pulling: Mutex::default(),
                        asked: Asked::default(),
                        sought: Asked::default(),
                        shown: Asked::default(),
                        rule: self.0.rule.clone(),
                        ahead: Arc::new(Semaphore::new(AHEAD)),
                    }));
                }
                Ok(Err(error)) => failed = Some(no_network(settings, port, &error)),
                Err(_) => failed = Some(Problem::new(Code::Busy, "the network did not start in time")),
            }
        }
        Err(failed.unwrap_or_else(|| Problem::new(Code::Internal, "no port was tried")))
    }

    /// Takes the node off the network: farewell to all, and nothing of it runs afterwards.
    pub async fn stop(&self) {
        let state = std::mem::take(&mut *self.0.state.write().unwrap_or_else(PoisonError::into_inner));
        if let State::On(running) = state {
            let _ = running.stop.send(true);
            running.net.close(FAREWELL).await;
            let mut tasks =
                std::mem::take(&mut *running.tasks.lock().unwrap_or_else(PoisonError::into_inner));
            tasks.shutdown().await;
        }
    }

    /// The network, when it is on.
    pub fn running(&self) -> Option<Arc<Running>> {
        match &*self.0.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::On(running) => Some(running.clone()),
            _ => None,
        }
    }

    /// Why the network is not on, when it should be.
    pub fn failure(&self) -> Option<Problem> {
        match &*self.0.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Failed(problem) => Some(problem.clone()),
            _ => None,
        }
    }

    /// True when the user chose a port to be found on.
    pub fn has_chosen_port(&self) -> bool {
        self.0.settings.port.is_some()
    }

    /// How the node takes part.
    pub fn mode(&self) -> &Mode {
        &self.0.settings.mode
    }

    /// Where the node listens, as far as it is known: one that others on this machine can use at least.
    pub fn address(&self) -> Option<SocketAddr> {
        self.running()?.net.address().direct.first().copied()
    }

    /// All ways to this node, for an invitation.
    pub fn addresses(&self) -> Option<NodeAddress> {
        self.running().map(|running| running.net.address())
    }

    /// The connections that are up.
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        self.running()
            .map_or(Vec::new(), |running| running.net.connections())
    }

    /// How many nodes there is a connection with. Two that dialled each other have two for a while.
    pub fn nodes_connected(&self) -> usize {
        let nodes: BTreeSet<NodeId> = self.connections().iter().map(|info| info.node).collect();
        nodes.len()
    }

    /// True while there is a connection with `node`.
    pub fn is_connected(&self, node: &NodeId) -> bool {
        self.running()
            .is_some_and(|running| running.net.connected(node).is_some())
    }

    /// Asks `node` one thing, over the connection that is up or a new one.
    ///
    /// # Errors
    /// [`AskError`], also when it refuses.
    pub async fn try_ask(&self, node: NodeId, request: Request) -> Result<Answer, AskError> {
        match self.running() {
            Some(running) => running.ask(node, request).await,
            None => Err(AskError::Unreachable("this node is not on the network".into())),
        }
    }

    /// As [`Network::try_ask`], with the problem that a user is told; `here` knows what the node is called.
    ///
    /// # Errors
    /// [`Code::NodeUnreachable`], [`Code::NotAllowed`], [`Code::Protocol`].
    pub async fn ask(&self, here: &Node, node: NodeId, request: Request) -> Result<Answer, Problem> {
        let asked = self.try_ask(node, request).await;
        asked.map_err(|error| error.problem(&here.contacts.title(&node)))
    }

    /// The keys of `node` as it shows them, or asked for where its record is a later one: that is believed only with all
    /// that came before it. None for what it cannot prove.
    pub async fn shown_keys(
        &self,
        here: &Node,
        node: NodeId,
        start: Vec<u8>,
        record: Vec<u8>,
    ) -> Option<NodeKeys> {
        match NodeKeys::verify(node, start, vec![record]) {
            Ok(keys) => Some(keys),
            Err(_) => self.keys_of(here, node).await.ok(),
        }
    }

    /// The verified keys of `node`: asked for and kept, or as they were the last time when it cannot be reached.
    ///
    /// # Errors
    /// Why it cannot be asked, when nothing is known; [`Code::Protocol`] when what it shows does not hold.
    pub async fn keys_of(&self, here: &Node, node: NodeId) -> Result<NodeKeys, Problem> {
        let answer = match self.ask(here, node, Request::Who).await {
            Ok(answer) => answer,
            Err(problem) => return known_keys(&here.contacts, &node).ok_or(problem),
        };
        let Answer::Keys { start, records } = answer else {
            unreachable!("answers are read as answers to their request");
        };
        let newest = records.last().cloned();
        let verified = NodeKeys::verify(node, start, records);
        if let (Err(_), Some(known)) = (&verified, known_keys(&here.contacts, &node))
            && newest.as_deref() == Some(known.record().as_bytes())
        {
            // It came back on an empty disk without its first record; its sigchain brought the newest.
            return Ok(known);
        }
        let keys = verified.map_err(|error| {
            let title = here.contacts.title(&node);
            Problem::new(
                Code::Protocol,
                format!("the keys that the node {title} shows do not hold"),
            )
            .caused_by(&error)
        })?;
        if let Err(problem) = here.contacts.keep_keys(keys.start(), keys.record()) {
            if problem.code == Code::Protocol {
                tell_of_other_keys(here, node)?;
            }
            return Err(problem);
        }
        Ok(keys)
    }

    /// Tells the members of a vault that there is news in it, those that are connected at once. Changes of
    /// vaults are told by themselves; this is for what is news for another reason. Returns at once.
    pub fn announce(&self, vault: VaultId) {
        if let Some(running) = self.running() {
            running.news.changed(vault);
        }
    }

    /// True when a node may take part in this network; a blocked one is refused besides.
    pub fn is_member(&self, node: &NodeId) -> bool {
        self.0.rule.admits(node)
    }

    /// Lets a node that has proven to be named by a member as its successor into a private network, until it was
    /// looked at what their chains say.
    pub fn let_in_heir(&self, former: &NodeId, heir: NodeId) {
        self.0.rule.let_in_heir(former, heir);
    }

    /// It was looked at: from now on the gestalts say whether it is a member.
    ///
    /// # Errors
    /// As [`Network::refresh_members`].
    pub async fn settle_heir(&self, node: &Arc<Node>, heir: &NodeId) -> Result<(), Problem> {
        self.0.rule.dismiss_heir(heir);
        self.refresh_members(node).await
    }

    /// Looks anew who the members of a private network are, and cuts off those that are none.
    ///
    /// # Errors
    /// [`Code::Internal`] when that could not be done.
    pub async fn refresh_members(&self, node: &Arc<Node>) -> Result<(), Problem> {
        if self.0.rule.is_open() {
            return Ok(());
        }
        let (here, rule) = (node.clone(), self.0.rule.clone());
        blocking(move || {
            rule.refresh(&here);
            Ok(())
        })
        .await?;
        let Some(running) = self.running() else {
            return Ok(());
        };
        for node in running.connected() {
            if !self.0.rule.admits(&node) {
                running.net.disconnect(&node, &farewell("no member")).await;
            }
        }
        Ok(())
    }

    /// Ends all connections with a node that the user blocked.
    pub async fn cut_off(&self, node: &NodeId) {
        if let Some(running) = self.running() {
            running.net.disconnect(node, &farewell("blocked")).await;
        }
    }
}

/// Tells the user, once, that a node shows other keys than before.
fn tell_of_other_keys(here: &Node, node: NodeId) -> Result<(), Problem> {
    let letter = Letter::Doubt {
        from: node,
        forked: true,
    };
    let inbox = here.post.read(Tray::Inbox)?;
    if !inbox.iter().any(|mail| mail.letter == letter) {
        here.post
            .tell(Tray::Inbox, letter, SystemClock.now(), &OsRandom)?;
    }
    Ok(())
}

impl Running {
    fn begin(self: &Arc<Self>, agent: &Agent) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.spawn(accept(self.clone(), agent.clone(), self.stop.subscribe()));
        tasks.spawn(follow::run(self.clone(), agent.clone(), self.stop.subscribe()));
        tasks.spawn(courier::run(agent.clone(), self.stop.subscribe()));
        tasks.spawn(discovery::run(agent.clone(), self.stop.subscribe()));
        tasks.spawn(gestalts::watch::run(agent.clone(), self.stop.subscribe()));
    }

    /// Notes that a pull of `vault` runs.
    pub fn pulls(self: &Arc<Self>, vault: VaultId) -> Pulls {
        let mut pulling = self.pulling.lock().unwrap_or_else(PoisonError::into_inner);
        pulling.entry(vault).or_default().count += 1;
        Pulls {
            running: self.clone(),
            vault,
        }
    }

    /// True when the change of a vault is better told later: a pull of it runs, and tells when it ends.
    pub fn tells_later(&self, vault: &VaultId) -> bool {
        let mut pulling = self.pulling.lock().unwrap_or_else(PoisonError::into_inner);
        let of = pulling.get_mut(vault);
        of.is_some_and(|of| {
            of.changed = true;
            true
        })
    }

    /// The id of this node.
    pub fn me(&self) -> NodeId {
        self.net.node()
    }

    /// What is new here, and whom that concerns.
    pub fn news(&self) -> &News {
        &self.news
    }

    /// The nodes that show themselves on the local network, and whenever that changes.
    pub fn nearby(&self) -> Option<watch::Receiver<BTreeSet<NodeId>>> {
        self.net.nearby()
    }

    /// The nodes that are connected.
    pub fn connected(&self) -> Vec<NodeId> {
        self.net.connections().into_iter().map(|info| info.node).collect()
    }

    /// True while there is a connection with `node`.
    pub fn is_connected(&self, node: &NodeId) -> bool {
        self.net.connected(node).is_some()
    }

    /// Notes where a contact is connected from.
    pub async fn note_place(&self, node: NodeId) {
        let Some(peer) = self.net.connected(&node) else {
            return;
        };
        let (place, contacts) = (place_of(&peer), self.contacts.clone());
        let noted = tokio::task::spawn_blocking(move || contacts.saw(node, place));
        if let Ok(Err(problem)) = noted.await {
            tracing::warn!("{problem}");
        }
    }

    /// Makes a connection with `node`, from the addresses that are known, unless there is one. When that fails,
    /// those that know it too are asked where it is now.
    ///
    /// # Errors
    /// [`NetError`].
    pub async fn connect(&self, node: &NodeId) -> Result<Peer, NetError> {
        match self.dial(node).await {
            Err(NetError::Unreachable { .. }) if self.hear_of(node).await => self.dial(node).await,
            outcome => outcome,
        }
    }

    async fn dial(&self, node: &NodeId) -> Result<Peer, NetError> {
        let address = self.contacts.find(node).map(|contact| {
            let mut address = NodeAddress::new(*node);
            for known in contact.addresses {
                match known.place {
                    Place::Socket(socket) => address.direct.push(socket),
                    Place::Relay(url) => address.relay = address.relay.or_else(|| url.parse().ok()),
                }
            }
            address
        });
        if let Some(address) = address.filter(|address| !address.is_empty()) {
            self.net.know(address);
        }
        let connected = self.net.connect(node).await;
        if let Err(NetError::WrongNode { .. }) = &connected {
            self.news.elsewhere(*node);
        }
        connected
    }

    /// Connects with the nodes that answer where a contact was, unless that was done a moment ago: one of them may have
    /// taken its place.
    pub async fn find_others_at(&self, former: &NodeId) -> Vec<NodeId> {
        let known = self.contacts.find(former).filter(|contact| !contact.blocked);
        let Some(known) = known.filter(|_| self.sought.may_ask(*former, Instant::now())) else {
            return Vec::new();
        };
        let places = known.addresses.into_iter().filter_map(|known| match known.place {
            Place::Socket(socket) => Some(socket),
            Place::Relay(_) => None,
        });
        let mut found = Vec::new();
        for place in places.take(MAX_PLACES) {
            let Some(node) = self.net.node_at(place).await else {
                continue;
            };
            // Contacts say themselves whom they succeed, whenever they connect.
            if node == *former || node == self.me() || self.contacts.find(&node).is_some() {
                continue;
            }
            self.rule.seek(former, node);
            let mut address = NodeAddress::new(node);
            address.direct.push(place);
            self.net.know(address);
            match self.net.connect(&node).await {
                Ok(_) => found.push(node),
                Err(error) => tracing::debug!(%node, %former, %error, "answers where another was"),
            }
        }
        found
    }

    /// True when our succession may be shown to a node that is no contact, which counts as shown.
    pub fn may_show(&self, node: NodeId) -> bool {
        self.shown.may_ask(node, Instant::now())
    }

    /// Asks `node` one thing.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn ask(&self, node: NodeId, request: Request) -> Result<Answer, AskError> {
        let mut again = !matches!(request, Request::Redeem { .. } | Request::Notify(_));
        loop {
            let peer = match self.connect(&node).await {
                // It went in the middle of its hello, as one does that is just restarted.
                Err(NetError::Closed { .. }) if again => {
                    again = false;
                    continue;
                }
                connected => connected.map_err(unreachable)?,
            };
            let asked = async {
                let (mut to, mut from) = peer.open().await.map_err(unreachable)?;
                ask(&request, &mut to, &mut from, &self.budget).await
            };
            let asked = async {
                tokio::select! {
                    biased;
                    asked = asked => asked,
                    () = self.net.gone(&peer) => Err(AskError::Lost(FrameError::Cut)),
                }
            };
            match asked.await {
                // The connection was lost under the request: a new one may do.
                Err(AskError::Unreachable(_) | AskError::Lost(FrameError::Io(_) | FrameError::Cut))
                    if again =>
                {
                    again = false;
                }
                Err(error) if error.is_nonsense() => {
                    tracing::warn!(%node, %error, "cut off");
                    peer.close(&farewell("nonsense"));
                    return Err(error);
                }
                asked => return asked,
            }
        }
    }
}

/// One node to ask.
pub struct Line {
    running: Arc<Running>,
    node: NodeId,
}

impl Line {
    /// A line to `node`.
    pub fn new(running: Arc<Running>, node: NodeId) -> Line {
        Line { running, node }
    }
}

impl Ask for Line {
    fn node(&self) -> NodeId {
        self.node
    }

    async fn ask(&self, request: Request) -> Result<Answer, AskError> {
        self.running.ask(self.node, request).await
    }

    fn place_ahead(&self) -> Option<OwnedSemaphorePermit> {
        self.running.ahead.clone().try_acquire_owned().ok()
    }
}

/// The keys of a node as they were the last time.
pub fn known_keys(contacts: &Contacts, node: &NodeId) -> Option<NodeKeys> {
    let contact = contacts.find(node)?;
    NodeKeys::known(contact.start?, contact.record?)
}

/// Serves every connection, whoever made it.
async fn accept(running: Arc<Running>, agent: Agent, mut stop: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        let peer = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            peer = running.net.accept() => peer,
        };
        let Some(peer) = peer else { return };
        while connections.try_join_next().is_some() {}
        connections.spawn(serve(running.clone(), agent.clone(), peer));
    }
}

/// Waits until a node that is no member of a private network has said that it succeeds one. False when it does not.
async fn hear_out(agent: &Agent, peer: &Peer) -> bool {
    let heard = async {
        while let Ok((mut to, mut from)) = peer.accept().await {
            serve_guest(agent, peer.node(), &mut from, &mut to).await;
            if agent.network().is_member(&peer.node()) {
                return true;
            }
        }
        false
    };
    timeout(HEARING, heard).await.unwrap_or(false)
}

/// Serves the streams of one connection until it ends.
async fn serve(running: Arc<Running>, agent: Agent, peer: Peer) {
    let node = peer.node();
    if !agent.network().is_member(&node) && !hear_out(&agent, &peer).await {
        peer.close(&farewell("no member"));
        return;
    }
    if running.contacts.is_contact(&node) {
        peer.widen();
        running.note_place(node).await;
    }
    running.news.connected(node);
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut streams = JoinSet::new();
    while let Ok((mut to, mut from)) = peer.accept().await {
        while streams.try_join_next().is_some() {}
        // The semaphore is never closed.
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let (agent, peer) = (agent.clone(), peer.clone());
        streams.spawn(async move {
            let conduct = serve_stream(&agent, node, &mut from, &mut to).await;
            if conduct == Conduct::Nonsense {
                tracing::warn!(%node, "cut off: it does not keep to the protocol");
                // The answer says why; it is on its way for as long as a farewell takes.
                let _ = tokio::time::timeout(FAREWELL, to.delivered()).await;
                peer.close(&farewell("nonsense"));
            }
            drop(place);
        });
    }
    drop(streams);
    if running.net.connected(&node).is_none() {
        running.news.gone(node);
    }
}

/// Where the other side of a connection is.
fn place_of(peer: &Peer) -> Option<Place> {
    match peer.info().path {
        // Where it dialled from is where it listens: both use one socket.
        Path::Direct(address) => Some(Place::Socket(address)),
        Path::Relayed(url) => url.to_string().parse().ok(),
        _ => None,
    }
}

fn bind(settings: &Settings, port: Option<u16>) -> Vec<SocketAddr> {
    match (settings.host, port) {
        (None, None) => Vec::new(),
        (Some(host), port) => vec![SocketAddr::new(host, port.unwrap_or(0))],
        (None, Some(port)) => vec![
            SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), port),
            SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), port),
        ],
    }
}

fn no_network(settings: &Settings, port: Option<u16>, error: &NetError) -> Problem {
    let wanted = bind(settings, port);
    let place = wanted
        .first()
        .map_or("any address".to_owned(), SocketAddr::to_string);
    Problem::new(
        Code::Busy,
        format!("the node cannot listen for other nodes on {place}"),
    )
    .hint("another program may hold it: choose another with `--agent-port`")
    .caused_by(error)
}

fn unreachable(error: NetError) -> AskError {
    AskError::Unreachable(Box::new(error))
}

fn farewell(text: &str) -> Farewell {
    Farewell::new(FAREWELL_CODE, text)
}

/// The one code of our farewells: the text says why.
const FAREWELL_CODE: u16 = 1;
