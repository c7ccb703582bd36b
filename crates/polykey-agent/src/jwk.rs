//! Root keys as JSON Web Keys, plain and protected by a password.
//!
//! The forms are those of the original Polykey, so keys go both ways: a private key is a JWK (RFC 8037); a
//! protected one is `{ciphertext, iv, tag, protected}` with the header `Argon2id-1.3` and
//! `XChaCha20-Poly1305-IETF`, whose text in base64url is the associated data.

use data_encoding::BASE64URL_NOPAD;
use polykey_api::keys::{PrivateJwe, PublicJwk};
use polykey_core::aead::{NONCE_LEN, TAG_LEN, open_in_place, seal_in_place};
use polykey_core::key_record::KeyRecord;
use polykey_core::password::{Limits, Password, SALT_LEN, StretchError, stretch};
use polykey_core::random::random_array;
use polykey_core::sign::SigningKey;
use polykey_core::{Key, NodeId, Random};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

/// Longest text that is read as a key.
const MAX_LEN: usize = 64 << 10;

/// Why a text is no key for us.
#[derive(Debug, thiserror::Error)]
pub enum JwkError {
    /// Not a JWK of the kind that we use.
    #[error("this is no Ed25519 key in JWK form")]
    Malformed,
    /// Private and public half do not belong together.
    #[error("the two halves of the key do not belong together")]
    Halves,
    /// Protected with another password, or damaged.
    #[error("the password does not open the private key")]
    WrongPassword,
    /// It asks for more work than we do for a file.
    #[error("the private key asks for an impossible amount of work")]
    Cost,
    /// Not enough memory for what it asks.
    #[error("there is too little memory to open the private key")]
    Memory(#[from] StretchError),
}

/// The public keys of a node.
pub fn public(node: &NodeId, record: Option<&KeyRecord>) -> PublicJwk {
    PublicJwk {
        alg: "EdDSA".to_owned(),
        kty: "OKP".to_owned(),
        crv: "Ed25519".to_owned(),
        x: BASE64URL_NOPAD.encode(node.as_bytes()),
        ext: true,
        key_ops: vec!["verify".to_owned()],
        key_record: record.map(|record| BASE64URL_NOPAD.encode(record.as_bytes())),
    }
}

#[derive(Serialize, Deserialize)]
struct PrivateJwk {
    alg: String,
    crv: String,
    d: String,
    #[serde(default)]
    ext: bool,
    #[serde(default)]
    key_ops: Vec<String>,
    kty: String,
    x: String,
}

impl Drop for PrivateJwk {
    fn drop(&mut self) {
        self.d.zeroize();
    }
}

/// The header, in the order that canonical JSON has.
#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    cty: String,
    enc: String,
    mem: u64,
    ops: u32,
    salt: String,
}

/// Protects a root key with a password.
///
/// # Errors
/// [`JwkError::Memory`].
pub fn protect(
    key: &SigningKey,
    password: &Password,
    limits: Limits,
    random: &dyn Random,
) -> Result<PrivateJwe, JwkError> {
    let salt: [u8; SALT_LEN] = random_array(random);
    let header = Header {
        alg: "Argon2id-1.3".to_owned(),
        cty: "jwk+json".to_owned(),
        enc: "XChaCha20-Poly1305-IETF".to_owned(),
        mem: u64::from(limits.memory_kib()) << 10,
        ops: limits.passes(),
        salt: BASE64URL_NOPAD.encode(&salt),
    };
    let jwk = PrivateJwk {
        alg: "EdDSA".to_owned(),
        crv: "Ed25519".to_owned(),
        d: BASE64URL_NOPAD.encode(key.expose_seed()),
        ext: true,
        key_ops: vec!["sign".to_owned(), "verify".to_owned()],
        kty: "OKP".to_owned(),
        x: BASE64URL_NOPAD.encode(key.public().as_bytes()),
    };
    let json = |value: Result<Vec<u8>, serde_json::Error>| value.map_err(|_| JwkError::Malformed);
    let protected = BASE64URL_NOPAD.encode(&json(serde_json::to_vec(&header))?);
    let mut body = Zeroizing::new(json(serde_json::to_vec(&jwk))?);
    let nonce: [u8; NONCE_LEN] = random_array(random);
    let stretched = stretch(password, &salt, limits)?;
    let tag = seal_in_place(&stretched, &nonce, protected.as_bytes(), &mut body);
    Ok(PrivateJwe {
        ciphertext: BASE64URL_NOPAD.encode(&body),
        iv: BASE64URL_NOPAD.encode(&nonce),
        tag: BASE64URL_NOPAD.encode(&tag),
        protected,
    })
}

/// Reads a private key, plain or protected with `password`.
///
/// # Errors
/// [`JwkError`].
pub fn read_private(text: &str, password: &Password) -> Result<SigningKey, JwkError> {
    if text.len() > MAX_LEN {
        return Err(JwkError::Malformed);
    }
    match serde_json::from_str::<PrivateJwe>(text) {
        Ok(jwe) => open(&jwe, password),
        Err(_) => plain(text.as_bytes()),
    }
}

