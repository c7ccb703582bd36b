//! Making a node and opening it again.
//!
//! A new node is complete before its key file exists: the key file, renamed into its place and synced, is
//! the moment of birth. Whatever an interrupted birth left behind is marked as such and cleared away by the
//! next one, so there is no state that cannot be opened.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::RwLock;
use std::sync::atomic::AtomicBool;

use polykey_api::start::StartOrder;
use polykey_api::{Code, Problem};
use polykey_core::genesis::SigchainStart;
use polykey_core::key_file::{KeyFile, MAX_KEY_FILE_LEN, MasterKey, UnlockError};
use polykey_core::key_record::KeyRecord;
use polykey_core::password::{Level, Limits, Password};
use polykey_core::random::OsRandom;
use polykey_core::recovery::{RecoveryCode, RecoveryKeys};
use polykey_core::rotation::Rotation;
use polykey_core::sealing::EncryptionKey;
use polykey_core::sign::SigningKey;
use polykey_core::{Clock, Key, Random, SecretBytes, clock::SystemClock, label};

use polykey_store::{Database, StoreEnv};
use polykey_vault::Identity;
use polykey_vault::charter::{DeviceKey, MemberKeys};

use crate::audit::Audit;
use crate::chains::own::{self, Reign};
use crate::contacts::Contacts;
use crate::devices::Turns;
use crate::discovery::Seeker;
use crate::door::wrong_password;
use crate::failure::{self, disk};
use crate::friends::errands::Rounds;
use crate::gestalts::Gestalts;
use crate::jwk::{self, JwkError};
use crate::node::{Node, PasswordCheck};
use crate::paths::NodePaths;
use crate::plain;
use crate::post::Post;
use crate::put_aside::put_aside;
use crate::replicas::Replicas;
use crate::replicas::allowance::Allowance;
use crate::sharing::people::People;
use crate::sharing::shares::Shares;
use crate::successor;
use crate::tables::IDENTITY;
use crate::tickets::Tickets;
use crate::vaults::{Acting, Vaults};

/// Group of the sealed seeds of the present keys.
pub(crate) const SEEDS: &[u8] = b"seed";
/// Item, and context of the seal, of the root key's seed.
pub(crate) const ROOT: &[u8] = b"root";
const ENCRYPTION: &[u8] = b"encryption";
/// Group of the key records, by number.
pub(crate) const KEY_RECORDS: &[u8] = b"key-record";
/// Group of the sigchain, by number.
pub(crate) const SIGCHAIN: &[u8] = b"sigchain";
/// Group of the sealed seeds of former root keys, oldest first.
pub(crate) const FORMER: &[u8] = b"former";
/// Groups of the key records and first sigchain entries that went with them.
pub(crate) const FORMER_RECORDS: &[u8] = b"former-record";
pub(crate) const FORMER_STARTS: &[u8] = b"former-start";
/// Group of the claims in which a former root key names its successor.
pub(crate) const ROTATIONS: &[u8] = b"rotation";

/// Group of the mark of a node that was made from a code and does not know yet whether it was somebody before.
pub(crate) const RESTORED: &[u8] = b"restored";

/// Context of the seal of a former root key's seed.
pub(crate) fn former_context(number: u64) -> Vec<u8> {
    [FORMER, &number.to_be_bytes()].concat()
}

/// What [`open_or_create`] gives.
pub struct Opened {
    /// The node.
    pub node: Node,
    /// The recovery code, when the node is new.
    pub recovery_code: Option<SecretBytes>,
}

/// True when a node lives in this path, or when a disk that fails does not tell: none is made in its place then.
pub fn exists(paths: &NodePaths) -> bool {
    match paths.keys().try_exists() {
        Ok(there) => there,
        Err(error) => error.kind() != io::ErrorKind::NotADirectory,
    }
}

