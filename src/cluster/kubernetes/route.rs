//! The way in: each revision's Service, and the Ingress or HTTPRoute that leads to one of them.
//!
//! Changing the route is the whole of a switch: where it leads, and the commit that it says, are one
//! object, so that no answer carries another's name. Pure: objects as data.

use serde_json::{Value, json};

use super::calls::brief;
use super::config::{COMMIT_PLACEHOLDER, Entry, KubernetesConfig, Tls};
use super::drift::note;
use super::kinds::Kind;
use super::marks::{CERTIFICATE, REVISION, annotation, labels, revision_labels};
use super::pods::{object_name, selector};
use crate::preview::observed::Standing;
use crate::preview::{PreviewName, Revision};
use crate::workload::{COMMIT_HEADER, Chart, Service, Shape};

/// The name of the route of the preview's own host.
pub(super) use crate::workload::WEB;

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

/// The Service of one of this revision's services.
pub(super) fn service(
    config: &KubernetesConfig,
    name: &PreviewName,
    of: &str,
    revision: &Revision,
) -> Value {
    note(json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": object_name(of, revision),
            "labels": revision_labels(&config.instance, name, of, revision),
        },
        "spec": {
            "selector": selector(of, revision),
            "ports": [{ "name": "http", "port": 80, "targetPort": "http", "protocol": "TCP" }],
        },
    }))
}

/// The revision that a route was made to lead to.
pub(super) fn revision_of(route: &Value) -> Option<Revision> {
    Revision::parse(annotation(route, REVISION)?)
}

/// What a route says that was opened before there was a revision to lead to.
const UNDIRECTED: &str = "none";

/// The same route, which says that it leads to no revision yet.
pub(super) fn undirected(mut route: Value) -> Value {
    route["metadata"]["annotations"][REVISION] = json!(UNDIRECTED);
    route
}

/// Whether a route was opened early, and leads to no revision yet.
pub(super) fn is_undirected(route: &Value) -> bool {
    annotation(route, REVISION) == Some(UNDIRECTED)
}

/// The routes from the public hosts to a revision, with this wildcard certificate, if there is one: one
/// Ingress for all, or an HTTPRoute for each, the preview's own last.
pub(super) fn routes(
    config: &KubernetesConfig,
    name: &PreviewName,
    shape: &Shape,
    revision: &Revision,
    certificate: Option<&Value>,
) -> Vec<Value> {
    let mut public = shape.services();
    public.retain(|service| service.is_public);
    public.sort_by_key(|service| service.component.is_none());
    match config.entry {
        Entry::Ingress { .. } => vec![route(config, name, &public, revision, certificate)],
        Entry::Gateway { .. } => {
            let each = public.chunks(1);
            each.map(|one| route(config, name, one, revision, certificate)).collect()
        }
    }
}

