//! The commits that were heads of a preview's pull request.
//!
//! Rows are added by the table's own trigger, whoever writes the facts. Refuses to say which of two
//! commits is newer: a branch can go back.

use uuid::Uuid;

use super::{Ledger, LedgerError};
use crate::preview::CommitSha;

impl Ledger {
    /// Whether a commit is, or ever was, the head of a preview's pull request.
    pub async fn was_head(&self, id: Uuid, sha: &CommitSha) -> Result<bool, LedgerError> {
        let known = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM commits WHERE preview_id = $1 AND sha = $2)",
        )
        .bind(id)
        .bind(sha.as_str())
        .fetch_one(&self.pool)
        .await?;
        Ok(known)
    }
}
