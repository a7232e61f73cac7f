//! What stands around the product, on the machine: two database servers, a GitHub; and who speaks to
//! it from outside, through the ingress and never past it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;
use mayfly::demo::github::GitHubStandIn;
use mayfly::demo::postgres::{Guests, Postgres};
use mayfly::forge::signature::sign;
use reqwest::{Method, RequestBuilder};
use secrecy::SecretString;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::cluster::Cluster;
use super::install::{RELEASE, WEBHOOK_SECRET};
use super::private::Private;
use super::wait::within;
use super::zone::Zone;

/// The controller's own host.
pub const HOST: &str = "mayfly.example.test";

/// Previews are below this name.
pub const SUFFIX: &str = "preview.test";

pub const SHOP: &str = "acme/shop";
pub const DOCS: &str = "acme/docs";
/// Deployed by a chart of its own.
pub const CHARTED: &str = "acme/chart";

/// Several services, whose images are in a private registry.
pub const SUITE: &str = "acme/suite";

/// How long a preview may take to get somewhere on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// What the installation is told of.
pub struct Servers {
    /// Mayfly's own memory.
    pub ledger: Postgres,
    /// The previews' databases.
    pub previews: Postgres,
    /// How Mayfly gets at them: not as a superuser.
    pub admin_url: String,
    pub github: GitHubStandIn,
    pub github_port: u16,
    pub zone: Zone,
    pub private: Private,
    /// The API server's own port.
    pub api_port: u16,
}

impl Servers {
    pub async fn start(cluster: &Cluster, base: &Path) -> Self {
        let network = IpNet::new(cluster.machine_ip.into(), 16).unwrap().trunc();
        let guests = Some(Guests { address: cluster.machine_ip.into(), network });
        let ledger = Postgres::start_for(base, guests).await.unwrap();
        run(&ledger, &["CREATE DATABASE mayfly"]).await;
        let previews = Postgres::start_for(base, guests).await.unwrap();
        // As docs/databases.md has it.
        let password = "of-the-previews-admin";
        let role =
            format!("CREATE ROLE mayfly_admin LOGIN CREATEDB CREATEROLE PASSWORD '{password}'");
        let home = "CREATE DATABASE mayfly_admin OWNER mayfly_admin";
        let close = "REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC";
        let bound = "GRANT SET ON PARAMETER temp_file_limit TO mayfly_admin";
        run(&previews, &[&role, home, close, bound]).await;
        let home = format!("{}/mayfly_admin", previews.address());
        let admin_url = format!("postgres://mayfly_admin:{password}@{home}");
        let address = SocketAddr::new(cluster.machine_ip.into(), 0);
        let github = GitHubStandIn::start(address).await.unwrap();
        github.add_repository(4711, SHOP);
        github.add_repository(4712, DOCS);
        github.add_repository(4713, CHARTED);
        github.add_repository(4714, SUITE);
        let port_of =
            |url: &str| url.trim_end_matches('/').rsplit_once(':').unwrap().1.parse().unwrap();
        let server = ["config", "view", "-o", "jsonpath={.clusters[0].cluster.server}"];
        let api_port = port_of(&cluster.kubectl(&server).await);
        let github_port = port_of(&github.api_url());
        let zone = Zone::start(base, cluster.machine_ip).await;
        let private = Private::start(cluster.machine_ip, &cluster.registry).await;
        Self { ledger, previews, admin_url, github, github_port, api_port, zone, private }
    }
}

/// Runs statements as the superuser.
async fn run(server: &Postgres, statements: &[&str]) {
    let mut session = PgConnection::connect(&server.url("postgres")).await.unwrap();
    for statement in statements {
        sqlx::raw_sql(AssertSqlSafe(*statement)).execute(&mut session).await.unwrap();
    }
    session.close().await.unwrap();
}

/// An installed Mayfly, from outside.
pub struct Stage {
    pub cluster: Cluster,
    pub servers: Servers,
    token: String,
    http: reqwest::Client,
}

