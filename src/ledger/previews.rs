//! Reading preview rows, changing what people asked for, and listing.
//!
//! Refuses to write what a pass found: that is `leases`, which is fenced.

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, Row};
use uuid::Uuid;

use super::shapes::{
    ConditionShape, FactsShape, OverridesShape, ReceiptShape, ToldShape, bad, reason,
};
use super::{CHANNEL, Ledger, LedgerError};
use crate::database::Password;
use crate::forge::RepositoryRef;
use crate::preview::condition::{Condition, Phase};
use crate::preview::desired::Life;
use crate::preview::{
    Memory, PreviewName, PullKey, PullNumber, Reason, Receipt, RepositoryId, Told,
};

/// One preview, as the ledger remembers it.
#[derive(Clone, Debug)]
pub struct Preview {
    /// Its identifier in the API.
    pub id: Uuid,
    /// What its things are called.
    pub name: PreviewName,
    /// The repository as it was last called.
    pub repository: RepositoryRef,
    /// Facts, life and overrides.
    pub memory: Memory,
    /// The password of its database role.
    pub password: Password,
    /// When it is due; `None` when only a poke wakes it.
    pub wake_at: Option<DateTime<Utc>>,
    /// How often it was poked; tells a pass that something changed meanwhile.
    pub pokes: i64,
    /// Consecutive passes that ended in a fault.
    pub failures: u32,
    /// One word for people.
    pub phase: Phase,
    /// How each part stood at the last look.
    pub conditions: Vec<Condition>,
    /// What the last plan said.
    pub outlook: String,
    /// The last pass's fault, if it ended in one.
    pub last_error: Option<String>,
    /// What the pull request was told.
    pub told: Told,
    /// When it expires.
    pub expires_at: Option<DateTime<Utc>>,
    /// Since when it is being removed, and why.
    pub going: Option<Going>,
    /// The proof that nothing is left.
    pub receipt: Option<Receipt>,
    /// When it was first learned.
    pub created_at: DateTime<Utc>,
    /// When the row last changed.
    pub updated_at: DateTime<Utc>,
}

/// A removal that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Going {
    /// Since when.
    pub since: DateTime<Utc>,
    /// Why.
    pub reason: Reason,
}

/// Which previews to list, in order of their ids (the order in which they were learned).
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only this repository (`acme/shop`).
    pub repository: Option<String>,
    /// Only this phase.
    pub phase: Option<Phase>,
    /// Only this author's.
    pub author: Option<String>,
    /// Only those after this one.
    pub after: Option<Uuid>,
    /// At most so many.
    pub limit: i64,
}

impl Ledger {
    /// One preview by its id.
    pub async fn preview(&self, id: Uuid) -> Result<Option<Preview>, LedgerError> {
        let row = sqlx::query("SELECT * FROM previews WHERE id = $1")
            .bind(id)
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| read(&row)).transpose()
    }

    /// One preview by its name.
    pub async fn preview_named(&self, name: &PreviewName) -> Result<Option<Preview>, LedgerError> {
        let row = sqlx::query("SELECT * FROM previews WHERE name = $1")
            .bind(name.namespace())
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| read(&row)).transpose()
    }

    /// One preview by its pull request.
    pub async fn preview_of(&self, key: PullKey) -> Result<Option<Preview>, LedgerError> {
        let row = sqlx::query("SELECT * FROM previews WHERE repository_id = $1 AND number = $2")
            .bind(key.repository.0)
            .bind(i64::from(key.number.get()))
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| read(&row)).transpose()
    }

    /// A page of previews. A row that cannot be read is left out, and is no reason to end early:
    /// fewer than asked for means that there are no more.
    pub async fn previews(&self, filter: &Filter) -> Result<Vec<Preview>, LedgerError> {
        let mut page = Vec::new();
        let mut after = filter.after;
        loop {
            let wanted = filter.limit - i64::try_from(page.len()).unwrap_or(i64::MAX);
            let rows = sqlx::query(
                "SELECT * FROM previews
                 WHERE ($1::text IS NULL OR repository = $1)
                   AND ($2::text IS NULL OR phase = $2)
                   AND ($3::text IS NULL OR author = $3)
                   AND ($4::uuid IS NULL OR id > $4)
                 ORDER BY id LIMIT $5",
            )
            .bind(&filter.repository)
            .bind(filter.phase.map(Phase::as_str))
            .bind(&filter.author)
            .bind(after)
            .bind(wanted)
            .fetch_all(&self.pool)
            .await?;
            page.extend(rows.iter().filter_map(readable));
            let full = i64::try_from(rows.len()).is_ok_and(|read| read >= wanted);
            let Some(last) = rows.last().filter(|_| full) else { return Ok(page) };
            if i64::try_from(page.len()).is_ok_and(|have| have >= filter.limit) {
                return Ok(page);
            }
            after = Some(last.try_get("id")?);
        }
    }

    /// Every preview of a repository of which something is, or may be, there; a row that cannot be
    /// read is left out.
    pub async fn live_previews(
        &self,
        repository: &RepositoryRef,
    ) -> Result<Vec<Preview>, LedgerError> {
        let rows = sqlx::query(
            "SELECT * FROM previews WHERE repository = $1 AND gone_at IS NULL ORDER BY id",
        )
        .bind(repository.full_name())
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.iter().filter_map(readable).collect())
    }

    /// How many previews are in each phase that this version knows.
    pub async fn count_by_phase(&self) -> Result<Vec<(Phase, i64)>, LedgerError> {
        let rows: Vec<(String, i64)> =
            sqlx::query_as("SELECT phase, count(*) FROM previews GROUP BY phase")
                .fetch_all(&self.pool)
                .await?;
        Ok(rows.into_iter().filter_map(|(phase, n)| Some((Phase::parse(&phase)?, n))).collect())
    }

    /// Changes what people asked for: `change` sees the preview and edits its memory; on success
    /// the change, a journal entry and a poke are one transaction. Its error leaves all as it was.
    pub async fn amend<T, E>(
        &self,
        id: Uuid,
        actor: &str,
        action: &str,
        now: DateTime<Utc>,
        change: impl FnOnce(&mut Preview) -> Result<(T, String), E> + Send,
    ) -> Result<Option<Result<T, E>>, LedgerError>
    where
        T: Send,
        E: Send,
    {
        let mut tx = self.pool.begin().await?;
        let row = sqlx::query("SELECT * FROM previews WHERE id = $1 FOR UPDATE")
            .bind(id)
            .fetch_optional(&mut *tx)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let mut preview = read(&row)?;
        let (value, reason) = match change(&mut preview) {
            Ok(done) => done,
            Err(refusal) => return Ok(Some(Err(refusal))),
        };
        write_memory(&mut tx, id, &preview.repository, &preview.memory, now).await?;
        sqlx::query(
            "INSERT INTO journal (at, preview_id, actor, action, reason) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(now)
        .bind(id)
        .bind(actor)
        .bind(action)
        .bind(reason)
        .execute(&mut *tx)
        .await?;
        sqlx::query("SELECT pg_notify($1, '')").bind(CHANNEL).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(Some(Ok(value)))
    }
}

