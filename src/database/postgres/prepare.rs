//! The server before its first preview: what we may do there, the marker roles, and which doors
//! stand open.
//!
//! Rights are probed and never guessed from a version. Refuses to begin without those that a
//! preview needs; goes on without the others, and says once what an administrator can do.

use std::sync::atomic::Ordering;

use sqlx::PgConnection;

use super::admin::{Admin, code, fault, ident, run};
use crate::fault::Fault;

/// Creates the marker roles and closes the maintenance databases to everybody else.
pub(super) async fn prepare(admin: &Admin) -> Result<(), Fault> {
    let mut session = admin.connect().await?;
    let me = may_create(&mut session).await?;
    for role in [&admin.owner, &admin.app] {
        marker(&mut session, role, &me).await?;
    }
    close_doors(&mut session).await?;
    // `SET` rights on a parameter, and the function that tells them, came together with 15.
    let bounded: Result<bool, _> =
        sqlx::query_scalar("SELECT has_parameter_privilege('temp_file_limit', 'SET')")
            .fetch_one(&mut session)
            .await;
    let bounded = bounded.unwrap_or_default();
    admin.bounds_files.store(bounded, Ordering::Relaxed);
    if !bounded {
        tracing::warn!(
            "databases.admin_url: previews' temporary files are not bounded, since {me} may not \
             set temp_file_limit; a superuser can run: GRANT SET ON PARAMETER temp_file_limit TO {}",
            ident(&me)
        );
    }
    let _ = sqlx::Connection::close(session).await;
    Ok(())
}

/// Who we are, if that is somebody who may make databases and roles.
async fn may_create(session: &mut PgConnection) -> Result<String, Fault> {
    let doing = "asking what databases.admin_url may do";
    let (me, may): (String, bool) = sqlx::query_as(
        "SELECT rolname::text, rolsuper OR (rolcreatedb AND rolcreaterole)
         FROM pg_roles WHERE rolname = current_user",
    )
    .fetch_one(session)
    .await
    .map_err(|error| fault(doing, &error))?;
    if may {
        return Ok(me);
    }
    let cure = format!("a superuser has to run: ALTER ROLE {} CREATEDB CREATEROLE", ident(&me));
    Err(Fault::permanent(doing, format!("{me} may not make databases and roles; {cure}")))
}

/// Makes a marker role, and us a member of it: whoever gives a database to a role, or makes other
/// roles members, has to be able to act as that role.
async fn marker(session: &mut PgConnection, role: &str, me: &str) -> Result<(), Fault> {
    match run(session, &format!("CREATE ROLE {} NOLOGIN", ident(role))).await {
        // Another replica, or an earlier start.
        Err(error) if code(&error) == "42710" => {}
        other => other.map_err(|error| fault(format!("creating role {role}"), &error))?,
    }
    let joined = run(session, &format!("GRANT {} TO CURRENT_USER", ident(role))).await;
    let holds: bool = sqlx::query_scalar("SELECT pg_has_role($1::name, 'USAGE')")
        .bind(role)
        .fetch_one(session)
        .await
        .map_err(|error| fault(format!("joining {role}"), &error))?;
    match joined {
        Ok(()) if holds => Ok(()),
        // 42501: somebody else made it, and did not let us administer it.
        Err(error) if code(&error) != "42501" => Err(fault(format!("joining {role}"), &error)),
        _ => {
            let (role, me) = (ident(role), ident(me));
            let why = format!(
                "{me} does not have its rights. Whoever made it has to run: GRANT {role} TO {me} \
                 WITH ADMIN OPTION; and {me} must be a role that inherits: ALTER ROLE {me} INHERIT"
            );
            Err(Fault::permanent(format!("joining role {role}"), why))
        }
    }
}

/// A preview's role that can connect to a database that everybody may use reads there which others
/// there are, and can leave large objects behind, which keep it from being dropped.
async fn close_doors(session: &mut PgConnection) -> Result<(), Fault> {
    let home: String = sqlx::query_scalar("SELECT current_database()::text")
        .fetch_one(&mut *session)
        .await
        .map_err(|error| fault("asking for the maintenance database", &error))?;
    for database in ["postgres", "template1", &home] {
        // Who does not own it gets an error or a mere warning, as the server likes; what counts is
        // what holds afterwards.
        let close = format!("REVOKE CONNECT ON DATABASE {} FROM PUBLIC", ident(database));
        if let Err(error) = run(session, &close).await {
            tracing::debug!(database, %error, "PUBLIC can still connect to a maintenance database");
        }
    }
    let open: Vec<String> = sqlx::query_scalar(
        "SELECT quote_ident(datname) FROM pg_database
         WHERE datallowconn AND has_database_privilege('public', oid, 'CONNECT')
         ORDER BY datname",
    )
    .fetch_all(session)
    .await
    .map_err(|error| fault("listing open databases", &error))?;
    if !open.is_empty() {
        let open = open.join(", ");
        tracing::warn!(
            "previews' roles can connect to other databases of their server; their owner, or a \
             superuser, can run: REVOKE CONNECT ON DATABASE {open} FROM PUBLIC"
        );
    }
    Ok(())
}
