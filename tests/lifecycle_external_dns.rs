//! The life of a preview whose name ExternalDNS writes: the real program, between a real API server
//! and a real BIND.
//!
//! What is true of the zone is asked of `dig` and of a transfer, what is true of the route of the API
//! server. Nobody here serves an Ingress, so an annotation of it says where it leads.

use std::sync::Arc;

use mayfly::app::RouteNotes;
use mayfly::clock::{Clock, ServerClock};
use mayfly::cluster::kubernetes::config::Entry;
use mayfly::dns::external_dns::{
    CONTROLLER_ANNOTATIONS, ExternalDns, ExternalDnsConfig, REGISTRY_LAG_SECONDS, RELEASED,
};
use mayfly::preview::{Notice, Phase};
use mayfly::reconcile::Seams;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::contracts::cluster::kubernetes::{PretendedIngress, RealCluster};
use crate::contracts::dns::SUFFIX;
use crate::contracts::dns::bind::{LED, gate, suffix};
use crate::lifecycle_kubernetes::{PATIENCE, start};
use crate::world::bind::{Bind, Wanted};
use crate::world::control_plane::ControlPlane;
use crate::world::external_dns::{ExternalDnsProgram, OWNER};
use crate::world::wait::within;
use crate::world::{HandClock, World, number, pr};

/// Where ExternalDNS reads whither an Ingress leads.
const TARGET_ANNOTATION: &str = "external-dns.kubernetes.io/target";

