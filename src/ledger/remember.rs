//! What was heard, or wished, written into the rows that it is about.
//!
//! Many rows in one statement. Refuses to make a row due as often as somebody speaks of it.

use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::types::Json;

use super::LedgerError;
use super::previews::Preview;
use super::shapes::{FactsShape, OverridesShape, storable};
use crate::forge::RepositoryRef;

/// How long a row rests after a pass, or a hint, before the next hint makes it due: whoever speaks of one
/// pull request a hundred times a second is not looked at for each. Doubled with each pass in a row that
/// failed: the forge may be what has enough of us.
pub(super) const HINT_PAUSE: TimeDelta = TimeDelta::milliseconds(500);

/// How often it is doubled at most.
pub(super) const HINT_PAUSE_DOUBLED: u32 = 5;

/// How much longer it is for each preview that is spoken of at the same time: a storm over the whole fleet
/// leaves room for taking it in.
const SPREAD: TimeDelta = TimeDelta::milliseconds(10);

/// The longest that all this makes it.
pub(super) const PAUSE_MOST: TimeDelta = TimeDelta::seconds(16);

/// How long a row rests at present, in this process.
#[derive(Debug)]
pub(super) struct Pause(AtomicI64);

impl Default for Pause {
    fn default() -> Self {
        Self(AtomicI64::new(HINT_PAUSE.num_milliseconds()))
    }
}

impl Pause {
    /// So many previews were spoken of at once.
    pub(super) fn set(&self, previews: usize) {
        let spread = SPREAD * i32::try_from(previews).unwrap_or(i32::MAX);
        let pause = spread.clamp(HINT_PAUSE, PAUSE_MOST);
        self.0.store(pause.num_milliseconds(), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> TimeDelta {
        TimeDelta::milliseconds(self.0.load(Ordering::Relaxed))
    }
}

/// What is remembered anew of one preview.
pub(super) struct Remembered<'a> {
    pub(super) preview: &'a Preview,
    pub(super) repository: &'a RepositoryRef,
    /// Something else is wanted now than what may be Ready.
    pub(super) rechosen: bool,
    pub(super) at: DateTime<Utc>,
    /// How long it rests at present.
    pub(super) pause: TimeDelta,
}

impl Remembered<'_> {
    /// When it is due because of this.
    fn due_at(&self) -> DateTime<Utc> {
        let pause =
            PAUSE_MOST.min(self.pause * (1 << self.preview.failures.min(HINT_PAUSE_DOUBLED)));
        self.at.max(self.preview.updated_at + pause)
    }

    /// Whether that is sooner than it was: the loop does not know.
    pub(super) fn hastens(&self) -> bool {
        self.preview.wake_at.is_none_or(|known| self.due_at() < known)
    }
}

/// Writes facts, life and overrides, and makes the rows due. What was Ready is so no longer when
/// something else is wanted now: Ready means that the URL serves the head, as labels choose it.
pub(super) async fn remember(
    connection: &mut sqlx::PgConnection,
    all: &[Remembered<'_>],
) -> Result<(), LedgerError> {
    if all.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE previews SET repository = new.repository, author = new.author, facts = new.facts,
             overrides = new.overrides, hinted_at = new.hinted_at,
             confirmed_at = new.confirmed_at, born_at = new.born_at, active_at = new.active_at,
             gone_at = CASE WHEN new.gone THEN previews.gone_at END,
             phase = CASE WHEN phase = 'Ready'
                           AND (rechosen
                             OR (previews.facts->>'head', previews.overrides->>'redeploys',
                                 previews.overrides->>'data_generation',
                                 COALESCE(previews.overrides->>'rolled_back', ''))
                             <> (new.facts->>'head', new.overrides->>'redeploys',
                                 new.overrides->>'data_generation',
                                 COALESCE(new.overrides->>'rolled_back', '')))
                          THEN 'Updating' ELSE phase END,
             hints = hints + 1, pokes = pokes + 1,
             wake_at = LEAST(wake_at, due_at), updated_at = new.at
         FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::jsonb[], $5::jsonb[],
                     $6::timestamptz[], $7::timestamptz[], $8::timestamptz[], $9::timestamptz[],
                     $10::boolean[], $11::boolean[], $12::timestamptz[],
                     $13::timestamptz[])
             AS new(id, repository, author, facts, overrides, hinted_at, confirmed_at, born_at,
                    active_at, gone, rechosen, at, due_at)
         WHERE previews.id = new.id",
    )
    .bind(all.iter().map(|it| it.preview.id).collect::<Vec<_>>())
    .bind(all.iter().map(|it| it.repository.full_name()).collect::<Vec<_>>())
    .bind(all.iter().map(|it| storable(&it.preview.memory.facts.author)).collect::<Vec<_>>())
    .bind(all.iter().map(|it| Json(FactsShape::of(&it.preview.memory.facts))).collect::<Vec<_>>())
    .bind(
        all.iter()
            .map(|it| Json(OverridesShape::of(&it.preview.memory.overrides)))
            .collect::<Vec<_>>(),
    )
    .bind(all.iter().map(|it| it.preview.memory.hinted_at).collect::<Vec<_>>())
    .bind(all.iter().map(|it| it.preview.memory.confirmed_at).collect::<Vec<_>>())
    .bind(all.iter().map(|it| it.preview.memory.life.born_at).collect::<Vec<_>>())
    .bind(all.iter().map(|it| it.preview.memory.life.active_at).collect::<Vec<_>>())
    .bind(all.iter().map(|it| it.preview.memory.gone).collect::<Vec<_>>())
    .bind(all.iter().map(|it| it.rechosen).collect::<Vec<_>>())
    .bind(all.iter().map(|it| it.at).collect::<Vec<_>>())
    .bind(all.iter().map(Remembered::due_at).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
