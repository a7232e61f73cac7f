//! One look at a preview's objects.
//!
//! Changes nothing. What is not in a namespace of ours is not looked at.

use serde_json::Value;

use super::drift::difference;
use super::fences::{fences, namespace};
use super::health::{LogOf, is_patient, of_deployment, of_pods, of_service, unlike};
use super::kinds::Kind;
use super::marks::{self, ORDERED, REVISION, annotation, label};
use super::pull::with_login;
use super::route::{self, WEB, revision_of};
use super::{Calls, KubernetesCluster};
use crate::cluster::ClusterSeen;
use crate::fault::Fault;
use crate::preview::observed::{Health, NamespaceSeen, RouteSeen, WorkloadSeen};
use crate::preview::{PreviewName, Revision, Seen};
use crate::workload::{Shape, lines};

/// What is asked for in a look, for messages.
pub(super) const LOOKING: &str = "looking at the cluster";

impl KubernetesCluster {
    pub(super) async fn look(
        &self,
        name: &PreviewName,
        shape: &Shape,
    ) -> Result<ClusterSeen, Fault> {
        let here = name.namespace();
        let found = self.calls.get(LOOKING, Kind::Namespace, None, &here).await?;
        let stand = marks::stand(found.as_ref(), &self.stamp(name));
        let Some(live) = found.filter(|_| !stand.is_foreign()) else {
            let namespace = match stand {
                Seen::Foreign(whose) => Seen::Foreign(whose),
                _ => Seen::Absent,
            };
            let (migration, workload, route) = (Seen::Absent, Seen::Absent, Seen::Absent);
            return Ok(ClusterSeen { namespace, migration, workload, route });
        };
        if let Seen::Leaving(why) = stand {
            let route = self.look_at_route(&here).await?;
            let route = route.map_or(Seen::Absent, |_| Seen::Leaving(why.clone()));
            let (migration, workload) = (Seen::Leaving(why.clone()), Seen::Leaving(why.clone()));
            return Ok(ClusterSeen { namespace: Seen::Leaving(why), migration, workload, route });
        }
        let owned = format!("{}={here}", marks::PREVIEW);
        let secrets = async { Ok(self.wanted_version(shape).await) };
        let (fenced, migration, deployments, services, route, certificate, issued, secrets) = tokio::try_join!(
            self.is_fenced(name, shape, &live),
            self.look_at_migration(&here, shape),
            self.calls.list(LOOKING, Kind::Deployment, Some(&here), REVISION),
            self.calls.list(LOOKING, Kind::Service, Some(&here), &owned),
            self.look_at_route(&here),
            self.certificate(LOOKING),
            self.issuance(&here),
            secrets,
        )?;
        let route = route.map_or(Seen::Absent, |live| {
            if let Some(why) = marks::leaving(&live) {
                return Seen::Leaving(why);
            }
            let kind = route::kind(&self.config);
            let patient = self.patience.holds(name, kind, self.now_milliseconds());
            let revision = revision_of(&live).filter(|revision| {
                let wanted =
                    route::route(&self.config, name, shape, revision, certificate.as_ref());
                patient || difference(&live, &wanted, "").is_none()
            });
            let standing = issued.unwrap_or_else(|| route::standing(&self.config, &live));
            Seen::Present(RouteSeen { revision, standing })
        });
        let workload = match (&shape.chart, newest(&deployments)) {
            (Some(chart), _) => {
                self.look_at_release(name, (shape, chart), secrets.as_deref()).await?
            }
            (None, None) => Seen::Absent,
            (None, Some((revision, live))) => {
                let now = self.now_milliseconds();
                let patient = is_patient(live, now);
                let secrets = secrets.as_deref();
                let unlike = unlike(&self.config, name, &revision, shape, secrets, live);
                let health = match (unlike, of_service(&services, &revision)) {
                    (Some(path), _) if !patient => {
                        Health::Dead(format!("the configuration changed its {path}"))
                    }
                    (_, Some(why)) if patient => Health::Progressing(why),
                    (_, Some(why)) => Health::Dead(why),
                    _ => match self.health(&here, live).await? {
                        Health::Ready => Health::Ready,
                        other => self.external_complaint(name, shape).await?.unwrap_or(other),
                    },
                };
                let of_another =
                    |it: &&Value| label(it, REVISION) != Some(revision.to_string().as_str());
                let others = deployments.iter().chain(&services).any(|it| of_another(&it));
                Seen::Present(WorkloadSeen { revision, health, others })
            }
        };
        let namespace = Seen::Present(NamespaceSeen { fenced });
        Ok(ClusterSeen { namespace, migration, workload, route })
    }

    async fn look_at_route(&self, here: &str) -> Result<Option<Value>, Fault> {
        self.calls.get(LOOKING, route::kind(&self.config), Some(here), WEB).await
    }

    /// Whether every fence stands as configured.
    async fn is_fenced(
        &self,
        name: &PreviewName,
        shape: &Shape,
        live: &Value,
    ) -> Result<bool, Fault> {
        let patient = self.patience.holds(name, Kind::Namespace, self.now_milliseconds());
        if !patient && difference(live, &namespace(&self.config, name), "").is_some() {
            return Ok(false);
        }
        let here = name.namespace();
        // A login that cannot be read is no reason to touch what runs.
        let login = self.pull_login(LOOKING).await.unwrap_or_default();
        let wanted = with_login(fences(&self.config, name, shape), login.as_ref());
        let looks = wanted.iter().map(|(kind, object)| {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            self.calls.get(LOOKING, *kind, Some(&here), name)
        });
        let found = futures_util::future::try_join_all(looks).await?;
        Ok(found.iter().zip(&wanted).all(|(live, (_, wanted))| {
            live.as_ref().is_some_and(|live| patient || difference(live, wanted, "").is_none())
        }))
    }

    /// How a Deployment is doing; its pods are asked only when it is not ready.
    pub(super) async fn health(&self, here: &str, live: &Value) -> Result<Health, Fault> {
        let now = self.now_milliseconds();
        if let Some(health) = of_deployment(live, now) {
            return Ok(health);
        }
        let labels = format!("{REVISION}={}", label(live, REVISION).unwrap_or_default());
        let pods = self.calls.list(LOOKING, Kind::Pod, Some(here), &labels).await?;
        let (health, complaint) = of_pods(live, &pods, now);
        match (health, complaint.and_then(|it| it.log_of)) {
            (Health::Failing { why, .. }, Some(of)) => {
                let log = last_lines(&self.calls, here, &of).await;
                Ok(Health::Failing { why, log })
            }
            (health, _) => Ok(health),
        }
    }
}

/// The Deployment that was last asked for.
pub(super) fn newest(deployments: &[Value]) -> Option<(Revision, &Value)> {
    let ordered = |live: &&Value| annotation(live, ORDERED).and_then(|at| at.parse::<i64>().ok());
    let live = deployments.iter().max_by_key(ordered)?;
    Some((Revision::parse(label(live, REVISION)?)?, live))
}

/// What a workload wrote last; a log that cannot be read is no reason to know less of the rest.
pub(super) async fn last_lines(calls: &Calls, here: &str, of: &LogOf) -> String {
    let container = (of.pod.as_str(), of.container.as_str());
    match calls.log("reading the log", here, container, of.previous).await {
        Ok(text) => lines::last(&text),
        Err(fault) => format!("its log cannot be read: {}", fault.why),
    }
}
