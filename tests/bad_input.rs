//! What is configured wrong is a condition with its cure in words, in the API and in the pull
//! request's comment; nothing else stops, and once it is mended the preview goes on by itself.
//!
//! GitHub is the stand-in, spoken to by the real adapter; the cluster is a real control plane where
//! the trouble is there, and the zone a real BIND.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use mayfly::clock::{Clock, ServerClock, fresh_id};
use mayfly::cluster::kubernetes::config::{Entry, Tls};
use mayfly::demo::github::{GitHubStandIn, PullSpec};
use mayfly::dns::rfc2136::{Key, Rfc2136Config};
use mayfly::dns::wildcard::WildcardDns;
use mayfly::forge::github::{Auth, GitHub, GitHubConfig};
use mayfly::http::router;
use mayfly::ledger::Role;
use mayfly::preview::{Part, Phase};
use mayfly::reconcile::{Limits, Seams};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::contracts::cluster::kubernetes::{PretendedIngress, RealCluster, make_class};
use crate::contracts::dns::bind::{LED, config as zone, gate, suffix, with};
use crate::contracts::forge_stage::{REPO, config as github};
use crate::world::bind::{Bind, KEY, WRONG_SECRET, Wanted};
use crate::world::listener::{Listener, state};
use crate::world::postgres::unique;
use crate::world::wait::within;
use crate::world::{SHOP, World, pr, sha};

/// Namespaces take seconds to go, and machines may be slow.
const PATIENCE: Duration = Duration::from_secs(90);

const TOKEN: &str = "viewer-token-0123456789";

