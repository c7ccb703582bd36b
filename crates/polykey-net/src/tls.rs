//! The one choice of cryptography for all connections.

use std::sync::Arc;

use iroh::endpoint::Connection;
use noq_proto::crypto::rustls::HandshakeData;
use rustls::NamedGroup;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};

/// The key exchange between nodes; no other is accepted.
pub(crate) const HYBRID: NamedGroup = NamedGroup::X25519MLKEM768;

/// The provider for node and relay connections: hybrid key exchange first, X25519 for relays that cannot.
/// Named here one by one, since the order of a default depends on what other crates enable.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    let mut provider = default_provider();
    provider.kx_groups = vec![kx_group::X25519MLKEM768, kx_group::X25519];
    Arc::new(provider)
}

/// The key exchange that a connection was made with.
pub(crate) fn key_exchange(conn: &Connection) -> Option<NamedGroup> {
    let data = conn.handshake_data()?;
    data.downcast::<HandshakeData>()
        .ok()?
        .negotiated_key_exchange_group
}
