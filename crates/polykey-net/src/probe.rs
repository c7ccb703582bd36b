//! Who answers at an address, when another node was expected there: a node with new keys keeps its address.
//!
//! The transport dials keys, and says no more of another one than that it is another. So this goes through the first
//! half of a handshake, up to the key that the other side shows, and breaks it off. Nothing is said of this node.
//!
//! Always: what is found is a hint and proves nothing; whoever uses it dials that key as any other.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use noq_proto::crypto::rustls::QuicClientConfig;
use noq_proto::crypto::{CryptoError, HmacKey};
use noq_proto::{ClientConfig, DatagramEvent, Endpoint, EndpointConfig, FourTuple};
use polykey_core::NodeId;
use polykey_core::random::{OsRandom, Random};
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};
use tokio::net::UdpSocket;
use tokio::time::{sleep_until, timeout};

use crate::config::ALPN;
use crate::tls::provider;

/// Nobody is waited for longer than this.
const PATIENCE: Duration = Duration::from_secs(3);
/// Longest packet that is read.
const MAX_PACKET: usize = 2048;
/// What stands before the 32 bytes of an Ed25519 key in a raw public key (RFC 8410, section 4).
const SPKI: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// The node whose key is shown at an address; `None` when nobody answers there in time. Safe to cancel.
pub(crate) async fn node_at(place: SocketAddr) -> Option<NodeId> {
    timeout(PATIENCE, greet(place)).await.ok().flatten()
}

async fn greet(place: SocketAddr) -> Option<NodeId> {
    let shown = Arc::new(Shown::default());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .ok()?
        .dangerous()
        .with_custom_certificate_verifier(shown.clone())
        .with_client_cert_resolver(Arc::new(NoKey));
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.enable_sni = false;
    let crypto = QuicClientConfig::try_from(tls).ok()?;
    let config = EndpointConfig::new(Arc::new(NoResets));
    let mut endpoint = Endpoint::new(Arc::new(config), None, false);
    let any = match place {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any).await.ok()?;
    let client = ClientConfig::new(Arc::new(crypto));
    let (handle, mut connection) = endpoint
        .connect(Instant::now(), client, place, "node.invalid")
        .ok()?;
    let mut packet = vec![0; MAX_PACKET];
    loop {
        while let Some(event) = connection.poll_endpoint_events() {
            if let Some(event) = endpoint.handle_event(handle, event) {
                connection.handle_event(event);
            }
        }
        let mut out = Vec::new();
        while let Some(transmit) = connection.poll_transmit(Instant::now(), NonZeroUsize::MIN, &mut out) {
            socket
                .send_to(&out[..transmit.size], transmit.destination)
                .await
                .ok()?;
            out.clear();
        }
        // By now the other side has been told that this goes no further.
        if let Some(node) = shown.0.get() {
            return Some(*node);
        }
        if connection.is_closed() {
            return None;
        }
        let wake = connection.poll_timeout();
        tokio::select! {
            received = socket.recv_from(&mut packet) => {
                let (len, from) = received.ok()?;
                if from != place {
                    continue;
                }
                let from = FourTuple::from_remote(from);
                let event = endpoint.handle(Instant::now(), from, None, packet[..len].into(), &mut out);
                if let Some(DatagramEvent::ConnectionEvent(_, event)) = event {
                    connection.handle_event(event);
                }
            }
            () = sleep_until(wake.unwrap_or_else(Instant::now).into()), if wake.is_some() => {
                connection.handle_timeout(Instant::now());
            }
        }
    }
}

/// Notes the key that is shown, and believes nobody.
#[derive(Debug, Default)]
struct Shown(OnceLock<NodeId>);

impl ServerCertVerifier for Shown {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let key = end_entity.strip_prefix(&SPKI).and_then(|key| key.try_into().ok());
        if let Some(key) = key {
            let _ = self.0.set(NodeId::from_bytes(key));
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Says that this side has a raw public key, without which nodes end the handshake at once, and shows none.
#[derive(Debug)]
struct NoKey;

impl ResolvesClientCert for NoKey {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Tokens with which this side could end a connection that it has forgotten; it never does, so they mean nothing.
struct NoResets;

impl HmacKey for NoResets {
    fn sign(&self, _: &[u8], signature_out: &mut [u8]) {
        OsRandom.fill(signature_out);
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, _: &[u8], _: &[u8]) -> Result<(), CryptoError> {
        Err(CryptoError)
    }
}

#[cfg(test)]
mod tests {
    use polykey_core::sign::SigningKey;

    use super::*;
    use crate::{Mode, Net, NetConfig};

    #[tokio::test]
    async fn the_key_at_an_address_is_seen_and_nobody_where_there_is_none() {
        let config = NetConfig {
            mode: Mode::Offline,
            bind: vec!["127.0.0.1:0".parse().expect("an address")],
            ..NetConfig::default()
        };
        let key = SigningKey::random(&OsRandom);
        // It refuses everybody, and is seen nevertheless.
        let net = Net::start(config, &key, Arc::new(|_: &NodeId| false))
            .await
            .expect("the loopback interface");
        let place = net.address().direct[0];
        assert_eq!(node_at(place).await, Some(key.public()));
        assert!(net.connections().is_empty());
        net.close(Duration::from_secs(1)).await;
        drop(net);
        assert_eq!(node_at(place).await, None);
    }
}
