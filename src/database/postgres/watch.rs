//! Sampling the sessions of one preview's role while migrations run.
//!
//! One session on the maintenance database, so that nothing here keeps the preview's from being
//! dropped. `pg_stat_activity` shows a role's statements to its members, which we are; `pg_locks` is
//! open to all. Refuses to fail anything: what went wrong is kept as a gap.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::{Connection, PgConnection, Row};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Inner;
use super::admin::fault;
use crate::database::statements::{Sighting, Statements};
use crate::fault::Fault;
use crate::preview::PreviewName;
use crate::preview::rehearsal::LockMode;

/// How far apart samples are at best.
pub(super) const PERIOD: Duration = Duration::from_millis(15);

/// How long one sample may take.
const SAMPLE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait after a sample that failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How long migrations are watched at most.
const WATCH_MAX: Duration = Duration::from_secs(2 * 60 * 60);

/// What the server says instead of a statement that we may not see.
const DENIED: &str = "<insufficient privilege>";

/// The role's sessions that began since then, each with its locks on relations that are nobody's
/// but people's (oids from 16384). No row: there is no such database.
const SAMPLE: &str = "
    WITH home AS (SELECT oid FROM pg_database WHERE datname = $1),
    held AS MATERIALIZED (
        SELECT pid, array_agg(relation::int8) AS relations, array_agg(mode) AS modes,
               array_agg(granted) AS granted
        FROM (SELECT pid, relation, mode, granted FROM pg_locks
              WHERE locktype = 'relation' AND database = (SELECT oid FROM home)
                AND relation >= 16384 LIMIT 5000) locks
        GROUP BY pid)
    SELECT clock_timestamp() AS at, a.pid, a.backend_start, a.application_name, a.xact_start,
           a.query_start, a.state_change, a.state = 'active' AS active, a.query,
           h.relations, h.modes, h.granted
    FROM home
    LEFT JOIN pg_stat_activity a ON a.datid = home.oid AND a.usename = ANY($2)
        AND a.backend_start >= $3 AND a.backend_type = 'client backend' AND a.query <> ''
    LEFT JOIN held h ON h.pid = a.pid
    LIMIT 100";

/// What was seen, and why some of it may be missing.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) statements: Statements,
    pub(super) gap: Option<String>,
}

