//! The administrator's sessions: connecting, quoting, locking.
//!
//! The only file that builds SQL text from parts; refuses a part that is not an identifier that
//! we minted or a literal that it quoted itself.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::fault::Fault;

/// How long a connection attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The administrator of the previews' server.
pub(super) struct Admin {
    options: PgConnectOptions,
    /// For looks; what changes something has a session of its own, see [`Admin::lock`].
    pub(super) pool: PgPool,
    /// Owns every database of ours, and cannot log in.
    pub(super) owner: String,
    /// Owns every object in them; each preview's role is a member.
    pub(super) app: String,
    /// Templates begin with this.
    pub(super) template_prefix: String,
}

/// A session that holds the lock of one database's name. Dropping it closes the session, and so
/// frees the lock, as soon as the server is done with what it was last asked.
pub(super) struct Locked {
    pub(super) session: PgConnection,
}

impl Locked {
    /// Frees the lock now: a session that is merely dropped holds it until the server notices, and
    /// a look in between would take the database for one that is being worked on.
    pub(super) async fn release(mut self) {
        // Where this fails the session is broken, and the lock goes with it.
        let _ = run(&mut self.session, "SELECT pg_advisory_unlock_all()").await;
        let _ = self.session.close().await;
    }
}

impl Admin {
    pub(super) fn new(options: PgConnectOptions, instance: &str) -> Result<Self, Fault> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if instance.is_empty() || instance.len() > 30 || !instance.chars().all(plain) {
            return Err(Fault::permanent(
                "reading instance",
                format!("{instance:?} must be 1 to 30 lower-case letters, digits or underscores"),
            ));
        }
        let options = options.application_name("mayfly");
        let looks = options.clone().options([("statement_timeout", "5s")]);
        let pool = PgPoolOptions::new()
            .max_connections(4)
            .acquire_timeout(CONNECT_TIMEOUT)
            .connect_lazy_with(looks);
        Ok(Self {
            options,
            pool,
            owner: format!("{instance}_owner"),
            app: format!("{instance}_app"),
            template_prefix: format!("{instance}_seed_"),
        })
    }

    /// Creates the marker roles and closes the maintenance databases to everybody else.
    pub(super) async fn prepare(&self) -> Result<(), Fault> {
        let mut session = self.connect().await?;
        for role in [&self.owner, &self.app] {
            let create = format!("CREATE ROLE {} NOLOGIN", ident(role));
            match run(&mut session, &create).await {
                // Another replica, or an earlier start.
                Err(error) if code(&error) == "42710" => {}
                other => other.map_err(|e| fault(format!("creating role {role}"), &e))?,
            }
            let grant = format!("GRANT {} TO CURRENT_USER", ident(role));
            // A superuser needs no membership, and a member none twice.
            run(&mut session, &grant).await.map_err(|e| fault(format!("joining {role}"), &e))?;
        }
        // A preview's role that can connect to a database that everybody may use can leave large
        // objects there, which keep it from being dropped for ever.
        for database in ["postgres", "template1"] {
            let close = format!("REVOKE CONNECT ON DATABASE {database} FROM PUBLIC");
            if let Err(error) = run(&mut session, &close).await {
                tracing::warn!(database, %error, "PUBLIC can still connect to a maintenance database");
            }
        }
        let open: Vec<String> = sqlx::query_scalar(
            "SELECT datname FROM pg_database
             WHERE datallowconn AND has_database_privilege('public', oid, 'CONNECT')
             ORDER BY datname",
        )
        .fetch_all(&mut session)
        .await
        .map_err(|e| fault("listing open databases", &e))?;
        if !open.is_empty() {
            tracing::warn!(databases = ?open, "previews' roles can connect to these databases; \
                 REVOKE CONNECT ON DATABASE … FROM PUBLIC closes them");
        }
        let _ = session.close().await;
        Ok(())
    }

    /// Opens a session on the maintenance database.
    pub(super) async fn connect(&self) -> Result<PgConnection, Fault> {
        self.connect_with(&self.options).await
    }

    /// Opens a session on another database, as the administrator.
    pub(super) async fn connect_to(&self, database: &str) -> Result<PgConnection, Fault> {
        self.connect_with(&self.options.clone().database(database)).await
    }

    /// Opens a session on another database, as another role.
    pub(super) async fn connect_as(
        &self,
        database: &str,
        role: &str,
        password: &str,
    ) -> Result<PgConnection, Fault> {
        let options = self.options.clone().database(database).username(role).password(password);
        self.connect_with(&options).await
    }

    async fn connect_with(&self, options: &PgConnectOptions) -> Result<PgConnection, Fault> {
        let doing = "connecting to the previews' PostgreSQL server";
        match tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect_with(options)).await {
            Ok(session) => session.map_err(|error| fault(doing, &error)),
            Err(_) => Err(Fault::transient(doing, "no answer")),
        }
    }

    /// Takes the lock of a database's name; `None` while somebody holds it, which may be a session
    /// whose client is long gone but whose last statement still runs.
    pub(super) async fn lock(&self, database: &str) -> Result<Option<Locked>, Fault> {
        let mut session = self.connect().await?;
        let got: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtextextended($1, 0))")
            .bind(database)
            .fetch_one(&mut session)
            .await
            .map_err(|error| fault(format!("locking {database}"), &error))?;
        Ok(got.then_some(Locked { session }))
    }

    /// The server's address as we reach it.
    pub(super) fn address(&self) -> (String, u16) {
        (self.options.get_host().to_owned(), self.options.get_port())
    }
}

/// Runs one statement, or several as one implicit transaction.
pub(super) async fn run(session: &mut PgConnection, sql: &str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(session).await.map(|_| ())
}

/// Quotes an identifier.
pub(super) fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quotes a literal; the server's `standard_conforming_strings` is on since 9.1.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The SQLSTATE of an error, or nothing.
pub(super) fn code(error: &sqlx::Error) -> String {
    error.as_database_error().and_then(|e| e.code()).map(|c| c.into_owned()).unwrap_or_default()
}

/// Makes a fault of a server's error: what a person has to mend is permanent.
pub(super) fn fault(doing: impl Into<String>, error: &sqlx::Error) -> Fault {
    let code = code(error);
    // Classes of SQLSTATE: 28 authorisation, 42 syntax or access rule, 3D no such database.
    let permanent = ["28", "42", "3D"].iter().any(|class| code.starts_with(class));
    let text = match error.as_database_error() {
        Some(answer) => format!("{} (SQLSTATE {code})", answer.message()),
        None => error.to_string(),
    };
    if permanent { Fault::permanent(doing, text) } else { Fault::transient(doing, text) }
}
