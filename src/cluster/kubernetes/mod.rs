//! Previews in a Kubernetes cluster.
//!
//! Every object is applied server-side as one field manager, under a deadline, into a namespace that
//! carries our stamp; the namespace's fences stand before any pod. Refuses to touch a namespace
//! without our stamp, to adopt one that is there already, and to delete anything but the very object
//! (by uid) that it has looked at.

mod calls;
mod certificate;
mod chart;
pub mod config;
mod drift;
mod ensure;
mod entry;
mod fences;
mod fresh;
mod health;
mod jobs;
mod kinds;
mod look;
mod marks;
mod migrate;
mod patience;
mod pods;
mod pull;
mod release;
mod rollout;
mod route;
mod secrets;
mod services;
mod show;
mod version;
mod watch;

use std::sync::Arc;

use async_trait::async_trait;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;

use self::calls::Calls;
use self::config::KubernetesConfig;
use self::ensure::Retired;
use self::entry::Entrance;
use self::fresh::Fresh;
use self::kinds::Kind;
use self::patience::Patience;
use self::version::Version;
use super::{Cluster, ClusterSeen};
use crate::clock::Clock;
use crate::fault::{Disposition, Fault, Progress};
use crate::preview::{PreviewName, Revision, Seen, Stamp};
use crate::workload::{DatabaseUrls, Shape, WorkloadOrder};

/// Runs previews as objects of a cluster.
pub struct KubernetesCluster {
    config: KubernetesConfig,
    calls: Calls,
    clock: Arc<dyn Clock>,
    patience: Patience,
    fresh: Fresh,
    entrance: Entrance,
    version: Version,
}

impl KubernetesCluster {
    /// Prepares the client. Asks the API server nothing yet: a cluster that is down is no reason not to
    /// start.
    pub async fn connect(config: KubernetesConfig, clock: Arc<dyn Clock>) -> Result<Self, Fault> {
        const DOING: &str = "preparing the Kubernetes client";
        let fail = |why: String| {
            let cure = "set cluster.kubernetes.kubeconfig, KUBECONFIG, or run in a pod";
            Fault::permanent(DOING, format!("{why}; {cure}"))
        };
        let client = match &config.kubeconfig {
            Some(path) => {
                let read = Kubeconfig::read_from(path).map_err(|error| fail(error.to_string()))?;
                let options = KubeConfigOptions::default();
                Config::from_custom_kubeconfig(read, &options)
                    .await
                    .map_err(|error| fail(error.to_string()))?
            }
            None => Config::infer().await.map_err(|error| fail(error.to_string()))?,
        };
        let client = Client::try_from(client).map_err(|error| fail(error.to_string()))?;
        let calls = Calls::new(client, config.timeout);
        let (patience, fresh) = (Patience::default(), Fresh::default());
        let (entrance, version) = (Entrance::default(), Version::default());
        Ok(Self { config, calls, clock, patience, fresh, entrance, version })
    }

    /// Begins to send names to `changes` when a look at them is due, until told to stop. Must be called
    /// within a Tokio runtime.
    pub fn watch(&self, changes: &Sender<PreviewName>, stop: &CancellationToken) {
        watch::start(&self.calls, &self.config, changes, stop);
    }

    /// Sets annotations of the preview's route, or takes those away that have no value. A route that is
    /// not there has none.
    pub async fn annotate_route(
        &self,
        name: &PreviewName,
        annotations: &[(&str, Option<&str>)],
    ) -> Result<(), Fault> {
        let doing = format!("annotating the route of {name}");
        let wanted: serde_json::Map<_, _> =
            annotations.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        for live in self.live_routes(&doing, name).await? {
            if annotations.iter().all(|(key, value)| marks::annotation(&live, key) == *value) {
                continue;
            }
            // Of this very route: another one of its name is not meant.
            let (called, uid) = (&live["metadata"]["name"], &live["metadata"]["uid"]);
            let object = json!({
                "metadata": { "name": called, "uid": uid, "annotations": wanted },
            });
            let kind = route::kind(&self.config);
            self.calls.merge(&doing, kind, Some(&name.namespace()), &object).await?;
        }
        Ok(())
    }

    /// Whether the preview's routes have all of these annotations; `None` where no route of ours is.
    pub async fn is_route_annotated(
        &self,
        name: &PreviewName,
        annotations: &[(&str, &str)],
    ) -> Result<Option<bool>, Fault> {
        let doing = format!("reading the annotations of the route of {name}");
        let live = match self.live_routes(&doing, name).await {
            Err(fault) if fault.disposition == Disposition::NotOurs => Vec::new(),
            live => live?,
        };
        let has = |live: &Value| {
            annotations.iter().all(|(key, value)| marks::annotation(live, key) == Some(*value))
        };
        Ok((!live.is_empty()).then(|| live.iter().all(has)))
    }

    /// The routes that are there, the preview's own last; a fault where the namespace is not ours.
    async fn live_routes(&self, doing: &str, name: &PreviewName) -> Result<Vec<Value>, Fault> {
        let (kind, here) = (route::kind(&self.config), name.namespace());
        let found = self.calls.get(doing, Kind::Namespace, None, &here).await?;
        match marks::stand(found.as_ref(), &self.stamp(name)) {
            Seen::Absent => return Ok(Vec::new()),
            Seen::Foreign(whose) => return Err(Fault::not_ours(doing, whose)),
            _ => {}
        }
        let owned = format!("{}={here}", marks::PREVIEW);
        let mut all = self.calls.list(doing, kind, Some(&here), &owned).await?;
        all.sort_by_key(|it| it["metadata"]["name"] == route::WEB);
        Ok(all)
    }

