//! Where the demo's previews run: as processes of this machine, or in a cluster.
//!
//! All that differs is here: a part of the configuration, who comes to the database server, where
//! visitors go, and what a witness finds. Refuses to know the story.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use ipnet::{IpNet, Ipv4Net};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};

use super::postgres::Guests;
use crate::workload::Image;

/// How long the API server may take to answer a witness.
const LOOK_TIMEOUT: Duration = Duration::from_secs(20);

/// Where previews run.
pub enum Place {
    /// Processes of this machine: the sample app.
    Machine(PathBuf),
    /// Pods of a cluster.
    Cluster(ClusterPlace),
}

/// A cluster, and how it and this machine know each other.
pub struct ClusterPlace {
    /// How to reach it; `KUBECONFIG` when `None`.
    pub kubeconfig: Option<PathBuf>,
    /// The sample app's image, pinned by digest.
    pub image: String,
    /// An address of this machine that pods reach: the database server listens there.
    pub postgres_host: IpAddr,
    /// The IngressClass.
    pub ingress_class: String,
    /// Where the ingress controller takes visitors, over plain HTTP.
    pub ingress: SocketAddr,
}

impl Place {
    /// An error where something is missing that the demo cannot make.
    pub fn check(&self) -> anyhow::Result<()> {
        if let Self::Machine(app) = self {
            ensure!(app.exists(), "the sample app is not at {}; run make demo", app.display());
        }
        Ok(())
    }

    /// Where visitors go: a port of this machine, or the ingress.
    pub fn entrance(&self, proxy: SocketAddr) -> SocketAddr {
        match self {
            Self::Machine(_) => proxy,
            Self::Cluster(cluster) => cluster.ingress,
        }
    }

    /// Who comes to the database server from elsewhere. Pods of anybody's cluster have any address; a
    /// password of 32 random bytes keeps the door.
    pub fn guests(&self) -> Option<Guests> {
        let Self::Cluster(cluster) = self else { return None };
        let everywhere = Ipv4Net::default();
        Some(Guests { address: cluster.postgres_host, network: IpNet::V4(everywhere) })
    }

    /// How soon a preview expires while you watch: pods take longer than processes.
    pub fn short_ttl(&self) -> &'static str {
        match self {
            // A slow machine takes seconds to migrate and to start.
            Self::Machine(_) => "15s",
            Self::Cluster(_) => "30s",
        }
    }

    /// How long a preview may take to get anywhere.
    pub fn patience(&self) -> Duration {
        match self {
            Self::Machine(_) => Duration::from_secs(60),
            Self::Cluster(_) => Duration::from_secs(180),
        }
    }

    /// The section `cluster` of the configuration.
    pub fn cluster(&self, data: &str, entrance: SocketAddr, database: SocketAddr) -> String {
        match self {
            Self::Machine(_) => {
                format!("  local:\n    data_dir: {data}\n    proxy_listen: {entrance}\n")
            }
            Self::Cluster(cluster) => {
                let kubeconfig = cluster.kubeconfig.as_deref().and_then(quoted);
                let kubeconfig = kubeconfig.map(|path| format!("    kubeconfig: {path}\n"));
                let range = IpNet::from(database.ip());
                format!(
                    "  kubernetes:\n{}    ingress: {{class: {}}}\n    network:\n      \
                     database: [{{cidr: {range}, port: {}}}]\n",
                    kubeconfig.unwrap_or_default(),
                    cluster.ingress_class,
                    database.port(),
                )
            }
        }
    }

    /// Where the image is, as the configuration's `registries`; pulled by the cluster, never asked.
    pub fn registries(&self) -> anyhow::Result<String> {
        match self {
            Self::Machine(_) => Ok("[]".to_owned()),
            Self::Cluster(cluster) => {
                let image = Image::parse(&cluster.image)?;
                Ok(format!("[{{host: '{}'}}]", image.name().registry()))
            }
        }
    }

    /// What to run, as lines of a repository's `workload`.
    pub fn workload(&self) -> anyhow::Result<String> {
        match self {
            Self::Machine(app) => {
                let app = quoted(&std::path::absolute(app)?).context("a path that is not text")?;
                let migrations = format!("      migrations: {{command: [{app}, migrate]}}\n");
                Ok(format!("      command: [{app}]\n{migrations}"))
            }
            Self::Cluster(cluster) => Ok(format!(
                "      image: {}\n      env: {{BIND_ADDRESS: 0.0.0.0}}\n      \
                 memory_mebibytes: 64\n      \
                 migrations: {{command: [/usr/local/bin/sample-shop, migrate]}}\n",
                cluster.image
            )),
        }
    }

    /// The component that the sample's page has its products from, likewise.
    pub fn components(&self) -> anyhow::Result<String> {
        let what = match self {
            Self::Machine(app) => {
                let app = quoted(&std::path::absolute(app)?).context("a path that is not text")?;
                format!("command: [{app}]")
            }
            Self::Cluster(_) => {
                "command: [/usr/local/bin/sample-shop], memory_mebibytes: 64".to_owned()
            }
        };
        Ok(format!(
            "      needs: [api]\n      components:\n        \
             - {{name: api, public: true, probe_path: /healthz, {what}}}\n"
        ))
    }

    /// Where names lead: the address of the entrance.
    pub fn target(&self) -> IpAddr {
        self.entrance((Ipv4Addr::LOCALHOST, 0).into()).ip()
    }

    /// What of these previews is still in the cluster, asked of its API server.
    pub async fn leftovers(&self, names: &[&str]) -> anyhow::Result<Vec<String>> {
        let Self::Cluster(cluster) = self else { return Ok(Vec::new()) };
        let look = async {
            let client = cluster.client().await?;
            let mut left = Vec::new();
            for name in names {
                let namespaces: Api<Namespace> = Api::all(client.clone());
                if namespaces.get_opt(name).await?.is_some() {
                    left.push(format!("namespace {name}"));
                }
                let pods: Api<Pod> = Api::namespaced(client.clone(), name);
                for pod in pods.list(&ListParams::default()).await? {
                    left.push(format!("pod {name}/{}", pod.metadata.name.unwrap_or_default()));
                }
            }
            Ok(left)
        };
        tokio::time::timeout(LOOK_TIMEOUT, look).await.context("the API server does not answer")?
    }
}

impl ClusterPlace {
    async fn client(&self) -> anyhow::Result<Client> {
        let config = match &self.kubeconfig {
            None => Config::infer().await?,
            Some(path) => {
                let read = Kubeconfig::read_from(path)?;
                Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?
            }
        };
        Ok(Client::try_from(config)?)
    }
}

/// JSON strings are YAML strings, whatever a path has in it.
pub(super) fn quoted(path: &Path) -> Option<String> {
    serde_json::to_string(path.to_str()?).ok()
}
