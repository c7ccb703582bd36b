//! What streams do: windows, ends, codes, numbers.

use std::future::Future;
use std::task::{Context, Waker};

use polykey_net::config::{MAX_STREAMS, NARROW_WINDOW};
use polykey_net::frame::{FrameError, read_frame, write_frame};
use polykey_net::{Limits, NetConfig, Receiver, Sender, stream_code};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::pair::{echo, end, joined, offline, read_all, send_all, start, two};

/// A pair of streams seen from both sides; the first byte has passed.
async fn streams(
    here: &polykey_net::Peer,
    there: &polykey_net::Peer,
) -> (Sender, Receiver, Sender, Receiver) {
    let (mut send, recv) = here.open().await.unwrap();
    send.write_all(b"!").await.unwrap();
    let (their_send, mut their_recv) = there.accept().await.unwrap();
    let mut first = [0];
    their_recv.read_exact(&mut first).await.unwrap();
    (send, recv, their_send, their_recv)
}

#[tokio::test]
async fn more_than_any_window_passes_both_ways() {
    let (one, two) = two().await;
    let (here, there) = joined(&one, &two).await;
    let much: Vec<u8> = (0..NARROW_WINDOW as usize * 10).map(|i| (i / 7) as u8).collect();
    for (from, to) in [(&here, &there), (&there, &here)] {
        let (mut send, _, _, mut recv) = streams(from, to).await;
        let ((), heard) = tokio::join!(send_all(&mut send, &much), read_all(&mut recv));
        assert!(heard == much);
    }
    there.widen();
    let (mut send, _, _, mut recv) = streams(&here, &there).await;
    let ((), heard) = tokio::join!(send_all(&mut send, &much), read_all(&mut recv));
    assert!(heard == much);
    end([one, two]).await;
}

#[tokio::test]
async fn half_a_message_does_not_pass_for_a_whole_one() {
    let (one, two) = two().await;
    let (here, there) = joined(&one, &two).await;
    let (send, _recv, _, mut their_recv) = streams(&here, &there).await;
    drop(send);
    let error = their_recv.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert_eq!(stream_code(&error), Some(0), "{error:?}");
    // While a finished one does.
    let (mut send, _recv, _, mut their_recv) = streams(&here, &there).await;
    send.finish().unwrap();
    drop(send);
    assert_eq!(read_all(&mut their_recv).await, b"");
    end([one, two]).await;
}

#[tokio::test]
async fn codes_reach_the_other_side() {
    let (one, two) = two().await;
    let (here, there) = joined(&one, &two).await;
    let (send, _recv, mut their_send, mut their_recv) = streams(&here, &there).await;
    send.reset(42);
    let error = their_recv.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert_eq!(stream_code(&error), Some(42), "{error:?}");

    let (_send, recv, mut their_send_2, _their_recv) = streams(&here, &there).await;
    recv.stop(43);
    let error = loop {
        if let Err(error) = their_send_2.write_all(&[0; 1 << 16]).await {
            break error;
        }
    };
    assert_eq!(stream_code(&error), Some(43), "{error:?}");
    // Only that pair was ended.
    send_all(&mut their_send, b"still here").await;
    echo(&here, &there, b"still here").await;
    end([one, two]).await;
}

#[tokio::test]
async fn what_was_delivered_is_known_before_the_connection_goes() {
    let (one, two) = two().await;
    let (here, there) = joined(&one, &two).await;
    let (mut send, _recv, _, mut their_recv) = streams(&here, &there).await;
    send_all(&mut send, b"last word").await;
    send.delivered().await.unwrap();
    end([one]).await;
    assert_eq!(read_all(&mut their_recv).await, b"last word");
    end([two]).await;
}

#[tokio::test]
async fn long_frames_are_refused_before_they_are_read() {
    let (one, two) = two().await;
    let (here, there) = joined(&one, &two).await;
    let (mut send, _recv, _, mut their_recv) = streams(&here, &there).await;
    write_frame(&mut send, &[7; 1000]).await.unwrap();
    let error = read_frame(&mut their_recv, 999).await.unwrap_err();
    assert!(
        matches!(error, FrameError::TooLong { len: 1000, max: 999 }),
        "{error:?}"
    );
    let (mut send, _recv, _, mut their_recv) = streams(&here, &there).await;
    write_frame(&mut send, &[7; 1000]).await.unwrap();
    send.finish().unwrap();
    assert_eq!(
        read_frame(&mut their_recv, 1000).await.unwrap(),
        Some(vec![7; 1000])
    );
    assert_eq!(read_frame(&mut their_recv, 1000).await.unwrap(), None);
    end([one, two]).await;
}

#[tokio::test]
async fn a_peer_opens_no_more_streams_than_are_allowed() {
    let (one, two) = two().await;
    let (here, there) = joined(&one, &two).await;
    let mut open = Vec::new();
    for _ in 0..MAX_STREAMS {
        open.push(here.open().await.unwrap());
    }
    let mut next = Box::pin(here.open());
    assert!(
        next.as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    );
    // Those that end on both sides make room.
    let answers = async {
        for _ in 0..MAX_STREAMS {
            let (mut send, mut recv) = there.accept().await.unwrap();
            let heard = read_all(&mut recv).await;
            send_all(&mut send, &heard).await;
        }
    };
    let asks = async {
        for (send, recv) in &mut open {
            send_all(send, b"one of many").await;
            assert_eq!(read_all(recv).await, b"one of many");
        }
    };
    tokio::join!(asks, answers);
    next.await.unwrap();
    end([one, two]).await;
}

#[tokio::test]
async fn a_peer_that_opens_streams_too_fast_waits_and_loses_none() {
    let limits = Limits {
        streams_per_second: 1_000,
        stream_burst: 1,
        ..Limits::default()
    };
    let two = start(NetConfig { limits, ..offline() }).await;
    let one = start(offline()).await;
    one.know(two.address());
    let (here, there) = joined(&one, &two).await;
    for question in 0..20_u8 {
        echo(&here, &there, &[question]).await;
    }
    end([one, two]).await;
}
