//! The routes, as GitHub documents them.
//!
//! Refuses what GitHub would refuse: unknown commits, over-long texts, tokens of the wrong kind.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{OriginalUri, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post};
use axum::{Extension, Json, Router, middleware};
use chrono::TimeDelta;
use serde_json::{Value, json};

use super::answers::{not_found, page, refusal};
use super::gate::{self, Caller, INSTALLATION_TOKEN};
use super::payload;
use super::state::{Deployment, Status, now};
use super::{APP_SLUG, Shared};
use crate::clock::machine_time;

const MAX_BODY_CHARS: usize = 65_536;
const MAX_DESCRIPTION_CHARS: usize = 140;

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
        .route(&format!("{repo}/issues/{{number}}/comments"), get(comments).post(add_comment))
        .route(
            &format!("{repo}/issues/comments/{{id}}"),
            patch(edit_comment).delete(delete_comment),
        )
        .route(&format!("{repo}/deployments"), get(deployments).post(add_deployment))
        .route(&format!("{repo}/deployments/{{id}}/statuses"), get(statuses).post(add_status))
        .route(&format!("{repo}/collaborators/{{login}}/permission"), get(permission))
        .route_layer(middleware::from_fn_with_state(shared.clone(), gate::pass))
        .fallback(async || refusal(404, "Not Found"))
        .with_state(shared)
}

async fn user(Extension(Caller(caller)): Extension<Caller>) -> Response {
    if caller.ends_with("[bot]") {
        return refusal(403, "Resource not accessible by integration");
    }
    Json(payload::user(&caller)).into_response()
}

async fn app(Extension(Caller(caller)): Extension<Caller>) -> Response {
    if caller != APP_SLUG {
        return refusal(401, "A JSON web token could not be decoded");
    }
    Json(json!({ "id": 77, "slug": APP_SLUG, "name": "Mayfly", "node_id": "A_77" })).into_response()
}

async fn access_token(Extension(Caller(caller)): Extension<Caller>) -> Response {
    if caller != APP_SLUG {
        return refusal(401, "A JSON web token could not be decoded");
    }
    let token = json!({
        "token": INSTALLATION_TOKEN,
        "expires_at": (machine_time() + TimeDelta::hours(1)).to_rfc3339(),
        "permissions": { "deployments": "write", "issues": "write", "pull_requests": "write" },
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
    Json(json!({ "permission": permission, "user": { "login": login } })).into_response()
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

async fn deployments(
    State(hub): Hub,
    uri: OriginalUri,
    Path((owner, repo)): Path<(String, String)>,
    params: Params,
) -> Response {
    let state = hub.state();
    let Some(repo) = state.repository(&format!("{owner}/{repo}")) else { return not_found() };
    let fits = |d: &&Deployment| {
        [("environment", &d.environment), ("task", &d.task), ("sha", &d.sha)]
            .into_iter()
            .all(|(name, value)| params.get(name).is_none_or(|wanted| wanted == value))
    };
    let found = repo.deployments.values().rev().filter(fits);
    page(&hub, &uri, &params, found.map(|d| payload::deployment(repo, d)).collect())
}

async fn add_deployment(
    State(hub): Hub,
    Extension(Caller(creator)): Extension<Caller>,
    Path((owner, repo)): Path<(String, String)>,
    Json(body): Json<Value>,
) -> Response {
    let text = |name: &str, or: &str| body[name].as_str().unwrap_or(or).to_owned();
    let mut state = hub.state();
    let id = state.next_id();
    let Some(repo) = state.repository_mut(&format!("{owner}/{repo}")) else { return not_found() };
    let sha = text("ref", "");
    if !repo.commits.contains(&sha) {
        return refusal(422, &format!("No ref found for: {sha}"));
    }
    // Without these two, GitHub merges the base branch first or waits for checks to pass.
    if body["auto_merge"] != json!(false) || body["required_contexts"] != json!([]) {
        return refusal(409, "Conflict: Commit status checks failed for the ref");
    }
    let deployment = Deployment {
        id,
        sha,
        environment: text("environment", "production"),
        task: text("task", "deploy"),
        description: text("description", ""),
        transient: body["transient_environment"].as_bool().unwrap_or(false),
        statuses: Vec::new(),
        payload: body["payload"].clone(),
        creator,
        created_at: now(),
    };
    repo.deployments.insert(id, deployment.clone());
    (StatusCode::CREATED, Json(payload::deployment(repo, &deployment))).into_response()
}

async fn statuses(
    State(hub): Hub,
    uri: OriginalUri,
    Path((owner, repo, id)): Path<(String, String, u64)>,
    params: Params,
) -> Response {
    let state = hub.state();
    let repo = state.repository(&format!("{owner}/{repo}"));
    let Some(deployment) = repo.and_then(|repo| repo.deployments.get(&id)) else {
        return not_found();
    };
    let items = deployment.statuses.iter().rev().map(|s| payload::status(deployment, s)).collect();
    page(&hub, &uri, &params, items)
}

async fn add_status(
    State(hub): Hub,
    Path((owner, repo, deployment)): Path<(String, String, u64)>,
    Json(body): Json<Value>,
) -> Response {
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let (description, environment_url) = (text("description"), text("environment_url"));
    let known = ["error", "failure", "inactive", "in_progress", "queued", "pending", "success"];
    let known = known.contains(&text("state").as_str());
    if !known || description.chars().count() > MAX_DESCRIPTION_CHARS {
        return refusal(422, "Validation Failed");
    }
    let mut state = hub.state();
    let (id, ended_id) = (state.next_id(), state.next_id());
    let Some(repo) = state.repository_mut(&format!("{owner}/{repo}")) else { return not_found() };
    let status =
        Status { id, state: text("state"), description, environment_url, created_at: now() };
    let Some(target) = repo.deployments.get_mut(&deployment) else { return not_found() };
    target.statuses.push(status.clone());
    let target = target.clone();
    // As documented: only prior, successful deployments to environments that are not transient.
    if status.state == "success" && body["auto_inactive"] != json!(false) {
        let prior = repo.deployments.values_mut().filter(|other| {
            other.id < target.id
                && other.environment == target.environment
                && !other.transient
                && other.state() == "success"
        });
        for other in prior {
            let state = "inactive".to_owned();
            other.statuses.push(Status { id: ended_id, state, ..status.clone() });
        }
    }
    (StatusCode::CREATED, Json(payload::status(&target, &status))).into_response()
}
