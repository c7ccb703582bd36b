//! Peers with a valid key that do not keep to the protocol, built on the library below ours.

use std::net::SocketAddr;
use std::sync::Arc;

use iroh::endpoint::{Connection, ConnectionError, Incoming, presets};
use iroh::{Endpoint, EndpointAddr, EndpointId};
use polykey_core::NodeId;
use polykey_net::config::ALPN;
use polykey_net::hello::{Answer, Hello, VERSION};
use polykey_net::{Limits, Net, NetConfig, NetError, NodeAddress};
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};

use crate::pair::{ask, echo, end, joined, offline, serve, start};

/// The close codes, as `docs/format.md` has them.
const REFUSED: u32 = 1;
const BUSY: u32 = 2;
const WRONG_VERSION: u32 = 3;
const BROKEN_PROTOCOL: u32 = 4;

/// An endpoint that may do anything.
async fn raw(from: &str, alpn: &[u8], post_quantum: bool) -> Endpoint {
    let mut provider = default_provider();
    provider.kx_groups = match post_quantum {
        true => vec![kx_group::X25519MLKEM768],
        false => vec![kx_group::X25519],
    };
    Endpoint::builder(presets::Empty)
        .crypto_provider(Arc::new(provider))
        .alpns(vec![alpn.to_vec()])
        .clear_ip_transports()
        .bind_addr(from)
        .unwrap()
        .bind()
        .await
        .unwrap()
}

fn target(net: &Net) -> EndpointAddr {
    let address = net.address();
    let id = EndpointId::from_bytes(address.node.as_bytes()).unwrap();
    EndpointAddr::new(id).with_ip_addr(address.direct[0])
}

fn address(endpoint: &Endpoint) -> NodeAddress {
    let direct: Vec<SocketAddr> = endpoint.bound_sockets();
    NodeAddress {
        direct,
        ..NodeAddress::new(NodeId::from_bytes(*endpoint.id().as_bytes()))
    }
}

/// The code with which the other side closed `conn`.
async fn code(conn: &Connection) -> u32 {
    match conn.closed().await {
        ConnectionError::ApplicationClosed(close) => u32::try_from(close.error_code.into_inner()).unwrap(),
        other => panic!("not closed by a code: {other:?}"),
    }
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    frame.extend(bytes);
    frame
}

fn hello(version: u64) -> Vec<u8> {
    Hello {
        version,
        run: [5; 16],
        replaces: false,
    }
    .encode()
}

#[tokio::test]
async fn dialers_that_break_the_hello_are_cut_off() {
    let net = start(offline()).await;
    let endpoint = raw("127.0.0.1:0", ALPN, true).await;
    let good = hello(VERSION);
    let mut cases: Vec<(Vec<u8>, u32)> = vec![
        (framed(b""), BROKEN_PROTOCOL),
        (framed(&[0xff; 40]), BROKEN_PROTOCOL),
        (framed(&[0; 65]), BROKEN_PROTOCOL),
        (vec![0xff; 4], BROKEN_PROTOCOL),
        (framed(&[&good[..], &[0]].concat()), BROKEN_PROTOCOL),
        (
            framed(
                &Answer {
                    version: VERSION,
                    run: [5; 16],
                }
                .encode(),
            ),
            BROKEN_PROTOCOL,
        ),
        (framed(&hello(0)), WRONG_VERSION),
    ];
    // Every cut, in the frame and of the frame.
    cases.extend((0..good.len()).map(|cut| (framed(&good[..cut]), BROKEN_PROTOCOL)));
    let frame = framed(&good);
    cases.extend((0..frame.len()).map(|cut| (frame[..cut].to_vec(), BROKEN_PROTOCOL)));
    for (bytes, want) in cases {
        let conn = endpoint.connect(target(&net), ALPN).await.unwrap();
        let (mut send, _recv) = conn.open_bi().await.unwrap();
        send.write_all(&bytes).await.unwrap();
        send.finish().unwrap();
        assert_eq!(code(&conn).await, want, "{bytes:02x?}");
    }
    // A version from the future is answered with ours.
    let conn = endpoint.connect(target(&net), ALPN).await.unwrap();
    let (mut send, mut recv) = conn.open_bi().await.unwrap();
    send.write_all(&framed(&hello(99))).await.unwrap();
    let answer = polykey_net::frame::read_frame(&mut recv, 64)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(Answer::decode(&answer).unwrap().version, VERSION);
    // The first that was handed on is the one that got it right.
    assert_eq!(
        net.accept().await.unwrap().node().as_bytes(),
        endpoint.id().as_bytes()
    );

    // On the streams of the hello nothing but pings and pongs is known.
    send.write_all(&[1]).await.unwrap();
    let mut pong = [0];
    recv.read_exact(&mut pong).await.unwrap();
    assert_eq!(pong, [2]);
    send.write_all(&[3]).await.unwrap();
    assert_eq!(code(&conn).await, BROKEN_PROTOCOL);
    endpoint.close().await;
    end([net]).await;
}

