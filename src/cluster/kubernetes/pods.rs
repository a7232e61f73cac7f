//! The objects that a revision runs as: its Secret and its Deployment.
//!
//! Pure: objects as data. Refuses an image that is not pinned, and to let a pod know anything of the
//! cluster that it runs in.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::config::KubernetesConfig;
use super::fences::{ONE, resources};
use super::marks::{COMPONENT, ORDERED, REVISION, SECRETS, labels, revision_labels};
use crate::preview::{PreviewName, Revision};
use crate::workload::{
    DATABASE_SECRET, DATABASE_VARIABLE, DatabaseUrls, Service, WEB, WorkloadOrder,
};

/// The name of the container of the preview's own service, and of its migrations.
pub(super) const CONTAINER: &str = WEB;

/// How long a pod that is to go still serves, in seconds: ingress controllers hear of its successor a
/// moment later (Traefik gathers changes for 2 s), and visitors would meet a closed door until then.
const LINGER_SECONDS: u32 = 3;

/// How long a pod then has between SIGTERM and SIGKILL, in seconds.
pub(super) const GRACE_SECONDS: u32 = 10;

/// How much of a commit is in the name of a component's objects: with its name, and a restart of ten
/// digits, one DNS label (RFC 1035 §2.3.4).
const COMPONENT_COMMIT: usize = 24;

/// The name of the Deployment and Service of one of a revision's services: each revision has its own,
/// so that a new one starts beside what is served, and the route alone says which of them visitors get.
pub(super) fn object_name(service: &str, revision: &Revision) -> String {
    let commit = match service {
        // The whole commit: two that begin alike are two.
        WEB => revision.commit.as_str(),
        _ => &revision.commit.as_str()[..COMPONENT_COMMIT],
    };
    format!("{service}-{commit}-{}", revision.restart)
}

/// Where each service of an order listens, by its Service.
pub(super) fn urls(services: &[Service], revision: &Revision) -> Vec<(String, String)> {
    let url = |it: &Service| format!("http://{}", object_name(it.name(), revision));
    services.iter().map(|it| (it.name().to_owned(), url(it))).collect()
}

/// The name of a revision's Job of migrations.
pub(super) fn migration_name(revision: &Revision) -> String {
    format!("migrate-{}-{}", revision.commit, revision.restart)
}

/// The Secret with the database's URL.
pub(super) fn secret(config: &KubernetesConfig, name: &PreviewName, urls: &DatabaseUrls) -> Value {
    let own = (DATABASE_VARIABLE.to_owned(), urls.own.clone());
    let beside = urls.components.iter().map(|(of, url)| (database_key(of.as_str()), url.clone()));
    let urls: BTreeMap<_, _> = beside.chain([own]).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": DATABASE_SECRET, "labels": labels(&config.instance, name) },
        "type": "Opaque",
        "stringData": urls,
    })
}

/// The key of a component's own database in that Secret.
fn database_key(component: &str) -> String {
    format!("{DATABASE_VARIABLE}.{component}")
}

