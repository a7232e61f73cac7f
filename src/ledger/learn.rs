//! What was said of pull requests becomes what is remembered of their previews.
//!
//! Learning from what was said, making the rows due and crossing it off is one transaction, however much
//! there is; so a delivery is learned from once, by whoever comes first. Refuses to decide anything: it
//! remembers and pokes.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::births;
use super::deliveries::put_off;
use super::previews::Preview;
use super::remember::{Remembered, remember};
use super::rows::read;
use super::shapes::storable;
use super::{CHANNEL, Ledger, LedgerError, is_over};
use crate::forge::RepositoryRef;
use crate::preview::{Memory, PreviewName, PullFacts, PullKey, PullState};

/// How often it is tried where it gets into a deadlock with others' changes, or the session has ended.
const TRIES: usize = 3;

/// SQLSTATE `deadlock_detected`.
const DEADLOCK: &str = "40P01";

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
    /// The id of what brought it, which was stored before.
    pub delivery: Option<String>,
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
    /// Somebody has learned from this delivery before, or it was not stored.
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
    /// its own outcome, and leaves the others alone; its delivery is still to be learned from.
    pub async fn learn_all(
        &self,
        heard: &[Heard],
    ) -> Result<Vec<Result<Learned, LedgerError>>, LedgerError> {
        let mut tried = 1;
        loop {
            match self.try_to_learn(heard).await {
                Err(LedgerError::Database(error))
                    if (is_deadlock(&error) || is_over(&error)) && tried < TRIES =>
                {
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
        let mut known = births::known(&mut tx, heard).await?;
        self.pause.set(known.rows.len());
        let mut changes = Changes { pause: self.pause.get(), ..Changes::default() };
        let mut outcomes = Vec::with_capacity(heard.len());
        for (at, one) in heard.iter().enumerate() {
            let again = one.delivery.as_ref().is_some_and(|it| !known.taken.remove(it));
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
        note(&mut tx, heard, &outcomes).await?;
        let failed = || heard.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_err());
        let ids: Vec<_> = failed().filter_map(|(one, _)| one.delivery.clone()).collect();
        if let Some((one, _)) = failed().next().filter(|_| !ids.is_empty()) {
            put_off(&mut *tx, &ids, one.at).await?;
        }
        tx.commit().await?;
        Ok(outcomes)
    }
}

/// What becomes of rows that were read, each written once, however much was said of it.
#[derive(Default)]
struct Changes {
    of: HashMap<PullKey, Change>,
    pause: TimeDelta,
}

struct Change {
    preview: Preview,
    repository: RepositoryRef,
    /// What was Ready is so no longer.
    rechosen: bool,
    at: DateTime<Utc>,
}

impl Change {
    fn remembered(&self, pause: TimeDelta) -> Remembered<'_> {
        let (preview, repository) = (&self.preview, &self.repository);
        Remembered { preview, repository, rechosen: self.rechosen, at: self.at, pause }
    }
}

impl Changes {
    fn hear(&mut self, row: &sqlx::postgres::PgRow, one: &Heard) -> Result<Learned, LedgerError> {
        let hint = &one.hint;
        let key = hint.facts.key;
        let repository = hint.repository.clone();
        let change = match self.of.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(Change {
                preview: read(row)?,
                repository: repository.clone(),
                rechosen: false,
                at: one.at,
            }),
        };
        // One that was left behind is no news of the past.
        let at = one.at.max(change.preview.memory.hinted_at).max(change.at);
        let memory = &mut change.preview.memory;
        let chosen = |memory: &Memory| -> Vec<bool> {
            hint.choosing.iter().map(|it| memory.facts.labels.contains(it)).collect()
        };
        let before = chosen(memory);
        memory.hear(hint.facts.clone(), at);
        change.rechosen |= chosen(memory) != before;
        (change.repository, change.at) = (repository, at);
        let id = change.preview.id;
        Ok(if change.remembered(self.pause).hastens() {
            Learned::Known(id)
        } else {
            Learned::Awaited(id)
        })
    }

    fn remembered(&self) -> Vec<Remembered<'_>> {
        self.of.values().map(|change| change.remembered(self.pause)).collect()
    }
}

/// Notes in the journal what was learned, and says that there is something to do.
async fn note(
    connection: &mut PgConnection,
    heard: &[Heard],
    outcomes: &[Result<Learned, LedgerError>],
) -> Result<(), LedgerError> {
    let learned = || {
        let all = heard.iter().zip(outcomes);
        all.filter_map(|(one, outcome)| Some((one, outcome.as_ref().ok()?)))
    };
    let noted = noted(learned().filter_map(|(one, it)| Some((it.preview()?, one))));
    if noted.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "WITH noted AS (
             INSERT INTO journal (at, preview_id, actor, action, reason, delivery_id)
             SELECT said.at, preview_id, actor, 'learned', reason, delivery_id
             FROM UNNEST($1::timestamptz[], $2::uuid[], $3::text[], $4::text[], $5::text[])
                 WITH ORDINALITY AS said(at, preview_id, actor, reason, delivery_id, place)
             ORDER BY place)
         SELECT pg_notify($6, '') WHERE $7",
    )
    .bind(noted.iter().map(|it| it.last.at).collect::<Vec<_>>())
    .bind(noted.iter().map(|it| it.preview).collect::<Vec<_>>())
    .bind(noted.iter().map(|it| it.last.hint.source).collect::<Vec<_>>())
    .bind(noted.iter().map(Noted::reason).collect::<Vec<_>>())
    .bind(noted.iter().map(|it| it.last.delivery.as_deref()).collect::<Vec<_>>())
    .bind(CHANNEL)
    .bind(learned().any(|(_, it)| matches!(it, Learned::New(_) | Learned::Known(_))))
    .execute(connection)
    .await?;
    Ok(())
}

/// What the journal says of one preview: what was said, and how often at once.
struct Noted<'a> {
    preview: Uuid,
    last: &'a Heard,
    times: usize,
}

impl Noted<'_> {
    fn reason(&self) -> Cow<'_, str> {
        let what = storable(&self.last.hint.what);
        if self.times == 1 { what } else { format!("{what}, {} times", self.times).into() }
    }
}

/// The same that was said of one preview several times at once is one entry, where it was said last.
fn noted<'a>(learned: impl Iterator<Item = (Uuid, &'a Heard)>) -> Vec<Noted<'a>> {
    let (mut noted, mut places) = (Vec::<Noted<'_>>::new(), HashMap::new());
    for (preview, one) in learned {
        let said = (preview, one.hint.source, &one.hint.what);
        let place = *places.entry(said).or_insert(noted.len());
        match noted.get_mut(place) {
            Some(known) => (known.last, known.times) = (one, known.times + 1),
            None => noted.push(Noted { preview, last: one, times: 1 }),
        }
    }
    noted.sort_by_key(|it| it.last.at);
    noted
}

fn is_deadlock(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|it| it.code()).is_some_and(|code| code == DEADLOCK)
}
