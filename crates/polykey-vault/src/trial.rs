//! A vault in a throw-away folder, for tests.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use polykey_core::random::OsRandom;
use polykey_core::sealing::EncryptionKey;
use polykey_core::sign::SigningKey;
use polykey_core::{Key, KeyRecordId, NodeId, SecretPath};
use polykey_store::RealDisk;
use polykey_testkit::Ticking;

use crate::charter::entry::{DeviceKey, MemberKeys};
use crate::charter::{Joiner, Role};
use crate::content::Kind;
use crate::sync::{Pull, PullReport, Replica, Request, Response, Seen, serve};
use crate::view::At;
use crate::{Env, Expect, Identity, Vault, VaultError};

/// The same person each time. Making keys takes long where a thousand histories ask for them.
pub(crate) fn identity(seed: u8) -> Arc<Identity> {
    static KNOWN: Mutex<BTreeMap<u8, Arc<Identity>>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().expect("no test panics in here");
    Arc::clone(known.entry(seed).or_insert_with(|| make_identity(seed)))
}

fn make_identity(seed: u8) -> Arc<Identity> {
    let device = EncryptionKey::from_seed(&Key::from_array([seed; 32]));
    let code = EncryptionKey::from_seed(&Key::from_array([seed ^ 0x80; 32]));
    let keys = MemberKeys {
        recovery: SigningKey::from_seed(&Key::from_array([seed ^ 0x40; 32])).public(),
        code: code.public(),
        device: DeviceKey {
            record: KeyRecordId::from_bytes([seed; 32]),
            number: 0,
            public: device.public(),
        },
    };
    let signer = SigningKey::from_seed(&Key::from_array([seed; 32]));
    Arc::new(Identity::new(signer, keys, vec![(0, device)]))
}

pub(crate) fn env() -> Env {
    Env {
        clock: Arc::new(Ticking::default()),
        random: Arc::new(OsRandom),
        disk: Arc::new(RealDisk),
        machine: b"machine".to_vec(),
    }
}

pub(crate) fn key() -> Key {
    Key::from_array([7; 32])
}

/// A vault, and the folder that is removed with it.
pub(crate) struct Trial {
    pub vault: Vault,
    pub place: tempfile::TempDir,
}

impl std::ops::Deref for Trial {
    type Target = Vault;

    fn deref(&self) -> &Vault {
        &self.vault
    }
}

pub(crate) fn path(text: &str) -> SecretPath {
    SecretPath::parse(text).expect("a path")
}

impl Trial {
    pub fn new() -> Trial {
        let place = tempfile::tempdir().expect("a folder");
        let vault = Vault::create(&place.path().join("vault"), &key(), identity(1), env());
        Trial {
            vault: vault.expect("a new vault"),
            place,
        }
    }

    pub fn folder(&self) -> std::path::PathBuf {
        self.place.path().join("vault")
    }

    /// Closes the vault and opens it again.
    pub fn reopen(self) -> Trial {
        self.vault.close().expect("closes");
        let folder = self.folder();
        Trial {
            vault: open(&folder).expect("opens again"),
            place: self.place,
        }
    }

    pub fn write(&self, at: &str, content: &[u8]) -> u64 {
        let staged = self.vault.stage(&mut &*content).expect("staged");
        let written = self
            .vault
            .change(None, |change| change.put(&path(at), staged, &Expect::Any));
        written.map_err(|e: VaultError| e).expect("written").0.version
    }

    pub fn read(&self, at: &str) -> Result<Vec<u8>, VaultError> {
        self.read_at(At::Now, at)
    }

    pub fn read_at(&self, moment: At, at: &str) -> Result<Vec<u8>, VaultError> {
        let content = self.vault.view(moment)?.open(&path(at))?;
        Ok(content.into_bytes(1 << 30)?.expose().to_vec())
    }

