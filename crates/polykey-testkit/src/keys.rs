//! The keys of a node that can be told from its recovery code, for tests that search for them.

use polykey_core::key_file::KeyFile;
use polykey_core::label;
use polykey_core::recovery::RecoveryCode;

/// Secret keys of the node with this recovery code and key file, with a name for each: the seeds that the code
/// gives, and what is derived from the master key.
///
/// # Panics
/// When the code does not open the key file.
pub fn of_node(code: &str, key_file: &[u8]) -> Vec<(&'static str, [u8; 32])> {
    let keys = RecoveryCode::parse(code).expect("a recovery code").keys();
    let master = KeyFile::parse(key_file)
        .expect("a key file")
        .unlock_code(&keys)
        .expect("the code of this node");
    let derived = |label, context: &[u8]| *master.derive(label, context).expose();
    vec![
        ("the root key", *keys.root.expose_seed()),
        ("the recovery key", *keys.recovery.expose_seed()),
        ("the key of the recovery slot", *keys.slot.expose()),
        ("the key of the code", *keys.code.expose_seed().expose()),
        (
            "the key of the database",
            derived(label::MASTER_DATABASE, b"node"),
        ),
        (
            "the key of all vaults",
            derived(label::MASTER_DATABASE, b"vault folders"),
        ),
        ("the key of the audit log", derived(label::MASTER_AUDIT, b"")),
    ]
}
