//! Frames on a stream: four bytes of length, most significant first, and that many bytes.
//!
//! Always: a length beyond the bound is refused before memory is taken; memory grows with what has arrived and
//! is counted in a [`Budget`] that all streams share; whoever stops for [`STEP_TIME`], or takes longer than
//! [`WHOLE_TIME`], is given up.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use polykey_vault::sync::Blob;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

/// A stream on which nothing moves for this long is given up.
pub const STEP_TIME: Duration = Duration::from_secs(10);
/// A frame that has not arrived whole after this long is given up, however busily it drips. The longest one
/// that there is needs less on a line of 1 Mbit/s.
pub const WHOLE_TIME: Duration = Duration::from_secs(120);
/// Bytes that all streams together may hold of what peers send, and of what waits to be taken by them.
pub const BUDGET: usize = 48 << 20;
/// The budget is counted in steps of this size.
const STEP: usize = 16 << 10;

/// Why a frame could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Longer than it may be.
    #[error("a frame of {len} bytes is longer than {max}")]
    TooLong {
        /// Announced length.
        len: usize,
        /// The bound.
        max: usize,
    },
    /// The stream ended before the frame did.
    #[error("the stream ended inside a frame")]
    Cut,
    /// Something follows the frame.
    #[error("the stream goes on behind its frame")]
    Beyond,
    /// Nothing moved for too long.
    #[error("the other side stopped in the middle")]
    Silent,
    /// The stream broke.
    #[error("the stream broke")]
    Io(#[from] io::Error),
}

/// Memory for frames, shared by all streams.
#[derive(Clone)]
pub struct Budget(Arc<Semaphore>);

/// A share of the budget. It goes back when this is dropped.
#[derive(Debug, Default)]
pub struct Held(Option<OwnedSemaphorePermit>);

impl Default for Budget {
    fn default() -> Self {
        Budget::new(BUDGET)
    }
}

impl Budget {
    /// A budget of this many bytes.
    pub fn new(bytes: usize) -> Self {
        Budget(Arc::new(Semaphore::new(bytes.div_ceil(STEP))))
    }

    /// Waits for a share of `len` bytes.
    pub async fn hold(&self, len: usize) -> Held {
        let steps = u32::try_from(len.div_ceil(STEP)).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        Held(self.0.clone().acquire_many_owned(steps).await.ok())
    }

    /// Bytes that nobody holds.
    pub fn free(&self) -> usize {
        self.0.available_permits() * STEP
    }
}

impl Held {
    /// Gives back all but `len` bytes.
    pub fn shrink(&mut self, len: usize) {
        if let Some(permit) = &mut self.0 {
            let surplus = permit.num_permits().saturating_sub(len.div_ceil(STEP));
            drop(permit.split(surplus));
        }
    }

    fn add(&mut self, other: Held) {
        match (&mut self.0, other.0) {
            (Some(mine), Some(more)) => mine.merge(more),
            (mine, more) => *mine = more,
        }
    }
}

/// Reads the only frame of a stream, at most `max` bytes, and its end.
///
/// # Errors
/// [`FrameError`]; the stream is of no more use then.
pub async fn read_only_frame(
    stream: &mut (impl AsyncRead + Unpin),
    max: usize,
    budget: &Budget,
) -> Result<(Vec<u8>, Held), FrameError> {
    let deadline = Instant::now() + WHOLE_TIME;
    let read = async {
        let mut head = Vec::with_capacity(4);
        append(stream, &mut head, 4).await?;
        let head = head.try_into().expect("four bytes were read");
        let len = usize::try_from(u32::from_be_bytes(head)).unwrap_or(usize::MAX);
        if len > max {
            return Err(FrameError::TooLong { len, max });
        }
        let mut frame = Vec::new();
        let mut held = Held::default();
        while frame.len() < len {
            let start = frame.len();
            // Four times as much as has come, so that copying stays cheap and holding does, too.
            let step = (len - start).min((3 * start).max(STEP));
            let more = timeout(STEP_TIME, budget.hold(step)).await;
            held.add(more.map_err(|_| FrameError::Silent)?);
            frame.reserve_exact(step);
            append(stream, &mut frame, step).await?;
        }
        match timeout(STEP_TIME, stream.read(&mut [0])).await {
            Err(_) => Err(FrameError::Silent),
            Ok(Err(error)) => Err(error.into()),
            Ok(Ok(0)) => Ok((frame, held)),
            Ok(Ok(_)) => Err(FrameError::Beyond),
        }
    };
    timeout_at(deadline, read)
        .await
        .unwrap_or(Err(FrameError::Silent))
}

/// Reads `len` bytes more, into memory that was taken for them.
async fn append(
    stream: &mut (impl AsyncRead + Unpin),
    frame: &mut Vec<u8>,
    len: usize,
) -> Result<(), FrameError> {
    let mut rest = stream.take(len as u64);
    while rest.limit() > 0 {
        match timeout(STEP_TIME, rest.read_buf(frame)).await {
            Err(_) => return Err(FrameError::Silent),
            Ok(Err(error)) => return Err(error.into()),
            Ok(Ok(0)) => return Err(FrameError::Cut),
            Ok(Ok(_)) => {}
        }
    }
    Ok(())
}

