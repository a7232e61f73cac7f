//! Removing a preview's database and role.
//!
//! Refuses to drop what does not carry our mark, and what somebody else is working on.

use sqlx::{Connection, PgConnection};

use super::admin::{Admin, code, fault, ident, run};
use super::logins::is_ours;
use super::look::of_components;
use crate::fault::{Disposition, Fault};
use crate::preview::PreviewName;

/// Drops a preview's databases: those of its components, whoever they are, and then its own.
pub(super) async fn databases(admin: &Admin, name: &PreviewName) -> Result<(), Fault> {
    let own = name.database();
    let doing = || format!("dropping database {own}");
    let Some(mut locked) = admin.lock(&own).await? else {
        return Err(Fault::transient(doing(), "it is being worked on"));
    };
    let dropped = async {
        let session = &mut locked.session;
        let beside = of_components(session, name).await.map_err(|e| fault(doing(), &e))?;
        for database in beside {
            match drop_database(admin, session, &database).await {
                // Somebody else's, which keeps nothing of ours.
                Err(fault) if fault.disposition == Disposition::NotOurs => {}
                dropped => dropped?,
            }
        }
        drop_database(admin, session, &own).await
    }
    .await;
    admin.release(locked).await;
    dropped
}

async fn drop_database(
    admin: &Admin,
    session: &mut PgConnection,
    database: &str,
) -> Result<(), Fault> {
    let doing = || format!("dropping database {database}");
    let found: Option<(String, i32)> = sqlx::query_as(
        "SELECT pg_get_userbyid(datdba)::text, datconnlimit FROM pg_database WHERE datname = $1",
    )
    .bind(database)
    .fetch_optional(&mut *session)
    .await
    .map_err(|e| fault(doing(), &e))?;
    let Some((owner, limit)) = found else { return Ok(()) };
    if owner != admin.owner {
        return Err(Fault::not_ours(doing(), format!("it is owned by {owner}")));
    }
    // An interrupted drop left it invalid: nobody can connect, and only a drop is allowed.
    if limit != -2 {
        let close = format!("ALTER DATABASE {} ALLOW_CONNECTIONS false", ident(database));
        run(session, &close).await.map_err(|e| fault(doing(), &e))?;
    }
    drop_by_force(session, database).await
}

/// Drops a database and ends the sessions in it. Only a superuser, or a member of
/// `pg_signal_backend`, may end those of roles that are not ours (and the autovacuum's, which a drop
/// without force ends by itself).
pub(super) async fn drop_by_force(session: &mut PgConnection, database: &str) -> Result<(), Fault> {
    let doing = || format!("dropping database {database}");
    let drop = format!("DROP DATABASE IF EXISTS {}", ident(database));
    match run(session, &format!("{drop} WITH (FORCE)")).await {
        Err(error) if code(&error) == "42501" => {}
        other => return other.map_err(|e| fault(doing(), &e)),
    }
    match run(session, &drop).await {
        Err(error) if code(&error) == "55006" => Err(Fault::permanent(
            doing(),
            format!(
                "{error}; the sessions are of a role whose sessions we may not end. End them, or let \
                 a superuser run: GRANT pg_signal_backend TO <the role in databases.admin_url>"
            ),
        )),
        other => other.map_err(|e| fault(doing(), &e)),
    }
}

/// Drops the roles of both logins; the second one, which is a member of the first, before it.
pub(super) async fn roles(admin: &Admin, name: &PreviewName) -> Result<(), Fault> {
    role(admin, name, name.second_role()).await?;
    role(admin, name, name.role()).await
}

async fn role(admin: &Admin, name: &PreviewName, role: String) -> Result<(), Fault> {
    let doing = || format!("dropping role {role}");
    let Some(mut locked) = admin.lock(&name.database()).await? else {
        return Err(Fault::transient(doing(), "it is being worked on"));
    };
    let mut dropped = drop_role(admin, &mut locked.session, &role).await;
    if let Ok(Dropped::StillOwns) = dropped {
        disown(admin, &mut locked.session, &role).await;
        dropped = drop_role(admin, &mut locked.session, &role).await;
    }
    admin.release(locked).await;
    match dropped? {
        Dropped::Gone => Ok(()),
        Dropped::StillOwns => Err(Fault::permanent(
            doing(),
            format!(
                "it owns or was granted something in another database: DROP OWNED BY {role} there"
            ),
        )),
    }
}

/// How far the drop of a role came.
enum Dropped {
    Gone,
    /// It owns or was granted something somewhere.
    StillOwns,
}

async fn drop_role(
    admin: &Admin,
    session: &mut PgConnection,
    role: &str,
) -> Result<Dropped, Fault> {
    let doing = || format!("dropping role {role}");
    match is_ours(session, &admin.app, role).await.map_err(|e| fault(doing(), &e))? {
        None => return Ok(Dropped::Gone),
        Some(true) => {}
        Some(false) => {
            return Err(Fault::not_ours(doing(), format!("it is not a member of {}", admin.app)));
        }
    }
    match run(session, &format!("DROP ROLE IF EXISTS {}", ident(role))).await {
        Err(error) if code(&error) == "2BP01" => Ok(Dropped::StillOwns),
        other => other.map(|()| Dropped::Gone).map_err(|e| fault(doing(), &e)),
    }
}

/// Drops what a role left in other databases: where PUBLIC may connect to one, a preview can make
/// large objects there. What cannot be dropped is said by the drop of the role that follows.
async fn disown(admin: &Admin, session: &mut PgConnection, role: &str) {
    let databases: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT d.datname::text FROM pg_shdepend s
             JOIN pg_roles r ON r.oid = s.refobjid AND s.refclassid = 'pg_authid'::regclass
             JOIN pg_database d ON d.datallowconn AND d.oid
                 = CASE WHEN s.dbid = 0 AND s.classid = 'pg_database'::regclass THEN s.objid
                        ELSE s.dbid END
         WHERE r.rolname = $1 LIMIT 32",
    )
    .bind(role)
    .fetch_all(session)
    .await
    .unwrap_or_default();
    for database in databases {
        let Ok(mut there) = admin.connect_to(&database).await else { continue };
        let dropped = run(&mut there, &format!("DROP OWNED BY {}", ident(role))).await;
        tracing::info!(role, database, fine = dropped.is_ok(), "dropped what a role left there");
        let _ = there.close().await;
    }
}
