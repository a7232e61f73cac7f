//! The world in which the loop is tested: a real ledger, stateful fakes of the four seams, and a
//! clock that is moved by hand.

// Each fake offers more ways to fail and to look than today's tests use.
#![allow(dead_code)]

pub mod bind;
pub mod cluster;
pub mod control_plane;
pub mod cut;
pub mod database;
pub mod dns;
pub mod external_dns;
pub mod faults;
pub mod forge;
pub mod images;
pub mod listener;
pub mod outage;
pub mod postgres;
pub mod rehearsals;
pub mod rude;
pub mod skip;
pub mod visits;
pub mod wait;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use mayfly::clock::{Clock, fresh_id};
use mayfly::config::SweepConfig;
use mayfly::database::Seed;
use mayfly::forge::RepositoryRef;
use mayfly::ledger::{Delivery, Heard, Learned, Ledger, Preview, PullHint, Writer};
use mayfly::preview::{
    Choices, CommitSha, Memory, Phase, Policy, PreviewName, Production, PullFacts, PullKey,
    PullNumber, PullState, RepositoryId, Site, Suffix,
};
use mayfly::reconcile::{Limits, Pacing, Reconciler, Renderer, Seams};
use mayfly::repository::{Repositories, Repository};
use mayfly::sweep::Sweeper;
use mayfly::telemetry::Metrics;
use mayfly::workload::chart::{RenderLimits, Tools};
use mayfly::workload::{Image, Migrations, PodShape, Proof, Shape};

use cluster::FakeCluster;
use database::FakeDatabases;
use dns::FakeDns;
use faults::Faults;
use forge::FakeForge;
use images::FakeImages;
use rehearsals::FakeRehearsals;
use visits::FakeVisitor;

/// The id of `acme/shop`.
pub const SHOP: RepositoryId = RepositoryId(4711);

/// A clock that stands still until it is moved.
pub struct HandClock(Mutex<DateTime<Utc>>);

impl HandClock {
    pub fn at(instant: DateTime<Utc>) -> Self {
        Self(Mutex::new(instant))
    }

    pub fn advance(&self, by: TimeDelta) {
        *self.0.lock().unwrap() += by;
    }

    pub fn set(&self, to: DateTime<Utc>) {
        *self.0.lock().unwrap() = to;
    }
}

impl Clock for HandClock {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap()
    }
}

pub struct World {
    pub ledger: Ledger,
    pub reconciler: Arc<Reconciler>,
    pub sweeper: Sweeper,
    pub clock: Arc<HandClock>,
    pub cluster: FakeCluster,
    pub databases: FakeDatabases,
    pub rehearsals: FakeRehearsals,
    pub dns: FakeDns,
    pub forge: FakeForge,
    pub visitor: FakeVisitor,
    pub images: FakeImages,
    pub faults: Faults,
    deliveries: AtomicU32,
    writer: tokio::sync::Mutex<Writer>,
    updates: AtomicU32,
}

pub fn shop() -> RepositoryRef {
    RepositoryRef::parse("acme/shop").unwrap()
}

pub fn number(n: u32) -> PullNumber {
    PullNumber::new(i64::from(n)).unwrap()
}

pub fn pr(n: u32) -> PreviewName {
    PreviewName::new(None, number(n))
}

/// A commit whose digits are all this one.
pub fn sha(digit: char) -> CommitSha {
    CommitSha::parse(&digit.to_string().repeat(40)).unwrap()
}

pub fn policy() -> Policy {
    Policy {
        inactivity_ttl: TimeDelta::hours(24),
        max_life: TimeDelta::days(7),
        warn_before: TimeDelta::hours(2),
        approve_forks: true,
        drafts: true,
        only_label: None,
        skip_label: Some("no-preview".to_owned()),
        choices: Choices::default(),
    }
}

/// [`repository`] with migrations, and where it keeps them.
pub fn migrating() -> Repository {
    let mut repository = repository();
    repository.shape.migrations = Some(Migrations {
        command: vec!["migrate".to_owned()],
        timeout: std::time::Duration::from_secs(600),
        directory: Some("db/migrations".to_owned()),
    });
    repository
}

