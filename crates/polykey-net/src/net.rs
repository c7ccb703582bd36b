//! The endpoint: starting, dialling, leaving.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use iroh::address_lookup::AddrFilter;
use iroh::dns::{DnsResolver, NameserverConfig};
use iroh::endpoint::{
    ConnectError, ConnectOptions, NetReportConfig, PortmapperConfig, QuicTransportConfig, RecvStream,
    RelayMode, SendStream, VarInt, presets,
};
use iroh::tls::CaTlsConfig;
use iroh::{Endpoint, EndpointAddr, EndpointId, RelayConfig, RelayMap, SecretKey, Watcher};
use iroh_mainline_address_lookup::DhtAddressLookup;
use iroh_mdns_address_lookup::MdnsAddressLookup;
use iroh_relay::RelayQuicConfig;
use polykey_core::NodeId;
use polykey_core::random::{OsRandom, random_array};
use polykey_core::sign::SigningKey;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout, timeout_at};

use crate::address::{NodeAddress, RelayUrl};
use crate::config::{
    ALPN, Admission, CONNECT_DEADLINE, DOUBT, IDLE_TIMEOUT, KEEP_ALIVE, Limits, MAX_STREAMS, Mode,
    NARROW_WINDOW, NetConfig, PATIENCE, SEND_WINDOW, STREAM_WINDOW, WIDE_WINDOW,
};
use crate::error::{Farewell, NetError, Tried, code};
use crate::frame::{FrameError, read_frame, write_frame};
use crate::hello::{Answer, Hello, MAX_HELLO, RUN_LEN, VERSION};
use crate::link::{ControlEnds, Link};
use crate::peer::{ConnectionInfo, Peer};
use crate::registry::Registry;
use crate::tls::{HYBRID, key_exchange, provider};
use crate::{accept, control, nearby, probe};

/// Name under which nodes find each other on the local network (`_polykey._udp.local`).
const MDNS_SERVICE: &str = "polykey";
/// Peers that may wait to be [accepted](Net::accept).
const ACCEPT_QUEUE: usize = 32;

/// A node's place in the network. Cheap to clone; it listens until [`close`](Net::close), or until the last
/// clone is dropped, which breaks all connections off.
#[derive(Clone)]
pub struct Net {
    shared: Arc<Shared>,
    incoming: Arc<tokio::sync::Mutex<mpsc::Receiver<Peer>>>,
    guard: Arc<Guard>,
}

/// What the tasks of a [`Net`] share.
pub(crate) struct Shared {
    pub(crate) endpoint: Endpoint,
    pub(crate) node: NodeId,
    pub(crate) admit: Arc<dyn Admission>,
    pub(crate) limits: Limits,
    /// A number of this process, so that peers notice a restart.
    pub(crate) run: [u8; RUN_LEN],
    pub(crate) registry: Arc<Registry>,
    pub(crate) accepted: mpsc::Sender<Peer>,
    mode: Mode,
    connect_deadline: Duration,
    relays: Vec<RelayUrl>,
    lookups: Vec<&'static str>,
    nearby: Option<watch::Receiver<BTreeSet<NodeId>>>,
    known: Mutex<HashMap<NodeId, NodeAddress>>,
    dials: Mutex<HashMap<NodeId, Dial>>,
    address: watch::Receiver<NodeAddress>,
}

/// The outcome of an attempt that several callers may wait for.
type Dial = watch::Receiver<Option<Result<Arc<Link>, NetError>>>;

impl Net {
    /// Starts listening.
    ///
    /// # Errors
    /// [`NetError::Start`] when an address cannot be listened on, a certificate is none, or the network
    /// cannot be used at all.
    pub async fn start(
        config: NetConfig,
        key: &SigningKey,
        admit: Arc<dyn Admission>,
    ) -> Result<Net, NetError> {
        let relays = match &config.mode {
            Mode::Mainnet => config.relays.clone(),
            Mode::Relay(url) => vec![url.clone()],
            Mode::Local | Mode::Offline => Vec::new(),
        };
        let endpoint = bind(&config, &relays, key).await?;
        let (lookups, mdns) = add_lookups(&endpoint, &config);
        let nearby = match &mdns {
            Some(mdns) => Some(nearby::listen(mdns).await),
            None => None,
        };
        let node = key.public();
        let (stop, stopped) = watch::channel(false);
        let address = follow_address(&endpoint, node);
        let (accepted, incoming) = mpsc::channel(ACCEPT_QUEUE);
        let shared = Arc::new(Shared {
            endpoint,
            node,
            admit,
            limits: config.limits,
            run: random_array(&OsRandom),
            registry: Arc::new(Registry::new(node)),
            accepted,
            mode: config.mode,
            connect_deadline: config.connect_deadline.unwrap_or(CONNECT_DEADLINE),
            relays,
            lookups,
            nearby,
            known: Mutex::default(),
            dials: Mutex::default(),
            address,
        });
        tokio::spawn(accept::run(Arc::clone(&shared), stopped));
        Ok(Net {
            incoming: Arc::new(tokio::sync::Mutex::new(incoming)),
            guard: Arc::new(Guard {
                stop,
                registry: Arc::clone(&shared.registry),
                endpoint: shared.endpoint.clone(),
            }),
            shared,
        })
    }

