//! Making a preview's role and its clone of the template.
//!
//! A clone is closed until it is finished: created without connections, then in one transaction
//! commented, granted to its role alone, and opened. A crash in between leaves what the next call
//! finishes. The template's own grants are not copied, and its objects belong to the app role.

use sqlx::PgConnection;

use super::Inner;
use super::admin::{code, fault, ident, literal, run};
use super::begin::{begin, spares};
use super::look::{comment, finished};
use super::remove::drop_by_force;
use super::spare::hand_out;
use super::{logins, template};
use crate::database::{Password, Seed};
use crate::fault::{Fault, Progress};
use crate::preview::{ComponentName, PreviewName};

/// Up to this size the write-ahead log is the faster way to copy; above it, files are.
const WAL_LOG_MAX_BYTES: i64 = 100 * 1024 * 1024;

pub(super) struct Wanted<'a> {
    pub(super) name: &'a PreviewName,
    pub(super) generation: u32,
    pub(super) password: &'a Password,
    /// The components that have a database of their own.
    pub(super) components: &'a [ComponentName],
}

/// Makes or converges both, on a session that holds the name's lock.
pub(super) async fn ensure(
    inner: &Inner,
    session: &mut PgConnection,
    seed: &Seed,
    wanted: &Wanted<'_>,
) -> Result<Progress, Fault> {
    // It takes as long to compute as a round trip.
    let password = wanted.password.clone();
    let verifier = tokio::task::spawn_blocking(move || logins::verifier(&password));
    let (verifier, spares) = tokio::join!(verifier, spares(inner, session, seed, wanted));
    let doing = || format!("making database {}", wanted.name.database());
    let verifier = verifier.map_err(|panic| Fault::permanent(doing(), panic))?;
    if begin(inner, session, seed, wanted, &verifier, spares).await {
        return Ok(Progress::Done);
    }
    logins::ensure(inner, session, wanted, &verifier).await?;
    // The preview's own, which tells that all are there, last.
    let components = wanted.components.iter().map(|it| it.database(wanted.name));
    for database in components.chain([wanted.name.database()]) {
        if let underway @ Progress::Underway(_) =
            one(inner, session, seed, wanted, &database).await?
        {
            return Ok(underway);
        }
    }
    Ok(Progress::Done)
}

/// Makes or converges one database.
async fn one(
    inner: &Inner,
    session: &mut PgConnection,
    seed: &Seed,
    wanted: &Wanted<'_>,
    database: &str,
) -> Result<Progress, Fault> {
    let doing = || format!("making database {database}");
    let there: Option<(String, Option<String>, i32)> = sqlx::query_as(
        "SELECT pg_get_userbyid(datdba)::text, shobj_description(oid, 'pg_database'), datconnlimit
         FROM pg_database WHERE datname = $1",
    )
    .bind(database)
    .fetch_optional(&mut *session)
    .await
    .map_err(|e| fault(doing(), &e))?;
    let is_stale = |comment: &Option<String>| {
        let of = comment.as_deref().and_then(finished);
        of.is_some_and(|(generation, _)| generation != wanted.generation)
    };
    let is_there = match there {
        Some((owner, ..)) if owner != inner.admin.owner => {
            return Err(Fault::not_ours(doing(), format!("it is owned by {owner}")));
        }
        // A component's, of data that the preview's own was rid of before; or a drop that was cut off.
        Some((_, comment, limit))
            if *database != wanted.name.database() && (limit == -2 || is_stale(&comment)) =>
        {
            drop_by_force(session, database).await?;
            false
        }
        found => found.is_some(),
    };
    let opening = opening(wanted, database);
    let open = async |session: &mut PgConnection| {
        let opened = run(session, &opening).await;
        opened.map_err(|error| fault(format!("opening database {database}"), &error))
    };
    if is_there {
        open(session).await?;
        return Ok(Progress::Done);
    }
    let Some(template) = template::ready(inner, seed).await? else {
        return Ok(Progress::Underway("database: its template is being seeded".to_owned()));
    };
    inner.spares.wanted(&template);
    if !hand_out(inner, session, &template, database, &opening).await? {
        let _turn = inner.clones.acquire().await;
        create(inner, session, database, &template).await?;
        open(session).await?;
    }
    inner.spares.call();
    Ok(Progress::Done)
}

/// Clones a template, closed.
pub(super) async fn create(
    inner: &Inner,
    session: &mut PgConnection,
    database: &str,
    template: &str,
) -> Result<(), Fault> {
    let doing = || format!("cloning {template} into {database}");
    let bytes = size(session, template).await?;
    let strategy = if bytes <= WAL_LOG_MAX_BYTES { "wal_log" } else { "file_copy" };
    let sql = format!(
        "CREATE DATABASE {} TEMPLATE {} OWNER {} ALLOW_CONNECTIONS false STRATEGY {strategy}",
        ident(database),
        ident(template),
        ident(&inner.admin.owner),
    );
    match run(session, &sql).await {
        // 42P04: it is there after all, whose is to be seen. 55006: somebody is connected to the
        // template. 3D000: the template is gone. Each time, look again.
        Err(error) if matches!(code(&error).as_str(), "42P04" | "55006" | "3D000") => {
            Err(Fault::transient(doing(), error))
        }
        other => other.map_err(|e| fault(doing(), &e)),
    }
}

/// How large a database is, in bytes.
pub(super) async fn size(session: &mut PgConnection, database: &str) -> Result<i64, Fault> {
    sqlx::query_scalar("SELECT pg_database_size($1::name)")
        .bind(database)
        .fetch_one(session)
        .await
        .map_err(|error| fault(format!("measuring {database}"), &error))
}

/// Comment, grant, open: several statements in one message are one transaction.
pub(super) fn opening(wanted: &Wanted<'_>, name: &str) -> String {
    let (database, role) = (ident(name), ident(&wanted.name.role()));
    format!(
        "COMMENT ON DATABASE {database} IS {};
         REVOKE ALL ON DATABASE {database} FROM PUBLIC;
         GRANT CONNECT, TEMPORARY ON DATABASE {database} TO {role};
         ALTER DATABASE {database} ALLOW_CONNECTIONS true",
        literal(&comment(wanted.generation, wanted.password))
    )
}
