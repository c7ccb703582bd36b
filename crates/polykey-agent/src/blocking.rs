//! Work that blocks, and bytes that cross between it and HTTP.
//!
//! Vaults read and write disks, so handlers do their work on threads of their own. Bodies cross in pieces
//! over short channels: a slow reader slows the writer down, and memory stays bounded whatever is sent.

use std::io::{self, Read};

use axum::body::{Body, Bytes};
use futures_util::StreamExt;
use polykey_api::{Code, Problem};
use polykey_core::scrub::{self, DEEP, scrubbed};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use crate::door::locked;

/// Pieces on their way to blocking work.
const PIECES: usize = 2;
/// Pieces on their way from it: every second one may be a few bytes that announce the next.
const PIECES_OUT: usize = 4;
/// Shorter pieces are copied, longer ones are handed over as they are.
const WORTH_HANDING_OVER: usize = 32 << 10;
/// Size of a piece.
pub const PIECE: usize = 256 << 10;

/// Runs `work` on a thread for blocking work.
///
/// # Errors
/// Those of `work`; [`Code::Internal`] when it panicked.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let ended = tokio::task::spawn_blocking(|| scrubbed::<DEEP, _>(work)).await;
    ended.unwrap_or_else(|_| Err(panicked()))
}

fn panicked() -> Problem {
    tracing::error!("work for a request panicked");
    Problem::new(Code::Internal, "a fault in the agent ended this request")
        .hint("the agent goes on; its log says where it was")
}

/// Runs `work` to its end, also when whoever waits for it has hung up: keys and passwords change as a whole, and
/// each attempt leaves its record.
///
/// # Errors
/// Those of `work`; [`Code::Internal`] when it panicked.
pub async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    tokio::spawn(work).await.unwrap_or_else(|_| Err(panicked()))
}

/// Tells work that waits for a caller that the keys go. Whoever does not read its answer, or sends nothing more,
/// must not keep them in memory.
#[derive(Clone)]
pub struct Closing(watch::Receiver<bool>);

impl Closing {
    /// What tells of it: by `true`, or by its own end.
    pub fn new(told: &watch::Sender<bool>) -> Closing {
        Closing(told.subscribe())
    }

    /// Ends when the keys go.
    pub async fn closed(&mut self) {
        let _ = self.0.wait_for(|closing| *closing).await;
    }

    /// Waits for `work` on a thread for blocking work; `None` when the keys go first.
    fn unless<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        Handle::current().block_on(async {
            tokio::select! {
                biased;
                done = work => Some(done),
                _ = self.0.wait_for(|closing| *closing) => None,
            }
        })
    }
}

/// A request's body as a source of bytes for blocking work. A body that breaks off is an error there, never
/// an end.
pub struct BodyReader {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    closing: Closing,
    piece: Bytes,
    failed: bool,
}

impl BodyReader {
    /// Starts to take `body`.
    pub fn new(body: Body, closing: Closing) -> Self {
        let (sender, pieces) = mpsc::channel(PIECES);
        tokio::spawn(async move {
            let mut stream = body.into_data_stream();
            while let Some(piece) = stream.next().await {
                let piece = piece.map_err(io::Error::other);
                let broken = piece.is_err();
                if sender.send(piece).await.is_err() || broken {
                    return;
                }
            }
            // An empty piece is the end; without it the task was cut off.
            let _ = sender.send(Ok(Bytes::new())).await;
        });
        BodyReader {
            pieces,
            closing,
            piece: Bytes::new(),
            failed: false,
        }
    }

    /// The next piece; empty at the end.
    ///
    /// # Errors
    /// When the body broke off.
    pub fn piece(&mut self) -> io::Result<Bytes> {
        if !self.piece.is_empty() {
            return Ok(std::mem::take(&mut self.piece));
        }
        if self.failed {
            return Err(broken());
        }
        match self.closing.unless(self.pieces.recv()).flatten() {
            Some(Ok(piece)) if piece.is_empty() => {
                // Asked again, it says the same.
                let (sender, pieces) = mpsc::channel(1);
                let _ = sender.try_send(Ok(Bytes::new()));
                self.pieces = pieces;
                Ok(Bytes::new())
            }
            Some(Ok(piece)) => Ok(piece),
            Some(Err(error)) => {
                self.failed = true;
                Err(error)
            }
            None => {
                self.failed = true;
                Err(broken())
            }
        }
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the request broke off")
}

impl Read for BodyReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            self.piece = self.piece()?;
        }
        let count = out.len().min(self.piece.len());
        out[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}

