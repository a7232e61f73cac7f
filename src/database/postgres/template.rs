//! The template of a seed: built once, then closed, then only ever cloned.
//!
//! Schema and rows are written by a role that may log in to this one database and exists only for
//! as long as the seed runs, so a seed can do no harm elsewhere. Refuses a seed that takes too long
//! or grows too large.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{Connection, PgConnection};

use super::Inner;
use super::admin::{fault, ident, literal, run};
use super::remove::drop_by_force;
use super::script::run_file;
use crate::clock::fresh_bytes;
use crate::database::{Password, Seed};
use crate::fault::Fault;

/// How long a failed build is reported without trying again.
const RETRY_AFTER: TimeDelta = TimeDelta::seconds(30);

/// How old a template of a seed that is not in use becomes before it is dropped.
const RETIRE_AFTER: TimeDelta = TimeDelta::days(1);

/// A build that failed.
pub(super) struct FailedBuild {
    at: DateTime<Utc>,
    fault: Fault,
}

/// What a seed's template is called.
pub(super) fn name(inner: &Inner, seed: &Seed) -> String {
    named(inner, seed.digest())
}

/// What the template of the seed with this digest is called.
pub(super) fn named(inner: &Inner, digest: &str) -> String {
    format!("{}{}", inner.admin.template_prefix, &digest[..16])
}

/// The template of a seed, built now if need be; `None` while somebody else builds it.
pub(super) async fn ready(inner: &Inner, seed: &Seed) -> Result<Option<String>, Fault> {
    let name = name(inner, seed);
    if is_ready(inner, &name).await? {
        return Ok(Some(name));
    }
    let now = inner.clock.now();
    if let Some(failed) = inner.failed.lock().await.get(seed.digest())
        && now - failed.at < RETRY_AFTER
    {
        return Err(failed.fault.clone());
    }
    let Some(mut locked) = inner.admin.lock(&name).await? else { return Ok(None) };
    // Somebody may have finished it while we were taking the lock.
    let bound = inner.config.seed_timeout;
    let building = async {
        match close_if_built(&mut locked.session, &inner.admin.owner, &name).await? {
            true => Ok(()),
            false => build(inner, &mut locked.session, &name, seed).await,
        }
    };
    let built = match tokio::time::timeout(bound, building).await {
        Ok(built) => built,
        Err(_) => Err(Fault::permanent(
            format!("seeding template {name}"),
            format!("it took longer than {} s", bound.as_secs()),
        )),
    };
    inner.admin.release(locked).await;
    if let Err(fault) = built {
        tracing::warn!(%fault, "a seed template could not be built");
        let failed = FailedBuild { at: now, fault: fault.clone() };
        inner.failed.lock().await.insert(seed.digest().to_owned(), failed);
        return Err(fault);
    }
    Ok(Some(name))
}

pub(super) async fn is_ready(inner: &Inner, name: &str) -> Result<bool, Fault> {
    let fail = |error: sqlx::Error| fault(format!("looking for template {name}"), &error);
    let mut session = inner.admin.look().await.map_err(fail)?;
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1 AND datistemplate
                        AND NOT datallowconn AND pg_get_userbyid(datdba) = $2)",
    )
    .bind(name)
    .bind(&inner.admin.owner)
    .fetch_one(&mut *session)
    .await
    .map_err(fail)
}

/// Whether it is built; one that was left open while it was read is closed again. What makes a
/// database a template is the last act of its building, in one statement with its closing.
async fn close_if_built(
    session: &mut PgConnection,
    owner: &str,
    name: &str,
) -> Result<bool, Fault> {
    let fail = |error: sqlx::Error| fault(format!("looking for template {name}"), &error);
    let open: Option<bool> = sqlx::query_scalar(
        "SELECT datallowconn FROM pg_database
         WHERE datname = $1 AND datistemplate AND pg_get_userbyid(datdba) = $2",
    )
    .bind(name)
    .bind(owner)
    .fetch_optional(&mut *session)
    .await
    .map_err(fail)?;
    if open == Some(true) {
        let close = format!("ALTER DATABASE {} ALLOW_CONNECTIONS false", ident(name));
        run(session, &close).await.map_err(fail)?;
    }
    Ok(open.is_some())
}

