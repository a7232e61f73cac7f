//! The chart in a real control plane: the API server takes every object of it, and what the chart
//! grants is what the adapter needs.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::api::networking::v1::IngressClass;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::KubeConfigOptions;
use kube::{Api, Client};
use mayfly::clock::ServerClock;
use mayfly::cluster::Cluster;
use mayfly::cluster::kubernetes::KubernetesCluster;
use mayfly::cluster::kubernetes::config::{Entry, KubernetesConfig, Network, Peer, Tls};
use mayfly::preview::observed::Health;
use mayfly::preview::{CommitSha, PreviewName, Revision, Seen, Suffix};
use mayfly::workload::{Image, PodShape, Proof, Shape, WorkloadOrder};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{CHART, FULL, HELM, MINIMAL, helm_is_here};
use crate::world::control_plane::ControlPlane;
use crate::world::postgres::unique;
use crate::world::wait::{PATIENCE, until, within};

/// A namespace with the chart in it, as `shop`.
async fn installed(plane: &ControlPlane, values: &str, more: &[&str]) -> String {
    let restricted = [("pod-security.kubernetes.io/enforce", "restricted")];
    let namespace = plane.namespace(&restricted).await;
    let run = tokio::process::Command::new(HELM.as_ref().unwrap())
        .args(["install", "shop", CHART, "--namespace", &namespace, "--values", values])
        .args(more)
        .env("KUBECONFIG", &plane.kubeconfig)
        .output()
        .await
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let said = String::from_utf8_lossy(&run.stderr).to_lowercase();
    assert!(!said.contains("violate"), "pod security warns: {said}");
    namespace
}

#[tokio::test]
async fn the_api_server_takes_the_chart_and_two_replicas_become_available() {
    let Some(plane) = ControlPlane::shared().await else { return };
    if !helm_is_here() {
        return;
    }
    let namespace = installed(plane, MINIMAL, &[]).await;
    if plane.pretended {
        let deployments: Api<Deployment> = Api::namespaced(plane.client().await, &namespace);
        until("both replicas are available", async || {
            let found = deployments.get_status("shop-mayfly").await.unwrap();
            found.status.unwrap_or_default().available_replicas == Some(2)
        })
        .await;
    }
    // Everything that can be switched on, but what needs the Prometheus operator or a namespace of
    // somebody else's.
    let without = ["serviceMonitor.enabled=false", "alerts.enabled=false", "fullnameOverride=full"];
    let mut more: Vec<_> = without.iter().flat_map(|value| ["--set", value]).collect();
    more.extend(["--set", "config.cluster.kubernetes.tls=null"]);
    installed(plane, FULL, &more).await;
}

fn config(kubeconfig: &Path, instance: &str) -> KubernetesConfig {
    KubernetesConfig {
        kubeconfig: Some(kubeconfig.to_owned()),
        timeout: Duration::from_secs(10),
        instance: instance.to_owned(),
        suffix: Suffix::parse("preview.example.com").unwrap(),
        entry: Entry::Ingress { class: "chart-test".to_owned(), annotations: [].into() },
        tls: Tls::None,
        network: Network {
            ingress: None,
            dns: Peer { namespace: "kube-system".to_owned(), labels: [].into() },
            database: vec![],
            forbidden: vec![],
        },
        template_namespace: None,
        image_pull_secret: None,
        progress_deadline_seconds: 60,
    }
}

fn order(digit: char, image: &str) -> WorkloadOrder {
    let image = format!("registry.test/{image}@sha256:{}", "0".repeat(64));
    WorkloadOrder {
        revision: Revision {
            commit: CommitSha::parse(&digit.to_string().repeat(40)).unwrap(),
            restart: 0,
        },
        shape: Shape {
            command: vec![],
            directory: None,
            env: vec![],
            migrations: None,
            probe_path: "/".to_owned(),
            proof: Proof::Header,
            image: None,
            pod: PodShape { image: Some(Image::parse(&image).unwrap()), ..PodShape::default() },
            ..Shape::default()
        },
        env: vec![("DATABASE_URL".to_owned(), "postgres://x".to_owned())],
        objects: vec![],
        databases: vec![],
    }
}

/// Whether the API server refused it in these words.
fn refused(outcome: &kube::Result<()>, words: &str) -> bool {
    matches!(outcome, Err(kube::Error::Api(status))
        if [403, 422].contains(&status.code) && status.message.contains(words))
}

async fn ready(cluster: &KubernetesCluster, name: &PreviewName, order: &WorkloadOrder) {
    until("the workload is ready", async || {
        let seen = cluster.observe(name, &order.shape).await.workload;
        let Seen::Present(workload) = seen else { panic!("{seen:?}") };
        workload.revision == order.revision && workload.health == Health::Ready
    })
    .await;
}

