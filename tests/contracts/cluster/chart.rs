//! A team's chart on a real API server: one release, pruned, healed, and exchanged for the built-in
//! shape and back.

use std::time::Duration;

use mayfly::workload::chart::{ChartSource, Quota, ServicePort};
use mayfly::workload::{Chart, Object};
use serde_json::{Value, json};

use super::kubernetes::RealCluster;
use super::*;

const TIMEOUT: Duration = Duration::from_secs(30);

fn charted(service_port: u16) -> Shape {
    let service = ServicePort { name: "shop".to_owned(), port: service_port };
    let source = ChartSource::Manifests { directory: "/charts/shop".into() };
    Shape { chart: Some(Chart { source, service, quota: Quota::default() }), ..shape() }
}

fn image() -> String {
    format!("registry.test/probe-target@sha256:{}", "0".repeat(64))
}

fn object(version: &str, kind: &str, name: &str, more: Value) -> Object {
    let mut value = json!({ "apiVersion": version, "kind": kind, "metadata": { "name": name } });
    value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Object::new(value, None)
}

fn pods(name: &str, image: &str) -> Value {
    json!({
        "metadata": { "labels": { "app": name } },
        "spec": {
            "serviceAccountName": "preview",
            "securityContext": {
                "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" },
            },
            "containers": [{ "name": "c", "image": image, "securityContext": {
                "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] },
            } }],
        },
    })
}

fn workload(kind: &str, name: &str, image: &str) -> Object {
    let selector = json!({ "matchLabels": { "app": name } });
    let mut spec = json!({ "replicas": 1, "selector": selector, "template": pods(name, image) });
    if kind == "StatefulSet" {
        spec["serviceName"] = json!(name);
    }
    object("apps/v1", kind, name, json!({ "spec": spec }))
}

fn service() -> Object {
    let spec = json!({ "selector": { "app": "shop" }, "ports": [{ "port": 80 }] });
    object("v1", "Service", "shop", json!({ "spec": spec }))
}

fn release(digit: char, more: Vec<Object>) -> WorkloadOrder {
    let mut order = order(&revision(digit));
    order.env.push(("DATABASE_URL".to_owned(), "postgres://pr:hush@db/pr".to_owned()));
    order.shape = charted(80);
    order.objects = vec![service(), workload("Deployment", "shop", &image())];
    order.objects.extend(more);
    order
}

async fn stands(it: &RealCluster, order: &WorkloadOrder) -> (Revision, Health) {
    let seen = it.cluster.observe(&it.name(7), &order.shape).await.workload;
    let Seen::Present(seen) = seen else { panic!("{seen:?}") };
    (seen.revision, seen.health)
}

async fn until_up(it: &RealCluster, order: &WorkloadOrder) {
    let ready = (order.revision.clone(), Health::Ready);
    let up = until("the release is ready", async || stands(it, order).await == ready);
    tokio::time::timeout(TIMEOUT, up).await.unwrap();
}

async fn deploy(it: &RealCluster, order: &WorkloadOrder) {
    it.cluster.ensure_namespace(&it.name(7), &order.shape, &Default::default()).await.unwrap();
    it.cluster.ensure_workload(&it.name(7), order).await.unwrap();
    until_up(it, order).await;
}

