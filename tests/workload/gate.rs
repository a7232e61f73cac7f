//! The gate, rule by rule: what is refused, at which path, with which cure; and what is added.

use mayfly::workload::Object;
use mayfly::workload::gate::{GatePolicy, Refusal, admit};
use serde_json::{Value, json};

use super::programs::{Kitchen, fixture, helm, policy};

/// A policy that wants no Service.
fn bare() -> GatePolicy {
    GatePolicy { service: None, ..policy() }
}

pub fn pinned(name: &str) -> String {
    format!("ghcr.io/acme/{name}@sha256:{}", "0a".repeat(32))
}

/// A Deployment that is taken, with this put where the pointer says.
pub fn deployment(pointer: &str, value: &Value) -> Object {
    let mut object = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": "shop" },
        "spec": { "template": { "spec": {
            "containers": [{ "name": "shop", "image": pinned("shop"), "securityContext": {} }],
            "securityContext": {},
        } } },
    });
    if !pointer.is_empty() {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = object.pointer_mut(parent).unwrap();
        parent.as_object_mut().unwrap().insert(key.to_owned(), value.clone());
    }
    Object::new(object, Some("shop/templates/web.yaml".to_owned()))
}

const POD: &str = "/spec/template/spec";
const CONTAINER: &str = "/spec/template/spec/containers/0";

#[track_caller]
fn refused(object: Object, path: &str, cure: &str) {
    let shown = object.value().clone();
    let Err(refusals) = admit(vec![object], &bare()) else { panic!("{path} is admitted: {shown}") };
    let found = refusals.iter().find(|it| it.path == path);
    let found = found.unwrap_or_else(|| panic!("not at {path}: {refusals:?}"));
    assert!(found.why.contains(cure), "{path} says {cure:?}: {found}");
}

#[test]
fn what_belongs_to_the_node_or_the_cluster_is_refused_in_a_pod() {
    let cases = [
        ("hostNetwork", json!(true), "hostNetwork", "network"),
        ("hostNetwork", json!("true"), "hostNetwork", "network"),
        ("hostPID", json!(true), "hostPID", "processes"),
        ("hostIPC", json!(true), "hostIPC", "memory"),
        ("nodeName", json!("a"), "nodeName", "scheduler"),
        ("automountServiceAccountToken", json!(true), "automountServiceAccountToken", "token"),
        ("terminationGracePeriodSeconds", json!(86400), "terminationGracePeriodSeconds", "waits"),
        ("terminationGracePeriodSeconds", json!("1"), "terminationGracePeriodSeconds", "number"),
        ("serviceAccountName", json!("somebody"), "serviceAccountName", "ServiceAccount"),
        ("serviceAccount", json!("somebody"), "serviceAccount", "ServiceAccount"),
        ("ephemeralContainers", json!([{}]), "ephemeralContainers", "debugging"),
        ("aFieldOfTomorrow", json!(1), "aFieldOfTomorrow", "remove"),
        ("volumes", json!([{"name": "v", "hostPath": {}}]), "volumes[v].hostPath", "emptyDir"),
        ("volumes", json!([{"name": "v", "csi": {}}]), "volumes[v].csi", "remove"),
        (
            "volumes",
            json!([{"name": "v", "secret": {"secretName": "tls"}}]),
            "volumes[v].secret.secretName",
            "certificate",
        ),
        (
            "volumes",
            json!([{"name": "v", "projected": {"sources": [{"serviceAccountToken": {}}]}}]),
            "volumes[v].projected.sources[0].serviceAccountToken",
            "token",
        ),
        (
            "volumes",
            json!([{"name": "v", "persistentVolumeClaim": {"claimName": "a"}}]),
            "volumes[v].persistentVolumeClaim",
            "emptyDir",
        ),
        ("volumes", json!({"a": 1}), "volumes", "list"),
        ("containers", json!([]), "containers", "needs a container"),
        ("containers", json!("text"), "containers", "needs a container"),
        ("securityContext", json!([1]), "securityContext", "mapping"),
        ("securityContext", json!({"runAsUser": 0}), "securityContext.runAsUser", "root"),
        ("securityContext", json!({"runAsNonRoot": false}), "securityContext.runAsNonRoot", "root"),
        (
            "securityContext",
            json!({"seccompProfile": {"type": "Unconfined"}}),
            "securityContext.seccompProfile.type",
            "RuntimeDefault",
        ),
        ("securityContext", json!({"sysctls": [{}]}), "securityContext.sysctls", "remove"),
    ];
    for (key, value, path, cure) in cases {
        let object = deployment(&format!("{POD}/{key}"), &value);
        refused(object, &format!("spec.template.spec.{path}"), cure);
    }
}

