//! Liveness, readiness and metrics, on a listener that is not for the world.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::time::timeout;

use super::AppState;
use crate::telemetry::Exposition;

/// How long the ledger may take here: whoever asks has a deadline of a few seconds.
const LEDGER_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
}

/// Ready when the ledger answers and has the schema that this version needs.
async fn ready(State(site): State<AppState>) -> Response {
    let silent = (StatusCode::SERVICE_UNAVAILABLE, "the ledger does not answer\n");
    let answer = match timeout(LEDGER_TIMEOUT, site.reconciler.ledger.is_migrated()).await {
        Ok(Ok(true)) => (StatusCode::OK, "ok\n"),
        Ok(Ok(false)) => (StatusCode::SERVICE_UNAVAILABLE, "run mayfly migrate first\n"),
        Ok(Err(error)) => {
            tracing::warn!(%error, "not ready");
            silent
        }
        Err(_) => silent,
    };
    answer.into_response()
}

async fn metrics(State(site): State<AppState>, headers: HeaderMap) -> Response {
    let reconciler = &site.reconciler;
    let asking = reconciler.ledger.survey(reconciler.clock.now());
    let survey = timeout(LEDGER_TIMEOUT, asking).await.ok().and_then(Result::ok);
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let exposition = Exposition::accepted(accept.unwrap_or_default());
    let text = reconciler.metrics.render(survey.as_ref(), exposition);
    ([(header::CONTENT_TYPE, exposition.content_type())], text).into_response()
}
