//! What stands in a namespace before anything runs: limits, policies, an identity without rights.
//!
//! Pure: objects as data. Refuses to open a way to what no preview may reach, whatever a repository's
//! configuration allows.

use ipnet::IpNet;
use serde_json::{Value, json};

use super::config::{DatabasePeer, KubernetesConfig, Peer};
use super::kinds::Kind;
use super::marks::{STAMP, labels};
use crate::preview::{PreviewName, Stamp};
use crate::workload::chart::Quota;
use crate::workload::{Chart, PodShape, PodSize, SERVICE_ACCOUNT, Shape};

/// The name of everything of which a preview has one.
pub(super) const ONE: &str = SERVICE_ACCOUNT;

/// How often a revision's pods fit into the quota: what is served, what comes, and what goes.
const GENERATIONS: u32 = 3;

/// How many pods of migrations fit beside: those that run, and those of a commit before that are ended.
const MIGRATIONS: u32 = 2;

/// The namespace, as it is created: with its stamp and its pod security from the first moment.
/// <https://kubernetes.io/docs/concepts/security/pod-security-standards/>
pub(super) fn namespace(config: &KubernetesConfig, name: &PreviewName) -> Value {
    let mut labels = labels(&config.instance, name);
    for mode in ["enforce", "audit", "warn"] {
        labels.insert(format!("pod-security.kubernetes.io/{mode}"), json!("restricted"));
        labels.insert(format!("pod-security.kubernetes.io/{mode}-version"), json!("latest"));
    }
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": name.namespace(),
            "labels": labels,
            "annotations": { STAMP: Stamp::new(&config.instance, name).line() },
        },
    })
}

/// The fences, none of which stands on another.
pub(super) fn fences(
    config: &KubernetesConfig,
    name: &PreviewName,
    shape: &Shape,
) -> Vec<(Kind, Value)> {
    let labels = labels(&config.instance, name);
    let object = |version: &str, kind: &str, name: &str, more: Value| {
        let mut object = json!({
            "apiVersion": version,
            "kind": kind,
            "metadata": { "name": name, "labels": labels },
        });
        if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
            object.extend(more);
        }
        object
    };
    let pod = &shape.pod;
    vec![
        (Kind::ResourceQuota, object("v1", "ResourceQuota", ONE, quota(shape))),
        (Kind::LimitRange, object("v1", "LimitRange", ONE, limits(shape))),
        (
            Kind::ServiceAccount,
            object("v1", "ServiceAccount", ONE, json!({ "automountServiceAccountToken": false })),
        ),
        (
            Kind::NetworkPolicy,
            object(
                "networking.k8s.io/v1",
                "NetworkPolicy",
                "default-deny",
                json!({
                    "spec": { "podSelector": {}, "policyTypes": ["Ingress", "Egress"] },
                }),
            ),
        ),
        (
            Kind::NetworkPolicy,
            object("networking.k8s.io/v1", "NetworkPolicy", ONE, policy(config, pod)),
        ),
    ]
}

/// Room for the largest tier, so that another one can start while it is still served, and for a run of
/// the migrations beside it; a chart says its own.
fn quota(shape: &Shape) -> Value {
    let migrations = if shape.migrations.is_some() { MIGRATIONS } else { 0 };
    let room = |of: fn(&PodSize) -> u32, of_chart: fn(&Quota) -> u32| {
        let times = |size: PodSize| of(&size).saturating_mul(size.replicas.into());
        let workload = match &shape.chart {
            Some(Chart { quota, .. }) => of_chart(quota),
            None => pods_of(shape)
                .map(|pod| largest(pod, times))
                .fold(0, u32::saturating_add)
                .saturating_mul(GENERATIONS),
        };
        let of_one = largest(&shape.pod, |size| of(&size));
        workload.saturating_add(of_one.saturating_mul(migrations))
    };
    let pods = room(|_| 1, |it| it.pods);
    let cpu = cpu(room(|size| size.cpu_millicores, |it| it.cpu_millicores));
    let memory = memory(room(|size| size.memory_mebibytes, |it| it.memory_mebibytes));
    json!({ "spec": { "hard": {
        "pods": pods.to_string(),
        "requests.cpu": cpu,
        "limits.cpu": cpu,
        "requests.memory": memory,
        "limits.memory": memory,
        "services.nodeports": "0",
        "services.loadbalancers": "0",
        "persistentvolumeclaims": "0",
    } } })
}

