//! Liveness, readiness and metrics, on a listener that is not for the world.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::AppState;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
}

/// Ready when the ledger answers and has the schema that this version needs.
async fn ready(State(site): State<AppState>) -> Response {
    let answer = match site.reconciler.ledger.is_migrated().await {
        Ok(true) => (StatusCode::OK, "ok\n".to_owned()),
        Ok(false) => (StatusCode::SERVICE_UNAVAILABLE, "run mayfly migrate first\n".to_owned()),
        Err(error) => {
            tracing::warn!(%error, "not ready");
            (StatusCode::SERVICE_UNAVAILABLE, "the ledger does not answer\n".to_owned())
        }
    };
    answer.into_response()
}

async fn metrics(State(site): State<AppState>) -> Response {
    let counts = site.reconciler.ledger.count_by_phase().await.unwrap_or_default();
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], site.reconciler.metrics.render(&counts)).into_response()
}