/// Tries what a thief of the token would. Rights and policy take a moment to hold.
async fn writes_nowhere_but_where_the_stamp_is(
    plane: &ControlPlane,
    account: &Client,
    instance: &str,
) {
    let stamp = "does not carry the stamp";
    let place = plane.namespace(&[("mayfly.dev/instance", instance)]).await;
    let secrets = Api::<Secret>::namespaced(account.clone(), &place);
    let secret: Secret = serde_json::from_value(json!({"metadata": {"name": "x"}})).unwrap();
    let tried = PostParams { dry_run: true, ..Default::default() };
    until("the policy holds", async || {
        refused(&secrets.create(&tried, &secret).await.map(drop), stamp)
    })
    .await;

    let namespaces: Api<Namespace> = Api::all(account.clone());
    let gone = namespaces.delete(&place, &DeleteParams::default()).await.map(drop);
    assert!(refused(&gone, stamp), "{gone:?}");
    let line = format!("mayfly={instance}/{place}");
    let line = Patch::Merge(json!({"metadata": {"annotations": {"mayfly.dev/stamp": line}}}));
    let taken = namespaces.patch(&place, &PatchParams::default(), &line).await.map(drop);
    assert!(refused(&taken, stamp), "a namespace was made ours: {taken:?}");
    for line in ["mayfly=other/", &format!("mayfly={instance}/pr-1-"), ""] {
        let name = format!("{place}-x");
        let marks = json!({"mayfly.dev/stamp": format!("{line}{name}")});
        let bare = json!({"metadata": {"name": name, "annotations": marks}});
        let bare = serde_json::from_value(bare).unwrap();
        let made = namespaces.create(&tried, &bare).await.map(drop);
        assert!(refused(&made, stamp), "{line}: {made:?}");
    }
}

#[tokio::test]
async fn a_previews_whole_life_needs_no_right_beyond_the_charts() {
    let Some(plane) = ControlPlane::shared().await else { return };
    if !helm_is_here() || !plane.pretended {
        return;
    }
    let admin = plane.client().await;
    let classes: Api<IngressClass> = Api::all(admin.clone());
    let class =
        json!({"metadata": {"name": "chart-test"}, "spec": {"controller": "mayfly.test/x"}});
    let class = serde_json::from_value(class).unwrap();
    // Somebody else's run may have made it.
    let _ = classes.create(&PostParams::default(), &class).await;
    let instance = format!("chart_{}_{}", std::process::id(), unique());
    let more = format!("config.instance={instance}");
    let namespace = installed(plane, MINIMAL, &["--set", &more]).await;
    let room = tempfile::tempdir().unwrap();
    let kubeconfig = room.path().join("kubeconfig");
    let of_account = plane.kubeconfig_of(&namespace, "shop-mayfly").await;
    std::fs::write(&kubeconfig, serde_json::to_string(&of_account).unwrap()).unwrap();
    let (changes, mut changed) = tokio::sync::mpsc::channel(64);
    let stop = CancellationToken::new();
    let clock = Arc::new(ServerClock::default());
    let cluster = KubernetesCluster::connect(config(&kubeconfig, &instance), clock).await.unwrap();
    cluster.watch(&changes, &stop);
    let name = PreviewName::parse(&format!("pr-{}", 700_000 + std::process::id())).unwrap();
    let (first, second, third) = (order('a', "shop"), order('b', "shop"), order('c', "crash-loop"));

    let account =
        kube::Config::from_custom_kubeconfig(of_account, &KubeConfigOptions::default()).await;
    let account = Client::try_from(account.unwrap()).unwrap();
    // From here on rights and policy hold: what follows is done under both.
    writes_nowhere_but_where_the_stamp_is(plane, &account, &instance).await;
    cluster.ensure_namespace(&name, &first.shape, &Default::default()).await.unwrap();
    // What somebody loosened is tightened again.
    let namespaces: Api<Namespace> = Api::all(admin.clone());
    let loose = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": null}}});
    let loose = Patch::Merge(loose);
    namespaces.patch(&name.namespace(), &PatchParams::default(), &loose).await.unwrap();
    cluster.ensure_namespace(&name, &first.shape, &Default::default()).await.unwrap();
    let labels = namespaces.get(&name.namespace()).await.unwrap().metadata.labels.unwrap();
    assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted");
    assert_eq!(cluster.owned().await.unwrap(), std::slice::from_ref(&name));
    for order in [&first, &second] {
        cluster.ensure_workload(&name, order).await.unwrap();
        ready(&cluster, &name, order).await;
        cluster.ensure_route(&name, &order.shape, &order.revision).await.unwrap();
        cluster.remove_others(&name, &order.shape, &order.revision).await.unwrap();
    }
    let deployments: Api<Deployment> = Api::namespaced(admin.clone(), &name.namespace());
    let left = deployments.list(&ListParams::default()).await.unwrap().items;
    assert_eq!(left.len(), 1, "the revision before was retired");
    tokio::time::timeout(PATIENCE, changed.recv()).await.expect("a watch tells of a change");

    // What fails is looked into, its pods and their logs.
    cluster.ensure_workload(&name, &third).await.unwrap();
    until("it says why it fails", async || {
        let seen = cluster.observe(&name, &third.shape).await.workload;
        let Seen::Present(workload) = seen else { panic!("{seen:?}") };
        let Health::Failing { log, .. } = workload.health else { return false };
        assert!(!log.contains("forbidden"), "{log}");
        true
    })
    .await;

    // Not even what it wrote is read back.
    for place in [&*name.namespace(), &namespace, "kube-system"] {
        let secrets = Api::<Secret>::namespaced(account.clone(), place);
        let all = secrets.list(&ListParams::default()).await.map(drop);
        let one = secrets.get("preview").await.map(drop);
        assert!(refused(&all, "forbidden") && refused(&one, "forbidden"), "{all:?} {one:?}");
    }

    cluster.remove_route(&name).await.unwrap();
    cluster.remove_namespace(&name).await.unwrap();
    within(Duration::from_secs(60), "the namespace is gone", async || {
        cluster.observe(&name, &first.shape).await.namespace == Seen::Absent
    })
    .await;
    stop.cancel();
}
