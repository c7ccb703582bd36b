//! One connection to an agent, and calls over it.

use std::io::{self, Read};
use std::marker::PhantomData;
use std::path::Path;

use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use polykey_api::problem::ProblemReply;
use polykey_api::{Code, Endpoint, Problem};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

/// Longest answer that is read as one JSON document.
const MAX_ANSWER: usize = 256 << 20;
/// Longest line of a stream.
const MAX_LINE: usize = 16 << 20;
/// Raw bytes go out in pieces of this size.
const PIECE: usize = 256 << 10;

type OutBody = BoxBody<Bytes, io::Error>;

/// What proves the right to call.
pub enum Auth {
    /// The node's password.
    Password(Vec<u8>),
    /// The token of a session.
    Token(String),
}

impl Auth {
    fn header(&self) -> Option<HeaderValue> {
        let mut value = match self {
            Auth::Password(password) => {
                let plain = [b":", password.as_slice()].concat();
                let text = format!("Basic {}", data_encoding::BASE64.encode(&plain));
                HeaderValue::from_str(&text).ok()?
            }
            Auth::Token(token) => HeaderValue::from_str(&format!("Bearer {token}")).ok()?,
        };
        value.set_sensitive(true);
        Some(value)
    }
}

/// A connection to an agent.
pub struct Client {
    sender: SendRequest<OutBody>,
    auth: Option<HeaderValue>,
}

