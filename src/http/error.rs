//! Every refusal of the API, as `application/problem+json` (RFC 9457).
//!
//! Refuses to show SQL, paths, or anything about our insides: what went wrong in here is in the
//! log, under the request's id.

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use utoipa::ToSchema;

use super::BODY_TIMEOUT;
use crate::ledger::LedgerError;

/// A problem, as RFC 9457 describes it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problem {
    /// What kind of problem: a stable word.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The same for people.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What is wrong with this request, and what to do next.
    detail: String,
}

impl Problem {
    fn new(status: StatusCode, kind: &'static str, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Problem");
        Self { kind, title, status: status.as_u16(), detail: detail.into() }
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", detail)
    }

    pub(super) fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
    }

    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", detail)
    }

    pub(super) fn method_not_allowed() -> Self {
        let detail = "this path has other methods; see /api/v1/openapi.json";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
    }

    pub(super) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", detail)
    }

    pub(super) fn unprocessable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "unprocessable", detail)
    }

    pub(super) fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "the body is too large")
    }

    pub(super) fn media_type(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", detail)
    }

    pub(super) fn slow() -> Self {
        let detail = "the body did not arrive in time";
        Self::new(StatusCode::REQUEST_TIMEOUT, "slow", detail)
    }

    pub(super) fn busy() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "too much at once; try again shortly")
    }

    /// Waited in vain: RFC 9110 §15.6.5.
    pub(super) fn late(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "late", detail)
    }

    pub(super) fn internal() -> Self {
        let detail = "an internal error; it is in the log under this answer's x-request-id";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    /// Whether the fault is on this side.
    pub(super) fn is_ours(&self) -> bool {
        self.status >= 500
    }

    fn from_status(status: StatusCode, detail: String) -> Self {
        match status {
            StatusCode::PAYLOAD_TOO_LARGE => Self::new(status, "too-large", detail),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::media_type("send application/json"),
            StatusCode::UNPROCESSABLE_ENTITY => Self::unprocessable(detail),
            _ => Self::bad_request(detail),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(&self)).into_response();
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, kind);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
            }
            _ => {}
        }
        response
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        Self::from(&error)
    }
}

impl From<&LedgerError> for Problem {
    fn from(error: &LedgerError) -> Self {
        match error {
            LedgerError::NameTaken(_) => Self::conflict(error.to_string()),
            LedgerError::Database(cause) if passes(cause) => {
                tracing::warn!(%error, "the ledger does not answer");
                Self::busy()
            }
            _ => {
                tracing::error!(%error, "a request failed in the ledger");
                Self::internal()
            }
        }
    }
}

/// Whether this passes by itself: the server is away, going, overloaded or locked, and the same
/// request can succeed later.
fn passes(error: &sqlx::Error) -> bool {
    use sqlx::Error;
    match error {
        Error::PoolTimedOut
        | Error::PoolClosed
        | Error::WorkerCrashed
        | Error::Io(_)
        | Error::Tls(_) => true,
        Error::Database(answer) => answer.code().is_some_and(|code| {
            // Connections, resources, an operator's intervention; then serialisation, deadlock, locks.
            ["08", "53", "57"].iter().any(|class| code.starts_with(class))
                || ["40001", "40P01", "55P03"].contains(&code.as_ref())
        }),
        _ => false,
    }
}

/// `axum::Json`, whose refusals are problems, and which does not wait for a body for ever.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let reading = axum::Json::from_request(request, state);
        let axum::Json(value) =
            tokio::time::timeout(BODY_TIMEOUT, reading).await.map_err(|_| Problem::slow())??;
        Ok(Self(value))
    }
}

/// `axum::extract::Path`, whose refusals are problems.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(Problem))]
pub(super) struct Path<T>(pub(super) T);

/// `axum::extract::Query`, whose refusals are problems.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(Problem))]
pub(super) struct Query<T>(pub(super) T);

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        Self::from_status(rejection.status(), rejection.body_text())
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::from_status(rejection.status(), rejection.body_text())
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::from_status(rejection.status(), rejection.body_text())
    }
}
