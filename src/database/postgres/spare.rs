//! Databases cloned in advance, each handed out by giving it a preview's name.
//!
//! A rename costs the same for any size, and the server lets one of those who ask have it. What a spare
//! is, its owner and its name say, which it has from its first moment: one that a crash left is found
//! again, and there is no list that could tell another story. Refuses to clone while a preview waits
//! for a clone of its own, and to fill more than its share of the disk.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use sqlx::PgConnection;
use tokio::time::timeout;

use super::admin::{code, fault, ident, run};
use super::clone::{create, size};
use super::demand::Demand;
use super::remove::drop_by_force;
use super::{Inner, template};
use crate::clock::fresh_bytes;
use crate::fault::Fault;

/// How often to look whether there are as many as there should be, when nobody takes one.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// How often while another replica does it, which need not know what we know.
const HELD_AGAIN: Duration = Duration::from_secs(2);

/// How long whoever has just got one is left alone: its first sessions come now.
const BREATH: Duration = Duration::from_millis(500);

/// How many others are tried when one was handed out to somebody else at the same moment.
pub(super) const TRIES: i64 = 8;

/// How long the session that was first in one may take to end, in milliseconds.
const END_MILLISECONDS: i64 = 2_000;

/// Where those are listed whose drop was cut off.
const SPOILED: &str = "";

/// What the names of a template's spares begin with.
pub(super) fn prefix(inner: &Inner, template: &str) -> String {
    let digest = template.strip_prefix(&inner.admin.template_prefix).unwrap_or(template);
    format!("{}{digest}_", inner.admin.spare_prefix)
}

/// Hands one out under this name and opens it like this, in one transaction; `false` when there is none.
pub(super) async fn hand_out(
    inner: &Inner,
    session: &mut PgConnection,
    template: &str,
    database: &str,
    opening: &str,
) -> Result<bool, Fault> {
    let fail = |error: sqlx::Error| fault(format!("handing out a spare as {database}"), &error);
    let spares: Vec<String> = sqlx::query_scalar(
        "SELECT datname::text FROM pg_database
         WHERE starts_with(datname, $1) AND pg_get_userbyid(datdba) = $2 AND datconnlimit <> -2
           AND NOT datallowconn ORDER BY oid LIMIT $3",
    )
    .bind(prefix(inner, template))
    .bind(&inner.admin.owner)
    .bind(TRIES)
    .fetch_all(&mut *session)
    .await
    .map_err(fail)?;
    for spare in spares {
        let spare = ident(&spare);
        let rename = format!("ALTER DATABASE {spare} RENAME TO {}; {opening}", ident(database));
        match run(session, &rename).await {
            Ok(()) => return Ok(true),
            // 3D000: somebody else has it by now. 55006: the server itself is at work in it.
            Err(error) if matches!(code(&error).as_str(), "3D000" | "55006") => {}
            // 42P04: that name is taken after all, whose is to be seen.
            Err(error) if code(&error) == "42P04" => {
                return Err(Fault::transient(format!("handing out a spare as {database}"), error));
            }
            Err(error) => return Err(fail(error)),
        }
    }
    Ok(false)
}

/// Keeps as many spares as are wanted, until the databases are dropped.
pub(super) async fn keep(inner: Weak<Inner>) {
    loop {
        let Some(there) = inner.upgrade() else { return };
        let again = match turn(&there).await {
            // None are wanted, and none are left.
            Ok(true) if there.config.spare_bytes == 0 => return,
            Ok(false) => HELD_AGAIN,
            Ok(true) => LOOK_AGAIN,
            Err(fault) => {
                tracing::warn!(%fault, "spare databases could not be seen to");
                LOOK_AGAIN
            }
        };
        let called = there.spares.called.clone();
        drop(there);
        if timeout(again, called.notified()).await.is_ok() {
            tokio::time::sleep(BREATH).await;
        }
    }
}

/// What is known of the demand for spares.
#[derive(Default)]
pub(super) struct Spares {
    /// Told when one was taken, or would have been.
    called: Arc<tokio::sync::Notify>,
    demands: std::sync::Mutex<BTreeMap<String, Demand>>,
}

impl Spares {
    /// Notes that a preview wanted a database of this template.
    pub(super) fn wanted(&self, template: &str) {
        self.with(template, |demand| demand.arrived(Instant::now()));
    }

    /// Has it looked at whether one is missing.
    pub(super) fn call(&self) {
        self.called.notify_one();
    }

    fn with<T>(&self, template: &str, change: impl FnOnce(&mut Demand) -> T) -> T {
        let demands = self.demands.lock();
        let mut demands = demands.unwrap_or_else(std::sync::PoisonError::into_inner);
        change(demands.entry(template.to_owned()).or_default())
    }
}

/// Drops what nobody wants any more, and clones what is missing; `false` where somebody else does.
pub(super) async fn turn(inner: &Inner) -> Result<bool, Fault> {
    // Of all replicas one does it at a time; the others count what it made.
    let Some(mut locked) = inner.admin.lock(&inner.admin.spare_prefix).await? else {
        return Ok(false);
    };
    let done = fill(inner, &mut locked.session).await;
    inner.admin.release(locked).await;
    done.map(|()| true)
}

