//! The routes, as GitHub documents them.
//!
//! Refuses what GitHub would refuse: unknown commits, over-long texts, tokens of the wrong kind.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{OriginalUri, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch, post};
use axum::{Extension, Json, Router, middleware};
use chrono::SecondsFormat;
use serde_json::{Value, json};

use super::answers::{not_found, page, refusal};
use super::gate::{self, Caller};
use super::state::now;
use super::{APP_SLUG, Shared, apps, contents, deployments, hooks, payload, record};

const MAX_BODY_CHARS: usize = 65_536;

type Hub = State<Arc<Shared>>;
type Params = Query<HashMap<String, String>>;

pub(super) fn router(shared: Arc<Shared>) -> Router {
    let repo = "/repos/{owner}/{repo}";
    Router::new()
        .route("/user", get(user))
        .route("/app", get(app))
        .route("/app/installations/{id}/access_tokens", post(access_token))
        .route(&format!("{repo}/pulls"), get(pulls))
        .route(&format!("{repo}/pulls/{{number}}"), get(pull))
        .route(&format!("{repo}/contents/{{*path}}"), get(contents::show))
        .route(&format!("{repo}/issues/{{number}}/comments"), get(comments).post(add_comment))
        .route(
            &format!("{repo}/issues/comments/{{id}}"),
            patch(edit_comment).delete(delete_comment),
        )
        .route(&format!("{repo}/deployments"), get(deployments::list).post(deployments::add))
        .route(&format!("{repo}/deployments/{{id}}"), delete(deployments::remove))
        .route(
            &format!("{repo}/deployments/{{id}}/statuses"),
            get(deployments::statuses).post(deployments::add_status),
        )
        .route(&format!("{repo}/environments/{{name}}"), delete(deployments::remove_environment))
        .route("/app-manifests/{code}/conversions", post(apps::conversion))
        .route("/app/hook/deliveries", get(hooks::of_app))
        .route("/app/hook/deliveries/{id}/attempts", post(hooks::attempt_of_app))
        .route(&format!("{repo}/hooks"), get(hooks::hooks))
        .route(&format!("{repo}/hooks/{{hook}}/deliveries"), get(hooks::of_hook))
        .route(
            &format!("{repo}/hooks/{{hook}}/deliveries/{{id}}/attempts"),
            post(hooks::attempt_of_hook),
        )
        .route(&format!("{repo}/collaborators/{{login}}/permission"), get(permission))
        .route_layer(middleware::from_fn_with_state(shared.clone(), gate::pass))
        .fallback(async || refusal(404, "Not Found"))
        .layer(middleware::from_fn_with_state(shared.clone(), record::record))
        .with_state(shared.clone())
        .merge(apps::pages(shared))
}

async fn user(Extension(Caller(caller)): Extension<Caller>) -> Response {
    if caller.ends_with("[bot]") {
        return refusal(403, "Resource not accessible by integration");
    }
    Json(payload::oneself(&caller)).into_response()
}

async fn app(Extension(Caller(caller)): Extension<Caller>) -> Response {
    if caller != APP_SLUG {
        return refusal(401, "A JSON web token could not be decoded");
    }
    Json(payload::app()).into_response()
}

async fn access_token(State(hub): Hub, Extension(Caller(caller)): Extension<Caller>) -> Response {
    if caller != APP_SLUG {
        return refusal(401, "A JSON web token could not be decoded");
    }
    let mut gate = hub.gate();
    let (token, until) = gate.grant();
    let mut permissions = json!({ "metadata": "read" });
    for name in ["deployments", "issues", "pull_requests"] {
        if !gate.forbidden.contains(name) {
            permissions[name] = json!("write");
        }
    }
    let token = json!({
        "token": token,
        "expires_at": until.to_rfc3339_opts(SecondsFormat::Secs, true),
        "permissions": permissions,
        "repository_selection": "all",
    });
    (StatusCode::CREATED, Json(token)).into_response()
}

