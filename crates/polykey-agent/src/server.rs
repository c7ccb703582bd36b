//! The server on the Unix socket.
//!
//! Every connection is a task of its own, so a slow one holds up nobody. Heads, their time and the number
//! of connections are bounded; a caller of another user is cut off before a byte is read; a panic in a
//! handler answers 500 and the agent lives on.

use std::convert::Infallible;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use polykey_api::{Code, Problem};
use polykey_core::scrub::{DEEP, scrubbed};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower::ServiceExt;

use crate::door::Peer;
use crate::router::answer_problem;

/// Most connections at a time; further ones wait.
const MAX_CONNECTIONS: usize = 512;
/// A request's head must be here this long after the connection is free for it.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// Longest head of a request.
const MAX_HEAD: usize = 64 << 10;

/// Binds the socket, private to this user, in the place of a stale one. The caller holds the lock of the
/// node path, so whatever lies there belongs to nobody.
///
/// # Errors
/// As the system says.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves until `stop` changes, then lets running requests end for at most `grace`. Each change of `cut` ends the
/// connections that no handler is at work for: whatever they hold, it was made and may not be taken yet.
pub async fn serve(
    listener: UnixListener,
    router: Router,
    mut stop: watch::Receiver<bool>,
    cut: watch::Receiver<()>,
    grace: Duration,
) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = told(&mut stop) => break,
            accepted = accept(&listener, &places) => accepted,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, place)) => {
                let (router, stop, cut) = (router.clone(), stop.clone(), cut.clone());
                connections.spawn(async move {
                    connection(stream, router, stop, cut).await;
                    drop(place);
                });
            }
            Err(error) => {
                // Out of descriptors, mostly: going on at once would spin.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    let drain = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(grace, drain).await.is_err() {
        tracing::warn!("requests were cut off by the end of the agent");
    }
}

/// Returns when `stop` is true, or its sender gone.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Returns at the next change of `cut`.
async fn gone(cut: &mut watch::Receiver<()>) {
    if cut.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

type Place = tokio::sync::OwnedSemaphorePermit;

async fn accept(listener: &UnixListener, places: &Arc<Semaphore>) -> io::Result<(UnixStream, Place)> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

async fn connection(
    stream: UnixStream,
    router: Router,
    mut stop: watch::Receiver<bool>,
    mut cut: watch::Receiver<()>,
) {
    let Some(peer) = peer(&stream) else {
        tracing::warn!("a connection of another user was refused");
        return;
    };
    // What went before this connection is nothing to it.
    cut.mark_unchanged();
    let answering = Arc::new(());
    let at_work = answering.clone();
    let service = hyper::service::service_fn(move |request| {
        // Reading the head has left its bytes, the password among them, on the stack below.
        scrubbed::<DEEP, _>(|| ());
        let (router, at_work) = (router.clone(), at_work.clone());
        async move {
            let answered = answer(router, peer, request).await;
            drop(at_work);
            answered
        }
    });
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    let ended = loop {
        tokio::select! {
            ended = serving.as_mut() => break ended,
            // What its caller does not take must not stay in our memory. A third one is held by a handler, such as
            // the one that has locked the keys, whose answer is still to come.
            () = gone(&mut cut) => if Arc::strong_count(&answering) < 3 { return },
            () = told(&mut stop) => {
                serving.as_mut().graceful_shutdown();
                break serving.await;
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// The process at the other end, if it is this user's. The socket is private already; this holds also
/// where a file system does not keep modes.
fn peer(stream: &UnixStream) -> Option<Peer> {
    let credentials = stream.peer_cred().ok()?;
    let peer = Peer {
        uid: credentials.uid(),
        pid: credentials.pid().and_then(|pid| u32::try_from(pid).ok()),
    };
    (peer.uid == rustix::process::getuid().as_raw()).then_some(peer)
}

async fn answer(
    router: Router,
    peer: Peer,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    request.extensions_mut().insert(peer);
    let path = request.uri().path().to_owned();
    let answered = std::panic::AssertUnwindSafe(router.oneshot(request.map(Body::new)));
    Ok(answered.catch_unwind().await.map_or_else(
        |_| {
            tracing::error!(path, "a handler panicked");
            answer_problem(
                Problem::new(Code::Internal, "a fault in the agent ended this request")
                    .hint("the agent goes on; its log says where it was"),
            )
        },
        |done| done.unwrap_or_else(|never| match never {}),
    ))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn ask(path: &Path, what: &str) -> String {
        let mut stream = UnixStream::connect(path).await.expect("listens");
        let request = format!("GET {what} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("takes it");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answers");
        answer
    }

    #[tokio::test]
    async fn a_panic_in_a_handler_answers_500_and_the_server_lives() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("s");
        // A stale socket gives way.
        drop(UnixListener::bind(&path).expect("binds"));
        let listener = bind(&path).expect("binds");
        let fault = async || -> &'static str { panic!("on purpose") };
        let router = Router::new()
            .route("/fault", axum::routing::get(fault))
            .route("/fine", axum::routing::get(async || "fine"));
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(serve(
            listener,
            router,
            stopped,
            watch::Sender::new(()).subscribe(),
            Duration::from_secs(5),
        ));
        let answer = ask(&path, "/fault").await;
        assert!(
            answer.starts_with("HTTP/1.1 500") && answer.contains("\"internal\""),
            "{answer}"
        );
        assert!(!answer.contains("on purpose"));
        assert!(ask(&path, "/fine").await.ends_with("fine"));
        stop.send(true).expect("the server listens");
        serving.await.expect("ends");
    }
}
