//! Webhook deliveries as GitHub remembers them: of the App, and of each repository.
//!
//! Refuses to deliver: an attempt that is asked for is noted, and a test says what came of it.

use std::sync::Arc;

use axum::extract::{OriginalUri, Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use super::answers::{not_found, refusal};
use super::gate::Caller;
use super::{APP_SLUG, Shared};

type Hub = State<Arc<Shared>>;
type Params = Query<std::collections::HashMap<String, String>>;

/// The id of the one webhook that each repository has.
pub(super) const HOOK_ID: u64 = 31;

/// A delivery, or an attempt to repeat one.
#[derive(Clone, Debug)]
pub struct HookDelivery {
    /// The attempt's id.
    pub id: u64,
    /// The delivery's id, the same for all attempts.
    pub guid: String,
    /// The event's name.
    pub event: String,
    /// What our side answered; 0 when it did not.
    pub status_code: u16,
    /// When.
    pub delivered_at: DateTime<Utc>,
    /// The installation, for an App's webhook.
    pub installation_id: Option<u64>,
}

pub(super) async fn of_app(
    State(hub): Hub,
    uri: OriginalUri,
    params: Params,
    Extension(Caller(caller)): Extension<Caller>,
) -> Response {
    if caller != APP_SLUG {
        return refusal(401, "A JSON web token could not be decoded");
    }
    page(&hub, &uri, &params)
}

pub(super) async fn of_hook(
    State(hub): Hub,
    uri: OriginalUri,
    Path((_, _, hook)): Path<(String, String, u64)>,
    params: Params,
) -> Response {
    if hook == HOOK_ID { page(&hub, &uri, &params) } else { not_found() }
}

pub(super) async fn hooks(
    State(hub): Hub,
    Path((owner, repo)): Path<(String, String)>,
) -> Response {
    if hub.state().repository(&format!("{owner}/{repo}")).is_none() {
        return not_found();
    }
    let hook = |id: u64, url: &str, events: &[&str]| {
        let at = format!("https://api.github.com/repos/{owner}/{repo}/hooks/{id}");
        json!({
            "type": "Repository", "id": id, "name": "web", "active": true, "events": events,
            "config": { "content_type": "json", "insecure_ssl": "0", "url": url, "secret": "********" },
            "created_at": "2024-01-01T00:00:00Z", "updated_at": "2024-01-01T00:00:00Z",
            "url": at, "test_url": format!("{at}/test"), "ping_url": format!("{at}/pings"),
            "deliveries_url": format!("{at}/deliveries"),
            "last_response": { "code": 202, "status": "active", "message": "OK" },
        })
    };
    let ours = hook(HOOK_ID, "https://mayfly.example.com/webhooks/github", &["pull_request"]);
    let other = hook(HOOK_ID + 1, "https://chat.example.com/hook", &["push"]);
    Json(json!([other, ours])).into_response()
}

pub(super) async fn attempt_of_app(
    State(hub): Hub,
    Path(id): Path<u64>,
    Extension(Caller(caller)): Extension<Caller>,
) -> Response {
    if caller != APP_SLUG {
        return refusal(401, "A JSON web token could not be decoded");
    }
    attempt(&hub, id)
}

pub(super) async fn attempt_of_hook(
    State(hub): Hub,
    Path((_, _, hook, id)): Path<(String, String, u64, u64)>,
) -> Response {
    if hook == HOOK_ID { attempt(&hub, id) } else { not_found() }
}

fn attempt(hub: &Shared, id: u64) -> Response {
    let mut state = hub.state();
    let Some(guid) = state.deliveries.iter().find(|d| d.id == id).map(|d| d.guid.clone()) else {
        return not_found();
    };
    state.attempts.push(guid);
    (StatusCode::ACCEPTED, Json(json!({}))).into_response()
}

/// The newest first; a cursor is an offset here, and opaque to whoever is right.
fn page(hub: &Shared, uri: &OriginalUri, params: &Params) -> Response {
    let number = |name: &str| params.get(name).and_then(|value| value.parse::<usize>().ok());
    let (size, from) = (number("per_page").unwrap_or(30).min(100), number("cursor").unwrap_or(0));
    let mut all = hub.state().deliveries.clone();
    all.sort_by_key(|delivery| std::cmp::Reverse(delivery.id));
    let items: Vec<Value> = all.iter().skip(from).take(size).map(item).collect();
    let mut answer = Json(items).into_response();
    let next = format!(
        "<http://{}{}?per_page={size}&cursor={}>; rel=\"next\"",
        hub.address,
        uri.path(),
        from + size
    );
    if let (true, Ok(next)) = (all.len() > from + size, HeaderValue::from_str(&next)) {
        answer.headers_mut().insert(header::LINK, next);
    }
    answer
}

fn item(delivery: &HookDelivery) -> Value {
    let fine = (200..300).contains(&delivery.status_code);
    json!({
        "id": delivery.id,
        "guid": delivery.guid,
        "delivered_at": delivery.delivered_at.to_rfc3339_opts(SecondsFormat::Secs, true),
        "redelivery": false,
        "duration": 0.27,
        "status": if fine { "OK" } else { "failed to connect to host" },
        "status_code": delivery.status_code,
        "event": delivery.event,
        "action": "opened",
        "installation_id": delivery.installation_id,
        "repository_id": 42,
        "throttled_at": null,
    })
}
