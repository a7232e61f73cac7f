//! A place in an object, and the report of what is wrong there.
//!
//! Refuses to show a value: whether it is a secret is not known here. Only names, types and images are
//! repeated by those who call.

use serde_json::Value;

use super::Refusal;
use crate::workload::Object;

/// A value and the path to it; what is missing is null.
pub(super) struct Field<'a> {
    pub(super) path: String,
    pub(super) value: &'a Value,
}

impl<'a> Field<'a> {
    pub(super) fn whole(value: &'a Value) -> Self {
        Self { path: String::new(), value }
    }

    /// The field of this name.
    pub(super) fn at(&self, key: &str) -> Field<'a> {
        let dot = if self.path.is_empty() { "" } else { "." };
        // A key with dots, as annotations have, is set apart.
        let path = match key.contains(['.', '/']) {
            true => format!("{}[{key}]", self.path),
            false => format!("{}{dot}{key}", self.path),
        };
        Field { path, value: self.value.get(key).unwrap_or(&Value::Null) }
    }

    /// The field at the end of these names.
    pub(super) fn follow(&self, keys: &[&str]) -> Field<'a> {
        let here = Field { path: self.path.clone(), value: self.value };
        keys.iter().fold(here, |field, key| field.at(key))
    }

    pub(super) fn text(&self) -> Option<&'a str> {
        self.value.as_str()
    }

    /// Whether nothing is said, or what is said asks for nothing: `hostNetwork: false`.
    pub(super) fn asks_for_nothing(&self) -> bool {
        asks_for_nothing(self.value)
    }
}

pub(super) fn asks_for_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

/// What is said of fields that no preview has, where more can be said than that.
const CURES: [(&str, &str); 23] = [
    ("paused", "it would never be rolled out, and the preview would wait for it; remove it"),
    ("managedBy", "no other controller sees to what a preview runs; remove it"),
    ("nodeSelector", "the scheduler chooses the node; remove it"),
    ("tolerations", "nodes that others are kept off are not for previews; remove them"),
    ("hostNetwork", "the node's network is not the preview's; remove it"),
    ("hostPID", "the node's processes are not the preview's; remove it"),
    ("hostIPC", "the node's memory is not the preview's; remove it"),
    ("hostPort", "a port of the node is not the preview's; the route leads to a Service"),
    ("hostIP", "an address of the node is not the preview's; remove it"),
    ("hostPath", "the node's files are not the preview's; use emptyDir, configMap or secret"),
    ("host", "the kubelet would ask another machine from the node's network; remove it"),
    ("privileged", "no container of a preview is privileged; remove it"),
    ("ephemeralContainers", "they are for debugging a running pod; remove them"),
    ("nodeName", "the scheduler chooses the node; remove it"),
    ("priorityClassName", "a preview displaces nobody; remove it"),
    ("nodePort", "ports of nodes are not the preview's; remove it"),
    ("externalIPs", "addresses of the cluster are not the preview's; remove it"),
    ("externalName", "a Service leads to pods of the preview; remove it"),
    ("finalizers", "nothing may hold up the end of a preview; remove them"),
    ("ownerReferences", "Mayfly prunes what is not rendered any more; remove them"),
    ("generateName", "what has another name each time cannot be found again; set name"),
    ("volumeDevices", "a preview has no devices; use volumeMounts"),
    ("serviceAccountToken", "no pod of a preview gets a token; remove it"),
];

/// What is wrong with one object.
pub(super) struct Report<'a> {
    object: &'a Object,
    refusals: &'a mut Vec<Refusal>,
}

impl<'a> Report<'a> {
    pub(super) fn new(object: &'a Object, refusals: &'a mut Vec<Refusal>) -> Self {
        Self { object, refusals }
    }

    pub(super) fn refuse(&mut self, field: &Field<'_>, why: impl Into<String>) {
        self.refusals.push(Refusal {
            object: self.object.reference(),
            source: self.object.source().map(str::to_owned),
            path: field.path.clone(),
            why: why.into(),
        });
    }

    /// Refuses whatever asks for something and is none of these.
    pub(super) fn only(&mut self, field: &Field<'_>, taken: &[&str]) {
        for (key, part) in self.entries(field) {
            if !taken.contains(&key) && !part.asks_for_nothing() {
                self.unlisted(key, &part);
            }
        }
    }

    /// Refuses whatever is there at all and is none of these: an empty mapping, too, chooses.
    pub(super) fn choice(&mut self, field: &Field<'_>, taken: &[&str]) {
        for (key, part) in self.entries(field) {
            if !taken.contains(&key) && !part.value.is_null() {
                self.unlisted(key, &part);
            }
        }
    }

    fn unlisted(&mut self, key: &str, part: &Field<'_>) {
        let cure = CURES.iter().find(|(known, _)| *known == key);
        self.refuse(part, cure.map_or("no preview has it; remove it", |(_, cure)| cure));
    }

    /// Refuses a text that is none of these; nothing said is fine.
    pub(super) fn one_of(&mut self, field: &Field<'_>, taken: &[&str]) {
        let fine = field.text().is_some_and(|text| taken.contains(&text));
        if !fine && !field.asks_for_nothing() {
            let shown = field.text().unwrap_or("this");
            self.refuse(field, format!("{shown} is not taken, only {}", taken.join(", ")));
        }
    }

    /// Refuses what is there and no text.
    pub(super) fn text(&mut self, field: &Field<'_>) {
        if !field.value.is_null() && !field.value.is_string() {
            self.refuse(field, "has to be a text");
        }
    }

    /// The fields of a mapping; none where nothing is said.
    pub(super) fn entries<'v>(&mut self, field: &Field<'v>) -> Vec<(&'v str, Field<'v>)> {
        match field.value {
            Value::Null => Vec::new(),
            Value::Object(map) => map.keys().map(|key| (key.as_str(), field.at(key))).collect(),
            _ => {
                self.refuse(field, "has to be a mapping");
                Vec::new()
            }
        }
    }

    /// The items of a list; none where nothing is said.
    pub(super) fn items<'v>(&mut self, field: &Field<'v>) -> Vec<Field<'v>> {
        let Value::Array(items) = field.value else {
            if !field.value.is_null() {
                self.refuse(field, "has to be a list");
            }
            return Vec::new();
        };
        let item = |(at, value): (usize, &'v Value)| {
            let name = value["name"].as_str().map_or_else(|| at.to_string(), str::to_owned);
            Field { path: format!("{}[{name}]", field.path), value }
        };
        items.iter().enumerate().map(item).collect()
    }
}
