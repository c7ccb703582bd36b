//! Frames: several secrets, one after the other, in one body.
//!
//! A frame is a kind (1 byte), a length (4 bytes, big endian) and that many bytes. Each secret is a
//! [`Frame::Head`], any number of [`Frame::Data`] and a [`Frame::End`]; what cannot be delivered is a
//! [`Frame::Failed`] in the place of a secret, and after that the next one follows. The whole ends with
//! [`Frame::Close`]: a body without it was cut off, whatever HTTP says.
//!
//! Always: a reader holds at most one frame, and no frame is longer than [`MAX_FRAME`].

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest content of one frame.
pub const MAX_FRAME: usize = 1 << 20;
/// Bytes in front of the content.
pub const FRAME_HEADER: usize = 5;

/// One frame, its content borrowed from the reader's buffer.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// JSON that says which secret follows.
    Head(&'a [u8]),
    /// Some of its bytes.
    Data(&'a [u8]),
    /// All its bytes were there.
    End,
    /// JSON of a problem (the wire form of [`crate::Problem`]), in the place of a secret or of its rest.
    Failed(&'a [u8]),
    /// Nothing follows.
    Close,
}

/// The bytes are no frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// No such kind of frame.
    #[error("a frame of an unknown kind")]
    Kind,
    /// Longer than [`MAX_FRAME`], or an empty kind that is not empty.
    #[error("a frame of an impossible length")]
    Length,
    /// The content is not the JSON that should be there.
    #[error("a frame with malformed content")]
    Content,
    /// The body ended too early, or went on after its end.
    #[error("the frames end in the wrong place")]
    Cut,
}

const HEAD: u8 = 1;
const DATA: u8 = 2;
const END: u8 = 3;
const FAILED: u8 = 4;
const CLOSE: u8 = 5;

/// Writes frames into a buffer.
pub mod write {
    use super::{CLOSE, DATA, END, FAILED, FrameError, HEAD, MAX_FRAME, Serialize};

    fn push(out: &mut Vec<u8>, kind: u8, content: &[u8]) {
        push_header(out, kind, content.len());
        out.extend_from_slice(content);
    }

    fn push_header(out: &mut Vec<u8>, kind: u8, len: usize) {
        let len = u32::try_from(len).expect("a frame is at most MAX_FRAME long");
        out.push(kind);
        out.extend_from_slice(&len.to_be_bytes());
    }

    fn push_json(out: &mut Vec<u8>, kind: u8, content: &impl Serialize) -> Result<(), FrameError> {
        let json = serde_json::to_vec(content).map_err(|_| FrameError::Content)?;
        if json.len() > MAX_FRAME {
            return Err(FrameError::Length);
        }
        push(out, kind, &json);
        Ok(())
    }

    /// Begins a secret.
    ///
    /// # Errors
    /// When `head` has no JSON or is longer than a frame.
    pub fn head(out: &mut Vec<u8>, head: &impl Serialize) -> Result<(), FrameError> {
        push_json(out, HEAD, head)
    }

    /// Bytes of the secret, cut into frames where they are more than one holds.
    pub fn data(out: &mut Vec<u8>, bytes: &[u8]) {
        for piece in bytes.chunks(MAX_FRAME) {
            push(out, DATA, piece);
        }
    }

    /// Announces `len` bytes of the secret, at most [`MAX_FRAME`], which the caller sends after this.
    ///
    /// # Errors
    /// [`FrameError::Length`] when they are more than a frame holds.
    pub fn data_header(out: &mut Vec<u8>, len: usize) -> Result<(), FrameError> {
        if len > MAX_FRAME {
            return Err(FrameError::Length);
        }
        push_header(out, DATA, len);
        Ok(())
    }

    /// Ends a secret.
    pub fn end(out: &mut Vec<u8>) {
        push(out, END, &[]);
    }

    /// Says why there is none.
    ///
    /// # Errors
    /// As [`head`].
    pub fn failed(out: &mut Vec<u8>, problem: &impl Serialize) -> Result<(), FrameError> {
        push_json(out, FAILED, problem)
    }

    /// Ends the whole.
    pub fn close(out: &mut Vec<u8>) {
        push(out, CLOSE, &[]);
    }
}

/// Takes frames out of bytes that come in pieces.
#[derive(Default)]
pub struct FrameReader {
    buffer: Vec<u8>,
    used: usize,
    closed: bool,
}

impl FrameReader {
    /// A reader at the beginning of a body.
    pub fn new() -> Self {
        FrameReader::default()
    }

    /// Adds bytes that arrived. Call [`FrameReader::next_frame`] until it has none before adding more.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.used > 0 {
            self.buffer.drain(..self.used);
            self.used = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// When the bytes are no frames. Nothing more can be read then.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        let rest = &self.buffer[self.used..];
        if self.closed {
            return if rest.is_empty() {
                Ok(None)
            } else {
                Err(FrameError::Cut)
            };
        }
        let Some((header, rest)) = rest.split_first_chunk::<FRAME_HEADER>() else {
            return Ok(None);
        };
        let [kind, a, b, c, d] = *header;
        let len = u32::from_be_bytes([a, b, c, d]) as usize;
        if len > MAX_FRAME || (matches!(kind, END | CLOSE) && len > 0) {
            return Err(FrameError::Length);
        }
        if !(HEAD..=CLOSE).contains(&kind) {
            return Err(FrameError::Kind);
        }
        if rest.len() < len {
            return Ok(None);
        }
        let start = self.used + FRAME_HEADER;
        self.used = start + len;
        let content = &self.buffer[start..self.used];
        Ok(Some(match kind {
            HEAD => Frame::Head(content),
            DATA => Frame::Data(content),
            END => Frame::End,
            FAILED => Frame::Failed(content),
            _ => {
                self.closed = true;
                Frame::Close
            }
        }))
    }

    /// Says that the body is over.
    ///
    /// # Errors
    /// [`FrameError::Cut`] unless it ended with [`Frame::Close`].
    pub fn finish(&self) -> Result<(), FrameError> {
        if self.closed && self.used == self.buffer.len() {
            Ok(())
        } else {
            Err(FrameError::Cut)
        }
    }
}

