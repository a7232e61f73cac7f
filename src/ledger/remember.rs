//! What was heard, or wished, written into the rows that it is about: in one statement, with the journal
//! and with the deliveries that it came from.
//!
//! A row is written only as it was read. Refuses one that somebody else has written since, with all that
//! belongs to it, and to make a row due as often as somebody speaks of it.

use std::borrow::Cow;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgExecutor;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use uuid::Uuid;

use super::previews::Preview;
use super::shapes::{FactsShape, OverridesShape, storable};
use super::told::ToldShape;
use super::{CHANNEL, LedgerError};
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
    /// Which version of its row it was read from; `None` where there is no row yet.
    pub(super) version: Option<&'a str>,
    pub(super) repository: &'a RepositoryRef,
    /// Something else is wanted now than what may be Ready.
    pub(super) rechosen: bool,
    pub(super) at: DateTime<Utc>,
    /// How long it rests at present.
    pub(super) pause: TimeDelta,
    /// Whether it is leased by the same stroke.
    pub(super) is_leased: bool,
}

impl Remembered<'_> {
    /// When it is due because of this.
    fn hint_due_at(&self) -> DateTime<Utc> {
        let pause =
            PAUSE_MOST.min(self.pause * (1 << self.preview.failures.min(HINT_PAUSE_DOUBLED)));
        self.at.max(self.preview.updated_at + pause)
    }

    /// Whether that is sooner than it was: the loop does not know.
    pub(super) fn hastens(&self) -> bool {
        self.version.is_none() || self.preview.wake_at.is_none_or(|it| self.hint_due_at() < it)
    }

    /// When it is due, all in all.
    pub(super) fn due_at(&self) -> DateTime<Utc> {
        let due_at = self.hint_due_at();
        self.preview.wake_at.map_or(due_at, |known| known.min(due_at))
    }
}

/// A line of the journal, and the delivery that it comes from.
pub(super) struct Said<'a> {
    pub(super) at: DateTime<Utc>,
    pub(super) preview: Uuid,
    pub(super) actor: &'a str,
    pub(super) action: &'a str,
    pub(super) reason: Cow<'a, str>,
    pub(super) delivery: Option<&'a str>,
}

/// All that is written at once.
#[derive(Default)]
pub(super) struct News<'a> {
    pub(super) rows: Vec<Remembered<'a>>,
    pub(super) journal: Vec<Said<'a>>,
    /// Deliveries that are learned from by this, and the preview that they speak of, if they speak of one.
    pub(super) learned: Vec<(&'a str, Option<Uuid>)>,
    /// Who leases what is to be leased, and until when.
    pub(super) lease: Option<(Uuid, DateTime<Utc>)>,
    /// Whether something is due that nobody leases by this.
    pub(super) is_due: bool,
}

/// Writes it; the rows that were written, as they are now. What was Ready is so no longer when something
/// else is wanted: Ready means that the URL serves the head, as labels choose it.
pub(super) async fn remember(
    to: impl PgExecutor<'_>,
    news: &News<'_>,
) -> Result<Vec<PgRow>, LedgerError> {
    let News { rows, journal, learned, lease, is_due } = news;
    let memories = || rows.iter().map(|it| &it.preview.memory);
    let rows = sqlx::query(REMEMBER)
        .bind(rows.iter().map(|it| it.preview.id).collect::<Vec<_>>())
        .bind(rows.iter().map(|it| it.version).collect::<Vec<_>>())
        .bind(rows.iter().map(|it| it.preview.name.namespace()).collect::<Vec<_>>())
        .bind(memories().map(|it| it.facts.key.repository.0).collect::<Vec<_>>())
        .bind(memories().map(|it| i64::from(it.facts.key.number.get())).collect::<Vec<_>>())
        .bind(rows.iter().map(|it| it.repository.full_name()).collect::<Vec<_>>())
        .bind(memories().map(|it| storable(&it.facts.author)).collect::<Vec<_>>())
        .bind(memories().map(|it| Json(FactsShape::of(&it.facts))).collect::<Vec<_>>())
        .bind(memories().map(|it| Json(OverridesShape::of(&it.overrides))).collect::<Vec<_>>())
        .bind(memories().map(|it| it.hinted_at).collect::<Vec<_>>())
        .bind(memories().map(|it| it.confirmed_at).collect::<Vec<_>>())
        .bind(memories().map(|it| it.life.born_at).collect::<Vec<_>>())
        .bind(memories().map(|it| it.life.active_at).collect::<Vec<_>>())
        .bind(memories().map(|it| it.gone).collect::<Vec<_>>())
        .bind(rows.iter().map(|it| it.rechosen).collect::<Vec<_>>())
        .bind(rows.iter().map(|it| it.is_leased).collect::<Vec<_>>())
        .bind(rows.iter().map(|it| it.at).collect::<Vec<_>>())
        .bind(rows.iter().map(Remembered::due_at).collect::<Vec<_>>())
        .bind(rows.iter().map(|it| it.preview.password.reveal()).collect::<Vec<_>>())
        .bind(rows.iter().map(|it| Json(ToldShape::of(&it.preview.told))).collect::<Vec<_>>())
        .bind(lease.map(|(owner, _)| owner))
        .bind(lease.map(|(_, until)| until))
        .bind(learned.iter().map(|(delivery, _)| *delivery).collect::<Vec<_>>())
        .bind(learned.iter().map(|(_, preview)| *preview).collect::<Vec<_>>())
        .bind(journal.iter().map(|it| it.at).collect::<Vec<_>>())
        .bind(journal.iter().map(|it| it.preview).collect::<Vec<_>>())
        .bind(journal.iter().map(|it| it.actor).collect::<Vec<_>>())
        .bind(journal.iter().map(|it| it.action).collect::<Vec<_>>())
        .bind(journal.iter().map(|it| &*it.reason).collect::<Vec<_>>())
        .bind(journal.iter().map(|it| it.delivery).collect::<Vec<_>>())
        .bind(is_due)
        .bind(CHANNEL)
        .fetch_all(to)
        .await?;
    Ok(rows)
}

