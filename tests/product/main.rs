//! The whole product on a real node: Mayfly installed by its chart, as pods from its image, told by
//! signed webhooks through a real ingress, with real pods, policies and databases.
//!
//! Takes root and minutes: `make test-node`. Where there can be no node, it says so and passes.

#![allow(clippy::unwrap_used, missing_docs)]

mod charted;
mod cluster;
mod ground;
mod images;
mod install;
mod isolation;
mod private;
mod races;
mod stage;
mod story;
mod suite;
// It offers more ways to wait than are used here.
#[allow(dead_code)]
#[path = "../world/wait.rs"]
mod wait;
mod zone;

use std::time::Instant;

use cluster::Cluster;
use ground::Ground;
use install::Images;
use stage::{Servers, Stage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pull_requests_live_and_go_in_a_real_cluster_and_nothing_is_left() {
    let base = tempfile::Builder::new().permissions(open()).tempdir().unwrap();
    let started = Instant::now();
    let chapter = |what: &str| eprintln!("{:6.1}s  {what}", started.elapsed().as_secs_f64());
    chapter("a node");
    let Some(cluster) = Cluster::start(&base.path().join("clusters")).await else { return };
    let servers = Servers::start(&cluster, base.path()).await;
    servers.private.introduce(&base.path().join("clusters"));
    chapter("images");
    let (mayfly, shop, chart) = tokio::join!(
        images::push_mayfly(&cluster),
        images::push_shop(&cluster),
        images::push_chart(&cluster)
    );
    let before = Ground::look(&cluster, &servers).await;

    chapter("the chart is installed, and its own test passes");
    let images = Images { mayfly, shop, chart };
    install::install(&cluster, &servers, &images).await;
    let stage = Stage::of(cluster, servers).await;

    chapter("pull requests open");
    story::open(&stage, &images.shop).await;
    chapter("previews are kept apart");
    isolation::hold(&stage, &images.shop).await;
    chapter("a push");
    story::push(&stage).await;
    chapter("one is deployed by a chart of its own");
    charted::live(&stage).await;
    chapter("one is several services, out of a private registry");
    suite::live(&stage, &images.shop).await;
    chapter("pushes race");
    races::hold(&stage, &images.shop).await;
    chapter("a replica is killed");
    story::lose_a_replica(&stage).await;
    chapter("one is closed");
    story::close(&stage).await;
    chapter("one is opened again while it goes");
    story::reopen_while_it_goes(&stage).await;
    chapter("one has expired");
    story::expire(&stage).await;
    chapter("all are closed");
    story::close_all(&stage).await;
    chapter("a whole life behind the Gateway");
    install::move_to_the_gateway(&stage.cluster, &stage.servers, &images).await;
    story::live_behind_the_gateway(&stage).await;
    suite::live_behind_the_gateway(&stage, &images.shop).await;
    chapter("Mayfly goes");

    let Stage { cluster, servers, .. } = stage;
    install::uninstall(&cluster).await;
    wait::within(stage::PATIENCE, "the last containers end", async || {
        cluster.containers().await == before.containers
    })
    .await;
    assert_eq!(Ground::look(&cluster, &servers).await, before);
    cluster.stop().await;
    let Servers { ledger, previews, .. } = servers;
    ledger.stop().await.unwrap();
    previews.stop().await.unwrap();
    chapter("nothing is left");
}

/// PostgreSQL's own user passes through.
fn open() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o755)
}
