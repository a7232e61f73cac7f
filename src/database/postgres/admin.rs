//! The administrator's sessions: connecting, quoting, locking.
//!
//! The only file that builds SQL text from parts; refuses a part that is not an identifier that
//! we minted or a literal that it quoted itself.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI32};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgDatabaseError, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Postgres};

use crate::fault::Fault;

/// How long a connection attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What is being done when no session comes to be; names the key that a person looks at.
const CONNECTING: &str = "connecting to the previews' PostgreSQL server (databases.admin_url)";

/// The administrator of the previews' server.
pub(super) struct Admin {
    options: RwLock<PgConnectOptions>,
    /// Where the URL is read again when a login is refused: mounted secrets are rotated in place.
    url_file: Option<PathBuf>,
    /// For looks; what changes something has a session of its own, see [`Admin::lock`].
    pool: PgPool,
    /// Sessions without a lock, for the next change.
    pub(super) kept: Mutex<Vec<PgConnection>>,
    /// Whether we may bound the temporary files of roles.
    pub(super) bounds_files: AtomicBool,
    /// `server_version_num` at the last look; 0 before the first.
    pub(super) version: AtomicI32,
    /// Owns every database of ours, and cannot log in.
    pub(super) owner: String,
    /// Owns every object in them; each preview's role is a member.
    pub(super) app: String,
    /// Templates begin with this.
    pub(super) template_prefix: String,
    /// Clones in advance begin with this.
    pub(super) spare_prefix: String,
}

impl Admin {
    pub(super) fn new(url: &str, url_file: Option<PathBuf>, instance: &str) -> Result<Self, Fault> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if instance.is_empty() || instance.len() > 30 || !instance.chars().all(plain) {
            return Err(Fault::permanent(
                "reading instance",
                format!("{instance:?} must be 1 to 30 lower-case letters, digits or underscores"),
            ));
        }
        let options = options(url)?;
        let pool = PgPoolOptions::new()
            .max_connections(4)
            .acquire_timeout(CONNECT_TIMEOUT)
            .connect_lazy_with(for_looks(&options));
        Ok(Self {
            options: RwLock::new(options),
            url_file,
            pool,
            kept: Mutex::default(),
            bounds_files: AtomicBool::new(false),
            version: AtomicI32::new(0),
            owner: format!("{instance}_owner"),
            app: format!("{instance}_app"),
            template_prefix: format!("{instance}_seed_"),
            spare_prefix: format!("{instance}_spare_"),
        })
    }

    /// A pooled session for looks.
    pub(super) async fn look(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        match self.pooled().await {
            Err(error) if refused(&error) && self.read_again() => self.pooled().await,
            other => other,
        }
    }

    /// The pool keeps trying a server that is down until its time is up, and then does not say why;
    /// so a pool without sessions is asked after the server itself was.
    async fn pooled(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        if self.pool.size() == 0 {
            self.knock().await?;
        }
        match self.pool.acquire().await {
            Err(sqlx::Error::PoolTimedOut) => {
                self.knock().await?;
                Err(sqlx::Error::PoolTimedOut)
            }
            other => other,
        }
    }

    /// Whether the server lets us in; if not, why not.
    async fn knock(&self) -> Result<(), sqlx::Error> {
        let options = self.options();
        let opened = tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect_with(&options));
        let late = |_| sqlx::Error::Io(std::io::Error::new(ErrorKind::TimedOut, "no answer"));
        opened.await.map_err(late)??.close().await
    }

    /// Opens a session on the maintenance database.
    pub(super) async fn connect(&self) -> Result<PgConnection, Fault> {
        self.connect_with(|options| options).await
    }

    /// Opens a session on another database, as the administrator.
    pub(super) async fn connect_to(&self, database: &str) -> Result<PgConnection, Fault> {
        self.connect_with(|options| options.database(database)).await
    }

    /// Opens a session on another database, as another role.
    pub(super) async fn connect_as(
        &self,
        database: &str,
        role: &str,
        password: &str,
    ) -> Result<PgConnection, Fault> {
        let options = self.options().database(database).username(role).password(password);
        open(&options).await?.map_err(|error| fault(CONNECTING, &error))
    }

    async fn connect_with(
        &self,
        change: impl Fn(PgConnectOptions) -> PgConnectOptions + Send,
    ) -> Result<PgConnection, Fault> {
        let opened = match open(&change(self.options())).await? {
            Err(error) if refused(&error) && self.read_again() => {
                open(&change(self.options())).await?
            }
            other => other,
        };
        opened.map_err(|error| fault(CONNECTING, &error))
    }

    /// Reads the URL's file again, once per refused login; whether it says something new.
    fn read_again(&self) -> bool {
        let Some(path) = &self.url_file else { return false };
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let Ok(fresh) = options(text.trim_end_matches(['\r', '\n'])) else { return false };
        // Its Debug is all of it, the password included; it is compared and never shown.
        if format!("{fresh:?}") == format!("{:?}", self.options()) {
            return false;
        }
        tracing::info!("databases.admin_url_file holds another URL than before; using it");
        self.pool.set_connect_options(for_looks(&fresh));
        *self.options.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        true
    }

    fn options(&self) -> PgConnectOptions {
        self.options.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The server's address as we reach it.
    pub(super) fn address(&self) -> (String, u16) {
        let options = self.options();
        (options.get_host().to_owned(), options.get_port())
    }
}

