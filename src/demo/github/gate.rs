//! What every request passes: counting, authentication, redirects, and faults to order.
//!
//! Refuses whoever has no token, before it says whether a thing exists.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};

use super::answers::refusal;
use super::{APP_SLUG, Shared, TOKEN_LOGIN};
use crate::clock::machine_time;

pub(super) const USER_TOKEN: &str = "stand-in-token";
pub(super) const INSTALLATION_TOKEN: &str = "stand-in-installation-token";

/// How a request goes wrong before it does anything.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    None,
    Status(u16),
    RateLimit,
    Html,
}

#[derive(Default)]
pub(super) struct Gate {
    pub requests: BTreeMap<String, u64>,
    pub lost_answers: usize,
    pub empty_lists: bool,
    planned: VecDeque<Fault>,
}

impl Gate {
    pub fn plan(&mut self, n: usize, fault: Fault) {
        self.planned.extend(std::iter::repeat_n(fault, n));
    }
}

/// Who asks, by login.
#[derive(Clone)]
pub(super) struct Caller(pub String);

/// Lets a request through to its route, or does not.
pub(super) async fn pass(
    State(shared): State<Arc<Shared>>,
    path: MatchedPath,
    mut request: Request,
    next: Next,
) -> Response {
    let fault = {
        let mut gate = shared.gate();
        let route = format!("{} {}", request.method(), path.as_str());
        *gate.requests.entry(route).or_default() += 1;
        gate.planned.pop_front().unwrap_or(Fault::None)
    };
    let mut held = shared.held.subscribe();
    // Fails only when the stand-in is gone, and nobody waits for the answer then.
    let _ = held.wait_for(|held| !held).await;
    match fault {
        Fault::None => {}
        Fault::Status(status) => return refusal(status, "told to fail"),
        Fault::RateLimit => return rate_limited(),
        Fault::Html => return Html("<!DOCTYPE html><title>Unicorn!</title>").into_response(),
    }
    let Some(caller) = caller(request.headers()) else {
        return refusal(401, "Bad credentials");
    };
    if let Some(moved) = moved(&shared, &request) {
        return moved;
    }
    request.extensions_mut().insert(Caller(caller));
    let write = request.method() != Method::GET && !path.as_str().ends_with("/access_tokens");
    let answer = next.run(request).await;
    let mut gate = shared.gate();
    if write && answer.status().is_success() && gate.lost_answers > 0 {
        gate.lost_answers -= 1;
        return refusal(500, "told to lose the answer");
    }
    answer
}

fn caller(headers: &HeaderMap) -> Option<String> {
    let given = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    match given.strip_prefix("Bearer ")? {
        USER_TOKEN => Some(TOKEN_LOGIN.to_owned()),
        INSTALLATION_TOKEN => Some(format!("{APP_SLUG}[bot]")),
        // A JSON Web Token of the App itself; its signature is not this stand-in's business.
        jwt if jwt.split('.').count() == 3 => Some(APP_SLUG.to_owned()),
        _ => None,
    }
}

fn rate_limited() -> Response {
    let mut answer = refusal(403, "API rate limit exceeded for user ID 9001.");
    let reset = HeaderValue::from(machine_time().timestamp() + 600);
    answer.headers_mut().insert("x-ratelimit-remaining", HeaderValue::from(0));
    answer.headers_mut().insert("x-ratelimit-reset", reset);
    answer
}

/// The redirect from a repository's old name: 301 for reads, 307 for writes.
fn moved(shared: &Shared, request: &Request) -> Option<Response> {
    let target = request.uri().path_and_query()?.as_str();
    let rest = target.strip_prefix("/repos/")?;
    let mut parts = rest.splitn(3, '/');
    let old = format!("{}/{}", parts.next()?, parts.next()?);
    let new = shared.state().new_name(&old)?.to_owned();
    let to = format!("http://{}/repos/{new}{}", shared.address, rest.strip_prefix(&old)?);
    let read = request.method() == Method::GET;
    let status = if read { StatusCode::MOVED_PERMANENTLY } else { StatusCode::TEMPORARY_REDIRECT };
    Some((status, [(header::LOCATION, to)]).into_response())
}
