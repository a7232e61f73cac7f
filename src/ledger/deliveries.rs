//! The one door in: a delivery, a sweep's finding or nothing at all becomes what is remembered.
//!
//! Storing deliveries, learning from them and making their rows due is one transaction, so that a 202
//! is a promise; those that come together share it. Refuses to decide anything: it remembers and pokes.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::births;
use super::previews::Preview;
use super::remember::{Remembered, remember};
use super::rows::read;
use super::shapes::storable;
use super::{CHANNEL, Ledger, LedgerError};
use crate::forge::RepositoryRef;
use crate::preview::{Memory, PreviewName, PullFacts, PullKey, PullState};

/// How often what was learned is tried that got into a deadlock with others' changes.
const TRIES: usize = 3;

/// SQLSTATE `deadlock_detected`.
const DEADLOCK: &str = "40P01";

/// A webhook delivery, as it came.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The forge's id of it; the same again for a redelivery.
    pub id: String,
    /// The event's name.
    pub event: String,
    /// The raw body.
    pub body: Vec<u8>,
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

impl PullHint {
    /// Whether a preview begins with it.
    pub(super) fn begins(&self) -> bool {
        self.facts.state == PullState::Open || self.even_if_closed
    }
}

/// A hint, when it came, and the delivery that brought it, if one did.
#[derive(Clone, Debug)]
pub struct Heard {
    /// What was said.
    pub hint: PullHint,
    /// What brought it.
    pub delivery: Option<Delivery>,
    /// When.
    pub at: DateTime<Utc>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// A preview that was not known before.
    New(Uuid),
    /// A known one, which is due now, or sooner than it was.
    Known(Uuid),
    /// A known one, which is looked at as soon anyway.
    Awaited(Uuid),
    /// This delivery was here before, and was answered.
    Duplicate,
    /// Nothing to remember.
    Ignored,
}

impl Learned {
    fn preview(self) -> Option<Uuid> {
        match self {
            Self::New(id) | Self::Known(id) | Self::Awaited(id) => Some(id),
            Self::Duplicate | Self::Ignored => None,
        }
    }
}

impl Ledger {
    /// Learns from one hint.
    pub async fn learn(&self, heard: &Heard) -> Result<Learned, LedgerError> {
        let mut learned = self.learn_all(std::slice::from_ref(heard)).await?;
        learned.pop().unwrap_or(Ok(Learned::Ignored))
    }

    /// Learns from all of these, in their order, in one transaction. What is wrong with one of them is
    /// its own outcome, and leaves the others alone.
    pub async fn learn_all(
        &self,
        heard: &[Heard],
    ) -> Result<Vec<Result<Learned, LedgerError>>, LedgerError> {
        let mut tried = 1;
        loop {
            match self.try_to_learn(heard).await {
                Err(LedgerError::Database(error)) if is_deadlock(&error) && tried < TRIES => {
                    tried += 1;
                }
                other => return other,
            }
        }
    }

    async fn try_to_learn(
        &self,
        heard: &[Heard],
    ) -> Result<Vec<Result<Learned, LedgerError>>, LedgerError> {
        let mut tx = self.intake.begin().await?;
        let known = births::known(&mut tx, heard).await?;
        let mut before: HashSet<&str> = known.deliveries.iter().map(String::as_str).collect();
        let mut changes = Changes::default();
        let mut outcomes = Vec::with_capacity(heard.len());
        for (at, one) in heard.iter().enumerate() {
            let again = one.delivery.as_ref().is_some_and(|it| !before.insert(&it.id));
            outcomes.push(match known.rows.get(&one.hint.facts.key) {
                _ if again => Ok(Learned::Duplicate),
                Some((row, Some(born_of))) if *born_of == at => {
                    Ok(Learned::New(row.try_get("id")?))
                }
                Some((row, born_of)) if born_of.is_none_or(|it| it < at) => changes.hear(row, one),
                _ if one.hint.begins() => Err(LedgerError::NameTaken(one.hint.name.namespace())),
                _ => Ok(Learned::Ignored),
            });
        }
        remember(&mut tx, &changes.remembered()).await?;
        let stored = note(&mut tx, heard, &outcomes).await?;
        tx.commit().await?;
        // Another replica may have learned from the same delivery at the same moment.
        for (one, outcome) in heard.iter().zip(&mut outcomes) {
            let is_stored = one.delivery.as_ref().is_none_or(|it| stored.contains(&it.id));
            if outcome.is_ok() && !is_stored {
                *outcome = Ok(Learned::Duplicate);
            }
        }
        Ok(outcomes)
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

/// What becomes of rows that were read, each written once, however much was said of it.
#[derive(Default)]
struct Changes(HashMap<PullKey, Change>);

struct Change {
    preview: Preview,
    repository: RepositoryRef,
    /// What was Ready is so no longer.
    rechosen: bool,
    at: DateTime<Utc>,
}

impl Change {
    fn remembered(&self) -> Remembered<'_> {
        let (preview, repository) = (&self.preview, &self.repository);
        Remembered { preview, repository, rechosen: self.rechosen, at: self.at }
    }
}

impl Changes {
    fn hear(&mut self, row: &sqlx::postgres::PgRow, one: &Heard) -> Result<Learned, LedgerError> {
        let (hint, at) = (&one.hint, one.at);
        let key = hint.facts.key;
        let repository = hint.repository.clone();
        let change = match self.0.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(Change {
                preview: read(row)?,
                repository: repository.clone(),
                rechosen: false,
                at,
            }),
        };
        let memory = &mut change.preview.memory;
        let chosen = |memory: &Memory| -> Vec<bool> {
            hint.choosing.iter().map(|it| memory.facts.labels.contains(it)).collect()
        };
        let before = chosen(memory);
        memory.hear(hint.facts.clone(), at);
        change.rechosen |= chosen(memory) != before;
        (change.repository, change.at) = (repository, at);
        let id = change.preview.id;
        Ok(if change.remembered().hastens() { Learned::Known(id) } else { Learned::Awaited(id) })
    }

