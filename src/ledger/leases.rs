//! Leasing due rows to passes, and recording what a pass found.
//!
//! Refuses to record anything for a pass that lost its lease: zero rows means that another replica
//! has looked since, and everything this pass found is discarded.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::types::Json;
use sqlx::{Connection, PgConnection, PgExecutor};
use uuid::Uuid;

use super::previews::Preview;
use super::remember::{HINT_PAUSE_DOUBLED, PAUSE_MOST};
use super::rows::read;
use super::shapes::{ConditionShape, FactsShape, OverridesShape, ReceiptShape, storable};
use super::told::ToldShape;
use super::{Ledger, LedgerError, is_over};
use crate::preview::condition::Condition;
use crate::preview::phase::Phase;
use crate::preview::{Memory, Reason, Receipt, Told};

/// The epoch of a row's first lease.
pub(crate) const FIRST_EPOCH: i64 = 1;

/// The right to change one row, until it ends or is taken over.
#[derive(Clone, Debug)]
pub struct Lease {
    /// The preview as it was when it was leased.
    pub preview: Preview,
    /// Who holds it.
    pub owner: Uuid,
    /// Counts the leases of this row; an older epoch can write nothing.
    pub epoch: i64,
}

/// Whoever has room for passes leases what it learns.
#[derive(Clone, Copy, Debug)]
pub struct Term {
    /// For whom.
    pub owner: Uuid,
    /// What is due by now.
    pub now: DateTime<Utc>,
    /// Until when.
    pub until: DateTime<Utc>,
    /// At most so many.
    pub most: usize,
}

/// The lease ended before the pass did; its findings were discarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the lease was lost to another replica")]
pub struct LeaseLost;

/// What a pass found, to be recorded.
#[derive(Clone, Debug)]
pub struct Findings {
    /// Facts as confirmed, life as it began anew.
    pub memory: Memory,
    /// One word for people.
    pub phase: Phase,
    /// How each part stands.
    pub conditions: Vec<Condition>,
    /// What the plan said.
    pub outlook: String,
    /// The fault that ended the pass, if one did.
    pub error: Option<String>,
    /// What the pull request was told; `None` keeps what the ledger says, which is that it is not
    /// known where a pass was cut off while telling.
    pub told: Option<Told>,
    /// The steps that were tried, and how those ended that did not simply succeed.
    pub deeds: Vec<(&'static str, String)>,
    /// When it expires.
    pub expires_at: Option<DateTime<Utc>>,
    /// Why it is being removed; `None` when it is not.
    pub going: Option<Reason>,
    /// The proof that nothing is left, when it is so.
    pub receipt: Option<Receipt>,
    /// When to look again; `None` for "when poked".
    pub wake_at: Option<DateTime<Utc>>,
    /// Consecutive faults, this one included.
    pub failures: u32,
}

impl Ledger {
    /// Leases up to `limit` due rows to `owner` for `lease_for`, longest due first.
    pub async fn claim(
        &self,
        owner: Uuid,
        limit: i64,
        lease_for: TimeDelta,
        now: DateTime<Utc>,
    ) -> Result<Vec<Lease>, LedgerError> {
        let claim = || {
            let claim = sqlx::query(
                "UPDATE previews SET lease_owner = $1, lease_until = $2, epoch = epoch + 1
                 WHERE id IN (
                     SELECT id FROM previews
                     WHERE wake_at <= $3 AND (lease_until IS NULL OR lease_until <= $3)
                     ORDER BY wake_at LIMIT $4 FOR UPDATE SKIP LOCKED)
                 RETURNING *",
            );
            claim.bind(owner).bind(now + lease_for).bind(now).bind(limit).fetch_all(&self.due)
        };
        let rows = match claim().await {
            Err(error) if is_over(&error) => {
                tracing::warn!(%error, "a session ended while it leased; what it did lease rests as long as a lease");
                claim().await?
            }
            other => other?,
        };
        let mut leases = Vec::with_capacity(rows.len());
        for row in &rows {
            use sqlx::Row;
            let epoch = row.try_get("epoch")?;
            match read(row) {
                Ok(preview) => leases.push(Lease { preview, owner, epoch }),
                Err(error) => {
                    // One row that cannot be read must not stop the others; its lease keeps it
                    // from being claimed again at once.
                    let id: Uuid = row.try_get("id")?;
                    tracing::error!(%id, %error, "a preview's row cannot be read; left alone");
                }
            }
        }
        Ok(leases)
    }

