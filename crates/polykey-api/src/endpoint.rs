//! Endpoints: every call of the API, typed and listed once.

use std::marker::PhantomData;

use serde::{Deserialize, Serialize};

/// How the question and the answer travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// JSON there and back (`POST`).
    Json,
    /// The question stands in the query, the body is raw bytes; the answer is JSON (`PUT`).
    Upload,
    /// The question stands in the query, raw bytes go there and back (`PUT`).
    Transform,
    /// JSON there, raw bytes back (`POST`).
    Download,
    /// JSON there, one JSON object a line back (`POST`).
    Lines,
}

/// One call: `Q` is its question, `A` its answer (or one line of it). Made only as a constant.
pub struct Endpoint<Q, A> {
    /// Path under the socket's root.
    pub path: &'static str,
    /// One sentence for the OpenAPI page.
    pub summary: &'static str,
    /// How question and answer travel.
    pub shape: Shape,
    types: PhantomData<fn(Q) -> A>,
}

impl<Q, A> Endpoint<Q, A> {
    /// A call with JSON there and back.
    pub const fn json(path: &'static str, summary: &'static str) -> Self {
        Endpoint::new(path, summary, Shape::Json)
    }

    /// A call of any shape.
    pub const fn new(path: &'static str, summary: &'static str, shape: Shape) -> Self {
        Endpoint {
            path,
            summary,
            shape,
            types: PhantomData,
        }
    }

    /// The HTTP method.
    pub const fn method(&self) -> &'static str {
        match self.shape {
            Shape::Upload | Shape::Transform => "PUT",
            _ => "POST",
        }
    }
}

/// A question or an answer without content: `{}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}
