//! The routes of deployments and their environments, as GitHub documents them.
//!
//! Refuses what GitHub would refuse: unknown commits, over-long texts, removing what is active.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{OriginalUri, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::answers::{not_found, page, refusal};
use super::gate::Caller;
use super::state::{Deployment, Status, now};
use super::{Shared, payload};

const MAX_DESCRIPTION_CHARS: usize = 140;

type Hub = State<Arc<Shared>>;
type Params = Query<HashMap<String, String>>;

pub(super) async fn list(
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

pub(super) async fn add(
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
    repo.environments.insert(deployment.environment.clone());
    repo.deployments.insert(id, deployment.clone());
    (StatusCode::CREATED, Json(payload::deployment(repo, &deployment))).into_response()
}

pub(super) async fn statuses(
    State(hub): Hub,
    uri: OriginalUri,
    Path((owner, repo, id)): Path<(String, String, u64)>,
    params: Params,
) -> Response {
    let state = hub.state();
    let Some(repo) = state.repository(&format!("{owner}/{repo}")) else { return not_found() };
    let Some(deployment) = repo.deployments.get(&id) else { return not_found() };
    let statuses = deployment.statuses.iter().rev();
    let items = statuses.map(|status| payload::status(repo, deployment, status)).collect();
    page(&hub, &uri, &params, items)
}

pub(super) async fn add_status(
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
    (StatusCode::CREATED, Json(payload::status(repo, &target, &status))).into_response()
}

/// Only what is inactive may go, unless it is the only one.
pub(super) async fn remove(
    State(hub): Hub,
    Path((owner, repo, id)): Path<(String, String, u64)>,
) -> Response {
    let mut state = hub.state();
    let Some(repo) = state.repository_mut(&format!("{owner}/{repo}")) else { return not_found() };
    let Some(deployment) = repo.deployments.get(&id) else { return not_found() };
    if deployment.state() != "inactive" && repo.deployments.len() > 1 {
        return refusal(
            422,
            "We cannot delete an active deployment unless it is the only deployment",
        );
    }
    repo.deployments.remove(&id);
    StatusCode::NO_CONTENT.into_response()
}

pub(super) async fn remove_environment(
    State(hub): Hub,
    Path((owner, repo, name)): Path<(String, String, String)>,
) -> Response {
    let mut state = hub.state();
    let repo = state.repository_mut(&format!("{owner}/{repo}"));
    match repo.is_some_and(|repo| repo.environments.remove(&name)) {
        true => StatusCode::NO_CONTENT.into_response(),
        false => not_found(),
    }
}
