//! Mayfly as its chart installs it: two replicas from its image, secrets made beforehand, behind the
//! ingress, with its own network policy and admission policy.

use serde_json::{Value, json};

use super::cluster::Cluster;
use super::stage::{CHARTED, HOST, SUFFIX, SUITE, Servers};
use super::{private, zone};

/// The controller's namespace, and the name of its release.
pub const RELEASE: &str = "mayfly";

/// Where the login for images is that previews get a copy of.
const TEMPLATES: &str = "templates";

/// How soon previews of `acme/docs` expire.
const SHORT_TTL: &str = "60s";

/// What the webhooks are signed with.
pub const WEBHOOK_SECRET: &str = "a secret of the node's test";

/// How visitors come to previews.
#[derive(Clone, Copy)]
pub enum Way {
    Ingress,
    Gateway,
}

/// What is installed: repository and digest of Mayfly's image, and the shop's image.
pub struct Images {
    pub mayfly: (String, String),
    pub shop: String,
    /// The team's chart, and its digest.
    pub chart: (String, String),
}

/// A repository that is deployed by a chart of its own, out of a registry.
fn charted(images: &Images) -> Value {
    let (chart, digest) = &images.chart;
    json!({
        "name": CHARTED,
        "prefix": "chart",
        "workload": {
            "image": images.shop,
            "probe_path": "/healthz",
            "cpu_millicores": 100,
            "memory_mebibytes": 64,
            "chart": {
                "service": { "name": "shop", "port": 80 },
                "quota": { "pods": 6, "cpu_millicores": 600, "memory_mebibytes": 384 },
                "helm": {
                    "oci": chart, "digest": digest, "plain_http": true, "release": "shop",
                    "values": {
                        "replicaCount": 1,
                        "ingress": { "enabled": false },
                        "image": {
                            "repository": "{{ mayfly.image.repository }}",
                            "tag": "{{ mayfly.sha }}@{{ mayfly.image.digest }}",
                        },
                        "env": {
                            "BIND_ADDRESS": "0.0.0.0", "PORT": "8080",
                            "COMMIT_SHA": "{{ mayfly.sha }}", "PR_NUMBER": "{{ mayfly.pr }}",
                        },
                    },
                },
            },
        },
        "seed": { "directories": ["/etc/mayfly/seeds/shop"] },
        "policy": { "inactivity_ttl": "1d", "max_life": "7d" },
    })
}

/// A repository of two programs, whose images are in a private registry.
fn suite(servers: &Servers) -> Value {
    json!({
        "name": SUITE,
        "prefix": "suite",
        "workload": {
            "image": format!("{}/acme/suite:{{{{ sha }}}}", servers.private.address),
            "env": { "BIND_ADDRESS": "0.0.0.0" },
            "probe_path": "/healthz",
            "cpu_millicores": 100,
            "memory_mebibytes": 64,
            "needs": ["api"],
            "components": [{
                "name": "api",
                "public": true,
                "own_database": true,
                "image": format!("{}/acme/suite:{{{{ sha }}}}", servers.private.address),
                "probe_path": "/healthz",
                "cpu_millicores": 100,
                "memory_mebibytes": 64,
            }],
        },
        "seed": { "directories": ["/etc/mayfly/seeds/shop"] },
        "policy": { "inactivity_ttl": "1d", "max_life": "7d" },
    })
}

/// The image of a commit of `acme/docs`, or of all of them.
pub fn docs_image(cluster: &Cluster, tag: &str) -> String {
    format!("{}/acme/docs:{tag}", cluster.registry)
}

/// Installs it, waits until every replica is ready, and asks its own test.
pub async fn install(cluster: &Cluster, servers: &Servers, images: &Images) {
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": { "name": RELEASE,
                      "labels": { "pod-security.kubernetes.io/enforce": "restricted" } },
    });
    let templates = json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": TEMPLATES },
    });
    cluster.apply(&[namespace, templates]).await;
    // One for the kubelet, one for Mayfly, which asks what a tag names.
    let login = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
        "metadata": { "name": "registry", "namespace": TEMPLATES },
        "stringData": { ".dockerconfigjson": servers.private.login() },
    });
    let password = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": { "name": "registry", "namespace": RELEASE },
        "stringData": { "password": private::PASSWORD },
    });
    cluster.apply(&[login, password]).await;
    let seed = |file| std::fs::read_to_string(format!("seed-data/shop/{file}")).unwrap();
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": { "name": "mayfly", "namespace": RELEASE },
        "stringData": {
            "ledger-url": servers.ledger.url("mayfly"),
            "databases-admin-url": servers.admin_url,
            "github-token": servers.github.token(),
            "github-webhook-secret": WEBHOOK_SECRET,
            "dns-tsig-key": zone::SECRET,
        },
    });
    let seeds = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "shop-seed", "namespace": RELEASE },
        "data": { "1_schema.sql": seed("migrations/001_products.sql"),
                  "2_rows.sql": seed("seed/001_products.sql") },
    });
    cluster.apply(&[secret, seeds]).await;
    bring(cluster, "install", &values(cluster, servers, images, Way::Ingress)).await;
    cluster.helm(RELEASE, &["test", RELEASE]).await;
}

/// The same installation, whose previews are behind the Gateway from now on.
pub async fn move_to_the_gateway(cluster: &Cluster, servers: &Servers, images: &Images) {
    bring(cluster, "upgrade", &values(cluster, servers, images, Way::Gateway)).await;
}

