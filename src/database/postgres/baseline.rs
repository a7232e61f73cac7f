//! The catalogue of a seed's template: what a preview's database began as.
//!
//! A template is closed, since a session in it would keep it from being cloned. It is opened for as
//! long as one login takes, under the lock of its name, and read in some milliseconds; a clone
//! waits that long by itself (up to 5 s). Only we and superusers may connect to it even then.
//! Refuses to build a template: without one there is nothing to compare with.

use std::sync::Arc;

use sqlx::postgres::types::Oid;

use super::Inner;
use super::admin::{fault, ident, run};
use super::lock::Locked;
use super::{catalogue, template};
use crate::database::Seed;
use crate::database::catalogue::Catalogue;
use crate::fault::Fault;

/// How many templates' catalogues are kept in memory.
const KEPT_MAX: usize = 8;

/// The catalogue of the seed's template, read once and then kept: a template never changes.
pub(super) async fn of(inner: &Inner, seed: &Seed) -> Result<Arc<Catalogue>, Fault> {
    let name = template::name(inner, seed);
    let mut kept = inner.baselines.lock().await;
    let oid = oid(inner, &name).await?;
    if let Some((_, catalogue)) = kept.iter().find(|(of, _)| *of == oid) {
        return Ok(catalogue.clone());
    }
    let doing = || format!("reading template {name}");
    let Some(mut locked) = inner.admin.lock(&name).await? else {
        return Err(Fault::transient(doing(), "it is being worked on"));
    };
    let read = read(inner, &mut locked, &name).await;
    inner.admin.release(locked).await;
    let catalogue = Arc::new(read?);
    if kept.len() >= KEPT_MAX {
        kept.remove(0);
    }
    kept.push((oid, catalogue.clone()));
    Ok(catalogue)
}

/// The template's oid: one that was built again has another.
async fn oid(inner: &Inner, name: &str) -> Result<u32, Fault> {
    let fail = |error: sqlx::Error| fault(format!("looking for template {name}"), &error);
    let mut session = inner.admin.look().await.map_err(fail)?;
    let oid: Option<Oid> = sqlx::query_scalar(
        "SELECT oid FROM pg_database
         WHERE datname = $1 AND datistemplate AND pg_get_userbyid(datdba) = $2",
    )
    .bind(name)
    .bind(&inner.admin.owner)
    .fetch_optional(&mut *session)
    .await
    .map_err(fail)?;
    let gone = || Fault::transient(format!("looking for template {name}"), "it is not there");
    oid.map(|oid| oid.0).ok_or_else(gone)
}

async fn read(inner: &Inner, locked: &mut Locked, name: &str) -> Result<Catalogue, Fault> {
    set_open(locked, name, true).await?;
    let session = inner.admin.connect_to(name).await;
    // Closed again before anything else: a session that is in stays.
    set_open(locked, name, false).await?;
    catalogue::read_from(session?, name).await
}

async fn set_open(locked: &mut Locked, name: &str, open: bool) -> Result<(), Fault> {
    let sql = format!("ALTER DATABASE {} ALLOW_CONNECTIONS {open}", ident(name));
    run(&mut locked.session, &sql).await.map_err(|e| fault(format!("reading template {name}"), &e))
}
