//! Frames: bytes with their length in front, over any stream.
//!
//! A frame is four bytes of length, most significant first, and that many bytes. The length is held against
//! the caller's bound before any memory is taken for it, and memory grows with the bytes that have arrived,
//! so a peer that announces much and sends little holds little.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Memory is taken in steps of this size while a frame arrives.
const STEP: usize = 64 << 10;

/// Why a frame could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The frame is longer than the reader or the format allows.
    #[error("a frame of {len} bytes is longer than the {max} that are allowed")]
    TooLong {
        /// Announced length.
        len: usize,
        /// Bound of the caller.
        max: usize,
    },
    /// The stream ended inside a frame.
    #[error("the stream ended inside a frame")]
    Truncated,
    /// The stream broke.
    #[error("the stream broke")]
    Io(#[from] io::Error),
}

/// Reads one frame of at most `max` bytes; `None` when the stream ends before one begins.
///
/// Not safe to cancel: a frame that was read in part is lost.
///
/// # Errors
/// [`FrameError`]; nothing more can be read from the stream then.
pub async fn read_frame(
    stream: &mut (impl AsyncRead + Unpin),
    max: usize,
) -> Result<Option<Vec<u8>>, FrameError> {
    let mut head = [0; 4];
    let mut have = 0;
    while have < head.len() {
        match stream.read(&mut head[have..]).await? {
            0 if have == 0 => return Ok(None),
            0 => return Err(FrameError::Truncated),
            read => have += read,
        }
    }
    let len = usize::try_from(u32::from_be_bytes(head)).unwrap_or(usize::MAX);
    if len > max {
        return Err(FrameError::TooLong { len, max });
    }
    let mut frame = Vec::with_capacity(len.min(STEP));
    while frame.len() < len {
        let step = (len - frame.len()).min(STEP);
        let read = (&mut *stream)
            .take(u64::try_from(step).expect("a step fits"))
            .read_to_end(&mut frame)
            .await?;
        if read == 0 {
            return Err(FrameError::Truncated);
        }
    }
    Ok(Some(frame))
}

/// Writes one frame. Does not flush and does not finish the stream.
///
/// # Errors
/// [`FrameError::TooLong`] for more than `u32::MAX` bytes; [`FrameError::Io`].
pub async fn write_frame(stream: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> Result<(), FrameError> {
    let len = u32::try_from(frame.len()).map_err(|_| FrameError::TooLong {
        len: frame.len(),
        max: usize::try_from(u32::MAX).unwrap_or(usize::MAX),
    })?;
    stream.write_all(&len.to_be_bytes()).await?;
    stream.write_all(frame).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    #[tokio::test]
    async fn frames_come_back_in_order() {
        let (mut here, mut there) = duplex(1 << 20);
        let long = vec![3; 3 * STEP + 1];
        for frame in [&b""[..], b"one", &long] {
            write_frame(&mut here, frame).await.expect("room");
        }
        drop(here);
        for frame in [&b""[..], b"one", &long] {
            let read = read_frame(&mut there, long.len()).await.expect("a frame");
            assert_eq!(read.as_deref(), Some(frame));
        }
        assert!(matches!(read_frame(&mut there, 10).await, Ok(None)));
    }

    #[tokio::test]
    async fn a_slow_drip_is_one_frame() {
        let (mut here, mut there) = duplex(1);
        let writer = tokio::spawn(async move {
            for byte in [0, 0, 0, 3, b'a', b'b', b'c'] {
                here.write_all(&[byte]).await.expect("a reader");
            }
        });
        let read = read_frame(&mut there, 3).await.expect("a frame");
        assert_eq!(read.as_deref(), Some(&b"abc"[..]));
        writer.await.expect("no panic");
    }

    #[tokio::test]
    async fn bad_frames_are_refused() {
        async fn check(bytes: &[u8], max: usize) -> FrameError {
            let mut stream = bytes;
            read_frame(&mut stream, max).await.expect_err("refused")
        }
        for cut in 1..7 {
            let error = check(&[0, 0, 0, 3, b'a', b'b', b'c'][..cut], 10).await;
            assert!(matches!(error, FrameError::Truncated), "{cut}");
        }
        assert!(matches!(
            check(&[0, 0, 0, 3, 1, 2, 3], 2).await,
            FrameError::TooLong { len: 3, max: 2 }
        ));
        assert!(matches!(
            check(&[255; 9], 1 << 20).await,
            FrameError::TooLong { .. }
        ));
    }

    #[tokio::test]
    async fn an_announced_length_takes_no_memory() {
        // The largest length that the format has, allowed by the caller, and two bytes of it.
        let mut stream = &[255, 255, 255, 255, 1, 2][..];
        let error = read_frame(&mut stream, usize::MAX).await.expect_err("truncated");
        assert!(matches!(error, FrameError::Truncated));
    }
}
