//! What a scrape of the metrics asks: how many previews stand how, and how long the loop is behind.
//!
//! Refuses to name a preview; counts and ages only, by words that are ours.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Ledger, LedgerError};
use crate::preview::Phase;
use crate::preview::condition::{Part, Status};

/// One look at all rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// How many previews are in each phase that has any.
    pub phases: Vec<(Phase, i64)>,
    /// How many parts of live previews stand how.
    pub conditions: Vec<(Part, Status, i64)>,
    /// For how long the most overdue row that nobody has leased has been due.
    pub overdue: TimeDelta,
    /// Of the previews on their way, up or down: the longest time for which a part has not been as
    /// wanted.
    pub not_ready: TimeDelta,
}

impl Ledger {
    /// Looks. The first query walks an index, the last one row of it; the second reads the live
    /// previews.
    pub async fn survey(&self, now: DateTime<Utc>) -> Result<Survey, LedgerError> {
        let phases = self.count_by_phase().await?;
        type Row = (String, String, i64, Option<DateTime<Utc>>);
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT c->>'part', c->>'status', count(*),
                    min((c->>'since')::timestamptz) FILTER (WHERE c->>'status' <> 'True'
                        AND c->>'part' <> 'Parity' AND phase
                        IN ('Pending', 'Starting', 'Updating', 'Conflict', 'Stopping'))
             FROM previews, jsonb_array_elements(conditions) c
             WHERE gone_at IS NULL AND c ? 'part' AND c ? 'status' GROUP BY 1, 2",
        )
        .fetch_all(&self.pool)
        .await?;
        let due: Option<DateTime<Utc>> = sqlx::query_scalar(
            "SELECT wake_at FROM previews
             WHERE wake_at <= $1 AND (lease_until IS NULL OR lease_until <= $1)
             ORDER BY wake_at LIMIT 1",
        )
        .bind(now)
        .fetch_optional(&self.pool)
        .await?;
        let since = rows.iter().filter_map(|(_, _, _, since)| *since).min();
        let age = |at: Option<DateTime<Utc>>| {
            at.map_or(TimeDelta::zero(), |at| (now - at).max(TimeDelta::zero()))
        };
        Ok(Survey {
            phases,
            // A word that only another version knows is that version's to count.
            conditions: rows
                .iter()
                .filter_map(|(part, status, count, _)| {
                    Some((Part::parse(part)?, Status::parse(status)?, *count))
                })
                .collect(),
            overdue: age(due),
            not_ready: age(since),
        })
    }
}