/// An image that a pretended node makes ready at once.
pub fn image() -> Image {
    Image::parse(&format!("registry.test/shop@sha256:{}", "0".repeat(64))).unwrap()
}

pub fn repository() -> Repository {
    Repository {
        reference: shop(),
        id: Some(SHOP),
        prefix: None,
        policy: policy(),
        shape: Shape {
            command: vec!["serve".to_owned()],
            directory: None,
            env: Vec::new(),
            migrations: None,
            probe_path: "/".to_owned(),
            proof: Proof::Header,
            image: None,
            pod: PodShape { image: Some(image()), ..PodShape::default() },
            ..Shape::default()
        },
        seed: Seed::new(Vec::new(), &[]).unwrap(),
        tiers: Vec::new(),
        flags: Vec::new(),
        production: Production::default(),
    }
}

pub fn site() -> Site {
    let suffix = Suffix::parse("preview.example.test").unwrap();
    Site { suffix, https: false, port: None }
}

impl World {
    pub async fn new() -> Self {
        Self::with(Limits::default(), postgres::ledger().await).await
    }

    /// A world over this ledger, with these bounds.
    pub async fn with(limits: Limits, ledger: Ledger) -> Self {
        let start = DateTime::parse_from_rfc3339("2026-03-01T12:00:00Z").unwrap().to_utc();
        let clock = Arc::new(HandClock(Mutex::new(start)));
        let faults = Faults::default();
        let cluster = FakeCluster::new(faults.clone());
        let databases = FakeDatabases::new(faults.clone());
        let rehearsals = FakeRehearsals::new(faults.clone());
        let dns = FakeDns::new("test", faults.clone());
        let forge = FakeForge::new(faults.clone());
        let images = FakeImages::new("registry.test", faults.clone());
        let visitor = FakeVisitor::new(cluster.clone(), faults.clone());
        let seams = Seams {
            cluster: Arc::new(cluster.clone()),
            databases: Arc::new(databases.clone()),
            rehearsals: Arc::new(rehearsals.clone()),
            dns: Arc::new(dns.clone()),
            forge: Arc::new(forge.clone()),
            visitor: Arc::new(visitor.clone()),
            images: Arc::new(images.clone()),
        };
        let reconciler = replica(&ledger, seams, clock.clone(), limits);
        let sweeper = Sweeper::new(reconciler.clone(), sweep_config());
        Self {
            writer: tokio::sync::Mutex::new(ledger.writer()),
            ledger,
            reconciler,
            sweeper,
            clock,
            cluster,
            databases,
            rehearsals,
            dns,
            forge,
            visitor,
            images,
            faults,
            deliveries: AtomicU32::new(0),
            updates: AtomicU32::new(0),
        }
    }

    /// Counts with these metrics from now on.
    pub fn count_with(&mut self, metrics: Metrics) {
        self.rebuild(repository(), metrics, renderer());
    }

    /// Runs this repository's previews from now on.
    pub fn configure(&mut self, repository: Repository) {
        self.rebuild(repository, Metrics::default(), renderer());
    }

    /// Runs this repository's previews from now on, and renders its chart with this.
    pub fn configure_with(&mut self, repository: Repository, renderer: Renderer) {
        self.rebuild(repository, Metrics::default(), renderer);
    }

    fn rebuild(&mut self, repository: Repository, metrics: Metrics, renderer: Renderer) {
        let old = &self.reconciler;
        self.reconciler = Arc::new(Reconciler {
            ledger: old.ledger.clone(),
            seams: old.seams.clone(),
            repositories: Repositories::new(vec![repository]),
            renderer,
            site: site(),
            clock: self.clock.clone(),
            pacing: Pacing::default(),
            limits: old.limits,
            metrics: Arc::new(metrics),
            wake: Arc::default(),
            recorded: Default::default(),
            room: Default::default(),
            replica: old.replica,
        });
    }

    /// Another replica of the controller over the same ledger and the same outside world.
    pub fn another_replica(&self) -> Arc<Reconciler> {
        let limits = self.reconciler.limits;
        replica(&self.ledger, self.reconciler.seams.clone(), self.clock.clone(), limits)
    }

