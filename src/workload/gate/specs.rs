//! What the spec of each kind may say beside its pods.
//!
//! Refuses what keeps an object from ever being done (paused, updated by hand only, handed to another
//! controller): the preview would wait for it without a word.

use super::field::{Field, Report};
use super::kinds::Kind;

const DEPLOYMENT: [&str; 7] = [
    "minReadySeconds",
    "progressDeadlineSeconds",
    "replicas",
    "revisionHistoryLimit",
    "selector",
    "strategy",
    "template",
];

const STATEFUL_SET: [&str; 11] = [
    "minReadySeconds",
    "ordinals",
    "persistentVolumeClaimRetentionPolicy",
    "podManagementPolicy",
    "replicas",
    "revisionHistoryLimit",
    "selector",
    "serviceName",
    "template",
    "updateStrategy",
    "volumeClaimTemplates",
];

const JOB: [&str; 11] = [
    "activeDeadlineSeconds",
    "backoffLimit",
    "backoffLimitPerIndex",
    "completionMode",
    "completions",
    "maxFailedIndexes",
    "parallelism",
    "podFailurePolicy",
    "podReplacementPolicy",
    "template",
    // Left out of what is applied.
    "ttlSecondsAfterFinished",
];

const CRON_JOB: [&str; 8] = [
    "concurrencyPolicy",
    "failedJobsHistoryLimit",
    "jobTemplate",
    "schedule",
    "startingDeadlineSeconds",
    "successfulJobsHistoryLimit",
    "suspend",
    "timeZone",
];

const AUTOSCALER: [&str; 6] = [
    "behavior",
    "maxReplicas",
    "metrics",
    "minReplicas",
    "scaleTargetRef",
    "targetCPUUtilizationPercentage",
];

const DISRUPTION_BUDGET: [&str; 4] =
    ["maxUnavailable", "minAvailable", "selector", "unhealthyPodEvictionPolicy"];

/// Checks the spec of an object of this kind, where it has one that is not checked elsewhere.
pub(super) fn check(kind: Kind, spec: &Field<'_>, report: &mut Report<'_>) {
    match kind {
        Kind::Deployment => report.only(spec, &DEPLOYMENT),
        Kind::StatefulSet => {
            report.only(spec, &STATEFUL_SET);
            let strategy = spec.at("updateStrategy");
            report.only(&strategy, &["rollingUpdate", "type"]);
            report.one_of(&strategy.at("type"), &["RollingUpdate"]);
            report.only(&strategy.at("rollingUpdate"), &["maxUnavailable"]);
        }
        Kind::Job => report.only(spec, &JOB),
        Kind::CronJob => {
            report.only(spec, &CRON_JOB);
            report.only(&spec.at("jobTemplate").at("spec"), &JOB);
        }
        Kind::HorizontalPodAutoscaler => report.only(spec, &AUTOSCALER),
        Kind::PodDisruptionBudget => report.only(spec, &DISRUPTION_BUDGET),
        Kind::ConfigMap
        | Kind::PersistentVolumeClaim
        | Kind::Secret
        | Kind::Service
        | Kind::ServiceAccount => {}
    }
}
