//! What is measured: the release binary as people run it, with a ledger that flushes to disk.
//!
//! Nothing is switched off that production has on.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mayfly::demo::github::{GitHubStandIn, PullSpec};
use mayfly::demo::postgres::Postgres;
use mayfly::forge::signature::sign;
use secrecy::SecretString;
use sqlx::{Connection, PgConnection};
use tokio::process::{Child, Command};

/// The repository whose pull requests are told of.
pub const SHOP: &str = "acme/shop";

/// How many pull requests there are. None is to have a preview: what is measured is how it is heard of.
pub const PULLS: u32 = 200;

const SECRET: &str = "the secret of the bench";

pub struct Stage {
    pub ledger: Postgres,
    pub previews: Postgres,
    github: GitHubStandIn,
    pub main: SocketAddr,
    pub mayfly: Child,
    /// From its start to its first good answer.
    pub started_in: Duration,
}

impl Stage {
    pub async fn set(directory: &Path) -> Result<Self> {
        let ledger = durable(directory).await?;
        run(&ledger, "postgres", &["CREATE DATABASE mayfly"]).await?;
        let previews = durable(directory).await?;
        let github = GitHubStandIn::start((Ipv4Addr::LOCALHOST, 0).into()).await?;
        github.add_repository(4711, SHOP);
        for number in 1..=PULLS {
            let mut spec = PullSpec::new("A change", &format!("{number:040x}"));
            spec.labels = vec!["no-preview".to_owned()];
            github.open_pull(SHOP, number, spec);
        }
        let [main, operations, dns, proxy] = [(); 4].map(|()| free_port());
        let seed = std::path::absolute("seed-data/shop")?;
        let config = directory.join("mayfly.yaml");
        let data = directory.join("data");
        std::fs::write(&config, configuration(&data, &seed, [main, operations, dns, proxy]))?;
        let call = |word: &str| {
            let mut command = Command::new(binary());
            command.arg(word).arg("--config").arg(&config);
            command.env("MAYFLY_LEDGER__URL", ledger.url("mayfly"));
            command.env("MAYFLY_DATABASES__ADMIN_URL", previews.url("postgres"));
            command.env("MAYFLY_GITHUB__API_URL", github.api_url());
            command.env("MAYFLY_GITHUB__TOKEN", github.token());
            command.env("MAYFLY_GITHUB__WEBHOOK_SECRET", SECRET);
            command.env("MAYFLY_LOG", "info").kill_on_drop(true);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        ensure!(
            call("migrate").stderr(Stdio::inherit()).status().await?.success(),
            "mayfly migrate failed"
        );
        let begun = Instant::now();
        let mayfly = call("serve").spawn().context("mayfly serve; cargo build --release")?;
        let ready = format!("http://127.0.0.1:{operations}/readyz");
        while !reqwest::get(&ready).await.is_ok_and(|it| it.status().is_success()) {
            ensure!(begun.elapsed() < Duration::from_secs(30), "mayfly serve is not ready");
            tokio::task::yield_now().await;
        }
        let started_in = begun.elapsed();
        let main = (Ipv4Addr::LOCALHOST, main).into();
        Ok(Self { ledger, previews, github, main, mayfly, started_in })
    }

    /// Signed deliveries of about this size, one for each pull request.
    pub fn deliveries(&self, bytes: usize) -> Vec<Signed> {
        let secret = SecretString::from(SECRET);
        (1..=PULLS)
            .map(|number| {
                let whole = self.github.payload(SHOP, number, "edited");
                // What GitHub sends beside is of no use to us; what is left out makes it a small one.
                let mut body = if bytes < 4096 { essence(&whole) } else { whole };
                let short = bytes.saturating_sub(body.to_string().len());
                body["pull_request"]["body"] = varied(short).into();
                let body = body.to_string().into_bytes();
                Signed { signature: sign(&secret, &body), body }
            })
            .collect()
    }
}

/// A server as production has it: what it says is done, is on the disk.
async fn durable(directory: &Path) -> Result<Postgres> {
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
pub struct Signed {
    pub body: Vec<u8>,
    pub signature: String,
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

fn configuration(data: &Path, seed: &Path, [main, operations, dns, proxy]: [u16; 4]) -> String {
    let (data, seed) = (data.display(), seed.display());
    format!(
        "instance: bench
listen: 127.0.0.1:{main}
operations_listen: 127.0.0.1:{operations}
ledger: {{}}
previews: {{suffix: preview.localhost, port: {proxy}}}
github: {{}}
cluster:
  local: {{data_dir: '{data}', proxy_listen: '127.0.0.1:{proxy}'}}
dns:
  embedded: {{listen: '127.0.0.1:{dns}', target: 127.0.0.1}}
databases: {{}}
policy: {{skip_label: no-preview}}
repositories:
  - name: {SHOP}
    workload: {{command: ['/bin/true']}}
    seed: {{directories: ['{seed}/migrations']}}
"
    )
}
