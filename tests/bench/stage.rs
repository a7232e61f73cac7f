//! What is measured: the release binary as people run it, with a ledger that flushes to disk.
//!
//! Nothing is switched off that production has on.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mayfly::demo::github::{GitHubStandIn, PullSpec};
use mayfly::demo::postgres::Postgres;
use mayfly::forge::signature::sign;
use rustix::process::{Pid, Signal, kill_process};
use secrecy::SecretString;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::process::{Child, Command};

use super::setup::{Place, configuration};

/// The repository whose pull requests are told of.
pub const SHOP: &str = "acme/shop";

/// How many pull requests there are. None is to have a preview: what is measured is how it is heard of.
pub const PULLS: u32 = 200;

const SECRET: &str = "the secret of the bench";

/// The repository's id.
pub const SHOP_ID: i64 = 4711;

/// What an installation is called, and its database on the ledger's server.
#[derive(Clone, Copy)]
pub struct Name {
    pub instance: &'static str,
    pub database: &'static str,
}

/// The one that only hears of pull requests.
const ALONE: Name = Name { instance: "bench", database: "mayfly" };

/// The one of which it is measured how soon it works on what it heard.
pub const PICKING: Name = Name { instance: "benchpick", database: "mayfly_pickup" };

/// The one whose previews run in a stand-in for a cluster.
pub const CLUSTERED: Name = Name { instance: "benchk8s", database: "mayfly_cluster" };

/// The one whose previews run in a real one.
pub const REAL: Name = Name { instance: "benchreal", database: "mayfly_real" };

/// One installation: its process, and the forge that it talks to.
pub struct Stage {
    pub ledger: Arc<Postgres>,
    pub previews: Arc<Postgres>,
    pub github: GitHubStandIn,
    pub main: SocketAddr,
    pub mayfly: Child,
    pub name: Name,
    operations: u16,
    config: PathBuf,
}

impl Stage {
    /// Servers, and an installation whose previews none of its pull requests is to have.
    pub async fn set(directory: &Path, place: &Place<'_>) -> Result<Self> {
        let servers = (Arc::new(durable(directory).await?), Arc::new(durable(directory).await?));
        run(&servers.0, "postgres", &["CREATE DATABASE mayfly"]).await?;
        let github = forge(PULLS).await?;
        Self::begin(directory, servers, github, ALONE, place).await
    }

    /// Another installation on the same servers, that hears of so many pull requests that are to have no
    /// preview.
    pub async fn beside(
        &self,
        directory: &Path,
        name: Name,
        pulls: u32,
        place: &Place<'_>,
    ) -> Result<Self> {
        let mut session = PgConnection::connect(&self.ledger.url("postgres")).await?;
        let create = AssertSqlSafe(format!("CREATE DATABASE {}", name.database));
        sqlx::raw_sql(create).execute(&mut session).await?;
        session.close().await?;
        let servers = (self.ledger.clone(), self.previews.clone());
        let github = forge(pulls).await?;
        Self::begin(directory, servers, github, name, place).await
    }

    async fn begin(
        directory: &Path,
        (ledger, previews): (Arc<Postgres>, Arc<Postgres>),
        github: GitHubStandIn,
        name: Name,
        place: &Place<'_>,
    ) -> Result<Self> {
        let ports = [(); 3].map(|()| free_port());
        let seed = std::path::absolute("seed-data/shop")?;
        let instance = name.instance;
        let config = directory.join(format!("{instance}.yaml"));
        let data = directory.join(instance);
        std::fs::create_dir_all(&data)?;
        std::fs::write(&config, configuration(instance, &data, &seed, ports, place))?;
        let [main, operations, ..] = ports;
        let main = (Ipv4Addr::LOCALHOST, main).into();
        let call = |word| call(word, &config, &github, (&ledger, name), &previews);
        ensure!(
            call("migrate").stderr(Stdio::inherit()).status().await?.success(),
            "mayfly migrate failed"
        );
        let mayfly = call("serve").spawn().context("mayfly serve; cargo build --release")?;
        let stage = Self { ledger, previews, github, main, mayfly, name, operations, config };
        stage.ready().await?;
        Ok(stage)
    }

