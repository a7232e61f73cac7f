//! What a Service may be: a name within the preview for some of its pods.
//!
//! Refuses whatever makes it reachable from outside, or lead there.

use super::field::{Field, Report};

const TAKEN: [&str; 11] = [
    "clusterIP",
    "internalTrafficPolicy",
    "ipFamilies",
    "ipFamilyPolicy",
    "ports",
    "publishNotReadyAddresses",
    "selector",
    "sessionAffinity",
    "sessionAffinityConfig",
    "trafficDistribution",
    "type",
];

/// Checks a Service's spec.
pub(super) fn check(spec: &Field<'_>, report: &mut Report<'_>) {
    report.only(spec, &TAKEN);
    report.one_of(&spec.at("type"), &["ClusterIP"]);
    report.one_of(&spec.at("clusterIP"), &["None"]);
    for port in report.items(&spec.at("ports")) {
        report.only(&port, &["appProtocol", "name", "port", "protocol", "targetPort"]);
    }
}
