//! Reading the fleet.

use axum::extract::State;
use axum::response::Response;
use uuid::Uuid;

use super::dto::{
    BrakeDto, EntryDto, JournalDto, JournalQuery, ListQuery, PreviewDto, PreviewPage, ReceiptDto,
};
use super::error::{Path, Problem, Query};
use super::{AppState, uncached};
use crate::ledger::{Filter, JournalPage, Preview};
use crate::preview::{Phase, PreviewName};

/// Lists previews, in the order in which they were learned.
#[utoipa::path(get, path = "/api/v1/previews", tag = "previews", params(ListQuery),
    security(("token" = [])),
    responses((status = 200, body = PreviewPage), (status = "4XX", body = Problem,
        content_type = "application/problem+json"), (status = "5XX", body = Problem,
        content_type = "application/problem+json")))]
pub(super) async fn list(
    State(site): State<AppState>,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let limit = limit(query.limit, 50)?;
    let phase = query
        .phase
        .map(|word| {
            Phase::parse(&word).ok_or_else(|| {
                let all: Vec<_> = Phase::ALL.into_iter().map(Phase::as_str).collect();
                Problem::unprocessable(format!("phase {word:?} is none of {}", all.join(", ")))
            })
        })
        .transpose()?;
    let filter = Filter {
        repository: query.repository.map(plain).transpose()?,
        phase,
        author: query.author.map(plain).transpose()?,
        after: query.cursor,
        limit: limit + 1,
    };
    let mut previews = site.reconciler.ledger.previews(&filter).await?;
    let more = previews.len() as i64 > limit;
    previews.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next_cursor = previews.last().filter(|_| more).map(|preview| preview.id);
    let dto = |preview: &Preview| PreviewDto::of(preview, &site.reconciler);
    let previews = previews.iter().map(dto).collect();
    Ok(uncached(axum::Json(PreviewPage { previews, next_cursor })))
}

/// One preview: conditions, plan, last error, next look.
#[utoipa::path(get, path = "/api/v1/previews/{id}", tag = "previews",
    params(("id" = String, Path, description = "The id, or the name: pr-7")),
    security(("token" = [])),
    responses((status = 200, body = PreviewDto), (status = "4XX", body = Problem,
        content_type = "application/problem+json"), (status = "5XX", body = Problem,
        content_type = "application/problem+json")))]
pub(super) async fn get(
    State(site): State<AppState>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let preview = find(&site, &id).await?;
    Ok(uncached(axum::Json(PreviewDto::of(&preview, &site.reconciler))))
}

/// The teardown receipt: what every backend answered after the removal.
#[utoipa::path(get, path = "/api/v1/previews/{id}/receipt", tag = "previews",
    params(("id" = String, Path, description = "The id, or the name: pr-7")),
    security(("token" = [])),
    responses((status = 200, body = ReceiptDto), (status = "4XX", body = Problem,
        content_type = "application/problem+json"), (status = "5XX", body = Problem,
        content_type = "application/problem+json")))]
pub(super) async fn receipt(
    State(site): State<AppState>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let preview = find(&site, &id).await?;
    let receipt = preview.receipt.as_ref().ok_or_else(|| {
        let phase = preview.phase.as_str();
        Problem::not_found(format!("there is no receipt: the preview is {phase}"))
    })?;
    Ok(uncached(axum::Json(ReceiptDto::of(&preview, receipt))))
}

/// Everything that happened to a preview, oldest first.
#[utoipa::path(get, path = "/api/v1/previews/{id}/journal", tag = "previews",
    params(("id" = String, Path, description = "The id, or the name: pr-7"), JournalQuery),
    security(("token" = [])),
    responses((status = 200, body = JournalDto), (status = "4XX", body = Problem,
        content_type = "application/problem+json"), (status = "5XX", body = Problem,
        content_type = "application/problem+json")))]
pub(super) async fn journal(
    State(site): State<AppState>,
    Path(id): Path<String>,
    Query(query): Query<JournalQuery>,
) -> Result<Response, Problem> {
    let limit = limit(query.limit, 100)?;
    let preview_id = find(&site, &id).await?.id;
    let page = JournalPage { preview_id, after: query.cursor.unwrap_or(0), limit: limit + 1 };
    let mut entries = site.reconciler.ledger.journal(page).await?;
    let more = entries.len() as i64 > limit;
    entries.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next_cursor = entries.last().filter(|_| more).map(|entry| entry.id);
    let entries = entries.into_iter().map(EntryDto::from).collect();
    Ok(uncached(axum::Json(JournalDto { entries, next_cursor })))
}

/// How the mass-teardown brake stands.
#[utoipa::path(get, path = "/api/v1/brake", tag = "brake", security(("token" = [])),
    responses((status = 200, body = BrakeDto), (status = "4XX", body = Problem,
        content_type = "application/problem+json"), (status = "5XX", body = Problem,
        content_type = "application/problem+json")))]
pub(super) async fn brake(State(site): State<AppState>) -> Result<Response, Problem> {
    let brake = site.reconciler.ledger.brake().await?;
    let dto = BrakeDto { engaged_at: brake.engaged_at, released_until: brake.released_until };
    Ok(uncached(axum::Json(dto)))
}

/// Finds a preview by its id or its name.
pub(super) async fn find(site: &AppState, id: &str) -> Result<Preview, Problem> {
    let ledger = &site.reconciler.ledger;
    let found = match (Uuid::parse_str(id), PreviewName::parse(id)) {
        (Ok(id), _) => ledger.preview(id).await?,
        (_, Some(name)) => ledger.preview_named(&name).await?,
        _ => None,
    };
    found.ok_or_else(|| {
        Problem::not_found("there is no such preview; ids and names such as pr-7 work")
    })
}

fn limit(given: Option<i64>, default: i64) -> Result<i64, Problem> {
    let limit = given.unwrap_or(default);
    if !(1..=200).contains(&limit) {
        return Err(Problem::unprocessable("limit must be 1 to 200"));
    }
    Ok(limit)
}

/// PostgreSQL's text cannot hold NUL.
fn plain(text: String) -> Result<String, Problem> {
    if text.contains('\0') { Err(Problem::unprocessable("NUL is in no name")) } else { Ok(text) }
}