/// Opens the node of `order`, or makes it when there is none. The caller holds the lock.
///
/// # Errors
/// [`Code::WrongPassword`]; [`Code::NoNode`] when there is none and `order` wants an existing one; and
/// what the disk says.
pub fn open_or_create(paths: &NodePaths, order: &StartOrder, random: &dyn Random) -> Result<Opened, Problem> {
    if order.fresh || !exists(paths) {
        return create(paths, order, random);
    }
    // Not used, and not taken for right either.
    limits(&order.ops_limit, &order.mem_limit)?;
    let _ = fs::remove_file(paths.unfinished());
    let password = password(order)?;
    let node = match &order.recovery_code {
        None => open(paths, &password, random)?,
        Some(code) => reset_password(paths, order, code, &password, random)?,
    };
    Ok(Opened {
        node,
        recovery_code: None,
    })
}

/// Makes a new node. Nothing may be there, unless `order` wants it put aside, which is done when all that can be
/// wrong with the order was looked at.
///
/// # Errors
/// [`Code::Exists`] when there is a node already; what is wrong with the order.
pub fn create(paths: &NodePaths, order: &StartOrder, random: &dyn Random) -> Result<Opened, Problem> {
    if !order.fresh {
        make_room(paths, order)?;
    }
    let password = password(order)?;
    if password.is_empty() {
        return Err(Problem::new(Code::Usage, "the password is empty"));
    }
    let limits = limits(&order.ops_limit, &order.mem_limit)?;
    let code = match &order.recovery_code {
        Some(words) => recovery_code(words)?,
        None => RecoveryCode::generate(random),
    };
    let keys = code.keys();
    let root = match &order.private_key {
        None => SigningKey::from_seed(&Key::copy_of(keys.root.expose_seed())),
        Some(text) => jwk::read_private(text, &password).map_err(|error| {
            let code = match error {
                JwkError::WrongPassword => Code::WrongPassword,
                JwkError::Memory(_) => Code::Io,
                _ => Code::BadData,
            };
            Problem::new(code, error.to_string())
        })?,
    };
    let (file, master) = KeyFile::create(&password, &keys, limits, random)
        .map_err(|error| Problem::new(Code::Io, "the password cannot be stretched").caused_by(&error))?;
    if order.fresh {
        put_aside(paths)?;
        make_room(paths, order)?;
    }
    write_new(&paths.unfinished(), b"")?;
    // Before anything that it explains.
    sync_folder_of(&paths.unfinished())?;
    let begins = match order.recovery_code.is_some() && !order.new_code {
        true => Begins::Perhaps,
        false => Begins::Now,
    };
    let node = found(
        paths,
        master,
        &root,
        &keys,
        begins,
        PasswordCheck::new(&password, random),
        random,
    )?;
    replace(&paths.keys(), &file.encode())?;
    let _ = fs::remove_file(paths.unfinished());
    Ok(Opened {
        node,
        recovery_code: Some(code.words()),
    })
}

/// Looks whether a new node may be made here, and clears away what a broken-off attempt left.
fn make_room(paths: &NodePaths, order: &StartOrder) -> Result<(), Problem> {
    if exists(paths) {
        return Err(Problem::new(
            Code::Exists,
            format!("there is a node in {} already", paths.root().display()),
        )
        .hint("start it with `polykey agent start`, or put it aside with `--fresh`"));
    }
    if order.existing_only {
        return Err(no_node(paths));
    }
    if paths.unfinished().exists() {
        remove_unfinished(paths)
    } else if paths.database().exists() {
        Err(Problem::new(
            Code::BadData,
            format!("the key file {} is missing", paths.keys().display()),
        )
        .hint("put it back from a backup, or begin anew with `--fresh`"))
    } else {
        Ok(())
    }
}

/// Opens an existing node with its password.
///
/// # Errors
/// [`Code::WrongPassword`], [`Code::NoNode`], [`Code::BadData`].
pub fn open(paths: &NodePaths, password: &Password, random: &dyn Random) -> Result<Node, Problem> {
    let file = read_key_file(paths)?;
    let master = file.unlock_password(password).map_err(unlock_problem)?;
    load(paths, &file, master, PasswordCheck::new(password, random))
}