#[tokio::test]
async fn a_chart_is_applied_routed_to_its_own_service_and_pruned_by_the_next_revision() {
    let Some(it) = RealCluster::new().await else { return };
    let (name, here) = (it.name(7), it.name(7).namespace());
    let settings = object("v1", "ConfigMap", "settings", json!({ "data": { "colour": "green" } }));
    let secret = object("v1", "Secret", "keys", json!({ "stringData": { "key": "hush" } }));
    let a = release('a', vec![settings, secret, workload("StatefulSet", "cache", &image())]);
    deploy(&it, &a).await;
    it.cluster.ensure_route(&name, &a.shape, &a.revision).await.unwrap();
    let ingress = it.read("Ingress", &here, "web").await.unwrap();
    let backend = &ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"];
    assert_eq!(*backend, json!({ "name": "shop", "port": { "number": 80 } }));
    let seen = it.cluster.observe(&name, &a.shape).await;
    assert_eq!(seen.route.present().unwrap().revision.as_ref(), Some(&a.revision));
    assert!(!seen.workload.present().unwrap().others);
    let database = it.read("Secret", &here, "database").await.unwrap();
    assert!(database["data"]["DATABASE_URL"].is_string());
    let quota = it.read("ResourceQuota", &here, "preview").await.unwrap();
    assert_eq!(quota["spec"]["hard"]["pods"], "20");

    // Twice is once: nothing is rolled out anew.
    let generation = async || {
        it.read("Deployment", &here, "shop").await.unwrap()["metadata"]["generation"].clone()
    };
    let before = generation().await;
    it.cluster.ensure_workload(&name, &a).await.unwrap();
    assert_eq!((generation().await, stands(&it, &a).await.1), (before, Health::Ready));

    let b = release('b', vec![]);
    it.cluster.ensure_workload(&name, &b).await.unwrap();
    assert!(it.read("StatefulSet", &here, "cache").await.is_some(), "until the rest is ready");
    let replaced = until(
        "what replaces it is ready",
        async || matches!(stands(&it, &b).await.1, Health::Dead(why) if why.contains("no longer has")),
    );
    tokio::time::timeout(TIMEOUT, replaced).await.unwrap();
    it.cluster.ensure_workload(&name, &b).await.unwrap();
    until_up(&it, &b).await;
    for (kind, gone) in [("ConfigMap", "settings"), ("Secret", "keys"), ("StatefulSet", "cache")] {
        assert!(
            it.read(kind, &here, gone).await.is_none(),
            "{kind} {gone} is not rendered any more"
        );
    }
    let pods = it.read("Deployment", &here, "shop").await.unwrap()["spec"]["template"].clone();
    assert_eq!(pods["metadata"]["annotations"]["mayfly.dev/revision"], b.revision.to_string());
    let written = it.read("ConfigMap", &here, "mayfly-release").await.unwrap();
    assert!(!written.to_string().contains("hush"), "{written}");
}

#[tokio::test]
async fn what_somebody_changed_or_deleted_of_a_chart_and_what_was_cut_off_is_applied_again() {
    let Some(it) = RealCluster::new().await else { return };
    let (name, here) = (it.name(7), it.name(7).namespace());
    let settings = object("v1", "ConfigMap", "settings", json!({ "data": { "colour": "green" } }));
    let a = release('a', vec![settings]);
    deploy(&it, &a).await;
    it.clock.advance(chrono::TimeDelta::minutes(1));
    assert_eq!(stands(&it, &a).await.1, Health::Ready);
    let dead = async |words: &str| match stands(&it, &a).await.1 {
        Health::Dead(why) if why.contains(words) => {}
        other => panic!("{words}: {other:?}"),
    };
    it.meddle("ConfigMap", &here, "settings", json!({ "data": { "colour": "red" } })).await;
    dead("data.colour of its ConfigMap settings").await;
    it.cluster.ensure_workload(&name, &a).await.unwrap();
    until_up(&it, &a).await;
    assert_eq!(it.read("ConfigMap", &here, "settings").await.unwrap()["data"]["colour"], "green");

    it.clock.advance(chrono::TimeDelta::minutes(1));
    it.delete("Service", &here, "shop").await;
    dead("Service shop is not there").await;
    it.cluster.ensure_workload(&name, &a).await.unwrap();
    until_up(&it, &a).await;

    // As a crash in the middle leaves it.
    let half = json!({ "metadata": { "annotations": { "mayfly.dev/applied-whole": "false" } } });
    it.meddle("ConfigMap", &here, "mayfly-release", half).await;
    dead("did not come to its end").await;
    it.cluster.ensure_workload(&name, &a).await.unwrap();
    until_up(&it, &a).await;

    // Another configuration of the chart is another release of the same revision.
    it.clock.advance(chrono::TimeDelta::minutes(1));
    let other = it.cluster.observe(&name, &charted(81)).await.workload;
    assert!(matches!(&other.present().unwrap().health, Health::Dead(why) if why.contains("chart")));
}

