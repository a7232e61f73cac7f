//! Whether an object is still as it was applied.
//!
//! What the server and others add is none of our business; what we said has to hold. Pure. Refuses
//! to compare quantities by value: we write them as the server would.

use serde_json::Value;

use super::marks::{APPLIED, annotation};

/// Writes down in the object itself what it is applied as.
pub(super) fn note(mut object: Value) -> Value {
    let applied = object.to_string();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        let annotations =
            metadata.entry("annotations").or_insert_with(|| Value::Object(Default::default()));
        annotations[APPLIED] = Value::String(applied);
    }
    object
}

/// The first thing that is not as it was applied; `None` when all is. An object without the note is
/// not as we applied it.
pub(super) fn drift(live: &Value) -> Option<String> {
    let applied = annotation(live, APPLIED).and_then(|text| serde_json::from_str(text).ok());
    let Some(applied): Option<Value> = applied else {
        return Some(format!("metadata.annotations.{APPLIED}"));
    };
    difference(live, &as_listed(applied), "")
}

/// What comes in a list does not say what it is.
pub(super) fn as_listed(mut object: Value) -> Value {
    for kind in ["apiVersion", "kind"] {
        object.as_object_mut().and_then(|object| object.remove(kind));
    }
    object
}

/// Where `live` lacks what `wanted` says.
pub(super) fn difference(live: &Value, wanted: &Value, path: &str) -> Option<String> {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => wanted.iter().find_map(|(key, wanted)| {
            match live.get(key) {
                Some(live) => difference(live, wanted, &below(key)),
                // The server leaves out what is empty.
                None if is_empty(wanted) => None,
                None => Some(below(key)),
            }
        }),
        // Lists by name are merged: others may add to them, and we could not take that away.
        (Value::Array(live), Value::Array(wanted)) if is_by_name(wanted) => {
            wanted.iter().find_map(|wanted| {
                let path = below(wanted["name"].as_str().unwrap_or_default());
                match live.iter().find(|live| live["name"] == wanted["name"]) {
                    Some(live) => difference(live, wanted, &path),
                    None => Some(path),
                }
            })
        }
        (Value::Array(live), Value::Array(wanted)) if live.len() == wanted.len() => live
            .iter()
            .zip(wanted)
            .enumerate()
            .find_map(|(at, (live, wanted))| difference(live, wanted, &below(&at.to_string()))),
        // Whoever says nothing gets what the server takes for it.
        (_, Value::Null) => None,
        (live, wanted) if live == wanted || same_quantity(live, wanted) => None,
        _ => Some(path.to_owned()),
    }
}

fn is_by_name(list: &[Value]) -> bool {
    !list.is_empty() && list.iter().all(|item| item["name"].is_string())
}

/// Whether both are the same amount, which the server writes in a way of its own: `0.5` is `500m`.
/// <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>
fn same_quantity(live: &Value, wanted: &Value) -> bool {
    let (Some(live), Some(wanted)) = (quantity(live), quantity(wanted)) else { return false };
    (live - wanted).abs() <= wanted.abs() * 1e-9
}

fn quantity(value: &Value) -> Option<f64> {
    let text = match value {
        Value::Number(number) => return number.as_f64(),
        Value::String(text) => text,
        _ => return None,
    };
    let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let factor = match &text[end..] {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        "Ti" => 1_099_511_627_776.0,
        _ => return None,
    };
    text[..end].parse::<f64>().ok().map(|number| number * factor)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_server_adds_is_no_drift_and_what_we_said_has_to_hold() {
        let wanted = json!({ "kind": "Service", "metadata": { "name": "web" }, "spec": { "n": 1, "list": [{ "a": 1 }], "none": [] } });
        let mut live = note(wanted.clone());
        live["status"] = json!({ "ready": true });
        live["kind"] = Value::Null;
        live["spec"]["list"][0]["protocol"] = json!("TCP");
        assert_eq!(drift(&live), None);
        for (pointer, value, path) in [
            ("/spec/n", json!(0), "spec.n"),
            ("/spec/list/0/a", json!(2), "spec.list.0.a"),
            ("/spec/list", json!([{ "a": 1 }, { "a": 1 }]), "spec.list"),
            ("/spec", json!({}), "spec.list"),
        ] {
            let mut changed = live.clone();
            *changed.pointer_mut(pointer).unwrap() = value;
            assert_eq!(drift(&changed).as_deref(), Some(path), "{pointer}");
        }
        let said = json!({ "metadata": {}, "hostNetwork": false, "delay": 0, "value": "", "nothing": null,
            "limits": { "cpu": 0.5, "memory": "1024Mi" } });
        let mut live = note(said);
        for left_out in ["hostNetwork", "delay", "value"] {
            live.as_object_mut().unwrap().remove(left_out);
        }
        live["nothing"] = json!(1);
        live["limits"] = json!({ "cpu": "500m", "memory": "1Gi" });
        assert_eq!(drift(&live), None, "the server writes it otherwise");
        live["limits"]["cpu"] = json!("501m");
        assert_eq!(drift(&live).as_deref(), Some("limits.cpu"));
        let mut shared = note(json!({ "metadata": {}, "env": [{ "name": "A", "value": "1" }] }));
        shared["env"] = json!([{ "name": "B", "value": "2" }, { "name": "A", "value": "1" }]);
        assert_eq!(drift(&shared), None, "a list by name is shared with others");
        shared["env"] = json!([{ "name": "B", "value": "2" }]);
        assert_eq!(drift(&shared).as_deref(), Some("env.A"));
        assert!(drift(&wanted).is_some(), "nobody noted what was applied");
    }
}