impl Client {
    /// Connects to the agent that listens on `socket`. The socket must be this user's: another's could
    /// ask for our password.
    ///
    /// # Errors
    /// As the system says.
    pub async fn connect(socket: &Path) -> io::Result<Client> {
        let stream = UnixStream::connect(socket).await?;
        if stream.peer_cred()?.uid() != rustix::process::getuid().as_raw() {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the socket belongs to another user",
            ));
        }
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        tokio::spawn(async move {
            // What went wrong is told to the call that waits for it.
            let _ = connection.await;
        });
        Ok(Client { sender, auth: None })
    }

    /// Sends `auth` with every further call.
    ///
    /// # Errors
    /// [`Code::Usage`] when a token holds characters that no token has.
    pub fn authorize(&mut self, auth: Option<&Auth>) -> Result<(), Problem> {
        self.auth = match auth {
            None => None,
            Some(auth) => Some(
                auth.header()
                    .ok_or_else(|| Problem::new(Code::Usage, "the token is malformed"))?,
            ),
        };
        Ok(())
    }

    /// True when the connection cannot be used any more.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// One call with JSON there and back.
    ///
    /// # Errors
    /// What the agent answers, or that it could not be asked.
    pub async fn call<Q: Serialize, A: DeserializeOwned>(
        &mut self,
        endpoint: &Endpoint<Q, A>,
        question: &Q,
    ) -> Result<A, Problem> {
        let response = self.ask(endpoint, question).await?;
        answer(response).await
    }

    /// One call whose answer is a line of JSON at a time.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn lines<Q: Serialize, A: DeserializeOwned>(
        &mut self,
        endpoint: &Endpoint<Q, A>,
        question: &Q,
    ) -> Result<Lines<A>, Problem> {
        let response = self.ask(endpoint, question).await?;
        Ok(Lines {
            body: response.into_body(),
            buffer: Vec::new(),
            done: false,
            kind: PhantomData,
        })
    }

    /// One call whose answer is raw bytes.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn download<Q: Serialize, A>(
        &mut self,
        endpoint: &Endpoint<Q, A>,
        question: &Q,
    ) -> Result<Download, Problem> {
        let response = self.ask(endpoint, question).await?;
        Ok(Download(response.into_body()))
    }

    /// One call that sends all of `source`, which is read as the agent takes it.
    ///
    /// # Errors
    /// As [`Client::call`]; [`Code::Io`] when `source` fails, and the agent then keeps nothing.
    pub async fn upload<Q: Serialize, A: DeserializeOwned>(
        &mut self,
        endpoint: &Endpoint<Q, A>,
        question: &Q,
        source: impl Read + Send + 'static,
    ) -> Result<A, Problem> {
        answer(self.push(endpoint, question, source).await?).await
    }

    /// One call that sends all of `source` and gives raw bytes, at the same time.
    ///
    /// # Errors
    /// As [`Client::upload`].
    pub async fn transform<Q: Serialize, A>(
        &mut self,
        endpoint: &Endpoint<Q, A>,
        question: &Q,
        source: impl Read + Send + 'static,
    ) -> Result<Download, Problem> {
        Ok(Download(self.push(endpoint, question, source).await?.into_body()))
    }

    async fn push<Q: Serialize, A>(
        &mut self,
        endpoint: &Endpoint<Q, A>,
        question: &Q,
        mut source: impl Read + Send + 'static,
    ) -> Result<Response<Incoming>, Problem> {
        let query = serde_urlencoded::to_string(question)
            .map_err(|error| Problem::new(Code::Internal, "the question has no form").caused_by(&error))?;
        let uri = format!("{}?{query}", endpoint.path);
        // What fits one piece needs no thread of its own.
        let mut first = Vec::with_capacity(PIECE);
        read_piece(&mut source, &mut first).map_err(|error| unreadable(&error))?;
        let (body, failed) = if first.len() < PIECE {
            (full(first), None)
        } else {
            let (body, failed) = pieces(first, source);
            (body, Some(failed))
        };
        let sent = self.send(endpoint.method(), &uri, body).await;
        // A broken source breaks the request: its own error says more than the agent's or hyper's.
        if let Some(error) = failed.and_then(|failed| failed.try_recv().ok()) {
            return Err(unreadable(&error));
        }
        let sent = sent.map_err(|problem| match problem.code {
            // Part of the body may have been taken, and it cannot be sent again.
            Code::NoAgent => Problem {
                code: Code::Io,
                ..problem
            },
            _ => problem,
        });
        refused(sent?).await
    }

    async fn ask<Q: Serialize, A>(
        &mut self,
        endpoint: &Endpoint<Q, A>,
        question: &Q,
    ) -> Result<Response<Incoming>, Problem> {
        let json = serde_json::to_vec(question)
            .map_err(|error| Problem::new(Code::Internal, "the question has no form").caused_by(&error))?;
        refused(self.send(endpoint.method(), endpoint.path, full(json)).await?).await
    }

    async fn send(&mut self, method: &str, uri: &str, body: OutBody) -> Result<Response<Incoming>, Problem> {
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header(HOST, "polykey")
            .header(CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(|error| Problem::new(Code::Internal, "the request has no form").caused_by(&error))?;
        if let Some(auth) = &self.auth {
            request.headers_mut().insert(AUTHORIZATION, auth.clone());
        }
        self.sender.ready().await.map_err(|error| lost(&error))?;
        self.sender
            .send_request(request)
            .await
            .map_err(|error| lost(&error))
    }
}

fn full(bytes: Vec<u8>) -> OutBody {
    Full::new(Bytes::from(bytes))
        .map_err(|never| match never {})
        .boxed()
}

fn read_piece(source: &mut impl Read, piece: &mut Vec<u8>) -> io::Result<()> {
    source.take(PIECE as u64).read_to_end(piece).map(drop)
}

type Failed = std::sync::mpsc::Receiver<io::Error>;

/// A body that a thread of its own feeds from `source`, after `first`.
fn pieces(first: Vec<u8>, mut source: impl Read + Send + 'static) -> (OutBody, Failed) {
    let (sender, mut receiver) = mpsc::channel::<io::Result<Bytes>>(2);
    let (fail, failed) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut next: io::Result<Bytes> = Ok(Bytes::from(first));
        loop {
            let ended = !matches!(&next, Ok(bytes) if !bytes.is_empty());
            if let Err(error) = &next {
                let _ = fail.send(io::Error::new(error.kind(), error.to_string()));
            }
            let at_end = matches!(&next, Ok(bytes) if bytes.is_empty());
            if at_end || sender.blocking_send(next).is_err() || ended {
                return;
            }
            let mut piece = Vec::with_capacity(PIECE);
            next = read_piece(&mut source, &mut piece).map(|()| Bytes::from(piece));
        }
    });
    let stream = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
    let body = StreamBody::new(futures_util::TryStreamExt::map_ok(stream, Frame::data));
    (BodyExt::boxed(body), failed)
}

