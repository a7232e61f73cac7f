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
use crate::workload::{PodShape, PodSize, Shape};

/// The name of everything of which a preview has one.
pub(super) const ONE: &str = "preview";

/// How often a revision's pods fit into the quota: what is served, what comes, and what goes.
const GENERATIONS: u32 = 3;

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
        (Kind::ResourceQuota, object("v1", "ResourceQuota", ONE, quota(pod))),
        (Kind::LimitRange, object("v1", "LimitRange", ONE, limits(pod))),
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

/// Room for the largest tier, so that another one can start while it is still served.
fn quota(pod: &PodShape) -> Value {
    let most = |of: &dyn Fn(&PodSize) -> u32| {
        let one = sizes(pod).map(|size| of(&size).saturating_mul(size.replicas.into())).max();
        one.unwrap_or_default().saturating_mul(GENERATIONS)
    };
    let pods = most(&|_| 1);
    let cpu = cpu(most(&|size| size.cpu_millicores));
    let memory = memory(most(&|size| size.memory_mebibytes));
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

fn limits(pod: &PodShape) -> Value {
    let usual = resources(pod);
    let largest = |of: &dyn Fn(PodSize) -> u32| sizes(pod).map(of).max().unwrap_or_default();
    let most = json!({
        "cpu": cpu(largest(&|size| size.cpu_millicores)),
        "memory": memory(largest(&|size| size.memory_mebibytes)),
    });
    json!({ "spec": { "limits": [
        { "type": "Container", "default": usual, "defaultRequest": usual, "max": most },
    ] } })
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
