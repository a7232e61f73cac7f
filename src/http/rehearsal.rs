//! The report of what migrations did, as the API says it.
//!
//! Refuses to shorten: what the comment leaves out is here.

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::{Path, Problem};
use super::previews::find;
use super::{AppState, uncached};
use crate::preview::rehearsal::{
    Change, Lock, Report, Rewrites, SchemaChange, SchemaDiff, Since, Statement, Took,
};
use crate::preview::{Ended, Rehearsal};

/// What the migrations of one revision did to the preview's database.
#[derive(Serialize, ToSchema)]
pub struct RehearsalDto {
    /// The preview.
    name: String,
    /// Whose migrations.
    commit: String,
    /// How often the commit's start was asked for again.
    restart: u32,
    /// `done` or `failed`.
    ended: &'static str,
    /// Why they failed; `null` where they did not.
    why: Option<String>,
    /// The last lines that they wrote, where they failed.
    log: Option<String>,
    /// When it was found that they had ended.
    ended_at: DateTime<Utc>,
    /// Whether something is missing that could have been seen.
    partial: bool,
    /// How many times was looked while they ran.
    samples: u32,
    /// How far apart at best: what was shorter may have been missed.
    period_milliseconds: f64,
    /// Why nobody looked for some or all of the time.
    gap: Option<String>,
    /// What they sent, in the order in which it was first seen.
    statements: Vec<StatementDto>,
    /// How many statements are not listed, since there were too many.
    statements_left_out: u32,
    /// What was rewritten.
    rewrites: RewritesDto,
    /// What the schema has otherwise than the seed's.
    schema: SchemaDto,
}

/// One message to the server.
#[derive(Serialize, ToSchema)]
pub struct StatementDto {
    /// Its text, without the contents of its literals.
    text: String,
    /// How often it was seen in a row.
    times: u32,
    /// How long it took, all times together.
    milliseconds: f64,
    /// Whether that is exact; otherwise it took at least so long.
    exact: bool,
    /// How long it was seen to wait for a lock.
    waited_milliseconds: f64,
    /// The strongest lock on each relation, strongest first.
    locks: Vec<LockDto>,
    /// The strongest lock that it was seen to wait for; empty where it waited for none.
    waits_for: Vec<LockDto>,
}

/// A lock.
#[derive(Serialize, ToSchema)]
pub struct LockDto {
    /// The table or index, with its schema.
    relation: String,
    /// As `pg_locks` names it: `AccessExclusiveLock`.
    mode: &'static str,
    /// Whether nobody else can write while it is held.
    stops_writes: bool,
    /// Whether nobody else can even read.
    stops_reads: bool,
}

/// What has new files on disk.
#[derive(Default, Serialize, ToSchema)]
pub struct RewritesDto {
    /// Why that is not known; `null` where it is.
    unknown: Option<String>,
    /// Since when: the `start` of these migrations, or the `clone` of the seed; `null` where unknown.
    since: Option<&'static str>,
    /// Tables that were rewritten, truncated or clustered.
    tables: Vec<String>,
    /// Indexes that were built again.
    indexes: Vec<String>,
}

/// What the schema has otherwise than the seed's.
#[derive(Default, Serialize, ToSchema)]
pub struct SchemaDto {
    /// Why that is not known; `null` where it is.
    unknown: Option<String>,
    /// The changes, ordered by kind and name.
    changes: Vec<SchemaChangeDto>,
    /// How many more there are.
    left_out: usize,
}

/// One difference.
#[derive(Serialize, ToSchema)]
pub struct SchemaChangeDto {
    /// `table`, `column`, `index` …
    kind: &'static str,
    /// Its name, with its schema, and its table's where it has one.
    name: String,
    /// The seed's definition; `null` where it is new.
    from: Option<String>,
    /// The preview's; `null` where it is gone.
    to: Option<String>,
}

