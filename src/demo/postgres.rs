//! A PostgreSQL server of our own, for a demo or a test: started in a directory, gone with us.
//!
//! Refuses to be a server for anything that matters (it does not flush to disk), to run as root,
//! to let anybody in without a password, and to outlive the process that started it, however that
//! ends.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use ipnet::IpNet;
use sqlx::{Connection, PgConnection};
use tokio::process::{Child, Command};

use crate::clock::fresh_bytes;
use crate::database::Password;

/// How long the server may take to answer.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Waits on its standard input, which ends with whoever holds the other end; then stops the server
/// and removes its directory. SIGINT is PostgreSQL's fast shutdown.
const LIFELINE: &str = r#"
"$1/postgres" -D "$2/data" >>"$2/log" 2>&1 &
server=$!
cat >/dev/null
kill -INT $server 2>/dev/null
wait $server
rm -rf "$2"
"#;

/// A running server.
#[derive(Debug)]
pub struct Postgres {
    directory: PathBuf,
    address: SocketAddr,
    password: Password,
    lifeline: Child,
}

/// Who comes in from elsewhere, such as the pods of a cluster.
#[derive(Clone, Copy, Debug)]
pub struct Guests {
    /// The address of this machine that they know.
    pub address: IpAddr,
    /// Where they are.
    pub network: IpNet,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// No binaries.
    #[error(
        "no PostgreSQL server binaries found in $PG_BIN, /usr/lib/postgresql/*/bin or $PATH; \
         install them: apt-get install postgresql-15"
    )]
    NoBinaries,
    /// Root, and nobody to become.
    #[error("PostgreSQL does not run as root, and there is no user postgres or nobody to run it")]
    NoUser,
    /// Something about the directory.
    #[error("preparing {path}: {source}")]
    Directory {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// `initdb` or the server did not do as asked.
    #[error("{0}")]
    Failed(String),
}

impl Postgres {
    /// Makes and starts a server in a new directory below `parent`, on a free loopback port. Where we
    /// are root, every user must be able to pass through `parent`.
    pub async fn start(parent: &Path) -> Result<Self, PostgresError> {
        Self::start_for(parent, None).await
    }

