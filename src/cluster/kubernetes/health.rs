//! How a Deployment is doing, and why not better.
//!
//! Pure: judges what was read. Refuses to call ready what the Deployment itself does not, and puts
//! nothing that changes from look to look into the reason that people are told.

use serde_json::Value;

use super::calls::brief;
use super::config::KubernetesConfig;
use super::drift::{difference, drift};
use super::marks::{ORDERED, annotation};
use super::patience::is_recent;
use super::pods::{deployment, object_name, urls};
use crate::preview::observed::Health;
use crate::preview::{PreviewName, Revision};
use crate::workload::{Service, Shape, WorkloadOrder};

/// What is wrong with a pod.
pub(super) struct Complaint {
    /// In words that stay the same while it stays wrong.
    pub(super) why: String,
    /// What changes from look to look.
    pub(super) detail: String,
    /// Whose log tells more.
    pub(super) log_of: Option<LogOf>,
    /// Whether applying everything again may help.
    pub(super) ours: bool,
}

/// A log that tells more.
pub(super) struct LogOf {
    /// The pod.
    pub(super) pod: String,
    /// The container in it.
    pub(super) container: String,
    /// Whether its previous run is meant.
    pub(super) previous: bool,
}

/// What the Deployment alone says; `None` when its pods have to be asked for the reason.
pub(super) fn of_deployment(live: &Value, now_milliseconds: i64) -> Option<Health> {
    let patient = is_patient(live, now_milliseconds);
    if let Some(path) = drift(live).filter(|_| !patient) {
        return Some(Health::Dead(format!("somebody changed {path} of its Deployment")));
    }
    is_rolled_out(live).then_some(Health::Ready)
}

/// Whether a Deployment's controller has seen its newest version, and all pods of that are available.
pub(super) fn is_rolled_out(live: &Value) -> bool {
    let number = |value: &Value| value.as_i64().unwrap_or_default();
    let status = &live["status"];
    let wanted = number(&live["spec"]["replicas"]);
    let current = number(&status["observedGeneration"]) >= number(&live["metadata"]["generation"]);
    let up_to_date = number(&status["updatedReplicas"]) >= wanted;
    let available = number(&status["availableReplicas"]) >= wanted;
    current && up_to_date && available && wanted > 0
}

/// What is wrong with the Service of one of a revision's services, among those that are there.
pub(super) fn of_service(services: &[Value], of: &str, revision: &Revision) -> Option<String> {
    let name = object_name(of, revision);
    match services.iter().find(|it| it["metadata"]["name"] == name) {
        None => Some("its Service is not there".to_owned()),
        Some(live) => drift(live).map(|path| format!("somebody changed {path} of its Service")),
    }
}

/// Where a Deployment is not as the configuration of today would have it, with these services beside it.
/// What is particular to the preview is not compared: a repository's configuration does not say it.
pub(super) fn unlike(
    config: &KubernetesConfig,
    name: &PreviewName,
    (revision, shape, services): (&Revision, &Shape, &[Service]),
    service: &Service,
    secrets: Option<&str>,
    live: &Value,
) -> Option<String> {
    let (env, revision) = (shape.public_hosts(name, &config.suffix), revision.clone());
    let (objects, databases) = (vec![], vec![]);
    let urls = urls(services, &revision);
    let order = WorkloadOrder { revision, shape: shape.clone(), env, objects, databases }
        .of(service, &urls);
    let mut wanted = deployment(config, name, (service, &order), secrets, 0);
    // It stays what it was made with.
    wanted["spec"]["selector"] = Value::Null;
    difference(&live["spec"], &wanted["spec"], "")
}

/// Why it is not ready, as its conditions and pods say.
pub(super) fn of_pods(
    live: &Value,
    pods: &[Value],
    now_milliseconds: i64,
) -> (Health, Option<Complaint>) {
    let condition = |kind: &str, status: &str| {
        let all = live["status"]["conditions"].as_array().into_iter().flatten();
        all.into_iter().find(|it| it["type"] == kind && it["status"] == status)
    };
    if let Some(refused) = condition("ReplicaFailure", "True") {
        let message = brief(refused["message"].as_str().unwrap_or_default());
        return (failing(format!("the cluster refuses its pods: {message}"), ""), None);
    }
    let complaint = pods.iter().find_map(complaint);
    let late = condition("Progressing", "False")
        .is_some_and(|it| it["reason"] == "ProgressDeadlineExceeded");
    let health = match &complaint {
        Some(it) if it.ours && !is_patient(live, now_milliseconds) => Health::Dead(it.why.clone()),
        Some(it) if it.ours => Health::Progressing(it.why.clone()),
        Some(it) => failing(it.why.clone(), &it.detail),
        None if late => {
            let why = "its pods did not become ready in time; its readiness probe and log say why";
            failing(why.to_owned(), &pods.iter().find_map(waiting).unwrap_or_default())
        }
        None => {
            let why = pods.iter().find_map(waiting);
            Health::Progressing(why.unwrap_or_else(|| "its pods are being started".to_owned()))
        }
    };
    (health, complaint)
}