async fn fill(inner: &Inner, session: &mut PgConnection) -> Result<(), Fault> {
    let mut there = there(inner, session).await?;
    // What a drop that was cut off left can only be dropped again.
    drop_all(session, &there.remove(SPOILED).unwrap_or_default()).await?;
    // Nor is one of use that was cut off before it was a spare.
    let unfinished = format!("{}new_", inner.admin.spare_prefix);
    drop_all(session, &there.remove(&unfinished).unwrap_or_default()).await?;
    let mut room = inner.config.spare_bytes;
    for digest in &inner.keep {
        let template = template::named(inner, digest);
        let spares = there.remove(&prefix(inner, &template)).unwrap_or_default();
        // One is built for the first preview that wants it, and not for nobody.
        if !template::is_ready(inner, &template).await? {
            drop_all(session, &spares).await?;
            continue;
        }
        let bytes = size(session, &template).await?.max(1);
        let wanted = inner.spares.with(&template, |demand| demand.wanted(Instant::now()));
        let most = usize::try_from(room / bytes).unwrap_or(0);
        let wanted = wanted.min(most);
        // Another replica may know of more who want one; what nobody takes is only dropped for room.
        drop_all(session, spares.get(most..).unwrap_or_default()).await?;
        room -= bytes * i64::try_from(wanted.max(spares.len()).min(most)).unwrap_or(0);
        for _ in spares.len()..wanted {
            // Whoever waits for a clone of its own goes first; it calls us when it is done.
            let Ok(_turn) = inner.clones.try_acquire() else { return Ok(()) };
            let random: String =
                fresh_bytes()[..4].iter().map(|byte| format!("{byte:02x}")).collect();
            let spare = format!("{}{random}", prefix(inner, &template));
            let fresh = format!("{}new_{random}", inner.admin.spare_prefix);
            let begun = Instant::now();
            create(inner, session, &fresh, &template).await?;
            if let Err(fault) = warm(inner, session, &fresh, &spare).await {
                drop_by_force(session, &fresh).await?;
                return Err(fault);
            }
            inner.spares.with(&template, |demand| demand.cloned_in(begun.elapsed()));
        }
    }
    // Of seeds that nobody uses any more.
    for spares in there.into_values() {
        drop_all(session, &spares).await?;
    }
    Ok(())
}

/// Enters a clone once, so that the first session of whoever gets it does not have to read the catalogue
/// from the disk: the server keeps what it found in a file of that database. Nobody else can come in. Then
/// it is closed, and a spare from that moment on.
async fn warm(
    inner: &Inner,
    session: &mut PgConnection,
    fresh: &str,
    spare: &str,
) -> Result<(), Fault> {
    let fail = |error: sqlx::Error| fault(format!("entering {fresh}"), &error);
    let database = ident(fresh);
    let revoke = format!("REVOKE ALL ON DATABASE {database} FROM PUBLIC");
    let open = format!("{revoke}; ALTER DATABASE {database} ALLOW_CONNECTIONS true");
    run(session, &open).await.map_err(fail)?;
    let mut inside = inner.admin.connect_to(fresh).await?;
    run(&mut inside, "SELECT 1").await.map_err(fail)?;
    // Ended, and seen to have: a database cannot be renamed under a session.
    sqlx::query(
        "SELECT pg_terminate_backend(pid, $2) FROM pg_stat_activity
         WHERE datname = $1 AND backend_type = 'client backend'",
    )
    .bind(fresh)
    .bind(END_MILLISECONDS)
    .execute(&mut *session)
    .await
    .map_err(fail)?;
    let close = format!("ALTER DATABASE {database} ALLOW_CONNECTIONS false");
    let rename = format!("ALTER DATABASE {database} RENAME TO {}", ident(spare));
    run(session, &format!("{close}; {rename}")).await.map_err(fail)
}

/// The spares that are there, those of each template by what their names begin with, but for [`SPOILED`].
async fn there(
    inner: &Inner,
    session: &mut PgConnection,
) -> Result<BTreeMap<String, Vec<String>>, Fault> {
    let names: Vec<(String, bool)> = sqlx::query_as(
        "SELECT datname::text, datconnlimit = -2 FROM pg_database
         WHERE starts_with(datname, $1) AND pg_get_userbyid(datdba) = $2 ORDER BY oid",
    )
    .bind(&inner.admin.spare_prefix)
    .bind(&inner.admin.owner)
    .fetch_all(session)
    .await
    .map_err(|error| fault("listing spare databases", &error))?;
    let mut there: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, spoiled) in names {
        let end = name.rfind('_').map_or(name.len(), |at| at + 1);
        let of = if spoiled { SPOILED } else { &name[..end] };
        there.entry(of.to_owned()).or_default().push(name);
    }
    Ok(there)
}

async fn drop_all(session: &mut PgConnection, spares: &[String]) -> Result<(), Fault> {
    for spare in spares {
        drop_by_force(session, spare).await?;
    }
    Ok(())
}