fn unreadable(error: &io::Error) -> Problem {
    Problem::new(Code::Io, "what should be sent cannot be read to its end").caused_by(error)
}

/// A socket that is reset, or takes no more bytes, belongs to an agent that ended before it had read the whole
/// request: it did nothing of it, and another may be asked. At a plain end nobody knows.
fn lost(error: &hyper::Error) -> Problem {
    let mut source = std::error::Error::source(error);
    let mut untouched = error.is_canceled() || error.is_closed();
    while let Some(cause) = source {
        untouched |= cause.downcast_ref::<io::Error>().is_some_and(|error| {
            matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
            )
        });
        source = cause.source();
    }
    if untouched {
        return Problem::new(
            Code::NoAgent,
            "the agent went away before it had taken the request",
        )
        .hint("run `polykey agent status`, then try again")
        .caused_by(error);
    }
    Problem::new(Code::Io, "the connection to the agent broke")
        .hint("run `polykey agent status`, then try again")
        .caused_by(error)
}

/// The response, unless it carries a problem.
async fn refused(response: Response<Incoming>) -> Result<Response<Incoming>, Problem> {
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status();
    let bytes = collect(response.into_body()).await?;
    let reply: Option<ProblemReply> = serde_json::from_slice(&bytes).ok();
    Err(reply.map_or_else(
        || {
            Problem::new(
                Code::Protocol,
                format!("the agent answered with HTTP status {status}"),
            )
            .hint("restart the agent: `polykey agent stop`")
        },
        Problem::from,
    ))
}

async fn answer<A: DeserializeOwned>(response: Response<Incoming>) -> Result<A, Problem> {
    let bytes = collect(response.into_body()).await?;
    serde_json::from_slice(&bytes).map_err(|_| malformed())
}

fn malformed() -> Problem {
    Problem::new(
        Code::Protocol,
        "the agent's answer has another form than this program knows",
    )
    .hint("program and agent may have different versions: `polykey agent stop`, then try again")
}

async fn collect(body: Incoming) -> Result<Bytes, Problem> {
    http_body_util::Limited::new(body, MAX_ANSWER)
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .map_err(|error| Problem::new(Code::Io, "the agent's answer broke off").caused_by(&*error))
}

/// Raw bytes as they come.
pub struct Download(Incoming);

impl Download {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// [`Code::Io`] when the agent broke off: what came so far is not all.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            let Some(frame) = self.0.frame().await else {
                return Ok(None);
            };
            let frame = frame
                .map_err(|error| Problem::new(Code::Io, "the agent's answer broke off").caused_by(&error))?;
            if let Ok(bytes) = frame.into_data() {
                return Ok(Some(bytes));
            }
        }
    }
}

/// Answers of a stream, one a line.
pub struct Lines<A> {
    body: Incoming,
    buffer: Vec<u8>,
    done: bool,
    kind: PhantomData<fn() -> A>,
}

impl<A: DeserializeOwned> Lines<A> {
    /// The next answer; `None` at the end.
    ///
    /// # Errors
    /// When the stream breaks off or holds something else.
    pub async fn next(&mut self) -> Result<Option<A>, Problem> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return serde_json::from_slice(&line).map(Some).map_err(|_| malformed());
            }
            if self.done {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(malformed())
                };
            }
            if self.buffer.len() > MAX_LINE {
                return Err(malformed());
            }
            match self.body.frame().await {
                None => self.done = true,
                Some(Err(error)) => {
                    return Err(Problem::new(Code::Io, "the agent's answer broke off").caused_by(&error));
                }
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        self.buffer.extend_from_slice(&bytes);
                    }
                }
            }
        }
    }
}
