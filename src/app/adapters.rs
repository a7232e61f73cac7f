//! The adapters of where previews run and how their names resolve, as the configuration chooses them.

use std::sync::Arc;

use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;

use super::{StartError, names};
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::cluster::kubernetes::KubernetesCluster;
use crate::cluster::local::{LocalCluster, LocalConfig};
use crate::config::{ClusterConfig, Config, LocalClusterConfig};
use crate::dns::Dns;
use crate::dns::embedded::EmbeddedDns;
use crate::fault::Fault;
use crate::preview::PreviewName;

/// The two seams to the place, and what has to be stopped in the end.
pub(super) struct Places {
    pub(super) cluster: Arc<dyn Cluster>,
    pub(super) dns: Arc<dyn Dns>,
    /// The DNS server, where it is ours.
    pub(super) embedded: Option<Arc<EmbeddedDns>>,
    /// The local cluster, whose routes a proxy of ours serves.
    pub(super) local: Option<LocalClusterConfig>,
}

pub(super) async fn places(
    config: &Config,
    clock: Arc<dyn Clock>,
    changes: Sender<PreviewName>,
    stop: CancellationToken,
) -> Result<Places, StartError> {
    let local = match &config.cluster {
        ClusterConfig::Local(local) => Some(local.clone()),
        ClusterConfig::Kubernetes(_) => None,
    };
    if let Some(local) = &local {
        std::fs::create_dir_all(&local.data_dir).map_err(|error| {
            let doing = format!("making cluster.local.data_dir {}", local.data_dir.display());
            Fault::permanent(doing, error)
        })?;
    }
    // The zone before the cluster: a second controller over the same data is turned away here,
    // before it touches anything.
    let (dns, embedded) = names::start(
        config.dns.clone(),
        config.site.suffix.clone(),
        config.instance.clone(),
        clock.clone(),
        None,
    )?;
    let cluster: Arc<dyn Cluster> = match &config.cluster {
        ClusterConfig::Local(local) => {
            let local = LocalConfig {
                data_dir: local.data_dir.clone(),
                suffix: config.site.suffix.clone(),
                instance: config.instance.clone(),
                grace: local.grace,
            };
            Arc::new(LocalCluster::new(local, changes)?)
        }
        ClusterConfig::Kubernetes(kubernetes) => {
            Arc::new(KubernetesCluster::connect(kubernetes.clone(), clock, changes, stop).await?)
        }
    };
    Ok(Places { cluster, dns, embedded, local })
}
