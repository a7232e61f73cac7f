//! `cluster`: what runs previews. Exactly one of its sections.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::Deserialize;

use super::secrets::is_object_name;
use super::values::{absolute, fixed, time};
use super::{ClusterConfig, ConfigError, LocalClusterConfig};
use crate::address::{METADATA, PRIVATE, ranges};
use crate::cluster::kubernetes::config::{
    COMMIT_PLACEHOLDER, DatabasePeer, Entry, KubernetesConfig, Network, Peer, Tls,
};
use crate::preview::{PreviewName, Suffix};

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct ClusterPart {
    local: Option<LocalPart>,
    kubernetes: Option<KubernetesPart>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct LocalPart {
    data_dir: PathBuf,
    proxy_listen: SocketAddr,
    grace: Option<String>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct KubernetesPart {
    kubeconfig: Option<PathBuf>,
    timeout: Option<String>,
    progress_deadline: Option<String>,
    template_namespace: Option<String>,
    image_pull_secret: Option<String>,
    ingress: Option<IngressPart>,
    gateway: Option<GatewayPart>,
    #[serde(default)]
    tls: TlsPart,
    #[serde(default)]
    network: NetworkPart,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct IngressPart {
    class: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct GatewayPart {
    namespace: String,
    name: String,
    section: Option<String>,
}

#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, default)]
struct TlsPart {
    secret: Option<SecretPart>,
    cluster_issuer: Option<String>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct SecretPart {
    namespace: String,
    name: String,
}

#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, default)]
struct NetworkPart {
    ingress: Option<PeerPart>,
    dns: Option<PeerPart>,
    database: Vec<DatabasePart>,
    forbidden: Option<Vec<IpNet>>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct PeerPart {
    namespace: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct DatabasePart {
    cidr: Option<IpNet>,
    pods: Option<PeerPart>,
    #[serde(default = "postgres_port")]
    port: u16,
}

fn postgres_port() -> u16 {
    5432
}

pub(super) fn cluster(
    part: ClusterPart,
    instance: &str,
    suffix: &Suffix,
) -> Result<ClusterConfig, ConfigError> {
    match (part.local, part.kubernetes) {
        (Some(local), None) => Ok(ClusterConfig::Local(LocalClusterConfig {
            data_dir: absolute("cluster.local.data_dir", local.data_dir)?,
            proxy_listen: fixed("cluster.local.proxy_listen", local.proxy_listen)?,
            grace: time("cluster.local.grace", local.grace.as_deref(), "2s")?,
        })),
        (None, Some(kubernetes)) => {
            let config = kubernetes_config(kubernetes, instance, suffix)?;
            Ok(ClusterConfig::Kubernetes(Box::new(config)))
        }
        _ => Err(ConfigError::new("cluster", "needs exactly one section: local or kubernetes")),
    }
}

fn kubernetes_config(
    part: KubernetesPart,
    instance: &str,
    suffix: &Suffix,
) -> Result<KubernetesConfig, ConfigError> {
    // Instances are label values, which do not begin or end like this.
    if instance.starts_with('_') || instance.ends_with('_') {
        let why = "must begin and end with a letter or digit, to be a label in Kubernetes";
        return Err(ConfigError::new("instance", why));
    }
    let entry = match (part.ingress, part.gateway) {
        (Some(ingress), None) if ingress.class.is_empty() => {
            let why = "is empty; name an IngressClass of the cluster";
            return Err(ConfigError::new("cluster.kubernetes.ingress.class", why));
        }
        (Some(ingress), None) => {
            for (annotation, text) in &ingress.annotations {
                if text.replace(COMMIT_PLACEHOLDER, "").contains("{{") {
                    let why =
                        format!("{annotation}: knows only the placeholder {COMMIT_PLACEHOLDER}");
                    return Err(ConfigError::new("cluster.kubernetes.ingress.annotations", why));
                }
            }
            Entry::Ingress { class: ingress.class, annotations: ingress.annotations }
        }
        (None, Some(gateway)) => Entry::Gateway {
            namespace: gateway.namespace,
            name: gateway.name,
            section: gateway.section,
        },
        _ => {
            let why = "needs exactly one of ingress and gateway: how visitors come in";
            return Err(ConfigError::new("cluster.kubernetes", why));
        }
    };
    let tls = match (part.tls.secret, part.tls.cluster_issuer) {
        (None, None) => Tls::None,
        (Some(secret), None) => Tls::Secret { namespace: secret.namespace, name: secret.name },
        (None, Some(issuer)) => Tls::ClusterIssuer(issuer),
        (Some(_), Some(_)) => {
            let why = "has two certificates: choose secret or cluster_issuer";
            return Err(ConfigError::new("cluster.kubernetes.tls", why));
        }
    };
    if tls != Tls::None && matches!(entry, Entry::Gateway { .. }) {
        let why = "belongs to the Gateway's listener where cluster.kubernetes.gateway is set";
        return Err(ConfigError::new("cluster.kubernetes.tls", why));
    }
    let templates = part.template_namespace;
    // What a contributor's code could write to is nothing to copy from.
    if templates
        .as_deref()
        .is_some_and(|it| !is_object_name(it) || PreviewName::parse(it).is_some())
    {
        let why = "must be the name of a namespace, and not one that a preview may have";
        return Err(ConfigError::new("cluster.kubernetes.template_namespace", why));
    }
    let pull = part.image_pull_secret;
    if pull.as_deref().is_some_and(|it| !is_object_name(it)) {
        let why = "is no name of a Secret";
        return Err(ConfigError::new("cluster.kubernetes.image_pull_secret", why));
    }
    if pull.is_some() && templates.is_none() {
        let why = "is missing: image_pull_secret is copied out of it";
        return Err(ConfigError::new("cluster.kubernetes.template_namespace", why));
    }
    let progress = part.progress_deadline.as_deref();
    let progress = time("cluster.kubernetes.progress_deadline", progress, "5m")?;
    Ok(KubernetesConfig {
        kubeconfig: part
            .kubeconfig
            .map(|path| absolute("cluster.kubernetes.kubeconfig", path))
            .transpose()?,
        timeout: time("cluster.kubernetes.timeout", part.timeout.as_deref(), "10s")?,
        instance: instance.to_owned(),
        suffix: suffix.clone(),
        entry,
        tls,
        network: network(part.network)?,
        template_namespace: templates,
        image_pull_secret: pull,
        progress_deadline_seconds: u32::try_from(progress.as_secs()).unwrap_or(u32::MAX).max(1),
    })
}

fn network(part: NetworkPart) -> Result<Network, ConfigError> {
    if part.database.is_empty() {
        let why = "is empty; say where the previews' databases are, or no preview reaches its own";
        return Err(ConfigError::new("cluster.kubernetes.network.database", why));
    }
    let database = part.database.into_iter().enumerate().map(|(index, it)| {
        let port = it.port;
        let key = format!("cluster.kubernetes.network.database[{index}]");
        if port == 0 {
            return Err(ConfigError::new(&format!("{key}.port"), "port 0 leads nowhere"));
        }
        match (it.cidr, it.pods) {
            (Some(cidr), None) => Ok(DatabasePeer::Address { cidr: cidr.trunc(), port }),
            (None, Some(pods)) => Ok(DatabasePeer::Pods { peer: peer(pods), port }),
            _ => Err(ConfigError::new(&key, "needs exactly one of cidr and pods")),
        }
    });
    let mut forbidden = part.forbidden.unwrap_or_else(|| ranges(&PRIVATE));
    forbidden.extend(ranges(&METADATA));
    forbidden.iter_mut().for_each(|it| *it = it.trunc());
    forbidden.sort();
    forbidden.dedup();
    Ok(Network {
        ingress: part.ingress.map(peer),
        dns: part.dns.map_or_else(cluster_dns, peer),
        database: database.collect::<Result<_, _>>()?,
        forbidden,
    })
}

fn peer(part: PeerPart) -> Peer {
    Peer { namespace: part.namespace, labels: part.labels }
}

/// Where CoreDNS is in most clusters.
fn cluster_dns() -> Peer {
    let labels = [("k8s-app".to_owned(), "kube-dns".to_owned())];
    Peer { namespace: "kube-system".to_owned(), labels: labels.into() }
}
