//! Agents in one process for the tests of the protocol, and a way to ask them without a network.

use std::sync::Arc;

use polykey_api::start::StartOrder;
use polykey_core::NodeId;
use polykey_core::genesis::SigchainStart;
use polykey_core::key_record::KeyRecord;
use polykey_core::random::OsRandom;
use polykey_core::recovery::RecoveryCode;
use polykey_core::sealing::EncryptionKey;
use polykey_core::{Key, SecretBytes, Timestamp};
use polykey_vault::charter::{Joiner, Role};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex, split};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::frame::Budget;
use super::keys::NodeKeys;
use super::serve::{Conduct, serve_stream};
use super::{Answer, Ask, AskError, Request, ask};
use crate::agent::Agent;
use crate::network::settings::Settings;
use crate::node::Node;
use crate::open;
use crate::paths::NodePaths;

/// The password of every node here.
pub(crate) const PASSWORD: &[u8] = b"correct horse";

/// An agent with a node in a temporary folder, off the network.
pub(crate) struct Bench {
    _dir: tempfile::TempDir,
    pub(crate) agent: Agent,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        Bench::made(None)
    }

    /// A node on an empty disk, made from a recovery code.
    pub(crate) fn restored(words: &SecretBytes) -> Bench {
        let words = String::from_utf8(words.expose().to_vec()).expect("words");
        Bench::made(Some(words))
    }

    fn made(recovery_code: Option<String>) -> Bench {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let level = Some("min".to_owned());
        let order = StartOrder {
            node_path: dir.path().join("node"),
            password: Some(data_encoding::BASE64.encode(PASSWORD)),
            ops_limit: level.clone(),
            mem_limit: level,
            recovery_code,
            ..StartOrder::default()
        };
        let paths = NodePaths::new(order.node_path.clone());
        paths.create().expect("a folder");
        let opened = open::create(&paths, &order, &OsRandom).expect("a node");
        let (events, _) = mpsc::unbounded_channel();
        let settings = Settings {
            mode: polykey_net::Mode::Offline,
            ..Settings::default()
        };
        let agent = Agent::new(paths, dir.path().join("socket"), opened.node, settings, events);
        Bench { _dir: dir, agent }
    }

    pub(crate) fn node(&self) -> Arc<Node> {
        self.agent.node().expect("unlocked")
    }

    pub(crate) fn id(&self) -> NodeId {
        self.agent.node_id()
    }

    /// The keys of this node as another would verify them.
    pub(crate) fn keys(&self) -> NodeKeys {
        let node = self.node();
        NodeKeys::known(node.sigchain_start.clone(), node.key_record.clone()).expect("of one node")
    }

    /// Lets a node into the vault `name`.
    pub(crate) fn grant(&self, name: &str, keys: &NodeKeys, role: Role) {
        let vault = self.node().vaults.open(name).expect("open").vault;
        let joiner = Joiner {
            node: keys.node(),
            role,
            keys: role.reads().then(|| keys.member_keys()),
        };
        vault.grant(&joiner).expect("granted");
    }

    pub(crate) fn write(&self, name: &str, path: &str, bytes: &[u8]) {
        let vault = self.node().vaults.open(name).expect("open").vault;
        let path = polykey_core::SecretPath::parse(path).expect("a path");
        let staged = vault.stage(&mut &bytes[..]).expect("staged");
        vault
            .change(None, |change| {
                change.put(&path, staged, &polykey_vault::Expect::Any)
            })
            .expect("written");
    }

    pub(crate) fn paths(&self, name: &str) -> Vec<String> {
        let vault = self.node().vaults.open(name).expect("open").vault;
        let view = vault.view(polykey_vault::At::Now).expect("a view");
        let all = view.walk(&polykey_core::SecretPath::root()).expect("a walk");
        all.iter().map(|stat| stat.path.as_str().to_owned()).collect()
    }

    /// Sends `bytes` as the node `from`, ends, and takes what comes back.
    pub(crate) async fn talk(&self, from: NodeId, bytes: &[u8]) -> (Vec<u8>, Conduct) {
        let (here, there) = duplex(1 << 16);
        let agent = self.agent.clone();
        let serving = tokio::spawn(async move {
            let (mut reader, mut writer) = split(there);
            serve_stream(&agent, from, &mut reader, &mut writer).await
        });
        let (mut reader, mut writer) = split(here);
        let sent = bytes.to_vec();
        let sending = tokio::spawn(async move {
            // Whoever is refused early is not read to the end.
            let _ = writer.write_all(&sent).await;
            let _ = writer.shutdown().await;
        });
        let mut answer = Vec::new();
        let _ = reader.read_to_end(&mut answer).await;
        let conduct = serving.await.expect("serving never panics");
        drop(reader);
        sending.await.expect("no panic");
        (answer, conduct)
    }

    /// Sends one frame.
    pub(crate) async fn say(&self, from: NodeId, frame: &[u8]) -> (Vec<u8>, Conduct) {
        let len = u32::try_from(frame.len()).expect("short").to_be_bytes();
        let (answer, conduct) = self.talk(from, &[&len[..], frame].concat()).await;
        (answer.get(4..).unwrap_or_default().to_vec(), conduct)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(node) = self.agent.node() {
            let _ = node.close();
        }
    }
}

/// A node without an agent: keys, and nothing else.
pub(crate) fn stranger() -> NodeKeys {
    let code = RecoveryCode::generate(&OsRandom).keys();
    let record = KeyRecord::first(&code.root, EncryptionKey::random(&OsRandom).public());
    let start = SigchainStart::sign(&code.root, &code, &record, Timestamp::from_millis(1));
    NodeKeys::known(start, record).expect("of one node")
}

/// A node id that nobody has.
pub(crate) fn nobody() -> NodeId {
    NodeId::from_bytes(*Key::random(&OsRandom).expose())
}

/// Asks an agent in this process, as `me`; gives up after `left` requests, as if the way were cut.
pub(crate) struct Wire {
    pub(crate) to: Agent,
    pub(crate) me: NodeId,
    pub(crate) left: std::sync::atomic::AtomicUsize,
    ahead: Arc<Semaphore>,
}

impl Wire {
    pub(crate) fn new(to: &Bench, me: NodeId, left: usize) -> Wire {
        Wire {
            to: to.agent.clone(),
            me,
            left: left.into(),
            ahead: Arc::new(Semaphore::new(3)),
        }
    }
}

impl Ask for Wire {
    fn node(&self) -> NodeId {
        self.to.node_id()
    }

    async fn ask(&self, request: Request) -> Result<Answer, AskError> {
        use std::sync::atomic::Ordering::Relaxed;
        if self
            .left
            .fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1))
            .is_err()
        {
            return Err(AskError::Unreachable("cut".into()));
        }
        let (here, there) = duplex(1 << 16);
        let (agent, me) = (self.to.clone(), self.me);
        tokio::spawn(async move {
            let (mut reader, mut writer) = split(there);
            serve_stream(&agent, me, &mut reader, &mut writer).await
        });
        let (mut reader, mut writer) = split(here);
        ask(&request, &mut writer, &mut reader, &Budget::default()).await
    }

    fn place_ahead(&self) -> Option<OwnedSemaphorePermit> {
        self.ahead.clone().try_acquire_owned().ok()
    }
}
