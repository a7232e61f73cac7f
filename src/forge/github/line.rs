//! The line to GitHub: one exchange at a time through the gate, to our API only.
//!
//! Refuses to follow a link or a redirect of its own to another host (of an address that an answer
//! names, only path and query are used), a body without end, and a call that the gate holds back.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use http_body_util::{BodyExt, Limited};
use hyper::http::header::InvalidHeaderValue;
use hyper::http::{HeaderValue, Uri};
use hyper::{HeaderMap, Method, StatusCode, header};
use octocrab::Octocrab;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::budget::{Budget, Outcome};
use super::faults;
use super::gate::{Closed, Gate, Heard, Kind, Limits};
use crate::clock::machine_time;
use crate::fault::Fault;

const MAX_REDIRECTS: usize = 3;
const MAX_BODY_BYTES: usize = 32 * 1024 * 1024;

/// One request.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    /// Path and query.
    pub(super) route: &'a str,
    pub(super) body: Option<&'a Value>,
    /// The `ETag` of what we have.
    pub(super) etag: Option<&'a str>,
    /// Whether it makes content, unless it is a read: GitHub allows less of that.
    pub(super) content: bool,
}

impl<'a> Ask<'a> {
    /// Asks for a thing.
    pub(super) fn get(route: &'a str) -> Self {
        Self { method: Method::GET, route, body: None, etag: None, content: true }
    }
}

/// One answer, whatever it says.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// When GitHub wrote it, by GitHub's clock.
    pub(super) fn date(&self) -> Option<DateTime<Utc>> {
        Some(DateTime::parse_from_rfc2822(self.header("date")?).ok()?.to_utc())
    }

    /// GitHub's words for a refusal.
    pub(super) fn message(&self) -> String {
        let body: Option<Value> = serde_json::from_str(&self.body).ok();
        body.and_then(|body| Some(body.get("message")?.as_str()?.to_owned())).unwrap_or_default()
    }

    fn heard(&self) -> Heard {
        let number = |name: &str| self.header(name)?.parse::<i64>().ok();
        let date = self.date().unwrap_or_else(machine_time);
        let remaining = number("x-ratelimit-remaining");
        let retry_after = number("retry-after").and_then(TimeDelta::try_seconds);
        let resets = number("x-ratelimit-reset").and_then(|at| DateTime::from_timestamp(at, 0));
        let refusal = matches!(self.status, StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS);
        let refused = refusal
            && (self.status == StatusCode::TOO_MANY_REQUESTS
                || remaining == Some(0)
                || retry_after.is_some()
                || self.message().to_ascii_lowercase().contains("rate limit"));
        let resets_in = resets.map(|at| at - date);
        Heard { refused, retry_after, limit: number("x-ratelimit-limit"), remaining, resets_in }
    }
}

/// Everything that all calls share.
pub(super) struct Line {
    octocrab: Octocrab,
    gate: Mutex<Gate>,
    at_once: Semaphore,
    pub(super) budget: Arc<Budget>,
}

impl Line {
    pub(super) fn new(octocrab: Octocrab, limits: Limits) -> Self {
        let gate = Mutex::new(Gate::new(limits));
        let at_once = Semaphore::new(limits.calls_at_once);
        Self { octocrab, gate, at_once, budget: Arc::default() }
    }

