//! The server on the Unix socket.
//!
//! Every connection is a task of its own, so a slow one holds up nobody. Heads, their time and the number
//! of connections are bounded; a caller of another user is cut off before a byte is read; a panic in a
//! handler answers 500 and the agent lives on.
//!
//! When all places are taken, by callers that hang or by many, there are some more, for the newest connections: what
//! is asked of the agent itself, such as to lock or to stop, is answered there at once; all else waits for a place.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, OnceLock, Weak};
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
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
use tower::ServiceExt;

use crate::door::Peer;
use crate::router::answer_problem;

/// Most connections whose requests are worked on at a time.
pub const MAX_CONNECTIONS: usize = 512;
/// Most connections beyond those; the oldest gives way.
const MAX_BEYOND: usize = 64;
/// Requests beyond wait this long for a place.
const PLACE_TIME: Duration = Duration::from_secs(10);
/// What is answered without a place.
const AT_ONCE: &str = "/v1/agent/";
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
    let mut beyond = Beyond::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = told(&mut stop) => break,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) => {
                let (router, stop, cut) = (router.clone(), stop.clone(), cut.clone());
                let seat = Arc::new(Seat::new(&places));
                let task = connections.spawn(connection(stream, router, seat.clone(), stop, cut));
                beyond.note(&seat, task);
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

/// A connection's place, when it has one.
struct Seat {
    places: Arc<Semaphore>,
    place: OnceLock<OwnedSemaphorePermit>,
}

impl Seat {
    /// A seat with a place, if one is free.
    fn new(places: &Arc<Semaphore>) -> Seat {
        let seat = Seat {
            places: places.clone(),
            place: OnceLock::new(),
        };
        if let Ok(place) = places.clone().try_acquire_owned() {
            seat.take(place);
        }
        seat
    }

    fn take(&self, place: OwnedSemaphorePermit) {
        // Requests of one connection come one after another: none takes a second place.
        let _ = self.place.set(place);
    }

    /// Lets a request for `path` pass, when need be after a wait for a place.
    async fn admits(&self, path: &str) -> Result<(), Problem> {
        if self.place.get().is_some() || path.starts_with(AT_ONCE) {
            return Ok(());
        }
        let free = tokio::time::timeout(PLACE_TIME, self.places.clone().acquire_owned());
        let Ok(Ok(place)) = free.await else {
            return Err(Problem::new(Code::Busy, "the agent has too many callers")
                .hint("try again; `polykey agent lockall` ends all requests"));
        };
        self.take(place);
        Ok(())
    }
}

/// The connections without a place, oldest first.
#[derive(Default)]
struct Beyond(VecDeque<(Weak<Seat>, AbortHandle)>);

impl Beyond {
    /// Takes note of a new connection. What it asks of the agent itself goes on, also when it is ended here later.
    fn note(&mut self, seat: &Arc<Seat>, task: AbortHandle) {
        if seat.place.get().is_some() {
            return;
        }
        self.0
            .retain(|(seat, _)| seat.upgrade().is_some_and(|seat| seat.place.get().is_none()));
        if self.0.len() >= MAX_BEYOND
            && let Some((_, oldest)) = self.0.pop_front()
        {
            oldest.abort();
        }
        self.0.push_back((Arc::downgrade(seat), task));
    }
}

async fn connection(
    stream: UnixStream,
    router: Router,
    seat: Arc<Seat>,
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
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        // Reading the head has left its bytes, the password among them, on the stack below.
        scrubbed::<DEEP, _>(|| ());
        let (router, at_work, seat) = (router.clone(), at_work.clone(), seat.clone());
        async move {
            let answered = match seat.admits(request.uri().path()).await {
                Ok(()) => answer(router, peer, request).await,
                Err(problem) => Ok(answer_problem(problem)),
            };
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
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::handlers;
    use crate::peer::bench::{Bench, PASSWORD};

    #[tokio::test]
    async fn a_place_is_free_when_its_connection_ends() {
        let places = Arc::new(Semaphore::new(1));
        let task = || tokio::spawn(std::future::pending::<()>()).abort_handle();
        let mut beyond = Beyond::default();
        let (first, second) = (Arc::new(Seat::new(&places)), Arc::new(Seat::new(&places)));
        for seat in [&first, &second] {
            beyond.note(seat, task());
        }
        assert_eq!(beyond.0.len(), 1);
        assert!(second.admits("/v1/agent/stop").await.is_ok());
        assert!(second.place.get().is_none(), "it needed none");
        drop(first);
        assert!(second.admits("/v1/keys/public").await.is_ok());
        assert_eq!(places.available_permits(), 0);
        drop(second);
        assert_eq!(places.available_permits(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_place_is_told_to_try_again() {
        let places = Arc::new(Semaphore::new(0));
        let seat = Seat::new(&places);
        let refused = seat.admits("/v1/keys/public").await;
        assert_eq!(refused.map_err(|problem| problem.code), Err(Code::Busy));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn callers_that_hang_on_every_place_keep_nobody_from_locking() {
        let most = getrlimit(Resource::Nofile).maximum;
        let limit = Rlimit {
            current: most,
            maximum: most,
        };
        setrlimit(Resource::Nofile, limit).expect("up to what is allowed");
        let bench = Bench::new();
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("s");
        let listener = bind(&path).expect("binds");
        let (_stop, stopped) = watch::channel(false);
        let routes = handlers::routes(bench.agent.clone());
        let cut = bench.agent.cut();
        let serving = tokio::spawn(serve(listener, routes, stopped, cut, Duration::from_secs(5)));
        let basic = data_encoding::BASE64.encode(&[b":", PASSWORD].concat());
        let head = |call: &str, len: usize| {
            format!(
                "{call} HTTP/1.1\r\nhost: x\r\nauthorization: Basic {basic}\r\ncontent-length: {len}\r\n\r\n"
            )
        };
        let begin = async |request: String| {
            let mut stream = UnixStream::connect(&path).await.expect("listens");
            stream.write_all(request.as_bytes()).await.expect("takes it");
            stream
        };
        let status = async |stream: &mut UnixStream| {
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).await.expect("answers");
            String::from_utf8_lossy(&answer).into_owned()
        };
        // Each waits for ten bytes that never come, on a thread of its own; the last ones find no place.
        let mut hung = Vec::new();
        for _ in 0..MAX_CONNECTIONS + 3 * MAX_BEYOND {
            hung.push(begin(head("PUT /v1/keys/sign", 10)).await);
        }
        // Others begin to ask the agent itself, and do not go on.
        for _ in 0..2 * MAX_BEYOND {
            hung.push(begin(head("POST /v1/agent/lockall", 10)).await);
        }
        let mut locking = begin(head("POST /v1/agent/lockall", 0)).await;
        assert_eq!(status(&mut locking).await, "HTTP/1.1 200");
        assert!(bench.agent.node().is_none(), "the keys are gone");
        // Those that had a place are told why they end.
        assert!(status(&mut hung[0]).await.starts_with("HTTP/1.1 5"));
        serving.abort();
    }

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
