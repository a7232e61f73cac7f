//! Looking at a preview's database and role. Changes nothing.

use std::sync::atomic::Ordering;

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::admin::{Admin, fault, literal};
use crate::database::{DatabasesSeen, Login, Password};
use crate::fault::Fault;
use crate::preview::observed::DatabaseSeen;
use crate::preview::{ComponentName, PreviewName, Seen};

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

/// The databases whose names lie between the second and the third, as the role of the first sees them.
const COMPONENTS: &str = "
    SELECT d.datname::text AS name,
           pg_get_userbyid(d.datdba) AS owner,
           d.datallowconn AS open,
           d.datconnlimit AS connection_limit,
           shobj_description(d.oid, 'pg_database') AS comment,
           COALESCE(has_database_privilege(r.oid, d.oid, 'CONNECT'), false) AS granted
    FROM pg_database d LEFT JOIN pg_roles r ON r.rolname = $1
    WHERE d.datname >= $2::name AND d.datname < $3::name";

pub(super) async fn observe(
    admin: &Admin,
    name: &PreviewName,
    password: &Password,
) -> DatabasesSeen {
    match look(admin, name, password).await {
        Ok(seen) => seen,
        Err(error) => {
            let why = fault(format!("looking at database {}", name.database()), &error).to_string();
            DatabasesSeen::unknown(&why)
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
        return Ok(DatabasesSeen::unknown("it is being worked on"));
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
    let components = components(admin, &mut session, name, password).await?;
    let stale = match password.login() {
        Login::First => "second_open",
        Login::Second => "first_open",
    };
    if !row.try_get::<bool, _>("there")? {
        return Ok(DatabasesSeen { database: Seen::Absent, role, components });
    }
    let stale_login = row.try_get::<Option<bool>, _>(stale)?.unwrap_or_default();
    let database = judge(admin, &row, &name.database(), password, stale_login)?;
    Ok(DatabasesSeen { database, role, components })
}

/// The names of the databases of a preview's components.
pub(super) async fn of_components(
    session: &mut PgConnection,
    name: &PreviewName,
) -> Result<Vec<String>, sqlx::Error> {
    named(session, name, "true").await
}

/// The same of those that are ours and can be opened.
pub(super) async fn opened_of_components(
    admin: &Admin,
    session: &mut PgConnection,
    name: &PreviewName,
) -> Result<Vec<String>, sqlx::Error> {
    let owner = literal(&admin.owner);
    let is_open = "datallowconn AND datconnlimit <> -2";
    named(session, name, &format!("{is_open} AND pg_get_userbyid(datdba) = {owner}")).await
}

async fn named(
    session: &mut PgConnection,
    name: &PreviewName,
    filter: &str,
) -> Result<Vec<String>, sqlx::Error> {
    let [from, to] = between(name);
    let sql = format!(
        "SELECT datname::text FROM pg_database
         WHERE datname >= $1::name AND datname < $2::name AND {filter}"
    );
    let all: Vec<String> =
        sqlx::query_scalar(AssertSqlSafe(sql)).bind(from).bind(to).fetch_all(session).await?;
    Ok(all.into_iter().filter(|it| ComponentName::parse_database(it).is_some()).collect())
}

/// Where the names of the databases of a preview's components begin, and what comes after them all.
fn between(name: &PreviewName) -> [String; 2] {
    ["__", "_`"].map(|end| format!("{}{end}", name.database()))
}

/// The databases of a preview's components that are there.
async fn components(
    admin: &Admin,
    session: &mut PgConnection,
    name: &PreviewName,
    password: &Password,
) -> Result<Vec<(ComponentName, Seen<DatabaseSeen>)>, sqlx::Error> {
    let [from, to] = between(name);
    let rows =
        sqlx::query(COMPONENTS).bind(name.role()).bind(from).bind(to).fetch_all(session).await?;
    let mut found = Vec::new();
    for row in rows {
        let database: String = row.try_get("name")?;
        if let Some((_, component)) = ComponentName::parse_database(&database) {
            // Which login is open is the same for all of them.
            found.push((component, judge(admin, &row, &database, password, false)?));
        }
    }
    Ok(found)
}

/// What a row says of a database that is there.
fn judge(
    admin: &Admin,
    row: &PgRow,
    database: &str,
    password: &Password,
    stale_login: bool,
) -> Result<Seen<DatabaseSeen>, sqlx::Error> {
    let owner: String = row.try_get("owner")?;
    if owner != admin.owner {
        return Ok(Seen::Foreign(format!("database {database} is owned by {owner}")));
    }
    if row.try_get::<i32, _>("connection_limit")? == -2 {
        // PostgreSQL marks a database so when its DROP was interrupted.
        return Ok(Seen::Leaving("an interrupted drop".to_owned()));
    }
    let comment: Option<String> = row.try_get("comment")?;
    let finished = comment.as_deref().and_then(finished);
    let ours = finished.is_some_and(|(_, key)| key == password.fingerprint());
    let (open, granted): (bool, bool) = (row.try_get("open")?, row.try_get("granted")?);
    let generation = finished.map(|(generation, _)| generation);
    Ok(Seen::Present(DatabaseSeen { ready: open && granted && ours, generation, stale_login }))
}

/// The comment that finishes a database: its generation, and whose password its role has. A ledger
/// that was lost and rebuilt has another password, which is how that is noticed.
pub(super) fn comment(generation: u32, password: &Password) -> String {
    format!("mayfly generation {generation} key {}", password.fingerprint())
}

/// Reads [`comment`] back.
pub(super) fn finished(comment: &str) -> Option<(u32, &str)> {
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
    let read = |name: &String| match ComponentName::parse_database(name) {
        Some((preview, _)) => Some(preview),
        None => PreviewName::parse_role(name),
    };
    let mut names: Vec<_> = names.iter().filter_map(read).collect();
    // One preview has two roles.
    names.sort();
    names.dedup();
    Ok(names)
}
