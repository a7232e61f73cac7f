//! The objects: fenced pods, two replicas that are never all away, and what is behind which flag.

use serde_json::{Value, json};

use super::{CHART, FULL, GATEWAY, MINIMAL, controller, helm_is_here, list, one, pods, rendered};

fn kinds(objects: &[Value]) -> Vec<&str> {
    let mut kinds: Vec<_> = objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    kinds.sort_unstable();
    kinds
}

#[test]
fn every_pod_keeps_to_pod_security_restricted() {
    if !helm_is_here() {
        return;
    }
    for file in [MINIMAL, FULL, GATEWAY] {
        let objects = rendered(file, "");
        let pods = pods(&objects);
        assert_eq!(pods.len(), 2, "the controller and helm test");
        for (name, pod) in pods {
            let security = &pod["securityContext"];
            assert_eq!(security["runAsNonRoot"], true, "{name}");
            assert_eq!(security["runAsUser"], 65532, "{name}");
            assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault", "{name}");
            for host in ["hostNetwork", "hostPID", "hostIPC"] {
                assert!(pod.get(host).is_none(), "{name}: {host}");
            }
            let allowed = ["configMap", "projected", "persistentVolumeClaim", "image", "emptyDir"];
            for volume in list(&pod["volumes"]) {
                assert!(allowed.iter().any(|kind| volume.get(kind).is_some()), "{name}: {volume}");
            }
            let containers = list(&pod["initContainers"]).iter().chain(list(&pod["containers"]));
            for container in containers {
                let name = format!("{name}/{}", container["name"]);
                let security = &container["securityContext"];
                assert_eq!(security["allowPrivilegeEscalation"], false, "{name}");
                assert_eq!(security["readOnlyRootFilesystem"], true, "{name}");
                assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}), "{name}");
                assert!(security.get("privileged").is_none(), "{name}");
                assert!(container["resources"]["requests"]["memory"].is_string(), "{name}");
                assert!(container["resources"]["limits"]["memory"].is_string(), "{name}");
                for mount in list(&container["volumeMounts"]) {
                    let is_scratch = mount["name"] == "tmp" && mount["mountPath"] == "/tmp";
                    assert!(is_scratch || mount["readOnly"] == true, "{name}: {mount}");
                }
                for port in list(&container["ports"]) {
                    assert!(port.get("hostPort").is_none(), "{name}");
                }
            }
        }
    }
}

#[test]
fn two_replicas_are_the_default_and_one_is_always_there() {
    if !helm_is_here() {
        return;
    }
    let objects = rendered(MINIMAL, "");
    let deployment = &controller(&objects)["spec"];
    assert_eq!(deployment["replicas"], 2);
    assert_eq!(deployment["strategy"]["rollingUpdate"]["maxUnavailable"], 0);
    let budget = &one(&objects, "PodDisruptionBudget", "shop-mayfly")["spec"];
    assert_eq!(budget["minAvailable"], 1);
    assert_eq!(budget["selector"], deployment["selector"]);
    let spread = list(&deployment["template"]["spec"]["topologySpreadConstraints"]);
    let keys: Vec<_> = spread.iter().map(|s| s["topologyKey"].as_str().unwrap()).collect();
    assert_eq!(keys, ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]);
    assert!(spread.iter().all(|s| s["labelSelector"] == deployment["selector"]));
    let alone = rendered(MINIMAL, "replicas: 1");
    assert!(!kinds(&alone).contains(&"PodDisruptionBudget"), "it would only block a drain");
}

#[test]
fn migrations_run_before_the_new_version_serves() {
    if !helm_is_here() {
        return;
    }
    let objects = rendered(FULL, "");
    let pod = &controller(&objects)["spec"]["template"]["spec"];
    let [migrate] = list(&pod["initContainers"]) else { panic!("one init container") };
    let [serve] = list(&pod["containers"]) else { panic!("one container") };
    assert_eq!(migrate["args"], json!(["migrate"]));
    assert_eq!(serve["args"], json!(["serve"]));
    for same in ["image", "env", "volumeMounts"] {
        assert_eq!(migrate[same], serve[same], "both read one configuration: {same}");
    }
    let left = rendered(FULL, "migrate: {enabled: false}");
    let pod = &controller(&left)["spec"]["template"]["spec"];
    assert!(pod.get("initContainers").is_none());
}

