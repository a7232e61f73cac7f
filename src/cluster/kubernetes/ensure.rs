//! Makes it so: the fences, a revision's objects, and the way to it.
//!
//! Every call first sees that the namespace is ours. Refuses to lead visitors to a revision that is
//! not ready, and to take away the one that is served before another is.

use futures_util::future::try_join_all;
use serde_json::Value;

use super::KubernetesCluster;
use super::calls::Created;
use super::config::{Entry, Tls};
use super::drift::difference;
use super::fences::{fences, namespace};
use super::kinds::Kind;
use super::look::newest;
use super::marks::{PREVIEW, REVISION, is_of, label};
use super::pods::{object_name, secret};
use super::pull::with_login;
use super::release::OF_RELEASE;
use super::route::{self, WEB, revision_of};
use super::services::{Read, is_configured};
use crate::fault::Fault;
use crate::preview::observed::Health;
use crate::preview::{PreviewName, Revision};
use crate::workload::{Shape, WorkloadOrder};

/// What was seen while others were retired.
pub(super) struct Retired {
    /// Whether a Service of a chart is there.
    pub(super) sees_release: bool,
}

impl KubernetesCluster {
    /// The namespace with its stamp, and then everything that has to stand in it, at once.
    pub(super) async fn fence(&self, name: &PreviewName, shape: &Shape) -> Result<(), Fault> {
        let doing = format!("creating namespace {name}");
        let here = name.namespace();
        let wanted = namespace(&self.config, name);
        if let Created::Exists = self.calls.create(&doing, Kind::Namespace, wanted.clone()).await? {
            let live = self.enter(name, &doing).await?;
            if difference(&live, &wanted, "").is_some() {
                // Its uid makes this a change of that very namespace, and never a new one.
                let mut wanted = wanted;
                wanted["metadata"]["uid"] = live["metadata"]["uid"].clone();
                self.calls.apply(&doing, Kind::Namespace, None, &wanted).await?;
            }
        }
        let doing = format!("fencing namespace {name}");
        let login = self.pull_login(&doing).await?;
        if let Some(login) = &login {
            self.bring_login(&doing, name, login).await?;
        }
        let wanted = with_login(fences(&self.config, name, shape), login.as_ref());
        let calls = wanted
            .iter()
            .map(|(kind, object)| self.calls.apply(&doing, *kind, Some(&here), object));
        try_join_all(calls).await?;
        self.patience.note(name, Kind::Namespace, self.now_milliseconds());
        Ok(())
    }

    /// The Secret, Service and Deployment of this revision; what nobody wants or visits goes.
    pub(super) async fn run(&self, name: &PreviewName, order: &WorkloadOrder) -> Result<(), Fault> {
        let doing = format!("starting {name} at {}", order.revision.commit.short());
        let here = name.namespace();
        if let Some(chart) = &order.shape.chart {
            self.enter(name, &doing).await?;
            return self.deploy(&doing, name, order, chart).await;
        }
        if order.shape.pod.image.is_none() {
            let why = "its repository has no workload.image; configure one, pinned by digest";
            return Err(Fault::permanent(doing, why));
        }
        self.enter(name, &doing).await?;
        let (all, services, route) = tokio::try_join!(
            self.calls.list(&doing, Kind::Deployment, Some(&here), REVISION),
            self.calls.list(&doing, Kind::Service, Some(&here), REVISION),
            self.calls.get(&doing, route::kind(&self.config), Some(&here), WEB),
        )?;
        let secrets = self.bring_secrets(&doing, name, &order.shape).await?;
        let read = Read { deployments: &all, services: &services, secrets: secrets.as_deref() };
        let is_newest = newest(&all).is_some_and(|revision| revision == order.revision);
        let secret = secret(&self.config, name, order);
        self.calls.apply(&doing, Kind::Secret, Some(&here), &secret).await?;
        self.apply_services(&doing, name, order, &read, is_newest).await?;
        let served = route.as_ref().and_then(revision_of);
        // Visitors of a route that does not say where it leads may be anywhere.
        if route.is_some() && served.is_none() {
            return Ok(());
        }
        let keep: Vec<_> = served.iter().chain([&order.revision]).collect();
        self.retire(&doing, &here, &keep, &order.shape).await.map(drop)
    }

    /// The way to this revision, which has to be ready.
    pub(super) async fn lead(
        &self,
        name: &PreviewName,
        shape: &Shape,
        revision: &Revision,
    ) -> Result<(), Fault> {
        let doing = format!("leading the route of {name} to {}", revision.commit.short());
        let here = name.namespace();
        self.enter(name, &doing).await?;
        match self.workload_of(&doing, name, shape, revision).await? {
            None => return Err(Fault::transient(&doing, "its workload is of another revision")),
            Some(Health::Ready) => {}
            Some(Health::Progressing(why) | Health::Failing { why, .. } | Health::Dead(why)) => {
                return Err(Fault::transient(&doing, format!("its workload is not ready: {why}")));
            }
        }
        self.check_entry(&doing).await?;
        let certificate = self.certificate(&doing).await?;
        self.bring_certificate(&doing, name, certificate.as_ref()).await?;
        let kind = route::kind(&self.config);
        let wanted = route::routes(&self.config, name, shape, revision, certificate.as_ref());
        for route in &wanted {
            self.calls.apply(&doing, kind, Some(&here), route).await?;
        }
        // An Ingress has all hosts.
        if kind == Kind::HttpRoute {
            let owned = format!("{PREVIEW}={here}");
            let called = |it: &Value| it["metadata"]["name"].clone();
            for live in self.calls.list(&doing, kind, Some(&here), &owned).await? {
                if !wanted.iter().any(|it| called(it) == called(&live)) {
                    self.calls.delete(&doing, kind, Some(&here), &live).await?;
                }
            }
        }
        self.patience.note(name, kind, self.now_milliseconds());
        Ok(())
    }