    /// The id of this node.
    pub fn node(&self) -> NodeId {
        self.shared.node
    }

    /// How this node takes part.
    pub fn mode(&self) -> &Mode {
        &self.shared.mode
    }

    /// The nodes that show themselves on the local network, and whenever that changes. None in a mode without local
    /// discovery.
    pub fn nearby(&self) -> Option<watch::Receiver<BTreeSet<NodeId>>> {
        self.shared.nearby.clone()
    }

    /// Where this node can be found now.
    pub fn address(&self) -> NodeAddress {
        self.shared.address.borrow().clone()
    }

    /// Tells whenever [`address`](Net::address) changes.
    pub fn addresses(&self) -> watch::Receiver<NodeAddress> {
        self.shared.address.clone()
    }

    /// Remembers where a node may be found, in place of what was known before.
    pub fn know(&self, address: NodeAddress) {
        let address = address.tidy();
        self.shared.known().insert(address.node, address);
    }

    /// Forgets where a node may be found.
    pub fn forget(&self, node: &NodeId) {
        self.shared.known().remove(node);
    }

    /// The node that listens at an address, when one does: where another was expected, that may be its successor. It
    /// has proven nothing, and learns nothing of us. Safe to cancel.
    pub async fn node_at(&self, place: SocketAddr) -> Option<NodeId> {
        probe::node_at(place).await
    }

    /// A connection with `node`: the one that is up, or a new one. An old one that has been silent is asked
    /// first, and when it does not answer at once a new one takes its place. Callers at the same time share
    /// one attempt. Gives up after [`CONNECT_DEADLINE`], or what the configuration says. Safe to cancel.
    ///
    /// # Errors
    /// [`NetError`]: blocked by us, not reached, refused, or the wrong node at the address.
    pub async fn connect(&self, node: &NodeId) -> Result<Peer, NetError> {
        self.shared.check(node)?;
        let Some(link) = self.shared.registry.best(node) else {
            return self.shared.reach(*node, false).await;
        };
        if link.is_fresh() {
            return Ok(Peer(link));
        }
        let asked = Instant::now();
        match timeout(PATIENCE, link.ping()).await {
            Ok(Ok(_)) => Ok(Peer(link)),
            Ok(Err(_)) => self.shared.reach(*node, false).await,
            Err(_) => match self.shared.reach(*node, true).await {
                // It was slow, not gone.
                Err(_) if link.is_open() && link.heard_at() > asked => Ok(Peer(link)),
                outcome => outcome,
            },
        }
    }

    /// A new connection with `node`, in place of all that are up: for a request that stalled. Requests on the
    /// others break.
    ///
    /// # Errors
    /// As [`connect`](Net::connect).
    pub async fn fresh(&self, node: &NodeId) -> Result<Peer, NetError> {
        self.shared.check(node)?;
        self.shared.reach(*node, true).await
    }

    /// Watches over a request on a connection: ends when the connection is gone. While nothing is heard on it, the
    /// node is asked whether it is there, and one that does not answer is dialled anew: a node that was killed and is
    /// there again is met at once, and not only after [`IDLE_TIMEOUT`]. Safe to cancel.
    pub async fn gone(&self, peer: &Peer) {
        while peer.is_open() {
            let asked = Instant::now();
            if timeout(DOUBT, peer.closed()).await.is_ok() {
                return;
            }
            if peer.0.heard_at() > asked || timeout(DOUBT, peer.ping()).await.is_ok() {
                continue;
            }
            // What comes of it shows in the connection: a new one takes its place.
            let _ = self.fresh(&peer.node()).await;
        }
    }

