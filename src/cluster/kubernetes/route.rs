//! The way in: the Service that leads to one revision, and the Ingress or HTTPRoute to it.
//!
//! Moving the Service's selector is the whole of a switch, so that no moment serves two revisions.
//! Pure: objects as data.

use serde_json::{Value, json};

use super::config::{Entry, KubernetesConfig, Tls};
use super::drift::note;
use super::kinds::Kind;
use super::marks::{REVISION, labels};
use crate::preview::{PreviewName, Revision};

/// The name of the Service and of the route.
pub(super) const WEB: &str = "web";

/// The Secret with the route's certificate.
pub(super) const TLS_SECRET: &str = "tls";

const CERT_MANAGER_ISSUER: &str = "cert-manager.io/cluster-issuer";

/// The kind of object that the route is.
pub(super) fn kind(config: &KubernetesConfig) -> Kind {
    match config.entry {
        Entry::Ingress { .. } => Kind::Ingress,
        Entry::Gateway { .. } => Kind::HttpRoute,
    }
}

/// The Service that leads to this revision.
pub(super) fn service(config: &KubernetesConfig, name: &PreviewName, revision: &Revision) -> Value {
    note(json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": WEB, "labels": labels(&config.instance, name) },
        "spec": {
            "selector": { REVISION: revision.to_string() },
            "ports": [{ "name": "http", "port": 80, "targetPort": "http", "protocol": "TCP" }],
        },
    }))
}

/// The revision that a Service leads to.
pub(super) fn revision_of(service: &Value) -> Option<Revision> {
    Revision::parse(service["spec"]["selector"].get(REVISION)?.as_str()?)
}

/// The route from the public host to the Service.
pub(super) fn route(config: &KubernetesConfig, name: &PreviewName) -> Value {
    let host = name.host(&config.suffix);
    let labels = labels(&config.instance, name);
    match &config.entry {
        Entry::Ingress { class, annotations } => {
            let mut annotations = json!(annotations);
            if let Tls::ClusterIssuer(issuer) = &config.tls {
                annotations[CERT_MANAGER_ISSUER] = json!(issuer);
            }
            let backend = json!({ "service": { "name": WEB, "port": { "name": "http" } } });
            let path = json!({ "path": "/", "pathType": "Prefix", "backend": backend });
            let mut spec = json!({
                "ingressClassName": class,
                "rules": [{ "host": host, "http": { "paths": [path] } }],
            });
            if config.tls != Tls::None {
                spec["tls"] = json!([{ "hosts": [host], "secretName": TLS_SECRET }]);
            }
            note(json!({
                "apiVersion": "networking.k8s.io/v1",
                "kind": "Ingress",
                "metadata": { "name": WEB, "labels": labels, "annotations": annotations },
                "spec": spec,
            }))
        }
        Entry::Gateway { namespace, name: gateway, section } => {
            let mut parent = json!({ "namespace": namespace, "name": gateway });
            if let Some(section) = section {
                parent["sectionName"] = json!(section);
            }
            let noindex = json!({ "name": "X-Robots-Tag", "value": "noindex" });
            note(json!({
                "apiVersion": "gateway.networking.k8s.io/v1",
                "kind": "HTTPRoute",
                "metadata": { "name": WEB, "labels": labels },
                "spec": {
                    "parentRefs": [parent],
                    "hostnames": [host],
                    "rules": [{
                        "matches": [{ "path": { "type": "PathPrefix", "value": "/" } }],
                        "filters": [{
                            "type": "ResponseHeaderModifier",
                            "responseHeaderModifier": { "set": [noindex] },
                        }],
                        "backendRefs": [{ "name": WEB, "port": 80 }],
                    }],
                },
            }))
        }
    }
}

/// The copy of the wildcard certificate in the preview's namespace.
pub(super) fn certificate(
    config: &KubernetesConfig,
    name: &PreviewName,
    original: &Value,
) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": TLS_SECRET, "labels": labels(&config.instance, name) },
        "type": "kubernetes.io/tls",
        "data": {
            "tls.crt": original["data"]["tls.crt"],
            "tls.key": original["data"]["tls.key"],
        },
    })
}
