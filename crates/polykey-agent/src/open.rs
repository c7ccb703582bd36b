//! Making a node and opening it again.
//!
//! A new node is complete before its key file exists: the key file, renamed into its place and synced, is
//! the moment of birth. Whatever an interrupted birth left behind is marked as such and cleared away by the
//! next one, so there is no state that cannot be opened.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use polykey_api::start::StartOrder;
use polykey_api::{Code, Problem};
use polykey_core::genesis::SigchainStart;
use polykey_core::key_file::{KeyFile, MAX_KEY_FILE_LEN, MasterKey, UnlockError};
use polykey_core::key_record::KeyRecord;
use polykey_core::password::{Level, Limits, Password};
use polykey_core::recovery::{RecoveryCode, RecoveryKeys};
use polykey_core::sealing::EncryptionKey;
use polykey_core::sign::SigningKey;
use polykey_core::{Clock, Key, Random, SecretBytes, clock::SystemClock, label};

use crate::door::wrong_password;
use crate::node::{Node, PasswordCheck};
use crate::paths::NodePaths;

/// What [`open_or_create`] gives.
pub struct Opened {
    /// The node.
    pub node: Node,
    /// The recovery code, when the node is new.
    pub recovery_code: Option<SecretBytes>,
}

/// True when a node lives in this path.
pub fn exists(paths: &NodePaths) -> bool {
    paths.keys().exists()
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

/// Makes a new node. Nothing may be there, unless `order` wants it put aside.
///
/// # Errors
/// [`Code::Exists`] when there is a node already.
pub fn create(paths: &NodePaths, order: &StartOrder, random: &dyn Random) -> Result<Opened, Problem> {
    if order.fresh {
        put_aside(paths)?;
    }
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
        remove_unfinished(paths)?;
    } else if paths.database().exists() {
        return Err(Problem::new(
            Code::BadData,
            format!("the key file {} is missing", paths.keys().display()),
        )
        .hint("put it back from a backup, or begin anew with `--fresh`"));
    }
    let password = password(order)?;
    if password.is_empty() {
        return Err(Problem::new(Code::Usage, "the password is empty"));
    }
    let limits = limits(order)?;
    let code = match &order.recovery_code {
        Some(words) => recovery_code(words)?,
        None => RecoveryCode::generate(random),
    };
    let keys = code.keys();
    let root = SigningKey::from_seed(&Key::from_array(*keys.root.expose_seed()));
    write_new(&paths.unfinished(), b"")?;
    let (file, master) = KeyFile::create(&password, &keys, limits, random)
        .map_err(|error| Problem::new(Code::Io, "the password cannot be stretched").caused_by(&error))?;
    let node = found(
        paths,
        master,
        root,
        &keys,
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

/// Opens an existing node with its password.
///
/// # Errors
/// [`Code::WrongPassword`], [`Code::NoNode`], [`Code::BadData`].
pub fn open(paths: &NodePaths, password: &Password, random: &dyn Random) -> Result<Node, Problem> {
    let master = read_key_file(paths)?
        .unlock_password(password)
        .map_err(unlock_problem)?;
    load(paths, master, PasswordCheck::new(password, random))
}

/// Reads the key file.
///
/// # Errors
/// [`Code::NoNode`], [`Code::BadData`], [`Code::Io`].
pub fn read_key_file(paths: &NodePaths) -> Result<KeyFile, Problem> {
    let path = paths.keys();
    let bytes = read_small(&path, MAX_KEY_FILE_LEN).map_err(|error| match error.kind() {
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
    file.set_password(&master, password, limits(order)?, random)
        .map_err(|error| Problem::new(Code::Io, "the password cannot be stretched").caused_by(&error))?;
    replace(&paths.keys(), &file.encode())?;
    load(paths, master, PasswordCheck::new(password, random))
}

/// Writes what a new node is.
fn found(
    paths: &NodePaths,
    master: MasterKey,
    root: SigningKey,
    recovery: &RecoveryKeys,
    password: PasswordCheck,
    random: &dyn Random,
) -> Result<Node, Problem> {
    let encryption = EncryptionKey::random(random);
    let key_record = KeyRecord::first(&root, encryption.public());
    let sigchain_start = SigchainStart::sign(&root, recovery, &key_record, SystemClock.now());
    let root_seed = Key::from_array(*root.expose_seed());
    let parts = [
        master.seal_seed(label::MASTER_ROOT, b"root", &root_seed, random),
        master.seal_seed(
            label::MASTER_ROOT,
            b"encryption",
            encryption.expose_seed(),
            random,
        ),
        key_record.as_bytes().to_vec(),
        sigchain_start.as_bytes().to_vec(),
    ];
    let mut writer = polykey_core::codec::Writer::new();
    writer.array(parts.len());
    for part in &parts {
        writer.bytes(part);
    }
    replace(&paths.database(), &writer.finish())?;
    Ok(Node {
        master,
        root,
        encryption,
        key_record,
        sigchain_start,
        password,
    })
}

fn load(paths: &NodePaths, master: MasterKey, password: PasswordCheck) -> Result<Node, Problem> {
    let damaged = |error: &dyn std::error::Error| {
        Problem::new(Code::BadData, "the node's database is damaged").caused_by(error)
    };
    let path = paths.database();
    let bytes = read_small(&path, 1 << 20).map_err(|error| disk(&error, "read", &path))?;
    let mut reader =
        polykey_core::codec::Reader::new(&bytes, 1 << 20, "the node's identity").map_err(|e| damaged(&e))?;
    reader.array_of(4).map_err(|e| damaged(&e))?;
    let mut part = || reader.bytes().map_err(|e| damaged(&e));
    let root = master
        .open_seed(label::MASTER_ROOT, b"root", part()?)
        .map_err(|e| damaged(&e))?;
    let encryption = master
        .open_seed(label::MASTER_ROOT, b"encryption", part()?)
        .map_err(|e| damaged(&e))?;
    let key_record = KeyRecord::accept_unverified(part()?.to_vec()).map_err(|e| damaged(&e))?;
    let sigchain_start = SigchainStart::accept_unverified(part()?.to_vec()).map_err(|e| damaged(&e))?;
    Ok(Node {
        master,
        root: SigningKey::from_seed(&root),
        encryption: EncryptionKey::from_seed(&encryption),
        key_record,
        sigchain_start,
        password,
    })
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

fn limits(order: &StartOrder) -> Result<Limits, Problem> {
    let level = |text: &Option<String>| match text {
        None => Ok(Level::default()),
        Some(text) => text.parse().map_err(|_| {
            Problem::new(Code::Usage, format!("there is no password limit {text:?}"))
                .hint("use one of min, interactive, moderate, sensitive, max")
        }),
    };
    Ok(Limits::named(level(&order.ops_limit)?, level(&order.mem_limit)?))
}

fn recovery_code(words: &str) -> Result<RecoveryCode, Problem> {
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

/// A problem with a file.
pub fn disk(error: &io::Error, what: &str, path: &Path) -> Problem {
    let code = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::DiskFull,
        _ => Code::Io,
    };
    Problem::new(code, format!("cannot {what} {}", path.display())).caused_by(error)
}

fn read_small(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::Read::read_to_end(
        &mut io::Read::take(File::open(path)?, limit as u64 + 1),
        &mut bytes,
    )?;
    Ok(bytes)
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Problem> {
    let write = || {
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
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
    let rename = || {
        fs::rename(&beside, path)?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    };
    rename().map_err(|error| disk(&error, "write", path))
}

/// Moves what lies in the node path, but for the lock and its socket, into `discarded/<time>`.
fn put_aside(paths: &NodePaths) -> Result<(), Problem> {
    let target = paths
        .root()
        .join("discarded")
        .join(SystemClock.now().as_millis().to_string());
    let moved = || -> io::Result<()> {
        let all: Vec<_> = fs::read_dir(paths.root())?.collect::<Result<_, _>>()?;
        let kept = [
            "agent.lock",
            "agent.sock",
            "agent.log",
            "config.toml",
            "discarded",
        ];
        let old: Vec<_> = all
            .into_iter()
            .filter(|entry| !kept.iter().any(|kept| entry.file_name() == *kept))
            .collect();
        if old.is_empty() {
            return Ok(());
        }
        fs::create_dir_all(&target)?;
        for entry in old {
            fs::rename(entry.path(), target.join(entry.file_name()))?;
        }
        Ok(())
    };
    moved().map_err(|error| disk(&error, "put aside what lies in", paths.root()))
}

fn remove_unfinished(paths: &NodePaths) -> Result<(), Problem> {
    let all = fs::read_dir(paths.root()).map_err(|error| disk(&error, "read", paths.root()))?;
    for entry in all.flatten() {
        let name = entry.file_name();
        if name.to_string_lossy().starts_with("node.db") || name == "keys.new" {
            fs::remove_file(entry.path()).map_err(|error| disk(&error, "remove", &entry.path()))?;
        }
    }
    Ok(())
}
