//! Variables out of Secrets, in a real cluster: what is copied, when again, and that no value gets
//! anywhere else. External Secrets Operator is pretended: its status is written when it is told to.

use std::collections::BTreeMap;

use mayfly::workload::{ExternalSecret, RemoteKey, SecretCopy};
use serde_json::{Value, json};

use super::kubernetes::web;
use super::*;
use crate::world::control_plane::ControlPlane;

/// What is copied, and what is beside it.
const VALUE: &str = "hush-stripe-7c1e";
const OTHER: &str = "hush-other-99ab";

fn keys(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|&(name, key)| (name.to_owned(), key.to_owned())).collect()
}

fn copying(order: WorkloadOrder) -> WorkloadOrder {
    let copy = SecretCopy { secret: "shop".to_owned(), keys: keys(&[("STRIPE_KEY", "stripe")]) };
    WorkloadOrder { shape: Shape { secrets: vec![copy], ..order.shape.clone() }, ..order }
}

/// The operator's own kind, as far as it is looked at.
fn external_secrets() -> Value {
    let open = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    json!({ "spec": {
        "group": "external-secrets.io",
        "scope": "Namespaced",
        "names": {
            "kind": "ExternalSecret", "plural": "externalsecrets", "singular": "externalsecret",
        },
        "versions": [{
            "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": open },
        }],
    }})
}

#[tokio::test]
async fn images_are_pulled_with_the_login_of_the_template_namespace_and_no_preview_begins_without()
{
    let Some(plane) = ControlPlane::shared().await else { return };
    let templates = plane.namespace(&[]).await;
    let from = templates.clone();
    let it = RealCluster::with(|config| {
        config.template_namespace = Some(from);
        config.image_pull_secret = Some("login".to_owned());
    });
    let Some(it) = it.await else { return };
    let (name, here) = (it.name(7), it.name(7).namespace());
    let missing =
        it.cluster.ensure_namespace(&name, &shape(), &Default::default()).await.unwrap_err();
    assert_eq!(missing.disposition, Disposition::Permanent, "{missing}");
    assert!(missing.why.contains(&format!("{templates}/login")), "{missing}");
    let logins = |text: &str| json!({ "type": "kubernetes.io/dockerconfigjson", "stringData": { ".dockerconfigjson": text } });
    it.make("Secret", &templates, "login", logins("{\"auths\": {}}")).await;
    it.cluster.ensure_namespace(&name, &shape(), &Default::default()).await.unwrap();
    let identity = it.read("ServiceAccount", &here, "preview").await.unwrap();
    assert_eq!(identity["imagePullSecrets"], json!([{ "name": "mayfly-pull" }]));
    let copied = async || it.read("Secret", &here, "mayfly-pull").await.unwrap()["data"].clone();
    let first = copied().await;
    let fenced = async || {
        let seen = it.cluster.observe(&name, &shape()).await.namespace;
        seen.present().is_some_and(|namespace| namespace.fenced)
    };
    it.clock.advance(chrono::TimeDelta::minutes(1));
    assert!(fenced().await);
    it.meddle("Secret", &templates, "login", logins("{\"auths\": {\"a\": {}}}")).await;
    assert!(!fenced().await, "another login is to be brought");
    it.cluster.ensure_namespace(&name, &shape(), &Default::default()).await.unwrap();
    assert_ne!(copied().await, first);
    it.clock.advance(chrono::TimeDelta::minutes(1));
    assert!(fenced().await);
    it.delete("Secret", &templates, "login").await;
    assert!(fenced().await, "what runs is left alone");
}

#[tokio::test]
async fn named_keys_are_copied_before_pods_and_again_when_the_original_changes() {
    let Some(plane) = ControlPlane::shared().await else { return };
    let templates = plane.namespace(&[]).await;
    let from = templates.clone();
    let it = RealCluster::with(|config| config.template_namespace = Some(from)).await;
    let Some(it) = it else { return };
    let (name, order) = (it.name(7), copying(order(&revision('a'))));
    let here = name.namespace();
    it.cluster.ensure_namespace(&name, &order.shape, &Default::default()).await.unwrap();

    let missing = it.cluster.ensure_workload(&name, &order).await.unwrap_err();
    assert_eq!(missing.disposition, Disposition::Permanent, "{missing}");
    assert!(
        missing.why.contains(&format!("the Secret {templates}/shop is not there")),
        "{missing}"
    );
    it.make("Secret", &templates, "shop", json!({ "stringData": { "other": OTHER } })).await;
    let missing = it.cluster.ensure_workload(&name, &order).await.unwrap_err();
    assert!(missing.why.contains("has no key \"stripe\""), "{missing}");
    assert!(!missing.why.contains(OTHER), "{missing}");
    assert!(it.names("Deployment", &here).await.is_empty(), "no pod before its Secret");

    let both = json!({ "stringData": { "stripe": VALUE } });
    it.meddle("Secret", &templates, "shop", both).await;
    it.cluster.ensure_workload(&name, &order).await.unwrap();
    let copied = async || it.read("Secret", &here, "mayfly-config").await.unwrap()["data"].clone();
    let first = copied().await;
    assert_eq!(first.as_object().unwrap().keys().collect::<Vec<_>>(), ["STRIPE_KEY"]);
    let template =
        async || it.read("Deployment", &here, &web('a')).await.unwrap()["spec"]["template"].clone();
    let pods = template().await;
    let env = pods["spec"]["containers"][0]["env"].as_array().unwrap().clone();
    let found = env.iter().find(|it| it["name"] == "STRIPE_KEY").unwrap();
    let reference = &found["valueFrom"]["secretKeyRef"];
    assert_eq!(
        (&reference["name"], &reference["key"]),
        (&json!("mayfly-config"), &json!("STRIPE_KEY"))
    );
    until_ready(&*it.cluster, &name, &order.revision).await;

    it.clock.advance(chrono::TimeDelta::minutes(1));
    assert_eq!(health(&*it.cluster, &name, &order.shape).await, Health::Ready);
    let changed = json!({ "stringData": { "stripe": "hush-another" } });
    it.meddle("Secret", &templates, "shop", changed).await;
    let seen = health(&*it.cluster, &name, &order.shape).await;
    assert!(matches!(&seen, Health::Dead(why) if why.contains("mayfly.dev/secrets")), "{seen:?}");
    it.cluster.ensure_workload(&name, &order).await.unwrap();
    assert_ne!(copied().await, first, "it is copied again");
    assert_ne!(template().await["metadata"], pods["metadata"], "and pods start anew");

    // What runs keeps its copy when the original goes.
    until_ready(&*it.cluster, &name, &order.revision).await;
    it.clock.advance(chrono::TimeDelta::minutes(1));
    it.delete("Secret", &templates, "shop").await;
    assert_eq!(health(&*it.cluster, &name, &order.shape).await, Health::Ready);

    let everything = format!(
        "{:?}{:?}{:?}{:?}{:?}",
        it.read("Deployment", &here, &web('a')).await,
        it.read("Namespace", "", &here).await,
        all(&it, "ConfigMap", &here).await,
        all(&it, "Event", &here).await,
        it.cluster.observe(&name, &order.shape).await,
    );
    for secret in [VALUE, OTHER, "hush", first["STRIPE_KEY"].as_str().unwrap()] {
        assert!(!everything.contains(secret), "{secret} is in {everything}");
    }
}

