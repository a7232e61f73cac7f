//! What people may ask for. Each is one change of what is remembered; the loop does the rest.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::TimeDelta;

use super::amend::{amend, must_be_open, must_be_up, simple};
use super::auth::Caller;
use super::dto::{ApproveBody, BrakeDto, ExtendBody, ExtendedDto, PreviewDto};
use super::error::{Json, Path, Problem};
use super::{AppState, uncached};
use crate::config::duration;
use crate::preview::CommitSha;

/// How long a release of the brake lasts.
const BRAKE_RELEASE: TimeDelta = TimeDelta::minutes(10);

/// Puts the expiry off; cut short at the maximum life, and says so.
#[utoipa::path(post, path = "/api/v1/previews/{id}/extend", tag = "previews",
    params(("id" = String, Path, description = "The id, or the name: pr-7")),
    request_body = ExtendBody, security(("token" = [])),
    responses((status = 200, body = ExtendedDto), (status = "4XX", body = Problem,
        content_type = "application/problem+json"), (status = "5XX", body = Problem,
        content_type = "application/problem+json")))]
pub(super) async fn extend(
    State(site): State<AppState>,
    Caller(caller): Caller,
    Path(id): Path<String>,
    Json(body): Json<ExtendBody>,
) -> Result<Response, Problem> {
    let text = body.by.trim();
    let by = duration::parse(text).map_err(|why| Problem::unprocessable(format!("by: {why}")))?;
    if by.is_zero() {
        return Err(Problem::unprocessable("by: must be longer than nothing"));
    }
    let (preview, (expires_at, clamped)) =
        amend(&site, &caller.name, &id, "extend", |memory, policy, now| {
            must_be_up(memory, policy, now)?;
            let given = memory.extend(policy, by, now);
            Ok((given, format!("by {text} until {}", given.0)))
        })
        .await?;
    let until = expires_at.format("%Y-%m-%d %H:%M:%S UTC");
    let message = if clamped {
        format!(
            "extended to {until}, which is its maximum life; a push after that starts a new one"
        )
    } else {
        format!("extended to {until}")
    };
    let preview = PreviewDto::of(&preview, &site.reconciler);
    Ok(uncached(axum::Json(ExtendedDto { preview, expires_at, clamped, message })))
}

/// Exempts it from expiry by inactivity; the maximum life still holds.
#[utoipa::path(post, path = "/api/v1/previews/{id}/pin", tag = "previews",
    params(("id" = String, Path, description = "The id, or the name: pr-7")),
    security(("token" = [])),
    responses((status = 202, body = PreviewDto), (status = "4XX", body = Problem,
        content_type = "application/problem+json"), (status = "5XX", body = Problem,
        content_type = "application/problem+json")))]
pub(super) async fn pin(
    State(site): State<AppState>,
    Caller(caller): Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    simple(&site, &caller.name, &id, "pin", |memory, policy, now| {
        must_be_up(memory, policy, now)?;
        memory.overrides.pinned = true;
        Ok(String::new())
    })
    .await
}

/// Lets it expire by inactivity again.
#[utoipa::path(post, path = "/api/v1/previews/{id}/unpin", tag = "previews",
    params(("id" = String, Path, description = "The id, or the name: pr-7")),
    security(("token" = [])),
    responses((status = 202, body = PreviewDto), (status = "4XX", body = Problem,
        content_type = "application/problem+json"), (status = "5XX", body = Problem,
        content_type = "application/problem+json")))]
pub(super) async fn unpin(
    State(site): State<AppState>,
    Caller(caller): Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    simple(&site, &caller.name, &id, "unpin", |memory, _, _| {
        memory.overrides.pinned = false;
        Ok(String::new())
    })
    .await
}