    /// The same, on an address that guests reach, where there are any.
    pub async fn start_for(parent: &Path, guests: Option<Guests>) -> Result<Self, PostgresError> {
        let binaries = binaries().ok_or(PostgresError::NoBinaries)?;
        let user = unprivileged_user()?;
        let [a, b, c, d, ..] = fresh_bytes();
        let directory = parent.join(format!("mayfly-postgres-{a:02x}{b:02x}{c:02x}{d:02x}"));
        let fail = |source| PostgresError::Directory { path: directory.clone(), source };
        // Nobody else may look in: the directory holds the superuser's password for a moment, and
        // the data for as long as the server runs.
        std::fs::DirBuilder::new().mode(0o700).create(&directory).map_err(fail)?;
        let password = Password::from_bytes(fresh_bytes());
        let password_file = directory.join("password");
        std::fs::write(&password_file, password.reveal()).map_err(fail)?;
        if let Some((uid, gid)) = user {
            for path in [&directory, &password_file] {
                std::os::unix::fs::chown(path, Some(uid), Some(gid)).map_err(fail)?;
            }
        }
        let mut initdb = as_user(&binaries.join("initdb"), user);
        initdb
            .args(["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8"])
            .args(["--locale=C", "--no-sync", "--no-instructions"])
            .arg(format!("--pwfile={}", password_file.display()))
            .arg(format!("--pgdata={}", directory.join("data").display()));
        let made = initdb.output().await.map_err(fail)?;
        if !made.status.success() {
            let why = String::from_utf8_lossy(&made.stderr).into_owned();
            return Err(PostgresError::Failed(format!("initdb: {why}")));
        }
        let _ = std::fs::remove_file(&password_file);
        let host = guests.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |guests| guests.address);
        let address = free_address(host).map_err(fail)?;
        if let Some(Guests { network, .. }) = guests {
            let rules = directory.join("data").join("pg_hba.conf");
            std::fs::write(rules, format!("host all all {network} scram-sha-256\n"))
                .map_err(fail)?;
        }
        let port = address.port();
        let settings = format!(
            "listen_addresses = '{host}'\nport = {port}\nunix_socket_directories = ''\n\
             max_connections = 300\nshared_buffers = '64MB'\nfsync = off\n\
             synchronous_commit = off\nfull_page_writes = off\nautovacuum_naptime = '10min'\n\
             log_min_messages = warning\n"
        );
        let config = directory.join("data").join("postgresql.auto.conf");
        std::fs::write(config, settings).map_err(fail)?;
        let mut lifeline = as_user(Path::new("/bin/sh"), user);
        lifeline.args(["-c", LIFELINE, "lifeline"]).arg(&binaries).arg(&directory);
        // A group of its own: Ctrl-C is ours to handle, and it stops after we did.
        lifeline.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let lifeline = lifeline.spawn().map_err(fail)?;
        let server = Self { directory, address, password, lifeline };
        server.wait().await?;
        Ok(server)
    }

    /// The superuser's URL of a database.
    pub fn url(&self, database: &str) -> String {
        let password = self.password.reveal();
        format!("postgres://postgres:{password}@{}/{database}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops the server and waits until its directory is gone.
    pub async fn stop(mut self) -> Result<(), PostgresError> {
        drop(self.lifeline.stdin.take());
        let ended = tokio::time::timeout(START_TIMEOUT, self.lifeline.wait()).await;
        // The server's own user may empty its directory, but not take it out of ours.
        let _ = std::fs::remove_dir(&self.directory);
        match ended {
            Ok(Ok(_)) if !self.directory.exists() => Ok(()),
            _ => Err(PostgresError::Failed(format!(
                "PostgreSQL in {} did not stop",
                self.directory.display()
            ))),
        }
    }

    async fn wait(&self) -> Result<(), PostgresError> {
        let deadline = tokio::time::Instant::now() + START_TIMEOUT;
        loop {
            let error = match PgConnection::connect(&self.url("postgres")).await {
                Ok(connection) => {
                    let _ = connection.close().await;
                    return Ok(());
                }
                Err(error) => error,
            };
            if tokio::time::Instant::now() > deadline {
                let log = std::fs::read_to_string(self.directory.join("log")).unwrap_or_default();
                let why = format!("PostgreSQL did not start: {error}\n{log}");
                return Err(PostgresError::Failed(why));
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }
}

/// Where the server's programs are: `$PG_BIN`, the newest of Debian's, or `$PATH`.
pub fn binaries() -> Option<PathBuf> {
    let has_both = |dir: &PathBuf| dir.join("postgres").exists() && dir.join("initdb").exists();
    let configured = std::env::var_os("PG_BIN").map(PathBuf::from);
    let mut debian: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    debian.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    let path = std::env::var_os("PATH").unwrap_or_default();
    configured
        .into_iter()
        .chain(debian.into_iter().map(|(_, dir)| dir))
        .chain(std::env::split_paths(&path))
        .find(has_both)
}

/// Whom to run as when we are root: `None` when we are not.
fn unprivileged_user() -> Result<Option<(u32, u32)>, PostgresError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let find = |wanted: &str| {
        passwd.lines().find_map(|line| {
            let fields: Vec<_> = line.split(':').collect();
            let matches = fields.first() == Some(&wanted);
            matches.then(|| Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?)))?
        })
    };
    find("postgres").or_else(|| find("nobody")).map(Some).ok_or(PostgresError::NoUser)
}

fn as_user(program: &Path, user: Option<(u32, u32)>) -> Command {
    let mut command = std::process::Command::new(program);
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    // The caller's directory may be closed to that user.
    command.current_dir("/").env("LC_ALL", "C");
    Command::from(command)
}

fn free_address(host: IpAddr) -> Result<SocketAddr, std::io::Error> {
    let listener = TcpListener::bind((host, 0))?;
    listener.local_addr().map_err(|e| std::io::Error::new(ErrorKind::AddrNotAvailable, e))
}
