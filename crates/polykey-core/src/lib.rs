//! The vocabulary of polykey: ids, secret bytes, keys, sealing, signatures, canonical encoding, paths.
//!
//! Everything else stands on this crate, and it stands on nothing of ours. Clock and randomness are
//! traits ([`Clock`], [`Random`]), so that a caller decides where time and chance come from.
//!
//! Always: no I/O, no async, no environment. Start at [`statement`] for what is signed, at [`aead`]
//! for what is sealed, and at [`label`] for every domain-separation string.

pub mod aead;
pub mod clock;
pub mod codec;
pub mod genesis;
pub mod hash;
pub mod id;
pub mod kdf;
pub mod key_file;
pub mod key_record;
pub mod label;
pub mod padme;
pub mod password;
pub mod path;
pub mod random;
pub mod recovery;
pub mod rotation;
pub mod scrub;
pub mod sealing;
pub mod secret;
pub mod share;
pub mod sign;
pub mod statement;
pub mod user_box;
pub mod user_signature;

pub use clock::{Clock, Timestamp};
pub use id::{ActorId, KeyRecordId, NodeId, ObjectId, StatementId, VaultId};
pub use path::{PathError, SecretPath, Segment, VaultName};
pub use random::Random;
pub use secret::{Key, SecretBytes};
