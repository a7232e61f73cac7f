//! Reading a database's catalogue.
//!
//! Changes nothing, and runs nothing that a preview could have put there: only PostgreSQL's own
//! functions are found (`search_path`), and those write definitions out without evaluating them.
//! Refuses a catalogue that is larger than a bound.

use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::postgres::types::Oid;
use sqlx::{Connection, PgConnection};

use super::admin::{Admin, fault, run};
use crate::database::catalogue::{Catalogue, Stored};
use crate::fault::Fault;
use crate::preview::rehearsal::ObjectKind;

/// How many objects, and how many tables and indexes, a catalogue may have.
const OBJECTS_MAX: i64 = 20_000;

/// How long all of it may take.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// What keeps the session harmless: nothing of the preview's is found by a bare name, and it waits
/// for nobody's lock for long.
pub(super) const HARMLESS: &str = "SET search_path = pg_catalog; SET lock_timeout = '2s';
     SET statement_timeout = '20s'; SET default_transaction_read_only = on";

/// Everything of people's: not the server's own, and not an extension's.
const RELATIONS: &str = "
    WITH spaces AS (
        SELECT oid, nspname FROM pg_namespace
        WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'),
    extended AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e')
    SELECT c.oid, format('%I.%I', n.nspname, c.relname), c.relkind IN ('i', 'I'), c.relfilenode
    FROM pg_class c JOIN spaces n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'm', 'i', 'I') AND NOT EXISTS (
        SELECT FROM extended e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid)
    ORDER BY c.oid LIMIT $1";

/// A definition that is longer ends with its digest, so that a change after the cut is a change.
const OBJECTS: &str = include_str!("catalogue.sql");

/// Reads the catalogue of a database that lets the administrator in.
pub(super) async fn read(admin: &Admin, database: &str) -> Result<Catalogue, Fault> {
    read_from(admin.connect_to(database).await?, database).await
}

/// Reads the catalogue of the database that a session is in, and closes it.
pub(super) async fn read_from(
    mut session: PgConnection,
    database: &str,
) -> Result<Catalogue, Fault> {
    let doing = || format!("reading the catalogue of database {database}");
    let read = tokio::time::timeout(READ_TIMEOUT, read_session(&mut session)).await;
    let read = read.map_err(|_| Fault::transient(doing(), "it took too long"))?;
    let _ = session.close().await;
    let catalogue = read.map_err(|error| fault(doing(), &error))?;
    let largest = catalogue.objects.len().max(catalogue.stored.len());
    if i64::try_from(largest).is_ok_and(|largest| largest <= OBJECTS_MAX) {
        return Ok(catalogue);
    }
    Err(Fault::permanent(doing(), format!("it has more than {OBJECTS_MAX} objects")))
}

async fn read_session(session: &mut PgConnection) -> Result<Catalogue, sqlx::Error> {
    run(session, HARMLESS).await?;
    // One moment for both.
    run(session, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let relations: Vec<(Oid, String, bool, Oid)> =
        sqlx::query_as(RELATIONS).bind(OBJECTS_MAX + 1).fetch_all(&mut *session).await?;
    let objects: Vec<(String, String, String)> =
        sqlx::query_as(OBJECTS).bind(OBJECTS_MAX + 1).fetch_all(&mut *session).await?;
    run(session, "COMMIT").await?;
    let stored = relations.into_iter();
    let stored =
        stored.map(|(oid, name, index, file)| (oid.0, Stored { name, index, file: file.0 }));
    let objects: BTreeMap<_, _> = objects
        .into_iter()
        .filter_map(|(kind, name, text)| Some(((ObjectKind::parse(&kind)?, name), text)))
        .collect();
    Ok(Catalogue { objects, stored: stored.collect() })
}