    /// All paths with their contents; directories end in `/`.
    pub fn tree(&self, moment: At) -> Vec<(String, Vec<u8>)> {
        let view = self.vault.view(moment).expect("a view");
        let all = view.walk(&SecretPath::root()).expect("walks");
        all.into_iter()
            .map(|stat| match stat.secret {
                None => (format!("{}/", stat.path), vec![]),
                Some(_) => {
                    let content = view.open(&stat.path).expect("opens");
                    let bytes = content.into_bytes(1 << 30).expect("reads");
                    (stat.path.to_string(), bytes.expose().to_vec())
                }
            })
            .collect()
    }

    pub fn paths(&self) -> Vec<String> {
        self.tree(At::Now).into_iter().map(|(path, _)| path).collect()
    }
}

pub(crate) fn open(folder: &Path) -> Result<Vault, VaultError> {
    Vault::open(folder, &key(), identity(1), env())
}

/// One node's replica of a vault that several share.
pub(crate) struct Party {
    pub trial: Trial,
    pub me: Arc<Identity>,
}

impl std::ops::Deref for Party {
    type Target = Trial;

    fn deref(&self) -> &Trial {
        &self.trial
    }
}

pub(crate) fn joiner(seed: u8, role: Role) -> Joiner {
    let who = identity(seed);
    Joiner {
        node: who.node(),
        role,
        keys: role.reads().then(|| who.keys().clone()),
    }
}

impl Party {
    pub fn founder() -> Party {
        Party {
            trial: Trial::new(),
            me: identity(1),
        }
    }

    /// An empty replica of `from`'s vault.
    pub fn joined(seed: u8, from: &Party) -> Party {
        let place = tempfile::tempdir().expect("a folder");
        let folder = place.path().join("vault");
        let vault = Vault::join(&folder, &key(), identity(seed), env(), &from.genesis()).expect("joins");
        Party {
            trial: Trial { vault, place },
            me: identity(seed),
        }
    }

    pub fn node(&self) -> NodeId {
        self.me.node()
    }

    pub fn grant(&self, seed: u8, role: Role) {
        self.vault.grant(&joiner(seed, role)).expect("an admin");
    }

    pub fn tree(&self) -> Vec<(String, Vec<u8>)> {
        self.trial.tree(At::Now)
    }

    pub fn pull(&self, from: &Party) -> PullReport {
        self.pull_from(from.node(), &from.vault)
    }

    /// Pulls from any replica, as from a peer.
    pub fn pull_from<R: Replica>(&self, peer: NodeId, from: &R) -> PullReport {
        pull_into(&mut self.vault.clone(), self.node(), peer, from)
    }

    pub fn pull_answers(&self, peer: NodeId, answer: impl Fn(Request) -> Response) -> PullReport {
        pull_answers(&mut self.vault.clone(), self.node(), peer, answer)
    }
}

/// Pulls as the node `me` from the node `peer`, which answers members only.
pub(crate) fn pull_into<R: Replica, T: Replica>(
    to: &mut T,
    me: NodeId,
    peer: NodeId,
    from: &R,
) -> PullReport {
    pull_answers(to, me, peer, |request| {
        serve(from, &me, &request).expect("served")
    })
}

fn pull_answers<T: Replica>(
    to: &mut T,
    me: NodeId,
    peer: NodeId,
    answer: impl Fn(Request) -> Response,
) -> PullReport {
    let mut pull = Pull::new(me, peer, Seen::default());
    while let Some(request) = pull.next(to).expect("open") {
        let request = Request::decode(&request.encode()).expect("reads back");
        let response = Response::decode(&answer(request).encode().into()).expect("reads back");
        pull.receive(to, response).expect("stored");
    }
    pull.report().clone()
}

/// Stages raw bytes.
pub(crate) fn staged(change: &crate::Change<'_>, bytes: &[u8]) -> Result<crate::Staged, VaultError> {
    change.stage(Kind::Raw, bytes)
}
