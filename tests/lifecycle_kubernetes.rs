//! The life of a preview in a real Kubernetes: a real ledger and a real API server, controllers that
//! take their time, and fakes of what is not in a cluster.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use mayfly::clock::{Clock, ServerClock, fresh_id};
use mayfly::cluster::Cluster;
use mayfly::http;
use mayfly::ledger::Role;
use mayfly::preview::{Notice, Phase};
use mayfly::reconcile::{Limits, Reconciler, Seams};
use mayfly::repository::Repositories;
use mayfly::telemetry::LogFormat;
use mayfly::telemetry::logs::subscriber;
use mayfly::workload::SecretCopy;
use reqwest::Method;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::contracts::cluster::kubernetes::{PretendedIngress, RealCluster, web};
use crate::observability::Lines;
use crate::world::control_plane::ControlPlane;
use crate::world::listener::{Listener, state};
use crate::world::wait::within;
use crate::world::{World, number, pr, repository, sha};

/// Namespaces take seconds to go, and machines may be slow.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A world whose cluster is real, and a loop that runs in it.
struct Place {
    world: World,
    cluster: Arc<RealCluster>,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Place {
    async fn new() -> Option<Self> {
        let cluster = Arc::new(RealCluster::new().await?);
        let world = World::new().await;
        world.clock.set(ServerClock::default().now());
        let stop = CancellationToken::new();
        let (_, running) = start(&world, with(&world, &cluster), stop.clone());
        Some(Self { world, cluster, stop, running })
    }

    async fn until_phase(&self, n: u32, phase: Phase) {
        let what = format!("pr-{n} is {}", phase.as_str());
        within(PATIENCE, &what, async || self.world.phase(n).await == phase).await;
    }

    fn now(&self) -> DateTime<Utc> {
        ServerClock::default().now()
    }

    async fn end(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }
}

/// The seams of a world, of which the cluster is real.
fn with(world: &World, cluster: &Arc<RealCluster>) -> Seams {
    let visitor = Arc::new(PretendedIngress(cluster.clone()));
    Seams { cluster: cluster.cluster.clone(), visitor, ..world.reconciler.seams.clone() }
}

/// A controller of its own over this world's ledger.
pub fn start(
    world: &World,
    seams: Seams,
    stop: CancellationToken,
) -> (Arc<Reconciler>, JoinHandle<()>) {
    let clock = Arc::new(ServerClock::default());
    // A lease that its holder took to the grave is waited for.
    let limits = Limits {
        poll: Duration::from_millis(100),
        lease: TimeDelta::seconds(10),
        pass_deadline: Duration::from_secs(9),
        ..Limits::default()
    };
    let replica = world.replica_with(world.ledger.clone(), seams, clock, limits);
    (replica.clone(), tokio::spawn(replica.run(stop)))
}

/// The same, for other repositories.
fn start_with(
    world: &World,
    repositories: Repositories,
    seams: Seams,
    stop: CancellationToken,
) -> (Arc<Reconciler>, JoinHandle<()>) {
    let usual = &world.reconciler;
    let replica = Arc::new(Reconciler {
        ledger: world.ledger.clone(),
        seams,
        repositories,
        renderer: crate::world::renderer(),
        site: usual.site.clone(),
        clock: Arc::new(ServerClock::default()),
        pacing: usual.pacing,
        limits: Limits { poll: Duration::from_millis(100), ..usual.limits },
        metrics: Arc::default(),
        wake: Arc::default(),
        recorded: Default::default(),
        room: Default::default(),
        replica: fresh_id(),
    });
    (replica.clone(), tokio::spawn(replica.run(stop)))
}

#[tokio::test]
async fn a_pull_request_is_served_pushed_to_and_gone_with_its_receipt() {
    let Some(place) = Place::new().await else { return };
    let (world, n, here) = (&place.world, 101, pr(101).namespace());
    world.open(n, 'a').await;
    place.until_phase(n, Phase::Ready).await;
    let deployments = async || place.cluster.names("Deployment", &here).await;
    assert_eq!(deployments().await, [web('a')]);
    world.push(n, 'b').await;
    within(PATIENCE, "the push is served", async || {
        let told = world.forge.comment(number(n)).unwrap().notice;
        matches!(told, Notice::Ready { revision, .. } if revision.commit == sha('b'))
    })
    .await;
    within(PATIENCE, "what was replaced goes", async || deployments().await == [web('b')]).await;
    world.close(n, 'b').await;
    place.until_phase(n, Phase::Gone).await;
    assert!(place.cluster.read("Namespace", "", &here).await.is_none());
    let receipt = world.preview(n).await.receipt.expect("a receipt");
    let namespace = receipt.lines.iter().find(|line| line.what == "namespace").unwrap();
    assert_eq!(namespace.answer, "not there");
    assert_eq!(place.cluster.cluster.owned().await.unwrap(), []);
    place.end().await;
}

#[tokio::test]
async fn a_pull_request_that_is_reopened_while_its_namespace_goes_waits_for_it() {
    let Some(place) = Place::new().await else { return };
    let (world, n, here) = (&place.world, 102, pr(102).namespace());
    world.open(n, 'a').await;
    place.until_phase(n, Phase::Ready).await;
    let first = place.cluster.read("Namespace", "", &here).await.unwrap();
    let held = json!({ "metadata": { "name": "held", "finalizers": ["example.test/hold"] } });
    place.cluster.make("ConfigMap", &here, "held", held).await;
    world.close(n, 'a').await;
    within(PATIENCE, "the namespace goes", async || {
        let found = place.cluster.read("Namespace", "", &here).await.unwrap();
        found["metadata"]["deletionTimestamp"].is_string()
    })
    .await;
    world.change("reopened", world.facts(n, 'a')).await;
    within(PATIENCE, "it says what it waits for", async || {
        world.preview(n).await.outlook.contains("example.test/hold")
    })
    .await;
    let free = json!({ "metadata": { "finalizers": null } });
    place.cluster.meddle("ConfigMap", &here, "held", free).await;
    place.until_phase(n, Phase::Ready).await;
    let second = place.cluster.read("Namespace", "", &here).await.unwrap();
    assert_ne!(first["metadata"]["uid"], second["metadata"]["uid"], "it is a new one");
    world.close(n, 'a').await;
    place.until_phase(n, Phase::Gone).await;
    place.end().await;
}

#[tokio::test]
async fn what_is_destroyed_by_hand_is_there_again_after_the_next_look() {
    let Some(place) = Place::new().await else { return };
    let (world, n, here) = (&place.world, 103, pr(103).namespace());
    world.open(n, 'a').await;
    place.until_phase(n, Phase::Ready).await;
    for (kind, name) in [("Ingress", "web".to_owned()), ("Deployment", web('a'))] {
        let before = place.cluster.read(kind, &here, &name).await.unwrap();
        place.cluster.delete(kind, &here, &name).await;
        // As a watch does, whose word the app hands on.
        world.ledger.poke_named(&pr(n), place.now()).await.unwrap();
        within(PATIENCE, "it is there again", async || {
            let found = place.cluster.read(kind, &here, &name).await;
            found.is_some_and(|it| it["metadata"]["uid"] != before["metadata"]["uid"])
        })
        .await;
    }
    world.close(n, 'a').await;
    place.until_phase(n, Phase::Gone).await;
    place.end().await;
}

#[tokio::test]
async fn a_controller_that_is_replaced_half_way_leaves_nothing_behind() {
    let Some(place) = Place::new().await else { return };
    let (world, n) = (&place.world, 104);
    world.open(n, 'a').await;
    within(PATIENCE, "its namespace is there", async || {
        place.cluster.read("Namespace", "", &pr(n).namespace()).await.is_some()
    })
    .await;
    place.running.abort();
    world.close(n, 'a').await;
    let stop = CancellationToken::new();
    let (_, second) = start(world, with(world, &place.cluster), stop.clone());
    place.until_phase(n, Phase::Gone).await;
    assert_eq!(place.cluster.cluster.owned().await.unwrap(), []);
    assert_eq!(world.leftovers(), Vec::<String>::new());
    stop.cancel();
    second.await.unwrap();
}

#[tokio::test]
async fn a_copied_secret_is_in_no_answer_line_or_metric_and_where_it_is_missing_people_are_told() {
    const VALUE: &str = "hush-stripe-44d1";
    let Some(plane) = ControlPlane::shared().await else { return };
    let templates = plane.namespace(&[]).await;
    let from = Some(templates.clone());
    let cluster = RealCluster::with(|config| config.template_namespace = from).await;
    let Some(cluster) = cluster.map(Arc::new) else { return };
    let (mut world, n, here) = (World::new().await, 105, pr(105).namespace());
    let mut repository = repository();
    let keys = [("STRIPE_KEY".to_owned(), "stripe".to_owned())].into();
    repository.shape.secrets = vec![SecretCopy { secret: "shop".to_owned(), keys }];
    world.configure(repository.clone());
    world.clock.set(ServerClock::default().now());
    let lines = Lines::default();
    let everything = Some("trace,h2=off,hyper=off,sqlx=debug");
    let told = subscriber(LogFormat::Json, everything, lines.clone(), None);
    let guard = tracing::subscriber::set_default(told);
    let stop = CancellationToken::new();
    let repositories = Repositories::new(vec![repository]);
    let seams = with(&world, &cluster);
    let (reconciler, running) = start_with(&world, repositories, seams, stop.clone());
    world.open(n, 'a').await;
    within(PATIENCE, "the pull request is told what is missing", async || {
        let told = world.forge.comment(number(n)).map(|it| it.notice);
        let words = format!("the Secret {templates}/shop is not there");
        matches!(told, Some(Notice::Failing { why, .. }) if why.contains(&words))
    })
    .await;
    cluster.make("Secret", &templates, "shop", json!({ "stringData": { "stripe": VALUE } })).await;
    world.ledger.poke_named(&pr(n), ServerClock::default().now()).await.unwrap();
    within(PATIENCE, "it is ready", async || world.phase(n).await == Phase::Ready).await;
    let copy = cluster.read("Secret", &here, "mayfly-config").await.expect("it was copied");
    let encoded = copy["data"]["STRIPE_KEY"].as_str().unwrap().to_owned();

    let token = format!("mayfly_{}", "5ec2e7".repeat(8));
    let now = world.now();
    let until = now + TimeDelta::days(30);
    world.ledger.add_token(fresh_id(), "ada", Role::Admin, &token, until, now).await.unwrap();
    let main = Listener::start(http::router(state(&reconciler))).await;
    let operations = Listener::start(http::operations(state(&reconciler))).await;
    let mut said = operations.look(operations.request(Method::GET, "/metrics")).await.text;
    for path in ["", &format!("/{here}"), &format!("/{here}/journal")] {
        let request = main.request(Method::GET, &format!("/api/v1/previews{path}"));
        let answer = main.look(request.bearer_auth(&token)).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        said.push_str(&answer.text);
    }
    for kind in ["ConfigMap", "Event", "Deployment", "Pod"] {
        for name in cluster.names(kind, &here).await {
            said.push_str(&cluster.read(kind, &here, &name).await.unwrap_or_default().to_string());
        }
    }
    world.close(n, 'a').await;
    within(PATIENCE, "it is gone", async || world.phase(n).await == Phase::Gone).await;
    stop.cancel();
    running.await.unwrap();
    drop(guard);
    said.push_str(&format!("{:?}{:?}", lines.all(), world.forge.said(number(n))));
    assert!(said.contains("ensure_workload"), "the lines are there");
    for secret in [VALUE, &encoded] {
        assert!(!said.contains(secret), "{secret} was said");
    }
}
