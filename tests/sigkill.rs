//! The whole program is killed at random points of fifty pull requests' lives, and started again;
//! in the end every live one is Ready and nothing is left of the others.
//!
//! Everything is real but GitHub, which is the stand-in: processes, databases, DNS, the proxy.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::FutureExt;
use mayfly::demo::github::{GitHubStandIn, PullSpec};
use mayfly::demo::leftovers::processes_of;
use mayfly::demo::witness::resolve;
use mayfly::forge::signature::sign;
use mayfly::ledger::{Filter, Ledger};
use mayfly::preview::Phase;
use secrecy::SecretString;
use sqlx::{Connection, PgConnection};

use crate::world::postgres::{empty_database, server};
use crate::world::wait::within;

const REPO: &str = "acme/kill";
const SECRET: &str = "a secret of the test";
const LIVES: u32 = 50;

/// A generator that gives the same again for the same seed, which a failure prints.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

struct Machine {
    directory: tempfile::TempDir,
    github: GitHubStandIn,
    ledger_url: String,
    ports: [u16; 4],
    child: Option<Child>,
    http: reqwest::Client,
    deliveries: u32,
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.kill();
        for pid in processes_of(self.directory.path()) {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
    }
}

impl Machine {
    async fn new() -> Self {
        let github = GitHubStandIn::start(loopback(0)).await.unwrap();
        github.add_repository(77, REPO);
        let ledger_url = empty_database().await;
        let ports = [(); 4].map(|()| free_port());
        let directory = tempfile::tempdir().unwrap();
        let machine = Self {
            directory,
            github,
            ledger_url,
            ports,
            child: None,
            http: reqwest::Client::builder().timeout(Duration::from_secs(5)).build().unwrap(),
            deliveries: 0,
        };
        machine.write_config();
        let migrated = machine.command("migrate").await.status().unwrap();
        assert!(migrated.success());
        machine
    }

    fn write_config(&self) {
        let [main, operations, dns, proxy] = self.ports;
        let data = self.data();
        let (data, app) = (data.display(), example("probe-target"));
        let seed = self.directory.path().join("seed");
        std::fs::create_dir(&seed).unwrap();
        std::fs::write(seed.join("1.sql"), "CREATE TABLE t (id int);").unwrap();
        let text = format!(
            "instance: killed
listen: 127.0.0.1:{main}
operations_listen: 127.0.0.1:{operations}
log_format: text
ledger: {{}}
previews: {{suffix: preview.localhost, port: {proxy}}}
github: {{api_url: '{}', limits: {{points_per_minute: 100000, writes_per_minute: 10000, writes_per_hour: 100000}}}}
cluster: {{local: {{data_dir: {data}, proxy_listen: '127.0.0.1:{proxy}', grace: 300ms}}}}
dns: {{embedded: {{listen: '127.0.0.1:{dns}', target: 127.0.0.1}}}}
databases: {{}}
reconcile: {{lease: 3s, pass_deadline: 2s, poll: 200ms, retry_at_most_every: 2s}}
sweep: {{pull_requests_every: 1s, orphans_every: 2s}}
repositories:
  - name: {REPO}
    prefix: kill
    workload: {{command: ['{}'], probe_path: /env}}
    seed: {{directories: ['{}']}}
",
            self.github.api_url(),
            app.display(),
            seed.display(),
        );
        std::fs::write(self.directory.path().join("mayfly.yaml"), text).unwrap();
    }

