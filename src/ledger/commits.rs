//! The commits that were heads of a preview's pull request, and the image of each.
//!
//! Rows are added by the table's own trigger, whoever writes the facts. Refuses to say which of two
//! commits is newer: a branch can go back.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::leases::{Lease, LeaseLost};
use super::{Ledger, LedgerError};
use crate::preview::{CommitSha, ComponentName};

const PIN: &str = "
    INSERT INTO commits (preview_id, sha, seen_at, image)
        SELECT id, $4, $6, $5 FROM previews WHERE id = $1 AND lease_owner = $2 AND epoch = $3
    ON CONFLICT (preview_id, sha)
        DO UPDATE SET image = CASE
            WHEN split_part(commits.image, '@', 1) = split_part(EXCLUDED.image, '@', 1)
            THEN commits.image ELSE EXCLUDED.image END
    RETURNING image";

const PIN_OF_COMPONENT: &str = "
    WITH held AS (
        SELECT id FROM previews WHERE id = $1 AND lease_owner = $2 AND epoch = $3),
    head AS (INSERT INTO commits (preview_id, sha, seen_at)
        SELECT id, $4, $6 FROM held ON CONFLICT DO NOTHING)
    INSERT INTO component_images AS pins (preview_id, sha, component, image)
        SELECT id, $4, $7, $5 FROM held
    ON CONFLICT (preview_id, sha, component)
        DO UPDATE SET image = CASE
            WHEN split_part(pins.image, '@', 1) = split_part(EXCLUDED.image, '@', 1)
            THEN pins.image ELSE EXCLUDED.image END
    RETURNING image";

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

    /// When a commit was first seen to be the head, and its image, by digest, if that is known: its
    /// component's, where one is meant.
    pub async fn image_of(
        &self,
        id: Uuid,
        sha: &CommitSha,
        component: Option<&ComponentName>,
    ) -> Result<Option<(DateTime<Utc>, Option<String>)>, LedgerError> {
        let row = sqlx::query_as(
            "SELECT seen_at, CASE WHEN $3::text IS NULL THEN image ELSE
                 (SELECT it.image FROM component_images it WHERE it.preview_id = commits.preview_id
                      AND it.sha = commits.sha AND it.component = $3) END
             FROM commits WHERE preview_id = $1 AND sha = $2",
        )
        .bind(id)
        .bind(sha.as_str())
        .bind(component.map(ComponentName::as_str))
        .fetch_optional(&self.pool)
        .await?;
        Ok(row)
    }

    /// Remembers the image of a commit, or of its component, for good, unless the configuration names
    /// another repository of images by now; the one that is remembered, should somebody have been
    /// quicker.
    pub async fn pin(
        &self,
        lease: &Lease,
        sha: &CommitSha,
        component: Option<&ComponentName>,
        image: &str,
        now: DateTime<Utc>,
    ) -> Result<Result<String, LeaseLost>, LedgerError> {
        let pin = sqlx::query_scalar(match component {
            None => PIN,
            Some(_) => PIN_OF_COMPONENT,
        });
        let pin = pin
            .bind(lease.preview.id)
            .bind(lease.owner)
            .bind(lease.epoch)
            .bind(sha.as_str())
            .bind(image)
            .bind(now);
        let pin = match component {
            None => pin,
            Some(component) => pin.bind(component.as_str()),
        };
        let pinned: Option<String> = pin.fetch_optional(&self.pool).await?;
        Ok(pinned.ok_or(LeaseLost))
    }
}