#[test]
fn what_belongs_to_the_node_or_to_others_is_refused_in_a_container() {
    let cases = [
        ("ports", json!([{"hostPort": 80}]), "ports[0].hostPort", "node"),
        ("volumeDevices", json!([{"name": "a"}]), "volumeDevices", "devices"),
        (
            "volumeMounts",
            json!([{"name": "m", "mountPropagation": "Bidirectional"}]),
            "volumeMounts[m].mountPropagation",
            "None",
        ),
        (
            "livenessProbe",
            json!({"httpGet": {"host": "a"}}),
            "livenessProbe.httpGet.host",
            "kubelet",
        ),
        (
            "startupProbe",
            json!({"tcpSocket": {"host": "a"}}),
            "startupProbe.tcpSocket.host",
            "kubelet",
        ),
        (
            "lifecycle",
            json!({"preStop": {"httpGet": {"host": "a"}}}),
            "lifecycle.preStop.httpGet.host",
            "kubelet",
        ),
        (
            "env",
            json!([{"name": "K", "valueFrom": {"secretKeyRef": {"name": "tls", "key": "a"}}}]),
            "env[K].valueFrom.secretKeyRef.name",
            "certificate",
        ),
        (
            "envFrom",
            json!([{"secretRef": {"name": "tls"}}]),
            "envFrom[0].secretRef.name",
            "certificate",
        ),
        ("resources", json!({"claims": [{"name": "a"}]}), "resources.claims", "remove"),
        (
            "resources",
            json!({"limits": {"example.com/gpu": 1}}),
            "resources.limits[example.com/gpu]",
            "remove",
        ),
        (
            "securityContext",
            json!({"privileged": true}),
            "securityContext.privileged",
            "privileged",
        ),
        (
            "securityContext",
            json!({"allowPrivilegeEscalation": true}),
            "securityContext.allowPrivilegeEscalation",
            "false",
        ),
        (
            "securityContext",
            json!({"procMount": "Unmasked"}),
            "securityContext.procMount",
            "Default",
        ),
        (
            "securityContext",
            json!({"capabilities": {"add": ["NET_ADMIN"]}}),
            "securityContext.capabilities.add[0]",
            "NET_BIND_SERVICE",
        ),
        ("image", json!("ghcr.io/acme/shop:1"), "image", "sha256"),
        ("image", json!(7), "image", "missing"),
        (
            "image",
            json!(format!("acme/shop@sha256:{}", "0a".repeat(32))),
            "image",
            "does not say its registry",
        ),
        (
            "image",
            json!(format!("evil.example/shop@sha256:{}", "0a".repeat(32))),
            "image",
            "listed: ghcr.io, docker.io",
        ),
    ];
    for (key, value, path, cure) in cases {
        let path = format!("spec.template.spec.containers[shop].{path}");
        refused(deployment(&format!("{CONTAINER}/{key}"), &value), &path, cure);
    }
}

#[test]
fn init_containers_and_the_pods_of_every_kind_are_held_to_the_same() {
    let init = json!([{"name": "i", "image": "busybox", "securityContext": {"privileged": true}}]);
    let object = deployment(&format!("{POD}/initContainers"), &init);
    let path = "spec.template.spec.initContainers[i].securityContext.privileged";
    refused(object, path, "privileged");
    let pod =
        json!({ "spec": { "hostPID": true, "containers": [{"name": "a", "image": pinned("a")}] } });
    for (kind, version, spec, path) in [
        ("Job", "batch/v1", json!({"template": pod}), "spec.template.spec.hostPID"),
        ("StatefulSet", "apps/v1", json!({"template": pod}), "spec.template.spec.hostPID"),
        (
            "CronJob",
            "batch/v1",
            json!({"jobTemplate": {"spec": {"template": pod}}}),
            "spec.jobTemplate.spec.template.spec.hostPID",
        ),
    ] {
        let object =
            json!({"apiVersion": version, "kind": kind, "metadata": {"name": "a"}, "spec": spec});
        refused(Object::new(object, None), path, "processes");
    }
}

#[test]
fn every_refusal_is_told_at_once_and_names_object_file_path_and_cure() {
    let mut object = deployment(&format!("{POD}/hostNetwork"), &json!(true)).into_value();
    object["metadata"]["finalizers"] = json!(["example.com/hold"]);
    object["spec"]["template"]["spec"]["containers"][0]["image"] = json!("nginx");
    let source = Some("shop/templates/web.yaml".to_owned());
    let refusals = admit(vec![Object::new(object, source)], &policy()).unwrap_err();
    let lines: Vec<_> = refusals.iter().map(Refusal::to_string).collect();
    assert_eq!(lines.len(), 4, "{lines:#?}");
    let first = "Deployment shop (shop/templates/web.yaml): ";
    for (start, cure) in [
        (format!("{first}metadata.finalizers: "), "remove them"),
        (format!("{first}spec.template.spec.hostNetwork: "), "remove it"),
        (format!("{first}spec.template.spec.containers[shop].image: "), "by digest"),
        ("Service shop: spec.ports[80]: ".to_owned(), "workload.chart.service"),
    ] {
        let line = lines.iter().find(|line| line.starts_with(&start));
        assert!(line.is_some_and(|line| line.contains(cure)), "{start}: {lines:#?}");
    }
}