/// Where blocking work puts the bytes of an answer.
pub struct BodyWriter {
    pieces: mpsc::Sender<Piece>,
    closing: Closing,
    buffer: Vec<u8>,
}

/// An empty piece is the end of an answer; without it, its work panicked or was cut off.
type Piece = Result<Bytes, Problem>;

impl BodyWriter {
    /// The bytes that are not yet on their way; call [`BodyWriter::flush_full`] after adding some.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Sends the buffer when it holds a whole piece.
    ///
    /// # Errors
    /// [`Code::Io`] when nobody listens any more.
    pub fn flush_full(&mut self) -> Result<(), Problem> {
        if self.buffer.len() >= PIECE {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Sends `piece` after what is in the buffer; a long one without copying it.
    ///
    /// # Errors
    /// As [`BodyWriter::flush_full`].
    pub fn hand_over(&mut self, piece: impl AsRef<[u8]> + Send + 'static) -> Result<(), Problem> {
        if piece.as_ref().len() < WORTH_HANDING_OVER {
            self.buffer.extend_from_slice(piece.as_ref());
            return self.flush_full();
        }
        self.flush()?;
        self.send(Ok(Bytes::from_owner(piece)))
    }

    fn flush(&mut self) -> Result<(), Problem> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::take(&mut self.buffer));
        self.send(Ok(piece))
    }

    fn send(&mut self, piece: Piece) -> Result<(), Problem> {
        match self.closing.unless(self.pieces.send(piece)) {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) => Err(Problem::new(Code::Io, "the caller has gone")),
            None => Err(locked()),
        }
    }
}

/// An answer whose bytes `work` makes on a thread for blocking work. A failure before the first piece is the
/// answer; a later one cuts the body off, so that nobody takes half for the whole.
///
/// # Errors
/// Those of `work`, while nothing has been sent.
pub async fn streamed(
    closing: Closing,
    work: impl FnOnce(&mut BodyWriter) -> Result<(), Problem> + Send + 'static,
) -> Result<Body, Problem> {
    let (sender, mut pieces) = mpsc::channel(PIECES_OUT);
    tokio::task::spawn_blocking(move || {
        let mut writer = BodyWriter {
            pieces: sender,
            closing,
            buffer: Vec::new(),
        };
        let ended = work(&mut writer).and_then(|()| writer.flush());
        // When this does not arrive either, what did arrive lacks its end.
        let _ = writer.send(ended.map(|()| Bytes::new()));
        drop(writer);
        scrub::overwrite::<DEEP>();
    });
    let first = match pieces.recv().await {
        None => return Err(panicked()),
        Some(first) => first?,
    };
    if first.is_empty() {
        return Ok(Body::empty());
    }
    if first.len() < PIECE {
        // Most answers are one short piece: with its length in the head it is one packet.
        return match pieces.recv().await {
            Some(Ok(end)) if end.is_empty() => Ok(Body::from(first)),
            second => Ok(rest(vec![Some(Ok(first)), second], pieces)),
        };
    }
    Ok(rest(vec![Some(Ok(first))], pieces))
}

/// `first` and what follows, up to the end; an answer without one is cut off for everybody to see.
fn rest(first: Vec<Option<Piece>>, pieces: mpsc::Receiver<Piece>) -> Body {
    let later = futures_util::stream::unfold(pieces, |mut pieces| async move {
        let piece = pieces.recv().await;
        Some((piece, pieces))
    });
    let all = futures_util::stream::iter(first).chain(later);
    let until_the_end = all.scan(false, |over, piece| {
        let shown = match piece {
            _ if *over => None,
            Some(Ok(piece)) if piece.is_empty() => None,
            Some(piece) => Some(piece),
            None => Some(Err(Problem::new(Code::Io, "the answer was cut off"))),
        };
        *over |= matches!(shown, None | Some(Err(_)));
        std::future::ready(shown)
    });
    Body::from_stream(until_the_end)
}