#[tokio::test]
async fn an_external_secret_is_made_and_awaited_with_its_own_reason() {
    let Some(it) = RealCluster::new().await else { return };
    if !it.pretended {
        return;
    }
    let remote = RemoteKey { key: "previews/shop".to_owned(), property: Some("mail".to_owned()) };
    let wanted = ExternalSecret {
        store: "vault".to_owned(),
        kind: "ClusterSecretStore".to_owned(),
        keys: [("MAIL_TOKEN".to_owned(), remote)].into(),
    };
    let mut order = order(&revision('a'));
    order.shape.external_secrets = vec![wanted];
    // Its pods cannot start without the Secret, which a pretended node does not know.
    let image = format!("registry.test/never-ready@sha256:{}", "0".repeat(64));
    order.shape.pod.image = Some(Image::parse(&image).unwrap());
    let (name, called) = (it.name(7), "mayfly-external-0");
    let here = name.namespace();
    it.cluster.ensure_namespace(&name, &order.shape, &Default::default()).await.unwrap();
    let unknown = it.cluster.ensure_workload(&name, &order).await.unwrap_err();
    assert_eq!(unknown.disposition, Disposition::Permanent, "{unknown}");
    assert!(unknown.why.contains("install External Secrets Operator"), "{unknown}");

    let crd = "externalsecrets.external-secrets.io";
    it.make("CustomResourceDefinition", "", crd, external_secrets()).await;
    until("the kind is served", async || it.can_list("ExternalSecret", &here).await).await;
    it.cluster.ensure_workload(&name, &order).await.unwrap();
    let made = it.read("ExternalSecret", &here, called).await.unwrap();
    assert_eq!(
        made["spec"],
        json!({
            "secretStoreRef": { "name": "vault", "kind": "ClusterSecretStore" },
            "target": { "name": called },
            "data": [{
                "secretKey": "MAIL_TOKEN",
                "remoteRef": { "key": "previews/shop", "property": "mail" },
            }],
        })
    );
    let seen = async || health(&*it.cluster, &name, &order.shape).await;
    let waits = seen().await;
    assert!(
        matches!(&waits, Health::Progressing(why) if why.contains("to take up ExternalSecret")),
        "{waits:?}"
    );
    let say = async |status: &str, reason: &str, message: &str| {
        let ready =
            json!({ "type": "Ready", "status": status, "reason": reason, "message": message });
        let patch = json!({ "status": { "conditions": [ready] } });
        it.meddle("ExternalSecret", &here, called, patch).await;
    };
    say("False", "SecretSyncedError", "could not get secret data from provider").await;
    let refused = seen().await;
    let Health::Failing { why, log } = &refused else { panic!("{refused:?}") };
    assert!(why.contains("SecretSyncedError"), "{why}");
    assert!(why.contains(&format!("kubectl describe externalsecret {called} -n {here}")), "{why}");
    assert_eq!(log, "could not get secret data from provider");
    say("True", "SecretSynced", "secret synced").await;
    let free = seen().await;
    assert!(
        matches!(&free, Health::Progressing(why) if !why.contains("ExternalSecret")),
        "only its pods are waited for: {free:?}"
    );
    it.delete("ExternalSecret", &here, called).await;
    let gone = seen().await;
    assert!(matches!(&gone, Health::Dead(why) if why.contains("not there")), "{gone:?}");
    it.cluster.ensure_workload(&name, &order).await.unwrap();
    assert!(it.read("ExternalSecret", &here, called).await.is_some(), "it is made again");
    it.delete("CustomResourceDefinition", "", crd).await;
}

async fn health(cluster: &dyn Cluster, name: &PreviewName, shape: &Shape) -> Health {
    match cluster.observe(name, shape).await.workload {
        Seen::Present(workload) => workload.health,
        other => panic!("{other:?}"),
    }
}

async fn all(it: &RealCluster, kind: &str, namespace: &str) -> Vec<Option<Value>> {
    let mut found = Vec::new();
    for name in it.names(kind, namespace).await {
        found.push(it.read(kind, namespace, &name).await);
    }
    found
}
