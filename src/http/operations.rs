//! Liveness, readiness and metrics, on a listener that is not for the world.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::time::timeout;

use super::AppState;

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

async fn metrics(State(site): State<AppState>) -> Response {
    let counting = timeout(LEDGER_TIMEOUT, site.reconciler.ledger.count_by_phase());
    let counts = counting.await.ok().and_then(Result::ok);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], site.reconciler.metrics.render(counts.as_deref()))
        .into_response()
}
