//! What every request passes: counting, authentication, permissions, redirects, `ETag`s, and faults
//! to order.
//!
//! Refuses whoever has no token, before it says whether a thing exists.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use chrono::{DateTime, TimeDelta, Utc};

use super::answers::refusal;
use super::record::{Exchange, Ordered};
use super::{APP_SLUG, Shared, TOKEN_LOGIN};
use crate::clock::machine_time;

pub(super) const USER_TOKEN: &str = "stand-in-token";
/// GitHub's hourly allowance.
const LIMIT: i64 = 5_000;
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// How a request goes wrong before it does anything.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    None,
    Status(u16),
    RateLimit,
    RetryAfter(u32),
    Html,
}

pub(super) struct Gate {
    pub requests: BTreeMap<String, u64>,
    pub exchanges: VecDeque<Exchange>,
    pub lost_answers: usize,
    pub empty_lists: bool,
    /// Permissions that nobody has: `deployments`.
    pub forbidden: BTreeSet<String>,
    /// How long an installation token is valid.
    pub token_life: TimeDelta,
    pub remaining: i64,
    tokens: HashMap<String, DateTime<Utc>>,
    granted: u64,
    planned: VecDeque<Fault>,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            requests: BTreeMap::new(),
            exchanges: VecDeque::new(),
            lost_answers: 0,
            empty_lists: false,
            forbidden: BTreeSet::new(),
            token_life: TimeDelta::hours(1),
            remaining: LIMIT,
            tokens: HashMap::new(),
            granted: 0,
            planned: VecDeque::new(),
        }
    }
}

impl Gate {
    pub fn plan(&mut self, n: usize, fault: Fault) {
        self.planned.extend(std::iter::repeat_n(fault, n));
    }

    /// A new installation token, and until when it is valid.
    pub fn grant(&mut self) -> (String, DateTime<Utc>) {
        self.granted += 1;
        let token = format!("stand-in-installation-token-{}", self.granted);
        let until = machine_time() + self.token_life;
        self.tokens.insert(token.clone(), until);
        (token, until)
    }

    pub fn revoke(&mut self) {
        self.tokens.clear();
    }

    fn caller(&self, headers: &HeaderMap) -> Option<String> {
        let given = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?;
        if given == USER_TOKEN {
            return Some(TOKEN_LOGIN.to_owned());
        }
        if self.tokens.get(given).is_some_and(|until| *until > machine_time()) {
            return Some(format!("{APP_SLUG}[bot]"));
        }
        // A JSON Web Token of the App itself; its signature is not this stand-in's business.
        (given.split('.').count() == 3).then(|| APP_SLUG.to_owned())
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
    let ordered = |mut answer: Response| {
        answer.extensions_mut().insert(Ordered);
        answer
    };
    match fault {
        Fault::None => {}
        Fault::Status(status) => return ordered(refusal(status, "told to fail")),
        Fault::RateLimit => return ordered(rate_limited()),
        Fault::RetryAfter(seconds) => {
            let mut answer = refusal(403, "You have exceeded a secondary rate limit.");
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            return ordered(answer);
        }
        Fault::Html => {
            return ordered(Html("<!DOCTYPE html><title>Unicorn!</title>").into_response());
        }
    }
    // The code of a manifest is its own proof.
    if !path.as_str().starts_with("/app-manifests/") {
        let Some(caller) = shared.gate().caller(request.headers()) else {
            return refusal(401, "Bad credentials");
        };
        request.extensions_mut().insert(Caller(caller));
    }
    if let Some(moved) = moved(&shared, &request) {
        return moved;
    }
    if let Some(needed) = needed(request.method(), path.as_str())
        && shared.gate().forbidden.contains(needed)
    {
        let mut answer = refusal(403, "Resource not accessible by integration");
        let value = HeaderValue::from_str(&format!("{needed}=write"));
        if let Ok(value) = value {
            answer.headers_mut().insert("x-accepted-github-permissions", value);
        }
        return answer;
    }
    let read = request.method() == Method::GET;
    let write = !read && !path.as_str().ends_with("/access_tokens");
    let known = request.headers().get(header::IF_NONE_MATCH).cloned();
    let answer = next.run(request).await;
    let answer = if read { tagged(answer, known).await } else { answer };
    let mut gate = shared.gate();
    if write && answer.status().is_success() && gate.lost_answers > 0 {
        gate.lost_answers -= 1;
        return ordered(refusal(500, "told to lose the answer"));
    }
    allowance(&mut gate, answer)
}

/// The permission that a request needs, where a test may take it away.
fn needed(method: &Method, path: &str) -> Option<&'static str> {
    let write = *method != Method::GET;
    match () {
        () if path.contains("/environments/") => Some("administration"),
        () if path.contains("/hooks") => Some("repository_hooks"),
        () if path.contains("/deployments") && write => Some("deployments"),
        () if path.contains("/comments") && write => Some("issues"),
        () => None,
    }
}

/// What is left of the hour; an answer that tells nothing new is free.
fn allowance(gate: &mut Gate, mut answer: Response) -> Response {
    if answer.status() != StatusCode::NOT_MODIFIED {
        gate.remaining = (gate.remaining - 1).max(0);
    }
    let reset = machine_time().timestamp() + 600;
    let numbers = [("limit", LIMIT), ("remaining", gate.remaining), ("reset", reset)];
    for (name, number) in numbers {
        if let Ok(name) = header::HeaderName::try_from(format!("x-ratelimit-{name}")) {
            answer.headers_mut().insert(name, HeaderValue::from(number));
        }
    }
    answer
}

/// Gives an answer its `ETag`, or says that it is known.
async fn tagged(answer: Response, known: Option<HeaderValue>) -> Response {
    let (mut parts, body) = answer.into_parts();
    let Ok(body) = to_bytes(body, MAX_BYTES).await else { return refusal(500, "too large") };
    let mut hash = DefaultHasher::new();
    (&body, parts.headers.get(header::LINK)).hash(&mut hash);
    let etag = HeaderValue::from_str(&format!("W/\"{:016x}\"", hash.finish()));
    if let (StatusCode::OK, Ok(etag)) = (parts.status, etag) {
        parts.headers.insert(header::ETAG, etag.clone());
        if known.is_some_and(|known| known == etag) {
            return (StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response();
        }
    }
    Response::from_parts(parts, Body::from(body))
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
