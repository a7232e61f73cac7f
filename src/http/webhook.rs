//! GitHub's webhooks: check the signature over the raw body, store, answer.
//!
//! Refuses to parse what is not signed, and to act: a delivery is stored, then 202. What
//! strangers can make us hold is bounded by bytes, not by connections, so that a few slow senders
//! do not shut the door on everybody else.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use serde::Serialize;
use tokio::time::timeout;

use super::error::Problem;
use super::intake::{Intake, Stored};
use super::{AppState, BODY_TIMEOUT, WEBHOOK_BODY_BYTES};
use crate::forge::RepositoryRef;
use crate::forge::event::{Event, parse};
use crate::forge::signature::SignatureError;
use crate::ledger::{Delivery, PullHint};
use crate::preview::{CommitSha, RepositoryId};
use crate::reconcile::Reconciler;

/// The longest delivery id and event name that are taken, in bytes; GitHub's ids have 36.
const MAX_DELIVERY_ID_BYTES: usize = 100;

/// How long a delivery may wait for the ledger. With the body's time it is below the ten seconds
/// after which GitHub hangs up, and which would show nobody why.
const STORE_TIMEOUT: Duration = Duration::from_secs(4);

#[derive(Serialize)]
struct Answer {
    outcome: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
}

pub(super) async fn deliver(
    State(site): State<AppState>,
    Extension(intake): Extension<Arc<Intake>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let metrics = &site.reconciler.metrics;
    let outcome = answer(&site, &intake, &headers, body).await;
    metrics.delivery(match &outcome {
        Ok((_, answer)) => answer.outcome,
        Err(problem) if problem.is_ours() => {
            let id = headers.get("x-github-delivery").and_then(|id| id.to_str().ok());
            tracing::warn!(
                ?id,
                "a delivery was not stored; redeliver it, or let the sweep find it"
            );
            "failed"
        }
        Err(_) => "refused",
    });
    outcome.map(|(status, answer)| (status, axum::Json(answer)).into_response())
}

async fn answer(
    site: &AppState,
    intake: &Intake,
    headers: &HeaderMap,
    body: Body,
) -> Result<(StatusCode, Answer), Problem> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let signature = header("x-hub-signature-256");
    let unauthorized = |error: SignatureError| Problem::unauthorized(error.to_string());
    // What no body could match is refused before the body is read.
    match site.secrets.verify(signature, b"") {
        Err(error @ (SignatureError::Missing | SignatureError::Malformed)) => {
            return Err(unauthorized(error));
        }
        Err(SignatureError::Wrong) | Ok(()) => {}
    }
    let declared = header("content-length").and_then(|length| length.parse::<u64>().ok());
    if declared.is_some_and(|length| length > WEBHOOK_BODY_BYTES as u64) {
        return Err(Problem::too_large());
    }
    // Held until the answer: the body is in memory as long.
    let mut held = intake.room.try_acquire_many(0).map_err(|_| Problem::busy())?;
    let reading = read(body, |bytes| {
        let bytes = u32::try_from(bytes).map_err(|_| Problem::too_large())?;
        held.merge(intake.room.try_acquire_many(bytes).map_err(|_| Problem::busy())?);
        Ok(())
    });
    let body = timeout(BODY_TIMEOUT, reading).await.map_err(|_| Problem::slow())??;
    site.secrets.verify(signature, &body).map_err(unauthorized)?;
    let taken = take_in(site, intake, headers, body);
    within(STORE_TIMEOUT, taken).await
}

/// Reads a body up to the cap; `hold` is asked for room before each piece is kept.
async fn read(
    mut body: Body,
    mut hold: impl FnMut(usize) -> Result<(), Problem>,
) -> Result<Vec<u8>, Problem> {
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::bad_request("the body could not be read"))?;
        let Ok(piece) = frame.into_data() else { continue };
        if read.len() + piece.len() > WEBHOOK_BODY_BYTES {
            return Err(Problem::too_large());
        }
        hold(piece.len())?;
        read.extend_from_slice(&piece);
    }
    Ok(read)
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Problem>>,
) -> Result<T, Problem> {
    timeout(limit, work).await.unwrap_or_else(|_| Err(Problem::busy()))
}

