//! The kinds of objects that a preview may be made of.
//!
//! Each is of a namespace and of Kubernetes itself. Refuses what is Mayfly's own (the namespace, its
//! fences, the route) and whatever reaches beyond a namespace.

use super::GatePolicy;
use super::field::{Field, Report};
use crate::workload::Object;

/// A kind that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    ConfigMap,
    CronJob,
    Deployment,
    HorizontalPodAutoscaler,
    Job,
    PersistentVolumeClaim,
    PodDisruptionBudget,
    Secret,
    Service,
    ServiceAccount,
    StatefulSet,
}

/// Each kind, in the versions that it is taken in.
const TAKEN: [(&str, &[&str], Kind); 11] = [
    ("ConfigMap", &["v1"], Kind::ConfigMap),
    ("CronJob", &["batch/v1"], Kind::CronJob),
    ("Deployment", &["apps/v1"], Kind::Deployment),
    (
        "HorizontalPodAutoscaler",
        &["autoscaling/v1", "autoscaling/v2"],
        Kind::HorizontalPodAutoscaler,
    ),
    ("Job", &["batch/v1"], Kind::Job),
    ("PersistentVolumeClaim", &["v1"], Kind::PersistentVolumeClaim),
    ("PodDisruptionBudget", &["policy/v1"], Kind::PodDisruptionBudget),
    ("Secret", &["v1"], Kind::Secret),
    ("Service", &["v1"], Kind::Service),
    ("ServiceAccount", &["v1"], Kind::ServiceAccount),
    ("StatefulSet", &["apps/v1"], Kind::StatefulSet),
];

impl Kind {
    /// The kind of an object, if it is taken; says why not.
    pub(super) fn of(
        object: &Object,
        policy: &GatePolicy,
        whole: &Field<'_>,
        report: &mut Report<'_>,
    ) -> Option<Self> {
        let reference = object.reference();
        let Some((_, versions, kind)) = TAKEN.iter().find(|(kind, ..)| *kind == reference.kind)
        else {
            report.refuse(whole, cure(&reference.kind));
            return None;
        };
        if !versions.contains(&reference.api_version.as_str()) {
            let why =
                format!("{} is not taken, only {}", reference.api_version, versions.join(", "));
            report.refuse(&whole.at("apiVersion"), why);
            return None;
        }
        if *kind == Self::PersistentVolumeClaim && !policy.persistent_volumes {
            report.refuse(whole, VOLUMES);
        }
        Some(*kind)
    }

    /// What it has beside what every object has.
    pub(super) fn fields(self) -> &'static [&'static str] {
        match self {
            Self::ConfigMap => &["data", "binaryData", "immutable"],
            Self::Secret => &["data", "stringData", "immutable", "type"],
            Self::ServiceAccount => {
                &["automountServiceAccountToken", "imagePullSecrets", "secrets"]
            }
            _ => &["spec"],
        }
    }

    /// Where it says what its pods are.
    pub(super) fn pod_template(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Deployment | Self::StatefulSet | Self::Job => Some(&["spec", "template"]),
            Self::CronJob => Some(&["spec", "jobTemplate", "spec", "template"]),
            _ => None,
        }
    }
}

/// What is said where a volume that outlives its pod is asked for.
pub(super) const VOLUMES: &str =
    "previews have no persistent volumes here; use emptyDir, or turn persistence off by a value";

/// What to do about a kind that is not taken.
fn cure(kind: &str) -> String {
    let why = match kind {
        "Ingress" | "IngressRoute" | "HTTPRoute" | "GRPCRoute" | "TLSRoute" | "Gateway" => {
            "the route is Mayfly's own; turn it off by a value, and name the Service in \
             workload.chart.service"
        }
        "NetworkPolicy" => {
            "the network is Mayfly's own; turn it off by a value, and name what has to be reached in \
             workload.egress"
        }
        "Namespace" | "ResourceQuota" | "LimitRange" => {
            "the namespace and its limits are Mayfly's own; turn it off by a value"
        }
        "Role" | "RoleBinding" | "ClusterRole" | "ClusterRoleBinding" => {
            "a preview has no rights in the cluster; turn it off by a value (often rbac.create)"
        }
        "Pod" | "ReplicaSet" | "ReplicationController" => "use a Deployment or a Job",
        "DaemonSet" => "it would run on every node; use a Deployment",
        _ => {
            let taken: Vec<_> = TAKEN.iter().map(|(kind, ..)| *kind).collect();
            return format!("is not taken, only {}; turn it off by a value", taken.join(", "));
        }
    };
    why.to_owned()
}