    /// The next connection after its hello, whoever made it: one that a node made to us, and one that
    /// [`connect`](Net::connect) made. The caller serves the streams that the peer opens on each. `None` once
    /// the network is closed. Safe to cancel.
    pub async fn accept(&self) -> Option<Peer> {
        let mut stopped = self.guard.stop.subscribe();
        let next = async { self.incoming.lock().await.recv().await };
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => None,
            peer = next => peer,
        }
    }

    /// All connections that are up.
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        let links = self.shared.registry.all();
        links
            .iter()
            .filter(|link| link.is_open())
            .map(|link| self.shared.info(link))
            .collect()
    }

    /// The connection with `node` that [`connect`](Net::connect) would use, without making one.
    pub fn connected(&self, node: &NodeId) -> Option<Peer> {
        self.shared.registry.best(node).map(Peer)
    }

    /// Closes all connections with `node`.
    pub async fn disconnect(&self, node: &NodeId, farewell: &Farewell) {
        for link in self.shared.registry.with(node) {
            Peer(link).close(farewell);
        }
    }

    /// Leaves the network: says farewell on all connections, and waits at most `deadline` until that is
    /// through.
    pub async fn close(&self, deadline: Duration) {
        self.guard.stop();
        // What did not get through in time is noticed by the peers' idle time-outs.
        let _ = timeout(deadline, self.shared.endpoint.close()).await;
    }
}

impl std::fmt::Debug for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Net({})", self.shared.node)
    }
}

/// Stops the tasks of a [`Net`] with its last clone.
struct Guard {
    stop: watch::Sender<bool>,
    registry: Arc<Registry>,
    endpoint: Endpoint,
}

impl Guard {
    fn stop(&self) {
        self.stop.send_replace(true);
        for link in self.registry.all() {
            link.close(code::STOPPED);
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.stop();
        // Says farewell behind our back, when there is a runtime left to do it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let endpoint = self.endpoint.clone();
            runtime.spawn(async move { endpoint.close().await });
        }
    }
}

