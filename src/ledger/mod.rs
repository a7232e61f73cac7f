//! PostgreSQL: the one source of truth, and the queue. All SQL about previews is in this room.
//!
//! Refuses to hold a transaction across a network call, and to know what a namespace or a DNS
//! record is. What a pass writes about its row is fenced by lease owner and epoch; what others write
//! (a hint, a poke, a person's wish) is counted, so that a pass cannot overwrite it.

mod births;
mod brake;
mod changes;
mod chores;
mod commits;
mod deliveries;
mod journal;
mod learn;
mod leases;
mod lesson;
mod logins;
mod previews;
mod rehearsals;
mod remember;
mod reports;
mod resources;
mod rows;
mod shapes;
mod survey;
mod tokens;
mod told;
mod wakeups;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgPool};

pub use brake::Brake;
pub use deliveries::{Delivery, Writer};
pub use journal::{Entry, JournalPage};
pub use learn::Ahead;
pub(crate) use leases::FIRST_EPOCH;
pub use leases::{Findings, Lease, LeaseLost, Term};
pub use lesson::{Heard, Learned, Lesson, PullHint};
pub use previews::{Filter, Going, Preview};
pub use resources::Kind;
pub use survey::Survey;
pub use tokens::{Role, TokenInfo};
pub use wakeups::Wakeups;

use self::remember::Pause;

/// The channel on which a change to the queue is announced.
const CHANNEL: &str = "mayfly_due";

/// How many transactions that store deliveries run at once: while one is flushed to disk, the next is
/// filled.
pub(crate) const WRITERS: u32 = 2;

/// How many learn at once in this process: from deliveries, and from what a sweep finds; and as many as
/// store read ahead.
const LEARNERS: u32 = 2 + WRITERS;

/// How sessions for learning are set. One plan for all, since to make one costs as much as to learn; and by
/// the keys, since it may have been made when the tables were small.
const LEARNED: [(&str, &str); 5] = [
    ("synchronous_commit", "off"),
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
];

/// How long a session that was used is believed to be there.
const TRUSTED: Duration = Duration::from_secs(2);

/// How long the migrator waits for another replica that is migrating.
const MIGRATION_LOCK_TIMEOUT: Duration = Duration::from_secs(60);

/// SQLSTATE `lock_not_available`: a lock was waited for as long as `lock_timeout` says.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// What can go wrong in the ledger.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The server could not be asked, or refused.
    #[error("ledger: {0}")]
    Database(#[from] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("ledger migrations: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// Somebody else is migrating, for too long.
    #[error(
        "ledger migrations: another replica has been migrating for more than {0:?}, or hangs; look \
         for its session in pg_stat_activity, end it, and start again"
    )]
    MigrationLocked(Duration),
    /// A row does not have the shape that this version writes.
    #[error("ledger row {what}: {why}")]
    Shape {
        /// Which row and column.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// Another repository's preview has this name.
    #[error("preview name {0} is taken by another repository; give one of them a prefix")]
    NameTaken(String),
    /// Whenever it was to be written, somebody had just done so.
    #[error("ledger: others wrote the same row again and again; try again")]
    Contended,
}

/// Mayfly's memory; clones share one pool of connections.
#[derive(Clone, Debug)]
pub struct Ledger {
    pool: PgPool,
    /// For learning alone, so that nothing else that asks the ledger can keep a delivery waiting. Its
    /// commits do not wait for the disk: what a crash of the server loses is learned again, and whatever is
    /// made because of it was intended behind it in the server's log, and waited.
    intake: PgPool,
    /// For the loop's questions what is due, one after the other.
    due: PgPool,
    /// How long a row rests before the next hint.
    pause: Arc<Pause>,
}