#[tokio::test]
async fn other_protocols_and_weaker_key_exchanges_are_turned_away() {
    let net = start(offline()).await;
    // With the long first flight of the hybrid key exchange the library's refusal of a protocol is lost, and
    // the dialer waits; with the short one it is heard.
    let other = raw("127.0.0.1:0", b"polykey/0", false).await;
    let error = other.connect(target(&net), b"polykey/0").await.unwrap_err();
    assert!(format!("{error:#}").contains("120"), "{error:#}");
    // A node that offers no post-quantum key exchange gets a connection of X25519, and no further.
    let weak = raw("127.0.0.1:0", ALPN, false).await;
    let conn = weak.connect(target(&net), ALPN).await.unwrap();
    assert_eq!(code(&conn).await, BROKEN_PROTOCOL);

    // The same the other way round.
    answering(&weak, |conn| async move { drop(conn.closed().await) });
    net.know(address(&weak));
    let error = net.connect(&address(&weak).node).await.unwrap_err();
    assert!(matches!(error, NetError::Protocol { .. }), "{error:?}");
    other.close().await;
    weak.close().await;
    end([net]).await;
}

/// Answers one dialer as `answer` wants.
fn answering<F: Future<Output = ()> + Send + 'static>(
    endpoint: &Endpoint,
    answer: impl FnOnce(Connection) -> F + Send + 'static,
) {
    let endpoint = endpoint.clone();
    tokio::spawn(async move {
        let incoming: Incoming = endpoint.accept().await.unwrap();
        let conn = incoming.await.unwrap();
        answer(conn.clone()).await;
        conn.closed().await;
    });
}

#[tokio::test]
async fn nodes_that_break_the_answer_are_left() {
    let net = start(offline()).await;
    let endpoint = raw("127.0.0.1:0", ALPN, true).await;
    net.know(address(&endpoint));
    let node = address(&endpoint).node;
    let good = Answer {
        version: VERSION,
        run: [5; 16],
    }
    .encode();
    let mut answers = vec![
        vec![0xff; 4],
        framed(b""),
        framed(&[0; 65]),
        framed(&hello(VERSION)),
        framed(
            &Answer {
                version: 0,
                run: [5; 16],
            }
            .encode(),
        ),
        framed(
            &Answer {
                version: VERSION + 1,
                run: [5; 16],
            }
            .encode(),
        ),
        framed(&good)[..10].to_vec(),
    ];
    answers.extend((0..good.len()).map(|cut| framed(&good[..cut])));
    for bytes in answers {
        let sent = bytes.clone();
        answering(&endpoint, move |conn| async move {
            let (mut send, _recv) = conn.accept_bi().await.unwrap();
            send.write_all(&sent).await.unwrap();
            drop(send.finish());
            conn.closed().await;
        });
        let error = net.connect(&node).await.unwrap_err();
        assert!(
            matches!(error, NetError::Protocol { .. }),
            "{bytes:02x?}: {error:?}"
        );
    }
    for (close, want) in [
        (REFUSED, "refuses"),
        (BUSY, "too many"),
        (WRONG_VERSION, "version"),
        (99, "keep to"),
    ] {
        answering(
            &endpoint,
            move |conn| async move { conn.close(close.into(), b"") },
        );
        let error = net.connect(&node).await.unwrap_err();
        assert!(error.to_string().contains(want), "{close}: {error}");
    }
    assert_eq!(net.connections().len(), 0);
    endpoint.close().await;
    end([net]).await;
}