/// Rows are locked in the order of their ids: two that write the same ones wait for each other, and no
/// more. What was read is the server's own version of a row, `xmin`.
const REMEMBER: &str = "
    WITH heard AS (
        SELECT * FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::bigint[],
            $6::text[], $7::text[], $8::jsonb[], $9::jsonb[], $10::timestamptz[],
            $11::timestamptz[], $12::timestamptz[], $13::timestamptz[], $14::boolean[],
            $15::boolean[], $16::boolean[], $17::timestamptz[], $18::timestamptz[], $19::text[],
            $20::jsonb[])
        AS new (id, version, name, repository_id, number, repository, author, facts, overrides,
            hinted_at, confirmed_at, born_at, active_at, gone, rechosen, leased, at, due_at, password,
            told)),
    known AS (
        SELECT id FROM previews WHERE id IN (SELECT id FROM heard WHERE version IS NOT NULL)
        ORDER BY id FOR UPDATE),
    remembered AS (
        UPDATE previews SET repository = new.repository, author = new.author, facts = new.facts,
            overrides = new.overrides, hinted_at = new.hinted_at, confirmed_at = new.confirmed_at,
            born_at = new.born_at, active_at = new.active_at,
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
            hints = hints + 1, pokes = pokes + 1, wake_at = due_at, updated_at = new.at,
            lease_owner = CASE WHEN leased THEN $21::uuid ELSE lease_owner END,
            lease_until = CASE WHEN leased THEN $22::timestamptz ELSE lease_until END,
            epoch = epoch + leased::integer
        FROM heard AS new JOIN known USING (id)
        WHERE previews.id = new.id AND previews.xmin::text = version
        RETURNING previews.*),
    born AS (
        INSERT INTO previews (id, name, repository_id, repository, number, author, facts, overrides,
            hinted_at, born_at, active_at, database_password, wake_at, created_at, updated_at, told,
            lease_owner, lease_until, epoch)
        SELECT id, name, repository_id, repository, number, author, facts, overrides, hinted_at,
            born_at, active_at, password, due_at, at, at, told, CASE WHEN leased THEN $21 END,
            CASE WHEN leased THEN $22 END, leased::integer
        FROM heard WHERE version IS NULL ORDER BY repository_id, number
        ON CONFLICT DO NOTHING RETURNING *),
    written AS (SELECT * FROM remembered UNION ALL SELECT * FROM born),
    learned AS (
        DELETE FROM unlearned USING UNNEST($23::text[], $24::uuid[]) AS said (delivery, preview)
        WHERE delivery_id = delivery AND (preview IS NULL OR preview IN (SELECT id FROM written))),
    noted AS (
        INSERT INTO journal (at, preview_id, actor, action, reason, delivery_id)
        SELECT said.at, preview, actor, action, reason, delivery
        FROM UNNEST($25::timestamptz[], $26::uuid[], $27::text[], $28::text[], $29::text[],
            $30::text[])
            WITH ORDINALITY AS said (at, preview, actor, action, reason, delivery, place)
        WHERE preview IN (SELECT id FROM written) ORDER BY place)
    SELECT written.*, woken FROM written
    CROSS JOIN (SELECT count(pg_notify($32, '')) AS woken WHERE $31) AS it";
