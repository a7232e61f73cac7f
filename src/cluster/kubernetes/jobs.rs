//! The Job that a revision's migrations run as, and how far it is.
//!
//! Pure: objects as data, and what was read of them. Refuses a second try: a migration that failed
//! half-way is not one that can be run again without a thought.

use serde_json::{Value, json};

use super::config::KubernetesConfig;
use super::health::{complaint, waiting};
use super::marks::migration_labels;
use super::pods::{GRACE_SECONDS, container, migration_name, pod_spec};
use crate::preview::{Ended, MigrationState, PreviewName};
use crate::workload::{Migrations, WorkloadOrder};

/// How much longer the Job waits than its pod may run, in seconds: the kubelet, which ends a pod that
/// is late, keeps it and its log; the Job's own deadline, for a pod that never starts, keeps neither.
const SLACK_SECONDS: u64 = 60;

/// What a look says of a Job, and the pod whose log says more.
pub(super) type Judged = (MigrationState, Option<String>);

/// The Job of one revision: the workload's image, identity and environment, once.
pub(super) fn job(
    config: &KubernetesConfig,
    name: &PreviewName,
    order: &WorkloadOrder,
    migrations: &Migrations,
) -> Value {
    let labels = migration_labels(&config.instance, name, &order.revision);
    let seconds = migrations.timeout.as_secs().max(1);
    let mut container = container(order);
    container["command"] = json!(migrations.command);
    let mut pod = pod_spec(&container, GRACE_SECONDS);
    pod["restartPolicy"] = json!("Never");
    pod["activeDeadlineSeconds"] = json!(seconds);
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": { "name": migration_name(&order.revision), "labels": labels },
        "spec": {
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            "activeDeadlineSeconds": seconds.saturating_add(SLACK_SECONDS),
            "template": { "metadata": { "labels": labels }, "spec": pod },
        },
    })
}

/// How far a Job is, as it and its pods say.
pub(super) fn judge(live: &Value, pods: &[Value], migrations: &Migrations) -> Judged {
    let condition = |kind: &str| {
        let all = live["status"]["conditions"].as_array().into_iter().flatten();
        all.into_iter().find(|it| it["type"] == kind && it["status"] == "True")
    };
    if condition("Complete").is_some() {
        return (MigrationState::Ended(Ended::Done), None);
    }
    if let Some(failed) = condition("Failed") {
        let why = match pods.first() {
            Some(pod) => of_pod(pod, migrations),
            None if failed["reason"] == "DeadlineExceeded" => migrations.failed_late(),
            None => Migrations::failed("their pod was taken away before it told how it ended"),
        };
        let pod = pods.first().and_then(|pod| pod["metadata"]["name"].as_str());
        let ended = Ended::Failed { why, log: String::new() };
        return (MigrationState::Ended(ended), pod.map(str::to_owned));
    }
    if let Some(complaint) = pods.iter().find_map(complaint) {
        return (MigrationState::Stuck(format!("its migrations: {}", complaint.why)), None);
    }
    let runs = pods.iter().any(|pod| pod["status"]["phase"] == "Running");
    let why = match runs {
        true => "its migrations run".to_owned(),
        false => {
            let why = pods.iter().find_map(waiting);
            why.unwrap_or_else(|| "the pod of its migrations is being started".to_owned())
        }
    };
    (MigrationState::Running(why), None)
}

/// Why a pod failed.
fn of_pod(pod: &Value, migrations: &Migrations) -> String {
    let status = &pod["status"];
    if status["reason"] == "DeadlineExceeded" {
        return migrations.failed_late();
    }
    let ended = &status["containerStatuses"][0]["state"]["terminated"];
    match (ended["reason"].as_str(), ended["exitCode"].as_i64()) {
        (Some("OOMKilled"), _) => Migrations::failed(
            "they need more memory than they may have (workload.memory_mebibytes)",
        ),
        // The runtime did not find the program.
        (Some("StartError" | "ContainerCannotRun"), _) => Migrations::failed_with(127),
        (_, Some(code)) => Migrations::failed_with(code),
        (_, None) => Migrations::failed("their pod was taken away before it told how it ended"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn failed(reason: &str) -> Value {
        let condition = json!({ "type": "Failed", "status": "True", "reason": reason });
        json!({ "status": { "conditions": [condition] } })
    }

    fn ended(reason: &str, code: i64) -> Value {
        let state = json!({ "terminated": { "reason": reason, "exitCode": code } });
        json!({
            "metadata": { "name": "migrate-x" },
            "status": { "phase": "Failed", "containerStatuses": [{ "state": state }] },
        })
    }

    #[test]
    fn what_a_job_came_to_is_told_in_words_that_stay_the_same() {
        let migrations =
            Migrations { command: vec![], timeout: Duration::from_secs(600), directory: None };
        let mut late = ended("Error", 137);
        late["status"]["reason"] = json!("DeadlineExceeded");
        for (live, pods, told) in [
            (failed("BackoffLimitExceeded"), vec![ended("Error", 3)], "exit code 3;"),
            (failed("BackoffLimitExceeded"), vec![ended("OOMKilled", 137)], "more memory"),
            (failed("BackoffLimitExceeded"), vec![ended("StartError", 128)], "not there"),
            (failed("BackoffLimitExceeded"), vec![late], "did not end within 10m"),
            (failed("DeadlineExceeded"), vec![], "did not end within 10m"),
            (failed("BackoffLimitExceeded"), vec![], "taken away"),
        ] {
            let (state, pod) = judge(&live, &pods, &migrations);
            let MigrationState::Ended(Ended::Failed { why, .. }) = state else {
                panic!("{state:?}")
            };
            assert!(why.contains(told) && why.contains("redeploy"), "{why}");
            assert_eq!(pod.is_some(), !pods.is_empty(), "its log is asked for");
        }
    }

    #[test]
    fn an_image_that_cannot_be_pulled_is_stuck_and_not_over() {
        let migrations =
            Migrations { command: vec![], timeout: Duration::from_secs(600), directory: None };
        let state = json!({ "waiting": { "reason": "ImagePullBackOff" } });
        let pod = json!({ "status": { "containerStatuses": [{ "image": "x", "state": state }] } });
        let (state, _) = judge(&json!({}), &[pod], &migrations);
        assert!(
            matches!(&state, MigrationState::Stuck(why) if why.contains("pulled")),
            "{state:?}"
        );
    }
}
