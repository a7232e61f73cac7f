//! The brake's memory: how many previews began to go by the clock alone, lately, over all replicas.
//!
//! Refuses to count what a person or a confirmed pull request asked for.

use chrono::{DateTime, TimeDelta, Utc};

use super::leases::{Lease, LeaseLost};
use super::{Ledger, LedgerError};
use crate::preview::{Reason, brake};

/// Expiries within this window count together.
const WINDOW: TimeDelta = TimeDelta::minutes(10);

/// Serialises the count over all replicas: an arbitrary number of our own.
const LOCK: i64 = 0x6d61_7966_6c79;

/// How the brake stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Brake {
    /// Until when a person let everything pass.
    pub released_until: Option<DateTime<Utc>>,
    /// When it last held something back.
    pub engaged_at: Option<DateTime<Utc>>,
}

impl Ledger {
    /// Asks, for a pass that still holds its lease, whether one more preview may begin to go for
    /// this reason, and notes that it does.
    pub async fn may_expire(
        &self,
        lease: &Lease,
        reason: Reason,
        now: DateTime<Utc>,
    ) -> Result<Result<bool, LeaseLost>, LedgerError> {
        let mut tx = self.pool.begin().await?;
        sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *tx).await?;
        let (live, going, already, released): (i64, i64, bool, bool) = sqlx::query_as(
            "SELECT
               (SELECT count(*) FROM previews WHERE gone_at IS NULL OR going_since > $2),
               (SELECT count(*) FROM previews
                WHERE going_since > $2 AND going_reason IN ('idle', 'max_life')),
               (SELECT going_since IS NOT NULL FROM previews WHERE id = $1),
               (SELECT COALESCE(released_until > $3, false) FROM brake)",
        )
        .bind(lease.preview.id)
        .bind(now - WINDOW)
        .bind(now)
        .fetch_one(&mut *tx)
        .await?;
        let unsigned = |n: i64| u64::try_from(n).unwrap_or(0);
        let may = already || released || !brake::holds(unsigned(live), unsigned(going) + 1);
        if may {
            let noted = sqlx::query(
                "UPDATE previews SET going_since = COALESCE(going_since, $2), going_reason = $3
                 WHERE id = $1 AND lease_owner = $4 AND epoch = $5",
            )
            .bind(lease.preview.id)
            .bind(now)
            .bind(reason.as_str())
            .bind(lease.owner)
            .bind(lease.epoch)
            .execute(&mut *tx)
            .await?;
            if noted.rows_affected() == 0 {
                return Ok(Err(LeaseLost));
            }
        } else {
            sqlx::query("UPDATE brake SET engaged_at = $1").bind(now).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(Ok(may))
    }

    /// Notes that the brake held something back.
    pub async fn engage_brake(&self, now: DateTime<Utc>) -> Result<(), LedgerError> {
        sqlx::query("UPDATE brake SET engaged_at = $1").bind(now).execute(&self.pool).await?;
        Ok(())
    }

    /// Lets everything pass until then.
    pub async fn release_brake(&self, until: DateTime<Utc>) -> Result<(), LedgerError> {
        sqlx::query("UPDATE brake SET released_until = $1").bind(until).execute(&self.pool).await?;
        Ok(())
    }

    /// How the brake stands.
    pub async fn brake(&self) -> Result<Brake, LedgerError> {
        let (released_until, engaged_at) =
            sqlx::query_as("SELECT released_until, engaged_at FROM brake")
                .fetch_one(&self.pool)
                .await?;
        Ok(Brake { released_until, engaged_at })
    }
}