impl Shared {
    /// Whether we would speak with `node` at all.
    fn check(&self, node: &NodeId) -> Result<(), NetError> {
        if *node == self.node {
            return Err(NetError::Itself);
        }
        if !self.admit.admits(node) {
            return Err(NetError::Blocked { node: *node });
        }
        if self.endpoint.is_closed() {
            return Err(NetError::Stopped);
        }
        Ok(())
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<NodeId, NodeAddress>> {
        self.known
            .lock()
            .expect("never poisoned: nothing panics under it")
    }

    fn info(&self, link: &Link) -> ConnectionInfo {
        let mut info = ConnectionInfo::of(link);
        let known = self.known().get(&link.node).cloned();
        if known.is_some_and(|known| info.path.is_in(&known)) {
            info.lookup = Some("known");
        }
        info
    }

    /// Takes in a connection after hello and answer, and serves its control streams.
    pub(crate) fn adopt(
        &self,
        link: &Arc<Link>,
        replaces: bool,
        send: SendStream,
        recv: RecvStream,
        ends: ControlEnds,
    ) {
        self.registry
            .insert(link, replaces, self.limits.connections_per_node);
        let registry = Arc::clone(&self.registry);
        let link = Arc::clone(link);
        tokio::spawn(async move {
            control::run(&link, send, recv, ends).await;
            registry.remove(&link);
        });
    }

    /// Dials `node`, or waits for the attempt that is under way. A connection that the node makes to us
    /// meanwhile does as well.
    ///
    /// An attempt that began earlier may have sent its packets before the node was there, and sends the next one
    /// only after its end. So when it fails, one of our own uses what is left of our time.
    async fn reach(self: &Arc<Self>, node: NodeId, replaces: bool) -> Result<Peer, NetError> {
        let deadline = Instant::now() + self.connect_deadline;
        let (dial, joined) = self.dial(node, replaces);
        match self.outcome(node, dial).await {
            Err(error) if joined && error.may_pass() => {
                let (dial, _) = self.dial(node, replaces);
                let outcome = timeout_at(deadline, self.outcome(node, dial)).await;
                outcome.unwrap_or(Err(error))
            }
            outcome => outcome,
        }
    }

    /// How an attempt ends, or a connection that comes in before that.
    async fn outcome(self: &Arc<Self>, node: NodeId, mut dial: Dial) -> Result<Peer, NetError> {
        let newest = self.newest(&node);
        let mut changed = self.registry.subscribe();
        let arrived = async {
            loop {
                changed.mark_unchanged();
                let links = self.registry.with(&node);
                let newer = links
                    .into_iter()
                    .find(|link| link.is_open() && Some(link.number) > newest);
                match newer {
                    Some(link) => return link,
                    // The registry outlives this call.
                    None => drop(changed.changed().await),
                }
            }
        };
        let outcome = tokio::select! {
            outcome = dial.wait_for(Option::is_some) => outcome.ok().and_then(|outcome| outcome.clone()),
            link = arrived => Some(Ok(link)),
        };
        // The sender goes without an outcome only when the runtime ends.
        outcome.unwrap_or(Err(NetError::Stopped)).map(Peer)
    }

    /// The number of the newest connection with `node`.
    fn newest(&self, node: &NodeId) -> Option<u64> {
        self.registry.with(node).iter().map(|link| link.number).max()
    }

    /// The attempt to reach `node`, begun unless one is under way, and whether one was. It runs to its end by itself: giving it up
    /// when the node dials us at the same moment could leave neither connection.
    fn dial(self: &Arc<Self>, node: NodeId, replaces: bool) -> (Dial, bool) {
        let mut dials = self
            .dials
            .lock()
            .expect("never poisoned: nothing panics under it");
        if let Some(dial) = dials.get(&node) {
            return (dial.clone(), true);
        }
        let (report, dial) = watch::channel(None);
        dials.insert(node, dial.clone());
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            let outcome = shared.attempt(node, replaces).await;
            // Out of the table first: whoever comes now makes an attempt of its own.
            shared
                .dials
                .lock()
                .expect("never poisoned: nothing panics under it")
                .remove(&node);
            report.send_replace(Some(outcome));
        });
        (dial, false)
    }

    async fn attempt(self: &Arc<Self>, node: NodeId, replaces: bool) -> Result<Arc<Link>, NetError> {
        let deadline = Instant::now() + self.connect_deadline;
        let id = EndpointId::from_bytes(node.as_bytes())
            .map_err(|error| NetError::unreachable(node, Tried::default(), error))?;
        let (address, tried) = self.address_of(node, id);
        let newest = self.newest(&node);
        let late = |tried: &Tried| NetError::Unreachable {
            node,
            tried: tried.clone(),
            source: None,
        };
        let dialled = async {
            let options = ConnectOptions::new().with_transport_config(transport(WIDE_WINDOW));
            let connecting = self.endpoint.connect_with_opts(address, ALPN, options).await?;
            // Never made into an early connection: nothing is sent before the handshake is through.
            Ok::<_, ConnectError>(connecting.await?)
        };
        let conn = match timeout_at(deadline, dialled).await {
            Ok(Ok(conn)) => conn,
            Ok(Err(error)) => return Err(NetError::connecting(node, tried, error)),
            Err(_) => return Err(late(&tried)),
        };
        if key_exchange(&conn) != Some(HYBRID) {
            conn.close(VarInt::from_u32(code::PROTOCOL), b"");
            return Err(NetError::Protocol { node });
        }
        // One that came up since is no stale one, and requests are on it already.
        let replaces = replaces && self.newest(&node) == newest;
        let hello = Hello {
            version: VERSION,
            run: self.run,
            replaces,
        };
        let said = async {
            let (mut send, mut recv) = conn.open_bi().await.map_err(std::io::Error::from)?;
            write_frame(&mut send, &hello.encode()).await?;
            let frame = read_frame(&mut recv, MAX_HELLO).await?;
            Ok::<_, FrameError>((send, recv, frame))
        };
        let (send, recv, frame) = match timeout_at(deadline, said).await {
            Ok(Ok(said)) => said,
            Ok(Err(_)) => {
                let reason = conn.close_reason();
                conn.close(VarInt::from_u32(code::PROTOCOL), b"");
                return Err(match reason {
                    Some(reason) => NetError::closed(node, (&reason).into()),
                    None => NetError::Protocol { node },
                });
            }
            Err(_) => return Err(late(&tried)),
        };
        let answer = frame.and_then(|frame| Answer::decode(&frame).ok());
        let Some(answer) = answer.filter(|answer| (1..=VERSION).contains(&answer.version)) else {
            conn.close(VarInt::from_u32(code::PROTOCOL), b"");
            return Err(NetError::Protocol { node });
        };
        let number = self.registry.next_number();
        let (link, ends) = Link::new(conn, node, answer.run, true, number, &self.limits);
        self.adopt(&link, replaces, send, recv, ends);
        // In a task: whoever waits for this connection need not wait until the last one was taken.
        let (accepted, peer) = (self.accepted.clone(), Peer(Arc::clone(&link)));
        tokio::spawn(async move { drop(accepted.send(peer).await) });
        Ok(link)
    }

    /// Where to look for a node, and the same for people.
    fn address_of(&self, node: NodeId, id: EndpointId) -> (EndpointAddr, Tried) {
        let known = self
            .known()
            .get(&node)
            .cloned()
            .unwrap_or_else(|| NodeAddress::new(node));
        let mut relays = Vec::new();
        if !self.relays.is_empty() {
            relays.extend(known.relay);
        }
        // Nodes that share a relay meet there without a lookup.
        for relay in &self.relays {
            if !relays.contains(relay) {
                relays.push(relay.clone());
            }
        }
        let mut address = EndpointAddr::new(id);
        for direct in &known.direct {
            address = address.with_ip_addr(*direct);
        }
        for relay in &relays {
            address = address.with_relay_url(relay.to_iroh());
        }
        let tried = Tried {
            direct: known.direct,
            relays,
            lookups: self.lookups.clone(),
        };
        (address, tried)
    }
}