fn limits(shape: &Shape) -> Value {
    let pod = &shape.pod;
    let usual = resources(pod);
    let mut limit = json!({ "type": "Container", "default": usual, "defaultRequest": usual });
    // A chart says itself what each of its containers may have, within the quota.
    if shape.chart.is_none() {
        let most = |of: fn(PodSize) -> u32| {
            pods_of(shape).map(|pod| largest(pod, of)).max().unwrap_or_default()
        };
        limit["max"] = json!({
            "cpu": cpu(most(|size| size.cpu_millicores)),
            "memory": memory(most(|size| size.memory_mebibytes)),
        });
    }
    json!({ "spec": { "limits": [limit] } })
}

/// The pods of each service, those of other tiers among them.
fn pods_of(shape: &Shape) -> impl Iterator<Item = &PodShape> {
    std::iter::once(&shape.pod).chain(shape.components.iter().map(|it| &it.pod))
}

/// The most that any tier has of this.
fn largest(pod: &PodShape, of: impl Fn(PodSize) -> u32) -> u32 {
    sizes(pod).map(of).max().unwrap_or_default()
}

/// This size, and those of the other tiers.
fn sizes(pod: &PodShape) -> impl Iterator<Item = PodSize> {
    std::iter::once(pod.size()).chain(pod.others.iter().copied())
}

/// What one pod asks for, and the most that it gets.
pub(super) fn resources(pod: &PodShape) -> Value {
    json!({ "cpu": cpu(pod.cpu_millicores), "memory": memory(pod.memory_mebibytes) })
}

fn policy(config: &KubernetesConfig, pod: &PodShape) -> Value {
    let network = &config.network;
    let here = json!({ "podSelector": {} });
    let mut from = vec![here.clone()];
    from.extend(network.ingress.iter().map(peer));
    let dns = |protocol: &str| json!({ "port": 53, "protocol": protocol });
    let mut egress = vec![
        json!({ "to": [here] }),
        json!({ "to": [peer(&network.dns)], "ports": [dns("UDP"), dns("TCP")] }),
    ];
    egress.extend(network.database.iter().map(|database| match database {
        DatabasePeer::Address { cidr, port } => {
            json!({ "to": [{ "ipBlock": { "cidr": cidr.to_string() } }], "ports": [tcp(*port)] })
        }
        DatabasePeer::Pods { peer: pods, port } => {
            json!({ "to": [peer(pods)], "ports": [tcp(*port)] })
        }
    }));
    for allowed in &pod.egress {
        let ports: Vec<_> = allowed.ports.iter().map(|port| tcp(*port)).collect();
        let block = block(&allowed.cidr, &network.forbidden);
        egress.push(json!({ "to": [{ "ipBlock": block }], "ports": ports }));
    }
    json!({ "spec": {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{ "from": from }],
        "egress": egress,
    } })
}

/// An address range without what no preview may reach.
fn block(cidr: &IpNet, forbidden: &[IpNet]) -> Value {
    let mut except: Vec<_> =
        forbidden.iter().filter(|it| cidr.contains(*it)).map(IpNet::to_string).collect();
    except.sort();
    except.dedup();
    json!({ "cidr": cidr.to_string(), "except": except })
}

fn peer(peer: &Peer) -> Value {
    json!({
        "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": peer.namespace } },
        "podSelector": { "matchLabels": peer.labels },
    })
}

fn tcp(port: u16) -> Value {
    json!({ "port": port, "protocol": "TCP" })
}

/// As the API server writes it.
fn cpu(millicores: u32) -> String {
    match millicores {
        _ if !millicores.is_multiple_of(1000) => format!("{millicores}m"),
        _ if millicores > 0 && millicores.is_multiple_of(1_000_000) => {
            format!("{}k", millicores / 1_000_000)
        }
        _ => (millicores / 1000).to_string(),
    }
}

/// As the API server writes it.
fn memory(mebibytes: u32) -> String {
    const GI: u32 = 1024;
    const TI: u32 = 1024 * GI;
    match mebibytes {
        _ if mebibytes > 0 && mebibytes.is_multiple_of(TI) => format!("{}Ti", mebibytes / TI),
        _ if mebibytes > 0 && mebibytes.is_multiple_of(GI) => format!("{}Gi", mebibytes / GI),
        _ => format!("{mebibytes}Mi"),
    }
}