/// A world whose cluster, zone and ExternalDNS are real, and a loop that runs in it.
struct Place {
    world: World,
    cluster: Arc<RealCluster>,
    bind: Bind,
    external_dns: ExternalDnsProgram,
    /// By which the adapter tells how long a record has been nobody's.
    clock: Arc<HandClock>,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Place {
    async fn new() -> Option<Self> {
        let bind = Bind::start(Wanted { negative_ttl: 1, ..Wanted::default() }).await?;
        let mut instance = String::new();
        let cluster = RealCluster::with(|config| {
            let annotations = [(TARGET_ANNOTATION.to_owned(), LED.to_owned())].into();
            config.entry = Entry::Ingress { class: "test".to_owned(), annotations };
            instance.clone_from(&config.instance);
        });
        let cluster = Arc::new(cluster.await?);
        let kubeconfig = &ControlPlane::shared().await?.kubeconfig;
        let external_dns = ExternalDnsProgram::start(kubeconfig, &bind, &instance)?;
        let world = World::new().await;
        let now = ServerClock::default().now();
        world.clock.set(now);
        let clock = Arc::new(HandClock::at(now));
        let config = ExternalDnsConfig {
            owner_id: OWNER.to_owned(),
            txt_prefix: String::new(),
            txt_suffix: String::new(),
            gate: gate(&bind, &[LED]),
        };
        let routes = Arc::new(RouteNotes(cluster.cluster.clone()));
        let seams = Seams {
            cluster: cluster.cluster.clone(),
            dns: Arc::new(ExternalDns::new(config, suffix(), clock.clone(), routes)),
            visitor: Arc::new(PretendedIngress(cluster.clone())),
            ..world.reconciler.seams.clone()
        };
        let stop = CancellationToken::new();
        let (_, running) = start(&world, seams, stop.clone());
        Some(Self { world, cluster, bind, external_dns, clock, stop, running })
    }

    async fn until_phase(&mut self, n: u32, phase: Phase) {
        let what = format!("pr-{n} is {}", phase.as_str());
        within(PATIENCE, &what, async || {
            self.external_dns.log();
            self.world.phase(n).await == phase
        })
        .await;
    }

    /// Where the host leads, by the server's own word.
    fn led(&self, n: u32) -> String {
        self.bind.primary.dig(&[&host(n), "A", "+short"]).trim().to_owned()
    }

    async fn route(&self, n: u32) -> Option<Value> {
        self.cluster.read("Ingress", &pr(n).namespace(), "web").await
    }

    async fn is_released(&self, n: u32) -> bool {
        let route = self.route(n).await.expect("the route stands");
        let has =
            |key: &&str| route["metadata"]["annotations"].get(key).is_some_and(|it| it == RELEASED);
        CONTROLLER_ANNOTATIONS.iter().all(has)
    }

    /// Has the preview looked at, as a change of the cluster would.
    async fn poke(&self, n: u32) {
        self.world.ledger.poke_named(&pr(n), ServerClock::default().now()).await.unwrap();
    }

    /// Whether the pull request was ever told that somebody else holds the name.
    fn told_of_a_conflict(&self, n: u32) -> bool {
        let said = self.world.forge.said(number(n));
        said.iter().any(|it| matches!(it.notice, Notice::Blocked { .. }))
    }

    /// What the receipt says of the record.
    async fn receipt(&self, n: u32) -> String {
        let receipt = self.world.preview(n).await.receipt.expect("a receipt");
        assert_eq!(receipt.lines[0].what, "DNS record");
        receipt.lines[0].answer.clone()
    }

    async fn end(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }
}

fn host(n: u32) -> String {
    format!("pr-{n}.{SUFFIX}")
}

#[tokio::test]
async fn external_dns_writes_the_name_and_takes_it_away_before_the_route_goes() {
    let Some(mut place) = Place::new().await else { return };
    let (n, before) = (111, place.bind.zone());
    place.world.open(n, 'a').await;
    place.until_phase(n, Phase::Ready).await;
    assert_eq!(place.led(n), LED);
    let word = place.bind.primary.dig(&[&format!("a-{}", host(n)), "TXT", "+short"]);
    assert!(word.contains(&format!("external-dns/owner={OWNER}")), "{word}");
    let told = place.world.forge.comment(number(n)).unwrap();
    assert!(matches!(told.notice, Notice::Ready { .. }) && told.url.contains(&host(n)), "{told:?}");

    place.external_dns.freeze();
    place.world.close(n, 'a').await;
    within(PATIENCE, "it says whom it waits for", async || {
        place.world.preview(n).await.outlook.contains("ExternalDNS has yet to remove it")
    })
    .await;
    assert!(place.is_released(n).await);
    assert_eq!(place.led(n), LED, "the name is there, and so is what it leads to");
    place.external_dns.thaw();
    within(PATIENCE, "the route is gone", async || {
        let route = place.route(n).await;
        assert!(route.is_some() || place.led(n).is_empty(), "a name that leads nowhere");
        route.is_none()
    })
    .await;
    place.until_phase(n, Phase::Gone).await;
    assert_eq!(place.receipt(n).await, "not there");
    assert_eq!(place.bind.zone(), before, "its TXT record is gone too");
    assert!(!place.told_of_a_conflict(n), "its own record was never taken for another's");
    place.end().await;
}

#[tokio::test]
async fn a_preview_that_is_reopened_while_external_dns_removes_its_name_keeps_it() {
    let Some(mut place) = Place::new().await else { return };
    let (n, before) = (112, place.bind.zone());
    place.world.open(n, 'a').await;
    place.until_phase(n, Phase::Ready).await;
    place.external_dns.freeze();
    place.world.close(n, 'a').await;
    within(PATIENCE, "the route is let go", async || place.is_released(n).await).await;
    place.world.change("reopened", place.world.facts(n, 'a')).await;
    within(PATIENCE, "the route is claimed again", async || !place.is_released(n).await).await;
    place.external_dns.thaw();
    place.until_phase(n, Phase::Ready).await;
    // It hears of both changes, one after the other.
    within(PATIENCE, "the name is there", async || place.led(n) == LED).await;
    place.world.close(n, 'a').await;
    place.until_phase(n, Phase::Gone).await;
    assert_eq!(place.bind.zone(), before);
    place.end().await;
}

#[tokio::test]
async fn a_name_that_somebody_else_wrote_is_a_conflict_until_it_is_removed() {
    let Some(mut place) = Place::new().await else { return };
    let n = 113;
    place.bind.edit(&[&format!("update add {} 60 A {LED}", host(n))]);
    let theirs = place.bind.zone();
    place.world.open(n, 'a').await;
    place.until_phase(n, Phase::Conflict).await;
    let outlook = place.world.preview(n).await.outlook;
    assert!(outlook.contains("remove it, or set dns.external_dns.owner_id"), "{outlook}");
    assert!(place.told_of_a_conflict(n));
    assert_eq!(place.bind.zone(), theirs, "it was not touched");
    place.bind.edit(&[&format!("update delete {}", host(n))]);
    place.poke(n).await;
    place.until_phase(n, Phase::Ready).await;

    // Its owner is forgotten under a living preview: now it is anybody's, and stays.
    place.bind.edit(&[&format!("update delete a-{}", host(n))]);
    place.poke(n).await;
    within(PATIENCE, "nobody knows whose it is", async || {
        place.world.preview(n).await.outlook.contains("has yet to say whether it wrote that")
    })
    .await;
    place.clock.advance(chrono::TimeDelta::seconds(REGISTRY_LAG_SECONDS));
    place.poke(n).await;
    place.until_phase(n, Phase::Conflict).await;
    place.world.close(n, 'a').await;
    place.until_phase(n, Phase::Gone).await;
    assert!(place.receipt(n).await.contains("not ours, left alone"));
    assert_eq!(place.bind.zone(), theirs, "neither we nor ExternalDNS touched it");
    place.end().await;
}