/// Takes it down until it is started again; pushes do not start it.
#[utoipa::path(post, path = "/api/v1/previews/{id}/stop", tag = "previews",
    params(("id" = String, Path, description = "The id, or the name: pr-7")),
    security(("token" = [])),
    responses((status = 202, body = PreviewDto), (status = "4XX", body = Problem,
        content_type = "application/problem+json"), (status = "5XX", body = Problem,
        content_type = "application/problem+json")))]
pub(super) async fn stop(
    State(site): State<AppState>,
    Caller(caller): Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    simple(&site, &caller.name, &id, "stop", |memory, _, _| {
        must_be_open(memory)?;
        memory.overrides.stopped = true;
        Ok(String::new())
    })
    .await
}

/// Starts it again after a stop, a deletion or an expiry, with fresh data.
#[utoipa::path(post, path = "/api/v1/previews/{id}/start", tag = "previews",
    params(("id" = String, Path, description = "The id, or the name: pr-7")),
    security(("token" = [])),
    responses((status = 202, body = PreviewDto), (status = "4XX", body = Problem,
        content_type = "application/problem+json"), (status = "5XX", body = Problem,
        content_type = "application/problem+json")))]
pub(super) async fn start(
    State(site): State<AppState>,
    Caller(caller): Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    simple(&site, &caller.name, &id, "start", |memory, _, now| {
        must_be_open(memory)?;
        memory.start(now);
        Ok(String::new())
    })
    .await
}

/// Starts the workload afresh, at the same commit and with the same data.
#[utoipa::path(post, path = "/api/v1/previews/{id}/redeploy", tag = "previews",
    params(("id" = String, Path, description = "The id, or the name: pr-7")),
    security(("token" = [])),
    responses((status = 202, body = PreviewDto), (status = "4XX", body = Problem,
        content_type = "application/problem+json"), (status = "5XX", body = Problem,
        content_type = "application/problem+json")))]
pub(super) async fn redeploy(
    State(site): State<AppState>,
    Caller(caller): Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    simple(&site, &caller.name, &id, "redeploy", |memory, policy, now| {
        must_be_up(memory, policy, now)?;
        memory.overrides.redeploys = memory.overrides.redeploys.wrapping_add(1);
        Ok(String::new())
    })
    .await
}

/// Throws the preview's data away and seeds it afresh.
#[utoipa::path(post, path = "/api/v1/previews/{id}/reset-data", tag = "previews",
    params(("id" = String, Path, description = "The id, or the name: pr-7")),
    security(("token" = [])),
    responses((status = 202, body = PreviewDto), (status = "4XX", body = Problem,
        content_type = "application/problem+json"), (status = "5XX", body = Problem,
        content_type = "application/problem+json")))]
pub(super) async fn reset_data(
    State(site): State<AppState>,
    Caller(caller): Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    simple(&site, &caller.name, &id, "reset-data", |memory, policy, now| {
        must_be_up(memory, policy, now)?;
        memory.renew_data();
        Ok(String::new())
    })
    .await
}

/// Gives the preview's database another password. The former one works until the URL serves what was
/// started with the new one, and nothing runs any more that was started before.
#[utoipa::path(post, path = "/api/v1/previews/{id}/rotate-password", tag = "previews",
    params(("id" = String, Path, description = "The id, or the name: pr-7")),
    security(("token" = [])),
    responses((status = 202, body = PreviewDto), (status = "4XX", body = Problem,
        content_type = "application/problem+json"), (status = "5XX", body = Problem,
        content_type = "application/problem+json")))]
pub(super) async fn rotate_password(
    State(site): State<AppState>,
    Caller(caller): Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    simple(&site, &caller.name, &id, "rotate-password", |memory, policy, now| {
        must_be_up(memory, policy, now)?;
        if memory.is_rotating() {
            let why = "is being rotated already; ask again when the preview is Ready and its journal \
                       has remove_login";
            return Err(Problem::conflict(format!("its password {why}")));
        }
        memory.overrides.rotations = memory.overrides.rotations.wrapping_add(1);
        Ok(String::new())
    })
    .await
}

