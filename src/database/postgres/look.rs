//! Looking at a preview's database and role. Changes nothing.

use std::sync::atomic::Ordering;

use sqlx::Row;

use super::admin::{Admin, fault};
use crate::database::{DatabasesSeen, Login, Password};
use crate::fault::Fault;
use crate::preview::observed::DatabaseSeen;
use crate::preview::{PreviewName, Seen};

/// One row: the database or nulls, the roles of both logins or nulls, and whether somebody holds the
/// name's lock.
const LOOK: &str = "
    SELECT d.oid IS NOT NULL AS there,
           pg_get_userbyid(d.datdba) AS owner,
           d.datallowconn AS open,
           d.datconnlimit AS connection_limit,
           shobj_description(d.oid, 'pg_database') AS comment,
           r.oid IS NOT NULL AS role_there,
           COALESCE(EXISTS (SELECT 1 FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
                            WHERE m.member = r.oid AND g.rolname = $3), false) AS role_ours,
           r.rolcanlogin AS first_open,
           s.oid IS NOT NULL AS second_there,
           COALESCE(EXISTS (SELECT 1 FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
                            WHERE m.member = s.oid AND g.rolname = $3), false) AS second_ours,
           s.rolcanlogin AS second_open,
           COALESCE(has_database_privilege(r.oid, d.oid, 'CONNECT'), false) AS granted,
           current_setting('server_version_num')::int AS version,
           EXISTS (SELECT 1 FROM pg_locks l
                   WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
                     AND l.database = (SELECT oid FROM pg_database
                                       WHERE datname = current_database())
                     AND (l.classid::bigint << 32 | l.objid::bigint)
                         = hashtextextended($1, 0)) AS busy
    FROM (SELECT 1) one
    LEFT JOIN pg_database d ON d.datname = $1
    LEFT JOIN pg_roles r ON r.rolname = $2
    LEFT JOIN pg_roles s ON s.rolname = $4";

pub(super) async fn observe(
    admin: &Admin,
    name: &PreviewName,
    password: &Password,
) -> DatabasesSeen {
    match look(admin, name, password).await {
        Ok(seen) => seen,
        Err(error) => {
            let why = fault(format!("looking at database {}", name.database()), &error).to_string();
            DatabasesSeen { database: Seen::Unknown(why.clone()), role: Seen::Unknown(why) }
        }
    }
}

async fn look(
    admin: &Admin,
    name: &PreviewName,
    password: &Password,
) -> Result<DatabasesSeen, sqlx::Error> {
    let mut session = admin.look().await?;
    let row = sqlx::query(LOOK)
        .bind(name.database())
        .bind(name.role())
        .bind(&admin.app)
        .bind(name.second_role())
        .fetch_one(&mut *session)
        .await?;
    admin.version.store(row.try_get("version")?, Ordering::Relaxed);
    if row.try_get("busy")? {
        let why = || "it is being worked on".to_owned();
        return Ok(DatabasesSeen { database: Seen::Unknown(why()), role: Seen::Unknown(why()) });
    }
    let seen = |there: &str, ours: &str, role: String| -> Result<Seen<()>, sqlx::Error> {
        Ok(match (row.try_get(there)?, row.try_get(ours)?) {
            (false, _) => Seen::Absent,
            (true, true) => Seen::Present(()),
            (true, false) => Seen::Foreign(format!("role {role} is not a member of {}", admin.app)),
        })
    };
    let role = match (
        seen("role_there", "role_ours", name.role())?,
        seen("second_there", "second_ours", name.second_role())?,
    ) {
        // Either of them is something that is left.
        (Seen::Absent, second) => second,
        (Seen::Present(()), second @ Seen::Foreign(_)) => second,
        (first, _) => first,
    };
    let stale = match password.login() {
        Login::First => "second_open",
        Login::Second => "first_open",
    };
    if !row.try_get::<bool, _>("there")? {
        return Ok(DatabasesSeen { database: Seen::Absent, role });
    }
    let owner: String = row.try_get("owner")?;
    let database = if owner != admin.owner {
        Seen::Foreign(format!("database {} is owned by {owner}", name.database()))
    } else if row.try_get::<i32, _>("connection_limit")? == -2 {
        // PostgreSQL marks a database so when its DROP was interrupted.
        Seen::Leaving("an interrupted drop".to_owned())
    } else {
        let comment: Option<String> = row.try_get("comment")?;
        let finished = comment.as_deref().and_then(finished);
        let ours = finished.is_some_and(|(_, key)| key == password.fingerprint());
        let open: bool = row.try_get("open")?;
        let granted: bool = row.try_get("granted")?;
        let generation = finished.map(|(generation, _)| generation);
        let stale_login = row.try_get::<Option<bool>, _>(stale)?.unwrap_or_default();
        Seen::Present(DatabaseSeen { ready: open && granted && ours, generation, stale_login })
    };
    Ok(DatabasesSeen { database, role })
}

/// The comment that finishes a database: its generation, and whose password its role has. A ledger
/// that was lost and rebuilt has another password, which is how that is noticed.
pub(super) fn comment(generation: u32, password: &Password) -> String {
    format!("mayfly generation {generation} key {}", password.fingerprint())
}

/// Reads [`comment`] back.
fn finished(comment: &str) -> Option<(u32, &str)> {
    let (generation, key) = comment.strip_prefix("mayfly generation ")?.split_once(" key ")?;
    Some((generation.parse().ok()?, key))
}

pub(super) async fn owned(admin: &Admin) -> Result<Vec<PreviewName>, Fault> {
    let fail = |error: sqlx::Error| fault("listing our databases and roles", &error);
    let mut session = admin.look().await.map_err(fail)?;
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT datname::text FROM pg_database WHERE pg_get_userbyid(datdba) = $1
         UNION
         SELECT r.rolname::text FROM pg_roles r
             JOIN pg_auth_members m ON m.member = r.oid JOIN pg_roles g ON g.oid = m.roleid
         WHERE g.rolname = $2",
    )
    .bind(&admin.owner)
    .bind(&admin.app)
    .fetch_all(&mut *session)
    .await
    .map_err(fail)?;
    let mut names: Vec<_> = names.iter().filter_map(|name| PreviewName::parse_role(name)).collect();
    // One preview has two roles.
    names.sort();
    names.dedup();
    Ok(names)
}