impl Drop for FrameReader {
    /// What passed through here may have been secret.
    fn drop(&mut self) {
        self.buffer.fill(0);
        std::hint::black_box(&self.buffer);
    }
}

/// The JSON of a head or a problem.
///
/// # Errors
/// [`FrameError::Content`].
pub fn parse<T: DeserializeOwned>(content: &[u8]) -> Result<T, FrameError> {
    serde_json::from_slice(content).map_err(|_| FrameError::Content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut out = Vec::new();
        write::head(&mut out, &"a").expect("plain text");
        write::data(&mut out, b"one");
        write::data(&mut out, b"");
        write::data(&mut out, &vec![7; MAX_FRAME + 1]);
        write::end(&mut out);
        write::failed(&mut out, &"gone").expect("plain text");
        write::close(&mut out);
        out
    }

    /// Frames as text, with the lengths of long ones.
    fn read(bytes: &[u8], step: usize) -> Result<Vec<String>, FrameError> {
        let mut reader = FrameReader::new();
        let mut seen = Vec::new();
        for piece in bytes.chunks(step) {
            reader.push(piece);
            while let Some(frame) = reader.next_frame()? {
                seen.push(match frame {
                    Frame::Data(data) if data.len() > 9 => format!("data {}", data.len()),
                    Frame::Head(c) => format!("head {}", String::from_utf8_lossy(c)),
                    Frame::Data(c) => format!("data {}", String::from_utf8_lossy(c)),
                    Frame::Failed(c) => format!("failed {}", String::from_utf8_lossy(c)),
                    other => format!("{other:?}"),
                });
            }
        }
        reader.finish()?;
        Ok(seen)
    }

    #[test]
    fn frames_come_back_whatever_the_pieces() {
        let want = [
            "head \"a\"",
            "data one",
            "data 1048576",
            "data \u{7}",
            "End",
            "failed \"gone\"",
            "Close",
        ];
        for step in [4096, 65_537, usize::MAX >> 1] {
            assert_eq!(read(&sample(), step).expect("well formed"), want, "{step}");
        }
        let mut small = Vec::new();
        write::data(&mut small, b"xy");
        write::close(&mut small);
        assert_eq!(read(&small, 1).expect("well formed"), ["data xy", "Close"]);
        let mut announced = Vec::new();
        write::data_header(&mut announced, 2).expect("short");
        announced.extend_from_slice(b"xy");
        write::close(&mut announced);
        assert_eq!(announced, small);
        assert_eq!(
            write::data_header(&mut announced, MAX_FRAME + 1),
            Err(FrameError::Length)
        );
    }

    #[test]
    fn cut_or_odd_bodies_are_errors() {
        let mut small = Vec::new();
        write::head(&mut small, &"a").expect("plain text");
        write::end(&mut small);
        assert_eq!(read(&small, 9), Err(FrameError::Cut), "no close");
        write::close(&mut small);
        assert!(read(&small, 9).is_ok());
        for cut in 0..small.len() {
            assert_eq!(read(&small[..cut], 9), Err(FrameError::Cut), "cut at {cut}");
        }
        small.push(1);
        assert_eq!(read(&small, 100), Err(FrameError::Cut), "bytes after the close");
        assert_eq!(read(&[0, 0, 0, 0, 0], 9), Err(FrameError::Kind));
        assert_eq!(read(&[6, 0, 0, 0, 0], 9), Err(FrameError::Kind));
        assert_eq!(read(&[2, 255, 255, 255, 255], 9), Err(FrameError::Length));
        assert_eq!(read(&[3, 0, 0, 0, 1, 0], 9), Err(FrameError::Length));
        assert_eq!(parse::<u32>(b"x"), Err(FrameError::Content));
    }
}