/// The node that a library's id names.
pub(crate) fn node_of(id: &EndpointId) -> NodeId {
    NodeId::from_bytes(*id.as_bytes())
}

async fn bind(config: &NetConfig, relays: &[RelayUrl], key: &SigningKey) -> Result<Endpoint, NetError> {
    let map = RelayMap::empty();
    for relay in relays {
        let url = relay.to_iroh();
        // Address discovery needs TLS; a relay without it carries connections only.
        let quic = relay.is_tls().then(RelayQuicConfig::default);
        map.insert(url.clone(), Arc::new(RelayConfig::new(url, quic)));
    }
    let on_internet = !map.is_empty();
    let mut builder = Endpoint::builder(presets::Empty)
        .crypto_provider(provider())
        .secret_key(SecretKey::from_bytes(key.expose_seed()))
        .alpns(vec![ALPN.to_vec()])
        .transport_config(transport(NARROW_WINDOW))
        // No ticket is kept, so no connection of ours is resumed and nothing rides on a first flight.
        .max_tls_tickets(0)
        .relay_mode(if on_internet {
            RelayMode::Custom(map)
        } else {
            RelayMode::Disabled
        })
        .ca_tls_config(
            CaTlsConfig::embedded().with_extra_roots(config.relay_roots.iter().cloned().map(Into::into)),
        );
    // A relay is not asked by plain HTTP whether this network has a captive portal.
    let mut report = NetReportConfig::minimal();
    report.https_probes = on_internet;
    builder = builder.net_report_config(report);
    if config.mode != Mode::Mainnet {
        builder = builder.portmapper_config(PortmapperConfig::Disabled);
    }
    // The library would go on to public servers when these fail, which nobody named and which would learn of relays.
    let resolver = DnsResolver::builder().disable_fallback();
    let servers = config
        .dns_servers
        .iter()
        .map(|server| NameserverConfig::udp(server.ip()).with_port(server.port()));
    builder = builder.dns_resolver(match config.dns_servers.is_empty() {
        true => resolver.with_system_defaults().build(),
        false => resolver.add_nameserver_configs(servers).build(),
    });
    if !config.bind.is_empty() {
        builder = builder.clear_ip_transports();
        for address in &config.bind {
            builder = builder.bind_addr(*address).map_err(NetError::start)?;
        }
    }
    // Boxed: the library's future is tens of kilobytes long.
    Box::pin(builder.bind()).await.map_err(NetError::start)
}

