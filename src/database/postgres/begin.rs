//! The common case: a preview that has nothing yet gets its role and a spare, in two round trips.
//!
//! Refuses whatever is not as simple as that: then nothing was done, and the long way says why.

use sqlx::PgConnection;

use super::admin::{code, ident, run};
use super::clone::{Wanted, opening};
use super::spare::{TRIES, prefix};
use super::{Inner, logins, template};
use crate::database::{Login, Seed};

/// The spares that it can begin with, the oldest first: none where that takes the long way.
pub(super) async fn spares(
    inner: &Inner,
    session: &mut PgConnection,
    seed: &Seed,
    wanted: &Wanted<'_>,
) -> Vec<String> {
    let name = wanted.name;
    if !wanted.components.is_empty() || wanted.password.login() != Login::First {
        return Vec::new();
    }
    let template = template::name(inner, seed);
    let spares = sqlx::query_scalar(
        "SELECT datname::text FROM pg_database
         WHERE starts_with(datname, $1) AND pg_get_userbyid(datdba) = $2 AND datconnlimit <> -2
           AND NOT datallowconn
           AND NOT EXISTS (SELECT FROM pg_database WHERE datname = $3)
           AND NOT EXISTS (SELECT FROM pg_roles WHERE rolname IN ($4, $5))
           AND EXISTS (SELECT FROM pg_database WHERE datname = $6 AND datistemplate
                       AND NOT datallowconn AND pg_get_userbyid(datdba) = $2)
         ORDER BY oid LIMIT $7",
    );
    let spares = spares
        .bind(prefix(inner, &template))
        .bind(&inner.admin.owner)
        .bind(name.database())
        .bind(name.role())
        .bind(name.second_role())
        .bind(&template)
        .bind(TRIES)
        .fetch_all(session);
    spares.await.unwrap_or_default()
}

/// Begins it with one of these; `false` where that did not do.
pub(super) async fn begin(
    inner: &Inner,
    session: &mut PgConnection,
    seed: &Seed,
    wanted: &Wanted<'_>,
    verifier: &str,
    spares: Vec<String>,
) -> bool {
    let login = logins::first(inner, wanted.name, verifier);
    for spare in spares {
        let (spare, database) = (ident(&spare), wanted.name.database());
        let rename = format!("ALTER DATABASE {spare} RENAME TO {}", ident(&database));
        let opening = opening(wanted, &database);
        match run(session, &format!("{login}; {rename}; {opening}")).await {
            Ok(()) => {
                inner.spares.wanted(&template::name(inner, seed));
                inner.spares.call();
                return true;
            }
            // Somebody else has it by now, or the server itself is at work in it.
            Err(error) if matches!(code(&error).as_str(), "3D000" | "55006") => {}
            Err(_) => return false,
        }
    }
    false
}
