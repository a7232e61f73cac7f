//! How the objects of a release are doing, all together.
//!
//! Pure: judges what was read. Refuses to call a release ready while a pod of another revision may
//! still answer.

use serde_json::Value;

use super::drift::drift;
use super::health::{is_patient, is_rolled_out};
use super::kinds::Kind;
use super::marks::{self, APPLIED, REVISION, annotation};
use super::release::Release;
use crate::preview::observed::Health;
use crate::workload::ObjectRef;

/// What is said of a release that is ready but for what it no longer has.
pub(super) const STALE: &str = "what it no longer has is still there";

/// What is live of one kind.
pub(super) type Live = (Kind, Vec<Value>);

/// What the objects of a release alone say.
pub(super) enum Verdict<'a> {
    /// Nothing more has to be asked.
    Known(Health),
    /// The pods of these have to be asked for the reason.
    AskPods(Vec<&'a Value>),
}

/// Judges a release by its own object, and by what is live of each of its kinds.
pub(super) fn judge<'a>(
    release: &Release,
    anchor: &Value,
    live: &'a [Live],
    now_milliseconds: i64,
) -> Verdict<'a> {
    let patient = is_patient(anchor, now_milliseconds);
    if !release.whole {
        let why = "applying its objects did not come to its end".to_owned();
        return Verdict::Known(Health::Dead(why));
    }
    let mut waits = None;
    let mut unready = Vec::new();
    for object in &release.objects {
        let Some(kind) = Kind::of_chart(object).filter(|kind| *kind != Kind::Secret) else {
            continue;
        };
        let of_kind = live.iter().find(|(it, _)| *it == kind);
        let found = of_kind.and_then(|(_, all)| {
            all.iter().find(|it| it["metadata"]["name"] == object.name.as_str())
        });
        let flaw = match found {
            None => Some(format!("its {object} is not there")),
            Some(it) => marks::leaving(it).or_else(|| changed(it, object, release)),
        };
        match (flaw, found) {
            (Some(why), _) if patient => waits = waits.or(Some(why)),
            (Some(why), _) => return Verdict::Known(Health::Dead(why)),
            (None, Some(it)) if !is_done(kind, it) => unready.push(it),
            (None, _) => {}
        }
    }
    match (unready.is_empty(), waits) {
        (false, _) => Verdict::AskPods(unready),
        (true, Some(why)) => Verdict::Known(Health::Progressing(why)),
        // It stayed until all that takes its place was ready.
        (true, None) if !release.stale.is_empty() => Verdict::Known(Health::Dead(STALE.to_owned())),
        (true, None) => Verdict::Known(Health::Ready),
    }
}

/// What somebody changed, where it was noted what it should be. An apply that was cut off may come late,
/// and bring the revision before.
fn changed(live: &Value, object: &ObjectRef, release: &Release) -> Option<String> {
    let revision = annotation(live, REVISION);
    if revision != Some(release.revision.to_string().as_str()) {
        return Some(format!("its {object} is of another revision"));
    }
    annotation(live, APPLIED)?;
    drift(live).map(|path| format!("somebody changed {path} of its {object}"))
}

/// Whether everything that it makes is of this revision and ready.
fn is_done(kind: Kind, live: &Value) -> bool {
    let number = |value: &Value| value.as_i64().unwrap_or_default();
    let status = &live["status"];
    let current = number(&status["observedGeneration"]) >= number(&live["metadata"]["generation"]);
    let wanted = live["spec"]["replicas"].as_i64().unwrap_or(1);
    match kind {
        Kind::Deployment => {
            let of_old = number(&status["replicas"]) > number(&status["updatedReplicas"])
                || number(&status["terminatingReplicas"]) > 0;
            let idle = wanted == 0 && current && number(&status["replicas"]) == 0;
            idle || !of_old && is_rolled_out(live)
        }
        Kind::StatefulSet => {
            let updated = wanted == 0 || status["currentRevision"] == status["updateRevision"];
            current && updated && number(&status["readyReplicas"]) >= wanted
        }
        Kind::Job => {
            let conditions = status["conditions"].as_array().into_iter().flatten();
            conditions.into_iter().any(|it| it["type"] == "Complete" && it["status"] == "True")
        }
        _ => true,
    }
}

/// Why a Job will not be done.
pub(super) fn failed_job(live: &Value) -> Option<String> {
    let conditions = live["status"]["conditions"].as_array()?;
    let failed = conditions.iter().find(|it| it["type"] == "Failed" && it["status"] == "True")?;
    let name = live["metadata"]["name"].as_str().unwrap_or_default();
    let message = super::calls::brief(failed["message"].as_str().unwrap_or_default());
    Some(format!("its Job {name} failed: {message}"))
}

