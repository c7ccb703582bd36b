//! New passwords and new root keys.
//!
//! The master key stays, so nothing at rest is sealed again: a new password rewrites one slot of the key
//! file, a new root key both slots and the node's own records. The former root key is kept, sealed: vaults
//! that were joined with it go on under it until their charters know the new one.

use polykey_api::Problem;
use polykey_api::keys::Renewed;
use polykey_api::{Code, keys::RenewRequest};
use polykey_core::genesis::SigchainStart;
use polykey_core::key_record::KeyRecord;
use polykey_core::password::{Limits, Password};
use polykey_core::recovery::RecoveryCode;
use polykey_core::rotation::Rotation;
use polykey_core::sign::SigningKey;
use polykey_core::{Clock, Key, Random, clock::SystemClock, label};

use crate::failure;
use crate::node::{Node, PasswordCheck};
use crate::open::{
    self, FORMER, FORMER_RECORDS, FORMER_STARTS, KEY_RECORDS, ROOT, ROTATIONS, SEEDS, SIGCHAIN,
    former_context,
};
use crate::paths::NodePaths;
use crate::tables::IDENTITY;

/// Whether the old root key names the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tie {
    /// It does, and the recovery key too: others can follow.
    Named,
    /// It does not.
    None,
}

/// Makes `password` the one that opens the node. The old one opens no file any more.
///
/// # Errors
/// What the disk says; the old password then still holds.
pub fn set_password(
    node: &Node,
    paths: &NodePaths,
    password: &Password,
    limits: Limits,
    random: &dyn Random,
) -> Result<(), Problem> {
    let mut file = open::read_key_file(paths)?;
    file.set_password(&node.master, password, limits, random)
        .map_err(|error| Problem::new(Code::Io, "the password cannot be stretched").caused_by(&error))?;
    open::replace(&paths.keys(), &file.encode())?;
    node.set_password_check(PasswordCheck::new(password, random));
    Ok(())
}

/// Takes a new root key from a new recovery code. The node must be opened again to use it.
///
/// # Errors
/// [`Code::WrongPassword`] when the recovery code is needed and is not this node's; what the disk says. The
/// node then still opens with the old password.
pub fn take_new_root(
    node: &Node,
    paths: &NodePaths,
    request: &RenewRequest,
    tie: Tie,
    password: &Password,
    limits: Limits,
    random: &dyn Random,
) -> Result<Renewed, Problem> {
    let code = RecoveryCode::generate(random);
    let keys = code.keys();
    let root = SigningKey::from_seed(&Key::copy_of(keys.root.expose_seed()));
    let rotation = match tie {
        Tie::None => None,
        Tie::Named => Some(name_successor(node, request, &root, &keys.recovery)?),
    };
    let key_record = KeyRecord::first(&root, node.encryption.public());
    let start = SigchainStart::sign(&root, &keys, &key_record, SystemClock.now());
    let mut file = open::read_key_file(paths)?;
    file.set_password(&node.master, password, limits, random)
        .map_err(|error| Problem::new(Code::Io, "the password cannot be stretched").caused_by(&error))?;
    file.set_code(&node.master, &keys, random);

    let number = node.former.len() as u64;
    let place = number.to_be_bytes();
    let sealed = |context: &[u8], key: &SigningKey| {
        let seed = Key::copy_of(key.expose_seed());
        node.master.seal_seed(label::MASTER_ROOT, context, &seed, random)
    };
    let (old, new) = (sealed(&former_context(number), &node.root), sealed(ROOT, &root));
    node.db
        .write(|tx| {
            tx.put(IDENTITY, FORMER, &place, &old)?;
            tx.put(IDENTITY, FORMER_RECORDS, &place, node.key_record.as_bytes())?;
            tx.put(IDENTITY, FORMER_STARTS, &place, node.sigchain_start.as_bytes())?;
            if let Some(rotation) = &rotation {
                tx.put(IDENTITY, ROTATIONS, &place, rotation.as_bytes())?;
            }
            tx.put(IDENTITY, SEEDS, ROOT, &new)?;
            tx.put(IDENTITY, KEY_RECORDS, &0u64.to_be_bytes(), key_record.as_bytes())?;
            tx.put(IDENTITY, SIGCHAIN, &0u64.to_be_bytes(), start.as_bytes())
        })
        .map_err(|error| failure::store(&error))?;
    // A crash before this leaves the new root key behind the old password and the old code: usable, and
    // renewed again by whoever missed the answer.
    open::replace(&paths.keys(), &file.encode())?;
    Ok(Renewed {
        node_id: root.public().to_string(),
        recovery_code: String::from_utf8_lossy(code.words().expose()).into_owned(),
    })
}

fn name_successor(
    node: &Node,
    request: &RenewRequest,
    root: &SigningKey,
    recovery: &SigningKey,
) -> Result<Rotation, Problem> {
    let words = request.recovery_code.as_deref().ok_or_else(|| {
        Problem::new(Code::Usage, "the recovery code is needed to name a successor")
            .hint("set PK_RECOVERY_CODE, or use `keys reset` when it is lost")
    })?;
    let present = open::recovery_code(words)?.keys().recovery;
    if present.public() != node.sigchain_start.recovery_public() {
        return Err(Problem::new(
            Code::WrongPassword,
            "the recovery code belongs to another node",
        ));
    }
    let place = (1, node.sigchain_start.id());
    Rotation::sign(
        &node.root,
        &present,
        place,
        SystemClock.now(),
        root.public(),
        recovery.public(),
    )
    .map_err(|error| Problem::new(Code::Internal, "the successor cannot be named").caused_by(&error))
}
