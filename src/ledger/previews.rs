//! Finding previews, changing what people asked for, and listing.
//!
//! Refuses to write what a pass found: that is `leases`, which is fenced.

use chrono::{DateTime, Utc};
use sqlx::Row;
use uuid::Uuid;

use super::remember::{HINT_PAUSE, News, Remembered, Said, remember};
use super::rows::{read, readable};
use super::shapes::storable;
use super::{Ledger, LedgerError, logins};
use crate::database::Password;
use crate::forge::RepositoryRef;
use crate::preview::condition::Condition;
use crate::preview::name::Prefix;
use crate::preview::phase::Phase;
use crate::preview::{ComponentName, Memory, PreviewName, PullKey, Reason, Receipt, Told};

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
    /// The password of the login whose turn it is.
    pub password: Password,
    /// When it is due; `None` when only a poke wakes it.
    pub wake_at: Option<DateTime<Utc>>,
    /// How often it was poked; tells a pass that something changed meanwhile.
    pub pokes: i64,
    /// How often somebody said that the pull request, or what people want, changed.
    pub hints: i64,
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
    /// The components whose hosts may have a record, whatever the configuration says by now.
    pub hosted: Vec<ComponentName>,
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
        let row = sqlx::query(
            "SELECT * FROM previews WHERE name = $1
             ORDER BY gone_at IS NULL DESC, id DESC LIMIT 1",
        )
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
        let limit = usize::try_from(filter.limit).unwrap_or(0);
        let (mut found, mut after) = (Vec::new(), filter.after);
        // A row that cannot be read leaves room for another: a short page would look like the last.
        loop {
            let room = limit - found.len();
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
            .bind(i64::try_from(room).unwrap_or(i64::MAX))
            .fetch_all(&self.pool)
            .await?;
            found.extend(readable(&rows));
            match rows.last() {
                Some(last) if rows.len() == room && found.len() < limit => {
                    after = Some(last.try_get("id")?);
                }
                _ => return Ok(found),
            }
        }
    }

    /// Every preview under this prefix of which something is, or may be, there. By prefix and not
    /// by repository: that is called what its last event called it, and may have been renamed.
    pub async fn live_previews(
        &self,
        prefix: Option<&Prefix>,
    ) -> Result<Vec<Preview>, LedgerError> {
        let names = match prefix {
            Some(prefix) => format!("{}-pr-%", prefix.as_str()),
            None => "pr-%".to_owned(),
        };
        let rows = sqlx::query(
            "SELECT * FROM previews WHERE name LIKE $1 AND gone_at IS NULL ORDER BY id",
        )
        .bind(names)
        .fetch_all(&self.pool)
        .await?;
        Ok(readable(&rows))
    }

    /// How many previews are in each phase that this version knows.
    pub async fn count_by_phase(&self) -> Result<Vec<(Phase, i64)>, LedgerError> {
        let rows: Vec<(String, i64)> =
            sqlx::query_as("SELECT phase, count(*) FROM previews GROUP BY phase")
                .fetch_all(&self.pool)
                .await?;
        // A phase that only another version knows is that version's to count.
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
        let row =
            sqlx::query("SELECT *, xmin::text AS version FROM previews WHERE id = $1 FOR UPDATE")
                .bind(id)
                .fetch_optional(&mut *tx)
                .await?;
        let Some(row) = row else { return Ok(None) };
        let mut preview = read(&row)?;
        let rotations = preview.memory.overrides.rotations;
        let (value, reason) = match change(&mut preview) {
            Ok(done) => done,
            Err(refusal) => return Ok(Some(Err(refusal))),
        };
        let wanted = preview.memory.overrides.rotations;
        let rotates = wanted != rotations;
        let row = Remembered {
            preview: &preview,
            version: row.try_get("version")?,
            repository: &preview.repository,
            rechosen: rotates,
            at: now,
            pause: HINT_PAUSE,
            is_leased: false,
        };
        let (reason, delivery) = (storable(&reason), None);
        let said = Said { at: now, preview: id, actor, action, reason, delivery };
        let (rows, journal) = (vec![row], vec![said]);
        remember(&mut *tx, &News { rows, journal, is_due: true, ..News::default() }).await?;
        if rotates {
            logins::renew(&mut tx, id, wanted).await?;
        }
        tx.commit().await?;
        Ok(Some(Ok(value)))
    }
}