    fn stamp(&self, name: &PreviewName) -> Stamp {
        Stamp::new(&self.config.instance, name)
    }

    fn now_milliseconds(&self) -> i64 {
        self.clock.now().timestamp_millis()
    }

    /// Reads the namespace; a fault unless it is ours and stays.
    async fn enter(&self, name: &PreviewName, doing: &str) -> Result<Value, Fault> {
        let found = self.calls.get(doing, Kind::Namespace, None, &name.namespace()).await?;
        match (marks::stand(found.as_ref(), &self.stamp(name)), found) {
            (Seen::Present(()), Some(namespace)) => Ok(namespace),
            (Seen::Foreign(whose), _) => Err(Fault::not_ours(doing, whose)),
            (Seen::Leaving(_), _) => Err(Fault::transient(doing, "its namespace is being removed")),
            _ => Err(Fault::transient(doing, "its namespace is not there")),
        }
    }
}

#[async_trait]
impl Cluster for KubernetesCluster {
    async fn observe(&self, name: &PreviewName, shape: &Shape) -> ClusterSeen {
        let seen = self.look(name, shape).await;
        seen.unwrap_or_else(|fault| ClusterSeen::unknown(&fault.to_string()))
    }

    async fn ensure_namespace(
        &self,
        name: &PreviewName,
        shape: &Shape,
        urls: &DatabaseUrls,
    ) -> Result<(), Fault> {
        self.fence(name, shape, urls).await
    }

    async fn ensure_migration(
        &self,
        name: &PreviewName,
        order: &WorkloadOrder,
    ) -> Result<Progress, Fault> {
        self.migrate(name, order).await
    }

    async fn ensure_workload(
        &self,
        name: &PreviewName,
        order: &WorkloadOrder,
    ) -> Result<(), Fault> {
        self.run(name, order).await
    }

    async fn ensure_route(
        &self,
        name: &PreviewName,
        shape: &Shape,
        revision: &Revision,
    ) -> Result<(), Fault> {
        self.lead(name, shape, revision).await
    }

    async fn remove_others(
        &self,
        name: &PreviewName,
        shape: &Shape,
        revision: &Revision,
    ) -> Result<(), Fault> {
        let doing = format!("retiring what {name} served before");
        let here = name.namespace();
        self.enter(name, &doing).await?;
        if shape.chart.is_some() {
            return self.retire(&doing, &here, &[], shape).await.map(drop);
        }
        match self.retire(&doing, &here, &[revision], shape).await? {
            Retired { sees_release: true } => self.withdraw(&doing, &here).await,
            Retired { sees_release: false } => Ok(()),
        }
    }

    async fn is_alone(&self, name: &PreviewName, revision: &Revision) -> Result<bool, Fault> {
        let doing = format!("looking for what {name} ran before");
        let (here, labels) = (name.namespace(), marks::REVISION);
        let (pods, of_chart) = tokio::try_join!(
            self.calls.list(&doing, Kind::Pod, Some(&here), labels),
            self.calls.list(&doing, Kind::Pod, Some(&here), release::OF_RELEASE),
        )?;
        let revision = revision.to_string();
        let is_of_it = |pod: &Value| marks::annotation(pod, labels) == Some(&revision);
        Ok(pods.iter().all(|pod| marks::label(pod, labels) == Some(&revision))
            && of_chart.iter().all(is_of_it))
    }

    async fn remove_route(&self, name: &PreviewName) -> Result<(), Fault> {
        let doing = format!("removing the route of {name}");
        let (kind, here) = (route::kind(&self.config), name.namespace());
        for route in self.live_routes(&doing, name).await? {
            self.calls.delete(&doing, kind, Some(&here), &route).await?;
        }
        Ok(())
    }

    async fn remove_namespace(&self, name: &PreviewName) -> Result<(), Fault> {
        let doing = format!("removing namespace {name}");
        self.fresh.forget(name);
        let found = self.calls.get(&doing, Kind::Namespace, None, &name.namespace()).await?;
        match (marks::stand(found.as_ref(), &self.stamp(name)), found) {
            (Seen::Present(()), Some(namespace)) => {
                self.calls.delete(&doing, Kind::Namespace, None, &namespace).await
            }
            (Seen::Foreign(whose), _) => Err(Fault::not_ours(doing, whose)),
            // On its way out already, which nobody can hurry.
            _ => Ok(()),
        }
    }

    async fn kubernetes(&self) -> Seen<String> {
        self.version.get(&self.calls, self.now_milliseconds()).await
    }

    async fn owned(&self) -> Result<Vec<PreviewName>, Fault> {
        let doing = "listing Mayfly's namespaces";
        let labels = marks::of_instance(&self.config.instance);
        let all = self.calls.list(doing, Kind::Namespace, None, &labels).await?;
        let mut owned: Vec<_> = all
            .iter()
            .filter_map(|namespace| {
                let name = PreviewName::parse(namespace["metadata"]["name"].as_str()?)?;
                (!marks::stand(Some(namespace), &self.stamp(&name)).is_foreign()).then_some(name)
            })
            .collect();
        owned.sort();
        Ok(owned)
    }
}
