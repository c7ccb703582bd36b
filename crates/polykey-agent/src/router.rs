//! How a call reaches its handler.
//!
//! [`Routes`] registers a handler under an [`Endpoint`] and does what all calls share: it reads the
//! question, within bounds of size and time, makes the [`Caller`], and turns answers and problems into
//! HTTP. A handler is an async function of `(Agent, Caller, question)`.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use futures_util::StreamExt;
use hyper::body::Frame;
use polykey_api::endpoint::Shape;
use polykey_api::problem::ProblemReply;
use polykey_api::{Code, Endpoint, Problem, openapi};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::agent::Agent;
use crate::door::{Caller, Peer};

/// Longest question in JSON.
const MAX_QUESTION: usize = 4 << 20;
/// A question must be here this long after its head.
const QUESTION_TIME: Duration = Duration::from_secs(30);

/// The calls of the API, being collected.
#[derive(Default)]
pub struct Routes {
    router: Router<Agent>,
    paths: Vec<&'static str>,
}

impl Routes {
    /// A call with JSON there and back.
    #[must_use]
    pub fn json<Q, A, F, R>(self, endpoint: &'static Endpoint<Q, A>, handler: F) -> Self
    where
        Q: DeserializeOwned + Send + 'static,
        A: Serialize + Send + 'static,
        F: Fn(Agent, Caller, Q) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Result<A, Problem>> + Send,
    {
        debug_assert_eq!(endpoint.shape, Shape::Json, "{}", endpoint.path);
        self.route(endpoint.path, MethodFilter::POST, move |agent, request| {
            let handler = handler.clone();
            async move {
                let (caller, question) = question(request).await?;
                Ok(answer_json(&handler(agent, caller, question).await?))
            }
        })
    }

    /// A call whose answer is raw bytes.
    #[must_use]
    pub fn download<Q, A, F, R>(self, endpoint: &'static Endpoint<Q, A>, handler: F) -> Self
    where
        Q: DeserializeOwned + Send + 'static,
        A: 'static,
        F: Fn(Agent, Caller, Q) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Result<Body, Problem>> + Send,
    {
        debug_assert_eq!(endpoint.shape, Shape::Download, "{}", endpoint.path);
        self.route(endpoint.path, MethodFilter::POST, move |agent, request| {
            let handler = handler.clone();
            async move {
                let (caller, question) = question(request).await?;
                Ok(answer_bytes(handler(agent, caller, question).await?))
            }
        })
    }

    /// A call whose question stands in the query and whose body is raw bytes.
    #[must_use]
    pub fn upload<Q, A, F, R>(self, endpoint: &'static Endpoint<Q, A>, handler: F) -> Self
    where
        Q: DeserializeOwned + Send + 'static,
        A: Serialize + Send + 'static,
        F: Fn(Agent, Caller, Q, Body) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Result<A, Problem>> + Send,
    {
        debug_assert_eq!(endpoint.shape, Shape::Upload, "{}", endpoint.path);
        self.route(endpoint.path, MethodFilter::PUT, move |agent, request| {
            let handler = handler.clone();
            async move {
                let (caller, question, body) = question_in_query(request)?;
                Ok(answer_json(&handler(agent, caller, question, body).await?))
            }
        })
    }

    /// A call that takes raw bytes, with the question in the query, and gives raw bytes.
    #[must_use]
    pub fn transform<Q, A, F, R>(self, endpoint: &'static Endpoint<Q, A>, handler: F) -> Self
    where
        Q: DeserializeOwned + Send + 'static,
        A: 'static,
        F: Fn(Agent, Caller, Q, Body) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Result<Body, Problem>> + Send,
    {
        debug_assert_eq!(endpoint.shape, Shape::Transform, "{}", endpoint.path);
        self.route(endpoint.path, MethodFilter::PUT, move |agent, request| {
            let handler = handler.clone();
            async move {
                let (caller, question, body) = question_in_query(request)?;
                Ok(answer_bytes(handler(agent, caller, question, body).await?))
            }
        })
    }

    /// A call whose answer is one JSON object a line, for as long as the handler's channel gives some.
    #[must_use]
    pub fn lines<Q, A, F, R>(self, endpoint: &'static Endpoint<Q, A>, handler: F) -> Self
    where
        Q: DeserializeOwned + Send + 'static,
        A: Serialize + Send + 'static,
        F: Fn(Agent, Caller, Q) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Result<mpsc::Receiver<A>, Problem>> + Send,
    {
        debug_assert_eq!(endpoint.shape, Shape::Lines, "{}", endpoint.path);
        self.route(endpoint.path, MethodFilter::POST, move |agent, request| {
            let handler = handler.clone();
            async move {
                let (caller, question) = question(request).await?;
                let lines = handler(agent, caller, question).await?;
                let stream = futures_util::stream::unfold(lines, |mut lines| async move {
                    let item = lines.recv().await?;
                    Some((item, lines))
                })
                .map(|item| {
                    serde_json::to_vec(&item).map(|mut line| {
                        line.push(b'\n');
                        line
                    })
                });
                Ok((
                    [(header::CONTENT_TYPE, "application/x-ndjson")],
                    Body::from_stream(stream),
                )
                    .into_response())
            }
        })
    }

    fn route<F, R>(mut self, path: &'static str, method: MethodFilter, serve: F) -> Self
    where
        F: Fn(Agent, Request) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Result<Response, Problem>> + Send,
    {
        let serve = move |State(agent): State<Agent>, request: Request| {
            let serve = serve.clone();
            async move { serve(agent, request).await.unwrap_or_else(answer_problem) }
        };
        self.paths.push(path);
        self.router = self.router.route(path, on(method, serve));
        self
    }

    /// The paths of all calls, for the test that compares them with the OpenAPI page.
    pub fn paths(&self) -> &[&'static str] {
        &self.paths
    }

    /// The finished router.
    pub fn finish(self, agent: Agent) -> Router {
        let page = async || {
            (
                [(header::CONTENT_TYPE, "application/json")],
                openapi::page().to_json().unwrap_or_default(),
            )
        };
        self.router
            .route("/v1/openapi.json", on(MethodFilter::GET, page))
            .fallback(async || {
                answer_problem(Problem::new(Code::UnknownCall, "the agent knows no such call"))
            })
            .method_not_allowed_fallback(async || {
                answer_problem(Problem::new(Code::UnknownCall, "the agent knows no such call"))
            })
            .with_state(agent)
    }
}

/// The body of an upload. What a handler leaves unread is still taken, for [`QUESTION_TIME`]: closing the
/// connection on a caller that is still sending would cost it the answer that says why.
fn patient(body: Body) -> Body {
    Body::new(Patient(Some(body)))
}

struct Patient(Option<Body>);

impl HttpBody for Patient {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = self.0.as_mut() else {
            return Poll::Ready(None);
        };
        let frame = std::task::ready!(Pin::new(body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.0 = None;
        }
        Poll::Ready(frame)
    }
}

impl Drop for Patient {
    fn drop(&mut self) {
        if let (Some(body), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move {
                let mut rest = body.into_data_stream();
                let take = async { while matches!(rest.next().await, Some(Ok(_))) {} };
                let _ = tokio::time::timeout(QUESTION_TIME, take).await;
            });
        }
    }
}

fn caller(request: &Request) -> Caller {
    let peer = *request
        .extensions()
        .get::<Peer>()
        .expect("the server puts the peer into every request");
    Caller::new(peer, request.headers())
}

async fn question<Q: DeserializeOwned>(request: Request) -> Result<(Caller, Q), Problem> {
    let caller = caller(&request);
    let read = axum::body::to_bytes(request.into_body(), MAX_QUESTION);
    let bytes = tokio::time::timeout(QUESTION_TIME, read)
        .await
        .map_err(|_| Problem::new(Code::Busy, "the request did not arrive in time"))?
        .map_err(|error| Problem::new(Code::TooLarge, "the request cannot be read").caused_by(&error))?;
    let bytes = if bytes.is_empty() { &b"{}"[..] } else { &bytes };
    let question = serde_json::from_slice(bytes).map_err(|error| bad_question(&error))?;
    Ok((caller, question))
}

/// The question of a call whose body is raw bytes stands in the query.
fn question_in_query<Q: DeserializeOwned>(request: Request) -> Result<(Caller, Q, Body), Problem> {
    let question = axum::extract::Query::<Q>::try_from_uri(request.uri())
        .map_err(|error| bad_question(&error))?
        .0;
    Ok((caller(&request), question, patient(request.into_body())))
}

/// The parser's own text may quote what was sent, so it is not passed on.
fn bad_question(_: &dyn std::error::Error) -> Problem {
    Problem::new(Code::Usage, "the request does not have the form of this call")
        .hint("`polykey agent status` shows the version of the agent; restart it after an update")
}

fn answer_json<A: Serialize>(answer: &A) -> Response {
    match serde_json::to_vec(answer) {
        Ok(bytes) => ([(header::CONTENT_TYPE, "application/json")], bytes).into_response(),
        Err(_) => answer_problem(Problem::new(
            Code::Internal,
            "the answer cannot be written as JSON",
        )),
    }
}

fn answer_bytes(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "application/octet-stream")], body).into_response()
}

/// A problem as an HTTP answer.
pub fn answer_problem(problem: Problem) -> Response {
    let status = StatusCode::from_u16(problem.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::to_vec(&ProblemReply::from(problem)).unwrap_or_default();
    let mut response = (status, body).into_response();
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