fn failing(why: String, detail: &str) -> Health {
    Health::Failing { why, log: detail.to_owned() }
}

/// Whether it was asked for a moment ago.
pub(super) fn is_patient(live: &Value, now_milliseconds: i64) -> bool {
    let ordered = annotation(live, ORDERED).and_then(|at| at.parse::<i64>().ok());
    ordered.is_some_and(|at| is_recent(at, now_milliseconds))
}

/// The containers of a pod, those first that run first.
fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["initContainerStatuses", "containerStatuses"];
    lists.into_iter().filter_map(|list| pod["status"][list].as_array()).flatten()
}

/// What is wrong with a pod and will stay so.
pub(super) fn complaint(pod: &Value) -> Option<Complaint> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    containers(pod).find_map(|container| complaint_of(name, container))
}

fn complaint_of(name: &str, container: &Value) -> Option<Complaint> {
    let image = brief(container["image"].as_str().unwrap_or_default());
    let waiting = &container["state"]["waiting"];
    let reason = waiting["reason"].as_str().unwrap_or_default();
    let detail = brief(waiting["message"].as_str().unwrap_or_default());
    let say = |why: String, detail: String, ours: bool| {
        Some(Complaint { why, detail, log_of: None, ours })
    };
    match reason {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "ErrImageNeverPull"
        | "ImageInspectError"
        | "RegistryUnavailable" => say(
            format!("its image {image} cannot be pulled; see that it exists and may be read"),
            detail,
            false,
        ),
        "InvalidImageName" => say(format!("its image {image} has no valid name"), detail, false),
        "CreateContainerConfigError" if detail.contains("secret") => {
            say("its Secret is missing".to_owned(), detail, true)
        }
        "CreateContainerConfigError" => {
            // The rest of the message names the pod, and there is one after the other.
            let what = detail.split(" (pod:").next().unwrap_or_default().to_owned();
            say(format!("its container cannot be set up: {what}"), detail, false)
        }
        "CreateContainerError" | "RunContainerError" => say(
            "its container cannot be started; see its command and image".to_owned(),
            detail,
            false,
        ),
        _ => crash(name, container),
    }
}

/// A container that ended more than once, or that the kubelet does not start for the moment.
fn crash(pod: &str, container: &Value) -> Option<Complaint> {
    let held_back = container["state"]["waiting"]["reason"] == "CrashLoopBackOff";
    let restarts = container["restartCount"].as_i64().unwrap_or_default();
    let ready = container["ready"].as_bool().unwrap_or_default();
    if ready || !(held_back || restarts >= 2) {
        return None;
    }
    let ended = [&container["state"]["terminated"], &container["lastState"]["terminated"]];
    let ended = ended.into_iter().find(|it| !it.is_null());
    let how = match ended {
        Some(it) if it["reason"] == "OOMKilled" => {
            "it needs more memory than it may have".to_owned()
        }
        Some(it) => format!("exit code {}", it["exitCode"]),
        None => "its log says why".to_owned(),
    };
    Some(Complaint {
        why: format!("it ends soon after each start ({how})"),
        detail: String::new(),
        log_of: Some(LogOf {
            pod: pod.to_owned(),
            container: container["name"].as_str().unwrap_or_default().to_owned(),
            previous: !container["lastState"]["terminated"].is_null(),
        }),
        ours: false,
    })
}

/// What a pod waits for, in its own words.
pub(super) fn waiting(pod: &Value) -> Option<String> {
    let conditions = pod["status"]["conditions"].as_array()?;
    let unscheduled = conditions.iter().find(|it| {
        it["type"] == "PodScheduled" && it["status"] == "False" && it["message"].is_string()
    });
    if let Some(it) = unscheduled {
        return Some(format!("no node takes it: {}", brief(it["message"].as_str()?)));
    }
    let mut containers = containers(pod).peekable();
    containers.peek()?;
    let reason = containers.find_map(|it| it["state"]["waiting"]["reason"].as_str());
    Some(match reason {
        Some(reason) => format!("its container is starting ({})", brief(reason)),
        None => "waiting for its readiness probe".to_owned(),
    })
}