fn options(url: &str) -> Result<PgConnectOptions, Fault> {
    let options: Result<PgConnectOptions, _> = url.parse();
    options
        .map(|options| options.application_name("mayfly"))
        .map_err(|error| Fault::permanent("reading databases.admin_url", error))
}

fn for_looks(options: &PgConnectOptions) -> PgConnectOptions {
    options.clone().options([("statement_timeout", "5s")])
}

/// The outer error is that there was no answer.
async fn open(options: &PgConnectOptions) -> Result<Result<PgConnection, sqlx::Error>, Fault> {
    tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect_with(options))
        .await
        .map_err(|_| Fault::transient(CONNECTING, "no answer"))
}

/// Whether the server did not let us in: SQLSTATE class 28.
fn refused(error: &sqlx::Error) -> bool {
    code(error).starts_with("28")
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

/// Whether the server's certificate is the trouble, or ours: sqlx says the first as a failure to
/// read or write, since that is when it turns out.
fn is_tls(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Tls(_) => true,
        sqlx::Error::Io(io) => io.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()),
        _ => false,
    }
}

/// What a person can do about a refusal that is not about a statement.
fn cure(code: &str) -> &'static str {
    match code {
        // A read-only transaction, which is all that a standby has.
        "25006" => {
            "; it is in recovery or read-only: databases.admin_url has to lead to the primary"
        }
        _ if code.starts_with("28") => {
            "; databases.admin_url has to be one that the server lets in"
        }
        _ => "",
    }
}

/// Makes a fault of a server's error: what a person has to mend is permanent.
pub(super) fn fault(doing: impl Into<String>, error: &sqlx::Error) -> Fault {
    let code = code(error);
    // Classes of SQLSTATE: 28 authorisation, 42 syntax or access rule, 3D no such database.
    let permanent = ["28", "42", "3D"].iter().any(|class| code.starts_with(class));
    if is_tls(error) {
        let cure = "sslmode and sslrootcert in databases.admin_url have to fit the server's \
                    certificate and the name in the URL";
        return Fault::permanent(doing, format!("TLS: {error}; {cure}"));
    }
    let text = match error.as_database_error() {
        Some(answer) => {
            // Since 16 it is the detail that says which right is missing.
            let detail = answer.try_downcast_ref::<PgDatabaseError>().and_then(|e| e.detail());
            let detail = detail.filter(|_| code == "42501").unwrap_or_default();
            let space = if detail.is_empty() { "" } else { ". " };
            format!("{}{space}{detail} (SQLSTATE {code}){}", answer.message(), cure(&code))
        }
        None if matches!(error, sqlx::Error::Io(_)) => {
            format!("{error}; see that the server runs and that databases.admin_url leads to it")
        }
        None => error.to_string(),
    };
    if permanent { Fault::permanent(doing, text) } else { Fault::transient(doing, text) }
}
