//! What may be applied at all: every rendered object passes here, or none does.
//!
//! Pure. What a preview has no need of is refused when it is asked for, and what the *restricted* pod
//! security wants is added where it is missing, since charts in the wild lack it
//! (<https://kubernetes.io/docs/concepts/security/pod-security-standards/>). Lists say what is taken;
//! what is on none is refused, so that a field of tomorrow is not taken by mistake. Refuses to drop an
//! object: what is rendered is applied, or the pull request is told why not.

mod completion;
mod containers;
mod field;
mod image;
mod kinds;
mod metadata;
mod pods;
mod security;
mod services;
mod set;
mod specs;
mod volumes;

use std::fmt;

use self::field::{Field, Report};
use self::kinds::Kind;
use super::chart::ServicePort;
use super::{Object, ObjectRef, lines};

/// What differs from one preview to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatePolicy {
    /// The namespace of everything.
    pub namespace: String,
    /// The identity of pods that name none.
    pub service_account: String,
    /// The registries, `host` or `host:port`, that images may come from.
    pub registries: Vec<String>,
    /// Whether PersistentVolumeClaims are taken.
    pub persistent_volumes: bool,
    /// The Service that has to be among the objects, since the route leads to it.
    pub service: Option<ServicePort>,
}

/// Why an object is not taken, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which object.
    pub object: ObjectRef,
    /// The file that it came from, where that is known.
    pub source: Option<String>,
    /// Where in the object, such as `spec.template.spec.hostNetwork`; empty for the whole of it.
    pub path: String,
    /// What is wrong, and the cure.
    pub why: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", lines::shown(&self.object.to_string()))?;
        if let Some(source) = &self.source {
            write!(f, " ({})", lines::shown(source))?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", lines::shown(&self.path))?;
        }
        write!(f, ": {}", lines::shown(&self.why))
    }
}

/// Takes all objects, completed and in the preview's namespace, or says everything that keeps them
/// out.
pub fn admit(objects: Vec<Object>, policy: &GatePolicy) -> Result<Vec<Object>, Vec<Refusal>> {
    let mut refusals = Vec::new();
    let mut kinds = Vec::new();
    for object in &objects {
        let mut report = Report::new(object, &mut refusals);
        let whole = Field::whole(object.value());
        let kind = Kind::of(object, policy, &whole, &mut report);
        if let Some(kind) = kind {
            check(kind, &whole, policy, &mut report);
        }
        kinds.push(kind);
    }
    set::check(&objects, policy, &mut refusals);
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let known = objects.into_iter().zip(kinds);
    let mut taken: Vec<_> = known
        .filter_map(|(object, kind)| Some(completion::complete(object, kind?, policy)))
        .collect();
    completion::leave_scaling(&mut taken);
    Ok(taken)
}

fn check(kind: Kind, whole: &Field<'_>, policy: &GatePolicy, report: &mut Report<'_>) {
    report.only(whole, &[&["apiVersion", "kind", "metadata", "status"], kind.fields()].concat());
    metadata::named(&whole.at("metadata"), report);
    specs::check(kind, &whole.at("spec"), report);
    if let Some(template) = kind.pod_template() {
        let template = whole.follow(template);
        report.only(&template, &["metadata", "spec"]);
        metadata::of_template(&template.at("metadata"), report);
        pods::check(&template.at("spec"), policy, report);
    }
    match kind {
        Kind::CronJob => {
            let job = whole.at("spec").at("jobTemplate");
            report.only(&job, &["metadata", "spec"]);
            metadata::of_template(&job.at("metadata"), report);
        }
        Kind::StatefulSet => {
            for claim in report.items(&whole.at("spec").at("volumeClaimTemplates")) {
                volumes::claim_template(&claim, policy, report);
            }
        }
        Kind::PersistentVolumeClaim => volumes::claim(&whole.at("spec"), report),
        Kind::Service => services::check(&whole.at("spec"), report),
        Kind::Secret => {
            security::secret_type(&whole.at("type"), report);
            texts(whole, &["data", "stringData"], report);
        }
        Kind::ConfigMap => texts(whole, &["data", "binaryData"], report),
        Kind::ServiceAccount => security::no_token(whole, report),
        _ => {}
    }
}

/// Refuses values that are no texts, which the API server would repeat in its refusal.
fn texts(whole: &Field<'_>, parts: &[&str], report: &mut Report<'_>) {
    for part in parts {
        for (_, value) in report.entries(&whole.at(part)) {
            report.text(&value);
        }
    }
}