    /// How the workload of this revision is doing; `None` where there is none.
    async fn workload_of(
        &self,
        doing: &str,
        name: &PreviewName,
        shape: &Shape,
        revision: &Revision,
    ) -> Result<Option<Health>, Fault> {
        let here = &name.namespace();
        if let Some(chart) = &shape.chart {
            let seen = self.look_at_release(name, (shape, chart), None).await?;
            let of_it = seen.present().filter(|it| it.revision == *revision);
            return Ok(of_it.map(|it| it.health.clone()));
        }
        let mut all = Vec::new();
        for service in shape.services() {
            let wanted = object_name(service.name(), revision);
            let live = self.calls.get(doing, Kind::Deployment, Some(here), &wanted).await?;
            match live.filter(|it| is_of(it, service.name(), revision)) {
                Some(live) => all.push(self.health(here, &live).await?.told(|it| service.tell(it))),
                None => return Ok(None),
            }
        }
        Ok(Some(Health::together(all)))
    }

    /// Deletes Deployments and Services of other revisions than these, and of services that this shape has
    /// no more, but for those of a chart.
    pub(super) async fn retire(
        &self,
        doing: &str,
        here: &str,
        keep: &[&Revision],
        shape: &Shape,
    ) -> Result<Retired, Fault> {
        let mut retired = Retired { sees_release: false };
        // Before each revision had a Service of its own, there was one without a revision's label.
        let services = format!("{PREVIEW}={here}");
        for (kind, labels) in [(Kind::Deployment, REVISION), (Kind::Service, &services)] {
            let all = self.calls.list(doing, kind, Some(here), labels).await?;
            let (of_release, own): (Vec<_>, Vec<_>) =
                all.iter().partition(|live| label(live, OF_RELEASE).is_some());
            retired.sees_release |= !of_release.is_empty();
            let unwanted = own.into_iter().filter(|live| {
                let revision = label(live, REVISION).and_then(Revision::parse);
                let is_kept = keep.iter().any(|keep| revision.as_ref() == Some(keep));
                !is_kept || !is_configured(live, shape)
            });
            for live in unwanted {
                self.calls.delete(doing, kind, Some(here), live).await?;
            }
        }
        Ok(retired)
    }

    /// Whether there is somebody to serve the route: an Ingress of an unknown class waits for ever.
    async fn check_entry(&self, doing: &str) -> Result<(), Fault> {
        match &self.config.entry {
            Entry::Ingress { class, .. } => {
                if self.calls.get(doing, Kind::IngressClass, None, class).await?.is_some() {
                    return Ok(());
                }
                let all = self.calls.list(doing, Kind::IngressClass, None, "").await?;
                let mut known: Vec<_> =
                    all.iter().filter_map(|it| it["metadata"]["name"].as_str()).collect();
                known.sort_unstable();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                let why = format!(
                    "the cluster has no IngressClass {class:?} (it has: {known}); set \
                     cluster.kubernetes.ingress.class"
                );
                Err(Fault::permanent(doing, why))
            }
            Entry::Gateway { namespace, name, .. } => {
                let found = self.calls.get(doing, Kind::Gateway, Some(namespace), name).await?;
                let why = || {
                    format!(
                        "the cluster has no Gateway {namespace}/{name}; set \
                         cluster.kubernetes.gateway"
                    )
                };
                found.map(drop).ok_or_else(|| Fault::permanent(doing, why()))
            }
        }
    }

    /// The wildcard certificate, where one is configured and there.
    pub(super) async fn certificate(&self, doing: &str) -> Result<Option<Value>, Fault> {
        let Tls::Secret { namespace, name } = &self.config.tls else { return Ok(None) };
        let found = self.calls.get(doing, Kind::Secret, Some(namespace), name).await?;
        let part = |it: &Value, key: &str| it["data"][key].is_string();
        Ok(found.filter(|it| part(it, "tls.crt") && part(it, "tls.key")))
    }

    /// Copies the wildcard certificate to where an Ingress can use it.
    async fn bring_certificate(
        &self,
        doing: &str,
        name: &PreviewName,
        original: Option<&Value>,
    ) -> Result<(), Fault> {
        let Tls::Secret { namespace, name: secret } = &self.config.tls else { return Ok(()) };
        let Some(original) = original else {
            let why = format!(
                "the TLS Secret {namespace}/{secret} is not there, or has no tls.crt and tls.key; \
                 create it, or set cluster.kubernetes.tls.secret"
            );
            return Err(Fault::permanent(doing, why));
        };
        let copy = route::certificate(&self.config, name, original);
        self.calls.apply(doing, Kind::Secret, Some(&name.namespace()), &copy).await
    }
}
