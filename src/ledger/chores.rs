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

    /// Makes a chore due at once.
    pub async fn hurry_chore(&self, name: &str, now: DateTime<Utc>) -> Result<(), LedgerError> {
        sqlx::query("UPDATE chores SET due_at = $2 WHERE name = $1")
            .bind(name)
            .bind(now)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