#[tokio::test]
async fn a_node_that_never_answers_the_hello_is_given_up() {
    let net = start(offline()).await;
    let endpoint = raw("127.0.0.1:0", ALPN, true).await;
    net.know(address(&endpoint));
    let node = address(&endpoint).node;
    let (report, dialled) = tokio::sync::oneshot::channel();
    answering(&endpoint, move |conn| async move {
        let _streams = conn.accept_bi().await.unwrap();
        report.send(()).unwrap();
        conn.closed().await;
    });
    let (error, _) = tokio::join!(net.connect(&node), async {
        dialled.await.unwrap();
        // It has our hello; only the deadline can end this.
        tokio::time::pause();
    });
    tokio::time::resume();
    assert!(matches!(error, Err(NetError::Unreachable { .. })), "{error:?}");
    endpoint.close().await;
    end([net]).await;
}

#[tokio::test]
async fn silent_dialers_delay_nobody_and_are_dropped() {
    let net = start(offline()).await;
    let endpoint = raw("127.0.0.1:0", ALPN, true).await;
    // One says nothing, one opens the streams, one sends half a hello.
    let silent = endpoint.connect(target(&net), ALPN).await.unwrap();
    let opened = endpoint.connect(target(&net), ALPN).await.unwrap();
    let mut kept = opened.open_bi().await.unwrap();
    kept.0.write_all(&[0]).await.unwrap();
    let half = endpoint.connect(target(&net), ALPN).await.unwrap();
    let mut more = half.open_bi().await.unwrap();
    let frame = framed(&hello(VERSION));
    more.0.write_all(&frame[..frame.len() / 2]).await.unwrap();

    let honest = start(offline()).await;
    honest.know(net.address());
    let (here, there) = joined(&honest, &net).await;
    echo(&here, &there, b"at once").await;
    end([honest]).await;
    // The others get no more than their time.
    for conn in [silent, opened, half] {
        conn.closed().await;
    }
    assert_eq!(net.connections().len(), 0);
    endpoint.close().await;
    end([net]).await;
}

#[tokio::test]
async fn a_flood_of_silent_dialers_keeps_nobody_out() {
    let limits = Limits {
        half_open: 16,
        half_open_per_source: 8,
        ..Limits::default()
    };
    let net = start(NetConfig { limits, ..offline() }).await;
    serve(&net);
    // More than all places together, from one address.
    let endpoint = raw("127.0.0.2:0", ALPN, true).await;
    let mut dials = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let (endpoint, target) = (endpoint.clone(), target(&net));
        dials.spawn(async move { endpoint.connect(target, ALPN).await });
    }
    // Those over the number are refused while the rest sit there and say nothing.
    let mut sitting = Vec::new();
    let mut refused = 0;
    while let Some(outcome) = dials.join_next().await {
        match outcome.unwrap() {
            Ok(conn) => sitting.push(conn),
            Err(_) => refused += 1,
        }
    }
    assert!(
        refused >= 40 - 2 * 8,
        "{refused} refused, {} let in",
        sitting.len()
    );
    let honest = start(NetConfig {
        bind: vec!["127.0.0.3:0".parse().unwrap()],
        ..offline()
    })
    .await;
    honest.know(net.address());
    ask(&honest.connect(&net.node()).await.unwrap(), b"through")
        .await
        .unwrap();
    endpoint.close().await;
    end([net, honest]).await;
}

#[tokio::test]
async fn one_node_has_only_so_many_connections() {
    let net = start(offline()).await;
    let endpoint = raw("127.0.0.1:0", ALPN, true).await;
    let most = Limits::default().connections_per_node;
    let mut conns = Vec::new();
    for _ in 0..most + 3 {
        let conn = endpoint.connect(target(&net), ALPN).await.unwrap();
        let (mut send, mut recv) = conn.open_bi().await.unwrap();
        send.write_all(&framed(&hello(VERSION))).await.unwrap();
        let mut answer = [0; 4];
        recv.read_exact(&mut answer).await.unwrap();
        net.accept().await.unwrap();
        conns.push((conn, send, recv));
    }
    assert_eq!(net.connections().len(), most);
    // The last one is up, the first one is gone.
    conns[0].0.closed().await;
    let (_, send, recv) = conns.last_mut().unwrap();
    send.write_all(&[1]).await.unwrap();
    let mut rest = [0; 64];
    assert!(recv.read(&mut rest).await.unwrap().is_some());
    endpoint.close().await;
    end([net]).await;
}
