//! Every label that separates one use of a primitive from another, in one table.
//!
//! A label is what a hash, a key derivation, a signature or an associated data starts with. All end in
//! a zero byte and none is a prefix of another, which a test proves, so bytes made for one purpose
//! never pass for another. The only way to get a [`Label`] is this file.

/// A domain-separation label. Made only in this file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Label(&'static str);

impl Label {
    /// The bytes that go first, with the zero byte at their end.
    pub const fn as_bytes(self) -> &'static [u8] {
        self.0.as_bytes()
    }
}

/// One row of the table: the name of the constant, the label, and its use in words.
pub type Row = (&'static str, Label, &'static str);

macro_rules! labels {
    ($(#[doc = $use:literal] $name:ident = $text:literal;)*) => {
        $(#[doc = $use] pub const $name: Label = Label(concat!("polykey/v1/", $text, "\0"));)*

        /// The whole table, for the tests and for `docs/format.md`.
        pub const ALL: &[Row] = &[$((stringify!($name), $name, $use)),*];
    };
}

labels! {
    // Signed statements: the prefix of what is signed and hashed is the label of its kind.
    /// Signature and id of a vault commit.
    COMMIT = "statement/commit";
    /// Signature and id of a charter entry.
    CHARTER = "statement/charter";
    /// Signature and id of a node's key record.
    KEY_RECORD = "statement/key-record";
    /// Signature and id of a sigchain entry.
    CLAIM = "statement/claim";
    /// Signature and id of a checkpoint of the audit log.
    AUDIT_CHECKPOINT = "statement/audit-checkpoint";
    /// Signature and id of a notification.
    NOTIFICATION = "statement/notification";
    /// Signature over bytes that a user chose (`keys sign`).
    USER_SIGNATURE = "statement/user-signature";
    /// Signature and id of a link between two nodes.
    LINK = "statement/link";
    /// Signature and id of a statement about the shares of a recovery code.
    RECOVERY_SPLIT = "statement/recovery-split";

    // Keys derived from the recovery code.
    /// Key-file slot key.
    RECOVERY_SLOT = "recovery/slot";
    /// Seed of the Ed25519 recovery key.
    RECOVERY_KEY = "recovery/signing";
    /// Seed of the X-Wing code key.
    RECOVERY_CODE_KEY = "recovery/code-key";

    // Shares of the recovery code.
    /// Seed of the Ed25519 key that follows from a share.
    RECOVERY_SHARE_KEY = "share/key";
    /// HPKE info of a share that is left with its holder.
    RECOVERY_SHARE_SEAL = "share/seal";
    /// HPKE info of a share that is released to whoever asked for it.
    RECOVERY_SHARE_RELEASE = "share/release";
    /// Signature by which a holder proves that it has its share.
    RECOVERY_SHARE_PROOF = "share/proof";

    // The key file.
    /// Associated data of a key-file slot.
    KEY_FILE_SLOT = "key-file/slot";
    /// Key commitment of a key-file slot.
    KEY_FILE_COMMITMENT = "key-file/commitment";
    /// Wrapping key of a key-file slot.
    KEY_FILE_WRAP = "key-file/wrap";
    /// Hash that tells a damaged key file from a wrong password.
    KEY_FILE_CHECKSUM = "key-file/checksum";

    // Keys derived from the node master key.
    /// Master key -> database key, by database id.
    MASTER_DATABASE = "master/database";
    /// Master key -> key that seals the root key in the node database.
    MASTER_ROOT = "master/root";
    /// Master key -> key that seals an encryption key in the node database.
    MASTER_ENCRYPTION = "master/encryption";
    /// Master key -> key of the audit chain.
    MASTER_AUDIT = "master/audit";

    // The store.
    /// Database key -> key that seals records.
    STORE_RECORD = "store/record";
    /// Database key -> key that hides logical keys.
    STORE_INDEX = "store/index";
    /// Database key -> key of the multiset hashes.
    STORE_STATE = "store/state";
    /// Keyed hash that tells a wrong key from a damaged database.
    STORE_KEY_CHECK = "store/key-check";
    /// Hash that chains the rows of the state log.
    STORE_CHAIN = "store/chain";
    /// Associated data of a sealed record.
    STORE_RECORD_AAD = "store/record-aad";
    /// Associated data of a sealed state root.
    STORE_STATE_AAD = "store/state-aad";
    /// Keyed hash of a group.
    STORE_GROUP = "store/group";
    /// Keyed hash of an item.
    STORE_ITEM = "store/item";
    /// Keyed hash of one record in a multiset hash.
    STORE_MULTISET = "store/multiset";

    // The vault.
    /// Content hash that names an object.
    OBJECT = "vault/object";
    /// Associated data of an object.
    OBJECT_AAD = "vault/object-aad";
    /// Hash of plain content, kept inside sealed bodies and records only.
    CONTENT_DIGEST = "vault/content-digest";
    /// Hash that names a secret by the operation that made it.
    SECRET_ID = "vault/secret-id";
    /// Hash that binds a line of commits to its author.
    LINE = "vault/line";
    /// Hash of a sealed commit body.
    COMMIT_BODY = "vault/commit-body";
    /// Associated data of a sealed commit body.
    COMMIT_BODY_AAD = "vault/commit-body-aad";
    /// Keys of all standing epoch heads -> key of a commit.
    COMMIT_KEY = "vault/commit-key";
    /// Commitment to an epoch key.
    EPOCH_COMMITMENT = "vault/epoch-commitment";
    /// Key that wraps earlier epoch keys in a later epoch.
    EPOCH_WRAP = "vault/epoch-wrap";
    /// Associated data of a wrapped earlier epoch key.
    EPOCH_WRAP_AAD = "vault/epoch-wrap-aad";
    /// HPKE info of an epoch key sealed to a member.
    EPOCH_SEAL = "vault/epoch-seal";
    /// HPKE info of the epoch keys sealed to a new member.
    EPOCH_BUNDLE = "vault/epoch-bundle";
    /// Associated data of the sealed note of a purge.
    PURGE_NOTE = "vault/purge-note";
    /// Keys of all standing epoch heads -> key of the sealed note of a purge.
    PURGE_NOTE_KEY = "vault/note-key";
    /// Hash that names a pack of a folder replica.
    PACK = "vault/pack";

    // What users sign and seal.
    /// Hash of the content that a user signature covers.
    USER_CONTENT = "user/content";
    /// HPKE info of the file key of `keys encrypt`.
    USER_SEAL = "seal/user";
    /// File key of `keys encrypt` -> key of its chunks.
    USER_BOX_KEY = "user/box-key";
    /// Associated data of a chunk of `keys encrypt`.
    USER_BOX_CHUNK = "user/box-chunk";

    // Trust.
    /// What the words for comparing two nodes are stretched from.
    NODE_WORDS = "trust/node-words";

    // The agent.
    /// Keyed hash that checks a password against an unlocked agent.
    PASSWORD_CHECK = "agent/password-check";
    /// Hash under which a session token is remembered.
    SESSION_TOKEN = "agent/session-token";
    /// Keyed hash that chains audit records.
    AUDIT_CHAIN = "agent/audit-chain";
    /// Associated data of an audit record that waits to be stored.
    AUDIT_TAIL = "agent/audit-tail";
    /// Hash that gives a certificate its serial number.
    CERTIFICATE_SERIAL = "agent/certificate-serial";
    /// Hash that names the runtime folder of a node path.
    RUNTIME_FOLDER = "agent/runtime-folder";
    /// Hash under which a ticket's secret is remembered.
    TICKET_SECRET = "agent/ticket-secret";
    /// Hash that names the folder of a copy.
    REPLICA_PLACE = "agent/replica-place";
    /// Hash that finds slips in a ticket's text.
    TICKET_CHECKSUM = "agent/ticket-checksum";
    /// Keyed hash that proves the words by which two devices pair.
    DEVICE_WORDS = "agent/device-words";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_label_is_a_prefix_of_another() {
        for (i, (a_name, a, _)) in ALL.iter().enumerate() {
            for (b_name, b, _) in &ALL[i + 1..] {
                let clash = a.as_bytes().starts_with(b.as_bytes()) || b.as_bytes().starts_with(a.as_bytes());
                assert!(!clash, "{a_name} and {b_name}");
            }
        }
    }

    #[test]
    fn labels_are_plain_text_with_one_zero_at_the_end() {
        for (name, label, _) in ALL {
            let (last, text) = label.as_bytes().split_last().expect("not empty");
            assert_eq!(*last, 0, "{name}");
            assert!(text.iter().all(|b| b.is_ascii_graphic()), "{name}");
        }
    }
}