/// Checks a password against the key file.
///
/// # Errors
/// As [`open`].
pub fn check(paths: &NodePaths, password: &Password) -> Result<(), Problem> {
    read_key_file(paths)?
        .unlock_password(password)
        .map(drop)
        .map_err(unlock_problem)
}

/// Reads the key file.
///
/// # Errors
/// [`Code::NoNode`], [`Code::BadData`], [`Code::Io`].
pub fn read_key_file(paths: &NodePaths) -> Result<KeyFile, Problem> {
    let path = paths.keys();
    let bytes = plain::read(&path, MAX_KEY_FILE_LEN).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => no_node(paths),
        _ => disk(&error, "read", &path),
    })?;
    KeyFile::parse(&bytes).map_err(|error| {
        Problem::new(
            Code::BadData,
            format!("the key file {} is damaged", path.display()),
        )
        .hint("put it back from a backup")
        .caused_by(&error)
    })
}

fn reset_password(
    paths: &NodePaths,
    order: &StartOrder,
    words: &str,
    password: &Password,
    random: &dyn Random,
) -> Result<Node, Problem> {
    let mut file = read_key_file(paths)?;
    let master = file
        .unlock_code(&recovery_code(words)?.keys())
        .map_err(unlock_problem)?;
    if password.is_empty() {
        return Err(Problem::new(Code::Usage, "the password is empty"));
    }
    file.set_password(
        &master,
        password,
        limits(&order.ops_limit, &order.mem_limit)?,
        random,
    )
    .map_err(|error| Problem::new(Code::Io, "the password cannot be stretched").caused_by(&error))?;
    replace(&paths.keys(), &file.encode())?;
    load(paths, &file, master, PasswordCheck::new(password, random))
}

/// Opens a node again with the keys of its recovery code, which then open what was sealed to the code.
///
/// # Errors
/// As [`open`].
pub fn reopen(paths: &NodePaths, keys: &RecoveryKeys, check: PasswordCheck) -> Result<Node, Problem> {
    let file = read_key_file(paths)?;
    let master = file.unlock_code(keys).map_err(unlock_problem)?;
    let db = Database::open(&paths.database(), &database_key(&master), &StoreEnv::default())
        .map_err(|error| failure::store(&error))?;
    successor::settle(&db, paths, &file)?;
    read_node(paths, master, db, check, Some(&keys.code))
}

/// Whether a new node is new, or perhaps an old one on an empty disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begins {
    Now,
    Perhaps,
}

/// Writes what a new node is.
fn found(
    paths: &NodePaths,
    master: MasterKey,
    root: &SigningKey,
    recovery: &RecoveryKeys,
    begins: Begins,
    password: PasswordCheck,
    random: &dyn Random,
) -> Result<Node, Problem> {
    let encryption = EncryptionKey::random(random);
    let key_record = KeyRecord::first(root, encryption.public());
    let sigchain_start = SigchainStart::sign(root, recovery, &key_record, SystemClock.now());
    let db = Database::create(&paths.database(), &database_key(&master), &StoreEnv::default())
        .map_err(|error| failure::store(&error))?;
    let root_seed = Key::copy_of(root.expose_seed());
    db.write(|tx| {
        for (name, seed) in [(ROOT, &root_seed), (ENCRYPTION, encryption.expose_seed())] {
            let sealed = master.seal_seed(label::MASTER_ROOT, name, seed, random);
            tx.put(IDENTITY, SEEDS, name, &sealed)?;
        }
        if begins == Begins::Perhaps {
            tx.put(IDENTITY, RESTORED, b"", &[])?;
        }
        tx.put(IDENTITY, KEY_RECORDS, &0u64.to_be_bytes(), key_record.as_bytes())?;
        tx.put(IDENTITY, SIGCHAIN, &0u64.to_be_bytes(), sigchain_start.as_bytes())
    })
    .map_err(|error| failure::store(&error))?;
    read_node(paths, master, db, password, None)
}