#[tokio::test]
async fn a_chart_whose_pods_fail_says_which_and_the_revision_before_still_runs() {
    let Some(it) = RealCluster::new().await else { return };
    let here = it.name(7).namespace();
    let a = release('a', vec![]);
    deploy(&it, &a).await;
    let mut b = release('b', vec![]);
    let broken = format!("registry.test/crash-loop@sha256:{}", "0".repeat(64));
    b.objects[1] = workload("Deployment", "shop", &broken);
    it.cluster.ensure_workload(&it.name(7), &b).await.unwrap();
    let failing = until("it fails", async || match stands(&it, &b).await {
        (revision, Health::Failing { why, .. }) => {
            assert!(revision == b.revision && why.starts_with("shop: "), "{why}");
            true
        }
        (_, health) => {
            assert_ne!(health, Health::Ready);
            false
        }
    });
    tokio::time::timeout(TIMEOUT, failing).await.unwrap();
    let live = it.read("Deployment", &here, "shop").await.unwrap();
    assert_eq!(live["status"]["availableReplicas"], 1, "{}", live["status"]);
    it.cluster.ensure_route(&it.name(7), &b.shape, &b.revision).await.unwrap_err();
}

#[tokio::test]
async fn a_repository_may_change_from_the_built_in_shape_to_a_chart_and_back() {
    let Some(it) = RealCluster::new().await else { return };
    let (name, here) = (it.name(7), it.name(7).namespace());
    let mut plain = order(&revision('a'));
    plain.env.push(("DATABASE_URL".to_owned(), "postgres://pr:hush@db/pr".to_owned()));
    serve(&*it.cluster, &name, &plain).await;
    let chart = release('a', vec![]);
    assert!(it.cluster.observe(&name, &chart.shape).await.workload.is_absent());
    deploy(&it, &chart).await;
    let seen = it.cluster.observe(&name, &chart.shape).await;
    assert!(seen.workload.present().unwrap().others, "the built-in one still serves");
    it.clock.advance(chrono::TimeDelta::minutes(1));
    let seen = it.cluster.observe(&name, &chart.shape).await;
    assert_eq!(seen.route.present().unwrap().revision, None, "it does not lead to the chart");
    it.cluster.ensure_route(&name, &chart.shape, &chart.revision).await.unwrap();
    it.cluster.remove_others(&name, &chart.shape, &chart.revision).await.unwrap();
    assert_eq!(it.names("Deployment", &here).await, ["shop"]);

    it.cluster.ensure_namespace(&name, &plain.shape, &Default::default()).await.unwrap();
    it.cluster.ensure_workload(&name, &plain).await.unwrap();
    until_ready(&*it.cluster, &name, &plain.revision).await;
    assert!(it.read("Service", &here, "shop").await.is_some(), "it serves until the route moved");
    assert!(it.cluster.observe(&name, &plain.shape).await.workload.present().unwrap().others);
    it.cluster.ensure_route(&name, &plain.shape, &plain.revision).await.unwrap();
    it.cluster.remove_others(&name, &plain.shape, &plain.revision).await.unwrap();
    assert!(it.read("Service", &here, "shop").await.is_none());
    assert!(it.read("ConfigMap", &here, "mayfly-release").await.is_none());
    assert_eq!(it.names("Deployment", &here).await.len(), 1);
    assert!(!it.cluster.observe(&name, &plain.shape).await.workload.present().unwrap().others);
}
