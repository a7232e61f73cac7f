//! What can only be said of all objects together.
//!
//! Refuses an object that is there twice, an identity that is not among them, and a set without the
//! Service that the route leads to.

use std::collections::BTreeSet;

use serde_json::Value;

use super::field::{Field, Report};
use super::{GatePolicy, Refusal};
use crate::workload::chart::ServicePort;
use crate::workload::{Object, ObjectRef};

pub(super) fn check(objects: &[Object], policy: &GatePolicy, refusals: &mut Vec<Refusal>) {
    let mut seen = BTreeSet::new();
    let of_kind = |kind: &str| -> BTreeSet<String> {
        let all = objects.iter().map(Object::reference);
        all.filter(|it| it.kind == kind).map(|it| it.name).collect()
    };
    let mut identities = of_kind("ServiceAccount");
    identities.insert(policy.service_account.clone());
    for object in objects {
        let mut report = Report::new(object, refusals);
        let whole = Field::whole(object.value());
        let reference = object.reference();
        // Whatever its version: `autoscaling/v1` and `autoscaling/v2` of a name are one object.
        if !seen.insert((reference.kind.clone(), reference.name)) {
            report.refuse(&whole, "is rendered twice; give one of them another name");
        }
        for template in [&["spec", "template"][..], &["spec", "jobTemplate", "spec", "template"]] {
            for key in ["serviceAccountName", "serviceAccount"] {
                let field = whole.follow(template).at("spec").at(key);
                if !field.asks_for_nothing()
                    && !field.text().is_some_and(|name| identities.contains(name))
                {
                    let why =
                        "is no ServiceAccount among what is rendered; leave it out, or create it";
                    report.refuse(&field, why);
                }
            }
        }
        if reference.kind == "HorizontalPodAutoscaler" {
            let target = whole.at("spec").at("scaleTargetRef");
            let kind = target.value["kind"].as_str().unwrap_or_default();
            if !target.value["name"].as_str().is_some_and(|name| of_kind(kind).contains(name)) {
                report.refuse(&target, "is not among what is rendered; name what it scales");
            }
        }
    }
    if let Some(wanted) = &policy.service
        && !objects.iter().any(|object| serves(object, wanted))
    {
        let known: Vec<_> = of_kind("Service").into_iter().collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let (api_version, kind) = ("v1".to_owned(), "Service".to_owned());
        refusals.push(Refusal {
            object: ObjectRef { kind, api_version, name: wanted.name.clone() },
            source: None,
            path: format!("spec.ports[{}]", wanted.port),
            why: format!(
                "is not rendered, and the route leads there; there is: {known}; see \
                 workload.chart.service"
            ),
        });
    }
}

fn serves(object: &Object, wanted: &ServicePort) -> bool {
    let reference = object.reference();
    let mut ports = object.value()["spec"]["ports"].as_array().into_iter().flatten();
    let is_it = |port: &Value| port["port"] == u64::from(wanted.port);
    reference.kind == "Service" && reference.name == wanted.name && ports.any(is_it)
}