fn load(
    paths: &NodePaths,
    file: &KeyFile,
    master: MasterKey,
    password: PasswordCheck,
) -> Result<Node, Problem> {
    let db = Database::open(&paths.database(), &database_key(&master), &StoreEnv::default())
        .map_err(|error| failure::store(&error))?;
    successor::settle(&db, paths, file)?;
    read_node(paths, master, db, password, None)
}

/// The node whose records are in `db`; `code` opens what was sealed to its recovery code.
fn read_node(
    paths: &NodePaths,
    master: MasterKey,
    db: Database,
    password: PasswordCheck,
    code: Option<&EncryptionKey>,
) -> Result<Node, Problem> {
    let damaged = |error: &dyn std::error::Error| {
        Problem::new(Code::BadData, "the node's own records are damaged")
            .hint("put the node path back from a backup")
            .caused_by(error)
    };
    let record = |group: &[u8], item: &[u8]| {
        db.read(|tx| tx.value(IDENTITY, group, item))
            .map_err(|error| failure::store(&error))?
            .ok_or_else(|| Problem::new(Code::BadData, "a record of the node itself is missing"))
    };
    let seed = |name: &[u8]| {
        let sealed = record(SEEDS, name)?;
        master
            .open_seed(label::MASTER_ROOT, name, sealed.expose())
            .map_err(|error| damaged(&error))
    };
    let root = SigningKey::from_seed(&seed(ROOT)?);
    let former = db
        .read(|tx| tx.group(IDENTITY, FORMER))
        .map_err(|error| failure::store(&error))?
        .into_iter()
        .zip(0..)
        .map(|((_, sealed), number)| {
            master
                .open_seed(label::MASTER_ROOT, &former_context(number), sealed.expose())
                .map(|seed| SigningKey::from_seed(&seed))
                .map_err(|error| damaged(&error))
        })
        .collect::<Result<Vec<_>, Problem>>()?;
    let encryption = EncryptionKey::from_seed(&seed(ENCRYPTION)?);
    let newest = db
        .read(|tx| tx.group(IDENTITY, KEY_RECORDS))
        .map_err(|error| failure::store(&error))?
        .pop()
        .ok_or_else(|| Problem::new(Code::BadData, "the node has no key record"))?
        .1;
    let key_record =
        KeyRecord::accept_unverified(newest.expose().to_vec()).map_err(|error| damaged(&error))?;
    let start = record(SIGCHAIN, &0u64.to_be_bytes())?;
    let sigchain_start =
        SigchainStart::accept_unverified(start.expose().to_vec()).map_err(|error| damaged(&error))?;
    let audit = open_audit(paths, &db, &master)?;
    let mut before = Vec::new();
    for number in 0..former.len() as u64 {
        let place = number.to_be_bytes();
        let key_record = KeyRecord::accept_unverified(record(FORMER_RECORDS, &place)?.expose().to_vec())
            .map_err(|error| damaged(&error))?;
        let start = SigchainStart::accept_unverified(record(FORMER_STARTS, &place)?.expose().to_vec())
            .map_err(|error| damaged(&error))?;
        let rotation = db
            .read(|tx| tx.value(IDENTITY, ROTATIONS, &place))
            .map_err(|error| failure::store(&error))?
            .map(|claim| Rotation::accept_unverified(claim.expose().to_vec()))
            .transpose()
            .map_err(|error| damaged(&error))?;
        before.push((key_record, start, rotation));
    }
    let mut reigns: Vec<Reign<'_>> = (former.iter().zip(&before))
        .map(|(root, (_, start, rotation))| Reign {
            root,
            start,
            rotation: rotation.as_ref(),
        })
        .collect();
    reigns.push(Reign {
        root: &root,
        start: &sigchain_start,
        rotation: None,
    });
    match own::settle(&db, &reigns, SystemClock.now()) {
        // A full disk keeps nobody from removing secrets; the next opening tries again.
        Err(problem) if problem.code == Code::DiskFull => tracing::warn!("the sigchain waits: {problem}"),
        settled => settled?,
    }
    let mut present = identity(&root, &encryption, &key_record, &sigchain_start);
    if let Some(code) = code {
        present = present.with_code(EncryptionKey::from_seed(code.expose_seed()));
    }
    let mut me = vec![Acting {
        identity: present,
        rotation: None,
    }];
    let is_restored = db
        .read(|tx| tx.contains(IDENTITY, RESTORED, b""))
        .map_err(|error| failure::store(&error))?;
    for (root, (key_record, start, rotation)) in former.iter().zip(&before).rev() {
        me.push(Acting {
            identity: identity(root, &encryption, key_record, start),
            rotation: rotation.clone(),
        });
    }
    let vaults = open_vaults(paths, &db, &master, me)?;
    let mut succession: Vec<Rotation> = (before.into_iter().rev())
        .map_while(|(_, _, rotation)| rotation)
        .collect();
    succession.reverse();
    let contacts = Contacts::load(db.clone(), root.public())?;
    let gestalts = Gestalts::new(db.clone(), root.public());
    let seeker = Seeker::new(db.clone());
    let post = Post::new(db.clone(), root.public());
    let shares = Shares::new(db.clone());
    let people = People::new(db.clone());
    let tickets = Tickets::new(db.clone());
    let replicas = Replicas::new(db.clone(), root.public());
    Ok(Node {
        allowance: Allowance::default(),
        master,
        root,
        encryption,
        key_record,
        sigchain_start,
        db,
        audit,
        vaults,
        contacts,
        gestalts,
        seeker,
        post,
        shares,
        people,
        tickets,
        replicas,
        password: RwLock::new(password),
        former,
        succession,
        is_restored: AtomicBool::new(is_restored),
        turns: Turns::default(),
        rounds: Rounds::default(),
        closing: tokio::sync::watch::Sender::new(false),
    })
}