/// Items as the stream of an answer that comes line by line.
pub fn feed<A: Send + 'static>(items: Vec<A>) -> mpsc::Receiver<A> {
    let (sender, receiver) = mpsc::channel(64);
    tokio::spawn(async move {
        for item in items {
            if sender.send(item).await.is_err() {
                return;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> (watch::Sender<bool>, Closing) {
        let (told, _) = watch::channel(false);
        let closing = Closing::new(&told);
        (told, closing)
    }

    #[tokio::test]
    async fn a_caller_that_does_nothing_is_left_when_the_keys_go() {
        let (told, closing) = open();
        // It takes only the first piece of what it asked for, and sends none of what it announced.
        let (ended, mut end) = mpsc::channel(2);
        let sender = ended.clone();
        let body = streamed(closing.clone(), move |out| {
            let written = (0..9).try_for_each(|_| {
                out.buffer().extend_from_slice(&[7; PIECE]);
                out.flush_full()
            });
            let _ = sender.blocking_send(written.clone().map_err(|problem| problem.code));
            written
        })
        .await
        .expect("begins");
        let mut reader = BodyReader::new(
            Body::from_stream(futures_util::stream::pending::<io::Result<Bytes>>()),
            closing,
        );
        tokio::task::spawn_blocking(move || {
            let read = reader.piece().map(drop).map_err(|_| Code::Locked);
            let _ = ended.blocking_send(read);
        });
        told.send_replace(true);
        assert_eq!(end.recv().await, Some(Err(Code::Locked)));
        assert_eq!(end.recv().await, Some(Err(Code::Locked)));
        let got = axum::body::to_bytes(body, usize::MAX).await;
        assert!(got.is_err(), "half an answer is no answer");
    }

    async fn collected(
        work: impl FnOnce(&mut BodyWriter) -> Result<(), Problem> + Send + 'static,
    ) -> Result<usize, Code> {
        let (_told, closing) = open();
        let body = streamed(closing, work).await.map_err(|problem| problem.code)?;
        axum::body::to_bytes(body, usize::MAX)
            .await
            .map(|all| all.len())
            .map_err(|_| Code::Io)
    }

    #[tokio::test]
    async fn answers_are_whole_or_cut_off_for_everybody_to_see() {
        let write = |out: &mut BodyWriter, pieces: usize| {
            for _ in 0..pieces {
                out.buffer().extend_from_slice(&[7; PIECE]);
                out.flush_full()?;
            }
            Ok(())
        };
        assert_eq!(collected(|_| Ok(())).await, Ok(0));
        assert_eq!(
            collected(|out| {
                out.buffer().push(1);
                Ok(())
            })
            .await,
            Ok(1)
        );
        assert_eq!(collected(move |out| write(out, 9)).await, Ok(9 * PIECE));
        let handed_over = |out: &mut BodyWriter| {
            for len in [1, 0, WORTH_HANDING_OVER, PIECE, 2, PIECE + 1] {
                out.buffer().push(0);
                out.hand_over(vec![7; len])?;
            }
            Ok(())
        };
        let whole = 6 + 1 + WORTH_HANDING_OVER + PIECE + 2 + PIECE + 1;
        assert_eq!(collected(handed_over).await, Ok(whole));
        let failed = || Problem::new(Code::BadData, "damaged");
        assert_eq!(collected(move |_| Err(failed())).await, Err(Code::BadData));
        assert_eq!(
            collected(move |out| write(out, 3).and(Err(failed()))).await,
            Err(Code::Io)
        );
        assert_eq!(collected(|_| panic!("a fault")).await, Err(Code::Internal));
        assert_eq!(
            collected(move |out| write(out, 3).map(|()| panic!("a fault"))).await,
            Err(Code::Io)
        );
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_no_end() {
        let (_told, closing) = open();
        let pieces = |broken: bool| {
            let mut all = vec![Ok(Bytes::from_static(b"one")), Ok(Bytes::from_static(b"two"))];
            if broken {
                all.push(Err(io::Error::other("gone")));
            }
            let body = Body::from_stream(futures_util::stream::iter(all));
            BodyReader::new(body, closing.clone())
        };
        let read = |broken: bool| {
            let mut reader = pieces(broken);
            tokio::task::spawn_blocking(move || {
                let mut text = String::new();
                let first = reader.read_to_string(&mut text).map(|_| text);
                (first.ok(), reader.read(&mut [0; 8]).ok())
            })
        };
        assert_eq!(
            read(false).await.expect("no panic"),
            (Some("onetwo".to_owned()), Some(0))
        );
        assert_eq!(read(true).await.expect("no panic"), (None, None));
    }
}
