//! What is remembered of each revision's migrations: that they were begun, how they ended, what they did.
//!
//! Refuses to take an earlier life's migrations for this one's: that life's database is gone.

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use uuid::Uuid;

use super::leases::{Lease, LeaseLost};
use super::previews::Preview;
use super::reports::{EndedShape, ReportShape};
use super::{Ledger, LedgerError};
use crate::preview::rehearsal::Report;
use crate::preview::{Ended, Rehearsal, Revision};

/// How many reports of a preview are kept, the newest ones.
const REPORTS_KEPT: i64 = 20;

impl Ledger {
    /// Writes down, before it is so, that a revision's migrations run on the data of this generation.
    pub async fn begin_rehearsal(
        &self,
        lease: &Lease,
        revision: &Revision,
        generation: u32,
        now: DateTime<Utc>,
    ) -> Result<Result<(), LeaseLost>, LedgerError> {
        let begun: Option<DateTime<Utc>> = sqlx::query_scalar(
            "INSERT INTO rehearsals AS old (preview_id, revision, generation, begun_at)
                 SELECT id, $4, $5, $6 FROM previews
                 WHERE id = $1 AND lease_owner = $2 AND epoch = $3
             ON CONFLICT (preview_id, revision) DO UPDATE SET
                 generation = EXCLUDED.generation,
                 begun_at = CASE WHEN old.begun_at < $7 THEN $6 ELSE old.begun_at END,
                 ended_at = CASE WHEN old.begun_at < $7 THEN NULL ELSE old.ended_at END,
                 ended = CASE WHEN old.begun_at < $7 THEN NULL ELSE old.ended END,
                 report = CASE WHEN old.begun_at < $7 THEN NULL ELSE old.report END
             RETURNING begun_at",
        )
        .bind(lease.preview.id)
        .bind(lease.owner)
        .bind(lease.epoch)
        .bind(revision.to_string())
        .bind(i64::from(generation))
        .bind(now)
        .bind(lease.preview.memory.life.born_at)
        .fetch_optional(&self.pool)
        .await?;
        if begun.is_none() {
            return Ok(Err(LeaseLost));
        }
        // Reports are large; how each ended is kept for as long as the preview is.
        sqlx::query(
            "UPDATE rehearsals SET report = NULL
             WHERE preview_id = $1 AND report IS NOT NULL AND revision NOT IN (
                 SELECT revision FROM rehearsals
                 WHERE preview_id = $1 AND report IS NOT NULL ORDER BY begun_at DESC LIMIT $2)",
        )
        .bind(lease.preview.id)
        .bind(REPORTS_KEPT)
        .execute(&self.pool)
        .await?;
        Ok(Ok(()))
    }

    /// Keeps how they ended and what they did, for good: the first answer stays.
    pub async fn keep_rehearsal(
        &self,
        lease: &Lease,
        generation: u32,
        (ended, report): (&Ended, &Report),
        now: DateTime<Utc>,
    ) -> Result<Result<(), LeaseLost>, LedgerError> {
        let kept: Option<DateTime<Utc>> = sqlx::query_scalar(
            "INSERT INTO rehearsals AS old
                 (preview_id, revision, generation, begun_at, ended_at, ended, report)
                 SELECT id, $4, $5, $6, $6, $7, $8 FROM previews
                 WHERE id = $1 AND lease_owner = $2 AND epoch = $3
             ON CONFLICT (preview_id, revision) DO UPDATE SET
                 generation = EXCLUDED.generation,
                 begun_at = CASE WHEN old.begun_at < $9 THEN $6 ELSE old.begun_at END,
                 ended_at = CASE WHEN old.begun_at < $9 THEN $6
                                 ELSE COALESCE(old.ended_at, $6) END,
                 ended = CASE WHEN old.begun_at < $9 THEN EXCLUDED.ended
                              ELSE COALESCE(old.ended, EXCLUDED.ended) END,
                 report = CASE WHEN old.begun_at < $9 THEN EXCLUDED.report
                               ELSE COALESCE(old.report, EXCLUDED.report) END
             RETURNING ended_at",
        )
        .bind(lease.preview.id)
        .bind(lease.owner)
        .bind(lease.epoch)
        .bind(report.revision.to_string())
        .bind(i64::from(generation))
        .bind(now)
        .bind(Json(EndedShape::of(ended)))
        .bind(Json(ReportShape::of(report)))
        .bind(lease.preview.memory.life.born_at)
        .fetch_optional(&self.pool)
        .await?;
        Ok(kept.map(drop).ok_or(LeaseLost))
    }

