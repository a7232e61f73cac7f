//! A memory of what was asked and answered, so that a test can hold both to GitHub's description.
//!
//! Refuses to grow: of many exchanges the latest are kept.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use serde_json::Value;

use super::Shared;
use super::answers::refusal;

const MAX_KEPT: usize = 20_000;
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// One request and its answer.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// `GET`, …
    pub method: String,
    /// Path and query.
    pub target: String,
    /// What was shown as `Authorization`; all of it is made up.
    pub authorization: String,
    /// The media type of the request's body.
    pub content_type: Option<String>,
    /// The request's body, where there was one.
    pub body: Option<Value>,
    /// The answer's status.
    pub status: u16,
    /// The answer's body, where there was one and it is JSON.
    pub answer: Option<Value>,
    /// Whether it was told to go wrong.
    pub ordered: bool,
}

/// Marks an answer that somebody ordered.
#[derive(Clone, Copy)]
pub(super) struct Ordered;

/// Remembers what passes.
pub(super) async fn record(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let text = |headers: &HeaderMap, name: header::HeaderName| {
        headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BYTES).await else { return refusal(413, "too large") };
    let mut exchange = Exchange {
        method: parts.method.to_string(),
        target: parts.uri.path_and_query().map_or("", |target| target.as_str()).to_owned(),
        authorization: text(&parts.headers, header::AUTHORIZATION).unwrap_or_default(),
        content_type: text(&parts.headers, header::CONTENT_TYPE),
        body: serde_json::from_slice(&body).ok(),
        status: 0,
        answer: None,
        ordered: false,
    };
    let answer = next.run(Request::from_parts(parts, Body::from(body))).await;
    let (parts, body) = answer.into_parts();
    let Ok(body) = to_bytes(body, MAX_BYTES).await else { return refusal(500, "too large") };
    exchange.status = parts.status.as_u16();
    exchange.answer = serde_json::from_slice(&body).ok();
    exchange.ordered = parts.extensions.get::<Ordered>().is_some();
    let mut gate = shared.gate();
    if gate.exchanges.len() == MAX_KEPT {
        gate.exchanges.pop_front();
    }
    gate.exchanges.push_back(exchange);
    Response::from_parts(parts, Body::from(body))
}
