//! What the controller may do in a cluster, verb by verb. This table is the one to argue about.

use serde_json::Value;

use super::{FULL, GATEWAY, MINIMAL, helm_is_here, list, one, pods, rendered};

/// API group, resource, verbs: in every namespace, since a preview's is not known in advance.
const EVERYWHERE: [(&str, &str, &str); 11] = [
    ("", "limitranges", "create get patch"),
    ("", "namespaces", "create delete get list patch watch"),
    ("", "pods", "list"),
    ("", "pods/log", "get"),
    ("", "resourcequotas", "create get patch"),
    // Written, and never read back.
    ("", "secrets", "create patch"),
    ("", "serviceaccounts", "create get patch"),
    ("", "services", "create delete get list patch"),
    ("apps", "deployments", "create delete get list patch watch"),
    ("batch", "jobs", "create delete list patch watch"),
    ("networking.k8s.io", "networkpolicies", "create get patch"),
];

/// The same, where previews are reached through Ingresses.
const BY_INGRESS: [(&str, &str, &str); 2] = [
    ("networking.k8s.io", "ingressclasses", "get list"),
    ("networking.k8s.io", "ingresses", "create delete get list patch watch"),
];

/// Besides, where cert-manager makes a certificate for each.
const BY_ISSUER: [(&str, &str, &str); 1] = [("cert-manager.io", "certificates", "get")];

/// Besides, where previews have Secrets out of a store.
const BY_STORE: [(&str, &str, &str); 1] =
    [("external-secrets.io", "externalsecrets", "create get patch")];

/// The same, where they are reached through a Gateway.
const BY_GATEWAY: [(&str, &str, &str); 1] =
    [("gateway.networking.k8s.io", "httproutes", "create delete get list patch watch")];

/// Besides, where a repository is deployed by its own chart.
const BY_CHARTS: [(&str, &str, &str); 8] = [
    ("", "configmaps", "create delete get list patch"),
    ("", "secrets", "delete"),
    ("", "serviceaccounts", "create delete get list patch"),
    ("apps", "statefulsets", "create delete get list patch"),
    ("autoscaling", "horizontalpodautoscalers", "create delete get list patch"),
    ("batch", "cronjobs", "create delete get list patch"),
    ("batch", "jobs", "create delete get list patch"),
    ("policy", "poddisruptionbudgets", "create delete get list patch"),
];

/// Values by which a repository has one.
pub const CHARTED: &str = "config: {repositories: [{name: acme/shop, workload: {chart: {\
                           service: {name: shop, port: 80}, manifests: {directory: /charts}}}}]}";

fn words(value: &Value) -> Vec<&str> {
    let mut words: Vec<_> = list(value).iter().map(|word| word.as_str().unwrap()).collect();
    words.sort_unstable();
    words
}

/// Every grant of a role, one line for each resource; `names` narrows it.
fn grants(role: &Value) -> Vec<(String, String, String)> {
    let mut grants = Vec::new();
    for rule in list(&role["rules"]) {
        assert!(rule.get("nonResourceURLs").is_none(), "{rule}");
        for group in words(&rule["apiGroups"]) {
            for resource in words(&rule["resources"]) {
                let names = words(&rule["resourceNames"]).join(" ");
                let named = if names.is_empty() {
                    resource.to_owned()
                } else {
                    format!("{resource}={names}")
                };
                grants.push((group.to_owned(), named, words(&rule["verbs"]).join(" ")));
            }
        }
    }
    grants.sort();
    grants
}

fn expected(rows: &[&[(&str, &str, &str)]]) -> Vec<(String, String, String)> {
    let own = |(group, resource, verbs): &(&str, &str, &str)| {
        ((*group).to_owned(), (*resource).to_owned(), (*verbs).to_owned())
    };
    let mut all: Vec<_> = rows.concat().iter().map(own).collect();
    all.sort();
    all
}

/// Kind, namespace and name of every role that the chart makes.
fn roles(objects: &[Value]) -> Vec<[&str; 3]> {
    let roles = objects.iter().filter(|o| o["kind"].as_str().unwrap().ends_with("Role"));
    let mut all: Vec<_> = roles
        .map(|o| [&o["kind"], &o["metadata"]["namespace"], &o["metadata"]["name"]])
        .map(|names| names.map(|name| name.as_str().unwrap_or("")))
        .collect();
    all.sort_unstable();
    all
}

