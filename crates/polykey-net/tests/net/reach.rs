//! Two nodes find each other, or learn why not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use polykey_core::NodeId;
use polykey_core::random::OsRandom;
use polykey_core::sign::SigningKey;
use polykey_net::{Farewell, Limits, NetConfig, NetError, NodeAddress, Path, Reason};

use crate::pair::{ask, echo, end, everybody, joined, offline, serve, start, start_with, two};

#[tokio::test]
async fn two_nodes_speak_both_ways() {
    let (one, two) = two().await;
    let (here, there) = joined(&one, &two).await;
    assert_eq!((here.node(), there.node()), (two.node(), one.node()));
    echo(&here, &there, b"from the dialer").await;
    echo(&there, &here, b"from the other side").await;

    let info = here.info();
    assert!(info.dialled_by_us && info.post_quantum, "{info:?}");
    assert_eq!(info.path, Path::Direct(two.address().direct[0]));
    assert_eq!(one.connections()[0].lookup, Some("known"));
    let info = there.info();
    assert!(!info.dialled_by_us && info.post_quantum, "{info:?}");
    here.ping().await.unwrap();
    there.ping().await.unwrap();
    end([one, two]).await;
}

#[tokio::test]
async fn callers_at_once_share_one_connection() {
    let (one, two) = two().await;
    serve(&two);
    let mut calls = tokio::task::JoinSet::new();
    for call in 0..20_u8 {
        let (one, node) = (one.clone(), two.node());
        calls.spawn(async move { ask(&one.connect(&node).await.unwrap(), &[call]).await.unwrap() });
    }
    calls.join_all().await;
    assert_eq!((one.connections().len(), two.connections().len()), (1, 1));
    // And the next one uses it as well.
    ask(&one.connect(&two.node()).await.unwrap(), b"again")
        .await
        .unwrap();
    assert_eq!(two.connections().len(), 1);
    end([one, two]).await;
}

#[tokio::test]
async fn a_node_of_which_nothing_is_known_is_unreachable_at_once() {
    let one = start(offline()).await;
    let stranger = SigningKey::random(&OsRandom).public();
    let error = one.connect(&stranger).await.unwrap_err();
    assert!(
        matches!(&error, NetError::Unreachable { node, .. } if *node == stranger),
        "{error:?}"
    );
    assert!(
        error
            .to_string()
            .ends_with("tried nothing, since no address of it is known"),
        "{error}"
    );
    // Not every 32 bytes are a public key.
    let error = one.connect(&NodeId::from_bytes([0xff; 32])).await.unwrap_err();
    assert!(matches!(error, NetError::Unreachable { .. }), "{error:?}");
    end([one]).await;
}

#[tokio::test]
async fn an_address_where_nobody_is_gives_up_and_says_where_it_tried() {
    let one = start(offline()).await;
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let node = SigningKey::random(&OsRandom).public();
    one.know(NodeAddress::new(node).with_direct(address));
    // From here on nothing but time-outs can happen: let them.
    tokio::time::pause();
    let error = one.connect(&node).await.unwrap_err();
    assert!(
        matches!(&error, NetError::Unreachable { tried, .. } if tried.direct == [address]),
        "{error:?}"
    );
    tokio::time::resume();
    // What was forgotten is not tried.
    one.forget(&node);
    let error = one.connect(&node).await.unwrap_err();
    assert!(
        matches!(&error, NetError::Unreachable { tried, .. } if tried.direct.is_empty()),
        "{error:?}"
    );
    end([one]).await;
}

#[tokio::test]
async fn another_node_at_the_address_is_noticed() {
    let (one, two) = two().await;
    let wanted = SigningKey::random(&OsRandom).public();
    one.know(NodeAddress {
        node: wanted,
        ..two.address()
    });
    let error = one.connect(&wanted).await.unwrap_err();
    assert!(
        matches!(error, NetError::WrongNode { node } if node == wanted),
        "{error:?}"
    );
    assert_eq!(two.connections().len(), 0);
    end([one, two]).await;
}

#[tokio::test]
async fn a_node_does_not_dial_itself() {
    let one = start(offline()).await;
    one.know(one.address());
    assert!(matches!(one.connect(&one.node()).await, Err(NetError::Itself)));
    end([one]).await;
}

#[tokio::test]
async fn who_is_blocked_is_not_dialled() {
    let two = start(offline()).await;
    let key = SigningKey::random(&OsRandom);
    let one = start_with(offline(), &key, Arc::new(|_: &NodeId| false)).await;
    one.know(two.address());
    assert!(matches!(one.connect(&two.node()).await, Err(NetError::Blocked { node }) if node == two.node()));
    end([one, two]).await;
}