    /// When the next row that nobody holds is due, if any waits.
    pub async fn next_due(&self) -> Result<Option<DateTime<Utc>>, LedgerError> {
        Ok(sqlx::query_scalar(
            "SELECT wake_at FROM previews
             WHERE wake_at IS NOT NULL AND lease_until IS NULL ORDER BY wake_at LIMIT 1",
        )
        .fetch_optional(&self.due)
        .await?)
    }

    /// Records what a pass found, ends its lease, and keeps a poke that came meanwhile; when the row is due
    /// next.
    pub async fn record(
        &self,
        lease: &Lease,
        findings: &Findings,
        now: DateTime<Utc>,
    ) -> Result<Result<Option<DateTime<Utc>>, LeaseLost>, LedgerError> {
        let pause = self.pause.get();
        Ok(record(&mut *self.pool.acquire().await?, lease, findings, pause, now).await?)
    }

    /// Writes, before the forge is told anything, that what it was told is not known any more.
    pub async fn unsure(&self, lease: &Lease) -> Result<Result<(), LeaseLost>, LedgerError> {
        let written = sqlx::query(
            "UPDATE previews SET told = '\"unsure\"'
             WHERE id = $1 AND lease_owner = $2 AND epoch = $3",
        )
        .bind(lease.preview.id)
        .bind(lease.owner)
        .bind(lease.epoch)
        .execute(&self.pool)
        .await?;
        Ok(if written.rows_affected() == 1 { Ok(()) } else { Err(LeaseLost) })
    }