impl Ledger {
    /// Connects; fails when the server does not answer within ten seconds.
    pub async fn connect(url: &str, max_connections: u32) -> Result<Self, LedgerError> {
        let options: PgConnectOptions = url.parse()?;
        let options = options.application_name("mayfly").options([
            // A statement that hangs must not outlive the pass that waits for it.
            ("statement_timeout", "15s"),
            ("idle_in_transaction_session_timeout", "15s"),
        ]);
        let bounded = |most| {
            PgPoolOptions::new().max_connections(most).acquire_timeout(Duration::from_secs(10))
        };
        // One that was used just now is not asked whether it is still there: what fails because of that is
        // done once more.
        let unasked = |most| {
            bounded(most).test_before_acquire(false).before_acquire(|session, used| {
                Box::pin(async move {
                    if used.idle_for > TRUSTED {
                        session.ping().await?;
                    }
                    Ok(true)
                })
            })
        };
        let learned = options.clone().options(LEARNED);
        let intake = unasked(LEARNERS).connect_lazy_with(learned);
        let due = unasked(1).connect_lazy_with(options.clone());
        let pool = bounded(max_connections).connect_with(options).await?;
        Ok(Self { pool, intake, due, pause: Arc::default() })
    }

    /// Brings the schema up to date; forward only. Waits a bounded time for another replica that
    /// is doing the same.
    pub async fn migrate(&self) -> Result<(), LedgerError> {
        self.migrate_within(MIGRATION_LOCK_TIMEOUT).await
    }

    /// [`Ledger::migrate`], waiting this long for each lock.
    pub async fn migrate_within(&self, lock_timeout: Duration) -> Result<(), LedgerError> {
        let mut connection = self.pool.acquire().await?;
        // The bound of a pass's statements is not a migration's: waiting for another replica, or
        // building an index over many rows, may take longer.
        let timeouts = format!(
            "SET statement_timeout = 0; SET lock_timeout = {}",
            lock_timeout.as_millis().max(1)
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(timeouts)).execute(&mut *connection).await?;
        let outcome = migrator().run(&mut *connection).await;
        // The connection's settings are not the pool's: do not give it back.
        let _ = connection.close().await;
        outcome.map_err(|error| {
            if waited_in_vain(&error) {
                return LedgerError::MigrationLocked(lock_timeout);
            }
            LedgerError::Migration(error)
        })
    }

    /// The server's time.
    pub async fn server_time(&self) -> Result<DateTime<Utc>, LedgerError> {
        Ok(sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&self.pool).await?)
    }

    /// Which server this is, whatever it is called; `None` where it does not tell.
    pub async fn server_identity(&self) -> Option<String> {
        sqlx::query_scalar(
            "SELECT concat(system_identifier, ' ', pg_postmaster_start_time())
             FROM pg_control_system()",
        )
        .fetch_one(&self.pool)
        .await
        .ok()
    }

    /// Whether the schema is the one that this version expects, or a newer one.
    pub async fn is_migrated(&self) -> Result<bool, LedgerError> {
        let wanted = migrator().iter().map(|m| m.version).max().unwrap_or(0);
        let there: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
            .fetch_one(&self.pool)
            .await?;
        if !there {
            return Ok(false);
        }
        let have: Option<i64> =
            sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success")
                .fetch_one(&self.pool)
                .await?;
        Ok(have.unwrap_or(0) >= wanted)
    }

    /// Closes every connection.
    pub async fn close(&self) {
        tokio::join!(self.pool.close(), self.intake.close(), self.due.close());
    }

    /// The pool, for tests that read the truth behind the ledger's back.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }
}

/// Whether it is the session that failed, and not what was asked: SQLSTATE classes 57P and 08.
fn is_over(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|it| it.code());
    let ended = code.is_some_and(|code| code.starts_with("57P") || code.starts_with("08"));
    ended || matches!(error, sqlx::Error::Io(_) | sqlx::Error::Protocol(_))
}

fn waited_in_vain(error: &sqlx::migrate::MigrateError) -> bool {
    use sqlx::migrate::MigrateError::{Execute, ExecuteMigration};
    let (Execute(cause) | ExecuteMigration(cause, _)) = error else { return false };
    let code = cause.as_database_error().and_then(|error| error.code());
    code.as_deref() == Some(LOCK_NOT_AVAILABLE)
}

/// The migrations that are compiled in. A newer schema than ours is tolerated: the previous
/// version goes on serving while the next one rolls out.
pub fn migrator() -> sqlx::migrate::Migrator {
    let mut migrator = sqlx::migrate!();
    migrator.set_ignore_missing(true);
    migrator
}
