//! Webhook deliveries as they came: stored before they are answered, and remembered until they are
//! learned from.
//!
//! Those that come together share one commit, so that a 202 costs a share of a disk flush. Refuses to read
//! what they say: that is for whoever learns.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{Connection, PgConnection, PgPool, Row};
use tokio::time::timeout;

use super::{Ledger, LedgerError, is_over};

/// How long whoever stored a delivery has to come to it, before others look.
const LEFT_AFTER: TimeDelta = TimeDelta::seconds(5);

/// How long a session may take to be opened.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A webhook delivery, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The forge's id of it; the same again for a redelivery.
    pub id: String,
    /// The event's name.
    pub event: String,
    /// The raw body.
    pub body: Vec<u8>,
    /// When it came.
    pub at: DateTime<Utc>,
}

/// A session of its own for whoever stores: taking one from a pool, and giving it back, each costs a round
/// trip.
pub struct Writer {
    pool: PgPool,
    session: Option<PgConnection>,
}

impl Writer {
    /// Stores all of these, in one transaction and one round trip; the ids of those that were not there
    /// yet, which are to be learned from. Dropped before it is done, they may be stored or not.
    pub async fn store(
        &mut self,
        deliveries: &[&Delivery],
    ) -> Result<HashSet<String>, LedgerError> {
        if self.pool.is_closed() {
            return Err(sqlx::Error::PoolClosed.into());
        }
        // Where it fails, the session is not kept. One that broke while nobody used it was not to be seen.
        if let Some(mut session) = self.session.take() {
            match store(&mut session, deliveries).await {
                Err(LedgerError::Database(error)) if is_over(&error) => {}
                done => {
                    self.session = done.is_ok().then_some(session);
                    return done;
                }
            }
        }
        let options = self.pool.connect_options();
        let opened = timeout(CONNECT_TIMEOUT, PgConnection::connect_with(&options));
        let mut session = opened.await.map_err(|_| sqlx::Error::PoolTimedOut)??;
        let done = store(&mut session, deliveries).await;
        self.session = done.is_ok().then_some(session);
        done
    }
}

async fn store(
    session: &mut PgConnection,
    deliveries: &[&Delivery],
) -> Result<HashSet<String>, LedgerError> {
    // Two who store the same ones at once meet them in the same order.
    let mut deliveries = deliveries.to_vec();
    deliveries.sort_by(|a, b| a.id.cmp(&b.id));
    let stored: Vec<String> = sqlx::query_scalar(
        "WITH stored AS (
             INSERT INTO deliveries (id, event, body, received_at)
             SELECT * FROM UNNEST($1::text[], $2::text[], $3::bytea[], $4::timestamptz[])
             ON CONFLICT (id) DO NOTHING RETURNING id, received_at)
         INSERT INTO unlearned (delivery_id, due_at) SELECT id, received_at + $5 FROM stored
         RETURNING delivery_id",
    )
    .bind(deliveries.iter().map(|it| &it.id[..]).collect::<Vec<_>>())
    .bind(deliveries.iter().map(|it| &it.event[..]).collect::<Vec<_>>())
    .bind(deliveries.iter().map(|it| &it.body[..]).collect::<Vec<_>>())
    .bind(deliveries.iter().map(|it| it.at).collect::<Vec<_>>())
    .bind(LEFT_AFTER)
    .fetch_all(session)
    .await?;
    Ok(stored.into_iter().collect())
}

impl Ledger {
    /// Whoever stores many.
    pub fn writer(&self) -> Writer {
        Writer { pool: self.pool.clone(), session: None }
    }

    /// Deliveries that nobody has learned from and that are due by now, oldest first, at most so many.
    pub async fn unlearned(
        &self,
        now: DateTime<Utc>,
        limit: i64,
    ) -> Result<Vec<Delivery>, LedgerError> {
        let rows = sqlx::query(
            "SELECT id, event, body, received_at
             FROM unlearned JOIN deliveries ON id = delivery_id
             WHERE due_at <= $1 ORDER BY due_at LIMIT $2",
        )
        .bind(now)
        .bind(limit)
        .fetch_all(&self.intake)
        .await?;
        let read = |row: &sqlx::postgres::PgRow| {
            Ok(Delivery {
                id: row.try_get("id")?,
                event: row.try_get("event")?,
                body: row.try_get("body")?,
                at: row.try_get("received_at")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Has those of these that nobody has learned from yet learned from not before then.
    pub async fn put_off(&self, ids: &[String], until: DateTime<Utc>) -> Result<(), LedgerError> {
        sqlx::query("UPDATE unlearned SET due_at = $2 WHERE delivery_id = ANY($1)")
            .bind(ids)
            .bind(until)
            .execute(&self.intake)
            .await?;
        Ok(())
    }

    /// Gives up learning from these, which say nothing that concerns this installation.
    pub async fn cross_off(&self, ids: &[String]) -> Result<(), LedgerError> {
        sqlx::query("DELETE FROM unlearned WHERE delivery_id = ANY($1)")
            .bind(ids)
            .execute(&self.intake)
            .await?;
        Ok(())
    }

    /// Those of these deliveries that were stored.
    pub async fn heard_deliveries(&self, ids: &[String]) -> Result<HashSet<String>, LedgerError> {
        let heard: Vec<String> = sqlx::query_scalar("SELECT id FROM deliveries WHERE id = ANY($1)")
            .bind(ids)
            .fetch_all(&self.pool)
            .await?;
        Ok(heard.into_iter().collect())
    }

    /// Forgets deliveries older than this, at most so many at a time; how many went.
    pub async fn forget_deliveries(
        &self,
        older_than: TimeDelta,
        limit: i64,
        now: DateTime<Utc>,
    ) -> Result<u64, LedgerError> {
        let gone = sqlx::query(
            "DELETE FROM deliveries WHERE id IN
               (SELECT id FROM deliveries WHERE received_at < $1
                    AND NOT EXISTS (SELECT FROM unlearned WHERE delivery_id = id)
                ORDER BY received_at LIMIT $2)",
        )
        .bind(now - older_than)
        .bind(limit)
        .execute(&self.pool)
        .await?;
        Ok(gone.rows_affected())
    }
}