/// Who acts in the vaults: the node, with copies of its keys.
fn identity(
    root: &SigningKey,
    encryption: &EncryptionKey,
    key_record: &KeyRecord,
    start: &SigchainStart,
) -> Identity {
    let keys = MemberKeys {
        recovery: start.recovery_public(),
        code: start.code_public().clone(),
        device: DeviceKey {
            record: key_record.id(),
            number: key_record.number(),
            public: encryption.public(),
        },
    };
    let signer = Key::fill_with(|bytes| bytes.copy_from_slice(root.expose_seed()));
    let device = EncryptionKey::from_seed(encryption.expose_seed());
    Identity::new(
        SigningKey::from_seed(&signer),
        keys,
        vec![(key_record.number(), device)],
    )
}

fn open_vaults(
    paths: &NodePaths,
    db: &Database,
    master: &MasterKey,
    me: Vec<Acting>,
) -> Result<Vaults, Problem> {
    let keys = master.derive(label::MASTER_DATABASE, b"vault folders");
    Vaults::load(db.clone(), keys, me, paths.root())
}

fn database_key(master: &MasterKey) -> Key {
    master.derive(label::MASTER_DATABASE, b"node")
}

fn open_audit(paths: &NodePaths, db: &Database, master: &MasterKey) -> Result<Audit, Problem> {
    let key = master.derive(label::MASTER_AUDIT, b"");
    Audit::open(db.clone(), key, &paths.audit_tail()).map_err(|error| failure::store(&error))
}

/// The password of an order.
///
/// # Errors
/// [`Code::Usage`] when there is none, or it is no text.
pub fn password(order: &StartOrder) -> Result<Password, Problem> {
    let text = order
        .password
        .as_ref()
        .ok_or_else(|| Problem::new(Code::Usage, "a password is needed"))?;
    let bytes = data_encoding::BASE64
        .decode(text.as_bytes())
        .map(SecretBytes::new)
        .map_err(|_| Problem::new(Code::Usage, "the password is not in base64"))?;
    Password::parse(bytes.expose()).map_err(|error| Problem::new(Code::Usage, error.to_string()))
}

