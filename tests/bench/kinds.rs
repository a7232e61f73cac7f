//! The kinds that the stand-in for an API server knows.
//!
//! Refuses to know one that no preview is made of: what Mayfly should not ask for is not found.

use std::collections::HashMap;
use std::time::Instant;

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

/// The objects of a preview: how many of each resource.
pub const OBJECTS: [(&str, usize); 9] = [
    ("namespaces", 1),
    ("resourcequotas", 1),
    ("limitranges", 1),
    ("networkpolicies", 2),
    ("serviceaccounts", 1),
    ("secrets", 1),
    ("deployments", 1),
    ("services", 1),
    ("ingresses", 1),
];

/// When the last of a preview's objects was there, by the resource of each and when it was; `None` while some
/// are not.
pub fn complete(found: impl Iterator<Item = (String, Instant)>) -> Option<Instant> {
    let mut moments: HashMap<String, Vec<Instant>> = HashMap::new();
    for (resource, at) in found {
        moments.entry(resource).or_default().push(at);
    }
    let last = OBJECTS.iter().map(|(resource, count)| {
        let of_it = moments.get_mut(*resource)?;
        of_it.sort_unstable();
        of_it.get(count - 1).copied()
    });
    last.collect::<Option<Vec<_>>>()?.into_iter().max()
}

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