impl Stage {
    /// With a token of an administrator, made inside of a pod, where there is no shell.
    pub async fn of(cluster: Cluster, servers: Servers) -> Self {
        let create = ["mayfly", "token", "create", "--name", "test", "--role", "admin"];
        let exec = ["-n", RELEASE, "exec", "deployment/mayfly", "-c", "mayfly", "--"];
        let said = cluster.kubectl(&[&exec[..], &create[..]].concat()).await;
        let token = said.split_whitespace().find(|word| word.starts_with("mayfly_"));
        let token = token.expect("a token").to_owned();
        // Each request takes the way that a new visitor's takes.
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(10))
            .pool_max_idle_per_host(0)
            .redirect(reqwest::redirect::Policy::none())
            .build();
        Self { cluster, servers, token, http: http.unwrap() }
    }

    /// By the ingress, whatever names say.
    pub fn request(&self, method: Method, host: &str, path: &str) -> RequestBuilder {
        let url = format!("http://{}{path}", self.cluster.ingress);
        self.http.request(method, url).header("Host", host)
    }

    /// To where the name leads.
    async fn browse(&self, method: Method, preview: &str, path: &str) -> Option<RequestBuilder> {
        let host = format!("{preview}.{SUFFIX}");
        let address = self.servers.zone.lead(&host).await?;
        Some(self.http.request(method, format!("http://{address}{path}")).header("Host", host))
    }

    /// Delivers an event as GitHub does; its answer.
    pub async fn deliver(&self, repo: &str, number: u32, action: &str) -> u16 {
        let body = self.servers.github.payload(repo, number, action).to_string();
        let secret = SecretString::from(WEBHOOK_SECRET);
        let signature = sign(&secret, body.as_bytes());
        self.deliver_signed(body, &signature).await
    }

    pub async fn deliver_signed(&self, body: String, signature: &str) -> u16 {
        let request = self
            .request(Method::POST, HOST, "/webhooks/github")
            .header("content-type", "application/json")
            .header("x-github-event", "pull_request")
            .header("x-github-delivery", mayfly::clock::fresh_id().to_string())
            .header("x-hub-signature-256", signature)
            .body(body);
        request.send().await.unwrap().status().as_u16()
    }

    /// What the API says of a preview; `Null` where it knows none, or does not answer.
    pub async fn api(&self, path: &str) -> Value {
        let request = self.request(Method::GET, HOST, &format!("/api/v1/{path}"));
        match request.bearer_auth(&self.token).send().await {
            Ok(answer) if answer.status().is_success() => answer.json().await.unwrap_or_default(),
            _ => Value::Null,
        }
    }

    /// Has the API do something.
    pub async fn tell(&self, path: &str) {
        let request = self.request(Method::POST, HOST, &format!("/api/v1/{path}"));
        let answer = request.bearer_auth(&self.token).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {answer:?}");
    }

    /// What the URL of a preview answers: the status, and the page.
    pub async fn visit(&self, preview: &str, path: &str) -> (u16, String) {
        let Some(request) = self.browse(Method::GET, preview, path).await else {
            return (0, format!("{preview} does not resolve"));
        };
        match request.send().await {
            Ok(answer) => (answer.status().as_u16(), answer.text().await.unwrap_or_default()),
            Err(error) => (0, error.to_string()),
        }
    }

    /// Posts a form to a preview; the status.
    pub async fn post_form(&self, preview: &str, path: &str, form: &str) -> u16 {
        let request = self.browse(Method::POST, preview, path).await.unwrap();
        let form = request
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.to_owned());
        form.send().await.unwrap().status().as_u16()
    }

    /// The commit that the app itself says it is, at the preview's URL; what is there instead.
    pub async fn serves(&self, preview: &str) -> Result<String, String> {
        let (status, page) = self.visit(preview, "/").await;
        match page.split_once("id=\"commit\" title=\"") {
            Some((_, rest)) if status == 200 => Ok(rest.split('"').next().unwrap().to_owned()),
            _ => Err(format!("{status} {page}")),
        }
    }

    /// Waits until a preview is in this phase; what the API says of it then.
    pub async fn until(&self, preview: &str, phase: &str) -> Value {
        self.until_seen(preview, phase, |seen| seen["phase"] == phase).await
    }

    pub async fn until_seen(
        &self,
        preview: &str,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut last = Value::Null;
        within(PATIENCE * 2, &format!("{preview}: {what}"), async || {
            last = self.api(&format!("previews/{preview}")).await;
            let late = tokio::time::Instant::now() > deadline;
            assert!(!late || wanted(&last), "{preview} is not {what}: {last:#}");
            wanted(&last)
        })
        .await;
        last
    }

    /// Ready, and at that very moment the URL serves this commit: anything else is a lie.
    pub async fn until_ready(&self, preview: &str, commit: &str) {
        self.until_seen(preview, "Ready", |seen| {
            seen["phase"] == "Ready" && seen["head"] == commit
        })
        .await;
        let served = self.serves(preview).await;
        assert_eq!(served.as_deref(), Ok(commit), "Ready means that the URL serves it");
    }
}
