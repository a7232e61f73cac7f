//! What is added to an object that was taken: the namespace, and what *restricted* pods have to say.
//!
//! Only gaps are filled. Refuses to change a word that a chart has said, but for what the API server
//! writes itself, a tag beside a digest, and the namespace.

use serde_json::{Map, Value, json};

use super::field::asks_for_nothing;
use super::kinds::Kind;
use super::{GatePolicy, image};
use crate::workload::Object;

/// Completes an object that was taken.
pub(super) fn complete(object: Object, kind: Kind, policy: &GatePolicy) -> Object {
    let source = object.source().map(str::to_owned);
    let mut value = object.into_value();
    if let Some(map) = value.as_object_mut() {
        map.remove("status");
        section(map, "metadata").insert("namespace".to_owned(), json!(policy.namespace));
        if kind == Kind::ServiceAccount {
            map.insert("automountServiceAccountToken".to_owned(), Value::Bool(false));
        }
        if kind == Kind::Job {
            // Gone by itself, it would be made anew, and run again.
            section(map, "spec").remove("ttlSecondsAfterFinished");
        }
        if let Some(path) = kind.pod_template() {
            let template = path.iter().fold(&mut *map, |map, key| section(map, key));
            section(template, "metadata").remove("namespace");
            pod(section(template, "spec"), policy);
        }
    }
    forget_births(&mut value);
    Object::new(value, source)
}

/// Says nothing of the replicas of what an autoscaler scales: they would be fought over.
pub(super) fn leave_scaling(objects: &mut [Object]) {
    let targets: Vec<_> = objects
        .iter()
        .filter(|object| object.reference().kind == "HorizontalPodAutoscaler")
        .map(|object| object.value()["spec"]["scaleTargetRef"].clone())
        .collect();
    for object in objects {
        let reference = object.reference();
        let is_scaled = targets.iter().any(|target| {
            target["kind"] == reference.kind.as_str() && target["name"] == reference.name.as_str()
        });
        if is_scaled {
            let source = object.source().map(str::to_owned);
            let mut value = object.value().clone();
            value["spec"].as_object_mut().and_then(|spec| spec.remove("replicas"));
            *object = Object::new(value, source);
        }
    }
}

fn pod(pod: &mut Map<String, Value>, policy: &GatePolicy) {
    let alias =
        pod.remove("serviceAccount").filter(|it| it.as_str().is_some_and(|it| !it.is_empty()));
    fill(pod, "serviceAccountName", alias.unwrap_or_else(|| json!(policy.service_account)));
    fill(pod, "automountServiceAccountToken", Value::Bool(false));
    let context = section(pod, "securityContext");
    fill(context, "runAsNonRoot", Value::Bool(true));
    let seccomp = section(context, "seccompProfile");
    fill(seccomp, "type", json!("RuntimeDefault"));
    for list in ["initContainers", "containers"] {
        let containers = pod.get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
            let pinned = container.get("image").and_then(Value::as_str).map(image::pinned);
            container.insert("image".to_owned(), json!(pinned));
            let context = section(container, "securityContext");
            fill(context, "allowPrivilegeEscalation", Value::Bool(false));
            // ALL holds whatever else a chart drops.
            section(context, "capabilities").insert("drop".to_owned(), json!(["ALL"]));
        }
    }
}

/// Says it where nothing is said.
fn fill(map: &mut Map<String, Value>, key: &str, value: Value) {
    if map.get(key).is_none_or(asks_for_nothing) {
        map.insert(key.to_owned(), value);
    }
}

/// The mapping below a key, made where it is missing.
fn section<'a>(map: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let value = map.entry(key).or_insert(Value::Null);
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("it was made a mapping a line above")
}

/// Removes `creationTimestamp: null`, which generated files have.
fn forget_births(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if map.get("creationTimestamp").is_some_and(Value::is_null) {
                map.remove("creationTimestamp");
            }
            map.values_mut().for_each(forget_births);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_births),
        _ => {}
    }
}