/// Something was built: whoever waits for an image looks for it now.
async fn look_for_image(
    site: &AppState,
    id: RepositoryId,
    name: &RepositoryRef,
    commit: Option<&CommitSha>,
) -> Result<(StatusCode, Answer), Problem> {
    let reconciler = &site.reconciler;
    let answer = |outcome| (StatusCode::ACCEPTED, Answer { outcome, detail: String::new() });
    let repository = reconciler.repositories.find(id, name);
    if repository.is_none_or(|it| it.shape.tagged().is_empty()) {
        return Ok(answer("ignored"));
    }
    let now = reconciler.clock.now();
    let poked = reconciler.ledger.poke_awaiting(id, commit, now).await?;
    reconciler.wake.notify_one();
    Ok(answer(if poked > 0 { "poked" } else { "ignored" }))
}

/// Stores what is signed and concerns us, to be learned from.
async fn take_in(
    site: &AppState,
    intake: &Intake,
    headers: &HeaderMap,
    body: Vec<u8>,
) -> Result<(StatusCode, Answer), Problem> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let event = header("x-github-event")
        .filter(|event| !event.is_empty() && event.len() <= MAX_DELIVERY_ID_BYTES)
        .ok_or_else(|| Problem::bad_request("X-GitHub-Event is missing or too long"))?;
    let id = header("x-github-delivery")
        .filter(|id| !id.is_empty() && id.len() <= MAX_DELIVERY_ID_BYTES)
        .ok_or_else(|| Problem::bad_request("X-GitHub-Delivery is missing or too long"))?;
    let kind = header("content-type").unwrap_or_default();
    if kind.starts_with("application/x-www-form-urlencoded") {
        return Err(Problem::media_type("set the webhook's content type to application/json"));
    }
    let ignored = |detail: String| (StatusCode::ACCEPTED, Answer { outcome: "ignored", detail });
    let hint = match understand(&site.reconciler, event, &body)? {
        Said::Ping => {
            return Ok((StatusCode::OK, Answer { outcome: "pong", detail: String::new() }));
        }
        Said::Nothing(why) => return Ok(ignored(why)),
        Said::Built { repository_id, full_name, commit } => {
            let _turn = intake.lookups.acquire().await.map_err(|_| Problem::busy())?;
            return look_for_image(site, repository_id, &full_name, commit.as_ref()).await;
        }
        Said::Pull(hint) => *hint,
    };
    let (name, what) = (hint.name.clone(), hint.what.clone());
    let at = site.reconciler.clock.now();
    let delivery = Delivery { id: id.to_owned(), event: event.to_owned(), body, at };
    let (status, outcome) = match intake.store(delivery, hint).await? {
        Stored::Fresh => (StatusCode::ACCEPTED, "accepted"),
        Stored::Again => (StatusCode::OK, "duplicate"),
    };
    tracing::info!(delivery = id, preview = %name, action = %what, outcome, "delivery");
    Ok((status, Answer { outcome, detail: String::new() }))
}

/// What a delivery says, as far as it concerns this installation.
pub(super) enum Said {
    /// That the webhook works.
    Ping,
    /// Nothing of use, and why.
    Nothing(String),
    /// Something was built that may be an image.
    Built { repository_id: RepositoryId, full_name: RepositoryRef, commit: Option<CommitSha> },
    /// Something of a pull request of a repository that is configured.
    Pull(Box<PullHint>),
}

/// Reads a body that is signed.
pub(super) fn understand(
    reconciler: &Reconciler,
    event: &str,
    body: &[u8],
) -> Result<Said, Problem> {
    let parsed = parse(event, body).map_err(|error| Problem::unprocessable(error.to_string()))?;
    let (repository_id, full_name, action, facts) = match parsed {
        Event::Ping => return Ok(Said::Ping),
        Event::Ignored(what) => return Ok(Said::Nothing(format!("event {what} is not used"))),
        Event::Built { repository_id, full_name, commit } => {
            return Ok(Said::Built { repository_id, full_name, commit });
        }
        Event::Pull { repository_id, full_name, action, facts } => {
            (repository_id, full_name, action, facts)
        }
    };
    let Some(repository) = reconciler.repositories.find(repository_id, &full_name) else {
        let name = full_name.full_name();
        return Ok(Said::Nothing(format!("repository {name} is not in the configuration")));
    };
    Ok(Said::Pull(Box::new(PullHint {
        name: repository.preview_name(facts.key.number),
        repository: full_name,
        facts,
        source: "github",
        what: action,
        choosing: repository.policy.choices.labels(),
        even_if_closed: false,
    })))
}
