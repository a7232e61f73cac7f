//! The kinds that the stand-in for an API server knows.
//!
//! Refuses to know one that no preview is made of: what Mayfly should not ask for is not found.

use serde_json::{Value, json};

/// The resource, the version of its API, and what an object of it is called.
type Kind = (&'static str, &'static str, &'static str);

/// What there is, as it is addressed and called.
const KINDS: [Kind; 14] = [
    ("namespaces", "v1", "Namespace"),
    ("resourcequotas", "v1", "ResourceQuota"),
    ("limitranges", "v1", "LimitRange"),
    ("serviceaccounts", "v1", "ServiceAccount"),
    ("secrets", "v1", "Secret"),
    ("configmaps", "v1", "ConfigMap"),
    ("services", "v1", "Service"),
    ("pods", "v1", "Pod"),
    ("deployments", "apps/v1", "Deployment"),
    ("statefulsets", "apps/v1", "StatefulSet"),
    ("jobs", "batch/v1", "Job"),
    ("networkpolicies", "networking.k8s.io/v1", "NetworkPolicy"),
    ("ingresses", "networking.k8s.io/v1", "Ingress"),
    ("ingressclasses", "networking.k8s.io/v1", "IngressClass"),
];

/// The same object with what says its kind.
pub fn typed(resource: &str, mut object: Value) -> Value {
    if let Some((_, version, kind)) = kind(resource) {
        object["apiVersion"] = json!(version);
        object["kind"] = json!(kind);
    }
    object
}

/// Where the objects of a resource are.
pub fn path_of(resource: &str, namespace: Option<&str>) -> String {
    let version = kind(resource).map_or("v1", |(_, version, _)| *version);
    let root = if version.contains('/') { "apis" } else { "api" };
    match namespace {
        Some(namespace) => format!("/{root}/{version}/namespaces/{namespace}/{resource}"),
        None => format!("/{root}/{version}/{resource}"),
    }
}

/// How a resource is addressed and called.
pub fn kind(resource: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|(it, _, _)| *it == resource)
}
