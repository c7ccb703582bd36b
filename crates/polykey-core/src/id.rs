//! Ids: fixed-length names that cannot be mixed up.
//!
//! Each has one text form and parses only that: an id that two spellings could name would let one
//! thing pass for two.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE32_DNSSEC, HEXLOWER};

/// The text is not an id of the kind that was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {what}")]
pub struct IdError {
    /// The kind of id, in words.
    pub what: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $what:literal, $encode:expr, $decode:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// The id with these bytes.
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                $name(bytes)
            }

            /// The bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = IdError;

            fn try_from(bytes: &[u8]) -> Result<Self, IdError> {
                bytes.try_into().map($name).map_err(|_| IdError { what: $what })
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let decode: fn(&str) -> Option<Vec<u8>> = $decode;
                let id = decode(text)
                    .and_then(|bytes| <[u8; $len]>::try_from(bytes).ok())
                    .map($name)
                    .ok_or(IdError { what: $what })?;
                // Only the spelling that we print: a second one would be a second name.
                if id.to_string() == text { Ok(id) } else { Err(IdError { what: $what }) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let encode: fn(&[u8]) -> String = $encode;
                f.write_str(&encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

fn to_hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    HEXLOWER.decode(text.as_bytes()).ok()
}

id!(
    /// A node: its Ed25519 public key. Text: multibase base32hex, `v` and 52 characters.
    NodeId,
    32,
    "node id",
    |bytes| format!("v{}", BASE32_DNSSEC.encode(bytes)),
    |text| BASE32_DNSSEC.decode(text.strip_prefix('v')?.as_bytes()).ok()
);
id!(
    /// A vault: the id of its genesis entry. Text: multibase base58btc, `z` and up to 44 characters.
    VaultId,
    32,
    "vault id",
    |bytes| format!("z{}", bs58::encode(bytes).into_string()),
    |text| {
        // 32 bytes need at most 44 characters; base58 takes time quadratic in its input.
        let body = text.strip_prefix('z').filter(|body| body.len() <= 44)?;
        bs58::decode(body).into_vec().ok()
    }
);
id!(
    /// A signed statement (commit, charter entry, claim, ...): BLAKE3-256 of its kind and payload.
    StatementId,
    32,
    "statement id",
    to_hex,
    from_hex
);
id!(
    /// A sealed piece of content: BLAKE3-256 of its ciphertext.
    ObjectId,
    32,
    "object id",
    to_hex,
    from_hex
);
id!(
    /// A numbered key record of a node: the id of the statement that published it.
    KeyRecordId,
    32,
    "key record id",
    to_hex,
    from_hex
);
id!(
    /// One line of commits in a vault: random, one for each node and store incarnation.
    ActorId,
    16,
    "actor id",
    to_hex,
    from_hex
);

impl From<StatementId> for KeyRecordId {
    fn from(id: StatementId) -> Self {
        KeyRecordId(id.0)
    }
}

impl From<StatementId> for VaultId {
    /// A vault is named by its genesis entry.
    fn from(id: StatementId) -> Self {
        VaultId(id.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_ids_are_v_and_52_characters() {
        let id = NodeId::from_bytes([0xab; 32]);
        let text = id.to_string();
        assert_eq!((text.len(), &text[..1]), (53, "v"));
        assert_eq!(text.parse(), Ok(id));
    }

    #[test]
    fn only_the_printed_spelling_parses() {
        let node = NodeId::from_bytes([0xab; 32]).to_string();
        let vault = VaultId::from_bytes([0xab; 32]).to_string();
        for bad in [
            "",
            "v",
            "z",
            &node[1..],
            &node.to_uppercase(),
            &format!("{node}0"),
            &format!("V{}", &node[1..]),
            &vault,
        ] {
            assert!(bad.parse::<NodeId>().is_err(), "{bad:?}");
        }
        for bad in [
            "",
            "z",
            &vault[1..],
            &format!("{vault}1"),
            &format!("z1{}", &vault[1..]),
            &"z".repeat(100_000),
            &node,
        ] {
            assert!(bad.parse::<VaultId>().is_err(), "{bad:?}");
        }
        // The last character of a node id carries four unused bits; they must be zero.
        let loose = format!("{}h", &node[..52]);
        assert!(loose == node || loose.parse::<NodeId>().is_err());
        assert!("AB".repeat(32).parse::<StatementId>().is_err(), "upper case");
    }
}