/// The route to these services, of which an HTTPRoute has one.
fn route(
    config: &KubernetesConfig,
    name: &PreviewName,
    services: &[Service],
    revision: &Revision,
    certificate: Option<&Value>,
) -> Value {
    let labels = labels(&config.instance, name);
    let hosts: Vec<_> = services.iter().map(|it| it.host(name).full(&config.suffix)).collect();
    match &config.entry {
        Entry::Ingress { class, annotations } => {
            let commit = revision.commit.as_str();
            let said = |text: &String| json!(text.replace(COMMIT_PLACEHOLDER, commit));
            let said = annotations.iter().map(|(key, text)| (key.clone(), said(text)));
            let mut annotations = Value::Object(said.collect());
            annotations[REVISION] = json!(revision.to_string());
            if let Tls::ClusterIssuer(issuer) = &config.tls {
                annotations[CERT_MANAGER_ISSUER] = json!(issuer);
            }
            // Another version of the certificate makes another route of it, which is brought anew.
            if let Some(version) = certificate.map(|it| &it["metadata"]["resourceVersion"]) {
                annotations[CERTIFICATE] = version.clone();
            }
            let rules: Vec<_> = services
                .iter()
                .zip(&hosts)
                .map(|(service, host)| {
                    let service = match &service.shape.chart {
                        Some(Chart { service: it, .. }) => {
                            json!({ "name": it.name, "port": { "number": it.port } })
                        }
                        None => {
                            let called = object_name(service.name(), revision);
                            json!({ "name": called, "port": { "name": "http" } })
                        }
                    };
                    let backend = json!({ "service": service });
                    let path = json!({ "path": "/", "pathType": "Prefix", "backend": backend });
                    json!({ "host": host, "http": { "paths": [path] } })
                })
                .collect();
            let mut spec = json!({ "ingressClassName": class, "rules": rules });
            if config.tls != Tls::None {
                spec["tls"] = json!([{ "hosts": hosts, "secretName": TLS_SECRET }]);
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
            let backends: Vec<_> = services
                .iter()
                .map(|service| match &service.shape.chart {
                    Some(Chart { service: it, .. }) => json!({ "name": it.name, "port": it.port }),
                    None => json!({ "name": object_name(service.name(), revision), "port": 80 }),
                })
                .collect();
            let called = services.first().map_or(WEB, Service::name);
            let headers = json!([
                { "name": "X-Robots-Tag", "value": "noindex" },
                { "name": COMMIT_HEADER, "value": revision.commit.as_str() },
            ]);
            note(json!({
                "apiVersion": "gateway.networking.k8s.io/v1",
                "kind": "HTTPRoute",
                "metadata": {
                    "name": called,
                    "labels": labels,
                    "annotations": { REVISION: revision.to_string() },
                },
                "spec": {
                    "parentRefs": [parent],
                    "hostnames": hosts,
                    "rules": [{
                        "matches": [{ "path": { "type": "PathPrefix", "value": "/" } }],
                        "filters": [{
                            "type": "ResponseHeaderModifier",
                            "responseHeaderModifier": { "set": headers },
                        }],
                        "backendRefs": backends,
                    }],
                },
            }))
        }
    }
}

/// What the Gateway says of the route; nobody answers for an Ingress.
/// <https://gateway-api.sigs.k8s.io/reference/spec/#routeparentstatus>
pub(super) fn standing(config: &KubernetesConfig, live: &Value) -> Standing {
    let Entry::Gateway { namespace, name, .. } = &config.entry else { return Standing::Served };
    let of_ours = |parent: &&Value| {
        parent["parentRef"]["name"] == name.as_str()
            && parent["parentRef"]["namespace"] == namespace.as_str()
    };
    let parents = live["status"]["parents"].as_array().into_iter().flatten();
    let conditions = parents.filter(of_ours).filter_map(|it| it["conditions"].as_array()).flatten();
    let generation = live["metadata"]["generation"].as_i64().unwrap_or_default();
    let current: Vec<_> = conditions
        .filter(|it| it["observedGeneration"].as_i64().unwrap_or(generation) >= generation)
        .collect();
    let of_kind = |kind: &str| current.iter().find(|it| it["type"] == kind);
    for kind in ["Accepted", "ResolvedRefs"] {
        match of_kind(kind) {
            Some(condition) if condition["status"] == "False" => {
                let text = |key: &str| brief(condition[key].as_str().unwrap_or_default());
                return Standing::Refused(format!(
                    "Gateway {namespace}/{name} refuses it ({}): {}",
                    text("reason"),
                    text("message")
                ));
            }
            Some(condition) if condition["status"] == "True" => {}
            _ => {
                let why = format!("waiting for Gateway {namespace}/{name} to take it");
                return Standing::Awaited(why);
            }
        }
    }
    Standing::Served
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cluster::kubernetes::config::{Network, Peer};
    use crate::preview::Suffix;

    fn config() -> KubernetesConfig {
        let section = None;
        let (namespace, name) = ("gateways".to_owned(), "public".to_owned());
        KubernetesConfig {
            kubeconfig: None,
            timeout: Duration::from_secs(1),
            instance: "test".to_owned(),
            suffix: Suffix::parse("preview.example.test").unwrap(),
            entry: Entry::Gateway { namespace, name, section },
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

    fn parent(name: &str, conditions: Value) -> Value {
        json!({ "parentRef": { "namespace": "gateways", "name": name }, "conditions": conditions })
    }

    #[test]
    fn a_route_is_served_only_when_its_own_gateway_has_taken_this_very_version_of_it() {
        let condition = |kind: &str, status: &str, generation: i64| {
            json!({ "type": kind, "status": status, "observedGeneration": generation,
                    "reason": "NotAllowedByListeners", "message": "no listener takes it" })
        };
        let both = |status: &str, generation| {
            json!([
                condition("Accepted", status, generation),
                condition("ResolvedRefs", "True", generation)
            ])
        };
        let live = |parents: Value| json!({ "metadata": { "generation": 2 }, "status": { "parents": parents } });
        let standing = |parents| standing(&config(), &live(parents));
        assert_eq!(standing(json!([parent("public", both("True", 2))])), Standing::Served);
        for parents in [
            json!([]),
            json!([parent("other", both("True", 2))]),
            json!([parent("public", both("True", 1))]),
            json!([parent("public", json!([condition("Accepted", "True", 2)]))]),
        ] {
            assert!(matches!(standing(parents.clone()), Standing::Awaited(_)), "{parents}");
        }
        let refused = standing(json!([parent("public", both("False", 2))]));
        let Standing::Refused(why) = refused else { panic!("{refused:?}") };
        assert!(why.contains("NotAllowedByListeners"), "{why}");
    }
}
