//! A real PostgreSQL server that a test stops and starts again, where it was and as it was.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use mayfly::demo::postgres::Postgres;
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::wait::until;

/// The server, its program and its data; a stop is what an administrator's fast shutdown is.
pub struct Outage {
    pub server: Postgres,
    program: PathBuf,
    data: PathBuf,
    again: Option<Child>,
}

impl Outage {
    /// A server of its own, which runs.
    pub async fn new() -> Self {
        let server = Postgres::start(&std::env::temp_dir()).await.unwrap();
        let mut session = PgConnection::connect(&server.url("postgres")).await.unwrap();
        let data: String =
            sqlx::query_scalar("SHOW data_directory").fetch_one(&mut session).await.unwrap();
        session.close().await.unwrap();
        let data = PathBuf::from(data);
        let process = format!("/proc/{}/exe", pid(&data).unwrap().as_raw_nonzero());
        let program = std::fs::read_link(process).unwrap();
        Self { server, program, data, again: None }
    }

    /// Stops it, sessions and all, and waits until nobody listens.
    pub async fn stop(&mut self) {
        kill_process(pid(&self.data).unwrap(), Signal::INT).unwrap();
        until("the server has stopped", async || pid(&self.data).is_none()).await;
        if let Some(mut again) = self.again.take() {
            again.wait().unwrap();
        }
    }

    /// Starts it; it answers a moment later.
    pub fn start(&mut self) {
        let owner = std::fs::metadata(&self.data).unwrap();
        let mut command = Command::new(&self.program);
        command.arg("-D").arg(&self.data).current_dir("/").env("LC_ALL", "C");
        command.uid(owner.uid()).gid(owner.gid());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.again = Some(command.spawn().unwrap());
    }

    /// From the next start on it is a standby that nobody feeds: it answers, and only reads.
    pub fn demote(&self) {
        let owner = std::fs::metadata(&self.data).unwrap();
        let signal = self.data.join("standby.signal");
        std::fs::write(&signal, "").unwrap();
        std::os::unix::fs::chown(&signal, Some(owner.uid()), Some(owner.gid())).unwrap();
    }

    /// Runs a statement as the superuser, once the server answers.
    pub async fn run(&self, sql: &str) {
        let url = self.server.url("postgres");
        until("the server answers", async || PgConnection::connect(&url).await.is_ok()).await;
        let mut session = PgConnection::connect(&url).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut session).await.unwrap();
        session.close().await.unwrap();
    }

    /// Ends it, and its directory with it.
    pub async fn end(mut self) {
        self.stop().await;
        let Self { server, .. } = self;
        server.stop().await.unwrap();
    }
}

/// The running server's process, as its data directory says.
fn pid(data: &Path) -> Option<Pid> {
    let text = std::fs::read_to_string(data.join("postmaster.pid")).ok()?;
    Pid::from_raw(text.lines().next()?.trim().parse().ok()?)
}
