//! Everything that the demo needs around the controller, and the controller itself, started the
//! way production starts it: from a configuration file's text and an environment.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use chrono::TimeDelta;
use secrecy::SecretString;
use serde_json::Value;

use super::github::GitHubStandIn;
use super::leftovers::RunDirectory;
use super::place::quoted;
use super::postgres::Postgres;
use super::script::{DOCS, SHOP, Script};
use crate::app::App;
use crate::clock::{fresh_bytes, fresh_id};
use crate::config::Config;
use crate::database::Password;
use crate::forge::signature::sign;
use crate::ledger::{Ledger, Role};

/// How long the controller may take to list open pull requests for the first time.
const FIRST_SWEEP: Duration = Duration::from_secs(20);

/// A set stage.
pub struct Stage {
    /// The server of the ledger and of the previews.
    pub postgres: Postgres,
    /// Where pull requests live.
    pub github: GitHubStandIn,
    /// The controller.
    pub app: App,
    /// Where webhooks, API and the fleet's page are.
    pub main: SocketAddr,
    /// Where previews are served.
    pub proxy: SocketAddr,
    /// Where their names are asked for.
    pub dns: SocketAddr,
    /// An administrator's token.
    pub token: String,
    /// How long a preview may take to get anywhere.
    pub patience: Duration,
    secret: SecretString,
    http: reqwest::Client,
}

impl Stage {
    /// Starts PostgreSQL, the GitHub stand-in and the controller.
    pub async fn set(script: &Script, run: &RunDirectory) -> anyhow::Result<Self> {
        let (place, seed) = (&script.place, &script.seed);
        place.check()?;
        ensure!(seed.exists(), "the sample's seed is not at {}; run make demo", seed.display());
        let postgres = Postgres::start_for(run.path(), place.guests()).await?;
        let github = GitHubStandIn::start(loopback(0)).await.context("the GitHub stand-in")?;
        github.add_repository(4711, SHOP);
        github.add_repository(4712, DOCS);
        let ledger_url = postgres.url("mayfly");
        create_ledger(&postgres).await?;
        let [main, operations, dns] = [8081, 9090, 5354].map(port_near);
        let proxy = place.entrance(loopback(port_near(script.port)));
        let secret = SecretString::from(Password::from_bytes(fresh_bytes()).reveal().to_owned());
        let place = place.cluster(&quote(&run.path().join("data"))?, proxy, postgres.address());
        let ports = [main, operations, dns, proxy.port()];
        let text = configuration(script, run.path(), ports, &place)?;
        let environment = [
            ("MAYFLY_LEDGER__URL", ledger_url.clone()),
            ("MAYFLY_DATABASES__ADMIN_URL", postgres.url("postgres")),
            ("MAYFLY_GITHUB__API_URL", github.api_url()),
            ("MAYFLY_GITHUB__TOKEN", github.token()),
            ("MAYFLY_GITHUB__WEBHOOK_SECRET", reveal(&secret)),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value));
        let config = Config::parse(&text, environment.into_iter())?;
        let ledger = Ledger::connect(&ledger_url, 2).await?;
        ledger.migrate().await?;
        let token = format!("mayfly_{}", Password::from_bytes(fresh_bytes()).reveal());
        let now = ledger.server_time().await?;
        let expires_at = now + TimeDelta::days(1);
        ledger.add_token(fresh_id(), "demo", Role::Admin, &token, expires_at, now).await?;
        ledger.close().await;
        let app = App::start(config).await?;
        // The first sweep asks for what is open before anything is: the webhooks tell the story.
        let listed = |requests: BTreeMap<String, u64>| {
            requests.get("GET /repos/{owner}/{repo}/pulls").is_some_and(|count| *count >= 2)
        };
        let asked = async {
            while !listed(github.requests()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(FIRST_SWEEP, asked).await.context("the first sweep did not come")?;
        Ok(Self {
            postgres,
            github,
            app,
            main: loopback(main),
            proxy,
            dns: loopback(dns),
            token,
            patience: script.place.patience(),
            secret,
            http: reqwest::Client::new(),
        })
    }

    /// Delivers a pull request's event as GitHub does: a full payload, signed.
    pub async fn deliver(&self, repo: &str, number: u32, action: &str) -> anyhow::Result<()> {
        let body = self.github.payload(repo, number, action).to_string();
        let answer = self
            .http
            .post(format!("http://{}/webhooks/github", self.main))
            .header("content-type", "application/json")
            .header("x-github-event", "pull_request")
            .header("x-github-delivery", fresh_id().to_string())
            .header("x-hub-signature-256", sign(&self.secret, body.as_bytes()))
            .body(body)
            .send()
            .await?;
        ensure!(answer.status() == 202, "the webhook was answered {}", answer.status());
        Ok(())
    }

    /// Asks the API.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let request = self.http.get(format!("http://{}/api/v1/{path}", self.main));
        let answer = request.bearer_auth(&self.token).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    /// Tells the API to do something.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.http.post(format!("http://{}/api/v1/{path}", self.main));
        let answer = request.bearer_auth(&self.token).json(body).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }
}

async fn create_ledger(postgres: &Postgres) -> anyhow::Result<()> {
    use sqlx::Connection;
    let mut session = sqlx::PgConnection::connect(&postgres.url("postgres")).await?;
    // Like any foreign database on the server, it is closed to previews' roles.
    for sql in ["CREATE DATABASE mayfly", "REVOKE CONNECT ON DATABASE mayfly FROM PUBLIC"] {
        sqlx::query(sql).execute(&mut session).await?;
    }
    session.close().await?;
    Ok(())
}

/// The configuration, as a person would write it.
fn configuration(
    script: &Script,
    run: &Path,
    ports: [u16; 4],
    cluster: &str,
) -> anyhow::Result<String> {
    let [main, operations, dns, proxy] = ports;
    let (workload, target) = (script.place.workload()?, script.place.target());
    let data = quote(&run.join("data"))?;
    let schema = quote(&script.seed.join("migrations"))?;
    let rows = quote(&script.seed.join("seed"))?;
    let repository = |name: &str, prefix: &str, ttl: &str, components: &str| {
        format!(
            "  - name: {name}
{prefix}    workload:
{workload}{components}      probe_path: /healthz
    seed:
      directories: [{schema}, {rows}]
    policy:
      inactivity_ttl: {ttl}
      max_life: 7d
      warn_before: 2s
"
        )
    };
    Ok(format!(
        "instance: demo
listen: 127.0.0.1:{main}
operations_listen: 127.0.0.1:{operations}
ledger: {{}}
previews:
  suffix: preview.localhost
  port: {proxy}
github:
  limits: {{points_per_minute: 100000, writes_per_minute: 10000, writes_per_hour: 100000}}
cluster:
{cluster}dns:
  embedded:
    listen: 127.0.0.1:{dns}
    target: {target}
    data_dir: {data}
databases: {{}}
registries: {}
repositories:
{}{}",
        script.place.registries()?,
        repository(SHOP, "", "1d", &script.place.components()?),
        repository(DOCS, "    prefix: docs\n", script.place.short_ttl(), ""),
    ))
}

fn quote(path: &Path) -> anyhow::Result<String> {
    quoted(path).context("a path that is not text")
}

/// The port itself if it is free, else another.
fn port_near(wanted: u16) -> u16 {
    let free = |port| TcpListener::bind(loopback(port)).and_then(|l| l.local_addr());
    free(wanted).or_else(|_| free(0)).map_or(wanted, |address| address.port())
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn reveal(secret: &SecretString) -> String {
    secrecy::ExposeSecret::expose_secret(secret).to_owned()
}
