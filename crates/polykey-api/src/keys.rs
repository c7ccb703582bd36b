//! The node's keys.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::endpoint::{Endpoint, Nothing};

/// The public root key.
pub const PUBLIC: Endpoint<Nothing, PublicJwk> =
    Endpoint::json("/v1/keys/public", "Public root key as a JWK");

/// A public Ed25519 key (RFC 8037).
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
    pub ext: bool,
    /// `["verify"]`.
    pub key_ops: Vec<String>,
}
