//! What the Kubernetes adapter promises beyond any cluster: fences, drift, reasons and cures, asked of
//! a real API server.

use std::collections::BTreeMap;
use std::time::Duration;

use mayfly::cluster::kubernetes::config::{DatabasePeer, Entry, Peer, Tls};
use mayfly::fault::{Disposition, Fault};
use mayfly::workload::{Egress, PodSize};
use serde_json::{Value, json};

use super::kubernetes::web;
use super::*;

const TIMEOUT: Duration = Duration::from_secs(30);

/// The shape whose image meets this fate.
fn doomed(image: &str) -> Shape {
    let mut shape = shape();
    let image = format!("registry.test/{image}@sha256:{}", "0".repeat(64));
    shape.pod.image = Some(Image::parse(&image).unwrap());
    shape
}

fn ordered(shape: Shape, digit: char) -> WorkloadOrder {
    WorkloadOrder { shape, ..order(&revision(digit)) }
}

async fn failing(it: &RealCluster, order: &WorkloadOrder) -> (String, String) {
    let name = it.name(7);
    it.cluster.ensure_namespace(&name, &order.shape, &Default::default()).await.unwrap();
    it.cluster.ensure_workload(&name, order).await.unwrap();
    let mut found = (String::new(), String::new());
    until("it is known to fail", async || match health(&*it.cluster, &name).await {
        Some((_, Health::Failing { why, log })) => {
            found = (why, log);
            true
        }
        _ => false,
    })
    .await;
    found
}

#[track_caller]
fn refused(outcome: Result<(), Fault>, cure: &str) {
    let fault = outcome.unwrap_err();
    assert_eq!(fault.disposition, Disposition::Permanent, "{fault}");
    assert!(fault.why.contains(cure), "{fault}");
}

