//! The fleet on one plain page.
//!
//! The page is static and asks the API with the visitor's own token, so it can show nothing that
//! the API would not. Refuses to load anything from elsewhere.

use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::AppState;

const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/", get(|| async { page("text/html", include_str!("fleet/index.html")) }))
        .route(
            "/fleet.js",
            get(|| async { page("text/javascript", include_str!("fleet/fleet.js")) }),
        )
        .route("/fleet.css", get(|| async { page("text/css", include_str!("fleet/fleet.css")) }))
}

fn page(kind: &str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, format!("{kind}; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, POLICY.to_owned()),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
        (header::HeaderName::from_static("x-robots-tag"), "noindex".to_owned()),
    ];
    (headers, text).into_response()
}
