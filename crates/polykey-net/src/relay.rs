//! A relay of one's own: it carries packets between nodes that cannot reach each other directly.
//!
//! A relay sees which nodes speak, when and how much, and nothing of what they say. It needs no node: this
//! module knows neither keys nor contacts. Who may use it can be limited to a list.

use std::net::SocketAddr;
use std::sync::Arc;

use iroh_relay::server::{
    Access, AccessControl, CertConfig, ClientRequest, QuicConfig, RelayConfig as ServerRelay, Server,
    ServerConfig, TlsConfig,
};
use polykey_core::NodeId;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::address::RelayUrl;
use crate::net::node_of;
use crate::tls::provider;

/// Public keys that are remembered as valid, at 32 bytes each, instead of the library's million.
const KEYS_REMEMBERED: usize = 4096;

/// How a relay runs.
#[derive(Debug)]
pub struct RelayConfig {
    /// Where it listens: for HTTPS when there is a certificate, else for plain HTTP.
    pub listen: SocketAddr,
    /// Its certificate.
    pub tls: Option<RelayTls>,
    /// The nodes that may use it; everybody when absent.
    pub allow: Option<Vec<NodeId>>,
}

/// The certificate of a relay.
pub struct RelayTls {
    /// PEM text of the certificate and of those that vouch for it, in that order.
    pub chain: Vec<u8>,
    /// PEM text of its private key.
    pub key: Vec<u8>,
    /// UDP address on which nodes learn how they look from outside, which lets more of them meet directly.
    pub quic: Option<SocketAddr>,
}

impl std::fmt::Debug for RelayTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RelayTls(hidden)")
    }
}

/// Why a relay does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// The PEM text of the certificate holds none, or something else.
    #[error("the certificate of the relay cannot be read")]
    Chain(#[source] rustls::pki_types::pem::Error),
    /// There is no certificate in the PEM text.
    #[error("the file of the certificate holds no certificate")]
    NoCertificate,
    /// The PEM text of the key holds none, or something else.
    #[error("the private key of the relay cannot be read")]
    Key(#[source] rustls::pki_types::pem::Error),
    /// Certificate and key do not go together, or cannot be used.
    #[error("the certificate and the private key of the relay cannot be used together")]
    Tls(#[source] rustls::Error),
    /// An address cannot be listened on.
    #[error("the relay cannot listen on {listen}")]
    Listen {
        /// Where.
        listen: SocketAddr,
        /// What the system said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The relay ended by itself.
    #[error("the relay stopped")]
    Stopped(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A relay that runs. Dropped, it stops at once.
pub struct Relay {
    server: Server,
    listens: SocketAddr,
    tls: bool,
}

impl Relay {
    /// Starts a relay.
    ///
    /// # Errors
    /// [`RelayError`].
    pub async fn start(config: RelayConfig) -> Result<Relay, RelayError> {
        let listen = config.listen;
        let mut relay = ServerRelay::new(listen);
        relay.key_cache_capacity = Some(KEYS_REMEMBERED);
        if let Some(allow) = config.allow {
            relay.access = Arc::new(OnlyThese(allow));
        }
        let mut server = ServerConfig::default();
        let tls = config.tls.is_some();
        if let Some(tls) = config.tls {
            // The library insists on a plain listener for probes of captive portals, which our nodes do not
            // make: it gets one that nobody else can reach.
            relay.http_bind_addr = ([127, 0, 0, 1], 0).into();
            let server_config = server_tls(&tls)?;
            relay.tls = Some(TlsConfig::new(listen, CertConfig::Manual { server_config }));
            server.quic = tls.quic.map(QuicConfig::new);
        }
        server.relay = Some(relay);
        let server = Server::spawn(server).await.map_err(|error| RelayError::Listen {
            listen,
            source: error.into(),
        })?;
        let listens = if tls {
            server.https_addr()
        } else {
            server.http_addr()
        };
        Ok(Relay {
            listens: listens.unwrap_or(listen),
            server,
            tls,
        })
    }

    /// Where it listens, with the port that the system gave.
    pub fn listens(&self) -> SocketAddr {
        self.listens
    }

    /// Where nodes learn how they look from outside, when it serves that.
    pub fn quic(&self) -> Option<SocketAddr> {
        self.server.quic_addr()
    }

    /// The URL under which nodes on this host reach it. Others need the name that is in its certificate.
    pub fn url(&self) -> RelayUrl {
        let scheme = if self.tls { "https" } else { "http" };
        let mut address = self.listens;
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        format!("{scheme}://{address}")
            .parse()
            .expect("a socket address makes a URL")
    }

    /// Waits until it ends by itself, which is a fault. Safe to cancel.
    pub async fn failed(&mut self) -> RelayError {
        match self.server.join().await {
            Ok(Ok(())) => RelayError::Stopped("it ended without an error".into()),
            Ok(Err(error)) => RelayError::Stopped(error.into()),
            Err(error) => RelayError::Stopped(error.into()),
        }
    }

    /// Stops it: closes its connections and waits for its tasks.
    ///
    /// # Errors
    /// [`RelayError::Stopped`] when a task of it failed before.
    pub async fn close(self) -> Result<(), RelayError> {
        self.server
            .shutdown()
            .await
            .map_err(|error| RelayError::Stopped(error.into()))
    }
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Relay({})", self.url())
    }
}

/// Lets in the nodes of a list. A relay proves the id of whoever connects before it asks.
#[derive(Debug)]
struct OnlyThese(Vec<NodeId>);

impl AccessControl for OnlyThese {
    async fn on_connect(&self, request: &ClientRequest) -> Access {
        if self.0.contains(&node_of(&request.endpoint_id())) {
            Access::Allow
        } else {
            Access::Deny {
                reason: Some("this relay serves only the nodes on its list".to_owned()),
            }
        }
    }
}

fn server_tls(tls: &RelayTls) -> Result<rustls::ServerConfig, RelayError> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&tls.chain)
        .collect::<Result<_, _>>()
        .map_err(RelayError::Chain)?;
    if chain.is_empty() {
        return Err(RelayError::NoCertificate);
    }
    let key = PrivateKeyDer::from_pem_slice(&tls.key).map_err(RelayError::Key)?;
    rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(RelayError::Tls)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(RelayError::Tls)
}
