//! Who asks, and whether they may.
//!
//! A request without a valid token, or whose token's role is too small, does not reach a handler.

use axum::extract::{FromRequestParts, Request, State};
use axum::http::header;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;

use super::AppState;
use super::error::Problem;
use crate::ledger::{Role, TokenInfo};

/// Lets a request with a token of at least this role pass.
pub(super) async fn require(
    State((site, role)): State<(AppState, Role)>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let token = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .ok_or_else(|| {
            Problem::unauthorized(
                "send Authorization: Bearer …; make a token with mayfly token create",
            )
        })?;
    let reconciler = &site.reconciler;
    let now = reconciler.clock.now();
    let caller = reconciler
        .ledger
        .token(token, now)
        .await?
        .ok_or_else(|| Problem::unauthorized("this token is unknown, expired or revoked"))?;
    if caller.role < role {
        return Err(Problem::forbidden(format!(
            "this needs the role {}; the token {:?} has {}",
            role.as_str(),
            caller.name,
            caller.role.as_str()
        )));
    }
    request.extensions_mut().insert(Caller(caller));
    Ok(next.run(request).await)
}

/// Who asks; only there where [`require`] let the request pass.
#[derive(Clone)]
pub(super) struct Caller(pub(super) TokenInfo);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(Problem::internal)
    }
}
