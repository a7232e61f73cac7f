//! GitHub's webhooks: check the signature over the raw body, learn, answer.
//!
//! Refuses to parse what is not signed, and to act: a delivery is one transaction, then 202.

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::AppState;
use super::error::Problem;
use crate::forge::event::{Event, parse};
use crate::ledger::{Delivery, Learned, PullHint};

/// The longest delivery id that is taken, in bytes; GitHub's have 36.
const MAX_DELIVERY_ID_BYTES: usize = 100;

#[derive(Serialize)]
struct Answer {
    outcome: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
}

pub(super) async fn deliver(
    State(site): State<AppState>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let metrics = &site.reconciler.metrics;
    let outcome = answer(&site, &headers, body).await;
    metrics.delivery(match &outcome {
        Ok((_, answer)) => answer.outcome,
        Err(_) => "refused",
    });
    outcome.map(|(status, answer)| (status, axum::Json(answer)).into_response())
}

async fn answer(
    site: &AppState,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Answer), Problem> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large(),
        _ => Problem::bad_request("the body could not be read"),
    })?;
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    site.secrets
        .verify(header("x-hub-signature-256"), &body)
        .map_err(|error| Problem::unauthorized(error.to_string()))?;
    let event = header("x-github-event")
        .filter(|event| event.len() <= MAX_DELIVERY_ID_BYTES)
        .ok_or_else(|| Problem::bad_request("X-GitHub-Event is missing"))?;
    let id = header("x-github-delivery")
        .filter(|id| !id.is_empty() && id.len() <= MAX_DELIVERY_ID_BYTES)
        .ok_or_else(|| Problem::bad_request("X-GitHub-Delivery is missing or too long"))?;
    let ignored = |detail: String| (StatusCode::ACCEPTED, Answer { outcome: "ignored", detail });
    let parsed = parse(event, &body).map_err(|error| Problem::unprocessable(error.to_string()))?;
    let (repository_id, full_name, action, facts) = match parsed {
        Event::Ping => {
            return Ok((StatusCode::OK, Answer { outcome: "pong", detail: String::new() }));
        }
        Event::Ignored(what) => return Ok(ignored(format!("event {what} is not used"))),
        Event::Pull { repository_id, full_name, action, facts } => {
            (repository_id, full_name, action, facts)
        }
    };
    let reconciler = &site.reconciler;
    let Some(repository) = reconciler.repositories.find(repository_id, &full_name) else {
        let name = full_name.full_name();
        return Ok(ignored(format!("repository {name} is not in the configuration")));
    };
    let hint = PullHint {
        name: repository.preview_name(facts.key.number),
        repository: full_name,
        facts,
        source: "github",
        what: action,
        even_if_closed: false,
    };
    let delivery = Delivery { id, event, body: &body };
    let now = reconciler.clock.now();
    let learned = reconciler.ledger.learn(&hint, Some(delivery), now).await?;
    reconciler.wake.notify_one();
    let (status, outcome) = match learned {
        Learned::New(_) | Learned::Known(_) => (StatusCode::ACCEPTED, "learned"),
        Learned::Ignored => (StatusCode::ACCEPTED, "ignored"),
        Learned::Duplicate => (StatusCode::OK, "duplicate"),
    };
    tracing::info!(delivery = id, preview = %hint.name, action = %hint.what, outcome, "delivery");
    Ok((status, Answer { outcome, detail: String::new() }))
}
