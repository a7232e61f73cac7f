//! How every wish of a person is carried out: one change of what is remembered, under the row's lock.
//!
//! Refuses wishes that make no sense where the pull request stands, and says what to do instead.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};

use super::dto::PreviewDto;
use super::error::Problem;
use super::previews::find;
use super::{AppState, uncached};
use crate::ledger::Preview;
use crate::preview::{Desired, Memory, Policy, PullState};

pub(super) async fn simple(
    site: &AppState,
    actor: &str,
    id: &str,
    action: &str,
    change: impl FnOnce(&mut Memory, &Policy, DateTime<Utc>) -> Result<String, Problem> + Send,
) -> Result<Response, Problem> {
    let (amended, ()) = amend(site, actor, id, action, |memory, policy, now| {
        change(memory, policy, now).map(|reason| ((), reason))
    })
    .await?;
    // As it is now: what was Ready may be so no longer.
    let preview = site.reconciler.ledger.preview(amended.id).await?.unwrap_or(amended);
    let dto = PreviewDto::of(&preview, &site.reconciler);
    Ok((StatusCode::ACCEPTED, uncached(axum::Json(dto))).into_response())
}

/// Changes a preview's memory under its row's lock, and wakes the loop.
pub(super) async fn amend<T: Send>(
    site: &AppState,
    actor: &str,
    id: &str,
    action: &str,
    change: impl FnOnce(&mut Memory, &Policy, DateTime<Utc>) -> Result<(T, String), Problem> + Send,
) -> Result<(Preview, T), Problem> {
    let reconciler = &site.reconciler;
    let found = find(site, id).await?;
    let repository = reconciler.repository_of(&found).ok_or_else(|| {
        let repository = found.repository.full_name();
        Problem::conflict(format!("repository {repository} is not in the configuration any more"))
    })?;
    let now = reconciler.clock.now();
    let policy = &repository.policy;
    let changed = reconciler
        .ledger
        .amend(found.id, actor, action, now, |preview| {
            preview.memory.renew(policy);
            let (value, reason) = change(&mut preview.memory, policy, now)?;
            if let Desired::Up(spec) = preview.memory.desired(policy, now) {
                preview.expires_at = Some(spec.expires_at);
            }
            Ok::<_, Problem>(((preview.clone(), value), reason))
        })
        .await?;
    reconciler.wake.notify_one();
    changed.ok_or_else(|| Problem::not_found("there is no such preview"))?
}

pub(super) fn must_be_open(memory: &Memory) -> Result<(), Problem> {
    match memory.facts.state {
        PullState::Open => Ok(()),
        PullState::Closed | PullState::Merged => Err(Problem::conflict(
            "its pull request is closed; reopen it to bring the preview back",
        )),
    }
}

pub(super) fn must_be_up(
    memory: &Memory,
    policy: &Policy,
    now: DateTime<Utc>,
) -> Result<(), Problem> {
    must_be_open(memory)?;
    match memory.desired(policy, now) {
        Desired::Up(_) => Ok(()),
        Desired::Down(reason) => Err(Problem::conflict(format!(
            "it is not up ({}); start it, or push to the pull request",
            reason.as_str()
        ))),
    }
}
