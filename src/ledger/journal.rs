//! Who did what to which preview, and why.
//!
//! Append-only: there is no statement here, and no right in the schema, to change or remove an
//! entry.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use super::shapes::storable;
use super::{Ledger, LedgerError};

/// One entry.
#[derive(Clone, Debug, FromRow)]
pub struct Entry {
    /// Its place in the order.
    pub id: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// Which preview; `None` for what concerns all.
    pub preview_id: Option<Uuid>,
    /// Who: `mayfly`, `github`, `sweep`, or a token's name.
    pub actor: String,
    /// What: `learned`, `phase`, `extend`, a step.
    pub action: String,
    /// Why, or how it ended.
    pub reason: String,
    /// The delivery behind it, if there was one.
    pub delivery_id: Option<String>,
}

/// Which entries.
#[derive(Clone, Copy, Debug)]
pub struct JournalPage {
    /// Of this preview.
    pub preview_id: Uuid,
    /// After this one.
    pub after: i64,
    /// At most so many.
    pub limit: i64,
}

impl Ledger {
    /// Writes an entry.
    pub async fn note(
        &self,
        preview_id: Option<Uuid>,
        actor: &str,
        action: &str,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        sqlx::query(
            "INSERT INTO journal (at, preview_id, actor, action, reason) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(now)
        .bind(preview_id)
        .bind(actor)
        .bind(action)
        .bind(storable(reason))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Reads entries, oldest first.
    pub async fn journal(&self, page: JournalPage) -> Result<Vec<Entry>, LedgerError> {
        Ok(sqlx::query_as(
            "SELECT id, at, preview_id, actor, action, reason, delivery_id FROM journal
             WHERE preview_id = $1 AND id > $2 ORDER BY id LIMIT $3",
        )
        .bind(page.preview_id)
        .bind(page.after)
        .bind(page.limit)
        .fetch_all(&self.pool)
        .await?)
    }
}