async fn pulls(
    State(hub): Hub,
    uri: OriginalUri,
    Path((owner, repo)): Path<(String, String)>,
    params: Params,
) -> Response {
    let wanted = params.get("state").map_or("open", String::as_str);
    let lies = hub.gate().empty_lists;
    let state = hub.state();
    let Some(repo) = state.repository(&format!("{owner}/{repo}")) else { return not_found() };
    let fits = |open: bool| !lies && (wanted == "all" || (wanted == "open") == open);
    let found = repo.pulls.values().rev().filter(|pull| fits(pull.open));
    let items = found.map(|pull| payload::pull_in_list(repo, pull)).collect();
    page(&hub, &uri, &params, items)
}

async fn pull(
    State(hub): Hub,
    Path((owner, repo, number)): Path<(String, String, u32)>,
) -> Response {
    let state = hub.state();
    let found = state
        .repository(&format!("{owner}/{repo}"))
        .and_then(|repo| Some((repo, repo.pulls.get(&number)?)));
    found.map_or_else(not_found, |(repo, pull)| Json(payload::pull(repo, pull)).into_response())
}

/// Who opened a pull request as a member may write, unless it was said otherwise.
async fn permission(
    State(hub): Hub,
    Path((owner, repo, login)): Path<(String, String, String)>,
) -> Response {
    let state = hub.state();
    let Some(repository) = state.repository(&format!("{owner}/{repo}")) else {
        return not_found();
    };
    let member = repository.pulls.values().any(|pull| {
        let spec = &pull.spec;
        spec.author == login
            && matches!(spec.association.as_str(), "OWNER" | "MEMBER" | "COLLABORATOR")
    });
    let given = repository.permissions.get(&login).map(String::as_str);
    let permission = given.unwrap_or(if member { "write" } else { "read" });
    let role = if permission == "none" { "" } else { permission };
    let mut user = payload::user(&login);
    user["role_name"] = json!(role);
    Json(json!({ "permission": permission, "role_name": role, "user": user })).into_response()
}

async fn comments(
    State(hub): Hub,
    uri: OriginalUri,
    Path((owner, repo, number)): Path<(String, String, u32)>,
    params: Params,
) -> Response {
    let state = hub.state();
    let repo = state.repository(&format!("{owner}/{repo}"));
    let Some(repo) = repo.filter(|repo| repo.pulls.contains_key(&number)) else {
        return not_found();
    };
    let found = repo.comments.values().filter(|comment| comment.number == number);
    page(&hub, &uri, &params, found.map(|c| payload::comment(repo, c)).collect())
}

async fn add_comment(
    State(hub): Hub,
    Extension(Caller(caller)): Extension<Caller>,
    Path((owner, repo, number)): Path<(String, String, u32)>,
    Json(body): Json<Value>,
) -> Response {
    let Some(text) = comment_text(&body) else { return refusal(422, "Validation Failed") };
    let name = format!("{owner}/{repo}");
    let mut state = hub.state();
    let added = state.add_comment(&name, number, &caller, text);
    let found = added.zip(state.repository(&name));
    found.map_or_else(not_found, |(comment, repo)| {
        (StatusCode::CREATED, Json(payload::comment(repo, &comment))).into_response()
    })
}

/// Anybody with write access may edit anybody's comment; so it is on GitHub.
async fn edit_comment(
    State(hub): Hub,
    Path((owner, repo, id)): Path<(String, String, u64)>,
    Json(body): Json<Value>,
) -> Response {
    let Some(text) = comment_text(&body) else { return refusal(422, "Validation Failed") };
    let mut state = hub.state();
    let repo = state.repository_mut(&format!("{owner}/{repo}"));
    let Some(repo) = repo else { return not_found() };
    let Some(comment) = repo.comments.get_mut(&id) else { return not_found() };
    text.clone_into(&mut comment.body);
    comment.updated_at = now();
    let comment = comment.clone();
    Json(payload::comment(repo, &comment)).into_response()
}

async fn delete_comment(
    State(hub): Hub,
    Path((owner, repo, id)): Path<(String, String, u64)>,
) -> Response {
    let mut state = hub.state();
    let repo = state.repository_mut(&format!("{owner}/{repo}"));
    let gone = repo.and_then(|repo| repo.comments.remove(&id));
    gone.map_or_else(not_found, |_| StatusCode::NO_CONTENT.into_response())
}

fn comment_text(body: &Value) -> Option<&str> {
    let text = body["body"].as_str()?;
    (!text.trim().is_empty() && text.chars().count() <= MAX_BODY_CHARS).then_some(text)
}