/// Installs or upgrades, and waits until every replica is ready.
async fn bring(cluster: &Cluster, verb: &str, values: &Value) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), values.to_string()).unwrap();
    let values = file.path().to_str().unwrap();
    let what = [verb, RELEASE, "charts/mayfly", "--values", values];
    let wait = ["--wait", "--timeout", "180s"];
    cluster.helm(RELEASE, &[&what[..], &wait[..]].concat()).await;
}

/// Takes it away again, with its namespace.
pub async fn uninstall(cluster: &Cluster) {
    cluster.helm(RELEASE, &["uninstall", RELEASE, "--wait"]).await;
    cluster.kubectl(&["delete", "namespace", RELEASE, TEMPLATES, "--timeout=120s"]).await;
}

fn values(cluster: &Cluster, servers: &Servers, images: &Images, way: Way) -> Value {
    let (repository, digest) = &images.mayfly;
    let shop = &images.shop;
    let machine = format!("{}/32", cluster.machine_ip);
    let repository_of = |name: &str, prefix: Option<&str>, image: &str, ttl: &str| {
        let mut repository = json!({
            "name": name,
            "workload": {
                "image": image,
                "env": { "BIND_ADDRESS": "0.0.0.0" },
                "probe_path": "/healthz",
                "cpu_millicores": 200,
                "memory_mebibytes": 64,
            },
            "seed": { "directories": ["/etc/mayfly/seeds/shop"] },
            "policy": { "inactivity_ttl": ttl, "max_life": "7d", "warn_before": "2s" },
        });
        if let Some(prefix) = prefix {
            repository["prefix"] = json!(prefix);
        }
        repository
    };
    let to_machine = |ports: &[u16]| {
        let ports: Vec<_> = ports.iter().map(|port| json!({ "port": port })).collect();
        json!({ "to": [{ "ipBlock": { "cidr": machine } }], "ports": ports })
    };
    let mut kubernetes = json!({
        "template_namespace": TEMPLATES,
        "image_pull_secret": "registry",
        "network": {
            "database": [{ "cidr": machine, "port": servers.previews.address().port() }],
            "forbidden": ["10.0.0.0/8"],
        },
    });
    match way {
        Way::Ingress => kubernetes["ingress"] = json!({ "class": "traefik" }),
        Way::Gateway => {
            kubernetes["gateway"] = json!({ "namespace": "ingress", "name": "shared" });
        }
    }
    let node = format!("{}/32", cluster.node_ip);
    let registry = cluster.registry.rsplit_once(':').map_or(80, |(_, port)| port.parse().unwrap());
    let to = |cidr: &str, port: u16| json!({ "to": [{ "ipBlock": { "cidr": cidr } }], "ports": [{ "port": port }] });
    let dns = servers.zone.address.port();
    let databases = servers.previews.address().port();
    json!({
        "image": { "repository": repository, "digest": digest },
        "replicas": 2,
        "logLevel": "info,sqlx=warn",
        "preStopSleepSeconds": 1,
        "terminationGracePeriodSeconds": 30,
        "config": {
            "previews": { "suffix": SUFFIX, "port": 80 },
            "github": {
                "api_url": servers.github.api_url(),
                "limits": { "points_per_minute": 100_000, "writes_per_minute": 10_000,
                            "writes_per_hour": 100_000 },
            },
            "cluster": { "kubernetes": kubernetes },
            "dns": { "rfc2136": {
                "server": servers.zone.address, "zone": SUFFIX,
                "key_name": zone::KEY, "secret_file": "/etc/mayfly/secrets/dns-tsig-key",
                "target": cluster.node_ip, "ttl_seconds": 5,
                "servers": [servers.zone.address], "resolvers": [servers.zone.address],
            } },
            "registries": [
                {
                    "host": cluster.registry, "insecure": true,
                    "addresses": [format!("{}/32", cluster.node_ip)],
                },
                {
                    "host": servers.private.address.to_string(), "insecure": true,
                    "addresses": [machine], "username": private::USER,
                    "password_file": "/etc/mayfly/registry/password",
                },
            ],
            "tools": { "helm": "/usr/local/bin/helm" },
            // A replica that is killed is soon replaced.
            "reconcile": { "lease": "20s", "pass_deadline": "15s" },
            "repositories": [
                repository_of("acme/shop", None, shop, "1d"),
                repository_of("acme/docs", Some("docs"), &docs_image(cluster, "{{ sha }}"), SHORT_TTL),
                charted(images),
                suite(servers),
            ],
        },
        "secrets": { "dnsTsigKey": { "existingSecret": "mayfly" } },
        "seeds": [{ "name": "shop", "configMap": "shop-seed" }],
        "extraVolumes": [{ "name": "registry", "secret": { "secretName": "registry" } }],
        "extraVolumeMounts": [{ "name": "registry", "mountPath": "/etc/mayfly/registry",
                                "readOnly": true }],
        "ingress": { "enabled": true, "className": "traefik", "host": HOST },
        "networkPolicy": { "egress": {
            // The service's port, and the API server's own.
            "apiServer": { "ports": [{ "port": 443 }, { "port": servers.api_port }] },
            "postgres": to_machine(&[servers.ledger.address().port(), databases]),
            "zone": { "to": [{ "ipBlock": { "cidr": machine } }],
                      "ports": [{ "port": dns }, { "port": dns, "protocol": "UDP" }] },
            "forge": to_machine(&[servers.github_port]),
            "previews": to(&node, 80),
            // The node's own, and the private one.
            "registries": { "to": [{ "ipBlock": { "cidr": node } }, { "ipBlock": { "cidr": machine } }],
                            "ports": [{ "port": registry },
                                      { "port": servers.private.address.port() }] },
        } },
    })
}
