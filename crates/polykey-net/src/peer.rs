//! A connection with a node, and its streams.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use iroh::TransportAddr;
use iroh::endpoint::{ReadError, RecvStream, SendStream, VarInt, WriteError};
use polykey_core::NodeId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::address::{NodeAddress, RelayUrl};
use crate::config::WIDE_WINDOW;
use crate::error::{Farewell, NetError, Reason};
use crate::link::{InUse, Link};
use crate::tls::{HYBRID, key_exchange};

/// Code of a stream that was dropped before it was finished.
const DROPPED: u32 = 0;

/// A connection with a node that has proved its key and said hello. Cheap to clone; the connection lasts
/// until one side closes it, not until the last clone is dropped.
#[derive(Clone)]
pub struct Peer(pub(crate) Arc<Link>);

impl Peer {
    /// The node on the other side.
    pub fn node(&self) -> NodeId {
        self.0.node
    }

    /// Opens a pair of streams. The other side learns of it with the first byte that is sent.
    ///
    /// Waits while [`MAX_STREAMS`](crate::config::MAX_STREAMS) are open.
    ///
    /// # Errors
    /// [`NetError::Closed`] or why the connection ended.
    pub async fn open(&self) -> Result<(Sender, Receiver), NetError> {
        match self.0.conn.open_bi().await {
            Ok((send, recv)) => Ok(self.streams(send, recv)),
            Err(error) => Err(NetError::closed(self.0.node, Reason::from(&error))),
        }
    }

    /// The next pair of streams that the other side opens. A peer that opens them faster than
    /// [`Limits`](crate::Limits) allow waits. Safe to cancel.
    ///
    /// # Errors
    /// [`NetError::Closed`] or why the connection ended.
    pub async fn accept(&self) -> Result<(Sender, Receiver), NetError> {
        let now = Instant::now();
        let at = self.0.next_stream_at(now);
        if at > now {
            tokio::select! {
                () = tokio::time::sleep_until(at) => {}
                error = self.0.conn.closed() => {
                    return Err(NetError::closed(self.0.node, Reason::from(&error)));
                }
            }
        }
        match self.0.conn.accept_bi().await {
            Ok((send, recv)) => {
                self.0.stream_taken(Instant::now());
                self.0.heard();
                Ok(self.streams(send, recv))
            }
            Err(error) => Err(NetError::closed(self.0.node, Reason::from(&error))),
        }
    }

    /// How the connection runs at this moment.
    pub fn info(&self) -> ConnectionInfo {
        ConnectionInfo::of(&self.0)
    }

    /// Asks the other side whether it is there; the round trip.
    ///
    /// # Errors
    /// Why the connection ended. Waits until then for a peer that does not answer: at most
    /// [`IDLE_TIMEOUT`](crate::config::IDLE_TIMEOUT) when it is gone.
    pub async fn ping(&self) -> Result<Duration, NetError> {
        self.0.ping().await
    }

    /// Lets the peer send as fast as a peer that we dialled. For a node that we know; a stranger who
    /// dialled us may hold less of our memory.
    pub fn widen(&self) {
        self.0.conn.set_receive_window(VarInt::from_u32(WIDE_WINDOW));
    }

    /// Closes the connection. Streams that are open break on both sides.
    pub fn close(&self, farewell: &Farewell) {
        self.0
            .conn
            .close(farewell.wire_code(), farewell.text().as_bytes());
    }

    /// Whether the connection is up, as far as is known.
    pub fn is_open(&self) -> bool {
        self.0.is_open()
    }

    /// Waits until the connection has ended, and says why.
    pub async fn closed(&self) -> Reason {
        Reason::from(&self.0.conn.closed().await)
    }

    fn streams(&self, send: SendStream, recv: RecvStream) -> (Sender, Receiver) {
        let sender = Sender {
            stream: send,
            finished: false,
            _in_use: self.0.enter(),
        };
        let receiver = Receiver {
            stream: recv,
            in_use: self.0.enter(),
        };
        (sender, receiver)
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Peer({})", self.0.node)
    }
}

/// By which way a connection runs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Path {
    /// From host to host.
    Direct(SocketAddr),
    /// Through a relay, which sees sizes and times, never content.
    Relayed(RelayUrl),
    /// Between two ways.
    Unknown,
}

