//! The commits that were heads of a preview's pull request, and the image of each.
//!
//! Rows are added by the table's own trigger, whoever writes the facts. Refuses to say which of two
//! commits is newer: a branch can go back.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::leases::{Lease, LeaseLost};
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

    /// The commit that the URL was last seen to serve, of those that are not this one.
    pub async fn last_served(
        &self,
        id: Uuid,
        but: &CommitSha,
    ) -> Result<Option<CommitSha>, LedgerError> {
        let found: Option<String> = sqlx::query_scalar(
            "SELECT sha FROM commits WHERE preview_id = $1 AND sha <> $2 AND served_at IS NOT NULL
             ORDER BY served_at DESC LIMIT 1",
        )
        .bind(id)
        .bind(but.as_str())
        .fetch_optional(&self.pool)
        .await?;
        Ok(found.as_deref().and_then(CommitSha::parse))
    }

    /// Whether the URL was ever seen to serve a commit.
    pub async fn was_served(&self, id: Uuid, sha: &CommitSha) -> Result<bool, LedgerError> {
        let served = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM commits
                 WHERE preview_id = $1 AND sha = $2 AND served_at IS NOT NULL)",
        )
        .bind(id)
        .bind(sha.as_str())
        .fetch_one(&self.pool)
        .await?;
        Ok(served)
    }

    /// When a commit was first seen to be the head, and its image, by digest, if that is known.
    pub async fn image_of(
        &self,
        id: Uuid,
        sha: &CommitSha,
    ) -> Result<Option<(DateTime<Utc>, Option<String>)>, LedgerError> {
        let row =
            sqlx::query_as("SELECT seen_at, image FROM commits WHERE preview_id = $1 AND sha = $2")
                .bind(id)
                .bind(sha.as_str())
                .fetch_optional(&self.pool)
                .await?;
        Ok(row)
    }

    /// Remembers the image of a commit for good, unless the configuration names another repository of
    /// images by now; the one that is remembered, should somebody have been quicker.
    pub async fn pin(
        &self,
        lease: &Lease,
        sha: &CommitSha,
        image: &str,
        now: DateTime<Utc>,
    ) -> Result<Result<String, LeaseLost>, LedgerError> {
        let pinned: Option<String> = sqlx::query_scalar(
            "INSERT INTO commits (preview_id, sha, seen_at, image)
                 SELECT id, $4, $6, $5 FROM previews
                 WHERE id = $1 AND lease_owner = $2 AND epoch = $3
             ON CONFLICT (preview_id, sha)
                 DO UPDATE SET image = CASE
                     WHEN split_part(commits.image, '@', 1) = split_part(EXCLUDED.image, '@', 1)
                     THEN commits.image ELSE EXCLUDED.image END
             RETURNING image",
        )
        .bind(lease.preview.id)
        .bind(lease.owner)
        .bind(lease.epoch)
        .bind(sha.as_str())
        .bind(image)
        .bind(now)
        .fetch_optional(&self.pool)
        .await?;
        Ok(pinned.ok_or(LeaseLost))
    }
}