    /// The sweeps of a process that has just begun.
    pub fn restarted_sweeper(&self) -> Sweeper {
        Sweeper::new(self.reconciler.clone(), sweep_config())
    }

    /// A replica with this ledger, outside world, clock and these bounds.
    pub fn replica_with(
        &self,
        ledger: Ledger,
        seams: Seams,
        clock: Arc<dyn Clock>,
        limits: Limits,
    ) -> Arc<Reconciler> {
        replica(&ledger, seams, clock, limits)
    }

    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Facts of an open pull request as a member would open it.
    pub fn facts(&self, n: u32, digit: char) -> PullFacts {
        // The forge's own time moves with each change.
        let tick = TimeDelta::milliseconds(self.updates.fetch_add(1, Ordering::Relaxed).into());
        PullFacts {
            key: PullKey { repository: SHOP, number: number(n) },
            state: PullState::Open,
            head: sha(digit),
            fork: false,
            trusted_author: true,
            draft: false,
            labels: Vec::new(),
            author: "ada".to_owned(),
            title: format!("Change {n}"),
            updated_at: self.now() + tick,
        }
    }

    /// Changes a pull request on the forge without telling anybody.
    pub fn silently(&self, facts: &PullFacts) {
        self.forge.put(&shop(), facts.clone());
    }

    /// Changes a pull request on the forge and delivers the event.
    pub async fn change(&self, what: &str, facts: PullFacts) -> Learned {
        self.silently(&facts);
        self.deliver(what, facts).await
    }

    /// Delivers an event, true or not.
    pub async fn deliver(&self, what: &str, facts: PullFacts) -> Learned {
        let heard = self.store(what, facts).await;
        self.ledger.learn(&heard).await.unwrap()
    }

    /// Stores an event that nobody learns from yet.
    pub async fn store(&self, what: &str, facts: PullFacts) -> Heard {
        let id = format!("delivery-{}", self.deliveries.fetch_add(1, Ordering::Relaxed));
        let hint = PullHint {
            name: PreviewName::new(None, facts.key.number),
            repository: shop(),
            facts,
            source: "github",
            what: what.to_owned(),
            choosing: self.reconciler.repositories.iter().next().unwrap().policy.choices.labels(),
            even_if_closed: false,
        };
        let (event, at) = ("pull_request".to_owned(), self.now());
        let delivery = Delivery { id: id.clone(), event, body: b"{}".to_vec(), at };
        self.writer.lock().await.store(&[&delivery]).await.unwrap();
        Heard { hint, delivery: Some(id), at }
    }

    pub async fn open(&self, n: u32, digit: char) {
        self.change("opened", self.facts(n, digit)).await;
    }

    pub async fn push(&self, n: u32, digit: char) {
        self.change("synchronize", self.facts(n, digit)).await;
    }

    pub async fn close(&self, n: u32, digit: char) {
        let mut facts = self.facts(n, digit);
        facts.state = PullState::Closed;
        self.change("closed", facts).await;
    }

    /// Runs passes, moving the clock to the next one, until none is due for a minute.
    pub async fn settle(&self) {
        const BOUND: usize = 400;
        for _ in 0..BOUND {
            if self.reconciler.turn().await.unwrap() > 0 {
                continue;
            }
            let next = self.ledger.next_due().await.unwrap();
            match next {
                Some(next) if next <= self.now() + TimeDelta::seconds(60) => {
                    self.clock.set(next.max(self.now()));
                }
                _ => return,
            }
        }
        panic!("not settled after {BOUND} turns: {:#?}", self.fleet().await);
    }

    /// Runs what becomes due within this long, and moves the clock to its end.
    pub async fn settle_for(&self, length: TimeDelta) {
        let end = self.now() + length;
        loop {
            if self.reconciler.turn().await.unwrap() > 0 {
                continue;
            }
            match self.ledger.next_due().await.unwrap() {
                Some(next) if next <= end => self.clock.set(next.max(self.now())),
                _ => break,
            }
        }
        self.clock.set(end);
    }