/// The Deployment of one service of a revision, ordered like this, with this version of its Secrets,
/// asked for at this instant (milliseconds of Unix time).
pub(super) fn deployment(
    config: &KubernetesConfig,
    name: &PreviewName,
    (service, order): (&Service, &WorkloadOrder),
    secrets: Option<&str>,
    now_milliseconds: i64,
) -> Value {
    let (shape, pod) = (&order.shape, &order.shape.pod);
    let labels = revision_labels(&config.instance, name, service.name(), &order.revision);
    let mut web = container(order);
    web["name"] = json!(service.name());
    if service.has_database
        && let Some(env) = web["env"].as_array_mut()
    {
        let own = env.iter_mut().filter(|it| it["name"] == DATABASE_VARIABLE);
        let key = json!(database_key(service.name()));
        own.for_each(|it| it["valueFrom"]["secretKeyRef"]["key"] = key.clone());
    }
    web["ports"] = json!([{ "name": "http", "containerPort": pod.port, "protocol": "TCP" }]);
    web["readinessProbe"] = json!({
        "httpGet": {
            "path": shape.probe_path,
            "port": "http",
            "httpHeaders": [{ "name": "Host", "value": service.host(name).full(&config.suffix) }],
        },
        "periodSeconds": 1,
        "timeoutSeconds": 2,
        "failureThreshold": 3,
    });
    web["lifecycle"] = json!({ "preStop": { "sleep": { "seconds": LINGER_SECONDS } } });
    if !shape.command.is_empty() {
        web["command"] = json!(shape.command);
    }
    let mut pods = json!({ "labels": labels });
    if let Some(version) = secrets {
        // Another version is another template: pods read their environment once, when they start.
        pods["annotations"] = json!({ SECRETS: version });
    }
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": object_name(service.name(), &order.revision),
            "labels": labels,
            "annotations": { ORDERED: now_milliseconds.to_string() },
        },
        "spec": {
            "replicas": pod.replicas,
            "progressDeadlineSeconds": config.progress_deadline_seconds,
            "revisionHistoryLimit": 1,
            "selector": { "matchLabels": selector(service.name(), &order.revision) },
            "template": {
                "metadata": pods,
                "spec": pod_spec(&web, LINGER_SECONDS + GRACE_SECONDS),
            },
        },
    })
}

/// What selects the pods of one service of a revision.
pub(super) fn selector(service: &str, revision: &Revision) -> Value {
    json!({ REVISION: revision.to_string(), COMPONENT: service })
}

/// The one container of a revision's pods: its image, environment and limits.
pub(super) fn container(order: &WorkloadOrder) -> Value {
    let pod = &order.shape.pod;
    json!({
        "name": CONTAINER,
        "image": pod.image.as_ref().map(ToString::to_string),
        "env": env(order),
        "resources": { "requests": resources(pod), "limits": resources(pod) },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
        },
    })
}

/// A pod of this one container, which knows nothing of its cluster.
pub(super) fn pod_spec(container: &Value, grace_seconds: u32) -> Value {
    json!({
        "serviceAccountName": ONE,
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": grace_seconds,
        "securityContext": {
            "runAsNonRoot": true,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "containers": [container],
    })
}

/// The variables: the preview's own win over the shape's, and the secret one is not among them.
fn env(order: &WorkloadOrder) -> Vec<Value> {
    let own = |key: &str| order.env.iter().any(|(own, _)| own == key) || key == "PORT";
    let shape = order.shape.env.iter().filter(|(key, _)| !own(key));
    let plain = shape.chain(order.env.iter().filter(|(key, _)| key != DATABASE_VARIABLE));
    let mut all: Vec<_> =
        plain.map(|(key, value)| json!({ "name": key, "value": value })).collect();
    all.push(json!({ "name": "PORT", "value": order.shape.pod.port.to_string() }));
    let secret = |variable: &str, secret: &str| {
        let reference = json!({ "name": secret, "key": variable });
        json!({ "name": variable, "valueFrom": { "secretKeyRef": reference } })
    };
    all.extend(order.shape.secret_variables().map(|(variable, it)| secret(variable, &it)));
    all.push(secret(DATABASE_VARIABLE, DATABASE_SECRET));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preview::CommitSha;
    use crate::preview::host::MAX_COMPONENT_BYTES;
    use crate::preview::name::MAX_NAME_BYTES;

    #[test]
    fn the_longest_name_of_a_service_is_one_dns_label() {
        let commit = CommitSha::parse(&"a".repeat(40)).expect("it is a commit");
        let revision = Revision { commit, restart: u32::MAX };
        for service in [WEB.to_owned(), "a".repeat(MAX_COMPONENT_BYTES)] {
            assert!(object_name(&service, &revision).len() <= MAX_NAME_BYTES, "{service}");
        }
    }
}