    /// Waits until it says that it is ready.
    pub async fn ready(&self) -> Result<()> {
        let begun = Instant::now();
        let ready = format!("http://127.0.0.1:{}/readyz", self.operations);
        while !reqwest::get(&ready).await.is_ok_and(|it| it.status().is_success()) {
            ensure!(begun.elapsed() < Duration::from_secs(30), "mayfly serve is not ready");
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Has the process end as an update does.
    pub async fn stop(&mut self) -> Result<()> {
        let pid = self.mayfly.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        kill_process(pid.context("mayfly serve has ended")?, Signal::TERM)?;
        self.mayfly.wait().await?;
        Ok(())
    }

    /// Starts it again, and does not wait.
    pub fn start(&mut self) -> Result<()> {
        let ledger = (&*self.ledger, self.name);
        let mut serve = call("serve", &self.config, &self.github, ledger, &self.previews);
        self.mayfly = serve.spawn()?;
        Ok(())
    }

    /// What GitHub says when this happened to a pull request.
    pub fn delivery(&self, number: u32, action: &str) -> Signed {
        Signed::of(&self.github.payload(SHOP, number, action))
    }

    /// Signed deliveries of about this size, one for each pull request.
    pub fn deliveries(&self, bytes: usize) -> Vec<Signed> {
        (1..=PULLS)
            .map(|number| {
                let whole = self.github.payload(SHOP, number, "edited");
                // What GitHub sends beside is of no use to us; what is left out makes it a small one.
                let mut body = if bytes < 4096 { essence(&whole) } else { whole };
                let short = bytes.saturating_sub(body.to_string().len());
                body["pull_request"]["body"] = varied(short).into();
                Signed::of(&body)
            })
            .collect()
    }
}

/// A forge with so many pull requests, none of which is to have a preview.
async fn forge(pulls: u32) -> Result<GitHubStandIn> {
    let github = GitHubStandIn::start((Ipv4Addr::LOCALHOST, 0).into()).await?;
    github.add_repository(SHOP_ID, SHOP);
    for number in 1..=pulls {
        open_pull(&github, number, &["no-preview"]);
    }
    Ok(github)
}

/// The head of a pull request.
pub fn commit(number: u32) -> String {
    format!("{number:040x}")
}

/// Opens a pull request of a member with these labels.
pub fn open_pull(github: &GitHubStandIn, number: u32, labels: &[&str]) {
    let mut spec = PullSpec::new("A change", &commit(number));
    spec.labels = labels.iter().map(|&it| it.to_owned()).collect();
    github.open_pull(SHOP, number, spec);
}

/// A server as production has it: what it says is done, is on the disk.
pub async fn durable(directory: &Path) -> Result<Postgres> {
    let server = Postgres::start(directory).await?;
    let settings = [
        "ALTER SYSTEM SET fsync = on",
        "ALTER SYSTEM SET synchronous_commit = on",
        "ALTER SYSTEM SET full_page_writes = on",
        "ALTER SYSTEM RESET autovacuum_naptime",
        "SELECT pg_reload_conf()",
    ];
    run(&server, "postgres", &settings).await?;
    Ok(server)
}

/// A body, and its signature.
#[derive(Clone)]
pub struct Signed {
    pub body: Vec<u8>,
    pub signature: String,
}

impl Signed {
    fn of(payload: &serde_json::Value) -> Self {
        let body = payload.to_string().into_bytes();
        Self { signature: sign(&SecretString::from(SECRET), &body), body }
    }
}

/// A command of the binary, as this installation is configured.
fn call(
    word: &str,
    config: &Path,
    github: &GitHubStandIn,
    (ledger, name): (&Postgres, Name),
    previews: &Postgres,
) -> Command {
    let mut command = Command::new(binary());
    command.arg(word).arg("--config").arg(config);
    command.env("MAYFLY_LEDGER__URL", ledger.url(name.database));
    command.env("MAYFLY_DATABASES__ADMIN_URL", previews.url("postgres"));
    command.env("MAYFLY_GITHUB__API_URL", github.api_url());
    command.env("MAYFLY_GITHUB__TOKEN", github.token());
    command.env("MAYFLY_GITHUB__WEBHOOK_SECRET", SECRET);
    command.env("MAYFLY_LOG", "info").kill_on_drop(true);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// What is read of a payload.
fn essence(whole: &serde_json::Value) -> serde_json::Value {
    let pull = &whole["pull_request"];
    serde_json::json!({
        "action": whole["action"],
        "repository": { "id": whole["repository"]["id"], "full_name": whole["repository"]["full_name"] },
        "pull_request": {
            "number": pull["number"], "state": pull["state"], "merged": pull["merged"],
            "head": { "sha": pull["head"]["sha"], "repo": { "id": pull["head"]["repo"]["id"] } },
            "base": { "repo": { "id": pull["base"]["repo"]["id"] } },
            "author_association": pull["author_association"], "title": pull["title"],
            "labels": [{ "name": "no-preview" }], "user": { "login": "ada" },
            "updated_at": pull["updated_at"],
        },
    })
}

/// Text that does not compress to nothing.
fn varied(bytes: usize) -> String {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        char::from(b'a' + (state % 26) as u8)
    };
    (0..bytes).map(|_| next()).collect()
}

/// Runs statements.
pub async fn run(server: &Postgres, database: &str, statements: &[&'static str]) -> Result<()> {
    let mut session = PgConnection::connect(&server.url(database)).await?;
    for statement in statements {
        sqlx::raw_sql(*statement).execute(&mut session).await?;
    }
    session.close().await?;
    Ok(())
}

/// Beside this program, where `cargo build --release` puts it.
pub fn binary() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.parent().and_then(Path::parent).unwrap_or(Path::new(".")).join("mayfly")
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|it| it.local_addr());
    listener.map_or(0, |address| address.port())
}