/// What the newest migrations did: statements, locks, rewrites, the schema's changes.
#[utoipa::path(get, path = "/api/v1/previews/{id}/rehearsal", tag = "previews",
    params(("id" = String, Path, description = "The id, or the name: pr-7")),
    security(("token" = [])),
    responses((status = 200, body = RehearsalDto), (status = "4XX", body = Problem,
        content_type = "application/problem+json"), (status = "5XX", body = Problem,
        content_type = "application/problem+json")))]
pub(super) async fn rehearsal(
    State(site): State<AppState>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let preview = find(&site, &id).await?;
    let newest = site.reconciler.ledger.newest_rehearsal(preview.id).await?;
    let (ended_at, rehearsal) = newest.ok_or_else(|| {
        Problem::not_found(
            "there is no report: its repository has no workload.migrations, or they have not \
             ended yet; the condition Migrations says which",
        )
    })?;
    let dto = RehearsalDto::of(preview.name.namespace(), ended_at, &rehearsal);
    Ok(uncached(axum::Json(dto)))
}

impl RehearsalDto {
    fn of(name: String, ended_at: DateTime<Utc>, rehearsal: &Rehearsal) -> Self {
        let Report { revision, watch, statements, rewrites, schema } = &rehearsal.report;
        let (ended, why, log) = match &rehearsal.ended {
            Ended::Done => ("done", None, None),
            Ended::Failed { why, log } => ("failed", Some(why.clone()), Some(log.clone())),
        };
        Self {
            name,
            commit: revision.commit.to_string(),
            restart: revision.restart,
            ended,
            why,
            log,
            ended_at,
            partial: rehearsal.report.is_partial(),
            samples: watch.samples,
            period_milliseconds: milliseconds(watch.period),
            gap: watch.gap.clone(),
            statements: statements.iter().map(StatementDto::of).collect(),
            statements_left_out: watch.left_out,
            rewrites: RewritesDto::of(rewrites),
            schema: SchemaDto::of(schema),
        }
    }
}

impl StatementDto {
    fn of(statement: &Statement) -> Self {
        Self {
            text: statement.text.clone(),
            times: statement.times,
            milliseconds: milliseconds(statement.took.duration()),
            exact: matches!(statement.took, Took::Exactly(_)),
            waited_milliseconds: milliseconds(statement.waited),
            locks: statement.locks.iter().map(LockDto::of).collect(),
            waits_for: statement.waits_for.iter().map(LockDto::of).collect(),
        }
    }
}

impl LockDto {
    fn of(lock: &Lock) -> Self {
        Self {
            relation: lock.relation.clone(),
            mode: lock.mode.as_str(),
            stops_writes: lock.mode.stops_writes(),
            stops_reads: lock.mode.stops_reads(),
        }
    }
}

impl RewritesDto {
    fn of(rewrites: &Result<Rewrites, String>) -> Self {
        let known = match rewrites {
            Ok(known) => known,
            Err(why) => return Self { unknown: Some(why.clone()), ..Self::default() },
        };
        let since = match known.since {
            Since::Start => "start",
            Since::Clone => "clone",
        };
        Self {
            unknown: None,
            since: Some(since),
            tables: known.tables.clone(),
            indexes: known.indexes.clone(),
        }
    }
}

impl SchemaDto {
    fn of(diff: &Result<SchemaDiff, String>) -> Self {
        match diff {
            Ok(diff) => {
                let changes = diff.changes.iter().map(SchemaChangeDto::of).collect();
                Self { unknown: None, changes, left_out: diff.left_out }
            }
            Err(why) => Self { unknown: Some(why.clone()), ..Self::default() },
        }
    }
}

impl SchemaChangeDto {
    fn of(change: &SchemaChange) -> Self {
        let (from, to) = match change.change.clone() {
            Change::Added(to) => (None, Some(to)),
            Change::Removed(from) => (Some(from), None),
            Change::Altered { from, to } => (Some(from), Some(to)),
        };
        Self { kind: change.kind.as_str(), name: change.name.clone(), from, to }
    }
}

fn milliseconds(duration: std::time::Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