#[tokio::test]
async fn who_is_refused_learns_it_and_is_not_heard() {
    let (good, bad) = (SigningKey::random(&OsRandom), SigningKey::random(&OsRandom));
    let only = good.public();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let admit = Arc::new(move |node: &NodeId| {
        count.fetch_add(1, Ordering::SeqCst);
        *node == only
    });
    let two = start_with(offline(), &SigningKey::random(&OsRandom), admit).await;
    let refused = start_with(offline(), &bad, everybody()).await;
    let admitted = start_with(offline(), &good, everybody()).await;
    refused.know(two.address());
    admitted.know(two.address());
    for attempt in 1..=3 {
        let error = refused.connect(&two.node()).await.unwrap_err();
        assert!(
            matches!(error, NetError::Refused { node } if node == two.node()),
            "{error:?}"
        );
        assert_eq!(asked.load(Ordering::SeqCst), attempt);
        assert_eq!(refused.connections().len(), 0);
    }
    // The first that is handed on is the one that was let in.
    let (_, there) = joined(&admitted, &two).await;
    assert_eq!(there.node(), only);
    end([two, refused, admitted]).await;
}

#[tokio::test]
async fn a_full_node_says_that_it_is_busy() {
    let limits = Limits {
        connections: 1,
        ..Limits::default()
    };
    let two = start(NetConfig { limits, ..offline() }).await;
    let (first, second) = (start(offline()).await, start(offline()).await);
    first.know(two.address());
    second.know(two.address());
    let (here, there) = joined(&first, &two).await;
    assert!(matches!(
        second.connect(&two.node()).await,
        Err(NetError::Busy { .. })
    ));
    echo(&here, &there, b"undisturbed").await;
    // A place that is given back is free again.
    first.disconnect(&two.node(), &Farewell::new(0, "")).await;
    there.closed().await;
    let (_, there) = joined(&second, &two).await;
    assert_eq!(there.node(), second.node());
    end([two, first, second]).await;
}

#[tokio::test]
async fn strangers_do_not_take_the_places_of_friends() {
    struct Friends(NodeId);
    impl polykey_net::Admission for Friends {
        fn admits(&self, _: &NodeId) -> bool {
            true
        }
        fn prefers(&self, node: &NodeId) -> bool {
            *node == self.0
        }
    }
    let friend = SigningKey::random(&OsRandom);
    let limits = Limits {
        connections: 2,
        strangers: 1,
        ..Limits::default()
    };
    let config = NetConfig { limits, ..offline() };
    let admit = Arc::new(Friends(friend.public()));
    let two = start_with(config, &SigningKey::random(&OsRandom), admit).await;
    let (stranger, next) = (start(offline()).await, start(offline()).await);
    let friend = start_with(offline(), &friend, everybody()).await;
    for net in [&stranger, &next, &friend] {
        net.know(two.address());
    }
    joined(&stranger, &two).await;
    assert!(matches!(
        next.connect(&two.node()).await,
        Err(NetError::Busy { .. })
    ));
    let (here, there) = joined(&friend, &two).await;
    echo(&here, &there, b"a place was kept").await;
    end([two, stranger, next, friend]).await;
}

#[tokio::test]
async fn a_farewell_is_heard() {
    let (one, two) = two().await;
    let (here, there) = joined(&one, &two).await;
    let farewell = Farewell::new(77, "no such vault here");
    two.disconnect(&one.node(), &farewell).await;
    assert_eq!(here.closed().await, Reason::Farewell(farewell));
    assert_eq!(there.closed().await, Reason::Ours);
    assert!(matches!(
        here.open().await,
        Err(NetError::Closed {
            reason: Reason::Farewell(_),
            ..
        })
    ));
    assert!(matches!(here.accept().await, Err(NetError::Closed { .. })));
    // It was a farewell, not for ever.
    let (here, there) = joined(&one, &two).await;
    echo(&here, &there, b"again").await;
    end([one, two]).await;
}

#[tokio::test]
async fn who_leaves_the_network_says_so() {
    let (one, two) = two().await;
    let (here, _there) = joined(&one, &two).await;
    two.close(Duration::from_secs(5)).await;
    assert_eq!(here.closed().await, Reason::Stopped);
    assert!(two.accept().await.is_none());
    assert!(matches!(two.connect(&one.node()).await, Err(NetError::Stopped)));
    assert_eq!(two.connections().len(), 0);
    end([one]).await;
}

#[tokio::test]
async fn dropping_the_last_clone_leaves_the_network() {
    let (one, two) = two().await;
    let (here, _) = joined(&one, &two).await;
    let clone = two.clone();
    drop(two);
    here.ping().await.unwrap();
    drop(clone);
    assert_eq!(here.closed().await, Reason::Stopped);
    end([one]).await;
}

#[tokio::test]
async fn an_address_that_is_taken_is_an_error() {
    let one = start(offline()).await;
    let mut config = offline();
    config.bind = one.address().direct;
    let key = SigningKey::random(&OsRandom);
    let error = polykey_net::Net::start(config, &key, everybody())
        .await
        .unwrap_err();
    assert!(matches!(error, NetError::Start { .. }), "{error:?}");
    end([one]).await;
}