    /// How a revision's migrations ended, in this life of the preview, and whether any began on the data
    /// of this generation.
    pub async fn migrated(
        &self,
        preview: &Preview,
        revision: &Revision,
        generation: u32,
    ) -> Result<(Option<Ended>, bool), LedgerError> {
        let row = sqlx::query(
            "SELECT (array_agg(ended) FILTER (WHERE revision = $2 AND ended IS NOT NULL))[1] AS ended,
                    COALESCE(bool_or(generation = $3), false) AS begun
             FROM rehearsals WHERE preview_id = $1 AND begun_at >= $4",
        )
        .bind(preview.id)
        .bind(revision.to_string())
        .bind(i64::from(generation))
        .bind(preview.memory.life.born_at)
        .fetch_one(&self.pool)
        .await?;
        let ended: Option<Json<EndedShape>> = column(&row, "ended")?;
        Ok((ended.map(|Json(ended)| ended.ended()), row.try_get("begun")?))
    }

    /// How a revision's migrations ended, in this life of the preview, and what they did; `None` too
    /// where its report is kept no more.
    pub async fn rehearsal_of(
        &self,
        preview: &Preview,
        revision: &Revision,
    ) -> Result<Option<Rehearsal>, LedgerError> {
        let row = sqlx::query(
            "SELECT ended, report FROM rehearsals
             WHERE preview_id = $1 AND revision = $2 AND begun_at >= $3
               AND ended IS NOT NULL AND report IS NOT NULL",
        )
        .bind(preview.id)
        .bind(revision.to_string())
        .bind(preview.memory.life.born_at)
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| read(&row)).transpose()
    }

    /// The newest report of a preview, of whichever of its lives, and when its migrations were found to
    /// have ended.
    pub async fn newest_rehearsal(
        &self,
        id: Uuid,
    ) -> Result<Option<(DateTime<Utc>, Rehearsal)>, LedgerError> {
        let row = sqlx::query(
            "SELECT ended, report, ended_at FROM rehearsals
             WHERE preview_id = $1 AND ended IS NOT NULL AND report IS NOT NULL
             ORDER BY begun_at DESC LIMIT 1",
        )
        .bind(id)
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| Ok((row.try_get("ended_at")?, read(&row)?))).transpose()
    }

    /// The revision whose migrations were the last to begin on the data that the preview has, other than
    /// this one; `None` where a fresh clone has had none.
    pub async fn migrated_before(
        &self,
        preview: &Preview,
        revision: &Revision,
        generation: u32,
    ) -> Result<Option<Revision>, LedgerError> {
        let last: Option<String> = sqlx::query_scalar(
            "SELECT revision FROM rehearsals
             WHERE preview_id = $1 AND generation = $2 AND begun_at >= $3 AND revision <> $4
             ORDER BY begun_at DESC LIMIT 1",
        )
        .bind(preview.id)
        .bind(i64::from(generation))
        .bind(preview.memory.life.born_at)
        .bind(revision.to_string())
        .fetch_optional(&self.pool)
        .await?;
        Ok(last.and_then(|text| Revision::parse(&text)))
    }
}

fn read(row: &PgRow) -> Result<Rehearsal, LedgerError> {
    let Json(ended): Json<EndedShape> = column(row, "ended")?;
    let Json(report): Json<ReportShape> = column(row, "report")?;
    Ok(Rehearsal { ended: ended.ended(), report: report.report()? })
}

/// What cannot be read is a [`LedgerError::Shape`], and not a ledger that does not answer.
fn column<'r, T>(row: &'r PgRow, name: &str) -> Result<T, LedgerError>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    row.try_get(name).map_err(|error| LedgerError::Shape {
        what: format!("rehearsals.{name}"),
        why: error.to_string(),
    })
}
