//! The one door in: a delivery, a sweep's finding or nothing at all becomes what is remembered.
//!
//! Storing the delivery, learning from it and making the row due is one transaction, so that a 202
//! is a promise. Refuses to decide anything: it remembers and pokes.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::types::Json;
use uuid::Uuid;

use super::previews::write_memory;
use super::rows::read;
use super::shapes::{FactsShape, OverridesShape, storable};
use super::told::ToldShape;
use super::{CHANNEL, Ledger, LedgerError};
use crate::clock::{fresh_id, fresh_password};
use crate::forge::RepositoryRef;
use crate::preview::{Memory, PreviewName, PullFacts, PullState, Told};

/// A webhook delivery, as it came.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// The forge's id of it; the same again for a redelivery.
    pub id: &'a str,
    /// The event's name.
    pub event: &'a str,
    /// The raw body.
    pub body: &'a [u8],
}

/// What somebody says about a pull request.
#[derive(Clone, Debug)]
pub struct PullHint {
    /// What its preview is called.
    pub name: PreviewName,
    /// The repository as it is called now.
    pub repository: RepositoryRef,
    /// What was said.
    pub facts: PullFacts,
    /// Who said it, for the journal: `github`, `sweep`.
    pub source: &'static str,
    /// What happened, for the journal: `opened`.
    pub what: String,
    /// The labels that choose what runs: what was Ready is so no longer when one of them changes.
    pub choosing: Vec<String>,
    /// Something of it was found: remember it even when it is not open and was never heard of.
    pub even_if_closed: bool,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// A preview that was not known before.
    New(Uuid),
    /// A known one, now due.
    Known(Uuid),
    /// This delivery was here before, and was answered.
    Duplicate,
    /// Nothing to remember.
    Ignored,
}

impl Ledger {
    /// Learns from a hint, with the delivery that brought it, if one did.
    pub async fn learn(
        &self,
        hint: &PullHint,
        delivery: Option<Delivery<'_>>,
        now: DateTime<Utc>,
    ) -> Result<Learned, LedgerError> {
        let mut tx = self.pool.begin().await?;
        if let Some(delivery) = delivery
            && !store(&mut tx, delivery, now).await?
        {
            return Ok(Learned::Duplicate);
        }
        let learned = remember(&mut tx, hint, now).await?;
        if let Learned::New(id) | Learned::Known(id) = learned {
            let delivery_id = delivery.map(|d| d.id);
            if let Some(delivery_id) = delivery_id {
                sqlx::query("UPDATE deliveries SET preview_id = $2 WHERE id = $1")
                    .bind(delivery_id)
                    .bind(id)
                    .execute(&mut *tx)
                    .await?;
            }
            sqlx::query(
                "INSERT INTO journal (at, preview_id, actor, action, reason, delivery_id)
                 VALUES ($1, $2, $3, 'learned', $4, $5)",
            )
            .bind(now)
            .bind(id)
            .bind(hint.source)
            .bind(storable(&hint.what))
            .bind(delivery_id)
            .execute(&mut *tx)
            .await?;
            sqlx::query("SELECT pg_notify($1, '')").bind(CHANNEL).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(learned)
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
               (SELECT id FROM deliveries WHERE received_at < $1 ORDER BY received_at LIMIT $2)",
        )
        .bind(now - older_than)
        .bind(limit)
        .execute(&self.pool)
        .await?;
        Ok(gone.rows_affected())
    }
}

async fn store(
    connection: &mut sqlx::PgConnection,
    delivery: Delivery<'_>,
    now: DateTime<Utc>,
) -> Result<bool, LedgerError> {
    let stored = sqlx::query(
        "INSERT INTO deliveries (id, event, body, received_at)
         VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING",
    )
    .bind(delivery.id)
    .bind(delivery.event)
    .bind(delivery.body)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(stored.rows_affected() == 1)
}

async fn remember(
    connection: &mut sqlx::PgConnection,
    hint: &PullHint,
    now: DateTime<Utc>,
) -> Result<Learned, LedgerError> {
    let key = hint.facts.key;
    // Two first deliveries can race: the loser of the insert finds the winner's row.
    for _ in 0..2 {
        let row = sqlx::query(
            "SELECT * FROM previews WHERE repository_id = $1 AND number = $2 FOR UPDATE",
        )
        .bind(key.repository.0)
        .bind(i64::from(key.number.get()))
        .fetch_optional(&mut *connection)
        .await?;
        if let Some(row) = row {
            let mut preview = read(&row)?;
            let chosen = |memory: &Memory| -> Vec<bool> {
                hint.choosing.iter().map(|it| memory.facts.labels.contains(it)).collect()
            };
            let before = chosen(&preview.memory);
            let (repository, memory) = (&hint.repository, &mut preview.memory);
            memory.hear(hint.facts.clone(), now);
            let rechosen = chosen(memory) != before;
            write_memory(connection, preview.id, repository, memory, rechosen, now).await?;
            return Ok(Learned::Known(preview.id));
        }
        if hint.facts.state != PullState::Open && !hint.even_if_closed {
            return Ok(Learned::Ignored);
        }
        if let Some(id) = insert(connection, hint, now).await? {
            return Ok(Learned::New(id));
        }
    }
    Err(LedgerError::NameTaken(hint.name.namespace()))
}

async fn insert(
    connection: &mut sqlx::PgConnection,
    hint: &PullHint,
    now: DateTime<Utc>,
) -> Result<Option<Uuid>, LedgerError> {
    let id = fresh_id();
    let mut memory = Memory::begin(hint.facts.clone(), now);
    let mut told = Told::Never;
    if hint.even_if_closed {
        // Something of it is there, made under a row that is lost: its pull request may have been
        // told, and its workload has a password that nobody knows any more.
        told = Told::Unsure;
        memory.overrides.redeploys = u32::try_from(now.timestamp()).unwrap_or(1);
    }
    let inserted = sqlx::query(
        "INSERT INTO previews (id, name, repository_id, repository, number, author, facts,
             overrides, hinted_at, born_at, active_at, database_password, wake_at, created_at,
             updated_at, told)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $9, $10, $9, $9, $9, $11)
         ON CONFLICT DO NOTHING",
    )
    .bind(id)
    .bind(hint.name.namespace())
    .bind(hint.facts.key.repository.0)
    .bind(hint.repository.full_name())
    .bind(i64::from(hint.facts.key.number.get()))
    .bind(storable(&hint.facts.author))
    .bind(Json(FactsShape::of(&memory.facts)))
    .bind(Json(OverridesShape::of(&memory.overrides)))
    .bind(now)
    .bind(fresh_password().reveal())
    .bind(Json(ToldShape::of(&told)))
    .execute(connection)
    .await?;
    Ok((inserted.rows_affected() == 1).then_some(id))
}