/// Writes facts, life and overrides, and makes the row due.
pub(super) async fn write_memory(
    connection: &mut sqlx::PgConnection,
    id: Uuid,
    repository: &RepositoryRef,
    memory: &Memory,
    now: DateTime<Utc>,
) -> Result<(), LedgerError> {
    sqlx::query(
        "UPDATE previews SET repository = $2, author = $3, facts = $4, overrides = $5,
             hinted_at = $6, confirmed_at = $7, born_at = $8, active_at = $9,
             gone_at = CASE WHEN $10 THEN gone_at END,
             pokes = pokes + 1, wake_at = LEAST(COALESCE(wake_at, $11), $11), updated_at = $11
         WHERE id = $1",
    )
    .bind(id)
    .bind(repository.full_name())
    .bind(&memory.facts.author)
    .bind(Json(FactsShape::of(&memory.facts)))
    .bind(Json(OverridesShape::of(&memory.overrides)))
    .bind(memory.hinted_at)
    .bind(memory.confirmed_at)
    .bind(memory.life.born_at)
    .bind(memory.life.active_at)
    .bind(memory.gone)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// Reads a row where others are read too: one that cannot be read must not hide them.
fn readable(row: &PgRow) -> Option<Preview> {
    read(row)
        .inspect_err(|error| {
            let id: Option<Uuid> = row.try_get("id").ok();
            tracing::error!(?id, %error, "a preview's row cannot be read; left out");
        })
        .ok()
}

/// Reads a row of `previews`.
pub(super) fn read(row: &PgRow) -> Result<Preview, LedgerError> {
    let name: String = row.try_get("name")?;
    let repository: String = row.try_get("repository")?;
    let number: i64 = row.try_get("number")?;
    let phase: String = row.try_get("phase")?;
    let password: String = row.try_get("database_password")?;
    let key = PullKey {
        repository: RepositoryId(row.try_get("repository_id")?),
        number: PullNumber::new(number).ok_or_else(|| bad("number", &number.to_string()))?,
    };
    let Json(facts): Json<FactsShape> = row.try_get("facts")?;
    let Json(overrides): Json<OverridesShape> = row.try_get("overrides")?;
    let Json(conditions): Json<Vec<ConditionShape>> = row.try_get("conditions")?;
    let Json(told): Json<ToldShape> = row.try_get("told")?;
    let receipt: Option<Json<ReceiptShape>> = row.try_get("receipt")?;
    let going_since: Option<DateTime<Utc>> = row.try_get("going_since")?;
    let going_reason: Option<String> = row.try_get("going_reason")?;
    let going = match (going_since, going_reason) {
        (Some(since), Some(word)) => Some(Going { since, reason: reason(&word)? }),
        _ => None,
    };
    let gone_at: Option<DateTime<Utc>> = row.try_get("gone_at")?;
    let failures: i32 = row.try_get("failures")?;
    Ok(Preview {
        id: row.try_get("id")?,
        name: PreviewName::parse(&name).ok_or_else(|| bad("name", &name))?,
        repository: RepositoryRef::parse(&repository)
            .ok_or_else(|| bad("repository", &repository))?,
        memory: Memory {
            facts: facts.facts(key)?,
            life: Life { born_at: row.try_get("born_at")?, active_at: row.try_get("active_at")? },
            overrides: overrides.overrides()?,
            hinted_at: row.try_get("hinted_at")?,
            confirmed_at: row.try_get("confirmed_at")?,
            gone: gone_at.is_some(),
        },
        password: Password::parse(&password).ok_or_else(|| bad("database_password", "password"))?,
        wake_at: row.try_get("wake_at")?,
        pokes: row.try_get("pokes")?,
        failures: u32::try_from(failures).unwrap_or(0),
        phase: Phase::parse(&phase).ok_or_else(|| bad("phase", &phase))?,
        conditions: conditions.into_iter().filter_map(ConditionShape::condition).collect(),
        outlook: row.try_get("outlook")?,
        last_error: row.try_get("last_error")?,
        told: told.told()?,
        expires_at: row.try_get("expires_at")?,
        going,
        receipt: receipt.map(|Json(shape)| shape.receipt()),
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}

impl FromRow<'_, PgRow> for Preview {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        read(row).map_err(|error| sqlx::Error::Decode(Box::new(error)))
    }
}