#[test]
fn probes_and_services_lead_to_the_listeners_that_they_mean() {
    if !helm_is_here() {
        return;
    }
    let objects =
        rendered(MINIMAL, "config: {listen: '0.0.0.0:8000', operations_listen: '[::]:9000'}");
    let pod = &controller(&objects)["spec"]["template"];
    let container = &pod["spec"]["containers"][0];
    let ports = json!([
        {"name": "http", "containerPort": 8000},
        {"name": "operations", "containerPort": 9000},
    ]);
    assert_eq!(container["ports"], ports, "the configuration is the one place that says a port");
    let probes =
        [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")];
    for (probe, path) in probes {
        let asks = json!({"path": path, "port": "operations"});
        assert_eq!(container[probe]["httpGet"], asks, "{probe}");
    }
    let services = [("shop-mayfly", "http"), ("shop-mayfly-operations", "operations")];
    for (name, port) in services {
        let service = &one(&objects, "Service", name)["spec"];
        assert_eq!(service["ports"][0]["targetPort"], port);
        let labels = &pod["metadata"]["labels"];
        for (key, value) in service["selector"].as_object().unwrap() {
            assert_eq!(&labels[key], value, "{name}: {key}");
        }
    }
    let answers = &one(&objects, "Pod", "shop-mayfly-test")["spec"]["containers"][0]["args"];
    let urls = json!([
        "healthcheck",
        "--url=http://shop-mayfly-operations:9090/readyz",
        "--url=http://shop-mayfly:80/api/v1/openapi.json",
    ]);
    assert_eq!(answers, &urls, "helm test asks both, by the names of the Services");
}

#[test]
fn a_pod_that_stops_has_longer_than_a_pass_may_take() {
    if !helm_is_here() {
        return;
    }
    let objects = rendered(MINIMAL, "");
    let pod = &controller(&objects)["spec"]["template"]["spec"];
    let sleep = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
    let drain = mayfly::door::DRAIN.as_secs();
    let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    // reconcile.pass_deadline's default.
    assert!(grace > sleep + 45 + drain, "{grace} s");
}

#[test]
fn an_image_can_be_pinned_by_its_digest() {
    if !helm_is_here() {
        return;
    }
    let image = |objects: &[Value]| {
        let pod = &controller(objects)["spec"]["template"]["spec"];
        pod["containers"][0]["image"].as_str().unwrap().to_owned()
    };
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(image(&rendered(MINIMAL, "")), format!("registry.example.com/mayfly:{version}"));
    let tagged = rendered(MINIMAL, "image: {tag: v7}");
    assert_eq!(image(&tagged), "registry.example.com/mayfly:v7");
    let pinned = rendered(FULL, "image: {tag: v7}");
    let digest = format!("registry.example.com/team/mayfly@sha256:{}", "1".repeat(64));
    assert_eq!(image(&pinned), digest);
    for (name, pod) in pods(&pinned) {
        let all = list(&pod["initContainers"]).iter().chain(list(&pod["containers"]));
        assert!(all.into_iter().all(|c| c["image"] == digest.as_str()), "{name}");
    }
}

#[test]
fn another_configuration_makes_other_pods_and_the_same_one_does_not() {
    if !helm_is_here() {
        return;
    }
    let sum = |more: &str| {
        let objects = rendered(MINIMAL, more);
        let metadata = &controller(&objects)["spec"]["template"]["metadata"];
        metadata["annotations"]["checksum/config"].as_str().unwrap().to_owned()
    };
    assert_eq!(sum(""), sum("replicas: 3"));
    assert_ne!(sum(""), sum("config: {log_format: text}"));
}

#[test]
fn what_is_behind_a_flag_is_there_with_it_and_not_without() {
    if !helm_is_here() {
        return;
    }
    let always = ["ClusterRole", "ClusterRoleBinding", "ConfigMap", "Deployment", "NetworkPolicy"];
    let more = ["Pod", "PodDisruptionBudget", "Service", "Service", "ServiceAccount"];
    let policy = ["ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"];
    let minimal = [&always[..], &more, &policy].concat();
    assert_eq!(kinds(&rendered(MINIMAL, "")), minimal);
    let flags = [
        ("serviceMonitor: {enabled: true}", "ServiceMonitor"),
        ("alerts: {enabled: true}", "PrometheusRule"),
        ("dashboard: {enabled: true}", "ConfigMap"),
        ("ingress: {enabled: true, host: mayfly.example.com}", "Ingress"),
    ];
    for (flag, kind) in flags {
        let mut with = [&minimal[..], &[kind]].concat();
        with.sort_unstable();
        assert_eq!(kinds(&rendered(MINIMAL, flag)), with, "{flag}");
    }
    let flags = [
        ("admissionPolicy: {enabled: false}", "ValidatingAdmissionPolicy"),
        ("networkPolicy: {enabled: false}", "NetworkPolicy"),
        ("podDisruptionBudget: {enabled: false}", "PodDisruptionBudget"),
        ("serviceAccount: {create: false, name: default}", "ServiceAccount"),
    ];
    for (flag, kind) in flags {
        let its = |other: &str| other.strip_suffix("Binding").unwrap_or(other) == kind;
        let without: Vec<_> = minimal.iter().copied().filter(|other| !its(other)).collect();
        assert_eq!(kinds(&rendered(MINIMAL, flag)), without, "{flag}");
    }
}

#[test]
fn alerts_and_dashboard_are_the_files_as_they_are() {
    if !helm_is_here() {
        return;
    }
    let file = |name: &str| std::fs::read_to_string(format!("{CHART}/files/{name}")).unwrap();
    let objects = rendered(FULL, "");
    let alerts: Value = serde_saphyr::from_str(&file("alerts.yaml")).unwrap();
    assert_eq!(one(&objects, "PrometheusRule", "shop-mayfly")["spec"], alerts);
    let dashboard = one(&objects, "ConfigMap", "shop-mayfly-dashboard");
    assert_eq!(dashboard["metadata"]["labels"]["grafana_dashboard"], "1");
    let text = dashboard["data"]["mayfly.json"].as_str().unwrap();
    let [shown, written]: [Value; 2] =
        [text, &file("dashboard.json")].map(|text| serde_json::from_str(text).unwrap());
    assert_eq!(shown, written);
    let monitor = &one(&objects, "ServiceMonitor", "shop-mayfly")["spec"];
    let labels = &one(&objects, "Service", "shop-mayfly-operations")["metadata"]["labels"];
    for (key, value) in monitor["selector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(&labels[key], value, "the monitor finds the operations' Service");
    }
    let other = &one(&objects, "Service", "shop-mayfly")["metadata"]["labels"];
    assert!(other.get("app.kubernetes.io/component").is_none(), "and not the other one");
}

#[test]
fn the_network_is_shut_but_for_the_peers_that_are_named() {
    if !helm_is_here() {
        return;
    }
    let nobody = "networkPolicy: {ingress: {http: [], operations: []}}";
    let objects = rendered(MINIMAL, nobody);
    let policy = &one(&objects, "NetworkPolicy", "shop-mayfly")["spec"];
    assert_eq!(policy["policyTypes"], json!(["Ingress", "Egress"]));
    assert_eq!(policy["podSelector"], controller(&objects)["spec"]["selector"]);
    let [test] = list(&policy["ingress"]) else { panic!("helm test alone: {policy}") };
    let labels = &one(&objects, "Pod", "shop-mayfly-test")["metadata"]["labels"];
    for (key, value) in test["from"][0]["podSelector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(&labels[key], value);
    }
    let ports = |policy: &Value| {
        let rules = list(&policy["egress"]).iter().flat_map(|rule| list(&rule["ports"]));
        let mut ports: Vec<_> = rules.map(|port| port["port"].as_u64().unwrap()).collect();
        ports.sort_unstable();
        ports
    };
    assert_eq!(ports(policy), [53, 53, 80, 443, 443, 443, 443, 5432, 6443]);
    let full = rendered(FULL, "");
    let policy = &one(&full, "NetworkPolicy", "shop-mayfly")["spec"];
    assert_eq!(
        ports(policy),
        [53, 53, 80, 443, 443, 443, 5433, 6443],
        "a rule can be changed, and dropped"
    );
    for rule in list(&policy["ingress"]) {
        assert!(!list(&rule["from"]).is_empty(), "a rule without peers is for everybody: {rule}");
    }
}

#[test]
fn seeds_are_mounted_where_the_configuration_finds_them() {
    if !helm_is_here() {
        return;
    }
    let objects = rendered(FULL, "");
    let pod = &controller(&objects)["spec"]["template"]["spec"];
    let mounts = list(&pod["containers"][0]["volumeMounts"]);
    for (name, kind) in [("shop", "configMap"), ("docs", "image"), ("big", "persistentVolumeClaim")]
    {
        let volume = format!("seed-{name}");
        let mount = mounts.iter().find(|mount| mount["name"] == volume.as_str()).unwrap();
        assert_eq!(mount["mountPath"], format!("/etc/mayfly/seeds/{name}").as_str());
        let volumes = list(&pod["volumes"]);
        let volume = volumes.iter().find(|v| v["name"] == volume.as_str()).unwrap();
        assert!(volume.get(kind).is_some(), "{volume}");
    }
}
