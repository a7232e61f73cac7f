//! A previews' server that is not there when the controller starts: the start goes on, each preview
//! says what is wrong, and when the server comes all goes on by itself.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use chrono::TimeDelta;
use mayfly::app::App;
use mayfly::clock::fresh_id;
use mayfly::config::Config;
use mayfly::database::Databases;
use mayfly::demo::github::{GitHubStandIn, PullSpec};
use mayfly::fault::Disposition;
use mayfly::forge::signature::sign;
use mayfly::ledger::{Ledger, Role};
use mayfly::preview::Seen;
use reqwest::Client;
use secrecy::SecretString;
use serde_json::Value;

use super::cluster::target;
use super::database::{config, connect, creator, make, password, pr, ready, seed};
use crate::world::outage::Outage;
use crate::world::postgres::{empty_database, unique};
use crate::world::wait::{until, within};

const REPO: &str = "acme/outage";
const SECRET: &str = "a secret of the test";
const TOKEN: &str = "viewer-token-0123456789";

/// What is there and why not, as a look says it.
async fn unseen(databases: &dyn Databases) -> String {
    match databases.observe(&pr(7), &password()).await.database {
        Seen::Unknown(why) => why,
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn a_server_that_is_down_at_the_start_is_awaited_and_said_at_once() {
    let mut outage = Outage::new().await;
    outage.stop().await;
    let databases = connect(config(outage.server.url("postgres"), unique())).await.unwrap();
    let why = unseen(&databases).await;
    assert!(why.contains("refused") && why.contains("databases.admin_url"), "{why}");
    assert_eq!(databases.owned().await.unwrap_err().disposition, Disposition::Transient);
    outage.start();
    let (name, secret) = (pr(7), password());
    make(&databases, &name, &seed(), 0, &secret).await.unwrap();
    assert_eq!(ready(&databases, &name, &secret).await, Some(0));

    // The same once it had been there: sessions of before the outage are not held for an answer.
    outage.stop().await;
    until("it is said", async || {
        let why = unseen(&databases).await;
        why.contains("refused") && why.contains("databases.admin_url")
    })
    .await;
    outage.start();
    until("it is seen again", async || ready(&databases, &name, &secret).await == Some(0)).await;
    outage.end().await;
}

#[tokio::test]
async fn a_server_in_recovery_is_awaited_until_it_takes_writes() {
    let mut outage = Outage::new().await;
    outage.stop().await;
    outage.demote();
    outage.start();
    outage.run("SELECT 1").await;
    let databases = connect(config(outage.server.url("postgres"), unique())).await.unwrap();
    assert_eq!(unseen(&databases).await, "Absent", "it can be read");
    let (name, secret, seed) = (pr(7), password(), seed());
    let order = mayfly::database::DatabaseOrder {
        seed: &seed,
        generation: 0,
        password: &secret,
        components: &[],
    };
    let fault = databases.ensure_database(&name, &order).await.unwrap_err();
    assert_eq!(fault.disposition, Disposition::Transient);
    assert!(fault.to_string().contains("lead to the primary"), "{fault}");
    outage.run("SELECT pg_promote()").await;
    make(&databases, &name, &seed, 0, &secret).await.unwrap();
    outage.end().await;
}

#[tokio::test]
async fn what_a_server_refuses_once_it_comes_is_said_with_its_cure() {
    let (mut outage, unique) = (Outage::new().await, unique());
    let url = creator(&outage.server, unique).await;
    let (_, address) = url.split_once('@').unwrap();
    let wrong = format!("postgres://creator_{unique}:wrong@{address}");
    let at_start = connect(config(wrong.clone(), unique)).await.map(drop).unwrap_err();
    assert_eq!(at_start.disposition, Disposition::Permanent, "it answers, and says no");
    outage.stop().await;
    let refused = connect(config(wrong, unique)).await.unwrap();
    let poor = connect(config(url, unique)).await.unwrap();
    outage.start();
    outage.run(&format!("ALTER ROLE creator_{unique} NOCREATEROLE")).await;
    let why = unseen(&refused).await;
    assert!(why.contains("password authentication failed"), "{why}");
    assert!(why.contains("databases.admin_url has to be one that the server lets in"), "{why}");
    let fault = make(&poor, &pr(7), &seed(), 0, &password()).await.unwrap_err();
    assert_eq!(fault.disposition, Disposition::Permanent);
    assert!(fault.to_string().contains("CREATEDB CREATEROLE"), "{fault}");
    outage.end().await;
}

/// The whole controller, in this process, over this previews' server.
struct Controller {
    app: App,
    github: GitHubStandIn,
    main: SocketAddr,
    client: Client,
    // The previews' own processes are in there.
    _directory: tempfile::TempDir,
}

impl Controller {
    async fn start(admin_url: String) -> Self {
        let github = GitHubStandIn::start(([127, 0, 0, 1], 0).into()).await.unwrap();
        github.add_repository(4711, REPO);
        let ledger_url = empty_database().await;
        let ledger = Ledger::connect(&ledger_url, 2).await.unwrap();
        ledger.migrate().await.unwrap();
        let now = ledger.server_time().await.unwrap();
        let until = now + TimeDelta::days(1);
        ledger.add_token(fresh_id(), "test", Role::Viewer, TOKEN, until, now).await.unwrap();
        ledger.close().await;
        let directory = tempfile::tempdir().unwrap();
        let [main, operations, dns, proxy] = [(); 4].map(|()| free_port());
        let text = format!(
            "instance: outage{}
listen: 127.0.0.1:{main}
operations_listen: 127.0.0.1:{operations}
ledger: {{}}
previews: {{suffix: preview.localhost, port: {proxy}}}
github: {{api_url: '{}'}}
cluster: {{local: {{data_dir: '{}', proxy_listen: '127.0.0.1:{proxy}', grace: 300ms}}}}
dns: {{embedded: {{listen: '127.0.0.1:{dns}', target: 127.0.0.1}}}}
databases: {{}}
reconcile: {{retry_at_most_every: 2s}}
repositories:
  - name: {REPO}
    prefix: outage
    workload: {{command: ['{}'], probe_path: /env}}
    seed: {{directories: []}}
",
            unique(),
            github.api_url(),
            directory.path().join("data").display(),
            target().display(),
        );
        let environment = [
            ("MAYFLY_LEDGER__URL", ledger_url),
            ("MAYFLY_DATABASES__ADMIN_URL", admin_url),
            ("MAYFLY_GITHUB__TOKEN", github.token()),
            ("MAYFLY_GITHUB__WEBHOOK_SECRET", SECRET.to_owned()),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value));
        let config = Config::parse(&text, environment.into_iter()).unwrap();
        let app = App::start(config).await.unwrap();
        let main = SocketAddr::from(([127, 0, 0, 1], main));
        Self { app, github, main, client: Client::new(), _directory: directory }
    }

    async fn deliver(&self, action: &str) {
        let body = self.github.payload(REPO, 7, action).to_string();
        let request = self.client.post(format!("http://{}/webhooks/github", self.main));
        let request = request
            .header("x-github-event", "pull_request")
            .header("x-github-delivery", fresh_id().to_string())
            .header("x-hub-signature-256", sign(&SecretString::from(SECRET), body.as_bytes()));
        assert_eq!(request.body(body).send().await.unwrap().status(), 202);
    }

    async fn asked(&self) -> Value {
        let url = format!("http://{}/api/v1/previews/outage-pr-7", self.main);
        let answer = self.client.get(url).bearer_auth(TOKEN).send().await.unwrap();
        answer.json().await.unwrap()
    }

    async fn until(&self, what: &str, satisfied: impl Fn(&Value) -> bool) {
        let asked = async || satisfied(&self.asked().await);
        within(Duration::from_secs(120), what, asked).await;
    }
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_controller_starts_without_the_previews_server_and_goes_on_when_it_comes() {
    let mut outage = Outage::new().await;
    let url = outage.server.url("postgres");
    outage.stop().await;
    let controller = Controller::start(url).await;
    controller.github.open_pull(REPO, 7, PullSpec::new("Change", &"a".repeat(40)));
    controller.deliver("opened").await;
    let condition = |preview: &Value, part: &str| {
        let all = preview["conditions"].as_array().into_iter().flatten();
        all.into_iter().find(|it| it["part"] == part).cloned().unwrap_or_default()
    };
    controller
        .until("the database's condition says what is wrong, and the rest goes on", |preview| {
            let database = condition(preview, "Database");
            let message = database["message"].as_str().unwrap_or_default();
            database["status"] == "Unknown"
                && message.contains("refused")
                && message.contains("databases.admin_url")
                && condition(preview, "Namespace")["status"] == "True"
        })
        .await;
    outage.start();
    controller.until("it is Ready", |preview| preview["phase"] == "Ready").await;
    controller.github.close(REPO, 7, true);
    controller.deliver("closed").await;
    controller.until("it is Gone", |preview| preview["phase"] == "Gone").await;
    controller.app.stop().await;
    outage.end().await;
}