    /// Ends every lease of this owner, for a shutdown that did not let its passes end.
    pub async fn release_all(&self, owner: Uuid) -> Result<u64, LedgerError> {
        let released = sqlx::query(
            "UPDATE previews SET lease_owner = NULL, lease_until = NULL, epoch = epoch + 1
             WHERE lease_owner = $1",
        )
        .bind(owner)
        .execute(&self.pool)
        .await?;
        Ok(released.rows_affected())
    }
}

async fn record(
    session: &mut PgConnection,
    lease: &Lease,
    findings: &Findings,
    pause: TimeDelta,
    now: DateTime<Utc>,
) -> Result<Result<Option<DateTime<Utc>>, LeaseLost>, sqlx::Error> {
    let preview = &lease.preview;
    if findings.phase != Phase::Ready || preview.phase == Phase::Ready {
        return recorded(lease, findings, pause, now, session).await;
    }
    let mut tx = session.begin().await?;
    let wake_at = match recorded(lease, findings, pause, now, &mut *tx).await? {
        Ok(wake_at) => wake_at,
        Err(lost) => return Ok(Err(lost)),
    };
    // In a statement of its own: the commit may have become known by the one before.
    sqlx::query("UPDATE commits SET served_at = $3 WHERE preview_id = $1 AND sha = $2")
        .bind(preview.id)
        .bind(findings.memory.commit().as_str())
        .bind(now)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(Ok(wake_at))
}

/// Writes what a pass found: its row, the journal, and, with a receipt, that each of its things is gone.
async fn recorded(
    lease: &Lease,
    findings: &Findings,
    pause: TimeDelta,
    now: DateTime<Utc>,
    to: impl PgExecutor<'_>,
) -> Result<Result<Option<DateTime<Utc>>, LeaseLost>, sqlx::Error> {
    let conditions: Vec<_> = findings.conditions.iter().map(ConditionShape::of).collect();
    let mut entries: Vec<_> =
        findings.deeds.iter().map(|(action, reason)| (*action, storable(reason))).collect();
    if findings.phase != lease.preview.phase {
        entries.push(("phase", findings.phase.as_str().into()));
    }
    let (actions, reasons): (Vec<_>, Vec<_>) = entries.into_iter().unzip();
    let recorded: Option<Option<DateTime<Utc>>> = sqlx::query_scalar(
        "WITH recorded AS (
             UPDATE previews SET
                 facts = CASE WHEN hints = $20 THEN $5 ELSE facts END,
                 confirmed_at = CASE WHEN hints = $20 THEN $6 ELSE confirmed_at END,
                 born_at = CASE WHEN hints = $20 THEN $7 ELSE born_at END,
                 active_at = CASE WHEN hints = $20 THEN $8 ELSE active_at END,
                 overrides = CASE WHEN hints = $20 THEN $21 ELSE overrides END,
                 phase = CASE WHEN $9 = 'Ready' AND hints <> $20
                               AND (facts->>'head', facts->'labels', rotations,
                                    overrides->>'redeploys', overrides->>'data_generation',
                                    COALESCE(overrides->>'rolled_back', ''))
                                <> ($5->>'head', $5->'labels', $22,
                                    $21->>'redeploys', $21->>'data_generation',
                                    COALESCE($21->>'rolled_back', ''))
                              THEN 'Updating' ELSE $9 END,
                 conditions = $10, outlook = $11, last_error = $12, told = COALESCE($13, told),
                 expires_at = $14,
                 going_since = CASE WHEN $15::text IS NULL THEN NULL
                                    ELSE COALESCE(going_since, $16) END,
                 going_reason = $15,
                 receipt = $17,
                 gone_at = CASE WHEN $17::jsonb IS NULL THEN NULL
                                WHEN hints = $20 THEN COALESCE(gone_at, $16)
                                ELSE gone_at END,
                 wake_at = CASE WHEN pokes = $4 THEN $18 WHEN hints = $20 THEN $16
                                ELSE $16 + LEAST($23 * power(2, LEAST($19, $24)), $25) END,
                 failures = $19, lease_owner = NULL, lease_until = NULL, updated_at = $16
             WHERE id = $1 AND lease_owner = $2 AND epoch = $3 RETURNING id, wake_at),
         noted AS (
             INSERT INTO journal (at, preview_id, actor, action, reason)
             SELECT $16, id, 'mayfly', action, reason
             FROM recorded, UNNEST($26::text[], $27::text[]) WITH ORDINALITY AS it(action, reason, place)
             ORDER BY place),
         gone AS (
             UPDATE resources SET gone_at = $16 FROM recorded
             WHERE $17::jsonb IS NOT NULL AND preview_id = recorded.id AND gone_at IS NULL)
         SELECT wake_at FROM recorded",
    )
    .bind(lease.preview.id)
    .bind(lease.owner)
    .bind(lease.epoch)
    .bind(lease.preview.pokes)
    .bind(Json(FactsShape::of(&findings.memory.facts)))
    .bind(findings.memory.confirmed_at)
    .bind(findings.memory.life.born_at)
    .bind(findings.memory.life.active_at)
    .bind(findings.phase.as_str())
    .bind(Json(conditions))
    .bind(storable(&findings.outlook))
    .bind(findings.error.as_deref().map(storable))
    .bind(findings.told.as_ref().map(|told| Json(ToldShape::of(told))))
    .bind(findings.expires_at)
    .bind(findings.going.map(Reason::as_str))
    .bind(now)
    .bind(findings.receipt.as_ref().map(|receipt| Json(ReceiptShape::of(receipt))))
    .bind(findings.wake_at)
    .bind(i32::try_from(findings.failures).unwrap_or(i32::MAX))
    .bind(lease.preview.hints)
    .bind(Json(OverridesShape::of(&findings.memory.overrides)))
    .bind(i32::try_from(findings.memory.overrides.rotations).unwrap_or(i32::MAX))
    .bind(pause)
    .bind(i32::try_from(HINT_PAUSE_DOUBLED).unwrap_or(0))
    .bind(PAUSE_MOST)
    .bind(actions)
    .bind(reasons)
    .fetch_optional(to)
    .await?;
    Ok(recorded.ok_or(LeaseLost))
}