/// Writes one frame, whose `parts` follow each other, and ends the stream.
///
/// # Errors
/// [`FrameError`].
pub async fn write_only_frame(
    stream: &mut (impl AsyncWrite + Unpin),
    parts: &[Blob],
) -> Result<(), FrameError> {
    let deadline = Instant::now() + WHOLE_TIME;
    let write = async {
        let len: usize = parts.iter().map(Blob::len).sum();
        let head = u32::try_from(len).map_err(|_| FrameError::TooLong {
            len,
            max: usize::try_from(u32::MAX).unwrap_or(usize::MAX),
        })?;
        let head = head.to_be_bytes();
        for mut part in std::iter::once(&head[..]).chain(parts.iter().map(Blob::as_slice)) {
            while !part.is_empty() {
                match timeout(STEP_TIME, stream.write(part)).await {
                    Err(_) => return Err(FrameError::Silent),
                    Ok(Err(error)) => return Err(error.into()),
                    Ok(Ok(0)) => return Err(FrameError::Cut),
                    Ok(Ok(written)) => part = &part[written..],
                }
            }
        }
        match timeout(STEP_TIME, stream.shutdown()).await {
            Err(_) => Err(FrameError::Silent),
            Ok(ended) => Ok(ended?),
        }
    };
    timeout_at(deadline, write)
        .await
        .unwrap_or(Err(FrameError::Silent))
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    async fn read(bytes: &[u8], max: usize) -> Result<Vec<u8>, FrameError> {
        let mut stream = bytes;
        let budget = Budget::default();
        let read = read_only_frame(&mut stream, max, &budget)
            .await
            .map(|(frame, _)| frame);
        assert_eq!(budget.free(), BUDGET, "all is given back");
        read
    }

    #[tokio::test]
    async fn frames_cross_and_their_memory_is_counted_until_they_are_dropped() {
        let (mut here, mut there) = duplex(1000);
        let sent: Vec<u8> = (0..100_000).map(|at| (at % 251) as u8).collect();
        let parts: Vec<Blob> = sent.chunks(33_333).map(|part| part.to_vec().into()).collect();
        let writer = tokio::spawn(async move { write_only_frame(&mut here, &parts).await });
        let budget = Budget::default();
        let (frame, mut held) = read_only_frame(&mut there, 100_000, &budget)
            .await
            .expect("a frame");
        writer.await.expect("no panic").expect("written");
        assert_eq!(frame, sent);
        assert!(BUDGET - budget.free() >= sent.len());
        held.shrink(STEP);
        assert_eq!(BUDGET - budget.free(), STEP);
        drop(held);
        assert_eq!(budget.free(), BUDGET);
    }

    #[tokio::test]
    async fn bad_frames_are_refused() {
        assert_eq!(read(&[0, 0, 0, 2, 1, 2], 2).await.expect("a frame"), [1, 2]);
        assert_eq!(read(&[0, 0, 0, 0], 2).await.expect("a frame"), b"");
        for cut in 0..6 {
            let bytes = &[0, 0, 0, 2, 1, 2][..cut];
            assert!(matches!(read(bytes, 2).await, Err(FrameError::Cut)), "{cut}");
        }
        let beyond = [0, 0, 0, 2, 1, 2, 3];
        assert!(matches!(read(&beyond, 2).await, Err(FrameError::Beyond)));
        let long = read(&[255; 9], 2).await;
        assert!(matches!(long, Err(FrameError::TooLong { max: 2, .. })));
        // A length that is allowed takes no memory before its bytes come.
        assert!(matches!(
            read(&[0xff, 0, 0, 0, 1], usize::MAX).await,
            Err(FrameError::Cut)
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_stops_or_drips_is_given_up() {
        let budget = Budget::default();
        let (mut here, mut there) = duplex(1000);
        here.write_all(&[0, 0, 0, 9, 1]).await.expect("room");
        let silent = read_only_frame(&mut there, 9, &budget).await;
        assert!(matches!(silent, Err(FrameError::Silent)));

        let (mut here, mut there) = duplex(1000);
        here.write_all(&[0, 0, 1, 0]).await.expect("room");
        let dripping = tokio::spawn(async move {
            while here.write_all(&[1]).await.is_ok() {
                tokio::time::sleep(STEP_TIME / 2).await;
            }
        });
        let slow = read_only_frame(&mut there, 256, &budget).await;
        assert!(matches!(slow, Err(FrameError::Silent)));
        drop(there);
        dripping.await.expect("no panic");

        let (mut here, _there) = duplex(10);
        let stuck = write_only_frame(&mut here, &[vec![0; 100].into()]).await;
        assert!(matches!(stuck, Err(FrameError::Silent)));
        assert_eq!(budget.free(), BUDGET);
    }
}
