//! The node's keys.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::endpoint::{Endpoint, Nothing, Shape};

/// The public keys.
pub const PUBLIC: Endpoint<Nothing, PublicJwk> = Endpoint::json("/v1/keys/public", "Public keys as a JWK");
/// The root key, protected by a password.
pub const EXPORT: Endpoint<ExportRequest, PrivateJwe> =
    Endpoint::json("/v1/keys/export", "Root key as an encrypted JWK");
/// Sets a new password and ends all sessions.
pub const PASSWORD: Endpoint<PasswordRequest, Nothing> =
    Endpoint::json("/v1/keys/password", "Set a new password");
/// Signs the body.
pub const SIGN: Endpoint<Nothing, Signature> = Endpoint::new("/v1/keys/sign", "Sign bytes", Shape::Upload);
/// Checks a signature over the body.
pub const VERIFY: Endpoint<VerifyQuery, Verdict> =
    Endpoint::new("/v1/keys/verify", "Check a signature", Shape::Upload);
/// Encrypts the body to a node.
pub const ENCRYPT: Endpoint<EncryptQuery, ()> =
    Endpoint::new("/v1/keys/encrypt", "Encrypt bytes to a node", Shape::Transform);
/// Decrypts the body.
pub const DECRYPT: Endpoint<Nothing, ()> =
    Endpoint::new("/v1/keys/decrypt", "Decrypt bytes", Shape::Transform);
/// Shows a new recovery code before [`RENEW`] or [`RESET`] takes it. Nothing changes yet, so that at no moment
/// a code holds that nobody has seen.
pub const PROPOSE: Endpoint<ProposeRequest, Proposal> =
    Endpoint::json("/v1/keys/propose", "A new recovery code, to be taken later");
/// Takes a new root key that the old one names as its successor.
pub const RENEW: Endpoint<RenewRequest, Renewed> =
    Endpoint::json("/v1/keys/renew", "Take a new root key, named by the old one");
/// Takes a new root key without a tie to the old one.
pub const RESET: Endpoint<RenewRequest, Renewed> = Endpoint::json("/v1/keys/reset", "Take a new root key");
/// Certificates made from the node key, leaf first.
pub const CERTIFICATES: Endpoint<Nothing, Certificates> =
    Endpoint::json("/v1/keys/certificates", "X.509 certificates of the node key");

/// The public keys of a node: its Ed25519 root key (RFC 8037), and its signed key record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PublicJwk {
    /// `EdDSA`.
    pub alg: String,
    /// `OKP`.
    pub kty: String,
    /// `Ed25519`.
    pub crv: String,
    /// The key, in base64url.
    pub x: String,
    /// True: may be exported.
    #[serde(default)]
    pub ext: bool,
    /// `["verify"]`.
    #[serde(default)]
    pub key_ops: Vec<String>,
    /// The signed record of the encryption key, in base64url: what `keys encrypt` needs.
    #[serde(rename = "keyRecord", default, skip_serializing_if = "Option::is_none")]
    pub key_record: Option<String>,
}

/// Asks for the root key. Passwords travel in base64.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ExportRequest {
    /// What shall protect the export.
    pub password: String,
    /// Work of one guess.
    #[serde(default)]
    pub ops_limit: Option<String>,
    /// Memory of one guess.
    #[serde(default)]
    pub mem_limit: Option<String>,
}

/// Asks for a new password.
pub type PasswordRequest = ExportRequest;

/// A root key protected by a password: Argon2id and XChaCha20-Poly1305, as the original Polykey writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PrivateJwe {
    /// The encrypted JWK, in base64url.
    pub ciphertext: String,
    /// The nonce.
    pub iv: String,
    /// The tag.
    pub tag: String,
    /// The header: algorithms, cost and salt.
    pub protected: String,
}

/// A signature that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Signature {
    /// The text that `verify` takes.
    pub signature: String,
}

/// What to check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyQuery {
    /// The node whose signature it should be.
    pub signer: String,
    /// The text of the signature.
    pub signature: String,
}

/// Whether it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Verdict {
    /// True when the signature is that node's over these bytes.
    pub success: bool,
}

/// To whom to encrypt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct EncryptQuery {
    /// The node.
    pub to: String,
    /// Its signed key record, in base64url, when it is a node that we may not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_record: Option<String>,
}

/// Asks for a new recovery code.
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ProposeRequest {
    /// The present recovery code, to be checked, for a root key that the old one shall name.
    #[serde(default)]
    pub recovery_code: Option<String>,
}

/// A root key that the node may take.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Proposal {
    /// The id that the node will have.
    pub node_id: String,
    /// The recovery code that it will have.
    pub recovery_code: String,
}

/// Takes a new root key.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RenewRequest {
    /// The new password, in base64.
    pub password: String,
    /// The new recovery code, which its user has seen: that of a [`Proposal`].
    pub new_recovery_code: String,
    /// The present recovery code, which names a successor together with the root key.
    #[serde(default)]
    pub recovery_code: Option<String>,
    /// Work of one guess.
    #[serde(default)]
    pub ops_limit: Option<String>,
    /// Memory of one guess.
    #[serde(default)]
    pub mem_limit: Option<String>,
}

/// A new root key that holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Renewed {
    /// The new id of the node.
    pub node_id: String,
}

/// One certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Certificate {
    /// In PEM.
    pub cert: String,
}

/// Certificates, leaf first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Certificates {
    /// Each vouches for the one before it.
    pub chain: Vec<Certificate>,
}