fn open(jwe: &PrivateJwe, password: &Password) -> Result<SigningKey, JwkError> {
    let decode = |text: &str| {
        BASE64URL_NOPAD
            .decode(text.as_bytes())
            .map_err(|_| JwkError::Malformed)
    };
    let header: Header = serde_json::from_slice(&decode(&jwe.protected)?).map_err(|_| JwkError::Malformed)?;
    let known = header.alg == "Argon2id-1.3" && header.enc == "XChaCha20-Poly1305-IETF";
    if !known || !header.mem.is_multiple_of(1024) {
        return Err(JwkError::Malformed);
    }
    let memory = u32::try_from(header.mem >> 10).map_err(|_| JwkError::Cost)?;
    let limits = Limits::checked(header.ops, memory).map_err(|_| JwkError::Cost)?;
    let salt: [u8; SALT_LEN] = decode(&header.salt)?
        .try_into()
        .map_err(|_| JwkError::Malformed)?;
    let nonce: [u8; NONCE_LEN] = decode(&jwe.iv)?.try_into().map_err(|_| JwkError::Malformed)?;
    let tag = decode(&jwe.tag)?;
    if tag.len() != TAG_LEN {
        return Err(JwkError::Malformed);
    }
    let mut body = Zeroizing::new([decode(&jwe.ciphertext)?, tag].concat());
    let stretched = stretch(password, &salt, limits)?;
    let len = open_in_place(&stretched, &nonce, jwe.protected.as_bytes(), &mut body)
        .map_err(|_| JwkError::WrongPassword)?;
    plain(&body[..len])
}

fn plain(json: &[u8]) -> Result<SigningKey, JwkError> {
    let jwk: PrivateJwk = serde_json::from_slice(json).map_err(|_| JwkError::Malformed)?;
    if jwk.kty != "OKP" || jwk.crv != "Ed25519" {
        return Err(JwkError::Malformed);
    }
    let seed = Zeroizing::new(
        BASE64URL_NOPAD
            .decode(jwk.d.as_bytes())
            .map_err(|_| JwkError::Malformed)?,
    );
    let key = SigningKey::from_seed(&Key::copy_from(&seed).ok_or(JwkError::Malformed)?);
    if BASE64URL_NOPAD.encode(key.public().as_bytes()) == jwk.x {
        Ok(key)
    } else {
        Err(JwkError::Halves)
    }
}

#[cfg(test)]
mod tests {
    use polykey_core::password::Level;
    use polykey_core::random::OsRandom;

    use super::*;

    fn password(text: &str) -> Password {
        Password::new(text).expect("short")
    }

    fn protected() -> (SigningKey, PrivateJwe) {
        let key = SigningKey::random(&OsRandom);
        let limits = Limits::named(Level::Min, Level::Min);
        let jwe = protect(&key, &password("pw"), limits, &OsRandom).expect("little memory");
        (key, jwe)
    }

    #[test]
    fn a_protected_key_opens_with_its_password_only() {
        let (key, jwe) = protected();
        let text = serde_json::to_string(&jwe).expect("plain data");
        assert_eq!(
            read_private(&text, &password("pw")).expect("opens").public(),
            key.public()
        );
        assert!(matches!(
            read_private(&text, &password("px")),
            Err(JwkError::WrongPassword)
        ));
    }

    #[test]
    fn the_header_is_the_original_s() {
        let header = BASE64URL_NOPAD
            .decode(protected().1.protected.as_bytes())
            .expect("base64url");
        let text = String::from_utf8(header).expect("text");
        assert!(
            text.starts_with(
                r#"{"alg":"Argon2id-1.3","cty":"jwk+json","enc":"XChaCha20-Poly1305-IETF","mem":8192,"ops":1,"salt":""#
            ),
            "{text}"
        );
    }

    #[test]
    fn a_changed_header_or_body_does_not_open() {
        let (_, jwe) = protected();
        let header = |edit: &dyn Fn(&mut Header)| {
            let bytes = BASE64URL_NOPAD
                .decode(jwe.protected.as_bytes())
                .expect("base64url");
            let mut header: Header = serde_json::from_slice(&bytes).expect("a header");
            edit(&mut header);
            PrivateJwe {
                protected: BASE64URL_NOPAD.encode(&serde_json::to_vec(&header).expect("plain data")),
                ..jwe.clone()
            }
        };
        let cases = [
            header(&|h| h.cty = "other".to_owned()),
            header(&|h| h.ops = 2),
            header(&|h| h.ops = 1000),
            header(&|h| h.mem = 1 << 50),
            header(&|h| h.mem = 8193),
            header(&|h| h.alg = "PBES2".to_owned()),
            header(&|h| h.salt = "AA".to_owned()),
            PrivateJwe {
                iv: String::new(),
                ..jwe.clone()
            },
            PrivateJwe {
                tag: "AAAA".to_owned(),
                ..jwe.clone()
            },
            PrivateJwe {
                ciphertext: String::new(),
                ..jwe.clone()
            },
        ];
        for (i, case) in cases.iter().enumerate() {
            assert!(open(case, &password("pw")).is_err(), "{i}");
        }
    }

    #[test]
    fn plain_keys_are_read_and_others_refused() {
        // RFC 8037, appendix A.1.
        let good = r#"{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        assert!(read_private(good, &password("")).is_ok());
        let swapped = good.replace("11qY", "11qZ");
        assert!(matches!(
            read_private(&swapped, &password("")),
            Err(JwkError::Halves)
        ));
        for bad in [
            "",
            "{}",
            "[]",
            &good.replace("Ed25519", "X25519"),
            &good.replace("nWGx", "nW"),
            "x",
        ] {
            assert!(
                matches!(read_private(bad, &password("")), Err(JwkError::Malformed)),
                "{bad}"
            );
        }
    }
}