async fn build(
    inner: &Inner,
    session: &mut PgConnection,
    name: &str,
    seed: &Seed,
) -> Result<(), Fault> {
    let doing = format!("seeding template {name}");
    let fail = |error: sqlx::Error| fault(doing.clone(), &error);
    let (database, owner, app) = (ident(name), ident(&inner.admin.owner), ident(&inner.admin.app));
    // The seeder is named as its template is, which makes what a crash left behind easy to find.
    let seeder = ident(name);
    drop_template(inner, session, name).await?;
    let password = Password::from_bytes(fresh_bytes());
    let verifier = postgres_protocol::password::scram_sha_256(password.reveal().as_bytes());
    for sql in [
        format!(
            // Its rights are ours too, so that we may reassign what it made and end its sessions.
            "CREATE ROLE {seeder} LOGIN CONNECTION LIMIT 2 PASSWORD {} IN ROLE {app} \
                 ROLE CURRENT_USER",
            literal(&verifier)
        ),
        format!(
            "CREATE DATABASE {database} TEMPLATE template0 ENCODING 'UTF8' OWNER {owner} \
                 ALLOW_CONNECTIONS false"
        ),
        format!(
            "REVOKE ALL ON DATABASE {database} FROM PUBLIC;
                 GRANT CONNECT, CREATE, TEMPORARY ON DATABASE {database} TO {seeder};
                 ALTER DATABASE {database} ALLOW_CONNECTIONS true"
        ),
    ] {
        run(session, &sql).await.map_err(fail)?;
    }
    let mut inside = inner.admin.connect_to(name).await?;
    run(&mut inside, &format!("ALTER SCHEMA public OWNER TO {app}")).await.map_err(fail)?;
    for extension in seed.extensions() {
        let create = format!("CREATE EXTENSION IF NOT EXISTS {}", ident(extension));
        run(&mut inside, &create).await.map_err(fail)?;
    }
    fill(inner, name, seed, &password).await?;
    // What the seed made as itself, and not as the app role, is the app role's too.
    let reassign = format!("REASSIGN OWNED BY {seeder} TO {app}; DROP OWNED BY {seeder}");
    run(&mut inside, &reassign).await.map_err(fail)?;
    let bytes: i64 = sqlx::query_scalar("SELECT pg_database_size(current_database())")
        .fetch_one(&mut inside)
        .await
        .map_err(fail)?;
    if bytes > inner.config.seed_max_bytes {
        let allowed = inner.config.seed_max_bytes;
        return Err(Fault::permanent(doing, format!("{bytes} bytes; {allowed} are allowed")));
    }
    // Clones start with frozen rows and fresh statistics. The shared catalogs are not ours to
    // vacuum, which the server says for each of them.
    run(&mut inside, "SET client_min_messages = error").await.map_err(fail)?;
    run(&mut inside, "VACUUM (FREEZE, ANALYZE)").await.map_err(fail)?;
    inside.close().await.map_err(fail)?;
    run(session, &format!("DROP ROLE {seeder}")).await.map_err(fail)?;
    let built_at = inner.clock.now().to_rfc3339();
    let close = format!(
        "COMMENT ON DATABASE {database} IS {};
         ALTER DATABASE {database} IS_TEMPLATE true ALLOW_CONNECTIONS false",
        literal(&format!("mayfly template {built_at}"))
    );
    run(session, &close).await.map_err(fail)
}

/// Runs the seed's files as the seeder, whose objects belong to the app role.
async fn fill(inner: &Inner, name: &str, seed: &Seed, password: &Password) -> Result<(), Fault> {
    let mut session = inner.admin.connect_as(name, name, password.reveal()).await?;
    let fail = |error: sqlx::Error| fault(format!("seeding template {name}"), &error);
    let seconds = inner.config.seed_timeout.as_secs();
    let prepare =
        format!("SET ROLE {}; SET statement_timeout = '{seconds}s'", ident(&inner.admin.app));
    run(&mut session, &prepare).await.map_err(fail)?;
    for file in seed.files() {
        // A dump sets search_path and more for its session; the next file starts afresh.
        run_file(&mut session, &file.sql).await.map_err(|error| {
            Fault::permanent(format!("seeding template {name}: {}", file.path), error)
        })?;
        run(&mut session, &format!("RESET ALL; {prepare}")).await.map_err(fail)?;
    }
    session.close().await.map_err(fail)
}

/// Drops a template and its seeder, whole or half-built, if they are there and ours.
async fn drop_template(inner: &Inner, session: &mut PgConnection, name: &str) -> Result<(), Fault> {
    let fail = |error: sqlx::Error| fault(format!("dropping template {name}"), &error);
    let found: Option<(String, i32)> = sqlx::query_as(
        "SELECT pg_get_userbyid(datdba)::text, datconnlimit FROM pg_database WHERE datname = $1",
    )
    .bind(name)
    .fetch_optional(&mut *session)
    .await
    .map_err(fail)?;
    if let Some((owner, limit)) = found {
        if owner != inner.admin.owner {
            let doing = format!("dropping template {name}");
            return Err(Fault::not_ours(doing, format!("it is owned by {owner}")));
        }
        if limit != -2 {
            let open =
                format!("ALTER DATABASE {} IS_TEMPLATE false ALLOW_CONNECTIONS false", ident(name));
            run(session, &open).await.map_err(fail)?;
        }
        drop_by_force(session, name).await?;
    }
    run(session, &format!("DROP ROLE IF EXISTS {}", ident(name))).await.map_err(fail)
}

/// Drops templates of seeds whose digests are not in `keep`, once they were built long enough ago that a
/// roll-out which still wants them is unlikely; one that does builds it again.
pub(super) async fn retire(inner: &Inner, keep: &BTreeSet<String>) -> Result<(), Fault> {
    let fail = |error: sqlx::Error| fault("listing templates", &error);
    let mut session = inner.admin.look().await.map_err(fail)?;
    let templates: Vec<(String, Option<String>)> = sqlx::query_as(
        "SELECT datname::text, shobj_description(oid, 'pg_database') FROM pg_database
         WHERE pg_get_userbyid(datdba) = $1 AND datistemplate AND starts_with(datname, $2)",
    )
    .bind(&inner.admin.owner)
    .bind(&inner.admin.template_prefix)
    .fetch_all(&mut *session)
    .await
    .map_err(fail)?;
    drop(session);
    for (name, comment) in templates {
        let digest = &name[inner.admin.template_prefix.len()..];
        let built_at = comment
            .as_deref()
            .and_then(|comment| comment.strip_prefix("mayfly template "))
            .and_then(|text| DateTime::parse_from_rfc3339(text).ok());
        let old = built_at.is_some_and(|at| inner.clock.now() - at.to_utc() > RETIRE_AFTER);
        if !old || keep.iter().any(|kept| kept.starts_with(digest)) {
            continue;
        }
        if let Some(mut locked) = inner.admin.lock(&name).await? {
            tracing::info!(template = %name, "dropping the template of a seed not in use");
            let dropped = drop_template(inner, &mut locked.session, &name).await;
            inner.admin.release(locked).await;
            dropped?;
        }
    }
    Ok(())
}
