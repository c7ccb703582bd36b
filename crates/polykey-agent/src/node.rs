//! The node: everything that is open while the agent is unlocked.
//!
//! Always: dropping the last reference wipes every key and closes every database.

use std::sync::atomic::AtomicBool;
use std::sync::{PoisonError, RwLock};

use polykey_api::Problem;
use polykey_core::genesis::SigchainStart;
use polykey_core::hash::keyed_hash;
use polykey_core::key_file::MasterKey;
use polykey_core::key_record::KeyRecord;
use polykey_core::password::Password;
use polykey_core::rotation::Rotation;
use polykey_core::scrub::{SHALLOW, scrubbed};
use polykey_core::sealing::EncryptionKey;
use polykey_core::sign::SigningKey;
use polykey_core::{Key, NodeId, Random, SecretBytes, label};
use polykey_store::Database;
use tokio::sync::watch;

use crate::audit::Audit;
use crate::blocking::Closing;
use crate::contacts::Contacts;
use crate::devices::Turns;
use crate::discovery::Seeker;
use crate::failure;
use crate::friends::errands::Rounds;
use crate::gestalts::Gestalts;
use crate::post::Post;
use crate::replicas::Replicas;
use crate::replicas::allowance::Allowance;
use crate::sharing::people::People;
use crate::sharing::shares::Shares;
use crate::tickets::Tickets;
use crate::vaults::Vaults;

/// An unlocked node.
pub struct Node {
    /// Root of every key at rest.
    pub master: MasterKey,
    /// Signs for the node.
    pub root: SigningKey,
    /// Opens what others sealed to the node.
    pub encryption: EncryptionKey,
    /// The published form of `encryption`.
    pub key_record: KeyRecord,
    /// The first entry of the node's sigchain.
    pub sigchain_start: SigchainStart,
    /// The node's database.
    pub db: Database,
    /// The audit log, which lives in it.
    pub audit: Audit,
    /// The vaults.
    pub vaults: Vaults,
    /// The other nodes that are known.
    pub contacts: Contacts,
    /// Who belongs to whom, and what they may do to us.
    pub gestalts: Gestalts,
    /// What is to be looked at to find that out.
    pub seeker: Seeker,
    /// What they told us and we have to tell them.
    pub post: Post,
    /// Vaults that they let us into, and those that wait to be let in.
    pub shares: Shares,
    /// With whom vaults are shared, and by which nodes.
    pub people: People,
    /// Tickets that were given out.
    pub tickets: Tickets,
    /// Copies of vaults at nodes and in folders.
    pub replicas: Replicas,
    /// How much is kept for others.
    pub allowance: Allowance,
    /// Tells the password from others without stretching it again.
    pub password: RwLock<PasswordCheck>,
    /// Root keys that this node had before, oldest first.
    pub former: Vec<SigningKey>,
    /// The claims in which one after the other named its successor, up to the present one, oldest first.
    pub succession: Vec<Rotation>,
    /// True while it is not settled whether the node was somebody before: it was made from a recovery code.
    pub is_restored: AtomicBool,
    /// What keeps work on devices in line.
    pub turns: Turns,
    /// Who is on the way to whom with what is said about shares of recovery codes.
    pub rounds: Rounds,
    /// Tells those who wait for a caller that the keys go.
    pub closing: watch::Sender<bool>,
}

impl Node {
    /// Its id.
    pub fn id(&self) -> NodeId {
        self.root.public()
    }

    /// For work that waits for a caller.
    pub fn closing(&self) -> Closing {
        Closing::new(&self.closing)
    }

    /// Ends all that the node does in the background and closes its databases, also when somebody still
    /// holds a reference; whatever they try then fails as locked.
    ///
    /// # Errors
    /// When the last write to the disk failed.
    pub fn close(&self) -> Result<(), Problem> {
        self.closing.send_replace(true);
        self.vaults.close();
        let kept = self.audit.flush();
        if let Err(error) = kept {
            tracing::error!(error, "audit records are left in the tail");
        }
        self.db.close().map_err(|error| failure::store(&error))
    }

    /// True when `password` is the one that opens this node.
    pub fn is_password(&self, password: &SecretBytes) -> bool {
        self.password
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .matches(password.expose())
    }

    /// What tells the password, for this node when it is opened again.
    pub fn password_check(&self) -> PasswordCheck {
        let check = self.password.read().unwrap_or_else(PoisonError::into_inner);
        check.duplicate()
    }

    /// Another password opens the node from now on.
    pub fn set_password_check(&self, check: PasswordCheck) {
        *self.password.write().unwrap_or_else(PoisonError::into_inner) = check;
    }
}

/// A keyed hash of the password, under a key that lives as long as this value: it checks a password in
/// microseconds and is of no use to somebody who reads it from a disk, where it never is.
pub struct PasswordCheck {
    key: Key,
    digest: Key,
}

impl PasswordCheck {
    /// Remembers `password`.
    pub fn new(password: &Password, random: &dyn Random) -> Self {
        let key = Key::random(random);
        let digest = digest(&key, password);
        PasswordCheck { key, digest }
    }

    /// The same, for a node that is opened again.
    pub fn duplicate(&self) -> PasswordCheck {
        PasswordCheck {
            key: self.key.duplicate(),
            digest: self.digest.duplicate(),
        }
    }

    /// Compares in constant time. What is no password does not match.
    pub fn matches(&self, password: &[u8]) -> bool {
        Password::parse(password).is_ok_and(|password| digest(&self.key, &password) == self.digest)
    }
}

fn digest(key: &Key, password: &Password) -> Key {
    // The hash works on a copy of its input.
    scrubbed::<SHALLOW, _>(|| Key::from_array(keyed_hash(key, label::PASSWORD_CHECK, &[password.expose()])))
}

#[cfg(test)]
mod tests {
    use polykey_core::random::OsRandom;

    use super::*;

    #[test]
    fn only_the_password_matches_in_any_normal_form() {
        let check = PasswordCheck::new(&Password::new("caf\u{e9}").expect("short"), &OsRandom);
        assert!(check.matches("caf\u{e9}".as_bytes()));
        assert!(check.matches("cafe\u{301}".as_bytes()));
        for bad in [
            &b""[..],
            b"cafe",
            "caf\u{e9} ".as_bytes(),
            b"caf\xe9",
            &[b'x'; 70_000],
        ] {
            assert!(!check.matches(bad));
        }
    }
}