#[tokio::test]
async fn a_namespace_is_stamped_restricted_and_fenced_before_any_pod() {
    let peer = |namespace: &str| Peer { namespace: namespace.to_owned(), labels: BTreeMap::new() };
    let databases = vec![
        DatabasePeer::Address { cidr: "10.9.0.5/32".parse().unwrap(), port: 6432 },
        DatabasePeer::Pods { peer: peer("databases"), port: 5432 },
    ];
    let it = RealCluster::with(|config| {
        config.network.database = databases;
        config.network.forbidden = vec!["169.254.0.0/16".parse().unwrap()];
    });
    let Some(it) = it.await else { return };
    let (name, mut shape) = (it.name(7), shape());
    shape.pod.egress = vec![Egress { cidr: "0.0.0.0/0".parse().unwrap(), ports: vec![443] }];
    it.cluster.ensure_namespace(&name, &shape, &Default::default()).await.unwrap();
    let here = name.namespace();

    let namespace = it.read("Namespace", "", &here).await.unwrap();
    let labels = &namespace["metadata"]["labels"];
    assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted");
    assert_eq!(labels["app.kubernetes.io/managed-by"], "mayfly");
    assert_eq!(labels["app.kubernetes.io/instance"], here.as_str());
    let stamp = namespace["metadata"]["annotations"]["mayfly.dev/stamp"].as_str().unwrap();
    assert!(stamp.starts_with("mayfly=test") && stamp.ends_with(&format!("/{here}")), "{stamp}");

    let quota = it.read("ResourceQuota", &here, "preview").await.unwrap();
    assert_eq!(quota["spec"]["hard"]["services.loadbalancers"], "0");
    assert_eq!(quota["spec"]["hard"]["limits.memory"], "768Mi");
    assert!(it.read("LimitRange", &here, "preview").await.is_some());
    let account = it.read("ServiceAccount", &here, "preview").await.unwrap();
    assert_eq!(account["automountServiceAccountToken"], false);
    let deny = it.read("NetworkPolicy", &here, "default-deny").await.unwrap();
    assert_eq!(
        deny["spec"],
        json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] }),
        "everything is denied that is not allowed"
    );
    let policy = it.read("NetworkPolicy", &here, "preview").await.unwrap();
    let of = |namespace: &str| {
        let labels = json!({ "kubernetes.io/metadata.name": namespace });
        json!({ "namespaceSelector": { "matchLabels": labels }, "podSelector": {} })
    };
    let tcp = |port: u16| json!({ "port": port, "protocol": "TCP" });
    assert_eq!(
        policy["spec"]["ingress"],
        json!([{ "from": [{ "podSelector": {} }, of("ingress")] }])
    );
    assert_eq!(
        policy["spec"]["egress"],
        json!([
            { "to": [{ "podSelector": {} }] },
            { "to": [of("kube-system")], "ports": [{ "port": 53, "protocol": "UDP" }, tcp(53)] },
            { "to": [{ "ipBlock": { "cidr": "10.9.0.5/32" } }], "ports": [tcp(6432)] },
            { "to": [of("databases")], "ports": [tcp(5432)] },
            {
                "to": [{ "ipBlock": { "cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"] } }],
                "ports": [tcp(443)],
            },
        ])
    );
    assert_eq!(it.names("Pod", &here).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_pod_is_restricted_pinned_and_holds_its_secret_by_reference() {
    let Some(it) = RealCluster::new().await else { return };
    let (name, mut order) = (it.name(7), order(&revision('a')));
    order.env.push(("DATABASE_URL".to_owned(), "postgres://pr:hush@db/pr".to_owned()));
    serve(&*it.cluster, &name, &order).await;
    let here = name.namespace();
    let pods = it.names("Pod", &here).await;
    let pod = it.read("Pod", &here, &pods[0]).await.unwrap();
    let container = &pod["spec"]["containers"][0];
    assert!(container["image"].as_str().unwrap().contains("@sha256:"));
    assert_eq!(container["securityContext"]["capabilities"]["drop"], json!(["ALL"]));
    assert_eq!(pod["spec"]["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["spec"]["serviceAccountName"], "preview");
    assert_eq!(pod["spec"]["volumes"], Value::Null, "no token is mounted");
    assert!(!pod.to_string().contains("hush"), "the secret is no part of the pod");
    let deployment = it.names("Deployment", &here).await;
    let deployment = it.read("Deployment", &here, &deployment[0]).await.unwrap();
    assert!(!deployment.to_string().contains("hush"), "nor of what was applied");
    let secret = it.read("Secret", &here, "database").await.unwrap();
    assert!(secret["data"]["DATABASE_URL"].is_string());
    let managers = deployment["metadata"]["managedFields"].as_array().unwrap();
    let ours: Vec<_> = managers.iter().filter(|it| it["operation"] == "Apply").collect();
    assert_eq!((ours.len(), &ours[0]["manager"]), (1, &json!("mayfly")), "one field manager");
}

#[tokio::test]
async fn a_fence_that_somebody_changed_or_removed_is_seen_and_mended() {
    let Some(it) = RealCluster::new().await else { return };
    let (name, shape) = (it.name(7), shape());
    let here = name.namespace();
    it.cluster.ensure_namespace(&name, &shape, &Default::default()).await.unwrap();
    let fenced = async || it.cluster.observe(&name, &shape).await.namespace;
    let whole = Seen::Present(NamespaceSeen { fenced: true });
    assert_eq!(fenced().await, whole);
    let open = json!({ "spec": { "egress": [{}] } });
    let label = json!({ "metadata": { "labels": { "pod-security.kubernetes.io/enforce": null } } });
    for (kind, what, change) in [
        ("NetworkPolicy", "preview", Some(open)),
        ("NetworkPolicy", "default-deny", None),
        ("ResourceQuota", "preview", Some(json!({ "spec": { "hard": { "pods": "99" } } }))),
        ("LimitRange", "preview", None),
        ("ServiceAccount", "preview", Some(json!({ "automountServiceAccountToken": true }))),
        ("Namespace", here.as_str(), Some(label)),
    ] {
        // What was just applied is left alone for a while, so that nobody is fought at full speed.
        it.clock.advance(chrono::TimeDelta::minutes(1));
        match change {
            Some(patch) => it.meddle(kind, &here, what, patch).await,
            None => it.delete(kind, &here, what).await,
        }
        assert_eq!(fenced().await, Seen::Present(NamespaceSeen { fenced: false }), "{kind} {what}");
        it.cluster.ensure_namespace(&name, &shape, &Default::default()).await.unwrap();
        assert_eq!(fenced().await, whole, "{kind} {what}");
    }
    // What the configuration of another day allows is drift too.
    it.clock.advance(chrono::TimeDelta::minutes(1));
    let mut wider = shape.clone();
    wider.pod.egress = vec![Egress { cidr: "10.0.0.0/8".parse().unwrap(), ports: vec![] }];
    let seen = it.cluster.observe(&name, &wider).await.namespace;
    assert_eq!(seen, Seen::Present(NamespaceSeen { fenced: false }));
}

#[tokio::test]
async fn a_workload_or_route_that_somebody_changed_is_seen_and_mended() {
    let Some(it) = RealCluster::new().await else { return };
    let (name, a) = (it.name(7), revision('a'));
    let here = name.namespace();
    serve(&*it.cluster, &name, &order(&a)).await;
    let deployment = it.names("Deployment", &here).await.remove(0);
    it.clock.advance(chrono::TimeDelta::minutes(1));
    let evil = json!({ "spec": { "rules": [{ "host": "evil.example.test" }] } });
    it.meddle("Ingress", &here, "web", evil).await;
    let seen = it.cluster.observe(&name, &shape()).await.route;
    assert!(seen.present().is_some_and(|route| route.revision.is_none()), "{seen:?}");
    it.cluster.ensure_route(&name, &shape(), &a).await.unwrap();
    assert_eq!(routed(&*it.cluster, &name).await, Some(a.clone()));

    let elsewhere = json!({ "spec": { "selector": { "mayfly.dev/revision": "x" } } });
    for (kind, what, patch, said) in [
        ("Service", web('a'), Some(elsewhere), "selector"),
        ("Service", web('a'), None, "not there"),
        ("Deployment", deployment, Some(json!({ "spec": { "replicas": 0 } })), "replicas"),
    ] {
        it.clock.advance(chrono::TimeDelta::minutes(1));
        match patch {
            Some(patch) => it.meddle(kind, &here, &what, patch).await,
            None => it.delete(kind, &here, &what).await,
        }
        let seen = health(&*it.cluster, &name).await;
        let Some((_, Health::Dead(why))) = seen else { panic!("{kind}: {seen:?}") };
        assert!(why.contains(said), "{why}");
        it.cluster.ensure_workload(&name, &order(&a)).await.unwrap();
        until_ready(&*it.cluster, &name, &a).await;
    }
}

#[tokio::test]
async fn a_workload_that_cannot_start_says_why_in_words_that_stay_the_same() {
    for (image, why) in [
        ("no-such-image", "cannot be pulled"),
        ("crash-loop", "ends soon after each start (exit code"),
    ] {
        let Some(it) = RealCluster::new().await else { return };
        let order = ordered(doomed(image), 'a');
        let (told, _) = failing(&it, &order).await;
        assert!(told.contains(why), "{told}");
        let fault =
            it.cluster.ensure_route(&it.name(7), &shape(), &order.revision).await.unwrap_err();
        assert!(fault.why.contains("not ready"), "{fault}");
    }
}

#[tokio::test]
async fn a_workload_that_is_never_ready_fails_after_its_deadline() {
    let it = RealCluster::with(|config| config.progress_deadline_seconds = 1);
    let Some(it) = it.await else { return };
    let (told, _) = failing(&it, &ordered(doomed("never-ready"), 'a')).await;
    assert!(told.contains("did not become ready in time"), "{told}");
}

#[tokio::test]
async fn pods_that_the_cluster_refuses_are_told_with_its_words() {
    let Some(it) = RealCluster::new().await else { return };
    let (name, order) = (it.name(7), order(&revision('a')));
    it.cluster.ensure_namespace(&name, &order.shape, &Default::default()).await.unwrap();
    let none = json!({ "spec": { "hard": { "pods": "0" } } });
    it.make("ResourceQuota", &name.namespace(), "theirs", none).await;
    until("their quota counts", async || {
        let quota = it.read("ResourceQuota", &name.namespace(), "theirs").await.unwrap();
        quota["status"]["hard"]["pods"] == "0"
    })
    .await;
    let (told, _) = failing(&it, &order).await;
    assert!(told.contains("exceeded quota"), "{told}");
}

#[tokio::test]
async fn a_revision_that_nobody_wants_any_more_goes_and_the_served_one_stays() {
    let Some(it) = RealCluster::new().await else { return };
    let (name, a) = (it.name(7), revision('a'));
    serve(&*it.cluster, &name, &order(&a)).await;
    for digit in ['b', 'c'] {
        it.clock.advance(chrono::TimeDelta::seconds(1));
        it.cluster.ensure_workload(&name, &order(&revision(digit))).await.unwrap();
    }
    for kind in ["Deployment", "Service"] {
        assert_eq!(it.names(kind, &name.namespace()).await, [web('a'), web('c')], "{kind}");
    }
    let seen = it.cluster.observe(&name, &shape()).await;
    assert!(seen.workload.present().is_some_and(|it| it.others), "the served one is there too");
    assert_eq!(routed(&*it.cluster, &name).await, Some(a.clone()));
    // The branch went back to what is served: nothing has to start.
    it.clock.advance(chrono::TimeDelta::seconds(1));
    it.cluster.ensure_workload(&name, &order(&a)).await.unwrap();
    until_ready(&*it.cluster, &name, &a).await;
    for kind in ["Deployment", "Service"] {
        assert_eq!(it.names(kind, &name.namespace()).await, [web('a')], "{kind}");
    }
}

#[tokio::test]
async fn a_route_says_its_commit_and_where_it_leads_in_one_object() {
    let header = "example.test/headers".to_owned();
    let it = RealCluster::with(|config| {
        let said = "X-Preview-Commit: {{ commit }}".to_owned();
        let annotations = BTreeMap::from([(header.clone(), said)]);
        config.entry = Entry::Ingress { class: "test".to_owned(), annotations };
    });
    let Some(it) = it.await else { return };
    let name = it.name(7);
    for digit in ['a', 'b'] {
        serve(&*it.cluster, &name, &order(&revision(digit))).await;
        let route = it.read("Ingress", &name.namespace(), "web").await.unwrap();
        let backend = &route["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"];
        assert_eq!(*backend, web(digit));
        let said = format!("X-Preview-Commit: {}", digit.to_string().repeat(40));
        assert_eq!(route["metadata"]["annotations"][&header], said);
        it.clock.advance(chrono::TimeDelta::minutes(1));
        assert_eq!(routed(&*it.cluster, &name).await, Some(revision(digit)), "and it is no drift");
    }
}

#[tokio::test]
async fn a_route_of_the_version_before_is_led_over_and_its_service_goes() {
    let Some(it) = RealCluster::new().await else { return };
    let (name, a) = (it.name(7), revision('a'));
    let here = name.namespace();
    serve(&*it.cluster, &name, &order(&a)).await;
    let labels = json!({ "labels": { "mayfly.dev/preview": here }, "name": "web" });
    let ports = json!({ "ports": [{ "port": 80 }] });
    it.make("Service", &here, "web", json!({ "metadata": labels, "spec": ports })).await;
    let bare = json!({ "metadata": { "annotations": { "mayfly.dev/revision": null } } });
    it.meddle("Ingress", &here, "web", bare).await;
    assert_eq!(routed(&*it.cluster, &name).await, None);
    it.cluster.ensure_workload(&name, &order(&a)).await.unwrap();
    assert_eq!(it.names("Service", &here).await, ["web".to_owned(), web('a')], "may be visited");
    it.cluster.ensure_route(&name, &shape(), &a).await.unwrap();
    it.cluster.remove_others(&name, &shape(), &a).await.unwrap();
    assert_eq!(it.names("Service", &here).await, [web('a')]);
}

#[tokio::test]
async fn a_namespace_that_hangs_says_what_holds_it_and_a_reopened_one_waits_for_it() {
    let Some(it) = RealCluster::new().await else { return };
    let (name, order) = (it.name(7), order(&revision('a')));
    let here = name.namespace();
    serve(&*it.cluster, &name, &order).await;
    let held = json!({ "metadata": { "name": "held", "finalizers": ["example.test/hold"] } });
    it.make("ConfigMap", &here, "held", held).await;
    it.cluster.remove_route(&name).await.unwrap();
    it.cluster.remove_namespace(&name).await.unwrap();
    until("the namespace says what holds it", async || {
        let seen = it.cluster.observe(&name, &shape()).await;
        matches!(seen.namespace, Seen::Leaving(why) if why.contains("example.test/hold"))
    })
    .await;
    let fault =
        it.cluster.ensure_namespace(&name, &shape(), &Default::default()).await.unwrap_err();
    assert_eq!(fault.disposition, Disposition::Transient);
    assert!(fault.why.contains("being removed"), "{fault}");
    assert_eq!(it.cluster.owned().await.unwrap(), std::slice::from_ref(&name), "still ours");
    it.meddle("ConfigMap", &here, "held", json!({ "metadata": { "finalizers": null } })).await;
    let gone = until_gone(&*it.cluster, &name);
    tokio::time::timeout(TIMEOUT, gone).await.unwrap();
    serve(&*it.cluster, &name, &order).await;
}

#[tokio::test]
async fn an_unknown_ingress_class_is_refused_with_those_that_there_are() {
    let it = RealCluster::with(|config| {
        config.entry = Entry::Ingress { class: "nginx".to_owned(), annotations: BTreeMap::new() };
    });
    let Some(it) = it.await else { return };
    let (name, order) = (it.name(7), order(&revision('a')));
    it.cluster.ensure_namespace(&name, &order.shape, &Default::default()).await.unwrap();
    it.cluster.ensure_workload(&name, &order).await.unwrap();
    until_ready(&*it.cluster, &name, &order.revision).await;
    let outcome = it.cluster.ensure_route(&name, &shape(), &order.revision).await;
    refused(outcome.clone(), "test");
    refused(outcome, "cluster.kubernetes.ingress.class");
}

#[tokio::test]
async fn a_missing_certificate_is_refused_and_one_that_is_there_is_brought_along() {
    let Some(keeper) = RealCluster::new().await else { return };
    let place = keeper.name(1).namespace();
    keeper.make("Namespace", "", &place, json!({})).await;
    let it = RealCluster::with(|config| {
        config.tls = Tls::Secret { namespace: place.clone(), name: "wildcard".to_owned() };
    });
    let it = it.await.unwrap();
    let (name, order) = (it.name(7), order(&revision('a')));
    it.cluster.ensure_namespace(&name, &order.shape, &Default::default()).await.unwrap();
    it.cluster.ensure_workload(&name, &order).await.unwrap();
    until_ready(&*it.cluster, &name, &order.revision).await;
    refused(it.cluster.ensure_route(&name, &shape(), &order.revision).await, "create it");
    let data = json!({ "type": "kubernetes.io/tls", "data": { "tls.crt": "Y2VydA==", "tls.key": "a2V5" } });
    keeper.make("Secret", &place, "wildcard", data).await;
    it.cluster.ensure_route(&name, &shape(), &order.revision).await.unwrap();
    let copy = it.read("Secret", &name.namespace(), "tls").await.unwrap();
    assert_eq!(copy["data"]["tls.key"], "a2V5");
    assert_eq!(routed(&*it.cluster, &name).await, Some(order.revision.clone()));
    let ingress = it.read("Ingress", &name.namespace(), "web").await.unwrap();
    assert_eq!(ingress["spec"]["tls"][0]["secretName"], "tls");

    // A renewed one is brought along without a push.
    it.clock.advance(chrono::TimeDelta::minutes(1));
    assert_eq!(routed(&*it.cluster, &name).await, Some(order.revision.clone()), "as it was");
    keeper.meddle("Secret", &place, "wildcard", json!({ "data": { "tls.key": "bmV3" } })).await;
    assert_eq!(routed(&*it.cluster, &name).await, None, "the route has another certificate");
    it.cluster.ensure_route(&name, &shape(), &order.revision).await.unwrap();
    let copy = it.read("Secret", &name.namespace(), "tls").await.unwrap();
    assert_eq!(copy["data"]["tls.key"], "bmV3");
    assert_eq!(routed(&*it.cluster, &name).await, Some(order.revision));
}

#[tokio::test]
async fn a_route_that_its_controller_holds_is_on_its_way_out() {
    let Some(it) = RealCluster::new().await else { return };
    let name = it.name(7);
    serve(&*it.cluster, &name, &order(&revision('a'))).await;
    let hold = json!({ "metadata": { "finalizers": ["example.test/balancer"] } });
    it.meddle("Ingress", &name.namespace(), "web", hold).await;
    it.cluster.remove_route(&name).await.unwrap();
    let seen = it.cluster.observe(&name, &shape()).await.route;
    assert!(
        matches!(&seen, Seen::Leaving(why) if why.contains("example.test/balancer")),
        "{seen:?}"
    );
    let free = json!({ "metadata": { "finalizers": null } });
    it.meddle("Ingress", &name.namespace(), "web", free).await;
    assert!(it.cluster.observe(&name, &shape()).await.route.is_absent());
}

#[tokio::test]
async fn what_the_configuration_changes_reaches_previews_that_are_there() {
    let Some(it) = RealCluster::new().await else { return };
    let (name, a) = (it.name(7), revision('a'));
    serve(&*it.cluster, &name, &order(&a)).await;
    it.clock.advance(chrono::TimeDelta::minutes(1));
    assert_eq!(health(&*it.cluster, &name).await, Some((a.clone(), Health::Ready)));
    let mut smaller = shape();
    smaller.pod.memory_mebibytes = 128;
    let seen = it.cluster.observe(&name, &smaller).await;
    let workload = seen.workload.present().expect("a workload");
    assert!(
        matches!(&workload.health, Health::Dead(why) if why.contains("configuration")),
        "{workload:?}"
    );
    it.cluster.ensure_namespace(&name, &smaller, &Default::default()).await.unwrap();
    let order = WorkloadOrder { shape: smaller.clone(), ..order(&a) };
    it.cluster.ensure_workload(&name, &order).await.unwrap();
    it.clock.advance(chrono::TimeDelta::minutes(1));
    until("it runs as configured", async || {
        let seen = it.cluster.observe(&name, &smaller).await;
        seen.workload.present().is_some_and(|it| it.health == Health::Ready)
    })
    .await;
    assert_eq!(routed(&*it.cluster, &name).await, Some(a));
}

#[tokio::test]
async fn a_note_on_the_route_is_set_and_taken_away_and_outlives_a_repair() {
    let Some(it) = RealCluster::new().await else { return };
    let (name, a) = (it.name(7), revision('a'));
    let note = "external-dns.example.test/controller";
    it.cluster.annotate_route(&name, &[(note, Some("x"))]).await.expect("nothing to annotate");
    let has = async || it.cluster.is_route_annotated(&name, &[(note, "x")]).await.unwrap();
    assert_eq!(has().await, None, "there is no route");
    serve(&*it.cluster, &name, &order(&a)).await;
    assert_eq!(has().await, Some(false));
    let annotation = async || {
        let route = it.read("Ingress", &name.namespace(), "web").await.unwrap();
        route["metadata"]["annotations"].get(note).cloned()
    };
    for _ in 0..2 {
        it.cluster.annotate_route(&name, &[(note, Some("x"))]).await.unwrap();
        assert_eq!((annotation().await, has().await), (Some(json!("x")), Some(true)));
        it.cluster.ensure_route(&name, &shape(), &a).await.unwrap();
    }
    assert_eq!(annotation().await, Some(json!("x")), "the repair left it alone");
    assert_eq!(routed(&*it.cluster, &name).await, Some(a), "and it is no drift");
    it.cluster.annotate_route(&name, &[(note, None)]).await.unwrap();
    assert_eq!(annotation().await, None);
}

#[tokio::test]
async fn a_change_by_hand_is_told_without_anybody_asking() {
    let Some(mut it) = RealCluster::new().await else { return };
    let name = it.name(7);
    serve(&*it.cluster, &name, &order(&revision('a'))).await;
    // What we did ourselves is told too; it is all of the same preview.
    let told = tokio::time::timeout(TIMEOUT, it.changes.recv()).await.unwrap();
    assert_eq!(told, Some(name.clone()));
    while it.changes.try_recv().is_ok() {}
    it.delete("Ingress", &name.namespace(), "web").await;
    let told = tokio::time::timeout(TIMEOUT, it.changes.recv()).await.unwrap();
    assert_eq!(told, Some(name));
}

#[tokio::test]
async fn an_api_server_that_does_not_answer_is_unknown_and_holds_nobody_up() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kubeconfig");
    let address = silent.local_addr().unwrap();
    let text = format!(
        "{{apiVersion: v1, kind: Config, current-context: a, \
         clusters: [{{name: a, cluster: {{server: 'http://{address}'}}}}], \
         contexts: [{{name: a, context: {{cluster: a, user: a}}}}], users: [{{name: a, user: {{}}}}]}}"
    );
    std::fs::write(&path, text).unwrap();
    let Some(it) = RealCluster::with(|config| {
        config.kubeconfig = Some(path);
        config.timeout = Duration::from_millis(200);
    })
    .await
    else {
        return;
    };
    let (name, shape) = (name(7), shape());
    let look = it.cluster.observe(&name, &shape);
    let seen = tokio::time::timeout(Duration::from_secs(5), look).await.unwrap();
    assert!(matches!(&seen.namespace, Seen::Unknown(why) if why.contains("did not answer")));
    let fault = it.cluster.remove_namespace(&name).await.unwrap_err();
    assert_eq!(fault.disposition, Disposition::Transient);
    assert!(it.cluster.owned().await.is_err(), "all or a fault");
}

#[tokio::test]
async fn the_clusters_version_is_told_as_people_say_it() {
    let Some(it) = RealCluster::new().await else { return };
    let Seen::Present(version) = it.cluster.kubernetes().await else { panic!("it answers") };
    let (major, minor) = version.split_once('.').expect("major and minor");
    assert_eq!(major, "1", "{version}");
    assert!(minor.parse::<u32>().is_ok_and(|minor| minor >= 30), "{version}");
}

#[tokio::test]
async fn the_quota_has_room_for_the_largest_tier_whichever_is_chosen() {
    let Some(it) = RealCluster::new().await else { return };
    let (name, mut shape) = (it.name(7), shape());
    let usual = shape.pod.size();
    let large = PodSize { replicas: 3, cpu_millicores: 500, memory_mebibytes: 512 };
    shape.pod.others = vec![large, usual];
    it.cluster.ensure_namespace(&name, &shape, &Default::default()).await.unwrap();
    let quota = it.read("ResourceQuota", &name.namespace(), "preview").await.unwrap();
    let hard = &quota["spec"]["hard"];
    // What is served, what comes, and what goes.
    assert_eq!(
        [&hard["pods"], &hard["limits.cpu"], &hard["limits.memory"]],
        [&json!("9"), &json!("4500m"), &json!("4608Mi")]
    );
    // Another tier of the same repository needs no other fence, but for what its own pods ask for.
    it.clock.advance(chrono::TimeDelta::minutes(1));
    let seen = it.cluster.observe(&name, &shape).await.namespace;
    assert_eq!(seen, Seen::Present(NamespaceSeen { fenced: true }));
}

#[tokio::test]
async fn the_way_in_is_open_with_the_first_pods_and_counts_as_none_until_they_are_ready() {
    let Some(it) = RealCluster::new().await else { return };
    let (name, order) = (it.name(7), ordered(doomed("never-ready"), 'a'));
    let here = name.namespace();
    let urls = order.database_urls();
    it.cluster.ensure_namespace(&name, &order.shape, &urls).await.unwrap();
    assert!(it.read("Secret", &here, "database").await.is_some(), "before any pod reads it");
    it.cluster.ensure_workload(&name, &order).await.unwrap();
    let route = it.read("Ingress", &here, "web").await.expect("the way in");
    let revision = |route: &Value| route["metadata"]["annotations"]["mayfly.dev/revision"].clone();
    assert_eq!(revision(&route), "none", "it says that it leads nowhere");
    let seen = it.cluster.observe(&name, &order.shape).await.route;
    assert!(matches!(&seen, Seen::Present(route) if route.revision.is_none()), "{seen:?}");
    let fault = it.cluster.ensure_route(&name, &order.shape, &order.revision).await.unwrap_err();
    assert!(fault.why.contains("not ready"), "{fault}");
    // Of commits that are never ready the newest is there alone, however many there were.
    let failing = ordered(doomed("never-ready"), 'c');
    it.cluster.ensure_workload(&name, &failing).await.unwrap();
    for kind in ["Deployment", "Service"] {
        assert!(it.read(kind, &here, &web('a')).await.is_none(), "{kind} of the first one");
        assert!(it.read(kind, &here, &web('c')).await.is_some(), "{kind} of the second one");
    }
    // The next commit's pods are ready: the same object leads to them.
    let next = order_of(&it, 'b').await;
    until_ready(&*it.cluster, &name, &next.revision).await;
    it.cluster.ensure_route(&name, &next.shape, &next.revision).await.unwrap();
    let led = it.read("Ingress", &here, "web").await.unwrap();
    assert_eq!(led["metadata"]["uid"], route["metadata"]["uid"]);
    assert_eq!(revision(&led), next.revision.to_string());
}

/// Orders a commit that becomes ready.
async fn order_of(it: &RealCluster, digit: char) -> WorkloadOrder {
    let order = ordered(shape(), digit);
    it.cluster.ensure_workload(&it.name(7), &order).await.unwrap();
    order
}