/// How connections behave; `window` is what the peer may send before we read it.
fn transport(window: u32) -> QuicTransportConfig {
    let idle = IDLE_TIMEOUT
        .try_into()
        .expect("a few seconds are a valid time-out");
    QuicTransportConfig::builder()
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(KEEP_ALIVE)
        .default_path_max_idle_timeout(IDLE_TIMEOUT)
        .default_path_keep_alive_interval(KEEP_ALIVE)
        // One more than callers get: the pair of the hello.
        .max_concurrent_bidi_streams(VarInt::from_u32(MAX_STREAMS + 1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(window))
        .send_window(SEND_WINDOW)
        .build()
}

/// Adds the lookups of the mode, and says which. One that this machine's network does not allow is left
/// out with a word in the log: without it the node still reaches what it knows.
fn add_lookups(endpoint: &Endpoint, config: &NetConfig) -> (Vec<&'static str>, Option<MdnsAddressLookup>) {
    let (mut added, mut nearby) = (Vec::new(), None);
    let Ok(services) = endpoint.address_lookup() else {
        return (added, nearby);
    };
    if matches!(config.mode, Mode::Mainnet | Mode::Local) {
        match MdnsAddressLookup::builder()
            .service_name(MDNS_SERVICE)
            .build(endpoint.id())
        {
            Ok(mdns) => {
                services.add(mdns.clone());
                nearby = Some(mdns);
                added.push("the local network");
            }
            Err(error) => tracing::warn!(%error, "nodes on the local network cannot be looked up"),
        }
    }
    if config.mode == Mode::Mainnet {
        let mut dht = n0_mainline::DhtBuilder::default();
        if let Some(bootstrap) = &config.dht_bootstrap {
            dht.bootstrap(bootstrap);
        }
        let mut builder = DhtAddressLookup::builder()
            .dht_builder(dht)
            .secret_key(endpoint.secret_key().clone());
        builder = if config.publish {
            // The user said yes to the node's own addresses, not only its relay's.
            builder.addr_filter(AddrFilter::unfiltered())
        } else {
            builder.no_publish()
        };
        match builder.build() {
            Ok(dht) => {
                services.add(dht);
                added.push("the DHT");
            }
            Err(error) => tracing::warn!(%error, "nodes cannot be looked up in the DHT"),
        }
    }
    (added, nearby)
}

/// The node's own address, kept up to date until the endpoint closes.
fn follow_address(endpoint: &Endpoint, node: NodeId) -> watch::Receiver<NodeAddress> {
    let bound = endpoint.bound_sockets();
    let convert = move |address: &EndpointAddr| {
        let mut direct: Vec<_> = address.ip_addrs().copied().collect();
        if direct.is_empty() {
            direct.clone_from(&bound);
        }
        let relay = address.relay_urls().next().map(RelayUrl::from_iroh);
        NodeAddress { node, direct, relay }.tidy()
    };
    let mut source = endpoint.watch_addr();
    let (report, address) = watch::channel(convert(&source.get()));
    let closed = endpoint.closed();
    tokio::spawn(closed.run_until(async move {
        while let Ok(changed) = source.updated().await {
            let changed = convert(&changed);
            report.send_if_modified(|address| {
                let new = *address != changed;
                *address = changed;
                new
            });
        }
    }));
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn start() -> Net {
        let config = NetConfig {
            mode: Mode::Offline,
            bind: vec!["127.0.0.1:0".parse().expect("an address")],
            ..NetConfig::default()
        };
        let key = SigningKey::random(&OsRandom);
        Net::start(config, &key, Arc::new(|_: &NodeId| true))
            .await
            .expect("the loopback interface")
    }

    /// Whether `endpoint`, which has been connected to `net` before, could send before the handshake.
    async fn could_send_early(endpoint: &Endpoint, net: &Net) -> bool {
        let id = EndpointId::from_bytes(net.node().as_bytes()).expect("a key");
        let address = EndpointAddr::new(id).with_ip_addr(net.address().direct[0]);
        let once = endpoint.connect(address.clone(), ALPN).await.expect("it listens");
        let (mut send, mut recv) = once.open_bi().await.expect("one pair");
        let hello = Hello {
            version: VERSION,
            run: [1; RUN_LEN],
            replaces: false,
        };
        write_frame(&mut send, &hello.encode()).await.expect("room");
        // With the answer the tickets of the handshake have arrived as well.
        read_frame(&mut recv, MAX_HELLO).await.expect("an answer");
        let again = endpoint
            .connect_with_opts(address, ALPN, ConnectOptions::new())
            .await
            .expect("it listens");
        match again.into_0rtt() {
            Ok(_) => true,
            Err(connecting) => {
                connecting.await.expect("an ordinary handshake");
                false
            }
        }
    }

    #[tokio::test]
    async fn we_never_send_before_the_handshake_is_through() {
        let (one, two) = (start().await, start().await);
        assert!(!could_send_early(&one.shared.endpoint, &two).await);
        // The same with the library's own settings, which shows that the test can tell.
        let loose = Endpoint::builder(presets::Empty)
            .crypto_provider(provider())
            .clear_ip_transports()
            .bind_addr("127.0.0.1:0")
            .expect("an address")
            .bind()
            .await
            .expect("the loopback interface");
        assert!(could_send_early(&loose, &two).await);
        loose.close().await;
        one.close(CONNECT_DEADLINE).await;
        two.close(CONNECT_DEADLINE).await;
    }
}