/// A loop that runs, its API, and the GitHub that it speaks to.
struct Stage {
    world: World,
    hub: GitHubStandIn,
    listener: Listener,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Stage {
    async fn new(change: impl FnOnce(&mut Seams)) -> Self {
        Self::as_who(|_| {}, change).await
    }

    /// In a real cluster, and visited through its routes.
    async fn in_cluster(cluster: &Arc<RealCluster>) -> Self {
        Self::new(|seams| {
            seams.cluster = cluster.cluster.clone();
            seams.visitor = Arc::new(PretendedIngress(cluster.clone()));
        })
        .await
    }

    /// With this changed in how it speaks to GitHub, and in its seams.
    async fn as_who(
        speak: impl FnOnce(&mut GitHubConfig),
        change: impl FnOnce(&mut Seams),
    ) -> Self {
        let (world, clock) = (World::new().await, Arc::new(ServerClock::default()));
        // GitHub's times have whole seconds: an event is never newer than what it then says.
        world.clock.set(clock.now() - TimeDelta::seconds(2));
        let hub = GitHubStandIn::start(([127, 0, 0, 1], 0).into()).await.unwrap();
        hub.add_repository(SHOP.0, REPO);
        let mut config = github(&hub);
        speak(&mut config);
        let forge = Arc::new(GitHub::new(config).unwrap());
        let mut seams = Seams { forge, ..world.reconciler.seams.clone() };
        change(&mut seams);
        let limits = Limits { poll: Duration::from_millis(100), ..Limits::default() };
        let replica = world.replica_with(world.ledger.clone(), seams, clock.clone(), limits);
        let listener = Listener::start(router(state(&replica))).await;
        let (now, until) = (clock.now(), clock.now() + TimeDelta::days(1));
        world.ledger.add_token(fresh_id(), "test", Role::Viewer, TOKEN, until, now).await.unwrap();
        let stop = CancellationToken::new();
        let running = tokio::spawn(replica.run(stop.clone()));
        Self { world, hub, listener, stop, running }
    }

    async fn open(&self, n: u32) {
        self.hub.open_pull(REPO, n, PullSpec::new("Change", sha('a').as_str()));
        self.world.open(n, 'a').await;
    }

    /// What `GET /api/v1/previews/{id}` answers.
    async fn asked(&self, n: u32) -> Value {
        let id = self.world.preview(n).await.id;
        let request = self.listener.request(Method::GET, &format!("/api/v1/previews/{id}"));
        self.listener.send(request.bearer_auth(TOKEN)).await.ok(200)
    }

    /// Waits until the API says of this part that it is not there, with all of these words.
    async fn until_said(&self, n: u32, part: Part, words: &[&str]) {
        let mut last = Value::Null;
        within(PATIENCE, &format!("{} says {words:?}", part.as_str()), async || {
            last = condition(&self.asked(n).await, part);
            let message = last["message"].as_str().unwrap_or_default();
            last["status"] != "True" && words.iter().all(|word| message.contains(word))
        })
        .await;
    }

    /// Waits until the one comment says this.
    async fn until_told(&self, n: u32, words: &[&str]) {
        within(PATIENCE, &format!("the comment says {words:?}"), async || {
            let comments = self.hub.comments(REPO, n);
            assert!(comments.len() <= 1, "{comments:?}");
            comments.iter().any(|it| words.iter().all(|word| it.body.contains(word)))
        })
        .await;
    }

    /// These parts are as they should be all the same: what a pass made before it met a fault is seen by
    /// the next one.
    async fn stands(&self, n: u32, parts: &[Part]) {
        within(PATIENCE, &format!("{parts:?} stand"), async || {
            let asked = self.asked(n).await;
            parts.iter().all(|part| condition(&asked, *part)["status"] == "True")
        })
        .await;
    }

    async fn until_phase(&self, n: u32, phase: Phase) {
        within(PATIENCE, &format!("pr-{n} is {}", phase.as_str()), async || {
            self.asked(n).await["phase"] == phase.as_str()
        })
        .await;
    }

    /// A person mended it; the next look need not be waited for.
    async fn look_again(&self, n: u32) {
        let now = ServerClock::default().now();
        self.world.ledger.poke_named(&pr(n), now).await.unwrap();
    }

    async fn close(&self, n: u32) {
        self.hub.close(REPO, n, false);
        self.world.close(n, 'a').await;
        self.until_phase(n, Phase::Gone).await;
    }

    async fn end(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }
}

/// `Null` before the first look.
fn condition(preview: &Value, part: Part) -> Value {
    let all = preview["conditions"].as_array().unwrap();
    all.iter().find(|it| it["part"] == part.as_str()).cloned().unwrap_or_default()
}

const BEFORE_THE_ROUTE: [Part; 4] =
    [Part::PullRequest, Part::Namespace, Part::Database, Part::Workload];

#[tokio::test]
async fn an_unknown_ingress_class_is_told_with_its_cure_and_awaited() {
    let class = format!("late-{}-{}", std::process::id(), unique());
    let entry = Entry::Ingress { class: class.clone(), annotations: [].into() };
    let Some(cluster) = RealCluster::with(|config| config.entry = entry).await else { return };
    let cluster = Arc::new(cluster);
    let (n, cure) = (111, [class.as_str(), "cluster.kubernetes.ingress.class"]);
    let stage = Stage::in_cluster(&cluster).await;
    stage.open(n).await;
    stage.until_said(n, Part::Route, &cure).await;
    stage.until_told(n, &cure).await;
    stage.stands(n, &BEFORE_THE_ROUTE).await;
    make_class(&cluster.client, &class).await;
    stage.look_again(n).await;
    stage.until_phase(n, Phase::Ready).await;
    stage.close(n).await;
    cluster.delete("IngressClass", "", &class).await;
    stage.end().await;
}

#[tokio::test]
async fn a_missing_tls_secret_is_told_with_its_cure_and_awaited() {
    let Some(keeper) = RealCluster::new().await else { return };
    let place = format!("certificates-{}-{}", std::process::id(), unique());
    keeper.make("Namespace", "", &place, json!({})).await;
    let tls = Tls::Secret { namespace: place.clone(), name: "wildcard".to_owned() };
    let cluster = Arc::new(RealCluster::with(|config| config.tls = tls).await.unwrap());
    let (n, named) = (112, format!("{place}/wildcard"));
    let cure = [named.as_str(), "create it, or set cluster.kubernetes.tls.secret"];
    let stage = Stage::in_cluster(&cluster).await;
    stage.open(n).await;
    stage.until_said(n, Part::Route, &cure).await;
    stage.until_told(n, &cure).await;
    stage.stands(n, &BEFORE_THE_ROUTE).await;
    let data = json!({ "tls.crt": "Y2VydA==", "tls.key": "a2V5" });
    let secret = json!({ "type": "kubernetes.io/tls", "data": data });
    keeper.make("Secret", &place, "wildcard", secret).await;
    stage.look_again(n).await;
    stage.until_phase(n, Phase::Ready).await;
    stage.close(n).await;
    keeper.delete("Namespace", "", &place).await;
    stage.end().await;
}

#[tokio::test]
async fn a_wildcard_that_leads_elsewhere_is_told_with_its_cure_and_awaited() {
    let records = "*.preview A 198.51.100.9\n";
    let Some(bind) = Bind::start(Wanted { records, ..Wanted::default() }).await else { return };
    let clock = Arc::new(ServerClock::default());
    let dns = Arc::new(WildcardDns::new(gate(&bind, &[LED]), suffix(), clock));
    let stage = Stage::new(|seams| seams.dns = dns).await;
    let wildcard = format!("*.{}", suffix().as_str());
    let cure = format!("the zone needs the record {wildcard} A {LED}");
    stage.open(7).await;
    stage.until_said(7, Part::Dns, &["198.51.100.9", &cure]).await;
    stage.until_told(7, &["198.51.100.9", &cure]).await;
    stage.stands(7, &BEFORE_THE_ROUTE).await;
    stage.stands(7, &[Part::Route]).await;
    let remove = format!("update delete {wildcard} A");
    bind.edit(&[&remove, &format!("update add {wildcard} 60 A {LED}")]);
    stage.look_again(7).await;
    stage.until_phase(7, Phase::Ready).await;
    stage.close(7).await;
    stage.end().await;
}

#[tokio::test]
async fn a_key_that_bind_refuses_is_told_with_its_cure_and_keeps_no_preview_from_going() {
    let Some(bind) = Bind::start(Wanted::default()).await else { return };
    let key = Key::new(KEY, "hmac-sha256", &WRONG_SECRET.to_owned().into()).unwrap();
    let dns = Arc::new(with(Rfc2136Config { key, ..zone(&bind) }, "here"));
    let stage = Stage::new(|seams| seams.dns = dns).await;
    let cure = ["refused the signature", KEY, "the secret differs"];
    for n in [7, 8] {
        stage.open(n).await;
    }
    for n in [7, 8] {
        stage.until_said(n, Part::Dns, &cure).await;
        stage.until_told(n, &cure).await;
        stage.stands(n, &BEFORE_THE_ROUTE).await;
        stage.stands(n, &[Part::Route]).await;
    }
    let told = stage.hub.comments(REPO, 7).remove(0).body + &stage.asked(7).await.to_string();
    assert!(!told.contains(WRONG_SECRET), "the secret is told to nobody");
    stage.close(8).await;
    stage.end().await;
}

/// As an App whose installation lacks a permission.
async fn app_without(permission: &str) -> Stage {
    let pem = crate::contracts::forge_github::pem(&crate::contracts::forge_github_login::key());
    let auth = Auth::App { app_id: 77, private_key_pem: pem.into(), installation_id: 4711 };
    let stage = Stage::as_who(|config| config.auth = auth, |_| {}).await;
    stage.hub.forbid(permission);
    stage
}

#[tokio::test]
async fn an_app_that_may_not_show_deployments_says_so_and_previews_are_served_all_the_same() {
    let stage = app_without("deployments").await;
    let cure = ["lacks deployments: write", "/settings/installations/4711"];
    for n in [7, 8] {
        stage.open(n).await;
    }
    for n in [7, 8] {
        stage.until_phase(n, Phase::Ready).await;
        stage.until_said(n, Part::Notice, &cure).await;
        stage.until_told(n, &cure).await;
        stage.stands(n, &BEFORE_THE_ROUTE).await;
        stage.stands(n, &[Part::Route, Part::Dns]).await;
    }
    stage.end().await;
}

#[tokio::test]
async fn an_app_that_may_not_comment_says_so_where_it_can_and_previews_are_served_all_the_same() {
    let stage = app_without("issues").await;
    let cure = ["lacks issues: write", "/settings/installations/4711"];
    for n in [7, 8] {
        stage.open(n).await;
    }
    for n in [7, 8] {
        stage.until_phase(n, Phase::Ready).await;
        stage.until_said(n, Part::Notice, &cure).await;
        assert_eq!(stage.hub.comments(REPO, n).len(), 0);
    }
    within(PATIENCE, "deployments are shown", async || {
        let shown = stage.hub.deployments(REPO);
        shown.iter().filter(|deployment| deployment.state() == "success").count() == 2
    })
    .await;
    stage.end().await;
}