#[test]
fn the_controller_may_do_exactly_what_is_in_this_table() {
    if !helm_is_here() {
        return;
    }
    let cluster = "preview-system:shop-mayfly";
    let objects = rendered(MINIMAL, "");
    assert_eq!(roles(&objects), [["ClusterRole", "", cluster]]);
    let role = one(&objects, "ClusterRole", cluster);
    assert_eq!(grants(role), expected(&[&EVERYWHERE, &BY_INGRESS]));

    let issuer = "config: {cluster: {kubernetes: {tls: {cluster_issuer: letsencrypt}}}}";
    let objects = rendered(MINIMAL, issuer);
    assert_eq!(roles(&objects), [["ClusterRole", "", cluster]]);
    let role = one(&objects, "ClusterRole", cluster);
    assert_eq!(grants(role), expected(&[&EVERYWHERE, &BY_INGRESS, &BY_ISSUER]));

    let objects = rendered(MINIMAL, CHARTED);
    let role = one(&objects, "ClusterRole", cluster);
    assert_eq!(grants(role), expected(&[&EVERYWHERE, &BY_INGRESS, &BY_CHARTS]));

    let objects = rendered(GATEWAY, "");
    let gateway = "preview-system-shop-mayfly-gateway";
    assert_eq!(roles(&objects), [["ClusterRole", "", cluster], ["Role", "gateways", gateway]]);
    let role = one(&objects, "ClusterRole", cluster);
    assert_eq!(grants(role), expected(&[&EVERYWHERE, &BY_GATEWAY]));
    let named = [("gateway.networking.k8s.io", "gateways=public", "get")];
    assert_eq!(grants(one(&objects, "Role", gateway)), expected(&[&named]));

    let objects = rendered(FULL, "");
    let tls = "preview-system-shop-mayfly-tls";
    assert_eq!(roles(&objects), [["ClusterRole", "", cluster], ["Role", "certificates", tls]]);
    let named = [("", "secrets=wildcard-tls", "get")];
    assert_eq!(grants(one(&objects, "Role", tls)), expected(&[&named]));
}

#[test]
fn of_the_template_namespace_only_the_secrets_that_are_copied_may_be_read() {
    if !helm_is_here() {
        return;
    }
    let cluster = "preview-system:shop-mayfly";
    let copied = "
config:
  cluster: {kubernetes: {template_namespace: templates, image_pull_secret: login}}
  repositories:
    - name: acme/shop
      workload:
        secrets: [{secret: shop, keys: {A: a}}, {secret: mail, keys: {B: b}}]
        external_secrets: [{store: vault, keys: {C: {key: c}}}]
    - name: acme/docs
      workload: {secrets: [{secret: shop, keys: {A: a}}]}
";
    let objects = rendered(MINIMAL, copied);
    let copies = "preview-system-shop-mayfly-copies";
    assert_eq!(roles(&objects), [["ClusterRole", "", cluster], ["Role", "templates", copies]]);
    let named = [("", "secrets=login mail shop", "get")];
    assert_eq!(grants(one(&objects, "Role", copies)), expected(&[&named]));
    let role = one(&objects, "ClusterRole", cluster);
    assert_eq!(grants(role), expected(&[&EVERYWHERE, &BY_INGRESS, &BY_STORE]));
    let unnamed = copied.replace("template_namespace: templates", "timeout: 9s");
    assert_eq!(roles(&rendered(MINIMAL, &unnamed)), [["ClusterRole", "", cluster]]);
}

#[test]
fn nothing_that_would_widen_a_right_is_granted_anywhere() {
    if !helm_is_here() {
        return;
    }
    for file in [MINIMAL, FULL, GATEWAY] {
        for role in rendered(file, "") {
            if !role["kind"].as_str().unwrap().ends_with("Role") {
                continue;
            }
            for (group, resource, verbs) in grants(&role) {
                let all = [&*group, &*resource, &*verbs].join(" ");
                for banned in
                    ["*", "escalate", "bind", "impersonate", "nodes", "exec", "rbac", "token"]
                {
                    assert!(!all.contains(banned), "{file}: {all}");
                }
                let reads = ["get", "list", "watch"].iter().any(|verb| verbs.contains(verb));
                assert!(resource != "secrets" || !reads, "{file}: {all}");
            }
        }
    }
}

#[test]
fn every_right_is_given_to_the_controllers_account_and_to_no_other() {
    if !helm_is_here() {
        return;
    }
    for file in [MINIMAL, FULL, GATEWAY] {
        let objects = rendered(file, "");
        let mut bound = Vec::new();
        for binding in
            objects.iter().filter(|o| o["kind"].as_str().unwrap().ends_with("RoleBinding"))
        {
            let [subject] = list(&binding["subjects"]) else { panic!("{binding}") };
            assert_eq!(subject["kind"], "ServiceAccount");
            assert_eq!(subject["name"], "shop-mayfly");
            assert_eq!(subject["namespace"], "preview-system");
            let role = &binding["roleRef"];
            let names = [&role["kind"], &binding["metadata"]["namespace"], &role["name"]];
            bound.push(names.map(|name| name.as_str().unwrap_or("")));
        }
        bound.sort_unstable();
        assert_eq!(bound, roles(&objects), "{file}");
    }
    let objects = rendered(FULL, "rbac: {create: false}");
    assert!(roles(&objects).is_empty(), "rights can be left to the cluster's owner");
}

#[test]
fn only_the_controllers_pod_is_given_a_token_of_the_api_server() {
    if !helm_is_here() {
        return;
    }
    let objects = rendered(FULL, "");
    let account = one(&objects, "ServiceAccount", "shop-mayfly");
    assert_eq!(account["automountServiceAccountToken"], false);
    for (name, pod) in pods(&objects) {
        assert_eq!(pod["automountServiceAccountToken"], name == "shop-mayfly", "{name}");
        if name != "shop-mayfly" {
            assert!(pod.get("serviceAccountName").is_none(), "{name} runs as the controller");
        }
    }
}