impl Path {
    pub(crate) fn is_in(&self, known: &NodeAddress) -> bool {
        match self {
            Path::Direct(address) => known.direct.contains(address),
            Path::Relayed(url) => known.relay.as_ref() == Some(url),
            Path::Unknown => false,
        }
    }
}

/// How a connection runs.
#[derive(Debug, Clone)]
pub struct ConnectionInfo {
    /// With whom.
    pub node: NodeId,
    /// By which way it runs now.
    pub path: Path,
    /// What told us the address that it runs by, when that is known: `known` for one that we were given.
    pub lookup: Option<&'static str>,
    /// Round trip.
    pub rtt: Duration,
    /// How long it has been up.
    pub age: Duration,
    /// Whether we dialled it.
    pub dialled_by_us: bool,
    /// Whether the key exchange was hybrid, with a post-quantum part.
    pub post_quantum: bool,
}

impl ConnectionInfo {
    pub(crate) fn of(link: &Link) -> Self {
        let paths = link.conn.paths();
        let selected = paths
            .iter()
            .find(|path| path.is_selected())
            .or_else(|| paths.iter().next());
        let (path, rtt) = match &selected {
            Some(selected) => {
                let path = match selected.remote_addr() {
                    TransportAddr::Ip(address) => Path::Direct(*address),
                    TransportAddr::Relay(url) => Path::Relayed(RelayUrl::from_iroh(url)),
                    _ => Path::Unknown,
                };
                (path, selected.rtt())
            }
            None => (Path::Unknown, Duration::ZERO),
        };
        ConnectionInfo {
            node: link.node,
            path,
            lookup: None,
            rtt,
            age: link.since.elapsed(),
            dialled_by_us: link.dialled,
            post_quantum: key_exchange(&link.conn) == Some(HYBRID),
        }
    }
}

/// The half of a pair of streams that sends. Dropped before [`finish`](Sender::finish), it is reset, so that
/// half a message never passes for a whole one.
pub struct Sender {
    stream: SendStream,
    finished: bool,
    _in_use: InUse,
}

impl Sender {
    /// Says that nothing more comes. Does not wait for the other side to have it.
    ///
    /// # Errors
    /// When the stream was stopped, reset or finished before.
    pub fn finish(&mut self) -> io::Result<()> {
        self.finished = true;
        self.stream
            .finish()
            .map_err(|error| io::Error::new(io::ErrorKind::BrokenPipe, error))
    }

    /// Waits until the other side has confirmed all that was sent and finished, or has stopped reading.
    /// For a last word before a connection is closed.
    ///
    /// # Errors
    /// When the connection ends before.
    pub async fn delivered(&mut self) -> io::Result<()> {
        self.stream.stopped().await.map(drop).map_err(io::Error::other)
    }

    /// Gives up what was sent: the other side sees `code` instead of an end.
    pub fn reset(mut self, code: u32) {
        self.finished = true;
        // Fails only when it ended already.
        let _ = self.stream.reset(VarInt::from_u32(code));
    }
}

impl AsyncWrite for Sender {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.stream), cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.stream), cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.finish())
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        if !self.finished {
            // Fails only when it ended already.
            let _ = self.stream.reset(VarInt::from_u32(DROPPED));
        }
    }
}

/// The half of a pair of streams that receives. Dropped, it tells the other side to stop.
pub struct Receiver {
    stream: RecvStream,
    in_use: InUse,
}

impl Receiver {
    /// Tells the other side to stop, with a code.
    pub fn stop(mut self, code: u32) {
        // Fails only when it ended already.
        let _ = self.stream.stop(VarInt::from_u32(code));
    }
}

impl AsyncRead for Receiver {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let poll = AsyncRead::poll_read(Pin::new(&mut self.stream), cx, buf);
        if buf.filled().len() > before {
            self.in_use.link().heard();
        }
        poll
    }
}

/// The code with which the other side [reset](Sender::reset) or [stopped](Receiver::stop) the stream that gave
/// this error, when that is what happened.
pub fn stream_code(error: &io::Error) -> Option<u32> {
    let inner = error.get_ref()?;
    let code = match (
        inner.downcast_ref::<ReadError>(),
        inner.downcast_ref::<WriteError>(),
    ) {
        (Some(ReadError::Reset(code)), _) | (_, Some(WriteError::Stopped(code))) => *code,
        _ => return None,
    };
    u32::try_from(code.into_inner()).ok()
}