    async fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mayfly"));
        command
            .arg(verb)
            .arg("--config")
            .arg(self.directory.path().join("mayfly.yaml"))
            .env("MAYFLY_LEDGER__URL", &self.ledger_url)
            .env("MAYFLY_DATABASES__ADMIN_URL", server().await.url("postgres"))
            .env("MAYFLY_GITHUB__TOKEN", self.github.token())
            .env("MAYFLY_GITHUB__WEBHOOK_SECRET", SECRET)
            .stdin(Stdio::null());
        command
    }

    async fn start(&mut self) {
        let log = self.directory.path().join("mayfly.log");
        let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
        let mut command = self.command("serve").await;
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Delivers as GitHub does: once, and never again when nobody answers.
    async fn deliver(&mut self, number: u32, action: &str) {
        self.deliveries += 1;
        let body = self.github.payload(REPO, number, action).to_string();
        let _ = self
            .http
            .post(format!("http://127.0.0.1:{}/webhooks/github", self.ports[0]))
            .header("x-github-event", "pull_request")
            .header("x-github-delivery", format!("kill-{}", self.deliveries))
            .header("x-hub-signature-256", sign(&SecretString::from(SECRET), body.as_bytes()))
            .body(body)
            .send()
            .await;
    }

    /// Databases and roles of the test's previews, by PostgreSQL's own word.
    async fn databases(&self) -> Vec<String> {
        let mut session = PgConnection::connect(&server().await.url("postgres")).await.unwrap();
        sqlx::query_scalar(
            "SELECT datname::text FROM pg_database WHERE datname LIKE 'kill\\_pr\\_%'
             UNION SELECT rolname::text FROM pg_roles WHERE rolname LIKE 'kill\\_pr\\_%'",
        )
        .fetch_all(&mut session)
        .await
        .unwrap()
    }

    fn entries(&self, kind: &str) -> usize {
        std::fs::read_dir(self.data().join(kind)).into_iter().flatten().count()
    }

    async fn fleet(&self, ledger: &Ledger) -> BTreeMap<u32, Phase> {
        let all = ledger.previews(&Filter { limit: 1000, ..Filter::default() }).await.unwrap();
        all.into_iter().map(|p| (p.name.number().get(), p.phase)).collect()
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn free_port() -> u16 {
    TcpListener::bind(loopback(0)).unwrap().local_addr().unwrap().port()
}

fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let target = test.parent().and_then(Path::parent).unwrap();
    let path = target.join("examples").join(name);
    assert!(path.exists(), "{} is missing: cargo build --examples", path.display());
    path
}

fn sha(number: u32, push: u32) -> String {
    format!("{number:08x}{push:032x}")
}

#[derive(Clone, Copy, Default)]
struct Life {
    opened: bool,
    open: bool,
    pushes: u32,
}

#[tokio::test]
async fn killed_at_any_moment_it_leaks_nothing_and_every_live_pull_request_is_ready() {
    let seed = 0x9e37_79b9_7f4a_7c15;
    println!("seed {seed:#x}");
    let mut chance = Chance(seed);
    let mut machine = Machine::new().await;
    let ledger = Ledger::connect(&machine.ledger_url, 2).await.unwrap();
    let mut lives = vec![Life::default(); LIVES as usize + 1];
    let mut kills = 0;
    machine.start().await;
    // Each pull request is opened, perhaps pushed to, and most are closed; some are reopened.
    for step in 0..LIVES * 4 {
        let number = 1 + (step / 4 + u32::try_from(chance.below(4)).unwrap()).min(LIVES - 1);
        let life = &mut lives[number as usize];
        let action = match (life.opened, life.open, chance.below(3)) {
            (false, ..) => {
                machine.github.open_pull(REPO, number, PullSpec::new("x", &sha(number, 0)));
                *life = Life { opened: true, open: true, pushes: 0 };
                "opened"
            }
            (true, true, 0) => {
                life.pushes += 1;
                machine.github.push(REPO, number, &sha(number, life.pushes));
                "synchronize"
            }
            (true, true, _) => {
                machine.github.close(REPO, number, chance.below(2) == 0);
                life.open = false;
                "closed"
            }
            (true, false, 0) => {
                machine.github.reopen(REPO, number);
                life.open = true;
                "reopened"
            }
            (true, false, _) => continue,
        };
        machine.deliver(number, action).await;
        if step % 6 == 5 {
            // The point is random and so is the moment: that it comes is what is waited for.
            tokio::time::sleep(Duration::from_millis(chance.below(700))).await;
            machine.kill();
            kills += 1;
            machine.start().await;
            let wait = chance.below(3) * 150;
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
    }
    for number in 1..=LIVES {
        if !lives[number as usize].opened {
            machine.github.open_pull(REPO, number, PullSpec::new("x", &sha(number, 0)));
            lives[number as usize] = Life { opened: true, open: true, pushes: 0 };
            machine.deliver(number, "opened").await;
        }
    }
    assert!(kills >= 20, "only {kills} kills");

    let wanted = |lives: &[Life], fleet: &BTreeMap<u32, Phase>| {
        (1..=LIVES).all(|number| {
            let phase = fleet.get(&number);
            match lives[number as usize].open {
                true => phase == Some(&Phase::Ready),
                // One whose opening nobody was told of before it closed was never there.
                false => phase.is_none_or(|phase| *phase == Phase::Gone),
            }
        })
    };
    wait_until(&machine, &ledger, |fleet| wanted(&lives, fleet)).await;
    let open: Vec<u32> = (1..=LIVES).filter(|number| lives[*number as usize].open).collect();
    for number in &open {
        let host = format!("kill-pr-{number}.preview.localhost");
        let address = resolve(loopback(machine.ports[2]), &host).await.unwrap();
        assert_eq!(address.map(|a| a.to_string()).as_deref(), Some("127.0.0.1"), "{host}");
        let url = format!("http://127.0.0.1:{}/env", machine.ports[3]);
        let answer = machine.http.get(url).header("host", &host).send().await.unwrap();
        let served = answer.headers()["x-preview-commit"].to_str().unwrap().to_owned();
        assert_eq!(served, sha(*number, lives[*number as usize].pushes), "{host}");
        let env: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(env["COMMIT_SHA"], served, "the app itself agrees");
    }
    assert_eq!(machine.entries("namespaces"), open.len());
    assert_eq!(machine.entries("routes"), open.len());
    assert_eq!(machine.databases().await.len(), open.len(), "a name for each, and no other");
    let shown = machine.github.deployments(REPO);
    let shown = shown.iter().filter(|deployment| deployment.state() != "inactive").count();
    assert_eq!(shown, open.len(), "one active deployment for each");
    for number in 1..=LIVES {
        assert!(machine.github.comments(REPO, number).len() <= 1, "one comment on {number}");
    }

    for number in &open {
        machine.github.close(REPO, *number, true);
        lives[*number as usize].open = false;
        machine.deliver(*number, "closed").await;
    }
    wait_until(&machine, &ledger, |fleet| wanted(&lives, fleet)).await;
    assert_eq!(processes_of(machine.directory.path()), Vec::<i32>::new());
    for kind in ["namespaces", "routes", "trash"] {
        assert_eq!(machine.entries(kind), 0, "{kind}");
    }
    assert_eq!(machine.databases().await, Vec::<String>::new());
    for number in 1..=LIVES {
        let host = format!("kill-pr-{number}.preview.localhost");
        let address = resolve(loopback(machine.ports[2]), &host).await.unwrap();
        assert_eq!(address, None, "{host}");
    }
    let shown = machine.github.deployments(REPO);
    assert!(shown.iter().all(|deployment| deployment.state() == "inactive"));
    crate::contracts::description::hold(&machine.github);
}

async fn wait_until(
    machine: &Machine,
    ledger: &Ledger,
    satisfied: impl Fn(&BTreeMap<u32, Phase>) -> bool,
) {
    let asked = within(Duration::from_secs(120), "the fleet to settle", async || {
        satisfied(&machine.fleet(ledger).await)
    });
    if AssertUnwindSafe(asked).catch_unwind().await.is_err() {
        let log = std::fs::read_to_string(machine.directory.path().join("mayfly.log")).unwrap();
        let tail: Vec<_> = log.lines().rev().take(40).collect();
        panic!("{:?}\n{}", machine.fleet(ledger).await, tail.join("\n"));
    }
}
