//! One connection, as this crate holds it.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use iroh::endpoint::{Connection, VarInt};
use polykey_core::NodeId;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use crate::config::{FRESH, Limits};
use crate::error::{NetError, Reason};
use crate::hello::RUN_LEN;

/// Pings that may wait to be sent.
const PING_QUEUE: usize = 16;

/// A connection after hello and answer.
pub(crate) struct Link {
    pub(crate) conn: Connection,
    pub(crate) node: NodeId,
    /// The number of the peer's process.
    pub(crate) run: [u8; RUN_LEN],
    pub(crate) dialled: bool,
    pub(crate) since: Instant,
    /// Counts all connections of this process, so that newer ones can be told from older ones.
    pub(crate) number: u64,
    /// Milliseconds from `since` to the last byte that was read.
    heard: AtomicU64,
    streams: AtomicUsize,
    streams_changed: Notify,
    bucket: Mutex<Bucket>,
    pings: mpsc::Sender<()>,
    asked: AtomicU64,
    pongs: watch::Receiver<u64>,
}

/// The ends of a link that its control task holds.
pub(crate) struct ControlEnds {
    pub(crate) pings: mpsc::Receiver<()>,
    pub(crate) pongs: watch::Sender<u64>,
}

impl Link {
    pub(crate) fn new(
        conn: Connection,
        node: NodeId,
        run: [u8; RUN_LEN],
        dialled: bool,
        number: u64,
        limits: &Limits,
    ) -> (Arc<Self>, ControlEnds) {
        let (ping_sender, pings) = mpsc::channel(PING_QUEUE);
        let (pong_sender, pongs) = watch::channel(0);
        let link = Link {
            conn,
            node,
            run,
            dialled,
            since: Instant::now(),
            number,
            heard: AtomicU64::new(0),
            streams: AtomicUsize::new(0),
            streams_changed: Notify::new(),
            bucket: Mutex::new(Bucket::new(limits, Instant::now())),
            pings: ping_sender,
            asked: AtomicU64::new(0),
            pongs,
        };
        let ends = ControlEnds {
            pings,
            pongs: pong_sender,
        };
        (Arc::new(link), ends)
    }

    /// Notes that the peer was heard now.
    pub(crate) fn heard(&self) {
        let millis = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard.fetch_max(millis, Ordering::Relaxed);
    }

    /// When the peer was last heard on a stream.
    pub(crate) fn heard_at(&self) -> Instant {
        self.since + Duration::from_millis(self.heard.load(Ordering::Relaxed))
    }

    /// Whether the peer was heard so lately that nobody need ask.
    pub(crate) fn is_fresh(&self) -> bool {
        self.heard_at().elapsed() < FRESH
    }

    /// Asks the peer whether it is there, and how long that took.
    pub(crate) async fn ping(&self) -> Result<Duration, NetError> {
        let start = Instant::now();
        let mut pongs = self.pongs.clone();
        let number = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        let answered = async {
            self.pings.send(()).await.ok()?;
            pongs.wait_for(|pongs| *pongs >= number).await.ok().map(drop)
        };
        match answered.await {
            Some(()) => Ok(start.elapsed()),
            None => Err(NetError::closed(self.node, self.reason().unwrap_or(Reason::Lost))),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.conn.close_reason().is_none()
    }

    /// Why the connection ended, when it did.
    pub(crate) fn reason(&self) -> Option<Reason> {
        self.conn.close_reason().as_ref().map(Reason::from)
    }

    /// Closes the connection with one of our own codes.
    pub(crate) fn close(&self, code: u32) {
        // The library would forget why it ended if it had already.
        if self.is_open() {
            self.conn.close(VarInt::from_u32(code), b"");
        }
    }

    /// Counts one more half of a stream.
    pub(crate) fn enter(self: &Arc<Self>) -> InUse {
        self.streams.fetch_add(1, Ordering::Relaxed);
        self.streams_changed.notify_waiters();
        InUse(Arc::clone(self))
    }

    /// Waits until the link has had no stream for all of `rest`, or is closed.
    pub(crate) async fn idle_for(&self, rest: Duration) {
        loop {
            let changed = self.streams_changed.notified();
            tokio::pin!(changed);
            // Registered before the count is read, so that no change falls in between.
            changed.as_mut().enable();
            let busy = self.streams.load(Ordering::Relaxed) > 0;
            tokio::select! {
                () = changed => {}
                _ = self.conn.closed() => return,
                () = tokio::time::sleep(rest), if !busy => return,
            }
        }
    }

    /// When the peer may open its next stream.
    pub(crate) fn next_stream_at(&self, now: Instant) -> Instant {
        self.bucket
            .lock()
            .expect("never poisoned: nothing panics under it")
            .ready(now)
    }

    /// Notes that the peer opened a stream.
    pub(crate) fn stream_taken(&self, now: Instant) {
        self.bucket
            .lock()
            .expect("never poisoned: nothing panics under it")
            .take(now);
    }
}

/// Holds a link in use for as long as half a stream lives.
pub(crate) struct InUse(Arc<Link>);

impl InUse {
    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.0
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
        self.0.streams_changed.notify_waiters();
    }
}

/// A token bucket, kept as the moment at which it would be full again (the generic cell rate algorithm,
/// ITU-T I.371).
struct Bucket {
    full_at: Instant,
    /// Time that one token takes to come back.
    each: Duration,
    /// Time that all tokens take to come back.
    depth: Duration,
}

impl Bucket {
    fn new(limits: &Limits, now: Instant) -> Self {
        let each = Duration::from_secs(1) / limits.streams_per_second.max(1);
        Bucket {
            full_at: now,
            each,
            depth: each * limits.stream_burst.max(1),
        }
    }

    /// The moment from which one token is there.
    fn ready(&self, now: Instant) -> Instant {
        let full_at = self.full_at.max(now) + self.each;
        full_at.checked_sub(self.depth).map_or(now, |at| at.max(now))
    }

    fn take(&mut self, now: Instant) {
        self.full_at = self.full_at.max(now) + self.each;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_the_rate_holds() {
        let limits = Limits {
            streams_per_second: 10,
            stream_burst: 3,
            ..Limits::default()
        };
        // Some time after the clock began, so that a moment before `start` exists.
        tokio::time::advance(Duration::from_secs(100)).await;
        let start = Instant::now();
        let mut bucket = Bucket::new(&limits, start);
        let mut now = start;
        for step in 0..6_u32 {
            now = bucket.ready(now);
            let want = Duration::from_millis(100) * step.saturating_sub(2);
            assert_eq!(now - start, want, "{step}");
            bucket.take(now);
        }
        // After a rest the burst is there again, and no more than the burst.
        now += Duration::from_secs(60);
        for _ in 0..3 {
            assert_eq!(bucket.ready(now), now);
            bucket.take(now);
        }
        assert_eq!(bucket.ready(now), now + Duration::from_millis(100));
    }
}
