//! The adapters of where previews run and how their names resolve, as the configuration chooses them.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc::Sender;

use super::{StartError, names};
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::cluster::kubernetes::KubernetesCluster;
use crate::cluster::local::{LocalCluster, LocalConfig};
use crate::config::{ClusterConfig, Config, LocalClusterConfig};
use crate::dns::Dns;
use crate::dns::embedded::EmbeddedDns;
use crate::dns::external_dns::{CONTROLLER_ANNOTATIONS, Heed, RELEASED, RouteNote};
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
    /// The other one, which is to be watched.
    pub(super) watched: Option<Arc<KubernetesCluster>>,
}

pub(super) async fn places(
    config: &Config,
    clock: Arc<dyn Clock>,
    changes: Sender<PreviewName>,
) -> Result<Places, StartError> {
    let place = match &config.cluster {
        ClusterConfig::Local(local) => {
            std::fs::create_dir_all(&local.data_dir).map_err(|error| {
                let doing = format!("making cluster.local.data_dir {}", local.data_dir.display());
                Fault::permanent(doing, error)
            })?;
            Place::Local(local.clone())
        }
        ClusterConfig::Kubernetes(config) => {
            let cluster = KubernetesCluster::connect((**config).clone(), clock.clone()).await?;
            Place::Kubernetes(Arc::new(cluster))
        }
    };
    let notes: Option<Arc<dyn RouteNote>> = match &place {
        Place::Local(_) => None,
        Place::Kubernetes(cluster) => Some(Arc::new(RouteNotes(cluster.clone()))),
    };
    // The zone before the local cluster: a second controller over the same data is turned away here,
    // before it touches anything.
    let (dns, embedded) = names::start(
        config.dns.clone(),
        config.site.suffix.clone(),
        config.instance.clone(),
        clock,
        notes,
    )?;
    let (cluster, local, watched): (Arc<dyn Cluster>, _, _) = match place {
        Place::Local(local) => {
            let config = LocalConfig {
                data_dir: local.data_dir.clone(),
                suffix: config.site.suffix.clone(),
                instance: config.instance.clone(),
                grace: local.grace,
            };
            (Arc::new(LocalCluster::new(config, changes)?), Some(local), None)
        }
        Place::Kubernetes(cluster) => (cluster.clone(), None, Some(cluster)),
    };
    Ok(Places { cluster, dns, embedded, local, watched })
}

/// Where previews run.
enum Place {
    Local(LocalClusterConfig),
    Kubernetes(Arc<KubernetesCluster>),
}

/// What ExternalDNS reads, kept on the routes of a Kubernetes cluster.
pub struct RouteNotes(pub Arc<KubernetesCluster>);

#[async_trait]
impl RouteNote for RouteNotes {
    async fn set_released(&self, name: &PreviewName, released: bool) -> Result<(), Fault> {
        let value = released.then_some(RELEASED);
        self.0.annotate_route(name, &CONTROLLER_ANNOTATIONS.map(|key| (key, value))).await
    }

    async fn heed(&self, name: &PreviewName) -> Result<Heed, Fault> {
        let released = CONTROLLER_ANNOTATIONS.map(|key| (key, RELEASED));
        Ok(match self.0.is_route_annotated(name, &released).await? {
            None => Heed::Absent,
            Some(false) => Heed::Heeded,
            Some(true) => Heed::Released,
        })
    }
}