    fn remembered(&self) -> Vec<Remembered<'_>> {
        self.0.values().map(Change::remembered).collect()
    }
}

/// Stores the deliveries, notes in the journal what was learned, and says that there is something to
/// do; the ids of the deliveries that were not there yet.
async fn note(
    connection: &mut PgConnection,
    heard: &[Heard],
    outcomes: &[Result<Learned, LedgerError>],
) -> Result<HashSet<String>, LedgerError> {
    let fine = || {
        let all = heard.iter().zip(outcomes);
        all.filter_map(|(one, outcome)| Some((one, outcome.as_ref().ok()?)))
            .filter(|(_, outcome)| **outcome != Learned::Duplicate)
    };
    let kept: Vec<_> = fine()
        .filter_map(|(one, it)| Some((one.delivery.as_ref()?, it.preview(), one.at)))
        .collect();
    let noted: Vec<_> = fine().filter_map(|(one, it)| Some((one, it.preview()?))).collect();
    if kept.is_empty() && noted.is_empty() {
        return Ok(HashSet::new());
    }
    let (stored, _): (Option<Vec<String>>, i64) = sqlx::query_as(
        "WITH stored AS (
             INSERT INTO deliveries (id, event, body, preview_id, received_at)
             SELECT * FROM UNNEST($1::text[], $2::text[], $3::bytea[], $4::uuid[], $5::timestamptz[])
             ON CONFLICT (id) DO NOTHING RETURNING id),
         noted AS (
             INSERT INTO journal (at, preview_id, actor, action, reason, delivery_id)
             SELECT said.at, preview_id, actor, 'learned', reason, delivery_id
             FROM UNNEST($6::timestamptz[], $7::uuid[], $8::text[], $9::text[], $10::text[])
                 WITH ORDINALITY AS said(at, preview_id, actor, reason, delivery_id, place)
             WHERE delivery_id IS NULL OR delivery_id IN (SELECT id FROM stored)
             ORDER BY place),
         told AS (SELECT pg_notify($11, '') WHERE $12)
         SELECT (SELECT array_agg(id) FROM stored), (SELECT count(*) FROM told)",
    )
    .bind(kept.iter().map(|(it, ..)| &it.id[..]).collect::<Vec<_>>())
    .bind(kept.iter().map(|(it, ..)| &it.event[..]).collect::<Vec<_>>())
    .bind(kept.iter().map(|(it, ..)| &it.body[..]).collect::<Vec<_>>())
    .bind(kept.iter().map(|(_, id, _)| *id).collect::<Vec<_>>())
    .bind(kept.iter().map(|(.., at)| *at).collect::<Vec<_>>())
    .bind(noted.iter().map(|(one, _)| one.at).collect::<Vec<_>>())
    .bind(noted.iter().map(|(_, id)| *id).collect::<Vec<_>>())
    .bind(noted.iter().map(|(one, _)| one.hint.source).collect::<Vec<_>>())
    .bind(noted.iter().map(|(one, _)| storable(&one.hint.what)).collect::<Vec<_>>())
    .bind(noted.iter().map(|(one, _)| Some(&one.delivery.as_ref()?.id[..])).collect::<Vec<_>>())
    .bind(CHANNEL)
    .bind(fine().any(|(_, it)| matches!(it, Learned::New(_) | Learned::Known(_))))
    .fetch_one(connection)
    .await?;
    Ok(stored.unwrap_or_default().into_iter().collect())
}

fn is_deadlock(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|it| it.code()).is_some_and(|code| code == DEADLOCK)
}