/// What one guess at a password shall cost, by name.
///
/// # Errors
/// [`Code::Usage`].
pub fn limits(ops: &Option<String>, memory: &Option<String>) -> Result<Limits, Problem> {
    let level = |text: &Option<String>| match text {
        None => Ok(Level::default()),
        Some(text) => text.parse().map_err(|_| {
            Problem::new(Code::Usage, format!("there is no password limit {text:?}"))
                .hint("use one of min, interactive, moderate, sensitive, max")
        }),
    };
    Ok(Limits::named(level(ops)?, level(memory)?))
}

/// The words of a new recovery code, for a user who shall see it before there is a node.
pub fn new_recovery_code() -> String {
    let words = RecoveryCode::generate(&OsRandom).words();
    String::from_utf8_lossy(words.expose()).into_owned()
}

/// Reads a recovery code.
///
/// # Errors
/// [`Code::BadData`].
pub fn recovery_code(words: &str) -> Result<RecoveryCode, Problem> {
    RecoveryCode::parse(words).map_err(|error| Problem::new(Code::BadData, error.to_string()))
}

fn unlock_problem(error: UnlockError) -> Problem {
    match error {
        UnlockError::WrongPassword => wrong_password(),
        UnlockError::WrongCode => {
            Problem::new(Code::WrongPassword, "the recovery code belongs to another node")
        }
        UnlockError::Memory(error) => {
            Problem::new(Code::Io, "there is too little memory to check the password").caused_by(&error)
        }
        other => Problem::new(Code::BadData, "the key file is damaged").caused_by(&other),
    }
}

fn no_node(paths: &NodePaths) -> Problem {
    Problem::new(
        Code::NoNode,
        format!("there is no node in {} yet", paths.root().display()),
    )
    .hint("run `polykey init`, or `polykey bootstrap` in a script")
}

/// Writes a file that is new: what an interruption left there goes first, and a link with it.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Problem> {
    let write = || {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|error| disk(&error, "write", path))
}

/// Replaces the file at `path` as a whole: written and synced beside it, renamed, and the folder synced.
/// Nothing of the old one stays.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), Problem> {
    let beside = path.with_extension("new");
    write_new(&beside, bytes)?;
    fs::rename(&beside, path).map_err(|error| disk(&error, "write", path))?;
    sync_folder_of(path)
}

/// Makes the name `path` durable.
pub(crate) fn sync_folder_of(path: &Path) -> Result<(), Problem> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    sync_folder(folder).map_err(|error| disk(&error, "sync", folder))
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn remove_unfinished(paths: &NodePaths) -> Result<(), Problem> {
    let all = fs::read_dir(paths.root()).map_err(|error| disk(&error, "read", paths.root()))?;
    for entry in all.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("node.db") || name == "keys.new" || name == "audit.tail" {
            fs::remove_file(entry.path()).map_err(|error| disk(&error, "remove", &entry.path()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_that_cannot_be_looked_at_is_not_replaced() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let paths = NodePaths::new(dir.path().to_owned());
        assert!(!exists(&paths));
        // A link to itself: looking at it fails, as it does on a disk that does.
        std::os::unix::fs::symlink("keys", paths.keys()).expect("links");
        let order = StartOrder {
            password: Some(data_encoding::BASE64.encode(b"correct horse")),
            ops_limit: Some("min".to_owned()),
            mem_limit: Some("min".to_owned()),
            ..StartOrder::default()
        };
        let made = create(&paths, &order, &OsRandom).map(drop);
        assert_eq!(made.map_err(|problem| problem.code), Err(Code::Exists));
        assert!(!paths.database().exists());
        assert!(!exists(&NodePaths::new(dir.path().join("keys-not-there/deeper"))));
    }

    #[test]
    fn a_key_file_that_is_no_file_is_told_and_not_waited_for() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let paths = NodePaths::new(dir.path().to_owned());
        rustix::fs::mknodat(
            rustix::fs::CWD,
            paths.keys(),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .expect("makes a pipe");
        let problem = read_key_file(&paths).expect_err("a pipe");
        assert_eq!(problem.code, Code::Io);
        assert!(problem.message.contains("no plain file"), "{problem}");
    }
}
