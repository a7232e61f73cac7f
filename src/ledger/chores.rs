//! Work that one replica does now and then for all of them.
//!
//! Refuses to be a scheduler: a chore is taken by moving its due time, in one statement.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Ledger, LedgerError};

impl Ledger {
    /// Takes a chore if it is due, and makes it due again after `every`; `true` for the one
    /// replica that is to do it now.
    pub async fn take_chore(
        &self,
        name: &str,
        every: TimeDelta,
        now: DateTime<Utc>,
    ) -> Result<bool, LedgerError> {
        // Most of the time it is not due, and then nothing is written.
        let due: Option<bool> =
            sqlx::query_scalar("SELECT due_at <= $2 FROM chores WHERE name = $1")
                .bind(name)
                .bind(now)
                .fetch_optional(&self.pool)
                .await?;
        if due == Some(false) {
            return Ok(false);
        }
        let taken = sqlx::query(
            "INSERT INTO chores (name, due_at) VALUES ($1, $2)
             ON CONFLICT (name) DO UPDATE SET due_at = EXCLUDED.due_at WHERE chores.due_at <= $3",
        )
        .bind(name)
        .bind(now + every)
        .bind(now)
        .execute(&self.pool)
        .await?;
        Ok(taken.rows_affected() == 1)
    }
}
