//! Going back to a commit that was served before, while the head stays what it is.
//!
//! Refuses a commit that the URL was never seen to serve: a rollback is to what worked.

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use super::AppState;
use super::amend::{must_be_up, simple};
use super::auth::Caller;
use super::error::{Path, Problem, Query};
use super::previews::find;
use crate::preview::CommitSha;

/// Where to go back to.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct RollbackQuery {
    /// A full commit id that was served before, or the head to end a rollback; the last one that was
    /// served if not given.
    to: Option<String>,
}

/// Serves an older commit again, with the image that was pinned for it, until the next push.
#[utoipa::path(post, path = "/api/v1/previews/{id}/rollback", tag = "previews",
    params(("id" = String, Path, description = "The id, or the name: pr-7"), RollbackQuery),
    security(("token" = [])),
    responses((status = 202, body = super::dto::PreviewDto), (status = "4XX", body = Problem,
        content_type = "application/problem+json"), (status = "5XX", body = Problem,
        content_type = "application/problem+json")))]
pub(super) async fn rollback(
    State(site): State<AppState>,
    Caller(caller): Caller,
    Path(id): Path<String>,
    Query(query): Query<RollbackQuery>,
) -> Result<Response, Problem> {
    let preview = find(&site, &id).await?;
    let ledger = &site.reconciler.ledger;
    let (head, now) = (preview.memory.facts.head.clone(), preview.memory.commit().clone());
    let to = match query.to.as_deref().map(CommitSha::parse) {
        Some(None) => {
            let why = "to: must be a full commit id, 40 or 64 hexadecimal digits";
            return Err(Problem::unprocessable(why));
        }
        Some(Some(sha)) if sha == head || ledger.was_served(preview.id, &sha).await? => sha,
        Some(Some(sha)) => {
            let why = format!("{sha} was never served here; its journal says which commits were");
            return Err(Problem::conflict(why));
        }
        None => ledger.last_served(preview.id, &now).await?.ok_or_else(|| {
            Problem::conflict("no other commit was ever served here; push one, or redeploy")
        })?,
    };
    simple(&site, &caller.name, &id, "rollback", move |memory, policy, at| {
        must_be_up(memory, policy, at)?;
        if memory.facts.head != head {
            let head = &memory.facts.head;
            return Err(Problem::conflict(format!(
                "{head} was pushed meanwhile; look at it first"
            )));
        }
        let reason = to.to_string();
        memory.roll_back(to);
        Ok(reason)
    })
    .await
}
