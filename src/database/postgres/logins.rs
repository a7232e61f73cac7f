//! The two logins of a preview: the role that owns what it makes, and one that acts as that role.
//!
//! They take turns: the one whose turn it is gets a new password and may log in, and the other one is
//! locked when nothing uses it any more, so that at each moment one of two passwords works. Refuses to
//! lock the one whose turn it is.

use std::sync::atomic::Ordering;

use sqlx::{Connection, PgConnection};

use super::Inner;
use super::admin::{code, fault, ident, literal, run};
use super::clone::Wanted;
use super::look::opened_of_components;
use crate::database::{Login, Password};
use crate::fault::Fault;
use crate::preview::PreviewName;

/// How long a session that is told to end may take, in milliseconds.
const END_MILLISECONDS: i64 = 2_000;

/// Makes both roles, as far as they are needed, and opens the login whose turn it is.
pub(super) async fn ensure(
    inner: &Inner,
    session: &mut PgConnection,
    wanted: &Wanted<'_>,
    verifier: &str,
) -> Result<(), Fault> {
    let (name, login) = (wanted.name, wanted.password.login());
    let app = &inner.admin.app;
    let open = open(inner, verifier);
    let first = name.role();
    if login == Login::First {
        return make(session, app, &first, &open, &marks(app)).await;
    }
    // Whether the first login is open is not said here: it is locked when nothing uses it any more.
    make(session, app, &first, "NOCREATEDB NOCREATEROLE", &marks(app)).await?;
    let second = name.second_role();
    let marks = format!("IN ROLE {}, {} ROLE CURRENT_USER", ident(app), ident(&first));
    make(session, app, &second, &open, &marks).await?;
    let acts = format!("ALTER ROLE {} SET role = {}", ident(&second), literal(&first));
    run(session, &acts).await.map_err(|e| fault(format!("making role {second}"), &e))
}

/// What the server gets of a password (RFC 5802), so that no statement log holds the password itself.
pub(super) fn verifier(password: &Password) -> String {
    postgres_protocol::password::scram_sha_256(password.reveal().as_bytes())
}

/// The statements that make the first login, where no role of its name is there.
pub(super) fn first(inner: &Inner, name: &PreviewName, verifier: &str) -> String {
    let (role, open, marks) = (name.role(), open(inner, verifier), marks(&inner.admin.app));
    let bounded = inner.admin.bounds_files.load(Ordering::Relaxed);
    let bound = if bounded { format!("; {}", bound(&role)) } else { String::new() };
    format!("CREATE ROLE {} {open} {marks}{bound}", ident(&role))
}

/// What opens a login.
fn open(inner: &Inner, verifier: &str) -> String {
    let limit = inner.config.connection_limit;
    let verifier = literal(verifier);
    format!("LOGIN NOCREATEDB NOCREATEROLE CONNECTION LIMIT {limit} PASSWORD {verifier}")
}

/// Membership is the ownership mark, and is given in the statement that creates. Its own rights are ours
/// too: who is no superuser may only end sessions of roles that it is in.
fn marks(app: &str) -> String {
    format!("IN ROLE {} ROLE CURRENT_USER", ident(app))
}

fn bound(role: &str) -> String {
    format!("ALTER ROLE {} SET temp_file_limit = '1GB'", ident(role))
}

/// Makes a role of ours with these attributes, or gives it to one that is there.
async fn make(
    session: &mut PgConnection,
    app: &str,
    role: &str,
    attributes: &str,
    marks: &str,
) -> Result<(), Fault> {
    let doing = || format!("making role {role}");
    let sql = match is_ours(session, app, role).await.map_err(|e| fault(doing(), &e))? {
        None => format!("CREATE ROLE {} {attributes} {marks}", ident(role)),
        Some(true) => format!("ALTER ROLE {} {attributes}", ident(role)),
        Some(false) => {
            return Err(Fault::not_ours(doing(), format!("it is not a member of {app}")));
        }
    };
    run(session, &sql).await.map_err(|e| fault(doing(), &e))?;
    // Not everybody may bound temporary files; that was said at the start.
    match run(session, &bound(role)).await {
        Err(error) if code(&error) != "42501" => Err(fault(doing(), &error)),
        _ => Ok(()),
    }
}

/// Whether a role carries our mark; `None` where there is no such role.
pub(super) async fn is_ours(
    session: &mut PgConnection,
    app: &str,
    role: &str,
) -> Result<Option<bool>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
                        WHERE m.member = r.oid AND g.rolname = $2)
         FROM pg_roles r WHERE r.rolname = $1",
    )
    .bind(role)
    .bind(app)
    .fetch_optional(session)
    .await
}

/// Locks the login whose turn it is not.
pub(super) async fn lock(
    inner: &Inner,
    name: &PreviewName,
    password: &Password,
) -> Result<(), Fault> {
    let (current, former) = (password.login(), password.login().other());
    let role = former.role(name);
    let doing = || format!("locking login {role}");
    let Some(mut locked) = inner.admin.lock(&name.database()).await? else {
        return Err(Fault::transient(doing(), "its database is being worked on"));
    };
    let done = async {
        let session = &mut locked.session;
        let app = &inner.admin.app;
        match is_ours(session, app, &role).await.map_err(|e| fault(doing(), &e))? {
            None => return Ok(()),
            Some(true) => {}
            Some(false) => {
                return Err(Fault::not_ours(doing(), format!("it is not a member of {app}")));
            }
        }
        let open: Option<bool> =
            sqlx::query_scalar("SELECT rolcanlogin FROM pg_roles WHERE rolname = $1")
                .bind(current.role(name))
                .fetch_optional(&mut *session)
                .await
                .map_err(|e| fault(doing(), &e))?;
        if open != Some(true) {
            return Err(Fault::transient(doing(), "the other login is not open yet"));
        }
        let close = format!("ALTER ROLE {} NOLOGIN PASSWORD NULL", ident(&role));
        run(session, &close).await.map_err(|e| fault(doing(), &e))?;
        let ended: Option<bool> = sqlx::query_scalar(
            "SELECT bool_and(pg_terminate_backend(pid, $2)) FROM pg_stat_activity
             WHERE usename = $1",
        )
        .bind(&role)
        .bind(END_MILLISECONDS)
        .fetch_one(&mut *session)
        .await
        .map_err(|e| fault(doing(), &e))?;
        if ended == Some(false) {
            return Err(Fault::transient(doing(), "a session of it has not ended yet"));
        }
        match former {
            Login::First => Ok(()),
            Login::Second => {
                // In one that was never finished nobody made anything.
                let beside = opened_of_components(&inner.admin, session, name).await;
                let beside = beside.map_err(|e| fault(doing(), &e))?;
                for database in beside.iter().chain([&name.database()]) {
                    disown(inner, name, &role, database).await?;
                }
                Ok(())
            }
        }
    }
    .await;
    inner.admin.release(locked).await;
    done
}

/// Gives the first role what the second one made as itself, as a client may that resets its role.
async fn disown(
    inner: &Inner,
    name: &PreviewName,
    role: &str,
    database: &str,
) -> Result<(), Fault> {
    let doing = || format!("giving {} what {role} made", name.role());
    let mut inside = inner.admin.connect_to(database).await?;
    let give = format!("REASSIGN OWNED BY {} TO {}", ident(role), ident(&name.role()));
    let given = run(&mut inside, &give).await.map_err(|e| fault(doing(), &e));
    let _ = inside.close().await;
    given
}