/// A watch that goes on until it is stopped, or dropped.
pub(super) struct Watcher {
    seen: Arc<Mutex<Seen>>,
    stop: CancellationToken,
    ended: CancellationToken,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Watcher {
    /// Starts; when this returns, what begins afterwards is watched, or the gap says why not.
    pub(super) async fn start(inner: &Arc<Inner>, name: &PreviewName) -> Self {
        let (seen, stop) = (Arc::new(Mutex::new(Seen::default())), CancellationToken::new());
        let mut watching = Watching {
            inner: inner.clone(),
            database: name.database(),
            roles: [name.role(), name.second_role()],
            seen: seen.clone(),
            session: None,
            since: DateTime::UNIX_EPOCH,
        };
        if let Err(fault) = watching.begin().await {
            watching.gap(&fault.to_string());
        }
        let (ended, stopped) = (CancellationToken::new(), stop.clone());
        let end = ended.clone().drop_guard();
        tokio::spawn(async move {
            watching.run(stopped).await;
            drop(end);
        });
        Self { seen, stop, ended }
    }

    /// Whether it goes on.
    pub(super) fn is_running(&self) -> bool {
        !self.stop.is_cancelled() && !self.ended.is_cancelled()
    }

    /// Takes a last sample and ends.
    pub(super) async fn stop(&self) {
        self.stop.cancel();
        // It ends by itself; here only the wait is bounded.
        let _ = timeout(SAMPLE_TIMEOUT, self.ended.cancelled()).await;
    }

    /// What it has seen so far.
    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Watching {
    inner: Arc<Inner>,
    database: String,
    roles: [String; 2],
    seen: Arc<Mutex<Seen>>,
    session: Option<PgConnection>,
    /// Sessions that began earlier are the last good revision's.
    since: DateTime<Utc>,
}

impl Watching {
    async fn begin(&mut self) -> Result<(), Fault> {
        let mut session = self.inner.admin.connect().await?;
        let asking = sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&mut session);
        self.since = asking.await.map_err(|error| fault(self.doing(), &error))?;
        self.session = Some(session);
        Ok(())
    }

    async fn run(mut self, stop: CancellationToken) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = Instant::now() + WATCH_MAX;
        loop {
            let last = tokio::select! {
                () = stop.cancelled() => true,
                _ = ticks.tick() => false,
            };
            if last && self.session.is_none() {
                break;
            }
            let there = match timeout(SAMPLE_TIMEOUT, self.sample()).await {
                Ok(Ok(there)) => there,
                failed => {
                    let why = match failed {
                        Ok(Err(fault)) => fault.to_string(),
                        _ => format!("{}: no answer", self.doing()),
                    };
                    self.gap(&why);
                    self.session = None;
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = sleep(RETRY_AFTER) => {}
                    }
                    true
                }
            };
            if !there {
                self.gap(&format!("database {} went away meanwhile", self.database));
            } else if Instant::now() > end {
                self.gap(&format!("watched for {} s and no longer", WATCH_MAX.as_secs()));
            } else if !last {
                continue;
            }
            break;
        }
        if let Some(session) = self.session.take() {
            let _ = session.close().await;
        }
    }

    /// Takes one sample; whether the database is there.
    async fn sample(&mut self) -> Result<bool, Fault> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => self.inner.admin.connect().await?,
        };
        let rows = sqlx::query(SAMPLE)
            .bind(&self.database)
            .bind(self.roles.as_slice())
            .bind(self.since)
            .fetch_all(&mut session)
            .await
            .map_err(|error| fault(self.doing(), &error))?;
        self.session = Some(session);
        let Some(first) = rows.first() else { return Ok(false) };
        let at: DateTime<Utc> = first.try_get("at").map_err(|e| fault(self.doing(), &e))?;
        let sightings: Result<Vec<_>, sqlx::Error> =
            rows.iter().filter_map(|row| sighting(row).transpose()).collect();
        let mut sightings = sightings.map_err(|error| fault(self.doing(), &error))?;
        let all = sightings.len();
        sightings.retain(|sighting| sighting.text != DENIED);
        if sightings.len() < all {
            self.gap(&format!(
                "we may not see what {} runs; whoever made it has to run: GRANT {} TO <the role in \
                 databases.admin_url>",
                self.roles[0], self.roles[0]
            ));
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.statements.take(at.timestamp_micros(), sightings);
        Ok(true)
    }

    /// Keeps the first reason: later ones follow from it.
    fn gap(&self, why: &str) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.gap.get_or_insert_with(|| why.to_owned());
    }

    fn doing(&self) -> String {
        format!("watching the migrations of {}", self.database)
    }
}

/// Reads a row; none where the database has no session.
fn sighting(row: &PgRow) -> Result<Option<Sighting>, sqlx::Error> {
    let Some(pid) = row.try_get("pid")? else { return Ok(None) };
    let micros = |column| -> Result<Option<i64>, sqlx::Error> {
        let at: Option<DateTime<Utc>> = row.try_get(column)?;
        Ok(at.map(|at| at.timestamp_micros()))
    };
    let relations: Vec<i64> = row.try_get::<Option<_>, _>("relations")?.unwrap_or_default();
    let modes: Vec<String> = row.try_get::<Option<_>, _>("modes")?.unwrap_or_default();
    let granted: Vec<bool> = row.try_get::<Option<_>, _>("granted")?.unwrap_or_default();
    let locks = relations.into_iter().zip(modes).zip(granted);
    let active = row.try_get::<Option<bool>, _>("active")?.unwrap_or_default();
    Ok(Some(Sighting {
        session: (pid, micros("backend_start")?.unwrap_or_default()),
        application: row.try_get::<Option<_>, _>("application_name")?.unwrap_or_default(),
        transaction_us: micros("xact_start")?,
        begun_us: micros("query_start")?.unwrap_or_default(),
        ended_us: micros("state_change")?.filter(|_| !active),
        text: row.try_get::<Option<_>, _>("query")?.unwrap_or_default(),
        locks: locks
            .filter_map(|((relation, mode), granted)| {
                Some((u32::try_from(relation).ok()?, LockMode::parse(&mode)?, granted))
            })
            .collect(),
    }))
}
