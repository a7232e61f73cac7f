//! One change at a time to what has one name, whoever makes it.
//!
//! Refuses to wait: somebody else's change is looked for again later.

use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tokio::time::timeout;

use super::admin::{Admin, fault, run};
use crate::fault::Fault;

/// How many sessions are kept for the next change: opening one takes longer than most of what it is for.
const KEPT_SESSIONS: usize = 4;

/// How long one that was kept may take to answer before another is opened.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// A session that holds the lock of one database's name. Dropping it closes the session, and so
/// frees the lock, as soon as the server is done with what it was last asked.
pub(super) struct Locked {
    pub(super) session: PgConnection,
}

impl Admin {
    /// Takes the lock of a database's name; `None` while somebody holds it, which may be a session
    /// whose client is long gone but whose last statement still runs.
    pub(super) async fn lock(&self, database: &str) -> Result<Option<Locked>, Fault> {
        let kept = self.kept().pop();
        if let Some(mut session) = kept
            // One that the server ended meanwhile, or that a firewall forgot, is not missed.
            && let Ok(Ok(got)) = timeout(ANSWERS_WITHIN, try_lock(&mut session, database)).await
        {
            if got {
                return Ok(Some(Locked { session }));
            }
            self.keep(true, session);
            return Ok(None);
        }
        let mut session = self.connect().await?;
        let got = try_lock(&mut session, database).await;
        let got = got.map_err(|error| fault(format!("locking {database}"), &error))?;
        Ok(got.then_some(Locked { session }))
    }

    /// Frees the lock now: a session that is merely dropped holds it until the server notices, and
    /// a look in between would take the database for one that is being worked on.
    pub(super) async fn release(&self, mut locked: Locked) {
        // Where this fails the session is broken, and the lock goes with it.
        let freed = run(&mut locked.session, "SELECT pg_advisory_unlock_all()").await;
        let Some(surplus) = self.keep(freed.is_ok(), locked.session) else { return };
        let _ = surplus.close().await;
    }

    /// Keeps a session that is fit for another change; gives it back where there is no room.
    fn keep(&self, fit: bool, session: PgConnection) -> Option<PgConnection> {
        let mut kept = self.kept();
        if fit && kept.len() < KEPT_SESSIONS {
            kept.push(session);
            return None;
        }
        Some(session)
    }

    fn kept(&self) -> MutexGuard<'_, Vec<PgConnection>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn try_lock(session: &mut PgConnection, database: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtextextended($1, 0))")
        .bind(database)
        .fetch_one(session)
        .await
}
