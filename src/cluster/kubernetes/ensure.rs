//! Makes it so: the fences, a revision's objects, and the way to it.
//!
//! Nothing is written before the namespace was seen to be ours, or was created by us a moment ago. Refuses to
//! lead visitors to a revision that is not ready, and to take away the one that is served before another is.

use futures_util::future::try_join_all;
use serde_json::Value;

use super::KubernetesCluster;
use super::calls::Created;
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
use crate::workload::{DatabaseUrls, Shape, WorkloadOrder};

/// What was seen while others were retired.
pub(super) struct Retired {
    /// Whether a Service of a chart is there.
    pub(super) sees_release: bool,
}

impl KubernetesCluster {
    /// The namespace with its stamp, and then everything that has to stand in it, at once.
    pub(super) async fn fence(
        &self,
        name: &PreviewName,
        shape: &Shape,
        urls: &DatabaseUrls,
    ) -> Result<(), Fault> {
        let doing = format!("creating namespace {name}");
        let here = name.namespace();
        let wanted = namespace(&self.config, name);
        let created = self.calls.create(&doing, Kind::Namespace, wanted.clone()).await?;
        let is_new = matches!(created, Created::Done);
        if !is_new {
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
        let mut wanted = with_login(fences(&self.config, name, shape), login.as_ref());
        if is_new {
            wanted.push((Kind::Secret, secret(&self.config, name, urls)));
        }
        let calls = wanted
            .iter()
            .map(|(kind, object)| self.calls.apply(&doing, *kind, Some(&here), object));
        try_join_all(calls).await?;
        let now = self.now_milliseconds();
        self.patience.note(name, Kind::Namespace, now);
        if is_new {
            self.fresh.note(name, urls, now);
        }
        Ok(())
    }

    /// The Secret, Service and Deployment of this revision; what nobody wants or visits goes.
    pub(super) async fn run(&self, name: &PreviewName, order: &WorkloadOrder) -> Result<(), Fault> {
        let doing = format!("starting {name} at {}", order.revision.commit.short());
        let urls = order.database_urls();
        let is_new = self.fresh.take(name, &urls, self.now_milliseconds());
        if let Some(chart) = &order.shape.chart {
            self.enter(name, &doing).await?;
            return self.deploy(&doing, name, order, chart).await;
        }
        if order.shape.pod.image.is_none() {
            let why = "its repository has no workload.image; configure one, pinned by digest";
            return Err(Fault::permanent(doing, why));
        }
        if is_new {
            return self.begin(&doing, name, order).await;
        }
        let here = name.namespace();
        let (_, all, services, route) = tokio::try_join!(
            self.enter(name, &doing),
            self.calls.list(&doing, Kind::Deployment, Some(&here), REVISION),
            self.calls.list(&doing, Kind::Service, Some(&here), REVISION),
            self.calls.get(&doing, route::kind(&self.config), Some(&here), WEB),
        )?;
        let secrets = self.bring_secrets(&doing, name, &order.shape).await?;
        let read = Read { deployments: &all, services: &services, secrets: secrets.as_deref() };
        let is_newest = newest(&all).is_some_and(|revision| revision == order.revision);
        let secret = secret(&self.config, name, &urls);
        self.calls.apply(&doing, Kind::Secret, Some(&here), &secret).await?;
        // One that leads to nothing yet goes with the newest.
        let leads = route.as_ref().is_some_and(|it| !route::is_undirected(it));
        let opened = async {
            if !leads {
                self.open(&doing, name, &order.shape, &order.revision).await;
            }
        };
        let applied = self.apply_services(&doing, name, order, &read, is_newest);
        tokio::join!(applied, opened).0?;
        let served = route.as_ref().and_then(revision_of);
        // Visitors of a route that does not say where it leads may be anywhere.
        if leads && served.is_none() {
            return Ok(());
        }
        let keep: Vec<_> = served.iter().chain([&order.revision]).collect();
        self.retire(&doing, &here, &keep, &order.shape).await.map(drop)
    }

    /// The same in a namespace that is new, and so has nothing to be looked for: all at once.
    async fn begin(
        &self,
        doing: &str,
        name: &PreviewName,
        order: &WorkloadOrder,
    ) -> Result<(), Fault> {
        let secrets = self.bring_secrets(doing, name, &order.shape).await?;
        let read = Read { deployments: &[], services: &[], secrets: secrets.as_deref() };
        let applied = self.apply_services(doing, name, order, &read, false);
        tokio::join!(applied, self.open(doing, name, &order.shape, &order.revision)).0
    }

    /// Opens the way in before there is somebody to serve behind it, so that whoever serves routes, names
    /// them and issues certificates can begin. It says that it leads to no revision, and counts as none until
    /// [`Self::lead`]. What stands in its way keeps nothing from starting, and is told there.
    async fn open(&self, doing: &str, name: &PreviewName, shape: &Shape, revision: &Revision) {
        let opened = async {
            self.check_entry(doing).await?;
            let certificate = self.certificate(doing).await?;
            self.bring_certificate(doing, name, certificate.as_ref()).await?;
            let (kind, here) = (route::kind(&self.config), name.namespace());
            let routes = route::routes(&self.config, name, shape, revision, certificate.as_ref());
            let routes: Vec<_> = routes.into_iter().map(route::undirected).collect();
            let calls = routes.iter().map(|it| self.calls.apply(doing, kind, Some(&here), it));
            try_join_all(calls).await
        };
        if let Err(fault) = opened.await {
            tracing::debug!(%fault, "the way in is not opened early");
        }
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
        let (_, workload, (), certificate) = tokio::try_join!(
            self.enter(name, &doing),
            self.workload_of(&doing, name, shape, revision),
            self.check_entry(&doing),
            self.certificate(&doing),
        )?;
        match workload {
            None => return Err(Fault::transient(&doing, "its workload is of another revision")),
            Some(Health::Ready) => {}
            Some(Health::Progressing(why) | Health::Failing { why, .. } | Health::Dead(why)) => {
                return Err(Fault::transient(&doing, format!("its workload is not ready: {why}")));
            }
        }
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
}
