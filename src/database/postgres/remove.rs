//! Removing a preview's database and role.
//!
//! Refuses to drop what does not carry our mark, and what somebody else is working on.

use sqlx::PgConnection;

use super::admin::{Admin, code, fault, ident, run};
use crate::fault::Fault;
use crate::preview::PreviewName;

pub(super) async fn database(admin: &Admin, name: &PreviewName) -> Result<(), Fault> {
    let database = name.database();
    let doing = || format!("dropping database {database}");
    let Some(mut locked) = admin.lock(&database).await? else {
        return Err(Fault::transient(doing(), "it is being worked on"));
    };
    let dropped = drop_database(admin, &mut locked.session, &database).await;
    locked.release().await;
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
    let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", ident(database));
    run(session, &sql).await.map_err(|e| fault(doing(), &e))
}

pub(super) async fn role(admin: &Admin, name: &PreviewName) -> Result<(), Fault> {
    let role = name.role();
    let doing = || format!("dropping role {role}");
    let Some(mut locked) = admin.lock(&name.database()).await? else {
        return Err(Fault::transient(doing(), "it is being worked on"));
    };
    let dropped = drop_role(admin, &mut locked.session, &role).await;
    locked.release().await;
    dropped
}

async fn drop_role(admin: &Admin, session: &mut PgConnection, role: &str) -> Result<(), Fault> {
    let doing = || format!("dropping role {role}");
    let ours: Option<bool> = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
                        WHERE m.member = r.oid AND g.rolname = $2)
         FROM pg_roles r WHERE r.rolname = $1",
    )
    .bind(role)
    .bind(&admin.app)
    .fetch_optional(&mut *session)
    .await
    .map_err(|e| fault(doing(), &e))?;
    match ours {
        None => return Ok(()),
        Some(true) => {}
        Some(false) => {
            return Err(Fault::not_ours(doing(), format!("it is not a member of {}", admin.app)));
        }
    }
    match run(session, &format!("DROP ROLE IF EXISTS {}", ident(role))).await {
        Err(error) if code(&error) == "2BP01" => Err(Fault::permanent(
            doing(),
            format!(
                "{error}; it owns or was granted something in another database: \
                     DROP OWNED BY {role} there"
            ),
        )),
        other => other.map_err(|e| fault(doing(), &e)),
    }
}