    /// Takes over the outside world of another, but not its ledger.
    pub async fn adopt_world_of(&mut self, other: &World) {
        let limits = self.reconciler.limits;
        let seams = other.reconciler.seams.clone();
        self.reconciler = replica(&self.ledger, seams, self.clock.clone(), limits);
        self.sweeper = Sweeper::new(self.reconciler.clone(), sweep_config());
        self.cluster = other.cluster.clone();
        self.databases = other.databases.clone();
        self.rehearsals = other.rehearsals.clone();
        self.dns = other.dns.clone();
        self.forge = other.forge.clone();
        self.visitor = other.visitor.clone();
        self.faults = other.faults.clone();
    }

    /// A person's wish, as the API carries it out.
    pub async fn wish(&self, n: u32, wish: impl FnOnce(&mut Memory) + Send) {
        let id = self.preview(n).await.id;
        let amended = self.ledger.amend(id, "test", "wish", self.now(), |preview| {
            wish(&mut preview.memory);
            Ok::<_, ()>(((), String::new()))
        });
        amended.await.unwrap().expect("a row").unwrap();
    }

    pub async fn preview(&self, n: u32) -> Preview {
        self.ledger.preview_named(&pr(n)).await.unwrap().expect("a row")
    }

    pub async fn phase(&self, n: u32) -> Phase {
        self.preview(n).await.phase
    }

    pub async fn fleet(&self) -> Vec<(String, Phase, String, Option<String>)> {
        let filter = mayfly::ledger::Filter { limit: 1000, ..Default::default() };
        let all = self.ledger.previews(&filter).await.unwrap();
        all.into_iter().map(|p| (p.name.namespace(), p.phase, p.outlook, p.last_error)).collect()
    }

    /// Whether the world serves this commit under the preview's name, by ground truth.
    pub fn serves(&self, n: u32, digit: char) -> bool {
        let name = pr(n);
        let routed = self.cluster.routes().into_iter().find(|(route, _)| *route == name);
        self.dns.records().contains_key(&name.namespace())
            && self.databases.databases().contains_key(&name.database())
            && routed.is_some_and(|(_, revision)| revision.commit == sha(digit))
            && self.cluster.running(&name).is_some_and(|revision| revision.commit == sha(digit))
    }

    /// Everything of ours in the outside world, by ground truth.
    pub fn leftovers(&self) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        all.extend(self.cluster.namespaces().iter().map(|name| format!("namespace {name}")));
        all.extend(self.cluster.routes().iter().map(|(name, _)| format!("route {name}")));
        all.extend(self.databases.databases().keys().map(|name| format!("database {name}")));
        all.extend(self.databases.roles().iter().map(|name| format!("role {name}")));
        all.extend(self.dns.records().keys().map(|name| format!("record {name}")));
        all
    }
}

fn sweep_config() -> SweepConfig {
    let every = TimeDelta::minutes(5);
    SweepConfig {
        pull_requests_every: every,
        orphans_every: every,
        deployments_every: every,
        deliveries_kept: TimeDelta::days(30),
        redelivery_every: TimeDelta::hours(1),
        redelivery_window: TimeDelta::days(3),
    }
}

/// What renders charts here: nothing does, unless a test brings the programs.
pub fn renderer() -> Renderer {
    let absent = std::path::PathBuf::from("/nonexistent");
    Renderer {
        tools: Tools::new(absent.clone(), absent.clone(), absent.clone(), absent),
        limits: RenderLimits::default(),
        registries: Vec::new(),
    }
}

fn replica(
    ledger: &Ledger,
    seams: Seams,
    clock: Arc<dyn Clock>,
    limits: Limits,
) -> Arc<Reconciler> {
    Arc::new(Reconciler {
        ledger: ledger.clone(),
        seams,
        repositories: Repositories::new(vec![repository()]),
        renderer: renderer(),
        site: site(),
        clock,
        pacing: Pacing::default(),
        limits,
        metrics: Arc::new(Metrics::default()),
        wake: Arc::default(),
        recorded: Default::default(),
        room: Default::default(),
        replica: fresh_id(),
    })
}
