//! What a pod may be.
//!
//! Refuses what belongs to the node or to the cluster, a token, and an end that is long in coming.

use super::GatePolicy;
use super::field::{Field, Report};
use super::{containers, security, volumes};

const TAKEN: [&str; 21] = [
    "activeDeadlineSeconds",
    "affinity",
    "automountServiceAccountToken",
    "containers",
    "dnsConfig",
    "dnsPolicy",
    "enableServiceLinks",
    "hostAliases",
    "hostname",
    "imagePullSecrets",
    "initContainers",
    "readinessGates",
    "restartPolicy",
    "securityContext",
    "serviceAccount",
    "serviceAccountName",
    "shareProcessNamespace",
    "subdomain",
    "terminationGracePeriodSeconds",
    "topologySpreadConstraints",
    "volumes",
];

/// How long a pod may take to end, in seconds: the end of the preview waits for it.
const MAX_GRACE_SECONDS: i64 = 120;

/// Checks a pod's spec, wherever it is written.
pub(super) fn check(pod: &Field<'_>, policy: &GatePolicy, report: &mut Report<'_>) {
    report.only(pod, &TAKEN);
    if pod.at("containers").value.as_array().is_none_or(Vec::is_empty) {
        report.refuse(&pod.at("containers"), "a pod needs a container");
    }
    for list in ["initContainers", "containers"] {
        for container in report.items(&pod.at(list)) {
            containers::check(&container, policy, report);
        }
    }
    for volume in report.items(&pod.at("volumes")) {
        volumes::check(&volume, policy, report);
    }
    security::of_pod(&pod.at("securityContext"), report);
    security::no_token(pod, report);
    let grace = pod.at("terminationGracePeriodSeconds");
    let fine = |seconds: i64| (0..=MAX_GRACE_SECONDS).contains(&seconds);
    if !grace.value.is_null() && !grace.value.as_i64().is_some_and(fine) {
        let why =
            format!("has to be a number up to {MAX_GRACE_SECONDS}: the end of the preview waits");
        report.refuse(&grace, why);
    }
}
