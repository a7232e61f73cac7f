//! The shapes that all answers share: refusals, and pages of a list.
//!
//! Refuses to give more than 100 items at once, whatever was asked for.

use std::collections::{BTreeMap, HashMap};

use axum::Json;
use axum::extract::OriginalUri;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::Shared;

/// An error as GitHub words it.
pub(super) fn refusal(status: u16, message: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = json!({
        "message": message,
        "documentation_url": "https://docs.github.com/rest",
        "status": status.as_u16().to_string(),
    });
    (status, Json(body)).into_response()
}

/// GitHub does not tell what is missing from what is hidden.
pub(super) fn not_found() -> Response {
    refusal(404, "Not Found")
}

/// The page that was asked for, with a Link header to the others.
pub(super) fn page(
    shared: &Shared,
    uri: &OriginalUri,
    params: &HashMap<String, String>,
    items: Vec<Value>,
) -> Response {
    let number = |name: &str, or: usize| {
        params.get(name).and_then(|n| n.parse().ok()).filter(|n| *n > 0).unwrap_or(or)
    };
    let (size, current) = (number("per_page", 30).min(100), number("page", 1));
    let last = items.len().div_ceil(size).max(1);
    let to = |rel: &str, page: usize| {
        // In one order, so that the same list has the same address.
        let others: BTreeMap<_, _> = params.iter().filter(|(name, _)| *name != "page").collect();
        let query: String = others.iter().map(|(name, value)| format!("{name}={value}&")).collect();
        format!("<http://{}{}?{query}page={page}>; rel=\"{rel}\"", shared.address, uri.path())
    };
    let mut links = Vec::new();
    if current > 1 {
        links.extend([to("prev", current - 1), to("first", 1)]);
    }
    if current < last {
        links.extend([to("next", current + 1), to("last", last)]);
    }
    let items: Vec<Value> = items.into_iter().skip((current - 1) * size).take(size).collect();
    let mut answer = Json(items).into_response();
    if let (false, Ok(links)) = (links.is_empty(), HeaderValue::from_str(&links.join(", "))) {
        answer.headers_mut().insert(header::LINK, links);
    }
    answer
}