    /// Asks with this bearer token; `counts` where the allowance that the answer tells is ours to
    /// report. Any answer is an answer, but a refusal for the number of requests is a fault.
    pub(super) async fn ask(
        &self,
        doing: &str,
        bearer: Option<&SecretString>,
        ask: &Ask<'_>,
        counts: bool,
    ) -> Result<Answer, Fault> {
        let kind = match ask.method {
            Method::GET => Kind::Read,
            _ if ask.content => Kind::Write,
            _ => Kind::Token,
        };
        let wait = self.gate().admit(kind, machine_time()).map_err(|closed| {
            self.budget.count(Outcome::Refused);
            held(doing, &closed)
        })?;
        tokio::time::sleep(wait.to_std().unwrap_or_default()).await;
        let turn = self.at_once.acquire().await;
        let _turn = turn.map_err(|_| Fault::transient(doing, "stopping"))?;
        let answer = self.exchange(bearer, ask).await.map_err(|error| {
            self.budget.count(Outcome::Fault);
            Fault::transient(doing, error)
        })?;
        let heard = answer.heard();
        if counts {
            self.budget.hear(&heard);
        }
        self.budget.count(match answer.status {
            _ if heard.refused => Outcome::Limited,
            StatusCode::NOT_MODIFIED => Outcome::NotModified,
            status if status.is_success() => Outcome::Ok,
            _ => Outcome::Fault,
        });
        let now = machine_time();
        let closed = {
            let mut gate = self.gate();
            gate.hear(&heard, now);
            gate.closed_at(now)
        };
        match closed.filter(|_| heard.refused) {
            Some(closed) => Err(faults::limited(doing, &answer, &closed)),
            None => Ok(answer),
        }
    }

    fn gate(&self) -> std::sync::MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn exchange(
        &self,
        bearer: Option<&SecretString>,
        ask: &Ask<'_>,
    ) -> Result<Answer, String> {
        let failed = |error: octocrab::Error| faults::chain(&error);
        let mut route = ask.route.to_owned();
        let mut redirects = 0;
        loop {
            let request = hyper::Request::builder().method(ask.method.clone()).uri(&route);
            let mut request = self.octocrab.build_request(request, ask.body).map_err(failed)?;
            let headers = request.headers_mut();
            if let Some(Ok(mut value)) = bearer.map(shown) {
                value.set_sensitive(true);
                headers.insert(header::AUTHORIZATION, value);
            }
            if let Some(Ok(etag)) = ask.etag.map(HeaderValue::from_str) {
                headers.insert(header::IF_NONE_MATCH, etag);
            }
            let response = self.octocrab.execute(request).await.map_err(failed)?;
            // The client underneath follows redirects of reads. A renamed repository answers a write
            // with 307, which did nothing yet, so to send it again is not to repeat it.
            let follow = response.status().is_redirection() && redirects < MAX_REDIRECTS;
            if let Some(location) = location(response.headers()).filter(|_| follow) {
                route = location;
                redirects += 1;
                continue;
            }
            let (parts, body) = response.into_parts();
            let whole = Limited::new(body, MAX_BODY_BYTES).collect().await;
            let whole = whole.map_err(|error| format!("the answer broke off: {error}"))?;
            let body = String::from_utf8_lossy(&whole.to_bytes()).into_owned();
            return Ok(Answer { status: parts.status, headers: parts.headers, body });
        }
    }
}

fn shown(bearer: &SecretString) -> Result<HeaderValue, InvalidHeaderValue> {
    HeaderValue::from_str(&format!("Bearer {}", bearer.expose_secret()))
}

fn held(doing: &str, closed: &Closed) -> Fault {
    Fault::transient(
        doing,
        format!("not asked before {}: {}", faults::instant(closed.until), closed.why),
    )
}

fn location(headers: &HeaderMap) -> Option<String> {
    path_and_query(headers.get(header::LOCATION)?.to_str().ok()?)
}

/// The `rel="next"` address of a Link header (RFC 8288).
pub(super) fn next_page(headers: &HeaderMap) -> Option<String> {
    let link = headers.get(header::LINK)?.to_str().ok()?;
    let next = link.split(',').find(|part| part.contains("rel=\"next\""))?;
    let (_, rest) = next.split_once('<')?;
    path_and_query(rest.split_once('>')?.0)
}

fn path_and_query(address: &str) -> Option<String> {
    Some(address.parse::<Uri>().ok()?.path_and_query()?.as_str().to_owned())
}