/// Selects the pods of a Deployment, StatefulSet or Job.
pub(super) fn pods_of(live: &Value) -> String {
    let labels = live["spec"]["selector"]["matchLabels"].as_object();
    let pairs = labels.into_iter().flatten();
    let pairs: Vec<_> =
        pairs.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    pairs.join(",")
}

/// Whether a pod is of the revision that its owner is of, or does not say.
pub(super) fn is_of(pod: &Value, owner: &Value) -> bool {
    let of_pod = annotation(pod, REVISION);
    of_pod.is_none() || of_pod == annotation(owner, REVISION)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::preview::{CommitSha, Revision};

    fn release(whole: bool) -> Release {
        let object = |api_version: &str, kind: &str| ObjectRef {
            kind: kind.to_owned(),
            api_version: api_version.to_owned(),
            name: "shop".to_owned(),
        };
        let commit = CommitSha::parse(&"a".repeat(40)).unwrap();
        Release {
            revision: Revision { commit, restart: 0 },
            fingerprint: String::new(),
            whole,
            objects: vec![object("apps/v1", "Deployment"), object("v1", "Secret")],
            stale: vec![],
            secrets: None,
        }
    }

    fn deployment(replicas: i64, updated: i64, available: i64) -> Value {
        let mut live = super::super::drift::note(json!({
            "metadata": { "name": "shop", "annotations": { REVISION: format!("{}.0", "a".repeat(40)) } },
            "spec": { "replicas": 1 },
        }));
        live["metadata"]["generation"] = json!(2);
        live["status"] = json!({ "observedGeneration": 2, "replicas": replicas,
            "updatedReplicas": updated, "availableReplicas": available });
        live
    }

    /// What is said of a release, a minute after it was asked for.
    fn said(release: &Release, live: Vec<Value>) -> String {
        let live = [(Kind::Deployment, live)];
        match judge(release, &json!({}), &live, 60_000) {
            Verdict::Known(Health::Ready) => "ready".to_owned(),
            Verdict::Known(Health::Progressing(why) | Health::Dead(why)) => why,
            Verdict::Known(Health::Failing { why, .. }) => why,
            Verdict::AskPods(_) => "ask".to_owned(),
        }
    }

    #[test]
    fn a_release_is_ready_only_when_all_of_it_is_there_as_applied_and_no_old_pod_answers() {
        let whole = release(true);
        assert_eq!(said(&whole, vec![deployment(1, 1, 1)]), "ready");
        assert_eq!(said(&whole, vec![deployment(2, 1, 2)]), "ask", "a pod of before answers too");
        assert_eq!(said(&whole, vec![deployment(1, 1, 0)]), "ask");
        let mut late = deployment(1, 1, 1);
        late["metadata"]["annotations"][REVISION] = json!(format!("{}.0", "b".repeat(40)));
        assert_eq!(said(&whole, vec![late]), "its Deployment shop is of another revision");
        let mut stale = release(true);
        stale.stale = stale.objects.clone();
        assert!(said(&stale, vec![deployment(1, 1, 1)]).contains("no longer has"));
        let mut old = deployment(1, 1, 1);
        old["status"]["observedGeneration"] = json!(1);
        assert_eq!(said(&whole, vec![old]), "ask", "its controller has not seen it yet");
        assert_eq!(said(&whole, vec![]), "its Deployment shop is not there");
        let mut changed = deployment(1, 1, 1);
        changed["spec"]["replicas"] = json!(3);
        assert_eq!(
            said(&whole, vec![changed]),
            "somebody changed spec.replicas of its Deployment shop"
        );
        let half = said(&release(false), vec![deployment(1, 1, 1)]);
        assert!(half.contains("did not come to its end"), "{half}");
    }

    #[test]
    fn a_set_with_no_pods_is_done_and_a_job_when_it_says_so() {
        let idle = json!({ "metadata": { "generation": 1 }, "spec": { "replicas": 0 },
            "status": { "observedGeneration": 1 } });
        assert!(is_done(Kind::Deployment, &idle));
        assert!(is_done(Kind::StatefulSet, &idle));
        let condition = |kind: &str| {
            json!({ "metadata": { "name": "load" }, "status": {
            "conditions": [{ "type": kind, "status": "True", "message": "back off" }] } })
        };
        assert!(is_done(Kind::Job, &condition("Complete")));
        assert!(!is_done(Kind::Job, &condition("Failed")));
        assert_eq!(failed_job(&condition("Failed")).unwrap(), "its Job load failed: back off");
        assert_eq!(failed_job(&condition("Complete")), None);
    }
}
