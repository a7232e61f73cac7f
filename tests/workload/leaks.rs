//! The gate against what reaches further than it looks: names, marks, other people's Secrets, values that
//! a refusal would repeat, and objects that are never done.

use mayfly::workload::Object;
use mayfly::workload::gate::{GatePolicy, admit};
use serde_json::{Value, json};

use super::gate::{deployment, pinned};
use super::programs::policy;

fn bare() -> GatePolicy {
    GatePolicy { service: None, ..policy() }
}

fn object(kind: &str, version: &str, more: Value) -> Object {
    let mut value = json!({ "apiVersion": version, "kind": kind, "metadata": { "name": "shop" } });
    value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Object::new(value, None)
}

fn pods() -> Value {
    json!({ "spec": { "containers": [{ "name": "c", "image": pinned("shop") }] } })
}

#[track_caller]
fn refused(object: Object, path: &str, cure: &str) {
    let shown = object.value().to_string();
    let Err(refusals) = admit(vec![object], &bare()) else { panic!("{path} is admitted: {shown}") };
    let found = refusals.iter().find(|it| it.path.starts_with(path) && it.why.contains(cure));
    assert!(found.is_some(), "{path} does not say {cure:?}: {refusals:?}");
}

#[test]
fn of_mayflys_own_secrets_pods_read_only_those_that_are_made_for_them() {
    let env = |secret: &str| {
        let reference = json!({ "name": secret, "key": "k" });
        let env = json!([{ "name": "A", "valueFrom": { "secretKeyRef": reference } }]);
        deployment("/spec/template/spec/containers/0/env", &env)
    };
    for ours in ["mayfly-pull", "mayfly-release", "mayfly-"] {
        refused(env(ours), "spec.template.spec.containers[shop].env", "not for pods");
    }
    for offered in ["mayfly-config", "mayfly-external-0", "database", "shop-keys"] {
        assert!(admit(vec![env(offered)], &bare()).is_ok(), "{offered}");
    }
}

#[test]
fn a_value_that_is_no_text_is_refused_here_where_nobody_repeats_it() {
    for (kind, part) in [("Secret", "stringData"), ("Secret", "data"), ("ConfigMap", "data")] {
        let numbers = object(kind, "v1", json!({ part: { "PASSWORD": 12_345_678 } }));
        let Err(refusals) = admit(vec![numbers], &bare()) else { panic!("{kind} {part}") };
        let told = refusals[0].to_string();
        assert!(told.contains("has to be a text") && !told.contains("12345678"), "{told}");
    }
    let env = json!([{ "name": "PORT", "value": 8080 }]);
    let numbers = deployment("/spec/template/spec/containers/0/env", &env);
    refused(numbers, "spec.template.spec.containers[shop].env", "has to be a text");
}

#[test]
fn names_are_names_and_marks_with_a_prefix_are_known_ones() {
    for name in ["a b", "x\nv1 Secret database", "a/b", "a?b", "Shop", "-a", ""] {
        let named = object("ConfigMap", "v1", json!({ "metadata": { "name": name } }));
        refused(named, "metadata.name", "");
    }
    for mark in ["replicator.v1.mittwald.de/replicate-from", "v1.multus-cni.io/default-network"] {
        let marked = json!({ "metadata": { "name": "a", "annotations": { mark: "prod/db" } } });
        refused(object("Secret", "v1", marked), "metadata.annotations", "controller");
    }
    let fine = json!({ "app.kubernetes.io/name": "a", "helm.sh/chart": "a-1", "app": "a",
        "checksum/config": "abc" });
    let marked =
        json!({ "metadata": { "name": "a", "annotations": fine, "labels": { "tier": "x" } } });
    assert!(admit(vec![object("ConfigMap", "v1", marked)], &bare()).is_ok());
}

#[test]
fn an_object_that_would_never_be_done_or_choose_its_node_is_refused() {
    refused(deployment("/spec/paused", &json!(true)), "spec.paused", "rolled out");
    let by_hand =
        json!({ "spec": { "template": pods(), "updateStrategy": { "type": "OnDelete" } } });
    refused(object("StatefulSet", "apps/v1", by_hand), "spec.updateStrategy", "RollingUpdate");
    let handed = json!({ "spec": { "template": pods(), "managedBy": "example.com/queue" } });
    refused(object("Job", "batch/v1", handed), "spec.managedBy", "controller");
    let pod = "/spec/template/spec";
    let tolerant = json!([{ "operator": "Exists" }]);
    let path = "spec.template.spec.tolerations";
    refused(deployment(&format!("{pod}/tolerations"), &tolerant), path, "not for previews");
    let node = json!({ "node-role.kubernetes.io/control-plane": "" });
    let path = "spec.template.spec.nodeSelector";
    refused(deployment(&format!("{pod}/nodeSelector"), &node), path, "scheduler");
}

#[test]
fn a_job_stays_when_it_is_done_and_an_autoscaler_alone_says_how_many() {
    let job = json!({ "spec": { "template": pods(), "ttlSecondsAfterFinished": 0 } });
    let admitted = admit(vec![object("Job", "batch/v1", job)], &bare()).unwrap();
    assert!(admitted[0].value()["spec"].get("ttlSecondsAfterFinished").is_none());
    let target = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "shop" });
    let scaler = json!({ "spec": { "scaleTargetRef": target, "maxReplicas": 3 } });
    let scaler = object("HorizontalPodAutoscaler", "autoscaling/v2", scaler);
    let scaled = deployment("/spec/replicas", &json!(1));
    let admitted = admit(vec![scaled, scaler], &bare()).unwrap();
    assert!(admitted[0].value()["spec"].get("replicas").is_none());
}