/// Asks the registry for the head's image now: for a build that says so when it has pushed.
#[utoipa::path(post, path = "/api/v1/previews/{id}/image", tag = "previews",
    params(("id" = String, Path, description = "The id, or the name: pr-7")),
    security(("token" = [])),
    responses((status = 202, body = PreviewDto), (status = "4XX", body = Problem,
        content_type = "application/problem+json"), (status = "5XX", body = Problem,
        content_type = "application/problem+json")))]
pub(super) async fn image(
    State(site): State<AppState>,
    Caller(caller): Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    simple(&site, &caller.name, &id, "image", |memory, policy, now| {
        must_be_up(memory, policy, now)?;
        Ok(memory.facts.head.to_string())
    })
    .await
}

/// Approves one commit of a fork; a push after it needs another approval.
#[utoipa::path(post, path = "/api/v1/previews/{id}/approve", tag = "previews",
    params(("id" = String, Path, description = "The id, or the name: pr-7")),
    request_body = ApproveBody, security(("token" = [])),
    responses((status = 202, body = PreviewDto), (status = "4XX", body = Problem,
        content_type = "application/problem+json"), (status = "5XX", body = Problem,
        content_type = "application/problem+json")))]
pub(super) async fn approve(
    State(site): State<AppState>,
    Caller(caller): Caller,
    Path(id): Path<String>,
    Json(body): Json<ApproveBody>,
) -> Result<Response, Problem> {
    let sha = CommitSha::parse(&body.sha).ok_or_else(|| {
        Problem::unprocessable("sha: must be a full commit id, 40 or 64 hexadecimal digits")
    })?;
    simple(&site, &caller.name, &id, "approve", move |memory, _, now| {
        must_be_open(memory)?;
        if memory.facts.head != sha {
            let head = &memory.facts.head;
            return Err(Problem::conflict(format!("the head is {head}; look at that one first")));
        }
        let reason = sha.to_string();
        memory.approve(sha, now);
        Ok(reason)
    })
    .await
}

/// Deletes it; the next push to the pull request brings it back.
#[utoipa::path(delete, path = "/api/v1/previews/{id}", tag = "previews",
    params(("id" = String, Path, description = "The id, or the name: pr-7")),
    security(("token" = [])),
    responses((status = 202, body = PreviewDto), (status = "4XX", body = Problem,
        content_type = "application/problem+json"), (status = "5XX", body = Problem,
        content_type = "application/problem+json")))]
pub(super) async fn delete(
    State(site): State<AppState>,
    Caller(caller): Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    simple(&site, &caller.name, &id, "delete", |memory, _, _| {
        memory.overrides.deleted_at = Some(memory.facts.head.clone());
        Ok(memory.facts.head.to_string())
    })
    .await
}

/// Lets everything that the brake holds pass, for ten minutes.
#[utoipa::path(post, path = "/api/v1/brake/release", tag = "brake", security(("token" = [])),
    responses((status = 202, body = BrakeDto), (status = "4XX", body = Problem,
        content_type = "application/problem+json"), (status = "5XX", body = Problem,
        content_type = "application/problem+json")))]
pub(super) async fn release_brake(
    State(site): State<AppState>,
    Caller(caller): Caller,
) -> Result<Response, Problem> {
    let reconciler = &site.reconciler;
    let now = reconciler.clock.now();
    reconciler.ledger.release_brake(now + BRAKE_RELEASE).await?;
    reconciler.ledger.note(None, &caller.name, "release-brake", "", now).await?;
    reconciler.ledger.poke_all(TimeDelta::zero(), now).await?;
    reconciler.wake.notify_one();
    let brake = reconciler.ledger.brake().await?;
    let dto = BrakeDto { engaged_at: brake.engaged_at, released_until: brake.released_until };
    Ok((StatusCode::ACCEPTED, uncached(axum::Json(dto))).into_response())
}
