//! Making rows due, and hearing that some are.
//!
//! A wake-up carries no data: it says "look", never "what happened". Refuses to be relied upon;
//! the poll finds what a lost wake-up did not.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::postgres::PgListener;
use uuid::Uuid;

use super::{CHANNEL, Ledger, LedgerError};
use crate::preview::{CommitSha, PreviewName, RepositoryId};

/// How many are poked in one statement, where all are.
const POKED_AT_ONCE: i64 = 500;

/// How long a hint is fresh enough that a waiter's doubt adds nothing to it.
const DOUBT_AGAIN_SECONDS: i64 = 10;

/// Hears other replicas' wake-ups.
#[derive(Debug)]
pub struct Wakeups(PgListener);

impl Wakeups {
    /// Waits for the next wake-up; also returns after the connection was lost and made again,
    /// since something may have been missed.
    pub async fn next(&mut self) -> Result<(), LedgerError> {
        self.0.try_recv().await?;
        Ok(())
    }
}

impl Ledger {
    /// Starts to hear wake-ups.
    pub async fn listen(&self) -> Result<Wakeups, LedgerError> {
        let mut listener = PgListener::connect_with(&self.pool).await?;
        listener.listen(CHANNEL).await?;
        Ok(Wakeups(listener))
    }

    /// Makes one preview due now, by the name of its things; whether it is now for anybody to look at: not
    /// when there is none, and not while somebody does, who hears of it at the end.
    ///
    /// Does not wait for the disk: what a crash of the server takes back, the next look finds, or the next
    /// sweep.
    pub async fn poke_named(
        &self,
        name: &PreviewName,
        now: DateTime<Utc>,
    ) -> Result<bool, LedgerError> {
        let poked: i64 = sqlx::query_scalar(
            "WITH poked AS (
                 UPDATE previews SET pokes = pokes + 1,
                     wake_at = LEAST(COALESCE(wake_at, $2), $2)
                 WHERE name = $1 RETURNING lease_until),
             told AS (SELECT pg_notify($3, '') FROM poked
                      WHERE lease_until IS NULL OR lease_until <= $2)
             SELECT count(*) + 0 * length(set_config('synchronous_commit', 'off', true)) FROM told",
        )
        .bind(name.namespace())
        .bind(now)
        .bind(CHANNEL)
        .fetch_one(&self.pool)
        .await?;
        Ok(poked > 0)
    }

    /// Makes those of a repository's previews due that are not served yet: all of them, or those of
    /// one head; how many there were.
    pub async fn poke_awaiting(
        &self,
        repository: RepositoryId,
        head: Option<&CommitSha>,
        now: DateTime<Utc>,
    ) -> Result<i64, LedgerError> {
        Ok(sqlx::query_scalar(
            "WITH poked AS (
                 UPDATE previews SET pokes = pokes + 1,
                     wake_at = LEAST(COALESCE(wake_at, $3), $3)
                 WHERE repository_id = $1 AND gone_at IS NULL
                   AND phase IN ('Pending', 'Starting', 'Updating')
                   AND ($2::text IS NULL OR facts->>'head' = $2) RETURNING id),
             told AS (SELECT pg_notify($4, '') FROM poked LIMIT 1)
             SELECT (SELECT count(*) FROM poked) + 0 * (SELECT count(*) FROM told)",
        )
        .bind(repository.0)
        .bind(head.map(CommitSha::as_str))
        .bind(now)
        .bind(CHANNEL)
        .fetch_one(&self.pool)
        .await?)
    }

    /// Doubts what is known of one preview: the pull request is read again, at once.
    pub async fn doubt(&self, id: Uuid, now: DateTime<Utc>) -> Result<(), LedgerError> {
        sqlx::query(
            "WITH poked AS (
                 UPDATE previews SET hinted_at = $2, confirmed_at = NULL, hints = hints + 1,
                     pokes = pokes + 1,
                     wake_at = LEAST(COALESCE(wake_at, $2), $2)
                 WHERE id = $1 RETURNING id)
             SELECT pg_notify($3, '') FROM poked",
        )
        .bind(id)
        .bind(now)
        .bind(CHANNEL)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// [`Ledger::doubt`], unless somebody did, or gave a hint, within ten seconds: for whoever
    /// may ask as often as they like. Whether it did.
    pub async fn doubt_again(&self, id: Uuid, now: DateTime<Utc>) -> Result<bool, LedgerError> {
        let hinted_at: Option<DateTime<Utc>> =
            sqlx::query_scalar("SELECT hinted_at FROM previews WHERE id = $1")
                .bind(id)
                .fetch_optional(&self.pool)
                .await?;
        match hinted_at {
            Some(at) if now - at >= TimeDelta::seconds(DOUBT_AGAIN_SECONDS) => {
                self.doubt(id, now).await?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Makes every preview of which something may be there due, spread over this long.
    pub async fn poke_all(
        &self,
        spread_over: TimeDelta,
        now: DateTime<Utc>,
    ) -> Result<u64, LedgerError> {
        let (mut poked, mut last) = (0, Uuid::nil());
        // A few at a time: whoever wants one of them waits for no more than these.
        loop {
            let ids: Vec<Uuid> = sqlx::query_scalar(
                "UPDATE previews SET pokes = pokes + 1,
                     wake_at = LEAST(wake_at, $1 + random() * make_interval(secs => $2))
                 WHERE id IN (SELECT id FROM previews WHERE gone_at IS NULL AND id > $3
                              ORDER BY id LIMIT $4 FOR UPDATE)
                 RETURNING id",
            )
            .bind(now)
            .bind(spread_over.num_milliseconds() as f64 / 1000.0)
            .bind(last)
            .bind(POKED_AT_ONCE)
            .fetch_all(&self.pool)
            .await?;
            let Some(newest) = ids.iter().max() else { break };
            (poked, last) = (poked + ids.len() as u64, *newest);
            sqlx::query("SELECT pg_notify($1, '')").bind(CHANNEL).execute(&self.pool).await?;
        }
        Ok(poked)
    }
}
