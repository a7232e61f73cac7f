//! One look at a preview's objects.
//!
//! Changes nothing. What is not in a namespace of ours is not looked at.

use futures_util::future::try_join_all;
use serde_json::Value;

use super::drift::{as_listed, difference};
use super::fences::{fences, namespace};
use super::health::{LogOf, of_deployment, of_pods};
use super::kinds::Kind;
use super::marks::{self, COMPONENT, ORDERED, REVISION, annotation, label};
use super::pull::with_login;
use super::route::{self, WEB, revision_of};
use super::services::{Read, is_configured};
use super::{Calls, KubernetesCluster};
use crate::cluster::ClusterSeen;
use crate::fault::Fault;
use crate::preview::observed::{Health, NamespaceSeen, RouteSeen, Standing, WorkloadSeen};
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
            let routes = self.look_at_routes(&here).await?;
            let route = match routes.is_empty() {
                true => Seen::Absent,
                false => Seen::Leaving(why.clone()),
            };
            let (migration, workload) = (Seen::Leaving(why.clone()), Seen::Leaving(why.clone()));
            return Ok(ClusterSeen { namespace: Seen::Leaving(why), migration, workload, route });
        }
        let owned = format!("{}={here}", marks::PREVIEW);
        let secrets = async { Ok(self.wanted_version(shape).await) };
        let (fenced, migration, deployments, services, routes, certificate, issued, secrets) = tokio::try_join!(
            self.is_fenced(name, shape, &live),
            self.look_at_migration(&here, shape),
            self.calls.list(LOOKING, Kind::Deployment, Some(&here), REVISION),
            self.calls.list(LOOKING, Kind::Service, Some(&here), &owned),
            self.look_at_routes(&here),
            self.certificate(LOOKING),
            self.issuance(&here),
            secrets,
        )?;
        let route = self.judge_routes(name, shape, &routes, certificate.as_ref(), issued);
        let workload = match (&shape.chart, newest(&deployments)) {
            (Some(chart), _) => {
                self.look_at_release(name, (shape, chart), secrets.as_deref()).await?
            }
            (None, None) => Seen::Absent,
            (None, Some(revision)) => {
                let (secrets, deployments) = (secrets.as_deref(), &deployments);
                let read = Read { deployments, services: &services, secrets };
                let all = self.services(name, shape, &revision, &read).await?;
                let health = Health::together(all.into_iter().map(|(_, health)| health));
                let of_another = |it: &Value| {
                    label(it, REVISION) != Some(revision.to_string().as_str())
                        || !is_configured(it, shape)
                };
                let others = deployments.iter().chain(&services).any(of_another);
                Seen::Present(WorkloadSeen { revision, health, others })
            }
        };
        let namespace = Seen::Present(NamespaceSeen { fenced });
        Ok(ClusterSeen { namespace, migration, workload, route })
    }

    async fn look_at_routes(&self, here: &str) -> Result<Vec<Value>, Fault> {
        let owned = format!("{}={here}", marks::PREVIEW);
        self.calls.list(LOOKING, route::kind(&self.config), Some(here), &owned).await
    }

    /// What the routes are together: they lead to the revision that the preview's own says when that is
    /// all of them, and each is as it should be.
    fn judge_routes(
        &self,
        name: &PreviewName,
        shape: &Shape,
        routes: &[Value],
        certificate: Option<&Value>,
        issued: Option<Standing>,
    ) -> Seen<RouteSeen> {
        if routes.is_empty() {
            return Seen::Absent;
        }
        if let Some(why) = routes.iter().find_map(marks::leaving) {
            return Seen::Leaving(why);
        }
        let kind = route::kind(&self.config);
        let patient = self.patience.holds(name, kind, self.now_milliseconds());
        let called = |name: &Value| routes.iter().find(|it| it["metadata"]["name"] == *name);
        let own = called(&Value::from(WEB)).and_then(revision_of);
        let revision = own.filter(|revision| {
            let wanted = route::routes(&self.config, name, shape, revision, certificate);
            let wanted: Vec<_> = wanted.into_iter().map(as_listed).collect();
            let leads = |wanted: &Value| {
                called(&wanted["metadata"]["name"]).is_some_and(|live| {
                    let leads = revision_of(live).as_ref() == Some(revision);
                    leads && (patient || difference(live, wanted, "").is_none())
                })
            };
            // Only of HTTPRoutes there may be one too many.
            (kind != Kind::HttpRoute || routes.len() == wanted.len()) && wanted.iter().all(leads)
        });
        let mut standings = routes.iter().map(|it| route::standing(&self.config, it));
        let unserved = standings.find(|it| *it != Standing::Served);
        let standing = issued.or(unserved).unwrap_or(Standing::Served);
        Seen::Present(RouteSeen { revision, standing })
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
        let found = try_join_all(looks).await?;
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
        let [revision, of] = [REVISION, COMPONENT].map(|key| label(live, key).unwrap_or_default());
        let labels = format!("{REVISION}={revision},{COMPONENT}={of}");
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

/// The revision that was last asked for.
pub(super) fn newest(deployments: &[Value]) -> Option<Revision> {
    let ordered = |live: &&Value| annotation(live, ORDERED).and_then(|at| at.parse::<i64>().ok());
    Revision::parse(label(deployments.iter().max_by_key(ordered)?, REVISION)?)
}

/// What a workload wrote last; a log that cannot be read is no reason to know less of the rest.
pub(super) async fn last_lines(calls: &Calls, here: &str, of: &LogOf) -> String {
    let container = (of.pod.as_str(), of.container.as_str());
    match calls.log("reading the log", here, container, of.previous).await {
        Ok(text) => lines::last(&text),
        Err(fault) => format!("its log cannot be read: {}", fault.why),
    }
}
