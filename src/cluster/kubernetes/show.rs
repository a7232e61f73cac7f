//! What would be applied for a preview's workload, and what was, for people to compare.
//!
//! Read-only. Refuses to read a Secret: of one that is there nothing is known but that it was ordered.

use std::collections::HashSet;

use serde_json::Value;

use super::KubernetesCluster;
use super::kinds::Kind;
use super::marks::{APPLIED, ORDERED, PREVIEW, annotation};
use super::pods::{deployment, secret, urls};
use super::release::{RELEASE, Release, marked};
use super::route;
use crate::fault::Fault;
use crate::preview::PreviewName;
use crate::workload::{Object, ObjectRef, WorkloadOrder};

const DOING: &str = "reading what was applied";

impl KubernetesCluster {
    /// The objects of an order as they would be applied, without our notes in them.
    pub async fn would_apply(&self, name: &PreviewName, order: &WorkloadOrder) -> Vec<Object> {
        let config = &self.config;
        let secrets = self.wanted_version(&order.shape).await;
        let mut all = vec![Object::new(secret(config, name, &order.database_urls()), None)];
        let services = order.shape.services();
        for of in services.iter().filter(|it| it.shape.chart.is_none()) {
            let service = route::service(config, name, of.name(), &order.revision);
            let order = order.of(of, &urls(&services, &order.revision));
            let deployment = deployment(config, name, (of, &order), secrets.as_deref(), 0);
            all.extend([service, deployment].map(|it| Object::new(it, None)));
        }
        all.extend(order.objects.iter().filter_map(|object| {
            let kind = Kind::of_chart(&object.reference())?;
            let secrets = secrets.as_deref();
            let value = marked(config, name, &order.revision, secrets, (kind, object));
            Some(Object::new(value, object.source().map(str::to_owned)))
        }));
        all.into_iter().map(without_notes).collect()
    }

    /// The workload's objects as they were last applied; those of which no note was kept, such as
    /// Secrets, are left out.
    pub async fn applied(&self, name: &PreviewName) -> Result<Vec<Object>, Fault> {
        let here = name.namespace();
        let anchor = self.calls.get(DOING, Kind::ConfigMap, Some(&here), RELEASE).await?;
        let release = anchor.as_ref().and_then(Release::read);
        let mut kinds: HashSet<_> = [Kind::Deployment, Kind::Service].into();
        let of_release = release.iter().flat_map(|it| &it.objects).filter_map(Kind::of_chart);
        kinds.extend(of_release.filter(|kind| *kind != Kind::Secret));
        let mut all = Vec::new();
        for kind in kinds {
            let owned = format!("{PREVIEW}={here}");
            let live = self.calls.list(DOING, kind, Some(&here), &owned).await?;
            all.extend(live.iter().filter_map(noted));
        }
        all.sort_by_key(Object::reference);
        Ok(all)
    }

    /// Whether an object of this kind can be compared at all.
    pub fn is_noted(object: &ObjectRef) -> bool {
        object.kind != "Secret"
    }
}

/// What an object was applied as.
fn noted(live: &Value) -> Option<Object> {
    let value = serde_json::from_str(annotation(live, APPLIED)?).ok()?;
    Some(without_notes(Object::new(value, None)))
}

/// The object without what says only when it was asked for, and what it was applied as.
fn without_notes(object: Object) -> Object {
    let source = object.source().map(str::to_owned);
    let mut value = object.into_value();
    if let Some(annotations) = value["metadata"]["annotations"].as_object_mut() {
        annotations.remove(APPLIED);
        annotations.remove(ORDERED);
    }
    Object::new(value, source)
}