#[test]
fn what_asks_for_nothing_is_no_reason_to_refuse() {
    for (pointer, value) in [
        (format!("{POD}/hostNetwork"), json!(false)),
        (format!("{POD}/hostPID"), Value::Null),
        (format!("{POD}/priorityClassName"), json!("")),
        (format!("{POD}/tolerations"), json!([])),
        (format!("{POD}/securityContext"), json!({"seLinuxOptions": {}, "sysctls": []})),
        (
            format!("{CONTAINER}/securityContext"),
            json!({"privileged": false, "procMount": "Default"}),
        ),
        (
            format!("{CONTAINER}/securityContext"),
            json!({"capabilities": {"add": ["NET_BIND_SERVICE"]}}),
        ),
        ("/metadata/finalizers".to_owned(), json!([])),
        ("/metadata/creationTimestamp".to_owned(), Value::Null),
        ("/status".to_owned(), json!({"replicas": 1})),
    ] {
        let admitted = admit(vec![deployment(&pointer, &value)], &bare());
        assert!(admitted.is_ok(), "{pointer} {value}: {admitted:?}");
    }
}

#[test]
fn gaps_are_filled_with_what_restricted_pods_have_to_say_and_words_are_kept() {
    let plain = admit(vec![deployment("", &Value::Null)], &bare()).unwrap();
    let object = plain[0].value();
    assert_eq!(object["metadata"]["namespace"], "pr-7");
    let pod = &object["spec"]["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], "preview");
    assert_eq!(pod["automountServiceAccountToken"], false);
    let expected = json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
    assert_eq!(pod["securityContext"], expected);
    let expected = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    assert_eq!(pod["containers"][0]["securityContext"], expected);

    let said =
        json!({"runAsUser": 1001, "capabilities": {"add": ["NET_BIND_SERVICE"], "drop": ["X"]}});
    let said = deployment(&format!("{CONTAINER}/securityContext"), &said);
    let mut said = said.into_value();
    said["metadata"]["namespace"] = json!("kube-system");
    let image = pinned("shop").replace('@', ":1.2@");
    said["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
    let admitted = admit(vec![Object::new(said, None)], &bare()).unwrap();
    let object = admitted[0].value();
    assert_eq!(object["metadata"]["namespace"], "pr-7", "the namespace is forced");
    let container = &object["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], pinned("shop"), "a tag beside a digest means nothing");
    let context = &container["securityContext"];
    assert_eq!(context["runAsUser"], 1001);
    assert_eq!(context["capabilities"], json!({"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]}));
    let again = admit(admitted.clone(), &bare()).unwrap();
    assert_eq!(again, admitted, "what was admitted is admitted as it is");
}

#[test]
fn an_identity_of_the_chart_is_taken_without_a_token() {
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "shop"}});
    let pod = deployment(&format!("{POD}/serviceAccountName"), &json!("shop"));
    let admitted = admit(vec![Object::new(account, None), pod], &bare()).unwrap();
    assert_eq!(admitted[0].value()["automountServiceAccountToken"], false);
    assert_eq!(admitted[1].value()["spec"]["template"]["spec"]["serviceAccountName"], "shop");
}

#[test]
fn volumes_are_taken_where_they_are_allowed_and_only_new_ones() {
    let allowed = GatePolicy { persistent_volumes: true, ..bare() };
    let claim = |spec: Value| {
        let metadata = json!({"name": "data"});
        let kind = "PersistentVolumeClaim";
        Object::new(
            json!({"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec}),
            None,
        )
    };
    let fine =
        json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    assert!(admit(vec![claim(fine.clone())], &allowed).is_ok());
    assert!(admit(vec![claim(fine)], &bare()).is_err());
    for wrong in [
        json!({"volumeName": "a"}),
        json!({"dataSource": {"name": "a"}}),
        json!({"volumeMode": "Block"}),
    ] {
        assert!(admit(vec![claim(wrong.clone())], &allowed).is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn a_chart_that_breaks_each_rule_hears_of_each() {
    let Some(kitchen) = Kitchen::real() else { return };
    let rendered = kitchen.render(&helm(fixture("rule-breaker"), json!({})), None).await.unwrap();
    let refusals = admit(rendered.without_hooks().unwrap(), &policy()).unwrap_err();
    let mut lines: Vec<_> = refusals.iter().map(Refusal::to_string).collect();
    lines.sort();
    insta::assert_snapshot!("rule-breaker", lines.join("\n"));
}
