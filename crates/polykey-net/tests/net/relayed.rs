//! Nodes that meet at a relay of ours.

use polykey_net::relay::{Relay, RelayConfig, RelayTls};
use polykey_net::{Mode, Net, NetConfig, NetError, NodeAddress, Path, RelayUrl};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

use crate::pair::{ask, end, offline, serve, start};

fn plain() -> RelayConfig {
    RelayConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        tls: None,
        allow: None,
    }
}

fn at(relay: &RelayUrl, roots: &[Vec<u8>]) -> NetConfig {
    NetConfig {
        mode: Mode::Relay(relay.clone()),
        relay_roots: roots.to_vec(),
        ..offline()
    }
}

/// Waits until the node has found its way to the relay.
async fn on_relay(net: &Net) {
    let mut addresses = net.addresses();
    addresses
        .wait_for(|address| address.relay.is_some())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_meet_at_a_plain_relay_by_id_alone() {
    let relay = Relay::start(plain()).await.unwrap();
    let (one, two) = tokio::join!(start(at(&relay.url(), &[])), start(at(&relay.url(), &[])));
    serve(&two);
    tokio::join!(on_relay(&one), on_relay(&two));
    assert_eq!(two.address().relay, Some(relay.url()));
    // No address of the other is known: only that both are at this relay.
    let peer = one.connect(&two.node()).await.unwrap();
    ask(&peer, b"through the relay").await.unwrap();
    assert!(matches!(peer.info().path, Path::Relayed(_) | Path::Direct(_)));
    end([one, two]).await;
    relay.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_without_a_direct_way_speak_through_the_relay_alone() {
    if std::net::UdpSocket::bind("[::1]:0").is_err() {
        eprintln!("skipped: no IPv6 on the loopback interface");
        return;
    }
    let relay = Relay::start(plain()).await.unwrap();
    // One has only IPv4, the other only IPv6: no packet of one ever reaches the other directly.
    let six = NetConfig {
        bind: vec!["[::1]:0".parse().unwrap()],
        ..at(&relay.url(), &[])
    };
    let (one, two) = tokio::join!(start(at(&relay.url(), &[])), start(six));
    serve(&two);
    tokio::join!(on_relay(&one), on_relay(&two));
    one.know(two.address());
    let peer = one.connect(&two.node()).await.unwrap();
    // More than fits into any buffer on the way.
    for question in 0..3_u8 {
        ask(&peer, &vec![question; 1 << 20]).await.unwrap();
    }
    let info = one.connections().remove(0);
    assert_eq!(info.path, Path::Relayed(relay.url()), "{info:?}");
    assert_eq!(info.lookup, Some("known"));
    // What passes through the relay is a connection between the nodes, hybrid as any.
    assert!(info.post_quantum);
    end([one, two]).await;
    relay.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_with_its_own_authority_is_trusted_only_by_who_was_told() {
    let (root, tls) = certificates();
    let config = RelayConfig {
        tls: Some(tls),
        ..plain()
    };
    let relay = Relay::start(config).await.unwrap();
    let url: RelayUrl = format!("https://localhost:{}", relay.listens().port())
        .parse()
        .unwrap();
    let told = [root];
    let (one, two) = tokio::join!(start(at(&url, &told)), start(at(&url, &told)));
    serve(&two);
    tokio::join!(on_relay(&one), on_relay(&two));
    let peer = one.connect(&two.node()).await.unwrap();
    ask(&peer, b"through the relay").await.unwrap();

    let stranger = start(at(&url, &[])).await;
    let error = stranger.connect(&two.node()).await.unwrap_err();
    assert!(matches!(error, NetError::Unreachable { .. }), "{error:?}");
    end([one, two, stranger]).await;
    relay.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_with_a_list_serves_nobody_else() {
    use polykey_core::random::OsRandom;
    use polykey_core::sign::SigningKey;
    let keys = [SigningKey::random(&OsRandom), SigningKey::random(&OsRandom)];
    let allow = Some(keys.iter().map(SigningKey::public).collect());
    let relay = Relay::start(RelayConfig { allow, ..plain() }).await.unwrap();
    let config = || at(&relay.url(), &[]);
    let one = crate::pair::start_with(config(), &keys[0], crate::pair::everybody()).await;
    let two = crate::pair::start_with(config(), &keys[1], crate::pair::everybody()).await;
    serve(&two);
    tokio::join!(on_relay(&one), on_relay(&two));
    ask(&one.connect(&two.node()).await.unwrap(), b"on the list")
        .await
        .unwrap();
    let stranger = start(config()).await;
    let error = stranger.connect(&two.node()).await.unwrap_err();
    assert!(matches!(error, NetError::Unreachable { .. }), "{error:?}");
    end([one, two, stranger]).await;
    relay.close().await.unwrap();
}

#[tokio::test]
async fn a_mode_without_relays_does_not_use_the_relay_of_an_address() {
    let one = start(offline()).await;
    let node = polykey_core::sign::SigningKey::random(&polykey_core::random::OsRandom).public();
    one.know(NodeAddress::new(node).with_relay("http://127.0.0.1:9".parse().unwrap()));
    let error = one.connect(&node).await.unwrap_err();
    assert!(
        matches!(&error, NetError::Unreachable { tried, .. } if tried.relays.is_empty()),
        "{error:?}"
    );
    end([one]).await;
}

#[tokio::test]
async fn bad_certificates_are_errors() {
    let (_, good) = certificates();
    let (_, other) = certificates();
    for (chain, key) in [
        (Vec::new(), good.key.clone()),
        (
            b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n".to_vec(),
            good.key.clone(),
        ),
        (good.chain.clone(), Vec::new()),
        (good.chain.clone(), good.chain.clone()),
        (good.chain.clone(), other.key.clone()),
        (good.key.clone(), good.key.clone()),
    ] {
        let tls = Some(RelayTls {
            chain,
            key,
            quic: None,
        });
        assert!(Relay::start(RelayConfig { tls, ..plain() }).await.is_err());
    }
    let first = Relay::start(plain()).await.unwrap();
    assert!(
        Relay::start(RelayConfig {
            listen: first.listens(),
            ..plain()
        })
        .await
        .is_err(),
        "taken"
    );
}

/// An authority (DER) and the certificate that it gave to `localhost`.
fn certificates() -> (Vec<u8>, RelayTls) {
    let root_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = params.self_signed(&root_key).unwrap();
    let issuer = rcgen::Issuer::new(params, root_key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let tls = RelayTls {
        chain: leaf.pem().into_bytes(),
        key: key.serialize_pem().into_bytes(),
        quic: None,
    };
    (root.der().to_vec(), tls)
}
