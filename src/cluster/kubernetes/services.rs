//! The services of a revision: how each is doing, and which start next.
//!
//! Refuses to start a service before those that it needs are ready.

use futures_util::future::try_join_all;
use serde_json::Value;

use super::KubernetesCluster;
use super::drift::note;
use super::health::{is_patient, of_service, unlike};
use super::kinds::Kind;
use super::marks::{COMPONENT, is_of, label};
use super::pods::{deployment, urls};
use super::route;
use crate::fault::Fault;
use crate::preview::observed::Health;
use crate::preview::{PreviewName, Revision};
use crate::workload::{Service, Shape, WEB, WorkloadOrder};

/// What was read of a preview's services.
pub(super) struct Read<'a> {
    pub(super) deployments: &'a [Value],
    pub(super) services: &'a [Value],
    /// The wanted version of the Secrets that their environment comes out of.
    pub(super) secrets: Option<&'a str>,
}

impl KubernetesCluster {
    /// How each service of a revision is doing, each after those that it needs.
    pub(super) async fn services(
        &self,
        name: &PreviewName,
        shape: &Shape,
        revision: &Revision,
        read: &Read<'_>,
    ) -> Result<Vec<(Service, Health)>, Fault> {
        let mut all: Vec<(Service, Health)> = Vec::new();
        let services = shape.services();
        let of = (revision, shape, &services[..]);
        for service in services.clone() {
            let live = read.deployments.iter().find(|it| is_of(it, service.name(), revision));
            let health = match live {
                Some(live) => self.health_of(name, of, &service, live, read).await?,
                None => {
                    let is_ready = |needed: &str| {
                        let of_it = |it: &&(Service, Health)| it.0.name() == needed;
                        all.iter().find(of_it).is_some_and(|it| it.1 == Health::Ready)
                    };
                    match service.awaits(is_ready) {
                        awaits if awaits.is_empty() => Health::Dead("it is not there".to_owned()),
                        awaits => Health::Progressing(format!("waits for {}", awaits.join(", "))),
                    }
                }
            };
            let health = health.told(|why| service.tell(why));
            all.push((service, health));
        }
        Ok(all)
    }

    async fn health_of(
        &self,
        name: &PreviewName,
        of: (&Revision, &Shape, &[Service]),
        service: &Service,
        live: &Value,
        read: &Read<'_>,
    ) -> Result<Health, Fault> {
        let patient = is_patient(live, self.now_milliseconds());
        let unlike = unlike(&self.config, name, of, service, read.secrets, live);
        Ok(match (unlike, of_service(read.services, service.name(), of.0)) {
            (Some(path), _) if !patient => {
                Health::Dead(format!("the configuration changed its {path}"))
            }
            (_, Some(why)) if patient => Health::Progressing(why),
            (_, Some(why)) => Health::Dead(why),
            _ => match self.health(&name.namespace(), live).await? {
                Health::Ready => Health::Ready,
                other => self.external_complaint(name, &service.shape).await?.unwrap_or(other),
            },
        })
    }

    /// Applies each service that has to be, and whose needs are met: all that is there of a revision
    /// that was not the newest, so that it is; otherwise what nobody else would mend.
    pub(super) async fn apply_services(
        &self,
        doing: &str,
        name: &PreviewName,
        order: &WorkloadOrder,
        read: &Read<'_>,
        is_newest: bool,
    ) -> Result<(), Fault> {
        let (here, revision) = (name.namespace(), &order.revision);
        let all = self.services(name, &order.shape, revision, read).await?;
        let services: Vec<_> = all.iter().map(|(service, _)| service.clone()).collect();
        let urls = urls(&services, revision);
        let now = self.now_milliseconds();
        let live = |of: &Service| read.deployments.iter().find(|it| is_of(it, of.name(), revision));
        let due = all.iter().filter(|(service, health)| match live(service) {
            // Even a new annotation would have the Deployment's controller look at it anew.
            Some(_) if is_newest => *health != Health::Ready,
            Some(_) => true,
            None => matches!(health, Health::Dead(_)),
        });
        let due: Vec<_> = due.map(|(service, _)| service).collect();
        let service = |it: &&Service| route::service(&self.config, name, it.name(), revision);
        let mut wanted: Vec<_> = due.iter().map(|it| (Kind::Service, service(it))).collect();
        wanted.extend(due.into_iter().map(|service| {
            let order = order.of(service, &urls);
            let pods = (service, &order);
            let mut object = deployment(&self.config, name, pods, read.secrets, now);
            if let Some(live) = live(service) {
                // What a Deployment selects cannot be changed.
                object["spec"]["selector"] = live["spec"]["selector"].clone();
            }
            (Kind::Deployment, note(object))
        }));
        // Neither waits for the other: a Service without pods leads nowhere, and pods ask for none.
        let calls = wanted.iter().map(|(kind, it)| self.calls.apply(doing, *kind, Some(&here), it));
        try_join_all(calls).await?;
        Ok(())
    }
}

/// Whether an object is of a service that the configuration has, be it not in this tier. One that it has
/// not may hold what the others need of the quota.
pub(super) fn is_configured(object: &Value, shape: &Shape) -> bool {
    let Some(of) = label(object, COMPONENT) else { return true };
    of == WEB || shape.components.iter().any(|it| it.name.as_str() == of)
}
